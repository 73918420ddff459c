//! What a run's steps are done with: the one place where the duty room hires, has its own services work, posts, remembers and recalls.
//!
//! Each hire has an origin, made of the run, the step, the item and the seller's number: the trade room buys once for it, whatever
//! crashes. How a hire ended is read from the trade room's own durable record.

use bytes::Bytes;
use cid::Cid;
use guilder_protocol::{bytes::ByteArray, fault::AtFault as _, identity::AgentId, memory::MemoryBody, time::Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    file::{Asking, Budget, Note, Target, Work},
    limits::{MAX_SELLERS, MAX_VALUE_BYTES},
    value::{Sourced, Trust},
};
use crate::{
    catalogue::Catalogue,
    config::HireConfig,
    content::{Content, Data},
    executor::Executors,
    gate::Caller,
    memory::{Memory, MemoryError, NewMemory, Question, Session, Source},
    store::StoreError,
    trade::{self, Hire, HireError, MoneyView, Origin, Per, PlaceError, TaskState, TaskView, Trade},
};

/// The caller of every origin of this room. No caller that the owner adds has a slash in its name.
const CALLER: &str = "duty/";

/// See the module's docs. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    pub(super) id: AgentId,
    pub(super) trade: Trade,
    pub(super) catalogue: Catalogue,
    pub(super) content: Content,
    pub(super) executors: Executors,
    pub(super) memory: Memory,
    pub(super) defaults: HireConfig,
}

/// Which hire it is, of a run's step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) run: &'a str,
    pub(super) step: &'a str,
    pub(super) item: u32,
    pub(super) nth: u32,
}

/// What a hire is placed with, beside its service.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) duty: &'a str,
    pub(super) budget: Option<&'a Budget>,
    /// The most that it may cost.
    pub(super) cap: u64,
    /// Never these.
    pub(super) avoid: Vec<AgentId>,
    /// By a service of this node's own.
    pub(super) own: bool,
}

/// What became of placing a hire.
#[derive(Debug)]
pub(super) enum Placing {
    Placed(Cid),
    /// It can't be, and won't.
    Failed(String),
    /// It can't be now.
    Later,
}

/// Where a hire stands that was placed.
#[derive(Debug)]
pub(super) enum Stands {
    /// It goes on.
    GoesOn,
    /// The node died before it came to an award: nothing was at stake, and it is to be placed again.
    Lost,
    /// It is over.
    Over(Ended),
}

/// How a hire ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Why it wasn't delivered, if it wasn't.
    pub(super) failure: Option<String>,
    /// Who was awarded, if somebody was.
    pub(super) seller: Option<AgentId>,
    /// What it cost: all that may be the seller's.
    pub(super) price: Option<u64>,
}

impl Place<'_> {
    /// The duty room itself is the caller, the run and its step are the key, and each item and seller has a slot.
    fn origin(self) -> Origin {
        let Self { run, step, item, nth } = self;
        let most = u32::try_from(MAX_SELLERS).unwrap_or(u32::MAX);
        Origin { slot: item.saturating_mul(most).saturating_add(nth), ..Origin::new(CALLER, format!("{run}/{step}")) }
    }
}

impl Hands {
    /// Whether this node sells a service.
    pub(super) fn sells(&self, work: &Work) -> bool {
        self.catalogue.service(&work.service).is_some()
    }

    /// Places a hire, or finds it placed.
    pub(super) async fn place(&self, place: Place<'_>, work: &Work, terms: Terms<'_>, input: Bytes) -> Placing {
        let Terms { duty, budget, cap, mut avoid, own } = terms;
        if !own {
            // What is bought is bought from others.
            avoid.push(self.id);
        }
        let hire = Hire {
            max_price: Some(cap),
            unit: budget.map(|budget| budget.unit.clone()),
            deadline_secs: work.deadline_secs,
            seller: if own { Some(self.id) } else { work.seller },
            avoid,
            mint: work.mint.clone(),
            mode: work.mode,
            label: Some(label(duty)),
            budgets: budget.map(|budget| budgets(duty, place.run, budget)).unwrap_or_default(),
            ..Hire::of(work.service.clone())
        };
        let request = ByteArray(Sha256::digest(&input).into());
        match self.trade.place(hire, Data::Inline(input), Some((place.origin(), request))).await {
            Ok(placed) => Placing::Placed(placed.task),
            // What was bought is never bought again, nor taken for something else.
            Err(PlaceError::Conflict { task, .. }) => {
                Placing::Failed(format!("it was hired for another input before, as the task {task}"))
            }
            Err(PlaceError::Hire(HireError::TooMany(_) | HireError::Stopping | HireError::Store(_))) => Placing::Later,
            Err(error) => Placing::Failed(match error.hint() {
                Some(hint) => format!("{error} ({hint})"),
                None => error.to_string(),
            }),
        }
    }

    /// The task that a hire has, whether or not its run has noted it.
    pub(super) fn placed(&self, place: Place<'_>) -> Result<Option<Cid>, StoreError> {
        self.trade.task_of(&place.origin())
    }

    /// What is left of a run's budget and of its duty's day, by what was awarded and hasn't come back.
    pub(super) fn left(&self, duty: &str, run: &str, budget: &Budget) -> Result<u64, StoreError> {
        let mut left = u64::MAX;
        for budget in budgets(duty, run, budget) {
            left = left.min(budget.most.saturating_sub(self.trade.spent_of(&budget)?));
        }
        Ok(left)
    }

    /// Where a hire stands.
    pub(super) fn stands(&self, task: Cid) -> Result<Stands, StoreError> {
        // Before its record, so that what ends between the two looks is seen.
        let under_way = self.trade.is_placing(task);
        Ok(match self.trade.show(task)? {
            _ if under_way => Stands::GoesOn,
            None => Stands::Lost,
            Some(view) if view.state.is_over() => Stands::Over(Ended::of(&view)),
            Some(_) => Stands::GoesOn,
        })
    }

    /// Whether a duty hired a task. One that can't be found is taken for one that was: it sets nothing off.
    pub(super) fn is_ours(&self, task: Cid) -> bool {
        match self.trade.show(task) {
            Ok(Some(view)) => view.label.is_some_and(|label| label.starts_with(LABEL)),
            _ => true,
        }
    }

    /// Calls a hire off. What a seller has begun may have to be paid.
    pub(super) async fn call_off(&self, task: Cid) {
        if let Err(error) = self.trade.cancel(task).await {
            tracing::debug!(%task, %error, "not called off");
        }
    }

    /// What a task has put out.
    pub(super) async fn output(&self, task: Cid, trust: Trust) -> Result<Sourced, String> {
        let data = self.trade.output(task).map_err(|error| error.to_string())?;
        let data = data.ok_or_else(|| format!("the output of the task {task} is gone"))?;
        let bytes = data.read(&self.content, MAX_VALUE_BYTES as u64).await;
        let bytes = bytes.map_err(|error| format!("the output of the task {task} can't be read: {error}"))?;
        Sourced::of_output(&bytes, trust).ok_or_else(|| format!("the output of the task {task} is no text"))
    }

    /// The body of a webhook.
    pub(super) async fn body(&self, data: Data) -> Result<Bytes, String> {
        data.read(&self.content, MAX_VALUE_BYTES as u64).await.map_err(|error| error.to_string())
    }

    /// Remembers what a step says, as a run's own word of `at`. Done again after a crash it is the same memory.
    pub(super) async fn remember(&self, noted: Noted<'_>, note: &Note, text: String) -> Result<(), String> {
        let Noted { duty, run, at, trust, sources } = noted;
        let new = NewMemory {
            text,
            domain: note.domain.clone(),
            subject: note.subject.clone(),
            time: Some(at),
            session: Session::Named(run.to_owned()),
            sources,
            trust: Some(trust.into()),
            ..NewMemory::default()
        };
        match self.memory.note(&format!("{CALLER}{duty}"), at, new).await {
            // It was remembered before a crash, and forgotten since.
            Ok(_) | Err(MemoryError::Forgotten(_)) => Ok(()),
            Err(error) => Err(in_words(&error)),
        }
    }

    /// What a step recalls: the IDs, and the lowest word among them.
    pub(super) async fn recall(&self, asking: &Asking, question: String) -> Result<(Vec<Cid>, Trust), String> {
        let Asking { domain, subject, trust, limit, private, .. } = asking;
        let owner = Caller::owner();
        let found = self.memory.domain(&owner, domain).await.map_err(|error| in_words(&error))?;
        if found.private && !private {
            return Err(format!("the domain {domain} is private (private = true in the step lets it leave)"));
        }
        let question = Question {
            text: question,
            domains: vec![domain.clone()],
            subject: subject.clone(),
            trust: trust.map(Into::into),
            limit: *limit,
            ..Question::default()
        };
        let found = self.memory.recall(&owner, question).await.map_err(|error| in_words(&error))?;
        let trust = found.iter().map(|memory| Trust::from(memory.body.trust)).min();
        Ok((found.into_iter().map(|memory| memory.id).collect(), trust.unwrap_or(Trust::Node)))
    }

    /// What these memories say, as a list; those that were forgotten since are none.
    pub(super) async fn memories(&self, ids: &[Cid]) -> Result<Value, String> {
        let found = self.memory.these(ids).await.map_err(|error| in_words(&error))?;
        let each = found.into_iter().map(|memory| {
            let MemoryBody { text, subject, trust, time, .. } = memory.body;
            json!({
                "id": memory.id.to_string(), "text": text, "subject": subject, "trust": trust, "time": time.to_string(),
            })
        });
        Ok(Value::Array(each.collect()))
    }

    /// What is remembered of a task's output is from its receipt and its seller.
    pub(super) fn sources(&self, task: Cid) -> Result<Vec<Source>, StoreError> {
        let Some(view) = self.trade.show(task)? else { return Ok(Vec::new()) };
        let peer = view.peer.filter(|peer| *peer != self.id).map(Source::Peer);
        Ok(peer.into_iter().chain(view.receipt.map(Source::Receipt)).collect())
    }

    /// Posts something where a step says. Done again after a crash, with the same key.
    pub(super) async fn post(&self, to: &Target, key: &str, body: Bytes, trust: Trust) -> Result<(), String> {
        match to {
            Target::Url(url) => self.executors.post(url, key, trust.as_str(), body).await,
            Target::File(name) => self.executors.post_file(name, body).await,
        }
    }
}

/// Of what a run remembers, all but the words.
#[derive(Debug)]
pub(super) struct Noted<'a> {
    pub(super) duty: &'a str,
    pub(super) run: &'a str,
    /// When its step began.
    pub(super) at: Timestamp,
    pub(super) trust: Trust,
    pub(super) sources: Vec<Source>,
}

fn in_words(error: &MemoryError) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

/// The budgets that a run's hires are awarded on: debited in the transaction that awards.
fn budgets(duty: &str, run: &str, budget: &Budget) -> Vec<trade::Budget> {
    let Budget { unit, run: of_run, day } = budget;
    let of = |account, most, per| trade::Budget { account, unit: unit.clone(), most, per };
    vec![of(account_of(duty, run), *of_run, Per::Ever), of(format!("duty {duty}"), *day, Per::Day)]
}

/// The account of one run.
pub(super) fn account_of(duty: &str, run: &str) -> String {
    format!("run {run} of {duty}")
}

/// What the tasks that a duty hires are called. What happens to them sets no duty off.
pub(super) fn label(duty: &str) -> String {
    format!("{LABEL}{duty}")
}

/// How such a label begins.
pub(super) const LABEL: &str = "duty ";

impl Ended {
    fn of(view: &TaskView) -> Self {
        use guilder_protocol::trade::buyer::Money;
        let delivered = view.state == TaskState::Delivered;
        let back = matches!(view.money, Some(MoneyView::Bought(Money::Settled { redeemed: 0, .. }) | MoneyView::Own));
        let failure = match (&view.failure, delivered) {
            (_, true) => None,
            (Some((_, why)), false) => Some(why.clone()),
            (None, false) => Some("it was called off".to_owned()),
        };
        let awarded = view.trade.is_some() && view.money != Some(MoneyView::Own);
        Self { failure, seller: view.peer.filter(|_| awarded), price: view.price.filter(|_| awarded && !back) }
    }
}
