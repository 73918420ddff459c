//! The commands, a file each. Each says whether all is well; an error is something else than a finding.

mod bench;
mod check;
mod child;
mod explore;
mod replay;
mod report;
mod run;
mod shorten;
mod sweep;

use std::error::Error;

use clap::{Args, Subcommand, ValueEnum as _};
use guilder_sim::{
    play::Sabotage,
    scenario::{Scenario, shipped},
};

/// Whether all is well.
type Verdict = Result<bool, Box<dyn Error>>;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a scenario and say what came of it.
    Run(run::Run),
    /// Run one seed twice, in two processes, and compare every event.
    Check(check::Check),
    /// Run many seeds, a process each.
    Sweep(sweep::Sweep),
    /// Run a seed again up to a moment, and print what happened.
    Replay(replay::Replay),
    /// Draw what `run --out` wrote: one HTML file, which opens offline.
    Report(report::Report),
    /// Measure speed and memory at several sizes.
    Bench(bench::Bench),
    /// Run many futures of one past: one warm network, forked.
    Explore(explore::Explore),
    /// List the scenarios that come with the program.
    Scenarios,
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Verdict {
        match self {
            Self::Run(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Sweep(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Report(command) => command.run(),
            Self::Bench(command) => command.run(),
            Self::Explore(command) => command.run(),
            Self::Scenarios => scenarios(),
        }
    }
}

/// Which scenario, in which size.
#[derive(Args, Clone)]
struct What {
    /// A scenario's file, or the name of one that comes with the program.
    scenario: String,
    /// How many nodes, instead of what the scenario says; roles and adversaries keep their proportions.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: Option<u32>,
    /// How many virtual seconds, instead of what the scenario says.
    #[arg(long, value_name = "SECONDS")]
    secs: Option<u64>,
    /// Break this part on purpose, to see that it is found.
    #[arg(long, value_name = "PART", hide = true)]
    sabotage: Option<Sabotage>,
}

impl What {
    fn load(&self) -> Result<Scenario, Box<dyn Error>> {
        let mut scenario = shipped::load(&self.scenario)?;
        if let Some(nodes) = self.nodes {
            scenario = scenario.with_nodes(nodes);
        }
        scenario.duration_s = self.secs.unwrap_or(scenario.duration_s);
        scenario.check()?;
        Ok(scenario)
    }

    /// The same as arguments, for a child process or for a person to type.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.scenario.clone()];
        arguments.extend(self.nodes.map(|nodes| format!("--nodes={nodes}")));
        arguments.extend(self.secs.map(|secs| format!("--secs={secs}")));
        let sabotage = self.sabotage.and_then(|part| Some(part.to_possible_value()?.get_name().to_owned()));
        arguments.extend(sabotage.map(|part| format!("--sabotage={part}")));
        arguments
    }
}

fn scenarios() -> Verdict {
    for (name, _) in shipped::SHIPPED {
        let scenario = shipped::load(name)?;
        println!("{name:18} {:>4} nodes, {:>4} s  {}", scenario.population.nodes, scenario.duration_s, scenario.about);
    }
    Ok(true)
}
