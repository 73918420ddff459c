//! Mints on other nodes: a few streams of `/guilder/mint/1` to one peer, kept between calls.
//!
//! One stream carries one call at a time, so a slow melt holds up nothing but itself; at most [`MAX_STREAMS`] calls
//! are under way, the rest wait. A stream goes back to the pool only after a whole reply: a call that fails or is
//! dropped takes its stream with it, so a late reply can never be read as the answer to another request.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::{AsyncRead, AsyncWrite};
use guilder_protocol::identity::AgentId;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    Exchange, ExchangeError,
    frames::{FrameError, Reply, Request, read_reply, write_request},
    limits::{MAX_STREAMS, OPEN_TIMEOUT, STREAM_IDLE},
};

/// Both directions of a stream.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// A stream to a mint, whatever carries it.
pub type MintStream = Pin<Box<dyn ReadWrite>>;

/// Opens streams of `/guilder/mint/1`. The network is one.
#[async_trait]
pub trait Opener: fmt::Debug + Send + Sync {
    /// A new stream to the mint hosted by `mint`.
    ///
    /// # Errors
    /// If the peer can't be reached or hosts no mint.
    async fn open(&self, mint: AgentId) -> Result<MintStream, Unreachable>;
}

/// A peer that no stream could be opened to, with the cause in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// The streams to one mint.
#[derive(Debug)]
pub(super) struct Pool {
    mint: AgentId,
    opener: Arc<dyn Opener>,
    calls: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    stream: MintStream,
    since: Instant,
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Idle({:?})", self.since.elapsed())
    }
}

impl Pool {
    pub(super) fn new(mint: AgentId, opener: Arc<dyn Opener>) -> Self {
        Self { mint, opener, calls: Semaphore::new(MAX_STREAMS), idle: Mutex::default() }
    }

    fn kept(&self) -> Option<MintStream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < STREAM_IDLE);
        idle.pop().map(|kept| kept.stream)
    }

    fn keep(&self, stream: MintStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { stream, since: Instant::now() });
    }

    async fn call(&self, mut stream: MintStream, request: &Request) -> Result<Reply, ExchangeError> {
        write_request(&mut stream, request).await.map_err(|error| match error {
            FrameError::Io(io) => ExchangeError::Lost(io.to_string()),
            ours => ExchangeError::Malformed(ours.to_string()),
        })?;
        let reply = read_reply(&mut stream).await.map_err(|error| match error {
            FrameError::Io(io) => ExchangeError::Lost(io.to_string()),
            theirs => ExchangeError::Malformed(theirs.to_string()),
        })?;
        let reply = reply.ok_or_else(|| ExchangeError::Lost("it closed the stream".into()))?;
        self.keep(stream);
        Ok(reply)
    }
}

#[async_trait]
impl Exchange for Pool {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let closed = |_| ExchangeError::Unreachable("the connector is closed".into());
        let _call = self.calls.acquire().await.map_err(closed)?;
        if let Some(stream) = self.kept() {
            // A kept stream may have died unseen with its connection. Every request is safe to repeat.
            match self.call(stream, &request).await {
                Err(ExchangeError::Lost(_)) => self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear(),
                settled => return settled,
            }
        }
        let stream = timeout(OPEN_TIMEOUT, self.opener.open(self.mint)).await;
        let stream = stream.unwrap_or_else(|_| Err(Unreachable(format!("no stream within {OPEN_TIMEOUT:?}"))));
        self.call(stream.map_err(|error| ExchangeError::Unreachable(error.0))?, &request).await
    }
}
