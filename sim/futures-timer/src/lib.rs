//! The interface of `futures-timer` 3, driven by tokio's clock.
//!
//! libp2p waits on `futures-timer`, whose own helper thread runs in real time. On tokio's clock the same waits cost
//! no thread, and under a paused clock (the simulator) they happen in virtual time.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Further than any process lives; `Instant + Duration::MAX` would overflow.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A future that completes once its duration has passed.
pub struct Delay(Pin<Box<Sleep>>);

impl Delay {
    /// Waits for `duration` from now. Must be called within a tokio runtime.
    pub fn new(duration: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep_until(after(duration))))
    }

    /// Starts the wait anew, for `duration` from now.
    pub fn reset(&mut self, duration: Duration) {
        self.0.as_mut().reset(after(duration));
    }
}

fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration.min(FAR)).unwrap_or(now + FAR)
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").finish()
    }
}
