//! Locks, from the purse to the seller's coins or back.

use super::*;

#[tokio::test]
async fn a_hire_is_paid_and_redeemed() {
    let bank = Bank::open(100).await;
    let (buyer, mut seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(1_000).await;
    award(&buyer, &seller, 25, 1).await;
    let (bought, sold) = (buyer.balance(), seller.balance());
    assert_eq!((bought.at_risk, sold.unredeemed), (26, 26));

    // One lock a trade.
    let another = buyer.wallet.lock(&buyer.request(&seller, 25)).await.unwrap();
    assert_eq!(buyer.debit(another, trade(1)).await.unwrap_err(), WalletError::AlreadyDebited);

    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    seller.redeemable(trade(1)).await;
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 25 }));
    assert_eq!(seller.balance().spendable, 25);
    assert_eq!(seller.balance().account.fees, 1);
    assert_eq!(buyer.balance().account.paid, 26);
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total());
    seller.hears(|event| matches!(event, Event::Redeemed { trades: 1, sum, fee: 1, .. } if sum.amount == 25)).await;
    let mut buyer = buyer;
    buyer.hears(|event| matches!(event, Event::Funded { sum, .. } if sum.amount == 1_000)).await;
    buyer.hears(|event| matches!(event, Event::Swapped { purpose: crate::events::SwapPurpose::Refill, sum, .. } if sum.amount == 26)).await;
    buyer.hears(|event| matches!(event, Event::Locked { sum, .. } if sum.amount == 26)).await;

    // Told again after a restart, until it is acknowledged.
    let mut seller = seller.crash().await;
    assert_eq!(seller.outcome().await.0, trade(1));
    let wallet = seller.wallet.clone();
    seller.store.transact(move |write| wallet.acknowledge(write, trade(1))).await.unwrap();
    let mut seller = seller.crash().await;
    assert!(timeout(Duration::from_millis(200), seller.outcomes.recv()).await.is_err());
}

#[tokio::test]
async fn a_warm_purse_needs_no_mint() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(5_000).await;
    for number in 1..=2 {
        award(&buyer, &seller, 20, number).await;
    }
    // The first made its own, the second eight.
    assert_eq!(buyer.balance().locked, 7 * 20);
    bank.set(Line::Down);
    for number in 3..=9 {
        award(&buyer, &seller, 20, number).await;
    }
    assert_eq!(buyer.balance().locked, 0);
    bank.set(Line::Well);
    award(&buyer, &seller, 20, 10).await;
    buyer.quiet().await;
    assert!(buyer.balance().locked >= 15 * 20, "{:?}", buyer.balance());
    assert!(buyer.balance().locked <= PurseConfig::default().cap);
}

#[tokio::test]
async fn a_purse_outlives_a_restart_and_serves_many_at_once() {
    let bank = Bank::open(0).await;
    let (mut buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(20_000).await;
    for number in 1..=2 {
        award(&buyer, &seller, 5, number).await;
    }
    buyer = buyer.crash().await;
    assert_eq!(buyer.balance().locked, 7 * 5);
    bank.set(Line::Down);
    award(&buyer, &seller, 5, 3).await;
    bank.set(Line::Well);
    let hires = (100..140).map(|number| award(&buyer, &seller, 5, number));
    futures::future::join_all(hires).await;
    buyer.quiet().await;
    assert_eq!(buyer.balance().at_risk, 43 * 5);
    assert!(bank.calls("/v1/swap") < 12, "{}", bank.calls("/v1/swap"));
}

#[tokio::test]
async fn a_lock_that_is_not_used_goes_back() {
    let bank = Bank::open(0).await;
    let mut config = WalletConfig::default();
    // Nothing else is in the purse.
    config.purse.warm_after_hires = u64::MAX;
    let buyer = Node::boot(&bank, 1, CrashBackend::new(), yesterday(), config).await;
    let seller = bank.wallet(2).await;
    buyer.fund(1_000).await;
    let request = buyer.request(&seller, 9);
    let first = buyer.wallet.lock(&request).await.unwrap();
    let part = first.part();
    drop(first);
    bank.set(Line::Down);
    let again = buyer.wallet.lock(&request).await.unwrap();
    assert_eq!(again.part(), part);
    // Debited in a transaction that was then refused.
    let refused = buyer.store.transact(move |write| {
        again.debit(write, trade(1), None)?;
        Err::<(), _>(WalletError::LockGone)
    });
    refused.await.unwrap_err();
    sleep(Duration::from_secs(3)).await;
    let again = buyer.wallet.lock(&request).await.unwrap();
    assert_eq!(again.part(), part);
    // Refused by the seller.
    buyer.debit(again, trade(2)).await.unwrap();
    // It can be paid with again once the mint says that it is unspent.
    bank.set(Line::Well);
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Returned).await.unwrap();
    sleep(Duration::from_secs(4)).await;
    bank.set(Line::Down);
    let again = buyer.wallet.lock(&request).await.unwrap();
    assert_eq!(again.part(), part);
    buyer.debit(again, trade(3)).await.unwrap();
    assert_eq!(buyer.balance().at_risk, 9);
    // Nothing is left, and the mint is down: cold.
    let cold = buyer.wallet.lock(&request).await.unwrap_err();
    assert!(matches!(cold, WalletError::Mint(_) | WalletError::Unsettled), "{cold}");
}

#[tokio::test]
async fn what_falls_back_is_swept() {
    let bank = Bank::open(100).await;
    let (mut buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(1_000).await;
    for number in 1..=2 {
        award(&buyer, &seller, 20, number).await;
    }
    seller.void(trade(1)).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Paid).await.unwrap();
    let balance = buyer.balance();
    assert_eq!(balance.refunding, 21);
    assert!(balance.locked > 0);
    pass(Duration::from_secs(6 * 3_600)).await;
    let (swept, outcome) = buyer.outcome().await;
    assert_eq!(swept, trade(1));
    let MoneyOutcome::Refunded { refunded, redeemed: 0, fee } = outcome else { panic!("{outcome:?}") };
    assert_eq!(refunded + fee, 21);
    buyer.quiet().await;
    let balance = buyer.balance();
    assert_eq!((balance.refunding, balance.locked, balance.at_risk), (0, 0, 0));
    assert_eq!(balance.total(), 1_000 - balance.account.fees - balance.account.paid);
}

#[tokio::test]
async fn what_the_seller_took_after_all_is_said() {
    let bank = Bank::open(0).await;
    let (mut buyer, mut seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    award(&buyer, &seller, 20, 1).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    seller.redeemable(trade(1)).await;
    seller.outcome().await;
    pass(Duration::from_secs(6 * 3_600)).await;
    assert_eq!(buyer.outcome().await, (trade(1), MoneyOutcome::Refunded { refunded: 0, redeemed: 20, fee: 0 }));
    assert_eq!(buyer.balance().account.forfeited, 20);
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total());
}

#[tokio::test]
async fn a_proof_pays_once() {
    let bank = Bank::open(0).await;
    let other: MintUrl = "https://same.example".parse().unwrap();
    let buyer = bank.wallet(1).await;
    let config = WalletConfig { mints: vec![mint_url(), other.clone()], ..WalletConfig::default() };
    let mut seller = Node::boot(&bank, 2, CrashBackend::new(), yesterday(), config).await;
    buyer.fund(100).await;
    let lock = buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap();
    let (travels, part) = (lock.lock(), lock.part());
    let vetted = seller.vet(buyer.id(), mint_url(), 20, &travels, part.clone()).await.unwrap();
    seller.reserve(vetted.clone(), trade(1)).await.unwrap();
    seller.reserve(vetted.clone(), trade(1)).await.unwrap();
    assert_eq!(seller.reserve(vetted.clone(), trade(2)).await.unwrap_err(), WalletError::AlreadyReserved);
    // The same mint by another name.
    let renamed = seller.vet(buyer.id(), other, 20, &travels, part).await.unwrap();
    assert_eq!(seller.reserve(renamed.clone(), trade(2)).await.unwrap_err(), WalletError::AlreadyReserved);
    // And with other keys in force when it was first seen by that name, so that it seems another mint.
    let mut stranger = renamed;
    stranger.identity.0[0] ^= 1;
    assert_eq!(seller.reserve(stranger, trade(2)).await.unwrap_err(), WalletError::AlreadyReserved);
    assert_eq!(seller.balance().unredeemed, 20);
    // Redeemed, it can't either.
    seller.redeemable(trade(1)).await;
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 20 }));
    assert_eq!(seller.balance().spendable, 20);
    assert_eq!(seller.reserve(vetted, trade(3)).await.unwrap_err(), WalletError::AlreadyReserved);
}

/// A buyer that could pay for a second trade with what a first one gave up would hold the receipt of the first, which says that
/// it failed, and the mint's word that the money was taken: proof of fraud against an honest seller.
#[tokio::test]
async fn a_lock_that_was_given_up_pays_for_no_other_trade() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    let lock = buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap();
    let vetted = seller.vet(buyer.id(), mint_url(), 20, &lock.lock(), lock.part()).await.unwrap();
    seller.reserve(vetted.clone(), trade(1)).await.unwrap();
    seller.void(trade(1)).await;
    assert_eq!(seller.balance().unredeemed, 0);
    assert_eq!(seller.reserve(vetted, trade(2)).await.unwrap_err(), WalletError::AlreadyReserved);
}

/// A trade that resumes says again what it has said before its crash, whatever has become of the lock meanwhile.
#[tokio::test]
async fn a_lock_that_is_being_redeemed_is_not_due_again() {
    let bank = Bank::open(0).await;
    let (buyer, mut seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    award(&buyer, &seller, 20, 1).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    // Its numbers are checked.
    seller.fund(1).await;
    bank.set(Line::Down);
    seller.redeemable(trade(1)).await;
    while seller.wallet.swaps_in_flight().unwrap() == 0 {
        pass(Duration::from_secs(2)).await;
        sleep(Duration::from_millis(20)).await;
    }
    // Nor given up, or what the mint signs would be nobody's.
    seller.redeemable(trade(1)).await;
    seller.void(trade(1)).await;
    sleep(Duration::from_secs(7)).await;
    assert_eq!((seller.wallet.swaps_in_flight().unwrap(), seller.balance().unredeemed), (1, 20));
    bank.set(Line::Well);
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 20 }));
    seller.quiet().await;
    assert_eq!((seller.balance().spendable, bank.outstanding().await), (21, 101));
}

#[tokio::test]
async fn credit_is_capped() {
    let bank = Bank::open(0).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(3).await);
    let mut config = WalletConfig::default();
    config.redemption.max_per_buyer = 30;
    config.redemption.max_per_mint = 45;
    let seller = Node::boot(&bank, 2, CrashBackend::new(), yesterday(), config).await;
    one.fund(100).await;
    other.fund(100).await;
    award(&one, &seller, 20, 1).await;
    let vet = async |buyer: &Node, price| {
        let lock = buyer.wallet.lock(&buyer.request(&seller, price)).await.unwrap();
        seller.vet(buyer.id(), mint_url(), price, &lock.lock(), lock.part()).await.unwrap()
    };
    let over = seller.reserve(vet(&one, 20).await, trade(2)).await.unwrap_err();
    assert!(matches!(over, WalletError::BuyerCap { max: 30, .. }), "{over}");
    award(&other, &seller, 20, 3).await;
    let over = seller.reserve(vet(&other, 10).await, trade(4)).await.unwrap_err();
    assert!(matches!(over, WalletError::MintCap { max: 45, .. }), "{over}");
    assert_eq!(seller.balance().unredeemed, 40);
    seller.void(trade(1)).await;
    seller.reserve(vet(&one, 20).await, trade(5)).await.unwrap();
}

#[tokio::test]
async fn what_is_in_a_seller_s_hands_in_advance_is_bounded_where_it_is_debited() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(1_000).await;
    let pay = async |number| {
        let lock = buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap();
        buyer.store.transact(move |write| lock.debit(write, trade(number), Some(40))).await
    };
    let held = || buyer.wallet.advanced(seller.id(), &play()).unwrap();
    let over = |result: Result<(), WalletError>| matches!(result.unwrap_err(), WalletError::AdvanceCap { max: 40, .. });
    pay(1).await.unwrap();
    pay(2).await.unwrap();
    assert!(over(pay(3).await));
    assert_eq!((held(), buyer.wallet.advanced(agent(9), &play()).unwrap()), (40, 0));
    // Earned, it is in nobody's hands for nothing; failed, the seller can take it until the locktime.
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Refund).await.unwrap();
    assert_eq!(held(), 20);
    pay(4).await.unwrap();
    assert!(over(pay(5).await));
    // What was given back its seller has had.
    buyer.wallet.settle_buyer(trade(4), LockOutcome::Returned).await.unwrap();
    assert_eq!(held(), 40);
    // In escrow nothing is in its hands.
    let terms = seller.wallet.terms(&Mode::Escrow, buyer.id(), seller.runtime.now()).unwrap();
    let lock = buyer.wallet.lock(&LockRequest { terms, ..buyer.request(&seller, 20) }).await.unwrap();
    buyer.store.transact(move |write| lock.debit(write, trade(99), Some(0))).await.unwrap();
    pass(Duration::from_secs(86_400)).await;
    assert_eq!(held(), 0, "it has fallen back");
}

/// What a buyer locks in escrow for a trade, held against our terms.
async fn vetted_escrow(buyer: &Node, seller: &Node, price: u64) -> VettedLock {
    let terms = seller.wallet.terms(&Mode::Escrow, buyer.id(), seller.runtime.now()).unwrap();
    let request = LockRequest { terms: terms.clone(), ..buyer.request(seller, price) };
    let lock = buyer.wallet.lock(&request).await.unwrap();
    let context = LockContext { mint: mint_url(), buyer: buyer.id(), principal: buyer.id() };
    let demand = LockDemand { terms, part: lock.part(), unit: play(), price, max_proofs: 32 };
    let vetted = seller.wallet.check_lock(&context, &demand, &lock.lock()).await.unwrap();
    let held = guilder_protocol::cbor::cid_of(lock.part().commitment().unwrap().as_bytes());
    buyer.debit(lock, held).await.unwrap();
    vetted
}

#[tokio::test]
async fn what_is_not_released_has_caps_of_its_own_and_is_no_credit_until_it_is() {
    let bank = Bank::open(0).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(3).await);
    let mut config = WalletConfig::default();
    (config.redemption.max_per_buyer, config.redemption.max_per_mint) = (30, 45);
    (config.redemption.max_unreleased_per_buyer, config.redemption.max_unreleased_shared) = (40, 50);
    let seller = Node::boot(&bank, 2, CrashBackend::new(), yesterday(), config).await;
    one.fund(300).await;
    other.fund(300).await;
    for number in [1, 2] {
        seller.reserve(vetted_escrow(&one, &seller, 20).await, trade(number)).await.unwrap();
    }
    let over = seller.reserve(vetted_escrow(&one, &seller, 1).await, trade(3)).await.unwrap_err();
    assert!(matches!(over, WalletError::BuyerCap { max: 40, .. }), "{over}");
    let over = seller.reserve(vetted_escrow(&other, &seller, 11).await, trade(3)).await.unwrap_err();
    assert!(matches!(over, WalletError::MintCap { max: 50, .. }), "{over}");
    // Whoever has earned the place isn't crowded out, nor is anybody that pays in advance.
    seller.reserve(vetted_escrow(&other, &seller, 11).await.earned(true), trade(4)).await.unwrap();
    award(&one, &seller, 20, 5).await;
    award(&other, &seller, 20, 6).await;
    assert_eq!(seller.balance().unredeemed, 20 + 20 + 11 + 20 + 20);
    // Where there is no more credit, nothing is worked for in escrow either.
    let over = seller.reserve(vetted_escrow(&other, &seller, 8).await, trade(7)).await.unwrap_err();
    assert!(matches!(over, WalletError::MintCap { max: 45, .. }), "{over}");
    // Released, it is credit like any other; nobody turns it away. Given up, it is nothing.
    seller.void(trade(5)).await;
    let spare = one.wallet.lock(&one.request(&seller, 10)).await.unwrap();
    let spare = seller.vet(one.id(), mint_url(), 10, &spare.lock(), spare.part()).await.unwrap();
    bank.set(Line::Down);
    let (wallet, signatures) = (seller.wallet.clone(), [guilder_protocol::bytes::ByteArray([1; 64])]);
    seller.store.transact(move |write| wallet.released(write, trade(1), &signatures)).await.unwrap();
    seller.void(trade(2)).await;
    seller.wallet.audit().unwrap().unwrap();
    let over = seller.reserve(spare, trade(8)).await.unwrap_err();
    assert!(matches!(over, WalletError::MintCap { max: 45, .. }), "{over}");
    for number in [4, 6] {
        seller.void(trade(number)).await;
    }
    seller.wallet.audit().unwrap().unwrap();
}

#[tokio::test]
async fn a_party_to_the_trade_is_not_its_mint() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    let lock = buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap();
    let host = agent(100);
    let verdict = seller.vet(host, mint_url(), 20, &lock.lock(), lock.part()).await;
    assert_eq!(verdict.unwrap_err(), WalletError::PartyMint { mint: mint_url(), host });
    // Another buyer's lock doesn't pay to the key that it is given.
    let verdict = seller.vet(agent(9), mint_url(), 20, &lock.lock(), lock.part()).await;
    assert!(matches!(verdict.unwrap_err(), WalletError::Lock(_)));
}

#[tokio::test]
async fn a_lock_longer_than_allowed_is_not_made() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    let request = LockRequest { terms: seller.terms(buyer.id(), 3 * 86_400), ..buyer.request(&seller, 20) };
    assert_eq!(buyer.wallet.lock(&request).await.unwrap_err(), WalletError::LockTooLong);
    let request = LockRequest { max_proofs: 1, ..buyer.request(&seller, 21) };
    assert!(matches!(buyer.wallet.lock(&request).await.unwrap_err(), WalletError::Amount { amount: 21, max: 1 }));
    let request = buyer.request(&seller, 101);
    assert!(matches!(buyer.wallet.lock(&request).await.unwrap_err(), WalletError::Insufficient { .. }));
    assert_eq!(buyer.balance().spendable, 100);
}
