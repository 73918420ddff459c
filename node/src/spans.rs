//! Where a node's time goes, span by span: for `guilder bench trade --breakdown`.
//!
//! Off, which is what every node is that wasn't told otherwise, a span costs one relaxed load: no clock is read. `guilder up` turns them
//! on for its process where the environment names a file for them ([`FILE`]), and writes them there at its clean stop. They are sums
//! over all that the process did: how often, and how long in all. Spans may lie in one another, and may wait: they are times on the
//! wall, not of a core.

use std::{
    env,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use serde::{Deserialize, Serialize};

/// Names the file, in the environment of `guilder up`.
pub(crate) const FILE: &str = "GUILDER_SPANS";

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Span {
    /// Buyer: from the ask until the offers are in.
    Offers,
    /// Buyer: the lock taken from the purse, or made.
    Lock,
    /// Buyer: the award signed.
    SignAward,
    /// Buyer: the award stored, debited and durable.
    StoreAward,
    /// Buyer: from the award's sending to the stored end.
    AwaitEnd,
    /// Buyer: what came from the seller checked, and the answer signed.
    CheckDelivery,
    /// Buyer: a step stored, durable.
    StoreBought,
    /// Buyer: the end read back for whoever hired.
    View,
    /// Seller: an ask answered, its signature and the offer's included.
    Answer,
    /// Seller: an award read, its signatures checked.
    ReadAward,
    /// Seller: the lock checked.
    CheckLock,
    /// Seller: the award taken, durable.
    StoreAccepted,
    /// Seller: a step stored, durable.
    StoreSold,
    /// Store: the jobs of a transaction run.
    Jobs,
    /// Store: a transaction made durable.
    Commit,
    /// Wallet: the outputs of an operation blinded, their numbers taken.
    Blind,
    /// Wallet: an operation written down, durable.
    Persist,
    /// Wallet: the mint's answer waited for.
    Post,
    /// Wallet: the mint's signatures checked and unblinded.
    Unblind,
    /// Wallet: an operation settled, durable.
    Settle,
    /// Mint: a request answered.
    Mint,
}

impl Span {
    const ALL: [Self; 21] = [
        Self::Offers,
        Self::Lock,
        Self::SignAward,
        Self::StoreAward,
        Self::AwaitEnd,
        Self::CheckDelivery,
        Self::StoreBought,
        Self::View,
        Self::Answer,
        Self::ReadAward,
        Self::CheckLock,
        Self::StoreAccepted,
        Self::StoreSold,
        Self::Jobs,
        Self::Commit,
        Self::Blind,
        Self::Persist,
        Self::Post,
        Self::Unblind,
        Self::Settle,
        Self::Mint,
    ];

    /// Begins one; it ends when what is given is dropped.
    pub(crate) fn begin(self) -> Running {
        Running { span: self, began: ON.load(Relaxed).then(Instant::now) }
    }
}

static ON: AtomicBool = AtomicBool::new(false);
/// Count and nanoseconds, by [`Span`].
static SUMS: [(AtomicU64, AtomicU64); Span::ALL.len()] =
    [const { (AtomicU64::new(0), AtomicU64::new(0)) }; Span::ALL.len()];

/// A span that hasn't ended.
#[must_use]
#[derive(Debug)]
pub(crate) struct Running {
    span: Span,
    began: Option<Instant>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(began) = self.began else { return };
        let (count, nanos) = &SUMS[self.span as usize];
        count.fetch_add(1, Relaxed);
        nanos.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// What all spans of a kind came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) span: Span,
    pub(crate) count: u64,
    pub(crate) nanos: u64,
}

/// Spans that were turned on, and the file that they go to.
#[derive(Debug)]
pub(crate) struct Recording(PathBuf);

/// Turns them on if the environment says so.
pub(crate) fn from_environment() -> Option<Recording> {
    let path = env::var_os(FILE)?;
    ON.store(true, Relaxed);
    Some(Recording(path.into()))
}

impl Recording {
    /// Writes them down.
    pub(crate) fn write(self) -> std::io::Result<()> {
        std::fs::write(self.0, serde_json::to_vec(&sums()).map_err(std::io::Error::other)?)
    }
}

/// Those of which there were any.
fn sums() -> Vec<Sum> {
    let sum = |(span, (count, nanos)): (Span, &(AtomicU64, AtomicU64))| {
        let sum = Sum { span, count: count.load(Relaxed), nanos: nanos.load(Relaxed) };
        (sum.count > 0).then_some(sum)
    };
    Span::ALL.into_iter().zip(&SUMS).filter_map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_once_they_are_on_and_each_stands_at_its_place() {
        for (place, span) in Span::ALL.into_iter().enumerate() {
            assert_eq!(span as usize, place, "{span:?}");
        }
        // No other test of this process has spans of these kinds on.
        drop(Span::Offers.begin());
        assert!(sums().is_empty(), "they are off");
        ON.store(true, Relaxed);
        drop(Span::Offers.begin());
        ON.store(false, Relaxed);
        let sums = sums();
        assert!(sums.iter().any(|sum| sum.span == Span::Offers && sum.count >= 1), "{sums:?}");
    }
}
