//! The seller's check of a lock, offline: cheap comparisons first, then one DLEQ verification per proof.

use std::collections::BTreeSet;

use cashu::{
    SECP256K1,
    dhke::hash_to_curve,
    nuts::{BlindSignature, BlindSignatureDleq, Proof, PublicKey},
};
use sha2::{Digest as _, Sha256};

use super::{Keyset, KeysetView, LockError, LockedProof, SpendingConditions};
use crate::{
    bytes::{ByteArray, Digest},
    market::Unit,
    time::Timestamp,
};

/// What was agreed of locked ecash: the check holds the proofs against it.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a, C> {
    /// What every proof is locked to.
    pub conditions: &'a C,
    /// From when on the payer can take it back.
    pub locktime: Timestamp,
    /// The unit.
    pub unit: &'a Unit,
    /// What the payee must be left with after the mint's fee.
    pub price: u64,
    /// How many proofs it takes.
    pub max_proofs: usize,
    /// The award's commitment to the proofs.
    pub ys: Digest,
}

/// A lock that holds: only [`check`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedLock {
    proofs: Vec<CheckedProof>,
    locktime: Timestamp,
    amount: u64,
    fee: u64,
    ys: Digest,
}

/// One proof of a lock that holds.
#[derive(Clone, Debug)]
pub struct CheckedProof {
    /// The proof with its DLEQ. The blinding factor must not reach the mint.
    pub proof: Proof,
    /// `hash_to_curve(secret)`, compressed: what the mint and we know the proof by.
    pub y: ByteArray<33>,
}

impl CheckedLock {
    /// The proofs in the lock's order.
    pub fn proofs(&self) -> &[CheckedProof] {
        &self.proofs
    }

    /// From when on the payer can take them back.
    pub fn locktime(&self) -> Timestamp {
        self.locktime
    }

    /// What they are worth before the mint's fee.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// What the mint keeps when they are redeemed in one swap.
    pub fn fee(&self) -> u64 {
        self.fee
    }

    /// The commitment to them, equal to the award's.
    pub fn ys(&self) -> Digest {
        self.ys
    }
}

/// Holds proofs against what was agreed. `keysets` are the checker's own of the agreed mint.
///
/// CPU: one DLEQ verification per proof; the rest is within a tenth of it.
///
/// # Errors
/// The first fault found; none of the proofs may be used then.
pub fn check<C: SpendingConditions>(
    agreed: &Agreed<'_, C>,
    proofs: &[LockedProof],
    keysets: &KeysetView,
) -> Result<CheckedLock, LockError> {
    if proofs.is_empty() {
        return Err(LockError::Empty);
    }
    if proofs.len() > agreed.max_proofs {
        return Err(LockError::TooManyProofs { count: proofs.len(), max: agreed.max_proofs });
    }
    let signers = check_worth(agreed, proofs, keysets)?;
    for (index, proof) in proofs.iter().enumerate() {
        agreed.conditions.nonce_of(&proof.secret).ok_or(LockError::Secret { index })?;
    }
    let ys = distinct_ys(proofs)?;
    let compressed: Vec<_> = ys.iter().map(|y| ByteArray(y.to_bytes())).collect();
    let commitment = ys_commitment(&compressed);
    if commitment != agreed.ys {
        return Err(LockError::Commitment);
    }
    let proofs = proofs.iter().zip(&signers.keysets).zip(ys).enumerate();
    let proofs = proofs.map(|(index, ((proof, keyset), y))| check_signature(index, proof, keyset, y));
    Ok(CheckedLock {
        proofs: proofs.collect::<Result<_, _>>()?,
        locktime: agreed.locktime,
        amount: signers.amount,
        fee: signers.fee,
        ys: commitment,
    })
}

/// SHA-256 over the sorted compressed Ys: how an award names its proofs without showing them.
pub fn ys_commitment(ys: &[ByteArray<33>]) -> Digest {
    let mut sorted: Vec<&ByteArray<33>> = ys.iter().collect();
    sorted.sort_unstable();
    let mut hasher = Sha256::new();
    for y in sorted {
        hasher.update(y.0);
    }
    ByteArray(hasher.finalize().into())
}

/// Who signed what, by the lock's own word, and what that comes to.
struct Signers<'a> {
    keysets: Vec<&'a Keyset>,
    amount: u64,
    fee: u64,
}

fn check_worth<'a, C>(
    agreed: &Agreed<'_, C>,
    proofs: &[LockedProof],
    view: &'a KeysetView,
) -> Result<Signers<'a>, LockError> {
    let mut keysets = Vec::with_capacity(proofs.len());
    let (mut amount, mut ppk) = (0_u64, 0_u64);
    for (index, proof) in proofs.iter().enumerate() {
        let keyset = view.get(&proof.id).ok_or(LockError::UnknownKeyset { index, id: proof.id })?;
        if keyset.unit() != agreed.unit {
            return Err(LockError::Unit { index });
        }
        if keyset.final_expiry().is_some_and(|expiry| expiry <= agreed.locktime) {
            return Err(LockError::KeysetExpires { index });
        }
        if keyset.key(proof.amount).is_none() {
            return Err(LockError::Amount { index, amount: proof.amount });
        }
        amount = amount.checked_add(proof.amount).ok_or(LockError::Overflow)?;
        ppk = ppk.checked_add(keyset.input_fee_ppk()).ok_or(LockError::Overflow)?;
        keysets.push(&**keyset);
    }
    let (price, fee) = (agreed.price, ppk.div_ceil(1_000));
    if price.checked_add(fee).is_none_or(|due| amount < due) {
        return Err(LockError::Short { amount, price, fee });
    }
    Ok(Signers { keysets, amount, fee })
}

fn distinct_ys(proofs: &[LockedProof]) -> Result<Vec<PublicKey>, LockError> {
    let mut seen = BTreeSet::new();
    let ys = proofs.iter().enumerate().map(|(index, proof)| {
        let y = hash_to_curve(proof.secret.as_bytes()).map_err(|_| LockError::Secret { index })?;
        if seen.insert(y.to_bytes()) { Ok(y) } else { Err(LockError::Duplicate { index }) }
    });
    ys.collect()
}

fn check_signature(
    index: usize,
    proof: &LockedProof,
    keyset: &Keyset,
    y: PublicKey,
) -> Result<CheckedProof, LockError> {
    let amount = proof.amount;
    let signer = keyset.key(amount).ok_or(LockError::Amount { index, amount })?;
    let proof = proof.to_cashu().ok_or(LockError::Malformed { index })?;
    signed_by(&proof, y, signer).ok_or(LockError::Dleq { index, amount })?;
    Ok(CheckedProof { proof, y: ByteArray(y.to_bytes()) })
}

/// NUT-12, "Carol": blinds proof and signature again with the payer's factor, and checks the mint's DLEQ over them. As
/// `Proof::verify_dleq`, without hashing to the curve a second time.
fn signed_by(proof: &Proof, y: PublicKey, signer: PublicKey) -> Option<()> {
    let dleq = proof.dleq.as_ref()?;
    let blinding = signer.mul_tweak(&SECP256K1, &dleq.r.as_scalar()).ok()?;
    let blinded_signature = BlindSignature {
        amount: proof.amount,
        keyset_id: proof.keyset_id,
        c: proof.c.combine(&blinding).ok()?.into(),
        dleq: Some(BlindSignatureDleq { e: dleq.e.clone(), s: dleq.s.clone() }),
    };
    let blinded_message = y.combine(&dleq.r.public_key()).ok()?.into();
    blinded_signature.verify_dleq(signer, blinded_message).ok()
}
