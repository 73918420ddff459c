//! `guilder run list|show|cancel|audit`

use std::{fmt, path::PathBuf};

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use guilder_protocol::audit;
use serde::Serialize;

use super::{
    Context,
    task::{peer, short},
    wait_for,
};
use crate::{
    api::{
        client::{Client, escape, query},
        types::RunListing,
    },
    console::{CliError, Exit, Field, Show, fields, harmless::one_line, table},
    duty::{HireView, RunView, StepView},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder run list digest
  guilder run show 9f2c          the last letters of an ID are enough
  guilder run audit 9f2c --output proofs";

/// Print runs of duties, or call them off.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    /// Print the latest runs.
    List(RunListing),
    /// Print all about one run, step by step.
    Show {
        /// The run's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Wait until it is over.
        #[arg(long)]
        wait: bool,
    },
    /// Call a run off. What a seller has begun may have to be paid.
    Cancel {
        /// The run's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Check what was signed in a run, hire by hire.
    Audit {
        /// The run's ID.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// Put each hire's audit bundle into this folder.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Runs(Vec<RunView>);

/// What was signed in a run.
#[derive(Serialize)]
struct Audited {
    run: String,
    hires: Vec<AuditedHire>,
}

#[derive(Serialize)]
struct AuditedHire {
    step: String,
    task: String,
    seller: Option<String>,
    price: Option<u64>,
    /// Whether every signature and commitment in it holds.
    holds: bool,
    says: String,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        match &args.command {
            RunCommand::List(listing) => {
                context.printer.show(&Runs(client.get(&query("/v1/runs", listing)?).await?))?;
            }
            RunCommand::Show { id, wait: true } => return wait_for_run(&client, id, context).await,
            RunCommand::Show { id, wait: false } => {
                context.printer.show(&client.get::<RunView>(&path(id)).await?)?;
            }
            RunCommand::Cancel { id } => {
                context.printer.show(&client.delete::<RunView>(&path(id)).await?)?;
            }
            RunCommand::Audit { id, output } => {
                let run: RunView = client.get(&path(id)).await?;
                let audited = audited(&client, run, output.as_deref()).await?;
                let holds = audited.hires.iter().all(|hire| hire.holds);
                context.printer.show(&audited)?;
                return Ok(if holds { Exit::Done } else { Exit::No });
            }
        }
        Ok(Exit::Done)
    })
}

/// Where the API has a run.
fn path(id: &str) -> String {
    format!("/v1/runs/{}", escape(id))
}

/// Prints a run once it is over; says by the exit code whether it came to something.
pub(super) async fn wait_for_run(client: &Client, id: &str, context: &Context) -> Result<Exit, CliError> {
    loop {
        let run: RunView = client.get(&format!("{}?wait=true", path(id))).await?;
        if run.ended {
            let done = run.state == "done";
            context.printer.show(&run)?;
            return Ok(if done { Exit::Done } else { Exit::No });
        }
    }
}

async fn audited(client: &Client, run: RunView, output: Option<&std::path::Path>) -> Result<Audited, CliError> {
    let mut hires = Vec::new();
    if let Some(folder) = output {
        std::fs::create_dir_all(folder).map_err(|cause| CliError::file("make", folder, &cause))?;
    }
    for step in &run.steps {
        for hire in step.hires.iter().filter(|hire| hire.seller.is_some()) {
            let Some(task) = &hire.task else { continue };
            let mut download = client.download(&format!("/v1/tasks/{}/audit", escape(task))).await?;
            let mut bundle = Vec::new();
            while let Some(piece) = download.next().await? {
                bundle.extend_from_slice(&piece);
            }
            if let Some(folder) = output {
                let file = folder.join(format!("{}-{}.car", step.id, short(task)));
                std::fs::write(&file, &bundle).map_err(|cause| CliError::file("write", &file, &cause))?;
            }
            let (holds, says) = match audit::verify(&bundle) {
                Ok(report) => (true, format!("{} signed statements hold", report.hires.len())),
                Err(error) => (false, error.to_string()),
            };
            hires.push(AuditedHire {
                step: step.id.clone(),
                task: task.clone(),
                seller: hire.seller.clone(),
                price: hire.price,
                holds,
                says,
            });
        }
    }
    Ok(Audited { run: run.id, hires })
}

impl Show for Runs {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |run: &RunView| {
            vec![
                run.id.clone(),
                run.duty.clone(),
                run.state.clone(),
                one_line(&run.by).into_owned(),
                run.queued.to_string(),
                spent(run),
                one_line(run.failure.as_deref().unwrap_or_default()).into_owned(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(out, &["RUN", "DUTY", "STATE", "SET OFF BY", "AT", ">SPENT", "WHY"], &rows, "No runs yet.")
    }
}

fn spent(run: &RunView) -> String {
    match (&run.unit, run.spent) {
        (Some(unit), spent) => format!("{spent} {unit}"),
        (None, _) => String::new(),
    }
}

impl Show for RunView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("run", self.id.clone()),
                ("duty", self.duty.clone()),
                ("state", self.state.clone()),
                ("why", one_line(self.failure.as_deref().unwrap_or_default()).into_owned()),
                ("set off by", one_line(&self.by).into_owned()),
                ("due", self.due.map(|due| due.to_string()).unwrap_or_default()),
                ("at", self.queued.to_string()),
                ("over", self.over.map(|over| over.to_string()).unwrap_or_default()),
                ("spent", spent(self)),
            ],
        )?;
        let steps: Vec<String> = self.steps.iter().flat_map(step_lines).collect();
        fields(out, &[("steps", Field::Lines(steps))])
    }
}

/// A step in lines.
fn step_lines(step: &StepView) -> Vec<String> {
    let mut head =
        format!("{}: {}: {}, on the word of {}", step.id, one_line(&step.what), step.state, step.trust.as_str());
    if step.left_out > 0 {
        head += &format!(", {} items left out", step.left_out);
    }
    if let Some(until) = step.until.filter(|_| step.state == "going") {
        head += &format!(", until {until}");
    }
    let why = step.failure.as_deref().map(|why| format!("  {}", one_line(why)));
    std::iter::once(head).chain(why).chain(step.hires.iter().map(hire_line)).collect()
}

fn hire_line(hire: &HireView) -> String {
    let task = hire.task.as_deref().map(short).unwrap_or_default();
    let by = hire.seller.as_deref().map(|seller| format!(" by {}", peer(seller))).unwrap_or_default();
    let price = hire.price.map(|price| format!(" for {price}")).unwrap_or_default();
    let why = hire.failure.as_deref().map(|why| format!(": {}", one_line(why))).unwrap_or_default();
    format!("  item {} {task} {}{by}{price}{why}", hire.item, hire.state)
}

impl Show for Audited {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |hire: &AuditedHire| {
            vec![
                hire.step.clone(),
                short(&hire.task),
                hire.seller.as_deref().map(peer).unwrap_or_default(),
                hire.price.map(|price| price.to_string()).unwrap_or_default(),
                if hire.holds { "holds".to_owned() } else { "does not hold".to_owned() },
                one_line(&hire.says).into_owned(),
            ]
        };
        let rows: Vec<_> = self.hires.iter().map(row).collect();
        table(out, &["STEP", "TASK", "SELLER", ">PRICE", "PROOF", "IT SAYS"], &rows, "Nothing was bought in this run.")
    }
}
