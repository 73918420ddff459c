//! `bench`: speed and memory at several sizes, each in a process of its own; and how many times the bare cryptography of the
//! same run that is (`x bare`), which depends little on the machine.

use clap::Args;
use guilder_sim::bare::{Costs, Operations};

use super::{Verdict, What, child, child::Ended};

/// The arguments of `bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// What is run: scenarios' files or shipped names.
    #[arg(long, value_delimiter = ',', default_values = ["scaling", "idle"])]
    scenario: Vec<String>,
    /// The sizes, in nodes.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 1_000])]
    nodes: Vec<u32>,
    /// How many virtual seconds, instead of what the scenario says.
    #[arg(long, value_name = "SECONDS")]
    secs: Option<u64>,
    /// Everything random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Bench {
    pub(super) fn run(self) -> Verdict {
        let mut well = true;
        let costs = Costs::measure()?;
        println!("{costs}");
        for scenario in &self.scenario {
            println!("\n{scenario}, seed {}; speed and events from the end of the warm-up on", self.seed);
            println!(
                "| nodes | tasks done | virtual s per wall s | per CPU s | x bare | MB per node | GB | events per CPU s | wall s | CPU s |"
            );
            println!(
                "|------:|-----------:|---------------------:|----------:|-------:|------------:|---:|-----------------:|-------:|------:|"
            );
            for nodes in &self.nodes {
                well &= self.measure(scenario, *nodes, &costs)?;
            }
        }
        Ok(well)
    }

    fn measure(&self, scenario: &str, nodes: u32, costs: &Costs) -> Verdict {
        let what = What { scenario: scenario.to_owned(), nodes: Some(nodes), secs: self.secs, sabotage: None };
        what.load()?;
        let output = child::command(&what, self.seed)?.arg("--json").output()?;
        match child::ended(&output) {
            Ended::Ran(summary) => {
                print(nodes, &summary, costs);
                let broken = child::violations(&summary);
                broken.iter().for_each(|violation| println!("violation: {violation}"));
                Ok(broken.is_empty())
            }
            Ended::Crashed(said) => {
                println!("| {nodes} | crashed: {said}");
                Ok(false)
            }
        }
    }
}

fn print(nodes: u32, summary: &serde_json::Value, costs: &Costs) {
    let number = |name: &str| child::number(summary, name);
    let operations = summary.pointer("/steady/operations").cloned().unwrap_or_default();
    let operations: Operations = serde_json::from_value(operations).unwrap_or_default();
    let memory = number("/peak_resident");
    println!(
        "| {nodes:>5} | {:>10} | {:>20.1} | {:>9.1} | {:>6.1} | {:>11.2} | {:>2.1} | {:>16.0} | {:>6.0} | {:>5.0} |",
        number("/done"),
        number("/steady/speed"),
        number("/steady/speed_cpu"),
        number("/steady/cpu_secs") / costs.secs(&operations),
        memory / f64::from(nodes) / 1e6,
        memory / 1e9,
        number("/steady/events_per_cpu_sec"),
        number("/wall_secs"),
        number("/cpu_secs"),
    );
}
