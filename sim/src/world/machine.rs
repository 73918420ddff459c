//! The machine under a node: what heavy work costs it in virtual time.
//!
//! Work runs in place and then costs what it takes on a small server, so that a flood of it saturates a simulated node as
//! it would a real one: CPU work waits for CPU work before it, a commit for the commit before it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use guilder::{
    runtime::{Job, Offload},
    store::testing::CrashBackend,
};
use tokio::time::Instant;

use crate::{bare::Tally, fabric::HostId, trace::Trace};

#[derive(Clone)]
pub(super) struct Machine {
    host: HostId,
    disk: CrashBackend,
    trace: Trace,
    tally: Tally,
    busy: Arc<Mutex<Busy>>,
}

/// Until when the processor and the disk have work.
struct Busy {
    cpu: Instant,
    disk: Instant,
}

impl Machine {
    pub(super) fn new(host: HostId, disk: &CrashBackend, trace: &Trace, tally: &Tally) -> Self {
        let now = Instant::now();
        let busy = Arc::new(Mutex::new(Busy { cpu: now, disk: now }));
        Self { host, disk: disk.clone(), trace: trace.clone(), tally: tally.clone(), busy }
    }

    fn done_at(&self, kind: Job) -> Instant {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let until = if matches!(kind, Job::Disk | Job::Commit) { &mut busy.disk } else { &mut busy.cpu };
        *until = (*until).max(Instant::now()) + cost(kind);
        *until
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Offload for Machine {
    fn run(&self, kind: Job, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let machine = self.clone();
        Box::pin(async move {
            machine.tally.job(kind);
            let before = machine.disk.syncs();
            work();
            let syncs = machine.disk.syncs();
            if syncs != before {
                machine.trace.record(machine.host, &format_args!("commit {syncs} {:016x}", machine.disk.digest()));
            }
            tokio::time::sleep_until(machine.done_at(kind)).await;
        })
    }
}

/// Measured on a two-core virtual server, rounded up.
fn cost(kind: Job) -> Duration {
    Duration::from_micros(match kind {
        Job::Signatures(count) => 60 * u64::from(count),
        Job::Dleq(count) => 250 * u64::from(count),
        Job::Disk | Job::Commit => 500,
        Job::Schema => 200,
        Job::Hash(bytes) => 1 + bytes / 500,
    })
}
