//! Work done by a program: input on its stdin, output on its stdout, exit code 0.
//!
//! ```text
//!  node ── spawn ─▶ guilder exec-guard … ── spawn ─▶ the program ──▶ what it starts
//!    │  stdin, stdout, stderr ────────────────────────────▶ │
//!    │◀─ progress (a named pipe that the guard opens) ───── │
//!    └─ lifeline (a pipe) ─▶ │
//! ```
//!
//! Between the node and the program stands a **guard**: the node's own binary as a small process without an async
//! runtime ([`guard`]). It is the leader of a session of its own, measures what the program and everything that it
//! started use, and kills all of it when the program ends, goes past a limit, or when the lifeline closes: because the
//! run was dropped, went past its time or its output, or because the node died in whatever way. The guard tells how it
//! ended in a file beside the program's folder.
//!
//! A program that kills its guard gains nothing: what it started comes to the node ([`orphans`]), which kills it.
//!
//! **What the program gets**: its own empty temporary folder as working folder, `HOME` and `TMPDIR`, removed afterwards;
//! the node's `PATH`; the variables of its definition; and
//!
//! | variable | value |
//! | --- | --- |
//! | `GUILDER_AWARD` | the award's CID; the same again means the same work again |
//! | `GUILDER_SERVICE` | the service's name |
//! | `GUILDER_BUYER` | the buyer's DID |
//! | `GUILDER_INPUT_BYTES` | the size of what comes on stdin |
//! | `GUILDER_MAX_OUTPUT_BYTES` | how much may go to stdout |
//! | `GUILDER_TIME_LIMIT_SECS` | how long it may take |
//! | `GUILDER_API`, `GUILDER_TOKEN` | where and with what it may subcontract; not set where it may not |
//! | `GUILDER_PROGRESS_FD` | the descriptor for lines about its progress ([`super::progress`]); not set where there is none |
//!
//! It need not read its input to the end. What it writes to stderr is kept in part, for the operator. It runs as the
//! node's user, with that user's rights: the limits guard against accidents, not against a program that means harm.
//!
//! **Limits**: memory is what the program and its descendants hold that is theirs (anonymous, shared, swapped), looked
//! at every 25 ms, so a fast one gets somewhat past it; on systems without `/proc` it isn't measured. At most
//! [`MAX_PROCESSES_PER_RUN`] processes, [`MAX_PROGRAM_FILE`] bytes per file, no core dumps.
//!
//! [`MAX_PROCESSES_PER_RUN`]: crate::limits::MAX_PROCESSES_PER_RUN
//! [`MAX_PROGRAM_FILE`]: crate::limits::MAX_PROGRAM_FILE

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
};

pub mod guard;
pub mod orphans;
mod run;
mod table;
mod verdict;

use self::run::{Launch, remove_folder};
pub(super) use self::{
    run::{Pipes, Run},
    verdict::Verdict,
};
use super::{
    ExecError, Executor, Output, Reporter, TaskAccess, Work, collecting, definition::ProcessSettings, progress::Lines,
    within,
};
use crate::{
    content::{Collector, Content, Pieces},
    limits::{MAX_PROGRESS_LINE, MAX_STDERR_TAIL},
    runtime::{Job, Runtime},
};

/// Bytes read from a program at once: what a pipe holds.
pub(super) const PIPE_BYTES: usize = 64 * 1024;

/// Where programs work, and who guards them.
#[derive(Clone, Debug)]
pub struct ProcessHost {
    guard: PathBuf,
    folder: PathBuf,
    /// Makes the names of the runs' folders distinct.
    count: Arc<AtomicU64>,
}

impl ProcessHost {
    /// `guard` is the `guilder` binary; in `folder` each run gets its own temporary folder. What a crash left there is
    /// removed: the folder must be this node's alone.
    ///
    /// # Errors
    /// If the folder can't be made or cleared.
    pub async fn open(guard: PathBuf, folder: PathBuf, runtime: &Runtime) -> io::Result<Self> {
        let cleared = folder.clone();
        runtime.offload(Job::Disk, move || clear(&cleared)).await?;
        Ok(Self { guard, folder, count: Arc::default() })
    }

    /// Starts a program in a folder of its own, under a guard. `environment` is all of its variables; it is told the folder.
    pub(super) async fn start(
        &self,
        command: &[String],
        environment: impl FnOnce(&Path) -> Vec<(OsString, OsString)>,
        memory_bytes: u64,
        runtime: &Runtime,
    ) -> Result<Run, ExecError> {
        let folder = self.next_folder();
        let environment = environment(&folder.join(run::HOME));
        let command = command.iter().map(Into::into).collect();
        let launch = Launch { guard: self.guard.clone(), command, environment, memory_bytes };
        Run::start(launch, folder, runtime.clone()).await
    }

    fn next_folder(&self) -> PathBuf {
        self.folder.join(format!("{}-{}", std::process::id(), self.count.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Work done by a program.
#[derive(Clone, Debug)]
pub struct Process {
    settings: Arc<ProcessSettings>,
    host: ProcessHost,
    content: Content,
    runtime: Runtime,
}

impl Process {
    /// For a definition that has been checked.
    pub fn new(settings: ProcessSettings, host: ProcessHost, content: Content, runtime: Runtime) -> Self {
        Self { settings: Arc::new(settings), host, content, runtime }
    }

    fn environment(&self, work: &Work, home: &Path) -> Vec<(OsString, OsString)> {
        let passed = self.settings.pass_env.iter().map(String::as_str).chain(["PATH"]);
        let passed = passed.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let own = [
            ("HOME", home.into()),
            ("TMPDIR", home.into()),
            ("GUILDER_AWARD", work.award.to_string().into()),
            ("GUILDER_SERVICE", work.service.to_string().into()),
            ("GUILDER_BUYER", work.buyer.to_string().into()),
            ("GUILDER_INPUT_BYTES", work.input.size().to_string().into()),
            ("GUILDER_MAX_OUTPUT_BYTES", work.limits.output_bytes.to_string().into()),
            ("GUILDER_TIME_LIMIT_SECS", work.limits.time.as_secs().to_string().into()),
        ];
        let access = work.access.iter().flat_map(|TaskAccess { url, token }| {
            [("GUILDER_API", OsString::from(url)), ("GUILDER_TOKEN", OsString::from(token))]
        });
        let own = own.into_iter().chain(access).map(|(name, value)| (name.into(), value));
        let set = self.settings.env.iter().map(|(name, value)| (name.into(), value.into()));
        passed.chain(own).chain(set).collect()
    }

    async fn work(&self, run: &mut Run, work: Work) -> Result<Output, ExecError> {
        let input = work.input.pieces(&self.content).await?;
        let output = Collector::new(self.content.clone(), work.limits.output_bytes);
        let pipes = run.take_pipes();
        let reporter = work.reporter;
        let (lines, writer) = pipes.progress.map(|pipe| (pipe.reader, pipe.writer)).unzip();
        let ended = async {
            run.ended().await?;
            // Was held so that the pipe has no end before the program opens it.
            drop(writer);
            Ok(())
        };
        let ((), output, last_words, (), ()) = tokio::try_join!(
            feed(pipes.stdin, input),
            collect(pipes.stdout, output),
            tail(pipes.stderr, &reporter),
            ended,
            report(lines, &reporter),
        )?;
        match run.verdict().await {
            Some(Verdict::Exited(0)) => output.finish().await.map_err(collecting),
            Some(Verdict::NotStarted(why)) => {
                Err(ExecError::NotStarted { program: self.settings.command[0].clone(), why })
            }
            Some(Verdict::Memory(used_bytes)) => {
                Err(ExecError::OutOfMemory { used_bytes, limit_bytes: work.limits.memory_bytes })
            }
            Some(Verdict::Processes(limit)) => Err(ExecError::TooManyProcesses { limit }),
            ended => Err(ExecError::Failed { how: how_it_ended(ended), last_words }),
        }
    }
}

#[async_trait]
impl Executor for Process {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let time = work.limits.time;
        let environment = |home: &Path| self.environment(&work, home);
        let started = self.host.start(&self.settings.command, environment, work.limits.memory_bytes, &self.runtime);
        let mut run = started.await?;
        let done = within(time, self.work(&mut run, work)).await;
        run.end().await;
        done
    }
}

pub(super) fn how_it_ended(verdict: Option<Verdict>) -> String {
    match verdict {
        Some(Verdict::Exited(code)) => format!("exit code {code}"),
        Some(Verdict::Signalled(signal)) => format!("signal {signal}"),
        _ => "its guard killed".into(),
    }
}

/// Writes the input to the program. One that doesn't want it all may leave it.
async fn feed(stdin: tokio::process::ChildStdin, mut input: Pieces) -> Result<(), ExecError> {
    let mut stdin = stdin;
    while let Some(piece) = input.next().await? {
        match stdin.write_all(&piece).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| ExecError::io("write to the program", error))?,
        }
    }
    Ok(())
}

async fn collect(mut stdout: impl AsyncRead + Unpin, mut output: Collector) -> Result<Collector, ExecError> {
    let mut buffer = vec![0; PIPE_BYTES];
    loop {
        let read = stdout.read(&mut buffer).await.map_err(|error| ExecError::io("read from the program", error))?;
        if read == 0 {
            return Ok(output);
        }
        output.push(&buffer[..read]).await.map_err(collecting)?;
    }
}

/// Reads all of the program's stderr and keeps the end.
async fn tail(mut stderr: impl AsyncRead + Unpin, reporter: &Reporter) -> Result<String, ExecError> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; PIPE_BYTES];
    loop {
        let read = stderr.read(&mut buffer).await.map_err(|error| ExecError::io("read from the program", error))?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(MAX_STDERR_TAIL));
        // As it comes: a run that goes past its time is dropped.
        reporter.log(&String::from_utf8_lossy(&kept));
    }
}

/// Reads the program's lines about its progress as fast as they come, so that it never waits. Trouble with them is none
/// of the work's.
async fn report(lines: Option<pipe::Receiver>, reporter: &Reporter) -> Result<(), ExecError> {
    let Some(mut pipe) = lines else { return Ok(()) };
    let mut lines = Lines::default();
    let mut buffer = vec![0; MAX_PROGRESS_LINE];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        lines.push(&buffer[..read], reporter);
    }
    lines.end(reporter);
    Ok(())
}

fn clear(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        remove_folder(&entry?.path())?;
    }
    Ok(())
}
