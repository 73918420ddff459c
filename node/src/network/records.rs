//! The provider records that peers leave with us.
//!
//! Keys and identities cost nothing, so a few machines could fill all places with records of no service. One peer has a quota,
//! one prefix a share of all. Where all is full, the key that is farthest from us gives way to a nearer one: it is others'
//! to keep. Where a key has all its providers, one from the prefix that has most of them gives way to one from a prefix
//! that has fewer, so that who comes first doesn't keep the rest out. Our own services aren't counted here: Kademlia's
//! store has room for them beside these.

use std::collections::BTreeMap;

use guilder_protocol::{discovery::is_service_key, identity::AgentId};
use libp2p::{
    PeerId,
    kad::{self, KBucketDistance, KBucketKey, RecordKey, store::RecordStore},
};
use tokio::time::Instant;

use super::{
    addrs::{Prefix, Scope, worth_keeping},
    ids::{agent_of, peer_of},
    kad::Kad,
    limits::{KEYS_PER_PROVIDER, PROVIDER_TTL, PROVIDERS_PER_KEY, RECORD_KEYS, RECORDS, RECORDS_PER_PREFIX},
};

/// See the module's documentation. The records themselves are in Kademlia's store, which forgets only what it is told to.
#[derive(Debug)]
pub(super) struct Records {
    local: KBucketKey<PeerId>,
    keys: BTreeMap<Vec<u8>, Providers>,
    count: usize,
}

#[derive(Debug)]
struct Providers {
    distance: KBucketDistance,
    all: BTreeMap<AgentId, Provider>,
}

#[derive(Clone, Copy, Debug)]
struct Provider {
    prefix: Prefix,
    until: Instant,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) scope: Scope,
    pub(super) prefix: Prefix,
}

impl Records {
    pub(super) fn new(local: AgentId) -> Self {
        Self { local: peer_of(local).into(), keys: BTreeMap::new(), count: 0 }
    }

    /// Keeps a record that a peer left with us, within the bounds and with sane addresses.
    pub(super) fn keep(&mut self, kad: &mut Kad, mut record: kad::ProviderRecord, from: Origin, now: Instant) {
        let Some(agent) = agent_of(&record.provider) else { return };
        let key = record.key.to_vec();
        if !is_service_key(&key) {
            return tracing::debug!(?agent, "provider record refused: its key is no service's");
        }
        let place = match self.place(agent, &key, from.prefix) {
            Ok(place) => place,
            Err(why) => return tracing::debug!(?agent, why, "provider record refused"),
        };
        match place {
            Place::Free => {}
            Place::OfProvider(other) => self.remove(kad, &key, other),
            Place::OfKey(far) => {
                let providers: Vec<_> = self.keys.get(&far).into_iter().flat_map(|p| p.all.keys().copied()).collect();
                providers.into_iter().for_each(|provider| self.remove(kad, &far, provider));
            }
        }
        record.addresses = worth_keeping(record.addresses, from.scope);
        if let Err(error) = kad.store_mut().add_provider(record) {
            return tracing::debug!(?agent, ?error, "provider record refused");
        }
        let distance = self.distance(&key);
        let providers = self.keys.entry(key).or_insert_with(|| Providers { distance, all: BTreeMap::new() });
        let provider = Provider { prefix: from.prefix, until: now + PROVIDER_TTL };
        self.count += usize::from(providers.all.insert(agent, provider).is_none());
    }

    /// Forgets the records whose time is over.
    pub(super) fn forget_expired(&mut self, kad: &mut Kad, now: Instant) {
        let expired = |(agent, provider): (&AgentId, &Provider)| (provider.until <= now).then_some(*agent);
        let over = self.keys.iter().flat_map(|(key, providers)| {
            providers.all.iter().filter_map(expired).map(move |agent| (key.clone(), agent))
        });
        let over: Vec<_> = over.collect();
        over.into_iter().for_each(|(key, agent)| self.remove(kad, &key, agent));
    }

    /// Where a record would go, or why nowhere.
    fn place(&self, agent: AgentId, key: &[u8], prefix: Prefix) -> Result<Place, &'static str> {
        let providers = self.keys.get(key);
        if providers.is_some_and(|providers| providers.all.contains_key(&agent)) {
            return Ok(Place::Free);
        }
        if self.keys.values().filter(|providers| providers.all.contains_key(&agent)).count() >= KEYS_PER_PROVIDER {
            return Err("it left its share");
        }
        let all = self.keys.values().flat_map(|providers| providers.all.values());
        if all.filter(|provider| provider.prefix == prefix).count() >= RECORDS_PER_PREFIX {
            return Err("its prefix left its share");
        }
        if let Some(providers) = providers.filter(|providers| providers.all.len() >= PROVIDERS_PER_KEY) {
            return providers.gives_way(prefix).map(Place::OfProvider).ok_or("the key has all its providers");
        }
        if self.count < RECORDS && (providers.is_some() || self.keys.len() < RECORD_KEYS) {
            return Ok(Place::Free);
        }
        let farthest = self.keys.iter().max_by_key(|(_, providers)| providers.distance);
        match farthest {
            Some((far, providers)) if providers.distance > self.distance(key) => Ok(Place::OfKey(far.clone())),
            _ => Err("all places are taken by keys that are nearer to us"),
        }
    }

    fn distance(&self, key: &[u8]) -> KBucketDistance {
        self.local.distance(&KBucketKey::new(key))
    }

    fn remove(&mut self, kad: &mut Kad, key: &[u8], agent: AgentId) {
        let Some(providers) = self.keys.get_mut(key) else { return };
        if providers.all.remove(&agent).is_some() {
            self.count -= 1;
            kad.store_mut().remove_provider(&RecordKey::from(key.to_vec()), &peer_of(agent));
        }
        if providers.all.is_empty() {
            self.keys.remove(key);
        }
    }
}

/// A place for a record.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Free,
    /// Of another provider of the same key.
    OfProvider(AgentId),
    /// Of all records of another key.
    OfKey(Vec<u8>),
}

impl Providers {
    /// Which provider gives way to one from this prefix: the one that is over first, of the prefix that has most, if that is
    /// more than this one would then have.
    fn gives_way(&self, prefix: Prefix) -> Option<AgentId> {
        let count = |of: Prefix| self.all.values().filter(|provider| provider.prefix == of).count();
        let crowd = self.all.values().map(|provider| provider.prefix).max_by_key(|of| count(*of))?;
        if count(crowd) <= count(prefix) + 1 {
            return None;
        }
        let of_crowd = self.all.iter().filter(|(_, provider)| provider.prefix == crowd);
        of_crowd.min_by_key(|(_, provider)| provider.until).map(|(agent, _)| *agent)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{identity::AgentKey, time::Timestamp};
    use libp2p::StreamProtocol;

    use super::*;
    use crate::{network::DhtMode, runtime::Runtime};

    struct Test {
        records: Records,
        kad: Kad,
        now: Instant,
    }

    fn agent(number: u32) -> AgentId {
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        AgentKey::from_seed(&seed).id()
    }

    fn key(number: u32) -> RecordKey {
        RecordKey::new(&[&[0x12, 32][..], &number.to_be_bytes(), &[0; 28]].concat())
    }

    impl Test {
        fn new() -> Self {
            let (local, runtime) = (agent(0), Runtime::anchored(Timestamp::from_secs(1)));
            let kad = Kad::new(
                peer_of(local),
                StreamProtocol::new("/test/kad"),
                DhtMode::Server,
                runtime,
                Default::default(),
                Default::default(),
            );
            Self { records: Records::new(local), kad, now: Instant::now() }
        }

        /// A peer of a network leaves a record. Says whether it is there afterwards.
        fn leave(&mut self, provider: u32, number: u32, network: u8) -> bool {
            let record = kad::ProviderRecord::new(key(number), peer_of(agent(provider)), Vec::new());
            let from = Origin { scope: Scope::Global, prefix: Prefix::V4([192, 0, network]) };
            self.records.keep(&mut self.kad, record, from, self.now);
            self.holds(provider, number)
        }

        fn holds(&mut self, provider: u32, number: u32) -> bool {
            let kept = self.kad.store_mut().providers(&key(number));
            kept.iter().any(|record| record.provider == peer_of(agent(provider)))
        }
    }

    #[tokio::test]
    async fn given_peers_of_one_prefix_that_fill_the_table_others_and_our_own_services_have_room() {
        let mut test = Test::new();
        let kept = (0..20 * KEYS_PER_PROVIDER as u32).filter(|n| test.leave(1 + n / KEYS_PER_PROVIDER as u32, *n, 1));
        assert_eq!(kept.count(), RECORDS_PER_PREFIX);
        assert!(test.leave(500, 1_000_000, 2));
        // Many prefixes fill it all the same: the nearest keys stay.
        for number in 0..RECORD_KEYS as u32 + 500 {
            test.leave(1_000 + number / 100, 2_000_000 + number, 3 + (number / 1_000) as u8);
        }
        assert_eq!(test.records.keys.len(), RECORD_KEYS);
        for number in 0..super::super::limits::PROVIDED_KEYS as u32 {
            let own = kad::ProviderRecord::new(key(9_000_000 + number), peer_of(agent(0)), Vec::new());
            test.kad.store_mut().add_provider(own).unwrap();
        }
        let farthest = test.records.keys.values().map(|providers| providers.distance).max().unwrap();
        let near = (0..).find(|n| test.records.distance(&key(5_000_000 + n).to_vec()) < farthest).unwrap();
        assert!(test.leave(9_999, 5_000_000 + near, 200));
        assert_eq!(test.records.keys.len(), RECORD_KEYS);
    }

    #[tokio::test]
    async fn given_a_key_whose_providers_are_all_of_one_prefix_one_gives_way_to_another_prefix() {
        let mut test = Test::new();
        for provider in 1..=PROVIDERS_PER_KEY as u32 {
            assert!(test.leave(provider, 7, 1));
        }
        assert!(!test.leave(100, 7, 1), "first come within one prefix");
        assert!(test.leave(101, 7, 2) && test.leave(102, 7, 3));
        let kept = test.kad.store_mut().providers(&key(7));
        assert_eq!(kept.len(), PROVIDERS_PER_KEY);
    }

    #[tokio::test]
    async fn a_record_is_kept_until_its_time_is_over() {
        let mut test = Test::new();
        assert!(test.leave(1, 7, 1));
        test.records.forget_expired(&mut test.kad, test.now + PROVIDER_TTL / 2);
        assert!(test.holds(1, 7));
        test.records.forget_expired(&mut test.kad, test.now + PROVIDER_TTL);
        assert!(!test.holds(1, 7));
        assert_eq!((test.records.count, test.records.keys.len()), (0, 0));
    }
}
