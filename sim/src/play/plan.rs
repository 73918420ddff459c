//! Puts on the timeline what a scenario asks for; and, where many futures part, puts there anew what lies ahead.

use std::collections::BTreeSet;

use super::{Play, faults::Faults, timeline::Action, usual_condition};
use crate::{cast::region_names, interpose, mint::ModelMint, scenario::Arrivals};

impl Play<'_> {
    /// Everything but the looks.
    pub(super) fn plan(&mut self) {
        let scenario = self.scenario;
        let from = scenario.warmup_s as f64;
        self.planned = true;
        self.plan_faults(0.0);
        for (host, part) in self.cast.iter() {
            if part.acts() && part.per_second > 0.0 {
                self.timeline.at_secs(from + self.rng.unit() / part.per_second, Action::Misbehaviour(host));
            }
        }
        self.plan_wishes(from);
        self.plan_searches(from);
        self.plan_revocations(from);
    }

    /// The faults that begin after a second. Those that have begun go on.
    fn plan_faults(&mut self, after_s: f64) {
        let scenario = self.scenario;
        let names = region_names(scenario);
        let places = self.cast.iter().map(|(_, part)| names[part.region].0).collect();
        let at = |mint: &ModelMint| (mint.host(), names[self.world.fabric().region(mint.host())].0);
        let mints = self.world.mints().values().map(at).collect();
        let faults = Faults { scenario, usual: usual_condition(scenario), places, mints };
        let begun: BTreeSet<usize> = self.episodes.iter().map(|episode| episode.fault).collect();
        let drawn = faults.draw(after_s, &begun, &mut self.rng);
        drawn.iter().for_each(|episode| self.timeline.play(episode.clone()));
        self.episodes.extend(drawn);
        self.last_fault_s = self.episodes.iter().map(super::Episode::to_s).fold(0.0, f64::max);
    }

    /// Each buyer's next wish; when it comes, it brings the one after it.
    fn plan_wishes(&mut self, from: f64) {
        let to = self.scenario.workload_ends_s() as f64;
        for (host, _) in self.cast.iter().filter(|(_, part)| part.buys()) {
            let next = self.wishes[host.0 as usize].next(&self.scenario.workload, from);
            if let Some(at) = next.filter(|at| *at < to) {
                self.timeline.at_secs(at, Action::Wish(host));
            }
        }
    }

    fn plan_searches(&mut self, from: f64) {
        let searches = self.scenario.measure.searches_per_minute / 60.0;
        let (mut at, to) = (from, self.scenario.workload_ends_s() as f64);
        while searches > 0.0 && at < to {
            self.timeline.at_secs(at, Action::Search);
            at -= (1.0 - self.rng.unit()).ln() / searches;
        }
    }

    fn plan_revocations(&mut self, from: f64) {
        let revocations = self.scenario.measure.revocations_per_minute / 60.0;
        let (mut at, to) = (from, self.scenario.workload_ends_s() as f64);
        while revocations > 0.0 && at < to {
            self.timeline.at_secs(at, Action::Revocation);
            at -= (1.0 - self.rng.unit()).ln() / revocations;
        }
    }

    /// This is one of many futures from now on: what hasn't begun yet is drawn again, in another way.
    pub(super) fn plan_anew(&mut self) {
        self.way = interpose::way();
        let now_us = self.now_us();
        let now = now_us as f64 / 1e6;
        if !self.planned {
            return;
        }
        self.timeline.forget_faults_after(now_us);
        self.episodes.retain(|episode| episode.from_s <= now);
        self.plan_faults(now);
        let from = now.max(self.scenario.warmup_s as f64);
        if self.scenario.workload.arrivals == Arrivals::Poisson {
            self.timeline.forget(|action| matches!(action, Action::Wish(_)));
            self.plan_wishes(from);
        }
        self.timeline.forget(|action| matches!(action, Action::Search | Action::Revocation));
        self.plan_searches(from);
        self.plan_revocations(from);
    }

    /// The state of the whole is looked at from the start on.
    pub(super) fn plan_looks(&mut self) {
        let scenario = self.scenario;
        let every = |secs: u64| (0..=scenario.duration_s / secs).map(move |nth| (nth * secs) as f64);
        every(scenario.measure.sample_every_s).for_each(|at| self.timeline.at_secs(at, Action::Sample));
        let looks = every(self.watch.every_s.max(1)).filter(|at| *at >= self.watch.from_s);
        looks.for_each(|at| self.timeline.at_secs(at, Action::Judge));
    }
}
