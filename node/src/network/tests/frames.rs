//! Frames and streams between honest nodes.

use futures::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn pair() -> (Node, Node) {
    let (a, b) = (Node::start(1, |_| ()).await, Node::start(2, |_| ()).await);
    a.connect(&b).await;
    until(|| async { b.network.is_connected(a.id()) }).await;
    (a, b)
}

/// A frame that says its number; every hundredth is long.
fn numbered(number: u32) -> Bytes {
    let length = if number.is_multiple_of(100) { 40_000 } else { 4 + number as usize % 500 };
    let mut bytes = vec![number as u8; length];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_frames_each_way_arrive_in_order() {
    const COUNT: u32 = 10_000;
    let (a, b) = pair().await;
    let send = |from: Network, to: AgentId| async move {
        for number in 0..COUNT {
            from.send(to, numbered(number)).await.unwrap();
        }
    };
    let receive = |mut frames: Frames, from: AgentId| async move {
        for number in 0..COUNT {
            let frame = frames.recv().await.unwrap();
            assert_eq!((frame.from, frame.bytes), (from, numbered(number)));
        }
    };
    let (a_id, b_id) = (a.id(), b.id());
    let all = async {
        tokio::join!(
            send(a.network.clone(), b_id),
            send(b.network.clone(), a_id),
            receive(a.inbound.frames, b_id),
            receive(b.inbound.frames, a_id),
        )
    };
    timeout(Duration::from_secs(120), all).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_the_greatest_length_passes() {
    let (a, mut b) = pair().await;
    let frame = Bytes::from(vec![7; MAX_FRAME]);
    a.network.send(b.id(), frame.clone()).await.unwrap();
    a.network.send(b.id(), Bytes::new()).await.unwrap();
    assert_eq!(in_time(b.inbound.frames.recv()).await.unwrap().bytes, frame);
    assert!(in_time(b.inbound.frames.recv()).await.unwrap().bytes.is_empty());
}

/// Frames of 200,000 bytes that may be under way between a sender and a room that takes none: both budgets, and what
/// sockets and multiplexers hold.
const UNDER_WAY: u32 = 80;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_a_room_that_takes_no_frames_their_sender_waits_and_none_is_lost() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let (a, mut b) = pair().await;
    let (from, to) = (a.network.clone(), b.id());
    let sent = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        for number in 0..200_u32 {
            let mut bytes = vec![0; 200_000];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            from.send(to, bytes.into()).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    // Until it is stuck, or has sent them all.
    let before = AtomicU32::new(0);
    until(|| async {
        sleep(Duration::from_millis(300)).await;
        let now = sent.load(Ordering::SeqCst);
        before.swap(now, Ordering::SeqCst) == now && now > 0
    })
    .await;
    assert!(sent.load(Ordering::SeqCst) <= UNDER_WAY, "{sent:?} of 200 frames are queued somewhere");
    // Streams go on meanwhile.
    let mut stream = in_time(a.network.open(to, StreamProtocol::Content)).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(in_time(b.inbound.content.recv()).await.unwrap().from, a.id());
    for number in 0..200_u32 {
        let frame = in_time(b.inbound.frames.recv()).await.unwrap();
        assert_eq!(frame.bytes[..4], number.to_be_bytes());
    }
    sender.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_handed_out_and_carry_bytes_both_ways() {
    let (a, mut b) = pair().await;
    for (protocol, queue) in
        [(StreamProtocol::Content, &mut b.inbound.content), (StreamProtocol::Mint, &mut b.inbound.mint)]
    {
        let mut ours = in_time(a.network.open(b.network.local(), protocol)).await.unwrap();
        ours.write_all(b"question").await.unwrap();
        ours.close().await.unwrap();
        let mut theirs = in_time(queue.recv()).await.unwrap();
        assert_eq!((theirs.from, theirs.protocol), (a.id(), protocol));
        let mut question = Vec::new();
        in_time(theirs.stream.read_to_end(&mut question)).await.unwrap();
        theirs.stream.write_all(b"answer").await.unwrap();
        theirs.stream.close().await.unwrap();
        let mut answer = Vec::new();
        in_time(ours.read_to_end(&mut answer)).await.unwrap();
        assert_eq!((&question[..], &answer[..]), (&b"question"[..], &b"answer"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_nobody_serves_is_not_offered() {
    let (a, b) = pair().await;
    drop(b.inbound.mint);
    let mut stream = in_time(a.network.open(b.network.local(), StreamProtocol::Mint)).await.unwrap();
    let mut byte = [0];
    stream.write_all(b"anyone?").await.unwrap();
    assert!(in_time(stream.read(&mut byte)).await.is_err());
    // What libp2p would panic at.
    assert!(in_time(stream.read(&mut byte)).await.is_err());
    assert!(in_time(stream.flush()).await.is_err());
    assert!(a.network.is_connected(b.network.local()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_to_one_peer_are_bounded_and_the_next_one_waits() {
    let (a, mut b) = pair().await;
    let to = b.id();
    let mut open = Vec::new();
    for _ in 0..limits::STREAMS_OUT_PER_PEER {
        open.push(in_time(a.network.open(to, StreamProtocol::Content)).await.unwrap());
    }
    let next = a.network.open(to, StreamProtocol::Content);
    tokio::pin!(next);
    assert!(timeout(Duration::from_millis(200), &mut next).await.is_err());
    open.pop();
    let mut next = in_time(next).await.unwrap();
    next.write_all(b"last").await.unwrap();
    next.flush().await.unwrap();
    let mut received = [0; 4];
    let mut inbound = in_time(b.inbound.content.recv()).await.unwrap();
    in_time(inbound.stream.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"last");
}

/// `cargo test -p guilder --release network::tests::frames::round_trips -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn round_trips() {
    let (mut a, mut b) = pair().await;
    let (a_id, b_net, b_id) = (a.id(), b.network.clone(), b.id());
    tokio::spawn(async move {
        while let Some(frame) = b.inbound.frames.recv().await {
            b_net.send(a_id, frame.bytes).await.unwrap();
        }
    });
    let mut times = Vec::new();
    for number in 0..5_000 {
        let began = std::time::Instant::now();
        a.network.send(b_id, numbered(number * 100 + 1)).await.unwrap();
        a.inbound.frames.recv().await.unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    tracing::info!(p50 = ?times[times.len() / 2], p99 = ?times[times.len() * 99 / 100], "one round trip");
}
