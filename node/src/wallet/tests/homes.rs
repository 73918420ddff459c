//! Homes of a phrase at a mint in memory, in virtual time: copies of one home, older backups, several URLs, wrong clocks.

use cdk::nuts::{Proof, Token};
use guilder_protocol::fault::{AtFault, Fault};

use super::{
    double::{Double, Mood, scalar},
    *,
};
use crate::wallet::connector::MintTrouble;

/// Long before the clock by which the Cashu crates judge locktimes, so that for the mint each has passed.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(super) fn here() -> MintUrl {
    "https://mint.example".parse().unwrap()
}

pub(super) fn also_here() -> MintUrl {
    "https://same.example".parse().unwrap()
}

/// A home of a phrase.
pub(super) struct Home {
    pub(super) wallet: Wallet,
    pub(super) outcomes: mpsc::Receiver<(Cid, MoneyOutcome)>,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
    pub(super) disk: CrashBackend,
    pub(super) mint: Double,
    pub(super) seed: u8,
}

impl Home {
    pub(super) async fn new(mint: &Double, seed: u8) -> Self {
        Self::open(mint, seed, CrashBackend::new(), NOW).await
    }

    pub(super) async fn open(mint: &Double, seed: u8, disk: CrashBackend, now: Timestamp) -> Self {
        let mut config = WalletConfig { mints: vec![here(), also_here()], mint_patience_secs: 5, ..Default::default() };
        config.redemption.interval_secs = 1;
        let (runtime, events) = (Runtime::anchored(now), Events::new());
        let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
        let parts = WalletParts {
            config,
            seed: Zeroizing::new([seed; 64]),
            lock_seed: Zeroizing::new([seed; 32]),
            store: store.clone(),
            connectors: Arc::new(mint.clone()),
            runtime: runtime.clone(),
            events,
            failpoint: Failpoint::default(),
        };
        let (wallet, outcomes) = Wallet::open(parts).unwrap();
        Self { wallet, outcomes, store, runtime, disk, mint: mint.clone(), seed }
    }

    /// Kills it, and starts it again at its own time or another.
    pub(super) async fn restart(self, at: Option<Timestamp>) -> Self {
        let now = at.unwrap_or_else(|| self.runtime.now());
        let (mint, seed, disk) = self.stop().await;
        Self::open(&mint, seed, disk, now).await
    }

    pub(super) async fn stop(self) -> (Double, u8, CrashBackend) {
        let Self { wallet, outcomes, store, runtime, disk, mint, seed } = self;
        runtime.shutdown().await;
        drop((wallet, outcomes, store, runtime));
        disk.crash();
        (mint, seed, disk)
    }

    /// What a backup taken now brings back.
    pub(super) fn backup(&self) -> CrashBackend {
        self.disk.copy()
    }

    /// Another machine, with what a backup has.
    pub(super) async fn twin(&self, backup: &CrashBackend) -> Self {
        let disk = backup.copy();
        disk.crash();
        Self::open(&self.mint, self.seed, disk, self.runtime.now()).await
    }

    pub(super) fn id(&self) -> AgentId {
        agent(self.seed)
    }

    pub(super) async fn fund(&self, amount: u64) -> Result<Option<u64>, WalletError> {
        self.fund_at(&here(), amount).await
    }

    pub(super) async fn fund_at(&self, mint: &MintUrl, amount: u64) -> Result<Option<u64>, WalletError> {
        let quote = self.wallet.fund(mint, &play(), amount).await?;
        self.wallet.await_funds(mint, &play(), &quote.id, Duration::from_secs(30)).await
    }

    pub(super) async fn send(&self, amount: u64) -> Result<SentToken, WalletError> {
        self.wallet.send(&here(), &play(), amount).await
    }

    pub(super) async fn sync(&self) -> Restored {
        self.wallet.restore(&here(), &play()).await.unwrap()
    }

    pub(super) fn audit(&self) -> Vec<Balance> {
        self.wallet.audit().unwrap().unwrap()
    }

    pub(super) fn spendable(&self) -> u64 {
        self.audit().iter().map(|balance| balance.spendable).sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.audit().iter().map(Balance::total).sum()
    }

    /// Until nothing is under way.
    pub(super) async fn quiet(&self) {
        for _ in 0..10_000 {
            if self.wallet.swaps_in_flight().unwrap() == 0 {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        panic!("still under way: {:?}", self.wallet.pending());
    }

    /// Terms of a seller to us that end so many seconds from now.
    fn terms_of(&self, seller: &Self, secs: u64) -> Terms {
        let Some(Terms::Prepaid(ours)) = seller.wallet.terms(&Mode::Prepaid, self.id(), NOW) else { panic!() };
        let locktime = seller.runtime.now().saturating_add(secs);
        Terms::Prepaid(prepaid::Terms { locktime, ..ours })
    }

    fn request(&self, seller: &Self, price: u64) -> LockRequest {
        let (terms, mint, unit) = (self.terms_of(seller, 3_600), here(), play());
        LockRequest { seller: seller.id(), terms, mint, unit, price, max_proofs: 32 }
    }

    /// Locks money to a seller and has it accept the lock.
    pub(super) async fn award(&self, seller: &Self, price: u64, number: u32) -> Result<(), WalletError> {
        let request = self.request(seller, price);
        let (unit, max_proofs) = (request.unit.clone(), request.max_proofs);
        let lock = self.wallet.lock(&request).await?;
        let (travels, part) = (lock.lock(), lock.part());
        self.store.transact(move |write| lock.debit(write, trade(number), None)).await?;
        let context = LockContext { mint: here(), buyer: self.id(), principal: self.id() };
        let demand = LockDemand { terms: self.terms_of(seller, 1_800), part, unit, price, max_proofs };
        let vetted = seller.wallet.check_lock(&context, &demand, &travels).await?;
        let wallet = seller.wallet.clone();
        seller.store.transact(move |write| wallet.reserve(write, &vetted, trade(number))).await
    }

    /// As if it had refused the award: it holds nothing of it.
    async fn refuse(&self, number: u32) {
        let wallet = self.wallet.clone();
        let refusing = move |write: &mut Write<'_>| {
            for (key, holder) in write.range(records::RESERVED, KeyRange::all(), usize::MAX)? {
                if holder == trade(number) {
                    write.delete(records::RESERVED, key)?;
                }
            }
            wallet.void(write, trade(number))
        };
        self.store.transact(refusing).await.unwrap();
    }

    pub(super) async fn redeem(&self, number: u32) {
        let wallet = self.wallet.clone();
        self.store.transact(move |write| wallet.redeemable(write, trade(number))).await.unwrap();
        self.wallet.nudge();
    }
}

// Reused numbers

/// A seller's backup redeems a lock: the numbers of its outputs were signed long ago.
#[tokio::test(start_paused = true)]
async fn an_older_backup_redeems_what_it_says_it_redeems() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(200).await.unwrap();
    buyer.award(&seller, 8, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    let backup = seller.backup();
    seller.fund(8).await.unwrap();
    let token = seller.send(8).await.unwrap();
    let _ = seller.stop().await;
    let mut seller = Home::open(&mint, 2, backup, NOW).await;
    seller.redeem(1).await;
    let (_, outcome) = seller.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::Redeemed { amount: 8 });
    assert_eq!(seller.spendable(), 8);
    assert_eq!(mint.outstanding(), buyer.total() + seller.total() + token.amount);
}

/// The lock was redeemed by the newer copy: this one says so, and counts it once.
#[tokio::test(start_paused = true)]
async fn an_older_backup_knows_what_the_newer_home_redeemed() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(200).await.unwrap();
    buyer.award(&seller, 8, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    let backup = seller.backup();
    seller.redeem(1).await;
    seller.quiet().await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(seller.spendable(), 8);
    let _ = seller.stop().await;
    let mut seller = Home::open(&mint, 2, backup, NOW).await;
    seller.redeem(1).await;
    let (_, outcome) = seller.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::Redeemed { amount: 8 });
    sleep(Duration::from_secs(60)).await;
    assert_eq!((seller.total(), mint.outstanding()), (8, buyer.total() + 8));
}

/// The mint shows the very signature that it got from us: no other copy has the money, whatever else the mint says.
#[tokio::test(start_paused = true)]
async fn a_mint_that_takes_a_lock_and_signs_nothing_is_not_mistaken_for_another_copy() {
    let mint = Double::new(0);
    let (buyer, mut seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(200).await.unwrap();
    buyer.award(&seller, 8, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    mint.set(Mood::Denies);
    seller.redeem(1).await;
    let (_, outcome) = seller.outcomes.recv().await.unwrap();
    let MoneyOutcome::RedeemFailed { why } = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("signed nothing for it"), "{why}");
    assert_eq!(seller.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_home_made_of_the_phrase_may_fund_and_receive_before_it_restores() {
    let mint = Double::new(0);
    let (old, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    old.fund(100).await.unwrap();
    old.fund(27).await.unwrap();
    other.fund(64).await.unwrap();
    let token = other.send(37).await.unwrap();
    let _ = old.stop().await;
    let new = Home::new(&mint, 1).await;
    assert_eq!(new.fund(100).await.unwrap(), Some(100));
    assert_eq!(new.wallet.receive(&token.token).await.unwrap().amount, 37);
    sleep(Duration::from_secs(60)).await;
    // Its first use of the keyset has found the rest.
    assert_eq!(new.total(), 264);
    assert_eq!(new.sync().await, Restored::default());
    assert_eq!((new.total() + other.total(), mint.outstanding()), (291, 291));
}

#[tokio::test(start_paused = true)]
async fn two_homes_of_one_phrase_are_right_once_each_has_synced() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(100).await.unwrap();
    let two = one.twin(&one.backup()).await;
    // Both use the same numbers and the same coins, at once.
    two.fund(50).await.unwrap();
    one.fund(25).await.unwrap();
    let sent = one.send(10).await.unwrap();
    let clash = two.send(10).await;
    one.quiet().await;
    two.quiet().await;
    one.fund(5).await.unwrap();
    two.fund(5).await.unwrap();
    for home in [&one, &two] {
        home.sync().await;
    }
    let given = sent.amount + clash.map_or(0, |token| token.amount);
    assert_eq!(one.total(), two.total());
    assert_eq!(mint.outstanding(), one.total() + given);
    // And go on to be.
    let token = one.send(33).await.unwrap();
    other.wallet.receive(&token.token).await.unwrap();
    two.sync().await;
    assert_eq!(one.total(), two.total());
}

/// Each home gives tokens and finds the other's, put together in one; whoever was given one takes that and no more.
#[tokio::test(start_paused = true)]
async fn of_tokens_that_were_found_together_what_nobody_took_can_be_taken_back() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(100).await.unwrap();
    other.fund(1).await.unwrap();
    let two = one.twin(&one.backup()).await;
    let taken = two.send(8).await.unwrap();
    two.send(2).await.unwrap();
    assert_eq!(one.sync().await.sent, 10);
    assert_eq!(other.wallet.receive(&taken.token).await.unwrap().amount, 8);
    let [open] = &one.wallet.look_at_sent().await.unwrap()[..] else { panic!() };
    assert_eq!((open.amount, open.state), (2, SentState::Open));
    assert_eq!(one.wallet.sent_token(&open.id).unwrap().token, open.token);
    assert_eq!(one.wallet.reclaim(&open.id).await.unwrap().amount, 2);
    assert_eq!(one.wallet.look_at_sent().await.unwrap()[0].state, SentState::Reclaimed);
    assert_eq!((one.total(), mint.outstanding()), (92, 92 + other.total()));
}

/// The newer keys are known to the other copy alone.
#[tokio::test(start_paused = true)]
async fn a_sync_finds_what_another_copy_has_under_keys_that_this_one_has_not_seen() {
    let mint = Double::new(0);
    let one = Home::new(&mint, 1).await;
    one.fund(100).await.unwrap();
    let two = one.twin(&one.backup()).await;
    mint.books().rotate(None);
    two.fund(50).await.unwrap();
    two.send(4).await.unwrap();
    two.quiet().await;
    let _ = two.stop().await;
    let synced = one.sync().await;
    assert_eq!((one.total(), synced.sent, mint.outstanding()), (146, 4, 150));
}

/// The other copy has used the numbers that this one uses next, for the same amount.
#[tokio::test(start_paused = true)]
async fn a_token_that_somebody_took_is_not_received_because_another_copy_received_as_much() {
    let mint = Double::new(0);
    let (one, giver, taker) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await, Home::new(&mint, 3).await);
    for home in [&one, &giver, &taker] {
        home.fund(64).await.unwrap();
    }
    let two = one.twin(&one.backup()).await;
    let (first, second) = (giver.send(8).await.unwrap(), giver.send(8).await.unwrap());
    two.wallet.receive(&first.token).await.unwrap();
    taker.wallet.receive(&second.token).await.unwrap();
    let error = one.wallet.receive(&second.token).await.unwrap_err();
    assert!(matches!(error, WalletError::Mint(MintTrouble::Spent { .. })), "{error}");
    one.sync().await;
    assert_eq!((one.total(), two.total(), mint.outstanding()), (72, 72, 72 + 72 + 48));
}

/// Both give tokens out of the same coins, under the same numbers: they would be one token.
#[tokio::test(start_paused = true)]
async fn two_homes_of_a_phrase_give_no_token_twice() {
    let mint = Double::new(0);
    let one = Home::new(&mint, 1).await;
    one.fund(64).await.unwrap();
    let two = one.twin(&one.backup()).await;
    let first = two.send(8).await.unwrap();
    let error = one.send(8).await.unwrap_err();
    assert!(matches!(error, WalletError::Mint(MintTrouble::Spent { .. })), "{error}");
    one.sync().await;
    let second = one.send(8).await.unwrap();
    assert_ne!(first.token, second.token);
    assert_eq!((one.total(), mint.outstanding()), (48, 64));
}

/// What was paid with from the purse in the newer home isn't paid with again.
#[tokio::test(start_paused = true)]
async fn an_older_backup_pays_no_more_from_its_purse() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(2_000).await.unwrap();
    for number in 1..=2 {
        buyer.award(&seller, 20, number).await.unwrap();
    }
    buyer.quiet().await;
    let backup = buyer.backup();
    for number in 3..=5 {
        buyer.award(&seller, 20, number).await.unwrap();
    }
    buyer.fund(1).await.unwrap();
    let _ = buyer.stop().await;
    let buyer = Home::open(&mint, 1, backup, NOW).await;
    buyer.fund(1).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    for number in 6..=9 {
        buyer.award(&seller, 20, number).await.unwrap();
    }
}

// Forged tokens

/// A token with one proof of an amount, whose signature is nobody's.
pub(super) fn forged(mint: &Double, amount: u64, salt: u8) -> String {
    let (id, _) = mint.books().keyset_ids().remove(0);
    let secret = cdk::secret::Secret::new(format!("{salt:02x}").repeat(32));
    let proof = Proof::new(amount.into(), id, secret, scalar(salt).public_key());
    let url = here().as_str().parse().unwrap();
    Token::new(url, vec![proof], None, cdk::nuts::CurrencyUnit::custom("play")).to_string()
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_end_and_leave_no_gap_in_the_numbers() {
    let mint = Double::new(0);
    let one = Home::new(&mint, 1).await;
    one.fund(10).await.unwrap();
    for salt in 1..40 {
        let refused = one.wallet.receive(&forged(&mint, (1 << 23) - 1 + 1, salt)).await.unwrap_err();
        assert!(matches!(refused, WalletError::TokenRefused { .. }) && refused.fault() == Fault::Peer, "{refused}");
    }
    // An amount that the mint has no key for is refused before it is asked.
    let swaps = mint.calls("/v1/swap");
    assert_eq!(one.wallet.receive(&forged(&mint, 1 << 63, 99)).await.unwrap_err(), WalletError::Forged);
    assert_eq!(mint.calls("/v1/swap"), swaps);
    assert_eq!((one.wallet.swaps_in_flight().unwrap(), one.total()), (0, 10));
    let poor = one.send(11).await.unwrap_err();
    assert!(matches!(poor, WalletError::Insufficient { .. }), "{poor}");
    one.fund(1_000).await.unwrap();
    assert_eq!(Home::new(&mint, 1).await.sync().await.found, 1_010);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_own_proof_contradicts_it_is_refused_without_asking() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(64).await.unwrap();
    let token: Token = one.send(2).await.unwrap().token.parse().unwrap();
    let infos = other.wallet.0.mints.view(&here()).await.unwrap().infos();
    let mut proofs = token.proofs(&infos).unwrap();
    proofs[0].amount = 32.into();
    let dear = Token::new(here().as_str().parse().unwrap(), proofs, None, token.unit().unwrap()).to_string();
    let swaps = mint.calls("/v1/swap");
    assert_eq!(other.wallet.receive(&dear).await.unwrap_err(), WalletError::Forged);
    assert_eq!(mint.calls("/v1/swap"), swaps);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_read_however_it_was_copied() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(64).await.unwrap();
    for (amount, copy) in [
        (1, (|token: &str| format!("cashu:{token}")) as fn(&str) -> String),
        (2, |token| {
            format!(
                "\n  {}\n",
                token.as_bytes().chunks(40).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n")
            )
        }),
        (4, |token| format!("cashu://{token} ")),
    ] {
        let token = one.send(amount).await.unwrap();
        assert_eq!(other.wallet.receive(&copy(&token.token)).await.unwrap().amount, amount);
        assert_eq!(other.wallet.receive(&token.token).await.unwrap_err(), WalletError::ReceivedBefore);
    }
}

/// The mint has begun a keyset since we last looked.
#[tokio::test(start_paused = true)]
async fn a_token_of_a_newer_keyset_is_taken() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    other.fund(1).await.unwrap();
    mint.books().rotate(None);
    one.fund(64).await.unwrap();
    let token = one.send(37).await.unwrap();
    sleep(Duration::from_secs(11)).await;
    assert_eq!(other.wallet.receive(&token.token).await.unwrap().amount, 37);
}

// Quotes

#[tokio::test(start_paused = true)]
async fn a_quote_without_an_expiry_is_waited_for() {
    for expiry in [None, Some(0)] {
        let mint = Double::new(0);
        let one = Home::new(&mint, 1).await;
        mint.books().set_quotes(expiry, true);
        let quote = one.wallet.fund(&here(), &play(), 100).await.unwrap();
        let told = one.wallet.await_funds(&here(), &play(), &quote.id, Duration::from_secs(60)).await.unwrap();
        assert_eq!(told, None);
        // For weeks, across tidying and restarts.
        sleep(Duration::from_secs(20 * 86_400)).await;
        let one = one.restart(None).await;
        assert!(one.wallet.pending().unwrap().iter().any(|pending| pending.what == "quote"));
        mint.books().set_quotes(expiry, false);
        sleep(Duration::from_secs(60)).await;
        assert_eq!((one.total(), mint.outstanding()), (100, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invoice_is_paid_and_the_change_comes_back() {
    let mint = Double::new(100);
    let one = Home::new(&mint, 1).await;
    one.fund(100).await.unwrap();
    let paid = one.wallet.pay(&here(), &play(), "pay:37").await.unwrap();
    assert_eq!(paid.amount, 37);
    assert!(paid.preimage.is_some());
    assert_eq!((one.total(), mint.outstanding()), (100 - 37 - paid.fee, one.total()));
    assert_eq!(one.audit()[0].account.melted, 37);
    let poor = one.wallet.pay(&here(), &play(), "pay:100").await.unwrap_err();
    assert!(matches!(poor, WalletError::Insufficient { .. }), "{poor}");
    // The reply to it is lost: the quote and the coins tell.
    mint.set(Mood::DeafTo("/v1/melt/bolt11"));
    assert_eq!(one.wallet.pay(&here(), &play(), "pay:20").await.unwrap().amount, 20);
    let one = one.restart(None).await;
    sleep(Duration::from_secs(60)).await;
    mint.set(Mood::Well);
    one.quiet().await;
    assert_eq!(one.audit()[0].account.melted, 57);
    assert_eq!((one.total(), mint.outstanding()), (mint.outstanding(), one.total()));
    // The phrase finds what came back.
    assert_eq!(Home::new(&mint, 1).await.sync().await.found, one.total());
}

// Answers that are no mint's

#[tokio::test(start_paused = true)]
async fn hours_of_a_proxys_refusals_lose_nothing() {
    for status in [403, 429, 400, 502] {
        let mint = Double::new(0);
        let (buyer, mut seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
        buyer.fund(200).await.unwrap();
        buyer.award(&seller, 20, 1).await.unwrap();
        seller.fund(1).await.unwrap();
        mint.set(Mood::Proxied(status));
        seller.redeem(1).await;
        sleep(Duration::from_secs(5 * 3_600)).await;
        assert_eq!(seller.audit()[0].unredeemed, 20);
        let pending = seller.wallet.pending().unwrap();
        assert!(pending.iter().any(|one| one.why.as_ref().is_some_and(|why| why.contains("down"))), "{pending:?}");
        mint.set(Mood::Well);
        let (_, outcome) = seller.outcomes.recv().await.unwrap();
        assert_eq!(outcome, MoneyOutcome::Redeemed { amount: 20 });
    }
}

// One mint, two URLs

#[tokio::test(start_paused = true)]
async fn one_mint_under_two_urls_counts_once() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund_at(&here(), 60).await.unwrap();
    one.fund_at(&also_here(), 40).await.unwrap();
    assert_eq!((one.audit().len(), one.total()), (1, 100));
    for url in [here(), also_here()] {
        assert_eq!(one.wallet.restore(&url, &play()).await.unwrap(), Restored::default());
    }
    let listed = one.wallet.mints();
    assert_eq!((listed.len(), listed[0].also.len()), (1, 1));
    // A token that names the other URL is money of the same mint.
    let token = one.send(33).await.unwrap();
    let renamed: Token = token.token.parse().unwrap();
    let proofs = renamed.proofs(&one.wallet.0.mints.view(&here()).await.unwrap().infos()).unwrap();
    let renamed = Token::new(also_here().as_str().parse().unwrap(), proofs, None, renamed.unit().unwrap());
    other.wallet.receive(&renamed.to_string()).await.unwrap();
    assert_eq!(other.wallet.receive(&token.token).await.unwrap_err(), WalletError::ReceivedBefore);
    assert_eq!((other.audit().len(), other.total() + one.total(), mint.outstanding()), (1, 100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_mint_that_lists_another_s_keyset_beside_its_own_is_not_that_mint() {
    let (liar, honest) = (Double::salted(0, 7), Double::new(0));
    liar.books().list_also(&honest.books());
    liar.route(also_here(), &honest);
    let one = Home::new(&liar, 1).await;
    // The liar is known first.
    one.wallet.0.mints.view(&here()).await.unwrap();
    one.fund_at(&also_here(), 40).await.unwrap();
    assert_eq!((honest.outstanding(), liar.outstanding()), (40, 0));
    assert_eq!(one.wallet.mints().len(), 2);
    let other = Home::new(&liar, 2).await;
    other.wallet.0.mints.view(&here()).await.unwrap();
    let token = one.wallet.send(&also_here(), &play(), 8).await.unwrap();
    let swaps = liar.calls("/v1/swap");
    assert_eq!(other.wallet.receive(&token.token).await.unwrap().amount, 8);
    assert_eq!(liar.calls("/v1/swap"), swaps, "no proof of the honest mint is shown to the liar");
}

// What is under way

#[tokio::test(start_paused = true)]
async fn a_receive_that_waits_is_shown_and_keeps_its_mint() {
    let mint = Double::new(0);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(64).await.unwrap();
    let token = one.send(37).await.unwrap();
    other.fund(1).await.unwrap();
    mint.set(Mood::Down);
    let waits = other.wallet.receive(&token.token).await.unwrap_err();
    assert!(matches!(waits, WalletError::Mint(MintTrouble::Down { .. } | MintTrouble::Slow { .. })), "{waits}");
    let pending = other.wallet.pending().unwrap();
    assert_eq!((pending.len(), pending[0].what, pending[0].amount), (1, "receive", 37));
    assert!(pending[0].why.is_some());
    assert_eq!((other.audit()[0].incoming, other.total()), (37, 1));
    assert!(matches!(other.wallet.remove_mint(&here()).await, Err(WalletError::MintInUse(_))));
    mint.set(Mood::Well);
    other.quiet().await;
    assert_eq!((other.total(), mint.outstanding()), (38, 65));
}

#[tokio::test(start_paused = true)]
async fn every_change_of_the_balance_is_in_the_history() {
    let mint = Double::new(100);
    let (one, other) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(500).await.unwrap();
    other.fund(10).await.unwrap();
    let token = one.send(50).await.unwrap();
    other.wallet.receive(&token.token).await.unwrap();
    let back = one.send(20).await.unwrap();
    one.wallet.reclaim(&back.id).await.unwrap();
    one.wallet.pay(&here(), &play(), "pay:30").await.unwrap();
    one.award(&other, 25, 1).await.unwrap();
    one.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    other.redeem(1).await;
    sleep(Duration::from_secs(30)).await;
    for home in [&one, &other] {
        let history = home.wallet.history(0, usize::MAX).unwrap();
        let sum = |is_in| {
            let some = history.iter().filter(move |entry| entry.reason.is_in() == is_in);
            some.map(|entry| entry.amount).sum::<u64>()
        };
        assert_eq!(sum(true) - sum(false), home.total(), "{history:?}");
        assert!(history.windows(2).all(|pair| pair[0].number < pair[1].number));
        let page = home.wallet.history(history[1].number, 2).unwrap();
        assert_eq!(page, history[1..3]);
    }
    let reasons: Vec<_> = one.wallet.history(0, 100).unwrap().iter().map(|entry| entry.reason).collect();
    for reason in [Reason::Funded, Reason::Sent, Reason::Reclaimed, Reason::Invoice, Reason::Paid, Reason::Fee] {
        assert!(reasons.contains(&reason), "{reason:?}: {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_costs_its_receiver_its_worth_is_not_made() {
    let mint = Double::new(100);
    let one = Home::new(&mint, 1).await;
    one.fund(100).await.unwrap();
    let refused = one.send(1).await.unwrap_err();
    assert_eq!(refused, WalletError::WorthItsFee { amount: 1, fee: 1, unit: play() });
    assert_eq!(one.total(), 100);
    one.send(2).await.unwrap();
}

// Clocks

#[tokio::test(start_paused = true)]
async fn no_lock_is_accepted_while_our_clock_is_off_the_mints() {
    let mint = Double::new(0);
    mint.books().set_time(Some(NOW));
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(200).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    // Hours ahead, hours behind.
    for at in [NOW.saturating_add(7_200), NOW.saturating_sub(7_200)] {
        let late = Home::open(&mint, 3, CrashBackend::new(), at).await;
        let off = buyer.award(&late, 20, 2 + u32::from(at > NOW)).await.unwrap_err();
        assert!(matches!(off, WalletError::Clock { .. }) && off.fault() == Fault::Environment, "{off}");
    }
}

/// A clock that jumps ahead and back lets no proof pay twice.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_forgets_no_reservation() {
    let mint = Double::new(0);
    mint.books().set_time(Some(NOW));
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(200).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    let reserved =
        |seller: &Home| seller.store.read(|read| read.range(records::RESERVED, KeyRange::all(), 100)).unwrap().len();
    let before = reserved(&seller);
    assert!(before > 0);
    let seller = seller.restart(Some(NOW.saturating_add(365 * 86_400))).await;
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(reserved(&seller), before);
    // Really a year later, they go.
    let later = NOW.saturating_add(366 * 86_400);
    mint.books().set_time(Some(later));
    let seller = seller.restart(Some(later)).await;
    sleep(Duration::from_secs(40)).await;
    mint.books().set_time(Some(later.saturating_add(60)));
    sleep(Duration::from_secs(40)).await;
    assert_eq!(reserved(&seller), 0);
}

// Keysets that end

#[tokio::test(start_paused = true)]
async fn idle_coins_leave_a_keyset_before_it_ends() {
    let mint = Double::new(0);
    mint.books().rotate(Some(NOW.as_secs() + 30 * 86_400));
    let one = Home::new(&mint, 1).await;
    one.fund(100).await.unwrap();
    mint.books().rotate(None);
    sleep(Duration::from_secs(20 * 86_400)).await;
    one.quiet().await;
    let view = one.wallet.0.mints.view(&here()).await.unwrap();
    let currency = one.wallet.0.mints.currency(&here(), &play()).await.unwrap();
    let coins = one.store.read(|read| read.range(records::COINS, currency.key().range(), 100)).unwrap();
    assert!(coins.iter().all(|(_, coin)| view.keysets[&coin.id].final_expiry().is_none()), "{coins:?}");
    assert_eq!((one.total(), mint.outstanding()), (100, 100));
}

/// A lock must be refunded before its keyset ends.
#[tokio::test(start_paused = true)]
async fn a_lock_ends_well_before_its_keyset() {
    let mint = Double::new(0);
    mint.books().rotate(Some(NOW.as_secs() + 86_400 + 3_000));
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    assert_eq!(buyer.award(&seller, 20, 1).await.unwrap_err(), WalletError::LockTooLong);
}

// Refunds

/// Two locks of one unit each, at a mint that takes a tenth of a unit a coin: alone each would cost its fee.
#[tokio::test(start_paused = true)]
async fn what_falls_back_together_pays_one_fee() {
    let mint = Double::new(100);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(200).await.unwrap();
    for number in 1..=4 {
        buyer.award(&seller, 7, number).await.unwrap();
        buyer.wallet.settle_buyer(trade(number), LockOutcome::Refund).await.unwrap();
    }
    let before = buyer.audit()[0].account.fees;
    sleep(Duration::from_secs(6 * 3_600)).await;
    buyer.quiet().await;
    let balance = buyer.audit().remove(0);
    assert_eq!((balance.refunding, balance.locked), (0, 0));
    assert!(balance.account.fees - before <= 3, "{balance:?}");
    assert_eq!(mint.outstanding(), buyer.total());
}

/// A seller that refuses, and redeems.
#[tokio::test(start_paused = true)]
async fn what_a_seller_took_of_a_lock_that_it_refused_is_found_before_it_pays_again() {
    let mint = Double::new(0);
    let (mut buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    seller.redeem(1).await;
    sleep(Duration::from_secs(10)).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Returned).await.unwrap();
    let (told, outcome) = buyer.outcomes.recv().await.unwrap();
    assert_eq!((told, outcome), (trade(1), MoneyOutcome::Refunded { refunded: 0, redeemed: 20, fee: 0 }));
    let balance = buyer.audit().remove(0);
    assert_eq!((balance.account.forfeited, balance.locked, buyer.total()), (20, 0, 80));
    // One that was honest costs nothing; while the mint is down its lock isn't used.
    let doubtful = |buyer: &Home| {
        let offered: u64 = buyer.wallet.0.purse.totals().values().sum();
        buyer.audit().iter().map(|balance| balance.locked).sum::<u64>() - offered
    };
    buyer.award(&seller, 20, 2).await.unwrap();
    mint.set(Mood::Down);
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Returned).await.unwrap();
    let buyer = buyer.restart(None).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(doubtful(&buyer), 20);
    mint.set(Mood::Well);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(doubtful(&buyer), 0);
    assert_eq!(buyer.total(), 80);
}

/// It refuses, waits until the buyer has looked at what came back, and redeems then.
#[tokio::test(start_paused = true)]
async fn what_a_seller_takes_long_after_it_refused_is_charged_to_the_trade_it_refused() {
    // The buyer lives on, starts again, or is away for weeks.
    for at in [None, Some(NOW.saturating_add(120)), Some(NOW.saturating_add(21 * 86_400))] {
        let mint = Double::new(0);
        let (mut buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
        buyer.fund(100).await.unwrap();
        buyer.award(&seller, 20, 1).await.unwrap();
        buyer.wallet.settle_buyer(trade(1), LockOutcome::Returned).await.unwrap();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(buyer.wallet.0.purse.totals().values().sum::<u64>(), 20, "it can be paid with again");
        seller.redeem(1).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(seller.total(), 20);
        if at.is_some() {
            buyer = buyer.restart(at).await;
        }
        let (told, outcome) = buyer.outcomes.recv().await.unwrap();
        assert_eq!((told, outcome), (trade(1), MoneyOutcome::Refunded { refunded: 0, redeemed: 20, fee: 0 }));
        let account = buyer.audit().remove(0).account;
        assert_eq!((account.forfeited, account.lost, buyer.total()), (20, 0, 80));
        let shown = buyer.wallet.redeemed_proofs(trade(1)).unwrap();
        assert_eq!(shown.iter().map(|taken| taken.proof.amount).sum::<u64>(), 20);
        assert!(shown.iter().all(|taken| !taken.signatures.is_empty()));
        assert_eq!(mint.outstanding(), buyer.total() + seller.total());
    }
}

/// What came back was paid with in another trade since: that one is in the seller's debt or paid, not the one it refused.
#[tokio::test(start_paused = true)]
async fn what_paid_for_another_trade_since_is_not_charged_to_the_trade_that_gave_it_back() {
    let mint = Double::new(0);
    let (mut buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    seller.refuse(1).await;
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Returned).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    buyer.award(&seller, 20, 2).await.unwrap();
    assert_eq!(buyer.audit()[0].account.fees, 0, "the same coins");
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Paid).await.unwrap();
    seller.redeem(2).await;
    sleep(Duration::from_secs(6 * 3_600)).await;
    let account = buyer.audit().remove(0).account;
    assert_eq!((account.paid, account.forfeited, account.lost), (20, 0, 0));
    assert!(timeout(Duration::from_secs(60), buyer.outcomes.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_seller_that_refuses_gets_no_more_locked_to_it() {
    for pause_secs in [0, 10] {
        let mint = Double::new(0);
        let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
        buyer.fund(5_000).await.unwrap();
        for number in 1..=8 {
            let awarded = buyer.award(&seller, 20, number).await;
            // A coin that it refused before is still reserved for that trade on its side.
            assert!(matches!(awarded, Ok(()) | Err(WalletError::AlreadyReserved)), "{awarded:?}");
            buyer.wallet.settle_buyer(trade(number), LockOutcome::Returned).await.unwrap();
            sleep(Duration::from_secs(pause_secs)).await;
        }
        buyer.quiet().await;
        let locked = buyer.audit().remove(0).locked;
        assert!(locked <= if pause_secs == 0 { 8 * 20 } else { 20 }, "{locked} locked");
    }
    // One that takes them does.
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(5_000).await.unwrap();
    for number in 1..=2 {
        buyer.award(&seller, 20, number).await.unwrap();
    }
    assert_eq!(buyer.audit().remove(0).locked, 7 * 20);
}

/// Somebody who hires of the same seller comes between a refill and the hire that it was made for.
#[tokio::test(start_paused = true)]
async fn a_hire_whose_refill_another_takes_has_one_more() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(2_000).await.unwrap();
    let request = buyer.request(&seller, 20);
    let second = async {
        while buyer.wallet.0.purse.totals().values().sum::<u64>() == 0 {
            tokio::task::yield_now().await;
        }
        buyer.wallet.lock(&request).await
    };
    // The second is looked at before the first, whenever anything has happened.
    let both = futures::future::join(second, buyer.wallet.lock(&request));
    let (second, first) = timeout(Duration::from_secs(60), both).await.unwrap();
    assert_eq!((first.unwrap().amount(), second.unwrap().amount()), (20, 20));
}

/// The newer home has paid from the purse, and nothing else: no number tells of it.
#[tokio::test(start_paused = true)]
async fn an_older_backup_does_not_pay_with_what_the_newer_home_paid_with() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(2_000).await.unwrap();
    for number in 1..=2 {
        buyer.award(&seller, 20, number).await.unwrap();
    }
    buyer.quiet().await;
    let backup = buyer.backup();
    for number in 3..=5 {
        buyer.award(&seller, 20, number).await.unwrap();
        buyer.wallet.settle_buyer(trade(number), LockOutcome::Paid).await.unwrap();
        seller.redeem(number).await;
    }
    seller.quiet().await;
    sleep(Duration::from_secs(10)).await;
    let _ = buyer.stop().await;
    let buyer = Home::open(&mint, 1, backup, NOW.saturating_add(60)).await;
    for number in 6..=9 {
        buyer.award(&seller, 20, number).await.unwrap();
    }
    let account = buyer.audit().remove(0).account;
    assert_eq!((account.lost, account.forfeited), (60, 0), "nobody is blamed for it");
}

/// Two copies live at once: what the one has seen of the mint when it started says nothing of what the other has done since.
#[tokio::test(start_paused = true)]
async fn a_copy_that_lives_at_the_same_time_is_looked_for_before_a_seller_is_charged() {
    let mint = Double::new(0);
    let (one, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    one.fund(2_000).await.unwrap();
    for number in 1..=2 {
        one.award(&seller, 20, number).await.unwrap();
    }
    one.quiet().await;
    let two = one.twin(&one.backup()).await;
    // The seller refuses the one's award of these coins, and serves the other's.
    one.award(&seller, 20, 3).await.unwrap();
    one.wallet.settle_buyer(trade(3), LockOutcome::Refund).await.unwrap();
    seller.refuse(3).await;
    two.fund(5).await.unwrap();
    two.award(&seller, 20, 4).await.unwrap();
    two.wallet.settle_buyer(trade(4), LockOutcome::Paid).await.unwrap();
    seller.redeem(4).await;
    seller.quiet().await;
    sleep(Duration::from_secs(5 * 3_600)).await;
    let account = one.audit().remove(0).account;
    assert_eq!((account.lost, account.forfeited), (20, 0), "nobody is blamed for it");
}

#[tokio::test(start_paused = true)]
async fn a_home_that_starts_while_its_mint_is_away_pays_from_its_purse() {
    for mood in [Mood::Down, Mood::Slow(1_000)] {
        let mint = Double::new(0);
        let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
        buyer.fund(2_000).await.unwrap();
        for number in 1..=2 {
            buyer.award(&seller, 20, number).await.unwrap();
        }
        buyer.quiet().await;
        mint.set(mood);
        let buyer = buyer.restart(None).await;
        let began = tokio::time::Instant::now();
        for number in 3..=5 {
            buyer.award(&seller, 20, number).await.unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        // The question is asked again, and what is left stays good.
        mint.set(Mood::Well);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(buyer.wallet.0.purse.totals().values().sum::<u64>(), buyer.audit()[0].locked);
    }
}

// Mints that don't say by whom a lock was spent (NUT-07, `witness`)

#[tokio::test(start_paused = true)]
async fn where_a_mint_shows_no_witness_a_lost_reply_is_no_redemption_and_no_cheat() {
    let mint = Double::new(0);
    mint.books().show_no_witness();
    let (mut buyer, mut seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    seller.fund(1).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    mint.set(Mood::DeafTo("/v1/swap"));
    seller.redeem(1).await;
    let (_, outcome) = seller.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::RedeemFailed { why: crate::wallet::tables::SPENT_UNTOLD.into() });
    // The money is there all the same.
    assert_eq!((seller.total(), seller.audit()[0].account.lost), (21, 20));

    mint.set(Mood::Well);
    buyer.award(&seller, 8, 2).await.unwrap();
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Refund).await.unwrap();
    mint.set(Mood::DeafTo("/v1/swap"));
    sleep(Duration::from_secs(6 * 3_600)).await;
    let (_, outcome) = buyer.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::Refunded { refunded: 0, redeemed: 0, fee: 0 });
    mint.set(Mood::Well);
    buyer.quiet().await;
    let account = buyer.audit().remove(0).account;
    assert_eq!((account.forfeited, buyer.total()), (0, 80));
    assert_eq!(mint.outstanding(), 80 + 21);
    assert!(buyer.wallet.redeemed_proofs(trade(2)).unwrap().is_empty());
}

// Records that went while an operation was under way

#[tokio::test(start_paused = true)]
async fn a_refund_whose_record_was_struck_meanwhile_ends_and_the_books_add_up() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    mint.set(Mood::DownOn("/v1/swap"));
    let lock = buyer.store.read(|read| read.range(REFUNDS, KeyRange::all(), 1)).unwrap().remove(0).1;
    while buyer.wallet.swaps_in_flight().unwrap() == 0 {
        sleep(Duration::from_secs(10)).await;
    }
    let mut spent = tables::Spent::default();
    lock.proofs.iter().filter_map(guilder_protocol::locks::LockedProof::y).for_each(|y| spent.by_us(y));
    let locktime = lock.conditions.locktime();
    let strike = move |write: &mut Write<'_>| tables::strike(write, trade(1), locktime, &spent, NOW);
    buyer.store.transact(strike).await.unwrap();
    mint.set(Mood::Well);
    buyer.quiet().await;
    assert_eq!((buyer.total(), mint.outstanding()), (100, 100));
    let reasons: Vec<_> = buyer.wallet.history(0, 100).unwrap().iter().map(|entry| entry.reason).collect();
    assert_eq!(reasons[reasons.len() - 2..], [Reason::Lost, Reason::Restored], "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_redemption_whose_record_went_meanwhile_ends_and_the_books_add_up() {
    let mint = Double::new(0);
    let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    seller.fund(1).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
    mint.set(Mood::Down);
    seller.redeem(1).await;
    while seller.wallet.swaps_in_flight().unwrap() == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let forget = move |write: &mut Write<'_>| {
        let taken = write.get(records::ACCEPTED, Key::of(trade(1)))?.unwrap();
        tables::book(write, &taken.currency, NOW, Reason::Lost, taken.amount(), None)?;
        tables::forget_accepted(write, &trade(1), &taken)
    };
    seller.store.transact(forget).await.unwrap();
    mint.set(Mood::Well);
    seller.quiet().await;
    assert_eq!((seller.total(), mint.outstanding()), (21, buyer.total() + 21));
}

/// A request that was refused reaches the mint a second time, and is done.
#[tokio::test(start_paused = true)]
async fn a_quote_that_a_delayed_request_of_ours_issued_did_not_go_to_another_copy() {
    let mint = Double::new(0);
    let one = Home::new(&mint, 1).await;
    one.fund(1).await.unwrap();
    mint.books().hold_mints(true);
    let quote = one.wallet.fund(&here(), &play(), 37).await.unwrap();
    let refused = one.wallet.await_funds(&here(), &play(), &quote.id, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(refused, WalletError::Mint(MintTrouble::Refused { .. })), "{refused}");
    mint.books().deliver_held();
    let brought = one.wallet.await_funds(&here(), &play(), &quote.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!((brought, one.total(), mint.outstanding()), (Some(37), 38, 38));
}

// Fees that pass

/// The mint asks for more than a lot is worth when it falls back, and for less later.
#[tokio::test(start_paused = true)]
async fn a_passing_fee_spike_costs_no_lock() {
    let mint = Double::with_short_ids();
    let (mut buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    mint.books().set_fee(50_000);
    sleep(Duration::from_secs(5 * 86_400)).await;
    assert_eq!((buyer.audit()[0].refunding, buyer.wallet.swaps_in_flight().unwrap()), (20, 0));
    let buyer_again = buyer.restart(None).await;
    buyer = buyer_again;
    sleep(Duration::from_secs(86_400)).await;
    assert_eq!(buyer.total(), 100);
    mint.books().set_fee(100);
    let (_, outcome) = buyer.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::Refunded { refunded: 19, redeemed: 0, fee: 1 });
    buyer.quiet().await;
    assert_eq!((buyer.total(), mint.outstanding()), (99, 99));
}

/// What has been worth no more than its fee for so long is given up, in the books as well.
#[tokio::test(start_paused = true)]
async fn dust_is_given_up_in_the_end_and_booked_as_a_fee() {
    let mint = Double::with_short_ids();
    let (mut buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    buyer.fund(100).await.unwrap();
    buyer.award(&seller, 20, 1).await.unwrap();
    buyer.wallet.settle_buyer(trade(1), LockOutcome::Refund).await.unwrap();
    mint.books().set_fee(50_000);
    let (_, outcome) = buyer.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::Refunded { refunded: 0, redeemed: 0, fee: 20 });
    assert!(buyer.runtime.now() > NOW.saturating_add(crate::limits::DUST_KEPT_SECS));
    let balance = buyer.audit().remove(0);
    assert_eq!((balance.refunding, balance.total(), balance.account.fees), (0, 80, 20));
}

// Commits of which the disk can't tell

/// The power goes at any write of a settlement, also where the commit came to be and its caller was told otherwise.
#[tokio::test(start_paused = true)]
async fn whatever_write_the_power_goes_at_an_operation_is_settled_once() {
    let mut interrupted = 0;
    for writes in 0..40 {
        let mint = Double::new(0);
        let (buyer, seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
        buyer.fund(100).await.unwrap();
        buyer.award(&seller, 20, 1).await.unwrap();
        buyer.wallet.settle_buyer(trade(1), LockOutcome::Paid).await.unwrap();
        seller.fund(1).await.unwrap();
        mint.set(Mood::Slow(5));
        seller.redeem(1).await;
        while seller.wallet.swaps_in_flight().unwrap() == 0 {
            sleep(Duration::from_secs(1)).await;
        }
        seller.disk.power_off_after(writes);
        sleep(Duration::from_secs(60)).await;
        mint.set(Mood::Well);
        interrupted += u32::from(seller.store.write(|_| Ok(())).await.is_err());
        let mut seller = seller.restart(None).await;
        let (_, outcome) = seller.outcomes.recv().await.unwrap();
        assert_eq!(outcome, MoneyOutcome::Redeemed { amount: 20 }, "after {writes} writes");
        seller.quiet().await;
        assert_eq!((seller.total(), mint.outstanding()), (21, buyer.total() + 21), "after {writes} writes");
    }
    assert!(interrupted > 3, "{interrupted} were interrupted");
}

/// A disk that is full while an operation comes to be: it is settled when there is room, without a restart.
#[tokio::test(start_paused = true)]
async fn a_full_disk_holds_an_operation_up_and_loses_nothing() {
    let mint = Double::new(0);
    let one = Home::new(&mint, 1).await;
    one.fund(100).await.unwrap();
    // Its numbers are checked.
    one.send(2).await.unwrap();
    mint.set(Mood::Slow(4));
    let sending = one.wallet.clone();
    let sent = tokio::spawn(async move { sending.send(&here(), &play(), 37).await });
    let begun = async {
        while one.wallet.swaps_in_flight().unwrap() == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), begun).await.unwrap();
    one.disk.set_full(true);
    sleep(Duration::from_secs(120)).await;
    assert!(one.store.write(|_| Ok(())).await.is_err());
    assert_eq!(mint.outstanding(), 100, "the mint has done it");
    one.disk.set_full(false);
    mint.set(Mood::Well);
    // Until the store has found that there is room.
    sleep(Duration::from_secs(600)).await;
    one.quiet().await;
    drop(sent.await.unwrap());
    let tokens: u64 = one.wallet.sent().unwrap().iter().map(|token| token.amount).sum();
    assert_eq!((one.total(), tokens, mint.outstanding()), (61, 2 + 37, 100));
}

// Several mints

fn there() -> MintUrl {
    "https://other.example".parse().unwrap()
}

/// A mint that is dead costs another neither a permit nor a second.
#[tokio::test(start_paused = true)]
async fn a_dead_mint_holds_up_no_other() {
    let (mint, dead) = (Double::new(0), Double::salted(0, 1));
    mint.route(there(), &dead);
    let (buyer, mut seller) = (Home::new(&mint, 1).await, Home::new(&mint, 2).await);
    for home in [&buyer, &seller] {
        home.wallet.add_mint(&there()).await.unwrap();
        home.fund_at(&there(), 1_000).await.unwrap();
        home.fund(200).await.unwrap();
    }
    assert_eq!(buyer.wallet.mints().len(), 2);
    let mut tokens = Vec::new();
    for _ in 0..40 {
        tokens.push(buyer.wallet.send(&there(), &play(), 2).await.unwrap());
    }
    // More waits at the dead mint than there are permits.
    dead.set(Mood::Slow(1_000_000));
    for token in &tokens {
        let receiving = seller.wallet.clone();
        let token = token.token.clone();
        seller.runtime.spawn("receive", async move { drop(receiving.receive(&token).await) }).detach();
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seller.wallet.swaps_in_flight().unwrap(), 40);
    buyer.award(&seller, 20, 1).await.unwrap();
    let began = tokio::time::Instant::now();
    seller.redeem(1).await;
    let (_, outcome) = seller.outcomes.recv().await.unwrap();
    assert_eq!(outcome, MoneyOutcome::Redeemed { amount: 20 });
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Nor do refunds at it.
    buyer.award(&seller, 20, 2).await.unwrap();
    buyer.wallet.settle_buyer(trade(2), LockOutcome::Refund).await.unwrap();
    sleep(Duration::from_secs(4 * 3_600)).await;
    assert_eq!(buyer.audit().iter().map(|balance| balance.refunding).sum::<u64>(), 0);
    dead.set(Mood::Well);
    sleep(Duration::from_secs(600)).await;
    seller.quiet().await;
    assert_eq!(seller.wallet.swaps_in_flight().unwrap(), 0);
}
