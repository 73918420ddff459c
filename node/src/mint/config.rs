//! What an operator says about the mint: the `[mint]` table of the config file.

use std::net::SocketAddr;

use guilder_protocol::market::Unit;
use serde::{Deserialize, Serialize};

use super::MintError;

/// The hosted mint's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MintConfig {
    /// Whether the node hosts a mint at all. It is served to peers as `p2p://mint/<peer id>`.
    pub host: bool,
    /// Where it is served over HTTP too, for any Cashu wallet; nowhere if not set. Put a TLS proxy before a public one.
    pub http: Option<SocketAddr>,
    /// Shown by wallets.
    pub name: String,
    /// Shown by wallets. Say what backs the money.
    pub description: String,
    /// What it issues.
    pub units: Vec<MintUnit>,
    /// How long an invoice can be paid and a melt quote be used, in seconds.
    pub quote_ttl_secs: u64,
}

/// One unit of the mint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MintUnit {
    /// `sat`, or an own name.
    pub unit: Unit,
    /// What the mint keeps of each proof spent, in thousandths of a unit (NUT-02). A change of it begins a new keyset.
    pub input_fee_ppk: u64,
    /// The least that can be minted or melted at once.
    pub min_amount: u64,
    /// The most that can be minted or melted at once.
    pub max_amount: u64,
    /// Where the money comes from and goes to.
    pub backend: Backend,
    /// Play money: seconds after which an invoice pays itself. Until then a melt at this mint can pay it.
    pub pays_itself_after_secs: u64,
}

/// What stands behind a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Nothing: invoices pay themselves. For tests, demonstrations and closed circles.
    Play,
}

impl Default for MintConfig {
    fn default() -> Self {
        Self {
            host: false,
            http: None,
            name: "Guilder mint".into(),
            description: "Play money: worth nothing outside this mint.".into(),
            units: vec![MintUnit::default()],
            quote_ttl_secs: 3_600,
        }
    }
}

impl Default for MintUnit {
    fn default() -> Self {
        Self {
            unit: Unit::try_from("play".to_owned()).unwrap_or_else(|_| unreachable!("four lower-case letters")),
            input_fee_ppk: 0,
            min_amount: 1,
            max_amount: 1_000_000,
            backend: Backend::Play,
            pays_itself_after_secs: 0,
        }
    }
}

impl MintConfig {
    /// # Errors
    /// If no mint can be made of it.
    pub(super) fn check(&self) -> Result<(), MintError> {
        let mut units: Vec<_> = self.units.iter().map(|unit| &unit.unit).collect();
        units.sort_unstable();
        units.dedup();
        if units.is_empty() || units.len() < self.units.len() {
            return Err(MintError::Config("it needs one unit or more, each named once"));
        }
        if self.units.iter().any(|unit| unit.min_amount == 0 || unit.min_amount > unit.max_amount) {
            return Err(MintError::Config("min_amount must be at least 1 and at most max_amount"));
        }
        if self.units.iter().any(|unit| unit.max_amount > MAX_AMOUNT) {
            return Err(MintError::Config("max_amount must be at most 1 000 000 000 000"));
        }
        if self.units.iter().any(|unit| unit.input_fee_ppk > 1_000_000) {
            return Err(MintError::Config("input_fee_ppk must be at most 1 000 000"));
        }
        if self.quote_ttl_secs < 60 {
            return Err(MintError::Config("quote_ttl_secs must be at least 60"));
        }
        Ok(())
    }
}

/// An invoice counts in thousandths of this in 64 bits, with room to add.
const MAX_AMOUNT: u64 = 1_000_000_000_000;
