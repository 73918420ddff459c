//! Mints that are down, deaf, lying or refusing.

use super::*;
use crate::wallet::connector::MintTrouble;

/// The line dies while the mint acts; once it is mended, the swap comes to be as if nothing had happened.
#[tokio::test]
async fn a_lost_reply_loses_nothing() {
    let bank = Bank::open(100).await;
    let (buyer, mut seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(1_000).await;
    // Its numbers are checked.
    seller.fund(1).await;

    bank.set(Line::Deaf);
    let cold = buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap_err();
    assert!(matches!(cold, WalletError::Mint(MintTrouble::Down { .. } | MintTrouble::Slow { .. })), "{cold}");
    assert!(buyer.balance().pending > 0);
    bank.set(Line::Well);
    buyer.quiet().await;
    award(&buyer, &seller, 20, 1).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();

    let other = bank.wallet(3).await;
    // One coin of 16, after the fees of getting it whole.
    other.fund(18).await;
    let whole = other.wallet.send(&mint_url(), &play(), 17).await.unwrap();
    other.wallet.receive(&whole.token).await.unwrap();
    bank.set(Line::Deaf);
    seller.redeemable(trade(1)).await;
    let sending = other.wallet.send(&mint_url(), &play(), 3).await.unwrap_err();
    assert!(matches!(sending, WalletError::Mint(_) | WalletError::Unsettled), "{sending}");
    while seller.wallet.swaps_in_flight().unwrap() == 0 {
        sleep(Duration::from_millis(50)).await;
    }
    bank.set(Line::Well);
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 20 }));
    other.quiet().await;
    // The token came to be, though nobody waited for it any more.
    let sent = other.wallet.sent().unwrap().into_iter().find(|token| token.amount == 3).unwrap();
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total() + other.total() + 3);

    bank.set(Line::Deaf);
    seller.wallet.receive(&sent.token).await.unwrap_err();
    bank.set(Line::Well);
    seller.quiet().await;
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total() + other.total());
}

/// What was tried in vain while the clock was a year ahead isn't put off for a year.
#[tokio::test]
async fn what_is_earned_is_redeemed_once_a_clock_that_was_ahead_is_right_again() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    award(&buyer, &seller, 20, 1).await;
    seller.redeemable(trade(1)).await;
    bank.set(Line::Down);
    let seller = seller.restart(yesterday().saturating_add(365 * 86_400)).await;
    let was_tried = || {
        let due = seller.store.read(|read| read.range(records::DUE, KeyRange::all(), 1)).unwrap();
        due.first().is_some_and(|(_, due)| due.put_off > 0)
    };
    while !was_tried() {
        sleep(Duration::from_millis(50)).await;
    }
    bank.set(Line::Well);
    let mut seller = seller.restart(yesterday()).await;
    assert_eq!(seller.outcome().await, (trade(1), MoneyOutcome::Redeemed { amount: 20 }));
}

/// A mint that did as it was asked, denied it, and tells the truth later.
#[tokio::test]
async fn a_lock_that_a_mint_had_denied_comes_back_once_it_shows_it() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(100).await;
    bank.set(Line::Deaf);
    buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap_err();
    bank.set(tampered("/v1/restore", |shown| {
        for list in ["outputs", "signatures"] {
            shown[list] = serde_json::json!([]);
        }
    }));
    let parked = || buyer.store.read(|read| read.range(records::FAILED, KeyRange::all(), 9)).unwrap().len();
    while parked() == 0 {
        sleep(Duration::from_millis(50)).await;
    }
    assert!(buyer.total() < 100, "it is lost on the books");
    bank.set(Line::Well);
    assert!(buyer.restore().await > 0);
    assert_eq!((parked(), buyer.total()), (0, bank.outstanding().await));
    assert_eq!(buyer.restore().await, 0, "once");
    assert_eq!(buyer.total(), bank.outstanding().await);
}

#[tokio::test]
async fn a_lying_mint_is_found_out_and_loses_us_nothing() {
    type Lie = (&'static str, fn(&mut serde_json::Value));
    let lies: [Lie; 4] = [
        ("bad DLEQ", |body| body["signatures"][0]["dleq"]["e"] = "11".repeat(32).into()),
        ("no DLEQ", |body| {
            body["signatures"][0].as_object_mut().unwrap().remove("dleq");
        }),
        ("one signature less", |body| {
            body["signatures"].as_array_mut().unwrap().pop();
        }),
        ("another signature", |body| {
            let other = body["signatures"][1]["C_"].clone();
            body["signatures"][0]["C_"] = other;
        }),
    ];
    for (name, lie) in lies {
        let bank = Bank::open(0).await;
        let one = bank.wallet(1).await;
        one.fund_whole(64).await;
        // In the swap's answer and in what is restored.
        bank.set(tampered("/v1/", move |body| {
            if body["signatures"].is_array() {
                lie(body);
            }
        }));
        let told = one.wallet.send(&mint_url(), &play(), 33).await.unwrap_err();
        assert!(matches!(told, WalletError::Mint(_) | WalletError::Unsettled), "{name}: {told}");
        assert_eq!(one.total(), 64, "{name}");
        let one = one.crash().await;
        bank.set(Line::Well);
        one.quiet().await;
        assert_eq!((one.total(), bank.outstanding().await), (31, 64), "{name}");
        assert_eq!(one.wallet.sent().unwrap().iter().filter(|token| token.amount == 33).count(), 1);
    }
}

#[tokio::test]
async fn a_spent_proof_holds_up_no_other() {
    let bank = Bank::open(0).await;
    let (mut cheat, honest) = (bank.wallet(1).await, bank.wallet(3).await);
    let mut config = WalletConfig::default();
    config.redemption.interval_secs = 1_000_000;
    let mut seller = Node::boot(&bank, 2, CrashBackend::new(), yesterday(), config).await;
    cheat.fund(100).await;
    honest.fund(100).await;
    award(&cheat, &seller, 20, 1).await;
    award(&honest, &seller, 10, 2).await;
    award(&honest, &seller, 7, 3).await;
    for number in [2, 3] {
        honest.wallet.settle_buyer(trade(number), LockOutcome::Paid).await.unwrap();
    }
    cheat.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    // Past the locktime, before the seller has redeemed: the money is gone by the rules of the lock.
    cheat = cheat.restart(yesterday().saturating_add(6 * 3_600)).await;
    assert!(matches!(cheat.outcome().await, (_, MoneyOutcome::Refunded { refunded: 20, .. })));
    for number in 1..=3 {
        seller.redeemable(trade(number)).await;
    }
    seller = seller.restart(yesterday().saturating_add(6 * 3_600)).await;
    let mut told = vec![seller.outcome().await, seller.outcome().await, seller.outcome().await];
    told.sort_by_key(|(_, outcome)| format!("{outcome:?}"));
    assert!(matches!(&told[0].1, MoneyOutcome::RedeemFailed { why } if why.contains("spent")), "{told:?}");
    assert_eq!(told[0].0, trade(1));
    assert_eq!(told[1].1, MoneyOutcome::Redeemed { amount: 10 });
    assert_eq!(told[2].1, MoneyOutcome::Redeemed { amount: 7 });
    assert_eq!(seller.balance().account.lost, 20);
    assert_eq!(bank.outstanding().await, cheat.total() + honest.total() + seller.total());
}

#[tokio::test]
async fn a_refused_swap_gives_its_coins_back() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund_whole(64).await;
    let before = one.wallet.sent().unwrap().len();
    bank.set(tampered("/v1/swap", |body| {
        *body = serde_json::json!({"code": 11_002, "detail": "not balanced"});
    }));
    // The body of an error with status 200 is no answer at all; the mint has acted, and restore tells.
    let token = one.wallet.send(&mint_url(), &play(), 33).await;
    bank.set(Line::Well);
    one.quiet().await;
    let sent = one.wallet.sent().unwrap().len() - before;
    assert_eq!(one.total() + sent as u64 * 33, bank.outstanding().await);
    drop(token);
}

/// A caller can be gone at any moment; what it had begun is written down and ends.
#[tokio::test]
async fn a_swap_whose_caller_is_gone_runs_to_its_end() {
    let bank = Bank::open(0).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(2_000).await;
    for polls in 0..30 {
        // Each from another purse, so that each needs a swap.
        let request = LockRequest { seller: agent(150 + polls), ..buyer.request(&seller, 9) };
        let mut locking = Box::pin(buyer.wallet.lock(&request));
        for _ in 0..polls {
            if futures::poll!(locking.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(locking);
    }
    buyer.quiet().await;
    assert_eq!((buyer.total(), buyer.balance().pending, bank.outstanding().await), (2_000, 0, 2_000));
}

/// What can't be refunded now, because its mint doesn't show its keyset, isn't written off as the mint's fee.
#[tokio::test]
async fn a_lock_whose_keyset_is_hidden_is_not_given_up() {
    let bank = Bank::open(100).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(1_000).await;
    award(&buyer, &seller, 20, 1).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    let waiting = buyer.balance().refunding;
    bank.set(tampered("/v1/keysets", |list| list["keysets"] = serde_json::json!([])));
    let looked = bank.calls("/v1/keysets");
    let buyer = buyer.restart(yesterday()).await;
    while bank.calls("/v1/keysets") == looked {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(200)).await;
    let later = yesterday().saturating_add(6 * 3_600);
    let buyer = buyer.restart(later).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(buyer.balance().refunding, waiting);
    bank.set(Line::Well);
    let mut buyer = buyer.restart(later).await;
    // The purse keeper's first look may come before the mint's keysets do: then the next, a minute on, is the one.
    sleep(Duration::from_secs(1)).await;
    pass(Duration::from_secs(120)).await;
    let (_, outcome) = buyer.outcome().await;
    assert!(matches!(outcome, MoneyOutcome::Refunded { refunded, .. } if refunded > 0), "{outcome:?}");
}

/// Lists only the keysets that are active.
fn only_active(list: &mut serde_json::Value) {
    list["keysets"].as_array_mut().unwrap().retain(|keyset| keyset["active"] == true);
}

/// The mint has begun a new keyset and no longer lists the old one: what is of the old one comes in all the same.
#[tokio::test]
async fn a_delisted_keyset_is_remembered() {
    let bank = Bank::open(100).await;
    let (buyer, seller) = (bank.wallet(1).await, bank.wallet(2).await);
    buyer.fund(1_000).await;
    award(&buyer, &seller, 20, 1).await;
    award(&buyer, &seller, 20, 2).await;
    let offered = buyer.wallet.lock(&buyer.request(&seller, 20)).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Refund).await.unwrap();
    seller.void(trade(2)).await;

    bank.mint.rotate("play", 200).await.unwrap();
    bank.set(tampered("/v1/keysets", only_active));
    for node in [&buyer, &seller] {
        node.wallet.add_mint(&mint_url()).await.unwrap();
    }
    // What is offered of it is refused: the mint may have forgotten it.
    let refused = seller.vet(buyer.id(), mint_url(), 20, &offered.lock(), offered.part()).await.unwrap_err();
    assert!(
        matches!(refused, WalletError::Lock(guilder_protocol::locks::LockError::UnknownKeyset { .. })),
        "{refused}"
    );
    // Across a restart, too.
    let mut seller = seller.crash().await;
    seller.redeemable(trade(1)).await;
    assert!(matches!(seller.outcome().await, (_, MoneyOutcome::Redeemed { amount: 20 })));
    let later = yesterday().saturating_add(6 * 3_600);
    let mut buyer = buyer.restart(later).await;
    let (_, outcome) = buyer.outcome().await;
    assert!(matches!(outcome, MoneyOutcome::Refunded { refunded, .. } if refunded > 0), "{outcome:?}");
    buyer.quiet().await;
    // The coins that were spendable still are, and new ones are of the new keyset.
    assert_eq!(buyer.wallet.send(&mint_url(), &play(), 700).await.unwrap().amount, 700);
    assert_eq!(bank.outstanding().await, buyer.total() + seller.total() + 700);
}

/// Coins that the mint may refuse are spent when there are no others.
#[tokio::test]
async fn coins_of_a_delisted_keyset_are_spent_last() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund_whole(96).await;
    bank.mint.rotate("play", 0).await.unwrap();
    bank.set(tampered("/v1/keysets", only_active));
    one.wallet.add_mint(&mint_url()).await.unwrap();
    let renewed = one.wallet.send(&mint_url(), &play(), 32).await.unwrap();
    one.wallet.receive(&renewed.token).await.unwrap();
    // Of the new coin alone: the old one is left.
    one.wallet.send(&mint_url(), &play(), 31).await.unwrap();
    assert!(one.wallet.send(&mint_url(), &play(), 64).await.is_ok());
    assert_eq!(one.total(), 1);
}

#[tokio::test]
async fn one_bad_keyset_does_not_spoil_the_others() {
    let bank = Bank::open(0).await;
    bank.mint.rotate("play", 100).await.unwrap();
    bank.set(tampered("/v1/keysets", |list| {
        for keyset in list["keysets"].as_array_mut().unwrap() {
            if keyset["active"] == false {
                keyset["input_fee_ppk"] = 7.into();
            }
        }
    }));
    let mut one = bank.wallet(1).await;
    one.fund(100).await;
    assert_eq!(one.total(), 100);
    one.hears(|event| matches!(event, Event::MintTrouble { reason, .. } if reason.contains("is not used"))).await;
}

/// Beyond the bound it is those that are of use which are remembered.
#[tokio::test]
async fn of_many_delisted_keysets_those_in_use_are_kept() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund_whole(64).await;
    let known = || one.wallet.0.mints.cached(&mint_url()).unwrap().keysets.keys().copied().collect::<Vec<_>>();
    let first = known()[0];
    bank.set(tampered("/v1/keysets", only_active));
    for _ in 0..crate::limits::MAX_KEYSETS_PER_MINT + 1 {
        bank.mint.rotate("play", 0).await.unwrap();
        one.wallet.add_mint(&mint_url()).await.unwrap();
        assert!(known().len() <= crate::limits::MAX_KEYSETS_PER_MINT);
    }
    assert!(known().len() < 5 && known().contains(&first), "{:?}", known());
    assert_eq!(one.wallet.send(&mint_url(), &play(), 33).await.unwrap().amount, 33);
}

/// cdk's wallet believes the first keyset that it sees to be active until it hears otherwise; of one that is delisted it
/// never does.
#[tokio::test]
async fn money_comes_in_after_a_keyset_was_delisted() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund(10).await;
    bank.mint.rotate("play", 0).await.unwrap();
    one.fund(10).await;
    bank.set(tampered("/v1/keysets", only_active));
    for _ in 0..5 {
        bank.mint.rotate("play", 0).await.unwrap();
        one.wallet.add_mint(&mint_url()).await.unwrap();
        one.fund(10).await;
    }
    assert_eq!(one.total(), 70);
}
