//! What this node knows of its swarm.

use std::collections::BTreeMap;

use guilder_protocol::market::{ServiceName, Unit};

use super::{
    Api,
    caller::{Action, Caller},
    types::{ApiError, OnSale, RoundTrips, Software, SwarmView},
};
use crate::{
    limits::{MAX_SWARM_SERVICES, MAX_SWARM_SOFTWARE},
    network::{PeerInfo, size},
};

/// Upper ends of what round trips are sorted by, in milliseconds: one machine or house, one city, one continent, the world.
const ROUND_TRIPS_MS: [u64; 4] = [5, 30, 100, 300];

impl Api {
    /// What this node knows of its swarm: how large it is, who is near, what is on sale, which software runs.
    ///
    /// # Errors
    /// If the caller may not.
    pub async fn swarm(&self, caller: &Caller) -> Result<SwarmView, ApiError> {
        caller.may(Action::Look)?;
        let node = self.node();
        let (peers, routing) = (node.network.peers().await, node.network.routing().await);
        let (services, more_services) = self.on_sale();
        Ok(SwarmView {
            size: size::estimate(node.id(), &routing),
            connected: peers.len() as u64,
            round_trips: round_trips(&peers),
            software: software(&peers),
            services,
            more_services,
        })
    }

    /// What is known to be on sale, by service and unit; and how many services there are beyond those that are listed.
    fn on_sale(&self) -> (Vec<OnSale>, u64) {
        let mut found = BTreeMap::<(ServiceName, Unit), OnSale>::new();
        for (service, price, unit) in self.node().catalogue.prices() {
            let key = (service.clone(), unit.clone());
            let on_sale =
                found.entry(key).or_insert(OnSale { service, unit, sellers: 0, lowest: price, highest: price });
            on_sale.sellers += 1;
            on_sale.lowest = on_sale.lowest.min(price);
            on_sale.highest = on_sale.highest.max(price);
        }
        let more = found.len().saturating_sub(MAX_SWARM_SERVICES);
        let mut services: Vec<_> = found.into_values().collect();
        services.sort_by_key(|on_sale| std::cmp::Reverse(on_sale.sellers));
        services.truncate(MAX_SWARM_SERVICES);
        (services, more as u64)
    }
}

/// The connected peers by how far away they are; those not measured yet under none.
fn round_trips(peers: &[PeerInfo]) -> Vec<RoundTrips> {
    let mut found = BTreeMap::<Option<u64>, u64>::new();
    let mut unmeasured = 0;
    for peer in peers {
        match peer.round_trip_us {
            Some(us) => {
                let within = ROUND_TRIPS_MS.into_iter().find(|most| us <= most * 1_000);
                *found.entry(within).or_default() += 1;
            }
            None => unmeasured += 1,
        }
    }
    // Beyond the last end comes last.
    let beyond = found.remove(&None);
    let mut rows: Vec<_> =
        found.into_iter().map(|(up_to_ms, peers)| RoundTrips { up_to_ms, peers, measured: true }).collect();
    rows.extend(beyond.map(|peers| RoundTrips { up_to_ms: None, peers, measured: true }));
    rows.extend((unmeasured > 0).then_some(RoundTrips { up_to_ms: None, peers: unmeasured, measured: false }));
    rows
}

/// What the connected peers say that they run, the most frequent first.
fn software(peers: &[PeerInfo]) -> Vec<Software> {
    let mut found = BTreeMap::<Option<&String>, u64>::new();
    for peer in peers {
        *found.entry(peer.software.as_ref()).or_default() += 1;
    }
    let mut rows: Vec<_> = found.into_iter().map(|(name, peers)| Software { name: name.cloned(), peers }).collect();
    rows.sort_by(|one, other| (other.peers, &one.name).cmp(&(one.peers, &other.name)));
    rows.truncate(MAX_SWARM_SOFTWARE);
    rows
}

#[cfg(test)]
mod tests {
    use guilder_protocol::identity::AgentId;

    use super::*;

    fn peer(round_trip_us: Option<u64>, software: Option<&str>) -> PeerInfo {
        PeerInfo {
            agent: AgentId::from_bytes([7; 32]),
            addresses: Vec::new(),
            dialled: true,
            connected_secs: 1,
            protected: false,
            software: software.map(str::to_owned),
            round_trip_us,
            points: 0,
        }
    }

    #[test]
    fn peers_are_sorted_by_distance_and_software() {
        let peers = [
            peer(Some(400), Some("guilder/0.1.0")),
            peer(Some(5_000), None),
            peer(Some(900_000), Some("guilder/0.1.0")),
            peer(None, Some("x/1")),
        ];
        let rows: Vec<_> = round_trips(&peers).iter().map(|row| (row.up_to_ms, row.measured, row.peers)).collect();
        assert_eq!(rows, [(Some(5), true, 2), (None, true, 1), (None, false, 1)]);
        let names: Vec<_> = software(&peers).into_iter().map(|row| (row.name, row.peers)).collect();
        assert_eq!(names, [(Some("guilder/0.1.0".to_owned()), 2), (None, 1), (Some("x/1".to_owned()), 1)]);
    }
}
