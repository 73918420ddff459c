//! Who an agent is: an Ed25519 key, written as a libp2p peer ID or as a DID.
//!
//! Both texts carry the same 32 bytes, so one turns into the other with nothing looked up anywhere:
//!
//! - peer ID: base58btc of an identity multihash over the protobuf public key
//!   (libp2p/specs `peer-ids/peer-ids.md`, "Keys" and "Peer Ids");
//! - DID: `did:key:z` + base58btc of the multicodec `ed25519-pub` (0xed 0x01) and the key (W3C CCG did:key, "Ed25519").

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::fault::{AtFault, Fault};

/// Identity multihash (0x00) of 36 bytes: protobuf `KeyType = Ed25519 (1)`, `Data` of 32 bytes.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
/// Multicodec `ed25519-pub` as an unsigned varint.
const DID_KEY_PREFIX: [u8; 2] = [0xed, 0x01];
const DID_KEY_SCHEME: &str = "did:key:z";
/// `did:key:z` and 47 or 48 base58 digits; longer text is refused before it is decoded.
const MAX_TEXT: usize = 64;

/// An agent's public identity: its Ed25519 public key.
///
/// Written and serialized as `did:key:z6Mk…`. That the bytes are a point on the curve is checked when a signature is:
/// a key that is none verifies nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId([u8; 32]);

impl AgentId {
    /// From the 32 bytes of an Ed25519 public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the Ed25519 public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The libp2p peer ID, `12D3Koo…`.
    pub fn peer_id(&self) -> String {
        bs58::encode([&PEER_ID_PREFIX[..], &self.0].concat()).into_string()
    }

    /// From a libp2p peer ID, `12D3Koo…`.
    ///
    /// # Errors
    /// If the text isn't base58btc of an Ed25519 peer ID.
    pub fn from_peer_id(text: &str) -> Result<Self, IdentityError> {
        decode_base58(text, &PEER_ID_PREFIX).ok_or(IdentityError::PeerId)
    }

    /// Checks an Ed25519 signature over `message`, strictly (RFC 8032 with small-order keys refused).
    ///
    /// # Errors
    /// If the key is no curve point or the signature isn't this key's over exactly these bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), IdentityError> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
            .map_err(|_| IdentityError::Signature)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DID_KEY_SCHEME)?;
        f.write_str(&bs58::encode([&DID_KEY_PREFIX[..], &self.0].concat()).into_string())
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AgentId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        text.strip_prefix(DID_KEY_SCHEME)
            .and_then(|digits| decode_base58(digits, &DID_KEY_PREFIX))
            .ok_or(IdentityError::Did)
    }
}

fn decode_base58(digits: &str, prefix: &[u8]) -> Option<AgentId> {
    if digits.len() > MAX_TEXT {
        return None;
    }
    let mut buffer = [0; MAX_TEXT];
    let length = bs58::decode(digits).onto(&mut buffer[..]).ok()?;
    let key = buffer[..length].strip_prefix(prefix)?;
    Some(AgentId(key.try_into().ok()?))
}

impl Serialize for AgentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = AgentId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a did:key of an Ed25519 key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AgentId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// An agent's secret key. Wiped from memory when dropped; never printed.
pub struct AgentKey(SigningKey);

impl AgentKey {
    /// From the 32-byte Ed25519 seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte Ed25519 seed, for the transport that needs the same key.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public identity of this key.
    pub fn id(&self) -> AgentId {
        AgentId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` (Ed25519, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl Clone for AgentKey {
    fn clone(&self) -> Self {
        Self(SigningKey::from_bytes(self.0.as_bytes()))
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({}, secret hidden)", self.id())
    }
}

/// Why a text is no identity, or a signature doesn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not the peer ID of an Ed25519 key.
    #[error("not the peer ID of an Ed25519 key (12D3Koo…)")]
    PeerId,
    /// Not a `did:key` of an Ed25519 key.
    #[error("not a did:key of an Ed25519 key (did:key:z6Mk…)")]
    Did,
    /// The signature doesn't hold.
    #[error("the signature is not this key's over these bytes")]
    Signature,
}

impl AtFault for IdentityError {
    fn fault(&self) -> Fault {
        Fault::Peer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    const DID: &str = "did:key:z6MkgXZvRh65tcAdLJTKdEvyqEv7ZBhn9C5BM68jw4cESKtH";

    #[test]
    fn a_peer_id_and_a_did_are_the_same_key() {
        let agent = AgentId::from_peer_id(PEER).unwrap();
        assert_eq!(agent.to_string(), DID);
        assert_eq!(DID.parse::<AgentId>().unwrap().peer_id(), PEER);
    }

    #[test]
    fn other_keys_and_other_texts_are_refused() {
        let long = format!("did:key:z{}", "1".repeat(500));
        for text in ["", "did:key:", "did:web:example.com", PEER, &DID[..DID.len() - 1], &long, "did:key:zQ3shokFTS3br"]
        {
            assert_eq!(text.parse::<AgentId>(), Err(IdentityError::Did), "{text}");
        }
        assert_eq!(AgentId::from_peer_id("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"), Err(IdentityError::PeerId));
    }

    #[test]
    fn a_signature_holds_for_its_bytes_and_its_key_only() {
        let key = AgentKey::from_seed(&[7; 32]);
        let signature = key.sign(b"hello");
        assert_eq!(key.id().verify(b"hello", &signature), Ok(()));
        assert_eq!(key.id().verify(b"hellp", &signature), Err(IdentityError::Signature));
        assert_eq!(AgentKey::from_seed(&[8; 32]).id().verify(b"hello", &signature), Err(IdentityError::Signature));
    }

    #[test]
    fn a_small_order_key_signs_nothing() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(AgentId::from_bytes(neutral).verify(b"any", &[0; 64]), Err(IdentityError::Signature));
    }

    #[test]
    fn the_secret_never_prints() {
        let key = AgentKey::from_seed(&[0xab; 32]);
        let shown = format!("{key:?}").to_lowercase();
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    }
}
