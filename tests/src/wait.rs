//! Waiting for something to be so.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take that should take a second or two: a loaded machine of two cores is slow, not wrong.
pub const LONG: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Looks until there is something to return; `look` says what it sees instead.
///
/// # Panics
/// After `patience`, with `what` was waited for and what was seen last.
#[track_caller]
pub fn eventually<T, E: Display>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if began.elapsed() > patience => panic!("waited {patience:?} for {what}; instead: {seen}"),
            Err(_) => {}
        }
        thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
