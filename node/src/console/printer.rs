//! The one place that writes to the terminal.
//!
//! Results go to standard output, for people or, with `--json`, as one JSON value (or one a line, for streams). What is
//! said on the way there, questions and errors go to standard error, so that output can be piped.
//!
//! All text passes [`harmless`]. What stands within a line (a cell, a field, a step, a note, an error) is held to that line;
//! a result as a whole keeps its lines, so what it quotes from outside in free text has to be a [`harmless::one_line`] of
//! its own. Bytes that a task delivered are left as they are, but on a terminal, unless they are asked for raw.

use std::{
    cell::RefCell,
    fmt,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    command::with_home,
    error::CliError,
    harmless::{self, one_line, painted},
    look::Look,
};
use crate::api::types::ApiError;

/// A result that can be shown to people and to machines.
pub trait Show: Serialize {
    /// For people: lines that end with a line feed.
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}

/// Writes results, progress and errors.
pub struct Printer {
    json: bool,
    color: bool,
    /// Whether standard output is a terminal.
    terminal: bool,
    /// As it was named on the command line, for the commands in what is said.
    home: Option<PathBuf>,
    out: RefCell<Box<dyn Write>>,
    err: RefCell<Box<dyn Write>>,
}

impl Printer {
    /// To this process's standard output and error.
    pub fn stdio(json: bool) -> Self {
        Self {
            json,
            color: is_coloured(&io::stderr()),
            terminal: io::stdout().is_terminal(),
            home: None,
            out: RefCell::new(Box::new(io::stdout())),
            err: RefCell::new(Box::new(io::stderr())),
        }
    }

    /// Has the commands in what is said name this home.
    #[must_use]
    pub fn on_home(self, home: Option<PathBuf>) -> Self {
        Self { home, ..self }
    }

    /// Whether results are wanted as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether what is said to people, on standard error, is read at a terminal.
    pub fn is_read_by_a_person(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Whether results are read at a terminal.
    pub fn is_for_a_terminal(&self) -> bool {
        !self.json && self.terminal
    }

    /// A result.
    ///
    /// # Errors
    /// If standard output can't be written; a reader that went away is no error.
    pub fn show<T: Show>(&self, result: &T) -> Result<(), CliError> {
        let text = if self.json { json_line(result)? } else { self.spoken(&human(result)?) };
        self.bytes(text.as_bytes())
    }

    /// A result that is lost if nobody gets it: a reader that went away is an error, too.
    ///
    /// # Errors
    /// If standard output didn't take all of it.
    pub fn hand_over<T: Show>(&self, result: &T) -> Result<(), CliError> {
        let text = if self.json { json_line(result)? } else { painted(&human(result)?, false) };
        let mut out = self.out.borrow_mut();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|cause| CliError::io("can't write to standard output", &cause))
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
        let text = if self.json { json_line(json)? } else { harmless::lines(&format!("{human}\n")).into_owned() };
        self.bytes(text.as_bytes())
    }

    /// A line for people, on standard error; nothing with `--json`.
    pub fn note(&self, line: impl fmt::Display) {
        if !self.json {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(self.err.borrow_mut(), "{}", self.spoken(&one_line(&line.to_string())));
        }
    }

    /// Waits for something. Where that takes more than a moment a terminal is told what goes on, and for how long, on a line that
    /// goes away with it.
    pub async fn waiting<T>(&self, what: impl fmt::Display, work: impl Future<Output = T>) -> T {
        if !self.is_read_by_a_person() {
            return work.await;
        }
        let began = Instant::now();
        let mut shown = false;
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    if shown {
                        self.ask("\r\x1b[2K");
                    }
                    return done;
                }
                () = sleep(Duration::from_secs(1)) => {
                    shown = true;
                    let what = self.spoken(&one_line(&what.to_string()));
                    self.ask(&format!("\r\x1b[2K{:>3} s  {what} …", began.elapsed().as_secs()));
                }
            }
        }
    }

    /// A question, on standard error, the cursor left behind it.
    pub fn ask(&self, question: &str) {
        let mut err = self.err.borrow_mut();
        let _ = write!(err, "{question}").and_then(|()| err.flush());
    }

    /// What a task delivered, a piece at a time: as it is, but on a terminal as text of which nothing is obeyed, unless it
    /// is wanted `raw`. `shown` is kept from piece to piece.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn output(&self, piece: &[u8], shown: &mut harmless::ForTerminal, raw: bool) -> Result<(), CliError> {
        if raw || !self.terminal { self.bytes(piece) } else { self.bytes(shown.piece(piece).as_bytes()) }
    }

    /// The end of what [`Self::output`] printed.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn end_output(&self, shown: &mut harmless::ForTerminal) -> Result<(), CliError> {
        self.bytes(shown.end().as_bytes())
    }

    /// Bytes as they are.
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
        let hint = error.told.hint.as_deref();
        let text = if self.json {
            // Whole IDs, as in all JSON.
            error_json(error, hint.map(|hint| with_home(hint, self.home.as_ref())))
        } else {
            self.error_text(error, hint.map(|hint| self.spoken(hint)))
        };
        let _ = self.err.borrow_mut().write_all(text.as_bytes());
    }

    /// Text for people, as they say it: with the home in its commands, and with the names that they gave.
    fn spoken(&self, text: &str) -> String {
        let look = Look::now();
        let text = look.aliases.put_into(&with_home(text, self.home.as_ref()));
        painted(&text, look.coloured)
    }

    fn error_text(&self, error: &CliError, hint: Option<String>) -> String {
        let label = |name: &str, color: &str| {
            if self.color { format!("\x1b[1;{color}m{name}:\x1b[0m") } else { format!("{name}:") }
        };
        let message = Look::now().aliases.put_into(&one_line(&error.told.message));
        let mut text = format!("{} {message}\n", label("error", "31"));
        for line in error.detail.iter().flat_map(|detail| detail.lines()) {
            text += &format!("  | {}\n", one_line(line));
        }
        text += &format!("{} {}\n", label("fault", "33"), error.told.fault.as_str());
        if let Some(hint) = hint {
            text += &format!("{} {}\n", label("hint", "36"), one_line(&hint));
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
    let aliases = &Look::now().aliases;
    let written = if aliases.is_empty() {
        serde_json::to_string(value)
    } else {
        serde_json::to_value(value).map(|mut value| {
            aliases.beside(&mut value);
            value.to_string()
        })
    };
    match written {
        Ok(line) => Ok(harmless::json(&line).into_owned() + "\n"),
        Err(error) => Err(CliError::io("can't write the result as JSON", &error.into())),
    }
}

fn human<T: Show>(result: &T) -> Result<String, CliError> {
    let mut text = String::new();
    match result.human(&mut text) {
        Ok(()) => Ok(harmless::coloured_lines(&text).into_owned()),
        Err(fmt::Error) => Err(CliError::io("can't write the result", &io::Error::other("formatting failed"))),
    }
}

fn error_json(error: &CliError, hint: Option<String>) -> String {
    let told = ApiError { hint, ..(*error.told).clone() };
    let mut value = serde_json::json!({ "error": told });
    value["error"]["detail"] = error.detail.clone().into();
    value["error"]["exit"] = (error.exit as u8).into();
    harmless::json(&value.to_string()).into_owned() + "\n"
}

/// Whether what is written there may be coloured: to a terminal that can, and nobody said no (<https://no-color.org>).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_error_is_told_in_its_own_lines() {
        let mut error = CliError::usage("failed: x\nfault: nobody", "wait\r\x1b[2K");
        error.detail = Some("log 1\nlog 2\x1b[31m".into());
        let printer = Printer { color: false, ..Printer::stdio(false) };
        let expected = "error: failed: x\\nfault: nobody\n  | log 1\n  | log 2\\u{1b}[31m\n\
                        fault: this node or its user\nhint: wait\\r\\u{1b}[2K\n";
        assert_eq!(printer.error_text(&error, error.told.hint.clone()), expected);
    }
}
