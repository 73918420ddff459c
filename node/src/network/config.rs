//! What an operator can set about the network.

use std::time::Duration;

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

/// The network's settings, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Addresses to listen on. Port 0 takes any free port.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this node, where they differ from those it listens on (port forwarding).
    pub external: Vec<Multiaddr>,
    /// Peers to start from, with their peer IDs (`/ip4/../tcp/../p2p/12D3Koo..`). Kept connected.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for peers on the local network by multicast DNS.
    pub mdns: bool,
    /// Whether to keep records for others.
    pub dht: DhtMode,
    /// Connections above which the least useful are closed, down to `low_water`.
    pub high_water: u32,
    /// How many connections are left after closing some.
    pub low_water: u32,
    /// How long a new or just used connection is spared, in seconds.
    pub grace_secs: u64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            listen: ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"]
                .iter()
                .filter_map(|a| a.parse().ok())
                .collect(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            dht: DhtMode::Auto,
            high_water: 96,
            low_water: 64,
            grace_secs: 30,
        }
    }
}

impl NetworkConfig {
    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_secs)
    }
}

/// Whether a node keeps and serves records of the distributed hash table for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DhtMode {
    /// Yes if others can reach us: an address is set under `external`, we listen on an explicit or public address, or
    /// the whole network we know of is private.
    #[default]
    Auto,
    /// Yes.
    Server,
    /// No: only ask others.
    Client,
}
