//! What an operation changes in the tables: when it is written down, when it has come to be, when it can't.

use std::{collections::BTreeMap, sync::Arc};

use cdk::nuts::{State, Token};
use cid::Cid;
use guilder_protocol::{fault::Fault, locks::LockedProof, time::Timestamp};

use super::{
    super::{
        coin::{currency_unit, sum},
        connector::{MintTrouble, QuoteState},
        error::WalletError,
        records::{
            ACCEPTED, AcceptedLock, BATCHES, BatchRecord, Coin, Currency, DUE, Destination, Due, FAILED,
            FailedOperation, MoneyOutcome, OPERATIONS, Operation, OperationId, PURSE, Purpose, PurseCoin, QUOTES,
            QuoteRecord, RECEIVED, REFUNDS, Reason, RefundedBatch, RefundedLock, SENT, SentState, SentToken, Y,
            batch_key, quote_key,
        },
        tables::{
            SPENT_UNTOLD, Spent, book, forget_accepted, owe_less, put_coin, strike, strike_purse, take_coin, tell,
        },
    },
    fate::Evidence,
    numbers,
};
use crate::store::{Key, Reader, Store, Write};

/// What an operation that came to be has made.
#[derive(Clone, Debug)]
pub(in super::super) enum Settled {
    Refilled,
    Sent(SentToken),
    Received { amount: u64, fee: u64 },
    Redeemed,
    Refunded,
    Renewed,
    Minted(u64),
    Melted { preimage: Option<String>, fee: u64 },
}

/// Takes the inputs out of the table that they are in. Those of a redemption or a refund stay where they are, out of
/// anybody else's reach, until the operation has come to be.
pub(super) fn claim(write: &mut Write<'_>, record: &Operation) -> Result<(), WalletError> {
    match &record.purpose {
        Purpose::Refill { .. } | Purpose::Send | Purpose::Renew | Purpose::Melt { .. } => {
            for input in &record.inputs {
                take_coin(write, &record.currency, input.y)?;
            }
        }
        Purpose::Receive { .. } | Purpose::Mint { .. } => {}
        Purpose::Redeem { trades } => {
            for trade in trades {
                let accepted = write.get(ACCEPTED, Key::of(trade))?.filter(|accepted| !accepted.redeeming);
                let accepted = accepted.ok_or(WalletError::LockGone)?;
                write.delete(DUE, Key::of(accepted.locktime).and(trade))?;
                write.put(ACCEPTED, Key::of(trade), &AcceptedLock { redeeming: true, ..accepted })?;
            }
        }
        Purpose::Refund { locks, .. } => {
            for lock in locks {
                if !write.contains(REFUNDS, Key::of(lock.locktime).and(lock.trade))? {
                    return Err(WalletError::LockGone);
                }
            }
        }
    }
    Ok(())
}

/// A purse batch and the coins that it begins with.
type Batch = (BatchRecord, BTreeMap<Y, LockedProof>);

/// What a refill puts into the purse.
fn batch(record: &Operation, coins: &[Option<(Y, Coin)>]) -> Option<Batch> {
    let Purpose::Refill { batch } = &record.purpose else { return None };
    let pairs = record.outputs.iter().zip(coins);
    let locked = pairs.filter(|(output, _)| output.to == Destination::Purse).filter_map(|(_, coin)| coin.clone());
    Some((BatchRecord::clone(batch), locked.filter_map(|(y, coin)| Some((y, coin.into_locked()?))).collect()))
}

/// What is written of an operation that came to be.
pub(super) struct Completion {
    id: OperationId,
    record: Arc<Operation>,
    coins: Vec<Option<(Y, Coin)>>,
    preimage: Option<String>,
    token: Option<SentToken>,
    /// What goes into the purse, if it is a refill.
    batch: Option<Batch>,
    now: Timestamp,
}

impl Completion {
    /// `coins` in the order of the operation's outputs; `None` for change that there isn't.
    pub(super) fn new(
        id: OperationId,
        record: &Arc<Operation>,
        coins: &[Option<(Y, Coin)>],
        preimage: Option<String>,
        now: Timestamp,
    ) -> Result<Self, WalletError> {
        let (record, coins) = (Arc::clone(record), coins.to_vec());
        let token = match record.purpose {
            Purpose::Send => {
                let pairs = record.outputs.iter().zip(&coins).filter(|(output, _)| output.to == Destination::Token);
                let given = pairs.filter_map(|(_, coin)| coin.as_ref()).map(|(_, coin)| coin);
                Some(make_token(id, &record.currency, given, now)?)
            }
            _ => None,
        };
        let batch = batch(&record, &coins);
        Ok(Self { id, record, coins, preimage, token, batch, now })
    }

    /// What whoever waits is told.
    pub(super) fn settled(&self) -> Settled {
        match (&self.record.purpose, &self.token) {
            (Purpose::Send, Some(token)) => Settled::Sent(token.clone()),
            (Purpose::Send | Purpose::Refill { .. }, _) => Settled::Refilled,
            (Purpose::Renew, _) => Settled::Renewed,
            (Purpose::Receive { .. }, _) => {
                let amount = self.record.input_sum().saturating_sub(self.record.fee);
                Settled::Received { amount, fee: self.record.fee }
            }
            (Purpose::Redeem { .. }, _) => Settled::Redeemed,
            (Purpose::Refund { .. }, _) => Settled::Refunded,
            (Purpose::Mint { .. }, _) => Settled::Minted(self.made()),
            (Purpose::Melt { .. }, _) => Settled::Melted { preimage: self.preimage.clone(), fee: self.fee() },
        }
    }

    /// What goes into the purse, if it is a refill.
    pub(super) fn batch(&self) -> Option<&Batch> {
        self.batch.as_ref()
    }

    fn made(&self) -> u64 {
        sum(self.coins.iter().flatten().map(|(_, coin)| &coin.amount))
    }

    /// What the mint kept.
    fn fee(&self) -> u64 {
        match &self.record.purpose {
            Purpose::Mint { .. } => 0,
            Purpose::Melt { amount, .. } => self.record.input_sum().saturating_sub(self.made()).saturating_sub(*amount),
            _ => self.record.fee,
        }
    }

    /// Stores what the operation made and forgets it. Does nothing if that was done before: a commit of which the disk
    /// couldn't tell may have come to be.
    pub(super) fn write(&self, write: &mut Write<'_>) -> Result<(), WalletError> {
        let Self { id, record, now, .. } = self;
        if !write.contains(OPERATIONS, id.0)? {
            return Ok(());
        }
        write.delete(OPERATIONS, id.0)?;
        for (output, coin) in record.outputs.iter().zip(&self.coins) {
            if let (Destination::Coins, Some((y, coin))) = (output.to, coin) {
                put_coin(write, &record.currency, *y, coin)?;
            }
        }
        book(write, &record.currency, *now, Reason::Fee, self.fee(), self.what())?;
        self.write_purpose(write)
    }

    /// What it was for, as the history says it.
    fn what(&self) -> Option<String> {
        Some(match &self.record.purpose {
            Purpose::Refill { batch } => format!("locking to {}", batch.seller),
            Purpose::Send => format!("sending token {}", hex::encode(self.id.0)),
            Purpose::Renew => "changing coins for fewer, or for those of a newer keyset".into(),
            Purpose::Receive { .. } => "receiving a token".into(),
            Purpose::Redeem { trades } => format!("redeeming {} locks", trades.len()),
            Purpose::Refund { .. } => "a refund".into(),
            Purpose::Mint { quote } | Purpose::Melt { quote, .. } => format!("quote {quote}"),
        })
    }

    fn write_purpose(&self, write: &mut Write<'_>) -> Result<(), WalletError> {
        let Self { id, record, now, .. } = self;
        let currency = &record.currency;
        match &record.purpose {
            Purpose::Refill { .. } => {
                if let Some((batch, proofs)) = &self.batch {
                    put_batch(write, *id, batch, proofs.clone())?;
                }
            }
            Purpose::Send => {
                let token = self.token.as_ref().ok_or(WalletError::Unsettled)?;
                write.put(SENT, id.0, token)?;
                book(write, currency, *now, Reason::Sent, token.amount, hex::encode(id.0))?;
            }
            Purpose::Renew => {}
            Purpose::Receive { reclaimed: None } => {
                if let Some(first) = record.inputs.first() {
                    write.put(RECEIVED, first.y.0, now)?;
                }
                book(write, currency, *now, Reason::Received, record.input_sum(), None)?;
            }
            Purpose::Receive { reclaimed: Some(token) } => {
                book(write, currency, *now, Reason::Reclaimed, record.input_sum(), hex::encode(token.0))?;
                if let Some(sent) = write.get(SENT, token.0)? {
                    write.put(SENT, token.0, &SentToken { state: SentState::Reclaimed, ..sent })?;
                }
            }
            Purpose::Redeem { trades } => settle_redeemed(write, record, trades, *now)?,
            Purpose::Refund { locks, batches } => settle_refunded(write, record, locks, batches, *now)?,
            Purpose::Mint { quote } => {
                let key = quote_key(currency, quote);
                if let Some(known) = write.get(QUOTES, &key)? {
                    write.put(QUOTES, key, &QuoteRecord { issued: self.made(), ..known })?;
                }
                book(write, currency, *now, Reason::Funded, self.made(), quote.clone())?;
            }
            Purpose::Melt { quote, amount } => {
                book(write, currency, *now, Reason::Invoice, *amount, quote.clone())?;
            }
        }
        Ok(())
    }
}

/// Puts locked coins into the purse.
pub(super) fn put_batch(
    write: &mut Write<'_>,
    id: OperationId,
    batch: &BatchRecord,
    proofs: BTreeMap<Y, LockedProof>,
) -> Result<(), WalletError> {
    write.put(BATCHES, batch_key(batch.conditions.locktime(), id), batch)?;
    for (y, proof) in proofs {
        write.put(PURSE, Key::of(id.0).and(y.0), &PurseCoin::new(proof))?;
    }
    Ok(())
}

/// Shares a fee out by inputs, so that the shares add up: the rounding falls on those that cross a whole unit.
struct Shares {
    fee: u64,
    inputs: u64,
    counted: u64,
}

impl Shares {
    fn of(record: &Operation) -> Self {
        Self { fee: record.fee, inputs: record.inputs.len().max(1) as u64, counted: 0 }
    }

    fn next(&mut self, inputs: usize) -> u64 {
        let before = self.fee * self.counted / self.inputs;
        self.counted += inputs as u64;
        self.fee * self.counted / self.inputs - before
    }
}

/// Each trade bears the fee of its own proofs.
fn settle_redeemed(
    write: &mut Write<'_>,
    record: &Operation,
    trades: &[Cid],
    now: Timestamp,
) -> Result<(), WalletError> {
    let (mut shares, mut known) = (Shares::of(record), 0);
    for trade in trades {
        let Some(accepted) = write.get(ACCEPTED, Key::of(trade))? else { continue };
        known += accepted.amount();
        let amount = accepted.amount().saturating_sub(shares.next(accepted.proofs.len()));
        forget_accepted(write, trade, &accepted)?;
        tell(write, *trade, MoneyOutcome::Redeemed { amount })?;
    }
    book_unknown(write, record, known, now)
}

fn settle_refunded(
    write: &mut Write<'_>,
    record: &Operation,
    locks: &[RefundedLock],
    batches: &[RefundedBatch],
    now: Timestamp,
) -> Result<(), WalletError> {
    let (mut shares, mut known) = (Shares::of(record), 0);
    for lock in locks {
        let key = Key::of(lock.locktime).and(lock.trade);
        let fee = shares.next(lock.inputs);
        let Some(waiting) = write.get(REFUNDS, &key)? else { continue };
        known += waiting.amount();
        let refunded = waiting.amount().saturating_sub(fee);
        write.delete(REFUNDS, key)?;
        tell(write, lock.trade, MoneyOutcome::Refunded { refunded, redeemed: waiting.redeemed, fee })?;
    }
    let mut from = locks.iter().map(|lock| lock.inputs).sum::<usize>();
    for batch in batches {
        for input in record.inputs.iter().skip(from).take(batch.inputs) {
            let key = Key::of(batch.id.0).and(input.y.0);
            if write.contains(PURSE, &key)? {
                known += input.coin.amount;
                write.delete(PURSE, key)?;
            }
        }
        from += batch.inputs;
    }
    book_unknown(write, record, known, now)
}

/// An operation has brought in what was taken off the books while it was under way: it is ours all the same.
fn book_unknown(write: &mut Write<'_>, record: &Operation, known: u64, now: Timestamp) -> Result<(), WalletError> {
    let unknown = record.input_sum().saturating_sub(known);
    let why = "it had been taken off the books before the mint gave it back".to_owned();
    book(write, &record.currency, now, Reason::Restored, unknown, why)
}

/// A token of coins that leave the wallet.
pub(in super::super) fn make_token<'a>(
    id: OperationId,
    currency: &Currency,
    coins: impl IntoIterator<Item = &'a Coin>,
    at: Timestamp,
) -> Result<SentToken, WalletError> {
    let coins: Vec<_> = coins.into_iter().collect();
    let proofs: Option<Vec<_>> = coins.iter().map(|coin| coin.to_proof()).collect();
    let proofs = proofs.ok_or(WalletError::Token("a coin on record can't be read"))?;
    let url = currency.mint.as_str().parse().map_err(|_| WalletError::UnknownMint(currency.mint.clone()))?;
    let token = Token::new(url, proofs, None, currency_unit(&currency.unit));
    Ok(SentToken {
        id: hex::encode(id.0),
        token: token.to_string(),
        amount: sum(coins.iter().map(|coin| &coin.amount)),
        mint: currency.mint.clone(),
        unit: currency.unit.clone(),
        at,
        state: SentState::Open,
    })
}

/// Why an operation is released, and what comes of it.
pub(super) struct Released {
    pub(super) evidence: Evidence,
    /// Coins that another copy of this wallet has made of the same numbers.
    pub(super) adopted: Vec<(Y, Coin)>,
    /// It was posted once, and judged: no copy of it is on its way.
    pub(super) unused: bool,
}

/// What a release has lost, and by whose fault.
pub(super) struct Loss {
    pub(super) amount: u64,
    pub(super) fault: Fault,
}

/// Why an operation is barred.
struct Bar {
    /// Its inputs that are spent.
    spent: Spent,
    /// The quote was issued all the same.
    issued: bool,
    /// The mint shows the signatures of this very operation, and has signed nothing for them.
    robbed: bool,
    /// Another copy of this wallet may have paid with what it would refund.
    another_copy: bool,
    why: String,
    at: Timestamp,
}

/// Parks an operation that can't come to be, and puts what is still ours of its inputs back where it was. `another_copy` of this
/// wallet may have spent some.
pub(super) async fn release(
    store: &Store,
    (id, record): (OperationId, &Arc<Operation>),
    released: &Released,
    (why, another_copy): (&MintTrouble, bool),
    at: Timestamp,
) -> Result<Loss, WalletError> {
    let mut spent = Spent::default();
    for (input, state) in record.inputs.iter().zip(&released.evidence.inputs) {
        if state.state == State::Spent {
            match &input.unlocked {
                Some(_) if input.is_spent_by_us(&state.signatures) => spent.by_us(input.y),
                Some(_) if state.signatures.is_empty() => spent.untold(input.y),
                _ => spent.by_others(input.y, state.clone()),
            }
        }
    }
    let signed = released.evidence.outputs.iter().any(|output| output.signature.is_some());
    let mut pairs = record.inputs.iter().zip(&released.evidence.inputs);
    let robbed = !signed && pairs.any(|(input, state)| input.is_spent_as_sent(&state.signatures));
    // Locked to us, it was the buyer's to take back after the locktime; else only whoever has our seed could.
    let fault = match record.purpose {
        Purpose::Redeem { .. } | Purpose::Receive { .. } if !robbed => Fault::Peer,
        _ => Fault::Mint,
    };
    let issued = released.evidence.quote == Some(QuoteState::Issued);
    let bar = Bar { spent, issued, robbed, another_copy, why: why.to_string(), at };
    let (record, adopted) = (Arc::clone(record), released.adopted.clone());
    let free = released.unused && !signed;
    let amount = store
        .transact(move |write| {
            if !write.contains(OPERATIONS, id.0)? {
                return Ok(0);
            }
            write.delete(OPERATIONS, id.0)?;
            let lost = release_inputs(write, &record, &bar)?;
            if free {
                numbers::free(write, &record.outputs)?;
            }
            adopt(write, &record.currency, &adopted, at)?;
            let record = Operation::clone(&record);
            write.put(FAILED, id.0, &FailedOperation { record, why: bar.why, at })?;
            Ok::<_, WalletError>(lost)
        })
        .await?;
    Ok(Loss { amount, fault })
}

/// Puts coins that we didn't have into the table.
pub(super) fn adopt(
    write: &mut Write<'_>,
    currency: &Currency,
    coins: &[(Y, Coin)],
    at: Timestamp,
) -> Result<u64, WalletError> {
    let mut sum = 0;
    for (y, coin) in coins {
        if put_coin(write, currency, *y, coin)? {
            sum += coin.amount;
        }
    }
    if sum > 0 {
        book(write, currency, at, Reason::Restored, sum, None)?;
    }
    Ok(sum)
}

fn release_inputs(write: &mut Write<'_>, record: &Operation, bar: &Bar) -> Result<u64, WalletError> {
    match &record.purpose {
        Purpose::Refill { .. } | Purpose::Send | Purpose::Renew | Purpose::Melt { .. } => {
            release_coins(write, record, bar)
        }
        Purpose::Receive { .. } => Ok(0),
        Purpose::Mint { quote } => {
            // Issued to another copy of this wallet; else it is still to come.
            if bar.issued {
                write.delete(QUOTES, quote_key(&record.currency, quote))?;
            }
            Ok(0)
        }
        Purpose::Redeem { trades } => release_accepted(write, record, trades, bar),
        Purpose::Refund { locks, batches } => release_refund(write, record, locks, batches, bar),
    }
}

fn release_coins(write: &mut Write<'_>, record: &Operation, bar: &Bar) -> Result<u64, WalletError> {
    let mut lost = 0;
    for input in &record.inputs {
        if bar.spent.contains(&input.y) {
            lost += input.coin.amount;
        } else {
            put_coin(write, &record.currency, input.y, &input.coin)?;
        }
    }
    book(write, &record.currency, bar.at, Reason::Lost, lost, bar.why.clone())?;
    Ok(lost)
}

/// Why a redemption failed whose inputs the mint took.
const ROBBED: &str = "the mint took it with the signature of this very redemption, and signed nothing for it";

/// Each trade is due again with what is unspent of it, on its own this time, so that one that the mint won't have
/// holds up no other.
fn release_accepted(write: &mut Write<'_>, record: &Operation, trades: &[Cid], bar: &Bar) -> Result<u64, WalletError> {
    let mut all_lost = 0;
    for trade in trades {
        let Some(accepted) = write.get(ACCEPTED, Key::of(trade))? else { continue };
        let ys: Vec<Y> = accepted.proofs.iter().filter_map(LockedProof::y).collect();
        let is_spent = |proof: &LockedProof| proof.y().is_none_or(|y| bar.spent.contains(&y));
        let by_us = !bar.robbed && ys.len() == accepted.proofs.len() && ys.iter().all(|y| bar.spent.is_by_us(y));
        let (gone, left): (Vec<_>, Vec<_>) = accepted.proofs.iter().cloned().partition(is_spent);
        let lost = sum(gone.iter().map(|proof| &proof.amount));
        let why = match by_us {
            true => "redeemed by another copy of this wallet".to_owned(),
            false if bar.robbed => ROBBED.to_owned(),
            false if ys.iter().any(|y| bar.spent.is_untold(y)) => SPENT_UNTOLD.to_owned(),
            false => bar.why.clone(),
        };
        book(write, &record.currency, bar.at, Reason::Lost, lost, format!("{trade}: {why}"))?;
        owe_less(write, &accepted, lost)?;
        let refused = u32::from(bar.spent.is_empty());
        let kept = AcceptedLock { proofs: left, tries: accepted.tries + refused, redeeming: false, ..accepted };
        if kept.proofs.is_empty() {
            forget_accepted(write, trade, &kept)?;
            let outcome =
                if by_us { MoneyOutcome::Redeemed { amount: lost } } else { MoneyOutcome::RedeemFailed { why } };
            tell(write, *trade, outcome)?;
        } else {
            let (locktime, currency, proofs) = (kept.locktime, record.currency.clone(), kept.proofs.len());
            let redeem_by = kept.escrow.as_ref().map(|escrow| escrow.redeem_by);
            let (trade, since, tries, put_off) = (*trade, bar.at, kept.tries, 0);
            let due = Due { trade, locktime, currency, proofs, since, tried: since, tries, put_off, redeem_by };
            write.put(DUE, Key::of(locktime).and(trade), &due)?;
            write.put(ACCEPTED, Key::of(trade), &kept)?;
        }
        all_lost += if by_us { 0 } else { lost };
    }
    Ok(all_lost)
}

/// What is spent was taken by the seller meanwhile; the rest waits for the next refund.
fn release_refund(
    write: &mut Write<'_>,
    record: &Operation,
    locks: &[RefundedLock],
    batches: &[RefundedBatch],
    bar: &Bar,
) -> Result<u64, WalletError> {
    let mut of_purses = bar.spent.clone();
    if bar.another_copy {
        of_purses.blame_nobody();
    }
    for lock in locks {
        // Another copy may have paid with what was in a purse; not with what was made for this trade.
        let waiting = write.get(REFUNDS, Key::of(lock.locktime).and(lock.trade))?;
        let is_once = waiting.is_some_and(|waiting| waiting.conditions.once().is_some());
        strike(write, lock.trade, lock.locktime, if is_once { &bar.spent } else { &of_purses }, bar.at)?;
    }
    let mut lost = 0;
    for batch in batches {
        lost += strike_purse(write, batch.id, &record.currency, &of_purses, bar.at)?;
    }
    Ok(lost)
}
