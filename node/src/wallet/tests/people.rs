//! Fund, send, receive, restore, mints.

use super::*;

#[tokio::test]
async fn money_is_funded_sent_and_received() {
    let bank = Bank::open(100).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(2).await);
    one.fund(1_000).await;
    assert_eq!(one.balance().spendable, 1_000);

    let token = one.wallet.send(&mint_url(), &play(), 37).await.unwrap();
    assert!(token.token.starts_with("cashuB"), "{}", token.token);
    assert_eq!((token.amount, one.wallet.sent().unwrap().len()), (37, 1));
    assert_eq!(bank.outstanding().await, one.total() + 37);

    let received = other.wallet.receive(&token.token).await.unwrap();
    assert_eq!(received.amount + received.fee, 37);
    assert_eq!(other.balance().spendable, received.amount);
    assert_eq!(bank.outstanding().await, one.total() + other.total());

    // The same token again: its money is gone, ours is not.
    let again = other.wallet.receive(&token.token).await.unwrap_err();
    assert_eq!(again, WalletError::ReceivedBefore);
    assert_eq!(bank.outstanding().await, one.total() + other.total());
}

/// Whoever asked for the quote hung up, or the node was restarted: what is paid comes in all the same.
#[tokio::test]
async fn a_paid_quote_that_nobody_waits_for_comes_in() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    let came = async |one: &Node, amount| {
        let coming = async {
            while one.wallet.funds(&play()).iter().map(|(_, funds)| funds).sum::<u64>() < amount {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), coming).await.unwrap();
        assert_eq!(one.total(), amount);
    };
    let quote = one.wallet.fund(&mint_url(), &play(), 100).await.unwrap();
    drop(one.wallet.await_funds(&mint_url(), &play(), &quote.id, Duration::from_secs(20)));
    came(&one, 100).await;

    let quote = one.wallet.fund(&mint_url(), &play(), 50).await.unwrap();
    let one = one.crash().await;
    came(&one, 150).await;
    // To wait for it again says what it brought, and brings it once.
    let again = one.wallet.await_funds(&mint_url(), &play(), &quote.id, Duration::ZERO).await.unwrap();
    assert_eq!((again, one.total(), bank.outstanding().await), (Some(50), 150, 150));
}

/// The mint is down when the quote is looked at, and when the node starts again.
#[tokio::test]
async fn a_quote_paid_while_the_mint_was_down_comes_in() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    let came = async |one: &Node, amount| {
        let coming = async {
            while one.total() < amount {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), coming).await.unwrap();
    };
    let quote = one.wallet.fund(&mint_url(), &play(), 100).await.unwrap();
    bank.set(Line::Down);
    let told = one.wallet.await_funds(&mint_url(), &play(), &quote.id, Duration::from_secs(20)).await;
    assert!(matches!(told, Err(WalletError::Mint(_))), "{told:?}");
    bank.set(Line::Well);
    came(&one, 100).await;

    one.wallet.fund(&mint_url(), &play(), 50).await.unwrap();
    bank.set(Line::Down);
    let one = one.crash().await;
    sleep(Duration::from_secs(1)).await;
    bank.set(Line::Well);
    came(&one, 150).await;

    // Begun before the crash, signed by the mint, and the reply lost.
    let quote = one.wallet.fund(&mint_url(), &play(), 25).await.unwrap();
    bank.set(Line::Deaf);
    drop(one.wallet.await_funds(&mint_url(), &play(), &quote.id, Duration::from_secs(20)));
    sleep(Duration::from_secs(1)).await;
    let one = one.crash().await;
    sleep(Duration::from_secs(1)).await;
    bank.set(Line::Well);
    came(&one, 175).await;
    assert_eq!(bank.outstanding().await, 175);
}

#[tokio::test]
async fn more_than_there_is_is_not_sent() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund(7).await;
    assert_eq!(one.wallet.send(&mint_url(), &play(), 5).await.unwrap().amount, 5);
    assert_eq!(one.total(), 2);
    let poor = one.wallet.send(&mint_url(), &play(), 3).await.unwrap_err();
    assert!(matches!(poor, WalletError::Insufficient { needed: 3, available: 2, .. }), "{poor}");
}

#[tokio::test]
async fn the_recovery_phrase_finds_coins_and_tokens_that_nobody_has_taken() {
    let bank = Bank::open(0).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(2).await);
    one.fund(100).await;
    let open = one.wallet.send(&mint_url(), &play(), 33).await.unwrap();
    let taken = one.wallet.send(&mint_url(), &play(), 10).await.unwrap();
    other.wallet.receive(&taken.token).await.unwrap();
    // In place, a restore finds nothing that isn't there already.
    let found = one.wallet.restore(&mint_url(), &play()).await.unwrap();
    assert_eq!((found, one.total()), (Restored::default(), 57));

    // From nothing, it finds the balance, and tells the token that nobody has spent from it.
    let again = bank.wallet(1).await;
    let found = again.wallet.restore(&mint_url(), &play()).await.unwrap();
    assert_eq!(found, Restored { found: 57, sent: 33, spent_elsewhere: 0 });
    assert_eq!(again.total(), 57);
    let sent = again.wallet.sent().unwrap();
    assert_eq!((sent.len(), sent[0].amount, sent[0].state), (1, 33, SentState::Open));
    // Twice finds it once; it can be taken back, and then its first text is worth nothing.
    assert_eq!(again.wallet.restore(&mint_url(), &play()).await.unwrap(), Restored::default());
    assert_eq!(again.wallet.reclaim(&sent[0].id[..6]).await.unwrap().amount, 33);
    let gone = other.wallet.receive(&open.token).await.unwrap_err();
    assert!(matches!(gone, WalletError::Mint(connector::MintTrouble::Spent { .. })), "{gone}");
    assert_eq!((again.total() + other.total(), bank.outstanding().await), (100, 100));
    assert!(matches!(again.wallet.reclaim(&sent[0].id).await, Err(WalletError::TokenGone { .. })));
}

/// A command that ended too early, a pipe that broke: the token is still there.
#[tokio::test]
async fn a_token_whose_text_got_lost_is_shown_again_or_reclaimed() {
    let bank = Bank::open(0).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(2).await);
    one.fund_whole(64).await;
    bank.set(Line::Deaf);
    one.wallet.send(&mint_url(), &play(), 33).await.unwrap_err();
    let pending = one.wallet.pending().unwrap();
    assert_eq!((pending.len(), pending[0].what, pending[0].amount), (1, "send", 33));
    bank.set(Line::Well);
    one.quiet().await;
    assert!(one.wallet.pending().unwrap().is_empty());
    let one = one.crash().await;
    let sent = one.wallet.sent().unwrap().into_iter().find(|token| token.amount == 33).unwrap();
    assert_eq!(one.wallet.sent_token(&sent.id[..8]).unwrap().token, sent.token);
    assert!(matches!(one.wallet.sent_token(""), Err(WalletError::UnknownToken(_))));
    assert_eq!(one.wallet.reclaim(&sent.id).await.unwrap().amount, 33);
    assert_eq!((one.total(), bank.outstanding().await), (64, 64));
    other.wallet.receive(&sent.token).await.unwrap_err();
    // One that was taken is seen to be.
    let token = one.wallet.send(&mint_url(), &play(), 20).await.unwrap();
    other.wallet.receive(&token.token).await.unwrap();
    let sent = one.wallet.look_at_sent().await.unwrap();
    let states: Vec<_> = sent.iter().map(|seen| (seen.id == token.id, seen.state)).collect();
    assert!(states.contains(&(true, SentState::Spent)), "{states:?}");
    assert!(states.iter().all(|(_, state)| *state != SentState::Open), "{states:?}");
}

/// A coin that a swap has made at the mint, and of which we haven't heard yet, isn't found beside that swap.
#[tokio::test]
async fn a_restore_beside_a_swap_counts_no_coin_twice() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund_whole(64).await;
    bank.set(Line::Deaf);
    one.wallet.send(&mint_url(), &play(), 33).await.unwrap_err();
    // By now the swap is posted again every few seconds.
    sleep(Duration::from_secs(3)).await;
    bank.set(Line::Well);
    assert_eq!(one.restore().await, 0);
    one.quiet().await;
    assert_eq!((one.total(), bank.outstanding().await), (31, 64));
}

/// Each restore would else leave a gap as long as all that went before, and the next would end before it.
#[tokio::test]
async fn a_restore_in_place_uses_up_no_secrets() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    one.fund(1_000).await;
    let counter = async |node: &Node| {
        let counters = node.store.read(|read| read.range(records::COUNTERS, KeyRange::all(), 10)).unwrap();
        counters.into_iter().map(|(_, counter)| counter).max().unwrap()
    };
    let before = counter(&one).await;
    assert_eq!(one.restore().await, 0);
    assert_eq!(counter(&one).await, before);
    let again = bank.wallet(1).await;
    assert_eq!(again.restore().await, 1_000);
    assert_eq!(counter(&again).await, before);
}

#[tokio::test]
async fn mints_are_the_operators_and_must_be_fit() {
    let bank = Bank::open(0).await;
    let one = bank.wallet(1).await;
    let other: MintUrl = "https://other.example".parse().unwrap();
    let unknown = one.wallet.fund(&other, &play(), 1).await.unwrap_err();
    assert_eq!(unknown, WalletError::UnknownMint(other.clone()));

    bank.set(tampered("/v1/info", |info| info["nuts"]["12"]["supported"] = false.into()));
    let unfit = one.wallet.add_mint(&other).await.unwrap_err();
    assert!(matches!(unfit, WalletError::MintUnfit { ref missing, .. } if missing == "NUT-12"), "{unfit}");
    bank.set(Line::Well);
    assert!(!one.wallet.accepts(&other));

    let added = one.wallet.add_mint(&other).await.unwrap();
    assert!(added.added && added.units == [play()]);
    let one = one.crash().await;
    assert!(one.wallet.accepts(&other) && one.wallet.accepts(&mint_url()));
    one.wallet.remove_mint(&other).await.unwrap();
    assert!(!one.wallet.accepts(&other));
    one.fund(1).await;
    assert_eq!(one.wallet.remove_mint(&mint_url()).await.unwrap_err(), WalletError::MintInUse(mint_url()));
}

#[tokio::test]
async fn a_mint_that_lies_about_its_keys_is_not_used() {
    let bank = Bank::open(0).await;
    bank.set(tampered("/v1/keysets", |list| list["keysets"][0]["input_fee_ppk"] = 7.into()));
    let one = bank.wallet(1).await;
    let lie = one.wallet.fund(&mint_url(), &play(), 1).await.unwrap_err();
    assert!(matches!(lie, WalletError::Keyset { .. }), "{lie}");
}

/// A month later what is worth nothing is forgotten, and nothing else.
#[tokio::test]
async fn old_records_are_forgotten_unless_they_are_worth_something() {
    let bank = Bank::open(0).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(2).await);
    one.fund(100).await;
    let taken = one.wallet.send(&mint_url(), &play(), 33).await.unwrap();
    let waiting = one.wallet.send(&mint_url(), &play(), 20).await.unwrap();
    other.wallet.receive(&taken.token).await.unwrap();
    other.wallet.receive(&taken.token).await.unwrap_err();
    assert_eq!(one.wallet.0.quotes.list().unwrap().len(), 1);
    let parked = |node: &Node| node.store.read(|read| read.range(records::FAILED, KeyRange::all(), 10)).unwrap().len();
    let given = |node: &Node| node.wallet.sent().unwrap().into_iter().map(|token| token.token).collect::<Vec<_>>();
    assert_eq!(parked(&other), 1);
    for node in [&one, &other] {
        node.wallet.0.tidy.round().await;
    }
    assert_eq!((given(&one).len(), parked(&other)), (2, 1));

    let month = yesterday().saturating_add(33 * 86_400);
    let (one, other) = (one.restart(month).await, other.restart(month).await);
    bank.set(Line::Down);
    for node in [&one, &other] {
        node.wallet.0.tidy.round().await;
    }
    assert_eq!((given(&one).len(), parked(&other)), (2, 1));
    bank.set(Line::Well);
    for node in [&one, &other] {
        node.wallet.0.tidy.round().await;
    }
    assert_eq!((given(&one), parked(&other)), (vec![waiting.token.clone()], 0));
    assert!(one.wallet.0.quotes.list().unwrap().is_empty());
    assert_eq!(one.restore().await, 0);
    other.wallet.receive(&waiting.token).await.unwrap();
    assert_eq!((one.total(), other.total(), bank.outstanding().await), (47, 53, 100));
}

/// The mint had said no, and then a late copy of the request came through.
#[tokio::test]
async fn a_parked_swap_that_came_to_be_brings_its_coins() {
    let bank = Bank::open(0).await;
    let (one, other) = (bank.wallet(1).await, bank.wallet(2).await);
    one.fund(64).await;
    let token = one.wallet.send(&mint_url(), &play(), 64).await.unwrap();
    let late = Arc::new(Mutex::new(None));
    *bank.held.lock().unwrap() = Some(Arc::clone(&late));
    other.wallet.receive(&token.token).await.unwrap_err();
    *bank.held.lock().unwrap() = None;
    let request = late.lock().unwrap().take().unwrap();
    assert_eq!(
        (bank.mint.exchange(request).await.unwrap().status, other.wallet.audit().unwrap().unwrap().len()),
        (200, 0)
    );
    let other = other.restart(yesterday().saturating_add(31 * 86_400)).await;
    other.wallet.0.tidy.round().await;
    assert_eq!((other.total(), bank.outstanding().await), (64, 64));
}
