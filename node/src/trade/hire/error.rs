//! Why a task found no seller, and whose fault that is.

use std::fmt;

use guilder_protocol::{
    award::AwardError,
    envelope::EnvelopeError,
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::MAX_SUB_RECEIPTS,
    market::{ServiceName, Unit, choice::OfferError},
    ucan::{ChainError, grant::GrantError},
    wire::Reason,
};

use crate::{
    catalogue::{InputError, PromiseError, SearchError, Unfit},
    content::ContentError,
    executor::ExecError,
    gate::Refusal,
    store::StoreError,
    trade::{ClockDoubt, OverBudget},
    wallet::{Wallet, WalletError, Whereabouts},
};

/// Why a task came to no award that was taken.
#[derive(Debug, thiserror::Error)]
pub enum HireError {
    /// The price, the unit or the time that it may take is not decided.
    #[error("the hire leaves open what it may cost, in which unit, or how long it may take")]
    Undecided,
    /// The deadline is in the past.
    #[error("the deadline has passed")]
    DeadlinePassed,
    /// Nothing to pay with.
    #[error("there is no {0} in this wallet to pay with")]
    NoMoney(Unit),
    /// The money isn't there, or is where it can't be spent.
    #[error("{cause}; {held}")]
    Short {
        /// What is missing.
        cause: Box<Self>,
        /// Where the money of that unit is.
        held: Whereabouts,
    },
    /// As much has been awarded today as may be.
    #[error("{spent} {unit} were awarded today, and {wanted} {unit} more would go over {max}, the most for a day")]
    Budget {
        /// The unit.
        unit: Unit,
        /// What was awarded today.
        spent: u64,
        /// What this takes.
        wanted: u64,
        /// The most for a day.
        max: u64,
    },
    /// A budget that it is on doesn't suffice.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The gate stays shut.
    #[error(transparent)]
    Gate(#[from] Refusal),
    /// Its origin was awarded before.
    #[error("another award was given under the same key, and its seller may still take the money")]
    Held,
    /// Nobody offers the service, as far as could be seen in time.
    #[error("nobody was found who offers the service")]
    NoSeller,
    /// Nobody offers it but those who are to be avoided, as far as could be seen in time.
    #[error("nobody was found who offers the service but those to be avoided: {}", listed_agents(.0))]
    OnlyAvoided(Vec<AgentId>),
    /// The seller named can't be had.
    #[error(transparent)]
    Seller(#[from] SearchError),
    /// Sellers were found, and none made an offer that could be taken.
    #[error("no seller made an acceptable offer{}", listed(.0))]
    NoOffer(Vec<(AgentId, NoOffer)>),
    /// An offer that no longer holds when its turn comes.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// More than what those whose authority it would be on allow.
    #[error(transparent)]
    Bound(#[from] Bound),
    /// More than the grant allows that it would be under.
    #[error("{}", in_grants_words(.0))]
    OverGrant(Bound),
    /// The input can't be read.
    #[error(transparent)]
    Input(#[from] ContentError),
    /// The input can't be checked.
    #[error(transparent)]
    Check(#[from] ExecError),
    /// The money can't be locked.
    #[error("the money could not be locked: {0}")]
    Money(#[from] WalletError),
    /// The ask can't be signed.
    #[error("the ask is not one: {0}")]
    Ask(#[from] EnvelopeError),
    /// The award can't be signed.
    #[error("the award is not one: {0}")]
    Award(#[from] AwardError),
    /// What the seller may pass on isn't said wholly.
    #[error("what the seller may subcontract is not said: {0}")]
    Subcontract(&'static str),
    /// What the seller may pass on can't be written as a delegation.
    #[error("what the seller may subcontract can't be said in a delegation: {0}")]
    Grant(#[source] GrantError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody could be hired, and our clock is the likely cause.
    #[error("{clock}, which is likely why: {cause}")]
    Clock {
        /// What speaks against our clock.
        clock: String,
        /// What came of the task.
        cause: Box<Self>,
    },
    /// Called off before the award.
    #[error("cancelled before any seller was awarded the task")]
    Cancelled,
    /// Too many at once.
    #[error("{0} tasks are being placed already, which is the limit")]
    TooMany(usize),
    /// The node is going down.
    #[error("the node is shutting down")]
    Stopping,
}

/// Which bound keeps a hire from being made on another's authority.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Bound {
    /// The buyer of the task lets nothing be passed on.
    #[error("the buyer of this task, {}, lets nothing of it be subcontracted", by.peer_id())]
    NotGranted {
        /// The buyer.
        by: AgentId,
    },
    /// The task isn't being worked on any more.
    #[error("the task is over, and with it what it lets be subcontracted")]
    Over,
    /// As many were hired as one receipt can name.
    #[error("{MAX_SUB_RECEIPTS} hires were made for this task, which is the most that its receipt can name")]
    TooMany,
    /// A policy of a delegation, or another rule of chains.
    #[error("{} does not allow {}: {error}", by.peer_id(), bound_word(error))]
    Chain {
        /// Who issued the delegation.
        by: AgentId,
        /// What doesn't hold.
        error: Box<ChainError>,
    },
    /// Nothing is left of a delegation's budget.
    #[error("the budget of {budget} that {} allows for subcontracting is spent", by.peer_id())]
    Spent {
        /// Who issued the delegation.
        by: AgentId,
        /// All of it.
        budget: u64,
    },
    /// A higher price than is left.
    #[error("the price is over what is left for subcontracting in this task: {left}")]
    Price {
        /// The most that one more award may cost.
        left: u64,
    },
    /// A later deadline than the task's.
    #[error("the deadline is after the last at which a subcontractor may deliver in this task, in {left_secs} s")]
    Deadline {
        /// Seconds until then.
        left_secs: u64,
    },
    /// A service that our own service's file doesn't name.
    #[error("this service's own file lets it subcontract {} and nothing else", listed_services(allowed))]
    OwnService {
        /// Those that it names.
        allowed: Vec<ServiceName>,
    },
    /// More than our own service's file allows.
    #[error("this service's own file lets it subcontract for at most {budget} a task")]
    OwnBudget {
        /// What it allows.
        budget: u64,
    },
}

/// The same where it is no task's buyer that bounds it, but a standing grant.
fn in_grants_words(bound: &Bound) -> String {
    match bound {
        Bound::Spent { by, budget } => format!("the budget of {budget} that {} granted is spent", by.peer_id()),
        Bound::Price { left } => format!("the price is over what is left under this grant: {left}"),
        Bound::Deadline { left_secs } => {
            format!("the deadline is after the last at which a seller may deliver under this grant, in {left_secs} s")
        }
        other => other.to_string(),
    }
}

fn listed_agents(agents: &[AgentId]) -> String {
    agents.iter().map(AgentId::peer_id).collect::<Vec<_>>().join(", ")
}

/// What a rule of a chain bounds, in a word.
fn bound_word(error: &ChainError) -> &'static str {
    match error {
        ChainError::Policy { statement, .. } => match statement.field() {
            Some("service") => "this service",
            Some("price") => "this price",
            Some("spent") => "this much in all",
            Some("deadline") => "this deadline",
            Some("depth") => "subcontracting this deep",
            Some("unit") => "this unit",
            Some("mint") => "this mint",
            Some("task") => "any other task",
            Some("mode") => "this way to pay",
            _ => "this",
        },
        ChainError::Expired { .. } => "this any longer",
        _ => "this",
    }
}

fn listed_services(services: &[ServiceName]) -> String {
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why one seller made no offer that could be taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoOffer {
    /// Its advert doesn't fit what was asked for.
    #[error("{0}")]
    Unfit(Unfit),
    /// Its advert doesn't take the input.
    #[error(transparent)]
    Input(InputError),
    /// What it promises of the output can't be checked.
    #[error(transparent)]
    Promise(PromiseError),
    /// It declined.
    #[error("declined: {0}")]
    Declined(Reason),
    /// Its offer strays from the ask.
    #[error(transparent)]
    Offer(OfferError),
    /// It would have to be paid in advance.
    #[error("it would be paid in advance, or at its own mint, and hasn't earned that")]
    Advance,
    /// It didn't answer in time.
    #[error("no answer")]
    Silent,
}

impl HireError {
    /// The same, with where the money is, where there isn't enough of it to spend.
    pub(super) fn accounting(self, wallet: &Wallet) -> Self {
        let (Self::NoMoney(unit) | Self::Money(WalletError::Insufficient { unit, .. })) = &self else { return self };
        match wallet.whereabouts(unit) {
            Ok(held) if !held.is_empty() => Self::Short { cause: Box::new(self), held },
            // What went wrong is told without it.
            _ => self,
        }
    }

    /// The same in the words of a standing grant, where it is made under one.
    pub(super) fn under_grant(self, is_under: bool) -> Self {
        match self {
            Self::Bound(bound) if is_under => Self::OverGrant(bound),
            other => other,
        }
    }

    /// The same, with what speaks against our clock where that may be the cause.
    pub(super) fn doubting(self, doubt: Option<ClockDoubt>) -> Self {
        let may_be_clock = match &self {
            Self::NoSeller | Self::OnlyAvoided(_) | Self::Seller(_) => true,
            Self::Offer(OfferError::Untimely(_)) => true,
            Self::NoOffer(sellers) => sellers.iter().any(|(_, why)| why.is_untimely()),
            _ => false,
        };
        let all_untimely = match &self {
            Self::NoOffer(sellers) => !sellers.is_empty() && sellers.iter().all(|(_, why)| why.is_untimely()),
            _ => false,
        };
        let clock = match doubt {
            Some(doubt) if may_be_clock => doubt.to_string(),
            _ if all_untimely => "this machine's clock and the sellers' differ".into(),
            _ => return self,
        };
        Self::Clock { clock, cause: Box::new(self) }
    }
}

impl NoOffer {
    fn is_untimely(&self) -> bool {
        matches!(self, Self::Declined(Reason::Untimely) | Self::Offer(OfferError::Untimely(_)))
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Unfit(Unfit::InputSize(_)) => Fault::Ours,
            Self::Unfit(_) => Fault::Incompatible,
            Self::Input(InputError::BadSchema(_)) | Self::Promise(_) | Self::Offer(_) => Fault::Peer,
            Self::Advance => Fault::Incompatible,
            Self::Input(_) => Fault::Ours,
            Self::Declined(reason) => match reason.fault() {
                Fault::Peer => Fault::Ours,
                other => other,
            },
            Self::Silent => Fault::Environment,
        }
    }
}

/// Sellers that are named in words; of the others is said how many there are.
const NAMED: usize = 16;

fn listed(sellers: &[(AgentId, NoOffer)]) -> impl fmt::Display {
    let mut text = String::new();
    for (index, (seller, why)) in sellers.iter().take(NAMED).enumerate() {
        let peer = seller.peer_id();
        let short = &peer[peer.len().saturating_sub(8)..];
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(&format!("…{short}: {why}"));
    }
    if let Some(others) = sellers.len().checked_sub(NAMED).filter(|others| *others > 0) {
        text.push_str(&format!("; and {others} more"));
    }
    text
}

impl AtFault for HireError {
    fn fault(&self) -> Fault {
        match self {
            Self::Undecided | Self::DeadlinePassed | Self::NoMoney(_) | Self::Ask(_) | Self::Award(_) => Fault::Ours,
            Self::Cancelled
            | Self::TooMany(_)
            | Self::Bound(_)
            | Self::OverGrant(_)
            | Self::Grant(_)
            | Self::Subcontract(_) => Fault::Ours,
            Self::Short { cause, .. } => cause.fault(),
            Self::Budget { .. } | Self::OverBudget(_) | Self::Held => Fault::Ours,
            Self::Gate(refusal) => refusal.fault(),
            Self::NoSeller | Self::OnlyAvoided(_) => Fault::Incompatible,
            Self::Seller(error) => error.fault(),
            // If every seller gives a reason of the same fault, that is the fault.
            Self::NoOffer(sellers) => {
                let mut faults = sellers.iter().map(|(_, why)| why.fault());
                let first = faults.next().unwrap_or(Fault::Incompatible);
                if faults.all(|fault| fault == first) { first } else { Fault::Incompatible }
            }
            Self::Offer(error) => error.fault(),
            Self::Input(error) => error.fault(),
            Self::Check(error) => error.fault(),
            Self::Money(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Stopping | Self::Clock { .. } => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DeadlinePassed => Some("give it more time: --deadline 60s"),
            Self::NoMoney(_) => Some("put some in: `guilder wallet fund AMOUNT`, or name another --mint"),
            Self::Budget { .. } => Some("raise hire.daily_max in config.toml, or wait for midnight UTC"),
            Self::Gate(refusal) => refusal.hint(),
            Self::OverBudget(_) => {
                Some("its owner says what it may spend; a day's budget is whole again at midnight UTC")
            }
            Self::Held => {
                Some("wait until its locktime has passed, or `guilder task write-off ID` takes the risk to pay twice")
            }
            Self::Short { .. } => Some(
                "`guilder wallet fund AMOUNT`, or wait: what is locked to a seller can't come back before its locktime \
                 (`guilder wallet pending`)",
            ),
            Self::NoSeller => {
                Some("check the service's name and `guilder peers`; `guilder find SERVICE` shows who sells it")
            }
            Self::OnlyAvoided(_) => Some("hire without avoiding them, or wait until somebody else offers it"),
            Self::NoOffer(_) => {
                Some("`guilder find SERVICE` shows prices, units and mints; raise --max-price or --deadline")
            }
            Self::Bound(Bound::OwnService { .. } | Bound::OwnBudget { .. }) => {
                Some("[subcontract] in the service's file says what it may pass on")
            }
            Self::OverGrant(_) => {
                Some("`guilder grants` shows what its grantor allows; hire under another grant, or in your own name")
            }
            Self::Bound(_) => {
                Some("the buyer says what it allows: hire --allow-subcontract, --sub-budget, --sub-depth")
            }
            Self::Input(error) => error.hint(),
            Self::Check(error) => error.hint(),
            Self::Money(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Clock { .. } => Some("set this machine's clock (`timedatectl set-ntp true`), then try again"),
            Self::TooMany(_) => Some("wait for some of them to be awarded"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use guilder_protocol::identity::AgentKey;

    use super::*;

    #[test]
    fn a_bound_of_a_grant_is_told_in_the_grants_words_and_one_of_a_task_in_the_tasks() {
        let (by, budget) = (AgentKey::from_seed(&[1; 32]).id(), 20);
        let spent = || HireError::Bound(Bound::Spent { by, budget });
        let (of_task, of_grant) = (spent().under_grant(false), spent().under_grant(true));
        assert!(
            of_task.to_string().contains("for subcontracting") && of_task.hint().unwrap_or_default().contains("buyer")
        );
        let (said, hint) = (of_grant.to_string(), of_grant.hint().unwrap_or_default());
        assert!(said.contains("granted is spent") && !said.contains("subcontract"), "{said}");
        assert!(hint.contains("guilder grants") && !hint.contains("--sub-budget"), "{hint}");
        let left = HireError::Bound(Bound::Price { left: 3 }).under_grant(true).to_string();
        assert!(left.contains("under this grant: 3"), "{left}");
    }

    #[test]
    fn who_is_avoided_and_sells_it_alone_is_named() {
        let agent = AgentKey::from_seed(&[1; 32]).id();
        let error = HireError::OnlyAvoided(vec![agent]);
        assert!(error.to_string().contains(&agent.peer_id()), "{error}");
        assert_eq!(error.fault(), Fault::Incompatible);
    }
}
