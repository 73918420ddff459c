//! `explore`: one network is started and warmed up once; from there on many futures are run, each in a copy of the process.

use std::io::Write;

use clap::Args;
use guilder_sim::{
    results::{Results, TaskOutcome},
    run::{self, Futures, Options},
    world::WorldError,
};

use super::{Verdict, What};

/// The arguments of `explore`.
#[derive(Args)]
pub(crate) struct Explore {
    #[command(flatten)]
    what: What,
    /// The past: everything until the futures part follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many futures.
    #[arg(long, default_value_t = 8)]
    futures: u32,
    /// The number of the first; with `--futures 1`, that one alone is run again.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// When they part, in virtual seconds; at the end of the warm-up, if not given.
    #[arg(long, value_name = "SECOND")]
    at: Option<f64>,
    /// How many at once.
    #[arg(long, default_value_t = 2)]
    jobs: u32,
}

impl Explore {
    pub(super) fn run(self) -> Verdict {
        let scenario = self.what.load()?;
        let at_s = self.at.unwrap_or(scenario.warmup_s as f64);
        if !(0.0..scenario.duration_s as f64).contains(&at_s) {
            return Err("--at is not within the run".into());
        }
        println!("{}, seed {}; futures part at {at_s} s", self.what.arguments().join(" "), self.seed);
        println!("{:>6} {:>6} {:>6} {:>6} {:>10}  trace", "future", "tasks", "done", "failed", "last fault");
        let futures = Futures { at_s, first: self.first, count: self.futures, jobs: self.jobs, tell };
        let options = Options { futures: Some(futures), ..Options::default() };
        match run::run(scenario, self.seed, options) {
            Ok(_) => {
                println!("{} futures, no violation", self.futures);
                Ok(true)
            }
            Err(error) => {
                println!("{error}\none alone: the same command with --futures 1 --first NUMBER --at {at_s}");
                Ok(false)
            }
        }
    }
}

/// A child's line, in one write, so that those of several don't mix.
fn tell(number: u32, results: Result<&Results, &WorldError>) -> bool {
    let text = match results {
        Ok(results) => line(number, results),
        Err(error) => format!("{number:>6} {error}\n"),
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.is_ok() && results.is_ok_and(|results| results.violations.is_empty())
}

fn line(number: u32, results: &Results) -> String {
    let (tasks, hash) = (results.tasks.len(), &results.summary.hash);
    let (done, failed) = (results.count(TaskOutcome::Done), results.count(TaskOutcome::Failed));
    let (last, hash) = (results.summary.last_fault_s, hash.get(..12).unwrap_or(hash));
    let mut text = format!("{number:>6} {tasks:>6} {done:>6} {failed:>6} {last:>8.0} s  {hash}\n");
    for violation in &results.violations {
        let at_s = violation.at_ms as f64 / 1e3;
        text += &format!("       VIOLATION of {} at {at_s:.3} s: {}\n", violation.rule, violation.what);
    }
    text
}
