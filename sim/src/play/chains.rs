//! What the judge is shown of work that was passed on: what was hired for its sake, what that was debited from, and whom each
//! bundle names.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use guilder::{
    events::Side,
    parts::Node,
    trade::{Page, TaskView},
};
use guilder_protocol::{
    audit::{self, Evidence, Report},
    identity::AgentId,
};

use super::{Play, rows::Bought};
use crate::{
    fabric::HostId,
    judge::{Awarded, Worked, judge_answer, judge_budgets},
    world::executor::Passed,
};

impl Play<'_> {
    /// Parts are judged like anything else that is bought; no delegation is overspent; and who is said to answer does.
    pub(super) fn judge_chains(&mut self, agents: &BTreeMap<AgentId, HostId>) {
        if self.chains.is_none() {
            return;
        }
        let wished: BTreeSet<Cid> = self.notes.lock().wishes.iter().filter_map(|wish| wish.task).collect();
        for host in self.world.hosts().filter(|host| self.cast.is_honest(*host)).collect::<Vec<_>>() {
            let Some(node) = self.world.node(host).cloned() else { continue };
            let passed = self.world.executor(host).passed();
            let mut awarded = Vec::new();
            for view in awarded_views(&node) {
                let Some(trade) = view.trade else { continue };
                let evidence = match node.trade.evidence(trade) {
                    Ok(Some(evidence)) => evidence,
                    Ok(None) => Evidence::default(),
                    Err(error) => {
                        self.accuse_task(host, &view, "store", &error.to_string());
                        continue;
                    }
                };
                match audit::verify(&audit::bundle(&evidence)) {
                    Ok(report) => self.judge_report(host, &view, &report, agents),
                    Err(error) => {
                        self.accuse_task(host, &view, "audit", &format!("its bundle doesn't verify: {error}"))
                    }
                }
                if view.side == Side::Seller {
                    continue;
                }
                awarded.extend(awards(&evidence, node.id()));
                match passed.get(&view.task) {
                    Some(Passed { part, .. }) => {
                        let deadline_us = self.moment_us(&node, view.deadline.as_secs() + 1);
                        let (service, input) = (part.service, part.input.clone());
                        self.judge_bought(Bought { buyer: host, service, input, deadline_us }, &view, agents);
                    }
                    // Who was killed between the two knows of a hire that its program hadn't heard of.
                    None if wished.contains(&view.task) || self.world.was_killed(host) => {}
                    None => self.accuse_task(host, &view, "award", "nobody wished for it, and no work passed it on"),
                }
            }
            for (rule, award, what) in judge_budgets(&awarded) {
                let what = format!("host {} and award {award}: {what}", host.0);
                self.judge.accuse(self.now_us() / 1_000, rule, what, Vec::new());
            }
        }
    }

    /// Whether whoever a bundle names is who it was, as far as it is honest.
    fn judge_report(&mut self, host: HostId, view: &TaskView, report: &Report, agents: &BTreeMap<AgentId, HostId>) {
        for hire in &report.hires {
            let seller = agents.get(&hire.args.seller).copied();
            let Some(seller) = seller.filter(|seller| self.cast.is_honest(*seller)) else { continue };
            let Some(node) = self.world.node(seller) else { continue };
            let executor = self.world.executor(seller);
            let deadline_us = self.moment_us(node, hire.args.deadline.as_secs());
            let ended = executor.ended(&hire.award);
            let at_us = |at: tokio::time::Instant| (at - self.start).as_micros() as u64;
            let worked = Worked {
                done: executor.has_done(&hire.award),
                in_time: ended.is_some_and(|end| end.well && at_us(end.at) < deadline_us.saturating_sub(SETTLED_US)),
                buyer_is_honest: agents.get(&hire.buyer).is_some_and(|buyer| self.cast.is_honest(*buyer)),
                wished: hire.under.is_none() && hire.principal == hire.buyer,
            };
            if let Some(what) = judge_answer(&hire.answer, worked) {
                let what = format!("{what}: award {}, {}", hire.award, report.responsibility(hire).unwrap_or_default());
                self.accuse_task(host, view, "answers", &what);
            }
        }
    }

    fn accuse_task(&mut self, host: HostId, view: &TaskView, rule: &str, what: &str) {
        let what = format!("host {} and task {}: {what} ({:?}, {:?})", host.0, view.task, view.side, view.state);
        self.judge.accuse(self.now_us() / 1_000, rule, what, self.world.journal().last_events(&view.task));
    }

    /// When a node's clock shows a second, in microseconds of the run.
    fn moment_us(&self, node: &Node, secs: u64) -> u64 {
        let ahead = i128::from(secs) - i128::from(node.runtime.now().as_secs());
        u64::try_from(i128::from(self.now_us()) + ahead * 1_000_000).unwrap_or(0)
    }
}

/// What ends so close to its deadline may come to a receipt after it: a commit, a signature, a second's rounding.
const SETTLED_US: u64 = 3_000_000;

/// All that was awarded to a node and by it.
fn awarded_views(node: &Node) -> Vec<TaskView> {
    let (mut page, mut all) = (Page::default(), Vec::new());
    while let Ok(views) = node.trade.tasks(page) {
        let Some(last) = views.last() else { break };
        page.after = Some(last.cursor());
        all.extend(views.into_iter().filter(|view| view.trade.is_some()));
    }
    all
}

/// The awards that a buyer gave under delegations, and what each was debited with.
fn awards(evidence: &Evidence, buyer: AgentId) -> Vec<Awarded> {
    let ours = evidence.awards.iter().filter(|award| award.buyer() == buyer && award.args().depth > 0);
    let debited = |award: &guilder_protocol::award::Award| {
        let args = award.args();
        let leaf = *award.invocation().prf.last()?;
        let link = evidence.delegations.iter().find(|link| link.cid() == leaf)?;
        let passed_on = evidence.delegations.iter().find(|link| link.iss == buyer && link.aud == args.seller);
        let granted = passed_on.and_then(|link| link.pol.most("spent")).unwrap_or(0);
        Some(Awarded {
            award: award.cid(),
            delegation: leaf,
            budget: link.pol.most("spent").unwrap_or(u64::MAX),
            total: args.spent,
            amount: args.price + granted,
        })
    };
    ours.filter_map(debited).collect()
}
