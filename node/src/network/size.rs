//! How many nodes there are, estimated from the distances of their keys.
//!
//! Kademlia places a node at the SHA-256 of its peer ID, so nodes lie evenly over the space of keys, seen from any of them. A node knows
//! those nearest to itself: it looked for itself when it joined, and keeps twenty of each distance. Say that `x` is the distance to the
//! `k`-th nearest, as a share of the whole space. Of `N` others about `N·x` lie within that distance; more exactly `N·x` is distributed as
//! Gamma(k), so that
//!
//! ```text
//! N ≈ (k − 1) / x          without bias, with a relative standard error of 1 / √(k − 2)
//! ```
//!
//! With k = 20 that error is 24 %, and N lies between 12.2 / x and 29.7 / x in 95 of 100 cases. Where fewer than twenty are known they are
//! all that there are. Only nodes that keep records for others are counted (`network.dht`), and a table may hold a few that are gone. Keys
//! can be ground: whoever makes many near this node makes the swarm look larger, and nothing is decided by the estimate.

use guilder_protocol::{cbor::sha256, identity::AgentId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The nearest that are looked at: what a bucket of Kademlia holds.
const NEAREST: usize = 20;
/// The 2.5 % and 97.5 % quantiles of Gamma(20).
const QUANTILES: (f64, f64) = (12.217, 29.671);

/// How many nodes there are, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SwarmSize {
    /// The likeliest number.
    pub estimate: u64,
    /// In 95 of 100 cases there are at least so many,
    pub at_least: u64,
    /// and at most so many.
    pub at_most: u64,
    /// How many others the routing table holds.
    pub known: u64,
}

/// Estimates from the peers of a node's routing table.
pub fn estimate(local: AgentId, peers: &[AgentId]) -> SwarmSize {
    let own = place(local);
    let mut distances: Vec<f64> =
        peers.iter().filter(|peer| **peer != local).map(|peer| share(own, place(*peer))).collect();
    distances.sort_by(f64::total_cmp);
    let known = distances.len() as u64;
    let Some(within) = distances.get(NEAREST - 1).filter(|within| **within > 0.0) else {
        return SwarmSize { estimate: known + 1, at_least: known + 1, at_most: known + 1, known };
    };
    let others = |number: f64| (number / within).round() as u64;
    SwarmSize {
        estimate: (others(NEAREST as f64 - 1.0)).max(known) + 1,
        at_least: others(QUANTILES.0).max(known) + 1,
        at_most: others(QUANTILES.1).max(known) + 1,
        known,
    }
}

/// Where Kademlia places a node: the SHA-256 of its peer ID, which is an identity multihash of 36 bytes over the key.
fn place(agent: AgentId) -> [u8; 32] {
    sha256(&[&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], agent.as_bytes()].concat())
}

/// The distance of two places, as a share of the space: its first 64 bits are more than enough.
fn share(one: [u8; 32], other: [u8; 32]) -> f64 {
    let mut first = [0; 8];
    first.iter_mut().zip(one.iter().zip(other)).for_each(|(bits, (one, other))| *bits = one ^ other);
    u64::from_be_bytes(first) as f64 / 2_f64.powi(64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use libp2p::kad::KBucketKey;
    use proptest::prelude::*;

    use super::*;
    use crate::network::ids::peer_of;

    /// A swarm of so many others, of keys that no two seeds share.
    fn others(seed: u64, count: u64) -> Vec<AgentId> {
        (0..count)
            .map(|index| AgentId::from_bytes(sha256(&[seed.to_be_bytes(), index.to_be_bytes()].concat())))
            .collect()
    }

    /// What a node's table holds of them: twenty of each distance.
    fn table(local: AgentId, peers: &[AgentId]) -> Vec<AgentId> {
        let mut buckets = std::collections::BTreeMap::<u32, Vec<AgentId>>::new();
        for peer in peers {
            let bits = share(place(local), place(*peer));
            let bucket = buckets.entry((-bits.log2()) as u32).or_default();
            if bucket.len() < NEAREST {
                bucket.push(*peer);
            }
        }
        buckets.into_values().flatten().collect()
    }

    #[test]
    fn a_place_is_that_of_libp2p() {
        for agent in others(1, 5) {
            let key = KBucketKey::from(peer_of(agent));
            assert_eq!(key.hashed_bytes(), place(agent));
        }
    }

    #[test]
    fn a_small_swarm_is_counted() {
        let local = others(9, 1)[0];
        for count in [0, 1, 19] {
            let size = estimate(local, &others(2, count));
            assert_eq!(
                (size.estimate, size.at_least, size.at_most, size.known),
                (count + 1, count + 1, count + 1, count)
            );
        }
    }

    /// What the formula promises, measured over 400 swarms of each size: no bias, and an interval that holds what it says.
    #[test]
    fn the_estimate_has_no_bias_and_its_interval_holds() {
        for count in [60_u64, 300, 2_000] {
            let (mut sum, mut within) = (0.0, 0);
            for seed in 0..400 {
                let local = others(seed + 10_000, 1)[0];
                let size = estimate(local, &table(local, &others(seed, count)));
                sum += size.estimate as f64 - 1.0;
                within += u32::from((size.at_least..=size.at_most).contains(&(count + 1)));
            }
            let mean = sum / 400.0 / count as f64;
            assert!((0.95..=1.05).contains(&mean), "{count}: the mean estimate is {mean} of the truth");
            assert!((370..=395).contains(&within), "{count}: {within} of 400 intervals hold the truth");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_estimate_is_between_its_bounds_and_no_less_than_is_known(seed: u64, count in 0_u64..1_500) {
            let local = others(seed.wrapping_add(1), 1)[0];
            let size = estimate(local, &table(local, &others(seed, count)));
            prop_assert!(size.at_least <= size.estimate && size.estimate <= size.at_most);
            prop_assert!(size.estimate > size.known);
            // Five standard errors.
            prop_assert!((size.estimate as f64) < 4.0 * (count + 1) as f64, "{size:?}");
            prop_assert!((size.estimate as f64) > (count + 1) as f64 / 4.0, "{size:?}");
        }
    }
}
