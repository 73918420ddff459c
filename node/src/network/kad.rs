//! Kademlia, with what peers tell of other peers' addresses held to bounds.
//!
//! Whoever answers a query chooses whom we dial next: told at face value, one peer turns a node into a scanner of ports or
//! points a whole network at a victim. So the addresses in an answer are judged by how far the way to its sender reaches, at
//! most [`TOLD_ADDRS`] of each peer are kept, and a dial of addresses that somebody chose for us takes from that one's
//! credit: as many as fail, [`BLIND_DIALS_PER_MIN`] a minute; what leads to the peer that was named is given back, and one
//! more with it. Half of a stranger's credit is for providers of what we look for: honest peers tell of neighbours that are
//! gone, and those must not use it up. Bootstrap peers and peers that we dealt with have [`MAX_CREDIT`]. Addresses that
//! answered us before are free.
//!
//! ```text
//!   answer ─▶ worth keeping? ─▶ told: peer, addresses, by whom ─▶ Kademlia
//!   dial of a peer ─▶ proven addresses + as many of those told as the credit of who told them allows
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
    ops::{Deref, DerefMut},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use guilder_protocol::identity::AgentId;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    kad::{self, KadPeer, store::MemoryStore},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};
use tokio::time::Instant;

use super::{
    addrs::{Scope, scope, split, worth_keeping},
    config::DhtMode,
    dealings::Dealings,
    ids::agent_of,
    limits::{
        BLIND_DIALS_PER_MIN, FIND_TIMEOUT, INFORMANTS, MAX_CREDIT, PROVEN_PEERS, PROVIDED_KEYS, PROVIDER_RENEWAL,
        PROVIDER_TTL, PROVIDERS_PER_KEY, RECORD_KEYS, REFRESH_INTERVAL, TOLD_ADDRS, TOLD_PEERS,
    },
};
use crate::runtime::Runtime;

type Inner = kad::Behaviour<MemoryStore>;
type Told = THandlerOutEvent<Inner>;

/// See the module's documentation. Queries and the routing table are libp2p's own.
pub(super) struct Kad {
    inner: Inner,
    hearsay: Hearsay,
    runtime: Runtime,
    dealings: Arc<Dealings>,
    /// Peers of the settings.
    named: BTreeSet<AgentId>,
}

impl Deref for Kad {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Kad {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Kad {
    pub(super) fn new(
        local: PeerId,
        protocol: StreamProtocol,
        mode: DhtMode,
        runtime: Runtime,
        dealings: Arc<Dealings>,
        named: BTreeSet<AgentId>,
    ) -> Self {
        let mut config = kad::Config::new(protocol);
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
            // `discovery` keeps others' below the first: there is always room for our own.
            max_provided_keys: RECORD_KEYS + PROVIDED_KEYS,
        };
        let mut inner = Inner::with_config(local, MemoryStore::with_config(local, store), config);
        // Without a set mode it serves as soon as we have an address to tell, see `addrs::worth_telling`.
        inner.set_mode(match mode {
            DhtMode::Auto => None,
            DhtMode::Server => Some(kad::Mode::Server),
            DhtMode::Client => Some(kad::Mode::Client),
        });
        Self { inner, hearsay: Hearsay::default(), runtime, dealings, named }
    }

    /// The operator names others from now on.
    pub(super) fn set_named(&mut self, named: BTreeSet<AgentId>) {
        self.named = named;
    }
}

impl NetworkBehaviour for Kad {
    type ConnectionHandler = <Inner as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    /// The last step before a dial: which addresses of the peer may be tried beside those that our own rooms know.
    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        ours: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let known = self.inner.handle_pending_outbound_connection(connection, peer, ours, role)?;
        let Some(peer) = peer else { return Ok(known) };
        let (dealings, named) = (&self.dealings, &self.named);
        let trusted = |by: &PeerId| agent_of(by).is_some_and(|by| named.contains(&by) || dealings.has(by));
        Ok(self.hearsay.dial(connection, peer, known, ours, trusted, self.runtime.instant()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(established) => {
                let (address, _) = split(established.endpoint.get_remote_address());
                let (id, dialled) = (established.connection_id, established.endpoint.is_dialer());
                self.hearsay.connected(id, established.peer_id, address, dialled);
            }
            FromSwarm::ConnectionClosed(closed) => self.hearsay.closed(closed.connection_id),
            FromSwarm::DialFailure(failure) => self.hearsay.failed(failure.connection_id),
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, mut event: Told) {
        match &mut event {
            Told::FindNodeRes { closer_peers, .. } | Told::GetRecordRes { closer_peers, .. } => {
                self.hearsay.take(peer, connection, closer_peers, false);
            }
            Told::GetProvidersRes { closer_peers, provider_peers, .. } => {
                self.hearsay.take(peer, connection, closer_peers, false);
                self.hearsay.take(peer, connection, provider_peers, true);
            }
            _ => {}
        }
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<kad::Event, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// What peers told of others.
#[derive(Debug, Default)]
struct Hearsay {
    /// How far the way to the other end of each connection reaches.
    scopes: BTreeMap<ConnectionId, Scope>,
    told: BTreeMap<PeerId, Address>,
    /// The peers told of, in the order in which they were told first.
    order: VecDeque<PeerId>,
    credits: BTreeMap<PeerId, Credit>,
    /// Dials at addresses that somebody chose: who, and how many addresses.
    dials: BTreeMap<ConnectionId, (PeerId, u32)>,
    /// Where peers answered us.
    proven: BTreeMap<PeerId, Vec<Multiaddr>>,
}

/// Where somebody says that a peer is.
#[derive(Debug)]
struct Address {
    by: PeerId,
    addresses: Vec<Multiaddr>,
    /// It is told of as a provider of what we look for.
    provides: bool,
}

/// How many addresses that one peer chose we may still dial.
#[derive(Clone, Copy, Debug)]
struct Credit {
    left: u32,
    /// Up to when it was filled up.
    at: Instant,
}

impl Hearsay {
    /// Takes what a peer tells of others. What isn't worth keeping is taken out.
    fn take(&mut self, by: PeerId, connection: ConnectionId, peers: &mut Vec<KadPeer>, provides: bool) {
        let met = self.scopes.get(&connection).copied().unwrap_or(Scope::Global);
        peers.retain(|peer| agent_of(&peer.node_id).is_some());
        for peer in peers {
            peer.multiaddrs = worth_keeping(std::mem::take(&mut peer.multiaddrs), met);
            peer.multiaddrs.truncate(TOLD_ADDRS);
            if !peer.multiaddrs.is_empty() {
                self.note(peer.node_id, Address { by, addresses: peer.multiaddrs.clone(), provides });
            }
        }
    }

    fn note(&mut self, peer: PeerId, address: Address) {
        if self.told.insert(peer, address).is_none() {
            self.order.push_back(peer);
        }
        while self.order.len() > TOLD_PEERS {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.told.remove(&oldest));
        }
    }

    /// The addresses to try of a peer: of those that are `known` to Kademlia or were told.
    fn dial(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        known: Vec<Multiaddr>,
        ours: &[Multiaddr],
        trusted: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Vec<Multiaddr> {
        let told = self.told.get(&peer);
        // What is in the routing table and nobody told, the peer said of itself.
        let by = told.map_or(peer, |told| told.by);
        let limit = if trusted(&by) { MAX_CREDIT } else { BLIND_DIALS_PER_MIN };
        let kept_back = if told.is_some_and(|told| !told.provides) { limit / 2 } else { 0 };
        let all = known.into_iter().chain(told.into_iter().flat_map(|told| told.addresses.clone()));
        let (mut free, mut chosen) = (Vec::new(), Vec::new());
        for address in all.map(|address| split(&address).0) {
            let is_proven = self.proven.get(&peer).is_some_and(|proven| proven.contains(&address));
            let list = if is_proven { &mut free } else { &mut chosen };
            if !list.contains(&address) && !ours.iter().any(|known| split(known).0 == address) {
                list.push(address);
            }
        }
        chosen.truncate(TOLD_ADDRS);
        if !chosen.is_empty() {
            let granted = self.credit(by, limit, now).take(chosen.len() as u32, kept_back);
            chosen.truncate(granted as usize);
            if granted == 0 {
                tracing::debug!(%peer, %by, "not dialled: too many that this peer named were not there");
            } else {
                self.dials.insert(connection, (by, granted));
            }
        }
        free.extend(chosen);
        free
    }

    fn credit(&mut self, by: PeerId, limit: u32, now: Instant) -> &mut Credit {
        if self.credits.len() >= INFORMANTS && !self.credits.contains_key(&by) {
            self.credits.retain(|_, credit| credit.filled(BLIND_DIALS_PER_MIN, now).left < BLIND_DIALS_PER_MIN);
            if self.credits.len() >= INFORMANTS {
                let oldest = self.credits.iter().min_by_key(|(_, credit)| credit.at).map(|(peer, _)| *peer);
                oldest.and_then(|oldest| self.credits.remove(&oldest));
            }
        }
        let credit = self.credits.entry(by).or_insert(Credit { left: limit, at: now });
        *credit = credit.filled(limit, now);
        credit
    }

    fn connected(&mut self, id: ConnectionId, peer: PeerId, address: Multiaddr, dialled: bool) {
        self.scopes.insert(id, scope(&address));
        if let Some((by, addresses)) = self.dials.remove(&id)
            && let Some(credit) = self.credits.get_mut(&by)
        {
            credit.left = (credit.left + addresses + 1).min(MAX_CREDIT);
        }
        if !dialled {
            return;
        }
        if self.proven.len() >= PROVEN_PEERS && !self.proven.contains_key(&peer) {
            self.proven.pop_first();
        }
        let proven = self.proven.entry(peer).or_default();
        proven.retain(|known| *known != address);
        proven.insert(0, address);
        proven.truncate(TOLD_ADDRS);
    }

    fn closed(&mut self, id: ConnectionId) {
        self.scopes.remove(&id);
    }

    fn failed(&mut self, id: ConnectionId) {
        self.dials.remove(&id);
    }
}

impl Credit {
    /// With what comes to it in a minute, up to the limit.
    fn filled(self, limit: u32, now: Instant) -> Self {
        let each = Duration::from_secs(60) / limit;
        let new = now.saturating_duration_since(self.at).as_nanos() / each.as_nanos();
        let new = u32::try_from(new).unwrap_or(u32::MAX).min(limit);
        if new == 0 {
            return self;
        }
        // What was earned by telling the truth isn't lost, and doesn't grow by waiting.
        Self { left: self.left.max((self.left + new).min(limit)), at: now }
    }

    fn take(&mut self, wanted: u32, kept_back: u32) -> u32 {
        let granted = wanted.min(self.left.saturating_sub(kept_back));
        self.left -= granted;
        granted
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(port: usize) -> Multiaddr {
        format!("/ip4/203.0.113.1/tcp/{port}").parse().unwrap()
    }

    fn peer(number: u8) -> PeerId {
        super::super::ids::peer_of(AgentId::from_bytes([number; 32]))
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn told(number: u8, addresses: Vec<Multiaddr>) -> KadPeer {
        KadPeer { node_id: peer(number), multiaddrs: addresses, connection_ty: kad::ConnectionType::CanConnect }
    }

    fn tell(hearsay: &mut Hearsay, number: u8, addresses: Vec<Multiaddr>) {
        hearsay.take(peer(0), id(0), &mut vec![told(number, addresses)], true);
    }

    fn dialled(hearsay: &mut Hearsay, number: u8, now: Instant) -> usize {
        hearsay.dial(id(usize::from(number)), peer(number), Vec::new(), &[], |_| false, now).len()
    }

    #[test]
    fn given_a_liar_it_chooses_eight_addresses_a_minute() {
        let (mut hearsay, now) = (Hearsay::default(), Instant::now());
        let mut count = 0;
        for number in 1..100 {
            tell(&mut hearsay, number, (0..50).map(addr).collect());
            count += dialled(&mut hearsay, number, now);
            hearsay.failed(id(usize::from(number)));
        }
        assert_eq!(count, BLIND_DIALS_PER_MIN as usize);
        let mut later = 0;
        for number in 1..100 {
            later += dialled(&mut hearsay, number, now + Duration::from_secs(60));
        }
        assert_eq!(later, BLIND_DIALS_PER_MIN as usize);
    }

    #[test]
    fn given_an_informant_whose_neighbours_are_dead_the_providers_that_it_names_are_dialled() {
        let (mut hearsay, now) = (Hearsay::default(), Instant::now());
        for number in 1..50 {
            hearsay.take(peer(0), id(0), &mut vec![told(number, vec![addr(1)])], false);
            dialled(&mut hearsay, number, now);
        }
        tell(&mut hearsay, 50, vec![addr(1), addr(2)]);
        assert_eq!(dialled(&mut hearsay, 50, now), 2);
        // One that the operator named is believed further.
        let count = (100..200).filter(|number| {
            hearsay.take(peer(99), id(0), &mut vec![told(*number, vec![addr(1)])], true);
            !hearsay.dial(id(999), peer(*number), Vec::new(), &[], |by| *by == peer(99), now).is_empty()
        });
        assert_eq!(count.count(), MAX_CREDIT as usize);
    }

    #[test]
    fn given_a_truthful_informant_its_credit_grows_to_a_bound() {
        let (mut hearsay, now) = (Hearsay::default(), Instant::now());
        for number in 1..200 {
            tell(&mut hearsay, number, vec![addr(usize::from(number))]);
            assert_eq!(dialled(&mut hearsay, number, now), 1, "{number}");
            hearsay.connected(id(usize::from(number)), peer(number), addr(usize::from(number)), true);
        }
        assert_eq!(hearsay.credits[&peer(0)].left, MAX_CREDIT);
    }

    #[test]
    fn given_an_address_that_answered_before_it_costs_no_credit() {
        let (mut hearsay, now) = (Hearsay::default(), Instant::now());
        hearsay.connected(id(7), peer(1), addr(1), true);
        for number in 2..50 {
            tell(&mut hearsay, number, vec![addr(1), addr(2)]);
            dialled(&mut hearsay, number, now);
        }
        tell(&mut hearsay, 1, vec![addr(1), addr(2)]);
        assert_eq!(hearsay.dial(id(8), peer(1), Vec::new(), &[], |_| false, now), [addr(1)]);
    }

    #[test]
    fn given_an_informant_from_the_internet_local_addresses_and_names_are_dropped() {
        let mut hearsay = Hearsay::default();
        hearsay.connected(id(1), peer(0), "/ip4/198.51.100.7/tcp/1".parse().unwrap(), false);
        let texts = ["/ip4/127.0.0.1/tcp/22", "/ip4/10.0.0.1/tcp/80", "/dns4/localhost/tcp/80", "/ip4/8.8.8.8/tcp/1"];
        let mut peers = vec![told(1, texts.iter().map(|text| text.parse().unwrap()).collect())];
        hearsay.take(peer(0), id(1), &mut peers, false);
        assert_eq!(peers[0].multiaddrs, ["/ip4/8.8.8.8/tcp/1".parse().unwrap()]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut hearsay, now) = (Hearsay::default(), Instant::now());
        let key = |number: usize| {
            let mut bytes = [1; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            super::super::ids::peer_of(AgentId::from_bytes(bytes))
        };
        for number in 0..TOLD_PEERS + 100 {
            hearsay.note(key(number), Address { by: key(number + 1), addresses: vec![addr(1)], provides: false });
            hearsay.dial(id(number), key(number), Vec::new(), &[], |_| false, now);
            hearsay.connected(id(number), key(number), addr(1), true);
            hearsay.closed(id(number));
        }
        assert_eq!((hearsay.told.len(), hearsay.order.len()), (TOLD_PEERS, TOLD_PEERS));
        assert!(hearsay.credits.len() <= INFORMANTS && hearsay.proven.len() <= PROVEN_PEERS);
        assert!(hearsay.scopes.is_empty() && hearsay.dials.is_empty());
    }
}
