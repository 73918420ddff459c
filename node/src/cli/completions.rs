//! `guilder completions SHELL`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, CliError, Context, Exit};

/// Print a completion script for your shell.
///
/// For example: guilder completions bash > ~/.local/share/bash-completion/completions/guilder
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "guilder", &mut script);
    context.printer.bytes(&script)?;
    Ok(Exit::Done)
}
