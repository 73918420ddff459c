//! How single fields of a UCAN payload are read where serde's defaults are too lenient.

use std::{collections::BTreeMap, fmt};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, de};

use crate::{
    envelope::Versions,
    time::Timestamp,
    word::{Critical, Word},
};

/// UCAN's own version, and the one that iso-ucan 0.5 writes for the same form. A later one could take authority away by what it
/// adds, so none is guessed at.
pub(super) const VERSIONS: Versions = Versions::Exactly(&["1.0.0", "1.0.0-rc.1"]);

/// The critical names that a payload's `meta` lists under `crit`.
pub(super) fn critical(meta: Option<&BTreeMap<String, Ipld>>) -> Result<Vec<Word>, &'static str> {
    critical_in(meta.and_then(|meta| meta.get("crit")))
}

/// The critical names that a value lists; none if there is no value.
pub(crate) fn critical_in(listed: Option<&Ipld>) -> Result<Vec<Word>, &'static str> {
    let Some(listed) = listed else { return Ok(Vec::new()) };
    let crit: Critical =
        ipld_core::serde::from_ipld(listed.clone()).map_err(|_| "crit is a list of names, each once")?;
    Ok(crit.names().to_vec())
}

/// 2^53 − 1: the largest whole number that every implementation can hold (ucan-wg/delegation, "Delegation Payload").
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A field that may be missing, but not null.
pub(super) fn optional<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A field that may be null, but not missing.
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A time that may be missing, but not null.
pub(super) fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    safe_time(deserializer).map(Some)
}

/// A time that may be null, but not missing.
pub(super) fn nullable_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    struct Nullable;
    impl<'de> de::Visitor<'de> for Nullable {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("seconds since the Unix epoch, or null")
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            safe_time(deserializer).map(Some)
        }
    }
    deserializer.deserialize_option(Nullable)
}

/// Whether a time fits what every implementation can hold.
pub(super) fn is_safe(time: Option<Timestamp>) -> bool {
    time.is_none_or(|time| time.as_secs() <= MAX_SAFE_INTEGER)
}

/// How deep a value may nest that we sign; well within what the decoder takes.
const MAX_VALUE_DEPTH: usize = 64;

/// Whether DAG-CBOR can hold a value that was built here: finite floats, integers of 64 bits, shallow enough to be read.
pub(super) fn is_encodable(value: &Ipld) -> bool {
    fn walk(value: &Ipld, depth: usize) -> bool {
        match value {
            Ipld::Float(float) => float.is_finite() && !(*float == 0.0 && float.is_sign_negative()),
            Ipld::Integer(int) => (-(1_i128 << 64)..1_i128 << 64).contains(int),
            Ipld::List(items) => depth > 0 && items.iter().all(|item| walk(item, depth - 1)),
            Ipld::Map(map) => depth > 0 && map.values().all(|item| walk(item, depth - 1)),
            _ => true,
        }
    }
    walk(value, MAX_VALUE_DEPTH)
}

fn safe_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let secs = u64::deserialize(deserializer)?;
    if secs > MAX_SAFE_INTEGER {
        return Err(de::Error::custom("a time has at most 53 bits"));
    }
    Ok(Timestamp::from_secs(secs))
}
