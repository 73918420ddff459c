//! How much of requests is held at once, however they come.
//!
//! ```text
//!   a body is announced ─▶ small: read ─────────────────────────────────────────────▶ at work ─▶ answered
//!                      └─▶ large: room in the budget? ─▶ read ─▶ whole ─────────────▶
//!                               └ no: the one longest under way gives way, once it had its time
//! ```
//!
//! A body is held from its first byte until its request is answered. Whoever sends one slowly costs as much memory as
//! whoever sends it at once, and for longer: so no slow one keeps others out, and those that wait go in the order in which
//! they came.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::limits::{BODIES, BODY_TIME, SMALL_BODY};
use crate::sync::lock;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// Held by whoever waits for room, one after the other.
    door: tokio::sync::Mutex<()>,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    bytes: usize,
    /// Oldest first.
    all: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    bytes: usize,
    /// From when on it may have to go; never, once it is whole.
    until: Option<Instant>,
    evict: Option<oneshot::Sender<()>>,
}

/// The room of one body, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    /// None for a small one.
    id: Option<u64>,
    bodies: Arc<Bodies>,
    evicted: Option<oneshot::Receiver<()>>,
}

impl Bodies {
    /// Room for a body of so many bytes, as soon as there is some. Cancel-safe.
    pub(super) async fn admit(self: &Arc<Self>, bytes: usize) -> Room {
        if bytes <= SMALL_BODY {
            return Room { id: None, bodies: Arc::clone(self), evicted: None };
        }
        let _next = self.door.lock().await;
        loop {
            let taken = lock(&self.held).take(bytes, Instant::now());
            match taken {
                Ok((id, evicted)) => return Room { id: Some(id), bodies: Arc::clone(self), evicted: Some(evicted) },
                Err(Some(earliest)) => tokio::select! {
                    biased;
                    () = self.freed.notified() => {}
                    () = sleep_until(earliest) => {}
                },
                Err(None) => self.freed.notified().await,
            }
        }
    }
}

impl Held {
    /// Takes room; if there is none, says from when on somebody may have to give way.
    fn take(&mut self, bytes: usize, now: Instant) -> Result<(u64, oneshot::Receiver<()>), Option<Instant>> {
        while self.bytes + bytes > BODIES {
            let oldest = self.all.iter().find_map(|(id, entry)| Some((*id, entry.until?)));
            let (oldest, until) = oldest.ok_or(None)?;
            if until > now {
                return Err(Some(until));
            }
            self.remove(oldest);
        }
        self.last += 1;
        self.bytes += bytes;
        let (evict, evicted) = oneshot::channel();
        self.all.insert(self.last, Entry { bytes, until: Some(now + BODY_TIME), evict: Some(evict) });
        Ok((self.last, evicted))
    }

    fn remove(&mut self, id: u64) {
        if let Some(entry) = self.all.remove(&id) {
            self.bytes -= entry.bytes;
            if let Some(evict) = entry.evict {
                // Fails if its reader is gone.
                let _ = evict.send(());
            }
        }
    }
}

impl Room {
    /// Reads what the room is for, unless it has to give way; none then. Once it is read, it stays.
    pub(super) async fn fill<T>(&mut self, read: impl Future<Output = T>) -> Option<T> {
        let (Some(id), Some(evicted)) = (self.id, &mut self.evicted) else { return Some(read.await) };
        let read = tokio::select! {
            biased;
            _ = evicted => return None,
            read = read => read,
        };
        let mut held = lock(&self.bodies.held);
        let entry = held.all.get_mut(&id)?;
        entry.until = None;
        Some(read)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Only whoever reads it would hear of an eviction, and that one is gone.
            lock(&self.bodies.held).remove(id);
            self.bodies.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{future::pending, time::Duration};

    use futures::FutureExt;

    use super::*;

    const LARGE: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn given_slow_bodies_that_take_all_room_the_next_has_it_when_the_oldest_had_its_time() {
        let bodies = Arc::<Bodies>::default();
        let mut slow = Vec::new();
        for _ in 0..BODIES / LARGE {
            slow.push(bodies.admit(LARGE).await);
        }
        let began = Instant::now();
        // A small one never waits.
        bodies.admit(SMALL_BODY).now_or_never().unwrap();
        let mut next = bodies.admit(LARGE).await;
        assert_eq!(began.elapsed(), BODY_TIME);
        assert!(slow[0].fill(pending::<()>()).now_or_never().unwrap().is_none(), "the oldest has to go");
        assert!(slow[1].fill(pending::<()>()).now_or_never().is_none());
        assert_eq!(next.fill(async { 7 }).await, Some(7));
        assert_eq!(lock(&bodies.held).bytes, BODIES);
        drop((slow, next));
        let held = lock(&bodies.held);
        assert_eq!((held.bytes, held.all.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn given_requests_at_work_none_gives_way_and_those_that_wait_go_in_their_order() {
        let bodies = Arc::<Bodies>::default();
        let mut whole = Vec::new();
        for _ in 0..BODIES / LARGE {
            let mut room = bodies.admit(LARGE).await;
            room.fill(async {}).await.unwrap();
            whole.push(room);
        }
        let (mut first, mut second) = (Box::pin(bodies.admit(LARGE)), Box::pin(bodies.admit(LARGE)));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(futures::poll!(&mut first).is_pending());
        drop(whole.pop());
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut first).is_ready());
    }
}
