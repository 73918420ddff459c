//! Forgetting what is worth nothing any more, now and then and little by little.
//!
//! | record | goes when it is old, or beyond the newest so many, and |
//! |---|---|
//! | a parked swap | the mint says that it has signed none of its outputs (NUT-09) |
//! | a token given out | the mint says that all of it is spent (NUT-07) |
//! | a mint quote | it is issued, or the mint says that it is unpaid |
//! | a line of cdk's journal | nothing else: no money hangs on it |
//!
//! While a mint doesn't answer, what is its stays. A parked swap that came to be after all gives us its coins first.

use std::{collections::BTreeSet, ops::ControlFlow, str::FromStr, sync::Arc};

use cdk::nuts::{ProofsMethods, State, Token};
use guilder_protocol::time::Timestamp;
use serde::de::DeserializeOwned;

use super::{
    Inner, WalletError,
    connector::MintTrouble,
    funding::Looked,
    mints::MintView,
    pockets::currency,
    records::{Destination, FAILED, FUNDED, FailedSwap, Pocket, SENT, SentToken, Y},
    swap,
};
use crate::{
    limits::{FAILED_KEEP_SECS, MAX_FAILED, MAX_SENT, SENT_KEEP_SECS, TIDY_BATCH, TIDY_PAUSE},
    store::{KeyRange, Reader, Table},
};

impl Inner {
    /// Tidies up until the node is gone.
    pub(super) async fn keep_tidy(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TIDY_PAUSE).await;
            self.tidy().await;
        }
    }

    /// One round.
    pub(super) async fn tidy(self: &Arc<Self>) {
        let rounds = [self.tidy_failed().await, self.tidy_sent().await, self.tidy_quotes().await];
        for error in rounds.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "the wallet's old records stay for now");
        }
    }

    async fn tidy_failed(&self) -> Result<(), WalletError> {
        for (key, failed) in self.old(FAILED, MAX_FAILED, FAILED_KEEP_SECS, |failed: &FailedSwap| failed.at)? {
            let mint = failed.record.pocket.mint.clone();
            match self.came_to_nothing(&failed).await {
                Ok(true) => self.store.write(move |write| write.delete(FAILED, key)).await?,
                Ok(false) => self.tell_money_trouble(
                    &mint,
                    guilder_protocol::fault::Fault::Mint,
                    "a swap that it had refused came to be; its locked outputs stay on record".into(),
                ),
                Err(error) => tracing::debug!(%mint, %error, "a parked swap stays on record"),
            }
        }
        Ok(())
    }

    /// Whether nothing is left to be had of a parked swap. Plain coins that the mint has signed are taken over.
    async fn came_to_nothing(&self, failed: &FailedSwap) -> Result<bool, WalletError> {
        let Pocket { mint, .. } = &failed.record.pocket;
        let outputs = &failed.record.outputs;
        let signatures = swap::signatures(&self.mints.connector(mint)?, outputs).await;
        let signatures = signatures.map_err(|error| MintTrouble::from_error(mint, &error))?;
        let signed: Vec<_> = outputs.iter().zip(signatures).filter_map(|(output, by)| Some((output, by?))).collect();
        if signed.is_empty() {
            return Ok(true);
        }
        let view = self.mints.view_with(mint, signed.iter().map(|(output, _)| output.id)).await?;
        let plain = signed.iter().filter(|(output, _)| output.to != Destination::Purse);
        let coins = plain.filter_map(|(output, by)| output.unblind(by, view.keysets.get(&output.id)?)).collect();
        self.take_over(&failed.record.pocket, coins).await?;
        Ok(signed.iter().all(|(output, _)| output.to != Destination::Purse))
    }

    async fn tidy_sent(&self) -> Result<(), WalletError> {
        for (key, token) in self.old(SENT, MAX_SENT, SENT_KEEP_SECS, |token: &SentToken| token.at)? {
            let ys = match self.taken_by_others(&token).await {
                Ok(Some(ys)) => ys,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(mint = %token.mint, %error, "a token given out stays on record");
                    continue;
                }
            };
            let forgetting = move |write: &mut crate::store::Write<'_>| {
                ys.iter().try_for_each(|y| write.delete(FUNDED, y.0))?;
                write.delete(SENT, &key)
            };
            self.store.write(forgetting).await?;
        }
        Ok(())
    }

    /// The coins of a token, if all are spent.
    async fn taken_by_others(&self, token: &SentToken) -> Result<Option<Vec<Y>>, WalletError> {
        let view = self.mints.view(&token.mint).await?;
        let ys = token_ys(&token.token, &view).ok_or(WalletError::Token("it is of a keyset unknown here"))?;
        let states = swap::states(&self.mints.connector(&token.mint)?, ys.iter().copied()).await;
        let states = states.map_err(|error| MintTrouble::from_error(&token.mint, &error))?;
        Ok(states.iter().all(|state| *state == State::Spent).then_some(ys))
    }

    async fn tidy_quotes(self: &Arc<Self>) -> Result<(), WalletError> {
        let database = |error: cdk::cdk_database::Error| WalletError::Database(error.to_string());
        let now = self.runtime.now();
        let old = |at: u64, keep_secs: u64| Timestamp::from_secs(at).saturating_add(keep_secs) < now;
        let quotes = self.database.get_mint_quotes().await.map_err(database)?;
        let quotes = quotes.into_iter().filter(|quote| old(quote.expiry, SENT_KEEP_SECS)).take(TIDY_BATCH);
        for quote in quotes {
            let pocket = self.mints.pockets().into_iter().find(|pocket| {
                quote.mint_url.to_string() == pocket.mint.as_str() && quote.unit == currency(&pocket.unit)
            });
            let over = match pocket {
                Some(pocket) if u64::from(quote.amount_issued) == 0 => {
                    matches!(self.look_at_quote(&pocket, &quote.id).await, Ok(Looked::RunOut | Looked::Issued(_)))
                }
                pocket => pocket.is_some(),
            };
            if over {
                self.database.remove_mint_quote(&quote.id).await.map_err(database)?;
            }
        }
        let journal = self.database.list_transactions(None, None, None).await.map_err(database)?;
        for line in journal.iter().filter(|line| old(line.timestamp, SENT_KEEP_SECS)).take(TIDY_BATCH) {
            self.database.remove_transaction(line.id()).await.map_err(database)?;
        }
        Ok(())
    }

    /// Some records that are old, or beyond the newest `most`; the oldest first.
    fn old<V: DeserializeOwned>(
        &self,
        table: Table<V>,
        most: usize,
        keep_secs: u64,
        at: impl Fn(&V) -> Timestamp,
    ) -> Result<Vec<(Vec<u8>, V)>, WalletError> {
        let mut ages = BTreeSet::new();
        self.store.read(|read| {
            read.visit(table, KeyRange::all(), |key, record| {
                ages.insert((at(&record), key.to_vec()));
                ControlFlow::Continue(())
            })
        })?;
        let (too_many, end) = (ages.len().saturating_sub(most), self.runtime.now().saturating_sub(keep_secs));
        let old = ages.into_iter().enumerate().take_while(|(place, (at, _))| *place < too_many || *at < end);
        let keys: Vec<_> = old.map(|(_, (_, key))| key).take(TIDY_BATCH).collect();
        let found = self.store.read(|read| {
            keys.into_iter()
                .map(|key| Ok(read.get(table, &key)?.map(|record| (key, record))))
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn token_ys(token: &str, view: &MintView) -> Option<Vec<Y>> {
    let proofs = Token::from_str(token).ok()?.proofs(&view.infos()).ok()?;
    Some(proofs.ys().ok()?.iter().map(|y| y.to_bytes().into()).collect())
}
