//! What comes in: one task per source, each of which hands everything on without waiting for any trade.

use std::sync::Arc;

use guilder_protocol::{
    content::ContentId,
    envelope::Signed,
    identity::AgentId,
    market::Offer,
    trade::{buyer, seller},
    wire::{Message, Offered, Reason, Unknown},
};
use tokio::sync::{broadcast, mpsc};

use super::{
    buckets::Meter,
    desk::{Answer, BuyerMail, Desk, Mail, Posted},
    penalty::Misdeed,
    records::{CONTENT, content_prefix},
};
use crate::{
    events::Side,
    failpoint::Step,
    network::{Frames, InboundStream, PeerChange},
    store::Reader,
    sync::lock,
    wallet::MoneyOutcome,
};

impl Desk {
    /// Takes trade frames until the network is gone.
    pub(super) async fn take_frames(self: Arc<Self>, mut frames: Frames) {
        while let Some(frame) = frames.recv().await {
            match Message::decode(&frame.bytes) {
                Ok(message) => self.take(frame.from, message).await,
                Err(error) => self.punish(frame.from, error).await,
            }
        }
    }

    async fn take(self: &Arc<Self>, from: AgentId, message: Message) {
        match message {
            Message::Query(query) => {
                if self.allows(from, Meter::Asks).await {
                    self.outbox.send(from, &self.catalogue.answer(&query));
                }
            }
            Message::Advertised(answer) => {
                if let Err(error) = self.catalogue.advertised(from, &answer) {
                    self.punish(from, error).await;
                }
            }
            Message::NotAdvertised(answer) => self.catalogue.not_advertised(from, &answer),
            Message::Asked(ask) => self.answer_ask(from, &ask).await,
            Message::Offered(offer) => self.take_offer(from, &offer).await,
            Message::Declined(declined) => self.answer_hire(declined.ask, from, Err(declined.reason)),
            Message::Awarded(award) => self.take_award(from, award).await,
            about_an_award => {
                if self.allows(from, Meter::Others).await {
                    self.take_about_award(from, about_an_award).await;
                }
            }
        }
    }

    async fn take_about_award(self: &Arc<Self>, from: AgentId, message: Message) {
        let (trade, mail) = match message {
            Message::Accepted(body) => (body.award, buyer::Input::Accepted.into()),
            Message::Refused(body) => (body.award, buyer::Input::Refused(body.reason).into()),
            Message::Unknown(body) => (body.award, buyer::Input::Unknown.into()),
            Message::Progress(body) => (body.award, Mail::Buyer(BuyerMail::Progress(body))),
            Message::Delivered(body) => (body.award, Mail::Buyer(BuyerMail::Delivered(body))),
            Message::Status(body) => (body.award, seller::Input::Asked.into()),
            Message::Cancel(body) => (body.award, seller::Input::Cancel.into()),
            // Every other kind has been taken before.
            _ => return,
        };
        let to_seller = matches!(mail, Mail::Seller(_));
        match self.post_from(from, trade, mail) {
            Posted::Yes | Posted::Full => {}
            Posted::Foreign => self.punish(from, Misdeed::NotItsTrade).await,
            // An award that is being checked is answered when that is done.
            Posted::Unknown if to_seller && !lock(&self.intakes).contains(&trade) => {
                self.outbox.send(from, &Message::from(Unknown { award: trade }));
            }
            Posted::Unknown => {}
        }
    }

    async fn allows(&self, from: AgentId, meter: Meter) -> bool {
        let allowed = self.buckets.take(from, meter, self.runtime.instant());
        if !allowed {
            self.punish(from, Misdeed::TooManyAsks).await;
        }
        allowed
    }

    async fn take_offer(&self, from: AgentId, message: &Offered) {
        let offer = match Signed::<Offer>::decode(&message.offer) {
            Ok(offer) => offer,
            Err(error) => return self.punish(from, Misdeed::Statement(error)).await,
        };
        if offer.issuer() != from {
            return self.punish(from, Misdeed::NotItsOwn("offer")).await;
        }
        self.answer_hire(offer.body.ask, from, Ok(offer));
    }

    /// Hands a seller's answer to the hire that asked it. Late answers and unasked ones go nowhere.
    fn answer_hire(&self, ask: cid::Cid, from: AgentId, what: Result<Signed<Offer>, Reason>) {
        if let Some(slot) = lock(&self.hires).get_mut(&ask)
            && slot.asked.remove(&from)
        {
            // There is room for an answer of each that was asked.
            let _ = slot.answers.try_send(Answer { from, what });
        }
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
            for (trade, side) in self.open_with(peer) {
                // A seller has nothing to say until it is asked.
                if side == Side::Buyer {
                    self.feed(trade, || buyer::Input::Resume.into()).await;
                }
            }
        }
    }

    /// Rings the alarms of the trades.
    pub(super) async fn ring(self: Arc<Self>) {
        loop {
            let trade = self.timers.next(&self.runtime).await;
            match self.side_of(trade) {
                Some(Side::Buyer) => _ = self.feed(trade, || buyer::Input::Tick.into()).await,
                Some(Side::Seller) => _ = self.feed(trade, || seller::Input::Tick.into()).await,
                None => {}
            }
        }
    }

    /// Takes note of what became of trades' money.
    pub(super) async fn take_outcomes(self: Arc<Self>, mut outcomes: mpsc::Receiver<(cid::Cid, MoneyOutcome)>) {
        while let Some((trade, outcome)) = outcomes.recv().await {
            let mail = || match &outcome {
                MoneyOutcome::Redeemed { amount } => seller::Input::Redeemed { amount: *amount }.into(),
                MoneyOutcome::RedeemFailed { why } => seller::Input::RedeemFailed(why.clone()).into(),
                MoneyOutcome::Swept { refunded, taken, fee } => {
                    buyer::Input::Swept { refunded: *refunded, taken: *taken, fee: *fee }.into()
                }
            };
            if !self.feed(trade, mail).await {
                tracing::warn!(%trade, "money of a trade that has no record");
                let wallet = self.wallet.clone();
                if let Err(error) = self.commit(Step::Other, move |w| wallet.acknowledge(w, trade)).await {
                    tracing::warn!(%trade, %error, "an outcome could not be acknowledged");
                }
            }
        }
    }

    /// Serves contents to those whose trades name them.
    pub(super) async fn serve_contents(self: Arc<Self>, mut streams: mpsc::Receiver<InboundStream>) {
        while let Some(InboundStream { from, stream, .. }) = streams.recv().await {
            let desk = Arc::clone(&self);
            let serving = async move {
                let allow = |peer, id: &ContentId| desk.may_have(peer, *id);
                if let Err(error) = desk.content.serve(stream, from, allow).await {
                    tracing::debug!(%from, %error, "a transfer broke off");
                }
            };
            // The network bounds the streams, the content room the transfers.
            self.runtime.spawn("trade/serve", serving).detach();
        }
    }

    /// Whether a trade with the peer names the content, as what we are to give.
    pub(super) fn may_have(&self, peer: AgentId, id: ContentId) -> bool {
        self.store.read(|r| Ok(!r.range(CONTENT, content_prefix(id, peer).range(), 1)?.is_empty())).unwrap_or_else(
            |error| {
                tracing::error!(%error, "a right to a content could not be looked up");
                false
            },
        )
    }
}
