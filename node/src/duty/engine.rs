//! The engine: looks when something is due, writes what becomes of it, and takes runs on.
//!
//! ```text
//!  clock ─▶ what is due ─▶ decided in a snapshot ── StoreDue ─▶ runs queued ─▶ as many as may go on ─▶ Runner::advance, a task each
//!  events ─▶ a hire of ours has ended ─▶ its run ────────────────────────────────────────────────────▶        … parked: no task
//!  journal ─▶ the next event that sets a duty off ── StoreDue ─▶ …
//! ```
//!
//! A run that waits is a record and a line on the [`Board`]: no task, no thread. Events only wake: whoever missed one finds the ends that
//! are written down. While there are duties with schedules, the engine looks at the clock at least every [`LOOK_PAUSE`], since a clock
//! that is set and a machine that was asleep wake nobody.
//!
//! **What happens in the node** and sets a duty off is read from the journal of events, from where it was read last, also after a restart: an
//! event has one outcome for each duty that waits for it. One that is read more than [`EVENT_GRACE_SECS`] late is skipped, and so is, once,
//! what the journal no longer knows. A peer's penalty alone is heard as it happens or not at all: strangers cause it at will, so that
//! the journal doesn't keep it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cid::Cid;
use guilder_protocol::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    Inner,
    books::{Cause, Decided, Made, has_run},
    file::{Duty, NodeTrigger, Trigger},
    hands::Stands,
    limits::{
        CLOCK_WAVERS_SECS, EVENT_GRACE_SECS, LOOK_PAUSE, MAX_LIVE_RUNS, SETTLE_PAUSE, STORE_PAUSE, UNWRITTEN_EVENTS,
    },
    records::{DUTIES, DutyRecord, OPEN, RUNS, RunState, Why, run_of},
    runs::Parked,
    schedule::Decision,
    value::Trust,
};
use crate::{
    events::{Event, Heard, Outcome, Recalled, Side, Stamped},
    runtime::Job,
    store::{Key, KeyRange, Reader as _, StoreError},
};

/// What the engine has in mind; all of it can be read from the store again.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Duties, by name.
    duties: BTreeMap<String, Known>,
    /// Runs that wait for their turn, the oldest first, with their duties.
    queued: BTreeMap<(Timestamp, String), String>,
    /// Runs that go on.
    going: BTreeMap<String, Going>,
    /// When every run was looked at last.
    swept: Option<Instant>,
    /// The event up to which no duty is set off any more, and up to which that is written.
    heard: (u64, u64),
}

/// What is known of a duty without its file.
#[derive(Debug, Default)]
struct Known {
    /// When it is looked at next.
    next: Option<Timestamp>,
    /// Up to when its moments are decided.
    decided: Option<Timestamp>,
    hooks: Vec<(String, Option<String>)>,
    on: BTreeSet<NodeTrigger>,
    /// The number of the last event that has its outcome.
    heard: u64,
}

#[derive(Debug)]
struct Going {
    duty: String,
    /// Whether a task takes it on.
    busy: bool,
    /// Whether it is to be taken on again.
    again: bool,
    /// When it is to be.
    until: Option<Timestamp>,
    /// What it waits for.
    tasks: BTreeSet<Cid>,
}

impl Going {
    fn of(duty: String) -> Self {
        Self { duty, busy: false, again: true, until: None, tasks: BTreeSet::new() }
    }

    fn is_live(&self) -> bool {
        self.busy || !self.tasks.is_empty()
    }
}

/// How often it is looked whether a hire that was said to have ended has.
const ENDED_LOOKS: usize = 5;

impl Inner {
    /// Goes on until the node stops.
    pub(super) async fn run(self: Arc<Self>) {
        let mut events = self.events.subscribe_to(may_concern);
        self.take_up_ended();
        let mut listens = true;
        loop {
            if listens {
                listens = match self.listen().await {
                    Ok(()) => false,
                    Err(error) => {
                        tracing::error!(%error, "what an event sets off could not be stored; trying again");
                        sleep(STORE_PAUSE).await;
                        true
                    }
                };
            }
            let pause = match self.look().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "what is due could not be stored; trying again");
                    STORE_PAUSE
                }
            };
            // Most of what happens concerns no duty: it isn't looked at anew for it.
            let woken = async {
                while let Some(heard) = events.next().await {
                    match heard {
                        Heard::Event(event) if !self.concerns(&event.event) => {}
                        heard => return Some(heard),
                    }
                }
                None
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                heard = woken => match heard {
                    Some(Heard::Event(event)) => {
                        self.hear(&event).await;
                        listens = true;
                    }
                    Some(Heard::Missed(_)) => {
                        self.take_up_ended();
                        listens = true;
                    }
                    None => return self.note_place().await,
                },
                () = sleep(pause) => {}
            }
        }
    }

    /// Reads what there is: duties, and runs that aren't over. Before anything can come that sets one off.
    pub(super) fn resume(&self) -> Result<(), StoreError> {
        let heard = self.books.heard()?;
        let (duties, open) = self.books.read(|r| {
            let duties = r.range(DUTIES, KeyRange::all(), usize::MAX)?;
            let mut open = Vec::new();
            for (row, _) in r.range(OPEN, KeyRange::all(), usize::MAX)? {
                let Some(id) = run_of(&row) else { continue };
                let Some(run) = r.get(RUNS, Key::of(id.as_str()))? else { continue };
                open.push((id, run.duty, run.queued, run.state));
            }
            Ok((duties, open))
        })?;
        let mut board = self.board();
        board.heard = (heard, heard);
        for (_, record) in duties {
            if let Ok(duty) = Duty::from_toml(&record.file) {
                board.duties.insert(duty.name.clone(), Known::of(&duty, &record));
            }
        }
        for (id, duty, queued, state) in open {
            match state {
                RunState::Going => drop(board.going.insert(id, Going::of(duty))),
                _ => drop(board.queued.insert((queued, id), duty)),
            }
        }
        Ok(())
    }

    /// Has a duty read again that was added, changed or removed.
    pub(super) fn reread(self: &Arc<Self>, name: &str) -> Result<(), StoreError> {
        {
            // Before it is read: of two who read it, the later takes what is newer.
            let mut board = self.board();
            let record = self.books.read(|r| r.get(DUTIES, Key::of(name)))?;
            let known = record.and_then(|record| {
                let duty = Duty::from_toml(&record.file).ok()?;
                Some(Known::of(&duty, &record))
            });
            match known {
                Some(known) => drop(board.duties.insert(name.to_owned(), known)),
                None => drop(board.duties.remove(name)),
            }
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Decides what is due, and has as many runs go on as may. Returns how long to wait.
    async fn look(self: &Arc<Self>) -> Result<Duration, StoreError> {
        let now = self.runtime.now();
        let due: Vec<String> = {
            let board = self.board();
            let is_due = |known: &Known| {
                let set_back = known.decided.is_some_and(|decided| now.saturating_add(CLOCK_WAVERS_SECS) < decided);
                set_back || known.next.is_some_and(|next| next <= now)
            };
            board.duties.iter().filter(|(_, known)| is_due(known)).map(|(name, _)| name.clone()).collect()
        };
        if !due.is_empty() {
            self.decide(due, now).await?;
        }
        self.sweep();
        self.start_runs();
        Ok(self.pause())
    }

    /// Now and then every run is looked at: an end may have been told before it could be seen.
    fn sweep(&self) {
        let (mut board, now) = (self.board(), self.runtime.instant());
        if board.swept.is_none_or(|swept| swept + LOOK_PAUSE <= now) {
            board.swept = Some(now);
            board.going.values_mut().filter(|going| !going.tasks.is_empty()).for_each(|going| going.again = true);
        }
    }

    async fn decide(self: &Arc<Self>, due: Vec<String>, now: Timestamp) -> Result<(), StoreError> {
        // A thousand of them take a while: not on the thread that everything else waits for.
        let books = self.books.clone();
        let names = due.clone();
        let decided = self.runtime.offload(Job::Disk, move || {
            let mut decided = Vec::new();
            for name in names {
                let one = books.read(|r| {
                    let Some(record) = r.get(DUTIES, Key::of(name.as_str()))? else { return Ok(None) };
                    let Ok(duty) = Duty::from_toml(&record.file) else { return Ok(None) };
                    let failed = RefCell::new(None);
                    let ran = |at| has_run(r, &name, at).unwrap_or_else(|error| failed.replace(Some(error)).is_none());
                    let schedules = duty.schedules().zip(&record.decided);
                    let decisions: Vec<Decision> =
                        schedules.map(|(schedule, decided)| schedule.decide(*decided, now, ran)).collect();
                    if let Some(error) = failed.take() {
                        return Err(error);
                    }
                    Ok(Some(Decided { name: name.clone(), version: record.version, decisions }))
                })?;
                decided.extend(one);
            }
            Ok::<_, StoreError>(decided)
        });
        let decided = decided.await?;
        let made = self.books.decide(decided, now).await?;
        let inner = Arc::clone(self);
        self.runtime.offload(Job::Disk, move || due.iter().try_for_each(|name| inner.reread(name))).await?;
        self.made(made);
        Ok(())
    }

    /// Tells what was made, and queues its runs.
    pub(super) fn made(self: &Arc<Self>, made: Made) {
        for (duty, moments, why) in made.skipped {
            self.events.emit(Event::DutySkipped { duty, moments, why: why.as_str().to_owned() });
        }
        {
            let mut board = self.board();
            for (run, duty, queued) in &made.runs {
                board.queued.insert((*queued, run.clone()), duty.clone());
            }
        }
        for (run, duty, _) in made.runs {
            self.events.emit(Event::RunBegan { duty, run });
        }
        self.wake.notify_one();
    }

    /// Lets those runs go on that are to, and others begin whose turn it is. One run of a duty at a time; [`MAX_LIVE_RUNS`] in all that
    /// are worked on or have hires under way: one that only waits takes nobody's place.
    fn start_runs(self: &Arc<Self>) {
        let now = self.runtime.now();
        let mut ready = Vec::new();
        {
            let mut board = self.board();
            let mut free = MAX_LIVE_RUNS.saturating_sub(board.going.values().filter(|going| going.is_live()).count());
            for (id, going) in &mut board.going {
                let due = going.again || going.until.is_some_and(|until| until <= now);
                if !due || going.busy || (free == 0 && !going.is_live()) {
                    continue;
                }
                free -= usize::from(!going.is_live());
                (going.busy, going.again, going.until) = (true, false, None);
                ready.push(id.clone());
            }
            let mut taken: BTreeSet<String> = board.going.values().map(|going| going.duty.clone()).collect();
            let mut begin = Vec::new();
            for (key, duty) in &board.queued {
                if free == 0 {
                    break;
                }
                if taken.insert(duty.clone()) {
                    begin.push(key.clone());
                    free -= 1;
                }
            }
            for key in begin {
                if let Some(duty) = board.queued.remove(&key) {
                    ready.push(key.1.clone());
                    board.going.insert(key.1, Going { busy: true, again: false, ..Going::of(duty) });
                }
            }
        }
        for id in ready {
            let inner = Arc::clone(self);
            self.runtime.spawn("duty/run", async move { inner.take_on(id).await }).detach();
        }
    }

    async fn take_on(self: Arc<Self>, id: String) {
        let parked = match self.runner.advance(&id).await {
            Ok(parked) => parked,
            Err(error) => {
                tracing::error!(run = %id, %error, "a run can't go on; trying again");
                sleep(STORE_PAUSE).await;
                Parked::Soon
            }
        };
        let soon = parked == Parked::Soon;
        {
            let mut board = self.board();
            match parked {
                Parked::Over => drop(board.going.remove(&id)),
                parked => {
                    if let Some(going) = board.going.get_mut(&id) {
                        going.busy = false;
                        (going.until, going.tasks) = match parked {
                            Parked::Until(until) => (Some(until), BTreeSet::new()),
                            Parked::Hires(tasks) => (None, tasks),
                            _ => (None, BTreeSet::new()),
                        };
                    }
                }
            }
        }
        if soon {
            sleep(SETTLE_PAUSE * 10).await;
            self.go_on(&id);
        }
        self.wake.notify_one();
    }

    /// Has a run looked at again.
    pub(super) fn go_on(&self, id: &str) {
        if let Some(going) = self.board().going.get_mut(id) {
            going.again = true;
        }
        self.wake.notify_one();
    }

    /// Has a run looked at that is to be called off, though it may not have begun.
    pub(super) fn call_off(&self, id: &str) {
        {
            let mut board = self.board();
            let queued = board.queued.keys().find(|(_, run)| run == id).cloned();
            if let Some(key) = queued
                && let Some(duty) = board.queued.remove(&key)
            {
                board.going.insert(key.1, Going::of(duty));
            }
        }
        self.go_on(id);
    }

    /// How long nothing is to be done, as far as is known.
    fn pause(&self) -> Duration {
        let board = self.board();
        let next = board.duties.values().filter_map(|known| known.next);
        // One whose time has come and that finds no place waits for one that ends, which wakes.
        let now = self.runtime.now();
        let until = board.going.values().filter_map(|going| going.until).filter(|until| *until > now);
        match next.chain(until).min() {
            Some(next) => LOOK_PAUSE.min(Duration::from_secs(next.since(now)).max(Duration::from_millis(20))),
            None if board.going.values().any(|going| !going.tasks.is_empty()) => LOOK_PAUSE,
            // Nothing hangs on the clock.
            None => Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Whether an event may have to do with a duty, for sure not if it says no.
    fn concerns(&self, event: &Event) -> bool {
        if matches!(event, Event::Ended { side: Side::Buyer, .. }) && !self.board().going.is_empty() {
            return true;
        }
        let Some(trigger) = trigger_of(event) else { return false };
        self.board().duties.values().any(|known| known.on.contains(&trigger))
    }

    /// What is to be done as soon as something happens.
    async fn hear(self: &Arc<Self>, event: &Stamped) {
        if let Event::Ended { task, side: Side::Buyer, .. } = &event.event
            && self.runner.hands.is_ours(*task)
        {
            let (inner, task) = (Arc::clone(self), *task);
            self.runtime.spawn("duty/ended", async move { inner.ended(task).await }).detach();
        }
        if !matches!(event.event, Event::PeerPenalized { .. }) {
            return;
        }
        for name in self.waiting(|known| known.on.contains(&NodeTrigger::PeerPenalized)) {
            let key = format!("event {}", hex::encode(self.runtime.random::<16>()));
            let cause = cause_of(key, NodeTrigger::PeerPenalized, event);
            match self.books.set_off(&name, cause, self.runtime.now()).await {
                Ok(made) => self.made(made),
                Err(error) => tracing::error!(%error, duty = %name, "what an event sets off could not be stored"),
            }
            if let Err(error) = self.reread(&name) {
                tracing::error!(%error, duty = %name, "a duty could not be read");
            }
        }
    }

    fn waiting(&self, waits: impl Fn(&Known) -> bool) -> Vec<String> {
        let board = self.board();
        board.duties.iter().filter(|(_, known)| waits(known)).map(|(name, _)| name.clone()).collect()
    }

    /// Reads on in the journal, and writes what becomes of each event that sets duties off.
    async fn listen(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let (triggers, place): (BTreeSet<NodeTrigger>, u64) = {
                let board = self.board();
                (board.duties.values().flat_map(|known| known.on.iter().copied()).collect(), board.heard.0)
            };
            if triggers.is_empty() {
                return Ok(());
            }
            let wants = move |event: &Event| trigger_of(event).is_some_and(|trigger| triggers.contains(&trigger));
            let next = self.journal.next_after(place, wants).await?;
            let now = self.runtime.now();
            let (names, heard) = match &next.found {
                None => (Vec::new(), Err(Why::Unheard)),
                Some(Recalled::Gap { .. }) => {
                    (self.waiting(|known| !known.on.is_empty() && known.heard < next.reached), Err(Why::Unheard))
                }
                Some(Recalled::Event(event)) => match trigger_of(&event.event) {
                    Some(trigger) if !self.is_ours(&event.event) => {
                        let cause = cause_of(format!("event {}", event.seq), trigger, event);
                        let is_late = now.since(event.at) > EVENT_GRACE_SECS;
                        let names = self.waiting(|known| known.on.contains(&trigger) && known.heard < event.seq);
                        (names, if is_late { Err(Why::Grace) } else { Ok(cause) })
                    }
                    _ => (Vec::new(), Err(Why::Unheard)),
                },
            };
            if !names.is_empty() {
                if heard.is_ok() {
                    // So that it is there again if this is as far as the node comes.
                    self.journal.keep(next.reached).await?;
                }
                let made = self.books.hear(names.clone(), next.reached, heard, now).await?;
                names.iter().try_for_each(|name| self.reread(name))?;
                self.made(made);
            }
            self.board().heard.0 = next.reached;
            if next.found.is_none() {
                break;
            }
        }
        let (heard, written) = self.board().heard;
        if heard.saturating_sub(written) > UNWRITTEN_EVENTS {
            self.books.went_by(heard).await?;
            self.board().heard.1 = heard;
        }
        Ok(())
    }

    /// Writes how far the journal was read, before a clean stop: what went by since isn't taken for lost.
    async fn note_place(self: &Arc<Self>) {
        let noting = async {
            self.listen().await?;
            let (heard, written) = self.board().heard;
            if heard > written { self.books.went_by(heard).await } else { Ok(()) }
        };
        if let Err(error) = noting.await {
            tracing::debug!(%error, "how far events were heard is not noted");
        }
    }

    /// Whether it is what a duty's own hire did: that sets nothing off.
    fn is_ours(&self, event: &Event) -> bool {
        matches!(event, Event::Ended { task, side: Side::Buyer, .. } if self.runner.hands.is_ours(*task))
    }

    /// Has the run go on whose hire has ended.
    async fn ended(&self, task: Cid) {
        // It is told a moment before its record is whole.
        for _ in 0..ENDED_LOOKS {
            match self.runner.hands.stands(task) {
                Ok(Stands::GoesOn) => sleep(SETTLE_PAUSE / 10).await,
                _ => break,
            }
        }
        let run = self.board().going.iter().find(|(_, going)| going.tasks.contains(&task)).map(|(id, _)| id.clone());
        match run {
            Some(run) => self.go_on(&run),
            // It was placed just now, or its run is over.
            None => self.take_up_ended(),
        }
    }

    /// Has every run looked at again: some of its hires may have ended.
    fn take_up_ended(&self) {
        self.board().going.values_mut().for_each(|going| going.again = true);
        self.wake.notify_one();
    }

    /// The duties that a webhook sets off.
    pub(super) fn hooked(&self, hook: &str, event: Option<&str>) -> Vec<String> {
        let fits = |known: &Known| {
            known
                .hooks
                .iter()
                .any(|(own, wanted)| own == hook && wanted.as_deref().is_none_or(|wanted| event == Some(wanted)))
        };
        self.board().duties.iter().filter(|(_, known)| fits(known)).map(|(name, _)| name.clone()).collect()
    }

    /// When a duty is due next.
    pub(super) fn next(&self, name: &str) -> Option<Timestamp> {
        self.board().duties.get(name).and_then(|known| known.next)
    }
}

impl Known {
    fn of(duty: &Duty, record: &DutyRecord) -> Self {
        let schedules = duty.schedules().zip(&record.decided);
        let next = schedules.filter_map(|(schedule, decided)| schedule.next(*decided));
        let hooks = duty.on.iter().filter_map(|trigger| match trigger {
            Trigger::Hook { hook, event } => Some((hook.clone(), event.clone())),
            _ => None,
        });
        Self {
            next: next.min(),
            decided: record.decided.iter().max().copied(),
            hooks: hooks.collect(),
            on: duty.events().collect(),
            heard: record.heard,
        }
    }
}

/// Whether an event can have to do with any duty.
fn may_concern(event: &Event) -> bool {
    matches!(event, Event::Ended { side: Side::Buyer, .. }) || trigger_of(event).is_some()
}

/// What an event gives a run that it sets off.
fn cause_of(key: String, trigger: NodeTrigger, event: &Stamped) -> Cause {
    Cause {
        key,
        by: format!("the event {}", trigger.as_str()),
        due: None,
        payload: serde_json::to_value(&event.event).ok(),
        body: None,
        trust: Trust::Peer,
    }
}

/// What an event is to those that wait for one.
fn trigger_of(event: &Event) -> Option<NodeTrigger> {
    Some(match event {
        Event::Ended { side: Side::Buyer, outcome: Outcome::Done, .. } => NodeTrigger::TaskDelivered,
        Event::Ended { side: Side::Buyer, outcome: Outcome::Failed { .. }, .. } => NodeTrigger::TaskFailed,
        Event::Ended { side: Side::Seller, outcome: Outcome::Done, .. } => NodeTrigger::TaskSold,
        Event::Funded { .. } => NodeTrigger::MoneyReceived,
        Event::MintTrouble { .. } => NodeTrigger::MintTrouble,
        Event::PeerPenalized { .. } => NodeTrigger::PeerPenalized,
        _ => return None,
    })
}
