//! Hires whose end somebody waits for although the node may die: what was asked for stands in the store from before anything is sent
//! until the end is written down, and the end until whoever waits has taken it.
//!
//! ```text
//!  hire ── with its origin's claim ──▶ WAITING, WAITED ── award, or a crash before it: begun again ──▶ …
//!       ── the transaction in which it ends ──▶ ENDS ── whoever waits: in a transaction of its own ──▶ gone
//! ```
//!
//! An event that tells of the end comes after it is on disk, and only wakes: whoever missed it reads [`ENDS`].

use std::collections::BTreeSet;

use bytes::Bytes;
use cid::Cid;
use guilder_protocol::{time::Timestamp, trade::Stored};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{
    Budget, Hire, Under,
    keys::Origin,
    records::{BUYERS, TASKS, key},
};
use crate::{
    content::{self, Content, Data},
    events::Outcome,
    gate::Mandate,
    store::{Key, KeyRange, Read, Reader, StoreError, Table, Write},
};

/// By origin: what was asked for, until its end is written.
const WAITING: Table<Waiting> = Table::new("trade/waiting");
/// By task: the origin that waits for it.
const WAITED: Table<Origin> = Table::new("trade/waited");
/// By origin: how it ended, until whoever waits has taken it.
const ENDS: Table<End> = Table::new("trade/ends");

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    pub(super) origin: Origin,
    pub(super) task: Cid,
    /// As it was asked for: what it left open is decided anew.
    pub(super) hire: Hire,
    pub(super) budgets: Vec<Budget>,
    /// For whom, if not for the owner; and for the sake of which task of ours.
    pub(super) mandate: Option<Mandate>,
    pub(super) under: Option<Under>,
    input: Stored,
}

/// How a hire ended for which somebody waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Where it came from.
    pub origin: Origin,
    /// Its last task; none if it couldn't be begun again after a restart.
    pub task: Option<Cid>,
    /// The last award, if it came to one.
    pub award: Option<Cid>,
    /// How it ended.
    pub outcome: Ending,
    /// When.
    pub at: Timestamp,
}

/// How.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Ending {
    /// Delivered, with a receipt that holds.
    Done,
    /// Without a delivery.
    Failed {
        /// The party at fault, by its code.
        fault: String,
        /// Why, in words.
        reason: String,
    },
    /// Called off.
    Cancelled,
}

impl From<&Outcome> for Ending {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Failed { fault, reason } => Self::Failed { fault: fault.code().into(), reason: reason.clone() },
            Outcome::Cancelled | Outcome::Unknown => Self::Cancelled,
        }
    }
}

impl Waiting {
    pub(super) fn input(&self, content: &Content) -> Data {
        match &self.input {
            Stored::Inline(bytes) => Data::Inline(Bytes::from(bytes.to_vec())),
            Stored::Content(id) => Data::Stored(content.pin(*id)),
        }
    }
}

/// Writes down that somebody waits for the end of a task, in the transaction that names it.
pub(super) fn wait(
    w: &mut Write<'_>,
    origin: &Origin,
    task: Cid,
    (hire, budgets, input): (&Hire, &[Budget], &Data),
) -> Result<(), StoreError> {
    forget(w, origin)?;
    let input = match input {
        Data::Inline(bytes) => Stored::Inline(ByteBuf::from(bytes.to_vec())),
        Data::Stored(pin) => Stored::Content(pin.id()),
    };
    if let Stored::Content(id) = &input {
        content::refer(w, *id, origin.row().into_bytes())?;
    }
    w.put(WAITED, key(task), origin)?;
    w.delete(ENDS, origin.row())?;
    let (hire, budgets, origin) = (hire.clone(), budgets.to_vec(), origin.clone());
    let (mandate, under) = (hire.mandate.clone(), hire.under.clone());
    let row = origin.row();
    let waiting = Waiting { origin, task, hire, budgets, mandate, under, input };
    w.put(WAITING, row, &waiting)
}

/// Waits no more.
pub(super) fn forget(w: &mut Write<'_>, origin: &Origin) -> Result<(), StoreError> {
    let Some(before) = w.get(WAITING, origin.row())? else { return Ok(()) };
    if let Stored::Content(id) = before.input {
        content::release(w, id, origin.row().into_bytes())?;
    }
    w.delete(WAITED, key(before.task))?;
    w.delete(WAITING, origin.row())
}

/// Whether an origin still waits for the end of this task.
pub(super) fn is_waiting(r: &Read, origin: &Origin, task: Cid) -> Result<bool, StoreError> {
    Ok(r.get(WAITING, origin.row())?.is_some_and(|waiting| waiting.task == task))
}

/// Writes down how a task ended, if somebody waits for it.
pub(super) fn end(
    w: &mut Write<'_>,
    task: Cid,
    award: Option<Cid>,
    outcome: &Outcome,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(origin) = w.get(WAITED, key(task))? else { return Ok(()) };
    end_origin(w, &End { origin, task: Some(task), award, outcome: outcome.into(), at })
}

/// Writes down how what an origin asked for ended.
pub(super) fn end_origin(w: &mut Write<'_>, end: &End) -> Result<(), StoreError> {
    forget(w, &end.origin)?;
    w.put(ENDS, end.origin.row(), end)
}

/// The ends that wait to be taken by those whose caller this is, in the order of their keys.
pub(super) fn ends(r: &impl Reader, caller: &str) -> Result<Vec<End>, StoreError> {
    Ok(r.range(ENDS, Key::of(caller).range(), usize::MAX)?.into_iter().map(|(_, end)| end).collect())
}

/// The tasks whose ends wait to be taken.
pub(super) fn waiting_tasks(r: &impl Reader) -> Result<BTreeSet<Cid>, StoreError> {
    Ok(r.range(ENDS, KeyRange::all(), usize::MAX)?.into_iter().filter_map(|(_, end)| end.task).collect())
}

/// Takes the end of an origin's hire, if it is there: in the transaction in which whoever waits writes what it makes of it.
///
/// # Errors
/// If the store fails.
pub fn take_end(w: &mut Write<'_>, origin: &Origin) -> Result<Option<End>, StoreError> {
    let end = w.get(ENDS, origin.row())?;
    if end.is_some() {
        w.delete(ENDS, origin.row())?;
    }
    Ok(end)
}

/// What was under way when the node died and has no award that goes on: it begins again.
pub(super) fn left_over(r: &Read) -> Result<Vec<Waiting>, StoreError> {
    let mut left_over = Vec::new();
    for (_, waiting) in r.range(WAITING, KeyRange::all(), usize::MAX)? {
        let award = r.get(TASKS, key(waiting.task))?.and_then(|record| record.awards.last().copied());
        let goes_on = match award {
            Some(award) => r.get(BUYERS, key(award))?.is_some_and(|state| state.ended().is_none()),
            None => false,
        };
        if !goes_on {
            left_over.push(waiting);
        }
    }
    Ok(left_over)
}
