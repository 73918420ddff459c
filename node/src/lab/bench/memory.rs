//! `guilder bench memory`: how well the memory answers, on a set of questions whose answers are known; and how fast, with many made-up
//! memories, beside SQLite's full-text index.
//!
//! Both go through the node's own memory: its file on disk, its transactions, its ranking, no model.
//!
//! A set is JSON lines, plain or gzipped: `{"id", "text", "session"?}` is a memory, `{"query", "relevant": {id: grade}, "store"?}` a
//! question. Where questions name a store, each store is asked by itself: the memories whose IDs begin with its name and a slash.
//! nDCG@10 has gains of 2^grade - 1 and the ideal order of all that is judged; recall@10 is over all relevant IDs; both are means over
//! the questions that have any.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::read::MultiGzDecoder;
use guilder_protocol::{identity::AgentKey, limits::MAX_MEMORY_TEXT};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{percentile_ms, positive};
use crate::{
    console::{CliError, Exit, Printer, Show, fields},
    gate::Caller,
    lab::folder::Folder,
    limits::MEMORY_BATCH,
    memory::{Memory, NewMemory, Question, Session},
    runtime::{Limits, Runtime},
    store::Place,
};

/// How far down an answer is looked at.
const DEPTH: usize = 10;
/// The most that a set unpacks to, in bytes.
const MAX_SET: u64 = 1 << 30;
/// Questions that are asked of made-up memories.
const ASKED: usize = 500;
/// Different words of made-up memories.
const VOCABULARY: usize = 50_000;
/// Made-up memories of a session.
const OF_A_SESSION: usize = 8;
const DOMAIN: &str = "bench";

/// What the bench is run with.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct MemoryArgs {
    /// Measure how well questions are answered whose answers are known: JSON lines, plain or gzipped.
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
    /// Measure how fast, with so many made-up memories, beside SQLite's FTS5 on this disk.
    #[arg(long, value_name = "N", value_parser = positive)]
    memories: Option<usize>,
}

/// Runs the bench and prints what it measured.
///
/// # Errors
/// If the set can't be read, or the disk fails.
pub async fn memory(args: &MemoryArgs, printer: &Printer) -> Result<Exit, CliError> {
    let mut folder = Folder::make(None)?;
    folder.add("memory");
    let dir = folder.path().join("memory");
    std::fs::create_dir(&dir).map_err(|cause| CliError::file("make", &dir, &cause))?;
    match (&args.set, args.memories) {
        (Some(set), _) => printer.show(&answered(set, &dir).await?)?,
        (None, Some(count)) => printer.show(&timed(count, &dir, printer).await?)?,
        (None, None) => return Err(CliError::usage("there is nothing to measure", "name --set or --memories")),
    }
    Ok(Exit::Done)
}

/// How well a set was answered.
#[derive(Debug, PartialEq, Serialize)]
struct Answered {
    memories: usize,
    questions: usize,
    ndcg_at_10: f64,
    recall_at_10: f64,
    recall_p50_ms: f64,
    recall_p99_ms: f64,
}

/// A line of a set.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SetLine {
    Memory {
        id: String,
        text: String,
        #[serde(default)]
        session: Option<Value>,
    },
    Question {
        query: String,
        relevant: BTreeMap<String, f64>,
        #[serde(default)]
        store: Option<Value>,
    },
}

#[derive(Debug, Default)]
struct Set {
    /// ID, text, session.
    memories: Vec<(String, String, Option<String>)>,
    /// Words, grades of what is relevant, store.
    questions: Vec<(String, BTreeMap<String, f64>, Option<String>)>,
}

impl Set {
    fn read(path: &Path) -> Result<Self, CliError> {
        let fail = |cause| CliError::file("read", path, &cause);
        let mut file = BufReader::new(File::open(path).map_err(fail)?);
        let is_packed = file.fill_buf().map_err(fail)?.starts_with(&[0x1f, 0x8b]);
        let plain: Box<dyn Read> = if is_packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut set = Self::default();
        for (index, line) in BufReader::new(plain.take(MAX_SET)).lines().enumerate() {
            let line = line.map_err(fail)?;
            if line.trim().is_empty() {
                continue;
            }
            let read = serde_json::from_str(&line).map_err(|error| {
                let message = format!("{}, line {}: {error}", path.display(), index + 1);
                CliError::usage(message, "a line has `id` and `text`, or `query` and `relevant`")
            })?;
            match read {
                // There is nothing to remember of it, and nothing that would find it.
                SetLine::Memory { text, .. } if text.trim().is_empty() => {}
                SetLine::Memory { id, mut text, session } => {
                    // What is longer than a memory is remembered as far as one goes.
                    text.truncate(text.floor_char_boundary(MAX_MEMORY_TEXT));
                    set.memories.push((id, text, session.map(plain_text)));
                }
                SetLine::Question { query, relevant, store } => {
                    set.questions.push((query, relevant, store.map(plain_text)));
                }
            }
        }
        set.questions.retain(|(_, relevant, _)| relevant.values().any(|grade| *grade > 0.0));
        Ok(set)
    }

    /// The store that a memory is in, if there are several.
    fn store_of<'m>(&self, id: &'m str) -> Option<&'m str> {
        let there_are = self.questions.iter().any(|(_, _, store)| store.is_some());
        id.split_once('/').map(|(store, _)| store).filter(|_| there_are)
    }
}

/// A name, be it a text or a number.
fn plain_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The domain that a store is.
fn domain_of(store: Option<&str>) -> String {
    store.map_or_else(|| DOMAIN.to_owned(), |store| format!("store.{}", hex::encode(store)))
}

async fn answered(path: &Path, dir: &Path) -> Result<Answered, CliError> {
    let set = Set::read(path)?;
    if set.questions.is_empty() {
        return Err(CliError::usage("the set has no question with an answer", "see `guilder bench memory --help`"));
    }
    let (memory, runtime) = open(dir);
    let (owner, mut names) = (Caller::owner(), BTreeMap::new());
    for batch in set.memories.chunks(MEMORY_BATCH) {
        // The ID stands as the subject, which isn't looked through: two that say the same are two.
        let new = batch.iter().map(|(id, text, session)| NewMemory {
            text: text.clone(),
            domain: domain_of(set.store_of(id)),
            subject: Some(id.clone()),
            session: session.clone().map_or(Session::None, Session::Named),
            ..NewMemory::default()
        });
        let done = memory.remember(&owner, new.collect()).await.map_err(of_memory)?;
        names.extend(done.iter().zip(batch).map(|(done, (id, _, _))| (done.id, id.as_str())));
    }
    let (mut ndcg, mut recall, mut times) = (0.0, 0.0, Vec::with_capacity(set.questions.len()));
    for (query, relevant, store) in &set.questions {
        let question = Question {
            text: query.clone(),
            domains: vec![domain_of(store.as_deref())],
            limit: DEPTH,
            ..Question::default()
        };
        let began = Instant::now();
        let found = memory.recall(&owner, question).await.map_err(of_memory)?;
        times.push(began.elapsed());
        let ids: Vec<_> = found.iter().filter_map(|found| names.get(&found.id).copied()).collect();
        let (of_order, of_relevant) = measures(&ids, relevant);
        ndcg += of_order;
        recall += of_relevant;
    }
    memory.close().await;
    runtime.shutdown().await;
    times.sort_unstable();
    let questions = set.questions.len();
    Ok(Answered {
        memories: set.memories.len(),
        questions,
        ndcg_at_10: ndcg / questions as f64,
        recall_at_10: recall / questions as f64,
        recall_p50_ms: percentile_ms(&times, 50),
        recall_p99_ms: percentile_ms(&times, 99),
    })
}

/// nDCG and recall of an answer.
fn measures(ids: &[&str], relevant: &BTreeMap<String, f64>) -> (f64, f64) {
    let gain = |grade: f64, place: usize| (grade.exp2() - 1.0) / ((place + 2) as f64).log2();
    let grade = |id: &&str| relevant.get(*id).copied().unwrap_or(0.0);
    let gained: f64 = ids.iter().take(DEPTH).enumerate().map(|(place, id)| gain(grade(id), place)).sum();
    let mut grades: Vec<_> = relevant.values().copied().filter(|grade| *grade > 0.0).collect();
    let found = ids.iter().take(DEPTH).filter(|id| grade(id) > 0.0).count();
    let all = grades.len() as f64;
    grades.sort_by(|a, b| b.total_cmp(a));
    let ideal: f64 = grades.into_iter().take(DEPTH).enumerate().map(|(place, grade)| gain(grade, place)).sum();
    (gained / ideal, found as f64 / all)
}

fn open(dir: &Path) -> (Memory, Runtime) {
    let runtime = Runtime::production(Limits::default());
    let key = AgentKey::from_seed(&runtime.random());
    (Memory::new(Place::file(dir.join("memory.redb")), key, runtime.clone()), runtime)
}

fn of_memory(error: crate::memory::MemoryError) -> CliError {
    crate::api::types::ApiError::from(error).into()
}

/// How fast it was.
#[derive(Debug, Serialize)]
struct Timed {
    memories: usize,
    text_bytes: u64,
    /// Of the memory's file.
    disk_bytes: u64,
    /// In batches, each of them durable.
    remembered_per_s: f64,
    recall_p50_ms: f64,
    recall_p99_ms: f64,
    fts5_p50_ms: f64,
    fts5_p99_ms: f64,
    fts5_disk_bytes: u64,
}

async fn timed(count: usize, dir: &Path, printer: &Printer) -> Result<Timed, CliError> {
    let mut words = Words::new();
    let texts: Vec<String> = (0..count).map(|_| words.text(15, 60)).collect();
    let questions: Vec<String> = (0..ASKED).map(|_| words.text(3, 6)).collect();
    printer.note(format_args!("remembering {count} memories …"));
    let (memory, runtime) = open(dir);
    let owner = Caller::owner();
    let began = Instant::now();
    for (index, batch) in texts.chunks(MEMORY_BATCH).enumerate() {
        let new = batch.iter().enumerate().map(|(at, text)| NewMemory {
            text: text.clone(),
            domain: DOMAIN.into(),
            session: Session::Named(format!("s{}", (index * MEMORY_BATCH + at) / OF_A_SESSION)),
            ..NewMemory::default()
        });
        memory.remember(&owner, new.collect()).await.map_err(of_memory)?;
    }
    let remembered_per_s = count as f64 / began.elapsed().as_secs_f64();
    printer.note(format_args!("asking {ASKED} questions …"));
    let mut times = Vec::with_capacity(ASKED);
    for text in &questions {
        let question = Question { text: text.clone(), limit: DEPTH, ..Question::default() };
        let began = Instant::now();
        memory.recall(&owner, question).await.map_err(of_memory)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    memory.close().await;
    runtime.shutdown().await;
    printer.note("the same with SQLite's FTS5 …");
    let floor = dir.join("floor.sqlite");
    let fts5 = fts5(&floor, &texts, &questions).map_err(|error| CliError::defect(&format!("SQLite: {error}")))?;
    let size = |path: &Path| std::fs::metadata(path).map(|about| about.len()).unwrap_or_default();
    Ok(Timed {
        memories: count,
        text_bytes: texts.iter().map(|text| text.len() as u64).sum(),
        disk_bytes: size(&dir.join("memory.redb")),
        remembered_per_s,
        recall_p50_ms: percentile_ms(&times, 50),
        recall_p99_ms: percentile_ms(&times, 99),
        fts5_p50_ms: percentile_ms(&fts5, 50),
        fts5_p99_ms: percentile_ms(&fts5, 99),
        fts5_disk_bytes: size(&floor),
    })
}

/// The times that the same questions take with FTS5: the words joined by OR, the best ten by its bm25.
fn fts5(path: &Path, texts: &[String], questions: &[String]) -> rusqlite::Result<Vec<Duration>> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "CREATE VIRTUAL TABLE memories USING fts5(text, tokenize='porter unicode61', content_rowid='rowid');",
    )?;
    for batch in texts.chunks(MEMORY_BATCH) {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT INTO memories(text) VALUES (?1)")?;
            for text in batch {
                insert.execute([text])?;
            }
        }
        transaction.commit()?;
    }
    let mut ask = connection
        .prepare("SELECT rowid, text FROM memories WHERE memories MATCH ?1 ORDER BY bm25(memories) LIMIT 10")?;
    let mut times = Vec::with_capacity(questions.len());
    for question in questions {
        let words: Vec<_> = question.split(' ').map(|word| format!("\"{word}\"")).collect();
        let began = Instant::now();
        let rows = ask.query_map([words.join(" OR ")], |row| row.get::<_, String>(1))?;
        rows.collect::<Result<Vec<_>, _>>()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Made-up words, as often as their places in a list say (Zipf), the same in each run.
struct Words {
    state: u64,
    /// How much the words up to each place weigh together.
    weights: Vec<f64>,
}

impl Words {
    fn new() -> Self {
        let mut total = 0.0;
        let weights = (1..=VOCABULARY).map(|place| {
            total += 1.0 / place as f64;
            total
        });
        Self { state: 0x9e37_79b9_7f4a_7c15, weights: weights.collect() }
    }

    /// xorshift64*: neither secret nor fair, and enough for this.
    fn draw(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn text(&mut self, least: usize, most: usize) -> String {
        let count = least + (self.draw() as usize) % (most - least + 1);
        let words: Vec<_> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }

    fn word(&mut self) -> String {
        let total = self.weights.last().copied().unwrap_or(1.0);
        let drawn = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        let mut place = self.weights.partition_point(|weight| *weight < drawn) + 7;
        // Syllables, so that words look like words.
        let mut word = String::new();
        while place > 0 {
            word.push(char::from(b"bdfgklmnprstvz"[place % 14]));
            word.push(char::from(b"aeiou"[place / 14 % 5]));
            place /= 70;
        }
        word
    }
}

impl Show for Answered {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        fields(
            out,
            &[
                ("memories", self.memories.to_string()),
                ("questions", self.questions.to_string()),
                ("nDCG@10", format!("{:.4}", self.ndcg_at_10)),
                ("recall@10", format!("{:.4}", self.recall_at_10)),
                ("one answer", format!("{:.2} ms median, {:.2} ms p99", self.recall_p50_ms, self.recall_p99_ms)),
            ],
        )
    }
}

impl Show for Timed {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let times = |bytes: u64| bytes as f64 / self.text_bytes as f64;
        fields(
            out,
            &[
                ("memories", self.memories.to_string()),
                ("remembering", format!("{:.0} a second, in batches of {MEMORY_BATCH}", self.remembered_per_s)),
                ("recall", format!("{:.2} ms median, {:.2} ms p99", self.recall_p50_ms, self.recall_p99_ms)),
                ("SQLite FTS5", format!("{:.2} ms median, {:.2} ms p99", self.fts5_p50_ms, self.fts5_p99_ms)),
                ("disk", format!("{:.1} times the text", times(self.disk_bytes))),
                ("SQLite's", format!("{:.1} times the text", times(self.fts5_disk_bytes))),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;

    /// Of our own writing.
    const SMALL: &str = include_str!("memory/small.jsonl");

    #[tokio::test]
    async fn a_small_set_is_answered_plain_and_packed_alike() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("set.jsonl");
        std::fs::write(&plain, SMALL).unwrap();
        let packed = dir.path().join("set.jsonl.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
        encoder.write_all(SMALL.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let mut both = Vec::new();
        for (path, name) in [(&plain, "a"), (&packed, "b")] {
            let home = dir.path().join(name);
            std::fs::create_dir(&home).unwrap();
            both.push(answered(path, &home).await.unwrap());
        }
        let [a, b] = &both[..] else { panic!() };
        assert_eq!((a.memories, a.questions), (24, 8));
        assert_eq!((a.ndcg_at_10, a.recall_at_10), (b.ndcg_at_10, b.recall_at_10));
        assert!(a.ndcg_at_10 > 0.8 && a.recall_at_10 > 0.9, "{a:?}");
    }

    #[test]
    fn measures_are_those_of_the_books() {
        let relevant: BTreeMap<_, _> = [("a".to_owned(), 2.0), ("b".to_owned(), 1.0), ("c".to_owned(), 0.0)].into();
        assert_eq!(measures(&["a", "b"], &relevant), (1.0, 1.0));
        assert_eq!(measures(&["x", "c"], &relevant), (0.0, 0.0));
        let (ndcg, recall) = measures(&["b", "x", "a"], &relevant);
        let ideal = 3.0 + 1.0 / 3.0_f64.log2();
        assert!((ndcg - (1.0 + 3.0 / 2.0) / ideal).abs() < 1e-12);
        assert_eq!(recall, 1.0);
    }

    #[tokio::test]
    async fn made_up_memories_are_timed_beside_the_floor() {
        let dir = tempfile::tempdir().unwrap();
        let timed = timed(300, dir.path(), &Printer::stdio(true)).await.unwrap();
        assert!(timed.recall_p50_ms > 0.0 && timed.fts5_p50_ms > 0.0 && timed.disk_bytes > timed.text_bytes);
    }
}
