//! Bundles whose delegations are revoked, or may be.

use super::*;
use crate::{
    identity::AgentKey,
    receipt,
    testing::NOW,
    trade::Deal,
    ucan::{Invocation, RevocationError},
};

fn principal() -> AgentKey {
    AgentKey::from_seed(&[77; 32])
}

/// The tests' trade in the name of another, delivered or failed.
fn delegated(out: Result<receipt::Commitment, FailureCode>) -> (Evidence, Signed<Delegation>) {
    let (award, link) = testing::delegated_award(7);
    let deal = Deal { award: award.clone(), chain: vec![link.clone()], ..testing::deal() };
    let out = match out {
        Ok(commitment) => Ok(commitment.finish()),
        Err(code) => Err(TaskError { code, text: String::new() }),
    };
    let receipt = paid(testing::receipt(&deal, out, NOW.saturating_add(2)).body.clone());
    let delegations = vec![link.clone()];
    (Evidence { awards: vec![award], delegations, ..evidence(vec![receipt]) }, link)
}

fn delivered() -> (Evidence, Signed<Delegation>) {
    delegated(Ok(receipt::Commitment::new(&testing::SALT)))
}

fn revocation(link: &Signed<Delegation>, at: crate::time::Timestamp) -> Revocation {
    Revocation::sign(vec![link.clone()], at, &principal()).unwrap()
}

fn report(evidence: &Evidence) -> Report {
    verify(&bundle(evidence)).unwrap()
}

#[test]
fn without_a_revocation_the_verdict_says_as_far_as_this_bundle_knows() {
    let (evidence, _) = delivered();
    let hire = &report(&evidence).hires[0];
    assert!(hire.revoked.is_empty());
    assert!(
        hire.verdict().ends_with("; its authority is not revoked as far as this bundle knows"),
        "{}",
        hire.verdict()
    );
    // Who acts on its own authority has none that could be revoked.
    assert!(!report(&whole()).hires[0].verdict().contains("authority"));
}

#[test]
fn a_revocation_in_the_bundle_is_told_with_its_time_and_takes_nobody_the_price_of_what_was_delivered() {
    let (mut evidence, link) = delivered();
    for (at, when) in
        [(NOW.saturating_sub(5), " before the award was made"), (NOW.saturating_add(5), " after the award was made")]
    {
        evidence.revocations = vec![revocation(&link, at)];
        let hire = &report(&evidence).hires[0];
        let revoked = Revoked { delegation: link.cid(), revoker: principal().id(), at: Some(at) };
        assert_eq!(hire.revoked, [revoked]);
        assert!(hire.verdict().ends_with(&format!("revoked its authority{when}")), "{}", hire.verdict());
        assert_eq!(hire.answer, Answer::Delivered(testing::seller().id()));
    }
}

#[test]
fn who_revoked_answers_for_work_that_was_not_begun_because_of_it_if_the_file_shows_it() {
    let (mut evidence, link) = delegated(Err(FailureCode::Revoked));
    let says = Answer::SellerSays(testing::seller().id(), FailureCode::Revoked);
    assert_eq!(report(&evidence).hires[0].answer, says, "the seller's word alone");
    evidence.revocations = vec![revocation(&link, NOW)];
    let hire = &report(&evidence).hires[0];
    assert_eq!(hire.answer, Answer::Revoked(principal().id()));
    assert_eq!(hire.answer.who(), Some(principal().id()));
}

#[test]
fn a_revocation_that_does_not_count_or_is_of_another_delegation_is_no_part_of_a_bundle() {
    let (good, link) = delivered();
    // By somebody who issued nothing on the path.
    let counting = revocation(&link, NOW);
    let stranger = AgentKey::from_seed(&[78; 32]);
    let forged = Invocation { iss: stranger.id(), sub: stranger.id(), ..counting.invocation().payload().clone() };
    let forged = Signed::sign(forged, &stranger).unwrap();
    let mut blocks: BTreeMap<Cid, Vec<u8>> = car::read(&bundle(&good), MAX_BUNDLE_BLOCKS).unwrap().1;
    let mut roots = roots(&good);
    blocks.insert(forged.cid(), forged.bytes().to_vec());
    roots.push(forged.cid());
    roots.sort_unstable();
    let borrowed: BTreeMap<Cid, &[u8]> = blocks.iter().map(|(cid, bytes)| (*cid, bytes.as_slice())).collect();
    let error = verify(&car::write(&roots, &borrowed)).unwrap_err();
    let expected = RevocationError::Stranger(stranger.id());
    assert_eq!(error, AuditError::Revocation(forged.cid(), expected.into()));
    // Of a delegation that no award here is made under.
    let mut other = link.payload().clone();
    other.nonce = serde_bytes::ByteBuf::from([9]);
    let other = Signed::sign(other, &principal()).unwrap();
    let stray = Evidence { revocations: vec![revocation(&other, NOW)], ..good };
    assert!(matches!(verify(&bundle(&stray)), Err(AuditError::Stray(_))));
}
