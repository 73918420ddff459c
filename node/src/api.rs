//! All that a node can do, as one typed façade; and its first face, a control API over loopback HTTP.
//!
//! ```text
//! command line ── client ── HTTP ── http ──┐
//! later faces ─────────────────────────────┴──▶ Api ──▶ the node's rooms
//! ```
//!
//! Faces add no logic: what a request means, what it defaults to and how a failure reads is decided here. What goes in and
//! out is a type of [`types`], the same at both ends. Every method is called on behalf of a [`Caller`].

pub mod access;
pub mod caller;
pub mod client;
mod duties;
mod endpoints;
pub mod error;
mod gate;
mod grants;
pub(crate) mod hooks;
pub(crate) mod http;
mod invitation;
mod market;
pub(crate) mod mcp;
pub mod memory;
mod money;
mod names;
mod swarm;
mod tasks;
pub mod types;

pub(crate) use tasks::moment;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use futures::{Stream, stream};
use guilder_protocol::time::Timestamp;
use tokio::{sync::watch, time::Instant};

use self::{
    caller::{Action, Caller},
    types::{ApiError, BootstrapPeer, DescribedEvent, Identity, NodeEvent, Peer, ReloadView, Snapshot, Status},
};
use crate::{
    events::{Event, Heard, Recalled},
    keys::{Home, SecretFile},
    network::{BootstrapInfo, Network},
    parts::Node,
    runtime::Job,
    sync::lock,
};

/// How many entries a listing has whose caller says no number.
pub(crate) const LISTED: usize = 20;

/// The façade. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Node,
    home: Home,
    began: Instant,
    mint_http: Option<String>,
    stop: watch::Sender<bool>,
    /// The secret file as it was at the start, if there was one.
    secret: Option<SecretFile>,
    /// What came of reading the settings again, the last time that it was done.
    reloaded: Mutex<Option<ReloadView>>,
}

impl Api {
    /// For a running node. `mint_http` is where its hosted mint is served over HTTP; `stop` is set when it is to stop.
    pub fn new(node: Node, home: Home, mint_http: Option<String>, stop: watch::Sender<bool>) -> Self {
        let began = node.runtime.instant();
        let secret = SecretFile::load(&home.secret()).ok();
        Self(Arc::new(Inner { node, home, began, mint_http, stop, secret, reloaded: Mutex::default() }))
    }

    fn node(&self) -> &Node {
        &self.0.node
    }

    /// The node's network, for what the daemon changes in it.
    pub(crate) fn network(&self) -> &Network {
        &self.node().network
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.node().runtime.now()
    }

    /// Tells what came of reading the settings again.
    pub(crate) fn note_reload(&self, view: ReloadView) {
        let ReloadView { applied, restart, error, .. } = view.clone();
        *lock(&self.0.reloaded) = Some(view);
        self.node().events.emit(match error {
            None => Event::Reloaded { applied: applied.join(", "), restart: restart.join(", ") },
            Some(reason) => Event::ReloadFailed { reason },
        });
    }

    /// Lets an action of high risk pass: the owner's, or one that the owner granted.
    async fn pass(&self, caller: &Caller, action: Action, terms: &impl serde::Serialize) -> Result<(), ApiError> {
        Ok(self.node().gate.pass(caller, action, terms).await?)
    }

    /// Refuses who may neither do this nor ask for it, before what it names is looked for. What is approved is the thing itself: its
    /// whole ID, with all that is decided where the request leaves it open.
    fn may_ask(&self, caller: &Caller, action: Action) -> Result<(), ApiError> {
        Ok(self.node().gate.may_ask(caller, action)?)
    }

    /// How the node does.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub async fn status(&self, caller: &Caller) -> Result<Status, ApiError> {
        let node = self.node();
        let Identity { peer_id, did } = self.id(caller)?;
        let listen = node.network.listen_addrs().await;
        // Every coin is read for it.
        let (api, asking) = (self.clone(), caller.clone());
        let balances = node.runtime.offload(Job::Disk, move || api.balances(&asking)).await?;
        let hosted = node.mint_url().map(|url| url.to_string());
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            did,
            home: self.0.home.dir().display().to_string(),
            uptime_secs: self.0.began.elapsed().as_secs(),
            listen: listen.iter().map(|address| format!("{address}/p2p/{peer_id}")).collect(),
            peers: node.network.peers().await.len() as u64,
            bootstrap: node.network.bootstraps().await.into_iter().map(BootstrapPeer::from).collect(),
            services: node.catalogue.services().len() as u64,
            open_tasks: node.trade.open_count() as u64,
            hosted_mint: hosted.into_iter().chain(self.0.mint_http.clone()).collect(),
            mint_books: match &node.mint {
                Some(mint) => mint.totals().await?,
                None => Vec::new(),
            },
            balances,
            clock: node.trade.clock_doubt().map(|doubt| doubt.to_string()),
            reloaded: lock(&self.0.reloaded).clone(),
            peer_id,
        })
    }

    /// Who the node is.
    ///
    /// # Errors
    /// If the caller may not.
    pub fn id(&self, caller: &Caller) -> Result<Identity, ApiError> {
        caller.may(Action::Look)?;
        let id = self.node().id();
        Ok(Identity { peer_id: id.peer_id(), did: id.to_string() })
    }

    /// The connected peers.
    ///
    /// # Errors
    /// If the caller may not.
    pub async fn peers(&self, caller: &Caller) -> Result<Vec<Peer>, ApiError> {
        caller.may(Action::Look)?;
        let peers = self.node().network.peers().await;
        let view = |peer: crate::network::PeerInfo| Peer {
            peer_id: peer.agent.peer_id(),
            addresses: peer.addresses.iter().map(ToString::to_string).collect(),
            software: peer.software,
            round_trip_us: peer.round_trip_us,
            connected_secs: peer.connected_secs,
        };
        Ok(peers.into_iter().map(view).collect())
    }

    /// Connects to a peer.
    ///
    /// # Errors
    /// If the caller may not, the address is none, or nobody answers there.
    pub async fn dial(&self, caller: &Caller, address: &str) -> Result<(), ApiError> {
        caller.may(Action::Dial)?;
        let parsed = address.parse().map_err(|error| {
            ApiError::misuse(
                format!("{address}: {error}"),
                "an address looks like /ip4/192.0.2.7/tcp/4848/p2p/12D3Koo…",
            )
        })?;
        self.node().network.dial(parsed).await?;
        Ok(())
    }

    /// Everything that is kept of what came after the event of a number, then what happens, each with a sentence for people. Where
    /// something is no longer kept, the listener hears that.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub async fn events_after(
        &self,
        caller: &Caller,
        heard: u64,
    ) -> Result<impl Stream<Item = Result<NodeEvent, ApiError>> + Send + 'static, ApiError> {
        caller.may(Action::Look)?;
        let following = self.node().journal.follow(heard).await?;
        Ok(stream::try_unfold(following, |mut following| async {
            let told = match following.next().await? {
                Some(Recalled::Event(event)) => NodeEvent::Event(Box::new(DescribedEvent::from(&*event))),
                Some(Recalled::Gap { until }) => NodeEvent::Gap { until },
                None => return Ok(None),
            };
            Ok::<_, ApiError>(Some((told, following)))
        }))
    }

    /// Everything that happens from now on, each event with a sentence for people. A listener that is too slow misses
    /// some; it hears how many.
    ///
    /// # Errors
    /// If the caller may not.
    pub fn events(&self, caller: &Caller) -> Result<impl Stream<Item = NodeEvent> + Send + 'static, ApiError> {
        caller.may(Action::Look)?;
        let subscription = self.node().events.subscribe();
        Ok(stream::unfold(subscription, |mut subscription| async {
            let told = match subscription.next().await? {
                Heard::Event(event) => NodeEvent::Event(Box::new(DescribedEvent::from(&*event))),
                Heard::Missed(missed) => NodeEvent::Missed { missed },
            };
            Some((told, subscription))
        }))
    }

    /// Copies the store and the hosted mint's books, each as it is at one instant, into a folder of the home.
    ///
    /// # Errors
    /// If the caller may not, or the disk fails.
    pub async fn snapshot(&self, caller: &Caller) -> Result<Snapshot, ApiError> {
        self.pass(caller, Action::Backup, &()).await?;
        let node = self.node();
        let folder = self.0.home.snapshots().join(hex::encode(node.runtime.random::<8>()));
        let made = match self.copy_into(&folder).await {
            Ok(()) => Ok(Snapshot { folder: folder.display().to_string() }),
            Err(error) => Err(error),
        };
        if made.is_err() {
            let left = folder.clone();
            node.runtime.offload(Job::Disk, move || drop(std::fs::remove_dir_all(left))).await;
        }
        made
    }

    async fn copy_into(&self, folder: &Path) -> Result<(), ApiError> {
        let node = self.node();
        Home::at(self.0.home.snapshots()).create()?;
        Home::at(folder).create()?;
        // The store first: so the mint's books have every coin of its.
        let (store, path) = (node.store.clone(), Home::at(folder).store());
        node.runtime.offload(Job::Disk, move || store.snapshot_to(&path)).await?;
        node.memory.snapshot_to(Home::at(folder).memory()).await?;
        if let Some(mint) = &node.mint {
            mint.copy_books(folder).await?;
        }
        Ok(())
    }

    /// Stops the daemon.
    ///
    /// # Errors
    /// If the caller may not.
    pub async fn stop(&self, caller: &Caller) -> Result<(), ApiError> {
        self.pass(caller, Action::Stop, &()).await?;
        self.0.stop.send_replace(true);
        Ok(())
    }
}

impl From<BootstrapInfo> for BootstrapPeer {
    fn from(info: BootstrapInfo) -> Self {
        let BootstrapInfo { address, connected, error } = info;
        Self { address: address.to_string(), connected, error }
    }
}
