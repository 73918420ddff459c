//! Drops what is past its time, little by little: reservations of offers that have run out, inputs and outputs of trades that nobody
//! can ask about any more, records that were kept long enough, contents that nobody needs.
//!
//! **Inputs and outputs** go before the records do ([`Housekeeper::shed`]): once they are old, or, the oldest first, as long as all
//! of them are more than may be. What was signed of them stays: the receipt, its salt, every hash; so that whoever has saved an
//! output can still show what it is. They stay ([`Stay`])
//!
//! - for now, as long as the lock may be spent by either clock, money is out, or somebody in this node may still read them: the work
//!   that they were hired for, a run of a duty, whoever hasn't taken the hire's end;
//! - as long as the record, where they convict a seller or may, and where a buyer that paid hasn't said that it has its output: it may
//!   have been away, asks when it comes back, and convicts a seller that doesn't deliver what it was paid for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex},
};

use guilder_protocol::{
    content::ContentId,
    time::{SKEW_SECS, Timestamp},
    trade::{Deal, Stored, buyer, buyer::Buyer, seller, seller::Seller},
    wire::Payload,
};

use super::{
    InUse, budgets, ends,
    journal::Journal,
    keys,
    limits::{MAX_PASSED_OVER, PRUNE_BATCH, PRUNE_EVERY},
    outlays,
    records::{
        self, BUYERS, BY_TASK, CHEATS, CONTENT, DEALS, LOG, LogRow, OFFERS, OPEN, OutputCheck, PASSED_ON, PAYLOADS,
        PROMISES, REFUSALS, SECOND_RECEIPTS, SELLERS, SPENT, SUB_EVIDENCE, StoredSide, TASKS, WORK, content_key, key,
        log_key, log_parts, payload_bytes,
    },
};
use crate::{
    content::{self, Content},
    failpoint::Step,
    runtime::{Job, Runtime},
    store::{Key, KeyRange, Reader, Store, StoreError, Table, Write},
    sync::lock,
    wallet::Wallet,
};

const DAY_SECS: u64 = 24 * 60 * 60;

/// Drops old records.
#[derive(Clone, Debug)]
pub(super) struct Housekeeper {
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) store: Store,
    pub(super) content: Content,
    pub(super) wallet: Wallet,
    /// Days that the records of ended trades are kept. One at least: whoever hires for an origin finds its task until then.
    pub(super) keep_days: u64,
    /// Days that inputs and outputs are kept, one at least.
    pub(super) keep_payload_days: u64,
    /// And how many bytes of them in all.
    pub(super) max_payload_bytes: u64,
    pub(super) in_use: InUse,
    pub(super) shedding: Arc<Mutex<Shedding>>,
}

/// How far inputs and outputs were dropped. From the beginning again after a start: what was dropped is passed over at little cost.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    /// The last row of the log that was looked at.
    after: Option<Vec<u8>>,
    /// Rows up to there of which nothing can be dropped for now. At [`MAX_PASSED_OVER`] of them the look goes no further until some
    /// can be. Those that stay as long as their record are not among them.
    passed_over: BTreeMap<Vec<u8>, LogRow>,
}

/// How long the input and the output of a trade stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stay {
    /// No longer.
    No,
    /// Until something comes about that is waited for.
    ForNow,
    /// As long as the record.
    WithRecord,
}

/// A row of the log with its key.
type Row = (Vec<u8>, LogRow);

impl Housekeeper {
    /// Keeps house until the node is gone.
    pub(super) async fn run(self) {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            if let Err(error) = self.tidy().await {
                tracing::warn!(%error, "housekeeping was put off");
            }
            match self.content.collect(&self.store).await {
                Ok(collected) if collected.files > 0 => tracing::debug!(?collected, "contents removed"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "contents could not be removed"),
            }
        }
    }

    /// One round, in small transactions.
    pub(super) async fn tidy(&self) -> Result<(), StoreError> {
        if !self.wallet.may_forget() {
            // By a clock that is ahead everything is old.
            tracing::debug!("nothing is forgotten: no mint confirms this clock");
            return Ok(());
        }
        let now = self.runtime.now();
        // An offer holds for the skew longer than it says; so must the memory of who took it.
        let over = now.saturating_sub(2 * guilder_protocol::time::SKEW_SECS);
        let expire_batch = move |w: &mut Write<'_>| {
            Ok::<_, StoreError>(expire(w, OFFERS, over)? || expire(w, REFUSALS, over)? || expire(w, SPENT, over)?)
        };
        while self.journal.commit(Step::Other, expire_batch).await? {}
        while self.journal.commit(Step::Other, move |w| budgets::forget(w, now)).await? {}
        let kept_since = now.saturating_sub(self.keep_days.max(1).saturating_mul(DAY_SECS));
        let mut from = None;
        loop {
            let after = from.take();
            match self.journal.commit(Step::Other, move |w| forget(w, kept_since, after)).await? {
                Some(last) => from = Some(last),
                None => break,
            }
        }
        self.forget_origins(kept_since).await?;
        self.shed(now).await
    }

    /// Drops inputs and outputs that are too old or too many.
    async fn shed(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut from = None;
        loop {
            let end = self.shed_before(now)?;
            let some = lock(&self.shedding).passed_over(from.as_deref(), &end);
            let Some((last, _)) = some.last() else { break };
            from = Some(last.clone());
            self.shed_some(some, now).await?;
        }
        loop {
            let range = KeyRange::between(&Key::of(Timestamp::default()), &self.shed_before(now)?);
            let range = {
                let shedding = lock(&self.shedding);
                if shedding.passed_over.len() >= MAX_PASSED_OVER {
                    tracing::debug!("more inputs and outputs are in use than are looked after");
                    return Ok(());
                }
                shedding.after.as_ref().map_or(range.clone(), |after| range.after(after))
            };
            let journal = self.journal.clone();
            let reading = move || journal.read(|r| r.range(LOG, range, PRUNE_BATCH));
            let rows = self.runtime.offload(Job::Disk, reading).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            let last = last.clone();
            self.shed_some(rows.into_iter().filter(|(_, row)| !row.shed).collect(), now).await?;
            lock(&self.shedding).after = Some(last);
        }
    }

    /// Rows of the log before this are looked at: what is old, or anything as long as there is too much.
    fn shed_before(&self, now: Timestamp) -> Result<Key, StoreError> {
        let kept = self.journal.read(|r| r.get(PAYLOADS, []))?.unwrap_or_default();
        let old = now.saturating_sub(self.keep_payload_days.max(1).saturating_mul(DAY_SECS));
        Ok(Key::of(if kept > self.max_payload_bytes { now } else { old }))
    }

    /// Of some rows; remembers those of which nothing can be dropped for now.
    async fn shed_some(&self, rows: Vec<Row>, now: Timestamp) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let seen: Vec<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        let in_use = self.in_use;
        let left = self.journal.commit(Step::Other, move |w| shed(w, rows, now, in_use)).await?;
        let mut shedding = lock(&self.shedding);
        for key in &seen {
            shedding.passed_over.remove(key);
        }
        shedding.passed_over.extend(left);
        Ok(())
    }

    /// They are as many as what was hired: read beside the writer, and dropped in small transactions.
    async fn forget_origins(&self, end: Timestamp) -> Result<(), StoreError> {
        let mut from = None;
        loop {
            let (journal, after) = (self.journal.clone(), from.take());
            let reading = move || journal.read(|r| keys::forgettable(r, end, after));
            let (old, next) = self.runtime.offload(Job::Disk, reading).await?;
            for some in old.chunks(PRUNE_BATCH) {
                let some = some.to_vec();
                self.journal.commit(Step::Other, move |w| keys::forget(w, &some, end)).await?;
            }
            match next {
                Some(last) => from = Some(last),
                None => return Ok(()),
            }
        }
    }
}

impl Shedding {
    /// Some of the rows that were passed over, between two keys.
    fn passed_over(&self, after: Option<&[u8]>, end: &[u8]) -> Vec<Row> {
        let rows =
            self.passed_over.range::<[u8], _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.as_slice() < end).take(PRUNE_BATCH);
        rows.map(|(key, row)| (key.clone(), *row)).collect()
    }
}

/// Drops a batch of rows whose key begins with a moment before `end`; says whether there may be more.
fn expire<V: serde::de::DeserializeOwned>(
    w: &mut Write<'_>,
    table: Table<V>,
    end: Timestamp,
) -> Result<bool, StoreError> {
    let range = KeyRange::between(&Key::of(Timestamp::default()), &Key::of(end));
    let rows = w.range(table, range, PRUNE_BATCH)?;
    for (key, _) in &rows {
        w.delete(table, key)?;
    }
    Ok(rows.len() == PRUNE_BATCH)
}

/// Drops a batch of tasks that were begun before `end` and are settled. Returns where to go on.
fn forget(w: &mut Write<'_>, end: Timestamp, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError> {
    let range = KeyRange::between(&Key::of(Timestamp::default()), &Key::of(end));
    let range = match &after {
        Some(after) => range.after(after),
        None => range,
    };
    let rows = w.range(LOG, range, PRUNE_BATCH)?;
    for (log_key, row) in &rows {
        let Some((_, id)) = log_parts(log_key) else { continue };
        let gone = match row.side {
            StoredSide::Buyer => forget_task(w, id, end, row.is_counted())?,
            StoredSide::Seller => forget_sold(w, id, row.is_counted())?,
        };
        if gone {
            w.delete(LOG, log_key)?;
        }
    }
    Ok(rows.into_iter().nth(PRUNE_BATCH - 1).map(|(key, _)| key))
}

fn forget_task(w: &mut Write<'_>, task: cid::Cid, end: Timestamp, counted: bool) -> Result<bool, StoreError> {
    let Some(record) = w.get(TASKS, key(task))? else { return Ok(true) };
    for award in &record.awards {
        let settled = match w.get(BUYERS, key(*award))? {
            // What it gave back its seller may yet take; the record is what it is charged by.
            Some(Buyer::Ended(ended)) if ended.money == buyer::Money::Returned => {
                w.get(DEALS, key(*award))?.is_none_or(|deal| deal.award.part().until() < end)
            }
            Some(Buyer::Ended(ended)) => ended.money != buyer::Money::Waiting,
            Some(_) => false,
            None => true,
        };
        if !settled {
            return Ok(false);
        }
    }
    for award in record.awards {
        let (output, forged) = match w.get(BUYERS, key(award))? {
            Some(Buyer::Ended(ended)) => (ended.output.map(|(_, stored)| stored), ended.forged),
            _ => (None, None),
        };
        if let (Some(forged), Some(deal)) = (forged, w.get(DEALS, key(award))?) {
            release(w, &deal, &Payload::from(forged.ciphertext))?;
        }
        forget_deal(w, award, output, counted)?;
        w.delete(BUYERS, key(award))?;
        w.delete(keys::WRITTEN_OFF, key(award))?;
        w.delete(PROMISES, key(award))?;
        w.delete(SUB_EVIDENCE, key(award))?;
        w.delete(SECOND_RECEIPTS, key(award))?;
    }
    if let Some(under) = record.under {
        w.delete(PASSED_ON, Key::of(under).and(task))?;
    }
    if let Some(Stored::Content(id)) = record.own.and_then(|own| own.output) {
        content::release(w, id, task)?;
    }
    w.delete(TASKS, key(task))?;
    Ok(true)
}

fn forget_sold(w: &mut Write<'_>, award: cid::Cid, counted: bool) -> Result<bool, StoreError> {
    let output = match w.get(SELLERS, key(award))? {
        Some(Seller::Ended(ended)) if ended.money != seller::Money::Due => ended.output.map(|(_, stored)| stored),
        Some(Seller::Broken(_)) => None,
        Some(_) => return Ok(false),
        None => None,
    };
    forget_deal(w, award, output, counted)?;
    w.delete(SELLERS, key(award))?;
    w.delete(SUB_EVIDENCE, key(award))?;
    w.delete(WORK, key(award))?;
    Ok(true)
}

fn forget_deal(w: &mut Write<'_>, award: cid::Cid, output: Option<Stored>, counted: bool) -> Result<(), StoreError> {
    let Some(deal) = w.get(DEALS, key(award))? else { return Ok(()) };
    outlays::forget(w, &deal)?;
    if counted {
        records::count_payloads(w, 0, payload_bytes(&deal, output.as_ref()))?;
    }
    release(w, &deal, &deal.input)?;
    output.map_or(Ok(()), |output| release(w, &deal, &Payload::from(output)))?;
    w.delete(BY_TASK, Key::of(deal.award.args().task).and(award))?;
    w.delete(DEALS, key(award))
}

/// Gives up what a trade holds of a content.
fn release(w: &mut Write<'_>, deal: &Deal, payload: &Payload) -> Result<(), StoreError> {
    let Payload::Content(id) = payload else { return Ok(()) };
    content::release(w, *id, deal.id())?;
    for peer in [deal.buyer(), deal.seller()] {
        w.delete(CONTENT, content_key(*id, peer, deal.id()))?;
    }
    Ok(())
}

/// A trade of ours that had ended opens again, for it is delivered late: what it keeps is counted when it ends again.
pub(super) fn reopen(w: &mut Write<'_>, deal: &Deal) -> Result<(), StoreError> {
    let task = deal.award.args().ask;
    let record = w.get(TASKS, key(task))?;
    let log_row = record.as_ref().map(|record| log_key(record.created, task));
    let row = log_row.as_ref().map(|row| w.get(LOG, row)).transpose()?.flatten();
    let (Some(record), Some(log_row), Some(row)) = (record, log_row, row.filter(|row| !row.is_counted())) else {
        return records::count_payloads(w, 0, payload_bytes(deal, None));
    };
    // Its task counts again with all of its awards, and is looked at again after the next start.
    for award in record.awards.into_iter().filter(|award| *award != deal.id()) {
        if let Some(other) = w.get(DEALS, key(award))? {
            records::count_payloads(w, payload_bytes(&other, None), 0)?;
        }
    }
    w.put(LOG, log_row, &LogRow { shed: false, stays: false, ..row })
}

/// Drops the inputs and outputs of some rows of the log; gives those of which nothing can be dropped for now.
fn shed(w: &mut Write<'_>, rows: Vec<Row>, now: Timestamp, in_use: InUse) -> Result<Vec<Row>, StoreError> {
    let mut read = BTreeSet::new();
    if rows.iter().any(|(_, row)| row.side == StoredSide::Buyer) {
        read = in_use(w)?;
        read.append(&mut ends::waiting_tasks(w)?);
    }
    let mut left = Vec::new();
    for (row_key, _) in rows {
        // Forgotten meanwhile, maybe.
        let Some(row) = w.get(LOG, &row_key)?.filter(|row| !row.shed) else { continue };
        let Some((_, id)) = log_parts(&row_key) else { continue };
        let stay = match row.side {
            StoredSide::Buyer if read.contains(&id) => Stay::ForNow,
            StoredSide::Buyer => stay_of_task(w, id, now)?,
            StoredSide::Seller => stay_of_sold(w, id, now)?,
        };
        match (stay, row.side) {
            (Stay::WithRecord, _) if row.stays => continue,
            (Stay::WithRecord, side) => {
                let kept = kept_by(w, id, side)?;
                records::count_payloads(w, 0, kept)?;
                w.put(LOG, row_key, &LogRow { stays: true, ..row })?;
                continue;
            }
            (Stay::ForNow, _) => {
                left.push((row_key, row));
                continue;
            }
            (Stay::No, side) => {
                if row.is_counted() {
                    let kept = kept_by(w, id, side)?;
                    records::count_payloads(w, 0, kept)?;
                }
                match side {
                    StoredSide::Buyer => shed_task(w, id)?,
                    StoredSide::Seller => shed_sold(w, id)?,
                }
                w.put(LOG, row_key, &LogRow { shed: true, ..row })?;
            }
        }
    }
    Ok(left)
}

/// What a row of the log counts for, with all of a task's awards.
fn kept_by(r: &impl Reader, id: cid::Cid, side: StoredSide) -> Result<u64, StoreError> {
    let awards = match side {
        StoredSide::Buyer => r.get(TASKS, key(id))?.map(|record| record.awards).unwrap_or_default(),
        StoredSide::Seller => vec![id],
    };
    let mut kept = 0_u64;
    for award in awards {
        let Some(deal) = r.get(DEALS, key(award))? else { continue };
        let output = match side {
            StoredSide::Buyer => r.get(BUYERS, key(award))?.and_then(|state| state.ended()?.output.clone()),
            StoredSide::Seller => r.get(SELLERS, key(award))?.and_then(|state| state.ended()?.output.clone()),
        };
        kept = kept.saturating_add(payload_bytes(&deal, output.map(|(_, stored)| stored).as_ref()));
    }
    Ok(kept)
}

/// Of a task of ours, which is one with all of its awards.
fn stay_of_task(r: &impl Reader, task: cid::Cid, now: Timestamp) -> Result<Stay, StoreError> {
    let Some(record) = r.get(TASKS, key(task))? else { return Ok(Stay::No) };
    let is_over = record.failure.is_some() || record.own.is_some() || !record.awards.is_empty();
    let for_the_sake_of = match record.under {
        // Work that begins anew after a restart reads it again.
        Some(award) => r.contains(OPEN, key(award))?,
        None => false,
    };
    let mut stay = if is_over && !for_the_sake_of { Stay::No } else { Stay::ForNow };
    for award in record.awards {
        stay = stay.max(stay_of_bought(r, award, now)?);
    }
    Ok(stay)
}

fn stay_of_bought(r: &impl Reader, award: cid::Cid, now: Timestamp) -> Result<Stay, StoreError> {
    // What convicts its seller only with its bytes.
    let kept = r.get(PROMISES, key(award))?.and_then(|promise| promise.kept);
    if matches!(kept, Some(OutputCheck::Invalid(_) | OutputCheck::Unchecked(_))) || r.contains(CHEATS, key(award))? {
        return Ok(Stay::WithRecord);
    }
    Ok(match r.get(BUYERS, key(award))? {
        Some(Buyer::Ended(ended)) if ended.forged.is_some() => Stay::WithRecord,
        Some(Buyer::Ended(ended)) if ended.money == buyer::Money::Waiting => Stay::ForNow,
        Some(Buyer::Ended(_)) | None => while_locked(r, award, now)?,
        Some(_) => Stay::ForNow,
    })
}

fn stay_of_sold(r: &impl Reader, award: cid::Cid, now: Timestamp) -> Result<Stay, StoreError> {
    Ok(match r.get(SELLERS, key(award))? {
        Some(Seller::Ended(ended)) if ended.money == seller::Money::Due => Stay::ForNow,
        // Its word comes at once, or when the buyer is back: most that are back in time are while the lock may be spent.
        Some(Seller::Ended(ended)) if ended.owes_output() => match while_locked(r, award, now)? {
            Stay::No => Stay::WithRecord,
            stay => stay,
        },
        Some(Seller::Ended(_) | Seller::Broken(_)) | None => while_locked(r, award, now)?,
        Some(_) => Stay::ForNow,
    })
}

/// While the lock may be spent by either clock, the other side asks.
fn while_locked(r: &impl Reader, award: cid::Cid, now: Timestamp) -> Result<Stay, StoreError> {
    let Some(deal) = r.get(DEALS, key(award))? else { return Ok(Stay::No) };
    let over = deal.award.part().until().saturating_add(2 * SKEW_SECS);
    Ok(if over >= now || r.contains(OPEN, key(award))? { Stay::ForNow } else { Stay::No })
}

/// Drops the inputs and outputs of a task that we bought.
fn shed_task(w: &mut Write<'_>, task: cid::Cid) -> Result<(), StoreError> {
    let Some(mut record) = w.get(TASKS, key(task))? else { return Ok(()) };
    for award in &record.awards {
        let mut output = None;
        if let Some(Buyer::Ended(mut ended)) = w.get(BUYERS, key(*award))? {
            output = ended.output.as_mut().map(|(_, output)| std::mem::replace(output, hash_alone(output)));
            w.put(BUYERS, key(*award), &Buyer::Ended(ended))?;
        }
        shed_deal(w, *award, output)?;
    }
    if let Some(output) = record.own.as_mut().and_then(|own| own.output.as_mut()) {
        if let Stored::Content(id) = output {
            content::release(w, *id, task)?;
        }
        *output = hash_alone(output);
        w.put(TASKS, key(task), &record)?;
    }
    Ok(())
}

fn shed_sold(w: &mut Write<'_>, award: cid::Cid) -> Result<(), StoreError> {
    let mut output = None;
    if let Some(Seller::Ended(mut ended)) = w.get(SELLERS, key(award))? {
        output = ended.output.as_mut().map(|(_, output)| std::mem::replace(output, hash_alone(output)));
        ended.let_go = output.is_some();
        w.put(SELLERS, key(award), &Seller::Ended(ended))?;
    }
    shed_deal(w, award, output)
}

fn shed_deal(w: &mut Write<'_>, award: cid::Cid, output: Option<Stored>) -> Result<(), StoreError> {
    let Some(mut deal) = w.get(DEALS, key(award))? else { return Ok(()) };
    release(w, &deal, &deal.input)?;
    output.map_or(Ok(()), |output| release(w, &deal, &Payload::from(output)))?;
    if let Payload::Inline(bytes) = &deal.input {
        deal.input = Payload::Content(ContentId::of(bytes));
    }
    w.put(DEALS, key(award), &deal)
}

/// What names a payload when it isn't here any more.
fn hash_alone(stored: &Stored) -> Stored {
    match stored {
        Stored::Inline(bytes) => Stored::Content(ContentId::of(bytes)),
        Stored::Content(id) => Stored::Content(*id),
    }
}
