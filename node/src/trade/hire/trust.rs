//! How far a seller is trusted with money in advance: which offers a hire takes, by how they are to be paid.
//!
//! In escrow neither side need trust the other, at a mint that neither of them runs. What is paid in advance, and what is in
//! escrow at a mint that the seller itself hosts, the seller can keep for nothing.

use std::collections::BTreeMap;

use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{MintUrl, Offer, Unit},
    settlement::Mode,
    time::Timestamp,
};

use super::{
    super::records,
    error::{HireError, NoOffer},
    request::{Hire, HireMode},
};
use crate::store::{Reader, StoreError};

/// Of what a seller has delivered to us in escrow lately, the part that may be in its hands in advance at once: one in so many. Whoever
/// wants to run away with an advance must have done four times as much honest work for it.
const EARNED_SHARE: u64 = 4;

/// How much a peer that has kept its part in escrow for so much lately may owe us at once, as a seller or as a buyer.
pub(in crate::trade) fn share_of(earned: u64) -> u64 {
    earned / EARNED_SHARE
}

/// How far a hire trusts sellers with money in advance.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    mode: HireMode,
    stranger_max: u64,
    /// The offers in escrow that are safe, by seller: whoever makes one is paid nothing in advance that it hasn't earned.
    safe: BTreeMap<AgentId, Signed<Offer>>,
}

impl Trust {
    /// Of a hire to which these offers were made.
    pub(super) fn new(hire: &Hire, offers: &[Signed<Offer>]) -> Self {
        let safe = offers.iter().filter(|offer| is_safe(offer)).map(|offer| (offer.issuer(), offer.clone())).collect();
        Self { mode: hire.mode.unwrap_or(HireMode::Auto), stranger_max: hire.stranger_max, safe }
    }

    /// The most that may be in a seller's hands in advance, in this unit and this task's money included; `None` if that isn't bounded.
    pub(super) fn most_in_advance(
        &self,
        read: &impl Reader,
        seller: AgentId,
        mint: &MintUrl,
        unit: &Unit,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        Ok(match self.mode {
            HireMode::Prepaid => None,
            HireMode::Escrow => Some(0),
            HireMode::Auto => {
                let earned = share_of(records::earned(read, seller, mint, unit, now)?);
                Some(if self.safe.contains_key(&seller) { earned } else { earned.max(self.stranger_max) })
            }
        })
    }

    /// The offer in escrow of a seller that can't be paid in advance as it offered.
    pub(super) fn instead_of(&self, offer: &Signed<Offer>) -> Option<Signed<Offer>> {
        self.safe.get(&offer.issuer()).filter(|safe| safe.cid() != offer.cid()).cloned()
    }
}

/// The offers that a hire takes. `may_advance` says whether an offer's price may be paid to its seller in advance, as far as can be
/// told before the transaction that pays it.
///
/// # Errors
/// If none is left, or `may_advance` fails.
pub(super) fn payable(
    offers: Vec<Signed<Offer>>,
    terms: &Trust,
    may_advance: impl Fn(&Signed<Offer>) -> Result<bool, HireError>,
) -> Result<Vec<Signed<Offer>>, HireError> {
    let (mut taken, mut without) = (Vec::new(), Vec::new());
    for offer in &offers {
        let takes = match (terms.mode, is_safe(offer)) {
            (HireMode::Prepaid, _) => true,
            (HireMode::Escrow, safe) => safe,
            // Who has earned it is paid in advance, which takes no mint.
            (HireMode::Auto, true) => {
                let of_same = offers.iter().filter(|other| other.issuer() == offer.issuer());
                let mut advances = of_same.filter(|other| other.body.terms.mode() == Mode::Prepaid);
                !advances.try_fold(false, |any, advance| Ok::<_, HireError>(any || may_advance(advance)?))?
            }
            (HireMode::Auto, false) => may_advance(offer)?,
        };
        if takes {
            taken.push(offer.clone());
        } else {
            without.push((offer.issuer(), NoOffer::Advance));
        }
    }
    if taken.is_empty() { Err(HireError::NoOffer(without)) } else { Ok(taken) }
}

/// Whether the seller can't have the money for nothing.
fn is_safe(offer: &Signed<Offer>) -> bool {
    let hosted = offer.body.mints.iter().any(|mint| mint.peer() == Some(offer.issuer()));
    offer.body.terms.mode() == Mode::Escrow && !hosted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{
        bytes::ByteArray,
        cbor::cid_of,
        identity::AgentKey,
        market::{MintUrl, OfferBody},
        settlement::{Terms, escrow, prepaid},
        time::Timestamp,
    };

    use super::*;

    fn key(seed: u8) -> AgentKey {
        AgentKey::from_seed(&[seed; 32])
    }

    fn offer(seller: u8, mode: &Mode, mint: MintUrl) -> Signed<Offer> {
        let at = |secs: u64| Timestamp::from_secs(1_000_000 + secs);
        let payee = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
        let terms = match mode {
            Mode::Prepaid => Terms::Prepaid(prepaid::Terms { payee, locktime: at(5_000) }),
            _ => Terms::Escrow(escrow::Terms {
                label: ByteArray([1; 16]),
                payee,
                key_hash: ByteArray([2; 32]),
                release_by: at(1_000),
                redeem_by: at(2_000),
                locktime: at(3_000),
            }),
        };
        let body = OfferBody {
            aud: key(9).id(),
            ask: cid_of(b"ask"),
            service: "text.echo".parse().unwrap(),
            price: 20,
            unit: "play".parse().unwrap(),
            mints: vec![mint],
            terms,
            max_proofs: 8,
            deadline: at(60),
            input: None,
            output: None,
        };
        Signed::claim(body, at(0), Some(at(30)), ByteArray([3; 16]), &key(seller)).unwrap()
    }

    fn elsewhere() -> MintUrl {
        "https://mint.example".parse().unwrap()
    }

    /// The modes that are taken of a seller's offers: `e` and `p`.
    fn taken(offers: &[Signed<Offer>], mode: HireMode, stranger_max: u64, earned: bool) -> String {
        let hire = Hire { mode: Some(mode), stranger_max, ..Hire::of("text.echo".parse().unwrap()) };
        let terms = Trust::new(&hire, offers);
        let may_advance = |offer: &Signed<Offer>| {
            let is_known = terms.safe.contains_key(&offer.issuer());
            Ok(earned || (!is_known && offer.body.price <= stranger_max))
        };
        let taken = payable(offers.to_vec(), &terms, may_advance).unwrap_or_default();
        taken.iter().map(|offer| if offer.body.terms.mode() == Mode::Escrow { 'e' } else { 'p' }).collect()
    }

    #[test]
    fn a_stranger_is_paid_in_escrow_and_who_has_earned_it_in_advance() {
        let both = [offer(1, &Mode::Prepaid, elsewhere()), offer(1, &Mode::Escrow, elsewhere())];
        let advance = [offer(1, &Mode::Prepaid, elsewhere())];
        let hosted = [offer(1, &Mode::Escrow, MintUrl::of_peer(key(1).id()))];
        for (offers, mode, stranger_max, earned, wanted) in [
            (&both[..], HireMode::Auto, 100, false, "e"),
            (&both, HireMode::Auto, 0, true, "p"),
            (&both, HireMode::Escrow, 0, true, "e"),
            (&both[..1], HireMode::Prepaid, 0, false, "p"),
            (&advance, HireMode::Auto, 20, false, "p"),
            (&advance, HireMode::Auto, 19, false, ""),
            (&advance, HireMode::Auto, 0, true, "p"),
            (&advance, HireMode::Escrow, 100, true, ""),
            // Escrow at the seller's own mint is no better than an advance.
            (&hosted, HireMode::Auto, 20, false, "e"),
            (&hosted, HireMode::Auto, 19, false, ""),
            (&hosted, HireMode::Escrow, 100, true, ""),
        ] {
            assert_eq!(taken(offers, mode, stranger_max, earned), wanted, "{mode:?} {stranger_max} {earned}");
        }
    }

    #[test]
    fn another_seller_s_escrow_makes_a_stranger_s_advance_no_worse() {
        let offers = [offer(1, &Mode::Prepaid, elsewhere()), offer(2, &Mode::Escrow, elsewhere())];
        assert_eq!(taken(&offers, HireMode::Auto, 20, false), "pe");
        assert_eq!(taken(&offers, HireMode::Auto, 19, false), "e");
    }
}
