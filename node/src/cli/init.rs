//! `guilder init`

use std::{collections::BTreeMap, fmt, fs, io, net::SocketAddr, path::Path};

use guilder_protocol::market::{MintUrl, Unit};
use serde::Serialize;

use super::{
    Context,
    join::{Accepted, JoinArgs},
    passphrase::{ask_new, secret_file},
    prompt::ask_text,
};
use crate::{
    config::{self, Chosen},
    console::{CliError, Exit, Show, fields},
    keys::{Existing, Home, HomeError, Phrase, SecretError, SecretFile, write_private},
    mint,
    network::Multiaddr,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder init
  guilder init --join /ip4/192.0.2.7/tcp/4848/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq \\
    --mint https://mint.example
  guilder init --join guilderinvite1…
  guilder --home ./alice init --passphrase
  guilder init --restore < phrase.txt";

/// Make a node: its keys, its recovery phrase, its settings.
///
/// Makes the home folder with a new key and prints the recovery phrase, once. Write the phrase down: it brings back the identity
/// and the money that can be spent, for you and for a thief. What is locked or earned is in the home folder alone.
///
/// With --restore the keys come from a recovery phrase. A home that is there already keeps all that is in it, and is given
/// its keys anew, under another passphrase or none: if the phrase is its own, and not otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Take the keys from a recovery phrase (asked for, or on standard input) instead of making new ones.
    #[arg(long)]
    restore: bool,
    /// Seal the secret file with a passphrase (asked for, unless GUILDER_PASSPHRASE or --passphrase-file gives it).
    #[arg(long)]
    passphrase: bool,
    #[command(flatten)]
    join: JoinArgs,
    /// Accept the ecash of this mint. May be given several times.
    #[arg(long, value_name = "URL")]
    mint: Vec<MintUrl>,
    /// Listen on this address of the machine instead of any port. May be given several times.
    #[arg(long, value_name = "MULTIADDR", value_parser = config::listenable)]
    listen: Vec<Multiaddr>,
    /// Spend this unit where a command names none [default: sat].
    #[arg(long, value_name = "UNIT")]
    unit: Option<Unit>,
    /// Host a mint of play money.
    #[arg(long)]
    host_mint: bool,
    /// Don't look for peers on the local network.
    #[arg(long)]
    no_mdns: bool,
    /// Serve health (/healthz) and metrics (/metrics) at this address of the machine's own, such as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS", value_parser = config::monitorable)]
    monitor: Option<SocketAddr>,
    /// Print the settings file, every setting with its default, and make nothing.
    #[arg(long, conflicts_with_all = ["restore", "passphrase"])]
    print_config: bool,
}

/// What was made.
#[derive(Serialize)]
pub(super) struct Made {
    home: String,
    peer_id: String,
    did: String,
    config: String,
    sealed: bool,
    /// Only if it is new.
    phrase: Option<String>,
    /// What was accepted of invitations, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
    /// Whether the node runs next.
    #[serde(skip)]
    runs: bool,
}

/// The settings file.
#[derive(Serialize)]
struct Settings {
    settings: String,
}

impl Args {
    fn chosen(&self) -> Chosen {
        Chosen {
            listen: self.listen.clone(),
            bootstrap: Vec::new(),
            no_mdns: self.no_mdns,
            mints: self.mint.clone(),
            pins: BTreeMap::new(),
            unit: self.unit.clone(),
            host_mint: self.host_mint,
            monitor: self.monitor,
        }
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let mut chosen = args.chosen();
    if args.print_config {
        args.join.choose(&mut chosen, context)?;
        context.printer.show(&Settings { settings: chosen.settings() })?;
        return Ok(Exit::Done);
    }
    let home = context.home()?;
    if !args.restore {
        refuse_another(&home)?;
    }
    if (!chosen.is_empty() || args.join.is_given()) && home.config().exists() {
        return Err(CliError::usage(
            format!("{} is there already, and is not changed", home.config().display()),
            "set it there, and leave away --join, --mint, --listen and the like",
        ));
    }
    let accepted = args.join.choose(&mut chosen, context)?;
    let phrase = if args.restore {
        Phrase::parse(&ask_text(&context.printer, "Recovery phrase: ", has_all_words)?)?
    } else {
        Phrase::from_entropy(&entropy()?)
    };
    let passphrase = match context.passphrase.given()? {
        None if args.passphrase => Some(ask_new(&context.printer)?),
        given => given,
    };
    let file = secret_file(&phrase, passphrase.as_ref())?;
    let id = phrase.seeds().key().id();
    if home.secret().exists() {
        let owner = SecretFile::load(&home.secret())?.agent()?;
        if owner != id {
            return Err(CliError::usage(
                format!(
                    "{} is the home of {}, and the phrase is that of {}",
                    home.dir().display(),
                    owner.peer_id(),
                    id.peer_id()
                ),
                "give that node's phrase, or this one a home of its own: --home DIR",
            ));
        }
        if !mint::books(&home.mint()).exists() {
            guard_mint(&home)?;
        }
        write_settings(&home, &chosen)?;
        file.replace(&home.secret(), passphrase.as_ref())?;
    } else {
        make(&home, &chosen, &file, if args.restore { Keys::Restored } else { Keys::New })?;
    }
    let shown = (!args.restore).then(|| phrase.reveal().to_owned());
    context.printer.show(&Made {
        home: home.dir().display().to_string(),
        peer_id: id.peer_id(),
        did: id.to_string(),
        config: home.config().display().to_string(),
        sealed: file.is_sealed(),
        phrase: shown,
        accepted,
        runs: false,
    })?;
    Ok(Exit::Done)
}

/// Makes a node in an empty home, as `guilder init --join` does, to be run at once.
pub(super) fn make_to_run(join: &JoinArgs, home: &Home, context: &Context) -> Result<Made, CliError> {
    refuse_another(home)?;
    let mut chosen = Chosen::default();
    let accepted = join.choose(&mut chosen, context)?;
    let phrase = Phrase::from_entropy(&entropy()?);
    let passphrase = context.passphrase.given()?;
    let file = secret_file(&phrase, passphrase.as_ref())?;
    let id = phrase.seeds().key().id();
    make(home, &chosen, &file, Keys::New)?;
    Ok(Made {
        home: home.dir().display().to_string(),
        peer_id: id.peer_id(),
        did: id.to_string(),
        config: home.config().display().to_string(),
        sealed: file.is_sealed(),
        phrase: Some(phrase.reveal().to_owned()),
        accepted,
        runs: true,
    })
}

/// Whether what was typed so far can be a phrase: twelve words, or fewer and an empty line.
fn has_all_words(text: &str) -> bool {
    let words = text.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic)).count();
    words >= 12 || (words > 0 && text.ends_with("\n\n"))
}

/// New keys have no place where there is a node, nor among the money of one whose keys are missing.
fn refuse_another(home: &Home) -> Result<(), CliError> {
    if home.secret().exists() {
        return Err(HomeError::Exists(home.secret()).into());
    }
    if home.store().exists() || mint::books(&home.mint()).exists() {
        return Err(CliError::usage(
            format!("{} holds what a node remembers, and no keys", home.dir().display()),
            "give it that node's keys again: `guilder init --restore`; or choose another home: --home DIR",
        ));
    }
    Ok(())
}

/// Whether a node's keys may have been in use before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    New,
    Restored,
}

/// The secret file last: a home is one once it has it, and all that it needs is there by then.
fn make(home: &Home, chosen: &Chosen, file: &SecretFile, keys: Keys) -> Result<(), SecretError> {
    home.create()?;
    match keys {
        Keys::Restored => guard_mint(home)?,
        // Of keys that were to come back here, and didn't.
        Keys::New => remove_if_there(&home.mint_used())?,
    }
    write_settings(home, chosen)?;
    file.create(&home.secret())
}

/// Settings that are there stay as they are.
fn write_settings(home: &Home, chosen: &Chosen) -> Result<(), HomeError> {
    if home.config().exists() {
        return Ok(());
    }
    write_private(&home.config(), chosen.settings().as_bytes(), Existing::Keep)
}

/// The mint of keys that come back may have signed: with empty books it spends nothing until the operator accepts the loss.
fn guard_mint(home: &Home) -> Result<(), HomeError> {
    if home.mint_used().exists() {
        return Ok(());
    }
    write_private(&home.mint_used(), b"0", Existing::Keep)
}

fn remove_if_there(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(HomeError::io("remove", path, cause)),
        _ => Ok(()),
    }
}

/// From the system.
pub(super) fn entropy<const N: usize>() -> Result<[u8; N], CliError> {
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
        if self.runs { writeln!(out) } else { writeln!(out, "\nNext: guilder up") }
    }
}

impl Show for Settings {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(&self.settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A home at whose last step, the secret file's name, the process is as good as killed: something has it that isn't there.
    fn home_without_room(dir: &Path) -> Home {
        let home = Home::at(dir.join("home"));
        home.create().unwrap();
        std::os::unix::fs::symlink("nowhere", home.secret()).unwrap();
        home
    }

    #[test]
    fn keys_that_come_back_never_stand_without_the_guard_of_their_mint() {
        let dir = tempfile::tempdir().unwrap();
        let home = home_without_room(dir.path());
        let file = SecretFile::clear(&Phrase::from_entropy(&[9; 16]));
        make(&home, &Chosen::default(), &file, Keys::Restored).unwrap_err();
        assert_eq!((home.secret().exists(), fs::read(home.mint_used()).unwrap()), (false, b"0".to_vec()));
        fs::remove_file(home.secret()).unwrap();
        make(&home, &Chosen::default(), &file, Keys::Restored).unwrap();
        assert!(home.secret().exists() && home.mint_used().exists());
        // What is known of them already isn't made less.
        fs::write(home.mint_used(), b"77").unwrap();
        guard_mint(&home).unwrap();
        assert_eq!(fs::read(home.mint_used()).unwrap(), b"77");
    }

    #[test]
    fn new_keys_are_not_suspected_for_a_restoring_that_was_cut_off_and_take_no_place_of_a_mint_s() {
        let dir = tempfile::tempdir().unwrap();
        let home = home_without_room(dir.path());
        let file = SecretFile::clear(&Phrase::from_entropy(&[9; 16]));
        make(&home, &Chosen::default(), &file, Keys::Restored).unwrap_err();
        fs::remove_file(home.secret()).unwrap();
        refuse_another(&home).unwrap();
        make(&home, &Chosen::default(), &file, Keys::New).unwrap();
        assert!(!home.mint_used().exists());

        fs::remove_file(home.secret()).unwrap();
        fs::create_dir(home.mint()).unwrap();
        fs::write(mint::books(&home.mint()), b"").unwrap();
        assert!(refuse_another(&home).unwrap_err().told.hint.unwrap().contains("--restore"));
    }
}
