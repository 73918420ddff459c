//! Budgets of those for whom this node hires: how much may be awarded for them in a day, or in all.
//!
//! ```text
//!  award ── one transaction: each budget debited with the price, or nothing is awarded ──▶ SPENT, and a row in CHARGES
//!  a budget that doesn't suffice ── looks at its charges: what came back since is taken off, what is gone for good stays spent
//! ```
//!
//! Transactions come one after the other, so that no two awards count on the same money, however many are made at once; and the
//! debit stands with the award, so that no crash forgets either. An award counts from the moment that it is given until its money is back
//! or written down as the seller's: what may still be taken is spent.

use std::fmt;

use cid::Cid;
use guilder_protocol::{
    market::Unit,
    time::Timestamp,
    trade::buyer::{Buyer, BuyerOutcome, Money},
};
use serde::{Deserialize, Serialize};

use super::{
    keys,
    records::{BUYERS, DEALS, cid_part, key},
};
use crate::store::{Key, KeyRange, Reader, StoreError, Table, Write};

/// What was awarded on a budget, without what has come back.
const SPENT: Table<u64> = Table::new("trade/budgets");
/// Awards of which money may still come back, by budget: what each was charged.
const CHARGES: Table<u64> = Table::new("trade/charges");

/// Seconds of a day.
const DAY_SECS: u64 = 24 * 60 * 60;
/// Rows that are deleted at once at most.
const PAST_ROWS: usize = 64;

/// A bound on what is awarded on somebody's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Whose. What is awarded under one name adds up.
    pub account: String,
    /// The unit; nothing is awarded in another.
    pub unit: Unit,
    /// The most, in that unit.
    pub most: u64,
    /// In which time.
    pub per: Per,
}

/// The time in which a budget may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A day, UTC.
    Day,
    /// All time.
    Ever,
}

/// A budget that doesn't suffice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{budget} leaves {left}, and this takes {wanted} {unit}")]
pub struct OverBudget {
    /// Which.
    pub budget: Budget,
    /// What it leaves.
    pub left: u64,
    /// What was wanted.
    pub wanted: u64,
    /// In which unit.
    pub unit: Unit,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Day => " a day",
            Per::Ever => "",
        };
        write!(f, "the budget of {}, {} {}{per},", self.account, self.most, self.unit)
    }
}

impl Budget {
    /// Under what it is counted. The day stands first, so that past ones are found.
    fn row(&self, now: Timestamp) -> Key {
        let day = match self.per {
            Per::Day => now.as_secs() / DAY_SECS,
            Per::Ever => u64::MAX,
        };
        Key::of(day).and(&self.account).and(self.unit.as_str())
    }

    /// What is spent of it, without what has come back by now.
    ///
    /// # Errors
    /// If the store can't be read.
    pub(super) fn spent(&self, r: &impl Reader, now: Timestamp) -> Result<u64, StoreError> {
        let row = self.row(now);
        let back = charges(r, &row, now)?.into_iter().map(|(_, charge)| charge.back);
        let back = back.fold(0_u64, u64::saturating_add);
        Ok(r.get(SPENT, row)?.unwrap_or_default().saturating_sub(back))
    }

    fn refusal(&self, spent: u64, unit: &Unit, wanted: u64) -> OverBudget {
        let left = if *unit == self.unit { self.most.saturating_sub(spent) } else { 0 };
        OverBudget { budget: self.clone(), left, wanted, unit: unit.clone() }
    }

    /// Whether as much is left of it.
    pub(super) fn check(
        &self,
        r: &impl Reader,
        unit: &Unit,
        wanted: u64,
        now: Timestamp,
    ) -> Result<Result<(), OverBudget>, StoreError> {
        // What has come back is looked for only where it matters.
        let gross = r.get(SPENT, self.row(now))?.unwrap_or_default();
        let spent = if gross.saturating_add(wanted) <= self.most { gross } else { self.spent(r, now)? };
        let suffices = *unit == self.unit && spent.saturating_add(wanted) <= self.most;
        Ok(if suffices { Ok(()) } else { Err(self.refusal(spent, unit, wanted)) })
    }
}

/// What became of a charge.
struct Charge {
    award: Cid,
    amount: u64,
    /// What has come back of it.
    back: u64,
    /// Whether nothing more will.
    is_over: bool,
}

/// How much of a charge has come back by how its trade ended, and whether that is the end of it. What was paid in advance to a seller that
/// refused is that seller's to take until it falls back, whatever its mint said of it meanwhile. `lock` says, where it matters, whether the
/// money was in escrow, and whether its lock has fallen back.
fn came_back(
    amount: u64,
    outcome: &BuyerOutcome,
    money: Money,
    lock: impl FnOnce() -> Result<(bool, bool), StoreError>,
) -> Result<(u64, bool), StoreError> {
    Ok(match money {
        Money::Paid => (0, true),
        Money::Settled { redeemed, .. } => (amount.saturating_sub(redeemed), true),
        Money::Returned | Money::Waiting => {
            let (escrow, fell_back) = lock()?;
            let is_back = keys::is_clear(outcome, money, escrow, fell_back);
            if is_back { (amount, true) } else { (0, false) }
        }
    })
}

/// The charges of a budget, with their rows.
fn charges(r: &impl Reader, row: &Key, now: Timestamp) -> Result<Vec<(Vec<u8>, Charge)>, StoreError> {
    let mut charges = Vec::new();
    for (found, amount) in r.range(CHARGES, row.range(), usize::MAX)? {
        let Some(award) = found.strip_prefix(&row[..]).and_then(cid_part) else { continue };
        let (back, is_over) = match r.get(BUYERS, key(award))? {
            Some(Buyer::Ended(ended)) => came_back(amount, &ended.outcome, ended.money, || {
                let deal = r.get(DEALS, key(award))?;
                Ok(deal.map_or((false, false), |deal| (deal.escrow().is_some(), deal.award.part().until() < now)))
            })?,
            Some(_) => (0, false),
            // Its record is past its time, and was settled before it went.
            None => (0, true),
        };
        charges.push((found, Charge { award, amount, back, is_over }));
    }
    Ok(charges)
}

/// Debits every budget with the price of an award, or none of them.
pub(super) fn debit(
    w: &mut Write<'_>,
    budgets: &[Budget],
    (unit, price): (&Unit, u64),
    award: Cid,
    now: Timestamp,
) -> Result<Result<(), OverBudget>, StoreError> {
    let mut rows = Vec::with_capacity(budgets.len());
    for budget in budgets {
        let row = budget.row(now);
        let mut spent = w.get(SPENT, &row)?.unwrap_or_default();
        if *unit == budget.unit && spent.saturating_add(price) > budget.most {
            spent = take_back(w, &row, spent, now)?;
        }
        if *unit != budget.unit || spent.saturating_add(price) > budget.most {
            return Ok(Err(budget.refusal(spent, unit, price)));
        }
        rows.push((row, spent + price));
    }
    for (row, spent) in rows {
        w.put(SPENT, &row, &spent)?;
        w.put(CHARGES, row.and(award), &price)?;
    }
    Ok(Ok(()))
}

/// Takes off what has come back, and forgets the charges that are over. Returns what is spent then.
fn take_back(w: &mut Write<'_>, row: &Key, spent: u64, now: Timestamp) -> Result<u64, StoreError> {
    let mut left = spent;
    for (found, charge) in charges(w, row, now)?.into_iter().filter(|(_, charge)| charge.is_over) {
        tracing::trace!(award = %charge.award, amount = charge.amount, back = charge.back, "a budget's charge is over");
        left = left.saturating_sub(charge.back);
        w.delete(CHARGES, found)?;
    }
    w.put(SPENT, row, &left)?;
    Ok(left)
}

/// Forgets a few rows of days before yesterday; says whether there may be more. Only by a clock that is confirmed: one that was ahead for
/// a while must not give a day's budget out twice.
pub(super) fn forget(w: &mut Write<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let until = Key::of((now.as_secs() / DAY_SECS).saturating_sub(1));
    let past = KeyRange::between(&[], &until);
    Ok(delete(w, SPENT, past.clone())? || delete(w, CHARGES, past)?)
}

/// Forgets what was spent in all time on an account on which nothing will be awarded any more.
///
/// # Errors
/// If the store fails.
pub fn close_account(w: &mut Write<'_>, account: &str) -> Result<(), StoreError> {
    let rows = Key::of(u64::MAX).and(account).range();
    while delete(w, SPENT, rows.clone())? || delete(w, CHARGES, rows.clone())? {}
    Ok(())
}

/// Deletes a few rows; says whether there may be more.
fn delete(w: &mut Write<'_>, table: Table<u64>, rows: KeyRange) -> Result<bool, StoreError> {
    let rows = w.range(table, rows, PAST_ROWS)?;
    for (row, _) in &rows {
        w.delete(table, row)?;
    }
    Ok(rows.len() == PAST_ROWS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{cbor::cid_of, wire::Reason};

    use super::*;
    use crate::{
        runtime::Runtime,
        store::{Store, testing::CrashBackend},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn budget(most: u64, per: Per) -> Budget {
        Budget { account: "caller/ci".into(), unit: "play".parse().unwrap(), most, per }
    }

    async fn award(store: &Store, number: u64, budgets: Vec<Budget>, price: u64, now: Timestamp) -> bool {
        let unit = "play".parse().unwrap();
        let award = cid_of(&number.to_be_bytes());
        let debited = store.transact(move |w| debit(w, &budgets, (&unit, price), award, now)).await;
        debited.unwrap().is_ok()
    }

    #[tokio::test]
    async fn sixty_four_awards_at_once_take_what_the_budget_holds_and_a_crash_forgets_none() {
        let (disk, runtime) = (CrashBackend::new(), Runtime::anchored(NOW));
        let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
        let day = budget(75, Per::Day);
        let awards = (0..64).map(|number| award(&store, number, vec![day.clone()], 7, NOW));
        let done = futures::future::join_all(awards).await;
        assert_eq!(done.iter().filter(|done| **done).count(), 10);
        runtime.shutdown().await;
        disk.crash();
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
        // These awards have no record of a trade, as one that is past its time and was paid: they stay spent.
        assert_eq!(store.read(|r| day.spent(r, NOW)).unwrap(), 70);
        assert!(!award(&store, 100, vec![day.clone()], 6, NOW).await);
        assert!(award(&store, 101, vec![day.clone()], 5, NOW).await, "to the unit");
        assert!(!award(&store, 102, vec![day.clone()], 1, NOW).await);
        let tomorrow = NOW.saturating_add(DAY_SECS);
        assert!(award(&store, 103, vec![day.clone()], 75, tomorrow).await, "a new day");
        assert_eq!(store.read(|r| day.spent(r, NOW)).unwrap(), 75, "a clock that is set back finds its day");
    }

    #[test]
    fn what_its_seller_may_still_take_stays_spent() {
        let (refused, failed) = (BuyerOutcome::Refused(Reason::Busy), BuyerOutcome::Overdue);
        let settled = |redeemed| Money::Settled { refunded: 7 - redeemed, redeemed, fee: 0 };
        for (outcome, money, escrow, fell_back, expected) in [
            (&failed, Money::Paid, false, true, (0, true)),
            (&failed, settled(0), false, false, (7, true)),
            (&failed, settled(5), false, false, (2, true)),
            (&failed, Money::Waiting, false, true, (0, false)),
            (&refused, Money::Returned, true, false, (7, true)),
            (&refused, Money::Returned, false, false, (0, false)),
            (&refused, Money::Returned, false, true, (7, true)),
        ] {
            let lock = || Ok((escrow, fell_back));
            assert_eq!(came_back(7, outcome, money, lock).unwrap(), expected, "{outcome:?} {money:?} {escrow}");
        }
    }

    #[tokio::test]
    async fn an_award_is_on_all_of_its_budgets_or_on_none() {
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        let (day, run) = (budget(100, Per::Day), Budget { account: "run/1".into(), ..budget(10, Per::Ever) });
        assert!(award(&store, 1, vec![day.clone(), run.clone()], 6, NOW).await);
        assert!(!award(&store, 2, vec![day.clone(), run.clone()], 6, NOW).await);
        let spent = |budget: &Budget| store.read(|r| budget.spent(r, NOW)).unwrap();
        assert_eq!((spent(&day), spent(&run)), (6, 6));
        let later = NOW.saturating_add(10 * DAY_SECS);
        assert!(!award(&store, 3, vec![run.clone()], 6, later).await, "all time has no midnight");
        store.write(|w| close_account(w, "run/1")).await.unwrap();
        assert_eq!((spent(&day), spent(&run)), (6, 0), "its account is closed, and no other");
        store.write(move |w| forget(w, later)).await.unwrap();
        assert_eq!(spent(&day), 0, "a day that is past is forgotten");
    }
}
