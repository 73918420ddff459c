//! Keys, points, scalars and keyset IDs as they travel: raw bytes in CBOR, hex where a person reads.

use std::{fmt, str::FromStr};

use cashu::nuts::{Id, PublicKey, SecretKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_bytes::{ByteArray, ByteBuf, Bytes};

use super::LockError;

/// A secp256k1 public key that money is locked to, compressed. Known to be a point on the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey(PublicKey);

impl LockKey {
    /// From the 33 bytes of the compressed form.
    ///
    /// # Errors
    /// If they are no point on the curve.
    pub fn from_bytes(bytes: &[u8; 33]) -> Result<Self, LockError> {
        PublicKey::from_slice(bytes).map(Self).map_err(|_| LockError::Key)
    }

    /// The 33 bytes of the compressed form.
    pub fn to_bytes(self) -> [u8; 33] {
        self.0.to_bytes()
    }

    /// The x-coordinate. Two keys that share it are one signer (NUT-11, "Public Key Canonicalisation").
    pub fn x_only(self) -> [u8; 32] {
        self.0.x_only_public_key().serialize()
    }

    /// The key in the form that the Cashu crates take.
    pub fn to_cashu(self) -> PublicKey {
        self.0
    }
}

impl From<PublicKey> for LockKey {
    fn from(key: PublicKey) -> Self {
        Self(key)
    }
}

impl FromStr for LockKey {
    type Err = LockError;

    fn from_str(text: &str) -> Result<Self, LockError> {
        PublicKey::from_hex(text).map(Self).map_err(|_| LockError::Key)
    }
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockKey({self})")
    }
}

impl Serialize for LockKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Point(self.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LockKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&Point::deserialize(deserializer)?.0).map_err(de::Error::custom)
    }
}

/// 33 bytes that claim to be a compressed point; parsed where they are used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(pub [u8; 33]);

impl Point {
    pub(super) fn parse(self) -> Option<PublicKey> {
        PublicKey::from_slice(&self.0).ok()
    }
}

/// 32 bytes that claim to be a scalar below the group order; parsed where they are used. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scalar(pub [u8; 32]);

impl Scalar {
    pub(super) fn parse(self) -> Option<SecretKey> {
        SecretKey::from_slice(&self.0).ok()
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar(hidden)")
    }
}

/// A keyset's full ID (NUT-02, "Keyset ID"): 33 bytes, or 8 for the old version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeysetId(Id);

impl KeysetId {
    /// From its 33 or 8 bytes.
    ///
    /// # Errors
    /// If the version is unknown or the length isn't that version's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LockError> {
        Id::from_bytes(bytes).map(Self).map_err(|_| LockError::KeysetId)
    }

    /// Its 33 or 8 bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// The ID in the form that the Cashu crates take.
    pub fn to_cashu(self) -> Id {
        self.0
    }
}

impl From<Id> for KeysetId {
    fn from(id: Id) -> Self {
        Self(id)
    }
}

impl fmt::Display for KeysetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeysetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeysetId({})", self.0)
    }
}

impl Serialize for KeysetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        Bytes::new(&self.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeysetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?).map_err(de::Error::custom)?
        } else {
            ByteBuf::deserialize(deserializer)?.into_vec()
        };
        Self::from_bytes(&bytes).map_err(de::Error::custom)
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point({})", hex::encode(self.0))
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fixed(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_fixed(deserializer).map(Self)
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fixed(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_fixed(deserializer).map(Self)
    }
}

fn serialize_fixed<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.serialize_str(&hex::encode(bytes));
    }
    serializer.serialize_bytes(bytes)
}

fn deserialize_fixed<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    if deserializer.is_human_readable() {
        let mut bytes = [0; N];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut bytes).map_err(de::Error::custom)?;
        return Ok(bytes);
    }
    ByteArray::<N>::deserialize(deserializer).map(ByteArray::into_array)
}
