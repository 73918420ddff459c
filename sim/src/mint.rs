//! Mints of the simulation: the real blind-signature cryptography of the `cashu` crate over books in memory.
//!
//! ```text
//! wallet ─ cdk's client, JSON of the NUTs (real) ─ Line ── connection over the fabric ── counter ─ paths ─ Books
//!                                                                                        act, whole or not at all
//!            Condition: down, deaf, slow, replies lost after it acted, lying
//! ```
//!
//! A wallet reaches it through [`Connectors`](guilder::wallet::connector::Connectors), as it reaches a real mint, so
//! everything on the wallet's side is real: the JSON, the repeats, the checks of what comes back. Each mint stands on a
//! host of the fabric of its own, and the [`line`] there is a connection like any other: as far, as slow and as easily cut.
//! Keys follow from the world's seed. Play money: a quote is paid at once. Every call is in the trace, and every coin in the
//! [`Books`], which count what was issued, redeemed and kept: what the judge compares all wallets with.
//!
//! A mint is a machine, too: calls wait for those before them, each takes CPU by the number of its points.

mod books;
pub(crate) mod line;
mod paths;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use guilder::wallet::connector::frames::{Reply, Request};
use guilder_protocol::market::MintUrl;
use tokio::time::Instant;

pub use self::{
    books::{Books, Totals},
    line::Lines,
};
use crate::{fabric::HostId, interpose::Rng, scenario::ProxyFailure};

/// CPU that one point costs: a signature with its DLEQ proof, or the check of a proof. Measured on a small server.
const POINT_US: u64 = 150;
/// CPU of a call whatever is in it.
const CALL_US: u64 = 200;

/// How a mint behaves just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Condition {
    /// Every call is answered with an error.
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
    /// Signs, and doesn't take what it was given for it.
    ForgetsInputs,
    /// Takes what it is given, calls it a fee, and signs nothing.
    Robs,
}

/// A mint. Cheap to clone.
#[derive(Clone)]
pub struct ModelMint(Arc<Mutex<Inner>>);

struct Inner {
    url: MintUrl,
    host: HostId,
    books: Books,
    condition: Condition,
    rng: Rng,
    /// When its CPU is done with what it has taken.
    free_at: Instant,
    /// What a call takes besides CPU, at least and at most: its database, its own network.
    answer: (Duration, Duration),
    calls: u64,
    points: u64,
    proxy: Option<Proxy>,
}

/// A second way to a mint, which somebody else keeps.
struct Proxy {
    url: MintUrl,
    host: HostId,
    failure: Option<ProxyFailure>,
    calls: u64,
}

impl ModelMint {
    /// A mint at `url`, on `host`, that keeps `fee_ppk` thousandths of a unit of each proof spent; besides its CPU, a
    /// call takes it a time drawn from `answer`. Its keys follow from `seed`. Must be called within the paused runtime.
    pub fn new(seed: u64, url: MintUrl, host: HostId, fee_ppk: u64, answer: (Duration, Duration)) -> Self {
        let name_seed =
            url.as_str().bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        let mut rng = Rng::new(name_seed);
        let mut key_seed = [0; 32];
        key_seed.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.draw().to_le_bytes()));
        let books = Books::new(&key_seed, fee_ppk);
        let condition = Condition::default();
        Self(Arc::new(Mutex::new(Inner {
            url,
            host,
            books,
            condition,
            rng,
            free_at: Instant::now(),
            answer,
            calls: 0,
            points: 0,
            proxy: None,
        })))
    }

    pub(crate) fn set_proxy(&self, url: MintUrl, host: HostId) {
        self.lock().proxy = Some(Proxy { url, host, failure: None, calls: 0 });
    }

    /// Its second URL, if it has one.
    pub fn proxy_url(&self) -> Option<MintUrl> {
        self.lock().proxy.as_ref().map(|proxy| proxy.url.clone())
    }

    /// Where its proxy stands, if it has one.
    pub(crate) fn proxy_host(&self) -> Option<HostId> {
        self.lock().proxy.as_ref().map(|proxy| proxy.host)
    }

    /// How its proxy behaves from now on.
    pub(crate) fn set_proxy_failure(&self, failure: Option<ProxyFailure>) {
        if let Some(proxy) = &mut self.lock().proxy {
            proxy.failure = failure;
        }
    }

    /// What the proxy does to this call: it spares every other one.
    fn proxy_failure(&self) -> Option<ProxyFailure> {
        let mut inner = self.lock();
        let proxy = inner.proxy.as_mut()?;
        proxy.calls += 1;
        proxy.failure.filter(|_| proxy.calls % 2 == 0)
    }

    /// Whether this is one of its URLs.
    pub fn is_at(&self, url: &MintUrl) -> bool {
        let inner = self.lock();
        inner.url == *url || inner.proxy.as_ref().is_some_and(|proxy| proxy.url == *url)
    }

    /// The keyset that it signs with now, as forgers need it.
    pub(crate) fn active_keyset(&self) -> Option<cashu::Id> {
        self.lock().books.infos().into_iter().find(|info| info.active).map(|info| info.id)
    }

    /// Its URL.
    pub fn url(&self) -> MintUrl {
        self.lock().url.clone()
    }

    /// Where it stands.
    pub fn host(&self) -> HostId {
        self.lock().host
    }

    /// How it behaves from now on.
    pub fn set_condition(&self, condition: Condition) {
        self.lock().condition = condition;
    }

    /// How it behaves.
    pub fn condition(&self) -> Condition {
        self.lock().condition
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

    /// How many points it has multiplied.
    pub fn points(&self) -> u64 {
        self.lock().points
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a call that arrives now is done, and what it says. The books change at once, so that no later call comes
    /// between.
    fn act(&self, request: &Request) -> (Instant, Reply) {
        let mut inner = self.lock();
        let Inner { books, condition, rng, free_at, answer: (least, most), calls, points: all_points, .. } =
            &mut *inner;
        *calls += 1;
        let (reply, points) = paths::answer(books, condition.lie, request);
        *all_points += points;
        let work = Duration::from_micros(CALL_US + POINT_US * points);
        *free_at = (*free_at).max(Instant::now()) + work;
        let spread = most.saturating_sub(*least).as_micros() as u64;
        (*free_at + *least + Duration::from_micros(rng.below(spread + 1)) + condition.stall, reply)
    }

    /// Whether the reply to a call that it has just carried out is lost.
    fn loses_reply(&self) -> bool {
        let mut inner = self.lock();
        inner.condition.down || (inner.condition.lost_replies > 0.0 && inner.rng.unit() < inner.condition.lost_replies)
    }
}
