//! Chains that the fixtures leave out.

use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    time::Timestamp,
    ucan::{At, ChainError, Delegation, chain, chain::NoRevocations},
};
use serde_json::json;

use crate::tools::{
    NOW, delegation, from_json, id, invocation, key, name, policy, redelegation, sign_delegation, sign_invocation,
    verify, verify_signed,
};

/// 1 → 2 → … → 1 + `length`, all about 1.
fn line(length: u8) -> Vec<Delegation> {
    (1..=length).map(|from| redelegation(1, from, from + 1, "/task")).collect()
}

#[test]
fn a_chain_tells_who_authorised_whom_to_what() {
    let mut links = line(2);
    links[0].pol = policy(&json!([["==", ".unit", "sat"], ["<=", ".price", 100]]));
    links[1].sub = None;
    links[1].exp = Some(NOW);
    let mut asked = invocation(1, 3, "/task/award");
    asked.aud = Some(id(4));
    asked.args = from_json(&json!({"unit": "sat", "price": 100}));
    let chain = verify(asked, links).unwrap();
    let (one, two, three, four) = (id(1), id(2), id(3), id(4));
    assert_eq!(
        chain.to_string(),
        format!(
            "{one} authorises {two} to do /task in its own name, if .unit == \"sat\" and .price <= 100, for ever\n\
             {two} authorises {three} to do /task in the name of anyone who authorises it, here {one}, \
             until 2026-01-01T00:00:00Z\n\
             {three} asks {four} to do /task/award in the name of {one}\n"
        )
    );
    assert_eq!((chain.principal(), chain.links().len(), chain.expires()), (one, 2, Some(NOW)));
}

#[test]
fn a_command_covers_itself_and_what_is_below_it_by_whole_segments() {
    for (granted, asked, expected) in [
        ("/", "/task/run", "valid"),
        ("/task/run", "/task/run", "valid"),
        ("/task/run", "/task/run/fast", "valid"),
        ("/task/run", "/task/runaway", "InvalidClaim"),
        ("/task/run", "/task", "InvalidClaim"),
        ("/task/run", "/", "InvalidClaim"),
    ] {
        let outcome = verify(invocation(1, 2, asked), vec![delegation(1, 2, granted)]);
        assert_eq!(name(&outcome), expected, "{granted} {asked}");
    }
}

#[test]
fn no_link_widens_the_command_of_the_one_above() {
    for (second, asked, expected) in
        [("/task/run", "/task/run", "valid"), ("/", "/task/run", "InvalidClaim"), ("/tasks", "/tasks", "InvalidClaim")]
    {
        let links = vec![delegation(1, 2, "/task"), redelegation(1, 2, 3, second)];
        assert_eq!(name(&verify(invocation(1, 3, asked), links)), expected, "{second}");
    }
}

#[test]
fn no_link_widens_the_policy_of_the_one_above() {
    let outcome = |price: u64| {
        let mut links = line(2);
        links[0].pol = policy(&json!([["<=", ".price", 100]]));
        links[1].pol = policy(&json!([["<=", ".price", 1000], [">", ".price", 10]]));
        let mut asked = invocation(1, 3, "/task");
        asked.args = from_json(&json!({"price": price}));
        name(&verify(asked, links))
    };
    assert_eq!(outcome(100), "valid");
    assert_eq!(outcome(101), "MatchError");
    assert_eq!(outcome(10), "MatchError");
}

#[test]
fn the_order_of_the_links_matters() {
    let links: Vec<_> = line(3).into_iter().map(sign_delegation).collect();
    assert_eq!(name(&verify_signed(&sign_invocation(invocation(1, 4, "/task"), &links), &links)), "valid");
    let reversed: Vec<_> = links.iter().rev().cloned().collect();
    assert_eq!(name(&verify_signed(&sign_invocation(invocation(1, 4, "/task"), &reversed), &links)), "InvalidAudience");
    let swapped = [links[1].clone(), links[0].clone(), links[2].clone()];
    assert_eq!(name(&verify_signed(&sign_invocation(invocation(1, 4, "/task"), &swapped), &links)), "InvalidClaim");
    // given in another order than named: that is no order at all
    assert_eq!(name(&verify_signed(&sign_invocation(invocation(1, 4, "/task"), &links), &reversed)), "valid");
}

#[test]
fn a_link_that_is_left_out_is_missed() {
    let links: Vec<_> = line(3).into_iter().map(sign_delegation).collect();
    let asked = sign_invocation(invocation(1, 4, "/task"), &links);
    assert_eq!(name(&verify_signed(&asked, &links[..2])), "UnavailableProof");
    let asked = sign_invocation(invocation(1, 4, "/task"), &[links[0].clone(), links[2].clone()]);
    assert_eq!(name(&verify_signed(&asked, &links)), "InvalidAudience");
    let asked = sign_invocation(invocation(1, 4, "/task"), &links[1..]);
    assert_eq!(name(&verify_signed(&asked, &links)), "InvalidClaim");
}

#[test]
fn a_link_named_twice_is_refused() {
    let to_itself = sign_delegation(redelegation(1, 1, 1, "/task"));
    let twice = [to_itself.clone(), to_itself.clone()];
    let asked = sign_invocation(invocation(1, 1, "/task"), &twice);
    assert_eq!(verify_signed(&asked, &twice).unwrap_err(), ChainError::Repeated);
}

#[test]
fn only_the_subject_itself_acts_without_proof() {
    assert_eq!(name(&verify(invocation(1, 1, "/task"), vec![])), "valid");
    assert_eq!(name(&verify(invocation(1, 2, "/task"), vec![])), "InvalidClaim");
}

#[test]
fn only_the_subject_issues_the_root() {
    let outcome = verify(invocation(1, 3, "/task"), vec![redelegation(1, 2, 3, "/task")]);
    assert!(matches!(outcome, Err(ChainError::Root { .. })), "{outcome:?}");
}

#[test]
fn a_powerline_passes_on_any_subject_but_starts_nothing() {
    let powerline = |from, to| Delegation { sub: None, ..delegation(from, to, "/task") };
    assert_eq!(name(&verify(invocation(1, 3, "/task"), vec![delegation(1, 2, "/task"), powerline(2, 3)])), "valid");
    assert_eq!(
        name(&verify(
            invocation(1, 4, "/task"),
            vec![delegation(1, 2, "/task"), powerline(2, 3), redelegation(1, 3, 4, "/task")]
        )),
        "valid"
    );
    assert_eq!(name(&verify(invocation(1, 2, "/task"), vec![powerline(1, 2)])), "InvalidClaim");
    // behind a powerline the subject is still the root's, not whatever the next link likes
    assert_eq!(
        name(&verify(
            invocation(3, 4, "/task"),
            vec![delegation(1, 2, "/task"), powerline(2, 3), delegation(3, 4, "/task")]
        )),
        "InvalidSubject"
    );
    // and its own limits count
    let mut narrow = powerline(2, 3);
    narrow.cmd = "/task/read".parse().unwrap();
    assert_eq!(name(&verify(invocation(1, 3, "/task/write"), vec![delegation(1, 2, "/task"), narrow])), "InvalidClaim");
}

#[test]
fn time_bounds_are_inclusive_and_skew_widens_them() {
    let mut link = delegation(1, 2, "/task");
    link.nbf = Some(Timestamp::from_secs(1_000));
    link.exp = Some(Timestamp::from_secs(2_000));
    let links = [sign_delegation(link)];
    let mut asked = invocation(1, 2, "/task");
    asked.exp = Some(Timestamp::from_secs(3_000));
    let asked = sign_invocation(asked, &links);
    let at = |at| name(&chain::verify(&asked, &links, at, &NoRevocations));
    for (secs, exact, tolerant) in [
        (939, "TooEarly", "TooEarly"),
        (940, "TooEarly", "valid"),
        (999, "TooEarly", "valid"),
        (1_000, "valid", "valid"),
        (2_000, "valid", "valid"),
        (2_001, "Expired", "valid"),
        (2_060, "Expired", "valid"),
        (2_061, "Expired", "Expired"),
        (u64::MAX, "Expired", "Expired"),
        (0, "TooEarly", "TooEarly"),
    ] {
        assert_eq!(at(At::exact(Timestamp::from_secs(secs))), exact, "{secs}");
        assert_eq!(at(At::tolerant(Timestamp::from_secs(secs))), tolerant, "{secs}");
    }
}

#[test]
fn a_null_expiry_never_comes() {
    let links = [sign_delegation(delegation(1, 2, "/task"))];
    let asked = sign_invocation(invocation(1, 2, "/task"), &links);
    let far = At::exact(Timestamp::from_secs(u64::MAX));
    assert_eq!(chain::verify(&asked, &links, far, &NoRevocations).unwrap().expires(), None);
}

#[test]
fn a_chain_has_eight_links_at_most() {
    assert_eq!(name(&verify(invocation(1, 9, "/task"), line(8))), "valid");
    assert_eq!(verify(invocation(1, 10, "/task"), line(9)).unwrap_err(), ChainError::Long);
}

#[test]
fn a_chain_has_sixteen_kibibytes_at_most() {
    let padded = |nonce: usize| {
        let mut links = line(2);
        links[0].nonce = vec![0; 8_000].into();
        links[1].nonce = vec![0; nonce].into();
        links.into_iter().map(sign_delegation).collect::<Vec<_>>()
    };
    let total = |links: &[Signed<Delegation>]| links.iter().map(|link| link.bytes().len()).sum::<usize>();
    let exact = 7_000 + 16 * 1024 - total(&padded(7_000));
    let fits = padded(exact);
    assert_eq!(total(&fits), 16 * 1024);
    assert_eq!(name(&verify_signed(&sign_invocation(invocation(1, 3, "/task"), &fits), &fits)), "valid");
    let over = padded(exact + 1);
    let outcome = verify_signed(&sign_invocation(invocation(1, 3, "/task"), &over), &over);
    assert_eq!(outcome.unwrap_err(), ChainError::Large);
}

#[test]
fn a_heap_of_proofs_is_refused_before_it_is_read() {
    let asked = sign_invocation(invocation(1, 1, "/task"), &[]);
    let heap = vec![b"junk"; 33];
    let outcome = chain::verify_bytes(asked.bytes(), &heap, At::exact(NOW), &NoRevocations);
    assert_eq!(outcome.unwrap_err(), ChainError::ProofsGiven);
}

#[test]
fn a_revocation_counts_from_the_issuer_and_from_those_above() {
    let links: Vec<_> = line(3).into_iter().map(sign_delegation).collect();
    let asked = sign_invocation(invocation(1, 4, "/task"), &links);
    let outcome = |revoker: AgentId, revoked: usize| {
        let cid = links[revoked].cid();
        let revocations = |by: &AgentId, what: &cid::Cid| *by == revoker && *what == cid;
        name(&chain::verify(&asked, &links, At::exact(NOW), &revocations))
    };
    for (revoker, revoked, expected) in [
        (1, 0, "Revoked"),
        (1, 2, "Revoked"),
        (2, 1, "Revoked"),
        (3, 2, "Revoked"),
        (2, 0, "valid"), // what one received is not one's own to revoke
        (4, 2, "valid"),
        (9, 1, "valid"),
    ] {
        assert_eq!(outcome(id(revoker), revoked), expected, "{revoker} revokes {revoked}");
    }
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let link = sign_delegation(delegation(1, 2, "/task"));
    let mut forged = link.bytes().to_vec();
    let signature = key(9).sign(&forged[67..]);
    forged[3..67].copy_from_slice(&signature);
    let mut asked = invocation(1, 2, "/task");
    asked.prf = vec![guilder_protocol::cbor::cid_of(&forged)];
    let asked = Signed::sign(asked, &key(2)).unwrap();
    let outcome = chain::verify_bytes(asked.bytes(), &[&forged], At::exact(NOW), &NoRevocations);
    assert_eq!(name(&outcome), "InvalidSignature");
}
