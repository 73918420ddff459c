//! A small mint that signs whatever it is given.

use std::sync::Arc;

use cashu::{
    Amount,
    dhke::{blind_message, construct_proofs, sign_message},
    nuts::{BlindSignature, CurrencyUnit, Id, Keys, SecretKey},
    secret::Secret,
};

use crate::{
    bytes::{ByteArray, LockKey},
    cbor,
    locks::{Keyset, KeysetView, LockedProof},
    time::Timestamp,
};

pub(crate) struct Mint {
    keys: Vec<(u64, SecretKey)>,
    pub(crate) keyset: Keyset,
}

impl Mint {
    pub(crate) fn new(seed: u8, unit: &str, fee_ppk: u64, expiry: Option<u64>) -> Self {
        let keys: Vec<_> = (0..8).map(|bit| (1_u64 << bit, secret_key(&[seed, bit]))).collect();
        let public: Keys =
            Keys::new(keys.iter().map(|(amount, key)| (Amount::from(*amount), key.public_key())).collect());
        let id = Id::v2_from_data(&public, &unit.parse::<CurrencyUnit>().unwrap(), fee_ppk, expiry);
        let expiry = expiry.map(Timestamp::from_secs);
        let keyset = Keyset::verify(id.into(), unit.parse().unwrap(), public, fee_ppk, expiry).unwrap();
        Self { keys, keyset }
    }

    pub(crate) fn view(&self) -> KeysetView {
        [(self.keyset.id(), Arc::new(self.keyset.clone()))].into()
    }

    pub(crate) fn sign(&self, amount: u64, secret: &str) -> LockedProof {
        let id = self.keyset.id().to_cashu();
        let (blinded, r) = blind_message(secret.as_bytes(), Some(secret_key(secret.as_bytes()))).unwrap();
        let key = &self.keys.iter().find(|(of, _)| *of == amount).unwrap().1;
        let c = sign_message(key, &blinded).unwrap();
        let signature = BlindSignature::new(Amount::from(amount), c, id, &blinded, key).unwrap();
        let keys = self.keyset.keys();
        let proofs = construct_proofs(vec![signature], vec![r], vec![Secret::new(secret)], keys).unwrap();
        LockedProof::from_cashu(&proofs[0]).unwrap()
    }
}

pub(crate) fn secret_key(label: &[u8]) -> SecretKey {
    SecretKey::from_slice(&cbor::sha256(label)).unwrap()
}

pub(crate) fn lock_key(label: &str) -> LockKey {
    ByteArray(secret_key(label.as_bytes()).public_key().to_bytes())
}
