//! What the types can't say: numbers in bounds, names that exist, moments within the run.

use guilder_protocol::limits::{MAX_CHAIN, MAX_INLINE, MAX_SUB_SERVICES};

use super::{Fault, Scenario, Topology, Victims, When, regions};

/// A file that is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It doesn't have the shape of one. The message shows the line.
    #[error("not a scenario: {0}")]
    Shape(#[from] toml::de::Error),
    /// A value makes no sense.
    #[error("`{field}` {problem}")]
    Sense {
        /// Where, as `table.field`.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

type Checked = Result<(), ScenarioError>;

/// The most nodes that one process is meant to hold.
const NODES: u32 = 100_000;
/// A virtual week.
const LONGEST_S: u64 = 604_800;
/// A year.
const CLOCK_OFF_S: i64 = 31_536_000;

impl Scenario {
    /// Checks what the types can't say.
    ///
    /// # Errors
    /// With the first field that makes no sense.
    pub fn check(&self) -> Checked {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure(!self.name.is_empty() && self.name.chars().all(plain), "name", "is not lower-case words with dashes")?;
        ensure((1..=LONGEST_S).contains(&self.duration_s), "duration_s", "is not between a second and a week")?;
        let idle = self.warmup_s.checked_add(self.drain_s).is_none_or(|idle| idle >= self.duration_s);
        ensure(!idle, "duration_s", "leaves no time between warmup_s and drain_s")?;
        self.check_population()?;
        self.topology.check()?;
        self.check_market()?;
        for (index, fault) in self.faults.iter().enumerate() {
            self.check_fault(fault, &format!("faults[{index}]"))?;
        }
        ensure(self.measure.sample_every_s > 0, "measure.sample_every_s", "is 0")?;
        number(self.measure.searches_per_minute, "measure.searches_per_minute")?;
        number(self.measure.revocations_per_minute, "measure.revocations_per_minute")?;
        self.check_must()
    }

    fn check_population(&self) -> Checked {
        let who = &self.population;
        ensure((2..=NODES).contains(&who.nodes), "population.nodes", &format!("is not between 2 and {NODES}"))?;
        let weights = [
            (who.traders, "population.traders"),
            (who.buyers, "population.buyers"),
            (who.sellers, "population.sellers"),
            (who.bystanders, "population.bystanders"),
        ];
        if let Some([low, high]) = who.connections {
            ensure(low > 0 && low <= high, "population.connections", "is not a low and a high mark")?;
        }
        for (weight, field) in weights {
            number(weight, field)?;
        }
        ensure(weights.iter().any(|(weight, _)| *weight > 0.0), "population", "gives no role a weight")?;
        let mut cheats = 0_u32;
        for (index, group) in self.adversaries.iter().enumerate() {
            let field = format!("adversaries[{index}]");
            ensure(group.count > 0, &format!("{field}.count"), "is 0")?;
            number(group.per_second, &format!("{field}.per_second"))?;
            cheats = cheats.saturating_add(group.count);
        }
        ensure(who.nodes.saturating_sub(cheats) >= 2, "adversaries", "leave fewer than two honest nodes")
    }

    fn check_market(&self) -> Checked {
        let (sold, wanted, mints) = (&self.services, &self.workload, &self.mints);
        ensure((1..=1_000).contains(&sold.count), "services.count", "is not between 1 and 1,000")?;
        ensure(
            (1..=sold.kinds()).contains(&sold.per_seller),
            "services.per_seller",
            "is not between 1 and services.count",
        )?;
        self.check_chains()?;
        if let Some(duties) = &wanted.duties {
            let read = guilder::duty::file::Duty::from_toml(&duties.file("sim.service-0", wanted.budget_sat));
            read.map_err(|error| ScenarioError::Sense {
                field: "workload.duties".to_owned(),
                problem: format!("make no duty: {error}"),
            })?;
        }
        range(sold.price_sat, "services.price_sat")?;
        ensure(sold.price_sat[0] > 0, "services.price_sat", "begins at 0")?;
        range(sold.work_ms, "services.work_ms")?;
        share(sold.fails, "services.fails")?;
        number(wanted.per_buyer_minute, "workload.per_buyer_minute")?;
        number(wanted.popularity, "workload.popularity")?;
        range(wanted.input_bytes, "workload.input_bytes")?;
        ensure(wanted.input_bytes[1] <= 16 << 20, "workload.input_bytes", "is more than 16 MiB")?;
        ensure(wanted.deadline_s > 0, "workload.deadline_s", "is 0")?;
        if wanted.per_buyer_minute > 0.0 {
            let who = &self.population;
            ensure(who.traders + who.sellers > 0.0, "workload.per_buyer_minute", "is not 0, but nobody sells")?;
            ensure(who.traders + who.buyers > 0.0, "workload.per_buyer_minute", "is not 0, but nobody buys")?;
            ensure(wanted.budget_sat >= sold.price_sat[0], "workload.budget_sat", "is below every price")?;
        }
        if let Some(burst) = &wanted.burst {
            number(burst.times, "workload.burst.times")?;
            self.within(When::At(burst.at_s), burst.for_s, "workload.burst.at_s")?;
        }
        ensure((1..=64).contains(&mints.count), "mints.count", "is not between 1 and 64")?;
        self.check_places(&mints.regions, "mints.regions")?;
        range(mints.answer_ms, "mints.answer_ms")?;
        share(mints.lose_replies, "mints.lose_replies")
    }

    fn check_chains(&self) -> Checked {
        let Some(chains) = &self.services.chains else { return Ok(()) };
        ensure((1..=MAX_CHAIN).contains(&(chains.depth as usize)), "services.chains.depth", "is not between 1 and 8")?;
        let names = self.services.count.saturating_mul(chains.depth);
        ensure(
            names as usize <= MAX_SUB_SERVICES,
            "services.chains.depth",
            "makes more than 16 services to pass work on to",
        )?;
        range(chains.hires, "services.chains.hires")?;
        ensure((1..=16).contains(&chains.hires[1]), "services.chains.hires", "is not within 1 and 16")?;
        share(chains.budget_share, "services.chains.budget_share")?;
        // Whoever passes work on pays at its buyer's mint.
        ensure(self.mints.count == 1, "services.chains", "needs a single mint")?;
        let inline = self.workload.input_bytes[1] as usize <= MAX_INLINE;
        ensure(inline, "workload.input_bytes", "is more than 64 KiB, and services.chains is given")
    }

    fn check_fault(&self, fault: &Fault, field: &str) -> Checked {
        match fault {
            Fault::Kill { at_s, victims, down_s, .. } => {
                self.within(*at_s, down_s.map_or(0, |down| down.range().1), &format!("{field}.at_s"))?;
                self.check_victims(victims, &format!("{field}.victims"))
            }
            Fault::Churn { from_s, to_s, per_hour, down_s } => {
                ensure(from_s < to_s, &format!("{field}.from_s"), "is not before to_s")?;
                number(*per_hour, &format!("{field}.per_hour"))?;
                self.within(When::At(*to_s), down_s.range().1, &format!("{field}.to_s"))
            }
            Fault::Partition { at_s, for_s, cut, .. } => {
                self.within(*at_s, *for_s, &format!("{field}.at_s"))?;
                self.check_victims(cut, &format!("{field}.cut"))
            }
            Fault::MintFails { at_s, for_s, mint, .. } => {
                self.check_mint(*mint, field)?;
                self.within(*at_s, *for_s, &format!("{field}.at_s"))
            }
            Fault::RestoreBackup { at_s, victims, older_s, down_s } => {
                let lasts = older_s.range().1.saturating_add(down_s.range().1);
                self.within(*at_s, lasts, &format!("{field}.at_s"))?;
                self.check_victims(victims, &format!("{field}.victims"))
            }
            Fault::Twin { at_s, for_s, victims } | Fault::DiskFull { at_s, for_s, victims } => {
                self.within(*at_s, *for_s, &format!("{field}.at_s"))?;
                self.check_victims(victims, &format!("{field}.victims"))
            }
            Fault::Tokens { from_s, to_s, per_minute } => {
                ensure(from_s < to_s, &format!("{field}.from_s"), "is not before to_s")?;
                number(*per_minute, &format!("{field}.per_minute"))?;
                self.within(When::At(*to_s), 0, &format!("{field}.to_s"))
            }
            Fault::ClockSteps { at_s, for_s, by_s: [back, forward], victims } => {
                self.within(*at_s, *for_s, &format!("{field}.at_s"))?;
                ensure(back <= forward, &format!("{field}.by_s"), "ends before it begins")?;
                let sane = -CLOCK_OFF_S..=CLOCK_OFF_S;
                ensure(sane.contains(back) && sane.contains(forward), &format!("{field}.by_s"), "is more than a year")?;
                self.check_victims(victims, &format!("{field}.victims"))
            }
            Fault::ProxyFails { at_s, for_s, mint, .. } => {
                self.check_mint(*mint, field)?;
                ensure(self.mints.proxied, &format!("{field}.kind"), "needs mints.proxied")?;
                self.within(*at_s, *for_s, &format!("{field}.at_s"))
            }
            Fault::MintRotates { at_s, mint } => {
                self.check_mint(*mint, field)?;
                self.within(*at_s, 0, &format!("{field}.at_s"))
            }
        }
    }

    fn check_mint(&self, mint: u32, field: &str) -> Checked {
        ensure(mint < self.mints.count, &format!("{field}.mint"), "is not one of the mints, which count from 0")
    }

    fn check_victims(&self, victims: &Victims, field: &str) -> Checked {
        match victims {
            Victims::Count(count) => {
                let some = (1..self.population.nodes).contains(count);
                ensure(some, field, "is none or all of the nodes; the first is never hit")
            }
            Victims::Share(part) => share(*part, field),
            Victims::Regions(names) => {
                ensure(!names.is_empty(), field, "names no region")?;
                self.check_places(names, field)
            }
        }
    }

    fn check_places(&self, names: &[String], field: &str) -> Checked {
        names.iter().try_for_each(|name| {
            let here = &self.topology.regions;
            let there = here.is_empty() || here.iter().any(|region| region.name == *name);
            ensure(known(name) && there, field, &format!("names `{name}`, where nobody is"))
        })
    }

    /// Everything has to be over before the drain is, or nothing could be said about the recovery.
    fn within(&self, at: When, lasts: u64, field: &str) -> Checked {
        let (from, to) = at.range();
        ensure(from <= to, field, "ends before it begins")?;
        let over = to.checked_add(lasts).is_some_and(|end| end <= self.duration_s);
        ensure(over, field, &format!("is not over when the run is, at {} s", self.duration_s))
    }

    fn check_must(&self) -> Checked {
        let must = &self.must;
        for (value, field) in [(must.done_share, "must.done_share"), (must.found_share, "must.found_share")] {
            value.map_or(Ok(()), |value| share(value, field))?;
        }
        let trades = self.workload.per_buyer_minute > 0.0;
        for (asked, field) in [
            (must.done_share.is_some(), "must.done_share"),
            (must.done_tasks.is_some(), "must.done_tasks"),
            (must.median_task_ms.is_some(), "must.median_task_ms"),
            (must.recovers_in_s.is_some(), "must.recovers_in_s"),
        ] {
            ensure(trades || !asked, field, "can't be met: workload.per_buyer_minute is 0")?;
        }
        let faults = !self.faults.is_empty();
        ensure(faults || must.recovers_in_s.is_none(), "must.recovers_in_s", "has nothing to recover from")?;
        let revocations = self.measure.revocations_per_minute > 0.0;
        let asked = must.refused_in_ms.is_some();
        ensure(revocations || !asked, "must.refused_in_ms", "needs measure.revocations_per_minute")?;
        let searches = self.measure.searches_per_minute > 0.0;
        ensure(searches || must.found_share.is_none(), "must.found_share", "needs measure.searches_per_minute")
    }
}

impl Topology {
    fn check(&self) -> Checked {
        for (index, region) in self.regions.iter().enumerate() {
            let field = format!("topology.regions[{index}]");
            let names = regions::NAMES.join(", ");
            ensure(known(&region.name), &format!("{field}.name"), &format!("is not one of {names}"))?;
            let again = self.regions[..index].iter().any(|other| other.name == region.name);
            ensure(!again, &format!("{field}.name"), "is there twice")?;
            ensure(region.weight.is_finite() && region.weight > 0.0, &format!("{field}.weight"), "is not above 0")?;
        }
        number(self.last_mile_ms, "topology.last_mile_ms")?;
        number(self.jitter_ms, "topology.jitter_ms")?;
        ensure((0.0..=0.5).contains(&self.loss), "topology.loss", "is not between 0 and 0.5")?;
        number(self.uplink_mbps, "topology.uplink_mbps")?;
        let [slow, fast] = self.clock_skew_s;
        ensure(slow <= fast, "topology.clock_skew_s", "ends before it begins")?;
        let sane = -CLOCK_OFF_S..=CLOCK_OFF_S;
        ensure(sane.contains(&slow) && sane.contains(&fast), "topology.clock_skew_s", "is more than a year")?;
        let Some(nat) = &self.nat else { return Ok(()) };
        share(nat.share, "topology.nat.share")?;
        ensure(!nat.kinds.is_empty(), "topology.nat.kinds", "names no kind")?;
        ensure((1..=LONGEST_S).contains(&nat.mapping_s), "topology.nat.mapping_s", "is not between a second and a week")
    }
}

fn known(region: &str) -> bool {
    regions::index(region).is_some()
}

fn ensure(holds: bool, field: &str, problem: &str) -> Checked {
    if holds {
        return Ok(());
    }
    Err(ScenarioError::Sense { field: field.to_owned(), problem: problem.to_owned() })
}

fn number(value: f64, field: &str) -> Checked {
    ensure(value.is_finite() && value >= 0.0, field, "is below 0 or no number")
}

fn share(value: f64, field: &str) -> Checked {
    ensure((0.0..=1.0).contains(&value), field, "is not between 0 and 1")
}

fn range([from, to]: [u64; 2], field: &str) -> Checked {
    ensure(from <= to, field, "ends before it begins")
}
