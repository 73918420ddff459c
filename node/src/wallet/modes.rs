//! What each way to pay needs of the wallet: to which keys its money is locked, and how it is spent. Nothing else in this
//! room tells modes apart.

mod escrow;
mod prepaid;

use guilder_protocol::{
    bytes::Nonce,
    identity::AgentId,
    seal::SealKey,
    settlement::{Conditions, Mode, Terms},
    time::Timestamp,
};

use super::{
    config::RedemptionConfig,
    keys::{KeyPath, LockKeys},
    records::AcceptedEscrow,
    spend::Spend,
};

/// What a buyer locks its money to, and how it gets it back afterwards.
pub(super) struct Locking {
    pub(super) conditions: Conditions,
    pub(super) refund: Spend,
}

/// For whom a seller makes terms, and until when it will have delivered.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) buyer: AgentId,
    pub(super) deadline: Timestamp,
    /// Drawn for these terms alone.
    pub(super) label: Nonce,
    pub(super) config: &'a RedemptionConfig,
}

/// How a seller takes what was locked to it.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub(super) spend: Spend,
    /// If it takes more than our signature.
    pub(super) escrow: Option<AcceptedEscrow>,
}

/// A seller's terms. `None` in a mode that we don't know.
pub(super) fn terms(mode: &Mode, keys: &LockKeys, asking: Asking<'_>) -> Option<Terms> {
    match mode {
        Mode::Prepaid => Some(Terms::Prepaid(prepaid::terms(keys, asking))),
        Mode::Escrow => Some(Terms::Escrow(escrow::terms(keys, asking))),
        Mode::Other(_) => None,
    }
}

/// What a buyer locks its money to on a seller's `terms`. `None` in a mode that we don't know.
pub(super) fn locking(terms: &Terms, keys: &LockKeys, seller: AgentId, locktime: Timestamp) -> Option<Locking> {
    match terms {
        Terms::Prepaid(terms) => Some(prepaid::locking(terms, keys, seller, locktime)),
        Terms::Escrow(terms) => Some(escrow::locking(terms, keys)),
        Terms::Other(_) => None,
    }
}

/// How a seller redeems what `buyer` has locked to it under its terms. `None` in a mode that we don't know.
pub(super) fn redemption(terms: &Terms, buyer: AgentId) -> Option<Taking> {
    match terms {
        Terms::Prepaid(_) => Some(Taking { spend: prepaid::redemption(buyer), escrow: None }),
        Terms::Escrow(terms) => Some(escrow::redemption(terms)),
        Terms::Other(_) => None,
    }
}

/// The key with which a seller seals what it delivers under its terms; `None` in a mode that seals nothing.
pub(super) fn seal_key(terms: &Terms, keys: &LockKeys) -> Option<SealKey> {
    match terms {
        Terms::Escrow(terms) => Some(escrow::seal_key(terms, keys)),
        Terms::Prepaid(_) | Terms::Other(_) => None,
    }
}

/// The key with which a buyer releases what it has locked on a seller's terms; `None` in a mode without a release.
pub(super) fn release(terms: &Terms) -> Option<KeyPath> {
    match terms {
        Terms::Escrow(terms) => Some(escrow::release(terms)),
        Terms::Prepaid(_) | Terms::Other(_) => None,
    }
}
