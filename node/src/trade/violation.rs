//! What a violation of the rules costs a peer: the one table from this room's errors to the network's penalties.

use guilder_protocol::{
    envelope::EnvelopeError,
    fault::{AtFault, Fault},
    identity::AgentId,
    market::choice::OfferError,
    settlement::escrow::ReleaseError,
    trade::{StatementError, buyer::DeliveryError},
    wire::{Reason, WireError},
};

use crate::{
    catalogue::BadAnswer,
    network::{Network, Penalty},
};

/// What a peer did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    /// Sent a frame that isn't one.
    #[error("bad frame: {0}")]
    Frame(#[from] WireError),
    /// Sent a statement that isn't one.
    #[error("bad statement: {0}")]
    Statement(EnvelopeError),
    /// Passed on another agent's statement as its own.
    #[error("sent another agent's {0}")]
    NotItsOwn(&'static str),
    /// Asked more often than we answer.
    #[error("asks too often")]
    TooManyAsks,
    /// Goes on sending more than it is answered.
    #[error("goes on sending more than it is answered")]
    Floods,
    /// Sends awards that are refused, over and over.
    #[error("sends awards that are refused, over and over")]
    RefusedTooOften,
    /// Answered a query with something else than its advert.
    #[error("bad answer to a query: {0}")]
    Advert(#[from] BadAnswer),
    /// Made an offer that strays from the ask.
    #[error("bad offer: {0}")]
    Offer(#[from] OfferError),
    /// Sent an ask or award that we refuse.
    #[error("refused: {0}")]
    Refused(Reason),
    /// Spoke of a trade that isn't its own.
    #[error("spoke of a trade that it has no part in")]
    NotItsTrade,
    /// Delivered something else than was agreed.
    #[error("bad delivery: {0}")]
    Delivery(#[from] DeliveryError),
    /// Signed something else of a trade than its part in it allows.
    #[error("bad word on a trade: {0}")]
    Word(#[from] StatementError),
    /// Released other money than was locked, or with other keys.
    #[error("bad release: {0}")]
    Release(#[from] ReleaseError),
    /// Took money and delivered nothing for it.
    #[error("took the money of a trade and delivered nothing for it")]
    Took,
    /// Never served the input of its award.
    #[error("awarded a task and never served its input")]
    NoInput,
    /// Signed a second receipt that contradicts its first.
    #[error("signed a second receipt that contradicts its first")]
    Contradicts,
    /// Delivered an output that its own receipt doesn't commit to.
    #[error("delivered what its own receipt doesn't commit to")]
    Mismatch,
}

impl Violation {
    /// What it costs; nothing where an honest peer may do the same.
    fn penalty(&self) -> Option<Penalty> {
        match self {
            // Another version's message: not understood is not misbehaved.
            Self::Frame(error) if error.fault() == Fault::Incompatible => None,
            Self::Statement(error) if error.fault() == Fault::Incompatible => None,
            Self::Frame(_) | Self::Statement(_) | Self::NotItsOwn(_) | Self::NotItsTrade => Some(Penalty::Major),
            Self::TooManyAsks | Self::RefusedTooOften | Self::Floods => Some(Penalty::Minor),
            Self::Advert(BadAnswer::Envelope(error)) if error.fault() == Fault::Incompatible => None,
            Self::Advert(BadAnswer::Envelope(_) | BadAnswer::NotItsOwn | BadAnswer::OtherSchema) => {
                Some(Penalty::Major)
            }
            // Late answers happen.
            Self::Advert(BadAnswer::Unasked) => Some(Penalty::Minor),
            // So do wrong clocks, and it may be ours.
            Self::Advert(BadAnswer::Untimely) => None,
            Self::Offer(error) if error.fault() == Fault::Incompatible => None,
            Self::Offer(OfferError::Untimely(_)) => None,
            Self::Delivery(error) if error.fault() == Fault::Incompatible => None,
            Self::Word(error) if error.fault() == Fault::Incompatible => None,
            Self::Offer(_) | Self::Delivery(_) | Self::Word(_) | Self::Release(_) => Some(Penalty::Major),
            Self::Refused(reason) => of_reason(*reason),
            // A line that broke looks the same.
            Self::NoInput => Some(Penalty::Minor),
            Self::Mismatch | Self::Took | Self::Contradicts => Some(Penalty::Fatal),
        }
    }
}

/// Charges peers for what they did. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Penalties(Network);

impl Penalties {
    pub(super) fn new(network: Network) -> Self {
        Self(network)
    }

    /// Whether the peer is heard no longer. What it sent before it was cut off may still be waiting.
    pub(super) fn is_banned(&self, peer: AgentId) -> bool {
        self.0.is_banned(peer)
    }

    /// Gives the peer the penalty points that it costs.
    pub(super) async fn punish(&self, peer: AgentId, violation: impl Into<Violation>) {
        let violation = violation.into();
        if let Some(penalty) = violation.penalty() {
            self.0.penalize(peer, penalty, &violation.to_string()).await;
        }
    }
}

/// What an ask or award that we refuse for this reason costs its buyer.
fn of_reason(reason: Reason) -> Option<Penalty> {
    match reason {
        // Nobody's lie: the market at work, our own limits, our own failures, or a cancelled task.
        Reason::Busy
        | Reason::PriceTooLow
        | Reason::WrongUnit
        | Reason::SubcontractsUnpaid
        | Reason::NoCommonMint
        | Reason::NoCommonMode
        | Reason::TooSoon
        | Reason::ShuttingDown
        | Reason::CreditLimit
        | Reason::MintUnavailable
        | Reason::Internal
        | Reason::Cancelled
        | Reason::NotUnderstood
        // Each input that never came was charged when it didn't.
        | Reason::InputsMissed
        // Who was away isn't told from who withholds.
        | Reason::NotReleased
        // The clock that is wrong may be ours.
        | Reason::Untimely
        | Reason::Other(_) => None,
        // A careless or confused buyer: stale advert, revocation that it hasn't heard of.
        Reason::UnknownService
        | Reason::InputTooLarge
        | Reason::InputInvalid
        | Reason::RateLimited
        | Reason::Revoked
        | Reason::OfferTaken => Some(Penalty::Minor),
        // Only who forges or tries to cheat.
        Reason::Malformed
        | Reason::OfferMismatch
        | Reason::OfferUnknown
        | Reason::BadChain
        | Reason::BadLock
        | Reason::ProofReused
        | Reason::InputMismatch => Some(Penalty::Major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_honest_peer_may_do_costs_nothing() {
        for reason in [Reason::Busy, Reason::PriceTooLow, Reason::CreditLimit, Reason::Internal] {
            assert!(Violation::Refused(reason).penalty().is_none(), "{reason}");
        }
        assert!(Violation::Frame(WireError::UnknownKind(99)).penalty().is_none());
        assert!(Violation::Offer(OfferError::NotUnderstood).penalty().is_none());
        assert!(Violation::Refused(Reason::NotUnderstood).penalty().is_none());
    }

    #[test]
    fn a_date_costs_nobody_anything() {
        use guilder_protocol::claim::Untimely;
        for violation in [
            Violation::Refused(Reason::Untimely),
            Violation::Advert(BadAnswer::Untimely),
            Violation::Offer(OfferError::Untimely(Untimely::Expired)),
            Violation::Offer(OfferError::Untimely(Untimely::Future)),
        ] {
            assert!(violation.penalty().is_none(), "{violation}");
        }
    }

    #[test]
    fn our_own_faults_the_mints_and_what_we_do_not_understand_are_never_charged() {
        for reason in Reason::ALL {
            if matches!(reason.fault(), Fault::Environment | Fault::Mint) || *reason == Reason::NotUnderstood {
                assert!(of_reason(*reason).is_none(), "{reason}");
            }
        }
        assert_eq!(Violation::Mismatch.penalty(), Some(Penalty::Fatal));
    }
}
