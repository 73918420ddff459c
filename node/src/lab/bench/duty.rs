//! `guilder bench duty`: what standing orders cost a node, while nothing is due and when all of them are at once.
//!
//! ```text
//!  node ◀── N duties, due at one moment ─── idle: CPU, memory ─── the moment ─▶ all outcomes stored ─▶ all runs done
//! ```
//!
//! Each duty posts a line into a file of its own: its run is three durable steps and a file that is synced. A node's clock counts whole
//! seconds, so it looks up to one second after the moment, by when it was woken last; the bench wakes it on a full second, so that
//! what is measured is the work. The floor is the same rows in one transaction of the same store, bare.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Usage, lab_error, positive, usage};
use crate::{
    api::types::DutyFile,
    console::{CliError, Exit, Printer, Show, fields},
    duty::{DutyView, RunView, limits::MAX_DUTIES},
    lab::{folder::Folder, swarm::LabNode},
    runtime::{Limits, Runtime},
    store::{Key, Store, Table},
};

/// How long adding all of them may take, at the most, before the moment.
const ADDING_SECS: u64 = 60;
/// For how long the node is watched while nothing is due.
const IDLE_SECS: u64 = 20;
/// How long before the moment the node is woken for the last time.
const QUIET_SECS: u64 = 20;
/// How long all runs may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Rows that a due moment writes: the duty, its outcome, and of its run the order, the record, the log and what is open.
const ROWS: usize = 6;
/// Bytes of each, about.
const ROW_BYTES: usize = 200;
const FLOOR: Table<Vec<u8>> = Table::new("bench/floor");

/// What the bench is run with.
#[derive(Clone, Debug, clap::Args)]
pub struct DutyBenchArgs {
    /// Duties that are due at once.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive)]
    duties: usize,
    /// Keep the node's folder, with its log, in DIR, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    duties: usize,
    /// One duty, from the request to its answer, on disk.
    add_ms: f64,
    /// Resident while nothing is due.
    idle_mib: f64,
    /// Of one core, while nothing is due.
    idle_cpu_percent: f64,
    /// From the moment until all of its outcomes, with their runs, were on disk.
    stored_ms: f64,
    /// From the moment until the last run was over.
    done_ms: f64,
    peak_mib: f64,
    /// The same rows in one transaction, bare.
    floor_ms: f64,
}

/// Runs the bench and prints what it measured.
///
/// # Errors
/// If a duty isn't run.
pub async fn run(args: &DutyBenchArgs, printer: &Printer) -> Result<Exit, CliError> {
    if args.duties > MAX_DUTIES {
        return Err(CliError::usage(format!("a node has {MAX_DUTIES} duties at the most"), "give a smaller --duties"));
    }
    let mut folder = Folder::make(args.keep.as_deref())?;
    printer.note("starting a node …");
    folder.add("node");
    let settings = "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\n";
    let node = LabNode::start(folder.path(), "node", settings).await?;
    let measured = measure(args.duties, printer, &node, folder.path()).await;
    node.stop().await?;
    printer.show(&measured?)?;
    Ok(Exit::Done)
}

async fn measure(duties: usize, printer: &Printer, node: &LabNode, dir: &Path) -> Result<Measured, CliError> {
    // A full minute, with time enough before it.
    let due = (since_epoch().as_secs() + ADDING_SECS + IDLE_SECS + QUIET_SECS).div_ceil(60) * 60;
    let pattern = format!("{} {} * * *", due / 60 % 60, due / 3_600 % 24);
    printer.note(format_args!("adding {duties} duties …"));
    let began = Instant::now();
    for number in 0..duties {
        let _: DutyView = node.client.post("/v1/duties", &duty(number, &pattern)).await?;
    }
    let add_ms = began.elapsed().as_secs_f64() * 1_000.0 / duties as f64;
    if since_epoch().as_secs() + IDLE_SECS + QUIET_SECS > due {
        return Err(lab_error(format!("{duties} duties could not be added within {ADDING_SECS} s")));
    }
    printer.note(format_args!("watching it for {IDLE_SECS} s while nothing is due …"));
    let before = usage(node)?;
    sleep(Duration::from_secs(IDLE_SECS)).await;
    let idle = usage(node)?;
    until(due - QUIET_SECS).await;
    let _: DutyView = node.client.post("/v1/duties", &duty(0, &pattern)).await?;
    printer.note(format_args!("{duties} duties are due in {QUIET_SECS} s …"));
    until(due).await;
    let stored_ms = seen(due, node, 1, Duration::from_millis(2), |_| true).await?;
    let done_ms = seen(due, node, duties, Duration::from_millis(200), |run| run.ended).await?;
    let runs: Vec<RunView> = node.client.get(&format!("/v1/runs?limit={duties}")).await?;
    if let Some(failed) = runs.iter().find(|run| run.failure.is_some()) {
        return Err(lab_error(format!("a run failed: {failed:?}")));
    }
    let Usage { peak_mib, .. } = usage(node)?;
    printer.note("measuring the floor …");
    Ok(Measured {
        duties,
        add_ms,
        idle_mib: idle.resident_mib,
        idle_cpu_percent: (idle.cpu_secs - before.cpu_secs) / IDLE_SECS as f64 * 100.0,
        stored_ms,
        done_ms,
        peak_mib,
        floor_ms: floor(dir, duties).await?,
    })
}

fn duty(number: usize, pattern: &str) -> DutyFile {
    let file = format!(
        "name = \"duty-{number}\"\non = [{{ cron = \"{pattern}\" }}]\n[[step]]\npost = \"file:bench/{number}.txt\"\n\
         text = \"{{{{run.due}}}}\"\n"
    );
    DutyFile { file }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

async fn until(secs: u64) {
    sleep(Duration::from_secs(secs).saturating_sub(since_epoch())).await;
}

/// Milliseconds from `due` until so many runs are there that are as they should be; looked at after each pause.
async fn seen(
    due: u64,
    node: &LabNode,
    count: usize,
    pause: Duration,
    fits: impl Fn(&RunView) -> bool,
) -> Result<f64, CliError> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let runs: Vec<RunView> = node.client.get(&format!("/v1/runs?limit={count}")).await?;
        if runs.iter().filter(|run| fits(run)).count() >= count {
            return Ok(since_epoch().saturating_sub(Duration::from_secs(due)).as_secs_f64() * 1_000.0);
        }
        if Instant::now() > patience {
            return Err(lab_error(format!("{} of {count} runs were not over within {PATIENCE:?}", runs.len())));
        }
        sleep(pause).await;
    }
}

/// As many rows as the moment writes, in one transaction of a store of its own.
async fn floor(dir: &Path, duties: usize) -> Result<f64, CliError> {
    let failed = |error: &dyn std::fmt::Display| lab_error(format!("the floor could not be measured: {error}"));
    let (runtime, path) = (Runtime::production(Limits::default()), dir.join("floor.redb"));
    let store = Store::open(&path, &runtime).await.map_err(|error| failed(&error))?;
    let began = Instant::now();
    let writing = store.write(move |w| {
        let row = vec![7; ROW_BYTES];
        (0..duties * ROWS).try_for_each(|number| w.put(FLOOR, Key::of(number as u64), &row))
    });
    writing.await.map_err(|error| failed(&error))?;
    let took = began.elapsed();
    store.close().await;
    runtime.shutdown().await;
    std::fs::remove_file(path).map_err(|error| failed(&error))?;
    Ok(took.as_secs_f64() * 1_000.0)
}

impl Show for Measured {
    fn human(&self, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        fields(
            out,
            &[
                ("duties", format!("{}, each added in {:.2} ms", self.duties, self.add_ms)),
                ("idle", format!("{:.1} MiB, {:.2} % of a core", self.idle_mib, self.idle_cpu_percent)),
                (
                    "due at once",
                    format!("stored within {:.0} ms; the rows alone: {:.0} ms", self.stored_ms, self.floor_ms),
                ),
                ("all runs done", format!("within {:.0} ms, {:.1} MiB at peak", self.done_ms, self.peak_mib)),
            ],
        )
    }
}
