//! Bytes that are no tokens, and tokens whose bytes were touched.

use guilder_protocol::{
    cbor,
    envelope::Signed,
    ucan::{At, Delegation, Invocation, chain, chain::NoRevocations},
};
use ipld_core::ipld::Ipld;

use crate::tools::{NOW, delegation, fields, forge, forge_bytes, id, invocation, key, name, sign_delegation};

const DELEGATION: &str = "ucan/dlg@1.0.0";
const INVOCATION: &str = "ucan/inv@1.0.0";

/// The verdict on an invocation by 2 under a root delegation of 1, given by their bytes.
fn verdict(delegation: &[u8]) -> &'static str {
    let mut asked = invocation(1, 2, "/task");
    asked.prf = vec![cbor::cid_of(delegation)];
    let asked = Signed::sign(asked, &key(2)).unwrap();
    name(&chain::verify_bytes(asked.bytes(), &[delegation], At::exact(NOW), &NoRevocations))
}

/// The delegation with some of its fields changed, signed again.
fn spoilt(change: impl FnOnce(&mut std::collections::BTreeMap<String, Ipld>)) -> Vec<u8> {
    let mut map = fields(&delegation(1, 2, "/task"));
    change(&mut map);
    forge(DELEGATION, Ipld::Map(map), &key(1))
}

#[test]
fn the_forge_itself_makes_good_tokens() {
    assert_eq!(spoilt(|_| {}), sign_delegation(delegation(1, 2, "/task")).bytes());
    assert_eq!(verdict(&spoilt(|_| {})), "valid");
}

#[test]
fn every_field_must_be_there_and_of_its_kind() {
    for field in ["iss", "aud", "sub", "cmd", "pol", "nonce", "exp"] {
        assert_eq!(verdict(&spoilt(|map| drop(map.remove(field)))), "InvalidEncoding", "{field} is missing");
        assert_eq!(verdict(&spoilt(|map| drop(map.insert(field.into(), Ipld::Bool(true))))), "InvalidEncoding");
    }
    for field in ["iss", "aud", "cmd", "pol", "nonce", "nbf", "meta"] {
        assert_eq!(verdict(&spoilt(|map| drop(map.insert(field.into(), Ipld::Null)))), "InvalidEncoding", "{field}");
    }
    for field in ["sub", "exp"] {
        assert_ne!(verdict(&spoilt(|map| drop(map.insert(field.into(), Ipld::Null)))), "InvalidEncoding", "{field}");
    }
    // a limit that this version doesn't know is not passed over
    assert_eq!(verdict(&spoilt(|map| drop(map.insert("not".into(), Ipld::Null)))), "InvalidEncoding");
}

#[test]
fn times_are_whole_seconds_of_53_bits() {
    let most = (1_i128 << 53) - 1;
    let with = |field: &str, value: Ipld| spoilt(|map| drop(map.insert(field.into(), value)));
    for field in ["exp", "nbf"] {
        for bad in [Ipld::Integer(most + 1), Ipld::Integer(-1), Ipld::Float(1e9), Ipld::String("1".into())] {
            assert_eq!(verdict(&with(field, bad.clone())), "InvalidEncoding", "{field} {bad:?}");
        }
    }
    assert_eq!(verdict(&with("exp", Ipld::Integer(most))), "valid");
    assert_eq!(verdict(&with("nbf", Ipld::Integer(most))), "TooEarly");
}

#[test]
fn commands_policies_and_identities_are_parsed_at_once() {
    let with = |field: &str, value: Ipld| spoilt(|map| drop(map.insert(field.into(), value)));
    for command in ["task", "/task/", "/Task", "/a//b"] {
        assert_eq!(verdict(&with("cmd", Ipld::String(command.into()))), "InvalidEncoding", "{command}");
    }
    for did in ["did:web:example.com", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", ""] {
        assert_eq!(verdict(&with("aud", Ipld::String(did.into()))), "InvalidEncoding", "{did}");
    }
    let statement = |parts: &[Ipld]| Ipld::List(vec![Ipld::List(parts.to_vec())]);
    let (text, number) = (|text: &str| Ipld::String(text.into()), Ipld::Integer(1));
    for bad in [
        statement(&[]),
        statement(&[text("==")]),
        statement(&[text("=="), text(".a")]),
        statement(&[text("=="), text(".a"), number.clone(), number.clone()]),
        statement(&[text("=~"), text(".a"), number.clone()]),
        statement(&[text("=="), text("a"), number.clone()]),
        statement(&[text("<"), text(".a"), text("1")]),
        statement(&[text("like"), text(".a"), number.clone()]),
        statement(&[text("not"), number.clone()]),
        statement(&[text("and"), number.clone()]),
        statement(&[text("all"), text(".a"), Ipld::List(vec![])]),
        Ipld::List(vec![text("==")]),
    ] {
        assert_eq!(verdict(&with("pol", bad.clone())), "InvalidEncoding", "{bad:?}");
    }
}

#[test]
fn a_token_of_another_kind_or_version_is_refused() {
    for tag in ["ucan/dlg@1.1.0", "ucan/dlg@2.0.0", INVOCATION, "guilder/offer@1.0.0"] {
        let other = forge(tag, Ipld::Map(fields(&delegation(1, 2, "/task"))), &key(1));
        assert_eq!(verdict(&other), "InvalidEncoding", "{tag}");
    }
    let link = sign_delegation(delegation(1, 2, "/task"));
    let outcome = chain::verify_bytes(link.bytes(), &[] as &[&[u8]], At::exact(NOW), &NoRevocations);
    assert_eq!(name(&outcome), "InvalidEncoding");
}

#[test]
fn the_candidate_that_iso_ucan_writes_is_read() {
    let token = forge("ucan/dlg@1.0.0-rc.1", Ipld::Map(fields(&delegation(1, 2, "/task"))), &key(1));
    assert_eq!(verdict(&token), "valid");
    let text: String = include_str!("../vectors/ucan/iso-ucan-0.5-delegation.hex").split_whitespace().collect();
    let token: Vec<u8> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    let delegation = Signed::<Delegation>::decode(&token).unwrap();
    assert_eq!((delegation.cmd.as_str(), delegation.pol.statements().len()), ("/task/award", 2));
}

#[test]
fn a_token_that_cannot_be_read_is_not_understood_if_its_issuer_signed_it() {
    use guilder_protocol::{
        envelope::EnvelopeError,
        fault::{AtFault, Fault},
    };
    let later = |map: &mut std::collections::BTreeMap<String, Ipld>| drop(map.insert("not".into(), Ipld::Null));
    let error = Signed::<Delegation>::decode(&spoilt(later)).unwrap_err();
    assert!(matches!(error, EnvelopeError::Foreign(_)) && error.fault() == Fault::Incompatible, "{error}");
    let mut map = fields(&delegation(1, 2, "/task"));
    later(&mut map);
    let forged = Signed::<Delegation>::decode(&forge(DELEGATION, Ipld::Map(map), &key(3))).unwrap_err();
    assert_eq!(forged, EnvelopeError::Signature);
}

#[test]
fn what_the_meta_of_a_token_calls_critical_must_be_understood() {
    let crit = |names: Ipld| std::collections::BTreeMap::from([("crit".to_owned(), names)]);
    let with = |names: Ipld| verdict(&spoilt(|map| drop(map.insert("meta".into(), Ipld::Map(crit(names))))));
    assert_eq!(with(Ipld::List(vec![Ipld::String("uses".into())])), "InvalidEncoding");
    assert_eq!(with(Ipld::List(vec![])), "InvalidEncoding");
    assert_eq!(verdict(&spoilt(|map| drop(map.insert("meta".into(), Ipld::Map(Default::default()))))), "valid");
}

#[test]
fn only_canonical_bytes_are_tokens() {
    let payload = cbor::encode(&delegation(1, 2, "/task"));
    let header = [&[0x61, b'h', 0x48][..], &[0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71]].concat();
    let tag = [&[0x60 + DELEGATION.len() as u8], DELEGATION.as_bytes()].concat();
    let wrap = |payload: &[u8]| forge_bytes(&[&[0xa2][..], &header, &tag, payload].concat(), &key(1));
    assert_eq!(verdict(&wrap(&payload)), "valid");

    // `exp: null` again: a repeated key, that is
    let repeated = [&[payload[0] + 1][..], &payload[1..], &[0x63, b'e', b'x', b'p', 0xf6]].concat();
    assert_eq!(verdict(&wrap(&repeated)), "InvalidEncoding");
    // the first two fields swapped: keys out of order
    let entry = |name: &str| {
        let value = cbor::encode(&fields(&delegation(1, 2, "/task"))[name]);
        [&cbor::encode(name)[..], &value].concat()
    };
    let rest = &payload[1 + entry("aud").len() + entry("cmd").len()..];
    assert_eq!(verdict(&wrap(&[&payload[..1], &entry("aud"), &entry("cmd"), rest].concat())), "valid");
    assert_eq!(verdict(&wrap(&[&payload[..1], &entry("cmd"), &entry("aud"), rest].concat())), "InvalidEncoding");
    // the number of fields in a longer head than it needs
    assert_eq!(verdict(&wrap(&[&[0xb8, payload[0] - 0xa0], &payload[1..]].concat())), "InvalidEncoding");
    // a map without a stated length
    assert_eq!(verdict(&wrap(&[&[0xbf], &payload[1..], &[0xff]].concat())), "InvalidEncoding");
    // a byte more than the token
    assert_eq!(verdict(&[&wrap(&payload)[..], &[0]].concat()), "InvalidEncoding");
    // the header behind the payload
    let swapped = forge_bytes(&[&[0xa2][..], &tag, &payload, &header].concat(), &key(1));
    assert_eq!(verdict(&swapped), "InvalidEncoding");
    // another algorithm
    let mut other = wrap(&payload);
    other[67 + 1 + 2 + 1 + 2] = 0xec;
    assert_eq!(verdict(&other), "InvalidSignature");
}

#[test]
fn an_edited_scope_breaks_the_signature() {
    let mut link = delegation(1, 2, "/task/read");
    link.exp = Some(NOW.saturating_sub(1));
    let honest = sign_delegation(link);
    assert_eq!(verdict(honest.bytes()), "Expired");
    let edit = |from: &[u8], to: &[u8]| {
        let place = honest.bytes().windows(from.len()).position(|window| window == from).unwrap();
        let mut edited = honest.bytes().to_vec();
        edited[place..place + to.len()].copy_from_slice(to);
        edited
    };
    assert_eq!(verdict(&edit(b"/task/read", b"/task/rule")), "InvalidSignature");
    let expiry = |at: u64| (at as u32).to_be_bytes();
    let later = edit(&expiry(NOW.as_secs() - 1), &expiry(NOW.as_secs() + 1_000));
    assert_eq!(verdict(&later), "InvalidSignature");
    assert_eq!(verdict(&edit(id(2).to_string().as_bytes(), id(3).to_string().as_bytes())), "InvalidSignature");
}

#[test]
fn garbage_signatures_are_bad_signatures_and_garbage_is_a_bad_encoding() {
    let honest = sign_delegation(delegation(1, 2, "/task"));
    let with = |signature: &[u8]| {
        let mut bytes = vec![0x82];
        bytes.extend(cbor::encode(serde_bytes::Bytes::new(signature)));
        bytes.extend(&honest.bytes()[67..]);
        bytes
    };
    for signature in [&[][..], &[1, 2, 3], &[0; 63], &[0; 64], &[0xff; 64], &[7; 65], &[7; 200]] {
        assert_eq!(verdict(&with(signature)), "InvalidSignature", "{} bytes", signature.len());
    }
    for garbage in [&b""[..], b"\x82", b"junk", &[0xff; 300], &[0x82, 0x41, 0, 0xa0], &[0x82, 0xf6, 0xa0]] {
        assert_eq!(verdict(garbage), "InvalidEncoding", "{garbage:?}");
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let honest = sign_delegation(delegation(1, 2, "/task"));
    for index in 0..honest.bytes().len() {
        let mut bytes = honest.bytes().to_vec();
        bytes[index] ^= 1 << (index % 8);
        assert!(matches!(verdict(&bytes), "InvalidSignature" | "InvalidEncoding"), "byte {index}");
    }
}

#[test]
fn arguments_are_a_map_and_proofs_are_links() {
    let spoilt = |field: &str, value: Ipld| {
        let mut map = fields(&invocation(1, 1, "/task"));
        map.insert(field.into(), value);
        let bytes = forge(INVOCATION, Ipld::Map(map), &key(1));
        name(&chain::verify_bytes(&bytes, &[] as &[&[u8]], At::exact(NOW), &NoRevocations))
    };
    assert_eq!(spoilt("args", Ipld::Map([("a".into(), Ipld::Null)].into())), "valid");
    assert_eq!(spoilt("args", Ipld::List(vec![])), "InvalidEncoding");
    assert_eq!(spoilt("prf", Ipld::List(vec![Ipld::Bytes(vec![1])])), "InvalidEncoding");
    assert_eq!(spoilt("sub", Ipld::Null), "InvalidEncoding");
    assert_eq!(spoilt("aud", Ipld::Null), "InvalidEncoding");
    assert_eq!(spoilt("iat", Ipld::Integer(5)), "valid");
    assert_eq!(spoilt("cause", Ipld::Link(cbor::cid_of(b"receipt"))), "valid");
    assert_eq!(spoilt("cause", Ipld::Null), "InvalidEncoding");
}

#[test]
fn what_dag_cbor_cannot_hold_is_not_signed() {
    for value in [Ipld::Float(f64::NAN), Ipld::Float(f64::INFINITY), Ipld::Float(-0.0), Ipld::Integer(1 << 64)] {
        let mut asked = invocation(1, 1, "/task");
        asked.args = std::collections::BTreeMap::from([("a".into(), value.clone())]).into();
        assert!(Signed::<Invocation>::sign(asked, &key(1)).is_err(), "{value:?}");
        let mut link = delegation(1, 2, "/task");
        link.meta = Some([("a".into(), Ipld::List(vec![value]))].into());
        assert!(Signed::<Delegation>::sign(link, &key(1)).is_err());
    }
}
