//! A run: its steps, one after the other, each persisted before it has effects.
//!
//! ```text
//! queued ─▶ step: inputs filled, budget checked ── StoreStep ─▶ hires placed ─▶ parked … an end is written ── StoreOutcome ─┐
//!             ▲                                                     ▲                                                      │
//!             └──────────── the next step ◀── all of them over ─────┴── the next seller of an item ◀───────────────────────┘
//!          … no further step, or one that failed ── StoreRun ─▶ over; three in a row pause the duty
//! ```
//!
//! [`Runner::advance`] takes a run as far as it goes without waiting, then returns: what it waits for is in its record. What a step puts
//! out isn't stored again: it is made anew from the tasks' outputs whenever it is needed, and comes out the same.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cid::Cid;
use guilder_protocol::{limits::MAX_MEMORY_SOURCES, time::Timestamp};
use serde_json::{Value, json};

use super::{
    books::{Books, file_of, let_go},
    file::{Action, Asking, Budget, Duty, Input, Note, Step, Work, ancestry},
    hands::{Ended, Hands, Noted, Place, Placing, Stands, Terms},
    limits::{FAILURES_TO_PAUSE, HIRES_AT_ONCE, MAX_LOST_SECS, MAX_RUN_VALUES, MAX_VALUE_BYTES},
    records::{
        CANCELS, DUTIES, DutyRecord, HireRecord, HireState, ORDERS, Order, Paused, RUNS, RunRecord, RunState,
        StepRecord, Why, put_run,
    },
    reduce::Outputs,
    template::Scope,
    value::{Sourced, Trust},
};
use crate::{
    content::Data,
    events::{Event, Events},
    failpoint,
    memory::Source,
    runtime::Runtime,
    store::{Key, Reader, StoreError, Write},
};

/// Takes runs on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) books: Books,
    pub(super) hands: Hands,
    pub(super) runtime: Runtime,
    pub(super) events: Events,
}

/// Where a run was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parked {
    /// It is over.
    Over,
    /// Until one of its hires ends.
    Hires(BTreeSet<Cid>),
    /// Until then.
    Until(Timestamp),
    /// It couldn't go on, for a while.
    Soon,
}

/// Why a step can't be done.
#[derive(Debug)]
enum Fault {
    /// The run fails, with these words.
    Fails(String),
    /// The run is called off, with these.
    Stops(&'static str),
    /// The store failed: nothing is decided.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn fails<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Fails(why.into()))
}

/// A run at hand.
struct Run {
    id: String,
    record: RunRecord,
    order: Order,
    duty: Duty,
}

/// An item's input: the bytes that are sent, and the lowest word in them.
struct Filled {
    bytes: Bytes,
    trust: Trust,
}

/// The inputs of a step's items.
struct Inputs {
    /// How many items there are that are taken.
    items: u64,
    left_out: u64,
    /// The lowest word in them.
    trust: Trust,
    kept: BTreeMap<u32, Filled>,
}

impl Inputs {
    fn take(&mut self, item: u32, filled: Filled, keep: bool) {
        self.trust = self.trust.min(filled.trust);
        if keep {
            self.kept.insert(item, filled);
        }
    }
}

impl Runner {
    /// Takes a run as far as it goes now. One at a time for each run.
    pub(super) async fn advance(&self, id: &str) -> Result<Parked, StoreError> {
        let key = Key::of(id);
        let (record, order) = self.books.read(|r| Ok((r.get(RUNS, &key)?, r.get(ORDERS, &key)?)))?;
        let file = order.as_ref().map(|order| self.books.read(|r| file_of(r, order))).transpose()?.flatten();
        let (Some(record), Some(order)) = (record, order) else { return Ok(Parked::Over) };
        if record.state.is_over() {
            return Ok(Parked::Over);
        }
        let duty = match Duty::from_toml(&file.unwrap_or_default()) {
            Ok(duty) => duty,
            Err(error) => {
                let mut record = record;
                self.end(id, &mut record, RunState::Failed, Some(format!("its file isn't understood: {error}")))
                    .await?;
                return Ok(Parked::Over);
            }
        };
        let mut run = Run { id: id.to_owned(), record, order, duty };
        if let Some(why) = self.books.read(|r| stopped(r, id, &run.record, run.order.trust))? {
            return self.call_off(&mut run, why).await;
        }
        loop {
            let outcome = match run.record.steps.last() {
                Some(step) if step.ended.is_none() => self.proceed(&mut run).await,
                _ if run.record.steps.len() == run.duty.steps.len() => {
                    self.end(id, &mut run.record, RunState::Done, None).await?;
                    return Ok(Parked::Over);
                }
                _ => self.begin(&mut run).await.map(|()| None),
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(parked)) => return Ok(parked),
                Err(Fault::Store(error)) => return Err(error),
                Err(Fault::Stops(why)) => return self.call_off(&mut run, why).await,
                Err(Fault::Fails(why)) => {
                    self.fail(&mut run, why).await?;
                    return Ok(Parked::Over);
                }
            }
        }
    }

    /// Notes the tasks that a crash kept from being noted.
    fn adopt(&self, run: &mut Run) -> Result<(), StoreError> {
        let Some(step) = run.record.steps.last_mut() else { return Ok(()) };
        for hire in step.hires.iter_mut().filter(|hire| hire.state == HireState::Wanted) {
            let place = Place { run: &run.id, step: &step.id, item: hire.item, nth: hire.nth };
            if let Some(task) = self.hands.placed(place)? {
                (hire.task, hire.state) = (Some(task), HireState::Placed);
            }
        }
        Ok(())
    }

    async fn call_off(&self, run: &mut Run, why: &str) -> Result<Parked, StoreError> {
        self.adopt(run)?;
        let placed: Vec<_> =
            run.record.steps.iter().flat_map(|step| &step.hires).filter(|hire| !hire.is_over()).collect();
        let tasks: Vec<_> = placed.iter().filter_map(|hire| hire.task).collect();
        for task in tasks {
            self.hands.call_off(task).await;
        }
        let why = why.to_owned();
        if let Some(step) = run.record.steps.last_mut().filter(|step| step.ended.is_none()) {
            (step.ended, step.failure) = (Some(self.runtime.now()), Some(why.clone()));
        }
        self.end(&run.id, &mut run.record, RunState::Cancelled, Some(why)).await?;
        Ok(Parked::Over)
    }

    async fn fail(&self, run: &mut Run, why: String) -> Result<(), StoreError> {
        self.adopt(run)?;
        let open = run.record.steps.iter().flat_map(|step| &step.hires).filter(|hire| !hire.is_over());
        for task in open.filter_map(|hire| hire.task).collect::<Vec<_>>() {
            self.hands.call_off(task).await;
        }
        let now = self.runtime.now();
        let at = run.record.steps.len();
        let why = match run.record.steps.last_mut().filter(|step| step.ended.is_none()) {
            Some(step) => {
                (step.ended, step.failure) = (Some(now), Some(why.clone()));
                format!("step {}: {why}", step.id)
            }
            None => match run.duty.steps.get(at) {
                Some(step) => format!("step {}: {why}", step.id),
                None => why,
            },
        };
        self.end(&run.id, &mut run.record, RunState::Failed, Some(why)).await
    }

    /// Writes that a run is over, with what follows for its duty.
    async fn end(
        &self,
        id: &str,
        record: &mut RunRecord,
        state: RunState,
        failure: Option<String>,
    ) -> Result<(), StoreError> {
        let now = self.runtime.now();
        (record.state, record.failure, record.ended) = (state, failure, Some(now));
        let (run_id, run) = (id.to_owned(), record.clone());
        let pauses = self.books.commit(failpoint::Step::StoreRun, move |w| write_end(w, &run_id, &run, now)).await?;
        let (duty, run) = (record.duty.clone(), id.to_owned());
        let (outcome, reason) = (state.as_str().to_owned(), record.failure.clone());
        self.events.emit(Event::RunEnded { duty: duty.clone(), run, outcome, reason });
        if let Some(why) = pauses {
            self.events.emit(Event::DutyPaused { duty, why });
        }
        Ok(())
    }

    async fn store(&self, step: failpoint::Step, run: &Run) -> Result<(), StoreError> {
        let (id, record) = (run.id.clone(), run.record.clone());
        self.books.commit(step, move |w| put_run(w, &id, &record)).await
    }

    // --- a step begins ---

    /// Begins the next step: all that can be wrong with it is found before anything is bought.
    async fn begin(&self, run: &mut Run) -> Result<(), Fault> {
        let at = run.record.steps.len();
        let Some(step) = run.duty.steps.get(at).cloned() else { return Ok(()) };
        if at == 0 {
            self.check_all(run).await?;
        }
        let now = self.runtime.now();
        let mut record = StepRecord {
            id: step.id.clone(),
            what: what(&step),
            began: now,
            ended: None,
            failure: None,
            trust: Trust::Owner,
            left_out: 0,
            cap: 0,
            hires: Vec::new(),
            until: None,
            memories: Vec::new(),
        };
        match &step.action {
            Action::Hire(work) | Action::Run(work) | Action::Verify(work) => {
                // All of them are filled once, so that what can't be is seen before anything is bought.
                let filled = self.inputs(run, work, |_| true, false).await?;
                (record.trust, record.left_out) = (filled.trust, filled.left_out);
                let (items, sellers) = (filled.items, work.sellers);
                record.cap = self.cap(run, &step.action, work, items.saturating_mul(sellers))?;
                let places = (0..items).flat_map(|item| (0..sellers).map(move |nth| (item, nth)));
                let wanted = |(item, nth): (u64, u64)| HireRecord {
                    item: u32::try_from(item).unwrap_or(u32::MAX),
                    nth: u32::try_from(nth).unwrap_or(u32::MAX),
                    task: None,
                    state: HireState::Wanted,
                    seller: None,
                    price: None,
                };
                record.hires = places.map(wanted).collect();
            }
            Action::Reduce { of, .. } => {
                // Of what was put out, not of what was asked with.
                let own = run.duty.steps.iter().any(|step| step.id == *of && matches!(step.action, Action::Run(_)));
                record.trust = trust_of(&run.record, of).min(if own { Trust::Node } else { Trust::Peer });
                // Whether there is one value is seen now.
                let with: Vec<Step> = run.duty.steps[..=at].to_vec();
                self.value(run, &with, &step.id, &mut BTreeMap::new()).await?;
                record.ended = Some(now);
            }
            Action::Post { body, .. } => {
                record.trust = self.fill_one(run, body).await?.trust;
            }
            Action::Wait { secs } => record.until = Some(now.saturating_add(*secs)),
            Action::Remember(note) => {
                record.trust = self.fill_one(run, &note.text).await?.trust;
                // Whether they can be named is seen now.
                self.sources(run, &step.id, record.trust)?;
            }
            Action::Recall(asking) => {
                let question = self.fill_one(run, &asking.question).await?;
                let (memories, trust) =
                    self.hands.recall(asking, text_of(&question.bytes)).await.map_err(Fault::Fails)?;
                // Who asks decides what is found.
                (record.memories, record.trust) = (memories, trust.min(question.trust));
                record.ended = Some(now);
            }
        }
        let (id, before, trust) = (run.id.clone(), run.record.clone(), run.order.trust);
        let mut after = before.clone();
        after.steps.push(record);
        after.state = RunState::Going;
        let begun = self.books.commit(failpoint::Step::StoreStep, move |w| {
            // In the transaction: what the owner has said before it holds.
            let stopped = stopped(w, &id, &before, trust)?;
            if stopped.is_none() {
                put_run(w, &id, &after)?;
            }
            Ok::<_, StoreError>(stopped.map_or(Ok(after), Err))
        });
        run.record = begun.await?.map_err(Fault::Stops)?;
        Ok(())
    }

    /// Before the first step: what later ones need of the trigger is there, and what this node is to do itself it sells.
    async fn check_all(&self, run: &Run) -> Result<(), Fault> {
        let trigger = self.trigger(run).await?;
        let (steps, run_value) = (BTreeMap::new(), about(run));
        let scope = Scope { trigger: &trigger, run: &run_value, steps: &steps, item: None };
        for step in &run.duty.steps {
            let (input, work) = match &step.action {
                Action::Hire(work) | Action::Run(work) | Action::Verify(work) => (&work.input, Some(work)),
                Action::Post { body: input, .. }
                | Action::Remember(Note { text: input, .. })
                | Action::Recall(Asking { question: input, .. }) => (input, None),
                Action::Reduce { .. } | Action::Wait { .. } => continue,
            };
            let each = work.and_then(|work| work.each.as_ref()).map(|each| &each.path);
            for path in
                input.paths().into_iter().chain(each).filter(|path| ["trigger", "run"].contains(&path.root.as_str()))
            {
                if let Err(error) = scope.look(path) {
                    return fails(format!("step {}: {error}", step.id));
                }
            }
            if let Action::Run(work) = &step.action
                && !self.hands.sells(work)
            {
                return fails(format!("step {}: this node doesn't sell {}", step.id, work.service));
            }
        }
        Ok(())
    }

    /// The most that each of so many hires may cost: as the file says, and what the budget leaves.
    fn cap(&self, run: &Run, action: &Action, work: &Work, hires: u64) -> Result<u64, Fault> {
        if matches!(action, Action::Run(_)) || hires == 0 {
            return Ok(work.max_price.unwrap_or(1).max(1));
        }
        let Some(budget) = &run.duty.budget else { return fails("there is no budget") };
        let budget = self.books.read(|r| budget_now(r, &run.record.duty, budget))?;
        let left = self.hands.left(&run.record.duty, &run.id, &budget)?;
        let share = left / hires;
        let cap = work.max_price.unwrap_or_else(|| self.hands.defaults.max_price.min(share));
        if cap == 0 || cap > share {
            let wanted = work.max_price.unwrap_or(1).saturating_mul(hires);
            let unit = &budget.unit;
            return fails(format!(
                "{hires} hires may cost {wanted} {unit}, and the budget leaves {left} of the run and the day"
            ));
        }
        Ok(cap)
    }

    // --- a step goes on ---

    /// Takes the step under way on; `None` if the run can go on at once.
    async fn proceed(&self, run: &mut Run) -> Result<Option<Parked>, Fault> {
        let at = run.record.steps.len() - 1;
        let Some(step) = run.duty.steps.get(at).cloned() else { return fails("its file has fewer steps than it did") };
        match &step.action {
            Action::Hire(work) => self.work(run, &step, work, false).await,
            Action::Verify(work) => self.work(run, &step, work, false).await,
            Action::Run(work) => self.work(run, &step, work, true).await,
            Action::Reduce { .. } => self.over(run).await,
            Action::Post { to, body } => {
                let filled = self.fill_one(run, body).await?;
                let key = format!("{}/{}", run.id, step.id);
                if let Err(why) = self.hands.post(to, &key, filled.bytes, filled.trust).await {
                    return fails(why);
                }
                self.over(run).await
            }
            // What it recalled was written when it began.
            Action::Recall(_) => self.over(run).await,
            Action::Remember(note) => {
                let filled = self.fill_one(run, &note.text).await?;
                let (began, trust) = (run.record.steps[at].began, run.record.steps[at].trust.min(filled.trust));
                let sources = self.sources(run, &step.id, trust)?;
                let noted = Noted { duty: &run.record.duty, run: &run.id, at: began, trust, sources };
                if let Err(why) = self.hands.remember(noted, note, text_of(&filled.bytes)).await {
                    return fails(why);
                }
                self.over(run).await
            }
            Action::Wait { .. } => match run.record.steps[at].until.filter(|until| *until > self.runtime.now()) {
                Some(until) => Ok(Some(Parked::Until(until))),
                None => self.over(run).await,
            },
        }
    }

    /// Writes that the step under way is done.
    async fn over(&self, run: &mut Run) -> Result<Option<Parked>, Fault> {
        let now = self.runtime.now();
        if let Some(step) = run.record.steps.last_mut() {
            step.ended = Some(now);
        }
        self.store(failpoint::Step::StoreOutcome, run).await?;
        Ok(None)
    }

    async fn work(&self, run: &mut Run, step: &Step, work: &Work, own: bool) -> Result<Option<Parked>, Fault> {
        self.take_ends(run).await?;
        if step.is_verify() {
            self.verify_by_the_next_best(run).await?;
        }
        let placed_all = self.place(run, step, work, own).await?;
        let Some(record) = run.record.steps.last() else { return Ok(None) };
        if !record.hires.iter().all(HireRecord::is_over) {
            let tasks = record.hires.iter().filter(|hire| !hire.is_over()).filter_map(|hire| hire.task).collect();
            return Ok(Some(if placed_all { Parked::Hires(tasks) } else { Parked::Soon }));
        }
        if let Err(why) = check_quorum(record, work) {
            let by_budget = !own && work.max_price.is_none() && record.cap < self.hands.defaults.max_price;
            return fails(match by_budget {
                true => format!("{why} (the budget left {} for each)", record.cap),
                false => why,
            });
        }
        if let Some(of) = &work.of {
            let verdict = self.value(run, &run.duty.steps, &step.id, &mut BTreeMap::new()).await?;
            if !is_positive(&verdict.value) {
                return fails(format!(
                    "the verifier doesn't accept what the step {of} has put out: {}",
                    short(&verdict.text())
                ));
            }
        }
        self.over(run).await
    }

    /// Takes the ends of the step's hires, and writes what is made of them. What was lost with a crash is to be placed again.
    async fn take_ends(&self, run: &mut Run) -> Result<(), Fault> {
        let now = self.runtime.now();
        let Some(step) = run.record.steps.last_mut() else { return Ok(()) };
        let mut changed = false;
        for hire in step.hires.iter_mut().filter(|hire| hire.state == HireState::Placed) {
            let stands = match hire.task {
                Some(task) => self.hands.stands(task)?,
                None => Stands::Lost,
            };
            match stands {
                Stands::GoesOn => continue,
                // So long after, what is on record no more may have been bought.
                Stands::Lost if now.since(step.began) >= MAX_LOST_SECS => {
                    hire.state = HireState::Failed("nothing is known of its task any more".to_owned());
                }
                Stands::Lost => hire.state = HireState::Wanted,
                Stands::Over(Ended { failure, seller, price }) => {
                    (hire.seller, hire.price) = (seller, price);
                    hire.state = failure.map_or(HireState::Delivered, HireState::Failed);
                }
            }
            changed = true;
        }
        if changed {
            self.store(failpoint::Step::StoreOutcome, run).await?;
        }
        Ok(())
    }

    /// Where nobody verifies that did none of the work, whoever is next best does.
    async fn verify_by_the_next_best(&self, run: &mut Run) -> Result<(), Fault> {
        let Some(step) = run.record.steps.last_mut() else { return Ok(()) };
        let nobody = |hire: &HireRecord| matches!(hire.state, HireState::Failed(_)) && hire.price.is_none();
        if step.hires.len() == 1 && step.hires.iter().all(nobody) {
            let next = HireRecord { nth: 1, task: None, state: HireState::Wanted, seller: None, price: None, item: 0 };
            step.hires.push(next);
            self.store(failpoint::Step::StoreStep, run).await?;
        }
        Ok(())
    }

    /// Places the hires whose turn it is. The sellers of an item come one after the other, so that each is another. Says whether all
    /// of them could be.
    async fn place(&self, run: &mut Run, step: &Step, work: &Work, own: bool) -> Result<bool, Fault> {
        // What can't be placed is over, and another seller of its item has its turn.
        while let Some(all) = self.place_some(run, step, work, own).await? {
            if !all {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Places some; whether all of those could be, or nothing if there was none to place.
    async fn place_some(&self, run: &mut Run, step: &Step, work: &Work, own: bool) -> Result<Option<bool>, Fault> {
        let Some(record) = run.record.steps.last() else { return Ok(None) };
        let under_way = record.hires.iter().filter(|hire| hire.state == HireState::Placed).count();
        let turns: Vec<usize> = (0..record.hires.len()).filter(|at| is_its_turn(&record.hires, *at)).collect();
        let turns: Vec<usize> = turns.into_iter().take(HIRES_AT_ONCE.saturating_sub(under_way)).collect();
        if turns.is_empty() {
            return Ok(None);
        }
        let items: BTreeSet<u32> = turns.iter().map(|at| record.hires[*at].item).collect();
        let filled = self.inputs(run, work, |item| items.contains(&item), true).await?.kept;
        let workers = self.workers(run, work);
        let mut all = true;
        for at in turns {
            let Some(record) = run.record.steps.last() else { break };
            let hire = &record.hires[at];
            let Some(input) = filled.get(&hire.item) else { return fails("an item of it is gone") };
            let mut avoid: Vec<_> =
                record.hires.iter().filter(|other| other.item == hire.item).filter_map(|other| other.seller).collect();
            if step.is_verify() && hire.nth == 0 {
                avoid.extend(&workers);
            }
            let place = Place { run: &run.id, step: &step.id, item: hire.item, nth: hire.nth };
            // Each as the owner has it now: those before it may have taken long.
            let of_file = run.duty.budget.as_ref().filter(|_| !own);
            let (stopped, budget) = self.books.read(|r| {
                let budget = of_file.map(|budget| budget_now(r, &run.record.duty, budget)).transpose()?;
                Ok((stopped(r, &run.id, &run.record, run.order.trust)?, budget))
            })?;
            if let Some(why) = stopped {
                return Err(Fault::Stops(why));
            }
            let terms = Terms { duty: &run.record.duty, budget: budget.as_ref(), cap: record.cap, avoid, own };
            let placing = self.hands.place(place, work, terms, input.bytes.clone()).await;
            let Some(hire) = run.record.steps.last_mut().and_then(|step| step.hires.get_mut(at)) else { break };
            match placing {
                Placing::Placed(task) => (hire.task, hire.state) = (Some(task), HireState::Placed),
                Placing::Failed(why) => hire.state = HireState::Failed(why),
                Placing::Later => {
                    all = false;
                    break;
                }
            }
        }
        self.store(failpoint::Step::Other, run).await?;
        Ok(Some(all))
    }

    /// What a step's words were made of: the sellers of all that was bought for them, the memories that were recalled, receipts as far as
    /// there is room. What sellers and memories there is no room for, a memory of it couldn't be found again by.
    fn sources(&self, run: &Run, step: &str, trust: Trust) -> Result<Vec<Source>, Fault> {
        let made = ancestry(&run.duty.steps, step);
        let (mut sellers, mut receipts, mut memories) = (Vec::new(), Vec::new(), Vec::new());
        for step in run.record.steps.iter().filter(|step| made.contains(step.id.as_str())) {
            memories.extend(step.memories.iter().map(|id| Source::Memory(*id)));
            for task in step.hires.iter().filter(|hire| hire.is_delivered()).filter_map(|hire| hire.task) {
                let (of_seller, of_receipt): (Vec<_>, Vec<_>) =
                    self.hands.sources(task)?.into_iter().partition(|source| matches!(source, Source::Peer(_)));
                // A service of our own signs no word but ours.
                receipts.extend(of_receipt.into_iter().filter(|_| !of_seller.is_empty()));
                sellers.extend(of_seller);
            }
        }
        let mut sources = Vec::new();
        if trust == Trust::World {
            sources.push(Source::World(run.record.by.clone()));
        }
        for source in sellers.into_iter().chain(memories) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        if sources.len() > MAX_MEMORY_SOURCES {
            return fails(format!(
                "it was made of {} sellers and memories, and a memory has at most {MAX_MEMORY_SOURCES} sources",
                sources.len()
            ));
        }
        receipts.truncate(MAX_MEMORY_SOURCES - sources.len());
        sources.extend(receipts);
        Ok(sources)
    }

    /// Whoever worked on what is verified.
    fn workers(&self, run: &Run, work: &Work) -> BTreeSet<guilder_protocol::identity::AgentId> {
        let Some(of) = &work.of else { return BTreeSet::new() };
        let made = ancestry(&run.duty.steps, of);
        let steps = run.record.steps.iter().filter(|step| made.contains(step.id.as_str()));
        steps.flat_map(|step| &step.hires).filter_map(|hire| hire.seller).collect()
    }

    // --- values ---

    /// Fills the inputs of the items that are wanted, one after the other, and keeps them if they are to be kept.
    async fn inputs(&self, run: &Run, work: &Work, wanted: impl Fn(u32) -> bool, keep: bool) -> Result<Inputs, Fault> {
        let trigger = self.trigger(run).await?;
        let about = about(run);
        let each = work.each.as_ref().map(|each| &each.path);
        let steps = self.needed(run, &work.input, each.map(|path| path.root.as_str())).await?;
        let scope = Scope { trigger: &trigger, run: &about, steps: &steps, item: None };
        let mut inputs = Inputs { items: 1, left_out: 0, trust: Trust::Owner, kept: BTreeMap::new() };
        let Some(each) = &work.each else {
            inputs.take(0, fill(&work.input, &scope)?, keep);
            return Ok(inputs);
        };
        let list = scope.look(&each.path).map_err(|error| Fault::Fails(error.to_string()))?;
        let Value::Array(items) = list.value else { return fails(format!("`{}` is no list", each.path)) };
        inputs.items = (items.len() as u64).min(each.max_items);
        inputs.left_out = items.len() as u64 - inputs.items;
        // How many there are is theirs too.
        inputs.trust = list.trust;
        let mut size = 0;
        for (at, item) in (0..).zip(items).take(usize::try_from(inputs.items).unwrap_or(usize::MAX)) {
            if !wanted(at) {
                continue;
            }
            let item = Sourced::new(item, list.trust);
            let one = fill(&work.input, &Scope { item: Some(&item), ..scope.clone() })?;
            size += one.bytes.len();
            if size > MAX_RUN_VALUES {
                return fails(format!("its inputs have more than {MAX_RUN_VALUES} bytes together"));
            }
            inputs.take(at, one, keep);
        }
        Ok(inputs)
    }

    async fn fill_one(&self, run: &Run, input: &Input) -> Result<Filled, Fault> {
        let (trigger, about) = (self.trigger(run).await?, about(run));
        let steps = self.needed(run, input, None).await?;
        fill(input, &Scope { trigger: &trigger, run: &about, steps: &steps, item: None })
    }

    /// The outputs that an input needs.
    async fn needed(&self, run: &Run, input: &Input, each: Option<&str>) -> Result<BTreeMap<String, Sourced>, Fault> {
        let mut roots: BTreeSet<&str> = input.paths().into_iter().map(|path| path.root.as_str()).chain(each).collect();
        if let Input::Output(step) = input {
            roots.insert(step);
        }
        let mut known = BTreeMap::new();
        let steps: Vec<&str> =
            run.record.steps.iter().filter(|step| step.ended.is_some()).map(|s| s.id.as_str()).collect();
        for id in steps.into_iter().filter(|id| roots.contains(id)) {
            self.value(run, &run.duty.steps, id, &mut known).await?;
        }
        Ok(known)
    }

    /// What a step has put out, made of its tasks' outputs; kept in `known`.
    async fn value(
        &self,
        run: &Run,
        steps: &[Step],
        id: &str,
        known: &mut BTreeMap<String, Sourced>,
    ) -> Result<Sourced, Fault> {
        if let Some(value) = known.get(id) {
            return Ok(value.clone());
        }
        let Some(step) = steps.iter().find(|step| step.id == id) else {
            return fails(format!("there is no step {id}"));
        };
        let value = match &step.action {
            Action::Reduce { how, of } => {
                let of_each = steps.iter().find(|other| other.id == *of).is_some_and(Step::is_each);
                let (items, trust) = self.outputs(run, steps, of).await?;
                match how.of(&items, of_each) {
                    Ok(value) => Sourced::new(value, trust),
                    Err(error) => return fails(error.to_string()),
                }
            }
            Action::Hire(work) | Action::Run(work) | Action::Verify(work) => {
                let (items, trust) = self.outputs(run, steps, id).await?;
                let one = |outputs: Outputs| match work.sellers {
                    1 => outputs.into_iter().next().unwrap_or(Value::Null),
                    _ => Value::Array(outputs),
                };
                let mut items: Vec<Value> = items.into_iter().map(one).collect();
                let value = if work.each.is_some() { Value::Array(items) } else { items.pop().unwrap_or(Value::Null) };
                Sourced::new(value, trust)
            }
            Action::Recall(_) => {
                let record = run.record.steps.iter().find(|step| step.id == id);
                let Some(StepRecord { memories, trust, .. }) = record else {
                    return fails(format!("the step {id} hasn't been done"));
                };
                Sourced::new(self.hands.memories(memories).await.map_err(Fault::Fails)?, *trust)
            }
            Action::Post { .. } | Action::Wait { .. } | Action::Remember(_) => Sourced::new(Value::Null, Trust::Owner),
        };
        let size: usize = known.values().map(|value| value.text().len()).sum::<usize>() + value.text().len();
        if size > MAX_RUN_VALUES {
            return fails(format!("its steps have put out more than {MAX_RUN_VALUES} bytes together"));
        }
        known.insert(id.to_owned(), value.clone());
        Ok(value)
    }

    /// The outputs of a step's hires that were delivered, by item, without items of which there is none.
    async fn outputs(&self, run: &Run, steps: &[Step], id: &str) -> Result<(Vec<Outputs>, Trust), Fault> {
        let Some(record) = run.record.steps.iter().find(|step| step.id == id) else {
            return fails(format!("the step {id} hasn't been done"));
        };
        let own = steps.iter().any(|step| step.id == id && matches!(step.action, Action::Run(_)));
        let trust = record.trust.min(if own { Trust::Node } else { Trust::Peer });
        let mut items = BTreeMap::<u32, Outputs>::new();
        let mut size = 0;
        for hire in record.hires.iter().filter(|hire| hire.is_delivered()) {
            let Some(task) = hire.task else { continue };
            let output = self.hands.output(task, trust).await.map_err(Fault::Fails)?;
            size += output.text().len();
            if size > MAX_RUN_VALUES {
                return fails(format!("the step {id} has put out more than {MAX_RUN_VALUES} bytes"));
            }
            items.entry(hire.item).or_default().push(output.value);
        }
        Ok((items.into_values().collect(), trust))
    }

    /// What set the run off.
    async fn trigger(&self, run: &Run) -> Result<Sourced, Fault> {
        let trust = run.order.trust;
        let bytes = match (&run.order.payload, &run.order.body) {
            (Some(payload), _) => Bytes::from(payload.to_vec()),
            (None, Some(body)) => {
                let data = Data::from_stored(body.clone(), &self.hands.content);
                match self.hands.body(data).await {
                    Ok(bytes) => bytes,
                    Err(why) => return fails(format!("the webhook's body can't be taken: {why}")),
                }
            }
            (None, None) => Bytes::from_static(b"null"),
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Sourced::new(value, trust)),
            Err(error) => fails(format!("what set it off is no JSON: {error}")),
        }
    }
}

impl Step {
    fn is_verify(&self) -> bool {
        matches!(self.action, Action::Verify(_))
    }

    fn is_each(&self) -> bool {
        match &self.action {
            Action::Hire(work) | Action::Run(work) | Action::Verify(work) => work.each.is_some(),
            _ => false,
        }
    }
}

/// Why a run goes no further, if it doesn't: it was called off, or before it had begun its duty was removed, or paused. What its owner has
/// run is the owner's word as well as the pause.
fn stopped(r: &impl Reader, id: &str, run: &RunRecord, trust: Trust) -> Result<Option<&'static str>, StoreError> {
    if run.steps.is_empty() {
        match r.get(DUTIES, Key::of(run.duty.as_str()))? {
            None => return Ok(Some("the duty was removed")),
            Some(duty) if duty.paused.is_some() && trust < Trust::Owner => return Ok(Some(Why::Paused.as_str())),
            Some(_) => {}
        }
    }
    Ok(r.contains(CANCELS, Key::of(id))?.then_some("it was called off"))
}

/// What a run may spend: as the file says that it is of, and no more than the duty's says now. A run that goes on although its duty was
/// removed keeps its own.
fn budget_now(r: &impl Reader, duty: &str, of_run: &Budget) -> Result<Budget, StoreError> {
    let Some(record) = r.get(DUTIES, Key::of(duty))? else { return Ok(of_run.clone()) };
    let now = Duty::from_toml(&record.file).ok().and_then(|duty| duty.budget);
    // A duty that has no money any more, or that of another unit, has none of this.
    let (run, day) = now.filter(|now| now.unit == of_run.unit).map_or((0, 0), |now| (now.run, now.day));
    Ok(Budget { run: of_run.run.min(run), day: of_run.day.min(day), ..of_run.clone() })
}

/// Writes that a run is over. Returns why its duty is paused, if it is.
fn write_end(w: &mut Write<'_>, id: &str, run: &RunRecord, now: Timestamp) -> Result<Option<String>, StoreError> {
    put_run(w, id, run)?;
    let trust = w.get(ORDERS, Key::of(id))?.map_or(Trust::World, |order| order.trust);
    let_go(w, id)?;
    let key = Key::of(run.duty.as_str());
    let Some(duty) = w.get(DUTIES, &key)? else { return Ok(None) };
    let failures = match run.state {
        // Whoever sends what can't be used must not stop the owner's duty with it.
        RunState::Failed if trust < Trust::Node => duty.failures,
        RunState::Failed => duty.failures.saturating_add(1),
        RunState::Cancelled => duty.failures,
        _ => 0,
    };
    let why = format!("{failures} runs failed one after the other");
    let pauses = failures >= FAILURES_TO_PAUSE && duty.paused.is_none();
    let paused = if pauses { Some(Paused { at: now, why: why.clone() }) } else { duty.paused.clone() };
    w.put(DUTIES, key, &DutyRecord { failures, paused, version: duty.version + 1, ..duty })?;
    Ok(pauses.then_some(why))
}

/// What a run says of itself.
fn about(run: &Run) -> Sourced {
    let record = &run.record;
    let due = record.due.unwrap_or(record.queued).to_string();
    Sourced::new(json!({"id": run.id, "duty": record.duty, "due": due}), Trust::Node)
}

fn fill(input: &Input, scope: &Scope<'_>) -> Result<Filled, Fault> {
    let filled =
        |template: &super::template::Template| template.fill(scope).map_err(|error| Fault::Fails(error.to_string()));
    let (bytes, trust) = match input {
        Input::Nothing => (Vec::new(), Trust::Owner),
        Input::Json(template) => {
            let value = filled(template)?;
            (value.value.to_string().into_bytes(), value.trust)
        }
        Input::Text(template) => {
            let value = filled(template)?;
            (value.text().into_bytes(), value.trust)
        }
        Input::Output(step) => match scope.steps.get(step) {
            Some(value) => (value.text().into_bytes(), value.trust),
            None => return fails(format!("there is no output of the step {step}")),
        },
    };
    if bytes.len() > MAX_VALUE_BYTES {
        return fails(format!("an input has {} bytes; {MAX_VALUE_BYTES} are the most", bytes.len()));
    }
    Ok(Filled { bytes: bytes.into(), trust })
}

fn trust_of(record: &RunRecord, step: &str) -> Trust {
    record.steps.iter().find(|other| other.id == step).map_or(Trust::World, |step| step.trust)
}

/// Whether a hire is to be placed now: those of the same item before it are over.
fn is_its_turn(hires: &[HireRecord], at: usize) -> bool {
    let hire = &hires[at];
    let before = hires.iter().filter(|other| other.item == hire.item && other.nth < hire.nth);
    hire.state == HireState::Wanted && before.into_iter().all(HireRecord::is_over)
}

/// Whether as many of a step's hires were delivered as the file wants; else why not.
fn check_quorum(record: &StepRecord, work: &Work) -> Result<(), String> {
    let items: BTreeSet<u32> = record.hires.iter().map(|hire| hire.item).collect();
    let delivered =
        |item: u32| record.hires.iter().filter(|hire| hire.item == item && hire.is_delivered()).count() as u64;
    let good = items.iter().filter(|item| delivered(**item) >= work.quorum).count() as u64;
    let wanted = work.min_items.unwrap_or(items.len() as u64);
    if good >= wanted {
        return Ok(());
    }
    let why = record.hires.iter().find_map(|hire| match &hire.state {
        HireState::Failed(why) => Some(why.as_str()),
        _ => None,
    });
    let why = why.unwrap_or("there are too few items");
    if items.len() == 1 && work.sellers == 1 {
        return Err(why.to_owned());
    }
    Err(format!("{good} of {} items were delivered by as many sellers as are wanted: {why}", items.len()))
}

/// Whether a verdict accepts: `true`, or an object whose `ok` is.
fn is_positive(verdict: &Value) -> bool {
    match verdict {
        Value::Bool(ok) => *ok,
        Value::Object(fields) => fields.get("ok") == Some(&Value::Bool(true)),
        _ => false,
    }
}

/// The beginning of a text from outside.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A step in words.
pub(super) fn what(step: &Step) -> String {
    match &step.action {
        Action::Hire(work) => format!("hire {}", work.service),
        Action::Run(work) => format!("run {}", work.service),
        Action::Verify(work) => format!("verify {} by {}", work.of.as_deref().unwrap_or_default(), work.service),
        Action::Reduce { how, of } => format!("reduce {of} by {}", how.as_str()),
        Action::Post { to, .. } => format!("post to {to}"),
        Action::Wait { secs } => format!("wait {secs} s"),
        Action::Remember(note) => format!("remember in {}", note.domain),
        Action::Recall(asking) => format!("recall from {}", asking.domain),
    }
}

/// An input's text, which was text before it was bytes.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        duty::books::{Cause, DutyError},
        failpoint::Failpoint,
        store::{Store, testing::CrashBackend},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const FILE: &str = "name = \"echoes\"\non = [{ hook = \"repo\" }]\noverlap = \"queue\"\n\
                        budget = { unit = \"sat\", run = 40, day = 100 }\n\
                        [[step]]\nhire = \"text.echo\"\ntext = \"{{trigger.word}}\"\n";

    async fn books() -> Books {
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        let books = Books::new(store, Failpoint::default());
        add(&books, FILE).await;
        books
    }

    async fn add(books: &Books, file: &str) {
        books.add(Duty::from_toml(file).unwrap(), file.to_owned(), 0, NOW).await.unwrap();
    }

    /// Sets the duty off on somebody's word, and gives the run's ID.
    async fn set_off(books: &Books, key: &str, trust: Trust) -> String {
        let (key, by) = (key.to_owned(), "a test".to_owned());
        let cause = Cause { key, by, due: None, payload: Some(Value::Null), body: None, trust };
        books.set_off("echoes", cause, NOW).await.unwrap().runs.remove(0).0
    }

    fn why_stopped(books: &Books, id: &str) -> Option<&'static str> {
        let stopped = books.read(|r| {
            let (run, order) = (r.get(RUNS, Key::of(id))?.unwrap(), r.get(ORDERS, Key::of(id))?.unwrap());
            stopped(r, id, &run, order.trust)
        });
        stopped.unwrap()
    }

    /// Writes that a run has begun its first step.
    async fn begin(books: &Books, id: &str) {
        let id = id.to_owned();
        let begun = books.commit(failpoint::Step::StoreStep, move |w| {
            let mut run = w.get(RUNS, Key::of(id.as_str()))?.unwrap();
            run.state = RunState::Going;
            run.steps.push(StepRecord {
                id: "1".to_owned(),
                what: "hire text.echo".to_owned(),
                began: NOW,
                ended: None,
                failure: None,
                trust: Trust::Owner,
                left_out: 0,
                cap: 1,
                hires: Vec::new(),
                until: None,
                memories: Vec::new(),
            });
            put_run(w, &id, &run)
        });
        begun.await.unwrap();
    }

    /// Writes that a run is over. Whether its duty is paused for it.
    async fn end(books: &Books, id: &str, state: RunState) -> bool {
        let id = id.to_owned();
        let ended = books.commit(failpoint::Step::StoreRun, move |w| {
            let run = w.get(RUNS, Key::of(id.as_str()))?.unwrap();
            write_end(w, &id, &RunRecord { state, ended: Some(NOW), ..run }, NOW)
        });
        ended.await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_run_that_waits_does_not_begin_once_its_duty_is_paused_unless_its_owner_set_it_off() {
        let books = books().await;
        let (begun, hook, hand) = (
            set_off(&books, "1", Trust::World).await,
            set_off(&books, "2", Trust::World).await,
            set_off(&books, "3", Trust::Owner).await,
        );
        assert_eq!([&begun, &hook, &hand].map(|id| why_stopped(&books, id)), [None; 3]);
        begin(&books, &begun).await;
        books.pause("echoes", Some("its owner paused it".to_owned()), NOW).await.unwrap();
        assert_eq!(why_stopped(&books, &hook), Some("the duty was paused"));
        assert_eq!([&begun, &hand].map(|id| why_stopped(&books, id)), [None; 2], "what goes on goes on");
        books.pause("echoes", None, NOW).await.unwrap();
        assert_eq!(why_stopped(&books, &hook), None);
        books.cancel(&begun, NOW).await.unwrap();
        assert_eq!(why_stopped(&books, &begun), Some("it was called off"), "also in the midst of a step");
    }

    #[tokio::test]
    async fn a_run_that_waits_does_not_begin_once_its_duty_is_removed_though_there_is_one_of_its_name_again() {
        let books = books().await;
        let (begun, hand) = (set_off(&books, "1", Trust::World).await, set_off(&books, "2", Trust::Owner).await);
        begin(&books, &begun).await;
        books.remove("echoes", NOW).await.unwrap();
        assert_eq!(why_stopped(&books, &hand), Some("the duty was removed"));
        assert_eq!(why_stopped(&books, &begun), None);
        add(&books, FILE).await;
        assert_eq!(why_stopped(&books, &hand), Some("it was called off"));
        assert_eq!(why_stopped(&books, &begun), None);
    }

    #[tokio::test]
    async fn a_run_spends_by_its_own_file_and_by_that_of_now_whichever_is_less() {
        let books = books().await;
        let of_run = Duty::from_toml(FILE).unwrap().budget.unwrap();
        let left = |books: &Books| {
            let budget = books.read(|r| budget_now(r, "echoes", &of_run)).unwrap();
            (budget.run, budget.day)
        };
        assert_eq!(left(&books), (40, 100));
        for (budget, expected) in
            [("run = 4, day = 200", (4, 100)), ("run = 50, day = 60", (40, 60)), ("run = 50, day = 200", (40, 100))]
        {
            add(&books, &FILE.replace("run = 40, day = 100", budget)).await;
            assert_eq!(left(&books), expected, "{budget}");
        }
        add(&books, &FILE.replace("\"sat\"", "\"usd\"")).await;
        assert_eq!(left(&books), (0, 0), "in this unit it has nothing any more");
        add(&books, "name = \"echoes\"\non = [{ hook = \"repo\" }]\n[[step]]\nrun = \"text.own\"\n").await;
        assert_eq!(left(&books), (0, 0));
        books.remove("echoes", NOW).await.unwrap();
        assert_eq!(left(&books), (40, 100));
    }

    #[tokio::test]
    async fn failures_of_what_outsiders_set_off_do_not_pause_a_duty() {
        let books = books().await;
        for (nth, trust) in [Trust::World, Trust::Peer].into_iter().cycle().take(6).enumerate() {
            let id = set_off(&books, &format!("outside {nth}"), trust).await;
            assert!(!end(&books, &id, RunState::Failed).await);
        }
        let failures = |books: &Books| books.duty("echoes").map(|duty| (duty.failures, duty.paused.is_some()));
        assert_eq!(failures(&books).unwrap(), (0, false));
        for (nth, trust) in [Trust::Node, Trust::Owner, Trust::Node].into_iter().enumerate() {
            let id = set_off(&books, &format!("own {nth}"), trust).await;
            assert_eq!(end(&books, &id, RunState::Failed).await, nth == 2);
        }
        assert_eq!(failures(&books).unwrap(), (3, true));
        books.remove("echoes", NOW).await.unwrap();
        assert!(matches!(failures(&books), Err(DutyError::Unknown(_))));
    }
}
