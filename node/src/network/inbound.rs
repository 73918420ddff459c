//! The queues into the other rooms: trade frames under a byte budget, streams by count.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use guilder_protocol::identity::AgentId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    Frame, InboundStream, StreamProtocol,
    limits::{RECEIVE_BUDGET_BYTES, STREAM_BACKLOG, STREAMS_INBOUND},
    places::Places,
};
use crate::sync::lock;

/// Trade frames from all peers, one of each in turn: a peer that sends much delays its own frames and no others'. While
/// nobody takes them, reading from peers stops.
#[derive(Debug)]
pub struct Frames(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Queues>,
    news: Notify,
}

/// The frames of each peer, in order, and whose turn it is.
#[derive(Debug, Default)]
struct Queues {
    peers: BTreeMap<AgentId, VecDeque<Queued>>,
    turns: VecDeque<AgentId>,
    /// The sending or the receiving end is gone.
    is_closed: bool,
}

#[derive(Debug)]
struct Queued {
    frame: Frame,
    _places: [OwnedSemaphorePermit; 2],
}

impl Frames {
    /// The next frame; `None` once the network is shut down. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.try_recv() {
                return Some(frame);
            }
            if lock(&self.0.queues).is_closed {
                return None;
            }
            // A frame that came since then has left its notice.
            self.0.news.notified().await;
        }
    }

    /// The next frame if there is one now.
    pub fn try_recv(&mut self) -> Option<Frame> {
        lock(&self.0.queues).next()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut queues = lock(&self.0.queues);
        queues.is_closed = true;
        queues.peers.clear();
    }
}

impl Queues {
    fn push(&mut self, queued: Queued) {
        let from = queued.frame.from;
        let queue = self.peers.entry(from).or_default();
        if queue.is_empty() {
            self.turns.push_back(from);
        }
        queue.push_back(queued);
    }

    fn next(&mut self) -> Option<Frame> {
        let from = self.turns.pop_front()?;
        let queue = self.peers.get_mut(&from)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.peers.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        next.map(|queued| queued.frame)
    }
}

/// The sending end of the frames; the last one that goes closes it.
#[derive(Debug)]
struct FrameSender(Arc<Shared>);

impl Drop for FrameSender {
    fn drop(&mut self) {
        lock(&self.0.queues).is_closed = true;
        self.0.news.notify_one();
    }
}

/// The sending ends, which every connection's handler holds.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    frames: Arc<FrameSender>,
    /// Bytes of received frames that may still be queued, of all peers together.
    pub(super) budget: Arc<Semaphore>,
    content: mpsc::Sender<InboundStream>,
    mint: mpsc::Sender<InboundStream>,
    grants: mpsc::Sender<InboundStream>,
    /// Places for inbound streams of all peers together, apart for each protocol.
    content_places: Arc<Places>,
    mint_places: Arc<Places>,
    grants_places: Arc<Places>,
}

/// The receiving ends.
pub(super) struct Receivers {
    pub(super) frames: Frames,
    pub(super) content: mpsc::Receiver<InboundStream>,
    pub(super) mint: mpsc::Receiver<InboundStream>,
    pub(super) grants: mpsc::Receiver<InboundStream>,
}

impl Delivery {
    pub(super) fn new() -> (Self, Receivers) {
        let shared = Arc::<Shared>::default();
        let (content, content_out) = mpsc::channel(STREAM_BACKLOG);
        let (mint, mint_out) = mpsc::channel(STREAM_BACKLOG);
        let (grants, grants_out) = mpsc::channel(STREAM_BACKLOG);
        let delivery = Self {
            frames: Arc::new(FrameSender(Arc::clone(&shared))),
            budget: Arc::new(Semaphore::new(RECEIVE_BUDGET_BYTES)),
            content,
            mint,
            grants,
            content_places: Places::new(STREAMS_INBOUND),
            mint_places: Places::new(STREAMS_INBOUND),
            grants_places: Places::new(STREAMS_INBOUND),
        };
        let frames = Frames(shared);
        (delivery, Receivers { frames, content: content_out, mint: mint_out, grants: grants_out })
    }

    /// Queues a frame that has its places in the budgets, its peer's and that of all. If nobody listens any more, it is gone.
    pub(super) fn frame(&self, frame: Frame, places: [OwnedSemaphorePermit; 2]) {
        let shared = &self.frames.0;
        {
            let mut queues = lock(&shared.queues);
            if queues.is_closed {
                return;
            }
            queues.push(Queued { frame, _places: places });
        }
        shared.news.notify_one();
    }

    pub(super) fn queue(&self, protocol: StreamProtocol) -> &mpsc::Sender<InboundStream> {
        match protocol {
            StreamProtocol::Content => &self.content,
            StreamProtocol::Mint => &self.mint,
            StreamProtocol::Grants => &self.grants,
        }
    }

    /// Places for inbound streams of a protocol, of all peers together.
    pub(super) fn places(&self, protocol: StreamProtocol) -> &Arc<Places> {
        match protocol {
            StreamProtocol::Content => &self.content_places,
            StreamProtocol::Mint => &self.mint_places,
            StreamProtocol::Grants => &self.grants_places,
        }
    }

    /// Whether anyone takes streams of this protocol.
    pub(super) fn serves(&self, protocol: StreamProtocol) -> bool {
        !self.queue(protocol).is_closed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn frame(delivery: &Delivery, from: u8, number: u8) {
        let place = || async { Arc::clone(&delivery.budget).acquire_owned().await.unwrap() };
        let frame = Frame { from: AgentId::from_bytes([from; 32]), bytes: vec![number].into() };
        delivery.frame(frame, [place().await, place().await]);
    }

    #[tokio::test]
    async fn given_a_peer_that_sends_much_another_is_heard_next_and_each_in_order() {
        let (delivery, mut receivers) = Delivery::new();
        for number in 0..100 {
            frame(&delivery, 1, number).await;
        }
        frame(&delivery, 2, 200).await;
        let mut heard = Vec::new();
        while let Some(frame) = receivers.frames.try_recv() {
            heard.push(frame.bytes[0]);
        }
        assert_eq!(heard[..3], [0, 200, 1]);
        assert_eq!(heard.len(), 101);
        assert!(heard[2..].is_sorted());
        assert_eq!(delivery.budget.available_permits(), RECEIVE_BUDGET_BYTES);
        drop(delivery);
        assert!(receivers.frames.recv().await.is_none());
    }
}
