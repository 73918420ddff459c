//! The daemon: a node on a home folder, from start to clean stop.
//!
//! ```text
//! lock the home ─ ports free? ─ open store, content, mint ─ Node::start ─ API up, api.json written ─ ready
//!     … SIGHUP: settings read again …
//!     … until SIGINT, SIGTERM, `POST /v1/stop`, the store is seen to be damaged, or anything panics …
//! api.json removed ─ API closed ─ Node::stop ─ lock released with the process
//! ```
//!
//! Signals are obeyed from the first moment on.
//!
//! Ready means: listening, API up. It takes well under half a second, because whatever has to be recovered (swaps in
//! flight, open trades, mint keys) is recovered in the background.

mod accusations;
mod lock;
pub(crate) mod log;
mod monitor;
mod owner;
mod ports;
mod reload;

use std::{io, process, time::Duration};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
};
use serde::Serialize;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep},
};

pub(crate) use self::ports::try_listening;
use self::{
    lock::{Lock, LockError},
    ports::PortError,
    reload::{Reloaded, Reloading},
};
use crate::{
    api::{
        Api,
        access::{self, Access},
        caller::Caller,
        hooks, http,
        types::{MintView, ReloadView, Status},
    },
    config::{Config, ConfigError},
    content::{Content, ContentError},
    events::{Event, Events},
    executor::Executors,
    failpoint::{Failpoint, UnknownFault},
    http_server,
    keys::{Home, HomeError, Seeds, remove_unfinished},
    mint::{HostedMint, MintError},
    network::{StartError, transport},
    panics,
    parts::{Node, NodeError, Parts},
    runtime::{Limits, Runtime},
    store::{Backend, Place, Store, StoreError},
};

/// What a node says of itself once it is ready.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    /// How it does.
    #[serde(flatten)]
    pub status: Status,
    /// Whose ecash it accepts.
    pub mints: Vec<MintView>,
}

/// Runs a node on `home` until it is told to stop. Once it is ready, `tell` is called.
///
/// # Errors
/// If it can't start, or a part of it fails so that it can't go on.
pub async fn run(home: &Home, mut config: Config, seeds: Seeds, tell: impl FnOnce(&Ready)) -> Result<(), DaemonError> {
    let began = Instant::now();
    http_server::raise_descriptor_limit();
    let _lock = Lock::take(&home.lock())?;
    remove_unfinished(&home.secret())?;
    // Of a backup that was cut off.
    let _ = std::fs::remove_dir_all(home.snapshots());
    let mut signals = Signals::listen()?;
    let mut reloading = Reloading::new(home)?;
    config.network.listen = ports::usable(&config.network.listen)?;
    let events = Events::new();
    let runtime = Runtime::production(Limits::default());
    let started = tokio::select! {
        biased;
        reason = signals.next() => Err(reason),
        started = start(home, config, &seeds, &runtime, &events) => Ok(started?),
    };
    let node = match started {
        Ok(node) => node,
        Err(reason) => {
            events.emit(Event::Stopping { reason: format!("{reason} while starting") });
            runtime.shutdown().await;
            return Ok(());
        }
    };
    let outcome = serve(home, &node, &events, &mut signals, &mut reloading, began, tell).await;
    node.stop().await;
    outcome
}

/// Keeps daemons off a home for as long as the result lives.
///
/// # Errors
/// If one runs on it.
pub(crate) fn hold(home: &Home) -> Result<Lock, LockError> {
    Lock::take(&home.lock())
}

/// How long the API's answers under way, those that listen to events above all, may take to end. A moment is enough, but on a busy machine.
const PARTING: Duration = Duration::from_secs(3);

/// Runs the API of a started node until the node is to stop.
async fn serve(
    home: &Home,
    node: &Node,
    events: &Events,
    signals: &mut Signals,
    reloading: &mut Reloading,
    began: Instant,
    tell: impl FnOnce(&Ready),
) -> Result<(), DaemonError> {
    let runtime = &node.runtime;
    let served = serve_mint_http(node).await?;
    let (stop, stopping) = watch::channel(false);
    let api = Api::new(node.clone(), home.clone(), served, stop.clone());
    let said = api.clone();
    let listener = TcpListener::bind(node.config.api.listen).await;
    let listener = listener.map_err(|cause| DaemonError::Listen { what: "api.listen", cause })?;
    let address = listener.local_addr().map_err(|cause| DaemonError::Listen { what: "api.listen", cause })?;
    let token = hex::encode(runtime.random::<32>());
    let serving = {
        let (token, closing) = (token.clone(), stopping.clone());
        runtime.spawn("api", async move { http::serve(api, listener, &token, closing).await })
    };
    // What may fail comes before anybody is told where the node is.
    serve_monitor(node, &said).await?;
    serve_hooks(node).await?;
    runtime.spawn("accusations", accusations::keep(home.accusations(), node.clone())).detach();
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Before anybody can listen.
    events.emit(Event::Ready { took_ms });
    access::publish(&home.api(), &Access { address, token, pid: process::id() })?;
    let owner = Caller::owner();
    // A store that can't be read ends the node below, in its own words.
    if let (Ok(status), Ok(mints)) = (said.status(&owner).await, said.mints(&owner)) {
        tell(&Ready { status, mints });
    }
    let asked_to_stop = wait_for(stopping);
    tokio::pin!(asked_to_stop);
    let ended = loop {
        tokio::select! {
            biased;
            signal = signals.any() => match signal {
                Told::Stop(reason) => break Ok(reason),
                Told::Reload => reload(reloading, &said).await,
            },
            () = &mut asked_to_stop => break Ok("asked to over the API"),
            error = node.store.damaged() => break Err(DaemonError::Store(error)),
            panicked = runtime.panicked() => break Err(DaemonError::Panicked(panicked.to_string())),
            what = panics::escaped() => break Err(DaemonError::Panicked(what)),
        }
    };
    drop(said);
    // First of all: whoever looks from now on shall find no daemon.
    let _ = std::fs::remove_file(home.api());
    let reason = ended.as_ref().map_or_else(ToString::to_string, |reason| (*reason).to_owned());
    events.emit(Event::Stopping { reason });
    // Whoever listens has a moment to hear of it.
    stop.send_replace(true);
    let until = Instant::now() + PARTING;
    while !serving.is_finished() && Instant::now() < until {
        sleep(PARTING / 300).await;
    }
    drop(serving);
    ended.map(drop)
}

/// Reads the settings again, and says what came of it in log, events and status.
async fn reload(reloading: &mut Reloading, api: &Api) {
    let reloaded = reloading.reload(api.network()).await;
    let view = match reloaded {
        Ok(Reloaded { applied, restart }) => ReloadView { at: api.now(), applied, restart, error: None },
        Err(error) => {
            ReloadView { at: api.now(), applied: Vec::new(), restart: Vec::new(), error: Some(error.to_string()) }
        }
    };
    api.note_reload(view);
}

async fn start(
    home: &Home,
    config: Config,
    seeds: &Seeds,
    runtime: &Runtime,
    events: &Events,
) -> Result<Node, DaemonError> {
    let key = seeds.key();
    let failpoint = Failpoint::from_env(runtime)?;
    let disk = Backend::file(&home.store()).failing(failpoint.clone());
    let store = Store::with_backend(disk, runtime).await?;
    if let Some(owner) = owner::claim(&store, key.id()).await? {
        return Err(DaemonError::OtherOwner { owner, ours: key.id() });
    }
    let content = Content::open(home.content(), runtime.clone()).await?;
    let guard = std::env::current_exe().map_err(|cause| HomeError::io("find", "the guilder binary".as_ref(), cause))?;
    let executors = Executors::open(guard, home.work(), content.clone(), runtime.clone()).await;
    let executors = executors.map_err(|cause| HomeError::io("use", &home.work(), cause))?;
    let executors = executors.posting(home.posts());
    let mint = if config.mint.host {
        Home::at(home.mint()).create()?;
        let mint = HostedMint::open(&home.mint(), &config.mint, &seeds.mint[..], runtime).await?;
        let mint = mint.failing(failpoint.clone());
        mint.guard(&home.mint_used(), &home.mint_resume()).await?;
        runtime.spawn("mint/used", mint.clone().keep_guard(home.mint_used())).detach();
        Some(mint)
    } else {
        None
    };
    let node = Node::start(Parts {
        transport: transport::tcp_quic(&key)?,
        key,
        wallet_seed: seeds.wallet.clone(),
        lock_seed: seeds.locks.clone(),
        config,
        runtime: runtime.clone(),
        store,
        memory: Place::file(home.memory()),
        content,
        executors,
        mint,
        connectors: None,
        events: events.clone(),
        tap: None,
        failpoint,
    })
    .await?;
    Ok(node)
}

/// Serves the hosted mint over HTTP too, if the settings say so. Returns its URL.
async fn serve_mint_http(node: &Node) -> Result<Option<String>, DaemonError> {
    let (Some(mint), Some(address)) = (&node.mint, node.config.mint.http) else { return Ok(None) };
    let fail = |cause| DaemonError::Listen { what: "mint.http", cause };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let url = format!("http://{}", listener.local_addr().map_err(fail)?);
    let mint = mint.clone();
    let serving = async move { mint.http(listener).await };
    node.runtime.spawn("mint/http", serving).detach();
    Ok(Some(url))
}

/// Serves what a machine watches the node by, if the settings say where.
async fn serve_monitor(node: &Node, api: &Api) -> Result<(), DaemonError> {
    let Some(address) = node.config.monitor.listen else { return Ok(()) };
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|cause| DaemonError::Listen { what: "monitor.listen", cause })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!("health and metrics at http://{address}/healthz and /metrics");
    }
    let (api, store, events) = (api.clone(), node.store.clone(), node.events.clone());
    let serving = async move { monitor::serve(listener, api, store, &events).await };
    node.runtime.spawn("monitor", serving).detach();
    Ok(())
}

/// Takes webhooks, if the settings say where.
async fn serve_hooks(node: &Node) -> Result<(), DaemonError> {
    let Some(address) = node.config.hooks.listen else { return Ok(()) };
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|cause| DaemonError::Listen { what: "hooks.listen", cause })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!("webhooks at http://{address}/hooks/NAME");
    }
    let duties = node.duties.clone();
    node.runtime.spawn("hooks", async move { hooks::serve(listener, duties).await }).detach();
    Ok(())
}

async fn wait_for(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        // Nobody is left who could set it.
        std::future::pending::<()>().await;
    }
}

/// What a signal asks for.
enum Told {
    Stop(&'static str),
    Reload,
}

/// What ends a daemon from outside, or has it read its settings again.
struct Signals {
    /// Whether the node was started at a terminal.
    at_terminal: bool,
    hang_up: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, DaemonError> {
        let on = |kind| signal(kind).map_err(DaemonError::Signals);
        Ok(Self {
            at_terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            hang_up: on(SignalKind::hangup())?,
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// What the next signal asks for.
    async fn any(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            // A terminal that closes says so, too.
            _ = self.hang_up.recv() => if self.at_terminal { Told::Stop("SIGHUP") } else { Told::Reload },
        }
    }

    /// The next that asks to stop. While a node starts there is nothing to read again: it has just read it.
    async fn next(&mut self) -> &'static str {
        loop {
            if let Told::Stop(reason) = self.any().await {
                return reason;
            }
        }
    }
}

/// Why a daemon can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon has the home.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An address for peers.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The home folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of large inputs and outputs.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The hosted mint.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The transport.
    #[error(transparent)]
    Transport(#[from] StartError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The environment names a fault that there isn't.
    #[error("{}: {_0}", crate::failpoint::VARIABLE)]
    Failpoint(#[from] UnknownFault),
    /// The store is another node's.
    #[error("the store in this home is that of {}, and its keys are those of {}", .owner.peer_id(), .ours.peer_id())]
    OtherOwner {
        /// Who has used it.
        owner: AgentId,
        /// Who we are.
        ours: AgentId,
    },
    /// An address of ours.
    #[error("can't listen on the address of {what}: {cause}")]
    Listen {
        /// The setting.
        what: &'static str,
        /// Why not.
        cause: io::Error,
    },
    /// The system lets us hear no signals.
    #[error("can't listen for signals: {0}")]
    Signals(io::Error),
    /// A defect of ours: going on would be guessing.
    #[error("a part of the node failed: {0}")]
    Panicked(String),
}

impl AtFault for DaemonError {
    fn fault(&self) -> Fault {
        match self {
            Self::Lock(error) => error.fault(),
            Self::Port(error) => error.fault(),
            Self::Config(error) => error.fault(),
            Self::Home(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Content(error) => error.fault(),
            Self::Mint(error) => error.fault(),
            Self::Transport(error) => error.fault(),
            Self::Node(error) => error.fault(),
            Self::Listen { .. } | Self::Signals(_) => Fault::Environment,
            Self::Panicked(_) => Fault::Internal,
            Self::Failpoint(_) | Self::OtherOwner { .. } => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lock(error) => error.hint(),
            Self::Port(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Home(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Content(error) => error.hint(),
            Self::Mint(error) => error.hint(),
            Self::Transport(error) => error.hint(),
            Self::Node(error) => error.hint(),
            Self::Listen { .. } => Some("is another program on this port? change the setting in config.toml"),
            Self::OtherOwner { .. } => Some(
                "move secret.json away and give that node's phrase: `guilder init --restore`; or give this one a home of its own",
            ),
            Self::Failpoint(_) => Some("that variable is for crash tests: unset it"),
            Self::Signals(_) => None,
            Self::Panicked(_) => {
                Some("a defect of Guilder: please report it with the log; starting again resumes safely")
            }
        }
    }
}
