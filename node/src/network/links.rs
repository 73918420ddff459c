//! The live connections, as `send` and `open` see them: two queues into each connection's task.
//!
//! ```text
//!   Network::send ── budget ──▶ Outgoing ──┐
//!   Network::open ── place ───▶ Opening ───┴──▶ the connection's handler
//! ```
//!
//! Two, so that a peer that doesn't read its frames can still be asked for a stream. The handler owns the receiving
//! ends; when it goes with its connection, it closes the budget too, so that whoever waits for room learns it at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use guilder_protocol::identity::AgentId;
use libp2p::swarm::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    OpenError, SendError, Stream, StreamProtocol,
    limits::{
        FRAME_OVERHEAD_BYTES, RECEIVE_BUDGET_PER_PEER, SEND_BUDGET_BYTES, STREAMS_IN_PER_PEER, STREAMS_OUT_PER_PEER,
    },
};

/// A frame to write. Its place in the budget is free again once it is in the write buffer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

/// A stream to open.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) protocol: StreamProtocol,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) reply: oneshot::Sender<Result<Stream, OpenError>>,
}

/// A handler's ends of a link.
#[derive(Debug)]
pub(super) struct LinkEnds {
    pub(super) frames: mpsc::Receiver<Outgoing>,
    pub(super) opens: mpsc::Receiver<Opening>,
    pub(super) state: Arc<LinkState>,
    pub(super) quota: Arc<Quota>,
}

/// One live connection.
#[derive(Clone, Debug)]
pub(super) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agent: AgentId,
    frames: mpsc::Sender<Outgoing>,
    opens: mpsc::Sender<Opening>,
    state: Arc<LinkState>,
    quota: Arc<Quota>,
}

/// What a link and its handler share.
#[derive(Debug)]
pub(super) struct LinkState {
    /// Bytes of frames that may still be queued; closed with the connection.
    budget: Arc<Semaphore>,
    /// Counts frames and streams, both ways: whether a connection is in use.
    activity: AtomicU64,
    /// The peer refused the trade protocol.
    no_trade: AtomicBool,
}

/// What all connections to one peer share.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) inbound: Arc<Semaphore>,
    pub(super) outbound: Arc<Semaphore>,
    /// Bytes of its frames that our room hasn't taken yet.
    pub(super) frames: Arc<Semaphore>,
}

impl Link {
    /// A link and its ends for the connection's handler.
    pub(super) fn new(agent: AgentId, quota: Arc<Quota>) -> (Self, LinkEnds) {
        // Every frame holds a place of the budget and every opening one of the quota, so they always fit.
        let (frames, frames_out) = mpsc::channel(SEND_BUDGET_BYTES / FRAME_OVERHEAD_BYTES);
        let (opens, opens_out) = mpsc::channel(STREAMS_OUT_PER_PEER);
        let state = Arc::new(LinkState {
            budget: Arc::new(Semaphore::new(SEND_BUDGET_BYTES)),
            activity: AtomicU64::new(0),
            no_trade: AtomicBool::new(false),
        });
        let ends =
            LinkEnds { frames: frames_out, opens: opens_out, state: Arc::clone(&state), quota: Arc::clone(&quota) };
        (Self(Arc::new(Inner { agent, frames, opens, state, quota })), ends)
    }

    /// Queues a frame. If this fails, it is not queued.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<(), SendError> {
        let lost = || SendError::Lost(self.0.agent);
        if self.0.state.no_trade.load(Ordering::Relaxed) {
            return Err(SendError::Unsupported(self.0.agent));
        }
        let cost = frame_cost(bytes.len());
        let Ok(place) = Arc::clone(&self.0.state.budget).acquire_many_owned(cost).await else {
            let refused = self.0.state.no_trade.load(Ordering::Relaxed);
            return Err(if refused { SendError::Unsupported(self.0.agent) } else { lost() });
        };
        self.0.frames.try_send(Outgoing { bytes, _place: place }).map_err(|_| lost())
    }

    pub(super) async fn open(&self, protocol: StreamProtocol) -> Result<Stream, OpenError> {
        let lost = || OpenError::Lost(self.0.agent);
        let place = Arc::clone(&self.0.quota.outbound).acquire_owned().await.map_err(|_| lost())?;
        let (reply, answer) = oneshot::channel();
        self.0.opens.try_send(Opening { protocol, place, reply }).map_err(|_| lost())?;
        answer.await.map_err(|_| lost())?
    }

    /// Not so once its handler is gone, which shows here before the swarm says so.
    fn is_live(&self) -> bool {
        let state = &self.0.state;
        !self.0.frames.is_closed() && (!state.budget.is_closed() || state.no_trade.load(Ordering::Relaxed))
    }
}

/// What a frame of this length takes of a byte budget.
pub(super) fn frame_cost(length: usize) -> u32 {
    // A frame is at most 256 KiB, so this never saturates; if it did, the frame would only wait longer.
    u32::try_from(length.max(FRAME_OVERHEAD_BYTES)).unwrap_or(u32::MAX)
}

impl LinkState {
    pub(super) fn touch(&self) {
        self.activity.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn activity(&self) -> u64 {
        self.activity.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_trade(&self) {
        self.no_trade.store(true, Ordering::Relaxed);
        self.budget.close();
    }

    pub(super) fn close(&self) {
        self.budget.close();
    }
}

/// All live connections, by peer.
#[derive(Debug, Default)]
pub(super) struct Links {
    peers: Mutex<BTreeMap<AgentId, Peer>>,
    /// The quotas that somebody holds, also of connections that are still being established: those that are so at once
    /// share one.
    quotas: Mutex<BTreeMap<AgentId, Weak<Quota>>>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Oldest first: everyone sends on the oldest live one, so that frames keep their order.
    links: Vec<(ConnectionId, Link)>,
}

impl Links {
    /// The link to send on.
    pub(super) fn get(&self, agent: AgentId) -> Option<Link> {
        self.lock().get(&agent)?.links.iter().map(|(_, link)| link).find(|link| link.is_live()).cloned()
    }

    /// The quota that a new connection to a peer shares with its others.
    pub(super) fn quota(&self, agent: AgentId) -> Arc<Quota> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = quotas.get(&agent).and_then(Weak::upgrade) {
            return quota;
        }
        quotas.retain(|_, quota| quota.strong_count() > 0);
        let quota = Arc::new(Quota {
            inbound: Arc::new(Semaphore::new(STREAMS_IN_PER_PEER)),
            outbound: Arc::new(Semaphore::new(STREAMS_OUT_PER_PEER)),
            frames: Arc::new(Semaphore::new(RECEIVE_BUDGET_PER_PEER)),
        });
        quotas.insert(agent, Arc::downgrade(&quota));
        quota
    }

    pub(super) fn insert(&self, agent: AgentId, connection: ConnectionId, link: Link) {
        let mut peers = self.lock();
        peers.entry(agent).or_default().links.push((connection, link));
    }

    pub(super) fn remove(&self, agent: AgentId, connection: ConnectionId) {
        let mut peers = self.lock();
        if let Some(peer) = peers.get_mut(&agent) {
            peer.links.retain(|(id, _)| *id != connection);
            if peer.links.is_empty() {
                peers.remove(&agent);
            }
        }
    }

    /// How many peers there are links to.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How much a connection has been used so far.
    pub(super) fn activity(&self, agent: AgentId, connection: ConnectionId) -> u64 {
        let peers = self.lock();
        let link = peers.get(&agent).and_then(|peer| peer.links.iter().find(|(id, _)| *id == connection));
        link.map_or(0, |(_, link)| link.0.state.activity())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Peer>> {
        // Every change is one map operation, so a panic elsewhere can't leave it half done.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_are_established_at_once_share_one_quota() {
        let (links, agent) = (Links::default(), AgentId::from_bytes([1; 32]));
        let (first, second) = (links.quota(agent), links.quota(agent));
        assert!(Arc::ptr_eq(&first, &second));
        let taken = Arc::clone(&first.inbound).try_acquire_many_owned(STREAMS_IN_PER_PEER as u32);
        assert!(taken.is_ok() && second.inbound.try_acquire().is_err());
        drop((first, second, taken));
        links.quota(AgentId::from_bytes([2; 32]));
        assert_eq!(links.quotas.lock().map_or(0, |quotas| quotas.len()), 1, "what nobody holds is forgotten");
    }
}
