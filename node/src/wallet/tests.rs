//! Whole wallets against a real mint (cdk's, hosted in the process), on a disk that crashes and over a line that fails.
//!
//! The invariant is the mint's own books: what it has issued and not taken back is what the wallets hold. Our clocks run
//! a day behind the mint's, so that every locktime has passed for the mint and a test need not wait for one; where our
//! own clock has to move, it is tokio's that is moved.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cid::Cid;
use guilder_protocol::{
    cbor,
    identity::{AgentId, AgentKey},
    market::{MintUrl, Unit},
    settlement::{AwardPart, prepaid},
    time::Timestamp,
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use super::{
    connector::{
        ConnectorError, Connectors, Exchange, ExchangeError,
        frames::{Reply, Request},
    },
    *,
};
use crate::{
    events::{Event, Events, Heard, Subscription},
    failpoint::Failpoint,
    mint::{HostedMint, MintConfig, MintUnit},
    runtime::Runtime,
    store::{Store, testing::CrashBackend},
};

mod crash;
mod double;
mod escrow;
mod hire;
mod homes;
mod many;
mod people;
mod property;
mod trouble;
mod wild;

const MINT_SEED: [u8; 64] = [42; 64];

fn play() -> Unit {
    "play".parse().unwrap()
}

fn agent(seed: u8) -> AgentId {
    AgentKey::from_seed(&[seed; 32]).id()
}

fn mint_url() -> MintUrl {
    MintUrl::of_peer(agent(100))
}

fn trade(number: u32) -> Cid {
    cbor::cid_of(&number.to_be_bytes())
}

/// A day before the mint's clock.
fn yesterday() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_secs(now - 86_400)
}

/// How the line to the mint is.
#[derive(Clone)]
enum Line {
    Well,
    /// Nothing gets through.
    Down,
    /// The mint acts on what it is sent; nothing comes back.
    Deaf,
    /// What comes back from a path is changed.
    Tampered(&'static str, Tamper),
}

/// Where a request is kept.
type Held = Arc<Mutex<Option<Request>>>;

type Tamper = Arc<dyn Fn(&mut serde_json::Value) + Send + Sync>;

fn tampered(path: &'static str, change: impl Fn(&mut serde_json::Value) + Send + Sync + 'static) -> Line {
    Line::Tampered(path, Arc::new(change))
}

/// The mint and the line to it.
#[derive(Clone)]
struct Bank {
    mint: HostedMint,
    line: Arc<Mutex<Line>>,
    calls: Arc<Mutex<Vec<String>>>,
    /// While there is a place for it, a swap is refused, and its request kept there.
    held: Arc<Mutex<Option<Held>>>,
    /// Whether it says what time it is. A test that moves our clocks alone would have it contradict them.
    tells_time: Arc<Mutex<bool>>,
    _folder: Arc<TempDir>,
}

impl std::fmt::Debug for Bank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bank")
    }
}

#[async_trait]
impl Exchange for Bank {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let line = self.line.lock().unwrap().clone();
        let path = request.path.clone();
        self.calls.lock().unwrap().push(path.clone());
        if matches!(line, Line::Down) {
            return Err(ExchangeError::Unreachable("the line is down".into()));
        }
        if let Some(place) = self.held.lock().unwrap().as_ref().filter(|_| path == "/v1/swap") {
            *place.lock().unwrap() = Some(request);
            let body = br#"{"code":11005,"detail":"refused for now"}"#.to_vec();
            return Ok(Reply { status: 400, body });
        }
        let mut reply = self.mint.exchange(request).await?;
        if path == "/v1/info" {
            let mut info: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            // Our clocks run a day behind the mint's.
            info["time"] = (info["time"].as_u64().unwrap() - 86_400).into();
            if !*self.tells_time.lock().unwrap() {
                info.as_object_mut().unwrap().remove("time");
            }
            reply.body = serde_json::to_vec(&info).unwrap();
        }
        match line {
            Line::Deaf => Err(ExchangeError::Lost("the line went dead".into())),
            Line::Tampered(on, change) if path.starts_with(on) => {
                let mut body = serde_json::from_slice(&reply.body).unwrap();
                change(&mut body);
                reply.body = serde_json::to_vec(&body).unwrap();
                Ok(reply)
            }
            _ => Ok(reply),
        }
    }
}

/// Any URL leads to the one mint.
impl Connectors for Bank {
    fn for_url(&self, _: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Bank {
    async fn open(input_fee_ppk: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mint = Self::mint(folder.path(), input_fee_ppk).await;
        let line = Arc::new(Mutex::new(Line::Well));
        Self {
            mint,
            line,
            calls: Arc::default(),
            held: Arc::default(),
            tells_time: Arc::default(),
            _folder: Arc::new(folder),
        }
    }

    async fn mint(folder: &Path, input_fee_ppk: u64) -> HostedMint {
        let unit = MintUnit { input_fee_ppk, ..MintUnit::default() };
        let config = MintConfig { units: vec![unit], ..MintConfig::default() };
        HostedMint::open(folder, &config, &MINT_SEED, &Runtime::anchored(yesterday())).await.unwrap()
    }

    fn set(&self, line: Line) {
        *self.line.lock().unwrap() = line;
    }

    fn calls(&self, path: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| *call == path).count()
    }

    /// What the mint has issued and not taken back.
    async fn outstanding(&self) -> u64 {
        self.mint.totals().await.unwrap().iter().map(|total| total.issued - total.redeemed).sum()
    }

    async fn wallet(&self, seed: u8) -> Node {
        Node::boot(self, seed, CrashBackend::new(), yesterday(), WalletConfig::default()).await
    }
}

/// A wallet, and what it takes to start it again.
struct Node {
    wallet: Wallet,
    outcomes: mpsc::Receiver<(Cid, MoneyOutcome)>,
    /// Everything told since the start.
    news: Subscription,
    store: Store,
    runtime: Runtime,
    disk: CrashBackend,
    bank: Bank,
    seed: u8,
    config: WalletConfig,
}

impl Node {
    async fn boot(bank: &Bank, seed: u8, disk: CrashBackend, now: Timestamp, mut config: WalletConfig) -> Self {
        if config.mints.is_empty() {
            config.mints = vec![mint_url()];
        }
        config.mint_patience_secs = 5;
        let (runtime, events) = (Runtime::anchored(now), Events::new());
        let news = events.subscribe();
        let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
        let parts = WalletParts {
            config: config.clone(),
            seed: Zeroizing::new([seed; 64]),
            lock_seed: Zeroizing::new([seed; 32]),
            store: store.clone(),
            connectors: Arc::new(bank.clone()),
            runtime: runtime.clone(),
            events: events.clone(),
            failpoint: Failpoint::default(),
        };
        let (wallet, outcomes) = Wallet::open(parts).unwrap();
        Self { wallet, outcomes, news, store, runtime, disk, bank: bank.clone(), seed, config }
    }

    /// Pulls the plug, and starts again from what had reached the disk.
    async fn crash(self) -> Self {
        let now = self.runtime.now();
        self.disk.crash();
        self.restart(now).await
    }

    /// Starts again at another time.
    async fn restart(self, now: Timestamp) -> Self {
        let Self { wallet, outcomes, store, runtime, disk, bank, seed, config, .. } = self;
        runtime.shutdown().await;
        drop((wallet, outcomes, store, runtime));
        disk.crash();
        Self::boot(&bank, seed, disk, now, config).await
    }

    fn id(&self) -> AgentId {
        agent(self.seed)
    }

    async fn fund(&self, amount: u64) {
        let quote = self.wallet.fund(&mint_url(), &play(), amount).await.unwrap();
        let patience = Duration::from_secs(60);
        let brought = self.wallet.await_funds(&mint_url(), &play(), &quote.id, patience).await.unwrap();
        assert_eq!(brought, Some(amount));
    }

    /// Funds it with the fewest coins, so that none make a smaller amount.
    async fn fund_whole(&self, amount: u64) {
        self.fund(amount).await;
        let token = self.wallet.send(&mint_url(), &play(), amount).await.unwrap();
        self.wallet.receive(&token.token).await.unwrap();
    }

    /// What a restore finds.
    async fn restore(&self) -> u64 {
        self.wallet.restore(&mint_url(), &play()).await.unwrap().found
    }

    /// The balance, which must add up.
    fn balance(&self) -> Balance {
        let balances = self.wallet.audit().unwrap().unwrap();
        balances.into_iter().find(|balance| balance.unit == play()).unwrap()
    }

    fn total(&self) -> u64 {
        self.wallet.audit().unwrap().unwrap().iter().map(Balance::total).sum()
    }

    async fn quiet(&self) {
        let quiet = async {
            while self.wallet.swaps_in_flight().unwrap() > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(60), quiet).await.unwrap();
    }

    fn request(&self, seller: &Self, price: u64) -> LockRequest {
        LockRequest {
            seller: seller.id(),
            terms: seller.terms(self.id(), 3_600),
            mint: mint_url(),
            unit: play(),
            price,
            max_proofs: 32,
        }
    }

    /// Our terms towards a buyer: its money falls back in `secs` at the earliest.
    fn terms(&self, buyer: AgentId, secs: u64) -> Terms {
        let Some(Terms::Prepaid(ours)) = self.wallet.terms(&Mode::Prepaid, buyer, self.runtime.now()) else { panic!() };
        Terms::Prepaid(prepaid::Terms { locktime: self.runtime.now().saturating_add(secs), ..ours })
    }

    /// Writes a trade's money down on the buyer's side.
    async fn debit(&self, lock: PreparedLock, trade: Cid) -> Result<(), WalletError> {
        self.store.transact(move |write| lock.debit(write, trade, None)).await
    }

    async fn vet(
        &self,
        buyer: AgentId,
        mint: MintUrl,
        price: u64,
        lock: &Lock,
        part: AwardPart,
    ) -> Result<VettedLock, WalletError> {
        let context = LockContext { mint, buyer, principal: buyer };
        let demand = LockDemand { terms: self.terms(buyer, 1_800), part, unit: play(), price, max_proofs: 32 };
        self.wallet.check_lock(&context, &demand, lock).await
    }

    async fn reserve(&self, lock: VettedLock, trade: Cid) -> Result<(), WalletError> {
        let wallet = self.wallet.clone();
        self.store.transact(move |write| wallet.reserve(write, &lock, trade)).await
    }

    async fn redeemable(&self, trade: Cid) {
        self.redeemable_later(trade).await;
        self.wallet.nudge();
    }

    async fn redeemable_later(&self, trade: Cid) {
        let wallet = self.wallet.clone();
        self.store.transact(move |write| wallet.redeemable(write, trade)).await.unwrap();
    }

    async fn void(&self, trade: Cid) {
        let wallet = self.wallet.clone();
        self.store.transact(move |write| wallet.void(write, trade)).await.unwrap();
    }

    /// The next event that is wanted.
    async fn hears(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let hearing = async {
            loop {
                match self.news.next().await.unwrap() {
                    Heard::Event(heard) if wanted(&heard.event) => return heard.event.clone(),
                    Heard::Event(_) | Heard::Missed(_) => {}
                }
            }
        };
        timeout(Duration::from_secs(60), hearing).await.unwrap()
    }

    async fn outcome(&mut self) -> (Cid, MoneyOutcome) {
        timeout(Duration::from_secs(60), self.outcomes.recv()).await.unwrap().unwrap()
    }
}

/// Both sides write the award down: the lock is the seller's to redeem.
async fn award(buyer: &Node, seller: &Node, price: u64, number: u32) {
    let lock = buyer.wallet.lock(&buyer.request(seller, price)).await.unwrap();
    let (travels, part) = (lock.lock(), lock.part());
    buyer.debit(lock, trade(number)).await.unwrap();
    let vetted = seller.vet(buyer.id(), mint_url(), price, &travels, part).await.unwrap();
    seller.reserve(vetted, trade(number)).await.unwrap();
}

/// Moves our clocks, at a quiet moment.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
