//! What is sold, who buys it, whose money pays for it, and who cheats.

use guilder::trade::HireMode;
use serde::{Deserialize, Serialize};

/// What is sold. Service 0 is the most wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// How many kinds there are; each seller has `per_seller` of them, dealt round.
    pub count: u32,
    /// How many a seller sells.
    pub per_seller: u32,
    /// What sellers ask, in sat: from, to; each seller's own price is drawn evenly.
    pub price_sat: [u64; 2],
    /// How long a task takes, in virtual milliseconds: from, to; drawn evenly for each task.
    pub work_ms: [u64; 2],
    /// The share of tasks whose work fails honestly.
    pub fails: f64,
    /// What sellers pass on to others, if they do.
    pub chains: Option<Chains>,
}

/// Work that passes parts of itself on to sellers that buyers never ask: `count` kinds more at each level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chains {
    /// How many levels there are beneath what buyers want.
    pub depth: u32,
    /// How many parts a work passes on: from, to; drawn evenly for each.
    pub hires: [u64; 2],
    /// What each may spend on its parts, as a share of what they cost at the most.
    #[serde(default = "whole")]
    pub budget_share: f64,
}

fn whole() -> f64 {
    1.0
}

impl Services {
    /// How many kinds are sold, those that work is passed on to among them.
    pub fn kinds(&self) -> u32 {
        self.count * (1 + self.chains.as_ref().map_or(0, |chains| chains.depth))
    }
}

impl Default for Services {
    fn default() -> Self {
        Self { count: 4, per_seller: 1, price_sat: [5, 20], work_ms: [100, 2_000], fails: 0.0, chains: None }
    }
}

/// Who buys what, when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// How tasks are paid. In escrow the moments after a deadline come soon: see docs/simulator.md.
    pub mode: Payment,
    /// How wishes come.
    pub arrivals: Arrivals,
    /// Wishes per buying node and virtual minute; 0 for no trade.
    pub per_buyer_minute: f64,
    /// How much more wanted the first services are: the exponent of Zipf's law; 0 for all alike.
    pub popularity: f64,
    /// How many kinds of service a buyer ever wants; 0 for all. Which, is drawn by `popularity` for each.
    pub kinds_per_buyer: u32,
    /// The most a buyer pays, in sat.
    pub budget_sat: u64,
    /// How long after the wish the output is still of use, in virtual seconds.
    pub deadline_s: u64,
    /// Size of each input, in bytes: from, to; drawn evenly.
    pub input_bytes: [u64; 2],
    /// What each buyer has to spend at the start, in sat.
    pub purse_sat: u64,
    /// A while of many more wishes.
    pub burst: Option<Burst>,
    /// A standing order of every buyer, beside its wishes.
    pub duties: Option<Duties>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            mode: Payment::Prepaid,
            arrivals: Arrivals::Poisson,
            per_buyer_minute: 0.0,
            popularity: 1.0,
            kinds_per_buyer: 0,
            budget_sat: 50,
            deadline_s: 30,
            input_bytes: [32, 512],
            purse_sat: 2_000,
            burst: None,
            duties: None,
        }
    }
}

/// A standing order: a service is bought whenever it is due, within a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duties {
    /// When, as a cron pattern.
    pub cron: String,
    /// In which zone.
    #[serde(default = "utc")]
    pub zone: String,
    /// What becomes of missed moments: `last`, `each` or `skip`.
    #[serde(default = "last")]
    pub missed: String,
    /// The most that one run may cost, in sat.
    pub run_sat: u64,
    /// The most that a day may.
    pub day_sat: u64,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn last() -> String {
    "last".to_owned()
}

impl Duties {
    /// The duty's file, for a service that may cost so much.
    pub fn file(&self, service: &str, max_price: u64) -> String {
        let Self { cron, zone, missed, run_sat, day_sat } = self;
        format!(
            "name = \"standing\"\non = [{{ cron = \"{cron}\", zone = \"{zone}\", missed = \"{missed}\" }}]\n\
             budget = {{ unit = \"sat\", run = {run_sat}, day = {day_sat} }}\n[[step]]\nhire = \"{service}\"\n\
             text = \"{{{{run.due}}}}\"\nmax_price = {max_price}\ndeadline = \"30s\"\nmode = \"prepaid\"\n"
        )
    }
}

/// How tasks are paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payment {
    /// In advance.
    #[default]
    Prepaid,
    /// Against the sealed output.
    Escrow,
    /// In escrow with strangers, in advance to who has earned it.
    Auto,
}

impl From<Payment> for HireMode {
    fn from(payment: Payment) -> Self {
        match payment {
            Payment::Prepaid => Self::Prepaid,
            Payment::Escrow => Self::Escrow,
            Payment::Auto => Self::Auto,
        }
    }
}

/// How wishes come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Each independent of all others.
    #[default]
    Poisson,
    /// At even intervals, each buyer with its own offset.
    Even,
}

/// A while of many more wishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// When it begins.
    pub at_s: u64,
    /// How long it lasts.
    pub for_s: u64,
    /// How many times the usual rate.
    pub times: f64,
    /// Whether everyone wants service 0.
    #[serde(default)]
    pub one_service: bool,
}

/// Whose money. Everyone accepts all mints; buyers' money is dealt round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mints {
    /// How many there are.
    pub count: u32,
    /// Where they stand, dealt round; empty for all of the topology's regions.
    pub regions: Vec<String>,
    /// How long a mint itself takes to answer, in virtual milliseconds: from, to; drawn evenly. The way there and back,
    /// and CPU when it is busy, come on top.
    pub answer_ms: [u64; 2],
    /// The share of requests that a mint carries out and whose answer is lost.
    pub lose_replies: f64,
    /// What it charges per thousand inputs (NUT-02).
    pub fee_ppk: u64,
    /// Whether each has a second URL, through a proxy on a host of its own. Every other buyer's money comes that way.
    pub proxied: bool,
}

impl Default for Mints {
    fn default() -> Self {
        Self { count: 1, regions: Vec::new(), answer_ms: [20, 80], lose_replies: 0.0, fee_ppk: 0, proxied: false }
    }
}

/// Some nodes that cheat alike. They are taken from the population's `nodes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversaries {
    /// What they do.
    pub behaviour: Adversary,
    /// How many.
    pub count: u32,
    /// For those that flood, forge or lock twice: how often a second.
    #[serde(default = "often")]
    pub per_second: f64,
}

fn often() -> f64 {
    1.0
}

/// A cheat: a real node with one behaviour replaced, or bytes that no node would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adversary {
    /// A seller that takes the award and is never heard of again.
    SellerVanishes,
    /// A seller that delivers what was not asked for.
    SellerDeliversGarbage,
    /// A seller that delivers another task's output again: with that task's receipt, which is turned down, then with a new one.
    SellerReplays,
    /// A seller that delivers after the deadline.
    SellerIsLate,
    /// In escrow, a seller that redeems what is released to it, and keeps the key to itself.
    SellerKeepsKey,
    /// In escrow, a seller that delivers, and never redeems what is released to it.
    SellerNeverRedeems,
    /// In escrow, a buyer that takes what is delivered and never releases the money.
    BuyerWithholdsRelease,
    /// A buyer that shows one lock to several sellers and for several offers, before and after it is redeemed.
    BuyerDoubleLocks,
    /// A buyer that asks and asks and never awards.
    BuyerFloodsAsks,
    /// A peer that gossips adverts with forged signatures.
    ForgesGossip,
    /// Many identities that advertise every service at the lowest price and turn everyone away.
    SybilAdverts,
    /// Identities next to one buyer in Kademlia's key space, and next to the most wanted service's key, that answer look-ups
    /// with each other.
    Eclipse,
    /// A peer that sends bytes that are no frames.
    SendsGarbage,
    /// A peer that opens connections to one seller and says nothing on them.
    HoldsConnections,
    /// A peer that opens connections to one seller and sends a byte now and then.
    Drips,
    /// A peer that gossips adverts of ever new identities, each validly signed.
    FloodsGossip,
    /// A buyer that takes an offer and awards it again and again, with money that isn't.
    FloodsAwards,
    /// An identity that leaves provider records for keys that nobody asks for.
    FloodsRecords,
    /// An identity that answers look-ups with peers that don't exist, at addresses where others are.
    NamesStrangers,
}

impl Adversary {
    /// Whether it speaks libp2p's protocols without a node, which couldn't be built to do this.
    pub fn has_no_node(self) -> bool {
        matches!(self, Self::Eclipse | Self::FloodsRecords | Self::NamesStrangers)
    }
}
