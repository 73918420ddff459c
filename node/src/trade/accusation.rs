//! What shows that a seller took money for nothing, as one JSON document that says all of it.
//!
//! The award and the offer in the bundle name the money and the seller's key for it; each proof's secret is the lock to that
//! key; the mint's witness carries that key's signature of the secret, which only the seller can have made. That nothing was
//! delivered nobody can show: a seller that did can answer with its receipt. Where the bundle holds its receipt of a failure,
//! it contradicts itself.

use cid::Cid;
use data_encoding::BASE64;
use guilder_protocol::{
    audit::{self, Evidence},
    market::{MintUrl, Unit},
    time::Timestamp,
    trade::buyer::Buyer,
};
use serde::Serialize;

use super::records::{BUYERS, CHEATS, Cheat, DEALS, key};
use crate::{
    store::{Read, Reader, StoreError},
    wallet::RedeemedProof,
};

/// See the module.
#[derive(Debug, Serialize)]
pub struct Accusation {
    format: &'static str,
    says: &'static str,
    seller: String,
    buyer: String,
    trade: String,
    took: u64,
    unit: Unit,
    mint: MintUrl,
    found: Timestamp,
    /// The audit bundle, as base64: `guilder audit verify` reads it.
    bundle: String,
    proofs: Vec<Redeemed>,
}

#[derive(Debug, Serialize)]
struct Redeemed {
    amount: u64,
    id: String,
    secret: String,
    #[serde(rename = "C")]
    c: String,
    signatures: Vec<String>,
}

/// The accusation that a trade gave cause for, if it did.
pub(super) fn read(r: &Read, trade: Cid, redeemed: Vec<RedeemedProof>) -> Result<Option<Accusation>, StoreError> {
    let Some((cheat, deal)) = r.get(CHEATS, key(trade))?.zip(r.get(DEALS, key(trade))?) else { return Ok(None) };
    let Cheat { seller, took, at } = cheat;
    let receipt = match r.get(BUYERS, key(trade))? {
        Some(Buyer::Ended(ended)) => ended.receipt,
        _ => None,
    };
    let mut evidence = Evidence::default();
    super::views::add(&mut evidence, deal.clone());
    evidence.receipts.extend(receipt);
    let args = deal.award.args();
    let proofs = redeemed.into_iter().map(|RedeemedProof { proof, signatures, .. }| Redeemed {
        amount: proof.amount,
        id: proof.id.to_string(),
        secret: proof.secret,
        c: hex::encode(proof.c.0),
        signatures,
    });
    Ok(Some(Accusation {
        format: "guilder/accusation/1",
        says: "the seller redeemed money that was locked for this award, and delivered nothing for it to this buyer",
        seller: seller.peer_id(),
        buyer: deal.buyer().peer_id(),
        trade: trade.to_string(),
        took,
        unit: args.unit.clone(),
        mint: args.mint.clone(),
        found: at,
        bundle: BASE64.encode(&audit::bundle(&evidence)),
        proofs: proofs.collect(),
    }))
}
