//! Gossip: nothing is forwarded before it is judged.

use super::*;

/// Three nodes in a row, which only the one in the middle connects.
async fn row() -> (Node, Node, Node) {
    let client = |config: &mut NetworkConfig| config.dht = DhtMode::Client;
    let (a, mut b, c) = (Node::start(1, client).await, Node::start(2, |_| ()).await, Node::start(3, client).await);
    a.connect(&b).await;
    c.connect(&b).await;
    for node in [&a, &b, &c] {
        node.network.subscribe(&service("text.summarize")).await.unwrap();
    }
    // What b hears of c on this topic says that it knows that c follows it: that came before, on the same stream.
    publish(&c, b"here").await;
    let here = in_time(b.inbound.gossip.recv()).await.unwrap();
    b.network.validate(here.id, Verdict::Ignore).await;
    (a, b, c)
}

/// Publishes until someone takes it: subscriptions travel for a moment.
async fn publish(node: &Node, data: &'static [u8]) {
    let topic = service("text.summarize");
    until(|| async { node.network.publish(&topic, Bytes::from_static(data)).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_forwarded_only_after_it_was_accepted() {
    let (a, mut b, mut c) = row().await;
    publish(&a, b"bad").await;
    let bad = in_time(b.inbound.gossip.recv()).await.unwrap();
    assert_eq!((bad.from, &bad.bytes[..]), (a.id(), &b"bad"[..]));
    b.network.validate(bad.id, Verdict::Reject).await;
    publish(&a, b"stale").await;
    let stale = in_time(b.inbound.gossip.recv()).await.unwrap();
    b.network.validate(stale.id, Verdict::Ignore).await;
    publish(&a, b"later").await;
    let later = in_time(b.inbound.gossip.recv()).await.unwrap();
    publish(&a, b"good").await;
    let good = in_time(b.inbound.gossip.recv()).await.unwrap();
    b.network.validate(good.id, Verdict::Accept).await;
    // The way from b to c keeps the order: had one of the others been forwarded, it would come first.
    let forwarded = in_time(c.inbound.gossip.recv()).await.unwrap();
    assert_eq!((forwarded.from, &forwarded.bytes[..], forwarded.id), (b.id(), &b"good"[..], good.id));
    b.network.validate(later.id, Verdict::Accept).await;
    assert_eq!(in_time(c.inbound.gossip.recv()).await.unwrap().id, later.id);
    assert_eq!(forwarded.topic, Topic::from(&service("text.summarize")));
    assert_eq!(b.peer(a.id()).await.unwrap().points, Penalty::Minor.points());
    assert!(a.peer(c.id()).await.is_none(), "the row is a row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_a_verdict_in_time_is_never_forwarded() {
    let (a, mut b, mut c) = row().await;
    publish(&a, b"unanswered").await;
    let message = in_time(b.inbound.gossip.recv()).await.unwrap();
    sleep(limits::GOSSIP_PATIENCE + Duration::from_millis(500)).await;
    b.network.validate(message.id, Verdict::Accept).await;
    publish(&a, b"answered").await;
    let answered = in_time(b.inbound.gossip.recv()).await.unwrap();
    b.network.validate(answered.id, Verdict::Accept).await;
    assert_eq!(in_time(c.inbound.gossip.recv()).await.unwrap().id, answered.id, "not the one before it");
}

#[tokio::test]
async fn what_cannot_be_gossiped_is_refused() {
    let node = Node::start(1, |_| ()).await;
    let topic = service("text.summarize");
    let alone = node.network.publish(&topic, Bytes::from_static(b"anyone?")).await;
    assert!(matches!(alone, Err(AnnounceError::NoPeers)));
    let long = node.network.publish(&topic, Bytes::from(vec![0; limits::GOSSIP_BYTES])).await;
    assert!(matches!(long, Err(AnnounceError::TooLong { .. })));
    for number in 0..limits::FOLLOWED_SERVICES {
        node.network.subscribe(&service(&format!("a.s{number}"))).await.unwrap();
    }
    assert!(matches!(node.network.subscribe(&topic).await, Err(AnnounceError::TooMany(_))));
    node.network.subscribe(Topic::Revocations).await.unwrap();
}
