//! Who asks, and what that one may do by itself.

use guilder_protocol::{
    bytes::Digest,
    market::{ServiceName, Unit},
};
use serde::{Deserialize, Serialize};

use super::{Action, Refusal, Risk};
use crate::trade::{Budget, Per, Under};

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Whoever the node belongs to.
    Owner,
    /// The program of a running task.
    Task(Under),
    /// One that the owner added, with the digest of its token.
    Named(Scope, Digest),
    /// A part of this node that reads.
    Watcher,
    /// Whoever didn't say.
    Nobody,
}

/// What a caller that the owner added may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The highest risk that it may ask for; of HIGH each request waits for the owner.
    pub risk: Risk,
    /// What it may spend; without, nothing.
    pub budget: Option<DailyBudget>,
    /// The services that it may hire; any if none is named.
    pub services: Vec<ServiceName>,
}

/// What may be awarded in a day, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DailyBudget {
    /// The most.
    pub most: u64,
    /// In which unit; nothing is awarded in another.
    pub unit: Unit,
}

impl DailyBudget {
    /// As the trade room counts it.
    pub fn of(&self, caller: &str) -> Budget {
        Budget { account: caller.to_owned(), unit: self.unit.clone(), most: self.most, per: Per::Day }
    }
}

impl Scope {
    /// Whether a service may be hired.
    pub(super) fn check(&self, caller: &str, service: &ServiceName) -> Result<(), Refusal> {
        if self.services.is_empty() || self.services.contains(service) {
            return Ok(());
        }
        Err(Refusal::Service { caller: caller.to_owned(), service: service.clone() })
    }
}

impl Caller {
    /// Whoever the node belongs to: may do everything.
    pub fn owner() -> Self {
        Self { name: "owner".into(), kind: Kind::Owner }
    }

    /// A part of this node that only reads.
    pub fn watcher(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: Kind::Watcher }
    }

    /// Whoever didn't say who it is: may do nothing.
    pub fn nobody() -> Self {
        Self { name: "nobody".into(), kind: Kind::Nobody }
    }

    /// One that the owner added: `name` as [`super::callers::account`] makes it, `token` the digest of its token.
    pub fn named(name: impl Into<String>, scope: Scope, token: Digest) -> Self {
        Self { name: name.into(), kind: Kind::Named(scope, token) }
    }

    /// The program of a running task, for what that task lets it subcontract.
    pub fn task(under: Under) -> Self {
        Self { name: format!("task/{}", under.award), kind: Kind::Task(under) }
    }

    /// Whether it is the node's owner, or speaks for it.
    pub fn is_owner(&self) -> bool {
        self.kind == Kind::Owner
    }

    /// The task that it speaks for, if it does for one alone.
    pub fn under(&self) -> Option<&Under> {
        match &self.kind {
            Kind::Task(under) => Some(under),
            _ => None,
        }
    }

    /// What the owner lets it do, if it is one that the owner added.
    pub fn scope(&self) -> Option<&Scope> {
        self.named_scope().map(|(scope, _)| scope)
    }

    /// The same, with the digest of its token.
    pub(super) fn named_scope(&self) -> Option<(&Scope, Digest)> {
        match &self.kind {
            Kind::Named(scope, token) => Some((scope, *token)),
            _ => None,
        }
    }

    /// Who it is: in logs and errors, and as what its keys and its hires are counted under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The highest risk that it may ask for.
    pub fn risk(&self) -> Risk {
        match &self.kind {
            Kind::Owner => Risk::High,
            Kind::Task(_) => Risk::Medium,
            Kind::Named(scope, _) => scope.risk,
            Kind::Watcher | Kind::Nobody => Risk::Low,
        }
    }

    /// Refuses what the caller may not do by itself.
    ///
    /// # Errors
    /// If it may not; some of it can be asked for ([`super::Gate::pass`]).
    pub fn may(&self, action: Action) -> Result<(), Refusal> {
        let may = match &self.kind {
            Kind::Owner => true,
            Kind::Task(_) => matches!(action, Action::Find | Action::Hire | Action::Cancel),
            Kind::Named(scope, _) => action.risk() <= scope.risk && action.risk() < Risk::High,
            Kind::Watcher => action.risk() == Risk::Low,
            Kind::Nobody => false,
        };
        if may { Ok(()) } else { Err(self.no_right(action)) }
    }

    /// Whether it may ask the owner for it.
    pub(super) fn may_ask_for(&self, action: Action) -> bool {
        match &self.kind {
            Kind::Named(scope, _) => action.risk() <= scope.risk && !action.is_the_owners(),
            Kind::Owner | Kind::Task(_) | Kind::Watcher | Kind::Nobody => false,
        }
    }

    pub(super) fn no_right(&self, action: Action) -> Refusal {
        Refusal::NotAllowed { caller: self.name.clone(), action: action.name() }
    }
}
