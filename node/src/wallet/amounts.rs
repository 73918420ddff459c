//! Sums of money: what a swap costs, how an amount is made of a keyset's amounts, which coins pay it.

use std::collections::BTreeMap;

use guilder_protocol::locks::Keyset;

/// What the mint keeps of inputs with these fees (NUT-02, "Fees"), or `None` if no number says it.
pub(super) fn input_fee(ppks: impl IntoIterator<Item = u64>) -> Option<u64> {
    Some(ppks.into_iter().try_fold(0_u64, u64::checked_add)?.div_ceil(1_000))
}

/// `amount` as the fewest of the keyset's amounts, smallest first; `None` if they can't make it.
///
/// A keyset's amounts each divide the next (powers of two, as a rule), so taking the largest that fits is the fewest.
pub(super) fn split(amount: u64, keyset: &Keyset) -> Option<Vec<u64>> {
    let mut parts = Vec::new();
    let mut left = amount;
    for part in keyset.keys().keys().keys().rev().map(|part| part.to_u64()) {
        while left >= part && parts.len() < MAX_PARTS {
            parts.push(part);
            left -= part;
        }
    }
    parts.reverse();
    (left == 0).then_some(parts)
}

/// More parts than any amount needs in powers of two; a keyset with poorer amounts can't make it.
const MAX_PARTS: usize = 128;

/// The parts of a lock that leaves `price` after the mint's fee for redeeming it: the fewest, and not a unit more than
/// that. `None` if it takes more than `max_parts`.
pub(super) fn lock_parts(price: u64, keyset: &Keyset, max_parts: usize) -> Option<Vec<u64>> {
    (1..=max_parts).find_map(|count| {
        let due = price.checked_add(input_fee(std::iter::repeat_n(keyset.input_fee_ppk(), count))?)?;
        split(due, keyset).filter(|parts| parts.len() <= count)
    })
}

/// How many of each amount to take so that they make exactly `amount`, from what is `available`; `None` if they don't.
pub(super) fn exact(amount: u64, available: &BTreeMap<u64, usize>) -> Option<BTreeMap<u64, usize>> {
    let mut taken = BTreeMap::new();
    let mut left = amount;
    for (&part, &count) in available.iter().rev().filter(|(part, _)| **part > 0) {
        let take = usize::try_from(left / part).unwrap_or(usize::MAX).min(count);
        if take > 0 {
            taken.insert(part, take);
            left -= part * take as u64;
        }
    }
    (left == 0).then_some(taken)
}

/// What to take from a purse's coins of one keyset so that `price` is left after the fee, without giving any away.
pub(super) fn pick_lock(
    price: u64,
    ppk: u64,
    available: &BTreeMap<u64, usize>,
    max_parts: usize,
) -> Option<BTreeMap<u64, usize>> {
    (1..=max_parts).find_map(|count| {
        let due = price.checked_add(input_fee(std::iter::repeat_n(ppk, count))?)?;
        exact(due, available).filter(|taken| taken.values().sum::<usize>() <= count)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn stock(parts: &[u64]) -> BTreeMap<u64, usize> {
        let mut stock = BTreeMap::new();
        parts.iter().for_each(|part| *stock.entry(*part).or_default() += 1);
        stock
    }

    #[test]
    fn fees_round_up_over_all_inputs() {
        assert_eq!(input_fee([]), Some(0));
        assert_eq!(input_fee([100; 10]), Some(1));
        assert_eq!(input_fee([100; 11]), Some(2));
        assert_eq!(input_fee([u64::MAX, 1]), None);
    }

    #[test]
    fn a_lock_pays_the_fee_of_its_own_parts() {
        // 7 and a fee of 1 for up to ten proofs: one proof of 8.
        assert_eq!(pick_lock(7, 100, &stock(&[8, 4, 2, 1]), 10).unwrap(), stock(&[8]));
        // Without the 8: three proofs make 7, one more makes 8.
        assert_eq!(pick_lock(7, 100, &stock(&[4, 2, 1, 1]), 10).unwrap(), stock(&[4, 2, 1, 1]));
        // Never a unit too much.
        assert_eq!(pick_lock(7, 0, &stock(&[8, 4]), 10), None);
        assert_eq!(pick_lock(7, 0, &stock(&[4, 2, 1]), 2), None);
    }

    proptest! {
        #[test]
        fn what_is_picked_leaves_the_price(
            price in 1_u64..200, ppk in 0_u64..2_000, parts in prop::collection::vec(0_u32..8, 0..20), max in 1_usize..12,
        ) {
            let parts: Vec<u64> = parts.into_iter().map(|bit| 1 << bit).collect();
            let available = stock(&parts);
            if let Some(taken) = pick_lock(price, ppk, &available, max) {
                let count: usize = taken.values().sum();
                let sum: u64 = taken.iter().map(|(part, count)| part * *count as u64).sum();
                prop_assert!(count <= max);
                prop_assert!(sum >= price + input_fee(std::iter::repeat_n(ppk, count)).unwrap());
                prop_assert!(taken.iter().all(|(part, count)| available[part] >= *count));
            }
        }
    }
}
