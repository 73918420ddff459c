//! The address book: where peers were reached, kept over restarts.
//!
//! First stand the addresses that answered a dial as the right peer; those that a connected peer claims for itself come
//! after them. A peer that we reached is never forgotten for one that only came to us, so strangers can't wipe the
//! book. Changes gather in memory and are written every half minute: losing the last ones costs a look-up.

use std::collections::{BTreeMap, BTreeSet};

use guilder_protocol::{identity::AgentId, time::Timestamp};
use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use super::limits::{ADDRS_PER_PEER, BOOK_PEERS};
use crate::store::{KeyRange, Reader, Store, StoreError, Table, Write};

/// What the book says of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// When it was last connected.
    seen: Timestamp,
    /// The addresses that answered, the latest first.
    good: Vec<Multiaddr>,
    /// The addresses that it claims.
    claimed: Vec<Multiaddr>,
}

pub(super) const PEERS: Table<Entry> = Table::new("network/peers");

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<AgentId, Entry>,
    /// Those that the store doesn't have like this yet.
    changed: BTreeSet<AgentId>,
}

/// What to write down.
#[derive(Debug, Default)]
pub(super) struct Changes {
    put: Vec<(AgentId, Entry)>,
    delete: Vec<AgentId>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    /// Writes them down.
    pub(super) fn write(&self, write: &mut Write<'_>) -> Result<(), StoreError> {
        self.put.iter().try_for_each(|(agent, entry)| write.put(PEERS, agent.as_bytes(), entry))?;
        self.delete.iter().try_for_each(|agent| write.delete(PEERS, agent.as_bytes()))
    }
}

impl Book {
    /// The book as it was written down. What can't be read is not worth stopping for.
    pub(super) fn read(store: &Store) -> Self {
        let entries = store.read(|read| read.range(PEERS, KeyRange::all(), BOOK_PEERS));
        let entries = entries.unwrap_or_else(|error| {
            tracing::warn!(%error, "the address book can't be read; beginning a new one");
            Vec::new()
        });
        let entries = entries.into_iter().filter_map(|(key, entry)| {
            let agent = AgentId::from_bytes(key.try_into().ok()?);
            Some((agent, entry))
        });
        Self { entries: entries.collect(), changed: BTreeSet::new() }
    }

    /// Where a peer may be reached, the likeliest first.
    pub(super) fn addresses(&self, agent: AgentId) -> Vec<Multiaddr> {
        let Some(entry) = self.entries.get(&agent) else { return Vec::new() };
        let claimed = entry.claimed.iter().filter(|address| !entry.good.contains(address));
        entry.good.iter().chain(claimed).take(ADDRS_PER_PEER).cloned().collect()
    }

    /// The peers that we reached and were connected to last, the latest first.
    pub(super) fn latest(&self, count: usize) -> Vec<AgentId> {
        let reached = self.entries.iter().filter(|(_, entry)| !entry.good.is_empty());
        let mut peers: Vec<_> = reached.map(|(agent, entry)| (entry.seen, *agent)).collect();
        peers.sort_unstable_by(|a, b| b.cmp(a));
        peers.into_iter().map(|(_, agent)| agent).take(count).collect()
    }

    /// A dial of this address was answered by this peer.
    pub(super) fn reached(&mut self, agent: AgentId, address: Multiaddr, now: Timestamp) {
        let Some(entry) = self.entry(agent, now, true) else { return };
        entry.good.retain(|known| *known != address);
        entry.good.insert(0, address);
        entry.good.truncate(ADDRS_PER_PEER);
    }

    /// A connected peer claims these addresses.
    pub(super) fn claims(&mut self, agent: AgentId, addresses: Vec<Multiaddr>, now: Timestamp) {
        let Some(entry) = self.entry(agent, now, false) else { return };
        entry.claimed = addresses;
        entry.claimed.truncate(ADDRS_PER_PEER);
    }

    /// A dial of this address failed, or another peer answered it.
    pub(super) fn missed(&mut self, agent: AgentId, address: &Multiaddr) {
        if let Some(entry) = self.entries.get_mut(&agent) {
            let before = entry.good.len();
            // The last one stays: the peer may only be down for a while.
            if before > 1 {
                entry.good.retain(|known| known != address);
            }
            if entry.good.len() != before {
                self.changed.insert(agent);
            }
        }
    }

    /// Takes what has changed since the last time.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for agent in std::mem::take(&mut self.changed) {
            match self.entries.get(&agent) {
                Some(entry) => changes.put.push((agent, entry.clone())),
                None => changes.delete.push(agent),
            }
        }
        changes
    }

    fn entry(&mut self, agent: AgentId, now: Timestamp, reached: bool) -> Option<&mut Entry> {
        if !self.entries.contains_key(&agent) && !self.make_room(reached) {
            return None;
        }
        self.changed.insert(agent);
        let entry = self.entries.entry(agent).or_insert(Entry { seen: now, good: Vec::new(), claimed: Vec::new() });
        entry.seen = now;
        Some(entry)
    }

    /// Makes room for one more by forgetting the peer not seen for longest: one that we never reached, or, if all were
    /// reached and so was the new one, any.
    fn make_room(&mut self, reached: bool) -> bool {
        if self.entries.len() < BOOK_PEERS {
            return true;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| (!entry.good.is_empty(), entry.seen));
        let Some((oldest, entry)) = oldest else { return true };
        if !entry.good.is_empty() && !reached {
            return false;
        }
        let oldest = *oldest;
        self.entries.remove(&oldest);
        self.changed.insert(oldest);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn agent(number: u32) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    fn addr(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn what_answered_last_comes_first_and_claims_come_after() {
        let mut book = Book::default();
        book.claims(agent(1), vec![addr(3), addr(1)], at(1));
        book.reached(agent(1), addr(1), at(2));
        book.reached(agent(1), addr(2), at(3));
        assert_eq!(book.addresses(agent(1)), [addr(2), addr(1), addr(3)]);
        book.missed(agent(1), &addr(2));
        book.missed(agent(1), &addr(1));
        assert_eq!(book.addresses(agent(1)), [addr(1), addr(3)]);
        assert_eq!(book.addresses(agent(2)), []);
    }

    #[test]
    fn the_book_is_bounded_and_forgets_whom_it_saw_first() {
        let mut book = Book::default();
        for number in 0..BOOK_PEERS as u32 + 10 {
            book.reached(agent(number), addr(1), at(number.into()));
        }
        assert_eq!(book.entries.len(), BOOK_PEERS);
        assert_eq!(book.addresses(agent(9)), []);
        assert_eq!(book.latest(2), [agent(BOOK_PEERS as u32 + 9), agent(BOOK_PEERS as u32 + 8)]);
        for port in 0..100 {
            book.reached(agent(50), addr(port), at(9_999));
        }
        assert_eq!(book.addresses(agent(50)).len(), ADDRS_PER_PEER);
    }

    #[test]
    fn strangers_do_not_wipe_the_book() {
        let mut book = Book::default();
        for number in 0..BOOK_PEERS as u32 - 1 {
            book.reached(agent(number), addr(1), at(1));
        }
        for number in 10_000..10_100 {
            book.claims(agent(number), vec![addr(2)], at(2));
        }
        assert_eq!(book.entries.len(), BOOK_PEERS);
        assert_eq!(book.addresses(agent(0)), [addr(1)]);
        assert_eq!(book.addresses(agent(10_099)), [addr(2)]);
        book.reached(agent(20_000), addr(3), at(3));
        book.claims(agent(30_000), vec![addr(4)], at(4));
        assert_eq!(book.addresses(agent(30_000)), []);
        assert_eq!(book.latest(1), [agent(20_000)]);
    }

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = crate::runtime::Runtime::anchored(at(1));
        let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
        let mut book = Book::read(&store);
        book.reached(agent(2), addr(2), at(2));
        book.claims(agent(3), vec![addr(3)], at(3));
        let changes = book.take_changes();
        store.write(move |w| changes.write(w)).await.unwrap();
        assert!(book.take_changes().is_empty());
        assert_eq!(Book::read(&store).entries, book.entries);
    }
}
