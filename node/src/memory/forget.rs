//! Forgetting: what is taken out is gone from the file, too, and an import doesn't bring it back.
//!
//! ```text
//! taken out, IDs among the forgotten, "a fresh file is due"      one transaction
//! all tables into FILE.new ─ closed ─ renamed to FILE            a kill before that: the next opening begins again, by the mark
//! ```
//!
//! **Not cut short**: both run in a task of the node, so a client that goes away leaves nothing half done. **A disk that is full**: the old
//! file stays in use and the mark in it; what is half written goes, and the next forgetting or the next start tries again.

use std::{collections::BTreeSet, ops::ControlFlow};

use cid::Cid;
use guilder_protocol::time::Timestamp;
use tokio::sync::oneshot;

use super::{
    Domain, Memory, MemoryError, Question, Source, TABLES,
    dream::DREAM,
    is_readable, number_of,
    postings::BLOCKS,
    ranking::{Filter, ranked},
    records::{
        Books, FORGETTINGS, SESSIONS, SUPERSEDED, Said, derived, domain_rows, head_of, in_domain, index_some,
        last_number, said_of, take_out,
    },
    resolve,
    source::of_memory,
    words,
};
use crate::{
    gate::Caller,
    limits::{MAX_FORGETTINGS, MAX_RECALLED},
    memory::Trust,
    store::{Key, KeyRange, Read, Reader, Store, StoreError, Table, Write},
};

/// One row while a fresh file is due. It isn't copied.
const DUE: Table<Timestamp> = Table::new("memory/due");
const DUE_KEY: &[u8] = b"due";

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, at most [`MAX_RECALLED`], by their IDs or the last letters of them; of a caller, those that it said itself.
    Ids(Vec<String>),
    /// What answers a question, at most [`MAX_RECALLED`], whether it holds or not.
    Query(Question),
    /// A whole domain, with itself.
    Domain(String),
    /// What is from any of these sources, with all that was made of it.
    From(Vec<Source>),
    /// What is true since before a time, in these domains or in all.
    Before(Timestamp, Vec<String>),
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The IDs.
    pub ids: Vec<Cid>,
    /// How many memories stay that were made of it, of those that the caller may read.
    pub derived_left: u64,
    /// The memories that hold again, as nothing is left that superseded them; of those that the caller may read.
    pub hold_again: Vec<Cid>,
    /// The receipts that it was from.
    pub receipts: BTreeSet<Cid>,
}

impl Memory {
    /// Forgets what is selected, as far as the caller may: the owner everything, others what is trusted no more than they are, in domains
    /// that they may write to, and by ID only what they said. Once this returns, no byte of it is left in the memory's file. With `is_dry` nothing is done.
    ///
    /// # Errors
    /// If what is named isn't there, or the disk fails: [`MemoryError::Store`] may be after it was taken out, and then the file is
    /// written anew by the next forgetting or the next start.
    pub async fn forget(&self, caller: &Caller, mut what: Selection, is_dry: bool) -> Result<Forgotten, MemoryError> {
        match &mut what {
            Selection::Ids(ids) if ids.len() > MAX_RECALLED => return Err(MemoryError::TooManyIds),
            Selection::Ids(ids) => self.complete(caller, ids).await?,
            Selection::Query(question) => question.check()?,
            Selection::Domain(_) | Selection::From(_) | Selection::Before(..) => {}
        }
        let (caller, now) = (caller.clone(), self.0.runtime.now());
        if is_dry {
            return self.read(move |r| Ok(told(r, &caller, &selected(r, &caller, &what)?)?)).await;
        }
        let job = move |w: &mut Write<'_>| {
            let numbers = selected(w, &caller, &what)?;
            let done = told(w, &caller, &numbers)?;
            if !done.ids.is_empty() && !caller.is_owner() && matches!(what, Selection::Ids(_)) {
                count_forgetting(w, caller.name(), now)?;
            }
            for number in &numbers {
                take_out(w, *number, now)?;
            }
            if let Selection::Domain(name) = &what {
                remove_domain(w, &caller, name)?;
            }
            // Where nothing was taken out, the file is as it should be.
            if !done.ids.is_empty() || matches!(what, Selection::Domain(_)) {
                w.put(DUE, DUE_KEY, &now)?;
            }
            Ok::<_, MemoryError>(done)
        };
        let memory = self.clone();
        self.to_its_end(async move {
            let done = memory.store().await?.transact(job).await;
            // What an earlier one left due, too: who asks again after an error names what is taken out already.
            memory.rewrite_if_due().await?;
            done
        })
        .await
    }

    /// Runs `work` to its end, though nobody waits for it any longer.
    pub(super) async fn to_its_end<R: Send + 'static>(
        &self,
        work: impl Future<Output = Result<R, MemoryError>> + Send + 'static,
    ) -> Result<R, MemoryError> {
        let (tell, told) = oneshot::channel();
        let work = async move {
            // Nobody listens if the caller went away.
            let _ = tell.send(work.await);
        };
        self.0.runtime.spawn("memory", work).detach();
        told.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    /// Opens the store that is there, unless that is done, and writes it anew if that is due. Where it can't be, the old one is used.
    pub(super) async fn open(&self) -> Result<(), MemoryError> {
        let memory = self.clone();
        self.to_its_end(async move {
            let mut open = memory.0.open.write().await;
            if open.is_none() {
                *open = Some(Store::with_backend(memory.0.place.now(), &memory.0.runtime).await?);
                if let Err(error) = memory.rewrite(&mut open).await {
                    tracing::warn!(%error, "what was forgotten is still in the memory's file; the next forgetting or start tries again");
                }
            }
            Ok(())
        })
        .await
    }

    /// Writes the file anew after something was taken out and [`mark_due`] has said so, though nobody waits.
    pub(super) async fn finish_forgetting(&self) -> Result<(), MemoryError> {
        let memory = self.clone();
        self.to_its_end(async move { memory.rewrite_if_due().await }).await
    }

    async fn rewrite_if_due(&self) -> Result<(), MemoryError> {
        self.open().await?;
        // Where nothing was taken out, nobody who reads waits.
        if let Some(store) = self.0.open.read().await.as_ref()
            && !store.read(is_due)?
        {
            return Ok(());
        }
        self.rewrite(&mut *self.0.open.write().await).await
    }

    /// Has what is open in a fresh file, if that is due. Where that fails the old one is open still, with its mark; nothing is if that
    /// can't be opened again.
    async fn rewrite(&self, open: &mut Option<Store>) -> Result<(), MemoryError> {
        let (place, runtime) = (&self.0.place, &self.0.runtime);
        let Some(store) = open.as_ref() else { return Ok(()) };
        if !store.read(is_due)? {
            return Ok(());
        }
        let mut done = self.copied(store).await;
        if done.is_ok() {
            store.close().await;
            *open = None;
            done = place.replace(runtime).await;
            *open = Some(Store::with_backend(place.now(), runtime).await?);
        }
        if done.is_err()
            && let Err(error) = place.discard(runtime).await
        {
            tracing::warn!(%error, "what was written of the memory's fresh file can't be removed");
        }
        Ok(done?)
    }

    async fn copied(&self, store: &Store) -> Result<(), StoreError> {
        let runtime = &self.0.runtime;
        // What somebody who went away had queued is in the file before the first page is copied.
        store.write(|_| Ok(())).await?;
        let fresh = Store::with_backend(self.0.place.fresh(runtime).await?, runtime).await?;
        // What was taken out by today's words alone would leave those of another version behind.
        let is_other = store.read(has_other_words)?;
        let tables: Vec<_> = TABLES.into_iter().filter(|table| !is_other || *table != BLOCKS.name()).collect();
        let mut copied = store.copy_to(&fresh, &tables, runtime).await;
        let mut after = Some(0).filter(|_| is_other);
        while let (Ok(()), Some(number)) = (&copied, after) {
            match fresh.write(move |w| index_some(w, number)).await {
                Ok(last) => after = last,
                Err(error) => copied = Err(error),
            }
        }
        fresh.close().await;
        copied
    }
}

/// Marks that a fresh file is due.
pub(super) fn mark_due(w: &mut Write<'_>, now: Timestamp) -> Result<(), StoreError> {
    w.put(DUE, DUE_KEY, &now)
}

fn is_due(r: &Read) -> Result<bool, StoreError> {
    Ok(r.contains(DUE, DUE_KEY)? || has_other_words(r)?)
}

/// Whether the index is of words that another version made.
fn has_other_words(r: &Read) -> Result<bool, StoreError> {
    Ok(Books::read(r)?.index != words::INDEX)
}

/// The numbers of what is selected.
fn selected(r: &impl Reader, caller: &Caller, what: &Selection) -> Result<Vec<u32>, MemoryError> {
    let mut missing = None;
    let numbers = match what {
        Selection::Ids(ids) => ids.iter().map(|id| resolve(r, caller, id)).collect::<Result<Vec<_>, _>>()?,
        Selection::Query(question) => {
            let domains = Domain::readable(r, caller, &question.domains)?;
            let hits = ranked(r, &question.text, &domains, &Filter::default(), question.most())?;
            hits.into_iter().map(|hit| hit.number).collect()
        }
        Selection::Domain(name) => {
            let named = Domain::readable(r, caller, std::slice::from_ref(name))?;
            of_domains(r, &named)?
        }
        Selection::From(sources) => {
            let mut found = BTreeSet::new();
            for source in sources {
                derived(r, &source.to_string(), &mut found)?;
                // An ID alone may be a receipt's or a memory's, which may be forgotten while what was made of it isn't.
                let (Source::Memory(id) | Source::Receipt(id)) = source else { continue };
                derived(r, &of_memory(id), &mut found)?;
                match resolve(r, caller, &id.to_string()) {
                    Ok(number) => {
                        found.insert(number);
                    }
                    Err(error @ MemoryError::NoMemory(_)) if matches!(source, Source::Memory(_)) => {
                        missing = Some(error);
                    }
                    Err(MemoryError::NoMemory(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            found.into_iter().collect()
        }
        Selection::Before(time, names) => {
            let all = of_domains(r, &Domain::readable(r, caller, names)?)?;
            let mut old = Vec::new();
            for number in all {
                old.extend(head_of(r, number)?.filter(|head| head.time < *time).map(|_| number));
            }
            old
        }
    };
    // A source takes what came of it alone: what was said beside it by others holds again.
    let numbers = if matches!(what, Selection::From(_)) { numbers } else { with_merged(r, numbers)? };
    let mut may = Vec::with_capacity(numbers.len());
    for number in numbers {
        let Some(head) = head_of(r, number)? else { continue };
        let domain = Domain::of_number(r, head.domain)?;
        let is_theirs = domain.is_some_and(|domain| domain.may_write(caller)) && head.trust <= Trust::Peer;
        // The owner's word is asked for the rest.
        let is_said = |said: Said| !matches!(what, Selection::Ids(_)) || said.by == caller.name();
        if caller.is_owner() || (is_theirs && said_of(r, number)?.is_some_and(is_said)) {
            may.push(number);
        }
    }
    may.sort_unstable();
    may.dedup();
    match missing.filter(|_| may.is_empty()) {
        Some(missing) => Err(missing),
        None => Ok(may),
    }
}

/// With what dreams made one of: without it, it would hold again.
fn with_merged(r: &impl Reader, mut numbers: Vec<u32>) -> Result<Vec<u32>, StoreError> {
    let mut seen: BTreeSet<u32> = numbers.iter().copied().collect();
    let mut at = 0;
    while let Some(number) = numbers.get(at).copied() {
        at += 1;
        let Some(said) = said_of(r, number)?.filter(|said| said.by == DREAM) else { continue };
        for old in &said.supersedes {
            numbers.extend(number_of(r, old)?.filter(|old| seen.insert(*old)));
        }
    }
    Ok(numbers)
}

fn of_domains(r: &impl Reader, domains: &[Domain]) -> Result<Vec<u32>, StoreError> {
    let each = domains.iter().map(|domain| in_domain(r, domain.number, usize::MAX));
    Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
}

/// What is said of these once they are taken out: of others only what the caller may read.
fn told(r: &impl Reader, caller: &Caller, numbers: &[u32]) -> Result<Forgotten, StoreError> {
    let is_taken = |number: u32| numbers.binary_search(&number).is_ok();
    let (mut ids, mut receipts) = (Vec::new(), BTreeSet::new());
    let (mut made_of_them, mut superseded) = (BTreeSet::new(), BTreeSet::new());
    for number in numbers {
        let Some(said) = said_of(r, *number)? else { continue };
        derived(r, &of_memory(&said.id), &mut made_of_them)?;
        superseded.extend(said.supersedes);
        receipts.extend(said.sources.iter().filter_map(|source| match source.parse() {
            Ok(Source::Receipt(receipt)) => Some(receipt),
            _ => None,
        }));
        ids.push(said.id);
    }
    let mut derived_left = 0;
    for number in made_of_them.into_iter().filter(|number| !is_taken(*number)) {
        // Traces aren't memories, and nobody may read them.
        derived_left += u64::from(is_readable(r, caller, number)?);
    }
    let mut hold_again = Vec::new();
    for old in superseded {
        let Some(number) = number_of(r, &old)?.filter(|number| !is_taken(*number)) else { continue };
        if !is_superseded(r, &old, is_taken)? && is_readable(r, caller, number)? {
            hold_again.push(old);
        }
    }
    Ok(Forgotten { ids, derived_left, hold_again, receipts })
}

/// Whether something supersedes a memory that isn't taken.
fn is_superseded(r: &impl Reader, id: &Cid, is_taken: impl Fn(u32) -> bool) -> Result<bool, StoreError> {
    let mut found = false;
    r.visit(SUPERSEDED, Key::of(*id).range(), |key, _| {
        found = last_number(key).is_some_and(|number| !is_taken(number));
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Counts one of those that a caller has in a day.
fn count_forgetting(w: &mut Write<'_>, caller: &str, now: Timestamp) -> Result<(), MemoryError> {
    let today = now.as_secs() / (24 * 60 * 60);
    let count = match w.get(FORGETTINGS, Key::of(caller))? {
        Some((day, count)) if day == today => count,
        _ => {
            for (key, (day, _)) in w.range(FORGETTINGS, KeyRange::all(), usize::MAX)? {
                if day != today {
                    w.delete(FORGETTINGS, key)?;
                }
            }
            0
        }
    };
    if count >= MAX_FORGETTINGS {
        return Err(MemoryError::TooOften);
    }
    Ok(w.put(FORGETTINGS, Key::of(caller), &(today, count + 1))?)
}

/// Takes a domain out that is empty now; it stays if the caller may not take all of it.
fn remove_domain(w: &mut Write<'_>, caller: &Caller, name: &str) -> Result<(), StoreError> {
    let Some(domain) = Domain::of_name(w, name)? else { return Ok(()) };
    if !caller.is_owner() || w.range(super::records::LISTED, domain_rows(domain.number), 1)?.pop().is_some() {
        return Ok(());
    }
    for (key, _) in w.range(SESSIONS, domain_rows(domain.number), usize::MAX)? {
        w.delete(SESSIONS, key)?;
    }
    domain.remove(w)
}

/// For tests: what is durable where a kill comes before the fresh file.
#[cfg(test)]
pub(super) fn take_out_and_mark(w: &mut Write<'_>, id: Cid, now: Timestamp) -> Result<(), MemoryError> {
    if let Some(number) = number_of(w, &id)? {
        take_out(w, number, now)?;
    }
    Ok(w.put(DUE, DUE_KEY, &now)?)
}
