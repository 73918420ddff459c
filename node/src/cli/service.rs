//! `guilder service init|test|add|import-mcp|list|remove`

mod import_mcp;
mod template;
mod trial;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use guilder_protocol::market::ServiceName;
use serde::Serialize;

use super::{Context, wait_for};
use crate::{
    api::{
        client::escape,
        types::{ApiError, ServiceView},
    },
    console::{CliError, Exit, Field, Show, fields, table},
    executor::Definition,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder service init text.count                              writes text.count.toml and a program
  guilder service test text.count.toml --input notes.txt       runs it once, without network and money
  guilder service add text.count.toml
  guilder service list
  guilder service remove text.count

`guilder service add --help` describes the file.";

const FILE: &str = "\
\x1b[1;4mA service file, with all that it can say:\x1b[0m
  name = \"text.summarize\"         # dotted lower-case
  description = \"Summarizes English text in three sentences\"
  price = 5                       # net, a task; at least 1
  unit = \"sat\"
  mints = [\"https://mint.example\"]      # default: every mint that the node accepts
  input = \"input.schema.json\"           # JSON Schema: a file beside this one, a table, or JSON text
  output = { type = \"object\" }          # default of both: any bytes
  concurrency = 1                 # works at once; this and what follows are at their defaults here
  time_limit_secs = 60            # of one work
  memory_mb = 512                 # of one work, for programs
  max_input_bytes = 1048576       # at most 64 MiB, 8 MiB with a schema
  max_output_bytes = 1048576      # the same

  # Who does the work, one of four. A program: input on stdin, output on stdout, exit code 0.
  [run.process]
  command = [\"./summarize.sh\", \"--short\"]     # no shell; a path is taken from this file's folder
  env = { MODEL = \"small\" }                   # beside PATH and a HOME of its own all that it gets,
  pass_env = [\"CUDA_VISIBLE_DEVICES\"]         # but for these, taken over from the node's environment

  # Or a local HTTP service: the input is POSTed, the answer is the output.
  [run.http]
  url = \"http://127.0.0.1:8080/summarize\"
  headers = { authorization = \"Bearer …\" }

  # Or a tool of an MCP server; `guilder service import-mcp --list -- COMMAND` finds out its definition's hash.
  [run.mcp]
  command = [\"npx\", \"-y\", \"some-server\"]
  tool = \"search\"
  definition = \"6f1c…\"

  # Or the input itself, for trying things out. This line stands above all [sections].
  run = \"echo\"";

/// Put services on sale, or take them off.
///
/// A service is a program, a local HTTP endpoint or a built-in that this node runs for others, for a price. It is on
/// sale while the daemon runs, and again after a restart.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Write a service's file, commented, and a program that works, to be changed into yours.
    Init(template::Args),
    /// Do a service's work once, here and now: with its limits and schemas, without daemon, network and money.
    ///
    /// Prints the output, what the program wrote to standard error, and the time that it took. The exit code is 1 if a hire
    /// would have failed. The program gets this shell's PATH and variables where the daemon would give its own.
    Test(trial::Args),
    /// Put a service on sale, or change one. FILE describes it.
    #[command(after_help = FILE)]
    Add {
        /// A TOML file; schemas and programs that it names by path are looked for beside it.
        file: PathBuf,
    },
    ImportMcp(import_mcp::Args),
    /// Print what is on sale here.
    List,
    /// Take a service off sale. Tasks that were accepted are still done.
    Remove {
        /// Its name.
        name: ServiceName,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Services(Vec<ServiceView>);

#[derive(Serialize)]
struct Removed {
    removed: ServiceName,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    match &args.command {
        ServiceCommand::Init(args) => return template::run(args, context),
        ServiceCommand::Test(args) => return wait_for(trial::run(args, context)),
        ServiceCommand::ImportMcp(args) => return wait_for(import_mcp::run(args, context)),
        _ => {}
    }
    wait_for(async {
        let client = context.client()?;
        match &args.command {
            ServiceCommand::Init(_) | ServiceCommand::Test(_) | ServiceCommand::ImportMcp(_) => {}
            ServiceCommand::Add { file } => {
                let added: ServiceView = client.post("/v1/services", &read(file)?).await?;
                context.printer.show(&added)?;
            }
            ServiceCommand::List => context.printer.show(&Services(client.get("/v1/services").await?))?,
            ServiceCommand::Remove { name } => {
                let () = client.delete(&format!("/v1/services/{}", escape(&name.to_string()))).await?;
                context.printer.show(&Removed { removed: name.clone() })?;
            }
        }
        Ok(Exit::Done)
    })
}

fn read(file: &Path) -> Result<Definition, CliError> {
    let text = std::fs::read_to_string(file).map_err(|cause| CliError::file("read", file, &cause))?;
    let definition = Definition::from_toml(&text, file.parent().unwrap_or(Path::new(".")));
    definition.map_err(|error| {
        let error = ApiError::of(&error);
        ApiError { message: format!("{}: {}", file.display(), error.message), ..error }.into()
    })
}

impl Show for ServiceView {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("on sale", Field::from(self.name.to_string())),
                ("what", self.description.clone().into()),
                ("price", format!("{} {} a task", self.price, self.unit).into()),
                ("mints", self.mints.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
                ("run by", self.executor.clone().into()),
                ("limits", format!("{} at once, {} s each", self.concurrency, self.time_limit_secs).into()),
            ],
        )?;
        if self.mints.is_empty() {
            let unit = &self.unit;
            writeln!(out, "\nNobody can pay for it yet: no mint that you accept is known to issue {unit}.")?;
            writeln!(out, "What they issue: guilder wallet mints")?;
            writeln!(out, "To accept one that does: guilder wallet mints add URL")?;
        }
        Ok(())
    }
}

impl Show for Services {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |service: &ServiceView| {
            vec![
                service.name.to_string(),
                format!("{} {}", service.price, service.unit),
                service.executor.clone(),
                service.concurrency.to_string(),
                format!("{} s", service.time_limit_secs),
                service.description.lines().next().unwrap_or_default().to_owned(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        let header = ["SERVICE", ">PRICE", "RUN BY", ">AT ONCE", ">TIME", "WHAT"];
        table(out, &header, &rows, "Nothing is on sale here. Add a service: guilder service add FILE")
    }
}

impl Show for Removed {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{} is off sale.", self.removed)
    }
}
