//! What a seller lays out for a task before it is paid: which tasks may have work subcontracted on our money.
//!
//! Subcontractors are paid by us, from our own wallet, while the work goes on. What is paid in advance is ours by then, whatever
//! the buyer does. In escrow it isn't: a buyer can call the task off, or never release, and leave us with what they cost. So
//! a task in escrow may cost only what its buyer has earned, by the rule by which sellers earn advances ([`share_of`]), or
//! what the service's own file risks on strangers.
//!
//! ```text
//!  intake, in its transaction ─▶ row: all that the task may cost ─ work over ─▶ what it did cost ─ paid ─▶ gone
//!                                                                                  └─ never paid ─▶ counts for a month
//! ```
//!
//! All rows of a buyer are counted in the transaction that adds one: tasks taken at once don't count on the same earnings.

use guilder_protocol::{
    settlement::Mode,
    time::Timestamp,
    trade::{Deal, seller::Seller},
};
use serde::{Deserialize, Serialize};

use super::{
    hire::{share_of, spent_for},
    limits::MAX_OUTLAYS,
    records::{EARNED_SECS, PAID, deal_key},
};
use crate::{
    executor::Subcontract,
    store::{Key, Reader, StoreError, Table, Write},
};

/// What trades in escrow that we sell may cost us, or have, by buyer, mint, unit and award; until they are paid.
const OUTLAYS: Table<Outlay> = Table::new("trade/outlays");

/// What one trade may cost us, or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outlay {
    amount: u64,
    /// When it was taken, or its work was over.
    at: Timestamp,
    /// Whether its work goes on.
    open: bool,
}

/// Why a trade isn't taken.
#[derive(Debug)]
pub(super) enum Uncovered {
    /// Its buyer hasn't paid us enough in escrow for what its task may cost.
    Buyer,
    Store(StoreError),
}

impl From<StoreError> for Uncovered {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn row(deal: &Deal) -> Key {
    key_of_buyer(deal).and(deal.id())
}

fn key_of_buyer(deal: &Deal) -> Key {
    let args = deal.award.args();
    deal_key(deal.buyer(), &args.mint, &args.unit)
}

/// Whether the price is ours from the award on: its lock was checked, and only we can spend it until its locktime.
fn is_prepaid(deal: &Deal) -> bool {
    deal.offer.body.terms.mode() == Mode::Prepaid
}

/// Counts what a task may cost us, as the buyer and the service's own file let it be subcontracted.
pub(super) fn take(w: &mut Write<'_>, deal: &Deal, own: Option<&Subcontract>, now: Timestamp) -> Result<(), Uncovered> {
    let (Some(grant), Some(own)) = (&deal.grant, own) else { return Ok(()) };
    if is_prepaid(deal) || own.strangers {
        return Ok(());
    }
    let amount = own.budget.min(grant.pol.most("spent").unwrap_or(u64::MAX));
    let paid = w.get(PAID, key_of_buyer(deal))?.unwrap_or_default().lately(now);
    let mut in_flight = amount;
    let rows = w.range(OUTLAYS, key_of_buyer(deal).range(), MAX_OUTLAYS)?;
    let mut counted = 0;
    for (key, outlay) in rows {
        if !outlay.open && outlay.at.saturating_add(EARNED_SECS) < now {
            w.delete(OUTLAYS, key)?;
        } else {
            in_flight = in_flight.saturating_add(outlay.amount);
            counted += 1;
        }
    }
    if in_flight > share_of(paid) || counted >= MAX_OUTLAYS {
        return Err(Uncovered::Buyer);
    }
    Ok(w.put(OUTLAYS, row(deal), &Outlay { amount, at: now, open: true })?)
}

/// The most that a task's program may have subcontracted now; `None` if nothing.
pub(super) fn covered(r: &impl Reader, deal: &Deal, own: &Subcontract) -> Result<Option<u64>, StoreError> {
    if deal.grant.is_none() {
        return Ok(None);
    }
    if is_prepaid(deal) || own.strangers {
        return Ok(Some(own.budget));
    }
    Ok(r.get(OUTLAYS, row(deal))?.filter(|outlay| outlay.open).map(|outlay| outlay.amount.min(own.budget)))
}

/// The work of a trade is over: what it was debited is what it cost, or all that it might have where that is no longer known.
/// Nothing is debited for it from here on.
pub(super) fn work_over(w: &mut Write<'_>, deal: &Deal, state: &Seller, now: Timestamp) -> Result<(), StoreError> {
    if deal.grant.is_none() || is_prepaid(deal) || matches!(state, Seller::Fetching(_) | Seller::Working(_)) {
        return Ok(());
    }
    let Some(outlay) = w.get(OUTLAYS, row(deal))?.filter(|outlay| outlay.open) else { return Ok(()) };
    match spent_for(w, deal, now)?.unwrap_or(outlay.amount).min(outlay.amount) {
        0 => w.delete(OUTLAYS, row(deal)),
        amount => w.put(OUTLAYS, row(deal), &Outlay { amount, at: now, open: false }),
    }
}

/// A trade was paid: in escrow, what it cost is back, and its buyer has earned by the rest. (All of the price would be earned for nothing
/// by a buyer that is its own subcontractor.)
pub(super) fn paid(w: &mut Write<'_>, deal: &Deal, now: Timestamp) -> Result<(), StoreError> {
    if is_prepaid(deal) {
        return Ok(());
    }
    let mut paid = w.get(PAID, key_of_buyer(deal))?.unwrap_or_default();
    let (outlay, spent) = (w.get(OUTLAYS, row(deal))?, spent_for(w, deal, now)?);
    // What nobody knows the cost of any more earns nothing.
    let cost = outlay.map_or(spent.unwrap_or(u64::MAX), |outlay| outlay.amount.max(spent.unwrap_or(0)));
    paid.add(deal.award.args().price.saturating_sub(cost), now);
    w.put(PAID, key_of_buyer(deal), &paid)?;
    w.delete(OUTLAYS, row(deal))
}

/// The trade's record goes.
pub(super) fn forget(w: &mut Write<'_>, deal: &Deal) -> Result<(), StoreError> {
    w.delete(OUTLAYS, row(deal))
}
