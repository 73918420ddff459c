//! Changes of the wallet's tables that more than one of its parts makes, each within a transaction of its caller.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use cid::Cid;
use guilder_protocol::{
    bytes::ByteArray,
    identity::AgentId,
    locks::{KeysetId, LockedProof},
    market::Unit,
    time::{SKEW_SECS, Timestamp},
};

use super::{
    coin::sum,
    connector::ProofState,
    error::WalletError,
    records::{
        ACCEPTED, ACCOUNTS, ADVANCES, AT_RISK, AcceptedLock, Account, AccountRecord, Advance, BATCHES, BY_SIZE, COINS,
        Coin, Currency, FAILED, HELD, HISTORY, Held, HistoryEntry, MoneyOutcome, OPERATIONS, OUTCOMES, OWED,
        OperationId, Outcome, PURSE, PurseCoin, REDEEMED_PROOFS, REFUNDS, Reason, RedeemedProof, UNRELEASED,
        UNRELEASED_SHARED, Y, batch_id,
    },
};
use crate::store::{Key, KeyRange, Read, Reader, StoreError, Table, Write};

pub(super) fn coin_key(currency: &Currency, y: Y) -> Key {
    currency.key().and(y.0)
}

fn held_key(currency: &Currency, keyset: KeysetId) -> Key {
    currency.key().and(keyset.to_bytes())
}

/// Where a coin stands among those of its keyset by its amount.
pub(super) fn size_key(currency: &Currency, y: Y, coin: &Coin) -> Key {
    held_key(currency, coin.id).and(coin.amount).and(y.0)
}

/// The amount and the Y in a key of BY_SIZE.
pub(super) fn amount_and_y(key: &[u8]) -> Option<(u64, Y)> {
    let (rest, y) = key.split_last_chunk()?;
    Some((u64::from_be_bytes(*rest.last_chunk()?), ByteArray(*y)))
}

/// Puts a coin among the spendable ones, and says so; false, with nothing changed, if it is there already. With [`take_coin`] the
/// one way in: the sums and the order by size change with it.
pub(super) fn put_coin(write: &mut Write<'_>, currency: &Currency, y: Y, coin: &Coin) -> Result<bool, WalletError> {
    let key = coin_key(currency, y);
    if write.contains(COINS, &key)? {
        return Ok(false);
    }
    write.put(COINS, key, coin)?;
    write.put(BY_SIZE, size_key(currency, y, coin), &())?;
    let key = held_key(currency, coin.id);
    let held = write.get(HELD, &key)?.unwrap_or(Held { keyset: coin.id, coins: 0, amount: 0 });
    let (coins, amount) = (held.coins + 1, held.amount.saturating_add(coin.amount));
    write.put(HELD, key, &Held { coins, amount, ..held })?;
    Ok(true)
}

/// Takes a spendable coin out of the table, whoever else wanted it.
pub(super) fn take_coin(write: &mut Write<'_>, currency: &Currency, y: Y) -> Result<Coin, WalletError> {
    let key = coin_key(currency, y);
    let coin = write.get(COINS, &key)?.ok_or(WalletError::LockGone)?;
    write.delete(COINS, key)?;
    write.delete(BY_SIZE, size_key(currency, y, &coin))?;
    let key = held_key(currency, coin.id);
    match write.get(HELD, &key)? {
        Some(held) if held.coins > 1 => {
            let (coins, amount) = (held.coins - 1, held.amount.saturating_sub(coin.amount));
            write.put(HELD, key, &Held { coins, amount, ..held })?;
        }
        // It was the last.
        _ => write.delete(HELD, key)?,
    }
    Ok(coin)
}

/// What there is of a currency's spendable coins, by keyset.
pub(super) fn held(read: &impl Reader, currency: &Currency) -> Result<Vec<Held>, StoreError> {
    Ok(read.range(HELD, currency.key().range(), usize::MAX)?.into_iter().map(|(_, held)| held).collect())
}

/// In which order coins are visited.
#[derive(Clone, Copy, Debug)]
pub(super) enum BySize {
    LargestFirst,
    /// From this amount on.
    SmallestFrom(u64),
}

/// Visits a currency's spendable coins of one keyset in the order of their amounts, until `visit` breaks. The coins themselves
/// aren't read.
pub(super) fn by_size(
    read: &impl Reader,
    currency: &Currency,
    keyset: KeysetId,
    order: BySize,
    mut visit: impl FnMut(u64, Y) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let all = held_key(currency, keyset);
    let range = match order {
        BySize::LargestFirst => all.range().backwards(),
        BySize::SmallestFrom(least) => all.range().since(&all.and(least)),
    };
    read.visit(BY_SIZE, range, |key, ()| match amount_and_y(key) {
        Some((amount, y)) => visit(amount, y),
        None => ControlFlow::Continue(()),
    })
}

/// Notes money that came or went, in the account and as a line of the history.
pub(super) fn book(
    write: &mut Write<'_>,
    currency: &Currency,
    at: Timestamp,
    reason: Reason,
    amount: u64,
    detail: impl Into<Option<String>>,
) -> Result<(), WalletError> {
    let known = write.get(ACCOUNTS, currency.key())?;
    let mut record = known.unwrap_or_else(|| AccountRecord { currency: currency.clone(), account: Account::default() });
    record.account.count(reason, amount);
    write.put(ACCOUNTS, currency.key(), &record)?;
    if amount == 0 {
        return Ok(());
    }
    // The newest lines always stay, so that no number is used again.
    let last = write.range(HISTORY, KeyRange::all().backwards(), 1)?;
    let number = last.first().map_or(0, |(_, last)| last.number + 1);
    let Currency { mint, unit } = currency.clone();
    let entry = HistoryEntry { number, at, mint, unit, amount, reason, detail: detail.into() };
    Ok(write.put(HISTORY, Key::of(number), &entry)?)
}

fn owed_by_mint(identity: ByteArray<8>, unit: &Unit) -> Key {
    Key::of(identity.0).and(unit.as_str())
}

fn owed_by_buyer(identity: ByteArray<8>, unit: &Unit, buyer: AgentId) -> Key {
    owed_by_mint(identity, unit).and(buyer)
}

/// Raises what mint and buyer owe; gives both sums.
pub(super) fn owe_more(
    write: &mut Write<'_>,
    identity: ByteArray<8>,
    unit: &Unit,
    buyer: AgentId,
    amount: u64,
) -> Result<(u64, u64), WalletError> {
    let mut raise = |key: Key| {
        let owed = write.get(OWED, &key)?.unwrap_or_default().saturating_add(amount);
        write.put(OWED, key, &owed)?;
        Ok::<_, WalletError>(owed)
    };
    Ok((raise(owed_by_mint(identity, unit))?, raise(owed_by_buyer(identity, unit, buyer))?))
}

/// Lowers what mint and buyer owe by a part of an accepted lock; or, if that is in escrow and not released, what isn't.
pub(super) fn owe_less(write: &mut Write<'_>, accepted: &AcceptedLock, amount: u64) -> Result<(), WalletError> {
    let unit = &accepted.currency.unit;
    let (by_mint, by_buyer) =
        (owed_by_mint(accepted.identity, unit), owed_by_buyer(accepted.identity, unit, accepted.buyer));
    match accepted.escrow.as_ref().filter(|escrow| !escrow.released) {
        Some(escrow) => {
            lower(write, UNRELEASED, by_buyer, amount)?;
            if escrow.earned { Ok(()) } else { lower(write, UNRELEASED_SHARED, by_mint, amount) }
        }
        None => {
            lower(write, OWED, by_mint, amount)?;
            lower(write, OWED, by_buyer, amount)
        }
    }
}

fn lower(write: &mut Write<'_>, table: Table<u64>, key: Key, amount: u64) -> Result<(), WalletError> {
    match write.get(table, &key)?.unwrap_or_default().saturating_sub(amount) {
        0 => Ok(write.delete(table, key)?),
        left => Ok(write.put(table, key, &left)?),
    }
}

/// What mint and buyer owe.
pub(super) fn owed(
    read: &impl Reader,
    identity: ByteArray<8>,
    unit: &Unit,
    buyer: AgentId,
) -> Result<(u64, u64), WalletError> {
    let of = |key: Key| Ok::<_, WalletError>(read.get(OWED, key)?.unwrap_or_default());
    Ok((of(owed_by_mint(identity, unit))?, of(owed_by_buyer(identity, unit, buyer))?))
}

/// Raises what isn't released: of the buyer, and, unless it has earned the place, of all who share the rest; gives both sums.
pub(super) fn hold_more(write: &mut Write<'_>, accepted: &AcceptedLock) -> Result<(u64, u64), WalletError> {
    let (unit, amount) = (&accepted.currency.unit, accepted.amount());
    let mut raise = |table: Table<u64>, key: Key| {
        let held = write.get(table, &key)?.unwrap_or_default().saturating_add(amount);
        write.put(table, key, &held)?;
        Ok::<_, WalletError>(held)
    };
    let of_buyer = raise(UNRELEASED, owed_by_buyer(accepted.identity, unit, accepted.buyer))?;
    let is_earned = accepted.escrow.as_ref().is_some_and(|escrow| escrow.earned);
    let shared = if is_earned { 0 } else { raise(UNRELEASED_SHARED, owed_by_mint(accepted.identity, unit))? };
    Ok((of_buyer, shared))
}

fn advances_to(seller: AgentId, unit: &Unit) -> Key {
    Key::of(seller).and(unit.as_str())
}

/// What is in a seller's hands in advance, in a unit.
pub(super) fn advanced(read: &impl Reader, seller: AgentId, unit: &Unit, now: Timestamp) -> Result<u64, StoreError> {
    let rows = read.range(ADVANCES, advances_to(seller, unit).range(), usize::MAX)?;
    let held = rows.into_iter().filter(|(_, advance)| !is_over(advance, now));
    Ok(held.fold(0, |sum, (_, advance)| sum.saturating_add(advance.amount)))
}

/// Whether it has fallen back, by the mint's clock too.
fn is_over(advance: &Advance, now: Timestamp) -> bool {
    now > advance.until.saturating_add(SKEW_SECS)
}

/// Notes what a trade puts into a seller's hands; what has fallen back meanwhile is forgotten.
pub(super) fn put_in_advance(
    write: &mut Write<'_>,
    (seller, unit, trade): (AgentId, &Unit, Cid),
    advance: Advance,
    now: Timestamp,
) -> Result<(), WalletError> {
    for (key, old) in write.range(ADVANCES, advances_to(seller, unit).range(), usize::MAX)? {
        if is_over(&old, now) {
            write.delete(ADVANCES, key)?;
        }
    }
    Ok(write.put(ADVANCES, advances_to(seller, unit).and(trade), &advance)?)
}

/// So much of what a trade put into a seller's hands isn't there on its account any more.
pub(super) fn lessen_advance(
    write: &mut Write<'_>,
    (seller, unit, trade): (AgentId, &Unit, Cid),
    amount: u64,
) -> Result<(), WalletError> {
    let key = advances_to(seller, unit).and(trade);
    let Some(advance) = write.get(ADVANCES, &key)? else { return Ok(()) };
    match advance.amount.saturating_sub(amount) {
        0 => Ok(write.delete(ADVANCES, key)?),
        amount => Ok(write.put(ADVANCES, key, &Advance { amount, ..advance })?),
    }
}

/// Takes an accepted lock off the books: redeemed, given up or lost.
pub(super) fn forget_accepted(write: &mut Write<'_>, trade: &Cid, accepted: &AcceptedLock) -> Result<(), WalletError> {
    owe_less(write, accepted, accepted.amount())?;
    Ok(write.delete(ACCEPTED, Key::of(trade))?)
}

/// Writes down what became of a trade's money, for the trade room to take note of.
pub(super) fn tell(write: &mut Write<'_>, trade: Cid, outcome: MoneyOutcome) -> Result<(), WalletError> {
    Ok(write.put(OUTCOMES, Key::of(trade), &Outcome { trade, outcome })?)
}

/// What a mint says is spent of some coins, and by whom as far as its witnesses tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    /// With a signature of ours, so by another copy of this wallet.
    by_us: BTreeSet<Y>,
    /// With witnesses of which none has a signature of ours.
    by_others: BTreeMap<Y, ProofState>,
    /// By us or by somebody else: the mint doesn't tell, and both could.
    untold: BTreeSet<Y>,
}

impl Spent {
    pub(super) fn by_us(&mut self, y: Y) {
        self.by_us.insert(y);
    }

    pub(super) fn by_others(&mut self, y: Y, state: ProofState) {
        self.by_others.insert(y, state);
    }

    pub(super) fn untold(&mut self, y: Y) {
        self.untold.insert(y);
    }

    /// Nobody is to be blamed: another copy of this wallet may have paid with them.
    pub(super) fn blame_nobody(&mut self) {
        self.untold.extend(std::mem::take(&mut self.by_others).into_keys());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_us.is_empty() && self.by_others.is_empty() && self.untold.is_empty()
    }

    /// Whether somebody else is seen to have spent any.
    pub(super) fn blames(&self) -> bool {
        !self.by_others.is_empty()
    }

    pub(super) fn contains(&self, y: &Y) -> bool {
        self.is_by_us(y) || self.by_others.contains_key(y) || self.untold.contains(y)
    }

    pub(super) fn is_by_us(&self, y: &Y) -> bool {
        self.by_us.contains(y)
    }

    pub(super) fn is_untold(&self, y: &Y) -> bool {
        self.untold.contains(y)
    }

    fn ys(&self) -> impl Iterator<Item = &Y> {
        self.by_us.iter().chain(self.by_others.keys()).chain(&self.untold)
    }
}

fn redeemed_proof(proof: LockedProof, state: &ProofState) -> RedeemedProof {
    let ProofState { signatures, witness, .. } = state.clone();
    RedeemedProof { proof, signatures, witness }
}

/// Why a coin is lost whose mint doesn't say who spent it.
pub(super) const SPENT_UNTOLD: &str = "spent, and the mint does not say by whom";

/// Strikes the proofs of a lock that waits for its refund which are spent. What the seller redeemed is kept as evidence. If
/// those are all, the trade's money is settled.
pub(super) fn strike(
    write: &mut Write<'_>,
    trade: Cid,
    locktime: Timestamp,
    spent: &Spent,
    at: Timestamp,
) -> Result<(), WalletError> {
    let key = Key::of(locktime).and(trade);
    let Some(mut lock) = write.get(REFUNDS, &key)? else { return Ok(()) };
    let (mut redeemed, mut refunded, mut untold) = (Vec::new(), 0, 0);
    let mut left = Vec::with_capacity(lock.proofs.len());
    for proof in lock.proofs {
        match proof.y() {
            Some(y) if spent.is_by_us(&y) => refunded += proof.amount,
            Some(y) if spent.is_untold(&y) => untold += proof.amount,
            Some(y) => match spent.by_others.get(&y) {
                Some(state) => redeemed.push(redeemed_proof(proof, state)),
                None => left.push(proof),
            },
            None => left.push(proof),
        }
    }
    lock.proofs = left;
    let worth = sum(redeemed.iter().map(|one| &one.proof.amount));
    lock.redeemed += worth;
    keep_redeemed(write, trade, redeemed)?;
    let currency = lock.currency.clone();
    book(write, &currency, at, Reason::Forfeited, worth, trade.to_string())?;
    let elsewhere = format!("{trade}: refunded to another copy of this wallet");
    book(write, &currency, at, Reason::Lost, refunded, elsewhere)?;
    book(write, &currency, at, Reason::Lost, untold, format!("{trade}: {SPENT_UNTOLD}"))?;
    if lock.proofs.is_empty() {
        tell(write, trade, MoneyOutcome::Refunded { refunded, redeemed: lock.redeemed, fee: 0 })?;
        write.delete(REFUNDS, key)?;
    } else if worth + refunded + untold > 0 {
        write.put(REFUNDS, key, &lock)?;
    }
    Ok(())
}

/// Strikes the coins of a purse batch that are spent. What a trade had given back, its seller redeemed: that trade is charged
/// with it and told of all that was redeemed of it so far. Gives the worth of what is lost without anybody to answer for it.
pub(super) fn strike_purse(
    write: &mut Write<'_>,
    batch: OperationId,
    currency: &Currency,
    spent: &Spent,
    at: Timestamp,
) -> Result<u64, WalletError> {
    let (mut redeemed, mut refunded, mut lost) = (BTreeMap::<Cid, Vec<RedeemedProof>>::new(), 0, 0);
    for y in spent.ys() {
        let key = Key::of(batch.0).and(y.0);
        let Some(PurseCoin { proof, given_back_by }) = write.get(PURSE, &key)? else { continue };
        write.delete(PURSE, key)?;
        match (spent.by_others.get(y), given_back_by) {
            (Some(state), Some(trade)) => redeemed.entry(trade).or_default().push(redeemed_proof(proof, state)),
            _ if spent.is_by_us(y) => refunded += proof.amount,
            _ => lost += proof.amount,
        }
    }
    book(write, currency, at, Reason::Lost, refunded, "a purse: refunded to another copy of this wallet".to_owned())?;
    let why = "spent from a purse behind this wallet's back: by another copy of it, as far as can be told";
    book(write, currency, at, Reason::Lost, lost, why.to_owned())?;
    for (trade, of_trade) in redeemed {
        let worth = sum(of_trade.iter().map(|one| &one.proof.amount));
        book(write, currency, at, Reason::Forfeited, worth, trade.to_string())?;
        let all = keep_redeemed(write, trade, of_trade)?;
        let rest = write.range(PURSE, Key::of(batch.0).range(), usize::MAX)?;
        let rest = rest.iter().filter(|(_, coin)| coin.given_back_by == Some(trade));
        let refunded = sum(rest.map(|(_, coin)| &coin.proof.amount));
        tell(write, trade, MoneyOutcome::Refunded { refunded, redeemed: all, fee: 0 })?;
    }
    Ok(lost)
}

/// Keeps what shows that a seller has redeemed proofs of a trade's lock; gives the worth of all of them.
fn keep_redeemed(write: &mut Write<'_>, trade: Cid, redeemed: Vec<RedeemedProof>) -> Result<u64, WalletError> {
    let mut kept = write.get(REDEEMED_PROOFS, Key::of(trade))?.unwrap_or_default();
    if !redeemed.is_empty() {
        kept.extend(redeemed);
        write.put(REDEEMED_PROOFS, Key::of(trade), &kept)?;
    }
    Ok(sum(kept.iter().map(|one| &one.proof.amount)))
}

/// A currency's purse batches.
pub(super) fn batches_of(read: &Read, currency: &Currency) -> Result<Vec<OperationId>, StoreError> {
    let batches = read.range(BATCHES, KeyRange::all(), usize::MAX)?.into_iter();
    Ok(batches
        .filter(|(_, batch)| batch.currency == *currency)
        .filter_map(|(key, _)| key.get(8..).and_then(batch_id))
        .collect())
}

/// Drops the marks of trades from the coins of purse batches: another copy of this wallet has lived, and may have paid with
/// what they gave back here.
pub(super) fn clear_given_back(write: &mut Write<'_>, batches: &[OperationId]) -> Result<(), StoreError> {
    for id in batches {
        for (key, coin) in write.range(PURSE, Key::of(id.0).range(), usize::MAX)? {
            if coin.given_back_by.is_some() {
                write.put(PURSE, key, &PurseCoin::new(coin.proof))?;
            }
        }
    }
    Ok(())
}

/// The keysets of all coins that the wallet has, or may yet have from swaps.
pub(super) fn keysets_in_use(read: &Read) -> Result<BTreeSet<KeysetId>, StoreError> {
    let mut ids = BTreeSet::new();
    read.visit(HELD, KeyRange::all(), |_, held| {
        ids.insert(held.keyset);
        ControlFlow::Continue(())
    })?;
    read.visit(PURSE, KeyRange::all(), |_, coin| {
        ids.insert(coin.proof.id);
        ControlFlow::Continue(())
    })?;
    for table in [AT_RISK, REFUNDS] {
        for (_, lock) in read.range(table, KeyRange::all(), usize::MAX)? {
            ids.extend(lock.proofs.iter().map(|proof| proof.id));
        }
    }
    for (_, accepted) in read.range(ACCEPTED, KeyRange::all(), usize::MAX)? {
        ids.extend(accepted.proofs.iter().map(|proof| proof.id));
    }
    let failed = read.range(FAILED, KeyRange::all(), usize::MAX)?.into_iter().map(|(_, failed)| failed.record);
    let operations = read.range(OPERATIONS, KeyRange::all(), usize::MAX)?.into_iter().map(|(_, record)| record);
    for record in operations.chain(failed) {
        ids.extend(record.inputs.iter().map(|input| input.coin.id));
        ids.extend(record.outputs.iter().map(|output| output.id));
    }
    Ok(ids)
}
