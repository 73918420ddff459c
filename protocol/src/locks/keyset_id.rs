//! A keyset's ID as it travels.

use std::{fmt, str::FromStr};

use cashu::nuts::Id;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_bytes::{ByteBuf, Bytes};

use super::LockError;

/// A keyset's full ID (NUT-02, "Keyset ID"): 33 bytes, or 8 for the old version. Hex in text and JSON.
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

impl FromStr for KeysetId {
    type Err = LockError;

    fn from_str(text: &str) -> Result<Self, LockError> {
        Id::from_str(text).map(Self).map_err(|_| LockError::KeysetId)
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
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        Self::from_bytes(&ByteBuf::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
