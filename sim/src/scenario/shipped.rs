//! The scenarios that come with the program.

use std::{fs, path::Path};

use super::{Scenario, ScenarioError};

/// A shipped scenario: its name and its file.
pub const SHIPPED: [(&str, &str); 39] = [
    ("steady-market", include_str!("../../scenarios/steady-market.toml")),
    ("flash-crowd", include_str!("../../scenarios/flash-crowd.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("region-partition", include_str!("../../scenarios/region-partition.toml")),
    ("mint-outage", include_str!("../../scenarios/mint-outage.toml")),
    ("lying-mint", include_str!("../../scenarios/lying-mint.toml")),
    ("cheating-traders", include_str!("../../scenarios/cheating-traders.toml")),
    ("escrow-cheats", include_str!("../../scenarios/escrow-cheats.toml")),
    ("escrow-storm", include_str!("../../scenarios/escrow-storm.toml")),
    ("chains", include_str!("../../scenarios/chains.toml")),
    ("escrow-chains", include_str!("../../scenarios/escrow-chains.toml")),
    ("chain-storm", include_str!("../../scenarios/chain-storm.toml")),
    ("duties", include_str!("../../scenarios/duties.toml")),
    ("homes", include_str!("../../scenarios/homes.toml")),
    ("broken-machines", include_str!("../../scenarios/broken-machines.toml")),
    ("proxied-mint", include_str!("../../scenarios/proxied-mint.toml")),
    ("double-locks", include_str!("../../scenarios/double-locks.toml")),
    ("sybil-adverts", include_str!("../../scenarios/sybil-adverts.toml")),
    ("eclipse", include_str!("../../scenarios/eclipse.toml")),
    ("ask-flood", include_str!("../../scenarios/ask-flood.toml")),
    ("hostile-peers", include_str!("../../scenarios/hostile-peers.toml")),
    ("skewed-clocks", include_str!("../../scenarios/skewed-clocks.toml")),
    ("quiet", include_str!("../../scenarios/quiet.toml")),
    ("attack-connections", include_str!("../../scenarios/attack-connections.toml")),
    ("attack-records", include_str!("../../scenarios/attack-records.toml")),
    ("attack-sybils", include_str!("../../scenarios/attack-sybils.toml")),
    ("attack-gossip", include_str!("../../scenarios/attack-gossip.toml")),
    ("attack-asks", include_str!("../../scenarios/attack-asks.toml")),
    ("attack-awards", include_str!("../../scenarios/attack-awards.toml")),
    ("attack-informants", include_str!("../../scenarios/attack-informants.toml")),
    ("attack-eclipse", include_str!("../../scenarios/attack-eclipse.toml")),
    ("behind-nats", include_str!("../../scenarios/behind-nats.toml")),
    ("cold-bootstrap", include_str!("../../scenarios/cold-bootstrap.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("discovery", include_str!("../../scenarios/discovery.toml")),
    ("revocations", include_str!("../../scenarios/revocations.toml")),
    ("scaling", include_str!("../../scenarios/scaling.toml")),
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("crowd", include_str!("../../scenarios/crowd.toml")),
];

/// The scenario of a shipped name, or of a file.
///
/// # Errors
/// If there is no such file, or it is no scenario.
pub fn load(name: &str) -> Result<Scenario, LoadError> {
    let shipped = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    let text = match shipped {
        Some((_, text)) => (*text).to_owned(),
        None if Path::new(name).exists() => {
            fs::read_to_string(name).map_err(|source| LoadError::Read { name: name.to_owned(), source })?
        }
        None => return Err(LoadError::Unknown { name: name.to_owned(), shipped: names() }),
    };
    Scenario::parse(&text).map_err(|source| LoadError::Scenario { name: name.to_owned(), source })
}

fn names() -> String {
    SHIPPED.map(|(name, _)| name).join(", ")
}

/// A scenario that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither a shipped name nor a file.
    #[error("there is no scenario and no file `{name}`; shipped are {shipped}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        shipped: String,
    },
    /// The file can't be read.
    #[error("{name}: {source}")]
    Read {
        /// Which.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It isn't one.
    #[error("{name}: {source}")]
    Scenario {
        /// Which.
        name: String,
        /// Why.
        source: ScenarioError,
    },
}
