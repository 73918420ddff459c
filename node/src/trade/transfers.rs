//! Inputs and outputs that go as content: fetched from the other side of a trade, and served to it.

use futures::future::BoxFuture;
use guilder_protocol::{content::ContentId, identity::AgentId, trade::Stored};
use tokio::sync::mpsc;

use super::{
    journal::Journal,
    records::{CONTENT, content_prefix},
};
use crate::{
    content::{Collector, Content, ContentError, Data, Pieces, Pin},
    network::{InboundStream, Network, StreamProtocol},
    runtime::Runtime,
    store::Reader,
};

/// Moves contents between the two sides of a trade. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Transfers {
    runtime: Runtime,
    network: Network,
    content: Content,
    journal: Journal,
}

impl Transfers {
    pub(super) fn new(runtime: Runtime, network: Network, content: Content, journal: Journal) -> Self {
        Self { runtime, network, content, journal }
    }

    /// Keeps a content from being collected until the pin is dropped.
    pub(super) fn pin(&self, id: ContentId) -> Pin {
        self.content.pin(id)
    }

    /// A content's bytes, piece by piece.
    pub(super) async fn pieces(&self, data: &Data) -> Result<Pieces, ContentError> {
        data.pieces(&self.content).await
    }

    /// What a record names.
    pub(super) fn data(&self, stored: Stored) -> Data {
        Data::from_stored(stored, &self.content)
    }

    /// Collects what is made piece by piece.
    pub(super) fn collector(&self, max_bytes: u64) -> Collector {
        Collector::new(self.content.clone(), max_bytes)
    }

    /// Fetches a content from a peer; goes on where an earlier attempt ended.
    pub(super) async fn fetch(&self, from: AgentId, id: ContentId, max_bytes: u64) -> Result<Pin, ContentError> {
        if self.content.contains(id).await? {
            return Ok(self.content.pin(id));
        }
        let stream = self.network.open(from, StreamProtocol::Content).await;
        let stream = stream.map_err(|error| ContentError::Broken(std::io::Error::other(error)))?;
        let fetched = self.content.fetch(stream, id, max_bytes).await;
        fetched.inspect_err(|error| {
            // No peer can help with that, but the operator can.
            if matches!(error, ContentError::DiskFull(_) | ContentError::Io { .. }) {
                tracing::warn!(%from, %id, %error, "a content could not be kept");
            }
        })
    }

    /// Serves contents to those whose trades name them, until the network is gone.
    pub(super) fn serve(self, mut streams: mpsc::Receiver<InboundStream>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(inbound) = streams.recv().await {
                let (from, transfers) = (inbound.from, self.clone());
                let serving = async move {
                    let allow = |peer, id: &ContentId| transfers.may_have(peer, *id);
                    match inbound.serve(|stream| transfers.content.serve(stream, from, allow)).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => tracing::debug!(%from, %error, "a transfer broke off"),
                        None => tracing::debug!(%from, "a transfer gave way to another"),
                    }
                };
                // The network bounds the streams, the content room the transfers.
                self.runtime.spawn("trade/serve", serving).detach();
            }
        })
    }

    /// Whether a trade with the peer names the content, as what we are to give.
    pub(super) fn may_have(&self, peer: AgentId, id: ContentId) -> bool {
        let named = |r: &crate::store::Read| Ok(!r.range(CONTENT, content_prefix(id, peer).range(), 1)?.is_empty());
        self.journal.read(named).unwrap_or_else(|error| {
            tracing::error!(%error, "a right to a content could not be looked up");
            false
        })
    }
}
