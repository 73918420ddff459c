//! `guilder service import-mcp -- COMMAND` or `URL`: puts the tools of an MCP server on sale.

use std::{collections::BTreeSet, fmt};

use guilder_protocol::{
    limits::MAX_DESCRIPTION,
    market::{ServiceName, Unit},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    api::types::ServiceView,
    cli::Context,
    config::Config,
    console::{CliError, Exit, Show, harmless::one_line, table},
    executor::{
        Definition,
        definition::{HttpSettings, McpServer, ProcessSettings, WrongField},
        mcp::{Server, ServerTool},
        process::{ProcessHost, orphans},
    },
    lab::folder::Folder,
    runtime::{Limits, Runtime},
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder service import-mcp --list -- npx -y @modelcontextprotocol/server-everything
  guilder service import-mcp --price 3 --prefix maths --only add -- ./server.py
  guilder service import-mcp --prefix maths http://127.0.0.1:8080/mcp
  guilder hire maths.add --input numbers.json";

/// Put the tools of an MCP server on sale, a service each.
///
/// The server is started once, in an empty folder and a clean environment, to ask what it has. From then on the node starts it when a
/// tool is hired, and stops it when none was for a minute. One with a URL is asked there, by streamable HTTP. Each service holds the hash of its tool's description and schemas: a server
/// that describes it otherwise one day is taken off sale. Strangers decide what the tools are called with, and what one buyer told a
/// server it may remember: sell servers that keep nothing and can do no harm.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only print what the server has.
    #[arg(long)]
    list: bool,
    /// Only this tool; may be said several times [default: all].
    #[arg(long, value_name = "TOOL")]
    only: Vec<String>,
    /// What the services' names begin with.
    #[arg(long, value_name = "NAME", default_value = "mcp")]
    prefix: ServiceName,
    /// The price of one call, net.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    price: u64,
    /// Its unit [default: wallet.unit of the node's settings].
    #[arg(long)]
    unit: Option<Unit>,
    /// A variable of the server's environment; may be said several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, conflicts_with = "url")]
    env: Vec<(String, String)>,
    /// A variable that the server gets from the node's environment; may be said several times.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pass_env: Vec<String>,
    /// A header sent to the URL; may be said several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, requires = "url")]
    header: Vec<(String, String)>,
    /// Let the URL be on another machine: all goes there in clear.
    #[arg(long, requires = "url")]
    allow_remote: bool,
    /// Longest that one call takes, in seconds.
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    time_limit_secs: u64,
    /// Memory of the server, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory_mb: u64,
    /// Where the server is, if it runs already: http://127.0.0.1:8080/mcp.
    #[arg(required_unless_present = "command")]
    url: Option<String>,
    /// The server and its arguments.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "url")]
    command: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What came of it.
#[derive(Serialize)]
struct Imported {
    added: Vec<ServiceView>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Skipped {
    tool: String,
    why: String,
}

#[derive(Serialize)]
struct Tools {
    tools: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    tool: String,
    description: String,
    definition: String,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let server = args.server()?;
    let tools = look(&server, args.memory_mb).await?;
    let wanted = |tool: &&ServerTool| args.only.is_empty() || args.only.contains(&tool.name);
    if let Some(missing) = args.only.iter().find(|name| !tools.iter().any(|tool| tool.name == **name)) {
        return Err(CliError::usage(format!("the server has no tool {missing:?}"), "`--list` shows what it has"));
    }
    if args.list {
        let tools = tools.iter().filter(wanted).map(|tool| Listed {
            tool: tool.name.clone(),
            description: tool.description.clone(),
            definition: tool.pin.clone(),
        });
        context.printer.show(&Tools { tools: tools.collect() })?;
        return Ok(Exit::Done);
    }
    let unit = match &args.unit {
        Some(unit) => unit.clone(),
        None => Config::load(context.home()?.config())?.wallet.unit,
    };
    let client = context.client()?;
    let (mut imported, mut names) = (Imported { added: Vec::new(), skipped: Vec::new() }, BTreeSet::new());
    for tool in tools.iter().filter(wanted) {
        let skip = |why: String| Skipped { tool: tool.name.clone(), why };
        let definition = match args.definition(tool, &server, &unit) {
            Ok(definition) => definition,
            Err(why) => {
                imported.skipped.push(skip(why));
                continue;
            }
        };
        if !names.insert(definition.name.clone()) {
            imported.skipped.push(skip(format!("another tool is {} already", definition.name)));
            continue;
        }
        match client.post("/v1/services", &definition).await {
            Ok(added) => imported.added.push(added),
            Err(crate::api::client::ClientError::Api(error)) => imported.skipped.push(skip(error.message)),
            Err(error) => return Err(error.into()),
        }
    }
    let exit = if imported.added.is_empty() { Exit::No } else { Exit::Done };
    context.printer.show(&imported)?;
    Ok(exit)
}

/// Starts or reaches the server, asks what it has, and ends it.
async fn look(server: &McpServer, memory_mb: u64) -> Result<Vec<ServerTool>, CliError> {
    let guard = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
    // What a program leaves behind comes to this process, which starts nothing else.
    orphans::adopt();
    let folder = Folder::make(None)?;
    let runtime = Runtime::production(Limits::default());
    let host = ProcessHost::open(guard, folder.path().join("work"), &runtime).await;
    let host = host.map_err(|cause| CliError::io("can't make a folder for the server", &cause))?;
    let server = Server::open(server, memory_mb.saturating_mul(1024 * 1024), &host, &runtime).await?;
    let tools = server.tools().to_vec();
    server.end().await;
    Ok(tools)
}

impl Args {
    fn server(&self) -> Result<McpServer, CliError> {
        if let Some(url) = self.url.clone() {
            let (headers, allow_remote) = (self.header.iter().cloned().collect(), self.allow_remote);
            let http = HttpSettings { url, headers, allow_remote };
            let wrong = |error: WrongField| {
                CliError::usage(format!("the server's URL or headers: {}", error.rule), "`--help` shows examples")
            };
            http.check().map_err(wrong)?;
            return Ok(McpServer::Http(http));
        }
        let folder = std::env::current_dir().map_err(|cause| CliError::io("can't find this folder", &cause))?;
        let env = self.env.iter().cloned().collect();
        let program = ProcessSettings { command: self.command.clone(), env, pass_env: self.pass_env.clone() };
        Ok(McpServer::Program(program.taken_from(&folder)))
    }

    /// The service that a tool becomes, or why it can't be one.
    fn definition(&self, tool: &ServerTool, server: &McpServer, unit: &Unit) -> Result<Definition, String> {
        let mut description = one_line(&tool.description).into_owned();
        description.truncate(description.floor_char_boundary(MAX_DESCRIPTION));
        let mut run = match server {
            McpServer::Program(program) => {
                json!({ "command": program.command, "env": program.env, "pass_env": program.pass_env })
            }
            McpServer::Http(http) => {
                json!({ "url": http.url, "headers": http.headers, "allow_remote": http.allow_remote })
            }
        };
        run["tool"] = tool.name.as_str().into();
        run["definition"] = tool.pin.as_str().into();
        let mut file = json!({
            "name": service_name(&self.prefix, &tool.name)?,
            "description": description,
            "price": self.price,
            "unit": unit,
            "input": tool.input,
            "time_limit_secs": self.time_limit_secs,
            "memory_mb": self.memory_mb,
            "run": { "mcp": run },
        });
        if let Some(output) = &tool.output {
            file["output"] = output.as_str().into();
        }
        // The file's own rules and defaults hold.
        let text = toml::to_string(&file).map_err(|error| error.to_string())?;
        Definition::from_toml(&text, "/".as_ref()).map_err(|error| error.to_string())
    }
}

/// `prefix.tool`, with what a service's name can't have as dashes.
fn service_name(prefix: &ServiceName, tool: &str) -> Result<ServiceName, String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let word: String = tool.chars().map(plain).collect();
    let word = word.trim_matches('-');
    format!("{prefix}.{word}").parse().map_err(|_| format!("{:?} can't be a part of a service's name", one_line(tool)))
}

impl Show for Tools {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row =
            |tool: &Listed| vec![tool.tool.clone(), tool.definition[..12].to_owned(), first_line(&tool.description)];
        let rows: Vec<_> = self.tools.iter().map(row).collect();
        table(out, &["TOOL", "DEFINITION", "WHAT"], &rows, "The server has no tools.")
    }
}

impl Show for Imported {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let row = |service: &ServiceView| {
            vec![
                service.name.to_string(),
                format!("{} {}", service.price, service.unit),
                first_line(&service.description),
            ]
        };
        let rows: Vec<_> = self.added.iter().map(row).collect();
        table(out, &["ON SALE", ">PRICE", "WHAT"], &rows, "Nothing of it could be put on sale.")?;
        for Skipped { tool, why } in &self.skipped {
            writeln!(out, "not on sale: {tool}: {why}")?;
        }
        Ok(())
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tools_become_services_names() {
        let named = |tool| service_name(&"mcp.demo".parse().unwrap(), tool).map(|name| name.to_string());
        assert_eq!(named("get_sum").unwrap(), "mcp.demo.get-sum");
        assert_eq!(named("Admin/Search.v2").unwrap(), "mcp.demo.admin-search-v2");
        for tool in ["", "7zip", "漢字", "---"] {
            assert!(named(tool).is_err(), "{tool}");
        }
    }
}
