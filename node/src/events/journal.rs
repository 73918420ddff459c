//! The journal: what happened, kept in the store within bounds, so that a listener that was away misses nothing that is kept.
//!
//! ```text
//! emit ──> numbered, into the ring of the latest ──> … a moment ──> one row for many, behind what is committed anyway
//! a listener that says how far it has heard ──> rows after that ──> the ring ──> what happens from now on
//! ```
//!
//! **Numbers** go on where they stopped, also after a restart, and are never used twice: each start begins beyond what the run
//! before could have given out. A row says from which number on it is whole; where the one before it ends earlier, something is missing,
//! and a listener is told.
//!
//! **What a kill may lose**: what was told within the last moment ([`JOURNAL_PAUSE`] and [`STORE_BEHIND`](crate::limits::STORE_BEHIND)).
//! It costs no transaction of its own while others are made. So nothing that must happen hangs on an event: ends, runs and approvals are
//! written down by themselves, and events only wake.
//!
//! **Left out** ([`is_kept`]): what strangers cause at will, so that none of them can push out what matters; and the progress of work,
//! which says nothing once the work is over.
//!
//! **Bounded**: events and bytes that are kept ([`JOURNAL_EVENTS`], [`JOURNAL_BYTES`]); the ring ([`JOURNAL_RING`]).

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard},
};

use guilder_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Event, Events, Heard, Side, Stamped, State, Subscription};
use crate::{
    limits::{JOURNAL_BYTES, JOURNAL_EVENTS, JOURNAL_PAUSE, JOURNAL_RING},
    runtime::{Job, Runtime},
    store::{Key, KeyRange, Reader, Store, StoreError, Table, Write},
    sync::lock,
};

/// By the number that it reaches: a stretch of events.
const ROWS: Table<Stretch> = Table::new("events/journal");
/// One row: how much is kept, and which number comes next.
const BOOKS: Table<Books> = Table::new("events/books");
const BOOKS_KEY: &[u8] = b"books";

/// Numbers that a run may give out and lose in a kill.
const RESERVED: u64 = 1 << 20;
/// Rows that one writing drops at most.
const DROPPED_AT_ONCE: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Books {
    events: u64,
    bytes: u64,
    /// No run has given out this number, or a higher one.
    next: u64,
}

/// What happened from one number to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stretch {
    /// Nothing is missing from here on.
    from: u64,
    events: Vec<Kept>,
}

/// An event as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    seq: u64,
    at: Timestamp,
    at_ms: u64,
    /// As JSON, which later versions read as what they know.
    event: String,
}

/// The latest events, whether they are on disk or not.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Stamped>>,
    /// The lowest number from which on nothing is missing in `events`.
    whole_from: u64,
    /// What is below went to the store.
    handed_over: u64,
    pub(super) runtime: Runtime,
}

impl Ring {
    pub(super) fn push(&mut self, event: &Arc<Stamped>) {
        if !is_kept(&event.event) {
            return;
        }
        if self.events.len() >= JOURNAL_RING {
            self.whole_from = self.events.pop_front().map_or(self.whole_from, |oldest| oldest.seq + 1);
        }
        self.events.push_back(Arc::clone(event));
    }
}

/// Whether an event is kept.
fn is_kept(event: &Event) -> bool {
    match event {
        Event::Progress { .. } | Event::Weighed { .. } | Event::SellerFound { .. } => false,
        Event::PeerConnected { .. } | Event::PeerDisconnected { .. } | Event::PeerPenalized { .. } => false,
        Event::AdvertSeen { .. } | Event::AdvertWithdrawn { .. } | Event::Revoked { .. } => false,
        Event::Asked { side, .. } | Event::Offered { side, .. } | Event::Declined { side, .. } => *side == Side::Buyer,
        _ => true,
    }
}

/// What a listener that was away is told.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// This happened.
    Event(Arc<Stamped>),
    /// Of what came before this number something is no longer kept, or was lost when the node was killed.
    Gap {
        /// Which.
        until: u64,
    },
}

/// What a listener that keeps its place comes to next.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    /// It, if there is something.
    pub(crate) found: Option<Recalled>,
    /// There was nothing else for the listener up to this number, which is that of what was found.
    pub(crate) reached: u64,
}

/// The journal of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    events: Events,
    store: Store,
    runtime: Runtime,
    /// Held from when a stretch is taken until it is handed to the store, so that what is handed over later is written no sooner.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Journal {
    /// Begins to keep what happens. What was told before isn't kept.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open(events: Events, store: Store, runtime: Runtime) -> Result<Self, StoreError> {
        let next = store
            .write(|w| {
                let books = w.get(BOOKS, BOOKS_KEY)?.unwrap_or_default();
                // The first of all is 1, so that whoever has heard 0 has heard nothing.
                let next = books.next.max(1);
                w.put(BOOKS, BOOKS_KEY, &Books { next: next.saturating_add(RESERVED), ..books })?;
                Ok(next)
            })
            .await?;
        events.number_from(next, |from| Ring {
            events: VecDeque::new(),
            whole_from: from,
            handed_over: from,
            runtime: runtime.clone(),
        });
        let journal = Self { events, store, runtime, writing: Arc::default() };
        journal.runtime.spawn("events/journal", journal.clone().run()).detach();
        Ok(journal)
    }

    async fn run(self) {
        loop {
            self.events.0.told.notified().await;
            tokio::time::sleep(JOURNAL_PAUSE).await;
            let _one_at_a_time = self.writing.lock().await;
            let Some((stretch, until)) = self.take() else { continue };
            let writing = move |w: &mut Write<'_>| append(w, &stretch, until, until.saturating_add(RESERVED));
            if let Err(error) = self.store.behind(writing).await {
                tracing::debug!(%error, "what happened is not kept");
            }
        }
    }

    /// Writes what isn't written yet, and that nothing is lost: before a clean stop.
    pub async fn close(&self) {
        let _one_at_a_time = self.writing.lock().await;
        let taken = self.take_even_if_empty();
        let next = lock(&self.events.0.state).next;
        let closing = move |w: &mut Write<'_>| {
            if let Some((stretch, until)) = &taken {
                append(w, stretch, *until, *until)?;
            }
            let books = w.get(BOOKS, BOOKS_KEY)?.unwrap_or_default();
            w.put(BOOKS, BOOKS_KEY, &Books { next, ..books })
        };
        if let Err(error) = self.store.write(closing).await {
            tracing::debug!(%error, "what happened last is not kept");
        }
    }

    /// Has all up to a number on disk now, and not in a moment: for what is said of it before.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn keep(&self, number: u64) -> Result<(), StoreError> {
        let beyond = KeyRange::between(&Key::of(number.saturating_add(1)), &Key::of(u64::MAX));
        if !self.store.read(|r| r.range(ROWS, beyond, 1))?.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.writing.lock().await;
        // It may be on its way already: then it is written with this.
        let taken = self.take();
        let writing = move |w: &mut Write<'_>| match &taken {
            Some((stretch, until)) => append(w, stretch, *until, until.saturating_add(RESERVED)),
            None => Ok(()),
        };
        self.store.write(writing).await
    }

    /// What isn't handed over to the store yet, and the number that it reaches.
    fn take(&self) -> Option<(Stretch, u64)> {
        let (stretch, until, mut state) = self.new_stretch()?;
        if stretch.events.is_empty() {
            return None;
        }
        state.ring.as_mut()?.handed_over = until;
        Some((stretch, until))
    }

    /// The same, though nothing of it is kept: that nothing is missing up to here.
    fn take_even_if_empty(&self) -> Option<(Stretch, u64)> {
        let (stretch, until, mut state) = self.new_stretch()?;
        state.ring.as_mut()?.handed_over = until;
        (stretch.from < until).then_some((stretch, until))
    }

    fn new_stretch(&self) -> Option<(Stretch, u64, MutexGuard<'_, State>)> {
        let state = lock(&self.events.0.state);
        let ring = state.ring.as_ref()?;
        let from = ring.handed_over.max(ring.whole_from);
        let new = ring.events.iter().filter(|event| event.seq >= from);
        let events = new.filter_map(|event| Kept::of(event)).collect();
        Some((Stretch { from, events }, state.next, state))
    }

    /// The number of what happened last.
    pub(crate) fn latest(&self) -> u64 {
        lock(&self.events.0.state).next.saturating_sub(1)
    }

    /// The first after a number that a listener wants, or the first gap: for one that keeps its place in the store and comes back for
    /// more. Reads a few rows at a time, however far behind it is.
    ///
    /// # Errors
    /// If the store can't be read.
    pub(crate) async fn next_after(
        &self,
        heard: u64,
        wants: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<Next, StoreError> {
        let (store, events) = (self.store.clone(), self.events.clone());
        self.runtime.offload(Job::Disk, move || next_after(&store, &events, heard.saturating_add(1), wants)).await
    }

    /// All that is kept of what came after a number.
    ///
    /// # Errors
    /// If the store can't be read.
    pub(crate) async fn after(&self, heard: u64) -> Result<Vec<Recalled>, StoreError> {
        let wanted = heard.saturating_add(1);
        let (store, events) = (self.store.clone(), self.events.clone());
        self.runtime.offload(Job::Disk, move || recall(&store, &events, wanted)).await
    }

    /// What came after a number, and then what happens. Ends with the node.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn follow(&self, heard: u64) -> Result<Following, StoreError> {
        // First, so that nothing falls between.
        let live = self.events.subscribe();
        let next = lock(&self.events.0.state).next;
        if heard >= next {
            // It heard that from a node whose home was put back since: what it knows is of another run of numbers.
            let waiting = VecDeque::from([Recalled::Gap { until: next }]);
            return Ok(Following { journal: self.clone(), live, heard: next.saturating_sub(1), waiting });
        }
        let waiting = self.after(heard).await?.into();
        Ok(Following { journal: self.clone(), live, heard, waiting })
    }
}

/// A listener that goes on where it stopped.
#[derive(Debug)]
pub struct Following {
    journal: Journal,
    live: Subscription,
    heard: u64,
    waiting: VecDeque<Recalled>,
}

impl Following {
    /// What comes next; `None` once the node is gone. A listener that is slow is given what it missed from the journal.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn next(&mut self) -> Result<Option<Recalled>, StoreError> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                if let Recalled::Event(event) = &next {
                    self.heard = self.heard.max(event.seq);
                }
                return Ok(Some(next));
            }
            match self.live.next().await {
                None => return Ok(None),
                Some(Heard::Event(event)) if event.seq <= self.heard => {}
                Some(Heard::Event(event)) => self.waiting.push_back(Recalled::Event(event)),
                Some(Heard::Missed(_)) => self.waiting = self.journal.after(self.heard).await?.into(),
            }
        }
    }
}

impl Kept {
    fn of(event: &Stamped) -> Option<Self> {
        let Stamped { seq, at, at_ms, event } = event;
        Some(Self { seq: *seq, at: *at, at_ms: *at_ms, event: serde_json::to_string(event).ok()? })
    }

    fn stamped(self) -> Stamped {
        let Self { seq, at, at_ms, event } = self;
        Stamped { seq, at, at_ms, event: serde_json::from_str(&event).unwrap_or(Event::Unknown) }
    }
}

/// Adds a stretch, and drops the oldest that there is no room for.
fn append(w: &mut Write<'_>, stretch: &Stretch, until: u64, next: u64) -> Result<(), StoreError> {
    let mut books = w.get(BOOKS, BOOKS_KEY)?.unwrap_or_default();
    books.events += stretch.events.len() as u64;
    books.bytes += bytes(stretch);
    books.next = books.next.max(next);
    w.put(ROWS, Key::of(until), stretch)?;
    for _ in 0..DROPPED_AT_ONCE {
        if books.events <= JOURNAL_EVENTS && books.bytes <= JOURNAL_BYTES {
            break;
        }
        let Some((key, oldest)) = w.range(ROWS, KeyRange::all(), 1)?.into_iter().next() else { break };
        books.events = books.events.saturating_sub(oldest.events.len() as u64);
        books.bytes = books.bytes.saturating_sub(bytes(&oldest));
        w.delete(ROWS, key)?;
    }
    w.put(BOOKS, BOOKS_KEY, &books)
}

fn bytes(stretch: &Stretch) -> u64 {
    stretch.events.iter().map(|kept| kept.event.len() as u64).sum()
}

/// Rows that are read at once for a listener that keeps its place.
const ROWS_AT_ONCE: usize = 16;

fn next_after(store: &Store, events: &Events, wanted: u64, wants: impl Fn(&Event) -> bool) -> Result<Next, StoreError> {
    let found = |recalled, reached| Ok(Next { found: Some(recalled), reached });
    let (mut reached, mut from) = (wanted, wanted);
    loop {
        let range = KeyRange::between(&Key::of(from), &Key::of(u64::MAX));
        let rows = store.read(|r| r.range(ROWS, range, ROWS_AT_ONCE))?;
        let is_last = rows.len() < ROWS_AT_ONCE;
        for (key, stretch) in rows {
            let Some(until) = key.try_into().ok().map(u64::from_be_bytes) else { continue };
            if stretch.from > reached {
                return found(Recalled::Gap { until: stretch.from }, stretch.from - 1);
            }
            for kept in stretch.events.into_iter().filter(|kept| kept.seq >= wanted) {
                let event = kept.stamped();
                if wants(&event.event) {
                    let seq = event.seq;
                    return found(Recalled::Event(Arc::new(event)), seq);
                }
            }
            reached = reached.max(until);
            from = until.saturating_add(1);
        }
        if is_last {
            break;
        }
    }
    let state = lock(&events.0.state);
    if let Some(ring) = &state.ring {
        if ring.whole_from > reached && state.next > reached {
            return found(Recalled::Gap { until: ring.whole_from }, ring.whole_from - 1);
        }
        for event in ring.events.iter().filter(|event| event.seq >= reached) {
            if wants(&event.event) {
                return found(Recalled::Event(Arc::clone(event)), event.seq);
            }
        }
        reached = reached.max(state.next);
    }
    Ok(Next { found: None, reached: reached.saturating_sub(1) })
}

/// What is kept from a number on: rows first, then what isn't in them yet.
fn recall(store: &Store, events: &Events, wanted: u64) -> Result<Vec<Recalled>, StoreError> {
    let from = KeyRange::between(&Key::of(wanted), &Key::of(u64::MAX));
    let rows = store.read(|r| r.range(ROWS, from, usize::MAX))?;
    let (mut recalled, mut reached) = (Vec::new(), wanted);
    for (key, stretch) in rows {
        let Some(until) = key.try_into().ok().map(u64::from_be_bytes) else { continue };
        if stretch.from > reached {
            recalled.push(Recalled::Gap { until: stretch.from });
        }
        let new = stretch.events.into_iter().filter(|kept| kept.seq >= wanted);
        recalled.extend(new.map(|kept| Recalled::Event(Arc::new(kept.stamped()))));
        reached = reached.max(until);
    }
    let state = lock(&events.0.state);
    if let Some(ring) = &state.ring {
        if ring.whole_from > reached && state.next > reached {
            recalled.push(Recalled::Gap { until: ring.whole_from });
        }
        let new = ring.events.iter().filter(|event| event.seq >= reached);
        recalled.extend(new.map(|event| Recalled::Event(Arc::clone(event))));
    }
    Ok(recalled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::testing::CrashBackend;

    struct Run {
        runtime: Runtime,
        store: Store,
        events: Events,
        journal: Journal,
    }

    async fn run(disk: &CrashBackend) -> Run {
        let runtime = Runtime::anchored(Timestamp::from_secs(1_000_000));
        let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
        let events = Events::new();
        let journal = Journal::open(events.clone(), store.clone(), runtime.clone()).await.unwrap();
        Run { runtime, store, events, journal }
    }

    impl Run {
        fn tell(&self, reason: &str) {
            self.events.emit(Event::Stopping { reason: reason.into() });
        }

        async fn written(&self) {
            tokio::time::sleep(JOURNAL_PAUSE + crate::limits::STORE_BEHIND * 2).await;
        }

        async fn killed(self, disk: &CrashBackend) {
            disk.crash();
            self.runtime.shutdown().await;
        }

        async fn stopped(self) {
            self.journal.close().await;
            self.store.close().await;
            self.runtime.shutdown().await;
        }
    }

    /// What is told from a number on, up to now: events by their reasons, gaps as `-`; and the last number.
    async fn told(run: &Run, heard: u64) -> (Vec<String>, u64) {
        let (mut words, mut last) = (Vec::new(), heard);
        for recalled in run.journal.after(heard).await.unwrap() {
            match recalled {
                Recalled::Event(event) => {
                    last = event.seq;
                    let Event::Stopping { reason } = &event.event else { panic!("{event:?}") };
                    words.push(reason.clone());
                }
                Recalled::Gap { until } => {
                    assert!(until > last);
                    words.push("-".into());
                }
            }
        }
        (words, last)
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_was_away_over_a_clean_stop_misses_nothing() {
        let disk = CrashBackend::new();
        let first = run(&disk).await;
        first.tell("a");
        first.written().await;
        first.tell("b");
        let (words, heard) = told(&first, 0).await;
        assert_eq!(words, ["a", "b"]);
        first.tell("c");
        first.stopped().await;
        let second = run(&disk).await;
        second.tell("d");
        assert_eq!(told(&second, heard).await.0, ["c", "d"]);
        second.written().await;
        assert_eq!(told(&second, heard).await.0, ["c", "d"], "the same from the disk");
        let mut following = second.journal.follow(heard).await.unwrap();
        second.tell("e");
        for word in ["c", "d", "e"] {
            let Some(Recalled::Event(event)) = following.next().await.unwrap() else { panic!("no event") };
            assert!(matches!(&event.event, Event::Stopping { reason } if reason == word));
            assert!(event.at >= Timestamp::from_secs(1_000_000));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_kill_numbers_go_on_beyond_all_that_were_told_and_what_is_lost_is_said_to_be() {
        let disk = CrashBackend::new();
        let first = run(&disk).await;
        for word in ["a", "b"] {
            first.tell(word);
        }
        first.written().await;
        first.tell("lost");
        let (_, heard) = told(&first, 0).await;
        first.killed(&disk).await;
        let second = run(&disk).await;
        second.tell("c");
        second.written().await;
        let (words, last) = told(&second, heard).await;
        assert_eq!(words, ["-", "c"]);
        assert!(last > heard);
        assert_eq!(told(&second, 0).await.0, ["a", "b", "-", "c"]);
        assert_eq!(told(&second, last).await.0, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_give_way_within_bounds_and_a_listener_hears_that_they_did() {
        let disk = CrashBackend::new();
        let run = run(&disk).await;
        for number in 0..JOURNAL_EVENTS * 2 {
            run.tell(&number.to_string());
            if number % 500 == 0 {
                run.written().await;
            }
        }
        run.written().await;
        let books = run.store.read(|r| r.get(BOOKS, BOOKS_KEY)).unwrap().unwrap();
        assert!(books.events <= JOURNAL_EVENTS && books.events > JOURNAL_EVENTS / 2, "{books:?}");
        let (words, last) = told(&run, 1).await;
        assert_eq!((words[0].as_str(), last), ("-", JOURNAL_EVENTS * 2));
        assert_eq!(words.len() as u64 - 1, books.events);
        assert!(
            words[1..].windows(2).all(|pair| pair[0].parse::<u64>().unwrap() + 1 == pair[1].parse::<u64>().unwrap())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_costs_no_transaction_of_its_own_while_others_are_made() {
        let run = run(&CrashBackend::new()).await;
        const ROW: Table<u64> = Table::new("test/row");
        let before = run.store.commits();
        for number in 0..40_u64 {
            run.tell("a");
            run.store.write(move |w| w.put(ROW, b"row", &number)).await.unwrap();
            tokio::time::sleep(JOURNAL_PAUSE / 2).await;
        }
        assert_eq!(run.store.commits() - before, 40);
        assert!(told(&run, 0).await.0.len() > 30);
    }
}
