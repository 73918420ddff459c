//! Coins between our records and the Cashu crates' proofs.

use std::{fmt, str::FromStr};

use cdk::{
    Amount,
    dhke::{hash_to_curve, unblind_message},
    nuts::{BlindSignature, BlindedMessage, CurrencyUnit, Proof, ProofDleq, PublicKey, SecretKey},
    secret::Secret,
};
use guilder_protocol::{
    bytes::ByteArray,
    locks::{Dleq, Keyset, LockedProof},
    market::Unit,
};

use super::{
    keys,
    records::{AcceptedLock, AtRisk, Coin, Destination, Input, Operation, Premint, SentToken, SignedBy, Unlocked, Y},
};

/// The unit as the Cashu crates have it.
pub(super) fn currency_unit(unit: &Unit) -> CurrencyUnit {
    CurrencyUnit::from_str(unit.as_str()).unwrap_or_else(|_| CurrencyUnit::custom(unit.as_str()))
}

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

    /// Whether its DLEQ proof, if it has one, shows that the mint has signed it for its amount (NUT-12).
    pub(super) fn is_proven_false(&self, keyset: &Keyset) -> bool {
        let Some(key) = keyset.key(self.amount) else { return true };
        let Some(proof) = self.to_proof() else { return true };
        proof.dleq.is_some() && proof.verify_dleq(key).is_err()
    }

    pub(super) fn y(&self) -> Option<Y> {
        y_of(&self.secret)
    }

    /// The coin beside its Y, which costs a hash to the curve.
    pub(super) fn with_y(self) -> Option<(Y, Self)> {
        Some((self.y()?, self))
    }

    /// As a proof of a lock; `None` without a DLEQ proof.
    pub(super) fn into_locked(self) -> Option<LockedProof> {
        let Self { amount, c, dleq, id, secret } = self;
        Some(LockedProof { amount, c, dleq: dleq?, id, secret })
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

impl Input {
    /// An input that its secret alone spends.
    pub(super) fn plain(coin: Coin) -> Option<Self> {
        Some(Self { y: coin.y()?, coin, unlocked: None })
    }

    /// As [`Self::plain`], of a coin of ours, which is kept under its Y.
    pub(super) fn ours((y, coin): (Y, Coin)) -> Self {
        debug_assert_eq!(coin.y(), Some(y), "a coin is kept under the Y of its secret");
        Self { coin, y, unlocked: None }
    }

    pub(super) fn to_proof(&self) -> Option<Proof> {
        Some(Proof { witness: self.unlocked.as_ref().map(Unlocked::witness), ..self.coin.bare()? })
    }

    /// Whether the coin, which is spent, may have been spent by us. Of one that isn't locked nobody can tell; a locked one
    /// was only if the mint shows a signature of ours. One that shows none doesn't say by whom.
    pub(super) fn may_be_spent_by_us(&self, signatures: &[String]) -> bool {
        self.unlocked.is_none() || self.is_spent_by_us(signatures)
    }

    /// Whether one of the signatures that the coin was spent with is by a key of ours.
    pub(super) fn is_spent_by_us(&self, signatures: &[String]) -> bool {
        let mut ours = self.unlocked.iter().flat_map(|unlocked| &unlocked.ours);
        ours.any(|signed| keys::has_signed(signed.key, &self.coin.secret, signatures))
    }

    /// Whether the coin, which is spent, was spent with the very signature that this input carries: no other copy of the
    /// wallet makes the same, for each signature has randomness of its own (BIP-340).
    pub(super) fn is_spent_as_sent(&self, signatures: &[String]) -> bool {
        let mut ours = self.unlocked.iter().flat_map(|unlocked| &unlocked.ours);
        ours.any(|signed| signatures.iter().any(|shown| shown.eq_ignore_ascii_case(&signed.signature)))
    }
}

impl SignedBy {
    /// Signs a coin's secret; `public` is the key's.
    pub(super) fn sign(key: &SecretKey, public: &PublicKey, secret: &str) -> Option<Self> {
        let signature = key.sign(secret.as_bytes()).ok()?.to_string();
        Some(Self { key: ByteArray(public.to_bytes()), signature })
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
            number: None,
        })
    }

    pub(super) fn message(&self) -> Option<BlindedMessage> {
        let blinded = PublicKey::from_slice(&self.blinded.0).ok()?;
        Some(BlindedMessage::new(Amount::from(self.amount), self.id.to_cashu(), blinded))
    }

    /// The coin that the mint's signature makes of it, if the mint proves that it is this amount's (NUT-12). Where the
    /// amount is 0, the mint decides on it.
    pub(super) fn unblind(&self, signature: &BlindSignature, keyset: &Keyset) -> Option<Coin> {
        let amount = signature.amount.to_u64();
        if (self.amount != 0 && amount != self.amount) || signature.keyset_id != self.id.to_cashu() {
            return None;
        }
        let key = keyset.key(amount)?;
        let dleq = signature.dleq.as_ref()?;
        signature.verify_dleq(key, PublicKey::from_slice(&self.blinded.0).ok()?).ok()?;
        let r = SecretKey::from_slice(&self.r.0).ok()?;
        let c = unblind_message(&signature.c, &r, &key).ok()?;
        Some(Coin {
            amount,
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

impl Operation {
    pub(super) fn input_sum(&self) -> u64 {
        sum(self.inputs.iter().map(|input| &input.coin.amount))
    }

    pub(super) fn output_sum(&self, to: Destination) -> u64 {
        sum(self.outputs.iter().filter(|output| output.to == to).map(|output| &output.amount))
    }
}

impl AtRisk {
    pub(super) fn amount(&self) -> u64 {
        sum(self.proofs.iter().map(|proof| &proof.amount))
    }
}

impl AcceptedLock {
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

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("currency", &self.currency)
            .field("inputs", &self.inputs.len())
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}
