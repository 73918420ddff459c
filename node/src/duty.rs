//! Standing orders: what a node hires, runs and posts on a schedule, on a webhook or on an event, within a budget, without anybody at
//! the keyboard.
//!
//! ```text
//!  file ─▶ Duty ─┐
//!  schedule ─────┤ due ─▶ an outcome each: a run, or why not ─▶ run: step by step ─▶ hands: hire, run, post ─▶ trade, executor
//!  webhook ──────┤                                                  │
//!  event ────────┘                                                  └─ template, value, reduce: what one step gives the next
//! ```
//!
//! What is persisted, in this order, each before its effects: the due moment with its run, the step with what it may cost, the award
//! with its debit (by [`trade`](crate::trade)), the outcome. After a crash nothing is done twice that was bought, and nothing that was due
//! goes by in silence. The pure parts are [`file`], [`schedule`], [`template`], [`value`] and [`reduce`]; the transactions are those of
//! `books`; `runs` takes one run on; `engine` says when.

mod books;
mod engine;
pub mod file;
mod hands;
pub mod hooks;
pub mod limits;
mod records;
pub mod reduce;
mod runs;
pub mod schedule;
pub mod template;
pub mod value;
mod views;

use std::sync::{Arc, Mutex, MutexGuard};

use guilder_protocol::{identity::AgentId, time::Timestamp, trade::Stored};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

pub use self::{
    books::DutyError,
    hooks::{Head, Hook, HookRefusal},
    records::{HookKind, RunState, Why, outputs_in_use},
    views::{DutyView, HireView, OutcomeView, RunView, StepView},
};
use self::{
    books::{Books, Cause, Taken},
    engine::Board,
    file::{Duty, FileError},
    hands::Hands,
    limits::MAX_VALUE_BYTES,
    runs::Runner,
    value::Trust,
};
use crate::{
    catalogue::Catalogue,
    config::HireConfig,
    content::{Content, Pin},
    events::{Event, Events, Journal},
    executor::Executors,
    failpoint::Failpoint,
    memory::Memory,
    runtime::Runtime,
    store::{Store, StoreError},
    sync::lock,
    trade::Trade,
};

/// What duties are built from.
#[derive(Debug)]
pub struct DutiesParts {
    /// Who this node is.
    pub id: AgentId,
    /// The node's runtime.
    pub runtime: Runtime,
    /// Keeps duties and runs.
    pub store: Store,
    /// Hires.
    pub trade: Trade,
    /// Has our services.
    pub catalogue: Catalogue,
    /// Large inputs and outputs.
    pub content: Content,
    /// Posts.
    pub executors: Executors,
    /// Remembers.
    pub memory: Memory,
    /// What a hire goes by where a duty doesn't say.
    pub hire: HireConfig,
    /// Told what happens.
    pub events: Events,
    /// What has happened, for what sets duties off.
    pub journal: Journal,
    /// Counts durable steps, for crash tests.
    pub failpoint: Failpoint,
}

/// The duties of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Duties(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    books: Books,
    runner: Runner,
    events: Events,
    journal: Journal,
    wake: Notify,
    board: Mutex<Board>,
}

impl Inner {
    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }
}

impl Duties {
    /// Takes up what was under way, and goes on from there. Once this returns, whatever comes sets off what it is to.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn start(parts: DutiesParts) -> Result<Self, StoreError> {
        let DutiesParts {
            id,
            runtime,
            store,
            trade,
            catalogue,
            content,
            executors,
            memory,
            hire,
            events,
            journal,
            failpoint,
        } = parts;
        let books = Books::new(store, failpoint);
        let hands = Hands { id, trade, catalogue, content, executors, memory, defaults: hire };
        let runner = Runner { books: books.clone(), hands, runtime: runtime.clone(), events: events.clone() };
        let inner =
            Arc::new(Inner { runtime, books, runner, events, journal, wake: Notify::new(), board: Mutex::default() });
        inner.resume()?;
        inner.runtime.spawn("duty", Arc::clone(&inner).run()).detach();
        Ok(Self(inner))
    }

    fn now(&self) -> Timestamp {
        self.0.runtime.now()
    }

    /// Reads a duty's file, and says what it is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, file: &str) -> Result<DutyView, FileError> {
        let duty = Duty::from_toml(file)?;
        Ok(DutyView::of_file(&duty, self.now()))
    }

    /// Adds a duty, or replaces the file of the one of its name.
    ///
    /// # Errors
    /// If its file is wrong, there are too many, or the store fails.
    pub async fn add(&self, file: String) -> Result<DutyView, DutyError> {
        let duty = Duty::from_toml(&file)?;
        let (name, latest, now) = (duty.name.clone(), self.0.journal.latest(), self.now());
        self.changed(&name, move |books| async move { books.add(duty, file, latest, now).await.map(drop) }).await?;
        self.show(&name)
    }

    /// All duties, by name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn list(&self) -> Result<Vec<DutyView>, DutyError> {
        let duties = self.0.books.duties()?;
        duties.into_iter().map(|(name, record)| self.0.view(&name, &record, false)).collect()
    }

    /// One duty, with its latest outcomes and its file.
    ///
    /// # Errors
    /// If there is none of that name, or the store can't be read.
    pub fn show(&self, name: &str) -> Result<DutyView, DutyError> {
        let record = self.0.books.duty(name)?;
        self.0.view(name, &record, true)
    }

    /// The outcomes of a duty's due moments that are kept, the earliest first.
    ///
    /// # Errors
    /// If there is none of that name, or the store can't be read.
    pub fn outcomes(&self, name: &str) -> Result<Vec<OutcomeView>, DutyError> {
        self.0.books.duty(name)?;
        Ok(self.0.outcomes(name)?)
    }

    /// Has a duty run now, on what its owner gives it, or a caller of this name.
    ///
    /// # Errors
    /// If there is none, it can't run now, or the store fails.
    pub async fn run_now(&self, name: &str, input: Option<Value>, caller: Option<&str>) -> Result<RunView, DutyError> {
        let bytes = input.as_ref().map_or(0, |input| input.to_string().len());
        if bytes > MAX_VALUE_BYTES {
            return Err(DutyError::TooLarge(bytes));
        }
        let cause = Cause {
            key: format!("hand {}", hex::encode(self.0.runtime.random::<16>())),
            by: caller.map_or_else(|| "its owner".to_owned(), |caller| format!("the caller {caller}")),
            due: None,
            payload: Some(input.unwrap_or(Value::Null)),
            body: None,
            // What a program says is no word of the owner's.
            trust: if caller.is_none() { Trust::Owner } else { Trust::Peer },
        };
        let (inner, duty, now) = (Arc::clone(&self.0), name.to_owned(), self.now());
        let setting_off = async move {
            let made = inner.books.set_off(&duty, cause, now).await?;
            let (run, why) = (made.runs.first().map(|(id, ..)| id.clone()), made.skipped.first().map(|(.., why)| *why));
            inner.made(made);
            inner.reread(&duty)?;
            Ok((run, why))
        };
        let (run, why) = self.to_its_end(setting_off).await?;
        match (run, why) {
            (Some(run), _) => self.run(&run),
            (None, Some(why)) => Err(DutyError::NotNow(why)),
            (None, None) => Err(DutyError::Unknown(name.to_owned())),
        }
    }

    /// Pauses a duty: what comes due until it is resumed is skipped, and a run whose turn comes is called off, unless its owner set it
    /// off.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn pause(&self, name: &str) -> Result<DutyView, DutyError> {
        let (duty, why, now) = (name.to_owned(), "its owner paused it".to_owned(), self.now());
        let events = self.0.events.clone();
        let pausing = move |books: Books| async move {
            books.pause(&duty, Some(why.clone()), now).await?;
            events.emit(Event::DutyPaused { duty, why });
            Ok(())
        };
        self.changed(name, pausing).await?;
        self.show(name)
    }

    /// Lets a paused duty go on.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn resume(&self, name: &str) -> Result<DutyView, DutyError> {
        let (duty, now) = (name.to_owned(), self.now());
        self.changed(name, move |books| async move { books.pause(&duty, None, now).await }).await?;
        self.show(name)
    }

    /// Removes a duty. A run that goes on goes on; those that wait for their turn are called off.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn remove(&self, name: &str) -> Result<(), DutyError> {
        let (duty, now) = (name.to_owned(), self.now());
        self.changed(name, move |books| async move { books.remove(&duty, now).await }).await
    }

    /// Changes what is stored of a duty, and has the engine read it.
    async fn changed<F>(&self, name: &str, change: impl FnOnce(Books) -> F) -> Result<(), DutyError>
    where
        F: Future<Output = Result<(), DutyError>> + Send + 'static,
    {
        let (inner, name, changing) = (Arc::clone(&self.0), name.to_owned(), change(self.0.books.clone()));
        self.to_its_end(async move {
            changing.await?;
            Ok(inner.reread(&name)?)
        })
        .await
    }

    /// Does this though whoever asked stops waiting: what is stored goes on now, and not once the node is started again.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DutyError>> + Send + 'static,
    ) -> Result<T, DutyError> {
        let (tell, told) = oneshot::channel();
        let working = async move {
            // Nobody may listen any more.
            let _ = tell.send(work.await);
        };
        self.0.runtime.spawn("duty/asked", working).detach();
        told.await.map_err(|_| StoreError::Closed)?
    }

    /// The latest runs, of one duty if it is named.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn runs(&self, duty: Option<&str>, limit: usize) -> Result<Vec<RunView>, DutyError> {
        Ok(self.0.runs(duty, limit)?)
    }

    /// One run, by its ID or the last letters of it.
    ///
    /// # Errors
    /// If there is none, several end so, or the store can't be read.
    pub fn run(&self, id: &str) -> Result<RunView, DutyError> {
        let id = self.0.books.resolve(id)?;
        self.0.run_view(&id)
    }

    /// Calls a run off. What a seller has begun may have to be paid.
    ///
    /// # Errors
    /// If there is none, it is over, or the store fails.
    pub async fn cancel(&self, id: &str) -> Result<RunView, DutyError> {
        let id = self.0.books.resolve(id)?;
        self.0.books.cancel(&id, self.now()).await?;
        self.0.call_off(&id);
        self.0.run_view(&id)
    }

    /// Waits until a run is over, or so long.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn wait(&self, id: &str, patience: std::time::Duration) -> Result<RunView, DutyError> {
        let mut events = self.0.events.subscribe();
        let id = self.0.books.resolve(id)?;
        let over = async {
            while !self.0.run_view(&id).is_ok_and(|view| view.ended) {
                match events.next().await {
                    Some(_) => {}
                    None => return,
                }
            }
        };
        // Over or not: it is as it is then.
        let _ = tokio::time::timeout(patience, over).await;
        self.0.run_view(&id)
    }

    /// Takes a webhook whose signature was checked, to its end, though its sender hangs up. Says whether it is new.
    async fn take(
        &self,
        hook: &str,
        delivery: (String, Option<String>),
        event: Option<String>,
        (body, pin): (Stored, Option<Pin>),
    ) -> Result<bool, DutyError> {
        let (duties, hook) = (self.clone(), hook.to_owned());
        self.to_its_end(async move {
            let _pin = pin;
            duties.take_whole(hook, delivery, event, body).await
        })
        .await
    }

    async fn take_whole(
        &self,
        hook: String,
        delivery: (String, Option<String>),
        event: Option<String>,
        body: Stored,
    ) -> Result<bool, DutyError> {
        let duties = self.0.hooked(&hook, event.as_deref());
        match self.0.books.deliver(hook, delivery, (event, body), duties.clone(), self.now()).await? {
            Taken::New(made) => {
                self.0.made(made);
                for name in duties {
                    self.0.reread(&name)?;
                }
                Ok(true)
            }
            Taken::Before => Ok(false),
        }
    }
}
