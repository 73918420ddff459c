//! Counting coins over all wallets: each once, whoever has a copy.

use std::collections::BTreeMap;

use guilder::wallet::{HeldCoin, Holding};
use guilder_protocol::market::MintUrl;

use crate::mint::Books;

/// Every coin of one mint that some wallet has, with what it is worth.
#[derive(Clone, Debug, Default)]
pub struct Coins(BTreeMap<HeldCoin, u64>);

impl Coins {
    /// Adds what a wallet has of a mint that is at these URLs.
    pub fn add(&mut self, is_at: impl Fn(&MintUrl) -> bool, holdings: impl IntoIterator<Item = Holding>) {
        let ours = holdings.into_iter().filter(|holding| is_at(&holding.mint));
        self.0.extend(ours.map(|holding| (holding.coin, holding.amount)));
    }
}

/// What the coins are worth that exist by the mint's books: had and not spent, or due and signed.
///
/// A swap that the mint has done and its wallet doesn't know of yet counts by its outputs, for its inputs are spent.
pub fn coins_of(coins: &Coins, books: &Books) -> u64 {
    let exists = |coin: &HeldCoin| match coin {
        HeldCoin::Had(y) => !books.is_spent(y),
        HeldCoin::Due(blinded) => books.has_signed(blinded),
    };
    coins.0.iter().filter(|(coin, _)| exists(coin)).map(|(_, amount)| amount).sum()
}

/// What a wallet may think that it can spend and that the mint has seen spent: money that would be counted twice.
pub fn counted_twice(holdings: &[Holding], books: &Books) -> u64 {
    let spent = |holding: &&Holding| matches!(&holding.coin, HeldCoin::Had(y) if books.is_spent(y));
    holdings.iter().filter(|holding| !holding.locked).filter(spent).map(|holding| holding.amount).sum()
}

/// Whether wallets hold what is outstanding, but for what they say that they have lost to the mint: to the last coin.
pub fn accounted_for(held: u64, outstanding: i128, lost: u64) -> bool {
    outstanding - i128::from(held) == i128::from(lost)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holding(coin: HeldCoin, amount: u64) -> Holding {
        Holding { mint: "https://mint0.sim".parse().unwrap(), amount, coin, locked: false }
    }

    #[test]
    fn what_is_missing_is_what_is_said_to_be_lost() {
        assert!(accounted_for(10, 10, 0) && accounted_for(7, 10, 3));
        assert!(!accounted_for(11, 10, 0) && !accounted_for(6, 10, 3) && !accounted_for(8, 10, 3));
    }

    #[test]
    fn a_lock_that_both_sides_have_counts_once_and_what_is_spent_not_at_all() {
        let mint: MintUrl = "https://mint0.sim".parse().unwrap();
        let mint = |url: &MintUrl| *url == mint;
        let mut books = Books::new(&[1; 32], 0);
        let mut coins = Coins::default();
        coins.add(mint, [holding(HeldCoin::Had([2; 33]), 8), holding(HeldCoin::Had([3; 33]), 4)]);
        coins.add(mint, [holding(HeldCoin::Had([2; 33]), 8), holding(HeldCoin::Due([4; 33]), 16)]);
        let elsewhere = Holding { mint: "https://mint1.sim".parse().unwrap(), ..holding(HeldCoin::Had([9; 33]), 100) };
        coins.add(mint, [elsewhere]);
        assert_eq!(coins_of(&coins, &books), 12);
        books.spend_for_test([3; 33]);
        assert_eq!(coins_of(&coins, &books), 8);
    }

    #[test]
    fn what_can_be_spent_by_a_wallet_alone_is_counted_twice() {
        let mut books = Books::new(&[1; 32], 0);
        books.spend_for_test([3; 33]);
        let (spent, locked) = (holding(HeldCoin::Had([3; 33]), 4), holding(HeldCoin::Had([3; 33]), 16));
        let held = [holding(HeldCoin::Had([2; 33]), 8), spent, Holding { locked: true, ..locked }];
        assert_eq!(counted_twice(&held, &books), 4);
    }
}
