//! Money in escrow at a hosted mint: taken with a release, held back, taken back, found again, and read of in odd witnesses.

use guilder_protocol::settlement::escrow::{self, ReleaseSignature, Shown};
use serde_json::{Value, json};

use super::{super::LockOf, *};

/// A lock that both sides have written down, and the terms that it was made on.
struct Held {
    terms: Terms,
    lock: Lock,
}

impl Held {
    /// For trade 1.
    async fn between(buyer: &Node, seller: &Node) -> Self {
        Self::of(buyer, seller, 1).await
    }

    /// Of 20.
    async fn of(buyer: &Node, seller: &Node, number: u32) -> Self {
        let terms = seller.wallet.terms(&Mode::Escrow, buyer.id(), seller.runtime.now()).unwrap();
        let request = LockRequest { terms: terms.clone(), ..buyer.request(seller, 20) };
        let prepared = buyer.wallet.lock(&request).await.unwrap();
        let (lock, part) = (prepared.lock(), prepared.part());
        buyer.debit(prepared, trade(number)).await.unwrap();
        let context = LockContext { mint: mint_url(), buyer: buyer.id(), principal: buyer.id() };
        let demand = LockDemand { terms: terms.clone(), part, unit: play(), price: 20, max_proofs: 32 };
        let vetted = seller.wallet.check_lock(&context, &demand, &lock).await.unwrap();
        seller.reserve(vetted, trade(number)).await.unwrap();
        Self { terms, lock }
    }

    fn escrow(&self) -> &escrow::Terms {
        let Terms::Escrow(terms) = &self.terms else { panic!() };
        terms
    }

    async fn released_by(&self, buyer: &Node) -> Vec<ReleaseSignature> {
        let signatures = buyer.wallet.release(&self.terms, &self.lock).await.unwrap();
        let Lock::Escrow(lock) = &self.lock else { panic!() };
        escrow::check_release(lock, &signatures).unwrap();
        signatures
    }

    /// What the mint shows of the key.
    async fn shown_to(&self, buyer: &Node) -> Option<Shown> {
        let of = LockOf { mint: &mint_url(), lock: &self.lock, key_hash: self.escrow().key_hash };
        buyer.wallet.shown_key(trade(1), of).await.unwrap()
    }
}

async fn release(seller: &Node, signatures: Vec<ReleaseSignature>) {
    let wallet = seller.wallet.clone();
    seller.store.transact(move |write| wallet.released(write, trade(1), &signatures)).await.unwrap();
    seller.wallet.nudge();
}

async fn pair(fee: u64) -> (Bank, Node, Node) {
    let bank = Bank::open(fee).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    (bank, buyer, seller)
}

#[tokio::test]
async fn what_is_released_is_redeemed_at_once_and_shows_the_key() {
    let (bank, buyer, mut seller) = pair(0).await;
    let held = Held::between(&buyer, &seller).await;
    assert_eq!(held.shown_to(&buyer).await, None);
    release(&seller, held.released_by(&buyer).await).await;
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 20 }));
    let key = seller.wallet.seal_key(&held.terms).unwrap();
    assert_eq!(held.shown_to(&buyer).await, Some(Shown::Key(key)));
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total());
}

#[tokio::test]
async fn what_was_never_released_falls_back_after_the_locktime_but_for_the_fee() {
    let (bank, mut buyer, seller) = pair(100).await;
    let held = Held::between(&buyer, &seller).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    seller.void(trade(1)).await;
    pass(Duration::from_secs(held.escrow().locktime.since(buyer.runtime.now()) + 200)).await;
    let (of, outcome) = buyer.outcome().await;
    let MoneyOutcome::Refunded { refunded, redeemed: 0, fee } = outcome else { panic!("{outcome:?}") };
    assert_eq!((of, refunded + fee), (trade(1), held.lock.amount()));
    buyer.quiet().await;
    assert_eq!((buyer.balance().refunding, buyer.balance().at_risk), (0, 0));
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total());
}

/// The seller's path to the money stays open after the locktime, but whoever showed the key then might lose both.
#[tokio::test]
async fn what_can_t_be_redeemed_until_the_last_moment_is_held_back_for_good() {
    let (bank, mut buyer, mut seller) = pair(0).await;
    let held = Held::between(&buyer, &seller).await;
    bank.set(Line::Down);
    release(&seller, held.released_by(&buyer).await).await;
    sleep(Duration::from_secs(1)).await;
    pass(Duration::from_secs(held.escrow().redeem_by.since(seller.runtime.now()) + 1)).await;
    bank.set(Line::Well);
    let (of, outcome) = seller.outcome().await;
    assert!(of == trade(1) && matches!(outcome, MoneyOutcome::RedeemFailed { .. }), "{outcome:?}");
    // Not by a late release, nor by a restart.
    release(&seller, held.released_by(&buyer).await).await;
    let now = seller.runtime.now();
    let seller = seller.restart(now).await;
    seller.wallet.nudge();
    sleep(Duration::from_secs(2)).await;
    assert_eq!((held.shown_to(&buyer).await, seller.balance().spendable), (None, 0));
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    pass(Duration::from_secs(held.escrow().locktime.since(buyer.runtime.now()) + 200)).await;
    let (_, outcome) = buyer.outcome().await;
    assert_eq!(outcome, MoneyOutcome::Refunded { refunded: 20, redeemed: 0, fee: 0 });
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total());
}

/// No key of a trade is stored: the phrase and what the records say of it give each again.
#[tokio::test]
async fn homes_that_come_back_still_release_redeem_and_refund() {
    let (bank, buyer, seller) = pair(0).await;
    let held = Held::between(&buyer, &seller).await;
    let now = buyer.runtime.now();
    let (buyer, mut seller) = (buyer.restart(now).await, seller.restart(now).await);
    release(&seller, held.released_by(&buyer).await).await;
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 20 }));
    let key = seller.wallet.seal_key(&held.terms).unwrap();
    assert_eq!((key.hash(), held.shown_to(&buyer).await), (held.escrow().key_hash, Some(Shown::Key(key))));

    let other = bank.wallet(3).await;
    other.fund(100).await;
    let held = Held::of(&other, &seller, 2).await;
    other.wallet.settle_buyer(trade(2), LockOutcome::Refund).await.unwrap();
    let mut other = other.restart(held.escrow().locktime.saturating_add(200)).await;
    assert_eq!(other.outcome().await, (trade(2), MoneyOutcome::Refunded { refunded: 20, redeemed: 0, fee: 0 }));
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    seller.void(trade(2)).await;
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total() + other.total());
}

/// Mints differ in how they pass a witness on.
#[tokio::test]
async fn the_key_is_read_from_odd_witnesses_and_from_no_other_hash() {
    let (bank, buyer, mut seller) = pair(0).await;
    let held = Held::between(&buyer, &seller).await;
    release(&seller, held.released_by(&buyer).await).await;
    assert_eq!(seller.outcome().await.1, MoneyOutcome::Redeemed { amount: 20 });
    let key = Some(Shown::Key(seller.wallet.seal_key(&held.terms).unwrap()));
    type Change = fn(&Value) -> Value;
    let odd: [(Change, bool); 6] = [
        (|shown| shown.clone(), true),
        // As a map, and as a text within a text.
        (|shown| serde_json::from_str(shown.as_str().unwrap()).unwrap(), true),
        (|shown| json!(shown.to_string()), true),
        // The field named twice, the false one last.
        (|shown| json!(shown.as_str().unwrap().replacen('}', ",\"preimage\":\"00\"}", 1)), true),
        // Cut off, or gone.
        (|shown| json!(shown.as_str().unwrap()[..20].to_owned()), false),
        (|_| Value::Null, false),
    ];
    for (change, found) in odd {
        bank.set(tampered("/v1/checkstate", move |body| {
            for state in body["states"].as_array_mut().unwrap() {
                if state["witness"].is_string() {
                    state["witness"] = change(&state["witness"]);
                }
            }
        }));
        let shown = held.shown_to(&buyer).await;
        assert_eq!(shown, key.clone().filter(|_| found));
    }
}
