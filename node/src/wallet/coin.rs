//! Coins between our records and the Cashu crates' proofs.

use std::fmt;

use cdk::{
    Amount,
    dhke::{hash_to_curve, unblind_message},
    nuts::{BlindSignature, BlindedMessage, Proof, ProofDleq, PublicKey, SecretKey, Witness, nut11::P2PKWitness},
    secret::Secret,
};
use guilder_protocol::{
    bytes::ByteArray,
    locks::{Dleq, Keyset, LockedProof},
};

use super::records::{AtRisk, Coin, Destination, Premint, SentToken, SwapInput, SwapRecord, TakenLock, Y};

impl Coin {
    pub(super) fn from_proof(proof: &Proof) -> Self {
        let dleq = proof.dleq.as_ref().map(|dleq| Dleq {
            e: ByteArray(dleq.e.to_secret_bytes()),
            r: ByteArray(dleq.r.to_secret_bytes()),
            s: ByteArray(dleq.s.to_secret_bytes()),
        });
        Self {
            amount: proof.amount.to_u64(),
            c: ByteArray(proof.c.to_bytes()),
            dleq,
            id: proof.keyset_id.into(),
            secret: proof.secret.to_string(),
        }
    }

    /// For whoever receives it: with its DLEQ proof, if it has one.
    pub(super) fn to_proof(&self) -> Option<Proof> {
        let scalar = |bytes: &ByteArray<32>| SecretKey::from_slice(&bytes.0).ok();
        let dleq = match &self.dleq {
            Some(dleq) => Some(ProofDleq::new(scalar(&dleq.e)?, scalar(&dleq.s)?, scalar(&dleq.r)?)),
            None => None,
        };
        Some(Proof { dleq, ..self.bare()? })
    }

    /// For the mint, which could link the coin by the blinding factor.
    fn bare(&self) -> Option<Proof> {
        let c = PublicKey::from_slice(&self.c.0).ok()?;
        Some(Proof::new(Amount::from(self.amount), self.id.to_cashu(), Secret::new(self.secret.clone()), c))
    }

    pub(super) fn y(&self) -> Option<Y> {
        y_of(&self.secret)
    }
}

pub(super) fn y_of(secret: &str) -> Option<Y> {
    hash_to_curve(secret.as_bytes()).ok().map(|y| ByteArray(y.to_bytes()))
}

impl From<LockedProof> for Coin {
    fn from(proof: LockedProof) -> Self {
        let LockedProof { amount, c, dleq, id, secret } = proof;
        Self { amount, c, dleq: Some(dleq), id, secret }
    }
}

impl Coin {
    /// As a proof of a lock; `None` without a DLEQ proof.
    pub(super) fn into_locked(self) -> Option<LockedProof> {
        let Self { amount, c, dleq, id, secret } = self;
        Some(LockedProof { amount, c, dleq: dleq?, id, secret })
    }
}

impl SwapInput {
    /// An input that its secret alone spends.
    pub(super) fn plain(coin: Coin) -> Option<Self> {
        Some(Self { y: coin.y()?, coin, signature: None })
    }

    /// An input that `key` signs for (NUT-11, SIG_INPUTS).
    pub(super) fn signed(coin: Coin, key: &SecretKey) -> Option<Self> {
        let signature = key.sign(coin.secret.as_bytes()).ok()?;
        Some(Self { y: coin.y()?, coin, signature: Some(signature.to_string()) })
    }

    pub(super) fn to_proof(&self) -> Option<Proof> {
        let witness = self
            .signature
            .as_ref()
            .map(|signature| Witness::P2PKWitness(P2PKWitness { signatures: vec![signature.clone()] }));
        Some(Proof { witness, ..self.coin.bare()? })
    }
}

impl Premint {
    /// Blinds `secret` with `r`.
    pub(super) fn new(amount: u64, keyset: &Keyset, secret: String, r: &SecretKey, to: Destination) -> Option<Self> {
        let y = hash_to_curve(secret.as_bytes()).ok()?;
        let blinded: PublicKey = y.combine(&r.public_key()).ok()?.into();
        Some(Self {
            amount,
            blinded: ByteArray(blinded.to_bytes()),
            id: keyset.id(),
            r: ByteArray(r.to_secret_bytes()),
            secret,
            to,
        })
    }

    pub(super) fn message(&self) -> Option<BlindedMessage> {
        let blinded = PublicKey::from_slice(&self.blinded.0).ok()?;
        Some(BlindedMessage::new(Amount::from(self.amount), self.id.to_cashu(), blinded))
    }

    /// The coin that the mint's signature makes of it, if the mint proves that it is this amount's (NUT-12).
    pub(super) fn unblind(&self, signature: &BlindSignature, keyset: &Keyset) -> Option<Coin> {
        if signature.amount.to_u64() != self.amount || signature.keyset_id != self.id.to_cashu() {
            return None;
        }
        let key = keyset.key(self.amount)?;
        let dleq = signature.dleq.as_ref()?;
        signature.verify_dleq(key, PublicKey::from_slice(&self.blinded.0).ok()?).ok()?;
        let r = SecretKey::from_slice(&self.r.0).ok()?;
        let c = unblind_message(&signature.c, &r, &key).ok()?;
        Some(Coin {
            amount: self.amount,
            c: ByteArray(c.to_bytes()),
            dleq: Some(Dleq {
                e: ByteArray(dleq.e.to_secret_bytes()),
                r: self.r,
                s: ByteArray(dleq.s.to_secret_bytes()),
            }),
            id: self.id,
            secret: self.secret.clone(),
        })
    }
}

/// The sum of coins, which are real and so never overflow together.
pub(super) fn sum<'a>(amounts: impl IntoIterator<Item = &'a u64>) -> u64 {
    amounts.into_iter().fold(0, |sum, amount| sum.saturating_add(*amount))
}

impl SwapRecord {
    pub(super) fn input_sum(&self) -> u64 {
        sum(self.inputs.iter().map(|input| &input.coin.amount))
    }
}

impl AtRisk {
    pub(super) fn amount(&self) -> u64 {
        sum(self.proofs.iter().map(|proof| &proof.amount))
    }
}

impl TakenLock {
    pub(super) fn amount(&self) -> u64 {
        sum(self.proofs.iter().map(|proof| &proof.amount))
    }
}

/// Secrets are money: none of these prints them.
impl fmt::Debug for Coin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coin").field("amount", &self.amount).finish_non_exhaustive()
    }
}

impl fmt::Debug for SentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentToken").field("amount", &self.amount).field("at", &self.at).finish_non_exhaustive()
    }
}

impl fmt::Debug for SwapRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwapRecord")
            .field("pocket", &self.pocket)
            .field("inputs", &self.inputs.len())
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}
