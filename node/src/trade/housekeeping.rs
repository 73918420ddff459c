//! Drops what is past its time, little by little: reservations of offers that have run out, records that were kept long
//! enough, contents that nobody needs.

use guilder_protocol::{
    time::Timestamp,
    trade::{Stored, buyer, buyer::Buyer, seller, seller::Seller},
    wire::Payload,
};

use super::{
    budgets,
    journal::Journal,
    keys,
    limits::{PRUNE_BATCH, PRUNE_EVERY},
    outlays,
    records::{
        BUYERS, BY_TASK, CONTENT, DEALS, LOG, LogRow, OFFERS, PASSED_ON, PROMISES, REFUSALS, SECOND_RECEIPTS, SELLERS,
        SPENT, SUB_EVIDENCE, StoredSide, TASKS, WORK, content_key, key, log_parts,
    },
};
use crate::{
    content::{self, Content},
    failpoint::Step,
    runtime::{Job, Runtime},
    store::{Key, KeyRange, Reader, Store, StoreError, Table, Write},
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
}

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
        self.forget_origins(kept_since).await
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
    for (log_key, LogRow { side, .. }) in &rows {
        let Some((_, id)) = log_parts(log_key) else { continue };
        let gone = match side {
            StoredSide::Buyer => forget_task(w, id, end)?,
            StoredSide::Seller => forget_sold(w, id)?,
        };
        if gone {
            w.delete(LOG, log_key)?;
        }
    }
    Ok(rows.into_iter().nth(PRUNE_BATCH - 1).map(|(key, _)| key))
}

fn forget_task(w: &mut Write<'_>, task: cid::Cid, end: Timestamp) -> Result<bool, StoreError> {
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
        forget_deal(w, award, output)?;
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

fn forget_sold(w: &mut Write<'_>, award: cid::Cid) -> Result<bool, StoreError> {
    let output = match w.get(SELLERS, key(award))? {
        Some(Seller::Ended(ended)) if ended.money != seller::Money::Due => ended.output.map(|(_, stored)| stored),
        Some(Seller::Broken(_)) => None,
        Some(_) => return Ok(false),
        None => None,
    };
    forget_deal(w, award, output)?;
    w.delete(SELLERS, key(award))?;
    w.delete(SUB_EVIDENCE, key(award))?;
    w.delete(WORK, key(award))?;
    Ok(true)
}

fn forget_deal(w: &mut Write<'_>, award: cid::Cid, output: Option<Stored>) -> Result<(), StoreError> {
    let Some(deal) = w.get(DEALS, key(award))? else { return Ok(()) };
    outlays::forget(w, &deal)?;
    let contents = [Some(deal.input.clone()), output.map(Payload::from)];
    for payload in contents.into_iter().flatten() {
        if let Payload::Content(id) = payload {
            content::release(w, id, award)?;
            for peer in [deal.buyer(), deal.seller()] {
                w.delete(CONTENT, content_key(id, peer, award))?;
            }
        }
    }
    w.delete(BY_TASK, Key::of(deal.award.args().task).and(award))?;
    w.delete(DEALS, key(award))
}
