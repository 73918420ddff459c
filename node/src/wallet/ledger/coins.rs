//! Spendable coins: which there are, which to spend, and taking over those that are found at a mint.
//!
//! One chooser at a time in a currency: so that no coin passes unseen from one table to another, nothing of a currency is
//! spent while found coins are taken over, and it is then that the mint is asked which of them are unspent.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use cdk::nuts::State;
use guilder_protocol::{
    bytes::ByteArray,
    locks::KeysetId,
    market::{MintUrl, Unit},
};
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    super::{
        amounts,
        coin::{sum, y_of},
        connector::MintTrouble,
        error::WalletError,
        mints::{MintView, Mints},
        records::{ACCOUNTS, COINS, Coin, Currency, Destination, Held, OPERATIONS, Purpose, Reason, Y},
        tables::{BySize, book, by_size, coin_key, held, put_coin, take_coin},
    },
    operations::states,
};
use crate::{
    limits::{FREE_COINS, KEEP_COINS, MAX_OPERATION_INPUTS},
    runtime::Runtime,
    store::{Key, KeyRange, Read, Reader, Store, StoreError},
    sync::lock,
};

/// The wallet's spendable coins.
pub(in super::super) struct Coins {
    mints: Arc<Mints>,
    store: Store,
    runtime: Runtime,
    choosing: Mutex<BTreeMap<Currency, Arc<tokio::sync::Mutex<()>>>>,
    /// Coins have come or gone.
    pub(super) news: Notify,
    /// There are more than are kept.
    pub(super) many: Notify,
    /// What is spendable, for those who ask on every trade.
    funds: Mutex<BTreeMap<Currency, u64>>,
}

impl Coins {
    pub(super) fn open(mints: &Arc<Mints>, store: &Store, runtime: &Runtime) -> Result<Self, WalletError> {
        let (mints, store, runtime) = (Arc::clone(mints), store.clone(), runtime.clone());
        let (choosing, funds) = (Mutex::default(), Mutex::default());
        let coins = Self { mints, store, runtime, choosing, news: Notify::new(), many: Notify::new(), funds };
        let accounts = coins.store.read(|read| read.range(ACCOUNTS, KeyRange::all(), usize::MAX))?;
        accounts.into_iter().try_for_each(|(_, record)| coins.count(&record.currency))?;
        Ok(coins)
    }

    /// While the guard lives, nobody else chooses coins of this currency to spend.
    pub(super) async fn choosing(&self, currency: &Currency) -> OwnedMutexGuard<()> {
        let one = Arc::clone(lock(&self.choosing).entry(currency.clone()).or_default());
        one.lock_owned().await
    }

    /// All of a currency, with what they are kept under.
    pub(super) fn of(&self, currency: &Currency) -> Result<Vec<(Y, Coin)>, WalletError> {
        let range = currency.key().range();
        let coins = self.store.read(|read| read.range(COINS, range, usize::MAX))?;
        Ok(coins.into_iter().filter_map(|(key, coin)| Some((ByteArray(*key.last_chunk()?), coin))).collect())
    }

    /// Coins of a keyset that are worth their fee, the largest first, at most so many.
    pub(super) fn largest(
        &self,
        currency: &Currency,
        keyset: KeysetId,
        ppk: u64,
        limit: usize,
    ) -> Result<Vec<(Y, Coin)>, WalletError> {
        Ok(self.store.read(|read| {
            let mut sized = some_by_size(read, currency, keyset, BySize::LargestFirst, limit)?;
            sized.retain(|(amount, _)| is_worth_its_fee(*amount, ppk));
            load(read, currency, sized.into_iter().map(|(_, y)| y))
        })?)
    }

    /// What is spendable of a currency.
    pub(super) fn spendable(&self, currency: &Currency) -> Result<u64, WalletError> {
        let held = self.store.read(|read| held(read, currency))?;
        Ok(sum(held.iter().map(|held| &held.amount)))
    }

    /// Whether there are more of a currency than are kept.
    pub(super) fn are_many(&self, currency: &Currency) -> Result<bool, WalletError> {
        let held = self.store.read(|read| held(read, currency))?;
        Ok(sum(held.iter().map(|held| &held.coins)) > KEEP_COINS)
    }

    /// What is spendable of a currency. From memory.
    pub(super) fn funds(&self) -> BTreeMap<Currency, u64> {
        lock(&self.funds).clone()
    }

    /// Counts the spendable coins again, after a change of theirs.
    pub(super) fn count(&self, currency: &Currency) -> Result<(), WalletError> {
        let mut funds = lock(&self.funds);
        let held = self.store.read(|read| held(read, currency))?;
        funds.insert(currency.clone(), sum(held.iter().map(|held| &held.amount)));
        self.news.notify_waiters();
        if sum(held.iter().map(|held| &held.coins)) > KEEP_COINS {
            self.many.notify_one();
        }
        Ok(())
    }

    /// Chooses coins worth at least `amount` after the fee for spending them.
    pub(super) fn choose(
        &self,
        currency: &Currency,
        amount: u64,
        view: &MintView,
    ) -> Result<Vec<(Y, Coin)>, WalletError> {
        self.store.read(|read| {
            let held = self::held(read, currency)?;
            let mut pick = Pick::new(amount);
            let mut keysets = usable(&held, view);
            // Those of retired keysets first, to be rid of them; then the largest, for a small fee. Those of keysets that the
            // mint no longer tells of last: it may refuse them, and with them the whole swap.
            keysets.sort_by_key(|(keyset, _)| (!view.is_listed(*keyset), view.is_active(*keyset), *keyset));
            for (keyset, ppk) in &keysets {
                by_size(read, currency, *keyset, BySize::LargestFirst, |amount, y| pick.take(amount, *ppk, y))?;
            }
            if !pick.is_enough() && keysets.len() > 1 {
                // Many small ones of one keyset have kept large ones of another out.
                let mut all = Vec::new();
                for (keyset, ppk) in &keysets {
                    let mut largest =
                        some_by_size(read, currency, *keyset, BySize::LargestFirst, MAX_OPERATION_INPUTS)?;
                    largest.retain(|(amount, _)| is_worth_its_fee(*amount, *ppk));
                    all.extend(largest.into_iter().map(|(amount, y)| (!view.is_listed(*keyset), amount, y, *ppk)));
                }
                all.sort_by_key(|(unlisted, amount, y, _)| (*unlisted, std::cmp::Reverse(*amount), *y));
                pick = Pick::new(amount);
                let _ = all.into_iter().try_for_each(|(_, amount, y, ppk)| pick.take(amount, ppk, y));
            }
            if pick.is_enough() {
                return Ok(Ok(load(read, currency, pick.ys)?));
            }
            Ok(Err(short_of(currency, amount, &held, view)))
        })?
    }

    /// Chooses small coins that are worth being changed for fewer; `None` if there are none. `most_fee_percent`: of what they are
    /// worth, the mint may keep so much.
    pub(super) fn choose_small(
        &self,
        currency: &Currency,
        view: &MintView,
        most_fee_percent: u64,
    ) -> Result<Option<Vec<(Y, Coin)>>, WalletError> {
        let Ok(active) = view.active(&currency.unit, self.runtime.now()) else { return Ok(None) };
        Ok(self.store.read(|read| {
            let held = self::held(read, currency)?;
            let count = sum(held.iter().filter(|held| view.is_listed(held.keyset)).map(|held| &held.coins));
            let room =
                usize::try_from(count.saturating_sub(FREE_COINS)).unwrap_or(usize::MAX).min(MAX_OPERATION_INPUTS);
            let mut small = Vec::new();
            for (keyset, ppk) in usable(&held, view).into_iter().filter(|(keyset, _)| view.is_listed(*keyset)) {
                // One that isn't worth its own fee stays: in sum with others, too, it would only cost.
                let least = BySize::SmallestFrom(ppk / 1_000 + 1);
                let of_keyset = some_by_size(read, currency, keyset, least, room)?;
                small.extend(of_keyset.into_iter().map(|(amount, y)| (amount, y, ppk)));
            }
            small.sort_unstable();
            small.truncate(room);
            let worth = sum(small.iter().map(|(amount, ..)| amount));
            let fee = amounts::input_fee(small.iter().map(|(.., ppk)| *ppk)).unwrap_or(u64::MAX);
            let is_cheap = fee < worth && fee.saturating_mul(100) <= worth.saturating_mul(most_fee_percent);
            let parts = if is_cheap { amounts::split(worth - fee, active) } else { None };
            if parts.is_none_or(|parts| parts.len() * 2 > small.len()) {
                return Ok(None);
            }
            Ok(Some(load(read, currency, small.into_iter().map(|(_, y, _)| y))?))
        })?)
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
                    if put_coin(write, &kept, y, &coin)? {
                        taken += coin.amount;
                    }
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
        let coins = self.of(currency)?;
        let states = self.states(currency, coins.iter().map(|(y, _)| *y).collect()).await?;
        let spent = coins.into_iter().zip(states).filter(|(_, state)| *state == State::Spent);
        let spent: Vec<Y> = spent.map(|((y, _), _)| y).collect();
        if spent.is_empty() {
            return Ok(0);
        }
        let (kept, at) = (currency.clone(), self.runtime.now());
        let lost = self
            .store
            .transact(move |write| {
                let mut lost = 0;
                for y in spent {
                    match take_coin(write, &kept, y) {
                        Ok(coin) => lost += coin.amount,
                        Err(WalletError::LockGone) => {}
                        Err(error) => return Err(error),
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

/// What is chosen to be spent, as long as it isn't enough.
struct Pick {
    amount: u64,
    worth: u64,
    ppk: u64,
    ys: Vec<Y>,
}

impl Pick {
    fn new(amount: u64) -> Self {
        Self { amount, worth: 0, ppk: 0, ys: Vec::new() }
    }

    fn is_enough(&self) -> bool {
        self.worth >= self.amount.saturating_add(self.ppk.div_ceil(1_000)) && !self.ys.is_empty()
    }

    /// Takes one more, or breaks where no more can be of use. Of one keyset they come the largest first.
    fn take(&mut self, amount: u64, ppk: u64, y: Y) -> ControlFlow<()> {
        if self.is_enough() || self.ys.len() == MAX_OPERATION_INPUTS || !is_worth_its_fee(amount, ppk) {
            return ControlFlow::Break(());
        }
        self.worth = self.worth.saturating_add(amount);
        self.ppk = self.ppk.saturating_add(ppk);
        self.ys.push(y);
        if self.is_enough() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Whether a coin brings anything to a swap, beyond what the mint keeps of it.
pub(super) fn is_worth_its_fee(amount: u64, ppk: u64) -> bool {
    amount.saturating_mul(1_000) > ppk
}

/// The keysets of some coins that the mint has ever told of, and what it keeps of each of their coins.
fn usable(held: &[Held], view: &MintView) -> Vec<(KeysetId, u64)> {
    let keysets = held.iter().filter_map(|held| view.keysets.get(&held.keyset));
    keysets.map(|keyset| (keyset.id(), keyset.input_fee_ppk())).collect()
}

/// Why `amount` can't be paid: with all coins, which may be more than one swap takes.
fn short_of(currency: &Currency, amount: u64, held: &[Held], view: &MintView) -> WalletError {
    let known = held.iter().filter_map(|held| Some((held, view.keysets.get(&held.keyset)?.input_fee_ppk())));
    // What isn't worth its own fee counts for no more than nothing.
    let of = |(held, ppk): (&Held, u64)| {
        (held.amount, held.coins.saturating_mul(ppk).min(held.amount.saturating_mul(1_000)))
    };
    let (available, ppk) = known.map(of).fold((0_u64, 0_u64), |(available, ppk), (amount, of_keyset)| {
        (available.saturating_add(amount), ppk.saturating_add(of_keyset))
    });
    let needed = amount.saturating_add(ppk.div_ceil(1_000));
    WalletError::Insufficient { mint: currency.mint.clone(), unit: currency.unit.clone(), needed, available }
}

/// Coins of a keyset in an order, at most so many.
fn some_by_size(
    read: &Read,
    currency: &Currency,
    keyset: KeysetId,
    order: BySize,
    limit: usize,
) -> Result<Vec<(u64, Y)>, StoreError> {
    let mut some = Vec::new();
    by_size(read, currency, keyset, order, |amount, y| {
        some.push((amount, y));
        if some.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(some)
}

/// Reads some coins. Those that have gone are left out.
fn load(read: &Read, currency: &Currency, ys: impl IntoIterator<Item = Y>) -> Result<Vec<(Y, Coin)>, StoreError> {
    let mut coins = Vec::new();
    for y in ys {
        coins.extend(read.get(COINS, coin_key(currency, y))?.map(|coin| (y, coin)));
    }
    Ok(coins)
}
