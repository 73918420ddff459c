//! What the control API says when something doesn't come off.

use guilder_protocol::fault::{AtFault, Fault};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{events::fault_code, gate::Refusal};

/// What didn't come off, and why: the one shape of errors in all answers, on every path and status, and in a task that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[schema(as = Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of thing went wrong, for programs.
    pub code: ErrorCode,
    /// The party at fault: `ours` (this node or its user), `peer`, `incompatible` (nobody: the two sides can't trade), `mint`,
    /// `environment`, `internal`. A later version may say more.
    #[schema(value_type = String)]
    #[serde(with = "fault_code")]
    pub fault: Fault,
    /// What, with its causes.
    pub message: String,
    /// What the caller can do about it.
    #[schema(required)]
    pub hint: Option<String>,
    /// Whether the same request may come off later, though nothing is changed.
    pub retryable: bool,
    /// The task that it is about, if it is about one: its ID.
    #[serde(default)]
    #[schema(required)]
    pub task: Option<String>,
    /// What became of the money, in words, where there was some to be moved.
    #[serde(default)]
    #[schema(required)]
    pub money: Option<String>,
}

/// What kind of thing went wrong. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The thing asked for isn't there.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The caller has no right to it.
    NotAllowed,
    /// It waits for the owner's word; granted, the same request passes.
    NeedsApproval,
    /// The request can't be, or not now.
    Invalid,
    /// The key was given with another request.
    Conflict,
    /// Nobody's fault: the two sides can't trade.
    CannotTrade,
    /// A peer broke the rules.
    PeerFailed,
    /// The mint.
    MintFailed,
    /// The machine or the network.
    EnvironmentFailed,
    /// This node, by a defect.
    Bug,
    /// What a later version says.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// All that this version says.
    pub const ALL: [Self; 11] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAllowed,
        Self::NeedsApproval,
        Self::Invalid,
        Self::Conflict,
        Self::CannotTrade,
        Self::PeerFailed,
        Self::MintFailed,
        Self::EnvironmentFailed,
        Self::Bug,
    ];

    /// The HTTP status that goes with it. Without a token `not_allowed` has 401.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotAllowed | Self::NeedsApproval => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::CannotTrade => 409,
            Self::Bug | Self::Unknown => 500,
            Self::PeerFailed | Self::MintFailed => 502,
            Self::EnvironmentFailed => 503,
        }
    }
}

impl From<Fault> for ErrorCode {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Ours => Self::Invalid,
            Fault::Peer => Self::PeerFailed,
            Fault::Incompatible => Self::CannotTrade,
            Fault::Mint => Self::MintFailed,
            Fault::Environment => Self::EnvironmentFailed,
            Fault::Internal => Self::Bug,
            Fault::Unknown => Self::Unknown,
        }
    }
}

impl ApiError {
    /// With the code that goes with the fault. It may come off later if it was the mint's or the machine's.
    pub fn new(fault: Fault, message: impl Into<String>, hint: Option<String>) -> Self {
        let retryable = matches!(fault, Fault::Mint | Fault::Environment);
        Self { code: fault.into(), fault, message: message.into(), hint, retryable, task: None, money: None }
    }

    /// Of an error with its causes.
    pub fn of<E: AtFault>(error: &E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Transparent errors say what their cause says.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(error.fault(), message, error.hint().map(Into::into))
    }

    /// The caller's fault.
    pub fn misuse(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Fault::Ours, message, Some(hint.into()))
    }

    /// What is asked for isn't there.
    pub fn missing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: ErrorCode::NotFound, ..Self::misuse(message, hint) }
    }

    /// The same, about a task.
    #[must_use]
    pub(crate) fn about(self, task: impl std::fmt::Display) -> Self {
        Self { task: Some(task.to_string()), ..self }
    }

    /// The same, with what became of the money.
    #[must_use]
    pub(crate) fn with_money(self, what: impl Into<String>) -> Self {
        Self { money: Some(what.into()), ..self }
    }

    /// A key that was given with another request, of which this task came.
    pub(crate) fn conflict(key: &str, task: &str) -> Self {
        let message = format!("the key {key:?} was given with another request, of which the task {task} came");
        let hint = "give each request a key of its own; with the same key, service, terms and input must be the same";
        Self { code: ErrorCode::Conflict, ..Self::misuse(message, hint) }.about(task)
    }

    /// Whoever asks isn't known, or asks from where nobody may.
    pub(crate) fn unknown_caller(message: &str) -> Self {
        let hint = "the owner's token stands in api.json in the node's home folder, a caller's in callers/";
        Self { code: ErrorCode::NotAllowed, ..Self::misuse(message, hint) }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Waits { .. } => ErrorCode::NeedsApproval,
            Refusal::Store(error) => return Self::of(error),
            Refusal::Crowded(_) | Refusal::TooLong { .. } => ErrorCode::Invalid,
            _ => ErrorCode::NotAllowed,
        };
        let told = Self::new(refusal.fault(), refusal.to_string(), refusal.hint().map(Into::into));
        Self { code, ..told }
    }
}

impl<E: AtFault> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}
