//! Choosing among offers: first what is acceptable at all, then a fixed order. Pure, so that it can be replayed.

use std::cmp::Reverse;

use cashu::nuts::PublicKey;

use super::{Ask, Mode, Offer};
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
    if !wanted.modes.contains(&given.terms.mode()) {
        return Err(OfferError::Mode);
    }
    if !given.mints.iter().all(|mint| wanted.mints.contains(mint)) {
        return Err(OfferError::Mint);
    }
    if given.deadline > wanted.deadline {
        return Err(OfferError::Late);
    }
    let super::Terms::Prepaid { payee, locktime } = &given.terms;
    if locktime.since(now) > MAX_LOCK_SECS {
        return Err(OfferError::LockedTooLong);
    }
    // What is locked to a key that is no point is nobody's: mints can't read such a lock, so not even the refund works.
    PublicKey::from_slice(&payee.0).map_err(|_| OfferError::Payee)?;
    Ok(())
}

/// What the buyer knows of a seller from earlier trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Experience {
    /// Tasks delivered as agreed.
    pub delivered: u64,
    /// Tasks that failed by the seller's fault.
    pub failed: u64,
}

/// Orders acceptable offers, best first: sellers that failed us more than they served us last; then by price, by
/// how soon they deliver, by how often they have delivered, and at the end by the seller's key, so that the order is total.
pub fn rank(offers: &mut [Signed<Offer>], experience: impl Fn(&Signed<Offer>) -> Experience) {
    offers.sort_by_cached_key(|offer| {
        let known = experience(offer);
        (
            known.failed > known.delivered,
            offer.body.price,
            offer.body.deadline,
            Reverse(known.delivered),
            offer.issuer(),
            offer.cid(),
        )
    });
}

/// The mint to pay at: the first of the seller's that `usable` says the buyer can pay from.
pub fn mint_for(offer: &Offer, usable: impl Fn(&super::MintUrl) -> bool) -> Option<&super::MintUrl> {
    offer.body.mints.iter().find(|mint| usable(mint))
}

/// The modes that this version trades in, in order of preference.
pub const MODES: [Mode; 1] = [Mode::Prepaid];

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
        Fault::Peer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        bytes::ByteArray,
        testing::{self, NOW},
    };

    #[test]
    fn money_is_not_locked_to_what_is_no_key() {
        let ask = testing::ask();
        let good = testing::offer(&ask);
        assert_eq!(acceptable(&ask, &good, NOW), Ok(()));
        for (why, payee) in [("not compressed", [5; 33]), ("past the field", [0xff; 33]), ("zero", [0; 33])] {
            let mut body = good.body.clone();
            let super::super::Terms::Prepaid { payee: named, .. } = &mut body.terms;
            *named = ByteArray(payee);
            let offer = Signed::claim(body, NOW, good.exp, ByteArray([9; 16]), &testing::seller()).unwrap();
            assert_eq!(acceptable(&ask, &offer, NOW), Err(OfferError::Payee), "{why}");
        }
    }
}
