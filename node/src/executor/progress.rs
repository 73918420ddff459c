//! What a run says while it works: how far it is, and the words that it has written so far.
//!
//! ```text
//!  program ── lines on descriptor $GUILDER_PROGRESS_FD ──┐
//!  HTTP service ── server-sent events ───────────────────┴▶ Reporter ── the latest, joined ──▶ Reports::next ──▶ trade
//! ```
//!
//! A report is for people and decides nothing, so none is worth waiting for: a program never waits for who reads, and
//! what is malformed, too long or too much is dropped, and nobody is told. A [`Reporter`] keeps the latest of each kind;
//! [`Reports::next`] takes them at most every [`PROGRESS_PAUSE`].
//!
//! **A line** is UTF-8, ends with a line feed and has at most [`MAX_PROGRESS_LINE`] bytes:
//!
//! | line | means |
//! | --- | --- |
//! | `40% page 2 of 5` | the share done, 0 to 100, with one decimal at the most, and what it is at |
//! | `40%` | the same without words |
//! | `reading the index` | the words without a share |
//! | `{"percent": 40, "note": "page 2 of 5"}` | the same as JSON |
//! | `{"partial": "The first words"}` | the next words of the output, to be appended to those before |
//!
//! **Bounded**: a note and the words that wait by [`MAX_PROGRESS_TEXT`] each; all that one run says by
//! [`MAX_RUN_PROGRESS`]; the end of its log by [`MAX_STDERR_TAIL`]. **Cancel-safe**: [`Reports::next`].

use std::{
    mem,
    pin::pin,
    sync::{Arc, Mutex},
};

use serde::Deserialize;
use tokio::{sync::Notify, time::Instant};

use crate::{
    limits::{MAX_PROGRESS_LINE, MAX_PROGRESS_TEXT, MAX_RUN_PROGRESS, MAX_STDERR_TAIL, PROGRESS_PAUSE},
    sync::lock,
};

/// What a run has said since the last report. The text is the program's: anything but UTF-8 is kept out, control
/// characters are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressReport {
    /// Parts per thousand, 0 to 1000, if they were said since.
    pub permille: Option<u16>,
    /// What it is at, if that was said since; at most [`MAX_PROGRESS_TEXT`] bytes.
    pub note: Option<String>,
    /// The next words of the output, to be appended to those before; at most [`MAX_PROGRESS_TEXT`] bytes.
    pub partial: String,
}

impl ProgressReport {
    fn is_empty(&self) -> bool {
        self.permille.is_none() && self.note.is_none() && self.partial.is_empty()
    }
}

/// Where a run's reports come out.
#[derive(Debug)]
pub struct Reports {
    shared: Arc<Shared>,
    /// When the next report may be taken.
    not_before: Option<Instant>,
}

/// Where an executor says how the work goes. Clones speak for the same run; the default one is heard by nobody.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Option<Arc<Speaker>>);

/// The last one gone ends the reports.
#[derive(Debug)]
struct Speaker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<Said>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Said {
    pending: ProgressReport,
    /// Bytes that were said in all, up to the bound.
    bytes: usize,
    log: String,
    is_over: bool,
}

/// A reporter and where its reports come out.
pub(super) fn channel() -> (Reporter, Reports) {
    let shared = Arc::<Shared>::default();
    let reporter = Reporter(Some(Arc::new(Speaker(Arc::clone(&shared)))));
    (reporter, Reports { shared, not_before: None })
}

impl Reports {
    /// Waits for news, at most one report every [`PROGRESS_PAUSE`]; `None` once the run is over and all it said is
    /// taken. Cancel-safe: nothing is taken before it is returned.
    pub async fn next(&mut self) -> Option<ProgressReport> {
        loop {
            let (has_news, is_over) = {
                let said = lock(&self.shared.said);
                (!said.pending.is_empty(), said.is_over)
            };
            if has_news {
                if let Some(at) = self.not_before {
                    tokio::time::sleep_until(at).await;
                }
                self.not_before = Some(Instant::now() + PROGRESS_PAUSE);
                return Some(mem::take(&mut lock(&self.shared.said).pending));
            }
            if is_over {
                return None;
            }
            self.shared.news.notified().await;
        }
    }

    /// Waits for the end of a run, and tells what it reports until then.
    pub async fn during<R>(&mut self, run: impl Future<Output = R>, mut tell: impl FnMut(ProgressReport)) -> R {
        let mut run = pin!(run);
        let mut silent = false;
        loop {
            tokio::select! {
                biased;
                result = &mut run => return result,
                report = self.next(), if !silent => match report {
                    Some(report) => tell(report),
                    None => silent = true,
                },
            }
        }
    }

    /// The end of what the program wrote to its standard error, for the operator; at most [`MAX_STDERR_TAIL`] bytes. Whole
    /// once the run is over, whichever way it ended.
    pub fn log(&self) -> String {
        lock(&self.shared.said).log.clone()
    }
}

impl Reporter {
    /// Says how far the work is. More than 1000 parts per thousand is nothing.
    pub fn step(&self, permille: Option<u16>, note: Option<&str>) {
        self.tell(|said| {
            if let Some(permille) = permille.filter(|permille| *permille <= 1000) {
                said.pending.permille = Some(permille);
            }
            if let Some(note) = note.filter(|note| said.admits(note.len())) {
                said.pending.note = Some(beginning(note, MAX_PROGRESS_TEXT).to_owned());
            }
        });
    }

    /// Says the next words of the output. What has no room beside those that wait is dropped.
    pub fn partial(&self, words: &str) {
        self.tell(|said| {
            let room = MAX_PROGRESS_TEXT - said.pending.partial.len();
            let words = beginning(words, room);
            if said.admits(words.len()) {
                said.pending.partial.push_str(words);
            }
        });
    }

    /// Says what a line says, without its line end. What means nothing is dropped.
    pub fn line(&self, line: &[u8]) {
        let Ok(line) = str::from_utf8(line) else { return };
        let line = line.trim_end_matches('\r');
        if line.starts_with('{') {
            let Ok(written) = serde_json::from_str::<Written>(line) else { return };
            self.step(written.percent.and_then(permille_of), written.note.as_deref());
            self.partial(&written.partial);
        } else if !line.trim().is_empty() {
            let (permille, note) = split_percent(line.trim());
            self.step(permille, (!note.is_empty()).then_some(note));
        }
    }

    /// Keeps the end of what a program wrote to its standard error.
    pub(super) fn log(&self, tail: &str) {
        if let Some(speaker) = &self.0 {
            let mut from = tail.len().saturating_sub(MAX_STDERR_TAIL);
            while !tail.is_char_boundary(from) {
                from += 1;
            }
            lock(&speaker.0.said).log = tail[from..].to_owned();
        }
    }

    fn tell(&self, say: impl FnOnce(&mut Said)) {
        if let Some(speaker) = &self.0 {
            let has_news = {
                let mut said = lock(&speaker.0.said);
                say(&mut said);
                !said.pending.is_empty()
            };
            if has_news {
                speaker.0.news.notify_one();
            }
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        lock(&self.0.said).is_over = true;
        self.0.news.notify_one();
    }
}

impl Said {
    /// Counts so many bytes, if they are still within the bound of one run.
    fn admits(&mut self, bytes: usize) -> bool {
        let admitted = self.bytes + bytes <= MAX_RUN_PROGRESS;
        if admitted {
            self.bytes += bytes;
        }
        admitted
    }
}

/// A line that is JSON. What a later version says beside is skipped.
#[derive(Deserialize)]
struct Written {
    percent: Option<f64>,
    note: Option<String>,
    #[serde(default)]
    partial: String,
}

fn permille_of(percent: f64) -> Option<u16> {
    // a float from 0 to 1000 fits, and NaN is in no range
    (0.0..=100.0).contains(&percent).then(|| (percent * 10.0).round() as u16)
}

/// `40.5% words` is 405 and `words`; what doesn't begin so is all words.
fn split_percent(line: &str) -> (Option<u16>, &str) {
    let parsed = line.split_once('%').and_then(|(number, rest)| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let permille = permille_of(number.parse().ok().filter(|_| digits)?)?;
        (rest.is_empty() || rest.starts_with(' ')).then(|| (Some(permille), rest.trim_start()))
    });
    parsed.unwrap_or((None, line))
}

/// As much of a text's beginning as fits, in whole characters.
fn beginning(text: &str, most_bytes: usize) -> &str {
    let mut end = text.len().min(most_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts a stream of bytes into lines and reports each. One over [`MAX_PROGRESS_LINE`] is skipped to its end.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    /// Reports the lines that end in these bytes.
    pub(super) fn push(&mut self, bytes: &[u8], reporter: &Reporter) {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        // `split` gives one part at least: what continues the line that is open
        self.extend(parts.next().unwrap_or_default());
        for next in parts {
            self.end(reporter);
            self.extend(next);
        }
    }

    /// Reports the last line, if it has no line end.
    pub(super) fn end(&mut self, reporter: &Reporter) {
        if !mem::take(&mut self.is_too_long) {
            reporter.line(&self.line);
        }
        self.line.clear();
    }

    fn extend(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_PROGRESS_LINE {
            self.is_too_long = true;
        }
        if !self.is_too_long {
            self.line.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests;
