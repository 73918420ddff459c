//! What a run is: who takes part, over what network, what they want, what goes wrong, and what must hold all the same.
//!
//! A scenario is a TOML file. Its shape is these types and nothing else (an unknown field is an error that names it);
//! [`Scenario::parse`] also checks it against sense, so that what runs is what was meant. `docs/simulator.md` explains every
//! field, `sim/scenarios/schema.json` says it to an editor.
//!
//! ```text
//! population  who: traders, buyers, sellers, bystanders ── topology   where: regions, jitter, loss, bandwidth
//! services    what is sold ─────────────────────────────── workload   who buys what, when, for how much
//! mints       whose money, and how those behave ────────── faults     what breaks, when
//! adversaries who cheats, and how ──────────────────────── must       what holds all the same
//! ```
//!
//! Times are virtual seconds from the start of the run, warm-up included; a share is a number from 0 to 1.

mod check;
mod faults;
mod market;
mod network;
pub mod regions;
pub mod shipped;

use serde::{Deserialize, Serialize};

pub use self::{
    check::ScenarioError,
    faults::{Fault, MintFailure, ProxyFailure, Victims, When},
    market::{Adversaries, Adversary, Arrivals, Burst, Chains, Duties, Mints, Payment, Services, Workload},
    network::{Nats, Population, Region, Role, Start, Topology},
};

/// A run, but for its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name; that of its file.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// How long it runs, in virtual seconds, from the first node's start to the last check.
    pub duration_s: u64,
    /// When adverts and money are expected to be in place and the workload may begin.
    #[serde(default = "defaults::warmup_s")]
    pub warmup_s: u64,
    /// At the end, so long nobody begins anything new: what is open has to end.
    #[serde(default = "defaults::drain_s")]
    pub drain_s: u64,
    /// How the network comes to be.
    #[serde(default)]
    pub start: Start,
    /// Who takes part.
    pub population: Population,
    /// The network between them.
    #[serde(default)]
    pub topology: Topology,
    /// What is sold.
    #[serde(default)]
    pub services: Services,
    /// Who buys what, when.
    #[serde(default)]
    pub workload: Workload,
    /// Whose money.
    #[serde(default)]
    pub mints: Mints,
    /// What breaks, when.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Who cheats, and how.
    #[serde(default)]
    pub adversaries: Vec<Adversaries>,
    /// What is measured besides what always is.
    #[serde(default)]
    pub measure: Measure,
    /// What must hold at the end, besides the invariants, which always must.
    #[serde(default)]
    pub must: Must,
}

/// What is measured besides what always is (tasks, money, traffic, events).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measure {
    /// Every so many virtual seconds, memory, traffic and open trades are written down.
    pub sample_every_s: u64,
    /// So often a minute, a bystander or trader looks for a service without buying it, and what that took is written down.
    pub searches_per_minute: f64,
    /// So often a minute, a node grants something and takes it back, and when the others refuse it is written down.
    pub revocations_per_minute: f64,
}

impl Default for Measure {
    fn default() -> Self {
        Self { sample_every_s: 10, searches_per_minute: 0.0, revocations_per_minute: 0.0 }
    }
}

/// What must hold at the end of a run. What isn't named isn't asked for; the invariants always are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Must {
    /// Of the tasks that honest buyers began, at least this share is done.
    pub done_share: Option<f64>,
    /// At least so many tasks are done.
    pub done_tasks: Option<u64>,
    /// Of the searches, at least this share finds a provider.
    pub found_share: Option<f64>,
    /// Each delegation that is taken back is refused by 95 % of the nodes that are up, at most so long after.
    pub refused_in_ms: Option<u64>,
    /// Half of the tasks that are done took at most so long, from the wish to the output.
    pub median_task_ms: Option<u64>,
    /// Every honest node's losses to cheats together are at most so many sat.
    pub honest_loss_sat: Option<u64>,
    /// From so many seconds after the last fault on, tasks succeed again at the rate of `done_share`.
    pub recovers_in_s: Option<u64>,
}

impl Scenario {
    /// Reads a scenario and checks that it makes sense.
    ///
    /// # Errors
    /// With the field, and where it stands, if it isn't one.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The same with so many nodes: roles and adversaries keep their proportions.
    #[must_use]
    pub fn with_nodes(mut self, nodes: u32) -> Self {
        let (before, after) = (f64::from(self.population.nodes.max(1)), f64::from(nodes));
        for cheats in &mut self.adversaries {
            cheats.count = ((f64::from(cheats.count) * after / before).round() as u32).max(1);
        }
        self.population.nodes = nodes;
        self
    }

    /// When the workload ends, in virtual seconds.
    pub fn workload_ends_s(&self) -> u64 {
        self.duration_s - self.drain_s
    }
}

mod defaults {
    pub(super) fn warmup_s() -> u64 {
        30
    }

    pub(super) fn drain_s() -> u64 {
        60
    }
}

#[cfg(test)]
mod tests;
