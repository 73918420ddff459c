//! The lab: several real nodes of this same binary, orchestrated to show something ([`demo`]) or to measure it
//! ([`bench`]). It knows no more of a node than its command line and its control API.

pub mod bench;
pub mod demo;
mod digest;
pub(crate) mod folder;
mod summarize;
mod swarm;

use std::io::{Read as _, Write as _};

use crate::console::{CliError, Exit};

/// What the programs do that the lab's sellers sell: standard input to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// The three weightiest sentences of a text.
    #[default]
    Summarize,
    /// A summary and an index, both had from others.
    Digest,
    /// An index, at which it fails.
    Index,
    /// Whether a text is one.
    Check,
}

/// Does it. What `guilder demo-worker` runs.
///
/// # Errors
/// If the input can't be read, the work not be done or the output not be written.
pub fn work(work: Work) -> Result<Exit, CliError> {
    let fail = |cause| CliError::io("can't do the work", &cause);
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(fail)?;
    let text = String::from_utf8_lossy(&input);
    let output = match work {
        Work::Summarize => summarize::summarize(&text),
        Work::Digest => digest::digest(&text).map_err(fail)?,
        Work::Check => serde_json::json!({ "ok": !text.trim().is_empty() }).to_string(),
        Work::Index => {
            return Err(CliError::usage("there is no dictionary for this language", "hire another indexer"));
        }
    };
    std::io::stdout().write_all(output.as_bytes()).map_err(fail)?;
    Ok(Exit::Done)
}
