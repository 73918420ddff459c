//! What is on sale: our adverts out, others' adverts in, and the search for sellers.
//!
//! ```text
//!  operator ── add, remove ─▶ shelf ── signed advert ─▶ gossip topic of the service, Kademlia provider record
//!  peer ── Query ──────────▶ shelf ── Advertised
//!  gossip ─▶ intake (topic, signature, age, newest?) ─▶ cache ─▶ forwarded only if it was accepted
//!  find ─▶ cache, then Kademlia providers, then connected peers ─▶ Query ─▶ Advertised ─▶ cache ─▶ stream of listings
//! ```
//!
//! An advert is believed for what it says of its issuer's service and for nothing else: prices bind only in an offer.
//! Of each seller and service only the newest counts; a withdrawal puts an end to all that were made before it.
//!
//! **Bounded**: services, kept adverts (in number, per service and in bytes), withdrawals, topics and queries under way,
//! each in `catalogue/limits.rs`. Gossip is verified before it is forwarded, and its forwarder answers for it.
//!
//! **Cancel-safe**: dropping a search ends it. Adding and removing services are transactions.

mod cache;
mod intake;
mod limits;
mod listing;
mod search;
mod shelf;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    market::ServiceName,
};
use tokio::sync::{Semaphore, mpsc};

pub(crate) use self::intake::BadAnswer;
use self::{
    cache::Cache,
    search::{Followed, Queries},
    shelf::Shelf,
};
pub use self::{
    limits::MAX_ADVERTS,
    listing::{InputError, Listing},
    search::{Depth, SearchError},
};
use crate::{
    events::Events,
    executor::{Executors, Service, definition::DefinitionError},
    network::{AnnounceError, Gossip, Network},
    runtime::Runtime,
    store::{Store, StoreError},
    sync::lock,
    wallet::Wallet,
};

/// What the catalogue is built from.
#[derive(Debug)]
pub struct CatalogueParts {
    /// Signs our adverts.
    pub key: AgentKey,
    /// The node's runtime.
    pub runtime: Runtime,
    /// Keeps the definitions of our services.
    pub store: Store,
    /// The network.
    pub network: Network,
    /// Its gossip, which this room judges.
    pub gossip: mpsc::Receiver<Gossip>,
    /// Knows at which mints we can be paid.
    pub wallet: Wallet,
    /// Builds the executors of our services.
    pub executors: Executors,
    /// Told what comes and goes.
    pub events: Events,
}

/// The handle of the catalogue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalogue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: AgentKey,
    runtime: Runtime,
    store: Store,
    network: Network,
    wallet: Wallet,
    executors: Executors,
    events: Events,
    shelf: Shelf,
    cache: Mutex<Cache>,
    queries: Queries,
    query_places: Arc<Semaphore>,
    followed: Mutex<BTreeMap<ServiceName, Followed>>,
}

impl Catalogue {
    /// Opens the catalogue: the services that were added before are on sale again.
    ///
    /// # Errors
    /// If the store can't be read. A service that can't be made ready is left out with a warning.
    pub async fn start(parts: CatalogueParts) -> Result<Self, CatalogueError> {
        let CatalogueParts { key, runtime, store, network, gossip, wallet, executors, events } = parts;
        let catalogue = Self(Arc::new(Inner {
            key,
            runtime: runtime.clone(),
            store,
            network,
            wallet,
            executors,
            events,
            shelf: Shelf::default(),
            cache: Mutex::default(),
            queries: Queries::default(),
            query_places: Arc::new(Semaphore::new(limits::MAX_QUERIES)),
            followed: Mutex::default(),
        }));
        catalogue.restore_services().await?;
        let (renewing, judging) = (catalogue.clone(), catalogue.clone());
        runtime.spawn("catalogue/renew", async move { renewing.keep_renewing().await }).detach();
        runtime.spawn("catalogue/gossip", async move { judging.judge(gossip).await }).detach();
        Ok(catalogue)
    }

    /// Our service of that name, ready to work.
    pub fn service(&self, name: &ServiceName) -> Option<Service> {
        self.0.shelf.service(name)
    }

    /// Our services, in the order of their names.
    pub fn services(&self) -> Vec<Service> {
        self.0.shelf.services()
    }

    /// How many adverts of others are kept.
    pub fn known(&self) -> usize {
        lock(&self.0.cache).len()
    }

    /// This node.
    fn local(&self) -> AgentId {
        self.0.network.local()
    }
}

/// Why something can't be put on sale, or taken off.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The definition doesn't hold.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// It makes no valid advert.
    #[error("the service can't be advertised: {0}")]
    Advert(#[from] guilder_protocol::envelope::EnvelopeError),
    /// Too many.
    #[error("this node offers {0} services already, which is the limit")]
    Full(usize),
    /// There is none of that name.
    #[error("this node offers no service {0}")]
    Unknown(ServiceName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network wouldn't announce it.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
}

impl AtFault for CatalogueError {
    fn fault(&self) -> Fault {
        match self {
            Self::Definition(_) | Self::Advert(_) | Self::Full(_) | Self::Unknown(_) => Fault::Ours,
            Self::Store(error) => error.fault(),
            Self::Announce(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full(_) => Some("remove one first: `guilder service remove NAME`"),
            Self::Unknown(_) => Some("`guilder service list` shows what this node offers"),
            Self::Store(error) => error.hint(),
            Self::Announce(error) => error.hint(),
            Self::Definition(_) | Self::Advert(_) => None,
        }
    }
}
