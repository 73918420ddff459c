//! Who takes part, and the network between them.

use serde::{Deserialize, Serialize};

use crate::fabric::NatKind;

/// How the network comes to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Everyone's Kademlia table is filled as a network of that age would have filled it.
    #[default]
    Converged,
    /// Everyone knows one address and finds the rest, as a real swarm does.
    Cold,
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sells and buys.
    Trader,
    /// Buys only.
    Buyer,
    /// Sells only.
    Seller,
    /// Routes and forwards only.
    Bystander,
    /// Has one behaviour replaced.
    Adversary,
}

/// Who takes part. Adversaries are among `nodes`; the rest is dealt out by these weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// How many nodes, adversaries included.
    pub nodes: u32,
    /// Weight of those who sell and buy.
    #[serde(default)]
    pub traders: f64,
    /// Weight of those who buy only.
    #[serde(default)]
    pub buyers: f64,
    /// Weight of those who sell only.
    #[serde(default)]
    pub sellers: f64,
    /// Weight of those who route and forward only.
    #[serde(default)]
    pub bystanders: f64,
    /// How many connections a node goes down to and how many it has at the most before that (its low and its high water
    /// mark); what nodes do if nobody sets it, if it isn't given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<[u32; 2]>,
}

impl Population {
    /// The role of each of `honest` nodes, spread evenly, so that the first few are already a market.
    pub fn roles(&self, honest: u32) -> Vec<Role> {
        let weights = [
            (Role::Trader, self.traders),
            (Role::Seller, self.sellers),
            (Role::Buyer, self.buyers),
            (Role::Bystander, self.bystanders),
        ];
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut dealt = [0.0; 4];
        let deal = |index: u32| {
            // Whoever is furthest behind its share is next.
            let behind =
                |(role, weight): &(Role, f64), dealt: f64| (weight / total * f64::from(index + 1) - dealt, *role);
            let mut next = 0;
            for candidate in 1..weights.len() {
                let (best, challenger) =
                    (behind(&weights[next], dealt[next]), behind(&weights[candidate], dealt[candidate]));
                if challenger.0 > best.0 + 1e-9 {
                    next = candidate;
                }
            }
            dealt[next] += 1.0;
            weights[next].0
        };
        (0..honest).map(deal).collect()
    }
}

/// The network between the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// Where nodes stand, with a share of them each; empty for all regions alike. Round trips between regions are those of
    /// [`regions`](super::regions).
    pub regions: Vec<Region>,
    /// One-way delay between a host and the backbone of its region, in milliseconds; two of these are on every path.
    pub last_mile_ms: f64,
    /// At most so much is added to each segment, in milliseconds, drawn evenly.
    pub jitter_ms: f64,
    /// How likely a segment is lost; it then arrives a retransmission later.
    pub loss: f64,
    /// Uplink of each host, in megabits a second; 0 for no limit.
    pub uplink_mbps: f64,
    /// How far each node's clock is ahead of the right time, in seconds: from, to; drawn evenly. Below 0: behind.
    pub clock_skew_s: [i64; 2],
    /// Who stands behind a NAT.
    pub nat: Option<Nats>,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            last_mile_ms: 4.0,
            jitter_ms: 3.0,
            loss: 0.0,
            uplink_mbps: 0.0,
            clock_skew_s: [0, 0],
            nat: None,
        }
    }
}

/// Who stands behind a NAT, each behind one of its own. Never the first node, by which the others find the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// The share of nodes.
    pub share: f64,
    /// Of which roles; empty for all.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// What kinds there are, dealt round.
    #[serde(default = "kinds")]
    pub kinds: Vec<NatKind>,
    /// After so many seconds without traffic a NAT forgets a connection.
    #[serde(default = "mapping_s")]
    pub mapping_s: u64,
}

fn kinds() -> Vec<NatKind> {
    vec![NatKind::PortRestricted, NatKind::Symmetric]
}

fn mapping_s() -> u64 {
    120
}

impl Nats {
    /// The NAT of each of these nodes: every so many, spread evenly.
    pub fn deal(&self, roles: &[Role]) -> Vec<Option<NatKind>> {
        let (mut seen, mut dealt) = (0, 0);
        let deal = |(index, role): (usize, &Role)| {
            if index == 0 || !(self.roles.is_empty() || self.roles.contains(role)) {
                return None;
            }
            seen += 1;
            if f64::from(dealt) + 1.0 > self.share * f64::from(seen) + 1e-9 {
                return None;
            }
            dealt += 1;
            self.kinds.get((dealt as usize - 1) % self.kinds.len()).copied()
        };
        roles.iter().enumerate().map(deal).collect()
    }
}

/// A region and how much of the population stands there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// One of [`regions::NAMES`](super::regions::NAMES).
    pub name: String,
    /// Its weight against the others'.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}
