//! The seller's side: locks accepted offline, and their redemption in batches.
//!
//! ```text
//! check_lock (CPU, our own keysets) ─► VettedLock ─ reserve, in the trade's own transaction ─► ACCEPTED
//!     earned: redeemable ─► DUE ─ by count, by time, before the locktime ─► one swap ─► COINS, and the trade is told
//!     failed: void ─► gone; the buyer takes its refund after the locktime
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

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Duration,
};

use cdk::nuts::State;
use cid::Cid;
use guilder_protocol::{
    bytes::ByteArray,
    fault::{AtFault, Fault},
    identity::AgentId,
    locks::{CheckedLock, LockedProof},
    market::MintUrl,
    seal::SealKey,
    settlement::{Lock, LockDemand, Mode, Terms, escrow::ReleaseSignature},
    time::{SKEW_SECS, Timestamp},
};
use tokio::time::Instant;

use super::{
    super::{
        config::RedemptionConfig,
        error::WalletError,
        ledger::{Plan, states},
        modes::{self, Taking},
        records::{
            ACCEPTED, AcceptedEscrow, AcceptedLock, Currency, DUE, Due, MoneyOutcome, Purpose, RESERVED, Reason,
        },
        spend::unlock,
        tables::{book, forget_accepted, hold_more, owe_less, owe_more, owed, tell},
    },
    LocksParts,
};
use crate::{
    limits::{MAX_DUE_READ, MAX_REDEEM_TRIES, MAX_RESERVED_READ, RESERVED_PAUSE},
    runtime::Job,
    store::{Key, KeyRange, Reader, Write},
    sync::lock,
};

/// A lock that holds, at a mint of ours. Only [`Wallet::check_lock`](crate::wallet::Wallet::check_lock) makes one.
#[derive(Clone, Debug)]
pub struct VettedLock {
    checked: Arc<CheckedLock>,
    currency: Currency,
    pub(in super::super) identity: ByteArray<8>,
    buyer: AgentId,
    taking: Taking,
}

impl VettedLock {
    /// The same, in a place that its buyer has earned by paying, if it is in escrow.
    pub fn earned(mut self, earned: bool) -> Self {
        self.taking.escrow = self.taking.escrow.map(|escrow| AcceptedEscrow { earned, ..escrow });
        self
    }

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

/// What is to be redeemed now, and when there is more.
type DueNow = (BTreeMap<Currency, Vec<Due>>, Option<Timestamp>);

fn reserved_key(locktime: Timestamp, y: ByteArray<33>) -> Key {
    Key::of(locktime).and(y.0)
}

/// The seller's side.
pub(in super::super) struct Redemption {
    parts: LocksParts,
    config: RedemptionConfig,
    /// Mints whose due locks are being put into operations.
    busy: Mutex<BTreeSet<MintUrl>>,
    /// Since when a currency has had something due.
    seen: Mutex<BTreeMap<Currency, Instant>>,
    /// What was earned since the last look, and what that left.
    waiting: Mutex<Waiting>,
}

/// What waits for its batch, as far as it takes to know whether a look is worth it: each reads all that is due. A look comes by
/// itself within the interval; so what is counted too early, before its transaction is there to be seen, is late by that at most.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    /// Proofs that the last look left for a fuller batch, and that were earned since.
    proofs: usize,
    /// The last look left something, and so says when the next is.
    left_some: bool,
}

impl Redemption {
    pub(in super::super) fn new(parts: LocksParts, config: RedemptionConfig) -> Self {
        let (busy, seen, waiting) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { parts, config, busy, seen, waiting }
    }

    pub(in super::super) fn terms(&self, mode: &Mode, buyer: AgentId, deadline: Timestamp) -> Option<Terms> {
        let label = self.parts.runtime.random::<16>().into();
        modes::terms(mode, &self.parts.keys, modes::Asking { buyer, deadline, label, config: &self.config })
    }

    /// The key that seals what is delivered under our own terms; `None` in a mode that seals nothing.
    pub(in super::super) fn seal_key(&self, terms: &Terms) -> Option<SealKey> {
        modes::seal_key(terms, &self.parts.keys)
    }

    /// The buyer has released the lock of `trade`, with one signature for each proof in its order, which the caller has
    /// checked. It is redeemed at once. Does nothing for a trade without one in escrow, or if that is known already.
    pub(in super::super) fn released(
        &self,
        write: &mut Write<'_>,
        trade: Cid,
        signatures: &[ReleaseSignature],
    ) -> Result<(), WalletError> {
        let Some(accepted) = write.get(ACCEPTED, Key::of(trade))?.filter(|accepted| !accepted.redeeming) else {
            return Ok(());
        };
        let Some(escrow) = accepted.escrow.clone().filter(|escrow| !escrow.released) else { return Ok(()) };
        let pairs = accepted.proofs.iter().zip(signatures);
        let given = pairs.filter_map(|(proof, signature)| Some((proof.y()?, signature.to_string()))).collect();
        let key = self.parts.keys.secret(&escrow.key).to_secret_bytes();
        let spend = accepted.spend.clone().released(given, key.into());
        // From here on it is money like any other; nobody turns money away.
        owe_less(write, &accepted, accepted.amount())?;
        owe_more(write, accepted.identity, &accepted.currency.unit, accepted.buyer, accepted.amount())?;
        let escrow = Some(AcceptedEscrow { released: true, ..escrow });
        write.put(ACCEPTED, Key::of(trade), &AcceptedLock { spend, escrow, ..accepted })?;
        self.redeemable(write, trade)
    }

    pub(in super::super) async fn check_lock(
        &self,
        context: &LockContext,
        demand: &LockDemand,
        lock: &Lock,
    ) -> Result<VettedLock, WalletError> {
        let LockContext { mint, buyer, principal } = context;
        let currency = self.parts.mints.currency(mint, &demand.unit).await?;
        // Under whichever of its URLs it is named.
        let mut hosts = self.parts.mints.same(mint).into_iter().filter_map(|url| url.peer());
        if let Some(host) = hosts.find(|host| [buyer, principal].contains(&host)) {
            return Err(WalletError::PartyMint { mint: mint.clone(), host });
        }
        self.parts.mints.check_clock(mint).await?;
        let ids: Vec<_> = lock.proofs().iter().map(|proof| proof.id).collect();
        let view = self.parts.mints.view_with(mint, ids).await?;
        let (demand, lock, count) = (demand.clone(), lock.clone(), lock.proofs().len() as u32);
        let other_mode = || WalletError::OtherMode(demand.terms.mode());
        let taking = modes::redemption(&demand.terms, *buyer).ok_or_else(other_mode)?;
        let identity = view.identity;
        // Of a keyset that the mint no longer lists, nobody knows whether it still redeems it.
        let checking = move || demand.check(&lock, &view.listed);
        let checked = Arc::new(self.parts.runtime.offload(Job::Dleq(count), checking).await?);
        Ok(VettedLock { checked, currency, identity, buyer: *buyer, taking })
    }

    /// Whether the mint says that something of the lock accepted for `trade` is spent.
    pub(in super::super) async fn is_taken(&self, trade: Cid) -> Result<bool, WalletError> {
        let Some(accepted) = self.parts.store.read(|read| read.get(ACCEPTED, Key::of(trade)))? else {
            return Ok(false);
        };
        let client = self.parts.mints.client(&accepted.currency.mint)?;
        let states = states(&client, accepted.proofs.iter().filter_map(LockedProof::y)).await?;
        Ok(states.iter().any(|state| state.state == State::Spent))
    }

    pub(in super::super) async fn has_another_copy(&self, trade: Cid) -> Result<bool, WalletError> {
        let accepted = self.parts.store.read(|read| read.get(ACCEPTED, Key::of(trade)))?;
        match accepted {
            Some(accepted) => self.parts.ledger.has_another_copy(&accepted.currency).await,
            None => Ok(false),
        }
    }

    /// Takes a lock for `trade`. Does nothing if it is taken for it already.
    pub(in super::super) fn reserve(
        &self,
        write: &mut Write<'_>,
        lock: &VettedLock,
        trade: Cid,
    ) -> Result<(), WalletError> {
        if write.contains(ACCEPTED, Key::of(trade))? {
            return Ok(());
        }
        let VettedLock { checked, currency, identity, buyer, taking } = lock;
        let locktime = checked.locktime();
        for proof in checked.proofs() {
            let key = reserved_key(locktime, proof.y);
            if write.get(RESERVED, &key)?.is_some_and(|holder| holder != trade) {
                return Err(WalletError::AlreadyReserved);
            }
            write.put(RESERVED, key, &trade)?;
        }
        let now = self.parts.runtime.now();
        book(write, currency, now, Reason::Accepted, checked.amount(), format!("{trade} from {buyer}"))?;
        let proofs = checked.proofs().iter().filter_map(|checked| LockedProof::from_cashu(&checked.proof)).collect();
        let accepted = AcceptedLock {
            buyer: *buyer,
            identity: *identity,
            currency: currency.clone(),
            locktime,
            spend: taking.spend.clone(),
            proofs,
            tries: 0,
            redeeming: false,
            escrow: taking.escrow.clone(),
        };
        self.check_caps(write, &accepted)?;
        Ok(write.put(ACCEPTED, Key::of(trade), &accepted)?)
    }

    /// Counts a lock to what its mint and its buyer owe; or, in escrow, to what isn't released: it takes nothing of the credit
    /// until it is, and nothing of it from others ever, but isn't taken either where that credit is used up.
    fn check_caps(&self, write: &mut Write<'_>, accepted: &AcceptedLock) -> Result<(), WalletError> {
        let AcceptedLock { identity, buyer, currency: Currency { unit, .. }, .. } = accepted;
        let (config, amount) = (&self.config, accepted.amount());
        let (by_mint, by_buyer) = if accepted.escrow.is_some() {
            let (of_buyer, shared) = hold_more(write, accepted)?;
            if of_buyer > config.max_unreleased_per_buyer {
                return Err(WalletError::BuyerCap { max: config.max_unreleased_per_buyer, unit: unit.clone() });
            }
            if shared > config.max_unreleased_shared {
                return Err(WalletError::MintCap { max: config.max_unreleased_shared, unit: unit.clone() });
            }
            let (by_mint, by_buyer) = owed(write, *identity, unit, *buyer)?;
            (by_mint.saturating_add(amount), by_buyer.saturating_add(amount))
        } else {
            owe_more(write, *identity, unit, *buyer, amount)?
        };
        if by_mint > config.max_per_mint {
            return Err(WalletError::MintCap { max: config.max_per_mint, unit: unit.clone() });
        }
        if by_buyer > config.max_per_buyer {
            return Err(WalletError::BuyerCap { max: config.max_per_buyer, unit: unit.clone() });
        }
        Ok(())
    }

    /// The lock of `trade` is earned: redeem it with the next batch. Does nothing for a trade without one, or if that is
    /// known already.
    pub(in super::super) fn redeemable(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        let Some(accepted) = write.get(ACCEPTED, Key::of(trade))? else { return Ok(()) };
        let key = Key::of(accepted.locktime).and(trade);
        if accepted.redeeming || write.contains(DUE, &key)? {
            return Ok(());
        }
        let due = Due {
            trade,
            locktime: accepted.locktime,
            currency: accepted.currency.clone(),
            proofs: accepted.proofs.len(),
            since: self.parts.runtime.now(),
            tried: self.parts.runtime.now(),
            tries: accepted.tries,
            put_off: 0,
            redeem_by: accepted.escrow.map(|escrow| escrow.redeem_by),
        };
        lock(&self.waiting).proofs += due.proofs;
        Ok(write.put(DUE, key, &due)?)
    }

    /// Whether a look is worth it, now that something was earned.
    pub(in super::super) fn is_batch_earned(&self) -> bool {
        let waiting = lock(&self.waiting);
        !waiting.left_some || waiting.proofs >= self.config.batch
    }

    /// Gives the lock of `trade` up. Does nothing for a trade without one, or whose redemption is under way. Its proofs stay
    /// reserved all the same: what was signed of this trade names them, and would convict us of taking them if they paid for another.
    pub(in super::super) fn void(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        let Some(accepted) = write.get(ACCEPTED, Key::of(trade))?.filter(|accepted| !accepted.redeeming) else {
            return Ok(());
        };
        let now = self.parts.runtime.now();
        book(write, &accepted.currency, now, Reason::Voided, accepted.amount(), trade.to_string())?;
        write.delete(DUE, Key::of(accepted.locktime).and(trade))?;
        forget_accepted(write, &trade, &accepted)
    }

    /// Redeems whatever is due, again and again; each mint's in a task of its own.
    pub(in super::super) async fn keep(self: Arc<Self>) {
        loop {
            let pause = match self.redeem_due() {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "redemption put off");
                    Duration::from_secs(self.config.interval_secs.max(1))
                }
            };
            tokio::select! {
                biased;
                () = self.parts.shared.redeem.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts a swap for each currency whose due proofs are many, old, or near their locktime. Says when to look again.
    fn redeem_due(self: &Arc<Self>) -> Result<Duration, WalletError> {
        let config = &self.config;
        let interval = Duration::from_secs(config.interval_secs);
        let (now, instant) = (self.parts.runtime.now(), self.parts.runtime.instant());
        // Before the look: what is earned meanwhile counts from here on.
        *lock(&self.waiting) = Waiting::default();
        let (mut currencies, again_at) = self.due(now)?;
        let mut seen = lock(&self.seen);
        seen.retain(|currency, _| currencies.contains_key(currency));
        currencies.retain(|currency, _| !lock(&self.busy).contains(&currency.mint));
        let mut next = interval.max(Duration::from_secs(1)) * 12;
        if let Some(again_at) = again_at {
            // What is earned beside it is looked at within the interval.
            next = next.min(Duration::from_secs(again_at.since(now).max(1))).min(interval.max(Duration::from_secs(1)));
        }
        let mut left = Waiting { proofs: 0, left_some: again_at.is_some() };
        let mut ripe = BTreeMap::<MintUrl, Vec<(Currency, Vec<Due>)>>::new();
        for (currency, rows) in currencies {
            let since = *seen.entry(currency.clone()).or_insert(instant);
            let proofs: usize = rows.iter().map(|due| due.proofs).sum();
            let margin = now.saturating_add(config.margin_secs);
            let urgent = rows.iter().any(|due| due.redeem_by.is_some() || due.locktime <= margin);
            let retried = rows.iter().any(|due| due.setbacks() > 0);
            let age = instant.duration_since(since);
            if proofs < config.batch && age < interval && !urgent && !retried {
                next = next.min(interval - age);
                left = Waiting { proofs: left.proofs + proofs, left_some: true };
                continue;
            }
            seen.remove(&currency);
            ripe.entry(currency.mint.clone()).or_default().push((currency, rows));
        }
        drop(seen);
        {
            let mut waiting = lock(&self.waiting);
            *waiting = Waiting { proofs: waiting.proofs + left.proofs, left_some: left.left_some };
        }
        for (mint, work) in ripe {
            lock(&self.busy).insert(mint.clone());
            let redeeming = Arc::clone(self).redeem_mint(mint, work, now);
            self.parts.runtime.spawn("wallet redemption", redeeming).detach();
        }
        // However long batches may fill, what is earned is looked at well before it can fall back.
        Ok(next.min(Duration::from_secs((config.margin_secs / 2).max(1))))
    }

    /// Redeems what is due at one mint.
    async fn redeem_mint(self: Arc<Self>, mint: MintUrl, work: Vec<(Currency, Vec<Due>)>, now: Timestamp) {
        let mut full = false;
        for (currency, rows) in work {
            full = full || rows.len() >= MAX_DUE_READ;
            for batch in batches(rows, self.config.batch) {
                // One that can't be redeemed now holds up no other.
                let redeemed = match self.redeem(&currency, &batch).await {
                    Err(WalletError::Store(error)) => Err(WalletError::Store(error)),
                    Err(error) => self.put_off(&currency, batch, now, &error).await,
                    done => done,
                };
                if let Err(error) = redeemed {
                    tracing::warn!(%error, "redemption put off");
                }
            }
        }
        lock(&self.busy).remove(&mint);
        if full {
            self.parts.shared.redeem.notify_one();
        }
    }

    /// What is to be redeemed now, by currency, those whose locktime is nearest first, and when something is to be tried again. What
    /// waits for another try keeps nothing else from it, nor does one mint another's.
    fn due(&self, now: Timestamp) -> Result<DueNow, WalletError> {
        let (mut currencies, mut next) = (BTreeMap::<Currency, Vec<Due>>::new(), None);
        self.parts.store.read(|read| {
            read.visit(DUE, KeyRange::all(), |_, due| {
                if due.setbacks() == 0 || now >= due.again_at(now) {
                    let rows = currencies.entry(due.currency.clone()).or_default();
                    if rows.len() < MAX_DUE_READ {
                        rows.push(due);
                    }
                } else {
                    next = next.into_iter().chain([due.again_at(now)]).min();
                }
                ControlFlow::Continue(())
            })
        })?;
        Ok((currencies, next))
    }

    /// No swap can be made of these: they are tried again later, each on its own.
    async fn put_off(
        &self,
        currency: &Currency,
        batch: Vec<Due>,
        now: Timestamp,
        error: &WalletError,
    ) -> Result<(), WalletError> {
        tracing::warn!(mint = %currency.mint, %error, locks = batch.len(), "redemption put off");
        if batch.iter().any(|due| due.put_off == 0) {
            let reason = format!("{} earned locks can't be redeemed yet: {error}", batch.len());
            match error {
                WalletError::Mint(trouble) if trouble.is_silence() => {
                    self.parts.notices.mint_trouble(&currency.mint, reason);
                }
                _ => self.parts.notices.money_trouble(&currency.mint, error.fault(), reason),
            }
        }
        for due in batch {
            let fallen = due.put_off >= MAX_REDEEM_TRIES && now > due.locktime.saturating_add(SKEW_SECS);
            if fallen && matches!(error, WalletError::Insufficient { .. }) {
                self.give_up(due.trade, "it is worth no more than the mint's fee".into()).await?;
                continue;
            }
            let key = Key::of(due.locktime).and(due.trade);
            let later = Due { put_off: due.put_off.saturating_add(1), tried: now, ..due };
            self.parts
                .store
                .write(move |write| {
                    // Unless it was voided meanwhile.
                    if write.contains(DUE, &key)? { write.put(DUE, &key, &later) } else { Ok(()) }
                })
                .await?;
        }
        Ok(())
    }

    async fn redeem(&self, currency: &Currency, batch: &[Due]) -> Result<(), WalletError> {
        // What is too late is too late by the mint's clock.
        let mint_time = self.parts.mints.time_of(&currency.mint).await?;
        let (mut trades, mut locks, mut until) = (Vec::new(), Vec::new(), None);
        for &Due { trade, locktime, tries, redeem_by, .. } in batch {
            if redeem_by.is_some_and(|redeem_by| mint_time > redeem_by) {
                self.give_up(trade, "it was not redeemed before its last moment had passed".into()).await?;
                continue;
            }
            if tries >= MAX_REDEEM_TRIES && mint_time > locktime.saturating_add(SKEW_SECS) {
                self.give_up(trade, "the mint refused it until its locktime had passed".into()).await?;
                continue;
            }
            let Some(accepted) = self.parts.store.read(|read| read.get(ACCEPTED, Key::of(trade)))? else { continue };
            locks.push((accepted.spend, accepted.proofs));
            trades.push(trade);
            until = redeem_by.into_iter().chain(until).min();
        }
        if trades.is_empty() {
            return Ok(());
        }
        let inputs = unlock(&self.parts.runtime, &self.parts.keys, locks).await?;
        let purpose = Purpose::Redeem { trades };
        let plan = Plan { currency: currency.clone(), inputs, outputs: Vec::new(), purpose, until };
        match self.parts.ledger.begin(plan).await {
            // A trade of the batch was voided or redeemed meanwhile: look again.
            Err(WalletError::LockGone) => self.parts.shared.redeem.notify_one(),
            started => _ = started?,
        }
        Ok(())
    }

    /// It can't be redeemed, and by now the buyer can have it.
    async fn give_up(&self, trade: Cid, why: String) -> Result<(), WalletError> {
        let (reason, now) = (why.clone(), self.parts.runtime.now());
        let lost = self
            .parts
            .store
            .transact(move |write| {
                let known = write.get(ACCEPTED, Key::of(trade))?.filter(|accepted| !accepted.redeeming);
                let Some(accepted) = known else { return Ok(None) };
                let lost = accepted.amount();
                book(write, &accepted.currency, now, Reason::Lost, lost, format!("{trade}: {why}"))?;
                write.delete(DUE, Key::of(accepted.locktime).and(trade))?;
                forget_accepted(write, &trade, &accepted)?;
                tell(write, trade, MoneyOutcome::RedeemFailed { why })?;
                Ok::<_, WalletError>(Some((accepted.currency, lost)))
            })
            .await?;
        if let Some((Currency { mint, unit }, lost)) = lost {
            self.parts.notices.money_trouble(&mint, Fault::Mint, format!("{lost} {unit} lost: {reason}"));
        }
        self.parts.shared.outcomes.notify_one();
        Ok(())
    }

    /// Forgets reservations whose proofs no check lets through any more: their locktime is past any offer's earliest. Only
    /// while a mint confirms our clock, for one that jumps ahead and back would let a proof pay twice.
    pub(in super::super) async fn keep_forgetting(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RESERVED_PAUSE).await;
            if let Err(error) = self.forget_reserved().await {
                tracing::warn!(%error, "old reservations not forgotten");
            }
        }
    }

    async fn forget_reserved(&self) -> Result<(), WalletError> {
        while self.parts.mints.clock_is_confirmed() {
            let end = Key::of(self.parts.runtime.now().saturating_sub(2 * SKEW_SECS));
            let forgetting = move |write: &mut Write<'_>| {
                let old = write.range(RESERVED, KeyRange::between(&[], &end), MAX_RESERVED_READ)?;
                for (key, _) in &old {
                    write.delete(RESERVED, key)?;
                }
                Ok(old.len())
            };
            if self.parts.store.write(forgetting).await? < MAX_RESERVED_READ {
                break;
            }
        }
        Ok(())
    }
}

/// Cuts due trades into swaps: those refused before each on its own, the others by `size` proofs; those in escrow, of which a
/// swap can come too late, apart from the rest.
fn batches(rows: Vec<Due>, size: usize) -> Vec<Vec<Due>> {
    let (escrow, prepaid): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.redeem_by.is_some());
    [escrow, prepaid].into_iter().flat_map(|rows| by_size(rows, size)).collect()
}

fn by_size(rows: Vec<Due>, size: usize) -> Vec<Vec<Due>> {
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
