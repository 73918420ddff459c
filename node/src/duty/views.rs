//! Duties and runs as they are shown.

use guilder_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Inner,
    books::DutyError,
    file::{Duty, FileError, Trigger},
    records::{
        DutyRecord, HireRecord, HireState, LOG, OUTCOMES, Outcome, RUNS, RunRecord, StepRecord, outcome_parts, run_of,
    },
    value::Trust,
};
use crate::store::{Key, KeyRange, Reader as _, StoreError};

/// Outcomes that a duty is shown with.
const SHOWN: usize = 20;

/// A duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Duty)]
pub struct DutyView {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// What sets it off, each in words.
    pub on: Vec<String>,
    /// What it does, step by step, in words.
    pub steps: Vec<String>,
    /// What it may spend, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// When it runs next by its schedules, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub next: Option<Timestamp>,
    /// When it ran last, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub last_ran: Option<Timestamp>,
    /// That run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// How that run stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<String>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// The last moment that it didn't run though it was due, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub last_skipped: Option<Timestamp>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_because: Option<String>,
    /// Why it is paused, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Runs that failed, one after the other.
    pub failures: u32,
    /// The latest outcomes of its due moments, the latest first; in the view of one duty alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<OutcomeView>,
    /// Its file; in the view of one duty alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// What became of a due moment, or of several one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DutyOutcome)]
pub struct OutcomeView {
    /// The moment, the first of them, in Unix seconds.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// The last of them.
    #[schema(value_type = u64)]
    pub to: Timestamp,
    /// How many.
    pub moments: u64,
    /// The run, if it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Why it was skipped, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// A run of a duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// Its ID.
    pub id: String,
    /// The duty.
    pub duty: String,
    /// What set it off, in words.
    pub by: String,
    /// Where it stands: queued, going, done, failed, cancelled.
    pub state: String,
    /// Whether it is over.
    pub ended: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The due moment, if a schedule set it off, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub due: Option<Timestamp>,
    /// When it was set off.
    #[schema(value_type = u64)]
    pub queued: Timestamp,
    /// When it was over.
    #[schema(value_type = Option<u64>, required)]
    pub over: Option<Timestamp>,
    /// What its hires were awarded at, together.
    pub spent: u64,
    /// The unit of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The steps that have begun.
    pub steps: Vec<StepView>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RunStep)]
pub struct StepView {
    /// Its ID.
    pub id: String,
    /// What it does, in words.
    pub what: String,
    /// Where it stands: going, done, failed.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The lowest word among its inputs.
    pub trust: Trust,
    /// Items that were there and not taken.
    pub left_out: u64,
    /// Until when it waits, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub until: Option<Timestamp>,
    /// Its hires.
    pub hires: Vec<HireView>,
}

/// A hire of a step, or a work of this node's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RunHire)]
pub struct HireView {
    /// Of which item, from 0 on.
    pub item: u32,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Where it stands: wanted, placed, delivered, failed.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The seller's peer ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seller: Option<String>,
    /// What it was awarded at, net.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<u64>,
}

impl Inner {
    pub(super) fn view(&self, name: &str, record: &DutyRecord, whole: bool) -> Result<DutyView, DutyError> {
        let duty = Duty::from_toml(&record.file)?;
        let (last_run, outcomes) = self.books.read(|r| {
            let run = match &record.last_run {
                Some((_, id)) => r.get(RUNS, Key::of(id.as_str()))?,
                None => None,
            };
            let rows = match whole {
                true => r.range(OUTCOMES, Key::of(name).range().backwards(), SHOWN)?,
                false => Vec::new(),
            };
            Ok((run, rows))
        })?;
        let next = self.next(name);
        Ok(DutyView {
            next: next.filter(|_| record.paused.is_none()),
            last_ran: record.last_run.as_ref().map(|(at, _)| *at),
            last_run: record.last_run.as_ref().map(|(_, id)| id.clone()),
            last_state: last_run.as_ref().map(|run| run.state.as_str().to_owned()),
            last_failure: last_run.and_then(|run| run.failure),
            last_skipped: record.last_skipped.map(|(at, _)| at),
            skipped_because: record.last_skipped.map(|(_, why)| why.as_str().to_owned()),
            paused: record.paused.as_ref().map(|paused| paused.why.clone()),
            failures: record.failures,
            outcomes: outcomes.into_iter().filter_map(|(row, outcome)| OutcomeView::of(&row, outcome)).collect(),
            file: whole.then(|| record.file.clone()),
            ..DutyView::of_file(&duty, self.runtime.now())
        })
    }

    pub(super) fn outcomes(&self, name: &str) -> Result<Vec<OutcomeView>, StoreError> {
        let rows = self.books.read(|r| r.range(OUTCOMES, Key::of(name).range(), usize::MAX))?;
        Ok(rows.into_iter().filter_map(|(row, outcome)| OutcomeView::of(&row, outcome)).collect())
    }

    pub(super) fn runs(&self, duty: Option<&str>, limit: usize) -> Result<Vec<RunView>, StoreError> {
        self.books.read(|r| {
            let mut found = Vec::new();
            for (row, ()) in r.range(LOG, KeyRange::all().backwards(), usize::MAX)? {
                if found.len() >= limit {
                    break;
                }
                let Some(id) = run_of(&row) else { continue };
                let Some(run) = r.get(RUNS, Key::of(id.as_str()))? else { continue };
                if duty.is_none_or(|duty| duty == run.duty) {
                    found.push(RunView::of(id, run));
                }
            }
            Ok(found)
        })
    }

    pub(super) fn run_view(&self, id: &str) -> Result<RunView, DutyError> {
        let run = self.books.read(|r| r.get(RUNS, Key::of(id)))?;
        run.map(|run| RunView::of(id.to_owned(), run)).ok_or_else(|| DutyError::UnknownRun(id.to_owned()))
    }
}

impl DutyView {
    /// Of a file's text alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_text(file: &str, now: Timestamp) -> Result<Self, FileError> {
        Ok(Self::of_file(&Duty::from_toml(file)?, now))
    }

    /// Of a file alone.
    pub(super) fn of_file(duty: &Duty, now: Timestamp) -> Self {
        let on = duty.on.iter().map(|trigger| match trigger {
            Trigger::Cron(schedule) => schedule.to_string(),
            Trigger::Hook { hook, event: Some(event) } => format!("hook {hook}, event {event}"),
            Trigger::Hook { hook, event: None } => format!("hook {hook}"),
            Trigger::Event(event) => format!("event {}", event.as_str()),
        });
        let budget = duty.budget.as_ref();
        Self {
            name: duty.name.clone(),
            description: duty.description.clone(),
            on: on.collect(),
            steps: duty.steps.iter().map(|step| format!("{}: {}", step.id, super::runs::what(step))).collect(),
            budget: budget.map(|budget| format!("{} {} a run, {} a day", budget.run, budget.unit, budget.day)),
            next: duty.schedules().filter_map(|schedule| schedule.next(now)).min(),
            last_ran: None,
            last_run: None,
            last_state: None,
            last_failure: None,
            last_skipped: None,
            skipped_because: None,
            paused: None,
            failures: 0,
            outcomes: Vec::new(),
            file: None,
        }
    }
}

impl OutcomeView {
    fn of(row: &[u8], outcome: Outcome) -> Option<Self> {
        let (at, _) = outcome_parts(row)?;
        Some(match outcome {
            Outcome::Ran { run } => Self { at, to: at, moments: 1, run: Some(run), skipped: None },
            Outcome::Skipped { to, count, why } => {
                Self { at, to, moments: count, run: None, skipped: Some(why.as_str().to_owned()) }
            }
        })
    }
}

impl RunView {
    fn of(id: String, run: RunRecord) -> Self {
        Self {
            id,
            spent: run.spent(),
            state: run.state.as_str().to_owned(),
            ended: run.state.is_over(),
            duty: run.duty,
            by: run.by,
            failure: run.failure,
            due: run.due,
            queued: run.queued,
            over: run.ended,
            unit: run.unit.map(|unit| unit.to_string()),
            steps: run.steps.into_iter().map(StepView::of).collect(),
        }
    }
}

impl StepView {
    fn of(step: StepRecord) -> Self {
        let state = match (&step.ended, &step.failure) {
            (None, _) => "going",
            (Some(_), None) => "done",
            (Some(_), Some(_)) => "failed",
        };
        Self {
            id: step.id,
            what: step.what,
            state: state.to_owned(),
            failure: step.failure,
            trust: step.trust,
            left_out: step.left_out,
            until: step.until,
            hires: step.hires.into_iter().map(HireView::of).collect(),
        }
    }
}

impl HireView {
    fn of(hire: HireRecord) -> Self {
        let (state, failure) = match hire.state {
            HireState::Wanted => ("wanted", None),
            HireState::Placed => ("placed", None),
            HireState::Delivered => ("delivered", None),
            HireState::Failed(why) => ("failed", Some(why)),
        };
        Self {
            item: hire.item,
            task: hire.task.map(|task| task.to_string()),
            state: state.to_owned(),
            failure,
            seller: hire.seller.map(|seller| seller.peer_id()),
            price: hire.price,
        }
    }
}
