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
    wire::{Advertised, Message, NotAdvertised, Query as AdvertQuestion},
};
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot},
    time::Instant,
};

use super::{
    Listing, Unfit,
    intake::{BadAnswer, Intake},
    limits::{MAX_ASKED_AGAIN, MAX_ASKED_AROUND, MAX_FOUND, MAX_QUERIES, MAX_UNFIT, QUERY_TIMEOUT, RENEW_EVERY},
    query::Query,
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
    /// What the advert must say besides; others aren't told of at all.
    pub query: Option<Query>,
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
    /// Who they are.
    seen: BTreeSet<AgentId>,
    unfit: usize,
    /// Known sellers that are asked again: their advert is old, or they are to be reached.
    again: Vec<AgentId>,
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
            let mut run = Run {
                search: &search,
                wanted,
                found,
                known,
                told: 0,
                seen: BTreeSet::new(),
                unfit: 0,
                again: Vec::new(),
            };
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
            let frame =
                Message::from(AdvertQuestion { service: service.clone(), schema: None }).encode().unwrap_or_default();
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
        draw(sellers, wanted, trusted, || u64::from_le_bytes(self.runtime.random()))
    }
}

/// See [`Search::draw`]. `lot` is random.
fn draw<T>(sellers: Vec<T>, wanted: usize, is_known: impl Fn(&T) -> bool, mut lot: impl FnMut() -> u64) -> Vec<T> {
    let (mut known, mut others): (Vec<_>, Vec<_>) = sellers.into_iter().partition(is_known);
    let mut drawn = Vec::new();
    while drawn.len() < wanted && !(known.is_empty() && others.is_empty()) {
        let turn =
            if drawn.len() % 2 == 0 && !known.is_empty() || others.is_empty() { &mut known } else { &mut others };
        let lot = lot() % turn.len() as u64;
        drawn.push(turn.swap_remove(lot as usize));
    }
    drawn
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
            if !self.is_asked_for(&listing) {
                continue;
            }
            match self.unfit(&listing) {
                None => fit.push(listing),
                Some(why) => self.tell_unfit(&listing, why).await?,
            }
        }
        for listing in self.search.draw(fit, self.wanted.limit) {
            let seller = listing.seller();
            let is_unreached = self.wants_reachable() && !self.search.network.is_connected(seller);
            // Those beyond are asked if Kademlia names them.
            if is_unreached && self.again.len() >= MAX_ASKED_AGAIN {
                continue;
            }
            self.known.insert(seller);
            if is_unreached || self.wanted.query.is_some() && self.is_old(&listing) {
                self.again.push(seller);
            }
            if !is_unreached {
                self.tell(listing).await?;
            }
        }
        self.again.truncate(MAX_ASKED_AGAIN);
        Ok(())
    }

    /// Whether the seller should have renewed its advert since.
    fn is_old(&self, listing: &Listing) -> bool {
        self.search.runtime.now().since(listing.advert.iat) > 2 * RENEW_EVERY.as_secs()
    }

    fn wants_reachable(&self) -> bool {
        self.wanted.query.as_ref().is_some_and(|query| query.reachable)
    }

    /// Whether an advert says what is asked for.
    fn is_asked_for(&self, listing: &Listing) -> bool {
        self.wanted.query.as_ref().is_none_or(|query| query.fits(&listing.advert.body))
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
        for seller in std::mem::take(&mut self.again) {
            asked.push(search.query(seller, &service));
        }
        while searching || !asked.is_empty() {
            tokio::select! {
                biased;
                Some(answer) = asked.next(), if !asked.is_empty() => {
                    let listing = match answer {
                        Ok(listing) => listing,
                        Err(SearchError::NotOffered { seller, .. }) => {
                            search.intake.gone(&service, seller);
                            continue;
                        }
                        Err(_) => continue,
                    };
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
        if !self.is_asked_for(&listing) || self.seen.contains(&listing.seller()) {
            return Ok(());
        }
        match self.unfit(&listing) {
            None => self.tell(listing).await,
            Some(why) => self.tell_unfit(&listing, why).await,
        }
    }

    async fn tell(&mut self, listing: Listing) -> Result<(), Over> {
        self.told += 1;
        self.seen.insert(listing.seller());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence that looks random and is the same each time (SplitMix64).
    fn lots(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }

    /// So many different numbers below `of`.
    fn some(count: usize, of: usize, lot: &mut impl FnMut() -> u64) -> BTreeSet<usize> {
        let mut some = BTreeSet::new();
        while some.len() < count {
            some.insert((lot() % of as u64) as usize);
        }
        some
    }

    /// 1,000 sellers of one service that are alike; 400 buyers, each of which keeps the adverts of 512 of them and is connected to 64, and
    /// hires 50 times among 8 candidates. Half of the places are for those that it is connected to, so each buyer has its favourites;
    /// over all buyers every seller has its chance.
    #[test]
    fn the_least_asked_of_a_thousand_equal_sellers_is_asked_a_third_as_often_as_the_mean() {
        let mut lot = lots(13);
        let mut asked = vec![0_u64; 1_000];
        for _ in 0..400 {
            let kept = some(512, asked.len(), &mut lot);
            let connected = some(64, asked.len(), &mut lot);
            for _ in 0..50 {
                let sellers: Vec<usize> = kept.iter().copied().collect();
                for seller in draw(sellers, 8, |seller| connected.contains(seller), &mut lot) {
                    asked[seller] += 1;
                }
            }
        }
        let mean = asked.iter().sum::<u64>() / asked.len() as u64;
        let least = asked.iter().min().copied().unwrap_or_default();
        assert_eq!(mean, 160);
        assert!(3 * least >= mean, "the least was asked {least} times, the mean is {mean}");
    }

    #[test]
    fn half_of_the_places_are_for_those_that_are_known_and_half_are_drawn_among_the_others() {
        let drawn = draw((0..100).collect(), 10, |seller: &u32| *seller < 20, lots(7));
        assert_eq!(drawn.iter().filter(|seller| **seller < 20).count(), 5);
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 10);
        let few = draw((0..3).collect(), 10, |seller: &u32| *seller < 2, lots(7));
        assert_eq!(few.len(), 3, "as many as there are");
    }
}
