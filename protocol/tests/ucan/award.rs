//! What Guilder asks of the chain of an award.

use guilder_protocol::{
    cbor,
    identity::AgentId,
    ucan::{ChainError, Delegation, Invocation, chain, grant::SubGrant},
};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::tools::{NOW, from_json, id, invocation, name, policy, redelegation, verify};

const RECEIVER: u8 = 9;
const MINT: &str = "https://mint.example.com";

/// An award by `buyer` to [`RECEIVER`] in the name of 1, with these arguments and the depth.
fn award(buyer: u8, depth: u64, mut args: Value) -> Invocation {
    args["depth"] = depth.into();
    Invocation { aud: Some(id(RECEIVER)), args: from_json(&args), ..invocation(1, buyer, "/task/award") }
}

fn money(from: u8, to: u8, pol: &Value) -> Delegation {
    Delegation { pol: policy(pol), exp: Some(NOW), ..redelegation(1, from, to, "/task/award") }
}

fn check(asked: Invocation, links: Vec<Delegation>) -> Result<(), ChainError> {
    chain::check_award(&verify(asked, links)?, id(RECEIVER))
}

fn terms() -> Value {
    json!({"unit": "sat", "mint": MINT, "price": 10, "spent": 10})
}

#[test]
fn a_buyer_awards_in_its_own_name_without_proof() {
    assert_eq!(check(award(1, 0, terms()), vec![]), Ok(()));
}

#[test]
fn an_award_names_its_receiver() {
    for audience in [None, Some(id(8))] {
        let asked = Invocation { aud: audience, ..award(1, 0, terms()) };
        assert_eq!(check(asked, vec![]), Err(ChainError::Receiver(id(RECEIVER))));
    }
    // not even where it goes without saying, as in plain UCAN
    let to_itself = Invocation { aud: None, sub: id(RECEIVER), iss: id(RECEIVER), ..award(1, 0, terms()) };
    let outcome = check(to_itself, vec![]);
    assert_eq!(outcome.as_ref().map_err(ChainError::name), Err("InvalidAudience"));
}

#[test]
fn nobody_awards_to_the_principal_in_its_own_name() {
    let root = Delegation { sub: Some(id(RECEIVER)), iss: id(RECEIVER), ..money(1, 2, &json!([])) };
    let asked = Invocation { sub: id(RECEIVER), ..award(2, 1, terms()) };
    assert_eq!(check(asked, vec![root]), Err(ChainError::ReceiverIsSubject));
}

#[test]
fn only_an_award_is_an_award() {
    let asked = Invocation { cmd: "/task/award/again".parse().unwrap(), ..award(1, 0, terms()) };
    assert!(matches!(check(asked, vec![]), Err(ChainError::NotAward(_))));
}

#[test]
fn the_depth_is_the_number_of_delegations() {
    let link = || money(1, 2, &json!([]));
    assert_eq!(check(award(2, 1, terms()), vec![link()]), Ok(()));
    for wrong in [0, 2] {
        assert_eq!(check(award(2, wrong, terms()), vec![link()]), Err(ChainError::Depth(1)));
    }
    for odd in [json!("0"), json!(0.0), json!(null)] {
        let mut args = terms();
        args["depth"] = odd;
        let asked = Invocation { args: from_json(&args), ..award(1, 0, terms()) };
        assert_eq!(check(asked, vec![]), Err(ChainError::Depth(0)));
    }
    let asked = Invocation { args: from_json(&terms()), ..award(1, 0, terms()) };
    assert_eq!(check(asked, vec![]), Err(ChainError::Depth(0)));
}

#[test]
fn every_delegation_of_money_ends() {
    let endless = |from, to| Delegation { exp: None, ..money(from, to, &json!([])) };
    assert_eq!(check(award(2, 1, terms()), vec![endless(1, 2)]), Err(ChainError::Endless { link: 0 }));
    let links = vec![money(1, 2, &json!([])), endless(2, 3)];
    assert_eq!(check(award(3, 2, terms()), links), Err(ChainError::Endless { link: 1 }));
}

#[test]
fn a_bound_on_the_price_says_what_it_is_a_bound_of() {
    let (unit, mint) = (json!(["==", ".unit", "sat"]), json!(["==", ".mint", MINT]));
    let cheap = json!(["<=", ".price", 100]);
    let outcome = |statements: &[&Value]| check(award(2, 1, terms()), vec![money(1, 2, &json!(statements))]);
    assert_eq!(outcome(&[&unit, &mint, &cheap]), Ok(()));
    assert_eq!(outcome(&[&cheap, &mint, &unit]), Ok(()));
    assert_eq!(outcome(&[&json!(["and", [unit, mint, cheap]])]), Ok(()));
    assert_eq!(outcome(&[&unit]), Ok(()), "no bound, nothing to fix");
    let unfixed = |field| Err(ChainError::Unfixed { link: 0, field });
    assert_eq!(outcome(&[&cheap]), unfixed("unit"));
    assert_eq!(outcome(&[&unit, &cheap]), unfixed("mint"));
    assert_eq!(outcome(&[&mint, &cheap]), unfixed("unit"));
    // what doesn't fix
    for loose in [
        json!(["like", ".unit", "sat"]),
        json!(["!=", ".unit", "btc"]),
        json!(["or", [["==", ".unit", "sat"], ["==", ".unit", "btc"]]]),
        json!(["not", ["!=", ".unit", "sat"]]),
        json!(["==", ".unit[0:]?", null]),
    ] {
        assert_eq!(outcome(&[&loose, &mint, &cheap]), unfixed("unit"), "{loose}");
    }
    // what bounds, however it is put
    for bound in [
        json!(["not", [">", ".price", 100]]),
        json!(["or", [["<=", ".price", 100], ["==", ".unit", "x"]]]),
        json!(["<=", ".[\"price\"]", 100]),
        json!(["<=", ".price?", 100]),
        json!(["<=", ".spent", 100]),
        json!(["==", ".price", 10]),
        json!(["any", ".", ["==", ".", 10]]),
    ] {
        assert_eq!(outcome(&[&bound]), unfixed("unit"), "{bound}");
    }
}

#[test]
fn a_bound_is_fixed_where_it_stands_or_above() {
    let fixed = json!([["==", ".unit", "sat"], ["==", ".mint", MINT]]);
    let cheap = json!([["<=", ".price", 100]]);
    assert_eq!(check(award(3, 2, terms()), vec![money(1, 2, &fixed), money(2, 3, &cheap)]), Ok(()));
    // the delegate may not choose what its own bound is counted in
    let outcome = check(award(3, 2, terms()), vec![money(1, 2, &cheap), money(2, 3, &fixed)]);
    assert_eq!(outcome, Err(ChainError::Unfixed { link: 0, field: "unit" }));
}

fn grant() -> SubGrant {
    SubGrant {
        buyer: id(1),
        seller: id(2),
        principal: id(1),
        task: cbor::cid_of(b"the root ask"),
        services: vec!["text.summarize".into()],
        unit: "sat".into(),
        mint: MINT.into(),
        max_price: 100,
        max_spent: 250,
        deadline: NOW.saturating_add(60),
        max_depth: 2,
        expires: NOW.saturating_add(120),
        nonce: vec![7; 16],
    }
}

#[test]
fn a_sub_grant_lets_the_seller_award_within_its_bounds() {
    let outcome = |change: &dyn Fn(&mut std::collections::BTreeMap<String, Ipld>), depth: u64| {
        let mut args = std::collections::BTreeMap::from([
            ("task".into(), Ipld::Link(cbor::cid_of(b"the root ask"))),
            ("service".into(), Ipld::String("text.summarize".into())),
            ("unit".into(), Ipld::String("sat".into())),
            ("mint".into(), Ipld::String(MINT.into())),
            ("price".into(), Ipld::Integer(100)),
            ("spent".into(), Ipld::Integer(250)),
            ("deadline".into(), Ipld::Integer(i128::from(NOW.as_secs()) + 60)),
            ("depth".into(), Ipld::Integer(depth.into())),
        ]);
        change(&mut args);
        let mut links = vec![grant().delegation().unwrap()];
        let mut buyer = 2;
        while (links.len() as u64) < depth {
            links.push(money(buyer, buyer + 1, &json!([])));
            buyer += 1;
        }
        let asked = Invocation { args: args.into(), ..award(buyer, depth, terms()) };
        let chain = verify(asked, links);
        if let Ok(chain) = &chain {
            chain::check_award(chain, id(RECEIVER)).unwrap();
        }
        name(&chain)
    };
    assert_eq!(outcome(&|_| {}, 1), "valid");
    assert_eq!(outcome(&|_| {}, 2), "valid");
    assert_eq!(outcome(&|_| {}, 3), "MatchError");
    for (field, value) in [
        ("task", Ipld::Link(cbor::cid_of(b"another ask"))),
        ("service", Ipld::String("text.translate".into())),
        ("unit", Ipld::String("usd".into())),
        ("mint", Ipld::String("https://other.example.com".into())),
        ("price", Ipld::Integer(101)),
        ("spent", Ipld::Integer(251)),
        ("deadline", Ipld::Integer(i128::from(NOW.as_secs()) + 61)),
    ] {
        assert_eq!(outcome(&|args| drop(args.insert(field.into(), value.clone())), 1), "MatchError", "{field}");
        assert_eq!(outcome(&|args| drop(args.remove(field)), 1), "MatchError", "{field} is missing");
    }
}

#[test]
fn a_sub_grant_is_fit_for_money_and_bound_to_the_seller() {
    let granted = grant().delegation().unwrap();
    assert_eq!(chain::check_money([&granted]), Ok(()));
    assert_eq!((granted.iss, granted.aud, granted.sub), (id(1), id(2), Some::<AgentId>(id(1))));
    let open = SubGrant { services: vec![], ..grant() }.delegation().unwrap();
    assert_eq!(open.pol.statements().len() + 1, granted.pol.statements().len());
}
