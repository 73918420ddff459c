//! Agents that hire agents: A hires B, which hires C in A's name, which hires D; and what keeps each within A's bounds.

use std::{collections::BTreeSet, sync::Mutex};

use futures::future::join_all;
use guilder_protocol::{
    award::AwardArgs, fault::AtFault, limits::MAX_SUB_RECEIPTS, receipt::FailureCode, wire::Reason,
};

use super::*;
use crate::executor::{ExecError, Output, Subcontract, Work, definition::ProcessSettings};

/// The way from an executor to its own node. It is taken away before a crash: a node that holds on to itself is never gone.
type Way = Arc<Mutex<Option<Trade>>>;

/// Work that is passed on: to as many hires at once as it is told.
#[derive(Clone, Debug)]
struct PassesOn {
    trade: Way,
    hire: Hire,
    at_once: usize,
    budget: u64,
    services: Vec<ServiceName>,
    /// What became of each hire.
    told: mpsc::Sender<Result<u64, String>>,
}

#[async_trait]
impl Executor for PassesOn {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let trade = self.trade.lock().unwrap().clone().unwrap();
        let hiring = |_| async {
            let under = Under { award: work.award, services: self.services.clone(), budget: self.budget };
            let hire = Hire { under: Some(under), ..self.hire.clone() };
            let outcome = match trade.hire(hire, work.input.clone()).await {
                Ok(handle) => handle.done().await,
                Err(error) => Err(error),
            };
            let delivered = match outcome {
                Ok(hired) if hired.ended.output.is_some() => Ok(hired.deal.award.args().spent),
                Ok(hired) => Err(format!("{:?}", hired.ended.outcome)),
                Err(error) => Err(error.to_string()),
            };
            // Nobody may listen.
            let _ = self.told.try_send(delivered.clone());
            delivered
        };
        let outcomes = join_all((0..self.at_once).map(hiring)).await;
        match outcomes.into_iter().find_map(Result::err) {
            None => Ok(work.input),
            Some(why) => Err(ExecError::Failed { how: "exit code 1".into(), last_words: why }),
        }
    }
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn named(name: &str, price: u64) -> Definition {
    Definition { name: service(name), concurrency: 64, ..definition(price) }
}

/// What passes work on, as the test sees it.
struct Passing {
    way: Way,
    outcomes: mpsc::Receiver<Result<u64, String>>,
}

impl Passing {
    async fn next(&mut self) -> Result<u64, String> {
        in_time(self.outcomes.recv()).await.unwrap()
    }
}

/// Has a node pass a service on as `hire` says.
async fn passes_on(node: &Node, name: &str, price: u64, hire: Hire, at_once: usize) -> Passing {
    passes_on_within(node, named(name, price), hire, (at_once, u64::MAX, vec![])).await
}

async fn passes_on_within(
    node: &Node,
    definition: Definition,
    hire: Hire,
    (at_once, budget, services): (usize, u64, Vec<ServiceName>),
) -> Passing {
    let (told, outcomes) = mpsc::channel(256);
    let trade: Way = Arc::new(Mutex::new(Some(node.trade.clone())));
    let way = Arc::clone(&trade);
    node.sell_as(definition, Some(Arc::new(PassesOn { trade, hire, at_once, budget, services, told }))).await;
    Passing { way, outcomes }
}

/// A hire within a task: what it leaves open the task decides.
fn sub(name: &str, seller: &Node) -> Hire {
    Hire { seller: Some(seller.id()), mode: Some(HireMode::Prepaid), ..Hire::of(service(name)) }
}

/// A hire that lets the seller subcontract `services` for so much.
fn letting(name: &str, seller: &Node, services: &[&str], budget: u64, depth: u64) -> Hire {
    Hire {
        allow_subcontract: services.iter().map(|name| service(name)).collect(),
        sub_budget: Some(budget),
        sub_depth: Some(depth),
        ..Hire { service: service(name), ..of(seller.id()) }
    }
}

/// Nodes that know each other, with money each.
async fn nodes<const N: usize>(bank: &Bank) -> [Node; N] {
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=N as u8 {
        let mut plan = match nodes.first() {
            Some(first) => Plan::joining(bank, seed, first),
            None => Plan::new(bank, seed),
        };
        plan.config.queue = 128;
        let node = plan.start().await;
        node.fund(2_000).await;
        for other in &nodes {
            node.connect(other).await;
        }
        nodes.push(node);
    }
    nodes.try_into().unwrap_or_else(|_| panic!("as many as were started"))
}

/// The awards that a node gave in a task, as far as they were signed.
fn awards_of(node: &Node, root: Cid) -> Vec<AwardArgs> {
    let rows = node.store.read(|r| r.range(super::super::records::DEALS, KeyRange::all(), usize::MAX)).unwrap();
    let args =
        rows.into_iter().filter(|(_, deal)| deal.buyer() == node.id()).map(|(_, deal)| deal.award.args().clone());
    args.filter(|args| args.task == root && args.depth > 0).collect()
}

/// Checks that no two awards count on the same money, and none on more than there is.
fn check_totals(awards: &[AwardArgs], budget: u64) {
    let mut spans: Vec<_> = awards.iter().map(|args| (args.spent - args.price, args.spent)).collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two awards overlap: {spans:?}");
    assert!(spans.iter().all(|(_, total)| *total <= budget), "over the budget: {spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_passed_on_through_a_chain_of_four_agents() {
    let bank = Bank::open().await;
    let [a, b, c, d] = nodes(&bank).await;
    d.sell_as(named("text.d", 5), None).await;
    let mut by_c = passes_on(&c, "text.c", 11, sub("text.d", &d), 1).await;
    let on = letting("text.c", &c, &["text.d"], 6, 1);
    let on = Hire { max_price: None, deadline_secs: None, unit: None, mode: Some(HireMode::Prepaid), ..on };
    let mut by_b = passes_on(&b, "text.b", 30, on, 1).await;

    let hired = a.hire(letting("text.b", &b, &["text.c", "text.d"], 20, 2), b"down the line").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false }, "{:?}", by_b.outcomes.try_recv());
    assert_eq!(output(&hired), "down the line");
    // What B granted on to C is debited in full with C's price.
    assert_eq!((by_b.next().await, by_c.next().await), (Ok(17), Ok(5)));

    let task = hired.deal.award.args().task;
    let view = |node: &Node| {
        let rows = node.store.read(|r| r.range(super::super::records::DEALS, KeyRange::all(), usize::MAX)).unwrap();
        rows.into_iter().map(|(_, deal)| deal).find(|deal| deal.seller() == node.id()).unwrap()
    };
    let (at_c, at_d) = (view(&c), view(&d));
    for deal in [&at_c, &at_d] {
        assert_eq!((deal.award.principal(), deal.award.args().task), (a.id(), task));
    }
    let line =
        |deal: &guilder_protocol::trade::Deal| deal.chain.iter().map(|link| (link.iss, link.aud)).collect::<Vec<_>>();
    assert_eq!(line(&at_c), [(a.id(), b.id())]);
    assert_eq!(line(&at_d), [(a.id(), b.id()), (b.id(), c.id())]);
    assert_eq!((at_d.award.args().depth, at_d.award.args().spent), (2, 5));
    // The buyer's bundle is the whole tree: what was handed over with each delivery is in it.
    until(|| async {
        let evidence = a.trade.evidence(task).unwrap().unwrap();
        let report = guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
        let tree: Vec<_> = report.tree().into_iter().map(|(depth, hire)| (depth, hire.args.seller)).collect();
        assert_eq!(tree, [(0, b.id()), (1, c.id()), (2, d.id())], "{report}");
        report.hires.iter().all(|hire| hire.is_delivered() && hire.elsewhere.is_empty())
    })
    .await;
    // Each is listed under what it asked, and what it sold under the task.
    for (node, tasks) in [(&a, 1), (&b, 2), (&c, 2), (&d, 1)] {
        let views = node.trade.tasks(Page::default()).unwrap();
        assert_eq!(views.len(), tasks);
        for view in views {
            assert_eq!(view.side == crate::events::Side::Buyer && node.id() != a.id(), view.task != task);
            let evidence = node.trade.evidence(view.trade.unwrap()).unwrap().unwrap();
            guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bound_of_a_chain_is_named_where_it_refuses() {
    let bank = Bank::open().await;
    let [a, b, c] = nodes(&bank).await;
    for name in ["text.c", "text.dear"] {
        c.sell_as(named(name, if name == "text.c" { 5 } else { 15 }), None).await;
    }
    let cheap = sub("text.c", &c);
    let mine = service("text.c");
    let nothing = Hire { service: service("text.b"), ..of(b.id()) };
    let some = |budget, depth| letting("text.b", &b, &["text.c", "text.dear"], budget, depth);
    let deeper = letting("text.c", &c, &["text.d"], 3, 1);
    let deeper = Hire { max_price: None, deadline_secs: None, unit: None, ..deeper };
    for (wanted, hire, passes, own) in [
        ("lets nothing of it be subcontracted", nothing, cheap.clone(), (u64::MAX, vec![])),
        ("does not allow this service", some(20, 1), sub("text.other", &c), (u64::MAX, vec![])),
        ("over what is left", some(20, 1), Hire { max_price: Some(21), ..cheap.clone() }, (u64::MAX, vec![])),
        (
            "deadline is after the last",
            some(20, 1),
            Hire { deadline_secs: Some(900), ..cheap.clone() },
            (u64::MAX, vec![]),
        ),
        (
            "does not allow this unit",
            some(20, 1),
            Hire { unit: "sat".parse().ok(), ..cheap.clone() },
            (u64::MAX, vec![]),
        ),
        (
            "does not allow this mint",
            some(20, 1),
            Hire { mint: "https://other.example".parse().ok(), ..cheap.clone() },
            (u64::MAX, vec![]),
        ),
        ("no seller made an acceptable offer", some(10, 1), sub("text.dear", &c), (u64::MAX, vec![])),
        ("own file lets it subcontract text.c", some(20, 1), sub("text.dear", &c), (u64::MAX, vec![mine])),
        ("over what is left", some(20, 1), Hire { max_price: Some(6), ..cheap.clone() }, (5, vec![])),
        // 5 and what it lets C pass on are over 7, which is known once there is an offer.
        ("does not allow this much in all", some(7, 2), deeper, (u64::MAX, vec![])),
    ] {
        let bounds = (1, own.0, own.1);
        let mut outcomes = passes_on_within(&b, named("text.b", 30), passes, bounds).await;
        let hired = a.hire(hire, b"x").await.unwrap();
        let BuyerOutcome::Failed(error) = &hired.ended.outcome else { panic!("{wanted}: {:?}", hired.ended.outcome) };
        assert_eq!(error.code, FailureCode::Crashed);
        let why = outcomes.next().await.unwrap_err();
        assert!(why.contains(wanted), "{why:?} says {wanted:?}");
        assert_eq!(awards_of(&b, hired.deal.award.args().task), [], "{wanted}");
    }
    // A chain of one level: C may not be let to pass it on.
    let on = letting("text.c", &c, &["text.c"], 3, 1);
    let on = Hire { max_price: None, deadline_secs: None, unit: None, ..on };
    let mut by_c = passes_on(&c, "text.c", 5, sub("text.c", &b), 1).await;
    let _by_b = passes_on(&b, "text.b", 30, on, 1).await;
    let hired = a.hire(letting("text.b", &b, &["text.c"], 20, 1), b"x").await.unwrap();
    assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)));
    let why = by_c.next().await.unwrap_err();
    assert!(why.contains("subcontracting this deep"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_budget_is_not_spent_twice_by_64_awards_at_once() {
    let bank = Bank::open().await;
    let [a, b, c] = nodes(&bank).await;
    c.sell_as(named("text.c", 7), None).await;
    let mut outcomes = passes_on(&b, "text.b", 30, sub("text.c", &c), MAX_SUB_RECEIPTS).await;
    let hired = a.hire(letting("text.b", &b, &["text.c"], 75, 1), b"x").await.unwrap();
    assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)), "{:?}", hired.ended.outcome);
    let (mut delivered, mut refused) = (BTreeSet::new(), 0);
    for _ in 0..MAX_SUB_RECEIPTS {
        match outcomes.next().await {
            Ok(spent) => assert!(delivered.insert(spent), "{spent} twice"),
            Err(why) => {
                assert!(
                    why.contains("this much in all") || why.contains("is spent") || why.contains("acceptable"),
                    "{why}"
                );
                refused += 1;
            }
        }
    }
    let awards = awards_of(&b, hired.deal.award.args().task);
    check_totals(&awards, 75);
    assert_eq!(awards.len(), 10, "as many as the budget has room for");
    assert_eq!(delivered, (1..=10).map(|n| n * 7).collect());
    assert_eq!(refused, MAX_SUB_RECEIPTS - 10);
    // The 65th is over what one receipt can name, and so is anything after the end.
    let under = Under { award: hired.deal.id(), services: vec![], budget: u64::MAX };
    let late = b.hire(Hire { under: Some(under), ..sub("text.c", &c) }, b"x").await.unwrap_err();
    assert!(matches!(late, HireError::Bound(Bound::Over)), "{late}");
    assert_eq!(late.fault(), guilder_protocol::fault::Fault::Ours);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_spends_no_budget_twice() {
    let bank = Bank::open().await;
    let [a, mut b, c] = nodes(&bank).await;
    c.sell_as(named("text.c", 7), None).await;
    let mut awarded = 0;
    for step in (0..28).step_by(4) {
        let failpoint = Failpoint::after(step);
        b = b.crash(failpoint.clone()).await;
        // Room for two awards: of what the crash forgot, no third may come.
        let mut passing = passes_on(&b, "text.b", 30, sub("text.c", &c), 2).await;
        let handle = a.begin(letting("text.b", &b, &["text.c"], 20, 1), b"x").await;
        let task = handle.task;
        // It dies on the way, or has done both.
        in_time(async {
            tokio::select! {
                biased;
                () = failpoint.tripped() => {}
                () = async { for _ in 0..2 { passing.outcomes.recv().await; } } => {}
            }
        })
        .await;
        passing.way.lock().unwrap().take();
        b = b.crash(Failpoint::default()).await;
        // The walk may have ended before A had an offer.
        let _ = in_time(handle.done()).await;
        let given = awards_of(&b, task);
        check_totals(&given, 20);
        let at_c = c.store.read(|r| r.range(super::super::records::DEALS, KeyRange::all(), usize::MAX)).unwrap();
        let at_c = at_c.into_iter().map(|(_, deal)| deal.award.args().clone());
        check_totals(&at_c.filter(|args| args.task == task).collect::<Vec<_>>(), 20);
        awarded += given.len();
    }
    assert!(awarded >= 2, "{awarded} awards: the walks came to them");
}

/// Hires for its task, if it was given a key, and then goes on until it is stopped; or says at once whether it had one.
#[derive(Clone, Debug)]
struct SpendsFirst {
    trade: Way,
    hire: Hire,
    told: mpsc::Sender<bool>,
}

#[async_trait]
impl Executor for SpendsFirst {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let has_key = work.access.is_some();
        if has_key && work.input.size() > 1 {
            let trade = self.trade.lock().unwrap().clone().unwrap();
            let under = Under { award: work.award, services: vec![], budget: 5 };
            let hired = trade.hire(Hire { under: Some(under), ..self.hire.clone() }, work.input.clone()).await;
            hired.unwrap().done().await.unwrap();
            self.told.send(has_key).await.unwrap();
            std::future::pending::<()>().await;
        }
        self.told.send(has_key).await.unwrap();
        Ok(work.input)
    }
}

/// A seller whose work hires `worker` for 5; where it is told of each work whether it had a key.
async fn sells_what_costs_it(seller: &Node, worker: &Node, strangers: bool) -> (Way, mpsc::Receiver<bool>) {
    let (told, outcomes) = mpsc::channel(16);
    let trade: Way = Arc::new(Mutex::new(Some(seller.trade.clone())));
    let way = Arc::clone(&trade);
    let subcontract = Some(Subcontract { services: vec![], budget: 5, strangers });
    let run = Run::Process(ProcessSettings { command: vec!["/bin/true".into()], env: [].into(), pass_env: vec![] });
    let definition = Definition { subcontract, run, ..named("text.b", 20) };
    seller.trade.task_keys().serve_at(([127, 0, 0, 1], 9).into());
    let hire = sub("text.c", worker);
    seller.sell_as(definition, Some(Arc::new(SpendsFirst { trade, hire, told }))).await;
    (way, outcomes)
}

/// Whether all that a node has delivered is paid.
fn all_paid(node: &Node) -> bool {
    let views = node.trade.tasks(Page::default()).unwrap();
    let mut delivered =
        views.iter().filter(|view| view.side == crate::events::Side::Seller && view.state == TaskState::Delivered);
    delivered.all(|view| matches!(view.money, Some(MoneyView::Sold(seller::Money::Redeemed { .. }))))
}

fn letting_in(mode: HireMode, seller: &Node) -> Hire {
    Hire { mode: Some(mode), ..letting("text.b", seller, &["text.c"], 10, 1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_in_escrow_that_has_paid_nothing_makes_no_seller_pay_subcontractors() {
    let bank = Bank::open().await;
    let [a, b, c] = nodes(&bank).await;
    c.sell_as(named("text.c", 5), None).await;
    b.sell_as(named("text.plain", 20), None).await;
    let (way, mut told) = sells_what_costs_it(&b, &c, false).await;
    let at_b = b.id();
    let is_refused = async |hire: Hire| {
        let hired = a.hire(hire, b"many").await.unwrap();
        assert_eq!(hired.ended.outcome, BuyerOutcome::Refused(Reason::SubcontractsUnpaid));
    };
    let in_escrow = || Hire { seller: Some(at_b), ..letting_in(HireMode::Escrow, &c) };
    is_refused(in_escrow()).await;
    // What is paid in advance covers it, and so does work that may cost nothing.
    let hired = a.hire(letting_in(HireMode::Prepaid, &b), b"x").await.unwrap();
    assert_eq!((hired.ended.outcome, told.recv().await), (BuyerOutcome::Delivered { late: false }, Some(true)));
    let free = Hire { mode: Some(HireMode::Escrow), service: service("text.b"), ..of(b.id()) };
    let hired = a.hire(free, b"x").await.unwrap();
    assert_eq!((hired.ended.outcome, told.recv().await), (BuyerOutcome::Delivered { late: false }, Some(false)));
    until(|| async { all_paid(&b) }).await;
    // 20 paid in escrow are good for 5: for one such task, not for two at once.
    let handle = a.begin(in_escrow(), b"many").await;
    assert_eq!(in_time(told.recv()).await, Some(true));
    assert_eq!(awards_of(&b, handle.task).len(), 1);
    is_refused(in_escrow()).await;
    // Called off, it has cost us 5, which stays counted; also after a restart.
    a.trade.cancel(handle.task).await.unwrap();
    let hired = in_time(handle.done()).await.unwrap();
    assert!(matches!(&hired.ended.outcome, BuyerOutcome::Failed(error) if error.code == FailureCode::Cancelled));
    is_refused(in_escrow()).await;
    way.lock().unwrap().take();
    drop(told);
    let b = b.crash(Failpoint::default()).await;
    a.connect(&b).await;
    b.connect(&c).await;
    let (way, mut told) = sells_what_costs_it(&b, &c, false).await;
    b.sell_as(named("text.plain", 20), None).await;
    is_refused(in_escrow()).await;
    // Whoever pays on gets on.
    let plain = Hire { mode: Some(HireMode::Escrow), service: service("text.plain"), ..of(b.id()) };
    a.hire(plain, b"x").await.unwrap();
    until(|| async { all_paid(&b) }).await;
    let hired = a.hire(in_escrow(), b"x").await.unwrap();
    assert_eq!((hired.ended.outcome, told.recv().await), (BuyerOutcome::Delivered { late: false }, Some(true)));
    way.lock().unwrap().take();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_file_risks_it_subcontracts_for_strangers() {
    let bank = Bank::open().await;
    let [a, b, c] = nodes(&bank).await;
    c.sell_as(named("text.c", 5), None).await;
    let (way, mut told) = sells_what_costs_it(&b, &c, true).await;
    let hired = a.hire(letting_in(HireMode::Escrow, &b), b"x").await.unwrap();
    assert_eq!((hired.ended.outcome, told.recv().await), (BuyerOutcome::Delivered { late: false }, Some(true)));
    way.lock().unwrap().take();
}

/// Passes work on and ends without waiting for it.
#[derive(Clone, Debug)]
struct Leaves {
    trade: Way,
    hire: Hire,
    told: mpsc::Sender<Cid>,
}

#[async_trait]
impl Executor for Leaves {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let trade = self.trade.lock().unwrap().clone().unwrap();
        let under = Under { award: work.award, services: vec![], budget: u64::MAX };
        let handle = trade.hire(Hire { under: Some(under), ..self.hire.clone() }, work.input.clone()).await.unwrap();
        // Nobody may listen.
        _ = self.told.send(handle.task).await;
        std::future::pending().await
    }
}

/// Never comes to an end.
#[derive(Clone, Debug)]
struct Endless;

#[async_trait]
impl Executor for Endless {
    async fn run(&self, _: Work) -> Result<Output, ExecError> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_of_hires_whose_work_is_over_is_called_off_at_the_start() {
    let bank = Bank::open().await;
    let [a, mut b, c] = nodes(&bank).await;
    c.sell_as(named("text.c", 5), Some(Arc::new(Endless))).await;
    let (told, mut hired) = mpsc::channel(4);
    let trade: Way = Arc::new(Mutex::new(Some(b.trade.clone())));
    let leaves = Leaves { trade: Arc::clone(&trade), hire: sub("text.c", &c), told };
    b.sell_as(named("text.b", 30), Some(Arc::new(leaves))).await;
    let _handle = a.begin(letting("text.b", &b, &["text.c"], 10, 1), b"x").await;
    let task = in_time(hired.recv()).await.unwrap();
    let state = |node: &Node| node.trade.show(task).unwrap().map(|view| view.state);
    until(|| async { state(&b) == Some(TaskState::Working) }).await;
    // As if the end of the work had been stored, and nothing after it.
    let award = b.store.read(|r| r.range(super::super::records::SELLERS, KeyRange::all(), 1)).unwrap().remove(0).0;
    let ending = move |w: &mut crate::store::Write<'_>| {
        w.delete(super::super::records::OPEN, &award)?;
        w.delete(super::super::records::SELLERS, &award)
    };
    b.store.write(ending).await.unwrap();
    trade.lock().unwrap().take();
    b = b.crash(Failpoint::default()).await;
    b.connect(&c).await;
    until(|| async { state(&b) == Some(TaskState::Cancelled) }).await;
}
