//! The search for sellers: what we know already, then the providers that Kademlia finds, each asked for its advert, then the
//! peers that are connected, then whoever advertises while the search lasts.
//!
//! Adverts cost their makers nothing, and keys can be ground. So which of the known sellers come first is never decided by
//! their keys: half of the places are for those that we have dealt with or are connected to, half are drawn at random, and a
//! seller whose advert doesn't fit the ask takes none. Whoever fills the cache, or sits next to a service's key in Kademlia,
//! hides nobody who is connected.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures::{StreamExt, stream::FuturesUnordered};
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    market::{AskBody, ServiceName},
    wire::{Advertised, Message, NotAdvertised, Query},
};
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot},
    time::Instant,
};

use super::{
    Listing, Unfit,
    intake::{BadAnswer, Intake},
    limits::{MAX_ASKED_AROUND, MAX_FOUND, MAX_QUERIES, MAX_UNFIT, QUERY_TIMEOUT},
    topics::Topics,
};
use crate::{
    network::{Network, SendError, Walk},
    runtime::Runtime,
    sync::lock,
};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The service.
    pub service: ServiceName,
    /// What the seller must be fit for; whatever its advert says, if none.
    pub ask: Option<AskBody>,
    /// Sellers that are known to the caller already.
    pub except: BTreeSet<AgentId>,
    /// How many sellers are wanted at the most; [`MAX_FOUND`] bounds it.
    pub limit: usize,
    /// How far to search.
    pub depth: Depth,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is known, if Kademlia was searched a short while ago; else what it finds quickly.
    Recent,
    /// What is known, what Kademlia finds, and if those are too few, who is connected.
    Whole,
}

/// What a search comes upon.
#[derive(Clone, Debug)]
pub enum Found {
    /// A seller that fits.
    Seller(Listing),
    /// A seller that doesn't, and why; only the first few are told.
    Unfit(AgentId, Unfit),
    /// All have been told who can be found now. What follows has only then been advertised.
    Searched,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Search {
    network: Network,
    runtime: Runtime,
    intake: Arc<Intake>,
    topics: Arc<Topics>,
    queries: Queries,
    places: Semaphore,
}

/// Queries under way: who was asked for what, and who waits for the answer.
#[derive(Debug, Default)]
struct Queries(Mutex<BTreeMap<(AgentId, ServiceName), Vec<Waiter>>>);

/// Waits for a seller's advert, or for the word that it has none.
type Waiter = oneshot::Sender<Option<Listing>>;

/// One search under way.
struct Run<'a> {
    search: &'a Search,
    wanted: Wanted,
    found: mpsc::Sender<Found>,
    /// Whom the caller knows of, or who is being asked.
    known: BTreeSet<AgentId>,
    /// How many sellers were told.
    told: usize,
    unfit: usize,
}

/// The search is over: nobody wants its results any more, or there are enough of them.
struct Over;

impl Search {
    pub(super) fn new(network: Network, runtime: Runtime, intake: Arc<Intake>, topics: Arc<Topics>) -> Self {
        let places = Semaphore::new(MAX_QUERIES);
        Self { network, runtime, intake, topics, queries: Queries::default(), places }
    }

    /// See [`Catalogue::search`](super::Catalogue::search).
    pub(super) fn begin(self: &Arc<Self>, mut wanted: Wanted, deadline: Instant) -> mpsc::Receiver<Found> {
        wanted.limit = wanted.limit.clamp(1, MAX_FOUND);
        let (found, receiver) = mpsc::channel(wanted.limit + MAX_UNFIT + 1);
        let search = Arc::clone(self);
        let gone = found.clone();
        let searching = async move {
            let known = wanted.except.clone();
            let mut run = Run { search: &search, wanted, found, known, told: 0, unfit: 0 };
            tokio::select! {
                biased;
                () = gone.closed() => {}
                _ = run.run() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        };
        self.runtime.spawn("catalogue/find", searching).detach();
        receiver
    }

    /// The seller's advert of the service: the one we have, or the one it shows us now.
    pub(super) async fn advert_of(&self, seller: AgentId, service: &ServiceName) -> Result<Listing, SearchError> {
        match self.intake.get(service, seller) {
            Some(listing) => Ok(listing),
            None => self.query(seller, service).await,
        }
    }

    async fn query(&self, seller: AgentId, service: &ServiceName) -> Result<Listing, SearchError> {
        let _place = self.places.acquire().await.map_err(|_| SearchError::Silent(seller))?;
        let (tell, told) = oneshot::channel();
        lock(&self.queries.0).entry((seller, service.clone())).or_default().push(tell);
        let asking = async {
            let frame = Message::from(Query { service: service.clone(), schema: None }).encode().unwrap_or_default();
            self.network.send(seller, frame.into()).await?;
            match told.await {
                Ok(Some(listing)) => Ok(listing),
                Ok(None) => Err(SearchError::NotOffered { seller, service: service.clone() }),
                Err(_) => Err(SearchError::Silent(seller)),
            }
        };
        let answer = tokio::time::timeout(QUERY_TIMEOUT, asking).await.unwrap_or(Err(SearchError::Silent(seller)));
        self.queries.forget_closed(seller, service);
        answer
    }

    /// Takes a seller's answer to our query.
    pub(super) fn advertised(&self, from: AgentId, message: &Advertised) -> Result<(), BadAnswer> {
        if !self.queries.waits_for(from) {
            return Err(BadAnswer::Unasked);
        }
        let advert = self.intake.take_answer(from, &message.advert)?;
        let service = advert.body.service.clone();
        let cached = self.intake.get(&service, from);
        // What the cache wouldn't keep (it has been withdrawn since) is what the seller says now all the same.
        self.queries.tell(from, &service, Some(cached.unwrap_or_else(|| Listing::new(advert))));
        Ok(())
    }

    /// Takes a seller's answer that it doesn't offer what we asked for.
    pub(super) fn not_advertised(&self, from: AgentId, message: &NotAdvertised) {
        self.queries.tell(from, &message.service, None);
    }

    /// Of these sellers, as many as are wanted: in turn one that we have dealt with or are connected to and any other, each
    /// drawn at random; as long as there are both.
    fn draw(&self, sellers: Vec<Listing>, wanted: usize) -> Vec<Listing> {
        let trusted = |listing: &Listing| {
            self.network.has_dealt_with(listing.seller()) || self.network.is_connected(listing.seller())
        };
        let (mut known, mut others): (Vec<_>, Vec<_>) = sellers.into_iter().partition(trusted);
        let mut drawn = Vec::new();
        while drawn.len() < wanted && !(known.is_empty() && others.is_empty()) {
            let turn =
                if drawn.len() % 2 == 0 && !known.is_empty() || others.is_empty() { &mut known } else { &mut others };
            let lot = u64::from_le_bytes(self.runtime.random()) % turn.len() as u64;
            drawn.push(turn.swap_remove(lot as usize));
        }
        drawn
    }
}

impl Run<'_> {
    async fn run(&mut self) -> Result<(), Over> {
        let (search, service) = (self.search, self.wanted.service.clone());
        search.topics.follow(&service).await;
        let mut live = search.intake.live();
        self.tell_known().await?;
        let recent = self.wanted.depth == Depth::Recent;
        if !(recent && self.told > 0 && search.topics.searched_lately(&service)) {
            let heard = self.ask_providers().await?;
            let enough = if recent { 1 } else { self.wanted.limit };
            if heard + if recent { self.told } else { 0 } < enough {
                self.ask_around().await?;
            }
        }
        self.found.send(Found::Searched).await.map_err(|_| Over)?;
        loop {
            match live.recv().await {
                Ok(listing) if listing.advert.body.service == service => self.tell_new(listing).await?,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Err(Over),
            }
        }
    }

    /// Tells of the sellers whose adverts we have.
    async fn tell_known(&mut self) -> Result<(), Over> {
        let mut fit = Vec::new();
        for listing in self.search.intake.of_service(&self.wanted.service) {
            if self.known.contains(&listing.seller()) || self.search.network.is_banned(listing.seller()) {
                continue;
            }
            match self.unfit(&listing) {
                None => fit.push(listing),
                Some(why) => self.tell_unfit(&listing, why).await?,
            }
        }
        for listing in self.search.draw(fit, self.wanted.limit) {
            self.known.insert(listing.seller());
            self.tell(listing).await?;
        }
        Ok(())
    }

    /// Notes a seller; false if it was noted before, or is banned.
    fn is_new(&mut self, seller: AgentId) -> bool {
        self.known.insert(seller) && !self.search.network.is_banned(seller)
    }

    /// Asks whom Kademlia names, as it names them. Returns how many of them fit.
    async fn ask_providers(&mut self) -> Result<usize, Over> {
        let (search, service) = (self.search, self.wanted.service.clone());
        let walk = if self.wanted.depth == Depth::Recent { Walk::Quick } else { Walk::Whole };
        let most = self.wanted.limit.saturating_add(self.known.len());
        let mut providers = search.network.find(&service, most, walk).await;
        let mut asked = FuturesUnordered::new();
        let (mut searching, mut fit) = (true, 0);
        while searching || !asked.is_empty() {
            tokio::select! {
                biased;
                Some(answer) = asked.next(), if !asked.is_empty() => {
                    let Ok(listing) = answer else { continue };
                    fit += usize::from(self.unfit(&listing).is_none());
                    self.tell_asked(listing).await?;
                }
                provider = providers.recv(), if searching => match provider {
                    Some(provider) if self.is_new(provider) => asked.push(search.query(provider, &service)),
                    Some(_) => {}
                    None => {
                        searching = false;
                        search.topics.note_search(&service);
                    }
                }
            }
        }
        Ok(fit)
    }

    /// Asks the peers that are connected, those first that have been for longest: whoever lies next to a service's key can
    /// hide its providers in Kademlia.
    async fn ask_around(&mut self) -> Result<(), Over> {
        let (search, service) = (self.search, self.wanted.service.clone());
        let mut peers = search.network.peers().await;
        peers.retain(|peer| self.known.insert(peer.agent));
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.connected_secs));
        let around = peers.iter().take(MAX_ASKED_AROUND);
        let mut asked: FuturesUnordered<_> = around.map(|peer| search.query(peer.agent, &service)).collect();
        while let Some(answer) = asked.next().await {
            if let Ok(listing) = answer {
                self.tell_asked(listing).await?;
            }
        }
        Ok(())
    }

    /// Tells of a seller that advertises now.
    async fn tell_new(&mut self, listing: Listing) -> Result<(), Over> {
        if self.is_new(listing.seller()) { self.tell_asked(listing).await } else { Ok(()) }
    }

    async fn tell_asked(&mut self, listing: Listing) -> Result<(), Over> {
        match self.unfit(&listing) {
            None => self.tell(listing).await,
            Some(why) => self.tell_unfit(&listing, why).await,
        }
    }

    async fn tell(&mut self, listing: Listing) -> Result<(), Over> {
        self.told += 1;
        self.found.send(Found::Seller(listing)).await.map_err(|_| Over)?;
        if self.told >= self.wanted.limit { Err(Over) } else { Ok(()) }
    }

    async fn tell_unfit(&mut self, listing: &Listing, why: Unfit) -> Result<(), Over> {
        self.unfit += 1;
        if self.unfit > MAX_UNFIT {
            return Ok(());
        }
        self.found.send(Found::Unfit(listing.seller(), why)).await.map_err(|_| Over)
    }

    fn unfit(&self, listing: &Listing) -> Option<Unfit> {
        self.wanted.ask.as_ref().and_then(|ask| listing.fits(ask).err())
    }
}

impl Queries {
    fn waits_for(&self, seller: AgentId) -> bool {
        lock(&self.0).keys().any(|(asked, _)| *asked == seller)
    }

    fn tell(&self, seller: AgentId, service: &ServiceName, answer: Option<Listing>) {
        let waiting = lock(&self.0).remove(&(seller, service.clone())).unwrap_or_default();
        for waiter in waiting {
            // One that has given up needs no answer.
            let _ = waiter.send(answer.clone());
        }
    }

    fn forget_closed(&self, seller: AgentId, service: &ServiceName) {
        let mut queries = lock(&self.0);
        if let Some(waiting) = queries.get_mut(&(seller, service.clone())) {
            waiting.retain(|waiter| !waiter.is_closed());
            if waiting.is_empty() {
                queries.remove(&(seller, service.clone()));
            }
        }
    }
}

/// Why a seller's advert isn't to be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SearchError {
    /// It can't be reached.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It doesn't answer.
    #[error("{} doesn't answer", .0.peer_id())]
    Silent(AgentId),
    /// It doesn't give the schema that its offer names.
    #[error("{} doesn't give the schema that its offer of {service} names", .seller.peer_id())]
    NoSchema {
        /// Who was asked.
        seller: AgentId,
        /// The service that is offered.
        service: ServiceName,
    },
    /// It doesn't offer the service.
    #[error("{} doesn't offer {service}", .seller.peer_id())]
    NotOffered {
        /// Who was asked.
        seller: AgentId,
        /// For what.
        service: ServiceName,
    },
}

impl AtFault for SearchError {
    fn fault(&self) -> Fault {
        match self {
            Self::Send(error) => error.fault(),
            Self::Silent(_) => Fault::Environment,
            Self::NotOffered { .. } => Fault::Incompatible,
            Self::NoSchema { .. } => Fault::Peer,
        }
    }
}
