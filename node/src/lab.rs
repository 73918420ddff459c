//! The lab: several real nodes of this same binary, orchestrated to show something ([`demo`]) or to measure it
//! ([`bench`]). It knows no more of a node than its command line and its control API.

pub mod bench;
pub mod demo;
pub(crate) mod folder;
mod summarize;
mod swarm;

use std::io::{Read as _, Write as _};

use crate::console::{CliError, Exit};

/// The work of the demo's sellers: standard input to standard output. What `guilder demo-worker` runs.
///
/// # Errors
/// If the input can't be read or the output not be written.
pub fn work() -> Result<Exit, CliError> {
    let fail = |cause| CliError::io("can't do the work", &cause);
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(fail)?;
    let summary = summarize::summarize(&String::from_utf8_lossy(&input));
    std::io::stdout().write_all(summary.as_bytes()).map_err(fail)?;
    Ok(Exit::Done)
}
