//! Taking back what fell back to us: locks of failed trades, and what is left of old purse batches.
//!
//! A lock falls back by the mint's clock, not ours, so nothing is tried before its locktime and the tolerated skew have
//! passed. Then NUT-07 says what the seller has taken meanwhile (it may, before the locktime and after it: that is its
//! right under the lock, and the account calls it `taken`), and the rest is swapped back with our refund key's signature,
//! minus the mint's fee. What is worth no more than its fee is left to the mint.

use std::{collections::BTreeSet, sync::Arc};

use cdk::nuts::State;
use guilder_protocol::{
    locks::LockedProof,
    time::{SKEW_SECS, Timestamp},
};

use super::{
    Inner, WalletError,
    coin::sum,
    connector::MintTrouble,
    pockets::book,
    records::{
        AtRisk, BATCHES, BatchRecord, MoneyOutcome, PURSE, Pocket, Purpose, SWAPS, SwapId, SwapInput, SweptLock,
        WAITING, Y, batch_id, batch_key,
    },
    swap::{self, Plan, settle_taken},
    takings::tell,
};
use crate::{
    limits::{MAX_SWAP_INPUTS, SWEEP_LAST_PAUSE, SWEEP_PAUSE, SWEEP_READ},
    runtime::Job,
    store::{Key, KeyRange, Reader},
    sync::lock,
};

/// What one sweep takes back.
enum Lot {
    Lock(AtRisk),
    Batch(SwapId, BatchRecord, Vec<LockedProof>),
}

impl Lot {
    fn pocket(&self) -> &Pocket {
        match self {
            Self::Lock(lock) => &lock.pocket,
            Self::Batch(_, batch, _) => &batch.pocket,
        }
    }

    /// Names it while the node runs.
    fn key(&self) -> Vec<u8> {
        match self {
            Self::Lock(lock) => lock.trade.to_bytes(),
            Self::Batch(id, ..) => id.0.to_vec(),
        }
    }

    fn proofs(&self) -> &[LockedProof] {
        match self {
            Self::Lock(lock) => &lock.proofs,
            Self::Batch(_, _, proofs) => proofs,
        }
    }
}

impl Inner {
    /// Sweeps what has fallen back, every so often; forgets what no longer matters.
    pub(super) async fn keep_sweeping(self: Arc<Self>) {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "sweep put off");
            }
            if let Err(error) = self.forget_reserved().await {
                tracing::warn!(%error, "old reservations not forgotten");
            }
            tokio::select! {
                biased;
                () = self.sweep_work.notified() => {}
                () = tokio::time::sleep(SWEEP_PAUSE) => {}
            }
        }
    }

    /// Starts a sweep for everything that has fallen back by now and isn't in one.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), WalletError> {
        let now = self.runtime.now();
        self.purse.retire(now);
        let fallen = now.saturating_sub(SKEW_SECS + 1);
        let mut lots = self.fallen_locks(fallen)?;
        lots.extend(self.fallen_batches(fallen)?);
        let instant = self.runtime.instant();
        for lot in lots {
            let (mint, key) = (lot.pocket().mint.clone(), lot.key());
            if lock(&self.sweeps).get(&key).is_some_and(|(_, again)| instant < *again) {
                continue;
            }
            match self.sweep_lot(lot).await {
                Ok(false) => {}
                Ok(true) => self.note_sweep(key),
                Err(error) => tracing::warn!(%mint, %error, "not swept yet"),
            }
        }
        Ok(())
    }

    /// A swap of a lot has begun. If the mint refuses it, the next waits longer each time.
    fn note_sweep(&self, key: Vec<u8>) {
        let mut sweeps = lock(&self.sweeps);
        let now = self.runtime.instant();
        // A lot that came through is in no table and is never looked for again.
        sweeps.retain(|_, (_, again)| now < *again + SWEEP_LAST_PAUSE);
        let pause = sweeps.get(&key).map_or(SWEEP_PAUSE, |(pause, _)| SWEEP_LAST_PAUSE.min(*pause * 2));
        sweeps.insert(key, (pause, now + pause));
    }

    fn fallen_locks(&self, fallen: Timestamp) -> Result<Vec<Lot>, WalletError> {
        let busy = self.in_sweeps()?.0;
        let range = KeyRange::between(&[], &Key::of(fallen));
        let rows = self.store.read(|read| read.range(WAITING, range, SWEEP_READ))?;
        let free = rows.into_iter().filter(|(_, lock)| !busy.contains(&lock.trade.to_bytes()));
        Ok(free.map(|(_, lock)| Lot::Lock(lock)).collect())
    }

    fn fallen_batches(&self, fallen: Timestamp) -> Result<Vec<Lot>, WalletError> {
        let busy = self.in_sweeps()?.1;
        let range = KeyRange::between(&[], &Key::of(fallen));
        let batches = self.store.read(|read| read.range(BATCHES, range, SWEEP_READ))?;
        let mut lots = Vec::new();
        for (key, batch) in batches {
            let Some(id) = key.get(8..).and_then(batch_id) else { continue };
            if !busy.contains(&id) {
                let proofs = self.batch_proofs(id)?.into_values().take(MAX_SWAP_INPUTS).collect();
                lots.push(Lot::Batch(id, batch, proofs));
            }
        }
        Ok(lots)
    }

    /// The trades and batches whose sweep is under way.
    fn in_sweeps(&self) -> Result<(BTreeSet<Vec<u8>>, BTreeSet<SwapId>), WalletError> {
        let swaps = self.store.read(|read| read.range(SWAPS, KeyRange::all(), usize::MAX))?;
        let (mut trades, mut batches) = (BTreeSet::new(), BTreeSet::new());
        for (_, record) in swaps {
            if let Purpose::Sweep { locks, batch } = record.purpose {
                trades.extend(locks.iter().map(|lock| lock.trade.to_bytes()));
                batches.extend(batch);
            }
        }
        Ok((trades, batches))
    }

    /// Takes a lot back; says whether there was anything to swap.
    async fn sweep_lot(self: &Arc<Self>, lot: Lot) -> Result<bool, WalletError> {
        let (pocket, proofs) = (lot.pocket().clone(), lot.proofs().to_vec());
        let ys: Vec<Y> = proofs.iter().filter_map(LockedProof::y).collect();
        let spent = self.spent(&pocket, &ys).await?;
        let unspent: Vec<_> =
            proofs.into_iter().filter(|proof| proof.y().is_some_and(|y| !spent.contains(&y))).collect();
        let view = self.mints.view_with(&pocket.mint, unspent.iter().map(|proof| proof.id)).await?;
        let worth = sum(unspent.iter().map(|proof| &proof.amount));
        // Without its keyset a coin's fee isn't known: it may be worth nothing or all. It waits.
        let unknown = || WalletError::NoKeyset { mint: pocket.mint.clone(), unit: pocket.unit.clone() };
        let fee = view.fee(unspent.iter().map(|proof| proof.id)).ok_or_else(unknown)?;
        let dust = worth <= fee;
        self.strike(&lot, spent, dust.then_some(worth)).await?;
        if dust || unspent.is_empty() {
            return Ok(false);
        }
        let (seller, locktime) = match &lot {
            Lot::Lock(lock) => (lock.seller, lock.terms.locktime),
            Lot::Batch(_, batch, _) => (batch.seller, batch.terms.locktime),
        };
        let purpose = match lot {
            Lot::Lock(AtRisk { trade, .. }) => {
                let lock = SweptLock { trade, locktime, inputs: unspent.len() };
                Purpose::Sweep { locks: vec![lock], batch: None }
            }
            Lot::Batch(id, ..) => Purpose::Sweep { locks: Vec::new(), batch: Some(id) },
        };
        let (key, count) = (self.keys.refund(seller, locktime), unspent.len() as u32);
        let sign = move || unspent.into_iter().map(|proof| SwapInput::signed(proof.into(), &key)).collect();
        let inputs: Option<Vec<_>> = self.runtime.offload(Job::Signatures(count), sign).await;
        let inputs = inputs.ok_or(WalletError::Unsettled)?;
        let plan = Plan { pocket, inputs, outputs: Vec::new(), purpose };
        swap::start(self, plan.build(self).await?).await?;
        Ok(true)
    }

    /// Which of these the mint says are spent (NUT-07).
    async fn spent(&self, pocket: &Pocket, ys: &[Y]) -> Result<BTreeSet<Y>, WalletError> {
        if ys.is_empty() {
            return Ok(BTreeSet::new());
        }
        let connector = self.mints.connector(&pocket.mint)?;
        let states = swap::states(&connector, ys.iter().copied()).await;
        let states = states.map_err(|error| MintTrouble::from_error(&pocket.mint, &error))?;
        let spent = ys.iter().zip(states).filter(|(_, state)| *state == State::Spent);
        Ok(spent.map(|(y, _)| *y).collect())
    }

    /// Writes down what the seller has taken of a lot; and that it is over, if the rest is dust or nothing.
    async fn strike(&self, lot: &Lot, spent: BTreeSet<Y>, dust: Option<u64>) -> Result<(), WalletError> {
        let pocket = lot.pocket().clone();
        match lot {
            Lot::Lock(AtRisk { trade, terms, .. }) => {
                let (trade, locktime) = (*trade, terms.locktime);
                self.store
                    .transact(move |write| {
                        settle_taken(write, trade, locktime, &spent)?;
                        let key = Key::of(locktime).and(trade);
                        let Some(fee) = dust else { return Ok(()) };
                        // Nothing is left if the seller had taken it all.
                        let Some(waiting) = write.get(WAITING, &key)? else { return Ok(()) };
                        write.delete(WAITING, key)?;
                        book(write, &pocket, |account| account.fees += fee)?;
                        tell(write, trade, MoneyOutcome::Swept { refunded: 0, taken: waiting.taken, fee })
                    })
                    .await?;
                self.outcome_work.notify_one();
            }
            Lot::Batch(id, batch, proofs) => {
                let (id, locktime, proofs) = (*id, batch.terms.locktime, proofs.clone());
                self.store
                    .transact(move |write| {
                        let (mut lost, mut fees) = (0, 0);
                        for proof in &proofs {
                            let Some(y) = proof.y() else { continue };
                            if spent.contains(&y) {
                                lost += proof.amount;
                            } else if dust.is_some() {
                                fees += proof.amount;
                            } else {
                                continue;
                            }
                            write.delete(PURSE, Key::of(id.0).and(y.0))?;
                        }
                        if lost + fees > 0 {
                            book(write, &pocket, |account| {
                                account.lost += lost;
                                account.fees += fees;
                            })?;
                        }
                        if write.range(PURSE, Key::of(id.0).range(), 1)?.is_empty() {
                            write.delete(BATCHES, batch_key(locktime, id))?;
                        }
                        Ok::<_, WalletError>(())
                    })
                    .await?;
            }
        }
        Ok(())
    }
}
