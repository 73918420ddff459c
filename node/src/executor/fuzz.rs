//! See [`crate::fuzz`].

use super::progress::channel;
use crate::limits::{MAX_PROGRESS_TEXT, MAX_STDERR_TAIL};

pub use super::http::fuzz::event_streams;

/// Lines that a program says of its progress.
pub fn progress(data: &[u8]) {
    let (reporter, mut reports) = channel();
    data.split(|byte| *byte == b'\n').for_each(|line| reporter.line(line));
    reporter.log(&String::from_utf8_lossy(data));
    drop(reporter);
    let report = futures::FutureExt::now_or_never(reports.next()).flatten();
    let note = report.as_ref().and_then(|report| report.note.as_deref()).unwrap_or_default();
    let partial = report.as_ref().map_or("", |report| &report.partial);
    assert!(note.len() <= MAX_PROGRESS_TEXT && partial.len() <= MAX_PROGRESS_TEXT);
    assert!(report.and_then(|report| report.permille).is_none_or(|permille| permille <= 1000));
    assert!(reports.log().len() <= MAX_STDERR_TAIL);
}
