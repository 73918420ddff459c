//! `guilder ucan verify FILE`

use std::{fmt, io::Read as _, path::PathBuf};

use clap::Subcommand;
use guilder_protocol::{
    limits::MAX_CASE,
    time::Timestamp,
    ucan::case::{self, Verdict},
};
use serde::Serialize;

use super::Context;
use crate::console::{CliError, Exit, Show, harmless::one_line};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder ucan verify case.json
  curl -s https://example.com/token | guilder ucan verify - --at 1767225600";

/// Check signed delegations.
///
/// UCANs are signed delegations: who lets whom do what, until when. Needs no node, no network and no keys.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: UcanCommand,
}

#[derive(Debug, Subcommand)]
enum UcanCommand {
    /// Check a delegation or an invocation with its chain; say `valid` (exit code 0), or `invalid` and why (1).
    ///
    /// FILE is one case as in the UCAN fixtures (JSON: an invocation, its proofs and perhaps a time) or raw DAG-CBOR.
    Verify {
        /// The file, or - for standard input.
        file: PathBuf,
        /// Judge as of this moment [default: the case's own time, else now].
        #[arg(long, value_name = "UNIX_SECONDS")]
        at: Option<u64>,
    },
}

#[derive(Serialize)]
struct Judged {
    valid: bool,
    at: Timestamp,
    /// As in the UCAN fixtures.
    error: Option<&'static str>,
    why: Option<String>,
    chain: Vec<String>,
    #[serde(skip)]
    line: String,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let UcanCommand::Verify { file, at } = &args.command;
    let bytes = read_bounded(file, MAX_CASE as u64 + 1)?;
    let verdict = case::verify(&bytes, at.map(Timestamp::from_secs), now());
    let exit = if verdict.is_valid() { Exit::Done } else { Exit::No };
    context.printer.show(&Judged::from(verdict))?;
    Ok(exit)
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        let line = verdict.to_string();
        let invalid = verdict.outcome.err();
        Self {
            valid: invalid.is_none(),
            at: verdict.at,
            error: invalid.as_ref().map(|invalid| invalid.name),
            why: invalid.map(|invalid| invalid.why),
            chain: verdict.words,
            line,
        }
    }
}

impl Show for Judged {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{}", one_line(&self.line))?;
        self.chain.iter().try_for_each(|link| writeln!(out, "  {}", one_line(link)))?;
        if self.chain.is_empty() { Ok(()) } else { writeln!(out, "  (judged as of {})", self.at) }
    }
}

/// A file or standard input (`-`), at most `limit` bytes of it.
pub(super) fn read_bounded(path: &PathBuf, limit: u64) -> Result<Vec<u8>, CliError> {
    let fail = |cause| CliError::file("read", path, &cause);
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(fail)?;
    } else {
        std::fs::File::open(path).map_err(fail)?.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    }
    Ok(bytes)
}

/// The wall clock, for commands that run without a node.
pub(super) fn now() -> Timestamp {
    crate::runtime::Runtime::with(crate::runtime::Inline).now()
}
