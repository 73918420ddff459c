#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::*;
use crate::{
    envelope::kept,
    testing::NOW,
    ucan::{
        Policy,
        chain::{self, At, NoRevocations},
    },
};

const END: Timestamp = NOW.saturating_add(3_600);

fn key(seed: u8) -> AgentKey {
    AgentKey::from_seed(&[seed; 32])
}

/// `from` lets `to` award in the name of 1.
fn link(from: u8, to: u8) -> Delegation {
    Delegation {
        iss: key(from).id(),
        aud: key(to).id(),
        sub: Some(key(1).id()),
        cmd: "/task/award".parse().unwrap(),
        pol: Policy::default(),
        nonce: ByteBuf::from([from, to]),
        meta: None,
        nbf: None,
        exp: Some(END),
    }
}

fn sign(delegation: Delegation) -> Signed<Delegation> {
    let key = (0..=255).map(key).find(|key| key.id() == delegation.iss).unwrap();
    Signed::sign(delegation, &key).unwrap()
}

/// 1 → 2 → 3 → 4.
fn path() -> Vec<Signed<Delegation>> {
    [(1, 2), (2, 3), (3, 4)].map(|(from, to)| sign(link(from, to))).to_vec()
}

/// The revocation of the whole path's last link with its invocation changed, signed anew by `by`.
fn with(by: u8, change: impl FnOnce(&mut Invocation)) -> Vec<u8> {
    let good = Revocation::sign(path(), NOW, &key(1)).unwrap();
    let mut invocation = good.invocation().payload().clone();
    (invocation.iss, invocation.sub) = (key(by).id(), key(by).id());
    change(&mut invocation);
    let signed = Signed::sign(invocation, &key(by)).unwrap();
    travelling(signed.bytes(), &path())
}

fn travelling(revocation: &[u8], path: &[Signed<Delegation>]) -> Vec<u8> {
    let path = path.iter().map(|link| ByteBuf::from(link.bytes())).collect();
    cbor::encode(&Parts { path, revocation: ByteBuf::from(revocation) })
}

/// Signed by 1 about a path that is whatever it is.
fn about(path: &[Signed<Delegation>]) -> Vec<u8> {
    let named: Vec<Cid> = path.iter().map(Signed::cid).collect();
    let args = RevokeArgs { revoke: *named.last().unwrap(), path: named };
    let good = Revocation::sign(self::path(), NOW, &key(1)).unwrap();
    let invocation = Invocation { args: Args::from_value(&args).unwrap(), ..good.invocation().payload().clone() };
    travelling(Signed::sign(invocation, &key(1)).unwrap().bytes(), path)
}

#[test]
fn each_issuer_from_the_root_to_the_revoked_link_can_revoke_it_and_nobody_else() {
    for by in 1..=3 {
        let revocation = Revocation::sign(path(), NOW, &key(by)).unwrap();
        let read = Revocation::decode(&revocation.encode()).unwrap();
        assert_eq!(read, revocation);
        assert_eq!((read.revoker(), read.delegation()), (key(by).id(), path()[2].cid()));
        assert_eq!((read.made(), read.until()), (Some(NOW), END));
        let claimed = Claimed { revoker: key(by).id(), delegation: path()[2].cid() };
        assert_eq!(Revocation::peek(&revocation.encode()), Some(claimed));
    }
    // Whoever got it, and whoever has nothing to do with it.
    for by in [4, 9] {
        let stranger = RevocationError::Stranger(key(by).id());
        assert_eq!(Revocation::sign(path(), NOW, &key(by)), Err(stranger.clone()));
        assert_eq!(Revocation::decode(&with(by, |_| ())), Err(stranger));
    }
    // 3 stands below the first two: what it issued is not theirs.
    assert_eq!(
        Revocation::sign(path()[..2].to_vec(), NOW, &key(3)),
        Err(RevocationError::Stranger(key(3).id())),
        "a link above its own"
    );
}

#[test]
fn a_revocation_stops_the_chain_it_is_about_and_no_other() {
    let links = path();
    let asked = Invocation {
        iss: key(4).id(),
        sub: key(1).id(),
        cmd: "/task/award".parse().unwrap(),
        prf: links.iter().map(Signed::cid).collect(),
        ..Revocation::sign(links.clone(), NOW, &key(1)).unwrap().invocation().payload().clone()
    };
    let asked = Signed::sign(asked, &key(4)).unwrap();
    let at = At::exact(NOW);
    assert!(chain::verify(&asked, &links, at, &NoRevocations).is_ok());
    let known = [Revocation::sign(links[..2].to_vec(), NOW, &key(1)).unwrap()];
    let revoked = |revoker: &AgentId, cid: &Cid| {
        known.iter().any(|revocation| revocation.revoker() == *revoker && revocation.delegation() == *cid)
    };
    let error = chain::verify(&asked, &links, at, &revoked).unwrap_err();
    assert_eq!(error, ChainError::Revoked { link: 1, revoker: key(1).id() });
    // 2 passes authority on anew.
    let anew = [links[0].clone(), sign(Delegation { nonce: ByteBuf::from([9]), ..link(2, 3) }), links[2].clone()];
    let asked = Invocation { prf: anew.iter().map(Signed::cid).collect(), ..asked.payload().clone() };
    let asked = Signed::sign(asked, &key(4)).unwrap();
    assert!(chain::verify(&asked, &anew, at, &revoked).is_ok());
}

#[test]
fn the_same_revocation_has_the_same_bytes() {
    let bytes = || Revocation::sign(path(), NOW, &key(2)).unwrap().encode();
    assert_eq!(bytes(), bytes());
    let stored = cbor::encode(&Revocation::sign(path(), NOW, &key(2)).unwrap());
    assert_eq!(cbor::decode::<Revocation>(&stored).unwrap().encode(), bytes());
}

#[test]
fn a_revocation_is_over_when_what_it_revokes_has_ended() {
    let revocation = Revocation::sign(path(), NOW, &key(2)).unwrap();
    assert!(!revocation.is_over(END.saturating_add(60)), "the skew is granted");
    assert!(revocation.is_over(END.saturating_add(61)));
    // What stands above may have ended long ago: another path may lead there.
    let mut links = path();
    links[0] = sign(Delegation { exp: Some(NOW.saturating_sub(900)), ..link(1, 2) });
    assert!(!Revocation::sign(links, NOW, &key(1)).unwrap().is_over(NOW));
}

#[test]
fn a_path_that_does_not_lead_to_what_is_revoked_is_refused() {
    let links = path();
    let forged = |mut bytes: Vec<u8>| {
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        bytes
    };
    let good = Revocation::sign(path(), NOW, &key(1)).unwrap();
    let envelope = good.invocation().bytes();
    assert!(Revocation::decode(&about(&links)).is_ok());
    for (why, bytes) in [
        ("links out of order", travelling(envelope, &[links[1].clone(), links[0].clone(), links[2].clone()])),
        ("a link left out", travelling(envelope, &links[1..])),
        ("a link more", travelling(envelope, &[&links[..], &links[..1]].concat())),
        ("another link in its place", travelling(envelope, &[sign(link(1, 9)), links[1].clone(), links[2].clone()])),
        ("a link twice", about(&[links[0].clone(), links[0].clone()])),
        ("what is revoked isn't its end", with(1, |inv| name(inv, "revoke", Ipld::Link(links[0].cid())))),
        ("what is revoked isn't on it", with(1, |inv| name(inv, "revoke", Ipld::Link(cbor::cid_of(b"other"))))),
    ] {
        assert_eq!(Revocation::decode(&bytes), Err(RevocationError::Path), "{why}");
    }
    for (why, broken) in [
        ("not passed on by who got it", vec![links[0].clone(), sign(link(3, 4))]),
        ("from another than the principal", vec![links[1].clone(), links[2].clone()]),
        ("about another principal", {
            let other = Delegation { sub: Some(key(2).id()), ..link(2, 3) };
            vec![links[0].clone(), sign(other)]
        }),
        ("for more than was passed on", {
            let wider = Delegation { cmd: "/task".parse().unwrap(), ..link(2, 3) };
            vec![links[0].clone(), sign(wider)]
        }),
        ("with a powerline as its root", vec![sign(Delegation { sub: None, ..link(1, 2) })]),
    ] {
        let error = Revocation::decode(&about(&broken)).unwrap_err();
        assert!(matches!(error, RevocationError::Chain(_)), "{why}: {error}");
        assert_eq!(error.fault(), Fault::Peer, "{why}");
    }
    let mut torn = Parts {
        path: links.iter().map(|link| ByteBuf::from(link.bytes())).collect(),
        revocation: ByteBuf::from(forged(envelope.to_vec())),
    };
    let signature = RevocationError::Invocation(EnvelopeError::Signature);
    assert_eq!(Revocation::decode(&cbor::encode(&torn)), Err(signature), "edited after signing");
    torn.revocation = ByteBuf::from(envelope);
    let at = torn.path[1].len() - 20;
    torn.path[1][at] ^= 1;
    assert_eq!(Revocation::decode(&cbor::encode(&torn)), Err(RevocationError::Path), "a link edited after signing");
}

#[test]
fn a_signature_on_the_path_that_is_not_its_issuers_is_refused() {
    let good = sign(link(1, 2));
    let mut forged = good.bytes().to_vec();
    forged[10] ^= 1;
    let args = RevokeArgs { revoke: cbor::cid_of(&forged), path: vec![cbor::cid_of(&forged)] };
    let invocation = Revocation::sign(path(), NOW, &key(1)).unwrap().invocation().payload().clone();
    let invocation = Invocation { args: Args::from_value(&args).unwrap(), ..invocation };
    let revocation = Signed::sign(invocation, &key(1)).unwrap();
    let parts = Parts { path: vec![ByteBuf::from(forged)], revocation: ByteBuf::from(revocation.bytes()) };
    let error = RevocationError::Delegation(EnvelopeError::Signature);
    assert_eq!(Revocation::decode(&cbor::encode(&parts)), Err(error));
}

#[test]
fn only_a_revocation_that_was_kept_is_read_without_its_signatures() {
    let good = Revocation::sign(path(), NOW, &key(1)).unwrap();
    let stored = cbor::encode(&good);
    assert_eq!(cbor::decode(&stored), Ok(good.clone()));
    let torn = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        // The signature's first byte.
        bytes[3] ^= 1;
        ByteBuf::from(bytes)
    };
    let links = || good.path().iter().map(|link| ByteBuf::from(link.bytes())).collect();
    let forged = cbor::encode(&Parts { path: links(), revocation: torn(good.invocation().bytes()) });
    let forged = cbor::encode(&ByteBuf::from(forged));
    assert!(cbor::decode::<Revocation>(&forged).is_err());
    let read = kept(|| cbor::decode::<Revocation>(&forged)).unwrap();
    assert_eq!((read.revoker(), read.delegation()), (good.revoker(), good.delegation()));
    // All else is checked all the same.
    let none = cbor::encode(&Parts { path: vec![], revocation: ByteBuf::from(good.invocation().bytes()) });
    assert!(kept(|| cbor::decode::<Revocation>(&cbor::encode(&ByteBuf::from(none)))).is_err());
}

#[test]
fn what_is_too_large_is_refused_before_it_is_verified() {
    let heavy = |bytes: usize| {
        let meta = BTreeMap::from([("note".to_owned(), Ipld::Bytes(vec![0; bytes]))]);
        sign(Delegation { meta: Some(meta), ..link(1, 2) })
    };
    let fits = heavy(MAX_CHAIN_BYTES - 400);
    let revocation = Revocation::sign(vec![fits.clone()], NOW, &key(1)).unwrap();
    assert!(fits.bytes().len() > MAX_CHAIN_BYTES - 100 && revocation.encode().len() <= MAX_REVOCATION);
    assert_eq!(Revocation::decode(&revocation.encode()), Ok(revocation));
    assert_eq!(Revocation::sign(vec![heavy(MAX_CHAIN_BYTES)], NOW, &key(1)), Err(RevocationError::Large));
    assert_eq!(Revocation::decode(&about(&[heavy(MAX_CHAIN_BYTES)])), Err(RevocationError::Large));
    assert_eq!(Revocation::decode(&vec![0; MAX_REVOCATION + 1]), Err(RevocationError::Large));
    let chatty = |inv: &mut Invocation| {
        inv.meta = Some([("note".to_owned(), Ipld::Bytes(vec![0; MAX_REVOKING]))].into());
    };
    assert_eq!(Revocation::decode(&with(1, chatty)), Err(RevocationError::Large));
    let long: Vec<_> = (1..=MAX_CHAIN as u8 + 1).map(|from| sign(link(from, from + 1))).collect();
    assert_eq!(Revocation::sign(long[..MAX_CHAIN].to_vec(), NOW, &key(1)).unwrap().path().len(), MAX_CHAIN);
    assert_eq!(Revocation::sign(long.clone(), NOW, &key(1)), Err(RevocationError::Large));
    assert_eq!(Revocation::decode(&about(&long)), Err(RevocationError::Large));
}

#[test]
fn what_is_no_revocation_or_not_understood_has_its_name() {
    let endless = sign(Delegation { exp: None, ..link(1, 2) });
    let rows = [
        (RevocationError::Command, Fault::Peer, with(1, |inv| inv.cmd = "/task/award".parse().unwrap())),
        (RevocationError::Command, Fault::Peer, with(1, |inv| inv.cmd = "/ucan/revoke/all".parse().unwrap())),
        (RevocationError::Arguments, Fault::Peer, with(1, |inv| name(inv, "revoke", Ipld::Integer(1)))),
        (RevocationError::NoPath, Fault::Incompatible, with(1, |inv| name(inv, "path", Ipld::List(vec![])))),
        (RevocationError::Delegated, Fault::Incompatible, with(2, |inv| inv.sub = key(1).id())),
        (RevocationError::Delegated, Fault::Incompatible, with(1, |inv| inv.prf = vec![path()[0].cid()])),
        (RevocationError::Endless, Fault::Incompatible, about(std::slice::from_ref(&endless))),
        (RevocationError::Endless, Fault::Incompatible, about(&[endless, sign(link(2, 3))])),
    ];
    for (expected, fault, bytes) in rows {
        assert_eq!(Revocation::decode(&bytes), Err(expected.clone()));
        assert_eq!(expected.fault(), fault, "{expected}");
    }
    let more = with(1, |inv| name(inv, "later", Ipld::Bool(true)));
    assert!(Revocation::decode(&more).is_ok(), "an argument of a later version is skipped");
    let never_over = with(1, |inv| inv.exp = Some(NOW.saturating_sub(86_400)));
    assert!(Revocation::decode(&never_over).is_ok(), "a revocation holds as long as what it revokes");
    assert!(matches!(Revocation::decode(b"junk"), Err(RevocationError::Shape(_))));
    assert_eq!(Revocation::peek(b"junk"), None);
}

#[test]
fn a_revocation_has_these_bytes() {
    let root = sign(link(1, 2));
    let revocation = Revocation::sign(vec![root], NOW, &key(1)).unwrap();
    let frozen: String = include_str!("../../../tests/vectors/wire/revocation.hex").split_whitespace().collect();
    assert_eq!(hex::encode(revocation.encode()), frozen);
    assert_eq!(Revocation::decode(&hex::decode(frozen).unwrap()), Ok(revocation));
}

fn name(invocation: &mut Invocation, argument: &str, value: Ipld) {
    invocation.args = invocation.args.clone().with(BTreeMap::from([(argument.to_owned(), value)]).into());
}
