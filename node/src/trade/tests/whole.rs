//! Trades that go well, or fail as they should.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_hires_and_a_seller_is_paid() {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    let buyer = Plan::joining(&bank, 1, &seller).start().await;
    buyer.fund(1_000).await;
    seller.sell(7, None).await;
    buyer.connect(&seller).await;
    let hired = buyer.hire(HireRequest { seller: Some(seller.id()), ..buyer.wish(b"hello") }).await.unwrap();
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
    for node in [&buyer, &seller] {
        let evidence = node.trade.evidence(hired.deal.award.args().task).unwrap().unwrap();
        let report = guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
        assert_eq!(report.hires.len(), 1);
        assert_eq!(node.trade.tasks(Page::default()).unwrap().len(), 1);
    }
    assert_eq!(buyer.trade.open_count() + seller.trade.open_count(), 0);
}
