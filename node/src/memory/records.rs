//! What is stored of memories, and how one is put in and taken out: whole, with its postings, in the caller's transaction.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use guilder_protocol::{
    cbor::sha256,
    memory::{MemoryBody, Trust},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    Source,
    domains::Domain,
    postings::{self, Added},
    source::of_memory,
    words,
};
use crate::{
    limits::MEMORY_BATCH,
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
};

/// By number: what was said.
pub(super) const SAID: Table<Said> = Table::new("memory/said");
/// By number: what ranking needs to know of one.
pub(super) const HEADS: Table<Head> = Table::new("memory/heads");
/// By ID: the number.
pub(super) const NUMBERS: Table<u32> = Table::new("memory/numbers");
/// By domain, trust (the highest first) and number (the newest first): what is in a domain, as its brief has it; since when it is true,
/// and since when it holds no longer.
pub(super) const LISTED: Table<(Timestamp, Option<Timestamp>)> = Table::new("memory/listed");
/// By domain, who said it and session: the latest memory of it. Nobody's words are neighbours of another's.
pub(super) const SESSIONS: Table<u32> = Table::new("memory/sessions");
/// By caller: the session that its calls are in, in whatever domains.
pub(super) const CALLS: Table<Calls> = Table::new("memory/calls");
/// By source and number of what is made of it, whether that is there or has left a trace.
pub(super) const DERIVED: Table<()> = Table::new("memory/derived");
/// By number: what is left of one that was forgotten, as long as something is there that was made of it.
pub(super) const TRACES: Table<Trace> = Table::new("memory/traces");
/// By ID: the number of its trace.
pub(super) const TRACED: Table<u32> = Table::new("memory/traced");
/// By the ID of the one that holds no longer, which may not be there, and the number of the one that says so: since when.
pub(super) const SUPERSEDED: Table<Timestamp> = Table::new("memory/superseded");
/// By ID: when it was forgotten.
pub(super) const FORGOTTEN: Table<Timestamp> = Table::new("memory/forgotten");
/// By caller: the day, and how often it has forgotten something by its ID in it. Of one day alone.
pub(super) const FORGETTINGS: Table<(u64, u64)> = Table::new("memory/forgettings");
/// By domain and mark ([`file_mark`]): the latest memory that was made of an edited file.
pub(super) const FILED: Table<u32> = Table::new("memory/filed");
/// By number of such a memory: the mark.
pub(super) const FILE_MARKS: Table<u64> = Table::new("memory/file-marks");
/// By who said them: how many there are.
pub(super) const SAID_BY: Table<u64> = Table::new("memory/said-by");
/// One row: what numbers come next, and how many there are.
pub(super) const BOOKS: Table<Books> = Table::new("memory/books");
pub(super) const BOOKS_KEY: &[u8] = b"books";

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Books {
    pub(super) memories: u64,
    /// The number of the last memory, and of the last domain; the first are 1.
    pub(super) last_memory: u32,
    pub(super) last_domain: u32,
    /// Of which words the index is: [`words::INDEX`].
    pub(super) index: u32,
}

impl Books {
    pub(super) fn read(r: &impl Reader) -> Result<Self, StoreError> {
        let none = Self { memories: 0, last_memory: 0, last_domain: 0, index: words::INDEX };
        Ok(r.get(BOOKS, BOOKS_KEY)?.unwrap_or(none))
    }
}

/// By which what is made of a forgotten memory is found: without it, whoever forgets a lie first couldn't forget all that came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trace {
    pub(super) id: Cid,
    /// Its sources but those in words, which would say what was forgotten.
    pub(super) sources: Vec<String>,
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

impl Head {
    /// Whether something has taken its place by then.
    pub(super) fn has_ended(&self, by: Timestamp) -> bool {
        self.ended.is_some_and(|ended| ended <= by)
    }
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

/// By what an edited file is known again that the same caller brings: the ID in it; the text and the subject, where it has none.
pub(super) fn file_mark(by: &str, id: Option<&Cid>, body: &MemoryBody) -> u64 {
    let which = match id {
        Some(id) => Key::of(*id),
        None => Key::of(&body.text).and(body.subject.as_deref().unwrap_or_default()),
    };
    let digest = sha256(&Key::of(by).and(u8::from(id.is_some())).and(which.into_bytes()));
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
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

/// How many memories somebody has said.
pub(super) fn said_by(r: &impl Reader, by: &str) -> Result<u64, StoreError> {
    Ok(r.get(SAID_BY, Key::of(by))?.unwrap_or_default())
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
        let books = Books::read(r)?;
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
                let key = Key::of(domain.number).and(&said.by).and(session);
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
        w.put(LISTED, listed(domain.number, trust, number), &(time, None))?;
        w.put(SAID_BY, Key::of(&said.by), &(said_by(w, &said.by)? + 1))?;
        for source in &said.sources {
            w.put(DERIVED, Key::of(source).and(number), &())?;
        }
        for old in &said.supersedes {
            w.put(SUPERSEDED, Key::of(*old).and(number), &time)?;
            end(w, old)?;
        }
        // An import may bring what superseded it first.
        end(w, &said.id)?;
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

/// Sets since when a memory holds no longer, if it is there: the earliest of what those say that supersede it.
fn end(w: &mut Write<'_>, id: &Cid) -> Result<(), StoreError> {
    let Some(number) = number_of(w, id)? else { return Ok(()) };
    let Some(head) = head_of(w, number)? else { return Ok(()) };
    let ends = w.range(SUPERSEDED, Key::of(*id).range(), usize::MAX)?;
    let ended = ends.into_iter().map(|(_, since)| since).min();
    w.put(LISTED, listed(head.domain, head.trust, number), &(head.time, ended))?;
    w.put(HEADS, Key::of(number), &Head { ended, ..head })
}

/// Takes a memory out, with all that stands of it anywhere, and leaves its ID among the forgotten. What it superseded holds again. As long
/// as something is there that was made of it, its sources lead there still.
pub(super) fn take_out(w: &mut Write<'_>, number: u32, now: Timestamp) -> Result<Option<Said>, StoreError> {
    let (Some(said), Some(head)) = (said_of(w, number)?, head_of(w, number)?) else { return Ok(None) };
    let Some(mut domain) = Domain::of_number(w, head.domain)? else { return Ok(None) };
    let (words, length) = words::of_text(&said.text, domain.language);
    postings::remove(w, domain.number, number, words.keys())?;
    if let Some(session) = &said.session {
        leave_session(w, &head, number, &said.by, session)?;
    }
    leave_sources(w, number, &said)?;
    for old in &said.supersedes {
        w.delete(SUPERSEDED, Key::of(*old).and(number))?;
        end(w, old)?;
    }
    if let Some(mark) = w.get(FILE_MARKS, Key::of(number))? {
        w.delete(FILE_MARKS, Key::of(number))?;
        let key = Key::of(head.domain).and(mark);
        if w.get(FILED, &key)? == Some(number) {
            w.delete(FILED, &key)?;
        }
    }
    w.delete(LISTED, listed(head.domain, head.trust, number))?;
    w.delete(NUMBERS, Key::of(said.id))?;
    w.delete(SAID, Key::of(number))?;
    w.delete(HEADS, Key::of(number))?;
    w.put(FORGOTTEN, Key::of(said.id), &now)?;
    match said_by(w, &said.by)? {
        0 | 1 => w.delete(SAID_BY, Key::of(&said.by))?,
        many => w.put(SAID_BY, Key::of(&said.by), &(many - 1))?,
    }
    domain.memories = domain.memories.saturating_sub(1);
    domain.words = domain.words.saturating_sub(u64::from(length));
    domain.put(w)?;
    let books = Books::read(w)?;
    w.put(BOOKS, BOOKS_KEY, &Books { memories: books.memories.saturating_sub(1), ..books })?;
    Ok(Some(said))
}

/// Those before and after it in its session are neighbours from now on.
fn leave_session(w: &mut Write<'_>, head: &Head, number: u32, by: &str, session: &str) -> Result<(), StoreError> {
    if let Some(before) = head_of(w, head.before)? {
        w.put(HEADS, Key::of(head.before), &Head { after: head.after, ..before })?;
    }
    if let Some(after) = head_of(w, head.after)? {
        w.put(HEADS, Key::of(head.after), &Head { before: head.before, ..after })?;
    }
    let key = Key::of(head.domain).and(by).and(session);
    if w.get(SESSIONS, &key)? != Some(number) {
        return Ok(());
    }
    if head.before == 0 { w.delete(SESSIONS, key) } else { w.put(SESSIONS, key, &head.before) }
}

/// Takes out what leads from sources to a memory; or, where something was made of it, leaves a trace. Takes out the traces that lead nowhere
/// from then on.
fn leave_sources(w: &mut Write<'_>, number: u32, said: &Said) -> Result<(), StoreError> {
    let has_any = |w: &Write<'_>, id: &Cid| {
        let made_of_it = Key::of(of_memory(id)).range();
        Ok::<_, StoreError>(!w.range(DERIVED, made_of_it, 1)?.is_empty())
    };
    let is_kept =
        |source: &String| matches!(source.parse::<Source>(), Ok(source) if !matches!(source, Source::World(_)));
    let mut gone = Vec::new();
    if has_any(w, &said.id)? {
        let (kept, in_words) = said.sources.iter().cloned().partition::<Vec<_>, _>(is_kept);
        w.put(TRACES, Key::of(number), &Trace { id: said.id, sources: kept })?;
        w.put(TRACED, Key::of(said.id), &number)?;
        gone.push((number, in_words));
    } else {
        gone.push((number, said.sources.clone()));
    }
    while let Some((number, sources)) = gone.pop() {
        for source in sources {
            w.delete(DERIVED, Key::of(&source).and(number))?;
            let Ok(Source::Memory(id)) = source.parse() else { continue };
            let Some(number) = w.get(TRACED, Key::of(id))? else { continue };
            if !has_any(w, &id)?
                && let Some(trace) = w.get(TRACES, Key::of(number))?
            {
                w.delete(TRACES, Key::of(number))?;
                w.delete(TRACED, Key::of(id))?;
                gone.push((number, trace.sources));
            }
        }
    }
    Ok(())
}

/// Makes the index of the memories after this number, some at a time, where there is none: the number of the last one, or `None` at the end,
/// when the index is whole.
pub(super) fn index_some(w: &mut Write<'_>, after: u32) -> Result<Option<u32>, StoreError> {
    if after == 0 {
        for domain in Domain::all(w)? {
            Domain { words: 0, ..domain }.put(w)?;
        }
    }
    let rows = w.range(SAID, KeyRange::all().after(&Key::of(after)), MEMORY_BATCH)?;
    let (mut added, mut domains, mut last) = (Added::default(), BTreeMap::<u32, Domain>::new(), None);
    for (key, said) in rows {
        last = last_number(&key);
        let (Some(number), Some(head)) = (last, last.map_or(Ok(None), |number| head_of(w, number))?) else { continue };
        let known =
            domains.remove(&head.domain).map_or_else(|| Domain::of_number(w, head.domain), |known| Ok(Some(known)));
        let Some(mut domain) = known? else { continue };
        let (words, length) = words::of_text(&said.text, domain.language);
        domain.words += u64::from(length);
        added.add(domain.number, number, words, length);
        domains.insert(domain.number, domain);
    }
    added.write(w)?;
    for domain in domains.values() {
        domain.put(w)?;
    }
    if last.is_none() && w.contains(BOOKS, BOOKS_KEY)? {
        let books = Books::read(w)?;
        w.put(BOOKS, BOOKS_KEY, &Books { index: words::INDEX, ..books })?;
    }
    Ok(last)
}

/// The memories that are made of a source, and of those, and so on; with those that stand in `found` already. Numbers of traces are among
/// them.
pub(super) fn derived(r: &impl Reader, source: &str, found: &mut BTreeSet<u32>) -> Result<(), StoreError> {
    let mut sources = vec![source.to_owned()];
    while let Some(source) = sources.pop() {
        for (key, ()) in r.range(DERIVED, Key::of(&source).range(), usize::MAX)? {
            let Some(number) = last_number(&key).filter(|number| found.insert(*number)) else { continue };
            let id = match said_of(r, number)? {
                Some(said) => Some(said.id),
                None => r.get(TRACES, Key::of(number))?.map(|trace| trace.id),
            };
            sources.extend(id.map(|id| of_memory(&id)));
        }
    }
    Ok(())
}

/// All memories of a domain, the most trusted and newest first.
pub(super) fn in_domain(r: &impl Reader, domain: u32, limit: usize) -> Result<Vec<u32>, StoreError> {
    let rows = r.range(LISTED, domain_rows(domain), limit)?;
    Ok(rows.iter().filter_map(|(key, _)| of_listed(key)).collect())
}

pub(super) fn domain_rows(domain: u32) -> KeyRange {
    Key::of(domain).range()
}

/// For tests: everything that is stored must fit together.
#[cfg(test)]
pub(super) fn check_whole(r: &impl Reader) -> Result<(), StoreError> {
    let number = |key: &[u8]| last_number(key).unwrap_or_default();
    let said = r.range(SAID, KeyRange::all(), usize::MAX)?;
    let heads: BTreeMap<u32, Head> =
        r.range(HEADS, KeyRange::all(), usize::MAX)?.into_iter().map(|(key, head)| (number(&key), head)).collect();
    let mut expected = BTreeSet::new();
    let mut counts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut by = BTreeMap::new();
    let (mut of_sources, mut superseding) = (BTreeSet::new(), BTreeSet::new());
    for (key, said) in &said {
        let number = number(key);
        let head = heads.get(&number).unwrap_or_else(|| panic!("memory {number} has no head"));
        let domain = Domain::of_number(r, head.domain)?.expect("its domain is there");
        let (words, length) = words::of_text(&said.text, domain.language);
        expected.extend(words.into_iter().map(|(word, times)| (word, head.domain, number, times, length)));
        let count = counts.entry(head.domain).or_default();
        *count = (count.0 + 1, count.1 + u64::from(length));
        of_sources.extend(said.sources.iter().map(|source| Key::of(source).and(number).into_bytes()));
        superseding.extend(said.supersedes.iter().map(|old| Key::of(*old).and(number).into_bytes()));
        let ends = r.range(SUPERSEDED, Key::of(said.id).range(), usize::MAX)?;
        assert_eq!(head.ended, ends.into_iter().map(|(_, since)| since).min());
        *by.entry(Key::of(&said.by).into_bytes()).or_insert(0_u64) += 1;
        assert_eq!(r.get(NUMBERS, Key::of(said.id))?, Some(number));
        assert_eq!(r.get(LISTED, listed(head.domain, head.trust, number))?, Some((head.time, head.ended)));
    }
    for (key, trace) in r.range(TRACES, KeyRange::all(), usize::MAX)? {
        let number = number(&key);
        of_sources.extend(trace.sources.iter().map(|source| Key::of(source).and(number).into_bytes()));
        assert_eq!(r.get(TRACED, Key::of(trace.id))?, Some(number));
        assert!(!heads.contains_key(&number) && r.contains(FORGOTTEN, Key::of(trace.id))?);
        let mut made_of_it = BTreeSet::new();
        derived(r, &of_memory(&trace.id), &mut made_of_it)?;
        assert!(made_of_it.iter().any(|number| heads.contains_key(number)), "a trace leads nowhere");
    }
    for (key, _) in r.range(FILE_MARKS, KeyRange::all(), usize::MAX)? {
        assert!(heads.contains_key(&number(&key)), "what is of a file is there");
    }
    for (key, of) in r.range(FILED, KeyRange::all(), usize::MAX)? {
        let head = heads.get(&of).expect("the latest of a file is there");
        let mark = r.get(FILE_MARKS, Key::of(of))?.expect("it has its mark");
        assert_eq!(key, Key::of(head.domain).and(mark).into_bytes());
    }
    let keys = |rows: Vec<(Vec<u8>, ())>| rows.into_iter().map(|(key, ())| key).collect::<BTreeSet<_>>();
    assert_eq!(keys(r.range(DERIVED, KeyRange::all(), usize::MAX)?), of_sources);
    let ends = r.range(SUPERSEDED, KeyRange::all(), usize::MAX)?;
    assert_eq!(ends.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), superseding);
    let traced = r.range(TRACED, KeyRange::all(), usize::MAX)?.len();
    assert_eq!(r.range(TRACES, KeyRange::all(), usize::MAX)?.len(), traced);
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
    assert_eq!(r.range(SAID_BY, KeyRange::all(), usize::MAX)?.into_iter().collect::<BTreeMap<_, _>>(), by);
    let books = Books::read(r)?;
    assert_eq!((books.memories, books.index), (said.len() as u64, words::INDEX));
    Ok(())
}
