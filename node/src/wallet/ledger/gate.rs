//! When a mint may be posted to: a few requests at once, and after silence with growing pauses. Each mint has a gate of
//! its own, so that one that is dead takes no permit and no time from another.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use guilder_protocol::market::MintUrl;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use crate::{
    limits::{OPERATION_FIRST_PAUSE, OPERATION_LAST_PAUSE, OPERATIONS_AT_ONCE},
    sync::lock,
};

/// The gates of all mints.
#[derive(Default)]
pub(super) struct Gates(Mutex<BTreeMap<MintUrl, Arc<Gate>>>);

impl Gates {
    pub(super) fn of(&self, mint: &MintUrl) -> Arc<Gate> {
        Arc::clone(lock(&self.0).entry(mint.clone()).or_default())
    }
}

/// The gate of one mint.
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    silence: Mutex<Silence>,
}

#[derive(Default)]
struct Silence {
    pause: Duration,
    until: Option<Instant>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(OPERATIONS_AT_ONCE)), silence: Mutex::default() }
    }
}

impl Gate {
    /// Waits until a request may be posted. `None` if the node is shutting down.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Some(until) = self.closed_until() {
                sleep_until(until).await;
            }
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
            // Whoever was before us may have met with silence.
            if self.closed_until().is_none() {
                return Some(permit);
            }
        }
    }

    fn closed_until(&self) -> Option<Instant> {
        lock(&self.silence).until.filter(|until| *until > Instant::now())
    }

    /// The mint has said something.
    pub(super) fn heard(&self) {
        *lock(&self.silence) = Silence::default();
    }

    /// The mint has said nothing. Requests that were on their way together count as one.
    pub(super) fn silent(&self) {
        let mut silence = lock(&self.silence);
        let now = Instant::now();
        if silence.until.is_none_or(|until| until <= now) {
            silence.pause = (silence.pause * 2).clamp(OPERATION_FIRST_PAUSE, OPERATION_LAST_PAUSE);
            silence.until = Some(now + silence.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_mint_is_asked_ever_less_often_and_holds_up_no_other() {
        let (gates, began) = (Gates::default(), Instant::now());
        let (dead, alive): (MintUrl, MintUrl) =
            ("https://dead.example".parse().unwrap(), "https://alive.example".parse().unwrap());
        for _ in 0..12 {
            drop(gates.of(&dead).enter().await.unwrap());
            gates.of(&dead).silent();
            gates.of(&dead).silent();
        }
        let waited = began.elapsed();
        assert!(waited > OPERATION_LAST_PAUSE && waited < OPERATION_LAST_PAUSE * 5, "{waited:?}");
        let now = Instant::now();
        drop(gates.of(&alive).enter().await.unwrap());
        assert_eq!(now.elapsed(), Duration::ZERO);
        gates.of(&dead).heard();
        drop(gates.of(&dead).enter().await.unwrap());
        assert_eq!(now.elapsed(), Duration::ZERO);
    }
}
