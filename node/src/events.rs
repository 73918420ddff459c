//! One typed stream of what happens in a node. Logs, the console's progress, triggers, metrics and the simulator all
//! read it; nobody parses log lines.
//!
//! ```text
//! rooms ── emit ──> Events ──> tracing (one line each, at the event's level)
//!                         ├──> broadcast, bounded ──> Subscription*    (a slow one misses events, and is told how many)
//!                         └──> journal, bounded, in the store          (one that was away is told what came meanwhile)
//! ```
//!
//! [`Events::emit`] never waits and never fails, so a room may call it anywhere, also while it holds a lock. The stream
//! is for watching: an event may be missed, so nothing that must happen may hang on one. What must not be lost is in
//! the store.

mod journal;
mod kinds;
mod words;

use std::sync::{Arc, Mutex};

use guilder_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

use self::journal::Ring;
use crate::sync::lock;

pub use journal::{Following, Journal, Recalled};
pub use kinds::{Event, Money, Outcome, Side, SwapPurpose};
pub(crate) use kinds::{KEPT_NAMES, fault_code};
pub(crate) use words::last_letters;

/// Events that a subscriber may lag behind before it misses some. A burst of a thousand trades' steps fits; at some
/// 200 bytes each it bounds the memory to well under a megabyte.
const BACKLOG: usize = 4_096;

/// The node's event stream. Cheap to clone; every clone is the same stream.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    listeners: broadcast::Sender<Arc<Stamped>>,
    state: Mutex<State>,
    /// Wakes the journal.
    told: Notify,
}

/// Held while an event is numbered and handed on, so that all hear them in one order.
#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Once there is a journal.
    ring: Option<Ring>,
    /// Who listens to a few events alone.
    choosy: Vec<Choosy>,
}

/// Whoever waits for a few events is not woken for the others.
#[derive(Debug)]
struct Choosy {
    wanted: fn(&Event) -> bool,
    listener: broadcast::Sender<Arc<Stamped>>,
}

/// An event, numbered and timed. One flat JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stamped {
    /// Its number: higher than that of every event before it, also of former runs. Whoever was away says how far it has heard.
    pub seq: u64,
    /// When it was told.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub at: Timestamp,
    /// Milliseconds since the node began.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten, deserialize_with = "kinds::known_or_unknown")]
    pub event: Event,
}

impl Events {
    /// A stream that begins now. Needs no running runtime.
    pub fn new() -> Self {
        let (listeners, _) = broadcast::channel(BACKLOG);
        let (state, told) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { began: Instant::now(), listeners, state, told }))
    }

    /// Tells everyone who listens. Never blocks, never fails.
    pub fn emit(&self, event: Event) {
        event.log();
        let mut state = lock(&self.0.state);
        let seq = state.next;
        state.next += 1;
        let stops = matches!(event, Event::Stopping { .. });
        let is_wanted = |choosy: &Choosy| stops || (choosy.wanted)(&event);
        let is_heard = self.0.listeners.receiver_count() > 0 || state.choosy.iter().any(is_wanted);
        if state.ring.is_none() && !is_heard {
            return;
        }
        let at_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = state.ring.as_ref().map(|ring| ring.runtime.now()).unwrap_or_default();
        let event = Arc::new(Stamped { seq, at, at_ms, event });
        if let Some(ring) = &mut state.ring {
            ring.push(&event);
            self.0.told.notify_one();
        }
        // Each fails only if nobody listens.
        let _ = self.0.listeners.send(Arc::clone(&event));
        for choosy in state.choosy.iter().filter(|choosy| stops || (choosy.wanted)(&event.event)) {
            let _ = choosy.listener.send(Arc::clone(&event));
        }
    }

    /// Numbers what happens from here on, and keeps the latest of it at hand for the journal.
    fn number_from(&self, next: u64, ring: impl FnOnce(u64) -> Ring) {
        let mut state = lock(&self.0.state);
        state.next = state.next.max(next);
        state.ring = Some(ring(state.next));
    }

    /// Everything emitted from now on, until the node stops.
    pub fn subscribe(&self) -> Subscription {
        Subscription { events: self.0.listeners.subscribe(), is_over: false }
    }

    /// The same of those events alone that `wanted` says, and that the node stops: whoever waits for them sleeps through the others.
    /// For the few that listen as long as the node lives.
    pub fn subscribe_to(&self, wanted: fn(&Event) -> bool) -> Subscription {
        let (listener, events) = broadcast::channel(BACKLOG);
        let mut state = lock(&self.0.state);
        state.choosy.retain(|choosy| choosy.listener.receiver_count() > 0);
        state.choosy.push(Choosy { wanted, listener });
        Subscription { events, is_over: false }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// One listener's place in the stream.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Arc<Stamped>>,
    is_over: bool,
}

/// What a listener hears next.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The next event.
    Event(Arc<Stamped>),
    /// The listener was too slow: so many events are gone, and the next is the oldest kept.
    Missed(u64),
}

impl Subscription {
    /// Waits for the next event; `None` after the one that says that the node stops, and once it is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Heard> {
        if self.is_over {
            return None;
        }
        match self.events.recv().await {
            Ok(event) => {
                self.is_over = matches!(event.event, Event::Stopping { .. });
                Some(Heard::Event(event))
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn trouble(reason: &str) -> Event {
        Event::MintTrouble { mint: "http://127.0.0.1:3338".into(), reason: reason.into() }
    }

    #[tokio::test]
    async fn listeners_hear_what_comes_after_they_subscribed() {
        let events = Events::new();
        events.emit(trouble("unheard"));
        let mut first = events.subscribe();
        let mut second = events.clone().subscribe();
        events.emit(trouble("down"));
        for listener in [&mut first, &mut second] {
            let Some(Heard::Event(heard)) = listener.next().await else { panic!("no event") };
            assert_eq!(heard.seq, 1);
            assert!(matches!(&heard.event, Event::MintTrouble { reason, .. } if reason == "down"));
        }
        drop(events);
        assert!(first.next().await.is_none());
    }

    #[tokio::test]
    async fn that_the_node_stops_is_the_last_thing_that_is_heard() {
        let events = Events::new();
        let mut listener = events.subscribe();
        events.emit(trouble("down"));
        events.emit(Event::Stopping { reason: "SIGTERM".into() });
        events.emit(trouble("unheard"));
        assert!(matches!(listener.next().await, Some(Heard::Event(event)) if event.seq == 0));
        assert!(matches!(listener.next().await, Some(Heard::Event(event)) if event.seq == 1));
        assert!(listener.next().await.is_none());
    }

    #[tokio::test]
    async fn a_choosy_listener_is_given_what_it_wants_and_that_the_node_stops() {
        let events = Events::new();
        let mut choosy = events.subscribe_to(|event| matches!(event, Event::Funded { .. }));
        let mut all = events.subscribe();
        events.emit(trouble("down"));
        let funded = Event::Funded { mint: "m".into(), sum: Money { amount: 1, unit: "sat".into() } };
        events.emit(funded.clone());
        events.emit(Event::Stopping { reason: "SIGTERM".into() });
        assert!(matches!(choosy.next().await, Some(Heard::Event(event)) if event.seq == 1 && event.event == funded));
        assert!(matches!(choosy.next().await, Some(Heard::Event(event)) if event.seq == 2));
        assert!(choosy.next().await.is_none());
        assert!(matches!(all.next().await, Some(Heard::Event(event)) if event.seq == 0));
        drop(choosy);
        drop(events.subscribe_to(|_| true));
        assert_eq!(lock(&events.0.state).choosy.len(), 1, "those that are gone are forgotten");
    }

    #[tokio::test]
    async fn a_slow_listener_misses_events_and_is_told_how_many() {
        let events = Events::new();
        let mut slow = events.subscribe();
        for _ in 0..BACKLOG + 10 {
            events.emit(trouble("down"));
        }
        assert!(matches!(slow.next().await, Some(Heard::Missed(10))));
        assert!(matches!(slow.next().await, Some(Heard::Event(event)) if event.seq == 10));
    }
}
