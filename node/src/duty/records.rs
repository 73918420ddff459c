//! What the duty room keeps in the store.
//!
//! | table | key | value |
//! |---|---|---|
//! | `duty/duties` | duty | its file, whether it is paused, up to when its moments have outcomes |
//! | `duty/outcomes` | duty, moment, serial | that it ran, or was skipped and why; the latest of each duty |
//! | `duty/orders` | run | what doesn't change of it: the duty's file as it was, and what set it off |
//! | `duty/files` | hash | a duty's file as it was, for the runs that it is of, and how many those are |
//! | `duty/runs` | run | how far it is, step by step, hire by hire |
//! | `duty/count` | `runs` | how many runs are on record |
//! | `duty/log` | moment, run | nothing: what a listing goes through |
//! | `duty/open` | duty, moment, run | nothing: there until the run has ended |
//! | `duty/cancels` | run | that it is to be called off |
//! | `duty/hooks` | hook | its kind and its secrets |
//! | `duty/heard` | `place` | the number of the last event that every duty was set off by, or wasn't |
//! | `duty/deliveries` | hook, delivery | a webhook that was taken, its body until it is old |

use std::collections::BTreeSet;

use cid::Cid;
use guilder_protocol::{bytes::Digest, identity::AgentId, market::Unit, time::Timestamp, trade::Stored};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{schedule::SkippedFor, value::Trust};
use crate::store::{Key, KeyRange, Reader, StoreError, Table, Write};

pub(super) const DUTIES: Table<DutyRecord> = Table::new("duty/duties");
pub(super) const OUTCOMES: Table<Outcome> = Table::new("duty/outcomes");
pub(super) const ORDERS: Table<Order> = Table::new("duty/orders");
pub(super) const FILES: Table<FileRecord> = Table::new("duty/files");
/// How many runs there are.
pub(super) const COUNT: Table<u64> = Table::new("duty/count");
pub(super) const RUNS: Table<RunRecord> = Table::new("duty/runs");
pub(super) const LOG: Table<()> = Table::new("duty/log");
pub(super) const OPEN: Table<OpenRun> = Table::new("duty/open");
pub(super) const CANCELS: Table<Timestamp> = Table::new("duty/cancels");
pub(super) const HOOKS: Table<HookRecord> = Table::new("duty/hooks");
pub(super) const HEARD: Table<u64> = Table::new("duty/heard");
pub(super) const HEARD_KEY: &[u8] = b"place";
pub(super) const DELIVERIES: Table<DeliveryRecord> = Table::new("duty/deliveries");

/// A duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DutyRecord {
    /// As it was given.
    pub(super) file: String,
    /// When it was first.
    pub(super) added: Timestamp,
    /// One more at each change, so that what was decided of an older state isn't written.
    pub(super) version: u64,
    /// Up to when the moments of each of its schedules have their outcome, in the order in which they stand in the file.
    pub(super) decided: Vec<Timestamp>,
    /// Since when it is paused, and why.
    pub(super) paused: Option<Paused>,
    /// Runs that failed, one after the other.
    pub(super) failures: u32,
    /// Rows of its outcomes.
    pub(super) outcomes: u64,
    /// The last run that began for it.
    pub(super) last_run: Option<(Timestamp, String)>,
    /// The last moment that was skipped.
    pub(super) last_skipped: Option<(Timestamp, Why)>,
    /// The number of the last event that has its outcome, or that came before the duty waited for it.
    pub(super) heard: u64,
}

/// That a duty is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paused {
    pub(super) at: Timestamp,
    pub(super) why: String,
}

/// What became of a due moment, or of several one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Outcome {
    /// It ran.
    Ran {
        /// Its run.
        run: String,
    },
    /// It didn't.
    Skipped {
        /// The last of them.
        to: Timestamp,
        /// How many.
        count: u64,
        /// Why.
        why: Why,
    },
}

/// Why a moment, a webhook or an event doesn't run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It was missed, and a later one ran in its place.
    Later,
    /// It was missed by more than the grace.
    Grace,
    /// It was missed, and the duty says to skip what is missed.
    Missed,
    /// More were missed than are made up for.
    TooMany,
    /// A run was going on.
    Overlap,
    /// As many runs wait as may.
    Queue,
    /// The duty was paused.
    Paused,
    /// What happened isn't all known.
    Unheard,
}

impl From<SkippedFor> for Why {
    fn from(why: SkippedFor) -> Self {
        match why {
            SkippedFor::Later => Self::Later,
            SkippedFor::Grace => Self::Grace,
            SkippedFor::Missed => Self::Missed,
            SkippedFor::TooMany => Self::TooMany,
        }
    }
}

impl Why {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Later => "missed, and a later one ran in its place",
            Self::Grace => "missed by more than the grace",
            Self::Missed => "missed, and missed = \"skip\"",
            Self::TooMany => "missed, with more than are made up for",
            Self::Overlap => "a run was going on, and overlap = \"skip\"",
            Self::Queue => "as many runs waited as may",
            Self::Paused => "the duty was paused",
            Self::Unheard => {
                "of what happened before the node was killed, or while it was too busy, some may not be known"
            }
        }
    }
}

/// A duty's file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    pub(super) file: String,
    /// The runs that it is of.
    pub(super) runs: u64,
}

/// What doesn't change of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The hash of the duty's file as it was.
    pub(super) file: Digest,
    /// What set it off, as JSON, if it isn't a webhook's body.
    pub(super) payload: Option<ByteBuf>,
    /// The webhook's body that set it off, until the run is over.
    pub(super) body: Option<Stored>,
    /// Whose word the payload is.
    pub(super) trust: Trust,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunRecord {
    pub(super) duty: String,
    /// What set it off, in words.
    pub(super) by: String,
    /// The due moment, if a schedule did.
    pub(super) due: Option<Timestamp>,
    pub(super) queued: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) state: RunState,
    /// Why it failed.
    pub(super) failure: Option<String>,
    pub(super) unit: Option<Unit>,
    /// The steps that have begun; all but the last are over.
    pub(super) steps: Vec<StepRecord>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It waits for its turn.
    Queued,
    /// It goes on.
    Going,
    /// All its steps are done.
    Done,
    /// A step failed.
    Failed,
    /// It was called off.
    Cancelled,
}

impl RunState {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Going => "going",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// That a run isn't over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenRun {
    /// Whether it has begun.
    pub(super) going: bool,
}

/// A step of a run that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepRecord {
    pub(super) id: String,
    /// In words: `hire web.extract`.
    pub(super) what: String,
    pub(super) began: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) failure: Option<String>,
    /// The lowest word among its inputs.
    pub(super) trust: Trust,
    /// Items that were there and not taken, by `max_items`.
    pub(super) left_out: u64,
    /// The most that each of its hires may cost, where it buys.
    pub(super) cap: u64,
    /// Its hires, by item and then by seller.
    pub(super) hires: Vec<HireRecord>,
    /// Until when it waits.
    pub(super) until: Option<Timestamp>,
    /// What it recalled: IDs alone, so that what is forgotten is nowhere else.
    pub(super) memories: Vec<cid::Cid>,
}

/// A hire of a step, or a work of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HireRecord {
    pub(super) item: u32,
    /// Which of the sellers of an item, from 0 on.
    pub(super) nth: u32,
    pub(super) task: Option<Cid>,
    pub(super) state: HireState,
    pub(super) seller: Option<AgentId>,
    pub(super) price: Option<u64>,
}

/// Where a hire stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum HireState {
    /// It is to be placed.
    Wanted,
    /// It has a task.
    Placed,
    /// It was delivered.
    Delivered,
    /// It wasn't.
    Failed(String),
}

impl HireRecord {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, HireState::Delivered | HireState::Failed(_))
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.state == HireState::Delivered
    }
}

impl RunRecord {
    /// What its hires have cost: all that was awarded.
    pub(super) fn spent(&self) -> u64 {
        let hires = self.steps.iter().flat_map(|step| &step.hires);
        hires.filter_map(|hire| hire.price).fold(0, u64::saturating_add)
    }
}

/// A webhook that is taken in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookRecord {
    pub(super) kind: HookKind,
    /// The secret, and the one before while it is being replaced.
    pub(super) secrets: Vec<ByteBuf>,
    pub(super) added: Timestamp,
    /// Deliveries that were taken.
    pub(super) taken: u64,
    /// When the last was.
    pub(super) last: Option<Timestamp>,
}

/// Its secrets stay out of logs.
impl std::fmt::Debug for HookRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookRecord").field("kind", &self.kind).field("added", &self.added).finish_non_exhaustive()
    }
}

/// How a webhook is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookKind {
    /// As GitHub does: `X-Hub-Signature-256`.
    Github,
    /// As the Standard Webhooks specification says.
    Standard,
}

/// A webhook that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryRecord {
    pub(super) at: Timestamp,
    /// In which order it came.
    pub(super) serial: u64,
    pub(super) event: Option<String>,
    /// None once it is old.
    pub(super) body: Option<Stored>,
}

/// The row of a moment's outcome; `serial` tells apart webhooks and events of one second.
pub(super) fn outcome_key(duty: &str, at: Timestamp, serial: u32) -> Key {
    Key::of(duty).and(at.as_secs()).and(serial)
}

/// The moment in such a row, and the serial.
pub(super) fn outcome_parts(row: &[u8]) -> Option<(Timestamp, u32)> {
    let (rest, serial) = row.split_last_chunk::<4>()?;
    let (_, at) = rest.split_last_chunk::<8>()?;
    Some((Timestamp::from_secs(u64::from_be_bytes(*at)), u32::from_be_bytes(*serial)))
}

pub(super) fn open_key(duty: &str, queued: Timestamp, run: &str) -> Key {
    Key::of(duty).and(queued.as_secs()).and(run)
}

pub(super) fn log_key(queued: Timestamp, run: &str) -> Key {
    Key::of(queued.as_secs()).and(run)
}

/// The run that a row of the log or of the open ones ends in: an ID is hex, which isn't escaped.
pub(super) fn run_of(row: &[u8]) -> Option<String> {
    let text = row.strip_suffix(&[0, 1])?;
    let id = text.get(text.len().checked_sub(RUN_ID_LEN)?..)?;
    String::from_utf8(id.to_vec()).ok()
}

/// Letters of a run's ID.
pub(super) const RUN_ID_LEN: usize = 16;

/// The open runs of a duty, the oldest first: whether each has begun.
pub(super) fn open_runs(r: &impl Reader, duty: &str) -> Result<Vec<(String, bool)>, StoreError> {
    let rows = r.range(OPEN, Key::of(duty).range(), usize::MAX)?;
    Ok(rows.into_iter().filter_map(|(row, open)| Some((run_of(&row)?, open.going))).collect())
}

/// Tasks whose outputs runs that aren't over may still read.
///
/// # Errors
/// If the store can't be read.
pub fn outputs_in_use(r: &Write<'_>) -> Result<BTreeSet<Cid>, StoreError> {
    let mut tasks = BTreeSet::new();
    for (row, _) in r.range(OPEN, KeyRange::all(), usize::MAX)? {
        let Some(id) = run_of(&row) else { continue };
        let steps = r.get(RUNS, Key::of(id.as_str()))?.map(|run| run.steps).unwrap_or_default();
        tasks.extend(steps.iter().flat_map(|step| &step.hires).filter_map(|hire| hire.task));
    }
    Ok(tasks)
}

/// Writes a run's new state, and what hangs on it.
pub(super) fn put_run(w: &mut Write<'_>, id: &str, run: &RunRecord) -> Result<(), StoreError> {
    let open = open_key(&run.duty, run.queued, id);
    if run.state.is_over() {
        w.delete(OPEN, open)?;
        w.delete(CANCELS, Key::of(id))?;
    } else {
        w.put(OPEN, open, &OpenRun { going: run.state == RunState::Going })?;
    }
    w.put(RUNS, Key::of(id), run)
}
