//! Where the money is, and the proof that it is all there.

use std::collections::{BTreeMap, BTreeSet};

use guilder_protocol::{
    bytes::ByteArray,
    market::{MintUrl, Unit},
};
use serde::Serialize;

use super::super::{
    coin::sum,
    error::WalletError,
    records::{
        ACCEPTED, ACCOUNTS, AT_RISK, AcceptedLock, Account, AccountRecord, AtRisk, BATCHES, BY_SIZE, BatchRecord,
        COINS, Coin, Currency, Destination, HELD, Held, OPERATIONS, OWED, OperationId, PURSE, Purpose, PurseCoin,
        REFUNDS, UNRELEASED, Y, batch_id,
    },
    tables::{held, size_key},
};
use crate::store::{KeyRange, Read, Reader, Store, StoreError};

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
    /// Locked in failed trades, to be refunded after the locktime.
    pub refunding: u64,
    /// Accepted from buyers and not yet redeemed.
    pub unredeemed: u64,
    /// In operations whose answer isn't known yet.
    pub pending: u64,
    /// In tokens that are being received, or quotes that are being issued: not ours yet, and in no sum.
    pub incoming: u64,
    /// What came in and went out, since the beginning.
    pub account: Account,
}

impl Balance {
    fn new(currency: &Currency) -> Self {
        Self {
            mint: currency.mint.clone(),
            unit: currency.unit.clone(),
            spendable: 0,
            locked: 0,
            at_risk: 0,
            refunding: 0,
            unredeemed: 0,
            pending: 0,
            incoming: 0,
            account: Account::default(),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        sum(&[self.spendable, self.locked, self.at_risk, self.refunding, self.unredeemed, self.pending])
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
    /// Whether it is locked: the phrase alone doesn't find it, the home does.
    pub locked: bool,
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
    /// What the wallet goes by in place of its coins isn't what they are.
    #[error("the sums or the order of the spendable coins are not what the coins are")]
    Sums,
    /// What mints and buyers owe isn't what was accepted and not redeemed.
    #[error("{owed} owed by the limits' count, {unredeemed} by the locks")]
    Owed {
        /// Twice the sum, once by mint and once by buyer; and twice what isn't released.
        owed: u64,
        /// The sum of unredeemed locks.
        unredeemed: u64,
    },
}

#[derive(Default)]
struct Tally {
    balances: BTreeMap<Currency, Balance>,
    /// The secrets of its coins, for an audit: as many as there are Ys, and a Y costs a hash to the curve.
    seen: Option<BTreeSet<(Currency, String)>>,
    twice: Option<Currency>,
}

impl Tally {
    fn add(&mut self, currency: &Currency, amount: u64, to: fn(&mut Balance) -> &mut u64) {
        *to(self.balance(currency)) += amount;
    }

    fn balance(&mut self, currency: &Currency) -> &mut Balance {
        self.balances.entry(currency.clone()).or_insert_with(|| Balance::new(currency))
    }

    fn see(&mut self, currency: &Currency, secret: &str) {
        let Some(seen) = &mut self.seen else { return };
        if !seen.insert((currency.clone(), secret.to_owned())) {
            self.twice = Some(currency.clone());
        }
    }
}

/// By the sums of the coins, which [`audit`] holds against each of them: it costs as much however many there are.
pub(super) fn balances(store: &Store) -> Result<Vec<Balance>, WalletError> {
    let tally = store.read(|read| {
        let mut tally = accounts(read)?;
        let currencies: Vec<Currency> = tally.balances.keys().cloned().collect();
        for currency in &currencies {
            for Held { amount, .. } in held(read, currency)? {
                tally.add(currency, amount, |balance| &mut balance.spendable);
            }
        }
        tally_operations(read, &mut tally)?;
        tally_locks(read, &mut tally)?;
        Ok(tally)
    })?;
    Ok(tally.balances.into_values().collect())
}

/// The units of which there is anything, by the accounts.
pub(super) fn units_held(store: &Store) -> Result<BTreeSet<Unit>, WalletError> {
    let accounts = store.read(|read| read.range(ACCOUNTS, KeyRange::all(), usize::MAX))?;
    let held = accounts.into_iter().filter(|(_, record)| record.account.holdings().is_some_and(|held| held > 0));
    Ok(held.map(|(_, record)| record.currency.unit).collect())
}

pub(super) fn audit(
    store: &Store,
    offered: &BTreeMap<Currency, u64>,
) -> Result<Result<Vec<Balance>, AuditFault>, WalletError> {
    let (tally, owed, sums_hold) = tally(store)?;
    if !sums_hold {
        return Ok(Err(AuditFault::Sums));
    }
    if let Some(Currency { mint, unit }) = tally.twice {
        return Ok(Err(AuditFault::Twice { mint, unit }));
    }
    let unredeemed = sum(tally.balances.values().map(|balance| &balance.unredeemed));
    if owed != 2 * unredeemed {
        return Ok(Err(AuditFault::Owed { owed, unredeemed }));
    }
    for (currency, balance) in &tally.balances {
        let (mint, unit) = (currency.mint.clone(), currency.unit.clone());
        let booked = balance.account.holdings();
        if booked != Some(balance.total()) {
            return Ok(Err(AuditFault::Account { mint, unit, held: balance.total(), booked }));
        }
        let offered = offered.get(currency).copied().unwrap_or_default();
        if offered > balance.locked {
            return Ok(Err(AuditFault::Purse { mint, unit, offered, held: balance.locked }));
        }
    }
    Ok(Ok(tally.balances.into_values().collect()))
}

pub(super) fn holdings(store: &Store) -> Result<Vec<Holding>, WalletError> {
    Ok(store.read(|read| {
        let mut held = Vec::new();
        let mut had = |currency: &Currency, amount: u64, y: Option<Y>, locked: bool| {
            let mint = currency.mint.clone();
            held.extend(y.map(|y| Holding { mint, amount, coin: HeldCoin::Had(y.0), locked }));
        };
        for (_, AccountRecord { currency, .. }) in read.range(ACCOUNTS, KeyRange::all(), usize::MAX)? {
            let coins = read.range(COINS, currency.key().range(), usize::MAX)?;
            coins.iter().for_each(|(key, coin)| had(&currency, coin.amount, y_in(key), false));
        }
        for table in [AT_RISK, REFUNDS] {
            for (_, lock) in read.range(table, KeyRange::all(), usize::MAX)? {
                lock.proofs.iter().for_each(|proof| had(&lock.currency, proof.amount, proof.y(), true));
            }
        }
        for (_, lock) in read.range(ACCEPTED, KeyRange::all(), usize::MAX)? {
            lock.proofs.iter().for_each(|proof| had(&lock.currency, proof.amount, proof.y(), true));
        }
        let batches = batches(read)?;
        for (key, PurseCoin { proof, .. }) in read.range(PURSE, KeyRange::all(), usize::MAX)? {
            let Some(batch) = batch_id(&key).and_then(|id| batches.get(&id)) else { continue };
            had(&batch.currency, proof.amount, proof.y(), true);
        }
        let operations = read.range(OPERATIONS, KeyRange::all(), usize::MAX)?;
        for (_, record) in &operations {
            let locks = matches!(record.purpose, Purpose::Redeem { .. } | Purpose::Refund { .. });
            record.inputs.iter().for_each(|input| had(&record.currency, input.coin.amount, Some(input.y), locks));
        }
        for (_, record) in &operations {
            held.extend(record.outputs.iter().map(|output| Holding {
                mint: record.currency.mint.clone(),
                amount: output.amount,
                coin: HeldCoin::Due(output.blinded.0),
                locked: !matches!(output.to, Destination::Coins | Destination::Token),
            }));
        }
        Ok(held)
    })?)
}

/// Adds up the tables, of one moment, coin by coin; what is owed; and whether the sums and the order of the coins are what they are.
fn tally(store: &Store) -> Result<(Tally, u64, bool), WalletError> {
    Ok(store.read(|read| {
        let mut tally = Tally { seen: Some(BTreeSet::new()), ..accounts(read)? };
        // Money that no account tells of would be missed here, and by nothing else: book() precedes every coin.
        let currencies: Vec<Currency> = tally.balances.keys().cloned().collect();
        let sums_hold = tally_coins(read, &mut tally, &currencies)?;
        tally_operations(read, &mut tally)?;
        tally_locks(read, &mut tally)?;
        let owed = read.range(OWED, KeyRange::all(), usize::MAX)?;
        let held = read.range(UNRELEASED, KeyRange::all(), usize::MAX)?;
        let held = sum(held.iter().map(|(_, held)| held));
        Ok((tally, sum(owed.iter().map(|(_, owed)| owed)) + 2 * held, sums_hold))
    })?)
}

fn accounts(read: &Read) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    for (_, record) in read.range(ACCOUNTS, KeyRange::all(), usize::MAX)? {
        tally.balance(&record.currency).account = record.account;
    }
    Ok(tally)
}

/// The Y that a coin is kept under.
fn y_in(key: &[u8]) -> Option<Y> {
    Some(ByteArray(*key.last_chunk()?))
}

/// Counts every spendable coin; says whether HELD and BY_SIZE are what follows from them, and nothing else.
fn tally_coins(read: &Read, tally: &mut Tally, currencies: &[Currency]) -> Result<bool, StoreError> {
    let (mut sums, mut sizes) = (BTreeMap::<Vec<u8>, Held>::new(), BTreeSet::<Vec<u8>>::new());
    for currency in currencies {
        for (key, coin) in read.range(COINS, currency.key().range(), usize::MAX)? {
            let coin: Coin = coin;
            let of_keyset = currency.key().and(coin.id.to_bytes()).into_bytes();
            let sum = sums.entry(of_keyset).or_insert(Held { keyset: coin.id, coins: 0, amount: 0 });
            (sum.coins, sum.amount) = (sum.coins + 1, sum.amount.saturating_add(coin.amount));
            sizes.extend(y_in(&key).map(|y| size_key(currency, y, &coin).into_bytes()));
            tally.add(currency, coin.amount, |balance| &mut balance.spendable);
            tally.see(currency, &coin.secret);
        }
    }
    let held: BTreeMap<Vec<u8>, Held> = read.range(HELD, KeyRange::all(), usize::MAX)?.into_iter().collect();
    let by_size = read.range(BY_SIZE, KeyRange::all(), usize::MAX)?.into_iter().map(|(key, ())| key);
    Ok(held == sums && by_size.eq(sizes))
}

fn tally_operations(read: &Read, tally: &mut Tally) -> Result<(), StoreError> {
    for (_, record) in read.range(OPERATIONS, KeyRange::all(), usize::MAX)? {
        match record.purpose {
            Purpose::Refill { .. } | Purpose::Send | Purpose::Renew | Purpose::Melt { .. } => {
                tally.add(&record.currency, record.input_sum(), |balance| &mut balance.pending);
                record.inputs.iter().for_each(|input| tally.see(&record.currency, &input.coin.secret));
            }
            Purpose::Receive { .. } | Purpose::Mint { .. } => {
                let coming = record.output_sum(Destination::Coins);
                tally.add(&record.currency, coming, |balance| &mut balance.incoming);
            }
            // Their inputs are counted where they are until the operation is over.
            Purpose::Redeem { .. } | Purpose::Refund { .. } => {}
        }
    }
    Ok(())
}

fn batches(read: &Read) -> Result<BTreeMap<OperationId, BatchRecord>, StoreError> {
    let batches = read.range(BATCHES, KeyRange::all(), usize::MAX)?.into_iter();
    Ok(batches.filter_map(|(key, batch)| Some((batch_id(key.get(8..)?)?, batch))).collect())
}

fn tally_locks(read: &Read, tally: &mut Tally) -> Result<(), StoreError> {
    let batches = batches(read)?;
    for (key, PurseCoin { proof, .. }) in read.range(PURSE, KeyRange::all(), usize::MAX)? {
        // Without its terms a proof can't be refunded: the account will show that it is missing.
        let Some(batch) = batch_id(&key).and_then(|id| batches.get(&id)) else { continue };
        tally.add(&batch.currency, proof.amount, |balance| &mut balance.locked);
        tally.see(&batch.currency, &proof.secret);
    }
    let at_risk = |tally: &mut Tally, lock: &AtRisk, to: fn(&mut Balance) -> &mut u64| {
        tally.add(&lock.currency, lock.amount(), to);
        lock.proofs.iter().for_each(|proof| tally.see(&lock.currency, &proof.secret));
    };
    for (_, lock) in read.range(AT_RISK, KeyRange::all(), usize::MAX)? {
        at_risk(tally, &lock, |balance| &mut balance.at_risk);
    }
    for (_, lock) in read.range(REFUNDS, KeyRange::all(), usize::MAX)? {
        at_risk(tally, &lock, |balance| &mut balance.refunding);
    }
    for (_, accepted) in read.range(ACCEPTED, KeyRange::all(), usize::MAX)? {
        let accepted: AcceptedLock = accepted;
        tally.add(&accepted.currency, accepted.amount(), |balance| &mut balance.unredeemed);
        accepted.proofs.iter().for_each(|proof| tally.see(&accepted.currency, &proof.secret));
    }
    Ok(())
}
