//! `guilder service test FILE`: the work of a service, done once without network and money.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use data_encoding::BASE64;
use futures::StreamExt as _;
use guilder_protocol::limits::MAX_CONTENT;
use serde::Serialize;

use crate::{
    api::types::ApiError,
    cli::{
        Context,
        hire::input_pieces,
        output::{OutputTo, Place},
    },
    console::{CliError, Exit, Show},
    content::{Content, Data},
    executor::{
        Definition, ExecError, ProgressReport,
        process::orphans,
        trial::{Trial, Tried},
    },
    lab::folder::Folder,
};

/// How long a program that is being killed is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service's file.
    file: PathBuf,
    /// What it is to work on, or - for standard input [default: nothing].
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    to: OutputTo,
}

/// What came of it.
#[derive(Serialize)]
struct Done {
    service: String,
    input_bytes: u64,
    output_bytes: u64,
    took_ms: u64,
    time_limit_secs: u64,
    max_output_bytes: u64,
    /// The end of what it wrote to its standard error.
    stderr: String,
    /// If it is text and no file was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// If it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_base64: Option<String>,
}

impl Show for Done {
    fn human(&self, _: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let definition = super::read(&args.file)?;
    let place = args.to.open()?;
    let guard = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
    // What a program leaves behind comes to this process, which starts nothing else.
    orphans::adopt();
    let mut folder = Folder::make(None)?;
    ["content", "work"].iter().for_each(|name| folder.add(name));
    let trial = Trial::open(definition.clone(), folder.path(), guard).await?;
    let input = take_input(&trial, args.input.as_deref()).await?;
    let input_bytes = input.size();
    let (tried, stderr) = tokio::select! {
        biased;
        done = follow(&trial, input, context) => done,
        _ = tokio::signal::ctrl_c() => {
            wait_until_killed(&folder.path().join("work")).await;
            return Err(CliError::usage("interrupted", "the program was stopped; nothing of it is left"));
        }
    };
    for line in stderr.lines() {
        context.printer.note(format_args!("stderr | {line}"));
    }
    let Tried { output, took } = tried;
    let output = output.map_err(|error| failure(&error, took, &stderr))?;
    let done = Done {
        service: definition.name.to_string(),
        input_bytes,
        output_bytes: output.size(),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        time_limit_secs: definition.time_limit_secs,
        max_output_bytes: definition.max_output_bytes,
        stderr,
        output: None,
        output_base64: None,
    };
    show(done, (&output, &trial.content), place, &definition, context).await?;
    Ok(Exit::Done)
}

async fn take_input(trial: &Trial, path: Option<&Path>) -> Result<Data, CliError> {
    let mut collector = trial.input();
    if let Some(path) = path {
        let mut pieces = std::pin::pin!(input_pieces(path)?);
        while let Some(piece) = pieces.next().await {
            collector.push(&piece.map_err(|cause| CliError::file("read", path, &cause))?).await?;
        }
    }
    Ok(collector.finish().await?)
}

/// Does the work, and tells what it says on the way.
async fn follow(trial: &Trial, input: Data, context: &Context) -> (Tried, String) {
    let (mut reports, run) = trial.run(input);
    let mut run = std::pin::pin!(run);
    let mut silent = false;
    loop {
        tokio::select! {
            biased;
            tried = &mut run => return (tried, reports.log()),
            report = reports.next(), if !silent => match report {
                Some(report) => context.printer.note(format_args!("progress: {}", words(&report))),
                None => silent = true,
            },
        }
    }
}

fn words(report: &ProgressReport) -> String {
    let share = report.permille.map(|permille| format!("{} %", permille / 10));
    let partial =
        Some(&report.partial).filter(|partial| !partial.is_empty()).map(|partial| format!("so far … {partial}"));
    share.into_iter().chain(report.note.clone()).chain(partial).collect::<Vec<_>>().join(", ")
}

/// The program is killed once its run is dropped, and its folder removed.
async fn wait_until_killed(work: &Path) {
    let until = tokio::time::Instant::now() + KILL_PATIENCE;
    let is_empty = || std::fs::read_dir(work).map_or(true, |mut entries| entries.next().is_none());
    while !is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn show(
    mut done: Done,
    (output, content): (&Data, &Content),
    place: Place,
    definition: &Definition,
    context: &Context,
) -> Result<(), CliError> {
    if context.printer.json() && place.file().is_none() {
        match String::from_utf8(output.read(content, MAX_CONTENT).await?.into()) {
            Ok(text) => done.output = Some(text),
            Err(error) => done.output_base64 = Some(BASE64.encode(error.as_bytes())),
        }
    } else {
        let file = place.file().map(|path| path.display().to_string());
        let (mut writing, mut pieces) = (place.begin()?, output.pieces(content).await?);
        while let Some(piece) = pieces.next().await? {
            writing.piece(&piece, context)?;
        }
        writing.end(context)?;
        if let Some(file) = file {
            context.printer.note(format_args!("output in {file}"));
        }
    }
    let Done { input_bytes, output_bytes, took_ms, time_limit_secs, max_output_bytes, .. } = &done;
    let secs = *took_ms as f64 / 1_000.0;
    context.printer.note(format_args!(
        "done in {secs:.3} s of {time_limit_secs} s; {input_bytes} bytes in, {output_bytes} of {max_output_bytes} bytes out"
    ));
    context
        .printer
        .note(format_args!("A hire like this would be delivered, for {} {}.", definition.price, definition.unit));
    context.printer.show(&done)
}

/// A hire would fail like this.
fn failure(error: &ExecError, took: Duration, stderr: &str) -> CliError {
    let shown = ApiError::of(error);
    let (reason, told) = (error.own_text(), error.public_text());
    let told = if told == reason { "just that".to_owned() } else { format!("{told:?}") };
    let hint = match &shown.hint {
        Some(hint) => format!("{hint}; the buyer would be told {told}, and pay nothing"),
        None => format!("the buyer would be told {told}, and pay nothing"),
    };
    let message = format!("a hire would fail after {:.3} s: {reason}", took.as_secs_f64());
    CliError {
        told: Box::new(ApiError { message, hint: Some(hint), ..shown }),
        detail: Some(stderr.trim_end().to_owned()).filter(|stderr| !stderr.is_empty()),
        exit: Exit::No,
    }
}
