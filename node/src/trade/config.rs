//! What the operator can set of trading. Every default with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::buckets::Rate;

/// `[trade]`: the settings of both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TradeConfig {
    /// Buyer: sellers that are asked at once. More offers, more messages.
    pub candidates: usize,
    /// Buyer: how long others may still answer once there is one offer, in milliseconds.
    pub offer_window_ms: u64,
    /// Buyer: how long to look for sellers and wait for a first offer, in seconds.
    pub search_secs: u64,
    /// Buyer: the largest output taken, in bytes.
    pub max_output_bytes: u64,
    /// Seller: how long an offer binds, in seconds. The buyer may have to make a lock at a slow mint meanwhile.
    pub offer_secs: u64,
    /// Seller: awards that are taken beyond a service's concurrency and wait for a place, per service.
    pub queue: usize,
    /// Seller: added to the time that work may take, in seconds, to promise when it is delivered.
    pub delivery_margin_secs: u64,
    /// Seller: proofs that a lock may consist of. Each costs a check now and a swap input later.
    pub max_proofs: usize,
    /// Seller: queries and asks that one peer may send. Each ask costs about 0.1 ms.
    pub asks: Rate,
    /// Awards, and messages about them, that one peer may send.
    pub others: Rate,
    /// Days that the records of ended trades are kept, for listings and audits.
    pub keep_days: u64,
    /// Days that their inputs and outputs are kept; what was signed of them stays.
    pub keep_payload_days: u64,
    /// MiB of inputs and outputs of ended trades that are kept in all; beyond it the oldest go.
    pub max_payload_mib: u64,
}

impl Default for TradeConfig {
    fn default() -> Self {
        Self {
            candidates: 8,
            offer_window_ms: 500,
            search_secs: 15,
            max_output_bytes: guilder_protocol::limits::MAX_CONTENT,
            offer_secs: 60,
            queue: 64,
            delivery_margin_secs: 30,
            max_proofs: 32,
            asks: Rate { per_sec: 1_000, burst: 2_000 },
            others: Rate { per_sec: 2_000, burst: 4_000 },
            keep_days: 365,
            keep_payload_days: 30,
            max_payload_mib: 1_024,
        }
    }
}

impl TradeConfig {
    pub(super) fn offer_window(&self) -> Duration {
        Duration::from_millis(self.offer_window_ms)
    }
}
