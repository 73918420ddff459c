//! A hire of a service that this node sells itself: done here, for nobody and for nothing. No ask, no award and no money leaves the
//! node; its record is marked as one's own. Like every hire before its award it isn't resumed after a restart, unless it is waited for
//! durably: then it begins again.

use std::{sync::Arc, time::Duration};

use guilder_protocol::{
    bytes::ByteArray,
    envelope::Signed,
    fault::{AtFault as _, Fault},
    limits::MAX_ASK_SECS,
    market::{Ask, AskBody},
    time::Timestamp,
    trade::Stored,
};
use serde_bytes::ByteBuf;
use tokio::sync::oneshot;

use super::{Hire, HireError, Hirer, Parts, store_task};
use crate::{
    content::{self, Data},
    events::{Event, Outcome, Side, Subscription},
    executor::{ExecError, ProgressReport, Service},
    failpoint::Step,
    store::{StoreError, Write},
    trade::{
        ends,
        hires::{HireSlot, Wanted},
        limits::MAX_HIRES,
        records::{Failure, OwnWork, TaskRecord},
    },
};

/// A task of one's own that has begun.
#[derive(Debug)]
pub struct OwnHandle {
    /// Its name.
    pub task: cid::Cid,
    /// Everything that happens in the node from here on.
    pub events: Subscription,
    done: oneshot::Receiver<()>,
}

impl OwnHandle {
    /// Waits for the end. Dropping the handle doesn't cancel the task.
    ///
    /// # Errors
    /// If the node stops before.
    pub async fn done(self) -> Result<(), HireError> {
        self.done.await.map_err(|_| HireError::Stopping)
    }
}

/// Why a work of one's own came to nothing.
enum Fruitless {
    CalledOff,
    Late,
    Failed(ExecError),
}

impl Hirer {
    /// The service of ours that a hire gets: it costs nothing, so it is better than any offer. None where it says otherwise, and
    /// for work that is passed on: that is hired in another's name, and a program may well hire what it is itself.
    pub(in crate::trade) fn own_service(&self, hire: &Hire) -> Option<Service> {
        let own = self.0.key.id();
        let says_otherwise = hire.avoid.contains(&own) || hire.seller.is_some_and(|seller| seller != own);
        if !hire.own || says_otherwise || hire.under.is_some() || hire.granted.is_some() {
            return None;
        }
        self.0.catalogue.service(&hire.service)
    }

    /// Begins a work of one's own.
    pub(in crate::trade) async fn hire_own(
        &self,
        service: Service,
        hire: Hire,
        input: Data,
    ) -> Result<OwnHandle, HireError> {
        let with = &self.0;
        let now = with.runtime.now();
        if with.stopping.is_set() {
            return Err(HireError::Stopping);
        }
        let deadline_secs = hire.deadline_secs.filter(|secs| *secs > 0).ok_or(HireError::DeadlinePassed)?;
        let ask = with.note_own(&service, &hire, &input, now)?;
        let task = ask.cid();
        with.claim(&hire, &input, task, now).await?;
        let waits = hire.waits;
        // It is hired for no award's sake: only the bound of all hires can refuse it.
        let wanted = Wanted { ask: ask.clone(), under: None, label: hire.label.clone(), own: true };
        let opened = with.hires.open(wanted, |_| Ok(Vec::new()));
        let (slot, _) = opened.map_err(|_| HireError::TooMany(MAX_HIRES))?;
        let by = hire.mandate.map(|mandate| mandate.caller);
        slot.note_by(by.as_deref());
        let record = TaskRecord { by, ..TaskRecord::begun(&ask, now, None, hire.label) };
        let events = with.events.subscribe();
        let (tell, done) = oneshot::channel();
        let (parts, patience) = (Arc::clone(with), Duration::from_secs(deadline_secs));
        let working = async move {
            parts.work_for_oneself(service, input, (task, record, waits), &slot, patience).await;
            drop(slot);
            // Whoever hired may not wait for the end.
            let _ = tell.send(());
        };
        with.runtime.spawn("trade/own", working).detach();
        Ok(OwnHandle { task, events, done })
    }
}

impl Parts {
    /// What names the task: an ask that is sent to nobody.
    fn note_own(&self, service: &Service, hire: &Hire, input: &Data, now: Timestamp) -> Result<Signed<Ask>, HireError> {
        let definition = service.definition();
        let mode = hire.mode.ok_or(HireError::Undecided)?;
        let deadline = now.saturating_add(hire.deadline_secs.unwrap_or_default());
        let body = AskBody {
            service: definition.name.clone(),
            max_price: definition.price,
            unit: definition.unit.clone(),
            mints: self.catalogue.mints_for(service),
            modes: mode.asks(),
            input_size: input.size(),
            deadline,
        };
        let exp = deadline.min(now.saturating_add(MAX_ASK_SECS));
        Ok(Signed::claim(body, now, Some(exp), ByteArray(self.runtime.random()), &self.key)?)
    }

    async fn work_for_oneself(
        &self,
        service: Service,
        input: Data,
        (task, mut record, waits): (cid::Cid, TaskRecord, bool),
        slot: &HireSlot,
        patience: Duration,
    ) {
        let name = service.definition().name.to_string();
        self.events.emit(Event::OwnWork { task, service: name });
        let (work, mut reports) = service.work(task, self.key.id(), input).reported();
        let run = async {
            let place = service.reserve().await;
            service.run(place, work).await
        };
        let tell = |ProgressReport { permille, note, partial }| {
            let (side, note) = (Side::Buyer, note.unwrap_or_default());
            self.events.emit(Event::Progress { task, trade: task, side, permille, note, partial });
        };
        let output = tokio::select! {
            biased;
            () = slot.called_off() => Err(Fruitless::CalledOff),
            output = reports.during(run, tell) => output.map_err(Fruitless::Failed),
            () = tokio::time::sleep(patience) => Err(Fruitless::Late),
        };
        if let Err(Fruitless::Failed(error)) = &output {
            self.catalogue.note_failure(&service, error).await;
        }
        let at = self.runtime.now();
        let mut own = OwnWork { output: None, stderr: reports.log(), at };
        let (outcome, kept) = match output {
            Ok(output) => {
                own.output = Some(match &output {
                    Data::Inline(bytes) => Stored::Inline(ByteBuf::from(bytes.to_vec())),
                    Data::Stored(pin) => Stored::Content(pin.id()),
                });
                // Its content stays at least until the record refers to it.
                (Outcome::Done, Some(output))
            }
            Err(why) => {
                let (failure, outcome) = why.told(at);
                record.failure = Some(failure);
                (outcome, None)
            }
        };
        record.own = Some(own.clone());
        let ended = outcome.clone();
        let writing = move |w: &mut Write<'_>| {
            if let Some(Stored::Content(id)) = &own.output {
                content::refer(w, *id, task)?;
            }
            ends::end(w, task, None, &ended, at)?;
            store_task(w, task, &record, true)
        };
        let stored = match waits {
            true => self.journal.persist(Step::StoreEnd, move |w| Ok(writing(w)?)).await.map_err(|e| e.to_string()),
            false => self.journal.commit(Step::Other, writing).await.map_err(|e: StoreError| e.to_string()),
        };
        drop(kept);
        // What can't be found again wasn't done for whoever waits for it.
        let outcome = match stored {
            Ok(()) => outcome,
            Err(error) => {
                tracing::warn!(%task, error, "a task of one's own could not be recorded");
                let reason = format!("what came of it could not be recorded: {error}");
                Outcome::Failed { fault: Fault::Environment, reason }
            }
        };
        self.events.emit(Event::Ended { task, trade: None, side: Side::Buyer, outcome });
    }
}

impl Fruitless {
    fn told(self, at: Timestamp) -> (Failure, Outcome) {
        let failed = |fault: Fault, reason: String, hint: Option<&str>| {
            let failure =
                Failure { fault: fault.code().into(), reason: reason.clone(), hint: hint.map(Into::into), at };
            (failure, Outcome::Failed { fault, reason })
        };
        match self {
            Self::CalledOff => {
                let cancelled = HireError::Cancelled;
                let (failure, _) = failed(cancelled.fault(), cancelled.to_string(), cancelled.hint());
                (failure, Outcome::Cancelled)
            }
            Self::Late => {
                let late = HireError::DeadlinePassed;
                failed(late.fault(), late.to_string(), late.hint())
            }
            // Whose input is at fault is ourselves here.
            Self::Failed(error) => failed(
                if error.fault() == Fault::Peer { Fault::Ours } else { error.fault() },
                error.own_text(),
                error.hint(),
            ),
        }
    }
}
