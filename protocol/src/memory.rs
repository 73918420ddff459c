//! A *memory*: what a node holds to be true, signed by it, with where it is from.
//!
//! Its ID is the content ID of the signed statement. The nonce is made of the body and Ed25519 signs the same alike, so whoever has the
//! key and all that is said can make the statement again, byte for byte: a node keeps what is said, and no signature. Nobody else can make
//! a statement of that ID, so a copy that comes back unchanged is known to be one.

use std::fmt;

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    bytes::{ByteArray, Nonce},
    cbor,
    claim::{Body, Claim},
    envelope::{EnvelopeError, Signed},
    identity::AgentKey,
    limits::{MAX_MEMORY_NAME, MAX_MEMORY_SOURCE, MAX_MEMORY_SOURCES, MAX_MEMORY_TEXT, MAX_MEMORY_TIME},
    time::Timestamp,
};

/// See the module. Its `iat` is when it was remembered.
pub type Memory = Claim<MemoryBody>;

/// Whose word a memory rests on, the least first. What is derived has the least of its sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Anybody: the web, a program's output, a file that somebody edited.
    #[default]
    World = 1,
    /// A peer that was traded with, or a caller.
    Peer = 2,
    /// The node itself: what it did and saw.
    Node = 3,
    /// The node's owner.
    Owner = 4,
    /// What a later version says: as little as there is.
    #[serde(other)]
    Unknown = 0,
}

impl Trust {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::World => "world",
            Self::Peer => "peer",
            Self::Node => "node",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// See [`Memory`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBody {
    /// What is held to be true, at most [`MAX_MEMORY_TEXT`] bytes.
    pub text: String,
    /// Where it belongs: `repo.guilder`, `suppliers`.
    pub domain: String,
    /// Which caller of the node said it.
    pub by: String,
    /// Since when it is true, at most [`MAX_MEMORY_TIME`].
    pub time: Timestamp,
    /// Whose word it rests on.
    pub trust: Trust,
    /// Of whom or what it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The conversation or run that it was said in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What it was made of: `owner`, `memory:CID`, `receipt:CID`, `peer:ID`, `world:WORDS`; a later version may say more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The memories that hold no longer since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<Cid>,
}

impl MemoryBody {
    /// The signed statement that this was remembered at `now`: always the same bytes.
    ///
    /// # Errors
    /// If the body breaks its own rules.
    pub fn signed(self, now: Timestamp, key: &AgentKey) -> Result<Signed<Memory>, EnvelopeError> {
        let digest = cbor::sha256(&cbor::encode(&self));
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&digest[..16]);
        let nonce: Nonce = ByteArray(nonce);
        Signed::claim(self, now, None, nonce, key)
    }
}

/// Whether a text can name a domain: small letters, digits, dots, dashes and underscores, and no dot or dash first.
pub fn is_domain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=MAX_MEMORY_NAME).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-'])
}

impl Body for MemoryBody {
    const MAX_LIFETIME: Option<u64> = None;
    const TAG: &'static str = "guilder/memory@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        let is_name = |name: &String| (1..=MAX_MEMORY_NAME).contains(&name.len());
        if self.text.trim().is_empty() || self.text.len() > MAX_MEMORY_TEXT {
            return Err("a memory has a text of 1 to 4,096 bytes");
        }
        if !is_domain(&self.domain) {
            return Err("a memory's domain is a name of small letters, digits, dots, dashes and underscores");
        }
        if !is_name(&self.by) || ![&self.subject, &self.session].into_iter().flatten().all(is_name) {
            return Err("who says a memory, its subject and its session have 1 to 128 bytes each");
        }
        if self.time.as_secs() > MAX_MEMORY_TIME {
            return Err("a memory is true since a time before the year 10000");
        }
        if self.sources.len() > MAX_MEMORY_SOURCES || self.supersedes.len() > MAX_MEMORY_SOURCES {
            return Err("a memory has at most 16 sources and supersedes at most 16 others");
        }
        if self.sources.iter().any(|source| source.is_empty() || source.len() > MAX_MEMORY_SOURCE) {
            return Err("a memory's source has 1 to 256 bytes");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn body() -> MemoryBody {
        MemoryBody {
            text: "the mint is slow on Mondays".into(),
            domain: "suppliers".into(),
            by: "owner".into(),
            time: Timestamp::from_secs(1_700_000_000),
            trust: Trust::Owner,
            subject: None,
            session: None,
            sources: Vec::new(),
            supersedes: Vec::new(),
        }
    }

    #[test]
    fn the_same_memory_is_the_same_statement_and_another_key_cannot_make_it() {
        let (ours, theirs) = (AgentKey::from_seed(&[1; 32]), AgentKey::from_seed(&[2; 32]));
        let now = Timestamp::from_secs(1_700_000_001);
        let signed = body().signed(now, &ours).unwrap();
        assert_eq!(signed.bytes(), body().signed(now, &ours).unwrap().bytes());
        assert_ne!(signed.cid(), body().signed(now, &theirs).unwrap().cid());
        let edited = MemoryBody { text: "the mint is fast".into(), ..body() };
        assert_ne!(signed.cid(), edited.signed(now, &ours).unwrap().cid());
        assert_eq!(Signed::<Memory>::decode(signed.bytes()).unwrap().payload(), signed.payload());
    }

    #[test]
    fn a_memory_keeps_its_bounds() {
        let refused = |body: MemoryBody| assert!(body.check().is_err(), "{body:?}");
        refused(MemoryBody { text: " \n".into(), ..body() });
        refused(MemoryBody { text: "a".repeat(MAX_MEMORY_TEXT + 1), ..body() });
        for name in ["", ".a", "-a", "A", "a b", "a/b", "../x"] {
            refused(MemoryBody { domain: name.into(), ..body() });
        }
        refused(MemoryBody { subject: Some(String::new()), ..body() });
        refused(MemoryBody { session: Some("s".repeat(MAX_MEMORY_NAME + 1)), ..body() });
        refused(MemoryBody { sources: vec!["owner".into(); MAX_MEMORY_SOURCES + 1], ..body() });
        refused(MemoryBody { sources: vec!["x".repeat(MAX_MEMORY_SOURCE + 1)], ..body() });
        refused(MemoryBody { time: Timestamp::from_secs(MAX_MEMORY_TIME + 1), ..body() });
        let last = Timestamp::from_secs(MAX_MEMORY_TIME);
        assert_eq!(last.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(MemoryBody { time: last, ..body() }.check(), Ok(()));
        assert_eq!(body().check(), Ok(()));
    }

    #[test]
    fn trust_that_is_not_known_is_the_least() {
        let later: Trust = serde_json::from_str("\"notary\"").unwrap();
        assert!(
            later < Trust::World
                && Trust::World < Trust::Peer
                && Trust::Peer < Trust::Node
                && Trust::Node < Trust::Owner
        );
    }
}
