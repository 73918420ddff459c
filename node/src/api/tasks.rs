//! What can be done with tasks: hire, look, cancel, take the output, prove.

use std::{io, time::Duration};

use bytes::Bytes;
use cid::Cid;
use futures::{Stream, StreamExt as _, stream};
use guilder_protocol::{
    bytes::{ByteArray, Digest},
    content::ContentId,
    fault::Fault,
    identity::AgentId,
    limits::MAX_CONTENT,
    time::Timestamp,
    trade::{buyer, seller},
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Api, LISTED,
    caller::{Action, Caller},
    grants::Side as GrantSide,
    types::{
        ApiError, DescribedEvent, ErrorCode, Hire, HireEvent, Hired, OutputCheck, Step, TaskListing, TaskProgress,
        TaskSide, TaskView,
    },
};
use crate::{
    content::{Collector, Data},
    events::{Heard, Side, Subscription},
    gate::Wanted,
    spans::Span,
    trade::{
        self, CancelError, Held, HireError, MAX_HIRE_NAME, MAX_LISTED, MoneyView, Origin, Page, PlaceError, Placed,
        TaskFilter, TaskState, TaskView as Trading,
    },
};

/// Fewest letters of a task's ID that stand for it.
const MIN_ID_TAIL: usize = 4;
/// Steps of a hire that wait for who listens. A listener that is too slow misses some, never the end.
const HIRE_EVENTS: usize = 256;
/// How long a hire that failed waits before it is tried again; twice as long each time.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often the record of a task is looked at that somebody else waits for already.
const RECORD_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(30);

impl Api {
    /// Takes an input in as it comes: in memory if it is small, else in a file.
    ///
    /// # Errors
    /// If the caller may not, it breaks off, is over [`MAX_CONTENT`], or the disk fails.
    pub async fn take_input(
        &self,
        caller: &Caller,
        pieces: impl Stream<Item = Result<Bytes, ApiError>> + Send,
    ) -> Result<Data, ApiError> {
        caller.may(Action::Hire)?;
        let mut collector = Collector::new(self.node().content.clone(), MAX_CONTENT);
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            collector.push(&piece?).await?;
        }
        Ok(collector.finish().await?)
    }

    /// Hires. With a key ([`Hire::id`]) it may be a task that there is already. The stream names the task, has its steps (unless `quiet`), and how it ended. The task goes on if nobody
    /// reads it.
    ///
    /// # Errors
    /// If the caller may not, or it can't even begin.
    pub async fn hire(
        &self,
        caller: &Caller,
        hire: Hire,
        input: Data,
    ) -> Result<impl Stream<Item = Result<HireEvent, ApiError>> + Send + 'static, ApiError> {
        caller.may(Action::Hire)?;
        for name in [&hire.id, &hire.label].into_iter().flatten() {
            if name.is_empty() || name.len() > MAX_HIRE_NAME {
                let hint = "a key or label has 1 to 128 bytes";
                return Err(ApiError::misuse(format!("a key or label of {} bytes", name.len()), hint));
            }
        }
        let grant = hire.grant.as_deref().filter(|_| caller.under().is_none());
        let grant = grant.map(|id| self.resolve_grant(id, GrantSide::Held)).transpose()?;
        let grant = grant.map(|id| id.to_string()).or(hire.grant);
        let hire = Hire { under: caller.under().cloned(), grant, ..hire };
        let is_keyed = hire.id.is_some();
        let mut request = Request::of(caller, hire, input, || hex::encode(self.node().runtime.random::<16>()));
        self.mandate(caller, &mut request, is_keyed).await?;
        let first = self.place_hire(&request).await.map_err(|error| match &error.task {
            // The task that the key named before stands for itself.
            Some(_) => error,
            None => error.with_money("untouched: the hire did not begin"),
        })?;
        let (tell, told) = mpsc::channel(HIRE_EVENTS);
        // In a task of its own: the hire goes on, and is tried again, whether or not somebody listens.
        let hiring = self.clone().see_through(request, first, tell);
        self.node().runtime.spawn("api/hire", hiring).detach();
        Ok(ReceiverStream::new(told))
    }

    /// Has the gate look at a hire of a caller that isn't the owner, and puts it on that one's budget.
    async fn mandate(&self, caller: &Caller, request: &mut Request, is_keyed: bool) -> Result<(), ApiError> {
        let Some(scope) = caller.scope() else { return Ok(caller.may(Action::Hire)?) };
        let (config, hire) = (&self.node().config, &mut request.hire);
        // What isn't said is no reason to ask.
        let most = hire.max_price.unwrap_or(config.hire.max_price.min(config.gate.ask_above));
        hire.max_price = Some(most);
        hire.budgets = scope.budget.iter().map(|budget| budget.of(caller.name())).collect();
        // What is approved is done once, so it has an origin.
        let key = hire.id.get_or_insert_with(|| hex::encode(self.node().runtime.random::<16>())).clone();
        let named = Hire { id: hire.id.clone().filter(|_| is_keyed), ..hire.clone() };
        let terms = serde_json::json!({ "hire": named, "request_sha256": hex::encode(request.hash.0) });
        let is_high = !hire.allow_subcontract.is_empty() || hire.grant.is_some();
        let wanted = Wanted { service: &hire.service, most, is_high, key: &key, is_named: is_keyed };
        hire.mandate = self.node().gate.mandate(caller, wanted, &terms).await?;
        Ok(())
    }

    /// Places a hire, or finds the task that it is already.
    async fn place_hire(&self, request: &Request) -> Result<(Placed, Instant), ApiError> {
        let node = self.node();
        let began = node.runtime.instant();
        let placed = node.trade.place(request.hire.clone(), request.input.clone(), request.origin()).await;
        let placed = placed.map_err(|error| match error {
            PlaceError::Conflict { origin, task } => ApiError::conflict(&origin.key, &task.to_string()),
            PlaceError::Hire(HireError::Gate(refusal)) => refusal.into(),
            PlaceError::NotAccepted(url) => super::money::not_accepted(&url, super::money::trust_it(&url)),
            error => error.into(),
        })?;
        Ok((placed, began))
    }

    /// Tells of a hire until it is over, and tries it again as often as it may be.
    async fn see_through(
        self,
        request: Request,
        first: (Placed, Instant),
        tell: mpsc::Sender<Result<HireEvent, ApiError>>,
    ) {
        let end = match self.try_until_over(&request, first, &tell).await {
            Ok(ended) => Ok(HireEvent::Ended(Box::new(ended))),
            Err(error) => Err(error),
        };
        // Nobody may be listening any more.
        let _ = tell.send(end).await;
    }

    async fn try_until_over(
        &self,
        request: &Request,
        first: (Placed, Instant),
        tell: &mpsc::Sender<Result<HireEvent, ApiError>>,
    ) -> Result<TaskView, ApiError> {
        let (mut placed, mut pause) = (first, RETRY_PAUSE);
        loop {
            let (task, held) = (placed.0.task, placed.0.held);
            let _ = tell.send(Ok(HireEvent::Hired(Hired { task: task.to_string() }))).await;
            let ended = self.await_end(placed, tell, request.hire.quiet).await.map_err(|error| error.about(task))?;
            if held.is_some() || request.retries() == 0 || !may_be_tried_again(&ended) {
                return Ok(explained(ended, held));
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_RETRY_PAUSE.min(pause * 2);
            let next = self.place_hire(request).await?;
            if next.0.task == task {
                return Ok(explained(ended, next.0.held));
            }
            placed = next;
        }
    }

    /// Tells a task's steps until it is over.
    async fn await_end(
        &self,
        (placed, began): (Placed, Instant),
        tell: &mpsc::Sender<Result<HireEvent, ApiError>>,
        quiet: bool,
    ) -> Result<TaskView, ApiError> {
        let Placed { task, events, done, .. } = placed;
        let ended = async {
            let Some(done) = done else { return self.await_record(task).await };
            let done = done.await;
            // How it ended stands in the record, also where it never came to an award; unless even that could not be written.
            let _took = Span::View.begin();
            match (self.task_by_id(task), done) {
                (Ok(view), _) => Ok(view),
                (Err(_), Err(error)) => Err(error.into()),
                (Err(error), Ok(_)) => Err(error),
            }
        };
        let steps = if quiet { stream::pending().left_stream() } else { steps(task, events, began).right_stream() };
        let (mut steps, mut ended) = (std::pin::pin!(steps.fuse()), std::pin::pin!(ended));
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.next() => {
                    // Who is too slow, or gone, misses it.
                    let _ = tell.try_send(step);
                }
                ended = &mut ended => return ended,
            }
        }
    }

    /// Waits until the record of a task that is under way already says that it is over.
    async fn await_record(&self, task: Cid) -> Result<TaskView, ApiError> {
        loop {
            let view = self.task_by_id(task)?;
            if view.ended && !self.node().trade.is_placing(task) {
                return Ok(view);
            }
            tokio::time::sleep(RECORD_PAUSE).await;
        }
    }

    /// Counts no more on the money that is locked for a task: another may be awarded under its key.
    ///
    /// # Errors
    /// If the caller may not, or this node buys no task of that ID.
    pub async fn write_off(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        self.may_ask(caller, Action::WriteOff)?;
        let cid = self.resolve(id).await?;
        let view = self.view_of(cid)?;
        if view.side != Side::Buyer {
            let message = format!("the task {id} was sold here");
            return Err(ApiError::misuse(message, "only a buyer has money to write off").about(cid));
        }
        if !view.state.is_over() || self.node().trade.is_placing(view.task) {
            let hint = format!("call it off first: `guilder task cancel {id}`");
            return Err(ApiError::misuse(format!("the task {id} goes on"), hint).about(cid));
        }
        if matches!(
            view.money,
            None | Some(MoneyView::Own | MoneyView::Bought(buyer::Money::Paid | buyer::Money::Settled { .. }))
        ) {
            let message = format!("of the task {id} nothing is locked that could be written off");
            let hint = format!("what became of its money: `guilder task show {id}`");
            return Err(ApiError::misuse(message, hint).about(cid));
        }
        self.pass(caller, Action::WriteOff, &view.task.to_string()).await?;
        self.node().trade.write_off(view.task).await?;
        self.task_by_id(cid)
    }

    /// The task of that ID, if the caller may see it: with the right to, or because it hired it for the sake of its own.
    async fn seen_by(&self, caller: &Caller, action: Action, id: &str) -> Result<Cid, ApiError> {
        let Some(under) = caller.under() else {
            caller.may(action)?;
            return self.resolve(id).await;
        };
        let own = self.node().trade.passed_on(under.award)?;
        let mut found = own.into_iter().filter(|task| task.to_string().ends_with(id) && id.len() >= MIN_ID_TAIL);
        found.next().filter(|_| found.next().is_none()).ok_or_else(|| no_task(id))
    }

    /// Tasks that fit, the newest first; [`LISTED`] of them if no limit is said.
    ///
    /// # Errors
    /// If the caller may not, the one to go on after isn't there, a term can't be read, or the store can't be read.
    pub async fn tasks(&self, caller: &Caller, listing: &TaskListing) -> Result<Vec<TaskView>, ApiError> {
        let under = caller.under().map(|under| under.award);
        if under.is_none() {
            caller.may(Action::Look)?;
        }
        let after = match &listing.after {
            Some(id) => Some(self.view_of(self.seen_by(caller, Action::Look, id).await?)?.cursor()),
            None => None,
        };
        let limit = listing.limit.unwrap_or(LISTED);
        if limit > MAX_LISTED {
            return Err(ApiError::misuse(
                format!("{limit} tasks are more than one listing holds"),
                format!("ask for {MAX_LISTED} at most; those after them come with `after`"),
            ));
        }
        let found = self.node().trade.tasks_that_fit(under, Page { after, limit }, filter(listing)?).await?;
        Ok(found.into_iter().map(TaskView::from).collect())
    }

    /// One task.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or several end in its letters.
    pub async fn task(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        self.task_by_id(self.seen_by(caller, Action::Look, id).await?)
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or it is over.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        let cid = self.seen_by(caller, Action::Cancel, id).await?;
        if caller.scope().is_some() && self.node().trade.hired_by(cid)?.as_deref() != Some(caller.name()) {
            let message = format!("the task {id} was not hired by {}", caller.name());
            let told = ApiError::misuse(message, "whoever hired it calls it off, or the node's owner");
            return Err(ApiError { code: ErrorCode::NotAllowed, ..told }.about(cid));
        }
        if let Err(error) = self.node().trade.cancel(cid).await {
            let told = match error {
                CancelError::Over(_) => {
                    let hint = format!("`guilder task show {id}` shows how it ended");
                    ApiError::misuse(format!("the task {id} is over"), hint)
                }
                error => error.into(),
            };
            let money = self.task_by_id(cid).ok().and_then(|task| task.money);
            return Err(ApiError { money, ..told.about(cid) });
        }
        self.task_by_id(cid)
    }

    /// A task's output: its size and its pieces.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or it has no output.
    pub async fn output(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(u64, impl Stream<Item = io::Result<Bytes>> + Send + 'static), ApiError> {
        let cid = self.seen_by(caller, Action::Look, id).await?;
        let Some(data) = self.node().trade.output(cid)? else {
            let told = ApiError::missing("the task has no output", format!("`guilder task show {id}` says why"));
            let money = self.task_by_id(cid)?.money;
            return Err(ApiError { money, ..told.about(cid) });
        };
        if let Data::Stored(pin) = &data
            && !self.node().content.contains(pin.id()).await?
        {
            let hint = "outputs are kept for `trade.keep_payload_days`; the receipt and its hash are kept";
            return Err(ApiError::missing("the task's output is not here any more", hint).about(cid));
        }
        let pieces = data.pieces(&self.node().content).await?;
        // The data is kept with the stream: it pins its file.
        let pieces = stream::try_unfold((pieces, data.clone()), |(mut pieces, data)| async {
            let piece = pieces.next().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, (pieces, data))))
        });
        Ok((data.size(), pieces))
    }

    /// A task's audit bundle.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or nothing was awarded.
    pub async fn audit(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, ApiError> {
        let task = self.seen_by(caller, Action::Look, id).await?;
        let bundle = self.node().trade.audit_bundle(task).await?;
        let nothing = || ApiError::missing("nothing was awarded in this task", "there is nothing to prove yet");
        bundle.ok_or_else(|| nothing().about(task))
    }

    fn task_by_id(&self, id: Cid) -> Result<TaskView, ApiError> {
        Ok(self.view_of(id)?.into())
    }

    fn view_of(&self, id: Cid) -> Result<Trading, ApiError> {
        self.node().trade.show(id)?.ok_or_else(|| no_task(&id.to_string()))
    }

    /// A task by its whole ID or its trade's, or by the last letters of either.
    async fn resolve(&self, id: &str) -> Result<Cid, ApiError> {
        if let Ok(cid) = id.parse() {
            return Ok(cid);
        }
        if id.len() < MIN_ID_TAIL {
            return Err(ApiError::misuse(
                format!("{id} is too short for a task's ID"),
                "give its last 4 letters or more",
            ));
        }
        let mut ids = self.node().trade.tasks_ending_in(id.to_owned()).await?.into_iter();
        match (ids.next(), ids.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(ApiError::misuse(format!("several tasks end in {id}"), "give more letters")),
            (None, _) => Err(no_task(id)),
        }
    }
}

/// The steps of one task, as they happen.
fn steps(
    task: Cid,
    events: Subscription,
    began: Instant,
) -> impl Stream<Item = Result<HireEvent, ApiError>> + Send + 'static {
    stream::unfold(events, move |mut events| async move {
        loop {
            let Heard::Event(event) = events.next().await? else { continue };
            if event.event.task() != Some(&task) {
                continue;
            }
            let task_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Some((
                Ok(HireEvent::Step(Box::new(Step { task_ms, said: DescribedEvent::from(&*event) }))),
                events,
            ));
        }
    })
}

/// A hire as it was asked for.
#[derive(Clone, Debug)]
struct Request {
    hire: Hire,
    input: Data,
    /// Of its terms and its input.
    hash: Digest,
    /// Whose key it is, if it has one.
    caller: String,
}

impl Request {
    /// Where it is to be tried again and has no key, `key` gives it one.
    fn of(caller: &Caller, mut hire: Hire, input: Data, key: impl FnOnce() -> String) -> Self {
        if hire.id.is_none() && hire.retry.is_some_and(|retry| retry > 0) {
            hire.id = Some(key());
        }
        // What doesn't change what is bought. What the settings decide may change between two requests, and isn't in it.
        let terms = Hire { id: None, retry: None, label: None, quiet: false, explain: false, ..hire.clone() };
        let terms = serde_urlencoded::to_string(&terms).unwrap_or_default();
        let content = match &input {
            Data::Inline(bytes) => ContentId::of(bytes),
            Data::Stored(pin) => pin.id(),
        };
        let mut hasher = Sha256::new();
        hasher.update(b"guilder/hire/1");
        hasher.update((terms.len() as u64).to_be_bytes());
        hasher.update(terms.as_bytes());
        hasher.update(content.hash.as_bytes());
        Self { hire, input, hash: ByteArray(hasher.finalize().into()), caller: caller.name().to_owned() }
    }

    /// Where it comes from, with what it asks for.
    fn origin(&self) -> Option<(Origin, Digest)> {
        let key = self.hire.id.as_ref()?;
        Some((Origin::new(&self.caller, key), self.hash))
    }

    fn retries(&self) -> usize {
        self.hire.retry.unwrap_or_default() as usize
    }
}

/// Whether a task failed by what may be otherwise the next time.
fn may_be_tried_again(task: &TaskView) -> bool {
    task.failure.as_ref().is_some_and(|failure| failure.retryable)
}

/// The task, with why it wasn't tried again.
fn explained(mut task: TaskView, held: Option<Held>) -> TaskView {
    let Some(failure) = task.failure.as_mut() else { return task };
    let why = match held {
        Some(Held::Money) => format!(
            "not tried again: the seller may still take what is locked to it until its locktime has passed; \
             `guilder task write-off {}` takes the risk to pay twice",
            task.id
        ),
        Some(Held::Tries) => {
            failure.retryable = false;
            "tried as often as it was to be".to_owned()
        }
        None => return task,
    };
    failure.hint = Some(match failure.hint.take() {
        Some(hint) => format!("{why}; {hint}"),
        None => why,
    });
    task
}

/// Which tasks a listing is of.
fn filter(listing: &TaskListing) -> Result<TaskFilter, ApiError> {
    let states = || TaskState::ALL.map(TaskState::as_str).into_iter().chain(["open", "over"]);
    if let Some(state) = listing.state.as_ref().filter(|state| !states().any(|known| known == *state)) {
        let known = states().collect::<Vec<_>>().join(", ");
        return Err(ApiError::misuse(format!("a task is never {state}"), format!("it is one of {known}")));
    }
    let peer = listing.peer.as_deref().map(|text| {
        let parsed = text.parse().or_else(|_| AgentId::from_peer_id(text));
        parsed.map_err(|_| {
            ApiError::misuse(format!("{text} is no peer"), "a peer ID (12D3Koo…) or a DID (did:key:z6Mk…)")
        })
    });
    let side = listing.side.map(|side| match side {
        TaskSide::Buyer => Ok(Side::Buyer),
        TaskSide::Seller => Ok(Side::Seller),
        TaskSide::Unknown => Err(ApiError::misuse("no such side of a task", "it is buyer or seller")),
    });
    Ok(TaskFilter {
        state: listing.state.clone(),
        side: side.transpose()?,
        service: listing.service.clone(),
        peer: peer.transpose()?,
        since: listing.since.as_deref().map(moment).transpose()?,
        until: listing.until.as_deref().map(moment).transpose()?,
        label: listing.label.clone(),
    })
}

/// A moment as people or programs write it.
pub(crate) fn moment(text: &str) -> Result<Timestamp, ApiError> {
    if let Ok(secs) = text.parse() {
        return Ok(Timestamp::from_secs(secs));
    }
    let hint = "write 2026-11-29, 2026-11-29T08:00:00Z, or seconds since the Unix epoch";
    civil(text).ok_or_else(|| ApiError::misuse(format!("{text} is no moment"), hint))
}

/// A date, or a date and a time, in UTC.
fn civil(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, between: char| -> Option<Vec<u64>> {
        let digits =
            |part: &str| (part.len() >= 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok());
        text.split(between).map(|part| digits(part).flatten()).collect()
    };
    let (&[year, month, day], &[hour, minute, second]) =
        (&*numbers(date, '-')?, &*numbers(time.trim_end_matches('Z'), ':')?)
    else {
        return None;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, 28 + u64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let in_month = *days.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1970..=9999).contains(&year) || !(1..=in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before = year - 1;
    // Days from 0001-01-01 to 1970-01-01: 719162.
    let to_year = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let to_month: u64 = days.iter().take(month as usize - 1).sum();
    let secs = ((to_year + to_month + day - 1) * 24 + hour) * 3_600 + minute * 60 + second;
    Some(Timestamp::from_secs(secs))
}

fn no_task(id: &str) -> ApiError {
    ApiError::missing(format!("there is no task {id}"), "`guilder task list` shows the tasks")
}

impl From<Trading> for TaskView {
    fn from(view: Trading) -> Self {
        let money = view.money.as_ref().map(|what| money(what, view.locked_until));
        let failure = view.failure.map(|(fault, reason)| ApiError {
            // To hire it again may help; a seller has nothing to ask again.
            retryable: view.side == Side::Buyer && view.state == TaskState::Failed && fault != Fault::Ours,
            money: money.clone(),
            ..ApiError::new(fault, reason, view.hint).about(view.task)
        });
        Self {
            id: view.task.to_string(),
            own: view.money == Some(MoneyView::Own),
            side: match view.side {
                Side::Buyer => TaskSide::Buyer,
                Side::Seller => TaskSide::Seller,
                Side::Unknown => TaskSide::Unknown,
            },
            service: view.service,
            peer: view.peer.map(|peer| peer.peer_id()),
            state: view.state.as_str().to_owned(),
            ended: view.state.is_over(),
            delivered: view.state == crate::trade::TaskState::Delivered,
            failure,
            price: view.price,
            unit: Some(view.unit),
            mint: view.mint,
            created: view.created,
            updated: view.updated,
            award: view.trade.map(|award| award.to_string()),
            accepted: view.accepted,
            called_off: view.called_off,
            receipt: view.receipt.map(|receipt| receipt.to_string()),
            received: view.received,
            output_bytes: view.output_bytes,
            salt: view.salt.map(|salt| salt.to_string()),
            output_check: view.output_check.map(OutputCheck::from),
            redeemed: match view.money {
                Some(MoneyView::Sold(seller::Money::Redeemed { amount })) => Some(amount),
                _ => None,
            },
            money,
            progress: view.progress.map(|progress| TaskProgress {
                permille: progress.permille,
                notes: progress.notes,
                partial: progress.partial,
            }),
            label: view.label,
            stderr: view.stderr,
        }
    }
}

impl From<trade::OutputCheck> for OutputCheck {
    fn from(check: trade::OutputCheck) -> Self {
        match check {
            trade::OutputCheck::Valid => Self::Valid,
            trade::OutputCheck::Invalid(why) => Self::Invalid { why },
            trade::OutputCheck::Unchecked(why) => Self::Unchecked { why },
        }
    }
}

fn money(money: &MoneyView, until: Option<Timestamp>) -> String {
    match money {
        MoneyView::Locked => "locked to the seller while it works".to_owned(),
        MoneyView::Bought(buyer::Money::Paid) => "paid".to_owned(),
        MoneyView::Bought(buyer::Money::Returned) => "back in the purse: the seller never took it".to_owned(),
        MoneyView::Bought(buyer::Money::Waiting) => match until {
            Some(until) => format!("locked; comes back after its locktime, {until}"),
            None => "locked; comes back after its locktime".to_owned(),
        },
        MoneyView::Bought(buyer::Money::Settled { refunded, redeemed, fee }) => {
            format!("{refunded} came back, {redeemed} redeemed by the seller, {fee} of fees")
        }
        MoneyView::Sold(money) => sold(money),
        MoneyView::Own => "none: this node's own service did it, for free".to_owned(),
    }
}

fn sold(money: &seller::Money) -> String {
    match money {
        seller::Money::Due => "earned; redeemed with the next batch".to_owned(),
        seller::Money::Redeemed { amount } => format!("redeemed: {amount} after the mint's fee"),
        seller::Money::Unreleased => "delivered sealed; the buyer hasn't released it yet".to_owned(),
        seller::Money::Voided => "given up: it falls back to the buyer".to_owned(),
        seller::Money::Lost(why) => format!("lost: the mint wouldn't redeem it: {why}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_printed() {
        for secs in [0, 68_169_599, 951_782_400, 1_767_225_599, 4_102_444_800] {
            let at = Timestamp::from_secs(secs);
            assert_eq!(moment(&at.to_string()).unwrap(), at, "{at}");
            assert_eq!(moment(&secs.to_string()).unwrap(), at);
        }
        assert_eq!(moment("2026-01-01").unwrap().as_secs(), 1_767_225_600);
        for text in ["", "yesterday", "2026-02-29", "2026-13-01", "2026-01-01T24:00:00Z", "2026-1-1", "1969-12-31"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_is_the_same_by_what_it_buys_whatever_it_is_called() {
        let hire = |price| Hire { max_price: Some(price), ..Hire::of("text.echo".parse().unwrap()) };
        let hash = |hire: Hire, input: &'static [u8]| {
            Request::of(&Caller::owner(), hire, Data::Inline(Bytes::from_static(input)), || "made".to_owned()).hash
        };
        let first = hash(hire(3), b"x");
        let named = Hire {
            id: Some("a".into()),
            retry: Some(2),
            label: Some("b".into()),
            quiet: true,
            explain: true,
            ..hire(3)
        };
        assert_eq!(hash(named, b"x"), first);
        for other in [hash(hire(4), b"x"), hash(hire(3), b"y"), hash(hire(3), b"")] {
            assert_ne!(other, first);
        }
        let tried = Hire { retry: Some(1), ..hire(3) };
        let request = Request::of(&Caller::owner(), tried, Data::Inline(Bytes::new()), || "made".to_owned());
        assert_eq!(request.hire.id.as_deref(), Some("made"), "without a key nothing would keep it from paying twice");
    }
}
