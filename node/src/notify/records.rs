//! What webhooks out keep in the store: one row for each endpoint, so that its place and what waits for it are never of two moments.
//!
//! | table | key | value |
//! |---|---|---|
//! | `notify/endpoints` | endpoint | its URL, its secrets, what it was told up to, what waits, what was given up |

use std::collections::BTreeSet;

use guilder_protocol::{bytes::ByteArray, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use utoipa::ToSchema;

use crate::store::Table;

pub(super) const ENDPOINTS: Table<EndpointRecord> = Table::new("notify/endpoints");

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointRecord {
    /// Tells it apart from others of its name, before it and after it.
    pub(super) id: ByteArray<16>,
    pub(super) url: String,
    /// The names of the events that it is told of; all if there are none.
    pub(super) events: BTreeSet<String>,
    /// The secret, and the one before while it is being replaced.
    pub(super) secrets: Vec<ByteBuf>,
    pub(super) added: Timestamp,
    /// The number of the last event that it was told of, or that is nothing to it.
    pub(super) place: u64,
    pub(super) taken: u64,
    pub(super) last: Option<Timestamp>,
    pub(super) waiting: Option<Waiting>,
    pub(super) given_up_in_a_row: u32,
    pub(super) given_up: Vec<GivenUp>,
    pub(super) paused: Option<Paused>,
}

/// Its secrets stay out of logs, and so does its URL, which may have one in it.
impl std::fmt::Debug for EndpointRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointRecord").field("added", &self.added).field("place", &self.place).finish_non_exhaustive()
    }
}

/// A webhook that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WaitingWebhook)]
pub struct Waiting {
    /// The event's number.
    pub number: u64,
    /// The delivery's ID.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when, in Unix seconds.
    #[schema(value_type = u64)]
    pub since: Timestamp,
    /// When it is tried next, in Unix seconds.
    #[schema(value_type = u64)]
    pub next: Timestamp,
    /// What came of it last, in words.
    pub why: String,
}

/// A webhook that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GivenUpWebhook)]
pub struct GivenUp {
    /// The delivery's ID.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// When, in Unix seconds.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of it last, in words.
    pub why: String,
}

/// That an endpoint is told nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PausedEndpoint)]
pub struct Paused {
    /// Since when, in Unix seconds.
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}
