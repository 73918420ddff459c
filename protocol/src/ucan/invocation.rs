//! The invocation: an issuer asks for a command to be carried out, and names the delegations that let it
//! (ucan-wg/invocation, "Invocation Payload").

use std::collections::BTreeMap;

use cid::Cid;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;

use super::{command::Command, field};
use crate::{
    envelope::{Statement, Versions},
    fault::{AtFault, Fault},
    identity::AgentId,
    time::Timestamp,
    word::Word,
};

/// A signed request to act on a subject's authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocation {
    /// Who asks.
    pub iss: AgentId,
    /// On whose authority.
    pub sub: AgentId,
    /// Who is asked, if it isn't the subject.
    #[serde(default, deserialize_with = "field::optional", skip_serializing_if = "Option::is_none")]
    pub aud: Option<AgentId>,
    /// What is asked for.
    pub cmd: Command,
    /// What the command is given.
    pub args: Args,
    /// The delegations from the subject to the issuer, root first.
    pub prf: Vec<Cid>,
    /// Anything else that the issuer asserts.
    #[serde(default, deserialize_with = "field::optional", skip_serializing_if = "Option::is_none")]
    pub meta: Option<BTreeMap<String, Ipld>>,
    /// Makes the invocation unique.
    pub nonce: ByteBuf,
    /// The last second at which it holds; `None` is for ever.
    #[serde(deserialize_with = "field::nullable_time")]
    pub exp: Option<Timestamp>,
    /// When the issuer says it was made.
    #[serde(default, deserialize_with = "field::optional_time", skip_serializing_if = "Option::is_none")]
    pub iat: Option<Timestamp>,
    /// The receipt that gave rise to it.
    #[serde(default, deserialize_with = "field::optional", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cid>,
}

impl Statement for Invocation {
    const TAG: &'static str = "ucan/inv@1.0.0";
    const VERSIONS: Versions = field::VERSIONS;

    fn issuer(&self) -> AgentId {
        self.iss
    }

    fn check(&self) -> Result<(), &'static str> {
        if !field::is_safe(self.exp) || !field::is_safe(self.iat) {
            return Err("the times of an invocation have at most 53 bits");
        }
        let mut meta = self.meta.iter().flat_map(BTreeMap::values);
        if !field::is_encodable(self.args.as_ipld()) || !meta.all(field::is_encodable) {
            return Err("the arguments of an invocation must be what DAG-CBOR can hold");
        }
        Ok(())
    }

    fn critical(&self) -> Result<Vec<Word>, &'static str> {
        field::critical(self.meta.as_ref())
    }
}

/// The arguments of an invocation: a map, as policies read it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Args(Ipld);

impl Args {
    /// The arguments that `value`, a struct or a map, stands for.
    ///
    /// # Errors
    /// If `value` isn't a map of values that DAG-CBOR knows.
    pub fn from_value<T: Serialize>(value: &T) -> Result<Self, ArgsError> {
        let ipld = ipld_core::serde::to_ipld(value).map_err(|error| ArgsError::Shape(error.to_string()))?;
        if matches!(ipld, Ipld::Map(_)) { Ok(Self(ipld)) } else { Err(ArgsError::NotMap) }
    }

    /// The arguments as a type of ours.
    ///
    /// # Errors
    /// If a field is missing, unknown to a type that refuses such, or of another kind.
    pub fn to_value<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        ipld_core::serde::from_ipld(self.0.clone()).map_err(|error| ArgsError::Shape(error.to_string()))
    }

    /// These arguments and `more`, which wins where both name one.
    #[must_use]
    pub fn with(self, more: Self) -> Self {
        match (self.0, more.0) {
            (Ipld::Map(mut map), Ipld::Map(more)) => {
                map.extend(more);
                Self(Ipld::Map(map))
            }
            (_, more) => Self(more),
        }
    }

    /// The map, as policies select from it.
    pub fn as_ipld(&self) -> &Ipld {
        &self.0
    }

    /// One argument by name.
    pub fn get(&self, name: &str) -> Option<&Ipld> {
        match &self.0 {
            Ipld::Map(map) => map.get(name),
            _ => None,
        }
    }
}

impl From<BTreeMap<String, Ipld>> for Args {
    fn from(map: BTreeMap<String, Ipld>) -> Self {
        Self(Ipld::Map(map))
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|map| Self(Ipld::Map(map)))
    }
}

/// Why a value can't stand as arguments, or arguments don't read as a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Arguments are a map by name.
    #[error("arguments are a map by name")]
    NotMap,
    /// A field is missing, unknown or of another kind.
    #[error("the arguments don't have the expected form: {0}")]
    Shape(String),
}

impl AtFault for ArgsError {
    fn fault(&self) -> Fault {
        Fault::Peer
    }
}
