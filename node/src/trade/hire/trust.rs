//! How far a seller is trusted with money in advance: which offers a hire takes, by how they are to be paid.
//!
//! In escrow neither side need trust the other, at a mint that neither of them runs. What is paid in advance, and what is in
//! escrow at a mint that the seller itself hosts, the seller can keep for nothing.

use guilder_protocol::{envelope::Signed, market::Offer, settlement::Mode};

use super::{
    error::{HireError, NoOffer},
    request::HireMode,
};

/// Of what a seller has delivered to us in escrow lately, the part that is paid in advance to it at once: one in so many. Whoever
/// wants to run away with an advance must have done four times as much honest work for it.
pub(super) const EARNED_SHARE: u64 = 4;

/// The offers that a hire in this mode takes. `earned` says whether an offer's price may be paid to its seller in advance.
///
/// # Errors
/// If none is left, or `earned` fails.
pub(super) fn payable(
    offers: Vec<Signed<Offer>>,
    mode: HireMode,
    stranger_max: u64,
    earned: impl Fn(&Signed<Offer>) -> Result<bool, HireError>,
) -> Result<Vec<Signed<Offer>>, HireError> {
    let (mut taken, mut without) = (Vec::new(), Vec::new());
    for offer in &offers {
        let of_same = || offers.iter().filter(|other| other.issuer() == offer.issuer());
        let takes = match (mode, is_safe(offer)) {
            (HireMode::Prepaid, _) => true,
            (HireMode::Escrow, safe) => safe,
            // Who has earned it is paid in advance, which takes no mint.
            (HireMode::Auto, true) => {
                let mut advances = of_same().filter(|other| other.body.terms.mode() == Mode::Prepaid);
                !advances.try_fold(false, |any, advance| Ok::<_, HireError>(any || earned(advance)?))?
            }
            (HireMode::Auto, false) => earned(offer)? || (offer.body.price <= stranger_max && !of_same().any(is_safe)),
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
        let taken = payable(offers.to_vec(), mode, stranger_max, |_| Ok(earned)).unwrap_or_default();
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
