//! The duty room's transactions: duties, their due moments with what becomes of them, and the webhooks that set them off.

use std::collections::{BTreeMap, BTreeSet};

use guilder_protocol::{
    bytes::{ByteArray, Digest},
    fault::{AtFault, Fault},
    time::Timestamp,
    trade::Stored,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    file::{Duty, FileError, Overlap},
    hands::account_of,
    limits::{MAX_BODIES, MAX_DELIVERIES, MAX_DUTIES, MAX_OUTCOMES, MAX_QUEUED_RUNS, MAX_RUNS_KEPT},
    records::{
        CANCELS, COUNT, DELIVERIES, DUTIES, DeliveryRecord, DutyRecord, FILES, FileRecord, HEARD, HEARD_KEY, HOOKS,
        LOG, ORDERS, OUTCOMES, Order, Outcome, Paused, RUN_ID_LEN, RUNS, RunRecord, RunState, Why, log_key, open_runs,
        outcome_key, outcome_parts, put_run,
    },
    schedule::Decision,
    value::Trust,
};
use crate::{
    content,
    failpoint::{Failpoint, Step},
    store::{Key, KeyRange, Read, Reader, Store, StoreError, Write},
    trade::close_account,
};

/// Rows beyond their bound that one transaction deletes.
const SURPLUS: usize = 64;

/// The room's way to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Books {
    store: Store,
    failpoint: Failpoint,
}

/// Why something can't be done with a duty.
#[derive(Debug, thiserror::Error)]
pub enum DutyError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none of that name.
    #[error("there is no duty `{0}`")]
    Unknown(String),
    /// There is no such run.
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// Several runs' IDs end so.
    #[error("several runs end in `{0}`")]
    Unclear(String),
    /// The run is over.
    #[error("the run {0} is over")]
    Over(String),
    /// As many as there may be.
    #[error("there are {MAX_DUTIES} duties already")]
    TooMany,
    /// It can't run now.
    #[error("it isn't run: {}", .0.as_str())]
    NotNow(Why),
    /// What it is given is too large.
    #[error("what a run is given has {0} bytes; {max} are the most", max = super::limits::MAX_VALUE_BYTES)]
    TooLarge(usize),
    /// A hook.
    #[error("there is no hook `{0}`")]
    UnknownHook(String),
    /// A hook of that name is there.
    #[error("there is a hook `{0}` already")]
    HookTaken(String),
    /// A hook's name.
    #[error("`{0}` is no name of a hook")]
    HookName(String),
    /// As many hooks as there may be.
    #[error("there are as many hooks as there may be")]
    TooManyHooks,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for DutyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(error) => error.hint(),
            Self::Unknown(_) => Some("`guilder duty list` shows them"),
            Self::UnknownRun(_) => Some("`guilder run list` shows the latest"),
            Self::Unclear(_) => Some("give more letters"),
            Self::Over(_) => Some("`guilder run show ID` shows how it ended"),
            Self::TooMany => Some("remove one: `guilder duty remove NAME`"),
            Self::NotNow(Why::Paused) => Some("`guilder duty resume NAME`"),
            Self::NotNow(_) => Some("`guilder run list` shows what goes on"),
            Self::TooLarge(_) => None,
            Self::UnknownHook(_) => Some("`guilder hook list` shows them"),
            Self::HookTaken(_) => Some("replace its secret: `guilder hook rotate NAME`; or remove it first"),
            Self::HookName(_) => Some("lower-case letters, digits and hyphens, 64 at the most"),
            Self::TooManyHooks => Some("remove one: `guilder hook remove NAME`"),
            Self::Store(error) => error.hint(),
        }
    }
}

/// What sets a run off.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// Makes the run's ID, with the duty's name: the same cause is the same run.
    pub(super) key: String,
    /// In words.
    pub(super) by: String,
    pub(super) due: Option<Timestamp>,
    pub(super) payload: Option<Value>,
    pub(super) body: Option<Stored>,
    pub(super) trust: Trust,
}

/// What is decided of a duty's due moments: made from a snapshot, written if the duty hasn't changed since.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) name: String,
    pub(super) version: u64,
    /// Of each of its schedules.
    pub(super) decisions: Vec<Decision>,
}

/// What came of it: for events, and to go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// Runs, with their duties.
    pub(super) runs: Vec<(String, String, Timestamp)>,
    /// Moments that were skipped, of which duty, and why.
    pub(super) skipped: Vec<(String, u64, Why)>,
}

/// What becomes of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is new.
    New(Made),
    /// It came before.
    Before,
}

impl Books {
    pub(super) fn new(store: Store, failpoint: Failpoint) -> Self {
        Self { store, failpoint }
    }

    pub(super) fn read<R>(&self, job: impl FnOnce(&Read) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.store.read(job)
    }

    /// One transaction, counted by the failpoint.
    pub(super) async fn commit<R, E>(
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

    pub(super) fn duties(&self) -> Result<BTreeMap<String, DutyRecord>, StoreError> {
        let rows = self.read(|r| r.range(DUTIES, KeyRange::all(), usize::MAX))?;
        Ok(rows.into_iter().filter_map(|(_, record)| Some((name_of(&record)?, record))).collect())
    }

    pub(super) fn duty(&self, name: &str) -> Result<DutyRecord, DutyError> {
        self.read(|r| r.get(DUTIES, Key::of(name)))?.ok_or_else(|| DutyError::Unknown(name.to_owned()))
    }

    /// Adds a duty, or replaces its file. A schedule that stays keeps what was decided of it; a new one begins now, and so does an event
    /// that it waits for, after that of the number `latest`.
    pub(super) async fn add(
        &self,
        duty: Duty,
        file: String,
        latest: u64,
        now: Timestamp,
    ) -> Result<DutyRecord, DutyError> {
        self.commit(Step::Other, move |w| {
            let before = w.get(DUTIES, Key::of(duty.name.as_str()))?;
            if before.is_none() && w.range(DUTIES, KeyRange::all(), MAX_DUTIES)?.len() >= MAX_DUTIES {
                return Err(DutyError::TooMany);
            }
            let old = before.as_ref().and_then(|record| Duty::from_toml(&record.file).ok());
            let kept = |schedule: &super::schedule::Schedule| {
                let at = old.as_ref()?.schedules().position(|old| old.is_same(schedule))?;
                before.as_ref()?.decided.get(at).copied()
            };
            let decided = duty.schedules().map(|schedule| kept(schedule).unwrap_or(now)).collect();
            let waits_for_more = duty.events().any(|event| !old.iter().any(|old| old.events().any(|old| old == event)));
            let record = match before.clone() {
                Some(before) => {
                    let heard = if waits_for_more { latest } else { before.heard };
                    DutyRecord { file, version: before.version + 1, decided, heard, ..before }
                }
                None => DutyRecord {
                    file,
                    added: now,
                    version: 0,
                    decided,
                    paused: None,
                    failures: 0,
                    outcomes: 0,
                    last_run: None,
                    last_skipped: None,
                    heard: latest,
                },
            };
            w.put(DUTIES, Key::of(duty.name.as_str()), &record)?;
            Ok(record)
        })
        .await
    }

    /// Removes a duty, with its outcomes. Its runs stay on record; those that go on go on, and those that wait don't begin, also if there is
    /// one of its name again.
    pub(super) async fn remove(&self, name: &str, now: Timestamp) -> Result<(), DutyError> {
        let name = name.to_owned();
        self.commit(Step::Other, move |w| {
            if !w.contains(DUTIES, Key::of(name.as_str()))? {
                return Err(DutyError::Unknown(name));
            }
            for (row, _) in w.range(OUTCOMES, Key::of(name.as_str()).range(), usize::MAX)? {
                w.delete(OUTCOMES, row)?;
            }
            for (id, _) in open_runs(w, &name)?.into_iter().filter(|(_, going)| !going) {
                w.put(CANCELS, Key::of(id.as_str()), &now)?;
            }
            Ok(w.delete(DUTIES, Key::of(name.as_str()))?)
        })
        .await
    }

    /// Pauses a duty, or lets it go on. What was missed meanwhile was skipped in its time.
    pub(super) async fn pause(&self, name: &str, why: Option<String>, now: Timestamp) -> Result<(), DutyError> {
        let name = name.to_owned();
        self.commit(Step::Other, move |w| {
            let record = w.get(DUTIES, Key::of(name.as_str()))?.ok_or_else(|| DutyError::Unknown(name.clone()))?;
            let paused = why.map(|why| Paused { at: now, why });
            let failures = if paused.is_none() { 0 } else { record.failures };
            let record = DutyRecord { paused, failures, version: record.version + 1, ..record };
            Ok(w.put(DUTIES, Key::of(name.as_str()), &record)?)
        })
        .await
    }

    /// Writes the outcomes of due moments, with their runs: after this a moment is never decided again.
    pub(super) async fn decide(&self, decided: Vec<Decided>, now: Timestamp) -> Result<Made, StoreError> {
        self.commit(Step::StoreDue, move |w| {
            let mut made = Made::default();
            for one in decided {
                write_decided(w, one, now, &mut made)?;
            }
            forget_runs(w)?;
            Ok(made)
        })
        .await
    }

    /// Writes that something else than a schedule sets a duty off: their owner, or an event.
    pub(super) async fn set_off(&self, name: &str, cause: Cause, now: Timestamp) -> Result<Made, DutyError> {
        let name = name.to_owned();
        self.commit(Step::StoreDue, move |w| {
            let mut made = Made::default();
            set_off(w, &name, cause, now, &mut made)?;
            forget_runs(w)?;
            Ok(made)
        })
        .await
    }

    /// Writes what becomes of an event for each of these duties that has no outcome of it: a run, or, if it can't be one any more, why not.
    pub(super) async fn hear(
        &self,
        names: Vec<String>,
        number: u64,
        heard: Result<Cause, Why>,
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        self.commit(Step::StoreDue, move |w| {
            let mut made = Made::default();
            for name in names {
                let Some(mut record) = w.get(DUTIES, Key::of(name.as_str()))? else { continue };
                if record.heard >= number {
                    continue;
                }
                record.heard = number;
                match &heard {
                    Ok(cause) => {
                        w.put(DUTIES, Key::of(name.as_str()), &record)?;
                        match set_off(w, &name, cause.clone(), now, &mut made) {
                            // What can't be read any more can't run either.
                            Ok(()) | Err(DutyError::File(_)) => {}
                            Err(DutyError::Store(error)) => return Err(error),
                            Err(other) => tracing::error!(%other, duty = %name, "an event sets it not off"),
                        }
                    }
                    Err(why) => {
                        record.version += 1;
                        made.skipped.push((name.clone(), 1, *why));
                        record.last_skipped = Some((now, *why));
                        let outcome = Outcome::Skipped { to: now, count: 1, why: *why };
                        let serial = unscheduled(&record);
                        put_outcome(w, &name, &mut record, (now, serial), &outcome)?;
                        trim_outcomes(w, &name, &mut record)?;
                        w.put(DUTIES, Key::of(name.as_str()), &record)?;
                    }
                }
            }
            forget_runs(w)?;
            Ok(made)
        })
        .await
    }

    /// The event up to which every duty has had its outcomes.
    pub(super) fn heard(&self) -> Result<u64, StoreError> {
        Ok(self.read(|r| r.get(HEARD, HEARD_KEY))?.unwrap_or_default())
    }

    /// Writes that there is nothing for any duty up to this event.
    pub(super) async fn went_by(&self, number: u64) -> Result<(), StoreError> {
        self.commit(Step::Other, move |w| w.put(HEARD, HEARD_KEY, &number)).await
    }

    /// Takes a webhook, whose signature was checked: its delivery and the runs that it sets off, or nothing if it came before.
    pub(super) async fn deliver(
        &self,
        hook: String,
        (delivery, replay): (String, Option<String>),
        (event, body): (Option<String>, Stored),
        duties: Vec<String>,
        now: Timestamp,
    ) -> Result<Taken, DutyError> {
        self.commit(Step::StoreDelivery, move |w| {
            let row = Key::of(hook.as_str()).and(delivery.as_str());
            // What is signed, where the ID isn't.
            let signed = replay.map(|signed| Key::of(hook.as_str()).and(signed.as_str()));
            let came_before = match &signed {
                Some(signed) => w.contains(DELIVERIES, signed)?,
                None => false,
            };
            if came_before || w.contains(DELIVERIES, &row)? {
                return Ok(Taken::Before);
            }
            let record = w.get(HOOKS, Key::of(hook.as_str()))?.ok_or_else(|| DutyError::UnknownHook(hook.clone()))?;
            let serial = record.taken;
            let record = super::records::HookRecord { taken: serial + 1, last: Some(now), ..record };
            w.put(HOOKS, Key::of(hook.as_str()), &record)?;
            if let Stored::Content(id) = &body {
                content::refer(w, *id, holder(&hook, &delivery))?;
            }
            let by = match &event {
                Some(event) => format!("the hook {hook}, {event}"),
                None => format!("the hook {hook}"),
            };
            if let Some(signed) = signed {
                w.put(DELIVERIES, signed, &DeliveryRecord { at: now, serial, event: None, body: None })?;
            }
            w.put(DELIVERIES, &row, &DeliveryRecord { at: now, serial, event, body: Some(body.clone()) })?;
            forget_deliveries(w, &hook)?;
            let mut made = Made::default();
            for name in duties {
                let cause = Cause {
                    key: format!("hook {hook} {delivery}"),
                    by: by.clone(),
                    due: None,
                    payload: None,
                    body: Some(body.clone()),
                    trust: Trust::World,
                };
                match set_off(w, &name, cause, now, &mut made) {
                    // It was removed a moment ago, which is nothing to the others.
                    Ok(()) | Err(DutyError::Unknown(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            forget_runs(w)?;
            Ok(Taken::New(made))
        })
        .await
    }

    /// Writes that a run is to be called off.
    pub(super) async fn cancel(&self, id: &str, now: Timestamp) -> Result<(), DutyError> {
        let id = id.to_owned();
        self.commit(Step::Other, move |w| match w.get(RUNS, Key::of(id.as_str()))? {
            None => Err(DutyError::UnknownRun(id)),
            Some(run) if run.state.is_over() => Err(DutyError::Over(id)),
            Some(_) => Ok(w.put(CANCELS, Key::of(id.as_str()), &now)?),
        })
        .await
    }

    /// The whole ID of the run that ends in these letters.
    pub(super) fn resolve(&self, text: &str) -> Result<String, DutyError> {
        if text.len() == RUN_ID_LEN && self.read(|r| r.contains(RUNS, Key::of(text)))? {
            return Ok(text.to_owned());
        }
        let rows = self.read(|r| r.range(LOG, KeyRange::all().backwards(), MAX_RUNS_KEPT))?;
        let ids: BTreeSet<String> = rows.iter().filter_map(|(row, ())| super::records::run_of(row)).collect();
        let mut ids = ids.into_iter().filter(|id| text.len() >= 4 && id.ends_with(text));
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(DutyError::Unclear(text.to_owned())),
            _ => Err(DutyError::UnknownRun(text.to_owned())),
        }
    }
}

/// Who refers to a delivery's content.
fn holder(hook: &str, delivery: &str) -> Vec<u8> {
    Key::of("duty").and(hook).and(delivery).into_bytes()
}

fn name_of(record: &DutyRecord) -> Option<String> {
    Duty::from_toml(&record.file).ok().map(|duty| duty.name)
}

/// Whether a moment of a duty has run. Its run may be on record longer than its outcome, or be that of a duty of this name which was
/// removed.
pub(super) fn has_run(r: &impl Reader, duty: &str, at: Timestamp) -> Result<bool, StoreError> {
    let rows = r.range(OUTCOMES, Key::of(duty).and(at.as_secs()).range(), usize::MAX)?;
    if rows.iter().any(|(_, outcome)| matches!(outcome, Outcome::Ran { .. })) {
        return Ok(true);
    }
    r.contains(RUNS, Key::of(run_id(duty, &due_key(at)).as_str()))
}

/// What sets off the run of a due moment.
fn due_key(due: Timestamp) -> String {
    format!("due {}", due.as_secs())
}

fn write_decided(w: &mut Write<'_>, decided: Decided, now: Timestamp, made: &mut Made) -> Result<(), StoreError> {
    let name = decided.name;
    let Some(mut record) = w.get(DUTIES, Key::of(name.as_str()))?.filter(|record| record.version == decided.version)
    else {
        return Ok(());
    };
    let Ok(duty) = Duty::from_toml(&record.file) else { return Ok(()) };
    record.version += 1;
    let schedules = duty.schedules().zip(&decided.decisions);
    for (at, (schedule, decision)) in schedules.enumerate() {
        if let Some(reopened) = decision.reopened {
            void_after(w, &name, (u32::try_from(at).unwrap_or(u32::MAX), &**schedule), reopened, &mut record)?;
        }
        if let Some(up_to) = record.decided.get_mut(at) {
            *up_to = decision.decided;
        }
    }
    // Runs that go on before anything of this is decided: the moments of one look never stand in each other's way.
    let open = open_runs(w, &name)?.len();
    let mut queued = open;
    for (at, decision) in decided.decisions.iter().enumerate() {
        let serial = u32::try_from(at).unwrap_or(u32::MAX);
        for skipped in &decision.skipped {
            let why = if record.paused.is_some() { Why::Paused } else { skipped.why.into() };
            skip(w, (&name, serial), &mut record, (skipped.from, skipped.to, skipped.count, why), made)?;
        }
        for due in &decision.run {
            // Another schedule of the duty has the same moment.
            if has_run(w, &name, *due)? {
                continue;
            }
            let why = if record.paused.is_some() {
                Some(Why::Paused)
            } else if duty.overlap == Overlap::Skip && open > 0 {
                Some(Why::Overlap)
            } else if queued >= MAX_QUEUED_RUNS {
                Some(Why::Queue)
            } else {
                None
            };
            if let Some(why) = why {
                skip(w, (&name, serial), &mut record, (*due, *due, 1, why), made)?;
                continue;
            }
            queued += 1;
            let payload = json!({"due": due.to_string(), "late_secs": now.since(*due)});
            let cause = Cause {
                key: due_key(*due),
                by: "its schedule".to_owned(),
                due: Some(*due),
                payload: Some(payload),
                body: None,
                trust: Trust::Node,
            };
            let run = begin_run(w, &name, &duty, &record, cause, now)?;
            put_outcome(w, &name, &mut record, (*due, serial), &Outcome::Ran { run: run.clone() })?;
            record.last_run = Some((now, run.clone()));
            made.runs.push((run, name.clone(), now));
        }
    }
    trim_outcomes(w, &name, &mut record)?;
    w.put(DUTIES, Key::of(name.as_str()), &record)
}

/// Writes that moments are skipped: from, to, how many, why.
fn skip(
    w: &mut Write<'_>,
    (name, serial): (&str, u32),
    record: &mut DutyRecord,
    (from, to, count, why): (Timestamp, Timestamp, u64, Why),
    made: &mut Made,
) -> Result<(), StoreError> {
    made.skipped.push((name.to_owned(), count, why));
    record.last_skipped = Some((to, why));
    put_outcome(w, name, record, (from, serial), &Outcome::Skipped { to, count, why })
}

/// Makes void what a clock that was ahead has skipped of one schedule; what lies on both sides ends where the clock is now.
fn void_after(
    w: &mut Write<'_>,
    name: &str,
    (serial, schedule): (u32, &super::schedule::Schedule),
    reopened: Timestamp,
    record: &mut DutyRecord,
) -> Result<(), StoreError> {
    for (row, outcome) in w.range(OUTCOMES, Key::of(name).range(), usize::MAX)? {
        let (Some((from, of)), Outcome::Skipped { to, why, .. }) = (outcome_parts(&row), outcome) else { continue };
        if of != serial || to <= reopened {
            continue;
        }
        if from > reopened {
            w.delete(OUTCOMES, row)?;
            record.outcomes = record.outcomes.saturating_sub(1);
        } else {
            let (last, count) = schedule.last_and_count(from, reopened);
            w.put(OUTCOMES, row, &Outcome::Skipped { to: last, count, why })?;
        }
    }
    Ok(())
}

fn put_outcome(
    w: &mut Write<'_>,
    name: &str,
    record: &mut DutyRecord,
    (at, serial): (Timestamp, u32),
    outcome: &Outcome,
) -> Result<(), StoreError> {
    record.outcomes += 1;
    w.put(OUTCOMES, outcome_key(name, at, serial), outcome)
}

fn trim_outcomes(w: &mut Write<'_>, name: &str, record: &mut DutyRecord) -> Result<(), StoreError> {
    let surplus = usize::try_from(record.outcomes).unwrap_or(usize::MAX).saturating_sub(MAX_OUTCOMES).min(SURPLUS);
    if surplus > 0 {
        for (row, _) in w.range(OUTCOMES, Key::of(name).range(), surplus)? {
            w.delete(OUTCOMES, row)?;
            record.outcomes = record.outcomes.saturating_sub(1);
        }
    }
    Ok(())
}

/// Serials of what isn't due by a schedule begin here.
const UNSCHEDULED: u32 = 1_000;

fn unscheduled(record: &DutyRecord) -> u32 {
    UNSCHEDULED.saturating_add(u32::try_from(record.version % u64::from(u32::MAX / 2)).unwrap_or(0))
}

fn set_off(w: &mut Write<'_>, name: &str, cause: Cause, now: Timestamp, made: &mut Made) -> Result<(), DutyError> {
    let record = w.get(DUTIES, Key::of(name))?;
    let Some(mut record) = record else { return Err(DutyError::Unknown(name.to_owned())) };
    let duty = Duty::from_toml(&record.file)?;
    let id = run_id(name, &cause.key);
    if w.contains(RUNS, Key::of(id.as_str()))? {
        return Ok(());
    }
    let open = open_runs(w, name)?.len();
    let why = if record.paused.is_some() {
        Some(Why::Paused)
    } else if duty.overlap == Overlap::Skip && open > 0 {
        Some(Why::Overlap)
    } else if open >= MAX_QUEUED_RUNS {
        Some(Why::Queue)
    } else {
        None
    };
    record.version += 1;
    let serial = unscheduled(&record);
    let outcome = match why {
        Some(why) => {
            made.skipped.push((name.to_owned(), 1, why));
            record.last_skipped = Some((now, why));
            Outcome::Skipped { to: now, count: 1, why }
        }
        None => {
            let run = begin_run(w, name, &duty, &record, cause, now)?;
            record.last_run = Some((now, run.clone()));
            made.runs.push((run.clone(), name.to_owned(), now));
            Outcome::Ran { run }
        }
    };
    put_outcome(w, name, &mut record, (now, serial), &outcome)?;
    trim_outcomes(w, name, &mut record)?;
    Ok(w.put(DUTIES, Key::of(name), &record)?)
}

/// The ID of the run that a cause sets off: the same cause is the same run.
fn run_id(duty: &str, key: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"guilder/run/1");
    hasher.update((duty.len() as u64).to_be_bytes());
    hasher.update(duty.as_bytes());
    hasher.update(key.as_bytes());
    hex::encode(hasher.finalize()).chars().take(RUN_ID_LEN).collect()
}

fn begin_run(
    w: &mut Write<'_>,
    name: &str,
    duty: &Duty,
    record: &DutyRecord,
    cause: Cause,
    now: Timestamp,
) -> Result<String, StoreError> {
    let id = run_id(name, &cause.key);
    let payload = cause.payload.map(|payload| ByteBuf::from(payload.to_string().into_bytes()));
    if let Some(Stored::Content(content)) = &cause.body {
        content::refer(w, *content, run_holder(&id))?;
    }
    let file = ByteArray(Sha256::digest(record.file.as_bytes()).into());
    let known = w.get(FILES, file_key(file))?.map_or(0, |known| known.runs);
    w.put(FILES, file_key(file), &FileRecord { file: record.file.clone(), runs: known + 1 })?;
    let count = w.get(COUNT, b"runs")?.unwrap_or_default();
    w.put(COUNT, b"runs", &(count + 1))?;
    w.put(ORDERS, Key::of(id.as_str()), &Order { file, payload, body: cause.body, trust: cause.trust })?;
    let run = RunRecord {
        duty: name.to_owned(),
        by: cause.by,
        due: cause.due,
        queued: now,
        ended: None,
        state: RunState::Queued,
        failure: None,
        unit: duty.budget.as_ref().map(|budget| budget.unit.clone()),
        steps: Vec::new(),
    };
    w.put(LOG, log_key(now, &id), &())?;
    put_run(w, &id, &run)?;
    Ok(id)
}

fn file_key(file: Digest) -> Key {
    Key::of(*file.as_bytes())
}

/// Who refers to the content that set a run off.
fn run_holder(id: &str) -> Vec<u8> {
    Key::of("duty/run").and(id).into_bytes()
}

/// The duty's file that a run is of.
pub(super) fn file_of(r: &impl Reader, order: &Order) -> Result<Option<String>, StoreError> {
    Ok(r.get(FILES, file_key(order.file))?.map(|record| record.file))
}

/// Lets what set a run off go, which is over.
pub(super) fn let_go(w: &mut Write<'_>, id: &str) -> Result<(), StoreError> {
    let Some(order) = w.get(ORDERS, Key::of(id))? else { return Ok(()) };
    if let Some(Stored::Content(content)) = &order.body {
        content::release(w, *content, run_holder(id))?;
    }
    w.put(ORDERS, Key::of(id), &Order { payload: None, body: None, ..order })
}

/// Forgets the oldest runs beyond [`MAX_RUNS_KEPT`], some at a time. Those that aren't over stay.
fn forget_runs(w: &mut Write<'_>) -> Result<(), StoreError> {
    let count = w.get(COUNT, b"runs")?.unwrap_or_default();
    let surplus = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(MAX_RUNS_KEPT).min(SURPLUS);
    if surplus == 0 {
        return Ok(());
    }
    let mut gone = 0;
    // Some that aren't over may stand before those that are.
    for (row, ()) in w.range(LOG, KeyRange::all(), surplus + SURPLUS)? {
        let Some(id) = super::records::run_of(&row) else { continue };
        let key = Key::of(id.as_str());
        if gone >= surplus || w.get(RUNS, &key)?.is_some_and(|run| !run.state.is_over()) {
            continue;
        }
        if let Some(order) = w.get(ORDERS, &key)? {
            match w.get(FILES, file_key(order.file))? {
                Some(record) if record.runs > 1 => {
                    w.put(FILES, file_key(order.file), &FileRecord { runs: record.runs - 1, ..record })?;
                }
                _ => w.delete(FILES, file_key(order.file))?,
            }
        }
        if let Some(run) = w.get(RUNS, &key)? {
            close_account(w, &account_of(&run.duty, &id))?;
        }
        w.delete(LOG, row)?;
        w.delete(RUNS, &key)?;
        w.delete(ORDERS, &key)?;
        gone += 1;
    }
    w.put(COUNT, b"runs", &count.saturating_sub(gone as u64))
}

/// Forgets the bodies, and then the IDs, of a hook's oldest deliveries.
fn forget_deliveries(w: &mut Write<'_>, hook: &str) -> Result<(), StoreError> {
    let Some(record) = w.get(HOOKS, Key::of(hook))? else { return Ok(()) };
    let keeps_bodies_from = record.taken.saturating_sub(MAX_BODIES as u64);
    let keeps_from = record.taken.saturating_sub(MAX_DELIVERIES as u64);
    // Every so many, so that not each of them goes through all.
    if record.taken % (MAX_BODIES as u64) != 0 {
        return Ok(());
    }
    for (row, delivery) in w.range(DELIVERIES, Key::of(hook).range(), usize::MAX)? {
        if delivery.serial >= keeps_bodies_from {
            continue;
        }
        if let Some(Stored::Content(id)) = &delivery.body {
            let id = *id;
            content::release(w, id, holder_of(hook, &row))?;
        }
        if delivery.serial < keeps_from {
            w.delete(DELIVERIES, row)?;
        } else if delivery.body.is_some() {
            w.put(DELIVERIES, row, &DeliveryRecord { body: None, ..delivery })?;
        }
    }
    Ok(())
}

/// Who refers to the content of a delivery's row: a header's value has no zero bytes, so its ID stands there as it is.
pub(super) fn holder_of(hook: &str, row: &[u8]) -> Vec<u8> {
    let id = row.get(Key::of(hook).len()..).and_then(|rest| rest.strip_suffix(&[0, 1])).unwrap_or_default();
    holder(hook, &String::from_utf8_lossy(id))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        duty::records::{HireRecord, HireState, HookKind, HookRecord, StepRecord, outputs_in_use},
        runtime::Runtime,
        store::testing::CrashBackend,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[tokio::test]
    async fn an_event_has_one_outcome_for_each_duty_that_waits_for_it_whatever_it_is() {
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        let books = Books::new(store, Failpoint::default());
        let file = |name: &str, overlap: &str, events: &[&str]| {
            let on: Vec<String> = events.iter().map(|event| format!("{{ event = \"{event}\" }}")).collect();
            format!(
                "name = \"{name}\"\noverlap = \"{overlap}\"\non = [{}]\n[[step]]\nrun = \"text.own\"\n",
                on.join(", ")
            )
        };
        let add = |file: String, latest: u64| books.add(Duty::from_toml(&file).unwrap(), file, latest, NOW);
        let on = ["task_sold"];
        add(file("first", "queue", &on), 10).await.unwrap();
        add(file("later", "skip", &on), 12).await.unwrap();
        let cause = |number: u64| Cause {
            key: format!("event {number}"),
            by: "the event task_sold".to_owned(),
            due: None,
            payload: None,
            body: None,
            trust: Trust::Peer,
        };
        let names = || ["first", "gone", "later"].map(str::to_owned).to_vec();
        let hear = async |number: u64, heard: Result<Cause, Why>| {
            let made = books.hear(names(), number, heard, NOW).await.unwrap();
            (made.runs.iter().map(|(_, duty, _)| duty.clone()).collect::<Vec<_>>(), made.skipped)
        };
        let late = |why| vec![("first".to_owned(), 1, why), ("later".to_owned(), 1, why)];
        assert_eq!(hear(11, Ok(cause(11))).await, (vec!["first".to_owned()], vec![]), "the other was added after it");
        assert_eq!(hear(11, Ok(cause(11))).await, (vec![], vec![]), "again");
        assert_eq!(hear(13, Err(Why::Unheard)).await, (vec![], late(Why::Unheard)));
        assert_eq!(hear(13, Ok(cause(13))).await, (vec![], vec![]), "what was skipped stays so");
        assert_eq!(hear(14, Ok(cause(14))).await.0, ["first", "later"]);
        let overlaps = vec![("later".to_owned(), 1, Why::Overlap)];
        assert_eq!(hear(15, Ok(cause(15))).await, (vec!["first".to_owned()], overlaps));
        // Replaced by a file that waits for the same, it goes on where it was; for more, it begins now.
        assert_eq!(add(file("first", "skip", &on), 30).await.unwrap().heard, 15);
        assert_eq!(add(file("first", "skip", &["task_sold", "mint_trouble"]), 30).await.unwrap().heard, 30);
    }

    #[tokio::test]
    async fn a_webhook_sets_off_the_duties_that_are_there_though_one_was_just_removed() {
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        let books = Books::new(store, Failpoint::default());
        for name in ["a", "gone", "z"] {
            let file = format!("name = \"{name}\"\non = [{{ hook = \"repo\" }}]\n[[step]]\nrun = \"text.own\"\n");
            books.add(Duty::from_toml(&file).unwrap(), file, 0, NOW).await.unwrap();
        }
        let hook = HookRecord { kind: HookKind::Github, secrets: Vec::new(), added: NOW, taken: 0, last: None };
        books.commit(Step::Other, move |w| w.put(HOOKS, Key::of("repo"), &hook)).await.unwrap();
        books.remove("gone", NOW).await.unwrap();
        let deliver = || {
            let duties = ["a", "gone", "z"].map(str::to_owned).to_vec();
            let body = Stored::Inline(ByteBuf::from(b"{}".to_vec()));
            books.deliver("repo".to_owned(), ("d1".to_owned(), None), (None, body), duties, NOW)
        };
        let Taken::New(made) = deliver().await.unwrap() else { panic!("it is new") };
        let set_off: Vec<&str> = made.runs.iter().map(|(_, duty, _)| duty.as_str()).collect();
        assert_eq!(set_off, ["a", "z"]);
        assert_eq!(deliver().await.unwrap(), Taken::Before);
    }

    #[tokio::test]
    async fn what_a_run_has_hired_is_in_use_until_the_run_is_over() {
        let runtime = Runtime::anchored(NOW);
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        let books = Books::new(store, Failpoint::default());
        let task = guilder_protocol::cbor::cid_of(b"task");
        let hire =
            HireRecord { item: 0, nth: 0, task: Some(task), state: HireState::Delivered, seller: None, price: None };
        let step = StepRecord {
            id: "one".into(),
            what: "hire text.own".into(),
            began: NOW,
            ended: Some(NOW),
            failure: None,
            trust: Trust::Peer,
            left_out: 0,
            cap: 1,
            hires: vec![hire],
            memories: Vec::new(),
            until: None,
        };
        let run = RunRecord {
            duty: "a".into(),
            by: "its owner".into(),
            due: None,
            queued: NOW,
            ended: None,
            state: RunState::Going,
            failure: None,
            unit: None,
            steps: vec![step],
        };
        for (state, in_use) in [(RunState::Going, vec![task]), (RunState::Done, vec![])] {
            let run = RunRecord { state, ..run.clone() };
            let writing = move |w: &mut Write<'_>| {
                put_run(w, "0123456789abcdef", &run)?;
                outputs_in_use(w)
            };
            let found: Vec<_> = books.commit(Step::Other, writing).await.unwrap().into_iter().collect();
            assert_eq!(found, in_use);
        }
    }
}
