//! Dreaming: what was remembered and what happened since the last dream is gone through, and made fewer and plainer memories of.
//!
//! ```text
//! orient ───── which domains have anything new                                   ┐
//! gather ───── what is new of them; what happened, from the journal by a cursor  │ in a snapshot
//! consolidate  the same said twice, values that changed, dates, contradictions,  │
//!              what sellers did                                                  │
//! prune ────── what is older than its domain keeps                               ┘
//!        ──▶ one transaction: all of it, the cursor, the end of the lease
//! ```
//!
//! A dream that is killed or called off before that transaction has changed nothing; the next one begins at the same cursor, so of what the
//! journal keeps nothing is missed and nothing counted twice.
//!
//! **Lease.** One dream at a time: it holds a lease with a number that grows with each. The transaction at the end is refused to whoever
//! doesn't hold the latest.
//!
//! **No model**: every line that a dream writes was said by somebody, word for word but for dates that become absolute, or counts what
//! happened. Each change names what it is made of, as every memory does, so it goes when its source goes. What is less trusted takes
//! the place of nothing that is more.
//!
//! **Nothing feeds on itself**: what was made of other memories, by a dream or by whoever recalled them, isn't gathered.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use cid::Cid;
use guilder_protocol::{identity::AgentId, memory::Trust, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Domain, Memory, MemoryError, NewMemory, Session, Source, Writing,
    records::{HEADS, Said, head_of, in_domain, last_number, number_of, said_of, take_out},
    wording::{Wording, absolute},
};
use crate::{
    gate::Caller,
    limits::{DREAM_GAP_SECS, DREAM_LEASE_SECS, DREAM_SESSIONS, MAX_DREAM_FACTS},
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
};

/// One row: how far dreams have come.
pub(super) const DREAMS: Table<Dreams> = Table::new("memory/dreams");
const DREAMS_KEY: &[u8] = b"dreams";
/// By peer and service: what it did.
pub(super) const TALLIES: Table<Tally> = Table::new("memory/tallies");

/// Who says what a dream writes.
pub const DREAM: &str = "dream";
/// Where it is kept what sellers did.
pub const SELLERS: &str = "sellers";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dreams {
    /// When the last one ended.
    last: Timestamp,
    /// The number of the last lease.
    lease: u64,
    /// Until when that is held; 0 if it isn't.
    until: Timestamp,
    /// What the journal has told up to here has been gathered.
    heard: u64,
    /// What was remembered up to this number, too.
    gathered: u32,
}

/// What a seller did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    delivered: u64,
    failed: u64,
    /// Times that it took what it hadn't earned, or put out what it hadn't promised.
    cheated: u64,
    /// The last price, in words.
    price: Option<String>,
    last: Timestamp,
    /// The memory that says so.
    memory: Option<Cid>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Its number in the journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who did it; nobody, where it only moves the cursor on.
    pub deed: Option<Deed>,
}

/// What a seller did for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub seller: AgentId,
    /// Which service.
    pub service: String,
    /// What.
    pub kind: DeedKind,
    /// For how much, in words.
    pub price: Option<String>,
}

/// How it did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeedKind {
    /// It delivered.
    Delivered,
    /// It didn't, by its own fault.
    Failed,
    /// It took what it hadn't earned, or put out what it hadn't promised.
    Cheated,
}

/// Why something was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DreamKind)]
pub enum ChangeKind {
    /// It was said several times.
    Merged,
    /// What it says has another value since.
    Superseded,
    /// Its dates hung on when it was said.
    Dated,
    /// Two memories say the contrary; both stay.
    Contradiction,
    /// What a seller did.
    Counted,
    /// It was older than its domain keeps.
    Pruned,
    /// One that a later version knows.
    #[serde(other)]
    Unknown,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Why.
    pub kind: ChangeKind,
    /// Where.
    pub domain: String,
    /// What holds no longer: its ID, its trust and its words.
    pub old: Vec<(Cid, Trust, String)>,
    /// What holds instead.
    pub new: Option<(Trust, String)>,
    subject: Option<String>,
    time: Timestamp,
    sources: Vec<Cid>,
    /// Of whom and what it counts.
    tally: Option<(AgentId, String)>,
}

/// A dream, or what one would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dream {
    /// Of so many memories that were new.
    pub memories: u64,
    /// And so many things that happened.
    pub episodes: u64,
    /// What it changed.
    pub changes: Vec<Change>,
    tallies: BTreeMap<(AgentId, String), Tally>,
    heard: u64,
    gathered: u32,
}

/// A dream's right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(u64);

impl Memory {
    /// Up to where the journal has been gathered.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn heard(&self) -> Result<u64, MemoryError> {
        self.read(|r| Ok(dreams(r)?.heard)).await
    }

    /// Whether it is time: [`DREAM_GAP_SECS`] since the last one and [`DREAM_SESSIONS`] sessions since.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn is_time_to_dream(&self) -> Result<bool, MemoryError> {
        let now = self.0.runtime.now();
        self.read(move |r| {
            let dreams = dreams(r)?;
            if now.since(dreams.last) < DREAM_GAP_SECS {
                return Ok(false);
            }
            let mut sessions = BTreeSet::new();
            for number in new_since(r, dreams.gathered)? {
                let Some(said) = said_of(r, number)?.filter(|said| said.by != DREAM) else { continue };
                sessions.insert((said.by, said.session));
                if sessions.len() >= DREAM_SESSIONS {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Takes the lease.
    ///
    /// # Errors
    /// If somebody dreams, or the disk fails.
    pub async fn lease(&self) -> Result<Lease, MemoryError> {
        let now = self.0.runtime.now();
        let job = move |w: &mut Write<'_>| {
            let dreams = dreams(w)?;
            // One that was killed holds it until then.
            if dreams.until > now && dreams.until.since(now) <= DREAM_LEASE_SECS {
                return Err(MemoryError::Dreaming);
            }
            let lease = dreams.lease + 1;
            w.put(DREAMS, DREAMS_KEY, &Dreams { lease, until: now.saturating_add(DREAM_LEASE_SECS), ..dreams })?;
            Ok(Lease(lease))
        };
        self.store().await?.transact(job).await
    }

    /// Gives it back, if it is held.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn give_back(&self, lease: Lease) -> Result<(), MemoryError> {
        let job = move |w: &mut Write<'_>| {
            let dreams = dreams(w)?;
            if dreams.lease == lease.0 {
                w.put(DREAMS, DREAMS_KEY, &Dreams { until: Timestamp::default(), ..dreams })?;
            }
            Ok::<_, MemoryError>(())
        };
        self.store().await?.transact(job).await
    }

    /// What a dream would do, of what was remembered and of these episodes, which come after [`Memory::heard`]; nothing is changed.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn plan(&self, episodes: Vec<Episode>) -> Result<Dream, MemoryError> {
        let now = self.0.runtime.now();
        self.read(move |r| plan(r, &episodes, now)).await
    }

    /// Does what was planned, in one transaction, and gives the lease back. What was forgotten since isn't touched. Returns the changes that
    /// were made.
    ///
    /// # Errors
    /// If the lease is another's by now, or the disk fails.
    pub async fn dream(&self, lease: Lease, dream: Dream) -> Result<Dream, MemoryError> {
        let (key, now) = (self.0.key.clone(), self.0.runtime.now());
        let job = move |w: &mut Write<'_>| {
            if dreams(w)?.lease != lease.0 {
                return Err(MemoryError::Dreaming);
            }
            let owner = Caller::owner();
            let mut writing = Writing { by: DREAM, ..Writing::new(&owner, &key, now) };
            let mut dream = dream;
            let mut done = Vec::new();
            for change in std::mem::take(&mut dream.changes) {
                if let Some(change) = writing.change(w, &mut dream.tallies, change)? {
                    done.push(change);
                }
            }
            writing.batch.write(w)?;
            // Of what the batch has written, too.
            for change in done.iter().filter(|change| change.kind == ChangeKind::Pruned) {
                for (id, ..) in &change.old {
                    if let Some(number) = number_of(w, id)? {
                        take_out(w, number, now)?;
                    }
                }
            }
            if done.iter().any(|change| change.kind == ChangeKind::Pruned) {
                super::forget::mark_due(w, now)?;
            }
            for ((seller, service), tally) in &dream.tallies {
                w.put(TALLIES, Key::of(seller.peer_id()).and(service), tally)?;
            }
            let (heard, gathered) = (dream.heard, dream.gathered);
            let dreams = dreams(w)?;
            w.put(DREAMS, DREAMS_KEY, &Dreams { last: now, until: Timestamp::default(), heard, gathered, ..dreams })?;
            Ok(Dream { changes: done, ..dream })
        };
        let memory = self.clone();
        self.to_its_end(async move {
            let done = memory.store().await?.transact(job).await?;
            if done.changes.iter().any(|change| change.kind == ChangeKind::Pruned)
                && let Err(error) = memory.finish_forgetting().await
            {
                tracing::warn!(%error, "what a dream took out is still in the memory's file; the next forgetting or start tries again");
            }
            Ok(done)
        })
        .await
    }
}

impl Writing<'_> {
    /// Makes one change, if all that it names is there still.
    fn change(
        &mut self,
        w: &mut Write<'_>,
        tallies: &mut BTreeMap<(AgentId, String), Tally>,
        change: Change,
    ) -> Result<Option<Change>, MemoryError> {
        for id in change.old.iter().map(|(id, ..)| id).chain(&change.sources) {
            let there = match number_of(w, id)? {
                Some(number) => head_of(w, number)?.is_some_and(|head| head.ended.is_none()),
                None => false,
            };
            // What was to be superseded and is gone is no reason to leave a count out, and what is pruned may have ended.
            if !there && !matches!(change.kind, ChangeKind::Counted | ChangeKind::Pruned) {
                return Ok(None);
            }
        }
        let Some((trust, text)) = &change.new else { return Ok(Some(change)) };
        let mut supersedes = Vec::new();
        for (id, ..) in &change.old {
            if number_of(w, id)?.is_some() {
                supersedes.push(id.to_string());
            }
        }
        let new = NewMemory {
            text: text.clone(),
            domain: change.domain.clone(),
            subject: change.subject.clone(),
            time: Some(change.time),
            session: Session::None,
            sources: change.sources.iter().map(|id| Source::Memory(*id)).collect(),
            supersedes,
            trust: Some(*trust),
            ..NewMemory::default()
        };
        let made = match self.remember(w, new) {
            Ok(made) => made,
            // The owner has forgotten the very same before; or there is no room for it: the rest of the dream goes on, and may make some.
            Err(
                MemoryError::Forgotten(_)
                | MemoryError::Statement(_)
                | MemoryError::TooMany
                | MemoryError::TooManyOfOne
                | MemoryError::TooManyDomains,
            ) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(tally) = change.tally.as_ref().and_then(|key| tallies.get_mut(key)) {
            tally.memory = Some(made.id);
        }
        Ok(Some(change))
    }
}

fn dreams(r: &impl Reader) -> Result<Dreams, StoreError> {
    Ok(r.get(DREAMS, DREAMS_KEY)?.unwrap_or_default())
}

/// The numbers of what was remembered after one, the oldest first, at most [`MAX_DREAM_FACTS`].
fn new_since(r: &impl Reader, gathered: u32) -> Result<Vec<u32>, StoreError> {
    let mut numbers = Vec::new();
    let after = KeyRange::between(&Key::of(gathered.saturating_add(1)), &Key::of(u32::MAX));
    r.visit(HEADS, after, |key, _| {
        numbers.extend(last_number(key));
        if numbers.len() < MAX_DREAM_FACTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(numbers)
}

fn plan(r: &impl Reader, episodes: &[Episode], now: Timestamp) -> Result<Dream, MemoryError> {
    let before = dreams(r)?;
    let new = new_since(r, before.gathered)?;
    let mut dream = Dream {
        memories: new.len() as u64,
        episodes: episodes.iter().filter(|episode| episode.deed.is_some()).count() as u64,
        heard: episodes.iter().map(|episode| episode.seq).max().unwrap_or_default().max(before.heard),
        gathered: new.last().copied().unwrap_or(before.gathered),
        ..Dream::default()
    };
    let mut changed = BTreeMap::<u32, BTreeSet<u32>>::new();
    for number in new {
        if let Some(head) = head_of(r, number)?.filter(|head| head.ended.is_none()) {
            changed.entry(head.domain).or_default().insert(number);
        }
    }
    for (domain, new) in changed {
        let Some(domain) = Domain::of_number(r, domain)? else { continue };
        Consolidating::of(r, &domain, &new)?.go(&mut dream.changes);
    }
    count(r, episodes, &mut dream)?;
    for domain in Domain::all(r)? {
        prune(r, &domain, now, &mut dream.changes)?;
    }
    Ok(dream)
}

/// Something that holds.
#[derive(Debug)]
struct Fact {
    said: Said,
    wording: Wording,
    is_new: bool,
}

impl Fact {
    fn told(&self) -> (Cid, Trust, String) {
        (self.said.id, self.said.trust, self.said.text.clone())
    }

    /// The same subject, if both have one.
    fn subject(&self) -> Option<String> {
        self.said.subject.as_ref().map(|subject| subject.to_lowercase())
    }
}

/// A domain's facts, each of which goes into one change at the most.
#[derive(Debug)]
struct Consolidating<'d> {
    domain: &'d Domain,
    /// In the order in which they were said.
    facts: Vec<Fact>,
    used: BTreeSet<usize>,
}

impl<'d> Consolidating<'d> {
    fn of(r: &impl Reader, domain: &'d Domain, new: &BTreeSet<u32>) -> Result<Self, StoreError> {
        let mut numbers = in_domain(r, domain.number, MAX_DREAM_FACTS)?;
        numbers.sort_unstable();
        let mut facts = Vec::new();
        for number in numbers {
            let (Some(head), Some(said)) = (head_of(r, number)?, said_of(r, number)?) else { continue };
            let is_derived = said.sources.iter().any(|source| source.starts_with("memory:"));
            // What dreams have made is looked at beside what is new, and is never new itself.
            if head.ended.is_some() || (is_derived && said.by != DREAM) {
                continue;
            }
            let is_new = new.contains(&number) && said.by != DREAM;
            facts.push(Fact { wording: Wording::of(&said.text), is_new, said });
        }
        Ok(Self { domain, facts, used: BTreeSet::new() })
    }

    fn go(mut self, changes: &mut Vec<Change>) {
        self.make_absolute(changes);
        self.merge(changes);
        self.supersede(changes);
        self.find_contradictions(changes);
    }

    fn free(&self, at: usize) -> bool {
        !self.used.contains(&at)
    }

    /// `old` hold no longer; the words of `of`, or others made of them, do.
    fn change(&mut self, kind: ChangeKind, of: usize, old: &[usize], text: String, time: Timestamp) -> Change {
        self.used.extend(old);
        let fact = &self.facts[of];
        Change {
            kind,
            domain: self.domain.name.clone(),
            old: old.iter().map(|at| self.facts[*at].told()).collect(),
            new: Some((fact.said.trust, text)),
            subject: fact.said.subject.clone(),
            time,
            sources: vec![fact.said.id],
            tally: None,
        }
    }

    fn make_absolute(&mut self, changes: &mut Vec<Change>) {
        if self.domain.language != super::Language::En {
            return;
        }
        for at in 0..self.facts.len() {
            let fact = &self.facts[at];
            let fits = |text: &String| fact.is_new && text.len() <= guilder_protocol::limits::MAX_MEMORY_TEXT;
            let Some(text) = absolute(&fact.said.text, fact.said.time).filter(fits) else { continue };
            let time = fact.said.time;
            changes.push(self.change(ChangeKind::Dated, at, &[at], text, time));
        }
    }

    /// What was said several times is kept once, in the words of the most trusted, and of those the first.
    fn merge(&mut self, changes: &mut Vec<Change>) {
        let mut having = BTreeMap::<u64, Vec<usize>>::new();
        for (at, fact) in self.facts.iter().enumerate().filter(|(at, _)| self.free(*at)) {
            for shingle in fact.wording.shingles() {
                having.entry(*shingle).or_default().push(at);
            }
        }
        for at in 0..self.facts.len() {
            if !self.facts[at].is_new || !self.free(at) {
                continue;
            }
            let near: BTreeSet<usize> = self.facts[at]
                .wording
                .shingles()
                .iter()
                .filter_map(|shingle| having.get(shingle))
                .flatten()
                .copied()
                .collect();
            let fits = |other: &usize| {
                let (one, other_fact) = (&self.facts[at], &self.facts[*other]);
                self.free(*other) && one.subject() == other_fact.subject() && one.wording.is_like(&other_fact.wording)
            };
            let same: Vec<usize> = near.into_iter().filter(fits).take(MAX_MERGED).collect();
            let Some(kept) = same.iter().copied().max_by_key(|at| (self.facts[*at].said.trust, std::cmp::Reverse(*at)))
            else {
                continue;
            };
            if same.len() < 2 {
                continue;
            }
            // When it was said last by who is trusted as much: what others say moves no time of theirs.
            let trust = self.facts[kept].said.trust;
            let said = same.iter().map(|at| &self.facts[*at].said).filter(|said| said.trust == trust);
            let time = said.map(|said| said.time).max().unwrap_or_default();
            let text = self.facts[kept].said.text.clone();
            changes.push(self.change(ChangeKind::Merged, kept, &same, text, time));
        }
    }

    /// What differs in its values alone, of one subject, holds as it was said of the latest time, unless that is less trusted.
    fn supersede(&mut self, changes: &mut Vec<Change>) {
        let mut alike = BTreeMap::<(String, String), Vec<usize>>::new();
        for (at, fact) in self.facts.iter().enumerate().filter(|(at, _)| self.free(*at)) {
            if let (Some(subject), Some(frame)) = (fact.subject(), fact.wording.frame()) {
                alike.entry((subject, frame)).or_default().push(at);
            }
        }
        for group in alike.into_values() {
            if group.len() < 2 || !group.iter().any(|at| self.facts[*at].is_new) {
                continue;
            }
            let Some(newest) = group.iter().copied().max_by_key(|at| (self.facts[*at].said.time, *at)) else {
                continue;
            };
            let (time, trust) = (self.facts[newest].said.time, self.facts[newest].said.trust);
            let older = |at: &usize| {
                let said = &self.facts[*at].said;
                *at == newest || (said.time < time && said.trust <= trust)
            };
            let mut old: Vec<usize> = group.into_iter().filter(older).collect();
            // The latest, and the newest among them: the next dreams take the rest.
            old.sort_by_key(|at| (self.facts[*at].said.time, *at));
            let old = old.split_off(old.len().saturating_sub(MAX_MERGED));
            if old.len() < 2 {
                continue;
            }
            let text = self.facts[newest].said.text.clone();
            changes.push(self.change(ChangeKind::Superseded, newest, &old, text, time));
        }
    }

    /// What says the contrary of one subject stays, and a line beside it says so.
    fn find_contradictions(&mut self, changes: &mut Vec<Change>) {
        let mut alike = BTreeMap::<(String, String), Vec<usize>>::new();
        for (at, fact) in self.facts.iter().enumerate().filter(|(at, _)| self.free(*at)) {
            if let Some(subject) = fact.subject() {
                alike.entry((subject, fact.wording.without_negation())).or_default().push(at);
            }
        }
        for group in alike.into_values() {
            let says =
                |negated: bool| group.iter().copied().rev().find(|at| self.facts[*at].wording.is_negated() == negated);
            let (Some(yes), Some(no)) = (says(false), says(true)) else { continue };
            let (yes_fact, no_fact) = (&self.facts[yes], &self.facts[no]);
            if !yes_fact.is_new && !no_fact.is_new {
                continue;
            }
            let cut = |text: &str| text[..text.floor_char_boundary(MAX_QUOTED)].to_owned();
            let text = format!(
                "It is said both ways: \u{201c}{}\u{201d} and \u{201c}{}\u{201d}",
                cut(&yes_fact.said.text),
                cut(&no_fact.said.text)
            );
            changes.push(Change {
                kind: ChangeKind::Contradiction,
                domain: self.domain.name.clone(),
                old: Vec::new(),
                new: Some((yes_fact.said.trust.min(no_fact.said.trust), text)),
                subject: yes_fact.said.subject.clone(),
                time: yes_fact.said.time.max(no_fact.said.time),
                sources: vec![yes_fact.said.id, no_fact.said.id],
                tally: None,
            });
        }
    }
}

/// What one memory takes the place of: as many as a memory may name.
const MAX_MERGED: usize = guilder_protocol::limits::MAX_MEMORY_SOURCES;
/// Of each of two that are quoted, in bytes: both fit into a memory.
const MAX_QUOTED: usize = 1_500;

/// Counts what happened.
fn count(r: &impl Reader, episodes: &[Episode], dream: &mut Dream) -> Result<(), StoreError> {
    for Episode { at, deed, .. } in episodes {
        let Some(Deed { seller, service, kind, price }) = deed else { continue };
        let key = (*seller, service.clone());
        if !dream.tallies.contains_key(&key) {
            let before = r.get(TALLIES, Key::of(seller.peer_id()).and(service))?;
            dream.tallies.insert(key.clone(), before.unwrap_or_default());
        }
        let Some(tally) = dream.tallies.get_mut(&key) else { continue };
        match kind {
            DeedKind::Delivered => tally.delivered += 1,
            DeedKind::Failed => tally.failed += 1,
            DeedKind::Cheated => tally.cheated += 1,
        }
        tally.last = tally.last.max(*at);
        tally.price = price.clone().or(tally.price.take());
    }
    for ((seller, service), tally) in &dream.tallies {
        let old = match tally.memory.map(|id| number_of(r, &id)).transpose()?.flatten() {
            Some(number) => said_of(r, number)?.map(|said| (said.id, said.trust, said.text)),
            None => None,
        };
        let price = tally.price.as_ref().map(|price| format!(", last for {price}")).unwrap_or_default();
        let day = day_of(tally.last);
        let Tally { delivered, failed, cheated, .. } = tally;
        let text = format!(
            "{service} by {}: delivered {delivered}, failed {failed}, cheated {cheated}{price}, last on {day}",
            seller.peer_id()
        );
        dream.changes.push(Change {
            kind: ChangeKind::Counted,
            domain: SELLERS.to_owned(),
            old: old.into_iter().collect(),
            new: Some((Trust::Node, text)),
            subject: Some(seller.peer_id()),
            time: tally.last,
            sources: Vec::new(),
            tally: Some((*seller, service.clone())),
        });
    }
    Ok(())
}

/// What is older than a domain keeps; the owner's words stay as long as they hold.
fn prune(r: &impl Reader, domain: &Domain, now: Timestamp, changes: &mut Vec<Change>) -> Result<(), StoreError> {
    let Some(days) = domain.keep_days else { return Ok(()) };
    let oldest = now.saturating_sub(u64::from(days) * 24 * 60 * 60);
    let mut old = Vec::new();
    for number in in_domain(r, domain.number, usize::MAX)? {
        let Some(head) = head_of(r, number)? else { continue };
        if head.time >= oldest || (head.trust == Trust::Owner && head.ended.is_none()) {
            continue;
        }
        old.extend(said_of(r, number)?.map(|said| (said.id, said.trust, said.text)));
        if old.len() >= MAX_DREAM_FACTS {
            break;
        }
    }
    if !old.is_empty() {
        let (kind, domain, time) = (ChangeKind::Pruned, domain.name.clone(), now);
        changes.push(Change { kind, domain, old, new: None, subject: None, time, sources: Vec::new(), tally: None });
    }
    Ok(())
}

/// The day of a moment: 2026-11-29.
pub(super) fn day_of(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
