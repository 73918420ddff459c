//! Cases as files, and what is said of them.

use std::collections::BTreeMap;

use guilder_protocol::{
    cbor,
    limits::MAX_CASE,
    time::Timestamp,
    ucan::case::{self, Verdict},
};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::tools::{NOW, delegation, id, invocation, sign_delegation, sign_invocation};

fn name(verdict: &Verdict) -> &'static str {
    verdict.outcome.as_ref().map_or_else(|invalid| invalid.name, |()| "valid")
}

fn verdict(bytes: &[u8]) -> &'static str {
    name(&case::verify(bytes, None, NOW))
}

/// 2 asks in the name of 1, until [`NOW`].
fn tokens() -> (Vec<u8>, Vec<u8>) {
    let mut link = delegation(1, 2, "/task");
    link.exp = Some(NOW);
    let link = sign_delegation(link);
    let asked = sign_invocation(invocation(1, 2, "/task/run"), std::slice::from_ref(&link));
    (asked.bytes().to_vec(), link.bytes().to_vec())
}

fn base64(bytes: &[u8]) -> Value {
    json!({"/": {"bytes": data_encoding::BASE64_NOPAD.encode(bytes)}})
}

fn in_json() -> Value {
    let (asked, link) = tokens();
    json!({"name": "a note", "invocation": base64(&asked), "proofs": [base64(&link)]})
}

fn in_cbor() -> BTreeMap<&'static str, Ipld> {
    let (asked, link) = tokens();
    BTreeMap::from([("invocation", Ipld::Bytes(asked)), ("proofs", Ipld::List(vec![Ipld::Bytes(link)]))])
}

#[test]
fn a_case_is_json_or_cbor() {
    assert_eq!(verdict(in_json().to_string().as_bytes()), "valid");
    assert_eq!(verdict(format!("\n {:#}\n", in_json()).as_bytes()), "valid");
    assert_eq!(verdict(&cbor::encode(&in_cbor())), "valid");
    let (asked, link) = tokens();
    let padded = json!({
        "invocation": {"/": {"bytes": data_encoding::BASE64.encode(&asked)}},
        "proofs": [{"/": {"bytes": data_encoding::BASE64.encode(&link)}}],
    });
    assert_eq!(verdict(padded.to_string().as_bytes()), "valid");
}

#[test]
fn the_time_is_the_caller_s_then_the_case_s_then_now() {
    let later = NOW.saturating_add(1);
    let with_time = |time: Timestamp| {
        let mut case = in_json();
        case["time"] = time.as_secs().into();
        case.to_string().into_bytes()
    };
    let without = in_json().to_string().into_bytes();
    for (case, at, now, expected) in [
        (&without, None, NOW, "valid"),
        (&without, None, later, "Expired"),
        (&with_time(NOW), None, later, "valid"),
        (&with_time(later), None, NOW, "Expired"),
        (&with_time(later), Some(NOW), later, "valid"),
        (&with_time(NOW), Some(later), NOW, "Expired"),
    ] {
        assert_eq!(name(&case::verify(case, at, now)), expected);
    }
    let mut timed = in_cbor();
    timed.insert("time", Ipld::Integer((NOW.as_secs() + 1).into()));
    assert_eq!(verdict(&cbor::encode(&timed)), "Expired");
}

#[test]
fn a_verdict_says_what_is_wrong_and_what_is_claimed() {
    let verdict = case::verify(in_json().to_string().as_bytes(), Some(NOW.saturating_add(1)), NOW);
    assert_eq!(verdict.to_string(), "invalid: Expired: delegation 0 expired at 2026-01-01T00:00:00Z");
    assert_eq!(
        verdict.words,
        [
            format!("{} authorises {} to do /task in its own name, until 2026-01-01T00:00:00Z", id(1), id(2)),
            format!("{} asks to do /task/run in the name of {}", id(2), id(1)),
        ]
    );
    let valid = case::verify(in_json().to_string().as_bytes(), None, NOW);
    assert_eq!((valid.to_string(), valid.words), ("valid".to_owned(), verdict.words));
}

#[test]
fn one_envelope_alone_is_a_case() {
    let (asked, link) = tokens();
    assert_eq!(verdict(&asked), "UnavailableProof");
    assert_eq!(verdict(sign_invocation(invocation(1, 1, "/task"), &[]).bytes()), "valid");
    let alone = case::verify(&link, None, NOW);
    assert_eq!((name(&alone), alone.words.len()), ("valid", 1));
    assert_eq!(name(&case::verify(&link, Some(NOW.saturating_add(1)), NOW)), "Expired");
    let mut forged = link;
    forged[10] ^= 1;
    assert_eq!(verdict(&forged), "InvalidSignature");
}

#[test]
fn what_cannot_be_read_is_a_bad_encoding() {
    let text = in_json().to_string();
    let mut without_proofs = in_json();
    without_proofs.as_object_mut().unwrap().remove("proofs");
    let mut odd_bytes = in_json();
    odd_bytes["invocation"] = json!("not bytes");
    let mut bad_base64 = in_json();
    bad_base64["invocation"]["/"]["bytes"] = json!("!!!!");
    let mut negative = in_json();
    negative["time"] = json!(-1);
    let twice = text.replacen("\"proofs\"", "\"proofs\":[],\"proofs\"", 1);
    let cbor = cbor::encode(&in_cbor());
    for bytes in [
        b"".as_slice(),
        b"{}",
        b"[]",
        b"null",
        b"\x82",
        b"\xa0",
        b"hello",
        &text.as_bytes()[..text.len() - 1],
        &cbor[..cbor.len() - 1],
        &[&cbor[..], &[0]].concat(),
        without_proofs.to_string().as_bytes(),
        odd_bytes.to_string().as_bytes(),
        bad_base64.to_string().as_bytes(),
        negative.to_string().as_bytes(),
        twice.as_bytes(),
        &vec![b' '; MAX_CASE + 1],
    ] {
        assert_eq!(verdict(bytes), "InvalidEncoding", "{:?}", String::from_utf8_lossy(bytes));
    }
    // one token of the case
    for (field, place) in [("invocation", 0), ("proofs", 1)] {
        let mut case = in_json();
        if place == 0 {
            case[field] = base64(b"junk")
        } else {
            case[field][0] = base64(b"junk")
        }
        assert_eq!(verdict(case.to_string().as_bytes()), "InvalidEncoding", "{field}");
    }
}
