//! The hosts of a simulation and what runs on them: whole nodes over simulated wires, disks, mints and work.
//!
//! ```text
//! Host   key, wallet seeds, disk, contents, plan ── outlive ──▶ Node   guilder::parts::Node, from Parts
//!                                                                 transport   the fabric, noise and yamux
//!                                                                 store       on the host's disk
//!                                                                 connectors  lines to the model mints, over the fabric
//!                                                                 executors   work as functions, in virtual time
//!                                                                 runtime     heavy work in place, at a modelled cost
//! ```
//!
//! A killed node comes back as it would after a crash: its disk has what was committed and nothing else. Everything that
//! a node does reaches the trace: its swarm's events, the bytes that it commits, its calls to mints, its own events.

pub(crate) mod eclipse;
pub mod executor;
mod machine;
pub(crate) mod raw_peer;
pub(crate) mod twin;

use std::{collections::BTreeMap, fmt, fs, net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use guilder::{
    api::Api,
    config::Config,
    content::Content,
    events::Events,
    executor::Executors,
    failpoint::Failpoint,
    keys::Home,
    network::{DhtMode, NetworkConfig, transport},
    parts::{Node, Parts},
    runtime::Runtime,
    store::{Place, Store, testing::CrashBackend},
    wallet::{Holding, WalletConfig, WalletError},
};
use guilder_protocol::{
    identity::{AgentId, AgentKey},
    market::{MintUrl, ServiceName},
};
use libp2p::{
    Multiaddr,
    core::{Transport as _, muxing::StreamMuxerBox, upgrade::Version},
    kad::KBucketKey,
    multiaddr::Protocol,
    noise,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use self::{
    eclipse::{Attack, Attacker, Eclipse},
    executor::{SimExecutor, Way},
    machine::Machine,
    twin::Twin,
};
use crate::{
    bare::{Operations, Tally},
    fabric::{Fabric, HostId, PORT, Topology},
    interpose::Rng,
    journal::Journal,
    meter::{Meter, Metered},
    mint::{Lines, ModelMint, line},
    trace::Trace,
};

/// Entries per Kademlia bucket; libp2p's default.
const BUCKET: usize = 20;
/// Honest hosts that an attacker without a node knows at first.
const OTHERS: usize = 20;
/// How long a connection may take to become authenticated and multiplexed.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// All hosts of one simulation.
pub struct World {
    seed: u64,
    fabric: Fabric,
    trace: Trace,
    journal: Journal,
    tally: Tally,
    mints: BTreeMap<MintUrl, ModelMint>,
    hosts: BTreeMap<HostId, Host>,
    /// What runs instead of a node on hosts that are attackers'; `None` while it is down.
    attackers: BTreeMap<HostId, (Attack, Option<Attacker>)>,
    eclipse: Option<Eclipse>,
    folder: Folder,
}

/// One host: an identity and a disk, and the node that runs on them, if one does.
struct Host {
    key: AgentKey,
    wallet_seed: [u8; 64],
    lock_seed: [u8; 32],
    disk: CrashBackend,
    memory: Place,
    config: Config,
    executor: Arc<SimExecutor>,
    clock_off_s: i64,
    failpoint: Failpoint,
    meter: Arc<Meter>,
    node: Option<Node>,
    was_killed: bool,
    /// Whether its phrase had more than one home, or an older one.
    had_other_home: bool,
    /// Locked coins of homes that are gone: no phrase brings them back.
    forgotten: Vec<Holding>,
    twin: Option<Twin>,
    /// What its wallet had when its node was killed.
    left: Vec<Holding>,
    /// What its disk is to fall back to.
    old_disk: Option<CrashBackend>,
}

impl World {
    /// An empty world; must be called within the paused runtime that will run it.
    ///
    /// # Errors
    /// If there is no folder to be had for large inputs and outputs.
    pub fn new(seed: u64, topology: Topology, trace: Trace) -> Result<Self, WorldError> {
        let fabric = Fabric::new(seed, topology);
        tokio::spawn(fabric.driver());
        let (mints, hosts, attackers) = Default::default();
        let (tally, folder) = (Tally::default(), Folder::new()?);
        let journal = Journal::new(tally.clone());
        Ok(Self { seed, fabric, trace, journal, tally, mints, hosts, attackers, eclipse: None, folder })
    }

    /// The network.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Every event so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What the nodes have said of themselves.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The cryptography that was done so far.
    pub fn operations(&self) -> Operations {
        let points = self.mints.values().map(ModelMint::points).sum();
        self.tally.with(points, self.fabric.traffic().accepted)
    }

    /// The mints, by URL.
    pub fn mints(&self) -> &BTreeMap<MintUrl, ModelMint> {
        &self.mints
    }

    /// Adds a mint on a host of its own, which isn't one of [`World::hosts`]. Nodes started later know it.
    pub fn add_mint(&mut self, region: usize, url: MintUrl, fee_ppk: u64, answer: (Duration, Duration)) -> ModelMint {
        let host = self.fabric.add_host_in(region);
        let mint = ModelMint::new(self.seed, url.clone(), host, fee_ppk, answer);
        tokio::spawn(line::open(mint.clone(), self.fabric.transport(host), self.trace.clone()));
        self.mints.insert(url, mint.clone());
        mint
    }

    /// Gives a mint a second URL, on a host of its own that passes everything on.
    pub fn add_proxy(&mut self, region: usize, mint: &ModelMint, url: MintUrl) {
        let host = self.fabric.add_host_in(region);
        mint.set_proxy(url, host);
        tokio::spawn(line::open_proxy(mint.clone(), host, self.fabric.transport(host), self.trace.clone()));
    }

    /// Every host that is a node's.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> {
        self.hosts.keys().copied()
    }

    /// Adds a host without a node. Its keys are drawn from the world's seed; its node trusts every mint that there is
    /// when it starts, unless its settings name some.
    pub fn add_host(&mut self, region: usize, config: Config) -> HostId {
        let id = self.fabric.add_host_in(region);
        let mut rng = Rng::new(self.seed ^ (u64::from(id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key = AgentKey::from_seed(&draw(&mut rng));
        let host = Host {
            key,
            wallet_seed: draw(&mut rng),
            lock_seed: draw(&mut rng),
            disk: CrashBackend::new(),
            memory: Place::disks(),
            config,
            executor: Arc::new(SimExecutor::new(rng.draw())),
            clock_off_s: 0,
            failpoint: Failpoint::default(),
            meter: Arc::default(),
            node: None,
            was_killed: false,
            had_other_home: false,
            forgotten: Vec::new(),
            twin: None,
            left: Vec::new(),
            old_disk: None,
        };
        self.hosts.insert(id, host);
        id
    }

    /// Sets a host's wall clock wrong, by so many seconds ahead of everybody's. Its node sees it when it starts.
    pub fn set_clock(&mut self, id: HostId, off_s: i64) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.clock_off_s = off_s;
        }
    }

    /// What a host's node never does, from its next start on.
    pub fn set_failpoint(&mut self, id: HostId, failpoint: Failpoint) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.failpoint = failpoint;
        }
    }

    /// Adds a host for an attacker with this key; it can start once a [eclipse](Self::eclipse) is laid.
    pub(crate) fn add_attacker(&mut self, region: usize, key: AgentKey, attack: Attack) -> HostId {
        let id = self.add_host(region, Config::default());
        if let Some(host) = self.hosts.get_mut(&id) {
            host.key = key;
        }
        self.attackers.insert(id, (attack, None));
        id
    }

    /// Tells all attackers what they are there for.
    pub(crate) fn eclipse(&mut self, victim: HostId, services: Vec<ServiceName>) {
        let allied = self.attackers.iter().filter(|(_, (attack, _))| *attack == Attack::Eclipse);
        let attackers = allied.map(|(host, _)| (self.agent(*host), host.address())).collect();
        let others = self.hosts.keys().filter(|host| !self.attackers.contains_key(host)).take(OTHERS);
        let others = others.map(|host| (self.agent(*host), host.address())).collect();
        self.eclipse = Some(Eclipse { victim: (self.agent(victim), victim.address()), attackers, others, services });
    }

    /// Whether something runs on a host.
    pub fn is_up(&self, host: HostId) -> bool {
        self.node(host).is_some() || self.attackers.get(&host).is_some_and(|(_, attacker)| attacker.is_some())
    }

    /// Who lives on a host.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn agent(&self, host: HostId) -> AgentId {
        self.hosts[&host].key.id()
    }

    /// The key of a host, for adversaries that sign what they shouldn't.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn key(&self, host: HostId) -> &AgentKey {
        &self.hosts[&host].key
    }

    /// Where a host's services are worked on.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn executor(&self, host: HostId) -> &Arc<SimExecutor> {
        &self.hosts[&host].executor
    }

    /// What a host's bytes are for.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn meter(&self, host: HostId) -> &Arc<Meter> {
        &self.hosts[&host].meter
    }

    /// A fingerprint of all that a host's disk has seen.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn written(&self, host: HostId) -> u64 {
        self.hosts[&host].disk.digest()
    }

    /// The node on a host, if it is up.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        self.hosts.get(&host)?.node.as_ref()
    }

    /// Whether a host's node was ever killed.
    pub(crate) fn was_killed(&self, host: HostId) -> bool {
        self.hosts.get(&host).is_some_and(|host| host.was_killed)
    }

    /// The address of a host's node, with its peer ID.
    ///
    /// # Errors
    /// If its key makes none.
    pub fn address(&self, host: HostId) -> Result<libp2p::Multiaddr, WorldError> {
        let pair = transport::keypair(&self.hosts[&host].key).map_err(WorldError::new)?;
        Ok(host.address().with(Protocol::P2p(pair.public().to_peer_id())))
    }

    /// Starts the node of a host, from what its disk holds.
    ///
    /// # Errors
    /// If the node doesn't start.
    pub async fn start(&mut self, id: HostId, bootstrap: &[HostId]) -> Result<(), WorldError> {
        let others = bootstrap.iter().filter(|other| **other != id);
        let bootstrap = others.map(|other| self.address(*other)).collect::<Result<Vec<_>, _>>()?;
        let Some(host) = self.hosts.get(&id) else { return Err(WorldError(format!("no host {}", id.0))) };
        if let Some(((attack, attacker), eclipse)) = self.attackers.get_mut(&id).zip(self.eclipse.as_ref()) {
            let wires = wires(&self.fabric, id, &host.key, &host.meter)?;
            *attacker = Some(Attacker::start(id, &host.key, wires, *attack, eclipse, &self.trace)?);
            return Ok(());
        }
        let runtime = Runtime::with(Machine::new(id, &host.disk, &self.trace, &self.tally)).off_by(host.clock_off_s);
        let store = Store::with_backend(host.disk.backend(), &runtime).await.map_err(WorldError::new)?;
        let content = Content::open(self.folder.of(id), runtime.clone()).await.map_err(WorldError::new)?;
        let events = Events::new();
        tokio::spawn(self.journal.clone().keep(id, self.trace.clone(), events.subscribe()));
        let trace = self.trace.clone();
        let mut config = host.config.clone();
        config.wallet = wallet_config(&config, &self.mints);
        config.network = NetworkConfig { bootstrap, mdns: false, ..self.listening(id, config.network) };
        let executors = Executors::replaced_by(host.executor.clone(), content.clone(), runtime.clone());
        let node = Node::start(Parts {
            key: host.key.clone(),
            wallet_seed: Zeroizing::new(host.wallet_seed),
            lock_seed: Zeroizing::new(host.lock_seed),
            config,
            runtime,
            transport: wires(&self.fabric, id, &host.key, &host.meter)?,
            store,
            memory: host.memory.clone(),
            content,
            executors,
            mint: None,
            connectors: Some(Arc::new(Lines::new(id, &self.fabric, &host.meter, &self.mints, &self.trace))),
            events,
            tap: Some(Arc::new(move |event: &dyn fmt::Debug| trace.record(id, event))),
            failpoint: host.failpoint.clone(),
        })
        .await
        .map_err(WorldError::new)?;
        if let Some(host) = self.hosts.get_mut(&id) {
            if host.executor.passes_on() {
                let home = Home::at(self.folder.of(id));
                let api = Api::new(node.clone(), home, None, watch::Sender::new(false));
                let keys = node.trade.task_keys().clone();
                host.executor.set_way(Some(Way { api, keys: keys.clone() }));
                // Nothing listens there: the executor is in the same process.
                keys.serve_at((Ipv4Addr::LOCALHOST, PORT).into());
            }
            host.node = Some(node);
        }
        Ok(())
    }

    /// Where a host's node listens, and what it says of it.
    fn listening(&self, id: HostId, config: NetworkConfig) -> NetworkConfig {
        if self.fabric.is_behind_nat(id) {
            // What an operator at home has: all interfaces, no address to tell; so nothing is kept for others.
            let anywhere = Multiaddr::from(Ipv4Addr::UNSPECIFIED).with(Protocol::Tcp(PORT));
            return NetworkConfig { listen: vec![anywhere], external: Vec::new(), dht: DhtMode::Auto, ..config };
        }
        NetworkConfig { listen: vec![id.address()], external: vec![id.address()], dht: DhtMode::Server, ..config }
    }

    /// Kills the node of a host: nothing it does is finished, and its disk forgets what wasn't committed. Its peers
    /// see resets if `reset`, silence if not.
    pub async fn kill(&mut self, id: HostId, reset: bool) {
        self.fabric.kill(id, reset);
        if let Some(attacker) = self.attackers.get_mut(&id) {
            attacker.1 = None;
        }
        let Some(host) = self.hosts.get_mut(&id) else { return };
        if let Some(node) = host.node.take() {
            host.was_killed = true;
            self.trace.record(id, &format_args!("killed"));
            host.executor.set_way(None);
            // What is committed outlasts the crash; who can't read it has nothing.
            host.left = node.wallet.holdings().unwrap_or_default();
            node.runtime.shutdown().await;
            drop(node);
            host.disk.crash();
        }
    }

    /// Every coin that a host's wallet has, also while its node is dead.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn holdings(&self, host: HostId) -> Result<Vec<Holding>, WalletError> {
        let Some(known) = self.hosts.get(&host) else { return Ok(Vec::new()) };
        let mut held = match &known.node {
            Some(node) => node.wallet.holdings()?,
            None => known.left.clone(),
        };
        if let Some(twin) = &known.twin {
            held.extend(twin.wallet.holdings()?);
        }
        held.extend(known.forgotten.iter().cloned());
        Ok(held)
    }

    /// Keeps what is on every disk now, for [`Self::forget_since`].
    pub(crate) fn remember_disks(&mut self) {
        self.hosts.values_mut().for_each(|host| host.old_disk = Some(host.disk.copy()));
    }

    /// Keeps what is on a host's disk now, for [`Self::put_back`].
    pub(crate) fn back_up(&mut self, id: HostId) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.old_disk = Some(host.disk.copy());
        }
    }

    /// Puts a backup on a dead host's disk: its node will be as it was then.
    pub(crate) fn put_back(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.node.is_none()) else { return };
        let Some(disk) = host.old_disk.take() else { return };
        self.trace.record(id, &format_args!("restored from a backup"));
        host.disk = disk;
        host.had_other_home = true;
        host.forgotten.extend(host.left.iter().filter(|held| held.locked).cloned());
    }

    /// Opens a host's wallet a second time, on a copy of its disk.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) async fn open_twin(&mut self, id: HostId) -> Result<(), WorldError> {
        let lines = Lines::new(id, &self.fabric, &self.hosts[&id].meter, &self.mints, &self.trace);
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.twin.is_none()) else { return Ok(()) };
        let disk = host.disk.copy();
        let machine = Machine::new(id, &disk, &self.trace, &self.tally);
        let seeds = (host.wallet_seed, host.lock_seed);
        let config = wallet_config(&host.config, &self.mints);
        let twin = Twin::open(disk, machine, host.clock_off_s, seeds, config, Arc::new(lines)).await?;
        (host.twin, host.had_other_home) = (Some(twin), true);
        Ok(())
    }

    /// The second home of a host's wallet, while it is open.
    pub(crate) fn twin(&self, host: HostId) -> Option<&Twin> {
        self.hosts.get(&host)?.twin.as_ref()
    }

    /// Ends the second home of a host's wallet, as a crash would.
    pub(crate) async fn end_twin(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        if let Some(twin) = host.twin.take() {
            let left = twin.end().await;
            host.forgotten.extend(left.into_iter().filter(|held| held.locked));
        }
    }

    /// Whether a host's phrase had another home: what its node says of the time before isn't all that happened.
    pub(crate) fn had_other_home(&self, host: HostId) -> bool {
        self.hosts.get(&host).is_some_and(|host| host.had_other_home)
    }

    /// Whether a host's disk has no room for any further write.
    pub(crate) fn set_full(&mut self, id: HostId, full: bool) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.disk.set_full(full);
        }
    }

    /// Sets the clock of a host, of its running node too, so far ahead of everybody's.
    pub(crate) fn step_clock(&mut self, id: HostId, off_s: i64) {
        self.set_clock(id, off_s);
        if let Some(node) = self.node(id) {
            node.runtime.set_off_by(off_s);
        }
    }

    /// Puts back what was on a dead host's disk then: a disk that forgets what it said was written.
    pub(crate) fn forget_since(&mut self, id: HostId) {
        if let Some(host) = self.hosts.get_mut(&id)
            && let Some(disk) = host.old_disk.take()
        {
            host.disk = disk;
        }
    }

    /// Starts a killed node again.
    ///
    /// # Errors
    /// If the node doesn't start.
    pub async fn restart(&mut self, id: HostId, bootstrap: &[HostId]) -> Result<(), WorldError> {
        self.trace.record(id, &format_args!("restarted"));
        self.fabric.revive(id);
        self.start(id, bootstrap).await?;
        match self.node(id) {
            Some(node) => node.catalogue.refresh().await.map_err(WorldError::new),
            None => Ok(()),
        }
    }

    /// Fills every node's routing table with what it would have learned in a long-lived network: up to a bucket of
    /// peers at each distance, of those that can be dialled. About thirty times cheaper than letting them find each other.
    pub async fn converge(&self) {
        let keys: Vec<(HostId, AgentId, KBucketKey<Vec<u8>>)> =
            self.hosts.iter().map(|(id, host)| (*id, host.key.id(), kademlia_key(host.key.id()))).collect();
        for (id, _, own) in &keys {
            let mut buckets: BTreeMap<u32, Vec<HostId>> = BTreeMap::new();
            for (other, _, key) in keys.iter().filter(|(other, ..)| other != id && !self.fabric.is_behind_nat(*other)) {
                buckets.entry(own.distance(key).ilog2().unwrap_or(0)).or_default().push(*other);
            }
            let mut rng = Rng::new(self.seed ^ u64::from(id.0) << 24);
            let mut known = Vec::new();
            for mut bucket in buckets.into_values() {
                while bucket.len() > BUCKET {
                    bucket.swap_remove(rng.below(bucket.len() as u64) as usize);
                }
                known.extend(bucket.into_iter().map(|other| (self.agent(other), vec![other.address()])));
            }
            // The first few are dialled: near and far alike, or the network would be in as many parts as there are prefixes.
            for index in 1..known.len() {
                known.swap(index, rng.below(index as u64 + 1) as usize);
            }
            if let Some(node) = self.node(*id) {
                node.network.seed_routing(known).await;
            }
        }
    }
}

/// A host's settings of its wallet: where it names no mint, it trusts every one, by each of its URLs.
fn wallet_config(config: &Config, mints: &BTreeMap<MintUrl, ModelMint>) -> WalletConfig {
    let mut wallet = config.wallet.clone();
    if wallet.mints.is_empty() {
        wallet.mints = mints.keys().cloned().chain(mints.values().filter_map(ModelMint::proxy_url)).collect();
    }
    wallet
}

fn draw<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.draw().to_le_bytes()[..chunk.len()]));
    bytes
}

/// Where an agent stands in Kademlia's key space: its peer ID's bytes, hashed.
fn kademlia_key(agent: AgentId) -> KBucketKey<Vec<u8>> {
    KBucketKey::new(peer_bytes(agent))
}

/// An agent's peer ID as it travels: its key, as protobuf, under the identity multihash.
pub(crate) fn peer_bytes(agent: AgentId) -> Vec<u8> {
    [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], &agent.as_bytes()[..]].concat()
}

/// What a real node speaks over TCP, over the fabric: noise and yamux.
fn wires(
    fabric: &Fabric,
    host: HostId,
    key: &AgentKey,
    meter: &Arc<Meter>,
) -> Result<guilder::network::Transport, WorldError> {
    let pair = transport::keypair(key).map_err(WorldError::new)?;
    let noise = noise::Config::new(&pair).map_err(WorldError::new)?;
    let wires = fabric.transport(host).upgrade(Version::V1Lazy).authenticate(noise);
    let meter = Arc::clone(meter);
    let wires = wires.multiplex(transport::multiplexer()).timeout(HANDSHAKE).map(move |(peer, muxer), _| {
        let muxer = Metered::new(muxer, meter, peer);
        (peer, StreamMuxerBox::new(muxer))
    });
    Ok(wires.boxed())
}

/// Where large inputs and outputs lie while the simulation runs; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, WorldError> {
        let folder = std::env::temp_dir().join(format!("guilder-sim-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(WorldError::new)?;
        Ok(Self(folder))
    }

    fn of(&self, host: HostId) -> PathBuf {
        self.0.join(host.0.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed now the system removes some day.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A world that can't be built, or a run that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the simulation cannot go on: {0}")]
pub struct WorldError(String);

impl WorldError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests;
