//! What a command line prints and returns when something didn't come off.

use std::process::ExitCode;

use guilder_protocol::fault::{AtFault, Fault};

use crate::api::{client::ClientError, types::ApiError};

/// How a command ends. The numbers are part of the interface and stand in `guilder --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and the answer is yes.
    Done = 0,
    /// Done, and the answer is no: not valid, not delivered.
    No = 1,
    /// Misuse: wrong arguments, settings or input. Clap uses the same number.
    Usage = 2,
    /// The peer broke the rules.
    Peer = 3,
    /// Nobody's fault: the two sides can't trade.
    Incompatible = 4,
    /// The mint.
    Mint = 5,
    /// The machine or the network.
    Environment = 6,
    /// There is no daemon to talk to.
    NoDaemon = 7,
    /// This program: a bug.
    Internal = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Ours => Self::Usage,
            Fault::Peer => Self::Peer,
            Fault::Incompatible => Self::Incompatible,
            Fault::Mint => Self::Mint,
            Fault::Environment => Self::Environment,
            Fault::Internal => Self::Internal,
            Fault::Unknown => Self::No,
        }
    }
}

/// An error as it is shown: what, whose fault, and what to do.
///
/// Anything that is [`AtFault`] turns into one; it is none itself, so that `?` does it.
#[derive(Debug)]
pub struct CliError {
    /// The error, as the control API has it.
    pub told: Box<ApiError>,
    /// More about it, a line or several: the end of a log, say.
    pub detail: Option<String>,
    /// What the process returns.
    pub exit: Exit,
}

impl CliError {
    /// An error of that party, with the exit code that goes with it.
    pub fn new(fault: Fault, message: impl Into<String>, hint: Option<String>) -> Self {
        ApiError::new(fault, message, hint).into()
    }

    /// An error of the person at the command line.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Fault::Ours, message, Some(hint.into()))
    }

    /// A file that the person named can't be used: theirs to mend if it isn't there or isn't theirs, else the machine's.
    pub fn file(verb: &str, path: &std::path::Path, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
        let what = format!("can't {verb} {}", path.display());
        let hint = match cause.kind() {
            NotFound | NotADirectory => "check the path",
            IsADirectory => "name a file, not a folder",
            PermissionDenied => "check who may use the file",
            _ => return Self::io(what, cause).with_hint("check the disk"),
        };
        Self::usage(format!("{what}: {cause}"), hint)
    }

    /// The same with another hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.told.hint = Some(hint.into());
        self
    }

    /// A defect of Guilder's own.
    pub fn defect(what: &str) -> Self {
        let hint = "please report it with the log; starting again resumes safely";
        Self::new(Fault::Internal, format!("a part of guilder failed: {what}"), Some(hint.into()))
    }

    /// A failure of the machine while doing `what`.
    pub fn io(what: impl std::fmt::Display, cause: &std::io::Error) -> Self {
        Self::new(Fault::Environment, format!("{what}: {cause}"), None)
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        Self { exit: error.fault.into(), detail: None, told: Box::new(error) }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotRunning(_) | ClientError::Gone(_) | ClientError::Impostor(_) => Exit::NoDaemon,
            other => other.fault().into(),
        };
        let told = match error {
            ClientError::Api(error) => error,
            other => ApiError::new(other.fault(), other.to_string(), other.hint().map(Into::into)),
        };
        Self { exit, ..told.into() }
    }
}

impl<E: AtFault> From<E> for CliError {
    fn from(error: E) -> Self {
        ApiError::of(&error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("can't hire")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the mint is down")]
    struct Inner;

    impl AtFault for Outer {
        fn fault(&self) -> Fault {
            Fault::Mint
        }

        fn hint(&self) -> Option<&'static str> {
            Some("wait")
        }
    }

    #[test]
    fn an_error_brings_its_causes_its_fault_and_its_hint() {
        let error = CliError::from(Outer(Inner));
        assert_eq!(error.told.message, "can't hire: the mint is down");
        assert_eq!((error.told.fault, error.exit), (Fault::Mint, Exit::Mint));
        assert_eq!(error.told.hint.as_deref(), Some("wait"));
    }
}
