//! What each way to pay needs of the wallet: to which keys its money is locked, and how it is spent. Nothing else in this
//! room tells modes apart.

mod prepaid;

use guilder_protocol::{
    identity::AgentId,
    settlement::{AwardPart, Conditions, Mode, Terms},
    time::Timestamp,
};

use super::{keys::LockKeys, spend::Spend};

/// What a buyer locks its money to, and how it gets it back afterwards.
pub(super) struct Locking {
    pub(super) conditions: Conditions,
    pub(super) refund: Spend,
}

/// A seller's terms for `buyer`, under which it redeems until `locktime`. `None` in a mode that we don't know.
pub(super) fn terms(mode: &Mode, keys: &LockKeys, buyer: AgentId, locktime: Timestamp) -> Option<Terms> {
    match mode {
        Mode::Prepaid => Some(Terms::Prepaid(prepaid::terms(keys, buyer, locktime))),
        Mode::Other(_) => None,
    }
}

/// What a buyer locks its money to on a seller's `terms`. `None` in a mode that we don't know.
pub(super) fn locking(terms: &Terms, keys: &LockKeys, seller: AgentId, locktime: Timestamp) -> Option<Locking> {
    match terms {
        Terms::Prepaid(terms) => Some(prepaid::locking(terms, keys, seller, locktime)),
        Terms::Other(_) => None,
    }
}

/// How a seller redeems what `buyer` has locked to it under an award.
pub(super) fn redemption(part: &AwardPart, buyer: AgentId) -> Spend {
    match part {
        AwardPart::Prepaid(_) => prepaid::redemption(buyer),
    }
}
