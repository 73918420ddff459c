//! What can be done about callers, and what waits for the owner's word.

use super::{
    Api,
    caller::{Action, Caller},
    types::{AddedCaller, ApiError, ApprovalView, CallerRequest, CallerView, Consent},
};
use crate::{
    gate::{
        Approval, CallerInfo, DailyBudget, Scope,
        approvals::AnswerError,
        callers::{CallerError, account},
    },
    keys::{Existing, Home, Passphrase, SecretFile, write_private},
    runtime::Job,
};

impl Api {
    /// The callers, by name, with what is spent of their budgets today.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn callers(&self, caller: &Caller) -> Result<Vec<CallerView>, ApiError> {
        caller.may(Action::Look)?;
        self.node().gate.callers()?.into_iter().map(|info| self.caller_view(info)).collect()
    }

    fn caller_view(&self, CallerInfo { name, scope, added }: CallerInfo) -> Result<CallerView, ApiError> {
        let Scope { risk, budget, services } = scope;
        let spent_today = match &budget {
            Some(budget) => self.node().trade.spent_of(&budget.of(&account(&name)))?,
            None => 0,
        };
        let (budget, unit) = budget.map(|DailyBudget { most, unit }| (most, unit)).unzip();
        Ok(CallerView { name, risk: risk.into(), budget, unit, spent_today, services, added })
    }

    /// Adds a caller, and writes its token to a file of its own in the home folder.
    ///
    /// # Errors
    /// If the caller may not, the name is none or taken, it may spend and has no budget, or the disk fails.
    pub async fn add_caller(&self, caller: &Caller, request: CallerRequest) -> Result<AddedCaller, ApiError> {
        self.pass(caller, Action::AddCaller, &request).await?;
        let CallerRequest { name, risk, budget, unit, services } = request;
        let unit = unit.unwrap_or_else(|| self.node().config.wallet.unit.clone());
        let budget = budget.map(|most| DailyBudget { most, unit });
        let home = self.0.home.clone();
        let path = home.caller(&name).ok_or_else(|| ApiError::from(CallerError::Name(name.clone())))?;
        let token_file = path.display().to_string();
        let keep = async |token: String| {
            let write = move || {
                Home::at(home.callers()).create()?;
                write_private(&path, format!("{token}\n").as_bytes(), Existing::Replace)
            };
            Ok::<_, ApiError>(self.node().runtime.offload(Job::Disk, write).await?)
        };
        self.node().gate.add_caller(&name, Scope { risk, budget, services }, keep).await?;
        Ok(AddedCaller { name, token_file })
    }

    /// Revokes a caller.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn revoke_caller(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        self.pass(caller, Action::RevokeCaller, &name).await?;
        self.node().gate.revoke_caller(name).await.map_err(unknown_caller)?;
        if let Some(path) = self.0.home.caller(name) {
            // It opens nothing any more; that it is gone is for tidiness.
            self.node().runtime.offload(Job::Disk, move || std::fs::remove_file(path)).await.ok();
        }
        Ok(())
    }

    /// What waited for the owner's word within the last week, the newest first: of the owner everything, else what the caller itself
    /// asked for.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn approvals(&self, caller: &Caller) -> Result<Vec<ApprovalView>, ApiError> {
        caller.may(Action::Look)?;
        let shown = |approval: &Approval| caller.is_owner() || approval.caller == caller.name();
        Ok(self.node().gate.approvals()?.into_iter().filter(shown).map(ApprovalView::from).collect())
    }

    /// One of it.
    ///
    /// # Errors
    /// If the caller may not, or there is none of that ID.
    pub fn approval(&self, caller: &Caller, id: &str) -> Result<ApprovalView, ApiError> {
        let found = self.approvals(caller)?.into_iter().find(|approval| approval.id == id);
        found.ok_or_else(|| unknown_approval(AnswerError::Unknown(id.to_owned())))
    }

    /// The owner says yes. Where the home has a passphrase, that shows that it is the owner.
    ///
    /// # Errors
    /// If the caller isn't the owner, the passphrase is missing or wrong, there is none of that ID, or it was answered before.
    pub async fn grant_approval(&self, caller: &Caller, id: &str, consent: Consent) -> Result<ApprovalView, ApiError> {
        caller.may(Action::Approve)?;
        let (api, passphrase) = (self.clone(), consent.passphrase.map(Passphrase::new));
        self.node().runtime.offload(Job::Disk, move || api.check_passphrase(passphrase.as_ref())).await?;
        Ok(self.node().gate.answer(id, true).await.map_err(unknown_approval)?.into())
    }

    /// The owner says no.
    ///
    /// # Errors
    /// If the caller isn't the owner, there is none of that ID, or it was answered before.
    pub async fn refuse_approval(&self, caller: &Caller, id: &str) -> Result<ApprovalView, ApiError> {
        caller.may(Action::Approve)?;
        Ok(self.node().gate.answer(id, false).await.map_err(unknown_approval)?.into())
    }

    /// Holds a passphrase against the secret file, if that has one. A file of another node, or one that was sealed at the start and
    /// is no longer, was put there by somebody: the one from the start counts then.
    fn check_passphrase(&self, passphrase: Option<&Passphrase>) -> Result<(), ApiError> {
        let path = self.0.home.secret();
        let (local, now) = (self.node().network.local(), SecretFile::load(&path));
        let counts = |file: &&SecretFile| file.is_sealed() && file.agent().is_ok_and(|agent| agent == local);
        match [now.as_ref().ok(), self.0.secret.as_ref()].into_iter().flatten().find(counts) {
            Some(file) => Ok(file.open(passphrase).map(drop)?),
            None => Ok(()),
        }
    }
}

fn unknown_caller(error: CallerError) -> ApiError {
    match error {
        CallerError::Unknown(_) => ApiError::missing(error.to_string(), "`guilder caller list` shows them"),
        error => error.into(),
    }
}

fn unknown_approval(error: AnswerError) -> ApiError {
    match error {
        AnswerError::Unknown(_) => ApiError::missing(error.to_string(), "`guilder approvals` shows them"),
        error => error.into(),
    }
}

impl From<Approval> for ApprovalView {
    fn from(approval: Approval) -> Self {
        let Approval { id, caller, action, terms, asked, state, since, .. } = approval;
        Self { id, caller, action, terms, asked, state: state.into(), since }
    }
}
