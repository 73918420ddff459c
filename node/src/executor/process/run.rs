//! One run of a program: its guard, its lifeline and its folder, gone when the run is.

use std::{
    ffi::OsString,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::unix::pipe,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use super::{ExecError, Verdict, guard, orphans, table};
use crate::{
    limits::GUARD_GRACE,
    runtime::{Job, Runtime},
};

/// The program's working folder, in the run's.
pub(super) const HOME: &str = "home";
/// The guard's last word, in the run's folder.
const VERDICT: &str = "verdict";
/// The named pipe for the program's progress, in the run's folder.
const PROGRESS: &str = "progress";

/// What is to be started.
pub(super) struct Launch {
    /// The `guilder` binary.
    pub(super) guard: PathBuf,
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
    /// All of its variables.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Its limit.
    pub(super) memory_bytes: u64,
}

/// A running program and its folder. Dropped, the program is killed with everything it started, and the folder is
/// removed.
pub(in crate::executor) struct Run {
    runtime: Runtime,
    pipes: Option<Pipes>,
    /// `None` once [`Run::end`] has it.
    remains: Option<Remains>,
}

/// What has to be cleaned up.
struct Remains {
    folder: PathBuf,
    /// `None` while nothing is started.
    alive: Option<Alive>,
}

struct Alive {
    child: Child,
    /// The guard, and so the session of everything under it.
    session: Option<Pid>,
    /// The guard kills the program when this closes.
    lifeline: io::PipeWriter,
}

/// The node's ends of the program's pipes.
pub(in crate::executor) struct Pipes {
    pub(in crate::executor) stdin: ChildStdin,
    pub(in crate::executor) stdout: ChildStdout,
    pub(in crate::executor) stderr: ChildStderr,
    /// None where no named pipe can be made; the program then works without.
    pub(super) progress: Option<ProgressPipe>,
}

/// The named pipe to which the program writes of its progress. Its other end isn't inherited through the node, whose other
/// children would get it too: the guard opens it by name.
pub(super) struct ProgressPipe {
    pub(super) reader: pipe::Receiver,
    /// Ours: until the guard has opened it, and after that until everything under it has ended, the pipe has a writer.
    pub(super) writer: pipe::Sender,
}

impl ProgressPipe {
    fn open(path: &Path) -> io::Result<Self> {
        let reader = pipe::OpenOptions::new().open_receiver(path)?;
        Ok(Self { reader, writer: pipe::OpenOptions::new().open_sender(path)? })
    }
}

impl Run {
    /// Makes the folder and starts the program in it.
    pub(super) async fn start(launch: Launch, folder: PathBuf, runtime: Runtime) -> Result<Self, ExecError> {
        let home = folder.join(HOME);
        let mut run = Self { runtime, pipes: None, remains: Some(Remains { folder: folder.clone(), alive: None }) };
        let fifo = folder.join(PROGRESS);
        let made = run.runtime.offload(Job::Disk, move || make_folder(&home).map(|()| make_pipe(&fifo))).await;
        let pipe = made.map_err(|error| ExecError::io("make a folder for the program", error))?;
        let progress = pipe.and_then(|()| ProgressPipe::open(&folder.join(PROGRESS)));
        if let Err(error) = &progress {
            tracing::debug!("a program has no way to tell its progress: {error}");
        }
        let progress = progress.ok();
        let spawned = spawn(launch, &folder, progress.is_some());
        let mut alive = spawned.map_err(|error| ExecError::io("start the guard of the program", error))?;
        if let (Some(stdin), Some(stdout), Some(stderr)) =
            (alive.child.stdin.take(), alive.child.stdout.take(), alive.child.stderr.take())
        {
            run.pipes = Some(Pipes { stdin, stdout, stderr, progress });
        }
        run.remains = Some(Remains { folder, alive: Some(alive) });
        Ok(run)
    }

    #[allow(clippy::expect_used)] // `start` asked for them, and this is called once
    pub(in crate::executor) fn take_pipes(&mut self) -> Pipes {
        self.pipes.take().expect("the pipes are there")
    }

    /// Waits until the guard has ended, and with it everything under it.
    pub(in crate::executor) async fn ended(&mut self) -> Result<(), ExecError> {
        let Some(Remains { folder, alive: Some(alive) }) = &mut self.remains else { return Ok(()) };
        alive.child.wait().await.map_err(|error| ExecError::io("wait for the program", error))?;
        let (session, verdict) = (alive.session, folder.join(VERDICT));
        self.runtime.offload(Job::Disk, move || kill_unguarded(session, &verdict)).await;
        Ok(())
    }

    /// What the guard says of the end; nothing if it was killed.
    pub(in crate::executor) async fn verdict(&self) -> Option<Verdict> {
        let path = self.remains.as_ref()?.folder.join(VERDICT);
        self.runtime.offload(Job::Disk, move || Verdict::read(&path)).await
    }

    /// Kills what still lives and removes the folder.
    pub(in crate::executor) async fn end(mut self) {
        if let Some(remains) = self.remains.take() {
            clean_up(remains, self.runtime.clone()).await;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(remains) = self.remains.take() {
            // If the node is stopping this task never runs; dropping it closes the lifeline, and the next start clears
            // the folder.
            self.runtime.spawn("end of a program", clean_up(remains, self.runtime.clone())).detach();
        }
    }
}

fn spawn(launch: Launch, folder: &Path, tells_progress: bool) -> io::Result<Alive> {
    let home = folder.join(HOME);
    let (lifeline_end, lifeline) = io::pipe()?;
    // Inherited by whatever is spawned meanwhile, which does no harm: nothing is ever written to it, and it closes with
    // its other end.
    rustix::io::fcntl_setfd(&lifeline_end, rustix::io::FdFlags::empty())?;
    let arguments = guard::Arguments {
        lifeline: lifeline_end.as_raw_fd(),
        verdict: folder.join(VERDICT),
        progress: tells_progress.then(|| folder.join(PROGRESS)),
        memory_bytes: launch.memory_bytes,
        command: launch.command,
    };
    let mut command = Command::new(&launch.guard);
    command
        .args(arguments.to_args())
        .env_clear()
        .envs(launch.environment)
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (child, session) = orphans::start_guard(&mut command)?;
    Ok(Alive { child, session, lifeline })
}

fn make_folder(home: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home)
}

#[cfg(not(target_vendor = "apple"))]
fn make_pipe(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, Mode, mkfifoat};
    Ok(mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?)
}

#[cfg(target_vendor = "apple")]
fn make_pipe(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

async fn clean_up(remains: Remains, runtime: Runtime) {
    let Remains { folder, alive } = remains;
    if let Some(Alive { mut child, session, lifeline }) = alive {
        drop(lifeline);
        let in_time = tokio::time::timeout(GUARD_GRACE, child.wait()).await.is_ok();
        let verdict = folder.join(VERDICT);
        let kill = move || match session {
            Some(guard) if !in_time => {
                let _ = kill_process(guard, Signal::KILL);
                table::kill_session(guard);
                orphans::forget_guard(session);
                orphans::kill();
            }
            _ => kill_unguarded(session, &verdict),
        };
        runtime.offload(Job::Disk, kill).await;
    }
    if let Err(error) = runtime.offload(Job::Disk, move || remove_folder(&folder)).await {
        tracing::warn!("the folder of a program could not be removed: {error}");
    }
}

/// Kills what is left under a guard that was killed before it could: one that left no verdict.
fn kill_unguarded(session: Option<Pid>, verdict: &Path) {
    orphans::forget_guard(session);
    if let Some(session) = session
        && !verdict.exists()
    {
        table::kill_session(session);
        orphans::kill();
    }
}

/// Removes a run's folder. The program may have made folders in it that it can't be walked through as they are.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            std::fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
