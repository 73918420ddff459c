//! Secrets that are typed, pasted or piped in: nothing of them is shown.
//!
//! A terminal's own line editing takes no line over 4,095 characters, and a token may have more; so at a terminal
//! characters are read as they come, with the few keys that matter. What may have several lines (a token that a mail
//! program folded, a phrase with one word a line) is whole once it holds enough and a line feed is followed by silence.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize as _, Zeroizing};

use crate::console::{CliError, Printer};

/// Most that is read: a token of tens of thousands of proofs.
const MAX_BYTES: u64 = 1024 * 1024;
/// Silence after a line, in tenths of a second, after which nothing more is coming from a paste.
const SILENCE_TENTHS: u8 = 3;

/// One line: a passphrase.
pub(super) fn ask_line(printer: &Printer, question: &str) -> Result<Zeroizing<String>, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return typed(printer, question, &stdin, None);
    }
    let mut line = Zeroizing::new(String::new());
    stdin.lock().take(MAX_BYTES).read_line(&mut line).map_err(|cause| unreadable(&cause))?;
    Ok(line)
}

/// Yes or no, typed where it can be seen; no if nothing is. None if there is no terminal to ask at.
pub(super) fn confirm(printer: &Printer, question: &str) -> Result<Option<bool>, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    printer.ask(question);
    let mut line = String::new();
    stdin.lock().take(MAX_BYTES).read_line(&mut line).map_err(|cause| unreadable(&cause))?;
    Ok(Some(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
}

/// All of standard input, or at a terminal lines until `is_enough`.
pub(super) fn ask_text(
    printer: &Printer,
    question: &str,
    is_enough: fn(&str) -> bool,
) -> Result<Zeroizing<String>, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return typed(printer, question, &stdin, Some(is_enough));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    stdin.lock().take(MAX_BYTES).read_to_end(&mut bytes).map_err(|cause| unreadable(&cause))?;
    text(&bytes)
}

fn unreadable(cause: &io::Error) -> CliError {
    CliError::io("can't read from standard input", cause)
}

fn text(bytes: &[u8]) -> Result<Zeroizing<String>, CliError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(CliError::usage("what was given is no text", "give it as it was printed")),
    }
}

/// Reads characters as they are typed or pasted.
fn typed(
    printer: &Printer,
    question: &str,
    stdin: &io::Stdin,
    is_enough: Option<fn(&str) -> bool>,
) -> Result<Zeroizing<String>, CliError> {
    let mut terminal = Hidden::begin(stdin)?;
    printer.ask(question);
    let mut keys = Keys::default();
    let mut piece = Zeroizing::new([0; 4_096]);
    loop {
        let is_complete = keys.is_complete(is_enough);
        if is_complete && is_enough.is_none() {
            break;
        }
        terminal.wait(is_complete.then_some(SILENCE_TENTHS))?;
        match rustix::io::read(stdin, &mut piece[..]) {
            Ok(0) => break,
            Ok(count) => match keys.take(&piece[..count]) {
                Pressed::Text => {}
                Pressed::End => break,
                Pressed::Interrupt => return Err(CliError::usage("interrupted", "nothing was done")),
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(unreadable(&cause.into())),
        }
    }
    drop(terminal);
    printer.ask("\n");
    text(&keys.typed)
}

/// What was typed so far.
#[derive(Default)]
struct Keys {
    typed: Zeroizing<Vec<u8>>,
}

enum Pressed {
    Text,
    /// Ctrl-D, or too much.
    End,
    /// Ctrl-C.
    Interrupt,
}

impl Keys {
    fn take(&mut self, bytes: &[u8]) -> Pressed {
        for &byte in bytes {
            match byte {
                0x03 => return Pressed::Interrupt,
                0x04 => return Pressed::End,
                0x08 | 0x7f => _ = self.typed.pop(),
                0x15 => self.typed.zeroize(),
                b'\r' => self.typed.push(b'\n'),
                byte => self.typed.push(byte),
            }
        }
        if self.typed.len() as u64 >= MAX_BYTES { Pressed::End } else { Pressed::Text }
    }

    /// Whether a line feed has come after what is enough; any line is if nothing says what is.
    fn is_complete(&self, is_enough: Option<fn(&str) -> bool>) -> bool {
        if self.typed.last() != Some(&b'\n') {
            return false;
        }
        is_enough.is_none_or(|is_enough| std::str::from_utf8(&self.typed).is_ok_and(is_enough))
    }
}

/// A terminal that shows nothing and hands over each character; as it was before when dropped.
struct Hidden<'a> {
    stdin: &'a io::Stdin,
    before: Termios,
    now: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(stdin: &'a io::Stdin) -> Result<Self, CliError> {
        let before = tcgetattr(stdin).map_err(|cause| unreadable(&cause.into()))?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        let mut hidden = Self { stdin, before, now };
        hidden.set(1, 0, OptionalActions::Flush)?;
        Ok(hidden)
    }

    /// For the next read: until something comes, or so many tenths of a second.
    fn wait(&mut self, tenths: Option<u8>) -> Result<(), CliError> {
        match tenths {
            None => self.set(1, 0, OptionalActions::Now),
            Some(tenths) => self.set(0, tenths, OptionalActions::Now),
        }
    }

    fn set(&mut self, min: u8, tenths: u8, when: OptionalActions) -> Result<(), CliError> {
        self.now.special_codes[SpecialCodeIndex::VMIN] = min;
        self.now.special_codes[SpecialCodeIndex::VTIME] = tenths;
        tcsetattr(self.stdin, when, &self.now).map_err(|cause| unreadable(&cause.into()))
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // What was typed too much is thrown away with the mode: it shall not end up in the shell.
        let _ = tcsetattr(self.stdin, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_what_was_typed() {
        let mut keys = Keys::default();
        assert!(matches!(keys.take(b"wrong\x15tulop\x7f\x7fip"), Pressed::Text));
        assert_eq!(keys.typed.as_slice(), b"tulip");
        assert!(!keys.is_complete(None));
        assert!(matches!(keys.take(b"\r"), Pressed::Text));
        assert!(keys.is_complete(None));
        assert!(!keys.is_complete(Some(|text| text.len() > 100)));
        assert!(matches!(keys.take(b"\x03"), Pressed::Interrupt));
        assert!(matches!(keys.take(b"\x04"), Pressed::End));
    }
}
