//! Memory that knows who said it: what is remembered, recalled, looked into and forgotten.
//!
//! ```text
//! remember ── claim `guilder/memory`, signed by the node ──┐  one transaction of the memory's own file:
//!                                                          ├─ what was said, its postings, its place in session and domain
//! recall ──── the question's words ──▶ postings ──▶ ranking ──▶ who may read, what holds, how far it is trusted
//! dream ───── what is new ──▶ fewer and plainer memories ──▶ one transaction ([`dream`])
//! forget ──── taken out, ID among the forgotten ──▶ all that stays into a fresh file ──▶ in the old one's place
//! ```
//!
//! **Trust**: `owner` > `node` > `peer` > `world`. What is derived has the least of its sources; what is less trusted supersedes nothing
//! that is more. A caller that isn't the owner remembers at most as `peer`, whatever it names.
//!
//! **Domains** ([`domains`]) say who may read and write. One that a caller may not read is to it as one that isn't there, in what is
//! recalled and in how it is ranked.
//!
//! **A file of its own**, so that it can be written anew when something is forgotten: redb leaves deleted bytes in free pages. It is opened
//! when it is first needed. A kill between the taking out and the new file leaves a mark by which the next opening finishes it.
//!
//! **Bounded** ([`crate::limits`]): memories, domains, what one answer holds.

mod brief;
mod domains;
pub mod dream;
mod dreamer;
mod error;
mod forget;
mod import;
mod lineage;
mod postings;
mod ranking;
mod records;
pub mod source;
mod wording;
mod words;

use std::{collections::BTreeMap, fmt, ops::ControlFlow, path::PathBuf, sync::Arc};

use cid::Cid;
use guilder_protocol::{
    envelope::Signed,
    identity::AgentKey,
    limits::MAX_MEMORY_SOURCES,
    memory::{self, MemoryBody, Trust, is_domain},
    time::Timestamp,
};
use tokio::sync::{RwLock, RwLockReadGuard, Semaphore};

pub use self::{
    brief::Brief,
    domains::{Domain, DomainSettings, EVERYBODY},
    dream::{Change, ChangeKind, Dream},
    dreamer::Dreamer,
    error::MemoryError,
    forget::{Forgotten, Selection},
    import::{Fate, Imported},
    lineage::Link,
    source::Source,
    words::Language,
};
use self::{
    ranking::{Filter, Holds, ranked},
    records::{
        Batch, CALLS, Calls, FORGOTTEN, Head, NUMBERS, head_of, in_domain, number_of, said_by, said_of, subject_mark,
    },
};
use crate::{
    gate::Caller,
    limits::{
        MAX_MEMORIES, MAX_MEMORIES_OF_ONE, MAX_MEMORY_FILES, MAX_MEMORY_READS, MAX_QUESTION, MAX_RECALLED,
        MEMORY_CALL_SECS, MEMORY_SESSION_SECS,
    },
    runtime::{Job, Runtime},
    store::{self, Key, KeyRange, Place, Read, Reader, Store, StoreError, Write},
};

/// The memory of a node. Cheap to clone.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    place: Place,
    key: AgentKey,
    runtime: Runtime,
    /// Whoever works with the store holds it for reading; whoever puts another in its place, for writing.
    open: RwLock<Option<Store>>,
    /// Of [`MAX_MEMORY_READS`].
    reads: Arc<Semaphore>,
}

/// What is to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMemory {
    /// What is true.
    pub text: String,
    /// Where it belongs; made if it isn't there and the caller may ([`Domain`]).
    pub domain: String,
    /// Of a domain that is made.
    pub language: Option<Language>,
    /// Of whom or what it tells.
    pub subject: Option<String>,
    /// Since when it is true; now, if that isn't said.
    pub time: Option<Timestamp>,
    /// In which conversation it was said.
    pub session: Session,
    /// What it was made of.
    pub sources: Vec<Source>,
    /// IDs, or the last letters of them, of what holds no longer.
    pub supersedes: Vec<String>,
    /// At most so much trust, though the sources gave more.
    pub trust: Option<Trust>,
}

/// In which session something was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The caller's calls without a pause of [`MEMORY_SESSION_SECS`].
    #[default]
    OfCalls,
    /// This one.
    Named(String),
    /// In none: it has no neighbours.
    None,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its ID.
    pub id: Cid,
    /// Where it is.
    pub domain: String,
    /// As what it counts.
    pub trust: Trust,
    /// In which session it stands.
    pub session: Option<String>,
    /// Whether it wasn't known before.
    pub is_new: bool,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// In words.
    pub text: String,
    /// Which domains; all that the caller may read if none is named.
    pub domains: Vec<String>,
    /// Only what is trusted at least so much.
    pub trust: Option<Trust>,
    /// Only what tells of this.
    pub subject: Option<String>,
    /// Only what is true since this time or later.
    pub since: Option<Timestamp>,
    /// Or up to it.
    pub until: Option<Timestamp>,
    /// What held at this time, instead of what holds.
    pub as_of: Option<Timestamp>,
    /// Most of the answers: 1 to [`MAX_RECALLED`], and the nearest of those for any other.
    pub limit: usize,
}

impl Question {
    fn check(&self) -> Result<(), MemoryError> {
        if self.text.len() > MAX_QUESTION {
            return Err(MemoryError::LongQuestion);
        }
        if self.text.trim().is_empty() {
            return Err(MemoryError::NoQuestion);
        }
        Ok(())
    }

    fn most(&self) -> usize {
        self.limit.clamp(1, MAX_RECALLED)
    }
}

/// A memory, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// Its ID.
    pub id: Cid,
    /// What was said.
    pub body: MemoryBody,
    /// When it was remembered.
    pub at: Timestamp,
    /// Since when it holds no longer.
    pub ended: Option<Timestamp>,
    /// How well it answers a question; 0 without one.
    pub score: f64,
}

/// All tables but the mark that a fresh file is due.
const TABLES: [&str; 21] = [
    domains::TABLES[0],
    domains::TABLES[1],
    postings::BLOCKS.name(),
    records::SAID.name(),
    records::HEADS.name(),
    records::NUMBERS.name(),
    records::LISTED.name(),
    records::SESSIONS.name(),
    records::CALLS.name(),
    records::DERIVED.name(),
    records::TRACES.name(),
    records::TRACED.name(),
    records::SUPERSEDED.name(),
    records::FORGOTTEN.name(),
    records::FORGETTINGS.name(),
    records::FILED.name(),
    records::FILE_MARKS.name(),
    records::SAID_BY.name(),
    records::BOOKS.name(),
    dream::DREAMS.name(),
    dream::TALLIES.name(),
];

impl Memory {
    /// The memory at a place, signed with `key`. Nothing is opened yet.
    pub fn new(place: Place, key: AgentKey, runtime: Runtime) -> Self {
        let reads = Arc::new(Semaphore::new(MAX_MEMORY_READS));
        Self(Arc::new(Inner { place, key, runtime, open: RwLock::default(), reads }))
    }

    /// Finishes what a kill left undone, if there is a memory. Behind a start, which needn't wait for it.
    pub async fn resume(self) {
        if self.0.place.exists(&self.0.runtime).await
            && let Err(error) = self.store().await
        {
            tracing::warn!(%error, "the memory can't be opened; the next use tries again");
        }
    }

    /// Whether anything was ever remembered.
    pub async fn exists(&self) -> bool {
        self.0.place.exists(&self.0.runtime).await
    }

    /// Closes the file.
    pub async fn close(&self) {
        if let Some(store) = self.0.open.write().await.take() {
            store.close().await;
        }
    }

    /// Copies what is remembered, as it is at one instant, into a new file at `path`; nothing if nothing is.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn snapshot_to(&self, path: PathBuf) -> Result<(), MemoryError> {
        if self.0.place.exists(&self.0.runtime).await {
            self.read(move |read| Ok(store::snapshot(read, &path)?)).await?;
        }
        Ok(())
    }

    async fn store(&self) -> Result<RwLockReadGuard<'_, Store>, MemoryError> {
        loop {
            let open = self.0.open.read().await;
            if let Ok(store) = RwLockReadGuard::try_map(open, Option::as_ref) {
                return Ok(store);
            }
            self.open().await?;
        }
    }

    async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Read) -> Result<R, MemoryError> + Send + 'static,
    ) -> Result<R, MemoryError> {
        // It goes with the job, which goes on where the caller is dropped. Nobody closes the semaphore.
        let turn = self.0.reads.clone().acquire_owned().await.ok();
        let store = self.store().await?;
        let reading = store.clone();
        let job = move || {
            let _turn = turn;
            reading.read(|r| Ok(job(r)))
        };
        self.0.runtime.offload(Job::Disk, job).await?
    }

    /// Notes that a caller has asked something: its session goes on. Behind what is remembered, so that it costs no commit.
    async fn called(&self, caller: &Caller) -> Result<(), MemoryError> {
        // Names of tasks and of the node's parts come and go, and stay out of the table.
        if !caller.is_owner() && crate::gate::callers::name_of(caller.name()).is_none() {
            return Ok(());
        }
        let (name, now) = (caller.name().to_owned(), self.0.runtime.now());
        let asked = name.clone();
        let is_noted = move |r: &Read| {
            let calls = r.get(CALLS, Key::of(&asked))?;
            Ok(calls.is_some_and(|calls| now.since(calls.last) < MEMORY_CALL_SECS))
        };
        if !self.read(is_noted).await? {
            self.store().await?.behind(move |w| go_on(w, &name, now).map(drop)).await?;
        }
        Ok(())
    }

    /// Remembers all of these, or none: each as one claim, signed by the node.
    ///
    /// # Errors
    /// If one of them breaks a rule, the caller may not write there, or the disk fails.
    pub async fn remember(&self, caller: &Caller, mut new: Vec<NewMemory>) -> Result<Vec<Remembered>, MemoryError> {
        let too_many =
            |new: &NewMemory| new.sources.len() > MAX_MEMORY_SOURCES || new.supersedes.len() > MAX_MEMORY_SOURCES;
        if new.iter().any(too_many) {
            return Err(MemoryError::TooManySources);
        }
        let mut named: Vec<_> = new.iter().flat_map(|new| new.supersedes.clone()).collect();
        self.complete(caller, &mut named).await?;
        let mut named = named.into_iter();
        for new in &mut new {
            let count = new.supersedes.len();
            new.supersedes = named.by_ref().take(count).collect();
        }
        let (caller, key, now) = (caller.clone(), self.0.key.clone(), self.0.runtime.now());
        let job = move |w: &mut Write<'_>| {
            let mut writing = Writing::new(&caller, &key, now);
            let done = new.into_iter().map(|new| writing.remember(w, new)).collect::<Result<Vec<_>, _>>()?;
            writing.batch.write(w)?;
            Ok(done)
        };
        self.store().await?.transact(job).await
    }

    /// Remembers something that this node says itself under the name `by`, as of `at`: said again it is the same memory. It may write to
    /// every domain, and says nothing of private ones elsewhere.
    ///
    /// # Errors
    /// If it breaks a rule, what it names isn't there, or the disk fails; [`MemoryError::Forgotten`] if it was forgotten.
    pub async fn note(&self, by: &str, at: Timestamp, new: NewMemory) -> Result<Remembered, MemoryError> {
        if new.sources.len() > MAX_MEMORY_SOURCES || !new.supersedes.is_empty() {
            return Err(MemoryError::TooManySources);
        }
        let (by, key) = (by.to_owned(), self.0.key.clone());
        let job = move |w: &mut Write<'_>| {
            let owner = Caller::owner();
            let mut writing = Writing { by: &by, ..Writing::new(&owner, &key, at) };
            let done = writing.remember(w, new)?;
            writing.batch.write(w)?;
            Ok(done)
        };
        self.store().await?.transact(job).await
    }

    /// Those of these memories that are there, in their order. For this node itself: nobody is asked who may read them.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn these(&self, ids: &[Cid]) -> Result<Vec<Recalled>, MemoryError> {
        let ids = ids.to_vec();
        self.read(move |r| {
            let mut found = Vec::new();
            for id in ids {
                if let Some(number) = number_of(r, &id)? {
                    found.extend(shown(r, number)?);
                }
            }
            Ok(found)
        })
        .await
    }

    /// The memories that answer a question best, the best first, of the domains that the caller may read.
    ///
    /// # Errors
    /// If nothing is asked, a domain isn't there, or the disk fails.
    pub async fn recall(&self, caller: &Caller, question: Question) -> Result<Vec<Recalled>, MemoryError> {
        question.check()?;
        self.called(caller).await?;
        let caller = caller.clone();
        self.read(move |r| {
            let domains = Domain::readable(r, &caller, &question.domains)?;
            let Question { trust, since, until, as_of, .. } = question;
            let subject = question.subject.as_deref().map(subject_mark);
            let holds = as_of.map_or(Holds::Still, Holds::Then);
            let filter = Filter { trust, subject, since, until, holds };
            let hits = ranked(r, &question.text, &domains, &filter, question.most())?;
            let shown = hits.into_iter().map(|hit| Ok(shown(r, hit.number)?.map(|shown| (shown, hit.score))));
            let shown = shown.collect::<Result<Vec<_>, StoreError>>()?;
            Ok(shown.into_iter().flatten().map(|(shown, score)| Recalled { score, ..shown }).collect())
        })
        .await
    }

    /// A memory, by its ID or the last letters of it.
    ///
    /// # Errors
    /// If there is none that the caller may read, or several, or the disk fails.
    pub async fn show(&self, caller: &Caller, id: &str) -> Result<Recalled, MemoryError> {
        let (caller, id) = (caller.clone(), id.to_owned());
        self.read(move |r| {
            let number = resolve(r, &caller, &id)?;
            shown(r, number)?.ok_or(MemoryError::NoMemory(id))
        })
        .await
    }

    /// The signed claim of a memory.
    ///
    /// # Errors
    /// As [`Memory::show`].
    pub async fn claim(&self, caller: &Caller, id: &str) -> Result<Signed<memory::Memory>, MemoryError> {
        let recalled = self.show(caller, id).await?;
        Ok(recalled.body.signed(recalled.at, &self.0.key)?)
    }

    /// The domains that the caller may read.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn domains(&self, caller: &Caller) -> Result<Vec<Domain>, MemoryError> {
        let caller = caller.clone();
        self.read(move |r| Domain::readable(r, &caller, &[])).await
    }

    /// One of them.
    ///
    /// # Errors
    /// If there is none of that name, or the disk fails.
    pub async fn domain(&self, caller: &Caller, name: &str) -> Result<Domain, MemoryError> {
        let (caller, name) = (caller.clone(), name.to_owned());
        let found = self.read(move |r| Domain::readable(r, &caller, &[name])).await?;
        found.into_iter().next().ok_or(MemoryError::NoDomain(String::new()))
    }

    /// Makes a domain, or changes what is said of it.
    ///
    /// # Errors
    /// If the name is none, its language would change, or the disk fails.
    pub async fn set_domain(
        &self,
        caller: &Caller,
        name: &str,
        settings: DomainSettings,
    ) -> Result<Domain, MemoryError> {
        let (caller, name, now) = (caller.clone(), name.to_owned(), self.0.runtime.now());
        let job = move |w: &mut Write<'_>| {
            let mut batch = Batch::default();
            let mut domain = Domain::or_new(w, &mut batch, &name, &caller, settings.language, now)?;
            domain.set(settings)?;
            batch.write(w)?;
            domain.put(w)?;
            Ok(domain)
        };
        self.store().await?.transact(job).await
    }

    /// All that is in domains, the most trusted and newest first: for export. Private ones only `with_private`.
    ///
    /// # Errors
    /// If there is no such domain, there are more than [`MAX_MEMORY_FILES`], one is private and that isn't allowed, or the disk fails.
    pub async fn all(
        &self,
        caller: &Caller,
        domains: &[String],
        with_private: bool,
    ) -> Result<Vec<Recalled>, MemoryError> {
        let (caller, domains) = (caller.clone(), domains.to_vec());
        self.read(move |r| {
            let domains = Domain::readable(r, &caller, &domains)?;
            if domains.iter().map(|domain| domain.memories).sum::<u64>() > MAX_MEMORY_FILES as u64 {
                return Err(MemoryError::TooManyFiles);
            }
            if let Some(private) = domains.iter().find(|domain| domain.private && !with_private) {
                return Err(MemoryError::IsPrivate(private.name.clone()));
            }
            let mut all = Vec::new();
            for domain in domains {
                for number in in_domain(r, domain.number, MAX_MEMORY_FILES)? {
                    all.extend(shown(r, number)?);
                }
            }
            Ok(all)
        })
        .await
    }

    /// Makes whole IDs of the last letters of some: before a transaction, as all IDs are looked through for them.
    ///
    /// # Errors
    /// If there is none that the caller may read and that ends so, or several, or the disk fails.
    pub async fn complete(&self, caller: &Caller, ids: &mut Vec<String>) -> Result<(), MemoryError> {
        if ids.iter().all(|id| id.parse::<Cid>().is_ok()) {
            return Ok(());
        }
        let (caller, named) = (caller.clone(), ids.clone());
        *ids = self.read(move |r| whole(r, &caller, &named)).await?;
        Ok(())
    }
}

/// One transaction's remembering.
struct Writing<'c> {
    caller: &'c Caller,
    /// Who says it: the caller, or a part of this node.
    by: &'c str,
    key: &'c AgentKey,
    now: Timestamp,
    batch: Batch,
}

impl<'c> Writing<'c> {
    fn new(caller: &'c Caller, key: &'c AgentKey, now: Timestamp) -> Self {
        Self { caller, by: caller.name(), key, now, batch: Batch::default() }
    }

    /// Whether the owner itself is heard.
    fn is_the_owners(&self) -> bool {
        self.caller.is_owner() && self.by == self.caller.name()
    }

    fn remember(&mut self, w: &mut Write<'_>, new: NewMemory) -> Result<Remembered, MemoryError> {
        if !self.caller.is_owner() && new.sources.contains(&Source::Owner) {
            return Err(MemoryError::NotTheOwner);
        }
        let mut domain = self.domain(w, &new.domain, new.language)?;
        let trust = self.trust(w, &new, &domain)?;
        let supersedes = self.superseded(w, &domain, trust, &new.supersedes)?;
        let session = self.session(w, new.session)?;
        let mut sources: Vec<_> = new.sources.iter().map(ToString::to_string).collect();
        // What is remembered with the owner's token as less than the owner's word names no source that it isn't.
        if sources.is_empty() && trust == Trust::Owner {
            sources.push(Source::Owner.to_string());
        }
        let body = MemoryBody {
            text: new.text,
            domain: new.domain,
            by: self.by.to_owned(),
            time: new.time.unwrap_or(self.now),
            trust,
            subject: new.subject,
            session,
            sources,
            supersedes,
        };
        self.put(w, &mut domain, self.now, body)
    }

    /// The domain, which the caller may write to.
    fn domain(&mut self, w: &mut Write<'_>, name: &str, language: Option<Language>) -> Result<Domain, MemoryError> {
        // The answer is one, whether it is there or not.
        let may_write = match Domain::of_name(w, name)? {
            Some(domain) => domain.may_write(self.caller),
            None => Domain::may_make(self.caller, name),
        };
        if is_domain(name) && !may_write {
            let (caller, domain) = (self.caller.name().to_owned(), name.to_owned());
            return Err(MemoryError::MayNotWrite { caller, domain });
        }
        let domain = Domain::or_new(w, &mut self.batch, name, self.caller, language, self.now)?;
        match language {
            Some(language) if language != domain.language => Err(MemoryError::Language(domain.name)),
            _ => Ok(domain),
        }
    }

    /// What is made of what is private stays so, but by the owner's word.
    fn may_be_said(&self, r: &impl Reader, source: &Head, domain: &Domain) -> Result<(), MemoryError> {
        let from = Domain::of_number(r, source.domain)?;
        let leaks = |from: &Domain| from.private && !domain.private && !self.is_the_owners();
        match from.filter(leaks) {
            Some(from) => Err(MemoryError::Private { from: from.name, to: domain.name.clone() }),
            None => Ok(()),
        }
    }

    /// The least of what its sources, its caller and its asker give.
    fn trust(&self, r: &impl Reader, new: &NewMemory, domain: &Domain) -> Result<Trust, MemoryError> {
        let mut trust = if self.caller.is_owner() { Trust::Owner } else { Trust::Peer };
        trust = trust.min(new.trust.unwrap_or(Trust::Owner));
        for source in &new.sources {
            let given = match (source, source.trust()) {
                (Source::Memory(id), _) => {
                    let number = resolve(r, self.caller, &id.to_string())?;
                    let head = head_of(r, number)?.ok_or_else(|| MemoryError::NoMemory(id.to_string()))?;
                    self.may_be_said(r, &head, domain)?;
                    head.trust
                }
                (_, given) => given.unwrap_or(Trust::World),
            };
            trust = trust.min(given);
        }
        Ok(trust)
    }

    fn superseded(
        &self,
        r: &impl Reader,
        domain: &Domain,
        new: Trust,
        named: &[String],
    ) -> Result<Vec<Cid>, MemoryError> {
        let one = |id: &String| {
            let number = resolve(r, self.caller, id)?;
            let (Some(head), Some(said)) = (head_of(r, number)?, said_of(r, number)?) else {
                return Err(MemoryError::NoMemory(id.clone()));
            };
            if head.domain != domain.number {
                return Err(MemoryError::OtherDomain);
            }
            if new < head.trust {
                return Err(MemoryError::LowerTrust { new, old: head.trust });
            }
            Ok(said.id)
        };
        named.iter().map(one).collect()
    }

    fn session(&self, w: &mut Write<'_>, session: Session) -> Result<Option<String>, MemoryError> {
        match session {
            Session::None => Ok(None),
            Session::Named(name) => Ok(Some(name)),
            Session::OfCalls => Ok(Some(go_on(w, self.caller.name(), self.now)?)),
        }
    }

    /// Signs it and puts it in, unless it is there.
    fn put(
        &mut self,
        w: &mut Write<'_>,
        domain: &mut Domain,
        at: Timestamp,
        body: MemoryBody,
    ) -> Result<Remembered, MemoryError> {
        let id = body.clone().signed(at, self.key)?.cid();
        let (trust, session) = (body.trust, body.session.clone());
        let done = |is_new| Remembered { id, domain: domain.name.clone(), trust, session: session.clone(), is_new };
        if number_of(w, &id)?.is_some() {
            return Ok(done(false));
        }
        if w.contains(FORGOTTEN, Key::of(id))? {
            return Err(MemoryError::Forgotten(id.to_string()));
        }
        if self.batch.books(w)?.memories >= MAX_MEMORIES {
            return Err(MemoryError::TooMany);
        }
        if !self.is_the_owners() && said_by(w, &body.by)? >= MAX_MEMORIES_OF_ONE {
            return Err(MemoryError::TooManyOfOne);
        }
        let done = done(true);
        self.batch.put(w, domain, &records::Said::of(id, at, body))?;
        Ok(done)
    }
}

/// The session that a caller's calls are in, which this one goes on with or begins.
fn go_on(w: &mut Write<'_>, caller: &str, now: Timestamp) -> Result<String, StoreError> {
    let key = Key::of(caller);
    let calls = w.get(CALLS, &key)?.filter(|calls| now.since(calls.last) <= MEMORY_SESSION_SECS);
    let session = calls.map_or_else(|| format!("{caller}@{}", now.as_secs()), |calls| calls.session);
    w.put(CALLS, &key, &Calls { session: session.clone(), last: now })?;
    Ok(session)
}

/// A memory as it is shown, by its number.
fn shown(r: &impl Reader, number: u32) -> Result<Option<Recalled>, StoreError> {
    let (Some(said), Some(head)) = (said_of(r, number)?, head_of(r, number)?) else { return Ok(None) };
    let domain = Domain::of_number(r, head.domain)?.map(|domain| domain.name).unwrap_or_default();
    let (id, at) = (said.id, said.at);
    Ok(Some(Recalled { id, body: said.body(&domain), at, ended: head.ended, score: 0.0 }))
}

/// The number of the memory with this ID, or the only one whose ID ends so, among those that the caller may read.
fn resolve(r: &impl Reader, caller: &Caller, id: &str) -> Result<u32, MemoryError> {
    let unknown = || MemoryError::NoMemory(id.to_owned());
    let whole = match id.parse::<Cid>() {
        Ok(whole) => whole,
        Err(_) => {
            let whole = whole(r, caller, &[id.to_owned()])?;
            whole.first().and_then(|id| id.parse().ok()).ok_or_else(unknown)?
        }
    };
    let number = number_of(r, &whole)?.ok_or_else(unknown)?;
    if is_readable(r, caller, number)? { Ok(number) } else { Err(unknown()) }
}

/// The IDs that end so, each the only one among those that the caller may read; whole ones as they are. All IDs are looked through once.
fn whole(r: &impl Reader, caller: &Caller, ids: &[String]) -> Result<Vec<String>, MemoryError> {
    let mut ending: BTreeMap<&str, Vec<(u32, String)>> = BTreeMap::new();
    for id in ids.iter().filter(|id| id.parse::<Cid>().is_err()) {
        if id.len() < MIN_ID_TAIL {
            return Err(MemoryError::NoMemory(id.clone()));
        }
        ending.insert(id, Vec::new());
    }
    r.visit(NUMBERS, KeyRange::all(), |key, number| {
        let Some(cid) = records::cid_of_key(key) else { return ControlFlow::Continue(()) };
        let cid = cid.to_string();
        for (_, found) in ending.iter_mut().filter(|(tail, _)| cid.ends_with(**tail)) {
            found.push((number, cid.clone()));
        }
        ControlFlow::Continue(())
    })?;
    let one = |id: &String| {
        let Some(ending) = ending.get(id.as_str()) else { return Ok(id.clone()) };
        let mut found = None;
        for (number, whole) in ending {
            if is_readable(r, caller, *number)? && found.replace(whole).is_some() {
                return Err(MemoryError::Ambiguous(id.clone()));
            }
        }
        found.cloned().ok_or_else(|| MemoryError::NoMemory(id.clone()))
    };
    ids.iter().map(one).collect()
}

fn is_readable(r: &impl Reader, caller: &Caller, number: u32) -> Result<bool, StoreError> {
    let Some(head) = head_of(r, number)? else { return Ok(false) };
    Ok(Domain::of_number(r, head.domain)?.is_some_and(|domain| domain.may_read(caller)))
}

/// Fewest letters of an ID that stand for it.
const MIN_ID_TAIL: usize = 4;

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("place", &self.0.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
