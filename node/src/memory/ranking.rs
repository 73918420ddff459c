//! Which memories answer a question, and in which order.
//!
//! Each word of the question counts for each memory that has it by BM25 (Robertson and Zaragoza 2009; k1 0.9, b 0.4), among the memories
//! of the domains that are asked. What was said before and after in the same session and domain tells what a memory is about: each
//! memory is given 0.3 of its neighbours' scores, and 0.09 of theirs.
//!
//! Not every memory that has a word is looked at, and yet the order is the one that a scan of all would give: a memory whose own score
//! and whose neighbours' are all below the last place's divided by [`REACH`] doesn't reach that place.

use std::{cmp::Ordering, collections::BTreeMap};

use guilder_protocol::{memory::Trust, time::Timestamp};

use super::{
    domains::Domain,
    postings::{self, Posting},
    records::{Head, head_of},
    words::{self, Language},
};
use crate::store::{Reader, StoreError};

const K1: f64 = 0.9;
const B: f64 = 0.4;
/// What a memory is given of the scores of those next to it, and of those beyond.
const NEIGHBOURS: [f64; 2] = [0.3, 0.09];
/// A score is at most so many times the highest of its own and its neighbours'.
const REACH: f64 = 1.0 + 2.0 * (NEIGHBOURS[0] + NEIGHBOURS[1]);
/// Domains up to which a word is looked up in each; beyond it in all at once.
const FEW_DOMAINS: usize = 8;

/// When what is asked for is to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// At some time.
    #[default]
    Ever,
    /// As nothing has taken its place.
    Still,
    /// Then.
    Then(Timestamp),
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// At least so much.
    pub(super) trust: Option<Trust>,
    /// The mark of the subject.
    pub(super) subject: Option<u64>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) holds: Holds,
}

impl Filter {
    pub(super) fn takes(&self, head: &Head) -> bool {
        let holds = match self.holds {
            Holds::Ever => true,
            Holds::Still => head.ended.is_none(),
            Holds::Then(then) => head.time <= then && !head.has_ended(then),
        };
        holds
            && self.trust.is_none_or(|least| head.trust >= least)
            && self.subject.is_none_or(|subject| head.subject == subject)
            && self.since.is_none_or(|since| head.time >= since)
            && self.until.is_none_or(|until| head.time <= until)
    }
}

/// A memory, and how well it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hit {
    pub(super) number: u32,
    pub(super) score: f64,
}

impl Hit {
    /// The better one first; of two alike the newer.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(other.number.cmp(&self.number))
    }
}

/// The best answers, the best first.
pub(super) fn ranked(
    r: &impl Reader,
    question: &str,
    domains: &[Domain],
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Hit>, StoreError> {
    let mut by_language = BTreeMap::<Language, Vec<&Domain>>::new();
    for domain in domains {
        by_language.entry(domain.language).or_default().push(domain);
    }
    let mut found = Vec::new();
    for (language, domains) in by_language {
        let own = own_scores(r, &words::of_question(question, language), &domains)?;
        found.extend(best(r, &own, filter, limit)?);
    }
    found.sort_unstable_by(Hit::order);
    found.truncate(limit);
    Ok(found)
}

/// BM25's scores, by number.
fn own_scores(
    r: &impl Reader,
    words: &BTreeMap<String, u32>,
    domains: &[&Domain],
) -> Result<Vec<(u32, f64)>, StoreError> {
    let memories: u64 = domains.iter().map(|domain| domain.memories).sum();
    let total: u64 = domains.iter().map(|domain| domain.words).sum();
    let mut scores = Vec::new();
    for (word, times) in words {
        let postings = match domains {
            [domain] => postings::of(r, word, domain.number)?,
            few if few.len() <= FEW_DOMAINS => {
                let each = few.iter().map(|domain| postings::of(r, word, domain.number));
                let mut all = each.collect::<Result<Vec<_>, _>>()?.concat();
                all.sort_unstable_by_key(|posting| posting.memory);
                all
            }
            many => {
                let mut numbers: Vec<_> = many.iter().map(|domain| domain.number).collect();
                numbers.sort_unstable();
                postings::of_all(r, word, |domain| numbers.binary_search(&domain).is_ok())?
            }
        };
        let weight = Weight::new(memories, total, postings.len(), *times);
        scores = merged(scores, &postings, &weight);
    }
    Ok(scores)
}

/// What a word counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    idf: f64,
    average: f64,
}

impl Weight {
    /// Of a word that `having` of `memories` have, which have `total` words together, and that the question has `times` times.
    pub(super) fn new(memories: u64, total: u64, having: usize, times: u32) -> Self {
        let (memories, having) = (memories as f64, having as f64);
        let idf = (1.0 + (memories - having + 0.5) / (having + 0.5)).ln() * f64::from(times);
        Self { idf, average: total as f64 / memories.max(1.0) }
    }

    pub(super) fn of(&self, times: u32, length: u32) -> f64 {
        let times = f64::from(times);
        self.idf * times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * f64::from(length) / self.average))
    }
}

/// Adds a word's scores; both are in the order of the numbers.
fn merged(scores: Vec<(u32, f64)>, postings: &[Posting], weight: &Weight) -> Vec<(u32, f64)> {
    let mut all = Vec::with_capacity(scores.len() + postings.len());
    let mut scores = scores.into_iter().peekable();
    for posting in postings {
        while let Some(lower) = scores.next_if(|(number, _)| *number < posting.memory) {
            all.push(lower);
        }
        let before = scores.next_if(|(number, _)| *number == posting.memory).map_or(0.0, |(_, score)| score);
        all.push((posting.memory, before + weight.of(posting.times, posting.length)));
    }
    all.extend(scores);
    all
}

/// Heads that were looked at, and that the filter takes.
struct Heads<'r, R> {
    reader: &'r R,
    filter: &'r Filter,
    known: BTreeMap<u32, Head>,
}

impl<R: Reader> Heads<'_, R> {
    fn get(&mut self, number: u32) -> Result<Option<Head>, StoreError> {
        if number == 0 {
            return Ok(None);
        }
        if let Some(known) = self.known.get(&number) {
            return Ok(Some(*known));
        }
        let head = head_of(self.reader, number)?;
        // A filter may refuse all but a few of a million: those are read again where they are somebody's neighbours.
        if let Some(head) = head.filter(|head| self.filter.takes(head)) {
            self.known.insert(number, head);
        }
        Ok(head)
    }

    /// A memory's score, with what its neighbours give it.
    fn score(&mut self, own: &[(u32, f64)], number: u32, head: &Head) -> Result<f64, StoreError> {
        let of = |number: u32| own.binary_search_by_key(&number, |(number, _)| *number).map_or(0.0, |at| own[at].1);
        let mut score = of(number);
        for (share, (before, after)) in NEIGHBOURS.into_iter().zip(self.neighbours(head)?) {
            score += share * (of(before) + of(after));
        }
        Ok(score)
    }

    /// The two before and the two after, next ones first; 0 where there is none.
    fn neighbours(&mut self, head: &Head) -> Result<[(u32, u32); 2], StoreError> {
        let beyond =
            (self.get(head.before)?.map_or(0, |head| head.before), self.get(head.after)?.map_or(0, |head| head.after));
        Ok([(head.before, head.after), beyond])
    }
}

/// The best of those that the filter takes.
fn best(r: &impl Reader, own: &[(u32, f64)], filter: &Filter, limit: usize) -> Result<Vec<Hit>, StoreError> {
    let mut heads = Heads { reader: r, filter, known: BTreeMap::new() };
    // A hair less, as sums are rounded.
    let least = last_place(&mut heads, own, filter, limit)? / REACH * (1.0 - 1e-9);
    let mut candidates = Vec::new();
    for (number, _) in own.iter().filter(|(_, score)| *score >= least) {
        let Some(head) = heads.get(*number)? else { continue };
        candidates.push(*number);
        candidates.extend(heads.neighbours(&head)?.into_iter().flat_map(|(before, after)| [before, after]));
    }
    candidates.sort_unstable();
    candidates.dedup();
    let mut hits = Vec::new();
    for number in candidates {
        let Some(head) = heads.get(number)?.filter(|head| filter.takes(head)) else { continue };
        hits.push(Hit { number, score: heads.score(own, number, &head)? });
    }
    hits.sort_unstable_by(Hit::order);
    hits.truncate(limit);
    Ok(hits)
}

/// A score that the last of the answer has at the least; 0 if fewer than are wanted have any. It is the last place's among those with the
/// highest scores of their own, of which more are looked at than are wanted: the nearer it is to the truth, the fewer are candidates.
fn last_place<R: Reader>(
    heads: &mut Heads<'_, R>,
    own: &[(u32, f64)],
    filter: &Filter,
    limit: usize,
) -> Result<f64, StoreError> {
    let mut order: Vec<(u32, f64)> = own.to_vec();
    let (mut from, mut step, mut scores) = (0, limit.saturating_mul(4).max(64), Vec::new());
    while from < order.len() && scores.len() < limit {
        let rest = &mut order[from..];
        let size = step.min(rest.len());
        if size < rest.len() {
            rest.select_nth_unstable_by(size, |a, b| b.1.total_cmp(&a.1));
        }
        for (number, _) in &rest[..size] {
            if let Some(head) = heads.get(*number)?.filter(|head| filter.takes(head)) {
                scores.push(heads.score(own, *number, &head)?);
            }
        }
        from += size;
        step = step.saturating_mul(2);
    }
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(limit.checked_sub(1).and_then(|last| scores.get(last)).copied().unwrap_or(0.0))
}

/// For tests: how many of these heads are kept once they were looked at.
#[cfg(test)]
pub(super) fn kept(
    r: &impl Reader,
    filter: &Filter,
    mut numbers: std::ops::RangeInclusive<u32>,
) -> Result<usize, StoreError> {
    let mut heads = Heads { reader: r, filter, known: BTreeMap::new() };
    numbers.try_for_each(|number| heads.get(number).map(drop))?;
    Ok(heads.known.len())
}

#[cfg(test)]
pub(super) mod naive {
    //! The same by a scan of everything.

    use super::*;

    /// A memory, as a scan sees it.
    #[derive(Clone, Debug)]
    pub(in crate::memory) struct Scanned {
        pub(in crate::memory) number: u32,
        pub(in crate::memory) domain: String,
        pub(in crate::memory) session: Option<String>,
        pub(in crate::memory) text: String,
        pub(in crate::memory) head: Head,
    }

    /// The answers to a question among `all`, which are in the order in which they were remembered and of domains of one language.
    pub(in crate::memory) fn ranked(all: &[Scanned], question: &str, filter: &Filter, limit: usize) -> Vec<Hit> {
        let words = words::of_question(question, Language::En);
        let read: Vec<_> = all.iter().map(|memory| words::of_text(&memory.text, Language::En)).collect();
        let total = read.iter().map(|(_, length)| u64::from(*length)).sum();
        let mut own = vec![0.0; all.len()];
        for (word, times) in &words {
            let having = read.iter().filter(|(words, _)| words.contains_key(word)).count();
            let weight = Weight::new(all.len() as u64, total, having, *times);
            for (score, (words, length)) in own.iter_mut().zip(&read) {
                *score += words.get(word).map_or(0.0, |times| weight.of(*times, *length));
            }
        }
        let beside = |at: usize, steps: isize| {
            let mine = &all[at];
            let of_session: Vec<usize> = (0..all.len())
                .filter(|other| all[*other].session == mine.session && all[*other].domain == mine.domain)
                .collect();
            let place = of_session.iter().position(|other| *other == at)?;
            let other = place.checked_add_signed(steps)?;
            of_session.get(other).filter(|_| mine.session.is_some()).map(|other| own[*other])
        };
        let mut hits: Vec<_> = (0..all.len())
            .map(|at| {
                let mut score = own[at];
                for (share, steps) in NEIGHBOURS.into_iter().zip(1..) {
                    score += share * (beside(at, -steps).unwrap_or(0.0) + beside(at, steps).unwrap_or(0.0));
                }
                Hit { number: all[at].number, score }
            })
            .filter(|hit| hit.score > 0.0)
            .filter(|hit| all.iter().any(|memory| memory.number == hit.number && filter.takes(&memory.head)))
            .collect();
        hits.sort_unstable_by(Hit::order);
        hits.truncate(limit);
        hits
    }
}
