#![allow(clippy::unwrap_used)]
use guilder_protocol::{
    audit::{self, Evidence},
    award::{Award, AwardArgs},
    bytes::ByteArray,
    content::ContentId,
    envelope::Signed,
    identity::AgentKey,
    market::{Ask, AskBody, Offer, OfferBody, schema_hash},
    receipt::{Commitment, Outcome, Receipt, ReceiptBody},
    settlement::{AwardPart, Mode, ReceiptPart, Terms, prepaid},
    time::Timestamp,
};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SALT: Salt = ByteArray([9; 32]);

/// What was signed about a task whose seller promised an output of this schema and delivered this output.
fn signed(promised: Option<&str>, delivered: &[u8]) -> Evidence {
    let (buyer, seller) = (AgentKey::from_seed(&[1; 32]), AgentKey::from_seed(&[2; 32]));
    let until = Some(NOW.saturating_add(60));
    let ask = AskBody {
        service: "text.echo".parse().unwrap(),
        max_price: 10,
        unit: "sat".parse().unwrap(),
        mints: vec!["https://mint.example".parse().unwrap()],
        modes: vec![Mode::Prepaid],
        input_size: 2,
        deadline: NOW.saturating_add(60),
    };
    let ask: Signed<Ask> = Signed::claim(ask, NOW, until, ByteArray([3; 16]), &buyer).unwrap();
    let payee = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap();
    let locktime = NOW.saturating_add(1_000);
    let offer = OfferBody {
        aud: buyer.id(),
        ask: ask.cid(),
        service: ask.body.service.clone(),
        price: 7,
        unit: ask.body.unit.clone(),
        mints: ask.body.mints.clone(),
        terms: Terms::Prepaid(prepaid::Terms { payee, locktime }),
        max_proofs: 8,
        deadline: NOW.saturating_add(50),
        input: None,
        output: promised.map(schema_hash),
    };
    let offer: Signed<Offer> = Signed::claim(offer, NOW, until, ByteArray([4; 16]), &seller).unwrap();
    let args = AwardArgs {
        task: ask.cid(),
        service: offer.body.service.clone(),
        ask: ask.cid(),
        offer: offer.cid(),
        input: ContentId::of(b"hi").hash,
        mint: offer.body.mints[0].clone(),
        price: 7,
        unit: offer.body.unit.clone(),
        spent: 7,
        seller: seller.id(),
        deadline: offer.body.deadline,
        depth: 0,
    };
    let ys = ByteArray([5; 32]);
    let part = AwardPart::Prepaid(prepaid::AwardPart { locktime, ys });
    let award = Award::sign(&args, &part, buyer.id(), vec![], NOW, ByteArray([6; 16]), &buyer).unwrap();
    let mut commitment = Commitment::new(&SALT);
    commitment.update(delivered);
    let body = ReceiptBody {
        award: award.cid(),
        offer: offer.cid(),
        out: Outcome::Ok(commitment.finish()),
        money: ReceiptPart::Prepaid(prepaid::ReceiptPart {
            mint: args.mint.clone(),
            unit: args.unit.clone(),
            amount: 8,
            ys,
        }),
        began: NOW,
        ended: NOW,
        sub: vec![],
    };
    let receipt: Signed<Receipt> = Signed::claim(body, NOW, None, ByteArray([8; 16]), &seller).unwrap();
    Evidence {
        asks: vec![ask],
        offers: vec![offer],
        awards: vec![award],
        receipts: vec![receipt],
        schemas: promised.map(str::to_owned).into_iter().collect(),
        ..Evidence::default()
    }
}

fn judged(evidence: &Evidence, output: &[u8]) -> Judged {
    judge(&audit::verify(&audit::bundle(evidence)).unwrap(), &SALT, output)
}

#[test]
fn each_promise_with_each_output_gives_its_verdict() {
    let object = r#"{"type":"object","required":["answer"]}"#;
    let recursive = r##"{"items":{"$ref":"#"}}"##;
    let huge = r#"{"pattern":"(\\pL{900}){900}"}"#;
    let table: [(Option<&str>, &[u8], &str); 11] = [
        (Some(object), br#"{"answer":42}"#, "valid"),
        (Some(object), b"{}", "output-invalid"),
        (Some(object), b"[]", "output-invalid"),
        (Some(object), b"no JSON", "output-invalid"),
        (Some(object), b"", "output-invalid"),
        (Some("true"), b"0", "valid"),
        (Some("false"), b"0", "output-invalid"),
        (None, b"anything", "nothing-promised"),
        (Some("no schema"), b"{}", "undecided"),
        (Some(recursive), b"[]", "undecided"),
        (Some(huge), br#""a""#, "undecided"),
    ];
    let seller = AgentKey::from_seed(&[2; 32]).id().peer_id();
    for (promised, output, expected) in table {
        let judged = judged(&signed(promised, output), output);
        assert_eq!(judged.as_str(), expected, "{promised:?}, {:?}: {judged}", String::from_utf8_lossy(output));
        assert_eq!(judged.why().is_some(), matches!(expected, "output-invalid" | "undecided"));
        assert!(judged.to_string().contains(&seller));
        assert_eq!(judged.to_string().contains("answers for it"), expected == "output-invalid", "{judged}");
    }
}

#[test]
fn nobody_answers_for_what_the_receipt_does_not_commit_to_or_the_file_does_not_hold() {
    let evidence = signed(Some(r#"{"type":"object"}"#), b"[]");
    assert_eq!(judged(&evidence, b"[ ]"), Judged::Unknown);
    let report = audit::verify(&audit::bundle(&evidence)).unwrap();
    assert_eq!(judge(&report, &ByteArray([1; 32]), b"[]"), Judged::Unknown);
    let without = Evidence { receipts: vec![], ..evidence.clone() };
    assert_eq!(judged(&without, b"[]"), Judged::Unknown);
    // Whoever makes the file can leave the schema out; that blames nobody.
    let without = Evidence { schemas: std::collections::BTreeSet::new(), ..evidence };
    assert_eq!(judged(&without, b"[]").as_str(), "undecided");
}

#[test]
fn a_check_that_would_take_too_long_is_not_made() {
    let parts = |part: &str| vec![part; 40].join(",");
    let (nothing, part) = (parts("{}"), parts(r##"{"$ref":"#/$defs/a"}"##));
    let defs = format!(r##"{{"a":{{"allOf":[{nothing}]}},"b":{{"allOf":[{part}]}}}}"##);
    let schema = format!(r##"{{"items":{{"$ref":"#/$defs/b"}},"$defs":{defs}}}"##);
    let output = format!("[{}]", vec!["1"; 90_000].join(","));
    let judged = judged(&signed(Some(&schema), output.as_bytes()), output.as_bytes());
    assert_eq!(judged.as_str(), "undecided", "{judged}");
    assert!(judged.why().unwrap().contains("too large to be checked"), "{judged}");
}
