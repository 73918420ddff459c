//! The two halves of the trade protocol on one connection.
//!
//! [`Sender`]: nothing yet ──first frame──▶ opening ──▶ open, until it fails. If the peer doesn't speak the protocol, the
//! link refuses frames from then on; if an open stream breaks, the whole connection is given up, so that a loss of
//! frames always shows as a disconnect.
//!
//! [`Receiver`]: at most one stream; a newer one replaces it. A frame that is read waits for its place in the inbound
//! budget, and nothing more is read until it has it: this slows down this peer and no other.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use guilder_protocol::identity::AgentId;
use libp2p::core::upgrade::NegotiationError;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::network::{
    Frame, Penalty,
    frames::{FrameError, FrameReader, FrameWriter},
    inbound::Delivery,
    limits::{FRAME_BURST, FRAME_PATIENCE, FRAMES_PER_SEC, FRAMES_PER_TURN},
    links::{LinkState, Outgoing, frame_cost},
    rate::Bucket,
};

/// What a peer did against the rules of our protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// It claims a frame longer than the protocol allows.
    FrameTooLong,
    /// A frame's length is malformed.
    FrameLength,
    /// It began a frame and didn't finish it in time.
    FrameStalled,
    /// It wrote on a stream that only we write on.
    WrongDirection,
    /// It opened more streams than a peer may.
    TooManyStreams,
}

impl Violation {
    /// What it costs.
    pub(crate) fn penalty(self) -> Penalty {
        match self {
            Self::FrameTooLong | Self::FrameLength | Self::WrongDirection => Penalty::Major,
            Self::FrameStalled | Self::TooManyStreams => Penalty::Minor,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FrameTooLong => "claimed a trade frame longer than allowed",
            Self::FrameLength => "sent a malformed frame length",
            Self::FrameStalled => "began a frame and did not finish it in time",
            Self::WrongDirection => "wrote on a stream that is ours to write on",
            Self::TooManyStreams => "opened too many streams",
        })
    }
}

/// What polling the sender came to.
pub(super) enum Sending {
    /// A stream is needed.
    Open,
    /// The peer refuses the protocol.
    Refused,
    /// The stream broke, and frames may be lost.
    Lost,
    /// The peer broke the rule that nothing comes back on this stream, and frames may be lost.
    Violation(Violation),
}

/// The half that writes.
pub(super) struct Sender {
    frames: mpsc::Receiver<Outgoing>,
    stream: SendStream,
}

enum SendStream {
    /// Not needed yet.
    None,
    /// Asked for; the frame that it was needed for waits.
    Opening(Outgoing),
    Open(FrameWriter<libp2p::Stream>),
    /// Refused or lost: frames are dropped until the connection ends.
    Over,
}

impl Sender {
    pub(super) fn new(frames: mpsc::Receiver<Outgoing>) -> Self {
        Self { frames, stream: SendStream::None }
    }

    /// The stream that was asked for.
    pub(super) fn opened(&mut self, stream: libp2p::Stream) {
        let mut writer = FrameWriter::new(stream);
        if let SendStream::Opening(first) = std::mem::replace(&mut self.stream, SendStream::Over) {
            writer.push(&first.bytes);
            self.stream = SendStream::Open(writer);
        }
    }

    /// There will be no stream.
    pub(super) fn give_up(&mut self) {
        self.stream = SendStream::Over;
    }

    /// Takes frames and writes them.
    pub(super) fn poll(&mut self, state: &LinkState, cx: &mut Context<'_>) -> Poll<Sending> {
        let writer = match &mut self.stream {
            SendStream::None => {
                let Some(first) = ready!(self.frames.poll_recv(cx)) else { return Poll::Pending };
                state.touch();
                self.stream = SendStream::Opening(first);
                return Poll::Ready(Sending::Open);
            }
            SendStream::Opening(_) => return Poll::Pending,
            SendStream::Over => {
                while let Poll::Ready(Some(_)) = self.frames.poll_recv(cx) {}
                return Poll::Pending;
            }
            SendStream::Open(writer) => writer,
        };
        let failed = match writer.poll_end(cx) {
            Poll::Ready(error) => Some(error),
            Poll::Pending => write_frames(writer, &mut self.frames, state, cx).err(),
        };
        let Some(error) = failed else { return Poll::Pending };
        self.stream = SendStream::Over;
        Poll::Ready(if error.kind() == std::io::ErrorKind::InvalidData {
            Sending::Violation(Violation::WrongDirection)
        } else if is_refusal(&error) {
            Sending::Refused
        } else {
            Sending::Lost
        })
    }
}

/// Writes until the stream or the queue has enough.
fn write_frames(
    writer: &mut FrameWriter<libp2p::Stream>,
    frames: &mut mpsc::Receiver<Outgoing>,
    state: &LinkState,
    cx: &mut Context<'_>,
) -> std::io::Result<()> {
    loop {
        let mut gathered = false;
        while writer.has_room() {
            let Poll::Ready(Some(frame)) = frames.poll_recv(cx) else { break };
            writer.push(&frame.bytes);
            state.touch();
            gathered = true;
        }
        match writer.poll_write(cx) {
            Poll::Ready(written) => written?,
            Poll::Pending => return Ok(()),
        }
        if !gathered {
            return Ok(());
        }
    }
}

/// Whether the peer said that it doesn't speak the protocol.
fn is_refusal(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(|e| matches!(e, NegotiationError::Failed))
}

/// The half that reads.
pub(super) struct Receiver {
    agent: AgentId,
    delivery: Delivery,
    reader: Option<FrameReader<libp2p::Stream>>,
    /// Bytes of this peer's frames that may still be queued.
    budget: Arc<Semaphore>,
    /// A frame that waits for its places in the inbound budgets.
    waiting: Option<(Bytes, BoxFuture<'static, Result<[OwnedSemaphorePermit; 2], AcquireError>>)>,
    bucket: Bucket,
    /// Reading goes on then: the peer was faster than it may be.
    pause: Option<Pin<Box<Sleep>>>,
    /// The frame that has begun must be complete by then.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Receiver {
    pub(super) fn new(agent: AgentId, delivery: Delivery, budget: Arc<Semaphore>, now: Instant) -> Self {
        let bucket = Bucket::new(FRAMES_PER_SEC, FRAME_BURST, now);
        Self { agent, delivery, reader: None, budget, waiting: None, bucket, pause: None, patience: None }
    }

    /// The peer opened its stream (anew).
    pub(super) fn opened(&mut self, stream: libp2p::Stream) {
        self.reader = Some(FrameReader::new(stream));
        self.patience = None;
    }

    /// Reads frames and delivers them. Ready with what the peer did wrong; its stream is then reset.
    pub(super) fn poll(
        &mut self,
        state: &LinkState,
        now: impl Fn() -> Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Violation> {
        for _ in 0..FRAMES_PER_TURN {
            ready!(self.poll_free(cx));
            let Some(reader) = &mut self.reader else { return Poll::Pending };
            match reader.poll_frame(cx) {
                Poll::Ready(Ok(Some(bytes))) => {
                    self.patience = None;
                    state.touch();
                    self.take(bytes, now());
                }
                Poll::Ready(Ok(None)) => self.reader = None,
                Poll::Ready(Err(error)) => {
                    self.reader = None;
                    match error {
                        FrameError::TooLong => return Poll::Ready(Violation::FrameTooLong),
                        FrameError::Length => return Poll::Ready(Violation::FrameLength),
                        FrameError::Io(error) => tracing::debug!(agent = ?self.agent, %error, "trade stream broke"),
                    }
                }
                Poll::Pending => return self.poll_patience(cx),
            }
        }
        // Others' turn; this connection goes on at once.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when the next frame may be read.
    fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, places)) = &mut self.waiting {
            let places = ready!(places.as_mut().poll(cx));
            if let (Some((bytes, _)), Ok(places)) = (self.waiting.take(), places) {
                self.delivery.frame(Frame { from: self.agent, bytes }, places);
            }
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn take(&mut self, bytes: Bytes, now: Instant) {
        // A frame too many goes through on credit: the pause before the next one pays for it.
        self.pause = self.bucket.charge(now).map(|paid| Box::pin(sleep_until(paid)));
        let cost = frame_cost(bytes.len());
        let (of_peer, of_all) = (Arc::clone(&self.budget), Arc::clone(&self.delivery.budget));
        let now = |budget: &Arc<Semaphore>| Arc::clone(budget).try_acquire_many_owned(cost).ok();
        if let Some(places) = now(&of_peer).and_then(|place| Some([place, now(&of_all)?])) {
            self.delivery.frame(Frame { from: self.agent, bytes }, places);
            return;
        }
        // Its own place first: a peer that waits for that holds none of the others'.
        let places =
            async move { Ok([of_peer.acquire_many_owned(cost).await?, of_all.acquire_many_owned(cost).await?]) };
        self.waiting = Some((bytes, Box::pin(places)));
    }

    /// Ready when the frame that has begun took too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Violation> {
        if !self.reader.as_ref().is_some_and(FrameReader::is_inside_frame) {
            self.patience = None;
            return Poll::Pending;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(FRAME_PATIENCE)));
        ready!(patience.as_mut().poll(cx));
        self.patience = None;
        self.reader = None;
        Poll::Ready(Violation::FrameStalled)
    }
}
