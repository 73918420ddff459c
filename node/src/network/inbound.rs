//! The queues into the other rooms: trade frames under a byte budget, streams by count.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    Frame, InboundStream, StreamProtocol,
    limits::{FRAME_OVERHEAD_BYTES, RECEIVE_BUDGET_BYTES, STREAM_BACKLOG, STREAMS_INBOUND},
};

/// Trade frames from all peers, fairly mixed. While nobody takes them, reading from peers stops.
#[derive(Debug)]
pub struct Frames(mpsc::Receiver<Queued>);

#[derive(Debug)]
struct Queued {
    frame: Frame,
    _place: OwnedSemaphorePermit,
}

impl Frames {
    /// The next frame; `None` once the network is shut down. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Frame> {
        self.0.recv().await.map(|queued| queued.frame)
    }

    /// The next frame if there is one now.
    pub fn try_recv(&mut self) -> Option<Frame> {
        self.0.try_recv().ok().map(|queued| queued.frame)
    }
}

/// The sending ends, which every connection's handler holds.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    frames: mpsc::Sender<Queued>,
    /// Bytes of received frames that may still be queued.
    pub(super) budget: Arc<Semaphore>,
    content: mpsc::Sender<InboundStream>,
    mint: mpsc::Sender<InboundStream>,
    /// Places for inbound streams of all peers together.
    pub(super) streams: Arc<Semaphore>,
}

/// The receiving ends.
pub(super) struct Queues {
    pub(super) frames: Frames,
    pub(super) content: mpsc::Receiver<InboundStream>,
    pub(super) mint: mpsc::Receiver<InboundStream>,
}

impl Delivery {
    pub(super) fn new() -> (Self, Queues) {
        let (frames, frames_out) = mpsc::channel(RECEIVE_BUDGET_BYTES / FRAME_OVERHEAD_BYTES);
        let (content, content_out) = mpsc::channel(STREAM_BACKLOG);
        let (mint, mint_out) = mpsc::channel(STREAM_BACKLOG);
        let delivery = Self {
            frames,
            budget: Arc::new(Semaphore::new(RECEIVE_BUDGET_BYTES)),
            content,
            mint,
            streams: Arc::new(Semaphore::new(STREAMS_INBOUND)),
        };
        (delivery, Queues { frames: Frames(frames_out), content: content_out, mint: mint_out })
    }

    /// Queues a frame that has its place in the budget. False if nobody listens any more.
    pub(super) fn frame(&self, frame: Frame, place: OwnedSemaphorePermit) -> bool {
        // The budget is smaller than the queue, so it is never full.
        self.frames.try_send(Queued { frame, _place: place }).is_ok()
    }

    pub(super) fn queue(&self, protocol: StreamProtocol) -> &mpsc::Sender<InboundStream> {
        match protocol {
            StreamProtocol::Content => &self.content,
            StreamProtocol::Mint => &self.mint,
        }
    }

    /// Whether anyone takes streams of this protocol.
    pub(super) fn serves(&self, protocol: StreamProtocol) -> bool {
        !self.queue(protocol).is_closed()
    }
}
