//! Whether a run kept what its scenario says must hold. (The invariants are checked while it runs.)

use super::{Results, RevocationRow, TaskOutcome, TaskRow, Violation};
use crate::scenario::{Must, Role, Scenario};

/// The rules that a scenario may ask for, by the names of its fields.
pub const ASKED_FOR: [&str; 7] =
    ["done_share", "done_tasks", "found_share", "refused_in_ms", "median_task_ms", "honest_loss_sat", "recovers_in_s"];

impl Results {
    /// The rules that were broken.
    pub fn broken(&self) -> Vec<String> {
        self.violations.iter().map(|violation| violation.rule.clone()).collect()
    }

    /// What must hold and doesn't, each as a violation at the end of the run.
    pub fn verdict(&self, scenario: &Scenario) -> Vec<Violation> {
        let must = &scenario.must;
        let honest: Vec<&TaskRow> = self.tasks.iter().filter(|task| task.honest).collect();
        let broken = [
            must.done_share.and_then(|least| too_few_done(&honest, least)),
            must.done_tasks.and_then(|least| {
                let done = self.count(TaskOutcome::Done) as u64;
                (done < least).then(|| ("done_tasks", format!("{done} tasks are done, not {least}")))
            }),
            must.found_share.and_then(|least| self.too_few_found(least)),
            must.refused_in_ms.and_then(|most| self.refused_too_late(most)),
            must.median_task_ms.and_then(|most| too_slow(&honest, most)),
            must.honest_loss_sat.and_then(|most| self.too_much_lost(most)),
            must.recovers_in_s.and_then(|within| self.not_recovered(must, within)),
        ];
        let at_ms = (self.summary.virtual_secs * 1e3) as u64;
        let violation =
            |(rule, what): (&str, String)| Violation { at_ms, rule: rule.into(), what, ..Violation::default() };
        broken.into_iter().flatten().map(violation).collect()
    }

    fn too_few_found(&self, least: f64) -> Option<(&'static str, String)> {
        let found = self.searches.iter().filter(|search| search.found_ms.is_some()).count();
        below(found, self.searches.len(), least).then(|| {
            ("found_share", format!("{found} of {} searches found a provider, not {least}", self.searches.len()))
        })
    }

    /// None that was taken back shows nothing.
    fn refused_too_late(&self, most: u64) -> Option<(&'static str, String)> {
        let is_late = |row: &&RevocationRow| row.most_ms.is_none_or(|took| took > most);
        let late = self.revocations.iter().filter(is_late).count();
        (late > 0 || self.revocations.is_empty()).then(|| {
            let all = self.revocations.len();
            ("refused_in_ms", format!("{late} of {all} revocations were not refused by 95 % within {most} ms"))
        })
    }

    fn too_much_lost(&self, most: u64) -> Option<(&'static str, String)> {
        let honest = self.nodes.iter().filter(|node| node.role != Role::Adversary);
        let lost: u64 = honest.map(|node| node.lost_sat).sum();
        (lost > most).then(|| ("honest_loss_sat", format!("honest nodes lost {lost} sat, more than {most}")))
    }

    fn not_recovered(&self, must: &Must, within: u64) -> Option<(&'static str, String)> {
        let from_ms = (self.summary.last_fault_s * 1e3) as u64 + within * 1_000;
        let after: Vec<&TaskRow> = self.tasks.iter().filter(|task| task.honest && task.at_ms >= from_ms).collect();
        let least = must.done_share.unwrap_or(0.9);
        let (_, what) = too_few_done(&after, least)?;
        Some(("recovers_in_s", format!("from {} s on, {what}", from_ms / 1_000)))
    }
}

fn too_few_done(tasks: &[&TaskRow], least: f64) -> Option<(&'static str, String)> {
    let done = tasks.iter().filter(|task| task.outcome == TaskOutcome::Done).count();
    below(done, tasks.len(), least)
        .then(|| ("done_share", format!("{done} of {} tasks are done, not {least}", tasks.len())))
}

fn too_slow(tasks: &[&TaskRow], most: u64) -> Option<(&'static str, String)> {
    let done = tasks.iter().filter(|task| task.outcome == TaskOutcome::Done);
    let mut took: Vec<u64> = done.filter_map(|task| task.total_ms).collect();
    took.sort_unstable();
    let median = *took.get(took.len() / 2)?;
    (median > most).then(|| ("median_task_ms", format!("half of the tasks took more than {median} ms, not {most}")))
}

/// None of none is too few: what was asked for was never shown.
fn below(some: usize, all: usize, least: f64) -> bool {
    all == 0 || (some as f64) < least * all as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{NodeRow, SearchRow, Summary};

    fn scenario(must: Must) -> Scenario {
        let text = "name = \"x\"\nabout = \"x\"\nduration_s = 200\n[population]\nnodes = 2\ntraders = 1\n";
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{error}"));
        Scenario { must, ..scenario }
    }

    fn task(at_ms: u64, outcome: TaskOutcome) -> TaskRow {
        TaskRow { at_ms, outcome, honest: true, total_ms: Some(500), ..TaskRow::default() }
    }

    fn node(role: Role, lost_sat: u64) -> NodeRow {
        NodeRow {
            node: 0,
            role,
            region: None,
            nat: None,
            up: true,
            sent: 0,
            received: 0,
            peers: 0,
            adverts: 0,
            first_paid_ms: None,
            paid_sat: 0,
            earned_sat: 0,
            lost_sat,
        }
    }

    #[test]
    fn what_must_hold_is_held_against_what_came() {
        let results = Results {
            summary: Summary { last_fault_s: 50.0, virtual_secs: 200.0, ..Summary::default() },
            tasks: vec![
                task(10_000, TaskOutcome::Failed),
                task(20_000, TaskOutcome::Done),
                task(70_000, TaskOutcome::Done),
                TaskRow { honest: false, ..task(80_000, TaskOutcome::Failed) },
            ],
            searches: vec![SearchRow { found_ms: Some(9), ..SearchRow::default() }, SearchRow::default()],
            revocations: vec![
                RevocationRow { most_ms: Some(80), ..RevocationRow::default() },
                RevocationRow { most_ms: Some(90), ..RevocationRow::default() },
            ],
            nodes: vec![node(Role::Trader, 7), node(Role::Adversary, 90)],
            ..Results::default()
        };
        let broken = |must: Must| -> Vec<String> {
            results.verdict(&scenario(must)).into_iter().map(|violation| violation.rule).collect()
        };
        let kept = Must {
            done_share: Some(0.6),
            done_tasks: Some(2),
            found_share: Some(0.5),
            refused_in_ms: Some(90),
            median_task_ms: Some(500),
            honest_loss_sat: Some(7),
            recovers_in_s: Some(10),
        };
        assert!(broken(kept).is_empty());
        assert_eq!(broken(Must { done_share: Some(0.7), ..Must::default() }), ["done_share"]);
        assert_eq!(broken(Must { done_tasks: Some(3), ..Must::default() }), ["done_tasks"]);
        assert_eq!(broken(Must { found_share: Some(0.6), ..Must::default() }), ["found_share"]);
        assert_eq!(broken(Must { refused_in_ms: Some(89), ..Must::default() }), ["refused_in_ms"]);
        assert_eq!(broken(Must { median_task_ms: Some(499), ..Must::default() }), ["median_task_ms"]);
        assert_eq!(broken(Must { honest_loss_sat: Some(6), ..Must::default() }), ["honest_loss_sat"]);
        // Nothing was begun after 150 s, so nothing shows a recovery.
        assert_eq!(broken(Must { recovers_in_s: Some(100), ..Must::default() }), ["recovers_in_s"]);
    }
}
