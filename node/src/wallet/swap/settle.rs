//! What a swap changes in the tables: when it is written down, when it has come to be, when it can't.

use std::collections::{BTreeMap, BTreeSet};

use cdk::nuts::Token;
use cid::Cid;
use guilder_protocol::{fault::Fault, locks::LockedProof, time::Timestamp};

use super::super::{
    Inner, WalletError,
    coin::sum,
    connector::MintTrouble,
    pockets::{self, book, coin_key},
    records::{
        BATCHES, BatchRecord, COINS, Coin, DUE, Destination, Due, FAILED, FailedSwap, MoneyOutcome, PURSE, Pocket,
        Purpose, SENT, SWAPS, SentToken, SwapId, SwapRecord, TAKEN, TakenLock, WAITING, Y, batch_key,
    },
    takings,
};
use crate::store::{Key, Reader, Write};

/// What a swap that came to be has made.
#[derive(Clone, Debug)]
pub(in super::super) enum Settled {
    Refilled,
    Sent(SentToken),
    Received { amount: u64, fee: u64 },
    Redeemed,
    Swept,
}

/// Takes the inputs out of the table that they are in. Those of a redemption or a sweep stay where they are, out of
/// anybody else's reach, until the swap has come to be.
pub(super) fn claim(write: &mut Write<'_>, record: &SwapRecord) -> Result<(), WalletError> {
    match &record.purpose {
        Purpose::Refill { .. } | Purpose::Send => {
            for input in &record.inputs {
                pockets::take_coin(write, &record.pocket, input.y)?;
            }
        }
        Purpose::Receive => {}
        Purpose::Redeem { trades } => {
            for trade in trades {
                let taken = write.get(TAKEN, Key::of(trade))?.filter(|taken| !taken.redeeming);
                let taken = taken.ok_or(WalletError::LockGone)?;
                write.delete(DUE, Key::of(taken.locktime).and(trade))?;
                write.put(TAKEN, Key::of(trade), &TakenLock { redeeming: true, ..taken })?;
            }
        }
        Purpose::Sweep { locks, .. } => {
            for lock in locks {
                if !write.contains(WAITING, Key::of(lock.locktime).and(lock.trade))? {
                    return Err(WalletError::LockGone);
                }
            }
        }
    }
    Ok(())
}

/// Stores what the swap made and forgets it, in one transaction.
pub(super) async fn settle(
    inner: &Inner,
    id: SwapId,
    record: &SwapRecord,
    coins: &[Coin],
) -> Result<Settled, WalletError> {
    let (record, coins, now) = (record.clone(), coins.to_vec(), inner.runtime.now());
    let locked = locked(&record, &coins);
    let batch = match &record.purpose {
        Purpose::Refill { seller, terms } => {
            Some(BatchRecord { seller: *seller, pocket: record.pocket.clone(), terms: *terms })
        }
        _ => None,
    };
    let (made, pocket) = (locked.clone(), record.pocket.clone());
    let settled = inner
        .store
        .transact(move |write| {
            if !write.contains(SWAPS, id.0)? {
                return Err(WalletError::LockGone);
            }
            write.delete(SWAPS, id.0)?;
            for (output, coin) in record.outputs.iter().zip(&coins) {
                if output.to == Destination::Coins {
                    write.put(COINS, coin_key(&record.pocket, coin.y().ok_or(WalletError::Unsettled)?), coin)?;
                }
            }
            book(write, &record.pocket, |account| account.fees += record.fee)?;
            settle_purpose(write, id, &record, &coins, &made, now)
        })
        .await?;
    if let Some(batch) = batch {
        inner.purse.add_batch(id, &batch, locked);
    }
    inner.count_funds(&pocket)?;
    Ok(settled)
}

fn locked(record: &SwapRecord, coins: &[Coin]) -> BTreeMap<Y, LockedProof> {
    let pairs = record.outputs.iter().zip(coins).filter(|(output, _)| output.to == Destination::Purse);
    pairs.filter_map(|(_, coin)| Some((coin.y()?, coin.clone().into_locked()?))).collect()
}

fn settle_purpose(
    write: &mut Write<'_>,
    id: SwapId,
    record: &SwapRecord,
    coins: &[Coin],
    locked: &BTreeMap<Y, LockedProof>,
    now: Timestamp,
) -> Result<Settled, WalletError> {
    let pocket = &record.pocket;
    Ok(match &record.purpose {
        Purpose::Refill { seller, terms } => {
            write.put(
                BATCHES,
                batch_key(terms.locktime, id),
                &BatchRecord { seller: *seller, pocket: pocket.clone(), terms: *terms },
            )?;
            for (y, proof) in locked {
                write.put(PURSE, Key::of(id.0).and(y.0), proof)?;
            }
            Settled::Refilled
        }
        Purpose::Send => {
            let given = record.outputs.iter().zip(coins).filter(|(output, _)| output.to == Destination::Token);
            let token = make_token(pocket, given.map(|(_, coin)| coin), now)?;
            write.put(SENT, id.0, &token)?;
            book(write, pocket, |account| account.sent += token.amount)?;
            Settled::Sent(token)
        }
        Purpose::Receive => {
            let received = record.input_sum();
            book(write, pocket, |account| account.received += received)?;
            Settled::Received { amount: received.saturating_sub(record.fee), fee: record.fee }
        }
        Purpose::Redeem { trades } => {
            settle_redeemed(write, record, trades)?;
            Settled::Redeemed
        }
        Purpose::Sweep { .. } => {
            settle_swept(write, record)?;
            Settled::Swept
        }
    })
}

/// Each trade bears the fee of its own proofs; the rounding falls on those that cross a whole unit.
fn settle_redeemed(write: &mut Write<'_>, record: &SwapRecord, trades: &[Cid]) -> Result<(), WalletError> {
    let inputs = record.inputs.len().max(1) as u64;
    let mut counted = 0;
    for trade in trades {
        let taken = write.get(TAKEN, Key::of(trade))?.ok_or(WalletError::LockGone)?;
        let before = counted;
        counted += taken.proofs.len() as u64;
        let share = record.fee * counted / inputs - record.fee * before / inputs;
        let amount = taken.amount().saturating_sub(share);
        takings::forget(write, trade, &taken)?;
        takings::tell(write, *trade, MoneyOutcome::Redeemed { amount })?;
    }
    Ok(())
}

fn settle_swept(write: &mut Write<'_>, record: &SwapRecord) -> Result<(), WalletError> {
    let Purpose::Sweep { locks, batch } = &record.purpose else { return Ok(()) };
    let inputs = record.inputs.len().max(1) as u64;
    let mut counted = 0;
    for lock in locks {
        let key = Key::of(lock.locktime).and(lock.trade);
        let waiting = write.get(WAITING, &key)?.ok_or(WalletError::LockGone)?;
        let before = counted;
        counted += lock.inputs as u64;
        let fee = record.fee * counted / inputs - record.fee * before / inputs;
        let refunded = waiting.amount().saturating_sub(fee);
        write.delete(WAITING, key)?;
        takings::tell(write, lock.trade, MoneyOutcome::Swept { refunded, taken: waiting.taken, fee })?;
    }
    if let Some(batch) = batch {
        for input in &record.inputs[counted as usize..] {
            write.delete(PURSE, Key::of(batch.0).and(input.y.0))?;
        }
    }
    Ok(())
}

/// A token of coins that leave the wallet.
pub(in super::super) fn make_token<'a>(
    pocket: &Pocket,
    coins: impl IntoIterator<Item = &'a Coin>,
    at: Timestamp,
) -> Result<SentToken, WalletError> {
    let coins: Vec<_> = coins.into_iter().collect();
    let proofs: Option<Vec<_>> = coins.iter().map(|coin| coin.to_proof()).collect();
    let proofs = proofs.ok_or(WalletError::Token("a coin on record can't be read"))?;
    let url = pockets::cdk_url(&pocket.mint)?;
    let token = Token::new(url, proofs, None, pockets::currency(&pocket.unit));
    Ok(SentToken {
        token: token.to_string(),
        amount: sum(coins.iter().map(|coin| &coin.amount)),
        mint: pocket.mint.clone(),
        unit: pocket.unit.clone(),
        at,
    })
}

/// Parks a swap that can't come to be, and puts what is still ours of its inputs back where it was.
pub(super) async fn release(
    inner: &Inner,
    id: SwapId,
    record: &SwapRecord,
    spent: &BTreeSet<Y>,
    why: &MintTrouble,
) -> Result<(), WalletError> {
    let (record, spent, why, at) = (record.clone(), spent.clone(), why.to_string(), inner.runtime.now());
    let (pocket, reason) = (record.pocket.clone(), why.clone());
    // Locked to us, it was the buyer's to take back after the locktime; else only whoever has our seed could.
    let fault = if matches!(record.purpose, Purpose::Redeem { .. }) { Fault::Peer } else { Fault::Mint };
    let lost = inner
        .store
        .transact(move |write| {
            if !write.contains(SWAPS, id.0)? {
                return Ok(0);
            }
            write.delete(SWAPS, id.0)?;
            let lost = match &record.purpose {
                Purpose::Refill { .. } | Purpose::Send => release_coins(write, &record, &spent)?,
                Purpose::Receive => 0,
                Purpose::Redeem { trades } => release_taken(write, &record, trades, &spent, &why, at)?,
                Purpose::Sweep { .. } => release_swept(write, &record, &spent)?,
            };
            write.put(FAILED, id.0, &FailedSwap { record, why, at })?;
            Ok::<_, WalletError>(lost)
        })
        .await?;
    if lost > 0 {
        inner.tell_money_trouble(&pocket.mint, fault, format!("{lost} {} lost: {reason}", pocket.unit));
    }
    inner.count_funds(&pocket)
}

fn release_coins(write: &mut Write<'_>, record: &SwapRecord, spent: &BTreeSet<Y>) -> Result<u64, WalletError> {
    let mut lost = 0;
    for input in &record.inputs {
        if spent.contains(&input.y) {
            lost += input.coin.amount;
        } else {
            write.put(COINS, coin_key(&record.pocket, input.y), &input.coin)?;
        }
    }
    book(write, &record.pocket, |account| account.lost += lost)?;
    Ok(lost)
}

/// Each trade is due again with what is unspent of it, on its own this time, so that one that the mint won't have
/// holds up no other.
fn release_taken(
    write: &mut Write<'_>,
    record: &SwapRecord,
    trades: &[Cid],
    spent: &BTreeSet<Y>,
    why: &str,
    now: Timestamp,
) -> Result<u64, WalletError> {
    let mut all_lost = 0;
    for trade in trades {
        let taken = write.get(TAKEN, Key::of(trade))?.ok_or(WalletError::LockGone)?;
        let is_spent = |proof: &LockedProof| proof.y().is_none_or(|y| spent.contains(&y));
        let (gone, left): (Vec<_>, Vec<_>) = taken.proofs.iter().cloned().partition(is_spent);
        let lost = sum(gone.iter().map(|proof| &proof.amount));
        all_lost += lost;
        book(write, &record.pocket, |account| account.lost += lost)?;
        takings::owe_less(write, &taken, lost)?;
        let kept =
            TakenLock { proofs: left, tries: taken.tries + u32::from(spent.is_empty()), redeeming: false, ..taken };
        if kept.proofs.is_empty() {
            takings::forget(write, trade, &kept)?;
            takings::tell(write, *trade, MoneyOutcome::RedeemFailed { why: why.into() })?;
            continue;
        }
        let locktime = kept.locktime;
        let (pocket, proofs) = (record.pocket.clone(), kept.proofs.len());
        let due = Due { trade: *trade, locktime, pocket, proofs, since: now, tries: kept.tries, put_off: 0 };
        write.put(DUE, Key::of(locktime).and(trade), &due)?;
        write.put(TAKEN, Key::of(trade), &kept)?;
    }
    Ok(all_lost)
}

/// What is spent was taken by the seller meanwhile; the rest waits for the next sweep.
fn release_swept(write: &mut Write<'_>, record: &SwapRecord, spent: &BTreeSet<Y>) -> Result<u64, WalletError> {
    let Purpose::Sweep { locks, batch } = &record.purpose else { return Ok(0) };
    let mut counted = 0;
    for lock in locks {
        counted += lock.inputs;
        settle_taken(write, lock.trade, lock.locktime, spent)?;
    }
    let Some(batch) = batch else { return Ok(0) };
    let mut lost = 0;
    for input in record.inputs[counted..].iter().filter(|input| spent.contains(&input.y)) {
        write.delete(PURSE, Key::of(batch.0).and(input.y.0))?;
        lost += input.coin.amount;
    }
    book(write, &record.pocket, |account| account.lost += lost)?;
    Ok(lost)
}

/// Strikes the proofs of a waiting lock that the seller has taken; if those are all, the trade's money is settled.
pub(in super::super) fn settle_taken(
    write: &mut Write<'_>,
    trade: Cid,
    locktime: Timestamp,
    spent: &BTreeSet<Y>,
) -> Result<(), WalletError> {
    let key = Key::of(locktime).and(trade);
    let Some(mut waiting) = write.get(WAITING, &key)? else { return Ok(()) };
    let before = waiting.amount();
    waiting.proofs.retain(|proof| proof.y().is_some_and(|y| !spent.contains(&y)));
    let taken = before - waiting.amount();
    waiting.taken += taken;
    book(write, &waiting.pocket.clone(), |account| account.taken += taken)?;
    if waiting.proofs.is_empty() {
        let outcome = MoneyOutcome::Swept { refunded: 0, taken: waiting.taken, fee: 0 };
        takings::tell(write, trade, outcome)?;
        write.delete(WAITING, key)?;
    } else {
        write.put(WAITING, key, &waiting)?;
    }
    Ok(())
}
