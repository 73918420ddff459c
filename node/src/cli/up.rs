//! `guilder up`

use super::Context;
use crate::{
    config::Config,
    console::{CliError, Exit},
    daemon,
    executor::process::orphans,
    keys::SecretFile,
};

/// Run the node, in the foreground, until it is stopped.
///
/// Listens for peers and for the command line, trades, and logs to standard error. SIGINT (Ctrl-C) or SIGTERM stop it
/// cleanly; whatever way it ends, what was open goes on at the next start.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    home.check()?;
    let config = Config::load(home.config())?;
    let seeds = context.passphrase.open(&SecretFile::load(&home.secret())?, &context.printer)?.seeds();
    daemon::log::start(&config.log);
    orphans::adopt();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::io("can't start", &cause))?;
    runtime.block_on(daemon::run(&home, config, seeds))?;
    // Work that was given up, such as a look-up of a name, may sit in a blocking thread; it is not waited for.
    runtime.shutdown_background();
    Ok(Exit::Done)
}
