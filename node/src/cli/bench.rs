//! `guilder bench trade`

use clap::Subcommand;

use super::{Context, wait_for};
use crate::{
    console::{CliError, Exit},
    lab::bench::{self, BenchArgs},
};

/// Measure this machine.
///
/// Measures whole trades between real nodes of this binary, as separate processes on this machine, beside the floor
/// that the machine sets.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Whole trades, ask to receipt, every step durable, redemption included.
    Trade(BenchArgs),
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let BenchCommand::Trade(args) = &args.command;
    wait_for(bench::run(args, &context.printer))
}
