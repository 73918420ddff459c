//! `guilder-sim`: the simulator's command line.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program whose output is its purpose

use std::{
    io,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use clap::{Args, Parser, Subcommand};
use guilder_sim::discovery::{self, Options, Outcome};

/// Runs many real Guilder nodes in one process, in virtual time, from one seed.
#[derive(Parser)]
#[command(name = "guilder-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Run the discovery scenario: nodes offer services and find each other's.
    Run {
        #[command(flatten)]
        options: RunOptions,
        /// Write every event of every node to this file.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run one seed twice, in two processes, and compare the traces.
    Check {
        #[command(flatten)]
        options: RunOptions,
    },
}

#[derive(Args)]
struct RunOptions {
    /// Everything random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// How long, in virtual seconds.
    #[arg(long, default_value_t = 120)]
    secs: u64,
    /// Split the network for a while and crash nodes.
    #[arg(long)]
    faults: bool,
}

impl From<&RunOptions> for Options {
    fn from(options: &RunOptions) -> Self {
        let RunOptions { seed, nodes, secs, faults } = *options;
        Self { seed, nodes, secs, faults }
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        What::Run { options, trace, json } => run(&options, trace, json),
        What::Check { options } => check(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &RunOptions, trace: Option<PathBuf>, json: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let outcome = discovery::run(options.into(), trace.as_deref())?;
    if json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        print_outcome(&outcome);
    }
    Ok(outcome.found > 0)
}

fn print_outcome(outcome: &Outcome) {
    let median = outcome.search_ms.get(outcome.search_ms.len() / 2).copied().unwrap_or(0);
    println!("nodes      {}, seed {}", outcome.nodes, outcome.seed);
    println!("time       {:.0} virtual seconds, {:.1}x real time", outcome.virtual_secs, outcome.speed);
    println!("searches   {} of {} found, median {median} ms", outcome.found, outcome.searches);
    println!("traffic    {:.1} MB", outcome.bytes as f64 / 1e6);
    println!("trace      {} events, {}", outcome.events, outcome.hash);
}

/// Two processes, because that is what the claim is about: the same seed, anywhere, any time.
fn check(options: &RunOptions) -> Result<bool, Box<dyn std::error::Error>> {
    let runs = [once(options)?, once(options)?];
    let [first, second] = &runs;
    let field = |outcome: &serde_json::Value, name| outcome.get(name).cloned().unwrap_or_default();
    println!("seed {}, {} nodes, {} virtual seconds", options.seed, options.nodes, options.secs);
    for outcome in &runs {
        println!("{} events, {}", field(outcome, "events"), field(outcome, "hash"));
    }
    let same = field(first, "hash") == field(second, "hash") && !field(first, "hash").is_null();
    println!("{}", if same { "the same" } else { "NOT the same: the node or the simulator hangs on something else" });
    Ok(same)
}

fn once(options: &RunOptions) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--json"]);
    command.args([format!("--seed={}", options.seed), format!("--nodes={}", options.nodes)]);
    command.arg(format!("--secs={}", options.secs));
    if options.faults {
        command.arg("--faults");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("a run failed: {}", output.status)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
