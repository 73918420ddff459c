//! The ledger: the wallet's coins, what moves them, and the books that prove that they are all there.
//!
//! ```text
//!   Coins        which there are, which to spend                 coins.rs
//!   Numbers      the secrets that they are derived from          numbers.rs
//!   Operations   everything that moves them through a mint       operations.rs: build ─ gate ─ fate ─ effects
//!   Tokens       what was given out and nobody has spent yet     tokens.rs
//!   books        balances, audit, history                        books.rs
//! ```
//!
//! The locks and the quotes are built on it; of them it knows only [`LockObserver`].

mod books;
mod build;
mod coins;
mod effects;
mod fate;
mod gate;
mod numbers;
mod operations;
mod tokens;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use cdk::nuts::{Proof, ProofsMethods, Token};
use futures::future::join_all;
use guilder_protocol::{
    fault::Fault,
    locks::{KeysetId, LockedProof},
    market::{MintUrl, Unit},
};
use serde::Serialize;
use tokio::{sync::oneshot, time::timeout};
use zeroize::Zeroizing;

pub use self::books::{AuditFault, Balance, HeldCoin, Holding};
pub(super) use self::{
    build::Plan,
    effects::Settled,
    operations::{Handle, states},
};
use self::{
    coins::{Coins, is_worth_its_fee},
    gate::Gates,
    numbers::{Found, Line, Numbers},
    operations::Operations,
    tokens::Tokens,
};
use super::{
    amounts,
    coin::sum,
    connector::MintTrouble,
    error::WalletError,
    mints::{MintView, Mints},
    notices::Notices,
    records::{
        BatchRecord, Coin, Currency, Destination, FAILED, FailedOperation, HISTORY, HistoryEntry, Input, OPERATIONS,
        Operation, OperationId, Purpose, RECEIVED, Reason, SentState, SentToken, Y,
    },
    tables::{batches_of, book, clear_given_back},
};
use crate::{
    failpoint::Failpoint,
    limits::{
        MAX_OPERATION_INPUTS, MAX_TOKEN_PROOFS, MAX_TOKEN_TEXT, MERGE_FEE_PERCENT, PAYMENT_MERGE_FEE_PERCENT,
        RENEW_BEFORE_SECS,
    },
    runtime::{Job, Runtime},
    store::{Key, KeyRange, Reader, Store},
};

/// Told what operations do to locks. Must not wait.
pub(super) trait LockObserver: Send + Sync {
    /// A batch is in the purse's table.
    fn refilled(&self, id: OperationId, batch: &BatchRecord, proofs: BTreeMap<Y, LockedProof>);
    /// An operation is over, whatever it was for.
    fn ended(&self);
    /// The mint has signed more than this copy of the wallet asked for: another one has lived with its phrase. `batches` are
    /// those of the purse by now.
    fn another_copy(&self, currency: &Currency, batches: &[OperationId]);
}

/// What a ledger is made of.
pub(super) struct LedgerParts {
    pub(super) mints: Arc<Mints>,
    /// Of our own coins, and of tokens.
    pub(super) seeds: [Zeroizing<[u8; 64]>; 2],
    pub(super) store: Store,
    pub(super) runtime: Runtime,
    pub(super) notices: Notices,
    pub(super) failpoint: Failpoint,
    pub(super) observer: Arc<dyn LockObserver>,
    pub(super) patience: Duration,
}

/// The ledger.
pub(super) struct Ledger {
    mints: Arc<Mints>,
    store: Store,
    runtime: Runtime,
    notices: Notices,
    patience: Duration,
    coins: Arc<Coins>,
    numbers: Arc<Numbers>,
    operations: Arc<Operations>,
    tokens: Arc<Tokens>,
    observer: Arc<dyn LockObserver>,
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

/// What the recovery phrase has brought to light at a mint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Added to the balance.
    pub found: u64,
    /// In tokens that were sent and that nobody has spent; they are not in the balance.
    pub sent: u64,
    /// Taken off the balance: another copy of this wallet has spent it.
    pub spent_elsewhere: u64,
}

/// An operation that is under way.
pub(super) struct Underway {
    pub(super) id: OperationId,
    pub(super) record: Operation,
    pub(super) why: Option<MintTrouble>,
}

impl Ledger {
    pub(super) fn open(parts: LedgerParts) -> Result<Self, WalletError> {
        let LedgerParts { mints, seeds, store, runtime, notices, failpoint, observer, patience } = parts;
        let coins = Arc::new(Coins::open(&mints, &store, &runtime)?);
        let tokens = Arc::new(Tokens::new(&mints, &store, &runtime));
        let finder = Finder {
            coins: Arc::clone(&coins),
            tokens: Arc::clone(&tokens),
            notices: notices.clone(),
            observer: Arc::clone(&observer),
            store: store.clone(),
        };
        let (finder, finding) = (Arc::new(finder), runtime.clone());
        let on_found = move |found: Found| {
            finding.spawn("wallet found coins", Arc::clone(&finder).take_in(found)).detach();
        };
        let numbers = Arc::new(Numbers::new(seeds, &mints, &store, &runtime, Box::new(on_found)));
        let operations = Arc::new(Operations {
            mints: Arc::clone(&mints),
            store: store.clone(),
            runtime: runtime.clone(),
            notices: notices.clone(),
            failpoint,
            numbers: Arc::clone(&numbers),
            coins: Arc::clone(&coins),
            observer: Arc::clone(&observer),
            gates: Gates::default(),
            troubles: std::sync::Mutex::default(),
        });
        Ok(Self { mints, store, runtime, notices, patience, coins, numbers, operations, tokens, observer })
    }

    /// Takes up every operation that was in flight when the node stopped.
    pub(super) fn resume(&self) -> Result<(), WalletError> {
        self.operations.resume()
    }

    /// Writes an operation down whose inputs aren't chosen from spendable coins, and sets it going.
    pub(super) async fn begin(&self, plan: Plan) -> Result<Handle, WalletError> {
        self.operations.start(self.operations.draft(plan).await?).await
    }

    /// Writes an operation down that is paid for with spendable coins worth `need` after the mint's fee, and sets it going.
    /// If too few are free, waits for the change of operations that are under way.
    pub(super) async fn spend(
        &self,
        currency: &Currency,
        need: u64,
        outputs: Vec<(u64, Destination)>,
        purpose: Purpose,
    ) -> Result<Handle, WalletError> {
        let spending = self.spend_once_possible(currency, need, outputs, purpose);
        let slow = |_| MintTrouble::Slow { mint: currency.mint.clone() };
        timeout(self.patience, spending).await.map_err(slow)?
    }

    async fn spend_once_possible(
        &self,
        currency: &Currency,
        need: u64,
        outputs: Vec<(u64, Destination)>,
        purpose: Purpose,
    ) -> Result<Handle, WalletError> {
        let view = self.mints.view(&currency.mint).await?;
        loop {
            // Listens before it looks, so that no change is missed.
            let news = self.coins.news.notified();
            let choosing = self.coins.choosing(currency).await;
            let short = match self.coins.choose(currency, need, &view) {
                Ok(chosen) => {
                    let outputs = match &purpose {
                        Purpose::Melt { amount, .. } => blank_change(&chosen, *amount),
                        _ => outputs,
                    };
                    let inputs = chosen.into_iter().map(Input::ours).collect();
                    let handle =
                        self.begin(Plan { currency: currency.clone(), inputs, outputs, purpose, until: None }).await?;
                    self.coins.count(currency)?;
                    return Ok(handle);
                }
                Err(short) => short,
            };
            drop(choosing);
            // What there is would do, if it weren't in so many coins.
            let WalletError::Insufficient { needed, available, .. } = short else { return Err(short) };
            if available >= needed
                && let Some(merging) = self.merge(currency, PAYMENT_MERGE_FEE_PERCENT).await?
            {
                merging.wait(self.patience).await?;
                continue;
            }
            let due = self.coins.change_due(currency)?;
            if due == 0 || available.saturating_add(due) < needed {
                return Err(short);
            }
            // There is enough, but a mint that we wait for has some of it.
            news.await;
        }
    }

    /// What is spendable of a currency.
    pub(super) fn spendable(&self, currency: &Currency) -> Result<u64, WalletError> {
        self.coins.spendable(currency)
    }

    /// What can be paid with in `unit` of spendable coins, by mint. From memory.
    pub(super) fn funds(&self, unit: &Unit) -> BTreeMap<MintUrl, u64> {
        self.coins.by_mint(unit)
    }

    /// Makes a token.
    pub(super) async fn send(&self, currency: &Currency, amount: u64) -> Result<SentToken, WalletError> {
        let view = self.mints.view(&currency.mint).await?;
        let keyset = view.active(&currency.unit, self.runtime.now())?;
        let parts =
            amounts::split(amount, keyset).filter(|parts| !parts.is_empty() && parts.len() <= MAX_OPERATION_INPUTS);
        let parts = parts.ok_or(WalletError::Amount { amount, max: MAX_OPERATION_INPUTS })?;
        let fee = view.fee(parts.iter().map(|_| keyset.id())).unwrap_or(u64::MAX);
        if amount <= fee {
            return Err(WalletError::WorthItsFee { amount, fee, unit: currency.unit.clone() });
        }
        let outputs = parts.into_iter().map(|part| (part, Destination::Token)).collect();
        match self.spend(currency, amount, outputs, Purpose::Send).await?.wait(self.patience).await? {
            Settled::Sent(token) => Ok(token),
            _ => Err(WalletError::Unsettled),
        }
    }

    /// The tokens sent.
    pub(super) fn sent(&self) -> Result<Vec<SentToken>, WalletError> {
        self.tokens.list()
    }

    /// One token sent, by the beginning of its ID.
    pub(super) fn sent_token(&self, id: &str) -> Result<SentToken, WalletError> {
        Ok(self.tokens.find(id)?.1)
    }

    /// Asks the mint whether a token was spent.
    pub(super) async fn look_at_token(&self, token: &SentToken) -> Result<SentToken, WalletError> {
        let looking = timeout(self.patience, self.tokens.look(token));
        looking.await.map_err(|_| MintTrouble::Slow { mint: token.mint.clone() })?
    }

    /// Reclaims a token that was sent, if nobody has spent it.
    pub(super) async fn reclaim(&self, id: &str) -> Result<Received, WalletError> {
        let (id, token) = self.tokens.find(id)?;
        match self.look_at_token(&token).await?.state {
            SentState::Open => self.take_in(&token.token, Some(id)).await,
            state => Err(WalletError::TokenGone { id: token.id, state }),
        }
    }

    /// Takes a token that somebody gave us.
    pub(super) async fn receive(&self, text: &str) -> Result<Received, WalletError> {
        self.take_in(text, None).await
    }

    async fn take_in(&self, text: &str, reclaimed: Option<OperationId>) -> Result<Received, WalletError> {
        let token = read_token(text)?;
        let url = token.mint_url().map_err(|_| WalletError::TokenUnfit("it names no single mint"))?;
        let mint: MintUrl = url.to_string().parse().map_err(|_| WalletError::TokenUnfit("its mint has no URL"))?;
        let unit = token.unit().unwrap_or_default().to_string();
        let unit: Unit = unit.parse().map_err(|_| WalletError::TokenUnfit("its unit has no name"))?;
        let currency = self.mints.currency(&mint, &unit).await?;
        let (view, proofs) = self.token_proofs(&mint, &unit, &token).await?;
        self.check_proofs(&view, &proofs).await?;
        let inputs: Option<Vec<_>> = proofs.iter().map(Coin::from_proof).map(Input::plain).collect();
        let inputs = inputs.ok_or(WalletError::TokenUnfit("a proof in it can't be read"))?;
        let parts = in_swaps(inputs, &view);
        if parts.is_empty() {
            return Err(WalletError::TokenUnfit("its coins aren't worth what the mint keeps of them"));
        }
        let firsts: Vec<_> = parts.iter().map(|part| part.first().map(|input| input.y)).collect();
        let mut received = None;
        let mut trouble = None;
        for (first, settled) in firsts.into_iter().zip(self.swap_all(&currency, parts, reclaimed).await?) {
            match self.of_token(first, settled) {
                Ok((amount, fee)) => {
                    let (amounts, fees) = received.unwrap_or_default();
                    received = Some((amounts + amount, fees + fee));
                }
                // What a former try has received of it is here; the rest is what is wanted.
                Err(WalletError::ReceivedBefore) => {}
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        let (amount, fee) = trouble.map_or(received.ok_or(WalletError::ReceivedBefore), Err)?;
        Ok(Received { amount, fee, mint, unit })
    }

    /// Swaps all that a token was parted into for coins of ours. Written down in whole before the first post, so that what is begun is
    /// gone on with, however long the mint takes and whoever stops waiting.
    async fn swap_all(
        &self,
        currency: &Currency,
        parts: Vec<Vec<Input>>,
        reclaimed: Option<OperationId>,
    ) -> Result<Vec<Result<Settled, WalletError>>, WalletError> {
        let mut drafts = Vec::new();
        for inputs in parts {
            let (currency, purpose) = (currency.clone(), Purpose::Receive { reclaimed });
            let plan = Plan { currency, inputs, outputs: Vec::new(), purpose, until: None };
            drafts.push(self.operations.draft(plan).await?);
        }
        let handles = self.operations.start_all(drafts).await?;
        Ok(join_all(handles.into_iter().map(|handle| handle.wait(self.patience))).await)
    }

    /// What came of a swap of a token's proofs, whose first is `first`, and what the mint kept.
    fn of_token(&self, first: Option<Y>, settled: Result<Settled, WalletError>) -> Result<(u64, u64), WalletError> {
        match settled {
            Ok(Settled::Received { amount, fee }) => Ok((amount, fee)),
            Ok(_) => Err(WalletError::Unsettled),
            Err(WalletError::Mint(MintTrouble::Spent { mint })) => {
                let ours = first.map(|y| self.store.read(|read| read.contains(RECEIVED, y.0))).transpose()?;
                Err(if ours == Some(true) { WalletError::ReceivedBefore } else { MintTrouble::Spent { mint }.into() })
            }
            Err(WalletError::Mint(MintTrouble::Refused { mint, reason, .. })) => {
                Err(WalletError::TokenRefused { mint, reason })
            }
            Err(error) => Err(error),
        }
    }

    /// The proofs of a token, after another look at its mint if it is of a keyset that we don't know.
    async fn token_proofs(
        &self,
        mint: &MintUrl,
        unit: &Unit,
        token: &Token,
    ) -> Result<(Arc<MintView>, Vec<Proof>), WalletError> {
        let read = |view: &Arc<MintView>| {
            let proofs = token.proofs(&view.infos()).ok()?;
            let of_unit =
                |proof: &Proof| view.keysets.get(&proof.keyset_id.into()).is_some_and(|keyset| keyset.unit() == unit);
            proofs.iter().all(of_unit).then_some(proofs)
        };
        let view = self.mints.view(mint).await?;
        if let Some(proofs) = read(&view) {
            return Ok((view, proofs));
        }
        self.mints.look_again(mint).await;
        let view = self.mints.view(mint).await?;
        let proofs = read(&view).ok_or(WalletError::TokenUnfit("it is of a keyset that its mint does not have"))?;
        Ok((view, proofs))
    }

    /// What can be known of a token's proofs before the mint is asked.
    async fn check_proofs(&self, view: &Arc<MintView>, proofs: &[Proof]) -> Result<(), WalletError> {
        if proofs.is_empty() {
            return Err(WalletError::TokenUnfit("it has no proofs"));
        }
        if proofs.len() > MAX_TOKEN_PROOFS {
            return Err(WalletError::TokenUnfit("it has too many proofs"));
        }
        let distinct = proofs.to_vec().ys().map(|ys| ys.into_iter().collect::<BTreeSet<_>>().len());
        if distinct.ok() != Some(proofs.len()) {
            return Err(WalletError::TokenUnfit("a proof is in it twice"));
        }
        if proofs.iter().any(|proof| proof.secret.is_p2pk()) {
            return Err(WalletError::TokenUnfit("it is locked to a key"));
        }
        let total = proofs.iter().try_fold(0_u64, |total, proof| total.checked_add(proof.amount.to_u64()));
        let total = total.ok_or(WalletError::Forged)?;
        let ids: Vec<KeysetId> = proofs.iter().map(|proof| proof.keyset_id.into()).collect();
        let fee = view.fee(ids).ok_or(WalletError::TokenUnfit("it is of a keyset that its mint does not have"))?;
        if total <= fee {
            return Err(WalletError::TokenUnfit("it is worth no more than the mint's fee"));
        }
        let (view, coins) = (Arc::clone(view), proofs.iter().map(Coin::from_proof).collect::<Vec<_>>());
        let forged = move || {
            coins.iter().any(|coin| view.keysets.get(&coin.id).is_none_or(|keyset| coin.is_proven_false(keyset)))
        };
        let forged = self.runtime.offload(Job::Dleq(proofs.len() as u32), forged).await;
        if forged { Err(WalletError::Forged) } else { Ok(()) }
    }

    /// Looks for coins that the recovery phrase once made, and strikes those that it has since spent from another copy of
    /// this wallet. Safe to repeat, and beside whatever else the wallet does.
    pub(super) async fn restore(&self, currency: &Currency) -> Result<Restored, WalletError> {
        // Another copy may have used a keyset that the mint has begun since we last looked.
        let view = self.mints.view_of_today(&currency.mint).await?;
        let mut restored = Restored::default();
        for keyset in view.of_unit(&currency.unit) {
            let coins = self.numbers.scan(currency, &keyset, Line::Coins, 0).await?;
            let found = self.coins.take_over(currency, coins).await?;
            self.notices.restored(currency, found);
            restored.found += found;
            let tokens = self.numbers.scan(currency, &keyset, Line::Tokens, 0).await?;
            restored.sent += self.tokens.note_found(currency, tokens).await?;
        }
        for (key, failed) in self.store.read(|read| read.range(FAILED, KeyRange::all(), usize::MAX))? {
            if failed.record.currency == *currency {
                restored.found += self.look_into(&key, &failed).await?;
            }
        }
        restored.spent_elsewhere = self.coins.strike_spent(currency).await?;
        Ok(restored)
    }

    /// Whether another copy of this wallet has been seen to live in this run, after asking for it: what has happened to
    /// money of ours that we didn't do may have been its doing.
    ///
    /// # Errors
    /// If the mint doesn't answer.
    pub(super) async fn has_another_copy(&self, currency: &Currency) -> Result<bool, WalletError> {
        self.numbers.has_another_copy(currency).await
    }

    /// Moves coins of keysets that end soon to one that lasts.
    pub(super) async fn renew(&self, currency: &Currency) -> Result<(), WalletError> {
        let view = self.mints.view(&currency.mint).await?;
        let soon = self.runtime.now().saturating_add(RENEW_BEFORE_SECS);
        let ends = |id: &KeysetId| {
            let expiry = view.keysets.get(id).and_then(|keyset| keyset.final_expiry());
            expiry.is_some_and(|expiry| expiry <= soon)
        };
        let Ok(active) = view.active(&currency.unit, self.runtime.now()) else { return Ok(()) };
        if ends(&active.id()) {
            return Ok(());
        }
        let _choosing = self.coins.choosing(currency).await;
        let mut coins = Vec::new();
        for keyset in view.of_unit(&currency.unit).iter().filter(|keyset| ends(&keyset.id())) {
            let room = MAX_OPERATION_INPUTS - coins.len();
            if room > 0 {
                coins.extend(self.coins.largest(currency, keyset.id(), keyset.input_fee_ppk(), room)?);
            }
        }
        let fee = view.fee(coins.iter().map(|(_, coin)| coin.id)).unwrap_or(u64::MAX);
        if sum(coins.iter().map(|(_, coin)| &coin.amount)) <= fee {
            return Ok(());
        }
        drop(self.change(currency, coins).await?);
        Ok(())
    }

    /// Changes the smallest coins for fewer, if they become at most half as many and the mint keeps no more than so many percent of
    /// their worth.
    async fn merge(&self, currency: &Currency, most_fee_percent: u64) -> Result<Option<Handle>, WalletError> {
        let view = self.mints.view(&currency.mint).await?;
        let _choosing = self.coins.choosing(currency).await;
        match self.coins.choose_small(currency, &view, most_fee_percent)? {
            Some(small) => Ok(Some(self.change(currency, small).await?)),
            None => Ok(None),
        }
    }

    /// Resolves once some currency may have more coins than are kept.
    pub(super) async fn has_many_coins(&self) {
        self.coins.many.notified().await;
    }

    /// Changes small coins for fewer until few are left, as far as it costs little.
    pub(super) async fn keep_coins_few(&self, currency: &Currency) -> Result<(), WalletError> {
        while self.coins.are_many(currency)? {
            let Some(merging) = self.merge(currency, MERGE_FEE_PERCENT).await? else { return Ok(()) };
            merging.wait(self.patience).await?;
        }
        Ok(())
    }

    /// Swaps coins of ours for others of the same worth. Whoever calls is the one that chooses.
    async fn change(&self, currency: &Currency, coins: Vec<(Y, Coin)>) -> Result<Handle, WalletError> {
        let inputs = coins.into_iter().map(Input::ours).collect();
        let plan =
            Plan { currency: currency.clone(), inputs, outputs: Vec::new(), purpose: Purpose::Renew, until: None };
        let handle = self.begin(plan).await?;
        self.coins.count(currency)?;
        Ok(handle)
    }

    /// Takes over what the mint has signed of a parked operation after all, and says how much that was. What is locked goes into the
    /// purse, and the record that could spend it goes.
    pub(super) async fn look_into(&self, key: &[u8], failed: &FailedOperation) -> Result<u64, WalletError> {
        let Currency { mint, .. } = &failed.record.currency;
        let outputs = &failed.record.outputs;
        let messages: Vec<_> = outputs.iter().filter_map(super::records::Premint::message).collect();
        let signatures = self.mints.client(mint)?.signatures(&messages).await?;
        let signed: Vec<_> = outputs.iter().zip(signatures).filter_map(|(output, by)| Some((output, by?))).collect();
        if signed.is_empty() {
            return Ok(0);
        }
        let ids: Vec<KeysetId> = signed.iter().map(|(output, _)| output.id).collect();
        let view = self.mints.view_with(mint, ids).await?;
        let of = |to: Destination| {
            let some = signed.iter().filter(move |(output, _)| output.to == to);
            some.filter_map(|(output, by)| output.unblind(by, view.keysets.get(&output.id)?)).collect::<Vec<_>>()
        };
        let mut found = self.coins.take_over(&failed.record.currency, of(Destination::Coins)).await?;
        self.notices.restored(&failed.record.currency, found);
        self.tokens.note_found(&failed.record.currency, of(Destination::Token)).await?;
        let locked: BTreeMap<_, _> =
            of(Destination::Purse).into_iter().filter_map(|coin| Some((coin.y()?, coin.into_locked()?))).collect();
        if let (Purpose::Refill { batch }, Ok(id)) = (&failed.record.purpose, <[u8; 16]>::try_from(key))
            && !locked.is_empty()
        {
            found += self.take_over_locked(id.into(), &failed.record.currency, batch, locked).await?;
        }
        Ok(found)
    }

    /// A refill that the mint had denied has come to be.
    async fn take_over_locked(
        &self,
        id: OperationId,
        currency: &Currency,
        batch: &BatchRecord,
        locked: BTreeMap<Y, LockedProof>,
    ) -> Result<u64, WalletError> {
        let amount = sum(locked.values().map(|proof| &proof.amount));
        let (store, observer, now) = (self.store.clone(), Arc::clone(&self.observer), self.runtime.now());
        let (currency_of, batch) = (currency.clone(), batch.clone());
        let (tell, told) = oneshot::channel();
        // To its end, though whoever asked stops waiting: what is in the purse's table must be in the purse.
        let taking = async move {
            let (in_table, proofs) = (batch.clone(), locked.clone());
            let taken = store.transact(move |write| {
                // Whoever looked at the same time has taken it over.
                if !write.contains(FAILED, id.0)? {
                    return Ok(false);
                }
                write.delete(FAILED, id.0)?;
                effects::put_batch(write, id, &in_table, proofs)?;
                let why = "a lock that the mint had denied came to be".to_owned();
                book(write, &currency_of, now, Reason::Restored, amount, why)?;
                Ok::<_, WalletError>(true)
            });
            let taken = taken.await;
            if matches!(taken, Ok(true)) {
                observer.refilled(id, &batch, locked);
            }
            // Nobody may listen any more.
            let _ = tell.send(taken);
        };
        self.runtime.spawn("wallet lock taken over", taking).detach();
        if !told.await.unwrap_or(Err(WalletError::Unsettled))? {
            return Ok(0);
        }
        self.notices.restored(currency, amount);
        Ok(amount)
    }

    /// All operations that are under way.
    pub(super) fn underway(&self) -> Result<Vec<Underway>, WalletError> {
        let rows = self.store.read(|read| read.range(OPERATIONS, KeyRange::all(), usize::MAX))?;
        let shown = rows.into_iter().filter_map(|(key, record)| {
            let id: OperationId = <[u8; 16]>::try_from(key.as_slice()).ok()?.into();
            Some(Underway { id, why: self.operations.trouble(id), record })
        });
        Ok(shown.collect())
    }

    /// Changes of the balance from a number on, so many at most.
    pub(super) fn history(&self, from: u64, limit: usize) -> Result<Vec<HistoryEntry>, WalletError> {
        let range = KeyRange::all().since(&Key::of(from));
        let rows = self.store.read(|read| read.range(HISTORY, range, limit))?;
        Ok(rows.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The units of which there is any money.
    pub(super) fn units_held(&self) -> Result<BTreeSet<Unit>, WalletError> {
        books::units_held(&self.store)
    }

    /// All money, by mint and unit.
    pub(super) fn balances(&self) -> Result<Vec<Balance>, WalletError> {
        books::balances(&self.store)
    }

    /// Whether every coin is in one place and all of them are what the accounts say. `offered` is what the purse in memory
    /// has on offer.
    pub(super) fn audit(
        &self,
        offered: &BTreeMap<Currency, u64>,
    ) -> Result<Result<Vec<Balance>, AuditFault>, WalletError> {
        books::audit(&self.store, offered)
    }

    /// Every coin, for an auditor of many wallets.
    pub(super) fn holdings(&self) -> Result<Vec<Holding>, WalletError> {
        books::holdings(&self.store)
    }
}

/// Blank outputs for what comes back of coins that pay an invoice (NUT-08): enough for whatever the mint doesn't keep.
fn blank_change(chosen: &[(Y, Coin)], amount: u64) -> Vec<(u64, Destination)> {
    let most = sum(chosen.iter().map(|(_, coin)| &coin.amount)).saturating_sub(amount);
    let blanks = u64::BITS - most.leading_zeros();
    vec![(0, Destination::Coins); blanks as usize]
}

/// A token's proofs, as the swaps that take them: each with a like share of every size, and the same ones at every try. Of a token of
/// several swaps, what isn't worth its fee is left out.
fn in_swaps(mut inputs: Vec<Input>, view: &MintView) -> Vec<Vec<Input>> {
    if inputs.len() <= MAX_OPERATION_INPUTS {
        return vec![inputs];
    }
    let ppk_of = |input: &Input| view.keysets.get(&input.coin.id).map_or(0, |keyset| keyset.input_fee_ppk());
    inputs.retain(|input| is_worth_its_fee(input.coin.amount, ppk_of(input)));
    inputs.sort_unstable_by_key(|input| (Reverse(input.coin.amount), input.y));
    let swaps = inputs.len().div_ceil(MAX_OPERATION_INPUTS).max(1);
    let mut parts: Vec<Vec<Input>> = (0..swaps).map(|_| Vec::new()).collect();
    inputs.into_iter().enumerate().for_each(|(index, input)| parts[index % swaps].push(input));
    parts.retain(|part| {
        let fee = amounts::input_fee(part.iter().map(ppk_of)).unwrap_or(u64::MAX);
        sum(part.iter().map(|input| &input.coin.amount)) > fee
    });
    parts
}

/// Reads a token however it was copied: with its scheme before it, folded, with spaces around it.
pub(super) fn read_token(text: &str) -> Result<Token, WalletError> {
    if text.len() > MAX_TOKEN_TEXT {
        return Err(WalletError::TokenUnfit("it is too long"));
    }
    let joined: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let bare = joined.strip_prefix("cashu://").or_else(|| joined.strip_prefix("cashu:")).unwrap_or(&joined);
    Token::from_str(bare).map_err(|_| WalletError::Token("it can't be read"))
}

/// Takes in what another copy of this wallet has made.
struct Finder {
    coins: Arc<Coins>,
    tokens: Arc<Tokens>,
    notices: Notices,
    observer: Arc<dyn LockObserver>,
    store: Store,
}

impl Finder {
    async fn take_in(self: Arc<Self>, found: Found) {
        let Found { currency, line, coins } = found;
        // What is locked may have been paid with, and what was given back here may have been paid with there.
        let batches = self.store.read(|read| batches_of(read, &currency)).unwrap_or_default();
        self.observer.another_copy(&currency, &batches);
        if let Err(error) = self.store.write(move |write| clear_given_back(write, &batches)).await {
            tracing::warn!(%error, "what was given back to the purse keeps its marks");
        }
        let taken = match line {
            Line::Coins => match self.coins.take_over(&currency, coins).await {
                Ok(amount) => {
                    self.notices.restored(&currency, amount);
                    self.coins.strike_spent(&currency).await
                }
                Err(error) => Err(error),
            },
            Line::Tokens => self.tokens.note_found(&currency, coins).await,
        };
        if let Err(error) = taken {
            tracing::warn!(mint = %currency.mint, %error, "coins of another copy of this wallet are not taken in yet");
            let reason = "another copy of this wallet has been used; `guilder wallet restore` brings in what it left";
            self.notices.money_trouble(&currency.mint, Fault::Ours, reason.into());
        }
    }
}
