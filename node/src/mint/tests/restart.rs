//! The mint's process dies and begins again on the same file.

use super::*;

#[tokio::test]
async fn a_restarted_mint_knows_its_money_and_its_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let proofs = purse.fund(&[1, 2]).await;
    let (quote, _) = purse.invoice(4).await;
    drop((purse, mint));

    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let outputs = purse.outputs(&[1, 2]);
    purse.mint.post_swap(swap(&proofs, &outputs)).await.unwrap();
    let (outputs, request) = purse.issue(&quote, &[4]);
    let signatures = purse.mint.post_mint(&bolt11(), request).await.unwrap().signatures;
    assert_eq!(purse.proofs(&outputs, signatures).total_amount().unwrap(), Amount::from(4));
}

#[tokio::test]
async fn books_of_another_seed_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &Runtime::anchored(NOW)).await.stop().await;
    // A new fee would begin a keyset, were the seed not looked at first.
    let other = HostedMint::open(folder.path(), &config(7), &[7; 64], &Runtime::anchored(NOW)).await;
    assert!(matches!(other, Err(MintError::WrongSeed)), "{other:?}");
    open(folder.path(), &Runtime::anchored(NOW)).await;
}

/// Same keys, empty or older books: a coin that was spent before would be taken again.
#[tokio::test]
async fn a_mint_whose_books_are_behind_its_keys_spends_nothing_until_the_loss_is_accepted() {
    let home = tempfile::tempdir().unwrap();
    let (used, resume) = (home.path().join("mint.used"), home.path().join("mint.resume"));
    let mint = open(&home.path().join("mint"), &Runtime::anchored(NOW)).await;
    mint.guard(&used, &resume).await.unwrap();
    let purse = Purse::new(&direct(&mint), PLAY).await;
    let spent = purse.fund(&[8]).await;
    purse.mint.post_swap(swap(&spent, &purse.outputs(&[8]))).await.unwrap();
    mint.guard(&used, &resume).await.unwrap();
    assert_eq!(mint.suspended(), None);

    let again = open(&home.path().join("empty"), &Runtime::anchored(NOW)).await;
    again.guard(&used, &resume).await.unwrap();
    assert!(again.suspended().is_some());
    let purse = Purse::new(&direct(&again), PLAY).await;
    let request = swap(&spent, &purse.outputs(&[8]));
    let error = purse.mint.post_swap(request.clone()).await.unwrap_err();
    assert!(!error.is_definitive_failure() && error.to_string().contains("accept the loss"), "{error}");
    // New money can be made; it can't be spent either.
    let new = purse.fund(&[4]).await;
    purse.mint.post_swap(swap(&new, &purse.outputs(&[4]))).await.unwrap_err();

    std::fs::write(&resume, "").unwrap();
    again.guard(&used, &resume).await.unwrap();
    assert_eq!((again.suspended(), resume.exists()), (None, false));
    purse.mint.post_swap(request).await.unwrap();
}

/// A torn file may have said any number.
#[tokio::test]
async fn given_an_unreadable_note_of_what_its_keys_signed_a_mint_spends_nothing_until_the_loss_is_accepted() {
    let home = tempfile::tempdir().unwrap();
    let (used, resume) = (home.path().join("mint.used"), home.path().join("mint.resume"));
    let mint = open(&home.path().join("mint"), &Runtime::anchored(NOW)).await;
    Purse::new(&direct(&mint), PLAY).await.fund(&[8]).await;
    mint.guard(&used, &resume).await.unwrap();
    assert_eq!((mint.suspended(), std::fs::read(&used).unwrap()), (None, b"8".to_vec()));
    for torn in [&b""[..], b"\0\0", b"8 sat", b"\xff"] {
        std::fs::write(&used, torn).unwrap();
        mint.guard(&used, &resume).await.unwrap();
        assert!(mint.suspended().is_some_and(|why| why.contains("mint.used")), "{torn:?}");
        assert_eq!(std::fs::read(&used).unwrap(), torn, "it stays for whoever looks into it");
    }
    std::fs::write(&resume, "").unwrap();
    mint.guard(&used, &resume).await.unwrap();
    assert_eq!((mint.suspended(), std::fs::read(&used).unwrap()), (None, b"8".to_vec()));
    let left = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 2, "the books' folder and the note, and nothing half written");
}

/// A mint whose tasks all ended some time after a swap was posted.
struct CutOff {
    folder: tempfile::TempDir,
    mint: HostedMint,
    purse: Purse,
    proofs: Proofs,
    outputs: PreMintSecrets,
    request: SwapRequest,
}

impl CutOff {
    async fn after(micros: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::production(Limits::default());
        let mint = open(folder.path(), &runtime).await;
        let purse = Purse::new(&direct(&mint), PLAY).await;
        let proofs = purse.fund(&[1; 16]).await;
        let outputs = purse.outputs(&[2; 8]);
        let request = swap(&proofs, &outputs);
        let (post, posted) = (Arc::clone(&purse.mint), request.clone());
        let caller = tokio::spawn(async move { post.post_swap(posted).await });
        tokio::time::sleep(Duration::from_micros(micros)).await;
        caller.abort();
        runtime.shutdown().await;
        Self { folder, mint, purse, proofs, outputs, request }
    }
}

/// Killed at many instants within a swap; the same request afterwards always ends well, and no coin is made or lost.
#[tokio::test]
async fn a_swap_killed_half_way_can_be_repeated() {
    for after_us in (0..24).map(|step| step * 1_500) {
        let CutOff { folder, mint, purse, proofs, outputs, request } = CutOff::after(after_us).await;
        drop((purse, mint));

        let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
        let purse = Purse::new(&direct(&mint), PLAY).await;
        let signatures = purse.mint.post_swap(request).await.unwrap().signatures;
        assert_eq!(purse.proofs(&outputs, signatures).total_amount().unwrap(), Amount::from(16));
        assert_eq!(purse.states(&proofs).await, [State::Spent; 16]);
        let play = mint.totals().await.unwrap().remove(1);
        assert_eq!((play.issued, play.redeemed), (32, 16), "killed after {after_us} us");
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mint = open(folder.path(), &Runtime::anchored(NOW)).await;
    let purse = Purse::new(&direct(&mint), PLAY).await;
    for after_us in (0..10).map(|step| step * 1_000) {
        let proofs = purse.fund(&[1; 8]).await;
        let outputs = purse.outputs(&[8]);
        let request = swap(&proofs, &outputs);
        let post = purse.mint.post_swap(request.clone());
        let _ = tokio::time::timeout(Duration::from_micros(after_us), post).await;
        purse.mint.post_swap(request).await.unwrap();
        assert_eq!(purse.states(&proofs).await, [State::Spent; 8]);
    }
}

/// As above, but the mint goes on: a swap that got stuck is undone by the next request for its proofs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_stuck_half_way_is_undone_without_a_restart() {
    for after_us in (0..40).map(|step| step * 100) {
        let CutOff { folder: _folder, mut mint, purse, outputs, request, .. } = CutOff::after(after_us).await;

        let key = play::PlayKey::new(&SEED);
        let (books, quotes, changing) = (Arc::clone(&mint.mint), Arc::clone(&mint.quotes), Arc::new(Semaphore::new(1)));
        let router = idempotent::router(books, key, Runtime::anchored(NOW), Arc::default(), quotes, changing);
        mint.router = router.await.unwrap();
        // The first that finds it stuck undoes it.
        let client = direct(&mint);
        let signatures = match client.post_swap(request.clone()).await {
            Err(Error::TokenPending) => client.post_swap(request).await.unwrap().signatures,
            answered => answered.unwrap().signatures,
        };
        assert_eq!(
            purse.proofs(&outputs, signatures).total_amount().unwrap(),
            Amount::from(16),
            "cut at {after_us} us"
        );
        let play = mint.totals().await.unwrap().remove(1);
        assert_eq!((play.issued, play.redeemed), (32, 16), "cut after {after_us} us");
    }
}
