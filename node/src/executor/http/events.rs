//! An answer as server-sent events (WHATWG HTML, "Server-sent events"): progress while the work is done, then its output.
//!
//! ```text
//! event: progress       a line as a program writes it (`super::super::progress`)
//! event: partial        the next words of the output
//! event: output         the output; ends the work
//! event: error          why there will be none; ends the work
//! ```
//!
//! The `event` line stands before the event's `data` lines: then an output of any size passes through without being held.
//! An `output` without data is the empty output. Other events, comments, `id` and `retry` are skipped; so is an event
//! other than `output` with more than [`MAX_PROGRESS_LINE`] bytes of data.

use std::mem;

use crate::limits::MAX_PROGRESS_LINE;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// The next bytes of the output.
    Output(&'a [u8]),
    /// The output is complete.
    End,
    /// A whole event.
    Progress(Vec<u8>),
    /// A whole event.
    Partial(Vec<u8>),
    /// A whole event.
    Error(Vec<u8>),
}

/// Reads a stream of events, cut anywhere.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    kind: Kind,
    /// Whether the event has had a `data` line.
    has_data: bool,
    /// The data of an event that isn't an output.
    data: Vec<u8>,
    is_too_long: bool,
    place: Place,
    /// The name of the line's field, or the value of an `event` line, as far as it could be one that we know.
    word: Vec<u8>,
    /// A line feed after a carriage return belongs to it.
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    Progress,
    Partial,
    Output,
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Name,
    /// In the value of a field, of which one space at the beginning doesn't count.
    Value { field: Field, at_start: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Event,
    Data,
    Other,
}

/// The longest word that matters is `progress`; one more tells that a word is longer.
const MAX_WORD: usize = 9;
/// A stream may begin with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl EventReader {
    /// Reads on until there is something, or no more bytes.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Item<'a>> {
        while let Some(&byte) = bytes.first() {
            if mem::take(&mut self.after_cr) && byte == b'\n' {
                *bytes = &bytes[1..];
                continue;
            }
            let item = match self.place {
                Place::Name => self.name(bytes),
                Place::Value { field, at_start } => self.value(field, at_start, bytes),
            };
            if item.is_some() {
                return item;
            }
        }
        None
    }

    fn name<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Item<'a>> {
        let byte = take_first(bytes)?;
        match byte {
            b'\r' | b'\n' if self.word.is_empty() => {
                self.after_cr = byte == b'\r';
                self.dispatch()
            }
            b'\r' | b'\n' => {
                // a field without a value
                self.after_cr = byte == b'\r';
                let field = self.field();
                let item = self.begin(field);
                self.end_line(field);
                item
            }
            b':' => {
                let field = self.field();
                self.place = Place::Value { field, at_start: true };
                self.begin(field)
            }
            _ => {
                self.push_word(&[byte]);
                None
            }
        }
    }

    fn value<'a>(&mut self, field: Field, at_start: bool, bytes: &mut &'a [u8]) -> Option<Item<'a>> {
        self.place = Place::Value { field, at_start: false };
        if at_start && bytes.first() == Some(&b' ') {
            take_first(bytes);
            return None;
        }
        let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        *bytes = rest;
        if part.is_empty() {
            self.after_cr = take_first(bytes) == Some(b'\r');
            self.end_line(field);
            return None;
        }
        match field {
            Field::Data if self.kind == Kind::Output => return Some(Item::Output(part)),
            Field::Data => self.push_data(part),
            Field::Event => self.push_word(part),
            Field::Other => {}
        }
        None
    }

    /// The field that the word names. The word is used up.
    fn field(&mut self) -> Field {
        let word = mem::take(&mut self.word);
        match word.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&word) {
            b"event" => Field::Event,
            b"data" => Field::Data,
            _ => Field::Other,
        }
    }

    /// Lines of data are joined by line feeds.
    fn begin(&mut self, field: Field) -> Option<Item<'static>> {
        if field != Field::Data || !mem::replace(&mut self.has_data, true) {
            return None;
        }
        if self.kind == Kind::Output {
            return Some(Item::Output(b"\n"));
        }
        self.push_data(b"\n");
        None
    }

    fn end_line(&mut self, field: Field) {
        self.place = Place::Name;
        let word = mem::take(&mut self.word);
        if field == Field::Event && !self.has_data {
            self.kind = match &word[..] {
                b"progress" => Kind::Progress,
                b"partial" => Kind::Partial,
                b"output" => Kind::Output,
                b"error" => Kind::Error,
                _ => Kind::Unknown,
            };
        }
    }

    fn dispatch(&mut self) -> Option<Item<'static>> {
        let (kind, data) = (mem::take(&mut self.kind), mem::take(&mut self.data));
        let is_too_long = mem::take(&mut self.is_too_long);
        self.has_data = false;
        match kind {
            Kind::Output => Some(Item::End),
            Kind::Error => Some(Item::Error(data)),
            Kind::Progress if !is_too_long => Some(Item::Progress(data)),
            Kind::Partial if !is_too_long => Some(Item::Partial(data)),
            _ => None,
        }
    }

    fn push_word(&mut self, part: &[u8]) {
        let room = MAX_WORD.saturating_sub(self.word.len());
        self.word.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn push_data(&mut self, part: &[u8]) {
        if self.kind == Kind::Unknown {
            return;
        }
        if self.data.len() + part.len() > MAX_PROGRESS_LINE {
            self.is_too_long = true;
        }
        if !self.is_too_long {
            self.data.extend_from_slice(part);
        }
    }
}

fn take_first(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::executor::http::fuzz::said as read;

    fn assert_says(stream: &str, expected: &[(char, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(kind, data)| (*kind, data.as_bytes().to_vec())).collect();
        for stream in [stream.to_owned(), stream.replace('\n', "\r\n"), stream.replace('\n', "\r")] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(read(stream.as_bytes(), size), expected, "{stream:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn events_come_whole_and_an_output_as_it_arrives() {
        let stream = "\u{feff}event: progress\ndata: 40% page 2\n\n: still there\n\nevent:partial\ndata:  two\ndata: lines\n\n\
                      id: 7\nevent: output\ndata: {\"a\":\ndata\ndata:1}\n\n";
        assert_says(stream, &[('p', "40% page 2"), ('w', " two\nlines"), ('o', "{\"a\":\n\n1}"), ('.', "")]);
        assert_says("event: output\n\n", &[('.', "")]);
        assert_says("event: error\ndata: no model\n\n", &[('e', "no model")]);
        assert_says("event: progress\n\n", &[('p', "")]);
    }

    #[test]
    fn what_is_not_an_event_of_ours_is_skipped() {
        for stream in [
            "data: output\n\n",
            "event: message\ndata: x\n\n",
            "event: outputs\ndata: x\n\n",
            "event: progress-of-a-later-version\ndata: x\n\n",
            "events: output\ndata: x\n\n",
            "retry: 10\n\n\n\n",
            // data before its name: it wasn't kept
            "data: x\nevent: output\n\n",
        ] {
            assert_says(stream, &[]);
        }
        // a name holds for one event
        assert_says("event: partial\ndata: a\n\ndata: b\n\n", &[('w', "a")]);
    }

    #[test]
    fn an_event_that_is_cut_off_is_none() {
        assert_says("event: output\ndata: half", &[('o', "half")]);
        assert_says("event: partial\ndata: half", &[]);
    }

    #[test]
    fn an_event_that_is_too_long_is_skipped_and_an_output_never_is() {
        let long = "x".repeat(MAX_PROGRESS_LINE + 1);
        let stream =
            format!("event: partial\ndata: {long}\n\nevent: partial\ndata: next\n\nevent: output\ndata: {long}\n\n");
        assert_says(&stream, &[('w', "next"), ('o', &long), ('.', "")]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_cut_reads_alike(
            stream in "([a-z]{0,3}|event|data|output|partial|:| |\r|\n){0,60}", size in 1_usize..9
        ) {
            prop_assert_eq!(read(stream.as_bytes(), size), read(stream.as_bytes(), usize::MAX));
        }
    }
}
