//! What the wallet tells the node's event stream.

use guilder_protocol::{fault::Fault, market::MintUrl};

use super::{
    Inner,
    coin::sum,
    records::{Destination, Pocket, Purpose, SwapRecord},
};
use crate::events::{Event, Money, SwapPurpose};

impl Inner {
    /// A swap has come to be.
    pub(super) fn tell_swap(&self, record: &SwapRecord) {
        let SwapRecord { pocket: Pocket { mint, .. }, fee, purpose, .. } = record;
        let (mint, fee) = (mint.to_string(), *fee);
        let made = |to| sum(record.outputs.iter().filter(|output| output.to == to).map(|output| &output.amount));
        let money = |amount| money(&record.pocket, amount);
        let coins = money(made(Destination::Coins));
        self.events.emit(match purpose {
            Purpose::Redeem { trades } => Event::Redeemed { mint, trades: trades.len() as u64, sum: coins, fee },
            Purpose::Sweep { .. } => Event::Refunded { mint, sum: coins, fee },
            Purpose::Receive => Event::Swapped { mint, purpose: SwapPurpose::Receive, sum: coins, fee },
            Purpose::Send => {
                Event::Swapped { mint, purpose: SwapPurpose::Send, sum: money(made(Destination::Token)), fee }
            }
            Purpose::Refill { .. } => {
                Event::Swapped { mint, purpose: SwapPurpose::Refill, sum: money(made(Destination::Purse)), fee }
            }
        });
    }

    /// A lock is ready to pay with.
    pub(super) fn tell_locked(&self, pocket: &Pocket, amount: u64, from_purse: bool) {
        let (mint, sum) = (pocket.mint.to_string(), money(pocket, amount));
        self.events.emit(Event::Locked { mint, sum, from_purse });
    }

    /// Coins came in from outside.
    pub(super) fn tell_funded(&self, pocket: &Pocket, amount: u64) {
        self.events.emit(Event::Funded { mint: pocket.mint.to_string(), sum: money(pocket, amount) });
    }

    /// A mint is down, slow, or says what can't be true.
    pub(super) fn tell_mint_trouble(&self, mint: &MintUrl, reason: String) {
        self.events.emit(Event::MintTrouble { mint: mint.to_string(), reason });
    }

    /// Money can't be moved or is lost.
    pub(super) fn tell_money_trouble(&self, mint: &MintUrl, fault: Fault, reason: String) {
        self.events.emit(Event::MoneyTrouble { mint: mint.to_string(), fault, reason });
    }
}

fn money(pocket: &Pocket, amount: u64) -> Money {
    Money { amount, unit: pocket.unit.to_string() }
}
