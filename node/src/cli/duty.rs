//! `guilder duty add|check|list|show|run|pause|resume|remove`

use std::{fmt, path::PathBuf};

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use guilder_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Context,
    run::wait_for_run,
    ucan::{now, read_bounded},
    wait_for,
};
use crate::{
    api::{
        client::{Client, escape},
        types::DutyFile,
    },
    console::{CliError, Exit, Field, Show, fields, harmless::one_line, table},
    duty::{
        DutyView, RunView,
        limits::{MAX_FILE_BYTES, MAX_VALUE_BYTES},
    },
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder duty check digest.toml
  guilder duty add digest.toml
  guilder duty list
  guilder duty run digest --input urls.json --wait
  guilder duty pause digest";

/// Have work hired, run and posted on a schedule, a webhook or an event, within a budget.
///
/// A duty is a file; docs/duties.md says what stands in it. Once added it spends by itself, never more than its budget.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: DutyCommand,
}

#[derive(Debug, Subcommand)]
enum DutyCommand {
    /// Add a duty, or replace the file of the one of its name.
    Add {
        /// Its file, or - for standard input.
        file: PathBuf,
    },
    /// Read a duty's file and say what it is, or what is wrong with it. Needs no daemon.
    Check {
        /// Its file, or - for standard input.
        file: PathBuf,
    },
    /// Print all duties: when each ran, when it runs next, and why it didn't.
    List,
    /// Print all about one duty, with its latest outcomes.
    Show {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Run a duty now.
    Run {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// What `trigger` is in its inputs: a file of JSON, or - for standard input.
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// Wait until the run is over.
        #[arg(long)]
        wait: bool,
    },
    /// Pause a duty: what comes due until it is resumed is skipped.
    Pause {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Let a paused duty go on.
    Resume {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Remove a duty. A run that goes on goes on; its runs stay on record.
    Remove {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Duties(Vec<DutyView>);

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if let DutyCommand::Check { file } = &args.command {
        let view = DutyView::of_text(&read(file)?, now())?;
        context.printer.show(&view)?;
        return Ok(Exit::Done);
    }
    wait_for(async { with_daemon(&args.command, &context.client()?, context).await })
}

async fn with_daemon(command: &DutyCommand, client: &Client, context: &Context) -> Result<Exit, CliError> {
    match command {
        DutyCommand::Add { file } => {
            let file = DutyFile { file: read(file)? };
            context.printer.show(&client.post::<DutyView>("/v1/duties", &file).await?)?;
        }
        DutyCommand::Check { .. } => {}
        DutyCommand::List => context.printer.show(&Duties(client.get("/v1/duties").await?))?,
        DutyCommand::Show { name } => context.printer.show(&client.get::<DutyView>(&path(name)).await?)?,
        DutyCommand::Run { name, input, wait } => {
            let input = match input {
                Some(file) => {
                    let bytes = read_bounded(file, MAX_VALUE_BYTES as u64)?;
                    let input: Value = serde_json::from_slice(&bytes).map_err(|error| {
                        CliError::usage(format!("the input is no JSON: {error}"), "give a file of JSON")
                    })?;
                    json!({ "input": input })
                }
                None => json!({}),
            };
            let begun: RunView = client.post(&format!("{}/run", path(name)), &input).await?;
            if *wait {
                return wait_for_run(client, &begun.id, context).await;
            }
            context.printer.show(&begun)?;
        }
        DutyCommand::Pause { name } => {
            context.printer.show(&client.post::<DutyView>(&format!("{}/pause", path(name)), &()).await?)?;
        }
        DutyCommand::Resume { name } => {
            context.printer.show(&client.post::<DutyView>(&format!("{}/resume", path(name)), &()).await?)?;
        }
        DutyCommand::Remove { name } => {
            client.delete::<()>(&path(name)).await?;
            context.printer.note(format_args!("{} is removed", one_line(name)));
        }
    }
    Ok(Exit::Done)
}

fn read(file: &PathBuf) -> Result<String, CliError> {
    let bytes = read_bounded(file, MAX_FILE_BYTES as u64)?;
    String::from_utf8(bytes).map_err(|_| CliError::usage("the file is no text", "a duty's file is TOML in UTF-8"))
}

fn path(name: &str) -> String {
    format!("/v1/duties/{}", escape(name))
}

impl Show for Duties {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |duty: &DutyView| {
            vec![
                duty.name.clone(),
                moment(duty.last_ran),
                duty.last_state.clone().unwrap_or_default(),
                next(duty),
                why_not(duty),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        let none = "No duties yet. To add one: guilder duty add FILE";
        table(out, &["DUTY", "RAN", "AND", "NEXT", "WHY NOT"], &rows, none)
    }
}

fn moment(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

fn next(duty: &DutyView) -> String {
    match (&duty.paused, duty.next) {
        (Some(_), _) => "paused".to_owned(),
        (None, Some(next)) => next.to_string(),
        (None, None) => "when it is set off".to_owned(),
    }
}

/// Why it didn't run, or failed, the latest that says so.
fn why_not(duty: &DutyView) -> String {
    let skipped = duty.last_skipped.filter(|at| duty.last_ran.is_none_or(|ran| ran <= *at));
    let why = match (&duty.paused, &duty.last_failure, skipped) {
        (Some(why), ..) => why.clone(),
        (_, _, Some(at)) => format!("{at}: {}", duty.skipped_because.clone().unwrap_or_default()),
        (_, Some(why), _) => why.clone(),
        _ => String::new(),
    };
    one_line(&why).into_owned()
}

impl Show for DutyView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("duty", self.name.clone()),
                ("does", one_line(&self.description).into_owned()),
                ("budget", self.budget.clone().unwrap_or_default()),
                ("next", next(self)),
                ("ran", moment(self.last_ran)),
                ("run", self.last_run.clone().unwrap_or_default()),
                ("which is", self.last_state.clone().unwrap_or_default()),
                ("why not", why_not(self)),
            ],
        )?;
        let outcomes = self.outcomes.iter().map(|outcome| {
            let what = match (&outcome.run, &outcome.skipped) {
                (Some(run), _) => format!("ran: {run}"),
                (None, why) => format!("skipped: {}", why.clone().unwrap_or_default()),
            };
            if outcome.moments > 1 {
                format!("{} to {}, {} moments, {what}", outcome.at, outcome.to, outcome.moments)
            } else {
                format!("{}, {what}", outcome.at)
            }
        });
        let lines = |lines: Vec<String>| Field::Lines(lines.iter().map(|line| one_line(line).into_owned()).collect());
        fields(
            out,
            &[
                ("on", lines(self.on.clone())),
                ("steps", lines(self.steps.clone())),
                ("outcomes", lines(outcomes.collect())),
            ],
        )
    }
}
