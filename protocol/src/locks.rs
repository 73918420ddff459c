//! Locked ecash, and how its receiver checks it without asking a mint. What it is locked to is the settlement mode's
//! ([`crate::settlement`]); that it is so, and worth what it should be, is checked here for every mode alike.
//!
//! **Locks are compared, never interpreted.** Parsers of NUT-10 secrets disagree about repeated tags, hidden keys and
//! integers, so none is asked: [`SpendingConditions::secret`] writes the one text that the agreed conditions and a nonce
//! allow, and [`check`] compares it with what came, byte for byte.
//!
//! What is bounded: a secret is at most [`MAX_LOCK_SECRET`](crate::limits::MAX_LOCK_SECRET) bytes, a lock at most
//! [`MAX_PROOFS`](crate::limits::MAX_PROOFS) proofs; both are enforced while decoding. Points and scalars are
//! parsed by [`check`], which belongs on a CPU pool: one DLEQ verification is four point multiplications.

mod check;
mod conditions;
mod error;
mod keyset;
mod keyset_id;

use std::fmt;

use cashu::{
    Amount,
    dhke::hash_to_curve,
    nuts::{Proof, ProofDleq, PublicKey, SecretKey},
    secret::Secret,
};
use serde::{Deserialize, Deserializer, Serialize, de};

pub use self::{
    check::{Agreed, CheckedLock, CheckedProof, check, ys_commitment},
    conditions::{Nonce, SpendingConditions},
    error::LockError,
    keyset::{Keyset, KeysetError, KeysetView},
    keyset_id::KeysetId,
};
use crate::{
    bytes::ByteArray,
    limits::{MAX_LOCK_SECRET, MAX_PROOFS},
};

/// One proof (NUT-00) of a lock, with what its DLEQ check needs (NUT-12, "Carol").
///
/// Read from the wire as it is: nothing in it has been checked but its sizes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedProof {
    /// In the mint's unit.
    pub amount: u64,
    /// The unblinded signature `C`.
    pub c: ByteArray<33>,
    /// The mint's proof that `C` was made with the amount's key, and the payer's blinding factor.
    pub dleq: Dleq,
    /// Keyset, by its full ID.
    pub id: KeysetId,
    /// The NUT-10 secret, whole.
    #[serde(deserialize_with = "bounded_secret")]
    pub secret: String,
}

/// A DLEQ proof and the blinding factor (NUT-12).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dleq {
    /// Challenge.
    pub e: ByteArray<32>,
    /// Blinding factor. Never shown to the mint, which could link the proof by it.
    pub r: ByteArray<32>,
    /// Response.
    pub s: ByteArray<32>,
}

/// Neither the secret nor the blinding factor, which together are the money, is printed.
impl fmt::Debug for LockedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedProof").field("amount", &self.amount).field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Dleq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dleq(hidden)")
    }
}

/// At most [`MAX_PROOFS`] proofs, counted while they are read.
pub(crate) fn bounded_proofs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LockedProof>, D::Error> {
    struct Proofs;
    impl<'de> de::Visitor<'de> for Proofs {
        type Value = Vec<LockedProof>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_PROOFS} locked proofs")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut proofs = Vec::new();
            while let Some(proof) = seq.next_element()? {
                if proofs.len() == MAX_PROOFS {
                    return Err(de::Error::invalid_length(MAX_PROOFS + 1, &self));
                }
                proofs.push(proof);
            }
            Ok(proofs)
        }
    }
    deserializer.deserialize_seq(Proofs)
}

fn bounded_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let secret = String::deserialize(deserializer)?;
    if secret.len() > MAX_LOCK_SECRET {
        return Err(de::Error::invalid_length(secret.len(), &"a secret of a lock"));
    }
    Ok(secret)
}

impl LockedProof {
    /// From a proof that carries its DLEQ with the blinding factor; `None` if it doesn't.
    pub fn from_cashu(proof: &Proof) -> Option<Self> {
        let dleq = proof.dleq.as_ref()?;
        Some(Self {
            amount: proof.amount.to_u64(),
            c: ByteArray(proof.c.to_bytes()),
            dleq: Dleq {
                e: ByteArray(dleq.e.to_secret_bytes()),
                r: ByteArray(dleq.r.to_secret_bytes()),
                s: ByteArray(dleq.s.to_secret_bytes()),
            },
            id: proof.keyset_id.into(),
            secret: proof.secret.to_string(),
        })
    }

    /// The proof in the form that the Cashu crates take; `None` if a point or scalar in it is malformed.
    pub fn to_cashu(&self) -> Option<Proof> {
        let scalar = |bytes: &ByteArray<32>| SecretKey::from_slice(&bytes.0).ok();
        Some(Proof {
            amount: Amount::from(self.amount),
            keyset_id: self.id.to_cashu(),
            secret: Secret::new(self.secret.clone()),
            c: PublicKey::from_slice(&self.c.0).ok()?,
            witness: None,
            dleq: Some(ProofDleq::new(scalar(&self.dleq.e)?, scalar(&self.dleq.s)?, scalar(&self.dleq.r)?)),
            p2pk_e: None,
        })
    }

    /// `hash_to_curve(secret)` (NUT-00): what the mint knows the proof by. `None` for no secret that ever occurs.
    pub fn y(&self) -> Option<ByteArray<33>> {
        hash_to_curve(self.secret.as_bytes()).ok().map(|y| ByteArray(y.to_bytes()))
    }
}
