//! The trade machines: one for the buyer, one for the seller. Pure; whoever drives them does what they say.
//!
//! ```text
//!           buyer                                                   seller
//!        ┌─ Awarded ──(Refused)──────────┐            (Awarded, taken in by `intake`)
//!        │     │ Accepted                │                   Fetching ──(input missing, cancel)───┐
//!        │  Working ───────────────────┐ │                        │ input here                     │
//!        │     │ Delivered (content)   │ │                    Working ──(error, cancel, too late)───┤
//!        │  Fetching ──(mismatch)────┐ │ │                        │ finished                       │
//!  late  │     │ fetched             │ │ │                     Ended: receipt and output          Ended: error
//!  or ───┼─> Ended: delivered, failed, overdue, refused           │ redeemed                       receipt
//!        └─> GivenUp: overdue; asks on ──(locktime)──> Ended    Ended, paid
//! ```
//!
//! A seller whose input is already in the award begins in `Working`. Either machine ends at once when its node can't go
//! on with the trade (`Broken`).
//!
//! **Call order.** A machine is created with its first step; every later event goes through `handle(input, now)`, which
//! consumes the state and returns a [`Step`]: the next state, what is to be written, and the effects, in order. The driver
//! commits all writes in one transaction, and only then performs the effects. What a transaction consists of is a type of
//! its own ([`buyer::Write`], [`seller::Write`]); no effect is ever part of one. After a restart the driver feeds
//! [`buyer::Input::Resume`] or [`seller::Input::Resume`], which yields the effects that are still due. Every input may
//! be repeated; one that no longer applies changes nothing.
//!
//! **Statements.** A seller signs an [acceptance](crate::acceptance) in the step that takes the award, a buyer a
//! [cancellation](crate::cancellation) in the step that calls it off and [received](crate::received) in the one that ends the
//! trade: each rides a write and a message that are needed anyway, or goes out behind them. What the other side signed is
//! checked, then kept ([`Statements`]). None of it is waited for: an end is an end without it.
//!
//! **Money.** A buyer's machine says what becomes of its lock ([`buyer::LockOutcome`]), a seller's whether it redeems. Under
//! *prepaid* the seller holds the money from the award on: it redeems what it delivers (and what is cancelled under its
//! hands), and lets what it fails fall back to the buyer at the locktime. Under *escrow* what is delivered is sealed, and three
//! states more come between delivery and end:
//!
//! ```text
//!           buyer                                                   seller
//!       Working, or a late one                                    Working
//!        │ Delivered (sealed)                                       │ finished: sealed
//!     Unopened: fetching the ciphertext                          Unreleased: receipt and ciphertext ──(late)──> Ended, voided
//!        │ here and whole                                           │ Release, every signature checked
//!     Unopened: released; asks seller and mint for the key       Ended: due; redeemed at once, by redeem_by
//!        │ Opened, or the mint's witness                            │ redeemed
//!     Ended: delivered, or mismatch                              Ended, paid: the key is sent
//!        └──(late)──> told of; from the locktime on the money is taken back where the mint says that it is unspent
//! ```

pub mod buyer;
pub mod intake;
pub mod seller;

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    acceptance::Acceptance,
    award::Award,
    cancellation::Cancellation,
    content::ContentId,
    envelope::{Signed, Statement},
    fault::{AtFault, Fault},
    identity::AgentId,
    market::Offer,
    received::Received,
    settlement::{Lock, Terms, escrow},
    ucan::Delegation,
    wire::{self, Payload},
};

/// What both sides have agreed to and hold in common: fixed at the award, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deal {
    /// The award.
    pub award: Award,
    /// The offer that it takes.
    pub offer: Signed<Offer>,
    /// The envelope of the ask that the offer answers and names by its content ID.
    pub ask: serde_bytes::ByteBuf,
    /// The delegations from the principal to the buyer, in the order of the award's `prf`.
    pub chain: Vec<Signed<Delegation>>,
    /// The delegation by which the buyer lets the seller subcontract, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Signed<Delegation>>,
    /// The money.
    pub lock: Lock,
    /// The input, or where it comes from.
    pub input: Payload,
}

impl Deal {
    /// The trade's name: the award's content ID.
    pub fn id(&self) -> Cid {
        self.award.cid()
    }

    /// What was agreed if it is paid in escrow.
    pub fn escrow(&self) -> Option<(&escrow::Terms, &escrow::Lock)> {
        match (&self.offer.body.terms, &self.lock) {
            (Terms::Escrow(terms), Lock::Escrow(lock)) => Some((terms, lock)),
            _ => None,
        }
    }

    /// The delegations by which the seller may award in this task, from the principal to itself; none if it may not.
    pub fn passed_on(&self) -> Option<Vec<Signed<Delegation>>> {
        let grant = self.grant.clone()?;
        Some(self.chain.iter().cloned().chain([grant]).collect())
    }

    /// Who buys.
    pub fn buyer(&self) -> AgentId {
        self.award.buyer()
    }

    /// Who sells.
    pub fn seller(&self) -> AgentId {
        self.award.args().seller
    }

    /// The sum of the locked proofs, the mint's fees included.
    pub fn locked(&self) -> u64 {
        self.lock.amount()
    }

    /// The message that awards it, as often as it is needed.
    pub fn message(&self) -> wire::Message {
        let bytes = |bytes: &[u8]| serde_bytes::ByteBuf::from(bytes);
        wire::Awarded {
            award: bytes(self.award.invocation().bytes()),
            offer: bytes(self.offer.bytes()),
            ask: self.ask.clone(),
            proofs: self.chain.iter().map(|delegation| bytes(delegation.bytes())).collect(),
            lock: self.lock.clone(),
            input: self.input.clone(),
            grant: self.grant.as_ref().map(|grant| bytes(grant.bytes())),
        }
        .into()
    }
}

/// What the two sides have signed of a trade on its way, beside award and receipt. Each side keeps what it said and what it got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statements {
    /// The seller took the award.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Signed<Acceptance>>,
    /// The buyer called it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Signed<Cancellation>>,
    /// The buyer has the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Signed<Received>>,
}

/// How what a peer signed of a trade strays from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// No valid acceptance of the seller's for this award and its money.
    #[error("it carries no valid acceptance of the seller's for this award and its money")]
    Acceptance,
    /// No valid receipt of the seller's for this award and its money.
    #[error("it carries no valid receipt of the seller's for this award and its money")]
    Receipt,
    /// No valid cancellation of the buyer's for this award.
    #[error("it carries no valid cancellation of the buyer's for this award")]
    Cancellation,
    /// No valid word of the buyer's that it has the output which the receipt commits to.
    #[error("it carries no valid word of the buyer's that it has the output which the receipt commits to")]
    Received,
    /// A statement of a later version.
    #[error("not understood: what was signed is of a later version")]
    NotUnderstood,
}

impl AtFault for StatementError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotUnderstood => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}

/// Reads a statement; `forged` if it is none.
fn read_statement<T: Statement>(bytes: &[u8], forged: StatementError) -> Result<Signed<T>, StatementError> {
    Signed::decode(bytes).map_err(|error| match error.fault() {
        Fault::Incompatible => StatementError::NotUnderstood,
        _ => forged,
    })
}

/// What a machine made of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step<S, W, E> {
    /// The state from here on.
    pub state: S,
    /// What is written first, in this order and in one transaction. Empty if nothing changed that a restart couldn't find
    /// out again.
    pub writes: Vec<W>,
    /// What is done once the writes are on disk, in this order.
    pub effects: Vec<E>,
}

impl<S, W, E> Step<S, W, E> {
    /// A step with nothing to write.
    fn passing(state: S, effects: Vec<E>) -> Self {
        Self { state, writes: Vec::new(), effects }
    }
}

/// A payload that has arrived: in the record, or stored as content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Stored {
    /// In the record.
    Inline(serde_bytes::ByteBuf),
    /// In the content store, by its hash.
    Content(ContentId),
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Payload::from(self.clone()).fmt(f)
    }
}

impl From<Stored> for Payload {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Inline(bytes) => Self::Inline(bytes),
            Stored::Content(id) => Self::Content(id),
        }
    }
}

#[cfg(test)]
mod tests;
