//! Where the passphrase of a sealed secret file comes from: a file, the environment, or the person at the terminal.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use super::prompt::ask_line;
use crate::{
    console::{CliError, Printer},
    keys::{Passphrase, Phrase, SecretFile, check_private},
};

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
        let Some(path) = &self.file else { return Ok(self.env.clone().filter(|passphrase| !passphrase.is_empty())) };
        check_private(path)?;
        let text = std::fs::read_to_string(path).map_err(|cause| CliError::file("read", path, &cause))?;
        let passphrase = Passphrase::new(text);
        if passphrase.is_empty() {
            return Err(CliError::usage(
                format!("{} is empty", path.display()),
                "put the passphrase on its first line",
            ));
        }
        Ok(Some(passphrase))
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

/// A new passphrase, typed twice.
pub(super) fn ask_new(printer: &Printer) -> Result<Passphrase, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(
            "a passphrase can't be asked for without a terminal",
            "set GUILDER_PASSPHRASE or give --passphrase-file FILE",
        ));
    }
    let first = Passphrase::new(ask_line(printer, "New passphrase: ")?.to_string());
    let second = Passphrase::new(ask_line(printer, "Again: ")?.to_string());
    if first.is_empty() || first != second {
        return Err(CliError::usage("the two passphrases differ or are empty", "try again; nothing was written"));
    }
    Ok(first)
}
