#![allow(clippy::unwrap_used)]

mod revoked;
mod verdicts;

use super::*;
use crate::{
    bytes::ByteArray,
    limits::MAX_SUB_EVIDENCE,
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
        receipts,
        ..Evidence::default()
    }
}

/// The acceptance of the tests' deal, of which it says at least the price, as its receipt.
fn accepted() -> Signed<Acceptance> {
    let mut body = testing::acceptance(&testing::deal()).body.clone();
    body.locked.as_mut().unwrap().amount = 8;
    Signed::claim(body, testing::NOW, None, ByteArray([8; 16]), &testing::seller()).unwrap()
}

/// Everything that both sides sign of a trade that went well, and a cancellation that came too late.
fn whole() -> Evidence {
    Evidence {
        acceptances: vec![accepted()],
        cancellations: vec![testing::cancellation(&testing::deal())],
        received: vec![testing::received(&done())],
        ..evidence(vec![done()])
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
        FailureCode::Revoked => {
            "not done: {seller} says that the buyer's authority was revoked; nothing that the buyer signed shows it"
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
            let of_another = authority == delegated.1 && verdict != NOT_UNDERSTOOD;
            let known = if of_another { "; its authority is not revoked as far as this bundle knows" } else { "" };
            assert_eq!(words.lines().last().unwrap(), format!("  => {verdict}{known}"));
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
    let good = bundle(&whole());
    every_change_is_found(&good);
    every_change_is_found(&bundle(&promising("{}")));
}

fn every_change_is_found(good: &[u8]) {
    for index in 0..good.len() {
        let mut bad = good.to_vec();
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
}

#[test]
fn two_receipts_of_one_seller_are_evidence_against_it_unless_they_say_the_same() {
    let report = verify(&bundle(&evidence(vec![done(), failed(FailureCode::Crashed)]))).unwrap();
    let hire = &report.hires[0];
    assert_eq!(hire.answer, Answer::SellerContradicts(testing::seller().id()));
    assert_eq!(hire.contradicting.len(), 2);
    for receipt in [done(), failed(FailureCode::Crashed)] {
        assert!(report.to_string().contains(&receipt.cid().to_string()), "{report}");
    }
    let again = Signed::claim(done().body.clone(), testing::NOW, None, ByteArray([1; 16]), &testing::seller()).unwrap();
    let report = verify(&bundle(&evidence(vec![done(), again]))).unwrap();
    assert_eq!(report.hires[0].answer, Answer::Delivered(testing::seller().id()));
}

#[test]
fn a_statement_counts_only_if_it_is_the_partys_own_about_this_award_and_its_money() {
    let stranger = crate::identity::AgentKey::from_seed(&[77; 32]);
    let (deal, receipt) = (testing::deal(), done());
    let other_award = testing::ask().cid();
    for key in [testing::buyer(), stranger.clone()] {
        let acceptances = vec![testing::claim(accepted().body.clone(), &key)];
        let file = bundle(&Evidence { acceptances, ..evidence(vec![]) });
        assert!(matches!(verify(&file), Err(AuditError::Acceptance(_))));
    }
    for key in [testing::seller(), stranger] {
        let cancellations = vec![testing::claim(testing::cancellation(&deal).body.clone(), &key)];
        let file = bundle(&Evidence { cancellations, ..evidence(vec![]) });
        assert!(matches!(verify(&file), Err(AuditError::Cancellation(_))));
        let received = vec![testing::claim(testing::received(&receipt).body.clone(), &key)];
        let file = bundle(&Evidence { received, ..evidence(vec![receipt.clone()]) });
        assert!(matches!(verify(&file), Err(AuditError::Received(_))));
    }

    // About other money, another offer, or dated when the award could not be taken.
    type Change = fn(&mut Acceptance);
    let changes: [Change; 8] = [
        |said| said.body.offer = said.body.award,
        |said| said.body.locked = None,
        |said| said.body.locked.as_mut().unwrap().amount = 6,
        |said| said.body.locked.as_mut().unwrap().ys = ByteArray([1; 32]),
        |said| said.body.locked.as_mut().unwrap().unit = "usd".parse().unwrap(),
        |said| said.body.locked.as_mut().unwrap().mint = "https://other.example".parse().unwrap(),
        |said| said.iat = testing::NOW.saturating_sub(61),
        |said| said.iat = testing::NOW.saturating_add(51),
    ];
    for change in changes {
        let mut said = accepted().payload().clone();
        change(&mut said);
        let acceptances = vec![Signed::sign(said, &testing::seller()).unwrap()];
        let file = bundle(&Evidence { acceptances, ..evidence(vec![]) });
        assert!(matches!(verify(&file), Err(AuditError::Acceptance(_))));
    }

    // Of an award that isn't here: it belongs to nothing in the file. So does a receipt for work never awarded.
    let mut body = accepted().body.clone();
    body.award = other_award;
    let acceptances = vec![testing::claim(body, &testing::seller())];
    let file = bundle(&Evidence { acceptances, ..evidence(vec![]) });
    assert!(matches!(verify(&file), Err(AuditError::Stray(_))));
    let body = crate::receipt::ReceiptBody { award: other_award, ..receipt.body.clone() };
    let file = bundle(&evidence(vec![testing::claim(body, &testing::seller())]));
    assert!(matches!(verify(&file), Err(AuditError::Stray(_))));
    let cancellations =
        vec![testing::claim(crate::cancellation::CancellationBody { award: other_award }, &testing::buyer())];
    let file = bundle(&Evidence { cancellations, ..evidence(vec![]) });
    assert!(matches!(verify(&file), Err(AuditError::Stray(_))));
}

#[test]
fn received_does_not_count_for_the_receipt_of_another_award() {
    let (other, link) = testing::delegated_award(7);
    let foreign = under(&other, &done());
    let body = crate::received::ReceivedBody { award: testing::deal().id(), receipt: foreign.cid() };
    let mut evidence = evidence(vec![done(), foreign]);
    evidence.awards.push(other);
    evidence.delegations.push(link);
    assert!(verify(&bundle(&evidence)).is_ok());
    evidence.received.push(testing::claim(body, &testing::buyer()));
    assert!(matches!(verify(&bundle(&evidence)), Err(AuditError::Received(_))));
}

#[test]
fn a_statement_with_a_garbage_signature_spoils_the_file() {
    let good = whole();
    for bytes in [
        good.acceptances[0].bytes(),
        good.cancellations[0].bytes(),
        good.receipts[0].bytes(),
        good.received[0].bytes(),
        good.awards[0].invocation().bytes(),
    ] {
        let mut forged = bytes.to_vec();
        forged[10] ^= 1;
        let file = with_block(&good, Some(crate::cbor::cid_of(bytes)), &forged);
        assert!(matches!(verify(&file), Err(AuditError::Envelope(..) | AuditError::Award(..))), "{:?}", verify(&file));
    }
}

#[test]
fn a_block_more_or_less_or_another_root_is_found() {
    let good = whole();
    assert!(verify(&bundle(&good)).is_ok());
    let (roots, blocks) = car::read(&bundle(&good), MAX_BUNDLE_BLOCKS).unwrap();
    assert_eq!(roots.len(), 3, "acceptance, cancellation and received name all the rest");
    let file = |roots: &[Cid], blocks: &BTreeMap<Cid, Vec<u8>>| {
        car::write(roots, &blocks.iter().map(|(cid, bytes)| (*cid, &bytes[..])).collect())
    };
    // Without any one block, the roots left as they are.
    for cid in blocks.keys() {
        let mut less = blocks.clone();
        less.remove(cid);
        let verified = verify(&file(&roots, &less));
        if *cid == good.receipts[0].cid() {
            // The buyer's word that it has the output names one, and stands by itself.
            assert_eq!(verified.unwrap().hires[0].answer, Answer::Received(testing::buyer().id()));
        } else {
            assert!(verified.is_err(), "without {cid}");
        }
    }
    let more = with_block(&good, None, b"\x01");
    assert!(matches!(verify(&more), Err(AuditError::Stray(_))));
    let award = good.awards[0].cid();
    for roots in [&[][..], &[award], &roots[..2], &[&roots[..], &[award]].concat(), &[roots[1], roots[0], roots[2]]] {
        assert_eq!(verify(&file(roots, &blocks)), Err(AuditError::Roots));
    }
}

#[test]
fn a_swapped_sub_receipt_is_found() {
    // The seller passed work on, under an award of its own in the same task; its receipt names that award's receipt.
    let whole = passed_on();
    assert_eq!(verify(&bundle(&whole)).unwrap().hires.len(), 2);
    let [_, sub] = &whole.receipts[..] else { panic!() };
    let other = Signed::claim(sub.body.clone(), sub.iat, None, ByteArray([99; 16]), &worker()).unwrap();
    let mut swapped = whole.clone();
    swapped.receipts[1] = other;
    // The one named isn't there, which spoils nobody's proof; the other is named by nobody.
    let report = verify(&bundle(&swapped)).unwrap();
    let main = report.hires.iter().find(|hire| hire.buyer == testing::buyer().id()).unwrap();
    assert_eq!(main.elsewhere, [sub.cid()]);
    assert!(report.to_string().contains(&format!("its receipt {} is not in this file", sub.cid())), "{report}");
    // A receipt of work that somebody else passed on, or of the work itself.
    let mut circular = whole.clone();
    let body = crate::receipt::ReceiptBody { sub: vec![done().cid()], ..done().body.clone() };
    circular.receipts = vec![done(), testing::claim(body, &testing::seller())];
    circular.awards.truncate(1);
    circular.offers.truncate(1);
    circular.asks.truncate(1);
    circular.delegations.clear();
    assert!(matches!(verify(&bundle(&circular)), Err(AuditError::Receipt(_))));
}

#[test]
fn hires_stand_under_each_other_as_receipts_and_delegations_say() {
    let whole = passed_on();
    let report = verify(&bundle(&whole)).unwrap();
    let tree: Vec<_> = report.tree().into_iter().map(|(depth, hire)| (depth, hire.buyer)).collect();
    assert_eq!(tree, [(0, testing::buyer().id()), (1, testing::seller().id())]);
    assert!(report.to_string().contains("  └─ …"), "{report}");
    // Also where no receipt says it.
    let unsaid = Evidence { receipts: vec![], ..whole.clone() };
    let report = verify(&bundle(&unsaid)).unwrap();
    assert_eq!(report.tree().iter().map(|(depth, _)| *depth).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn who_answers_for_a_failure_is_said_through_the_chain() {
    let mut whole = passed_on();
    let error = TaskError { code: FailureCode::Crashed, text: "words".into() };
    let (main, sub) = (whole.receipts[0].clone(), whole.receipts[1].clone());
    let body = crate::receipt::ReceiptBody { out: Outcome::Error(error.clone()), ..sub.body.clone() };
    let sub = Signed::claim(body, testing::NOW, None, ByteArray([24; 16]), &worker()).unwrap();
    let failed = crate::receipt::ReceiptBody { out: Outcome::Error(error), sub: vec![sub.cid()], ..main.body.clone() };
    whole.receipts = vec![testing::claim(failed, &testing::seller()), sub];
    let report = verify(&bundle(&whole)).unwrap();
    let [buyer, seller, worker] = [testing::buyer(), testing::seller(), worker()].map(|key| key.id().peer_id());
    let sentence = report.responsibility(report.tree()[0].1).unwrap();
    assert!(sentence.starts_with(&format!("{seller} answers to {buyer}: failed: ")), "{sentence}");
    assert!(
        sentence.contains(&format!("beneath it, for text.echo, {worker} answers to {seller}: failed")),
        "{sentence}"
    );
    let good = verify(&bundle(&passed_on())).unwrap();
    assert!(good.hires.iter().all(|hire| good.responsibility(hire).is_none()));
}

#[test]
fn what_is_handed_over_stands_under_the_award() {
    let whole = passed_on();
    let (main, subs) = (
        whole.awards[0].clone(),
        Evidence {
            asks: whole.asks[1..].to_vec(),
            offers: whole.offers[1..].to_vec(),
            awards: whole.awards[1..].to_vec(),
            delegations: whole.delegations.clone(),
            receipts: whole.receipts[1..].to_vec(),
            ..Evidence::default()
        },
    );
    let grant = &whole.delegations[0];
    let read = Beneath::read(&bundle(&subs), &main, grant).unwrap();
    assert!(read.left_out.is_empty());
    let read = read.kept;
    let mut merged = Evidence {
        asks: whole.asks[..1].to_vec(),
        offers: whole.offers[..1].to_vec(),
        awards: whole.awards[..1].to_vec(),
        receipts: whole.receipts[..1].to_vec(),
        ..Evidence::default()
    };
    merged = merged.with_beneath(&read);
    assert_eq!(bundle(&merged), bundle(&whole));
    // The whole has the award itself in it, which stands under nothing of its own; and another's award has nothing beneath.
    let read = Beneath::read(&bundle(&whole), &main, grant).unwrap();
    assert_eq!(bundle(&read.kept), bundle(&subs));
    assert_eq!(read.left_out, BTreeMap::from([(main.cid(), AuditError::Stray(main.cid()))]));
    let read = Beneath::read(&bundle(&subs), &whole.awards[1], grant).unwrap();
    assert_eq!((read.bundle(), read.left_out.len()), (None, 1));
    // What another delegation let the same seller do is another branch.
    let other = delegation(2);
    let read = Beneath::read(&bundle(&subs), &main, &other).unwrap();
    assert_eq!((read.bundle(), read.left_out.len()), (None, 1));
    assert!(Beneath::read(b"junk", &main, grant).is_err());
    let large = Beneath::read(&vec![0; MAX_SUB_EVIDENCE + 1], &main, grant);
    assert!(matches!(large, Err(AuditError::TooLarge(_))));
}

/// Two hires of the same seller's beneath one award: what of them is handed up where the second is as `spoil` makes it, and how
/// much of it is left out.
fn spoiled(spoil: impl Fn(&mut Evidence)) -> (Vec<Cid>, usize) {
    let (main, link) = (testing::deal().award, delegation(1));
    let (mut whole, mut second) = (beneath(&link, 1), beneath(&link, 2));
    let good = whole.awards[0].cid();
    spoil(&mut second);
    whole.extend(second);
    let read = Beneath::of(&whole, &main, &link);
    assert!(read.kept.awards.iter().any(|award| award.cid() == good), "the first is there");
    if let Some(bytes) = read.bundle() {
        verify(&bytes).unwrap();
        assert_eq!(Beneath::read(&bytes, &main, &link).unwrap().bundle(), Some(bytes));
    }
    // The same in a file, with a statement of a later version beside it, behind which nothing hides that is for nothing.
    whole.asks.push(testing::ask());
    let bytes = with_block(&whole, None, &critical(&testing::ask(), &testing::buyer()));
    let from_file = Beneath::read(&bytes, &main, &link).unwrap();
    assert_eq!(bundle(&from_file.kept), bundle(&read.kept));
    assert!(from_file.left_out.len() > read.left_out.len());
    (read.kept.awards.iter().map(Award::cid).collect(), read.left_out.len())
}

#[test]
fn what_one_subcontractor_made_wrongly_takes_nothing_from_the_others() {
    let (both, none) = spoiled(|_| {});
    assert_eq!((both.len(), none), (2, 0));
    type Spoil = fn(&mut Evidence);
    let lacks: [Spoil; 3] = [
        |second| second.offers.clear(),
        |second| second.asks.clear(),
        |second| {
            // Another task's.
            let body = crate::receipt::ReceiptBody { sub: vec![], ..done().body.clone() };
            second.awards = vec![testing::award(&crate::award::AwardArgs {
                task: cbor::cid_of(b"other"),
                ..testing::args(&second.offers[0])
            })];
            second.receipts = vec![testing::claim(body, &worker())];
        },
    ];
    for spoil in lacks {
        let (kept, left_out) = spoiled(spoil);
        assert_eq!((kept.len(), left_out), (1, 1));
    }
    // A word that isn't its party's takes nothing from the award that it is said of.
    let words: [Spoil; 3] = [
        |second| second.acceptances = vec![accepted()],
        |second| {
            let body = crate::receipt::ReceiptBody { award: second.awards[0].cid(), ..done().body.clone() };
            second.receipts.push(testing::claim(body, &testing::buyer()));
        },
        |second| {
            let award = second.awards[0].cid();
            let body = crate::received::ReceivedBody { award, receipt: second.receipts[0].cid() };
            second.received = vec![testing::claim(body, &worker())];
        },
    ];
    for spoil in words {
        let (kept, left_out) = spoiled(spoil);
        assert_eq!((kept.len(), left_out), (2, 0));
    }
    // One that names another's work as its own is left out, not the other.
    let named = beneath(&delegation(1), 1).receipts[0].cid();
    let (kept, left_out) = spoiled(|second| {
        let body = crate::receipt::ReceiptBody { sub: vec![named], ..second.receipts[0].body.clone() };
        second.receipts = vec![testing::claim(body, &worker())];
    });
    assert_eq!((kept.len(), left_out), (1, 1));
}

#[test]
fn of_more_than_there_is_room_for_as_much_is_handed_over_as_fits() {
    let (main, link) = (testing::deal().award, delegation(1));
    let mut whole = Evidence::default();
    for n in 0..100 {
        whole.extend(beneath(&link, n));
    }
    let read = Beneath::of(&whole, &main, &link);
    let bytes = read.bundle().unwrap();
    assert!(bytes.len() <= MAX_SUB_EVIDENCE && bytes.len() > MAX_SUB_EVIDENCE - 8 * 1024, "{}", bytes.len());
    assert_eq!(read.kept.awards.len() + read.left_out.len(), 100);
    assert!(read.left_out.values().all(|error| matches!(error, AuditError::TooLarge(_))));
    whole.awards.reverse();
    assert_eq!(Beneath::of(&whole, &main, &link).bundle(), Some(bytes), "in whatever order they are kept");
}

fn worker() -> crate::identity::AgentKey {
    crate::identity::AgentKey::from_seed(&[3; 32])
}

/// By which the buyer lets its seller pass work on; others by other numbers.
fn delegation(number: u8) -> Signed<Delegation> {
    let (deal, buyer, seller) = (testing::deal(), testing::buyer(), testing::seller());
    let task = deal.award.args().task;
    let grant = crate::ucan::grant::SubGrant {
        buyer: buyer.id(),
        seller: seller.id(),
        principal: buyer.id(),
        task,
        services: vec![],
        unit: "sat".into(),
        mint: deal.offer.body.mints[0].to_string(),
        max_price: 7,
        max_spent: 7,
        deadline: testing::NOW.saturating_add(60),
        max_depth: 1,
        expires: testing::NOW.saturating_add(2_000),
        nonce: vec![number],
    };
    Signed::sign(grant.delegation().unwrap(), &buyer).unwrap()
}

/// A hire of the worker's by the seller, under `link`; others by other numbers.
fn beneath(link: &Signed<Delegation>, number: u8) -> Evidence {
    let (deal, buyer, seller) = (testing::deal(), testing::buyer(), testing::seller());
    let task = deal.award.args().task;
    let nonce = ByteArray([number; 16]);
    let body = testing::ask().body.clone();
    let ask = Signed::claim(body, testing::NOW, testing::ask().exp, nonce, &seller).unwrap();
    let body = crate::market::OfferBody { aud: seller.id(), ask: ask.cid(), ..deal.offer.body.clone() };
    let offer = Signed::claim(body, testing::NOW, deal.offer.exp, nonce, &worker()).unwrap();
    let args = crate::award::AwardArgs { task, depth: 1, ..testing::args(&offer) };
    let prf = vec![link.cid()];
    let award = Award::sign(&args, &testing::part(), buyer.id(), prf, testing::NOW, nonce, &seller).unwrap();
    let body = crate::receipt::ReceiptBody { award: award.cid(), offer: offer.cid(), ..done().body.clone() };
    let sub = Signed::claim(body, testing::NOW, None, nonce, &worker()).unwrap();
    Evidence {
        asks: vec![ask],
        offers: vec![offer],
        awards: vec![award],
        delegations: vec![link.clone()],
        receipts: vec![sub],
        ..Evidence::default()
    }
}

/// A trade whose seller hired another for it, on the buyer's authority.
fn passed_on() -> Evidence {
    let (deal, sub) = (testing::deal(), beneath(&delegation(1), 21));
    let body = crate::receipt::ReceiptBody { sub: vec![sub.receipts[0].cid()], ..done().body.clone() };
    let main = testing::claim(body, &testing::seller());
    let mut whole = Evidence {
        asks: vec![testing::ask()],
        offers: vec![deal.offer],
        awards: vec![deal.award],
        receipts: vec![main],
        ..Evidence::default()
    };
    whole.extend(sub);
    whole
}

#[test]
fn awards_whose_running_totals_overlap_convict_their_buyer_of_overspending() {
    let report = verify(&bundle(&passed_on())).unwrap();
    assert!(report.hires.iter().all(|hire| hire.overlaps.is_empty()), "one award overlaps nothing");
    let mut whole = passed_on();
    whole.extend(beneath(&delegation(1), 22));
    let report = verify(&bundle(&whole)).unwrap();
    let under: Vec<&Hire> = report.hires.iter().filter(|hire| hire.principal != hire.buyer).collect();
    assert_eq!(under.len(), 2);
    assert_eq!(under[0].overlaps, [under[1].award], "each took the first 7 of 7");
    assert_eq!(under[1].overlaps, [under[0].award]);
    let who = testing::seller().id().peer_id();
    assert!(under[0].verdict().contains(&format!("{who} overspent what it was granted, and answers for it")));
    assert!(report.to_string().contains(&format!("overlaps that of the award {}", under[0].award)), "{report}");
}

#[test]
fn totals_overlap_where_they_share_a_part_under_one_delegation_of_one_buyer() {
    let signed = |number: u8, (price, spent): (u64, u64), link: u8, key: &crate::identity::AgentKey| {
        let to = if key.id() == worker().id() { testing::seller().id() } else { worker().id() };
        let args = testing::args(&testing::deal().offer);
        let args = crate::award::AwardArgs { price, spent, depth: 1, seller: to, ..args };
        let (principal, prf) = (testing::buyer().id(), vec![delegation(link).cid()]);
        let nonce = ByteArray([number; 16]);
        Award::sign(&args, &testing::part(), principal, prf, testing::NOW, nonce, key).unwrap()
    };
    let seller = testing::seller();
    let first = signed(1, (3, 10), 1, &seller);
    for (other, overlaps) in [
        (signed(2, (4, 7), 1, &seller), false),
        (signed(2, (4, 8), 1, &seller), true),
        (signed(2, (5, 15), 1, &seller), false),
        (signed(2, (6, 15), 1, &seller), true),
        (signed(2, (1, 9), 1, &seller), true),
        (signed(2, (4, 8), 2, &seller), false),
        (signed(2, (4, 8), 1, &worker()), false),
    ] {
        let (price, spent) = (other.args().price, other.args().spent);
        let found = overlapping(first.cid(), &[first.clone(), other.clone()]);
        assert_eq!(found, if overlaps { vec![other.cid()] } else { vec![] }, "{price} of {spent}");
    }
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
