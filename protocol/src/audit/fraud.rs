//! A proof of fraud: the audit bundle of an award, and what it lacks to show whose fault it is that somebody lost by it.
//!
//! One CAR v1 file. Its one root names the award and what is exhibited; the other blocks are the bundle's statements and, of a
//! ciphertext, its chunks. Anyone can check it, offline, with [`verify`].
//!
//! ```text
//! root ──> the bundle's roots ──> its statements
//!   │ ├──> taken:  the lock's keys, its Ys, and for each proof that was taken its secret and the witness that the mint showed
//!   └────> opened: the chunks of what was delivered sealed, and what was shown for the hash that the money was locked to
//! ```
//!
//! **What holds it together.** The award commits to the Ys of its money; the secrets are compared byte for byte with the one
//! text that offer, award and keys allow; the witness counts only with a signature of the secret by the key that the offer names,
//! which nobody but the seller can have made, and which serves nothing but taking this money. The receipt commits to the
//! ciphertext, to the key by its hash, and to the output. So nothing here is believed because whoever made the file says so.
//!
//! **What convicts** ([`Finding::convicts`]): a key that opens what was delivered to something else than was committed to, or is
//! none; receipts that contradict each other; money taken under a receipt that says that the work failed or came too late. An
//! honest seller can't be accused so: it signs one receipt, takes nothing after one that says that it failed, and lets no money
//! that it once took pay for another award.
//!
//! **What it can't show** is told with whose word it is: that nothing was delivered, or that no key was shown, since whoever made
//! the file can have left it out. Nor does it show that the mint paid: a signature by which money can be taken says that the seller
//! asked for it.
//!
//! Bounds: [`MAX_FRAUD_PROOF`], [`MAX_EXHIBITS`], and those of a bundle; the ciphertext is opened piece by piece.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cashu::{dhke::hash_to_curve, nuts::PublicKey};
use cid::Cid;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{Answer, AuditError, CarError, Evidence, Hire, Named, Report, car, find};
use crate::{
    award::Award,
    bytes::{ByteArray, Digest},
    cbor,
    content::{CHUNK_SIZE, ContentHasher, ContentId, MAX_CHUNKS},
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{
        MAX_BUNDLE, MAX_BUNDLE_BLOCKS, MAX_EXHIBITS, MAX_FRAUD_PROOF, MAX_PROOFS, MAX_WITNESS, MAX_WITNESS_SIGNATURES,
    },
    locks::ys_commitment,
    receipt::{FailureCode, Outcome, ReceiptBody},
    seal::{Cipher, Opened, Opener, SealError, Sealed},
    settlement::{
        Conditions, Lock,
        escrow::{Shown, bytes_in, key_in},
    },
};

/// What a root begins with that this version reads. A new number is for what an older reader must not pass over.
const FORMAT: &str = "guilder/fraud-proof/1";
const FORMATS: &str = "guilder/fraud-proof/";

/// What is exhibited, beside the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exhibits {
    /// The money that the seller took.
    pub taken: Option<Taken>,
    /// What was delivered sealed, and what was shown to open it.
    pub opened: Option<Exhibit>,
}

/// Money of an award that its seller took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The keys of the lock. It holds no proofs: those that weren't taken are nobody else's business.
    pub keys: Lock,
    /// `hash_to_curve` of every secret of the lock: the award commits to them.
    pub ys: Vec<ByteArray<33>>,
    /// Those that were taken.
    pub proofs: Vec<TakenProof>,
}

/// A proof that was taken.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenProof {
    /// The lock, as a text.
    pub secret: String,
    /// The texts of the witness that it was spent with, as the mint showed them (NUT-07): [`MAX_WITNESS`] bytes in all.
    pub witness: Vec<String>,
}

impl TakenProof {
    /// From what a mint showed. Of a witness that is longer than any honest one what counts is kept: the signatures in it, and
    /// what it shows for `key_hash`.
    pub fn new(secret: String, witness: &[String], key_hash: Option<Digest>) -> Self {
        if witness.iter().map(String::len).sum::<usize>() <= MAX_WITNESS {
            return Self { secret, witness: witness.to_vec() };
        }
        let shown = key_hash.and_then(|hash| witness.iter().find_map(|text| key_in(text, hash)));
        let shown = shown.map(|shown| hex::encode(bytes_of(&shown)));
        let signatures: BTreeSet<String> =
            signatures_in(witness).map(hex::encode).take(MAX_WITNESS_SIGNATURES).collect();
        let counts = shown.into_iter().filter(|shown| shown.len() <= MAX_WITNESS / 4).chain(signatures);
        Self { secret, witness: counts.collect() }
    }
}

fn bytes_of(shown: &Shown) -> Vec<u8> {
    match shown {
        Shown::Key(key) => key.reveal().to_vec(),
        Shown::NoKey(bytes) => bytes.clone(),
    }
}

/// Whatever in a witness may be a signature, once each.
fn signatures_in(witness: &[String]) -> impl Iterator<Item = [u8; 64]> {
    let found: BTreeSet<_> =
        witness.iter().flat_map(|text| bytes_in(text)).filter_map(|bytes| bytes.try_into().ok()).collect();
    found.into_iter()
}

/// The witness may hold a key that is the parties' business.
impl fmt::Debug for TakenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakenProof").finish_non_exhaustive()
    }
}

/// A sealed output and what was shown to open it.
#[derive(Clone, PartialEq, Eq)]
pub struct Exhibit {
    /// The SHA-256 of each chunk of the ciphertext, [`CHUNK_SIZE`] bytes each but the last, in order.
    pub chunks: Vec<Digest>,
    /// What was shown for the hash that the money was locked to.
    pub shown: ByteBuf,
}

impl fmt::Debug for Exhibit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exhibit").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

/// The root, as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Root {
    format: String,
    award: Cid,
    bundle: Vec<Cid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken: Option<Taken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<OpenedLinks>,
}

#[derive(Serialize, Deserialize)]
struct OpenedLinks {
    chunks: Vec<Cid>,
    shown: ByteBuf,
}

/// The file up to the ciphertext; a [`chunk`] for each of its different chunks follows, if one is exhibited, in their order. The
/// same evidence gives the same bytes.
pub fn head(award: Cid, evidence: &Evidence, exhibits: &Exhibits) -> Vec<u8> {
    let bundle = super::bundle(evidence);
    // What we have just written reads.
    let (roots, statements) = car::read_roots(&bundle, MAX_BUNDLE_BLOCKS).unwrap_or_default();
    let opened = exhibits.opened.as_ref().map(|opened| OpenedLinks {
        chunks: opened.chunks.iter().map(|digest| cbor::raw_cid(digest.as_bytes())).collect(),
        shown: opened.shown.clone(),
    });
    let root = Root { format: FORMAT.into(), award, bundle: roots, taken: exhibits.taken.clone(), opened };
    let root = cbor::encode(&root);
    let cid = cbor::cid_of(&root);
    let mut out = car::header(&[cid]);
    car::section(&mut out, &[&cid.to_bytes(), &root]);
    out.extend_from_slice(statements);
    out
}

/// One chunk of the ciphertext, as it stands in the file. Each stands in it once, however often it is named.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    car::section(&mut out, &[&cbor::raw_cid(&cbor::sha256(bytes)).to_bytes(), bytes]);
    out
}

/// Whether a file says that it is a proof of fraud, and no bundle.
pub fn is_proof(file: &[u8]) -> bool {
    let Ok((roots, rest)) = car::read_roots(file, MAX_BUNDLE_BLOCKS) else { return false };
    let Ok((mut first, _)) = car::take(rest) else { return false };
    let (Ok(cid), [root]) = (Cid::read_bytes(&mut first), &roots[..]) else { return false };
    cid == *root && format_of(first).is_some_and(|format| format.starts_with(FORMATS))
}

fn format_of(root: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    (root.len() <= MAX_EXHIBITS).then(|| cbor::decode(root).ok().map(|Format { format }| format)).flatten()
}

/// A proof that holds, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The bundle's report.
    pub report: Report,
    /// The award that it is about.
    pub award: Cid,
    /// Who bought.
    pub buyer: AgentId,
    /// Who sold.
    pub seller: AgentId,
    /// What it shows.
    pub finding: Finding,
    /// How many of the lock's proofs the seller took, and of how many, if that is exhibited.
    pub taken: Option<(usize, usize)>,
}

/// What a proof shows, the gravest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The key opens what was delivered to something else than the receipt commits to, or doesn't open it.
    WrongKey,
    /// What was shown has the hash that the money was locked to, and is no key.
    NoKey,
    /// The seller signed receipts that contradict each other.
    Contradicts,
    /// The seller signed that the work failed, and took the money.
    TookFailed(FailureCode),
    /// The seller signed that the work ended after the deadline, and took the money.
    TookLate,
    /// The seller took the money for a sealed output; the witnesses in the file show no key. Others may have.
    TookWithoutKey,
    /// The seller took the money and signed that the buyer called the work off. Nothing that the buyer signed shows it.
    TookCancelled,
    /// The seller took the award, and the money for it. Whether it delivered, the file doesn't show.
    TookAccepted,
    /// The seller took the money that the award names. Whether it was for that award, and what was delivered, the file doesn't
    /// show.
    Took,
    /// No fault of anybody's: why.
    Nothing(&'static str),
    /// It hangs on something of a later version.
    NotUnderstood,
}

impl Finding {
    /// Whether it shows the seller's fault, by nothing but what the seller signed.
    pub fn convicts(&self) -> bool {
        matches!(self, Self::WrongKey | Self::NoKey | Self::Contradicts | Self::TookFailed(_) | Self::TookLate)
    }

    /// The finding's word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::WrongKey => "wrong-key",
            Self::NoKey => "no-key",
            Self::Contradicts => "contradicts",
            Self::TookFailed(_) => "took-failed",
            Self::TookLate => "took-late",
            Self::TookWithoutKey => "took-without-key",
            Self::TookCancelled => "took-cancelled",
            Self::TookAccepted => "took-accepted",
            Self::Took => "took",
            Self::Nothing(_) => "nothing",
            Self::NotUnderstood => "not-understood",
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::WrongKey => 0,
            Self::NoKey => 1,
            Self::Contradicts => 2,
            Self::TookFailed(_) => 3,
            Self::TookLate => 4,
            Self::NotUnderstood => 5,
            Self::TookWithoutKey => 6,
            Self::TookCancelled => 7,
            Self::TookAccepted => 8,
            Self::Took => 9,
            Self::Nothing(_) => 10,
        }
    }
}

impl Proof {
    /// Who answers, if the file shows it.
    pub fn answers(&self) -> Option<AgentId> {
        self.finding.convicts().then_some(self.seller)
    }

    /// Whose word stands behind what the file doesn't show, if it hangs on that.
    pub fn word_of(&self) -> Option<AgentId> {
        match self.finding {
            Finding::TookWithoutKey | Finding::TookAccepted | Finding::Took => Some(self.buyer),
            Finding::TookCancelled => Some(self.seller),
            _ => None,
        }
    }

    /// Whose fault it is, in one sentence, or whose word it would be.
    pub fn verdict(&self) -> String {
        let (seller, buyer) = (self.seller.peer_id(), self.buyer.peer_id());
        let said = match &self.finding {
            Finding::WrongKey => format!(
                "fraud: the key that {seller} sold opens what it delivered to something else than it signed for, or not at \
                 all, and it answers for it"
            ),
            Finding::NoKey => {
                format!(
                    "fraud: what {seller} had the money locked to is no key and opens nothing, and it answers for it"
                )
            }
            Finding::Contradicts => {
                format!("fraud: {seller} signed receipts that contradict each other and answers for it")
            }
            Finding::TookFailed(code) => format!(
                "fraud: {seller} signed that it did not do the work ({code}), took money for it all the same, and answers \
                 for it"
            ),
            Finding::TookLate => format!(
                "fraud: {seller} signed that it ended after the deadline, took money for it all the same, and answers for it"
            ),
            Finding::TookWithoutKey => format!(
                "not shown: {seller} took money for a sealed output; that no key was shown for it is the word of {buyer}, \
                 which the key would rebut"
            ),
            Finding::TookCancelled => format!(
                "not shown: {seller} took money for work that was called off; that {buyer} called it off is its word, \
                 and nothing that the buyer signed shows it"
            ),
            Finding::TookAccepted => format!(
                "not shown: {seller} signed that it took the award, and took money for it; that nothing was delivered is \
                 the word of {buyer}, which a receipt would rebut"
            ),
            Finding::Took => format!(
                "not shown: {seller} took money that this award names; that it was for this award, and that nothing was \
                 delivered for it, is the word of {buyer}, which an acceptance or a receipt would rebut"
            ),
            Finding::Nothing(why) => format!("no fault shown: {why}"),
            Finding::NotUnderstood => {
                "not understood: it hangs on something of a later version, so nobody is held to answer".into()
            }
        };
        match self.taken {
            Some((taken, of)) => format!("{said}; {seller} signed for {taken} of the {of} proofs of the money"),
            None => said,
        }
    }
}

/// Checks a proof of fraud.
///
/// CPU: a curve point and up to [`MAX_WITNESS_SIGNATURES`] signature checks for each proof taken; a ciphertext is hashed and
/// opened once. Memory: about twice the file.
///
/// # Errors
/// The first thing in it that doesn't hold. It then shows nothing.
pub fn verify(file: &[u8]) -> Result<Proof, FraudError> {
    if file.len() > MAX_FRAUD_PROOF {
        return Err(FraudError::TooLarge(file.len()));
    }
    let (roots, mut blocks) = car::read(file, MAX_BUNDLE_BLOCKS + MAX_CHUNKS + 1)?;
    let [root] = roots[..] else { return Err(FraudError::Root) };
    let root = blocks.remove(&root).ok_or(FraudError::Root)?;
    match format_of(&root) {
        Some(format) if format == FORMAT => {}
        Some(format) if format.starts_with(FORMATS) => return Err(FraudError::NotUnderstood),
        _ => return Err(FraudError::Root),
    }
    let root: Root = cbor::decode(&root).map_err(|_| FraudError::Root)?;
    let chunks = root.opened.as_ref().map(|opened| take_chunks(&opened.chunks, &mut blocks)).transpose()?;
    if blocks.values().map(Vec::len).sum::<usize>() > MAX_BUNDLE {
        return Err(FraudError::TooLarge(file.len()));
    }
    let (report, evidence) = super::check(&root.bundle, &blocks)?;
    let hire = report.hires.iter().find(|hire| hire.award == root.award);
    let award = evidence.awards.iter().find(|award| award.cid() == root.award);
    let (Some(hire), Some(award)) = (hire, award) else { return Err(FraudError::Award(root.award)) };
    let mut findings = vec![said(hire)];
    let mut taken = None;
    if let Some(exhibit) = &root.taken {
        taken = Some((exhibit.proofs.len(), exhibit.ys.len()));
        findings.push(check_taken(exhibit, hire, award, &evidence)?);
    }
    if let Some((opened, chunks)) = root.opened.as_ref().zip(chunks) {
        findings.push(check_opened(&opened.shown, &chunks, hire, award)?);
    }
    findings.sort_by_key(Finding::rank);
    // Of several that show no fault the last exhibit's is the one that was to show it.
    let nothing = findings.iter().filter(|finding| matches!(finding, Finding::Nothing(_))).count() == findings.len();
    let finding = if nothing { findings.pop() } else { Some(findings.swap_remove(0)) };
    let finding = finding.unwrap_or(Finding::NotUnderstood);
    let (award, buyer, seller) = (root.award, hire.buyer, hire.args.seller);
    Ok(Proof { award, buyer, seller, finding, taken, report })
}

/// What the bundle shows by itself.
fn said(hire: &Hire) -> Finding {
    match hire.answer {
        Answer::SellerContradicts(_) => Finding::Contradicts,
        Answer::NotUnderstood => Finding::NotUnderstood,
        _ => Finding::Nothing("nothing is exhibited beside what was signed, and that contradicts nothing"),
    }
}

/// The chunks of a ciphertext, taken out of the file's blocks.
fn take_chunks(links: &[Cid], blocks: &mut BTreeMap<Cid, Vec<u8>>) -> Result<Vec<Vec<u8>>, FraudError> {
    if links.len() > MAX_CHUNKS {
        return Err(FraudError::Ciphertext);
    }
    let chunks: Option<Vec<_>> = links.iter().map(|link| blocks.get(link).cloned()).collect();
    let chunks = chunks.ok_or(FraudError::Ciphertext)?;
    let raw = links.iter().all(|link| link.codec() == cbor::RAW);
    let full = chunks.iter().rev().skip(1).all(|chunk| chunk.len() == CHUNK_SIZE);
    let last = chunks.last().is_none_or(|chunk| (1..=CHUNK_SIZE).contains(&chunk.len()));
    if !raw || !full || !last {
        return Err(FraudError::Ciphertext);
    }
    links.iter().for_each(|link| _ = blocks.remove(link));
    Ok(chunks)
}

/// Holds money that was taken against the award that it was locked for.
fn check_taken(taken: &Taken, hire: &Hire, award: &Award, evidence: &Evidence) -> Result<Finding, FraudError> {
    let offer = find(&evidence.offers, award.args().offer);
    let Some(offer) = offer.filter(|_| hire.answer != Answer::NotUnderstood) else { return Ok(Finding::NotUnderstood) };
    let Taken { keys, ys, proofs } = taken;
    let all: BTreeSet<_> = ys.iter().collect();
    if ys.len() > MAX_PROOFS || all.len() < ys.len() || award.part().commitment() != Some(ys_commitment(ys)) {
        return Err(FraudError::OtherMoney);
    }
    if proofs.is_empty() || proofs.len() > ys.len() || !keys.proofs().is_empty() {
        return Err(FraudError::Root);
    }
    let conditions = Conditions::of(&offer.body.terms, award.part(), keys).ok_or(FraudError::OtherMoney)?;
    let payee = PublicKey::from_slice(&conditions.payee().0).map_err(|_| FraudError::OtherMoney)?;
    let mut seen = BTreeSet::new();
    for (index, TakenProof { secret, witness }) in proofs.iter().enumerate() {
        let y = conditions.is_secret(secret).then(|| hash_to_curve(secret.as_bytes()).ok()).flatten();
        let y = y.map(|y| ByteArray(y.to_bytes())).filter(|y| all.contains(y) && seen.insert(*y));
        y.ok_or(FraudError::Secret { index })?;
        if witness.iter().map(String::len).sum::<usize>() > MAX_WITNESS {
            return Err(FraudError::Witness { index });
        }
        let signed = |bytes: [u8; 64]| {
            let signature = hex::encode(bytes).parse();
            signature.is_ok_and(|signature| payee.verify(secret.as_bytes(), &signature).is_ok())
        };
        if !signatures_in(witness).take(MAX_WITNESS_SIGNATURES).any(signed) {
            return Err(FraudError::Witness { index });
        }
    }
    let shows_key = conditions.once().is_none_or(|key_hash| {
        proofs.iter().flat_map(|proof| &proof.witness).any(|text| key_in(text, key_hash).is_some())
    });
    Ok(found_taken(hire, award, shows_key))
}

/// What it says of a seller that it took the money, by what was signed.
fn found_taken(hire: &Hire, award: &Award, shows_key: bool) -> Finding {
    let has = hire.received.as_ref().is_some_and(|has| has.named != Named::NoOutput);
    let Some(receipt) = &hire.receipt else {
        return match hire {
            Hire { contradicting, .. } if !contradicting.is_empty() => Finding::Contradicts,
            _ if has => Finding::Nothing("the buyer signed that it has the output of the work that was paid for"),
            Hire { accepted: Some(_), .. } => Finding::TookAccepted,
            _ => Finding::Took,
        };
    };
    match &receipt.out {
        Outcome::Ok(_) if receipt.ended > hire.args.deadline => Finding::TookLate,
        Outcome::Ok(_) if shows_key || has => {
            Finding::Nothing("the seller signed for the output in time, and the money that it took was its to take")
        }
        Outcome::Ok(_) => Finding::TookWithoutKey,
        Outcome::Error(error) => match &error.code {
            FailureCode::Other(_) => Finding::NotUnderstood,
            _ if !award.part().is_earned_by(&receipt.out) => Finding::TookFailed(error.code.clone()),
            _ if hire.cancelled.is_some() => {
                Finding::Nothing("the buyer signed that it called the work off, which it had then to pay for")
            }
            _ => Finding::TookCancelled,
        },
        Outcome::Other(_) => Finding::NotUnderstood,
    }
}

/// Opens what was delivered with what was shown.
fn check_opened(shown: &[u8], chunks: &[Vec<u8>], hire: &Hire, award: &Award) -> Result<Finding, FraudError> {
    if hire.answer == Answer::NotUnderstood {
        return Ok(Finding::NotUnderstood);
    }
    let mut hasher = ContentHasher::default();
    chunks.iter().for_each(|chunk| hasher.update(chunk));
    let ciphertext = hasher.finish().id;
    let receipts = || hire.receipt.iter().chain(hire.contradicting.values());
    let (receipt, sealed) = receipts().find_map(|receipt| names(receipt, ciphertext)).ok_or_else(|| {
        let any = receipts().any(|receipt| receipt.money.sealed().is_some());
        if any { FraudError::Ciphertext } else { FraudError::Unsealed }
    })?;
    if let Cipher::Other(_) = sealed.aead {
        return Ok(Finding::NotUnderstood);
    }
    let key_hash = award.part().key_hash().ok_or(FraudError::Unsealed)?;
    let opens = match Shown::read(shown, key_hash).ok_or(FraudError::Key)? {
        Shown::NoKey(_) => return Ok(Finding::NoKey),
        Shown::Key(key) => open(Opener::new(&key), chunks).map(|opened| Outcome::Ok(opened.commitment) == receipt.out),
    };
    Ok(match opens {
        Ok(true) => Finding::Nothing("the key opens what was delivered to what the seller signed for"),
        Ok(false) | Err(_) => Finding::WrongKey,
    })
}

/// A receipt for an output that is sealed in this ciphertext.
fn names(receipt: &ReceiptBody, ciphertext: ContentId) -> Option<(&ReceiptBody, &Sealed)> {
    let sealed = receipt.money.sealed().filter(|sealed| sealed.ciphertext == ciphertext)?;
    matches!(receipt.out, Outcome::Ok(_)).then_some((receipt, sealed))
}

fn open(mut opener: Opener, chunks: &[Vec<u8>]) -> Result<Opened, SealError> {
    let mut output = Vec::new();
    for chunk in chunks {
        opener.update(chunk, &mut output)?;
        output.clear();
    }
    opener.finish(&mut output)
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  ==> {}\n", self.report, self.verdict())
    }
}

/// What doesn't hold in a proof of fraud.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FraudError {
    /// Larger than [`MAX_FRAUD_PROOF`], or its bundle than [`MAX_BUNDLE`]; the field is the file's size in bytes.
    #[error("a proof of fraud of {0} bytes is over the limit of {MAX_FRAUD_PROOF}, or its bundle over {MAX_BUNDLE}")]
    TooLarge(usize),
    /// Not a sound CAR v1 file.
    #[error(transparent)]
    Car(#[from] CarError),
    /// Its root isn't what a proof of fraud has.
    #[error("the file's root does not read as that of a proof of fraud")]
    Root,
    /// Of a later version.
    #[error("a proof of fraud of a later version")]
    NotUnderstood,
    /// Its statements don't hold.
    #[error(transparent)]
    Bundle(#[from] AuditError),
    /// The award isn't in it.
    #[error("the award {0} that it is about is not in the file")]
    Award(Cid),
    /// The money isn't the award's.
    #[error("the money that is shown is not what the award names")]
    OtherMoney,
    /// A secret isn't a lock of the award's money.
    #[error("the secret {index} is not a lock of the award's money")]
    Secret {
        /// Which, from 0.
        index: usize,
    },
    /// A witness doesn't show that the seller took the proof.
    #[error("the witness {index} has no signature of that proof by the seller's key")]
    Witness {
        /// Which, from 0.
        index: usize,
    },
    /// No receipt in it is for a sealed output.
    #[error("no receipt in the file is for an output that was delivered sealed")]
    Unsealed,
    /// The ciphertext isn't the receipt's, or isn't whole.
    #[error("the ciphertext is not the one that the receipt names, or not whole")]
    Ciphertext,
    /// What was shown isn't what the money was locked to.
    #[error("what is shown as the key is not what the money was locked to")]
    Key,
}

impl AtFault for FraudError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotUnderstood => Fault::Incompatible,
            Self::Bundle(error) => error.fault(),
            _ => Fault::Peer,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotUnderstood => Some("a later version of Guilder can read it"),
            Self::Bundle(error) => error.hint(),
            _ => {
                Some("the file was changed or made wrongly, and shows nothing; ask whoever gave it to you for another")
            }
        }
    }
}

#[cfg(test)]
mod tests;
