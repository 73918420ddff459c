//! The first half of a hire: from a service's name to acceptable offers.

use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Offer, choice},
    wire::{Asked, Message, Reason},
};
use serde_bytes::ByteBuf;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{HireError, Hiring, error::NoOffer, search_time};
use crate::{
    catalogue::{Depth, InputError, Listing, SearchError},
    events::{Event, Money, Side},
    sync::lock,
    trade::{
        desk::{Answer, Desk},
        limits::{MAX_CANDIDATES, MAX_QUIET_SELLERS},
        penalty::Misdeed,
    },
};

/// Sellers found, asked and heard so far.
pub(super) struct Candidates<'a> {
    hiring: &'a mut Hiring,
    inbox: mpsc::Receiver<Answer>,
    cancel: watch::Receiver<bool>,
    /// Asked and not yet heard.
    silent: Vec<AgentId>,
    offers: Vec<Signed<Offer>>,
    without: Vec<(AgentId, NoOffer)>,
    most: usize,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(hiring: &'a mut Hiring, inbox: mpsc::Receiver<Answer>) -> Self {
        let most = hiring.request.candidates.unwrap_or(hiring.desk.config.candidates).clamp(1, MAX_CANDIDATES);
        let cancel = hiring.cancel.clone();
        Self { hiring, inbox, cancel, silent: Vec::new(), offers: Vec::new(), without: Vec::new(), most }
    }

    fn desk(&self) -> &Desk {
        &self.hiring.desk
    }

    /// Asks sellers as they are found. Over when all have answered, or a short while after the first offer.
    pub(super) async fn gather(mut self) -> Result<Vec<Signed<Offer>>, HireError> {
        let until = self.desk().runtime.instant() + search_time(self.desk(), self.hiring.request.deadline);
        match self.hiring.request.seller {
            Some(seller) => self.gather_one(seller, until).await?,
            None => {
                self.gather_many(until, Depth::Recent).await?;
                if self.offers.is_empty() && self.desk().runtime.instant() < until {
                    self.gather_many(until, Depth::Whole).await?;
                }
            }
        }
        self.note_quiet();
        if self.offers.is_empty() {
            let silent = self.silent.drain(..).map(|seller| (seller, NoOffer::Silent));
            self.without.extend(silent);
            return Err(if self.without.is_empty() { HireError::NoSeller } else { HireError::NoOffer(self.without) });
        }
        Ok(self.offers)
    }

    async fn gather_one(&mut self, seller: AgentId, until: Instant) -> Result<(), HireError> {
        let catalogue = self.desk().catalogue.clone();
        let service = self.hiring.request.service.clone();
        let advert = tokio::select! {
            biased;
            () = called_off(&mut self.cancel) => return Err(HireError::Cancelled),
            advert = tokio::time::timeout_at(until, catalogue.advert_of(seller, &service)) => advert,
        };
        self.approach(advert.unwrap_or(Err(SearchError::Silent(seller)))?).await?;
        self.hear(until).await
    }

    async fn hear(&mut self, until: Instant) -> Result<(), HireError> {
        while !self.silent.is_empty() {
            tokio::select! {
                biased;
                () = called_off(&mut self.cancel) => return Err(HireError::Cancelled),
                Some(answer) = self.inbox.recv() => self.take(answer).await,
                () = tokio::time::sleep_until(until) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn gather_many(&mut self, mut until: Instant, depth: Depth) -> Result<(), HireError> {
        let service = self.hiring.request.service.clone();
        // Those who were tried and made no offer come first again: as many more are wanted.
        let limit = self.most + self.silent.len() + self.without.len();
        let mut found = self.desk().catalogue.find_by(&service, limit, until, depth);
        let mut searching = true;
        while searching || self.awaits_somebody() {
            let had_offer = !self.offers.is_empty();
            tokio::select! {
                biased;
                () = called_off(&mut self.cancel) => return Err(HireError::Cancelled),
                Some(answer) = self.inbox.recv() => self.take(answer).await,
                listing = found.recv(), if searching => match listing {
                    Some(listing) if self.knows(listing.seller()) => {}
                    Some(listing) => {
                        self.approach(listing).await?;
                        searching = self.silent.len() + self.offers.len() < self.most;
                    }
                    None => searching = false,
                },
                () = tokio::time::sleep_until(until) => return Ok(()),
            }
            if !had_offer && !self.offers.is_empty() {
                until = until.min(self.desk().runtime.instant() + self.desk().config.offer_window());
            }
        }
        Ok(())
    }

    /// Whether somebody was asked who is likely to answer yet. Who kept quiet the last time isn't waited for, once there
    /// is an offer.
    fn awaits_somebody(&self) -> bool {
        let quiet = lock(&self.desk().quiet);
        self.silent.iter().any(|seller| self.offers.is_empty() || !quiet.contains_key(seller))
    }

    fn knows(&self, seller: AgentId) -> bool {
        self.silent.contains(&seller)
            || self.offers.iter().any(|offer| offer.issuer() == seller)
            || self.without.iter().any(|(without, _)| *without == seller)
    }

    fn note_quiet(&self) {
        let now = self.desk().runtime.instant();
        let mut quiet = lock(&self.desk().quiet);
        for seller in &self.silent {
            quiet.insert(*seller, now);
            if quiet.len() > MAX_QUIET_SELLERS {
                // The one asked longest ago goes: it may be back by now.
                let oldest = quiet.iter().min_by_key(|(_, at)| **at).map(|(seller, _)| *seller);
                oldest.and_then(|oldest| quiet.remove(&oldest));
            }
        }
    }

    /// Asks a seller, if its advert fits.
    async fn approach(&mut self, listing: Listing) -> Result<(), HireError> {
        let (task, seller) = (self.hiring.task(), listing.seller());
        self.desk().events.emit(Event::SellerFound { task, seller });
        if let Err(why) = self.fits(&listing).await? {
            self.without.push((seller, why));
            return Ok(());
        }
        if let Some(slot) = lock(&self.desk().hires).get_mut(&task) {
            slot.asked.insert(seller);
        }
        self.silent.push(seller);
        let message = Message::from(Asked { ask: ByteBuf::from(self.hiring.ask.bytes()) });
        self.desk().outbox.send(seller, &message);
        let service = self.hiring.request.service.to_string();
        self.desk().events.emit(Event::Asked { task, side: Side::Buyer, peer: seller, service });
        Ok(())
    }

    async fn fits(&self, listing: &Listing) -> Result<Result<(), NoOffer>, HireError> {
        let (theirs, ours) = (&listing.advert.body, &self.hiring.ask.body);
        if listing.seller() == self.desk().me() {
            return Ok(Err(NoOffer::Unfit("this node itself")));
        }
        if theirs.unit != ours.unit {
            return Ok(Err(NoOffer::Unfit("it sells in another unit")));
        }
        if theirs.price > ours.max_price {
            return Ok(Err(NoOffer::Unfit("its price is over the limit")));
        }
        if !theirs.mints.iter().any(|mint| ours.mints.contains(mint)) {
            return Ok(Err(NoOffer::Unfit("it takes money of no mint that we can pay from")));
        }
        if !theirs.modes.iter().any(|mode| ours.modes.contains(mode)) {
            return Ok(Err(NoOffer::Unfit("it wants to be paid in a way that we can't")));
        }
        let checked = listing.check_input(&self.hiring.request.input, &self.desk().content, &self.desk().runtime);
        Ok(checked.await?.map_err(|error: InputError| NoOffer::Input(error)))
    }

    /// Takes a seller's answer. Only those come here that were asked, each once.
    async fn take(&mut self, Answer { from, what }: Answer) {
        self.silent.retain(|seller| *seller != from);
        lock(&self.desk().quiet).remove(&from);
        let (task, side) = (self.hiring.task(), Side::Buyer);
        match what {
            Ok(offer) => match choice::acceptable(&self.hiring.ask, &offer, self.desk().runtime.now()) {
                Ok(()) => {
                    let price = Money { amount: offer.body.price, unit: offer.body.unit.to_string() };
                    self.desk().events.emit(Event::Offered { task, side, peer: from, price });
                    self.offers.push(offer);
                }
                Err(error) => {
                    self.desk().punish(from, Misdeed::Offer(error)).await;
                    self.without.push((from, NoOffer::Offer(error)));
                }
            },
            Err(reason) => self.declined(from, reason),
        }
    }

    fn declined(&mut self, from: AgentId, why: Reason) {
        let (task, side, reason) = (self.hiring.task(), Side::Buyer, why.to_string());
        self.desk().events.emit(Event::Declined { task, side, peer: from, reason });
        self.without.push((from, NoOffer::Declined(why)));
    }
}

/// Waits until the task is called off. Its slot at the desk holds the other end for as long as the hire lasts.
async fn called_off(cancel: &mut watch::Receiver<bool>) {
    let _ = cancel.wait_for(|cancelled| *cancelled).await;
}
