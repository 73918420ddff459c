//! What a node is built from, and the building: rooms wired together, in the order that they need each other.
//!
//! ```text
//! runtime ─ store ─ content ─ executors        made by whoever builds: the daemon, a test, the simulator
//!                     │
//!   Node::start:  network ─▶ connectors ─▶ wallet ─▶ hosted mint's streams ─▶ catalogue ─▶ grants ─▶ trade ─▶ duties, webhooks out
//! ```
//!
//! [`Parts`] are all that the simulator replaces. A room that comes later takes the handles of those before it; nothing
//! reaches back. Nothing here waits for a mint or a peer: what has to be recovered is recovered in the background, so
//! that a node is ready as soon as it listens.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    market::MintUrl,
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{
    catalogue::{Catalogue, CatalogueError, CatalogueParts},
    config::Config,
    content::Content,
    duty::{self, Duties, DutiesParts},
    events::{Events, Journal},
    executor::Executors,
    failpoint::Failpoint,
    gate::Gate,
    grants::{Grants, GrantsParts},
    memory::{Dreamer, Memory},
    mint::HostedMint,
    network::{InboundStream, Network, Setup, StartError, StreamProtocol, Tap, Transport},
    notify::{Notifier, NotifierParts},
    runtime::Runtime,
    store::{Place, Store, StoreError},
    trade::{Trade, TradeParts},
    wallet::{
        Wallet, WalletError, WalletParts,
        connector::{Connectors, MintStream, NodeConnectors, Opener, Unreachable},
    },
};

/// Everything that a node is built from.
pub struct Parts {
    /// Its identity.
    pub key: AgentKey,
    /// Seed of its wallet's coins (NUT-13).
    pub wallet_seed: Zeroizing<[u8; 64]>,
    /// Root of the keys that money is locked to.
    pub lock_seed: Zeroizing<[u8; 32]>,
    /// The operator's settings; the rooms take their sections.
    pub config: Config,
    /// Time, tasks, entropy, threads.
    pub runtime: Runtime,
    /// Production: [`crate::network::transport::tcp_quic`].
    pub transport: Transport,
    /// What must not be lost.
    pub store: Store,
    /// What is remembered: a file of its own.
    pub memory: Place,
    /// Large inputs and outputs.
    pub content: Content,
    /// What builds the executors of services.
    pub executors: Executors,
    /// The mint that this node hosts, if it does.
    pub mint: Option<HostedMint>,
    /// The way to mints; none for the real ones, over HTTP and libp2p.
    pub connectors: Option<Arc<dyn Connectors>>,
    /// Told what happens.
    pub events: Events,
    /// Hears every swarm event: the simulator's window.
    pub tap: Option<Tap>,
    /// For crash tests; the default does nothing.
    pub failpoint: Failpoint,
}

/// A running node: the handles of its rooms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operator's settings.
    pub config: Arc<Config>,
    /// Time, tasks, entropy, threads.
    pub runtime: Runtime,
    /// What must not be lost.
    pub store: Store,
    /// What is remembered.
    pub memory: Memory,
    /// Who makes less of it.
    pub dreamer: Dreamer,
    /// Large inputs and outputs.
    pub content: Content,
    /// Peers.
    pub network: Network,
    /// Money.
    pub wallet: Wallet,
    /// What is on sale.
    pub catalogue: Catalogue,
    /// Callers, and what waits for the owner's word.
    pub gate: Gate,
    /// Authority passed on and taken back.
    pub grants: Grants,
    /// Tasks.
    pub trade: Trade,
    /// Standing orders.
    pub duties: Duties,
    /// Webhooks out.
    pub notifier: Notifier,
    /// The hosted mint.
    pub mint: Option<HostedMint>,
    /// What happens.
    pub events: Events,
    /// What has happened, as far as it is kept.
    pub journal: Journal,
}

impl Node {
    /// Builds and starts a node. It listens and takes work once this returns.
    ///
    /// # Errors
    /// If a room can't start. Tasks that were begun end with the runtime.
    pub async fn start(parts: Parts) -> Result<Self, NodeError> {
        let Parts { key, config, runtime, store, content, events, .. } = parts;
        let journal = Journal::open(events.clone(), store.clone(), runtime.clone()).await?;
        let memory = Memory::new(parts.memory, key.clone(), runtime.clone());
        runtime.spawn("memory", memory.clone().resume()).detach();
        let (network, inbound) = Network::start(Setup {
            key: key.clone(),
            transport: parts.transport,
            config: config.network.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            events: events.clone(),
            tap: parts.tap,
        })
        .await?;
        let connectors = parts.connectors.unwrap_or_else(|| connectors(&network, parts.mint.as_ref()));
        let connectors = parts.failpoint.on_mints(connectors);
        let (wallet, outcomes) = Wallet::open(WalletParts {
            config: config.wallet.clone(),
            seed: parts.wallet_seed,
            lock_seed: parts.lock_seed,
            store: store.clone(),
            connectors,
            runtime: runtime.clone(),
            events: events.clone(),
            failpoint: parts.failpoint.clone(),
        })?;
        if let Some(mint) = &parts.mint {
            runtime.spawn("mint/streams", serve_mint(mint.clone(), inbound.mint, runtime.clone())).detach();
        }
        let catalogue = Catalogue::start(CatalogueParts {
            key: key.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            network: network.clone(),
            gossip: inbound.gossip,
            wallet: wallet.clone(),
            executors: parts.executors.clone(),
            events: events.clone(),
        })
        .await?;
        let grants = Grants::start(GrantsParts {
            key: key.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            network: network.clone(),
            gossip: inbound.revocations,
            streams: inbound.grants,
            events: events.clone(),
            failpoint: parts.failpoint.clone(),
        })
        .await?;
        let trade = Trade::start(TradeParts {
            key,
            config: config.trade.clone(),
            hire: config.hire.clone(),
            unit: config.wallet.unit.clone(),
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
            in_use: duty::outputs_in_use,
            failpoint: parts.failpoint.clone(),
        })?;
        let gate = Gate::new(store.clone(), runtime.clone(), events.clone(), config.gate.ask_above);
        let duties = Duties::start(DutiesParts {
            id: network.local(),
            runtime: runtime.clone(),
            store: store.clone(),
            trade: trade.clone(),
            catalogue: catalogue.clone(),
            content: content.clone(),
            executors: parts.executors.clone(),
            memory: memory.clone(),
            hire: config.hire.clone(),
            events: events.clone(),
            journal: journal.clone(),
            failpoint: parts.failpoint.clone(),
        })?;
        let notifier = Notifier::start(NotifierParts {
            runtime: runtime.clone(),
            store: store.clone(),
            executors: parts.executors,
            journal: journal.clone(),
            events: events.clone(),
            failpoint: parts.failpoint,
        })?;
        let dreamer = Dreamer::start(memory.clone(), journal.clone(), trade.clone(), events.clone(), runtime.clone());
        let config = Arc::new(config);
        Ok(Self {
            config,
            runtime,
            store,
            memory,
            dreamer,
            content,
            network,
            wallet,
            catalogue,
            gate,
            grants,
            trade,
            duties,
            notifier,
            mint: parts.mint,
            events,
            journal,
        })
    }

    /// Who this node is.
    pub fn id(&self) -> AgentId {
        self.network.local()
    }

    /// The URL of the hosted mint, if there is one.
    pub fn mint_url(&self) -> Option<MintUrl> {
        self.mint.as_ref().map(|_| MintUrl::of_peer(self.id()))
    }

    /// Stops: takes no more work, withdraws its adverts, closes connections, ends every task, and lets the store write what is in its queue.
    /// What is open then resumes at the next start.
    pub async fn stop(&self) {
        self.trade.stop_taking();
        self.catalogue.retire().await;
        self.network.shutdown().await;
        if let Some(mint) = &self.mint {
            mint.stop().await;
        }
        self.journal.close().await;
        self.runtime.shutdown().await;
        self.memory.close().await;
        self.store.close().await;
    }
}

/// Real mints: over HTTP, over streams to peers, and our own without either.
fn connectors(network: &Network, mint: Option<&HostedMint>) -> Arc<dyn Connectors> {
    let connectors = NodeConnectors::new(Arc::new(MintStreams(network.clone())));
    match mint {
        Some(mint) => Arc::new(connectors.hosting(network.local(), Arc::new(mint.clone()))),
        None => Arc::new(connectors),
    }
}

/// Opens the streams that the wallet's connectors ask for.
#[derive(Debug)]
struct MintStreams(Network);

#[async_trait]
impl Opener for MintStreams {
    async fn open(&self, mint: AgentId) -> Result<MintStream, Unreachable> {
        match self.0.open(mint, StreamProtocol::Mint).await {
            Ok(stream) => Ok(Box::pin(stream)),
            Err(error) => Err(Unreachable(error.to_string())),
        }
    }
}

/// Serves wallets on streams, each in a task of its own; the network bounds how many there are.
async fn serve_mint(mint: HostedMint, mut streams: mpsc::Receiver<InboundStream>, runtime: Runtime) {
    while let Some(inbound) = streams.recv().await {
        let (from, mint) = (inbound.from, mint.clone());
        let serving = async move {
            match inbound.serve(|stream| mint.serve(from, stream)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(peer = %from.peer_id(), %error, "a wallet's stream to the mint ended")
                }
                None => tracing::debug!(peer = %from.peer_id(), "a wallet's stream to the mint gave way to another"),
            }
        };
        runtime.spawn("mint/stream", serving).detach();
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The network.
    #[error(transparent)]
    Network(#[from] StartError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for NodeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Network(error) => error.fault(),
            Self::Wallet(error) => error.fault(),
            Self::Catalogue(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Network(error) => error.hint(),
            Self::Wallet(error) => error.hint(),
            Self::Catalogue(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}
