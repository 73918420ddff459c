//! Sending without waiting: no loop of this room ever stands still because a peer doesn't read.
//!
//! A frame goes into its connection's queue at once if there is one with room, which is the usual case. Otherwise a task
//! waits for it, within bounds in number and time; what doesn't get through is dropped. That is safe, because every
//! message of a trade is repeated by whoever needs its answer.
//!
//! What answers a question that leaves nothing behind goes over the connection that is there, or nowhere: a stranger that asks
//! and hangs up would have us look for it, dial it and keep the answer, at no cost of its own.

use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use guilder_protocol::{identity::AgentId, wire::Message};

use super::limits::{MAX_WAITING_FRAMES, MAX_WAITING_FRAMES_PER_PEER, SEND_TIMEOUT};
use crate::{
    failpoint::{DELAY, Failpoint, Step, Way},
    network::{Network, SendError},
    runtime::Runtime,
    sync::lock,
};

/// The way out for all frames of this room. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    network: Network,
    runtime: Runtime,
    failpoint: Failpoint,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_peer: BTreeMap<AgentId, usize>,
}

impl Outbox {
    /// An outbox over the network.
    pub(crate) fn new(network: Network, runtime: Runtime, failpoint: Failpoint) -> Self {
        Self { network, runtime, failpoint, waiting: Arc::default() }
    }

    /// Sends, or lets a task send, or drops. The peer is dialled if it has to be.
    pub(crate) fn send(&self, to: AgentId, message: &Message) {
        for (frame, wait) in self.frames(to, message) {
            let network = self.network.clone();
            self.begin(to, wait, async move { network.send(to, frame).await });
        }
    }

    /// Answers a peer that is connected; if it isn't any more, nobody.
    pub(crate) fn reply(&self, to: AgentId, message: &Message) {
        for (frame, wait) in self.frames(to, message) {
            let network = self.network.clone();
            self.begin(to, wait, async move { network.reply(to, frame).await });
        }
    }

    /// What goes out, and after how long: as a rule one frame at once.
    fn frames(&self, to: AgentId, message: &Message) -> impl Iterator<Item = (Bytes, Duration)> + use<> {
        let step = Step::send(message);
        let (times, wait) = match self.failpoint.passes(step).then(|| self.failpoint.way(step)) {
            Some(Way::Once) => (1, Duration::ZERO),
            Some(Way::Twice) => (2, Duration::ZERO),
            Some(Way::Late) => (1, DELAY),
            Some(Way::Never | Way::Lost) | None => (0, Duration::ZERO),
        };
        let frame = if times > 0 { Self::frame(to, message) } else { None };
        frame.into_iter().flat_map(move |frame| std::iter::repeat_n((frame, wait), times))
    }

    fn frame(to: AgentId, message: &Message) -> Option<Bytes> {
        let too_large = |error| tracing::error!(%to, kind = message.kind(), %error, "a message of ours is too large");
        message.encode().map_err(too_large).ok().map(Bytes::from)
    }

    fn begin(
        &self,
        to: AgentId,
        wait: Duration,
        sending: impl Future<Output = Result<(), SendError>> + Send + 'static,
    ) {
        let mut sending = Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            sending.await
        });
        match sending.as_mut().now_or_never() {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%to, %error, "frame not sent"),
            None => {
                let Some(waits) = WaitingFrame::take(&self.waiting, to) else {
                    tracing::debug!(%to, "frame dropped: too many wait");
                    return;
                };
                let wait = async move {
                    match tokio::time::timeout(SEND_TIMEOUT, sending).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%to, %error, "frame not sent"),
                        Err(_) => tracing::debug!(%to, "frame dropped: the peer doesn't read"),
                    }
                    drop(waits);
                };
                self.runtime.spawn("trade/send", wait).detach();
            }
        }
    }
}

/// A frame that waits, as it counts; no longer once this is dropped.
struct WaitingFrame {
    waiting: Arc<Mutex<Waiting>>,
    to: AgentId,
}

impl WaitingFrame {
    fn take(waiting: &Arc<Mutex<Waiting>>, to: AgentId) -> Option<Self> {
        let mut counts = lock(waiting);
        let to_peer = counts.by_peer.get(&to).copied().unwrap_or(0);
        if counts.all >= MAX_WAITING_FRAMES || to_peer >= MAX_WAITING_FRAMES_PER_PEER {
            return None;
        }
        counts.all += 1;
        counts.by_peer.insert(to, to_peer + 1);
        Some(Self { waiting: Arc::clone(waiting), to })
    }
}

impl Drop for WaitingFrame {
    fn drop(&mut self) {
        let mut counts = lock(&self.waiting);
        counts.all = counts.all.saturating_sub(1);
        match counts.by_peer.get_mut(&self.to) {
            Some(1) | None => {
                counts.by_peer.remove(&self.to);
            }
            Some(count) => *count -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_per_peer_and_given_back() {
        let waiting = Arc::default();
        let [a, b] = [1, 2].map(|byte| AgentId::from_bytes([byte; 32]));
        let places: Vec<_> = (0..MAX_WAITING_FRAMES_PER_PEER).map_while(|_| WaitingFrame::take(&waiting, a)).collect();
        assert_eq!(places.len(), MAX_WAITING_FRAMES_PER_PEER);
        assert!(WaitingFrame::take(&waiting, a).is_none());
        assert!(WaitingFrame::take(&waiting, b).is_some());
        drop(places);
        assert!(WaitingFrame::take(&waiting, a).is_some());
        assert_eq!(lock(&waiting).all, 0);
    }
}
