//! The guard that stands between the node and a program: `guilder exec-guard …`, not for people.
//!
//! A process of its own, without async runtime: three threads of which two only watch. It runs before anything else in
//! `main` is set up ([`run_if_asked`]). See [`super`] for its part in the whole.
//!
//! ```text
//!  main      session, limits ─ spawn the program ─ reap until it ends ─ kill what it left ─ verdict ─ exit
//!  lifeline  read: blocks until the node's end closes ───────────▶ verdict, kill
//!  meter     every 25 ms to 1 s: memory, processes ──────────────▶ verdict, kill
//! ```
//!
//! As the subreaper of its descendants (Linux) it stays their ancestor, whatever groups, sessions or parents they give
//! themselves, and finds them all.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Instant,
};

use rustix::{
    fs::{self, Mode, OFlags},
    process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, setrlimit,
        setsid,
    },
};

use super::{Verdict, table};
use crate::limits::{MAX_GUARD_INTERVAL, MAX_PROCESSES_PER_RUN, MAX_PROGRAM_FILE, MIN_GUARD_INTERVAL};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "exec-guard";
/// The program's variable with the number of the descriptor for its progress.
const PROGRESS_FD: &str = "GUILDER_PROGRESS_FD";
/// The meter sleeps this many times as long as a look took: at most 5 % of a core.
const REST_FACTOR: u32 = 20;

/// What the node tells the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The number of the inherited descriptor.
    pub(super) lifeline: i32,
    /// Where the last word goes.
    pub(super) verdict: PathBuf,
    /// The named pipe for the program's progress, if there is one.
    pub(super) progress: Option<PathBuf>,
    /// The program's limit.
    pub(super) memory_bytes: u64,
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
}

impl Arguments {
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let (lifeline, memory) = (self.lifeline.to_string().into(), self.memory_bytes.to_string().into());
        let progress = self.progress.clone().unwrap_or_default();
        let own = [SUBCOMMAND.into(), lifeline, self.verdict.clone().into(), progress.into(), memory];
        own.into_iter().chain(self.command.iter().cloned()).collect()
    }

    fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let lifeline = args.next()?.to_str()?.parse().ok()?;
        let verdict = args.next()?.into();
        let progress = args.next().filter(|path| !path.is_empty()).map(Into::into);
        let memory_bytes = args.next()?.to_str()?.parse().ok()?;
        let command: Vec<_> = args.collect();
        (!command.is_empty()).then_some(Self { lifeline, verdict, progress, memory_bytes, command })
    }
}

/// Runs as a guard if the process was started as one: the first thing that the binary's `main` calls.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(SUBCOMMAND)) {
        return None;
    }
    // A number other than 0 tells the node nothing: it reads the verdict.
    Some(Arguments::from_args(args).map_or(ExitCode::from(2), |arguments| guard(&arguments)))
}

fn guard(arguments: &Arguments) -> ExitCode {
    set_limits();
    // First, so that it gets the lowest number that is free: 3, unless the node itself was started with more.
    let progress = arguments.progress.as_deref().and_then(|path| open_progress(path).ok());
    // Opened anew through its number: the inherited descriptor itself can't be taken over without `unsafe`.
    let lifeline = File::open(format!("/dev/fd/{}", arguments.lifeline));
    let (program, rest) = arguments.command.split_at(1);
    let spawned = lifeline.and_then(|lifeline| {
        let mut command = Command::new(&program[0]);
        if let Some(progress) = &progress {
            command.env(PROGRESS_FD, progress.as_raw_fd().to_string());
        }
        let child = command.args(rest).process_group(0).spawn()?;
        Ok((lifeline, child))
    });
    // The program has its own; the pipe ends with the last of them.
    drop(progress);
    let (lifeline, child) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            Verdict::NotStarted(error.to_string()).write(&arguments.verdict);
            return ExitCode::FAILURE;
        }
    };
    let family = Family { leader: Pid::from_child(&child), verdict: arguments.verdict.clone() };
    let (watched, metered) = (family.clone(), family.clone());
    let memory_bytes = arguments.memory_bytes;
    // This process has nothing but these three threads.
    thread::spawn(move || watch(lifeline, &watched));
    thread::spawn(move || meter(memory_bytes, &metered));
    let verdict = reap(family.leader);
    family.kill(&verdict);
    if has_children() {
        table::kill_descendants(getpid());
    }
    ExitCode::SUCCESS
}

/// Opens the pipe for the program to inherit. The node has its end open: without it this fails and waits for nobody.
fn open_progress(path: &Path) -> rustix::io::Result<OwnedFd> {
    let pipe = fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty())?;
    // A program expects its writes to wait for room.
    fs::fcntl_setfl(&pipe, OFlags::empty())?;
    Ok(pipe)
}

/// What can fail here makes the guard weaker, not useless: it goes on.
fn set_limits() {
    let _ = setsid();
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let _ = setrlimit(Resource::Core, limit(0));
    let _ = setrlimit(Resource::Fsize, limit(MAX_PROGRAM_FILE));
}

/// The program and its group.
#[derive(Clone)]
struct Family {
    leader: Pid,
    verdict: PathBuf,
}

impl Family {
    /// Says why and kills the program with its group. Who left the group is found by `main` afterwards.
    fn kill(&self, why: &Verdict) {
        why.write(&self.verdict);
        // Ended or gone already: then there is nothing to kill. (A number just freed isn't given out again at once.)
        let _ = kill_process_group(self.leader, Signal::KILL);
    }

    /// The same while the program lives: it may have gone over to another group itself.
    fn kill_alive(&self, why: &Verdict) {
        self.kill(why);
        let _ = kill_process(self.leader, Signal::KILL);
    }
}

fn watch(mut lifeline: File, family: &Family) {
    // nothing is ever written: this returns when the node lets go, or is gone
    let _ = lifeline.read(&mut [0]);
    family.kill_alive(&Verdict::Stopped);
}

fn meter(memory_bytes: u64, family: &Family) {
    let mut rest = MIN_GUARD_INTERVAL;
    loop {
        thread::sleep(rest);
        let began = Instant::now();
        let processes = table::descendants(getpid());
        let used = table::memory_bytes(&processes);
        if used > memory_bytes {
            return family.kill_alive(&Verdict::Memory(used));
        }
        if processes.len() > MAX_PROCESSES_PER_RUN {
            return family.kill_alive(&Verdict::Processes(MAX_PROCESSES_PER_RUN));
        }
        rest = (began.elapsed() * REST_FACTOR).clamp(MIN_GUARD_INTERVAL, MAX_GUARD_INTERVAL);
    }
}

/// Waits for the program, and meanwhile buries the orphans that come to this process as their subreaper.
fn reap(leader: Pid) -> Verdict {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == leader => return ended(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // it can't be lost: it is this process's child, and only reaped here
            Err(_) => return Verdict::Stopped,
        }
    }
}

fn ended(status: WaitStatus) -> Verdict {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Verdict::Exited(code),
        (None, signal) => Verdict::Signalled(signal.unwrap_or(0)),
    }
}

/// Whether anything is left under this process once the dead are buried.
fn has_children() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments_read_back() {
        let arguments = Arguments {
            lifeline: 7,
            verdict: "/tmp/a b/verdict".into(),
            progress: Some("/tmp/a b/progress".into()),
            memory_bytes: 1 << 40,
            command: ["--", "-x", ""].map(OsString::from).to_vec(),
        };
        let args = arguments.to_args();
        assert_eq!(args[0], SUBCOMMAND);
        assert_eq!(Arguments::from_args(args[1..].iter().cloned()), Some(arguments.clone()));
        assert_eq!(Arguments::from_args(args[1..5].iter().cloned()), None);
        let without = Arguments { progress: None, ..arguments };
        assert_eq!(Arguments::from_args(without.to_args()[1..].iter().cloned()), Some(without));
    }

    #[test]
    fn only_its_own_subcommand_makes_a_guard() {
        assert!(run_if_asked().is_none());
    }
}
