//! Forgetting: what is taken out is gone from the file, too, and an import doesn't bring it back.
//!
//! ```text
//! taken out, IDs among the forgotten, "a fresh file is due"      one transaction
//! all tables into FILE.new ─ closed ─ renamed to FILE            a kill before that: the next opening begins again, by the mark
//! ```

use cid::Cid;
use guilder_protocol::time::Timestamp;

use super::{
    Domain, Memory, MemoryError, Question, Source, TABLES,
    ranking::{Filter, ranked},
    records::{CALLS, DERIVED, SESSIONS, derived, domain_rows, head_of, in_domain, take_out},
    resolve,
};
use crate::{
    gate::Caller,
    limits::MAX_RECALLED,
    memory::{Trust, records::last_number},
    store::{Key, Reader, Store, StoreError, Table, Write},
};

/// One row while a fresh file is due. It isn't copied.
const DUE: Table<Timestamp> = Table::new("memory/due");
const DUE_KEY: &[u8] = b"due";

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, by their IDs or the last letters of them.
    Ids(Vec<String>),
    /// What answers a question, at most [`MAX_RECALLED`].
    Query(Question),
    /// A whole domain, with itself.
    Domain(String),
    /// What is from a source, with all that was made of it.
    From(Source),
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
    /// that they may write to. Once this returns, no byte of it is left in the memory's file. With `is_dry` nothing is done.
    ///
    /// # Errors
    /// If what is named isn't there, or the disk fails: [`MemoryError::Store`] may be after it was taken out, and then the file is
    /// written anew when it is next opened.
    pub async fn forget(&self, caller: &Caller, what: Selection, is_dry: bool) -> Result<Forgotten, MemoryError> {
        let (caller, now) = (caller.clone(), self.0.runtime.now());
        let job = move |w: &mut Write<'_>| {
            let numbers = selected(w, &caller, &what)?;
            let done = take_all(w, &numbers, now, is_dry)?;
            if let Selection::Domain(name) = &what
                && !is_dry
            {
                remove_domain(w, &caller, name)?;
            }
            // Where nothing was taken out, the file is as it should be.
            let is_due = !is_dry && (!done.ids.is_empty() || matches!(what, Selection::Domain(_)));
            if is_due {
                w.put(DUE, DUE_KEY, &now)?;
            }
            Ok::<_, MemoryError>((done, is_due))
        };
        let (done, is_due) = self.store().await?.transact(job).await?;
        if is_due {
            self.rewrite().await?;
        }
        Ok(done)
    }

    /// The store that is there, written anew if that is due.
    pub(super) async fn opened(&self) -> Result<Store, MemoryError> {
        let store = Store::with_backend(self.0.place.now(), &self.0.runtime).await?;
        match store.read(|r| r.contains(DUE, DUE_KEY)) {
            Ok(false) => Ok(store),
            Ok(true) => self.rewritten(store).await,
            Err(error) => {
                store.close().await;
                Err(error.into())
            }
        }
    }

    async fn rewrite(&self) -> Result<(), MemoryError> {
        let mut open = self.0.open.write().await;
        let store = match open.take() {
            Some(store) => store,
            None => Store::with_backend(self.0.place.now(), &self.0.runtime).await?,
        };
        *open = Some(self.rewritten(store).await?);
        Ok(())
    }

    /// The store in a fresh file. Where that fails the old one is closed, and its mark has the next opening try again.
    async fn rewritten(&self, store: Store) -> Result<Store, MemoryError> {
        let (place, runtime) = (&self.0.place, &self.0.runtime);
        let copied = self.copied(&store).await;
        store.close().await;
        copied?;
        place.replace(runtime).await?;
        Ok(Store::with_backend(place.now(), runtime).await?)
    }

    async fn copied(&self, store: &Store) -> Result<(), StoreError> {
        let runtime = &self.0.runtime;
        let fresh = Store::with_backend(self.0.place.fresh(runtime).await?, runtime).await?;
        let copied = store.copy_to(&fresh, &TABLES, runtime).await;
        fresh.close().await;
        copied
    }
}

/// The numbers of what is selected.
fn selected(r: &impl Reader, caller: &Caller, what: &Selection) -> Result<Vec<u32>, MemoryError> {
    let numbers = match what {
        Selection::Ids(ids) => ids.iter().map(|id| resolve(r, caller, id)).collect::<Result<Vec<_>, _>>()?,
        Selection::Query(question) => {
            let domains = Domain::readable(r, caller, &question.domains)?;
            let hits = ranked(r, &question.text, &domains, &Filter::default(), question.limit.min(MAX_RECALLED))?;
            hits.into_iter().map(|hit| hit.number).collect()
        }
        Selection::Domain(name) => {
            let named = Domain::readable(r, caller, std::slice::from_ref(name))?;
            of_domains(r, &named)?
        }
        Selection::From(source) => {
            let mut found = Vec::new();
            derived(r, &source.to_string(), &mut found)?;
            // An ID alone may be a receipt's or a memory's.
            if let Source::Memory(id) | Source::Receipt(id) = source {
                match resolve(r, caller, &id.to_string()) {
                    Ok(number) => {
                        found.push(number);
                        derived(r, &super::source::of_memory(id), &mut found)?;
                    }
                    Err(MemoryError::NoMemory(_)) if matches!(source, Source::Receipt(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            found
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
    let mut may = Vec::with_capacity(numbers.len());
    for number in numbers {
        let Some(head) = head_of(r, number)? else { continue };
        let domain = Domain::of_number(r, head.domain)?;
        let is_theirs = domain.is_some_and(|domain| domain.may_write(caller)) && head.trust <= Trust::Peer;
        if caller.is_owner() || is_theirs {
            may.push(number);
        }
    }
    may.sort_unstable();
    may.dedup();
    Ok(may)
}

fn of_domains(r: &impl Reader, domains: &[Domain]) -> Result<Vec<u32>, StoreError> {
    let each = domains.iter().map(|domain| in_domain(r, domain.number, usize::MAX));
    Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
}

fn take_all(w: &mut Write<'_>, numbers: &[u32], now: Timestamp, is_dry: bool) -> Result<Forgotten, StoreError> {
    let (mut ids, mut left) = (Vec::new(), std::collections::BTreeSet::new());
    for number in numbers {
        let said = match is_dry {
            true => super::said_of(w, *number)?,
            false => take_out(w, *number, now)?,
        };
        let Some(said) = said else { continue };
        let of_it = w.range(DERIVED, Key::of(super::source::of_memory(&said.id)).range(), usize::MAX)?;
        left.extend(of_it.iter().filter_map(|(key, ())| last_number(key)));
        ids.push(said.id);
    }
    let derived_left = left.iter().filter(|number| numbers.binary_search(number).is_err()).count() as u64;
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
