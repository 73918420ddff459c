//! The search for sellers: what we know already, then the providers that Kademlia finds, each asked for its advert.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use futures::{StreamExt, stream::FuturesUnordered};
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    market::ServiceName,
    wire::{Advertised, Message, NotAdvertised, Query},
};
use serde_bytes::ByteBuf;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Catalogue, Listing,
    intake::BadAnswer,
    limits::{MAX_ASKED_AROUND, MAX_FOLLOWED, MAX_FOUND, QUERY_TIMEOUT, SEARCH_HOLDS},
};
use crate::{
    network::{SendError, Walk},
    sync::lock,
};

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is known, if Kademlia was searched a short while ago; else what it finds quickly.
    Recent,
    /// What is known and what Kademlia finds.
    Whole,
}

/// A topic that is followed because we looked for its service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    wanted: Instant,
    /// When a search in Kademlia was last over.
    searched: Option<Instant>,
}

/// Queries under way: who was asked for what, and who waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Queries(Mutex<BTreeMap<(AgentId, ServiceName), Vec<Waiter>>>);

/// Waits for a seller's advert, or for the word that it has none.
type Waiter = oneshot::Sender<Option<Listing>>;

impl Catalogue {
    /// Searches for sellers of a service: each at most once, never this node, as they are found, at most `limit`. Known
    /// ones come first; the rest as Kademlia finds them and they answer; if none does, who is connected is asked. The channel closes when the search is over, at
    /// `deadline` at the latest; dropping it ends the search.
    pub fn find(&self, service: &ServiceName, limit: usize, deadline: Instant) -> mpsc::Receiver<Listing> {
        self.find_by(service, limit, deadline, Depth::Whole)
    }

    /// As [`Self::find`]; [`Depth::Recent`] leaves Kademlia alone where it was asked a short while ago and found somebody.
    pub fn find_by(
        &self,
        service: &ServiceName,
        limit: usize,
        deadline: Instant,
        depth: Depth,
    ) -> mpsc::Receiver<Listing> {
        let limit = limit.clamp(1, MAX_FOUND);
        let (found, receiver) = mpsc::channel(limit);
        let (catalogue, service) = (self.clone(), service.clone());
        let search = async move {
            let search = catalogue.search(&service, limit, &found, depth);
            tokio::select! {
                biased;
                () = found.closed() => {}
                () = search => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        };
        self.0.runtime.spawn("catalogue/find", search).detach();
        receiver
    }

    async fn search(&self, service: &ServiceName, limit: usize, found: &mpsc::Sender<Listing>, depth: Depth) {
        self.follow(service).await;
        let mut told = BTreeSet::new();
        let known = lock(&self.0.cache).of_service(service, self.0.runtime.now());
        for listing in known.into_iter().take(limit) {
            told.insert(listing.seller());
            if found.send(listing).await.is_err() {
                return;
            }
        }
        if told.len() >= limit || depth == Depth::Recent && !told.is_empty() && self.searched_lately(service) {
            return;
        }
        let walk = if depth == Depth::Recent { Walk::Quick } else { Walk::Whole };
        let mut providers = self.0.network.find(service, limit.saturating_add(told.len()), walk).await;
        let mut asked = FuturesUnordered::new();
        let (mut searching, mut heard) = (true, !told.is_empty());
        while searching || !asked.is_empty() {
            tokio::select! {
                biased;
                Some(answer) = asked.next(), if !asked.is_empty() => {
                    let Ok(listing) = answer else { continue };
                    heard = true;
                    if found.send(listing).await.is_err() || told.len() >= limit && asked.is_empty() {
                        return;
                    }
                }
                provider = providers.recv(), if searching => match provider {
                    Some(provider) if told.len() < limit && told.insert(provider) => {
                        asked.push(self.query(provider, service));
                    }
                    Some(_) => {}
                    None => {
                        searching = false;
                        self.note_search(service);
                    }
                }
            }
        }
        if !heard {
            self.ask_around(service, limit, &told, found).await;
        }
    }

    /// Asks the peers that are connected, those first that have been for longest. For when nobody shows an advert whom
    /// Kademlia named: whoever lies next to a service's key, and keys can be ground, can hide its providers there.
    async fn ask_around(
        &self,
        service: &ServiceName,
        limit: usize,
        told: &BTreeSet<AgentId>,
        found: &mpsc::Sender<Listing>,
    ) {
        let mut peers = self.0.network.peers().await;
        peers.retain(|peer| !told.contains(&peer.agent));
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.connected_secs));
        let around = peers.iter().take(MAX_ASKED_AROUND);
        let mut asked: FuturesUnordered<_> = around.map(|peer| self.query(peer.agent, service)).collect();
        let mut left = limit;
        while let Some(answer) = asked.next().await {
            let Ok(listing) = answer else { continue };
            left -= 1;
            if found.send(listing).await.is_err() || left == 0 {
                return;
            }
        }
    }

    /// The seller's advert of the service: the one we have, or the one it shows us now.
    ///
    /// # Errors
    /// If it can't be reached, doesn't answer, or doesn't offer the service.
    pub async fn advert_of(&self, seller: AgentId, service: &ServiceName) -> Result<Listing, SearchError> {
        let known = lock(&self.0.cache).get(service, seller, self.0.runtime.now());
        match known {
            Some(listing) => Ok(listing),
            None => self.query(seller, service).await,
        }
    }

    async fn query(&self, seller: AgentId, service: &ServiceName) -> Result<Listing, SearchError> {
        let _place = self.0.query_places.acquire().await.map_err(|_| SearchError::Silent(seller))?;
        let (tell, told) = oneshot::channel();
        lock(&self.0.queries.0).entry((seller, service.clone())).or_default().push(tell);
        let asking = async {
            let frame = Message::from(Query { service: service.clone() }).encode().unwrap_or_default();
            self.0.network.send(seller, frame.into()).await?;
            match told.await {
                Ok(Some(listing)) => Ok(listing),
                Ok(None) => Err(SearchError::NotOffered { seller, service: service.clone() }),
                Err(_) => Err(SearchError::Silent(seller)),
            }
        };
        let answer = tokio::time::timeout(QUERY_TIMEOUT, asking).await.unwrap_or(Err(SearchError::Silent(seller)));
        self.0.queries.forget_closed(seller, service);
        answer
    }

    /// What we answer to a [`Query`].
    pub(crate) fn answer(&self, query: &Query) -> Message {
        match self.0.shelf.advert(&query.service) {
            Some(advert) => Advertised { advert: ByteBuf::from(advert.bytes()) }.into(),
            None => NotAdvertised { service: query.service.clone() }.into(),
        }
    }

    /// Takes a seller's answer to our query.
    ///
    /// # Errors
    /// If it doesn't hold or nobody asked for it: the sender is at fault.
    pub(crate) fn advertised(&self, from: AgentId, message: &Advertised) -> Result<(), BadAnswer> {
        if !self.0.queries.waits_for(from) {
            return Err(BadAnswer::Unasked);
        }
        let advert = self.take_answer(from, &message.advert)?;
        let service = advert.body.service.clone();
        let cached = lock(&self.0.cache).get(&service, from, self.0.runtime.now());
        // What the cache wouldn't keep (it has been withdrawn since) is what the seller says now all the same.
        self.0.queries.tell(from, &service, Some(cached.unwrap_or_else(|| Listing::new(advert))));
        Ok(())
    }

    /// Takes a seller's answer that it doesn't offer what we asked for.
    pub(crate) fn not_advertised(&self, from: AgentId, message: &NotAdvertised) {
        self.0.queries.tell(from, &message.service, None);
    }

    /// Whether Kademlia was searched for the service a short while ago. Sellers that have come since were heard by gossip.
    fn searched_lately(&self, service: &ServiceName) -> bool {
        let now = self.0.runtime.instant();
        let searched = lock(&self.0.followed).get(service).and_then(|followed| followed.searched);
        searched.is_some_and(|at| now.saturating_duration_since(at) < SEARCH_HOLDS)
    }

    fn note_search(&self, service: &ServiceName) {
        if let Some(followed) = lock(&self.0.followed).get_mut(service) {
            followed.searched = Some(self.0.runtime.instant());
        }
    }

    /// Follows the service's topic from now on, in place of the one that was looked for longest ago.
    async fn follow(&self, service: &ServiceName) {
        let now = self.0.runtime.instant();
        let given_up = {
            let mut followed = lock(&self.0.followed);
            if let Some(known) = followed.get_mut(service) {
                known.wanted = now;
                return;
            }
            followed.insert(service.clone(), Followed { wanted: now, searched: None });
            let others = followed.iter().filter(|(name, _)| *name != service);
            let oldest = others.min_by_key(|(name, followed)| (followed.wanted, *name)).map(|(name, _)| name.clone());
            let oldest = oldest.filter(|_| followed.len() > MAX_FOLLOWED);
            oldest.inspect(|name| _ = followed.remove(name))
        };
        if let Some(name) = given_up.filter(|name| self.0.shelf.advert(name).is_none()) {
            self.0.network.unsubscribe(&name).await;
        }
        if let Err(error) = self.0.network.subscribe(service).await {
            tracing::debug!(%service, %error, "topic not followed");
            lock(&self.0.followed).remove(service);
        }
    }

    /// Whether the topic is followed because we looked for the service.
    pub(super) fn follows(&self, service: &ServiceName) -> bool {
        lock(&self.0.followed).contains_key(service)
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
        }
    }
}
