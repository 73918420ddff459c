//! Where the money of one unit is that can't be spent now, and when it falls back: so that one's own money never looks lost.

use std::{collections::BTreeMap, fmt};

use guilder_protocol::{
    market::Unit,
    time::{SKEW_SECS, Timestamp},
};

use super::{
    ledger::Balance,
    records::{AT_RISK, BATCHES, PURSE, PurseCoin, REFUNDS, batch_id},
};
use crate::store::{KeyRange, Read, Reader, StoreError};

/// Moments that are named of each kind; the rest stands together.
const NAMED: usize = 3;

/// What a wallet holds in one unit, at all its mints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    unit: Unit,
    spendable: u64,
    earned: u64,
    pending: u64,
    /// By what it is kept for, then by when it falls back.
    locked: BTreeMap<Locked, BTreeMap<Timestamp, u64>>,
}

/// Money that only a locktime gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Locked {
    /// Set aside for a seller, and not given to it.
    Purse,
    /// With a seller whose work isn't done.
    AtRisk,
    /// Of a failed task.
    Waiting,
}

impl Whereabouts {
    /// Reads all that is locked.
    pub(super) fn read(read: &Read, balances: &[Balance], unit: &Unit) -> Result<Self, StoreError> {
        let mut found = Self { unit: unit.clone(), spendable: 0, earned: 0, pending: 0, locked: BTreeMap::new() };
        for balance in balances.iter().filter(|balance| balance.unit == *unit) {
            found.spendable = found.spendable.saturating_add(balance.spendable);
            found.earned = found.earned.saturating_add(balance.unredeemed);
            found.pending = found.pending.saturating_add(balance.pending);
        }
        let batches: BTreeMap<_, _> = read
            .range(BATCHES, KeyRange::all(), usize::MAX)?
            .into_iter()
            .filter(|(_, batch)| batch.currency.unit == *unit)
            .filter_map(|(key, batch)| Some((batch_id(key.get(8..)?)?, batch.conditions.locktime())))
            .collect();
        for (key, PurseCoin { proof, .. }) in read.range(PURSE, KeyRange::all(), usize::MAX)? {
            if let Some(locktime) = batch_id(&key).and_then(|id| batches.get(&id)) {
                found.add(Locked::Purse, *locktime, proof.amount);
            }
        }
        for (table, kind) in [(AT_RISK, Locked::AtRisk), (REFUNDS, Locked::Waiting)] {
            for (_, lock) in read.range(table, KeyRange::all(), usize::MAX)? {
                if lock.currency.unit == *unit {
                    found.add(kind, lock.conditions.locktime(), lock.amount());
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, kind: Locked, locktime: Timestamp, amount: u64) {
        // A lock is spent once no clock within the tolerated skew can say otherwise.
        let back = locktime.saturating_add(SKEW_SECS + 1);
        let sum = self.locked.entry(kind).or_default().entry(back).or_default();
        *sum = sum.saturating_add(amount);
    }

    /// Whether there is anything to be told: money that is there and can't be spent.
    pub fn is_empty(&self) -> bool {
        self.locked.is_empty() && self.earned == 0 && self.pending == 0
    }
}

/// A sentence; amounts beside what they are.
impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, spendable, earned, pending, locked } = self;
        write!(f, "this wallet has {spendable} {unit} to spend")?;
        for (kind, moments) in locked {
            let sum = moments.values().fold(0_u64, |sum, amount| sum.saturating_add(*amount));
            let what = match kind {
                Locked::Purse => "set aside in the purse for sellers that were hired",
                Locked::AtRisk => "locked to sellers at work",
                Locked::Waiting => "of tasks that failed, waiting for the locktime",
            };
            write!(f, "; {sum} {unit} {what} (")?;
            for (index, (back, amount)) in moments.iter().take(NAMED).enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{amount} can fall back at {back}")?;
            }
            match moments.len().saturating_sub(NAMED) {
                0 => f.write_str(")")?,
                _ => {
                    let rest = moments.values().skip(NAMED).fold(0_u64, |sum, amount| sum.saturating_add(*amount));
                    write!(f, ", {rest} later)")?;
                }
            }
        }
        if *earned > 0 {
            write!(f, "; {earned} {unit} earned and not redeemed yet")?;
        }
        if *pending > 0 {
            write!(f, "; {pending} {unit} on the way between this node and a mint")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_that_cannot_be_spent_is_named_with_the_moment_that_gives_it_back() {
        let mut held =
            Whereabouts { unit: "sat".parse().unwrap(), spendable: 2, earned: 0, pending: 0, locked: BTreeMap::new() };
        assert!(held.is_empty());
        assert_eq!(held.to_string(), "this wallet has 2 sat to spend");
        let at = |hours: u64| Timestamp::from_secs(1_767_225_600 + hours * 3_600);
        for hours in 0..5 {
            held.add(Locked::Purse, at(hours), 8);
        }
        held.add(Locked::Waiting, at(1), 3);
        held.add(Locked::Waiting, at(1), 4);
        (held.earned, held.pending) = (9, 1);
        assert!(!held.is_empty());
        assert_eq!(
            held.to_string(),
            "this wallet has 2 sat to spend; 40 sat set aside in the purse for sellers that were hired (8 can fall back \
             at 2026-01-01T00:01:01Z, 8 can fall back at 2026-01-01T01:01:01Z, 8 can fall back at 2026-01-01T02:01:01Z, \
             16 later); 7 sat of tasks that failed, waiting for the locktime (7 can fall back at 2026-01-01T01:01:01Z); \
             9 sat earned and not redeemed yet; 1 sat on the way between this node and a mint"
        );
    }
}
