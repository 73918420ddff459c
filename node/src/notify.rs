//! Webhooks out: what happens in this node is told to other programs, over HTTP.
//!
//! ```text
//!  journal ── after its place ──▶ the next that it wants ─▶ on disk ─▶ signed ── PostWebhook ─▶ POST ─▶ 2xx? ── StoreTold ─▶ its place
//!                                                                         ▲                           │ no
//!                                                                         └── after a pause ◀─ StoreTold
//! ```
//!
//! Each endpoint has its place in the journal of events, in the store: what it has been told up to. It is told one thing after the other,
//! and its place moves on once that was taken, so that a crash makes nothing be left out. What was posted and not noted before a crash is
//! posted again, under the same ID: a delivery's ID is made of the endpoint and the event's number and moment, and a number is never
//! given out twice. What the journal no longer keeps, or lost in a kill, is told as `events_lost`.
//!
//! What isn't taken is tried again after [`PAUSES_SECS`], and then given up, which is an event. An endpoint that gives up
//! [`GIVEN_UP_TO_PAUSE`] in a row, or answers 410, is paused. It is never told of its own trouble.
//!
//! Source: Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature` (`v1`, one for each secret while one is
//! replaced), `{"type", "timestamp", "data"}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use guilder_protocol::{
    fault::{AtFault, Fault},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use utoipa::ToSchema;

pub mod limits;
mod records;

pub use self::records::{GivenUp, Paused, Waiting};
use self::{
    limits::{
        GIVEN_UP_TO_PAUSE, LOOK_PAUSE, MAX_ENDPOINTS, MAX_GIVEN_UP, MAX_RETRY_AFTER_SECS, MAX_URL, MAX_WHY,
        PAUSES_SECS, STORE_PAUSE, UNWRITTEN,
    },
    records::{ENDPOINTS, EndpointRecord},
};
use crate::{
    duty::{file::is_name, hooks},
    events::{Event, Events, Heard, Journal, KEPT_NAMES, Recalled, Stamped, Subscription},
    executor::{Answer, Executors, is_endpoint},
    failpoint::{Failpoint, Step},
    runtime::Runtime,
    store::{Key, KeyRange, Reader as _, Store, StoreError, Write},
    sync::lock,
};

/// What webhooks out are built from.
#[derive(Debug)]
pub struct NotifierParts {
    /// The node's runtime.
    pub runtime: Runtime,
    /// Keeps endpoints.
    pub store: Store,
    /// Speaks HTTP.
    pub executors: Executors,
    /// What has happened.
    pub journal: Journal,
    /// What happens.
    pub events: Events,
    /// Counts durable steps, for crash tests.
    pub failpoint: Failpoint,
}

/// The endpoints of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    store: Store,
    executors: Executors,
    journal: Journal,
    events: Events,
    failpoint: Failpoint,
    tasks: Mutex<Tasks>,
}

/// What goes on. A node without endpoints has none of it, and nothing that wakes at what happens.
#[derive(Debug, Default)]
struct Tasks {
    /// The endpoints that have a task, each with what wakes it and the events that it wants.
    endpoints: BTreeMap<String, (Arc<Notify>, BTreeSet<String>)>,
    /// Whether what they want is kept as it happens.
    keeps: bool,
}

/// An endpoint, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Where it is; what may be a secret in it, the query, isn't said.
    pub url: String,
    /// The events that it is told of; all if there are none.
    pub events: Vec<String>,
    /// When it was added, in Unix seconds.
    #[schema(value_type = u64)]
    pub added: Timestamp,
    /// Webhooks that it has taken.
    pub taken: u64,
    /// When it took the last, in Unix seconds.
    #[schema(value_type = Option<u64>, required)]
    pub last: Option<Timestamp>,
    /// What it has not taken yet.
    #[schema(required)]
    pub waiting: Option<Waiting>,
    /// That it is told nothing.
    #[schema(required)]
    pub paused: Option<Paused>,
    /// What it was not told in the end, the latest last.
    pub given_up: Vec<GivenUp>,
    /// Secrets that sign what it is told: two while one is replaced.
    pub secrets: u64,
    /// The secret, as its receiver wants it: said once, where it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    /// The delivery's ID.
    pub id: String,
    /// Whether it was taken.
    pub taken: bool,
    /// What was answered, or why nothing was, in words.
    pub answer: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Why something can't be done with an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// There is none of that name.
    #[error("there is no endpoint `{0}`")]
    Unknown(String),
    /// One of that name is there.
    #[error("there is an endpoint `{0}` already")]
    Taken(String),
    /// Its name.
    #[error("`{0}` is no name of an endpoint")]
    Name(String),
    /// Its URL.
    #[error("webhooks can't go to that URL")]
    Url,
    /// An event.
    #[error("`{0}` is no event that webhooks tell")]
    Event(String),
    /// As many as there may be.
    #[error("there are {MAX_ENDPOINTS} endpoints already")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for NotifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(_) => Some("`guilder hook out list` shows them"),
            Self::Taken(_) => Some("replace its secret: `guilder hook out rotate NAME`; or remove it first"),
            Self::Name(_) => Some("lower-case letters, digits and hyphens, 64 at the most"),
            Self::Url => Some("https://HOST/PATH, or on this machine http://127.0.0.1:PORT/PATH; no user in it"),
            Self::Event(_) => Some(
                "`all`, or of docs/duties.md, \"Webhooks out\": ended, delivered, funded, redeemed, money_trouble, run_ended, approval_asked, …",
            ),
            Self::TooMany => Some("remove one: `guilder hook out remove NAME`"),
            Self::Store(error) => error.hint(),
        }
    }
}

/// What an endpoint's task does next.
enum Then {
    /// It is gone.
    End,
    /// There may be more.
    GoOn,
    /// Until something happens that it wants.
    Listen(Box<EndpointRecord>),
    /// Until it is changed.
    Rest,
    /// For so long, or until it is changed.
    Sleep(Duration),
}

impl Notifier {
    /// Takes up where each endpoint is.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn start(parts: NotifierParts) -> Result<Self, StoreError> {
        let NotifierParts { runtime, store, executors, journal, events, failpoint } = parts;
        let tasks = Mutex::default();
        let inner = Arc::new(Inner { runtime, store, executors, journal, events, failpoint, tasks });
        for (name, record) in inner.all()? {
            inner.wake(&name, record.events);
        }
        Ok(Self(inner))
    }

    /// Adds an endpoint: it is told what happens from now on. Its secret is in what comes back, and nowhere else. No `events` are all.
    ///
    /// # Errors
    /// If its name, its URL or an event is none, there is one of that name, there are too many, or the store fails.
    pub async fn add(&self, name: &str, url: &str, events: &[String]) -> Result<Endpoint, NotifyError> {
        if !is_name(name) {
            return Err(NotifyError::Name(name.to_owned()));
        }
        if url.len() > MAX_URL || !is_endpoint(url) {
            return Err(NotifyError::Url);
        }
        if let Some(unknown) = events.iter().find(|event| !KEPT_NAMES.contains(&event.as_str())) {
            return Err(NotifyError::Event(unknown.clone()));
        }
        let secret = self.0.runtime.random::<{ hooks::SECRET_LEN }>();
        let record = EndpointRecord {
            id: self.0.runtime.random::<16>().into(),
            url: url.to_owned(),
            events: events.iter().cloned().collect(),
            secrets: vec![ByteBuf::from(secret.to_vec())],
            added: self.0.runtime.now(),
            place: self.0.journal.latest(),
            taken: 0,
            last: None,
            waiting: None,
            given_up_in_a_row: 0,
            given_up: Vec::new(),
            paused: None,
        };
        let (new, added) = (name.to_owned(), record.clone());
        self.0
            .commit(Step::Other, move |w| {
                if w.contains(ENDPOINTS, Key::of(new.as_str()))? {
                    return Err(NotifyError::Taken(new));
                }
                if w.range(ENDPOINTS, KeyRange::all(), MAX_ENDPOINTS)?.len() >= MAX_ENDPOINTS {
                    return Err(NotifyError::TooMany);
                }
                Ok(w.put(ENDPOINTS, Key::of(new.as_str()), &added)?)
            })
            .await?;
        self.0.wake(name, record.events.clone());
        Ok(Endpoint { secret: Some(hooks::standard_secret(&secret)), ..Endpoint::of(name, record) })
    }

    /// All endpoints, by name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn list(&self) -> Result<Vec<Endpoint>, NotifyError> {
        Ok(self.0.all()?.into_iter().map(|(name, record)| Endpoint::of(&name, record)).collect())
    }

    /// One endpoint.
    ///
    /// # Errors
    /// If there is none of that name, or the store can't be read.
    pub fn show(&self, name: &str) -> Result<Endpoint, NotifyError> {
        let record = self.0.record(name)?.ok_or_else(|| NotifyError::Unknown(name.to_owned()))?;
        Ok(Endpoint::of(name, record))
    }

    /// Gives an endpoint a new secret. The one before signs beside it until `done` says that its receiver has the new one.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn rotate(&self, name: &str, done: bool) -> Result<Endpoint, NotifyError> {
        let secret = self.0.runtime.random::<{ hooks::SECRET_LEN }>();
        let record = self
            .0
            .change(name, move |record| {
                if done {
                    record.secrets.truncate(1);
                } else {
                    record.secrets.insert(0, ByteBuf::from(secret.to_vec()));
                    record.secrets.truncate(2);
                }
            })
            .await?;
        let secret = (!done).then(|| hooks::standard_secret(&secret));
        Ok(Endpoint { secret, ..Endpoint::of(name, record) })
    }

    /// Lets a paused endpoint be told again, from where it was; what waits for it is tried at once.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn resume(&self, name: &str) -> Result<Endpoint, NotifyError> {
        let resumed = |record: &mut EndpointRecord| {
            (record.paused, record.waiting, record.given_up_in_a_row) = (None, None, 0);
        };
        let record = self.0.change(name, resumed).await?;
        self.0.wake(name, record.events.clone());
        Ok(Endpoint::of(name, record))
    }

    /// Removes an endpoint.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn remove(&self, name: &str) -> Result<(), NotifyError> {
        let gone = name.to_owned();
        self.0
            .commit(Step::Other, move |w| {
                if !w.contains(ENDPOINTS, Key::of(gone.as_str()))? {
                    return Err(NotifyError::Unknown(gone));
                }
                Ok(w.delete(ENDPOINTS, Key::of(gone.as_str()))?)
            })
            .await?;
        // Its task finds that it is gone.
        self.0.wake(name, BTreeSet::new());
        Ok(())
    }

    /// Posts a webhook of the type `test` to an endpoint, once, and says what came of it.
    ///
    /// # Errors
    /// If there is none of that name, or the store can't be read.
    pub async fn test(&self, name: &str) -> Result<Tried, NotifyError> {
        let record = self.0.record(name)?.ok_or_else(|| NotifyError::Unknown(name.to_owned()))?;
        let (id, now) = (format!("msg_{}", hex::encode(self.0.runtime.random::<16>())), self.0.runtime.now());
        let message = Message { id, kind: "test".to_owned(), at: now, data: json!({ "endpoint": name }) };
        let began = Instant::now();
        let answered = self.0.post(&record, &message).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let taken = matches!(&answered, Ok(answer) if answer.status.is_success());
        Ok(Tried { id: message.id, taken, answer: in_words(&answered), took_ms })
    }
}

impl Inner {
    async fn commit<R, E>(
        &self,
        step: Step,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.failpoint.pass(step).await;
        self.store.transact(job).await
    }

    fn all(&self) -> Result<Vec<(String, EndpointRecord)>, StoreError> {
        let rows = self.store.read(|r| r.range(ENDPOINTS, KeyRange::all(), usize::MAX))?;
        let named = |(row, record): (Vec<u8>, EndpointRecord)| {
            let name = row.strip_suffix(&[0, 1]).unwrap_or(&row);
            (String::from_utf8_lossy(name).into_owned(), record)
        };
        Ok(rows.into_iter().map(named).collect())
    }

    fn record(&self, name: &str) -> Result<Option<EndpointRecord>, StoreError> {
        self.store.read(|r| r.get(ENDPOINTS, Key::of(name)))
    }

    async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut EndpointRecord) + Send + 'static,
    ) -> Result<EndpointRecord, NotifyError> {
        let name = name.to_owned();
        self.commit(Step::Other, move |w| {
            let record = w.get(ENDPOINTS, Key::of(name.as_str()))?;
            let mut record = record.ok_or_else(|| NotifyError::Unknown(name.clone()))?;
            change(&mut record);
            w.put(ENDPOINTS, Key::of(name.as_str()), &record)?;
            Ok(record)
        })
        .await
    }

    /// Has an endpoint looked at that was added or changed, which wants these events.
    fn wake(self: &Arc<Self>, name: &str, wanted: BTreeSet<String>) {
        let mut tasks = lock(&self.tasks);
        if let Some((woken, wants)) = tasks.endpoints.get_mut(name) {
            *wants = wanted;
            woken.notify_one();
            return;
        }
        let woken = Arc::new(Notify::new());
        tasks.endpoints.insert(name.to_owned(), (Arc::clone(&woken), wanted));
        if !tasks.keeps {
            tasks.keeps = true;
            let events = self.events.subscribe();
            self.runtime.spawn("notify/keep", Arc::clone(self).keep_wanted(events)).detach();
        }
        let (inner, name) = (Arc::clone(self), name.to_owned());
        self.runtime.spawn("notify", async move { inner.serve(name, woken).await }).detach();
    }

    /// Has each event that an endpoint wants on disk soon after it happened, also while the endpoint is told another, or isn't there.
    async fn keep_wanted(self: Arc<Self>, mut events: Subscription) {
        while let Some(heard) = events.next().await {
            let number = {
                let mut tasks = lock(&self.tasks);
                if tasks.endpoints.is_empty() {
                    tasks.keeps = false;
                    return;
                }
                match heard {
                    Heard::Missed(_) => self.journal.latest(),
                    Heard::Event(event) => {
                        let name = event.event.name();
                        let mut wanted = tasks.endpoints.values().map(|(_, wanted)| wanted);
                        if !wanted.any(|wanted| wanted.is_empty() || wanted.contains(&name)) {
                            continue;
                        }
                        event.seq
                    }
                }
            };
            if let Err(error) = self.journal.keep(number).await {
                tracing::debug!(%error, "what is to be told isn't on disk yet");
            }
        }
    }

    /// Whether an endpoint that was seen to be gone still is: its task ends then.
    fn is_over(&self, name: &str) -> bool {
        let mut tasks = lock(&self.tasks);
        // One that is added meanwhile finds either this task or none.
        let is_over = self.record(name).is_ok_and(|record| record.is_none());
        if is_over {
            tasks.endpoints.remove(name);
        }
        is_over
    }

    /// Tells one endpoint, until it is removed.
    async fn serve(self: Arc<Self>, name: String, woken: Arc<Notify>) {
        let mut events = self.events.subscribe();
        let mut seen = 0;
        loop {
            let then = match self.step(&name, &mut seen).await {
                Ok(then) => then,
                Err(error) => {
                    tracing::error!(%error, endpoint = %name, "what an endpoint was told could not be stored; trying again");
                    Then::Sleep(STORE_PAUSE)
                }
            };
            match then {
                Then::End if self.is_over(&name) => return,
                Then::End | Then::GoOn => {}
                Then::Rest => woken.notified().await,
                // Whatever was changed is read anew then.
                Then::Sleep(pause) => drop(timeout(pause, woken.notified()).await),
                Then::Listen(record) => tokio::select! {
                    biased;
                    () = woken.notified() => {}
                    heard = record.hear(&name, &mut events) => {
                        if !heard {
                            return;
                        }
                    }
                },
            }
        }
    }

    /// One thing to tell, if there is one and its time has come. `seen` is up to where there is nothing else for this endpoint.
    async fn step(&self, name: &str, seen: &mut u64) -> Result<Then, StoreError> {
        let Some(record) = self.record(name)? else { return Ok(Then::End) };
        if record.paused.is_some() {
            return Ok(Then::Rest);
        }
        let (filter, own) = (record.clone(), name.to_owned());
        let next = self.journal.next_after(record.place.max(*seen), move |event| filter.wants(&own, event)).await?;
        let Some(found) = next.found else {
            *seen = next.reached;
            if next.reached.saturating_sub(record.place) > UNWRITTEN {
                self.go_by(name, &record, next.reached).await?;
            }
            return Ok(Then::Listen(Box::new(record)));
        };
        let now = self.runtime.now();
        // What waited may be lost meanwhile, and the gap grows: it is tried on from there.
        let is_gap = matches!(found, Recalled::Gap { .. });
        let waiting = record.waiting.clone().filter(|waiting| is_gap || waiting.number == next.reached);
        if let Some(waiting) = &waiting {
            // A clock that was ahead makes nobody wait longer than a pause.
            let left = waiting.next.since(now).min(MAX_RETRY_AFTER_SECS * 6 / 5);
            if left > 0 {
                return Ok(Then::Sleep(LOOK_PAUSE.min(Duration::from_secs(left))));
            }
        }
        let message = match &found {
            Recalled::Event(event) => {
                // What was said to have happened is there to be said again.
                self.journal.keep(event.seq).await?;
                Message::of(&record, event)
            }
            Recalled::Gap { until } => {
                Message::of_gap(&record, *until, waiting.as_ref().map_or(now, |waiting| waiting.since))
            }
        };
        self.failpoint.pass(Step::PostWebhook).await;
        let answered = self.post(&record, &message).await;
        self.settle(name, record, (next.reached, message), answered).await?;
        Ok(Then::GoOn)
    }

    async fn go_by(&self, name: &str, record: &EndpointRecord, place: u64) -> Result<(), StoreError> {
        let (name, id) = (name.to_owned(), record.id);
        self.commit(Step::Other, move |w| {
            let now = w.get(ENDPOINTS, Key::of(name.as_str()))?;
            let Some(mut record) = now.filter(|record| record.id == id) else { return Ok(()) };
            record.place = record.place.max(place);
            w.put(ENDPOINTS, Key::of(name.as_str()), &record)
        })
        .await
    }

    async fn post(&self, record: &EndpointRecord, message: &Message) -> Result<Answer, String> {
        let timestamp = self.runtime.now().as_secs().to_string();
        let body = message.body();
        let signature = hooks::sign(&record.secrets, &message.id, &timestamp, &body);
        let headers =
            [("webhook-id", &*message.id), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)];
        self.executors.tell(&record.url, &headers, body).await
    }

    /// Writes what came of telling something.
    async fn settle(
        &self,
        name: &str,
        told: EndpointRecord,
        (number, message): (u64, Message),
        answered: Result<Answer, String>,
    ) -> Result<(), StoreError> {
        let (now, chance) = (self.runtime.now(), u64::from(u16::from_be_bytes(self.runtime.random::<2>())));
        let (key, id, kind) = (name.to_owned(), message.id.clone(), message.kind);
        let done = self
            .commit(Step::StoreTold, move |w| {
                let found = w.get(ENDPOINTS, Key::of(key.as_str()))?;
                // It was removed meanwhile, and there may be another of its name.
                let Some(mut record) = found.filter(|record| record.id == told.id) else { return Ok(Vec::new()) };
                let events = record.answered(&key, (number, id, kind), &answered, (now, chance));
                w.put(ENDPOINTS, Key::of(key.as_str()), &record)?;
                Ok::<_, StoreError>(events)
            })
            .await?;
        done.into_iter().for_each(|event| self.events.emit(event));
        Ok(())
    }
}

/// What an answer comes to, in words.
fn in_words(answered: &Result<Answer, String>) -> String {
    let why = match answered {
        Ok(Answer { status, said, .. }) if said.trim().is_empty() => format!("it answers {}", status.as_u16()),
        Ok(Answer { status, said, .. }) => format!("it answers {}: {}", status.as_u16(), said.trim()),
        Err(why) => why.clone(),
    };
    why[..why.floor_char_boundary(MAX_WHY)].to_owned()
}

impl EndpointRecord {
    fn wants(&self, name: &str, event: &Event) -> bool {
        match event {
            // Its own trouble is nothing that it would take.
            Event::WebhookFailed { endpoint, .. } | Event::WebhooksPaused { endpoint, .. } if endpoint == name => false,
            event => self.events.is_empty() || self.events.contains(&event.name()),
        }
    }

    /// Waits until something happens that it wants, or may have; false once the node stops.
    async fn hear(&self, name: &str, events: &mut Subscription) -> bool {
        loop {
            match events.next().await {
                Some(Heard::Event(event)) if !self.wants(name, &event.event) => {}
                Some(_) => return true,
                None => return false,
            }
        }
    }

    /// What an answer makes of it, and what is to be said of that.
    fn answered(
        &mut self,
        name: &str,
        (number, id, kind): (u64, String, String),
        answered: &Result<Answer, String>,
        (now, chance): (Timestamp, u64),
    ) -> Vec<Event> {
        let before = self.waiting.take().filter(|waiting| kind == LOST || waiting.number == number);
        if let Ok(answer) = answered
            && answer.status.is_success()
        {
            (self.place, self.taken, self.last, self.given_up_in_a_row) = (number, self.taken + 1, Some(now), 0);
            return Vec::new();
        }
        let why = in_words(answered);
        let attempts = before.as_ref().map_or(0, |waiting| waiting.attempts) + 1;
        let is_gone = matches!(answered, Ok(answer) if answer.status.as_u16() == 410);
        let wanted = answered.as_ref().ok().and_then(|answer| answer.retry_after_secs).unwrap_or(0);
        if let Some(pause) = PAUSES_SECS.get(attempts as usize - 1)
            && !is_gone
        {
            let pause = (*pause).max(wanted.min(MAX_RETRY_AFTER_SECS));
            let next = now.saturating_add(pause + pause * chance / 5 / u64::from(u16::MAX));
            let since = before.map_or(now, |waiting| waiting.since);
            self.waiting = Some(Waiting { number, id, kind, attempts, since, next, why });
            return Vec::new();
        }
        self.place = number;
        self.given_up_in_a_row += 1;
        self.given_up.push(GivenUp { id: id.clone(), kind, at: now, attempts, why: why.clone() });
        let surplus = self.given_up.len().saturating_sub(MAX_GIVEN_UP);
        self.given_up.drain(..surplus);
        let endpoint = name.to_owned();
        let mut events = vec![Event::WebhookFailed { endpoint: endpoint.clone(), id, attempts, why }];
        if is_gone || self.given_up_in_a_row >= GIVEN_UP_TO_PAUSE {
            let why = match is_gone {
                true => "it answers that it is gone (410)".to_owned(),
                false => format!("it took none of {GIVEN_UP_TO_PAUSE} webhooks"),
            };
            self.paused = Some(Paused { at: now, why: why.clone() });
            events.push(Event::WebhooksPaused { endpoint, why });
        }
        events
    }
}

/// The type of a message that says what can't be told any more.
const LOST: &str = "events_lost";

/// What is told.
struct Message {
    id: String,
    kind: String,
    at: Timestamp,
    data: Value,
}

impl Message {
    fn of(record: &EndpointRecord, event: &Stamped) -> Self {
        let id = message_id(record, b"event", [event.seq, event.at.as_secs(), event.at_ms]);
        let data = serde_json::to_value(event).unwrap_or_default();
        Self { id, kind: event.event.name(), at: event.at, data }
    }

    /// That what happened before a number is no longer known.
    fn of_gap(record: &EndpointRecord, until: u64, at: Timestamp) -> Self {
        let id = message_id(record, b"gap", [record.place, until, 0]);
        let data = json!({ "after": record.place, "before": until });
        Self { id, kind: LOST.to_owned(), at, data }
    }

    fn body(&self) -> Bytes {
        let Self { kind, at, data, .. } = self;
        json!({ "type": kind, "timestamp": at.to_string(), "data": data }).to_string().into()
    }
}

fn message_id(record: &EndpointRecord, what: &[u8], numbers: [u64; 3]) -> String {
    let mut hasher = Sha256::new_with_prefix(b"guilder/webhook/1");
    hasher.update(record.id.as_bytes());
    hasher.update(what);
    numbers.iter().for_each(|number| hasher.update(number.to_be_bytes()));
    format!("msg_{}", hex::encode(&hasher.finalize()[..16]))
}

impl Endpoint {
    fn of(name: &str, record: EndpointRecord) -> Self {
        let EndpointRecord { url, events, secrets, added, taken, last, waiting, given_up, paused, .. } = record;
        Self {
            name: name.to_owned(),
            url: url.split_once('?').map_or(url.clone(), |(place, _)| format!("{place}?…")),
            events: events.into_iter().collect(),
            added,
            taken,
            last,
            waiting,
            paused,
            given_up,
            secrets: secrets.len() as u64,
            secret: None,
        }
    }
}

#[cfg(test)]
mod tests;
