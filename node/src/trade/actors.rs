//! Gives every trade its actor, and posts mail to it.
//!
//! Each open trade has an actor, the only writer of its state. A trade that has ended gets an actor again for as long as it
//! takes to handle what came late; the bound on open trades doesn't count those, which live for one piece of mail.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    trade::{
        Deal,
        buyer::{self, Buyer},
        seller::{self, Seller},
    },
};
use tokio::sync::oneshot;

use super::{
    buying::{BuyerActor, Buying},
    hire::is_worked_on,
    mailbox::{BuyerMail, Cause, Mail, mailbox},
    open::{From, OpenTrade, OpenTrades, Posted, SideMailbox},
    permits::Permits,
    records::{BUYERS, DEALS, OPEN, SELLERS, StoredSide, TASKS, key},
    selling::{Places, SellerActor, Selling},
    unreleased::UnreleasedPlaces,
};
use crate::{
    network::Network,
    store::{KeyRange, Reader, StoreError},
};

/// Starts actors and posts to them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Actors {
    open: OpenTrades,
    network: Network,
    buying: Arc<Buying>,
    selling: Arc<Selling>,
}

/// A trade's state, as stored.
enum Stored {
    Buyer(Box<Buyer>),
    Seller(Box<Seller>),
}

impl Actors {
    pub(super) fn new(open: OpenTrades, network: Network, buying: Buying, selling: Selling) -> Self {
        Self { open, network, buying: Arc::new(buying), selling: Arc::new(selling) }
    }

    /// Gives every trade that isn't over its actor back.
    pub(super) fn resume(&self, permits: &Permits, unreleased: &UnreleasedPlaces) -> Result<(), StoreError> {
        let journal = &self.buying.journal;
        let open = journal.read(|r| r.range(OPEN, KeyRange::all(), usize::MAX))?;
        for (key, side) in open {
            let Some(deal) = journal.read(|r| r.get(DEALS, &key))? else { continue };
            let (deal, trade) = (Arc::new(deal.clone()), deal.id());
            match side {
                StoredSide::Buyer => {
                    let Some(state) = journal.read(|r| r.get(BUYERS, &key))? else { continue };
                    self.start_buyer(deal, (state, vec![]), None);
                    self.post(trade, Cause::Resume, buyer::Input::Resume.into());
                }
                StoredSide::Seller => {
                    let Some(state) = journal.read(|r| r.get(SELLERS, &key))? else { continue };
                    let service = self.selling.catalogue.service(&deal.award.args().service);
                    let service = service.and_then(|service| Some((permits.take_back(&service)?, service)));
                    let service = service.map(|(permit, service)| (service, permit));
                    let unreleased = deal.escrow().map(|_| unreleased.take_back(deal.buyer()));
                    self.start_seller(deal, (state, vec![]), Places { service, unreleased });
                    self.post(trade, Cause::Resume, seller::Input::Resume.into());
                }
            }
        }
        self.call_off_left_over()
    }

    /// Calls off what is hired for the sake of work that is over: a crash came between the end of the work and that.
    fn call_off_left_over(&self) -> Result<(), StoreError> {
        for trade in self.open.bought_from(None) {
            let is_left_over = self.buying.journal.read(|r| {
                let Some(deal) = r.get(DEALS, key(trade))? else { return Ok(false) };
                let under = r.get(TASKS, key(deal.award.args().ask))?.and_then(|record| record.under);
                under.map_or(Ok(false), |award| Ok(!is_worked_on(r, award)?))
            })?;
            if is_left_over {
                self.post(trade, Cause::Cancel, BuyerMail::Cancel.into());
            }
        }
        Ok(())
    }

    /// Starts the actor of a buyer's trade whose state is stored.
    pub(super) fn start_buyer(
        &self,
        deal: Arc<Deal>,
        step: (Buyer, Vec<buyer::Effect>),
        waiter: Option<oneshot::Sender<buyer::Ended>>,
    ) {
        self.open.open(deal.id(), || self.buyer(deal, step, waiter));
    }

    /// Starts the actor of a seller's trade whose state is stored.
    pub(super) fn start_seller(&self, deal: Arc<Deal>, step: (Seller, Vec<seller::Effect>), places: Places) {
        self.open.open(deal.id(), || self.seller(deal, step, places));
    }

    /// Posts what a peer says to the trade that it speaks of, if it is its own.
    pub(super) fn post_from(&self, peer: AgentId, trade: Cid, mail: Mail) -> Posted {
        self.deliver(From::Peer(peer), trade, mail)
    }

    /// Posts what happened in this node; false if there is no such trade. Waits for nobody.
    pub(super) fn post(&self, trade: Cid, cause: Cause, mail: Mail) -> bool {
        self.deliver(From::This(cause), trade, mail) == Posted::Yes
    }

    fn deliver(&self, from: From, trade: Cid, mail: Mail) -> Posted {
        if !self.open.is_open(trade) && matches!(self.has_record(trade, &mail), Ok(false)) {
            // No trade of ours. What strangers make up ends here, and holds up nobody.
            return Posted::Unknown;
        }
        self.open.post(from, trade, mail, |mail| self.revive(from, trade, mail))
    }

    fn revive(&self, from: From, trade: Cid, mail: &Mail) -> Result<OpenTrade, Posted> {
        let record = self.record(trade, mail).map_err(|error| {
            tracing::error!(%trade, %error, "a trade's record could not be read");
            Posted::Full
        })?;
        let (deal, state) = record.ok_or(Posted::Unknown)?;
        let peer = if matches!(state, Stored::Buyer(_)) { deal.seller() } else { deal.buyer() };
        if matches!(from, From::Peer(from) if from != peer) {
            return Err(Posted::Foreign);
        }
        let deal = Arc::new(deal);
        Ok(match state {
            Stored::Buyer(state) => self.buyer(deal, (*state, vec![]), None),
            Stored::Seller(state) => self.seller(deal, (*state, vec![]), Places::default()),
        })
    }

    fn has_record(&self, trade: Cid, mail: &Mail) -> Result<bool, StoreError> {
        let key = key(trade);
        self.buying.journal.read(|r| match mail {
            Mail::Buyer(_) => r.contains(BUYERS, &key),
            Mail::Seller(_) => r.contains(SELLERS, &key),
        })
    }

    /// What is stored of a trade, on the side that the mail is for.
    fn record(&self, trade: Cid, mail: &Mail) -> Result<Option<(Deal, Stored)>, StoreError> {
        let key = key(trade);
        self.buying.journal.read(|r| {
            let state = match mail {
                Mail::Buyer(_) => r.get(BUYERS, &key)?.map(|state| Stored::Buyer(Box::new(state))),
                Mail::Seller(_) => r.get(SELLERS, &key)?.map(|state| Stored::Seller(Box::new(state))),
            };
            Ok(r.get(DEALS, &key)?.zip(state))
        })
    }

    fn buyer(
        &self,
        deal: Arc<Deal>,
        (state, effects): (Buyer, Vec<buyer::Effect>),
        waiter: Option<oneshot::Sender<buyer::Ended>>,
    ) -> OpenTrade {
        let (peer, (mailbox, inbox)) = (deal.seller(), mailbox());
        let actor = BuyerActor::new(Arc::clone(&self.buying), deal, state, mailbox.clone(), waiter);
        self.buying.runtime.spawn("trade/buyer", actor.run(effects, inbox)).detach();
        OpenTrade::new(peer, SideMailbox::Buyer(mailbox), self.network.begin_dealing(peer))
    }

    fn seller(&self, deal: Arc<Deal>, (state, effects): (Seller, Vec<seller::Effect>), places: Places) -> OpenTrade {
        let (peer, (mailbox, inbox)) = (deal.buyer(), mailbox());
        let actor = SellerActor::new(Arc::clone(&self.selling), deal, state, mailbox.clone(), places);
        self.selling.runtime.spawn("trade/seller", actor.run(effects, inbox)).detach();
        OpenTrade::new(peer, SideMailbox::Seller(mailbox), self.network.begin_dealing(peer))
    }
}
