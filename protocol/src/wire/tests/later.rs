//! What a later minor version may write, and what this one makes of it: the same known part, the same bytes passed on, *not
//! understood* where the statement asks for more, and never a fault of whoever sent it.
//!
//! The vectors under `tests/vectors/later` are made here from today's: every structure has one field more, every vocabulary
//! one word more.

use std::collections::BTreeMap;

use ipld_core::{ipld, ipld::Ipld};

use super::*;
use crate::{
    award::{Award, AwardError},
    envelope::{EnvelopeError, Relayed},
    identity::AgentKey,
    mint,
    receipt::{Outcome, commit},
    settlement::{Mode, ReceiptPart},
    trade::{buyer, intake},
    ucan::{Delegation, chain::NoRevocations},
};

/// The field that a later version adds to every structure.
const ADDED: &str = "zz-later";

fn added() -> Ipld {
    ipld!({ "list": [1, { "deep": null }], "text": "later" })
}

/// Adds `value` to a structure and to every structure in it. A map of one key inside it is a form, not a structure.
fn extend(structure: &mut Ipld, value: &Ipld) {
    if let Ipld::Map(map) = structure {
        map.values_mut().for_each(|inner| extend_within(inner, value));
        map.insert(ADDED.into(), value.clone());
    }
}

fn extend_within(item: &mut Ipld, value: &Ipld) {
    match item {
        Ipld::Map(map) if map.len() > 1 => extend(item, value),
        Ipld::Map(map) => map.values_mut().for_each(|inner| extend_within(inner, value)),
        Ipld::List(items) => items.iter_mut().for_each(|inner| extend_within(inner, value)),
        _ => {}
    }
}

/// The payload of a statement of this version.
fn payload<T: Statement>(signed: &Signed<T>) -> BTreeMap<String, Ipld> {
    cbor::decode(&cbor::encode(signed.payload())).unwrap()
}

/// The envelope of a payload under any tag.
fn sign(tag: &str, payload: BTreeMap<String, Ipld>, key: &AgentKey) -> Vec<u8> {
    let header = Ipld::Bytes(vec![0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71]);
    let signed = cbor::encode(&BTreeMap::from([("h", header), (tag, Ipld::Map(payload))]));
    [&[0x82, 0x58, 64][..], &key.sign(&signed), &signed].concat()
}

fn key_of(issuer: crate::identity::AgentId) -> AgentKey {
    [testing::buyer(), testing::seller()].into_iter().find(|key| key.id() == issuer).unwrap()
}

/// The tag of the next minor version.
fn next_minor<T: Statement>() -> String {
    T::TAG.replace("@1.0.0", "@1.1.0")
}

fn critical() -> Ipld {
    ipld!(["zz-later"])
}

/// A claim as a later version writes it, and the same with the addition called critical.
fn later_claim<B: crate::claim::Body>(signed: &Signed<crate::claim::Claim<B>>, value: &Ipld) -> (Vec<u8>, Vec<u8>) {
    let mut plain = Ipld::Map(payload(signed));
    extend(&mut plain, value);
    let Ipld::Map(plain) = plain else { unreachable!() };
    let mut crit = plain.clone();
    crit.insert("crit".into(), critical());
    let (tag, key) = (next_minor::<crate::claim::Claim<B>>(), key_of(signed.issuer()));
    (sign(&tag, plain, &key), sign(&tag, crit, &key))
}

fn check_claim<B>(name: &str, signed: &Signed<crate::claim::Claim<B>>)
where
    B: crate::claim::Body + PartialEq,
{
    let (plain, crit) = later_claim(signed, &added());
    frozen_later(&format!("statement-{name}"), &plain);
    frozen_later(&format!("statement-{name}-crit"), &crit);
    same_known_part(signed, &plain);
    let error = Signed::<crate::claim::Claim<B>>::decode(&crit).unwrap_err();
    assert_eq!(
        (&error, error.fault()),
        (&EnvelopeError::Critical(ADDED.parse().unwrap()), Fault::Incompatible),
        "{name}"
    );
    assert!(Relayed::<crate::claim::Claim<B>>::decode(&crit).is_ok(), "{name} is passed on");
}

fn same_known_part<T: Statement + PartialEq>(signed: &Signed<T>, later: &[u8]) {
    let read = Signed::<T>::decode(later).unwrap();
    assert_eq!(read.payload(), signed.payload());
    assert_eq!((read.bytes(), read.cid()), (later, cbor::cid_of(later)));
    let stored: Signed<T> = cbor::decode(&cbor::encode(&read)).unwrap();
    assert_eq!(stored.bytes(), later, "kept byte for byte");
}

fn frozen_later(name: &str, bytes: &[u8]) {
    frozen(&format!("../later/{name}"), bytes);
}

#[test]
fn a_later_claim_reads_as_todays_and_is_refused_only_where_it_is_critical() {
    let deal = deal();
    check_claim("advert", &advert());
    check_claim("withdrawal", &withdrawal());
    check_claim("ask", &testing::ask());
    check_claim("offer", &deal.offer);
    check_claim("receipt", &testing::good_receipt(&deal));
    check_claim("receipt-error", &failed_receipt(&deal));
    check_claim("acceptance", &testing::acceptance(&deal));
    check_claim("cancellation", &testing::cancellation(&deal));
    check_claim("received", &super::received(&deal));
}

/// An award with more arguments, and the same with them called critical.
fn later_awards(value: &Ipld) -> (Vec<u8>, Vec<u8>) {
    let today = deal().award;
    let mut plain = payload(today.invocation());
    let Some(Ipld::Map(args)) = plain.get_mut("args") else { unreachable!() };
    args.insert(ADDED.into(), value.clone());
    let mut crit = plain.clone();
    let Some(Ipld::Map(args)) = crit.get_mut("args") else { unreachable!() };
    args.insert("crit".into(), critical());
    (sign(Invocation::TAG, plain, &testing::buyer()), sign(Invocation::TAG, crit, &testing::buyer()))
}

#[test]
fn a_later_award_reads_as_todays_and_its_policies_see_all_of_it() {
    let (plain, crit) = later_awards(&added());
    frozen_later("statement-award", &plain);
    frozen_later("statement-award-crit", &crit);
    let read = Award::decode(&plain).unwrap();
    assert_eq!((read.args(), read.invocation().bytes()), (deal().award.args(), &plain[..]));
    assert_eq!(read.invocation().args.get(ADDED), Some(&added()));
    let error = Award::decode(&crit).unwrap_err();
    assert_eq!((&error, error.fault()), (&AwardError::Critical(ADDED.parse().unwrap()), Fault::Incompatible));
}

#[test]
fn a_later_delegation_may_say_more_in_its_meta() {
    let grant = Delegation {
        iss: testing::buyer().id(),
        aud: testing::seller().id(),
        sub: Some(testing::buyer().id()),
        cmd: "/task/award".parse().unwrap(),
        pol: crate::ucan::Policy::default(),
        nonce: ByteBuf::from([8; 16]),
        meta: Some(BTreeMap::from([(ADDED.to_owned(), added()), ("purpose".to_owned(), ipld!("later"))])),
        nbf: None,
        exp: Some(NOW.saturating_add(1_000)),
    };
    let plain = Signed::sign(grant.clone(), &testing::buyer()).unwrap();
    frozen_later("statement-delegation", plain.bytes());
    same_known_part(&plain, plain.bytes());
    let mut critical_meta = grant.meta.clone().unwrap();
    critical_meta.insert("crit".into(), critical());
    let crit = Signed::sign(Delegation { meta: Some(critical_meta), ..grant }, &testing::buyer()).unwrap();
    frozen_later("statement-delegation-crit", crit.bytes());
    let error = Signed::<Delegation>::decode(crit.bytes()).unwrap_err();
    assert_eq!((&error, error.fault()), (&EnvelopeError::Critical(ADDED.parse().unwrap()), Fault::Incompatible));
}

/// A statement with one place in its body set to another value.
fn with_body<B: crate::claim::Body>(signed: &Signed<crate::claim::Claim<B>>, field: &str, value: Ipld) -> Vec<u8> {
    let mut map = payload(signed);
    let Some(Ipld::Map(body)) = map.get_mut("body") else { unreachable!() };
    body.insert(field.into(), value);
    sign(&next_minor::<crate::claim::Claim<B>>(), map, &key_of(signed.issuer()))
}

#[test]
fn an_unknown_word_or_form_is_read_as_unknown() {
    let (deal, modes) = (deal(), || ipld!(["prepaid", "later"]));
    let advert = with_body(&advert(), "modes", modes());
    frozen_later("statement-advert-mode", &advert);
    let read = Signed::<Advert>::decode(&advert).unwrap();
    assert_eq!((read.body.modes.first(), read.body.modes.len()), (Some(&Mode::Prepaid), 2));
    let ask = with_body(&testing::ask(), "modes", modes());
    frozen_later("statement-ask-mode", &ask);
    assert_eq!(Signed::<Ask>::decode(&ask).unwrap().body.modes.len(), 2);
    let offer = with_body(&deal.offer, "terms", ipld!({ "later": { "payee": 7 } }));
    frozen_later("statement-offer-terms", &offer);
    assert!(Signed::<Offer>::decode(&offer).is_ok());

    let good = testing::good_receipt(&deal);
    let outcome = with_body(&good, "out", ipld!({ "later": [1, 2] }));
    frozen_later("statement-receipt-outcome", &outcome);
    let money = with_body(&good, "money", ipld!({ "later": 1 }));
    frozen_later("statement-receipt-money", &money);
    assert!(matches!(Signed::<Receipt>::decode(&money).unwrap().body.money, ReceiptPart::Other(_)));
    let read = Signed::<Receipt>::decode(&outcome).unwrap();
    assert_eq!(read.body.out, Outcome::Other("later".parse().unwrap()));
    let code = with_body(&good, "out", ipld!({ "error": { "code": "later", "text": "words" } }));
    frozen_later("statement-receipt-code", &code);
    let read = Signed::<Receipt>::decode(&code).unwrap();
    assert!(matches!(&read.body.out, Outcome::Error(error) if error.code.as_str() == "later"));
    let mint = with_body(&testing::ask(), "mints", ipld!(["https://mint.example", "later://mint.example"]));
    frozen_later("statement-ask-mint", &mint);
    assert_eq!(Signed::<Ask>::decode(&mint).unwrap().body.mints.len(), 2);
}

#[test]
fn another_major_version_and_another_kind_of_statement_are_not_understood() {
    for (name, tag) in [("statement-advert-2.0.0", "guilder/advert@2.0.0"), ("statement-later", "guilder/later@1.0.0")]
    {
        let bytes = sign(tag, payload(&advert()), &testing::seller());
        frozen_later(name, &bytes);
        assert_eq!(Signed::<Advert>::decode(&bytes).unwrap_err().fault(), Fault::Incompatible, "{name}");
    }
}

/// A frame as a later version writes it.
fn later_frame(message: &Message, value: &Ipld) -> Vec<u8> {
    let (kind, mut body): (u64, Ipld) = cbor::decode(&message.encode().unwrap()).unwrap();
    extend(&mut body, value);
    cbor::encode(&(kind, body))
}

#[test]
fn a_later_frame_reads_as_todays() {
    for (name, message) in messages() {
        let frame = later_frame(&message, &added());
        frozen_later(name, &frame);
        assert_eq!(Message::decode(&frame), Ok(message), "{name}");
    }
}

#[test]
fn an_unknown_kind_reason_or_form_in_a_frame_is_not_understood() {
    let later = cbor::encode(&(99_u64, added()));
    frozen_later("99-later", &later);
    assert_eq!(Message::decode(&later).map_err(|error| error.fault()), Err(Fault::Incompatible));

    let award = deal().id();
    let refused = Message::from(Refused { award, reason: Reason::Other(9_999) });
    frozen_later("09-refused-reason", &refused.encode().unwrap());
    assert_eq!(Message::decode(&refused.encode().unwrap()), Ok(refused));

    let with = |message: &Message, path: &[&str], value: Ipld| {
        let (kind, mut body): (u64, Ipld) = cbor::decode(&message.encode().unwrap()).unwrap();
        let mut at = &mut body;
        for name in path {
            let Ipld::Map(map) = at else { unreachable!() };
            at = map.get_mut(*name).unwrap();
        }
        *at = value;
        cbor::encode(&(kind, body))
    };
    let (me, from) = (testing::seller().id(), testing::buyer().id());
    for (name, path, form) in [
        ("07-awarded-input", &["input"][..], ipld!({ "later": [1] })),
        ("07-awarded-lock", &["lock"], ipld!({ "later": { "proofs": [] } })),
    ] {
        let frame = with(&deal().message(), path, form);
        frozen_later(name, &frame);
        let Ok(Message::Awarded(award)) = Message::decode(&frame) else { panic!("{name}") };
        assert_eq!(intake::read(&award, from, me, NOW, &NoRevocations).unwrap_err(), Reason::NotUnderstood, "{name}");
    }

    let (deal, good) = (deal(), testing::good_receipt(&deal()));
    let outcome = with_body(&good, "out", ipld!({ "later": [1, 2] }));
    let money = with_body(&good, "money", ipld!({ "later": 1 }));
    for (name, receipt, data) in [
        ("11-delivered-money", &money[..], ipld!({ "inline": Ipld::Bytes(OUTPUT.to_vec()) })),
        ("11-delivered-outcome", &outcome[..], ipld!({ "inline": Ipld::Bytes(OUTPUT.to_vec()) })),
        ("11-delivered-output", good.bytes(), ipld!({ "later": 7 })),
    ] {
        let output = Some(Output { salt: SALT, data: Payload::Inline(bytes(OUTPUT)) });
        let today = Message::from(Delivered { award, receipt: bytes(receipt), output, sealed: None, evidence: None });
        let frame = with(&today, &["output", "data"], data);
        frozen_later(name, &frame);
        let Ok(Message::Delivered(delivered)) = Message::decode(&frame) else { panic!("{name}") };
        let error = buyer::check_delivery(&deal, &delivered, 1_000).unwrap_err();
        assert_eq!((error, error.fault()), (buyer::DeliveryError::NotUnderstood, Fault::Incompatible), "{name}");
    }
    assert_eq!(good.body.out, Outcome::Ok(commit(&SALT, OUTPUT)));
}

#[test]
fn later_frames_of_content_and_mint_read_as_todays() {
    use crate::content::{Refusal, Reply, Request};
    let request = Request { id: ContentId::of(INPUT), from: 1 };
    let mut later: Ipld = cbor::decode(&cbor::encode(&request)).unwrap();
    extend(&mut later, &ipld!(1));
    frozen_later("content-request", &cbor::encode(&later));
    assert_eq!(cbor::decode(&cbor::encode(&later)), Ok(request));
    for (name, reply, read) in [
        ("content-reply", ipld!({ "later": 1 }), Reply::Other("later".parse().unwrap())),
        ("content-refusal", ipld!({ "refused": "later" }), Reply::Refused(Refusal::Other("later".parse().unwrap()))),
    ] {
        frozen_later(name, &cbor::encode(&reply));
        assert_eq!(cbor::decode::<Reply>(&cbor::encode(&reply)), Ok(read), "{name}");
    }
    let request = mint::Request { method: mint::Method::Other(3), path: "/v2/later".into(), body: b"{}".to_vec() };
    frozen_later("mint-request", &request.encode().unwrap());
    assert_eq!(mint::Request::decode(request.encode().unwrap()[4..].to_vec()), Ok(request));
}

/// Any value of DAG-CBOR, a few levels deep.
fn value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|number| Ipld::Integer(number.into())),
        (-1e9..1e9_f64).prop_map(Ipld::Float),
        ".{0,20}".prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Ipld::Bytes),
        any::<[u8; 4]>().prop_map(|bytes| Ipld::Link(cbor::cid_of(&bytes))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Ipld::List),
            prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(Ipld::Map),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_later_version_adds_the_known_part_is_the_same_and_the_bytes_are_kept(value in value()) {
        let deal = deal();
        same_known_part(&advert(), &later_claim(&advert(), &value).0);
        same_known_part(&withdrawal(), &later_claim(&withdrawal(), &value).0);
        same_known_part(&testing::ask(), &later_claim(&testing::ask(), &value).0);
        same_known_part(&deal.offer, &later_claim(&deal.offer, &value).0);
        let receipt = testing::good_receipt(&deal);
        same_known_part(&receipt, &later_claim(&receipt, &value).0);
        let acceptance = testing::acceptance(&deal);
        same_known_part(&acceptance, &later_claim(&acceptance, &value).0);
        let cancellation = testing::cancellation(&deal);
        same_known_part(&cancellation, &later_claim(&cancellation, &value).0);
        let received = super::received(&deal);
        same_known_part(&received, &later_claim(&received, &value).0);
        let (award, _) = later_awards(&value);
        let read = Award::decode(&award).unwrap();
        prop_assert_eq!((read.args(), read.invocation().bytes()), (deal.award.args(), &award[..]));
    }

    #[test]
    fn whatever_a_later_frame_adds_it_reads_as_todays(message in message(), value in value()) {
        prop_assert_eq!(Message::decode(&later_frame(&message, &value)), Ok(message));
    }
}
