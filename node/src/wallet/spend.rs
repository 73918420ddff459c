//! How locked ecash is spent: whose signatures its witness needs, and what else it shows.
//!
//! A [`Spend`] is stored with the lock that it spends. Our keys are named in it by how they derive, never kept; what others
//! have signed for us, and a preimage that the mint will see anyway, stand in it as they are.

use std::{fmt, sync::Arc};

use cdk::nuts::{HTLCWitness, Witness, nut11::P2PKWitness};
use guilder_protocol::{bytes::ByteArray, locks::LockedProof};
use serde::{Deserialize, Serialize};

use super::{
    error::WalletError,
    keys::{KeyPath, LockKeys},
    records::{Input, SignedBy, Unlocked, Y},
};
use crate::runtime::{Job, Runtime};

/// What it takes to spend locked proofs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spend {
    /// Our keys that sign each proof (NUT-11, SIG_INPUTS).
    keys: Vec<KeyPath>,
    /// What others have signed for us, by proof.
    given: Vec<(Y, Vec<String>)>,
    /// What the witness says of the lock's hash, if it has one.
    preimage: Option<Preimage>,
}

/// What a witness says of a hash (NUT-14).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Preimage {
    /// What was hashed: the receiver's path.
    Shown(ByteArray<32>),
    /// Nothing: the path back to the payer. Its witness has the field all the same, for by it mints tell its kind.
    Withheld,
}

impl Spend {
    /// A signature of ours is all that it takes.
    pub(super) fn signed_by(key: KeyPath) -> Self {
        Self { keys: vec![key], given: Vec::new(), preimage: None }
    }

    /// A signature of ours, where the lock has a hash and we don't show what it is of.
    pub(super) fn withholding(key: KeyPath) -> Self {
        Self { preimage: Some(Preimage::Withheld), ..Self::signed_by(key) }
    }

    /// With one signature of another's for each proof, and what the lock's hash is of.
    pub(super) fn released(self, given: Vec<(Y, String)>, preimage: ByteArray<32>) -> Self {
        let given = given.into_iter().map(|(y, signature)| (y, vec![signature])).collect();
        Self { given, preimage: Some(Preimage::Shown(preimage)), ..self }
    }

    /// The keys of ours that sign: what is spent with a signature of none of them was spent by somebody else.
    pub(super) fn keys(&self) -> &[KeyPath] {
        &self.keys
    }

    /// The inputs that spend the proofs of a lock.
    fn inputs(&self, proofs: Vec<LockedProof>, keys: &LockKeys) -> Option<Vec<Input>> {
        let ours: Vec<_> = self.keys.iter().map(|path| keys.secret(path)).map(|key| (key.public_key(), key)).collect();
        let input = |proof: LockedProof| {
            let y = proof.y()?;
            let ours = ours.iter().map(|(public, key)| SignedBy::sign(key, public, &proof.secret));
            let given = self.given.iter().filter(|(of, _)| *of == y).flat_map(|(_, signatures)| signatures.clone());
            let (ours, given) = (ours.collect::<Option<_>>()?, given.collect());
            let unlocked = Unlocked { ours, given, preimage: self.preimage.clone() };
            Some(Input { y, coin: proof.into(), unlocked: Some(unlocked) })
        };
        proofs.into_iter().map(input).collect()
    }
}

impl Unlocked {
    /// As the mint reads it.
    pub(super) fn witness(&self) -> Witness {
        let ours = self.ours.iter().map(|signed| signed.signature.clone());
        let signatures: Vec<_> = ours.chain(self.given.iter().cloned()).collect();
        let preimage = match self.preimage {
            None => return Witness::P2PKWitness(P2PKWitness { signatures }),
            Some(Preimage::Withheld) => String::new(),
            Some(Preimage::Shown(preimage)) => preimage.to_string(),
        };
        Witness::HTLCWitness(HTLCWitness { preimage, signatures: Some(signatures) })
    }
}

/// Signs for some locks, on a thread for such work: the inputs that spend them, in their order.
pub(super) async fn unlock(
    runtime: &Runtime,
    keys: &Arc<LockKeys>,
    locks: Vec<(Spend, Vec<LockedProof>)>,
) -> Result<Vec<Input>, WalletError> {
    let signatures: usize = locks.iter().map(|(spend, proofs)| spend.keys.len() * proofs.len()).sum();
    let keys = Arc::clone(keys);
    let sign = move || {
        let of_lock = |(spend, proofs): (Spend, Vec<LockedProof>)| spend.inputs(proofs, &keys);
        Some(locks.into_iter().map(of_lock).collect::<Option<Vec<_>>>()?.concat())
    };
    runtime.offload(Job::Signatures(signatures as u32), sign).await.ok_or(WalletError::Unsettled)
}

/// With the preimage and what others signed, whoever has our keys has the money.
impl fmt::Debug for Spend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spend").field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cdk::nuts::SecretKey;
    use guilder_protocol::locks::Dleq;
    use zeroize::Zeroizing;

    use super::{super::keys::has_signed, *};

    fn proof(secret: &str) -> LockedProof {
        let c = ByteArray(SecretKey::from_slice(&[1; 32]).unwrap().public_key().to_bytes());
        let dleq = Dleq { e: ByteArray([1; 32]), r: ByteArray([2; 32]), s: ByteArray([3; 32]) };
        LockedProof { amount: 1, c, dleq, id: "009a1f293253e41e".parse().unwrap(), secret: secret.into() }
    }

    fn keys() -> LockKeys {
        LockKeys::new(Zeroizing::new([7; 32]))
    }

    #[test]
    fn one_key_signs_each_proof_and_the_mint_sees_a_p2pk_witness() {
        let (keys, path) = (keys(), KeyPath::new("one".into()));
        let spend = Spend::signed_by(path.clone());
        for secret in ["a", "b"] {
            let input = spend.inputs(vec![proof(secret)], &keys).unwrap().remove(0);
            let Some(Witness::P2PKWitness(witness)) = input.to_proof().unwrap().witness else { panic!() };
            assert_eq!(witness.signatures.len(), 1);
            assert!(has_signed(keys.public(&path), secret, &witness.signatures));
            assert!(input.is_spent_by_us(&witness.signatures) && !input.is_spent_by_us(&[]));
        }
    }

    /// As in escrow: two signatures of which one is another's, and a preimage.
    #[test]
    fn another_s_signature_goes_with_its_own_proof_and_a_preimage_makes_it_an_htlc_witness() {
        let (keys, path) = (keys(), KeyPath::new("seller".into()));
        let (first, second) = (proof("a"), proof("b"));
        let given = [(&first, "signed a"), (&second, "signed b")];
        let given = given.map(|(proof, signature)| (proof.y().unwrap(), signature.to_owned())).to_vec();
        let spend = Spend::signed_by(path.clone()).released(given, ByteArray([9; 32]));
        for (proof, theirs) in [(first, "signed a"), (second, "signed b")] {
            let input = spend.inputs(vec![proof.clone()], &keys).unwrap().remove(0);
            let Some(Witness::HTLCWitness(witness)) = input.to_proof().unwrap().witness else { panic!() };
            let signatures = witness.signatures.unwrap();
            assert_eq!((signatures.len(), signatures[1].as_str()), (2, theirs));
            assert!(has_signed(keys.public(&path), &proof.secret, &signatures[..1]));
            assert_eq!(witness.preimage, "09".repeat(32));
            assert!(!input.may_be_spent_by_us(&signatures[1..]), "another's signature doesn't make it ours");
        }
        assert!(!format!("{spend:?}").contains("09") && !format!("{spend:?}").contains("signed a"));
    }

    #[test]
    fn a_refund_from_escrow_shows_an_empty_preimage() {
        let input =
            Spend::withholding(KeyPath::new("refund".into())).inputs(vec![proof("a")], &keys()).unwrap().remove(0);
        let Some(Witness::HTLCWitness(witness)) = input.to_proof().unwrap().witness else { panic!() };
        assert_eq!((witness.preimage.as_str(), witness.signatures.unwrap().len()), ("", 1));
    }

    #[test]
    fn a_spend_reads_back_from_the_store() {
        let given = vec![(proof("a").y().unwrap(), vec!["signed".to_owned()])];
        for preimage in [None, Some(Preimage::Withheld), Some(Preimage::Shown(ByteArray([9; 32])))] {
            let spend = Spend { keys: vec![KeyPath::new("k".into())], given: given.clone(), preimage };
            let bytes = guilder_protocol::cbor::encode(&spend);
            assert_eq!(guilder_protocol::cbor::decode::<Spend>(&bytes).unwrap(), spend);
        }
    }
}
