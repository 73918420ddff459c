//! Whether a seller takes an award: everything that can be said from the message, the clock and the seller's key alone.
//!
//! What needs the seller's books comes after, in its node: the lock against the cached keysets
//! ([`LockDemand::check`]), offer and proofs not yet taken, room for another task.

use super::Deal;
use crate::{
    award::{Award, AwardError},
    bytes::Digest,
    cbor::cid_of,
    content,
    envelope::Signed,
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::MAX_CONTENT,
    market::Offer,
    settlement::LockDemand,
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
    read_knowing(message, from, me, now, revocations, None)
}

/// As [`read`], where `known` may be the offer that came with the award: one of the very same bytes was verified, or signed, before, and isn't
/// verified again.
///
/// # Errors
/// As [`read`].
pub fn read_knowing(
    message: &Awarded,
    from: AgentId,
    me: AgentId,
    now: Timestamp,
    revocations: &impl Revocations,
    known: Option<Signed<Offer>>,
) -> Result<Deal, Reason> {
    let award = Award::decode(&message.award).map_err(|error| match error {
        AwardError::Offer => Reason::OfferMismatch,
        error => Reason::of_statement(&error),
    })?;
    let offer = match known.filter(|known| known.bytes() == &message.offer[..]) {
        Some(known) => known,
        None => Signed::<Offer>::decode(&message.offer).map_err(|_| Reason::OfferUnknown)?,
    };
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
    // Whoever reads the award later goes by its own date: by that, too, all must hold, or it would prove nothing.
    let made = award.made();
    let holds_when_made = offer.timely(made).is_ok() && offer.body.terms.acceptable(made).is_ok();
    if offer.timely(now).is_err() || made.is_future(now) || !holds_when_made {
        return Err(Reason::Untimely);
    }
    match message.lock.mode() {
        mode if mode == award.part().mode() => {}
        mode if mode.is_known() => return Err(Reason::BadLock),
        _ => return Err(Reason::NotUnderstood),
    }
    if award.args().deadline < now {
        return Err(Reason::TooSoon);
    }
    check_input(message, award.args().input)?;
    let chain = read_chain(message, &award, me, now, revocations)?;
    let grant = read_grant(message, &award, &chain, now)?;
    let (ask, lock, input) = (message.ask.clone(), message.lock.clone(), message.input.clone());
    Ok(Deal { award, offer, ask, chain, grant, lock, input })
}

/// What the deal's lock has to satisfy.
pub fn lock_demand(deal: &Deal) -> LockDemand {
    let (args, offer) = (deal.award.args(), &deal.offer.body);
    LockDemand {
        terms: offer.terms.clone(),
        part: deal.award.part().clone(),
        unit: args.unit.clone(),
        price: args.price,
        max_proofs: usize::try_from(offer.max_proofs).unwrap_or(usize::MAX),
    }
}

fn check_input(message: &Awarded, named: Digest) -> Result<(), Reason> {
    let hash = match &message.input {
        Payload::Inline(bytes) => content::ContentId::of(bytes).hash,
        Payload::Content(id) if id.size > MAX_CONTENT => return Err(Reason::InputTooLarge),
        Payload::Content(id) => id.hash,
        Payload::Other(_) => return Err(Reason::NotUnderstood),
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
    let chain = message.proofs.iter().map(|bytes| read_delegation(bytes)).collect::<Result<Vec<_>, _>>()?;
    let holds = |at| {
        chain::verify(award.invocation(), &chain, At::tolerant(at), revocations).map_err(|error| match error {
            ChainError::Revoked { .. } => Reason::Revoked,
            _ => Reason::BadChain,
        })
    };
    let verified = holds(now)?;
    if !chain.is_empty() {
        holds(award.made())?;
    }
    chain::check_award(&verified, me).map_err(|_| Reason::BadChain)?;
    Ok(verified.links().to_vec())
}

/// What the buyer lets us pass on. One that we couldn't use is none of our making, and would cost us the work to find out.
fn read_grant(
    message: &Awarded,
    award: &Award,
    chain: &[Signed<Delegation>],
    now: Timestamp,
) -> Result<Option<Signed<Delegation>>, Reason> {
    let Some(bytes) = &message.grant else { return Ok(None) };
    let grant = read_delegation(bytes)?;
    chain::check_sub_grant(&grant, award, chain).map_err(|_| Reason::BadChain)?;
    chain::check_link(chain.len(), &grant, At::tolerant(now)).map_err(|_| Reason::BadChain)?;
    Ok(Some(grant))
}

fn read_delegation(bytes: &[u8]) -> Result<Signed<Delegation>, Reason> {
    Signed::decode(bytes).map_err(|error| match error.fault() {
        Fault::Incompatible => Reason::NotUnderstood,
        _ => Reason::BadChain,
    })
}

#[cfg(test)]
mod tests;
