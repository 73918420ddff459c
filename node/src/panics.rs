//! What the process does about a panic: nobody is shown one.
//!
//! A panic is a defect, ours or a library's. One that can be told from where it comes (redb, reading a damaged file) is
//! [`contained`] there and becomes an error. Every other one is noted by the process's hook with its place; a daemon that
//! hears of it ([`escaped`]) stops with a stated error, whatever thread or task it was in, rather than go on without it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::LazyLock,
};

use tokio::sync::watch;

use crate::runtime::panic_text;

thread_local! {
    /// How many [`contained`] calls this thread is in.
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
}

/// The first panic that nobody contained.
static ESCAPED: LazyLock<watch::Sender<Option<String>>> = LazyLock::new(|| watch::Sender::new(None));

/// Runs `work`, and returns what it panicked with, if it did. What `work` was changing may be half changed.
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let _depth = Depth::set(CONTAINED.get() + 1);
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic).to_owned())
}

/// Runs `work` of somebody else's within a [`contained`] call: its panics are noted.
pub(crate) fn exposed<R>(work: impl FnOnce() -> R) -> R {
    let _depth = Depth::set(0);
    work()
}

/// Puts the depth back, also where a panic passes.
struct Depth(u32);

impl Depth {
    fn set(depth: u32) -> Self {
        Self(CONTAINED.replace(depth))
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        CONTAINED.set(self.0);
    }
}

/// Runs the whole of a program, and returns what it panicked with, if it did, with its place.
pub(crate) fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    outcome.map_err(|panic| first().unwrap_or_else(|| panic_text(&*panic).to_owned()))
}

/// Has panics of this process noted instead of printed.
pub(crate) fn note_all() {
    std::panic::set_hook(Box::new(note));
}

fn note(panic: &PanicHookInfo<'_>) {
    if CONTAINED.get() > 0 {
        return;
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = format!("{} ({place})", panic_text(panic.payload()));
    tracing::error!(%what, "a defect: a part of this program panicked");
    ESCAPED.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(what);
        is_first
    });
}

/// The first panic that nobody contained, if there was one.
fn first() -> Option<String> {
    ESCAPED.borrow().clone()
}

/// Resolves with the first panic that nobody contained, at once if there was one.
pub(crate) async fn escaped() -> String {
    let mut escaped = ESCAPED.subscribe();
    loop {
        if let Some(what) = escaped.borrow_and_update().clone() {
            return what;
        }
        if escaped.changed().await.is_err() {
            // The sender is a static.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_is_an_error_with_its_words() {
        assert_eq!(contained(|| 7), Ok(7));
        let nested = contained(|| {
            assert_eq!(contained(|| panic!("inner {}", 1)), Err::<(), _>("inner 1".to_owned()));
            exposed(|| panic!("outer"))
        });
        assert_eq!(nested, Err::<(), _>("outer".to_owned()));
        assert_eq!(CONTAINED.get(), 0);
    }
}
