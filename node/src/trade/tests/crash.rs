//! Either side dies at each step of a trade and starts again: the trade ends as stated, and no coin is lost.

use super::*;

/// Both ends of a walk, started again for each step.
struct Pair {
    bank: Bank,
    buyer: Node,
    seller: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Buyer,
    Seller,
}

impl Pair {
    async fn new() -> Self {
        let bank = Bank::open().await;
        let seller = Plan::new(&bank, 2).start().await;
        let buyer = Plan::joining(&bank, 1, &seller).start().await;
        buyer.fund(1_000).await;
        seller.sell(7, None).await;
        let pair = Self { bank, buyer, seller };
        pair.meet().await;
        // The first hire fills the purse and the catalogue, so that every walk takes the same steps.
        pair.buyer.hire(of(pair.seller.id()), b"walk").await.unwrap();
        pair.settled().await;
        pair
    }

    async fn meet(&self) {
        until(|| async { self.buyer.network.is_connected(self.seller.id()) }).await;
    }

    async fn crash(self, victim: Victim, failpoint: Failpoint) -> Self {
        let Self { bank, buyer, seller } = self;
        let (buyer, seller) = match victim {
            Victim::Buyer => (buyer.crash(failpoint).await, seller),
            Victim::Seller => (buyer, seller.crash(failpoint).await),
        };
        let pair = Self { bank, buyer, seller };
        pair.meet().await;
        pair
    }

    /// Waits until neither side has anything left to do, and checks that every coin is in one place.
    async fn settled(&self) {
        self.idle().await;
        let held = self.buyer.balance().await + self.seller.balance().await;
        assert_eq!(held, self.bank.outstanding().await, "coins");
    }

    /// Waits until neither side has anything left to do, and the seller has noted what its money came to.
    async fn idle(&self) {
        until(|| async {
            let idle = self.buyer.trade.open_count() + self.seller.trade.open_count() == 0;
            let in_flight: usize =
                [&self.buyer, &self.seller].iter().map(|n| n.wallet.swaps_in_flight().unwrap()).sum();
            let due: u64 = self.seller.wallet.balances().unwrap().iter().map(|balance| balance.unredeemed).sum();
            let sold = self.seller.trade.tasks(Page::default()).unwrap();
            let is_due = |view: &TaskView| view.money == Some(MoneyView::Sold(seller::Money::Due));
            idle && in_flight == 0 && due == 0 && !sold.iter().any(is_due)
        })
        .await;
    }

    /// Checks that both sides say the same of every trade.
    async fn agree(&self) {
        for bought in self.buyer.trade.tasks(Page::default()).unwrap() {
            assert!(bought.state.is_over(), "{bought:?}");
            let Some(trade) = bought.trade else { continue };
            let sold = self.seller.trade.show(trade).unwrap();
            match bought.money.clone().unwrap() {
                MoneyView::Bought(buyer::Money::Paid) => {
                    let sold = sold.unwrap();
                    assert!(matches!(sold.money, Some(MoneyView::Sold(seller::Money::Redeemed { .. }))), "{sold:?}");
                    assert_eq!(sold.receipt, bought.receipt);
                }
                MoneyView::Bought(buyer::Money::Waiting) => {
                    let voided = |view: &TaskView| view.money == Some(MoneyView::Sold(seller::Money::Voided));
                    assert!(sold.as_ref().is_none_or(voided), "{bought:?} {sold:?}");
                }
                MoneyView::Bought(buyer::Money::Returned) => assert!(sold.is_none(), "{bought:?} {sold:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Walks through every step of the victim's side. Returns how many there were.
async fn walk(victim: Victim) -> u64 {
    let mut pair = Pair::new().await;
    for steps in 0.. {
        let failpoint = Failpoint::after(steps);
        pair = pair.crash(victim, failpoint.clone()).await;
        let handle = pair.buyer.begin(of(pair.seller.id()), b"walk").await;
        let died = in_time(async {
            tokio::select! {
                biased;
                () = failpoint.tripped() => true,
                done = handle.done() => {
                    assert_eq!(done.unwrap().ended.outcome, BuyerOutcome::Delivered { late: false }, "step {steps}");
                    // What is still to be done after the delivery is walked too.
                    tokio::select! {
                        biased;
                        () = failpoint.tripped() => true,
                        () = pair.idle() => failpoint.is_tripped(),
                    }
                }
            }
        })
        .await;
        if died {
            pair = pair.crash(victim, Failpoint::default()).await;
        }
        pair.settled().await;
        pair.agree().await;
        if !died {
            return steps;
        }
    }
    unreachable!("a trade has an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_dies_at_any_step_loses_nothing() {
    // Ask, award stored, award sent, end stored.
    assert!(walk(Victim::Buyer).await >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_dies_at_any_step_loses_nothing() {
    // Offer, award taken, accepted, end stored, delivery, redemption noted.
    assert!(walk(Victim::Seller).await >= 6);
}
