//! `guilder task list|show|output|cancel`

use std::{fmt, path::Path};

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use guilder_protocol::time::Timestamp;
use serde::Serialize;

use super::{Context, hire, output::OutputTo, wait_for};
use crate::{
    aliases::Aliases,
    api::{
        LISTED,
        client::{escape, query},
        types::{OutputCheck, TaskListing, TaskProgress, TaskSide, TaskView},
    },
    console::{CliError, Exit, Field, Look, Show, fields, quoted, table},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder task list
  guilder task show 4xw2kq        the last letters of an ID are enough
  guilder task output 4xw2kq --output summary.txt
  guilder task cancel 4xw2kq";

/// Print tasks and what they delivered, or cancel them.
///
/// Tasks are kept with their signed award and receipt. An ID may be cut to its last letters, as long as they are clear.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// Print the latest tasks, bought and sold.
    List(TaskListing),
    /// Print all about one task.
    Show {
        /// The task's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Print what a task has delivered, again or for the first time.
    Output {
        /// The task's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        to: OutputTo,
    },
    /// Count no more on the money that is locked for a task, so that another may be awarded under its `--id`.
    ///
    /// A hire with `--retry` awards a second time only once the first seller can't have its money any more. This says that you
    /// take the risk to pay twice. What falls back comes back all the same.
    WriteOff {
        /// The task's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Call a task off. What a seller has begun may have to be paid.
    Cancel {
        /// The task's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Tasks {
    found: Vec<TaskView>,
    /// Whether some were left out by what was asked for.
    #[serde(skip)]
    chosen: bool,
}

/// The command that lists what comes after `last`, of the same choice.
fn next_page(listing: &TaskListing, last: String) -> String {
    let next = TaskListing { after: Some(last), ..listing.clone() };
    let terms = serde_json::to_value(next).ok().and_then(|terms| terms.as_object().cloned()).unwrap_or_default();
    let mut command = "guilder task list".to_owned();
    for (name, value) in &terms {
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        command += &format!(" --{name} {}", quoted(Path::new(&value)));
    }
    command
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        match &args.command {
            TaskCommand::List(listing) => {
                let tasks: Vec<TaskView> = client.get(&query("/v1/tasks", listing)?).await?;
                let asked = listing.limit.unwrap_or(LISTED);
                let more = tasks.last().filter(|_| tasks.len() >= asked).map(|last| last.cursor().to_owned());
                let chosen = *listing != TaskListing { limit: listing.limit, ..TaskListing::default() };
                context.printer.show(&Tasks { found: tasks, chosen })?;
                if let Some(last) = more {
                    context.printer.note(format_args!("older ones: {}", next_page(listing, last)));
                }
            }
            TaskCommand::Show { id } => {
                context.printer.show(&client.get::<TaskView>(&path(id)).await?)?;
            }
            TaskCommand::Output { id, to } => {
                let place = to.open()?;
                let task = client.get::<TaskView>(&path(id)).await?;
                hire::deliver(&client, &task, place, context).await?;
            }
            TaskCommand::WriteOff { id } => {
                let shown = client.post::<TaskView>(&format!("{}/write-off", path(id)), &()).await?;
                context.printer.show(&shown)?;
            }
            TaskCommand::Cancel { id } => {
                context.printer.show(&client.delete::<TaskView>(&path(id)).await?)?;
            }
        }
        Ok(Exit::Done)
    })
}

/// Where the API has a task.
pub(super) fn path(id: &str) -> String {
    format!("/v1/tasks/{}", escape(id))
}

impl Show for Tasks {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |task: &TaskView| {
            vec![
                short(&task.id),
                side(task).to_owned(),
                task.service.to_string(),
                task.state.clone(),
                price(task),
                task.peer.as_deref().map(peer).unwrap_or_default(),
                task.updated.to_string(),
            ]
        };
        let rows: Vec<_> = self.found.iter().map(row).collect();
        let nothing = if self.chosen { "No task fits." } else { "No tasks yet." };
        table(out, &["ID", "SIDE", "SERVICE", "STATE", ">PRICE", "PEER", "UPDATED"], &rows, nothing)
    }
}

impl Show for TaskView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let failure =
            self.failure.as_ref().map(|failure| format!("{} (fault: {})", failure.message, failure.fault.as_str()));
        fields(
            out,
            &[
                ("task", self.id.clone()),
                ("side", side(self).to_owned()),
                ("service", self.service.to_string()),
                ("label", self.label.clone().unwrap_or_default()),
                ("state", self.state.clone()),
                ("failure", failure.unwrap_or_default()),
                ("what to do", self.failure.as_ref().and_then(|failure| failure.hint.clone()).unwrap_or_default()),
                ("progress", self.progress.as_ref().map(at).unwrap_or_default()),
                ("so far", self.progress.as_ref().map(|progress| progress.partial.clone()).unwrap_or_default()),
                ("price", price(self)),
                ("mint", self.mint.as_ref().map(ToString::to_string).unwrap_or_default()),
                ("money", self.money.clone().unwrap_or_default()),
                ("peer", self.peer.clone().unwrap_or_default()),
                ("created", self.created.to_string()),
                ("updated", self.updated.to_string()),
                ("output", self.output_bytes.map(|bytes| format!("{bytes} bytes")).unwrap_or_default()),
                ("checked", self.output_check.as_ref().map(checked).unwrap_or_default()),
                ("salt", self.salt.clone().unwrap_or_default()),
                ("award", self.award.clone().unwrap_or_default()),
                ("accepted", signed("the seller", self.accepted)),
                ("called off", signed("the buyer", self.called_off)),
                ("receipt", self.receipt.clone().unwrap_or_default()),
                ("received", signed("the buyer", self.received)),
            ],
        )?;
        let stderr = self.stderr.iter().flat_map(|stderr| stderr.lines()).map(str::to_owned).collect();
        fields(out, &[("stderr", Field::Lines(stderr))])
    }
}

/// When a party said something, by its own clock.
fn signed(by: &str, at: Option<Timestamp>) -> String {
    at.map(|at| format!("{at}, {by} signed")).unwrap_or_default()
}

pub(super) fn side(task: &TaskView) -> &'static str {
    match task.side {
        _ if task.own => "own",
        TaskSide::Buyer => "bought",
        TaskSide::Seller => "sold",
        TaskSide::Unknown => "?",
    }
}

/// Whether an output is what was promised, in one line.
fn checked(check: &OutputCheck) -> String {
    match check {
        OutputCheck::Valid => "it satisfies the schema that the offer promised".to_owned(),
        OutputCheck::Invalid { why } => {
            format!("output invalid: the offer promised otherwise, and it is paid for all the same: {why}")
        }
        OutputCheck::Unchecked { why } => format!("not checked: {why}"),
        OutputCheck::Unknown => "with a result that a later version knows".to_owned(),
    }
}

/// How far the work is, in one line.
fn at(progress: &TaskProgress) -> String {
    let share = progress.permille.map(|permille| format!("{} %", permille / 10));
    let parts = share.into_iter().chain(progress.notes.last().cloned());
    parts.collect::<Vec<_>>().join(", ")
}

pub(super) fn price(task: &TaskView) -> String {
    match (task.price, &task.unit) {
        (Some(price), Some(unit)) => format!("{price} {unit}"),
        _ => String::new(),
    }
}

/// A peer in a row: by its alias if it has one, else by the last letters of its ID.
pub(super) fn peer(id: &str) -> String {
    peer_as(&Look::now().aliases, id)
}

fn peer_as(aliases: &Aliases, id: &str) -> String {
    aliases.of(id).map_or_else(|| short(id), |alias| format!("@{alias}"))
}

/// The last letters of an ID, by which people tell one from another.
pub(super) fn short(id: &str) -> String {
    let start = id.char_indices().rev().nth(9).map_or(0, |(at, _)| at);
    id[start..].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::identity::AgentKey;

    use super::*;

    #[test]
    fn a_peer_that_has_an_alias_goes_by_it_and_any_other_by_its_last_letters() {
        let [named, other] = [1, 2].map(|seed| AgentKey::from_seed(&[seed; 32]).id().peer_id());
        let mut aliases = Aliases::default();
        aliases.add("ann", named.parse().unwrap()).unwrap();
        assert_eq!(peer_as(&aliases, &named), "@ann");
        assert_eq!(peer_as(&aliases, &other), other[other.len() - 10..]);
    }
}
