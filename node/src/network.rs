//! The peer-to-peer network: the only room that knows the libp2p swarm.
//!
//! ```text
//!  trade ── send(to, frame) ─────────▶ link ──▶ connection task ══ /guilder/trade/1 ══▶ peer
//!  trade ◀── Inbound::frames ◀──────── byte budget ◀── connection task ◀══════════════ peer
//!  content, wallet, grants ── open(to, ..) ──▶ link ──▶ connection task ══ /guilder/content/1, mint/1, grants/1 ══ peer
//!  catalogue, grants ── find, provide, publish, validate ──▶ actor (the swarm loop) ══ Kademlia, gossipsub ══ peers
//! ```
//!
//! Frames don't pass the swarm loop: [`Network::send`] puts a frame straight into the queue of the connection's task,
//! and that task hands what it reads straight to [`Inbound::frames`]. The loop does the rest: it dials, searches,
//! gossips, and decides which connections stay. Every other room holds a [`Network`], which is a cheap handle; the
//! one consumer of each kind of inbound traffic holds its receiver from [`Inbound`].
//!
//! **Order and loss.** Frames to one peer arrive in the order in which `send` returned, as long as one connection lives.
//! `Ok` means that the frame is in the queue of a live connection; if that dies, what was queued is lost, and whoever
//! needs an answer repeats itself after [`PeerChange::Connected`] or a deadline. Nothing is ever reordered on one
//! connection, and nothing delivered twice.
//!
//! **Bounds** (each with its reason in `network/limits.rs`): frames are at most
//! [`MAX_FRAME`](guilder_protocol::limits::MAX_FRAME) long and memory follows the bytes that arrived, never a claimed
//! length; queues have byte budgets, and a full one slows down its sender alone; streams are counted per peer and in
//! all; a peer that goes over a bound which honest peers keep gets penalty points ([`Penalty`]), and with enough of them is
//! banned for a while.
//!
//! **Cancel-safe**: every method. A `send` that is dropped before it returned has sent nothing.
//!
//! **Deterministic**: given the transport, the runtime and entropy, the room adds no order of its own: maps are
//! ordered, selects are biased, and every task, the swarm's own included, is spawned through the runtime.

mod actor;
mod addrs;
mod admission;
mod behaviour;
mod book;
mod config;
mod connecting;
mod connections;
mod dealings;
mod discovery;
mod error;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gossip;
mod ids;
mod inbound;
mod kad;
mod limits;
mod links;
mod listeners;
mod newcomers;
mod peers;
mod places;
pub(crate) mod rate;
mod records;
mod scores;
pub mod size;
mod stream;
mod streams;
pub mod transport;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use guilder_protocol::{
    discovery::Topic,
    identity::{AgentId, AgentKey},
    limits::MAX_FRAME,
    market::ServiceName,
};
pub use libp2p::Multiaddr;
use libp2p::{
    PeerId,
    core::{muxing::StreamMuxerBox, transport::Boxed},
};
use tokio::sync::{broadcast, mpsc, oneshot};

use self::{
    actor::Command,
    dealings::Dealings,
    links::{Link, Links},
    scores::Banned,
};
pub use self::{
    config::{DhtMode, NetworkConfig},
    dealings::Protection,
    discovery::{Walk, service_key},
    error::{AnnounceError, ConnectError, DialCause, OpenError, SendError, StartError, Stopped},
    inbound::Frames,
    limits::{CONNECTIONS_SLACK, RESERVED as RESERVED_CONNECTIONS},
    stream::Stream,
};

use crate::{events::Events, runtime::Runtime, store::Store};

/// A transport, ready for the swarm: authenticated and multiplexed.
pub type Transport = Boxed<(PeerId, StreamMuxerBox)>;

/// Hears every event of the swarm, in order: the simulator's window.
pub type Tap = Arc<dyn Fn(&dyn fmt::Debug) + Send + Sync>;

/// What the network is built from.
pub struct Setup {
    /// The node's key; its peer ID is the node's identity.
    pub key: AgentKey,
    /// Production: [`transport::tcp_quic`].
    pub transport: Transport,
    /// The operator's settings.
    pub config: NetworkConfig,
    /// Time, tasks, randomness.
    pub runtime: Runtime,
    /// Keeps the address book.
    pub store: Store,
    /// Hears of connections, penalties and addresses.
    pub events: Events,
    /// Hears every swarm event.
    pub tap: Option<Tap>,
}

/// The handle of the network. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    local: AgentId,
    links: Arc<Links>,
    dealings: Arc<Dealings>,
    banned: Arc<Banned>,
    runtime: Runtime,
    commands: mpsc::Sender<Command>,
    changes: broadcast::Sender<PeerChange>,
}

/// What comes in, one bounded queue per kind, so that one room's lag doesn't stop another's traffic.
///
/// Drop a stream receiver to stop offering its protocol to peers.
#[derive(Debug)]
pub struct Inbound {
    /// Trade frames.
    pub frames: Frames,
    /// Streams of `/guilder/content/1`.
    pub content: mpsc::Receiver<InboundStream>,
    /// Streams of `/guilder/mint/1`.
    pub mint: mpsc::Receiver<InboundStream>,
    /// Streams of `/guilder/grants/1`.
    pub grants: mpsc::Receiver<InboundStream>,
    /// Gossip on services that waits for its verdict, see [`Network::validate`].
    pub gossip: mpsc::Receiver<Gossip>,
    /// Gossip of revocations that waits for its verdict.
    pub revocations: mpsc::Receiver<Gossip>,
}

/// A trade frame from a peer.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who sent it; the connection is authenticated.
    pub from: AgentId,
    /// Its bytes, unchecked; at most [`MAX_FRAME`].
    pub bytes: Bytes,
}

/// A stream that a peer opened.
#[derive(Debug)]
pub struct InboundStream {
    /// Who opened it; the connection is authenticated.
    pub from: AgentId,
    /// For what.
    pub protocol: StreamProtocol,
    /// The stream. Dropping it unclosed resets it.
    pub stream: Stream,
    eviction: places::Eviction,
}

impl InboundStream {
    /// Serves the stream until that is over, or until it loses its place to others and is reset; none then.
    pub async fn serve<F: Future>(self, serve: impl FnOnce(Stream) -> F) -> Option<F::Output> {
        let Self { stream, mut eviction, .. } = self;
        let serving = serve(stream);
        tokio::select! {
            biased;
            () = eviction.wait() => None,
            result = serving => Some(result),
        }
    }
}

/// A gossip message. Its forwarding waits for [`Network::validate`].
#[derive(Clone, Debug)]
pub struct Gossip {
    /// The topic that it came on.
    pub topic: Topic,
    /// The peer that forwarded it to us. (Who wrote it, the message must prove itself.)
    pub from: AgentId,
    /// What to answer with.
    pub id: GossipId,
    /// Its bytes, unchecked.
    pub bytes: Bytes,
}

/// A gossip message's ID: sha-256 of topic and content, so that a message can't be doubled by signing it anew, nor
/// hidden by sending it on another topic first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GossipId(pub(crate) [u8; 32]);

/// What to do with a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid: forward it.
    Accept,
    /// Not for us to judge, or stale: don't forward it, blame nobody.
    Ignore,
    /// It breaks the rules: don't forward it; its forwarder gets penalty points.
    Reject,
}

/// A protocol whose streams are handed out as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamProtocol {
    /// `/guilder/content/1`
    Content,
    /// `/guilder/mint/1`
    Mint,
    /// `/guilder/grants/1`
    Grants,
}

/// How many points a violation costs. A peer is banned for an hour at 100 points; points halve in ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Penalty {
    /// 2 points: what a careless peer may do, e.g. an ask for a service we never offered.
    Minor,
    /// 20 points: against the rules, e.g. an undecodable frame or a bad signature.
    Major,
    /// 100 points, banned at once: fraud, or an attack on this node.
    Fatal,
}

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Who.
    pub agent: AgentId,
    /// The remote addresses of its connections, oldest first.
    pub addresses: Vec<Multiaddr>,
    /// Whether we dialled the oldest of them.
    pub dialled: bool,
    /// How long it has been connected, in seconds.
    pub connected_secs: u64,
    /// Whether its connections are kept whatever their number.
    pub protected: bool,
    /// What software it says it runs.
    pub software: Option<String>,
    /// The last measured round trip, in microseconds.
    pub round_trip_us: Option<u64>,
    /// Penalty points at this moment.
    pub points: u32,
}

/// A peer of `network.bootstrap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapInfo {
    /// Where it is dialled, with its peer ID where that is known.
    pub address: Multiaddr,
    /// Whether it is connected.
    pub connected: bool,
    /// Why the last dial failed, if it did.
    pub error: Option<String>,
}

/// A change in who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// A connection to a peer stands: its first, or what is left after another was lost, and with it the frames queued
    /// on that one. Time to repeat what wants an answer.
    Connected(AgentId),
    /// The last connection to a peer is gone, and frames that were queued on it with it.
    Disconnected(AgentId),
}

/// An address without its peer ID, and the agent that the ID names.
pub fn agent_in(address: &Multiaddr) -> (Multiaddr, Option<AgentId>) {
    addrs::split(address)
}

impl Network {
    /// Starts the network: listens, dials the bootstrap peers. Returns once every `listen` address is in use.
    ///
    /// # Errors
    /// If an address can't be listened on or a setting makes no sense.
    pub async fn start(setup: Setup) -> Result<(Self, Inbound), StartError> {
        actor::start(setup).await
    }

    /// This node.
    pub fn local(&self) -> AgentId {
        self.local
    }

    /// Sends one trade frame, over an open connection or a new one. Waits while the peer's queue is full.
    /// Ok = queued on a live connection.
    ///
    /// # Errors
    /// If the frame is too long, `to` is this node, or no connection can be had.
    pub async fn send(&self, to: AgentId, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > MAX_FRAME {
            return Err(SendError::TooLong { bytes: frame.len() });
        }
        for _ in 1..limits::SEND_ATTEMPTS {
            match self.link(to).await?.send(frame.clone()).await {
                Err(SendError::Lost(_)) => {}
                result => return result,
            }
        }
        self.link(to).await?.send(frame).await
    }

    /// Sends one trade frame over an open connection, and never opens one for it. Waits while the peer's queue is full.
    ///
    /// # Errors
    /// If the frame is too long, or the peer isn't connected, or no longer.
    pub async fn reply(&self, to: AgentId, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > MAX_FRAME {
            return Err(SendError::TooLong { bytes: frame.len() });
        }
        let link = self.links.get(to).ok_or(SendError::Lost(to))?;
        link.send(frame).await
    }

    /// Opens a stream to a peer, over an open connection or a new one. It is closed properly with
    /// `AsyncWrite::close`; dropping it unclosed resets it. Waits while too many to this peer are open. That the peer
    /// doesn't offer the protocol may show only at the first read.
    ///
    /// # Errors
    /// If `to` is this node, no connection can be had, or the peer doesn't answer.
    pub async fn open(&self, to: AgentId, protocol: StreamProtocol) -> Result<Stream, OpenError> {
        let link = self.link(to).await?;
        link.open(protocol).await
    }

    /// Announces this node as a provider of a service, now and as peers come and go, until [`Network::unprovide`].
    ///
    /// # Errors
    /// If it announces too many already.
    pub async fn provide(&self, service: &ServiceName) -> Result<(), AnnounceError> {
        self.ask(|reply| Command::Provide { service: service.clone(), reply }).await?
    }

    /// Stops announcing. What others have on record expires by itself, within two hours.
    pub async fn unprovide(&self, service: &ServiceName) {
        self.tell(Command::Unprovide(service.clone())).await;
    }

    /// Searches for providers of a service: each at most once, never this node, as they are found, at most `limit`.
    /// Each is dialled as soon as it is found. The channel closes when the search is over; dropping it ends the search.
    pub async fn find(&self, service: &ServiceName, limit: usize, walk: Walk) -> mpsc::Receiver<AgentId> {
        let limit = limit.min(limits::FIND_LIMIT);
        let (found, receiver) = mpsc::channel(limit.max(1));
        self.tell(Command::Find { service: service.clone(), limit, walk, found }).await;
        receiver
    }

    /// Gossips a message on a topic.
    ///
    /// # Errors
    /// If it is too long, went out before, or nobody takes it.
    pub async fn publish(&self, topic: impl Into<Topic>, data: Bytes) -> Result<(), AnnounceError> {
        let topic = topic.into();
        self.ask(|reply| Command::Publish { topic, data, reply }).await?
    }

    /// Follows a topic.
    ///
    /// # Errors
    /// If it follows too many already.
    pub async fn subscribe(&self, topic: impl Into<Topic>) -> Result<(), AnnounceError> {
        let topic = topic.into();
        self.ask(|reply| Command::Subscribe { topic, reply }).await?
    }

    /// Stops following a topic.
    pub async fn unsubscribe(&self, topic: impl Into<Topic>) {
        self.tell(Command::Unsubscribe(topic.into())).await;
    }

    /// Says what becomes of a gossip message. One that isn't answered within seconds is not forwarded.
    pub async fn validate(&self, message: GossipId, verdict: Verdict) {
        self.tell(Command::Validate { message, verdict }).await;
    }

    /// Dials an address and waits for the connection.
    ///
    /// # Errors
    /// If nobody answers there, or not the peer that the address names.
    pub async fn dial(&self, address: Multiaddr) -> Result<AgentId, ConnectError> {
        self.ask(|reply| Command::Dial { address, reply }).await?
    }

    /// The connected peers, in the order of their IDs.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask(Command::Peers).await.unwrap_or_default()
    }

    /// The peers of `network.bootstrap`, but for this node itself.
    pub async fn bootstraps(&self) -> Vec<BootstrapInfo> {
        self.ask(Command::Bootstraps).await.unwrap_or_default()
    }

    /// Begins with other peers: those of `new` that `old` hasn't, and no more with those of `old` that `new` hasn't. Others stay, and so do
    /// connections.
    pub async fn set_bootstrap(&self, old: &[Multiaddr], new: &[Multiaddr]) {
        let (old, new) = (old.to_vec(), new.to_vec());
        self.tell(Command::SetBootstrap { old, new }).await;
    }

    /// The addresses that this node listens on, with the ports it really got.
    pub async fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.ask(Command::ListenAddrs).await.unwrap_or_default()
    }

    /// Notes that a trade with a peer begins: it is no newcomer any more, also after a restart, and its connections are kept
    /// as long as the result lives. None if too many are kept already.
    pub fn begin_dealing(&self, agent: AgentId) -> Option<Protection> {
        self.dealings.begin(agent, self.runtime.now())
    }

    /// Whether a trade with the peer runs or ran, and it wasn't caught cheating since.
    pub fn has_dealt_with(&self, agent: AgentId) -> bool {
        self.dealings.has(agent)
    }

    /// Gives a peer penalty points. Past the limit its connections are closed and it is banned for a while.
    /// `reason` is for people.
    pub async fn penalize(&self, agent: AgentId, penalty: Penalty, reason: &str) {
        self.tell(Command::Penalize { agent, penalty, reason: reason.to_owned() }).await;
    }

    /// How many peers are connected.
    pub fn connected(&self) -> usize {
        self.links.len()
    }

    /// Whether a connection to the peer stands.
    pub fn is_connected(&self, agent: AgentId) -> bool {
        self.links.get(agent).is_some()
    }

    /// Whether the peer is banned: neither dialled nor heard, nor worth listing.
    pub fn is_banned(&self, agent: AgentId) -> bool {
        self.banned.contains(agent)
    }

    /// Who connects and disconnects from now on. A listener that lags is told so; it then asks
    /// [`Network::is_connected`].
    pub fn changes(&self) -> broadcast::Receiver<PeerChange> {
        self.changes.subscribe()
    }

    /// A converged start, for simulations: fills the routing table, counts it as bootstrapped, and dials the first ten.
    pub async fn seed_routing(&self, peers: Vec<(AgentId, Vec<Multiaddr>)>) {
        self.tell(Command::SeedRouting(peers)).await;
    }

    /// The peers in the routing table: where searches begin.
    pub async fn routing(&self) -> Vec<AgentId> {
        self.ask(Command::Routing).await.unwrap_or_default()
    }

    /// Writes the address book, closes all connections and ends the swarm loop.
    pub async fn shutdown(&self) {
        let _ = self.ask(Command::Shutdown).await;
    }

    /// The link to a peer; dials if there is none.
    async fn link(&self, to: AgentId) -> Result<Link, ConnectError> {
        if to == self.local {
            return Err(ConnectError::Ourselves);
        }
        if let Some(link) = self.links.get(to) {
            return Ok(link);
        }
        let connected = self.ask(|reply| Command::Connect { to, reply });
        tokio::time::timeout(limits::CONNECT_TIMEOUT, connected).await.map_err(|_| ConnectError::TimedOut)???;
        self.links.get(to).ok_or_else(|| ConnectError::Dial(DialCause("the connection was lost at once".to_owned())))
    }

    /// Asks the loop and waits for its answer.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Tells the loop; once it is gone there is nothing left to be told.
    async fn tell(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("local", &self.local).finish_non_exhaustive()
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("key", &self.key).field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Display for StreamProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl StreamProtocol {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Content => "/guilder/content/1",
            Self::Mint => "/guilder/mint/1",
            Self::Grants => "/guilder/grants/1",
        }
    }
}

impl Penalty {
    /// What it costs, in points.
    pub const fn points(self) -> u32 {
        match self {
            Self::Minor => 2,
            Self::Major => 20,
            Self::Fatal => 100,
        }
    }
}
