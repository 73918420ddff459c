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
};

use serde::Serialize;

use super::{
    command::with_home,
    error::CliError,
    harmless::{self, one_line},
};

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

    /// A result.
    ///
    /// # Errors
    /// If standard output can't be written; a reader that went away is no error.
    pub fn show<T: Show>(&self, result: &T) -> Result<(), CliError> {
        let text = if self.json { json_line(result)? } else { with_home(&human(result)?, self.home.as_ref()) };
        self.bytes(text.as_bytes())
    }

    /// A result that is lost if nobody gets it: a reader that went away is an error, too.
    ///
    /// # Errors
    /// If standard output didn't take all of it.
    pub fn hand_over<T: Show>(&self, result: &T) -> Result<(), CliError> {
        let text = if self.json { json_line(result)? } else { human(result)? };
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
            let _ = writeln!(self.err.borrow_mut(), "{}", with_home(&one_line(&line.to_string()), self.home.as_ref()));
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
        let hint = error.hint.as_ref().map(|hint| with_home(hint, self.home.as_ref()));
        let text = if self.json { error_json(error, hint) } else { self.error_text(error, hint) };
        let _ = self.err.borrow_mut().write_all(text.as_bytes());
    }

    fn error_text(&self, error: &CliError, hint: Option<String>) -> String {
        let label = |name: &str, color: &str| {
            if self.color { format!("\x1b[1;{color}m{name}:\x1b[0m") } else { format!("{name}:") }
        };
        let mut text = format!("{} {}\n", label("error", "31"), one_line(&error.message));
        for line in error.detail.iter().flat_map(|detail| detail.lines()) {
            text += &format!("  | {}\n", one_line(line));
        }
        text += &format!("{} {}\n", label("fault", "33"), error.fault.as_str());
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
    match serde_json::to_string(value) {
        Ok(line) => Ok(harmless::json(&line).into_owned() + "\n"),
        Err(error) => Err(CliError::io("can't write the result as JSON", &error.into())),
    }
}

fn human<T: Show>(result: &T) -> Result<String, CliError> {
    let mut text = String::new();
    match result.human(&mut text) {
        Ok(()) => Ok(harmless::lines(&text).into_owned()),
        Err(fmt::Error) => Err(CliError::io("can't write the result", &io::Error::other("formatting failed"))),
    }
}

fn error_json(error: &CliError, hint: Option<String>) -> String {
    let value = serde_json::json!({ "error": {
        "message": error.message,
        "detail": error.detail,
        "fault": error.fault.code(),
        "hint": hint,
        "exit": error.exit as u8,
    }});
    harmless::json(&value.to_string()).into_owned() + "\n"
}

/// Whether what is written there may be coloured: to a terminal that can, and nobody said no (<https://no-color.org>).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// Rows with aligned columns: those whose name begins with `>` to the right, as amounts stand. The header is left out where
/// there are no rows, and `nothing` said instead.
pub fn table(out: &mut dyn fmt::Write, header: &[&str], rows: &[Vec<String>], nothing: &str) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "{nothing}");
    }
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('>')).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([names[column].chars().count()]).max().unwrap_or(0)
    };
    let columns: Vec<_> = (0..header.len()).map(|column| (width(column), header[column].starts_with('>'))).collect();
    let head = names.iter().map(|&name| name.into()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row
            .iter()
            .zip(&columns)
            .map(|(cell, &(width, right))| if right { format!("{cell:>width$}") } else { format!("{cell:width$}") });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// The value of a field.
#[derive(Clone, Debug)]
pub enum Field {
    /// On its line.
    Line(String),
    /// On several lines, each below the one before.
    Lines(Vec<String>),
}

impl From<String> for Field {
    fn from(line: String) -> Self {
        Self::Line(line)
    }
}

impl From<Vec<String>> for Field {
    fn from(lines: Vec<String>) -> Self {
        Self::Lines(lines)
    }
}

/// Lines of `name  value`, aligned; those with an empty value are left out.
pub fn fields<F: Clone + Into<Field>>(out: &mut dyn fmt::Write, pairs: &[(&str, F)]) -> fmt::Result {
    let lines = |value: &F| match value.clone().into() {
        Field::Line(line) if line.is_empty() => Vec::new(),
        Field::Line(line) => vec![line],
        Field::Lines(lines) => lines,
    };
    let shown: Vec<_> = pairs.iter().map(|(name, value)| (*name, lines(value))).collect();
    let width = shown.iter().filter(|(_, lines)| !lines.is_empty()).map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    for (name, lines) in shown {
        for (index, line) in lines.iter().enumerate() {
            writeln!(out, "{:width$}  {}", if index == 0 { name } else { "" }, one_line(line))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_forged_line_in_a_cell_or_a_field_stays_in_its_line() {
        let forged = "cheap\n12D3KooWhonest  1 sat\x1b[8m".to_owned();
        let mut text = String::new();
        table(&mut text, &["SELLER", "WHAT"], &[vec!["12D3KooWa".into(), forged.clone()]], "").unwrap();
        fields(&mut text, &[("what", forged)]).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn amounts_stand_to_the_right_and_words_to_the_left() {
        let row = |price: &str| vec!["a.b".to_owned(), price.to_owned(), "x".to_owned()];
        let mut text = String::new();
        table(&mut text, &["SERVICE", ">PRICE", "WHAT"], &[row("7 sat"), row("1200 sat")], "").unwrap();
        assert_eq!(text, "SERVICE     PRICE  WHAT\na.b         7 sat  x\na.b      1200 sat  x\n");
    }

    #[test]
    fn a_field_has_as_many_lines_as_it_was_given() {
        let mut text = String::new();
        let many = Field::from(vec!["one".to_owned(), "two".to_owned()]);
        let pairs = [("a", Field::from("x".to_owned())), ("none", String::new().into()), ("many", many)];
        fields(&mut text, &pairs).unwrap();
        assert_eq!(text, "a     x\nmany  one\n      two\n");
    }

    #[test]
    fn an_error_is_told_in_its_own_lines() {
        let mut error = CliError::usage("failed: x\nfault: nobody", "wait\r\x1b[2K");
        error.detail = Some("log 1\nlog 2\x1b[31m".into());
        let printer = Printer { color: false, ..Printer::stdio(false) };
        let expected = "error: failed: x\\nfault: nobody\n  | log 1\n  | log 2\\u{1b}[31m\n\
                        fault: this node or its user\nhint: wait\\r\\u{1b}[2K\n";
        assert_eq!(printer.error_text(&error, error.hint.clone()), expected);
    }
}
