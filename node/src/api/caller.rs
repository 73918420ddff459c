//! On whose behalf a method of the façade is called, and what that one may do.
//!
//! Every method of [`Api`](super::Api) names the right that it needs and asks its caller for it before anything else. The owner
//! has all rights. The program of a running task finds and hires for the sake of that task, and sees of tasks only those hires.

use std::collections::BTreeSet;

use super::types::ApiError;
use crate::trade::Under;

/// What a method lets its caller do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// See what the node is, holds, sells and did.
    Look,
    /// See who sells what.
    Find,
    /// Hire, and call a hire off: spends up to the price that it names.
    Hire,
    /// Move money in and out, and choose the mints that it is held at.
    Money,
    /// Sell, connect to peers, stop the node.
    Manage,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Look, Self::Find, Self::Hire, Self::Money, Self::Manage];

    fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Find => "find",
            Self::Hire => "hire",
            Self::Money => "money",
            Self::Manage => "manage",
        }
    }
}

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: String,
    rights: BTreeSet<Right>,
    under: Option<Under>,
}

impl Caller {
    /// Whoever the node belongs to: may do everything.
    pub fn owner() -> Self {
        Self::scoped("owner", Right::ALL)
    }

    /// Somebody with these rights and no others.
    pub fn scoped(name: impl Into<String>, rights: impl IntoIterator<Item = Right>) -> Self {
        Self { name: name.into(), rights: rights.into_iter().collect(), under: None }
    }

    /// The program of a running task, for what that task lets it subcontract.
    pub fn task(under: Under) -> Self {
        let name = format!("the task of award {}", under.award);
        Self { under: Some(under), ..Self::scoped(name, [Right::Find, Right::Hire]) }
    }

    /// The task that it speaks for, if it does for one alone.
    pub fn under(&self) -> Option<&Under> {
        self.under.as_ref()
    }

    /// Who it is, in logs and errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Refuses what the caller has no right to.
    ///
    /// # Errors
    /// If it hasn't.
    pub fn may(&self, right: Right) -> Result<(), ApiError> {
        if self.rights.contains(&right) { Ok(()) } else { Err(ApiError::not_allowed(&self.name, right.as_str())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::ErrorCode;

    #[test]
    fn a_caller_may_do_what_it_has_a_right_to_and_nothing_else() {
        assert!(Right::ALL.into_iter().all(|right| Caller::owner().may(right).is_ok()));
        let watcher = Caller::scoped("watcher", [Right::Look]);
        assert!(watcher.may(Right::Look).is_ok());
        for right in [Right::Find, Right::Hire, Right::Money, Right::Manage] {
            let refused = watcher.may(right).map_err(|error| error.code);
            assert_eq!(refused, Err(ErrorCode::NotAllowed), "{right:?}");
        }
        let award = guilder_protocol::cbor::cid_of(b"award");
        let task = Caller::task(Under { award, services: Vec::new(), budget: 1 });
        let rights: Vec<_> = Right::ALL.into_iter().filter(|right| task.may(*right).is_ok()).collect();
        assert_eq!(rights, [Right::Find, Right::Hire]);
    }
}
