//! The receipt: a seller's signed statement of what was run, for whom, under which award, against which locks.
//!
//! It says *locked*, because at delivery nothing is paid yet. The output is committed to under a salt that only the
//! two parties know, so that a short answer can't be guessed from its hash.

use cid::Cid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    bytes::{ByteArray, Digest},
    claim::{Body, Claim},
    limits::{MAX_ERROR_TEXT, MAX_SUB_RECEIPTS},
    settlement::ReceiptPart,
    time::Timestamp,
    word::{Word, open_choice, open_words},
};

/// See the module.
pub type Receipt = Claim<ReceiptBody>;
/// 32 random bytes that hide a short output behind its hash.
pub type Salt = ByteArray<32>;

/// See [`Receipt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptBody {
    /// The award that was worked under.
    pub award: Cid,
    /// The offer that it was given on.
    pub offer: Cid,
    /// What came of it.
    pub out: Outcome,
    /// What money was locked when work began, and what the mode has to say of the delivery.
    pub money: ReceiptPart,
    /// When work began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Receipts of the tasks that this one was passed on to.
    pub sub: Vec<Cid>,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: the salted hash of the output, see [`commit`].
    Ok(Digest),
    /// Not done.
    Error(TaskError),
    /// An outcome of a later version: neither done nor failed, as far as this version can tell.
    Other(Word),
}
open_choice!(Outcome { "ok" => Ok, "error" => Error });

/// Why a task was not done, as the seller says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// What kind of failure.
    pub code: FailureCode,
    /// In words; at most [`MAX_ERROR_TEXT`] bytes.
    pub text: String,
}

open_words! {
    /// The kinds of failure.
    pub enum FailureCode {
        /// The service's program failed.
        "crashed" => Crashed,
        /// It ran past its time.
        "timed-out" => TimedOut,
        /// It used more memory than it may.
        "out-of-memory" => OutOfMemory,
        /// Its output is larger than the advert allows.
        "output-too-large" => OutputTooLarge,
        /// Its output doesn't satisfy the schema that the offer names.
        "output-invalid" => OutputInvalid,
        /// The input never arrived whole.
        "input-missing" => InputMissing,
        /// The input doesn't satisfy the schema that the offer names. The buyer's fault.
        "input-invalid" => InputInvalid,
        /// A delegation by which the buyer awarded was revoked before work began. Whose fault, says the revocation.
        "revoked" => Revoked,
        /// The buyer cancelled after work began.
        "cancelled" => Cancelled,
        /// The seller's node failed.
        "internal" => Internal,
    }
}

impl FailureCode {
    /// Whether the failure is the doing of the buyer's side, as far as this version knows the code.
    pub fn by_buyer(&self) -> bool {
        matches!(self, Self::InputMissing | Self::InputInvalid | Self::Revoked | Self::Cancelled)
    }
}

impl Body for ReceiptBody {
    const MAX_LIFETIME: Option<u64> = None;
    const TAG: &'static str = "guilder/receipt@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        if self.ended < self.began {
            return Err("a receipt's work ended before it began");
        }
        if self.sub.len() > MAX_SUB_RECEIPTS {
            return Err("a receipt names too many others");
        }
        match &self.out {
            Outcome::Error(error) if error.text.len() > MAX_ERROR_TEXT => Err("a receipt's error text is too long"),
            _ => Ok(()),
        }
    }
}

/// The commitment to an output: SHA-256 over the salt and the output.
pub fn commit(salt: &Salt, output: &[u8]) -> Digest {
    let mut commitment = Commitment::new(salt);
    commitment.update(output);
    commitment.finish()
}

/// [`commit`] for an output that comes in pieces.
#[derive(Clone, Debug)]
pub struct Commitment(Sha256);

impl Commitment {
    /// Begins with the salt.
    pub fn new(salt: &Salt) -> Self {
        Self(Sha256::new_with_prefix(salt.as_bytes()))
    }

    /// Of salt and output together, as they stand in a sealed one.
    pub(crate) fn empty() -> Self {
        Self(Sha256::new())
    }

    /// Adds the next piece of the output.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The commitment to all pieces.
    pub fn finish(self) -> Digest {
        ByteArray(self.0.finalize().into())
    }
}
