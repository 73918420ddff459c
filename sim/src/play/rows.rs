//! What came of a run, as rows; and what the judge says of each trade.

use std::collections::BTreeMap;

use guilder::{
    content::Data,
    trade::{TaskState, TaskView},
    wallet::Balance,
};
use guilder_protocol::{audit, identity::AgentId};

use super::{Play, Wish};
use crate::{
    cast::region_names,
    fabric::HostId,
    interpose,
    journal::Step,
    judge::{Seen, judge_trade},
    meter::Protocol,
    results::{Flow, NodeRow, Results, Sample, Summary, TaskOutcome, TaskRow, TrafficRow},
    trace::Trace,
    world::{WorldError, executor::honest_output},
};

/// What somebody bought, as its buyer wanted it.
pub(super) struct Bought {
    pub(super) buyer: HostId,
    pub(super) service: u32,
    pub(super) input: Vec<u8>,
    /// The end of the second in which it was to be there, in microseconds of the run.
    pub(super) deadline_us: u64,
}

impl Play<'_> {
    pub(super) fn sample(&mut self) {
        let traffic = self.world.fabric().traffic();
        let nodes: Vec<_> = self.world.hosts().filter_map(|host| self.world.node(host)).collect();
        let (mut begun, mut done, mut failed) = (0, 0, 0);
        for wish in &self.notes.lock().wishes {
            begun += 1;
            match (wish.ended_us, wish.task) {
                (Some(_), Some(task)) if self.world.journal().steps(&task).contains_key(&Step::Delivered) => done += 1,
                (Some(_), _) => failed += 1,
                _ => {}
            }
        }
        let mut by_protocol = BTreeMap::new();
        for row in self.traffic_rows() {
            *by_protocol.entry(row.protocol).or_default() += row.sent;
        }
        self.samples.push(Sample {
            at_ms: self.now_us() / 1_000,
            up: nodes.len() as u32,
            bytes: traffic.bytes,
            by_protocol,
            fabric_events: traffic.events,
            resident: crate::run::resident(),
            wall_secs: interpose::real_secs() - self.real_start,
            cpu_secs: interpose::cpu_secs(),
            operations: self.world.operations(),
            begun,
            done,
            failed,
            open: nodes.iter().map(|node| node.trade.open_count() as u64).sum(),
        });
    }

    /// The results, after the judge has seen everything.
    pub(super) async fn results(mut self, seed: u64, trace: &Trace) -> Result<Results, WorldError> {
        let agents = self.agents();
        let wishes = self.notes.lock().wishes.clone();
        let mut tasks = Vec::with_capacity(wishes.len());
        for wish in &wishes {
            let view = self.view(wish);
            tasks.push(self.task_row(wish, view.as_ref(), &agents));
            if let Some(view) = view.filter(|view| view.trade.is_some()) {
                self.judge_wish(wish, &view, &agents);
            }
        }
        self.judge_chains(&agents);
        self.judge_sales(&agents);
        self.judge_duties();
        self.judge_coins(true);
        self.judge.rest(&self.world, &self.cast, !self.liars.is_empty(), self.now_us() / 1_000);
        let nodes = self.node_rows(&tasks).await;
        let (traffic_rows, flows) = (self.traffic_rows(), self.flows());
        let traffic = self.world.fabric().traffic();
        let (tokens_given, tokens_taken) = self.notes.lock().tokens;
        let (events, hash) = trace.finish().map_err(WorldError::new)?;
        let summary = Summary {
            scenario: self.scenario.name.clone(),
            seed,
            nodes: self.cast.len() as u32,
            virtual_secs: self.start.elapsed().as_secs_f64(),
            wall_secs: interpose::real_secs() - self.real_start,
            cpu_secs: interpose::cpu_secs(),
            fabric_events: traffic.events,
            bytes: traffic.bytes,
            warmup_s: self.scenario.warmup_s as f64,
            last_fault_s: self.last_fault_s,
            tokens_given,
            tokens_taken,
            events,
            hash,
            ..Summary::default()
        };
        let searches = std::mem::take(&mut self.notes.lock().searches);
        let revocations = std::mem::take(&mut self.notes.lock().revocations);
        let (samples, violations) = (self.samples, self.judge.verdict());
        Ok(Results {
            summary,
            tasks,
            searches,
            revocations,
            samples,
            nodes,
            traffic: traffic_rows,
            flows,
            violations,
            cut_short: false,
        })
    }

    /// Whether all coins are in somebody's wallet, or said to be lost where a mint has lied.
    pub(super) fn judge_coins(&mut self, at_the_end: bool) {
        let at_ms = self.now_us() / 1_000;
        for (number, url) in self.mints.iter().enumerate() {
            if let Some(mint) = self.world.mints().get(url) {
                self.judge.coins(&self.world, mint, self.liars.contains(&number), at_ms);
                if at_the_end && !self.liars.contains(&number) {
                    self.judge.counted(&self.world, mint, at_ms);
                }
            }
        }
    }

    pub(super) fn view(&self, wish: &Wish) -> Option<TaskView> {
        self.world.node(wish.buyer)?.trade.show(wish.task?).ok()?
    }

    fn task_row(&self, wish: &Wish, view: Option<&TaskView>, agents: &BTreeMap<AgentId, HostId>) -> TaskRow {
        let steps = wish.task.map(|task| self.world.journal().steps(&task)).unwrap_or_default();
        let between = |from: Step, to: Step| Some((steps.get(&to)?.checked_sub(*steps.get(&from)?)?) / 1_000);
        let since = |at: Option<u64>| at.and_then(|at| at.checked_sub(wish.at_us)).map(|micros| micros / 1_000);
        let seller = view.and_then(|view| agents.get(&view.peer?).copied());
        let state = view.map(|view| view.state);
        let outcome = match state {
            Some(TaskState::Delivered) => TaskOutcome::Done,
            Some(TaskState::Failed | TaskState::Cancelled) => TaskOutcome::Failed,
            Some(_) => TaskOutcome::Open,
            None if wish.ended_us.is_none() => TaskOutcome::Open,
            // The node died before the award, and a hire isn't resumed.
            None if wish.task.is_some() => TaskOutcome::Lost,
            None => TaskOutcome::Failed,
        };
        let reason = view.and_then(|view| view.failure.as_ref()).map(|(_, reason)| reason.clone());
        let ended = steps.get(&Step::Ended).copied().or(wish.ended_us);
        TaskRow {
            at_ms: wish.at_us / 1_000,
            buyer: wish.buyer.0,
            seller: seller.map(|host| host.0),
            service: wish.want.service,
            price_sat: view.and_then(|view| view.price),
            honest: seller.is_none_or(|host| self.cast.is_honest(host)),
            outcome,
            reason: if outcome == TaskOutcome::Done { None } else { reason.or_else(|| wish.error.clone()) },
            offered_ms: since(steps.get(&Step::Offered).copied()),
            awarded_ms: between(Step::Offered, Step::Awarded),
            accepted_ms: between(Step::Awarded, Step::Accepted),
            delivered_ms: between(Step::Accepted, Step::Delivered),
            total_ms: since(ended),
        }
    }

    pub(super) fn judge_wish(&mut self, wish: &Wish, view: &TaskView, agents: &BTreeMap<AgentId, HostId>) {
        // Deadlines are whole seconds; a second for the commit.
        let deadline_us = wish.at_us + (self.scenario.workload.deadline_s + 1) * 1_000_000;
        let input = wish.want.input();
        self.judge_bought(Bought { buyer: wish.buyer, service: wish.want.service, input, deadline_us }, view, agents);
    }

    /// Judges what somebody bought.
    pub(super) fn judge_bought(&mut self, bought: Bought, view: &TaskView, agents: &BTreeMap<AgentId, HostId>) {
        let Bought { buyer, service, input, deadline_us } = bought;
        // What a buyer that cheats says of its trades is no evidence; its sellers' books are judged all the same.
        let Some(node) = self.world.node(buyer).filter(|_| self.cast.is_honest(buyer)) else { return };
        let seller = view.peer.and_then(|peer| agents.get(&peer).copied());
        let output = match node.trade.output(view.task) {
            Ok(Some(Data::Inline(bytes))) => Some(bytes),
            _ => None,
        };
        let right_output = output
            .filter(|_| input.len() <= guilder_protocol::limits::MAX_INLINE)
            .map(|output| output == self.right_output(service, &input));
        let evidence = node.trade.evidence(view.task);
        // In escrow a trade goes on until its money falls back.
        let falls_back =
            evidence.iter().flatten().flat_map(|evidence| &evidence.awards).last().map(|award| award.part());
        let until = falls_back.filter(|part| part.key_hash().is_some()).map(|part| part.until());
        let audit = match evidence {
            Ok(Some(evidence)) => audit::verify(&audit::bundle(&evidence)).err().map(|error| error.to_string()),
            Ok(None) => Some("there is no evidence".into()),
            Err(error) => Some(error.to_string()),
        };
        let awarded_us = self.world.journal().steps(&view.task).get(&Step::Awarded).copied();
        let now = node.runtime.now().as_secs() as i64;
        let seen = Seen {
            state: view.state,
            money: view.money.clone(),
            // Who has forgotten what it did may take it for another's doing.
            honest_seller: seller.is_some_and(|host| self.cast.is_honest(host) && !self.world.had_other_home(host)),
            in_escrow: until.is_some(),
            past_deadline_secs: now - until.unwrap_or(view.deadline).as_secs() as i64,
            awarded_late: awarded_us.is_some_and(|at| at > deadline_us),
            right_output,
            worked: seller.zip(view.trade).is_some_and(|(host, trade)| self.world.executor(host).has_done(&trade)),
            receipt: view.receipt.is_some(),
            accepted: view.accepted.is_some(),
            received: view.received.is_some(),
            audit,
        };
        let at_ms = self.now_us() / 1_000;
        for (rule, what) in judge_trade(&seen) {
            let what = format!("host {} and task {}: {what} ({:?}, {:?})", buyer.0, view.task, view.state, view.money);
            self.judge.accuse(at_ms, rule, what, self.world.journal().last_events(&view.task));
        }
    }

    fn right_output(&self, service: u32, input: &[u8]) -> Vec<u8> {
        match &self.chains {
            Some(chains) => chains.output(service, input),
            None => honest_output(&self.services[service as usize], input),
        }
    }

    async fn node_rows(&self, tasks: &[TaskRow]) -> Vec<NodeRow> {
        let names = region_names(self.scenario);
        let mut rows = Vec::with_capacity(self.cast.len());
        for (host, part) in self.cast.iter() {
            let (sent, received) = self.world.fabric().bytes(host);
            let node = self.world.node(host);
            let balances = node.and_then(|node| node.wallet.balances().ok()).unwrap_or_default();
            let total = |of: fn(&Balance) -> u64| balances.iter().map(of).sum();
            let ours = || tasks.iter().filter(|task| task.buyer == host.0);
            let first = ours().map(|task| task.at_ms).min();
            let paid = ours().filter(|task| task.outcome == TaskOutcome::Done);
            let paid = paid.filter_map(|task| Some(task.at_ms + task.total_ms?)).min();
            rows.push(NodeRow {
                node: host.0,
                role: part.role,
                region: names.get(part.region).map(|(name, _)| (*name).to_owned()),
                nat: part.nat,
                up: node.is_some(),
                sent,
                received,
                peers: match node {
                    Some(node) => node.network.peers().await.len() as u32,
                    None => 0,
                },
                adverts: node.map_or(0, |node| node.catalogue.known() as u32),
                first_paid_ms: paid.zip(first).map(|(paid, first)| paid - first),
                paid_sat: total(|balance| balance.account.paid),
                earned_sat: total(|balance| balance.account.accepted - balance.account.voided),
                // What another home of the same phrase has spent is lost to this one, and to nobody.
                lost_sat: self.lost(host, tasks)
                    + if self.world.had_other_home(host) { 0 } else { total(|balance| balance.account.lost) },
            });
        }
        rows
    }

    /// What every host's bytes were for so far.
    fn traffic_rows(&self) -> Vec<TrafficRow> {
        let of_host = |host: HostId| {
            let bytes = self.world.meter(host).bytes(self.world.fabric().bytes(host));
            let row = move |(protocol, (sent, received)): (Protocol, _)| TrafficRow {
                node: host.0,
                protocol,
                sent,
                received,
            };
            bytes.into_iter().map(row)
        };
        self.world.hosts().flat_map(of_host).collect()
    }

    /// What a buyer paid to cheats and got nothing, or nothing of use, for.
    fn lost(&self, host: HostId, tasks: &[TaskRow]) -> u64 {
        let useless = |task: &&TaskRow| {
            task.buyer == host.0
                && !task.honest
                && task.outcome == TaskOutcome::Done
                && self.cheats_in_output(task.seller)
        };
        let junk: u64 = tasks.iter().filter(useless).filter_map(|task| task.price_sat).sum();
        let Some(node) = self.world.node(host) else { return junk };
        let forfeited: u64 =
            node.wallet.balances().unwrap_or_default().iter().map(|balance| balance.account.forfeited).sum();
        junk + forfeited
    }

    fn cheats_in_output(&self, seller: Option<u32>) -> bool {
        use crate::scenario::Adversary::{SellerDeliversGarbage, SellerReplays};
        let cheat = seller.and_then(|host| self.cast.part(HostId(host)).cheat);
        matches!(cheat, Some(SellerDeliversGarbage | SellerReplays))
    }

    fn flows(&self) -> Vec<Flow> {
        let mut flows = Vec::new();
        for (number, url) in self.mints.iter().enumerate() {
            let mut sums = BTreeMap::<(&str, &str), u64>::new();
            let mut add = |from, to, sat: u64| *sums.entry((from, to)).or_default() += sat;
            for host in self.world.hosts() {
                let Some(node) = self.world.node(host) else { continue };
                for balance in node
                    .wallet
                    .balances()
                    .unwrap_or_default()
                    .iter()
                    .filter(|balance| self.world.mints().get(url).is_some_and(|mint| mint.is_at(&balance.mint)))
                {
                    add("issued", "buyers", balance.account.funded);
                    add("buyers", "sellers", balance.account.paid + balance.account.forfeited);
                    add("buyers", "locked", balance.locked + balance.at_risk + balance.refunding);
                    add("wallets", "fees", balance.account.fees);
                    add("wallets", "lost", balance.account.lost);
                }
            }
            let flow = |((from, to), sat): ((&str, &str), u64)| Flow {
                mint: number as u32,
                from: from.to_owned(),
                to: to.to_owned(),
                sat,
            };
            flows.extend(sums.into_iter().filter(|(_, sat)| *sat > 0).map(flow));
        }
        flows
    }
}
