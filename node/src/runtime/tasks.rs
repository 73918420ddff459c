//! The tasks of one node: none outlives it, none panics unheard.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
};

use super::panic_text;

/// A task that panicked, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {task} panicked: {message}")]
pub struct Panicked {
    /// The name given to [`super::Runtime::spawn`].
    pub task: &'static str,
    /// The panic's message.
    pub message: String,
}

/// A running task. Dropping it ends the task, unless it was detached.
#[derive(Debug)]
#[must_use = "dropping a task ends it; detach it, or hold it"]
pub struct Task {
    handle: Option<JoinHandle<()>>,
}

impl Task {
    /// Lets the task run on until it ends by itself or the node is shut down.
    pub fn detach(mut self) {
        self.handle = None;
    }

    /// Whether the task is over.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the task at its next await.
    pub fn abort(&self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }

    /// Waits until the task is over, however it ended.
    pub async fn join(mut self) {
        if let Some(handle) = &mut self.handle {
            // An error says that it was aborted; a panic was reported where it happened.
            let _ = handle.await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort();
    }
}

#[derive(Debug)]
pub(super) struct Tasks {
    state: Mutex<State>,
    /// How many tasks are alive.
    alive: watch::Sender<usize>,
    panicked: watch::Sender<Option<Panicked>>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    next: u64,
    /// `None` while the task is being spawned.
    running: BTreeMap<u64, Option<AbortHandle>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { state: Mutex::default(), alive: watch::Sender::new(0), panicked: watch::Sender::new(None) }
    }
}

impl Tasks {
    pub(super) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        let id = self.enter();
        let ended = Ended { tasks: self.clone(), id };
        let tasks = self.clone();
        // Not under the lock: a tokio runtime that is going down drops the future, and so `ended`, at once.
        let handle = tokio::spawn(async move {
            let _ended = ended;
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                tasks.report(name, panic_text(&*panic));
            }
        });
        let mut state = self.lock();
        if state.closed {
            handle.abort();
        } else if let Some(running) = state.running.get_mut(&id) {
            *running = Some(handle.abort_handle());
        }
        Task { handle: Some(handle) }
    }

    fn enter(&self) -> u64 {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, None);
        self.alive.send_replace(state.running.len());
        id
    }

    pub(super) fn len(&self) -> usize {
        self.lock().running.len()
    }

    pub(super) async fn panicked(&self) -> Panicked {
        let mut panicked = self.panicked.subscribe();
        loop {
            if let Some(panicked) = panicked.borrow_and_update().clone() {
                return panicked;
            }
            if panicked.changed().await.is_err() {
                unreachable!("self holds the sender");
            }
        }
    }

    pub(super) async fn shutdown(&self) {
        let running: Vec<_> = {
            let mut state = self.lock();
            state.closed = true;
            state.running.values().flatten().cloned().collect()
        };
        for task in running {
            task.abort();
        }
        // It can't fail: self holds the sender.
        let _ = self.alive.subscribe().wait_for(|&alive| alive == 0).await;
    }

    fn report(&self, task: &'static str, message: &str) {
        tracing::error!(task, message, "a task panicked");
        self.panicked.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Panicked { task, message: message.to_owned() });
            is_first
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strikes the task off the list however it ends: by itself, by a panic, or aborted before its first poll.
struct Ended {
    tasks: Arc<Tasks>,
    id: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.tasks.lock();
        state.running.remove(&self.id);
        self.tasks.alive.send_replace(state.running.len());
    }
}
