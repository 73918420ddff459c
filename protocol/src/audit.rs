//! The audit bundle: all that was signed about a task, in one file that anyone can check.
//!
//! A bundle is a CAR v1 file (ipld.io/specs/transport/car/carv1) whose blocks are the signed envelopes as they were
//! exchanged, and whose links are the content IDs that they already contain:
//!
//! ```text
//!              ┌──────────────────────────┐
//! received ──> receipt ──> award ──> ask, offer, delegations          roots: what nothing else in the file names
//!                 │          ↑ ↑            └──> the schema of its output, as a text
//!                 │          │ └──────── acceptance, cancellation
//!                 └──────> receipts of work passed on
//! ```
//!
//! [`verify`] needs nothing but the bytes: no network, no clock, no keys. It checks every hash and signature, that award,
//! offer and ask fit each other, that every chain authorised its award when it was made, and that each receipt is the
//! seller's, about this award and this money, and every other statement the party's whose word it is; and it says who answers
//! for what. A bundle holds no proofs of
//! ecash, no Ys in clear and no output: it can be shown around.
//!
//! A bundle may hold statements of later versions. What this version doesn't understand of them, the report says so; a hire
//! that hangs on it is neither held to be good nor to be bad.
//!
//! The offer promises an output that satisfies a schema, which it names by the hash of its text; the receipt commits to the
//! output. Whoever has the output and its salt can so show from the bundle whether the promise was kept ([`Hire::promised`],
//! [`Hire::is_output`]); checking a document against a schema is left to them.
//!
//! **Revocations.** A bundle may hold revocations of its delegations, each with its path. Since whoever makes the file can leave
//! one out, a chain without one is unrevoked only *as far as this bundle knows*, and the verdict says so. One that is there says
//! that its revoker signed it, and when by its own clock; not when a seller heard of it. It ends no claim to payment for
//! what was delivered.
//!
//! **What convicts.** A party's own signature, and nothing else: what one says of the other is its word. What is absent from a
//! file proves nothing, since whoever makes the file can leave it out; so a seller that accepted and shows no receipt isn't
//! convicted by that, and a receipt, the buyer's word that it has the output, or the mint's, rebuts it. Two receipts of one
//! seller for one award that say different things convict it, whichever is true.
//!
//! **Chains.** A receipt names the receipts of work that was passed on. One that isn't in the file may have been kept back: the
//! report says so. One that is there is of an award that stands under this one: given by its seller, in the same task and name,
//! by the same delegations and one more. Who passed work on answers for it to its own buyer, whatever became of it beneath.
//!
//! What it can't show: whether the locked money was paid in the end. The mint knows that; [`fraud`] is the file that adds it.

mod beneath;
mod car;
pub mod fraud;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;

use self::report::Words;
pub use self::{
    beneath::Beneath,
    car::CarError,
    report::{Answer, Has, Hire, Named, Promised, Report, Revoked, Unread},
};
use crate::{
    acceptance::Acceptance,
    award::{Award, AwardError},
    cancellation::Cancellation,
    cbor,
    envelope::{EnvelopeError, Signed, Unverified},
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{MAX_BUNDLE, MAX_BUNDLE_BLOCKS, MAX_SCHEMA},
    market::{
        Ask, Offer, SchemaHash,
        choice::{self, OfferError},
        schema_hash,
    },
    receipt::Receipt,
    received::Received,
    settlement::ReceiptPart,
    ucan::{
        Delegation, Invocation, Revocation, RevocationError,
        chain::{self, At, ChainError, NoRevocations},
        revocation::REVOKE,
    },
};

/// What a bundle is made of: the signed bytes of one task, in any order.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The asks; one, unless work was passed on.
    pub asks: Vec<Signed<Ask>>,
    /// The offers that were awarded.
    pub offers: Vec<Signed<Offer>>,
    /// The awards.
    pub awards: Vec<Award>,
    /// The delegations behind them.
    pub delegations: Vec<Signed<Delegation>>,
    /// The sellers' words that they took them.
    pub acceptances: Vec<Signed<Acceptance>>,
    /// The buyers' words that they called them off.
    pub cancellations: Vec<Signed<Cancellation>>,
    /// The receipts that came back.
    pub receipts: Vec<Signed<Receipt>>,
    /// The buyers' words that they have the outputs.
    pub received: Vec<Signed<Received>>,
    /// Revocations of the delegations, as far as they are known.
    pub revocations: Vec<Revocation>,
    /// The texts of the schemas that the offers name for their outputs, as far as they are at hand.
    pub schemas: BTreeSet<String>,
}

/// Writes the bundle of `evidence`. The same evidence gives the same bytes.
pub fn bundle(evidence: &Evidence) -> Vec<u8> {
    car::write(&roots(evidence), &blocks_of(evidence))
}

fn blocks_of(evidence: &Evidence) -> BTreeMap<Cid, &[u8]> {
    let mut blocks: BTreeMap<Cid, &[u8]> = BTreeMap::new();
    blocks.extend(evidence.asks.iter().map(|ask| (ask.cid(), ask.bytes())));
    blocks.extend(evidence.offers.iter().map(|offer| (offer.cid(), offer.bytes())));
    blocks.extend(evidence.awards.iter().map(|award| (award.cid(), award.invocation().bytes())));
    blocks.extend(evidence.delegations.iter().map(|delegation| (delegation.cid(), delegation.bytes())));
    blocks.extend(evidence.acceptances.iter().map(|acceptance| (acceptance.cid(), acceptance.bytes())));
    blocks.extend(evidence.cancellations.iter().map(|cancellation| (cancellation.cid(), cancellation.bytes())));
    blocks.extend(evidence.receipts.iter().map(|receipt| (receipt.cid(), receipt.bytes())));
    blocks.extend(evidence.received.iter().map(|received| (received.cid(), received.bytes())));
    for revocation in &evidence.revocations {
        blocks.insert(revocation.invocation().cid(), revocation.invocation().bytes());
        blocks.extend(revocation.path().iter().map(|link| (link.cid(), link.bytes())));
    }
    let schemas = evidence.schemas.iter().map(|text| (schema_cid(schema_hash(text)), text.as_bytes()));
    blocks.extend(schemas);
    blocks
}

fn schema_cid(hash: SchemaHash) -> Cid {
    cbor::raw_cid(hash.as_bytes())
}

/// The statements that no other names, in the order of their content IDs.
fn roots(evidence: &Evidence) -> Vec<Cid> {
    let Evidence { awards, acceptances, cancellations, receipts, received, revocations, .. } = evidence;
    let mut named = BTreeSet::new();
    named.extend(acceptances.iter().map(|acceptance| acceptance.body.award));
    named.extend(cancellations.iter().map(|cancellation| cancellation.body.award));
    named.extend(receipts.iter().flat_map(|receipt| receipt.body.sub.iter().copied().chain([receipt.body.award])));
    named.extend(received.iter().flat_map(|received| [received.body.award, received.body.receipt]));
    let mut roots: BTreeSet<Cid> = awards.iter().map(Award::cid).collect();
    roots.extend(acceptances.iter().map(Signed::cid));
    roots.extend(cancellations.iter().map(Signed::cid));
    roots.extend(receipts.iter().map(Signed::cid));
    roots.extend(received.iter().map(Signed::cid));
    roots.extend(revocations.iter().map(|revocation| revocation.invocation().cid()));
    roots.difference(&named).copied().collect()
}

/// Checks a bundle.
///
/// # Errors
/// The first thing in it that doesn't hold, and whose statement that is.
pub fn verify(bytes: &[u8]) -> Result<Report, AuditError> {
    if bytes.len() > MAX_BUNDLE {
        return Err(AuditError::TooLarge(bytes.len()));
    }
    let (declared, blocks) = car::read(bytes, MAX_BUNDLE_BLOCKS)?;
    Ok(check(&declared, &blocks)?.0)
}

/// Checks the statements of a bundle that declares these roots; gives them, too.
fn check(declared: &[Cid], blocks: &BTreeMap<Cid, Vec<u8>>) -> Result<(Report, Evidence), AuditError> {
    let Sorted { evidence, unread } = sort(blocks, &mut |_, error| Err(error))?;
    let Some(first) = evidence.awards.first() else {
        return Err(unread
            .into_iter()
            .next()
            .map_or(AuditError::NoAward, |(cid, why)| AuditError::NotUnderstood(cid, why)));
    };
    // What can't be read may be a receipt, or need any of the rest.
    if unread.is_empty() && declared != roots(&evidence) {
        return Err(AuditError::Roots);
    }
    let task = first.args().task;
    let mut used = BTreeSet::new();
    let mut hires = Vec::new();
    for award in &evidence.awards {
        hires.push(check_hire(award, &evidence, &unread, &mut used)?);
    }
    if evidence.awards.iter().any(|award| award.args().task != task) {
        return Err(AuditError::OtherTask);
    }
    if let Some(stray) = blocks.keys().find(|cid| !used.contains(*cid)).filter(|_| unread.is_empty()) {
        return Err(AuditError::Stray(*stray));
    }
    place(&mut hires, &evidence);
    for hire in &mut hires {
        hire.overlaps = overlapping(hire.award, &evidence.awards);
    }
    hires.sort_by_key(|hire| (hire.awarded, hire.award));
    let unread = unread.into_iter().map(|(statement, why)| Unread { statement, why }).collect();
    Ok((Report { task, hires, unread }, evidence))
}

/// A bundle's statements: those that are understood, and those that hold but are of a later version.
#[derive(Default)]
struct Sorted {
    evidence: Evidence,
    unread: BTreeMap<Cid, String>,
}

/// Reads each block as the one kind of statement that it is. Of one that is none `bad` says whether to go on without it.
fn sort(
    blocks: &BTreeMap<Cid, Vec<u8>>,
    bad: &mut dyn FnMut(Cid, AuditError) -> Result<(), AuditError>,
) -> Result<Sorted, AuditError> {
    let mut sorted = Sorted::default();
    let mut revocations: Vec<Signed<Invocation>> = Vec::new();
    for (cid, bytes) in blocks {
        let evidence = &mut sorted.evidence;
        if cid.codec() == cbor::RAW {
            match std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_SCHEMA) {
                Some(text) => _ = evidence.schemas.insert(text.to_owned()),
                None => bad(*cid, AuditError::Stray(*cid))?,
            }
            continue;
        }
        let read = match kind_of(bytes) {
            Some(Kind::Ask) => Signed::decode(bytes).map(|ask| evidence.asks.push(ask)),
            Some(Kind::Offer) => Signed::decode(bytes).map(|offer| evidence.offers.push(offer)),
            Some(Kind::Acceptance) => Signed::decode(bytes).map(|acceptance| evidence.acceptances.push(acceptance)),
            Some(Kind::Cancellation) => {
                Signed::decode(bytes).map(|cancellation| evidence.cancellations.push(cancellation))
            }
            Some(Kind::Receipt) => Signed::decode(bytes).map(|receipt| evidence.receipts.push(receipt)),
            Some(Kind::Received) => Signed::decode(bytes).map(|received| evidence.received.push(received)),
            Some(Kind::Delegation) => Signed::decode(bytes).map(|delegation| evidence.delegations.push(delegation)),
            Some(Kind::Invocation) if is_revocation(bytes) => {
                Signed::decode(bytes).map(|invocation| revocations.push(invocation))
            }
            Some(Kind::Invocation) => match Award::decode(bytes) {
                Ok(award) => {
                    evidence.awards.push(award);
                    Ok(())
                }
                Err(AwardError::Envelope(error)) => Err(error),
                Err(error) if error.fault() == Fault::Incompatible => {
                    sorted.unread.insert(*cid, error.to_string());
                    Ok(())
                }
                Err(error) => {
                    bad(*cid, AuditError::Award(*cid, error.into()))?;
                    Ok(())
                }
            },
            None => match Signed::<Ask>::decode(bytes) {
                Err(error @ EnvelopeError::Name(_)) => Err(error),
                _ => {
                    bad(*cid, AuditError::Stray(*cid))?;
                    Ok(())
                }
            },
        };
        match read {
            Ok(()) => {}
            Err(error) if error.fault() == Fault::Incompatible => _ = sorted.unread.insert(*cid, error.to_string()),
            Err(error) => bad(*cid, AuditError::Envelope(*cid, error.into()))?,
        }
    }
    for invocation in revocations {
        let cid = invocation.cid();
        match Revocation::of_parts(invocation, &sorted.evidence.delegations) {
            Ok(revocation) => sorted.evidence.revocations.push(revocation),
            Err(error) if error.fault() == Fault::Incompatible => _ = sorted.unread.insert(cid, error.to_string()),
            Err(error) => bad(cid, AuditError::Revocation(cid, error.into()))?,
        }
    }
    Ok(sorted)
}

/// Whether an invocation says that it is a revocation. Nothing of it is verified yet.
fn is_revocation(bytes: &[u8]) -> bool {
    Unverified::<Invocation>::read(bytes).is_ok_and(|invocation| invocation.payload().cmd.as_str() == REVOKE)
}

enum Kind {
    Ask,
    Offer,
    Invocation,
    Delegation,
    Acceptance,
    Cancellation,
    Receipt,
    Received,
}

/// Finds the tag in an envelope without believing anything else of it: the statement is verified under that tag next.
fn kind_of(bytes: &[u8]) -> Option<Kind> {
    use crate::{
        acceptance, cancellation,
        claim::Body,
        envelope::{self, Statement},
        market, receipt, received, ucan,
    };
    let tags = [
        (market::AskBody::TAG, Kind::Ask),
        (market::OfferBody::TAG, Kind::Offer),
        (acceptance::AcceptanceBody::TAG, Kind::Acceptance),
        (cancellation::CancellationBody::TAG, Kind::Cancellation),
        (receipt::ReceiptBody::TAG, Kind::Receipt),
        (received::ReceivedBody::TAG, Kind::Received),
        (ucan::Delegation::TAG, Kind::Delegation),
        (ucan::Invocation::TAG, Kind::Invocation),
    ];
    let name = |tag: &'static str| tag.split('@').next();
    let found = envelope::tag_of(bytes)?.split('@').next();
    tags.into_iter().find(|(tag, _)| name(tag) == found).map(|(_, kind)| kind)
}

fn find<T>(items: &[Signed<T>], cid: Cid) -> Option<&Signed<T>> {
    items.iter().find(|item| item.cid() == cid)
}

fn check_hire(
    award: &Award,
    evidence: &Evidence,
    unread: &BTreeMap<Cid, String>,
    used: &mut BTreeSet<Cid>,
) -> Result<Hire, AuditError> {
    let (cid, args) = (award.cid(), award.args());
    let awarded = award.made();
    let prf = &award.invocation().prf;
    used.extend([cid, args.offer, args.ask]);
    used.extend(prf.iter().copied());
    if prf.iter().chain([&args.offer, &args.ask]).any(|link| unread.contains_key(link)) {
        return Ok(Hire::not_understood(award, awarded));
    }
    let offer = find(&evidence.offers, args.offer).ok_or(AuditError::Missing { award: cid, what: "offer" })?;
    used.extend(offer.body.output.map(schema_cid));
    let ask = find(&evidence.asks, args.ask).ok_or(AuditError::Missing { award: cid, what: "ask" })?;
    award.matches(offer).map_err(|error| AuditError::Award(cid, error.into()))?;
    match choice::acceptable(ask, offer, awarded) {
        Ok(()) => {}
        Err(OfferError::NotUnderstood) => return Ok(Hire::not_understood(award, awarded)),
        Err(_) => return Err(AuditError::Offer(offer.cid())),
    }
    let chain = prf
        .iter()
        .map(|link| find(&evidence.delegations, *link).cloned())
        .collect::<Option<Vec<_>>>()
        .ok_or(AuditError::Missing { award: cid, what: "delegation" })?;
    let verified = chain::verify(award.invocation(), &chain, At::tolerant(awarded), &NoRevocations);
    verified
        .and_then(|chain| chain::check_award(&chain, args.seller))
        .map_err(|error| AuditError::Chain(cid, error.into()))?;
    let words = words_on(award, evidence, unread, used)?;
    let is_later = |receipt: &&Signed<Receipt>| matches!(receipt.body.money, ReceiptPart::Other(_));
    // What can't be read may be its receipt.
    if words.receipts.is_empty() && !unread.is_empty() || words.receipts.iter().any(is_later) {
        return Ok(Hire::not_understood(award, awarded));
    }
    let revoked = revoked(&chain, evidence, used);
    Ok(Hire::new(award, awarded, &words, promised(offer, &evidence.schemas), revoked))
}

/// The awards that the buyer of one signed under the same delegation and whose running totals overlap its own. An award stays counted
/// whatever became of it, so two such are its buyer's own proof that it overspent.
fn overlapping(award: Cid, awards: &[Award]) -> Vec<Cid> {
    let Some(award) = awards.iter().find(|known| known.cid() == award) else { return Vec::new() };
    let Some(leaf) = award.invocation().prf.last() else { return Vec::new() };
    // What an award takes of the total is at least its price.
    let taken = |award: &Award| (award.args().spent.saturating_sub(award.args().price), award.args().spent);
    let (from, to) = taken(award);
    let overlaps = |other: &&Award| {
        let (other_from, other_to) = taken(other);
        let same = other.buyer() == award.buyer() && other.invocation().prf.last() == Some(leaf);
        same && other.cid() != award.cid() && from < other_to && other_from < to
    };
    let mut overlapping: Vec<Cid> = awards.iter().filter(overlaps).map(Award::cid).collect();
    overlapping.sort_unstable();
    overlapping
}

/// Which delegations of a chain the bundle shows to be revoked.
fn revoked(chain: &[Signed<Delegation>], evidence: &Evidence, used: &mut BTreeSet<Cid>) -> Vec<Revoked> {
    let mut revoked = Vec::new();
    for revocation in evidence.revocations.iter().filter(|revocation| is_counted(revocation, chain)) {
        used.insert(revocation.invocation().cid());
        used.extend(revocation.path().iter().map(Signed::cid));
        let (delegation, revoker, at) = (revocation.delegation(), revocation.revoker(), revocation.made());
        revoked.push(Revoked { delegation, revoker, at });
    }
    revoked
}

/// Whether a revocation revokes a link of a chain.
fn is_counted(revocation: &Revocation, chain: &[Signed<Delegation>]) -> bool {
    let is_it = |revoker: &AgentId, cid: &Cid| revocation.revoker() == *revoker && revocation.delegation() == *cid;
    chain::revoked(chain, &is_it).is_some()
}

/// What the offer promises of the output.
fn promised(offer: &Signed<Offer>, schemas: &BTreeSet<String>) -> Option<Promised> {
    let schema = offer.body.output?;
    let text = schemas.iter().find(|text| schema_hash(text) == schema).cloned();
    Some(Promised { schema, text })
}

/// What each side signed about an award, each checked to be its own word.
fn words_on<'a>(
    award: &Award,
    evidence: &'a Evidence,
    unread: &BTreeMap<Cid, String>,
    used: &mut BTreeSet<Cid>,
) -> Result<Words<'a>, AuditError> {
    let cid = award.cid();
    let mut words = Words { receipts: receipts_of(award, evidence, unread)?, ..Words::default() };
    for acceptance in evidence.acceptances.iter().filter(|acceptance| acceptance.body.award == cid) {
        if !acceptance.is_of(award) {
            return Err(AuditError::Acceptance(acceptance.cid()));
        }
        words.acceptances.push(acceptance);
    }
    for cancellation in evidence.cancellations.iter().filter(|cancellation| cancellation.body.award == cid) {
        if !cancellation.is_of(award) {
            return Err(AuditError::Cancellation(cancellation.cid()));
        }
        words.cancellations.push(cancellation);
    }
    for received in evidence.received.iter().filter(|received| received.body.award == cid) {
        let named = find(&evidence.receipts, received.body.receipt);
        if !received.is_of(award) || named.is_some_and(|receipt| receipt.body.award != cid) {
            return Err(AuditError::Received(received.cid()));
        }
        words.received.push(received);
    }
    used.extend(words.acceptances.iter().map(|signed| signed.cid()));
    used.extend(words.cancellations.iter().map(|signed| signed.cid()));
    used.extend(words.receipts.iter().map(|signed| signed.cid()));
    used.extend(words.received.iter().map(|signed| signed.cid()));
    Ok(words)
}

fn receipts_of<'a>(
    award: &Award,
    evidence: &'a Evidence,
    unread: &BTreeMap<Cid, String>,
) -> Result<Vec<&'a Signed<Receipt>>, AuditError> {
    let (cid, args) = (award.cid(), award.args());
    let receipts: Vec<_> = evidence.receipts.iter().filter(|receipt| receipt.body.award == cid).collect();
    for receipt in &receipts {
        let body = &receipt.body;
        let about_it = receipt.issuer() == args.seller && body.offer == args.offer;
        let is_later = matches!(body.money, ReceiptPart::Other(_));
        if !about_it || !is_later && !body.money.is_of(award) {
            return Err(AuditError::Receipt(receipt.cid()));
        }
        for sub in body.sub.iter().filter(|sub| !unread.contains_key(sub)) {
            // What isn't there may have been kept back by whoever made the file: that spoils nobody else's proof.
            let Some(known) = find(&evidence.receipts, *sub) else { continue };
            let under = evidence.awards.iter().find(|other| other.cid() == known.body.award);
            if under.is_none_or(|other| !stands_under(other, award)) {
                return Err(AuditError::Receipt(receipt.cid()));
            }
        }
    }
    Ok(receipts)
}

/// Whether `sub` was awarded by the seller of `award` with what that let it pass on.
fn stands_under(sub: &Award, award: &Award) -> bool {
    let above = sub.invocation().prf.split_last().map(|(_, above)| above);
    sub.buyer() == award.args().seller
        && sub.principal() == award.principal()
        && sub.args().task == award.args().task
        && above == Some(&award.invocation().prf[..])
}

/// Says of each hire for the sake of which other it was made: as a receipt says, else as far as only one can be meant.
fn place(hires: &mut [Hire], evidence: &Evidence) {
    let award_of = |receipt: Cid| find(&evidence.receipts, receipt).map(|receipt| receipt.body.award);
    let mut under = BTreeMap::new();
    for receipt in &evidence.receipts {
        under.extend(receipt.body.sub.iter().filter_map(|sub| award_of(*sub)).map(|sub| (sub, receipt.body.award)));
    }
    let award = |cid: Cid| evidence.awards.iter().find(|award| award.cid() == cid);
    for hire in hires.iter_mut() {
        let Some(sub) = award(hire.award) else { continue };
        let mut above = evidence.awards.iter().filter(|above| stands_under(sub, above)).map(Award::cid);
        hire.under = match (under.get(&hire.award), above.next(), above.next()) {
            (Some(named), ..) => Some(*named),
            (None, Some(only), None) => Some(only),
            _ => None,
        };
        let receipts = evidence.receipts.iter().filter(|receipt| receipt.body.award == hire.award);
        let named = receipts.flat_map(|receipt| receipt.body.sub.iter().copied());
        hire.elsewhere = named.filter(|sub| award_of(*sub).is_none()).collect();
    }
}

impl Evidence {
    /// Adds what another holds.
    pub fn extend(&mut self, other: Self) {
        self.asks.extend(other.asks);
        self.offers.extend(other.offers);
        self.awards.extend(other.awards);
        self.delegations.extend(other.delegations);
        self.acceptances.extend(other.acceptances);
        self.cancellations.extend(other.cancellations);
        self.receipts.extend(other.receipts);
        self.received.extend(other.received);
        self.revocations.extend(other.revocations);
        self.schemas.extend(other.schemas);
    }
}

/// What doesn't hold in a bundle.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AuditError {
    /// Larger than [`MAX_BUNDLE`]; the field is the size in bytes.
    #[error("a bundle of {0} bytes is over the limit of {MAX_BUNDLE}")]
    TooLarge(usize),
    /// Not a sound CAR v1 file.
    #[error(transparent)]
    Car(#[from] CarError),
    /// A statement in it isn't its issuer's.
    #[error("the statement {0} does not hold: {1}")]
    Envelope(Cid, Box<EnvelopeError>),
    /// An award in it doesn't hold or departs from its offer.
    #[error("the award {0} does not hold: {1}")]
    Award(Cid, Box<AwardError>),
    /// An award's chain didn't authorise it.
    #[error("the delegations behind the award {0} do not authorise it: {1}")]
    Chain(Cid, Box<ChainError>),
    /// An offer that doesn't answer its ask.
    #[error("the offer {0} does not answer its ask, or did not hold when it was awarded")]
    Offer(Cid),
    /// An acceptance that isn't its seller's about the award.
    #[error("the acceptance {0} is not its seller's about this award and this money")]
    Acceptance(Cid),
    /// A cancellation that isn't its buyer's.
    #[error("the cancellation {0} is not the buyer's of this award")]
    Cancellation(Cid),
    /// A word that an output was received which isn't its buyer's, or names a receipt of another award.
    #[error("the statement {0} that an output was received is not the buyer's of this award")]
    Received(Cid),
    /// A revocation that doesn't count.
    #[error("the revocation {0} does not count: {1}")]
    Revocation(Cid, Box<RevocationError>),
    /// A receipt that isn't about its award.
    #[error("the receipt {0} is not its seller's about this award and this money")]
    Receipt(Cid),
    /// Something that an award refers to isn't there.
    #[error("the award {award} refers to an {what} that is not in the bundle")]
    Missing {
        /// The award.
        award: Cid,
        /// What is missing.
        what: &'static str,
    },
    /// No award in it can be read, and this is of a later version.
    #[error("the statement {0} is of a later version: {1}")]
    NotUnderstood(Cid, String),
    /// Nothing was awarded.
    #[error("the bundle holds no award")]
    NoAward,
    /// Awards of more than one task.
    #[error("the bundle mixes awards of different tasks")]
    OtherTask,
    /// The roots aren't those of its statements.
    #[error("the file's roots are not the statements that no other in it names")]
    Roots,
    /// Something that has no business in the bundle.
    #[error("the block {0} belongs to nothing in the bundle")]
    Stray(Cid),
}

impl AtFault for AuditError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotUnderstood(..) => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        if let Self::NotUnderstood(..) = self {
            return Some("a later version of Guilder can read it");
        }
        Some("the file was changed or made wrongly; ask whoever gave it to you to export it again")
    }
}

#[cfg(test)]
mod tests;
