//! The seller's side: locks accepted offline, and their redemption in batches.
//!
//! ```text
//! check_lock (CPU, our own keysets) ─► VettedLock ─ reserve, in the trade's own transaction ─► TAKEN
//!     earned: redeemable ─► DUE ─ by count, by time, before the locktime ─► one swap ─► COINS, and the trade is told
//!     failed: void ─► gone; the buyer sweeps after the locktime
//! ```
//!
//! A proof pays once: each Y is reserved for its trade until its locktime has long passed and no lock with it can be
//! accepted again. By Y alone, whatever mint it is said to be of: a mint can have two URLs and change its keys between our
//! looks at them, and no honest buyer uses a nonce twice. What isn't redeemed yet is credit given to the mint, known by
//! its keys, and to the buyer, so both are capped.
//!
//! A batch that the mint refuses falls apart: NUT-07 says which proofs are spent, the rest is due again, each trade on its
//! own, so that none holds up another. One that stays refused until its locktime has passed is given up, with the mint's
//! reason told to its trade. One of which no swap can be made (its mint was taken off the list, or issues nothing in its
//! unit just now) is tried ever less often, which is told once, and waits; it is given up, after its locktime, only when
//! it is worth no more than the fee.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use cid::Cid;
use guilder_protocol::{
    bytes::{ByteArray, LockKey},
    fault::{AtFault, Fault},
    identity::AgentId,
    locks::{CheckedLock, LockedProof},
    market::{MintUrl, Unit},
    settlement::{Lock, LockDemand},
    time::{SKEW_SECS, Timestamp},
};
use tokio::time::Instant;

use super::{
    Inner, WalletError, keys,
    pockets::book,
    records::{
        DUE, Due, MoneyOutcome, OUTCOMES, OWED, Outcome, Pocket, Purpose, RESERVED, SwapInput, TAKEN, TakenLock,
    },
    swap::{self, Plan},
};
use crate::{
    limits::{MAX_DUE_READ, MAX_REDEEM_TRIES, RESERVED_SWEEP},
    runtime::Job,
    store::{Key, KeyRange, Reader, Write},
};

/// A lock that holds, at a mint of ours. Only [`Wallet::check_lock`](super::Wallet::check_lock) makes one.
#[derive(Clone, Debug)]
pub struct VettedLock {
    checked: Arc<CheckedLock>,
    pocket: Pocket,
    pub(super) identity: ByteArray<8>,
    buyer: AgentId,
}

impl VettedLock {
    /// What the check found.
    pub fn checked(&self) -> &CheckedLock {
        &self.checked
    }
}

/// What a lock is offered for, beside what the demand says of it.
#[derive(Clone, Debug)]
pub struct LockContext {
    /// The mint, from the award.
    pub mint: MintUrl,
    /// Who pays.
    pub buyer: AgentId,
    /// On whose authority.
    pub principal: AgentId,
}

fn owed_by_mint(identity: ByteArray<8>, unit: &Unit) -> Key {
    Key::of(identity.0).and(unit.as_str())
}

fn owed_by_buyer(identity: ByteArray<8>, unit: &Unit, buyer: AgentId) -> Key {
    owed_by_mint(identity, unit).and(buyer)
}

fn reserved_key(locktime: Timestamp, y: ByteArray<33>) -> Key {
    Key::of(locktime).and(y.0)
}

impl Inner {
    pub(super) fn lock_key(&self, buyer: AgentId) -> LockKey {
        keys::public(&self.keys.prepaid(buyer))
    }

    pub(super) async fn check_lock(
        &self,
        context: &LockContext,
        demand: &LockDemand,
        lock: &Lock,
    ) -> Result<VettedLock, WalletError> {
        let LockContext { mint, buyer, principal } = context;
        if let Some(host) = mint.peer().filter(|host| [buyer, principal].contains(&host)) {
            return Err(WalletError::PartyMint { mint: mint.clone(), host });
        }
        let view = self.mints.view_with(mint, lock.proofs().iter().map(|proof| proof.id)).await?;
        let (demand, lock, count) = (demand.clone(), lock.clone(), lock.proofs().len() as u32);
        let identity = view.identity;
        let pocket = Pocket::new(mint, &demand.unit);
        // Of a keyset that the mint no longer lists, nobody knows whether it still redeems it.
        let checking = move || demand.check(&lock, &view.listed);
        let checked = Arc::new(self.runtime.offload(Job::Dleq(count), checking).await?);
        Ok(VettedLock { checked, pocket, identity, buyer: *buyer })
    }

    /// Takes a lock for `trade`. Does nothing if it is taken for it already.
    pub(super) fn reserve(&self, write: &mut Write<'_>, lock: &VettedLock, trade: Cid) -> Result<(), WalletError> {
        if write.contains(TAKEN, Key::of(trade))? {
            return Ok(());
        }
        let VettedLock { checked, pocket, identity, buyer } = lock;
        let locktime = checked.locktime();
        for proof in checked.proofs() {
            let key = reserved_key(locktime, proof.y);
            if write.get(RESERVED, &key)?.is_some_and(|holder| holder != trade) {
                return Err(WalletError::AlreadyReserved);
            }
            write.put(RESERVED, key, &trade)?;
        }
        let (config, unit, amount) = (&self.config.takings, &pocket.unit, checked.amount());
        if owe_more(write, owed_by_mint(*identity, unit), amount)? > config.max_per_mint {
            return Err(WalletError::MintCap { max: config.max_per_mint, unit: unit.clone() });
        }
        if owe_more(write, owed_by_buyer(*identity, unit, *buyer), amount)? > config.max_per_buyer {
            return Err(WalletError::BuyerCap { max: config.max_per_buyer, unit: unit.clone() });
        }
        book(write, pocket, |account| account.accepted += amount)?;
        let proofs = checked.proofs().iter().filter_map(|checked| LockedProof::from_cashu(&checked.proof)).collect();
        let taken = TakenLock {
            buyer: *buyer,
            identity: *identity,
            pocket: pocket.clone(),
            locktime,
            proofs,
            tries: 0,
            redeeming: false,
        };
        Ok(write.put(TAKEN, Key::of(trade), &taken)?)
    }

    /// The lock of `trade` is earned: redeem it with the next batch. Does nothing for a trade without one, or if that is
    /// known already.
    pub(super) fn redeemable(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        let Some(taken) = write.get(TAKEN, Key::of(trade))? else { return Ok(()) };
        let key = Key::of(taken.locktime).and(trade);
        if taken.redeeming || write.contains(DUE, &key)? {
            return Ok(());
        }
        let due = Due {
            trade,
            locktime: taken.locktime,
            pocket: taken.pocket.clone(),
            proofs: taken.proofs.len(),
            since: self.runtime.now(),
            tries: taken.tries,
            put_off: 0,
        };
        Ok(write.put(DUE, key, &due)?)
    }

    /// Gives the lock of `trade` up. Does nothing for a trade without one, or whose redemption is under way.
    pub(super) fn void(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        let Some(taken) = write.get(TAKEN, Key::of(trade))?.filter(|taken| !taken.redeeming) else { return Ok(()) };
        for y in taken.proofs.iter().filter_map(LockedProof::y) {
            write.delete(RESERVED, reserved_key(taken.locktime, y))?;
        }
        let amount = taken.amount();
        book(write, &taken.pocket, |account| account.voided += amount)?;
        write.delete(DUE, Key::of(taken.locktime).and(trade))?;
        forget(write, &trade, &taken)
    }

    /// Redeems whatever is due, again and again.
    pub(super) async fn keep_redeeming(self: Arc<Self>) {
        let mut seen = BTreeMap::<Pocket, Instant>::new();
        loop {
            let pause = match self.redeem_due(&mut seen).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "redemption put off");
                    Duration::from_secs(self.config.takings.interval_secs.max(1))
                }
            };
            tokio::select! {
                biased;
                () = self.redeem_work.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts a swap for each pocket whose due proofs are many, old, or near their locktime. Says when to look again.
    async fn redeem_due(self: &Arc<Self>, seen: &mut BTreeMap<Pocket, Instant>) -> Result<Duration, WalletError> {
        let config = &self.config.takings;
        let interval = Duration::from_secs(config.interval_secs);
        let (now, instant) = (self.runtime.now(), self.runtime.instant());
        let rows = self.due(now)?;
        let full = rows.len() == MAX_DUE_READ;
        let mut pockets = BTreeMap::<Pocket, Vec<Due>>::new();
        for due in rows {
            pockets.entry(due.pocket.clone()).or_default().push(due);
        }
        seen.retain(|pocket, _| pockets.contains_key(pocket));
        let mut next = interval.max(Duration::from_secs(1)) * 12;
        let mut begun = false;
        for (pocket, rows) in pockets {
            let since = *seen.entry(pocket.clone()).or_insert(instant);
            let proofs: usize = rows.iter().map(|due| due.proofs).sum();
            let urgent = rows.iter().any(|due| due.locktime <= now.saturating_add(config.margin_secs));
            let retried = rows.iter().any(|due| due.setbacks() > 0);
            let age = instant.duration_since(since);
            if proofs < config.batch && age < interval && !urgent && !retried {
                next = next.min(interval - age);
                continue;
            }
            seen.remove(&pocket);
            for batch in batches(rows, config.batch) {
                // One that can't be redeemed now holds up no other, of this mint or another.
                match self.redeem(&pocket, &batch, now).await {
                    Ok(()) => begun = true,
                    Err(WalletError::Store(error)) => return Err(error.into()),
                    Err(error) => self.put_off(&pocket, batch, now, &error).await?,
                }
            }
        }
        Ok(if full && begun { Duration::ZERO } else { next })
    }

    /// What is to be redeemed now, those whose locktime is nearest first. What waits for another try keeps nothing else
    /// from it.
    fn due(&self, now: Timestamp) -> Result<Vec<Due>, WalletError> {
        let mut rows = Vec::new();
        self.store.read(|read| {
            read.visit(DUE, KeyRange::all(), |_, due| {
                if due.setbacks() == 0 || now >= due.again_at() {
                    rows.push(due);
                }
                if rows.len() < MAX_DUE_READ { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        Ok(rows)
    }

    /// No swap can be made of these: they are tried again later, each on its own.
    async fn put_off(
        &self,
        pocket: &Pocket,
        batch: Vec<Due>,
        now: Timestamp,
        error: &WalletError,
    ) -> Result<(), WalletError> {
        tracing::warn!(mint = %pocket.mint, %error, locks = batch.len(), "redemption put off");
        if batch.iter().any(|due| due.put_off == 0) {
            let reason = format!("{} earned locks can't be redeemed yet: {error}", batch.len());
            self.tell_money_trouble(&pocket.mint, error.fault(), reason);
        }
        for due in batch {
            let fallen = due.put_off >= MAX_REDEEM_TRIES && now > due.locktime.saturating_add(SKEW_SECS);
            if fallen && matches!(error, WalletError::Insufficient { .. }) {
                self.give_up(due.trade, "it is worth no more than the mint's fee".into()).await?;
                continue;
            }
            let key = Key::of(due.locktime).and(due.trade);
            let later = Due { put_off: due.put_off.saturating_add(1), since: now, ..due };
            self.store
                .write(move |write| {
                    // Unless it was voided meanwhile.
                    if write.contains(DUE, &key)? { write.put(DUE, &key, &later) } else { Ok(()) }
                })
                .await?;
        }
        Ok(())
    }

    async fn redeem(self: &Arc<Self>, pocket: &Pocket, batch: &[Due], now: Timestamp) -> Result<(), WalletError> {
        let (mut trades, mut signing) = (Vec::new(), Vec::new());
        for &Due { trade, locktime, tries, .. } in batch {
            if tries >= MAX_REDEEM_TRIES && now > locktime.saturating_add(SKEW_SECS) {
                self.give_up(trade, "the mint refused it until its locktime had passed".into()).await?;
                continue;
            }
            let Some(taken) = self.store.read(|read| read.get(TAKEN, Key::of(trade)))? else { continue };
            let key = self.keys.prepaid(taken.buyer);
            signing.extend(taken.proofs.into_iter().map(|proof| (proof, key.clone())));
            trades.push(trade);
        }
        if trades.is_empty() {
            return Ok(());
        }
        let count = signing.len() as u32;
        let sign = move || {
            let signed = |(proof, key): (LockedProof, _)| SwapInput::signed(proof.into(), &key);
            signing.into_iter().map(signed).collect::<Option<Vec<_>>>()
        };
        let inputs = self.runtime.offload(Job::Signatures(count), sign).await.ok_or(WalletError::Unsettled)?;
        let plan = Plan { pocket: pocket.clone(), inputs, outputs: Vec::new(), purpose: Purpose::Redeem { trades } };
        match swap::start(self, plan.build(self).await?).await {
            // A trade of the batch was voided or redeemed meanwhile: look again.
            Err(WalletError::LockGone) => self.redeem_work.notify_one(),
            started => _ = started?,
        }
        Ok(())
    }

    /// It can't be redeemed, and by now the buyer can have it.
    async fn give_up(&self, trade: Cid, why: String) -> Result<(), WalletError> {
        let reason = why.clone();
        let lost = self
            .store
            .transact(move |write| {
                let Some(taken) = write.get(TAKEN, Key::of(trade))? else { return Ok(None) };
                let lost = taken.amount();
                book(write, &taken.pocket, |account| account.lost += lost)?;
                write.delete(DUE, Key::of(taken.locktime).and(trade))?;
                forget(write, &trade, &taken)?;
                tell(write, trade, MoneyOutcome::RedeemFailed { why })?;
                Ok::<_, WalletError>(Some((taken.pocket, lost)))
            })
            .await?;
        if let Some((Pocket { mint, unit }, lost)) = lost {
            self.tell_money_trouble(&mint, Fault::Mint, format!("{lost} {unit} lost: {reason}"));
        }
        self.outcome_work.notify_one();
        Ok(())
    }

    /// Forgets reservations whose proofs no check lets through any more: their locktime is past any offer's earliest.
    pub(super) async fn forget_reserved(&self) -> Result<(), WalletError> {
        let end = Key::of(self.runtime.now().saturating_sub(2 * SKEW_SECS));
        loop {
            let end = end.clone();
            let gone = self
                .store
                .write(move |write| {
                    let range = KeyRange::between(&[], &end);
                    let old = write.range(RESERVED, range, RESERVED_SWEEP)?;
                    for (key, _) in &old {
                        write.delete(RESERVED, key)?;
                    }
                    Ok(old.len())
                })
                .await?;
            if gone < RESERVED_SWEEP {
                return Ok(());
            }
        }
    }
}

/// Cuts due trades into swaps: those refused before each on its own, the others by `size` proofs.
fn batches(rows: Vec<Due>, size: usize) -> Vec<Vec<Due>> {
    let (mut done, mut open, mut proofs) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        if row.setbacks() > 0 {
            done.push(vec![row]);
            continue;
        }
        proofs += row.proofs;
        open.push(row);
        if proofs >= size {
            done.push(std::mem::take(&mut open));
            proofs = 0;
        }
    }
    if !open.is_empty() {
        done.push(open);
    }
    done
}

fn owe_more(write: &mut Write<'_>, key: Key, amount: u64) -> Result<u64, WalletError> {
    let owed = write.get(OWED, &key)?.unwrap_or_default().saturating_add(amount);
    write.put(OWED, key, &owed)?;
    Ok(owed)
}

/// Lowers what mint and buyer owe by a part of a taken lock.
pub(super) fn owe_less(write: &mut Write<'_>, taken: &TakenLock, amount: u64) -> Result<(), WalletError> {
    let unit = &taken.pocket.unit;
    for key in [owed_by_mint(taken.identity, unit), owed_by_buyer(taken.identity, unit, taken.buyer)] {
        match write.get(OWED, &key)?.unwrap_or_default().saturating_sub(amount) {
            0 => write.delete(OWED, key)?,
            owed => write.put(OWED, key, &owed)?,
        }
    }
    Ok(())
}

/// Takes a lock off the books: redeemed, given up or lost.
pub(super) fn forget(write: &mut Write<'_>, trade: &Cid, taken: &TakenLock) -> Result<(), WalletError> {
    owe_less(write, taken, taken.amount())?;
    Ok(write.delete(TAKEN, Key::of(trade))?)
}

/// Writes down what became of a trade's money, for the trade room to take note of.
pub(super) fn tell(write: &mut Write<'_>, trade: Cid, outcome: MoneyOutcome) -> Result<(), WalletError> {
    Ok(write.put(OUTCOMES, Key::of(trade), &Outcome { trade, outcome })?)
}
