//! Whole trades between nodes on loopback sockets, with a real mint (cdk's, hosted in the process) and disks that crash.
//!
//! Our clocks run a day behind the mint's, so that every locktime has passed for the mint and no test has to wait for
//! one.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use guilder_protocol::{
    identity::{AgentId, AgentKey},
    market::{MintUrl, ServiceName, Unit},
    time::Timestamp,
    trade::{
        Stored,
        buyer::{self, BuyerOutcome},
        seller,
    },
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::{
    mailbox::BuyerMail,
    open::{OpenTrade, Posted, SideMailbox},
    *,
};
use crate::{
    catalogue::CatalogueParts,
    content::Data,
    executor::{Definition, Executor, Executors, definition::Run},
    failpoint::Failpoint,
    grants::{Grants, GrantsParts},
    mint::{HostedMint, MintConfig, MintUnit},
    network::{Inbound, Multiaddr, NetworkConfig, Setup, transport},
    store::{KeyRange, Reader, testing::CrashBackend},
    wallet::{
        WalletConfig, WalletParts,
        connector::{
            ConnectorError, Connectors, Exchange, ExchangeError,
            frames::{Reply, Request},
        },
    },
};

mod chains;
mod crash;
mod deviations;
mod escrow;
mod former;
mod hostile;
mod later;
mod lists;
mod origin;
mod promise;
mod putback;
mod raw;
mod revoked;
mod whole;

const MINT_SEED: [u8; 64] = [42; 64];
/// Long enough for a busy machine, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn play() -> Unit {
    "play".parse().unwrap()
}

fn mint_url() -> MintUrl {
    MintUrl::of_peer(AgentKey::from_seed(&[100; 32]).id())
}

fn echo() -> ServiceName {
    "text.echo".parse().unwrap()
}

/// A hire of the echo, by whoever sells it.
fn of_anyone() -> Hire {
    Hire {
        max_price: Some(100),
        unit: Some(play()),
        deadline_secs: Some(60),
        mode: Some(HireMode::Prepaid),
        ..Hire::of(echo())
    }
}

/// The same by this seller.
fn of(seller: AgentId) -> Hire {
    Hire { seller: Some(seller), ..of_anyone() }
}

fn yesterday() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_secs(now - 86_400)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until a condition holds.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    in_time(async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The mint; any URL leads to it.
#[derive(Clone)]
struct Bank {
    mint: HostedMint,
    /// Answers nobody.
    down: Arc<AtomicBool>,
    /// Says of no proof how it was spent.
    hides_witnesses: Arc<AtomicBool>,
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
        if self.down.load(Ordering::SeqCst) {
            return Err(ExchangeError::Unreachable("down".into()));
        }
        let hides = request.path == "/v1/checkstate" && self.hides_witnesses.load(Ordering::SeqCst);
        // Our clocks run a day behind the mint's, which it must not tell.
        let tells_time = request.path == "/v1/info";
        let mut reply = self.mint.exchange(request).await?;
        if tells_time {
            let mut info: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            info.as_object_mut().unwrap().remove("time");
            reply.body = serde_json::to_vec(&info).unwrap();
        }
        if hides {
            let mut shown: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            let states = shown["states"].as_array_mut().unwrap();
            states.iter_mut().for_each(|state| state["witness"] = serde_json::Value::Null);
            reply.body = serde_json::to_vec(&shown).unwrap();
        }
        Ok(reply)
    }
}

impl Connectors for Bank {
    fn for_url(&self, _: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Bank {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unit = MintUnit { input_fee_ppk: 100, ..MintUnit::default() };
        let config = MintConfig { units: vec![unit], ..MintConfig::default() };
        let runtime = Runtime::anchored(yesterday());
        let mint = HostedMint::open(folder.path(), &config, &MINT_SEED, &runtime).await.unwrap();
        Self { mint, down: Arc::default(), hides_witnesses: Arc::default(), _folder: Arc::new(folder) }
    }

    /// What the mint has issued and not taken back.
    async fn outstanding(&self) -> u64 {
        self.mint.totals().await.unwrap().iter().map(|total| total.issued - total.redeemed).sum()
    }
}

/// What a node is started with, again and again.
#[derive(Clone)]
struct Plan {
    bank: Bank,
    seed: u8,
    now: Timestamp,
    disk: CrashBackend,
    folder: Arc<TempDir>,
    bootstrap: Vec<Multiaddr>,
    listen: Arc<AtomicU64>,
    config: TradeConfig,
    failpoint: Failpoint,
}

impl Plan {
    fn new(bank: &Bank, seed: u8) -> Self {
        Self {
            bank: bank.clone(),
            seed,
            now: yesterday(),
            disk: CrashBackend::new(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            bootstrap: Vec::new(),
            listen: Arc::default(),
            config: TradeConfig::default(),
            failpoint: Failpoint::default(),
        }
    }

    fn joining(bank: &Bank, seed: u8, bootstrap: &Node) -> Self {
        Self { bootstrap: vec![bootstrap.address.clone()], ..Self::new(bank, seed) }
    }

    async fn start(self) -> Node {
        Node::start(self).await
    }
}

/// What every node stands on.
struct Base {
    plan: Plan,
    key: AgentKey,
    address: Multiaddr,
    runtime: Runtime,
    store: Store,
    network: Network,
    inbound: Inbound,
    wallet: Wallet,
    outcomes: mpsc::Receiver<(Cid, MoneyOutcome)>,
    events: Events,
}

impl Base {
    async fn start(plan: Plan) -> Self {
        let runtime = Runtime::anchored(plan.now);
        let store = Store::with_backend(plan.disk.backend(), &runtime).await.unwrap();
        let (key, events) = (AgentKey::from_seed(&[plan.seed; 32]), Events::new());
        // The same port again after a restart, as a real node has.
        let port = plan.listen.load(Ordering::SeqCst);
        let config = NetworkConfig {
            listen: vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()],
            bootstrap: plan.bootstrap.clone(),
            mdns: false,
            ..NetworkConfig::default()
        };
        let setup = Setup {
            transport: transport::tcp_quic(&key).unwrap(),
            key: key.clone(),
            config,
            runtime: runtime.clone(),
            store: store.clone(),
            events: events.clone(),
            tap: None,
        };
        let (network, inbound) = Network::start(setup).await.unwrap();
        let address = network.listen_addrs().await.first().unwrap().clone();
        let port = address.to_string().rsplit('/').next().unwrap().parse().unwrap();
        plan.listen.store(port, Ordering::SeqCst);
        let address = format!("{address}/p2p/{}", network.local().peer_id()).parse().unwrap();
        let (wallet, outcomes) = Wallet::open(WalletParts {
            config: WalletConfig { mints: vec![mint_url()], mint_patience_secs: 10, ..WalletConfig::default() },
            seed: Zeroizing::new([plan.seed; 64]),
            lock_seed: Zeroizing::new([plan.seed; 32]),
            store: store.clone(),
            connectors: Arc::new(plan.bank.clone()),
            runtime: runtime.clone(),
            events: events.clone(),
            failpoint: Failpoint::default(),
        })
        .unwrap();
        Self { plan, key, address, runtime, store, network, inbound, wallet, outcomes, events }
    }
}

async fn fund(wallet: &Wallet, amount: u64) {
    let quote = wallet.fund(&mint_url(), &play(), amount).await.unwrap();
    let paid = wallet.await_funds(&mint_url(), &play(), &quote.id, PATIENCE).await.unwrap();
    assert_eq!(paid, Some(amount));
}

/// A node without a daemon around it.
struct Node {
    plan: Plan,
    address: Multiaddr,
    runtime: Runtime,
    store: Store,
    network: Network,
    wallet: Wallet,
    catalogue: Catalogue,
    content: Content,
    events: Events,
    grants: Grants,
    trade: Trade,
}

impl Node {
    async fn start(plan: Plan) -> Self {
        let Base { plan, key, address, runtime, store, network, inbound, wallet, outcomes, events } =
            Base::start(plan).await;
        let content = Content::open(plan.folder.path().join("content"), runtime.clone()).await.unwrap();
        let work_dir = plan.folder.path().join("work");
        let executors = Executors::open("/bin/false".into(), work_dir, content.clone(), runtime.clone()).await.unwrap();
        let catalogue = Catalogue::start(CatalogueParts {
            key: key.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            network: network.clone(),
            gossip: inbound.gossip,
            wallet: wallet.clone(),
            executors,
            events: events.clone(),
        })
        .await
        .unwrap();
        catalogue.refresh().await.unwrap();
        let grants = Grants::start(GrantsParts {
            key: key.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            network: network.clone(),
            gossip: inbound.revocations,
            streams: inbound.grants,
            events: events.clone(),
            failpoint: Failpoint::default(),
        })
        .await
        .unwrap();
        let trade = Trade::start(TradeParts {
            key,
            config: plan.config.clone(),
            hire: HireConfig::default(),
            unit: play(),
            runtime: runtime.clone(),
            store: store.clone(),
            network: network.clone(),
            frames: inbound.frames,
            streams: inbound.content,
            wallet: wallet.clone(),
            outcomes,
            catalogue: catalogue.clone(),
            grants: grants.clone(),
            content: content.clone(),
            events: events.clone(),
            in_use: |_| Ok(BTreeSet::new()),
            failpoint: plan.failpoint.clone(),
        })
        .unwrap();
        Self { plan, address, runtime, store, network, wallet, catalogue, content, events, grants, trade }
    }

    fn id(&self) -> AgentId {
        self.network.local()
    }

    async fn connect(&self, other: &Self) {
        self.network.dial(other.address.clone()).await.unwrap();
    }

    async fn fund(&self, amount: u64) {
        fund(&self.wallet, amount).await;
    }

    /// Sells the echo, or what the executor does, for a price.
    async fn sell(&self, price: u64, executor: Option<Arc<dyn Executor>>) {
        self.sell_as(definition(price), executor).await;
    }

    async fn sell_as(&self, definition: Definition, executor: Option<Arc<dyn Executor>>) {
        match executor {
            None => self.catalogue.add(definition).await.unwrap(),
            Some(executor) => {
                let (content, runtime) = (self.content.clone(), self.runtime.clone());
                let service = crate::executor::Service::with_executor(definition, executor, content, runtime).await;
                self.catalogue.add_service(service.unwrap()).await.unwrap();
            }
        }
    }

    async fn hire(&self, hire: Hire, input: &'static [u8]) -> Result<Hired, HireError> {
        in_time(self.trade.hire(hire, Data::Inline(Bytes::from_static(input))).await?.done()).await
    }

    /// Begins a hire, without waiting for its end.
    async fn begin(&self, hire: Hire, input: &'static [u8]) -> TaskHandle {
        self.trade.hire(hire, Data::Inline(Bytes::from_static(input))).await.unwrap()
    }

    fn transfers(&self) -> Transfers {
        let journal = Journal::new(self.store.clone(), Failpoint::default());
        Transfers::new(self.runtime.clone(), self.network.clone(), self.content.clone(), journal)
    }

    fn housekeeper(&self) -> Housekeeper {
        Housekeeper {
            runtime: self.runtime.clone(),
            journal: Journal::new(self.store.clone(), Failpoint::default()),
            store: self.store.clone(),
            content: self.content.clone(),
            wallet: self.wallet.clone(),
            keep_days: self.plan.config.keep_days,
            keep_payload_days: self.plan.config.keep_payload_days,
            max_payload_bytes: self.plan.config.max_payload_mib << 20,
            in_use: |_| Ok(BTreeSet::new()),
            shedding: Arc::default(),
        }
    }

    async fn balance(&self) -> u64 {
        self.wallet.audit().unwrap().unwrap().iter().map(|balance| balance.total()).sum()
    }

    /// As `balance`, but only what is free or held for later, not what is still between the two.
    async fn spendable(&self) -> u64 {
        self.wallet.balances().unwrap().iter().map(|balance| balance.spendable).sum()
    }

    /// Pulls the plug and starts again from what had reached the disk.
    async fn crash(self, failpoint: Failpoint) -> Self {
        let now = self.runtime.now();
        let Self { mut plan, runtime, network, store, wallet, catalogue, content, grants, trade, events, .. } = self;
        plan.disk.crash();
        runtime.shutdown().await;
        drop((network, store, wallet, catalogue, content, grants, trade, events, runtime));
        (plan.now, plan.failpoint) = (now, failpoint);
        plan.start().await
    }
}

fn definition(price: u64) -> Definition {
    Definition {
        name: echo(),
        description: "Gives back what it gets.".into(),
        price,
        unit: play(),
        mints: vec![],
        input: None,
        output: None,
        concurrency: 4,
        time_limit_secs: 20,
        memory_mb: 64,
        max_input_bytes: 1 << 20,
        max_output_bytes: 1 << 20,
        subcontract: None,
        run: Run::Echo,
    }
}

fn output(hired: &Hired) -> Bytes {
    match &hired.ended.output {
        Some((_, Stored::Inline(bytes))) => Bytes::from(bytes.to_vec()),
        other => panic!("{other:?} in {:?}", hired.ended.outcome),
    }
}
