//! Places for inbound streams of one protocol, of all peers together.
//!
//! ```text
//!   opened ─▶ place ── all taken: of whoever holds most, the one that said nothing yet goes, else the one idle for longest
//!               └─▶ served until it ends or has to go
//! ```
//!
//! A stream costs its opener nothing, so a newcomer is never turned away because places are taken: somebody else gives way.
//! Peers that we dealt with are counted each for itself, strangers by the network that they come from, as a key costs nothing
//! either. Whoever uses its streams and holds few of them keeps them, whatever others do.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use guilder_protocol::identity::AgentId;
use tokio::sync::oneshot;

use super::addrs::Prefix;
use crate::sync::lock;

/// Whose place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A peer that we dealt with.
    Known(AgentId),
    /// Strangers from one network.
    Strangers(Prefix),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
    /// Counts bytes' comings and goings on all streams, so that it says which was last in use.
    uses: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    /// Oldest first.
    all: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    /// The count at its last use; 0 if it wasn't used yet.
    used: Arc<AtomicU64>,
    evict: oneshot::Sender<()>,
}

/// A stream's place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    places: Arc<Places>,
    used: Arc<AtomicU64>,
}

/// Tells that a stream has to go.
#[derive(Debug)]
pub(super) struct Eviction(oneshot::Receiver<()>);

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), uses: AtomicU64::new(0) })
    }

    /// A place for a new stream; if all are taken, another stream loses its own.
    pub(super) fn take(self: &Arc<Self>, holder: Holder) -> (Place, Eviction) {
        let mut taken = lock(&self.taken);
        if taken.all.len() >= self.most {
            taken.evict();
        }
        taken.last += 1;
        let (id, used) = (taken.last, Arc::<AtomicU64>::default());
        let (evict, evicted) = oneshot::channel();
        taken.all.insert(id, Entry { holder, used: Arc::clone(&used), evict });
        (Place { id, places: Arc::clone(self), used }, Eviction(evicted))
    }
}

impl Taken {
    /// The place is free at once; whoever serves the stream lets go of it when it hears of it.
    fn evict(&mut self) {
        let mut counts = BTreeMap::<Holder, usize>::new();
        for entry in self.all.values() {
            *counts.entry(entry.holder).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(holder, _)| holder);
        let theirs = self.all.iter().filter(|(_, entry)| Some(entry.holder) == most);
        let idlest = theirs.min_by_key(|(id, entry)| (entry.used.load(Ordering::Relaxed), **id)).map(|(id, _)| *id);
        if let Some(entry) = idlest.and_then(|idlest| self.all.remove(&idlest)) {
            // Fails if the stream is gone already.
            let _ = entry.evict.send(());
        }
    }
}

impl Place {
    /// Bytes came or went.
    pub(super) fn touch(&self) {
        let count = self.places.uses.fetch_add(1, Ordering::Relaxed) + 1;
        self.used.store(count, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.taken).all.remove(&self.id);
    }
}

impl Eviction {
    /// Returns when the stream has to go; never, if it ends by itself. Cancel-safe.
    pub(super) async fn wait(&mut self) {
        if (&mut self.0).await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MOST: usize = 10;

    fn strangers(network: u8) -> Holder {
        Holder::Strangers(Prefix::V4([192, 0, network]))
    }

    fn is_evicted((_, eviction): &mut (Place, Eviction)) -> bool {
        eviction.wait().now_or_never().is_some()
    }

    #[test]
    fn given_a_flood_of_streams_from_one_network_its_silent_ones_go_first_and_then_its_idlest() {
        let places = Places::new(MOST);
        let mut known = places.take(Holder::Known(AgentId::from_bytes([1; 32])));
        let mut other = places.take(strangers(2));
        let mut flood: Vec<_> = (2..MOST).map(|_| places.take(strangers(1))).collect();
        flood[0].0.touch();
        flood[1].0.touch();
        flood[0].0.touch();
        let mut evicted = Vec::new();
        for _ in 0..MOST - 2 {
            flood.push(places.take(strangers(1)));
            flood.last().inspect(|(place, _)| place.touch());
            let gone = flood.iter_mut().position(|stream| !evicted.contains(&stream.0.id) && is_evicted(stream));
            evicted.extend(gone.map(|gone| flood[gone].0.id));
        }
        let expected: Vec<_> = [5, 6, 7, 8, 9, 10, 4, 3].into();
        assert_eq!(evicted, expected, "the silent ones, the idlest of those in use last");
        assert!(!is_evicted(&mut known) && !is_evicted(&mut other));
        assert_eq!(lock(&places.taken).all.len(), MOST);
    }

    #[test]
    fn given_many_networks_a_stranger_and_a_peer_that_we_dealt_with_get_a_place_and_keep_it() {
        let places = Places::new(MOST);
        let mut crowd: Vec<_> = (0..MOST).map(|number| places.take(strangers(number as u8 / 2))).collect();
        let mut known = places.take(Holder::Known(AgentId::from_bytes([1; 32])));
        let mut stranger = places.take(strangers(99));
        for number in 0..3 * MOST {
            crowd.push(places.take(strangers(number as u8 % 4)));
        }
        assert!(!is_evicted(&mut known) && !is_evicted(&mut stranger));
    }

    #[test]
    fn a_place_is_free_when_its_stream_is_dropped_and_nobody_is_told_to_go() {
        let places = Places::new(MOST);
        for _ in 0..3 * MOST {
            let (place, mut eviction) = places.take(strangers(1));
            drop(place);
            assert!(eviction.wait().now_or_never().is_none());
        }
        assert!(lock(&places.taken).all.is_empty());
    }
}
