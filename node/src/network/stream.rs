//! A stream as other rooms hold it: bytes in both directions, and its place in the peer's quota.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::places::Place;

/// One stream to or from a peer (futures' `AsyncRead` and `AsyncWrite`).
///
/// Close it to end it properly; dropped unclosed, it is reset. After an error it gives nothing but errors.
pub struct Stream {
    inner: Option<libp2p::Stream>,
    /// Its place among those of its peer; free again when it is dropped.
    _of_peer: OwnedSemaphorePermit,
    /// If the peer opened it, its place among those of all peers.
    place: Option<Place>,
}

impl Stream {
    pub(super) fn new(inner: libp2p::Stream, of_peer: OwnedSemaphorePermit, place: Option<Place>) -> Self {
        Self { inner: Some(inner), _of_peer: of_peer, place }
    }

    /// Takes note of bytes that came or went.
    fn note(&self, moved: &Poll<io::Result<usize>>) {
        if let (Some(place), Poll::Ready(Ok(1..))) = (&self.place, moved) {
            place.touch();
        }
    }

    /// Polls the inner stream and lets go of it at its first error: libp2p panics when a stream whose negotiation
    /// failed is polled again.
    fn poll_inner<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut libp2p::Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let result = poll(Pin::new(inner));
        if matches!(result, Poll::Ready(Err(_))) {
            self.inner = None;
        }
        result
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.poll_inner(|inner| inner.poll_read(cx, buf));
        self.note(&read);
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_inner(|inner| inner.poll_write(cx, buf));
        self.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_inner(|inner| inner.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_inner(|inner| inner.poll_close(cx))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("open", &self.inner.is_some()).finish_non_exhaustive()
    }
}
