//! Other agents' adverts: the newest of each seller and service, verified before they come here, bounded in every way.
//!
//! An advert costs its maker nothing, so a flood of them must not push out the others'. Each entry remembers who passed it on
//! to us (its seller, if we asked that one). Where room is short, what was of use to us stays, and of the rest the peer that
//! brought most gives way: a flood evicts its own adverts first.

use std::collections::BTreeMap;

use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Advert, ServiceName, Withdrawal},
    time::Timestamp,
};

use super::{
    Listing,
    limits::{MAX_ADVERT_BYTES, MAX_ADVERTS, MAX_ADVERTS_PER_SERVICE, MAX_WITHDRAWALS, MIN_RENEWAL_SECS},
};

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is the newest of its seller for that service.
    New,
    /// We have the same or a newer one.
    Stale,
    /// A newer one than ours, too soon after it.
    TooSoon,
}

/// The cache. Pure: the time comes as an argument.
#[derive(Debug, Default)]
pub(super) struct Cache {
    adverts: BTreeMap<(ServiceName, AgentId), Entry>,
    withdrawn: BTreeMap<(ServiceName, AgentId), Timestamp>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    listing: Listing,
    /// The peer that we have it from.
    from: AgentId,
    /// Last time that it was of use to us, for eviction.
    used: Timestamp,
}

impl Cache {
    /// Keeps an advert that has been verified and is timely.
    pub(super) fn keep(&mut self, advert: Signed<Advert>, from: AgentId, now: Timestamp) -> Kept {
        let key = (advert.body.service.clone(), advert.issuer());
        if self.withdrawn.get(&key).is_some_and(|until| advert.iat <= *until) {
            return Kept::Stale;
        }
        if let Some(known) = self.adverts.get(&key) {
            let since = advert.iat.since(known.listing.advert.iat);
            if since == 0 {
                return Kept::Stale;
            }
            if since < MIN_RENEWAL_SECS && known.listing.advert.exp.is_none_or(|exp| exp >= now) {
                return Kept::TooSoon;
            }
        }
        let used = self.remove(&key).map_or(Timestamp::default(), |entry| entry.used);
        self.make_room(&key.0, advert.bytes().len(), now);
        self.bytes += advert.bytes().len();
        self.adverts.insert(key, Entry { listing: Listing::new(advert), from, used });
        Kept::New
    }

    /// Respects a withdrawal that has been verified and is timely.
    pub(super) fn withdraw(&mut self, withdrawal: &Signed<Withdrawal>) -> Kept {
        let until = withdrawal.body.until.min(withdrawal.iat);
        self.end(withdrawal.body.service.clone(), withdrawal.issuer(), until)
    }

    /// Nothing that the seller advertised of the service up to that moment counts any longer.
    pub(super) fn end(&mut self, service: ServiceName, seller: AgentId, until: Timestamp) -> Kept {
        let key = (service, seller);
        if self.withdrawn.get(&key).is_some_and(|known| *known >= until) {
            return Kept::Stale;
        }
        if self.adverts.get(&key).is_some_and(|entry| entry.listing.advert.iat <= until) {
            self.remove(&key);
        }
        if self.withdrawn.len() >= MAX_WITHDRAWALS && !self.withdrawn.contains_key(&key) {
            let oldest = self.withdrawn.iter().min_by_key(|(key, until)| (**until, *key)).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.withdrawn.remove(&oldest));
        }
        self.withdrawn.insert(key, until);
        Kept::New
    }

    /// The seller's advert of the service, if we have one that holds.
    pub(super) fn get(&mut self, service: &ServiceName, seller: AgentId, now: Timestamp) -> Option<Listing> {
        let entry = self.adverts.get_mut(&(service.clone(), seller))?;
        if entry.listing.advert.timely(now).is_err() {
            return None;
        }
        entry.used = now;
        Some(entry.listing.clone())
    }

    /// The adverts of the service that hold, in the order of their sellers' keys.
    pub(super) fn of_service(&self, service: &ServiceName, now: Timestamp) -> Vec<Listing> {
        self.range(service)
            .map(|(_, entry)| &entry.listing)
            .filter(|listing| listing.advert.timely(now).is_ok())
            .cloned()
            .collect()
    }

    /// The adverts that hold and `wanted` wants, of whatever service.
    pub(super) fn matching(&self, now: Timestamp, wanted: impl Fn(&ServiceName) -> bool) -> Vec<Listing> {
        let holds = |entry: &&Entry| entry.listing.advert.timely(now).is_ok();
        let wanted = self.adverts.iter().filter(|((service, _), _)| wanted(service));
        wanted.map(|(_, entry)| entry).filter(holds).map(|entry| entry.listing.clone()).collect()
    }

    /// Forgets what no longer holds.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let over = |entry: &Entry| entry.listing.advert.exp.is_some_and(|exp| exp.is_past(now));
        let gone: Vec<_> = self.adverts.iter().filter(|(_, entry)| over(entry)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
        let longest = guilder_protocol::limits::MAX_ADVERT_SECS;
        self.withdrawn.retain(|_, until| !until.saturating_add(longest).is_past(now));
    }

    /// How many adverts are kept.
    pub(super) fn len(&self) -> usize {
        self.adverts.len()
    }

    fn range(&self, service: &ServiceName) -> impl Iterator<Item = (&(ServiceName, AgentId), &Entry)> + Clone {
        let (first, last) = (AgentId::from_bytes([0; 32]), AgentId::from_bytes([0xff; 32]));
        self.adverts.range((service.clone(), first)..=(service.clone(), last))
    }

    fn remove(&mut self, key: &(ServiceName, AgentId)) -> Option<Entry> {
        let entry = self.adverts.remove(key)?;
        self.bytes -= entry.listing.advert.bytes().len();
        Some(entry)
    }

    /// Evicts until one more of `size` bytes fits: within a full service first, then anywhere.
    fn make_room(&mut self, service: &ServiceName, size: usize, now: Timestamp) {
        if self.range(service).count() >= MAX_ADVERTS_PER_SERVICE {
            let worst = least_worth(self.range(service), now);
            worst.and_then(|key| self.remove(&key));
        }
        while !self.adverts.is_empty() && (self.adverts.len() >= MAX_ADVERTS || self.bytes + size > MAX_ADVERT_BYTES) {
            let worst = least_worth(self.adverts.iter(), now);
            worst.and_then(|key| self.remove(&key));
        }
    }
}

/// What goes first: what has run out; then, of what was never of use to us, the oldest of the peer that brought most; then
/// what was of use longest ago.
fn least_worth<'a>(
    entries: impl Iterator<Item = (&'a (ServiceName, AgentId), &'a Entry)> + Clone,
    now: Timestamp,
) -> Option<(ServiceName, AgentId)> {
    let unused = |entry: &Entry| entry.used == Timestamp::default();
    let mut brought = BTreeMap::<AgentId, usize>::new();
    for (_, entry) in entries.clone().filter(|(_, entry)| unused(entry)) {
        *brought.entry(entry.from).or_default() += 1;
    }
    let worth = |entry: &Entry| {
        let holds = entry.listing.advert.timely(now).is_ok();
        let crowd = if unused(entry) { brought.get(&entry.from).copied().unwrap_or_default() } else { 0 };
        (holds, entry.used, std::cmp::Reverse(crowd), entry.listing.advert.iat)
    };
    entries.min_by_key(|(key, entry)| (worth(entry), *key)).map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::{
        bytes::ByteArray,
        identity::AgentKey,
        market::{AdvertBody, WithdrawalBody},
        settlement::Mode,
    };

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// Who passes adverts on, where it doesn't matter.
    const GOSSIP: AgentId = AgentId::from_bytes([9; 32]);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(NOW + secs)
    }

    fn key(seed: u16) -> AgentKey {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&seed.to_be_bytes());
        AgentKey::from_seed(&bytes)
    }

    fn service(name: &str) -> ServiceName {
        name.parse().unwrap()
    }

    fn advert(seller: u16, name: &str, made: u64, describes: usize) -> Signed<Advert> {
        let body = AdvertBody {
            service: service(name),
            description: "d".repeat(describes),
            price: 7,
            unit: "sat".parse().unwrap(),
            mints: vec!["https://mint.example".parse().unwrap()],
            modes: vec![Mode::Prepaid],
            input: None,
            output: None,
            max_input: 1,
            max_output: 1,
            time_limit: 1,
        };
        Signed::claim(body, at(made), Some(at(made + 3_600)), ByteArray([1; 16]), &key(seller)).unwrap()
    }

    fn withdrawal(seller: u16, made: u64, until: u64) -> Signed<Withdrawal> {
        let body = WithdrawalBody { service: service("a"), until: at(until) };
        Signed::claim(body, at(made), Some(at(made + 3_600)), ByteArray([2; 16]), &key(seller)).unwrap()
    }

    fn keeps(cache: &Cache) -> usize {
        assert_eq!(cache.bytes, cache.adverts.values().map(|entry| entry.listing.advert.bytes().len()).sum::<usize>());
        cache.len()
    }

    #[test]
    fn the_newest_counts_and_not_too_often() {
        let mut cache = Cache::default();
        assert_eq!(cache.keep(advert(1, "a", 10, 0), GOSSIP, at(20)), Kept::New);
        assert_eq!(cache.keep(advert(1, "a", 10, 0), GOSSIP, at(20)), Kept::Stale);
        assert_eq!(cache.keep(advert(1, "a", 9, 0), GOSSIP, at(20)), Kept::Stale);
        assert_eq!(cache.keep(advert(1, "a", 10 + MIN_RENEWAL_SECS - 1, 0), GOSSIP, at(20)), Kept::TooSoon);
        assert_eq!(cache.keep(advert(1, "a", 10 + MIN_RENEWAL_SECS, 9), GOSSIP, at(20)), Kept::New);
        assert_eq!(cache.keep(advert(1, "b", 10, 0), GOSSIP, at(20)), Kept::New);
        assert_eq!((keeps(&cache), cache.of_service(&service("a"), at(20)).len()), (2, 1));
        cache.expire(at(10_000));
        assert_eq!(keeps(&cache), 0);
    }

    #[test]
    fn a_withdrawal_ends_what_was_made_before_it_and_nothing_after() {
        let mut cache = Cache::default();
        cache.keep(advert(1, "a", 10, 0), GOSSIP, at(20));
        cache.keep(advert(2, "a", 10, 0), GOSSIP, at(20));
        assert_eq!(cache.withdraw(&withdrawal(1, 12, 12)), Kept::New);
        assert_eq!(cache.withdraw(&withdrawal(1, 12, 12)), Kept::Stale);
        assert_eq!(keeps(&cache), 1, "the other seller's stays");
        // The same advert doesn't come back by a slower way; a later one does.
        assert_eq!(cache.keep(advert(1, "a", 10, 0), GOSSIP, at(20)), Kept::Stale);
        assert_eq!(cache.keep(advert(1, "a", 13, 0), GOSSIP, at(20)), Kept::New);
        // None reaches beyond its own making.
        assert_eq!(cache.withdraw(&withdrawal(1, 12, 9_999)), Kept::Stale);
        assert!(cache.get(&service("a"), key(1).id(), at(20)).is_some());
    }

    #[test]
    fn a_flood_by_one_peer_evicts_its_own_and_not_what_others_brought() {
        let mut cache = Cache::default();
        cache.keep(advert(0, "a", 0, 0), key(0).id(), at(1));
        for seller in 1..=2 * MAX_ADVERTS_PER_SERVICE as u16 {
            assert_eq!(cache.keep(advert(seller, "a", 1, 0), GOSSIP, at(2)), Kept::New);
        }
        assert_eq!(keeps(&cache), MAX_ADVERTS_PER_SERVICE);
        assert!(cache.get(&service("a"), key(0).id(), at(2)).is_some(), "older than all of the flood, and never used");
    }

    #[test]
    fn a_flood_of_adverts_evicts_what_was_never_of_use_first() {
        let mut cache = Cache::default();
        cache.keep(advert(0, "a", 0, 0), GOSSIP, at(0));
        assert!(cache.get(&service("a"), key(0).id(), at(1)).is_some());
        let largest = guilder_protocol::limits::MAX_DESCRIPTION;
        for seller in 1..=MAX_ADVERTS_PER_SERVICE as u16 + 20 {
            assert_eq!(cache.keep(advert(seller, "a", 1, largest), GOSSIP, at(2)), Kept::New);
        }
        assert_eq!(keeps(&cache), MAX_ADVERTS_PER_SERVICE);
        assert!(cache.get(&service("a"), key(0).id(), at(2)).is_some(), "what we used is kept");
        assert!(cache.bytes <= MAX_ADVERT_BYTES);
    }
}
