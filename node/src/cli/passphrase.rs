//! `guilder passphrase`, and where the passphrase of a sealed secret file comes from: a file, the environment, or the person at
//! the terminal.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde::Serialize;

use super::{Context, init::entropy, prompt::ask_line};
use crate::{
    console::{CliError, Exit, Printer, Show},
    keys::{Passphrase, Phrase, SealEntropy, SecretFile, check_private},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder passphrase set
  guilder --passphrase-file old.txt passphrase change --new-passphrase-file new.txt
  guilder passphrase remove";

/// Seal the node's secret file with a passphrase, change it, or open the file for good.
///
/// The secret file holds the recovery phrase. It gives way to the new one in one step: whatever happens, one of the two is
/// there, whole. A running node goes on; from its next start on it needs the new passphrase. Copies of the file from
/// before, in backups and snapshots, open as they did. Who has lost the passphrase and has the recovery phrase gives
/// that one: guilder init --restore.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Seal the secret file, which has no passphrase yet.
    Set(New),
    /// Seal it with another passphrase.
    Change(New),
    /// Write the recovery phrase in clear, guarded by the file's permissions alone.
    Remove,
}

#[derive(Debug, clap::Args)]
struct New {
    /// Read the new passphrase from FILE, its first line (else ask).
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

/// How the secret file is now.
#[derive(Debug, Serialize)]
struct Changed {
    sealed: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    home.check()?;
    let file = SecretFile::load(&home.secret())?;
    match (&args.action, file.is_sealed()) {
        (Action::Set(_), true) => {
            return Err(CliError::usage(
                "the secret file has a passphrase",
                "to choose another: `guilder passphrase change`",
            ));
        }
        (Action::Change(_) | Action::Remove, false) => {
            return Err(CliError::usage("the secret file has no passphrase", "to seal it: `guilder passphrase set`"));
        }
        _ => {}
    }
    let phrase = context.passphrase.open(&file, &context.printer)?;
    let new = match &args.action {
        Action::Set(New { new_passphrase_file: Some(file) })
        | Action::Change(New { new_passphrase_file: Some(file) }) => Some(read(file)?),
        Action::Set(_) => Some(match context.passphrase.given()? {
            Some(given) => given,
            None => ask_new(&context.printer)?,
        }),
        Action::Change(_) => Some(ask_new(&context.printer)?),
        Action::Remove => None,
    };
    secret_file(&phrase, new.as_ref())?.replace(&home.secret(), new.as_ref())?;
    context.printer.show(&Changed { sealed: new.is_some() })?;
    Ok(Exit::Done)
}

/// The phrase in a file, sealed if there is a passphrase.
pub(super) fn secret_file(phrase: &Phrase, passphrase: Option<&Passphrase>) -> Result<SecretFile, CliError> {
    Ok(match passphrase {
        None => SecretFile::clear(phrase),
        Some(passphrase) => SecretFile::seal(phrase, passphrase, SealEntropy { salt: entropy()?, nonce: entropy()? })?,
    })
}

impl Show for Changed {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(
            out,
            "{}",
            match self.sealed {
                true =>
                    "The secret file is sealed with the new passphrase. Copies from before it, in backups, open as they did.",
                false => "The secret file holds the recovery phrase in clear, readable by you alone.",
            }
        )
    }
}

/// The ways to a passphrase, in the order that they are tried.
pub(super) struct PassphraseSource {
    file: Option<PathBuf>,
    env: Option<Passphrase>,
}

impl std::fmt::Debug for PassphraseSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassphraseSource").field("file", &self.file).finish_non_exhaustive()
    }
}

impl PassphraseSource {
    /// As `--passphrase-file` and `GUILDER_PASSPHRASE` say.
    pub(super) fn of_process(file: Option<PathBuf>) -> Self {
        Self { file, env: std::env::var("GUILDER_PASSPHRASE").ok().map(Passphrase::new) }
    }

    /// The one that was given, if one was.
    pub(super) fn given(&self) -> Result<Option<Passphrase>, CliError> {
        match &self.file {
            Some(path) => read(path).map(Some),
            None => Ok(self.env.clone().filter(|passphrase| !passphrase.is_empty())),
        }
    }

    /// The file that it is read from, if one was named.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The phrase in a secret file, asking for a passphrase where one is needed and none was given.
    pub(super) fn open(&self, file: &SecretFile, printer: &Printer) -> Result<Phrase, CliError> {
        if !file.is_sealed() {
            return Ok(file.open(None)?);
        }
        let mut given = self.given()?;
        if given.is_none() && io::stdin().is_terminal() {
            given = Some(Passphrase::new(ask_line(printer, "Passphrase: ")?.to_string()));
        }
        Ok(file.open(given.as_ref())?)
    }
}

/// The passphrase in a file.
fn read(path: &Path) -> Result<Passphrase, CliError> {
    check_private(path)?;
    let text = std::fs::read_to_string(path).map_err(|cause| CliError::file("read", path, &cause))?;
    let passphrase = Passphrase::new(text);
    if passphrase.is_empty() {
        return Err(CliError::usage(format!("{} is empty", path.display()), "put the passphrase on its first line"));
    }
    Ok(passphrase)
}

/// A new passphrase, typed twice.
pub(super) fn ask_new(printer: &Printer) -> Result<Passphrase, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(
            "a passphrase can't be asked for without a terminal",
            "give it in a file: --passphrase-file FILE; to change it, --new-passphrase-file FILE",
        ));
    }
    let first = Passphrase::new(ask_line(printer, "New passphrase: ")?.to_string());
    let second = Passphrase::new(ask_line(printer, "Again: ")?.to_string());
    if first.is_empty() || first != second {
        return Err(CliError::usage("the two passphrases differ or are empty", "try again; nothing was written"));
    }
    Ok(first)
}
