//! What can be done with duties: standing orders, their runs, and the webhooks that set them off.

use std::time::Duration;

use serde_json::Value;

use super::{
    Api, LISTED,
    caller::{Action, Caller},
    types::{ApiError, DutyFile, HookRequest, RunListing},
};
use crate::duty::{DutyView, Hook, RunView, limits::BLOCKING_SECS};

impl Api {
    /// Reads a duty's file, and says what it is.
    ///
    /// # Errors
    /// If the caller may not, or what is wrong with it.
    pub fn check_duty(&self, caller: &Caller, file: &DutyFile) -> Result<DutyView, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().duties.check(&file.file)?)
    }

    /// Adds a duty, or replaces the file of the one of its name: from then on it spends within its budget, by itself.
    ///
    /// # Errors
    /// If the caller may not, its file is wrong, there are too many, or the disk fails.
    pub async fn add_duty(&self, caller: &Caller, file: DutyFile) -> Result<DutyView, ApiError> {
        self.pass(caller, Action::AddDuty, &file).await?;
        Ok(self.node().duties.add(file.file).await?)
    }

    /// All duties: when each ran, when it runs next, and why it didn't.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn duties(&self, caller: &Caller) -> Result<Vec<DutyView>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().duties.list()?)
    }

    /// One duty, with its latest outcomes and its file.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the store can't be read.
    pub fn duty(&self, caller: &Caller, name: &str) -> Result<DutyView, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().duties.show(name)?)
    }

    /// Has a duty run now, on this input. Returns as soon as it has an ID.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, it can't run now, or the disk fails.
    pub async fn run_duty(&self, caller: &Caller, name: &str, input: Option<Value>) -> Result<RunView, ApiError> {
        self.pass(caller, Action::RunDuty, &(name, &input)).await?;
        let others = (!caller.is_owner()).then(|| caller.name());
        Ok(self.node().duties.run_now(name, input, others).await?)
    }

    /// As [`Self::run_duty`], for an assistant: what it gives the run isn't the owner's word, also where it speaks for the owner.
    pub(super) async fn run_duty_for_assistant(
        &self,
        caller: &Caller,
        name: &str,
        input: Option<Value>,
    ) -> Result<RunView, ApiError> {
        caller.may(Action::RunDuty)?;
        let who = if caller.is_owner() { "assistant" } else { caller.name() };
        Ok(self.node().duties.run_now(name, input, Some(who)).await?)
    }

    /// Pauses a duty.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn pause_duty(&self, caller: &Caller, name: &str) -> Result<DutyView, ApiError> {
        caller.may(Action::PauseDuty)?;
        Ok(self.node().duties.pause(name).await?)
    }

    /// Lets a paused duty go on.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn resume_duty(&self, caller: &Caller, name: &str) -> Result<DutyView, ApiError> {
        self.pass(caller, Action::ChangeDuty, &("resume", name)).await?;
        Ok(self.node().duties.resume(name).await?)
    }

    /// Removes a duty.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn remove_duty(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        self.pass(caller, Action::ChangeDuty, &("remove", name)).await?;
        Ok(self.node().duties.remove(name).await?)
    }

    /// The latest runs, [`LISTED`] of them if no limit is said.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn runs(&self, caller: &Caller, listing: &RunListing) -> Result<Vec<RunView>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().duties.runs(listing.duty.as_deref(), listing.limit.unwrap_or(LISTED))?)
    }

    /// One run; with `wait` once it is over, or after [`BLOCKING_SECS`] seconds at the latest.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or the store can't be read.
    pub async fn run(&self, caller: &Caller, id: &str, wait: bool) -> Result<RunView, ApiError> {
        caller.may(Action::Look)?;
        let duties = &self.node().duties;
        Ok(if wait { duties.wait(id, Duration::from_secs(BLOCKING_SECS)).await? } else { duties.run(id)? })
    }

    /// Calls a run off.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, it is over, or the disk fails.
    pub async fn cancel_run(&self, caller: &Caller, id: &str) -> Result<RunView, ApiError> {
        caller.may(Action::PauseDuty)?;
        Ok(self.node().duties.cancel(id).await?)
    }

    /// All hooks.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn hooks(&self, caller: &Caller) -> Result<Vec<Hook>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().duties.hooks()?)
    }

    /// Adds a hook, with a new secret.
    ///
    /// # Errors
    /// If the caller may not, its name is taken or none, or the disk fails.
    pub async fn add_hook(&self, caller: &Caller, request: &HookRequest) -> Result<Hook, ApiError> {
        self.pass(caller, Action::ChangeHook, &("add", request)).await?;
        Ok(self.node().duties.add_hook(&request.name, request.kind).await?)
    }

    /// Gives a hook a new secret beside the one before, or with `done` ends that one.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn rotate_hook(&self, caller: &Caller, name: &str, done: bool) -> Result<Hook, ApiError> {
        self.pass(caller, Action::ChangeHook, &("rotate", name, done)).await?;
        Ok(self.node().duties.rotate_hook(name, done).await?)
    }

    /// Removes a hook.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn remove_hook(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        self.pass(caller, Action::ChangeHook, &("remove", name)).await?;
        Ok(self.node().duties.remove_hook(name).await?)
    }
}
