//! Token buckets per peer: how much of our time a stranger may take.
//!
//! Metered are questions that leave nothing behind (queries, asks), those whose answer is a whole schema, everything about an
//! award, which may cost a look into the store, awards that were refused, each of which cost a check of its money, and frames
//! that were dropped because too many of the peer's were waiting. The network meters frames as such. The peers heard longest ago are forgotten first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::identity::AgentId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::limits::{DROPPED, MAX_METERED_PEERS, REFUSED, SCHEMA_QUERIES};
use crate::sync::lock;

/// A rate and how far it may be exceeded for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Sustained, per second.
    pub per_sec: u32,
    /// At once, after a quiet while.
    pub burst: u32,
}

/// What a peer's message is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    /// A query or an ask.
    Asks,
    /// A query for a schema: a hundred bytes ask for sixteen thousand.
    Schemas,
    /// An award, or anything about one.
    Others,
    /// An award that was refused.
    Refused,
    /// A frame that was dropped.
    Dropped,
}

/// The buckets of all peers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    /// By meter.
    rates: [Rate; 5],
    peers: Arc<Mutex<BTreeMap<AgentId, Peer>>>,
}

#[derive(Debug)]
struct Peer {
    heard: Instant,
    /// By meter.
    tokens: [f64; 5],
}

impl Buckets {
    /// Full buckets for everybody.
    pub(crate) fn new(asks: Rate, others: Rate) -> Self {
        Self { rates: [asks, others, REFUSED, SCHEMA_QUERIES, DROPPED], peers: Arc::default() }
    }

    /// Takes one token from the peer's bucket, if there is one.
    pub(crate) fn take(&self, peer: AgentId, meter: Meter, now: Instant) -> bool {
        self.with(peer, meter, now, |tokens| {
            let granted = *tokens >= 1.0;
            if granted {
                *tokens -= 1.0;
            }
            granted
        })
    }

    /// Takes that many tokens for what has been done already, down to none.
    pub(crate) fn charge(&self, peer: AgentId, meter: Meter, cost: u32, now: Instant) {
        self.with(peer, meter, now, |tokens| *tokens = (*tokens - f64::from(cost)).max(0.0));
    }

    /// Whether the peer's bucket holds a token.
    pub(crate) fn has(&self, peer: AgentId, meter: Meter, now: Instant) -> bool {
        self.with(peer, meter, now, |tokens| *tokens >= 1.0)
    }

    fn with<R>(&self, peer: AgentId, meter: Meter, now: Instant, use_bucket: impl FnOnce(&mut f64) -> R) -> R {
        let mut peers = lock(&self.peers);
        if peers.len() >= MAX_METERED_PEERS && !peers.contains_key(&peer) {
            forget_longest_quiet(&mut peers);
        }
        let full = self.rates.map(|rate| f64::from(rate.burst));
        let entry = peers.entry(peer).or_insert(Peer { heard: now, tokens: full });
        let quiet = now.saturating_duration_since(entry.heard).as_secs_f64();
        entry.heard = now;
        for (tokens, rate) in entry.tokens.iter_mut().zip(&self.rates) {
            *tokens = (*tokens + quiet * f64::from(rate.per_sec)).min(f64::from(rate.burst));
        }
        let [asks, others, refused, schemas, dropped] = &mut entry.tokens;
        use_bucket(match meter {
            Meter::Asks => asks,
            Meter::Others => others,
            Meter::Refused => refused,
            Meter::Schemas => schemas,
            Meter::Dropped => dropped,
        })
    }
}

fn forget_longest_quiet(peers: &mut BTreeMap<AgentId, Peer>) {
    let quietest = peers.iter().min_by_key(|(id, peer)| (peer.heard, **id)).map(|(id, _)| *id);
    if let Some(quietest) = quietest {
        peers.remove(&quietest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(number: u16) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let buckets = Buckets::new(Rate { per_sec: 1, burst: 1 }, Rate { per_sec: 10, burst: 3 });
        let start = Instant::now();
        let granted = |at: Instant| buckets.take(peer(1), Meter::Others, at);
        assert!([true, true, true, false].iter().all(|expected| granted(start) == *expected));
        assert!(granted(start + Duration::from_millis(100)));
        assert!(!granted(start + Duration::from_millis(110)));
        assert!(buckets.take(peer(1), Meter::Asks, start), "the meters are apart");
        assert!(buckets.take(peer(2), Meter::Others, start), "and so are the peers");
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let buckets = Buckets::new(Rate { per_sec: 1, burst: 1 }, Rate { per_sec: 1, burst: 1 });
        let start = Instant::now();
        for number in 0..=u16::try_from(MAX_METERED_PEERS).expect("fits") {
            buckets.take(peer(number), Meter::Others, start + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(lock(&buckets.peers).len(), MAX_METERED_PEERS);
        assert!(!lock(&buckets.peers).contains_key(&peer(0)));
    }
}
