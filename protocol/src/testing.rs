//! A whole trade's statements for this crate's tests: one buyer, one seller, fixed keys, fixed times.
#![allow(clippy::unwrap_used)]

pub(crate) mod mint;

use serde_bytes::ByteBuf;

use crate::{
    acceptance::{Acceptance, AcceptanceBody},
    award::{Award, AwardArgs},
    bytes::{ByteArray, Digest, LockKey},
    cancellation::Cancellation,
    content::ContentId,
    envelope::Signed,
    identity::AgentKey,
    market::{self, Ask, AskBody, Offer, OfferBody},
    receipt::{self, Receipt, Salt, TaskError},
    received::{Received, ReceivedBody},
    settlement::{AwardPart, Lock, Mode, Terms, prepaid},
    time::Timestamp,
    trade::{Deal, buyer, seller},
    ucan::{Delegation, grant::SubGrant},
    wire::Payload,
};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The schema of the input.
pub(crate) const SCHEMA: &str = r#"{"type":"string"}"#;
pub(crate) const INPUT: &[u8] = b"some input";
pub(crate) const OUTPUT: &[u8] = b"some output";
pub(crate) const SALT: Salt = ByteArray([9; 32]);

pub(crate) fn buyer() -> AgentKey {
    AgentKey::from_seed(&[1; 32])
}

pub(crate) fn seller() -> AgentKey {
    AgentKey::from_seed(&[2; 32])
}

/// secp256k1's generator, and twice it.
pub(crate) fn lock_keys() -> [LockKey; 2] {
    [
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap(),
        "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5".parse().unwrap(),
    ]
}

pub(crate) fn ask() -> Signed<Ask> {
    let body = AskBody {
        service: "text.echo".parse().unwrap(),
        max_price: 10,
        unit: "sat".parse().unwrap(),
        mints: vec!["https://mint.example".parse().unwrap()],
        modes: vec![Mode::Prepaid],
        input_size: INPUT.len() as u64,
        deadline: NOW.saturating_add(60),
    };
    Signed::claim(body, NOW, Some(NOW.saturating_add(60)), ByteArray([3; 16]), &buyer()).unwrap()
}

pub(crate) fn offer(ask: &Signed<Ask>) -> Signed<Offer> {
    let body = OfferBody {
        aud: ask.issuer(),
        ask: ask.cid(),
        service: ask.body.service.clone(),
        price: 7,
        unit: ask.body.unit.clone(),
        mints: ask.body.mints.clone(),
        terms: Terms::Prepaid(prepaid::Terms { payee: lock_keys()[0], locktime: NOW.saturating_add(1_000) }),
        max_proofs: 8,
        deadline: NOW.saturating_add(50),
        input: Some(market::schema_hash(SCHEMA)),
        output: None,
    };
    Signed::claim(body, NOW, Some(NOW.saturating_add(30)), ByteArray([4; 16]), &seller()).unwrap()
}

pub(crate) fn args(offer: &Signed<Offer>) -> AwardArgs {
    AwardArgs {
        task: offer.body.ask,
        service: offer.body.service.clone(),
        ask: offer.body.ask,
        offer: offer.cid(),
        input: ContentId::of(INPUT).hash,
        mint: offer.body.mints[0].clone(),
        price: offer.body.price,
        unit: offer.body.unit.clone(),
        spent: offer.body.price,
        seller: offer.issuer(),
        deadline: offer.body.deadline,
        depth: 0,
    }
}

pub(crate) fn part() -> AwardPart {
    AwardPart::Prepaid(prepaid::AwardPart { locktime: NOW.saturating_add(1_000), ys: ByteArray([5; 32]) })
}

pub(crate) fn award(args: &AwardArgs) -> Award {
    Award::sign(args, &part(), buyer().id(), vec![], NOW, ByteArray([6; 16]), &buyer()).unwrap()
}

/// The tests' award in the name of another, who lets the buyer spend up to `most`.
pub(crate) fn delegated_award(most: u64) -> (Award, Signed<Delegation>) {
    let (principal, offer) = (AgentKey::from_seed(&[77; 32]), offer(&ask()));
    let grant = SubGrant {
        buyer: principal.id(),
        seller: buyer().id(),
        principal: principal.id(),
        task: offer.body.ask,
        services: vec![],
        unit: "sat".into(),
        mint: offer.body.mints[0].to_string(),
        max_price: most,
        max_spent: most,
        deadline: NOW.saturating_add(60),
        max_depth: 1,
        expires: NOW.saturating_add(2_000),
        nonce: vec![1],
    };
    let link = Signed::sign(grant.delegation().unwrap(), &principal).unwrap();
    let args = AwardArgs { depth: 1, ..args(&offer) };
    let prf = vec![link.cid()];
    (Award::sign(&args, &part(), principal.id(), prf, NOW, ByteArray([6; 16]), &buyer()).unwrap(), link)
}

/// An agreed trade. Its lock is empty: the machines and the audit never look at the proofs themselves.
pub(crate) fn deal() -> Deal {
    let ask = ask();
    let offer = offer(&ask);
    Deal {
        award: award(&args(&offer)),
        offer,
        ask: ByteBuf::from(ask.bytes()),
        chain: vec![],
        grant: None,
        lock: Lock::Prepaid(prepaid::Lock { proofs: vec![], refund: lock_keys()[1] }),
        input: Payload::Inline(ByteBuf::from(INPUT)),
    }
}

/// The tests' deal, with a delegation by which its seller may subcontract.
pub(crate) fn granting_deal() -> Deal {
    let deal = deal();
    Deal { grant: Some(Signed::sign(sub_grant(&deal).delegation().unwrap(), &buyer()).unwrap()), ..deal }
}

/// What the buyer of a deal may let its seller pass on.
pub(crate) fn sub_grant(deal: &Deal) -> SubGrant {
    SubGrant {
        buyer: buyer().id(),
        seller: seller().id(),
        principal: buyer().id(),
        task: deal.award.args().task,
        services: vec!["text.count".into(), "text.split".into()],
        unit: "sat".into(),
        mint: deal.award.args().mint.to_string(),
        max_price: 4,
        max_spent: 6,
        deadline: NOW.saturating_add(50),
        max_depth: 2,
        expires: NOW.saturating_add(50),
        nonce: vec![2; 16],
    }
}

pub(crate) fn receipt(deal: &Deal, out: Result<Digest, TaskError>, ended: Timestamp) -> Signed<Receipt> {
    let body = seller::receipt_body(deal, out, None, NOW, ended);
    Signed::claim(body, ended, None, ByteArray([7; 16]), &seller()).unwrap()
}

pub(crate) fn good_receipt(deal: &Deal) -> Signed<Receipt> {
    receipt(deal, Ok(receipt::commit(&SALT, OUTPUT)), NOW.saturating_add(2))
}

/// A statement of no special date or nonce.
pub(crate) fn claim<B: crate::claim::Body>(body: B, key: &AgentKey) -> Signed<crate::claim::Claim<B>> {
    Signed::claim(body, NOW, None, ByteArray([11; 16]), key).unwrap()
}

pub(crate) fn acceptance(deal: &Deal) -> Signed<Acceptance> {
    Signed::claim(AcceptanceBody::of(deal), NOW, None, ByteArray([8; 16]), &seller()).unwrap()
}

pub(crate) fn cancellation(deal: &Deal) -> Signed<Cancellation> {
    let at = NOW.saturating_add(1);
    Signed::claim(buyer::cancellation(deal), at, None, ByteArray([9; 16]), &self::buyer()).unwrap()
}

pub(crate) fn received(receipt: &Signed<Receipt>) -> Signed<Received> {
    let body = ReceivedBody { award: receipt.body.award, receipt: receipt.cid() };
    Signed::claim(body, receipt.iat, None, ByteArray([10; 16]), &self::buyer()).unwrap()
}
