//! Draws what goes wrong: each fault's moment, victims and end.

use std::collections::{BTreeMap, BTreeSet};

use super::timeline::Action;
use crate::{
    fabric::HostId,
    interpose::Rng,
    mint::{Condition, Lie},
    scenario::{Fault, MintFailure, Scenario, Victims, When, regions},
};

/// A fault from its beginning to its end; of churn, one death and return.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Episode {
    /// Its number among the scenario's faults.
    pub(super) fault: usize,
    /// When it begins, in seconds.
    pub(super) from_s: f64,
    /// What happens when.
    pub(super) actions: Vec<(f64, Action)>,
}

impl Episode {
    /// When it is over.
    pub(super) fn to_s(&self) -> f64 {
        self.actions.iter().map(|(at, _)| *at).fold(self.from_s, f64::max)
    }
}

/// What faults need to know of the world.
pub(super) struct Faults<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) usual: Condition,
    /// Where each host stands, as a region's name.
    pub(super) places: Vec<&'a str>,
    /// Each mint's host, and where it stands.
    pub(super) mints: Vec<(HostId, &'a str)>,
}

impl Faults<'_> {
    /// Draws the moment and the victims of every fault that is to begin after a second, but for those of `begun`, by their
    /// number among the scenario's.
    pub(super) fn draw(&self, after_s: f64, begun: &BTreeSet<usize>, rng: &mut Rng) -> Vec<Episode> {
        let faults = self.scenario.faults.iter().enumerate();
        faults.flat_map(|(number, fault)| self.draw_one(number, fault, after_s, begun, rng)).collect()
    }

    fn draw_one(
        &self,
        number: usize,
        fault: &Fault,
        after_s: f64,
        begun: &BTreeSet<usize>,
        rng: &mut Rng,
    ) -> Vec<Episode> {
        if let Fault::Churn { from_s, to_s, per_hour, down_s } = fault {
            let from_s = (*from_s as f64).max(after_s);
            return self.draw_churn(number, (from_s, *to_s as f64), *per_hour, *down_s, rng);
        }
        if let Fault::Tokens { from_s, to_s, per_minute } = fault {
            return draw_tokens(number, (*from_s as f64).max(after_s), *to_s as f64, per_minute / 60.0, rng);
        }
        let when = match fault {
            Fault::Kill { at_s, .. }
            | Fault::RestoreBackup { at_s, .. }
            | Fault::Twin { at_s, .. }
            | Fault::DiskFull { at_s, .. }
            | Fault::ClockSteps { at_s, .. }
            | Fault::ProxyFails { at_s, .. }
            | Fault::Partition { at_s, .. }
            | Fault::MintFails { at_s, .. }
            | Fault::MintRotates { at_s, .. } => at_s.after(after_s),
            Fault::Churn { .. } | Fault::Tokens { .. } => None,
        };
        let Some(when) = when.filter(|_| !begun.contains(&number)) else { return Vec::new() };
        let from_s = when.draw(rng) as f64;
        let mut actions = Vec::new();
        match fault {
            Fault::Kill { victims, reset, down_s, .. } => {
                for host in self.victims(victims, rng) {
                    actions.push((from_s, Action::Kill { host, reset: *reset }));
                    let back = down_s.map(|down| from_s + down.draw(rng) as f64);
                    actions.extend(back.map(|back| (back, Action::Restart(host))));
                }
            }
            Fault::Churn { .. } | Fault::Tokens { .. } => {}
            Fault::RestoreBackup { victims, older_s, down_s, .. } => {
                for host in self.victims(victims, rng) {
                    let dies = from_s + older_s.draw(rng) as f64;
                    actions.push((from_s, Action::BackUp(host)));
                    actions.push((dies, Action::Kill { host, reset: true }));
                    actions.push((dies, Action::PutBack(host)));
                    actions.push((dies + down_s.draw(rng) as f64, Action::Restart(host)));
                }
            }
            Fault::Twin { for_s, victims, .. } => {
                for host in self.victims(victims, rng) {
                    actions.push((from_s, Action::Twin(host)));
                    actions.push((from_s + *for_s as f64, Action::TwinEnds(host)));
                }
            }
            Fault::DiskFull { for_s, victims, .. } => {
                for host in self.victims(victims, rng) {
                    actions.push((from_s, Action::DiskFull(host, true)));
                    actions.push((from_s + *for_s as f64, Action::DiskFull(host, false)));
                }
            }
            Fault::ClockSteps { for_s, by_s: [back, forward], victims, .. } => {
                for host in self.victims(victims, rng) {
                    let by = back + rng.below(forward.abs_diff(*back) + 1) as i64;
                    actions.push((from_s, Action::ClockStep(host, by)));
                    actions.push((from_s + *for_s as f64, Action::ClockStep(host, 0)));
                }
            }
            Fault::ProxyFails { for_s, mint, how, .. } => {
                actions.push((from_s, Action::Proxy(*mint as usize, Some(*how))));
                actions.push((from_s + *for_s as f64, Action::Proxy(*mint as usize, None)));
            }
            Fault::Partition { for_s, cut, one_way, .. } => {
                let mut hosts = self.victims(cut, rng);
                hosts.extend(self.mints_among(cut));
                actions.push((from_s, Action::Cut { hosts, one_way: *one_way }));
                actions.push((from_s + *for_s as f64, Action::Heal));
            }
            Fault::MintFails { for_s, mint, how, .. } => {
                let mint = *mint as usize;
                actions.push((from_s, Action::MintCondition(mint, failing(*how, self.usual))));
                actions.push((from_s + *for_s as f64, Action::MintCondition(mint, self.usual)));
            }
            Fault::MintRotates { mint, .. } => actions.push((from_s, Action::MintRotates(*mint as usize))),
        }
        vec![Episode { fault: number, from_s, actions }]
    }

    /// One death after the other, each an episode with its return.
    fn draw_churn(
        &self,
        fault: usize,
        (mut at, to): (f64, f64),
        per_hour: f64,
        down_s: When,
        rng: &mut Rng,
    ) -> Vec<Episode> {
        let per_sec = per_hour * f64::from(self.scenario.population.nodes - 1) / 3_600.0;
        let (mut episodes, mut back_at) = (Vec::new(), BTreeMap::<HostId, f64>::new());
        if per_sec <= 0.0 {
            return episodes;
        }
        loop {
            at -= (1.0 - rng.unit()).ln() / per_sec;
            if at >= to {
                break;
            }
            let host = HostId(1 + rng.below(self.places.len() as u64 - 1) as u32);
            if back_at.get(&host).is_some_and(|back| *back >= at) {
                continue;
            }
            let back = at + down_s.draw(rng).max(1) as f64;
            let reset = rng.below(2) == 0;
            let actions = vec![(at, Action::Kill { host, reset }), (back, Action::Restart(host))];
            episodes.push(Episode { fault, from_s: at, actions });
            back_at.insert(host, back);
        }
        episodes
    }

    /// A region that is cut off is cut off with its mints; a number of nodes isn't one of mints.
    fn mints_among(&self, cut: &Victims) -> Vec<HostId> {
        let Victims::Regions(names) = cut else { return Vec::new() };
        let there = self.mints.iter().filter(|(_, place)| names.iter().any(|name| name == place));
        there.map(|(host, _)| *host).collect()
    }

    /// Never the first host, which the others find the network by.
    fn victims(&self, victims: &Victims, rng: &mut Rng) -> Vec<HostId> {
        let hosts = self.places.len();
        let mut drawn: Vec<u32> = (1..hosts as u32).collect();
        let count = match victims {
            Victims::Count(count) => *count as usize,
            Victims::Share(share) => (share * hosts as f64).round() as usize,
            Victims::Regions(names) => {
                debug_assert!(names.iter().all(|name| regions::index(name).is_some()), "checked when it was read");
                let there = |host: &u32| names.iter().any(|name| self.places[*host as usize] == name);
                return drawn.into_iter().filter(there).map(HostId).collect();
            }
        };
        // The first `count` of a shuffle.
        let count = count.min(drawn.len());
        for index in 0..count {
            let other = index + rng.below((drawn.len() - index) as u64) as usize;
            drawn.swap(index, other);
        }
        drawn.truncate(count);
        drawn.into_iter().map(HostId).collect()
    }
}

/// One token after the other, each an episode.
fn draw_tokens(fault: usize, mut at: f64, to: f64, per_sec: f64, rng: &mut Rng) -> Vec<Episode> {
    let mut episodes = Vec::new();
    if per_sec <= 0.0 {
        return episodes;
    }
    loop {
        at -= (1.0 - rng.unit()).ln() / per_sec;
        if at >= to {
            return episodes;
        }
        episodes.push(Episode { fault, from_s: at, actions: vec![(at, Action::Token)] });
    }
}

fn failing(how: MintFailure, usual: Condition) -> Condition {
    match how {
        MintFailure::Silent => Condition { deaf: true, ..usual },
        MintFailure::Errors => Condition { down: true, ..usual },
        MintFailure::LosesReplies => Condition { lost_replies: 1.0, ..usual },
        MintFailure::Lies => Condition { lie: Some(Lie::Denies), ..usual },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FAULTS: &str = r#"
name = "faults"
about = "Some."
duration_s = 400
[population]
nodes = 10
bystanders = 1
[[faults]]
kind = "kill"
at_s = 100
victims = { count = 3 }
down_s = [10, 20]
[[faults]]
kind = "partition"
at_s = [50, 300]
for_s = 20
cut = { share = 0.5 }
[[faults]]
kind = "churn"
from_s = 10
to_s = 300
per_hour = 30.0
down_s = [5, 10]
"#;

    #[test]
    fn what_lies_after_a_moment_is_drawn_anew() {
        let scenario = Scenario::parse(FAULTS).unwrap();
        let faults =
            Faults { scenario: &scenario, usual: Condition::default(), places: vec!["tokyo"; 10], mints: Vec::new() };
        let draw = |after_s: f64, begun: &[usize], seed| {
            faults.draw(after_s, &begun.iter().copied().collect(), &mut Rng::new(seed))
        };
        let all = draw(0.0, &[], 1);
        let of = |episodes: &[Episode], fault| episodes.iter().filter(|episode| episode.fault == fault).count();
        assert!(of(&all, 0) == 1 && of(&all, 1) == 1 && of(&all, 2) > 10);
        assert_eq!(all, draw(0.0, &[], 1));

        let later = draw(90.0, &[], 2);
        assert!(later.iter().all(|episode| episode.from_s >= 90.0));
        assert_ne!(later, draw(90.0, &[], 3));
        // What has begun doesn't begin again; what was to be at a moment that has passed isn't made up for.
        assert_eq!(of(&draw(90.0, &[1], 2), 1), 0);
        assert_eq!(of(&draw(101.0, &[], 2), 0), 0);
        assert!(draw(301.0, &[], 2).is_empty());
    }
}
