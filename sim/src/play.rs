//! Plays a scenario: builds its world, lets its time pass, and says what came of it.
//!
//! ```text
//! open    mints, hosts, nodes; services on sale, buyers' money          until warmup_s
//! run     wishes, searches, faults and misbehaviour, as the timeline has them
//! drain   no more wishes; what is open ends                              until duration_s
//! reckon  everybody back, everything healed; the judge counts
//! ```
//!
//! One task owns the world and does what the timeline says, in its order. What takes time (a hire, a search) runs in a task
//! of its own and writes down what came of it.

mod chains;
mod duties;
mod eclipse;
mod faults;
mod misbehaviour;
mod plan;
mod rows;
mod sabotage;
mod sales;
mod timeline;
mod tokens;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cid::Cid;
use guilder::{
    config::Config,
    content::Data,
    executor::{
        Definition,
        definition::{HttpSettings, Run, Subcontract},
    },
    grants::GrantTerms,
    network::Walk,
    network::service_key,
    parts::Node,
    trade::Hire,
};
use guilder_protocol::{
    market::{MintUrl, ServiceName, Unit},
    time::Timestamp,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use self::{
    faults::Episode,
    timeline::{Action, Timeline},
};
pub use self::{
    sabotage::Sabotage,
    watch::{EVERY_S, Watch},
};
use crate::{
    cast::{Cast, region_names, replay_receipts},
    chains::{Chains, service_names},
    fabric::{HostId, Topology},
    interpose::{self, Rng},
    judge::Judge,
    mint::{Condition, ModelMint},
    results::{Results, RevocationRow, Sample, SearchRow},
    scenario::{Adversary, Payment, Scenario, Start, regions},
    trace::Trace,
    workload::{Want, Wishes, between, secs, sold_by},
    world::{
        World, WorldError,
        executor::{Habit, Pace},
    },
};

/// How long it is looked whether nodes refuse what was taken back, in microseconds, and how often.
const REFUSAL_LOOK_US: u64 = 30_000_000;
const REFUSAL_LOOK_EVERY: Duration = Duration::from_millis(20);
/// In escrow: how long after a deadline money is released, how long after that redeemed, and how long after that it falls back.
const ESCROW_SECS: (u64, u64, u64) = (120, 120, 120);
/// How long the last swaps may take to settle once everybody is back.
const SETTLE: Duration = Duration::from_secs(120);
/// Nodes start one after the other, this far apart at the most.
const START_GAP: Duration = Duration::from_millis(50);

/// Plays a scenario with a seed. Must be called within the paused runtime whose clock it is to use.
///
/// # Errors
/// If a node doesn't start, or the trace can't be written.
pub async fn play(
    scenario: &Scenario,
    seed: u64,
    trace: &Trace,
    watch: Watch,
    sabotage: Option<Sabotage>,
) -> Result<Results, WorldError> {
    let mut play = Play { watch, sabotage, ..Play::prepare(scenario, seed, trace)? };
    play.open().await?;
    play.pass_until(Duration::from_secs(scenario.duration_s)).await?;
    if play.over {
        return play.cut_short(seed, trace);
    }
    play.reckon().await?;
    play.results(seed, trace).await
}

/// A run under way.
struct Play<'a> {
    scenario: &'a Scenario,
    world: World,
    cast: Cast,
    mints: Vec<MintUrl>,
    unit: Unit,
    services: Vec<ServiceName>,
    /// What work is passed on, if any is.
    chains: Option<Arc<Chains>>,
    timeline: Timeline,
    /// What goes wrong, and what went.
    episodes: Vec<Episode>,
    /// Whether the timeline has been written.
    planned: bool,
    /// Which way of many this is.
    way: u64,
    /// By host.
    wishes: Vec<Wishes>,
    notes: Notes,
    judge: Judge,
    watch: Watch,
    sabotage: Option<Sabotage>,
    /// Whether it has ended early.
    over: bool,
    rng: Rng,
    start: Instant,
    real_start: f64,
    last_fault_s: f64,
    /// Mints that lie at some time: what they owe nobody can say.
    liars: Vec<usize>,
    vanish: (mpsc::Sender<HostId>, mpsc::Receiver<HostId>),
    samples: Vec<Sample>,
    /// When each buyer got its standing order, by its own clock.
    began_duty: BTreeMap<HostId, Timestamp>,
}

/// A wish, and what is known of it.
#[derive(Clone, Debug)]
struct Wish {
    at_us: u64,
    buyer: HostId,
    want: Want,
    task: Option<Cid>,
    /// Why it came to nothing, if it came to no award.
    error: Option<String>,
    ended_us: Option<u64>,
}

/// What tasks of their own write down. Cheap to clone.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    wishes: Vec<Wish>,
    searches: Vec<SearchRow>,
    revocations: Vec<RevocationRow>,
    funding: usize,
    /// True tokens that were given, and those of them that somebody has received.
    tokens: (u64, u64),
    /// What was wrong with tokens: worth more or less than was given for them.
    token_faults: Vec<String>,
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Play<'a> {
    fn prepare(scenario: &'a Scenario, seed: u64, trace: &Trace) -> Result<Self, WorldError> {
        let mut rng = Rng::new(seed ^ 0x9_1a7e);
        let cast = Cast::new(scenario, &mut rng);
        let mut world = World::new(seed, topology(scenario), trace.clone())?;
        let unit: Unit = "sat".parse().map_err(WorldError::new)?;
        let services = service_names(&scenario.services).map_err(WorldError::new)?;
        let chains = Chains::of(scenario).map_err(WorldError::new)?.map(Arc::new);
        for (_, part) in cast.iter().filter(|(_, part)| !part.cheat.is_some_and(Adversary::has_no_node)) {
            let mut config = Config::default();
            config.wallet.unit = unit.clone();
            if scenario.workload.mode != Payment::Prepaid {
                // Every moment comes within the run.
                let redemption = &mut config.wallet.redemption;
                (redemption.release_secs, redemption.redeem_secs, redemption.escrow_margin_secs) = ESCROW_SECS;
            }
            if let Some([low, high]) = scenario.population.connections {
                (config.network.low_water, config.network.high_water) = (low, high);
            }
            let host = world.add_host(part.region, config);
            world.set_clock(host, part.clock_off_s);
            world.set_failpoint(host, part.failpoint());
            if let Some(chains) = &chains {
                world.executor(host).set_chains(Arc::clone(chains));
            }
            if let Some((kind, nat)) = part.nat.zip(scenario.topology.nat.as_ref()) {
                world.fabric().put_behind_nat(host, kind, Duration::from_secs(nat.mapping_s));
            }
        }
        eclipse::lay(&cast, &services, &mut world, &mut rng);
        let mints = open_mints(scenario, &mut world)?;
        let wishes = (0..cast.len() as u64).map(|host| Wishes::new(seed ^ (host << 20) ^ 0x3158)).collect();
        Ok(Self {
            scenario,
            world,
            cast,
            mints,
            unit,
            services,
            chains,
            timeline: Timeline::default(),
            episodes: Vec::new(),
            planned: false,
            way: interpose::way(),
            wishes,
            notes: Notes::default(),
            judge: Judge::default(),
            watch: Watch::default(),
            sabotage: None,
            over: false,
            rng,
            start: Instant::now(),
            real_start: interpose::real_secs(),
            last_fault_s: 0.0,
            liars: Vec::new(),
            vanish: mpsc::channel(64),
            samples: Vec::new(),
            began_duty: BTreeMap::new(),
        })
    }

    /// Nodes, services, money; until the warm-up is over.
    async fn open(&mut self) -> Result<(), WorldError> {
        let hosts: Vec<HostId> = self.world.hosts().collect();
        let warmup = Duration::from_secs(self.scenario.warmup_s);
        let gap = START_GAP.min(warmup / (4 * hosts.len() as u32));
        self.plan_looks();
        let converged = self.scenario.start == Start::Converged;
        // Whoever is told of one peer asks its way from there, which is what a converged start is to spare.
        let bootstrap = if converged { &[] } else { &hosts[..1] };
        for host in &hosts {
            self.world.start(*host, bootstrap).await?;
            self.pass_until(self.start.elapsed() + gap).await?;
        }
        if converged {
            self.world.converge().await;
        }
        self.pass_until(self.start.elapsed() + warmup / 10).await?;
        // One after the other, as markets do: all at once would be a storm of announcements.
        let gap = warmup * 2 / (5 * hosts.len() as u32);
        let mut seller = 0;
        for host in &hosts {
            self.pass_until(self.start.elapsed() + gap).await?;
            let part = self.cast.part(*host).clone();
            if part.sells() {
                self.set_up_shop(*host, seller);
                seller += 1;
            }
            // Who passes work on pays for it before it is paid.
            let passes_on = self.chains.is_some() && part.sells();
            if part.buys() || passes_on || part.cheat == Some(Adversary::BuyerDoubleLocks) {
                self.fund(*host);
            }
            if part.buys() {
                self.give_duty(*host);
            }
        }
        if self.scenario.workload.duties.is_some() {
            self.timeline.at_secs(self.scenario.workload_ends_s() as f64, Action::PauseDuties);
        }
        self.plan();
        self.plan_sabotage();
        self.pass_until(warmup).await
    }

    fn set_up_shop(&mut self, host: HostId, number: u32) {
        let sold = &self.scenario.services;
        let [least, most] = sold.work_ms.map(Duration::from_millis);
        let mut pace = Pace { least, spread: most.saturating_sub(least) };
        let executor = Arc::clone(self.world.executor(host));
        executor.set_fails(sold.fails);
        let cheat = self.cast.part(host).cheat;
        match cheat {
            Some(Adversary::SellerVanishes) => {
                executor.set_habit(Habit::Vanishes);
                let (tell, executor) = (self.vanish.0.clone(), Arc::clone(&executor));
                tokio::spawn(async move {
                    executor.vanish.notified().await;
                    // The run is over if nobody listens.
                    let _ = tell.send(host).await;
                });
            }
            Some(Adversary::SellerDeliversGarbage) => executor.set_habit(Habit::Garbage),
            Some(Adversary::SellerReplays) => executor.set_habit(Habit::Replays),
            Some(Adversary::SellerIsLate) => pace.least += Duration::from_secs(self.scenario.workload.deadline_s + 5),
            _ => {}
        }
        let Some(node) = self.world.node(host).cloned() else { return };
        if cheat == Some(Adversary::SellerReplays) {
            tokio::spawn(replay_receipts(node.clone()));
        }
        let mut definitions = Vec::new();
        let everything = cheat == Some(Adversary::SybilAdverts);
        for service in
            (0..sold.kinds()).filter(|service| everything || sold_by(sold, number).any(|sold| sold == *service))
        {
            // A cheat undercuts everybody.
            let price = if cheat.is_some() { sold.price_sat[0] } else { between(sold.price_sat, &mut self.rng) };
            let name = self.services[service as usize].clone();
            executor.set_pace(name.clone(), pace);
            let may_spend = self.chains.as_ref().and_then(|chains| chains.may_spend(service));
            // What a task may cost its seller is in its price.
            let price = price + may_spend.unwrap_or(0);
            definitions.push(definition(name, price, self.unit.clone(), may_spend));
        }
        tokio::spawn(async move {
            for definition in definitions {
                let mut pause = Duration::from_secs(1);
                while node.catalogue.add(definition.clone()).await.is_err() && pause < Duration::from_secs(20) {
                    sleep(pause).await;
                    pause *= 2;
                }
            }
            if cheat == Some(Adversary::SybilAdverts) {
                // It is found, and turns everybody away.
                node.trade.stop_taking();
            }
        });
    }

    /// Where a buyer's money is, by the URL that it comes from.
    fn mint_of(&self, host: HostId) -> MintUrl {
        let (count, host) = (self.mints.len(), host.0 as usize);
        let url = &self.mints[host % count];
        let proxy = self.world.mints().get(url).and_then(ModelMint::proxy_url);
        proxy.filter(|_| host / count % 2 == 1).unwrap_or_else(|| url.clone())
    }

    /// Gives a buyer its money, at the mint whose turn it is.
    fn fund(&self, host: HostId) {
        let Some(node) = self.world.node(host).cloned() else { return };
        let mint = self.mint_of(host);
        let (unit, amount, notes) = (self.unit.clone(), self.scenario.workload.purse_sat, self.notes.clone());
        notes.lock().funding += 1;
        tokio::spawn(async move {
            for _ in 0..20 {
                if brought(&node, &mint, &unit, amount).await {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            notes.lock().funding -= 1;
        });
    }

    /// Lets time pass until a moment of the run, and does what the timeline says meanwhile.
    async fn pass_until(&mut self, end: Duration) -> Result<(), WorldError> {
        let end_us = self.end_of(end).as_micros() as u64;
        while !self.over {
            let next = self.timeline.next_at().unwrap_or(end_us).min(end_us);
            tokio::select! {
                biased;
                () = sleep_until(self.start + Duration::from_micros(next)) => {}
                Some(host) = self.vanish.1.recv() => {
                    self.world.kill(host, false).await;
                    continue;
                }
            }
            if self.way != interpose::way() {
                self.plan_anew();
                continue;
            }
            if self.timeline.next_at().is_none_or(|at| at >= end_us) {
                break;
            }
            if let Some(action) = self.timeline.pop() {
                self.act(action).await?;
            }
        }
        self.end_if_due();
        Ok(())
    }

    async fn act(&mut self, action: Action) -> Result<(), WorldError> {
        match action {
            Action::Wish(host) => self.wish(host),
            Action::Search => self.search(),
            Action::Revocation => self.revoke(),
            Action::Misbehaviour(host) => self.misbehave(host),
            Action::Kill { host, reset } => self.world.kill(host, reset).await,
            Action::Restart(host) if !self.world.is_up(host) => self.bring_back(host).await?,
            Action::Restart(_) => {}
            Action::Cut { hosts, one_way } => {
                let group = |host: HostId| u32::from(hosts.contains(&host));
                if one_way {
                    self.world.fabric().partition_one_way(group);
                } else {
                    self.world.fabric().partition(group);
                }
            }
            Action::Heal => self.world.fabric().partition(|_| 0),
            Action::MintCondition(number, condition) => {
                if condition.lie.is_some() {
                    self.liars.push(number);
                }
                self.mint(number, |mint| mint.set_condition(condition));
            }
            Action::MintRotates(number) => self.mint(number, ModelMint::rotate),
            Action::BackUp(host) => self.world.back_up(host),
            Action::PutBack(host) => self.world.put_back(host),
            Action::Twin(host) => self.open_twin(host).await?,
            Action::TwinEnds(host) => self.world.end_twin(host).await,
            Action::Token => self.give_token(),
            Action::PauseDuties => self.pause_duties(),
            Action::DiskFull(host, full) => self.world.set_full(host, full),
            Action::ClockStep(host, by_s) => {
                let own = self.cast.part(host).clock_off_s;
                self.world.step_clock(host, own + by_s);
            }
            Action::Proxy(number, failure) => self.mint(number, |mint| mint.set_proxy_failure(failure)),
            Action::Sample => self.sample(),
            Action::Judge => self.look(),
            Action::Sabotage(sabotage, second) => self.commit_sabotage(sabotage, second).await?,
        }
        Ok(())
    }

    async fn bring_back(&mut self, host: HostId) -> Result<(), WorldError> {
        self.world.restart(host, &[HostId(0)]).await?;
        if self.start.elapsed().as_secs() >= self.scenario.workload_ends_s() {
            self.pause_duties();
        }
        Ok(())
    }

    fn mint(&self, number: usize, act: impl FnOnce(&ModelMint)) {
        if let Some(mint) = self.mints.get(number).and_then(|url| self.world.mints().get(url)) {
            act(mint);
        }
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// A buyer wants something; and the moment of its next wish is drawn.
    fn wish(&mut self, host: HostId) {
        let (now_us, workload) = (self.now_us(), &self.scenario.workload);
        let now = now_us as f64 / 1e6;
        let wishes = &mut self.wishes[host.0 as usize];
        let want = wishes.want(workload, self.scenario.services.count, now);
        if let Some(at) = wishes.next(workload, now).filter(|at| *at < self.scenario.workload_ends_s() as f64) {
            self.timeline.at_secs(at, Action::Wish(host));
        }
        let Some(node) = self.world.node(host).cloned() else { return };
        let hire = Hire {
            max_price: Some(workload.budget_sat),
            unit: Some(self.unit.clone()),
            deadline_secs: Some(workload.deadline_s),
            mode: Some(workload.mode.into()),
            ..Hire::of(self.services[want.service as usize].clone())
        };
        let hire = match &self.chains {
            Some(chains) => chains.letting(want.service, hire),
            None => hire,
        };
        let input = Data::Inline(Bytes::from(want.input()));
        let notes = self.notes.clone();
        let wish = Wish { at_us: now_us, buyer: host, want, task: None, error: None, ended_us: None };
        let index = {
            let mut noted = notes.lock();
            noted.wishes.push(wish);
            noted.wishes.len() - 1
        };
        let start = self.start;
        tokio::spawn(async move {
            let error = match node.trade.hire(hire, input).await {
                Ok(handle) => {
                    notes.lock().wishes[index].task = Some(handle.task);
                    handle.done().await.err()
                }
                Err(error) => Some(error),
            };
            let mut noted = notes.lock();
            let wish = &mut noted.wishes[index];
            wish.error = error.map(|error| error.to_string());
            wish.ended_us = Some(start.elapsed().as_micros() as u64);
        });
    }

    /// Somebody looks for a service, until an honest provider is found.
    fn search(&mut self) {
        let at_us = self.now_us();
        let host = HostId(self.rng.below(self.cast.len() as u64) as u32);
        let service = self.rng.below(self.services.len() as u64) as u32;
        let Some(node) = self.world.node(host).filter(|_| self.cast.is_honest(host)).cloned() else { return };
        let (name, notes, start) = (self.services[service as usize].clone(), self.notes.clone(), self.start);
        let (agent, meter) = (self.world.agent(host), Arc::clone(self.world.meter(host)));
        let cheats = self.world.hosts().filter(|host| !self.cast.is_honest(*host));
        let cheats: BTreeSet<_> = cheats.map(|host| self.world.agent(host)).collect();
        tokio::spawn(async move {
            let followed = meter.follow(agent, service_key(&name).as_ref(), &node.network.routing().await);
            let mut found = node.network.find(&name, 3, Walk::Whole).await;
            let mut first = found.recv().await;
            while first.is_some_and(|found| cheats.contains(&found)) {
                first = found.recv().await;
            }
            let found_ms = first.map(|_| (start.elapsed().as_micros() as u64 - at_us) / 1_000);
            let (asked, named_at) = followed.so_far();
            // What nobody named was on record here.
            let (hops, asked) = first.map(|_| (named_at.unwrap_or(0), asked)).unzip();
            let row = SearchRow { at_ms: at_us / 1_000, node: host.0, service, found_ms, hops, asked };
            notes.lock().searches.push(row);
        });
    }

    /// Somebody grants something and takes it back; the others' refusals are waited for.
    fn revoke(&mut self) {
        let at_us = self.now_us();
        let host = HostId(self.rng.below(self.cast.len() as u64) as u32);
        let Some(node) = self.world.node(host).filter(|_| self.cast.is_honest(host)).cloned() else { return };
        let nodes = self.world.hosts().filter_map(|host| self.world.node(host));
        let known: Vec<_> = nodes.map(|node| node.grants.revocations().clone()).collect();
        let (notes, start, service) = (self.notes.clone(), self.start, self.services[0].clone());
        let terms = GrantTerms {
            grantee: self.world.agent(HostId((host.0 + 1) % self.cast.len() as u32)),
            services: vec![service],
            unit: self.unit.clone(),
            mint: self.mint_of(host),
            max_price: 1,
            budget: 1,
            max_depth: 1,
            expires: node.runtime.now().saturating_add(3_600),
            under: None,
        };
        tokio::spawn(async move {
            let Ok(given) = node.grants.grant(terms).await else { return };
            // Handing it over has taken its time.
            let revoked_us = start.elapsed().as_micros() as u64;
            if node.grants.revoke_given(given.chain.cid()).await.is_err() {
                return;
            }
            let up = known.len();
            let mut row =
                RevocationRow { at_ms: at_us / 1_000, node: host.0, up: up as u32, ..RevocationRow::default() };
            while row.most_ms.is_none() && start.elapsed().as_micros() as u64 - revoked_us < REFUSAL_LOOK_US {
                let refusing = known.iter().filter(|known| given.chain.revoked(*known).is_some()).count();
                let took = Some((start.elapsed().as_micros() as u64 - revoked_us) / 1_000);
                if 2 * refusing >= up {
                    row.half_ms = row.half_ms.or(took);
                }
                if 100 * refusing >= 95 * up {
                    row.most_ms = took;
                }
                sleep(REFUSAL_LOOK_EVERY).await;
            }
            notes.lock().revocations.push(row);
        });
    }

    /// Everybody back, everything healed, and time for the last swaps; then the counting.
    async fn reckon(&mut self) -> Result<(), WorldError> {
        self.world.fabric().partition(|_| 0);
        for number in 0..self.mints.len() {
            self.mint(number, |mint| {
                mint.set_condition(Condition::default());
                mint.set_proxy_failure(None);
            });
        }
        let dead: Vec<HostId> = self.world.hosts().filter(|host| !self.world.is_up(*host)).collect();
        for host in dead {
            self.world.executor(host).set_habit(Habit::Honest);
            self.bring_back(host).await?;
        }
        self.sync_homes().await;
        let until = Instant::now() + SETTLE;
        while Instant::now() < until && !self.is_quiet() {
            sleep(secs(1.0)).await;
        }
        self.judge.look(&self.world, &self.cast, self.now_us() / 1_000);
        Ok(())
    }

    /// Whether no swap waits for a mint.
    fn is_quiet(&self) -> bool {
        let nodes = self.world.hosts().filter_map(|host| self.world.node(host));
        self.notes.lock().funding == 0 && nodes.into_iter().all(|node| node.wallet.swaps_in_flight().unwrap_or(1) == 0)
    }
}

async fn brought(node: &Node, mint: &MintUrl, unit: &Unit, amount: u64) -> bool {
    let Ok(quote) = node.wallet.fund(mint, unit, amount).await else { return false };
    let paid = node.wallet.await_funds(mint, unit, &quote.id, Duration::from_secs(20)).await;
    matches!(paid, Ok(Some(_)))
}

fn definition(name: ServiceName, price: u64, unit: Unit, may_spend: Option<u64>) -> Definition {
    // What runs is the simulator's in any case; but the echo hires nobody.
    let url = "http://127.0.0.1:1/".to_owned();
    let hires = Run::Http(HttpSettings { url, headers: BTreeMap::new(), allow_remote: false });
    Definition {
        name,
        description: "simulated work".into(),
        price,
        unit,
        mints: Vec::new(),
        input: None,
        output: None,
        concurrency: 4,
        time_limit_secs: 600,
        memory_mb: 64,
        max_input_bytes: 64 << 20,
        max_output_bytes: 1 << 20,
        run: if may_spend.is_some() { hires } else { Run::Echo },
        subcontract: may_spend.map(|budget| Subcontract { services: Vec::new(), budget, strangers: true }),
    }
}

/// The mints, each on a host in its region. After the nodes, whose hosts count from 0.
fn open_mints(scenario: &Scenario, world: &mut World) -> Result<Vec<MintUrl>, WorldError> {
    let terms = &scenario.mints;
    let [least, most] = terms.answer_ms.map(Duration::from_millis);
    let names = region_names(scenario);
    let mut urls = Vec::new();
    for (number, region) in (0..terms.count).zip(mint_regions(scenario, &names)) {
        let url: MintUrl = format!("https://mint{number}.sim").parse().map_err(WorldError::new)?;
        let mint = world.add_mint(region, url.clone(), terms.fee_ppk, (least, most));
        mint.set_condition(usual_condition(scenario));
        if terms.proxied {
            let proxy = format!("https://proxy{number}.sim").parse().map_err(WorldError::new)?;
            world.add_proxy(region, &mint, proxy);
        }
        urls.push(url);
    }
    Ok(urls)
}

/// Where mint 0, mint 1, … stand, as places among the scenario's regions.
fn mint_regions<'a>(scenario: &'a Scenario, names: &'a [(&str, f64)]) -> impl Iterator<Item = usize> + 'a {
    let named = scenario.mints.regions.iter().filter_map(|mint| names.iter().position(|(name, _)| name == mint));
    let mut dealt: Vec<usize> = named.collect();
    if dealt.is_empty() {
        dealt = (0..names.len()).collect();
    }
    dealt.into_iter().cycle()
}

fn usual_condition(scenario: &Scenario) -> Condition {
    Condition { lost_replies: scenario.mints.lose_replies, ..Condition::default() }
}

fn topology(scenario: &Scenario) -> Topology {
    let given = &scenario.topology;
    let micros = |millis: f64| (millis * 1_000.0) as u64;
    let known: Vec<usize> = region_names(scenario).iter().filter_map(|(name, _)| regions::index(name)).collect();
    let row = |from: &usize| known.iter().map(|to| regions::one_way_us(*from, *to)).collect();
    Topology {
        nearest_us: 2 * micros(given.last_mile_ms),
        span_us: 0,
        jitter_us: micros(given.jitter_ms),
        loss: given.loss,
        uplink_bps: (given.uplink_mbps * 1e6) as u64,
        regions_us: known.iter().map(row).collect(),
    }
}
