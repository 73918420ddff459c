//! What was signed about work that was passed on, as it is handed up: each award of it for itself, so that what one
//! subcontractor made wrongly takes nothing from what the others did well.
//!
//! An award beneath another is under the delegation by which that one's buyer let its seller pass work on. It is kept if it
//! holds with what was signed about it, and as long as there is room, the nearest first and then by their content IDs. What
//! doesn't hold of the statements about it is left out without it; a receipt names what is left out all the same.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;

use super::{
    AuditError, Evidence, Sorted, blocks_of, bundle, car, check_hire, is_counted, receipts_of, schema_hash, sort,
};
use crate::{
    award::Award,
    envelope::Signed,
    limits::{MAX_BUNDLE_BLOCKS, MAX_SUB_EVIDENCE},
    receipt::Receipt,
    settlement::ReceiptPart,
    ucan::Delegation,
};

/// What is held of work that was passed on, and what isn't.
#[derive(Clone, Debug, Default)]
pub struct Beneath {
    /// What holds, and is under the award.
    pub kept: Evidence,
    /// What was left out, and why: awards, and blocks that are no statements.
    pub left_out: BTreeMap<Cid, AuditError>,
}

impl Beneath {
    /// What of `evidence` holds beneath `award`, whose seller passed it on by `grant`: at most what is handed over with a
    /// delivery ([`MAX_SUB_EVIDENCE`]).
    pub fn of(evidence: &Evidence, award: &Award, grant: &Signed<Delegation>) -> Self {
        let mut left_out = BTreeMap::new();
        let mut awards: Vec<&Award> = evidence.awards.iter().collect();
        awards.sort_by_key(|other| (other.invocation().prf.len(), other.cid()));
        awards.dedup_by_key(|other| other.cid());
        let mut parts = Vec::new();
        for other in awards {
            let part = evidence.about(other);
            let checked = if is_beneath(other, award, grant) {
                part.check_alone(other)
            } else {
                Err(AuditError::Stray(other.cid()))
            };
            match checked {
                Ok(()) => parts.push(part),
                Err(error) => _ = left_out.insert(other.cid(), error),
            }
        }
        let all = parts.iter().fold(Evidence::default(), |mut all, part| {
            all.extend(part.clone());
            all
        });
        let (mut kept, none) = (Evidence::default(), BTreeMap::new());
        for part in parts {
            let Some(other) = part.awards.first().cloned() else { continue };
            // Whoever names as its own what stands elsewhere is wrong, and not what it names.
            if let Err(error) = receipts_of(&other, &all, &none) {
                left_out.insert(other.cid(), error);
                continue;
            }
            let mut more = kept.clone();
            more.extend(part);
            let size = bundle(&more).len();
            if size > MAX_SUB_EVIDENCE || blocks_of(&more).len() > MAX_BUNDLE_BLOCKS {
                left_out.insert(other.cid(), AuditError::TooLarge(size));
                continue;
            }
            kept = more;
        }
        Self { kept, left_out }
    }

    /// Reads what the seller of `award` hands over about work that it passed on by `grant`: a bundle of at most
    /// [`MAX_SUB_EVIDENCE`] bytes. Of what it holds, what doesn't hold is left out.
    ///
    /// # Errors
    /// If it is too large, or no CAR file.
    pub fn read(bytes: &[u8], award: &Award, grant: &Signed<Delegation>) -> Result<Self, AuditError> {
        if bytes.len() > MAX_SUB_EVIDENCE {
            return Err(AuditError::TooLarge(bytes.len()));
        }
        let (_, blocks) = car::read(bytes, MAX_BUNDLE_BLOCKS)?;
        let mut bad = BTreeMap::new();
        let sorted = sort(&blocks, &mut |cid, error| {
            bad.insert(cid, error);
            Ok(())
        });
        let Sorted { evidence, unread } = sorted?;
        let Self { kept, mut left_out } = Self::of(&evidence, award, grant);
        left_out.extend(bad);
        left_out.extend(unread.into_iter().map(|(cid, why)| (cid, AuditError::NotUnderstood(cid, why))));
        Ok(Self { kept, left_out })
    }

    /// The bundle of what is kept; `None` if that is nothing.
    pub fn bundle(&self) -> Option<Vec<u8>> {
        (!self.kept.awards.is_empty()).then(|| bundle(&self.kept))
    }
}

/// Whether `other` was awarded under `award`, by what `grant` let its seller pass on: by the seller, or further down.
fn is_beneath(other: &Award, award: &Award, grant: &Signed<Delegation>) -> bool {
    let (prf, above) = (&other.invocation().prf, &award.invocation().prf);
    let through = prf.strip_prefix(&above[..]).and_then(<[Cid]>::first);
    other.principal() == award.principal()
        && other.args().task == award.args().task
        && through == Some(&grant.cid())
        && (prf.len() > above.len() + 1 || other.buyer() == award.args().seller)
}

impl Evidence {
    /// What of it is about one award, and its party's word.
    fn about(&self, award: &Award) -> Self {
        let (cid, args, prf) = (award.cid(), award.args(), &award.invocation().prf);
        let offers: Vec<_> = self.offers.iter().filter(|offer| offer.cid() == args.offer).cloned().collect();
        let delegations: Vec<_> = self.delegations.iter().filter(|link| prf.contains(&link.cid())).cloned().collect();
        let schemas = offers.iter().filter_map(|offer| offer.body.output).collect::<Vec<_>>();
        let is_of = |receipt: &&Signed<Receipt>| {
            let (body, is_ours) = (&receipt.body, receipt.body.award == cid && receipt.issuer() == args.seller);
            is_ours
                && body.offer == args.offer
                && !matches!(body.money, ReceiptPart::Other(_))
                && body.money.is_of(award)
        };
        let receipts: Vec<_> = self.receipts.iter().filter(is_of).cloned().collect();
        // One that names a receipt of another award isn't about this one.
        let strays = |cid: &Cid| self.receipts.iter().any(|one| one.cid() == *cid && one.body.award != award.cid());
        let received = self.received.iter().filter(|one| one.is_of(award) && !strays(&one.body.receipt));
        Self {
            received: received.cloned().collect(),
            asks: self.asks.iter().filter(|ask| ask.cid() == args.ask).cloned().collect(),
            revocations: self.revocations.iter().filter(|one| is_counted(one, &delegations)).cloned().collect(),
            awards: vec![award.clone()],
            acceptances: self.acceptances.iter().filter(|one| one.is_of(award)).cloned().collect(),
            cancellations: self.cancellations.iter().filter(|one| one.is_of(award)).cloned().collect(),
            schemas: self.schemas.iter().filter(|text| schemas.contains(&schema_hash(text))).cloned().collect(),
            offers,
            delegations,
            receipts,
        }
    }

    /// The same with what is kept beneath its awards, but for what names as its own what stands elsewhere.
    #[must_use]
    pub fn with_beneath(self, beneath: &Self) -> Self {
        let (mut whole, none) = (self.clone(), BTreeMap::new());
        whole.extend(beneath.clone());
        let fits = |award: &&Award| receipts_of(award, &whole, &none).is_ok();
        let parts: Vec<_> = beneath.awards.iter().filter(fits).map(|award| beneath.about(award)).collect();
        parts.into_iter().fold(self, |mut whole, part| {
            whole.extend(part);
            whole
        })
    }

    /// Checks what is about one award for itself: that it holds, and that nothing in it is for nothing.
    fn check_alone(&self, award: &Award) -> Result<(), AuditError> {
        let (mut used, none) = (BTreeSet::new(), BTreeMap::new());
        check_hire(award, self, &none, &mut used)?;
        match blocks_of(self).into_keys().find(|cid| !used.contains(cid)) {
            Some(stray) => Err(AuditError::Stray(stray)),
            None => Ok(()),
        }
    }
}
