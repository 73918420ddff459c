//! Who is dialled, who stays connected, who is banned.
//!
//! ```text
//!   other rooms ── connect ─▶ dial ── fails ─▶ look-up in Kademlia ─▶ dial again ─▶ answer
//!   connection events ──────▶ connections (which are surplus?), address book, bootstrap peers
//!   violations, verdicts ───▶ scores ─▶ ban
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use guilder_protocol::{identity::AgentId, time::Timestamp};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    kad, ping,
    swarm::{
        ConnectionError, ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{
    sync::{broadcast, oneshot},
    time::Instant,
};

use super::{
    BootstrapInfo, ConnectError, Network, NetworkConfig, PeerChange, PeerInfo, Penalty,
    addrs::{Scope, split, worth_keeping},
    behaviour::{Behaviour, nearby},
    book::Book,
    connecting::{Bootstraps, Stage, Waiting},
    connections::{Connection, Connections, Marks},
    dealings::{self, Dealings},
    error::DialCause,
    ids::{agent_of, peer_of},
    limits::{BAN_TIME, BOOK_DIALS, CONNECTIONS_SLACK, FIND_LIMIT, MIN_CONNECTIONS, NEARBY_PEERS, SOFTWARE_CHARS},
    links::Links,
    scores::{Banned, Counted, PeerScores, write_bans},
};
use crate::{
    events::{Event, Events},
    runtime::Runtime,
    store::{Store, StoreError},
};

type Reply<T> = oneshot::Sender<T>;

/// See the module's documentation.
pub(super) struct Peers {
    local: AgentId,
    config: NetworkConfig,
    runtime: Runtime,
    store: Store,
    events: Events,
    links: Arc<Links>,
    dealings: Arc<Dealings>,
    changes: broadcast::Sender<PeerChange>,
    connections: Connections,
    waiting: Waiting,
    /// Explicit dials that somebody waits for.
    dials: BTreeMap<ConnectionId, Reply<Result<AgentId, ConnectError>>>,
    bootstraps: Bootstraps,
    scores: PeerScores,
    /// Whom the scores ban, for the rest of the node.
    banned: Arc<Banned>,
    book: Book,
    /// What software connected peers say they run.
    software: BTreeMap<AgentId, String>,
}

impl Peers {
    /// The handle tells what is shared with other rooms.
    pub(super) fn new(network: &Network, config: NetworkConfig, store: Store, events: Events) -> Self {
        let Network { local, links, dealings, banned, runtime, changes, .. } = network.clone();
        let now = runtime.instant();
        Self {
            local,
            links,
            banned,
            dealings,
            changes,
            connections: Connections::default(),
            waiting: Waiting::default(),
            dials: BTreeMap::new(),
            bootstraps: Bootstraps::new(&config.bootstrap, local, now),
            scores: PeerScores::read(&store, runtime.now(), now),
            book: Book::read(&store),
            software: BTreeMap::new(),
            config,
            runtime,
            store,
            events,
        }
    }

    /// Makes known to the swarm whom we know.
    pub(super) fn begin(&mut self, swarm: &mut Swarm<Behaviour>) {
        for agent in self.scores.banned() {
            self.banned.insert(agent);
            swarm.behaviour_mut().bans.block_peer(peer_of(agent));
        }
        for (agent, address) in self.bootstraps.known() {
            swarm.behaviour_mut().kad.add_address(&peer_of(agent), address.clone());
        }
        self.dial_from_book(swarm);
    }

    // What is asked of them.

    /// Somebody needs a connection to a peer.
    pub(super) fn connect(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        to: AgentId,
        reply: Reply<Result<(), ConnectError>>,
    ) {
        let known = if self.is_connected(to) {
            Some(Ok(()))
        } else {
            self.scores.is_banned(to).then_some(Err(ConnectError::Banned(to)))
        };
        if let Some(result) = known {
            let _ = reply.send(result);
        } else if self.waiting.push(to, reply) {
            self.dial_for_waiters(swarm, to);
        }
    }

    /// Somebody wants an address dialled.
    pub(super) fn dial(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        address: Multiaddr,
        reply: Reply<Result<AgentId, ConnectError>>,
    ) {
        let (bare, agent) = split(&address);
        let dial = match agent {
            Some(agent) if agent == self.local => {
                let _ = reply.send(Err(ConnectError::Ourselves));
                return;
            }
            Some(agent) if self.is_connected(agent) => {
                let _ = reply.send(Ok(agent));
                return;
            }
            Some(agent) => {
                DialOpts::peer_id(peer_of(agent)).condition(PeerCondition::Always).addresses(vec![bare]).build()
            }
            None => DialOpts::unknown_peer_id().address(bare).build(),
        };
        let connection = dial.connection_id();
        match swarm.dial(dial) {
            Ok(()) => {
                self.dials.insert(connection, reply);
            }
            Err(error) => {
                let _ = reply.send(Err(self.dial_error(agent, &error)));
            }
        }
    }

    /// The connected ones, for people.
    pub(super) fn describe(&self, now: Instant) -> Vec<PeerInfo> {
        let info = |(agent, connections): (AgentId, Vec<&Connection>)| {
            let oldest = connections.first()?;
            Some(PeerInfo {
                agent,
                addresses: connections.iter().map(|connection| connection.address.clone()).collect(),
                dialled: oldest.dialled,
                connected_secs: now.saturating_duration_since(oldest.since).as_secs(),
                protected: self.dealings.is_protected(agent) || self.bootstraps.contains(agent),
                software: self.software.get(&agent).cloned(),
                round_trip_us: connections
                    .iter()
                    .find_map(|connection| connection.round_trip)
                    .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
                points: self.scores.points(agent, now),
            })
        };
        self.connections.by_peer().into_iter().filter_map(info).collect()
    }

    /// The peers of `network.bootstrap`, for people.
    pub(super) fn describe_bootstraps(&self) -> Vec<BootstrapInfo> {
        self.bootstraps.describe()
    }

    /// Other peers to begin with, see [`Network::set_bootstrap`].
    pub(super) fn set_bootstrap(&mut self, swarm: &mut Swarm<Behaviour>, old: &[Multiaddr], new: &[Multiaddr]) {
        let links = Arc::clone(&self.links);
        let now = self.runtime.instant();
        self.bootstraps.replace(old, new, self.local, now, |agent| links.get(agent).is_some());
        // Whoever isn't named any more is trusted no further than others.
        let named: BTreeSet<AgentId> = self.bootstraps.named().collect();
        swarm.behaviour_mut().newcomers.set_named(named.clone());
        swarm.behaviour_mut().kad.set_named(named);
        for (agent, address) in self.bootstraps.known() {
            swarm.behaviour_mut().kad.add_address(&peer_of(agent), address.clone());
        }
    }

    pub(super) fn penalize(&mut self, swarm: &mut Swarm<Behaviour>, agent: AgentId, penalty: Penalty, reason: &str) {
        if penalty >= Penalty::Major {
            self.dealings.forget(agent);
        }
        if self.scores.is_banned(agent) {
            // What it sent before it was cut off.
            return;
        }
        let now = self.runtime.instant();
        let counted = self.scores.penalize(agent, penalty, now);
        let banned = matches!(counted, Counted::Banned { .. });
        self.events.emit(Event::PeerPenalized { peer: agent, reason: reason.to_owned(), banned });
        let peer = peer_of(agent);
        let behaviour = swarm.behaviour_mut();
        behaviour.gossip.set_application_score(&peer, -f64::from(self.scores.points(agent, now)));
        if let Counted::Banned { lifted } = counted {
            let until = self.runtime.now().saturating_add(BAN_TIME.as_secs());
            self.write_bans(vec![(agent, until)], lifted.into_iter().collect());
            self.banned.insert(agent);
            behaviour.bans.block_peer(peer);
            if let Some(address) = self.connections.address_of(agent) {
                behaviour.newcomers.banned(address);
            }
            behaviour.kad.remove_peer(&peer);
            if let Some(lifted) = lifted {
                self.banned.remove(lifted);
                behaviour.bans.unblock_peer(peer_of(lifted));
            }
            self.waiting.answer(agent, &Err(ConnectError::Banned(agent)));
        }
    }

    pub(super) fn is_connected(&self, agent: AgentId) -> bool {
        self.links.get(agent).is_some()
    }

    pub(super) fn are_connected(&self) -> bool {
        self.connections.len() > 0
    }

    /// Whether it is another peer and not banned.
    pub(super) fn is_dialable(&self, agent: AgentId) -> bool {
        agent != self.local && !self.scores.is_banned(agent)
    }

    /// Where a connected peer is, as far as we can see.
    pub(super) fn address_of(&self, agent: AgentId) -> Option<&Multiaddr> {
        self.connections.address_of(agent)
    }

    /// How many connections are left after closing some.
    pub(super) fn low_water(&self) -> usize {
        self.config.low_water as usize
    }

    // Dials.

    /// Dials a peer that nobody waits for yet.
    pub(super) fn dial_in_passing(&self, swarm: &mut Swarm<Behaviour>, agent: AgentId) {
        if !self.is_dialable(agent) {
            return;
        }
        match swarm.dial(self.dial_opts(agent)) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => tracing::debug!(?agent, %error, "not dialled"),
        }
    }

    /// Dials a peer that somebody waits for.
    fn dial_for_waiters(&mut self, swarm: &mut Swarm<Behaviour>, agent: AgentId) {
        match swarm.dial(self.dial_opts(agent)) {
            // Under way, or already under way: its end answers.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(swarm, agent, &error),
        }
    }

    /// Where the book says, and what others told us, see `kad`.
    fn dial_opts(&self, agent: AgentId) -> DialOpts {
        DialOpts::peer_id(peer_of(agent))
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(self.book.addresses(agent))
            .extend_addresses_through_behaviour()
            .build()
    }

    /// A dial of a peer came to nothing: what is still to be tried for those who wait?
    fn dial_failed(&mut self, swarm: &mut Swarm<Behaviour>, agent: AgentId, error: &DialError) {
        let cause = self.dial_error(Some(agent), error);
        let can_look_up = self.waiting.has_room_to_look_up();
        match self.waiting.stage(agent) {
            None => {}
            Some(stage @ Stage::Dialling) if can_look_up && !matches!(error, DialError::Denied { .. }) => {
                let query = swarm.behaviour_mut().kad.get_closest_peers(peer_of(agent));
                *stage = Stage::LookingUp { query, first: cause };
            }
            // A dial of the look-up's own; its end decides.
            Some(Stage::LookingUp { .. }) => {}
            Some(Stage::LookedUp { first }) => {
                let first = first.clone();
                self.waiting.answer(agent, &Err(first));
            }
            Some(Stage::Dialling) => self.waiting.answer(agent, &Err(cause)),
        }
    }

    /// A query in Kademlia is over. If it looked up a peer that somebody waits for, that one is dialled where it is said to be.
    pub(super) fn query_finished(&mut self, swarm: &mut Swarm<Behaviour>, query: kad::QueryId) {
        if let Some(agent) = self.waiting.looked_up(query) {
            self.dial_for_waiters(swarm, agent);
        }
    }

    fn dial_error(&self, agent: Option<AgentId>, error: &DialError) -> ConnectError {
        match (error, agent) {
            (DialError::LocalPeerId { .. }, _) => ConnectError::Ourselves,
            (DialError::NoAddresses, Some(agent)) => ConnectError::NoAddress(agent),
            (DialError::Denied { .. }, Some(agent)) if self.scores.is_banned(agent) => ConnectError::Banned(agent),
            (DialError::Denied { .. }, _) => ConnectError::Busy,
            (DialError::WrongPeerId { obtained, .. }, _) => {
                ConnectError::Dial(DialCause(format!("another peer answered: {obtained}")))
            }
            (DialError::Transport(failures), _) => {
                let failures = failures.iter().map(|(address, error)| format!("{address}: {}", innermost(error)));
                ConnectError::Dial(DialCause(failures.collect::<Vec<_>>().join("; ")))
            }
            (error, _) => ConnectError::Dial(DialCause(error.to_string())),
        }
    }

    /// When the next bootstrap peer is due.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        self.bootstraps.next_dial()
    }

    pub(super) fn dial_bootstraps(&mut self, swarm: &mut Swarm<Behaviour>, now: Instant) {
        for dial in self.bootstraps.due(now) {
            let connection = dial.connection_id();
            if let Err(error) = swarm.dial(dial) {
                self.bootstrap_not_dialled(connection, &error);
            }
        }
    }

    fn bootstrap_not_dialled(&mut self, connection: ConnectionId, error: &DialError) {
        let reason = match error {
            // Connected, or being dialled for another reason: looked at again in a while.
            DialError::DialPeerConditionFalse(_) => None,
            DialError::Transport(failures) => failures.last().map(|(_, error)| innermost(error)),
            error => Some(error.to_string()),
        };
        let [jitter] = self.runtime.random();
        let failed = self.bootstraps.failed(connection, reason.as_deref(), self.runtime.instant(), jitter);
        if let (Some((address, again)), Some(reason)) = (failed, reason) {
            self.events.emit(Event::BootstrapFailed { address: address.to_string(), reason, again });
        }
    }

    /// Dials the peers that were connected last time.
    fn dial_from_book(&self, swarm: &mut Swarm<Behaviour>) {
        for agent in self.book.latest(BOOK_DIALS) {
            self.dial_in_passing(swarm, agent);
        }
    }

    // What the swarm reports.

    pub(super) fn connected(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        agent: AgentId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        first: bool,
    ) {
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
        self.trim(swarm, now);
    }

    pub(super) fn closed(&mut self, agent: AgentId, id: ConnectionId, last: bool, cause: Option<ConnectionError>) {
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

    pub(super) fn not_connected(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        id: ConnectionId,
        agent: Option<AgentId>,
        error: &DialError,
    ) {
        self.bootstrap_not_dialled(id, error);
        if let Some(reply) = self.dials.remove(&id) {
            let _ = reply.send(Err(self.dial_error(agent, error)));
        }
        if let Some(agent) = agent {
            match error {
                DialError::Transport(failures) => {
                    self.missed(agent, failures.iter().map(|(address, _)| address.clone()));
                }
                DialError::WrongPeerId { address, .. } => self.missed(agent, [address.clone()]),
                _ => {}
            }
            self.dial_failed(swarm, agent, error);
        }
    }

    /// Dials of these addresses of a peer came to nothing.
    pub(super) fn missed(&mut self, agent: AgentId, addresses: impl IntoIterator<Item = Multiaddr>) {
        addresses.into_iter().for_each(|address| self.book.missed(agent, &split(&address).0));
    }

    /// A peer says what it is.
    pub(super) fn identified(&mut self, agent: AgentId, addresses: Vec<Multiaddr>, software: &str) {
        self.book.claims(agent, addresses, self.runtime.now());
        let printable = software.chars().filter(|c| c.is_ascii_graphic()).take(SOFTWARE_CHARS);
        self.software.insert(agent, printable.collect());
    }

    pub(super) fn pinged(&mut self, swarm: &mut Swarm<Behaviour>, ping: &ping::Event) {
        match &ping.result {
            Ok(round_trip) => {
                if let Some(connection) = self.connections.get_mut(ping.connection) {
                    connection.round_trip = Some(*round_trip);
                }
            }
            Err(ping::Failure::Timeout) => {
                tracing::debug!(peer = %ping.peer, "no answer to pings; closing the connection");
                swarm.close_connection(ping.connection);
            }
            Err(_) => {}
        }
    }

    /// Multicast DNS heard of peers.
    pub(super) fn seen_nearby(&mut self, swarm: &mut Swarm<Behaviour>, peers: Vec<(PeerId, Multiaddr)>) {
        let known = swarm.behaviour().mdns.as_ref().map_or(0, |mdns| mdns.discovered_nodes().len());
        if known > NEARBY_PEERS {
            match nearby(peer_of(self.local)) {
                Ok(anew) => swarm.behaviour_mut().mdns = anew,
                Err(error) => tracing::warn!(%error, "multicast DNS can't be begun anew"),
            }
            return;
        }
        let mut new = BTreeSet::new();
        for (peer, address) in peers.into_iter().take(FIND_LIMIT) {
            let Some(agent) = agent_of(&peer) else { continue };
            for address in worth_keeping([address], Scope::Private) {
                swarm.add_peer_address(peer, address);
                new.insert(agent);
            }
        }
        let room = self.low_water().saturating_sub(self.connections.len());
        new.into_iter().take(room).for_each(|agent| self.dial_in_passing(swarm, agent));
    }

    // Upkeep.

    /// Looks after bans and connections, and forgets what was known of peers that are gone.
    pub(super) fn upkeep(&mut self, swarm: &mut Swarm<Behaviour>, now: Instant) {
        let over = self.scores.expire(now);
        for agent in &over {
            self.banned.remove(*agent);
            swarm.behaviour_mut().bans.unblock_peer(peer_of(*agent));
        }
        if !over.is_empty() {
            self.write_bans(Vec::new(), over);
        }
        let links = &self.links;
        self.software.retain(|agent, _| links.get(*agent).is_some());
        self.connections.observe(|agent, connection| links.activity(agent, connection), now);
        self.trim(swarm, now);
        if self.connections.len() < MIN_CONNECTIONS {
            self.dial_from_book(swarm);
        }
    }

    /// Closes what is too many.
    fn trim(&self, swarm: &mut Swarm<Behaviour>, now: Instant) {
        let (low, high) = (self.low_water(), self.config.high_water as usize);
        if self.connections.len() <= high {
            return;
        }
        let kept = |agent| self.bootstraps.contains(agent) || self.dealings.is_protected(agent);
        // A place in a mesh is had for the asking, so it spares nobody; but where there is a choice, meshes stay whole.
        let mesh: BTreeSet<_> = swarm.behaviour().gossip.all_mesh_peers().filter_map(agent_of).collect();
        let worth = |agent| (self.dealings.has(agent), mesh.contains(&agent));
        let full = high + CONNECTIONS_SLACK as usize / 4;
        let marks = Marks { low, high, full, grace: self.config.grace() };
        for connection in self.connections.surplus(marks, kept, worth, now) {
            swarm.close_connection(connection);
        }
    }

    /// Writes down what has changed in the address book and among those dealt with, in a task of its own.
    pub(super) fn write_book(&mut self) {
        let writing = self.writing_book();
        let write = async move {
            if let Err(error) = writing.await {
                tracing::warn!(%error, "the address book was not written");
            }
        };
        self.runtime.spawn("address book", write).detach();
    }

    fn writing_book(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (store, book, dealings) = (self.store.clone(), self.book.take_changes(), self.dealings.take_changes());
        async move {
            if book.is_empty() && dealings.is_empty() {
                return Ok(());
            }
            store.write(move |w| book.write(w).and_then(|()| dealings::write(w, &dealings))).await
        }
    }

    /// In a task of its own: the loop doesn't wait for the disk, and a ban holds without it.
    fn write_bans(&self, begun: Vec<(AgentId, Timestamp)>, over: Vec<AgentId>) {
        let writing = write_bans(self.store.clone(), begun, over);
        let write = async move {
            if let Err(error) = writing.await {
                tracing::warn!(%error, "a ban was not written down");
            }
        };
        self.runtime.spawn("bans", write).detach();
    }

    /// Writes down what must outlive the process, and waits for the disk.
    pub(super) async fn write_all(&mut self) {
        if let Err(error) = self.writing_book().await {
            tracing::warn!(%error, "the address book was not written");
        }
        // The task that was to write the latest may not have begun.
        let bans = self.scores.bans(self.runtime.now(), self.runtime.instant());
        if let Err(error) = write_bans(self.store.clone(), bans, Vec::new()).await {
            tracing::warn!(%error, "the bans were not written");
        }
    }

    pub(super) fn disconnect_all(&self, swarm: &mut Swarm<Behaviour>) {
        for agent in self.connections.by_peer().into_keys() {
            // Fails only for a peer that is gone already.
            let _ = swarm.disconnect_peer_id(peer_of(agent));
        }
    }
}

/// What lies at the bottom of an error: transports wrap the one thing worth knowing in layers that repeat it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
