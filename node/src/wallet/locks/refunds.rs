//! Taking back what fell back to us: locks of failed trades, and what is left of old purse batches.
//!
//! A lock falls back by the mint's clock, not ours, so nothing is tried before its locktime and the tolerated skew have
//! passed. Then NUT-07 says what the seller has taken meanwhile (it may, before the locktime and after it: that is its
//! right under the lock, and the account calls it `taken`), and the rest is swapped back with our refund keys' signatures,
//! minus the mint's fee.
//!
//! Each mint's refunds are made in a task of its own, with a cursor of its own, so that none waits for another mint. All
//! that has fallen back in a currency goes into one swap, as far as it fits, so that the mint's fee rounds up once; what
//! was refused is tried again alone, ever less often.
//!
//! What is worth no more than its fee now waits, for a fee can pass; it is given up only [`DUST_KEPT_SECS`] after its
//! locktime.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Duration,
};

use guilder_protocol::{
    locks::{KeysetId, LockedProof},
    market::MintUrl,
    time::{SKEW_SECS, Timestamp},
};
use tokio::time::Instant;

use super::{
    super::{
        coin::sum,
        error::WalletError,
        ledger::Plan,
        mints::MintView,
        records::{
            AtRisk, BATCHES, BatchRecord, Currency, MoneyOutcome, OPERATIONS, OperationId, PURSE, Purpose, REFUNDS,
            Reason, RefundedBatch, RefundedLock, Y, batch_id, batch_key,
        },
        spend::{Spend, unlock},
        tables::{book, strike, tell},
    },
    Locked, LocksParts,
};
use crate::{
    limits::{DUST_KEPT_SECS, MAX_OPERATION_INPUTS, REFUND_LAST_PAUSE, REFUND_PAUSE, REFUND_READ},
    store::{Key, KeyRange, Reader, Write},
    sync::lock,
};

/// What falls back together: a failed trade's lock, or what is left of a batch.
#[derive(Clone)]
enum Lot {
    Lock(AtRisk),
    Batch(OperationId, BatchRecord, Vec<LockedProof>),
}

impl Lot {
    fn currency(&self) -> &Currency {
        match self {
            Self::Lock(lock) => &lock.currency,
            Self::Batch(_, batch, _) => &batch.currency,
        }
    }

    /// Names it while the node runs.
    fn key(&self) -> Vec<u8> {
        match self {
            Self::Lock(lock) => lock.trade.to_bytes(),
            Self::Batch(id, ..) => id.0.to_vec(),
        }
    }

    fn locktime(&self) -> Timestamp {
        match self {
            Self::Lock(lock) => lock.conditions.locktime(),
            Self::Batch(_, batch, _) => batch.conditions.locktime(),
        }
    }

    fn refund(&self) -> &Spend {
        match self {
            Self::Lock(lock) => &lock.refund,
            Self::Batch(_, batch, _) => &batch.refund,
        }
    }

    fn proofs(&self) -> &[LockedProof] {
        match self {
            Self::Lock(lock) => &lock.proofs,
            Self::Batch(_, _, proofs) => proofs,
        }
    }

    fn worth(&self) -> u64 {
        sum(self.proofs().iter().map(|proof| &proof.amount))
    }

    fn retain(&mut self, keep: impl Fn(Y) -> bool) {
        let proofs = match self {
            Self::Lock(lock) => &mut lock.proofs,
            Self::Batch(_, _, proofs) => proofs,
        };
        proofs.retain(|proof| proof.y().is_some_and(&keep));
    }
}

/// The refunds.
pub(in super::super) struct Refunds {
    parts: LocksParts,
    /// Mints at which lots are being looked at.
    busy: Mutex<BTreeSet<MintUrl>>,
    /// How long to wait before a lot is tried again, and until when.
    tried: Mutex<BTreeMap<Vec<u8>, (Duration, Instant)>>,
}

impl Refunds {
    pub(in super::super) fn new(parts: LocksParts) -> Self {
        Self { parts, busy: Mutex::default(), tried: Mutex::default() }
    }

    /// Takes back what has fallen back, every so often.
    pub(in super::super) async fn keep(self: Arc<Self>) {
        loop {
            if let Err(error) = self.look() {
                tracing::warn!(%error, "refunds put off");
            }
            tokio::time::sleep(REFUND_PAUSE).await;
        }
    }

    /// Starts a task for each mint at which something has fallen back and isn't in an operation.
    fn look(self: &Arc<Self>) -> Result<(), WalletError> {
        let now = self.parts.runtime.now();
        lock(&self.parts.shared.index).retire(now);
        let fallen = now.saturating_sub(SKEW_SECS + 1);
        for (mint, lots) in self.fallen(fallen)? {
            if lock(&self.busy).insert(mint.clone()) {
                let refunding = Arc::clone(self).refund_mint(mint, lots, now);
                self.parts.runtime.spawn("wallet refund", refunding).detach();
            }
        }
        Ok(())
    }

    /// What has fallen back, by mint, some of each; without what is in operations or was tried lately.
    fn fallen(&self, fallen: Timestamp) -> Result<BTreeMap<MintUrl, Vec<Lot>>, WalletError> {
        let (trades, batches) = self.underway()?;
        let range = || KeyRange::between(&[], &Key::of(fallen));
        let mut mints = BTreeMap::<MintUrl, Vec<Lot>>::new();
        let mut add = |lot: Lot| {
            let lots = mints.entry(lot.currency().mint.clone()).or_default();
            if lots.len() < REFUND_READ && !self.rests(&lot) {
                lots.push(lot);
            }
        };
        self.parts.store.read(|read| {
            read.visit(REFUNDS, range(), |_, lock| {
                if !trades.contains(&lock.trade.to_bytes()) {
                    add(Lot::Lock(lock));
                }
                ControlFlow::Continue(())
            })?;
            for (key, batch) in read.range(BATCHES, range(), usize::MAX)? {
                let Some(id) = key.get(8..).and_then(batch_id).filter(|id| !batches.contains(id)) else { continue };
                let proofs = read.range(PURSE, Key::of(id.0).range(), MAX_OPERATION_INPUTS)?;
                add(Lot::Batch(id, batch, proofs.into_iter().map(|(_, coin)| coin.proof).collect()));
            }
            Ok(())
        })?;
        mints.retain(|_, lots| !lots.is_empty());
        Ok(mints)
    }

    fn rests(&self, lot: &Lot) -> bool {
        let now = self.parts.runtime.instant();
        lock(&self.tried).get(&lot.key()).is_some_and(|(_, again)| now < *again)
    }

    /// A lot has been looked at or swapped. Unless it comes through, the next time waits longer.
    fn note_tried(&self, lot: &Lot) {
        let mut tried = lock(&self.tried);
        let now = self.parts.runtime.instant();
        // A lot that came through is in no table and is never looked for again.
        tried.retain(|_, (_, again)| now < *again + REFUND_LAST_PAUSE);
        let pause = tried.get(&lot.key()).map_or(REFUND_PAUSE, |(pause, _)| REFUND_LAST_PAUSE.min(*pause * 2));
        tried.insert(lot.key(), (pause, now + pause));
    }

    /// The trades and batches whose refund is under way.
    fn underway(&self) -> Result<(BTreeSet<Vec<u8>>, BTreeSet<OperationId>), WalletError> {
        let operations = self.parts.store.read(|read| read.range(OPERATIONS, KeyRange::all(), usize::MAX))?;
        let (mut trades, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (_, record) in operations {
            if let Purpose::Refund { locks, batches } = record.purpose {
                trades.extend(locks.iter().map(|lock| lock.trade.to_bytes()));
                ids.extend(batches.iter().map(|batch| batch.id));
            }
        }
        Ok((trades, ids))
    }

    /// Refunds what has fallen back at one mint.
    async fn refund_mint(self: Arc<Self>, mint: MintUrl, lots: Vec<Lot>, now: Timestamp) {
        let (mut together, mut alone) = (BTreeMap::<Currency, Vec<Lot>>::new(), Vec::new());
        for lot in lots {
            // One that was tried before may be what the mint refuses.
            if lock(&self.tried).contains_key(&lot.key()) {
                alone.push(vec![lot]);
            } else {
                together.entry(lot.currency().clone()).or_default().push(lot);
            }
        }
        for lots in together.into_values().flat_map(in_swaps).chain(alone) {
            lots.iter().for_each(|lot| self.note_tried(lot));
            if let Err(error) = self.refund(lots, now).await {
                tracing::warn!(%mint, %error, "not refunded yet");
            }
        }
        lock(&self.busy).remove(&mint);
    }

    /// Takes some lots of one currency back in one swap.
    async fn refund(&self, mut lots: Vec<Lot>, now: Timestamp) -> Result<(), WalletError> {
        let Some(currency) = lots.first().map(|lot| lot.currency().clone()) else { return Ok(()) };
        for lot in &mut lots {
            self.strike_spent(lot, now).await?;
        }
        let view = self.parts.mints.view_with(&currency.mint, keysets(&lots)).await?;
        lots.retain(|lot| !lot.proofs().is_empty());
        let fee = |lots: &[Lot]| fee(&view, &currency, lots);
        if lots.iter().map(Lot::worth).sum::<u64>() <= fee(&lots)? {
            let may_forget = self.parts.mints.may_forget();
            let old = |lot: &Lot| may_forget && now > lot.locktime().saturating_add(DUST_KEPT_SECS);
            for lot in lots.into_iter().filter(old) {
                self.give_up(lot, now).await?;
            }
            return Ok(());
        }
        let (mut spending, mut locks, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        // The locks first, then the batches: so they are told apart by their place.
        lots.sort_by_key(|lot| matches!(lot, Lot::Batch(..)));
        for lot in lots {
            let (inputs, locktime) = (lot.proofs().len(), lot.locktime());
            spending.push((lot.refund().clone(), lot.proofs().to_vec()));
            match lot {
                Lot::Lock(AtRisk { trade, .. }) => locks.push(RefundedLock { trade, locktime, inputs }),
                Lot::Batch(id, ..) => batches.push(RefundedBatch { id, inputs }),
            }
        }
        let inputs = unlock(&self.parts.runtime, &self.parts.keys, spending).await?;
        let purpose = Purpose::Refund { locks, batches };
        let plan = Plan { currency, inputs, outputs: Vec::new(), purpose, until: None };
        drop(self.parts.ledger.begin(plan).await?);
        Ok(())
    }

    /// Asks the mint what of a lot is spent (NUT-07), and strikes it off.
    async fn strike_spent(&self, lot: &mut Lot, now: Timestamp) -> Result<(), WalletError> {
        let spent = match lot {
            Lot::Lock(AtRisk { trade, currency, refund, conditions, proofs, .. }) => {
                let (trade, locktime, payee) = (*trade, conditions.locktime(), conditions.payee());
                let mut spent = self.parts.spent(&Locked { currency, refund, locktime, payee, proofs }).await?;
                // Another copy of this wallet may have paid with what was in a purse; not with what was made for this trade.
                let may_be_copy = spent.blames() && conditions.once().is_none();
                if may_be_copy && self.parts.ledger.has_another_copy(currency).await? {
                    spent.blame_nobody();
                }
                let struck = spent.clone();
                self.parts.store.transact(move |write| strike(write, trade, locktime, &struck, now)).await?;
                self.parts.shared.outcomes.notify_one();
                spent
            }
            Lot::Batch(id, batch, proofs) => {
                let spent = self.parts.strike_spent_of_batch(*id, batch, proofs).await?;
                let (id, kept) = (*id, batch.clone());
                self.parts.store.transact(move |write| forget_if_empty(write, id, &kept)).await?;
                spent
            }
        };
        lot.retain(|y| !spent.contains(&y));
        Ok(())
    }

    /// It has long been worth no more than the mint's fee.
    async fn give_up(&self, lot: Lot, now: Timestamp) -> Result<(), WalletError> {
        let fee = lot.worth();
        self.parts
            .store
            .transact(move |write| {
                let why = "worth no more than the mint's fee for spending it".to_owned();
                book(write, lot.currency(), now, Reason::Fee, fee, why)?;
                match &lot {
                    Lot::Lock(lock) => {
                        let key = Key::of(lock.conditions.locktime()).and(lock.trade);
                        let Some(waiting) = write.get(REFUNDS, &key)? else { return Ok(()) };
                        write.delete(REFUNDS, key)?;
                        tell(write, lock.trade, MoneyOutcome::Refunded { refunded: 0, redeemed: waiting.redeemed, fee })
                    }
                    Lot::Batch(id, batch, proofs) => {
                        for y in proofs.iter().filter_map(LockedProof::y) {
                            write.delete(PURSE, Key::of(id.0).and(y.0))?;
                        }
                        forget_if_empty(write, *id, batch)
                    }
                }
            })
            .await?;
        self.parts.shared.outcomes.notify_one();
        Ok(())
    }
}

/// Cuts lots into swaps of as many inputs as a mint takes.
fn in_swaps(lots: Vec<Lot>) -> Vec<Vec<Lot>> {
    let (mut swaps, mut open, mut inputs) = (Vec::new(), Vec::new(), 0);
    for lot in lots {
        if inputs + lot.proofs().len() > MAX_OPERATION_INPUTS && !open.is_empty() {
            swaps.push(std::mem::take(&mut open));
            inputs = 0;
        }
        inputs += lot.proofs().len();
        open.push(lot);
    }
    swaps.push(open);
    swaps
}

/// What the mint keeps of some lots. Without its keyset a coin's fee isn't known: it may be worth nothing or all.
fn fee(view: &MintView, currency: &Currency, lots: &[Lot]) -> Result<u64, WalletError> {
    let unknown = || WalletError::NoKeyset { mint: currency.mint.clone(), unit: currency.unit.clone() };
    view.fee(keysets(lots)).ok_or_else(unknown)
}

fn keysets(lots: &[Lot]) -> Vec<KeysetId> {
    lots.iter().flat_map(Lot::proofs).map(|proof| proof.id).collect()
}

fn forget_if_empty(write: &mut Write<'_>, id: OperationId, batch: &BatchRecord) -> Result<(), WalletError> {
    if write.range(PURSE, Key::of(id.0).range(), 1)?.is_empty() {
        write.delete(BATCHES, batch_key(batch.conditions.locktime(), id))?;
    }
    Ok(())
}
