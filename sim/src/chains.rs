//! Work that is passed on in parts: what the parts are, who may be hired for them, for how much, and what comes of it all when
//! everybody does as asked.
//!
//! ```text
//! level 0   sim.service-N   what buyers want ── passes on 1 to 2 parts ─▶ level 1 ── … ─▶ level `depth`, which does its own work
//! ```
//!
//! Everything follows from the service and the input, so that the judge can say of every output in the tree whether it is right.

use guilder::trade::{Hire, HireMode};
use guilder_protocol::market::{NameError, ServiceName};
use sha2::{Digest, Sha256};

use crate::{
    interpose::Rng,
    scenario::{Scenario, Services},
    workload::between,
    world::executor::honest_output,
};

/// What is passed on, in a scenario.
#[derive(Clone, Debug)]
pub struct Chains {
    names: Vec<ServiceName>,
    /// Kinds of each level.
    kinds: u32,
    depth: u32,
    hires: [u64; 2],
    /// The most that one part costs.
    dearest: u64,
    budget_share: f64,
    mode: HireMode,
}

/// A part of some work that somebody else is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is, by its number.
    pub service: u32,
    /// What it is done on.
    pub input: Vec<u8>,
}

/// The services that are sold, by their number: those that buyers want, then those of each level that work is passed on to.
///
/// # Errors
/// Never, unless names stop being names.
pub fn service_names(services: &Services) -> Result<Vec<ServiceName>, NameError> {
    let name = |number: u32| match number / services.count {
        0 => format!("sim.service-{number}").parse(),
        level => format!("sim.part-{level}-{}", number % services.count).parse(),
    };
    (0..services.kinds()).map(name).collect()
}

impl Chains {
    /// Those of a scenario, if work is passed on in it.
    ///
    /// # Errors
    /// Never, unless names stop being names.
    pub fn of(scenario: &Scenario) -> Result<Option<Self>, NameError> {
        let services = &scenario.services;
        let Some(chains) = &services.chains else { return Ok(None) };
        Ok(Some(Self {
            names: service_names(services)?,
            kinds: services.count,
            depth: chains.depth,
            hires: chains.hires,
            dearest: services.price_sat[1],
            budget_share: chains.budget_share,
            mode: scenario.workload.mode.into(),
        }))
    }

    /// The number of a service.
    pub fn number(&self, service: &ServiceName) -> Option<u32> {
        self.names.iter().position(|name| name == service).map(|number| number as u32)
    }

    fn level(&self, service: u32) -> u32 {
        service / self.kinds
    }

    /// What this work on this input passes on.
    pub fn parts(&self, service: u32, input: &[u8]) -> Vec<Part> {
        let level = self.level(service);
        if level >= self.depth {
            return Vec::new();
        }
        let hash = |place: u64| {
            let hash = Sha256::new().chain_update(service.to_le_bytes()).chain_update(place.to_le_bytes());
            hash.chain_update(input).finalize().to_vec()
        };
        let mut seed = [0; 8];
        seed.copy_from_slice(&hash(u64::MAX)[..8]);
        let mut rng = Rng::new(u64::from_le_bytes(seed));
        let count = between(self.hires, &mut rng);
        let kind = |rng: &mut Rng| rng.below(u64::from(self.kinds)) as u32;
        (0..count)
            .map(|place| Part { service: (level + 1) * self.kinds + kind(&mut rng), input: hash(place) })
            .collect()
    }

    /// What honest work makes of an input, given what came of its parts.
    pub fn assembled(&self, service: u32, input: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
        let all = parts.iter().fold(input.to_vec(), |mut all, part| {
            all.extend_from_slice(part);
            all
        });
        honest_output(&self.names[service as usize], &all)
    }

    /// What comes of it if everybody beneath works honestly too.
    pub fn output(&self, service: u32, input: &[u8]) -> Vec<u8> {
        let parts = self.parts(service, input);
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| self.output(part.service, &part.input)).collect();
        self.assembled(service, input, &parts)
    }

    /// What whoever does work of a level may spend on all of its parts, and on what they pass on.
    pub fn budget(&self, level: u32) -> u64 {
        if level >= self.depth {
            return 0;
        }
        // The next level's price has its budget in it, and what is granted on is debited besides.
        let most = self.hires[1] * (self.dearest + 2 * self.budget(level + 1));
        (most as f64 * self.budget_share).round() as u64
    }

    /// What a seller of this service may pass on, if anything: the most that it may cost.
    pub fn may_spend(&self, service: u32) -> Option<u64> {
        Some(self.budget(self.level(service))).filter(|budget| *budget > 0)
    }

    /// A hire of a service, letting its seller pass its parts on.
    pub fn letting(&self, service: u32, hire: Hire) -> Hire {
        let level = self.level(service);
        let beneath = self.depth - level.min(self.depth);
        if beneath == 0 {
            return hire;
        }
        let names = self.names[((level + 1) * self.kinds) as usize..].to_vec();
        Hire {
            allow_subcontract: names,
            sub_budget: Some(self.budget(level)),
            sub_depth: Some(u64::from(beneath)),
            ..hire
        }
    }

    /// The hire of a part. What it may cost, and how long it may take, the delegations of the task say; its key makes it the
    /// same hire again when the work is done again.
    pub fn hire(&self, place: usize, part: &Part) -> Hire {
        let hire = Hire {
            id: Some(format!("part {place}")),
            mode: Some(self.mode),
            quiet: true,
            ..Hire::of(self.names[part.service as usize].clone())
        };
        self.letting(part.service, hire)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chains(depth: u32) -> Chains {
        let text = format!(
            "name = \"x\"\nabout = \"x\"\nduration_s = 200\n[population]\nnodes = 4\ntraders = 1\n\
             [services]\ncount = 2\nprice_sat = [1, 10]\nchains = {{ depth = {depth}, hires = [1, 2] }}\n"
        );
        Chains::of(&Scenario::parse(&text).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn parts_are_of_the_next_level_and_the_last_level_has_none() {
        let chains = chains(2);
        for seed in 0..20_u8 {
            let parts = chains.parts(1, &[seed; 9]);
            assert!((1..=2).contains(&parts.len()) && parts.iter().all(|part| chains.level(part.service) == 1));
            let deeper = chains.parts(parts[0].service, &parts[0].input);
            assert!(!deeper.is_empty() && deeper.iter().all(|part| chains.level(part.service) == 2));
            assert!(chains.parts(deeper[0].service, &deeper[0].input).is_empty());
            assert_eq!(parts, chains.parts(1, &[seed; 9]));
        }
        assert_ne!(chains.output(0, b"one"), chains.output(1, b"one"));
    }

    #[test]
    fn a_budget_covers_the_dearest_parts_and_theirs() {
        assert_eq!((chains(1).budget(0), chains(1).budget(1)), (20, 0));
        assert_eq!((chains(2).budget(0), chains(2).budget(1)), (100, 20));
        let two = chains(2);
        let part = two.parts(0, b"input").remove(0);
        let hire = two.hire(0, &part);
        assert_eq!((hire.sub_budget, hire.sub_depth, hire.allow_subcontract.len()), (Some(20), Some(1), 2));
        let last = two.hire(0, &two.parts(part.service, &part.input)[0]);
        assert_eq!((last.sub_budget, last.allow_subcontract.len()), (None, 0));
    }
}
