//! Standing orders of buyers, and what must hold of them: every due moment has one outcome, whatever clocks, crashes and restarts did.

use std::collections::{BTreeMap, BTreeSet};

use guilder::{
    duty::{RunView, file::Duty},
    parts::Node,
};

use super::Play;
use crate::{fabric::HostId, scenario::Duties};

/// What every buyer's duty is called.
const NAME: &str = "standing";
/// Runs that are looked at of one node: all that it can have made.
const RUNS: usize = 10_000;

impl Play<'_> {
    /// Gives a buyer its standing order.
    pub(super) fn give_duty(&mut self, host: HostId) {
        let Some(duties) = self.scenario.workload.duties.clone() else { return };
        if !self.cast.is_honest(host) {
            return;
        }
        let Some(node) = self.world.node(host).cloned() else { return };
        // Each buyer has a service that it wants.
        let service = &self.services[host.0 as usize % self.scenario.services.count as usize];
        let file = duties.file(service.as_str(), self.scenario.workload.budget_sat);
        self.began_duty.insert(host, node.runtime.now());
        tokio::spawn(async move {
            // Where it couldn't be, the judge finds none.
            let _ = node.duties.add(file).await;
        });
    }

    /// From the end of the workload on nothing new begins.
    pub(super) fn pause_duties(&self) {
        for node in self.world.hosts().filter_map(|host| self.world.node(host)).cloned() {
            tokio::spawn(async move {
                // Who has none has none to pause.
                let _ = node.duties.pause(NAME).await;
            });
        }
    }

    /// What is broken of what must hold of duties.
    pub(super) fn judge_duties(&mut self) {
        let Some(duties) = self.scenario.workload.duties.clone() else { return };
        let at_ms = self.now_us() / 1_000;
        for (host, began) in self.began_duty.clone() {
            let Some(node) = self.world.node(host) else { continue };
            for what in broken(node, &duties, began) {
                self.judge.accuse(at_ms, "duty", format!("host {}: {what}", host.0), Vec::new());
            }
        }
    }
}

/// What is broken of a node's duty.
fn broken(node: &Node, duties: &Duties, began: guilder_protocol::time::Timestamp) -> Vec<String> {
    let mut broken = Vec::new();
    let (Ok(shown), Ok(outcomes), Ok(runs)) =
        (node.duties.show(NAME), node.duties.outcomes(NAME), node.duties.runs(Some(NAME), RUNS))
    else {
        return vec!["its duty can't be read".to_owned()];
    };
    let Ok(duty) = Duty::from_toml(shown.file.as_deref().unwrap_or_default()) else {
        return vec!["its duty's file isn't one".to_owned()];
    };
    let now = node.runtime.now();
    for schedule in duty.schedules() {
        let mut at = began;
        // What is due in the last seconds may be decided any moment.
        while let Some(due) = schedule.next(at).filter(|due| due.as_secs() + 60 <= now.as_secs()) {
            let of_it = outcomes.iter().filter(|outcome| outcome.at <= due && due <= outcome.to);
            let count = of_it.count();
            if count != 1 {
                broken.push(format!("the moment {due} has {count} outcomes"));
            }
            at = due;
        }
    }
    let ran: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.run.as_deref()).collect();
    let once: BTreeSet<&str> = ran.iter().copied().collect();
    if once.len() != ran.len() {
        broken.push("a run stands for two moments".to_owned());
    }
    let known: BTreeSet<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    broken.extend(ran.iter().filter(|run| !known.contains(**run)).map(|run| format!("the run {run} isn't there")));
    broken.extend(runs.iter().filter(|run| !run.ended).map(|run| format!("the run {} isn't over", run.id)));
    broken.extend(over_budget(&runs, duties));
    broken
}

/// Runs and days that cost more than their budget, by what was delivered: what fell back counts no more.
fn over_budget(runs: &[RunView], duties: &Duties) -> Vec<String> {
    let (mut days, mut broken) = (BTreeMap::<u64, u64>::new(), Vec::new());
    for run in runs {
        let hires = run.steps.iter().flat_map(|step| &step.hires).filter(|hire| hire.state == "delivered");
        let spent: u64 = hires.filter_map(|hire| hire.price).sum();
        if spent > duties.run_sat {
            broken.push(format!("the run {} cost {spent}, and may cost {}", run.id, duties.run_sat));
        }
        *days.entry(run.queued.as_secs() / 86_400).or_default() += spent;
    }
    let over = days.into_iter().filter(|(_, spent)| *spent > duties.day_sat);
    broken.extend(over.map(|(day, spent)| format!("the day {day} cost {spent}, and may cost {}", duties.day_sat)));
    broken
}
