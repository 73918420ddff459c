//! What the swarm reports.

use std::collections::BTreeSet;

use guilder_protocol::identity::AgentId;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, transport::ListenerId},
    gossipsub, identify, kad, mdns, ping,
    swarm::{ConnectionError, ConnectionId, DialError, SwarmEvent},
};

use super::{Actor, Listener};
use crate::{
    events::Event,
    network::{
        PeerChange, StartError,
        addrs::{Scope, scope, split, worth_keeping, worth_telling},
        behaviour::{BehaviourEvent, KAD_PROTOCOL},
        connections::Connection,
        error::DialCause,
        ids::{agent_of, peer_of},
        limits::{FIND_LIMIT, SOFTWARE_CHARS},
        streams,
    },
};

impl Actor {
    pub(super) fn handle_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                concurrent_dial_errors,
                ..
            } => {
                let Some(agent) = agent_of(&peer_id) else { return };
                for (address, _) in concurrent_dial_errors.into_iter().flatten() {
                    self.book.missed(agent, &split(&address).0);
                }
                self.connected(agent, connection_id, &endpoint, num_established.get() == 1);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let Some(agent) = agent_of(&peer_id) else { return };
                self.closed(agent, connection_id, num_established == 0, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.not_connected(connection_id, peer_id.as_ref().and_then(agent_of), &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.listening(listener_id, address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.swarm.remove_external_address(&address),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let reason = reason.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
                self.not_listening(listener_id, reason);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener had an error"),
            _ => {}
        }
    }

    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(streams::Event::Misdeed { agent, misdeed }) => {
                self.penalize(agent, misdeed.penalty(), &misdeed.to_string());
            }
            BehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                let now = self.runtime.instant();
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                self.mill.take(gossip, propagation_source, &message_id, message, now);
            }
            BehaviourEvent::Kad(event) => self.handle_kad_event(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, info);
            }
            BehaviourEvent::Ping(ping) => self.pinged(&ping),
            BehaviourEvent::Mdns(mdns::Event::Discovered(peers)) => self.seen_nearby(peers),
            _ => {}
        }
    }

    fn connected(&mut self, agent: AgentId, id: ConnectionId, endpoint: &ConnectedPoint, first: bool) {
        let now = self.runtime.instant();
        let (address, _) = split(endpoint.get_remote_address());
        let dialled = endpoint.is_dialer();
        if dialled {
            self.book.reached(agent, address.clone(), self.runtime.now());
        }
        self.connections.insert(id, Connection::new(agent, address.clone(), dialled, now));
        self.bootstraps.connected(id, agent);
        if let Some(reply) = self.dials.remove(&id) {
            let _ = reply.send(Ok(agent));
        }
        self.waiting.answer(agent, &Ok(()));
        if first {
            // Fails only if nobody listens.
            let _ = self.changes.send(PeerChange::Connected(agent));
            self.events.emit(Event::PeerConnected { peer: agent, address: address.to_string(), dialled });
        }
        self.trim(now);
    }

    fn closed(&mut self, agent: AgentId, id: ConnectionId, last: bool, cause: Option<ConnectionError>) {
        self.connections.remove(id);
        if !last {
            let _ = self.changes.send(PeerChange::Connected(agent));
        } else {
            let [jitter] = self.runtime.random();
            self.bootstraps.disconnected(agent, self.runtime.instant(), jitter);
            let _ = self.changes.send(PeerChange::Disconnected(agent));
            let reason = cause.map_or_else(|| "closed by this node".to_owned(), |cause| cause.to_string());
            self.events.emit(Event::PeerDisconnected { peer: agent, reason });
        }
    }

    fn not_connected(&mut self, id: ConnectionId, agent: Option<AgentId>, error: &DialError) {
        self.bootstrap_not_dialled(id, error);
        if let Some(reply) = self.dials.remove(&id) {
            let _ = reply.send(Err(self.dial_error(agent, error)));
        }
        if let Some(agent) = agent {
            self.learn_from_failure(agent, error);
            self.dial_failed(agent, error);
        }
    }

    fn listening(&mut self, id: ListenerId, address: Multiaddr) {
        self.events.emit(Event::Listening { address: address.to_string() });
        if let Some(listener) = self.listeners.iter_mut().find(|known| known.id == id) {
            listener.in_use = true;
            if worth_telling(&address, &listener.asked, &self.config.bootstrap) {
                self.swarm.add_external_address(address);
            }
        }
        self.tell_if_started();
    }

    fn not_listening(&mut self, id: ListenerId, reason: String) {
        let Some(position) = self.listeners.iter().position(|known| known.id == id) else { return };
        let Listener { asked: address, in_use, .. } = self.listeners.remove(position);
        tracing::error!(%address, reason, "no longer listening");
        if !in_use && let Some(ready) = self.starting.take() {
            let _ = ready.send(Err(StartError::Listen { address, cause: DialCause(reason) }));
        }
    }

    pub(super) fn tell_if_started(&mut self) {
        if self.listeners.iter().all(|listener| listener.in_use)
            && let Some(ready) = self.starting.take()
        {
            // Whoever started us gave up waiting: then its handle is gone, which ends the loop.
            let _ = ready.send(Ok(()));
        }
    }

    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(agent) = agent_of(&peer) else { return };
        let met = self.met(agent);
        let addresses = worth_keeping(info.listen_addrs, met);
        if info.protocols.contains(&KAD_PROTOCOL) {
            let (kad, now) = (&mut self.swarm.behaviour_mut().kad, self.runtime.instant());
            self.discovery.learn(kad, &peer, &addresses, now);
            self.discovery.met_somebody(kad);
        }
        self.book.claims(agent, addresses, self.runtime.now());
        let printable = info.agent_version.chars().filter(|c| c.is_ascii_graphic()).take(SOFTWARE_CHARS);
        self.software.insert(agent, printable.collect());
    }

    /// How we met a peer.
    fn met(&self, agent: AgentId) -> Scope {
        self.connections.address_of(agent).map_or(Scope::Global, scope)
    }

    fn pinged(&mut self, ping: &ping::Event) {
        match &ping.result {
            Ok(round_trip) => {
                if let Some(connection) = self.connections.get_mut(ping.connection) {
                    connection.round_trip = Some(*round_trip);
                }
            }
            Err(ping::Failure::Timeout) => {
                tracing::debug!(peer = %ping.peer, "no answer to pings; closing the connection");
                self.swarm.close_connection(ping.connection);
            }
            Err(_) => {}
        }
    }

    fn seen_nearby(&mut self, peers: Vec<(PeerId, Multiaddr)>) {
        let mut new = BTreeSet::new();
        for (peer, address) in peers.into_iter().take(FIND_LIMIT) {
            let Some(agent) = agent_of(&peer) else { continue };
            for address in worth_keeping([address], Scope::Private) {
                self.swarm.add_peer_address(peer, address);
                new.insert(agent);
            }
        }
        let room = (self.config.low_water as usize).saturating_sub(self.connections.len());
        new.into_iter().take(room).for_each(|agent| self.dial_in_passing(agent));
    }

    fn handle_kad_event(&mut self, event: kad::Event) {
        let now = self.runtime.instant();
        match event {
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                self.discovery.new_neighbour(&mut self.swarm.behaviour_mut().kad, now);
            }
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(record) } } => {
                let met = agent_of(&record.provider).map_or(Scope::Global, |agent| self.met(agent));
                self.discovery.keep(&mut self.swarm.behaviour_mut().kad, record, met, now);
            }
            kad::Event::OutboundQueryProgressed { id, result, step, stats } => {
                self.query_progressed(id, result, step.last, &stats);
            }
            _ => {}
        }
    }

    fn query_progressed(&mut self, id: kad::QueryId, result: kad::QueryResult, last: bool, stats: &kad::QueryStats) {
        let mut nearest = Vec::new();
        match result {
            kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
                self.found(id, providers);
            }
            kad::QueryResult::GetClosestPeers(Ok(kad::GetClosestPeersOk { peers, .. }))
            | kad::QueryResult::GetClosestPeers(Err(kad::GetClosestPeersError::Timeout { peers, .. })) => {
                nearest = peers;
            }
            kad::QueryResult::Bootstrap(_) if self.seeded == Some(id) => self.finish_seeding(),
            kad::QueryResult::Bootstrap(_) => self.discovery.refreshed(stats.num_successes(), last),
            kad::QueryResult::StartProviding(Err(error)) | kad::QueryResult::RepublishProvider(Err(error)) => {
                tracing::debug!(%error, "a service was not announced");
            }
            _ => {}
        }
        if last && let Some(agent) = self.discovery.finished(id) {
            let peer = peer_of(agent);
            let addresses = nearest.into_iter().filter(|info| info.peer_id == peer).flat_map(|info| info.addrs);
            self.looked_up(agent, worth_keeping(addresses, Scope::Loopback));
        }
    }

    /// Providers must be dialled while their query runs: afterwards nobody knows their addresses.
    fn found(&mut self, query: kad::QueryId, providers: impl IntoIterator<Item = PeerId>) {
        let (local, standing) = (self.local, &self.standing);
        let usable = |agent| agent != local && !standing.is_banned(agent);
        let (new, over) = self.discovery.found(query, providers, usable);
        new.into_iter().for_each(|agent| self.dial_in_passing(agent));
        if over && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&query) {
            query.finish();
        }
    }
}
