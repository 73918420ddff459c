//! Which proofs are free, by purse, batch and amount; and how many more are wanted.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use guilder_protocol::{
    bytes::{Digest, LockKey},
    identity::AgentId,
    locks::{Keyset, KeysetId, LockedProof},
    settlement::{Conditions, LocksTo, Terms},
    time::Timestamp,
};

use super::{
    super::super::{
        amounts,
        coin::sum,
        config::PurseConfig,
        records::{BatchRecord, Currency, OperationId, Y},
        spend::Spend,
    },
    LockRequest,
};
use crate::limits::MAX_PURSES;

/// Names a purse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct PurseKey {
    pub(super) seller: AgentId,
    pub(super) payee: LockKey,
    pub(super) currency: Currency,
    /// What is paid for, if it is for one trade alone.
    pub(super) once: Option<Digest>,
}

impl PurseKey {
    pub(super) fn of(batch: &BatchRecord) -> Self {
        let (payee, once) = (batch.conditions.payee(), batch.conditions.once());
        Self { seller: batch.seller, payee, currency: batch.currency.clone(), once }
    }
}

/// What a lock must be.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) key: PurseKey,
    pub(super) price: u64,
    pub(super) until: Timestamp,
    pub(super) max_proofs: usize,
    pub(super) terms: Terms,
    keyset: KeysetId,
    ppk: u64,
}

impl Need {
    /// `None` if it isn't known what the terms lock money to.
    pub(super) fn new(request: &LockRequest, currency: &Currency, keyset: &Keyset) -> Option<Self> {
        let LockRequest { seller, price, max_proofs, terms, .. } = request;
        let LocksTo { payee, until, once } = terms.locks_to()?;
        Some(Self {
            key: PurseKey { seller: *seller, payee, currency: currency.clone(), once },
            price: *price,
            until,
            max_proofs: *max_proofs,
            terms: terms.clone(),
            keyset: keyset.id(),
            ppk: keyset.input_fee_ppk(),
        })
    }
}

/// Proofs taken out of a batch.
#[derive(Clone, Debug)]
pub(in super::super) struct Picked {
    pub(super) batch: OperationId,
    pub(super) conditions: Conditions,
    pub(super) refund: Spend,
    pub(super) proofs: BTreeMap<Y, LockedProof>,
}

/// The purses.
#[derive(Debug, Default)]
pub(in super::super) struct Index {
    purses: BTreeMap<PurseKey, OnePurse>,
    /// Batches that are not offered any more.
    retired: BTreeSet<OperationId>,
    clock: u64,
}

#[derive(Debug, Default)]
struct OnePurse {
    /// By locktime, so that the oldest is used first.
    batches: BTreeMap<(Timestamp, OperationId), Batch>,
    hires: u64,
    /// Locks that the last warm refill was for.
    refilled: usize,
    /// What trades gave back and can't be paid with before the mint was asked, by trade.
    given_back: BTreeMap<Cid, u64>,
    used: u64,
}

#[derive(Debug)]
struct Batch {
    conditions: Conditions,
    refund: Spend,
    free: BTreeMap<Y, LockedProof>,
    /// Taken out and not known to be debited.
    out: BTreeSet<Y>,
}

impl Batch {
    fn new(record: &BatchRecord, free: BTreeMap<Y, LockedProof>, out: BTreeSet<Y>) -> Self {
        Self { conditions: record.conditions.clone(), refund: record.refund.clone(), free, out }
    }

    /// The free amounts of a keyset.
    fn stock(&self, keyset: KeysetId) -> BTreeMap<u64, usize> {
        let mut stock = BTreeMap::new();
        for proof in self.free.values().filter(|proof| proof.id == keyset) {
            *stock.entry(proof.amount).or_default() += 1;
        }
        stock
    }

    fn take(&mut self, keyset: KeysetId, mut wanted: BTreeMap<u64, usize>) -> BTreeMap<Y, LockedProof> {
        let mut taken = BTreeMap::new();
        for (y, proof) in &self.free {
            if let Some(count) = wanted.get_mut(&proof.amount).filter(|count| **count > 0)
                && proof.id == keyset
            {
                *count -= 1;
                taken.insert(*y, proof.clone());
            }
        }
        for y in taken.keys() {
            self.free.remove(y);
            self.out.insert(*y);
        }
        taken
    }
}

impl Index {
    pub(in super::super) fn add(&mut self, id: OperationId, batch: &BatchRecord, proofs: BTreeMap<Y, LockedProof>) {
        let entry = Batch::new(batch, proofs, BTreeSet::new());
        let batches = &mut self.purses.entry(PurseKey::of(batch)).or_default().batches;
        batches.insert((batch.conditions.locktime(), id), entry);
    }

    /// Sets a batch to what the store holds of it, except what is out in prepared locks now.
    pub(super) fn restore(&mut self, id: OperationId, batch: &BatchRecord, mut proofs: BTreeMap<Y, LockedProof>) {
        if self.retired.contains(&id) {
            return;
        }
        let batches = &mut self.purses.entry(PurseKey::of(batch)).or_default().batches;
        let key = (batch.conditions.locktime(), id);
        let out = batches.get(&key).map(|known| known.out.clone()).unwrap_or_default();
        proofs.retain(|y, _| !out.contains(y));
        batches.insert(key, Batch::new(batch, proofs, out));
    }

    /// Nothing is left of a batch in the store.
    pub(super) fn forget(&mut self, id: OperationId, batch: &BatchRecord) {
        if let Some(purse) = self.purses.get_mut(&PurseKey::of(batch)) {
            purse.batches.remove(&(batch.conditions.locktime(), id));
        }
    }

    pub(super) fn pick(&mut self, need: &Need) -> Option<Picked> {
        self.clock += 1;
        let clock = self.clock;
        if !self.purses.contains_key(&need.key) {
            self.make_room();
        }
        let purse = self.purses.entry(need.key.clone()).or_default();
        purse.used = clock;
        let soonest = (need.until, OperationId::from([0; 16]));
        for ((locktime, id), batch) in purse.batches.range_mut(soonest..) {
            if need.key.once.is_some() && *locktime != need.until {
                break;
            }
            let stock = batch.stock(need.keyset);
            if let Some(wanted) = amounts::pick_lock(need.price, need.ppk, &stock, need.max_proofs) {
                purse.hires += 1;
                let (conditions, refund) = (batch.conditions.clone(), batch.refund.clone());
                return Some(Picked { batch: *id, conditions, refund, proofs: batch.take(need.keyset, wanted) });
            }
        }
        None
    }

    pub(super) fn put_back(&mut self, key: &PurseKey, picked: &Picked) {
        let Some(purse) = self.purses.get_mut(key) else { return };
        purse.hires = purse.hires.saturating_sub(1);
        if let Some(batch) = purse.batches.get_mut(&(picked.conditions.locktime(), picked.batch)) {
            for (y, proof) in &picked.proofs {
                batch.out.remove(y);
                batch.free.insert(*y, proof.clone());
            }
        }
    }

    /// A trade has given coins back that its seller refused. It doesn't count as a hire, and what it gave back is not missing
    /// from the purse.
    pub(super) fn give_back(&mut self, key: &PurseKey, trade: Cid, amount: u64) {
        let purse = self.purses.entry(key.clone()).or_default();
        if purse.given_back.insert(trade, amount).is_none() {
            purse.hires = purse.hires.saturating_sub(1);
        }
    }

    /// The mint has been asked about what a trade gave back.
    pub(super) fn was_asked(&mut self, key: &PurseKey, trade: Cid) {
        if let Some(purse) = self.purses.get_mut(key) {
            purse.given_back.remove(&trade);
        }
    }

    /// A proof that was out is free again if the store still has it.
    pub(super) fn resolve(
        &mut self,
        key: &PurseKey,
        batch: (Timestamp, OperationId),
        y: Y,
        still: Option<LockedProof>,
    ) {
        let Some(batch) = self.purses.get_mut(key).and_then(|purse| purse.batches.get_mut(&batch)) else { return };
        batch.out.remove(&y);
        batch.free.extend(still.map(|proof| (y, proof)));
    }

    /// Whether less than half of the last refill is left of a purse that is kept warm.
    pub(super) fn runs_low(&self, need: &Need, config: &PurseConfig) -> bool {
        let warm = |purse: &&OnePurse| purse.hires >= config.warm_after_hires;
        let reused = |_: &&OnePurse| need.key.once.is_none();
        let Some(purse) = self.purses.get(&need.key).filter(reused).filter(warm) else { return false };
        let left = self.value(&need.key, need.until).saturating_add(sum(purse.given_back.values()));
        left < need.price.saturating_mul(purse.refilled.max(1) as u64).div_ceil(2)
    }

    /// For how many locks the next refill should be, and what the purse holds now.
    pub(super) fn plan(&mut self, need: &Need, config: &PurseConfig) -> (usize, u64) {
        let free = self.value(&need.key, Timestamp::from_secs(0));
        let Some(purse) = self.purses.get_mut(&need.key) else { return (1, free) };
        let held = free.saturating_add(sum(purse.given_back.values()));
        // The hire that this refill may be for isn't counted yet.
        if need.key.once.is_some() || purse.hires + 1 < config.warm_after_hires {
            return (1, held);
        }
        let wanted = if purse.refilled == 0 { config.first_locks } else { purse.refilled.saturating_mul(2) };
        purse.refilled = wanted.clamp(1, config.batch.max(1));
        (purse.refilled, held)
    }

    fn value(&self, key: &PurseKey, until: Timestamp) -> u64 {
        let Some(purse) = self.purses.get(key) else { return 0 };
        let usable = purse.batches.range((until, OperationId::from([0; 16]))..);
        sum(usable.flat_map(|(_, batch)| batch.free.values().map(|proof| &proof.amount)))
    }

    pub(super) fn totals(&self) -> BTreeMap<Currency, u64> {
        let mut totals = BTreeMap::new();
        for (key, purse) in &self.purses {
            let free = purse.batches.values().flat_map(|batch| batch.free.values().map(|proof| &proof.amount));
            *totals.entry(key.currency.clone()).or_default() += sum(free);
        }
        totals
    }

    pub(in super::super) fn retire(&mut self, now: Timestamp) {
        for purse in self.purses.values_mut() {
            purse.batches.retain(|(locktime, _), _| *locktime > now);
        }
    }

    /// No lock is made any more of what there is of a currency: it may have been paid with by another copy of this wallet.
    /// It falls back after its locktime.
    pub(in super::super) fn retire_currency(&mut self, currency: &Currency, batches: &[OperationId]) {
        self.retired.extend(batches);
        for (_, purse) in self.purses.iter_mut().filter(|(key, _)| key.currency == *currency) {
            purse.batches.clear();
        }
    }

    /// Forgets the purse longest unused among the empty ones, if there are too many. What holds money stays.
    fn make_room(&mut self) {
        if self.purses.len() < MAX_PURSES {
            return;
        }
        let empty = self.purses.iter().filter(|(_, purse)| {
            purse.given_back.is_empty() && purse.batches.values().all(|batch| batch.free.is_empty())
        });
        // One that was for one trade alone is never used again.
        if let Some(key) = empty.min_by_key(|(key, purse)| (key.once.is_none(), purse.used)).map(|(key, _)| key.clone())
        {
            self.purses.remove(&key);
        }
    }
}
