//! What a seller finds in the chain of an award: A lets B subcontract, B lets the buyer, who awards in A's name.

use super::*;
use crate::{award::AwardArgs, ucan::grant::SubGrant};

fn a() -> AgentKey {
    AgentKey::from_seed(&[70; 32])
}

fn b() -> AgentKey {
    AgentKey::from_seed(&[71; 32])
}

fn task() -> cid::Cid {
    cbor::cid_of(b"the root ask")
}

/// What `from` lets `to` do: exactly what the tests' award needs.
fn terms(from: &AgentKey, to: AgentId) -> SubGrant {
    SubGrant {
        buyer: from.id(),
        seller: to,
        principal: a().id(),
        task: task(),
        services: vec!["text.echo".into()],
        unit: "sat".into(),
        mint: "https://mint.example".into(),
        max_price: 7,
        max_spent: 7,
        deadline: NOW.saturating_add(50),
        max_depth: 2,
        expires: NOW.saturating_add(50),
        nonce: vec![1; 16],
    }
}

fn signed(terms: &SubGrant, key: &AgentKey) -> Signed<Delegation> {
    Signed::sign(terms.delegation().unwrap(), key).unwrap()
}

fn first() -> SubGrant {
    terms(&a(), b().id())
}

fn second() -> SubGrant {
    terms(&b(), testing::buyer().id())
}

fn line() -> Vec<Signed<Delegation>> {
    vec![signed(&first(), &a()), signed(&second(), &b())]
}

/// The tests' award in the name of A, by delegations of these bytes.
fn by_bytes(links: &[Vec<u8>], change: impl FnOnce(&mut AwardArgs)) -> Awarded {
    let mut args = testing::args(&testing::deal().offer);
    (args.task, args.depth) = (task(), links.len() as u64);
    change(&mut args);
    let prf = links.iter().map(|link| cbor::cid_of(link)).collect();
    let me = testing::buyer();
    let award = Award::sign(&args, &testing::part(), a().id(), prf, NOW, ByteArray([6; 16]), &me).unwrap();
    changed(|message| {
        message.award = bytes(award.invocation().bytes());
        message.proofs = links.iter().map(|link| bytes(link)).collect();
    })
}

fn by(links: &[Signed<Delegation>]) -> Awarded {
    by_bytes(&links.iter().map(|link| link.bytes().to_vec()).collect::<Vec<_>>(), |_| ())
}

fn outcome(message: &Awarded) -> Result<(), Reason> {
    read_at(message, NOW).map(|_| ())
}

/// The bytes of a delegation under another's signature.
fn forged(link: &Signed<Delegation>, by: &AgentKey) -> Vec<u8> {
    let mut bytes = link.bytes().to_vec();
    let signature = by.sign(&bytes[67..]);
    bytes[3..67].copy_from_slice(&signature);
    bytes
}

#[test]
fn a_chain_of_two_delegations_lets_the_third_agent_award() {
    let deal = read_at(&by(&line()), NOW).unwrap();
    assert_eq!(deal.chain, line());
    assert_eq!((deal.award.principal(), deal.award.args().task), (a().id(), task()));
    assert!(deal.passed_on().is_none(), "nothing is passed on that wasn't granted");
}

#[test]
fn a_forged_chain_is_refused() {
    let (links, stranger) = (line(), AgentKey::from_seed(&[77; 32]));
    let raw = |link: &Signed<Delegation>| link.bytes().to_vec();
    let mut edited = raw(&links[1]);
    let price = edited.windows(6).position(|window| window == b".price").unwrap() + 6;
    assert_eq!(edited[price], 7);
    edited[price] = 23;
    let elsewhere = SubGrant { task: cbor::cid_of(b"another ask"), ..first() };
    let of_stranger = SubGrant { buyer: stranger.id(), ..second() };
    let to_stranger = SubGrant { seller: stranger.id(), ..first() };
    let named =
        |services: &[&str]| SubGrant { services: services.iter().map(ToString::to_string).collect(), ..first() };
    let command = |text: &str| {
        let delegation = Delegation { cmd: text.parse().unwrap(), ..first().delegation().unwrap() };
        vec![Signed::sign(delegation, &a()).unwrap(), links[1].clone()]
    };
    let with_first = |terms: &SubGrant| vec![signed(terms, &a()), links[1].clone()];
    for (why, message) in [
        ("signed by a stranger", by_bytes(&[raw(&links[0]), forged(&links[1], &stranger)], |_| ())),
        ("garbage for a signature", {
            let mut garbage = raw(&links[0]);
            garbage[3..67].fill(7);
            by_bytes(&[garbage, raw(&links[1])], |_| ())
        }),
        ("scope edited after signing", by_bytes(&[raw(&links[0]), edited], |_| ())),
        ("links out of order", by(&[links[1].clone(), links[0].clone()])),
        ("the first link left out", by(&links[1..])),
        ("the last link left out", by(&links[..1])),
        ("a link twice", by(&[links[0].clone(), links[0].clone(), links[1].clone()])),
        ("the last link of a stranger", by(&[links[0].clone(), signed(&of_stranger, &stranger)])),
        ("the first link to a stranger", by(&with_first(&to_stranger))),
        ("a chain for another task", by(&with_first(&elsewhere))),
        ("a prefix of the command instead of segments", by(&command("/task/awa"))),
        ("a command below the award's", by(&command("/task/award/small"))),
        ("a prefix of the service", by(&with_first(&named(&["text"])))),
        ("a service that begins like the one allowed", by(&with_first(&named(&["text.ech", "text.echoes"])))),
        ("an expired link", by(&with_first(&SubGrant { expires: NOW.saturating_sub(61), ..first() }))),
    ] {
        assert_eq!(outcome(&message), Err(Reason::BadChain), "{why}");
    }
    assert_eq!(outcome(&by(&with_first(&named(&["text.count", "text.echo"])))), Ok(()), "one of several services");
    assert_eq!(outcome(&by(&command("/task"))), Ok(()), "a command above the award's");
}

#[test]
fn a_chain_is_no_other_task_s() {
    // The same delegations, and nothing forged: only the task that the award says is another.
    let links: Vec<_> = line().iter().map(|link| link.bytes().to_vec()).collect();
    let message = by_bytes(&links, |args| args.task = args.ask);
    assert_eq!(outcome(&message), Err(Reason::BadChain));
}

#[test]
fn a_child_that_widens_a_bound_widens_nothing() {
    let base = NOW.as_secs();
    let later = |secs: u64| Timestamp::from_secs(base + secs);
    // Each bound: narrower than the award needs above, and wide enough below.
    let narrow: [(&str, fn(&mut SubGrant)); 7] = [
        ("service", |terms| terms.services = vec!["text.count".into()]),
        ("unit", |terms| terms.unit = "usd".into()),
        ("mint", |terms| terms.mint = "https://other.example".into()),
        ("price", |terms| terms.max_price = 6),
        ("spent", |terms| terms.max_spent = 6),
        ("depth", |terms| terms.max_depth = 1),
        ("task", |terms| terms.task = cbor::cid_of(b"another ask")),
    ];
    for (bound, change) in narrow {
        let mut above = first();
        change(&mut above);
        assert_eq!(outcome(&by(&[signed(&above, &a()), signed(&second(), &b())])), Err(Reason::BadChain), "{bound}");
    }
    let above = SubGrant { deadline: later(49), ..first() };
    let below = SubGrant { deadline: later(5_000), ..second() };
    assert_eq!(outcome(&by(&[signed(&above, &a()), signed(&below, &b())])), Err(Reason::BadChain), "deadline");
    let wide = |terms: SubGrant| SubGrant {
        services: vec![],
        max_price: 1_000,
        max_spent: 1_000,
        deadline: later(5_000),
        max_depth: 8,
        ..terms
    };
    assert_eq!(outcome(&by(&[signed(&first(), &a()), signed(&wide(second()), &b())])), Ok(()), "within both");
}

/// The award with a delegation for its seller: what B lets testing's buyer pass on.
fn granting(terms: &SubGrant, key: &AgentKey, change: impl FnOnce(&mut AwardArgs)) -> Awarded {
    let wide = SubGrant { max_spent: 100, ..first() };
    let links = [signed(&wide, &a()), signed(&SubGrant { max_spent: 100, ..second() }, &b())];
    let raw: Vec<_> = links.iter().map(|link| link.bytes().to_vec()).collect();
    let mut message = by_bytes(&raw, change);
    message.grant = Some(bytes(signed(terms, key).bytes()));
    message
}

#[test]
fn a_delegation_for_subcontracting_is_held_to_its_award() {
    let (buyer, seller) = (testing::buyer(), testing::seller());
    let good = SubGrant { max_price: 3, max_spent: 3, max_depth: 3, ..terms(&buyer, seller.id()) };
    let debited = |args: &mut AwardArgs| args.spent = 10;
    let deal = read_at(&granting(&good, &buyer, debited), NOW).unwrap();
    let prf = deal.passed_on().unwrap();
    assert_eq!((prf.len(), prf[2].aud, Some(&prf[2])), (3, seller.id(), deal.grant.as_ref()));

    let stranger = AgentKey::from_seed(&[77; 32]);
    for (why, terms, key) in [
        ("from another than the buyer", SubGrant { buyer: b().id(), ..good.clone() }, b()),
        ("to another than the seller", SubGrant { seller: stranger.id(), ..good.clone() }, buyer.clone()),
        ("in another's name", SubGrant { principal: buyer.id(), ..good.clone() }, buyer.clone()),
        ("for another task", SubGrant { task: cbor::cid_of(b"another ask"), ..good.clone() }, buyer.clone()),
        ("expired", SubGrant { expires: NOW.saturating_sub(61), ..good.clone() }, buyer.clone()),
    ] {
        assert_eq!(outcome(&granting(&terms, &key, debited)), Err(Reason::BadChain), "{why}");
    }
    assert_eq!(outcome(&granting(&good, &buyer, |args| args.spent = 9)), Err(Reason::BadChain), "not debited in full");

    let with = |change: fn(&mut Delegation)| {
        let mut delegation = good.delegation().unwrap();
        change(&mut delegation);
        let mut message = granting(&good, &buyer, debited);
        message.grant = Some(bytes(Signed::sign(delegation, &buyer).unwrap().bytes()));
        outcome(&message)
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|delegation| delegation.cmd = "/".parse().unwrap()), Err(Reason::BadChain), "for everything");
    assert_eq!(with(|delegation| delegation.pol = crate::ucan::Policy::default()), Err(Reason::BadChain), "unbounded");
    assert_eq!(with(|delegation| delegation.exp = None), Err(Reason::BadChain), "endless");
    assert_eq!(with(|delegation| delegation.sub = None), Err(Reason::BadChain), "a powerline");

    let mut junk = granting(&good, &buyer, debited);
    junk.grant = Some(bytes(b"junk"));
    assert_eq!(outcome(&junk), Err(Reason::BadChain));
    junk.grant = Some(bytes(&forged(&signed(&good, &buyer), &stranger)));
    assert_eq!(outcome(&junk), Err(Reason::BadChain), "signed by a stranger");
}

#[test]
fn on_its_own_authority_a_buyer_grants_what_it_likes() {
    let (buyer, seller) = (testing::buyer(), testing::seller());
    let own = testing::deal().award.args().task;
    let terms = SubGrant { principal: buyer.id(), task: own, max_spent: 1_000, ..terms(&buyer, seller.id()) };
    let message = changed(|message| message.grant = Some(bytes(signed(&terms, &buyer).bytes())));
    let deal = read_at(&message, NOW).unwrap();
    assert_eq!(deal.passed_on().unwrap().len(), 1);
    let Message::Awarded(again) = deal.message() else { panic!() };
    assert_eq!(again, message, "the deal is the message");
}

/// What the totals come to under two delegations with these budgets.
fn debited(budgets: [u64; 2], spent: [u64; 2], price: u64, amount: u64) -> Result<Vec<u64>, ChainError> {
    let links: Vec<_> = [(first(), a()), (second(), b())]
        .into_iter()
        .zip(budgets)
        .map(|((terms, key), budget)| signed(&SubGrant { max_price: 50, max_spent: budget, ..terms }, &key))
        .collect();
    let deal = testing::deal();
    let args = AwardArgs { task: task(), depth: 2, price, ..testing::args(&deal.offer) };
    chain::debit(&links, &args, &deal.offer.body.terms, &spent, amount)
}

#[test]
fn a_debit_is_held_against_each_delegation_by_its_own_total() {
    assert_eq!(debited([100, 100], [0, 0], 7, 7), Ok(vec![7, 7]));
    // What was spent by way of others under the first counts there, and not under the second.
    assert_eq!(debited([100, 10], [80, 3], 7, 7), Ok(vec![87, 10]));
    let which = |outcome: Result<Vec<u64>, ChainError>| match outcome {
        Err(ChainError::Policy { link, statement }) => (link, statement.field().map(str::to_owned)),
        other => panic!("{other:?}"),
    };
    assert_eq!(which(debited([86, 10], [80, 3], 7, 7)), (0, Some("spent".into())));
    assert_eq!(which(debited([100, 9], [80, 3], 7, 7)), (1, Some("spent".into())));
    assert_eq!(which(debited([100, 100], [0, 0], 51, 51)), (0, Some("price".into())));
    // With what is granted on, in full.
    assert_eq!(debited([100, 20], [0, 0], 7, 20), Ok(vec![20, 20]));
    assert_eq!(which(debited([100, 20], [0, 0], 7, 21)), (1, Some("spent".into())));
    assert_eq!(debited([100, 100], [u64::MAX, 0], 7, 7), Err(ChainError::Overspent { link: 0 }));
}

#[test]
fn a_policy_is_asked_about_what_is_known_before_an_offer_is() {
    let link = signed(&first(), &a());
    let known = |fields: &[(&str, Ipld)]| {
        let map: std::collections::BTreeMap<_, _> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        link.pol.refuses(&map.into()).and_then(|statement| statement.field()).map(str::to_owned)
    };
    let text = |text: &str| Ipld::String(text.into());
    assert_eq!(known(&[]), None, "nothing is refused for what isn't known yet");
    assert_eq!(known(&[("service", text("text.echo"))]), None);
    assert_eq!(known(&[("service", text("text.count"))]), Some("service".into()));
    assert_eq!(known(&[("unit", text("usd")), ("service", text("text.echo"))]), Some("unit".into()));
    assert_eq!(known(&[("depth", Ipld::Integer(3))]), Some("depth".into()));
    assert_eq!(
        (link.pol.most("price"), link.pol.most("spent"), link.pol.most("deadline")),
        (Some(7), Some(7), Some(NOW.as_secs() + 50))
    );
    assert_eq!(
        (link.pol.most("unit"), link.pol.fixed("unit"), link.pol.fixed("price")),
        (None, Some(&text("sat")), None)
    );
}

#[test]
fn only_the_last_agent_of_a_chain_awards_under_it() {
    let links = line();
    let mut args = testing::args(&testing::deal().offer);
    (args.task, args.depth) = (task(), 2);
    let prf: Vec<_> = links.iter().map(Signed::cid).collect();
    let by = |key: &AgentKey| {
        let award = Award::sign(&args, &testing::part(), a().id(), prf.clone(), NOW, ByteArray([6; 16]), key).unwrap();
        chain::verify(award.invocation(), &links, At::exact(NOW), &NoRevocations).map(|_| ())
    };
    assert_eq!(by(&testing::buyer()), Ok(()));
    // B, whom the first link names, may pass it on; what it passed on it can't use itself.
    let error = ChainError::Audience { link: 2, expected: testing::buyer().id(), issuer: b().id() };
    assert_eq!(by(&b()), Err(error));
}
