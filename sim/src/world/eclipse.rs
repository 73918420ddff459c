//! Identities that eclipse one node's view of the network: libp2p's own Kademlia with a poisoned table, and no node behind it.
//!
//! ```text
//! keys ground until they lie next to the victim, or next to a service's key     so that tables and look-ups lead to them
//! "who is near …?"          ── the other attackers, and nobody else
//! "who provides …?"         ── the other attackers, whatever the service
//! "remember me as provider" ── yes; and forgotten
//! a trade's frames          ── taken, and never answered
//! ```
//!
//! Others of their kind [flood tables with records, or name strangers](Attack).
//!
//! They dial their victim again and again, so that it knows them and has them among its connections. They take no part in
//! gossip. A node can't be built to do this: its network room answers truly by construction. So this is the same
//! protocols on the same transport without the room.

mod mute;

use std::{fmt, num::NonZeroUsize, time::Duration};

use futures::StreamExt as _;
use guilder::network::{Transport, service_key, transport};
use guilder_protocol::{
    identity::{AgentId, AgentKey},
    market::ServiceName,
};
use libp2p::{
    Multiaddr, PeerId, Swarm, identify,
    kad::{
        self, ProviderRecord,
        store::{MemoryStore, MemoryStoreConfig, RecordStore as _},
    },
    ping,
    swarm::{self, NetworkBehaviour, dial_opts::DialOpts},
};
use tokio::time::interval;

use self::mute::Mute;
use super::{WorldError, draw, kademlia_key};
use crate::{fabric::HostId, interpose::Rng, trace::Trace};

/// Who eclipses whom.
#[derive(Clone, Debug)]
pub(crate) struct Eclipse {
    /// Whose look-ups are to lead nowhere.
    pub(crate) victim: (AgentId, Multiaddr),
    /// All who take part.
    pub(crate) attackers: Vec<(AgentId, Multiaddr)>,
    /// Some who don't.
    pub(crate) others: Vec<(AgentId, Multiaddr)>,
    /// What they say that they provide.
    pub(crate) services: Vec<ServiceName>,
}

/// What somebody without a node does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Attack {
    /// See the module.
    Eclipse,
    /// Has itself recorded as provider of so many new keys a second, wherever those belong.
    FloodsRecords { per_second: f64 },
    /// Answers look-ups with peers that it made up, at addresses where somebody else is, or nobody.
    NamesStrangers,
}

/// What a key is to be near to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot<'a> {
    /// A node.
    Node(AgentId),
    /// Where a service's providers are recorded.
    Service(&'a ServiceName),
}

/// A key whose place in Kademlia's key space shares so many first bits with a spot's; about 2^bits are tried.
pub(crate) fn ground(spot: Spot<'_>, bits: u32, rng: &mut Rng) -> AgentKey {
    let target = match spot {
        Spot::Node(agent) => kademlia_key(agent),
        Spot::Service(service) => kad::KBucketKey::new(service_key(service).to_vec()),
    };
    loop {
        let key = AgentKey::from_seed(&draw(rng));
        let distance = target.distance(&kademlia_key(key.id()));
        if distance.ilog2().is_none_or(|log| log < 256 - bits) {
            return key;
        }
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    mute: Mute,
}

/// A attacker that runs. Dropped, it is gone.
pub(super) struct Attacker(tokio::task::JoinHandle<()>);

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Attacker {
    /// Starts one on a host.
    pub(super) fn start(
        host: HostId,
        key: &AgentKey,
        wires: Transport,
        attack: Attack,
        eclipse: &Eclipse,
        trace: &Trace,
    ) -> Result<Self, WorldError> {
        let pair = transport::keypair(key).map_err(WorldError::new)?;
        let local = pair.public().to_peer_id();
        let known = |known: &[(AgentId, Multiaddr)]| -> Result<Vec<(PeerId, Multiaddr)>, WorldError> {
            let others = known.iter().filter(|(agent, _)| *agent != key.id());
            others.map(|(agent, at)| Ok((peer_of(*agent)?, at.clone()))).collect()
        };
        let others = match attack {
            Attack::Eclipse => known(&eclipse.attackers)?,
            Attack::FloodsRecords { .. } => known(&eclipse.others)?,
            Attack::NamesStrangers => strangers(host, &eclipse.others),
        };
        let identify = identify::Config::new("/guilder/id/1".into(), pair.public())
            .with_agent_version("guilder/0.1.0".into())
            .with_cache_size(0);
        let behaviour = Behaviour {
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(30))),
            identify: identify::Behaviour::new(identify),
            kad: match attack {
                Attack::FloodsRecords { .. } => flooding(local, &others),
                Attack::Eclipse | Attack::NamesStrangers => poisoned(local, &others, &eclipse.services),
            },
            mute: Mute,
        };
        let config = swarm::Config::with_executor(|connection| drop(tokio::spawn(connection)))
            .with_idle_connection_timeout(Duration::from_secs(600));
        let mut swarm = Swarm::new(wires, behaviour, local, config);
        swarm.listen_on(host.address()).map_err(WorldError::new)?;
        swarm.add_external_address(host.address());
        let victim = (peer_of(eclipse.victim.0)?, eclipse.victim.1.clone());
        let records = match attack {
            Attack::FloodsRecords { per_second } if per_second > 0.0 => Some(Duration::from_secs_f64(1.0 / per_second)),
            _ => None,
        };
        Ok(Self(tokio::spawn(answer(swarm, host, victim, records, trace.clone()))))
    }
}

/// Peers that were made up, each at the address of somebody real or at one next to it.
fn strangers(host: HostId, others: &[(AgentId, Multiaddr)]) -> Vec<(PeerId, Multiaddr)> {
    let mut rng = Rng::new(0x57_2a19 ^ u64::from(host.0));
    let invented = (0..STRANGERS).filter_map(|number| {
        let key = AgentKey::from_seed(&draw(&mut rng));
        let near = HostId(1_000_000 + host.0 * STRANGERS + number).address();
        let at = if number % 2 == 0 { others.get(number as usize % others.len().max(1))?.1.clone() } else { near };
        Some((peer_of(key.id()).ok()?, at))
    });
    invented.collect()
}

/// Kademlia with an ordinary table, and records without a bound.
fn flooding(local: PeerId, others: &[(PeerId, Multiaddr)]) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStoreConfig { max_provided_keys: usize::MAX, ..MemoryStoreConfig::default() };
    let mut config = kad::Config::new(libp2p::StreamProtocol::new("/guilder/kad/1"));
    config.set_periodic_bootstrap_interval(None).set_provider_publication_interval(None);
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    kad.set_mode(Some(kad::Mode::Server));
    for (peer, address) in others {
        kad.add_address(peer, address.clone());
    }
    kad
}

/// A table of nobody but attackers, which nobody else gets into; and they provide everything.
fn poisoned(local: PeerId, others: &[(PeerId, Multiaddr)], services: &[ServiceName]) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(libp2p::StreamProtocol::new("/guilder/kad/1"));
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_periodic_bootstrap_interval(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    config.set_replication_factor(NonZeroUsize::MIN.saturating_add(19));
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
    kad.set_mode(Some(kad::Mode::Server));
    for (peer, address) in others {
        kad.add_address(peer, address.clone());
    }
    for service in services {
        let key = service_key(service);
        // More than a key has room for: the store keeps the nearest.
        for (provider, address) in others.iter().cloned() {
            let record = ProviderRecord { key: key.clone(), provider, expires: None, addresses: vec![address] };
            let _ = kad.store_mut().add_provider(record);
        }
    }
    kad
}

/// Lets the swarm do what it does, and dials the victim whenever the connection is gone.
async fn answer(
    mut swarm: Swarm<Behaviour>,
    host: HostId,
    victim: (PeerId, Multiaddr),
    records: Option<Duration>,
    trace: Trace,
) {
    let (victim, at) = victim;
    let mut again = interval(DIAL_EVERY);
    let mut record = interval(records.unwrap_or(DIAL_EVERY));
    let mut rng = Rng::new(0xf1_00d ^ u64::from(host.0));
    loop {
        tokio::select! {
            biased;
            _ = again.tick() => if !swarm.is_connected(&victim) {
                // It may be down, or have us banned.
                let _ = swarm.dial(DialOpts::peer_id(victim).addresses(vec![at.clone()]).build());
            },
            _ = record.tick(), if records.is_some() => {
                let key: [u8; 32] = draw(&mut rng);
                let _ = swarm.behaviour_mut().kad.start_providing(kad::RecordKey::new(&key));
            },
            event = swarm.select_next_some() => trace.record(host, &event),
        }
    }
}

/// Peers that one of those makes up who name strangers.
const STRANGERS: u32 = 400;
/// How often a attacker sees to it that it is connected.
const DIAL_EVERY: Duration = Duration::from_secs(20);

fn peer_of(agent: AgentId) -> Result<PeerId, WorldError> {
    agent.peer_id().parse().map_err(WorldError::new)
}

impl fmt::Debug for Attacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attacker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_ground_key_lies_next_to_its_spot() {
        let (mut rng, victim) = (Rng::new(1), AgentKey::from_seed(&[1; 32]).id());
        let service: ServiceName = "sim.service-0".parse().unwrap();
        let near = ground(Spot::Node(victim), 6, &mut rng).id();
        assert!(kademlia_key(victim).distance(&kademlia_key(near)).ilog2().unwrap() < 250);
        let near = ground(Spot::Service(&service), 6, &mut rng).id();
        let spot = kad::KBucketKey::new(service_key(&service).to_vec());
        assert!(spot.distance(&kademlia_key(near)).ilog2().unwrap() < 250);
    }
}
