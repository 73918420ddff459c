//! The hosts of a simulation and what runs on them: real nodes' rooms over simulated wires and disks.
//!
//! A host outlives its node: its disk keeps what was committed, so a killed node comes back as it would after a crash,
//! from its own records.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use guilder::{
    events::Events,
    network::{DhtMode, Inbound, Network, NetworkConfig, Setup, transport},
    runtime::{Job, Offload, Runtime},
    store::{Store, testing::CrashBackend},
};
use guilder_protocol::identity::{AgentId, AgentKey};
use libp2p::{
    core::{Transport as _, upgrade::Version},
    kad::KBucketKey,
    noise,
};

use crate::{
    fabric::{Fabric, HostId, Topology},
    interpose::Rng,
    trace::Trace,
};

/// Entries per Kademlia bucket; libp2p's default.
const BUCKET: usize = 20;
/// How long a connection may take to become authenticated and multiplexed.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// All hosts of one simulation.
pub struct World {
    seed: u64,
    fabric: Fabric,
    trace: Trace,
    hosts: BTreeMap<HostId, Host>,
}

/// One host: an identity and a disk, and the node that runs on them, if one does.
struct Host {
    key: AgentKey,
    disk: CrashBackend,
    node: Option<Node>,
}

/// A running node.
pub struct Node {
    /// Its network.
    pub network: Network,
    /// What comes in from it; kept so that nothing is refused for want of a receiver.
    pub inbound: Inbound,
    runtime: Runtime,
    store: Store,
}

impl World {
    /// An empty world; must be called within the paused runtime that will run it.
    pub fn new(seed: u64, topology: Topology, trace: Trace) -> Self {
        let fabric = Fabric::new(seed, topology);
        tokio::spawn(fabric.driver());
        Self { seed, fabric, trace, hosts: BTreeMap::new() }
    }

    /// The network.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Adds a host without a node. Its key is drawn from the world's seed.
    pub fn add_host(&mut self) -> HostId {
        let id = self.fabric.add_host();
        let mut rng = Rng::new(self.seed ^ (u64::from(id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut key = [0; 32];
        key.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.draw().to_le_bytes()));
        let key = AgentKey::from_seed(&key);
        self.hosts.insert(id, Host { key, disk: CrashBackend::new(), node: None });
        id
    }

    /// Who lives on a host.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn agent(&self, host: HostId) -> AgentId {
        self.hosts[&host].key.id()
    }

    /// The node on a host, if it is up.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        self.hosts.get(&host)?.node.as_ref()
    }

    /// Starts the node of a host, from what its disk holds.
    ///
    /// # Errors
    /// If the node doesn't start.
    pub async fn start(&mut self, id: HostId, bootstrap: &[HostId]) -> Result<(), WorldError> {
        let bootstrap = bootstrap.iter().filter(|other| **other != id).map(|other| {
            let peer = transport::keypair(&self.hosts[other].key).map(|pair| pair.public().to_peer_id());
            peer.map(|peer| other.address().with(libp2p::multiaddr::Protocol::P2p(peer)))
        });
        let bootstrap = bootstrap.collect::<Result<Vec<_>, _>>().map_err(WorldError::new)?;
        let Some(host) = self.hosts.get_mut(&id) else { return Err(WorldError(format!("no host {}", id.0))) };
        let runtime = Runtime::with(Modelled);
        let store = Store::with_backend(host.disk.backend(), &runtime).await.map_err(WorldError::new)?;
        let trace = self.trace.clone();
        let config = NetworkConfig {
            listen: vec![id.address()],
            external: vec![id.address()],
            bootstrap,
            mdns: false,
            dht: DhtMode::Server,
            ..NetworkConfig::default()
        };
        let (network, inbound) = Network::start(Setup {
            key: host.key.clone(),
            transport: wires(&self.fabric, id, &host.key)?,
            config,
            runtime: runtime.clone(),
            store: store.clone(),
            events: Events::default(),
            tap: Some(Arc::new(move |event: &dyn fmt::Debug| trace.record(id, event))),
        })
        .await
        .map_err(WorldError::new)?;
        host.node = Some(Node { network, inbound, runtime, store });
        Ok(())
    }

    /// Kills the node of a host: nothing it does is finished, and its disk forgets what wasn't committed. Its peers
    /// see resets if `reset`, silence if not.
    pub async fn kill(&mut self, id: HostId, reset: bool) {
        self.fabric.kill(id, reset);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        if let Some(node) = host.node.take() {
            node.runtime.shutdown().await;
            drop(node.store);
            host.disk.crash();
        }
    }

    /// Starts a killed node again.
    ///
    /// # Errors
    /// If the node doesn't start.
    pub async fn restart(&mut self, id: HostId, bootstrap: &[HostId]) -> Result<(), WorldError> {
        self.fabric.revive(id);
        self.start(id, bootstrap).await
    }

    /// Fills every node's routing table with what it would have learned in a long-lived network: up to a bucket of
    /// peers at each distance. About thirty times cheaper than letting them find each other.
    pub async fn converge(&self) {
        let keys: Vec<(HostId, AgentId, KBucketKey<Vec<u8>>)> =
            self.hosts.iter().map(|(id, host)| (*id, host.key.id(), kademlia_key(host.key.id()))).collect();
        for (id, _, own) in &keys {
            let mut buckets: BTreeMap<u32, Vec<HostId>> = BTreeMap::new();
            for (other, _, key) in keys.iter().filter(|(other, ..)| other != id) {
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
            if let Some(node) = self.node(*id) {
                node.network.seed_routing(known).await;
            }
        }
    }
}

/// Where an agent stands in Kademlia's key space: its peer ID's bytes, hashed.
fn kademlia_key(agent: AgentId) -> KBucketKey<Vec<u8>> {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    bytes.extend_from_slice(agent.as_bytes());
    KBucketKey::new(bytes)
}

/// What a real node speaks over TCP, over the fabric: noise and yamux.
fn wires(fabric: &Fabric, host: HostId, key: &AgentKey) -> Result<guilder::network::Transport, WorldError> {
    let pair = transport::keypair(key).map_err(WorldError::new)?;
    let noise = noise::Config::new(&pair).map_err(WorldError::new)?;
    let wires = fabric.transport(host).upgrade(Version::V1Lazy).authenticate(noise);
    Ok(wires.multiplex(transport::multiplexer()).timeout(HANDSHAKE).boxed())
}

/// Heavy work runs in place and then costs the virtual time that it takes on a small server, so that a flood of it saturates
/// a simulated node as it would a real one.
#[derive(Clone, Copy, Debug)]
struct Modelled;

impl Offload for Modelled {
    fn run(&self, kind: Job, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            work();
            tokio::time::sleep(cost(kind)).await;
        })
    }
}

/// Measured on a two-core virtual server, rounded up.
fn cost(kind: Job) -> Duration {
    Duration::from_micros(match kind {
        Job::Signatures(count) => 60 * u64::from(count),
        Job::Dleq(count) => 250 * u64::from(count),
        Job::Disk => 500,
        Job::Schema => 200,
        Job::Hash(bytes) => 1 + bytes / 500,
    })
}

/// A world that can't be built.
#[derive(Debug, thiserror::Error)]
#[error("the simulated node does not start: {0}")]
pub struct WorldError(String);

impl WorldError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}
