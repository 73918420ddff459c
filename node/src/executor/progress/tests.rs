#![allow(clippy::unwrap_used)]
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// What one line says to somebody who listens.
fn said(line: &str) -> ProgressReport {
    let (reporter, reports) = channel();
    reporter.line(line.as_bytes());
    lock(&reports.shared.said).pending.clone()
}

fn step(permille: Option<u16>, note: Option<&str>) -> ProgressReport {
    ProgressReport { permille, note: note.map(Into::into), partial: String::new() }
}

#[test]
fn a_line_says_a_share_words_or_both() {
    for (line, expected) in [
        ("40% page 2 of 5", step(Some(400), Some("page 2 of 5"))),
        ("40%", step(Some(400), None)),
        ("0.5%  tiny ", step(Some(5), Some("tiny"))),
        ("100%\r", step(Some(1000), None)),
        ("reading the index", step(None, Some("reading the index"))),
        ("12 of 40% of pages", step(None, Some("12 of 40% of pages"))),
        ("101% sure", step(None, Some("101% sure"))),
        ("-1% x", step(None, Some("-1% x"))),
        ("1e1% x", step(None, Some("1e1% x"))),
        ("50%off", step(None, Some("50%off"))),
        (r#"{"percent": 40, "note": "page 2"}"#, step(Some(400), Some("page 2"))),
        (r#"{"percent": 99.96}"#, step(Some(1000), None)),
        (r#"{"percent": 101, "note": "x"}"#, step(None, Some("x"))),
        (r#"{"note": "x", "from-a-later-version": [1]}"#, step(None, Some("x"))),
        (r#"{"partial": " two\nlines"}"#, ProgressReport { partial: " two\nlines".into(), ..Default::default() }),
    ] {
        assert_eq!(said(line), expected, "{line}");
    }
}

#[test]
fn a_line_that_means_nothing_is_dropped() {
    for line in ["", "   ", "{", "{}", r#"{"percent": "40"}"#, r#"{"percent": -3}"#, r#"{"partial": 7}"#, "{not json}"]
    {
        assert!(said(line).is_empty(), "{line}");
    }
    let (reporter, reports) = channel();
    reporter.line(b"40% \xff\xfe");
    assert!(lock(&reports.shared.said).pending.is_empty());
}

#[test]
fn lines_are_the_same_however_they_are_cut() {
    let text = "10% one\n\nhalf a line without end\n{\"partial\": \"ab\"}\n{\"partial\": \"cd\"}\n90%";
    for size in 1..text.len() {
        let (reporter, reports) = channel();
        let mut lines = Lines::default();
        text.as_bytes().chunks(size).for_each(|chunk| lines.push(chunk, &reporter));
        lines.end(&reporter);
        let expected = ProgressReport {
            permille: Some(900),
            note: Some("half a line without end".into()),
            partial: "abcd".into(),
        };
        assert_eq!(lock(&reports.shared.said).pending, expected, "in pieces of {size}");
    }
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_the_next_one_counts() {
    let (reporter, reports) = channel();
    let mut lines = Lines::default();
    for _ in 0..100 {
        lines.push(&vec![b'x'; MAX_PROGRESS_LINE], &reporter);
        assert!(lines.line.len() <= MAX_PROGRESS_LINE);
    }
    lines.push(b"\nnext\n", &reporter);
    assert_eq!(lock(&reports.shared.said).pending, step(None, Some("next")));
}

#[test]
fn a_note_is_cut_to_whole_characters() {
    let ProgressReport { note, .. } = said(&"ä".repeat(MAX_PROGRESS_TEXT));
    let note = note.unwrap();
    assert!(note.len() <= MAX_PROGRESS_TEXT && note.len() > MAX_PROGRESS_TEXT - 2, "{}", note.len());
}

#[test]
fn words_beyond_the_room_are_dropped() {
    let (reporter, reports) = channel();
    for _ in 0..10_000 {
        reporter.partial("some words, ");
    }
    let waiting = lock(&reports.shared.said).pending.partial.len();
    assert!(waiting <= MAX_PROGRESS_TEXT && waiting > MAX_PROGRESS_TEXT - 12, "{waiting}");
}

#[test]
fn one_run_says_no_more_than_its_bound() {
    let (reporter, reports) = channel();
    let mut taken = 0;
    for _ in 0..MAX_RUN_PROGRESS {
        reporter.step(Some(1), Some("a note"));
        reporter.partial("words");
        let report = mem::take(&mut lock(&reports.shared.said).pending);
        taken += report.partial.len() + report.note.map_or(0, |note| note.len());
    }
    assert!(taken <= MAX_RUN_PROGRESS && taken > MAX_RUN_PROGRESS - 10, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn reports_come_joined_and_at_the_pace_of_their_bound() {
    let (reporter, mut reports) = channel();
    let began = Instant::now();
    reporter.step(Some(10), Some("first"));
    assert_eq!(reports.next().await, Some(step(Some(10), Some("first"))));
    assert_eq!(began.elapsed(), Duration::ZERO, "the first is not held back");
    for permille in 11..=900 {
        reporter.step(Some(permille), None);
    }
    reporter.partial("so ");
    reporter.partial("far");
    let joined = ProgressReport { permille: Some(900), note: None, partial: "so far".into() };
    assert_eq!(reports.next().await, Some(joined));
    assert!(began.elapsed() >= PROGRESS_PAUSE, "{:?}", began.elapsed());
    // what is said last is heard, and then the end
    reporter.step(None, Some("last"));
    drop(reporter.clone());
    drop(reporter);
    assert_eq!(reports.next().await, Some(step(None, Some("last"))));
    assert_eq!(reports.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_loses_nothing() {
    let (reporter, mut reports) = channel();
    reporter.step(Some(1), None);
    reports.next().await.unwrap();
    reporter.step(Some(2), None);
    assert!(tokio::time::timeout(PROGRESS_PAUSE / 2, reports.next()).await.is_err());
    assert_eq!(reports.next().await, Some(step(Some(2), None)));
}

#[tokio::test]
async fn nobody_listening_is_no_trouble() {
    let reporter = Reporter::default();
    reporter.step(Some(1), Some("x"));
    reporter.partial("x");
    reporter.log("x");
}

#[test]
fn the_end_of_the_log_is_kept_in_whole_characters() {
    let (reporter, reports) = channel();
    reporter.log(&format!("{}end", "ä".repeat(MAX_STDERR_TAIL)));
    let log = reports.log();
    assert!(log.len() <= MAX_STDERR_TAIL && log.ends_with("äend"), "{}", log.len());
}

proptest! {
    #[test]
    fn no_bytes_panic_or_pass_the_bounds(pieces: Vec<Vec<u8>>) {
        let (reporter, reports) = channel();
        let mut lines = Lines::default();
        for piece in &pieces {
            lines.push(piece, &reporter);
        }
        lines.end(&reporter);
        let pending = lock(&reports.shared.said).pending.clone();
        prop_assert!(pending.permille.is_none_or(|permille| permille <= 1000));
        prop_assert!(pending.note.is_none_or(|note| note.len() <= MAX_PROGRESS_TEXT));
        prop_assert!(pending.partial.len() <= MAX_PROGRESS_TEXT);
    }
}
