//! `sweep`: many seeds, a process each, and a table of what came of them.

use std::{
    error::Error,
    io::{self, IsTerminal},
    process::{Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Args;

use super::{Verdict, What, child, child::Ended, shorten};

/// The arguments of `sweep`.
#[derive(Args)]
pub(crate) struct Sweep {
    #[command(flatten)]
    what: What,
    /// Seeds from A up to and with B.
    #[arg(long, value_name = "A..B", value_parser = range, required_unless_present = "fresh")]
    seeds: Option<Seeds>,
    /// So many seeds that nobody has seen before, instead.
    #[arg(long, value_name = "COUNT", conflicts_with = "seeds")]
    fresh: Option<u32>,
    /// How many at once; as many as there are processors, if not given.
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Clone, Copy)]
struct Seeds {
    from: u64,
    to: u64,
}

fn range(text: &str) -> Result<Seeds, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| {
        let to = to.strip_prefix('=').unwrap_or(to);
        Some(Seeds { from: from.parse().ok()?, to: to.parse().ok()? })
    });
    match parsed {
        Some(Seeds { from, to }) if from > to => Err("the range is empty".into()),
        Some(seeds) => Ok(seeds),
        None => Err("not a range of seeds like 1..20".into()),
    }
}

impl Sweep {
    pub(super) fn run(self) -> Verdict {
        self.what.load()?;
        let seeds: Vec<u64> = match (self.seeds, self.fresh) {
            (Some(Seeds { from, to }), _) => (from..=to).collect(),
            (None, count) => (0..count.unwrap_or(1)).map(|_| fresh()).collect(),
        };
        let jobs = self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
        println!(
            "{:>20} {:>6} {:>6} {:>6} {:>5} {:>5}  {:>6}  trace",
            "seed", "tasks", "done", "failed", "lost", "open", "speed"
        );
        let bad = sweep(&self.what, &seeds, jobs.max(1))?;
        if bad.is_empty() {
            println!("{} seeds, no violation", seeds.len());
            return Ok(true);
        }
        println!("\n{} of {} seeds with violations:", bad.len(), seeds.len());
        for (nth, Bad { seed, what, broken }) in bad.iter().enumerate() {
            println!("\n  {what}");
            let broken = if nth < SHORTENED { broken.as_slice() } else { &[] };
            shorten::tell(shorten::shortest(&self.what, *seed, broken)?, &self.what, *seed);
        }
        Ok(false)
    }
}

/// A seed that nobody has seen before: short enough to be typed again.
fn fresh() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The hasher's keys are the system's entropy.
    std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000_000
}

/// Seeds whose shortest prefix is looked for; it takes up to two runs each.
const SHORTENED: usize = 3;

struct Bad {
    seed: u64,
    what: String,
    /// The rules; none if it crashed.
    broken: Vec<String>,
}

/// Runs all, so many at once; prints each as it ends.
fn sweep(what: &What, seeds: &[u64], jobs: usize) -> Result<Vec<Bad>, Box<dyn Error>> {
    let next = AtomicUsize::new(0);
    let (bad, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match once(what, *seed) {
                        Ok(output) => bad.lock().unwrap_or_else(PoisonError::into_inner).extend(say(*seed, &output)),
                        Err(error) => *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error.into());
    }
    let mut bad: Vec<Bad> = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
    bad.sort_by_key(|bad| bad.seed);
    Ok(bad)
}

fn once(what: &What, seed: u64) -> io::Result<Output> {
    if io::stderr().is_terminal() {
        eprint!("\r{seed:>20} …\r");
    }
    child::command(what, seed)?.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).output()
}

/// A line of the table; and what is bad about the seed, if anything is.
fn say(seed: u64, output: &Output) -> Option<Bad> {
    let summary = match child::ended(output) {
        Ended::Ran(summary) => summary,
        Ended::Crashed(said) => {
            println!("{seed:>20} crashed");
            return Some(Bad { seed, what: format!("seed {seed} crashed: {said}"), broken: Vec::new() });
        }
    };
    let broken = child::violations(&summary);
    let number = |name: &str| child::number(&summary, name);
    let hash = summary.get("hash").and_then(serde_json::Value::as_str).unwrap_or_default();
    println!(
        "{seed:>20} {:>6} {:>6} {:>6} {:>5} {:>5}  {:>5.1}x  {}{}",
        number("/tasks"),
        number("/done"),
        number("/failed"),
        number("/lost"),
        number("/open"),
        number("/speed"),
        hash.get(..12).unwrap_or(hash),
        if broken.is_empty() { "" } else { "  VIOLATION" }
    );
    let first = broken.first()?;
    let more = if broken.len() > 1 { format!(" (and {} more)", broken.len() - 1) } else { String::new() };
    Some(Bad { seed, what: format!("seed {seed}: {first}{more}"), broken: child::rules(&summary) })
}
