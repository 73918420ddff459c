//! The one writer: gathers waiting jobs, has them committed together, tells their callers.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Disk, StoreError, Write};
use crate::{
    limits::{STORE_BEHIND, STORE_JOBS_PER_COMMIT},
    panics,
    runtime::{self, Runtime},
};

/// What the writer is asked for.
pub(super) enum Command {
    Job(Box<dyn Job>),
    /// A job that nobody waits for.
    Behind(Box<dyn Job>),
    /// Close the file after the jobs that came before.
    Close(oneshot::Sender<()>),
}

/// A job with its caller.
pub(super) trait Job: Send {
    /// Runs the job; false if its changes are to be forgotten.
    fn run(&mut self, write: &mut Write<'_>) -> bool;

    /// Tells the caller, now that the transaction is durable or failed.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// What a job gave back, or its panic.
type Outcome<R, E> = Result<Result<R, E>, Box<dyn Any + Send>>;

/// A job of whatever type.
pub(super) struct Request<F, R, E> {
    job: Option<F>,
    outcome: Option<Outcome<R, E>>,
    tell: oneshot::Sender<Outcome<R, E>>,
}

impl<F, R, E> Request<F, R, E> {
    pub(super) fn new(job: F, tell: oneshot::Sender<Outcome<R, E>>) -> Self {
        Self { job: Some(job), outcome: None, tell }
    }
}

impl<F, R, E> Job for Request<F, R, E>
where
    F: FnOnce(&mut Write<'_>) -> Result<R, E> + Send,
    R: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, write: &mut Write<'_>) -> bool {
        let Some(job) = self.job.take() else { return false };
        // What a panic may leave half done in `write` is forgotten.
        let outcome = catch_unwind(AssertUnwindSafe(|| panics::exposed(|| job(write))));
        let succeeded = matches!(outcome, Ok(Ok(_)));
        self.outcome = Some(outcome);
        succeeded
    }

    /// A refusal too may rest on a change that came before it in the transaction: if that failed, so did the refusal.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let outcome = match (self.outcome, outcome) {
            (Some(Err(panic)), _) => Err(panic),
            (Some(outcome), Ok(())) => outcome,
            (_, Err(error)) => Ok(Err(error.into())),
            (None, Ok(())) => unreachable!("a transaction commits after its jobs ran"),
        };
        // Nobody listens if the caller was dropped: that is its right.
        let _ = self.tell.send(outcome);
    }
}

/// Serves the queue until it is closed, or nobody can write any more.
pub(super) async fn run(disk: Arc<Disk>, mut commands: mpsc::Receiver<Command>, runtime: Runtime) {
    let (mut taken, mut closing) = (Vec::new(), Vec::new());
    // What the next transaction is made of, in the order in which it came; and when it is made if nobody waits for it.
    let (mut jobs, mut due): (Vec<Box<dyn Job>>, Option<Instant>) = (Vec::new(), None);
    let mut open = true;
    while open {
        // Whether it is written now: it is time, somebody waits, or nobody can write any more.
        let mut now = match receive(&mut commands, &mut taken, due).await {
            Some(0) => {
                open = false;
                true
            }
            count => count.is_none(),
        };
        for command in taken.drain(..) {
            match command {
                Command::Job(job) | Command::Behind(job) if !closing.is_empty() => job.answer(Err(StoreError::Closed)),
                Command::Job(job) => {
                    now = true;
                    jobs.push(job);
                }
                Command::Behind(job) => {
                    due.get_or_insert_with(|| Instant::now() + STORE_BEHIND);
                    jobs.push(job);
                }
                Command::Close(tell) => {
                    (open, now) = (false, true);
                    closing.push(tell);
                }
            }
        }
        if !jobs.is_empty() && (now || jobs.len() >= STORE_JOBS_PER_COMMIT) {
            commit(&disk, std::mem::take(&mut jobs), &runtime).await;
            due = None;
        }
    }
    commands.close();
    runtime.offload(runtime::Job::Disk, move || disk.close()).await;
    for tell in closing {
        // Nobody listens if the caller was dropped.
        let _ = tell.send(());
    }
}

/// Takes what has come, 0 if nothing can come any more; `None` once it is `due`.
async fn receive(
    commands: &mut mpsc::Receiver<Command>,
    taken: &mut Vec<Command>,
    due: Option<Instant>,
) -> Option<usize> {
    let received = commands.recv_many(taken, STORE_JOBS_PER_COMMIT);
    match due {
        None => Some(received.await),
        Some(due) => tokio::time::timeout_at(due, received).await.ok(),
    }
}

async fn commit(disk: &Arc<Disk>, mut jobs: Vec<Box<dyn Job>>, runtime: &Runtime) {
    let disk = disk.clone();
    let work = move || {
        let outcome = disk.commit(&mut jobs);
        (jobs, outcome)
    };
    let (jobs, outcome) = runtime.offload(runtime::Job::Commit, work).await;
    for job in jobs {
        job.answer(outcome.clone());
    }
}
