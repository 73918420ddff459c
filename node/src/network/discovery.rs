//! What runs in Kademlia on behalf of other rooms: services announced, providers searched.
//!
//! Announcements are renewed by Kademlia itself; this module repeats them while the routing table is still filling,
//! because an announcement made among few peers reaches the wrong ones.

use std::collections::BTreeSet;

use guilder_protocol::{discovery, identity::AgentId, market::ServiceName};
use libp2p::{
    Multiaddr, PeerId,
    kad::{self, K_VALUE, KBucketRef, QueryId, RecordKey},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    AnnounceError,
    addrs::split,
    ids::agent_of,
    kad::Kad,
    limits::{AGREEING, ANNOUNCE_DELAY, DOUBT_INTERVAL, FINDS, PROVIDED_KEYS},
};

/// A routing table with this many peers has settled: Kademlia's k.
const SETTLED: usize = 20;

/// The key under which a service's providers are recorded in Kademlia.
pub fn service_key(service: &ServiceName) -> RecordKey {
    RecordKey::new(&discovery::service_key(service))
}

/// Where the routing table has a peer.
fn addresses_of(kad: &mut Kad, peer: &PeerId) -> Vec<Multiaddr> {
    let entry = |bucket: KBucketRef<'_, kad::KBucketKey<PeerId>, kad::Addresses>| {
        let entry = bucket.iter().find(|entry| entry.node.key.preimage() == peer);
        entry.map(|entry| entry.node.value.iter().cloned().collect())
    };
    kad.kbucket(*peer).and_then(entry).unwrap_or_default()
}

/// What is going on in Kademlia.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    provided: BTreeSet<ServiceName>,
    /// When to announce all services again.
    announce_at: Option<Instant>,
    finds: Vec<Find>,
    /// Whether somebody has answered the refresh of the routing table that is under way.
    answered: bool,
    /// Whether nobody answered the last one.
    astray: bool,
    /// When a peer of a full bucket was last dialled to see whether it still is.
    doubted_at: Option<Instant>,
}

#[derive(Debug)]
struct Find {
    query: QueryId,
    heard: Heard,
    found: mpsc::Sender<AgentId>,
}

/// Whom a search has heard of.
#[derive(Debug)]
struct Heard {
    walk: Walk,
    limit: usize,
    providers: BTreeSet<AgentId>,
    /// Answers in a row that named providers, and none that is new.
    repeats: u32,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Until a few of those who keep the records agree. Enough for a buyer that searches again if nobody suits it.
    Quick,
    /// To everyone who may have a record.
    Whole,
}

impl Discovery {
    pub(super) fn provide(&mut self, kad: &mut Kad, service: ServiceName) -> Result<(), AnnounceError> {
        if !self.provided.contains(&service) && self.provided.len() >= PROVIDED_KEYS {
            return Err(AnnounceError::TooMany(PROVIDED_KEYS));
        }
        announce(kad, &service);
        self.provided.insert(service);
        Ok(())
    }

    pub(super) fn unprovide(&mut self, kad: &mut Kad, service: &ServiceName) {
        self.provided.remove(service);
        kad.stop_providing(&service_key(service));
    }

    /// A new peer is in the routing table: while there are few, each may be among those that keep our records.
    pub(super) fn new_neighbour(&mut self, kad: &mut Kad, now: Instant) {
        if !self.provided.is_empty() && self.announce_at.is_none() {
            let neighbours: usize = kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
            self.announce_at = (neighbours <= SETTLED).then(|| now + ANNOUNCE_DELAY);
        }
    }

    pub(super) fn next_announcement(&self) -> Option<Instant> {
        self.announce_at
    }

    pub(super) fn announce_if_due(&mut self, kad: &mut Kad, now: Instant) {
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce_at = None;
            self.provided.iter().for_each(|service| announce(kad, service));
        }
    }

    /// A part of a refresh of the routing table is over, with so many answers.
    pub(super) fn refreshed(&mut self, answers: u32, last: bool) {
        self.answered |= answers > 0;
        if last {
            self.astray = !std::mem::take(&mut self.answered);
        }
    }

    /// Takes a peer into the routing table, if there is room where it belongs. Where there is none, Kademlia would dial the
    /// peer there that wasn't seen for longest, to see whether it still is. That one then learns of us and, being as full,
    /// dials another: in a network of more than a few buckets' size each connection would beget the next, without end. So
    /// such a peer is doubted only every so often.
    ///
    /// What it doesn't claim any more is forgotten, but where it is connected (`used`): of a peer that comes back at another port
    /// each time, others would be told where it was, for no more than a few addresses are taken of one.
    pub(super) fn learn(
        &mut self,
        kad: &mut Kad,
        peer: &PeerId,
        addresses: &[Multiaddr],
        used: Option<&Multiaddr>,
        now: Instant,
    ) {
        let has_room = kad.kbucket(*peer).is_some_and(|bucket| {
            bucket.num_entries() < K_VALUE.get() || bucket.iter().any(|entry| entry.node.key.preimage() == peer)
        });
        if !has_room {
            if self.doubted_at.is_some_and(|at| now < at + DOUBT_INTERVAL) {
                return;
            }
            self.doubted_at = Some(now);
        }
        for address in addresses {
            kad.add_address(peer, address.clone());
        }
        if !addresses.is_empty() {
            let claimed =
                |known: &Multiaddr| addresses.iter().chain(used).any(|address| split(address).0 == split(known).0);
            let gone: Vec<_> = addresses_of(kad, peer).into_iter().filter(|known| !claimed(known)).collect();
            gone.iter().for_each(|address| _ = kad.remove_address(peer, address));
        }
    }

    /// A peer is there to be asked. If there was none at the last refresh, because the bootstrap peers were down or full, it
    /// is done over: Kademlia itself would wait for the next, as it knew the peer already.
    pub(super) fn met_somebody(&mut self, kad: &mut Kad) {
        if std::mem::take(&mut self.astray) {
            // Fails only if the routing table is empty, and there is the peer.
            let _ = kad.bootstrap();
        }
    }

    /// Begins a search; one too many ends at once, with nothing found.
    pub(super) fn find(
        &mut self,
        kad: &mut Kad,
        service: &ServiceName,
        limit: usize,
        walk: Walk,
        found: mpsc::Sender<AgentId>,
    ) {
        self.finds.retain(|find| {
            let wanted = !find.found.is_closed();
            if !wanted && let Some(mut query) = kad.query_mut(&find.query) {
                query.finish();
            }
            wanted
        });
        if self.finds.len() < FINDS {
            let query = kad.get_providers(service_key(service));
            self.finds.push(Find { query, heard: Heard::new(walk, limit), found });
        } else {
            tracing::warn!(%service, "search not begun: too many are under way");
        }
    }

    /// A search found providers. Returns the new ones, in order, for dialling, and whether the search is over then; the
    /// searcher knows of them already.
    pub(super) fn found(
        &mut self,
        query: QueryId,
        providers: impl IntoIterator<Item = PeerId>,
        usable: impl Fn(AgentId) -> bool,
    ) -> (Vec<AgentId>, bool) {
        let Some(find) = self.finds.iter_mut().find(|find| find.query == query) else { return (Vec::new(), false) };
        // From a hash set into an order of our own.
        let named: BTreeSet<_> = providers.into_iter().filter_map(|peer| agent_of(&peer)).collect();
        let new = find.heard.note(named.into_iter().filter(|agent| usable(*agent)));
        for agent in &new {
            // The channel has room for the limit; it fails only if the searcher is gone.
            let _ = find.found.try_send(*agent);
        }
        (new, find.heard.is_enough() || find.found.is_closed())
    }

    /// A query is over.
    pub(super) fn finished(&mut self, query: QueryId) {
        self.finds.retain(|find| find.query != query);
    }
}

impl Heard {
    fn new(walk: Walk, limit: usize) -> Self {
        Self { walk, limit, providers: BTreeSet::new(), repeats: 0 }
    }

    /// An answer named these. Returns the new ones that are wanted.
    fn note(&mut self, named: impl Iterator<Item = AgentId>) -> Vec<AgentId> {
        let (mut new, mut named_any) = (Vec::new(), false);
        for agent in named {
            named_any = true;
            if self.providers.len() < self.limit && self.providers.insert(agent) {
                new.push(agent);
            }
        }
        match (named_any, new.is_empty()) {
            (_, false) => self.repeats = 0,
            (true, true) => self.repeats += 1,
            (false, true) => {}
        }
        new
    }

    fn is_enough(&self) -> bool {
        self.providers.len() >= self.limit || self.walk == Walk::Quick && self.repeats >= AGREEING
    }
}

fn announce(kad: &mut Kad, service: &ServiceName) {
    if let Err(error) = kad.start_providing(service_key(service)) {
        tracing::warn!(%service, ?error, "can't announce a service");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::network::ids::peer_of;

    fn agent(number: u8) -> AgentId {
        AgentId::from_bytes([number; 32])
    }

    fn hear(heard: &mut Heard, numbers: &[u8]) -> usize {
        heard.note(numbers.iter().map(|number| agent(*number))).len()
    }

    #[test]
    fn a_quick_search_ends_when_a_few_in_a_row_name_nobody_new() {
        let mut heard = Heard::new(Walk::Quick, 10);
        assert_eq!(hear(&mut heard, &[1, 2]), 2);
        for _ in 0..AGREEING - 1 {
            assert_eq!(hear(&mut heard, &[2, 1]), 0);
        }
        assert_eq!(hear(&mut heard, &[2, 3]), 1, "somebody new: it goes on");
        for _ in 0..AGREEING {
            assert!(!heard.is_enough());
            assert_eq!(hear(&mut heard, &[]), 0, "who keeps no record says nothing about who sells");
            assert_eq!(hear(&mut heard, &[3]), 0);
        }
        assert!(heard.is_enough());
    }

    #[tokio::test]
    async fn of_a_peer_that_moved_nothing_is_told_but_where_it_is() {
        let peer = |byte| peer_of(guilder_protocol::identity::AgentKey::from_seed(&[byte; 32]).id());
        let runtime = crate::runtime::Runtime::anchored(guilder_protocol::time::Timestamp::from_secs(1));
        let protocol = libp2p::StreamProtocol::new("/test/kad");
        let server = crate::network::DhtMode::Server;
        let mut kad = Kad::new(peer(0), protocol, server, runtime, Default::default(), Default::default());
        let mut discovery = Discovery::default();
        let address = |port: u16| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap() };
        let mut learn = |claimed: &[Multiaddr], used: Option<Multiaddr>| {
            discovery.learn(&mut kad, &peer(1), claimed, used.as_ref(), Instant::now());
            addresses_of(&mut kad, &peer(1)).iter().map(|address| split(address).0).collect::<Vec<_>>()
        };
        for port in 1..10 {
            assert_eq!(learn(&[address(port)], None), [address(port)]);
        }
        assert_eq!(learn(&[], None), [address(9)], "who says nothing has not moved");
        assert_eq!(learn(&[address(10)], Some(address(9))), [address(9), address(10)], "it is reached there, too");
    }

    #[tokio::test]
    async fn a_full_bucket_is_offered_a_new_peer_only_every_so_often() {
        let peer = |number: u64| {
            let mut bytes = [1; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            peer_of(guilder_protocol::identity::AgentKey::from_seed(&bytes).id())
        };
        let runtime = crate::runtime::Runtime::anchored(guilder_protocol::time::Timestamp::from_secs(1));
        let protocol = libp2p::StreamProtocol::new("/test/kad");
        let mut kad = Kad::new(
            peer(0),
            protocol,
            crate::network::DhtMode::Server,
            runtime,
            Default::default(),
            Default::default(),
        );
        let mut discovery = Discovery::default();
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().unwrap();
        let start = Instant::now();
        let mut doubted_after = |numbers: std::ops::Range<u64>, at| {
            numbers.for_each(|n| discovery.learn(&mut kad, &peer(n), std::slice::from_ref(&address), None, at));
            discovery.doubted_at
        };
        assert_eq!(doubted_after(1..20, start), None, "there is room for all");
        // Half of all peers belong into one bucket of twenty.
        assert_eq!(doubted_after(20..200, start), Some(start));
        assert_eq!(doubted_after(200..220, start + DOUBT_INTERVAL / 2), Some(start));
        assert_eq!(doubted_after(220..240, start + DOUBT_INTERVAL), Some(start + DOUBT_INTERVAL));
    }

    #[test]
    fn a_whole_search_ends_only_at_its_limit() {
        let mut heard = Heard::new(Walk::Whole, 2);
        assert_eq!(hear(&mut heard, &[1]), 1);
        for _ in 0..10 {
            assert_eq!(hear(&mut heard, &[1]), 0);
        }
        assert!(!heard.is_enough());
        assert_eq!(hear(&mut heard, &[2, 3]), 1);
        assert!(heard.is_enough());
    }
}
