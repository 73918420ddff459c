//! The swarm loop: one task that owns the swarm and all that is decided about it.
//!
//! ```text
//!   commands (from Network) ─┐
//!   swarm events ────────────┼─▶ handle ─▶ swarm, replies, inbound gossip, events
//!   timers ──────────────────┘
//! ```
//!
//! Nothing is awaited in a handler; what takes time (the address book's transaction) runs as a task of its own.

mod commands;
mod peers;
mod swarm_events;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use guilder_protocol::{identity::AgentId, market::ServiceName};
use libp2p::{
    Multiaddr, Swarm,
    core::{transport::ListenerId, upgrade::Version},
    kad::QueryId,
    swarm::{self, ConnectionId},
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    AnnounceError, ConnectError, GossipId, Inbound, Network, NetworkConfig, PeerChange, PeerInfo, Penalty, Setup,
    StartError, Stopped, Tap, Verdict, Walk,
    behaviour::Behaviour,
    book::Book,
    connecting::{Bootstraps, Waiting},
    connections::Connections,
    discovery::Discovery,
    error::DialCause,
    gossip::Mill,
    inbound::Delivery,
    limits::{BOOK_INTERVAL, CHANGES, COMMANDS, STREAMS_NEGOTIATING, UPKEEP_INTERVAL},
    links::Links,
    standing::{Standing, write_bans},
    streams, transport,
};
use crate::{events::Events, runtime::Runtime, store::Store};

type Reply<T> = oneshot::Sender<T>;

/// What the handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Connect { to: AgentId, reply: Reply<Result<(), ConnectError>> },
    Dial { address: Multiaddr, reply: Reply<Result<AgentId, ConnectError>> },
    Provide { service: ServiceName, reply: Reply<Result<(), AnnounceError>> },
    Unprovide(ServiceName),
    Find { service: ServiceName, limit: usize, walk: Walk, found: mpsc::Sender<AgentId> },
    Publish { topic: ServiceName, data: Bytes, reply: Reply<Result<(), AnnounceError>> },
    Subscribe { topic: ServiceName, reply: Reply<Result<(), AnnounceError>> },
    Unsubscribe(ServiceName),
    Validate { message: GossipId, verdict: Verdict },
    Peers(Reply<Vec<PeerInfo>>),
    ListenAddrs(Reply<Vec<Multiaddr>>),
    Routing(Reply<Vec<AgentId>>),
    Protect(AgentId),
    Unprotect(AgentId),
    Penalize { agent: AgentId, penalty: Penalty, reason: String },
    SeedRouting(Vec<(AgentId, Vec<Multiaddr>)>),
    Shutdown(Reply<()>),
}

/// The loop's state.
struct Actor {
    swarm: Swarm<Behaviour>,
    local: AgentId,
    config: NetworkConfig,
    runtime: Runtime,
    store: Store,
    events: Events,
    tap: Option<Tap>,
    links: Arc<Links>,
    commands: mpsc::Receiver<Command>,
    changes: broadcast::Sender<PeerChange>,
    connections: Connections,
    waiting: Waiting,
    /// Explicit dials that somebody waits for.
    dials: BTreeMap<ConnectionId, Reply<Result<AgentId, ConnectError>>>,
    bootstraps: Bootstraps,
    discovery: Discovery,
    mill: Mill,
    standing: Standing,
    book: Book,
    /// What software connected peers say they run.
    software: BTreeMap<AgentId, String>,
    listeners: Vec<Listener>,
    /// Who waits until all listeners are in use.
    starting: Option<Reply<Result<(), StartError>>>,
    /// The refresh of a converged start, which is ended at once.
    seeded: Option<QueryId>,
    upkeep_at: Instant,
    book_at: Instant,
}

/// One address that we listen on.
struct Listener {
    id: ListenerId,
    /// As the operator wrote it.
    asked: Multiaddr,
    in_use: bool,
}

/// Builds the swarm, spawns the loop and waits until it listens.
pub(super) async fn start(setup: Setup) -> Result<(Network, Inbound), StartError> {
    check(&setup.config)?;
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (changes, _) = broadcast::channel(CHANGES);
    let (delivery, queues) = Delivery::new();
    let (mill, gossip) = Mill::new();
    let (ready, is_ready) = oneshot::channel();
    let runtime = setup.runtime.clone();
    let local = setup.key.id();
    let actor = Actor::new(setup, delivery, mill, command_queue, changes.clone(), ready)?;
    let links = Arc::clone(&actor.links);
    runtime.spawn("network", actor.run()).detach();
    is_ready.await.map_err(|_| Stopped)??;
    let network = Network { local, links, commands, changes };
    Ok((network, Inbound { frames: queues.frames, content: queues.content, mint: queues.mint, gossip }))
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

impl Actor {
    fn new(
        setup: Setup,
        delivery: Delivery,
        mill: Mill,
        commands: mpsc::Receiver<Command>,
        changes: broadcast::Sender<PeerChange>,
        ready: Reply<Result<(), StartError>>,
    ) -> Result<Self, StartError> {
        let Setup { key, transport, config, runtime, store, events, tap } = setup;
        let now = runtime.instant();
        let links = Arc::new(Links::default());
        let keypair = transport::keypair(&key)?;
        let streams = streams::Behaviour::new(Arc::clone(&links), delivery, runtime.clone());
        let behaviour = Behaviour::new(&keypair, &config, streams)?;
        let swarm_config = swarm_config(&runtime);
        let mut swarm = Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm_config);
        let mut listeners = Vec::new();
        for address in &config.listen {
            let id = swarm.listen_on(address.clone()).map_err(|error| StartError::Listen {
                address: address.clone(),
                cause: DialCause(error.to_string()),
            })?;
            listeners.push(Listener { id, asked: address.clone(), in_use: false });
        }
        config.external.iter().for_each(|address| swarm.add_external_address(address.clone()));
        Ok(Self {
            swarm,
            local: key.id(),
            links,
            commands,
            changes,
            connections: Connections::default(),
            waiting: Waiting::default(),
            dials: BTreeMap::new(),
            bootstraps: Bootstraps::new(&config.bootstrap, key.id(), now),
            discovery: Discovery::default(),
            mill,
            standing: Standing::read(&store, runtime.now(), now),
            book: Book::read(&store),
            software: BTreeMap::new(),
            starting: Some(ready),
            listeners,
            seeded: None,
            upkeep_at: now + UPKEEP_INTERVAL,
            book_at: now + BOOK_INTERVAL,
            config,
            runtime,
            store,
            events,
            tap,
        })
    }

    async fn run(mut self) {
        self.begin();
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

    /// Makes known whom we know.
    fn begin(&mut self) {
        for agent in self.standing.banned() {
            self.swarm.behaviour_mut().bans.block_peer(super::ids::peer_of(agent));
        }
        for (agent, address) in self.bootstraps.known() {
            self.swarm.behaviour_mut().kad.add_address(&super::ids::peer_of(agent), address.clone());
        }
        self.dial_from_book();
        self.tell_if_started();
    }

    /// Writes the book and closes the connections properly, but doesn't wait long for peers to agree.
    async fn end(&mut self) {
        if let Err(error) = self.book.take_changes().write(&self.store).await {
            tracing::warn!(%error, "the address book was not written");
        }
        // The task that was to write the latest may not have begun.
        let bans = self.standing.bans(self.runtime.now(), self.runtime.instant());
        if let Err(error) = write_bans(self.store.clone(), bans, Vec::new()).await {
            tracing::warn!(%error, "the bans were not written");
        }
        let peers = self.connections.by_peer().into_keys().collect::<Vec<_>>();
        for agent in peers {
            // Fails only for a peer that is gone already.
            let _ = self.swarm.disconnect_peer_id(super::ids::peer_of(agent));
        }
        let farewell = async {
            while self.connections.len() > 0 {
                let event = self.swarm.select_next_some().await;
                self.handle_swarm_event(event);
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    fn next_wake(&self) -> Instant {
        let others = [self.bootstraps.next_dial(), self.discovery.next_announcement(), self.mill.next_expiry()];
        others.into_iter().flatten().fold(self.upkeep_at, Instant::min)
    }

    fn handle_timers(&mut self) {
        let now = self.runtime.instant();
        for dial in self.bootstraps.due(now) {
            let connection = dial.connection_id();
            if let Err(error) = self.swarm.dial(dial) {
                self.bootstrap_not_dialled(connection, &error);
            }
        }
        self.discovery.announce_if_due(&mut self.swarm.behaviour_mut().kad, now);
        self.mill.expire(&mut self.swarm.behaviour_mut().gossip, now);
        if self.upkeep_at <= now {
            self.upkeep_at = now + UPKEEP_INTERVAL;
            self.upkeep(now);
        }
        if self.book_at <= now {
            self.book_at = now + BOOK_INTERVAL;
            self.discovery.tidy(&mut self.swarm.behaviour_mut().kad, now);
            self.write_book();
        }
    }

    fn write_book(&mut self) {
        let changes = self.book.take_changes();
        let store = self.store.clone();
        let write = async move {
            if let Err(error) = changes.write(&store).await {
                tracing::warn!(%error, "the address book was not written");
            }
        };
        self.runtime.spawn("address book", write).detach();
    }
}

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
