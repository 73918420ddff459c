//! The command line: one file per command, one printer, one way to fail.
//!
//! ```text
//! arguments (clap) ── command ──> api::client ── loopback HTTP ──> the daemon on the same home
//!                        │
//!                        └──> printer: results on standard output, progress and errors on standard error
//! ```
//!
//! `init`, `audit verify`, `ucan verify`, `completions`, `demo` and `bench` need no daemon.

mod audit;
mod bench;
mod completions;
mod demo;
mod error;
mod find;
mod hire;
mod id;
mod init;
mod passphrase;
mod peers;
mod printer;
mod service;
mod status;
mod task;
mod ucan;
mod wallet;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::passphrase::PassphraseSource;
pub use self::{
    error::{CliError, Exit},
    printer::{Printer, Show, fields, table},
};
use crate::{
    api::client::Client,
    keys::Home,
    lab::{self, demo::DemoArgs},
};

const EXAMPLES: &str = "\
\x1b[1;4mFirst steps:\x1b[0m
  guilder demo                             see it all happen on this machine, with play money
  guilder init                             make a node: keys, recovery phrase, settings
  guilder up                               run it; the commands below talk to it
  guilder find text.summarize              who sells this?
  guilder hire text.summarize --input notes.txt --max-price 20

\x1b[1;4mExit codes:\x1b[0m
  0 done    1 the answer is no (invalid, failed)    2 wrong use    3 a peer's fault    4 can't trade
  5 the mint's fault    6 the machine or the network    7 no daemon runs";

/// Buys and sells work between software agents, peer to peer, for ecash.
#[derive(Debug, Parser)]
#[command(name = "guilder", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command knows.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// The node's folder [default: guilder in the user's data folder].
    #[arg(long, global = true, value_name = "DIR", env = "GUILDER_HOME", hide_env_values = true)]
    home: Option<PathBuf>,
    /// Print results as JSON, for scripts; streams as one JSON value a line.
    #[arg(long, global = true)]
    json: bool,
    /// Read the passphrase of the secret file from FILE (else from GUILDER_PASSPHRASE, else ask).
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node: its keys, its recovery phrase, its settings.
    Init(init::Args),
    /// Print how the running node does.
    Status(status::Args),
    /// Print the connected peers.
    Peers(peers::Args),
    /// Print the node's identity.
    Id(id::Args),
    /// Put services on sale, or take them off.
    Service(service::Args),
    /// Find out who sells a service.
    Find(find::Args),
    /// Have a service done, pay for it, print the output.
    Hire(hire::Args),
    /// Print or cancel tasks.
    Task(task::Args),
    /// Look after the node's money.
    Wallet(wallet::Args),
    /// Print, write out or check what was signed about a task.
    Audit(audit::Args),
    /// Check signed delegations.
    Ucan(ucan::Args),
    /// See five nodes trade on this machine, with play money.
    Demo(DemoArgs),
    /// Measure this machine.
    Bench(bench::Args),
    /// What the demo's sellers run: text in, summary out.
    #[command(hide = true)]
    DemoWorker,
    /// Print a completion script for your shell.
    Completions(completions::Args),
}

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    /// Where results go.
    pub printer: Printer,
    home: Option<PathBuf>,
    passphrase: PassphraseSource,
}

impl Context {
    /// The node's folder.
    ///
    /// # Errors
    /// If nothing says where it is.
    pub fn home(&self) -> Result<Home, CliError> {
        Ok(Home::locate(self.home.clone(), |name| std::env::var_os(name))?)
    }

    /// The daemon that runs on the node's folder.
    ///
    /// # Errors
    /// If none does.
    pub fn client(&self) -> Result<Client, CliError> {
        Ok(Client::of_home(&self.home()?)?)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context {
        printer: Printer::stdio(cli.global.json),
        home: cli.global.home,
        passphrase: PassphraseSource::of_process(cli.global.passphrase_file),
    };
    let exit = run(cli.command, &context).unwrap_or_else(|error| {
        context.printer.error(&error);
        error.exit
    });
    exit.into()
}

fn run(command: Command, context: &Context) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Peers(args) => peers::run(&args, context),
        Command::Id(args) => id::run(&args, context),
        Command::Service(args) => service::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::Hire(args) => hire::run(&args, context),
        Command::Task(args) => task::run(&args, context),
        Command::Wallet(args) => wallet::run(&args, context),
        Command::Audit(args) => audit::run(&args, context),
        Command::Ucan(args) => ucan::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::DemoWorker => lab::work(),
        Command::Completions(args) => completions::run(&args, context),
    }
}

/// Runs a command that waits for something: on this thread, which is all that a client needs.
fn wait_for(work: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| CliError::io("can't start", &cause))?.block_on(work)
}
