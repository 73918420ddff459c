//! Forgetting what is worth nothing any more, now and then and little by little; moving coins out of keysets that end; and changing
//! many small coins for fewer.
//!
//! | record | goes when it is old, or beyond the newest so many, and |
//! |---|---|
//! | a parked operation | the mint says that it has signed none of its outputs (NUT-09) |
//! | a token sent | the mint says that all of it is spent (NUT-07), or it was taken back |
//! | a mint quote | it is issued, or the mint says that it is unpaid and it has run out |
//! | the mark of a received token, a line of the history | nothing else: no money hangs on it |
//!
//! While a mint doesn't answer, what is its stays, and keeps nothing of another mint's waiting. A parked operation that
//! came to be after all gives us its coins first.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use futures::future::join_all;
use guilder_protocol::{market::MintUrl, time::Timestamp};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    error::WalletError,
    ledger::Ledger,
    mints::Mints,
    quotes::{Looked, Quotes},
    records::{Currency, FAILED, FailedOperation, HISTORY, RECEIVED, SENT, SentState, SentToken},
};
use crate::{
    limits::{
        FAILED_KEEP_SECS, HISTORY_TRIM, MAX_FAILED, MAX_HISTORY, MAX_SENT, MERGE_PAUSE, RECEIVED_LOOK, SENT_KEEP_SECS,
        TIDY_BATCH, TIDY_PAUSE,
    },
    runtime::Runtime,
    store::{KeyRange, Reader, Store, StoreError, Table},
    sync::lock,
};

/// Tidies a wallet up.
pub(super) struct Tidy {
    pub(super) mints: Arc<Mints>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) quotes: Arc<Quotes>,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
    /// Where the next look at received tokens begins.
    pub(super) received_from: Mutex<Option<Vec<u8>>>,
}

/// A record that may go, under its key.
type Old<V> = (Vec<u8>, V);

impl Tidy {
    /// Tidies up until the node is gone.
    pub(super) async fn keep(self: Arc<Self>) {
        let (mut next, mut resting) = (Instant::now() + TIDY_PAUSE, BTreeMap::new());
        loop {
            tokio::select! {
                biased;
                () = sleep_until(next) => {
                    self.round().await;
                    self.merge(&mut resting).await;
                    next = Instant::now() + TIDY_PAUSE;
                }
                () = self.ledger.has_many_coins() => {
                    sleep(MERGE_PAUSE).await;
                    self.merge(&mut resting).await;
                }
            }
        }
    }

    /// Changes small coins for fewer where there are many. Where that failed it rests: a mint may take no swap of so many.
    async fn merge(&self, resting: &mut BTreeMap<Currency, Instant>) {
        resting.retain(|_, until| *until > Instant::now());
        let due = self.mints.currencies().into_iter().filter(|currency| !resting.contains_key(currency));
        // Side by side: one mint that keeps quiet delays no other.
        let merging = due.map(|currency| async {
            let merged = self.ledger.keep_coins_few(&currency).await;
            (currency, merged)
        });
        for (currency, merged) in join_all(merging).await {
            if let Err(error) = merged {
                tracing::debug!(mint = %currency.mint, %error, "many small coins stay for now");
                resting.insert(currency, Instant::now() + TIDY_PAUSE);
            }
        }
    }

    /// One round.
    pub(super) async fn round(&self) {
        let rounds = [
            self.failed().await,
            self.sent().await,
            self.quotes().await,
            self.received().await,
            self.history().await,
            self.renew().await,
        ];
        for error in rounds.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "the wallet's old records stay for now");
        }
    }

    async fn failed(&self) -> Result<(), WalletError> {
        let at = |failed: &FailedOperation| (failed.record.currency.mint.clone(), failed.at);
        for (mint, records) in self.old(FAILED, MAX_FAILED, FAILED_KEEP_SECS, at)? {
            for (key, failed) in records {
                match self.ledger.look_into(&key, &failed).await {
                    Ok(_) => self.store.write(move |write| write.delete(FAILED, key)).await?,
                    Err(error) => {
                        tracing::debug!(%mint, %error, "parked operations stay on record");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn sent(&self) -> Result<(), WalletError> {
        let at = |token: &SentToken| (token.mint.clone(), token.at);
        for (mint, records) in self.old(SENT, MAX_SENT, SENT_KEEP_SECS, at)? {
            for (key, token) in records {
                match self.ledger.look_at_token(&token).await {
                    Ok(token) if token.state == SentState::Open => {}
                    Ok(_) => self.store.write(move |write| write.delete(SENT, key)).await?,
                    Err(error) => {
                        tracing::debug!(%mint, %error, "tokens sent stay on record");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn quotes(&self) -> Result<(), WalletError> {
        let old = self.runtime.now().saturating_sub(SENT_KEEP_SECS);
        let mut mints = BTreeMap::<MintUrl, Vec<_>>::new();
        for record in self.quotes.list()? {
            let records = mints.entry(record.currency.mint.clone()).or_default();
            if records.len() < TIDY_BATCH && (record.issued == 0 || record.made < old) {
                records.push(record);
            }
        }
        for (mint, records) in mints {
            for record in records {
                // Those that nobody watches any more are looked at here.
                match self.quotes.look(&record.currency, &record.id).await {
                    Ok(Looked::RunOut) => self.quotes.forget(&record).await?,
                    Ok(Looked::Issued(_)) if record.made < old => self.quotes.forget(&record).await?,
                    Ok(_) | Err(WalletError::IssuedElsewhere(_)) => {}
                    Err(error) => {
                        tracing::debug!(%mint, %error, "mint quotes stay on record");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// A part of them each time, from where the last one ended.
    async fn received(&self) -> Result<(), WalletError> {
        let old = self.runtime.now().saturating_sub(SENT_KEEP_SECS);
        let from = lock(&self.received_from).take();
        let range = match &from {
            Some(from) => KeyRange::all().after(from),
            None => KeyRange::all(),
        };
        let (mut keys, mut rows, mut last) = (Vec::new(), 0, None);
        self.store.read(|read| {
            read.visit(RECEIVED, range, |key, at: Timestamp| {
                if at < old {
                    keys.push(key.to_vec());
                }
                rows += 1;
                if rows < RECEIVED_LOOK {
                    return ControlFlow::Continue(());
                }
                last = Some(key.to_vec());
                ControlFlow::Break(())
            })
        })?;
        *lock(&self.received_from) = last;
        for some in keys.chunks(HISTORY_TRIM) {
            self.delete(RECEIVED, some.to_vec()).await?;
        }
        Ok(())
    }

    /// The oldest lines. Their numbers rise by one, so that the first and the last say how many there are.
    async fn history(&self) -> Result<(), WalletError> {
        let (oldest, newest) = self.store.read(|read| {
            let oldest = read.range(HISTORY, KeyRange::all(), HISTORY_TRIM)?;
            Ok((oldest, read.range(HISTORY, KeyRange::all().backwards(), 1)?))
        })?;
        let (Some((_, first)), Some((_, last))) = (oldest.first(), newest.first()) else { return Ok(()) };
        let count = usize::try_from(last.number.saturating_sub(first.number) + 1).unwrap_or(usize::MAX);
        let over = count.saturating_sub(MAX_HISTORY);
        self.delete(HISTORY, oldest.into_iter().take(over).map(|(key, _)| key).collect()).await
    }

    async fn delete<V: 'static>(&self, table: Table<V>, keys: Vec<Vec<u8>>) -> Result<(), WalletError> {
        if keys.is_empty() {
            return Ok(());
        }
        Ok(self.store.write(move |write| keys.iter().try_for_each(|key| write.delete(table, key))).await?)
    }

    async fn renew(&self) -> Result<(), WalletError> {
        for currency in self.mints.currencies() {
            if let Err(error) = self.ledger.renew(&currency).await {
                tracing::debug!(mint = %currency.mint, %error, "coins of a keyset that ends soon stay for now");
            }
        }
        Ok(())
    }

    /// Some records that are old, or beyond the newest `most`, by mint; the oldest first.
    fn old<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        most: usize,
        keep_secs: u64,
        at: impl Fn(&V) -> (MintUrl, Timestamp),
    ) -> Result<BTreeMap<MintUrl, Vec<Old<V>>>, StoreError> {
        let mut ages = BTreeSet::new();
        self.store.read(|read| {
            read.visit(table, KeyRange::all(), |key, record| {
                let (mint, at) = at(&record);
                ages.insert((at, key.to_vec(), mint));
                ControlFlow::Continue(())
            })
        })?;
        let (too_many, end) = (ages.len().saturating_sub(most), self.runtime.now().saturating_sub(keep_secs));
        let old = ages.into_iter().enumerate().take_while(|(place, (at, ..))| *place < too_many || *at < end);
        let mut mints = BTreeMap::<MintUrl, Vec<Old<V>>>::new();
        for (_, (_, key, mint)) in old {
            let records = mints.entry(mint).or_default();
            if records.len() < TIDY_BATCH
                && let Some(record) = self.store.read(|read| read.get(table, &key))?
            {
                records.push((key, record));
            }
        }
        Ok(mints)
    }
}
