//! What this node has earned by selling: sums over the records of what it sold, which are kept for `trade.keep_days`.

use std::{collections::BTreeMap, ops::ControlFlow};

use guilder_protocol::{
    market::Unit,
    receipt::Outcome as ReceiptOutcome,
    time::Timestamp,
    trade::{
        Deal,
        seller::{self, Seller},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    limits::MAX_EARNINGS,
    records::{DEALS, LOG, LogRow, SELLERS, StoredSide, key, log_parts},
};
use crate::store::{KeyRange, Read, Reader, StoreError};

/// By what earnings are summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EarningsBy {
    /// The service.
    #[default]
    Service,
    /// The buyer's peer ID.
    Buyer,
    /// The day (UTC) on which the work ended, or on which it was taken as long as it goes on.
    Day,
}

/// What was earned of one service, from one buyer, or on one day, in one unit. Amounts are in that unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Earnings {
    /// The service, the buyer, or the day. Beyond so many the others stand together as `others`.
    pub of: String,
    /// The unit.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// Tasks that were taken.
    pub tasks: u64,
    /// Of them delivered.
    pub delivered: u64,
    /// Of them failed, or called off.
    pub failed: u64,
    /// What mints have given for it, after their fees.
    pub redeemed: u64,
    /// Net prices of what is earned and not redeemed yet.
    pub unredeemed: u64,
    /// Net prices of what is delivered sealed and that buyers haven't released yet.
    pub unreleased: u64,
    /// Net prices of what was delivered and never paid.
    pub lost: u64,
}

/// Sums up what was taken since a moment. Reads all of it: for a thread of its own.
pub(super) fn read(r: &Read, by: EarningsBy, since: Timestamp) -> Result<Vec<Earnings>, StoreError> {
    let mut sums = BTreeMap::new();
    let mut failed = Ok(());
    r.visit(LOG, KeyRange::all().backwards(), |row, LogRow { side, .. }| {
        let Some((created, award)) = log_parts(row) else { return ControlFlow::Continue(()) };
        if created < since {
            return ControlFlow::Break(());
        }
        if side == StoredSide::Seller {
            match r.get(DEALS, key(award)).and_then(|deal| Ok(deal.zip(r.get(SELLERS, key(award))?))) {
                Ok(Some((deal, state))) => add(&mut sums, by, created, &deal, &state),
                Ok(None) => {}
                Err(error) => {
                    failed = Err(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    failed.map(|()| sums.into_values().collect())
}

fn add(sums: &mut BTreeMap<(String, Unit), Earnings>, by: EarningsBy, created: Timestamp, deal: &Deal, state: &Seller) {
    let args = deal.award.args();
    let ended = match state {
        Seller::Unreleased(seller::Unreleased { ended }) | Seller::Ended(ended) => Some(ended),
        _ => None,
    };
    let mut of = match by {
        EarningsBy::Service => args.service.to_string(),
        EarningsBy::Buyer => deal.buyer().peer_id(),
        EarningsBy::Day => day(ended.map_or(created, |ended| ended.at)),
    };
    if sums.len() >= MAX_EARNINGS && !sums.contains_key(&(of.clone(), args.unit.clone())) {
        of = "others".to_owned();
    }
    let empty = || Earnings::none(of.clone(), args.unit.clone());
    let sum = sums.entry((of.clone(), args.unit.clone())).or_insert_with(empty);
    sum.tasks += 1;
    if matches!(state, Seller::Broken(_)) {
        sum.failed += 1;
    }
    let Some(ended) = ended else { return };
    let delivered = matches!(ended.receipt.body.out, ReceiptOutcome::Ok(_));
    let count = if delivered { &mut sum.delivered } else { &mut sum.failed };
    *count += 1;
    let (amount, place) = match &ended.money {
        seller::Money::Redeemed { amount } => (*amount, &mut sum.redeemed),
        seller::Money::Due => (args.price, &mut sum.unredeemed),
        seller::Money::Unreleased => (args.price, &mut sum.unreleased),
        seller::Money::Voided if !delivered => return,
        seller::Money::Voided | seller::Money::Lost(_) => (args.price, &mut sum.lost),
    };
    *place = place.saturating_add(amount);
}

/// `2026-11-29`
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

impl Earnings {
    /// Nothing yet.
    pub fn none(of: String, unit: Unit) -> Self {
        Self { of, unit, tasks: 0, delivered: 0, failed: 0, redeemed: 0, unredeemed: 0, unreleased: 0, lost: 0 }
    }

    /// With another's.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.tasks += other.tasks;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.redeemed = self.redeemed.saturating_add(other.redeemed);
        self.unredeemed = self.unredeemed.saturating_add(other.unredeemed);
        self.unreleased = self.unreleased.saturating_add(other.unreleased);
        self.lost = self.lost.saturating_add(other.lost);
        self
    }
}
