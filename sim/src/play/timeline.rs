//! What is to happen when: faults, wishes, looks; in the order of virtual time, then of entry.

use std::collections::BTreeMap;

use super::Sabotage;
use crate::{
    fabric::HostId,
    interpose::Rng,
    mint::{Lie, Mood},
    scenario::{Fault, MintFailure, Scenario, Victims, regions},
};

/// Something to be done at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// A buyer wants something.
    Wish(HostId),
    /// Somebody looks for a service.
    Search,
    /// A cheat floods or forges.
    Mischief(HostId),
    /// A node dies.
    Kill { host: HostId, reset: bool },
    /// A dead node returns.
    Restart(HostId),
    /// These are cut off from the others.
    Cut { hosts: Vec<HostId>, one_way: bool },
    /// All reach all again.
    Heal,
    /// A mint, by its number, behaves otherwise.
    MintMood(usize, Mood),
    /// A mint, by its number, changes its keys.
    MintRotates(usize),
    /// The state of the whole is written down.
    Sample,
    /// The rules are checked.
    Judge,
    /// A part breaks that is said to be whole; whether this is the second step of it.
    Sabotage(Sabotage, bool),
}

/// Actions by microsecond and order of entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    entries: BTreeMap<(u64, u64), Action>,
    sequence: u64,
}

impl Timeline {
    pub(super) fn at(&mut self, micros: u64, action: Action) {
        self.sequence += 1;
        self.entries.insert((micros, self.sequence), action);
    }

    pub(super) fn at_secs(&mut self, secs: f64, action: Action) {
        self.at((secs.max(0.0) * 1e6) as u64, action);
    }

    /// When the next is due, in microseconds.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.entries.pop_first().map(|(_, action)| action)
    }
}

/// What faults need to know of the world.
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) usual: Mood,
    /// Where each host stands, as a region's name.
    pub(super) places: Vec<&'a str>,
    /// Each mint's host, and where it stands.
    pub(super) mints: Vec<(HostId, &'a str)>,
}

impl Stage<'_> {
    /// Draws every fault's moment and victims. Returns when the last is over, in seconds.
    pub(super) fn plan(&self, timeline: &mut Timeline, rng: &mut Rng) -> f64 {
        let faults = self.scenario.faults.iter();
        faults.map(|fault| self.plan_one(fault, timeline, rng)).fold(0.0, f64::max)
    }

    fn plan_one(&self, fault: &Fault, timeline: &mut Timeline, rng: &mut Rng) -> f64 {
        match fault {
            Fault::Kill { at_s, victims, reset, down_s } => {
                let at = at_s.draw(rng) as f64;
                let mut last = at;
                for host in self.victims(victims, rng) {
                    timeline.at_secs(at, Action::Kill { host, reset: *reset });
                    if let Some(down) = down_s {
                        let back = at + down.draw(rng) as f64;
                        timeline.at_secs(back, Action::Restart(host));
                        last = last.max(back);
                    }
                }
                last
            }
            Fault::Churn { from_s, to_s, per_hour, down_s } => {
                let per_sec = per_hour * f64::from(self.scenario.population.nodes - 1) / 3_600.0;
                let (mut at, mut last) = (*from_s as f64, *from_s as f64);
                let mut back_at = BTreeMap::<HostId, f64>::new();
                if per_sec <= 0.0 {
                    return last;
                }
                loop {
                    at -= (1.0 - rng.unit()).ln() / per_sec;
                    if at >= *to_s as f64 {
                        break;
                    }
                    let host = HostId(1 + rng.below(self.places.len() as u64 - 1) as u32);
                    if back_at.get(&host).is_some_and(|back| *back >= at) {
                        continue;
                    }
                    let back = at + down_s.draw(rng).max(1) as f64;
                    timeline.at_secs(at, Action::Kill { host, reset: rng.below(2) == 0 });
                    timeline.at_secs(back, Action::Restart(host));
                    back_at.insert(host, back);
                    last = last.max(back);
                }
                last
            }
            Fault::Partition { at_s, for_s, cut, one_way } => {
                let at = at_s.draw(rng) as f64;
                let mut hosts = self.victims(cut, rng);
                hosts.extend(self.mints_among(cut));
                timeline.at_secs(at, Action::Cut { hosts, one_way: *one_way });
                timeline.at_secs(at + *for_s as f64, Action::Heal);
                at + *for_s as f64
            }
            Fault::MintFails { at_s, for_s, mint, how } => {
                let at = at_s.draw(rng) as f64;
                timeline.at_secs(at, Action::MintMood(*mint as usize, failing(*how, self.usual)));
                timeline.at_secs(at + *for_s as f64, Action::MintMood(*mint as usize, self.usual));
                at + *for_s as f64
            }
            Fault::MintRotates { at_s, mint } => {
                let at = at_s.draw(rng) as f64;
                timeline.at_secs(at, Action::MintRotates(*mint as usize));
                at
            }
        }
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

fn failing(how: MintFailure, usual: Mood) -> Mood {
    match how {
        MintFailure::Silent => Mood { deaf: true, ..usual },
        MintFailure::Errors => Mood { down: true, ..usual },
        MintFailure::LosesReplies => Mood { lost_replies: 1.0, ..usual },
        MintFailure::Lies => Mood { lie: Some(Lie::Denies), ..usual },
    }
}
