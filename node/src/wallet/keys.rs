//! The keys that money is locked to, all derived from one seed, so that a restored home folder has them again.
//!
//! A key is HMAC-SHA256(lock seed, label ‖ counter byte) read as a secp256k1 scalar, with the first counter from 0 for
//! which it is one. The labels are [`KeyPath`]s; each way to pay has its own ([`super::modes`]):
//!
//! - `prepaid/<buyer's did>`: our key towards this buyer, when we sell. Stable, so that the buyer can lock ahead.
//! - `refund/<seller's did>/<locktime>`: our key for what we locked to this seller, when we buy.
//! - `escrow/payee/<label>`, `escrow/seal/<label>`: our key for one trade that we sell, and the one that its output is sealed
//!   with; the label, in hex, stands in our offer.
//! - `escrow/release/<payee>/<key hash>`, `escrow/refund/<payee>/<key hash>`: our keys for one trade that we buy, by what the
//!   seller's offer names.

use bitcoin_hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256, sha512};
use cdk::nuts::{PublicKey, SecretKey};
use guilder_protocol::bytes::{ByteArray, LockKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Names one of our lock keys by how it derives. Stored where the key is needed; a path once given means the same for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyPath(String);

impl KeyPath {
    pub(super) fn new(path: String) -> Self {
        Self(path)
    }
}

/// Derives lock keys. Never printed.
pub(super) struct LockKeys {
    seed: Zeroizing<[u8; 32]>,
}

impl LockKeys {
    pub(super) fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        Self { seed }
    }

    /// The public half, as it travels.
    pub(super) fn public(&self, path: &KeyPath) -> LockKey {
        ByteArray(self.secret(path).public_key().to_bytes())
    }

    #[allow(clippy::expect_used)] // 256 hashes in a row outside the group order: never
    pub(super) fn secret(&self, KeyPath(label): &KeyPath) -> SecretKey {
        let scalar = |counter: u8| {
            let mut engine = HmacEngine::<sha256::Hash>::new(&*self.seed);
            engine.input(label.as_bytes());
            engine.input(&[counter]);
            SecretKey::from_slice(Hmac::<sha256::Hash>::from_engine(engine).as_byte_array()).ok()
        };
        (0..=u8::MAX).find_map(scalar).expect("a hash is a scalar")
    }
}

impl std::fmt::Debug for LockKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockKeys(hidden)")
    }
}

/// The seed of the secrets of tokens that are sent, a line of their own under NUT-13: HMAC-SHA512 of `guilder/tokens` with
/// the wallet's seed as its key.
pub(super) fn token_seed(wallet_seed: &[u8; 64]) -> Zeroizing<[u8; 64]> {
    let mut engine = HmacEngine::<sha512::Hash>::new(wallet_seed);
    engine.input(b"guilder/tokens");
    Zeroizing::new(Hmac::from_engine(engine).to_byte_array())
}

/// Whether one of some signatures, in hex, is by `key` over a coin's secret.
pub(super) fn has_signed(key: LockKey, secret: &str, signatures: &[String]) -> bool {
    let Ok(key) = PublicKey::from_slice(&key.0) else { return false };
    let signed =
        |signature: &String| signature.parse().is_ok_and(|signature| key.verify(secret.as_bytes(), &signature).is_ok());
    signatures.iter().any(signed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_has_one_key_for_ever_and_the_seed_is_hidden() {
        let (keys, path) = (LockKeys::new(Zeroizing::new([7; 32])), |path: &str| KeyPath::new(path.into()));
        assert_eq!(keys.secret(&path("a")), LockKeys::new(Zeroizing::new([7; 32])).secret(&path("a")));
        assert_ne!(keys.public(&path("a")), keys.public(&path("b")));
        assert_ne!(keys.public(&path("a")), LockKeys::new(Zeroizing::new([8; 32])).public(&path("a")));
        assert_eq!(format!("{keys:?}"), "LockKeys(hidden)");
    }

    #[test]
    fn the_tokens_seed_is_not_the_wallets_and_stays_the_same() {
        let seed = token_seed(&[7; 64]);
        assert_ne!(*seed, [7; 64]);
        assert_eq!(*seed, *token_seed(&[7; 64]));
        assert_ne!(*seed, *token_seed(&[8; 64]));
    }

    #[test]
    fn a_signature_is_told_from_anothers() {
        let (ours, theirs) = (SecretKey::from_slice(&[1; 32]).unwrap(), SecretKey::from_slice(&[2; 32]).unwrap());
        let by = |key: &SecretKey| vec!["no signature".into(), key.sign(b"secret").unwrap().to_string()];
        let public = |key: &SecretKey| ByteArray(key.public_key().to_bytes());
        assert!(has_signed(public(&ours), "secret", &by(&ours)));
        assert!(!has_signed(public(&ours), "secret", &by(&theirs)));
        assert!(!has_signed(public(&ours), "another", &by(&ours)));
        assert!(!has_signed(public(&ours), "secret", &[]));
    }
}
