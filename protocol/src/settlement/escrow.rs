//! Escrow: the output is delivered sealed, the money is locked to both parties and to the seal's key (NUT-14 HTLC), and taking
//! the one gives the other.
//!
//! ```text
//!  buyer                                                         seller
//!    |<- offer: Terms {payee, key_hash, release_by, redeem_by, locktime}-| all of it for this trade alone
//!    | secret(nonce), one per proof, signed by the mint           |
//!    |-- award: AwardPart {locktime, key_hash, ys} | Lock -------->| check(): rebuild every secret, compare bytes, DLEQ
//!    |                                                            | work
//!    |<- receipt: ReceiptPart {sealed, key_hash}, ciphertext ------| by the offer's deadline
//!    |-- release: its signature over each proof ------------------>| check_release(); by release_by
//!    |                                                            | redeem at the mint, which shows the key; by redeem_by
//!    |<- opened: the key -----------------------------------------|
//!    | or read the key from the mint (NUT-07): key_in             |
//!    | or, from the locktime on, take the money back              |
//! ```
//!
//! All deadlines are fixed in the offer: deadline < release_by < redeem_by < locktime, with room for clocks and the mint
//! between them. After each, whoever still waits goes on without the other:
//!
//! - The buyer releases only against a whole ciphertext that the receipt names, and only until `release_by`.
//! - The seller shows its key only with a valid release of every proof, and never after `redeem_by`: its path to the money
//!   stays open after the locktime, but then the buyer may take the money back and have the key too.
//! - The buyer takes money back only where the mint says that it is unspent; what is spent carries the key.
//!
//! | deviation | who loses what, at most |
//! |---|---|
//! | the seller delivers nothing, says that it failed, or seals what isn't there | nobody; the buyer waits for its money |
//! | the buyer never releases, or with wrong signatures | the seller: its work; the buyer gets nothing |
//! | the seller never redeems what was released | the seller: the price; the buyer waits for its money |
//! | the seller redeems and doesn't send the key | nobody: the mint shows it |
//! | the key opens to something else than the receipt commits to, or is no key | the buyer: the price; what shows it convicts the seller |
//! | the output is what was committed to, and worth nothing | the buyer: the price |
//! | the mint doesn't redeem, or hides the key, or the seller hosts it | one of them: the price, and the other its work |
//!
//! A release signature and a refund signature sign the same bytes, as do all signatures under `SIG_INPUTS`, so the three keys
//! differ in their x-coordinates, which is all that a signature knows of a key.

use std::collections::BTreeSet;

use cashu::nuts::PublicKey;
use serde::{Deserialize, Serialize};

use super::LockDemand;
use crate::{
    award::{AwardArgs, AwardError},
    bytes::{ByteArray, Digest, LockKey, Nonce as Label},
    cbor,
    limits::{MAX_LOCK_SECS, MAX_WITNESS, MIN_REDEEM_MARGIN_SECS, MIN_REDEEM_SECS, MIN_RELEASE_SECS},
    locks::{self, CheckedLock, KeysetView, LockError, LockedProof, Nonce, SpendingConditions},
    market::{MintUrl, Unit, choice::OfferError},
    receipt::Outcome,
    seal::{SealKey, Sealed},
    time::Timestamp,
};

/// Released by both and opened by the key, or back to the buyer after `locktime`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The seller's name for the keys of this trade, drawn for this offer: it finds them again by it.
    pub label: Label,
    /// The seller's key, for this trade alone.
    pub payee: LockKey,
    /// SHA-256 of the key that the output will be sealed with, for this trade alone.
    pub key_hash: Digest,
    /// Until when the buyer's release is taken.
    pub release_by: Timestamp,
    /// Until when the seller shows the key to take the money.
    pub redeem_by: Timestamp,
    /// From when on the buyer can take the money back.
    pub locktime: Timestamp,
}

/// Which proofs pay for which key, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwardPart {
    /// The locktime of every proof in the lock, as the offer says it.
    pub locktime: Timestamp,
    /// SHA-256 of the key that is paid for, as the offer says it.
    pub key_hash: Digest,
    /// SHA-256 over the sorted compressed Ys of the locked proofs.
    pub ys: Digest,
}

/// Locked proofs. Their locktime and the key's hash stand in the award, which is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// At most [`MAX_PROOFS`](crate::limits::MAX_PROOFS).
    #[serde(deserialize_with = "locks::bounded_proofs")]
    pub proofs: Vec<LockedProof>,
    /// The buyer's key without whose signature the seller can't take them.
    pub release: LockKey,
    /// The buyer's key for all of them after the locktime.
    pub refund: LockKey,
}

/// The money that stood locked, and what was delivered for it. At delivery nothing is paid yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptPart {
    /// The mint that issued it.
    pub mint: MintUrl,
    /// Its unit.
    pub unit: Unit,
    /// The sum of the proofs, input fees included.
    pub amount: u64,
    /// SHA-256 over the sorted compressed Ys of the proofs, as in the award.
    pub ys: Digest,
    /// SHA-256 of the key that opens what was delivered, as in the award.
    pub key_hash: Digest,
    /// What was delivered; null if the work failed.
    pub sealed: Option<Sealed>,
}

/// Who may take the money, and when: everything in a secret but its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conditions {
    /// From this moment on, by the mint's clock, the refund key may take it too.
    pub locktime: Timestamp,
    /// SHA-256 of the key that the seller must show.
    pub key_hash: Digest,
    /// The seller's key.
    pub payee: LockKey,
    /// The buyer's key before the locktime.
    pub release: LockKey,
    /// The buyer's key after the locktime.
    pub refund: LockKey,
}

/// The buyer's consent that one proof goes to the seller: a BIP-340 signature of its secret by the release key.
pub type ReleaseSignature = ByteArray<64>;

impl SpendingConditions for Conditions {
    const BEFORE_NONCE: &'static str = r#"["HTLC",{"nonce":""#;

    /// An ordinary NUT-14 secret: release and payee with the key's preimage at any time, the refund key after the locktime.
    fn secret(&self, nonce: &Nonce) -> String {
        let Self { locktime, key_hash, payee, release, refund } = self;
        format!(
            concat!(
                r#"{}{}","data":"{}","tags":[["pubkeys","{}","{}"],["n_sigs","2"],"#,
                r#"["locktime","{}"],["refund","{}"],["sigflag","SIG_INPUTS"]]}}]"#
            ),
            Self::BEFORE_NONCE,
            hex::encode(nonce),
            key_hash,
            release,
            payee,
            locktime.as_secs(),
            refund,
        )
    }
}

impl Conditions {
    pub(super) fn lock(&self, proofs: Vec<LockedProof>) -> Lock {
        Lock { proofs, release: self.release, refund: self.refund }
    }

    pub(super) fn part(&self, ys: Digest) -> AwardPart {
        AwardPart { locktime: self.locktime, key_hash: self.key_hash, ys }
    }
}

impl Terms {
    pub(super) fn check(&self, deadline: Timestamp) -> Result<(), &'static str> {
        let room = |from: Timestamp, to: Timestamp, least: u64| to.since(from) >= least;
        if !room(deadline, self.release_by, MIN_RELEASE_SECS) {
            return Err("an escrow offer leaves the buyer a minute after its deadline to release the money");
        }
        if !room(self.release_by, self.redeem_by, MIN_REDEEM_SECS) {
            return Err("an escrow offer leaves the seller a minute after the release to redeem the money");
        }
        if !room(self.redeem_by, self.locktime, MIN_REDEEM_MARGIN_SECS) {
            return Err("an escrow offer's locktime comes two minutes after the last redemption");
        }
        Ok(())
    }

    pub(super) fn acceptable(&self, now: Timestamp) -> Result<(), OfferError> {
        if self.locktime.since(now) > MAX_LOCK_SECS {
            return Err(OfferError::LockedTooLong);
        }
        // As in prepaid: what names a key that is no point is nobody's, not even after the locktime.
        PublicKey::from_slice(&self.payee.0).map(|_| ()).map_err(|_| OfferError::Payee)
    }
}

impl AwardPart {
    pub(super) fn check(&self, deadline: Timestamp) -> Result<(), AwardError> {
        if self.locktime <= deadline { Err(AwardError::Locktime) } else { Ok(()) }
    }

    pub(super) fn words(&self, args: &AwardArgs) -> String {
        let Self { locktime, key_hash, ys } = self;
        format!("in escrow at {} until {locktime} for the key {key_hash}, commitment {ys}", args.mint)
    }

    pub(super) fn takes(&self, terms: &Terms) -> bool {
        self.locktime == terms.locktime && self.key_hash == terms.key_hash
    }
}

impl ReceiptPart {
    pub(super) fn of(args: &AwardArgs, part: &AwardPart, amount: u64, sealed: Option<&Sealed>) -> Self {
        Self {
            mint: args.mint.clone(),
            unit: args.unit.clone(),
            amount,
            ys: part.ys,
            key_hash: part.key_hash,
            sealed: sealed.cloned(),
        }
    }

    pub(super) fn is_of(&self, args: &AwardArgs, part: &AwardPart) -> bool {
        self.amount >= args.price && *self == Self::of(args, part, self.amount, self.sealed.as_ref())
    }
}

/// Work that was done is paid for, once the buyer has released it. What is called off before is not.
pub(super) fn is_earned_by(out: &Outcome) -> bool {
    matches!(out, Outcome::Ok(_))
}

/// Holds a lock against the offer's terms and the award's part.
pub(super) fn check(
    demand: &LockDemand,
    terms: &Terms,
    part: &AwardPart,
    lock: &Lock,
    keysets: &KeysetView,
) -> Result<CheckedLock, LockError> {
    let (locktime, floor) = (part.locktime, terms.locktime);
    if locktime < floor {
        return Err(LockError::LocktimeTooEarly { locktime, floor });
    }
    if locktime > floor {
        return Err(LockError::LocktimeTooLate(locktime));
    }
    if part.key_hash != terms.key_hash {
        return Err(LockError::KeyHash);
    }
    let keys = [terms.payee, lock.release, lock.refund];
    for key in &keys[1..] {
        PublicKey::from_slice(&key.0).map_err(|_| LockError::Key)?;
    }
    let distinct: BTreeSet<&[u8]> = keys.iter().map(|key| &key.0[1..]).collect();
    if distinct.len() < keys.len() {
        return Err(LockError::SameKey);
    }
    let agreed = locks::Agreed {
        conditions: &Conditions {
            locktime,
            key_hash: terms.key_hash,
            payee: terms.payee,
            release: lock.release,
            refund: lock.refund,
        },
        locktime,
        unit: &demand.unit,
        price: demand.price,
        max_proofs: demand.max_proofs,
        ys: part.ys,
    };
    locks::check(&agreed, &lock.proofs, keysets)
}

/// Whether `signatures` release all of `lock`, one for each proof in its order. One Schnorr verification each.
///
/// # Errors
/// The first that doesn't hold; nothing may be redeemed with any of them then.
pub fn check_release(lock: &Lock, signatures: &[ReleaseSignature]) -> Result<(), ReleaseError> {
    if signatures.len() != lock.proofs.len() {
        return Err(ReleaseError::Count { given: signatures.len(), due: lock.proofs.len() });
    }
    let key = PublicKey::from_slice(&lock.release.0).map_err(|_| ReleaseError::Signature { index: 0 })?;
    for (index, (proof, signature)) in lock.proofs.iter().zip(signatures).enumerate() {
        let holds = signature.to_string().parse().is_ok_and(|read| key.verify(proof.secret.as_bytes(), &read).is_ok());
        if !holds {
            return Err(ReleaseError::Signature { index });
        }
    }
    Ok(())
}

/// What is shown to a mint for a hash: the key, or something else of the same hash, which opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// 32 bytes.
    Key(SealKey),
    /// Of another length, so no key.
    NoKey(Vec<u8>),
}

impl Shown {
    /// What `bytes` are, if they are what was hashed.
    pub fn read(bytes: &[u8], key_hash: Digest) -> Option<Self> {
        (cbor::sha256(bytes) == key_hash.0).then(|| {
            <[u8; 32]>::try_from(bytes).map_or_else(|_| Self::NoKey(bytes.into()), |key| Self::Key(SealKey::new(key)))
        })
    }
}

/// Looks in a witness, as the mint shows it (NUT-07), for what was hashed. Mints pass on what they were given, and differ in
/// what they let through: a field named twice, escapes, spaces among the digits, a text within a text. So the witness isn't
/// parsed: every text in it is tried.
///
/// Nothing is looked for past the first [`MAX_WITNESS`] bytes.
pub fn key_in(witness: &str, key_hash: Digest) -> Option<Shown> {
    let mut end = witness.len().min(MAX_WITNESS);
    while !witness.is_char_boundary(end) {
        end -= 1;
    }
    bytes_in(&witness[..end]).find_map(|bytes| Shown::read(&bytes, key_hash))
}

/// What every text in a witness is if it is read as hex, however a mint may have read it.
pub fn bytes_in(witness: &str) -> impl Iterator<Item = Vec<u8>> {
    texts(witness).into_iter().filter_map(|text| {
        let digits: String = text.chars().filter(|char| !char.is_whitespace()).collect();
        hex::decode(digits.strip_prefix("0x").unwrap_or(&digits)).ok()
    })
}

/// How deep texts within texts are looked into.
const MAX_LAYERS: usize = 3;
/// How many quotation marks are read from. An honest witness has twelve, and as many again within a text.
const MAX_QUOTES: usize = 512;

/// Every JSON text in a text, unescaped, and those in these; whatever stands around them. Also the text as a whole.
fn texts(whole: &str) -> Vec<String> {
    let (mut found, mut layer, mut left) = (vec![whole.to_owned()], vec![whole.to_owned()], MAX_QUOTES);
    for _ in 0..MAX_LAYERS {
        layer = layer.iter().flat_map(|text| literals(text, &mut left)).collect();
        found.extend(layer.iter().cloned());
    }
    found
}

/// The JSON text literals in a text, read from every quotation mark on to the next that isn't escaped.
fn literals(text: &str, left: &mut usize) -> Vec<String> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for (from, _) in text.match_indices('"') {
        let Some(fewer) = left.checked_sub(1) else { break };
        *left = fewer;
        let mut to = from + 1;
        while to < bytes.len() && bytes[to] != b'"' {
            to += 1 + usize::from(bytes[to] == b'\\');
        }
        // A slice that ends within a character isn't one. What is no text in JSON, control characters in it for one, is taken
        // as it stands.
        let Some(literal) = text.get(from..=to) else { continue };
        let inner = || literal.trim_matches('"').to_owned();
        found.push(serde_json::from_str(literal).unwrap_or_else(|_| inner()));
    }
    found
}

/// Why a release doesn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not one for each proof.
    #[error("{given} release signatures for {due} proofs")]
    Count {
        /// How many came.
        given: usize,
        /// How many proofs there are.
        due: usize,
    },
    /// Not by the release key over the proof's secret.
    #[error("release signature {index} is not the release key's for that proof")]
    Signature {
        /// Which, from 0.
        index: usize,
    },
}

impl crate::fault::AtFault for ReleaseError {
    fn fault(&self) -> crate::fault::Fault {
        crate::fault::Fault::Peer
    }
}

#[cfg(test)]
mod tests;
