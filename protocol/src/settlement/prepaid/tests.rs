#![allow(clippy::unwrap_used)]
//! The attacks on a prepaid lock, each against a lock that holds, made by a small mint.

use cashu::nuts::{Keys, Kind, P2PKWitness, Witness, nut10};

use super::*;
use crate::{
    bytes::ByteArray,
    cbor,
    limits::{MAX_LOCK_SECRET, MAX_PROOFS},
    locks::{Keyset, KeysetError, KeysetId, ys_commitment},
    settlement,
    testing::mint::{Mint, lock_key, secret_key},
};

const FLOOR: u64 = 1_800_000_000;

fn agreed() -> Conditions {
    Conditions { locktime: Timestamp::from_secs(FLOOR + 10), payee: lock_key("payee"), refund: lock_key("refund") }
}

fn lock_of(mint: &Mint, conditions: &Conditions, amounts: &[u64]) -> Lock {
    let proofs = amounts.iter().enumerate().map(|(at, amount)| mint.sign(*amount, &conditions.secret(&[at as u8; 32])));
    Lock { proofs: proofs.collect(), refund: conditions.refund }
}

fn commit(lock: &Lock) -> Digest {
    let ys: Vec<_> = lock.proofs.iter().map(|proof| proof.y().unwrap()).collect();
    ys_commitment(&ys)
}

/// Holds a lock against an offer of price 6, as if the award committed to just these proofs.
fn judge(mint: &Mint, lock: &Lock) -> Result<CheckedLock, LockError> {
    judge_with(mint, lock, |_, _| ())
}

fn judge_with(
    mint: &Mint,
    lock: &Lock,
    change: impl FnOnce(&mut LockDemand, &mut AwardPart),
) -> Result<CheckedLock, LockError> {
    let terms = Terms { payee: agreed().payee, locktime: Timestamp::from_secs(FLOOR) };
    let mut part = AwardPart { locktime: agreed().locktime, ys: commit(lock) };
    let mut demand = LockDemand {
        terms: settlement::Terms::Prepaid(terms),
        part: settlement::AwardPart::Prepaid(part.clone()),
        unit: "sat".parse().unwrap(),
        price: 6,
        max_proofs: 4,
    };
    change(&mut demand, &mut part);
    demand.part = settlement::AwardPart::Prepaid(part);
    demand.check(&settlement::Lock::Prepaid(lock.clone()), &mint.view())
}

fn sat() -> Mint {
    Mint::new(1, "sat", 0, None)
}

#[test]
fn an_honest_lock_holds() {
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    let checked = judge(&sat(), &lock).unwrap();
    assert_eq!((checked.amount(), checked.fee()), (6, 0));
    assert_eq!(checked.ys(), commit(&lock));
    assert_eq!(checked.locktime(), agreed().locktime);
    assert_eq!(checked.proofs()[0].proof.secret.to_string(), agreed().secret(&[0; 32]));
}

#[test]
fn the_wire_form_is_fixed_and_bounded() {
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    let bytes = cbor::encode(&lock);
    assert_eq!(cbor::decode::<Lock>(&bytes).unwrap(), lock);
    assert_eq!(serde_json::from_str::<Lock>(&serde_json::to_string(&lock).unwrap()).unwrap(), lock);

    let mut long = lock.clone();
    long.proofs[0].secret = "x".repeat(MAX_LOCK_SECRET + 1);
    assert!(cbor::decode::<Lock>(&cbor::encode(&long)).is_err());
    let mut many = lock.clone();
    many.proofs = vec![lock.proofs[0].clone(); MAX_PROOFS + 1];
    assert!(cbor::decode::<Lock>(&cbor::encode(&many)).is_err());
}

#[test]
fn a_lock_without_its_dleq_does_not_decode() {
    #[derive(serde::Serialize)]
    struct Stripped {
        amount: u64,
        c: ByteArray<33>,
        id: KeysetId,
        secret: String,
    }
    let LockedProof { amount, c, id, secret, .. } = lock_of(&sat(), &agreed(), &[4]).proofs.remove(0);
    assert!(cbor::decode::<LockedProof>(&cbor::encode(&Stripped { amount, c, id, secret })).is_err());
}

#[test]
fn the_secret_is_one_text() {
    let nonce = [0xab; 32];
    let (payee, refund) = (agreed().payee, agreed().refund);
    let text = format!(
        "[\"P2PK\",{{\"nonce\":\"{}\",\"data\":\"{payee}\",\"tags\":[[\"locktime\",\"1800000010\"],\
         [\"refund\",\"{refund}\"],[\"sigflag\",\"SIG_INPUTS\"]]}}]",
        "ab".repeat(32)
    );
    assert_eq!(agreed().secret(&nonce), text);
    assert!(text.len() <= MAX_LOCK_SECRET);
    assert_eq!(agreed().nonce_of(&text), Some(nonce));
    for other in ["", &text[..80], &text.to_uppercase(), &text.replace("ab", "AB"), &text.replace(',', ", ")] {
        assert_eq!(agreed().nonce_of(other), None, "{other}");
    }
}

/// What cdk's mint makes of the text: the payee at any time, the refund key after the locktime only.
#[test]
fn cdk_reads_the_secret_as_we_mean_it() {
    let text = agreed().secret(&[7; 32]);
    let secret: nut10::Secret = serde_json::from_str(&text).unwrap();
    assert_eq!(secret.kind(), Kind::P2PK);
    let conditions = nut10::Conditions::try_from(secret.secret_data().tags().unwrap().clone()).unwrap();
    assert_eq!(conditions.locktime, Some(FLOOR + 10));
    assert_eq!(conditions.refund_keys.unwrap()[0].to_bytes(), agreed().refund.0);
    assert_eq!(conditions.pubkeys, None);
    assert_eq!(conditions.num_sigs, None);

    let spend = |locktime: u64, signer: &str| {
        let conditions = Conditions { locktime: Timestamp::from_secs(locktime), ..agreed() };
        let mut proof = sat().sign(4, &conditions.secret(&[7; 32])).to_cashu().unwrap();
        proof.witness = Some(Witness::P2PKWitness(P2PKWitness { signatures: vec![] }));
        proof.sign_p2pk(secret_key(signer.as_bytes())).unwrap();
        proof.verify_p2pk().is_ok()
    };
    let never = 4_000_000_000;
    assert!(spend(never, "payee") && spend(1, "payee") && spend(1, "refund"));
    assert!(!spend(never, "refund") && !spend(1, "stranger"));
}

#[test]
fn attack_short_locktime() {
    // In the award and in the secrets alike: under the offer's floor.
    let early = Conditions { locktime: Timestamp::from_secs(FLOOR - 1), ..agreed() };
    let lock = lock_of(&sat(), &early, &[4, 2]);
    let verdict = judge_with(&sat(), &lock, |_, part| part.locktime = early.locktime);
    let floor = Timestamp::from_secs(FLOOR);
    assert_eq!(verdict.unwrap_err(), LockError::LocktimeTooEarly { locktime: early.locktime, floor });
    // In the secrets only: not the agreed text.
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Secret { index: 0 });
    let late = Timestamp::from_secs(u64::MAX);
    let verdict = judge_with(&sat(), &lock, |_, part| part.locktime = late);
    assert_eq!(verdict.unwrap_err(), LockError::LocktimeTooLate(late));
}

#[test]
fn attack_other_payee() {
    let theirs = Conditions { payee: lock_key("buyer"), ..agreed() };
    assert_eq!(judge(&sat(), &lock_of(&sat(), &theirs, &[4, 2])).unwrap_err(), LockError::Secret { index: 0 });
    // One bad proof among good ones.
    let mut lock = lock_of(&sat(), &agreed(), &[4, 2]);
    lock.proofs[1] = sat().sign(2, &theirs.secret(&[9; 32]));
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Secret { index: 1 });
}

#[test]
fn attack_refund_key_is_the_payee_mirrored() {
    let mut mirrored = agreed().payee;
    mirrored.0[0] ^= 1;
    let mirrored = Conditions { refund: mirrored, ..agreed() };
    assert_eq!(judge(&sat(), &lock_of(&sat(), &mirrored, &[4, 2])).unwrap_err(), LockError::SameKey);
}

#[test]
fn attack_refund_key_off_the_curve() {
    let mut refund = [0xff; 33];
    refund[0] = 2;
    let off = Conditions { refund: ByteArray(refund), ..agreed() };
    assert_eq!(judge(&sat(), &lock_of(&sat(), &off, &[4, 2])).unwrap_err(), LockError::Key);
}

/// Texts that some parser takes for the agreed lock and another doesn't.
#[test]
fn attack_other_texts() {
    let nonce = [3; 32];
    let honest = agreed().secret(&nonce);
    let (payee, refund, thief) = (agreed().payee, agreed().refund, lock_key("thief"));
    let changed = [
        ("SIG_ALL", honest.replace("SIG_INPUTS", "SIG_ALL")),
        ("HTLC with a hash", honest.replace("P2PK", "HTLC").replace(&payee.to_string(), &"00".repeat(32))),
        ("hidden third key", honest.replace("[[\"lock", &format!("[[\"pubkeys\",\"{thief}\"],[\"lock"))),
        ("second refund key", honest.replace(&format!("{refund}\""), &format!("{refund}\",\"{thief}\""))),
        ("n_sigs of two", honest.replace("[[\"lock", "[[\"n_sigs\",\"2\"],[\"lock")),
        ("n_sigs_refund", honest.replace("[[\"lock", "[[\"n_sigs_refund\",\"1\"],[\"lock")),
        ("duplicate locktime before", honest.replace("[[\"lock", "[[\"locktime\",\"1\"],[\"lock")),
        ("duplicate locktime after", honest.replace("]]}]", "],[\"locktime\",\"1\"]]}]")),
        ("duplicate data", honest.replace("\"tags\"", &format!("\"data\":\"{thief}\",\"tags\""))),
        ("no refund", honest.replace(&format!("[\"refund\",\"{refund}\"],"), "")),
        (
            "tags reordered",
            honest
                .replace(",[\"sigflag\",\"SIG_INPUTS\"]", "")
                .replace("[[\"lock", "[[\"sigflag\",\"SIG_INPUTS\"],[\"lock"),
        ),
        ("locktime as a number", honest.replace("\"1800000010\"", "1800000010")),
        ("locktime with a sign", honest.replace("\"1800000010\"", "\"+1800000010\"")),
        ("upper-case key", honest.replace(&payee.to_string(), &payee.to_string().to_uppercase())),
        ("mirrored payee", honest.replace(&payee.to_string()[..2], "0x")),
        ("white space", honest.replace(':', ": ")),
        ("short nonce", honest.replace(&"03".repeat(32), &"03".repeat(16))),
        ("trailing text", format!("{honest} ")),
        ("plain", "0".repeat(64)),
    ];
    for (name, text) in changed {
        assert_ne!(text, honest, "{name}");
        let mut lock = lock_of(&sat(), &agreed(), &[4, 2]);
        lock.proofs[0] = sat().sign(4, &text);
        assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Secret { index: 0 }, "{name}");
    }
}

#[test]
fn attack_duplicates() {
    let mut lock = lock_of(&sat(), &agreed(), &[4]);
    lock.proofs.push(lock.proofs[0].clone());
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Duplicate { index: 1 });
    // One secret signed for two amounts is still one proof to the mint.
    lock.proofs[1] = sat().sign(2, &lock.proofs[0].secret);
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Duplicate { index: 1 });
}

#[test]
fn attack_forged_amount() {
    let mut lock = lock_of(&sat(), &agreed(), &[4, 2]);
    lock.proofs[1].amount = 64;
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Dleq { index: 1, amount: 64 });
    for amount in [0, 3, 256, u64::MAX] {
        lock.proofs[1].amount = amount;
        assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Amount { index: 1, amount });
    }
}

#[test]
fn attack_forged_dleq() {
    let honest = lock_of(&sat(), &agreed(), &[4, 2]);
    let forged = |change: fn(&mut LockedProof)| {
        let mut lock = honest.clone();
        change(&mut lock.proofs[0]);
        judge(&sat(), &lock).unwrap_err()
    };
    let bad = LockError::Dleq { index: 0, amount: 4 };
    assert_eq!(forged(|proof| proof.dleq.e.0[31] ^= 1), bad);
    assert_eq!(forged(|proof| proof.dleq.s.0[31] ^= 1), bad);
    assert_eq!(forged(|proof| proof.dleq.r.0[31] ^= 1), bad);
    assert_eq!(forged(|proof| proof.c = lock_key("any")), bad);
    assert_eq!(forged(|proof| proof.dleq.r = ByteArray([0; 32])), LockError::Malformed { index: 0 });
    assert_eq!(forged(|proof| proof.dleq.e = ByteArray([0xff; 32])), LockError::Malformed { index: 0 });
    assert_eq!(forged(|proof| proof.c = ByteArray([0; 33])), LockError::Malformed { index: 0 });
    // Another mint's signature under this keyset's ID.
    let mut lock = honest.clone();
    lock.proofs[0] =
        LockedProof { id: sat().keyset.id(), ..Mint::new(9, "sat", 0, None).sign(4, &agreed().secret(&[0; 32])) };
    assert_eq!(judge(&sat(), &lock).unwrap_err(), bad);
}

#[test]
fn attack_other_keyset_or_unit() {
    let other = Mint::new(2, "sat", 0, None);
    let lock = lock_of(&other, &agreed(), &[4, 2]);
    let id = other.keyset.id();
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::UnknownKeyset { index: 0, id });

    let play = Mint::new(1, "play", 0, None);
    assert_eq!(judge(&play, &lock_of(&play, &agreed(), &[4, 2])).unwrap_err(), LockError::Unit { index: 0 });

    let expiring = Mint::new(1, "sat", 0, Some(FLOOR + 10));
    let lock = lock_of(&expiring, &agreed(), &[4, 2]);
    assert_eq!(judge(&expiring, &lock).unwrap_err(), LockError::KeysetExpires { index: 0 });
}

#[test]
fn attack_too_many_or_none() {
    let lock = lock_of(&sat(), &agreed(), &[2, 1, 1, 1, 1]);
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::TooManyProofs { count: 5, max: 4 });
    let none = Lock { proofs: vec![], refund: agreed().refund };
    assert_eq!(judge(&sat(), &none).unwrap_err(), LockError::Empty);
}

#[test]
fn attack_under_the_price_or_the_fee() {
    let lock = lock_of(&sat(), &agreed(), &[4, 1]);
    assert_eq!(judge(&sat(), &lock).unwrap_err(), LockError::Short { amount: 5, price: 6, fee: 0 });
    // 2 x 501 ppk is 1.002, so the mint keeps 2 of the redeemed batch.
    let dear = Mint::new(1, "sat", 501, None);
    let lock = lock_of(&dear, &agreed(), &[4, 2, 1]);
    assert_eq!(judge(&dear, &lock).unwrap_err(), LockError::Short { amount: 7, price: 6, fee: 2 });
    assert_eq!(judge(&dear, &lock_of(&dear, &agreed(), &[8])).unwrap().fee(), 1);
    let greedy = Mint::new(1, "sat", u64::MAX, None);
    assert_eq!(judge(&greedy, &lock_of(&greedy, &agreed(), &[4, 2])).unwrap_err(), LockError::Overflow);
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    let verdict = judge_with(&sat(), &lock, |demand, _| demand.price = u64::MAX);
    assert!(matches!(verdict, Err(LockError::Short { .. })));
}

#[test]
fn attack_other_proofs_than_awarded() {
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    let verdict = judge_with(&sat(), &lock, |_, part| part.ys.0[0] ^= 1);
    assert_eq!(verdict.unwrap_err(), LockError::Commitment);
    let mut reordered = lock.clone();
    reordered.proofs.reverse();
    assert_eq!(commit(&lock), commit(&reordered));
    assert!(judge(&sat(), &reordered).is_ok());
}

#[test]
fn a_keyset_with_another_id_is_refused() {
    let keyset = sat().keyset;
    let other = Mint::new(2, "sat", 0, None).keyset.id();
    let wrong = Keyset::verify(other, keyset.unit().clone(), keyset.keys().clone(), 0, None);
    assert_eq!(wrong.unwrap_err(), KeysetError::Id(other));
    // Fee and unit are part of the ID.
    assert!(Keyset::verify(keyset.id(), keyset.unit().clone(), keyset.keys().clone(), 1, None).is_err());
    assert!(Keyset::verify(keyset.id(), "play".parse().unwrap(), keyset.keys().clone(), 0, None).is_err());
    let empty = Keys::new(Default::default());
    assert!(matches!(Keyset::verify(keyset.id(), keyset.unit().clone(), empty, 0, None), Err(KeysetError::Amounts(_))));
}

#[test]
fn the_money_never_prints() {
    let lock = lock_of(&sat(), &agreed(), &[4]);
    let shown = format!("{lock:?}");
    let LockedProof { dleq, secret, .. } = &lock.proofs[0];
    assert!(!shown.contains(&hex::encode([0; 32])) && !shown.contains(&dleq.r.to_string()) && !shown.contains(secret));
}
