//! The one place that writes to the terminal.
//!
//! Results go to standard output, for people or, with `--json`, as one JSON value (or one a line, for streams). What is
//! said on the way there, questions and errors go to standard error, so that output can be piped.

use std::{
    cell::RefCell,
    fmt,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use super::error::CliError;

/// A result that can be shown to people and to machines.
pub trait Show: Serialize {
    /// For people: lines that end with a line feed.
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// Writes results, progress and errors.
pub struct Printer {
    json: bool,
    color: bool,
    out: RefCell<Box<dyn Write>>,
    err: RefCell<Box<dyn Write>>,
}

impl Printer {
    /// To this process's standard output and error.
    pub fn stdio(json: bool) -> Self {
        let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::new(json, color, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// To any two writers.
    pub fn new(json: bool, color: bool, out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self { json, color, out: RefCell::new(out), err: RefCell::new(err) }
    }

    /// Whether results are wanted as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// A result.
    ///
    /// # Errors
    /// If standard output can't be written; a reader that went away is no error.
    pub fn show<T: Show>(&self, result: &T) -> Result<(), CliError> {
        let text = if self.json { json_line(result)? } else { human(result)? };
        self.bytes(text.as_bytes())
    }

    /// A step on the way to a result: for people a line on standard error; with `--json` a line of `json` on standard
    /// output.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn step<T: Serialize>(&self, json: &T, human: impl fmt::Display) -> Result<(), CliError> {
        if self.json {
            self.bytes(json_line(json)?.as_bytes())
        } else {
            self.note(human);
            Ok(())
        }
    }

    /// A line of a result that comes step by step: `human`, or with `--json` the line of `json`, on standard output.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn line<T: Serialize>(&self, json: &T, human: impl fmt::Display) -> Result<(), CliError> {
        let text = if self.json { json_line(json)? } else { format!("{human}\n") };
        self.bytes(text.as_bytes())
    }

    /// A line for people, on standard error; nothing with `--json`.
    pub fn note(&self, line: impl fmt::Display) {
        if !self.json {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(self.err.borrow_mut(), "{line}");
        }
    }

    /// A question, on standard error, the cursor left behind it.
    pub fn ask(&self, question: &str) {
        let mut err = self.err.borrow_mut();
        let _ = write!(err, "{question}").and_then(|()| err.flush());
    }

    /// Raw output.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = self.out.borrow_mut();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::io("can't write to standard output", &cause))
            }
            _ => Ok(()),
        }
    }

    /// An error, on standard error.
    pub fn error(&self, error: &CliError) {
        let text = if self.json { error_json(error) } else { self.error_text(error) };
        let _ = self.err.borrow_mut().write_all(text.as_bytes());
    }

    fn error_text(&self, error: &CliError) -> String {
        let label = |name: &str, color: &str| {
            if self.color { format!("\x1b[1;{color}m{name}:\x1b[0m") } else { format!("{name}:") }
        };
        let mut text = format!("{} {}\n", label("error", "31"), error.message);
        text += &format!("{} {}\n", label("fault", "33"), error.fault.as_str());
        if let Some(hint) = &error.hint {
            text += &format!("{} {hint}\n", label("hint", "36"));
        }
        text
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").field("json", &self.json).finish_non_exhaustive()
    }
}

fn json_line<T: Serialize>(value: &T) -> Result<String, CliError> {
    match serde_json::to_string(value) {
        Ok(line) => Ok(line + "\n"),
        Err(error) => Err(CliError::io("can't write the result as JSON", &error.into())),
    }
}

fn human<T: Show>(result: &T) -> Result<String, CliError> {
    let mut text = String::new();
    match result.human(&mut text) {
        Ok(()) => Ok(text),
        Err(fmt::Error) => Err(CliError::io("can't write the result", &io::Error::other("formatting failed"))),
    }
}

fn error_json(error: &CliError) -> String {
    let value = serde_json::json!({ "error": {
        "message": error.message,
        "fault": error.fault.code(),
        "hint": error.hint,
        "exit": error.exit as u8,
    }});
    format!("{value}\n")
}

/// Rows with aligned columns. The header is left out where there are no rows, and `nothing` said instead.
pub fn table(out: &mut dyn fmt::Write, header: &[&str], rows: &[Vec<String>], nothing: &str) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "{nothing}");
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let head: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Lines of `name  value`, aligned; those with an empty value are left out.
pub fn fields(out: &mut dyn fmt::Write, pairs: &[(&str, String)]) -> fmt::Result {
    let shown = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in shown() {
        let indented = value.replace('\n', &format!("\n{:indent$}", "", indent = width + 2));
        writeln!(out, "{name:width$}  {indented}")?;
    }
    Ok(())
}
