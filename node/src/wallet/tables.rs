//! Changes of the wallet's tables that more than one of its parts makes, each within a transaction of its caller.

use std::{collections::BTreeSet, ops::ControlFlow};

use cid::Cid;
use guilder_protocol::{bytes::ByteArray, identity::AgentId, locks::KeysetId, market::Unit, time::Timestamp};

use super::{
    error::WalletError,
    records::{
        ACCEPTED, ACCOUNTS, AT_RISK, AcceptedLock, Account, AccountRecord, COINS, Currency, FAILED, HISTORY,
        HISTORY_NEXT, HistoryEntry, MoneyOutcome, OPERATIONS, OUTCOMES, OWED, Outcome, PURSE, REDEEMED_PROOFS, REFUNDS,
        Reason, RedeemedProof, Y,
    },
};
use crate::store::{Key, KeyRange, Read, Reader, StoreError, Write};

pub(super) fn coin_key(currency: &Currency, y: Y) -> Key {
    currency.key().and(y.0)
}

/// Takes a spendable coin out of the table, whoever else wanted it.
pub(super) fn take_coin(write: &mut Write<'_>, currency: &Currency, y: Y) -> Result<(), WalletError> {
    let key = coin_key(currency, y);
    if !write.contains(COINS, &key)? {
        return Err(WalletError::LockGone);
    }
    Ok(write.delete(COINS, key)?)
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
    let number = write.get(HISTORY_NEXT, [])?.unwrap_or_default();
    let Currency { mint, unit } = currency.clone();
    let entry = HistoryEntry { number, at, mint, unit, amount, reason, detail: detail.into() };
    write.put(HISTORY, Key::of(number), &entry)?;
    Ok(write.put(HISTORY_NEXT, [], &(number + 1))?)
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

/// Lowers what mint and buyer owe by a part of an accepted lock.
pub(super) fn owe_less(write: &mut Write<'_>, accepted: &AcceptedLock, amount: u64) -> Result<(), WalletError> {
    let unit = &accepted.currency.unit;
    for key in [owed_by_mint(accepted.identity, unit), owed_by_buyer(accepted.identity, unit, accepted.buyer)] {
        match write.get(OWED, &key)?.unwrap_or_default().saturating_sub(amount) {
            0 => write.delete(OWED, key)?,
            owed => write.put(OWED, key, &owed)?,
        }
    }
    Ok(())
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

/// Strikes the proofs of a lock that waits for its refund which are spent: by the seller, or, those `by_us`, by another
/// copy of this wallet. If those are all, the trade's money is settled.
pub(super) fn strike(
    write: &mut Write<'_>,
    trade: Cid,
    locktime: Timestamp,
    spent: &BTreeSet<Y>,
    by_us: &BTreeSet<Y>,
    at: Timestamp,
) -> Result<(), WalletError> {
    let key = Key::of(locktime).and(trade);
    let Some(mut lock) = write.get(REFUNDS, &key)? else { return Ok(()) };
    let (mut redeemed, mut refunded) = (0, 0);
    lock.proofs.retain(|proof| match proof.y() {
        Some(y) if by_us.contains(&y) => {
            refunded += proof.amount;
            false
        }
        Some(y) if spent.contains(&y) => {
            redeemed += proof.amount;
            false
        }
        _ => true,
    });
    lock.redeemed += redeemed;
    let currency = lock.currency.clone();
    book(write, &currency, at, Reason::Forfeited, redeemed, trade.to_string())?;
    let elsewhere = format!("{trade}: refunded to another copy of this wallet");
    book(write, &currency, at, Reason::Lost, refunded, elsewhere)?;
    if lock.proofs.is_empty() {
        tell(write, trade, MoneyOutcome::Refunded { refunded, redeemed: lock.redeemed, fee: 0 })?;
        write.delete(REFUNDS, key)?;
    } else if redeemed + refunded > 0 {
        write.put(REFUNDS, key, &lock)?;
    }
    Ok(())
}

/// Keeps what shows that a seller has taken proofs of a trade's lock.
pub(super) fn keep_redeemed(
    write: &mut Write<'_>,
    trade: Cid,
    redeemed: Vec<RedeemedProof>,
) -> Result<(), WalletError> {
    if redeemed.is_empty() {
        return Ok(());
    }
    let mut kept = write.get(REDEEMED_PROOFS, Key::of(trade))?.unwrap_or_default();
    kept.extend(redeemed);
    Ok(write.put(REDEEMED_PROOFS, Key::of(trade), &kept)?)
}

/// The keysets of all coins that the wallet has, or may yet have from swaps.
pub(super) fn keysets_in_use(read: &Read) -> Result<BTreeSet<KeysetId>, StoreError> {
    let mut ids = BTreeSet::new();
    read.visit(COINS, KeyRange::all(), |_, coin| {
        ids.insert(coin.id);
        ControlFlow::Continue(())
    })?;
    read.visit(PURSE, KeyRange::all(), |_, proof| {
        ids.insert(proof.id);
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
