#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    bytes::ByteArray,
    receipt::{FailureCode, TaskError},
    testing,
};

/// The tests' deal locks nothing, so its receipt must say at least the price for the audit.
fn paid(mut body: crate::receipt::ReceiptBody) -> Signed<Receipt> {
    body.locked.amount = 8;
    Signed::claim(body.clone(), body.ended, None, ByteArray([8; 16]), &testing::seller()).unwrap()
}

fn evidence(receipts: Vec<Signed<Receipt>>) -> Evidence {
    let deal = testing::deal();
    Evidence {
        asks: vec![testing::ask()],
        offers: vec![deal.offer],
        awards: vec![deal.award],
        delegations: vec![],
        receipts,
    }
}

fn done() -> Signed<Receipt> {
    paid(testing::good_receipt(&testing::deal()).body.clone())
}

fn failed(code: FailureCode) -> Signed<Receipt> {
    let error = TaskError { code, text: "words".into() };
    paid(testing::receipt(&testing::deal(), Err(error), testing::NOW).body.clone())
}

#[test]
fn a_bundle_says_who_answers() {
    let (buyer, seller) = (testing::buyer().id(), testing::seller().id());
    for (receipts, answer) in [
        (vec![done()], Answer::Delivered(seller)),
        (vec![failed(FailureCode::Crashed)], Answer::SellerFailed(seller)),
        (vec![failed(FailureCode::InputInvalid)], Answer::BuyerFailed(buyer)),
        (vec![], Answer::Open),
    ] {
        let report = verify(&bundle(&evidence(receipts))).unwrap();
        assert_eq!(report.hires.len(), 1);
        assert_eq!(report.hires[0].answer, answer);
        let words = report.to_string();
        for word in [buyer.peer_id(), seller.peer_id(), "text.echo".into(), "the buyer's own".into()] {
            assert!(words.contains(&word), "{word} is not in:\n{words}");
        }
    }
}

#[test]
fn the_same_evidence_gives_the_same_bytes() {
    assert_eq!(bundle(&evidence(vec![done()])), bundle(&evidence(vec![done()])));
}

#[test]
fn every_changed_byte_is_found() {
    let good = bundle(&evidence(vec![done()]));
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1;
        assert!(verify(&bad).is_err(), "byte {index}");
    }
    for length in 0..good.len() {
        assert!(verify(&good[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn what_is_missing_or_does_not_belong_is_named() {
    let mut without_ask = evidence(vec![done()]);
    without_ask.asks.clear();
    assert!(matches!(verify(&bundle(&without_ask)), Err(AuditError::Missing { what: "ask", .. })));

    let mut with_stray = evidence(vec![done()]);
    let other = testing::ask().body.clone();
    let other = Signed::claim(
        other,
        testing::NOW,
        testing::NOW.saturating_add(9).into(),
        ByteArray([0; 16]),
        &testing::buyer(),
    );
    with_stray.asks.push(other.unwrap());
    assert!(matches!(verify(&bundle(&with_stray)), Err(AuditError::Stray(_))));

    assert_eq!(verify(&bundle(&Evidence::default())), Err(AuditError::NoAward));
    let contradiction = evidence(vec![done(), failed(FailureCode::Crashed)]);
    assert!(matches!(verify(&bundle(&contradiction)), Err(AuditError::TwoReceipts(_))));
}

#[test]
fn a_receipt_by_another_or_for_other_money_is_no_receipt() {
    let body = done().body.clone();
    let stranger = crate::identity::AgentKey::from_seed(&[77; 32]);
    let foreign = Signed::claim(body.clone(), body.ended, None, ByteArray([8; 16]), &stranger).unwrap();
    assert!(matches!(verify(&bundle(&evidence(vec![foreign]))), Err(AuditError::Receipt(_))));

    let mut other = body;
    other.locked.ys = ByteArray([1; 32]);
    let other = Signed::claim(other.clone(), other.ended, None, ByteArray([8; 16]), &testing::seller()).unwrap();
    assert!(matches!(verify(&bundle(&evidence(vec![other]))), Err(AuditError::Receipt(_))));
}

#[test]
fn an_award_that_departs_from_its_offer_is_found() {
    let mut departing = evidence(vec![]);
    let mut args = testing::args(&departing.offers[0]);
    args.deadline = args.deadline.saturating_add(1);
    departing.awards = vec![testing::award(&args)];
    assert!(matches!(verify(&bundle(&departing)), Err(AuditError::Award(_, AwardError::Offer))));
}
