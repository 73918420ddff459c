//! What other rooms ask for.

use guilder_protocol::identity::AgentId;
use libp2p::{Multiaddr, swarm::dial_opts::DialOpts};

use super::{Actor, Command, Reply};
use crate::network::{
    ConnectError, PeerInfo, addrs,
    gossip::Mill,
    ids::{agent_of, peer_of},
    limits::SEED_DIALS,
};

impl Actor {
    pub(super) fn handle_command(&mut self, command: Command) {
        let behaviour = self.swarm.behaviour_mut();
        // An answer that nobody waits for any more is dropped.
        match command {
            Command::Connect { to, reply } => self.connect(to, reply),
            Command::Dial { address, reply } => self.dial(address, reply),
            Command::Provide { service, reply } => {
                let _ = reply.send(self.discovery.provide(&mut behaviour.kad, service));
            }
            Command::Unprovide(service) => self.discovery.unprovide(&mut behaviour.kad, &service),
            Command::Find { service, limit, walk, found } => {
                self.discovery.find(&mut behaviour.kad, &service, limit, walk, found);
            }
            Command::Publish { topic, data, reply } => {
                let _ = reply.send(Mill::publish(&mut behaviour.gossip, &topic, &data));
            }
            Command::Subscribe { topic, reply } => {
                let _ = reply.send(self.mill.subscribe(&mut behaviour.gossip, topic));
            }
            Command::Unsubscribe(topic) => self.mill.unsubscribe(&mut behaviour.gossip, &topic),
            Command::Validate { message, verdict } => {
                if let Some((agent, penalty)) = self.mill.judge(&mut behaviour.gossip, message, verdict) {
                    self.penalize(agent, penalty, "forwarded invalid gossip");
                }
            }
            Command::Peers(reply) => {
                let _ = reply.send(self.peers());
            }
            Command::ListenAddrs(reply) => {
                let _ = reply.send(self.listen_addrs());
            }
            Command::Routing(reply) => {
                let peers = behaviour.kad.kbuckets().flat_map(|bucket| {
                    bucket.iter().filter_map(|entry| agent_of(entry.node.key.preimage())).collect::<Vec<_>>()
                });
                let _ = reply.send(peers.collect());
            }
            Command::Protect(agent) => {
                if !self.connections.protect(agent) {
                    tracing::warn!(?agent, "not protected: too many peers are");
                }
            }
            Command::Unprotect(agent) => self.connections.unprotect(agent),
            Command::Penalize { agent, penalty, reason } => self.penalize(agent, penalty, &reason),
            Command::SeedRouting(peers) => self.seed_routing(peers),
            // Ends the loop, which sees to it itself.
            Command::Shutdown(_) => {}
        }
    }

    fn dial(&mut self, address: Multiaddr, reply: Reply<Result<AgentId, ConnectError>>) {
        let (bare, agent) = addrs::split(&address);
        let dial = match agent {
            Some(agent) if agent == self.local => {
                let _ = reply.send(Err(ConnectError::Ourselves));
                return;
            }
            Some(agent) if self.links.get(agent).is_some() => {
                let _ = reply.send(Ok(agent));
                return;
            }
            Some(agent) => {
                use libp2p::swarm::dial_opts::PeerCondition;
                DialOpts::peer_id(peer_of(agent)).condition(PeerCondition::Always).addresses(vec![bare]).build()
            }
            None => DialOpts::unknown_peer_id().address(bare).build(),
        };
        let connection = dial.connection_id();
        match self.swarm.dial(dial) {
            Ok(()) => {
                self.dials.insert(connection, reply);
            }
            Err(error) => {
                let _ = reply.send(Err(self.dial_error(agent, &error)));
            }
        }
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let now = self.runtime.instant();
        let info = |(agent, connections): (AgentId, Vec<&crate::network::connections::Connection>)| {
            let oldest = connections.first()?;
            Some(PeerInfo {
                agent,
                addresses: connections.iter().map(|connection| connection.address.clone()).collect(),
                dialled: oldest.dialled,
                connected_secs: now.saturating_duration_since(oldest.since).as_secs(),
                protected: self.connections.is_protected(agent) || self.bootstraps.contains(agent),
                software: self.software.get(&agent).cloned(),
                round_trip_us: connections
                    .iter()
                    .find_map(|connection| connection.round_trip)
                    .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
                points: self.standing.points(agent, now),
            })
        };
        self.connections.by_peer().into_iter().filter_map(info).collect()
    }

    fn listen_addrs(&self) -> Vec<Multiaddr> {
        let mut addresses: Vec<_> = self.swarm.listeners().cloned().collect();
        addresses.sort_unstable();
        addresses
    }

    fn seed_routing(&mut self, peers: Vec<(AgentId, Vec<Multiaddr>)>) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        for (agent, addresses) in &peers {
            for address in addresses {
                kad.add_address(&peer_of(*agent), address.clone());
            }
        }
        // A refresh that is ended at once counts as done, so that none is due for a while.
        self.seeded = kad.bootstrap().ok();
        self.finish_seeding();
        // Others dial as many to us.
        let dials = SEED_DIALS.min(self.config.low_water as usize / 2);
        for (agent, _) in peers.into_iter().take(dials) {
            self.dial_in_passing(agent);
        }
    }

    /// Ends the refresh of a converged start.
    pub(super) fn finish_seeding(&mut self) {
        if let Some(query) = self.seeded
            && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&query)
        {
            query.finish();
        }
    }
}
