//! Whether a seller takes an award: everything that can be said from the message, the clock and the seller's key alone.
//!
//! What needs the seller's books comes after, in its node: the lock against the cached keysets
//! ([`crate::locks::check`]), offer and proofs not yet taken, room for another task.

use super::Deal;
use crate::{
    award::{Award, AwardError},
    bytes::Digest,
    cbor::cid_of,
    claim::Untimely,
    content,
    envelope::Signed,
    identity::AgentId,
    limits::MAX_CONTENT,
    locks::{LockDemand, LockError},
    market::{Offer, Terms},
    time::Timestamp,
    ucan::{
        Delegation,
        chain::{self, At, ChainError, Revocations},
    },
    wire::{Awarded, Payload, Reason},
};

/// Reads an award that `from` sent to `me`.
///
/// # Errors
/// Why it is refused. Nothing has been reserved or changed.
pub fn read(
    message: &Awarded,
    from: AgentId,
    me: AgentId,
    now: Timestamp,
    revocations: &impl Revocations,
) -> Result<Deal, Reason> {
    let award = Award::decode(&message.award).map_err(|error| match error {
        AwardError::Offer => Reason::OfferMismatch,
        _ => Reason::Malformed,
    })?;
    let offer = Signed::<Offer>::decode(&message.offer).map_err(|_| Reason::OfferUnknown)?;
    if award.buyer() != from || award.args().seller != me {
        return Err(Reason::Malformed);
    }
    if offer.issuer() != me || offer.body.aud != from {
        return Err(Reason::OfferUnknown);
    }
    award.matches(&offer).map_err(|_| Reason::OfferMismatch)?;
    // The offer is ours, and we verified the ask before we made it: its bytes need no second look but this.
    if cid_of(&message.ask) != offer.body.ask {
        return Err(Reason::OfferMismatch);
    }
    match offer.timely(now) {
        Ok(()) => {}
        Err(Untimely::Expired | Untimely::Future) => return Err(Reason::Untimely),
    }
    if award.args().deadline < now {
        return Err(Reason::TooSoon);
    }
    check_input(message, award.args().input)?;
    let chain = read_chain(message, &award, me, now, revocations)?;
    Ok(Deal { award, offer, ask: message.ask.clone(), chain, lock: message.lock.clone(), input: message.input.clone() })
}

/// What the deal's lock has to satisfy.
///
/// # Errors
/// If a number in the deal is out of range for this machine.
pub fn lock_demand(deal: &Deal) -> Result<LockDemand<'_>, LockError> {
    let (args, offer) = (deal.award.args(), &deal.offer.body);
    let Terms::Prepaid { payee, locktime } = &offer.terms;
    Ok(LockDemand {
        payee: *payee,
        unit: &args.unit,
        price: args.price,
        max_proofs: usize::try_from(offer.max_proofs).unwrap_or(usize::MAX),
        locktime_floor: *locktime,
        locktime: args.locktime,
        ys: args.ys,
    })
}

fn check_input(message: &Awarded, named: Digest) -> Result<(), Reason> {
    let hash = match &message.input {
        Payload::Inline(bytes) => content::ContentId::of(bytes).hash,
        Payload::Content(id) if id.size > MAX_CONTENT => return Err(Reason::InputTooLarge),
        Payload::Content(id) => id.hash,
    };
    if hash == named { Ok(()) } else { Err(Reason::InputMismatch) }
}

fn read_chain(
    message: &Awarded,
    award: &Award,
    me: AgentId,
    now: Timestamp,
    revocations: &impl Revocations,
) -> Result<Vec<Signed<Delegation>>, Reason> {
    let chain = message
        .proofs
        .iter()
        .map(|bytes| Signed::<Delegation>::decode(bytes))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Reason::BadChain)?;
    let verified =
        chain::verify(award.invocation(), &chain, At::tolerant(now), revocations).map_err(|error| match error {
            ChainError::Revoked { .. } => Reason::Revoked,
            _ => Reason::BadChain,
        })?;
    chain::check_award(&verified, me).map_err(|_| Reason::BadChain)?;
    Ok(verified.links().to_vec())
}
