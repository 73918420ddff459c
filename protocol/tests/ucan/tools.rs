//! Agents, tokens and values for the tests.

use std::collections::BTreeMap;

use guilder_protocol::{
    cbor,
    envelope::Signed,
    identity::{AgentId, AgentKey},
    time::Timestamp,
    ucan::{At, Chain, ChainError, Delegation, Invocation, Policy, chain, chain::NoRevocations},
};
use ipld_core::ipld::Ipld;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use serde_json::Value;

/// The fixtures' time of validation.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

pub(crate) fn key(seed: u8) -> AgentKey {
    AgentKey::from_seed(&[seed; 32])
}

pub(crate) fn id(seed: u8) -> AgentId {
    key(seed).id()
}

/// JSON as IPLD.
pub(crate) fn ipld(value: &Value) -> Ipld {
    from_json(value)
}

pub(crate) fn from_json<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

pub(crate) fn policy(value: &Value) -> Policy {
    from_json(value)
}

/// `from` authorises `to` to `cmd` in the name of `from`, for ever.
pub(crate) fn delegation(from: u8, to: u8, cmd: &str) -> Delegation {
    Delegation {
        iss: id(from),
        aud: id(to),
        sub: Some(id(from)),
        cmd: cmd.parse().unwrap(),
        pol: Policy::default(),
        nonce: ByteBuf::from([from, to]),
        meta: None,
        nbf: None,
        exp: None,
    }
}

/// The same in the name of `subject`.
pub(crate) fn redelegation(subject: u8, from: u8, to: u8, cmd: &str) -> Delegation {
    Delegation { sub: Some(id(subject)), ..delegation(from, to, cmd) }
}

/// `from` asks for `cmd` in the name of `subject`.
pub(crate) fn invocation(subject: u8, from: u8, cmd: &str) -> Invocation {
    Invocation {
        iss: id(from),
        sub: id(subject),
        aud: None,
        cmd: cmd.parse().unwrap(),
        args: BTreeMap::new().into(),
        prf: Vec::new(),
        meta: None,
        nonce: ByteBuf::from([from]),
        exp: None,
        iat: None,
        cause: None,
    }
}

pub(crate) fn sign_delegation(delegation: Delegation) -> Signed<Delegation> {
    let key = (0..=255).map(key).find(|key| key.id() == delegation.iss).unwrap();
    Signed::sign(delegation, &key).unwrap()
}

pub(crate) fn sign_invocation(mut invocation: Invocation, links: &[Signed<Delegation>]) -> Signed<Invocation> {
    invocation.prf = links.iter().map(Signed::cid).collect();
    let key = (0..=255).map(key).find(|key| key.id() == invocation.iss).unwrap();
    Signed::sign(invocation, &key).unwrap()
}

/// Signs everything and checks the chain, over bytes and over signed tokens; both must agree.
pub(crate) fn verify(invocation: Invocation, links: Vec<Delegation>) -> Result<Chain, ChainError> {
    let links: Vec<_> = links.into_iter().map(sign_delegation).collect();
    let invocation = sign_invocation(invocation, &links);
    verify_signed(&invocation, &links)
}

pub(crate) fn verify_signed(
    invocation: &Signed<Invocation>,
    links: &[Signed<Delegation>],
) -> Result<Chain, ChainError> {
    let proofs: Vec<_> = links.iter().map(Signed::bytes).collect();
    let from_bytes = chain::verify_bytes(invocation.bytes(), &proofs, At::exact(NOW), &NoRevocations);
    assert_eq!(chain::verify(invocation, links, At::exact(NOW), &NoRevocations), from_bytes);
    from_bytes
}

/// The name of the error that the chain ends in; `valid` if it holds.
pub(crate) fn name(outcome: &Result<Chain, ChainError>) -> &'static str {
    outcome.as_ref().map_or_else(ChainError::name, |_| "valid")
}

/// Signs any payload under any tag, however wrong.
pub(crate) fn forge(tag: &str, payload: Ipld, key: &AgentKey) -> Vec<u8> {
    let header = Ipld::Bytes(vec![0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71]);
    forge_bytes(&cbor::encode(&Ipld::Map([("h".into(), header), (tag.into(), payload)].into())), key)
}

/// Signs bytes as they are.
pub(crate) fn forge_bytes(signed: &[u8], key: &AgentKey) -> Vec<u8> {
    [&[0x82, 0x58, 64][..], &key.sign(signed), signed].concat()
}

/// A payload as a map, to be spoilt.
pub(crate) fn fields(payload: &impl serde::Serialize) -> BTreeMap<String, Ipld> {
    match ipld_core::serde::to_ipld(payload).unwrap() {
        Ipld::Map(map) => map,
        other => panic!("a payload is a map, not {other:?}"),
    }
}
