//! Spendable coins: choosing them, and giving them out and taking them in as tokens.
//!
//! All movement is by our own [swaps](super::swap), whose counters of derived secrets are cdk's too, so that none is used
//! twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{Arc, PoisonError},
};

use cdk::nuts::{CurrencyUnit, ProofsMethods, Token};
use guilder_protocol::market::{MintUrl, Unit};
use serde::Serialize;

use super::{
    Inner, WalletError, amounts,
    coin::sum,
    connector::MintTrouble,
    mints::MintView,
    records::{
        ACCOUNTS, Account, AccountRecord, COINS, Coin, Destination, FUNDED, Pocket, Purpose, SENT, SWAPS, SentToken,
        SwapInput, Y,
    },
    swap::{self, Plan, Settled},
};
use crate::{
    limits::MAX_SWAP_INPUTS,
    store::{Key, KeyRange, Reader, Write},
};

/// The wallet's coins.
#[derive(Default)]
pub(super) struct Pockets {
    /// Held while coins are chosen until they are taken: one chooser at a time.
    choosing: tokio::sync::Mutex<()>,
    /// Coins have come or gone.
    news: tokio::sync::Notify,
    /// What is spendable, for those who ask on every trade.
    funds: std::sync::Mutex<BTreeMap<Pocket, u64>>,
}

/// What receiving a token brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// What the wallet has more, after the mint's fee.
    pub amount: u64,
    /// Kept by the mint.
    pub fee: u64,
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
}

pub(super) fn currency(unit: &Unit) -> CurrencyUnit {
    CurrencyUnit::from_str(unit.as_str()).unwrap_or_else(|_| CurrencyUnit::custom(unit.as_str()))
}

pub(super) fn cdk_url(mint: &MintUrl) -> Result<cdk::mint_url::MintUrl, WalletError> {
    cdk::mint_url::MintUrl::from_str(mint.as_str()).map_err(|_| WalletError::UnknownMint(mint.clone()))
}

pub(super) fn coin_key(pocket: &Pocket, y: Y) -> Key {
    pocket.key().and(y.0)
}

/// Takes a spendable coin out of the table, whoever else wanted it.
pub(super) fn take_coin(write: &mut Write<'_>, pocket: &Pocket, y: Y) -> Result<(), WalletError> {
    let key = coin_key(pocket, y);
    if !write.contains(COINS, &key)? {
        return Err(WalletError::LockGone);
    }
    Ok(write.delete(COINS, key)?)
}

/// Notes money that came or went.
pub(super) fn book(write: &mut Write<'_>, pocket: &Pocket, note: impl FnOnce(&mut Account)) -> Result<(), WalletError> {
    let known = write.get(ACCOUNTS, pocket.key())?;
    let mut record = known.unwrap_or_else(|| AccountRecord { pocket: pocket.clone(), account: Account::default() });
    note(&mut record.account);
    Ok(write.put(ACCOUNTS, pocket.key(), &record)?)
}

impl Pockets {
    /// While the guard lives, nobody else chooses coins to spend.
    pub(super) async fn choosing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.choosing.lock().await
    }
}

impl Inner {
    pub(super) fn coins(&self, pocket: &Pocket) -> Result<Vec<Coin>, WalletError> {
        let range = pocket.key().range();
        let coins = self.store.read(|read| read.range(COINS, range, usize::MAX))?;
        Ok(coins.into_iter().map(|(_, coin)| coin).collect())
    }

    /// What can be paid with in `unit`, by mint, the most first: spendable coins and what is in purses. From memory.
    pub(super) fn funds(&self, unit: &Unit) -> Vec<(MintUrl, u64)> {
        let mut funds = self.pockets.funds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (pocket, locked) in self.purse.totals() {
            *funds.entry(pocket).or_default() += locked;
        }
        let of_unit = funds.into_iter().filter(|(pocket, funds)| pocket.unit == *unit && *funds > 0);
        let mut funds: Vec<_> = of_unit.map(|(pocket, funds)| (pocket.mint, funds)).collect();
        funds.sort_by_key(|(_, funds)| std::cmp::Reverse(*funds));
        funds
    }

    /// Counts the spendable coins again, after a change of theirs.
    pub(super) fn count_funds(&self, pocket: &Pocket) -> Result<(), WalletError> {
        let mut funds = self.pockets.funds.lock().unwrap_or_else(PoisonError::into_inner);
        let spendable = sum(self.coins(pocket)?.iter().map(|coin| &coin.amount));
        funds.insert(pocket.clone(), spendable);
        self.pockets.news.notify_waiters();
        Ok(())
    }

    /// Counts all spendable coins, at start.
    pub(super) fn count_all_funds(&self) -> Result<(), WalletError> {
        let accounts = self.store.read(|read| read.range(ACCOUNTS, KeyRange::all(), usize::MAX))?;
        accounts.into_iter().try_for_each(|(_, record)| self.count_funds(&record.pocket))
    }

    /// Chooses coins worth at least `amount` after the fee for spending them.
    fn choose(&self, pocket: &Pocket, amount: u64, view: &MintView) -> Result<Vec<Coin>, WalletError> {
        let mut coins = self.coins(pocket)?;
        coins.retain(|coin| view.keysets.contains_key(&coin.id));
        let available = sum(coins.iter().map(|coin| &coin.amount));
        // Those of retired keysets first, to be rid of them; then the largest, for a small fee. Those of keysets that the
        // mint no longer tells of last: it may refuse them, and with them the whole swap.
        let rank = |coin: &Coin| (!view.is_listed(coin.id), view.is_active(coin.id));
        coins.sort_by_key(|coin| (rank(coin), std::cmp::Reverse(coin.amount), coin.secret.clone()));
        let fee_of = |coins: &[Coin]| view.fee(coins.iter().map(|coin| coin.id)).unwrap_or(u64::MAX);
        for count in 1..=coins.len().min(MAX_SWAP_INPUTS) {
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
        Err(WalletError::Insufficient { mint: pocket.mint.clone(), unit: pocket.unit.clone(), needed, available })
    }

    /// Writes down a swap that is paid for with spendable coins, and sets it going. If too few are free, waits for the
    /// change of swaps that are under way.
    pub(super) async fn spend(
        self: &Arc<Self>,
        pocket: &Pocket,
        outputs: Vec<(u64, Destination)>,
        purpose: Purpose,
    ) -> Result<swap::Handle, WalletError> {
        let view = self.mints.view(&pocket.mint).await?;
        let amount = sum(outputs.iter().map(|(amount, _)| amount));
        let until = self.runtime.instant() + self.patience();
        loop {
            // Listens before it looks, so that no change is missed.
            let news = self.pockets.news.notified();
            let choosing = self.pockets.choosing.lock().await;
            let short = match self.choose(pocket, amount, &view) {
                Ok(chosen) => {
                    let inputs: Option<Vec<_>> = chosen.into_iter().map(SwapInput::plain).collect();
                    let inputs = inputs.ok_or(WalletError::Unsettled)?;
                    let plan = Plan { pocket: pocket.clone(), inputs, outputs, purpose };
                    let handle = swap::start(self, plan.build(self).await?).await?;
                    self.count_funds(pocket)?;
                    return Ok(handle);
                }
                Err(short) => short,
            };
            drop(choosing);
            if self.change_due(pocket)? < amount {
                return Err(short);
            }
            // There is enough, but a mint that we wait for has it.
            let slow = |_| MintTrouble::Slow { mint: pocket.mint.clone() };
            tokio::time::timeout_at(until, news).await.map_err(slow)?;
        }
    }

    /// What comes back as coins from swaps under way.
    fn change_due(&self, pocket: &Pocket) -> Result<u64, WalletError> {
        let swaps = self.store.read(|read| read.range(SWAPS, KeyRange::all(), usize::MAX))?;
        let ours = swaps.iter().filter(|(_, record)| record.pocket == *pocket);
        let outputs = ours.flat_map(|(_, record)| &record.outputs).filter(|output| output.to == Destination::Coins);
        Ok(sum(outputs.map(|output| &output.amount)))
    }

    pub(super) async fn send(self: &Arc<Self>, pocket: &Pocket, amount: u64) -> Result<SentToken, WalletError> {
        let view = self.mints.view(&pocket.mint).await?;
        if let Some(token) = self.send_exact(pocket, amount).await? {
            return Ok(token);
        }
        let keyset = view.active(&pocket.unit, self.runtime.now())?;
        let parts = amounts::split(amount, keyset).ok_or(WalletError::Amount { amount, max: MAX_SWAP_INPUTS })?;
        let outputs = parts.into_iter().map(|part| (part, Destination::Token)).collect();
        match self.spend(pocket, outputs, Purpose::Send).await?.wait(self.patience()).await? {
            Settled::Sent(token) => Ok(token),
            _ => Err(WalletError::Unsettled),
        }
    }

    /// Gives coins out as they are, if some make just the amount.
    async fn send_exact(&self, pocket: &Pocket, amount: u64) -> Result<Option<SentToken>, WalletError> {
        let _choosing = self.pockets.choosing.lock().await;
        let mut by_amount = BTreeMap::<u64, Vec<Coin>>::new();
        for coin in self.coins(pocket)? {
            by_amount.entry(coin.amount).or_default().push(coin);
        }
        let available = by_amount.iter().map(|(amount, coins)| (*amount, coins.len())).collect();
        let Some(taken) = amounts::exact(amount, &available).filter(|_| amount > 0) else { return Ok(None) };
        let chosen: Vec<Coin> = taken
            .into_iter()
            .flat_map(|(amount, count)| by_amount.remove(&amount).unwrap_or_default().into_iter().take(count))
            .collect();
        let token = swap::make_token(pocket, &chosen, self.runtime.now())?;
        let ys: Option<Vec<Y>> = chosen.iter().map(Coin::y).collect();
        let ys = ys.ok_or(WalletError::Unsettled)?;
        let (id, kept, sent) = (self.runtime.random::<16>(), pocket.clone(), token.clone());
        self.store
            .transact(move |write| {
                for y in ys {
                    take_coin(write, &kept, y)?;
                    write.put(FUNDED, y.0, &0)?;
                }
                write.put(SENT, id, &sent)?;
                book(write, &kept, |account| account.sent += sent.amount)
            })
            .await?;
        self.count_funds(pocket)?;
        Ok(Some(token))
    }

    pub(super) async fn receive(self: &Arc<Self>, text: &str) -> Result<Received, WalletError> {
        let token = Token::from_str(text.trim()).map_err(|_| WalletError::Token("it can't be read"))?;
        let url = token.mint_url().map_err(|_| WalletError::Token("it names no single mint"))?;
        let mint: MintUrl = url.to_string().parse().map_err(|_| WalletError::Token("its mint has no URL"))?;
        let unit = token.unit().unwrap_or_default().to_string();
        let unit: Unit = unit.parse().map_err(|_| WalletError::Token("its unit has no name"))?;
        let view = self.mints.view(&mint).await?;
        let proofs = token.proofs(&view.infos()).map_err(|_| WalletError::Token("it is of a keyset unknown here"))?;
        if proofs.is_empty() || proofs.len() > MAX_SWAP_INPUTS {
            return Err(WalletError::Token("it has no proofs, or too many"));
        }
        if proofs.ys().map(|ys| ys.into_iter().collect::<BTreeSet<_>>().len()).ok() != Some(proofs.len()) {
            return Err(WalletError::Token("a proof is in it twice"));
        }
        if proofs.iter().any(|proof| proof.secret.is_p2pk()) {
            return Err(WalletError::Token("it is locked to a key"));
        }
        let total = sum(&proofs.iter().map(|proof| proof.amount.to_u64()).collect::<Vec<_>>());
        let fee = view.fee(proofs.iter().map(|proof| proof.keyset_id.into())).unwrap_or(u64::MAX);
        if total <= fee {
            return Err(WalletError::Token("it is worth no more than the mint's fee"));
        }
        let inputs: Option<Vec<_>> = proofs.iter().map(Coin::from_proof).map(SwapInput::plain).collect();
        let inputs = inputs.ok_or(WalletError::Token("a proof in it can't be read"))?;
        let pocket = Pocket::new(&mint, &unit);
        let plan = Plan { pocket, inputs, outputs: Vec::new(), purpose: Purpose::Receive };
        match swap::start(self, plan.build(self).await?).await?.wait(self.patience()).await? {
            Settled::Received { amount, fee } => Ok(Received { amount, fee, mint, unit }),
            _ => Err(WalletError::Unsettled),
        }
    }
}

/// Coins in a pocket from which on they are swapped together: each swap leaves some ten more.
const MANY_COINS: usize = 96;
/// Inputs of a swap that takes small coins along.
const TIDY_INPUTS: usize = 32;
