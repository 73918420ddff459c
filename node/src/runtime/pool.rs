//! Where heavy work runs: a bounded pool of threads, or in place.

use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use futures::{FutureExt, future::BoxFuture};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Job, Offload};
use crate::limits::{DISK_THREADS, INLINE_HASH_BYTES, INLINE_SIGNATURES, SCHEMA_THREADS};

/// How many threads heavy work may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads for work that keeps a core busy.
    pub cpu_threads: usize,
    /// Threads for work that waits for the disk.
    pub disk_threads: usize,
}

impl Default for Limits {
    /// As many as there are cores, and a few for the disk.
    fn default() -> Self {
        Self { cpu_threads: available_parallelism().map_or(1, NonZero::get), disk_threads: DISK_THREADS }
    }
}

/// Runs heavy work on tokio's blocking threads, no more at once than the limits say.
#[derive(Debug)]
pub struct Pool {
    cpu: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    commit: Arc<Semaphore>,
    schema: Arc<Semaphore>,
}

impl Pool {
    /// A pool with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            cpu: Arc::new(Semaphore::new(limits.cpu_threads.max(1))),
            disk: Arc::new(Semaphore::new(limits.disk_threads.max(1))),
            commit: Arc::new(Semaphore::new(1)),
            schema: Arc::new(Semaphore::new(SCHEMA_THREADS)),
        }
    }
}

impl Offload for Pool {
    fn run(&self, kind: Job, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let threads = match kind {
            Job::Signatures(..=INLINE_SIGNATURES) | Job::Hash(..=INLINE_HASH_BYTES) => {
                return async { work() }.boxed();
            }
            Job::Disk => self.disk.clone(),
            Job::Commit => self.commit.clone(),
            Job::Schema => self.schema.clone(),
            Job::Signatures(_) | Job::Dleq(_) | Job::Hash(_) => self.cpu.clone(),
        };
        async move {
            // The semaphore is never closed, and the work catches its own panic; a runtime that is going down is the
            // one case in which the thread never runs, and then nobody waits for the result either.
            let Ok(permit) = threads.acquire_owned().await else { return };
            let done = spawn_blocking(move || {
                work();
                drop(permit);
            });
            let _ = done.await;
        }
        .boxed()
    }
}

/// Runs heavy work in place, at once. For tests and short-lived commands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Offload for Inline {
    fn run(&self, _: Job, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        async { work() }.boxed()
    }
}
