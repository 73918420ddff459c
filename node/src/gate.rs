//! The gate: what a caller may do, at which risk and within which budget; and what waits for the owner's word.
//!
//! ```text
//!  caller ── action ──▶ LOW, MEDIUM: its own risk allows it, or it is refused
//!                  ──▶ HIGH, by who isn't the owner: asked ─▶ the owner grants ─▶ asked the same again: done, once
//!  hire ── the transaction that awards ──▶ is the caller still one, may it hire this, is the price asked for ─▶ its budget
//! ```
//!
//! **Callers** have names and tokens of their own ([`callers`]): the store has a digest, the token is in a file that only its owner's
//! user reads. Every face makes a [`Caller`] of who it heard, and every method of the façade is called with one.
//!
//! **Approvals** ([`approvals`]) are of one request: its caller, its action and all of its terms. A request that differs in anything is
//! another one. Only the owner answers, and a home with a passphrase asks for it then; what a model says is never an answer.
//!
//! **Where it is decided**: an action that only reads or takes away is decided when it is asked for. What spends is decided in the
//! transaction that does ([`permit`]), so that a caller that is revoked, or whose budget is gone, awards nothing any more, however
//! far its hire had come.
//!
//! **Bounded**: callers, and approvals that wait ([`crate::limits`]).

mod action;
pub mod approvals;
mod caller;
pub mod callers;

use std::sync::Arc;

use guilder_protocol::{bytes::Digest, fault::Fault, market::ServiceName, time::Timestamp};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::{
    action::{Action, Risk},
    approvals::{Approval, ApprovalState},
    caller::{Caller, DailyBudget, Scope},
    callers::CallerInfo,
};
use crate::{
    events::Events,
    runtime::Runtime,
    store::{Store, StoreError, Write},
};

/// The gate of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    store: Store,
    runtime: Runtime,
    events: Events,
    ask_above: u64,
    adding: Arc<tokio::sync::Mutex<()>>,
    /// Told after each caller that was revoked.
    revoked: watch::Sender<()>,
}

/// On whose behalf a hire is awarded that isn't the owner's: looked at again where its money leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    /// The caller's name.
    pub caller: String,
    /// The digest of its token: who is added under its name later is another.
    pub token: Digest,
    /// What was approved, if it had to be.
    pub approval: Option<Approved>,
    /// The price above which it has to be.
    pub ask_above: u64,
}

/// An approval, and the one hire that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The approval's ID.
    pub id: String,
    /// The caller's key of the hire.
    pub hire: String,
}

/// A hire that a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Of which service.
    pub service: &'a ServiceName,
    /// The most that it may cost.
    pub most: u64,
    /// Whether it adds a way to spend, whatever it costs.
    pub is_high: bool,
    /// Its key.
    pub key: &'a str,
    /// Whether the caller gave the key: asked for again it is the same hire then, else another.
    pub is_named: bool,
}

/// Why the gate stays shut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller has no right to it, and isn't asked for.
    #[error("{caller} has no right to this ({action})")]
    NotAllowed {
        /// Who.
        caller: String,
        /// What.
        action: &'static str,
    },
    /// It waits for the owner.
    #[error("this waits for the owner's word, as approval {id}")]
    Waits {
        /// The approval.
        id: String,
    },
    /// The owner has said no.
    #[error("the owner has refused this (approval {id})")]
    Refused {
        /// The approval.
        id: String,
    },
    /// What the owner approved has been done.
    #[error("this was approved once, and done")]
    Used,
    /// Nobody approved it.
    #[error("nobody has approved this")]
    NotApproved,
    /// The caller was revoked.
    #[error("the caller {0} is none any more")]
    Revoked(String),
    /// A service that the caller may not hire.
    #[error("{caller} may not hire {service}")]
    Service {
        /// Who.
        caller: String,
        /// What.
        service: ServiceName,
    },
    /// Too much waits already.
    #[error("{0} requests wait for the owner's word already, which is the limit")]
    Crowded(usize),
    /// More than anybody reads.
    #[error("the request is too long to be approved: {bytes} bytes")]
    TooLong {
        /// Of its terms.
        bytes: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    /// The party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => guilder_protocol::fault::AtFault::fault(error),
            _ => Fault::Ours,
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Waits { .. } => {
                Some("the owner answers with `guilder approvals grant ID`; then ask for exactly the same again")
            }
            Self::NotAllowed { .. } | Self::Service { .. } => Some("ask the node's owner"),
            Self::Revoked(_) => Some("the node's owner adds callers: `guilder caller add --help`"),
            Self::Used | Self::NotApproved => Some("ask again; the owner sees it in `guilder approvals`"),
            Self::Crowded(_) => Some("the owner answers them: `guilder approvals`"),
            Self::Refused { .. } => Some("ask the node's owner, or ask for something else"),
            Self::TooLong { .. } => Some("the owner does it: what isn't shown whole can't be approved"),
            Self::Store(_) => None,
        }
    }
}

impl Gate {
    /// On a node's store. Prices above `ask_above` wait for the owner.
    pub fn new(store: Store, runtime: Runtime, events: Events, ask_above: u64) -> Self {
        Self { store, runtime, events, ask_above, adding: Arc::default(), revoked: watch::Sender::new(()) }
    }

    /// Lets an action pass, whatever its risk. What `terms` say is what is approved.
    ///
    /// # Errors
    /// If the caller may not, or it waits for the owner.
    pub async fn pass(&self, caller: &Caller, action: Action, terms: &impl serde::Serialize) -> Result<(), Refusal> {
        if !self.must_ask(caller, action)? {
            return Ok(());
        }
        let request = approvals::Request::of(caller, action, terms)?;
        self.ask(&request, false).await?;
        // Its own transaction, before anything is done: a crash between the two costs an approval, never two deeds.
        let (digest, now) = (request.digest, self.runtime.now());
        self.store.transact(move |w| approvals::spend(w, digest, now)).await
    }

    /// Refuses who may neither do this nor ask for it: before what it names is looked for.
    ///
    /// # Errors
    /// If the caller may not.
    pub fn may_ask(&self, caller: &Caller, action: Action) -> Result<(), Refusal> {
        self.must_ask(caller, action).map(drop)
    }

    /// Whether an action of this caller waits for the owner.
    fn must_ask(&self, caller: &Caller, action: Action) -> Result<bool, Refusal> {
        match caller.may(action) {
            Ok(()) => Ok(false),
            Err(_) if caller.may_ask_for(action) => Ok(true),
            Err(refusal) => Err(refusal),
        }
    }

    /// What a hire of this caller is awarded under: `None` for the owner, and for what bounds itself. `terms` are all that makes the
    /// request what it is.
    ///
    /// # Errors
    /// If the caller may not, or it waits for the owner.
    pub async fn mandate(
        &self,
        caller: &Caller,
        wanted: Wanted<'_>,
        terms: &impl serde::Serialize,
    ) -> Result<Option<Mandate>, Refusal> {
        caller.may(Action::Hire)?;
        let Some((scope, token)) = caller.named_scope() else { return Ok(None) };
        scope.check(caller.name(), wanted.service)?;
        let mandate = Mandate { caller: caller.name().to_owned(), token, approval: None, ask_above: self.ask_above };
        if wanted.most <= self.ask_above && !wanted.is_high {
            return Ok(Some(mandate));
        }
        if !caller.may_ask_for(Action::HireAbove) {
            return Err(caller.no_right(Action::HireAbove));
        }
        let request = approvals::Request::of(caller, Action::HireAbove, terms)?;
        let id = self.ask(&request, wanted.is_named).await?;
        Ok(Some(Mandate { approval: Some(Approved { id, hire: wanted.key.to_owned() }), ..mandate }))
    }
}

/// Decides, in the transaction that awards, on a hire that isn't the owner's. Gives the caller's budget for the award to be
/// debited from.
///
/// # Errors
/// If the caller is none any more, may not hire this, or the price was to be approved and wasn't.
pub fn permit(
    w: &mut Write<'_>,
    mandate: &Mandate,
    (service, price): (&ServiceName, u64),
    now: Timestamp,
) -> Result<DailyBudget, Refusal> {
    let Some(scope) = callers::scope_of(w, &mandate.caller, mandate.token)? else {
        return Err(Refusal::Revoked(mandate.caller.clone()));
    };
    scope.check(&mandate.caller, service)?;
    match &mandate.approval {
        Some(approved) => approvals::spend_for(w, approved, now)?,
        None if price > mandate.ask_above => return Err(Refusal::NotApproved),
        None => {}
    }
    let nothing = || Refusal::NotAllowed { caller: mandate.caller.clone(), action: Action::Hire.name() };
    scope.budget.ok_or_else(nothing)
}

#[cfg(test)]
mod tests;
