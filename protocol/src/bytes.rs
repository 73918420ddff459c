//! Fixed-length byte strings: hashes, keys, nonces, salts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Exactly `N` bytes: a CBOR byte string on the wire, hexadecimal in text and JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteArray<const N: usize>(pub [u8; N]);

/// A SHA-256 digest.
pub type Digest = ByteArray<32>;
/// Makes a statement unlike any other of its issuer.
pub type Nonce = ByteArray<16>;
/// A compressed secp256k1 public key, as in Cashu (NUT-00).
pub type LockKey = ByteArray<33>;

impl<const N: usize> ByteArray<N> {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> From<[u8; N]> for ByteArray<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> fmt::Display for ByteArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for ByteArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for ByteArray<N> {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for ByteArray<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de, const N: usize> Deserialize<'de> for ByteArray<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> de::Visitor<'_> for Visitor<N> {
            type Value = ByteArray<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                bytes.try_into().map(ByteArray).map_err(|_| E::invalid_length(bytes.len(), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cbor;

    #[test]
    fn bytes_on_the_wire_and_hex_in_text() {
        let nonce = ByteArray([0xab; 16]);
        assert_eq!(cbor::encode(&nonce)[0], 0x50);
        assert_eq!(cbor::decode::<Nonce>(&cbor::encode(&nonce)).unwrap(), nonce);
        assert_eq!(serde_json::to_string(&nonce).unwrap(), format!("\"{}\"", "ab".repeat(16)));
        assert_eq!(nonce.to_string().parse::<Nonce>().unwrap(), nonce);
        assert!(cbor::decode::<Digest>(&cbor::encode(&nonce)).is_err());
    }
}
