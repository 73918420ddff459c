//! Which libp2p protocols the node speaks, and how each is set.

use std::{collections::HashMap, num::NonZeroUsize, time::Duration};

use libp2p::{
    PeerId, StreamProtocol, allow_block_list,
    allow_block_list::BlockedPeers,
    connection_limits::{self, ConnectionLimits},
    gossipsub, identify,
    identity::Keypair,
    kad::{self, store::MemoryStore},
    mdns, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{
    NetworkConfig, StartError,
    config::DhtMode,
    error::DialCause,
    gossip,
    limits::{
        CONNECTIONS_PENDING, CONNECTIONS_PER_PEER, CONNECTIONS_SLACK, FIND_TIMEOUT, GOSSIP_BYTES, GOSSIP_PEER_QUEUE,
        GOSSIP_PER_RPC, GOSSIP_TOPICS, PROVIDED_KEYS, PROVIDER_RENEWAL, PROVIDER_TTL, PROVIDERS_PER_KEY, RECORD_KEYS,
        REFRESH_INTERVAL,
    },
    streams,
};

/// Our own name for Kademlia: a table of its own, apart from every other libp2p network.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/guilder/kad/1");
/// What peers are asked to be compatible with.
const IDENTIFY_PROTOCOL: &str = "/guilder/id/1";
/// How often a connection's round trip is measured, which also finds out whether it still is one.
const PING_INTERVAL: Duration = Duration::from_secs(30);

pub(super) type Gossipsub = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>,
>;

/// Everything that the swarm does. What can refuse a connection comes first, ours, which keeps a register, last.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) bans: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) gossip: Gossipsub,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(key: &Keypair, config: &NetworkConfig, streams: streams::Behaviour) -> Result<Self, StartError> {
        let local = key.public().to_peer_id();
        let mdns = match config.mdns {
            true => Some(mdns::tokio::Behaviour::new(mdns::Config::default(), local).map_err(cause)?),
            false => None,
        };
        let agent_version = format!("guilder/{}", env!("CARGO_PKG_VERSION"));
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
            .with_agent_version(agent_version)
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        Ok(Self {
            bans: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(connection_limits(config)),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
            identify: identify::Behaviour::new(identify),
            kad: kademlia(local, config.dht),
            gossip: gossipsub(key)?,
            mdns: Toggle::from(mdns),
            streams,
        })
    }
}

fn connection_limits(config: &NetworkConfig) -> ConnectionLimits {
    // What others open to us stops short of what we may open ourselves: no flood of strangers can shut us in.
    let established = config.high_water.saturating_add(CONNECTIONS_SLACK);
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(CONNECTIONS_PENDING))
        .with_max_pending_outgoing(Some(CONNECTIONS_PENDING))
        .with_max_established_incoming(Some(config.high_water.saturating_add(CONNECTIONS_SLACK / 2)))
        .with_max_established(Some(established))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER))
}

fn kademlia(local: PeerId, mode: DhtMode) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(FIND_TIMEOUT)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDER_RENEWAL))
        .set_periodic_bootstrap_interval(Some(REFRESH_INTERVAL))
        // Who is taken into the routing table, `discovery` says.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // We decide on every record that others leave with us; values we don't use at all.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_caching(kad::Caching::Disabled);
    if let Some(providers) = NonZeroUsize::new(PROVIDERS_PER_KEY) {
        config.set_replication_factor(providers);
    }
    let store = kad::store::MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: PROVIDERS_PER_KEY,
        max_provided_keys: RECORD_KEYS + PROVIDED_KEYS,
    };
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    // Without a set mode it serves as soon as we have an address to tell, see `addrs::worth_telling`.
    kad.set_mode(match mode {
        DhtMode::Auto => None,
        DhtMode::Server => Some(kad::Mode::Server),
        DhtMode::Client => Some(kad::Mode::Client),
    });
    kad
}

fn gossipsub(key: &Keypair) -> Result<Gossipsub, StartError> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(|message| gossip::message_id(&message.topic, &message.data))
        .max_transmit_size(GOSSIP_BYTES)
        .max_publish_messages(GOSSIP_PER_RPC)
        .connection_handler_queue_len(GOSSIP_PEER_QUEUE)
        .heartbeat_initial_delay(Duration::from_millis(500))
        .duplicate_cache_time(Duration::from_secs(120))
        .build()
        .map_err(cause)?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: GOSSIP_TOPICS,
        max_subscriptions_per_request: GOSSIP_TOPICS,
    };
    let author = gossipsub::MessageAuthenticity::Signed(key.clone());
    let mut behaviour = Gossipsub::new_with_subscription_filter(author, config, filter).map_err(cause)?;
    let score = gossipsub::PeerScoreParams {
        topics: HashMap::new(),
        // Our own points, see `standing`: a banned peer is below every threshold.
        app_specific_weight: 1.0,
        // Many agents on one machine or behind one address is what we are for.
        ip_colocation_factor_weight: 0.0,
        retain_score: Duration::from_secs(10 * 60),
        // What decays is none of what we count, and a walk over all peers a second is too dear for it.
        decay_interval: Duration::from_secs(10),
        ..Default::default()
    };
    behaviour.with_peer_score(score, gossipsub::PeerScoreThresholds::default()).map_err(cause)?;
    Ok(behaviour)
}

fn cause(error: impl ToString) -> StartError {
    StartError::Transport(DialCause(error.to_string()))
}
