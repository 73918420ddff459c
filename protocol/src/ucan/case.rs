//! A whole chain in a file, and the verdict on it: what `guilder ucan verify` prints.
//!
//! A case comes as in the UCAN fixtures, DAG-JSON `{"invocation": {"/": {"bytes": …}}, "proofs": […], "time": …}`, as
//! DAG-CBOR of the same shape with byte strings, or as one envelope alone, an invocation or a delegation. Other keys are
//! notes for the reader. The verdict is about one stated second, no skew granted: the caller's, else the case's, else now.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::{
    At, ChainError, Delegation, Invocation,
    chain::{self, NoRevocations},
};
use crate::{
    cbor::{printable, words as words_of},
    envelope::{Signed, Unverified},
    limits::MAX_CASE,
    time::Timestamp,
};

/// What is to be said of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The second it is about.
    pub at: Timestamp,
    /// Why it doesn't hold, unless it does.
    pub outcome: Result<(), Invalid>,
    /// Who authorises whom to what, one sentence each, root first; what is claimed, if the case doesn't hold. Empty if
    /// it can't be read.
    pub words: Vec<String>,
}

/// Why a case doesn't hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The name of the error, as in the UCAN fixtures.
    pub name: &'static str,
    /// The rule that is broken, in words.
    pub why: String,
}

impl Verdict {
    /// Whether the case holds.
    pub fn is_valid(&self) -> bool {
        self.outcome.is_ok()
    }
}

/// `valid`, or `invalid: NAME: why`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(()) => f.write_str("valid"),
            Err(Invalid { name, why }) => write!(f, "invalid: {name}: {why}"),
        }
    }
}

impl From<ChainError> for Invalid {
    fn from(error: ChainError) -> Self {
        Self { name: error.name(), why: error.to_string() }
    }
}

/// Checks a case at `at`; at its own time if that is `None`, and at `now` if it has none.
pub fn verify(bytes: &[u8], at: Option<Timestamp>, now: Timestamp) -> Verdict {
    match parse(bytes) {
        Err(why) => {
            let invalid = Invalid { name: "InvalidEncoding", why };
            Verdict { at: at.unwrap_or(now), outcome: Err(invalid), words: Vec::new() }
        }
        Ok(case) => {
            let at = at.or(case.time.map(Timestamp::from_secs)).unwrap_or(now);
            let words = words(&case.invocation, &case.proofs);
            match chain::verify_bytes(&case.invocation, &case.proofs, At::exact(at), &NoRevocations) {
                Err(ChainError::Invocation(_)) if case.proofs.is_empty() && is_delegation(&case.invocation) => {
                    verify_delegation(&case.invocation, at)
                }
                outcome => Verdict { at, outcome: outcome.map(drop).map_err(Invalid::from), words },
            }
        }
    }
}

/// A case as its bytes have it.
#[derive(Deserialize)]
struct Case {
    invocation: Token,
    proofs: Vec<Token>,
    #[serde(default)]
    time: Option<u64>,
}

/// A case in its raw parts.
struct Parts {
    invocation: Vec<u8>,
    proofs: Vec<Vec<u8>>,
    time: Option<u64>,
}

fn parse(bytes: &[u8]) -> Result<Parts, String> {
    /// CBOR head of an array of two, which an envelope is.
    const ENVELOPE: u8 = 0x82;
    if bytes.len() > MAX_CASE {
        return Err(format!("a case has at most {MAX_CASE} bytes"));
    }
    let case: Case = match bytes.trim_ascii_start() {
        [b'{', ..] => {
            serde_json::from_slice(bytes).map_err(|error| printable(&format!("not a case in JSON: {error}")))?
        }
        [ENVELOPE, ..] => return Ok(Parts { invocation: bytes.to_vec(), proofs: Vec::new(), time: None }),
        _ => serde_ipld_dagcbor::from_slice(bytes).map_err(|error| {
            format!("neither JSON nor canonical DAG-CBOR of a case or an envelope: {}", words_of(&error))
        })?,
    };
    let proofs = case.proofs.into_iter().map(|proof| proof.0).collect();
    Ok(Parts { invocation: case.invocation.0, proofs, time: case.time })
}

/// The bytes of an envelope: a byte string, in JSON as DAG-JSON writes one (ipld.io/specs/codecs/dag-json, "Bytes").
struct Token(Vec<u8>);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Token;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"bytes, in JSON {"/": {"bytes": base64}}"#)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Token, E> {
                Ok(Token(bytes.to_vec()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Token, A::Error> {
                let slash = Slash::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let text = slash.inner.bytes.trim_end_matches('=');
                let bytes = data_encoding::BASE64_NOPAD.decode(text.as_bytes()).map_err(de::Error::custom)?;
                Ok(Token(bytes))
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slash {
    #[serde(rename = "/")]
    inner: SlashBytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlashBytes {
    bytes: String,
}

/// What the tokens of a case claim, whether or not it holds.
fn words(invocation: &[u8], proofs: &[Vec<u8>]) -> Vec<String> {
    let Ok(invocation) = Unverified::<Invocation>::read(invocation) else { return Vec::new() };
    let given: Vec<_> = proofs.iter().filter_map(|proof| Unverified::<Delegation>::read(proof).ok()).collect();
    let named = invocation.payload().prf.iter();
    let links = named.filter_map(|named| given.iter().find(|proof| proof.cid() == *named)).map(Unverified::payload);
    chain::words(invocation.payload(), links).collect()
}

fn is_delegation(bytes: &[u8]) -> bool {
    Unverified::<Delegation>::read(bytes).is_ok()
}

/// A delegation by itself: its encoding, signature and times.
fn verify_delegation(bytes: &[u8], at: Timestamp) -> Verdict {
    let words = |delegation: &Delegation| vec![chain::delegation_in_words(delegation, None)];
    match Signed::<Delegation>::decode(bytes) {
        Err(error) => {
            let words = Unverified::<Delegation>::read(bytes).map(|read| words(read.payload())).unwrap_or_default();
            Verdict { at, outcome: Err(ChainError::Delegation(error).into()), words }
        }
        Ok(delegation) => {
            let outcome = chain::check_link(0, &delegation, At::exact(at)).map_err(Invalid::from);
            Verdict { at, outcome, words: words(&delegation) }
        }
    }
}
