//! Which libp2p protocols the node speaks, and how each is set.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use guilder_protocol::discovery;
use libp2p::{
    PeerId, StreamProtocol, allow_block_list,
    allow_block_list::BlockedPeers,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    mdns, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{
    NetworkConfig, StartError,
    addrs::split,
    dealings::Dealings,
    error::DialCause,
    gossip::{self, screen::Screened},
    kad::Kad,
    limits::{CONNECTIONS_PER_PEER, CONNECTIONS_SLACK, DIALS_PENDING, RESERVED},
    links::Links,
    newcomers, streams,
};
use crate::runtime::Runtime;

/// Our own name for Kademlia: a table of its own, apart from every other libp2p network.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new(discovery::KAD_PROTOCOL);
/// How often a connection's round trip is measured, which also finds out whether it still is one.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Everything that the swarm does. What can refuse a connection comes first, ours, which keeps a register, last.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) bans: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) newcomers: newcomers::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: Kad,
    pub(super) gossip: Screened,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        key: &Keypair,
        config: &NetworkConfig,
        streams: streams::Behaviour,
        dealings: Arc<Dealings>,
        links: Arc<Links>,
        runtime: &Runtime,
    ) -> Result<Self, StartError> {
        let local = key.public().to_peer_id();
        let named: BTreeSet<_> = config.bootstrap.iter().filter_map(|address| split(address).1).collect();
        let newcomers_most = config.high_water.saturating_add(CONNECTIONS_SLACK / 2) as usize;
        let agent_version = format!("guilder/{}", env!("CARGO_PKG_VERSION"));
        let identify = identify::Config::new(discovery::IDENTIFY_PROTOCOL.to_owned(), key.public())
            .with_agent_version(agent_version)
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        Ok(Self {
            bans: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(connection_limits(config)),
            newcomers: newcomers::Behaviour::new(
                Arc::clone(&dealings),
                links,
                named.clone(),
                newcomers_most,
                runtime.clone(),
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
            identify: identify::Behaviour::new(identify),
            kad: Kad::new(local, KAD_PROTOCOL, config.dht, runtime.clone(), dealings, named),
            gossip: Screened::new(gossip::behaviour(key)?, runtime.clone()),
            mdns: if config.mdns { nearby(local)? } else { None.into() },
            streams,
        })
    }
}

/// Multicast DNS. It remembers everyone for as long as they say, so it is begun anew when they are too many.
pub(super) fn nearby(local: PeerId) -> Result<Toggle<mdns::tokio::Behaviour>, StartError> {
    let behaviour = mdns::tokio::Behaviour::new(mdns::Config::default(), local).map_err(cause)?;
    Ok(Some(behaviour).into())
}

fn connection_limits(config: &NetworkConfig) -> ConnectionLimits {
    // What others open to us stops short of what we may open ourselves: no flood of strangers can shut us in.
    let established = config.high_water.saturating_add(CONNECTIONS_SLACK + RESERVED);
    ConnectionLimits::default()
        // Those that others open are bounded by `admission` before they are authenticated.
        .with_max_pending_outgoing(Some(DIALS_PENDING))
        .with_max_established_incoming(Some(config.high_water.saturating_add(CONNECTIONS_SLACK / 2 + RESERVED)))
        .with_max_established(Some(established))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER))
}

fn cause(error: impl ToString) -> StartError {
    StartError::Transport(DialCause(error.to_string()))
}
