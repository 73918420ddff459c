//! Money in and out over Lightning: quotes that a mint gives, and what becomes of them.
//!
//! ```text
//! fund ─► mint quote, written down ─► a watcher: looks at it until it is paid ─► an operation that issues its coins
//!                                        │  often while somebody waits, now and then afterwards; on trouble, with pauses
//!                                        └─ ends once it is issued, or still unpaid when it has run out
//! start ─► each open quote has its watcher again
//! pay  ─► melt quote ─► an operation that spends coins for it
//! ```
//!
//! A quote that names no time to lapse doesn't lapse. An unpaid one is kept at least as long as its invoice can be paid,
//! and longer by a margin, for a mint may notice late. One at a time works on a currency's quotes, so that none is issued
//! twice.

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use guilder_protocol::{
    market::{MintUrl, Unit},
    time::Timestamp,
};
use lightning_invoice::Bolt11Invoice;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    amounts,
    connector::{MintTrouble, QuoteState},
    error::WalletError,
    ledger::{Ledger, Plan, Settled},
    mints::Mints,
    records::{Currency, Destination, FAILED, OPERATIONS, Operation, Purpose, QUOTES, QuoteRecord, quote_key},
};
use crate::{
    limits::{
        FUNDING_RETRY, MAX_OPEN_QUOTES, MAX_OPERATION_INPUTS, MINT_QUOTE_POLL, MINT_QUOTE_POLL_LATER, MINT_QUOTE_WATCH,
        QUOTE_MARGIN_SECS, UNDATED_QUOTE_SECS,
    },
    runtime::Runtime,
    store::{KeyRange, Reader, Store},
    sync::lock,
};

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

/// An invoice that was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvoicePaid {
    /// What its payee got.
    pub amount: u64,
    /// What mint and Lightning kept.
    pub fee: u64,
    /// The proof of payment, in hex, if the mint gives it.
    pub preimage: Option<String>,
    /// The mint.
    pub mint: MintUrl,
    /// The unit.
    pub unit: Unit,
}

/// The wallet's quotes.
pub(super) struct Quotes {
    mints: Arc<Mints>,
    ledger: Arc<Ledger>,
    store: Store,
    runtime: Runtime,
    patience: Duration,
    currencies: Mutex<BTreeMap<Currency, Arc<CurrencyQuotes>>>,
}

/// What the quotes of one currency share.
struct CurrencyQuotes {
    /// Held while one of them is looked at and, if it is paid, its issue begun.
    busy: tokio::sync::Mutex<()>,
    /// One for each watcher for which nobody waits any more.
    watchers: Arc<Semaphore>,
}

impl Default for CurrencyQuotes {
    fn default() -> Self {
        Self { busy: tokio::sync::Mutex::default(), watchers: Arc::new(Semaphore::new(MAX_OPEN_QUOTES)) }
    }
}

impl Quotes {
    pub(super) fn new(
        mints: &Arc<Mints>,
        ledger: &Arc<Ledger>,
        store: &Store,
        runtime: &Runtime,
        patience: Duration,
    ) -> Self {
        let (mints, ledger) = (Arc::clone(mints), Arc::clone(ledger));
        Self { mints, ledger, store: store.clone(), runtime: runtime.clone(), patience, currencies: Mutex::default() }
    }

    /// Asks a mint what to pay for an amount, and writes it down.
    pub(super) async fn fund(&self, currency: &Currency, amount: u64) -> Result<FundQuote, WalletError> {
        let now = self.runtime.now();
        self.mints.view(&currency.mint).await?.active(&currency.unit, now)?;
        let asking = self.mints.client(&currency.mint)?;
        let asking = timeout(self.patience, asking.mint_quote(amount, &currency.unit));
        let quote = asking.await.map_err(|_| MintTrouble::Slow { mint: currency.mint.clone() })??;
        let expires = quote.expiry().map(Timestamp::from_secs);
        let payable = payable_until(&quote.request);
        let latest = expires.into_iter().chain(payable).max();
        let kept_until = latest.unwrap_or_else(|| now.saturating_add(UNDATED_QUOTE_SECS)).max(now);
        let record = QuoteRecord {
            currency: currency.clone(),
            id: quote.quote.clone(),
            request: quote.request.clone(),
            amount,
            made: now,
            expires,
            kept_until: kept_until.saturating_add(QUOTE_MARGIN_SECS),
            issued: 0,
        };
        self.store.write(move |write| write.put(QUOTES, record.key(), &record)).await?;
        Ok(FundQuote {
            id: quote.quote,
            request: quote.request,
            amount,
            expires: expires.or(payable).unwrap_or(kept_until),
            mint: currency.mint.clone(),
            unit: currency.unit.clone(),
        })
    }

    /// Watches a quote in a task of the node. It tells the caller what came in, or after `patience` that nothing has yet,
    /// and watches on.
    pub(super) fn watch(
        self: &Arc<Self>,
        currency: &Currency,
        id: &str,
        patience: Duration,
    ) -> oneshot::Receiver<Result<Option<u64>, WalletError>> {
        let (tell, told) = oneshot::channel();
        let waiter = Waiter { tell: Some(tell), until: self.runtime.instant() + patience };
        let watching = Arc::clone(self).keep_watching(currency.clone(), id.to_owned(), waiter);
        self.runtime.spawn("wallet quote", watching).detach();
        told
    }

    async fn keep_watching(self: Arc<Self>, currency: Currency, id: String, mut waiter: Waiter) {
        let (mut pause, longest) = FUNDING_RETRY;
        let until = self.runtime.instant() + MINT_QUOTE_WATCH;
        let mut place = None;
        loop {
            let mut rest = MINT_QUOTE_POLL_LATER;
            match self.look(&currency, &id).await {
                Ok(Looked::Issued(amount)) => return waiter.tell(Ok(Some(amount))),
                Ok(Looked::RunOut) => return waiter.tell(Ok(None)),
                Ok(Looked::Open) if self.runtime.instant() >= waiter.until => waiter.tell(Ok(None)),
                Ok(Looked::Open) => {}
                Err(error) if error.ends_a_quote() => return waiter.tell(Err(error)),
                Err(error) => {
                    tracing::debug!(mint = %currency.mint, %error, "a quote can't be looked at yet");
                    waiter.tell(Err(error));
                    (rest, pause) = (pause, longest.min(pause * 2));
                }
            }
            if waiter.tell.is_some() {
                sleep(MINT_QUOTE_POLL).await;
                continue;
            }
            // From here on it is one of a bounded number, for a bounded time; tidying and the next start take the others
            // up.
            place = match place {
                None => self.place_to_watch(&currency),
                place => place,
            };
            if place.is_none() || self.runtime.instant() >= until {
                return;
            }
            sleep(rest).await;
        }
    }

    fn of(&self, currency: &Currency) -> Arc<CurrencyQuotes> {
        Arc::clone(lock(&self.currencies).entry(currency.clone()).or_default())
    }

    fn place_to_watch(&self, currency: &Currency) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.of(currency).watchers).try_acquire_owned().ok()
    }

    /// How a quote stands. If it is paid, its coins are issued.
    pub(super) async fn look(&self, currency: &Currency, id: &str) -> Result<Looked, WalletError> {
        let quotes = self.of(currency);
        let _busy = quotes.busy.lock().await;
        let key = quote_key(currency, id);
        // Of one moment: an operation that ends between two looks would be missed by both.
        let (record, being_issued) = self.store.read(|read| {
            let operations = read.range(OPERATIONS, KeyRange::all(), usize::MAX)?;
            Ok((read.get(QUOTES, &key)?, operations.iter().any(|(_, operation)| issues(operation, currency, id))))
        })?;
        let record = record.ok_or_else(|| WalletError::UnknownQuote(id.to_owned()))?;
        if record.issued > 0 {
            return Ok(Looked::Issued(record.issued));
        }
        if being_issued {
            return Ok(Looked::Open);
        }
        let over = self.runtime.now() > record.kept_until;
        let client = self.mints.client(&currency.mint)?;
        match client.mint_quote_state(id).await {
            Ok(quote) => match quote.state {
                QuoteState::Paid => self.issue(&record).await,
                QuoteState::Issued => self.issued_before(record).await,
                QuoteState::Unpaid if over => Ok(Looked::RunOut),
                QuoteState::Unpaid | QuoteState::Pending | QuoteState::Unknown => Ok(Looked::Open),
            },
            Err(trouble) if over && trouble.is_about_a_lost_quote() => Ok(Looked::RunOut),
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn issue(&self, record: &QuoteRecord) -> Result<Looked, WalletError> {
        let currency = &record.currency;
        let view = self.mints.view(&currency.mint).await?;
        let keyset = view.active(&currency.unit, self.runtime.now())?;
        let parts = amounts::split(record.amount, keyset);
        let max = MAX_OPERATION_INPUTS;
        let parts = parts.ok_or(WalletError::Amount { amount: record.amount, max })?;
        let outputs = parts.into_iter().map(|part| (part, Destination::Coins)).collect();
        let purpose = Purpose::Mint { quote: record.id.clone() };
        let plan = Plan { currency: currency.clone(), inputs: Vec::new(), outputs, purpose, until: None };
        match self.ledger.begin(plan).await?.wait(self.patience).await? {
            Settled::Minted(amount) => Ok(Looked::Issued(amount)),
            _ => Err(WalletError::Unsettled),
        }
    }

    /// The mint has issued a quote, and not to an operation that is under way. A request of ours that was refused may have
    /// reached it a second time since; else it was another copy of this wallet.
    async fn issued_before(&self, record: QuoteRecord) -> Result<Looked, WalletError> {
        let parked = self.store.read(|read| read.range(FAILED, KeyRange::all(), usize::MAX))?;
        let ours = parked.iter().filter(|(_, failed)| issues(&failed.record, &record.currency, &record.id));
        let mut issued = 0;
        for (key, failed) in ours {
            issued += self.ledger.look_into(key, failed).await?;
        }
        if issued == 0 {
            self.forget(&record).await?;
            return Err(WalletError::IssuedElsewhere(record.id));
        }
        let record = QuoteRecord { issued, ..record };
        self.store.write(move |write| write.put(QUOTES, record.key(), &record)).await?;
        Ok(Looked::Issued(issued))
    }

    /// Forgets a quote from which nothing will come any more.
    pub(super) async fn forget(&self, record: &QuoteRecord) -> Result<(), WalletError> {
        let key = record.key();
        Ok(self.store.write(move |write| write.delete(QUOTES, key)).await?)
    }

    /// All quotes on record.
    pub(super) fn list(&self) -> Result<Vec<QuoteRecord>, WalletError> {
        let rows = self.store.read(|read| read.range(QUOTES, KeyRange::all(), usize::MAX))?;
        Ok(rows.into_iter().map(|(_, record)| record).collect())
    }

    /// Gives each open quote its watcher again, the youngest first.
    pub(super) fn resume(self: &Arc<Self>) -> Result<(), WalletError> {
        let mut open: Vec<_> = self.list()?.into_iter().filter(|record| record.issued == 0).collect();
        open.sort_by_key(|record| std::cmp::Reverse(record.made));
        let mut begun = BTreeMap::<Currency, usize>::new();
        for record in open {
            let begun = begun.entry(record.currency.clone()).or_default();
            if *begun < MAX_OPEN_QUOTES {
                *begun += 1;
                // Nobody waits: whatever it brings is in the balance.
                drop(self.watch(&record.currency, &record.id, Duration::ZERO));
            }
        }
        Ok(())
    }

    /// Pays a Lightning invoice.
    pub(super) async fn pay(&self, currency: &Currency, invoice: &str) -> Result<InvoicePaid, WalletError> {
        let client = self.mints.client(&currency.mint)?;
        let asking = timeout(self.patience, client.melt_quote(invoice.trim(), &currency.unit));
        let quote = asking.await.map_err(|_| MintTrouble::Slow { mint: currency.mint.clone() })??;
        let amount = quote.amount;
        if Bolt11Invoice::from_str(invoice.trim())
            .is_ok_and(|asked| is_other_than_asked(&asked, &currency.unit, amount))
        {
            return Err(MintTrouble::lying(&currency.mint, "it asks for another amount than the invoice").into());
        }
        let need = amount.saturating_add(quote.fee_reserve);
        let purpose = Purpose::Melt { quote: quote.quote, amount };
        let handle = self.ledger.spend(currency, need, Vec::new(), purpose).await?;
        match handle.wait(self.patience.max(MELT_PATIENCE)).await? {
            Settled::Melted { preimage, fee } => {
                let Currency { mint, unit } = currency.clone();
                Ok(InvoicePaid { amount, fee, preimage, mint, unit })
            }
            _ => Err(WalletError::Unsettled),
        }
    }
}

/// A command waits so long at least for Lightning.
const MELT_PATIENCE: Duration = Duration::from_secs(60);

impl WalletError {
    /// Whether nothing will come of a quote any more.
    fn ends_a_quote(&self) -> bool {
        matches!(self, Self::UnknownQuote(_) | Self::IssuedElsewhere(_) | Self::UnknownMint(_))
    }
}

/// Whether an operation issues this quote.
fn issues(operation: &Operation, currency: &Currency, id: &str) -> bool {
    operation.currency == *currency && matches!(&operation.purpose, Purpose::Mint { quote } if quote == id)
}

/// An invoice, however it was copied: with its scheme before it, folded, with spaces around it.
///
/// # Errors
/// If it is none that can be paid.
pub(crate) fn read_invoice(text: &str, now: Timestamp) -> Result<Bolt11Invoice, WalletError> {
    if text.len() > MAX_INVOICE_TEXT {
        return Err(WalletError::Invoice("it is too long"));
    }
    let joined: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let scheme = joined.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME));
    let bare = &joined[scheme.map_or(0, str::len)..];
    let invoice = Bolt11Invoice::from_str(bare).map_err(|_| WalletError::Invoice("it can't be read"))?;
    if invoice.amount_milli_satoshis().is_none() {
        return Err(WalletError::Invoice("it names no amount"));
    }
    if invoice.expires_at().is_some_and(|at| Timestamp::from_secs(at.as_secs()) < now) {
        return Err(WalletError::Invoice("it has expired"));
    }
    Ok(invoice)
}

/// The longest invoice that is read, in bytes: some hundred and fifty characters, with hints to private channels a few thousand.
const MAX_INVOICE_TEXT: usize = 16 * 1024;

/// What wallets put before an invoice.
const SCHEME: &str = "lightning:";

/// Whether an amount isn't an invoice's, in a unit in which that can be told.
fn is_other_than_asked(invoice: &Bolt11Invoice, unit: &Unit, amount: u64) -> bool {
    let Some(msat) = invoice.amount_milli_satoshis() else { return false };
    match unit.as_str() {
        "sat" => msat.div_ceil(1_000) != amount,
        "msat" => msat != amount,
        _ => false,
    }
}

/// Until when an invoice can be paid, if it is one.
fn payable_until(request: &str) -> Option<Timestamp> {
    let invoice = Bolt11Invoice::from_str(request).ok()?;
    invoice.expires_at().map(|at| Timestamp::from_secs(at.as_secs()))
}

/// How a quote stands.
pub(super) enum Looked {
    /// It brought this much.
    Issued(u64),
    /// It isn't paid yet, or its coins are on their way.
    Open,
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
