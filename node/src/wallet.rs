//! The wallet: ecash at the operator's mints, locked to sellers as a buyer, redeemed as a seller.
//!
//! ```text
//!  trade room ── lock / debit / settle ─────────► purse ──┐                    buyer
//!             ── check_lock / reserve / redeemable ► takings ┤ swaps ── mints   seller
//!  people     ── fund / send / receive / restore ► pockets ─┘
//!             ◄── outcomes: redeemed, swept
//! ```
//!
//! - **Nothing is lost.** Every coin is in exactly one table ([`records`]); it moves through a mint only by a
//!   [swap](swap) that is written down before it is posted and repeated until its fate is known. [`Wallet::audit`]
//!   proves it.
//! - **No mint on the hot path.** A hire is paid from the [purse](purse); a lock is [checked](takings) offline.
//! - **Methods that take a [`Write`]** are parts of the caller's own transaction: the trade's record and its money change
//!   together or not at all. After such a commit, [`Wallet::nudge`] sets the background work going at once.
//! - **Time** falls back by the mint's clock: what waits for a locktime waits for the tolerated skew too.
//!
//! Background tasks (all end with the node): the redeemer, the sweeper, the purse keeper, the keyset refresher, the
//! outcome teller, and one per swap in flight. This is the only room that knows cdk's wallets.
//!
//! Bounded: mints, keysets, purses, inputs per swap, swaps posted at once, outcomes told and not yet noted
//! ([`crate::limits`]); purse and unredeemed value by [`WalletConfig`].

mod amounts;
mod books;
mod coin;
mod config;
pub mod connector;
pub mod db;
mod error;
mod funding;
mod keys;
mod mints;
mod pockets;
mod purse;
mod reclaim;
mod records;
mod restore;
mod swap;
mod takings;
mod telling;
mod tidying;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use cdk::{
    cdk_database::{self, WalletDatabase},
    nuts::SecretKey,
};
use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    locks::KeysetId,
    market::{MintUrl, Unit},
    settlement::{Lock, LockDemand, Mode, Terms, prepaid},
    time::Timestamp,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::Instant,
};
use zeroize::Zeroizing;

pub use self::{
    books::{AuditFault, Balance, HeldCoin, Holding},
    config::{PurseConfig, TakingsConfig, WalletConfig},
    error::WalletError,
    funding::FundQuote,
    mints::MintSummary,
    pockets::Received,
    purse::{LockRequest, PreparedLock, Settlement},
    records::{Account, MoneyOutcome, SentToken},
    takings::{LockContext, VettedLock},
};
use self::{
    connector::Connectors,
    funding::Tills,
    keys::LockKeys,
    mints::Mints,
    pockets::Pockets,
    purse::Purse,
    records::{OUTCOMES, Outcome, Pocket, SENT, SWAPS, SwapRecord},
};
use crate::{
    events::Events,
    failpoint::Failpoint,
    limits::{MAX_OUTCOMES, PURSE_PAUSE, SWAPS_AT_ONCE},
    runtime::Runtime,
    store::{Key, KeyRange, Reader, Store, Write},
};

/// cdk's wallet database, as implemented over our store.
pub type DynDatabase = Arc<dyn WalletDatabase<cdk_database::Error> + Send + Sync>;

/// What a wallet is made of.
#[derive(Debug)]
pub struct WalletParts {
    /// Settings.
    pub config: WalletConfig,
    /// The seed of our own coins (NUT-13).
    pub seed: Zeroizing<[u8; 64]>,
    /// The seed of the keys that money is locked to.
    pub lock_seed: Zeroizing<[u8; 32]>,
    /// Where everything is written down.
    pub store: Store,
    /// cdk's tables in the same store.
    pub database: DynDatabase,
    /// The way to mints.
    pub connectors: Arc<dyn Connectors>,
    /// Time, tasks, entropy, CPU.
    pub runtime: Runtime,
    /// Told what money does.
    pub events: Events,
    /// For crash tests; the default does nothing.
    pub failpoint: Failpoint,
}

/// The handle of a node's wallet.
#[derive(Clone, Debug)]
pub struct Wallet(Arc<Inner>);

struct Inner {
    config: WalletConfig,
    seed: Zeroizing<[u8; 64]>,
    keys: LockKeys,
    store: Store,
    database: DynDatabase,
    runtime: Runtime,
    events: Events,
    failpoint: Failpoint,
    mints: Mints,
    pockets: Pockets,
    tills: Tills,
    purse: Purse,
    /// How long to wait before a lot is swept again, and until when.
    sweeps: Mutex<BTreeMap<Vec<u8>, (Duration, Instant)>>,
    posting: Semaphore,
    purse_work: Notify,
    redeem_work: Notify,
    sweep_work: Notify,
    outcome_work: Notify,
}

impl Wallet {
    /// Opens the wallet, takes up every swap that was in flight, and starts its background work. The receiver gets what
    /// became of trades' money, again after each start until [`Self::acknowledge`]d.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn open(parts: WalletParts) -> Result<(Self, mpsc::Receiver<(Cid, MoneyOutcome)>), WalletError> {
        let WalletParts { config, seed, lock_seed, store, database, connectors, runtime, events, failpoint } = parts;
        let mints = Mints::open(config.mints.clone(), &store, &runtime, &connectors, &events)?;
        let inner = Arc::new(Inner {
            keys: LockKeys::new(lock_seed),
            mints,
            pockets: Pockets::default(),
            tills: Tills::default(),
            purse: Purse::default(),
            sweeps: Mutex::default(),
            posting: Semaphore::new(SWAPS_AT_ONCE),
            purse_work: Notify::new(),
            redeem_work: Notify::new(),
            sweep_work: Notify::new(),
            outcome_work: Notify::new(),
            config,
            seed,
            store,
            database,
            runtime,
            events,
            failpoint,
        });
        inner.load_purse()?;
        inner.count_all_funds()?;
        swap::resume(&inner)?;
        let (tell, told) = mpsc::channel(MAX_OUTCOMES);
        inner.start(tell);
        Ok((Self(inner), told))
    }

    // Buyer

    /// Takes a lock out of the purse, or makes one at the mint if there is none.
    ///
    /// # Errors
    /// If the money isn't there or the mint doesn't make the lock in time; a swap under way goes on, and what it makes is
    /// in the purse.
    pub async fn lock(&self, request: &LockRequest) -> Result<PreparedLock, WalletError> {
        self.0.lock(request).await
    }

    /// Writes what becomes of a trade's lock. Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn settle(&self, write: &mut Write<'_>, trade: Cid, how: Settlement) -> Result<(), WalletError> {
        purse::settle(write, trade, how)
    }

    /// As [`Self::settle`], in a transaction of its own.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn settle_buyer(&self, trade: Cid, how: Settlement) -> Result<(), WalletError> {
        self.0.store.transact(move |write| purse::settle(write, trade, how)).await?;
        self.nudge();
        Ok(())
    }

    // Seller

    /// The terms of an offer to `buyer` that is delivered by `deadline`; `None` in a mode that we don't know. Our key in
    /// prepaid ones is always the same for a buyer; their locktime leaves us the margin to redeem.
    pub fn terms(&self, mode: &Mode, buyer: AgentId, deadline: Timestamp) -> Option<Terms> {
        match mode {
            Mode::Prepaid => {
                let locktime = deadline.saturating_add(self.0.config.takings.margin_secs);
                Some(Terms::Prepaid(prepaid::Terms { payee: self.0.lock_key(buyer), locktime }))
            }
            Mode::Other(_) => None,
        }
    }

    /// Holds a buyer's lock against what was agreed. Asks no mint, unless it shows a keyset that we don't know.
    ///
    /// # Errors
    /// Why it isn't taken.
    pub async fn check_lock(
        &self,
        context: &LockContext,
        demand: &LockDemand,
        lock: &Lock,
    ) -> Result<VettedLock, WalletError> {
        self.0.check_lock(context, demand, lock).await
    }

    /// Reserves the proofs of a lock for `trade`, in the transaction that accepts it. Can be repeated.
    ///
    /// # Errors
    /// If a proof is another trade's, or a limit is reached. The transaction must not go on then.
    pub fn reserve(&self, write: &mut Write<'_>, lock: &VettedLock, trade: Cid) -> Result<(), WalletError> {
        self.0.reserve(write, lock, trade)
    }

    /// The lock of `trade` is earned: redeem it with the next batch. Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn redeemable(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        self.0.redeemable(write, trade)
    }

    /// Gives the lock of `trade` up: the buyer takes it back after its locktime. Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn void(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        self.0.void(write, trade)
    }

    /// The outcome of `trade`'s money has been taken note of, in the same transaction.
    ///
    /// # Errors
    /// If the store fails.
    pub fn acknowledge(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        Ok(write.delete(OUTCOMES, Key::of(trade))?)
    }

    /// A transaction with one of the methods above has been committed: look for work now.
    pub fn nudge(&self) {
        self.0.purse_work.notify_one();
        self.0.redeem_work.notify_one();
    }

    // People

    /// The mints on the operator's list.
    pub fn mints(&self) -> Vec<MintSummary> {
        self.0.mints.list()
    }

    /// Whether ecash of this mint is used and accepted.
    pub fn accepts(&self, mint: &MintUrl) -> bool {
        self.0.mints.is_listed(mint)
    }

    /// Puts a mint on the list.
    ///
    /// # Errors
    /// If it can't be reached or lacks what locked money needs.
    pub async fn add_mint(&self, mint: &MintUrl) -> Result<MintSummary, WalletError> {
        self.0.mints.add(mint).await?;
        let known = self.mints().into_iter().find(|known| known.url == *mint);
        known.ok_or_else(|| WalletError::UnknownMint(mint.clone()))
    }

    /// Takes a mint that was added by command off the list.
    ///
    /// # Errors
    /// If there is money at it, or it stands in the config file.
    pub async fn remove_mint(&self, mint: &MintUrl) -> Result<(), WalletError> {
        if self.balances()?.iter().any(|balance| balance.mint == *mint && balance.total() > 0) {
            return Err(WalletError::MintInUse(mint.clone()));
        }
        self.0.mints.remove(mint).await
    }

    /// All money, by mint and unit.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn balances(&self) -> Result<Vec<Balance>, WalletError> {
        self.0.balances()
    }

    /// All money, after proving that every coin is in one place and that they are what came in and didn't go out.
    ///
    /// # Errors
    /// Outside, if the store can't be read; inside, what doesn't add up.
    pub fn audit(&self) -> Result<Result<Vec<Balance>, AuditFault>, WalletError> {
        self.0.audit()
    }

    /// Every coin of this wallet, for an auditor of many wallets. Nothing in it can be spent with.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn holdings(&self) -> Result<Vec<Holding>, WalletError> {
        self.0.holdings()
    }

    /// What can be paid with in `unit`, by mint, the most first: spendable and locked to sellers. Cheap: from memory.
    pub fn funds(&self, unit: &Unit) -> Vec<(MintUrl, u64)> {
        self.0.funds(unit)
    }

    /// Asks a mint what to pay for `amount` of ecash.
    ///
    /// # Errors
    /// If the mint isn't on the list or doesn't give a quote.
    pub async fn fund(&self, mint: &MintUrl, unit: &Unit, amount: u64) -> Result<FundQuote, WalletError> {
        self.0.quote(&Pocket::new(mint, unit), amount).await
    }

    /// Waits until a quote is paid and gets its ecash; `None` if it isn't paid within `patience`. Can be repeated. Begins
    /// at once, and goes on until the quote has run out, whatever is told and whether or not anybody still listens.
    ///
    /// # Errors
    /// If the quote is unknown or the mint doesn't keep it.
    pub fn await_funds(
        &self,
        mint: &MintUrl,
        unit: &Unit,
        quote: &str,
        patience: Duration,
    ) -> impl Future<Output = Result<Option<u64>, WalletError>> + Send + use<> {
        let told = self.0.watch_quote(&Pocket::new(mint, unit), quote, patience);
        async move { told.await.unwrap_or(Err(WalletError::Unsettled)) }
    }

    /// Makes a token worth `amount`, to give to anybody.
    ///
    /// # Errors
    /// If the money isn't there or the mint doesn't change it in time; a token made later is in [`Self::sent`].
    pub async fn send(&self, mint: &MintUrl, unit: &Unit, amount: u64) -> Result<SentToken, WalletError> {
        self.0.send(&Pocket::new(mint, unit), amount).await
    }

    /// The tokens given out.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn sent(&self) -> Result<Vec<SentToken>, WalletError> {
        let rows = self.0.store.read(|read| read.range(SENT, KeyRange::all(), usize::MAX))?;
        Ok(rows.into_iter().map(|(_, token)| token).collect())
    }

    /// Takes a token, of a mint on the list.
    ///
    /// # Errors
    /// If it can't be taken, or isn't in time; a swap under way goes on.
    pub async fn receive(&self, token: &str) -> Result<Received, WalletError> {
        self.0.receive(token).await
    }

    /// Looks for coins that this wallet's seed once made at a mint. Gives what was found.
    ///
    /// # Errors
    /// If the mint isn't on the list or doesn't answer.
    pub async fn restore(&self, mint: &MintUrl, unit: &Unit) -> Result<u64, WalletError> {
        self.0.restore(&Pocket::new(mint, unit)).await
    }

    /// How many swaps are waiting for a mint's answer.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn swaps_in_flight(&self) -> Result<usize, WalletError> {
        Ok(self.0.store.read(|read| read.range(SWAPS, KeyRange::all(), usize::MAX))?.len())
    }
}

impl Inner {
    fn start(self: &Arc<Self>, tell: mpsc::Sender<(Cid, MoneyOutcome)>) {
        let spawn = |name, task: futures::future::BoxFuture<'static, ()>| self.runtime.spawn(name, task).detach();
        let inner = Arc::clone(self);
        let every = Duration::from_secs(self.config.keyset_refresh_secs.max(1));
        spawn("wallet mints", Box::pin(async move { inner.mints.keep_fresh(every).await }));
        spawn("wallet quotes", Box::pin(Arc::clone(self).keep_funding()));
        spawn("wallet tidying", Box::pin(Arc::clone(self).keep_tidy()));
        spawn("wallet redeemer", Box::pin(Arc::clone(self).keep_redeeming()));
        spawn("wallet sweeper", Box::pin(Arc::clone(self).keep_sweeping()));
        spawn("wallet purse", Box::pin(Arc::clone(self).keep_purse()));
        spawn("wallet outcomes", Box::pin(Arc::clone(self).keep_telling(tell)));
    }

    /// Keeps the purse's index true to its table.
    async fn keep_purse(self: Arc<Self>) {
        loop {
            self.purse_work.notified().await;
            if let Err(error) = self.reconcile_purse().await {
                tracing::warn!(%error, "purse not reconciled");
            }
            // Under load, many locks are looked at together.
            tokio::time::sleep(PURSE_PAUSE).await;
        }
    }

    /// Tells what became of trades' money, each once per start, until it is acknowledged.
    async fn keep_telling(self: Arc<Self>, tell: mpsc::Sender<(Cid, MoneyOutcome)>) {
        let mut told = BTreeSet::<Vec<u8>>::new();
        loop {
            let rows = match self.store.read(|read| read.range(OUTCOMES, KeyRange::all(), MAX_OUTCOMES)) {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "outcomes not read");
                    Vec::new()
                }
            };
            let keys: BTreeSet<_> = rows.iter().map(|(key, _)| key.clone()).collect();
            told.retain(|key| keys.contains(key));
            for (key, Outcome { trade, outcome }) in rows {
                if told.insert(key) && tell.send((trade, outcome)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = self.outcome_work.notified() => {}
                () = tokio::time::sleep(PURSE_PAUSE * 60) => {}
            }
        }
    }

    fn notice_swap(&self, record: &SwapRecord, result: &Result<swap::Settled, WalletError>) {
        match result {
            Ok(_) => self.tell_swap(record),
            Err(error) => tracing::warn!(%error, "swap parked"),
        }
        self.outcome_work.notify_one();
        self.redeem_work.notify_one();
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.config.mint_patience_secs)
    }

    /// The first of `count` unused numbers for deriving secrets under a keyset, shared with cdk's wallets.
    async fn counters(&self, keyset: KeysetId, count: u32) -> Result<u32, WalletError> {
        if count == 0 {
            return Ok(0);
        }
        let next = self.database.increment_keyset_counter(&keyset.to_cashu(), count).await;
        Ok(next.map_err(|error| WalletError::Database(error.to_string()))?.saturating_sub(count))
    }

    fn random_scalar(&self) -> SecretKey {
        loop {
            // All but one in 2^128 of 32 random bytes are a scalar.
            if let Ok(scalar) = SecretKey::from_slice(&self.runtime.random::<32>()) {
                return scalar;
            }
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("config", &self.config).field("keys", &self.keys).finish_non_exhaustive()
    }
}
