//! Data with its source: who answers for it, and what it may therefore fill.

use guilder_protocol::memory;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whose word a piece of data is: the lowest of all that it was made from.
///
/// Data below [`Trust::Node`] fills a step's input and nothing else. Which service, which seller, which price, mint and address it is
/// comes from the duty's file alone, which only its owner writes: no other field of a file takes a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Anybody's: the payload of a webhook.
    World,
    /// A seller's: an output that was bought, what a peer says of itself.
    Peer,
    /// This node's own: moments, IDs, what its own services made of its own data.
    Node,
    /// The owner's: the duty's file, and what the owner gives a run.
    Owner,
}

impl Trust {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Peer => "peer",
            Self::Node => "node",
            Self::Owner => "owner",
        }
    }
}

impl From<Trust> for memory::Trust {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::World => Self::World,
            Trust::Peer => Self::Peer,
            Trust::Node => Self::Node,
            Trust::Owner => Self::Owner,
        }
    }
}

impl From<memory::Trust> for Trust {
    fn from(trust: memory::Trust) -> Self {
        match trust {
            memory::Trust::Unknown | memory::Trust::World => Self::World,
            memory::Trust::Peer => Self::Peer,
            memory::Trust::Node => Self::Node,
            memory::Trust::Owner => Self::Owner,
        }
    }
}

/// A value and whose word it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced {
    /// The value.
    pub value: Value,
    /// Whose word.
    pub trust: Trust,
}

impl Sourced {
    /// A value of this source.
    pub fn new(value: Value, trust: Trust) -> Self {
        Self { value, trust }
    }

    /// What an output is: JSON if it reads as such, else text. `None` if it is neither.
    pub fn of_output(bytes: &[u8], trust: Trust) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        Some(Self { value, trust })
    }

    /// The part at a path, of the same source.
    pub fn at(&self, path: &[String]) -> Option<Self> {
        let value = path.iter().try_fold(&self.value, |value, name| match value {
            Value::Object(map) => map.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        })?;
        Some(Self { value: value.clone(), trust: self.trust })
    }

    /// As text: a string as it is, everything else as JSON.
    pub fn text(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}
