//! How the trade room writes: each step of a trade is one transaction, and only a failing disk is a reason to try again.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{fault::Fault, trade::Deal};

use super::limits::STORE_RETRY;
use crate::{
    events::{Event, Events},
    failpoint::{Failpoint, Step},
    store::{Read, Store, StoreError, Write},
    wallet::WalletError,
};

/// The room's way to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    store: Store,
    failpoint: Failpoint,
}

/// A step that can never be written: something in it contradicts what is stored. A bug of this program.
#[derive(Debug, thiserror::Error)]
#[error("a step of the trade can't be recorded: {0}")]
pub(super) struct Unwritable(#[source] WalletError);

impl Journal {
    pub(super) fn new(store: Store, failpoint: Failpoint) -> Self {
        Self { store, failpoint }
    }

    /// Reads a snapshot.
    pub(super) fn read<R>(&self, job: impl FnOnce(&Read) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.store.read(job)
    }

    /// One transaction, counted by the failpoint.
    pub(super) async fn commit<R, E>(
        &self,
        step: Step,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.failpoint.pass(step).await;
        self.store.transact(job).await
    }

    /// Writes with whatever is written next ([`Store::behind`]): nobody waits for it, and a crash may take it.
    pub(super) async fn behind(&self, job: impl FnOnce(&mut Write<'_>) -> Result<(), StoreError> + Send + 'static) {
        self.failpoint.pass(Step::Other).await;
        if let Err(error) = self.store.behind(job).await {
            tracing::debug!(%error, "not written");
        }
    }

    /// The transaction that ends a task without a trade. Where somebody waits for the end it is tried until the disk takes it.
    pub(super) async fn end(
        &self,
        waits: bool,
        task: Cid,
        job: impl Fn(&mut Write<'_>) -> Result<(), StoreError> + Send + Sync + 'static,
    ) {
        let stored = match waits {
            true => self.persist(Step::StoreEnd, move |w| Ok(job(w)?)).await.map_err(|error| error.to_string()),
            false => self.commit(Step::Other, move |w| job(w)).await.map_err(|error: StoreError| error.to_string()),
        };
        if let Err(error) = stored {
            tracing::warn!(%task, error, "the end of a task could not be recorded");
        }
    }

    /// One transaction that has to succeed before its trade can go on: tried until the disk takes it.
    ///
    /// # Errors
    /// If no disk could take it.
    pub(super) async fn persist(
        &self,
        step: Step,
        job: impl Fn(&mut Write<'_>) -> Result<(), WalletError> + Send + Sync + 'static,
    ) -> Result<(), Unwritable> {
        let job = Arc::new(job);
        let (mut wait, longest) = STORE_RETRY;
        loop {
            let attempt = Arc::clone(&job);
            match self.commit(step, move |w| attempt(w)).await {
                Ok(()) => return Ok(()),
                Err(WalletError::Store(error)) if error.may_pass() => {
                    tracing::error!(%error, "a step of a trade could not be stored; trying again");
                }
                Err(error) => return Err(Unwritable(error)),
            }
            tokio::time::sleep(wait).await;
            wait = longest.min(wait * 2);
        }
    }
}

/// Tells that the money of a trade stays where the books have it, since what was to become of it contradicts them.
pub(super) fn tell_stuck_money(events: &Events, deal: &Deal, error: &Unwritable, recorded: Result<(), Unwritable>) {
    let trade = deal.id();
    if let Err(error) = recorded {
        tracing::error!(%trade, %error, "nor can it be recorded that the trade is over; it is taken up again at the next start");
    }
    let args = deal.award.args();
    let reason = format!("the {} {} of trade {trade} stay where they are: {error}", deal.locked(), args.unit);
    events.emit(Event::MoneyTrouble { mint: args.mint.to_string(), fault: Fault::Internal, reason });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{runtime::Runtime, store::testing::CrashBackend};

    /// How a step fares whose first attempts end in `error`, and how often it was tried.
    async fn persisted(failures: u32, error: WalletError) -> (Result<(), Unwritable>, u32) {
        let runtime = Runtime::anchored(guilder_protocol::time::Timestamp::from_secs(1_000));
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        let journal = Journal::new(store, Failpoint::default());
        let tried = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&tried);
        let job = move |_: &mut Write<'_>| {
            if count.fetch_add(1, Ordering::SeqCst) < failures { Err(error.clone()) } else { Ok(()) }
        };
        let result = journal.persist(Step::Other, job).await;
        (result, tried.load(Ordering::SeqCst))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_disk_is_waited_for() {
        let (result, tried) = persisted(20, StoreError::DiskFull.into()).await;
        assert!(result.is_ok());
        assert_eq!(tried, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_disk_could_take_is_tried_once() {
        for error in [WalletError::LockGone, StoreError::Decode { table: "wallet/at-risk" }.into()] {
            let (result, tried) = persisted(u32::MAX, error).await;
            assert!(result.is_err());
            assert_eq!(tried, 1);
        }
    }
}
