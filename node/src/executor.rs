//! Runs a service's work: as a process, over HTTP, as a tool of an MCP server, or built in; and checks what goes in and what comes out.
//!
//! ```text
//!  trade ── Service::try_reserve ─▶ Slot          one of the service's places, held while it works
//!        ── Service::run(slot, Work)
//!              input against its schema ─▶ Executor::run ─▶ output against its schema ─▶ Output
//! ```
//!
//! While it works, it may say how far it is and what it has written so far: [`Work::reported`], [`progress`].
//!
//! [`Executor`] is the seam: the simulator puts functions in its place. A [`Service`] is a [`Definition`] (a file that an
//! operator writes) with its schemas compiled and its executor built.
//!
//! **At least once.** A node that dies while it works has nothing to show for it: after the restart the same work is
//! run again, from its beginning, under the same award ID (`GUILDER_AWARD`, header `guilder-award`). A service with
//! effects outside of its output must be idempotent by that ID. Nothing of a broken run is reused.
//!
//! **Bounded**: time, output, memory and number of processes by the definition and [`crate::limits`]; places per
//! service; one chunk of memory per running work whatever the size of its input and output.
//!
//! **Cancel-safe**: dropping the future of a run stops the work (a process is killed with everything it started, a
//! request's connection is closed) and removes what it left.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use cid::Cid;
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::MAX_ERROR_TEXT,
    market::ServiceName,
    receipt::FailureCode,
};

pub mod definition;
mod echo;
mod executors;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod http;
pub mod mcp;
mod post;
pub mod process;
pub mod progress;
pub mod schema;
mod service;
mod settings;
mod tls;
pub mod trial;

pub use definition::{Definition, Subcontract};
pub use echo::Echo;
pub use executors::Executors;
pub use http::Http;
pub(crate) use post::{Answer, is_endpoint};
pub use process::Process;
pub use progress::{ProgressReport, Reporter, Reports};
pub use service::{Service, Slot, check_data};

use crate::content::{ContentError, Data};

/// Does a service's work.
#[async_trait]
pub trait Executor: fmt::Debug + Send + Sync {
    /// Runs one piece of work to its end. Dropping the future stops the work.
    ///
    /// # Errors
    /// If it comes to no output within its limits.
    async fn run(&self, work: Work) -> Result<Output, ExecError>;
}

/// One piece of work.
#[derive(Clone, Debug)]
pub struct Work {
    /// The award that it is done under. The same again means the same work again.
    pub award: Cid,
    /// What is to be done.
    pub service: ServiceName,
    /// For whom.
    pub buyer: AgentId,
    /// On what.
    pub input: Data,
    /// How much it may take.
    pub limits: Limits,
    /// Where the executor says how the work goes.
    pub reporter: Reporter,
    /// How the work may call this node, if it may subcontract.
    pub access: Option<TaskAccess>,
}

/// Where and with what a running task calls this node's API, to subcontract.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskAccess {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Bearer token, good for this task and while it runs.
    pub token: String,
}

impl fmt::Debug for TaskAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskAccess").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Work {
    /// The same work, and what will be said of it while it is done.
    pub fn reported(self) -> (Self, Reports) {
        let (reporter, reports) = progress::channel();
        (Self { reporter, ..self }, reports)
    }
}

/// How much one piece of work may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From start to end of output.
    pub time: Duration,
    /// Bytes of output.
    pub output_bytes: u64,
    /// Bytes of memory, where the executor can bound it.
    pub memory_bytes: u64,
}

/// What work gives.
pub type Output = Data;

/// Why work came to no output.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The input isn't what the service takes.
    #[error("the input is not what the service takes: {0}")]
    InputInvalid(String),
    /// The output isn't what the service promises.
    #[error("the output is not what the service promises: {0}")]
    OutputInvalid(String),
    /// Past its time.
    #[error("stopped: not done within {secs} s")]
    TimedOut {
        /// The limit, in seconds.
        secs: u64,
    },
    /// Past its memory.
    #[error("stopped: it used {used_bytes} bytes of memory, {limit_bytes} are allowed")]
    OutOfMemory {
        /// What was seen.
        used_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Past its number of processes.
    #[error("stopped: it had more than {limit} processes at once")]
    TooManyProcesses {
        /// The limit.
        limit: usize,
    },
    /// Past its output.
    #[error("stopped: its output is over {limit_bytes} bytes")]
    OutputTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The program couldn't be started.
    #[error("could not start `{program}`: {why}")]
    NotStarted {
        /// The first word of its command.
        program: String,
        /// Why not.
        why: String,
    },
    /// The program ended in failure.
    #[error("the program ended with {how}{}", said(.last_words))]
    Failed {
        /// `exit code 1`, `signal 11`.
        how: String,
        /// The end of what it wrote to its standard error.
        last_words: String,
    },
    /// The local HTTP service couldn't be reached, or broke off.
    #[error("no answer from {url}: {why}")]
    NoAnswer {
        /// Where it was looked for.
        url: String,
        /// Why not.
        why: String,
    },
    /// The local HTTP service answered with something else than success.
    #[error("{url} answered with status {status}{}", said(.body))]
    BadStatus {
        /// Where.
        url: String,
        /// The status code.
        status: u16,
        /// The beginning of the answer's body.
        body: String,
    },
    /// The local HTTP service said in its stream of events that there will be no output.
    #[error("{url} reported an error{}", said(.why))]
    Reported {
        /// Where.
        url: String,
        /// The beginning of what it said.
        why: String,
    },
    /// The MCP server doesn't speak, or broke off.
    #[error("the MCP server `{program}` is of no use: {why}{}", said(.last_words))]
    NoServer {
        /// The first word of its command.
        program: String,
        /// Why.
        why: String,
        /// The end of what it wrote to its standard error.
        last_words: String,
    },
    /// The tool isn't the one that was put on sale.
    #[error("the tool {tool:?} is not what was put on sale: {why}")]
    ToolChanged {
        /// Its name.
        tool: String,
        /// What is otherwise.
        why: &'static str,
    },
    /// The input or output couldn't be read or stored.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// This node's own doing.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// `: words`, if there are any.
fn said(words: &str) -> String {
    let words = words.trim();
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

impl ExecError {
    /// The kind of failure that a receipt says it was.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::InputInvalid(_) => FailureCode::InputInvalid,
            Self::OutputInvalid(_) => FailureCode::OutputInvalid,
            Self::TimedOut { .. } => FailureCode::TimedOut,
            Self::OutOfMemory { .. } | Self::TooManyProcesses { .. } => FailureCode::OutOfMemory,
            Self::OutputTooLarge { .. } => FailureCode::OutputTooLarge,
            Self::Failed { .. } | Self::BadStatus { .. } | Self::Reported { .. } => FailureCode::Crashed,
            Self::NoServer { .. } => FailureCode::Crashed,
            Self::NotStarted { .. }
            | Self::NoAnswer { .. }
            | Self::ToolChanged { .. }
            | Self::Content(_)
            | Self::Io { .. } => FailureCode::Internal,
        }
    }

    /// The failure in words for the buyer, within [`MAX_ERROR_TEXT`]: what the program said, how this machine is set
    /// up, and an output that isn't paid for stay here.
    ///
    /// [`MAX_ERROR_TEXT`]: guilder_protocol::limits::MAX_ERROR_TEXT
    pub fn public_text(&self) -> String {
        match self {
            Self::InputInvalid(_) => self.to_string(),
            Self::OutputInvalid(_) => "the output is not what the service promises".into(),
            Self::TimedOut { .. } | Self::OutOfMemory { .. } | Self::OutputTooLarge { .. } => self.to_string(),
            Self::TooManyProcesses { .. } => self.to_string(),
            Self::Failed { how, .. } => format!("the program ended with {how}"),
            Self::BadStatus { status, .. } => format!("the service answered with status {status}"),
            Self::Reported { .. } => "the service reported an error".into(),
            Self::NotStarted { .. } => "the program could not be started".into(),
            Self::NoAnswer { .. } | Self::NoServer { .. } => "the service did not answer".into(),
            Self::ToolChanged { .. } => "the seller's tool has changed; the service is off sale".into(),
            Self::Content(_) | Self::Io { .. } => "the seller's node could not handle the input or output".into(),
        }
    }

    /// The failure in words for whoever runs the service, within [`MAX_ERROR_TEXT`]; the end of what the program wrote to
    /// its standard error is shown beside it.
    ///
    /// [`MAX_ERROR_TEXT`]: guilder_protocol::limits::MAX_ERROR_TEXT
    pub fn own_text(&self) -> String {
        match self {
            Self::Failed { .. } => self.public_text(),
            Self::NoServer { program, why, .. } => clipped(format!("the MCP server `{program}` is of no use: {why}")),
            other => clipped(other.to_string()),
        }
    }

    fn io(what: &'static str, source: std::io::Error) -> Self {
        Self::Io { what, source }
    }
}

/// At most as many bytes as an error's text may have on the wire.
pub(crate) fn clipped(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_ERROR_TEXT));
    text
}

impl AtFault for ExecError {
    fn fault(&self) -> Fault {
        match self {
            Self::InputInvalid(_) => Fault::Peer,
            Self::Content(error) => error.fault(),
            Self::Io { .. } => Fault::Environment,
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotStarted { .. } => {
                Some("the command is run without a shell: name the program by its path, arguments one by one")
            }
            Self::TimedOut { .. } => Some("raise `time_limit_secs` in the service's file if the work needs longer"),
            Self::OutOfMemory { .. } => Some("raise `memory_mb` in the service's file if the work needs more"),
            Self::OutputTooLarge { .. } => Some("raise `max_output_bytes` in the service's file if it may be larger"),
            Self::OutputInvalid(_) => Some("mend the program or the output schema; the buyer pays nothing for this"),
            Self::NoAnswer { .. } => Some("start the local service, or correct `url` in the service's file"),
            Self::NoServer { .. } => Some("try the server by hand: `guilder service import-mcp --list -- COMMAND`"),
            Self::ToolChanged { .. } => {
                Some("look at what it is now, and put it on sale again: `guilder service import-mcp -- COMMAND`")
            }
            Self::TooManyProcesses { .. } => Some("start fewer at once, or wait for those that have ended"),
            Self::InputInvalid(_) => {
                Some("the buyer's input is at fault; change `input` in the service's file if it should be taken")
            }
            Self::Failed { .. } => {
                Some("exit code 0 says that the output is good; its standard error tells what went wrong")
            }
            Self::Content(error) => error.hint(),
            _ => None,
        }
    }
}

/// Runs work within its time.
async fn within<R>(time: Duration, work: impl Future<Output = Result<R, ExecError>> + Send) -> Result<R, ExecError> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => done,
        Err(_) => Err(ExecError::TimedOut { secs: time.as_secs() }),
    }
}

/// At most the first `max_bytes` of a text file.
fn bounded_read(path: &Path, max_bytes: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(max_bytes).read_to_string(&mut text)?;
    Ok(text)
}

/// An output that goes over its limit is the work's failure, not the disk's.
fn collecting(error: ContentError) -> ExecError {
    match error {
        ContentError::TooLarge { limit_bytes } => ExecError::OutputTooLarge { limit_bytes },
        other => ExecError::Content(other),
    }
}

/// A shared executor is one.
#[async_trait]
impl<E: Executor + ?Sized> Executor for Arc<E> {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        (**self).run(work).await
    }
}
