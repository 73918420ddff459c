#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::*;
use crate::{
    bytes::ByteArray,
    cbor,
    identity::{AgentId, AgentKey},
    market::{AskBody, OfferBody},
    settlement::{Mode, Terms, prepaid},
    testing::{self, NOW},
};

/// An offer like the tests' own, with another body, expiry and seller.
fn offer_by(key: &AgentKey, exp: Timestamp, change: impl FnOnce(&mut OfferBody)) -> Signed<Offer> {
    let mut body = testing::offer(&testing::ask()).body.clone();
    change(&mut body);
    Signed::claim(body, NOW, Some(exp), ByteArray([4; 16]), key).unwrap()
}

fn offer(change: impl FnOnce(&mut OfferBody)) -> Signed<Offer> {
    offer_by(&testing::seller(), NOW.saturating_add(30), change)
}

fn terms(offer: &mut OfferBody) -> &mut prepaid::Terms {
    match &mut offer.terms {
        Terms::Prepaid(terms) => terms,
        other => panic!("{other:?}"),
    }
}

fn paid_to(payee: [u8; 33]) -> Signed<Offer> {
    offer(|body| terms(body).payee = ByteArray(payee))
}

/// Each way to stray, and what it is called.
fn refusals() -> Vec<(&'static str, OfferError, Signed<Offer>)> {
    let other = cbor::cid_of(b"another ask");
    let stranger = AgentKey::from_seed(&[77; 32]).id();
    let later = cbor::decode::<Terms>(&cbor::encode(&std::collections::BTreeMap::from([("later", 1)]))).unwrap();
    let mint = || "https://other.example".parse().unwrap();
    vec![
        ("expired", Untimely::Expired.into(), offer_by(&testing::seller(), NOW, |_| ())),
        ("another ask", OfferError::Misaddressed, offer(|body| body.ask = other)),
        ("another buyer", OfferError::Misaddressed, offer(|body| body.aud = stranger)),
        ("another service", OfferError::Misaddressed, offer(|body| body.service = "text.other".parse().unwrap())),
        ("from the buyer", OfferError::Self_, offer_by(&testing::buyer(), NOW.saturating_add(30), |_| ())),
        ("above the highest price", OfferError::Price, offer(|body| body.price = 11)),
        ("in another unit", OfferError::Price, offer(|body| body.unit = "usd".parse().unwrap())),
        ("in a later mode", OfferError::NotUnderstood, offer(|body| body.terms = later)),
        ("at another mint", OfferError::Mint, offer(|body| body.mints = vec![mint()])),
        ("at another mint too", OfferError::Mint, offer(|body| body.mints.push(mint()))),
        ("delivered too late", OfferError::Late, offer(|body| body.deadline = NOW.saturating_add(61))),
        (
            "locked for more than two days",
            OfferError::LockedTooLong,
            offer(|body| terms(body).locktime = NOW.saturating_add(MAX_LOCK_SECS + 1)),
        ),
        ("payee not compressed", OfferError::Payee, paid_to([5; 33])),
        ("payee past the field", OfferError::Payee, paid_to([0xff; 33])),
        ("payee zero", OfferError::Payee, paid_to([0; 33])),
    ]
}

/// Names each error once; a new one doesn't compile until it has its row below.
fn name(error: OfferError) -> &'static str {
    match error {
        OfferError::Untimely(Untimely::Expired) => "expired",
        OfferError::Untimely(Untimely::Future) => "future",
        OfferError::Misaddressed => "misaddressed",
        OfferError::Self_ => "self",
        OfferError::Price => "price",
        OfferError::Mode => "mode",
        OfferError::NotUnderstood => "not understood",
        OfferError::Mint => "mint",
        OfferError::Late => "late",
        OfferError::LockedTooLong => "locked too long",
        OfferError::Payee => "payee",
    }
}

#[test]
fn each_way_to_stray_from_the_ask_is_refused_by_its_name() {
    let ask = testing::ask();
    let mut seen = BTreeSet::new();
    for (why, expected, offer) in refusals() {
        let now = if name(expected) == "expired" { NOW.saturating_add(61) } else { NOW };
        assert_eq!(acceptable(&ask, &offer, now), Err(expected), "{why}");
        seen.insert(name(expected));
    }
    assert_eq!(acceptable(&ask, &offer(|_| ()), NOW.saturating_sub(61)), Err(Untimely::Future.into()));
    let body = AskBody { modes: vec!["later".parse().unwrap()], ..ask.body.clone() };
    let of_others = Signed::claim(body, NOW, ask.exp, ByteArray([3; 16]), &testing::buyer()).unwrap();
    let answer = offer(|body| body.ask = of_others.cid());
    assert_eq!(acceptable(&of_others, &answer, NOW), Err(OfferError::Mode));
    seen.extend(["future", "mode"]);
    assert_eq!(seen.len(), 11, "an error without a row: {seen:?}");
}

#[test]
fn an_offer_at_each_bound_is_acceptable() {
    let ask = testing::ask();
    for (why, offer, now) in [
        ("as asked", offer(|_| ()), NOW),
        ("at the highest price", offer(|body| body.price = ask.body.max_price), NOW),
        ("at the deadline", offer(|body| body.deadline = ask.body.deadline), NOW),
        ("two days", offer(|body| terms(body).locktime = NOW.saturating_add(MAX_LOCK_SECS)), NOW),
        ("expired within the skew", offer(|_| ()), NOW.saturating_add(90)),
        ("made ahead within the skew", offer(|_| ()), NOW.saturating_sub(60)),
        ("in one of several modes", offer(|_| ()), NOW),
    ] {
        assert_eq!(acceptable(&ask, &offer, now), Ok(()), "{why}");
    }
    assert!(ask.body.modes.contains(&Mode::Prepaid));
}

fn seller(number: u8) -> AgentKey {
    AgentKey::from_seed(&[number; 32])
}

fn from(number: u8, price: u64, deadline: u64) -> Signed<Offer> {
    offer_by(&seller(number), NOW.saturating_add(30), |body| {
        body.price = price;
        body.deadline = NOW.saturating_add(deadline);
    })
}

/// The sellers, best first, given (seller, delivered, failed) of some.
fn ranked(mut offers: Vec<Signed<Offer>>, known: &[(u8, u64, u64)]) -> Vec<AgentId> {
    rank(&mut offers, |offer| {
        let of = known.iter().find(|(number, ..)| seller(*number).id() == offer.issuer());
        of.map_or_else(Experience::default, |&(_, delivered, failed)| Experience { delivered, failed })
    });
    offers.iter().map(|offer| offer.issuer()).collect()
}

#[test]
fn offers_are_ranked_by_failures_then_weighed_price_then_deadline_then_deliveries() {
    let expect = |numbers: &[u8]| numbers.iter().map(|number| seller(*number).id()).collect::<Vec<_>>();
    let cheap_and_soon = || vec![from(2, 9, 50), from(1, 1, 20)];
    assert_eq!(ranked(cheap_and_soon(), &[(1, 2, 3)]), expect(&[2, 1]), "failed more often than it delivered");
    assert_eq!(ranked(cheap_and_soon(), &[(1, 3, 3)]), expect(&[1, 2]), "failed as often as it delivered");
    assert_eq!(ranked(cheap_and_soon(), &[(1, 2, 3), (2, 0, 1)]), expect(&[1, 2]), "both failed");
    let (cheaper, sooner) = (vec![from(1, 5, 20), from(2, 4, 50)], vec![from(1, 5, 40), from(2, 5, 20)]);
    assert_eq!(ranked(cheaper, &[(1, 100, 0)]), expect(&[2, 1]), "price before deadline and deliveries");
    assert_eq!(ranked(sooner, &[(1, 100, 0)]), expect(&[2, 1]), "deadline before deliveries");
    let alike = || vec![from(1, 5, 20), from(2, 5, 20), from(3, 5, 20)];
    assert_eq!(ranked(alike(), &[(2, 7, 0), (3, 8, 0)]), expect(&[3, 2, 1]), "the more often proven");
    assert_eq!(
        ranked(alike(), &[(2, 7, 1), (3, 8, 7)]),
        expect(&[1, 2, 3]),
        "who never failed, then who failed less often"
    );
    let flaky = || vec![from(1, 6, 20), from(2, 8, 20)];
    assert_eq!(
        ranked(flaky(), &[(1, 7, 3), (2, 10, 0)]),
        expect(&[2, 1]),
        "three failures in ten at 6 lose to none at 8"
    );
    assert_eq!(ranked(flaky(), &[(1, 7, 3)]), expect(&[2, 1]), "and to who is new at 8");
    assert_eq!(ranked(flaky(), &[(1, 9, 1), (2, 10, 0)]), expect(&[1, 2]), "one in ten is worth the lower price");
}

#[test]
fn a_price_is_weighed_by_the_chance_to_be_served() {
    let of = |delivered, failed| Experience { delivered, failed };
    for (known, chance, weighed) in [
        (of(0, 0), 1_000, 6_000),
        (of(100, 0), 1_000, 6_000),
        (of(7, 3), 785, 9_719),
        (of(0, 1), 800, 9_375),
        (of(0, 4), 500, 24_000),
    ] {
        assert_eq!((known.chance_permille(), known.weigh(6)), (chance, weighed), "{known:?}");
    }
    let most = of(u64::MAX, u64::MAX);
    assert!(most.weigh(u64::MAX) > most.weigh(1) && of(0, u64::MAX).weigh(u64::MAX) > u128::from(u64::MAX));
}

#[test]
fn offers_alike_in_all_else_are_ranked_by_key_whatever_the_order_of_arrival() {
    let mut by_key: Vec<_> = [1, 2, 3].map(|number| seller(number).id()).into();
    by_key.sort();
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        assert_eq!(ranked(order.map(|number| from(number, 5, 20)).to_vec(), &[]), by_key);
    }
}
