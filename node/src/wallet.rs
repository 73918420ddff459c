//! The wallet: ecash at the operator's mints, locked to sellers as a buyer, redeemed as a seller.
//!
//! ```text
//!  trade room ── lock / debit / settle ───────────► locks: purse, refunds ─┐            buyer
//!             ── check_lock / reserve / redeemable ─► locks: redemption ────┤ ledger     seller
//!  people     ── send / receive / restore ──────────────────────────────────┤   │
//!             ── fund / pay ────────────────────────► quotes ───────────────┘   ▼
//!             ◄── outcomes: redeemed, refunded                                mints
//! ```
//!
//! Three objects with fields of their own: the [ledger] (coins, operations, books), the [locks] (purse, redemption,
//! refunds) and the [mints] (connectors, keysets, clocks); [quotes] are the way in and out over Lightning. This facade is
//! all that other rooms see.
//!
//! - **Nothing is lost.** Every coin is in exactly one table ([`records`]); it moves through a mint only by an
//!   operation that is written down before it is posted and repeated until its fate is known. [`Wallet::audit`] proves it.
//! - **A mint's answer is checked.** What became of a lost reply is decided in one place (`ledger/fate.rs`), from what the mint
//!   says of inputs and outputs; only a NUT error code is a mint's judgement; a derivation number is used once, also by an
//!   older copy of the home (`ledger/numbers.rs`); trouble with one mint delays no other.
//! - **No mint on the hot path.** A hire is paid from the purse; a lock is checked offline.
//! - **Methods that take a [`Write`]** are parts of the caller's own transaction: the trade's record and its money change
//!   together or not at all. After such a commit, [`Wallet::nudge`] sets the background work going at once.
//! - **Locktimes** go by the mint's clock: what waits for one waits for the tolerated skew too.
//!
//! Background tasks (all end with the node): the redeemer, the refunder, the purse keeper, the keyset refreshers, the outcome
//! teller, the tidier, one per operation in flight and one per open quote. Coins and signatures are of
//! cdk's types; its wallet isn't used.
//!
//! Bounded: mints, keysets, purses, inputs per operation, operations posted at once, outcomes told and not yet noted
//! ([`crate::limits`]); purse and unredeemed value by [`WalletConfig`].

mod amounts;
mod coin;
mod config;
pub mod connector;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod keys;
mod ledger;
mod locks;
mod mints;
mod modes;
mod notices;
mod quotes;
mod records;
mod spend;
mod tables;
mod tidy;
mod whereabouts;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    market::{MintUrl, Unit},
    seal::SealKey,
    settlement::{
        Lock, LockDemand, Mode, Terms,
        escrow::{ReleaseSignature, Shown},
    },
    time::Timestamp,
    trade::buyer::LockOutcome,
};
use serde::Serialize;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub(crate) use self::quotes::read_invoice;
pub use self::{
    config::{PurseConfig, RedemptionConfig, WalletConfig},
    error::WalletError,
    ledger::{AuditFault, Balance, HeldCoin, Holding, Received, Restored},
    locks::{LockContext, LockOf, LockRequest, PreparedLock, VettedLock},
    mints::{MintState, MintSummary},
    quotes::{FundQuote, InvoicePaid},
    records::{Account, HistoryEntry, MoneyOutcome, Reason, RedeemedProof, SentState, SentToken},
    whereabouts::Whereabouts,
};
use self::{
    connector::Connectors,
    keys::LockKeys,
    ledger::{Ledger, LedgerParts, Underway},
    locks::{LocksParts, Purse, Redemption, Refunds, Shared},
    mints::Mints,
    notices::Notices,
    quotes::Quotes,
    records::{Currency, DUE, Destination, OUTCOMES, Outcome, Purpose, REDEEMED_PROOFS, REFUNDS, RETURNED},
    tidy::Tidy,
};
use crate::{
    events::Events,
    failpoint::Failpoint,
    limits::{MAX_OUTCOMES, PURSE_PAUSE},
    runtime::Runtime,
    store::{Key, KeyRange, Reader, Store, StoreError, Write},
};

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
#[derive(Clone)]
pub struct Wallet(Arc<Inner>);

struct Inner {
    store: Store,
    runtime: Runtime,
    shared: Arc<Shared>,
    mints: Arc<Mints>,
    ledger: Arc<Ledger>,
    purse: Arc<Purse>,
    redemption: Arc<Redemption>,
    refunds: Arc<Refunds>,
    quotes: Arc<Quotes>,
    tidy: Arc<Tidy>,
}

/// Something that is under way in a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Names it.
    pub id: String,
    /// What it is: `refill`, `send`, `renew`, `receive`, `redeem`, `refund`, `mint`, `pay` (an operation at the mint), `quote`
    /// (waits for a payment), `earned` (waits to be redeemed), `locked` (waits for its locktime).
    pub what: &'static str,
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
    /// How much.
    pub amount: u64,
    /// Since when.
    pub since: Timestamp,
    /// What holds it up, if that is known.
    pub why: Option<String>,
    /// What ends it.
    pub ends: String,
}

impl Wallet {
    /// Opens the wallet, takes up every operation that was in flight, and starts its background work. The receiver gets
    /// what became of trades' money, again after each start until [`Self::acknowledge`]d.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn open(parts: WalletParts) -> Result<(Self, mpsc::Receiver<(Cid, MoneyOutcome)>), WalletError> {
        let WalletParts { config, seed, lock_seed, store, connectors, runtime, events, failpoint } = parts;
        let mints =
            Arc::new(Mints::open(config.mints.clone(), config.pins.clone(), &store, &runtime, &connectors, &events)?);
        let (notices, shared) = (Notices::new(events), Arc::new(Shared::default()));
        let patience = Duration::from_secs(config.mint_patience_secs);
        let tokens = keys::token_seed(&seed);
        let ledger = Arc::new(Ledger::open(LedgerParts {
            mints: Arc::clone(&mints),
            seeds: [seed, tokens],
            store: store.clone(),
            runtime: runtime.clone(),
            notices: notices.clone(),
            failpoint,
            observer: shared.clone(),
            patience,
        })?);
        let locks = LocksParts {
            mints: Arc::clone(&mints),
            ledger: Arc::clone(&ledger),
            keys: Arc::new(LockKeys::new(lock_seed)),
            store: store.clone(),
            runtime: runtime.clone(),
            notices,
            shared: Arc::clone(&shared),
            patience,
        };
        let quotes = Arc::new(Quotes::new(&mints, &ledger, &store, &runtime, patience));
        let tidy = Tidy {
            mints: Arc::clone(&mints),
            ledger: Arc::clone(&ledger),
            quotes: Arc::clone(&quotes),
            store: store.clone(),
            runtime: runtime.clone(),
            received_from: Mutex::default(),
        };
        let inner = Arc::new(Inner {
            purse: Arc::new(Purse::open(locks.clone(), config.purse)?),
            redemption: Arc::new(Redemption::new(locks.clone(), config.redemption)),
            refunds: Arc::new(Refunds::new(locks)),
            tidy: Arc::new(tidy),
            store,
            runtime,
            shared,
            mints,
            ledger,
            quotes,
        });
        inner.ledger.resume()?;
        inner.quotes.resume()?;
        let (tell, told) = mpsc::channel(MAX_OUTCOMES);
        inner.start(Duration::from_secs(config.keyset_refresh_secs.max(1)), tell);
        Ok((Self(inner), told))
    }

    // Buyer

    /// Takes a lock out of the purse, or makes one at the mint if there is none.
    ///
    /// # Errors
    /// If the money isn't there or the mint doesn't make the lock in time; an operation under way goes on, and what it makes
    /// is in the purse.
    pub async fn lock(&self, request: &LockRequest) -> Result<PreparedLock, WalletError> {
        self.0.purse.lock(request).await
    }

    /// Writes what becomes of a trade's lock. Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn settle(&self, write: &mut Write<'_>, trade: Cid, how: LockOutcome) -> Result<(), WalletError> {
        self.0.purse.settle(write, trade, how)
    }

    /// As [`Self::settle`], in a transaction of its own.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn settle_buyer(&self, trade: Cid, how: LockOutcome) -> Result<(), WalletError> {
        self.0.purse.settle_now(trade, how).await?;
        self.nudge();
        Ok(())
    }

    /// What `seller` holds of ours in advance in a unit, at whichever mint: what it hasn't earned and could take. A lock of a failed
    /// trade counts until its locktime, one that was given back until another trade pays with it.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn advanced(&self, seller: AgentId, unit: &Unit) -> Result<u64, WalletError> {
        let now = self.0.runtime.now();
        Ok(self.0.store.read(|read| tables::advanced(read, seller, unit, now))?)
    }

    /// What shows that the seller of `trade` has taken proofs of its lock: kept once a mint has said so.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn redeemed_proofs(&self, trade: Cid) -> Result<Vec<RedeemedProof>, WalletError> {
        Ok(self.0.store.read(|read| read.get(REDEEMED_PROOFS, Key::of(trade)))?.unwrap_or_default())
    }

    /// Signs the release of a lock that was made on `terms`: one signature for each proof, in its order. Whoever has them and
    /// the key that the terms name can have the money.
    ///
    /// # Errors
    /// If the lock isn't in escrow, or isn't ours.
    pub async fn release(&self, terms: &Terms, lock: &Lock) -> Result<Vec<ReleaseSignature>, WalletError> {
        self.0.purse.release(terms, lock).await
    }

    /// What the mint shows as the key that the lock of `trade` paid for, if anything of it was taken; kept once it was seen.
    /// `None` if it has not been shown.
    ///
    /// # Errors
    /// If the mint can't be asked.
    pub async fn shown_key(&self, trade: Cid, deal: LockOf<'_>) -> Result<Option<Shown>, WalletError> {
        self.0.purse.shown_key(trade, deal).await
    }

    // Seller

    /// The key with which we seal what we deliver under our own `terms`; `None` in a mode that seals nothing.
    pub fn seal_key(&self, terms: &Terms) -> Option<SealKey> {
        self.0.redemption.seal_key(terms)
    }

    /// Whether the mint says that something of the lock accepted for `trade` is spent.
    ///
    /// # Errors
    /// If the mint can't be asked.
    pub async fn is_taken(&self, trade: Cid) -> Result<bool, WalletError> {
        self.0.redemption.is_taken(trade).await
    }

    /// Whether another copy of this wallet lives, of which the mint of the lock accepted for `trade` is asked anew.
    ///
    /// # Errors
    /// If the mint can't be asked.
    pub async fn has_another_copy(&self, trade: Cid) -> Result<bool, WalletError> {
        self.0.redemption.has_another_copy(trade).await
    }

    /// Whether all of the lock of `trade` that came back is ours again: its mint has said since that nothing of it was taken.
    /// Asked within a transaction, it sees what that one changes.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn is_given_back(read: &impl Reader, trade: Cid) -> Result<bool, StoreError> {
        let key = Key::of(trade);
        let unsure = read.contains(RETURNED, &key)? || read.contains(OUTCOMES, &key)?;
        Ok(!unsure && !read.contains(REDEEMED_PROOFS, &key)?)
    }

    /// The buyer has released the lock of `trade`: redeem it at once. The signatures must have been
    /// [checked](guilder_protocol::settlement::escrow::check_release). Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn released(
        &self,
        write: &mut Write<'_>,
        trade: Cid,
        signatures: &[ReleaseSignature],
    ) -> Result<(), WalletError> {
        self.0.redemption.released(write, trade, signatures)
    }

    /// The terms of an offer to `buyer` that is delivered by `deadline`; `None` in a mode that we don't know. Our key in
    /// prepaid ones is always the same for a buyer; their locktime leaves us the margin to redeem.
    pub fn terms(&self, mode: &Mode, buyer: AgentId, deadline: Timestamp) -> Option<Terms> {
        self.0.redemption.terms(mode, buyer, deadline)
    }

    /// Holds a buyer's lock against what was agreed. Asks no mint, unless it shows a keyset that we don't know, or our
    /// clock seems to be off the mint's.
    ///
    /// # Errors
    /// Why it isn't taken.
    pub async fn check_lock(
        &self,
        context: &LockContext,
        demand: &LockDemand,
        lock: &Lock,
    ) -> Result<VettedLock, WalletError> {
        self.0.redemption.check_lock(context, demand, lock).await
    }

    /// Reserves the proofs of a lock for `trade`, in the transaction that accepts it. Can be repeated.
    ///
    /// # Errors
    /// If a proof is another trade's, or a limit is reached. The transaction must not go on then.
    pub fn reserve(&self, write: &mut Write<'_>, lock: &VettedLock, trade: Cid) -> Result<(), WalletError> {
        self.0.redemption.reserve(write, lock, trade)
    }

    /// The lock of `trade` is earned: redeem it with the next batch. Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn redeemable(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        self.0.redemption.redeemable(write, trade)
    }

    /// Gives the lock of `trade` up: the buyer takes it back after its locktime. Can be repeated.
    ///
    /// # Errors
    /// If the store fails.
    pub fn void(&self, write: &mut Write<'_>, trade: Cid) -> Result<(), WalletError> {
        self.0.redemption.void(write, trade)
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
        self.0.purse.work.notify_one();
        self.0.shared.redeem.notify_one();
    }

    /// A transaction has been committed by which a lock is earned that is redeemed with its batch: look for work once there is a
    /// batch, or its time has come. What is urgent asks for [`Self::nudge`].
    pub fn earned(&self) {
        if self.0.redemption.is_batch_earned() {
            self.0.shared.redeem.notify_one();
        }
    }

    // People

    /// The mints on the operator's list, each once, however many URLs it has.
    pub fn mints(&self) -> Vec<MintSummary> {
        self.0.mints.list()
    }

    /// What a mint on the list says now: it is asked anew.
    ///
    /// # Errors
    /// If it doesn't answer, or isn't the one that it should be.
    pub async fn state_of(&self, mint: &MintUrl) -> Result<MintState, WalletError> {
        self.0.mints.state_of(mint).await
    }

    /// Whether what is old by this machine's clock may be forgotten: no mint that was asked contradicts it.
    pub fn may_forget(&self) -> bool {
        self.0.mints.may_forget()
    }

    /// Whether ecash of this mint is used and accepted.
    pub fn accepts(&self, mint: &MintUrl) -> bool {
        self.0.mints.is_listed(mint)
    }

    /// Puts a mint on the list. If it is one that is there already under another URL, this becomes a further URL of it.
    ///
    /// # Errors
    /// If it can't be reached or lacks what locked money needs.
    pub async fn add_mint(&self, mint: &MintUrl) -> Result<MintSummary, WalletError> {
        self.0.mints.add(mint).await?;
        let is_it = |known: &MintSummary| known.url == *mint || known.also.contains(mint);
        let known = self.mints().into_iter().find(is_it);
        known.ok_or_else(|| WalletError::UnknownMint(mint.clone()))
    }

    /// Takes a mint that was added by command off the list, or one of its URLs.
    ///
    /// # Errors
    /// If there is money at it or on its way, or it stands in the config file.
    pub async fn remove_mint(&self, mint: &MintUrl) -> Result<(), WalletError> {
        let held = self.balances()?.into_iter().filter(|balance| balance.total() + balance.incoming > 0);
        let moving = self.pending()?.into_iter().map(|pending| pending.mint);
        if held.map(|balance| balance.mint).chain(moving).any(|used| used == *mint) {
            return Err(WalletError::MintInUse(mint.clone()));
        }
        self.0.mints.remove(mint).await
    }

    /// All money, by mint and unit.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn balances(&self) -> Result<Vec<Balance>, WalletError> {
        self.0.ledger.balances()
    }

    /// The units of which there is any money, by the accounts: two reads, whatever the coins.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn units_held(&self) -> Result<BTreeSet<Unit>, WalletError> {
        self.0.ledger.units_held()
    }

    /// Where the money of a unit is that can't be spent now, and when it falls back.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn whereabouts(&self, unit: &Unit) -> Result<Whereabouts, WalletError> {
        let balances = self.balances()?;
        Ok(self.0.store.read(|read| Whereabouts::read(read, &balances, unit))?)
    }

    /// All money, after proving that every coin is in one place and that they are what came in and didn't go out.
    ///
    /// # Errors
    /// Outside, if the store can't be read; inside, what doesn't add up.
    pub fn audit(&self) -> Result<Result<Vec<Balance>, AuditFault>, WalletError> {
        self.0.ledger.audit(&self.0.purse.totals())
    }

    /// Every coin of this wallet, for an auditor of many wallets. Nothing in it can be spent with.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn holdings(&self) -> Result<Vec<Holding>, WalletError> {
        self.0.ledger.holdings()
    }

    /// What can be paid with in `unit`, by mint, the most first: spendable and locked to sellers. Cheap: from memory.
    pub fn funds(&self, unit: &Unit) -> Vec<(MintUrl, u64)> {
        let mut funds: BTreeMap<MintUrl, u64> = self.0.ledger.funds(unit);
        for (currency, locked) in self.0.purse.totals() {
            if currency.unit == *unit {
                *funds.entry(currency.mint).or_default() += locked;
            }
        }
        let mut funds: Vec<_> = funds.into_iter().filter(|(_, funds)| *funds > 0).collect();
        funds.sort_by_key(|(_, funds)| std::cmp::Reverse(*funds));
        funds
    }

    /// Asks a mint what to pay for `amount` of ecash.
    ///
    /// # Errors
    /// If the mint isn't on the list or doesn't give a quote.
    pub async fn fund(&self, mint: &MintUrl, unit: &Unit, amount: u64) -> Result<FundQuote, WalletError> {
        self.0.quotes.fund(&self.0.mints.currency(mint, unit).await?, amount).await
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
        let currency = Currency::new(&self.0.mints.primary(mint), unit);
        let told = self.0.quotes.watch(&currency, quote, patience);
        async move { told.await.unwrap_or(Err(WalletError::Unsettled)) }
    }

    /// Pays a Lightning invoice with ecash of a mint.
    ///
    /// # Errors
    /// If the mint doesn't pay it, or not in time; what was begun goes on.
    pub async fn pay(&self, mint: &MintUrl, unit: &Unit, invoice: &str) -> Result<InvoicePaid, WalletError> {
        self.0.quotes.pay(&self.0.mints.currency(mint, unit).await?, invoice).await
    }

    /// Makes a token worth `amount`, to give to anybody.
    ///
    /// # Errors
    /// If the money isn't there or the mint doesn't change it in time; a token made later is in [`Self::sent`].
    pub async fn send(&self, mint: &MintUrl, unit: &Unit, amount: u64) -> Result<SentToken, WalletError> {
        self.0.ledger.send(&self.0.mints.currency(mint, unit).await?, amount).await
    }

    /// The tokens sent, the oldest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn sent(&self) -> Result<Vec<SentToken>, WalletError> {
        self.0.ledger.sent()
    }

    /// The tokens sent, after asking their mints which of them were taken. Mints that don't answer leave theirs as they are.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn look_at_sent(&self) -> Result<Vec<SentToken>, WalletError> {
        let looking = self.sent()?.into_iter().map(|token| async move {
            let looked = self.0.ledger.look_at_token(&token).await;
            looked.unwrap_or(token)
        });
        Ok(futures::future::join_all(looking).await)
    }

    /// One token sent, by the beginning of its ID.
    ///
    /// # Errors
    /// If no single one has it.
    pub fn sent_token(&self, id: &str) -> Result<SentToken, WalletError> {
        self.0.ledger.sent_token(id)
    }

    /// Takes a token that was sent back into the balance, by the beginning of its ID.
    ///
    /// # Errors
    /// If no single one has it, or it was taken meanwhile.
    pub async fn reclaim(&self, id: &str) -> Result<Received, WalletError> {
        self.0.ledger.reclaim(id).await
    }

    /// Takes a token, of a mint on the list.
    ///
    /// # Errors
    /// If it can't be taken, or isn't in time; an operation under way goes on.
    pub async fn receive(&self, token: &str) -> Result<Received, WalletError> {
        self.0.ledger.receive(token).await
    }

    /// Looks for coins and tokens that this wallet's seed once made at a mint, and strikes coins that another copy of it has
    /// spent. Money that is locked isn't found by it: it is in the home folder alone.
    ///
    /// # Errors
    /// If the mint isn't on the list or doesn't answer.
    pub async fn restore(&self, mint: &MintUrl, unit: &Unit) -> Result<Restored, WalletError> {
        self.0.ledger.restore(&self.0.mints.currency(mint, unit).await?).await
    }

    /// Every change of the balance from a number on, so many at most.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn history(&self, from: u64, limit: usize) -> Result<Vec<HistoryEntry>, WalletError> {
        self.0.ledger.history(from, limit)
    }

    /// How many operations are waiting for a mint's answer.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn swaps_in_flight(&self) -> Result<usize, WalletError> {
        Ok(self.0.ledger.underway()?.len())
    }

    /// What is under way, for how long, why, and what ends it.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn pending(&self) -> Result<Vec<Pending>, WalletError> {
        let mut pending: Vec<_> = self.0.ledger.underway()?.into_iter().map(of_operation).collect();
        for quote in self.0.quotes.list()?.into_iter().filter(|quote| quote.issued == 0) {
            pending.push(Pending {
                id: quote.id,
                what: "quote",
                mint: quote.currency.mint,
                unit: quote.currency.unit,
                amount: quote.amount,
                since: quote.made,
                why: None,
                ends: format!("its payment; if it isn't paid, it is forgotten after {}", quote.kept_until),
            });
        }
        let (due, locked) = self.0.store.read(|read| {
            Ok((read.range(DUE, KeyRange::all(), usize::MAX)?, read.range(REFUNDS, KeyRange::all(), usize::MAX)?))
        })?;
        for (_, due) in due {
            let accepted = self.0.store.read(|read| read.get(records::ACCEPTED, Key::of(due.trade)))?;
            pending.push(Pending {
                id: due.trade.to_string(),
                what: "earned",
                mint: due.currency.mint,
                unit: due.currency.unit,
                amount: accepted.map_or(0, |accepted| accepted.amount()),
                since: due.since,
                why: (due.tries + due.put_off > 0).then(|| "its redemption came to nothing before".into()),
                ends: format!("its redemption, at the latest before its locktime {}", due.locktime),
            });
        }
        for (_, lock) in locked {
            pending.push(Pending {
                id: lock.trade.to_string(),
                what: "locked",
                amount: lock.amount(),
                mint: lock.currency.mint,
                unit: lock.currency.unit,
                since: lock.since,
                why: None,
                ends: format!("its refund, once its locktime {} has passed", lock.conditions.locktime()),
            });
        }
        Ok(pending)
    }
}

fn of_operation(underway: Underway) -> Pending {
    let Underway { id, record, why } = underway;
    let inputs = record.input_sum();
    let (what, amount) = match &record.purpose {
        Purpose::Refill { .. } => ("refill", inputs),
        Purpose::Send => ("send", record.output_sum(Destination::Token)),
        Purpose::Renew => ("renew", inputs),
        Purpose::Receive { .. } => ("receive", inputs),
        Purpose::Redeem { .. } => ("redeem", inputs),
        Purpose::Refund { .. } => ("refund", inputs),
        Purpose::Mint { .. } => ("mint", record.output_sum(Destination::Coins)),
        Purpose::Melt { amount, .. } => ("pay", *amount),
    };
    Pending {
        id: hex::encode(id.0),
        what,
        mint: record.currency.mint,
        unit: record.currency.unit,
        amount,
        since: record.made,
        why: why.map(|why| why.to_string()),
        ends: "the mint's answer: the request is repeated until it is known".into(),
    }
}

impl Inner {
    fn start(self: &Arc<Self>, refresh: Duration, tell: mpsc::Sender<(Cid, MoneyOutcome)>) {
        let spawn = |name, task: futures::future::BoxFuture<'static, ()>| self.runtime.spawn(name, task).detach();
        spawn("wallet mints", Box::pin(Arc::clone(&self.mints).keep_fresh(refresh)));
        spawn("wallet tidying", Box::pin(Arc::clone(&self.tidy).keep()));
        spawn("wallet redeemer", Box::pin(Arc::clone(&self.redemption).keep()));
        spawn("wallet reservations", Box::pin(Arc::clone(&self.redemption).keep_forgetting()));
        spawn("wallet refunds", Box::pin(Arc::clone(&self.refunds).keep()));
        spawn("wallet purse", Box::pin(Arc::clone(&self.purse).keep()));
        spawn("wallet outcomes", Box::pin(Arc::clone(self).keep_telling(tell)));
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
                () = self.shared.outcomes.notified() => {}
                () = tokio::time::sleep(PURSE_PAUSE * 60) => {}
            }
        }
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").finish_non_exhaustive()
    }
}
