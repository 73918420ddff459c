//! What can be done with tasks: hire, look, cancel, take the output, prove.

use std::io;

use bytes::Bytes;
use cid::Cid;
use futures::{Stream, StreamExt as _, stream};
use guilder_protocol::{
    audit,
    identity::AgentId,
    limits::MAX_CONTENT,
    market::Unit,
    trade::{buyer, seller},
};
use serde_json::{Value, json};

use super::{
    Api, said,
    types::{ApiError, Failure, Hire, TaskSide, TaskView},
};
use crate::{
    content::{Collector, Data},
    events::{Heard, Side, Subscription},
    trade::{HireRequest, MoneyView, Page, TaskView as Trading},
};

/// Fewest letters of a task's ID that stand for it.
const MIN_ID_TAIL: usize = 4;
/// Tasks among which an ID's last letters are looked for.
const RECENT: usize = 1_000;

impl Api {
    /// Takes an input in as it comes: in memory if it is small, else in a file.
    ///
    /// # Errors
    /// If it breaks off, is over [`MAX_CONTENT`], or the disk fails.
    pub async fn take_input(
        &self,
        pieces: impl Stream<Item = Result<Bytes, ApiError>> + Send,
    ) -> Result<Data, ApiError> {
        let mut collector = Collector::new(self.node().content.clone(), MAX_CONTENT);
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            collector.push(&piece?).await?;
        }
        Ok(collector.finish().await?)
    }

    /// Hires. The stream has `{"task"}`, every event of the task (unless `quiet`), and `{"ended"}`. The task goes on if
    /// nobody reads it.
    ///
    /// # Errors
    /// If it can't even begin.
    pub async fn hire(
        &self,
        hire: Hire,
        input: Data,
        quiet: bool,
    ) -> Result<impl Stream<Item = Result<Value, ApiError>> + Send + 'static, ApiError> {
        let node = self.node();
        let began = node.runtime.instant();
        if let Some(url) = hire.mint.as_ref().filter(|url| !node.wallet.mints().iter().any(|known| known.url == **url))
        {
            return Err(super::money::not_accepted(url, format!("if you trust it: guilder wallet mints add {url}")));
        }
        let request = HireRequest {
            input,
            max_price: hire.max_price.unwrap_or(node.config.hire.max_price),
            unit: self.unit_to_pay_in(&hire)?,
            deadline: node.runtime.now().saturating_add(hire.deadline_secs),
            seller: hire.seller.as_deref().map(parse_agent).transpose()?,
            mint: hire.mint,
            service: hire.service,
            candidates: None,
        };
        let mut handle = node.trade.hire(request).await?;
        let (task, api) = (handle.task, self.clone());
        let events = std::mem::replace(&mut handle.events, node.events.subscribe());
        let ended = async move {
            // How it ended stands in the record, also where it never came to an award.
            let _ = handle.done().await;
            api.task_by_id(task).map(|view| json!({ "ended": view }))
        };
        let steps = if quiet { stream::empty().left_stream() } else { steps(task, events, began).right_stream() };
        let first = stream::iter([Ok(json!({ "task": task.to_string() }))]);
        Ok(first.chain(until(steps, ended)))
    }

    /// The latest tasks, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn tasks(&self, limit: usize) -> Result<Vec<TaskView>, ApiError> {
        let page = Page { after: None, limit };
        Ok(self.node().trade.tasks(page)?.into_iter().map(TaskView::from).collect())
    }

    /// One task.
    ///
    /// # Errors
    /// If there is none of that ID, or several end in its letters.
    pub fn task(&self, id: &str) -> Result<TaskView, ApiError> {
        self.task_by_id(self.resolve(id)?)
    }

    /// Calls a task off.
    ///
    /// # Errors
    /// If there is none of that ID, or it is over.
    pub async fn cancel(&self, id: &str) -> Result<TaskView, ApiError> {
        let id = self.resolve(id)?;
        self.node().trade.cancel(id).await?;
        self.task_by_id(id)
    }

    /// A task's output: its size and its pieces.
    ///
    /// # Errors
    /// If there is none of that ID, or it has no output.
    pub async fn output(
        &self,
        id: &str,
    ) -> Result<(u64, impl Stream<Item = io::Result<Bytes>> + Send + 'static), ApiError> {
        let data = self.node().trade.output(self.resolve(id)?)?;
        let data = data.ok_or_else(|| ApiError::missing("the task has no output", "guilder task show ID says why"))?;
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
    /// If there is none of that ID, or nothing was awarded.
    pub fn audit(&self, id: &str) -> Result<Vec<u8>, ApiError> {
        let evidence = self.node().trade.evidence(self.resolve(id)?)?;
        let evidence = evidence.filter(|evidence| !evidence.awards.is_empty());
        let evidence = evidence
            .ok_or_else(|| ApiError::missing("nothing was awarded in this task", "there is nothing to prove yet"))?;
        Ok(audit::bundle(&evidence))
    }

    fn task_by_id(&self, id: Cid) -> Result<TaskView, ApiError> {
        let view = self.node().trade.show(id)?.ok_or_else(|| no_task(&id.to_string()))?;
        Ok(view.into())
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
) -> impl Stream<Item = Result<Value, ApiError>> + Send + 'static {
    stream::unfold(events, move |mut events| async move {
        loop {
            let Heard::Event(event) = events.next().await? else { continue };
            if event.event.task() != Some(&task) {
                continue;
            }
            let mut value = said(&event);
            value["task_ms"] = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).into();
            return Some((Ok(value), events));
        }
    })
}

/// `steps` until `last` is there, then `last`.
fn until(
    steps: impl Stream<Item = Result<Value, ApiError>> + Send + 'static,
    last: impl Future<Output = Result<Value, ApiError>> + Send + 'static,
) -> impl Stream<Item = Result<Value, ApiError>> + Send + 'static {
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

fn parse_agent(text: &str) -> Result<AgentId, ApiError> {
    let parsed = text.parse().or_else(|_| AgentId::from_peer_id(text));
    parsed.map_err(|_| {
        ApiError::misuse(format!("{text} is no agent"), "give a peer ID (12D3Koo…) or a DID (did:key:z6Mk…)")
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
            receipt: view.receipt.map(|receipt| receipt.to_string()),
            output_bytes: view.output_bytes,
            redeemed: match view.money {
                Some(MoneyView::Sold(seller::Money::Redeemed { amount })) => Some(amount),
                _ => None,
            },
            money: view.money.as_ref().map(money),
        }
    }
}

fn money(money: &MoneyView) -> String {
    match money {
        MoneyView::Locked => "locked to the seller while it works".to_owned(),
        MoneyView::Bought(buyer::Money::Paid) => "paid".to_owned(),
        MoneyView::Bought(buyer::Money::Returned) => "back in the purse: the seller never took it".to_owned(),
        MoneyView::Bought(buyer::Money::Waiting) => "locked; comes back after its locktime".to_owned(),
        MoneyView::Bought(buyer::Money::Settled { refunded, taken, fee }) => {
            format!("{refunded} came back, {taken} taken by the seller, {fee} of fees")
        }
        MoneyView::Sold(money) => sold(money),
    }
}

fn sold(money: &seller::Money) -> String {
    match money {
        seller::Money::Due => "earned; redeemed with the next batch".to_owned(),
        seller::Money::Redeemed { amount } => format!("redeemed: {amount} after the mint's fee"),
        seller::Money::Voided => "given up: it falls back to the buyer".to_owned(),
        seller::Money::Lost(why) => format!("lost: the mint wouldn't redeem it: {why}"),
    }
}
