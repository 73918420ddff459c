//! Trades that go well, or fail as they should.

use crate::{
    catalogue::query::{Pattern, Query},
    events::{Event, Heard},
    executor::{ExecError, Output, Work},
};
use guilder_protocol::{
    content::ContentId,
    fault::{AtFault, Fault},
    receipt::FailureCode,
    wire::Reason,
};

use super::*;

/// An executor that does as it is told.
#[derive(Clone, Copy, Debug)]
enum Worker {
    Crashes,
    Hangs,
    Floods,
    Slow(Duration),
    /// Says how it goes, and waits to be called off.
    Talks,
}

#[async_trait]
impl Executor for Worker {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        match self {
            Self::Crashes => {
                Err(ExecError::Failed { how: "exit code 1".into(), last_words: "a secret of the seller's".into() })
            }
            Self::Hangs => {
                sleep(work.limits.time).await;
                Err(ExecError::TimedOut { secs: work.limits.time.as_secs() })
            }
            Self::Floods => Ok(Data::Inline(vec![0; work.limits.output_bytes as usize + 1].into())),
            Self::Talks => {
                work.reporter.step(Some(250), Some("a quarter"));
                work.reporter.partial("Once upon ");
                std::future::pending().await
            }
            Self::Slow(time) => {
                sleep(*time).await;
                Ok(work.input)
            }
        }
    }
}

async fn pair() -> (Bank, Node, Node) {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    let buyer = Plan::joining(&bank, 1, &seller).start().await;
    buyer.fund(1_000).await;
    buyer.connect(&seller).await;
    (bank, buyer, seller)
}

fn failure(hired: &Hired) -> FailureCode {
    match &hired.ended.outcome {
        BuyerOutcome::Failed(error) => error.code.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_hires_and_a_seller_is_paid() {
    let (bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let hired = buyer.hire(of(seller.id()), b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!(hired.ended.money, buyer::Money::Paid);
    assert_eq!(output(&hired), "hello");
    let trade = hired.deal.id();
    until(|| async {
        let view = seller.trade.show(trade).unwrap().unwrap();
        matches!(view.money, Some(MoneyView::Sold(seller::Money::Redeemed { amount: 7 })))
    })
    .await;
    assert_eq!(seller.spendable().await, 7);
    assert_eq!(buyer.balance().await + seller.balance().await, bank.outstanding().await);
    let task = hired.deal.award.args().task;
    until(|| async { seller.trade.show(trade).unwrap().unwrap().received.is_some() }).await;
    for node in [&buyer, &seller] {
        let evidence = node.trade.evidence(task).unwrap().unwrap();
        let report = guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
        let [hire] = &report.hires[..] else { panic!("{report}") };
        assert!(hire.accepted.is_some() && hire.cancelled.is_none());
        assert!(hire.received.as_ref().is_some_and(|has| has.named == guilder_protocol::audit::Named::Output));
        assert_eq!(node.trade.tasks(Page::default()).unwrap().len(), 1);
        for id in [task, trade] {
            assert_eq!(node.trade.show(id).unwrap().unwrap().trade, Some(trade));
            let Some(Data::Inline(bytes)) = node.trade.output(id).unwrap() else { panic!() };
            assert_eq!(bytes, "hello");
        }
    }
    until(|| async { buyer.trade.open_count() + seller.trade.open_count() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sellers_are_found_and_the_best_offer_is_taken() {
    let bank = Bank::open().await;
    let hub = Plan::new(&bank, 9).start().await;
    let mut sellers = Vec::new();
    for (seed, price) in [(2, 30), (3, 20), (4, 25)] {
        let seller = Plan::joining(&bank, seed, &hub).start().await;
        seller.connect(&hub).await;
        seller.sell(price, None).await;
        sellers.push(seller);
    }
    let mut buyers = Vec::new();
    for (seed, candidates) in [(1, 8), (5, 2), (6, 1)] {
        let mut plan = Plan::joining(&bank, seed, &hub);
        plan.config.candidates = candidates;
        let buyer = plan.start().await;
        buyer.fund(1_000).await;
        buyer.connect(&hub).await;
        // Provider records take a moment to spread.
        until(|| async {
            let mut found = buyer.catalogue.find(
                &Pattern::Name(echo()),
                Query::default(),
                8,
                buyer.runtime.instant() + Duration::from_secs(5),
            );
            let mut count = 0;
            while found.recv().await.is_some() {
                count += 1;
            }
            count == 3
        })
        .await;
        buyers.push(buyer);
    }
    let [buyer, sparing, most_sparing] = buyers.try_into().unwrap_or_else(|_| panic!("three buyers"));
    let hired = buyer.hire(of_anyone(), b"hello").await.unwrap();
    assert_eq!(hired.deal.award.args().price, 20);
    assert_eq!(hired.deal.seller(), sellers[1].id());
    assert_eq!(output(&hired), "hello");

    // Who turns everybody away doesn't stand in the way of those known besides.
    sellers.sort_by_key(Node::id);
    sellers[..2].iter().for_each(|seller| seller.trade.stop_taking());
    for buyer in [sparing, most_sparing] {
        let hired = buyer.hire(of_anyone(), b"again").await.unwrap();
        assert_eq!((hired.deal.seller(), output(&hired)), (sellers[2].id(), "again".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_inputs_and_outputs_go_as_content() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let input: Bytes = (0..700_000_u32).map(|n| n as u8).collect::<Vec<_>>().into();
    let handle = buyer.trade.hire(of(seller.id()), Data::Inline(input.clone())).await.unwrap();
    let hired = in_time(handle.done()).await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    let output = buyer.trade.output(hired.deal.id()).unwrap().unwrap();
    assert_eq!(output.read(&buyer.content, 1 << 20).await.unwrap(), input);
    // It is served to the two of them and to nobody else, and kept as long as the trade.
    let Data::Stored(pin) = output else { panic!() };
    assert!(seller.transfers().may_have(buyer.id(), pin.id()));
    assert!(!seller.transfers().may_have(hired.deal.award.args().seller, pin.id()));
    drop(pin);
    buyer.content.collect(&buyer.store).await.unwrap();
    assert!(buyer.content.contains(guilder_protocol::content::ContentId::of(&input)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_fails_is_not_paid_for() {
    for (worker, code) in [
        (Worker::Crashes, FailureCode::Crashed),
        (Worker::Hangs, FailureCode::TimedOut),
        (Worker::Floods, FailureCode::OutputTooLarge),
    ] {
        let (bank, buyer, seller) = pair().await;
        let definition = Definition { time_limit_secs: 1, ..definition(7) };
        seller.sell_as(definition, Some(Arc::new(worker))).await;
        let hired = buyer.hire(of(seller.id()), b"hello").await.unwrap();
        assert_eq!(failure(&hired), code);
        assert_eq!(hired.ended.outcome.fault(), Some(Fault::Peer));
        assert_eq!(hired.ended.money, buyer::Money::Waiting);
        let BuyerOutcome::Failed(error) = &hired.ended.outcome else { panic!() };
        assert!(!error.text.contains("secret"), "what the program said stays with the seller");
        let sold = seller.trade.show(hired.deal.id()).unwrap().unwrap();
        assert_eq!(sold.money, Some(MoneyView::Sold(seller::Money::Voided)));
        assert_eq!(buyer.balance().await + seller.balance().await, bank.outstanding().await);
        // After the locktime it all comes back, but for the mint's fee.
        let trade = hired.deal.id();
        let mut plan = buyer.plan.clone();
        buyer.runtime.shutdown().await;
        drop(buyer);
        plan.disk.crash();
        plan.now = yesterday().saturating_add(86_000);
        let buyer = plan.start().await;
        until(|| async {
            let view = buyer.trade.show(trade).unwrap().unwrap();
            matches!(view.money, Some(MoneyView::Bought(buyer::Money::Settled { redeemed: 0, .. })))
        })
        .await;
        assert_eq!(buyer.balance().await + seller.balance().await, bank.outstanding().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_vanishes_is_overdue() {
    let (bank, buyer, seller) = pair().await;
    seller.sell_as(definition(7), Some(Arc::new(Worker::Slow(Duration::from_secs(20))))).await;
    let handle = buyer.begin(Hire { deadline_secs: Some(12), ..of(seller.id()) }, b"hello").await;
    until(|| async { seller.trade.open_count() == 1 }).await;
    let mut plan = seller.plan.clone();
    seller.runtime.shutdown().await;
    drop(seller);
    let hired = in_time(handle.done()).await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Overdue);
    assert_eq!(hired.ended.outcome.fault(), Some(Fault::Peer));
    assert_eq!(hired.ended.money, buyer::Money::Waiting);
    // It comes back too late, and knows so.
    plan.disk.crash();
    plan.now = yesterday().saturating_add(30);
    let seller = plan.start().await;
    until(|| async { seller.trade.open_count() == 0 }).await;
    let sold = seller.trade.show(hired.deal.id()).unwrap().unwrap();
    assert_eq!(sold.money, Some(MoneyView::Sold(seller::Money::Voided)));
    assert_eq!(buyer.balance().await + seller.balance().await, bank.outstanding().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hire_that_finds_nobody_says_why() {
    let (_bank, buyer, seller) = pair().await;
    let schema = Some(r#"{"type":"object","required":["text"]}"#.into());
    seller.sell_as(Definition { input: schema, ..definition(7) }, None).await;
    let (wish, input) = (|| of(seller.id()), b"{\"text\":1}");

    let other = Hire { service: "text.other".parse().unwrap(), ..wish() };
    assert!(matches!(buyer.hire(other, input).await, Err(HireError::Seller(_))));
    let dear = buyer.hire(Hire { max_price: Some(6), ..wish() }, input).await.unwrap_err();
    assert!(matches!(&dear, HireError::NoOffer(_)) && dear.to_string().contains("over the limit"), "{dear}");
    assert_eq!(dear.fault(), Fault::Incompatible);
    let invalid = buyer.hire(wish(), b"{}").await.unwrap_err();
    assert!(invalid.to_string().contains("schema"), "{invalid}");
    assert_eq!(invalid.fault(), Fault::Ours);
    let poor = Hire { unit: Some("sat".parse().unwrap()), ..wish() };
    assert!(matches!(buyer.hire(poor, input).await, Err(HireError::NoMoney(_))));
    let late = Hire { deadline_secs: Some(0), ..wish() };
    assert!(matches!(buyer.hire(late, input).await, Err(HireError::DeadlinePassed)));
    for open in
        [Hire { max_price: None, ..wish() }, Hire { unit: None, ..wish() }, Hire { deadline_secs: None, ..wish() }]
    {
        assert!(matches!(buyer.hire(open, input).await, Err(HireError::Undecided)));
    }
    let mint = Some("https://mint.example".parse().unwrap());
    assert!(matches!(buyer.hire(Hire { mint, ..wish() }, input).await, Err(HireError::Money(_))));
    assert_eq!(output(&buyer.hire(wish(), input).await.unwrap()), "{\"text\":1}");
    // Those that had begun are on record, with their reason.
    let tasks = buyer.trade.tasks(Page::default()).unwrap();
    assert_eq!(tasks.iter().filter(|task| task.failure.is_some()).count(), 3);
    assert_eq!(tasks.iter().filter(|task| task.state == TaskState::Delivered).count(), 1);
    let first = buyer.trade.tasks(Page { limit: 3, after: None }).unwrap();
    let rest = buyer.trade.tasks(Page { limit: 3, after: Some(first[2].cursor()) }).unwrap();
    assert_eq!((first.len(), rest.len()), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_money_is_the_buyers_fault() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(5_000, None).await;
    let wish = Hire { max_price: Some(10_000), ..of(seller.id()) };
    let error = buyer.hire(wish.clone(), b"hello").await.unwrap_err();
    assert!(matches!(error, HireError::Money(_)), "nothing is elsewhere: {error}");
    assert_eq!(error.fault(), Fault::Ours);
    // What waits for its locktime isn't lost: it is said where it is, and until when.
    seller.sell_as(definition(400), Some(Arc::new(Worker::Crashes))).await;
    buyer.hire(wish.clone(), b"hello").await.unwrap();
    seller.sell(5_000, None).await;
    let error = buyer.hire(wish, b"hello").await.unwrap_err();
    let text = error.to_string();
    for words in ["are needed at", "this wallet has", "play of tasks that failed", "can fall back at 20"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(error.fault(), Fault::Ours);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_sends_the_buyer_to_the_next_best_and_returns_the_money() {
    let bank = Bank::open().await;
    let mut plan = Plan::new(&bank, 2);
    plan.config.queue = 0;
    let cheap = plan.start().await;
    let dear = Plan::joining(&bank, 3, &cheap).start().await;
    let buyer = Plan::joining(&bank, 1, &cheap).start().await;
    buyer.fund(1_000).await;
    let slow = Arc::new(Worker::Slow(Duration::from_secs(4)));
    cheap.sell_as(Definition { concurrency: 1, ..definition(5) }, Some(slow)).await;
    dear.sell(9, None).await;
    buyer.connect(&cheap).await;
    buyer.connect(&dear).await;
    for seller in [&cheap, &dear] {
        buyer.catalogue.advert_of(seller.id(), &echo()).await.unwrap();
    }
    // Two hires at once: the cheap seller offers to both and has one place.
    let (first, second) = tokio::join!(buyer.hire(of_anyone(), b"first"), buyer.hire(of_anyone(), b"second"));
    let mut prices = [first, second].map(|hired| {
        let hired = hired.unwrap();
        assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
        hired.deal.award.args().price
    });
    prices.sort_unstable();
    assert_eq!(prices, [5, 9]);
    until(|| async { cheap.spendable().await + dear.spendable().await == 14 }).await;
    let held = buyer.balance().await + cheap.balance().await + dear.balance().await;
    assert_eq!(held, bank.outstanding().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_work_stops_it_and_costs_the_price() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(definition(7), Some(Arc::new(Worker::Slow(Duration::from_secs(30))))).await;
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    let task = handle.task;
    until(|| async { buyer.trade.show(task).unwrap().is_some_and(|view| view.state == TaskState::Working) }).await;
    buyer.trade.cancel(task).await.unwrap();
    let hired = in_time(handle.done()).await.unwrap();
    assert_eq!(failure(&hired), FailureCode::Cancelled);
    assert_eq!(hired.ended.money, buyer::Money::Paid);
    assert!(matches!(buyer.trade.cancel(task).await, Err(CancelError::Over(_))));
    assert!(matches!(buyer.trade.cancel(guilder_protocol::cbor::cid_of(b"x")).await, Err(CancelError::Unknown(_))));
    until(|| async { seller.spendable().await == 7 }).await;
}

/// Whoever is told that it is called off isn't charged for it a moment later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_while_the_lock_is_made_is_in_time() {
    let (bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    // The award waits for the lock, and the lock for the mint, which doesn't answer until the task is called off.
    bank.down.store(true, Ordering::SeqCst);
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    let task = handle.task;
    let locking = async {
        while buyer.wallet.swaps_in_flight().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time(locking).await;
    buyer.trade.cancel(task).await.unwrap();
    bank.down.store(false, Ordering::SeqCst);
    let ended = in_time(handle.done()).await;
    assert!(matches!(ended, Err(HireError::Cancelled)), "{ended:?}");
    assert!(seller.trade.tasks(Page::default()).unwrap().is_empty());
    until(|| async { buyer.wallet.swaps_in_flight().unwrap() == 0 }).await;
    // Nothing is at risk or paid; what the mint kept for the lock is all that is missing.
    let balance = buyer.wallet.balances().unwrap().remove(0);
    assert_eq!((balance.at_risk, balance.refunding, balance.account.paid), (0, 0, 0));
    assert_eq!(buyer.balance().await, bank.outstanding().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_told_in_its_order() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    let (task, mut told) = (handle.task, Vec::new());
    let mut events = handle.events;
    loop {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!() };
        if heard.event.task() != Some(&task) {
            continue;
        }
        told.push(serde_json::to_value(&heard.event).unwrap()["event"].as_str().unwrap().to_owned());
        if matches!(heard.event, Event::Ended { .. }) {
            break;
        }
    }
    let expected = ["searching", "seller_found", "asked", "offered", "awarded", "accepted", "delivered", "ended"];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_takes_no_more_work_and_ends_what_it_has() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(definition(7), Some(Arc::new(Worker::Slow(Duration::from_secs(2))))).await;
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    until(|| async { seller.trade.open_count() == 1 }).await;
    seller.trade.stop_taking();
    let error = buyer.hire(of(seller.id()), b"hello").await.unwrap_err();
    assert!(error.to_string().contains(&Reason::ShuttingDown.to_string()), "{error}");
    assert_eq!(output(&in_time(handle.done()).await.unwrap()), "hello");
    buyer.trade.stop_taking();
    assert!(matches!(buyer.hire(of(seller.id()), b"hello").await, Err(HireError::Stopping)));
}

/// Once nobody can ask for them, inputs and outputs go long before the records; what was signed stays, and shows what the output was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_inputs_and_outputs_go_and_receipts_stay() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let hired = buyer.hire(of(seller.id()), b"hello").await.unwrap();
    until(|| async { seller.spendable().await == 7 }).await;
    until(|| async { buyer.trade.open_count() + seller.trade.open_count() == 0 }).await;
    let trade = hired.deal.id();
    let has_word = || async {
        let state = seller.store.read(|r| r.get(records::SELLERS, records::key(trade))).unwrap();
        state.is_some_and(|state| state.signed().received.is_some())
    };
    until(has_word).await;
    let kept = |node: &Node| node.store.read(|r| r.get(records::PAYLOADS, [])).unwrap().unwrap_or_default();
    for (node, max_payload_mib, days) in [(buyer, 1_024, 31), (seller, 0, 3)] {
        assert_eq!(kept(&node), 10, "its input and its output, once");
        node.housekeeper().tidy().await.unwrap();
        assert!(matches!(node.trade.output(trade).unwrap(), Some(Data::Inline(_))), "nothing is old, or its lock runs");
        let mut plan = node.plan.clone();
        node.runtime.shutdown().await;
        drop(node);
        plan.disk.crash();
        (plan.now, plan.config.max_payload_mib) = (yesterday().saturating_add(days * 86_400), max_payload_mib);
        let node = plan.start().await;
        for _ in 0..2 {
            node.housekeeper().tidy().await.unwrap();
            assert_eq!(kept(&node), 0);
        }
        let Some(Data::Stored(pin)) = node.trade.output(trade).unwrap() else { panic!("the output is here") };
        assert_eq!(pin.id(), ContentId::of(b"hello"));
        assert!(!node.content.contains(pin.id()).await.unwrap());
        let shown = node.trade.show(trade).unwrap().unwrap();
        assert!(shown.receipt.is_some() && shown.salt.is_some() && shown.state == TaskState::Delivered, "{shown:?}");
        let bundle = node.trade.audit_bundle(trade).await.unwrap().unwrap();
        audit::verify(&bundle).unwrap();
        assert_eq!(node.trade.tasks(Page::default()).unwrap().len(), 1);
    }
}

/// Starts a node again, so many days later, with room for so many MiB of inputs and outputs.
async fn later(node: Node, days: u64, max_payload_mib: u64) -> Node {
    let mut plan = node.plan.clone();
    node.runtime.shutdown().await;
    drop(node);
    plan.disk.crash();
    (plan.now, plan.config.max_payload_mib) = (yesterday().saturating_add(days * 86_400), max_payload_mib);
    plan.start().await
}

/// A buyer that was away asks when it comes back, however late: it has paid, and who doesn't deliver then has taken money for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_stays_with_its_seller_until_the_buyer_says_that_it_has_it() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(definition(7), Some(Arc::new(Worker::Slow(Duration::from_secs(2))))).await;
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    until(|| async { seller.trade.open_count() == 1 }).await;
    let plan = buyer.plan.clone();
    buyer.runtime.shutdown().await;
    drop((handle, buyer));
    until(|| async { seller.spendable().await == 7 }).await;
    let mut seller = later(seller, 40, 0).await;
    let trade = seller.trade.tasks(Page::default()).unwrap()[0].trade.unwrap();
    // Once it has no actor any more.
    let counts_none = || async {
        seller.housekeeper().tidy().await.unwrap();
        seller.store.read(|r| r.get(records::PAYLOADS, [])).unwrap().unwrap_or_default() == 0
    };
    until(counts_none).await;
    assert!(matches!(seller.trade.output(trade).unwrap(), Some(Data::Inline(_))), "nobody has said that it is there");

    plan.disk.crash();
    let buyer = Plan { now: yesterday().saturating_add(40 * 86_400), ..plan }.start().await;
    buyer.connect(&seller).await;
    let is_delivered = || async { buyer.trade.show(trade).unwrap().unwrap().state == TaskState::Delivered };
    until(is_delivered).await;
    assert!(matches!(buyer.trade.output(trade).unwrap(), Some(Data::Inline(bytes)) if bytes == "hello"));
    let has_word = |seller: &Node| {
        let state = seller.store.read(|r| r.get(records::SELLERS, records::key(trade))).unwrap();
        state.is_some_and(|state| state.signed().received.is_some())
    };
    until(|| async { has_word(&seller) }).await;
    assert!(buyer.store.read(|r| r.range(CHEATS, KeyRange::all(), 1)).unwrap().is_empty(), "it kept its part");

    // Once it is said, it goes, and is offered no more.
    seller = later(seller, 40, 0).await;
    let is_gone = || async {
        seller.housekeeper().tidy().await.unwrap();
        matches!(seller.trade.output(trade).unwrap(), Some(Data::Stored(_)))
    };
    until(is_gone).await;
    let (state, deal) = seller
        .store
        .read(|r| Ok((r.get(records::SELLERS, records::key(trade))?, r.get(DEALS, records::key(trade))?)))
        .unwrap();
    let step = state.unwrap().handle(&deal.unwrap(), seller::Input::Asked, seller.runtime.now());
    let offers =
        |effect: &seller::Effect| matches!(effect, seller::Effect::Send(guilder_protocol::wire::Message::Delivered(_)));
    assert!(!step.effects.iter().any(offers), "{:?}", step.effects);
}

/// What a run of a duty, or a hire's end that nobody has taken, still refers to is read later on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_that_are_still_to_be_read_stay() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let trade = buyer.hire(of(seller.id()), b"hello").await.unwrap().deal.id();
    until(|| async { buyer.trade.open_count() == 0 }).await;
    let buyer = later(buyer, 31, 0).await;
    let mut housekeeper = buyer.housekeeper();
    housekeeper.in_use = |w| {
        let rows = w.range(records::LOG, KeyRange::all(), 9)?;
        Ok(rows.into_iter().filter_map(|(row, _)| Some(records::log_parts(&row)?.1)).collect())
    };
    let is_here = || matches!(buyer.trade.output(trade).unwrap(), Some(Data::Inline(_)));
    for _ in 0..2 {
        housekeeper.tidy().await.unwrap();
        assert!(is_here());
    }
    housekeeper.in_use = |_| Ok(BTreeSet::new());
    housekeeper.tidy().await.unwrap();
    assert!(!is_here(), "it was passed over, and seen again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_drops_what_is_settled_and_old() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let hired = buyer.hire(of(seller.id()), b"hello").await.unwrap();
    until(|| async { seller.spendable().await == 7 }).await;
    until(|| async { buyer.trade.open_count() + seller.trade.open_count() == 0 }).await;
    for node in [buyer, seller] {
        node.housekeeper().tidy().await.unwrap();
        assert!(node.trade.show(hired.deal.id()).unwrap().is_some());
        let mut plan = node.plan.clone();
        node.runtime.shutdown().await;
        drop(node);
        plan.disk.crash();
        plan.now = yesterday().saturating_add(366 * 86_400);
        let node = plan.start().await;
        node.housekeeper().tidy().await.unwrap();
        assert!(node.trade.show(hired.deal.id()).unwrap().is_none());
        assert!(node.trade.tasks(Page::default()).unwrap().is_empty());
        for table in [records::OFFERS.name(), records::BY_TASK.name(), records::DEALS.name()] {
            let raw = crate::store::Table::<serde_bytes::ByteBuf>::new(table);
            // Nothing is left that would have to be decoded.
            assert!(node.store.read(|r| r.range(raw, KeyRange::all(), 1)).unwrap().is_empty(), "{table}");
        }
    }
}

/// What comes for a trade that is over, from several sides at once, is handled by one actor: two would each write what
/// they know.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_ended_trade_has_one_actor_again() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let hired = buyer.hire(of(seller.id()), b"hello").await.unwrap();
    let trade = hired.deal.id();
    // One that waits for the buyer's last word counts as over, and is still there.
    until(|| async { !seller.trade.open.is_open(trade) }).await;
    for _ in 0..200 {
        let together = Arc::new(tokio::sync::Barrier::new(4));
        let posts = (0..4).map(|_| {
            let (actors, together, from) = (seller.trade.actors.clone(), Arc::clone(&together), buyer.id());
            tokio::spawn(async move {
                together.wait().await;
                actors.post_from(from, trade, seller::Input::Asked.into())
            })
        });
        for posted in futures::future::join_all(posts).await {
            // Opening a second actor is a panic.
            assert_eq!(posted.unwrap(), Posted::Yes);
        }
        until(|| async { !seller.trade.open.is_open(trade) }).await;
    }
}

/// A trade whose actor never comes back, its queue full and its alarm due, stands beside one that needs alarms to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_trade_delays_no_other() {
    let (_bank, buyer, seller) = pair().await;
    let stuck = guilder_protocol::cbor::cid_of(b"stuck");
    let (mailbox, _inbox) = mailbox::mailbox();
    while mailbox.post_peer(BuyerMail::Input(buyer::Input::Unknown)) {}
    buyer.trade.open.open(stuck, || OpenTrade::new(seller.id(), SideMailbox::Buyer(mailbox), None));
    buyer.trade.open.set_alarm(stuck, Timestamp::default());
    assert!(buyer.trade.actors.post(stuck, Cause::Resume, buyer::Input::Resume.into()));

    seller.sell_as(definition(7), Some(Arc::new(Worker::Slow(Duration::from_secs(20))))).await;
    let handle = buyer.begin(Hire { deadline_secs: Some(10), ..of(seller.id()) }, b"hello").await;
    until(|| async { seller.trade.open_count() == 1 }).await;
    seller.runtime.shutdown().await;
    let hired = in_time(handle.done()).await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Overdue);
}

/// The books contradict what the trade has to write: it ends, at once, as this program's fault, and the money is told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_can_never_be_written_ends_its_trade() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(definition(7), Some(Arc::new(Worker::Slow(Duration::from_secs(1))))).await;
    let mut events = buyer.events.subscribe();
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    until(|| async { seller.trade.open_count() == 1 }).await;
    let damage = |w: &mut crate::store::Write<'_>| {
        let at_risk = crate::store::Table::<String>::new("wallet/at-risk");
        let rows: Vec<_> =
            w.range(crate::store::Table::<serde::de::IgnoredAny>::new("wallet/at-risk"), KeyRange::all(), 9)?;
        rows.iter().try_for_each(|(key, _)| w.put(at_risk, key, &"not a record".to_owned()))
    };
    buyer.store.write(damage).await.unwrap();
    let hired = in_time(handle.done()).await.unwrap();
    assert!(matches!(hired.ended.outcome, BuyerOutcome::Broken(_)), "{:?}", hired.ended.outcome);
    assert_eq!(hired.ended.outcome.fault(), Some(Fault::Internal));
    until(|| async { buyer.trade.open_count() == 0 }).await;
    let shown = buyer.trade.show(hired.deal.id()).unwrap().unwrap();
    assert_eq!((shown.state, shown.failure.unwrap().0), (TaskState::Failed, Fault::Internal));
    loop {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!("no word of the money") };
        if let Event::MoneyTrouble { fault, .. } = &heard.event {
            assert_eq!(*fault, Fault::Internal);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_reaches_the_buyer_and_is_shown_while_the_trade_is_open() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(definition(7), Some(Arc::new(Worker::Talks))).await;
    let handle = buyer.begin(of(seller.id()), b"hello").await;
    let (task, mut events) = (handle.task, handle.events);
    loop {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!("no progress") };
        if let Event::Progress { permille, note, partial, .. } = &heard.event {
            assert_eq!((*permille, note.as_str(), partial.as_str()), (Some(250), "a quarter", "Once upon "));
            break;
        }
    }
    let expected = Progress { permille: Some(250), notes: vec!["a quarter".into()], partial: "Once upon ".into() };
    for node in [&buyer, &seller] {
        assert_eq!(node.trade.show(task).unwrap().unwrap().progress.as_ref(), Some(&expected));
    }
    buyer.trade.cancel(task).await.unwrap();
    until(|| async { buyer.trade.open_count() == 0 }).await;
    assert_eq!(buyer.trade.show(task).unwrap().unwrap().progress, None);
}

/// A buyer whose clock is off: it is told so, and nobody is given penalty points for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_is_told_and_nobody_is_punished_for_it() {
    for off in [-240_i64, 240, 7_200] {
        let bank = Bank::open().await;
        let seller = Plan::new(&bank, 2).start().await;
        let mut plan = Plan::joining(&bank, 1, &seller);
        let by = off.unsigned_abs();
        plan.now = if off < 0 { plan.now.saturating_sub(by) } else { plan.now.saturating_add(by) };
        let buyer = plan.start().await;
        buyer.fund(1_000).await;
        buyer.connect(&seller).await;
        seller.sell(7, None).await;
        let error = buyer.hire(of(seller.id()), b"hello").await.unwrap_err();
        assert!(matches!(error, HireError::Clock { .. }), "off by {off}: {error:?}");
        assert!(error.to_string().contains("clock"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("clock")), "{:?}", error.hint());
        for (node, peer) in [(&buyer, seller.id()), (&seller, buyer.id())] {
            let peers = node.network.peers().await;
            assert!(peers.iter().all(|known| known.agent != peer || known.points == 0), "off by {off}");
        }
    }
}
