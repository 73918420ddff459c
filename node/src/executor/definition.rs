//! The file that defines a service: `guilder service add FILE.toml`.
//!
//! ```toml
//! name = "text.summarize"              # dotted lower-case
//! description = "Summarizes English text in three sentences."
//! price = 5                            # net: what the seller keeps after the mint's fees
//! unit = "sat"
//! mints = ["https://mint.example"]     # default: every mint that the node accepts
//!
//! input = "input.schema.json"          # path (beside this file), inline table, or JSON text; none: any bytes
//! output = { type = "object", required = ["summary"], properties = { summary = { type = "string" } } }
//!
//! concurrency = 2                      # works at once; default 1
//! time_limit_secs = 60                 # per work; default 60
//! memory_mb = 512                      # per work, for programs; default 512
//! max_input_bytes = 1_000_000          # default 1 MiB
//! max_output_bytes = 100_000           # default 1 MiB
//!
//! [subcontract]                        # what it may pass on, where the buyer lets it; not there: nothing
//! services = ["text.translate"]        # default: whatever the buyer allows
//! budget = 4                           # the most that it may cost a task, in this service's unit; at most the price
//! strangers = false                    # whether also for buyers in escrow that have paid too little yet: they may leave you with it
//!
//! [run.process]                        # a program: input on stdin, output on stdout, exit code 0
//! command = ["/usr/local/bin/summarize", "--short"]
//! env = { MODEL = "small" }            # the environment is otherwise empty but for PATH, HOME, TMPDIR, GUILDER_*
//! pass_env = ["CUDA_VISIBLE_DEVICES"]  # taken over from the node's environment
//!
//! # or: [run.http]                     # a local service: POST of the input, 200 to 299 with the output
//! # url = "http://127.0.0.1:8080/summarize"
//! # headers = { authorization = "Bearer …" }
//! # allow_remote = false               # whether the URL may be on another machine
//!
//! # or: [run.mcp]                      # a tool of an MCP server: `guilder service import-mcp` writes it
//! # command = ["npx", "-y", "some-server"]
//! # tool = "search"
//! # definition = "6f1c…"               # the hash of what it says that it is
//! #                                    # or, in place of its command, where it speaks streamable HTTP:
//! #                                    # url = "http://127.0.0.1:8080/mcp", headers and allow_remote as above
//!
//! # or: run = "echo"                   # gives back its input
//! ```
//!
//! Unknown fields are refused. With a schema the data must be JSON that satisfies it; without one it is any bytes.

use std::{path::Path, time::Duration};

use guilder_protocol::{
    fault::{AtFault, Fault},
    limits::{MAX_CONTENT, MAX_DESCRIPTION, MAX_MINTS, MAX_SCHEMA, MAX_SUB_SERVICES},
    market::{MintUrl, ServiceName, Unit},
};
use serde::{Deserialize, Serialize, de};
use utoipa::ToSchema;

pub use super::settings::{
    HttpSettings, McpServer, McpSettings, ProcessSettings, Run, WrongField, program::ProgramError,
};
use super::{Limits, bounded_read, schema::SchemaError, settings::program};
use crate::limits::MAX_DOCUMENT;

/// What an operator offers, as it stands in the store. [`Definition::from_toml`] reads it from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The service's name, e.g. `text.summarize`.
    #[schema(value_type = String)]
    pub name: ServiceName,
    /// What it does, for people; at most [`MAX_DESCRIPTION`] bytes.
    pub description: String,
    /// Net price of one task, at least 1.
    pub price: u64,
    /// The unit of `price`.
    #[schema(value_type = String)]
    pub unit: Unit,
    /// The mints whose ecash is taken, in order of preference; empty: every mint that the node accepts.
    #[schema(value_type = Vec<String>)]
    pub mints: Vec<MintUrl>,
    /// JSON Schema of the input, as JSON text; none: any bytes are taken.
    pub input: Option<String>,
    /// JSON Schema of the output, as JSON text; none: any bytes may come.
    pub output: Option<String>,
    /// Works at once.
    pub concurrency: usize,
    /// Longest that one work takes, in seconds.
    pub time_limit_secs: u64,
    /// Memory of one work, in MiB. Only programs are held to it.
    pub memory_mb: u64,
    /// Largest input taken, in bytes.
    pub max_input_bytes: u64,
    /// Largest output given, in bytes.
    pub max_output_bytes: u64,
    /// What it may pass on, where the buyer lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subcontract: Option<Subcontract>,
    /// What does the work.
    pub run: Run,
}

/// What a service may pass on to others for the sake of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Subcontract {
    /// The services that it may hire; empty: whatever the buyer allows.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub services: Vec<ServiceName>,
    /// The most that all of it may cost, in the service's unit; at least 1, at most the price.
    pub budget: u64,
    /// Whether it is risked on buyers in escrow that haven't earned it: one that never pays leaves the seller with the cost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strangers: bool,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: ServiceName,
    #[serde(default)]
    description: String,
    price: u64,
    unit: Unit,
    #[serde(default)]
    mints: Vec<MintUrl>,
    input: Option<WrittenSchema>,
    output: Option<WrittenSchema>,
    #[serde(default = "one")]
    concurrency: usize,
    #[serde(default = "a_minute")]
    time_limit_secs: u64,
    #[serde(default = "half_a_gib")]
    memory_mb: u64,
    #[serde(default = "one_mib")]
    max_input_bytes: u64,
    #[serde(default = "one_mib")]
    max_output_bytes: u64,
    subcontract: Option<Subcontract>,
    run: Run,
}

fn one() -> usize {
    1
}

fn a_minute() -> u64 {
    60
}

fn half_a_gib() -> u64 {
    512
}

fn one_mib() -> u64 {
    1024 * 1024
}

/// A schema as it is written: JSON text, a file's path, or a table.
enum WrittenSchema {
    Text(String),
    Table(serde_json::Value),
}

impl<'de> Deserialize<'de> for WrittenSchema {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Self::Text(text),
            toml::Value::Datetime(_) => return Err(de::Error::custom("a schema is a path, JSON text or a table")),
            value => Self::Table(serde_json::to_value(value).map_err(de::Error::custom)?),
        })
    }
}

impl Definition {
    /// The most works at once that a service can allow.
    pub const MAX_CONCURRENCY: usize = 1024;
    /// The longest time limit: a day.
    pub const MAX_TIME_LIMIT_SECS: u64 = 24 * 60 * 60;

    /// Reads a definition. `folder` is where the file lies: schema files are named from there. Reads files: call it
    /// through [`Job::Disk`](crate::runtime::Job::Disk), or where nothing else runs.
    ///
    /// # Errors
    /// What is wrong with the file, in words for its writer.
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, DefinitionError> {
        let written: Written =
            toml::from_str(text).map_err(|error| DefinitionError::Syntax(error.to_string().trim_end().to_owned()))?;
        let mut definition = Self {
            name: written.name,
            description: written.description,
            price: written.price,
            unit: written.unit,
            mints: written.mints,
            input: written.input.map(|schema| schema.text("input", folder)).transpose()?,
            output: written.output.map(|schema| schema.text("output", folder)).transpose()?,
            concurrency: written.concurrency,
            time_limit_secs: written.time_limit_secs,
            memory_mb: written.memory_mb,
            max_input_bytes: written.max_input_bytes,
            max_output_bytes: written.max_output_bytes,
            subcontract: written.subcontract,
            run: written.run,
        };
        match &mut definition.run {
            Run::Process(ProcessSettings { command, .. }) | Run::Mcp(McpSettings { command, url: None, .. }) => {
                program::take_from(folder, command);
            }
            Run::Mcp(_) | Run::Http(_) | Run::Echo => {}
        }
        definition.check()?;
        Ok(definition)
    }

    /// Looks whether the program could be started, now and with the node's PATH. Reads the disk: call it through
    /// [`Job::Disk`](crate::runtime::Job::Disk).
    ///
    /// # Errors
    /// What each hire would fail by.
    pub fn find_program(&self) -> Result<(), DefinitionError> {
        match &self.run {
            Run::Process(ProcessSettings { command, .. }) | Run::Mcp(McpSettings { command, url: None, .. }) => {
                Ok(program::check(command)?)
            }
            Run::Mcp(_) | Run::Http(_) | Run::Echo => Ok(()),
        }
    }

    /// Checks all but the schemas, which [`super::Service::new`] compiles.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let wrong = |field, rule| Err(WrongField { field, rule }.into());
        if self.description.len() > MAX_DESCRIPTION {
            return wrong("description", "at most 1024 bytes");
        }
        if self.price == 0 {
            return wrong("price", "at least 1");
        }
        if self.mints.len() > MAX_MINTS {
            return wrong("mints", "at most 8");
        }
        if self.mints.iter().enumerate().any(|(index, mint)| self.mints[..index].contains(mint)) {
            return wrong("mints", "each only once");
        }
        if !(1..=Self::MAX_CONCURRENCY).contains(&self.concurrency) {
            return wrong("concurrency", "between 1 and 1024");
        }
        if !(1..=Self::MAX_TIME_LIMIT_SECS).contains(&self.time_limit_secs) {
            return wrong("time_limit_secs", "between 1 and 86400 (a day)");
        }
        if !(1..=1 << 30).contains(&self.memory_mb) {
            return wrong("memory_mb", "at least 1");
        }
        if self.max_input_bytes > MAX_CONTENT {
            return wrong("max_input_bytes", "at most 67108864 (64 MiB)");
        }
        if self.max_output_bytes > MAX_CONTENT {
            return wrong("max_output_bytes", "at most 67108864 (64 MiB)");
        }
        if self.input.is_some() && self.max_input_bytes > MAX_DOCUMENT {
            return wrong("max_input_bytes", "at most 8388608 (8 MiB) where the input has a schema");
        }
        if self.output.is_some() && self.max_output_bytes > MAX_DOCUMENT {
            return wrong("max_output_bytes", "at most 8388608 (8 MiB) where the output has a schema");
        }
        if let Some(subcontract) = &self.subcontract {
            if subcontract.budget == 0 {
                return wrong("subcontract.budget", "at least 1");
            }
            if subcontract.budget > self.price {
                return wrong("subcontract.budget", "at most the price, which is all that comes in for it");
            }
            if subcontract.services.len() > MAX_SUB_SERVICES {
                return wrong("subcontract.services", "at most 16");
            }
            if matches!(self.run, Run::Echo | Run::Mcp(_)) {
                return wrong("subcontract", "for a program or an HTTP service: an echo or an MCP server hires nobody");
            }
        }
        Ok(self.run.check()?)
    }

    /// How much one work may take.
    pub fn limits(&self) -> Limits {
        Limits {
            time: Duration::from_secs(self.time_limit_secs),
            output_bytes: self.max_output_bytes,
            memory_bytes: self.memory_mb * 1024 * 1024,
        }
    }
}

impl WrittenSchema {
    fn text(self, field: &'static str, folder: &Path) -> Result<String, DefinitionError> {
        let text = match self {
            Self::Table(value) => value.to_string(),
            Self::Text(text) if text.trim_start().starts_with('{') => text,
            Self::Text(path) => bounded_read(&folder.join(&path), MAX_SCHEMA as u64 + 1)
                .map_err(|source| DefinitionError::SchemaFile { field, path, source })?,
        };
        if text.len() > MAX_SCHEMA {
            return Err(DefinitionError::Schema { field, error: SchemaError::TooLarge(text.len()) });
        }
        Ok(text)
    }
}

/// What is wrong with a service's file.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Not TOML of the right form: the message shows the line.
    #[error("not a service definition:\n{0}")]
    Syntax(String),
    /// A field's value is out of bounds.
    #[error(transparent)]
    Field(#[from] WrongField),
    /// A schema's file can't be read.
    #[error("the schema of the {field} can't be read from {path:?}: {source}")]
    SchemaFile {
        /// `input` or `output`.
        field: &'static str,
        /// As written.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The program can't be started.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A schema isn't taken.
    #[error("the schema of the {field}: {error}")]
    Schema {
        /// `input` or `output`.
        field: &'static str,
        /// Why not.
        error: SchemaError,
    },
}

impl AtFault for DefinitionError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::SchemaFile { .. } => "paths are taken from the definition's own folder; JSON text begins with {",
            Self::Program(error) => error.hint(),
            Self::Schema { .. } => "test the schema with a few inputs; it may refer only to its own #/$defs",
            _ => "`guilder service add --help` describes every field",
        })
    }
}

#[cfg(test)]
mod tests;
