//! What is stored of memories, and how one is put in and taken out: whole, with its postings, in the caller's transaction.

use std::collections::BTreeMap;

use cid::Cid;
use guilder_protocol::{
    cbor::sha256,
    memory::{MemoryBody, Trust},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    domains::Domain,
    postings::{self, Added},
    words,
};
use crate::store::{Key, KeyRange, Reader, StoreError, Table, Write};

/// By number: what was said.
pub(super) const SAID: Table<Said> = Table::new("memory/said");
/// By number: what ranking needs to know of one.
pub(super) const HEADS: Table<Head> = Table::new("memory/heads");
/// By ID: the number.
pub(super) const NUMBERS: Table<u32> = Table::new("memory/numbers");
/// By domain, trust (the highest first) and number (the newest first): what is in a domain, as its brief has it.
pub(super) const LISTED: Table<()> = Table::new("memory/listed");
/// By domain and session: the latest memory of it.
pub(super) const SESSIONS: Table<u32> = Table::new("memory/sessions");
/// By domain and caller: the session that its calls are in.
pub(super) const CALLS: Table<Calls> = Table::new("memory/calls");
/// By source and number of what is made of it.
pub(super) const DERIVED: Table<()> = Table::new("memory/derived");
/// By the number of the one that holds no longer and that of the one that says so: since when.
pub(super) const SUPERSEDED: Table<Timestamp> = Table::new("memory/superseded");
/// By ID: when it was forgotten.
pub(super) const FORGOTTEN: Table<Timestamp> = Table::new("memory/forgotten");
/// One row: what numbers come next, and how many there are.
pub(super) const BOOKS: Table<Books> = Table::new("memory/books");
pub(super) const BOOKS_KEY: &[u8] = b"books";

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Books {
    pub(super) memories: u64,
    /// The number of the last memory, and of the last domain; the first are 1.
    pub(super) last_memory: u32,
    pub(super) last_domain: u32,
}

/// A caller's calls without a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calls {
    pub(super) session: String,
    pub(super) last: Timestamp,
}

/// A memory as it was said: all of its statement but the domain's name and the signature, which are made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SaidRow", into = "SaidRow")]
pub(super) struct Said {
    pub(super) id: Cid,
    /// When it was remembered.
    pub(super) at: Timestamp,
    pub(super) time: Timestamp,
    pub(super) trust: Trust,
    pub(super) by: String,
    pub(super) text: String,
    pub(super) subject: Option<String>,
    pub(super) session: Option<String>,
    pub(super) sources: Vec<String>,
    pub(super) supersedes: Vec<Cid>,
}

/// Without names, which would be half of a short memory.
type SaidRow =
    ((Cid, Timestamp, Timestamp, Trust), (String, String, Option<String>, Option<String>), (Vec<String>, Vec<Cid>));

impl From<SaidRow> for Said {
    fn from(row: SaidRow) -> Self {
        let ((id, at, time, trust), (by, text, subject, session), (sources, supersedes)) = row;
        Self { id, at, time, trust, by, text, subject, session, sources, supersedes }
    }
}

impl From<Said> for SaidRow {
    fn from(said: Said) -> Self {
        let Said { id, at, time, trust, by, text, subject, session, sources, supersedes } = said;
        ((id, at, time, trust), (by, text, subject, session), (sources, supersedes))
    }
}

impl Said {
    pub(super) fn of(id: Cid, at: Timestamp, body: MemoryBody) -> Self {
        let MemoryBody { text, domain: _, by, time, trust, subject, session, sources, supersedes } = body;
        Self { id, at, time, trust, by, text, subject, session, sources, supersedes }
    }

    /// What was signed.
    pub(super) fn body(self, domain: &str) -> MemoryBody {
        let Self { id: _, at: _, time, trust, by, text, subject, session, sources, supersedes } = self;
        MemoryBody { text, domain: domain.to_owned(), by, time, trust, subject, session, sources, supersedes }
    }
}

/// What ranking and filters need, of a fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "HeadRow", into = "HeadRow")]
pub(super) struct Head {
    /// The number of its domain.
    pub(super) domain: u32,
    pub(super) trust: Trust,
    pub(super) time: Timestamp,
    /// Since when it holds no longer.
    pub(super) ended: Option<Timestamp>,
    /// The one before it in its session, and the one after; 0 for none.
    pub(super) before: u32,
    pub(super) after: u32,
    /// Of its subject; 0 for none.
    pub(super) subject: u64,
}

type HeadRow = (u32, Trust, Timestamp, Option<Timestamp>, u32, u32, u64);

impl From<HeadRow> for Head {
    fn from((domain, trust, time, ended, before, after, subject): HeadRow) -> Self {
        Self { domain, trust, time, ended, before, after, subject }
    }
}

impl From<Head> for HeadRow {
    fn from(head: Head) -> Self {
        let Head { domain, trust, time, ended, before, after, subject } = head;
        (domain, trust, time, ended, before, after, subject)
    }
}

/// What stands in a head for a subject: letters' case makes no other one.
pub(super) fn subject_mark(subject: &str) -> u64 {
    let digest = sha256(subject.to_lowercase().as_bytes());
    digest.first_chunk().map_or(1, |bytes| u64::from_be_bytes(*bytes)).max(1)
}

/// Where a memory stands in its domain's list.
fn listed(domain: u32, trust: Trust, number: u32) -> Key {
    Key::of(domain).and(u8::MAX - trust as u8).and(u32::MAX - number)
}

/// The number of a memory, of the key under which it is listed.
pub(super) fn of_listed(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|bytes| u32::MAX - u32::from_be_bytes(*bytes))
}

/// The number of a memory, as the last part of a key.
pub(super) fn last_number(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The ID that a key of [`NUMBERS`] or [`FORGOTTEN`] is made of.
pub(super) fn cid_of_key(key: &[u8]) -> Option<Cid> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.strip_suffix(&[0, 1])?.iter();
    while let Some(byte) = rest.next() {
        bytes.push(*byte);
        if *byte == 0 && rest.next() != Some(&0xff) {
            return None;
        }
    }
    Cid::try_from(bytes).ok()
}

pub(super) fn number_of(r: &impl Reader, id: &Cid) -> Result<Option<u32>, StoreError> {
    r.get(NUMBERS, Key::of(*id))
}

pub(super) fn head_of(r: &impl Reader, number: u32) -> Result<Option<Head>, StoreError> {
    r.get(HEADS, Key::of(number))
}

pub(super) fn said_of(r: &impl Reader, number: u32) -> Result<Option<Said>, StoreError> {
    r.get(SAID, Key::of(number))
}

/// What a transaction adds, until its end: the index is written once for all of it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    added: Added,
    domains: BTreeMap<u32, Domain>,
    books: Option<Books>,
}

impl Batch {
    pub(super) fn books(&mut self, r: &impl Reader) -> Result<Books, StoreError> {
        if let Some(books) = self.books {
            return Ok(books);
        }
        let books = r.get(BOOKS, BOOKS_KEY)?.unwrap_or_default();
        self.books = Some(books);
        Ok(books)
    }

    /// A domain with the counts that this batch has made of it.
    pub(super) fn latest(&self, domain: Domain) -> Domain {
        self.domains.get(&domain.number).cloned().unwrap_or(domain)
    }

    pub(super) fn set_books(&mut self, books: Books) {
        self.books = Some(books);
    }

    /// Puts one in. Its domain's counts are those of the last one that this batch was given.
    pub(super) fn put(&mut self, w: &mut Write<'_>, domain: &mut Domain, said: &Said) -> Result<u32, StoreError> {
        let mut books = self.books(w)?;
        books.last_memory += 1;
        books.memories += 1;
        self.books = Some(books);
        let number = books.last_memory;
        let before = match &said.session {
            Some(session) => {
                let key = Key::of(domain.number).and(session);
                let before = w.get(SESSIONS, &key)?.unwrap_or_default();
                w.put(SESSIONS, &key, &number)?;
                before
            }
            None => 0,
        };
        if let Some(head) = head_of(w, before)? {
            w.put(HEADS, Key::of(before), &Head { after: number, ..head })?;
        }
        let subject = said.subject.as_deref().map_or(0, subject_mark);
        let Said { trust, time, .. } = *said;
        let head = Head { domain: domain.number, trust, time, ended: None, before, after: 0, subject };
        w.put(HEADS, Key::of(number), &head)?;
        w.put(SAID, Key::of(number), said)?;
        w.put(NUMBERS, Key::of(said.id), &number)?;
        w.put(LISTED, listed(domain.number, trust, number), &())?;
        for source in &said.sources {
            w.put(DERIVED, Key::of(source).and(number), &())?;
        }
        for old in &said.supersedes {
            if let Some(old) = number_of(w, old)? {
                w.put(SUPERSEDED, Key::of(old).and(number), &time)?;
                end(w, old)?;
            }
        }
        let (words, length) = words::of_text(&said.text, domain.language);
        domain.memories += 1;
        domain.words += u64::from(length);
        self.domains.insert(domain.number, domain.clone());
        self.added.add(domain.number, number, words, length);
        Ok(number)
    }

    /// Writes what was held back.
    pub(super) fn write(self, w: &mut Write<'_>) -> Result<(), StoreError> {
        self.added.write(w)?;
        for domain in self.domains.values() {
            domain.put(w)?;
        }
        match self.books {
            Some(books) => w.put(BOOKS, BOOKS_KEY, &books),
            None => Ok(()),
        }
    }
}

/// Sets since when a memory holds no longer: the earliest of what those say that supersede it.
fn end(w: &mut Write<'_>, number: u32) -> Result<(), StoreError> {
    let Some(head) = head_of(w, number)? else { return Ok(()) };
    let ends = w.range(SUPERSEDED, Key::of(number).range(), usize::MAX)?;
    let ended = ends.into_iter().map(|(_, since)| since).min();
    w.put(HEADS, Key::of(number), &Head { ended, ..head })
}

/// Takes a memory out, with all that stands of it anywhere, and leaves its ID among the forgotten. What it superseded holds again.
pub(super) fn take_out(w: &mut Write<'_>, number: u32, now: Timestamp) -> Result<Option<Said>, StoreError> {
    let (Some(said), Some(head)) = (said_of(w, number)?, head_of(w, number)?) else { return Ok(None) };
    let Some(mut domain) = Domain::of_number(w, head.domain)? else { return Ok(None) };
    let (words, length) = words::of_text(&said.text, domain.language);
    postings::remove(w, domain.number, number, words.keys())?;
    if let Some(session) = &said.session {
        leave_session(w, &head, number, session)?;
    }
    for source in &said.sources {
        w.delete(DERIVED, Key::of(source).and(number))?;
    }
    for old in &said.supersedes {
        if let Some(old) = number_of(w, old)? {
            w.delete(SUPERSEDED, Key::of(old).and(number))?;
            end(w, old)?;
        }
    }
    for (key, _) in w.range(SUPERSEDED, Key::of(number).range(), usize::MAX)? {
        w.delete(SUPERSEDED, key)?;
    }
    w.delete(LISTED, listed(head.domain, head.trust, number))?;
    w.delete(NUMBERS, Key::of(said.id))?;
    w.delete(SAID, Key::of(number))?;
    w.delete(HEADS, Key::of(number))?;
    w.put(FORGOTTEN, Key::of(said.id), &now)?;
    domain.memories = domain.memories.saturating_sub(1);
    domain.words = domain.words.saturating_sub(u64::from(length));
    domain.put(w)?;
    let books = w.get(BOOKS, BOOKS_KEY)?.unwrap_or_default();
    w.put(BOOKS, BOOKS_KEY, &Books { memories: books.memories.saturating_sub(1), ..books })?;
    Ok(Some(said))
}

/// Those before and after it in its session are neighbours from now on.
fn leave_session(w: &mut Write<'_>, head: &Head, number: u32, session: &str) -> Result<(), StoreError> {
    if let Some(before) = head_of(w, head.before)? {
        w.put(HEADS, Key::of(head.before), &Head { after: head.after, ..before })?;
    }
    if let Some(after) = head_of(w, head.after)? {
        w.put(HEADS, Key::of(head.after), &Head { before: head.before, ..after })?;
    }
    let key = Key::of(head.domain).and(session);
    if w.get(SESSIONS, &key)? != Some(number) {
        return Ok(());
    }
    if head.before == 0 { w.delete(SESSIONS, key) } else { w.put(SESSIONS, key, &head.before) }
}

/// The memories that are made of a source, and of those, and so on; with those that stand in `found` already.
pub(super) fn derived(r: &impl Reader, source: &str, found: &mut Vec<u32>) -> Result<(), StoreError> {
    let mut sources = vec![source.to_owned()];
    while let Some(source) = sources.pop() {
        for (key, ()) in r.range(DERIVED, Key::of(&source).range(), usize::MAX)? {
            let Some(number) = last_number(&key).filter(|number| !found.contains(number)) else { continue };
            found.push(number);
            if let Some(said) = said_of(r, number)? {
                sources.push(super::source::of_memory(&said.id));
            }
        }
    }
    Ok(())
}

/// All memories of a domain, the most trusted and newest first.
pub(super) fn in_domain(r: &impl Reader, domain: u32, limit: usize) -> Result<Vec<u32>, StoreError> {
    let rows = r.range(LISTED, domain_rows(domain), limit)?;
    Ok(rows.iter().filter_map(|(key, ())| of_listed(key)).collect())
}

pub(super) fn domain_rows(domain: u32) -> KeyRange {
    Key::of(domain).range()
}

/// For tests: everything that is stored must fit together.
#[cfg(test)]
pub(super) fn check_whole(r: &impl Reader) -> Result<(), StoreError> {
    use std::collections::BTreeSet;

    let number = |key: &[u8]| last_number(key).unwrap_or_default();
    let said = r.range(SAID, KeyRange::all(), usize::MAX)?;
    let heads: BTreeMap<u32, Head> =
        r.range(HEADS, KeyRange::all(), usize::MAX)?.into_iter().map(|(key, head)| (number(&key), head)).collect();
    let mut expected = BTreeSet::new();
    let mut counts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (key, said) in &said {
        let number = number(key);
        let head = heads.get(&number).unwrap_or_else(|| panic!("memory {number} has no head"));
        let domain = Domain::of_number(r, head.domain)?.expect("its domain is there");
        let (words, length) = words::of_text(&said.text, domain.language);
        expected.extend(words.into_iter().map(|(word, times)| (word, head.domain, number, times, length)));
        let count = counts.entry(head.domain).or_default();
        *count = (count.0 + 1, count.1 + u64::from(length));
        assert_eq!(r.get(NUMBERS, Key::of(said.id))?, Some(number));
        assert!(r.contains(LISTED, listed(head.domain, head.trust, number))?);
    }
    let mut indexed = BTreeSet::new();
    for domain in Domain::all(r)? {
        let count = counts.get(&domain.number).copied().unwrap_or_default();
        assert_eq!((domain.memories, domain.words), count, "{}", domain.name);
    }
    for (key, _) in r.range(postings::BLOCKS, KeyRange::all(), usize::MAX)? {
        let end = key.windows(2).position(|pair| pair == [0, 1]).expect("a word ends");
        let word = String::from_utf8(key[..end].to_vec()).expect("a word");
        let domain = u32::from_be_bytes(key[end + 2..end + 6].try_into().expect("a domain"));
        for posting in postings::of(r, &word, domain)? {
            indexed.insert((word.clone(), domain, posting.memory, posting.times, posting.length));
        }
    }
    assert_eq!(indexed, expected, "postings and memories differ");
    assert_eq!(heads.len(), said.len());
    assert_eq!(r.range(NUMBERS, KeyRange::all(), usize::MAX)?.len(), said.len());
    assert_eq!(r.range(LISTED, KeyRange::all(), usize::MAX)?.len(), said.len());
    let books = r.get(BOOKS, BOOKS_KEY)?.unwrap_or_default();
    assert_eq!(books.memories, said.len() as u64);
    Ok(())
}
