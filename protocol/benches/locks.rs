//! The whole check of a lock against the bare DLEQ verifications of the same proofs, in one run: `cargo bench -p
//! guilder-protocol --bench locks`. The goal is a ratio of at most 1.1: comparing, hashing and parsing cost next to
//! nothing beside the curve.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use cashu::{
    Amount,
    dhke::{blind_message, construct_proofs, sign_message},
    nuts::{BlindSignature, CurrencyUnit, Id, Keys, Proof, PublicKey, SecretKey},
    secret::Secret,
};
use guilder_protocol::{
    bytes::ByteArray,
    cbor::sha256,
    locks::{Keyset, KeysetView, LockedProof, SpendingConditions, ys_commitment},
    market::Unit,
    settlement::{AwardPart, Lock, LockDemand, Terms, prepaid},
    time::Timestamp,
};

const ROUNDS: usize = 200;
const GOAL: f64 = 1.1;

fn main() {
    println!("{:>7} {:>12} {:>12} {:>7}", "proofs", "bare DLEQ", "lock check", "ratio");
    for proofs in [1, 4, 16] {
        let case = Case::new(proofs);
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        // Alternating, so that whatever else the machine does falls on both.
        for _ in 0..ROUNDS {
            bare.push(timed(|| case.bare()));
            whole.push(timed(|| case.whole()));
        }
        let (bare, whole) = (median(bare), median(whole));
        let ratio = whole.as_secs_f64() / bare.as_secs_f64();
        let verdict = if ratio <= GOAL { "" } else { "  over the goal of 1.1" };
        println!("{proofs:>7} {bare:>12.1?} {whole:>12.1?} {ratio:>7.3}{verdict}");
    }
}

struct Case {
    bare: Vec<(Proof, PublicKey)>,
    lock: Lock,
    keysets: KeysetView,
    demand: LockDemand,
}

impl Case {
    fn new(proofs: usize) -> Self {
        let unit: Unit = "sat".parse().unwrap();
        let signers: Vec<_> = (0..32_u8).map(|bit| (1_u64 << bit, secret_key(&[1, bit]))).collect();
        let keys = Keys::new(signers.iter().map(|(amount, key)| (Amount::from(*amount), key.public_key())).collect());
        let id = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 0, None);
        let keyset = Keyset::verify(id.into(), unit.clone(), keys.clone(), 0, None).unwrap();
        let lock_key = |label: &[u8]| ByteArray(secret_key(label).public_key().to_bytes());
        let locktime = Timestamp::from_secs(1_800_000_000);
        let conditions = prepaid::Conditions { locktime, payee: lock_key(b"payee"), refund: lock_key(b"refund") };
        let bare: Vec<_> = signers
            .iter()
            .take(proofs)
            .map(|(amount, key)| {
                let secret = conditions.secret(&sha256(&amount.to_be_bytes()));
                let (blinded, r) = blind_message(secret.as_bytes(), Some(secret_key(secret.as_bytes()))).unwrap();
                let c = sign_message(key, &blinded).unwrap();
                let signature = BlindSignature::new(Amount::from(*amount), c, id, &blinded, key).unwrap();
                let mut made = construct_proofs(vec![signature], vec![r], vec![Secret::new(secret)], &keys).unwrap();
                (made.remove(0), key.public_key())
            })
            .collect();
        let proofs: Vec<_> = bare.iter().map(|(proof, _)| LockedProof::from_cashu(proof).unwrap()).collect();
        let ys = ys_commitment(&proofs.iter().map(|proof| proof.y().unwrap()).collect::<Vec<_>>());
        let demand = LockDemand {
            terms: Terms::Prepaid(prepaid::Terms { payee: conditions.payee, locktime }),
            part: AwardPart::Prepaid(prepaid::AwardPart { locktime, ys }),
            unit,
            price: 1,
            max_proofs: 64,
        };
        let lock = Lock::Prepaid(prepaid::Lock { proofs, refund: conditions.refund });
        Self { bare, lock, keysets: [(keyset.id(), Arc::new(keyset))].into(), demand }
    }

    fn bare(&self) {
        for (proof, key) in &self.bare {
            black_box(proof).verify_dleq(*key).expect("made to hold");
        }
    }

    fn whole(&self) {
        black_box(self.demand.check(black_box(&self.lock), &self.keysets)).expect("made to hold");
    }
}

fn secret_key(label: &[u8]) -> SecretKey {
    SecretKey::from_slice(&sha256(label)).unwrap()
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
