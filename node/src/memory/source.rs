//! Where a memory is from: words of the form `kind:which`.

use std::{fmt, str::FromStr};

use cid::Cid;
use guilder_protocol::{identity::AgentId, limits::MAX_MEMORY_SOURCE, memory::Trust};

use super::MemoryError;

/// What a memory was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The node's owner says so.
    Owner,
    /// Another memory.
    Memory(Cid),
    /// What was delivered under a receipt.
    Receipt(Cid),
    /// What a peer said, or delivered.
    Peer(AgentId),
    /// Anything else, in words: a web address, a file.
    World(String),
}

impl Source {
    /// The most trust that it gives; none if that hangs on another memory.
    pub(super) fn trust(&self) -> Option<Trust> {
        match self {
            Self::Owner => Some(Trust::Owner),
            Self::Receipt(_) | Self::Peer(_) => Some(Trust::Peer),
            Self::World(_) => Some(Trust::World),
            Self::Memory(_) => None,
        }
    }
}

/// As a memory names another one.
pub(super) fn of_memory(id: &Cid) -> String {
    format!("memory:{id}")
}

impl FromStr for Source {
    type Err = MemoryError;

    fn from_str(text: &str) -> Result<Self, MemoryError> {
        let unknown = || MemoryError::Source(text.to_owned());
        if text.len() > MAX_MEMORY_SOURCE {
            return Err(unknown());
        }
        let agent = |id: &str| id.parse().or_else(|_| AgentId::from_peer_id(id)).map_err(|_| unknown());
        match text.split_once(':') {
            None if text == "owner" => Ok(Self::Owner),
            Some(("memory", id)) => id.parse().map(Self::Memory).map_err(|_| unknown()),
            Some(("receipt", id)) => id.parse().map(Self::Receipt).map_err(|_| unknown()),
            Some(("peer", id)) => agent(id).map(Self::Peer),
            Some(("world", words)) if !words.trim().is_empty() => Ok(Self::World(words.to_owned())),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Memory(id) => f.write_str(&of_memory(id)),
            Self::Receipt(id) => write!(f, "receipt:{id}"),
            Self::Peer(id) => write!(f, "peer:{}", id.peer_id()),
            Self::World(words) => write!(f, "world:{words}"),
        }
    }
}
