//! Mints of the simulation: the real blind-signature cryptography of the `cashu` crate over books in memory.
//!
//! ```text
//! wallet ─ cdk's client, JSON of the NUTs (real) ─ Line ── latency ─▶ paths ─▶ Books   act, whole or not at all
//!                                                    ◀── latency ──────┘
//!            Mood: down, slow, replies lost after it acted, lying
//! ```
//!
//! A wallet reaches it through [`Connectors`], as it reaches a real mint, so everything on the wallet's side is real: the
//! JSON, the repeats, the checks of what comes back. Keys follow from the world's seed. Play money: a quote is paid at
//! once. Every call is in the trace, and every coin in the [`Books`], which count what was issued, redeemed and kept: what
//! the judge compares all wallets with.
//!
//! A mint is a machine, too: calls wait for those before them, each takes CPU by the number of its points.

mod books;
mod paths;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use guilder::wallet::connector::{
    ConnectorError, Connectors, DynConnector, Exchange, ExchangeError,
    frames::{Reply, Request},
    over,
};
use guilder_protocol::market::MintUrl;
use tokio::time::{Instant, sleep};

pub use self::books::{Books, Totals};
use crate::{fabric::HostId, interpose::Rng, trace::Trace};

/// CPU that one point costs: a signature with its DLEQ proof, or the check of a proof. Measured on a small server.
const POINT_US: u64 = 150;
/// CPU of a call whatever is in it.
const CALL_US: u64 = 200;

/// How a mint behaves just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mood {
    /// Every call is refused.
    pub down: bool,
    /// Calls are never answered, and never taken.
    pub deaf: bool,
    /// Each call takes so much longer.
    pub stall: Duration,
    /// How likely a reply is lost after the mint has acted, 0 to 1.
    pub lost_replies: f64,
    /// What it lies about.
    pub lie: Option<Lie>,
}

/// What a mint lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Swaps, and then says that the proofs were spent before and that it has signed nothing.
    Denies,
    /// Signs with another key than it has announced.
    WrongKey,
    /// Signs whatever is asked for, paid for or not.
    Prints,
}

/// A mint. Cheap to clone.
#[derive(Clone)]
pub struct ModelMint(Arc<Mutex<Inner>>);

struct Inner {
    url: MintUrl,
    books: Books,
    mood: Mood,
    rng: Rng,
    /// When its CPU is done with what it has taken.
    free_at: Instant,
    /// The shortest and the longest round trip to it.
    round_trip: (Duration, Duration),
    calls: u64,
}

impl ModelMint {
    /// A mint at `url` that keeps `fee_ppk` thousandths of a unit of each proof spent; a call's way there and back
    /// takes a time drawn from `round_trip`. Its keys follow from `seed`. Must be called within the paused runtime.
    pub fn new(seed: u64, url: MintUrl, fee_ppk: u64, round_trip: (Duration, Duration)) -> Self {
        let name_seed =
            url.as_str().bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        let mut rng = Rng::new(name_seed);
        let mut key_seed = [0; 32];
        key_seed.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.draw().to_le_bytes()));
        let books = Books::new(&key_seed, fee_ppk);
        let mood = Mood::default();
        Self(Arc::new(Mutex::new(Inner { url, books, mood, rng, free_at: Instant::now(), round_trip, calls: 0 })))
    }

    /// Its URL.
    pub fn url(&self) -> MintUrl {
        self.lock().url.clone()
    }

    /// How it behaves from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// How it behaves.
    pub fn mood(&self) -> Mood {
        self.lock().mood
    }

    /// Retires its keys: it still takes coins of them and signs with new ones.
    pub fn rotate(&self) {
        self.lock().books.rotate();
    }

    /// What its books say.
    pub fn totals(&self) -> Totals {
        self.lock().books.totals()
    }

    /// Looks into its books.
    pub fn look<R>(&self, look: impl FnOnce(&Books) -> R) -> R {
        look(&self.lock().books)
    }

    /// How many calls it has taken.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a call is on its way there, and as long again back.
    fn one_way(&self) -> Duration {
        let mut inner = self.lock();
        let (least, most) = inner.round_trip;
        let spread = most.saturating_sub(least).as_micros() as u64;
        (least + Duration::from_micros(inner.rng.below(spread + 1))) / 2
    }

    /// When a call that arrives now is done, and what it says. The books change at once, so that no later call comes
    /// between.
    fn act(&self, request: &Request) -> (Instant, Reply) {
        let mut inner = self.lock();
        let Inner { books, mood, free_at, calls, .. } = &mut *inner;
        *calls += 1;
        let (reply, points) = paths::answer(books, mood.lie, request);
        let work = Duration::from_micros(CALL_US + POINT_US * points);
        *free_at = (*free_at).max(Instant::now()) + work;
        (*free_at + mood.stall, reply)
    }
}

/// The way of one host's wallet to every mint of the world.
pub struct Lines {
    host: HostId,
    mints: BTreeMap<MintUrl, ModelMint>,
    known: Mutex<BTreeMap<MintUrl, DynConnector>>,
    trace: Trace,
}

impl Lines {
    /// For the wallet on `host`.
    pub fn new(host: HostId, mints: &BTreeMap<MintUrl, ModelMint>, trace: &Trace) -> Self {
        Self { host, mints: mints.clone(), known: Mutex::default(), trace: trace.clone() }
    }
}

impl Connectors for Lines {
    fn for_url(&self, url: &MintUrl) -> Result<DynConnector, ConnectorError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = known.get(url) {
            return Ok(Arc::clone(connector));
        }
        let mint = self.mints.get(url).ok_or_else(|| ConnectorError::Url(url.clone()))?.clone();
        let connector = over(url, Arc::new(Line { host: self.host, mint, trace: self.trace.clone() }))?;
        known.insert(url.clone(), Arc::clone(&connector));
        Ok(connector)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The line from a host to a mint.
struct Line {
    host: HostId,
    mint: ModelMint,
    trace: Trace,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("host", &self.host).finish_non_exhaustive()
    }
}

#[async_trait]
impl Exchange for Line {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let one_way = self.mint.one_way();
        sleep(one_way).await;
        if self.mint.mood().deaf {
            self.trace.record(self.host, &format_args!("mint deaf {request:?}"));
            return std::future::pending().await;
        }
        if self.mint.mood().down {
            self.trace.record(self.host, &format_args!("mint down {request:?}"));
            return Err(ExchangeError::Unreachable("connection refused".into()));
        }
        let (done, reply) = self.mint.act(&request);
        self.trace.record(self.host, &format_args!("mint {request:?} {reply:?}"));
        tokio::time::sleep_until(done + one_way).await;
        let mood = self.mint.mood();
        if mood.down || (mood.lost_replies > 0.0 && self.mint.lock().rng.unit() < mood.lost_replies) {
            self.trace.record(self.host, &format_args!("mint reply lost {request:?}"));
            return Err(ExchangeError::Lost("connection reset".into()));
        }
        Ok(reply)
    }
}
