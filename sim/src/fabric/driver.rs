//! The one task that takes events out of the heap, in order, when their time has come.

use std::{
    cmp::Ordering,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;

use super::{Dialing, Fabric, Pipe, lock, syn::syn};

pub(super) struct Event {
    pub(super) at_us: u64,
    pub(super) sequence: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// Bytes or the end have arrived.
    Deliver(Arc<Mutex<Pipe>>),
    /// A dial has reached its destination.
    Syn(Arc<Mutex<Dialing>>),
    /// Its answer has come back.
    Answer(Arc<Mutex<Dialing>>),
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

/// See [`Fabric::driver`]. Never completes.
pub struct Driver {
    fabric: Fabric,
    sleep: Pin<Box<Sleep>>,
}

/// How long it sleeps when nothing is under way.
const IDLE: Duration = Duration::from_secs(3_600);

impl Driver {
    pub(super) fn new(fabric: Fabric) -> Self {
        Self { fabric, sleep: Box::pin(tokio::time::sleep(IDLE)) }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let fabric = self.fabric.clone();
            let due = {
                let mut state = fabric.lock();
                let now = state.now_us();
                let mut due = Vec::new();
                while state.heap.peek().is_some_and(|event| event.0.at_us <= now) {
                    due.extend(state.heap.pop());
                }
                state.traffic.events += due.len() as u64;
                if due.is_empty() {
                    state.armed_us = state.heap.peek().map_or(u64::MAX, |event| event.0.at_us);
                    state.driver = Some(context.waker().clone());
                    let wake = match state.armed_us {
                        u64::MAX => state.start + Duration::from_micros(now) + IDLE,
                        armed => state.start + Duration::from_micros(armed),
                    };
                    drop(state);
                    self.sleep.as_mut().reset(wake);
                    if self.sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
                due
            };
            for event in due {
                fire(&fabric, event.0.at_us, event.0.what);
            }
        }
    }
}

fn fire(fabric: &Fabric, at_us: u64, what: What) {
    match what {
        What::Deliver(shared) => deliver(fabric, at_us, shared),
        What::Syn(dial) => syn(fabric, dial),
        What::Answer(dial) => lock(&dial).answer(),
    }
}

fn deliver(fabric: &Fabric, at_us: u64, shared: Arc<Mutex<Pipe>>) {
    let reader = {
        let mut pipe = lock(&shared);
        if pipe.is_dead() {
            return;
        }
        let mut state = fabric.lock();
        if state.is_cut(pipe.from, pipe.to) || !state.pass(&pipe.flows) {
            match pipe.stall(state.now_us()) {
                Some(again) => state.push(again, What::Deliver(Arc::clone(&shared))),
                None => state.traffic.resets += 1,
            }
            return;
        }
        drop(state);
        pipe.arrive(at_us)
    };
    if let Some(reader) = reader {
        reader.wake();
    }
}
