//! Every bound of the trade room, with its reason. What an operator may set is in [`super::TradeConfig`].

use std::time::Duration;

/// Trades of both sides that are open at once. Each holds a task and at most two inline payloads: at 64 KiB of input
/// that is 128 MiB in the worst case and a few MiB in the usual one.
pub const MAX_OPEN_TRADES: usize = 2_048;

/// Hires that look for, ask or await a seller at once.
pub(crate) const MAX_HIRES: usize = 512;

/// Awards that are being checked at once: each may hold a thread of the pool for some milliseconds.
pub(crate) const MAX_INTAKES: usize = 128;

/// Inputs that wait for one trade's actor. Those from the peer are repeatable and are dropped beyond it.
pub(crate) const MAILBOX: usize = 32;

/// Frames that wait for a connection or for room in its queue; beyond it new ones are dropped, as all can be repeated.
pub(crate) const MAX_WAITING_FRAMES: usize = 1_024;

/// Of those, to one peer: a peer that doesn't read must not use up the room of the others.
pub(crate) const MAX_WAITING_FRAMES_PER_PEER: usize = 32;

/// How long a frame may wait. Whatever it said is repeated by then.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Sellers that one hire asks at most; and as many again, if none of those makes an offer.
pub(crate) const MAX_CANDIDATES: usize = 16;

/// How long a hire waits for sellers that are known already before it searches for more.
pub(crate) const RECENT_PATIENCE: Duration = Duration::from_secs(2);

/// How long other sellers have to make an offer once there is one, at least: `offer_window_ms` is the most.
pub(crate) const MIN_OFFER_WINDOW: Duration = Duration::from_millis(50);

/// Answers that wait for one hire: each candidate answers once.
pub(crate) const ANSWERS: usize = 2 * MAX_CANDIDATES;

/// Peers whose rates are remembered. Beyond it the one heard longest ago is forgotten, whose buckets are full again.
pub(crate) const MAX_METERED_PEERS: usize = 4_096;

/// Tasks or trades that one page of a listing holds at most.
pub(crate) const MAX_PAGE: usize = 200;

/// The longest sleep of the timer task, so that a wall clock that was set is noticed.
pub(crate) const MAX_TIMER_SLEEP: Duration = Duration::from_secs(30);

/// First and longest wait before a step that the store refused is tried again.
pub(crate) const STORE_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// First and longest wait before a broken transfer of content is tried again.
pub(crate) const FETCH_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Records that housekeeping drops in one transaction, so that it never holds up a trade for long.
pub(crate) const PRUNE_BATCH: usize = 128;

/// How often housekeeping looks for records past their time.
pub(crate) const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Sellers remembered for not having answered an ask, so that a hire doesn't wait for them again.
/// Beyond it the one asked longest ago is forgotten.
pub(crate) const MAX_QUIET_SELLERS: usize = 1_024;
