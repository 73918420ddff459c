//! What a service's file says of who does the work, and which of it can't be right.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::Path};

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) mod program;

/// What does the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Run {
    /// Gives back its input.
    Echo,
    /// A program.
    Process(ProcessSettings),
    /// A local HTTP service.
    Http(HttpSettings),
    /// A tool of an MCP server.
    Mcp(McpSettings),
}

/// A program that does the work: input on stdin, output on stdout, exit code 0.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// `http://127.0.0.1:8080/path`; `https://` for one that speaks TLS.
    pub url: String,
    /// Headers sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether the URL may be on another machine. With `http://` all of it goes there in clear.
    #[serde(default)]
    pub allow_remote: bool,
}

/// A tool of an MCP server that does the work: input as its arguments, output as its answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct McpSettings {
    /// The server (a program's path, or a name looked up on the node's PATH) and its arguments. It speaks MCP on its standard
    /// input and output. No shell reads it. This or `url`.
    #[serde(default)]
    pub command: Vec<String>,
    /// Variables of its environment, beside PATH, HOME and TMPDIR.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables taken over from the node's own environment, where they are set.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Where the server is, if it speaks streamable HTTP: `http://127.0.0.1:8080/mcp`.
    #[serde(default)]
    pub url: Option<String>,
    /// Headers sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Whether the URL may be on another machine. With `http://` all of it goes there in clear.
    #[serde(default)]
    pub allow_remote: bool,
    /// The tool's name.
    pub tool: String,
    /// SHA-256 of what the tool says that it is, in hexadecimal digits: a server that says something else is off sale.
    pub definition: String,
}

/// How an MCP server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpServer {
    /// It is started, and speaks on its standard input and output.
    Program(ProcessSettings),
    /// It runs, and speaks streamable HTTP.
    Http(HttpSettings),
}

impl McpServer {
    /// What it is called in errors: the program, or the URL.
    pub fn name(&self) -> &str {
        match self {
            Self::Program(program) => program.command.first().map_or("", String::as_str),
            Self::Http(http) => &http.url,
        }
    }
}

impl McpSettings {
    /// The server.
    pub(super) fn server(&self) -> McpServer {
        let Self { command, env, pass_env, url, headers, allow_remote, .. } = self.clone();
        match url {
            Some(url) => McpServer::Http(HttpSettings { url, headers, allow_remote }),
            None => McpServer::Program(ProcessSettings { command, env, pass_env }),
        }
    }

    fn check(&self) -> Result<(), WrongField> {
        let wrong = |field, rule| Err(WrongField { field, rule });
        if self.tool.is_empty() {
            return wrong("run.mcp.tool", "the name of one of the server's tools");
        }
        if self.definition.len() != 64 || !self.definition.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return wrong(
                "run.mcp.definition",
                "64 hexadecimal digits, as `guilder service import-mcp --list -- COMMAND` shows them",
            );
        }
        match self.server() {
            McpServer::Program(_) if !self.headers.is_empty() || self.allow_remote => {
                wrong("run.mcp", "`headers` and `allow_remote` with a `url` alone")
            }
            McpServer::Program(program) => program.check(),
            McpServer::Http(_) if !self.command.is_empty() || !self.env.is_empty() || !self.pass_env.is_empty() => {
                wrong("run.mcp", "either a `command` with its `env` and `pass_env`, or a `url`")
            }
            McpServer::Http(http) if http.headers.keys().any(|name| name.to_ascii_lowercase().starts_with("mcp-")) => {
                wrong("run.mcp.headers", "none of those that the node sets itself")
            }
            McpServer::Http(http) => http.check().map_err(|error| match error.field {
                "run.http.url" => WrongField { field: "run.mcp.url", ..error },
                _ => WrongField { field: "run.mcp.headers", ..error },
            }),
        }
    }
}

/// A variable's value can be a secret: names only.
impl fmt::Debug for McpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpSettings").field("server", &self.server()).field("tool", &self.tool).finish_non_exhaustive()
    }
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

/// A field of a service's file that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be {rule}")]
pub struct WrongField {
    /// The field.
    pub field: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

impl Run {
    pub(super) fn check(&self) -> Result<(), WrongField> {
        match self {
            Self::Echo => Ok(()),
            Self::Process(process) => process.check(),
            Self::Http(http) => http.check(),
            Self::Mcp(mcp) => mcp.check(),
        }
    }
}

impl HttpSettings {
    /// Whether all of it can be right.
    ///
    /// # Errors
    /// If the URL is none that a node asks, or a header none that it sends.
    pub fn check(&self) -> Result<(), WrongField> {
        Target::parse(self).map(drop)
    }
}

impl ProcessSettings {
    /// The same with relative paths taken from `folder`: a program works in an empty folder of its own. Reads the disk.
    pub fn taken_from(mut self, folder: &Path) -> Self {
        program::take_from(folder, &mut self.command);
        self
    }

    fn check(&self) -> Result<(), WrongField> {
        let wrong = |field, rule| Err(WrongField { field, rule });
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

/// Where a service is, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether TLS is spoken with it.
    pub(super) tls: bool,
    pub(super) path: String,
    pub(super) authority: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Target {
    /// Reads and checks the settings.
    pub(super) fn parse(settings: &HttpSettings) -> Result<Self, WrongField> {
        let wrong = |field, rule| WrongField { field, rule };
        let url = || wrong("run.http.url", "an http:// or https:// URL, e.g. http://127.0.0.1:8080/run");
        let uri: Uri = settings.url.parse().map_err(|_| url())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(url)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(url()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let ours = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !ours && !settings.allow_remote {
            return Err(wrong(
                "run.http.url",
                "on this machine (127.0.0.1, [::1] or localhost), unless `allow_remote = true`",
            ));
        }
        let mut headers = Vec::new();
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name).map_err(|_| wrong("run.http.headers", "valid header names"))?;
            let value = HeaderValue::try_from(value).map_err(|_| wrong("run.http.headers", "valid header values"))?;
            if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("guilder-") {
                return Err(wrong("run.http.headers", "none of those that the node sets itself"));
            }
            headers.push((name, value));
        }
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authority: authority.as_str().to_owned(),
            headers,
        })
    }
}

/// Headers that belong to the connection or to us, beside those that begin with `guilder-`.
const RESERVED: [&str; 6] = ["connection", "content-length", "host", "idempotency-key", "transfer-encoding", "upgrade"];
