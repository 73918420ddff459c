//! Domains: what memories are about, who may read and write them, and whether they may leave the node.

use guilder_protocol::{memory::is_domain, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{MemoryError, records::Batch, words::Language};
use crate::{
    gate::Caller,
    limits::{MAX_MEMORY_CALLERS, MAX_MEMORY_DOMAINS, MAX_MEMORY_DOMAINS_OF_ONE},
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
};

/// By name.
const DOMAINS: Table<Domain> = Table::new("memory/domains");
/// By number: the name.
const NAMES: Table<String> = Table::new("memory/domain-names");

pub(super) const TABLES: [&str; 2] = [DOMAINS.name(), NAMES.name()];

/// Every caller, in a list of readers or writers.
pub const EVERYBODY: &str = "*";

/// A domain. The owner may read and write every one, and make one of any name; a caller makes those of its own name alone, `NAME` and
/// `NAME.*`, so that it sits on no name under which the owner will one day put what isn't for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// What the index calls it.
    pub(super) number: u32,
    /// In which language its memories are; it can't be changed, as the index is made by it.
    pub language: Language,
    /// Callers that may read it, by the names that they are counted under.
    pub readers: Vec<String>,
    /// Callers that may remember in it, and forget.
    pub writers: Vec<String>,
    /// Whether nothing of it leaves without the owner's word.
    pub private: bool,
    /// After how many days a dream takes out what is true since before; not what the owner said and what holds still.
    pub keep_days: Option<u32>,
    /// Who made it.
    pub by: String,
    /// When.
    pub made: Timestamp,
    /// How many memories are in it.
    pub memories: u64,
    /// How many words they have together.
    pub words: u64,
}

/// What can be set of one; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainSettings {
    /// Of a new one: see [`Domain`].
    pub language: Option<Language>,
    /// Names of callers, as the owner gave them, or [`EVERYBODY`].
    pub readers: Option<Vec<String>>,
    /// The same.
    pub writers: Option<Vec<String>>,
    /// See [`Domain`].
    pub private: Option<bool>,
    /// See [`Domain`]; 0 for none.
    pub keep_days: Option<u32>,
}

impl Domain {
    pub(super) fn of_name(r: &impl Reader, name: &str) -> Result<Option<Self>, StoreError> {
        r.get(DOMAINS, Key::of(name))
    }

    pub(super) fn of_number(r: &impl Reader, number: u32) -> Result<Option<Self>, StoreError> {
        match r.get(NAMES, Key::of(number))? {
            Some(name) => Self::of_name(r, &name),
            None => Ok(None),
        }
    }

    pub(super) fn all(r: &impl Reader) -> Result<Vec<Self>, StoreError> {
        let rows = r.range(DOMAINS, KeyRange::all(), MAX_MEMORY_DOMAINS)?;
        Ok(rows.into_iter().map(|(_, domain)| domain).collect())
    }

    /// Those that a caller may read: all, or those named. One that it may not read is to it as one that isn't there.
    pub(super) fn readable(r: &impl Reader, caller: &Caller, named: &[String]) -> Result<Vec<Self>, MemoryError> {
        if named.is_empty() {
            return Ok(Self::all(r)?.into_iter().filter(|domain| domain.may_read(caller)).collect());
        }
        let one = |name: &String| {
            let found = Self::of_name(r, name)?.filter(|domain| domain.may_read(caller));
            found.ok_or_else(|| MemoryError::NoDomain(name.clone()))
        };
        let mut domains = named.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        domains.sort_by_key(|domain| domain.number);
        domains.dedup_by_key(|domain| domain.number);
        Ok(domains)
    }

    pub(super) fn put(&self, w: &mut Write<'_>) -> Result<(), StoreError> {
        w.put(NAMES, Key::of(self.number), &self.name)?;
        w.put(DOMAINS, Key::of(&self.name), self)
    }

    pub(super) fn remove(&self, w: &mut Write<'_>) -> Result<(), StoreError> {
        w.delete(NAMES, Key::of(self.number))?;
        w.delete(DOMAINS, Key::of(&self.name))
    }

    /// Whether a caller may make one of this name.
    pub(super) fn may_make(caller: &Caller, name: &str) -> bool {
        let own = |own: &str| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        caller.is_owner() || crate::gate::callers::name_of(caller.name()).is_some_and(own)
    }

    /// The one of this name, or a new one: private, in English. Who makes one of its own name may read and write it; whoever made another,
    /// by the owner's word, only as far as that says so.
    pub(super) fn or_new(
        w: &mut Write<'_>,
        batch: &mut Batch,
        name: &str,
        caller: &Caller,
        language: Option<Language>,
        now: Timestamp,
    ) -> Result<Self, MemoryError> {
        if let Some(domain) = Self::of_name(w, name)? {
            return Ok(batch.latest(domain));
        }
        if !is_domain(name) {
            return Err(MemoryError::DomainName(name.to_owned()));
        }
        let all = Self::all(w)?;
        let of_one = all.iter().filter(|domain| domain.by == caller.name()).count();
        if all.len() >= MAX_MEMORY_DOMAINS || (!caller.is_owner() && of_one >= MAX_MEMORY_DOMAINS_OF_ONE) {
            return Err(MemoryError::TooManyDomains);
        }
        let mut books = batch.books(w)?;
        books.last_domain += 1;
        batch.set_books(books);
        let is_theirs = !caller.is_owner() && Self::may_make(caller, name);
        let theirs: Vec<_> = is_theirs.then(|| caller.name().to_owned()).into_iter().collect();
        let domain = Self {
            name: name.to_owned(),
            number: books.last_domain,
            language: language.unwrap_or_default(),
            readers: theirs.clone(),
            writers: theirs,
            private: true,
            keep_days: None,
            by: caller.name().to_owned(),
            made: now,
            memories: 0,
            words: 0,
        };
        domain.put(w)?;
        Ok(domain)
    }

    /// Changes what the settings say.
    pub(super) fn set(&mut self, settings: DomainSettings) -> Result<(), MemoryError> {
        let DomainSettings { language, readers, writers, private, keep_days } = settings;
        if language.is_some_and(|language| language != self.language) {
            return Err(MemoryError::Language(self.name.clone()));
        }
        let account = |name: String| if name == EVERYBODY { name } else { crate::gate::callers::account(&name) };
        for (list, names) in [(&mut self.readers, readers), (&mut self.writers, writers)] {
            let Some(names) = names else { continue };
            if names.len() > MAX_MEMORY_CALLERS {
                return Err(MemoryError::TooManyCallers);
            }
            *list = names.into_iter().map(account).collect();
            list.sort();
            list.dedup();
        }
        self.private = private.unwrap_or(self.private);
        self.keep_days = keep_days.or(self.keep_days).filter(|days| *days > 0);
        Ok(())
    }

    /// Whether a caller may read it.
    pub fn may_read(&self, caller: &Caller) -> bool {
        is_in(&self.readers, caller) || self.may_write(caller)
    }

    /// Whether it may remember in it.
    pub fn may_write(&self, caller: &Caller) -> bool {
        is_in(&self.writers, caller)
    }
}

fn is_in(list: &[String], caller: &Caller) -> bool {
    let named = |name: &String| name == caller.name() || (name == EVERYBODY && caller.scope().is_some());
    caller.is_owner() || list.iter().any(named)
}
