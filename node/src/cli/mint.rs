//! `guilder mint resume`

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use crate::console::{CliError, Exit, Show};

/// Look after the mint that this node hosts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: MintCommand,
}

#[derive(Debug, Subcommand)]
enum MintCommand {
    /// Have the mint go on with books that don't show all that its keys have signed.
    ///
    /// After a restore from the phrase alone, or with books of an older backup, the mint does no swaps and melts: it can't
    /// know which coins were spent before. Whoever has such a coin can spend it again once you go on, at your cost.
    Resume {
        /// You bear what is spent twice.
        #[arg(long, required = true)]
        accept_loss: bool,
    },
}

#[derive(Serialize)]
struct Resumed {
    resume: bool,
}

impl Show for Resumed {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "The mint goes on with its books as they are when the node starts next.")
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let MintCommand::Resume { accept_loss } = &args.command;
    let file = context.home()?.mint_resume();
    if *accept_loss {
        std::fs::write(&file, "").map_err(|cause| CliError::file("write", &file, &cause))?;
    }
    context.printer.show(&Resumed { resume: *accept_loss })?;
    Ok(Exit::Done)
}
