//! `guilder alias`

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use crate::{
    api::types::Alias,
    console::{Aliases, CliError, Exit, Named, Show, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder alias add bank https://mint.example
  guilder alias add ann 12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq
  guilder hire text.summarize --seller @ann --mint @bank --input notes.txt";

/// Give peers and mints names of your own.
///
/// @NAME then stands for the peer or the mint wherever a command takes one, and in what commands print. With --json both are
/// printed. Aliases lie in aliases.toml in the home folder; nobody else sees them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<AliasCommand>,
}

#[derive(Debug, Subcommand)]
enum AliasCommand {
    /// Print all of them: what is done if nothing is said.
    List,
    /// Name a peer or a mint.
    Add {
        /// Lower-case letters, digits and -.
        name: String,
        /// A peer ID, a DID, or the URL of a mint.
        #[arg(value_name = "PEER|URL")]
        target: Named,
    },
    /// Forget a name.
    Remove {
        /// The name.
        name: String,
    },
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct List(Vec<Alias>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    home.check()?;
    let mut aliases = Aliases::load(&home.aliases())?;
    match &args.command {
        None | Some(AliasCommand::List) => {}
        Some(AliasCommand::Add { name, target }) => {
            aliases.add(name, target.clone())?;
            aliases.store(&home.aliases())?;
        }
        Some(AliasCommand::Remove { name }) => {
            aliases.remove(name)?;
            aliases.store(&home.aliases())?;
        }
    }
    context.printer.show(&List(aliases.iter().map(Alias::from).collect()))?;
    Ok(Exit::Done)
}

impl Show for List {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |alias: &Alias| vec![format!("@{}", alias.name), alias.kind.clone(), alias.target.clone()];
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["ALIAS", "WHAT", "STANDS FOR"], &rows, "No aliases. To give one: guilder alias add NAME PEER")
    }
}
