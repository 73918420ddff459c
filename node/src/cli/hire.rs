//! `guilder hire SERVICE`

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use data_encoding::BASE64;
use guilder_protocol::fault::Fault;
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use super::{
    Context, in_words,
    output::{OutputTo, Place},
    task, wait_for,
};
use crate::{
    api::{
        client::{self, Client, Lines, Upload},
        types::{ApiError, Hire, HireEvent, OutputCheck, TaskView},
    },
    console::{CliError, Exit, Show},
    events::{Event, Outcome},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder hire text.summarize --input notes.txt --max-price 20
  git diff | guilder hire code.review --input - --output review.md --deadline 5m
  guilder hire text.summarize --input notes.txt --json | jq .";

/// Read from a file or standard input at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Have a service done, pay for it, print the output.
///
/// Asks sellers of the service that can be found (`trade.candidates` of the settings), takes the best offer within your price,
/// pays with ecash locked to the seller, and prints the output. Progress goes to standard error. The signed receipt is kept: see
/// `guilder audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What it is to work on, or - for standard input [default: nothing].
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    to: OutputTo,
    #[command(flatten)]
    hire: Hire,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        let place = args.to.open()?;
        let input = upload(args.input.as_deref())?;
        let mut told = client.hire(&args.hire, input).await.map_err(|error| cut_off(error, None))?;
        let ended = follow(&mut told, context).await?;
        if !ended.delivered {
            // Scripts get the final record, however it ended.
            if context.printer.json() {
                context.printer.show(&Delivered { ended: &ended, output: None, output_base64: None })?;
            }
            return Err(failure(&ended));
        }
        deliver(&client, &ended, place, context).await?;
        match &ended.output_check {
            Some(OutputCheck::Invalid { why }) => Err(not_as_promised(&ended, why)),
            Some(OutputCheck::Unchecked { why }) => {
                context.printer.note(format_args!("the output was not held against the seller's schema: {why}"));
                Ok(Exit::Done)
            }
            Some(OutputCheck::Valid | OutputCheck::Unknown) | None => Ok(Exit::Done),
        }
    })
}

/// Prints the steps until the task is over. If it is interrupted, the task goes on without us; that is said.
async fn follow(told: &mut Lines<HireEvent>, context: &Context) -> Result<TaskView, CliError> {
    let mut task = None;
    let mut doing = "looking for sellers";
    loop {
        let next = tokio::select! {
            biased;
            next = context.printer.waiting(doing, told.next()) => next.map_err(|error| cut_off(error, task.as_deref()))?,
            _ = tokio::signal::ctrl_c() => return Err(interrupted(task.as_deref())),
        };
        match next {
            Some(HireEvent::Hired(hired)) => {
                context.printer.step(&hired, format_args!("task {}", hired.task))?;
                task = Some(hired.task);
            }
            Some(HireEvent::Step(step)) if step.said.event.event == Event::Unknown => {
                context.printer.note(format_args!("           {}", step.said.say));
            }
            // For people it is said once, by the error that this ends with.
            Some(HireEvent::Step(step)) if is_failure(&step.said.event.event) && !context.printer.json() => {}
            Some(HireEvent::Step(step)) => {
                doing = match &step.said.event.event {
                    Event::Asked { .. } | Event::Offered { .. } => "waiting for offers",
                    Event::Awarded { .. } => "waiting for the seller to take it",
                    Event::Accepted { .. } | Event::Progress { .. } => "the seller is at work",
                    Event::Delivered { .. } => "taking in what was delivered",
                    _ => doing,
                };
                let at = step.task_ms as f64 / 1_000.0;
                context.printer.step(&step, format_args!("{at:>7.3} s  {}", in_words(&step.said)))?;
            }
            Some(HireEvent::Ended(ended)) => return Ok(*ended),
            // What a later daemon tells beside.
            Some(HireEvent::Unknown) => {}
            None => {
                let error = client::ClientError::Answer("the stream ended before the task did".into());
                return Err(cut_off(error, task.as_deref()));
            }
        }
    }
}

fn is_failure(event: &Event) -> bool {
    matches!(event, Event::Ended { outcome: Outcome::Failed { .. }, .. })
}

/// The daemon went away in the middle. What it had awarded goes on when it comes back, whether or not its ID was heard.
fn cut_off(error: client::ClientError, task: Option<&str>) -> CliError {
    let broke = matches!(error, client::ClientError::Http(_) | client::ClientError::Io(_));
    let mut error = CliError::from(error);
    error.told.task = error.told.task.take().or_else(|| task.map(Into::into));
    let hint = match task {
        Some(id) => {
            let id = task::short(id);
            format!(
                "an award outlives the daemon: `guilder up`, then `guilder task show {id}`, and `guilder task output {id}`"
            )
        }
        None if broke => {
            "an award outlives the daemon: `guilder up`, then `guilder task list` shows whether there is one, \
                          and `guilder task show ID` how it goes"
                .to_owned()
        }
        None => return error,
    };
    error.with_hint(hint)
}

/// Whether the daemon went away, if one was there before.
fn broke(error: &client::ClientError) -> bool {
    use client::ClientError::{Gone, Http, Io, NotRunning, Silent};
    matches!(error, Http(_) | Io(_) | NotRunning(_) | Gone(_) | Silent(_))
}

fn interrupted(task: Option<&str>) -> CliError {
    let hint = match task {
        Some(id) => format!(
            "see it: `guilder task show {0}`; its output: `guilder task output {0}`; call it off: `guilder task cancel {0}`",
            task::short(id)
        ),
        None => "see it: `guilder task list`".to_owned(),
    };
    let error = ApiError::misuse("interrupted; the task goes on in the daemon", hint);
    ApiError { task: task.map(Into::into), ..error }.into()
}

fn failure(task: &TaskView) -> CliError {
    let failure = task
        .failure
        .clone()
        .unwrap_or_else(|| ApiError::new(Fault::Environment, format!("it ended as {}", task.state), None));
    let hint = failure.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
    CliError::from(ApiError {
        message: format!("the task was not delivered: {}", failure.message),
        hint: Some(format!("{hint}more: `guilder task show {}`", task::short(&task.id))),
        ..failure
    })
}

/// It was delivered and paid, and isn't what the seller promised: scripts must not take it for good.
fn not_as_promised(task: &TaskView, why: &str) -> CliError {
    let message = "output invalid: it does not satisfy the schema that the seller's offer promised";
    let hint = format!(
        "it is paid for all the same, and counts against the seller; what was signed shows it: `guilder audit export {}`",
        task::short(&task.id)
    );
    let error = ApiError::new(Fault::Peer, message, Some(hint)).about(&task.id);
    CliError { detail: Some(why.to_owned()), ..ApiError { money: task.money.clone(), ..error }.into() }
}

/// The task with its output, for scripts.
#[derive(Serialize)]
struct Delivered<'a> {
    ended: &'a TaskView,
    /// If it is text and no file was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// If it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_base64: Option<String>,
}

impl Show for Delivered<'_> {
    fn human(&self, _: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }
}

/// Prints what a task delivered, or writes it to a file.
pub(super) async fn deliver(
    client: &Client,
    ended: &TaskView,
    place: Place,
    context: &Context,
) -> Result<(), CliError> {
    let kept = format!("the output is kept: `guilder task output {} --output FILE`", task::short(&ended.id));
    let kept = |error: CliError| error.with_hint(&kept);
    let cut = |error| if broke(&error) { cut_off(error, Some(&ended.id)) } else { error.into() };
    let mut download = client.download(&format!("{}/output", task::path(&ended.id))).await.map_err(cut)?;
    let mut delivered = Delivered { ended, output: None, output_base64: None };
    if context.printer.json() && place.file().is_none() {
        let mut output = Vec::new();
        while let Some(piece) = download.next().await.map_err(cut)? {
            output.extend_from_slice(&piece);
        }
        match String::from_utf8(output) {
            Ok(text) => delivered.output = Some(text),
            Err(error) => delivered.output_base64 = Some(BASE64.encode(error.as_bytes())),
        }
    } else {
        let file = place.file().map(|path| path.display().to_string());
        let mut writing = place.begin().map_err(kept)?;
        while let Some(piece) = download.next().await.map_err(cut)? {
            writing.piece(&piece, context).map_err(kept)?;
        }
        writing.end(context).map_err(kept)?;
        if let Some(file) = file {
            context.printer.note(format_args!("output in {file}"));
        }
    }
    context.printer.show(&delivered)
}

/// The input, read as it is sent.
fn upload(input: Option<&Path>) -> Result<Upload, CliError> {
    let Some(path) = input else { return Ok(client::empty()) };
    let fail = |cause| CliError::file("read", path, &cause);
    if path.as_os_str() == "-" {
        return Ok(client::pieces(read_pieces(tokio::io::stdin())));
    }
    let mut file = std::fs::File::open(path).map_err(fail)?;
    // Small inputs go whole, so that the node learns their length at once.
    let mut start = Vec::new();
    (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut start).map_err(fail)?;
    if start.len() < PIECE_BYTES {
        return Ok(client::bytes(start.into()));
    }
    let rest = read_pieces(tokio::fs::File::from_std(file));
    let first = futures::stream::iter([Ok(Bytes::from(start))]);
    Ok(client::pieces(futures::StreamExt::chain(first, rest)))
}

/// An input from a file, or with `-` from standard input, piece by piece.
pub(super) fn input_pieces(
    path: &Path,
) -> Result<impl futures::Stream<Item = std::io::Result<Bytes>> + Send + use<>, CliError> {
    use futures::StreamExt as _;
    if path.as_os_str() == "-" {
        return Ok(read_pieces(tokio::io::stdin()).left_stream());
    }
    let file = std::fs::File::open(path).map_err(|cause| CliError::file("read", path, &cause))?;
    Ok(read_pieces(tokio::fs::File::from_std(file)).right_stream())
}

fn read_pieces(
    reader: impl tokio::io::AsyncRead + Unpin + Send + 'static,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold(reader, async |mut reader| {
        let mut piece = vec![0; PIECE_BYTES];
        let length = reader.read(&mut piece).await?;
        piece.truncate(length);
        Ok((length > 0).then(|| (Bytes::from(piece), reader)))
    })
}
