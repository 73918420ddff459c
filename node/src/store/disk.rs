//! The redb file behind a store: opened, read, committed to, and opened anew when it failed.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{Builder, Database, ReadableDatabase, WriteTransaction};
use tokio::sync::watch;

use super::{
    Backend, Read, StoreError, Write,
    access::{Made, Rows, Witness},
    error::guarded,
    migrations::{self, Migration},
    writer::Job,
};
use crate::{
    failpoint::Step,
    limits::STORE_CACHE_BYTES,
    runtime::{self, Runtime},
    spans::Span,
};

/// An open store's file.
pub(super) struct Disk {
    backend: Backend,
    state: Mutex<State>,
    commits: AtomicU64,
    rows: Rows,
    /// That the file isn't what was once written, once it was seen.
    damage: watch::Sender<Option<StoreError>>,
}

enum State {
    Open(Arc<Database>),
    /// It can be read but not written to since this; the next transaction tries again.
    Reading(Arc<Database>, StoreError),
    /// It can't even be read since this; whoever reads or writes next tries again.
    Failed(StoreError),
    Closed,
}

impl Disk {
    pub(super) async fn open(
        backend: Backend,
        steps: &'static [Migration],
        runtime: &Runtime,
    ) -> Result<Self, StoreError> {
        let open = move || {
            let database = guarded(|| {
                let database = open_database(&backend)?;
                migrations::run(&database, steps)?;
                Ok(database)
            })?;
            let state = Mutex::new(State::Open(Arc::new(database)));
            let (commits, rows, damage) = (AtomicU64::new(0), Rows::default(), watch::Sender::new(None));
            Ok(Self { backend, state, commits, rows, damage })
        };
        runtime.offload(runtime::Job::Disk, open).await
    }

    pub(super) fn read(&self) -> Result<Read, StoreError> {
        let mut state = self.lock();
        if let State::Failed(error) = &*state {
            let error = error.clone();
            self.read_only(&mut state, error);
        }
        match &*state {
            State::Open(database) | State::Reading(database, _) => {
                guarded(|| Ok(Read::new(database.begin_read()?, self.rows.clone())))
            }
            State::Failed(error) => Err(error.clone()),
            State::Closed => Err(StoreError::Closed),
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn rows_read(&self) -> u64 {
        self.rows.read()
    }

    /// Remembers that the file is damaged, if that is the error.
    pub(super) fn note(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged { .. }) {
            self.damage.send_if_modified(|known| known.is_none() && known.replace(error.clone()).is_none());
        }
    }

    /// Resolves once the file has been seen to be damaged.
    pub(super) async fn damaged(&self) -> StoreError {
        let mut damage = self.damage.subscribe();
        loop {
            if let Some(error) = damage.borrow_and_update().clone() {
                return error;
            }
            if damage.changed().await.is_err() {
                return StoreError::Closed;
            }
        }
    }

    /// Runs the jobs in one transaction and makes it durable. Blocks; only the writer calls it.
    pub(super) fn commit(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        // A job catches its own panic: one that comes this far is redb's.
        let outcome = guarded(|| self.try_commit(jobs));
        if outcome.is_ok() {
            self.backend.failpoint.reach(Step::Committed);
        }
        outcome.inspect_err(|error| self.note(error))
    }

    fn try_commit(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let (database, transaction) = self.begin()?;
        let running = Span::Jobs.begin();
        let made = run(&transaction, jobs, &self.rows);
        drop(running);
        match made {
            Ok(Made::Nothing) => Ok(transaction.abort()?),
            Ok(Made::Changes(witness)) => {
                self.backend.failpoint.reach(Step::Commit);
                let committing = Span::Commit.begin();
                let committed = transaction.commit();
                drop(committing);
                let Err(error) = committed else {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                };
                drop(database);
                Err(self.judge(error.into(), witness))
            }
            Err(error) => {
                drop((transaction, database));
                if error.is_disk() {
                    self.reopen(&error);
                }
                Err(error)
            }
        }
    }

    /// Closes the file. What comes later finds it closed.
    pub(super) fn close(&self) {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        // redb writes its allocator state here, so that the next open needs no repair. Of a damaged file it may not get so
        // far; the next open says so.
        let _ = guarded(|| {
            drop(state);
            Ok(())
        });
    }

    /// Begins a transaction, on a database opened anew if the present one is beyond use.
    fn begin(&self) -> Result<(Arc<Database>, WriteTransaction), StoreError> {
        let failed = match self.database() {
            Ok(database) => match database.begin_write() {
                Ok(transaction) => return Ok((database, transaction)),
                Err(error) => error.into(),
            },
            Err(StoreError::Closed) => return Err(StoreError::Closed),
            Err(error) => error,
        };
        self.reopen(&failed);
        let database = self.database()?;
        let transaction = database.begin_write()?;
        Ok((database, transaction))
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        match &*self.lock() {
            State::Open(database) => Ok(database.clone()),
            State::Reading(_, error) | State::Failed(error) => Err(error.clone()),
            State::Closed => Err(StoreError::Closed),
        }
    }

    /// Lets go of the database, which refuses everything after an error, and opens the file again; for reading alone if it can't be
    /// written to. The caller holds no handle of it any more; a reader's snapshot does no harm.
    fn reopen(&self, why: &StoreError) {
        let mut state = self.lock();
        if matches!(*state, State::Closed) {
            return;
        }
        *state = State::Failed(why.clone());
        match guarded(|| open_database(&self.backend)) {
            Ok(database) => {
                tracing::warn!(%why, "opened the store anew after the disk failed");
                *state = State::Open(Arc::new(database));
            }
            Err(error) => {
                tracing::error!(%why, %error, "the store can't be opened anew; the next write tries again");
                self.read_only(&mut state, why.clone());
            }
        }
    }

    /// Opens the file for reading alone, if that can be done.
    fn read_only(&self, state: &mut State, why: StoreError) {
        let opened = guarded(|| Ok(cached(Database::builder()).create_with_backend(self.backend.open_aside()?)?));
        match opened {
            Ok(database) => *state = State::Reading(Arc::new(database), why),
            Err(error) => tracing::debug!(%why, %error, "the store can't be read"),
        }
    }

    /// What to tell the callers of a commit that failed: `error` if it certainly did not come to be.
    fn judge(&self, error: StoreError, witness: Option<Witness>) -> StoreError {
        self.reopen(&error);
        let unchanged = witness.ok_or(StoreError::Closed).and_then(|witness| witness.is_unchanged(&self.read()?));
        match unchanged {
            Ok(true) => error,
            Ok(false) | Err(_) => StoreError::Uncertain { message: error.to_string() },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock can come from redb's opening alone, and leaves `Failed` behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.lock() {
            State::Open(_) => "open",
            State::Reading(..) => "reading",
            State::Failed(_) => "failed",
            State::Closed => "closed",
        };
        f.debug_struct("Disk").field("state", &state).field("commits", &self.commits()).finish_non_exhaustive()
    }
}

fn open_database(backend: &Backend) -> Result<Database, StoreError> {
    Ok(cached(Database::builder()).create_with_backend(backend.open()?)?)
}

pub(super) fn cached(mut builder: Builder) -> Builder {
    builder.set_cache_size(STORE_CACHE_BYTES);
    builder
}

/// Runs each job; what one of them changed counts only if it succeeded.
fn run(transaction: &WriteTransaction, jobs: &mut [Box<dyn Job>], rows: &Rows) -> Result<Made, StoreError> {
    let mut write = Write::new(transaction, rows.clone());
    for job in jobs {
        if job.run(&mut write) {
            write.keep()?;
        } else {
            write.forget();
        }
    }
    write.finish()
}
