//! Token buckets per peer: how much of our time a stranger may take.
//!
//! Two rates are metered: questions that leave nothing behind (queries, asks), and everything about an award, which may
//! cost a look into the store. The network meters frames as such. The peers heard longest ago are forgotten first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::identity::AgentId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::limits::MAX_METERED_PEERS;
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
    /// An award, or anything about one.
    Others,
}

/// The buckets of all peers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    others: Rate,
    asks: Rate,
    peers: Arc<Mutex<BTreeMap<AgentId, Peer>>>,
}

#[derive(Debug)]
struct Peer {
    heard: Instant,
    others: f64,
    asks: f64,
}

impl Buckets {
    /// Full buckets for everybody.
    pub(crate) fn new(asks: Rate, others: Rate) -> Self {
        Self { asks, others, peers: Arc::default() }
    }

    /// Takes one token from the peer's bucket, if there is one.
    pub(crate) fn take(&self, peer: AgentId, meter: Meter, now: Instant) -> bool {
        let mut peers = lock(&self.peers);
        if peers.len() >= MAX_METERED_PEERS && !peers.contains_key(&peer) {
            forget_longest_quiet(&mut peers);
        }
        let (others, asks) = (f64::from(self.others.burst), f64::from(self.asks.burst));
        let entry = peers.entry(peer).or_insert(Peer { heard: now, others, asks });
        let quiet = now.saturating_duration_since(entry.heard).as_secs_f64();
        entry.heard = now;
        entry.others = (entry.others + quiet * f64::from(self.others.per_sec)).min(others);
        entry.asks = (entry.asks + quiet * f64::from(self.asks.per_sec)).min(asks);
        let tokens = match meter {
            Meter::Others => &mut entry.others,
            Meter::Asks => &mut entry.asks,
        };
        let granted = *tokens >= 1.0;
        if granted {
            *tokens -= 1.0;
        }
        granted
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
