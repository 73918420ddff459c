//! What a node remembers: typed tables in one redb file, changed by durable transactions that callers share.
//!
//! ```text
//!   write(job) ─┐                 ┌ run each job, in the order they came
//!   write(job) ─┼─▶ queue ─▶ writer ┤ commit once: one fdatasync for all of them
//!   write(job) ─┘                 └ wake each caller with its own result
//!   read(job)  ───▶ a snapshot of the last commit, at once
//! ```
//!
//! **Group commit.** While one transaction waits for the disk, the jobs of other callers gather; the next transaction
//! takes them all. A job sees the changes of the jobs before it in the same transaction. Its own changes are held back
//! until it returns: if it returns an error (or panics) they are forgotten, its caller is told, and the others neither
//! see nor wait for any of it. So a job runs once, and refusing costs nobody anything.
//!
//! **Behind.** What nobody waits for ([`Store::behind`]) makes no transaction of its own while others come: it goes with the
//! next of them, in the order in which it was queued, and alone only when none has come for a while.
//!
//! **Durable.** [`Store::write`] returns once the transaction is on the disk. redb writes each page to a fresh place and
//! then one of two checksummed commit slots, so a single `fdatasync` makes a commit whole or leaves the one before it
//! (redb's one-phase commit; after a crash, opening verifies the newest slot and falls back to the other).
//!
//! **A disk that fails.** When a transaction can't be written (the disk is full, say), every caller in it gets an
//! [`StoreError`] with [`Fault::Environment`], nothing of it is visible, and the store opens its file anew, so it works
//! again as soon as the disk does. Until then it is read as it was after the last commit, as long as the disk can be read:
//! opened over memory, for redb writes when it opens. [`StoreError::Uncertain`] is the one case in which the store can't tell
//! whether the transaction came to be: the file could not be opened anew, nor read as it was before.
//!
//! **Cancel-safe**: dropping the future of [`Store::write`] does not take a queued job back.
//!
//! **Bounded**: the queue, the jobs per transaction, redb's cache, and what a range scan returns ([`crate::limits`]).
//!
//! This is the only room that knows redb. A room names its tables `room/what`, and keys them with [`Key`].
//!
//! [`Fault::Environment`]: guilder_protocol::fault::Fault::Environment

use std::{fmt, panic::resume_unwind, path::Path, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::{limits::STORE_QUEUE, runtime::Runtime};

mod access;
mod backend;
mod disk;
mod error;
mod key;
mod migrations;
mod place;
mod snapshot;
mod table;
pub mod testing;
mod writer;

pub use access::{Read, Reader, Write};
pub use backend::Backend;
use disk::Disk;
pub use error::StoreError;
pub use key::{Key, KeyPart, KeyRange};
pub use place::Place;
/// What a store stands on; implemented by files and by [`testing::CrashBackend`].
pub use redb::StorageBackend;
pub(crate) use snapshot::{check, copy as snapshot};
pub use table::{Json, Table};
use writer::{Command, Request};

/// The handle of a node's store.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<Command>,
    disk: Arc<Disk>,
}

impl Store {
    /// Opens the file at `path`, or makes it, readable by its owner alone.
    ///
    /// # Errors
    /// If another process has it open, if a newer Guilder wrote it, or if the disk fails.
    pub async fn open(path: &Path, runtime: &Runtime) -> Result<Self, StoreError> {
        Self::with_backend(Backend::file(path), runtime).await
    }

    /// Opens whatever `backend` leads to.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn with_backend(backend: Backend, runtime: &Runtime) -> Result<Self, StoreError> {
        let disk = Arc::new(Disk::open(backend, migrations::ALL, runtime).await?);
        let (queue, commands) = mpsc::channel(STORE_QUEUE);
        runtime.spawn("store", writer::run(disk.clone(), commands, runtime.clone())).detach();
        Ok(Self { queue, disk })
    }

    /// Runs `job` in a transaction and returns its result once that is durable.
    ///
    /// # Errors
    /// What the job returned (then nothing of it was written), or why the transaction failed.
    ///
    /// # Panics
    /// If the job does; nothing of it is written then.
    pub async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.transact(job).await
    }

    /// As [`Store::write`], for a job that can refuse with an error of its own ("this proof is reserved already").
    ///
    /// # Errors
    /// What the job returned (then nothing of it was written), or why the transaction failed.
    pub async fn transact<R, E>(
        &self,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let request = Command::Job(Box::new(Request::new(job, tell)));
        self.queue.send(request).await.map_err(|_| StoreError::Closed)?;
        match told.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(StoreError::Closed.into()),
        }
    }

    /// Has `job` run in the next transaction that somebody waits for, or in one of its own if there is none for
    /// [`STORE_BEHIND`](crate::limits::STORE_BEHIND): it costs no commit where others are made. Returns as soon as it is queued.
    /// Nobody is told what became of it, and a crash may take it; so only what can be had again is written like this.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn behind(
        &self,
        job: impl FnOnce(&mut Write<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (tell, _) = oneshot::channel();
        let request = Command::Behind(Box::new(Request::new(job, tell)));
        self.queue.send(request).await.map_err(|_| StoreError::Closed)
    }

    /// Runs `job` over a snapshot of the last commit, in place: it never waits for a write.
    ///
    /// # Errors
    /// What the job returned, or that the snapshot can't be read.
    pub fn read<R>(&self, job: impl FnOnce(&Read) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let outcome = self.disk.read().and_then(|read| job(&read));
        outcome.inspect_err(|error| self.disk.note(error))
    }

    /// Copies the store as it is after its last commit into a new file at `path`, while others go on. Blocks for as long as that takes.
    ///
    /// # Errors
    /// If there is something at `path`, or the disk fails; then nothing is left there.
    pub fn snapshot_to(&self, path: &Path) -> Result<(), StoreError> {
        self.read(|read| snapshot::copy(read, path))
    }

    /// Resolves once the file has been seen to be damaged: whatever goes on with it would be guessing.
    pub async fn damaged(&self) -> StoreError {
        self.disk.damaged().await
    }

    /// How many transactions were made durable since the store was opened.
    pub fn commits(&self) -> u64 {
        self.disk.commits()
    }

    /// How many records were read since the store was opened, by snapshots and transactions: what something costs, as growth is
    /// checked without a clock.
    pub fn rows_read(&self) -> u64 {
        self.disk.rows_read()
    }

    /// Finishes the writes that were queued before, then closes the file. What comes later gets
    /// [`StoreError::Closed`]. Call it before [`Runtime::shutdown`], which ends the writer where it stands.
    pub async fn close(&self) {
        let (tell, told) = oneshot::channel();
        if self.queue.send(Command::Close(tell)).await.is_ok() {
            // An error says that the writer is gone, and the file closed with it.
            let _ = told.await;
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("disk", &self.disk).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
