//! Checks a chain of delegations from a principal to an invocation (ucan-wg/delegation, "Token Validation";
//! ucan-wg/invocation, "Proof Chains").
//!
//! [`open`] turns bytes into signed tokens, [`verify`] checks that they form a chain, [`verify_bytes`] does both.
//! The checks stand in this order, and the first that fails gives the error its [name](ChainError::name):
//! encoding of all tokens · the invocation's signature · that every delegation it names is there · their signatures ·
//! times · principals and subjects · commands · policies · revocations.
//!
//! Bounded: [`MAX_CHAIN`], [`MAX_CHAIN_BYTES`], and the policies of the whole chain share one [`POLICY_FUEL`].

mod award;
mod budget;
mod error;

use std::fmt;

use cid::Cid;

pub use self::{
    award::{AWARD, check_award, check_money, check_sub_grant},
    budget::debit,
    error::ChainError,
};
use super::{
    Command, Delegation, Invocation,
    policy::{Fuel, OutOfFuel},
};
use crate::{
    envelope::{Signed, Unverified},
    identity::AgentId,
    limits::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_PROOFS_GIVEN, POLICY_FUEL},
    time::{SKEW_SECS, Timestamp},
};

/// The moment at which a chain is to hold, and how far its issuers' clocks may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    now: Timestamp,
    skew_secs: u64,
}

impl At {
    /// At `now`, [`SKEW_SECS`] granted: for what comes from a peer.
    pub const fn tolerant(now: Timestamp) -> Self {
        Self { now, skew_secs: SKEW_SECS }
    }

    /// At exactly `now`: for a verdict about a stated time.
    pub const fn exact(now: Timestamp) -> Self {
        Self { now, skew_secs: 0 }
    }

    /// The moment itself.
    pub const fn now(self) -> Timestamp {
        self.now
    }

    fn is_past(self, end: Timestamp) -> bool {
        self.now > end.saturating_add(self.skew_secs)
    }

    fn is_before(self, start: Timestamp) -> bool {
        self.now.saturating_add(self.skew_secs) < start
    }
}

/// Who has revoked what.
pub trait Revocations {
    /// Whether `revoker` has revoked the delegation.
    fn is_revoked(&self, revoker: &AgentId, delegation: &Cid) -> bool;
}

impl<F: Fn(&AgentId, &Cid) -> bool> Revocations for F {
    fn is_revoked(&self, revoker: &AgentId, delegation: &Cid) -> bool {
        self(revoker, delegation)
    }
}

/// Nothing is known to be revoked: for checks without a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRevocations;

impl Revocations for NoRevocations {
    fn is_revoked(&self, _: &AgentId, _: &Cid) -> bool {
        false
    }
}

/// An invocation and the delegations that let its issuer make it, found to hold. Prints as who authorised whom to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    invocation: Signed<Invocation>,
    links: Vec<Signed<Delegation>>,
}

impl Chain {
    /// The invocation at the end of the chain.
    pub fn invocation(&self) -> &Signed<Invocation> {
        &self.invocation
    }

    /// The delegations, root first.
    pub fn links(&self) -> &[Signed<Delegation>] {
        &self.links
    }

    /// The agent on whose authority the work is done.
    pub fn principal(&self) -> AgentId {
        self.invocation.sub
    }

    /// The earliest end of any part; `None` if nothing in the chain ever expires.
    pub fn expires(&self) -> Option<Timestamp> {
        self.links.iter().filter_map(|link| link.exp).chain(self.invocation.exp).min()
    }
}

/// Checks a chain from bytes: [`open`], then [`verify`].
///
/// # Errors
/// Which token breaks which rule.
pub fn verify_bytes(
    invocation: &[u8],
    proofs: &[impl AsRef<[u8]>],
    at: At,
    revocations: &impl Revocations,
) -> Result<Chain, ChainError> {
    let (invocation, links) = open(invocation, proofs)?;
    check(&invocation, &links, at, revocations)?;
    Ok(Chain { invocation, links })
}

/// Reads an invocation and picks from `proofs` the delegations that it names, in its order. All signatures are verified.
///
/// # Errors
/// If a token doesn't decode, a named delegation isn't there, or a signature doesn't hold.
pub fn open(
    invocation: &[u8],
    proofs: &[impl AsRef<[u8]>],
) -> Result<(Signed<Invocation>, Vec<Signed<Delegation>>), ChainError> {
    if proofs.len() > MAX_PROOFS_GIVEN {
        return Err(ChainError::ProofsGiven);
    }
    let invocation = Unverified::<Invocation>::read(invocation).map_err(ChainError::Invocation)?;
    let mut given = Vec::with_capacity(proofs.len());
    for proof in proofs {
        let bytes = proof.as_ref();
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(ChainError::Large);
        }
        given.push(Unverified::<Delegation>::read(bytes).map_err(ChainError::Delegation)?);
    }
    let invocation = invocation.verify().map_err(ChainError::Invocation)?;
    if invocation.prf.len() > MAX_CHAIN {
        return Err(ChainError::Long);
    }
    let mut links = Vec::with_capacity(invocation.prf.len());
    for named in &invocation.prf {
        let place = given.iter().position(|proof| proof.cid() == *named).ok_or(ChainError::Unavailable(*named))?;
        links.push(given.swap_remove(place).verify().map_err(ChainError::Delegation)?);
    }
    Ok((invocation, links))
}

/// Checks that `invocation` is made on its subject's authority. `proofs` are the delegations it names, and may hold others.
///
/// # Errors
/// Which rule is broken, where.
pub fn verify(
    invocation: &Signed<Invocation>,
    proofs: &[Signed<Delegation>],
    at: At,
    revocations: &impl Revocations,
) -> Result<Chain, ChainError> {
    if invocation.prf.len() > MAX_CHAIN {
        return Err(ChainError::Long);
    }
    let mut links = Vec::with_capacity(invocation.prf.len());
    for named in &invocation.prf {
        let proof = proofs.iter().find(|proof| proof.cid() == *named);
        links.push(proof.ok_or(ChainError::Unavailable(*named))?.clone());
    }
    check(invocation, &links, at, revocations)?;
    Ok(Chain { invocation: invocation.clone(), links })
}

fn check(
    invocation: &Signed<Invocation>,
    links: &[Signed<Delegation>],
    at: At,
    revocations: &impl Revocations,
) -> Result<(), ChainError> {
    if links.iter().map(|link| link.bytes().len()).sum::<usize>() > MAX_CHAIN_BYTES {
        return Err(ChainError::Large);
    }
    if (1..links.len()).any(|end| links[..end].contains(&links[end])) {
        return Err(ChainError::Repeated);
    }
    check_times(invocation, links, at)?;
    check_principals(invocation, links)?;
    check_commands(links, Some(&invocation.cmd))?;
    check_policies(invocation, links)?;
    check_revocations(links, revocations)
}

fn check_times(invocation: &Invocation, links: &[Signed<Delegation>], at: At) -> Result<(), ChainError> {
    if let Some(end) = invocation.exp.filter(|end| at.is_past(*end)) {
        return Err(ChainError::InvocationExpired { end });
    }
    links.iter().enumerate().try_for_each(|(link, delegation)| check_link(link, delegation, at))
}

/// Checks that a delegation holds at a moment. `link` is its place, for the error.
///
/// # Errors
/// [`ChainError::Expired`] or [`ChainError::TooEarly`].
pub fn check_link(link: usize, delegation: &Delegation, at: At) -> Result<(), ChainError> {
    if let Some(end) = delegation.exp.filter(|end| at.is_past(*end)) {
        return Err(ChainError::Expired { link, end });
    }
    if let Some(start) = delegation.nbf.filter(|start| at.is_before(*start)) {
        return Err(ChainError::TooEarly { link, start });
    }
    Ok(())
}

fn check_principals(invocation: &Invocation, links: &[Signed<Delegation>]) -> Result<(), ChainError> {
    let subject = invocation.sub;
    let Some(last) = links.last() else {
        return if invocation.iss == subject { Ok(()) } else { Err(ChainError::NoProof { subject }) };
    };
    if last.aud != invocation.iss {
        return Err(ChainError::Audience { link: links.len(), expected: last.aud, issuer: invocation.iss });
    }
    check_path(subject, links)
}

/// Every link is issued by the audience of the one before, the first by the subject itself, and all are about that
/// subject. A powerline takes the subject of what stands before it, so it can't stand first.
pub(super) fn check_path(subject: AgentId, links: &[Signed<Delegation>]) -> Result<(), ChainError> {
    let mut holder = None;
    for (link, delegation) in links.iter().enumerate() {
        match delegation.sub {
            None if link == 0 => return Err(ChainError::PowerlineRoot),
            Some(other) if other != subject => return Err(ChainError::Subject { link, subject, other }),
            _ => {}
        }
        match holder {
            None if delegation.iss != subject => return Err(ChainError::Root { subject, issuer: delegation.iss }),
            Some(expected) if delegation.iss != expected => {
                return Err(ChainError::Audience { link, expected, issuer: delegation.iss });
            }
            _ => holder = Some(delegation.aud),
        }
    }
    Ok(())
}

/// Every link's command covers the next one's, and the last link's what is `asked` in the end.
pub(super) fn check_commands(links: &[Signed<Delegation>], asked: Option<&Command>) -> Result<(), ChainError> {
    let asked = links.iter().skip(1).map(|link| &link.cmd).chain(asked);
    for (link, (granted, asked)) in links.iter().map(|link| &link.cmd).zip(asked).enumerate() {
        if !granted.covers(asked) {
            return Err(ChainError::Command { link, granted: granted.clone(), asked: asked.clone() });
        }
    }
    Ok(())
}

fn check_policies(invocation: &Invocation, links: &[Signed<Delegation>]) -> Result<(), ChainError> {
    let mut fuel = Fuel::new(POLICY_FUEL);
    for (link, delegation) in links.iter().enumerate() {
        match delegation.pol.first_failing(invocation.args.as_ipld(), &mut fuel) {
            Ok(None) => {}
            Ok(Some(statement)) => return Err(ChainError::Policy { link, statement: Box::new(statement.clone()) }),
            Err(OutOfFuel) => return Err(ChainError::Fuel { link }),
        }
    }
    Ok(())
}

fn check_revocations(links: &[Signed<Delegation>], revocations: &impl Revocations) -> Result<(), ChainError> {
    match revoked(links, revocations) {
        Some((link, revoker)) => Err(ChainError::Revoked { link, revoker }),
        None => Ok(()),
    }
}

/// The first of these delegations, root first, that is revoked, and by whom. A revocation counts if its issuer issued the link
/// or one above it (ucan-wg/revocation).
pub fn revoked(links: &[Signed<Delegation>], revocations: &impl Revocations) -> Option<(usize, AgentId)> {
    links.iter().enumerate().find_map(|(link, delegation)| {
        let cid = delegation.cid();
        let revoker = links[..=link].iter().find(|above| revocations.is_revoked(&above.iss, &cid))?;
        Some((link, revoker.iss))
    })
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentence in words(&self.invocation, self.links.iter().map(|link| &**link)) {
            writeln!(f, "{sentence}")?;
        }
        Ok(())
    }
}

/// Who authorises whom to what, and who asks for what: one sentence for each link and one for the invocation.
pub(super) fn words<'a>(
    invocation: &Invocation,
    links: impl Iterator<Item = &'a Delegation>,
) -> impl Iterator<Item = String> {
    let mut sentences: Vec<String> = links.map(|link| delegation_in_words(link, Some(invocation.sub))).collect();
    sentences.push(invocation_in_words(invocation));
    sentences.into_iter()
}

/// `subject` is what a powerline stands for, where that is known.
pub(super) fn delegation_in_words(delegation: &Delegation, subject: Option<AgentId>) -> String {
    let Delegation { iss, aud, cmd, .. } = delegation;
    let mut sentence = format!("{iss} authorises {aud} to {}", action(cmd));
    match (delegation.sub, subject) {
        (Some(subject), _) if subject == *iss => sentence += " in its own name",
        (Some(subject), _) => sentence += &format!(" in the name of {subject}"),
        (None, Some(subject)) => sentence += &format!(" in the name of anyone who authorises it, here {subject}"),
        (None, None) => sentence += " in the name of anyone who authorises it",
    }
    if !delegation.pol.statements().is_empty() {
        sentence += &format!(", if {}", delegation.pol);
    }
    if let Some(start) = delegation.nbf {
        sentence += &format!(", from {start}");
    }
    match delegation.exp {
        Some(end) => sentence += &format!(", until {end}"),
        None => sentence += ", for ever",
    }
    sentence
}

fn invocation_in_words(invocation: &Invocation) -> String {
    let Invocation { iss, sub, cmd, .. } = invocation;
    let asked = invocation.aud.map(|audience| format!(" asks {audience} to")).unwrap_or_else(|| " asks to".to_owned());
    let mut sentence = format!("{iss}{asked} {}", action(cmd));
    if sub == iss {
        sentence += " in its own name";
    } else {
        sentence += &format!(" in the name of {sub}");
    }
    if let Some(end) = invocation.exp {
        sentence += &format!(", until {end}");
    }
    sentence
}

fn action(command: &Command) -> String {
    if command.as_str() == "/" { "do anything".to_owned() } else { format!("do {command}") }
}
