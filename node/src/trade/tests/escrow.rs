//! Trades in escrow between real nodes, over a real mint.

use guilder_protocol::{settlement::Mode, trade::seller as selling};

use super::{
    super::{hire::HireMode, records},
    *,
};
use crate::executor::{ExecError, Output, Work};

fn in_escrow(seller: AgentId) -> Hire {
    Hire { mode: Some(HireMode::Escrow), ..of(seller) }
}

fn automatic(seller: AgentId) -> Hire {
    Hire { mode: Some(HireMode::Auto), stranger_max: 0, ..of(seller) }
}

async fn pair() -> (Bank, Node, Node) {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    let buyer = Plan::joining(&bank, 1, &seller).start().await;
    buyer.fund(1_000).await;
    buyer.connect(&seller).await;
    (bank, buyer, seller)
}

async fn is_redeemed(seller: &Node, trade: Cid, amount: u64) {
    until(|| async {
        let view = seller.trade.show(trade).unwrap().unwrap();
        view.money == Some(MoneyView::Sold(selling::Money::Redeemed { amount }))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_output_is_released_redeemed_and_opened() {
    let (bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let hired = buyer.hire(in_escrow(seller.id()), b"hello").await.unwrap();
    assert_eq!(hired.deal.offer.body.terms.mode(), Mode::Escrow);
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!((hired.ended.money, output(&hired)), (buyer::Money::Paid, "hello".into()));
    let trade = hired.deal.id();
    is_redeemed(&seller, trade, 7).await;
    assert_eq!(seller.spendable().await, 7);
    assert_eq!(buyer.balance().await + seller.balance().await, bank.outstanding().await);
    // What was sealed is the buyer's to open, and both can show what was signed.
    assert!(seller.trade.output(trade).unwrap().is_none());
    for node in [&buyer, &seller] {
        let evidence = node.trade.evidence(trade).unwrap().unwrap();
        let report = guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
        assert_eq!(report.hires.len(), 1);
    }
    until(|| async { buyer.trade.open_count() + seller.trade.open_count() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_output_is_sealed_and_opened_as_content() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let input: Bytes = (0..700_000_u32).map(|n| n as u8).collect::<Vec<_>>().into();
    let handle = buyer.trade.hire(in_escrow(seller.id()), Data::Inline(input.clone())).await.unwrap();
    let hired = in_time(handle.done()).await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    let output = buyer.trade.output(hired.deal.id()).unwrap().unwrap();
    assert_eq!(output.read(&buyer.content, 1 << 20).await.unwrap(), input);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_paid_in_escrow_until_it_has_earned_an_advance() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    let mut modes = Vec::new();
    for _ in 0..5 {
        let hired = buyer.hire(automatic(seller.id()), b"hello").await.unwrap();
        assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
        modes.push(hired.deal.award.part().mode());
    }
    // Four times the price in escrow, then once the price in advance.
    assert_eq!(modes, [Mode::Escrow, Mode::Escrow, Mode::Escrow, Mode::Escrow, Mode::Prepaid]);
    let (mint, now) = (mint_url(), buyer.runtime.now());
    let earned = |now| buyer.store.read(|r| records::earned(r, seller.id(), &mint, &play(), now)).unwrap();
    assert_eq!((earned(now), earned(now.saturating_add(32 * 86_400))), (28, 0));
}

/// However many hires look at once at what a seller has earned, so much is in its hands; the others are paid in escrow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hires_at_once_do_not_pay_more_in_advance_than_was_earned_nor_do_failed_ones() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, None).await;
    for _ in 0..4 {
        buyer.hire(in_escrow(seller.id()), b"hello").await.unwrap();
    }
    seller.catalogue.remove(&echo()).await.unwrap();
    seller.sell_as(Definition { concurrency: 8, ..definition(7) }, Some(Arc::new(Fails))).await;
    let mut handles = Vec::new();
    for _ in 0..6 {
        handles.push(buyer.begin(automatic(seller.id()), b"hello").await);
    }
    let mut advances = 0;
    for handle in handles {
        let hired = in_time(handle.done()).await.unwrap();
        assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)), "{:?}", hired.ended.outcome);
        advances += usize::from(hired.deal.award.part().mode() == Mode::Prepaid);
    }
    assert_eq!(advances, 1, "a quarter of 28");
    // The seller that failed can take that one until its locktime.
    let hired = buyer.hire(automatic(seller.id()), b"hello").await.unwrap();
    assert_eq!(hired.deal.award.part().mode(), Mode::Escrow);
    assert_eq!(buyer.wallet.advanced(seller.id(), &play()).unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_escrow_is_not_paid_for() {
    let (_bank, buyer, seller) = pair().await;
    seller.sell(7, Some(Arc::new(Fails))).await;
    let hired = buyer.hire(in_escrow(seller.id()), b"hello").await.unwrap();
    assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)), "{:?}", hired.ended.outcome);
    assert_eq!(hired.ended.money, buyer::Money::Waiting);
    assert_eq!(seller.spendable().await, 0);
}

#[derive(Debug)]
struct Fails;

#[async_trait]
impl Executor for Fails {
    async fn run(&self, _: Work) -> Result<Output, ExecError> {
        Err(ExecError::Failed { how: "exit code 1".into(), last_words: String::new() })
    }
}
