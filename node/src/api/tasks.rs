//! What can be done with tasks: hire, look, cancel, take the output, prove.

use std::io;

use bytes::Bytes;
use cid::Cid;
use futures::{Stream, StreamExt as _, stream};
use guilder_protocol::{
    audit,
    limits::MAX_CONTENT,
    market::Unit,
    trade::{buyer, seller},
};

use super::{
    Api, LISTED,
    caller::{Caller, Right},
    types::{
        ApiError, DescribedEvent, Failure, Hire, HireEvent, Hired, OutputCheck, Step, TaskListing, TaskProgress,
        TaskSide, TaskView,
    },
};
use crate::{
    content::{Collector, Data},
    events::{Heard, Side, Subscription},
    trade::{self, CancelError, MoneyView, Page, TaskView as Trading},
};

/// Fewest letters of a task's ID that stand for it.
const MIN_ID_TAIL: usize = 4;
/// Tasks among which an ID's last letters are looked for.
const RECENT: usize = 1_000;

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

    /// Hires. The stream names the task, has its steps (unless `quiet`), and how it ended. The task goes on if nobody
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
        let node = self.node();
        let (began, quiet) = (node.runtime.instant(), hire.quiet);
        let mut handle = node.trade.hire(self.decided(hire)?, input).await?;
        let (task, api) = (handle.task, self.clone());
        let events = std::mem::replace(&mut handle.events, node.events.subscribe());
        let ended = async move {
            let done = handle.done().await;
            // How it ended stands in the record, also where it never came to an award; unless even that could not be written.
            match (api.task_by_id(task), done) {
                (Ok(view), _) => Ok(HireEvent::Ended(Box::new(view))),
                (Err(_), Err(error)) => Err(error.into()),
                (Err(error), Ok(_)) => Err(error),
            }
        };
        let steps = if quiet { stream::empty().left_stream() } else { steps(task, events, began).right_stream() };
        let first = stream::iter([Ok(HireEvent::Hired(Hired { task: task.to_string() }))]);
        Ok(first.chain(until(steps, ended)))
    }

    /// The hire with all that it left open decided: by the settings, or by what the wallet holds.
    fn decided(&self, hire: Hire) -> Result<Hire, ApiError> {
        let node = self.node();
        if let Some(url) = hire.mint.as_ref().filter(|url| !node.wallet.mints().iter().any(|known| known.url == **url))
        {
            return Err(super::money::not_accepted(url, format!("if you trust it: guilder wallet mints add {url}")));
        }
        let defaults = &node.config.hire;
        Ok(Hire {
            max_price: Some(hire.max_price.unwrap_or(defaults.max_price)),
            unit: Some(self.unit_to_pay_in(&hire)?),
            deadline_secs: Some(hire.deadline_secs.unwrap_or(defaults.deadline_secs)),
            mode: Some(hire.mode.unwrap_or(defaults.mode)),
            stranger_max: defaults.stranger_max,
            ..hire
        })
    }

    /// Tasks, the newest first; [`LISTED`] of them if no limit is said.
    ///
    /// # Errors
    /// If the caller may not, the one to go on after isn't there, or the store can't be read.
    pub fn tasks(&self, caller: &Caller, listing: &TaskListing) -> Result<Vec<TaskView>, ApiError> {
        caller.may(Right::Look)?;
        let after = listing.after.as_deref().map(|id| self.view_of(self.resolve(id)?)).transpose()?;
        let page = Page { after: after.map(|view| view.cursor()), limit: listing.limit.unwrap_or(LISTED) };
        Ok(self.node().trade.tasks(page)?.into_iter().map(TaskView::from).collect())
    }

    /// One task.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or several end in its letters.
    pub fn task(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        caller.may(Right::Look)?;
        self.task_by_id(self.resolve(id)?)
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// If the caller may not, there is none of that ID, or it is over.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<TaskView, ApiError> {
        caller.may(Right::Hire)?;
        let cid = self.resolve(id)?;
        self.node().trade.cancel(cid).await.map_err(|error| match error {
            CancelError::Over(_) => {
                ApiError::misuse(format!("the task {id} is over"), format!("guilder task show {id} shows how it ended"))
            }
            error => error.into(),
        })?;
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
        caller.may(Right::Look)?;
        let data = self.node().trade.output(self.resolve(id)?)?;
        let data = data
            .ok_or_else(|| ApiError::missing("the task has no output", format!("guilder task show {id} says why")))?;
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
    pub fn audit(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, ApiError> {
        caller.may(Right::Look)?;
        let evidence = self.node().trade.evidence(self.resolve(id)?)?;
        let evidence = evidence.filter(|evidence| !evidence.awards.is_empty());
        let evidence = evidence
            .ok_or_else(|| ApiError::missing("nothing was awarded in this task", "there is nothing to prove yet"))?;
        Ok(audit::bundle(&evidence))
    }

    fn task_by_id(&self, id: Cid) -> Result<TaskView, ApiError> {
        Ok(self.view_of(id)?.into())
    }

    fn view_of(&self, id: Cid) -> Result<Trading, ApiError> {
        self.node().trade.show(id)?.ok_or_else(|| no_task(&id.to_string()))
    }

    /// A task by its whole ID, or by the last letters of one of the latest.
    fn resolve(&self, id: &str) -> Result<Cid, ApiError> {
        if let Ok(cid) = id.parse() {
            return Ok(cid);
        }
        if id.len() < MIN_ID_TAIL {
            return Err(ApiError::misuse(
                format!("{id} is too short for a task's ID"),
                "give its last 4 letters or more",
            ));
        }
        let tasks = self.node().trade.tasks(Page { after: None, limit: RECENT })?;
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

/// `steps` until `last` is there, then `last`.
fn until(
    steps: impl Stream<Item = Result<HireEvent, ApiError>> + Send + 'static,
    last: impl Future<Output = Result<HireEvent, ApiError>> + Send + 'static,
) -> impl Stream<Item = Result<HireEvent, ApiError>> + Send + 'static {
    let state = Some((Box::pin(steps.fuse()), Box::pin(last)));
    stream::unfold(state, |state| async {
        let (mut steps, mut last) = state?;
        tokio::select! {
            biased;
            Some(step) = steps.next() => Some((step, Some((steps, last)))),
            ended = &mut last => Some((ended, None)),
        }
    })
}

fn no_task(id: &str) -> ApiError {
    ApiError::missing(format!("there is no task {id}"), "guilder task list shows the tasks")
}

impl From<Trading> for TaskView {
    fn from(view: Trading) -> Self {
        Self {
            id: view.task.to_string(),
            side: match view.side {
                Side::Buyer => TaskSide::Buyer,
                Side::Seller => TaskSide::Seller,
            },
            service: view.service,
            peer: view.peer.map(|peer| peer.peer_id()),
            state: view.state.as_str().to_owned(),
            ended: view.state.is_over(),
            delivered: view.state == crate::trade::TaskState::Delivered,
            failure: view.failure.map(|(fault, reason)| Failure { fault, reason, hint: view.hint }),
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
            money: view.money.as_ref().map(money),
            progress: view.progress.map(|progress| TaskProgress {
                permille: progress.permille,
                notes: progress.notes,
                partial: progress.partial,
            }),
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
