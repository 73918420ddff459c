//! `guilder mcp install CLIENT`: the lines by which a client finds this node.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    cli::Context,
    console::{CliError, Exit, Show},
};

/// The longest settings file that is changed; they have some kilobytes.
const MAX_SETTINGS: u64 = 4 * 1024 * 1024;

/// Print what makes an assistant use this node, or write it into its settings.
///
/// Without --write nothing is changed. With it the one entry `guilder` is added to the client's file, or replaced; all else in it stays.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which assistant.
    client: McpClient,
    /// Write it into the client's file.
    #[arg(long)]
    write: bool,
    /// Let it do all that you may, without a caller of its own: it then sells, sends and spends as you do.
    #[arg(long)]
    as_owner: bool,
}

/// An assistant whose settings are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum McpClient {
    /// Claude Code: .mcp.json of the folder that you are in.
    Claude,
    /// Claude Desktop.
    ClaudeDesktop,
    /// Cursor: for all its projects.
    Cursor,
    /// VS Code: .vscode/mcp.json of the folder that you are in.
    Vscode,
    /// Windsurf.
    Windsurf,
    /// Gemini CLI.
    Gemini,
    /// Codex CLI.
    Codex,
}

/// How a client's file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// JSON, with the servers under this name.
    Json(&'static str),
    /// TOML.
    Toml,
}

/// What a client is to be told.
#[derive(Serialize)]
struct Installed {
    /// Its settings.
    file: PathBuf,
    /// What stands there, or is to.
    text: String,
    /// A command that does the same, where the client has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    or_run: Option<String>,
    written: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let program = std::env::current_exe().map_err(|cause| CliError::io("can't find the guilder binary", &cause))?;
    let mut command = vec![program.display().to_string()];
    if let Some(home) = context.named_home() {
        command.extend(["--home".to_owned(), home.dir().display().to_string()]);
    }
    match context.named_caller() {
        Some(caller) => command.extend(["--as".to_owned(), caller.to_owned()]),
        None if args.as_owner => {}
        None => {
            let hint = "`guilder caller add NAME --risk medium --budget 20/day`, then say --as NAME here; --as-owner gives it all that you may";
            return Err(CliError::usage(
                "an assistant that reads what strangers write needs a caller of its own",
                hint,
            ));
        }
    }
    command.push("mcp".to_owned());
    let user = std::env::var_os("HOME").map(PathBuf::from);
    let user = user.ok_or_else(|| CliError::usage("HOME is not set", "set it to your home folder"))?;
    let (file, form) = args.client.settings(&user);
    let entry = entry(args.client, &command);
    if args.write {
        write(&file, form, &entry, &command)?;
    }
    let text = match form {
        Form::Json(servers) => pretty(&json!({ servers: { "guilder": entry } })),
        Form::Toml => section(&command),
    };
    let or_run = (args.client == McpClient::Claude).then(|| {
        format!("claude mcp add guilder -- {}", command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
    });
    context.printer.show(&Installed { file, text, or_run, written: args.write })?;
    Ok(Exit::Done)
}

impl McpClient {
    /// Where its settings are, of a user with that home folder.
    fn settings(self, user: &Path) -> (PathBuf, Form) {
        let desktop = if cfg!(target_os = "macos") { "Library/Application Support/Claude" } else { ".config/Claude" };
        match self {
            Self::Claude => (".mcp.json".into(), Form::Json("mcpServers")),
            Self::ClaudeDesktop => (user.join(desktop).join("claude_desktop_config.json"), Form::Json("mcpServers")),
            Self::Cursor => (user.join(".cursor/mcp.json"), Form::Json("mcpServers")),
            Self::Vscode => (".vscode/mcp.json".into(), Form::Json("servers")),
            Self::Windsurf => (user.join(".codeium/windsurf/mcp_config.json"), Form::Json("mcpServers")),
            Self::Gemini => (user.join(".gemini/settings.json"), Form::Json("mcpServers")),
            Self::Codex => (user.join(".codex/config.toml"), Form::Toml),
        }
    }
}

fn entry(client: McpClient, command: &[String]) -> Value {
    let (program, arguments) = command.split_at(1);
    let mut entry = json!({ "command": program[0], "args": arguments });
    if client == McpClient::Vscode {
        entry["type"] = "stdio".into();
    }
    entry
}

/// The same for TOML, where a string is quoted as in JSON.
fn section(command: &[String]) -> String {
    let (program, arguments) = command.split_at(1);
    format!("[mcp_servers.guilder]\ncommand = {}\nargs = {}\n", json!(program[0]), json!(arguments))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Writes the one entry into a client's file. A file that can't be read as what it should be is left as it is.
fn write(file: &Path, form: Form, entry: &Value, command: &[String]) -> Result<(), CliError> {
    let old = match fs::metadata(file) {
        Ok(found) if found.len() > MAX_SETTINGS => return Err(by_hand(file, "it is larger than any settings are")),
        Ok(_) => fs::read_to_string(file).map_err(|cause| CliError::file("read", file, &cause))?,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => String::new(),
        Err(cause) => return Err(CliError::file("read", file, &cause)),
    };
    let new = match form {
        Form::Json(servers) => merged(&old, servers, entry).map_err(|why| by_hand(file, &why))?,
        Form::Toml if old.contains("[mcp_servers.guilder]") => {
            return Err(by_hand(file, "it has a section [mcp_servers.guilder] already"));
        }
        Form::Toml => {
            let gap = if old.is_empty() || old.ends_with("\n\n") { "" } else { "\n" };
            format!("{old}{gap}{}", section(command))
        }
    };
    let failed = |cause| CliError::file("write", file, &cause);
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // A link is followed, and what it leads to replaced as a whole.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let beside = file.with_extension("guilder-new");
    // Others' keys may stand in it: nobody else reads it, not for a moment. What an interrupted write left is overwritten.
    let _ = fs::remove_file(&beside);
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    opened.and_then(|mut opened| opened.write_all(new.as_bytes())).map_err(failed)?;
    if let Ok(found) = fs::metadata(&file) {
        fs::set_permissions(&beside, found.permissions()).map_err(failed)?;
    }
    fs::rename(&beside, &file).map_err(failed)
}

/// The file's text with the entry in it.
fn merged(old: &str, servers: &str, entry: &Value) -> Result<String, String> {
    let mut settings: Map<String, Value> = match old.trim() {
        "" => Map::new(),
        text => serde_json::from_str(text).map_err(|error| format!("it is not plain JSON: {error}"))?,
    };
    let place = settings.entry(servers).or_insert_with(|| json!({}));
    let place = place.as_object_mut().ok_or_else(|| format!("its {servers:?} is not an object"))?;
    place.insert("guilder".to_owned(), entry.clone());
    Ok(pretty(&Value::Object(settings)))
}

fn by_hand(file: &Path, why: &str) -> CliError {
    let message = format!("{} was left as it is: {why}", file.display());
    CliError::usage(message, "run the same without --write, and put the lines in by hand")
}

impl Show for Installed {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let file = self.file.display();
        if self.written {
            return writeln!(out, "Written to {file}. Start the client anew; it needs the node to run: guilder up");
        }
        writeln!(out, "Put into {file}:\n\n{}", self.text)?;
        if let Some(command) = &self.or_run {
            writeln!(out, "or run: {command}")?;
        }
        writeln!(out, "The same with --write does it. The node must run: guilder up")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_is_added_to_what_is_there_and_nothing_else_is_changed() {
        let entry = entry(McpClient::Cursor, &["/bin/guilder".into(), "mcp".into()]);
        let old = r#"{"theme": "dark", "mcpServers": {"other": {"command": "x"}}}"#;
        let new: Value = serde_json::from_str(&merged(old, "mcpServers", &entry).unwrap()).unwrap();
        assert_eq!(new["theme"], "dark");
        assert_eq!(new["mcpServers"]["other"]["command"], "x");
        assert_eq!(new["mcpServers"]["guilder"], json!({ "command": "/bin/guilder", "args": ["mcp"] }));
        let again = merged(&new.to_string(), "mcpServers", &entry).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), new);
        for old in ["// a comment\n{}", "[]", r#"{"mcpServers": 7}"#] {
            assert!(merged(old, "mcpServers", &entry).is_err(), "{old}");
        }
    }

    #[test]
    fn a_file_that_is_there_keeps_what_it_says_and_a_strange_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, command) = (folder.path().join("a/config.toml"), ["/bin/guilder".to_owned(), "mcp".to_owned()]);
        let entry = entry(McpClient::Codex, &command);
        write(&file, Form::Toml, &entry, &command).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let read: toml::Value = toml::from_str(&text).unwrap();
        assert_eq!(read["mcp_servers"]["guilder"]["args"][0].as_str(), Some("mcp"));
        assert!(write(&file, Form::Toml, &entry, &command).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1, "nothing is left beside it");
    }
}
