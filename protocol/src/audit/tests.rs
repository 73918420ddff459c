#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    bytes::ByteArray,
    receipt::{FailureCode, Outcome, TaskError},
    settlement::ReceiptPart,
    testing,
};

/// The tests' deal locks nothing, so its receipt must say at least the price for the audit.
fn paid(mut body: crate::receipt::ReceiptBody) -> Signed<Receipt> {
    let ReceiptPart::Prepaid(money) = &mut body.money else { panic!() };
    money.amount = 8;
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
        schemas: BTreeSet::new(),
    }
}

fn done() -> Signed<Receipt> {
    paid(testing::good_receipt(&testing::deal()).body.clone())
}

fn failed(code: FailureCode) -> Signed<Receipt> {
    let error = TaskError { code, text: "words".into() };
    paid(testing::receipt(&testing::deal(), Err(error), testing::NOW).body.clone())
}

fn with_out(out: Outcome) -> Signed<Receipt> {
    paid(crate::receipt::ReceiptBody { out, ..done().body.clone() })
}

/// A receipt of work that went on after the deadline, and says that it succeeded all the same.
fn late() -> Signed<Receipt> {
    let body = done().body.clone();
    paid(crate::receipt::ReceiptBody {
        ended: testing::args(&testing::deal().offer).deadline.saturating_add(1),
        ..body
    })
}

const NOT_UNDERSTOOD: &str = "not understood: it hangs on something of a later version, so nobody is held to answer";

/// Names each failure once; a new one doesn't compile until its verdict stands here.
fn verdict(code: &FailureCode) -> &'static str {
    match code {
        FailureCode::Crashed
        | FailureCode::TimedOut
        | FailureCode::OutOfMemory
        | FailureCode::OutputTooLarge
        | FailureCode::OutputInvalid
        | FailureCode::Internal => "failed: {seller} signed that it did not deliver in time and answers for it",
        FailureCode::InputMissing => {
            "not done: {seller} says that the input never arrived; nothing that the buyer signed shows it"
        }
        FailureCode::InputInvalid => {
            "not done: {seller} says that the input was not valid; nothing that the buyer signed shows it"
        }
        FailureCode::Cancelled => {
            "not done: {seller} says that the buyer cancelled; nothing that the buyer signed shows it"
        }
        FailureCode::Other(_) => NOT_UNDERSTOOD,
    }
}

/// What a receipt can say, or that there is none, with the verdict's last line.
fn outcomes() -> Vec<(Option<Signed<Receipt>>, &'static str)> {
    let mut outcomes = vec![
        (None, "no receipt: nothing here shows whether the seller took the award"),
        (Some(done()), "delivered: {seller} signed for the output and answers for it"),
        (Some(late()), verdict(&FailureCode::TimedOut)),
        (Some(with_out(Outcome::Other("later".parse().unwrap()))), NOT_UNDERSTOOD),
    ];
    let later = FailureCode::Other("later".parse().unwrap());
    let codes = FailureCode::KNOWN.iter().chain([&later]);
    outcomes.extend(codes.map(|code| (Some(failed(code.clone())), verdict(code))));
    outcomes
}

/// Under each award that the parties can have signed before: the buyer's own, and one by another's authority.
#[test]
fn each_receipt_under_each_award_gives_its_verdict_and_blames_nobody_who_did_not_sign() {
    let (buyer, seller) = (testing::buyer().id(), testing::seller().id());
    let own: (fn(Vec<Signed<Receipt>>) -> Evidence, _) = (evidence, "the buyer's own");
    let delegated: (fn(Vec<Signed<Receipt>>) -> Evidence, _) = (by_delegation, "through 1 delegation(s)");
    for (evidence, authority) in [own, delegated] {
        for (receipt, verdict) in outcomes() {
            let evidence = evidence(vec![]);
            let receipt = receipt.map(|receipt| under(&evidence.awards[0], &receipt));
            let evidence = Evidence { receipts: receipt.into_iter().collect(), ..evidence };
            let report = verify(&bundle(&evidence)).unwrap();
            let (words, verdict) = (report.to_string(), verdict.replace("{seller}", &seller.peer_id()));
            assert_eq!(words.lines().last().unwrap(), format!("  => {verdict}"));
            assert!(!verdict.contains(&buyer.peer_id()), "nothing that the buyer signs before can show its fault");
            for word in [buyer.peer_id(), seller.peer_id(), "text.echo".into(), authority.into()] {
                assert!(words.contains(&word), "{word} is not in:\n{words}");
            }
        }
    }
}

/// The same receipt about another award.
fn under(award: &Award, receipt: &Signed<Receipt>) -> Signed<Receipt> {
    let body = crate::receipt::ReceiptBody { award: award.cid(), ..receipt.body.clone() };
    Signed::claim(body, receipt.iat, None, ByteArray([8; 16]), &testing::seller()).unwrap()
}

/// The tests' trade, awarded in the name of somebody else.
fn by_delegation(receipts: Vec<Signed<Receipt>>) -> Evidence {
    let (award, link) = testing::delegated_award(7);
    Evidence { awards: vec![award], delegations: vec![link], ..evidence(receipts) }
}

#[test]
fn the_same_evidence_gives_the_same_bytes() {
    assert_eq!(bundle(&evidence(vec![done()])), bundle(&evidence(vec![done()])));
}

#[test]
fn every_changed_byte_is_found() {
    let good = bundle(&promising("{}"));
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

/// A trade whose offer promises an output of this schema.
fn promising(schema: &str) -> Evidence {
    let ask = testing::ask();
    let body = crate::market::OfferBody { output: Some(schema_hash(schema)), ..testing::offer(&ask).body.clone() };
    let until = Some(testing::NOW.saturating_add(30));
    let offer = Signed::claim(body, testing::NOW, until, ByteArray([4; 16]), &testing::seller()).unwrap();
    let award = testing::award(&testing::args(&offer));
    let body = crate::receipt::ReceiptBody { award: award.cid(), offer: offer.cid(), ..done().body.clone() };
    let schemas = BTreeSet::from([schema.to_owned()]);
    Evidence { asks: vec![ask], offers: vec![offer], awards: vec![award], schemas, ..evidence(vec![paid(body)]) }
}

#[test]
fn a_bundle_carries_the_schema_that_its_offer_promises_and_tells_the_output_that_its_receipt_commits_to() {
    let schema = r#"{"type":"object"}"#;
    let evidence = promising(schema);
    let report = verify(&bundle(&evidence)).unwrap();
    let hire = &report.hires[0];
    let text = Some(schema.to_owned());
    assert_eq!(hire.promised, Some(Promised { schema: schema_hash(schema), text }));
    assert!(report.to_string().contains(&format!("the schema {}, in this file", schema_hash(schema))), "{report}");
    assert!(hire.is_output(&testing::SALT, testing::OUTPUT));
    assert!(!hire.is_output(&testing::SALT, b"another") && !hire.is_output(&ByteArray([1; 32]), testing::OUTPUT));

    let without = Evidence { schemas: BTreeSet::new(), ..evidence.clone() };
    let report = verify(&bundle(&without)).unwrap();
    assert_eq!(report.hires[0].promised, Some(Promised { schema: schema_hash(schema), text: None }));
    assert!(report.to_string().contains("not in this file"), "{report}");

    // A text that no offer names, be it one letter off, has no business there.
    let other = Evidence { schemas: BTreeSet::from([format!("{schema} ")]), ..evidence };
    assert!(matches!(verify(&bundle(&other)), Err(AuditError::Stray(_))));
    let unpromised = Evidence { schemas: BTreeSet::from([schema.to_owned()]), ..super::tests::evidence(vec![done()]) };
    assert!(matches!(verify(&bundle(&unpromised)), Err(AuditError::Stray(_))));
}

#[test]
fn a_block_that_is_no_text_or_not_of_its_name_is_refused() {
    let evidence = promising("{}");
    let (roots, blocks) = car::read(&bundle(&evidence), MAX_BUNDLE_BLOCKS).unwrap();
    let named = schema_cid(schema_hash("{}"));
    let with = |cid: Cid, bytes: &'static [u8]| {
        let mut blocks: BTreeMap<Cid, &[u8]> = blocks.iter().map(|(cid, bytes)| (*cid, &bytes[..])).collect();
        blocks.insert(cid, bytes);
        car::write(&roots, &blocks)
    };
    assert!(matches!(verify(&with(named, b"{ }")), Err(AuditError::Car(CarError::Hash(cid))) if cid == named));
    let no_text = cbor::raw_cid(&cbor::sha256(&[0xff]));
    assert_eq!(verify(&with(no_text, &[0xff])), Err(AuditError::Stray(no_text)));
    let long: &[u8] = vec![b' '; MAX_SCHEMA + 1].leak();
    let too_long = cbor::raw_cid(&cbor::sha256(long));
    assert_eq!(verify(&with(too_long, long)), Err(AuditError::Stray(too_long)));
}

#[test]
fn a_receipt_by_another_or_for_other_money_is_no_receipt() {
    let body = done().body.clone();
    let stranger = crate::identity::AgentKey::from_seed(&[77; 32]);
    let foreign = Signed::claim(body.clone(), body.ended, None, ByteArray([8; 16]), &stranger).unwrap();
    assert!(matches!(verify(&bundle(&evidence(vec![foreign]))), Err(AuditError::Receipt(_))));

    let mut other = body;
    let ReceiptPart::Prepaid(money) = &mut other.money else { panic!() };
    money.ys = ByteArray([1; 32]);
    let other = Signed::claim(other.clone(), other.ended, None, ByteArray([8; 16]), &testing::seller()).unwrap();
    assert!(matches!(verify(&bundle(&evidence(vec![other]))), Err(AuditError::Receipt(_))));
}

#[test]
fn an_award_that_departs_from_its_offer_is_found() {
    let mut departing = evidence(vec![]);
    let mut args = testing::args(&departing.offers[0]);
    args.deadline = args.deadline.saturating_add(1);
    departing.awards = vec![testing::award(&args)];
    let cid = departing.awards[0].cid();
    assert_eq!(verify(&bundle(&departing)), Err(AuditError::Award(cid, AwardError::Offer.into())));
}

/// A bundle of the evidence's blocks with one block more, or one in another's place; its roots are whatever they are.
fn with_block(evidence: &Evidence, replaced: Option<Cid>, bytes: &[u8]) -> Vec<u8> {
    let (roots, mut blocks) = car::read(&bundle(evidence), MAX_BUNDLE_BLOCKS).unwrap();
    if let Some(replaced) = replaced {
        blocks.remove(&replaced);
    }
    blocks.insert(crate::cbor::cid_of(bytes), bytes.to_vec());
    car::write(&roots, &blocks.iter().map(|(cid, bytes)| (*cid, &bytes[..])).collect())
}

/// A claim that calls something critical.
fn critical<B: crate::claim::Body>(
    signed: &Signed<crate::claim::Claim<B>>,
    key: &crate::identity::AgentKey,
) -> Vec<u8> {
    let crit = crate::word::Critical::new(vec!["later".parse().unwrap()]).unwrap();
    let claim = crate::claim::Claim { crit: Some(crit), ..signed.payload().clone() };
    Signed::sign(claim, key).unwrap().bytes().to_vec()
}

#[test]
fn a_statement_of_a_later_version_is_reported_as_not_understood_and_the_rest_is_judged() {
    // The receipt can't be read: nobody is said to have failed, and the award still holds.
    let receipt = critical(&done(), &testing::seller());
    let file = with_block(&evidence(vec![done()]), Some(done().cid()), &receipt);
    let report = verify(&file).unwrap();
    assert_eq!((report.hires.len(), &report.hires[0].answer), (1, &Answer::NotUnderstood));
    assert_eq!(report.unread[0].statement, crate::cbor::cid_of(&receipt));
    let words = report.to_string();
    assert!(
        words.contains("is of a later version, not understood: later, which the statement calls critical"),
        "{words}"
    );

    // Something beside a trade that is whole.
    let file = with_block(&evidence(vec![done()]), None, &critical(&testing::ask(), &testing::buyer()));
    let report = verify(&file).unwrap();
    assert_eq!(report.hires[0].answer, Answer::Delivered(testing::seller().id()));
    assert_eq!(report.unread.len(), 1);
}

#[test]
fn a_bundle_of_which_no_award_can_be_read_is_not_called_invalid() {
    let mut invocation = testing::deal().award.invocation().payload().clone();
    let crit = ipld_core::ipld::Ipld::List(vec!["later".to_owned().into()]);
    invocation.args = invocation.args.clone().with(BTreeMap::from([("crit".to_owned(), crit)]).into());
    let award = Signed::sign(invocation, &testing::buyer()).unwrap();
    let file = with_block(&evidence(vec![]), Some(testing::deal().award.cid()), award.bytes());
    let error = verify(&file).unwrap_err();
    assert!(matches!(&error, AuditError::NotUnderstood(cid, _) if *cid == award.cid()), "{error}");
    assert_eq!(error.fault(), Fault::Incompatible);
}

#[test]
fn a_forged_statement_of_a_later_version_is_invalid() {
    let mut forged = critical(&testing::ask(), &testing::buyer());
    forged[10] ^= 1;
    let file = with_block(&evidence(vec![done()]), None, &forged);
    assert!(matches!(verify(&file), Err(AuditError::Envelope(_, error)) if *error == EnvelopeError::Signature));
}
