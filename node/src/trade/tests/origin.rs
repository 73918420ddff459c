//! Origins, budgets, and ends that are waited for, between real nodes over a real mint.

use guilder_protocol::content::ContentId;

use super::*;
use crate::{
    executor::{ExecError, Output, Work},
    gate::{Caller, Gate, Mandate, Refusal, Scope, Wanted},
    trade::{hire::HireMode, keys::Keyed},
};

async fn pair() -> (Bank, Node, Node) {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    let buyer = Plan::joining(&bank, 1, &seller).start().await;
    buyer.fund(1_000).await;
    buyer.connect(&seller).await;
    (bank, buyer, seller)
}

fn budget(most: u64) -> Budget {
    Budget { account: "caller/ci".into(), unit: play(), most, per: Per::Day }
}

/// What a caller hires under without asking.
async fn mandate_of(gate: &Gate, caller: &Caller) -> Mandate {
    let service = echo();
    let wanted = Wanted { service: &service, most: 7, is_high: false, key: "k", is_named: true };
    gate.mandate(caller, wanted, &()).await.unwrap().unwrap()
}

async fn place(node: &Node, hire: Hire, origin: &Origin) -> Placed {
    let request = ContentId::of(origin.key.as_bytes()).hash;
    let input = Data::Inline(Bytes::from_static(b"hello"));
    node.trade.place(hire, input, Some((origin.clone(), request))).await.unwrap()
}

/// Waits for the end of an origin's hire, and takes it.
async fn end_of(node: &Node, origin: &Origin) -> End {
    until(|| async { node.trade.ends(&origin.caller).unwrap().iter().any(|end| end.origin == *origin) }).await;
    let taken = origin.clone();
    node.store.write(move |w| take_end(w, &taken)).await.unwrap().unwrap()
}

fn delivered(seller: &Node) -> usize {
    let sold = seller.trade.tasks(Page::default()).unwrap();
    sold.iter().filter(|view| view.state == TaskState::Delivered).count()
}

/// A second hire of one origin that was placed all the same, as by a program that is broken or lies: nothing is awarded to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_was_paid_for_is_awarded_no_second_time_unless_that_is_written_off() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let origin = Origin::new("owner", "order 7");
    let placed = place(&buyer, of(seller.id()), &origin).await;
    in_time(placed.done.unwrap()).await.unwrap();
    let again = place(&buyer, Hire { retry: Some(3), ..of(seller.id()) }, &origin).await;
    assert!(again.task == placed.task && again.done.is_none(), "the same origin is the same task");
    let slot = Origin { slot: 1, ..origin.clone() };
    let other = place(&buyer, of(seller.id()), &slot).await;
    assert_ne!(other.task, placed.task, "another slot is another task");
    in_time(other.done.unwrap()).await.unwrap();

    let claimed = || Hire { claim: buyer.trade.keys.again(&origin).unwrap(), ..of(seller.id()) };
    let error = buyer.hire(claimed(), b"hello").await.unwrap_err();
    assert!(matches!(error, HireError::Held), "{error}");
    assert_eq!(delivered(&seller), 2);
    assert!(buyer.trade.write_off(placed.task).await.unwrap());
    buyer.hire(claimed(), b"hello").await.unwrap();
    assert_eq!(delivered(&seller), 3);
    // Of two that are placed at once only the last may award.
    let (first, second) = (claimed(), claimed());
    buyer.trade.write_off(buyer.trade.tasks(Page::default()).unwrap()[0].task).await.unwrap();
    let (first, second) = tokio::join!(buyer.hire(first, b"hello"), buyer.hire(second, b"hello"));
    let held = |result: &Result<Hired, HireError>| matches!(result, Err(HireError::Held));
    assert!(held(&first) || held(&second), "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_looked_up_before_another_was_awarded_awards_nothing() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let origin = Origin::new("owner", "order 8");
    let Keyed::Free(claim) = buyer.trade.keys.look(&origin, ContentId::of(b"x").hash, 0, buyer.runtime.now()).unwrap()
    else {
        panic!("it is new")
    };
    let claimed = || Hire { claim: Some(claim.clone()), ..of(seller.id()) };
    buyer.hire(claimed(), b"hello").await.unwrap();
    let error = buyer.hire(claimed(), b"hello").await.unwrap_err();
    assert!(matches!(error, HireError::Held), "{error}");
    assert_eq!(delivered(&seller), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hires_at_once_award_what_their_budget_holds_to_the_unit_and_a_crash_forgets_none_of_it() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(Definition { concurrency: 32, ..definition(7) }, None).await;
    let hire = || Hire { budgets: vec![budget(75)], ..of(seller.id()) };
    let mut hiring = Vec::new();
    for _ in 0..24 {
        let (trade, hire) = (buyer.trade.clone(), hire());
        hiring.push(tokio::spawn(async move {
            match trade.hire(hire, Data::Inline(Bytes::from_static(b"x"))).await {
                Ok(handle) => handle.done().await,
                Err(error) => Err(error),
            }
        }));
    }
    let (mut done, mut over) = (0, 0);
    for hire in hiring {
        match in_time(hire).await.unwrap() {
            Ok(hired) => done += usize::from(hired.ended.output.is_some()),
            Err(HireError::OverBudget(_)) => over += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((done, over), (10, 14));
    assert_eq!(buyer.trade.spent_of(&budget(75)).unwrap(), 70);
    let buyer = buyer.crash(Failpoint::default()).await;
    buyer.connect(&seller).await;
    assert_eq!(buyer.trade.spent_of(&budget(75)).unwrap(), 70);
    let error = buyer.hire(hire(), b"x").await.unwrap_err();
    assert!(matches!(&error, HireError::OverBudget(over) if over.left == 5 && over.wanted == 7), "{error}");
    let sat = Budget { unit: "sat".parse().unwrap(), ..budget(1_000) };
    let error = buyer.hire(Hire { budgets: vec![budget(1_000), sat], ..of(seller.id()) }, b"x").await.unwrap_err();
    assert!(matches!(&error, HireError::OverBudget(over) if over.left == 0), "a budget is for one unit: {error}");
    assert_eq!(buyer.trade.spent_of(&budget(75)).unwrap(), 70, "one that isn't awarded debits no budget");
}

/// Fails at whatever it is given.
#[derive(Clone, Debug)]
struct Fails;

#[async_trait]
impl Executor for Fails {
    async fn run(&self, _: Work) -> Result<Output, ExecError> {
        Err(ExecError::Failed { how: "exit code 1".into(), last_words: String::new() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_seller_can_not_take_any_more_is_back_in_the_budget() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, Some(Arc::new(Fails))).await;
    let hire = |mode| Hire { mode: Some(mode), budgets: vec![budget(7)], ..of(seller.id()) };
    for _ in 0..3 {
        let hired = buyer.hire(hire(HireMode::Escrow), b"x").await.unwrap();
        assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)), "{:?}", hired.ended.outcome);
        assert_eq!(buyer.trade.spent_of(&budget(7)).unwrap(), 0, "in escrow it is never released");
    }
    let hired = buyer.hire(hire(HireMode::Prepaid), b"x").await.unwrap();
    assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)), "{:?}", hired.ended.outcome);
    assert_eq!(hired.ended.money, buyer::Money::Waiting);
    assert_eq!(buyer.trade.spent_of(&budget(7)).unwrap(), 7, "the seller may still take it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_waited_for_is_there_until_it_is_taken() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let waits = |hire: Hire| Hire { waits: true, ..hire };
    let origin = Origin::new("duty/digest", "run 1");
    let placed = place(&buyer, waits(of(seller.id())), &origin).await;
    in_time(placed.done.unwrap()).await.unwrap();
    let buyer = buyer.crash(Failpoint::default()).await;
    assert_eq!(buyer.trade.ends("duty/other").unwrap(), []);
    let end = end_of(&buyer, &origin).await;
    assert_eq!((end.task, &end.outcome), (Some(placed.task), &Ending::Done));
    assert!(end.award.is_some());
    assert_eq!(buyer.trade.ends("duty/digest").unwrap(), []);
    let taken = origin.clone();
    assert_eq!(buyer.store.write(move |w| take_end(w, &taken)).await.unwrap(), None, "taken once");
    // One that comes to nothing ends as well.
    let nobody = Origin::new("duty/digest", "run 2");
    let hire = Hire { service: "text.nobody".parse().unwrap(), seller: Some(seller.id()), ..of(seller.id()) };
    let placed = place(&buyer, waits(hire), &nobody).await;
    in_time(placed.done.unwrap()).await.unwrap_err();
    let end = end_of(&buyer, &nobody).await;
    assert!(matches!(end.outcome, Ending::Failed { .. }) && end.award.is_none(), "{end:?}");
}

/// Walks through the steps of a hire until one walk ends without a death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hire_that_is_waited_for_begins_again_and_is_awarded_once_wherever_its_node_dies() {
    let (_bank, mut buyer, seller) = pair().await;
    seller.sell(7, None).await;
    buyer.hire(of(seller.id()), b"walk").await.unwrap();
    let before = delivered(&seller);
    for steps in 1_u64.. {
        let failpoint = Failpoint::after(steps);
        buyer = buyer.crash(failpoint.clone()).await;
        buyer.connect(&seller).await;
        let origin = Origin::new("duty/walk", format!("step {steps}"));
        let hire = Hire { waits: true, budgets: vec![budget(7 * steps)], ..of(seller.id()) };
        let request = ContentId::of(b"walk").hash;
        let input = Data::Inline(Bytes::from_static(b"walk"));
        let placing = buyer.trade.place(hire, input, Some((origin.clone(), request)));
        let died = in_time(async {
            tokio::select! {
                biased;
                () = failpoint.tripped() => true,
                placed = placing => {
                    let done = placed.unwrap().done.unwrap();
                    tokio::select! {
                        biased;
                        () = failpoint.tripped() => true,
                        _ = done => failpoint.is_tripped(),
                    }
                }
            }
        })
        .await;
        if died {
            buyer = buyer.crash(Failpoint::default()).await;
            buyer.connect(&seller).await;
        }
        let end = end_of(&buyer, &origin).await;
        assert_eq!(end.outcome, Ending::Done, "step {steps}");
        until(|| async { buyer.trade.open_count() == 0 }).await;
        assert_eq!(delivered(&seller), before + usize::try_from(steps).unwrap(), "step {steps}");
        assert_eq!(buyer.trade.spent_of(&budget(0)).unwrap(), 7 * steps, "step {steps}");
        if !died {
            assert!(steps > 3, "the claim, the ask, the award, its sending");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_awarded_what_its_budget_holds_and_once_it_is_revoked_nothing_that_was_under_way() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell_as(Definition { concurrency: 32, ..definition(7) }, None).await;
    let gate = Gate::new(buyer.store.clone(), buyer.runtime.clone(), buyer.events.clone(), 100);
    let caller = gate.added("ci", Scope::hiring(21, play(), vec![echo()])).await;
    let mandate = mandate_of(&gate, &caller).await;
    let hire = || Hire {
        // As in what was asked for; what counts is what the caller has when it is awarded.
        budgets: vec![Budget { account: caller.name().into(), unit: play(), most: 1_000, per: Per::Day }],
        mandate: Some(mandate.clone()),
        ..of(seller.id())
    };
    let handles = futures::future::join_all((0..16).map(|_| buyer.begin(hire(), b"x"))).await;
    let (mut done, mut over) = (0, 0);
    for handle in handles {
        match in_time(handle.done()).await {
            Ok(hired) => done += usize::from(hired.ended.output.is_some()),
            Err(HireError::OverBudget(_)) => over += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((done, over), (3, 13));
    let task = buyer.trade.tasks(Page::default()).unwrap().into_iter().find(|view| view.trade.is_some()).unwrap().task;
    assert_eq!(buyer.trade.hired_by(task).unwrap().as_deref(), Some("caller/ci"));

    let text_other: ServiceName = "text.other".parse().unwrap();
    let other = gate.added("other", Scope::hiring(1_000, play(), vec![text_other.clone()])).await;
    let wanted = Wanted { service: &text_other, most: 1, is_high: false, key: "k", is_named: true };
    let wrong = gate.mandate(&other, wanted, &()).await.unwrap().unwrap();
    let error = buyer.hire(Hire { mandate: Some(wrong), ..of(seller.id()) }, b"x").await.unwrap_err();
    assert!(matches!(error, HireError::Gate(Refusal::Service { .. })), "{error}");

    gate.revoke_caller("ci").await.unwrap();
    // Another one that has its name isn't it.
    gate.added("ci", Scope::hiring(1_000, play(), vec![echo()])).await;
    let error = buyer.hire(hire(), b"x").await.unwrap_err();
    assert!(matches!(error, HireError::Gate(Refusal::Revoked(_))), "{error}");
    assert_eq!(delivered(&seller), 3);
}
