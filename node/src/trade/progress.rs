//! What a seller says of its work while it works: for people, deciding nothing, and kept in memory alone.
//!
//! The seller's node sends what its executor reports, at most a few frames a second. The buyer's node believes none of it: it
//! takes so many bytes a second and in all ([`ProgressMeter`]), tells them as events, and keeps the last of them for
//! `task show` ([`Progress`]).

use guilder_protocol::wire;
use tokio::time::Instant;

use super::limits::{
    MAX_PROGRESS_NOTES, MAX_PROGRESS_TAIL, MAX_TRADE_PROGRESS, PROGRESS_BURST_BYTES, PROGRESS_BYTES_PER_SEC,
    PROGRESS_FRAME_BYTES,
};

/// The last that was said of a trade's work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Parts per thousand that are done, if that was said.
    pub permille: Option<u16>,
    /// What it was at, the latest last.
    pub notes: Vec<String>,
    /// The end of the words that have been written so far.
    pub partial: String,
}

impl Progress {
    /// Adds what was said; forgets the oldest beyond the bounds.
    pub(super) fn add(&mut self, said: &wire::Progress) {
        self.permille = said.permille.or(self.permille);
        if !said.note.is_empty() {
            if self.notes.len() == MAX_PROGRESS_NOTES {
                self.notes.remove(0);
            }
            self.notes.push(said.note.clone());
        }
        self.partial.push_str(&said.partial);
        let mut from = self.partial.len().saturating_sub(MAX_PROGRESS_TAIL);
        while !self.partial.is_char_boundary(from) {
            from += 1;
        }
        self.partial.drain(..from);
    }
}

/// How much a buyer hears of one trade's progress.
#[derive(Debug)]
pub(super) struct ProgressMeter {
    /// Bytes that may come now.
    tokens: u64,
    /// Bytes that may come in all.
    left: u64,
    at: Instant,
}

impl ProgressMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: PROGRESS_BURST_BYTES, left: MAX_TRADE_PROGRESS, at: now }
    }

    /// Whether this is heard; what isn't is dropped without penalty points, as its sender can't know our bounds.
    pub(super) fn admits(&mut self, said: &wire::Progress, now: Instant) -> bool {
        let secs = now.saturating_duration_since(self.at).as_secs();
        if secs > 0 {
            self.tokens =
                self.tokens.saturating_add(secs.saturating_mul(PROGRESS_BYTES_PER_SEC)).min(PROGRESS_BURST_BYTES);
            self.at = now;
        }
        let cost = PROGRESS_FRAME_BYTES + (said.note.len() + said.partial.len()) as u64;
        let admitted = cost <= self.tokens && cost <= self.left;
        if admitted {
            self.tokens -= cost;
            self.left -= cost;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use guilder_protocol::cbor::cid_of;

    use super::*;

    fn said(note: &str, partial: &str) -> wire::Progress {
        wire::Progress { award: cid_of(b"award"), permille: None, note: note.into(), partial: partial.into() }
    }

    #[test]
    fn the_latest_is_kept_within_its_bounds() {
        let mut progress = Progress::default();
        for number in 0..100 {
            progress.add(&said(&format!("step {number}"), "wörter"));
        }
        assert_eq!(progress.notes.len(), MAX_PROGRESS_NOTES);
        assert_eq!(progress.notes.last().map(String::as_str), Some("step 99"));
        progress.add(&said("", &"ö".repeat(MAX_PROGRESS_TAIL)));
        assert!(progress.partial.len() <= MAX_PROGRESS_TAIL && progress.partial.ends_with('ö'));
        progress.add(&wire::Progress { permille: Some(10), ..said("", "") });
        progress.add(&said("", ""));
        assert_eq!(progress.permille, Some(10));
    }

    #[test]
    fn a_flood_of_progress_is_heard_at_its_rate_and_up_to_its_bound() {
        let start = Instant::now();
        let mut meter = ProgressMeter::new(start);
        let flood = said(&"x".repeat(1_000), "");
        let mut heard = |at: Instant| (0..1_000).filter(|_| meter.admits(&flood, at)).count() as u64;
        let frame = PROGRESS_FRAME_BYTES + 1_000;
        let first = heard(start);
        assert_eq!(first, PROGRESS_BURST_BYTES / frame);
        assert!(heard(start + Duration::from_secs(1)) <= PROGRESS_BYTES_PER_SEC / frame + 1);
        let rest: u64 = (2..10_000).map(|secs| heard(start + Duration::from_secs(secs))).sum();
        assert!(first + rest <= MAX_TRADE_PROGRESS / frame);
    }
}
