//! The revocation: an issuer takes back a delegation that it, or one after it, has passed on (ucan-wg/revocation).
//!
//! It is an invocation of [`REVOKE`] with the arguments `{revoke, path}`: the delegation that is taken back, and the
//! delegations that lead to it from the principal, root first, itself the last. `iss` and `sub` are the revoker, `prf` is
//! empty, the nonce is empty, and it never expires. It **counts** only if its revoker issued the delegation or one above
//! it; so it travels with the delegations of its path, as canonical DAG-CBOR of at most [`MAX_REVOCATION`] bytes:
//!
//! ```text
//! { "path": [ the envelopes of its path, root first ], "revocation": the invocation's envelope }
//! ```
//!
//! Whoever has one can tell without anything else that it counts, and for how long it is worth keeping: each delegation
//! of the path must end, and once the revoked one has ended, the skew granted, nobody can use it anyhow. The path shows that
//! the revoker stood above the delegation; it need not hold at any one time, nor its policies of any arguments.
//!
//! A revocation can't be taken back: the issuer passes authority on anew. It stops what is awarded or begun after it is
//! known, and never cancels payment for what was delivered before.
//!
//! That somebody else is let to revoke by a delegation (ucan-wg/revocation, "Delegating Revocation") is *not understood*.

use cid::Cid;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{
    Args, Command, Delegation, Invocation,
    chain::{ChainError, check_commands, check_path},
};
use crate::{
    cbor::{self, CborError},
    envelope::{EnvelopeError, Signed, Unverified},
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    limits::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_REVOCATION, MAX_REVOKING},
    time::Timestamp,
};

/// The command that takes a delegation back.
pub const REVOKE: &str = "/ucan/revoke";

/// The arguments. Others that a later version adds are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RevokeArgs {
    revoke: Cid,
    #[serde(default)]
    path: Vec<Cid>,
}

/// A revocation as it travels.
#[derive(Serialize, Deserialize)]
struct Parts {
    path: Vec<ByteBuf>,
    revocation: ByteBuf,
}

/// A revocation that counts, with its path. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    invocation: Signed<Invocation>,
    path: Vec<Signed<Delegation>>,
    delegation: Cid,
    until: Timestamp,
}

/// Who would revoke what, by bytes of which nothing is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Who.
    pub revoker: AgentId,
    /// Which delegation.
    pub delegation: Cid,
}

impl Revocation {
    /// Takes back the last delegation of `path`, whose delegations lead to it from the principal, root first. `key` is of
    /// the issuer of one of them. The same path, time and key give the same bytes.
    ///
    /// # Errors
    /// If the path doesn't lead there, or `key` issued nothing on it.
    pub fn sign(path: Vec<Signed<Delegation>>, now: Timestamp, key: &AgentKey) -> Result<Self, RevocationError> {
        let revoke = path.last().ok_or(RevocationError::NoPath)?.cid();
        let args = RevokeArgs { revoke, path: path.iter().map(Signed::cid).collect() };
        let invocation = Invocation {
            iss: key.id(),
            sub: key.id(),
            aud: None,
            cmd: Command::parse(REVOKE).map_err(|_| RevocationError::Command)?,
            args: Args::from_value(&args).map_err(|_| RevocationError::Arguments)?,
            prf: Vec::new(),
            meta: None,
            nonce: ByteBuf::new(),
            exp: None,
            iat: Some(now),
            cause: None,
        };
        Self::checked(Signed::sign(invocation, key).map_err(RevocationError::Invocation)?, path)
    }

    /// Reads a revocation and its path and checks that it counts. At most [`MAX_CHAIN`] + 1 signatures are verified, the
    /// revoker's first.
    ///
    /// # Errors
    /// Which rule is broken. Whether it is still worth keeping, says [`Self::is_over`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RevocationError> {
        let Parts { revocation: invocation, path } = parts(bytes)?;
        if invocation.len() > MAX_REVOKING {
            return Err(RevocationError::Large);
        }
        let invocation = Signed::decode(&invocation).map_err(RevocationError::Invocation)?;
        // Before the signatures of its path are worth looking at.
        let args = check_invocation(&invocation)?;
        if args.path.len() != path.len() {
            return Err(RevocationError::Path);
        }
        let path = path.iter().zip(&args.path).map(|(bytes, named)| {
            let link = Unverified::<Delegation>::read(bytes).map_err(RevocationError::Delegation)?;
            if link.cid() != *named {
                return Err(RevocationError::Path);
            }
            link.verify().map_err(RevocationError::Delegation)
        });
        let path = path.collect::<Result<Vec<_>, _>>()?;
        Self::checked(invocation, path)
    }

    /// A revocation whose path is to be found among `delegations`, as in an audit bundle.
    ///
    /// # Errors
    /// Which rule is broken; [`RevocationError::Path`] too if a delegation of the path isn't among them.
    pub fn of_parts(
        invocation: Signed<Invocation>,
        delegations: &[Signed<Delegation>],
    ) -> Result<Self, RevocationError> {
        let args = check_invocation(&invocation)?;
        let find = |cid: &Cid| delegations.iter().find(|link| link.cid() == *cid).cloned();
        let path = args.path.iter().map(find).collect::<Option<Vec<_>>>().ok_or(RevocationError::Path)?;
        Self::checked(invocation, path)
    }

    /// Who would revoke what. To be told apart from what is known already before any signature is verified; `None` if
    /// the bytes are no revocation at all.
    pub fn peek(bytes: &[u8]) -> Option<Claimed> {
        let Parts { revocation: invocation, .. } = parts(bytes).ok()?;
        let invocation = Unverified::<Invocation>::read(&invocation).ok()?;
        let args: RevokeArgs = invocation.payload().args.to_value().ok()?;
        Some(Claimed { revoker: invocation.payload().iss, delegation: args.revoke })
    }

    /// As it travels: [`Self::decode`] reads it.
    pub fn encode(&self) -> Vec<u8> {
        let path = self.path.iter().map(|link| ByteBuf::from(link.bytes())).collect();
        cbor::encode(&Parts { path, revocation: ByteBuf::from(self.invocation.bytes()) })
    }

    /// Who takes it back.
    pub fn revoker(&self) -> AgentId {
        self.invocation.iss
    }

    /// What is taken back.
    pub fn delegation(&self) -> Cid {
        self.delegation
    }

    /// The delegations that lead there from the principal, root first, itself the last.
    pub fn path(&self) -> &[Signed<Delegation>] {
        &self.path
    }

    /// What was signed.
    pub fn invocation(&self) -> &Signed<Invocation> {
        &self.invocation
    }

    /// When it was made, as its revoker says.
    pub fn made(&self) -> Option<Timestamp> {
        self.invocation.iat
    }

    /// The last second of what is taken back.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether what is taken back has ended, the skew granted: then nobody needs it any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_past(now)
    }

    /// Everybody who stands on the path: who issued a delegation of it, or got one.
    pub fn parties(&self) -> impl Iterator<Item = AgentId> + '_ {
        self.path.iter().flat_map(|link| [link.iss, link.aud])
    }

    /// As [`Self::decode`], for what is deserialized.
    fn read(bytes: &[u8]) -> Result<Self, RevocationError> {
        let Parts { revocation, path } = parts(bytes)?;
        let invocation = Signed::read(&revocation).map_err(RevocationError::Invocation)?;
        let path = path.iter().map(|link| Signed::read(link)).collect::<Result<_, _>>();
        Self::checked(invocation, path.map_err(RevocationError::Delegation)?)
    }

    fn checked(invocation: Signed<Invocation>, path: Vec<Signed<Delegation>>) -> Result<Self, RevocationError> {
        let args = check_invocation(&invocation)?;
        let revoked = path.last().ok_or(RevocationError::NoPath)?;
        if path.len() > MAX_CHAIN || invocation.bytes().len() > MAX_REVOKING || weigh(&path) > MAX_CHAIN_BYTES {
            return Err(RevocationError::Large);
        }
        let leads = revoked.cid() == args.revoke && path.iter().map(Signed::cid).eq(args.path.iter().copied());
        let repeats = (1..path.len()).any(|end| path[..end].contains(&path[end]));
        if !leads || repeats {
            return Err(RevocationError::Path);
        }
        let subject = path[0].sub.ok_or(RevocationError::Chain(ChainError::PowerlineRoot))?;
        check_path(subject, &path).map_err(RevocationError::Chain)?;
        check_commands(&path, None).map_err(RevocationError::Chain)?;
        if !path.iter().any(|link| link.iss == invocation.iss) {
            return Err(RevocationError::Stranger(invocation.iss));
        }
        let until = revoked.exp.filter(|_| path.iter().all(|link| link.exp.is_some()));
        let until = until.ok_or(RevocationError::Endless)?;
        Ok(Self { invocation, path, delegation: args.revoke, until })
    }
}

/// Stored as it travels; on the way in checked again, the signatures too but in what [`kept`](crate::envelope::kept) reads.
impl Serialize for Revocation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Revocation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&ByteBuf::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn parts(bytes: &[u8]) -> Result<Parts, RevocationError> {
    if bytes.len() > MAX_REVOCATION {
        return Err(RevocationError::Large);
    }
    let parts: Parts = cbor::decode(bytes)?;
    if parts.path.len() > MAX_CHAIN || parts.path.iter().map(|link| link.len()).sum::<usize>() > MAX_CHAIN_BYTES {
        return Err(RevocationError::Large);
    }
    Ok(parts)
}

fn weigh(path: &[Signed<Delegation>]) -> usize {
    path.iter().map(|link| link.bytes().len()).sum()
}

/// What can be said without the path.
fn check_invocation(invocation: &Invocation) -> Result<RevokeArgs, RevocationError> {
    if invocation.cmd.as_str() != REVOKE {
        return Err(RevocationError::Command);
    }
    if invocation.sub != invocation.iss || !invocation.prf.is_empty() {
        return Err(RevocationError::Delegated);
    }
    let args: RevokeArgs = invocation.args.to_value().map_err(|_| RevocationError::Arguments)?;
    if args.path.is_empty() { Err(RevocationError::NoPath) } else { Ok(args) }
}

/// Why a revocation doesn't count, or isn't taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RevocationError {
    /// Over [`MAX_REVOCATION`], or its path is over what a chain may have.
    #[error(
        "a revocation has at most {MAX_CHAIN} delegations of {MAX_CHAIN_BYTES} bytes together, and {MAX_REVOKING} itself"
    )]
    Large,
    /// Not the two parts.
    #[error("a revocation is an invocation and the delegations of its path: {0}")]
    Shape(#[from] CborError),
    /// The invocation doesn't hold.
    #[error("the revocation: {0}")]
    Invocation(#[source] EnvelopeError),
    /// A delegation of the path doesn't hold.
    #[error("a delegation on the path of the revocation: {0}")]
    Delegation(#[source] EnvelopeError),
    /// Another command.
    #[error("a revocation invokes {REVOKE}")]
    Command,
    /// Arguments missing or of the wrong type.
    #[error("the arguments of a revocation name a delegation and the path to it")]
    Arguments,
    /// Not understood: made on another's authority.
    #[error("not understood: a revocation on another's authority")]
    Delegated,
    /// Not understood: it shows no path, so nothing says that it counts.
    #[error("not understood: a revocation without the path to what it revokes")]
    NoPath,
    /// The delegations aren't those that it names, in that order, the revoked one the last.
    #[error("the delegations of the revocation are not the path that it names")]
    Path,
    /// The path leads nowhere.
    #[error("the path of the revocation does not hold: {0}")]
    Chain(ChainError),
    /// Its revoker issued nothing on the path.
    #[error("{0} issued neither the delegation that it revokes nor one above it")]
    Stranger(AgentId),
    /// Something on the path never ends: nobody could tell how long to keep the revocation, and it is about no money.
    #[error("not understood: a revocation of what never expires")]
    Endless,
}

impl AtFault for RevocationError {
    fn fault(&self) -> Fault {
        match self {
            Self::Invocation(error) | Self::Delegation(error) => error.fault(),
            Self::Chain(error) => error.fault(),
            // Another's version of the standard may let these through.
            Self::Delegated | Self::NoPath | Self::Endless => Fault::Incompatible,
            Self::Large | Self::Shape(_) | Self::Command | Self::Arguments | Self::Path | Self::Stranger(_) => {
                Fault::Peer
            }
        }
    }
}

#[cfg(test)]
mod tests;
