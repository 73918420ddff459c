//! What can be done with endpoints: who is told by webhooks what happens.

use super::{
    Api,
    caller::{Action, Caller},
    types::{ApiError, EndpointRequest},
};
use crate::notify::{Endpoint, Tried};

impl Api {
    /// All endpoints.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn endpoints(&self, caller: &Caller) -> Result<Vec<Endpoint>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().notifier.list()?)
    }

    /// One endpoint: what it was told, what waits, and what was given up.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the store can't be read.
    pub fn endpoint(&self, caller: &Caller, name: &str) -> Result<Endpoint, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().notifier.show(name)?)
    }

    /// Adds an endpoint, with a new secret: it is told what happens from now on.
    ///
    /// # Errors
    /// If the caller may not, its name is taken or none, webhooks can't go to its URL, an event is none, or the disk fails.
    pub async fn add_endpoint(&self, caller: &Caller, request: &EndpointRequest) -> Result<Endpoint, ApiError> {
        self.pass(caller, Action::ChangeEndpoint, &("add", request)).await?;
        Ok(self.node().notifier.add(&request.name, &request.url, &request.events).await?)
    }

    /// Gives an endpoint a new secret beside the one before, or with `done` ends that one.
    ///
    /// # Errors
    /// If the caller may not, there is none of that name, or the disk fails.
    pub async fn rotate_endpoint(&self, caller: &Caller, name: &str, done: bool) -> Result<Endpoint, ApiError> {
        self.pass(caller, Action::ChangeEndpoint, &("rotate", name, done)).await?;
        Ok(self.node().notifier.rotate(name, done).await?)
    }

    /// Lets a paused endpoint be told again.
    ///
    /// # Errors
    /// As [`Self::rotate_endpoint`].
    pub async fn resume_endpoint(&self, caller: &Caller, name: &str) -> Result<Endpoint, ApiError> {
        self.pass(caller, Action::ChangeEndpoint, &("resume", name)).await?;
        Ok(self.node().notifier.resume(name).await?)
    }

    /// Posts a test to an endpoint, once.
    ///
    /// # Errors
    /// As [`Self::rotate_endpoint`]. That it isn't taken is none.
    pub async fn test_endpoint(&self, caller: &Caller, name: &str) -> Result<Tried, ApiError> {
        self.pass(caller, Action::ChangeEndpoint, &("test", name)).await?;
        Ok(self.node().notifier.test(name).await?)
    }

    /// Removes an endpoint.
    ///
    /// # Errors
    /// As [`Self::rotate_endpoint`].
    pub async fn remove_endpoint(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        self.pass(caller, Action::ChangeEndpoint, &("remove", name)).await?;
        Ok(self.node().notifier.remove(name).await?)
    }
}
