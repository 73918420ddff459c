//! The one task that takes events out of the heap, in order, when their time has come.

use std::{
    cmp::Ordering,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use libp2p::core::{Multiaddr, multiaddr::Protocol};
use tokio::time::Sleep;

use super::{Dialing, Fabric, FabricStream, HostId, Pipe, lock};

pub(super) struct Event {
    pub(super) at_us: u64,
    pub(super) sequence: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// Bytes or the end have arrived.
    Deliver(Arc<Mutex<Pipe>>),
    /// A dial has reached its destination.
    Knock(Arc<Mutex<Dialing>>),
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
        What::Knock(dial) => knock(fabric, dial),
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
        if state.is_cut(pipe.from, pipe.to) {
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

/// A SYN arrives: at a listener, at a host where none is, or nowhere, and then nobody answers.
fn knock(fabric: &Fabric, dial: Arc<Mutex<Dialing>>) {
    let (from, port, to) = {
        let dial = lock(&dial);
        (dial.from, dial.source_port, dial.to)
    };
    let (listener, host) = {
        let state = fabric.lock();
        (state.listeners.get(&to).cloned(), state.by_ip.get(&to.0).copied())
    };
    let Some(host) = host.filter(|host| !fabric.lock().is_cut(from, *host)) else { return knock_again(fabric, dial) };
    let result = match listener {
        Some(listener) => {
            let (near, far) = FabricStream::pair(fabric, from, host);
            let source = Multiaddr::empty().with(Protocol::Ip4(from.ip())).with(Protocol::Tcp(port));
            lock(&listener).incoming(far, source);
            fabric.lock().traffic.accepted += 1;
            Ok(near)
        }
        None => {
            fabric.lock().traffic.refused += 1;
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    };
    lock(&dial).result = Some(result);
    send_back(fabric, host, from, dial);
}

/// A SYN was lost: the next follows, as long as somebody waits for the answer.
fn knock_again(fabric: &Fabric, dial: Arc<Mutex<Dialing>>) {
    let awaited = Arc::strong_count(&dial) > 1;
    let wait = lock(&dial).next_try_us().filter(|_| awaited);
    if let Some(wait) = wait {
        let mut state = fabric.lock();
        let at = state.now_us() + wait;
        state.push(at, What::Knock(dial));
    }
}

fn send_back(fabric: &Fabric, host: HostId, from: HostId, dial: Arc<Mutex<Dialing>>) {
    let mut state = fabric.lock();
    if state.is_cut(host, from) {
        return;
    }
    let base = state.base_us(host, from);
    let at = state.now_us() + state.delay_us(base);
    state.push(at, What::Answer(dial));
}
