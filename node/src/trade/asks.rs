//! A seller's answer to an ask: an offer that binds us until it runs out, or the reason why there is none. Nothing is
//! kept of either; an offer comes back with its award.

use guilder_protocol::{
    bytes::ByteArray,
    cbor::cid_of,
    envelope::Signed,
    identity::{AgentId, AgentKey},
    limits::MAX_PROOFS,
    market::{Ask, MintUrl, Offer, OfferBody, schema_hash},
    settlement::Mode,
    time::Timestamp,
    wire::{Asked, Declined, Message, Offered, Reason},
};
use serde_bytes::ByteBuf;

use super::{
    Stopping, TradeConfig,
    buckets::{Buckets, Meter},
    clocks::PeerClocks,
    limits::MAX_OPEN_TRADES,
    open::OpenTrades,
    outbox::Outbox,
    own_offers::OwnOffers,
    permits::Permits,
    unreleased::UnreleasedPlaces,
    violation::{Penalties, Violation},
};
use crate::{
    catalogue::Catalogue,
    events::{Event, Events, Money, Side},
    executor::Service,
    runtime::Runtime,
    spans::Span,
    wallet::Wallet,
};

/// Answers asks.
#[derive(Debug)]
pub(super) struct Asks {
    /// Signs offers.
    pub(super) key: AgentKey,
    pub(super) config: TradeConfig,
    pub(super) runtime: Runtime,
    pub(super) stopping: Stopping,
    pub(super) catalogue: Catalogue,
    pub(super) wallet: Wallet,
    pub(super) permits: Permits,
    pub(super) unreleased: UnreleasedPlaces,
    pub(super) open: OpenTrades,
    pub(super) buckets: Buckets,
    pub(super) penalties: Penalties,
    pub(super) outbox: Outbox,
    pub(super) events: Events,
    pub(super) clocks: PeerClocks,
    pub(super) offers: OwnOffers,
}

impl Asks {
    /// Answers an ask: one signature checked, one made.
    pub(super) async fn answer(&self, from: AgentId, message: &Asked) {
        let _took = Span::Answer.begin();
        let id = cid_of(&message.ask);
        let answer = match self.consider(from, message) {
            Ok(offers) => {
                let mut offers = offers.iter().map(|offer| ByteBuf::from(offer.bytes()));
                let offer = offers.next().unwrap_or_default();
                Message::from(Offered { offer, also: offers.collect() })
            }
            Err((reason, violation)) => {
                if let Some(violation) = violation {
                    self.penalties.punish(from, violation).await;
                }
                let reason_text = reason.to_string();
                self.events.emit(Event::Declined { task: id, side: Side::Seller, peer: from, reason: reason_text });
                Declined { ask: id, reason }.into()
            }
        };
        self.outbox.reply(from, &answer);
    }

    fn consider(&self, from: AgentId, message: &Asked) -> Result<Vec<Signed<Offer>>, (Reason, Option<Violation>)> {
        if !self.buckets.take(from, Meter::Asks, self.runtime.instant()) {
            return Err((Reason::RateLimited, Some(Violation::TooManyAsks)));
        }
        let ask = Signed::<Ask>::decode(&message.ask)
            .map_err(|error| (Reason::of_statement(&error), Some(Violation::Statement(error))))?;
        if ask.issuer() != from {
            return Err((Reason::Malformed, Some(Violation::NotItsOwn("ask"))));
        }
        self.clocks.note(from, ask.iat, self.runtime.now());
        let (task, service) = (ask.cid(), ask.body.service.to_string());
        self.events.emit(Event::Asked { task, side: Side::Seller, peer: from, service });
        let refused = |reason| (reason, Some(Violation::Refused(reason)));
        let (service, mints) = self.suits(from, &ask).map_err(refused)?;
        // One for each way to pay that both know: the buyer knows how far it trusts us.
        let (mut offers, mut without) = (Vec::new(), Reason::NoCommonMode);
        for mode in Mode::ALL.iter().filter(|mode| ask.body.modes.contains(mode)) {
            match self.may_be_paid(mode, from) {
                Ok(()) => offers.push(self.offer(&ask, &service, mints.clone(), mode).map_err(refused)?),
                Err(reason) => without = reason,
            }
        }
        let Some(first) = offers.first() else { return Err(refused(without)) };
        let price = Money { amount: first.body.price, unit: first.body.unit.to_string() };
        self.events.emit(Event::Offered { task, side: Side::Seller, peer: from, price });
        Ok(offers)
    }

    /// Whether we can do it on the buyer's terms, and where and how we would be paid.
    fn suits(&self, from: AgentId, ask: &Signed<Ask>) -> Result<(Service, Vec<MintUrl>), Reason> {
        let (now, wanted) = (self.runtime.now(), &ask.body);
        ask.timely(now).map_err(|_| Reason::Untimely)?;
        if self.stopping.is_set() {
            return Err(Reason::ShuttingDown);
        }
        let service = self.catalogue.service(&wanted.service).ok_or(Reason::UnknownService)?;
        let ours = service.definition();
        if wanted.input_size > ours.max_input_bytes {
            return Err(Reason::InputTooLarge);
        }
        if wanted.unit != ours.unit {
            return Err(Reason::WrongUnit);
        }
        if wanted.max_price < ours.price {
            return Err(Reason::PriceTooLow);
        }
        if !Mode::ALL.iter().any(|mode| wanted.modes.contains(mode)) {
            return Err(Reason::NoCommonMode);
        }
        // Never one that the buyer runs: its money is the buyer's word.
        let common = |mint: &MintUrl| wanted.mints.contains(mint) && mint.peer() != Some(from);
        let mints: Vec<_> = self.catalogue.mints_for(&service).into_iter().filter(common).collect();
        if mints.is_empty() {
            return Err(Reason::NoCommonMint);
        }
        if wanted.deadline <= now {
            return Err(Reason::TooSoon);
        }
        if !self.permits.has_room(&service) || self.open.sold_len() >= MAX_OPEN_TRADES / 2 {
            return Err(Reason::Busy);
        }
        Ok((service, mints))
    }

    /// Whether a buyer may have more done for which it pays in this way.
    fn may_be_paid(&self, mode: &Mode, buyer: AgentId) -> Result<(), Reason> {
        if *mode == Mode::Escrow { self.unreleased.check(buyer) } else { Ok(()) }
    }

    fn offer(
        &self,
        ask: &Signed<Ask>,
        service: &Service,
        mints: Vec<MintUrl>,
        mode: &Mode,
    ) -> Result<Signed<Offer>, Reason> {
        let (now, ours) = (self.runtime.now(), service.definition());
        let deadline = self.promise(ask.body.deadline, service, now);
        let body = OfferBody {
            aud: ask.issuer(),
            ask: ask.cid(),
            service: ours.name.clone(),
            price: ours.price,
            unit: ours.unit.clone(),
            mints,
            terms: self.wallet.terms(mode, ask.issuer(), deadline).ok_or(Reason::NoCommonMode)?,
            max_proofs: self.config.max_proofs.min(MAX_PROOFS) as u64,
            deadline,
            input: ours.input.as_deref().map(schema_hash),
            output: ours.output.as_deref().map(schema_hash),
        };
        let exp = now.saturating_add(self.config.offer_secs).min(deadline);
        let offer =
            Signed::claim(body, now, Some(exp), ByteArray(self.runtime.random()), &self.key).map_err(|error| {
                tracing::error!(%error, "an offer could not be signed");
                Reason::Internal
            })?;
        self.offers.note(&offer);
        Ok(offer)
    }

    /// When we will have delivered: a full queue of tasks that take all their time, from when the offer runs out; not
    /// after what was asked for.
    fn promise(&self, wanted: Timestamp, service: &Service, now: Timestamp) -> Timestamp {
        let definition = service.definition();
        let rounds = self.config.queue.div_ceil(definition.concurrency.max(1)) as u64 + 1;
        let working = definition.time_limit_secs.saturating_mul(rounds);
        let reserve = self.config.offer_secs.saturating_add(self.config.delivery_margin_secs);
        wanted.min(now.saturating_add(working).saturating_add(reserve))
    }
}
