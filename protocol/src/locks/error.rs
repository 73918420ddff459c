//! Why locked money isn't accepted.

use super::KeysetId;
use crate::{
    fault::{AtFault, Fault},
    limits::MAX_LOCK_SECS,
    time::Timestamp,
};

/// Why a lock isn't what was agreed. An `index` is a proof's place in the lock, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Terms or a lock of a later version.
    #[error("the lock or its terms are of a mode that this version doesn't know")]
    NotUnderstood,
    /// Another mode's lock than the award says.
    #[error("the lock is of another mode than the award")]
    OtherMode,
    /// Bytes that are no secp256k1 public key.
    #[error("not a compressed secp256k1 public key")]
    Key,
    /// Bytes that are no keyset ID.
    #[error("not a keyset ID")]
    KeysetId,
    /// No proofs.
    #[error("the lock holds no proofs")]
    Empty,
    /// More proofs than the offer allows.
    #[error("{count} proofs, the offer allows {max}")]
    TooManyProofs {
        /// How many came.
        count: usize,
        /// How many may.
        max: usize,
    },
    /// The money falls back to the payer before the seller can be sure of it.
    #[error("the money falls back at {locktime}, the offer asks for {floor} at the least")]
    LocktimeTooEarly {
        /// The lock's.
        locktime: Timestamp,
        /// The offer's.
        floor: Timestamp,
    },
    /// Locked longer than anybody locks money: maybe past what the mint reads as a time.
    #[error("the money falls back at {0}, more than {MAX_LOCK_SECS} s after the offer's earliest")]
    LocktimeTooLate(Timestamp),
    /// Two of the keys share an x-coordinate, so a signature of one is a signature of the other.
    #[error("two of the lock's keys are the same")]
    SameKey,
    /// Paid for another key than the offer's.
    #[error("the award is for another key than the offer's")]
    KeyHash,
    /// A secret differs from the one text that terms and nonce allow.
    #[error("proof {index}: its secret is not the agreed lock")]
    Secret {
        /// Which proof.
        index: usize,
    },
    /// Two proofs with one secret.
    #[error("proof {index} repeats another's secret")]
    Duplicate {
        /// Which proof.
        index: usize,
    },
    /// The proofs aren't those that the award commits to.
    #[error("the proofs are not those that the award commits to")]
    Commitment,
    /// A keyset that this mint isn't known to have.
    #[error("proof {index}: keyset {id} is not one of the mint's")]
    UnknownKeyset {
        /// Which proof.
        index: usize,
        /// Its keyset.
        id: KeysetId,
    },
    /// Another unit than agreed.
    #[error("proof {index}: its keyset is of another unit")]
    Unit {
        /// Which proof.
        index: usize,
    },
    /// The mint's promise ends before the lock does.
    #[error("proof {index}: the mint lets its keyset expire before the locktime")]
    KeysetExpires {
        /// Which proof.
        index: usize,
    },
    /// An amount that the keyset has no key for.
    #[error("proof {index}: its keyset has no amount {amount}")]
    Amount {
        /// Which proof.
        index: usize,
        /// What it claims to be worth.
        amount: u64,
    },
    /// `C`, or a part of the DLEQ proof, is no point or scalar.
    #[error("proof {index}: malformed signature or DLEQ proof")]
    Malformed {
        /// Which proof.
        index: usize,
    },
    /// The mint didn't sign this secret with this amount's key.
    #[error("proof {index}: the mint did not sign it for {amount}")]
    Dleq {
        /// Which proof.
        index: usize,
        /// What it claims to be worth.
        amount: u64,
    },
    /// Less than the price and the mint's fee for redeeming.
    #[error("{amount} locked, {price} and {fee} for the mint's fee are due")]
    Short {
        /// What the proofs are worth.
        amount: u64,
        /// What is due net.
        price: u64,
        /// What the mint keeps for redeeming these proofs.
        fee: u64,
    },
    /// Amounts or fees whose sum isn't a number of money.
    #[error("the proofs' amounts or fees overflow")]
    Overflow,
}

impl AtFault for LockError {
    fn fault(&self) -> Fault {
        match self {
            // What a later version does, and a keyset that we haven't fetched yet or that ends too soon, is nobody's lie.
            Self::UnknownKeyset { .. } | Self::KeysetExpires { .. } | Self::NotUnderstood => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}
