//! The first half of a hire: from a service's name to acceptable offers.

use std::time::Duration;

use cid::Cid;
use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Ask, Offer, choice},
    wire::{Asked, Message, Reason},
};
use serde_bytes::ByteBuf;
use tokio::{sync::mpsc, time::Instant};

use super::{
    Hire,
    error::{HireError, NoOffer},
    quiet::QuietSellers,
};
use crate::{
    catalogue::{Catalogue, Depth, Found, Listing, SearchError, Unfit, Wanted},
    events::{Event, Events, Money, Side},
    runtime::Runtime,
    trade::{
        TradeConfig,
        cheats::Cheats,
        hires::{Answer, HireSlot},
        limits::{MAX_ASKED, MAX_CANDIDATES, MIN_OFFER_WINDOW, RECENT_PATIENCE, SEARCH_AGAIN},
        outbox::Outbox,
        violation::{Penalties, Violation},
    },
};

/// What is looked for, and with what.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) config: &'a TradeConfig,
    pub(super) catalogue: &'a Catalogue,
    pub(super) cheats: &'a Cheats,
    pub(super) penalties: &'a Penalties,
    pub(super) outbox: &'a Outbox,
    pub(super) events: &'a Events,
    pub(super) quiet: &'a QuietSellers,
    pub(super) hire: &'a Hire,
    pub(super) ask: &'a Signed<Ask>,
    pub(super) slot: &'a HireSlot,
}

impl Search<'_> {
    /// How long to go on looking when nothing is found, in the settings' terms.
    fn patience(&self) -> Duration {
        let left = self.ask.body.deadline.since(self.runtime.now());
        Duration::from_secs(left.min(self.config.search_secs))
    }
}

/// Sellers found, asked and heard so far.
pub(super) struct Candidates<'a> {
    search: Search<'a>,
    inbox: mpsc::Receiver<Answer>,
    /// Asked and not yet heard.
    silent: Vec<AgentId>,
    offers: Vec<Signed<Offer>>,
    without: Vec<(AgentId, NoOffer)>,
    asked: usize,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(search: Search<'a>, inbox: mpsc::Receiver<Answer>) -> Self {
        Self { search, inbox, silent: Vec::new(), offers: Vec::new(), without: Vec::new(), asked: 0 }
    }

    /// Asks sellers as they are found. Over when all have answered, or a short while after the first offer.
    pub(super) async fn gather(mut self) -> Result<Vec<Signed<Offer>>, HireError> {
        let began = self.search.runtime.instant();
        let until = began + self.search.patience();
        match self.search.hire.seller {
            Some(seller) => self.gather_one(seller, until).await?,
            None => {
                // Of those known, all may be dead: they don't take the time that it takes to find others.
                let recent = until.min(began + RECENT_PATIENCE);
                let mut most = self.search.config.candidates.clamp(1, MAX_CANDIDATES);
                self.gather_many(recent, Depth::Recent, most).await?;
                // Where as many as were wanted are found and turn the hire away, there may be others: twice as many are asked, and so on.
                let mut more = true;
                while more && self.offers.is_empty() && self.search.runtime.instant() < until {
                    let before = self.asked;
                    self.gather_many(until, Depth::Whole, most).await?;
                    more = self.asked - before == most;
                    most = (2 * most).min(MAX_ASKED.saturating_sub(self.asked));
                    more &= most > 0;
                }
                let (longest, pause) = SEARCH_AGAIN;
                let again = until.min(began + longest);
                while self.has_found_nobody() && self.search.runtime.instant() < again {
                    self.pause(pause).await?;
                    self.gather_many(until, Depth::Whole, most.max(1)).await?;
                }
            }
        }
        self.note_quiet();
        if self.offers.is_empty() {
            let silent = self.silent.drain(..).map(|seller| (seller, NoOffer::Silent));
            self.without.extend(silent);
            return Err(if self.without.is_empty() { self.nobody() } else { HireError::NoOffer(self.without) });
        }
        Ok(self.offers)
    }

    /// Why nobody was found: those who are known to sell it may be the ones to be avoided.
    fn nobody(&self) -> HireError {
        let Search { hire, catalogue, .. } = self.search;
        let avoided = hire.avoid.iter().copied().filter(|seller| catalogue.is_known(*seller, &hire.service));
        match avoided.collect::<Vec<_>>() {
            avoided if avoided.is_empty() => HireError::NoSeller,
            avoided => HireError::OnlyAvoided(avoided),
        }
    }

    fn has_found_nobody(&self) -> bool {
        self.offers.is_empty() && self.silent.is_empty() && self.without.is_empty()
    }

    async fn pause(&self, pause: Duration) -> Result<(), HireError> {
        tokio::select! {
            biased;
            () = self.search.slot.called_off() => Err(HireError::Cancelled),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    async fn gather_one(&mut self, seller: AgentId, until: Instant) -> Result<(), HireError> {
        let catalogue = self.search.catalogue.clone();
        let (service, slot) = (self.search.hire.service.clone(), self.search.slot);
        let advert = tokio::select! {
            biased;
            () = slot.called_off() => return Err(HireError::Cancelled),
            advert = tokio::time::timeout_at(until, catalogue.advert_of(seller, &service)) => advert,
        };
        self.approach(advert.unwrap_or(Err(SearchError::Silent(seller)))?);
        self.hear(until).await
    }

    async fn hear(&mut self, until: Instant) -> Result<(), HireError> {
        while !self.silent.is_empty() {
            tokio::select! {
                biased;
                () = self.search.slot.called_off() => return Err(HireError::Cancelled),
                Some(answer) = self.inbox.recv() => self.take(answer).await,
                () = tokio::time::sleep_until(until) => return Ok(()),
            }
        }
        Ok(())
    }

    /// A search for sellers that fit, so many at most, but for those who were tried.
    fn find(&self, until: Instant, depth: Depth, limit: usize) -> mpsc::Receiver<Found> {
        let avoided = self.search.hire.avoid.iter().copied();
        let offered = self.offers.iter().map(Signed::issuer);
        let without = self.without.iter().map(|(seller, _)| *seller);
        let distrusted = self.search.cheats.distrusted(self.search.runtime.now());
        let wanted = Wanted {
            service: self.search.hire.service.clone(),
            ask: Some(self.search.ask.body.clone()),
            query: None,
            except: avoided
                .chain(self.silent.iter().copied())
                .chain(offered)
                .chain(without)
                .chain(distrusted)
                .collect(),
            limit,
            depth,
        };
        self.search.catalogue.search(wanted, until)
    }

    /// Asks so many more at most.
    async fn gather_many(&mut self, mut until: Instant, depth: Depth, more: usize) -> Result<(), HireError> {
        let mut found = self.find(until, depth, more);
        let began = self.search.runtime.instant();
        let (mut searching, mut open, most) = (true, true, self.asked + more);
        while searching || self.awaits_somebody() {
            let had_offer = !self.offers.is_empty();
            tokio::select! {
                biased;
                () = self.search.slot.called_off() => return Err(HireError::Cancelled),
                Some(answer) = self.inbox.recv() => self.take(answer).await,
                // Also once all were told who can be found: whoever advertises now is as good as they are.
                seller = found.recv(), if open && self.asked < most => match seller {
                    Some(Found::Seller(listing)) => {
                        self.asked += usize::from(self.approach(listing));
                        searching &= self.asked < most;
                    }
                    Some(Found::Unfit(seller, why)) => self.note_unfit(seller, why),
                    Some(Found::Searched) => searching = false,
                    None => (searching, open) = (false, false),
                },
                () = tokio::time::sleep_until(until) => return Ok(()),
            }
            if !had_offer && !self.offers.is_empty() {
                // The others get as long again as the first took: who never answers delays nobody for longer.
                let now = self.search.runtime.instant();
                let longest = self.search.config.offer_window();
                let window = now.saturating_duration_since(began).clamp(MIN_OFFER_WINDOW.min(longest), longest);
                until = until.min(now + window);
            }
        }
        Ok(())
    }

    /// Whether somebody was asked who is likely to answer yet. Who kept quiet the last time isn't waited for, once there
    /// is an offer.
    fn awaits_somebody(&self) -> bool {
        self.silent.iter().any(|seller| self.offers.is_empty() || !self.search.quiet.contains(*seller))
    }

    fn note_quiet(&self) {
        let now = self.search.runtime.instant();
        self.silent.iter().for_each(|seller| self.search.quiet.note(*seller, now));
    }

    /// Each seller is named once: two searches may both come upon it.
    fn note_unfit(&mut self, seller: AgentId, why: Unfit) {
        if !self.without.iter().any(|(known, _)| *known == seller) {
            self.without.push((seller, NoOffer::Unfit(why)));
        }
    }

    fn task(&self) -> Cid {
        self.search.ask.cid()
    }

    /// Asks a seller, if its advert fits. Says whether it did.
    fn approach(&mut self, listing: Listing) -> bool {
        let (task, seller) = (self.task(), listing.seller());
        self.search.events.emit(Event::SellerFound { task, seller });
        if let Err(why) = listing.fits(&self.search.ask.body) {
            self.note_unfit(seller, why);
            return false;
        }
        self.search.slot.expect(seller);
        self.silent.push(seller);
        let message = Message::from(Asked { ask: ByteBuf::from(self.search.ask.bytes()) });
        self.search.outbox.send(seller, &message);
        let service = self.search.hire.service.to_string();
        self.search.events.emit(Event::Asked { task, side: Side::Buyer, peer: seller, service });
        true
    }

    /// Takes a seller's answer. Only those come here that were asked, each once.
    async fn take(&mut self, Answer { from, what }: Answer) {
        self.silent.retain(|seller| *seller != from);
        self.search.quiet.forget(from);
        let (task, side) = (self.task(), Side::Buyer);
        match what {
            Ok(offers) => {
                let mut told = false;
                for offer in offers {
                    match choice::acceptable(self.search.ask, &offer, self.search.runtime.now()) {
                        Ok(()) => {
                            let price = Money { amount: offer.body.price, unit: offer.body.unit.to_string() };
                            if !std::mem::replace(&mut told, true) {
                                self.search.events.emit(Event::Offered { task, side, peer: from, price });
                            }
                            self.offers.push(offer);
                        }
                        Err(error) => {
                            self.search.penalties.punish(from, Violation::Offer(error)).await;
                            self.without.push((from, NoOffer::Offer(error)));
                        }
                    }
                }
            }
            Err(reason) => self.declined(from, reason),
        }
    }

    fn declined(&mut self, from: AgentId, why: Reason) {
        let (task, side, reason) = (self.task(), Side::Buyer, why.to_string());
        self.search.events.emit(Event::Declined { task, side, peer: from, reason });
        self.without.push((from, NoOffer::Declined(why)));
    }
}
