//! Witnesses of hash locks (NUT-14) in the one form that cdk reads.
//!
//! After the locktime a refund needs signatures and no preimage, and wallets (cashu-ts, Nutshell) leave it out of the witness or
//! write null. cdk takes a witness without one for a P2PK witness, and refuses the proof whatever its signatures are.

use axum::body::Bytes;
use serde_json::{Value, map::Entry};

/// How a NUT-10 secret of a hash lock begins: JSON, whose white space is free.
const KIND: &str = "HTLC";

/// The request with an empty preimage in every witness of a hash lock that has none; as it came if there is no such witness.
/// An empty preimage opens nothing.
pub(super) fn with_preimages(body: Bytes) -> Bytes {
    // Hardly any request has a hash lock in it.
    if !body.windows(KIND.len()).any(|text| text == KIND.as_bytes()) {
        return body;
    }
    let Ok(mut request) = serde_json::from_slice::<Value>(&body) else { return body };
    let inputs = request.get_mut("inputs").and_then(Value::as_array_mut);
    let completed = inputs.into_iter().flatten().filter_map(complete).count();
    if completed == 0 { body } else { request.to_string().into() }
}

/// Completes the witness of a proof; none if there is nothing to complete.
fn complete(proof: &mut Value) -> Option<()> {
    let secret: Value = serde_json::from_str(proof.get("secret")?.as_str()?).ok()?;
    if secret.get(0)? != KIND {
        return None;
    }
    let witness = proof.get_mut("witness")?;
    let mut fields: serde_json::Map<_, _> = serde_json::from_str(witness.as_str()?).ok()?;
    match fields.entry("preimage") {
        Entry::Occupied(entry) if entry.get().is_null() => *entry.into_mut() = "".into(),
        Entry::Occupied(_) => return None,
        Entry::Vacant(entry) => _ = entry.insert("".into()),
    }
    *witness = Value::Object(fields).to_string().into();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(secret: &str, witness: &str) -> Bytes {
        serde_json::json!({ "inputs": [{ "amount": 1, "secret": secret, "witness": witness }] }).to_string().into()
    }

    fn witness_of(request: &Bytes) -> Value {
        let request: Value = serde_json::from_slice(request).unwrap();
        serde_json::from_str(request["inputs"][0]["witness"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_witness_of_a_hash_lock_without_a_preimage_gets_an_empty_one() {
        for witness in [r#"{"signatures":["ab"]}"#, r#"{"preimage":null,"signatures":["ab"]}"#] {
            let completed = with_preimages(request(r#"[ "HTLC", {"nonce":"1"}]"#, witness));
            assert_eq!(witness_of(&completed), serde_json::json!({ "preimage": "", "signatures": ["ab"] }));
        }
    }

    #[test]
    fn every_other_request_stays_byte_for_byte_as_it_came() {
        let lock = r#"["HTLC",{"nonce":"1"}]"#;
        for body in [
            request(lock, r#"{"preimage":"00","signatures":[]}"#),
            request(lock, "HTLC, not JSON"),
            request(r#"["P2PK",{"data":"HTLC"}]"#, r#"{"signatures":["ab"]}"#),
            request("HTLC", r#"{"signatures":["ab"]}"#),
            Bytes::from_static(b"HTLC, not JSON"),
            Bytes::from_static(br#"{"inputs":"HTLC"}"#),
        ] {
            assert_eq!(with_preimages(body.clone()), body);
        }
    }
}
