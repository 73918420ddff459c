//! What the room keeps in the store.
//!
//! | table | key | value |
//! |---|---|---|
//! | `grants/revocations` | revoker, delegation | the revocation with its path, and who brought it |
//! | `grants/given` | delegation | a grant that we made |
//! | `grants/held` | delegation | a grant that was made to us |

use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    time::Timestamp,
    ucan::{Revocation, grant::GrantChain},
};
use serde::{Deserialize, Serialize};

use super::known::{Revoked, Whose};
use crate::store::{Key, Table};

pub(super) const REVOCATIONS: Table<StoredRevocation> = Table::new("grants/revocations");
pub(super) const GIVEN: Table<Given> = Table::new("grants/given");
pub(super) const HELD: Table<Held> = Table::new("grants/held");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRevocation {
    pub(super) revocation: Revocation,
    pub(super) source: AgentId,
    pub(super) whose: Whose,
    /// Of one that we made: whether it was gossiped, to one peer at least. Of others: true.
    pub(super) is_out: bool,
}

/// A grant that we made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    pub(super) chain: GrantChain,
    pub(super) made: Timestamp,
    /// Whether the grantee has said that it holds it.
    pub(super) is_handed_over: bool,
}

/// A grant that was made to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub(super) chain: GrantChain,
    pub(super) came: Timestamp,
    /// Whether it only came over the wire: this node's user has neither imported nor used it.
    pub(super) is_handed_over: bool,
}

pub(super) fn revocation_key((revoker, delegation): &Revoked) -> Key {
    Key::of(revoker).and(delegation)
}

pub(super) fn grant_key(delegation: Cid) -> Key {
    Key::of(delegation)
}
