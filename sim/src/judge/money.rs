//! Counting coins over all wallets: each once, whoever has a copy.

use std::collections::BTreeMap;

use guilder::wallet::{HeldCoin, Holding};
use guilder_protocol::market::MintUrl;

use crate::mint::Books;

/// Every coin of one mint that some wallet has, with what it is worth.
#[derive(Clone, Debug, Default)]
pub struct Coins(BTreeMap<HeldCoin, u64>);

impl Coins {
    /// Adds what a wallet has of that mint.
    pub fn add(&mut self, mint: &MintUrl, holdings: impl IntoIterator<Item = Holding>) {
        let ours = holdings.into_iter().filter(|holding| holding.mint == *mint);
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
