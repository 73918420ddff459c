//! Servers that wait for their next call. Bounded: [`MAX_MCP_IDLE`] of them, [`MCP_IDLE`] each.

use std::sync::{Arc, Mutex};

use tokio::time::{Instant, sleep};

use super::session::{Kind, Session};
use crate::{
    limits::{MAX_MCP_IDLE, MCP_IDLE},
    runtime::Runtime,
    sync::lock,
};

/// Servers that wait. Clones share them.
#[derive(Clone, Debug, Default)]
pub(in crate::executor) struct Pool(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// The one that has waited longest first.
    sessions: Vec<(Instant, Kind, Session)>,
    /// Whether somebody ends those that wait too long.
    is_watched: bool,
}

impl Pool {
    /// One of that kind that still lives and still says what it said.
    pub(super) fn take(&self, kind: &Kind) -> Option<Session> {
        let mut waiting = lock(&self.0);
        waiting.sessions.retain(|(.., session)| session.is_fit());
        let place = waiting.sessions.iter().rposition(|(_, of, _)| of == kind)?;
        Some(waiting.sessions.remove(place).2)
    }

    /// Lets one wait, unless it has ended. Where too many do, the one that has waited longest ends.
    pub(super) fn give_back(&self, kind: Kind, session: Session, runtime: &Runtime) {
        if !session.is_fit() {
            return;
        }
        let mut waiting = lock(&self.0);
        waiting.sessions.push((Instant::now(), kind, session));
        if waiting.sessions.len() > MAX_MCP_IDLE {
            waiting.sessions.remove(0);
        }
        if !waiting.is_watched {
            waiting.is_watched = true;
            runtime.spawn("executor/mcp", self.clone().watch()).detach();
        }
    }

    /// Ends those that wait too long, until none waits.
    async fn watch(self) {
        loop {
            sleep(MCP_IDLE / 4).await;
            let mut waiting = lock(&self.0);
            waiting.sessions.retain(|(since, ..)| since.elapsed() < MCP_IDLE);
            if waiting.sessions.is_empty() {
                waiting.is_watched = false;
                return;
            }
        }
    }
}
