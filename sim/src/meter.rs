//! What each host's bytes are for: a count for each protocol, both ways; and how deep its measured searches go.
//!
//! ```text
//! wires    a substream's first bytes name its protocol (multistream-select); from then on each read and write is added
//!          to the host's count for it
//! lookup   while a search is measured, what the host asks and hears on Kademlia's substreams is read along
//! ```
//!
//! It listens and changes nothing: every call goes through as it came. What a host put on its wire beyond these counts is
//! what noise, yamux and handshakes add (and what raw peers send, who speak no libp2p). Connections to mints are counted as a
//! whole.

mod lookup;
mod wires;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use guilder_protocol::identity::AgentId;
use serde::{Deserialize, Serialize};

use self::lookup::Lookup;
pub(crate) use self::wires::{Metered, Substream};

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Kademlia: routing, providers announced and looked for.
    Kad,
    /// Gossipsub: adverts, and what keeps its meshes.
    Gossip,
    /// Who a peer is, and its changes of address.
    Identify,
    /// Whether a peer is there.
    Ping,
    /// Asks, offers, awards, deliveries.
    Trade,
    /// Large inputs and outputs.
    Content,
    /// Calls to mints, whatever the way.
    Mint,
    /// Grants handed over, revocations fetched.
    Grants,
    /// Relays, hole punching, tests of reachability.
    Nat,
    /// Any other.
    Other,
    /// What noise, yamux and handshakes add to all of them.
    Overhead,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kad,
        Self::Gossip,
        Self::Identify,
        Self::Ping,
        Self::Trade,
        Self::Content,
        Self::Mint,
        Self::Grants,
        Self::Nat,
        Self::Other,
        Self::Overhead,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kad => "kad",
            Self::Gossip => "gossip",
            Self::Identify => "identify",
            Self::Ping => "ping",
            Self::Trade => "trade",
            Self::Content => "content",
            Self::Mint => "mint",
            Self::Grants => "grants",
            Self::Nat => "nat",
            Self::Other => "other",
            Self::Overhead => "overhead",
        }
    }

    /// Which a name on the wire stands for.
    fn of(name: &[u8]) -> Self {
        const PREFIXES: [(&[u8], Protocol); 12] = [
            (b"/guilder/kad/", Protocol::Kad),
            (b"/meshsub/", Protocol::Gossip),
            (b"/floodsub/", Protocol::Gossip),
            (b"/ipfs/id/", Protocol::Identify),
            (b"/ipfs/ping/", Protocol::Ping),
            (b"/guilder/trade/", Protocol::Trade),
            (b"/guilder/content/", Protocol::Content),
            (b"/guilder/mint/", Protocol::Mint),
            (b"/guilder/grants/", Protocol::Grants),
            (b"/libp2p/circuit/", Protocol::Nat),
            (b"/libp2p/dcutr", Protocol::Nat),
            (b"/libp2p/autonat/", Protocol::Nat),
        ];
        PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(Self::Other, |(_, protocol)| *protocol)
    }
}

/// One host's counts; they outlive its nodes.
#[derive(Default)]
pub struct Meter {
    sent: [AtomicU64; Protocol::ALL.len()],
    received: [AtomicU64; Protocol::ALL.len()],
    lookups: Mutex<Vec<Arc<Mutex<Lookup>>>>,
}

impl Meter {
    /// Bytes so far, sent and received; protocols without any are left out. `wire` is what the host really sent and was
    /// sent.
    pub fn bytes(&self, wire: (u64, u64)) -> BTreeMap<Protocol, (u64, u64)> {
        let count = |protocol: Protocol| {
            let at = protocol as usize;
            (protocol, (self.sent[at].load(Ordering::Relaxed), self.received[at].load(Ordering::Relaxed)))
        };
        let mut bytes: BTreeMap<_, _> = Protocol::ALL.into_iter().map(count).collect();
        let sum = bytes.values().fold((0, 0), |sum: (u64, u64), (sent, received)| (sum.0 + sent, sum.1 + received));
        // What is written to a substream may still wait to be put on the wire.
        bytes.insert(Protocol::Overhead, (wire.0.saturating_sub(sum.0), wire.1.saturating_sub(sum.1)));
        bytes.retain(|_, count| *count != (0, 0));
        bytes
    }

    /// Follows a search for `key` from now on. `known` are the peers in the searcher's routing table.
    pub fn follow(self: &Arc<Self>, searcher: AgentId, key: &[u8], known: &[AgentId]) -> Followed {
        let lookup = Arc::new(Mutex::new(Lookup::new(searcher, key, known)));
        lock(&self.lookups).push(Arc::clone(&lookup));
        Followed { meter: Arc::clone(self), lookup }
    }

    fn sent(&self, protocol: Protocol, bytes: usize) {
        add(&self.sent[protocol as usize], bytes);
    }

    fn received(&self, protocol: Protocol, bytes: usize) {
        add(&self.received[protocol as usize], bytes);
    }
}

/// A simulation is one thread, so that nobody writes between the two.
fn add(count: &AtomicU64, bytes: usize) {
    count.store(count.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}

/// A search that is followed until this is dropped.
pub struct Followed {
    meter: Arc<Meter>,
    lookup: Arc<Mutex<Lookup>>,
}

impl Followed {
    /// Peers asked so far, and how far away the first stood that named somebody else than the searcher: see
    /// [`SearchRow::hops`](crate::results::SearchRow::hops).
    pub fn so_far(&self) -> (u32, Option<u32>) {
        let lookup = lock(&self.lookup);
        (lookup.asked, lookup.named_at)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        lock(&self.meter.lookups).retain(|lookup| !Arc::ptr_eq(lookup, &self.lookup));
    }
}

/// A panic elsewhere on the one thread has ended the simulation already.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
