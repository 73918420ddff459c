//! What a hostile peer can't do. It speaks libp2p up to the multiplexer, and raw bytes from there.

use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::poll_fn};
use libp2p::{
    Transport as _,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
        transport::{DialOpts, PortUse},
    },
};

use super::*;

struct Hostile {
    id: AgentId,
    muxer: StreamMuxerBox,
}

impl Hostile {
    /// Dials, and works until the node knows the connection.
    async fn connect(seed: u8, node: &Node) -> Self {
        let key = AgentKey::from_seed(&[seed; 32]);
        let mut transport = transport::tcp_quic(&key).unwrap();
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let (_, muxer) = in_time(transport.dial(node.full_addr().await, opts).unwrap()).await.unwrap();
        let mut hostile = Self { id: key.id(), muxer };
        let id = hostile.id;
        hostile.working(until(|| async { node.network.is_connected(id) })).await;
        hostile
    }

    /// Lets the connection work; what the node opens is reset.
    fn work(&mut self, cx: &mut Context<'_>) {
        let _ = self.muxer.poll_unpin(cx);
        while let Poll::Ready(Ok(stream)) = self.muxer.poll_inbound_unpin(cx) {
            drop(stream);
        }
    }

    async fn working<T>(&mut self, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        in_time(poll_fn(|cx| {
            self.work(cx);
            future.as_mut().poll(cx)
        }))
        .await
    }

    /// Opens a stream and names the protocol, in one go.
    async fn open(&mut self, protocol: &str) -> std::io::Result<SubstreamBox> {
        let mut stream = in_time(poll_fn(|cx| {
            self.work(cx);
            self.muxer.poll_outbound_unpin(cx)
        }))
        .await?;
        let mut hello = Vec::new();
        for line in ["/multistream/1.0.0", protocol] {
            hello.push(line.len() as u8 + 1);
            hello.extend_from_slice(line.as_bytes());
            hello.push(b'\n');
        }
        self.write(&mut stream, &hello).await?;
        Ok(stream)
    }

    async fn write(&mut self, stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
        self.working(async {
            stream.write_all(bytes).await?;
            stream.flush().await
        })
        .await
    }

    /// Reads until the node ends or resets the stream.
    async fn read_to_end(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        self.working(async { stream.read_to_end(&mut Vec::new()).await }).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_too_long_ends_its_stream_and_costs_points() {
    let node = Node::start(1, |_| ()).await;
    let mut hostile = Hostile::connect(2, &node).await;
    // 4 GiB, one byte more than allowed, a length with a needless zero.
    for length in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x81, 0x80, 0x10], &[0x80, 0x00]] {
        let mut stream = hostile.open("/guilder/trade/1").await.unwrap();
        hostile.write(&mut stream, length).await.unwrap();
        let _ = hostile.read_to_end(&mut stream).await;
    }
    // Each costs 20 points, of which a little is forgiven while a slow machine gets there.
    let id = hostile.id;
    hostile.working(until(|| async { node.peer(id).await.is_some_and(|peer| (41..=60).contains(&peer.points)) })).await;
    // A few times more, and it is banned.
    for _ in 0..5 {
        if let Ok(mut stream) = hostile.open("/guilder/trade/1").await {
            let _ = hostile.write(&mut stream, &[0xff, 0xff, 0xff]).await;
            let _ = hostile.read_to_end(&mut stream).await;
        }
    }
    until(|| async { !node.network.is_connected(id) }).await;
    let refused = in_time(node.network.send(id, Bytes::new())).await.unwrap_err();
    assert!(matches!(refused, SendError::Connect(ConnectError::Banned(_))), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_drip_hold_up_nobody_else() {
    let mut node = Node::start(1, |_| ()).await;
    let honest = Node::start(2, |_| ()).await;
    honest.connect(&node).await;
    let mut dripping = Vec::new();
    for seed in 10..14 {
        let mut hostile = Hostile::connect(seed, &node).await;
        let mut stream = hostile.open("/guilder/trade/1").await.unwrap();
        // The longest frame announced, ten bytes sent.
        hostile.write(&mut stream, &[0x80, 0x80, 0x10, 1, 2, 3, 4, 5, 6, 7]).await.unwrap();
        dripping.push((hostile, stream));
    }
    for number in 0..200_u8 {
        honest.network.send(node.id(), Bytes::from(vec![number])).await.unwrap();
        if let Some((hostile, stream)) = dripping.get_mut(usize::from(number) % 10) {
            hostile.write(stream, &[number]).await.unwrap();
        }
        let frame = in_time(node.inbound.frames.recv()).await.unwrap();
        assert_eq!((frame.from, &frame.bytes[..]), (honest.id(), &[number][..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_streams_is_bounded() {
    let mut node = Node::start(1, |_| ()).await;
    let honest = Node::start(2, |_| ()).await;
    honest.connect(&node).await;
    let mut hostile = Hostile::connect(3, &node).await;
    // Past its quota each one costs it points; some of it is forgiven meanwhile, and streams that come faster than they
    // are negotiated are dropped before they count.
    let (id, cost) = (hostile.id, Penalty::Minor.points() * 10);
    let mut streams = Vec::new();
    let flood = async {
        while node.peer(id).await.is_some_and(|peer| peer.points < cost) {
            streams.push(hostile.open("/guilder/content/1").await.unwrap());
        }
    };
    in_time(flood).await;
    assert!(streams.len() > limits::STREAMS_IN_PER_PEER);
    // And nobody else is locked out.
    let mut stream = in_time(honest.network.open(node.id(), StreamProtocol::Content)).await.unwrap();
    stream.write_all(b"me too").await.unwrap();
    stream.flush().await.unwrap();
    let mut held = Vec::new();
    let found = hostile.working(async {
        loop {
            let inbound = node.inbound.content.recv().await.unwrap();
            if inbound.from == honest.id() {
                return;
            }
            held.push(inbound);
        }
    });
    found.await;
    assert!(held.len() <= limits::STREAMS_IN_PER_PEER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_blocks_only_its_own_frames() {
    let node = Node::start(1, |_| ()).await;
    let mut honest = Node::start(2, |_| ()).await;
    node.connect(&honest).await;
    // Connected, then silent: it doesn't even run its multiplexer.
    let mute = Hostile::connect(3, &node).await;
    let (network, to) = (node.network.clone(), mute.id);
    let stuck = tokio::spawn(async move { while network.send(to, Bytes::from(vec![0; 100_000])).await.is_ok() {} });
    for number in 0..100_u8 {
        in_time(node.network.send(honest.id(), Bytes::from(vec![number]))).await.unwrap();
        assert_eq!(in_time(honest.inbound.frames.recv()).await.unwrap().bytes[..], [number]);
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_a_peer_that_writes_on_our_one_way_stream_its_connection_is_closed() {
    let node = Node::start(1, |_| ()).await;
    let mut hostile = Hostile::connect(2, &node).await;
    let id = hostile.id;
    node.network.send(id, Bytes::from_static(b"hello")).await.unwrap();
    // Answers on every stream that the node opens, ours among them, as if it spoke whatever is asked.
    let answer = |protocol: &str| {
        let mut bytes = b"\x13/multistream/1.0.0\n".to_vec();
        bytes.push(protocol.len() as u8 + 1);
        bytes.extend_from_slice(protocol.as_bytes());
        bytes.extend_from_slice(b"\nback at you");
        bytes
    };
    let mut kept = Vec::new();
    let answered = poll_fn(|cx| {
        let _ = hostile.muxer.poll_unpin(cx);
        while let Poll::Ready(Ok(mut stream)) = hostile.muxer.poll_inbound_unpin(cx) {
            let _ = std::pin::Pin::new(&mut stream).poll_write(cx, &answer("/guilder/trade/1"));
            let _ = std::pin::Pin::new(&mut stream).poll_flush(cx);
            kept.push(stream);
        }
        match node.network.is_connected(id) {
            true => {
                // The node's verdict wakes nobody here.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            false => Poll::Ready(()),
        }
    });
    in_time(answered).await;
}
