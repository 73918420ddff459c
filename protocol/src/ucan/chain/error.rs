//! Why a chain doesn't hold.

use cid::Cid;

use crate::{
    envelope::EnvelopeError,
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_PROOFS_GIVEN},
    time::Timestamp,
    ucan::{Command, Statement},
};

/// The rule that a chain breaks. `link` counts delegations from the root, which is 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// The invocation isn't a valid signed statement.
    #[error("the invocation: {0}")]
    Invocation(#[source] EnvelopeError),
    /// A delegation isn't a valid signed statement.
    #[error("a delegation: {0}")]
    Delegation(#[source] EnvelopeError),
    /// Over [`MAX_PROOFS_GIVEN`].
    #[error("more than {MAX_PROOFS_GIVEN} delegations came with the invocation")]
    ProofsGiven,
    /// Over [`MAX_CHAIN`].
    #[error("a chain has at most {MAX_CHAIN} delegations")]
    Long,
    /// Over [`MAX_CHAIN_BYTES`].
    #[error("the delegations of a chain have at most {MAX_CHAIN_BYTES} bytes together")]
    Large,
    /// A delegation named twice.
    #[error("the invocation names a delegation twice")]
    Repeated,
    /// A delegation that the invocation names isn't there.
    #[error("the delegation {0} is named but not given")]
    Unavailable(Cid),
    /// The invocation is over.
    #[error("the invocation expired at {end}")]
    InvocationExpired {
        /// Its last second.
        end: Timestamp,
    },
    /// A delegation is over.
    #[error("delegation {link} expired at {end}")]
    Expired {
        /// Which.
        link: usize,
        /// Its last second.
        end: Timestamp,
    },
    /// A delegation doesn't hold yet.
    #[error("delegation {link} does not hold before {start}")]
    TooEarly {
        /// Which.
        link: usize,
        /// Its first second.
        start: Timestamp,
    },
    /// Acts for another without any delegation.
    #[error("no delegation from the subject {subject} is named")]
    NoProof {
        /// In whose name it acts.
        subject: AgentId,
    },
    /// The first delegation names no subject.
    #[error("the first delegation has no subject: a powerline can't be the root")]
    PowerlineRoot,
    /// The first delegation isn't the subject's.
    #[error("the first delegation is issued by {issuer}, not by the subject {subject}")]
    Root {
        /// Whose authority it is about.
        subject: AgentId,
        /// Who gave it away.
        issuer: AgentId,
    },
    /// A delegation, or the invocation if `link` is the number of delegations, isn't issued by whom the one before it
    /// authorised.
    #[error("what follows delegation {} is issued by {issuer}, but that authorised {expected}", link - 1)]
    Audience {
        /// Which.
        link: usize,
        /// Who was authorised.
        expected: AgentId,
        /// Who acted.
        issuer: AgentId,
    },
    /// A delegation is about another subject than the invocation.
    #[error("delegation {link} is about {other}, the invocation about {subject}")]
    Subject {
        /// Which.
        link: usize,
        /// The invocation's.
        subject: AgentId,
        /// The delegation's.
        other: AgentId,
    },
    /// What follows a delegation is for a command that it doesn't cover.
    #[error("delegation {link} is for {granted}, which does not cover {asked}")]
    Command {
        /// Which.
        link: usize,
        /// What it is for.
        granted: Command,
        /// What follows.
        asked: Command,
    },
    /// The arguments break a policy.
    #[error("the arguments break the policy of delegation {link}: {statement}")]
    Policy {
        /// Which.
        link: usize,
        /// The first statement that doesn't hold.
        statement: Box<Statement>,
    },
    /// The policies cost too much to evaluate.
    #[error("the policy of delegation {link} costs too much to check against these arguments")]
    Fuel {
        /// Where the fuel ran out.
        link: usize,
    },
    /// A delegation is revoked.
    #[error("delegation {link} has been revoked by {revoker}")]
    Revoked {
        /// Which.
        link: usize,
        /// Its issuer, or one above it.
        revoker: AgentId,
    },
    /// Not an award.
    #[error("the invocation is for {0}, not for an award")]
    NotAward(Command),
    /// An award that isn't addressed to its receiver.
    #[error("the award is not addressed to this agent ({0})")]
    Receiver(AgentId),
    /// An award in its receiver's own name.
    #[error("the award is made in the name of its own receiver")]
    ReceiverIsSubject,
    /// `depth` isn't the number of delegations.
    #[error("the award's depth is not {0}, the number of its delegations")]
    Depth(usize),
    /// A delegation of money without an end.
    #[error("delegation {link} is about money and never expires")]
    Endless {
        /// Which.
        link: usize,
    },
    /// More is spent under a delegation than can be counted.
    #[error("more is spent under delegation {link} than can be counted")]
    Overspent {
        /// Which.
        link: usize,
    },
    /// A delegation for subcontracting that isn't of its award.
    #[error("the delegation for subcontracting is not of its award: {0}")]
    SubGrant(&'static str),
    /// A bound on the price in money that isn't named.
    #[error("delegation {link} bounds the price, but neither it nor one above it fixes .{field}")]
    Unfixed {
        /// Which.
        link: usize,
        /// `unit` or `mint`.
        field: &'static str,
    },
}

impl ChainError {
    /// The error's name, as the UCAN fixtures have it; where they have none, the one that fits best.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invocation(error) | Self::Delegation(error) => match error {
                EnvelopeError::Signature | EnvelopeError::Algorithm => "InvalidSignature",
                _ => "InvalidEncoding",
            },
            Self::Unavailable(_) => "UnavailableProof",
            Self::InvocationExpired { .. } | Self::Expired { .. } => "Expired",
            Self::TooEarly { .. } => "TooEarly",
            Self::Audience { .. } | Self::Receiver(_) => "InvalidAudience",
            Self::Subject { .. } => "InvalidSubject",
            Self::Policy { .. } | Self::Fuel { .. } => "MatchError",
            Self::Revoked { .. } => "Revoked",
            Self::ProofsGiven
            | Self::Long
            | Self::Large
            | Self::Repeated
            | Self::NoProof { .. }
            | Self::PowerlineRoot
            | Self::Root { .. }
            | Self::Command { .. }
            | Self::NotAward(_)
            | Self::ReceiverIsSubject
            | Self::Depth(_)
            | Self::Endless { .. }
            | Self::Overspent { .. }
            | Self::SubGrant(_)
            | Self::Unfixed { .. } => "InvalidClaim",
        }
    }
}

impl AtFault for ChainError {
    fn fault(&self) -> Fault {
        match self {
            Self::Invocation(error) | Self::Delegation(error) => error.fault(),
            _ => Fault::Peer,
        }
    }
}
