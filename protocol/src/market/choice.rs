//! Choosing among offers: first what is acceptable at all, then a fixed order. Pure, so that it can be replayed.

use std::cmp::Reverse;

use super::{Ask, Offer};
use crate::{
    claim::Untimely,
    envelope::Signed,
    fault::{AtFault, Fault},
    limits::MAX_LOCK_SECS,
    time::Timestamp,
};

/// Whether `offer` answers `ask` within its terms at `now`.
///
/// # Errors
/// What it strays from.
pub fn acceptable(ask: &Signed<Ask>, offer: &Signed<Offer>, now: Timestamp) -> Result<(), OfferError> {
    let (wanted, given) = (&ask.body, &offer.body);
    offer.timely(now)?;
    if given.ask != ask.cid() || given.aud != ask.issuer() || given.service != wanted.service {
        return Err(OfferError::Misaddressed);
    }
    if offer.issuer() == ask.issuer() {
        return Err(OfferError::Self_);
    }
    if given.price > wanted.max_price || given.unit != wanted.unit {
        return Err(OfferError::Price);
    }
    let mode = given.terms.mode();
    if mode.is_known() && !wanted.modes.contains(&mode) {
        return Err(OfferError::Mode);
    }
    if !given.mints.iter().all(|mint| wanted.mints.contains(mint)) {
        return Err(OfferError::Mint);
    }
    if given.deadline > wanted.deadline {
        return Err(OfferError::Late);
    }
    given.terms.acceptable(now)
}

/// What the buyer knows of a seller from earlier trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Experience {
    /// Tasks delivered as agreed.
    pub delivered: u64,
    /// Tasks that failed by the seller's fault.
    pub failed: u64,
}

/// Deliveries that every seller is credited with, so that nobody is judged by one failure, nor for being new.
const CREDIT: u64 = 4;
/// More trades than this say nothing more.
const MOST_TRADES: u64 = 1_000_000;

impl Experience {
    /// The share of its trades that a seller delivers, the credit of four deliveries included, in thousandths. One that never
    /// failed, or that is new, has 1000.
    pub fn chance_permille(self) -> u64 {
        let (served, all) = self.counts();
        served * 1_000 / all
    }

    /// What a price comes to, in thousandths of its unit: the price over the square of the chance to be served. Once because
    /// 1/chance tries are needed for one delivery, and once more because each try that fails holds the price locked, and costs
    /// the time. At a price of 6, who failed three times in ten comes to 9.7, and loses to who never did at 8.
    pub fn weigh(self, price: u64) -> u128 {
        let (served, all) = self.counts();
        let (served, all) = (u128::from(served), u128::from(all));
        u128::from(price) * 1_000 * all * all / (served * served)
    }

    fn counts(self) -> (u64, u64) {
        let served = self.delivered.min(MOST_TRADES) + CREDIT;
        (served, served + self.failed.min(MOST_TRADES))
    }
}

/// Orders acceptable offers, best first: sellers that failed us more than they served us last; then by the price weighed with
/// the chance to be served ([`Experience::weigh`]), by how soon they deliver, by price, by how often they have delivered, and at
/// the end by the seller's key, so that the order is total.
pub fn rank(offers: &mut [Signed<Offer>], experience: impl Fn(&Signed<Offer>) -> Experience) {
    offers.sort_by_cached_key(|offer| {
        let known = experience(offer);
        (
            known.failed > known.delivered,
            known.weigh(offer.body.price),
            offer.body.deadline,
            offer.body.price,
            Reverse(known.delivered),
            offer.issuer(),
            offer.cid(),
        )
    });
}

/// How an offer strays from the ask that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It doesn't hold now.
    #[error(transparent)]
    Untimely(#[from] Untimely),
    /// For another ask, buyer or service.
    #[error("the offer answers another ask, buyer or service")]
    Misaddressed,
    /// From the buyer itself.
    #[error("the offer comes from the buyer itself")]
    Self_,
    /// Over the price asked for, or in another unit.
    #[error("the offer is over the most that was to be paid, or in another unit")]
    Price,
    /// A way to pay that wasn't asked for.
    #[error("the offer wants to be paid in a way that was not asked for")]
    Mode,
    /// Terms of a later version.
    #[error("the offer wants to be paid in a way that this version doesn't know")]
    NotUnderstood,
    /// A mint that wasn't asked for.
    #[error("the offer names a mint that the ask does not")]
    Mint,
    /// Delivers after the deadline.
    #[error("the offer delivers after the deadline")]
    Late,
    /// Keeps the money locked for longer than is reasonable.
    #[error("the offer would lock the money for more than {MAX_LOCK_SECS} seconds")]
    LockedTooLong,
    /// Wants the money locked to what is no key.
    #[error("the offer's payee is no point of the curve: what is locked to it could not be spent or taken back")]
    Payee,
}

impl AtFault for OfferError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotUnderstood => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests;
