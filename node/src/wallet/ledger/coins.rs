//! Spendable coins: which there are, which to spend, and taking over those that are found at a mint.
//!
//! One chooser at a time in a currency: so that no coin passes unseen from one table to another, nothing of a currency is
//! spent while found coins are taken over, and it is then that the mint is asked which of them are unspent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use cdk::nuts::State;
use guilder_protocol::market::{MintUrl, Unit};
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    super::{
        coin::{sum, y_of},
        connector::MintTrouble,
        error::WalletError,
        mints::{MintView, Mints},
        records::{ACCOUNTS, COINS, Coin, Currency, Destination, OPERATIONS, Purpose, Reason, Y},
        tables::{book, coin_key},
    },
    operations::states,
};
use crate::{
    limits::MAX_OPERATION_INPUTS,
    runtime::Runtime,
    store::{Key, KeyRange, Reader, Store, StoreError},
    sync::lock,
};

/// Coins in a currency from which on they are swapped together: each swap leaves some ten more.
const MANY_COINS: usize = 96;
/// Inputs of a swap that takes small coins along.
const TIDY_INPUTS: usize = 32;

/// The wallet's spendable coins.
pub(in super::super) struct Coins {
    mints: Arc<Mints>,
    store: Store,
    runtime: Runtime,
    choosing: Mutex<BTreeMap<Currency, Arc<tokio::sync::Mutex<()>>>>,
    /// Coins have come or gone.
    pub(super) news: Notify,
    /// What is spendable, for those who ask on every trade.
    funds: Mutex<BTreeMap<Currency, u64>>,
}

impl Coins {
    pub(super) fn open(mints: &Arc<Mints>, store: &Store, runtime: &Runtime) -> Result<Self, WalletError> {
        let (mints, store, runtime) = (Arc::clone(mints), store.clone(), runtime.clone());
        let (choosing, news, funds) = (Mutex::default(), Notify::new(), Mutex::default());
        let coins = Self { mints, store, runtime, choosing, news, funds };
        let accounts = coins.store.read(|read| read.range(ACCOUNTS, KeyRange::all(), usize::MAX))?;
        accounts.into_iter().try_for_each(|(_, record)| coins.count(&record.currency))?;
        Ok(coins)
    }

    /// While the guard lives, nobody else chooses coins of this currency to spend.
    pub(super) async fn choosing(&self, currency: &Currency) -> OwnedMutexGuard<()> {
        let one = Arc::clone(lock(&self.choosing).entry(currency.clone()).or_default());
        one.lock_owned().await
    }

    /// All of a currency.
    pub(in super::super) fn of(&self, currency: &Currency) -> Result<Vec<Coin>, WalletError> {
        let range = currency.key().range();
        let coins = self.store.read(|read| read.range(COINS, range, usize::MAX))?;
        Ok(coins.into_iter().map(|(_, coin)| coin).collect())
    }

    /// What is spendable of a currency. From memory.
    pub(super) fn funds(&self) -> BTreeMap<Currency, u64> {
        lock(&self.funds).clone()
    }

    /// Counts the spendable coins again, after a change of theirs.
    pub(super) fn count(&self, currency: &Currency) -> Result<(), WalletError> {
        let mut funds = lock(&self.funds);
        let spendable = sum(self.of(currency)?.iter().map(|coin| &coin.amount));
        funds.insert(currency.clone(), spendable);
        self.news.notify_waiters();
        Ok(())
    }

    /// Chooses coins worth at least `amount` after the fee for spending them.
    pub(super) fn choose(&self, currency: &Currency, amount: u64, view: &MintView) -> Result<Vec<Coin>, WalletError> {
        let mut coins = self.of(currency)?;
        coins.retain(|coin| view.keysets.contains_key(&coin.id));
        let available = sum(coins.iter().map(|coin| &coin.amount));
        // Those of retired keysets first, to be rid of them; then the largest, for a small fee. Those of keysets that the
        // mint no longer tells of last: it may refuse them, and with them the whole swap.
        let rank = |coin: &Coin| (!view.is_listed(coin.id), view.is_active(coin.id));
        coins.sort_by_key(|coin| (rank(coin), std::cmp::Reverse(coin.amount), coin.secret.clone()));
        let fee_of = |coins: &[Coin]| view.fee(coins.iter().map(|coin| coin.id)).unwrap_or(u64::MAX);
        for count in 1..=coins.len().min(MAX_OPERATION_INPUTS) {
            let needed = amount.saturating_add(fee_of(&coins[..count]));
            if sum(coins[..count].iter().map(|coin| &coin.amount)) >= needed {
                // Where spending is free and change piles up, the smallest go along.
                let tidy = coins.len() > MANY_COINS && fee_of(&coins) == 0;
                let tidy = if tidy { count.max(TIDY_INPUTS) } else { count };
                let rest = coins.split_off(count);
                let small = rest.into_iter().rev().filter(|coin| view.is_listed(coin.id));
                coins.extend(small.take(tidy - count));
                return Ok(coins);
            }
        }
        let needed = amount.saturating_add(fee_of(&coins));
        Err(WalletError::Insufficient { mint: currency.mint.clone(), unit: currency.unit.clone(), needed, available })
    }

    /// What comes back as coins from operations under way that spend coins of ours. What somebody gave us may be worth
    /// nothing until the mint has signed for it.
    pub(super) fn change_due(&self, currency: &Currency) -> Result<u64, WalletError> {
        let operations = self.store.read(|read| read.range(OPERATIONS, KeyRange::all(), usize::MAX))?;
        let ours = operations.iter().filter(|(_, record)| {
            let spends = matches!(record.purpose, Purpose::Refill { .. } | Purpose::Send | Purpose::Renew);
            record.currency == *currency && spends
        });
        let change: Vec<u64> = ours.map(|(_, record)| record.output_sum(Destination::Coins)).collect();
        Ok(sum(&change))
    }

    /// Puts coins that were found at the mint into the table: those that we don't have and that nobody has spent.
    pub(super) async fn take_over(&self, currency: &Currency, coins: Vec<Coin>) -> Result<u64, WalletError> {
        let _choosing = self.choosing(currency).await;
        let coins: Vec<(Y, Coin)> = coins.into_iter().filter_map(|coin| Some((coin.y()?, coin))).collect();
        let unknown = self.store.read(|read| unknown(read, currency, coins))?;
        let states = self.states(currency, unknown.iter().map(|(y, _)| *y).collect()).await?;
        let new: Vec<_> = unknown.into_iter().zip(states).filter(|(_, state)| *state == State::Unspent).collect();
        if new.is_empty() {
            return Ok(0);
        }
        let (kept, at) = (currency.clone(), self.runtime.now());
        let new: Vec<_> = new.into_iter().map(|(coin, _)| coin).collect();
        let taken = self
            .store
            .transact(move |write| {
                let mut taken = 0;
                for (y, coin) in self::unknown(write, &kept, new)? {
                    write.put(COINS, coin_key(&kept, y), &coin)?;
                    taken += coin.amount;
                }
                book(write, &kept, at, Reason::Restored, taken, None)?;
                Ok::<_, WalletError>(taken)
            })
            .await?;
        self.count(currency)?;
        Ok(taken)
    }

    /// Strikes the coins of ours that the mint says are spent: another copy of this wallet has spent them. Gives their
    /// worth.
    pub(super) async fn strike_spent(&self, currency: &Currency) -> Result<u64, WalletError> {
        let _choosing = self.choosing(currency).await;
        let coins: Vec<(Y, Coin)> = self.of(currency)?.into_iter().filter_map(|coin| Some((coin.y()?, coin))).collect();
        let states = self.states(currency, coins.iter().map(|(y, _)| *y).collect()).await?;
        let spent = coins.into_iter().zip(states).filter(|(_, state)| *state == State::Spent);
        let spent: Vec<(Y, Coin)> = spent.map(|(coin, _)| coin).collect();
        if spent.is_empty() {
            return Ok(0);
        }
        let (kept, at) = (currency.clone(), self.runtime.now());
        let lost = self
            .store
            .transact(move |write| {
                let mut lost = 0;
                for (y, coin) in spent {
                    let key = coin_key(&kept, y);
                    if write.contains(COINS, &key)? {
                        write.delete(COINS, key)?;
                        lost += coin.amount;
                    }
                }
                let why = "spent by another copy of this wallet".to_owned();
                book(write, &kept, at, Reason::Lost, lost, why)?;
                Ok::<_, WalletError>(lost)
            })
            .await?;
        self.count(currency)?;
        Ok(lost)
    }

    /// The states of some coins, by the mint's word (NUT-07).
    async fn states(&self, currency: &Currency, ys: Vec<Y>) -> Result<Vec<State>, MintTrouble> {
        let client = self.mints.client(&currency.mint);
        let client = client.map_err(|error| MintTrouble::lying(&currency.mint, error.to_string()))?;
        Ok(states(&client, ys).await?.into_iter().map(|state| state.state).collect())
    }

    /// What can be paid with in `unit` of coins, by mint.
    pub(super) fn by_mint(&self, unit: &Unit) -> BTreeMap<MintUrl, u64> {
        let funds = self.funds().into_iter().filter(|(currency, _)| currency.unit == *unit);
        funds.map(|(currency, funds)| (currency.mint, funds)).collect()
    }
}

/// Those of some coins that the wallet doesn't know of: in no table of coins, whatever URL their mint is known under, and
/// in no operation.
fn unknown(reader: &impl Reader, currency: &Currency, coins: Vec<(Y, Coin)>) -> Result<Vec<(Y, Coin)>, StoreError> {
    let operations = reader.range(OPERATIONS, KeyRange::all(), usize::MAX)?;
    let made = operations.iter().flat_map(|(_, record)| &record.outputs).filter_map(|output| y_of(&output.secret));
    let spent = operations.iter().flat_map(|(_, record)| record.inputs.iter().map(|input| input.y));
    let moving: BTreeSet<Y> = made.chain(spent).collect();
    let accounts = reader.range(ACCOUNTS, KeyRange::all(), usize::MAX)?;
    let mut places: Vec<Key> = accounts.into_iter().map(|(_, account)| account.currency.key()).collect();
    places.push(currency.key());
    let mut unknown = Vec::new();
    for (y, coin) in coins {
        let mut known = moving.contains(&y);
        for place in &places {
            known = known || reader.contains(COINS, place.clone().and(y.0))?;
        }
        if !known {
            unknown.push((y, coin));
        }
    }
    Ok(unknown)
}
