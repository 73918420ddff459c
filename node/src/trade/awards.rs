//! A seller's intake of awards: checks what can be checked, then takes offer, money and trade in one transaction.
//!
//! An award is taken or refused once and for all: whichever it was is on disk before the buyer hears of it, so that an
//! award which comes again, by a repeat or after a restart, gets the same answer. (A buyer that was refused uses the
//! same money for the next award.) What could never be taken, a forged one say, is refused without a record.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{
    acceptance::AcceptanceBody,
    bytes::ByteArray,
    cbor::cid_of,
    envelope::Signed,
    identity::{AgentId, AgentKey},
    market::Offer,
    time::Timestamp,
    trade::{
        Deal, intake,
        seller::{self, Seller},
    },
    wire::{Awarded, Message, Payload, Reason, Refused},
};

use super::{
    Stopping,
    actors::Actors,
    buckets::{Buckets, Meter},
    journal::Journal,
    limits::{MAX_NO_INPUT, NO_INPUT_SECS, PAID_PER_NO_INPUT},
    open::{OpenTrades, Posted},
    outbox::Outbox,
    outlays::{self, Uncovered},
    own_offers::OwnOffers,
    permits::{Permit, Permits},
    records::{
        BUYER_HISTORY, BY_TASK, LOG, LogRow, OFFERS, REFUSALS, Refusal, SELLERS, StoredSide, Taken, is_lately, key,
        log_key,
    },
    selling::{self, Places},
    unreleased::{UnreleasedPlace, UnreleasedPlaces},
    violation::{Penalties, Violation},
};
use crate::{
    catalogue::Catalogue,
    content::Data,
    events::{Event, Events, Money, Side},
    executor::{ExecError, Service, Subcontract},
    failpoint::Step,
    grants::KnownRevocations,
    runtime::Runtime,
    spans::Span,
    store::{Key, Reader, StoreError},
    wallet::{LockContext, VettedLock, Wallet, WalletError},
};

/// Takes in awards. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Awards(Arc<Parts>);

/// What an intake works with.
#[derive(Debug)]
pub(super) struct Parts {
    /// Signs acceptances.
    pub(super) key: AgentKey,
    pub(super) runtime: Runtime,
    pub(super) stopping: Stopping,
    pub(super) journal: Journal,
    pub(super) catalogue: Catalogue,
    pub(super) revocations: KnownRevocations,
    pub(super) wallet: Wallet,
    pub(super) permits: Permits,
    pub(super) unreleased: UnreleasedPlaces,
    pub(super) open: OpenTrades,
    pub(super) actors: Actors,
    pub(super) buckets: Buckets,
    pub(super) penalties: Penalties,
    pub(super) outbox: Outbox,
    pub(super) events: Events,
    pub(super) offers: OwnOffers,
}

/// How an intake ended, short of a trade.
#[derive(Debug)]
enum Stop {
    /// Not taken, now or ever.
    Refuse(Reason),
    /// It was refused before, for this reason.
    Again(Reason),
    /// It was taken before; ask its trade.
    Known,
    /// Our disk failed: say nothing, the buyer will try again.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<Uncovered> for Stop {
    fn from(error: Uncovered) -> Self {
        match error {
            Uncovered::Buyer => Self::Refuse(Reason::SubcontractsUnpaid),
            Uncovered::Store(error) => Self::Failed(error),
        }
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Refuse(reason)
    }
}

impl Awards {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Takes in an award in a task of its own: the checks take milliseconds and a thread of the pool.
    pub(super) async fn take(&self, from: AgentId, message: Awarded) {
        let parts = &self.0;
        if !parts.buckets.take(from, Meter::Others, parts.runtime.instant()) {
            return parts.penalties.punish(from, Violation::TooManyAsks).await;
        }
        if !parts.buckets.has(from, Meter::Refused, parts.runtime.instant()) {
            // Before its award costs anything more than its frame.
            return parts.penalties.punish(from, Violation::RefusedTooOften).await;
        }
        let trade = cid_of(&message.award);
        match parts.actors.post_from(from, trade, seller::Input::Asked.into()) {
            Posted::Yes | Posted::Full => return,
            Posted::Foreign => return parts.penalties.punish(from, Violation::NotItsTrade).await,
            Posted::Unknown => {}
        }
        // The same one is being checked, or too many are: the buyer repeats itself.
        let Some(intake) = parts.open.begin_intake(trade) else { return };
        let parts = Arc::clone(parts);
        let taking = async move {
            let known = parts.intake(from, trade, &message).await;
            drop(intake);
            if known {
                parts.actors.post_from(from, trade, seller::Input::Asked.into());
            }
        };
        self.0.runtime.spawn("trade/intake", taking).detach();
    }
}

impl Parts {
    /// Takes or refuses; true if it was taken before.
    async fn intake(&self, from: AgentId, trade: Cid, message: &Awarded) -> bool {
        let reason = match self.try_intake(from, message).await {
            Ok(()) => return false,
            Err(Stop::Known) => return true,
            Err(Stop::Failed(error)) => {
                tracing::error!(%trade, %error, "an award could not be recorded");
                return false;
            }
            Err(Stop::Again(reason)) => reason,
            Err(Stop::Refuse(reason)) => match self.refuse(trade, message, reason).await {
                Ok(true) => reason,
                // It has been taken after all.
                Ok(false) => return false,
                Err(error) => {
                    tracing::error!(%trade, %error, "a refusal could not be recorded");
                    return false;
                }
            },
        };
        self.buckets.charge(from, Meter::Refused, cost_of(reason), self.runtime.instant());
        self.penalties.punish(from, Violation::Refused(reason)).await;
        self.outbox.reply(from, &Message::from(Refused { award: trade, reason }));
        false
    }

    async fn try_intake(&self, from: AgentId, message: &Awarded) -> Result<(), Stop> {
        let now = self.runtime.now();
        let reading = Span::ReadAward.begin();
        let known = self.offers.of(&message.offer);
        let deal = intake::read_knowing(message, from, self.key.id(), now, &self.revocations, known)?;
        drop(reading);
        self.tell_awarded(&deal);
        if let Some(refusal) = self.journal.read(|r| r.get(REFUSALS, refusal_key(&deal)))? {
            return Err(Stop::Again(refusal.reason));
        }
        if self.stopping.is_set() {
            return Err(Reason::ShuttingDown.into());
        }
        let service = self.catalogue.service(&deal.award.args().service).ok_or(Reason::UnknownService)?;
        let permit = self.permit(&service).ok_or(Reason::Busy)?;
        let unreleased = deal.escrow().map(|_| self.unreleased.take(from)).transpose()?;
        self.check_input(&service, &deal).await?;
        let is_earned = unreleased.as_ref().is_some_and(UnreleasedPlace::is_earned);
        let checking = Span::CheckLock.begin();
        let lock = self.check_lock(&deal).await?.earned(is_earned);
        drop(checking);
        let deal = Arc::new(deal);
        let input_by = seller::input_by(&deal, service.definition().time_limit_secs, now);
        let nonce = ByteArray(self.runtime.random());
        let acceptance = Signed::claim(AcceptanceBody::of(&deal), now, None, nonce, &self.key).map_err(|error| {
            tracing::error!(trade = %deal.id(), %error, "an acceptance could not be signed");
            Reason::Internal
        })?;
        let step = Seller::begin(&deal, acceptance, input_by, now);
        let (first, recorded) = ((step.state.clone(), step.writes), Arc::clone(&deal));
        let subcontract = service.definition().subcontract.clone();
        let wallet = self.wallet.clone();
        let recording = move |w: &mut crate::store::Write<'_>| {
            record(w, &wallet, (&recorded, subcontract.as_ref()), &first, &lock, now)
        };
        let storing = Span::StoreAccepted.begin();
        self.journal.commit(Step::StoreAccepted, recording).await?;
        drop(storing);
        let (task, trade, peer) = (deal.award.args().task, deal.id(), from);
        self.events.emit(Event::Accepted { task, trade, side: Side::Seller, peer });
        let places = Places { service: Some((service, permit)), unreleased };
        self.actors.start_seller(deal, (step.state, step.effects), places);
        Ok(())
    }

    fn tell_awarded(&self, deal: &Deal) {
        let args = deal.award.args();
        let price = Money { amount: args.price, unit: args.unit.to_string() };
        let (task, trade, peer) = (args.task, deal.id(), deal.buyer());
        self.events.emit(Event::Awarded { task, trade, side: Side::Seller, peer, price });
    }

    fn permit(&self, service: &Service) -> Option<Permit> {
        self.open.has_room().then(|| self.permits.take(service)).flatten()
    }

    async fn check_input(&self, service: &Service, deal: &Deal) -> Result<(), Reason> {
        match &deal.input {
            Payload::Inline(bytes) => {
                let input = Data::Inline(bytes.to_vec().into());
                service.check_input(&input).await.map_err(|error| match error {
                    ExecError::InputInvalid(_) => Reason::InputInvalid,
                    _ => Reason::Internal,
                })
            }
            Payload::Content(id) if id.size > service.definition().max_input_bytes => Err(Reason::InputTooLarge),
            Payload::Content(_) if self.withholds_inputs(deal.buyer()) => Err(Reason::InputsMissed),
            // Its schema is checked once it is here.
            Payload::Content(_) => Ok(()),
            Payload::Other(_) => Err(Reason::NotUnderstood),
        }
    }

    /// Whether the buyer has lately let us wait for its inputs, and seldom paid.
    fn withholds_inputs(&self, buyer: AgentId) -> bool {
        let history =
            self.journal.read(|r| r.get(BUYER_HISTORY, Key::of(buyer))).unwrap_or_default().unwrap_or_default();
        history.no_input_at.is_some_and(|at| is_lately(at, self.runtime.now(), NO_INPUT_SECS))
            && history.no_input > MAX_NO_INPUT + history.paid / PAID_PER_NO_INPUT
    }

    async fn check_lock(&self, deal: &Deal) -> Result<VettedLock, Reason> {
        let context = LockContext {
            mint: deal.award.args().mint.clone(),
            buyer: deal.buyer(),
            principal: deal.award.principal(),
        };
        self.wallet.check_lock(&context, &intake::lock_demand(deal), &deal.lock).await.map_err(|error| {
            tracing::debug!(trade = %deal.id(), %error, "a lock doesn't hold");
            reason_of(&error)
        })
    }

    /// Records that an award is refused, unless that goes without saying. False if it was taken before.
    async fn refuse(&self, trade: Cid, message: &Awarded, reason: Reason) -> Result<bool, StoreError> {
        let offer = Signed::<Offer>::decode(&message.offer).ok();
        let ours = offer.filter(|offer| offer.issuer() == self.key.id() && can_turn(reason));
        let Some(until) = ours.and_then(|offer| offer.exp) else { return Ok(true) };
        let refusing = move |w: &mut crate::store::Write<'_>| {
            if w.contains(SELLERS, key(trade))? {
                return Ok(false);
            }
            w.put(REFUSALS, Key::of(until).and(trade), &Refusal { reason, until })?;
            Ok(true)
        };
        self.journal.commit(Step::Other, refusing).await
    }
}

/// Whether an award that was refused for this reason could pass another time.
fn can_turn(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Malformed
            | Reason::OfferUnknown
            | Reason::OfferMismatch
            | Reason::InputMismatch
            | Reason::BadLock
            | Reason::TooSoon
            | Reason::NotUnderstood
    )
}

/// What a refusal takes of its buyer's allowance. An honest one may be refused as often as it can hire at once for what it
/// couldn't know; what shows no money that we could have had, costs more.
fn cost_of(reason: Reason) -> u32 {
    match reason {
        Reason::Busy | Reason::CreditLimit | Reason::ShuttingDown | Reason::Internal | Reason::SubcontractsUnpaid => 1,
        _ => 8,
    }
}

fn refusal_key(deal: &Deal) -> Key {
    Key::of(deal.offer.exp.unwrap_or_default()).and(deal.id())
}

/// The seller's first transaction: the offer for this award, each proof for this trade, what it may cost us, and the trade.
fn record(
    w: &mut crate::store::Write<'_>,
    wallet: &crate::wallet::Wallet,
    (deal, subcontract): (&Deal, Option<&Subcontract>),
    (state, writes): &(Seller, Vec<seller::Write>),
    lock: &VettedLock,
    now: Timestamp,
) -> Result<(), Stop> {
    let (trade, until) = (deal.id(), deal.offer.exp.unwrap_or_default());
    let (key, offer) = (key(trade), Key::of(until).and(deal.offer.cid()));
    if w.contains(SELLERS, key)? {
        return Err(Stop::Known);
    }
    if let Some(refusal) = w.get(REFUSALS, refusal_key(deal))? {
        return Err(Stop::Again(refusal.reason));
    }
    if w.contains(OFFERS, &offer)? {
        return Err(Reason::OfferTaken.into());
    }
    let stop = |error| match error {
        WalletError::Store(error) => Stop::Failed(error),
        other => Stop::Refuse(reason_of(&other)),
    };
    outlays::take(w, deal, subcontract, now)?;
    wallet.reserve(w, lock, trade).map_err(stop)?;
    selling::write(w, wallet, deal, state, writes, now).map_err(stop)?;
    w.put(OFFERS, offer, &Taken { award: trade, until })?;
    let task = deal.award.args().task;
    w.put(LOG, log_key(now, trade), &LogRow::new(StoredSide::Seller, task))?;
    w.put(BY_TASK, Key::of(task).and(trade), &now)?;
    Ok(())
}

/// What the buyer is told of a lock that we don't take.
fn reason_of(error: &WalletError) -> Reason {
    use guilder_protocol::{
        fault::{AtFault, Fault},
        locks::LockError,
    };
    match error {
        WalletError::AlreadyReserved => Reason::ProofReused,
        WalletError::MintCap { .. } | WalletError::BuyerCap { .. } => Reason::CreditLimit,
        WalletError::Lock(LockError::UnknownKeyset { .. }) | WalletError::Mint(_) => Reason::MintUnavailable,
        WalletError::UnknownMint(_) | WalletError::PartyMint { .. } | WalletError::MintUnfit { .. } => {
            Reason::NoCommonMint
        }
        WalletError::Lock(LockError::NotUnderstood) => Reason::NotUnderstood,
        WalletError::Lock(_) => Reason::BadLock,
        other if other.fault() == Fault::Mint => Reason::MintUnavailable,
        _ => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use guilder_protocol::locks::LockError;

    use super::*;

    #[test]
    fn each_fault_of_a_lock_has_its_reason() {
        let mint: guilder_protocol::market::MintUrl = "https://mint.example".parse().expect("a URL");
        let (unit, host) =
            ("sat".parse::<guilder_protocol::market::Unit>().expect("a unit"), AgentId::from_bytes([1; 32]));
        for (error, reason) in [
            (WalletError::AlreadyReserved, Reason::ProofReused),
            (WalletError::MintCap { max: 1, unit: unit.clone() }, Reason::CreditLimit),
            (WalletError::BuyerCap { max: 1, unit }, Reason::CreditLimit),
            (WalletError::UnknownMint(mint.clone()), Reason::NoCommonMint),
            (WalletError::PartyMint { mint: mint.clone(), host }, Reason::NoCommonMint),
            (WalletError::MintUnfit { mint, missing: "NUT-12".into() }, Reason::NoCommonMint),
            (WalletError::Lock(LockError::NotUnderstood), Reason::NotUnderstood),
            (WalletError::Lock(LockError::KeysetId), Reason::BadLock),
            (WalletError::Store(StoreError::DiskFull), Reason::Internal),
            (WalletError::LockGone, Reason::Internal),
        ] {
            assert_eq!(reason_of(&error), reason, "{error}");
        }
    }
}
