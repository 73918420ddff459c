//! Wallets with very many coins: what is asked of them costs as much as with few, and they become few by themselves.
//!
//! No clock says so: records that the store has read are counted.

use cdk::nuts::{CurrencyUnit, Token};
use guilder_protocol::fault::AtFault;

use super::{
    double::{Double, Mood},
    homes::{Home, NOW, here},
    *,
};
use crate::{
    limits::KEEP_COINS,
    wallet::{
        records::{BY_SIZE, COINS, Coin, HELD},
        tables::{book, put_coin},
    },
};

impl Home {
    /// A home with so many coins of an amount, as if each had been earned by itself; it has just started.
    async fn with_coins(mint: &Double, amount: u64, count: u32) -> Self {
        let home = Self::new(mint, 1).await;
        home.earn(amount, count).await;
        home.restart(None).await
    }

    async fn earn(&self, amount: u64, count: u32) {
        let currency = Currency::new(&here(), &play());
        let coins = self.mint.books().issue(amount, count);
        let earning = move |write: &mut Write<'_>| {
            let mut earned = 0;
            for coin in &coins {
                assert!(put_coin(write, &currency, coin.y().unwrap(), coin)?, "a coin of its own");
                earned += coin.amount;
            }
            book(write, &currency, NOW, Reason::Funded, earned, None)
        };
        self.store.transact(earning).await.unwrap();
    }

    fn coins(&self) -> usize {
        self.store.read(|read| read.range(COINS, KeyRange::all(), usize::MAX)).unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn any_amount_can_be_paid_with_small_coins_however_many_it_takes() {
    for fee_ppk in [0, 100] {
        let mint = Double::new(fee_ppk);
        let home = Home::with_coins(&mint, 1, 2_444).await;
        let mut sent = 0;
        for amount in [257, 1_600] {
            sent += home.send(amount).await.unwrap().amount;
            assert_eq!(home.total() + sent, mint.outstanding(), "after {amount}, at {fee_ppk} ppk");
        }
        home.quiet().await;
        // A tenth of what was spent is the mint's, and its share of what was changed twice.
        assert!(home.total() + sent >= 2_444 - fee_ppk * 2 * 2_444 / 1_000, "{} left", home.total());
        let more = home.send(2_000).await.unwrap_err();
        assert!(matches!(more, WalletError::Insufficient { .. }), "{more}");
        assert!(AtFault::hint(&more).is_some_and(|hint| hint.contains("wallet fund")), "{more}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_more_proofs_than_a_swap_takes_is_received_in_several() {
    let mint = Double::new(100);
    let home = Home::new(&mint, 1).await;
    let token = token_of(&mint.books().issue(2, 600));
    let before = mint.calls("/v1/swap");
    let received = home.wallet.receive(&token).await.unwrap();
    assert_eq!((received.amount, received.fee, mint.calls("/v1/swap") - before), (1_140, 60, 3));
    assert_eq!((home.total(), mint.outstanding()), (1_140, 1_140));
    assert_eq!(home.wallet.receive(&token).await.unwrap_err(), WalletError::ReceivedBefore);
    assert_eq!(home.total(), 1_140);
}

fn token_of(coins: &[Coin]) -> String {
    let proofs: Option<Vec<_>> = coins.iter().map(Coin::to_proof).collect();
    let url = here().as_str().parse().unwrap();
    Token::new(url, proofs.unwrap(), None, CurrencyUnit::custom("play")).to_string()
}

/// The whole of it is written down before any of it is posted: whoever gave it, or hears that the mint is slow, may let it go.
#[tokio::test(start_paused = true)]
async fn a_token_of_several_swaps_that_a_mint_is_slow_with_is_received_in_whole_after_a_crash() {
    let mint = Double::new(100);
    let home = Home::new(&mint, 1).await;
    let token = token_of(&mint.books().issue(2, 600));
    mint.set(Mood::DownOn("/v1/swap"));
    home.wallet.receive(&token).await.unwrap_err();
    assert_eq!(home.wallet.swaps_in_flight().unwrap(), 3);
    mint.set(Mood::Well);
    let home = home.restart(None).await;
    home.quiet().await;
    assert_eq!((home.total(), mint.outstanding()), (1_140, 1_140));
}

#[tokio::test(start_paused = true)]
async fn whatever_write_the_power_goes_at_a_token_of_several_swaps_is_received_in_whole_or_can_be_again() {
    let mut interrupted = 0;
    for writes in 0..24 {
        let mint = Double::new(100);
        let home = Home::new(&mint, 1).await;
        let token = token_of(&mint.books().issue(2, 600));
        mint.set(Mood::Slow(1));
        home.disk.power_off_after(writes);
        let received = home.wallet.receive(&token).await;
        sleep(Duration::from_secs(60)).await;
        mint.set(Mood::Well);
        interrupted += u32::from(received.is_err());
        let home = home.restart(None).await;
        home.quiet().await;
        if home.total() == 0 {
            assert_eq!(home.wallet.receive(&token).await.unwrap().amount, 1_140, "after {writes} writes");
        }
        assert_eq!((home.total(), mint.outstanding()), (1_140, 1_140), "after {writes} writes");
    }
    assert!(interrupted > 1, "{interrupted} were interrupted");
}

#[tokio::test(start_paused = true)]
async fn dust_in_a_token_keeps_none_of_the_rest_from_being_received() {
    let mint = Double::new(1_000);
    let home = Home::new(&mint, 1).await;
    let mut coins = mint.books().issue(1, 400);
    coins.extend(mint.books().issue(64, 200));
    assert_eq!(home.wallet.receive(&token_of(&coins)).await.unwrap().amount, 200 * 63);
    assert_eq!(home.total(), 200 * 63);
}

#[tokio::test(start_paused = true)]
async fn dust_of_a_keyset_that_ends_keeps_no_large_coin_in_it() {
    let mint = Double::new(1_000);
    mint.books().rotate(Some(NOW.as_secs() + 5 * 86_400));
    let home = Home::new(&mint, 1).await;
    home.earn(1, 300).await;
    home.earn(512, 1).await;
    mint.books().rotate(None);
    let home = home.restart(None).await;
    sleep(Duration::from_secs(2 * 3_600)).await;
    home.quiet().await;
    assert_eq!(home.audit().remove(0).account.fees, 1, "the large one was moved, alone");
}

/// Changing coins for fewer, which nobody asked for, takes none of them away from whoever pays meanwhile.
#[tokio::test(start_paused = true)]
async fn a_payment_waits_for_coins_that_are_being_changed() {
    let mint = Double::new(0);
    mint.set(Mood::Slow(1));
    let home = Home::with_coins(&mint, 1, 200).await;
    while home.wallet.swaps_in_flight().unwrap() == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(home.wallet.balances().unwrap()[0].spendable < 190);
    assert_eq!(home.send(190).await.unwrap().amount, 190);
}

#[tokio::test(start_paused = true)]
async fn a_payment_does_not_cost_the_worth_of_the_coins() {
    let mint = Double::new(400);
    let home = Home::with_coins(&mint, 1, 600).await;
    let error = home.send(200).await.unwrap_err();
    assert!(matches!(error, WalletError::Insufficient { .. }), "{error}");
    assert_eq!((mint.calls("/v1/swap"), home.total()), (0, 600));
}

#[tokio::test(start_paused = true)]
async fn small_coins_of_a_retired_keyset_keep_no_large_one_from_being_spent() {
    let mint = Double::new(1_000);
    let home = Home::new(&mint, 1).await;
    home.earn(2, 300).await;
    mint.books().rotate(None);
    let home = home.restart(None).await;
    sleep(Duration::from_secs(700)).await;
    home.earn(512, 1).await;
    assert_eq!(home.send(400).await.unwrap().amount, 400);
}

#[tokio::test(start_paused = true)]
async fn coins_earned_one_by_one_become_few_by_themselves() {
    let mint = Double::new(0);
    let home = Home::with_coins(&mint, 1, 1_000).await;
    sleep(Duration::from_secs(10)).await;
    home.quiet().await;
    assert!(home.coins() as u64 <= KEEP_COINS, "{} coins", home.coins());
    assert_eq!((home.total(), mint.outstanding()), (1_000, 1_000));
    // But for some of those that were left, they are of the phrase now.
    assert!(Home::new(&mint, 1).await.sync().await.found >= 1_000 - KEEP_COINS);
}

#[tokio::test(start_paused = true)]
async fn coins_are_left_as_they_are_where_changing_them_costs_much() {
    for fee_ppk in [20, 100, 1_000, 5_000] {
        let mint = Double::new(fee_ppk);
        let home = Home::with_coins(&mint, 1, 300).await;
        sleep(Duration::from_secs(2 * 3_600)).await;
        assert_eq!((mint.calls("/v1/swap"), home.coins()), (0, 300), "at {fee_ppk} ppk");
    }
}

/// A mint that can't be had while coins are to be changed is asked again as for every operation, and nobody begins further ones.
#[tokio::test(start_paused = true)]
async fn coins_that_can_not_be_changed_are_not_tried_again_and_again() {
    let mint = Double::new(0);
    let home = Home::with_coins(&mint, 1, 1_000).await;
    mint.set(Mood::Down);
    sleep(Duration::from_secs(1_800)).await;
    assert!(home.wallet.swaps_in_flight().unwrap() <= 1, "{:?}", home.wallet.pending());
    assert_eq!(home.total(), 1_000);
    mint.set(Mood::Well);
    sleep(Duration::from_secs(2 * 3_600)).await;
    home.quiet().await;
    assert!(home.coins() as u64 <= KEEP_COINS, "{} coins", home.coins());
    assert_eq!((home.total(), mint.outstanding()), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn coins_that_are_not_worth_their_fee_are_not_spent_along() {
    let mint = Double::new(1_000);
    let home = Home::with_coins(&mint, 1, 300).await;
    home.earn(64, 1).await;
    assert_eq!(home.send(60).await.unwrap().amount, 60);
    assert_eq!(home.audit().remove(0).account.fees, 1, "one coin was spent");
}

#[tokio::test(start_paused = true)]
async fn whatever_write_the_power_goes_at_while_coins_are_changed_none_is_lost() {
    let mut interrupted = 0;
    for writes in 0..24 {
        let mint = Double::new(0);
        mint.set(Mood::Slow(5));
        let home = Home::with_coins(&mint, 1, 200).await;
        while home.wallet.swaps_in_flight().unwrap() == 0 {
            sleep(Duration::from_secs(1)).await;
        }
        home.disk.power_off_after(writes);
        sleep(Duration::from_secs(60)).await;
        mint.set(Mood::Well);
        interrupted += u32::from(home.store.write(|_| Ok(())).await.is_err());
        let home = home.restart(None).await;
        sleep(Duration::from_secs(10)).await;
        home.quiet().await;
        assert_eq!((home.total(), mint.outstanding()), (200, 200), "after {writes} writes");
        assert!(home.coins() as u64 <= KEEP_COINS, "{} coins after {writes} writes", home.coins());
    }
    assert!(interrupted > 3, "{interrupted} were interrupted");
}

/// What it takes to start, to say what there is, and to pay.
#[tokio::test(start_paused = true)]
async fn ten_times_the_coins_cost_no_more_rows() {
    let mut costs = Vec::new();
    for count in [300, 3_000] {
        // Changing them would cost too much, so they stay.
        let mint = Double::new(1_000);
        let home = Home::with_coins(&mint, 2, count).await;
        let opened = home.store.rows_read();
        assert_eq!(home.wallet.balances().unwrap()[0].spendable, 2 * u64::from(count));
        assert_eq!(home.wallet.units_held().unwrap(), BTreeSet::from([play()]));
        let asked = home.store.rows_read() - opened;
        home.send(10).await.unwrap();
        let paid = home.store.rows_read() - opened - asked;
        costs.push([opened, asked, paid]);
    }
    for (few, many) in costs[0].into_iter().zip(costs[1]) {
        assert!(many <= few + few / 5, "{costs:?}");
    }
    assert!(costs[0].iter().all(|rows| *rows > 0), "they are counted");
}

#[tokio::test(start_paused = true)]
async fn what_is_earned_is_looked_through_when_its_batch_is_due_and_not_each_time() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    for number in 0..40 {
        buyer.award(&seller, 1, number).await.unwrap();
    }
    let mut costs = Vec::new();
    for number in 0..40 {
        let (before, wallet) = (seller.store.rows_read(), seller.wallet.clone());
        seller.store.transact(move |write| wallet.redeemable(write, trade(number))).await.unwrap();
        seller.wallet.earned();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        costs.push(seller.store.rows_read() - before);
    }
    // The first is looked at, so that its time is known.
    assert!(costs[1..].iter().all(|rows| *rows <= 6), "{costs:?}");
    sleep(Duration::from_secs(10)).await;
    seller.quiet().await;
    assert_eq!(seller.spendable(), 40, "all of it is redeemed within the interval");
}

#[tokio::test(start_paused = true)]
async fn an_audit_finds_sums_and_orders_that_are_not_the_coins() {
    let mint = Double::new(0);
    let home = Home::with_coins(&mint, 2, 3).await;
    assert_eq!(home.total(), 6);
    let (key, held) = home.store.read(|read| Ok(read.range(HELD, KeyRange::all(), 1)?.remove(0))).unwrap();
    let (at, wrong) = (key.clone(), records::Held { amount: 5, ..held });
    home.store.write(move |write| write.put(HELD, at, &wrong)).await.unwrap();
    assert_eq!(home.wallet.audit().unwrap(), Err(AuditFault::Sums));
    home.store.write(move |write| write.put(HELD, key, &held)).await.unwrap();
    assert_eq!(home.total(), 6);
    let (key, ()) = home.store.read(|read| Ok(read.range(BY_SIZE, KeyRange::all(), 1)?.remove(0))).unwrap();
    home.store.write(move |write| write.delete(BY_SIZE, key)).await.unwrap();
    assert_eq!(home.wallet.audit().unwrap(), Err(AuditFault::Sums));
}
