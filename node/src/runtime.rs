//! What a node is given by the machine it runs on: time, entropy, tasks, and threads for heavy work.
//!
//! ```text
//!   room ── spawn(name, future) ──▶ task of this node; dies with it, its panic is reported
//!   room ── offload(kind, work) ──▶ Offload ──▶ a bounded pool of threads (production)
//!                                          └──▶ in place, at a modelled cost (the simulator)
//! ```
//!
//! Every room gets a clone of one [`Runtime`] and asks it for the time, for random bytes and for tasks; nothing else in
//! the node reads a clock, spawns or blocks (the rooms that own files and processes aside). The one part that the
//! simulator replaces is [`Offload`]; wall time, monotonic time and entropy it replaces below the standard library, and
//! [`Runtime::off_by`] gives one of its nodes a clock that is wrong.
//!
//! **Bounded**: heavy jobs run on as many threads as there are cores, disk jobs on a few of their own, strangers' schemas on
//! one, so that a flood of signatures can't hold up a commit, nor a schema a signature. What waits for a thread waits in its caller.
//!
//! **Cancel-safe**: dropping the future of [`Runtime::offload`] forgets the result; work that has begun runs to its end.

use std::{
    any::Any,
    fmt,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use futures::future::BoxFuture;
use guilder_protocol::time::Timestamp;
use tokio::{sync::oneshot, time::Instant};

mod pool;
mod tasks;

pub use pool::{Inline, Limits, Pool};
use tasks::Tasks;
pub use tasks::{Panicked, Task};

/// What a piece of heavy work is, so that it can be sent to the right thread or be given a modelled cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Checking or making this many Ed25519 or Schnorr signatures.
    Signatures(u32),
    /// Checking this many DLEQ proofs.
    Dleq(u32),
    /// One wait for the disk: a scan, a chunk written, a file opened.
    Disk,
    /// A transaction of the store's one writer. Nothing else that waits for the disk holds it up.
    Commit,
    /// Compiling a JSON Schema or checking a document against one.
    Schema,
    /// Hashing, sealing or opening this many bytes.
    Hash(u64),
}

/// Where heavy work runs. The seam that the simulator replaces.
pub trait Offload: fmt::Debug + Send + Sync + 'static {
    /// Runs `work`, which never panics, and resolves once it is done. If the future is dropped before the work began,
    /// the work may be dropped too.
    fn run(&self, kind: Job, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// The handle of one node's runtime.
#[derive(Clone)]
pub struct Runtime {
    offload: Arc<dyn Offload>,
    tasks: Arc<Tasks>,
    wall: Wall,
    off_by_secs: Arc<AtomicI64>,
}

/// Where the wall clock comes from.
#[derive(Clone, Copy, Debug)]
enum Wall {
    System,
    /// Follows tokio's clock, which tests can pause.
    Anchored {
        at: Timestamp,
        since: Instant,
    },
}

impl Runtime {
    /// The runtime of a real node: threads for heavy work, the system's clock.
    pub fn production(limits: Limits) -> Self {
        Self::with(Pool::new(limits))
    }

    /// A runtime whose heavy work runs where `offload` says.
    pub fn with(offload: impl Offload) -> Self {
        Self { offload: Arc::new(offload), tasks: Arc::default(), wall: Wall::System, off_by_secs: Arc::default() }
    }

    /// For tests: heavy work runs in place, and the wall clock starts at `now` and follows tokio's, so that a test with
    /// a paused clock moves both. Call it inside a tokio runtime.
    pub fn anchored(now: Timestamp) -> Self {
        Self { wall: Wall::Anchored { at: now, since: Instant::now() }, ..Self::with(Inline) }
    }

    /// The same with a wall clock that is wrong by so many seconds: fast if above 0, slow if below. For the simulator.
    #[must_use]
    pub fn off_by(self, secs: i64) -> Self {
        Self { off_by_secs: Arc::new(AtomicI64::new(secs)), ..self }
    }

    /// Sets the wall clock of everything that has this runtime wrong by so many seconds, as [`Self::off_by`] does, from now on.
    pub fn set_off_by(&self, secs: i64) {
        self.off_by_secs.store(secs, Ordering::Relaxed);
    }

    /// The wall clock, in whole seconds UTC.
    pub fn now(&self) -> Timestamp {
        let now = match self.wall {
            Wall::System => {
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_secs(elapsed.as_secs())
            }
            Wall::Anchored { at, since } => at.saturating_add(since.elapsed().as_secs()),
        };
        let off_by_secs = self.off_by_secs.load(Ordering::Relaxed);
        let off = off_by_secs.unsigned_abs();
        if off_by_secs < 0 { now.saturating_sub(off) } else { now.saturating_add(off) }
    }

    /// The monotonic clock.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Runs `future` as a task of this node. It dies with the returned [`Task`] (unless that is detached) and with the
    /// node; if it panics, that is logged and told by [`Runtime::panicked`].
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        self.tasks.spawn(name, future)
    }

    /// Runs `work` off the async threads and returns its result. A panic in `work` goes on in the caller.
    pub async fn offload<R: Send + 'static>(&self, kind: Job, work: impl FnOnce() -> R + Send + 'static) -> R {
        let (tell, told) = oneshot::channel();
        let work = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            // Nobody listens if the caller was dropped: that is its right.
            let _ = tell.send(result);
        };
        self.offload.run(kind, Box::new(work)).await;
        match told.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            // The work was dropped before it began: tokio is going down, and this task with it.
            Err(_) => pending().await,
        }
    }

    /// Random bytes from the operating system.
    ///
    /// # Panics
    /// If the system has no entropy, which a node can't live without.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        #[allow(clippy::expect_used)] // no key, nonce or secret can be made without it, so there is no going on
        getrandom::fill(&mut bytes).expect("the system has entropy");
        bytes
    }

    /// Resolves when a task of this node has panicked (at once if one already has): a daemon stops then, rather than
    /// go on with a room that is dead.
    pub async fn panicked(&self) -> Panicked {
        self.tasks.panicked().await
    }

    /// Ends every task of this node and waits until they are gone. Later [`Runtime::spawn`]s end at once.
    pub async fn shutdown(&self) {
        self.tasks.shutdown().await;
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("offload", &self.offload).field("tasks", &self.tasks.len()).finish()
    }
}

/// What a panic said, for logs.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests;
