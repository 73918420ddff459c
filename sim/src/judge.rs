//! What must hold, whatever happens: checked throughout the run and at its end.
//!
//! ```text
//! throughout   each mint's books balance; each wallet's tables are what its account says; tables within bounds
//! at the end   coins    what a mint has issued and not taken back is in somebody's wallet, coin by coin
//!              counted  no wallet counts on money that was spent, whatever other homes its phrase had
//!              tokens   none is worth anything that is forged, foreign or was taken before
//!              trades   every award came to an outcome; what an honest seller delivered is what was asked for
//!              receipt  none without work;   payment: none without an award
//!              accepted, received   whoever has an output has its seller's acceptance, and has signed that it is here
//!              double   no seller worked twice for the same proofs
//!              loss     who plays by the rules loses to a cheat the price of that call, to a mint that lies what it gives
//!                       credit for, and to nobody else anything
//!              audit    every finished task's bundle verifies
//!              escrow   no money in escrow went to anybody whose buyer hasn't got the output that it committed to
//!              budget   what is passed on keeps to each delegation, however many awards are made at once
//!              duty     every due moment of a standing order has one outcome, every run is over and within its budget
//!              answers  an honest party that a bundle names did what the bundle says
//!              rest     nothing is open any more: no trade, no swap but at a mint that has lied
//! ```
//!
//! Each rule is a function of what is seen, tested against what it is to catch.

mod chains;
mod money;
mod sales;
mod trades;

use std::collections::{BTreeMap, BTreeSet};

use guilder::{
    catalogue::MAX_ADVERTS,
    network::{CONNECTIONS_SLACK, RESERVED_CONNECTIONS},
    trade::MAX_OPEN_TRADES,
};

pub use self::{
    chains::{Awarded, Worked, judge_answer, judge_budgets},
    money::{Coins, accounted_for, coins_of, counted_twice},
    sales::{Credit, Sale, judge_sales},
    trades::{Seen, judge_trade},
};
use crate::{cast::Cast, fabric::HostId, mint::ModelMint, results::Violation, world::World};

/// Violations that are kept; what goes wrong a thousand times is one finding.
const KEPT: usize = 50;

/// Collects what was broken.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    violations: Vec<Violation>,
    said: BTreeSet<(String, String)>,
    /// What each host had written when its wallet was last found in order.
    audited: BTreeMap<HostId, u64>,
}

impl Judge {
    /// Says that a rule is broken. The same again is said once.
    pub fn accuse(&mut self, at_ms: u64, rule: &str, what: String, last_events: Vec<String>) {
        let new = self.said.insert((rule.to_owned(), what.clone()));
        if new && self.violations.len() < KEPT {
            self.violations.push(Violation { at_ms, rule: rule.to_owned(), what, last_events });
        }
    }

    /// What was broken.
    pub fn verdict(self) -> Vec<Violation> {
        self.violations
    }

    /// Whether anything was broken so far.
    pub fn has_found(&self) -> bool {
        !self.violations.is_empty()
    }

    /// What holds at every moment. Reads and changes nothing, so that it may look as often as it likes.
    pub fn look(&mut self, world: &World, cast: &Cast, at_ms: u64) {
        for mint in world.mints().values() {
            self.books(mint, at_ms);
        }
        for host in world.hosts() {
            let Some(node) = world.node(host) else { continue };
            // What it has written is what a wallet is: the same again needs no second look.
            let written = world.written(host);
            let audit = if self.audited.get(&host) == Some(&written) {
                Ok(Ok(()))
            } else {
                node.wallet.audit().map(|found| found.map(drop))
            };
            match audit {
                Ok(Ok(())) => _ = self.audited.insert(host, written),
                Ok(Err(fault)) => self.accuse(at_ms, "wallet", format!("host {}: {fault}", host.0), Vec::new()),
                Err(error) => self.accuse(at_ms, "store", format!("host {}: {error}", host.0), Vec::new()),
            }
            self.bound(host, "open trades", node.trade.open_count(), MAX_OPEN_TRADES, at_ms);
            self.bound(host, "adverts", node.catalogue.known(), MAX_ADVERTS, at_ms);
            if cast.is_honest(host) {
                let most = (node.config.network.high_water + CONNECTIONS_SLACK + RESERVED_CONNECTIONS) as usize;
                self.bound(host, "peers", node.network.connected(), most, at_ms);
            }
        }
    }

    fn books(&mut self, mint: &ModelMint, at_ms: u64) {
        let totals = mint.totals();
        if !totals.balances() {
            self.accuse(at_ms, "mint", format!("{}: its books don't balance: {totals:?}", mint.url()), Vec::new());
        }
    }

    fn bound(&mut self, host: HostId, what: &str, found: usize, most: usize, at_ms: u64) {
        if found > most {
            self.accuse(at_ms, "bounds", format!("host {}: {found} {what}, at most {most}", host.0), Vec::new());
        }
    }

    /// Whether all coins of a mint are in somebody's wallet, those of dead nodes too. At any moment: what a call under way has
    /// done at the mint is in its wallet's records already, as what is due. Of a mint that has lied, as
    /// much is missing as wallets say that they have lost to it.
    pub fn coins(&mut self, world: &World, mint: &ModelMint, has_lied: bool, at_ms: u64) {
        let (mut coins, mut lost) = (Coins::default(), 0);
        for host in world.hosts() {
            match world.holdings(host) {
                Ok(holdings) => coins.add(|url| mint.is_at(url), holdings),
                Err(error) => self.accuse(at_ms, "store", format!("host {}: {error}", host.0), Vec::new()),
            }
            let balances = world.node(host).and_then(|node| node.wallet.balances().ok()).unwrap_or_default();
            lost += balances
                .iter()
                .filter(|had| has_lied && mint.is_at(&had.mint))
                .map(|had| had.account.lost)
                .sum::<u64>();
        }
        let (held, totals) = (mint.look(|books| coins_of(&coins, books)), mint.totals());
        if !accounted_for(held, totals.outstanding(), lost) {
            let (url, issued) = (mint.url(), totals.outstanding());
            let what =
                format!("{url}: {held} in all wallets, {issued} issued and not taken back, {lost} lost ({totals:?})");
            self.accuse(at_ms, "coins", what, Vec::new());
        }
    }

    /// Whether no wallet that has synced counts on money that was spent.
    pub fn counted(&mut self, world: &World, mint: &ModelMint, at_ms: u64) {
        for host in world.hosts() {
            let Some(node) = world.node(host) else { continue };
            let Ok(held) = node.wallet.holdings() else { continue };
            let held: Vec<_> = held.into_iter().filter(|held| mint.is_at(&held.mint)).collect();
            let twice = mint.look(|books| counted_twice(&held, books));
            if twice > 0 {
                let what = format!("host {}: {twice} of what it could spend was spent at {}", host.0, mint.url());
                self.accuse(at_ms, "counted", what, Vec::new());
            }
        }
    }

    /// Whether nothing is under way any more: no trade, and no swap at a mint that has told the truth.
    pub fn rest(&mut self, world: &World, cast: &Cast, liars: bool, at_ms: u64) {
        for host in world.hosts().filter(|host| cast.is_honest(*host)) {
            let Some(node) = world.node(host) else { continue };
            let (trades, swaps) = (node.trade.open_count(), node.wallet.swaps_in_flight().unwrap_or(1));
            if trades > 0 || (swaps > 0 && !liars) {
                let what = format!("host {}: {trades} trades and {swaps} swaps are still open", host.0);
                self.accuse(at_ms, "rest", what, Vec::new());
            }
        }
    }
}
