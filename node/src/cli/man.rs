//! `guilder man DIR`: what packages are made with.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::{Cli, Context};
use crate::console::{CliError, Exit};

/// Write the manual pages of all commands into a folder.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// The folder.
    folder: PathBuf,
}

pub(super) fn run(args: &Args, _: &Context) -> Result<Exit, CliError> {
    let mut root = Cli::command();
    root.build();
    let mut waiting = vec![root];
    while let Some(command) = waiting.pop() {
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
        waiting.extend(shown.cloned());
        write(command, &args.folder)?;
    }
    Ok(Exit::Done)
}

/// A command's page: `guilder-wallet-mints.1`.
fn write(command: clap::Command, folder: &Path) -> Result<(), CliError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    let path = folder.join(format!("{name}.1"));
    let written =
        clap_mangen::Man::new(command).title(name).render(&mut page).and_then(|()| std::fs::write(&path, page));
    written.map_err(|cause| CliError::file("write", &path, &cause))
}
