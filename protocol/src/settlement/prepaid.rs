//! Prepaid: the price travels with the award, locked to the seller's key (NUT-11 P2PK), and falls back to the buyer.
//!
//! ```text
//!  buyer                                              seller
//!    |<- offer: Terms {payee, locktime} ---------------| payee: its key towards this buyer
//!    | secret(nonce), one per proof, signed by the mint |
//!    |-- award: AwardPart {locktime, ys} | Lock ------->| check(): rebuild every secret, compare bytes, DLEQ
//!    |                                                  | work; redeem in batches before the locktime
//!    | or take it back with the refund key afterwards   |
//! ```
//!
//! | deviation | who loses what, at most |
//! |---|---|
//! | the seller takes the money and delivers nothing, or junk | the buyer: the price |
//! | the seller says that it failed, and redeems all the same | the buyer: the price |
//! | the buyer cancels after work began | the buyer: the price |
//! | the mint doesn't redeem, or the seller comes too late | the seller: its work |
//! | the buyer's lock isn't what was agreed | nobody: it is refused before work begins |

use cashu::nuts::PublicKey;
use serde::{Deserialize, Serialize};

use super::LockDemand;
use crate::{
    award::{AwardArgs, AwardError},
    bytes::{Digest, LockKey},
    limits::MAX_LOCK_SECS,
    locks::{self, CheckedLock, KeysetView, LockError, LockedProof, Nonce, SpendingConditions},
    market::{MintUrl, Unit, choice::OfferError},
    receipt::{FailureCode, Outcome},
    time::Timestamp,
};

/// P2PK to `payee`, back to the buyer after a locktime not before `locktime`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The seller's key that the ecash is locked to.
    pub payee: LockKey,
    /// The earliest locktime that leaves the seller time to redeem.
    pub locktime: Timestamp,
}

/// Which proofs pay, and until when they are the seller's to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwardPart {
    /// The locktime of every proof in the lock.
    pub locktime: Timestamp,
    /// SHA-256 over the sorted compressed Ys of the locked proofs.
    pub ys: Digest,
}

/// Locked proofs. Their locktime stands in the award, which is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// At most [`MAX_PROOFS`](crate::limits::MAX_PROOFS).
    #[serde(deserialize_with = "locks::bounded_proofs")]
    pub proofs: Vec<LockedProof>,
    /// The buyer's key for all of them after the locktime.
    pub refund: LockKey,
}

/// The money that stood locked to the seller. At delivery nothing is paid yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptPart {
    /// The mint that issued it.
    pub mint: MintUrl,
    /// Its unit.
    pub unit: Unit,
    /// The sum of the proofs, input fees included.
    pub amount: u64,
    /// SHA-256 over the sorted compressed Ys of the proofs, as in the award.
    pub ys: Digest,
}

/// Who may take the money, and when: everything in a secret but its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conditions {
    /// From this moment on, by the mint's clock, the refund key may take it too.
    pub locktime: Timestamp,
    /// The seller's key.
    pub payee: LockKey,
    /// The buyer's key after the locktime.
    pub refund: LockKey,
}

impl SpendingConditions for Conditions {
    const BEFORE_NONCE: &'static str = r#"["P2PK",{"nonce":""#;

    /// An ordinary NUT-11 secret (tags are lists of strings): payee before the locktime, payee or refund key after it.
    fn secret(&self, nonce: &Nonce) -> String {
        let Self { locktime, payee, refund } = self;
        format!(
            r#"{}{}","data":"{payee}","tags":[["locktime","{}"],["refund","{refund}"],["sigflag","SIG_INPUTS"]]}}]"#,
            Self::BEFORE_NONCE,
            hex::encode(nonce),
            locktime.as_secs(),
        )
    }
}

impl Conditions {
    pub(super) fn lock(&self, proofs: Vec<LockedProof>) -> Lock {
        Lock { proofs, refund: self.refund }
    }

    pub(super) fn part(&self, ys: Digest) -> AwardPart {
        AwardPart { locktime: self.locktime, ys }
    }
}

impl Terms {
    pub(super) fn check(&self, deadline: Timestamp) -> Result<(), &'static str> {
        if self.locktime <= deadline { Err("an offer's locktime comes after its deadline") } else { Ok(()) }
    }

    pub(super) fn acceptable(&self, now: Timestamp) -> Result<(), OfferError> {
        if self.locktime.since(now) > MAX_LOCK_SECS {
            return Err(OfferError::LockedTooLong);
        }
        // What is locked to a key that is no point is nobody's: mints can't read such a lock, so not even the refund works.
        PublicKey::from_slice(&self.payee.0).map(|_| ()).map_err(|_| OfferError::Payee)
    }
}

impl AwardPart {
    pub(super) fn check(&self, deadline: Timestamp) -> Result<(), AwardError> {
        if self.locktime <= deadline { Err(AwardError::Locktime) } else { Ok(()) }
    }

    pub(super) fn words(&self, args: &AwardArgs) -> String {
        format!("locked at {} until {}, commitment {}", args.mint, self.locktime, self.ys)
    }

    pub(super) fn takes(&self, terms: &Terms) -> bool {
        self.locktime >= terms.locktime
    }
}

impl ReceiptPart {
    pub(super) fn of(args: &AwardArgs, part: &AwardPart, amount: u64) -> Self {
        Self { mint: args.mint.clone(), unit: args.unit.clone(), amount, ys: part.ys }
    }

    pub(super) fn is_of(&self, args: &AwardArgs, part: &AwardPart) -> bool {
        self.amount >= args.price && *self == Self::of(args, part, self.amount)
    }
}

/// Work that was done is paid for, and work that was called off under the seller's hands.
pub(super) fn is_earned_by(out: &Outcome) -> bool {
    match out {
        Outcome::Ok(_) => true,
        Outcome::Error(error) => error.code == FailureCode::Cancelled,
        Outcome::Other(_) => false,
    }
}

/// Holds a lock against the offer's terms and the award's part.
pub(super) fn check(
    demand: &LockDemand,
    terms: &Terms,
    part: &AwardPart,
    lock: &Lock,
    keysets: &KeysetView,
) -> Result<CheckedLock, LockError> {
    let (locktime, floor) = (part.locktime, terms.locktime);
    if locktime < floor {
        return Err(LockError::LocktimeTooEarly { locktime, floor });
    }
    if locktime > floor.saturating_add(MAX_LOCK_SECS) {
        return Err(LockError::LocktimeTooLate(locktime));
    }
    // A key that is no point makes the whole secret unspendable, for the payee too. The payee's is the checker's own.
    PublicKey::from_slice(&lock.refund.0).map_err(|_| LockError::Key)?;
    if terms.payee.0[1..] == lock.refund.0[1..] {
        return Err(LockError::SameKey);
    }
    let agreed = locks::Agreed {
        conditions: &Conditions { locktime, payee: terms.payee, refund: lock.refund },
        locktime,
        unit: &demand.unit,
        price: demand.price,
        max_proofs: demand.max_proofs,
        ys: part.ys,
    };
    locks::check(&agreed, &lock.proofs, keysets)
}

#[cfg(test)]
mod tests;
