//! A failpoint for crash tests: the node stops dead after so many steps, a step being a commit or a frame sent.
//!
//! It costs a branch where it isn't set. Once it has tripped, nothing of this room reaches the store or the network any
//! more, as if the process were gone; the test then shuts the runtime down and opens the store again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// Counts steps; dead after the last. The default never trips.
#[derive(Clone, Debug, Default)]
pub struct Failpoint(Option<Arc<Counter>>);

#[derive(Debug)]
struct Counter {
    left: AtomicU64,
    taken: AtomicU64,
    tripped: Notify,
}

impl Failpoint {
    /// Lets `steps` steps pass and none after.
    pub fn after(steps: u64) -> Self {
        let counter = Counter { left: steps.into(), taken: 0.into(), tripped: Notify::new() };
        Self(Some(Arc::new(counter)))
    }

    /// How many steps have passed.
    pub fn taken(&self) -> u64 {
        self.0.as_ref().map_or(0, |counter| counter.taken.load(Ordering::SeqCst))
    }

    /// Whether no step passes any more.
    pub fn is_tripped(&self) -> bool {
        self.0.as_ref().is_some_and(|counter| counter.left.load(Ordering::SeqCst) == 0)
    }

    /// Waits until a step has been refused.
    pub async fn tripped(&self) {
        match &self.0 {
            Some(counter) => counter.tripped.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Counts a step; false if the node is dead.
    pub(crate) fn passes(&self) -> bool {
        let Some(counter) = &self.0 else { return true };
        let left = counter.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            counter.taken.fetch_add(1, Ordering::SeqCst);
        } else {
            counter.tripped.notify_one();
        }
        left.is_ok()
    }

    /// Counts a step; never returns if the node is dead.
    pub(crate) async fn pass(&self) {
        if !self.passes() {
            std::future::pending().await
        }
    }
}
