//! Where the money is, and the proof that it is all there.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use guilder_protocol::{
    locks::KeysetId,
    market::{MintUrl, Unit},
};
use serde::Serialize;

use super::{
    Inner, WalletError,
    coin::sum,
    records::{
        ACCOUNTS, AT_RISK, Account, AccountRecord, AtRisk, BATCHES, BatchRecord, COINS, FAILED, OWED, PURSE, Pocket,
        Purpose, SWAPS, SwapId, TAKEN, TakenLock, WAITING, Y, batch_id,
    },
};
use crate::store::{KeyRange, Read, Reader, StoreError};

/// A wallet's money at one mint, in one unit, by where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
    /// Free to spend.
    pub spendable: u64,
    /// Locked to sellers, ready to pay with.
    pub locked: u64,
    /// Paid with in trades that aren't over.
    pub at_risk: u64,
    /// Locked in failed trades, waiting to fall back.
    pub waiting: u64,
    /// Accepted from buyers and not yet redeemed.
    pub unredeemed: u64,
    /// In swaps whose answer isn't known yet.
    pub pending: u64,
    /// What came in and went out, since the beginning.
    pub account: Account,
}

impl Balance {
    fn new(pocket: &Pocket) -> Self {
        Self {
            mint: pocket.mint.clone(),
            unit: pocket.unit.clone(),
            spendable: 0,
            locked: 0,
            at_risk: 0,
            waiting: 0,
            unredeemed: 0,
            pending: 0,
            account: Account::default(),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        sum(&[self.spendable, self.locked, self.at_risk, self.waiting, self.unredeemed, self.pending])
    }
}

/// A coin, as whoever looks at many wallets at once can count it: a lock is in its payer's and its payee's, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The mint.
    pub mint: MintUrl,
    /// What it is worth.
    pub amount: u64,
    /// Which one.
    pub coin: HeldCoin,
}

/// How a coin is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldCoin {
    /// In the wallet, or an input of a swap whose fate isn't known: its Y. The mint knows whether it is spent.
    Had([u8; 33]),
    /// An output of such a swap: its blinded message. The mint knows whether it has signed it.
    Due([u8; 33]),
}

/// What doesn't add up. Never seen but through a defect of ours or a damaged store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// The tables hold something else than what came in and didn't go out.
    #[error("{mint}, {unit}: {held} in the tables, {booked:?} by the account")]
    Account {
        /// The mint.
        mint: MintUrl,
        /// The unit.
        unit: Unit,
        /// What the tables hold.
        held: u64,
        /// What the account says.
        booked: Option<u64>,
    },
    /// A coin is in two places.
    #[error("{mint}, {unit}: a coin is in two places")]
    Twice {
        /// The mint.
        mint: MintUrl,
        /// The unit.
        unit: Unit,
    },
    /// The purse in memory offers more than the table holds.
    #[error("{mint}, {unit}: the purse offers {offered}, the table holds {held}")]
    Purse {
        /// The mint.
        mint: MintUrl,
        /// The unit.
        unit: Unit,
        /// In memory.
        offered: u64,
        /// In the table.
        held: u64,
    },
    /// What mints and buyers owe isn't what was accepted and not redeemed.
    #[error("{owed} owed by the limits' count, {unredeemed} by the locks")]
    Owed {
        /// Twice the sum, once by mint and once by buyer.
        owed: u64,
        /// The sum of unredeemed locks.
        unredeemed: u64,
    },
}

#[derive(Default)]
struct Tally {
    balances: BTreeMap<Pocket, Balance>,
    seen: BTreeSet<(Pocket, Y)>,
    twice: Option<Pocket>,
}

impl Tally {
    fn add(&mut self, pocket: &Pocket, amount: u64, to: fn(&mut Balance) -> &mut u64) {
        *to(self.balance(pocket)) += amount;
    }

    fn balance(&mut self, pocket: &Pocket) -> &mut Balance {
        self.balances.entry(pocket.clone()).or_insert_with(|| Balance::new(pocket))
    }

    fn see(&mut self, pocket: &Pocket, y: Option<Y>) {
        if y.is_none_or(|y| !self.seen.insert((pocket.clone(), y))) {
            self.twice = Some(pocket.clone());
        }
    }
}

impl Inner {
    pub(super) fn balances(&self) -> Result<Vec<Balance>, WalletError> {
        Ok(self.tally()?.0.balances.into_values().collect())
    }

    /// Whether every coin is in one place and all of them are what the accounts say.
    pub(super) fn audit(&self) -> Result<Result<Vec<Balance>, AuditFault>, WalletError> {
        let (tally, owed) = self.tally()?;
        if let Some(Pocket { mint, unit }) = tally.twice {
            return Ok(Err(AuditFault::Twice { mint, unit }));
        }
        let unredeemed = sum(tally.balances.values().map(|balance| &balance.unredeemed));
        if owed != 2 * unredeemed {
            return Ok(Err(AuditFault::Owed { owed, unredeemed }));
        }
        let offered = self.purse.totals();
        for (pocket, balance) in &tally.balances {
            let (mint, unit) = (pocket.mint.clone(), pocket.unit.clone());
            let booked = balance.account.holdings();
            if booked != Some(balance.total()) {
                return Ok(Err(AuditFault::Account { mint, unit, held: balance.total(), booked }));
            }
            let offered = offered.get(pocket).copied().unwrap_or_default();
            if offered > balance.locked {
                return Ok(Err(AuditFault::Purse { mint, unit, offered, held: balance.locked }));
            }
        }
        Ok(Ok(tally.balances.into_values().collect()))
    }

    pub(super) fn holdings(&self) -> Result<Vec<Holding>, WalletError> {
        Ok(self.store.read(|read| {
            let mut held = Vec::new();
            let mut had = |pocket: &Pocket, amount: u64, y: Option<Y>| {
                let coin = y.map(|y| Holding { mint: pocket.mint.clone(), amount, coin: HeldCoin::Had(y.0) });
                held.extend(coin);
            };
            for (_, AccountRecord { pocket, .. }) in read.range(ACCOUNTS, KeyRange::all(), usize::MAX)? {
                let coins = read.range(COINS, pocket.key().range(), usize::MAX)?;
                coins.iter().for_each(|(_, coin)| had(&pocket, coin.amount, coin.y()));
            }
            for (_, lock) in read.range(AT_RISK, KeyRange::all(), usize::MAX)? {
                lock.proofs.iter().for_each(|proof| had(&lock.pocket, proof.amount, proof.y()));
            }
            for (_, lock) in read.range(WAITING, KeyRange::all(), usize::MAX)? {
                lock.proofs.iter().for_each(|proof| had(&lock.pocket, proof.amount, proof.y()));
            }
            for (_, lock) in read.range(TAKEN, KeyRange::all(), usize::MAX)? {
                lock.proofs.iter().for_each(|proof| had(&lock.pocket, proof.amount, proof.y()));
            }
            let batches = batches(read)?;
            for (key, proof) in read.range(PURSE, KeyRange::all(), usize::MAX)? {
                let Some(batch) = batch_id(&key).and_then(|id| batches.get(&id)) else { continue };
                had(&batch.pocket, proof.amount, proof.y());
            }
            let swaps = read.range(SWAPS, KeyRange::all(), usize::MAX)?;
            for (_, swap) in &swaps {
                swap.inputs.iter().for_each(|input| had(&swap.pocket, input.coin.amount, Some(input.y)));
            }
            for (_, swap) in &swaps {
                held.extend(swap.outputs.iter().map(|output| Holding {
                    mint: swap.pocket.mint.clone(),
                    amount: output.amount,
                    coin: HeldCoin::Due(output.blinded.0),
                }));
            }
            Ok(held)
        })?)
    }

    /// Adds up the tables, of one moment.
    fn tally(&self) -> Result<(Tally, u64), WalletError> {
        Ok(self.store.read(|read| {
            let mut tally = Tally::default();
            for (_, record) in read.range(ACCOUNTS, KeyRange::all(), usize::MAX)? {
                tally.balance(&record.pocket).account = record.account;
            }
            // Money that no account tells of would be missed here, and by nothing else: book() precedes every coin.
            let pockets: Vec<Pocket> = tally.balances.keys().cloned().collect();
            tally_coins(read, &mut tally, &pockets)?;
            tally_locks(read, &mut tally)?;
            let owed = read.range(OWED, KeyRange::all(), usize::MAX)?;
            Ok((tally, sum(owed.iter().map(|(_, owed)| owed))))
        })?)
    }
}

fn tally_coins(read: &Read, tally: &mut Tally, pockets: &[Pocket]) -> Result<(), StoreError> {
    for pocket in pockets {
        for (_, coin) in read.range(COINS, pocket.key().range(), usize::MAX)? {
            tally.add(pocket, coin.amount, |balance| &mut balance.spendable);
            tally.see(pocket, coin.y());
        }
    }
    for (_, record) in read.range(SWAPS, KeyRange::all(), usize::MAX)? {
        // The inputs of the others are counted where they are until the swap is over.
        if matches!(record.purpose, Purpose::Refill { .. } | Purpose::Send) {
            tally.add(&record.pocket, record.input_sum(), |balance| &mut balance.pending);
            record.inputs.iter().for_each(|input| tally.see(&record.pocket, Some(input.y)));
        }
    }
    Ok(())
}

/// The keysets of all coins that the wallet has, or may yet have from swaps.
pub(super) fn keysets_in_use(read: &Read) -> Result<BTreeSet<KeysetId>, StoreError> {
    let mut ids = BTreeSet::new();
    read.visit(COINS, KeyRange::all(), |_, coin| {
        ids.insert(coin.id);
        ControlFlow::Continue(())
    })?;
    read.visit(PURSE, KeyRange::all(), |_, proof| {
        ids.insert(proof.id);
        ControlFlow::Continue(())
    })?;
    for table in [AT_RISK, WAITING] {
        for (_, lock) in read.range(table, KeyRange::all(), usize::MAX)? {
            ids.extend(lock.proofs.iter().map(|proof| proof.id));
        }
    }
    for (_, taken) in read.range(TAKEN, KeyRange::all(), usize::MAX)? {
        ids.extend(taken.proofs.iter().map(|proof| proof.id));
    }
    let failed = read.range(FAILED, KeyRange::all(), usize::MAX)?.into_iter().map(|(_, failed)| failed.record);
    let swaps = read.range(SWAPS, KeyRange::all(), usize::MAX)?.into_iter().map(|(_, record)| record);
    for record in swaps.chain(failed) {
        ids.extend(record.inputs.iter().map(|input| input.coin.id));
        ids.extend(record.outputs.iter().map(|output| output.id));
    }
    Ok(ids)
}

fn batches(read: &Read) -> Result<BTreeMap<SwapId, BatchRecord>, StoreError> {
    let batches = read.range(BATCHES, KeyRange::all(), usize::MAX)?.into_iter();
    Ok(batches.filter_map(|(key, batch)| Some((batch_id(key.get(8..)?)?, batch))).collect())
}

fn tally_locks(read: &Read, tally: &mut Tally) -> Result<(), StoreError> {
    let batches = batches(read)?;
    for (key, proof) in read.range(PURSE, KeyRange::all(), usize::MAX)? {
        // Without its terms a proof can't be swept: the account will show that it is missing.
        let Some(batch) = batch_id(&key).and_then(|id| batches.get(&id)) else { continue };
        tally.add(&batch.pocket, proof.amount, |balance| &mut balance.locked);
        tally.see(&batch.pocket, proof.y());
    }
    let at_risk = |tally: &mut Tally, lock: &AtRisk, to: fn(&mut Balance) -> &mut u64| {
        tally.add(&lock.pocket, lock.amount(), to);
        lock.proofs.iter().for_each(|proof| tally.see(&lock.pocket, proof.y()));
    };
    for (_, lock) in read.range(AT_RISK, KeyRange::all(), usize::MAX)? {
        at_risk(tally, &lock, |balance| &mut balance.at_risk);
    }
    for (_, lock) in read.range(WAITING, KeyRange::all(), usize::MAX)? {
        at_risk(tally, &lock, |balance| &mut balance.waiting);
    }
    for (_, taken) in read.range(TAKEN, KeyRange::all(), usize::MAX)? {
        let taken: TakenLock = taken;
        tally.add(&taken.pocket, taken.amount(), |balance| &mut balance.unredeemed);
        taken.proofs.iter().for_each(|proof| tally.see(&taken.pocket, proof.y()));
    }
    Ok(())
}
