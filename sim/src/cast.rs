//! Who takes part: the role of each host, and what those who cheat do instead of what they should.
//!
//! A cheat is a real node with one behaviour replaced. Sellers cheat in their [executor](crate::world::executor), by not
//! answering, or, like buyers in escrow, by [leaving something undone](Part::failpoint); those who flood and forge do it [every so often](misbehaviour) through their own node's network, signed with
//! its own key, so that nobody but the receiver's rules stands in the way; who [pays twice](double) does so from its node's
//! wallet, through connections of a new identity each time.

mod awards;
mod double;
mod misbehaviour;
mod replay;

use std::collections::BTreeMap;

use guilder::failpoint::{Failpoint, Step};

pub(crate) use self::{awards::AwardFlood, double::DoubleLock, misbehaviour::Misbehaviour, replay::replay_receipts};
use crate::{
    fabric::{HostId, NatKind},
    interpose::Rng,
    scenario::{Adversaries, Adversary, Role, Scenario, regions},
};

/// A host's part.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is there for.
    pub role: Role,
    /// How it cheats, if it does.
    pub cheat: Option<Adversary>,
    /// How often a second, if it floods or forges.
    pub per_second: f64,
    /// The place of its region among the scenario's.
    pub region: usize,
    /// How far its clock is ahead of everybody's, in seconds; below 0, behind.
    pub clock_off_s: i64,
    /// The NAT that it stands behind, if it does.
    pub nat: Option<NatKind>,
}

/// The parts of all hosts.
#[derive(Clone, Debug, Default)]
pub struct Cast(BTreeMap<HostId, Part>);

impl Part {
    /// Whether it sells.
    pub fn sells(&self) -> bool {
        match self.cheat {
            None => matches!(self.role, Role::Trader | Role::Seller),
            Some(cheat) => matches!(
                cheat,
                Adversary::SellerVanishes
                    | Adversary::SellerDeliversGarbage
                    | Adversary::SellerReplays
                    | Adversary::SellerIsLate
                    | Adversary::SellerKeepsKey
                    | Adversary::SellerNeverRedeems
                    | Adversary::SybilAdverts
            ),
        }
    }

    /// Whether it cheats of its own accord, every so often.
    pub fn acts(&self) -> bool {
        self.cheat.is_some_and(|cheat| {
            matches!(
                cheat,
                Adversary::BuyerDoubleLocks
                    | Adversary::BuyerFloodsAsks
                    | Adversary::ForgesGossip
                    | Adversary::SendsGarbage
                    | Adversary::HoldsConnections
                    | Adversary::Drips
                    | Adversary::FloodsGossip
                    | Adversary::FloodsAwards
            )
        })
    }

    /// Whether it has wishes.
    pub fn buys(&self) -> bool {
        match self.cheat {
            None => matches!(self.role, Role::Trader | Role::Buyer),
            Some(cheat) => cheat == Adversary::BuyerWithholdsRelease,
        }
    }

    /// What it leaves undone, if that is how it cheats.
    pub fn failpoint(&self) -> Failpoint {
        match self.cheat {
            Some(Adversary::SellerKeepsKey) => Failpoint::omitting(Step::SendOpened),
            Some(Adversary::SellerNeverRedeems) => Failpoint::omitting(Step::StoreReleased),
            Some(Adversary::BuyerWithholdsRelease) => Failpoint::omitting(Step::SendRelease),
            _ => Failpoint::default(),
        }
    }
}

impl Cast {
    /// Deals the parts out: honest nodes first, by weight; then those who cheat. Regions by weight, drawn, and
    /// clocks.
    pub fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let cheats: u32 = scenario.adversaries.iter().map(|group| group.count).sum();
        let honest = scenario.population.nodes.saturating_sub(cheats);
        let roles = scenario.population.roles(honest).into_iter();
        let plain = Part { role: Role::Adversary, cheat: None, per_second: 0.0, region: 0, clock_off_s: 0, nat: None };
        let mut parts: Vec<Part> = roles.map(|role| Part { role, ..plain.clone() }).collect();
        // Who has no node comes last: it needs to know the others.
        let last = |group: &&Adversaries| group.behaviour.has_no_node();
        let groups = scenario.adversaries.iter();
        for group in groups.clone().filter(|group| !last(group)).chain(groups.filter(last)) {
            let part = Part { cheat: Some(group.behaviour), per_second: group.per_second, ..plain.clone() };
            parts.extend(std::iter::repeat_n(part, group.count as usize));
        }
        let weights: Vec<f64> = region_names(scenario).iter().map(|(_, weight)| *weight).collect();
        let [slow, fast] = scenario.topology.clock_skew_s;
        for part in &mut parts {
            part.region = weighted(&weights, rng);
            part.clock_off_s = slow + rng.below(fast.abs_diff(slow) + 1) as i64;
        }
        if let Some(nat) = &scenario.topology.nat {
            let roles: Vec<Role> = parts.iter().map(|part| part.role).collect();
            parts.iter_mut().zip(nat.deal(&roles)).for_each(|(part, nat)| part.nat = nat);
        }
        Self(parts.into_iter().enumerate().map(|(index, part)| (HostId(index as u32), part)).collect())
    }

    /// A host's part.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn part(&self, host: HostId) -> &Part {
        &self.0[&host]
    }

    /// Whether a host plays by the rules.
    pub fn is_honest(&self, host: HostId) -> bool {
        self.0.get(&host).is_some_and(|part| part.cheat.is_none())
    }

    /// Every host with its part.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &Part)> {
        self.0.iter().map(|(host, part)| (*host, part))
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The regions where hosts stand, with their weights: the scenario's, or all alike.
pub fn region_names(scenario: &Scenario) -> Vec<(&str, f64)> {
    let given = &scenario.topology.regions;
    if given.is_empty() {
        return regions::NAMES.iter().map(|name| (*name, 1.0)).collect();
    }
    given.iter().map(|region| (region.name.as_str(), region.weight)).collect()
}

/// An index, each as likely as its weight.
pub(crate) fn weighted(weights: &[f64], rng: &mut Rng) -> usize {
    let mut left = rng.unit() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len().saturating_sub(1)
}
