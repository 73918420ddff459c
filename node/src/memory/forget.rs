//! Forgetting: what is taken out is gone from the file, too, and an import doesn't bring it back.
//!
//! ```text
//! taken out, IDs among the forgotten, "a fresh file is due"      one transaction
//! all tables into FILE.new ─ closed ─ renamed to FILE            a kill before that: the next opening begins again, by the mark
//! ```
//!
//! **Not cut short**: both run in a task of the node, so a client that goes away leaves nothing half done. **A disk that is full**: the old
//! file stays in use and the mark in it; what is half written goes, and the next forgetting or the next start tries again.

use std::collections::BTreeSet;

use cid::Cid;
use guilder_protocol::time::Timestamp;
use tokio::sync::oneshot;

use super::{
    Domain, Memory, MemoryError, Question, Source, TABLES,
    dream::DREAM,
    ranking::{Filter, ranked},
    records::{CALLS, SESSIONS, Said, derived, domain_rows, head_of, in_domain, number_of, said_of, take_out},
    resolve,
    source::of_memory,
};
use crate::{
    gate::Caller,
    limits::MAX_RECALLED,
    memory::Trust,
    store::{Reader, Store, StoreError, Table, Write},
};

/// One row while a fresh file is due. It isn't copied.
const DUE: Table<Timestamp> = Table::new("memory/due");
const DUE_KEY: &[u8] = b"due";

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, at most [`MAX_RECALLED`], by their IDs or the last letters of them; of a caller, those that it said itself.
    Ids(Vec<String>),
    /// What answers a question, at most [`MAX_RECALLED`].
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
    /// How many memories stay that were made of it.
    pub derived_left: u64,
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
            return self.read(move |r| Ok(told(r, &selected(r, &caller, &what)?)?)).await;
        }
        let job = move |w: &mut Write<'_>| {
            let numbers = selected(w, &caller, &what)?;
            let done = told(w, &numbers)?;
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
    async fn to_its_end<R: Send + 'static>(
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
        self.rewrite(&mut *self.0.open.write().await).await
    }

    /// Has what is open in a fresh file, if that is due. Where that fails the old one is open still, with its mark; nothing is if that
    /// can't be opened again.
    async fn rewrite(&self, open: &mut Option<Store>) -> Result<(), MemoryError> {
        let (place, runtime) = (&self.0.place, &self.0.runtime);
        let Some(store) = open.as_ref() else { return Ok(()) };
        if !store.read(|r| r.contains(DUE, DUE_KEY))? {
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
        let copied = store.copy_to(&fresh, &TABLES, runtime).await;
        fresh.close().await;
        copied
    }
}

/// Marks that a fresh file is due.
pub(super) fn mark_due(w: &mut Write<'_>, now: Timestamp) -> Result<(), StoreError> {
    w.put(DUE, DUE_KEY, &now)
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

/// What is said of these once they are taken out.
fn told(r: &impl Reader, numbers: &[u32]) -> Result<Forgotten, StoreError> {
    let (mut ids, mut made_of_them) = (Vec::new(), BTreeSet::new());
    for number in numbers {
        let Some(said) = said_of(r, *number)? else { continue };
        derived(r, &of_memory(&said.id), &mut made_of_them)?;
        ids.push(said.id);
    }
    let mut derived_left = 0;
    for number in made_of_them {
        // Traces aren't memories.
        let is_left = numbers.binary_search(&number).is_err() && head_of(r, number)?.is_some();
        derived_left += u64::from(is_left);
    }
    Ok(Forgotten { ids, derived_left })
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
    for (key, _) in w.range(CALLS, domain_rows(domain.number), usize::MAX)? {
        w.delete(CALLS, key)?;
    }
    domain.remove(w)
}

/// For tests: what is durable where a kill comes before the fresh file.
#[cfg(test)]
pub(super) fn take_out_and_mark(w: &mut Write<'_>, id: Cid, now: Timestamp) -> Result<(), MemoryError> {
    if let Some(number) = super::number_of(w, &id)? {
        take_out(w, number, now)?;
    }
    Ok(w.put(DUE, DUE_KEY, &now)?)
}
