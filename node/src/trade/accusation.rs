//! What shows that a seller took money for nothing, as one JSON document that says all of it.
//!
//! The award and the offer in the bundle name the money and the seller's key for it; each proof's secret is the lock to that
//! key; the mint's witness carries that key's signature of the secret, which only the seller can have made. Where the seller
//! accepted the award, the bundle holds its signature for that, too. That nothing was delivered nobody can show: a seller that
//! did can answer with its receipt. Where the bundle holds its receipt of a failure, it contradicts itself.

use cid::Cid;
use data_encoding::BASE64;
use guilder_protocol::{
    audit::{self, Evidence},
    market::{MintUrl, Unit},
    time::Timestamp,
};
use serde::Serialize;

use super::records::{CHEATS, Cheat, DEALS, key};
use crate::{
    store::{Read, Reader, StoreError},
    wallet::RedeemedProof,
};

const REDEEMED: &str =
    "the seller redeemed money that was locked for this award, and delivered nothing for it to this buyer";
const ACCEPTED: &str = "the seller signed that it took this award, redeemed the money that was locked for it, and delivered \
                        nothing for it to this buyer";

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
    let mut evidence = Evidence::default();
    super::views::add(&mut evidence, deal.clone());
    super::views::add_signed(r, &mut evidence, trade)?;
    let says = if evidence.acceptances.is_empty() { REDEEMED } else { ACCEPTED };
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
        says,
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
