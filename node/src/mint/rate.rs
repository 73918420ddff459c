//! What each peer may ask of the mint: a bucket of bytes that fills at a steady rate.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use guilder_protocol::identity::AgentId;
use tokio::time::Instant;

use super::limits::{MAX_PEERS, PEER_BURST, PEER_RATE, REQUEST_COST};

/// The buckets of all peers heard lately.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<BTreeMap<AgentId, Bucket>>);

#[derive(Debug)]
struct Bucket {
    /// Negative when the peer is in debt.
    bytes: f64,
    at: Instant,
}

impl Peers {
    /// Takes the cost of a request of `bytes` from the bucket of `peer`; tells how long the peer must wait for it.
    pub(super) fn charge(&self, peer: AgentId, bytes: usize, now: Instant) -> Duration {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS && !peers.contains_key(&peer) {
            let oldest = peers.iter().min_by_key(|(_, bucket)| bucket.at).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| peers.remove(&oldest));
        }
        let bucket = peers.entry(peer).or_insert(Bucket { bytes: PEER_BURST, at: now });
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * PEER_RATE;
        bucket.bytes = (bucket.bytes + filled).min(PEER_BURST) - REQUEST_COST - bytes as f64;
        bucket.at = now;
        Duration::from_secs_f64((-bucket.bytes / PEER_RATE).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::limits::{MAX_UNPAID_QUOTES, QUOTE_COST, QUOTE_KEPT, QUOTE_SWEEP},
        *,
    };

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_and_others_do_not() {
        let (peers, now) = (Peers::default(), Instant::now());
        let (flood, quiet) = (AgentId::from_bytes([1; 32]), AgentId::from_bytes([2; 32]));
        let burst = (0..8).map(|_| peers.charge(flood, 1024 * 1024, now)).collect::<Vec<_>>();
        assert!(burst[..7].iter().all(Duration::is_zero), "{burst:?}");
        assert!(peers.charge(flood, 1024 * 1024, now) > Duration::from_millis(500));
        assert_eq!(peers.charge(quiet, 1024, now), Duration::ZERO);
        assert_eq!(peers.charge(flood, 1024, now + Duration::from_secs(60)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_alone_uses_up_no_room_for_quotes() {
        let (peers, peer, begun) = (Peers::default(), AgentId::from_bytes([1; 32]), Instant::now());
        let life = Duration::from_secs(super::super::MintConfig::default().quote_ttl_secs) + QUOTE_KEPT + QUOTE_SWEEP;
        let (mut now, mut asked) = (begun, 0);
        while now < begun + life {
            now += peers.charge(peer, QUOTE_COST, now);
            asked += 1;
        }
        assert!((1_000..MAX_UNPAID_QUOTES * 9 / 10).contains(&asked), "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_peers_are_remembered() {
        let (peers, now) = (Peers::default(), Instant::now());
        for n in 0..MAX_PEERS as u64 + 10 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            peers.charge(AgentId::from_bytes(id), 1, now + Duration::from_millis(n));
        }
        assert_eq!(peers.0.lock().map_or(0, |peers| peers.len()), MAX_PEERS);
    }
}
