//! Nodes on real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod attacks;
mod frames;
mod gossip;

use std::{future::Future, time::Duration};

use guilder_protocol::identity::AgentKey;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::runtime::Limits;

/// Long enough for a busy machine, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node of a test. Its tasks die with it.
struct Node {
    network: Network,
    inbound: Inbound,
    runtime: Runtime,
    store: Store,
    folder: TempDir,
}

impl Node {
    async fn start(seed: u8, change: impl FnOnce(&mut NetworkConfig)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), seed, change).await
    }

    /// In a folder that a node was in before.
    async fn start_in(folder: TempDir, seed: u8, change: impl FnOnce(&mut NetworkConfig)) -> Self {
        Self::start_with(folder, seed, change, None).await
    }

    async fn start_with(folder: TempDir, seed: u8, change: impl FnOnce(&mut NetworkConfig), tap: Option<Tap>) -> Self {
        let runtime = Runtime::production(Limits::default());
        let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
        let key = AgentKey::from_seed(&[seed; 32]);
        let transport = transport::tcp_quic(&key).unwrap();
        let mut config = NetworkConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            mdns: false,
            ..NetworkConfig::default()
        };
        change(&mut config);
        let events = Events::new();
        let (given, kept) = (store.clone(), store);
        let setup = Setup { key, transport, config, runtime: runtime.clone(), store: given, events, tap };
        let (network, inbound) = Network::start(setup).await.unwrap();
        Self { network, inbound, runtime, store: kept, folder }
    }

    /// Knows one bootstrap node and nothing else.
    async fn joining(seed: u8, bootstrap: &Self) -> Self {
        let address = bootstrap.full_addr().await;
        Self::start(seed, |config| config.bootstrap = vec![address]).await
    }

    fn id(&self) -> AgentId {
        self.network.local()
    }

    async fn addr(&self) -> Multiaddr {
        self.network.listen_addrs().await.first().unwrap().clone()
    }

    async fn full_addr(&self) -> Multiaddr {
        self.addr().await.with_p2p(ids::peer_of(self.id())).unwrap()
    }

    async fn connect(&self, other: &Self) {
        self.network.dial(other.full_addr().await).await.unwrap();
    }

    async fn peer(&self, agent: AgentId) -> Option<PeerInfo> {
        self.network.peers().await.into_iter().find(|peer| peer.agent == agent)
    }

    async fn stop(self) -> TempDir {
        self.network.shutdown().await;
        self.store.close().await;
        self.runtime.shutdown().await;
        self.folder
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until a condition holds.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    in_time(async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_are_found_through_one_bootstrap_peer() {
    let bootstrap = Node::start(1, |_| ()).await;
    let mut others = Vec::new();
    for seed in 2..6 {
        others.push(Node::joining(seed, &bootstrap).await);
    }
    let text = service("text.summarize");
    // At once, before anyone is connected: the announcement must find its way by itself.
    others[0].network.provide(&text).await.unwrap();
    others[1].network.provide(&text).await.unwrap();
    let expected = [others[0].id(), others[1].id()].into_iter().collect::<std::collections::BTreeSet<_>>();
    let seeker = &others[3].network;
    let search = async {
        loop {
            let mut found = std::collections::BTreeSet::new();
            let mut search = seeker.find(&text, 10, Walk::Whole).await;
            while let Some(agent) = search.recv().await {
                assert!(found.insert(agent), "each at most once");
            }
            if found == expected {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(search).await;
    for agent in expected {
        in_time(seeker.send(agent, Bytes::from_static(b"hello"))).await.unwrap();
    }
    let hello = in_time(others[0].inbound.frames.recv()).await.unwrap();
    assert_eq!((hello.from, &hello.bytes[..]), (others[3].id(), &b"hello"[..]));
}

#[tokio::test]
async fn a_search_finds_nobody_where_nobody_is() {
    let node = Node::start(1, |_| ()).await;
    assert_eq!(in_time(node.network.find(&service("no.such"), 5, Walk::Whole).await.recv()).await, None);
    node.network.provide(&service("our.own")).await.unwrap();
    assert_eq!(in_time(node.network.find(&service("our.own"), 5, Walk::Whole).await.recv()).await, None);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_the_party_at_fault() {
    use guilder_protocol::fault::{AtFault, Fault};
    let node = Node::start(1, |_| ()).await;
    let itself = node.network.send(node.id(), Bytes::new()).await.unwrap_err();
    assert!(matches!(itself, SendError::Connect(ConnectError::Ourselves)) && itself.fault() == Fault::Ours);
    let other = AgentKey::from_seed(&[2; 32]).id();
    let long = node.network.send(other, Bytes::from(vec![0; MAX_FRAME + 1])).await.unwrap_err();
    assert!(matches!(long, SendError::TooLong { .. }) && long.fault() == Fault::Ours);
    let unknown = in_time(node.network.send(other, Bytes::new())).await.unwrap_err();
    assert!(matches!(unknown, SendError::Connect(ConnectError::NoAddress(agent)) if agent == other), "{unknown}");
    assert_eq!(unknown.fault(), Fault::Environment);
    let address = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", other.peer_id()).parse().unwrap();
    let nobody = in_time(node.network.dial(address)).await.unwrap_err();
    assert!(matches!(nobody, ConnectError::Dial(_)), "{nobody}");
}

#[tokio::test]
async fn a_bad_setting_or_address_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::production(Limits::default());
    let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
    for change in
        [(|config: &mut NetworkConfig| config.low_water = config.high_water + 1) as fn(&mut NetworkConfig), |config| {
            config.listen = vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()]
        }]
    {
        let key = AgentKey::from_seed(&[1; 32]);
        let transport = transport::tcp_quic(&key).unwrap();
        let mut config = NetworkConfig { mdns: false, ..NetworkConfig::default() };
        change(&mut config);
        let (runtime, store, events) = (runtime.clone(), store.clone(), Events::new());
        let setup = Setup { key, transport, config, runtime, store, events, tap: None };
        assert!(in_time(Network::start(setup)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_peer_that_restarts_is_connected_again() {
    let bootstrap = Node::start(1, |_| ()).await;
    let (address, full) = (bootstrap.addr().await, bootstrap.full_addr().await);
    let node = Node::start(2, |config| config.bootstrap = vec![full]).await;
    let id = bootstrap.id();
    until(|| async { node.network.is_connected(id) }).await;
    let mut changes = node.network.changes();
    let folder = bootstrap.stop().await;
    assert_eq!(in_time(changes.recv()).await.unwrap(), PeerChange::Disconnected(id));
    let _again = Node::start_in(folder, 1, |config| config.listen = vec![address]).await;
    assert_eq!(in_time(changes.recv()).await.unwrap(), PeerChange::Connected(id));
    in_time(node.network.send(id, Bytes::from_static(b"again"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_that_found_its_bootstrap_peer_away_asks_it_later() {
    let bootstrap = Node::start(1, |_| ()).await;
    let (address, full) = (bootstrap.addr().await, bootstrap.full_addr().await);
    let folder = bootstrap.stop().await;
    let (ask, asked) = tokio::sync::watch::channel(false);
    let tap: Tap = Arc::new(move |event| {
        if format!("{event:?}").contains("Bootstrap(") {
            ask.send_replace(true);
        }
    });
    // A client, of whom nobody hears: it has to ask by itself.
    let change = |config: &mut NetworkConfig| (config.bootstrap, config.dht) = (vec![full], DhtMode::Client);
    let newcomer = Node::start_with(tempfile::tempdir().unwrap(), 2, change, Some(tap)).await;
    in_time(asked.clone().wait_for(|asked| *asked)).await.unwrap();
    let other = Node::start(3, |_| ()).await;
    let known = other.full_addr().await;
    let _again = Node::start_in(folder, 1, |config| {
        (config.listen, config.bootstrap) = (vec![address], vec![known]);
    })
    .await;
    until(|| async { newcomer.network.is_connected(other.id()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_peers_are_remembered_over_a_restart() {
    let mut peer = Node::start(1, |_| ()).await;
    let node = Node::start(2, |_| ()).await;
    node.connect(&peer).await;
    let folder = node.stop().await;
    let node = Node::start_in(folder, 2, |_| ()).await;
    in_time(node.network.send(peer.id(), Bytes::from_static(b"I know you"))).await.unwrap();
    let frame = in_time(peer.inbound.frames.recv()).await.unwrap();
    assert_eq!((frame.from, &frame.bytes[..]), (node.id(), &b"I know you"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_peer_is_found_by_a_look_up() {
    let bootstrap = Node::start(1, |_| ()).await;
    let moving = Node::joining(2, &bootstrap).await;
    let node = Node::joining(3, &bootstrap).await;
    let (id, boot) = (moving.id(), bootstrap.full_addr().await);
    in_time(node.network.dial(moving.full_addr().await)).await.unwrap();
    let folder = moving.stop().await;
    until(|| async { !node.network.is_connected(id) }).await;
    // A new port, which only the bootstrap peer learns of.
    let moved = Node::start_in(folder, 2, |config| config.bootstrap = vec![boot]).await;
    until(|| async { moved.peer(bootstrap.id()).await.is_some_and(|peer| peer.software.is_some()) }).await;
    let sent = async {
        while node.network.send(id, Bytes::from_static(b"there you are")).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surplus_connections_are_closed_but_for_those_of_peers_that_we_deal_with() {
    let node = Node::start(100, |config| {
        (config.low_water, config.high_water, config.grace_secs) = (3, 6, 0);
    })
    .await;
    let mut peers = Vec::new();
    for seed in 1..=6 {
        let peer = Node::start(seed, |config| config.dht = DhtMode::Client).await;
        peer.connect(&node).await;
        peers.push(peer);
    }
    until(|| async { node.network.peers().await.len() == 6 }).await;
    let _protection = node.network.begin_dealing(peers[0].id()).unwrap();
    let last = Node::start(7, |config| config.dht = DhtMode::Client).await;
    last.connect(&node).await;
    until(|| async { node.network.peers().await.len() == 3 }).await;
    let kept = node.peer(peers[0].id()).await.unwrap();
    assert!(kept.protected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_cut_off_both_ways() {
    let node = Node::start(1, |_| ()).await;
    let peer = Node::start(2, |_| ()).await;
    peer.connect(&node).await;
    until(|| async { node.network.is_connected(peer.id()) }).await;
    node.network.penalize(peer.id(), Penalty::Major, "a bad signature").await;
    assert_eq!(node.peer(peer.id()).await.unwrap().points, 20);
    node.network.penalize(peer.id(), Penalty::Fatal, "fraud").await;
    until(|| async { !node.network.is_connected(peer.id()) }).await;
    let refused = in_time(node.network.send(peer.id(), Bytes::new())).await.unwrap_err();
    assert!(matches!(refused, SendError::Connect(ConnectError::Banned(_))), "{refused}");
    until(|| async { !peer.network.is_connected(node.id()) }).await;
    // A dial gets as far as the handshake, and no frame comes through.
    let _ = in_time(peer.network.dial(node.full_addr().await)).await;
    until(|| async { !peer.network.is_connected(node.id()) && !node.network.is_connected(peer.id()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_outlives_a_restart() {
    let node = Node::start(1, |_| ()).await;
    let peer = Node::start(2, |_| ()).await;
    peer.connect(&node).await;
    node.network.penalize(peer.id(), Penalty::Fatal, "fraud").await;
    until(|| async { !node.network.is_connected(peer.id()) }).await;
    let node = Node::start_in(node.stop().await, 1, |_| ()).await;
    let refused = in_time(node.network.send(peer.id(), Bytes::new())).await.unwrap_err();
    assert!(matches!(refused, SendError::Connect(ConnectError::Banned(_))), "{refused}");
    let _ = in_time(peer.network.dial(node.full_addr().await)).await;
    until(|| async { !peer.network.is_connected(node.id()) && !node.network.is_connected(peer.id()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_left_alone_dials_whom_it_knew() {
    let node = Node::start(1, |_| ()).await;
    let peer = Node::start(2, |_| ()).await;
    let address = peer.addr().await;
    node.connect(&peer).await;
    drop(peer.stop().await);
    until(|| async { node.network.peers().await.is_empty() }).await;
    // It comes back with an empty home folder, so it knows nobody whom it could dial.
    let peer = Node::start(2, |config| config.listen = vec![address]).await;
    until(|| async { node.network.is_connected(peer.id()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_described() {
    let node = Node::start(1, |_| ()).await;
    let peer = Node::start(2, |config| config.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()]).await;
    node.connect(&peer).await;
    until(|| async { node.peer(peer.id()).await.is_some_and(|peer| peer.software.is_some()) }).await;
    let info = node.peer(peer.id()).await.unwrap();
    assert!(info.dialled && !info.protected && info.points == 0);
    assert_eq!(info.addresses, [peer.addr().await]);
    assert!(info.software.unwrap().starts_with("guilder/"));
    assert!(node.network.listen_addrs().await.iter().all(|address| !address.to_string().contains("/tcp/0")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_converged_start_knows_its_peers_without_a_bootstrap() {
    let mut others = Vec::new();
    for seed in 1..4 {
        others.push(Node::start(seed, |_| ()).await);
    }
    others[2].network.provide(&service("text.summarize")).await.unwrap();
    let node = Node::start(4, |_| ()).await;
    let mut known = Vec::new();
    for other in &others {
        known.push((other.id(), vec![other.addr().await]));
    }
    node.network.seed_routing(known).await;
    until(|| async { node.network.peers().await.len() == 3 }).await;
    let mut search = node.network.find(&service("text.summarize"), 1, Walk::Whole).await;
    assert_eq!(in_time(search.recv()).await, Some(others[2].id()));
    assert_eq!(in_time(search.recv()).await, None);
}

#[tokio::test]
async fn the_tap_hears_what_the_swarm_says() {
    let heard = Arc::new(std::sync::Mutex::new(String::new()));
    let ear = Arc::clone(&heard);
    let tap: Tap = Arc::new(move |event| ear.lock().unwrap().push_str(&format!("{event:?}\n")));
    let node = Node::start_with(tempfile::tempdir().unwrap(), 1, |_| (), Some(tap)).await;
    assert!(heard.lock().unwrap().contains("NewListenAddr"));
    drop(node);
}
