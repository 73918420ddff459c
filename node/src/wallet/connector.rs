//! How wallets reach mints: one [`Connectors`] gives an [`Exchange`] for a mint's URL.
//!
//! ```text
//! wallet ─ MintClient ───────── Exchange ┬ Pool       p2p://mint/<peer id>, streams of /guilder/mint/1
//!          paths and JSON of    request  │ Web        https://…, http://127.0.0.1…
//!          the NUTs, checks     → reply  └ HostedMint our own mint, no stream at all
//! ```
//!
//! - An [`Exchange`] carries one request of the Cashu HTTP API (method, path, JSON body) to a mint and brings one
//!   reply (status, JSON body) back; [`frames`] are its form on a stream. What goes over it is exactly what the NUTs
//!   say of HTTP, so a mint behaves the same however it is reached.
//! - [`MintTrouble`] says of any call that failed what it means: down, slow, refused, lying, spent. Only a NUT error code
//!   is a mint's judgement; every other answer is silence.
//!
//! Everything is cancel-safe in this sense: a call that is dropped may or may not have reached the mint. What became of a
//! call that changes the mint's books is found out by the wallet's operations, and nowhere else.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    market::MintUrl,
};

mod client;
pub mod frames;
pub mod limits;
mod pool;
mod trouble;
mod web;
mod web6;

pub(super) use client::{Info, MintClient, ProofState, QuoteState};
pub use pool::{MintStream, Opener, Unreachable};
pub use trouble::MintTrouble;

use frames::{Reply, Request};

/// Where connectors come from. The simulator has its own.
pub trait Connectors: fmt::Debug + Send + Sync {
    /// The way to the mint at `url`; the same one each time, so that its streams are shared.
    ///
    /// # Errors
    /// If no mint can have this URL. Whether the mint is there shows when it is called.
    fn for_url(&self, url: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError>;
}

/// Carries one request to a mint and its reply back.
#[async_trait]
pub trait Exchange: fmt::Debug + Send + Sync {
    /// Sends `request`, waits for the reply. Dropping the future gives the reply up, not the request.
    ///
    /// # Errors
    /// If no reply came, or one that breaks the rules of the carrier. A refusal by the mint is a reply.
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError>;
}

/// Why a request to a mint got no usable reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The mint, or the way to it, is down.
    #[error("the mint can't be reached: {0}")]
    Unreachable(String),
    /// The connection broke before the whole reply was there. The mint may have acted on the request.
    #[error("the connection to the mint broke: {0}")]
    Lost(String),
    /// The reply broke the carrier's rules: a frame over its bound, text where JSON must be.
    #[error("the mint's reply is malformed: {0}")]
    Malformed(String),
}

/// Why there can be no connector for a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorError {
    /// The URL is none, well-formed as it looks.
    #[error("{0}: no mint can have this URL")]
    Url(MintUrl),
    /// Plain HTTP to another machine would show the money to everybody on the way.
    #[error("{0}: plain http is for mints on this machine")]
    Plain(MintUrl),
    /// With TLS, at an IPv6 address in place of a name.
    #[error("{0}: a mint with https can't be named by an IPv6 address")]
    Ipv6(MintUrl),
    /// Too many different mints are in use.
    #[error("more than {max} mints in use", max = limits::MAX_MINTS)]
    TooMany,
}

impl AtFault for ConnectorError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Url(_) => "check the mint's URL",
            Self::Plain(_) => "ask the mint's operator for its https or p2p address",
            Self::Ipv6(_) => "name the mint by its host's name",
            Self::TooMany => "remove mints that you no longer use",
        })
    }
}

/// The connectors of a real node.
pub struct NodeConnectors {
    opener: Arc<dyn Opener>,
    hosted: Option<(AgentId, Arc<dyn Exchange>)>,
    known: Mutex<BTreeMap<MintUrl, Arc<dyn Exchange>>>,
}

impl NodeConnectors {
    /// Reaches mints on other nodes through streams of `opener`.
    pub fn new(opener: Arc<dyn Opener>) -> Self {
        Self { opener, hosted: None, known: Mutex::default() }
    }

    /// Calls to the mint that the node `local` hosts itself go straight to it.
    #[must_use]
    pub fn hosting(mut self, local: AgentId, mint: Arc<dyn Exchange>) -> Self {
        self.hosted = Some((local, mint));
        self
    }

    fn connect(&self, url: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        if !url.is_known() {
            return Err(ConnectorError::Url(url.clone()));
        }
        Ok(match (url.peer(), &self.hosted) {
            (Some(peer), Some((local, mint))) if *local == peer => Arc::clone(mint),
            (Some(peer), _) => Arc::new(pool::Pool::new(peer, Arc::clone(&self.opener))),
            (None, _) => Arc::new(web::Web::new(url)?),
        })
    }
}

impl Connectors for NodeConnectors {
    fn for_url(&self, url: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = known.get(url) {
            return Ok(Arc::clone(connector));
        }
        if known.len() >= limits::MAX_MINTS {
            return Err(ConnectorError::TooMany);
        }
        let connector = self.connect(url)?;
        known.insert(url.clone(), Arc::clone(&connector));
        Ok(connector)
    }
}

impl fmt::Debug for NodeConnectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConnectors")
            .field("hosted", &self.hosted.as_ref().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}
