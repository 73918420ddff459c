//! The power goes at every single write of a refill, a send, a redemption, a refund: no coin is lost or made.

use super::*;

const FAR_ENOUGH: u64 = 400;
/// Longer than any work takes with the power on.
const AT_MOST: Duration = Duration::from_millis(500);

/// Prepares work, does it while the power goes after ever more writes, and checks the mint's books against ours after
/// each time; until the power cut comes too late to matter.
async fn walk(
    mut node: Node,
    prepare: impl AsyncFn(Node, u32) -> Node,
    work: impl AsyncFn(&Node) -> bool,
    elsewhere: impl Fn(&Node) -> u64,
) -> Node {
    let bank = node.bank.clone();
    for operations in 0..FAR_ENOUGH {
        node = prepare(node, operations as u32).await;
        node.disk.power_off_after(operations);
        let done = work(&node).await;
        node = node.crash().await;
        let settled = async {
            while bank.outstanding().await != node.total() + elsewhere(&node) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(Duration::from_secs(10), settled).await.is_err() {
            let (books, held) = (bank.outstanding().await, node.total() + elsewhere(&node));
            panic!("power cut after {operations} writes: the mint owes {books}, {held} are held");
        }
        if done {
            return node;
        }
    }
    panic!("{FAR_ENOUGH} writes were not enough");
}

/// Whether a part of the balance gets to nothing in a while, with the power on.
async fn runs_out(node: &Node, part: fn(&Balance) -> u64) -> bool {
    for _ in 0..50 {
        match node.wallet.balances() {
            Ok(balances) if balances.iter().map(part).sum::<u64>() == 0 => return true,
            Ok(_) => sleep(Duration::from_millis(20)).await,
            Err(_) => return false,
        }
    }
    false
}

#[tokio::test]
async fn a_refill_survives_power_cuts() {
    let bank = Bank::open(100).await;
    let (mut buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    // Nothing refills what the preparation empties.
    buyer.config.purse.warm_after_hires = u64::MAX;
    let now = buyer.runtime.now();
    let buyer = buyer.restart(now).await;
    buyer.fund(50_000).await;
    let request = buyer.request(&seller, 20);
    // Whatever an earlier cut has left in the purse is out of the way.
    let prepare = async |node: Node, number| {
        for more in 0.. {
            if node.balance().locked == 0 {
                break;
            }
            let lock = node.wallet.lock(&request).await.unwrap();
            let trade = trade(100 * number + more);
            node.debit(lock, trade).await.unwrap();
            node.wallet.settle_buyer(trade, LockOutcome::Refund).await.unwrap();
        }
        node
    };
    let work = async |node: &Node| match timeout(AT_MOST, node.wallet.lock(&request)).await {
        // Debits of earlier cuts may have reached the disk after all: each is for a trade of its own.
        Ok(Ok(lock)) => node.debit(lock, trade(1_000_000 + node.disk.syncs() as u32)).await.is_ok(),
        _ => false,
    };
    let buyer = walk(buyer, prepare, work, |_| 0).await;
    assert!(buyer.balance().at_risk >= 21);
}

#[tokio::test]
async fn a_send_survives_power_cuts() {
    let bank = Bank::open(100).await;
    let one = bank.wallet(1).await;
    one.fund(50_000).await;
    let work = async |node: &Node| {
        let sent = timeout(AT_MOST, node.wallet.send(&mint_url(), &play(), 33)).await;
        sent.is_ok_and(|sent| sent.is_ok())
    };
    let sent = |node: &Node| node.wallet.sent().unwrap().iter().map(|token| token.amount).sum();
    walk(one, async |node, _| node, work, sent).await;
}

#[tokio::test]
async fn a_redemption_survives_power_cuts() {
    let bank = Bank::open(100).await;
    let (buyer, mut seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(20_000).await;
    seller.config.redemption.interval_secs = 0;
    let now = seller.runtime.now();
    let seller = seller.restart(now).await;
    let prepare = async |seller: Node, number| {
        award(&buyer, &seller, 20, number).await;
        buyer.wallet.settle_buyer(trade(number), LockOutcome::Paid).await.unwrap();
        buyer.quiet().await;
        seller.redeemable_later(trade(number)).await;
        seller
    };
    let work = async |seller: &Node| {
        seller.wallet.nudge();
        runs_out(seller, |balance| balance.unredeemed).await
    };
    let seller = walk(seller, prepare, work, |_| buyer.total()).await;
    assert_eq!(seller.balance().unredeemed, 0);
    assert_eq!(seller.balance().account.lost, 0);
}

#[tokio::test]
async fn a_sweep_survives_power_cuts() {
    let bank = Bank::open(100).await;
    let (mut buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(20_000).await;
    buyer.config.purse.cap = 60;
    let later = yesterday().saturating_add(8 * 3_600);
    let prepare = async |buyer: Node, number| {
        let buyer = buyer.restart(yesterday()).await;
        award(&buyer, &seller, 20, number).await;
        seller.void(trade(number)).await;
        buyer.wallet.settle_buyer(trade(number), LockOutcome::Refund).await.unwrap();
        buyer.quiet().await;
        buyer.restart(later).await
    };
    let work = async |buyer: &Node| runs_out(buyer, |balance| balance.locked + balance.refunding).await;
    let buyer = walk(buyer, prepare, work, |_| 0).await;
    assert_eq!(buyer.balance().spendable, buyer.total());
    assert_eq!(buyer.balance().account.forfeited + buyer.balance().account.lost, 0);
}
