//! The buyer's side: ecash kept pre-locked to sellers, and what becomes of it.
//!
//! ```text
//! lock() ─ from the purse, or, cold, after one swap ─► PreparedLock ─ debit, in the trade's own transaction ─► AT_RISK
//!    │                                                    └ dropped: back into the purse
//!    └ running low: refill ahead of need, in the background, in one swap
//! settle, in the trade's own transaction:   Paid: gone   Returned: back into the purse, once the
//!                                           mint says that it is unspent   Refund: after the locktime
//! ```
//!
//! A **purse** is what is locked to one seller's key at one mint in one unit. It is filled in batches; those of a batch
//! share locktime and refund key, and a lock is made of one batch, because the award names one locktime. A batch holds
//! copies of the parts of the last price asked (powers of two): the first hire of a seller makes just its lock, from
//! the second on a refill is for several, doubling each time up to the bounds of [`PurseConfig`](super::PurseConfig).
//!
//! The index here is in memory; the `PURSE` table is the truth. A debit deletes the proofs' rows and fails if one is
//! gone, so whatever the index believes, no proof pays twice.
//!
//! **What a seller has had.** A coin that a trade gave back is marked with that trade for as long as it is in the purse: its
//! seller can redeem it at any time. It is looked at before it is paid with again and once more before it is refunded; if it
//! was taken, that trade is charged. A refusal doesn't count as a hire, so that it warms no purse.
//!
//! **After a start** the home may be an older backup, and its purse paid with by a newer copy. So the mint is asked in the
//! background what of a purse is spent; a hire waits for that at most [`PURSE_OPEN_PATIENCE`]. A mint that doesn't answer by
//! then is asked on, and its coins are paid with as they stand: for a home that isn't a backup nothing is wrong with them.
//!
//! **Cancel-safe**: a dropped [`Wallet::lock`](super::Wallet::lock) leaves its swap running and the proofs in the purse.

mod index;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use cdk::nuts::State;
use cid::Cid;
use guilder_protocol::{
    bytes::Digest,
    identity::AgentId,
    limits::{MAX_LOCK_SECS, MAX_PROOFS},
    locks::{Keyset, LockedProof, ys_commitment},
    market::{MintUrl, Unit},
    settlement::{
        AwardPart, Lock, LocksTo, Terms,
        escrow::{ReleaseSignature, Shown, key_in},
    },
    time::Timestamp,
    trade::buyer::LockOutcome,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

pub(super) use self::index::Index;
use self::index::{Need, Picked, PurseKey};
use super::{
    super::{
        amounts,
        coin::sum,
        config::PurseConfig,
        error::WalletError,
        ledger::{Handle, states},
        modes::{self, Locking},
        records::{
            AT_RISK, Advance, AtRisk, BATCHES, BatchRecord, Currency, Destination, OPERATIONS, OperationId, PURSE,
            Purpose, PurseCoin, REDEEMED_PROOFS, REFUNDS, RETURNED, Reason, Returned, Y, batch_id, batch_key,
        },
        tables::{advanced, book, lessen_advance, put_in_advance},
    },
    LocksParts, Shared,
};
use crate::{
    limits::{
        LOCK_ENDS_BEFORE_KEYSET_SECS, MAX_REFILLS, PURSE_OPEN_PATIENCE, PURSE_PAUSE, PURSE_RECONCILE, RETURNED_PAUSE,
    },
    runtime::Job,
    store::{Key, KeyRange, Reader, Write},
    sync::lock,
};

/// What a buyer wants locked, from the offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Who is to be paid.
    pub seller: AgentId,
    /// On which terms, from its offer.
    pub terms: Terms,
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
    /// What the seller is to be left with after the mint's fee.
    pub price: u64,
    /// Most proofs that it takes.
    pub max_proofs: usize,
}

/// A lock that was made for a trade, and where.
#[derive(Clone, Copy, Debug)]
pub struct LockOf<'a> {
    /// The mint.
    pub mint: &'a MintUrl,
    /// The lock.
    pub lock: &'a Lock,
    /// What it pays for.
    pub key_hash: Digest,
}

/// Proofs taken out of the purse for one award. Dropped before it is debited, they go back.
#[derive(Debug)]
pub struct PreparedLock {
    purse: Arc<Purse>,
    key: PurseKey,
    picked: Picked,
    fee: u64,
    debited: AtomicBool,
}

impl PreparedLock {
    /// What travels beside the award.
    pub fn lock(&self) -> Lock {
        self.picked.conditions.lock(self.proofs().cloned().collect())
    }

    /// What the award says of it.
    pub fn part(&self) -> AwardPart {
        let ys = ys_commitment(&self.picked.proofs.keys().copied().collect::<Vec<_>>());
        self.picked.conditions.part(ys)
    }

    /// The proofs.
    pub fn proofs(&self) -> impl Iterator<Item = &LockedProof> {
        self.picked.proofs.values()
    }

    /// When the proofs fall back to us.
    pub fn locktime(&self) -> Timestamp {
        self.picked.conditions.locktime()
    }

    /// What the proofs are worth: the price and the mint's fee.
    pub fn amount(&self) -> u64 {
        sum(self.proofs().map(|proof| &proof.amount))
    }

    /// What the mint will keep when the seller redeems them.
    pub fn fee(&self) -> u64 {
        self.fee
    }

    /// Moves the proofs out of the purse, to be at risk in `trade`. For the transaction that records the trade. If they are paid in
    /// advance, or at a mint that the seller hosts, then only if no more than `most` is in its hands so in all, where that is bounded.
    ///
    /// # Errors
    /// If a proof is no longer in the purse, the trade has a lock, or too much would be in the seller's hands; then nothing may be
    /// sent.
    pub fn debit(&self, write: &mut Write<'_>, trade: Cid, most: Option<u64>) -> Result<(), WalletError> {
        // From here on only the store knows where the proofs are.
        self.debited.store(true, Ordering::Relaxed);
        if write.contains(AT_RISK, Key::of(trade))? {
            return Err(WalletError::AlreadyDebited);
        }
        for y in self.picked.proofs.keys() {
            let key = Key::of(self.picked.batch.0).and(y.0);
            let coin = write.get(PURSE, &key)?.ok_or(WalletError::LockGone)?;
            if let Some(giver) = coin.given_back_by {
                // Its seller has had it: from here on it counts to this trade.
                lessen_advance(write, (self.key.seller, &self.key.currency.unit, giver), coin.proof.amount)?;
            }
            write.delete(PURSE, key)?;
        }
        self.advance(write, trade, most)?;
        let at_risk = AtRisk {
            trade,
            batch: self.picked.batch,
            seller: self.key.seller,
            currency: self.key.currency.clone(),
            conditions: self.picked.conditions.clone(),
            refund: self.picked.refund.clone(),
            proofs: self.proofs().cloned().collect(),
            redeemed: 0,
            since: self.purse.parts.runtime.now(),
        };
        Ok(write.put(AT_RISK, Key::of(trade), &at_risk)?)
    }

    /// Counts what the seller can take for nothing.
    fn advance(&self, write: &mut Write<'_>, trade: Cid, most: Option<u64>) -> Result<(), WalletError> {
        let PurseKey { seller, currency, once, .. } = &self.key;
        let parts = &self.purse.parts;
        let is_hosted = || parts.mints.same(&currency.mint).into_iter().any(|url| url.peer() == Some(*seller));
        if once.is_some() && !is_hosted() {
            return Ok(());
        }
        let (unit, now, amount) = (&currency.unit, parts.runtime.now(), self.amount() - self.fee);
        if let Some(max) = most
            && advanced(write, *seller, unit, now)?.saturating_add(amount) > max
        {
            return Err(WalletError::AdvanceCap { max, unit: unit.clone() });
        }
        put_in_advance(write, (*seller, unit, trade), Advance { amount, until: self.locktime() }, now)
    }
}

impl Drop for PreparedLock {
    fn drop(&mut self) {
        if *self.debited.get_mut() {
            self.purse.doubt(&self.key, &self.picked);
            self.purse.work.notify_one();
        } else {
            self.purse.index().put_back(&self.key, &self.picked);
        }
    }
}

/// Writes what becomes of a trade's lock. Does nothing for a trade without one, so that it can be repeated.
fn settle(
    write: &mut Write<'_>,
    shared: &Shared,
    trade: Cid,
    how: LockOutcome,
    now: Timestamp,
) -> Result<(), WalletError> {
    let Some(at_risk) = write.get(AT_RISK, Key::of(trade))? else { return Ok(()) };
    write.delete(AT_RISK, Key::of(trade))?;
    match how {
        LockOutcome::Paid => {
            let AtRisk { seller, currency, .. } = &at_risk;
            lessen_advance(write, (*seller, &currency.unit, trade), u64::MAX)?;
            book(write, currency, now, Reason::Paid, at_risk.amount(), format!("{trade} to {seller}"))
        }
        LockOutcome::Returned => {
            let amount = at_risk.amount();
            let AtRisk { batch, seller, currency, conditions, refund, proofs, .. } = at_risk;
            let mut ys = Vec::with_capacity(proofs.len());
            for proof in proofs {
                let y = proof.y().ok_or(WalletError::Unsettled)?;
                write.put(PURSE, Key::of(batch.0).and(y.0), &PurseCoin { proof, given_back_by: Some(trade) })?;
                ys.push(y);
            }
            // Its conditions may be gone if its locktime has passed meanwhile; the refund needs them.
            let locktime = conditions.locktime();
            let record = BatchRecord { seller, currency: currency.clone(), conditions, refund };
            lock(&shared.index).give_back(&PurseKey::of(&record), trade, amount);
            write.put(BATCHES, batch_key(locktime, batch), &record)?;
            Ok(write.put(RETURNED, Key::of(trade), &Returned { trade, batch, locktime, currency, ys })?)
        }
        LockOutcome::Refund => Ok(write.put(REFUNDS, Key::of(at_risk.conditions.locktime()).and(trade), &at_risk)?),
    }
}

/// The purses.
pub(in super::super) struct Purse {
    parts: LocksParts,
    config: PurseConfig,
    /// One refill at a time per purse; whoever finds it empty waits here for the refill under way.
    filling: Mutex<BTreeMap<PurseKey, Arc<tokio::sync::Mutex<()>>>>,
    /// Proofs whose debit was begun and whose lock was dropped: only the store knows where they are.
    doubts: Mutex<Vec<Doubt>>,
    /// Mints that are being asked about coins that came back.
    checking: Mutex<BTreeSet<MintUrl>>,
    /// What was in the purses when the node started, by mint; a mint goes once it has been asked about it, or is silent.
    unopened: watch::Sender<BTreeMap<MintUrl, Vec<OpenedBatch>>>,
    /// Locks were debited or given back.
    pub(in super::super) work: Notify,
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purse").field("config", &self.config).finish_non_exhaustive()
    }
}

type Doubt = (PurseKey, Timestamp, OperationId, Y);
type OpenedBatch = (OperationId, BatchRecord);

impl Purse {
    /// Reads the purses from the store. Nothing is offered before [`Self::keep`] has asked the mints about it.
    pub(in super::super) fn open(parts: LocksParts, config: PurseConfig) -> Result<Self, WalletError> {
        let usable = KeyRange::all().since(&Key::of(parts.runtime.now()));
        let (batches, returned) = parts.store.read(|read| {
            Ok((read.range(BATCHES, usable, usize::MAX)?, read.range(RETURNED, KeyRange::all(), usize::MAX)?))
        })?;
        let mut unopened = BTreeMap::<MintUrl, Vec<OpenedBatch>>::new();
        for (key, batch) in batches {
            let Some(id) = key.get(8..).and_then(batch_id) else { continue };
            unopened.entry(batch.currency.mint.clone()).or_default().push((id, batch));
        }
        let purse = Self {
            parts,
            config,
            filling: Mutex::default(),
            doubts: Mutex::default(),
            checking: Mutex::default(),
            unopened: watch::Sender::new(unopened),
            work: Notify::new(),
        };
        for (_, Returned { trade, batch, locktime, ys, .. }) in returned {
            let amount = sum(purse.coins(batch, &ys)?.iter().map(|proof| &proof.amount));
            if let Some(record) = purse.parts.store.read(|read| read.get(BATCHES, batch_key(locktime, batch)))? {
                purse.index().give_back(&PurseKey::of(&record), trade, amount);
            }
        }
        Ok(purse)
    }

    /// Begins to ask the mints about what was in the purses at the start, each by itself.
    fn open_all(self: &Arc<Self>) {
        let unopened = self.unopened.borrow().clone();
        for (mint, batches) in unopened {
            let opening = Arc::clone(self).open_at(mint, batches);
            self.parts.runtime.spawn("wallet purse opening", opening).detach();
        }
    }

    async fn open_at(self: Arc<Self>, mint: MintUrl, batches: Vec<OpenedBatch>) {
        let mut asked = timeout(PURSE_OPEN_PATIENCE, self.ask_about(&batches)).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::debug!(%mint, "the purse is opened before its mint has been asked about it");
        }
        self.offer(&batches);
        self.unopened.send_modify(|unopened| _ = unopened.remove(&mint));
        while !matches!(asked, Ok(Ok(()))) {
            sleep(RETURNED_PAUSE).await;
            asked = timeout(self.parts.patience, self.ask_about(&batches)).await;
            if matches!(asked, Ok(Ok(()))) {
                self.offer(&batches);
            }
        }
    }

    /// Asks a mint what of some batches is spent, and strikes it: by a newer copy of this home, if this one is of a backup.
    async fn ask_about(&self, batches: &[OpenedBatch]) -> Result<(), WalletError> {
        for (id, batch) in batches {
            let (id, underway) = (*id, self.refunds_underway()?);
            let proofs: Vec<LockedProof> = self.batch_proofs(id)?.into_values().collect();
            if !proofs.is_empty() && !underway.contains(&id) {
                self.parts.strike_spent_of_batch(id, batch, &proofs).await?;
            }
        }
        Ok(())
    }

    /// The batches that an operation is taking back: their coins are spent by us.
    fn refunds_underway(&self) -> Result<BTreeSet<OperationId>, WalletError> {
        let operations = self.parts.store.read(|read| read.range(OPERATIONS, KeyRange::all(), usize::MAX))?;
        let batches = operations.into_iter().filter_map(|(_, record)| match record.purpose {
            Purpose::Refund { batches, .. } => Some(batches),
            _ => None,
        });
        Ok(batches.flatten().map(|batch| batch.id).collect())
    }

    /// Offers what the store holds of some batches, unless their locktime has passed.
    fn offer(&self, batches: &[OpenedBatch]) {
        let now = self.parts.runtime.now();
        for (id, batch) in batches.iter().filter(|(_, batch)| batch.conditions.locktime() > now) {
            match self.batch_proofs(*id) {
                Ok(proofs) if proofs.is_empty() => self.index().forget(*id, batch),
                Ok(proofs) => self.index().restore(*id, batch, proofs),
                Err(error) => tracing::warn!(%error, "a purse can't be read"),
            }
        }
    }

    /// Waits until a mint has been asked about what was in the purses at the start, or has been given up on.
    async fn opened(&self, mint: &MintUrl) {
        // The sender is ours, so it doesn't end before this does.
        _ = self.unopened.subscribe().wait_for(|unopened| !unopened.contains_key(mint)).await;
    }

    /// Those of some coins that are in a batch of the purse.
    fn coins(&self, batch: OperationId, ys: &[Y]) -> Result<Vec<LockedProof>, WalletError> {
        Ok(self.parts.store.read(|read| {
            let mut coins = Vec::with_capacity(ys.len());
            for y in ys {
                coins.extend(read.get(PURSE, Key::of(batch.0).and(y.0))?.map(|coin| coin.proof));
            }
            Ok(coins)
        })?)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.parts.shared.index)
    }

    fn doubt(&self, key: &PurseKey, picked: &Picked) {
        let doubts = picked.proofs.keys().map(|y| (key.clone(), picked.conditions.locktime(), picked.batch, *y));
        lock(&self.doubts).extend(doubts);
    }

    /// What the index believes is in the purses, by currency.
    pub(in super::super) fn totals(&self) -> BTreeMap<Currency, u64> {
        self.index().totals()
    }

    /// Writes what becomes of a trade's lock. Can be repeated.
    pub(in super::super) fn settle(
        &self,
        write: &mut Write<'_>,
        trade: Cid,
        how: LockOutcome,
    ) -> Result<(), WalletError> {
        settle(write, &self.parts.shared, trade, how, self.parts.runtime.now())
    }

    /// As [`Self::settle`], in a transaction of its own.
    pub(in super::super) async fn settle_now(&self, trade: Cid, how: LockOutcome) -> Result<(), WalletError> {
        let (now, shared) = (self.parts.runtime.now(), Arc::clone(&self.parts.shared));
        self.parts.store.transact(move |write| settle(write, &shared, trade, how, now)).await
    }

    fn filling(&self, key: &PurseKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut filling = lock(&self.filling);
        // Those that nobody holds are as good as new ones.
        filling.retain(|_, one| Arc::strong_count(one) > 1);
        Arc::clone(filling.entry(key.clone()).or_default())
    }

    /// What can be paid with of a batch: without what came back and isn't known to be unspent.
    fn batch_proofs(&self, id: OperationId) -> Result<BTreeMap<Y, LockedProof>, WalletError> {
        let (rows, returned) = self.parts.store.read(|read| {
            let rows = read.range(PURSE, Key::of(id.0).range(), usize::MAX)?;
            Ok((rows, read.range(RETURNED, KeyRange::all(), usize::MAX)?))
        })?;
        let doubtful: BTreeSet<Y> = returned.into_iter().flat_map(|(_, returned)| returned.ys).collect();
        let proofs = rows.into_iter().filter_map(|(_, coin)| Some((coin.proof.y()?, coin.proof)));
        Ok(proofs.filter(|(y, _)| !doubtful.contains(y)).collect())
    }

    /// Keeps the index true to its table.
    pub(in super::super) async fn keep(self: Arc<Self>) {
        self.open_all();
        loop {
            tokio::select! {
                biased;
                () = self.work.notified() => {}
                () = sleep(RETURNED_PAUSE) => {}
            }
            if let Err(error) = self.reconcile().await {
                tracing::warn!(%error, "purse not reconciled");
            }
            // Under load, many locks are looked at together.
            sleep(PURSE_PAUSE).await;
        }
    }

    pub(in super::super) async fn lock(self: &Arc<Self>, request: &LockRequest) -> Result<PreparedLock, WalletError> {
        let other_mode = || WalletError::OtherMode(request.terms.mode());
        let LocksTo { until, .. } = request.terms.locks_to().ok_or_else(other_mode)?;
        let currency = self.parts.mints.currency(&request.mint, &request.unit).await?;
        let view = self.parts.mints.view(&currency.mint).await?;
        let now = self.parts.runtime.now();
        if until > now.saturating_add(MAX_LOCK_SECS) {
            return Err(WalletError::LockTooLong);
        }
        let mut keyset = Arc::clone(view.active(&request.unit, now)?);
        let mut need = Need::new(request, &currency, &keyset).ok_or_else(other_mode)?;
        self.opened(&currency.mint).await;
        if let Some(lock) = self.pick(&need, true) {
            return Ok(lock);
        }
        let filling = self.filling(&need.key);
        let _filling = filling.lock().await;
        for _ in 0..MAX_REFILLS {
            // Somebody else's refill may have been for us too; and somebody who came after ours may have taken it.
            if let Some(lock) = self.pick(&need, false) {
                return Ok(lock);
            }
            if let Err(error) = self.refill(&need, &keyset).await?.wait(self.parts.patience).await {
                // The mint changed its keys while we weren't looking; with those of today it works.
                keyset = self.newer_keyset(request, &keyset).ok_or(error)?;
                need = Need::new(request, &currency, &keyset).ok_or_else(other_mode)?;
                self.refill(&need, &keyset).await?.wait(self.parts.patience).await?;
            }
        }
        self.pick(&need, false).ok_or(WalletError::LockGone)
    }

    /// The keyset to lock with by now, if it isn't `used` any more.
    fn newer_keyset(&self, request: &LockRequest, used: &Keyset) -> Option<Arc<Keyset>> {
        let view = self.parts.mints.cached(&request.mint)?;
        let keyset = view.active(&request.unit, self.parts.runtime.now()).ok()?;
        (keyset.id() != used.id()).then(|| Arc::clone(keyset))
    }

    /// Signs the release of a lock, on a thread for such work.
    pub(in super::super) async fn release(
        &self,
        terms: &Terms,
        lock: &Lock,
    ) -> Result<Vec<ReleaseSignature>, WalletError> {
        let (Some(path), Lock::Escrow(lock)) = (modes::release(terms), lock) else {
            return Err(WalletError::OtherMode(terms.mode()));
        };
        if self.parts.keys.public(&path) != lock.release {
            return Err(WalletError::LockGone);
        }
        let (keys, proofs) = (Arc::clone(&self.parts.keys), lock.proofs.clone());
        let sign = move || {
            let key = keys.secret(&path);
            let sign = |proof: &LockedProof| key.sign(proof.secret.as_bytes()).ok()?.to_string().parse().ok();
            proofs.iter().map(sign).collect::<Option<Vec<_>>>()
        };
        let count = lock.proofs.len() as u32;
        self.parts.runtime.offload(Job::Signatures(count), sign).await.ok_or(WalletError::Unsettled)
    }

    /// What a mint shows of the key that a lock paid for (NUT-07), or has shown before.
    pub(in super::super) async fn shown_key(&self, trade: Cid, of: LockOf<'_>) -> Result<Option<Shown>, WalletError> {
        let LockOf { mint, lock, key_hash } = of;
        let kept = self.parts.store.read(|read| read.get(REDEEMED_PROOFS, Key::of(trade)))?.unwrap_or_default();
        let kept = kept.iter().flat_map(|redeemed| &redeemed.witness).find_map(|text| key_in(text, key_hash));
        if kept.is_some() {
            return Ok(kept);
        }
        let mint = self.parts.mints.primary(mint);
        let client = self.parts.mints.client(&mint)?;
        let ys: Vec<Y> = lock.proofs().iter().filter_map(LockedProof::y).collect();
        let states = states(&client, ys).await?;
        let spent = states.iter().filter(|state| state.state == State::Spent);
        Ok(spent.flat_map(|state| &state.witness).find_map(|text| key_in(text, key_hash)))
    }

    /// Takes a lock out of the index, and has the purse refilled if it runs low.
    fn pick(self: &Arc<Self>, need: &Need, ahead: bool) -> Option<PreparedLock> {
        let mut index = self.index();
        let picked = index.pick(need)?;
        let low = index.runs_low(need, &self.config);
        drop(index);
        if ahead && low {
            self.refill_ahead(need.clone());
        }
        let fee = sum(picked.proofs.values().map(|proof| &proof.amount)) - need.price;
        let lock = PreparedLock {
            purse: Arc::clone(self),
            key: need.key.clone(),
            picked,
            fee,
            debited: AtomicBool::new(false),
        };
        self.parts.notices.locked(&need.key.currency, lock.amount(), ahead);
        Some(lock)
    }

    fn refill_ahead(self: &Arc<Self>, need: Need) {
        let purse = Arc::clone(self);
        let refill = async move {
            let filling = purse.filling(&need.key);
            // One under way is enough.
            let Ok(_filling) = filling.try_lock() else { return };
            let result = purse.refill_warm(&need).await;
            if let Err(error) = result {
                tracing::debug!(seller = %need.key.seller, %error, "purse not refilled");
            }
        };
        self.parts.runtime.spawn("purse refill", refill).detach();
    }

    async fn refill_warm(self: &Arc<Self>, need: &Need) -> Result<(), WalletError> {
        let view = self.parts.mints.view(&need.key.currency.mint).await?;
        let keyset = Arc::clone(view.active(&need.key.currency.unit, self.parts.runtime.now())?);
        self.refill(need, &keyset).await?.wait(self.parts.patience).await?;
        Ok(())
    }

    /// Sets a swap going that locks what `need` asks for, and more of the same if the seller has been hired before.
    async fn refill(self: &Arc<Self>, need: &Need, keyset: &Keyset) -> Result<Handle, WalletError> {
        let max = need.max_proofs.min(MAX_PROOFS);
        let parts =
            amounts::lock_parts(need.price, keyset, max).ok_or(WalletError::Amount { amount: need.price, max })?;
        let now = self.parts.runtime.now();
        let locktime = self.locktime(need, now, keyset)?;
        let copies = self.copies(need, &parts)?;
        let PurseKey { seller, currency, .. } = &need.key;
        let other_mode = || WalletError::OtherMode(need.terms.mode());
        let Locking { conditions, refund } =
            modes::locking(&need.terms, &self.parts.keys, *seller, locktime).ok_or_else(other_mode)?;
        let locked: Vec<_> = parts.iter().map(|amount| (*amount, Destination::Purse)).collect();
        let batch = Box::new(BatchRecord { seller: *seller, currency: currency.clone(), conditions, refund });
        let purpose = Purpose::Refill { batch };
        let (ledger, worth) = (&self.parts.ledger, sum(&parts));
        let several = worth.saturating_mul(copies as u64);
        match ledger.spend(currency, several, locked.repeat(copies), purpose.clone()).await {
            // Not enough for several: the one that is due, then.
            Err(WalletError::Insufficient { .. }) if copies > 1 => ledger.spend(currency, worth, locked, purpose).await,
            other => other,
        }
    }

    /// The locktime of a new batch: it outlives what is asked by the batch's life, rounded up to a bucket. One for one trade
    /// alone has the locktime that is asked.
    fn locktime(&self, need: &Need, now: Timestamp, keyset: &Keyset) -> Result<Timestamp, WalletError> {
        let (config, until) = (&self.config, need.until);
        let bucket = config.bucket_secs.max(1);
        let round_up = |at: Timestamp| Timestamp::from_secs(at.as_secs().div_ceil(bucket).saturating_mul(bucket));
        let allowed = now.saturating_add(MAX_LOCK_SECS);
        // What falls back must be refunded while the mint still honours the keyset.
        let latest = keyset
            .final_expiry()
            .map_or(allowed, |expiry| allowed.min(expiry.saturating_sub(LOCK_ENDS_BEFORE_KEYSET_SECS)));
        let wanted = round_up(until.saturating_add(config.life_secs));
        let candidates = [wanted, round_up(until), until];
        let candidates = if need.key.once.is_some() { &candidates[2..] } else { &candidates[..] };
        candidates.iter().copied().find(|locktime| *locktime <= latest).ok_or(WalletError::LockTooLong)
    }

    /// For how many locks a refill is.
    fn copies(&self, need: &Need, parts: &[u64]) -> Result<usize, WalletError> {
        let config = &self.config;
        let worth = sum(parts).max(1);
        let (wanted, held) = self.index().plan(need, config);
        let spendable = self.parts.ledger.spendable(&need.key.currency)?;
        let room =
            config.cap.saturating_sub(held).min(spendable.saturating_mul(config.max_share_percent.min(100)) / 100);
        let by_value = usize::try_from(room / worth).unwrap_or(usize::MAX);
        let by_count = config.batch / parts.len().max(1);
        Ok(wanted.min(by_value).min(by_count).max(1))
    }

    /// Puts right what the index can't know by itself: locks that were debited and dropped, and locks that trades gave
    /// back.
    async fn reconcile(self: &Arc<Self>) -> Result<(), WalletError> {
        // A debit may still be on its way to the disk: a write of ours that begins now comes after it.
        let doubted = std::mem::take(&mut *lock(&self.doubts));
        let returned = self.parts.store.write(|write| write.range(RETURNED, KeyRange::all(), usize::MAX)).await;
        let returned = match returned {
            Ok(returned) => returned,
            Err(error) => {
                lock(&self.doubts).extend(doubted);
                return Err(error.into());
            }
        };
        // What came back is offered again only once the mint says that it is unspent.
        let unsure: BTreeSet<Y> = returned.iter().flat_map(|(_, returned)| returned.ys.iter().copied()).collect();
        for (key, locktime, batch, y) in doubted {
            let still = self.parts.store.read(|read| read.get(PURSE, Key::of(batch.0).and(y.0)))?;
            let still = still.map(|coin| coin.proof).filter(|_| !unsure.contains(&y));
            self.index().resolve(&key, (locktime, batch), y, still);
        }
        let mut mints = BTreeMap::<MintUrl, Vec<Returned>>::new();
        for (_, returned) in returned {
            let of_mint = mints.entry(returned.currency.mint.clone()).or_default();
            if of_mint.len() < PURSE_RECONCILE {
                of_mint.push(returned);
            }
        }
        for (mint, returned) in mints {
            if lock(&self.checking).insert(mint.clone()) {
                let checking = Arc::clone(self).check_returned(mint, returned);
                self.parts.runtime.spawn("wallet purse check", checking).detach();
            }
        }
        Ok(())
    }

    /// Asks a mint what of the coins that came back the seller has taken all the same, before they are paid with again.
    async fn check_returned(self: Arc<Self>, mint: MintUrl, all: Vec<Returned>) {
        let mut answers = true;
        for returned in all {
            if let Err(error) = self.check_one_returned(returned).await {
                tracing::debug!(%mint, %error, "what came back to the purse can't be paid with yet");
                answers = false;
                break;
            }
        }
        lock(&self.checking).remove(&mint);
        if answers {
            // What came back meanwhile, somebody may wait for.
            self.work.notify_one();
        }
    }

    async fn check_one_returned(&self, returned: Returned) -> Result<(), WalletError> {
        let Returned { trade, batch, locktime, ys, .. } = returned;
        let terms = self.parts.store.read(|read| read.get(BATCHES, batch_key(locktime, batch)))?;
        if let Some(terms) = &terms {
            self.parts.strike_spent_of_batch(batch, terms, &self.coins(batch, &ys)?).await?;
        }
        self.parts.store.write(move |write| write.delete(RETURNED, Key::of(trade))).await?;
        if let Some(terms) = terms {
            self.index().was_asked(&PurseKey::of(&terms), trade);
            self.offer(&[(batch, terms)]);
        }
        Ok(())
    }
}
