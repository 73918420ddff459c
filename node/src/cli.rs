//! The command line: one file per command, one printer, one way to fail.
//!
//! ```text
//! arguments (clap) ── command ──> api::client ── loopback HTTP ──> the daemon on the same home
//!                        │
//!                        └──> printer: results on standard output, progress and errors on standard error
//! ```
//!
//! `init`, `id`, `alias`, `passphrase`, `service-unit`, `service init`, `service test`, `mint resume`, `audit verify`, `ucan verify`, `duty check`,
//! `completions`, `restore`, `demo` and `bench` need no daemon; `up` is one, and `doctor` and `backup` speak to it if it runs.

mod alias;
mod approvals;
mod audit;
mod backup;
mod bench;
mod brief;
mod caller;
mod completions;
mod demo;
mod doctor;
mod duty;
mod earnings;
mod find;
mod forget;
mod grant;
mod grants;
mod hire;
mod hook;
mod id;
mod init;
mod invite;
mod join;
mod man;
mod mcp;
mod memory;
mod mint;
mod output;
mod passphrase;
mod peers;
mod prompt;
mod recall;
mod remember;
mod restore;
mod revoke;
mod run;
mod service;
mod service_unit;
mod status;
mod swarm;
mod task;
mod ucan;
mod up;
mod wallet;
mod watch;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::passphrase::PassphraseSource;
use crate::{
    api::{client::Client, types::DescribedEvent},
    console::{Aliases, CliError, Exit, Look, Printer},
    keys::Home,
    lab::{self, demo::DemoArgs},
    panics,
};

const EXAMPLES: &str = "\
\x1b[1;4mFirst steps:\x1b[0m
  guilder demo                             see it all happen on this machine, with play money
  guilder init                             make a node: keys, recovery phrase, settings
  guilder up                               run it; the commands below talk to it
  guilder up --join INVITATION             both at once, in the swarm of whoever invites
  guilder find text.summarize              who sells this?
  guilder hire text.summarize --input notes.txt --max-price 20

\x1b[1;4mExit codes:\x1b[0m
  0 done    1 the answer is no (invalid, failed)    2 wrong use    3 a peer's fault    4 can't trade
  5 the mint's fault    6 the machine or the network    7 no daemon runs
  8 a bug in guilder";

/// Buys and sells work between software agents, peer to peer, for ecash.
#[derive(Debug, Parser)]
#[command(name = "guilder", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
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
    /// Speak to the node as this caller, with its rights and its budget: see `guilder caller add`.
    #[arg(long = "as", global = true, value_name = "NAME", env = "GUILDER_AS", hide_env_values = true)]
    caller: Option<String>,
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
    Init(init::Args),
    Up(up::Args),
    Invite(invite::Args),
    Status(status::Args),
    Doctor(doctor::Args),
    Watch(watch::Args),
    Peers(peers::Args),
    Swarm(swarm::Args),
    Id(id::Args),
    Passphrase(passphrase::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    ServiceUnit(service_unit::Args),
    Service(service::Args),
    Earnings(earnings::Args),
    Find(find::Args),
    Hire(Box<hire::Args>),
    Remember(Box<remember::Args>),
    Recall(Box<recall::Args>),
    Forget(forget::Args),
    Brief(brief::Args),
    Memory(memory::Args),
    Grant(grant::Args),
    Grants(grants::Args),
    Revoke(revoke::Args),
    Caller(caller::Args),
    Approvals(approvals::Args),
    Task(task::Args),
    Duty(duty::Args),
    Run(run::Args),
    Hook(hook::Args),
    Wallet(wallet::Args),
    Mint(mint::Args),
    Mcp(mcp::Args),
    Alias(alias::Args),
    Audit(audit::Args),
    Ucan(ucan::Args),
    Demo(DemoArgs),
    Bench(bench::Args),
    /// What the demo's sellers run: text in, text out.
    #[command(hide = true)]
    DemoWorker {
        #[arg(default_value = "summarize")]
        work: lab::Work,
    },
    Completions(completions::Args),
    Man(man::Args),
}

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    /// Where results go.
    pub printer: Printer,
    home: Option<PathBuf>,
    /// As whom the node is spoken to, if not as its owner.
    caller: Option<String>,
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

    /// The folder that was named for the node, if one was.
    pub fn named_home(&self) -> Option<Home> {
        self.home.clone().map(|home| Home::at(std::path::absolute(&home).unwrap_or(home)))
    }

    /// As whom the node is spoken to, if not as its owner.
    pub fn named_caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The daemon that runs on the node's folder.
    ///
    /// # Errors
    /// If none does.
    pub fn client(&self) -> Result<Client, CliError> {
        // A program that works on a task calls the node that it works for, unless it names a home or who it is.
        let is_named = self.home.is_some() || self.caller.is_some();
        if let Some(client) = (!is_named).then(Client::of_task).flatten() {
            return Ok(client?);
        }
        let home = self.home()?;
        let client = Client::of_home(&home)?;
        Ok(match &self.caller {
            Some(name) => client.speaking_as(&home, name)?,
            None => client,
        })
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args = match with_aliases(std::env::args_os().collect()) {
        Ok(args) => args,
        Err(error) => {
            Printer::stdio(wants_json()).error(&error);
            return error.exit.into();
        }
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    panics::note_all();
    // Where the environment names the home, the next command finds it there too.
    let named =
        cli.global.home.clone().filter(|home| std::env::var_os("GUILDER_HOME").as_deref() != Some(home.as_os_str()));
    let context = Context {
        printer: Printer::stdio(cli.global.json).on_home(named),
        home: cli.global.home,
        caller: cli.global.caller,
        passphrase: PassphraseSource::of_process(cli.global.passphrase_file),
    };
    let done = panics::caught(|| run(cli.command, &context)).unwrap_or_else(|what| Err(CliError::defect(&what)));
    let exit = done.unwrap_or_else(|error| {
        context.printer.error(&error);
        error.exit
    });
    exit.into()
}

/// The command line with what the aliases in it stand for, which lie in the home that it names. From here on what is shown has them too.
fn with_aliases(args: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    let (mut home, mut command) = (None, None);
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next().filter(|arg| *arg != "--") {
        match arg.to_str() {
            Some("--home") => home = rest.next().map(PathBuf::from),
            Some("--passphrase-file" | "--as") => _ = rest.next(),
            Some(text) if text.starts_with("--home=") => home = text.strip_prefix("--home=").map(PathBuf::from),
            Some(text) if text.starts_with('-') => {}
            _ => command = command.or(Some(arg)),
        }
    }
    let home = Home::locate(home, |name| std::env::var_os(name)).ok();
    // The command that mends them goes by their names.
    let is_alias = command.is_some_and(|command| command == "alias");
    let aliases = home.map_or_else(|| Ok(Aliases::default()), |home| Aliases::load(&home.aliases()));
    let expanded = match &aliases {
        _ if is_alias => Ok(args),
        Ok(aliases) => aliases.expand(args),
        // What can't be read is in nobody's way who names no alias.
        Err(_) => Aliases::default().expand(args),
    };
    match (expanded, aliases) {
        (Ok(args), aliases) => {
            let aliases = aliases.unwrap_or_default();
            let skipped = aliases.skipped().map(|(name, why)| format!("aliases.toml: {name} is skipped: {why}"));
            let skipped: Vec<_> = skipped.collect();
            Look::of_stdout(aliases).begin();
            skipped.iter().for_each(|line| Printer::stdio(wants_json()).note(line));
            Ok(args)
        }
        (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error.into()),
    }
}

fn wants_json() -> bool {
    std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// What clap stopped at: help and version as they are, a wrong argument with its usage, or with `--json` as any error.
fn misused(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as MissingSubcommand;
    if !error.use_stderr() || error.kind() == MissingSubcommand || !wants_json() {
        // Nobody is left to tell if the terminal is gone.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
    }
    let text = error.to_string();
    let what = text.split("\n\nUsage:").next().and_then(|text| text.split("\n\nFor more").next()).unwrap_or_default();
    let what = what.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let error = CliError::usage(what, "see the command's --help");
    Printer::stdio(true).error(&error);
    error.exit.into()
}

fn run(command: Command, context: &Context) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Up(args) => up::run(&args, context),
        Command::Invite(args) => invite::run(&args, context),
        Command::Watch(args) => watch::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Peers(args) => peers::run(&args, context),
        Command::Swarm(args) => swarm::run(&args, context),
        Command::Id(args) => id::run(&args, context),
        Command::Passphrase(args) => passphrase::run(&args, context),
        Command::Backup(args) => backup::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::ServiceUnit(args) => service_unit::run(&args, context),
        Command::Service(args) => service::run(&args, context),
        Command::Earnings(args) => earnings::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::Hire(args) => hire::run(&args, context),
        Command::Remember(args) => remember::run(*args, context),
        Command::Recall(args) => recall::run(*args, context),
        Command::Forget(args) => forget::run(args, context),
        Command::Brief(args) => brief::run(&args, context),
        Command::Memory(args) => memory::run(args, context),
        Command::Grant(args) => grant::run(&args, context),
        Command::Grants(args) => grants::run(&args, context),
        Command::Revoke(args) => revoke::run(&args, context),
        Command::Caller(args) => caller::run(&args, context),
        Command::Approvals(args) => approvals::run(&args, context),
        Command::Task(args) => task::run(&args, context),
        Command::Duty(args) => duty::run(&args, context),
        Command::Run(args) => run::run(&args, context),
        Command::Hook(args) => hook::run(&args, context),
        Command::Wallet(args) => wallet::run(&args, context),
        Command::Mint(args) => mint::run(&args, context),
        Command::Mcp(args) => mcp::run(&args, context),
        Command::Alias(args) => alias::run(&args, context),
        Command::Audit(args) => audit::run(&args, context),
        Command::Ucan(args) => ucan::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::DemoWorker { work } => lab::work(work),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
    }
}

/// Runs a command that waits for something: on this thread, which is all that a client needs.
fn wait_for(work: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::io("can't start", &cause))?;
    let done = runtime.block_on(work);
    // A thread that reads standard input waits for it, and dropping the runtime would wait for that thread.
    runtime.shutdown_background();
    done
}

/// An event for people, with peers by the names that the operator gave them.
fn in_words(said: &DescribedEvent) -> String {
    let aliases = &Look::now().aliases;
    let event = &said.event.event;
    // What this version doesn't know, or knows otherwise, the node says for it.
    if aliases.is_empty() || event.say() != said.say {
        return said.say.clone();
    }
    event.say_with(&|peer| aliases.name(peer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;
    use crate::console::command::ON_A_HOME;

    /// What a person reads, of every command, as it stands. Read the difference like one in the README.
    #[test]
    fn the_help_of_every_command() {
        let mut root = Cli::command().term_width(100);
        root.build();
        let mut text = String::new();
        let mut waiting = vec![root];
        while let Some(mut command) = waiting.pop() {
            let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
            waiting.extend(subcommands.cloned().collect::<Vec<_>>().into_iter().rev());
            let help = command.render_long_help().to_string();
            // What every command has is shown once.
            let own = match (help.find("\nOptions for every command:"), help.find("else ask)\n")) {
                (Some(from), Some(to)) if !text.is_empty() => format!("{}{}", &help[..from], &help[to + 10..]),
                _ => help,
            };
            text += &format!("$ {} --help\n{}\n\n", command.get_bin_name().unwrap_or("guilder"), own.trim_end());
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Commands that need no home.
    const ON_NONE: [&str; 6] = ["audit verify", "ucan", "demo", "bench", "completions", "man"];

    #[test]
    fn of_each_command_is_said_whether_hints_name_the_home_in_it() {
        let known = |name: &str| ON_A_HOME.contains(&name) || ON_NONE.contains(&name);
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let each_of_its = || command.get_subcommands().all(|sub| known(&format!("{name} {}", sub.get_name())));
            assert!(known(name) || (command.has_subcommands() && each_of_its()), "guilder {name}: here or there?");
        }
    }

    /// The string literals of a source file, comments left out.
    fn literals(source: &str) -> Vec<String> {
        let (mut found, mut rest) = (Vec::new(), source);
        while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
            let (before, from) = rest.split_at(at);
            let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            rest = if from.starts_with("//") {
                from.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(body) = from.strip_prefix('"') {
                let mut escaped = false;
                let end = body.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                let end = end.expect("a string ends");
                found.push(unescaped(&body[..end]));
                &body[end + 1..]
            } else if let Some(body) = from.strip_prefix("r\"").filter(|_| !in_word) {
                let end = body.find('"').expect("a raw string ends");
                found.push(body[..end].to_owned());
                &body[end + 1..]
            } else if let Some(body) = from.strip_prefix("r#\"").filter(|_| !in_word) {
                let end = body.find("\"#").expect("a raw string ends");
                found.push(body[..end].to_owned());
                &body[end + 2..]
            } else if from.starts_with("'\\") {
                // A character with a backslash; what isn't one is a lifetime.
                from.get(3..).unwrap_or_default().trim_start_matches(|c| c != '\'').get(1..).unwrap_or_default()
            } else if let Some(rest) = from.strip_prefix("'\"'") {
                rest
            } else {
                &from[1..]
            };
        }
        found
    }

    fn unescaped(body: &str) -> String {
        let mut lines = body.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |text, line| text + line.trim_start()).replace("\\n", "\n").replace("\\\"", "\"")
    }

    /// Each command in a text: in a sentence it stands in backticks, alone at the end of its line.
    fn commands(text: &str) -> Vec<String> {
        let names: Vec<_> = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let mut found = Vec::new();
        for (at, _) in text.match_indices("guilder ") {
            let (before, after) = text.split_at(at);
            let is_command = names.iter().any(|name| {
                let after = after["guilder ".len()..].strip_prefix(name.as_str());
                after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
            });
            if !is_command || before.ends_with(|c: char| c.is_alphanumeric() || "-_./@>".contains(c)) {
                continue;
            }
            let line = after.lines().next().unwrap_or_default();
            let end = if before.ends_with('`') { line.find('`').expect("a backtick ends") } else { line.len() };
            found.push(line[..end].to_owned());
        }
        found
    }

    /// A command with something in place of each placeholder: `{…}`, and words in capitals.
    fn filled(command: &str) -> String {
        let mut filled = String::new();
        let mut parts = command.split('{');
        filled += parts.next().unwrap_or_default();
        for part in parts {
            let (_, rest) = part.split_once('}').expect("a placeholder ends");
            filled += match &filled {
                before if before.ends_with("mints add ") => "https://mint.example",
                before if before.ends_with("wallet fund ") => "7",
                _ => "4xw2kq",
            };
            filled += rest;
        }
        let peer = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
        let word = |word: &str| match word {
            "AMOUNT" | "N" => "7".to_owned(),
            "URL" => "https://mint.example".to_owned(),
            "PEER" => peer.to_owned(),
            "SERVICE" | "NAME" => "text.count".to_owned(),
            "ADDRESS" => format!("/ip4/192.0.2.7/tcp/4848/p2p/{peer}"),
            other => other.to_owned(),
        };
        filled.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    fn is_understood(command: &str) -> Result<(), String> {
        match Cli::try_parse_from(filled(command).split_whitespace()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => Ok(()),
            Err(error) => Err(format!("{command}: {error}")),
        }
    }

    #[test]
    fn every_command_in_what_people_read_is_one_that_the_command_line_understands() {
        let mut waiting = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let (mut wrong, mut count) = (Vec::new(), 0);
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let name = path.display().to_string();
            if !name.ends_with(".rs") || name.contains("/tests") {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            // Examples have their explanations beside them, and the help's snapshot holds them; tests have commands that are none.
            let source = source.split("\n#[cfg(test)]").next().unwrap_or_default();
            for text in
                literals(source).iter().filter(|text| !text.contains("Examples:") && !text.contains("First steps:"))
            {
                for command in commands(text) {
                    count += 1;
                    wrong.extend(is_understood(&command).err().map(|why| format!("{name}: {why}")));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(count > 60, "{count} commands were found");
    }

    #[test]
    fn a_command_that_is_none_or_runs_into_its_sentence_is_found() {
        let found =
            |text: &str| commands(text).iter().map(|command| is_understood(command).is_ok()).collect::<Vec<_>>();
        assert_eq!(
            found("see `guilder task list`, then `guilder task show ID`; more: guilder peers"),
            [true, true, true]
        );
        assert_eq!(found("`guilder task lost`, guilder task list shows them, guilder is a coin"), [false, false]);
        let source = "let x = \"a \\\n   b \\\"c\\\"\"; // \"no\"\nf::<'a>('\"', '\\'', r#\"d\"#);";
        assert_eq!(literals(source), ["a b \"c\"", "d"]);
    }
}
