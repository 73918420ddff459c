//! What shows, or tells, that a seller took money for nothing or sold a key that opens nothing: a proof of fraud
//! ([`guilder_protocol::audit::fraud`]), made of what this node keeps of the trade.
//!
//! The bundle has what was signed. Beside it stand the proofs of the lock that the mint showed as taken, with the witness that
//! carries the seller's signature, and, where a key opened a sealed output to something else than the receipt commits to, that
//! output and the key. How far that convicts is for whoever reads the file to judge, by the file alone.

use std::collections::BTreeSet;

use bytes::Bytes;
use cid::Cid;
use guilder_protocol::{
    audit::{
        Evidence,
        fraud::{self, Exhibit, Exhibits, Taken, TakenProof},
    },
    bytes::ByteArray,
    cbor,
    locks::LockedProof,
    trade::{Deal, Stored, buyer::Forged},
};

use super::records::{BUYERS, CHEATS, DEALS, key};
use crate::{
    content::{Content, ContentError, Data},
    store::{Read, Reader, StoreError},
    wallet::RedeemedProof,
};

/// See the module.
#[derive(Debug)]
pub struct Accusation {
    trade: Cid,
    evidence: Evidence,
    taken: Option<Taken>,
    forged: Option<Forged>,
}

/// The accusation that a trade gave cause for, if it did.
pub(super) fn read(r: &Read, trade: Cid, redeemed: &[RedeemedProof]) -> Result<Option<Accusation>, StoreError> {
    if !r.contains(CHEATS, key(trade))? {
        return Ok(None);
    }
    let Some(deal) = r.get(DEALS, key(trade))? else { return Ok(None) };
    let buyer = r.get(BUYERS, key(trade))?;
    let forged = buyer.and_then(|buyer| buyer.ended().and_then(|ended| ended.forged.clone()));
    let taken = (!redeemed.is_empty()).then(|| taken(&deal, redeemed));
    let mut evidence = Evidence::default();
    super::views::add(&mut evidence, deal);
    super::views::add_signed(r, &mut evidence, trade)?;
    Ok(Some(Accusation { trade, evidence, taken, forged }))
}

fn taken(deal: &Deal, redeemed: &[RedeemedProof]) -> Taken {
    let key_hash = deal.award.part().key_hash();
    let proof = |redeemed: &RedeemedProof| {
        // What the mint showed, and what was read from it, should its texts be odd.
        let witness: BTreeSet<String> = redeemed.witness.iter().chain(&redeemed.signatures).cloned().collect();
        let witness: Vec<String> = witness.into_iter().collect();
        TakenProof::new(redeemed.proof.secret.clone(), &witness, key_hash)
    };
    Taken {
        keys: deal.lock.without_proofs(),
        ys: deal.lock.proofs().iter().filter_map(LockedProof::y).collect(),
        proofs: redeemed.iter().map(proof).collect(),
    }
}

impl Accusation {
    /// The file, to be read piece by piece.
    ///
    /// # Errors
    /// If the sealed output in it is gone or damaged.
    pub async fn file(self, content: &Content) -> Result<AccusationFile, ContentError> {
        let Self { trade, evidence, taken, forged } = self;
        let (mut opened, mut ciphertext) = (None, Ciphertext::default());
        if let Some(Forged { ciphertext: stored, shown }) = forged {
            ciphertext = Ciphertext::of(stored, content).await?;
            opened = Some(Exhibit { chunks: ciphertext.digests.clone(), shown });
        }
        let head = fraud::head(trade, &evidence, &Exhibits { taken, opened });
        Ok(AccusationFile { head: Bytes::from(head), begun: false, ciphertext, seen: BTreeSet::new() })
    }
}

/// A sealed output in chunks.
#[derive(Debug, Default)]
struct Ciphertext {
    digests: Vec<ByteArray<32>>,
    pieces: Option<crate::content::Pieces>,
}

impl Ciphertext {
    async fn of(stored: Stored, content: &Content) -> Result<Self, ContentError> {
        let digests = match &stored {
            Stored::Inline(bytes) if bytes.is_empty() => Vec::new(),
            // At most an inline payload: one chunk.
            Stored::Inline(bytes) => vec![ByteArray(cbor::sha256(bytes))],
            Stored::Content(id) => {
                let reader = content.reader(*id).await?;
                reader.list().digests().as_chunks::<32>().0.iter().map(|digest| ByteArray(*digest)).collect()
            }
        };
        let pieces = Data::from_stored(stored, content).pieces(content).await?;
        Ok(Self { digests, pieces: Some(pieces) })
    }
}

/// The bytes of an accusation.
#[derive(Debug)]
pub struct AccusationFile {
    head: Bytes,
    begun: bool,
    ciphertext: Ciphertext,
    seen: BTreeSet<ByteArray<32>>,
}

impl AccusationFile {
    /// How the file begins: two files that begin alike and are of one length are the same, for all that follows is named in it.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The next bytes, [`Self::head`] first; `None` at the end.
    ///
    /// # Errors
    /// If the sealed output is damaged.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(Some(self.head.clone()));
        }
        let Some(pieces) = &mut self.ciphertext.pieces else { return Ok(None) };
        while let Some(piece) = pieces.next().await? {
            if self.seen.insert(ByteArray(cbor::sha256(&piece))) {
                return Ok(Some(fraud::chunk(&piece).into()));
            }
        }
        Ok(None)
    }
}
