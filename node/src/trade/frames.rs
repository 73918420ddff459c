//! What comes in: one task per source, each of which hands everything on without waiting for any trade. Frames wait in a
//! [`FairQueue`], so that no peer is served at the cost of another.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Advert, Offer},
    trade::{buyer, seller},
    wire::{Advertised, Message, Offered, Unknown},
};
use tokio::sync::{broadcast, mpsc};

use super::{
    actors::Actors,
    asks::Asks,
    awards::Awards,
    buckets::{Buckets, Meter},
    clocks::PeerClocks,
    fair::{FairQueue, Next},
    hires::{Answer, Hires},
    journal::Journal,
    limits::FRAMES_PER_TURN,
    mailbox::{BuyerMail, Cause, Mail, SellerMail},
    open::{OpenTrades, Posted},
    outbox::Outbox,
    records::{BUYERS, key},
    violation::{Penalties, Violation},
};
use crate::{
    catalogue::Catalogue,
    events::Side,
    failpoint::Step,
    network::{Frame, Frames, PeerChange},
    runtime::Runtime,
    store::Reader,
    wallet::{MoneyOutcome, Wallet},
};

/// Hands on what comes in. It waits for no trade.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) wallet: Wallet,
    pub(super) catalogue: Catalogue,
    pub(super) asks: Asks,
    pub(super) awards: Awards,
    pub(super) hires: Hires,
    pub(super) open: OpenTrades,
    pub(super) actors: Actors,
    pub(super) buckets: Buckets,
    pub(super) penalties: Penalties,
    pub(super) outbox: Outbox,
    pub(super) clocks: PeerClocks,
}

impl Router {
    /// Takes trade frames until the network is gone.
    pub(super) async fn take_frames(self: Arc<Self>, mut frames: Frames) {
        let mut queue = FairQueue::new(self.runtime.instant());
        loop {
            // A few at a time: those who send faster than we decode would have us do nothing else.
            let mut decoded = 0;
            while decoded < FRAMES_PER_TURN
                && let Some(frame) = frames.try_recv()
            {
                self.queue(&mut queue, frame).await;
                decoded += 1;
            }
            if decoded == FRAMES_PER_TURN {
                // Nothing above has to wait for anything in a flood; other tasks have their turn all the same.
                tokio::task::yield_now().await;
            }
            let next = match queue.pop(self.runtime.instant()) {
                Next::Take(from, message) => {
                    self.take(from, *message).await;
                    continue;
                }
                Next::Empty => frames.recv().await,
                Next::Wait(until) => match tokio::time::timeout_at(until, frames.recv()).await {
                    Ok(next) => next,
                    Err(_) => continue,
                },
            };
            match next {
                Some(frame) => self.queue(&mut queue, frame).await,
                None => return,
            }
        }
    }

    async fn queue(&self, queue: &mut FairQueue, frame: Frame) {
        if self.penalties.is_banned(frame.from) {
            return;
        }
        match Message::decode(&frame.bytes) {
            Ok(message) => {
                if !queue.push(frame.from, message, frame.bytes.len()) {
                    tracing::debug!(from = %frame.from, "frame dropped: too many wait");
                    // Whoever doesn't mind its frames being dropped is cut off in the end.
                    if !self.buckets.take(frame.from, Meter::Dropped, self.runtime.instant()) {
                        self.penalties.punish(frame.from, Violation::Floods).await;
                    }
                }
            }
            Err(error) => self.penalties.punish(frame.from, error).await,
        }
    }

    async fn take(&self, from: AgentId, message: Message) {
        match message {
            Message::Query(query) => {
                let meter = if query.schema.is_some() { Meter::Schemas } else { Meter::Asks };
                if self.allows(from, meter).await {
                    self.outbox.reply(from, &self.catalogue.answer(&query));
                }
            }
            Message::Advertised(answer) => {
                if let Err(error) = self.catalogue.advertised(from, &answer) {
                    self.note_clock_of_advert(from, &answer);
                    self.penalties.punish(from, error).await;
                }
            }
            Message::Schema(answer) => {
                if let Err(error) = self.catalogue.schema_given(from, answer) {
                    self.penalties.punish(from, error).await;
                }
            }
            Message::NotAdvertised(answer) => self.catalogue.not_advertised(from, &answer),
            Message::Asked(ask) => self.asks.answer(from, &ask).await,
            Message::Offered(offer) => self.take_offer(from, &offer).await,
            Message::Declined(declined) => {
                self.hires.answer(declined.ask, Answer { from, what: Err(declined.reason) });
            }
            Message::Awarded(award) => self.awards.take(from, award).await,
            about_an_award => {
                if self.allows(from, Meter::Others).await {
                    self.take_about_award(from, about_an_award).await;
                }
            }
        }
    }

    /// A seller gives out an advert that isn't of this time: by its clock it is.
    fn note_clock_of_advert(&self, from: AgentId, answer: &Advertised) {
        let Ok(advert) = Signed::<Advert>::decode(&answer.advert) else { return };
        let now = self.runtime.now();
        if advert.issuer() != from || advert.timely(now).is_ok() {
            return;
        }
        // Ahead of us at least by what it is dated ahead; behind at least by what it is past its time.
        let theirs = if advert.iat > now { advert.iat } else { advert.exp.unwrap_or(advert.iat) };
        self.clocks.note(from, theirs, now);
    }

    async fn take_about_award(&self, from: AgentId, message: Message) {
        let (trade, mail) = match message {
            Message::Accepted(body) => (body.award, BuyerMail::Accepted(body).into()),
            Message::Refused(body) => (body.award, buyer::Input::Refused(body.reason).into()),
            Message::Unknown(body) => (body.award, buyer::Input::Unknown.into()),
            Message::Progress(body) => (body.award, BuyerMail::Progress(body).into()),
            Message::Delivered(body) => (body.award, BuyerMail::Delivered(body).into()),
            // Either side asks the other.
            Message::Status(body) if self.is_bought(body.award) => (body.award, buyer::Input::Asked.into()),
            Message::Status(body) => (body.award, SellerMail::Asked(body).into()),
            Message::Cancel(body) => (body.award, SellerMail::Cancel(body).into()),
            Message::Received(body) => (body.award, SellerMail::Received(body).into()),
            Message::Release(body) => (body.award, SellerMail::Release(body).into()),
            Message::Opened(body) => (body.award, BuyerMail::Opened(body).into()),
            // Every other kind has been taken before.
            _ => return,
        };
        let to_seller =
            matches!(mail, Mail::Seller(SellerMail::Asked(_) | SellerMail::Cancel(_) | SellerMail::Release(_)));
        match self.actors.post_from(from, trade, mail) {
            Posted::Yes | Posted::Full => {}
            Posted::Foreign => self.penalties.punish(from, Violation::NotItsTrade).await,
            // An award that is being checked is answered when that is done.
            Posted::Unknown if to_seller && !self.open.is_taken_in(trade) => {
                self.outbox.reply(from, &Message::from(Unknown { award: trade }));
            }
            Posted::Unknown => {}
        }
    }

    /// Whether we are the buyer of a trade, be it open or over.
    fn is_bought(&self, trade: Cid) -> bool {
        match self.open.side_of(trade) {
            Some(side) => side == Side::Buyer,
            None => self.journal.read(|r| r.contains(BUYERS, key(trade))).unwrap_or(false),
        }
    }

    async fn allows(&self, from: AgentId, meter: Meter) -> bool {
        let allowed = self.buckets.take(from, meter, self.runtime.instant());
        if !allowed {
            self.penalties.punish(from, Violation::TooManyAsks).await;
        }
        allowed
    }

    async fn take_offer(&self, from: AgentId, message: &Offered) {
        let mut offers = Vec::with_capacity(1 + message.also.len());
        for bytes in [&message.offer].into_iter().chain(&message.also) {
            let offer = match Signed::<Offer>::decode(bytes) {
                Ok(offer) => offer,
                Err(error) => return self.penalties.punish(from, Violation::Statement(error)).await,
            };
            if offer.issuer() != from {
                return self.penalties.punish(from, Violation::NotItsOwn("offer")).await;
            }
            self.clocks.note(from, offer.iat, self.runtime.now());
            offers.push(offer);
        }
        let Some(ask) = offers.first().map(|offer| offer.body.ask) else { return };
        self.hires.answer(ask, Answer { from, what: Ok(offers) });
    }

    /// Lets the trades with a peer go on once it is connected again.
    pub(super) async fn take_changes(self: Arc<Self>, mut changes: broadcast::Receiver<PeerChange>) {
        loop {
            let peer = match changes.recv().await {
                Ok(PeerChange::Connected(peer)) => Some(peer),
                Ok(PeerChange::Disconnected(_)) => continue,
                // Somebody may have come back meanwhile: nobody minds being asked once more.
                Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            // A seller has nothing to say until it is asked.
            for trade in self.open.bought_from(peer) {
                self.actors.post(trade, Cause::Resume, buyer::Input::Resume.into());
            }
        }
    }

    /// Rings the alarms of the trades.
    pub(super) async fn ring(self: Arc<Self>) {
        loop {
            let trade = self.open.next_alarm(&self.runtime).await;
            match self.open.side_of(trade) {
                Some(Side::Buyer) => _ = self.actors.post(trade, Cause::Alarm, buyer::Input::Tick.into()),
                Some(Side::Seller) => _ = self.actors.post(trade, Cause::Alarm, seller::Input::Tick.into()),
                Some(Side::Unknown) | None => {}
            }
        }
    }

    /// Takes note of what became of trades' money.
    pub(super) async fn take_outcomes(self: Arc<Self>, mut outcomes: mpsc::Receiver<(Cid, MoneyOutcome)>) {
        while let Some((trade, outcome)) = outcomes.recv().await {
            let mail = match outcome {
                MoneyOutcome::Redeemed { amount } => seller::Input::Redeemed { amount }.into(),
                MoneyOutcome::RedeemFailed { why } => seller::Input::RedeemFailed(why).into(),
                MoneyOutcome::Refunded { refunded, redeemed, fee } => {
                    buyer::Input::Refunded { refunded, redeemed, fee }.into()
                }
            };
            if !self.actors.post(trade, Cause::Money, mail) {
                tracing::warn!(%trade, "money of a trade that has no record");
                let wallet = self.wallet.clone();
                if let Err(error) = self.journal.commit(Step::Other, move |w| wallet.acknowledge(w, trade)).await {
                    tracing::warn!(%trade, %error, "an outcome could not be acknowledged");
                }
            }
        }
    }
}
