//! What can be asked about trades: listings, one in full, its output, and the evidence for an audit.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use bytes::Bytes;
use cid::Cid;
use guilder_protocol::{
    audit::{self, AuditError, Beneath, Evidence},
    envelope::Signed,
    fault::Fault,
    identity::AgentId,
    limits::MAX_SUB_RECEIPTS,
    market::{Ask, MintUrl, ServiceName, Unit},
    receipt::{FailureCode, Outcome as ReceiptOutcome, Receipt, Salt},
    time::Timestamp,
    trade::{
        Deal, Statements, Stored,
        buyer::{self, Buyer, BuyerOutcome},
        seller::{self, Seller},
    },
};

use super::{
    buying::{hint_of, reason_of, stored_size},
    hires::{Hires, Wanted},
    journal::Journal,
    limits::{MAX_LISTED, MAX_PAGE, MAX_TAIL_ROWS},
    open::OpenTrades,
    progress::Progress,
    records::{
        BUYERS, BY_TASK, DEALS, LOG, LogRow, OutputCheck, PASSED_ON, PROMISES, SECOND_RECEIPTS, SELLERS, SUB_EVIDENCE,
        StoredSide, TASKS, TaskRecord, WORK, key, log_key, log_parts,
    },
};
use crate::{
    catalogue::Catalogue,
    content::{Content, Data},
    events::Side,
    grants::revocations_of,
    store::{Key, KeyRange, Read, Reader, StoreError},
};

/// Where to begin a page of a listing, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Go on after this entry: the [`TaskView::cursor`] of the last one of the page before.
    pub after: Option<(Timestamp, Cid)>,
    /// How many at the most: 0 for a page of the room's own size, and no more than [`MAX_LISTED`](super::MAX_LISTED).
    pub limit: usize,
}

/// When an entry of a listing began, and its ID: its place.
type Place = (Timestamp, Cid);

fn limit_of(page: Page) -> usize {
    if page.limit == 0 { MAX_PAGE } else { page.limit.min(MAX_LISTED) }
}

/// Which tasks are listed; all that it doesn't name fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Where it stands, in one word ([`TaskState::as_str`]), or `open`, or `over`.
    pub state: Option<String>,
    /// Whether we sold it or bought it.
    pub side: Option<Side>,
    /// The service.
    pub service: Option<ServiceName>,
    /// The other side.
    pub peer: Option<AgentId>,
    /// It began then or later.
    pub since: Option<Timestamp>,
    /// It began before.
    pub until: Option<Timestamp>,
    /// What its caller calls it.
    pub label: Option<String>,
}

impl TaskFilter {
    fn fits(&self, view: &TaskView) -> bool {
        let state = |state: &String| match state.as_str() {
            "open" => !view.state.is_over(),
            "over" => view.state.is_over(),
            word => word == view.state.as_str(),
        };
        self.state.as_ref().is_none_or(state)
            && self.side.is_none_or(|side| side == view.side)
            && self.service.as_ref().is_none_or(|service| *service == view.service)
            && self.peer.is_none_or(|peer| Some(peer) == view.peer)
            && self.since.is_none_or(|since| since <= view.created)
            && self.until.is_none_or(|until| view.created < until)
            && self.label.as_ref().is_none_or(|label| Some(label) == view.label.as_ref())
    }
}

/// Where a task stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Looking for a seller.
    Searching,
    /// Awarded; the seller hasn't answered.
    Awarded,
    /// The seller works.
    Working,
    /// Delivered; the output is on its way.
    Fetching,
    /// Delivered sealed, in escrow; the key is to come.
    Opening,
    /// Over, with the output.
    Delivered,
    /// Over, without.
    Failed,
    /// Called off.
    Cancelled,
}

impl TaskState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Searching,
        Self::Awarded,
        Self::Working,
        Self::Fetching,
        Self::Opening,
        Self::Delivered,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Searching => "searching",
            Self::Awarded => "awarded",
            Self::Working => "working",
            Self::Fetching => "fetching",
            Self::Opening => "opening",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen but to the money.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Cancelled)
    }
}

/// What became of a trade's money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoneyView {
    /// Locked to the seller while it works.
    Locked,
    /// As its buyer.
    Bought(buyer::Money),
    /// As its seller.
    Sold(seller::Money),
    /// None: our own service did it.
    Own,
}

/// A task, bought or sold.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The content ID of the root ask.
    pub task: Cid,
    /// The award, once there is one.
    pub trade: Option<Cid>,
    /// Our side.
    pub side: Side,
    /// The service.
    pub service: ServiceName,
    /// The other side, once there is one.
    pub peer: Option<AgentId>,
    /// Where it stands.
    pub state: TaskState,
    /// Why it failed, and whose fault that is.
    pub failure: Option<(Fault, String)>,
    /// What to do about the failure, if there is something.
    pub hint: Option<String>,
    /// Net price, once agreed.
    pub price: Option<u64>,
    /// The unit.
    pub unit: Unit,
    /// The mint that it is paid at.
    pub mint: Option<MintUrl>,
    /// What became of the money, once it was locked.
    pub money: Option<MoneyView>,
    /// Until when what is locked can't fall back, once it was locked.
    pub locked_until: Option<Timestamp>,
    /// When it began on our side.
    pub created: Timestamp,
    /// When it ended on our side, or began if it hasn't.
    pub updated: Timestamp,
    /// When the delivery must have arrived.
    pub deadline: Timestamp,
    /// When the seller signed that it took the award, by its clock.
    pub accepted: Option<Timestamp>,
    /// When the buyer signed that it called the award off, by its clock.
    pub called_off: Option<Timestamp>,
    /// The receipt.
    pub receipt: Option<Cid>,
    /// When the buyer signed that it has the output, by its clock.
    pub received: Option<Timestamp>,
    /// Size of the output in bytes, if it is here.
    pub output_bytes: Option<u64>,
    /// The salt under which the receipt commits to the output.
    pub salt: Option<Salt>,
    /// As a buyer: whether the output is what the seller promised, if it promised something.
    pub output_check: Option<OutputCheck>,
    /// What was said last of the work, while the trade is open.
    pub progress: Option<Progress>,
    /// What its caller calls it.
    pub label: Option<String>,
    /// As a seller, in a view of this task alone, and of a work of our own: the end of what the program wrote to its standard error.
    pub stderr: Option<String>,
}

impl TaskView {
    /// The place of this entry in a listing.
    pub fn cursor(&self) -> (Timestamp, Cid) {
        (
            self.created,
            match self.side {
                Side::Seller => self.trade.unwrap_or(self.task),
                Side::Buyer | Side::Unknown => self.task,
            },
        )
    }
}

/// What is known of tasks, from the records and from the hires and trades under way. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    pub(super) journal: Journal,
    pub(super) content: Content,
    pub(super) catalogue: Catalogue,
    pub(super) open: OpenTrades,
    pub(super) hires: Hires,
}

impl Tasks {
    /// A page of all tasks, the newest first.
    pub(super) fn page(&self, page: Page) -> Result<Vec<TaskView>, StoreError> {
        Ok(self.some(page.after, limit_of(page).min(MAX_PAGE))?.0)
    }

    /// Some tasks from a place on, and the place to go on from; `None` where there are no more.
    fn some(&self, after: Option<Place>, limit: usize) -> Result<(Vec<TaskView>, Option<Place>), StoreError> {
        let range = KeyRange::all().backwards();
        let range = match after {
            Some((created, id)) => range.after(&log_key(created, id)),
            None => range,
        };
        let mut views = self.searching_views(after);
        let (stored, last) = self.journal.read(|r| {
            let rows = r.range(LOG, range, limit)?;
            let last = rows.get(limit.saturating_sub(1)).and_then(|(key, _)| log_parts(key));
            let rows = rows.iter().filter_map(|(key, row)| log_parts(key).map(|(at, id)| (at, id, row.side)));
            let views = rows.map(|(at, id, side)| match side {
                StoredSide::Buyer => bought(r, id),
                StoredSide::Seller => sold(r, id, at),
            });
            Ok((views.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?, last))
        })?;
        views.extend(stored);
        views.iter_mut().for_each(|view| self.bring_up_to_date(view));
        views.sort_by_key(|view| std::cmp::Reverse(view.cursor()));
        if views.len() > limit {
            views.truncate(limit);
            let last = views.last().map(TaskView::cursor);
            return Ok((views, last));
        }
        Ok((views, last))
    }

    /// The newest tasks that fit, from a place on: as many as the page has room for, however far back they are. May take a
    /// while: for a thread of its own.
    pub(super) fn page_of(&self, page: Page, filter: &TaskFilter) -> Result<Vec<TaskView>, StoreError> {
        let (limit, all_fit) = (limit_of(page), *filter == TaskFilter::default());
        let (mut found, mut after) = (Vec::new(), page.after);
        loop {
            // Where all fit, no more is read than is shown.
            let asked = if all_fit { (limit - found.len()).min(MAX_PAGE) } else { MAX_PAGE };
            let (views, next) = self.some(after, asked)?;
            let is_past = filter.since.is_some_and(|since| views.last().is_some_and(|view| view.created < since));
            found.extend(views.into_iter().filter(|view| filter.fits(view)));
            if next.is_none() || is_past || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
            after = next;
        }
    }

    /// The tasks whose own ID, or whose trade's, ends in some letters: one, or two if there are several, of the newest
    /// [`MAX_TAIL_ROWS`]. For a thread of its own.
    pub(super) fn ending_in(&self, tail: &str) -> Result<BTreeSet<Cid>, StoreError> {
        let ends = |id: &Cid| id.to_string().ends_with(tail);
        let searching = self.hires.searching();
        let mut found: BTreeSet<Cid> = searching.iter().map(|wanted| wanted.ask.cid()).filter(ends).collect();
        let mut rows = 0;
        self.journal.read(|r| {
            r.visit(LOG, KeyRange::all().backwards(), |key, LogRow { task, side, .. }| {
                let trade = if side == StoredSide::Seller { log_parts(key).map(|(_, id)| id) } else { None };
                if ends(&task) || trade.as_ref().is_some_and(ends) {
                    found.insert(task);
                }
                rows += 1;
                if found.len() > 1 || rows == MAX_TAIL_ROWS {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        })?;
        Ok(found)
    }

    /// The same of what was hired for the sake of a trade that we sell.
    pub(super) fn page_under(&self, award: Cid, page: Page, filter: &TaskFilter) -> Result<Vec<TaskView>, StoreError> {
        let limit = limit_of(page);
        let tasks = self.passed_on(award)?;
        let views = tasks.into_iter().filter_map(|task| self.show(task).transpose());
        let mut views = views.collect::<Result<Vec<_>, _>>()?;
        views.retain(|view| filter.fits(view) && page.after.is_none_or(|after| view.cursor() < after));
        views.sort_by_key(|view| std::cmp::Reverse(view.cursor()));
        views.truncate(limit);
        Ok(views)
    }

    /// One task by its name or its award's. A seller may have taken several awards of one task: the newest is shown.
    pub(super) fn show(&self, id: Cid) -> Result<Option<TaskView>, StoreError> {
        if let Some(wanted) = self.hires.searching().iter().find(|wanted| wanted.ask.cid() == id) {
            let mut view = begun(wanted);
            self.bring_up_to_date(&mut view);
            return Ok(Some(view));
        }
        let mut view = self.journal.read(|r| match find(r, id)? {
            Some(Found::Bought(task)) => bought(r, task),
            Some(Found::Sold(award, at)) => {
                let note = r.get(WORK, key(award))?.unwrap_or_default();
                let view = sold(r, award, at)?;
                Ok(view.map(|view| TaskView { stderr: Some(note.stderr).filter(|text| !text.is_empty()), ..view }))
            }
            None => Ok(None),
        })?;
        view.iter_mut().for_each(|view| self.bring_up_to_date(view));
        Ok(view)
    }

    /// The output of a task, if it is here.
    pub(super) fn output(&self, id: Cid) -> Result<Option<Data>, StoreError> {
        let stored = self.journal.read(|r| {
            Ok(match find(r, id)? {
                Some(Found::Bought(task)) => {
                    let Some(record) = r.get(TASKS, key(task))? else { return Ok(None) };
                    match last_award(r, &record)? {
                        Some((_, _, Buyer::Ended(ended))) => ended.output.map(|(_, stored)| stored),
                        Some(_) => None,
                        None => record.own.and_then(|own| own.output),
                    }
                }
                Some(Found::Sold(award, _)) => match r.get(SELLERS, key(award))? {
                    // In escrow it is the buyer's to open.
                    Some(Seller::Ended(ended)) if ended.receipt.body.money.sealed().is_none() => {
                        ended.output.map(|(_, stored)| stored)
                    }
                    _ => None,
                },
                None => None,
            })
        })?;
        Ok(stored.map(|stored| match stored {
            Stored::Inline(bytes) => Data::Inline(Bytes::from(bytes.into_vec())),
            Stored::Content(id) => Data::Stored(self.content.pin(id)),
        }))
    }

    /// All that was signed about a task, for an audit bundle; `None` if no award was given.
    pub(super) fn evidence(&self, id: Cid) -> Result<Option<Evidence>, StoreError> {
        self.journal.read(|r| {
            let awards = match find(r, id)? {
                Some(Found::Bought(task)) => r.get(TASKS, key(task))?.map(|record| record.awards).unwrap_or_default(),
                Some(Found::Sold(award, _)) => vec![award],
                None => return Ok(None),
            };
            let (mut evidence, mut below) = (Evidence::default(), Evidence::default());
            for award in awards {
                let Some(deal) = r.get(DEALS, key(award))? else { continue };
                evidence.schemas.extend(self.promised(r, &deal)?);
                evidence.revocations.extend(revocations_of(r, &deal.chain)?);
                add(&mut evidence, deal);
                add_signed(r, &mut evidence, award)?;
                below.extend(beneath(r, award)?.kept);
            }
            Ok((!evidence.awards.is_empty()).then(|| with_subs(evidence, &below)))
        })
    }

    /// The text of the schema that was promised of the output: kept since the award, or, as its seller, that of the service.
    fn promised(&self, r: &Read, deal: &Deal) -> Result<Option<String>, StoreError> {
        let terms = &deal.offer.body;
        let kept = r.get(PROMISES, key(deal.id()))?.map(|promise| promise.schema);
        Ok(kept.or_else(|| self.catalogue.own_schema(&terms.service, terms.output?)))
    }

    /// What was hired for the sake of a trade that we sell: on disk, and still looking for a seller.
    pub(super) fn passed_on(&self, award: Cid) -> Result<Vec<Cid>, StoreError> {
        let searching = self.hires.under(award);
        let mut all = self.journal.read(|r| passed_on(r, award))?;
        all.extend(searching.into_iter().filter(|task| !all.contains(task)).collect::<Vec<_>>());
        Ok(all)
    }

    /// The trade that an ID of ours as a buyer stands for.
    pub(super) fn trade_of(&self, id: Cid) -> Result<Option<Cid>, StoreError> {
        self.journal.read(|r| {
            if r.contains(BUYERS, key(id))? {
                return Ok(Some(id));
            }
            Ok(r.get(TASKS, key(id))?.and_then(|record| record.awards.last().copied()))
        })
    }

    /// Adds to a stored view what isn't stored.
    fn bring_up_to_date(&self, view: &mut TaskView) {
        if view.state == TaskState::Awarded && view.trade.is_some_and(|trade| self.open.is_accepted(trade)) {
            view.state = TaskState::Working;
        }
        view.progress = view.trade.and_then(|trade| self.open.progress(trade));
    }

    /// Hires without an award yet, which are on no disk; they are newer than any page but the first.
    fn searching_views(&self, after: Option<Place>) -> Vec<TaskView> {
        if after.is_some() {
            return Vec::new();
        }
        let searching = self.hires.searching();
        searching.iter().map(begun).collect()
    }
}

pub(super) fn add(evidence: &mut Evidence, deal: Deal) {
    if let Ok(ask) = Signed::<Ask>::decode(&deal.ask)
        && !evidence.asks.contains(&ask)
    {
        evidence.asks.push(ask);
    }
    for link in deal.chain {
        if !evidence.delegations.contains(&link) {
            evidence.delegations.push(link);
        }
    }
    evidence.offers.push(deal.offer);
    evidence.awards.push(deal.award);
}

/// The awards that these receipts are of, as far as they are on record here, at most `limit`.
pub(super) fn awards_of(r: &Read, receipts: &BTreeSet<Cid>, limit: usize) -> Result<Vec<Cid>, StoreError> {
    let mut awards = Vec::new();
    let mut note = |receipt: Option<&Signed<Receipt>>| {
        let known = receipt.filter(|receipt| receipts.contains(&receipt.cid()));
        awards.extend(known.map(|receipt| receipt.body.award));
        if awards.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    r.visit(BUYERS, KeyRange::all(), |_, buyer| note(buyer.receipt()))?;
    r.visit(SELLERS, KeyRange::all(), |_, seller| note(seller.ended().map(|ended| &ended.receipt)))?;
    awards.truncate(limit);
    Ok(awards)
}

/// Adds what either side signed of a trade after its award.
pub(super) fn add_signed(r: &Read, evidence: &mut Evidence, award: Cid) -> Result<(), StoreError> {
    let (receipt, signed) = if let Some(buyer) = r.get(BUYERS, key(award))? {
        (buyer.receipt().cloned(), buyer.signed().clone())
    } else if let Some(seller) = r.get(SELLERS, key(award))? {
        (seller.ended().map(|ended| ended.receipt.clone()), seller.signed())
    } else {
        return Ok(());
    };
    evidence.acceptances.extend(signed.acceptance);
    evidence.cancellations.extend(signed.cancellation);
    evidence.receipts.extend(receipt);
    let contradicting = r.get(SECOND_RECEIPTS, key(award))?.unwrap_or_default();
    evidence.receipts.extend(contradicting.iter().filter_map(|bytes| Signed::decode(bytes).ok()));
    evidence.received.extend(signed.received);
    Ok(())
}

/// Adds what was signed beneath, as long as the whole holds: what a seller handed over must not spoil our own proof.
fn with_subs(own: Evidence, beneath: &Evidence) -> Evidence {
    if beneath.awards.is_empty() {
        return own;
    }
    let whole = own.clone().with_beneath(beneath);
    if audit::verify(&audit::bundle(&whole)).is_ok() { whole } else { own }
}

/// What is known of work that was passed on under a trade, as far as it holds: as its seller what we hired, as its buyer what was
/// handed over. Verifies what it reads: where much may be under it, for a thread of its own.
pub(super) fn beneath(r: &Read, award: Cid) -> Result<Beneath, StoreError> {
    let Some(deal) = r.get(DEALS, key(award))? else { return Ok(Beneath::default()) };
    let Some(grant) = &deal.grant else { return Ok(Beneath::default()) };
    if r.contains(BUYERS, key(award))? {
        let bytes = r.get(SUB_EVIDENCE, key(award))?;
        return Ok(bytes.and_then(|bytes| Beneath::read(&bytes, &deal.award, grant).ok()).unwrap_or_default());
    }
    let (mut evidence, mut left_out) = (Evidence::default(), BTreeMap::new());
    for task in passed_on(r, award)? {
        for sub in r.get(TASKS, key(task))?.map(|record| record.awards).unwrap_or_default() {
            if let Some(deal) = r.get(DEALS, key(sub))? {
                add(&mut evidence, deal);
                add_signed(r, &mut evidence, sub)?;
                // As its buyer: what was handed over to us, and no further.
                let under = beneath(r, sub)?;
                evidence.extend(under.kept);
                left_out.extend(under.left_out);
            }
        }
    }
    let mut known = Beneath::of(&evidence, &deal.award, grant);
    known.left_out.extend(left_out);
    Ok(known)
}

/// The receipts of what was hired for the sake of a trade that we sell; as many as a receipt names.
pub(super) fn sub_receipts(r: &Read, award: Cid) -> Result<Vec<Cid>, StoreError> {
    let mut receipts = Vec::new();
    for task in passed_on(r, award)? {
        for sub in r.get(TASKS, key(task))?.map(|record| record.awards).unwrap_or_default() {
            receipts.extend(r.get(BUYERS, key(sub))?.and_then(|buyer| buyer.receipt().map(Signed::cid)));
        }
    }
    receipts.truncate(MAX_SUB_RECEIPTS);
    Ok(receipts)
}

/// What was awarded for the sake of a trade that we sell, by its asks.
pub(super) fn passed_on(r: &impl Reader, award: Cid) -> Result<Vec<Cid>, StoreError> {
    let prefix = Key::of(award);
    let rows = r.range(PASSED_ON, prefix.range(), MAX_SUB_RECEIPTS)?;
    Ok(rows.iter().filter_map(|(key, ())| log_parts_after(key, &prefix)).collect())
}

/// What an ID names.
enum Found {
    Bought(Cid),
    Sold(Cid, Timestamp),
}

fn find(r: &Read, id: Cid) -> Result<Option<Found>, StoreError> {
    if r.contains(TASKS, key(id))? {
        return Ok(Some(Found::Bought(id)));
    }
    if let Some(deal) = r.get(DEALS, key(id))? {
        let args = deal.award.args();
        return Ok(Some(match r.get(BY_TASK, Key::of(args.task).and(id))? {
            Some(at) => Found::Sold(id, at),
            None => Found::Bought(args.ask),
        }));
    }
    let sold = r.range(BY_TASK, Key::of(id).range(), MAX_PAGE)?;
    let newest = sold.into_iter().max_by_key(|(_, at)| *at);
    Ok(newest.and_then(|(key, at)| log_parts_after(&key, &Key::of(id)).map(|award| Found::Sold(award, at))))
}

/// The content ID that follows a prefix in a key.
fn log_parts_after(key: &[u8], prefix: &Key) -> Option<Cid> {
    super::records::cid_part(key.strip_prefix(&prefix[..])?)
}

fn last_award(r: &Read, record: &TaskRecord) -> Result<Option<(Cid, Deal, Buyer)>, StoreError> {
    let Some(award) = record.awards.last().copied() else { return Ok(None) };
    let deal = r.get(DEALS, key(award))?.zip(r.get(BUYERS, key(award))?);
    Ok(deal.map(|(deal, state)| (award, deal, state)))
}

fn bought(r: &Read, task: Cid) -> Result<Option<TaskView>, StoreError> {
    let Some(record) = r.get(TASKS, key(task))? else { return Ok(None) };
    // Our own.
    let Ok(ask) = Signed::<Ask>::stored(&record.ask) else { return Ok(None) };
    let mut view = asked(&ask, record.created, TaskState::Searching);
    view.label.clone_from(&record.label);
    if let Some((award, deal, state)) = last_award(r, &record)? {
        agreed(&mut view, award, &deal, deal.seller());
        add_bought(&mut view, &state);
        view.output_check = r.get(PROMISES, key(award))?.and_then(|promise| promise.kept);
    }
    if let Some(own) = &record.own {
        (view.state, view.updated, view.price) = (TaskState::Delivered, own.at, Some(0));
        (view.peer, view.money) = (Some(ask.issuer()), Some(MoneyView::Own));
        view.output_bytes = own.output.as_ref().map(stored_size);
        view.stderr = Some(own.stderr.clone()).filter(|text| !text.is_empty());
    }
    add_failure(&mut view, &record);
    Ok(Some(view))
}

/// A hire that is on no disk yet.
fn begun(wanted: &Wanted) -> TaskView {
    let ask = &wanted.ask;
    let view = TaskView { label: wanted.label.clone(), ..asked(ask, ask.iat, TaskState::Searching) };
    if !wanted.own {
        return view;
    }
    let (peer, price, money) = (Some(ask.issuer()), Some(0), Some(MoneyView::Own));
    TaskView { state: TaskState::Working, peer, price, money, ..view }
}

/// A task for which no award was given yet.
fn asked(ask: &Signed<Ask>, created: Timestamp, state: TaskState) -> TaskView {
    TaskView {
        task: ask.cid(),
        trade: None,
        side: Side::Buyer,
        service: ask.body.service.clone(),
        peer: None,
        state,
        failure: None,
        hint: None,
        price: None,
        unit: ask.body.unit.clone(),
        mint: None,
        money: None,
        locked_until: None,
        created,
        updated: created,
        deadline: ask.body.deadline,
        accepted: None,
        called_off: None,
        receipt: None,
        received: None,
        output_bytes: None,
        salt: None,
        output_check: None,
        progress: None,
        label: None,
        stderr: None,
    }
}

fn agreed(view: &mut TaskView, award: Cid, deal: &Deal, peer: AgentId) {
    let args = deal.award.args();
    view.trade = Some(award);
    view.peer = Some(peer);
    view.price = Some(args.price);
    view.mint = Some(args.mint.clone());
    view.deadline = args.deadline;
    view.money = Some(MoneyView::Locked);
    view.locked_until = Some(deal.award.part().until());
}

fn add_statements(view: &mut TaskView, signed: &Statements) {
    view.accepted = signed.acceptance.as_ref().map(|acceptance| acceptance.iat);
    view.called_off = signed.cancellation.as_ref().map(|cancellation| cancellation.iat);
    view.received = signed.received.as_ref().map(|received| received.iat);
}

fn add_bought(view: &mut TaskView, state: &Buyer) {
    add_statements(view, state.signed());
    let ended = match state {
        Buyer::Awarded(_) => return view.state = TaskState::Awarded,
        Buyer::Working(_) => return view.state = TaskState::Working,
        Buyer::Fetching(_) => return view.state = TaskState::Fetching,
        Buyer::Unopened(unopened) => match unopened.given_up() {
            None => {
                view.receipt = Some(unopened.receipt().cid());
                return view.state = TaskState::Opening;
            }
            Some(ended) => ended,
        },
        Buyer::GivenUp(buyer::GivenUp { ended, .. }) | Buyer::Ended(ended) => ended,
    };
    view.state = match &ended.outcome {
        BuyerOutcome::Delivered { .. } => TaskState::Delivered,
        BuyerOutcome::Failed(error) if error.code == FailureCode::Cancelled => TaskState::Cancelled,
        _ => TaskState::Failed,
    };
    view.failure = ended.outcome.fault().map(|fault| (fault, reason_of(&ended.outcome)));
    view.hint = hint_of(&ended.outcome).map(Into::into);
    view.money = Some(MoneyView::Bought(ended.money));
    view.updated = ended.at;
    view.receipt = ended.receipt.as_ref().map(Signed::cid);
    view.output_bytes = ended.output.as_ref().map(|(_, stored)| stored_size(stored));
    view.salt = ended.output.as_ref().map(|(salt, _)| *salt);
}

/// A hire that came to nothing, before an award or after refusals.
fn add_failure(view: &mut TaskView, record: &TaskRecord) {
    if let Some(failure) = &record.failure {
        view.state = TaskState::Failed;
        view.failure = Some((failure.fault(), failure.reason.clone()));
        view.hint.clone_from(&failure.hint);
        view.updated = failure.at;
    }
}

fn sold(r: &Read, award: Cid, created: Timestamp) -> Result<Option<TaskView>, StoreError> {
    let Some((deal, state)) = r.get(DEALS, key(award))?.zip(r.get(SELLERS, key(award))?) else { return Ok(None) };
    // It was verified before we signed an offer for it, and the award is of that offer.
    let Ok(ask) = Signed::<Ask>::stored(&deal.ask) else { return Ok(None) };
    let mut view = asked(&ask, created, TaskState::Working);
    (view.side, view.task) = (Side::Seller, deal.award.args().task);
    agreed(&mut view, award, &deal, deal.buyer());
    add_statements(&mut view, &state.signed());
    let ended = match state {
        Seller::Fetching(_) | Seller::Working(_) => None,
        Seller::Unreleased(seller::Unreleased { ended }) | Seller::Ended(ended) => Some(ended),
        Seller::Broken(broken) => {
            (view.state, view.updated) = (TaskState::Failed, broken.at);
            view.failure = Some((Fault::Internal, broken.why));
            view.money = Some(MoneyView::Sold(seller::Money::Voided));
            None
        }
    };
    if let Some(ended) = ended {
        (view.state, view.failure) = match &ended.receipt.body.out {
            ReceiptOutcome::Ok(_) => (TaskState::Delivered, None),
            ReceiptOutcome::Other(form) => {
                let reason = format!("not understood: the receipt says {form}");
                (TaskState::Failed, Some((Fault::Incompatible, reason)))
            }
            ReceiptOutcome::Error(error) => {
                let fault = if error.code.by_buyer() { Fault::Peer } else { Fault::Ours };
                let state = if error.code == FailureCode::Cancelled { TaskState::Cancelled } else { TaskState::Failed };
                let own = r.get(WORK, key(award))?.and_then(|note| note.failure);
                let (own, hint) = own.map(|own| (own.reason, own.hint)).unzip();
                view.hint = hint.flatten();
                (state, Some((fault, own.unwrap_or_else(|| error.text.clone()))))
            }
        };
        view.money = Some(MoneyView::Sold(ended.money));
        view.updated = ended.at;
        view.receipt = Some(ended.receipt.cid());
        view.output_bytes = ended.output.as_ref().map(|(_, stored)| stored_size(stored));
        view.salt = ended.output.as_ref().map(|(salt, _)| *salt);
    }
    Ok(Some(view))
}
/// How many were left out of what was signed beneath a trade, and why the first few were: one line, whatever a peer sends.
pub(super) fn left_out(left_out: &BTreeMap<Cid, AuditError>) -> String {
    const TOLD: usize = 3;
    let first: Vec<_> = left_out.iter().take(TOLD).map(|(cid, error)| format!("{cid}: {error}")).collect();
    let more = if left_out.len() > TOLD { "; and so on" } else { "" };
    format!("{}: {}{more}", left_out.len(), first.join("; "))
}

#[cfg(test)]
mod tests {
    use guilder_protocol::cbor::cid_of;

    use super::*;

    #[test]
    fn a_thousand_blocks_left_out_are_one_short_line() {
        let many: BTreeMap<Cid, AuditError> = (0..1_024_u32)
            .map(|number| cid_of(&number.to_be_bytes()))
            .map(|cid| (cid, AuditError::Stray(cid)))
            .collect();
        let line = left_out(&many);
        assert!(line.starts_with("1024: ") && line.ends_with("; and so on") && line.len() < 1_000, "{line}");
        let one = many.into_iter().take(1).collect();
        assert!(left_out(&one).starts_with("1: bafy") && !left_out(&one).contains("; "), "{}", left_out(&one));
    }
}
