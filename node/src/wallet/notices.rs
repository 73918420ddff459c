//! What the wallet tells the node's event stream.

use guilder_protocol::{fault::Fault, market::MintUrl};

use super::records::{Currency, Destination, Operation, Purpose};
use crate::events::{Event, Events, Money, SwapPurpose};

/// The event stream, in the wallet's terms.
#[derive(Clone, Debug)]
pub(super) struct Notices(Events);

impl Notices {
    pub(super) fn new(events: Events) -> Self {
        Self(events)
    }

    /// An operation has come to be.
    pub(super) fn done(&self, record: &Operation) {
        let Operation { currency, fee, purpose, .. } = record;
        let (mint, fee) = (currency.mint.to_string(), *fee);
        let made = |to| money(currency, record.output_sum(to));
        let coins = made(Destination::Coins);
        self.0.emit(match purpose {
            Purpose::Redeem { trades } => Event::Redeemed { mint, trades: trades.len() as u64, sum: coins, fee },
            Purpose::Refund { .. } => Event::Refunded { mint, sum: coins, fee },
            Purpose::Receive { .. } => Event::Swapped { mint, purpose: SwapPurpose::Receive, sum: coins, fee },
            Purpose::Renew => Event::Swapped { mint, purpose: SwapPurpose::Renew, sum: coins, fee },
            Purpose::Send => Event::Swapped { mint, purpose: SwapPurpose::Send, sum: made(Destination::Token), fee },
            Purpose::Refill { .. } => {
                Event::Swapped { mint, purpose: SwapPurpose::Refill, sum: made(Destination::Purse), fee }
            }
            Purpose::Mint { .. } => Event::Funded { mint, sum: coins },
            Purpose::Melt { amount, .. } => {
                Event::Swapped { mint, purpose: SwapPurpose::Pay, sum: money(currency, *amount), fee }
            }
        });
    }

    /// A lock is ready to pay with.
    pub(super) fn locked(&self, currency: &Currency, amount: u64, from_purse: bool) {
        let (mint, sum) = (currency.mint.to_string(), money(currency, amount));
        self.0.emit(Event::Locked { mint, sum, from_purse });
    }

    /// Coins were found that this wallet's phrase once made.
    pub(super) fn restored(&self, currency: &Currency, amount: u64) {
        if amount > 0 {
            self.0.emit(Event::Funded { mint: currency.mint.to_string(), sum: money(currency, amount) });
        }
    }

    /// A mint is down, slow, or says what can't be true.
    pub(super) fn mint_trouble(&self, mint: &MintUrl, reason: String) {
        self.0.emit(Event::MintTrouble { mint: mint.to_string(), reason });
    }

    /// Money can't be moved or is lost.
    pub(super) fn money_trouble(&self, mint: &MintUrl, fault: Fault, reason: String) {
        self.0.emit(Event::MoneyTrouble { mint: mint.to_string(), fault, reason });
    }
}

fn money(currency: &Currency, amount: u64) -> Money {
    Money { amount, unit: currency.unit.to_string() }
}
