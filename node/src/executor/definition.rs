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
//! [run.process]                        # a program: input on stdin, output on stdout, exit code 0
//! command = ["/usr/local/bin/summarize", "--short"]
//! env = { MODEL = "small" }            # the environment is otherwise empty but for PATH, HOME, TMPDIR, GUILDER_*
//! pass_env = ["CUDA_VISIBLE_DEVICES"]  # taken over from the node's environment
//!
//! # or: [run.http]                     # a local service: POST of the input, 200 with the output
//! # url = "http://127.0.0.1:8080/summarize"
//! # headers = { authorization = "Bearer …" }
//! # allow_remote = false               # whether the URL may be on another machine
//!
//! # or: run = "echo"                   # gives back its input
//! ```
//!
//! Unknown fields are refused. With a schema the data must be JSON that satisfies it; without one it is any bytes.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use guilder_protocol::{
    fault::{AtFault, Fault},
    limits::{MAX_CONTENT, MAX_DESCRIPTION, MAX_MINTS, MAX_SCHEMA},
    market::{MintUrl, ServiceName, Unit},
};
use serde::{Deserialize, Serialize, de};

use super::{Limits, schema::SchemaError};
use crate::limits::MAX_DOCUMENT;

/// What an operator offers, as it stands in the store. [`Definition::from_toml`] reads it from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The service's name, e.g. `text.summarize`.
    pub name: ServiceName,
    /// What it does, for people; at most [`MAX_DESCRIPTION`] bytes.
    pub description: String,
    /// Net price of one task, at least 1.
    pub price: u64,
    /// The unit of `price`.
    pub unit: Unit,
    /// The mints whose ecash is taken, in order of preference; empty: every mint that the node accepts.
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
    /// What does the work.
    pub run: Run,
}

/// What does the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Run {
    /// Gives back its input.
    Echo,
    /// A program.
    Process(ProcessSettings),
    /// A local HTTP service.
    Http(HttpSettings),
}

/// A program that does the work: input on stdin, output on stdout, exit code 0.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    /// The program (its path, or a name looked up on the node's PATH) and its arguments. No shell reads it.
    pub command: Vec<String>,
    /// Variables of its environment, beside those that it gets in any case.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables taken over from the node's own environment, where they are set.
    #[serde(default)]
    pub pass_env: Vec<String>,
}

/// A local HTTP service that does the work: a POST of the input, answered with the output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// `http://127.0.0.1:8080/path`.
    pub url: String,
    /// Headers sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether the URL may be on another machine. It goes there in clear.
    #[serde(default)]
    pub allow_remote: bool,
}

/// A variable's or header's value can be a secret: names only.
impl fmt::Debug for ProcessSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSettings")
            .field("command", &self.command.first())
            .field("env", &self.env.keys())
            .field("pass_env", &self.pass_env)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("url", &self.url)
            .field("headers", &self.headers.keys())
            .field("allow_remote", &self.allow_remote)
            .finish()
    }
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
            run: written.run,
        };
        if let Run::Process(process) = &mut definition.run {
            process.take_from(folder);
        }
        definition.check()?;
        Ok(definition)
    }

    /// Looks whether the program is there, now and with the node's PATH. Reads the disk: call it through
    /// [`Job::Disk`](crate::runtime::Job::Disk).
    ///
    /// # Errors
    /// If it isn't.
    pub fn find_program(&self) -> Result<(), DefinitionError> {
        match &self.run {
            Run::Process(process) if !process.is_there() => {
                Err(DefinitionError::Program(process.command.first().cloned().unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    /// Checks all but the schemas, which [`super::Service::new`] compiles.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let wrong = |field, rule| Err(DefinitionError::Field { field, rule });
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
        match &self.run {
            Run::Echo => Ok(()),
            Run::Process(process) => process.check(),
            Run::Http(http) => http.check(),
        }
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

impl ProcessSettings {
    /// A program named by a relative path lies beside the definition, as its schemas do. (A name without a slash is
    /// looked up on PATH.)
    fn take_from(&mut self, folder: &Path) {
        let Some(program) = self.command.first_mut() else { return };
        if program.contains('/')
            && let Ok(path) = std::path::absolute(folder.join(&*program))
            && let Ok(path) = path.into_os_string().into_string()
        {
            *program = path;
        }
    }

    fn is_there(&self) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        let runs =
            |path: &Path| path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        match self.command.first() {
            Some(program) if program.contains('/') => runs(Path::new(program)),
            Some(program) => std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|folder| runs(&folder.join(program)))),
            None => false,
        }
    }

    fn check(&self) -> Result<(), DefinitionError> {
        let wrong = |field, rule| Err(DefinitionError::Field { field, rule });
        if self.command.first().is_none_or(String::is_empty) {
            return wrong("run.process.command", "a list that begins with the program, e.g. [\"/usr/bin/wc\", \"-w\"]");
        }
        if self.command.iter().chain(self.env.values()).any(|text| text.contains('\0')) {
            return wrong("run.process", "no zero bytes in arguments and variables");
        }
        let names = self.env.keys().chain(&self.pass_env);
        if names.clone().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return wrong("run.process.env", "names of variables are not empty and have no `=`");
        }
        if names.clone().any(|name| name.starts_with("GUILDER_")) {
            return wrong("run.process.env", "names that begin with GUILDER_ are set by the node");
        }
        Ok(())
    }
}

impl HttpSettings {
    fn check(&self) -> Result<(), DefinitionError> {
        super::http::Target::parse(self).map(|_| ())
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
            return Err(DefinitionError::Schema(SchemaError::TooLarge(text.len())));
        }
        Ok(text)
    }
}

/// At most the first `max_bytes` of a text file.
pub(super) fn bounded_read(path: &Path, max_bytes: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(max_bytes).read_to_string(&mut text)?;
    Ok(text)
}

/// What is wrong with a service's file.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Not TOML of the right form: the message shows the line.
    #[error("not a service definition:\n{0}")]
    Syntax(String),
    /// A field's value is out of bounds.
    #[error("`{field}` must be {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
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
    /// The program isn't there, or can't be executed.
    #[error("there is no program {0:?} that can be executed")]
    Program(String),
    /// A schema isn't taken.
    #[error(transparent)]
    Schema(SchemaError),
}

impl AtFault for DefinitionError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::SchemaFile { .. } => "paths are taken from the definition's own folder; JSON text begins with {",
            Self::Program(_) => {
                "a path is taken from the definition's own folder, a bare name from the daemon's PATH; chmod +x it"
            }
            Self::Schema(_) => "test the schema with a few inputs; it may refer only to its own #/$defs",
            _ => "`guilder service add --help` describes every field",
        })
    }
}

#[cfg(test)]
mod tests;
