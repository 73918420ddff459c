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

/// The key that base58btc `digits` hold behind `prefix`; `None` unless they are exactly that.
///
/// Every statement names two or three agents, so this is on the path of every check: ten digits at a time into a number
/// of fixed size, instead of one digit at a time into bytes.
fn decode_base58(digits: &str, prefix: &[u8]) -> Option<AgentId> {
    if digits.len() > MAX_TEXT {
        return None;
    }
    let mut limbs = [0_u64; LIMBS]; // the least first
    for chunk in digits.as_bytes().chunks(DIGITS_PER_STEP) {
        let (mut scale, mut carry) = (1_u64, 0_u64);
        for digit in chunk {
            let value = BASE58_VALUES[usize::from(*digit)];
            if value == NO_DIGIT {
                return None;
            }
            carry = carry * 58 + u64::from(value);
            scale *= 58;
        }
        for limb in &mut limbs {
            let wide = u128::from(*limb) * u128::from(scale) + u128::from(carry);
            (*limb, carry) = (wide as u64, (wide >> 64) as u64);
        }
        if carry != 0 {
            return None;
        }
    }
    let mut bytes = [0; LIMBS * 8];
    for (place, limb) in bytes.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        place.copy_from_slice(&limb.to_be_bytes());
    }
    let (padding, decoded) = bytes.split_at_checked(bytes.len().checked_sub(prefix.len() + 32)?)?;
    // each zero byte in front is a `1` in front, and nothing else is
    let ones = digits.bytes().take_while(|digit| *digit == b'1').count();
    let zeros = decoded.iter().take_while(|byte| **byte == 0).count();
    if ones != zeros || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(AgentId(decoded.strip_prefix(prefix)?.try_into().ok()?))
}

/// 40 bytes: the longer of the two prefixes and a key, and a bit more.
const LIMBS: usize = 5;
/// 58^10 is the highest power that a limb holds.
const DIGITS_PER_STEP: usize = 10;
const NO_DIGIT: u8 = 0xff;
/// What each byte is worth as a base58btc digit.
const BASE58_VALUES: [u8; 256] = {
    let alphabet = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values
};

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

    /// The same through the general decoder of `bs58`.
    fn decode_slowly(digits: &str, prefix: &[u8]) -> Option<AgentId> {
        let bytes = bs58::decode(digits).into_vec().ok()?;
        bytes.strip_prefix(prefix)?.try_into().ok().map(AgentId)
    }

    proptest::proptest! {
        #[test]
        fn base58_reads_as_a_general_decoder_does(
            key: [u8; 32],
            head in proptest::collection::vec(0_u8..3, 0..8),
            text in "[1-9A-HJ-NP-Za-km-z]{0,64}",
            odd: String,
        ) {
            for prefix in [&PEER_ID_PREFIX[..], &DID_KEY_PREFIX, &[], &[0, 0], &head] {
                for bytes in [[prefix, &key].concat(), [&head[..], &key].concat(), [prefix, &[0], &key].concat()] {
                    let digits = bs58::encode(bytes).into_string();
                    proptest::prop_assert_eq!(decode_base58(&digits, prefix), decode_slowly(&digits, prefix));
                }
                for digits in [&text, &odd, &format!("1{text}"), &format!("11{text}")] {
                    if digits.len() <= MAX_TEXT {
                        proptest::prop_assert_eq!(decode_base58(digits, prefix), decode_slowly(digits, prefix));
                    }
                }
            }
        }
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
