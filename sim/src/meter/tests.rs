#![allow(clippy::unwrap_used)]
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::io::{AsyncRead, AsyncWrite};
use guilder_protocol::identity::AgentKey;
use libp2p::{
    PeerId,
    core::muxing::{StreamMuxer, StreamMuxerEvent},
};
use prost::Message as _;

use super::{
    lookup::{Message, Peer},
    *,
};
use crate::world::peer_bytes;

const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";

/// Opens substreams whose reads are always answered with the same bytes.
struct Echo(Vec<u8>);

impl StreamMuxer for Echo {
    type Error = io::Error;
    type Substream = Pipe;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Pipe>> {
        Poll::Ready(Ok(Pipe(self.0.clone())))
    }

    fn poll_outbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Pipe>> {
        self.poll_inbound(context)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}

/// Takes everything, and gives what it holds a few bytes at a time.
struct Pipe(Vec<u8>);

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = self.0.len().min(into.len()).min(7);
        into[..count].copy_from_slice(&self.0[..count]);
        self.0.drain(..count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len().min(11)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A substream on which `said` is written and `heard` is read, opened by us or by `peer`.
fn talk(meter: &Arc<Meter>, peer: PeerId, ours: bool, said: &[u8], heard: &[u8]) {
    let mut muxer = Metered::new(Echo(heard.to_vec()), Arc::clone(meter), peer);
    let context = &mut Context::from_waker(Waker::noop());
    let muxer = Pin::new(&mut muxer);
    let opened = if ours { muxer.poll_outbound(context) } else { muxer.poll_inbound(context) };
    let Poll::Ready(Ok(mut substream)) = opened else { panic!("it opens") };
    let mut rest = said;
    while let (false, Poll::Ready(Ok(count))) = (rest.is_empty(), Pin::new(&mut substream).poll_write(context, rest)) {
        rest = &rest[count..];
    }
    let mut into = [0; 64];
    while let Poll::Ready(Ok(1..)) = Pin::new(&mut substream).poll_read(context, &mut into) {}
}

fn opened(protocol: &str, message: &[u8]) -> Vec<u8> {
    let name = format!("{protocol}\n");
    [HEADER, &[name.len() as u8], name.as_bytes(), message].concat()
}

#[test]
fn bytes_are_counted_for_the_protocol_that_the_opener_names() {
    let (meter, peer) = (Arc::new(Meter::default()), PeerId::random());
    let (ping, id) = (opened("/ipfs/ping/1.0.0", &[7; 32]), opened("/ipfs/id/1.0.0", b""));
    talk(&meter, peer, true, &ping, &ping);
    talk(&meter, peer, false, &[9; 100], &id);
    talk(&meter, peer, false, b"", &[0xff; 300]);
    let wire = (1_000, 2_000);
    let bytes = meter.bytes(wire);
    let (ping, id) = (ping.len() as u64, id.len() as u64);
    assert_eq!(bytes[&Protocol::Ping], (ping, ping));
    assert_eq!(bytes[&Protocol::Identify], (100, id));
    assert_eq!(bytes[&Protocol::Other], (0, 300));
    assert_eq!(bytes[&Protocol::Overhead], (1_000 - ping - 100, 2_000 - ping - id - 300));
    assert_eq!(bytes.len(), 4);
}

#[test]
fn a_protocol_stands_where_it_is_counted() {
    for (at, protocol) in Protocol::ALL.into_iter().enumerate() {
        assert_eq!(protocol as usize, at);
        assert_eq!(serde_json::to_string(&protocol).unwrap(), format!("\"{}\"", protocol.name()));
    }
}

#[test]
fn a_search_is_as_deep_as_the_peer_that_names_a_provider() {
    let agent = |seed| AgentKey::from_seed(&[seed; 32]).id();
    let peer = |seed| PeerId::from_bytes(&peer_bytes(agent(seed))).unwrap();
    let [own, near, far, farther, seller] = [1, 2, 3, 4, 5];
    let named = |seed: u8| Peer { id: peer_bytes(agent(seed)) };
    let meter = Arc::new(Meter::default());
    let followed = meter.follow(agent(own), b"key", &[agent(near)]);
    let ask = |whom: u8, key: &[u8], closer: Vec<Peer>, providers: Vec<Peer>| {
        let request = Message { kind: 3, key: key.to_vec(), ..Message::default() };
        let answer = Message { closer, providers, ..Message::default() };
        let frame = |message: Message| opened("/guilder/kad/1", &message.encode_length_delimited_to_vec());
        talk(&meter, peer(whom), true, &frame(request), &frame(answer));
    };
    assert_eq!(followed.so_far(), (0, None));
    ask(near, b"key", vec![named(far), named(near)], vec![named(own)]);
    ask(near, b"another key", vec![], vec![named(seller)]);
    assert_eq!(followed.so_far(), (1, None));
    ask(far, b"key", vec![named(farther)], vec![]);
    ask(farther, b"key", vec![], vec![named(seller)]);
    ask(near, b"key", vec![], vec![named(seller)]);
    assert_eq!(followed.so_far(), (4, Some(3)));
    drop(followed);
    assert!(lock(&meter.lookups).is_empty());
}
