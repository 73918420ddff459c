//! Text from outside, made harmless: the one place that everything passes which was written by somebody else, before it
//! reaches a terminal or a log.
//!
//! A service's description, a progress note, a mint's name, a program's standard error: each may hold escape sequences
//! (which set titles, move the cursor, fill the clipboard), C1 controls (the same without an escape), bidirectional
//! overrides (which show text in another order than it has), invisible characters, or line feeds by which a forged line
//! stands beside our own. All of them are shown as what they are: `\u{1b}`, `\n`.

use std::{borrow::Cow, fmt::Write as _};

/// Text that stands within a line: a line feed is shown as `\n`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful, |c, out| out.extend(c.escape_default()))
}

/// Text of several lines of ours: line feeds and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'), |c, out| out.extend(c.escape_default()))
}

/// As [`lines`], where a [`Colour`] of ours may be in it too.
pub(super) fn coloured_lines(text: &str) -> Cow<'_, str> {
    let harmful = |c| is_harmful(c) && !matches!(c, '\n' | '\t') && !is_mark(c);
    escaped(text, harmful, |c, out| out.extend(c.escape_default()))
}

/// The same of one line.
pub(super) fn coloured_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_harmful(c) && !is_mark(c), |c, out| out.extend(c.escape_default()))
}

/// A colour of ours in a result. Until the printer writes it, it is a mark of two private characters, which text from outside can't have:
/// they count as harmful there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// It went well.
    Green,
    /// It didn't.
    Red,
    /// It was broken off.
    Yellow,
    /// It is under way.
    Cyan,
}

const PLAIN: char = '\u{f8f0}';

impl Colour {
    const ALL: [(Self, char, &str); 4] = [
        (Self::Green, '\u{f8f1}', "\x1b[32m"),
        (Self::Red, '\u{f8f2}', "\x1b[31m"),
        (Self::Yellow, '\u{f8f3}', "\x1b[33m"),
        (Self::Cyan, '\u{f8f4}', "\x1b[36m"),
    ];

    /// Text in this colour.
    pub(super) fn around(self, text: &str) -> String {
        let mark = Self::ALL.iter().find(|(colour, ..)| *colour == self).map_or(PLAIN, |(_, mark, _)| *mark);
        format!("{mark}{text}{PLAIN}")
    }
}

fn is_mark(c: char) -> bool {
    c == PLAIN || Colour::ALL.iter().any(|(_, mark, _)| *mark == c)
}

/// What of a line there is room for; marks take none.
pub(super) fn visible(line: &str, columns: usize) -> String {
    let mut room = columns;
    let fits = |c: &char| {
        let takes = usize::from(!is_mark(*c));
        let fits = room >= takes;
        room -= takes.min(room);
        fits
    };
    let shown: String = line.chars().take_while(fits).collect();
    // A colour that was begun ends with the line.
    if shown.len() < line.len() && line.contains(PLAIN) { shown + &PLAIN.to_string() } else { shown }
}

/// The text with its marks as a terminal takes them, or without.
pub(super) fn painted(text: &str, coloured: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match Colour::ALL.iter().find(|(_, mark, _)| *mark == c) {
            _ if !is_mark(c) => shown.push(c),
            _ if !coloured => {}
            Some((_, _, begin)) => shown.push_str(begin),
            None => shown.push_str("\x1b[0m"),
        }
    }
    shown
}

/// JSON that was just written: harmful characters, which can only stand in its strings, become `\uXXXX`. Reads as the same
/// value.
pub fn json(text: &str) -> Cow<'_, str> {
    let escape = |c: char, out: &mut String| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A String takes everything.
            let _ = write!(out, "\\u{unit:04x}");
        }
    };
    escaped(text, |c| is_harmful(c) && c != '\n', escape)
}

/// Whether a terminal does anything with a character but show it where it stands.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' // marks, spaces without width
            | '\u{2028}'..='\u{202e}' // separators of lines, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // isolates, invisible operators
            | '\u{fff9}'..='\u{fffb}' // annotations
            | '\u{f8f0}'..='\u{f8f4}' // marks of our own
            | '\u{e0000}'..='\u{e007f}' // tags
        )
}

fn escaped(text: &str, harmful: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let Some(first) = text.find(&harmful) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    for c in text[first..].chars() {
        if harmful(c) { escape(c, &mut shown) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Bytes that come in pieces, on their way to a terminal: text of several lines, and `\xNN` for what is no UTF-8.
#[derive(Debug, Default)]
pub struct ForTerminal {
    /// The beginning of a character whose end hasn't come.
    partial: Vec<u8>,
}

impl ForTerminal {
    /// The next piece, as it can be shown.
    pub fn piece(&mut self, bytes: &[u8]) -> String {
        let mut rest = std::mem::take(&mut self.partial);
        rest.extend_from_slice(bytes);
        let mut shown = String::with_capacity(rest.len());
        for chunk in rest.utf8_chunks() {
            shown.push_str(&lines(chunk.valid()));
            let invalid = chunk.invalid();
            if chunk_ends(&rest, invalid) && is_beginning(invalid) {
                self.partial = invalid.to_vec();
            } else {
                shown.push_str(&hexadecimal(invalid));
            }
        }
        shown
    }

    /// What is left at the end.
    pub fn end(&mut self) -> String {
        hexadecimal(&std::mem::take(&mut self.partial))
    }
}

/// Whether `part`, a slice of `all`, is its end.
fn chunk_ends(all: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && all.as_ptr_range().end == part.as_ptr_range().end
}

/// Whether more bytes could make these a character.
fn is_beginning(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What strangers send, and how it is shown within a line.
    const HOSTILE: [(&str, &str); 10] = [
        ("\u{f8f1}done\u{f8f0}", r"\u{f8f1}done\u{f8f0}"),
        ("ok\n  0.111 s  done", r"ok\n  0.111 s  done"),
        ("\x1b[2J\x1b[1;1Hdone", r"\u{1b}[2J\u{1b}[1;1Hdone"),
        ("\x1b]52;c;cm0gLXJm\x07", r"\u{1b}]52;c;cm0gLXJm\u{7}"),
        ("a\u{9b}31mb", r"a\u{9b}31mb"),
        ("10\u{202e}99", r"10\u{202e}99"),
        ("\u{2066}x\u{2069}", r"\u{2066}x\u{2069}"),
        ("a\0b\rc\td", r"a\u{0}b\rc\td"),
        ("in\u{200b}visible\u{e0041}", r"in\u{200b}visible\u{e0041}"),
        ("a\u{2028}b\u{7f}", r"a\u{2028}b\u{7f}"),
    ];

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (sent, shown) in HOSTILE {
            assert_eq!(one_line(sent), shown);
        }
        let harmless = "Größe: 3 × 4 · 中文 · 👩‍💻 · \"quoted\" \\n";
        assert!(matches!(one_line(harmless), Cow::Borrowed(text) if text == harmless));
    }

    #[test]
    fn lines_of_ours_stay_lines_and_nothing_else_passes() {
        assert_eq!(lines("one\n\ttwo\r\n\x1b[31m"), "one\n\ttwo\\r\n\\u{1b}[31m");
    }

    #[test]
    fn json_reads_as_the_same_value_and_holds_nothing_harmful() {
        for (sent, _) in HOSTILE {
            let written = serde_json::to_string(&serde_json::json!({ "text": sent })).unwrap();
            let shown = json(&written);
            assert!(!shown.chars().any(is_harmful), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap()["text"], sent);
        }
    }

    #[test]
    fn bytes_for_a_terminal_may_be_cut_anywhere() {
        let sent = "Größe 中 👩‍💻\n\x1b[2J".as_bytes();
        for cut in 0..=sent.len() {
            let mut shown = ForTerminal::default();
            let text = shown.piece(&sent[..cut]) + &shown.piece(&sent[cut..]) + &shown.end();
            assert_eq!(text, "Größe 中 👩‍💻\n\\u{1b}[2J", "cut at {cut}");
        }
        let mut shown = ForTerminal::default();
        assert_eq!(
            shown.piece(b"a\xff\xc3b") + &shown.piece(b"\x9b\xe2\x82") + &shown.end(),
            r"a\xff\xc3b\x9b\xe2\x82"
        );
    }
}
