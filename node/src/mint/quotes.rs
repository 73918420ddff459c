//! Quotes that nobody has paid: bounded in number, and forgotten once they have long run out.
//!
//! cdk keeps every quote for ever, and anybody may ask for one. So new ones are refused while too many stand open, which
//! loses nobody money, and those that ran out unpaid are deleted. A quote that was ever paid, issued or begun stays: it is
//! what a repeated request is answered from.
//!
//! cdk has no call for this; the rows are deleted on a connection of our own, while no request changes the books.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::limits::{MAX_UNPAID_QUOTES, QUOTE_KEPT, QUOTE_SWEEP, QUOTE_SWEEP_BATCH};
use crate::runtime::{Job, Runtime};

/// The unpaid quotes of a mint's books.
#[derive(Debug)]
pub(super) struct Quotes {
    file: PathBuf,
    runtime: Runtime,
    /// One permit: who holds it may change the books.
    changing: Arc<Semaphore>,
    /// How many more may be asked for until the next count.
    room: AtomicUsize,
}

/// What a sweep has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Swept {
    /// Deleted.
    pub(super) gone: usize,
    /// Unpaid ones that are left.
    pub(super) left: usize,
}

impl Quotes {
    /// Those of the books in `file`. There is no room before the first sweep.
    pub(super) fn new(file: PathBuf, changing: Arc<Semaphore>, runtime: Runtime) -> Self {
        Self { file, runtime, changing, room: AtomicUsize::new(0) }
    }

    /// Takes a place for a new quote; false if there is none.
    pub(super) fn take_room(&self) -> bool {
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1)).is_ok()
    }

    /// Deletes what has run out, again and again, until the node is gone.
    pub(super) async fn keep_sweeping(self: Arc<Self>) {
        loop {
            tokio::time::sleep(QUOTE_SWEEP).await;
            if let Err(error) = self.sweep(now()).await {
                tracing::warn!(%error, "the mint's unpaid quotes are not swept");
            }
        }
    }

    /// Deletes what ran out long before `now`, little by little, so that no request waits for long; then counts the rest.
    pub(super) async fn sweep(&self, now: Duration) -> Result<Swept, rusqlite::Error> {
        let before = i64::try_from(now.saturating_sub(QUOTE_KEPT).as_secs()).unwrap_or(i64::MAX);
        let mut gone = 0;
        loop {
            // It closes only with the mint.
            let Ok(_changing) = self.changing.acquire().await else { return Ok(Swept { gone, left: 0 }) };
            let file = self.file.clone();
            let batch = self.runtime.offload(Job::Disk, move || sweep_batch(&file, before)).await?;
            gone += batch.gone;
            if batch.gone < QUOTE_SWEEP_BATCH {
                self.room.store(MAX_UNPAID_QUOTES.saturating_sub(batch.left), Ordering::Relaxed);
                return Ok(Swept { gone, left: batch.left });
            }
        }
    }

    #[cfg(test)]
    pub(super) fn set_room(&self, room: usize) {
        self.room.store(room, Ordering::Relaxed);
    }
}

/// By cdk's clock, which is the system's.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Unpaid mint quotes, with nothing that refers to them; and melt quotes for which nothing was begun.
const TABLES: [(&str, &str); 2] = [
    (
        "mint_quote",
        "amount_paid = 0 AND amount_issued = 0 \
         AND id NOT IN (SELECT quote_id FROM mint_quote_payments) AND id NOT IN (SELECT quote_id FROM mint_quote_issued)",
    ),
    ("melt_quote", "state = 'UNPAID' AND id NOT IN (SELECT quote_id FROM melt_request)"),
];

fn sweep_batch(file: &std::path::Path, before: i64) -> Result<Swept, rusqlite::Error> {
    let mut books = Connection::open(file)?;
    books.busy_timeout(Duration::from_secs(1))?;
    let change = books.transaction()?;
    let mut swept = Swept { gone: 0, left: 0 };
    for (table, unpaid) in TABLES {
        // An expiry of 0 is none.
        let old = format!("SELECT id FROM {table} WHERE expiry BETWEEN 1 AND ?1 AND {unpaid} LIMIT ?2");
        let delete = format!("DELETE FROM {table} WHERE id IN ({old})");
        let room = QUOTE_SWEEP_BATCH.saturating_sub(swept.gone);
        swept.gone += change.execute(&delete, (before, i64::try_from(room).unwrap_or(i64::MAX)))?;
        // Older ones have just been deleted, but for those of the next batch.
        let count = format!("SELECT count(*) FROM {table} WHERE expiry > ?1 AND {unpaid}");
        swept.left += change.query_row(&count, [before], |row| row.get::<_, i64>(0))?.unsigned_abs() as usize;
    }
    change.commit()?;
    Ok(swept)
}
