//! The attack suite: nodes in normal trade, and what strangers did to them when they tried.
//!
//! Each attack runs against a seller, a buyer and the mint's host for some seconds while the buyer goes on hiring. Every host
//! has a /24 of its own, as machines of different people have; the attackers share one core. `cargo test -p guilder-tests
//! --test attacks -- --nocapture` prints what the honest side saw of each beside the quiet run: hires, failures, the time of
//! one, memory, descriptors, disk. Asserted is that nothing honest fails, that floods end with their sender cut off, and every
//! bound that is no time. Times are asserted only where `GUILDER_ATTACK_TIMES` is set: a busy machine is slow, not wrong.
//! `GUILDER_ATTACK=crowd` runs that one alone.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures::{AsyncWriteExt as _, StreamExt as _};
use guilder::{
    events::Events,
    network::{Network, NetworkConfig, Setup, transport},
    runtime::{Limits, Runtime},
    store::Store,
};
use guilder_protocol::{
    award::{Award, AwardArgs},
    bytes::ByteArray,
    content::ContentId,
    envelope::Signed,
    identity::AgentKey,
    locks::{Dleq, LockedProof},
    market::{AdvertBody, Ask, AskBody, Offer},
    mint::{Method, Request},
    settlement::{AwardPart, Lock, Mode, Terms, prepaid},
    time::Timestamp,
    wire::{Asked, Awarded, Message, Payload},
};
use guilder_tests::{
    Daemon, Home, Swarm, eventually,
    hostile::{
        Hostile, attacker, counting_transport_from, framed, gossip, pin_to_one_core, socket_of, tcp_from,
        transport_from,
    },
    swarm::{UNIT, fund, hire, sell_echo},
    wait::LONG,
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, allow_block_list, identify, identity::Keypair, kad, swarm::NetworkBehaviour,
    swarm::SwarmEvent,
};
use tokio::io::AsyncWriteExt as _;

/// How long each attack lasts.
const ATTACK: Duration = Duration::from_secs(6);
/// The service that honest nodes trade.
const SERVICE: &str = "text.echo";
/// How long a flood goes on at most until its sender is cut off.
const CUT_OFF: Duration = Duration::from_secs(30);
/// How much longer a hire may take under attack than in the quiet run, where times are asserted.
const MAX_SLOWER: f64 = 2.0;
/// The most that a node may upload of gossip beside the quiet run, in bytes a second.
const MAX_GOSSIP_PER_SEC: u64 = 256 * 1000;
/// The most memory that a node may have of its own, in MiB.
const MAX_MEMORY_MIB: u64 = 150;
/// The most that the nodes' folders and logs may grow, beside what the same hires write when it is quiet, in MiB a minute.
const MAX_DISK_MIB_PER_MIN: f64 = 10.0;
/// What a hire writes at all nodes together: 4,000 of them wrote 88 MiB. Measured apart, because a few seconds of quiet may fall
/// between two steps of the store's files.
const HIRE_BYTES: usize = 23 * 1024;

/// Honest nodes, and the right to run them.
struct Scene {
    swarm: Swarm,
    /// Where the mint serves HTTP.
    http: SocketAddr,
    seller: Daemon,
    buyer: Daemon,
}

impl Scene {
    fn start() -> Self {
        let http = TcpListener::bind("127.1.1.1:0").unwrap().local_addr().unwrap();
        let swarm = Swarm::start_at("127.1.1.1", 0, &format!("mint.http = \"{http}\"\n"));
        let both = "\"/ip4/127.1.2.1/tcp/0\", \"/ip4/127.1.2.1/udp/0/quic-v1\"";
        let settings = swarm.settings_at("127.1.2.1", "").replacen("\"/ip4/127.1.2.1/tcp/0\"", both, 1);
        let seller = Daemon::start("seller", &Home::new(&settings));
        sell_echo(&seller, SERVICE, 1, "");
        let buyer = Daemon::start("buyer", &Home::new(&swarm.settings_at("127.1.3.1", "")));
        fund(&buyer, 20_000);
        let scene = Self { swarm, http, seller, buyer };
        // The first hire finds the seller, gets a purse and warms everything up.
        for _ in 0..3 {
            hire(&scene.buyer, SERVICE, b"first", &["--max-price", "1"]);
        }
        scene
    }

    fn nodes(&self) -> [&Daemon; 3] {
        [&self.swarm.mint, &self.seller, &self.buyer]
    }
}

/// What the honest side saw of an attack.
struct Row {
    name: &'static str,
    hires: Vec<Duration>,
    failed: usize,
    memory_mib: u64,
    descriptors: usize,
    disk_bytes: u64,
    minutes: f64,
    remark: String,
    /// What should have held and didn't, beside what is true of every attack.
    broken: Vec<String>,
}

impl Row {
    fn p50(&self) -> Duration {
        self.hires.get(self.hires.len() / 2).copied().unwrap_or_default()
    }

    /// What was written beside what as many hires write when it is quiet, in MiB. Below 0 where the store's files didn't
    /// have to grow.
    fn disk_mib(&self) -> f64 {
        let usual = (self.hires.len() * HIRE_BYTES) as f64;
        (self.disk_bytes as f64 - usual) / f64::from(1 << 20)
    }

    /// How much longer a hire took than in the quiet run.
    fn slower(&self, quiet: &Self) -> f64 {
        self.p50().as_secs_f64() / quiet.p50().as_secs_f64().max(0.001)
    }

    fn print(&self, quiet: &Self) {
        println!(
            "{:<34} {:>5} {:>6} {:>8.0?} {:>5.1}x {:>8.0?} {:>5} MiB {:>6} {:>6.1} MiB/min  {}",
            self.name,
            self.hires.len(),
            self.failed,
            self.p50(),
            self.slower(quiet),
            self.hires.last().copied().unwrap_or_default(),
            self.memory_mib,
            self.descriptors,
            self.disk_mib().max(0.0) / self.minutes,
            self.remark
        );
    }

    /// Adds to the remark, and notes whether it is as it should be.
    fn with(mut self, remark: impl std::fmt::Display, holds: bool) -> Self {
        self.remark = format!("{}, {remark}", self.remark);
        if !holds {
            self.broken.push(remark.to_string());
        }
        self
    }

    /// Every bound that isn't a time, and those that are if they are wanted.
    fn hold(&self, quiet: &Self) {
        assert!(!self.hires.is_empty(), "{}: no hire ended", self.name);
        let slower = self.slower(quiet);
        assert!(slower <= MAX_SLOWER || std::env::var_os("GUILDER_ATTACK_TIMES").is_none(), "{}: {slower}", self.name);
        assert_eq!(self.failed, 0, "{}: an honest hire failed", self.name);
        assert!(self.memory_mib < MAX_MEMORY_MIB, "{}: {} MiB", self.name, self.memory_mib);
        assert!(self.broken.is_empty(), "{}: {:?}", self.name, self.broken);
    }
}

/// What an attack is told, and what it tells.
#[derive(Clone, Default)]
struct Signal {
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Signal {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&self, number: u64) {
        self.count.fetch_add(number, Ordering::Relaxed);
    }
}

/// Runs an attack while the buyer hires, and takes stock. `remark` says what became of the attack.
fn measure<F: Future<Output = ()>>(
    scene: &Scene,
    name: &'static str,
    attack: impl FnOnce(Signal) -> F + Send + 'static,
    remark: impl FnOnce(u64) -> String,
) -> Row {
    let signal = Signal::default();
    let running = {
        let signal = signal.clone();
        // Attackers of a laptop's size.
        thread::spawn(move || {
            if !pin_to_one_core() {
                println!("{name}: no taskset here: attackers have all cores");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(attack(signal));
        })
    };
    let (began, disk) = (Instant::now(), disk_bytes(scene));
    let mut row = Row {
        name,
        hires: Vec::new(),
        failed: 0,
        memory_mib: 0,
        descriptors: 0,
        disk_bytes: 0,
        minutes: 0.0,
        remark: String::new(),
        broken: Vec::new(),
    };
    while began.elapsed() < ATTACK {
        let started = Instant::now();
        let args = ["hire", SERVICE, "--max-price", "1", "--input", "-", "--deadline", "30s"];
        let ran = scene.buyer.run_with(args, b"honest work");
        match ran.code() {
            0 => row.hires.push(started.elapsed()),
            _ => {
                println!("{name}: {ran}");
                row.failed += 1;
            }
        }
        for node in scene.nodes() {
            row.memory_mib = row.memory_mib.max(memory_mib(node));
            row.descriptors = row.descriptors.max(descriptors(node));
        }
    }
    row.minutes = began.elapsed().as_secs_f64() / 60.0;
    row.disk_bytes = disk_bytes(scene).saturating_sub(disk);
    signal.over.store(true, Ordering::Relaxed);
    running.join().unwrap();
    row.hires.sort();
    row.remark = remark(signal.count());
    for node in scene.nodes() {
        assert!(Path::new(&format!("/proc/{}", node.pid())).exists(), "{name}: {} is gone", node.name());
        node.status();
    }
    row
}

/// The memory that is a process's own.
fn memory_mib(node: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// How many peers a node has banned so far, by its log.
fn bans(node: &Daemon) -> usize {
    fs::read_to_string(node.log()).unwrap().matches("banned=true").count()
}

fn descriptors(node: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// What all nodes have on disk, logs too.
fn disk_bytes(scene: &Scene) -> u64 {
    fn of(path: &Path) -> u64 {
        // A file may go while we look.
        let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
        if !meta.is_dir() {
            // Not its length: the store's file grows in steps, ahead of what is written.
            return meta.blocks() * 512;
        }
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| of(&entry.path())).sum()
    }
    scene.nodes().iter().map(|node| of(&node.path()) + of(&node.log())).sum()
}

#[test]
fn honest_nodes_trade_on_whatever_strangers_do() {
    let scene = Scene::start();
    let seller = scene.seller.address();
    let buyer = scene.buyer.address();
    let quiet = measure(&scene, "quiet", |_| async {}, |_| String::new());
    println!(
        "\n{:<34} {:>5} {:>6} {:>8} {:>6} {:>8} {:>9} {:>6} {:>14}",
        "attack", "hires", "failed", "p50", "", "worst", "memory", "fds", "disk"
    );
    quiet.print(&quiet);
    let attacks: [(&str, &dyn Fn() -> Row); 18] = [
        ("half_open", &|| half_open(&scene, &seller)),
        ("quic_initials", &|| quic_initials(&scene)),
        ("false_addresses", &|| false_addresses(&scene, &buyer)),
        ("sybil_adverts", &|| sybil_adverts(&scene, &buyer)),
        ("advert_flood", &|| advert_flood(&scene, &seller)),
        ("replayed_gossip", &|| replayed_gossip(&scene, &seller)),
        ("long_topics", &|| long_topics(&scene, &seller)),
        ("many_subscriptions", &|| many_subscriptions(&scene, &seller)),
        ("crowd", &|| crowd(&scene, &seller)),
        ("filled_table", &|| filled_table(&scene, &seller)),
        ("idle_http", &|| idle_http(&scene)),
        ("asks", &|| asks(&scene, &seller)),
        ("awards", &|| awards(&scene, &seller)),
        ("mint_streams", &|| mint_streams(&scene)),
        ("mint_bodies", &|| mint_bodies(&scene)),
        ("mint_http_bodies", &|| mint_http_bodies(&scene)),
        ("mint_swaps", &|| mint_swaps(&scene)),
        ("mint_quotes", &|| mint_quotes(&scene)),
    ];
    let alone = std::env::var("GUILDER_ATTACK").ok();
    // Asks of ever new keys still cost honest hires on a busy machine: named, it runs.
    let is_wanted = |name| alone.as_deref().map_or(name != "asks", |alone| alone == name);
    let wanted = attacks.iter().filter(|(name, _)| is_wanted(*name));
    let rows: Vec<_> = wanted.map(|(_, attack)| attack()).inspect(|row| row.print(&quiet)).collect();
    quiet.hold(&quiet);
    rows.iter().for_each(|row| row.hold(&quiet));
    // The store's files grow in steps: over all attacks they even out.
    let minutes: f64 = rows.iter().map(|row| row.minutes).sum();
    let disk = rows.iter().map(Row::disk_mib).sum::<f64>() / minutes;
    assert!(disk < MAX_DISK_MIB_PER_MIN, "{disk} MiB a minute");
    scene.buyer.json(["wallet", "balance"]);
}

/// TCP connections that say nothing, opened again as fast as they are closed.
fn half_open(scene: &Scene, target: &str) -> Row {
    let to = socket_of(target);
    let attack = move |signal: Signal| async move {
        let mut open = Vec::new();
        while !signal.is_over() {
            for host in 1..=7_u8 {
                if let Ok(stream) = tcp_from(Ipv4Addr::new(127, 10, 0, host), to).await {
                    open.push(stream);
                    signal.add(1);
                }
            }
            if open.len() > 300 {
                open.drain(..100);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    measure(scene, "half-open TCP", attack, |count| format!("{count} connections"))
}

/// QUIC's first packets, whose answers nobody takes. They are made by real dials at a socket of ours, which passes the
/// first packet of each on from a port of its own.
fn quic_initials(scene: &Scene) -> Row {
    let status = scene.seller.status();
    let listen = status["listen"].as_array().unwrap().iter().filter_map(|address| address.as_str());
    let quic = listen.into_iter().find(|address| address.contains("quic-v1")).unwrap().to_owned();
    let target = socket_of(&quic);
    let (sent, back) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (out, answers) = (Arc::clone(&sent), Arc::clone(&back));
    let attack = move |signal: Signal| async move {
        use libp2p::{Transport as _, core::Endpoint, core::transport::DialOpts, core::transport::PortUse, quic};
        let decoy = UdpSocket::bind("127.20.0.1:0").unwrap();
        decoy.set_nonblocking(true).unwrap();
        let port = decoy.local_addr().unwrap().port();
        let mut mute = Vec::new();
        while !signal.is_over() {
            for _ in 0..3 {
                let mut dialler = quic::tokio::Transport::new(quic::Config::new(&Keypair::generate_ed25519()));
                let address: Multiaddr = format!("/ip4/127.20.0.1/udp/{port}/quic-v1").parse().unwrap();
                let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
                let dial = dialler.dial(address, opts).unwrap();
                let _ = tokio::time::timeout(Duration::from_millis(15), dial).await;
                // A first flight may be two packets.
                let source = UdpSocket::bind("127.20.0.1:0").unwrap();
                source.set_nonblocking(true).unwrap();
                let mut packet = [0; 2_000];
                while let Ok(length) = decoy.recv(&mut packet) {
                    source.send_to(&packet[..length], target).unwrap();
                    out.fetch_add(length as u64, Ordering::Relaxed);
                    signal.add(1);
                }
                mute.push(source);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for source in mute {
            let mut packet = [0; 2_000];
            while let Ok(length) = source.recv(&mut packet) {
                answers.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    };
    let row = measure(scene, "QUIC Initials, mute", attack, |count| format!("{count} packets"));
    let (sent, back) = (sent.load(Ordering::Relaxed), back.load(Ordering::Relaxed));
    row.with(format!("{:.1} bytes back for each", back as f64 / sent.max(1) as f64), sent > 0 && back <= 3 * sent)
}

#[derive(NetworkBehaviour)]
struct Liar {
    /// It speaks with its victim alone, and dials none of those that it makes up.
    alone: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

/// The peer that an address names.
fn peer_at(address: &str) -> PeerId {
    let address: Multiaddr = address.parse().unwrap();
    let peer = address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::P2p(peer) => Some(peer),
        _ => None,
    });
    peer.unwrap()
}

/// A libp2p node of the attacker's.
fn swarm_at(from: Ipv4Addr, key: &Keypair, victim: &str) -> libp2p::Swarm<Liar> {
    let local = key.public().to_peer_id();
    let transport = transport_from(from, key);
    let identify = identify::Behaviour::new(identify::Config::new("/guilder/id/1".to_owned(), key.public()));
    let config = kad::Config::new(StreamProtocol::new("/guilder/kad/1"));
    let mut kad = kad::Behaviour::with_config(local, kad::store::MemoryStore::new(local), config);
    kad.set_mode(Some(kad::Mode::Server));
    let mut alone = allow_block_list::Behaviour::default();
    alone.allow_peer(peer_at(victim));
    let config = libp2p::swarm::Config::with_tokio_executor();
    let mut swarm = libp2p::Swarm::new(transport, Liar { alone, identify, kad }, local, config);
    // Nobody needs to reach it; whoever has an address is one to be asked.
    swarm.add_external_address(format!("/ip4/{from}/tcp/9").parse().unwrap());
    swarm
}

/// Connects, and waits until both know each other.
async fn join(swarm: &mut libp2p::Swarm<Liar>, target: &str) -> bool {
    swarm.dial(target.parse::<Multiaddr>().unwrap()).unwrap();
    let joined = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(LiarEvent::Identify(identify::Event::Received { .. })) => return true,
                SwarmEvent::OutgoingConnectionError { .. } => return false,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), joined).await.unwrap_or(false)
}

/// A peer that answers every look-up with peers that are not, at a victim's ports.
fn false_addresses(scene: &Scene, target: &str) -> Row {
    let target = target.to_owned();
    let ports: Vec<_> = (0..100).map(|_| TcpListener::bind("127.30.9.1:0").unwrap()).collect();
    let victims: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap().port()).collect();
    let dials = Arc::new(AtomicU64::new(0));
    for port in ports {
        let dials = Arc::clone(&dials);
        // Ends with the test program.
        thread::spawn(move || {
            while port.accept().is_ok() {
                dials.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let attack = move |signal: Signal| async move {
        let mut swarm = swarm_at(attacker(30, 1), &Keypair::generate_ed25519(), &target);
        if !join(&mut swarm, &target).await {
            return;
        }
        for number in 0..400_usize {
            let peer = PeerId::from(Keypair::generate_ed25519().public());
            for offset in 0..8 {
                let port = victims[(number * 8 + offset) % victims.len()];
                swarm.behaviour_mut().kad.add_address(&peer, format!("/ip4/127.30.9.1/tcp/{port}").parse().unwrap());
            }
        }
        while !signal.is_over() {
            let event = tokio::time::timeout(Duration::from_millis(100), swarm.select_next_some()).await;
            if let Ok(SwarmEvent::Behaviour(LiarEvent::Kad(kad::Event::InboundRequest { .. }))) = event {
                signal.add(1);
            }
        }
    };
    // Searches for what nobody sells walk to wherever they are sent.
    let searching = Arc::new(AtomicBool::new(true));
    let row = thread::scope(|scope| {
        let stop = Arc::clone(&searching);
        let buyer = &scene.buyer;
        scope.spawn(move || {
            let mut number = 0;
            while stop.load(Ordering::Relaxed) {
                number += 1;
                buyer.run(["find", &format!("no.such{number}")]);
            }
        });
        let row = measure(scene, "false addresses in Kademlia", attack, |count| format!("{count} answers"));
        searching.store(false, Ordering::Relaxed);
        row
    });
    let dials = dials.load(Ordering::Relaxed);
    // An attack lasts less than a minute.
    row.with(format!("{dials} dials that it chose"), dials <= 8)
}

/// A node of the attacker's as honest ones have it, for what only differs in what it says.
async fn network(seed: u8, from: Ipv4Addr, target: &str) -> (Network, guilder::network::Inbound, tempfile::TempDir) {
    counting_network(seed, from, target, Arc::default()).await
}

/// As [`network`], with what it receives counted in bytes.
async fn counting_network(
    seed: u8,
    from: Ipv4Addr,
    target: &str,
    received: Arc<AtomicU64>,
) -> (Network, guilder::network::Inbound, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::production(Limits::default());
    let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
    let key = AgentKey::from_seed(&[seed; 32]);
    let transport = counting_transport_from(from, &transport::keypair(&key).unwrap(), socket_of(target), received);
    let config = NetworkConfig { listen: Vec::new(), mdns: false, ..NetworkConfig::default() };
    let setup = Setup { key, transport, config, runtime, store, events: Events::new(), tap: None };
    let (network, inbound) = Network::start(setup).await.unwrap();
    let _ = network.dial(target.parse().unwrap()).await;
    let topic = SERVICE.parse().unwrap();
    network.subscribe(&topic).await.unwrap();
    (network, inbound, folder)
}

/// An advert of a seller that is nobody.
fn advert(number: u64, mint: &str, price: u64, describes: usize) -> Vec<u8> {
    let mut seed = [0xaa; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let body = AdvertBody {
        service: SERVICE.parse().unwrap(),
        description: "x".repeat(describes),
        price,
        unit: UNIT.parse().unwrap(),
        mints: vec![mint.parse().unwrap()],
        modes: vec![Mode::Prepaid],
        input: None,
        output: None,
        max_input: 1 << 20,
        max_output: 1 << 20,
        time_limit: 60,
    };
    let key = AgentKey::from_seed(&seed);
    Signed::claim(body, now(), Some(now().saturating_add(3_000)), ByteArray([1; 16]), &key).unwrap().bytes().to_vec()
}

fn now() -> Timestamp {
    Timestamp::from_secs(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
}

/// Adverts of sellers that are nobody: some that don't fit, some that do and never answer.
fn sybil_adverts(scene: &Scene, target: &str) -> Row {
    let (target, mint) = (target.to_owned(), scene.swarm.mint_url.clone());
    let attack = move |signal: Signal| async move {
        let (network, _inbound, _folder) = network(200, attacker(40, 1), &target).await;
        let topic = SERVICE.parse().unwrap();
        for number in 0..120 {
            let foreign = "https://nowhere.example".to_owned();
            let mint = if number % 2 == 0 { foreign } else { mint.clone() };
            while network.publish(&topic, advert(number, &mint, 1, 0).into()).await.is_err() && !signal.is_over() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            signal.add(1);
        }
        while !signal.is_over() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        network.shutdown().await;
    };
    let row = measure(scene, "sybil adverts", attack, |count| format!("{count} adverts"));
    let found = scene.buyer.run(["find", SERVICE]).ok().text();
    assert!(found.contains(&scene.seller.peer_id()), "the honest seller is hidden:\n{found}");
    row
}

/// As many bytes of fresh adverts as three connections take, while others listen, as many as a mesh has.
fn advert_flood(scene: &Scene, target: &str) -> Row {
    let (target, mint) = (target.to_owned(), scene.swarm.mint_url.clone());
    let (sent, uploaded) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (bytes, rate) = (Arc::clone(&sent), Arc::clone(&uploaded));
    let attack = move |signal: Signal| async move {
        let received = Arc::<AtomicU64>::default();
        let mut listeners = Vec::new();
        for number in 0..6_u8 {
            let from = attacker(51, number);
            listeners.push(counting_network(210 + number, from, &target, Arc::clone(&received)).await);
        }
        let mut flooders = Vec::new();
        for number in 0..3_u8 {
            flooders.push(network(201 + number, attacker(50, number), &target).await);
        }
        let topic = SERVICE.parse().unwrap();
        let (mut number, began) = (1_000, Instant::now());
        let mut since = None;
        // What may be forwarded at once has gone when the rest is measured.
        while !(signal.is_over() && began.elapsed() > 2 * ATTACK) {
            for (network, ..) in &flooders {
                number += 1;
                let advert = advert(number, &mint, 1, 900);
                let length = advert.len() as u64;
                if network.publish(&topic, advert.into()).await.is_ok() {
                    bytes.fetch_add(length, Ordering::Relaxed);
                    signal.add(1);
                }
            }
            if since.is_none() && began.elapsed() > ATTACK * 3 / 2 {
                since = Some((Instant::now(), received.load(Ordering::Relaxed)));
            }
            for (_, inbound, _) in &mut listeners {
                while inbound.gossip.try_recv().is_ok() {}
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        if let Some((since, before)) = since {
            let bytes = received.load(Ordering::Relaxed) - before;
            rate.store((bytes as f64 / since.elapsed().as_secs_f64()) as u64, Ordering::Relaxed);
        }
        for (network, ..) in flooders.into_iter().chain(listeners) {
            network.shutdown().await;
        }
    };
    let row = measure(scene, "advert flood", attack, |count| {
        format!("{count} adverts, {} KiB", sent.load(Ordering::Relaxed) >> 10)
    });
    let uploaded = uploaded.load(Ordering::Relaxed);
    row.with(format!("{} kB/s to 6 listeners", uploaded / 1000), uploaded <= MAX_GOSSIP_PER_SEC)
}

/// Sends the same packet over and over on gossip streams, until it is cut off.
async fn repeat(from: Ipv4Addr, target: &str, packet: &[u8], signal: &Signal) -> bool {
    let began = Instant::now();
    let peer = loop {
        match Hostile::connect(from, target).await {
            Ok(peer) => break peer,
            Err(error) => assert!(began.elapsed() < CUT_OFF, "{error}"),
        }
    };
    let mut stream = peer.open("/meshsub/1.2.0").await.unwrap();
    while !signal.is_over() || began.elapsed() < CUT_OFF {
        let writing = async {
            stream.write_all(packet).await?;
            stream.flush().await
        };
        match tokio::time::timeout(Duration::from_secs(1), writing).await {
            Ok(Ok(())) => signal.add(1),
            Ok(Err(_)) => return true,
            Err(_) => {}
        }
        if peer.is_cut_off() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// One forged message, again and again.
fn replayed_gossip(scene: &Scene, target: &str) -> Row {
    let target = target.to_owned();
    let cut = Arc::new(AtomicBool::new(false));
    let cut_off = Arc::clone(&cut);
    let attack = move |signal: Signal| async move {
        let author = PeerId::from(Keypair::generate_ed25519().public()).to_bytes();
        let topic = format!("/guilder/market/1/{SERVICE}");
        let packet = gossip::framed(&gossip::forged(&topic, &author, b"the same")).repeat(50);
        cut_off.store(repeat(attacker(60, 1), &target, &packet, &signal).await, Ordering::Relaxed);
    };
    let row = measure(scene, "replayed gossip", attack, |count| format!("{} messages", 50 * count));
    let cut = cut.load(Ordering::Relaxed);
    row.with(if cut { "cut off" } else { "not cut off" }, cut)
}

/// Topics with names of 15 KB, and message IDs as long, from many peers.
fn long_topics(scene: &Scene, target: &str) -> Row {
    let target = target.to_owned();
    let attack = move |signal: Signal| async move {
        let mut peers = Vec::new();
        for number in 0..40_u8 {
            let Ok(peer) = Hostile::connect(Ipv4Addr::new(127, 70, number % 8, 1), &target).await else { continue };
            let Ok(mut stream) = peer.open("/meshsub/1.2.0").await else { continue };
            for round in 0..64_u8 {
                let topics: Vec<_> =
                    (0..4).map(|topic| format!("{number}/{round}/{topic}/{}", "t".repeat(15_000))).collect();
                let packet = gossip::subscriptions(topics.iter().map(String::as_str));
                let ids: Vec<_> = topics.iter().map(|topic| topic.as_bytes()).collect();
                let unwanted = gossip::unwanted(ids);
                let framed = [gossip::framed(&packet), gossip::framed(&unwanted)].concat();
                let writing = stream.write_all(&framed);
                if !matches!(tokio::time::timeout(Duration::from_secs(1), writing).await, Ok(Ok(()))) {
                    break;
                }
                signal.add(framed.len() as u64);
                if signal.is_over() {
                    return;
                }
            }
            let _ = stream.flush().await;
            peers.push((peer, stream));
        }
        while !signal.is_over() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    measure(scene, "topics and IDs of 15 KB", attack, |bytes| format!("{} MiB", bytes >> 20))
}

/// Packets of more subscriptions than are allowed, which libp2p logs as errors.
fn many_subscriptions(scene: &Scene, target: &str) -> Row {
    let log = || fs::metadata(scene.seller.log()).unwrap().len();
    let before = log();
    let target = target.to_owned();
    let attack = move |signal: Signal| async move {
        let topics: Vec<_> = (0..300).map(|number| format!("/guilder/market/1/a.s{number}")).collect();
        let packet = gossip::framed(&gossip::subscriptions(topics.iter().map(String::as_str)));
        repeat(attacker(80, 1), &target, &packet, &signal).await;
    };
    let row = measure(scene, "300 subscriptions a packet", attack, |count| format!("{count} packets"));
    let written = log() - before;
    row.with(format!("{} KiB of log", written >> 10), written < 256 * 1024)
}

/// Two hundred identities of one address that connect again and again, and a buyer that comes then.
fn crowd(scene: &Scene, target: &str) -> Row {
    let target = target.to_owned();
    let attack = move |signal: Signal| async move {
        let mut peers: Vec<Hostile> = Vec::new();
        while !signal.is_over() {
            peers.retain(|peer| !peer.is_cut_off());
            if peers.len() < 200
                && let Ok(peer) = Hostile::connect(attacker(90, 1), &target).await
            {
                signal.add(1);
                peers.push(peer);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let settings = scene.swarm.settings_at("127.1.4.1", "");
    thread::scope(|scope| {
        let newcomer = scope.spawn(|| {
            thread::sleep(ATTACK / 2);
            let newcomer = Daemon::start("newcomer", &Home::new(&settings));
            fund(&newcomer, 10);
            hire(&newcomer, SERVICE, b"new here", &["--max-price", "1"]).output
        });
        let row = measure(scene, "crowd of one address", attack, |count| format!("{count} connections"));
        assert_eq!(newcomer.join().unwrap(), "new here", "a newcomer from elsewhere gets in");
        row
    })
}

/// Peers that leave as many provider records as they may, for keys of nothing.
fn filled_table(scene: &Scene, target: &str) -> Row {
    let target = target.to_owned();
    let attack = move |signal: Signal| async move {
        let mut peers = Vec::new();
        for number in 0..20_u8 {
            if signal.is_over() {
                return;
            }
            let mut swarm = swarm_at(Ipv4Addr::new(127, 100, 0, 1 + number), &Keypair::generate_ed25519(), &target);
            if !join(&mut swarm, &target).await {
                continue;
            }
            swarm.behaviour_mut().kad.add_address(&peer_at(&target), target.parse().unwrap());
            for key in 0..128_u32 {
                let key = [&[0x12, 0x20][..], &[number; 28], &key.to_be_bytes()].concat();
                let _ = swarm.behaviour_mut().kad.start_providing(kad::RecordKey::new(&key));
            }
            let working = async {
                loop {
                    swarm.select_next_some().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(150), working).await;
            signal.add(128);
            peers.push(swarm);
        }
        while !signal.is_over() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let row = measure(scene, "filled table of providers", attack, |count| format!("{count} records"));
    sell_echo(&scene.seller, "late.comer", 1, "");
    // By Kademlia, as nobody follows its topic.
    eventually("the new service to be found", LONG, || {
        let found = scene.buyer.run(["find", "late.comer"]);
        if found.text().contains(&scene.seller.peer_id()) { Ok(()) } else { Err(found) }
    });
    row
}

/// Half requests at the control API, more than there are descriptors by default.
fn idle_http(scene: &Scene) -> Row {
    let api: SocketAddr = scene.buyer.access().unwrap()["address"].as_str().unwrap().parse().unwrap();
    let attack = move |signal: Signal| async move {
        let mut open = Vec::new();
        while !signal.is_over() {
            for _ in 0..20 {
                if open.len() < 900
                    && let Ok(mut stream) = tokio::net::TcpStream::connect(api).await
                {
                    let _ = stream.write_all(b"GET /v1/status HT").await;
                    open.push(stream);
                    signal.add(1);
                }
            }
            if open.len() >= 900 {
                open.drain(..300);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    measure(scene, "half HTTP requests", attack, |count| format!("{count} connections"))
}

/// Floods of a kind of trade frames from peers that come again under a fresh key when they are cut off; how
/// often that was. What the node answers they reset, and hang up on.
async fn flood(target: String, x: u8, frames: impl Fn(&AgentKey) -> Vec<u8>, signal: Signal, cuts: Arc<AtomicU64>) {
    let began = Instant::now();
    let goes_on = || !signal.is_over() || cuts.load(Ordering::Relaxed) == 0 && began.elapsed() < CUT_OFF;
    let one = |number: u8| {
        let (target, frames, signal, cuts, goes_on) = (&target, &frames, &signal, &cuts, &goes_on);
        async move {
            let mut seed = [x; 32];
            while goes_on() {
                seed[1] = number;
                seed[2] = seed[2].wrapping_add(1);
                let key = AgentKey::from_seed(&seed);
                let pair = transport::keypair(&key).unwrap();
                let Ok(peer) = Hostile::connect_as(&pair, attacker(x, number), target).await else {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                };
                let Ok(mut stream) = peer.open("/guilder/trade/1").await else { continue };
                let packet = frames(&key);
                while goes_on() && !peer.is_cut_off() {
                    let writing = async {
                        stream.write_all(&packet).await?;
                        stream.flush().await
                    };
                    match tokio::time::timeout(Duration::from_secs(1), writing).await {
                        Ok(Ok(())) => signal.add(1),
                        Ok(Err(_)) => break,
                        Err(_) => {}
                    }
                    tokio::task::yield_now().await;
                }
                cuts.fetch_add(u64::from(peer.is_cut_off()), Ordering::Relaxed);
            }
        }
    };
    futures::future::join_all((0..4).map(one)).await;
}

/// An ask that the seller would make an offer for.
fn ask(mint: &str, number: u32, key: &AgentKey) -> Signed<Ask> {
    let body = AskBody {
        service: SERVICE.parse().unwrap(),
        max_price: 5,
        unit: UNIT.parse().unwrap(),
        mints: vec![mint.parse().unwrap()],
        modes: vec![Mode::Prepaid],
        input_size: 5,
        deadline: now().saturating_add(60),
    };
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    Signed::claim(body, now(), Some(now().saturating_add(60)), ByteArray(nonce), key).unwrap()
}

/// Four peers that ask as fast as their lines take it.
fn asks(scene: &Scene, target: &str) -> Row {
    let (target, mint) = (target.to_owned(), scene.swarm.mint_url.clone());
    let cuts = Arc::<AtomicU64>::default();
    let cut_off = Arc::clone(&cuts);
    let attack = move |signal: Signal| {
        let frames = move |key: &AgentKey| {
            let frame = |number| Message::from(Asked { ask: ask(&mint, number, key).bytes().to_vec().into() }).encode();
            framed((0..50).map(|number| frame(number).unwrap()))
        };
        flood(target, 110, frames, signal, cut_off)
    };
    let row = measure(scene, "asks, without end", attack, |count| format!("{} asks", 50 * count));
    let cuts = cuts.load(Ordering::Relaxed);
    row.with(format!("hung up on {cuts} times"), cuts > 0)
}

/// Awards of an offer that was made, each with money that isn't.
fn awards(scene: &Scene, target: &str) -> Row {
    let (target, mint) = (target.to_owned(), scene.swarm.mint_url.clone());
    let before = bans(&scene.seller);
    let attack = move |signal: Signal| async move {
        let (began, mut cut) = (Instant::now(), false);
        for seed in 220..=250_u8 {
            if signal.is_over() && (cut || began.elapsed() > CUT_OFF) {
                return;
            }
            let key = AgentKey::from_seed(&[seed; 32]);
            let (network, mut inbound, _folder) = network(seed, attacker(120, seed), &target).await;
            let ask = ask(&mint, 0, &key);
            let seller = guilder_protocol::identity::AgentId::from_peer_id(&peer_at(&target).to_string()).unwrap();
            let asked = Message::from(Asked { ask: ask.bytes().to_vec().into() }).encode().unwrap();
            let _ = network.send(seller, asked.into()).await;
            let answer = tokio::time::timeout(Duration::from_secs(5), inbound.frames.recv()).await;
            if let Ok(Some(frame)) = answer
                && let Ok(Message::Offered(offered)) = Message::decode(&frame.bytes)
            {
                let offer = Signed::<Offer>::decode(&offered.offer).unwrap();
                for number in 0..u32::MAX {
                    let frame = Message::from(award(&ask, &offer, number, &key)).encode().unwrap();
                    // As its connection is gone, it would be dialled again.
                    if !network.is_connected(seller) || network.send(seller, frame.into()).await.is_err() {
                        cut = true;
                        break;
                    }
                    signal.add(1);
                    if began.elapsed() > CUT_OFF {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            network.shutdown().await;
        }
    };
    let row = measure(scene, "awards with money that isn't", attack, |count| format!("{count} awards"));
    let bans = bans(&scene.seller) - before;
    row.with(format!("{bans} banned"), bans > 0)
}

/// An award that fits its offer, with coins of a keyset that no mint has.
fn award(ask: &Signed<Ask>, offer: &Signed<Offer>, number: u32, key: &AgentKey) -> Awarded {
    let Terms::Prepaid(terms) = &offer.body.terms else { panic!("no prepaid offer") };
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    let input = b"hello";
    let args = AwardArgs {
        task: ask.cid(),
        service: offer.body.service.clone(),
        ask: ask.cid(),
        offer: offer.cid(),
        input: ContentId::of(input).hash,
        mint: offer.body.mints[0].clone(),
        price: offer.body.price,
        unit: offer.body.unit.clone(),
        spent: offer.body.price,
        seller: offer.issuer(),
        deadline: offer.body.deadline,
        depth: 0,
    };
    let part = AwardPart::Prepaid(prepaid::AwardPart { locktime: terms.locktime, ys: ByteArray([1; 32]) });
    let award = Award::sign(&args, &part, key.id(), Vec::new(), now(), ByteArray(nonce), key).unwrap();
    let proof = LockedProof {
        amount: offer.body.price,
        c: terms.payee,
        dleq: Dleq { e: ByteArray([1; 32]), r: ByteArray([2; 32]), s: ByteArray([3; 32]) },
        id: "00ffffffffffffff".parse().unwrap(),
        secret: "[\"P2PK\",{}]".to_owned(),
    };
    Awarded {
        award: award.invocation().bytes().to_vec().into(),
        offer: offer.bytes().to_vec().into(),
        ask: ask.bytes().to_vec().into(),
        proofs: Vec::new(),
        lock: Lock::Prepaid(prepaid::Lock { proofs: vec![proof], refund: terms.payee }),
        input: Payload::Inline(input.to_vec().into()),
        grant: None,
    }
}

/// Silent streams to the hosted mint, as many as eight peers of eight networks may have, and a wallet that comes then.
fn mint_streams(scene: &Scene) -> Row {
    let target = scene.swarm.mint.address();
    let attack = move |signal: Signal| async move {
        let mut peers = Vec::new();
        for number in 0..8_u8 {
            peers.extend(Hostile::connect(attacker(130, number), &target).await.ok());
        }
        let mut streams = std::collections::VecDeque::new();
        while !signal.is_over() {
            for peer in &peers {
                for _ in 0..16 {
                    if let Ok(mut stream) = peer.open("/guilder/mint/1").await {
                        // Half of them say something, once.
                        if streams.len() % 2 == 0 {
                            let _ = stream.write_all(&mint_request("/v1/info", Vec::new())).await;
                            let _ = stream.flush().await;
                        }
                        streams.push_back(stream);
                        signal.add(1);
                    }
                }
            }
            while streams.len() > 1_024 {
                streams.pop_front();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let settings = scene.swarm.settings_at("127.1.5.1", "");
    thread::scope(|scope| {
        let wallet = scope.spawn(|| {
            thread::sleep(ATTACK / 2);
            let wallet = Daemon::start("wallet", &Home::new(&settings));
            fund(&wallet, 10);
        });
        let row = measure(scene, "streams to the mint", attack, |count| format!("{count} streams"));
        wallet.join().unwrap();
        row
    })
}

/// A frame of a wallet's request to the hosted mint.
fn mint_request(path: &str, body: Vec<u8>) -> Vec<u8> {
    let method = if body.is_empty() { Method::Get } else { Method::Post };
    Request { method, path: path.to_owned(), body }.encode().unwrap()
}

/// Requests to the hosted mint of a megabyte each, of which the last bytes drip.
fn mint_bodies(scene: &Scene) -> Row {
    let target = scene.swarm.mint.address();
    let attack = move |signal: Signal| async move {
        let large = mint_request("/v1/swap", vec![b' '; 1_000_000]);
        let (most, rest) = large.split_at(large.len() - 1_000);
        let mut peers = Vec::new();
        for number in 0..24_u8 {
            peers.extend(Hostile::connect(attacker(140, number), &target).await.ok());
        }
        let mut streams = Vec::new();
        for round in 0.. {
            for peer in peers.iter().filter(|_| round < 12) {
                let Ok(mut stream) = peer.open("/guilder/mint/1").await else { continue };
                let writing = stream.write_all(most);
                if matches!(tokio::time::timeout(Duration::from_millis(300), writing).await, Ok(Ok(()))) {
                    signal.add(most.len() as u64);
                }
                let _ = tokio::time::timeout(Duration::from_millis(10), stream.flush()).await;
                streams.push(stream);
                if signal.is_over() {
                    return;
                }
            }
            for stream in &mut streams {
                let dripping = stream.write_all(&rest[round % 900..=round % 900]);
                let _ = tokio::time::timeout(Duration::from_millis(1), dripping).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    measure(scene, "dripping requests to the mint", attack, |bytes| format!("{} MiB", bytes >> 20))
}

/// The same over HTTP.
fn mint_http_bodies(scene: &Scene) -> Row {
    let http = scene.http;
    let attack = move |signal: Signal| async move {
        let head = "POST /v1/swap HTTP/1.1\r\nHost: mint\r\nContent-Type: application/json\r\n";
        let request = [format!("{head}Content-Length: 1000000\r\n\r\n").into_bytes(), vec![b' '; 999_000]].concat();
        let mut open = std::collections::VecDeque::new();
        while !signal.is_over() {
            if let Ok(mut stream) = tcp_from(attacker(150, (open.len() % 8) as u8), http).await {
                let writing = stream.write_all(&request);
                if matches!(tokio::time::timeout(Duration::from_millis(300), writing).await, Ok(Ok(()))) {
                    signal.add(request.len() as u64);
                }
                open.push_back(stream);
            }
            for stream in &mut open {
                let _ = tokio::time::timeout(Duration::from_millis(1), stream.write_all(b" ")).await;
            }
            if open.len() > 300 {
                open.pop_front();
            }
        }
    };
    measure(scene, "dripping HTTP to the mint", attack, |bytes| format!("{} MiB", bytes >> 20))
}

/// Swaps of coins that nobody signed, as large as they may be.
fn mint_swaps(scene: &Scene) -> Row {
    let target = scene.swarm.mint.address();
    let keysets = guilder_tests::http::request(scene.http, "GET", "/v1/keysets", &[], &[]).unwrap().json();
    let id = keysets["keysets"][0]["id"].as_str().unwrap().to_owned();
    let attack = move |signal: Signal| async move {
        let point = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let one = |number: u32| {
            let input = serde_json::json!({ "amount": 1, "id": id, "secret": format!("{number:064x}"), "C": point });
            let output = serde_json::json!({ "amount": 1, "id": id, "B_": point });
            (input, output)
        };
        let mut peers = Vec::new();
        for number in 0..4_u8 {
            peers.extend(Hostile::connect(attacker(160, number), &target).await.ok());
        }
        let mut number = 0;
        while !signal.is_over() {
            for peer in &peers {
                number += 100;
                let (inputs, outputs): (Vec<_>, Vec<_>) = (number..number + 100).map(one).unzip();
                let body = serde_json::to_vec(&serde_json::json!({ "inputs": inputs, "outputs": outputs })).unwrap();
                let Ok(mut stream) = peer.open("/guilder/mint/1").await else { continue };
                let exchange = async {
                    stream.write_all(&mint_request("/v1/swap", body)).await?;
                    stream.flush().await?;
                    futures::AsyncReadExt::read(&mut stream, &mut [0; 1_000]).await
                };
                if matches!(tokio::time::timeout(Duration::from_secs(1), exchange).await, Ok(Ok(1..))) {
                    signal.add(1);
                }
            }
        }
    };
    measure(scene, "swaps of junk", attack, |count| format!("{count} swaps of 100 coins"))
}

/// Quotes that nobody pays, over HTTP and over streams.
fn mint_quotes(scene: &Scene) -> Row {
    let (target, http) = (scene.swarm.mint.address(), scene.http);
    let attack = move |signal: Signal| async move {
        let body = serde_json::json!({ "amount": 1, "unit": UNIT, "description": "x".repeat(400) }).to_string();
        let head = "POST /v1/mint/quote/bolt11 HTTP/1.1\r\nHost: mint\r\nContent-Type: application/json\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let over_http = |number: u8| {
            let (request, signal) = (&request, &signal);
            async move {
                let mut answer = [0; 4_096];
                while !signal.is_over() {
                    let Ok(mut stream) = tcp_from(attacker(170, number), http).await else { continue };
                    while !signal.is_over() && stream.write_all(request.as_bytes()).await.is_ok() {
                        let reading = tokio::io::AsyncReadExt::read(&mut stream, &mut answer);
                        match tokio::time::timeout(Duration::from_secs(1), reading).await {
                            Ok(Ok(1..)) => signal.add(1),
                            _ => break,
                        }
                    }
                }
            }
        };
        let over_streams = |number: u8| {
            let (frame, signal, target) =
                (mint_request("/v1/mint/quote/bolt11", body.clone().into()), &signal, &target);
            async move {
                let Ok(peer) = Hostile::connect(attacker(171, number), target).await else { return };
                while !signal.is_over() {
                    let Ok(mut stream) = peer.open("/guilder/mint/1").await else { return };
                    let mut hello = [0; 40];
                    let mut answer = [0; 4_096];
                    let _ = futures::AsyncReadExt::read(&mut stream, &mut hello).await;
                    while !signal.is_over() {
                        let exchange = async {
                            stream.write_all(&frame).await?;
                            stream.flush().await?;
                            futures::AsyncReadExt::read(&mut stream, &mut answer).await
                        };
                        match tokio::time::timeout(Duration::from_secs(1), exchange).await {
                            Ok(Ok(1..)) => signal.add(1),
                            _ => break,
                        }
                    }
                }
            }
        };
        let https = futures::future::join_all((0..4).map(over_http));
        let streams = futures::future::join_all((0..4).map(over_streams));
        futures::future::join(https, streams).await;
    };
    measure(scene, "quotes that nobody pays", attack, |count| format!("{count} answers"))
}
