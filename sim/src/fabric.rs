//! The simulated network: hosts with IP addresses, and a libp2p [`Transport`](libp2p::core::Transport) between them.
//!
//! Everything that crosses it (a dial's SYN and its answer, each write) is an event in one heap, ordered by virtual
//! microsecond and then by sequence number; one task, [`Driver`], takes them out. So the order of the whole network hangs on
//! nothing but the seed.
//!
//! A connection is two [`pipe`]s, one each way, with what TCP shows to a program: order, half-close, reset, a bounded
//! window, delay. Loss shows as delay, too: a lost segment arrives a retransmission later. A crashed or partitioned
//! host is silent; a connection through it stalls and is reset after a minute.
//!
//! A host may stand behind a [`nat`]: it listens on a private address that nobody else can dial, and is seen by the address of
//! its box.
//!
//! Bounded: 512 KiB in flight per pipe; writes beyond wait, as on a full socket buffer.

mod driver;
mod nat;
mod pipe;
mod syn;
mod topology;
mod transport;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::Duration,
};

use libp2p::core::{Multiaddr, multiaddr::Protocol};
use tokio::time::Instant;

pub use self::{
    driver::Driver,
    nat::NatKind,
    pipe::FabricStream,
    topology::{Place, Topology},
    transport::{Dial, FabricTransport},
};
use self::{
    driver::Event,
    nat::{Endpoint, Flow, Nat},
    pipe::Pipe,
    transport::{Dialing, Listener},
};
use crate::interpose::Rng;

/// The TCP port that every simulated node listens on.
pub const PORT: u16 = 4001;

/// A host on the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

impl HostId {
    /// The host's address: spread over many /16 networks, and globally routable to look at.
    pub fn ip(self) -> Ipv4Addr {
        // 2^30 addresses from 32.0.0.0 on; the odd stride visits each before it repeats.
        let spread = self.0.wrapping_mul(0x0003_4d2d) & 0x1fff_ffff;
        Ipv4Addr::from(0x2000_0000 | spread)
    }

    /// Its own address if it stands behind a NAT: in 10.0.0.0/8, where nobody else can dial it.
    pub fn inside_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0000 | (self.0 & 0x00ff_ffff))
    }

    /// Where the host's node listens, unless it stands behind a NAT.
    pub fn address(self) -> Multiaddr {
        Multiaddr::empty().with(Protocol::Ip4(self.ip())).with(Protocol::Tcp(PORT))
    }
}

/// What has crossed the fabric so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Events fired.
    pub events: u64,
    /// Writes that entered a pipe.
    pub writes: u64,
    /// Bytes that entered a pipe.
    pub bytes: u64,
    /// Connections dialled.
    pub dials: u64,
    /// Connections that a listener took.
    pub accepted: u64,
    /// Connections that nobody listened for.
    pub refused: u64,
    /// Segments lost, and so delayed.
    pub lost: u64,
    /// Connections reset.
    pub resets: u64,
}

/// The network of one simulation. Cheap to clone.
#[derive(Clone)]
pub struct Fabric(Arc<Mutex<State>>);

struct State {
    topology: Topology,
    rng: Rng,
    start: Instant,
    hosts: Vec<Host>,
    by_ip: BTreeMap<Ipv4Addr, HostId>,
    listeners: BTreeMap<Endpoint, Arc<Mutex<Listener>>>,
    /// Dials under way from behind a NAT: host, its port, and whom it dials.
    opening: BTreeMap<(HostId, u16, Endpoint), Weak<Mutex<Dialing>>>,
    heap: BinaryHeap<Reverse<Event>>,
    sequence: u64,
    /// When the driver will wake by itself, and how to wake it sooner.
    armed_us: u64,
    driver: Option<Waker>,
    pipes: Vec<Weak<Mutex<Pipe>>>,
    traffic: Traffic,
    /// Whether what a partition's later groups send still arrives.
    one_way: bool,
}

struct Host {
    place: Place,
    nat: Option<Nat>,
    up: bool,
    group: u32,
    uplink_free_us: u64,
    next_port: u16,
    sent: u64,
    received: u64,
}

impl Fabric {
    /// An empty network; must be called within the paused runtime that will drive it.
    pub fn new(seed: u64, topology: Topology) -> Self {
        Self(Arc::new(Mutex::new(State {
            topology,
            rng: Rng::new(seed),
            start: Instant::now(),
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            listeners: BTreeMap::new(),
            opening: BTreeMap::new(),
            heap: BinaryHeap::new(),
            sequence: 0,
            armed_us: u64::MAX,
            driver: None,
            pipes: Vec::new(),
            traffic: Traffic::default(),
            one_way: false,
        })))
    }

    /// Adds a host at a place drawn from the seed, in the first region if there are regions.
    pub fn add_host(&self) -> HostId {
        self.add_host_in(0)
    }

    /// Adds a host in a region of the topology.
    pub fn add_host_in(&self, region: usize) -> HostId {
        let mut state = self.lock();
        let id = HostId(state.hosts.len() as u32);
        let place = Place { x: state.rng.unit(), y: state.rng.unit(), region };
        let (uplink_free_us, sent, received) = (0, 0, 0);
        let next_port = FIRST_PORT;
        state.hosts.push(Host { place, nat: None, up: true, group: 0, uplink_free_us, next_port, sent, received });
        state.by_ip.insert(id.ip(), id);
        id
    }

    /// Puts a host behind a NAT of its own, which forgets a connection after so long without traffic. Before its node
    /// starts.
    pub fn put_behind_nat(&self, host: HostId, kind: NatKind, mapping: Duration) {
        self.lock().host(host).nat = Some(Nat::new(kind, mapping.as_micros() as u64));
    }

    /// Whether a host stands behind a NAT.
    pub fn is_behind_nat(&self, host: HostId) -> bool {
        self.lock().is_behind_nat(host)
    }

    /// The transport of a host's node.
    pub fn transport(&self, host: HostId) -> FabricTransport {
        FabricTransport::new(self.clone(), host)
    }

    /// A bare connection from one host to another's listener, for whoever speaks no libp2p.
    pub fn dial(&self, from: HostId, to: HostId) -> Dial {
        let source_port = self.lock().next_port(from);
        Dial::new(self, from, source_port, (to.ip(), PORT))
    }

    /// The task that moves everything; to be spawned once.
    pub fn driver(&self) -> Driver {
        Driver::new(self.clone())
    }

    /// Crashes a host. Its peers see resets if `reset`, as when a process dies, or silence, as when a machine does.
    pub fn kill(&self, host: HostId, reset: bool) {
        let pipes: Vec<_> = {
            let mut state = self.lock();
            state.host(host).up = false;
            state.listeners.retain(|_, listener| lock(listener).host != host);
            state.pipes.retain(|pipe| pipe.strong_count() > 0);
            state.pipes.iter().filter_map(Weak::upgrade).collect()
        };
        for pipe in pipes {
            let mut pipe = lock(&pipe);
            match (pipe.from == host, pipe.to == host) {
                (true, _) | (_, true) if reset => pipe.reset(),
                (true, _) => pipe.fall_silent(),
                _ => {}
            }
        }
    }

    /// Lets a crashed host be reached again, once its new node listens.
    pub fn revive(&self, host: HostId) {
        self.lock().host(host).up = true;
    }

    /// Splits the network: hosts reach only those of their own group.
    pub fn partition(&self, group: impl Fn(HostId) -> u32) {
        self.split(group, false);
    }

    /// Splits the network in one direction: what a group sends to one with a higher number is lost, the other way all
    /// is well.
    pub fn partition_one_way(&self, group: impl Fn(HostId) -> u32) {
        self.split(group, true);
    }

    fn split(&self, group: impl Fn(HostId) -> u32, one_way: bool) {
        let mut state = self.lock();
        state.one_way = one_way;
        for (index, host) in state.hosts.iter_mut().enumerate() {
            host.group = group(HostId(index as u32));
        }
    }

    /// The region of a host.
    pub fn region(&self, host: HostId) -> usize {
        self.lock().host(host).place.region
    }

    /// Bytes that a host has put on its wire, and bytes put on the wire for it.
    pub fn bytes(&self, host: HostId) -> (u64, u64) {
        let mut state = self.lock();
        let host = state.host(host);
        (host.sent, host.received)
    }

    /// What has crossed the fabric so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

const FIRST_PORT: u16 = 32_768;
const LAST_PORT: u16 = 60_999;

impl State {
    fn host(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0 as usize]
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn push(&mut self, at_us: u64, what: driver::What) {
        self.sequence += 1;
        self.heap.push(Reverse(Event { at_us, sequence: self.sequence, what }));
        if at_us < self.armed_us
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
    }

    /// One way's delay without anything in the way.
    fn base_us(&self, from: HostId, to: HostId) -> u64 {
        let (from, to) = (&self.hosts[from.0 as usize], &self.hosts[to.0 as usize]);
        self.topology.base_us(from.place, to.place)
    }

    /// One segment's delay: distance, jitter, and a retransmission for each time it is lost.
    fn delay_us(&mut self, base_us: u64) -> u64 {
        let mut delay = base_us + self.rng.below(self.topology.jitter_us + 1);
        let mut timeout = 200_000 + 2 * base_us;
        while self.topology.loss > 0.0 && timeout <= 10_000_000 && self.rng.unit() < self.topology.loss {
            self.traffic.lost += 1;
            delay += timeout;
            timeout *= 2;
        }
        delay
    }

    /// What a segment waits for those before it on the sender's uplink.
    fn uplink_us(&mut self, host: HostId, bytes: u64) -> u64 {
        let bits_per_second = self.topology.uplink_bps;
        if bits_per_second == 0 {
            return 0;
        }
        let now = self.now_us();
        let host = self.host(host);
        let start = host.uplink_free_us.max(now);
        host.uplink_free_us = start + (bytes + HEADERS) * 8_000_000 / bits_per_second;
        host.uplink_free_us - now
    }

    fn is_cut(&self, from: HostId, to: HostId) -> bool {
        let (from, to) = (&self.hosts[from.0 as usize], &self.hosts[to.0 as usize]);
        let split = if self.one_way { from.group < to.group } else { from.group != to.group };
        !from.up || !to.up || split
    }

    fn is_behind_nat(&self, host: HostId) -> bool {
        self.hosts[host.0 as usize].nat.is_some()
    }

    /// The address of a host's own interface.
    fn inside_ip(&self, host: HostId) -> Ipv4Addr {
        if self.is_behind_nat(host) { host.inside_ip() } else { host.ip() }
    }

    /// Whether the boxes on a connection's way still know it.
    fn pass(&mut self, flows: &[Option<Flow>; 2]) -> bool {
        let now = self.now_us();
        let mut known = |flow: &Flow| self.host(flow.host).nat.as_mut().is_none_or(|nat| nat.pass(flow, now));
        flows.iter().flatten().all(&mut known)
    }

    /// Counts what a write put on the wire.
    fn count(&mut self, from: HostId, to: HostId, bytes: u64) {
        self.traffic.bytes += bytes;
        self.host(from).sent += bytes;
        self.host(to).received += bytes;
    }

    fn next_port(&mut self, host: HostId) -> u16 {
        let port = &mut self.host(host).next_port;
        *port = if *port == LAST_PORT { FIRST_PORT } else { *port + 1 };
        *port
    }
}

/// IP and TCP headers, in bytes.
const HEADERS: u64 = 40;

/// A panic elsewhere on the one thread has ended the simulation already; what it left locked is of no more interest.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
