//! Drops what is past its time, little by little: reservations of offers that have run out, inputs and outputs of trades that nobody
//! can ask about any more, records that were kept long enough, contents that nobody needs.
//!
//! **Inputs and outputs** go before the records do ([`Housekeeper::shed`]): once they are old, or, the oldest first, as long as all
//! of them are more than may be. What was signed of them stays: the receipt, its salt, every hash; so that whoever has saved an
//! output can still show what it is. They stay as long as anybody may yet ask for them (until the lock has fallen back by both clocks),
//! as long as money is out, and for good (that is, as long as the record) where they convict somebody.

use std::sync::{Arc, Mutex};

use guilder_protocol::{
    content::ContentId,
    time::{SKEW_SECS, Timestamp},
    trade::{Deal, Stored, buyer, buyer::Buyer, seller, seller::Seller},
    wire::Payload,
};

use super::{
    budgets,
    journal::Journal,
    keys,
    limits::{MAX_PASSED_OVER, PRUNE_BATCH, PRUNE_EVERY},
    outlays,
    records::{
        self, BUYERS, BY_TASK, CHEATS, CONTENT, DEALS, LOG, LogRow, OFFERS, OPEN, PASSED_ON, PAYLOADS, PROMISES,
        REFUSALS, SECOND_RECEIPTS, SELLERS, SPENT, SUB_EVIDENCE, StoredSide, TASKS, WORK, content_key, key, log_parts,
        payload_bytes,
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
    /// Days that inputs and outputs are kept.
    pub(super) keep_payload_days: u64,
    /// And how many bytes of them in all.
    pub(super) max_payload_bytes: u64,
    pub(super) shedding: Arc<Mutex<Shedding>>,
}

/// How far inputs and outputs were dropped. From the beginning again after a start: what was dropped is passed over at little cost.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    /// The last row of the log that was looked at.
    after: Option<Vec<u8>>,
    /// Rows up to there that could not be dropped yet. Those beyond [`MAX_PASSED_OVER`] are seen again after the next start.
    passed_over: Vec<Row>,
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
        let old = now.saturating_sub(self.keep_payload_days.saturating_mul(DAY_SECS));
        let passed_over = std::mem::take(&mut lock(&self.shedding).passed_over);
        for some in passed_over.chunks(PRUNE_BATCH) {
            self.shed_some(some.to_vec(), now).await?;
        }
        loop {
            let kept = self.journal.read(|r| r.get(PAYLOADS, []))?.unwrap_or_default();
            let end = if kept > self.max_payload_bytes { now } else { old };
            let range = KeyRange::between(&Key::of(Timestamp::default()), &Key::of(end));
            let range = match lock(&self.shedding).after.clone() {
                Some(after) => range.after(&after),
                None => range,
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

    /// Of some rows; remembers those of which nothing can be dropped yet.
    async fn shed_some(&self, rows: Vec<Row>, now: Timestamp) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let left = self.journal.commit(Step::Other, move |w| shed(w, rows, now)).await?;
        let mut shedding = lock(&self.shedding);
        let room = MAX_PASSED_OVER.saturating_sub(shedding.passed_over.len());
        shedding.passed_over.extend(left.into_iter().take(room));
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
    for (log_key, LogRow { side, shed, .. }) in &rows {
        let Some((_, id)) = log_parts(log_key) else { continue };
        let gone = match side {
            StoredSide::Buyer => forget_task(w, id, end, *shed)?,
            StoredSide::Seller => forget_sold(w, id, *shed)?,
        };
        if gone {
            w.delete(LOG, log_key)?;
        }
    }
    Ok(rows.into_iter().nth(PRUNE_BATCH - 1).map(|(key, _)| key))
}

fn forget_task(w: &mut Write<'_>, task: cid::Cid, end: Timestamp, shed: bool) -> Result<bool, StoreError> {
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
        let output = match w.get(BUYERS, key(award))? {
            Some(Buyer::Ended(ended)) => {
                let forged = ended.forged.map(|forged| forged.ciphertext);
                ended.output.map(|(_, stored)| stored).or(forged)
            }
            _ => None,
        };
        forget_deal(w, award, output, shed)?;
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

fn forget_sold(w: &mut Write<'_>, award: cid::Cid, shed: bool) -> Result<bool, StoreError> {
    let output = match w.get(SELLERS, key(award))? {
        Some(Seller::Ended(ended)) if ended.money != seller::Money::Due => ended.output.map(|(_, stored)| stored),
        Some(Seller::Broken(_)) => None,
        Some(_) => return Ok(false),
        None => None,
    };
    forget_deal(w, award, output, shed)?;
    w.delete(SELLERS, key(award))?;
    w.delete(SUB_EVIDENCE, key(award))?;
    w.delete(WORK, key(award))?;
    Ok(true)
}

fn forget_deal(w: &mut Write<'_>, award: cid::Cid, output: Option<Stored>, shed: bool) -> Result<(), StoreError> {
    let Some(deal) = w.get(DEALS, key(award))? else { return Ok(()) };
    outlays::forget(w, &deal)?;
    if !shed {
        records::count_payloads(w, 0, payload_bytes(&deal, output.as_ref()))?;
        release(w, &deal, &deal.input)?;
        output.map_or(Ok(()), |output| release(w, &deal, &Payload::from(output)))?;
    }
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

/// Drops the inputs and outputs of some rows of the log; gives those of which nothing can be dropped yet.
fn shed(w: &mut Write<'_>, rows: Vec<Row>, now: Timestamp) -> Result<Vec<Row>, StoreError> {
    let mut left = Vec::new();
    for (row_key, _) in rows {
        // Forgotten meanwhile, maybe.
        let Some(row) = w.get(LOG, &row_key)?.filter(|row| !row.shed) else { continue };
        let Some((_, id)) = log_parts(&row_key) else { continue };
        let is_shed = match row.side {
            StoredSide::Buyer => shed_task(w, id, now)?,
            StoredSide::Seller => shed_trade(w, id, StoredSide::Seller, now)?,
        };
        if is_shed {
            w.put(LOG, row_key, &LogRow { shed: true, ..row })?;
        } else {
            left.push((row_key, row));
        }
    }
    Ok(left)
}

/// All awards of a task that we bought, or none.
fn shed_task(w: &mut Write<'_>, task: cid::Cid, now: Timestamp) -> Result<bool, StoreError> {
    let Some(mut record) = w.get(TASKS, key(task))? else { return Ok(true) };
    let is_over = record.failure.is_some() || record.own.is_some() || !record.awards.is_empty();
    for award in &record.awards {
        if !may_shed(w, *award, StoredSide::Buyer, now)? {
            return Ok(false);
        }
    }
    if !is_over {
        return Ok(false);
    }
    for award in &record.awards {
        shed_trade(w, *award, StoredSide::Buyer, now)?;
    }
    if let Some(output) = record.own.as_mut().and_then(|own| own.output.as_mut()) {
        if let Stored::Content(id) = output {
            content::release(w, *id, task)?;
        }
        *output = hash_alone(output);
        w.put(TASKS, key(task), &record)?;
    }
    Ok(true)
}

/// Whether nobody can ask for a trade's input and output any more, and nothing that is to be decided yet hangs on them.
fn may_shed(r: &impl Reader, award: cid::Cid, side: StoredSide, now: Timestamp) -> Result<bool, StoreError> {
    let Some(deal) = r.get(DEALS, key(award))? else { return Ok(true) };
    let over = deal.award.part().until().saturating_add(2 * SKEW_SECS);
    if over >= now || r.contains(OPEN, key(award))? || r.contains(CHEATS, key(award))? {
        return Ok(false);
    }
    Ok(match side {
        StoredSide::Buyer => match r.get(BUYERS, key(award))? {
            Some(Buyer::Ended(ended)) => ended.forged.is_none() && ended.money != buyer::Money::Waiting,
            Some(_) => false,
            None => true,
        },
        StoredSide::Seller => match r.get(SELLERS, key(award))? {
            Some(Seller::Ended(ended)) => ended.money != seller::Money::Due,
            Some(Seller::Broken(_)) | None => true,
            Some(_) => false,
        },
    })
}

fn shed_trade(w: &mut Write<'_>, award: cid::Cid, side: StoredSide, now: Timestamp) -> Result<bool, StoreError> {
    if !may_shed(w, award, side, now)? {
        return Ok(false);
    }
    let Some(mut deal) = w.get(DEALS, key(award))? else { return Ok(true) };
    let output = match side {
        StoredSide::Buyer => match w.get(BUYERS, key(award))? {
            Some(Buyer::Ended(mut ended)) => {
                let output = ended.output.as_mut().map(|(_, output)| std::mem::replace(output, hash_alone(output)));
                w.put(BUYERS, key(award), &Buyer::Ended(ended))?;
                output
            }
            _ => None,
        },
        StoredSide::Seller => match w.get(SELLERS, key(award))? {
            Some(Seller::Ended(mut ended)) => {
                let output = ended.output.as_mut().map(|(_, output)| std::mem::replace(output, hash_alone(output)));
                w.put(SELLERS, key(award), &Seller::Ended(ended))?;
                output
            }
            _ => None,
        },
    };
    records::count_payloads(w, 0, payload_bytes(&deal, output.as_ref()))?;
    release(w, &deal, &deal.input)?;
    output.map_or(Ok(()), |output| release(w, &deal, &Payload::from(output)))?;
    if let Payload::Inline(bytes) = &deal.input {
        deal.input = Payload::Content(ContentId::of(bytes));
    }
    w.put(DEALS, key(award), &deal)?;
    Ok(true)
}

/// What names a payload when it isn't here any more.
fn hash_alone(stored: &Stored) -> Stored {
    match stored {
        Stored::Inline(bytes) => Stored::Content(ContentId::of(bytes)),
        Stored::Content(id) => Stored::Content(*id),
    }
}
