//! Where a memory is from, down to the receipts; and what it took the place of.

use std::collections::BTreeSet;

use super::{
    Memory, MemoryError, Recalled, Source,
    records::{SUPERSEDED, last_number, number_of},
    resolve, shown,
};
use crate::{
    gate::Caller,
    limits::MAX_LINEAGE,
    store::{Key, Read, Reader as _},
};

/// A step of a lineage.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// How many steps it is from the memory that was asked about.
    pub depth: u64,
    /// The source, as the memory above it names it.
    pub source: String,
    /// The memory that it is, if it is one that is still there and that the caller may read.
    pub memory: Option<Recalled>,
}

impl Memory {
    /// What a memory was made of, and that of: each step below the one that names it, the memory itself first. At most
    /// [`MAX_LINEAGE`] steps.
    ///
    /// # Errors
    /// As [`Memory::show`].
    pub async fn lineage(&self, caller: &Caller, id: &str) -> Result<Vec<Link>, MemoryError> {
        let (caller, id) = (caller.clone(), id.to_owned());
        self.read(move |r| {
            let number = resolve(r, &caller, &id)?;
            let first = shown(r, number)?.ok_or(MemoryError::NoMemory(id))?;
            let (mut links, mut seen) = (Vec::new(), BTreeSet::new());
            let mut waiting = vec![(0, super::source::of_memory(&first.id))];
            while let Some((depth, source)) = waiting.pop() {
                if links.len() >= MAX_LINEAGE {
                    break;
                }
                let memory = of_source(r, &caller, &source)?;
                // A memory that many are made of is followed once.
                if let Some(memory) = memory.as_ref().filter(|memory| seen.insert(memory.id)) {
                    waiting.extend(memory.body.sources.iter().rev().map(|source| (depth + 1, source.clone())));
                }
                links.push(Link { depth, source, memory });
            }
            Ok(links)
        })
        .await
    }

    /// What was held instead of a memory, before and after: in the order in which it was true, itself included.
    ///
    /// # Errors
    /// As [`Memory::show`].
    pub async fn history(&self, caller: &Caller, id: &str) -> Result<Vec<Recalled>, MemoryError> {
        let (caller, id) = (caller.clone(), id.to_owned());
        self.read(move |r| {
            let mut waiting = vec![resolve(r, &caller, &id)?];
            let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
            while let Some(number) = waiting.pop() {
                if !seen.insert(number) || seen.len() > MAX_LINEAGE {
                    continue;
                }
                let Some(memory) = shown(r, number)? else { continue };
                for old in &memory.body.supersedes {
                    waiting.extend(number_of(r, old)?);
                }
                let newer = r.range(SUPERSEDED, Key::of(memory.id).range(), MAX_LINEAGE)?;
                waiting.extend(newer.iter().filter_map(|(key, _)| last_number(key)));
                all.push(memory);
            }
            all.sort_by_key(|memory| (memory.body.time, memory.at));
            Ok(all)
        })
        .await
    }
}

fn of_source(r: &Read, caller: &Caller, source: &str) -> Result<Option<Recalled>, MemoryError> {
    let Ok(Source::Memory(id)) = source.parse() else { return Ok(None) };
    match resolve(r, caller, &id.to_string()) {
        Ok(number) => Ok(shown(r, number)?),
        Err(MemoryError::NoMemory(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
