#![allow(clippy::unwrap_used)]
//! Modes of a later version: they are passed over or refused as not understood, and cost nobody penalty points.

use super::*;
use crate::{
    award::Award,
    bytes::ByteArray,
    cbor,
    envelope::Signed,
    fault::{AtFault, Fault},
    limits::{MAX_MODES, MAX_WORD},
    market::{Ask, Offer, choice},
    testing::{self, NOW},
    trade::intake,
    ucan::{Invocation, chain::NoRevocations},
    wire::{Message, Reason},
};

/// `{"later": {"key": bytes, "n": 7}}`
fn later<T: de::DeserializeOwned>() -> (T, Vec<u8>) {
    let inner = Ipld::Map(BTreeMap::from([("key".into(), Ipld::Bytes(vec![1, 2])), ("n".into(), Ipld::Integer(7))]));
    let bytes = cbor::encode(&BTreeMap::from([("later", inner)]));
    (cbor::decode(&bytes).unwrap(), bytes)
}

fn later_mode() -> Mode {
    "later".parse().unwrap()
}

#[test]
fn names_of_modes_are_bounded_and_read_back() {
    for mode in Mode::ALL.iter().chain([&later_mode()]) {
        assert_eq!(mode.as_str().parse::<Mode>().unwrap(), *mode);
        assert_eq!(cbor::decode::<Mode>(&cbor::encode(mode)).unwrap(), *mode);
        assert_eq!(mode.is_known(), Mode::ALL.contains(mode));
    }
    for bad in ["", "Prepaid", "pre paid", "é", &"x".repeat(MAX_WORD + 1)] {
        assert_eq!(bad.parse::<Mode>(), Err(NameError::Mode), "{bad}");
    }
}

#[test]
fn what_stands_under_an_unknown_mode_is_kept_as_it_came() {
    let ((terms, bytes), (lock, _), (receipt, _)) = (later::<Terms>(), later::<Lock>(), later::<ReceiptPart>());
    assert_eq!((terms.mode(), lock.mode(), receipt.mode()), (later_mode(), later_mode(), later_mode()));
    assert_eq!(
        (cbor::encode(&terms), cbor::encode(&lock), cbor::encode(&receipt)),
        (bytes.clone(), bytes.clone(), bytes)
    );
    assert_eq!((lock.proofs().len(), lock.amount(), receipt.locked()), (0, 0, None));
    assert!(!format!("{lock:?}").contains('7'), "what isn't understood may be money");
}

#[test]
fn a_map_of_none_or_two_modes_is_no_lock() {
    let entry = || Ipld::Map(BTreeMap::new());
    for names in [&[][..], &["later", "prepaid"], &["later", "other"], &["Later"]] {
        let map: BTreeMap<_, _> = names.iter().map(|name| (*name, entry())).collect();
        assert!(cbor::decode::<Lock>(&cbor::encode(&map)).is_err(), "{names:?}");
    }
}

#[test]
fn an_ask_may_name_modes_that_are_not_known() {
    let with = |modes: Vec<Mode>| {
        let body = crate::market::AskBody { modes, ..testing::ask().body.clone() };
        Signed::claim(body, NOW, Some(NOW.saturating_add(60)), ByteArray([3; 16]), &testing::buyer())
    };
    let ask = with(vec![later_mode(), Mode::Prepaid]).unwrap();
    let read = Signed::<Ask>::decode(ask.bytes()).unwrap();
    assert_eq!(read.body.modes, [later_mode(), Mode::Prepaid]);
    assert_eq!(choice::acceptable(&read, &testing::offer(&read), NOW), Ok(()));
    let many = |count: usize| (0..count).map(|index| format!("m{index}").parse().unwrap()).collect();
    assert!(with(many(MAX_MODES)).is_ok());
    assert!(with(many(MAX_MODES + 1)).is_err() && with(vec![]).is_err());
    assert!(with(vec![later_mode(), later_mode()]).is_err());
}

#[test]
fn an_offer_on_unknown_terms_is_read_and_not_acceptable_and_nobody_is_at_fault() {
    let ask = testing::ask();
    let body = crate::market::OfferBody { terms: later::<Terms>().0, ..testing::offer(&ask).body.clone() };
    let offer = Signed::claim(body, NOW, Some(NOW.saturating_add(30)), ByteArray([4; 16]), &testing::seller()).unwrap();
    let read = Signed::<Offer>::decode(offer.bytes()).unwrap();
    assert_eq!(choice::acceptable(&ask, &read, NOW), Err(OfferError::NotUnderstood));
    assert_eq!(OfferError::NotUnderstood.fault(), Fault::Incompatible);
}

/// An award of a later mode, whose arguments are altogether other than ours.
fn later_award() -> Signed<Invocation> {
    let deal = testing::deal();
    let args = BTreeMap::from([
        ("mode".to_owned(), Ipld::String("later".into())),
        ("depth".to_owned(), Ipld::Integer(0)),
        ("channel".to_owned(), Ipld::Link(deal.id())),
    ]);
    let invocation = Invocation { args: args.into(), ..deal.award.invocation().payload().clone() };
    Signed::sign(invocation, &testing::buyer()).unwrap()
}

#[test]
fn an_award_of_an_unknown_mode_is_refused_as_not_understood() {
    let error = Award::decode(later_award().bytes()).unwrap_err();
    assert!(matches!(error, AwardError::NotUnderstood(_)) && error.fault() == Fault::Incompatible, "{error}");
    let Message::Awarded(mut message) = testing::deal().message() else { panic!() };
    message.award = later_award().bytes().to_vec().into();
    message.lock = later::<Lock>().0;
    let message = match Message::decode(&Message::from(message).encode().unwrap()).unwrap() {
        Message::Awarded(message) => message,
        other => panic!("{other:?}"),
    };
    let (from, me) = (testing::buyer().id(), testing::seller().id());
    assert_eq!(intake::read(&message, from, me, NOW, &NoRevocations), Err(Reason::NotUnderstood));
    assert_eq!(Reason::NotUnderstood.fault(), Fault::Incompatible);
}

#[test]
fn an_offer_that_is_known_stands_for_the_very_same_bytes_alone() {
    let deal = testing::deal();
    let Message::Awarded(message) = deal.message() else { panic!() };
    let (from, me) = (testing::buyer().id(), testing::seller().id());
    let read = |message: &_, known| intake::read_knowing(message, from, me, NOW, &NoRevocations, known);
    assert_eq!(read(&message, Some(deal.offer.clone())), Ok(deal.clone()));
    let mut other = message;
    // A byte of its signature.
    other.offer[10] ^= 1;
    assert_eq!(read(&other, Some(deal.offer.clone())), Err(Reason::OfferUnknown));
}

#[test]
fn a_lock_of_an_unknown_mode_under_a_known_award_is_not_understood() {
    let deal = crate::trade::Deal { lock: later::<Lock>().0, ..testing::deal() };
    let Message::Awarded(message) = deal.message() else { panic!() };
    let (from, me) = (testing::buyer().id(), testing::seller().id());
    assert_eq!(intake::read(&message, from, me, NOW, &NoRevocations), Err(Reason::NotUnderstood));
    let error = intake::lock_demand(&deal).check(&deal.lock, &KeysetView::new()).unwrap_err();
    assert_eq!((error, error.fault()), (LockError::NotUnderstood, Fault::Incompatible));
}

#[test]
fn an_award_reads_back_with_its_part_and_further_arguments_are_skipped() {
    let award = testing::deal().award;
    let mode = Ipld::String("prepaid".into());
    assert_eq!(award.invocation().args.get("mode"), Some(&mode));
    assert_eq!(award.part(), &testing::part());
    assert_eq!(award.invocation().exp, Some(award.part().until()));
    let more = award.invocation().args.clone().with(BTreeMap::from([("later".to_owned(), Ipld::Bool(true))]).into());
    let invocation = Invocation { args: more, ..award.invocation().payload().clone() };
    let read = Award::decode(Signed::sign(invocation, &testing::buyer()).unwrap().bytes()).unwrap();
    assert_eq!((read.args(), read.part()), (award.args(), award.part()));
}

#[test]
fn a_receipt_in_another_mode_than_the_award_is_not_about_its_money() {
    let deal = testing::deal();
    assert!(!later::<ReceiptPart>().0.is_of(&deal.award));
    let honest = ReceiptPart::of(&deal.award, &deal.lock, None);
    assert!(!honest.is_of(&deal.award), "nothing is locked in the tests' deal, so it is less than the price");
    let ReceiptPart::Prepaid(part) = honest else { panic!() };
    assert!(ReceiptPart::Prepaid(prepaid::ReceiptPart { amount: 7, ..part }).is_of(&deal.award));
}
