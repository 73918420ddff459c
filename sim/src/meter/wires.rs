//! A multiplexer, and substreams of it, that count what passes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId,
    core::muxing::{StreamMuxer, StreamMuxerEvent},
};

use super::{Meter, Protocol, lookup::Ear};

/// A substream that hasn't named its protocol by then names none.
const LONGEST_OPENING: usize = 256;

/// One connection of a host, with its bytes counted by protocol.
pub(crate) struct Metered<M> {
    inner: M,
    line: Arc<Line>,
}

/// Whose the connection is, and with whom.
struct Line {
    meter: Arc<Meter>,
    /// Nobody libp2p knows, if it is a mint.
    peer: Option<PeerId>,
}

impl<M> Metered<M> {
    pub(crate) fn new(inner: M, meter: Arc<Meter>, peer: PeerId) -> Self {
        Self { inner, line: Arc::new(Line { meter, peer: Some(peer) }) }
    }

    fn substream<S>(&self, inner: S, ours: bool) -> Substream<S> {
        Substream { inner, line: Arc::clone(&self.line), ours, purpose: Purpose::Unknown(Box::default()), ear: None }
    }
}

impl<M> StreamMuxer for Metered<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Error = M::Error;
    type Substream = Substream<M::Substream>;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(context))?;
        Poll::Ready(Ok(self.substream(inner, false)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(context))?;
        Poll::Ready(Ok(self.substream(inner, true)))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// A substream whose bytes are counted.
pub(crate) struct Substream<S> {
    inner: S,
    line: Arc<Line>,
    /// Whether this host opened it.
    ours: bool,
    purpose: Purpose,
    ear: Option<Box<Ear>>,
}

enum Purpose {
    Unknown(Box<Beginning>),
    Known(Protocol),
}

/// A substream's beginning, until its protocol is named by who opened it.
#[derive(Default)]
struct Beginning {
    opener_said: Vec<u8>,
    sent: usize,
    received: usize,
}

impl<S> Substream<S> {
    /// A whole connection of a host's that serves one purpose.
    pub(crate) fn whole(inner: S, meter: Arc<Meter>, protocol: Protocol) -> Self {
        let line = Arc::new(Line { meter, peer: None });
        Self { inner, line, ours: true, purpose: Purpose::Known(protocol), ear: None }
    }

    fn sent(&mut self, bytes: &[u8]) {
        match &mut self.purpose {
            Purpose::Known(protocol) => {
                self.line.meter.sent(*protocol, bytes.len());
                if let Some(ear) = &mut self.ear {
                    ear.sent(&self.line.meter, bytes);
                }
            }
            Purpose::Unknown(beginning) => {
                beginning.sent += bytes.len();
                if self.ours {
                    self.opener_said(bytes);
                }
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        match &mut self.purpose {
            Purpose::Known(protocol) => {
                self.line.meter.received(*protocol, bytes.len());
                if let (Some(ear), Some(peer)) = (&mut self.ear, self.line.peer) {
                    ear.received(peer, bytes);
                }
            }
            Purpose::Unknown(beginning) => {
                beginning.received += bytes.len();
                if !self.ours {
                    self.opener_said(bytes);
                }
            }
        }
    }

    /// Looks for the protocol's name. The opener's first proposal counts: between nodes of one kind there is no other.
    fn opener_said(&mut self, bytes: &[u8]) {
        let Purpose::Unknown(beginning) = &mut self.purpose else { return };
        beginning.opener_said.extend_from_slice(bytes);
        let (protocol, rest) = match opening(&beginning.opener_said) {
            Some((name, rest)) => (Protocol::of(name), rest),
            None if beginning.opener_said.len() > LONGEST_OPENING => (Protocol::Other, &[][..]),
            None => return,
        };
        let meter = &self.line.meter;
        meter.sent(protocol, beginning.sent);
        meter.received(protocol, beginning.received);
        if protocol == Protocol::Kad && self.ours {
            self.ear = Ear::new(meter);
            if let Some(ear) = &mut self.ear {
                ear.sent(meter, rest);
            }
        }
        self.purpose = Purpose::Known(protocol);
    }
}

/// Reads multistream-select's header and the line after it, which names a protocol. Returns the name, and what follows.
pub(super) fn opening(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = line(bytes)?;
    line(rest)
}

fn line(mut bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = prost::decode_length_delimiter(&mut bytes).ok()?;
    bytes.split_at_checked(length)
}

// Vectored calls take their default way, through these; yamux has no other either.
impl<S: AsyncRead + Unpin> AsyncRead for Substream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_read(context, into))?;
        self.received(&into[..count]);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.sent(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}
