//! Peers that trades run with, and peers that trades ran with, kept over restarts.
//!
//! Whoever appears under a fresh key costs nothing, so newcomers' places and rates are bounded by where they come from. Those
//! that money changed hands with are known by their key and are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use guilder_protocol::{identity::AgentId, time::Timestamp};

use super::limits::{DEALT_WITH, PROTECTED_PEERS};
use crate::{
    store::{KeyRange, Reader, Store, StoreError, Table, Write},
    sync::lock,
};

/// When a trade with each began last.
const DEALINGS: Table<Timestamp> = Table::new("network/dealings");

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Dealings(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many protections there are of each.
    protected: BTreeMap<AgentId, u32>,
    dealt: BTreeMap<AgentId, Timestamp>,
    /// Those that the store doesn't have like this yet.
    changed: BTreeSet<AgentId>,
}

/// Keeps a peer's connections, whatever their number, until it is dropped.
#[derive(Debug)]
#[must_use = "the protection ends when this is dropped"]
pub struct Protection {
    agent: AgentId,
    dealings: Arc<Dealings>,
}

impl Drop for Protection {
    fn drop(&mut self) {
        let mut inner = lock(&self.dealings.0);
        if let Some(count) = inner.protected.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                inner.protected.remove(&self.agent);
            }
        }
    }
}

impl Dealings {
    /// As they were written down. What can't be read doesn't prevent the start.
    pub(super) fn read(store: &Store) -> Self {
        let rows = store.read(|read| read.range(DEALINGS, KeyRange::all(), DEALT_WITH)).unwrap_or_else(|error| {
            tracing::warn!(%error, "the peers that we dealt with can't be read; all count as newcomers");
            Vec::new()
        });
        let dealt = rows.into_iter().filter_map(|(key, at)| Some((AgentId::from_bytes(key.try_into().ok()?), at)));
        Self(Mutex::new(Inner { dealt: dealt.collect(), ..Inner::default() }))
    }

    /// A trade with the peer begins. It is protected as long as the result lives; if too many are, it is only noted.
    pub(super) fn begin(self: &Arc<Self>, agent: AgentId, now: Timestamp) -> Option<Protection> {
        let mut inner = lock(&self.0);
        inner.note(agent, now);
        if inner.protected.len() >= PROTECTED_PEERS && !inner.protected.contains_key(&agent) {
            return None;
        }
        *inner.protected.entry(agent).or_default() += 1;
        Some(Protection { agent, dealings: Arc::clone(self) })
    }

    pub(super) fn is_protected(&self, agent: AgentId) -> bool {
        lock(&self.0).protected.contains_key(&agent)
    }

    /// Whether a trade with the peer runs or ran.
    pub(super) fn has(&self, agent: AgentId) -> bool {
        lock(&self.0).dealt.contains_key(&agent)
    }

    /// The peer cheated: it counts as a newcomer again.
    pub(super) fn forget(&self, agent: AgentId) {
        let mut inner = lock(&self.0);
        if inner.dealt.remove(&agent).is_some() {
            inner.changed.insert(agent);
        }
    }

    /// Takes what has changed since the last time: whom to write down with which time, and whom to strike.
    pub(super) fn take_changes(&self) -> Vec<(AgentId, Option<Timestamp>)> {
        let mut inner = lock(&self.0);
        let changed = std::mem::take(&mut inner.changed);
        changed.into_iter().map(|agent| (agent, inner.dealt.get(&agent).copied())).collect()
    }
}

impl Inner {
    fn note(&mut self, agent: AgentId, now: Timestamp) {
        if self.dealt.len() >= DEALT_WITH && !self.dealt.contains_key(&agent) {
            let oldest = self.dealt.iter().min_by_key(|(agent, at)| (**at, **agent)).map(|(agent, _)| *agent);
            if let Some(oldest) = oldest {
                self.dealt.remove(&oldest);
                self.changed.insert(oldest);
            }
        }
        // To the hour is exact enough, and a busy peer isn't written down at each trade.
        if self.dealt.get(&agent).is_none_or(|at| now.since(*at) > 3_600) {
            self.dealt.insert(agent, now);
            self.changed.insert(agent);
        }
    }
}

/// Writes changes down.
pub(super) fn write(write: &mut Write<'_>, changes: &[(AgentId, Option<Timestamp>)]) -> Result<(), StoreError> {
    changes.iter().try_for_each(|(agent, at)| match at {
        Some(at) => write.put(DEALINGS, agent.as_bytes(), at),
        None => write.delete(DEALINGS, agent.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn agent(number: usize) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn a_peer_is_protected_until_the_last_protection_is_dropped_and_known_afterwards() {
        let dealings = Arc::new(Dealings::default());
        let (first, second) = (dealings.begin(agent(1), at(0)), dealings.begin(agent(1), at(0)));
        drop(first);
        assert!(dealings.is_protected(agent(1)));
        drop(second);
        assert!(!dealings.is_protected(agent(1)) && dealings.has(agent(1)));
        dealings.forget(agent(1));
        assert!(!dealings.has(agent(1)));
    }

    #[test]
    fn protections_and_memories_are_bounded() {
        let dealings = Arc::new(Dealings::default());
        let held: Vec<_> = (0..PROTECTED_PEERS).map(|number| dealings.begin(agent(number), at(0)).unwrap()).collect();
        assert!(dealings.begin(agent(PROTECTED_PEERS), at(0)).is_none());
        assert!(dealings.begin(agent(0), at(0)).is_some());
        drop(held);
        for number in 0..=DEALT_WITH {
            drop(dealings.begin(agent(number), at(number as u64)));
        }
        assert_eq!(lock(&dealings.0).dealt.len(), DEALT_WITH);
        assert!(dealings.has(agent(DEALT_WITH)));
    }

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = crate::runtime::Runtime::anchored(at(0));
        let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
        let dealings = Arc::new(Dealings::read(&store));
        drop((dealings.begin(agent(1), at(1)), dealings.begin(agent(2), at(2))));
        for cheated in [false, true] {
            if cheated {
                dealings.forget(agent(1));
            }
            let changes = dealings.take_changes();
            store.write(move |w| write(w, &changes)).await.unwrap();
            let again = Dealings::read(&store);
            assert_eq!((again.has(agent(1)), again.has(agent(2))), (!cheated, true));
        }
    }
}
