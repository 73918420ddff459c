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
    market::Unit,
    time::Timestamp,
    trade::{buyer, seller},
    ucan::grant::GrantChain,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Api, LISTED,
    caller::{Caller, Right},
    grants::Side as GrantSide,
    types::{
        ApiError, DescribedEvent, Hire, HireEvent, Hired, OutputCheck, Step, TaskListing, TaskProgress, TaskSide,
        TaskView,
    },
};
use crate::{
    content::{Collector, Data},
    events::{Heard, Side, Subscription},
    runtime::Job,
    trade::{
        self, CancelError, Held, Keyed, MAX_HIRE_NAME, MoneyView, Page, TaskFilter, TaskState, TaskView as Trading,
    },
};

/// Fewest letters of a task's ID that stand for it.
const MIN_ID_TAIL: usize = 4;
/// Tasks among which an ID's last letters are looked for.
const RECENT: usize = 1_000;
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
        caller.may(Right::Hire)?;
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
        caller.may(Right::Hire)?;
        for name in [&hire.id, &hire.label].into_iter().flatten() {
            if name.is_empty() || name.len() > MAX_HIRE_NAME {
                let hint = "a key or label has 1 to 128 bytes";
                return Err(ApiError::misuse(format!("a key or label of {} bytes", name.len()), hint));
            }
        }
        let hire = Hire { under: caller.under().cloned(), ..hire };
        let request = Request::of(hire, input, || hex::encode(self.node().runtime.random::<16>()));
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

    /// Places a hire, or finds the task that it is already.
    async fn place_hire(&self, request: &Request) -> Result<Placed, ApiError> {
        let node = self.node();
        let began = node.runtime.instant();
        let mut hire = request.hire.clone();
        let Some(key) = &hire.id else {
            return self.begin(self.decided(hire).await?, request.input.clone(), began).await;
        };
        // Who works for a task has keys of its own.
        let name = hire.under.as_ref().map_or_else(|| key.clone(), |under| format!("{}/{key}", under.award));
        let _only_one = node.trade.enter_key(&name).await;
        // Before the look, so that its end can't be missed.
        let events = node.events.subscribe();
        match node.trade.keyed(&name, request.hash, request.retries())? {
            Keyed::Free(claim) => {
                hire.claim = Some(claim);
                self.begin(self.decided(hire).await?, request.input.clone(), began).await
            }
            Keyed::Has { task, held } => Ok(Placed { task, events, began, handle: None, held }),
            Keyed::Other(task) => Err(ApiError::conflict(key, &task.to_string())),
        }
    }

    /// Begins a hire, or a work of this node's own.
    async fn begin(&self, hire: Hire, input: Data, began: tokio::time::Instant) -> Result<Placed, ApiError> {
        let node = self.node();
        Ok(match node.trade.own_service(&hire) {
            Some(service) => {
                let mut handle = node.trade.hire_own(service, hire, input).await?;
                let events = std::mem::replace(&mut handle.events, node.events.subscribe());
                Placed { task: handle.task, events, began, handle: Some(Box::pin(handle.done())), held: None }
            }
            None => {
                let mut handle = node.trade.hire(hire, input).await?;
                let events = std::mem::replace(&mut handle.events, node.events.subscribe());
                let task = handle.task;
                let done = async move { handle.done().await.map(drop) };
                Placed { task, events, began, handle: Some(Box::pin(done)), held: None }
            }
        })
    }

    /// Tells of a hire until it is over, and tries it again as often as it may be.
    async fn see_through(self, request: Request, first: Placed, tell: mpsc::Sender<Result<HireEvent, ApiError>>) {
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
        first: Placed,
        tell: &mpsc::Sender<Result<HireEvent, ApiError>>,
    ) -> Result<TaskView, ApiError> {
        let (mut placed, mut pause) = (first, RETRY_PAUSE);
        loop {
            let (task, held) = (placed.task, placed.held);
            let _ = tell.send(Ok(HireEvent::Hired(Hired { task: task.to_string() }))).await;
            let ended = self.await_end(placed, tell, request.hire.quiet).await.map_err(|error| error.about(task))?;
            if held.is_some() || request.retries() == 0 || !may_be_tried_again(&ended) {
                return Ok(explained(ended, held));
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_RETRY_PAUSE.min(pause * 2);
            let next = self.place_hire(request).await?;
            if next.task == task {
                return Ok(explained(ended, next.held));
            }
            placed = next;
        }
    }

    /// Tells a task's steps until it is over.
    async fn await_end(
        &self,
        placed: Placed,
        tell: &mpsc::Sender<Result<HireEvent, ApiError>>,
        quiet: bool,
    ) -> Result<TaskView, ApiError> {
        let Placed { task, events, began, handle, .. } = placed;
        let ended = async {
            let Some(done) = handle else { return self.await_record(task).await };
            let done = done.await;
            // How it ended stands in the record, also where it never came to an award; unless even that could not be written.
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
        caller.may(Right::Money)?;
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
        self.node().trade.write_off(view.task).await?;
        self.task_by_id(cid)
    }

    /// The hire with all that it left open decided: by the settings, or by what the wallet holds.
    async fn decided(&self, hire: Hire) -> Result<Hire, ApiError> {
        if hire.under.is_some() {
            if hire.grant.is_some() {
                let hint = "leave the grant out: it hires in the name of its own buyer";
                return Err(ApiError::misuse("the program of a task hires under no grant", hint));
            }
            // What it leaves open, the delegations of its task decide.
            return Ok(self.paid_as_set(hire));
        }
        let node = self.node();
        let granted = match &hire.grant {
            Some(id) => Some(node.grants.adopt(self.resolve_grant(id, GrantSide::Held)?).await?),
            None => None,
        };
        let terms = granted.as_ref().map(GrantChain::terms).unwrap_or_default();
        // What the grant fixes, it decides.
        let hire = Hire {
            unit: hire.unit.or_else(|| terms.unit?.parse().ok()),
            mint: hire.mint.or_else(|| terms.mint?.parse().ok()),
            granted,
            ..hire
        };
        if let Some(url) = hire.mint.as_ref().filter(|url| !node.wallet.mints().iter().any(|known| known.url == **url))
        {
            return Err(super::money::not_accepted(url, super::money::trust_it(url)));
        }
        let defaults = &node.config.hire;
        Ok(Hire {
            max_price: Some(
                hire.max_price.unwrap_or_else(|| defaults.max_price.min(terms.max_price.unwrap_or(u64::MAX))),
            ),
            unit: Some(self.unit_to_pay_in(&hire)?),
            deadline_secs: Some(hire.deadline_secs.unwrap_or(defaults.deadline_secs)),
            own: true,
            ..self.paid_as_set(hire)
        })
    }

    /// The hire, paid as the settings say where it doesn't.
    fn paid_as_set(&self, hire: Hire) -> Hire {
        let defaults = &self.node().config.hire;
        Hire {
            mode: Some(hire.mode.unwrap_or(defaults.mode)),
            stranger_max: defaults.stranger_max,
            daily_max: defaults.daily_max,
            ..hire
        }
    }

    /// The task of that ID, if the caller may see it: with the right to, or because it hired it for the sake of its own.
    async fn seen_by(&self, caller: &Caller, right: Right, id: &str) -> Result<Cid, ApiError> {
        let Some(under) = caller.under() else {
            caller.may(right)?;
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
            caller.may(Right::Look)?;
        }
        let after = match &listing.after {
            Some(id) => Some(self.view_of(self.seen_by(caller, Right::Look, id).await?)?.cursor()),
            None => None,
        };
        let page = Page { after, limit: listing.limit.unwrap_or(LISTED) };
        let found = self.node().trade.tasks_that_fit(under, page, filter(listing)?).await?;
        Ok(found.into_iter().map(TaskView::from).collect())
    }

    /// One task.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or several end in its letters.
    pub async fn task(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        self.task_by_id(self.seen_by(caller, Right::Look, id).await?)
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or it is over.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        let cid = self.seen_by(caller, Right::Hire, id).await?;
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
        let cid = self.seen_by(caller, Right::Look, id).await?;
        let Some(data) = self.node().trade.output(cid)? else {
            let told = ApiError::missing("the task has no output", format!("`guilder task show {id}` says why"));
            let money = self.task_by_id(cid)?.money;
            return Err(ApiError { money, ..told.about(cid) });
        };
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
        let task = self.seen_by(caller, Right::Look, id).await?;
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

    /// A task by its whole ID, or by the last letters of one of the latest.
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
        let trade = self.node().trade.clone();
        let latest = move || trade.tasks(Page { after: None, limit: RECENT });
        let tasks = self.node().runtime.offload(Job::Disk, latest).await?;
        let ids: std::collections::BTreeSet<Cid> =
            tasks.iter().map(|view| view.task).filter(|task| task.to_string().ends_with(id)).collect();
        let mut ids = ids.into_iter();
        match (ids.next(), ids.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(ApiError::misuse(format!("several tasks end in {id}"), "give more letters")),
            (None, _) => Err(no_task(id)),
        }
    }

    /// The unit that a hire is paid in: as it says, else the only unit of the mint that it names, else the settings'.
    fn unit_to_pay_in(&self, hire: &Hire) -> Result<Unit, ApiError> {
        let wallet = &self.node().wallet;
        if let Some(unit) = &hire.unit {
            return Ok(unit.clone());
        }
        if let Some(mint) = &hire.mint {
            let known = wallet.mints().into_iter().find(|known| known.url == *mint);
            if let Some([unit]) = known.as_ref().map(|known| known.units.as_slice()) {
                return Ok(unit.clone());
            }
        }
        let held: std::collections::BTreeSet<Unit> =
            wallet.balances()?.into_iter().filter(|balance| balance.total() > 0).map(|balance| balance.unit).collect();
        let default = &self.node().config.wallet.unit;
        match (held.contains(default), held.len(), held.into_iter().next()) {
            (false, 1, Some(only)) => Ok(only),
            _ => Ok(default.clone()),
        }
    }
}

/// The steps of one task, as they happen.
fn steps(
    task: Cid,
    events: Subscription,
    began: tokio::time::Instant,
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
}

impl Request {
    /// Where it is to be tried again and has no key, `key` gives it one.
    fn of(mut hire: Hire, input: Data, key: impl FnOnce() -> String) -> Self {
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
        Self { hire, input, hash: ByteArray(hasher.finalize().into()) }
    }

    fn retries(&self) -> usize {
        self.hire.retry.unwrap_or_default() as usize
    }
}

/// A hire that has a task.
struct Placed {
    task: Cid,
    events: Subscription,
    began: tokio::time::Instant,
    /// None if the task was there before.
    handle: Option<futures::future::BoxFuture<'static, Result<(), trade::HireError>>>,
    held: Option<Held>,
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
fn moment(text: &str) -> Result<Timestamp, ApiError> {
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
        let money = view.money.as_ref().map(money);
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

fn money(money: &MoneyView) -> String {
    match money {
        MoneyView::Locked => "locked to the seller while it works".to_owned(),
        MoneyView::Bought(buyer::Money::Paid) => "paid".to_owned(),
        MoneyView::Bought(buyer::Money::Returned) => "back in the purse: the seller never took it".to_owned(),
        MoneyView::Bought(buyer::Money::Waiting) => "locked; comes back after its locktime".to_owned(),
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
            Request::of(hire, Data::Inline(Bytes::from_static(input)), || "made".to_owned()).hash
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
        let request = Request::of(tried, Data::Inline(Bytes::new()), || "made".to_owned());
        assert_eq!(request.hire.id.as_deref(), Some("made"), "without a key nothing would keep it from paying twice");
    }
}
