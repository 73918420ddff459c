//! What the operator can set of the wallet. Every default with its reason.

use std::collections::BTreeMap;

use guilder_protocol::{
    invitation::MintPin,
    market::{MintUrl, Unit},
};
use serde::{Deserialize, Serialize};

/// The wallet's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalletConfig {
    /// The mints whose ecash is used and accepted; those of `guilder wallet mints add` come on top. Never taken from a
    /// message.
    pub mints: Vec<MintUrl>,
    /// By which keys a mint must sign when it is first reached, for mints that an invitation named.
    pub pins: BTreeMap<MintUrl, MintPin>,
    /// What is spent when a command names no unit.
    pub unit: Unit,
    /// Seconds between two looks at a mint's keysets, for fees, expiry and rotation.
    pub keyset_refresh_secs: u64,
    /// Seconds that a command waits for a mint before it says that it goes on in the background.
    pub mint_patience_secs: u64,
    /// The buyer's side.
    pub purse: PurseConfig,
    /// The seller's side.
    pub redemption: RedemptionConfig,
}

/// Ecash kept pre-locked to a seller, so that a prepaid call touches no mint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurseConfig {
    /// From this hire on, a seller's purse is filled ahead of need; before it, each lock is made when it is due. One
    /// hire says little about the next; two say a lot.
    pub warm_after_hires: u64,
    /// Most that one purse holds, in its unit. It is out of reach until its locktime.
    pub cap: u64,
    /// Most of the spendable balance that one refill may lock, in percent, so that the first seller doesn't get it all.
    pub max_share_percent: u64,
    /// Most proofs that one refill makes. Mints bound a swap; a batch of 256 costs about 0.1 s of CPU at each end.
    pub batch: usize,
    /// Locks that the first warm refill is for. Each further one doubles it up to `batch` proofs.
    pub first_locks: usize,
    /// Seconds for which a new batch can be used, before what is left waits for its locktime.
    pub life_secs: u64,
    /// Locktimes are multiples of this many seconds, so that batches share them and say little about when they were
    /// made.
    pub bucket_secs: u64,
}

/// Locked ecash accepted from buyers, until it is redeemed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedemptionConfig {
    /// Redeem when so many proofs are due. One swap of 64 costs the mint little more than one of 8.
    pub batch: usize,
    /// Redeem at the latest this many seconds after the first proof is due.
    pub interval_secs: u64,
    /// Redeem at once when the locktime is this near, in seconds: after it the buyer can take the money back. Also what
    /// an offer adds to its deadline as the earliest locktime.
    pub margin_secs: u64,
    /// Escrow: what an offer adds to its deadline, in seconds, for the buyer to release the money; one that is away for longer
    /// gets its money back and nothing else.
    pub release_secs: u64,
    /// Escrow: what an offer leaves after that, in seconds, to redeem at a slow mint.
    pub redeem_secs: u64,
    /// Escrow: what lies between the last redemption and the locktime, in seconds: for clocks that differ, and for an answer of
    /// the mint that takes its time.
    pub escrow_margin_secs: u64,
    /// Most unredeemed value at one mint, per unit: what is lost if that mint fails or lies.
    pub max_per_mint: u64,
    /// Most unredeemed value from one buyer, per mint and unit.
    pub max_per_buyer: u64,
    /// Escrow: most value that one buyer hasn't released, per mint and unit: what is worked for it before it has to show that
    /// it pays.
    pub max_unreleased_per_buyer: u64,
    /// Escrow: most value that all buyers together haven't released beyond what each of them has earned by paying, per mint
    /// and unit.
    pub max_unreleased_shared: u64,
}

impl Default for WalletConfig {
    fn default() -> Self {
        #[allow(clippy::expect_used)] // a constant that a test reads
        let unit = "sat".parse().expect("sat is a unit");
        Self {
            mints: Vec::new(),
            pins: BTreeMap::new(),
            unit,
            keyset_refresh_secs: 600,
            mint_patience_secs: 15,
            purse: PurseConfig::default(),
            redemption: RedemptionConfig::default(),
        }
    }
}

impl Default for PurseConfig {
    fn default() -> Self {
        Self {
            warm_after_hires: 2,
            cap: 10_000,
            max_share_percent: 50,
            batch: 256,
            first_locks: 8,
            life_secs: 2 * 60 * 60,
            bucket_secs: 60 * 60,
        }
    }
}

impl Default for RedemptionConfig {
    fn default() -> Self {
        Self {
            batch: 64,
            interval_secs: 5,
            margin_secs: 30 * 60,
            release_secs: 60 * 60,
            redeem_secs: 15 * 60,
            escrow_margin_secs: 15 * 60,
            max_per_mint: 100_000,
            max_per_buyer: 10_000,
            max_unreleased_per_buyer: 10_000,
            max_unreleased_shared: 100_000,
        }
    }
}
