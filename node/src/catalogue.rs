//! What is on sale: our adverts out, others' adverts in, and the search for sellers.
//!
//! ```text
//!  operator ── add, remove ─▶ own services ── signed advert ─▶ gossip topic of the service, Kademlia provider record
//!  peer ── Query ──────────▶ own services ── Advertised, or Schema by its hash
//!  gossip ─▶ intake (topic, signature, age, newest?) ─▶ cache ─▶ forwarded only if it was accepted
//!  search ─▶ cache, then Kademlia providers, then connected peers ─▶ Query ─▶ Advertised ─▶ cache ─▶ stream of listings
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
mod own;
pub mod query;
mod schemas;
mod search;
mod topics;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures::StreamExt as _;
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    market::{AdvertBody, MintUrl, Offer, SchemaHash, ServiceName, Unit},
    wire::{Advertised, Message, NotAdvertised, Query, Schema},
};
use serde_bytes::ByteBuf;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

pub(crate) use self::intake::BadAnswer;
use self::query::{Pattern, Query as AdvertQuery};
use self::{intake::Intake, own::OwnServices, schemas::SellerSchemas, search::Search, topics::Topics};
pub use self::{
    limits::MAX_ADVERTS,
    listing::{InputError, Listing, PromiseError, Unfit},
    search::{Depth, Found, SearchError, Wanted},
};
use crate::{
    content::Data,
    events::Events,
    executor::{Definition, ExecError, Executors, Service, definition::DefinitionError, schema::SchemaError},
    network::{AnnounceError, Gossip, Network},
    runtime::Runtime,
    store::{Store, StoreError},
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
pub struct Catalogue {
    own: Arc<OwnServices>,
    intake: Arc<Intake>,
    search: Arc<Search>,
    schemas: Arc<SellerSchemas>,
}

impl Catalogue {
    /// Opens the catalogue: the services that were added before are on sale again.
    ///
    /// # Errors
    /// If the store can't be read. A service that can't be made ready is left out with a warning.
    pub async fn start(parts: CatalogueParts) -> Result<Self, CatalogueError> {
        let CatalogueParts { key, runtime, store, network, gossip, wallet, executors, events } = parts;
        let topics = Arc::new(Topics::new(network.clone(), runtime.clone()));
        let intake = Arc::new(Intake::new(network.clone(), runtime.clone(), events.clone()));
        let search = Search::new(network.clone(), runtime.clone(), Arc::clone(&intake), Arc::clone(&topics));
        let content = executors.content().clone();
        let schemas = Arc::new(SellerSchemas::new(network.clone(), runtime.clone(), content));
        let own = Arc::new(OwnServices {
            key,
            runtime: runtime.clone(),
            store,
            network,
            wallet,
            executors,
            events,
            topics,
            offered: Mutex::default(),
        });
        own.restore().await?;
        let catalogue = Self { own, intake, search: Arc::new(search), schemas };
        let (renewing, expiring) = (Arc::clone(&catalogue.own), Arc::clone(&catalogue.intake));
        let renew = async move {
            loop {
                renewing.renew().await;
                tokio::time::sleep_until(Instant::now() + limits::RENEW_EVERY).await;
                expiring.expire();
            }
        };
        runtime.spawn("catalogue/renew", renew).detach();
        let judging = Arc::clone(&catalogue.intake);
        runtime.spawn("catalogue/gossip", async move { judging.judge(gossip).await }).detach();
        Ok(catalogue)
    }

    /// Our service of that name, ready to work.
    pub fn service(&self, name: &ServiceName) -> Option<Service> {
        self.own.service(name)
    }

    /// Our services, in the order of their names.
    pub fn services(&self) -> Vec<Service> {
        self.own.services()
    }

    /// How many adverts of others are kept.
    pub fn known(&self) -> usize {
        self.intake.known()
    }

    /// What is known to be on sale: service, price and unit of each advert that holds, our own with them.
    pub fn prices(&self) -> Vec<(ServiceName, u64, Unit)> {
        let price = |advert: &AdvertBody| (advert.service.clone(), advert.price, advert.unit.clone());
        let others = self.intake.matching(&Pattern::any());
        let own = self.own.services().into_iter().map(|service| price(&self.would_advertise(&service)));
        others.iter().map(|listing| price(&listing.advert.body)).chain(own).collect()
    }

    /// Puts a service on sale, in place of one with the same name, and keeps it so across restarts.
    ///
    /// # Errors
    /// If it can't be made ready or advertised, or there are too many.
    pub async fn add(&self, definition: Definition) -> Result<(), CatalogueError> {
        self.own.add(definition).await
    }

    /// [`Self::add`] for a service that is ready, with whatever executor.
    ///
    /// # Errors
    /// If it can't be advertised, or there are too many.
    pub async fn add_service(&self, service: Service) -> Result<(), CatalogueError> {
        self.own.add_service(service).await
    }

    /// Takes a service off sale and says so. Trades that were awarded run on.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn remove(&self, name: &ServiceName) -> Result<(), CatalogueError> {
        self.own.remove(name).await
    }

    /// Says of every service that it can't be had until the node is back, and leaves that a moment to spread.
    pub async fn retire(&self) {
        if self.own.retire().await && !self.own.network.peers().await.is_empty() {
            tokio::time::sleep(limits::PARTING).await;
        }
    }

    /// Takes a service off sale if its work failed because its tool isn't the one that was put on sale.
    pub(crate) async fn note_failure(&self, service: &Service, error: &ExecError) {
        let ExecError::ToolChanged { .. } = error else { return };
        self.own.tool_changed(service, error.to_string()).await;
    }

    /// Advertises every service anew: after a change of the mints that we accept, and now and then. A service for which
    /// no mint is accepted isn't advertised.
    ///
    /// # Errors
    /// If an advert can't be announced.
    pub async fn refresh(&self) -> Result<(), CatalogueError> {
        self.own.refresh().await
    }

    /// The mints at which a service can be paid, in order of preference: those that its operator named for it, or all,
    /// as far as the wallet accepts them.
    pub fn mints_for(&self, service: &Service) -> Vec<MintUrl> {
        self.own.mints_for(service)
    }

    /// Searches for sellers: each at most once, never this node, as they are found. Known ones come first; then those that
    /// Kademlia finds, as they answer; then, if there are too few, those of the connected peers that sell it; after
    /// [`Found::Searched`], whoever advertises from now on. The channel closes when as many as wanted were found, and at
    /// `deadline` at the latest; dropping it ends the search.
    pub fn search(&self, wanted: Wanted, deadline: Instant) -> mpsc::Receiver<Found> {
        self.search.begin(wanted, deadline)
    }

    /// The sellers that can be found now and whose adverts fit, at most `limit`: those known first, at once, then others as they are found.
    /// The channel closes when the search is over, at `deadline` at the latest; dropping it ends the search.
    pub fn find(
        &self,
        pattern: &Pattern,
        query: AdvertQuery,
        limit: usize,
        deadline: Instant,
    ) -> mpsc::Receiver<Listing> {
        let limit = limit.clamp(1, limits::MAX_FOUND);
        let (tell, listings) = mpsc::channel(limit);
        let services = self.services_of(pattern);
        let searches = services.into_iter().map(|service| {
            let (ask, query, except) = (None, Some(query.clone()), BTreeSet::new());
            let wanted = Wanted { service, ask, query, except, limit, depth: Depth::Whole };
            ReceiverStream::new(self.search(wanted, deadline)).take_while(is_seller).boxed()
        });
        let mut found = futures::stream::select_all(searches).take(limit);
        let pass_on = async move {
            let all = async {
                while let Some(found) = found.next().await {
                    if let Found::Seller(listing) = found
                        && tell.send(listing).await.is_err()
                    {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = tell.closed() => {}
                () = all => {}
            }
        };
        self.own.runtime.spawn("catalogue/list", pass_on).detach();
        listings
    }

    /// What the advert of a service of ours says, or would if it were advertised now.
    pub(crate) fn would_advertise(&self, service: &Service) -> AdvertBody {
        self.own.advert_body(service, self.mints_for(service))
    }

    /// The services to search for: the one of a name, or those of a pattern that we know of, a bounded number of them.
    fn services_of(&self, pattern: &Pattern) -> Vec<ServiceName> {
        if let Pattern::Name(name) = pattern {
            return vec![name.clone()];
        }
        let mut sellers = BTreeMap::<ServiceName, usize>::new();
        for listing in self.intake.matching(pattern) {
            *sellers.entry(listing.advert.body.service.clone()).or_default() += 1;
        }
        for service in self.own.topics.looked_for() {
            if pattern.matches(&service) {
                sellers.entry(service).or_default();
            }
        }
        // Those that most sell, where there are more than are searched for.
        let mut services: Vec<_> = sellers.into_iter().collect();
        services.sort_by(|(one, ones), (other, others)| (others, one).cmp(&(ones, other)));
        services.into_iter().take(limits::MAX_MATCHED).map(|(service, _)| service).collect()
    }

    /// Whether an advert of this seller for this service is known, without asking anybody.
    pub(crate) fn is_known(&self, seller: AgentId, service: &ServiceName) -> bool {
        self.intake.get(service, seller).is_some()
    }

    /// The seller's advert of the service: the one we have, or the one it shows us now.
    ///
    /// # Errors
    /// If it can't be reached, doesn't answer, or doesn't offer the service.
    pub async fn advert_of(&self, seller: AgentId, service: &ServiceName) -> Result<Listing, SearchError> {
        self.search.advert_of(seller, service).await
    }

    /// What we answer to a [`Query`].
    pub(crate) fn answer(&self, query: &Query) -> Message {
        let service = query.service.clone();
        if let Some(hash) = query.schema {
            let text = self.own.schema(&service, hash);
            return Schema { service, hash, text }.into();
        }
        match self.own.advert(&query.service) {
            Some(advert) => Advertised { advert: ByteBuf::from(advert.bytes()) }.into(),
            None => NotAdvertised { service }.into(),
        }
    }

    /// Takes a seller's answer to our query.
    ///
    /// # Errors
    /// If it doesn't hold or nobody asked for it: the sender is at fault.
    pub(crate) fn advertised(&self, from: AgentId, message: &Advertised) -> Result<(), BadAnswer> {
        self.search.advertised(from, message)
    }

    /// Takes a seller's answer to our query for a schema.
    ///
    /// # Errors
    /// If nobody asked for it, or the text isn't the one of that hash: the sender is at fault.
    pub(crate) fn schema_given(&self, from: AgentId, given: Schema) -> Result<(), BadAnswer> {
        self.schemas.given(from, given)
    }

    /// Holds an input against the schema that a seller's offer names.
    ///
    /// # Errors
    /// Outermost: if the input can't be read. Then: if the seller doesn't give the schema. Innermost: why the seller wouldn't
    /// take the input.
    pub(crate) async fn check_input(
        &self,
        seller: AgentId,
        offer: &Offer,
        input: &Data,
    ) -> Result<Result<Result<(), InputError>, SearchError>, ExecError> {
        self.schemas.check_input(seller, offer, input).await
    }

    /// The text of the schema that a seller's offer promises of its output, fetched if it isn't kept; `None` if it promises
    /// nothing.
    ///
    /// # Errors
    /// If the seller doesn't give the schema, or it can't be used.
    pub(crate) async fn promised(&self, seller: AgentId, offer: &Offer) -> Result<Option<Arc<str>>, PromiseError> {
        self.schemas.promised(seller, offer).await
    }

    /// Holds an output against the text of the schema that was promised. Takes bounded time, off the async threads.
    ///
    /// # Errors
    /// Outer: if the output can't be read. Inner: if it doesn't satisfy the schema, or can't be held against it.
    pub(crate) async fn check_output(
        &self,
        schema: Arc<str>,
        output: &Data,
    ) -> Result<Result<(), SchemaError>, ExecError> {
        self.schemas.check_output(schema, output).await
    }

    /// The text of a schema of our own service, if it is still offered with it.
    pub(crate) fn own_schema(&self, service: &ServiceName, hash: SchemaHash) -> Option<String> {
        self.own.schema(service, hash)
    }

    /// Takes a seller's answer that it doesn't offer what we asked for.
    pub(crate) fn not_advertised(&self, from: AgentId, message: &NotAdvertised) {
        self.search.not_advertised(from, message);
    }
}

/// What comes until all have been told who can be found now.
fn is_seller(found: &Found) -> std::future::Ready<bool> {
    std::future::ready(!matches!(found, Found::Searched))
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
            Self::Definition(error) => error.hint(),
            Self::Advert(_) => None,
        }
    }
}
