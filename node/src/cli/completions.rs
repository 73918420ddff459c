//! `guilder completions SHELL`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Context};
use crate::console::{CliError, Exit};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder completions bash > ~/.local/share/bash-completion/completions/guilder
  guilder completions zsh > ~/.zfunc/_guilder
  guilder completions fish > ~/.config/fish/completions/guilder.fish";

/// Print a completion script for your shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
