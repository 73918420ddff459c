//! `replay`: a seed again, up to a moment, with its events on standard output.

use std::path::PathBuf;

use clap::Args;
use guilder_sim::{
    play::Watch,
    run::{self, Options, TraceTo},
};

use super::{Verdict, What};

/// The arguments of `replay`.
#[derive(Args)]
pub(crate) struct Replay {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    what: What,
    /// Up to this virtual second.
    #[arg(long, value_name = "SECOND")]
    until: Option<f64>,
    /// Print only events that contain this text: a task's CID, a host's number between spaces, an event's name.
    #[arg(long, value_name = "FILTER")]
    trace: Option<String>,
    /// Write the events to this file instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self) -> Verdict {
        if self.until.is_some_and(|until| !until.is_finite() || until < 0.0) {
            return Err("--until is not a moment".into());
        }
        let trace = self.out.map_or(TraceTo::Stdout, TraceTo::File);
        let watch = Watch { until_s: self.until, ..Watch::default() };
        let sabotage = self.what.sabotage;
        let options = Options { trace: Some(trace), filter: self.trace, watch, sabotage, ..Options::default() };
        let results = run::run(self.what.load()?, self.seed, options)?;
        let Some(results) = results else { return Ok(true) };
        for violation in &results.violations {
            eprintln!("VIOLATION of {} at {:.3} s: {}", violation.rule, violation.at_ms as f64 / 1e3, violation.what);
        }
        Ok(results.violations.is_empty())
    }
}
