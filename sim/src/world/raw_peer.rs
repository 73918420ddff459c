//! A raw peer: an identity on a host of its own with the network room of a node and nothing behind it. It speaks the wire
//! protocol as whoever holds it likes, through real connections, and hears the answers.

use std::sync::Arc;

use guilder::{
    events::Events,
    network::{DhtMode, Frames, Network, NetworkConfig, Setup},
    runtime::Runtime,
    store::{Store, testing::CrashBackend},
};
use guilder_protocol::identity::AgentKey;

use super::{World, WorldError, draw, machine::Machine, wires};
use crate::{
    bare::Tally,
    fabric::{Fabric, HostId},
    interpose::Rng,
    trace::Trace,
};

/// A raw peer whose network is not started yet.
pub(crate) struct UnstartedPeer {
    host: HostId,
    key: AgentKey,
    fabric: Fabric,
    trace: Trace,
    tally: Tally,
}

/// A raw peer, connected to nobody at first.
pub(crate) struct RawPeer {
    pub(crate) key: AgentKey,
    pub(crate) network: Network,
    pub(crate) frames: Frames,
    pub(crate) runtime: Runtime,
}

impl World {
    /// A new identity on a new host of a region.
    pub(crate) fn raw_peer(&self, region: usize, rng: &mut Rng) -> UnstartedPeer {
        let key = AgentKey::from_seed(&draw(rng));
        UnstartedPeer {
            host: self.fabric.add_host_in(region),
            key,
            fabric: self.fabric.clone(),
            trace: self.trace.clone(),
            tally: self.tally.clone(),
        }
    }
}

impl UnstartedPeer {
    /// Starts its network.
    pub(crate) async fn start(self) -> Result<RawPeer, WorldError> {
        let Self { host, key, fabric, trace, tally } = self;
        let disk = CrashBackend::new();
        let runtime = Runtime::with(Machine::new(host, &disk, &trace, &tally));
        let store = Store::with_backend(disk.backend(), &runtime).await.map_err(WorldError::new)?;
        let config = NetworkConfig {
            listen: vec![host.address()],
            mdns: false,
            // It asks nobody to remember it.
            dht: DhtMode::Client,
            ..NetworkConfig::default()
        };
        // Nobody asks what a raw peer's bytes are for.
        let transport = wires(&fabric, host, &key, &Arc::default())?;
        let tap = Arc::new(move |event: &dyn std::fmt::Debug| trace.record(host, event));
        let setup = Setup {
            key: key.clone(),
            transport,
            config,
            runtime: runtime.clone(),
            store,
            events: Events::new(),
            tap: Some(tap),
        };
        let (network, inbound) = Network::start(setup).await.map_err(WorldError::new)?;
        Ok(RawPeer { key, network, frames: inbound.frames, runtime })
    }
}

impl RawPeer {
    /// Stops its network.
    pub(crate) async fn stop(self) {
        self.network.shutdown().await;
        self.runtime.shutdown().await;
    }
}
