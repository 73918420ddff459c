#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};

use ipld_core::ipld::Ipld;

use super::*;
use crate::{
    bytes::ByteArray,
    cbor,
    identity::AgentKey,
    market::{Offer, OfferBody},
    settlement::{Terms, prepaid},
    testing::{self, NOW},
};

/// The tests' award with its invocation changed, signed anew by its buyer.
fn with(change: impl FnOnce(&mut Invocation)) -> Result<Award, AwardError> {
    let mut invocation = testing::deal().award.invocation().payload().clone();
    change(&mut invocation);
    Award::decode(Signed::sign(invocation, &testing::buyer()).unwrap().bytes())
}

fn with_arg(name: &str, value: Ipld) -> Result<Award, AwardError> {
    with(|invocation| set(invocation, name, value))
}

fn set(invocation: &mut Invocation, name: &str, value: Ipld) {
    invocation.args = invocation.args.clone().with(BTreeMap::from([(name.to_owned(), value)]).into());
}

fn without_arg(name: &str) -> Result<Award, AwardError> {
    with(|invocation| {
        let Ipld::Map(mut args) = invocation.args.as_ipld().clone() else { panic!() };
        args.remove(name);
        invocation.args = args.into();
    })
}

fn int(value: u64) -> Ipld {
    Ipld::Integer(value.into())
}

fn names(names: &[&str]) -> Ipld {
    Ipld::List(names.iter().map(|name| Ipld::String((*name).into())).collect())
}

fn did(key: &AgentKey) -> Ipld {
    Ipld::String(key.id().to_string())
}

/// In the name of another, by one delegation.
fn by_chain(invocation: &mut Invocation, principal: AgentId) {
    invocation.sub = principal;
    invocation.prf = vec![cbor::cid_of(b"link")];
    set(invocation, "depth", int(1));
}

/// Names each error once; a new one doesn't compile until it has its row below.
fn name(error: &AwardError) -> &'static str {
    match error {
        AwardError::Envelope(_) => "envelope",
        AwardError::Command => "command",
        AwardError::NotUnderstood(_) => "not understood",
        AwardError::Critical(_) => "critical",
        AwardError::Arguments => "arguments",
        AwardError::Audience => "audience",
        AwardError::Depth => "depth",
        AwardError::Principal => "principal",
        AwardError::Spent => "spent",
        AwardError::Locktime => "locktime",
        AwardError::Dates => "dates",
        AwardError::Offer => "offer",
    }
}

#[test]
fn each_contradiction_in_an_award_has_its_name() {
    let (stranger, seller) = (AgentKey::from_seed(&[77; 32]), testing::seller());
    let deadline = testing::args(&testing::deal().offer).deadline.as_secs();
    let mut torn = testing::deal().award.invocation().bytes().to_vec();
    torn[20] ^= 1;
    let rows = [
        ("its signature is not the buyer's", "envelope", Award::decode(&torn)),
        ("another command", "command", with(|inv| inv.cmd = "/task/cancel".parse().unwrap())),
        ("a command below it", "command", with(|inv| inv.cmd = "/task/award/now".parse().unwrap())),
        ("a mode of a later version", "not understood", with_arg("mode", Ipld::String("later".into()))),
        ("a critical argument of a later version", "critical", with_arg("crit", names(&["price", "later"]))),
        ("critical names that are none", "arguments", with_arg("crit", int(1))),
        ("no critical name", "arguments", with_arg("crit", names(&[]))),
        ("no mode", "arguments", without_arg("mode")),
        ("a mode that is no name", "arguments", with_arg("mode", Ipld::String("Pre paid".into()))),
        ("no price", "arguments", without_arg("price")),
        ("no locktime", "arguments", without_arg("locktime")),
        ("no commitment", "arguments", without_arg("ys")),
        ("a price that is a text", "arguments", with_arg("price", Ipld::String("7".into()))),
        ("a price below zero", "arguments", with_arg("price", Ipld::Integer(-7))),
        ("a commitment of 31 bytes", "arguments", with_arg("ys", Ipld::Bytes(vec![5; 31]))),
        ("no audience", "audience", with(|inv| inv.aud = None)),
        ("another audience than seller", "audience", with(|inv| inv.aud = Some(stranger.id()))),
        ("another seller than audience", "audience", with_arg("seller", did(&stranger))),
        (
            "to the buyer itself",
            "audience",
            with(|inv| {
                inv.aud = Some(inv.iss);
                set(inv, "seller", did(&testing::buyer()));
            }),
        ),
        ("a depth without delegations", "depth", with_arg("depth", int(1))),
        ("delegations without a depth", "depth", with(|inv| inv.prf = vec![cbor::cid_of(b"link")])),
        (
            "more delegations than a chain has",
            "depth",
            with(|inv| {
                inv.prf = (0..=MAX_CHAIN as u8).map(|link| cbor::cid_of(&[link])).collect();
                set(inv, "depth", int(MAX_CHAIN as u64 + 1));
            }),
        ),
        ("in another's name without delegations", "principal", with(|inv| inv.sub = stranger.id())),
        ("in its own name with delegations", "principal", with(|inv| by_chain(inv, testing::buyer().id()))),
        ("in the seller's name", "principal", with(|inv| by_chain(inv, seller.id()))),
        ("for nothing", "spent", with_arg("price", int(0))),
        ("a total below the price", "spent", with_arg("spent", int(6))),
        ("a total above the price without delegations", "spent", with_arg("spent", int(8))),
        ("without a date", "dates", with(|inv| inv.iat = None)),
        ("without an end", "dates", with(|inv| inv.exp = None)),
        ("ending before its locktime", "dates", with(|inv| inv.exp = inv.exp.map(|exp| exp.saturating_sub(1)))),
        ("ending after its locktime", "dates", with(|inv| inv.exp = inv.exp.map(|exp| exp.saturating_add(1)))),
        ("a locktime at the deadline", "locktime", with_arg("locktime", int(deadline))),
    ];
    let mut seen = BTreeSet::new();
    for (why, expected, award) in rows {
        let error = award.expect_err(why);
        assert_eq!(name(&error), expected, "{why}: {error}");
        seen.insert(expected);
    }
    assert_eq!(seen.len(), 11, "all but `offer`, which the next test has: {seen:?}");
}

#[test]
fn an_award_may_call_critical_what_this_version_reads_and_may_say_more() {
    let known = ["price", "mode", "locktime", "ys"];
    assert!(with_arg("crit", names(&known)).is_ok());
    let more = with_arg("later", names(&known)).unwrap();
    assert_eq!(more.args(), testing::deal().award.args());
    assert_eq!(more.invocation().args.get("later"), Some(&names(&known)));
}

#[test]
fn an_award_by_delegation_may_have_spent_more_than_its_price() {
    let principal = AgentKey::from_seed(&[77; 32]).id();
    let award = with(|inv| {
        by_chain(inv, principal);
        set(inv, "spent", int(8));
    });
    assert_eq!(award.unwrap().principal(), principal);
}

#[test]
fn an_award_takes_just_what_is_offered() {
    let offer = testing::deal().offer;
    let departing = |change: fn(&mut AwardArgs)| {
        let mut args = testing::args(&offer);
        change(&mut args);
        args
    };
    let rows: [(&str, AwardArgs); 8] = [
        ("another task", departing(|args| args.task = args.offer)),
        ("another service", departing(|args| args.service = "text.other".parse().unwrap())),
        ("another ask", departing(|args| args.ask = args.offer)),
        ("another offer", departing(|args| args.offer = args.ask)),
        ("another price", departing(|args| (args.price, args.spent) = (6, 6))),
        ("another unit", departing(|args| args.unit = "usd".parse().unwrap())),
        ("another mint", departing(|args| args.mint = "https://other.example".parse().unwrap())),
        ("another deadline", departing(|args| args.deadline = NOW)),
    ];
    assert_eq!(testing::award(&testing::args(&offer)).matches(&offer), Ok(()));
    for (why, args) in rows {
        assert_eq!(testing::award(&args).matches(&offer), Err(AwardError::Offer), "{why}");
    }
    let offered = |change: fn(&mut OfferBody), key: &AgentKey| -> Signed<Offer> {
        let mut body = offer.body.clone();
        change(&mut body);
        Signed::claim(body, NOW, offer.exp, ByteArray([4; 16]), key).unwrap()
    };
    // The award names the very offer, so that here only what is looked at differs.
    let takes = |offer: &Signed<Offer>| testing::award(&testing::args(offer)).matches(offer);
    let later = |body: &mut OfferBody| {
        let Terms::Prepaid(terms) = &mut body.terms else { panic!() };
        terms.locktime = NOW.saturating_add(1_001);
    };
    let unknown = |body: &mut OfferBody| body.terms = cbor::decode(&cbor::encode(&later_terms())).unwrap();
    assert_eq!(takes(&offered(|_| (), &testing::seller())), Ok(()));
    assert_eq!(takes(&offered(later, &testing::seller())), Err(AwardError::Offer), "an earlier locktime than offered");
    assert_eq!(takes(&offered(unknown, &testing::seller())), Err(AwardError::Offer), "another mode than offered");
    let for_another = offered(|body| body.aud = AgentKey::from_seed(&[77; 32]).id(), &testing::seller());
    assert_eq!(takes(&for_another), Err(AwardError::Offer), "an offer to another buyer");
    let later_part =
        AwardPart::Prepaid(prepaid::AwardPart { locktime: NOW.saturating_add(2_000), ys: ByteArray([5; 32]) });
    let me = testing::buyer();
    let award =
        Award::sign(&testing::args(&offer), &later_part, me.id(), vec![], NOW, ByteArray([6; 16]), &me).unwrap();
    assert_eq!(award.matches(&offer), Ok(()), "a later locktime than offered");
}

fn later_terms() -> BTreeMap<&'static str, u64> {
    [("later", 1)].into()
}
