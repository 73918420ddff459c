#![allow(clippy::unwrap_used)]
//! The attacks on an escrow lock, its release and its key.

use cashu::nuts::{HTLCWitness, Kind, Proof, Witness, nut10};
use proptest::prelude::*;

use super::*;
use crate::{
    limits::{MAX_LOCK_SECRET, MAX_PROOFS},
    locks::ys_commitment,
    settlement,
    testing::mint::{Mint, lock_key, secret_key},
};

const LOCKTIME: u64 = 1_800_000_000;
const KEY: [u8; 32] = [7; 32];

fn at(before_locktime: u64) -> Timestamp {
    Timestamp::from_secs(LOCKTIME - before_locktime)
}

fn key_hash() -> Digest {
    SealKey::new(KEY).hash()
}

fn agreed() -> Conditions {
    Conditions {
        locktime: at(0),
        key_hash: key_hash(),
        payee: lock_key("payee"),
        release: lock_key("release"),
        refund: lock_key("refund"),
    }
}

fn terms() -> Terms {
    Terms {
        label: ByteArray([1; 16]),
        payee: agreed().payee,
        key_hash: key_hash(),
        release_by: at(600),
        redeem_by: at(300),
        locktime: at(0),
    }
}

fn lock_of(mint: &Mint, conditions: &Conditions, amounts: &[u64]) -> Lock {
    let proofs = amounts.iter().enumerate().map(|(at, amount)| mint.sign(*amount, &conditions.secret(&[at as u8; 32])));
    conditions.lock(proofs.collect())
}

fn commit(lock: &Lock) -> Digest {
    let ys: Vec<_> = lock.proofs.iter().map(|proof| proof.y().unwrap()).collect();
    ys_commitment(&ys)
}

fn sat() -> Mint {
    Mint::new(1, "sat", 0, None)
}

/// Holds a lock against an offer of price 6, as if the award committed to just these proofs.
fn judge(lock: &Lock) -> Result<CheckedLock, LockError> {
    judge_with(lock, |_, _| ())
}

fn judge_with(lock: &Lock, change: impl FnOnce(&mut Terms, &mut AwardPart)) -> Result<CheckedLock, LockError> {
    let (mut terms, mut part) = (terms(), agreed().part(commit(lock)));
    change(&mut terms, &mut part);
    let demand = LockDemand {
        terms: settlement::Terms::Escrow(terms),
        part: settlement::AwardPart::Escrow(part),
        unit: "sat".parse().unwrap(),
        price: 6,
        max_proofs: 4,
    };
    demand.check(&settlement::Lock::Escrow(lock.clone()), &sat().view())
}

#[test]
fn an_honest_lock_holds() {
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    let checked = judge(&lock).unwrap();
    assert_eq!((checked.amount(), checked.fee(), checked.locktime()), (6, 0, at(0)));
    assert_eq!(checked.proofs()[0].proof.secret.to_string(), agreed().secret(&[0; 32]));
}

#[test]
fn the_wire_form_is_fixed_and_bounded() {
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    assert_eq!(cbor::decode::<Lock>(&cbor::encode(&lock)).unwrap(), lock);
    let mut many = lock.clone();
    many.proofs = vec![lock.proofs[0].clone(); MAX_PROOFS + 1];
    assert!(cbor::decode::<Lock>(&cbor::encode(&many)).is_err());
}

#[test]
fn the_secret_is_one_text() {
    let Conditions { payee, release, refund, key_hash, .. } = agreed();
    let text = format!(
        "[\"HTLC\",{{\"nonce\":\"{}\",\"data\":\"{key_hash}\",\"tags\":[[\"pubkeys\",\"{release}\",\"{payee}\"],\
         [\"n_sigs\",\"2\"],[\"locktime\",\"1800000000\"],[\"refund\",\"{refund}\"],[\"sigflag\",\"SIG_INPUTS\"]]}}]",
        "ab".repeat(32)
    );
    assert_eq!(agreed().secret(&[0xab; 32]), text);
    assert!(text.len() <= MAX_LOCK_SECRET, "{}", text.len());
    assert_eq!(agreed().nonce_of(&text), Some([0xab; 32]));
}

/// What cdk's mint makes of a witness for the text.
fn spends(locktime: u64, preimage: &str, signers: &[&str]) -> bool {
    let conditions = Conditions { locktime: Timestamp::from_secs(locktime), ..agreed() };
    let text = conditions.secret(&[7; 32]);
    let mut proof: Proof = sat().sign(4, &text).to_cashu().unwrap();
    let sign = |signer: &&str| secret_key(signer.as_bytes()).sign(text.as_bytes()).unwrap().to_string();
    let signatures = Some(signers.iter().map(sign).collect());
    proof.witness = Some(Witness::HTLCWitness(HTLCWitness { preimage: preimage.into(), signatures }));
    proof.verify_htlc().is_ok()
}

#[test]
fn cdk_reads_the_secret_as_we_mean_it() {
    let secret: nut10::Secret = serde_json::from_str(&agreed().secret(&[7; 32])).unwrap();
    assert_eq!(secret.kind(), Kind::HTLC);
    let (never, past, key) = (4_000_000_000, 1, hex::encode(KEY));
    // Both signatures and the key, at any time.
    assert!(spends(never, &key, &["release", "payee"]) && spends(past, &key, &["payee", "release"]));
    // Nothing less, and no signature twice or for another's.
    for signers in
        [&["payee"][..], &["release"], &["payee", "payee"], &["refund", "payee"], &["refund", "release"], &[]]
    {
        assert!(!spends(never, &key, signers), "{signers:?}");
        assert!(!spends(past, &key, signers), "{signers:?} after the locktime, with the key");
    }
    for wrong in ["", &hex::encode([8; 32]), &hex::encode([7; 31]), &format!("{key}00")] {
        assert!(!spends(never, wrong, &["release", "payee"]), "{wrong}");
    }
    // The refund key alone after the locktime, and not before.
    assert!(spends(past, "", &["refund"]) && !spends(never, "", &["refund"]));
    assert!(!spends(past, "", &["release", "payee"]) && !spends(past, "", &["release"]));
}

#[test]
fn attack_other_deadlines_than_the_offers() {
    let changed = |secs: u64| {
        let conditions = Conditions { locktime: Timestamp::from_secs(secs), ..agreed() };
        let lock = lock_of(&sat(), &conditions, &[4, 2]);
        (judge(&lock).unwrap_err(), judge_with(&lock, |_, part| part.locktime = conditions.locktime).unwrap_err())
    };
    let floor = at(0);
    let (secret, early) = changed(LOCKTIME - 1);
    assert_eq!(
        (secret, early),
        (LockError::Secret { index: 0 }, LockError::LocktimeTooEarly { locktime: at(1), floor })
    );
    let late = floor.saturating_add(1);
    assert_eq!(changed(LOCKTIME + 1), (LockError::Secret { index: 0 }, LockError::LocktimeTooLate(late)));
}

#[test]
fn attack_another_key_than_the_offers() {
    let other = SealKey::new([8; 32]).hash();
    let lock = lock_of(&sat(), &Conditions { key_hash: other, ..agreed() }, &[4, 2]);
    assert_eq!(judge(&lock).unwrap_err(), LockError::Secret { index: 0 });
    assert_eq!(judge_with(&lock, |_, part| part.key_hash = other).unwrap_err(), LockError::KeyHash);
}

/// A release signature would be a refund signature: both sign the secret.
#[test]
fn attack_two_keys_of_one_x() {
    let mirrored = |mut key: LockKey| {
        key.0[0] ^= 1;
        key
    };
    let Conditions { payee, release, refund, .. } = agreed();
    for (what, conditions) in [
        ("release = refund", Conditions { refund: release, ..agreed() }),
        ("release = refund, mirrored", Conditions { refund: mirrored(release), ..agreed() }),
        ("release = payee", Conditions { release: payee, ..agreed() }),
        ("release = payee, mirrored", Conditions { release: mirrored(payee), ..agreed() }),
        ("refund = payee", Conditions { refund: payee, ..agreed() }),
        ("refund = payee, mirrored", Conditions { refund: mirrored(payee), ..agreed() }),
        ("refund = release", Conditions { release: refund, ..agreed() }),
    ] {
        assert_eq!(judge(&lock_of(&sat(), &conditions, &[4, 2])).unwrap_err(), LockError::SameKey, "{what}");
    }
}

#[test]
fn attack_keys_off_the_curve() {
    let mut off = [0xff; 33];
    off[0] = 2;
    let off = ByteArray(off);
    for conditions in [Conditions { refund: off, ..agreed() }, Conditions { release: off, ..agreed() }] {
        assert_eq!(judge(&lock_of(&sat(), &conditions, &[4, 2])).unwrap_err(), LockError::Key);
    }
    assert_eq!(Terms { payee: off, ..terms() }.acceptable(at(5_000)), Err(OfferError::Payee));
}

/// Texts that some parser takes for the agreed lock and another doesn't.
#[test]
fn attack_other_texts() {
    let nonce = [3; 32];
    let honest = agreed().secret(&nonce);
    let Conditions { payee, release, refund, key_hash, .. } = agreed();
    let thief = lock_key("thief");
    let changed = [
        ("SIG_ALL", honest.replace("SIG_INPUTS", "SIG_ALL")),
        ("P2PK", honest.replace("HTLC", "P2PK")),
        ("one signature", honest.replace("[\"n_sigs\",\"2\"]", "[\"n_sigs\",\"1\"]")),
        ("three signatures", honest.replace("[\"n_sigs\",\"2\"]", "[\"n_sigs\",\"3\"]")),
        ("no n_sigs", honest.replace("[\"n_sigs\",\"2\"],", "")),
        ("two n_sigs", honest.replace("[\"n_sigs\",\"2\"]", "[\"n_sigs\",\"2\"],[\"n_sigs\",\"1\"]")),
        ("third key", honest.replace(&format!("\"{payee}\"]"), &format!("\"{payee}\",\"{thief}\"]"))),
        ("payee missing", honest.replace(&format!(",\"{payee}\"]"), "]")),
        ("keys swapped", honest.replace(&format!("\"{release}\",\"{payee}\""), &format!("\"{payee}\",\"{release}\""))),
        ("second pubkeys", honest.replace("[[\"pub", &format!("[[\"pubkeys\",\"{thief}\"],[\"pub"))),
        ("second refund key", honest.replace(&format!("{refund}\""), &format!("{refund}\",\"{thief}\""))),
        ("n_sigs_refund", honest.replace("[[\"pub", "[[\"n_sigs_refund\",\"0\"],[\"pub")),
        ("no refund", honest.replace(&format!("[\"refund\",\"{refund}\"],"), "")),
        ("no locktime", honest.replace("[\"locktime\",\"1800000000\"],", "")),
        ("locktime twice", honest.replace("]]}]", "],[\"locktime\",\"1\"]]}]")),
        ("locktime as a number", honest.replace("\"1800000000\"", "1800000000")),
        ("hash in upper case", honest.replace(&key_hash.to_string(), &key_hash.to_string().to_uppercase())),
        ("hash twice", honest.replace("\"tags\"", &format!("\"data\":\"{}\",\"tags\"", "00".repeat(32)))),
        ("hash cut short", honest.replace(&key_hash.to_string(), &key_hash.to_string()[..62])),
        ("white space", honest.replace(':', ": ")),
        ("trailing text", format!("{honest} ")),
    ];
    for (name, text) in changed {
        assert_ne!(text, honest, "{name}");
        let mut lock = lock_of(&sat(), &agreed(), &[4, 2]);
        lock.proofs[0] = sat().sign(4, &text);
        assert_eq!(judge(&lock).unwrap_err(), LockError::Secret { index: 0 }, "{name}");
    }
}

#[test]
fn attack_a_lock_of_another_mode() {
    let proofs = lock_of(&sat(), &agreed(), &[4, 2]).proofs;
    let prepaid = settlement::Lock::Prepaid(settlement::prepaid::Lock { proofs, refund: agreed().refund });
    let demand = LockDemand {
        terms: settlement::Terms::Escrow(terms()),
        part: settlement::AwardPart::Escrow(agreed().part(ByteArray([0; 32]))),
        unit: "sat".parse().unwrap(),
        price: 6,
        max_proofs: 4,
    };
    assert_eq!(demand.check(&prepaid, &sat().view()).unwrap_err(), LockError::OtherMode);
}

#[test]
fn an_offer_s_deadlines_leave_room_for_each_step() {
    let deadline = at(700);
    assert_eq!(terms().check(deadline), Ok(()));
    for (what, changed) in [
        ("no time to release", Terms { release_by: deadline.saturating_add(MIN_RELEASE_SECS - 1), ..terms() }),
        ("release before the deadline", Terms { release_by: at(800), ..terms() }),
        ("no time to redeem", Terms { redeem_by: at(600 - MIN_REDEEM_SECS + 1), ..terms() }),
        ("redeem before the release", Terms { redeem_by: at(601), ..terms() }),
        ("no margin", Terms { redeem_by: at(MIN_REDEEM_MARGIN_SECS - 1), ..terms() }),
        ("locktime before all", Terms { locktime: deadline, ..terms() }),
        ("the end of time", Terms { redeem_by: Timestamp::from_secs(u64::MAX), ..terms() }),
    ] {
        assert!(changed.check(deadline).is_err(), "{what}");
    }
    assert_eq!(terms().acceptable(at(MAX_LOCK_SECS)), Ok(()));
    assert_eq!(terms().acceptable(at(MAX_LOCK_SECS + 1)), Err(OfferError::LockedTooLong));
}

#[test]
fn an_award_takes_the_offer_s_key_and_locktime_and_no_other() {
    let part = agreed().part(ByteArray([5; 32]));
    assert!(part.takes(&terms()));
    assert!(!AwardPart { locktime: at(0).saturating_add(1), ..part.clone() }.takes(&terms()));
    assert!(!AwardPart { locktime: at(1), ..part.clone() }.takes(&terms()));
    assert!(!AwardPart { key_hash: ByteArray([0; 32]), ..part }.takes(&terms()));
}

fn release(lock: &Lock, signer: &str) -> Vec<ReleaseSignature> {
    let key = secret_key(signer.as_bytes());
    let sign = |proof: &LockedProof| key.sign(proof.secret.as_bytes()).unwrap().to_string().parse().unwrap();
    lock.proofs.iter().map(sign).collect()
}

#[test]
fn every_signature_of_a_release_is_checked() {
    let lock = lock_of(&sat(), &agreed(), &[4, 2]);
    let good = release(&lock, "release");
    assert_eq!(check_release(&lock, &good), Ok(()));
    for (what, signatures, index) in [
        ("by the refund key", release(&lock, "refund"), 0),
        ("by the payee", release(&lock, "payee"), 0),
        ("in another order", vec![good[1], good[0]], 0),
        ("one for both", vec![good[0], good[0]], 1),
        (
            "the last one flipped",
            vec![good[0], {
                let mut bad = good[1];
                bad.0[63] ^= 1;
                bad
            }],
            1,
        ),
        ("zeros", vec![good[0], ByteArray([0; 64])], 1),
    ] {
        assert_eq!(check_release(&lock, &signatures), Err(ReleaseError::Signature { index }), "{what}");
    }
    for few in [&good[..0], &good[..1], &[good[0], good[1], good[1]]] {
        assert_eq!(check_release(&lock, few), Err(ReleaseError::Count { given: few.len(), due: 2 }));
    }
    // Of another trade of the same key.
    let other = lock_of(&sat(), &Conditions { locktime: at(1), ..agreed() }, &[4, 2]);
    assert!(check_release(&other, &good).is_err());
}

#[test]
fn the_key_is_found_however_the_mint_shows_it() {
    let key = hex::encode(KEY);
    let plain = format!(r#"{{"preimage":"{key}","signatures":["{}"]}}"#, "00".repeat(64));
    let escaped: String = key.bytes().map(|byte| format!("\\u{:04x}", byte)).collect();
    for (what, witness) in [
        ("plain", plain.clone()),
        ("the bare key", key.clone()),
        ("a text in a text", serde_json::to_string(&plain).unwrap()),
        ("two texts deep", serde_json::to_string(&serde_json::to_string(&plain).unwrap()).unwrap()),
        ("named twice, first", format!(r#"{{"preimage":"{key}","preimage":"{}"}}"#, "11".repeat(32))),
        ("named twice, last", format!(r#"{{"preimage":"{}","preimage":"{key}"}}"#, "11".repeat(32))),
        ("under another name", format!(r#"{{"Preimage":"{key}"}}"#)),
        ("in upper case", plain.replace(&key, &"07".repeat(32).to_uppercase())),
        ("with spaces", plain.replace(&key, &"07 ".repeat(32))),
        ("with vertical tabs", plain.replace(&key, &"07\u{b}".repeat(32))),
        ("with escaped vertical tabs", plain.replace(&key, &"07\\u000b".repeat(32))),
        ("with 0x", plain.replace(&key, &format!("0x{key}"))),
        ("escaped", format!(r#"{{"preimage":"{escaped}"}}"#)),
        ("in broken JSON", format!(r#"{{"preimage":"{key}","signatures":["#)),
        ("after an odd quotation mark", format!(r#"" {plain}"#)),
        ("among others", format!(r#"["{}", {plain}]"#, "é".repeat(100))),
    ] {
        assert_eq!(key_in(&witness, key_hash()), Some(Shown::Key(SealKey::new(KEY))), "{what}");
    }
    for (what, witness) in [
        ("nothing", String::new()),
        ("another", plain.replace(&key, &"11".repeat(32))),
        ("too far", format!("{}{plain}", " ".repeat(MAX_WITNESS))),
        ("the hash", plain.replace(&key, &key_hash().to_string())),
    ] {
        assert_eq!(key_in(&witness, key_hash()), None, "{what}");
    }
}

/// A mint that doesn't look at lengths lets a seller show what is no key: it is found, and opens nothing.
#[test]
fn attack_a_preimage_of_another_length() {
    for length in [0, 1, 31, 33, 64, 500] {
        let bytes = vec![7; length];
        let hash = ByteArray(cbor::sha256(&bytes));
        let witness = format!(r#"{{"preimage":"{}","signatures":[]}}"#, hex::encode(&bytes));
        assert_eq!(key_in(&witness, hash), Some(Shown::NoKey(bytes)), "{length}");
    }
    assert!(matches!(Shown::read(&KEY, key_hash()), Some(Shown::Key(_))));
}

/// A witness made to take long is given up on soon.
#[test]
fn attack_a_witness_of_quotation_marks() {
    for witness in ["\"".repeat(100_000), "\\\"".repeat(100_000), format!("\"{}", "\\\"a".repeat(50_000))] {
        assert_eq!(key_in(&witness, key_hash()), None);
    }
}

#[test]
fn a_receipt_is_of_its_award_only() {
    let args = crate::testing::args(&crate::testing::offer(&crate::testing::ask()));
    let part = agreed().part(ByteArray([5; 32]));
    let sealed = Sealed {
        aead: crate::seal::Cipher::ChaCha20Poly1305Stream,
        ciphertext: crate::content::ContentId::of(b"sealed"),
    };
    let honest = ReceiptPart::of(&args, &part, 8, Some(&sealed));
    assert!(honest.is_of(&args, &part));
    for other in [
        ReceiptPart { amount: args.price - 1, ..honest.clone() },
        ReceiptPart { key_hash: ByteArray([0; 32]), ..honest.clone() },
        ReceiptPart { ys: ByteArray([0; 32]), ..honest.clone() },
        ReceiptPart { mint: "https://other.example".parse().unwrap(), ..honest.clone() },
        ReceiptPart { unit: "usd".parse().unwrap(), ..honest.clone() },
    ] {
        assert!(!other.is_of(&args, &part));
    }
    assert_eq!(cbor::decode::<ReceiptPart>(&cbor::encode(&honest)).unwrap(), honest);
}

proptest! {
    #[test]
    fn any_witness_is_read_without_a_panic(witness in "\\PC{0,300}", layer in "[\"\\\\{}:,a-f0-9é ]{0,300}") {
        prop_assert_eq!(key_in(&witness, key_hash()), None);
        prop_assert_eq!(key_in(&layer, key_hash()), None);
    }
}
