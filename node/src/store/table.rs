//! Typed tables: what a value looks like in the file.

use std::{fmt, marker::PhantomData};

use guilder_protocol::envelope::kept;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::StoreError;

/// A table of `V`s, stored as DAG-CBOR under byte keys. Make it a constant of the room that owns it:
/// `const RECORDS: Table<Record> = Table::new("trade/records");`
///
/// What is stored is read again by later versions: a changed `V` needs `#[serde(default)]` or a migration.
pub struct Table<V> {
    name: &'static str,
    values: PhantomData<fn() -> V>,
}

impl<V> Table<V> {
    /// The table with this name: `room/what`. One name, one type.
    pub const fn new(name: &'static str) -> Self {
        Self { name, values: PhantomData }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<V: Serialize> Table<V> {
    pub(crate) fn encode(&self, value: &V) -> Result<Vec<u8>, StoreError> {
        serde_ipld_dagcbor::to_vec(value).map_err(|_| StoreError::Encode { table: self.name })
    }
}

impl<V: DeserializeOwned> Table<V> {
    /// The decoder's message is left out of the error: it can quote the record, and the record can be a secret.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<V, StoreError> {
        let read = || serde_ipld_dagcbor::from_slice(bytes);
        kept(read).map_err(|_| StoreError::Decode { table: self.name })
    }
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Table<V> {}

impl<V> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.name)
    }
}

/// A value kept as its JSON text: for types of other crates whose serde form is made for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_vec(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_bytes(&text)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = serde_bytes::ByteBuf::deserialize(deserializer)?;
        serde_json::from_slice(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
