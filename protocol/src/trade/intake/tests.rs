#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use ipld_core::ipld::Ipld;
use serde_bytes::ByteBuf;

use super::*;
use crate::{
    award::AwardArgs,
    bytes::ByteArray,
    cbor,
    content::ContentId,
    identity::AgentKey,
    market::OfferBody,
    testing::{self, NOW},
    ucan::chain::NoRevocations,
    wire::Message,
};

mod chains;

fn good() -> Awarded {
    match testing::deal().message() {
        Message::Awarded(message) => message,
        other => panic!("{other:?}"),
    }
}

fn changed(change: impl FnOnce(&mut Awarded)) -> Awarded {
    let mut message = good();
    change(&mut message);
    message
}

/// An award with other arguments, signed by its buyer.
fn awarded(change: impl FnOnce(&mut AwardArgs)) -> Awarded {
    let mut args = testing::args(&testing::deal().offer);
    change(&mut args);
    changed(|message| message.award = bytes(testing::award(&args).invocation().bytes()))
}

/// The tests' award, said to be made at another time.
fn dated(date: Timestamp) -> Awarded {
    let (args, me) = (testing::args(&testing::deal().offer), testing::buyer());
    let award = Award::sign(&args, &testing::part(), me.id(), vec![], date, ByteArray([6; 16]), &me).unwrap();
    changed(|message| message.award = bytes(award.invocation().bytes()))
}

/// An award of another offer, signed by `key`.
fn on_offer(key: &AgentKey, change: impl FnOnce(&mut OfferBody)) -> Awarded {
    let mut body = testing::deal().offer.body.clone();
    change(&mut body);
    let offer = Signed::claim(body, NOW, Some(NOW.saturating_add(30)), ByteArray([4; 16]), key).unwrap();
    changed(|message| message.offer = bytes(offer.bytes()))
}

fn bytes(bytes: &[u8]) -> ByteBuf {
    ByteBuf::from(bytes)
}

/// An award in the name of another, who lets the buyer spend up to `most`.
fn by_delegation(most: u64) -> (Awarded, Signed<Delegation>) {
    let (award, link) = testing::delegated_award(most);
    let message = changed(|message| {
        message.award = bytes(award.invocation().bytes());
        message.proofs = vec![bytes(link.bytes())];
    });
    (message, link)
}

fn read_at(message: &Awarded, now: Timestamp) -> Result<Deal, Reason> {
    read(message, testing::buyer().id(), testing::seller().id(), now, &NoRevocations)
}

/// Everything that `read` refuses, and for which reason.
fn refusals() -> Vec<(&'static str, Reason, Awarded)> {
    let (stranger, later) = (AgentKey::from_seed(&[77; 32]), Ipld::Map([("later".to_owned(), Ipld::Null)].into()));
    let unread = |message: &mut Awarded| message.award[80] ^= 1;
    let large = |message: &mut Awarded| {
        message.input = Payload::Content(ContentId { size: MAX_CONTENT + 1, ..ContentId::of(testing::INPUT) });
    };
    let other_content = |message: &mut Awarded| message.input = Payload::Content(ContentId::of(b"other"));
    vec![
        ("an award that doesn't hold", Reason::Malformed, changed(unread)),
        ("to another seller", Reason::Malformed, awarded(|args| args.seller = stranger.id())),
        ("an offer that doesn't hold", Reason::OfferUnknown, changed(|message| message.offer[80] ^= 1)),
        ("an offer of another's", Reason::OfferUnknown, on_offer(&stranger, |_| ())),
        ("an offer to another", Reason::OfferUnknown, on_offer(&testing::seller(), |body| body.aud = stranger.id())),
        ("another offer of ours", Reason::OfferMismatch, on_offer(&testing::seller(), |body| body.price = 6)),
        ("another price", Reason::OfferMismatch, awarded(|args| (args.price, args.spent) = (6, 6))),
        ("another ask", Reason::OfferMismatch, changed(|message| message.ask[70] ^= 1)),
        (
            "another mode's lock",
            Reason::NotUnderstood,
            changed(|message| message.lock = cbor::decode(&cbor::encode(&later)).unwrap()),
        ),
        ("another inline input", Reason::InputMismatch, changed(|m| m.input = Payload::Inline(bytes(b"other")))),
        ("another input as content", Reason::InputMismatch, changed(other_content)),
        ("content over the limit", Reason::InputTooLarge, changed(large)),
        (
            "a delegation that isn't one",
            Reason::BadChain,
            changed(|message| message.proofs = vec![message.offer.clone()]),
        ),
        ("a chain over its budget", Reason::BadChain, by_delegation(6).0),
        ("a chain without its delegation", Reason::BadChain, Awarded { proofs: vec![], ..by_delegation(7).0 }),
    ]
}

#[test]
fn each_award_that_departs_from_what_was_agreed_is_refused_for_its_reason() {
    let (me, from) = (testing::seller().id(), testing::buyer().id());
    assert_eq!(read_at(&good(), NOW), Ok(testing::deal()));
    let mut seen = BTreeSet::new();
    for (why, expected, message) in refusals() {
        assert_eq!(read_at(&message, NOW).map(|_| ()), Err(expected), "{why}");
        seen.insert(expected);
    }
    assert_eq!(read(&good(), me, me, NOW, &NoRevocations), Err(Reason::Malformed), "sent by another than its buyer");
    assert_eq!(read(&good(), from, from, NOW, &NoRevocations), Err(Reason::Malformed), "received by another");
    for (why, date) in [
        ("a year ago", NOW.saturating_sub(31_536_000)),
        ("in a year", NOW.saturating_add(31_536_000)),
        ("before the offer", NOW.saturating_sub(61)),
        ("ahead of our clock", NOW.saturating_add(61)),
    ] {
        assert_eq!(read_at(&dated(date), NOW).map(|_| ()), Err(Reason::Untimely), "dated {why}");
    }
    assert!(
        read_at(&dated(NOW.saturating_add(60)), NOW).is_ok() && read_at(&dated(NOW.saturating_sub(60)), NOW).is_ok()
    );
    assert_eq!(read_at(&good(), NOW.saturating_add(91)), Err(Reason::Untimely), "after the offer's end and the skew");
    assert_eq!(read_at(&good(), NOW.saturating_add(51)), Err(Reason::TooSoon), "after the deadline");
    let (message, link) = by_delegation(7);
    assert!(read_at(&message, NOW).is_ok());
    let revoked = |_: &AgentId, cid: &cid::Cid| *cid == link.cid();
    assert_eq!(read(&message, from, me, NOW, &revoked).map(|_| ()), Err(Reason::Revoked), "a revoked delegation");
    seen.extend([Reason::Untimely, Reason::TooSoon, Reason::Revoked]);
    assert_eq!(seen.len(), 10, "{seen:?}");
}

#[test]
fn what_the_lock_must_satisfy_is_what_was_offered_and_awarded() {
    let deal = testing::deal();
    let demand = lock_demand(&deal);
    assert_eq!((demand.terms, demand.part), (deal.offer.body.terms.clone(), testing::part()));
    assert_eq!((demand.price, demand.max_proofs, demand.unit.as_str()), (7, 8, "sat"));
}
