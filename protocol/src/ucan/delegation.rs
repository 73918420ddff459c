//! The delegation: an issuer passes authority on to an audience (ucan-wg/delegation, "Delegation Payload").

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{command::Command, field, policy::Policy};
use crate::{
    envelope::{Statement, Versions},
    identity::AgentId,
    time::Timestamp,
    word::Word,
};

/// What one agent lets another do in the subject's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Who passes authority on.
    pub iss: AgentId,
    /// Who receives it.
    pub aud: AgentId,
    /// Whose authority it is, the principal of the chain. `None` is a powerline: whatever subject the link above names.
    #[serde(deserialize_with = "field::nullable")]
    pub sub: Option<AgentId>,
    /// What may be asked for: this command and all below it.
    pub cmd: Command,
    /// What must hold of the arguments.
    pub pol: Policy,
    /// Makes the delegation unique.
    pub nonce: ByteBuf,
    /// Anything else that the issuer asserts. Grants nothing; `crit` in it lists what must be understood all the same.
    #[serde(default, deserialize_with = "field::optional", skip_serializing_if = "Option::is_none")]
    pub meta: Option<BTreeMap<String, Ipld>>,
    /// The first second at which it holds.
    #[serde(default, deserialize_with = "field::optional_time", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Timestamp>,
    /// The last second at which it holds; `None` is for ever.
    #[serde(deserialize_with = "field::nullable_time")]
    pub exp: Option<Timestamp>,
}

impl Statement for Delegation {
    const TAG: &'static str = "ucan/dlg@1.0.0";
    const VERSIONS: Versions = field::VERSIONS;

    fn issuer(&self) -> AgentId {
        self.iss
    }

    fn check(&self) -> Result<(), &'static str> {
        if !field::is_safe(self.nbf) || !field::is_safe(self.exp) {
            return Err("the times of a delegation have at most 53 bits");
        }
        if !self.meta.iter().flat_map(BTreeMap::values).all(field::is_encodable) {
            return Err("the meta of a delegation must be what DAG-CBOR can hold");
        }
        Ok(())
    }

    fn critical(&self) -> Result<Vec<Word>, &'static str> {
        field::critical(self.meta.as_ref())
    }
}
