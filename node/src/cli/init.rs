//! `guilder init`

use std::fmt;

use guilder_protocol::identity::AgentId;
use serde::Serialize;

use super::{Context, passphrase::ask_new, prompt::ask_text};
use crate::{
    config,
    console::{CliError, Exit, Show, fields},
    keys::{Existing, Home, Phrase, SealEntropy, SecretError, SecretFile, write_private},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder init
  guilder --home ./alice init --passphrase
  guilder init --restore < phrase.txt";

/// Make a node: its keys, its recovery phrase, its settings.
///
/// Makes the home folder with a new key and prints the recovery phrase, once. Write the phrase down: it brings back the identity
/// and the money that can be spent, for you and for a thief. What is locked or earned is in the home folder alone.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Take the keys from a recovery phrase (asked for, or on standard input) instead of making new ones.
    #[arg(long)]
    restore: bool,
    /// Seal the secret file with a passphrase (asked for, unless GUILDER_PASSPHRASE or --passphrase-file gives it).
    #[arg(long)]
    passphrase: bool,
    /// Print the settings file, every setting with its default, and make nothing.
    #[arg(long, conflicts_with_all = ["restore", "passphrase"])]
    print_config: bool,
}

/// What was made.
#[derive(Serialize)]
struct Made {
    home: String,
    peer_id: String,
    did: String,
    config: String,
    sealed: bool,
    /// Only if it is new.
    phrase: Option<String>,
}

/// The settings file.
#[derive(Serialize)]
struct Settings {
    settings: &'static str,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if args.print_config {
        context.printer.show(&Settings { settings: config::TEMPLATE })?;
        return Ok(Exit::Done);
    }
    let home = context.home()?;
    if home.secret().exists() {
        return Err(crate::keys::HomeError::Exists(home.secret()).into());
    }
    let phrase = if args.restore {
        Phrase::parse(&ask_text(&context.printer, "Recovery phrase: ", has_all_words)?)?
    } else {
        Phrase::from_entropy(&entropy()?)
    };
    let file = secret_file(args, context, &phrase)?;
    let id = make(&home, &file, &phrase)?;
    if args.restore {
        // Its mint may have signed: with empty books it spends nothing until the operator accepts the loss.
        write_private(&home.mint_used(), b"0", Existing::Keep)?;
    }
    let shown = (!args.restore).then(|| phrase.reveal().to_owned());
    context.printer.show(&Made {
        home: home.dir().display().to_string(),
        peer_id: id.peer_id(),
        did: id.to_string(),
        config: home.config().display().to_string(),
        sealed: file.is_sealed(),
        phrase: shown,
    })?;
    Ok(Exit::Done)
}

/// Whether what was typed so far can be a phrase: twelve words, or fewer and an empty line.
fn has_all_words(text: &str) -> bool {
    let words = text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count();
    words >= 12 || (words > 0 && text.ends_with("\n\n"))
}

fn secret_file(args: &Args, context: &Context, phrase: &Phrase) -> Result<SecretFile, CliError> {
    let passphrase = match context.passphrase.given()? {
        None if args.passphrase => Some(ask_new(&context.printer)?),
        given => given,
    };
    Ok(match passphrase {
        None => SecretFile::clear(phrase),
        Some(passphrase) => SecretFile::seal(phrase, &passphrase, SealEntropy { salt: entropy()?, nonce: entropy()? })?,
    })
}

/// The settings first: a home is one once it has its secret file.
fn make(home: &Home, file: &SecretFile, phrase: &Phrase) -> Result<AgentId, SecretError> {
    home.create()?;
    if !home.config().exists() {
        write_private(&home.config(), config::TEMPLATE.as_bytes(), Existing::Keep)?;
    }
    file.create(&home.secret())?;
    Ok(phrase.seeds().key().id())
}

fn entropy<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| CliError::io("the system gives no random numbers", &error.into()))?;
    Ok(bytes)
}

impl Show for Made {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let secret = if self.sealed { "sealed with your passphrase" } else { "in clear, readable by you alone" };
        fields(
            out,
            &[
                ("home", self.home.clone()),
                ("peer ID", self.peer_id.clone()),
                ("DID", self.did.clone()),
                ("settings", self.config.clone()),
                ("secret file", secret.to_owned()),
            ],
        )?;
        if let Some(phrase) = &self.phrase {
            writeln!(out, "\nRecovery phrase. Write it down now; it is not shown again:\n\n    {phrase}\n")?;
            writeln!(out, "Whoever has it has the node's identity and its money.")?;
        }
        writeln!(out, "\nNext: guilder up")
    }
}

impl Show for Settings {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self.settings)
    }
}
