//! The swarm loop: one task that owns the swarm and all that is decided about it.
//!
//! ```text
//!   commands (from Network) ─┐
//!   swarm events ────────────┼─▶ handle ─▶ swarm, replies, inbound gossip, events
//!   timers ──────────────────┘
//! ```
//!
//! What it decides is in its parts: [`Peers`] (who is dialled, kept, banned), [`Discovery`] (Kademlia),
//! [`GossipValidator`], [`Records`], [`Listeners`]. They get the swarm as an argument. Nothing is awaited in a handler; what takes time
//! (the address book's transaction) runs as a task of its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use guilder_protocol::{discovery::Topic, identity::AgentId, market::ServiceName};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::upgrade::Version,
    gossipsub, identify,
    kad::{self, QueryId},
    mdns,
    swarm::{self, SwarmEvent},
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    AnnounceError, BootstrapInfo, ConnectError, GossipId, Inbound, Network, NetworkConfig, PeerInfo, Penalty, Setup,
    StartError, Stopped, Tap, Verdict, Walk,
    addrs::{Scope, prefix, scope, worth_keeping},
    admission::Admission,
    behaviour::{Behaviour, BehaviourEvent, KAD_PROTOCOL},
    dealings::Dealings,
    discovery::Discovery,
    gossip::{self, GossipValidator, screen},
    ids::{agent_of, peer_of},
    inbound::{self, Delivery},
    limits::{BOOK_INTERVAL, CHANGES, COMMANDS, SEED_DIALS, STREAMS_NEGOTIATING, UPKEEP_INTERVAL},
    links::Links,
    listeners::Listeners,
    peers::Peers,
    records::{Origin, Records},
    streams, transport,
};
use crate::runtime::Runtime;

type Reply<T> = oneshot::Sender<T>;

/// What the handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Connect { to: AgentId, reply: Reply<Result<(), ConnectError>> },
    Dial { address: Multiaddr, reply: Reply<Result<AgentId, ConnectError>> },
    Provide { service: ServiceName, reply: Reply<Result<(), AnnounceError>> },
    Unprovide(ServiceName),
    Find { service: ServiceName, limit: usize, walk: Walk, found: mpsc::Sender<AgentId> },
    Publish { topic: Topic, data: Bytes, reply: Reply<Result<(), AnnounceError>> },
    Subscribe { topic: Topic, reply: Reply<Result<(), AnnounceError>> },
    Unsubscribe(Topic),
    Validate { message: GossipId, verdict: Verdict },
    Peers(Reply<Vec<PeerInfo>>),
    Bootstraps(Reply<Vec<BootstrapInfo>>),
    SetBootstrap { old: Vec<Multiaddr>, new: Vec<Multiaddr> },
    ListenAddrs(Reply<Vec<Multiaddr>>),
    Routing(Reply<Vec<AgentId>>),
    Penalize { agent: AgentId, penalty: Penalty, reason: String },
    SeedRouting(Vec<(AgentId, Vec<Multiaddr>)>),
    Shutdown(Reply<()>),
}

/// The loop's state.
struct Actor {
    swarm: Swarm<Behaviour>,
    runtime: Runtime,
    tap: Option<Tap>,
    commands: mpsc::Receiver<Command>,
    peers: Peers,
    discovery: Discovery,
    records: Records,
    validator: GossipValidator,
    listeners: Listeners,
    /// The refresh of a converged start, which is ended at once.
    seeded: Option<QueryId>,
    upkeep_at: Instant,
    book_at: Instant,
}

/// Builds the swarm, spawns the loop and waits until it listens.
pub(super) async fn start(setup: Setup) -> Result<(Network, Inbound), StartError> {
    check(&setup.config)?;
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (changes, _) = broadcast::channel(CHANGES);
    let (delivery, queues) = Delivery::new();
    let (validator, heard) = GossipValidator::new(setup.runtime.instant());
    let (ready, is_ready) = oneshot::channel();
    let runtime = setup.runtime.clone();
    let local = setup.key.id();

    let links = Arc::new(Links::default());
    let dealings = Arc::new(Dealings::read(&setup.store));
    let keypair = transport::keypair(&setup.key)?;
    let streams = streams::Behaviour::new(Arc::clone(&links), delivery, Arc::clone(&dealings), runtime.clone());
    let behaviour =
        Behaviour::new(&keypair, &setup.config, streams, Arc::clone(&dealings), Arc::clone(&links), &runtime)?;
    let transport = Admission::of(setup.transport, runtime.clone());
    let mut swarm = Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm_config(&runtime));
    let listeners = Listeners::open(&mut swarm, &setup.config, setup.events.clone(), ready)?;
    let banned = Arc::default();
    let network = Network { local, links, dealings, banned, runtime: runtime.clone(), commands, changes };
    let now = runtime.instant();
    let actor = Actor {
        swarm,
        runtime: runtime.clone(),
        tap: setup.tap,
        commands: command_queue,
        peers: Peers::new(&network, setup.config, setup.store, setup.events),
        discovery: Discovery::default(),
        records: Records::new(local),
        validator,
        listeners,
        seeded: None,
        upkeep_at: now + UPKEEP_INTERVAL,
        book_at: now + BOOK_INTERVAL,
    };
    runtime.spawn("network", actor.run()).detach();
    match tokio::time::timeout(LISTEN_PATIENCE, is_ready).await {
        Ok(ready) => ready.map_err(|_| Stopped)??,
        Err(_) => {
            tracing::warn!("not every address of network.listen is in use: no interface has it yet; going on without")
        }
    }
    let inbound::Receivers { frames, content, mint, grants } = queues;
    let gossip::Heard { adverts, revocations } = heard;
    Ok((network, Inbound { frames, content, mint, grants, gossip: adverts, revocations }))
}

fn check(config: &NetworkConfig) -> Result<(), StartError> {
    if config.low_water > config.high_water {
        return Err(StartError::Config("low_water is above high_water"));
    }
    if config.high_water == 0 {
        return Err(StartError::Config("high_water is 0, so no peer could stay connected"));
    }
    Ok(())
}

/// How long the start waits until every address is in use: they are at once, unless no interface has an address of that
/// kind (no network yet, IPv6 off).
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);

/// How long the end waits for connections to close.
const FAREWELL: Duration = Duration::from_millis(300);

fn swarm_config(runtime: &Runtime) -> swarm::Config {
    let runtime = runtime.clone();
    swarm::Config::with_executor(move |connection| runtime.spawn("connection", connection).detach())
        // The first data go out together with the protocol's name: no round trip to open a stream.
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_max_negotiating_inbound_streams(STREAMS_NEGOTIATING)
        .with_idle_connection_timeout(Duration::from_secs(60))
}

impl Actor {
    async fn run(mut self) {
        self.peers.begin(&mut self.swarm);
        self.listeners.tell_if_started();
        let timer = sleep_until(self.next_wake());
        tokio::pin!(timer);
        loop {
            let wake = self.next_wake();
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            tokio::select! { biased;
                () = &mut timer => self.handle_timers(),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown(reply)) => {
                        self.end().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.handle_command(command),
                    // No handle is left, so nobody can want anything any more.
                    None => return self.end().await,
                },
                event = self.swarm.select_next_some() => {
                    if let Some(tap) = &self.tap {
                        tap(&event);
                    }
                    self.handle_swarm_event(event);
                }
            }
        }
    }

    /// Writes down what must outlive the process and closes the connections properly, but doesn't wait long for peers to
    /// agree.
    async fn end(&mut self) {
        self.peers.write_all().await;
        self.peers.disconnect_all(&mut self.swarm);
        let farewell = async {
            while self.peers.are_connected() {
                let event = self.swarm.select_next_some().await;
                self.handle_swarm_event(event);
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    fn next_wake(&self) -> Instant {
        let others = [self.peers.next_dial(), self.discovery.next_announcement(), self.validator.next_expiry()];
        others.into_iter().flatten().fold(self.upkeep_at, Instant::min)
    }

    fn handle_timers(&mut self) {
        let now = self.runtime.instant();
        self.peers.dial_bootstraps(&mut self.swarm, now);
        self.discovery.announce_if_due(&mut self.swarm.behaviour_mut().kad, now);
        self.validator.expire(&mut self.swarm.behaviour_mut().gossip, now);
        if self.upkeep_at <= now {
            self.upkeep_at = now + UPKEEP_INTERVAL;
            let peers = &self.peers;
            self.validator.forget_unless(|agent| peers.is_connected(agent));
            self.peers.upkeep(&mut self.swarm, now);
        }
        if self.book_at <= now {
            self.book_at = now + BOOK_INTERVAL;
            self.records.forget_expired(&mut self.swarm.behaviour_mut().kad, now);
            self.peers.write_book();
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.runtime.instant();
        let behaviour = self.swarm.behaviour_mut();
        // An answer that nobody waits for any more is dropped.
        match command {
            Command::Connect { to, reply } => self.peers.connect(&mut self.swarm, to, reply),
            Command::Dial { address, reply } => self.peers.dial(&mut self.swarm, address, reply),
            Command::Provide { service, reply } => {
                let _ = reply.send(self.discovery.provide(&mut behaviour.kad, service));
            }
            Command::Unprovide(service) => self.discovery.unprovide(&mut behaviour.kad, &service),
            Command::Find { service, limit, walk, found } => {
                self.discovery.find(&mut behaviour.kad, &service, limit, walk, found);
            }
            Command::Publish { topic, data, reply } => {
                let _ = reply.send(GossipValidator::publish(&mut behaviour.gossip, &topic, &data));
            }
            Command::Subscribe { topic, reply } => {
                let _ = reply.send(self.validator.subscribe(&mut behaviour.gossip, topic));
            }
            Command::Unsubscribe(topic) => self.validator.unsubscribe(&mut behaviour.gossip, &topic),
            Command::Validate { message, verdict } => {
                if let Some((agent, penalty)) = self.validator.report(&mut behaviour.gossip, message, verdict, now) {
                    self.peers.penalize(&mut self.swarm, agent, penalty, "forwarded invalid gossip");
                }
            }
            Command::Peers(reply) => {
                let _ = reply.send(self.peers.describe(now));
            }
            Command::Bootstraps(reply) => {
                let _ = reply.send(self.peers.describe_bootstraps());
            }
            Command::SetBootstrap { old, new } => self.peers.set_bootstrap(&mut self.swarm, &old, &new),
            Command::ListenAddrs(reply) => {
                let mut addresses: Vec<_> = self.swarm.listeners().cloned().collect();
                addresses.sort_unstable();
                let _ = reply.send(addresses);
            }
            Command::Routing(reply) => {
                let peers = behaviour.kad.kbuckets().flat_map(|bucket| {
                    bucket.iter().filter_map(|entry| agent_of(entry.node.key.preimage())).collect::<Vec<_>>()
                });
                let _ = reply.send(peers.collect());
            }
            Command::Penalize { agent, penalty, reason } => {
                self.peers.penalize(&mut self.swarm, agent, penalty, &reason);
            }
            Command::SeedRouting(peers) => self.seed_routing(peers),
            // Ends the loop, which sees to it itself.
            Command::Shutdown(_) => {}
        }
    }

    fn handle_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
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
                let failed = concurrent_dial_errors.into_iter().flatten().map(|(address, _)| address);
                self.peers.missed(agent, failed);
                let first = num_established.get() == 1;
                self.peers.connected(&mut self.swarm, agent, connection_id, &endpoint, first);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let Some(agent) = agent_of(&peer_id) else { return };
                self.peers.closed(agent, connection_id, num_established == 0, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                let agent = peer_id.as_ref().and_then(agent_of);
                self.peers.not_connected(&mut self.swarm, connection_id, agent, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.listeners.listening(&mut self.swarm, listener_id, address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.swarm.remove_external_address(&address),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let reason = reason.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
                self.listeners.closed(listener_id, reason);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener had an error"),
            _ => {}
        }
    }

    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(streams::Event::Violation { agent, violation }) => {
                self.peers.penalize(&mut self.swarm, agent, violation.penalty(), &violation.to_string());
            }
            BehaviourEvent::Gossip(screen::Event::Flooded(agent)) => {
                self.peers.penalize(&mut self.swarm, agent, Penalty::Major, "floods gossip");
            }
            BehaviourEvent::Gossip(screen::Event::Gossipsub(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => {
                let now = self.runtime.instant();
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                self.validator.take(gossip, propagation_source, &message_id, message, now);
            }
            BehaviourEvent::Kad(event) => self.handle_kad_event(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, info);
            }
            BehaviourEvent::Ping(ping) => self.peers.pinged(&mut self.swarm, &ping),
            BehaviourEvent::Mdns(mdns::Event::Discovered(peers)) => self.peers.seen_nearby(&mut self.swarm, peers),
            _ => {}
        }
    }

    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(agent) = agent_of(&peer) else { return };
        let used = self.peers.address_of(agent).cloned();
        let addresses = worth_keeping(info.listen_addrs, used.as_ref().map_or(Scope::Global, scope));
        if info.protocols.contains(&KAD_PROTOCOL) {
            let (kad, now) = (&mut self.swarm.behaviour_mut().kad, self.runtime.instant());
            self.discovery.learn(kad, &peer, &addresses, used.as_ref(), now);
            self.discovery.met_somebody(kad);
        }
        self.peers.identified(agent, addresses, &info.agent_version);
    }

    fn handle_kad_event(&mut self, event: kad::Event) {
        let now = self.runtime.instant();
        match event {
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                self.discovery.new_neighbour(&mut self.swarm.behaviour_mut().kad, now);
            }
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(record) } } => {
                let address = agent_of(&record.provider).and_then(|agent| self.peers.address_of(agent));
                let Some(address) = address else { return };
                let from = Origin { scope: scope(address), prefix: prefix(address) };
                self.records.keep(&mut self.swarm.behaviour_mut().kad, record, from, now);
            }
            kad::Event::OutboundQueryProgressed { id, result, step, stats } => {
                self.query_progressed(id, result, step.last, &stats);
            }
            _ => {}
        }
    }

    fn query_progressed(&mut self, id: kad::QueryId, result: kad::QueryResult, last: bool, stats: &kad::QueryStats) {
        match result {
            kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
                self.found(id, providers);
            }
            kad::QueryResult::Bootstrap(_) if self.seeded == Some(id) => self.finish_seeding(),
            kad::QueryResult::Bootstrap(_) => self.discovery.refreshed(stats.num_successes(), last),
            kad::QueryResult::StartProviding(Err(error)) | kad::QueryResult::RepublishProvider(Err(error)) => {
                tracing::debug!(%error, "a service was not announced");
            }
            _ => {}
        }
        if last {
            self.discovery.finished(id);
            self.peers.query_finished(&mut self.swarm, id);
        }
    }

    /// Providers are dialled as they are found: whoever searches will speak with them.
    fn found(&mut self, query: kad::QueryId, providers: impl IntoIterator<Item = PeerId>) {
        let peers = &self.peers;
        let (new, over) = self.discovery.found(query, providers, |agent| peers.is_dialable(agent));
        new.into_iter().for_each(|agent| self.peers.dial_in_passing(&mut self.swarm, agent));
        if over && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&query) {
            query.finish();
        }
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
        let dials = SEED_DIALS.min(self.peers.low_water() / 2);
        for (agent, _) in peers.into_iter().take(dials) {
            self.peers.dial_in_passing(&mut self.swarm, agent);
        }
    }

    /// Ends the refresh of a converged start.
    fn finish_seeding(&mut self) {
        if let Some(query) = self.seeded
            && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&query)
        {
            query.finish();
        }
    }
}
