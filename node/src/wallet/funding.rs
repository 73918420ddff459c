//! Mint quotes: what is paid from outside comes in, whoever hangs up, and however often node or mint are down meanwhile.
//!
//! ```text
//! fund ─► quote ─► a watcher: looks at it until it is paid ─► cdk's wallet mints ─► adopt: into our table
//!                     │  often while somebody waits, now and then afterwards; on trouble, with growing pauses
//!                     └─ ends once it is issued, or still unpaid when it has run out
//! start ─► keep_funding: per mint and unit, until it has worked once: finish what cdk left unfinished, adopt, and give
//!          each open quote its watcher again
//! ```
//!
//! cdk's wallet makes quotes and mints them; what it gets lands in its own tables. One at a time works on a pocket's
//! quotes, so that none is minted twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cdk::{
    Amount,
    amount::SplitTarget,
    nuts::{KeySetInfo, MintQuoteState, PaymentMethod, ProofsMethods},
    wallet::{Wallet as CdkWallet, WalletBuilder},
};
use guilder_protocol::{
    market::{MintUrl, Unit},
    time::Timestamp,
};
use serde::Serialize;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep},
};

use super::{
    Inner, WalletError,
    connector::MintTrouble,
    pockets::{cdk_url, currency},
    records::{Coin, Pocket},
    swap,
};
use crate::limits::{
    FUNDING_RETRY, MAX_OPEN_QUOTES, MINT_QUOTE_POLL, MINT_QUOTE_POLL_LATER, MINT_QUOTE_WATCH, QUOTE_GRACE_SECS,
};

/// cdk's wallets.
#[derive(Default)]
pub(super) struct Tills(Mutex<BTreeMap<Pocket, Arc<Till>>>);

/// cdk's wallet of one pocket.
struct Till {
    wallet: CdkWallet,
    /// Held while its quotes and what it has begun are worked on.
    busy: Arc<Mutex<()>>,
    /// One for each watcher for which nobody waits any more.
    watchers: Arc<Semaphore>,
}

/// What has to be paid, from outside, to fund a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FundQuote {
    /// The mint's name for it.
    pub id: String,
    /// What to pay: a Lightning invoice, as a rule.
    pub request: String,
    /// What the wallet will have more.
    pub amount: u64,
    /// Until when it can be paid.
    pub expires: Timestamp,
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
}

impl Inner {
    pub(super) async fn quote(&self, pocket: &Pocket, amount: u64) -> Result<FundQuote, WalletError> {
        self.mints.view(&pocket.mint).await?.active(&pocket.unit, self.runtime.now())?;
        let till = self.till(pocket).await?;
        let quote = till.wallet.mint_quote(PaymentMethod::BOLT11, Some(Amount::from(amount)), None, None).await;
        let quote = quote.map_err(|error| MintTrouble::from_error(&pocket.mint, &error))?;
        Ok(FundQuote {
            id: quote.id,
            request: quote.request,
            amount,
            expires: Timestamp::from_secs(quote.expiry),
            mint: pocket.mint.clone(),
            unit: pocket.unit.clone(),
        })
    }

    /// Watches a quote in a task of the node. It tells the caller what came in, or after `patience` that nothing has yet,
    /// and watches on.
    pub(super) fn watch_quote(
        self: &Arc<Self>,
        pocket: &Pocket,
        id: &str,
        patience: Duration,
    ) -> oneshot::Receiver<Result<Option<u64>, WalletError>> {
        let (tell, told) = oneshot::channel();
        let waiter = Waiter { tell: Some(tell), until: self.runtime.instant() + patience };
        let watching = Arc::clone(self).watch(pocket.clone(), id.to_owned(), waiter);
        self.runtime.spawn("wallet funding", watching).detach();
        told
    }

    async fn watch(self: Arc<Self>, pocket: Pocket, id: String, mut waiter: Waiter) {
        let (mut pause, longest) = FUNDING_RETRY;
        let until = self.runtime.instant() + MINT_QUOTE_WATCH;
        let mut place = None;
        loop {
            let mut rest = MINT_QUOTE_POLL_LATER;
            match self.look_at_quote(&pocket, &id).await {
                Ok(Looked::Issued(amount)) => return waiter.tell(Ok(Some(amount))),
                Ok(Looked::RunOut) => return waiter.tell(Ok(None)),
                Ok(Looked::Unpaid) if self.runtime.instant() >= waiter.until => waiter.tell(Ok(None)),
                Ok(Looked::Unpaid) => {}
                Err(error @ (WalletError::UnknownQuote(_) | WalletError::UnknownMint(_))) => {
                    return waiter.tell(Err(error));
                }
                Err(error) => {
                    tracing::debug!(mint = %pocket.mint, %error, "a quote can't be looked at yet");
                    waiter.tell(Err(error));
                    (rest, pause) = (pause, longest.min(pause * 2));
                }
            }
            if waiter.tell.is_some() {
                sleep(MINT_QUOTE_POLL).await;
                continue;
            }
            // From here on it is one of a bounded number, for a bounded time; the next start takes the others up.
            place = match place {
                None => self.place_to_watch(&pocket).await,
                place => place,
            };
            if place.is_none() || self.runtime.instant() >= until {
                return;
            }
            sleep(rest).await;
        }
    }

    async fn place_to_watch(&self, pocket: &Pocket) -> Option<OwnedSemaphorePermit> {
        let till = self.till(pocket).await.ok()?;
        Arc::clone(&till.watchers).try_acquire_owned().ok()
    }

    /// How a quote stands. If it is paid, mints it.
    pub(super) async fn look_at_quote(&self, pocket: &Pocket, id: &str) -> Result<Looked, WalletError> {
        let till = self.till(pocket).await?;
        let _busy = till.busy.lock().await;
        let trouble = |error: cdk::Error| match error {
            cdk::Error::UnknownQuote => WalletError::UnknownQuote(id.into()),
            error => MintTrouble::from_error(&pocket.mint, &error).into(),
        };
        let quote = till.wallet.check_mint_quote_status(id).await.map_err(trouble)?;
        match quote.state {
            MintQuoteState::Paid => {
                let mut minting = Arc::clone(&till);
                let mut minted = minting.wallet.mint(id, SplitTarget::default(), None).await;
                if minted.as_ref().is_err_and(swap::is_about_keysets) {
                    minting = self.renew_till(pocket, &till).await?;
                    minted = minting.wallet.mint(id, SplitTarget::default(), None).await;
                }
                minted.map_err(trouble)?;
                Ok(Looked::Issued(self.adopt(pocket, &minting.wallet).await?))
            }
            // Minted before, by another that waits or in a run that ended too soon to say so.
            MintQuoteState::Issued => {
                let adopted = self.adopt(pocket, &till.wallet).await?;
                Ok(Looked::Issued(adopted.max(quote.amount_issued.into())))
            }
            _ if self.runtime.now() > Timestamp::from_secs(quote.expiry).saturating_add(QUOTE_GRACE_SECS) => {
                Ok(Looked::RunOut)
            }
            _ => Ok(Looked::Unpaid),
        }
    }

    /// Puts right, mint by mint and unit by unit, what an earlier run left behind; tries again where that fails.
    pub(super) async fn keep_funding(self: Arc<Self>) {
        let (mut pause, longest) = FUNDING_RETRY;
        let mut done = BTreeSet::new();
        loop {
            let mut behind = false;
            for pocket in self.mints.pockets() {
                if done.contains(&pocket) {
                    continue;
                }
                match self.recover_funding(&pocket).await {
                    Ok(()) => _ = done.insert(pocket),
                    Err(error) => {
                        tracing::warn!(mint = %pocket.mint, %error, "money asked for before the start isn't in yet");
                        behind = true;
                    }
                }
            }
            if !behind {
                return;
            }
            sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    async fn recover_funding(self: &Arc<Self>, pocket: &Pocket) -> Result<(), WalletError> {
        let till = self.till(pocket).await?;
        let trouble = |error: cdk::Error| WalletError::from(MintTrouble::from_error(&pocket.mint, &error));
        let mut quotes = till.wallet.get_unissued_mint_quotes().await.map_err(trouble)?;
        let busy = till.busy.lock().await;
        let report = till.wallet.recover_incomplete_sagas().await.map_err(trouble)?;
        self.adopt(pocket, &till.wallet).await?;
        drop(busy);
        if report.failed + report.skipped > 0 {
            return Err(WalletError::Unsettled);
        }
        quotes.sort_by_key(|quote| std::cmp::Reverse(quote.expiry));
        for quote in quotes.into_iter().take(MAX_OPEN_QUOTES) {
            // Nobody waits: whatever it brings is in the balance.
            drop(self.watch_quote(pocket, &quote.id, Duration::ZERO));
        }
        Ok(())
    }

    /// Moves what cdk's wallet holds into our table.
    async fn adopt(&self, pocket: &Pocket, wallet: &CdkWallet) -> Result<u64, WalletError> {
        let trouble = |error: cdk::Error| WalletError::Database(error.to_string());
        let proofs = wallet.get_unspent_proofs().await.map_err(trouble)?;
        if proofs.is_empty() {
            return Ok(0);
        }
        let ys = proofs.ys().map_err(|_| WalletError::Unsettled)?;
        let adopted = self.take_over(pocket, proofs.iter().map(Coin::from_proof).collect()).await?;
        let removed = self.database.update_proofs(Vec::new(), ys).await;
        removed.map_err(|error| WalletError::Database(error.to_string()))?;
        Ok(adopted)
    }

    async fn till(&self, pocket: &Pocket) -> Result<Arc<Till>, WalletError> {
        let mut tills = self.tills.0.lock().await;
        if let Some(till) = tills.get(pocket) {
            return Ok(Arc::clone(till));
        }
        let watchers = Arc::new(Semaphore::new(MAX_OPEN_QUOTES));
        let till = Arc::new(Till { wallet: self.cdk_wallet(pocket)?, busy: Arc::default(), watchers });
        tills.insert(pocket.clone(), Arc::clone(&till));
        Ok(till)
    }

    /// Has cdk's wallet learn anew which keysets are active. It goes on believing that one is which its mint, having retired
    /// it, no longer lists.
    async fn renew_till(&self, pocket: &Pocket, old: &Till) -> Result<Arc<Till>, WalletError> {
        self.mints.look_again(&pocket.mint).await;
        let mut infos = self.mints.view(&pocket.mint).await?.infos();
        let (url, trouble) =
            (cdk_url(&pocket.mint)?, |error: cdk::cdk_database::Error| WalletError::Database(error.to_string()));
        // cdk's wallet may have seen keysets come and go that we never looked at.
        for known in self.database.get_mint_keysets(url.clone()).await.map_err(trouble)?.unwrap_or_default() {
            if infos.iter().all(|info| info.id != known.id) {
                infos.push(KeySetInfo { active: false, ..known });
            }
        }
        self.database.add_mint_keysets(url, infos).await.map_err(trouble)?;
        let (wallet, busy, watchers) = (self.cdk_wallet(pocket)?, Arc::clone(&old.busy), Arc::clone(&old.watchers));
        let till = Arc::new(Till { wallet, busy, watchers });
        self.tills.0.lock().await.insert(pocket.clone(), Arc::clone(&till));
        Ok(till)
    }

    fn cdk_wallet(&self, pocket: &Pocket) -> Result<CdkWallet, WalletError> {
        let wallet = WalletBuilder::new()
            .mint_url(cdk_url(&pocket.mint)?)
            .unit(currency(&pocket.unit))
            .localstore(Arc::clone(&self.database))
            .seed(*self.seed)
            .shared_client(self.mints.connector(&pocket.mint)?)
            .use_http_subscription()
            .without_rate_limiting()
            .build()
            .map_err(|error| MintTrouble::from_error(&pocket.mint, &error))?;
        Ok(wallet)
    }
}

/// How a quote stands.
pub(super) enum Looked {
    /// It brought this much.
    Issued(u64),
    Unpaid,
    /// Unpaid, and it can't be paid any more.
    RunOut,
}

/// Whoever waits for a quote, until told.
struct Waiter {
    tell: Option<oneshot::Sender<Result<Option<u64>, WalletError>>>,
    until: Instant,
}

impl Waiter {
    fn tell(&mut self, what: Result<Option<u64>, WalletError>) {
        if let Some(tell) = self.tell.take() {
            // It may have gone.
            let _ = tell.send(what);
        }
    }
}
