//! Origins: who hires, under which key of its own, and which item of it. The same origin again is the same task, also after a crash.
//!
//! ```text
//!  hire of an origin ── none has it, or the last may be followed ──▶ KEYS durable ──▶ ask … award
//!                    ── its last task goes on, was delivered, or may still be paid ──▶ that task
//!                    ── given with another request ──▶ refused
//! ```
//!
//! An origin is paid for once. A second award is given for it only where the money of the one before can't be the seller's any
//! more ([`may_follow`]), or the owner wrote it off. That is looked at when the task is placed, so that nobody is asked in vain, and
//! decided in the transaction that awards ([`check_award`]).

use std::{fmt, sync::Arc};

use cid::Cid;
use guilder_protocol::{
    bytes::Digest,
    fault::Fault,
    time::Timestamp,
    trade::buyer::{Buyer, BuyerOutcome, Money},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    hires::Hires,
    journal::Journal,
    limits::{KEY_GATES, ORIGINS_READ},
    records::{BUYERS, DEALS, TASKS, key},
    views::{TaskState, Tasks},
};
use crate::{
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
    wallet::Wallet,
};

pub(super) const KEYS: Table<KeyRecord> = Table::new("trade/origins");
/// Awards whose money the owner has written off, and when.
pub(super) const WRITTEN_OFF: Table<Timestamp> = Table::new("trade/written-off");

/// Where a hire comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Who hires: `owner`, `task/AWARD`, or as another room calls those that it hires for.
    pub caller: String,
    /// What the caller calls it.
    pub key: String,
    /// Which of several that belong together: 0 where there is one.
    pub slot: u32,
}

impl Origin {
    /// The only hire under this key.
    pub fn new(caller: impl Into<String>, key: impl Into<String>) -> Self {
        Self { caller: caller.into(), key: key.into(), slot: 0 }
    }

    /// What stands under an origin has it as its key.
    pub(super) fn row(&self) -> Key {
        Key::of(&self.caller).and(&self.key).and(self.slot)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.caller, self.key, self.slot)
    }
}

/// What was hired for an origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRecord {
    /// The hash of the request: its terms and its input.
    request: Digest,
    /// In the order in which they were placed.
    tasks: Vec<Cid>,
    /// When the last was.
    at: Timestamp,
}

#[cfg(test)]
impl KeyRecord {
    /// Of one task that was placed long ago.
    pub(super) fn placed(task: Cid) -> Self {
        Self { request: [0; 32].into(), tasks: vec![task], at: Timestamp::default() }
    }
}

/// A place under an origin, for a task to be written into before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyClaim {
    origin: Origin,
    record: KeyRecord,
}

/// What an origin stands for.
#[derive(Clone, Debug)]
pub(super) enum Keyed {
    /// A task may be placed for it.
    Free(KeyClaim),
    /// This task: it goes on, or it is over and none may follow.
    Has {
        /// Its ID.
        task: Cid,
        /// Why none may follow although it failed and further tries were wanted.
        held: Option<Held>,
    },
    /// It was given with another request; this task came of that.
    Other(Cid),
}

/// Why no second award may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The money of the last award may still be taken by its seller.
    Money,
    /// As many tries as were wanted have been made.
    Tries,
}

/// The origins. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct HireKeys {
    journal: Journal,
    tasks: Tasks,
    hires: Hires,
    /// Requests of one origin are decided one after the other.
    gates: Arc<Vec<Arc<Mutex<()>>>>,
}

impl HireKeys {
    pub(super) fn new(journal: Journal, tasks: Tasks, hires: Hires) -> Self {
        let gates = Arc::new((0..KEY_GATES).map(|_| Arc::default()).collect());
        Self { journal, tasks, hires, gates }
    }

    /// Waits until no other request of this origin is being decided.
    pub(super) async fn enter(&self, origin: &Origin) -> OwnedMutexGuard<()> {
        let row = origin.row();
        let sum = row.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        Arc::clone(&self.gates[sum % KEY_GATES]).lock_owned().await
    }

    /// What an origin stands for, given a request that may be tried `retries` times more.
    pub(super) fn look(
        &self,
        origin: &Origin,
        request: Digest,
        retries: usize,
        now: Timestamp,
    ) -> Result<Keyed, StoreError> {
        let known = self.journal.read(|r| r.get(KEYS, origin.row()))?;
        let free = |record| Ok(Keyed::Free(KeyClaim { origin: origin.clone(), record }));
        let Some(mut record) = known else {
            return free(KeyRecord { request, tasks: Vec::new(), at: now });
        };
        let Some(&task) = record.tasks.last() else {
            return free(KeyRecord { request, ..record });
        };
        // Before its record, so that what ends between the two looks is seen.
        let is_under_way = self.hires.is_under_way(task);
        let view = self.tasks.show(task)?;
        if record.request != request {
            return Ok(Keyed::Other(task));
        }
        if is_under_way {
            return Ok(Keyed::Has { task, held: None });
        }
        let Some(view) = view else {
            // A crash came before any award: nothing was at stake, and nobody has heard of it.
            record.tasks.pop();
            return free(record);
        };
        let failed = view.state == TaskState::Failed;
        let ours = view.failure.as_ref().is_some_and(|(fault, _)| *fault == Fault::Ours);
        if !failed || ours || retries == 0 {
            return Ok(Keyed::Has { task, held: None });
        }
        if !self.journal.read(|r| may_follow(r, task))? {
            return Ok(Keyed::Has { task, held: Some(Held::Money) });
        }
        if record.tasks.len() > retries {
            return Ok(Keyed::Has { task, held: Some(Held::Tries) });
        }
        free(record)
    }

    /// The claim by which a hire that was never awarded, or refused, begins again after a restart.
    pub(super) fn again(&self, origin: &Origin) -> Result<Option<KeyClaim>, StoreError> {
        let record = self.journal.read(|r| r.get(KEYS, origin.row()))?;
        Ok(record.map(|record| KeyClaim { origin: origin.clone(), record }))
    }

    /// Writes off what was locked for a task, so that another may be awarded under its key. What falls back comes back all the
    /// same. Says whether there is such a task of ours.
    pub(super) async fn write_off(&self, task: Cid, now: Timestamp) -> Result<bool, StoreError> {
        self.journal
            .commit(crate::failpoint::Step::Other, move |w| {
                let Some(record) = w.get(TASKS, key(task))? else { return Ok(false) };
                for award in record.awards {
                    w.put(WRITTEN_OFF, key(award), &now)?;
                }
                Ok::<_, StoreError>(true)
            })
            .await
    }
}

impl KeyClaim {
    /// Of which origin it is.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Writes the task in, for good: before anything is sent. What was placed since it was looked at, and awarded, stays.
    pub(super) fn take(mut self, w: &mut Write<'_>, task: Cid, now: Timestamp) -> Result<(), StoreError> {
        for placed in w.get(KEYS, self.origin.row())?.into_iter().flat_map(|record| record.tasks) {
            if !self.record.tasks.contains(&placed) && w.contains(TASKS, key(placed))? {
                self.record.tasks.push(placed);
            }
        }
        self.record.tasks.push(task);
        self.record.at = now;
        w.put(KEYS, self.origin.row(), &self.record)
    }
}

/// Whether `task` may be awarded for its origin now: it is the last that was placed, and no award that was given before for the
/// origin, be it to this task or to one before it, can still be its seller's. Asked in the transaction that awards.
pub(super) fn check_award(r: &impl Reader, origin: &Origin, task: Cid) -> Result<bool, StoreError> {
    let Some(record) = r.get(KEYS, origin.row())? else { return Ok(false) };
    if record.tasks.last() != Some(&task) {
        return Ok(false);
    }
    for task in record.tasks {
        if !may_follow(r, task)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether it may be awarded as soon as mints have said that nothing was taken of what sellers refused.
pub(super) fn may_clear(r: &impl Reader, origin: &Origin, task: Cid) -> Result<bool, StoreError> {
    let record = r.get(KEYS, origin.row())?.filter(|record| record.tasks.last() == Some(&task));
    for task in record.iter().flat_map(|record| &record.tasks) {
        for award in r.get(TASKS, key(*task))?.map(|record| record.awards).unwrap_or_default() {
            let is_refused =
                matches!(r.get(BUYERS, key(award))?, Some(Buyer::Ended(ended)) if ended.money == Money::Returned);
            if !is_refused && !is_back(r, award)? && !r.contains(WRITTEN_OFF, key(award))? {
                return Ok(false);
            }
        }
    }
    Ok(record.is_some())
}

/// The task that was placed last for an origin.
pub(super) fn task_of(r: &impl Reader, origin: &Origin) -> Result<Option<Cid>, StoreError> {
    Ok(r.get(KEYS, origin.row())?.and_then(|record| record.tasks.last().copied()))
}

/// Origins whose last task was placed before `end` and is no longer on record, of some from a place on; and where to go on.
pub(super) fn forgettable(
    r: &impl Reader,
    end: Timestamp,
    after: Option<Vec<u8>>,
) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), StoreError> {
    let range = match &after {
        Some(after) => KeyRange::all().after(after),
        None => KeyRange::all(),
    };
    let rows = r.range(KEYS, range, ORIGINS_READ)?;
    let next = rows.get(ORIGINS_READ - 1).map(|(row, _)| row.clone());
    let mut old = Vec::new();
    for (row, record) in rows {
        if is_over(r, &record, end)? {
            old.push(row);
        }
    }
    Ok((old, next))
}

/// Forgets some origins, unless something was placed for them meanwhile.
pub(super) fn forget(w: &mut Write<'_>, rows: &[Vec<u8>], end: Timestamp) -> Result<(), StoreError> {
    for row in rows {
        let Some(record) = w.get(KEYS, row)? else { continue };
        if is_over(w, &record, end)? {
            w.delete(KEYS, row)?;
        }
    }
    Ok(())
}

fn is_over(r: &impl Reader, record: &KeyRecord, end: Timestamp) -> Result<bool, StoreError> {
    let known = match record.tasks.last() {
        Some(task) => r.contains(TASKS, key(*task))?,
        None => false,
    };
    Ok(record.at < end && !known)
}

/// Whether another award may be given in place of a task's, which is over.
pub(super) fn may_follow(r: &impl Reader, task: Cid) -> Result<bool, StoreError> {
    let awards = r.get(TASKS, key(task))?.map(|record| record.awards).unwrap_or_default();
    for award in awards {
        if !is_back(r, award)? && !r.contains(WRITTEN_OFF, key(award))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether nothing of an award's money can be its seller's any more.
pub(super) fn is_back(r: &impl Reader, award: Cid) -> Result<bool, StoreError> {
    match (r.get(BUYERS, key(award))?, r.get(DEALS, key(award))?) {
        (Some(Buyer::Ended(ended)), Some(deal)) => {
            let is_back = ended.money == Money::Returned && Wallet::is_given_back(r, award)?;
            Ok(is_clear(&ended.outcome, ended.money, deal.escrow().is_some(), is_back))
        }
        _ => Ok(false),
    }
}

/// Whether the seller of a trade that ended so can't have its money any more.
/// `is_back` says of money that was given back whether its mint has said since that nothing of it was taken.
pub(super) fn is_clear(outcome: &BuyerOutcome, money: Money, escrow: bool, is_back: bool) -> bool {
    match money {
        Money::Paid => false,
        Money::Settled { redeemed, .. } => redeemed == 0,
        // Given back by who refused it; in escrow it can't be taken without our release.
        Money::Returned => escrow || is_back,
        // Without our release, which a signed failure never had, it can't be taken.
        Money::Waiting => escrow && matches!(outcome, BuyerOutcome::Failed(_)),
    }
}

#[cfg(test)]
mod tests {
    use guilder_protocol::{
        receipt::{FailureCode, TaskError},
        wire::Reason,
    };

    use super::*;

    #[test]
    fn a_second_award_waits_until_the_first_ones_money_cannot_be_the_sellers() {
        let failed = BuyerOutcome::Failed(TaskError { code: FailureCode::Crashed, text: "no".into() });
        let settled = |redeemed| Money::Settled { refunded: 5, redeemed, fee: 0 };
        let refused = BuyerOutcome::Refused(Reason::Busy);
        assert!(!is_clear(&refused, Money::Returned, false, false), "its seller may have taken it all the same");
        assert!(is_clear(&refused, Money::Returned, true, false));
        for (outcome, money, escrow, clear) in [
            (refused, Money::Returned, false, true),
            (BuyerOutcome::Refused(Reason::Busy), Money::Waiting, false, false),
            (BuyerOutcome::Refused(Reason::Busy), settled(3), false, false),
            (failed.clone(), Money::Waiting, false, false),
            (failed.clone(), Money::Waiting, true, true),
            (failed.clone(), settled(0), false, true),
            (failed, settled(5), true, false),
            (BuyerOutcome::Overdue, Money::Waiting, false, false),
            (BuyerOutcome::Overdue, Money::Waiting, true, false),
            (BuyerOutcome::Overdue, settled(0), false, true),
            (BuyerOutcome::Unopened, Money::Waiting, true, false),
            (BuyerOutcome::Mismatch, Money::Waiting, true, false),
            (BuyerOutcome::Broken("?".into()), Money::Paid, false, false),
        ] {
            assert_eq!(is_clear(&outcome, money, escrow, true), clear, "{outcome:?} {money:?} {escrow}");
        }
    }
}
