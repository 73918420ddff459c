//! One run, from a scenario and a seed to its results, on a thread of its own whose clock and entropy are virtual.

mod futures;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

pub use self::futures::Futures;

use crate::{
    interpose,
    play::{Sabotage, Watch, play},
    results::Results,
    scenario::Scenario,
    trace::Trace,
    world::WorldError,
};

/// What can be set about a run besides its scenario and its seed. None of it changes what happens, but for what says so.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the trace is written, if anywhere.
    pub trace: Option<TraceTo>,
    /// Only lines of the trace that contain this are written. The hash is of all lines anyway.
    pub filter: Option<String>,
    /// When the judge looks, and whether that ends it.
    pub watch: Watch,
    /// Whether to say on stderr how far it is.
    pub progress: bool,
    /// Whether it parts into many futures; it then has no results of its own. This does change what happens.
    pub futures: Option<Futures>,
    /// What is broken on purpose, in tests of the judge. This does change what happens.
    pub sabotage: Option<Sabotage>,
}

/// Where a trace is written.
#[derive(Clone, Debug)]
pub enum TraceTo {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// Runs a scenario. `None`, if it parted into futures that all ended well, or was to end before its nodes were started. One
/// that ends early has violations and nothing else.
///
/// # Errors
/// If a node doesn't start, the trace can't be written, or a future ended otherwise than well.
pub fn run(scenario: Scenario, seed: u64, options: Options) -> Result<Option<Results>, WorldError> {
    // A panic anywhere, in a node's task too, is a finding: it ends the run with its seed in view.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        // Other threads, as a test's, may panic in peace.
        if std::thread::current().name() == Some("simulation") {
            std::process::abort();
        }
    }));
    let thread = std::thread::Builder::new().name("simulation".into()).stack_size(16 << 20).spawn(move || {
        interpose::enter(seed);
        simulate(&scenario, seed, &options)
    });
    let thread = thread.map_err(WorldError::new)?;
    thread.join().map_err(|_| WorldError::new("the simulation panicked"))?
}

thread_local! {
    /// When the simulation's paused clock started, for the hook that copies tokio's time to the C library's.
    static START: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

fn simulate(scenario: &Scenario, seed: u64, options: &Options) -> Result<Option<Results>, WorldError> {
    let follow = || {
        if let Some(start) = START.get() {
            interpose::set_elapsed_ns(start.elapsed().as_nanos() as u64);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_unpark(follow)
        .build()
        .map_err(WorldError::new)?;
    let real = interpose::real_secs();
    let results = runtime.block_on(async {
        START.set(Some(Instant::now()));
        let trace = Trace::to(sink(options).map_err(WorldError::new)?);
        // Always there, so that whether somebody watches changes nothing.
        tokio::spawn(watch(scenario.duration_s as f64, options.progress));
        let (told, mut parted) = oneshot::channel();
        match options.futures {
            Some(futures) => drop(tokio::spawn(futures::part(futures, told))),
            None => std::mem::forget(told), // the channel stays open and silent
        }
        let end = options.watch.until_s.map_or(Duration::MAX, Duration::from_secs_f64);
        tokio::select! {
            biased;
            Ok(ended) = &mut parted => match ended?.badly {
                0 => Ok(None),
                badly => Err(WorldError::new(format!("{badly} futures didn't end well"))),
            },
            results = play(scenario, seed, &trace, options.watch, options.sabotage) => results.map(Some),
            () = tokio::time::sleep(end.min(FOREVER)) => {
                trace.finish().map_err(WorldError::new)?;
                Ok(None)
            }
        }
    });
    // Dropping thousands of tasks in arbitrary order says nothing any more; the process is about to end.
    std::mem::forget(runtime);
    let results = results.map(|results| results.map(|results| finished(results, scenario, real)));
    if let Some(results) = results.as_ref().map(Option::as_ref).transpose() {
        futures::end_if_child(options.futures, results);
    }
    results
}

/// Adds what the run as a whole took, and the verdict.
fn finished(mut results: Results, scenario: &Scenario, real: f64) -> Results {
    let summary = &mut results.summary;
    summary.scenario.clone_from(&scenario.name);
    summary.wall_secs = interpose::real_secs() - real;
    summary.speed = summary.virtual_secs / summary.wall_secs;
    summary.peak_resident = peak_resident();
    if !results.cut_short {
        let broken = results.verdict(scenario);
        results.violations.extend(broken);
    }
    results
}

/// Longer than any scenario.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);

fn sink(options: &Options) -> io::Result<Option<Box<dyn Write + Send>>> {
    let out: Box<dyn Write + Send> = match &options.trace {
        None => return Ok(None),
        Some(TraceTo::File(path)) => Box::new(BufWriter::with_capacity(1 << 20, File::create(path)?)),
        Some(TraceTo::Stdout) => Box::new(BufWriter::with_capacity(1 << 16, io::stdout())),
    };
    Ok(Some(match options.filter.clone() {
        Some(filter) => Box::new(Filtered { out, filter }),
        None => out,
    }))
}

/// Passes on the lines that contain a text. The trace writes each line in one call.
struct Filtered<W> {
    out: W,
    filter: String,
}

impl<W: Write> Write for Filtered<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(line).contains(&self.filter) {
            self.out.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says how far the run is: virtual time, speed, and when it will be over if it goes on like this.
#[allow(clippy::print_stderr)] // the one line that is redrawn while a run lasts
async fn watch(duration_s: f64, shown: bool) {
    let (start, real) = (Instant::now(), interpose::real_secs());
    let mut said = real;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (now, wall) = (start.elapsed().as_secs_f64(), interpose::real_secs());
        if !shown || wall - said < 0.5 {
            continue;
        }
        said = wall;
        let speed = now / (wall - real);
        let left = (duration_s - now).max(0.0) / speed;
        let resident = resident() as f64 / 1e6;
        eprint!("\r{now:7.0} of {duration_s:.0} s   {speed:6.1}x real time   {resident:6.0} MB   {left:5.0} s to go  ");
    }
}

/// Resident memory of this process, in bytes; 0 where the system doesn't say.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

/// The most that it was.
fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}
