//! Inbound streams of one connection on their way to the room that serves them.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tokio::sync::mpsc::{self, OwnedPermit, error::SendError};

use crate::network::{InboundStream, limits::STREAMS_HELD_BACK};

/// Holds back a few streams while their room's queue is full.
pub(super) struct Backlog {
    queue: mpsc::Sender<InboundStream>,
    held: VecDeque<InboundStream>,
    slot: Option<BoxFuture<'static, Result<OwnedPermit<InboundStream>, SendError<()>>>>,
}

impl Backlog {
    pub(super) fn new(queue: mpsc::Sender<InboundStream>) -> Self {
        Self { queue, held: VecDeque::new(), slot: None }
    }

    /// Takes a stream in; false if it had to be reset because too many wait already.
    pub(super) fn push(&mut self, stream: InboundStream) -> bool {
        let fits = self.held.len() < STREAMS_HELD_BACK;
        if fits {
            self.held.push_back(stream);
        }
        fits
    }

    /// Hands over what the room has place for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        while !self.held.is_empty() {
            let queue = &self.queue;
            let slot = self.slot.get_or_insert_with(|| Box::pin(queue.clone().reserve_owned()));
            let Poll::Ready(slot) = slot.as_mut().poll(cx) else { return };
            self.slot = None;
            match (slot, self.held.pop_front()) {
                (Ok(slot), Some(stream)) => drop(slot.send(stream)),
                // Nobody serves this protocol any more: dropping the streams resets them.
                _ => self.held.clear(),
            }
        }
    }
}
