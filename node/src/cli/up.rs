//! `guilder up`

use std::fmt;

use super::{Context, init::make_to_run, join::JoinArgs, status::peers_in_words};
use crate::{
    api::types::Balance,
    config::{Config, LogConfig, join::Joining},
    console::{CliError, Exit, Field, Show, fields},
    daemon::{self, Ready},
    executor::process::orphans,
    keys::{Home, SecretFile},
    network::Multiaddr,
    spans,
    wallet::WalletConfig,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder up
  guilder up --join guilderinvite1…
  guilder --home ./bob up --join /ip4/192.0.2.7/tcp/4848/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

/// Run the node, in the foreground, until it is stopped.
///
/// Listens for peers and for the command line, trades, and logs to standard error: at a terminal warnings alone, unless
/// log.filter in config.toml or RUST_LOG says what. Once it is ready it prints who it is, where it listens, and what to
/// do next. SIGINT (Ctrl-C) or SIGTERM stop it cleanly; whatever way it ends, what was open goes on at the next start.
///
/// With --join an empty home becomes a node first, as by `guilder init`: its recovery phrase is printed, once. A home that is there
/// keeps its settings: whom --join names it begins with in this run, once an invitation is accepted, and its mints are left out.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    join: JoinArgs,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    let joined = if args.join.is_given() { join(&args.join, &home, context)? } else { Vec::new() };
    home.check()?;
    let mut config = Config::load(home.config())?;
    for address in joined {
        if !config.network.bootstrap.contains(&address) {
            config.network.bootstrap.push(address);
        }
    }
    let seeds = context.passphrase.open(&SecretFile::load(&home.secret())?, &context.printer)?.seeds();
    // Whoever sits there is told what to do next; a log that runs on would carry it away.
    let quiet = context.printer.is_read_by_a_person() && config.log == LogConfig::default();
    daemon::log::start(&config.log, quiet);
    orphans::adopt();
    let recording = spans::from_environment();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::io("can't start", &cause))?;
    // A node that nobody can be told of is a node still.
    let ready = |ready: &Ready| drop(context.printer.show(ready));
    runtime.block_on(daemon::run(&home, config, seeds, ready))?;
    if let Some(recording) = recording {
        recording.write().map_err(|cause| CliError::io("can't write the spans", &cause))?;
    }
    // Work that was given up, such as a look-up of a name, may sit in a blocking thread; it is not waited for.
    runtime.shutdown_background();
    Ok(Exit::Done)
}

/// Makes the home if there is none. Returns whom to begin with in this run, beyond the settings.
fn join(join: &JoinArgs, home: &Home, context: &Context) -> Result<Vec<Multiaddr>, CliError> {
    if !home.secret().exists() {
        let made = make_to_run(join, home, context)?;
        // Nobody else knows the phrase: if it can't be shown, the node isn't run as if it had been.
        context.printer.hand_over(&made)?;
        return Ok(Vec::new());
    }
    let Joining { bootstrap, invited } = join.read()?;
    if let Some(invited) = &invited {
        join.ask(invited, context)?;
    }
    for url in invited.iter().flat_map(|invited| invited.mints.keys()) {
        context.printer.note(format!(
            "left out, since this home has its settings: the mint {url} (`guilder wallet mints add {url}`)"
        ));
    }
    Ok(bootstrap)
}

impl Show for Ready {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { status, .. } = self;
        fields(
            out,
            &[
                ("peer ID", Field::from(status.peer_id.clone())),
                ("home", status.home.clone().into()),
                ("listening", status.listen.clone().into()),
                ("hosted mint", status.hosted_mint.clone().into()),
                ("peers", peers_in_words(status).into()),
                ("others join", self.invitation().unwrap_or_default().into()),
            ],
        )?;
        writeln!(out, "\nReady. In another terminal:")?;
        for (command, what) in self.next_steps() {
            writeln!(out, "  {command:36}  {what}")?;
        }
        writeln!(out, "Ctrl-C stops the node.")
    }
}

impl Ready {
    /// What `init` is to be told by those who want to begin with this node.
    fn invitation(&self) -> Option<String> {
        let is_local = |address: &&String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
        let listen = &self.status.listen;
        let address = listen.iter().find(|address| !is_local(address)).or(listen.first())?;
        let mint = self.status.hosted_mint.first().map(|url| format!(" --mint {url}")).unwrap_or_default();
        // A wallet pays in sats unless it is told otherwise, and a mint of play money has none.
        let unit = match self.status.mint_books.as_slice() {
            [only] if only.unit != WalletConfig::default().unit.to_string() => format!(" --unit {}", only.unit),
            _ => String::new(),
        };
        Some(format!("init --join {address}{mint}{unit}"))
    }

    /// Commands for what is still missing, and for what can be done now.
    fn next_steps(&self) -> Vec<(&'static str, &'static str)> {
        let Self { status, mints } = self;
        let is_mint = !status.hosted_mint.is_empty();
        let mut steps = Vec::new();
        if status.peers == 0 && status.bootstrap.is_empty() && !is_mint {
            steps.push(("guilder peers --dial ADDRESS", "connect to a peer"));
        }
        if mints.is_empty() && !is_mint {
            steps.push(("guilder wallet mints add URL", "accept a mint's ecash"));
        }
        if !mints.is_empty() && status.balances.iter().all(|balance| Balance::total(balance) == 0) {
            steps.push(("guilder wallet fund 100", "get money to buy with"));
        }
        if status.services == 0 && !mints.is_empty() {
            steps.push(("guilder service init NAME", "write a service to sell"));
        }
        if !mints.is_empty() {
            steps.push(("guilder find SERVICE", "who sells it?"));
        }
        steps.push(("guilder invite", "bring others into this swarm"));
        steps.push(("guilder watch", "follow the node"));
        steps
    }
}
