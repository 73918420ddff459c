//! The fixtures of ucan-wg/spec, all of them.

use guilder_protocol::{
    cbor,
    envelope::Signed,
    identity::AgentKey,
    ucan::{Delegation, Policy, case},
};
use serde_json::Value;

use crate::tools::{NOW, from_json, ipld};

const DELEGATIONS: &str = include_str!("../vectors/ucan/delegation.json");
const INVOCATIONS: &str = include_str!("../vectors/ucan/invocation.json");
const POLICIES: &str = include_str!("../vectors/ucan/policy.json");

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn base64(text: &Value) -> Vec<u8> {
    data_encoding::BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn the_delegation_reads_and_writes_as_in_the_fixture() {
    let fixture = parse(DELEGATIONS);
    let case = &fixture["valid"][0];
    let bytes = base64(&case["token"]);
    let read = Signed::<Delegation>::decode(&bytes).unwrap();
    assert_eq!(read.cid().to_string(), case["cid"].as_str().unwrap());
    let expected = &case["envelope"]["payload"];
    assert_eq!(read.iss.to_string(), expected["iss"]);
    assert_eq!(read.aud.to_string(), expected["aud"]);
    assert_eq!(read.sub.unwrap().to_string(), expected["sub"]);
    assert_eq!(read.cmd.as_str(), expected["cmd"]);
    assert_eq!(read.pol, Policy::default());
    assert_eq!(read.exp.unwrap().as_secs(), expected["exp"]);
    assert_eq!(read.nonce.as_slice(), base64(&expected["nonce"]));

    // bob's key: the varint of the multicodec ed25519-priv and 32 bytes
    let seed = base64(&fixture["principals"]["bob"]);
    let bob = AgentKey::from_seed(seed[2..].try_into().unwrap());
    let written = Signed::sign(read.payload().clone(), &bob).unwrap();
    assert_eq!(written.bytes(), bytes);
    assert_eq!(cbor::cid_of(&bytes), written.cid());
}

#[test]
fn every_invocation_of_the_fixtures_gets_its_verdict() {
    let fixtures = parse(INVOCATIONS);
    let mut seen = 0;
    for (list, expected_valid) in [("valid", true), ("invalid", false)] {
        for case in fixtures[list].as_array().unwrap() {
            let verdict = case::verify(case.to_string().as_bytes(), None, NOW);
            let name = verdict.outcome.as_ref().map_or_else(|invalid| invalid.name, |()| "valid");
            let expected = if expected_valid { "valid" } else { case["error"]["name"].as_str().unwrap() };
            assert_eq!(name, expected, "{}: {verdict}", case["name"]);
            assert!(!verdict.words.is_empty(), "{}", case["name"]);
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
}

#[test]
fn every_policy_of_the_fixtures_gets_its_verdict() {
    let mended = POLICIES.replacen("\"newsletters\": {\n\t\t\t\t\t{", "\"newsletters\": {", 1).replacen(
        "\t\t\t\t\t\t}\n\t\t\t\t\t}\n\t\t\t\t}\n",
        "\t\t\t\t\t\t}\n\t\t\t\t\t}\n",
        1,
    );
    let fixtures = parse(&mended);
    for (list, expected) in [("valid", true), ("invalid", false)] {
        for case in fixtures[list].as_array().unwrap() {
            let args = ipld(&case["args"]);
            for policy in case["policies"].as_array().unwrap() {
                let parsed: Policy = from_json(policy);
                assert_eq!(parsed.allows(&args), expected, "{policy} of {}", case["args"]);
                let again: Policy = cbor::decode(&cbor::encode(&parsed)).unwrap();
                assert_eq!(again, parsed);
            }
        }
    }
}
