//! `run`: one scenario, one seed.

use std::{
    fs::{self, File},
    io::{BufWriter, IsTerminal},
    path::PathBuf,
};

use clap::Args;
use guilder_sim::{
    bare::Operations,
    play::Watch,
    results::{Results, Sample, TaskOutcome},
    run::{self, Options, TraceTo},
    scenario::Scenario,
};

use super::{Verdict, What, shorten};

/// The arguments of `run`.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    what: What,
    /// Everything random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the summary and the violations as JSON.
    #[arg(long)]
    json: bool,
    /// Write the results into this folder, as JSON lines, for `report` and for a notebook.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write every event of every node to this file; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Look closely every so many seconds, and end with the first look that finds something.
    #[arg(long, value_name = "SECONDS", hide = true)]
    look_every: Option<u64>,
    /// Not before this second.
    #[arg(long, value_name = "SECOND", default_value_t = 0.0, hide = true)]
    look_from: f64,
}

impl Run {
    pub(super) fn run(self) -> Verdict {
        let scenario = self.what.load()?;
        let to_stdout = self.trace.as_ref().is_some_and(|path| path.as_os_str() == "-");
        let trace = self.trace.map(|path| if to_stdout { TraceTo::Stdout } else { TraceTo::File(path) });
        let progress = std::io::stderr().is_terminal();
        let closely = |every_s| Watch { every_s, from_s: self.look_from, closely: true, until_s: None };
        let watch = self.look_every.map_or_else(Watch::default, closely);
        let sabotage = self.what.sabotage;
        let options = Options { trace, progress, watch, sabotage, ..Options::default() };
        let results = run::run(scenario.clone(), self.seed, options)?.ok_or("the run ended before its end")?;
        if progress {
            eprint!("\r{:80}\r", "");
        }
        if let Some(folder) = &self.out {
            write(&results, &scenario, folder)?;
        }
        if self.json || to_stdout {
            println!("{}", summary_json(&results, &scenario)?);
        } else {
            print(&results);
            if !results.violations.is_empty() {
                println!();
                shorten::tell(shorten::shortest(&self.what, self.seed, &results.broken())?, &self.what, self.seed);
            }
        }
        Ok(results.violations.is_empty())
    }
}

fn write(results: &Results, scenario: &Scenario, folder: &PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("scenario.toml"), toml::to_string(scenario)?)?;
    results.write(BufWriter::new(File::create(folder.join("results.jsonl"))?))?;
    Ok(())
}

/// The summary with counts and violations, on one line: what `sweep`, `check` and `bench` read of their children.
fn summary_json(results: &Results, scenario: &Scenario) -> serde_json::Result<String> {
    let mut summary = serde_json::to_value(&results.summary)?;
    if let Some(fields) = summary.as_object_mut() {
        for (name, outcome) in OUTCOMES {
            fields.insert(name.into(), results.count(outcome).into());
        }
        fields.insert("tasks".into(), results.tasks.len().into());
        fields.insert("searches".into(), results.searches.len().into());
        let found = results.searches.iter().filter(|search| search.found_ms.is_some()).count();
        fields.insert("found".into(), found.into());
        fields.insert("violations".into(), serde_json::to_value(&results.violations)?);
        fields.insert("cut_short".into(), results.cut_short.into());
        fields.insert("steady".into(), serde_json::to_value(steady(results, scenario))?);
    }
    serde_json::to_string(&summary)
}

const OUTCOMES: [(&str, TaskOutcome); 4] = [
    ("done", TaskOutcome::Done),
    ("failed", TaskOutcome::Failed),
    ("lost", TaskOutcome::Lost),
    ("open", TaskOutcome::Open),
];

/// What starting the nodes doesn't count in: from the warm-up's end to the last sample.
#[derive(serde::Serialize)]
struct Steady {
    /// Virtual seconds per real second.
    speed: f64,
    /// Virtual seconds per second of processor time.
    speed_cpu: f64,
    events_per_cpu_sec: f64,
    cpu_secs: f64,
    /// Cryptography that was done.
    operations: Operations,
    resident: u64,
}

fn steady(results: &Results, scenario: &Scenario) -> Option<Steady> {
    let warm = |sample: &&Sample| sample.at_ms >= scenario.warmup_s * 1_000;
    let (first, last) = (results.samples.iter().find(warm)?, results.samples.last()?);
    let passed = (last.at_ms - first.at_ms) as f64 / 1e3;
    let cpu = last.cpu_secs - first.cpu_secs;
    Some(Steady {
        speed: passed / (last.wall_secs - first.wall_secs),
        speed_cpu: passed / cpu,
        events_per_cpu_sec: (last.fabric_events - first.fabric_events) as f64 / cpu,
        cpu_secs: cpu,
        operations: last.operations - first.operations,
        resident: last.resident,
    })
}

fn print(results: &Results) {
    let summary = &results.summary;
    println!("scenario   {}, seed {}, {} nodes", summary.scenario, summary.seed, summary.nodes);
    println!(
        "time       {:.0} virtual seconds in {:.1} s, {:.1}x real time",
        summary.virtual_secs, summary.wall_secs, summary.speed
    );
    if !results.tasks.is_empty() {
        let count = |outcome| results.count(outcome);
        let (done, failed) = (count(TaskOutcome::Done), count(TaskOutcome::Failed));
        let (lost, open) = (count(TaskOutcome::Lost), count(TaskOutcome::Open));
        println!("tasks      {}: {done} done, {failed} failed, {lost} lost, {open} open", results.tasks.len());
        let done = results.tasks.iter().filter(|task| task.outcome == TaskOutcome::Done);
        let mut took: Vec<u64> = done.filter_map(|task| task.total_ms).collect();
        took.sort_unstable();
        println!("latency    median {} ms, 95 % within {} ms", at(&took, 0.5), at(&took, 0.95));
    }
    if !results.searches.is_empty() {
        let mut took: Vec<u64> = results.searches.iter().filter_map(|search| search.found_ms).collect();
        took.sort_unstable();
        println!("searches   {} of {} found, median {} ms", took.len(), results.searches.len(), at(&took, 0.5));
    }
    if summary.tokens_given > 0 {
        println!("tokens     {} given, {} received", summary.tokens_given, summary.tokens_taken);
    }
    println!("traffic    {:.1} MB; memory {:.0} MB", summary.bytes as f64 / 1e6, summary.peak_resident as f64 / 1e6);
    println!("trace      {} events, {}", summary.events, summary.hash);
    for violation in &results.violations {
        let at_s = violation.at_ms as f64 / 1e3;
        println!("\nVIOLATION of {} at {at_s:.3} s: {}", violation.rule, violation.what);
        violation.last_events.iter().for_each(|event| println!("    {event}"));
    }
}

/// The value below which a part of sorted values lies.
fn at(sorted: &[u64], part: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part) as usize).copied().unwrap_or(0)
}
