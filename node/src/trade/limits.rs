//! Every bound of the trade room, with its reason. What an operator may set is in [`super::TradeConfig`].

use std::time::Duration;

use super::buckets::Rate;

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

/// Signatures in what a seller hands over of passed-on work, about: it costs a thread of the pool some milliseconds.
pub(crate) const SUB_EVIDENCE_SIGNATURES: u32 = 256;

/// How long work that may subcontract waits for this node's API, after a restart that it goes on from.
pub(crate) const API_PATIENCE: Duration = Duration::from_secs(60);

/// How long a frame may wait. Whatever it said is repeated by then.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Sellers that one hire asks at once at most.
pub(crate) const MAX_CANDIDATES: usize = 16;

/// Sellers that one hire asks in all, as long as all turn it away: identities that advertise everything and sell nothing cost nothing to
/// make. An ask costs its sender and each receiver a message.
pub(crate) const MAX_ASKED: usize = 128;

/// How long a hire waits for sellers that are known already before it searches for more.
pub(crate) const RECENT_PATIENCE: Duration = Duration::from_secs(2);

/// How long other sellers have to make an offer once there is one, at least: `offer_window_ms` is the most. A seller on another continent
/// answers in this time beside one next door; who kept quiet before isn't waited for at all.
pub(crate) const MIN_OFFER_WINDOW: Duration = Duration::from_millis(250);

/// How long a hire goes on searching although nobody at all is found, and how often: an advert may be on its way.
pub(crate) const SEARCH_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(250));

/// Answers that wait for one hire: each candidate answers once.
pub(crate) const ANSWERS: usize = MAX_ASKED;

/// Peers whose rates are remembered. Beyond it the one heard longest ago is forgotten, whose buckets are full again.
pub(crate) const MAX_METERED_PEERS: usize = 4_096;

/// Refusals that one buyer may cause: twice as many at once as it can hire at once, if it couldn't know better. Each may cost a
/// check of proofs and a durable write.
pub(crate) const REFUSED: Rate = Rate { per_sec: 16, burst: 1_024 };

/// Frames of one peer that may be dropped because too many of them wait: all that it has under way with us, four times in a
/// row, as when we stood still for a while. Whoever goes on beyond that isn't waiting for answers.
pub(crate) const DROPPED: Rate = Rate { per_sec: 256, burst: 4_096 };

/// Schemas that one peer is given: at most 320 KB a second of the largest. A buyer fetches one for each seller that it awards,
/// and keeps it.
pub(crate) const SCHEMA_QUERIES: Rate = Rate { per_sec: 20, burst: 64 };

/// Requests under keys that are decided at once: two that share a gate wait a commit for each other, no more.
pub(crate) const KEY_GATES: usize = 64;

/// First and longest pause before a hire that was under way when the node died, and found no room, is begun again.
pub(crate) const BEGIN_AGAIN_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a hire that has an origin waits, after a seller refused its award, for the mint's word that nothing was taken, before it
/// gives up: a few looks at the purse, each of which may wait for the mint.
pub(crate) const CLEAR_PATIENCE: Duration = Duration::from_secs(10);

/// And how often it looks.
pub(crate) const CLEAR_PAUSE: Duration = Duration::from_millis(100);

/// The longest key or label of a hire, in bytes: room for a UUID and what it is for.
pub const MAX_HIRE_NAME: usize = 128;

/// Services, buyers or days by which earnings are summed up at most; the rest stands together. 2 MB of sums.
pub(crate) const MAX_EARNINGS: usize = 10_000;

/// Tasks or trades that are read at once for a listing.
pub(crate) const MAX_PAGE: usize = 200;

/// Tasks that one listing holds at most: a megabyte of them.
pub const MAX_LISTED: usize = 1_000;

/// Tasks and trades, the newest, among which one is looked for by the last letters of its ID: a tenth of a second of looking.
pub(crate) const MAX_TAIL_ROWS: usize = 200_000;

/// The longest sleep of the timer task, so that a wall clock that was set is noticed.
pub(crate) const MAX_TIMER_SLEEP: Duration = Duration::from_secs(30);

/// First and longest wait before a step that the store refused is tried again.
pub(crate) const STORE_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// First and longest wait before a broken transfer of content is tried again.
pub(crate) const FETCH_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How long a trade that we sold stays at hand after its delivery, for the buyer's word that the output is here: a round trip on
/// a slow line. Later it is read back from its record.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(1);

/// Records that housekeeping drops in one transaction, so that it never holds up a trade for long.
pub(crate) const PRUNE_BATCH: usize = 128;

/// Offers of ours that are known without being verified again: a megabyte of them, and more than are open at once as a rule.
pub(crate) const MAX_OWN_OFFERS: usize = 1_024;

/// Rows of the log that housekeeping remembers to look at again, of trades whose inputs and outputs can't be dropped yet.
pub(crate) const MAX_PASSED_OVER: usize = 10_000;

/// Origins that housekeeping reads at once to find those to forget: some milliseconds beside the store's writer.
pub(crate) const ORIGINS_READ: usize = 2_048;

/// How often housekeeping looks for records past their time.
pub(crate) const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Sellers remembered for not having answered an ask, so that a hire doesn't wait for them again.
/// Beyond it the one asked longest ago is forgotten.
pub(crate) const MAX_QUIET_SELLERS: usize = 1_024;

/// Bytes of progress that a buyer hears of one trade per second: twice what our own sellers send.
pub(crate) const PROGRESS_BYTES_PER_SEC: u64 = 16 * 1024;

/// And at once: frames that a slow connection has held up.
pub(crate) const PROGRESS_BURST_BYTES: u64 = 64 * 1024;

/// And in all: twice what our own executors report of one run.
pub(crate) const MAX_TRADE_PROGRESS: u64 = 512 * 1024;

/// What a frame of progress costs besides its text: an event for whoever listens.
pub(crate) const PROGRESS_FRAME_BYTES: u64 = 256;

/// Notes of one trade's progress that are kept for a listing.
pub(crate) const MAX_PROGRESS_NOTES: usize = 8;

/// The end of one trade's partial words that is kept for a listing, in bytes: a screen's worth.
pub(crate) const MAX_PROGRESS_TAIL: usize = 2 * 1024;

/// Messages of one peer that wait to be taken, in each lane: what an honest one sends in a second.
pub(crate) const MAX_QUEUED_FRAMES_PER_PEER: usize = 64;

/// Frames that are decoded before the next message is taken: more than one, so that the lanes know who is waiting; few, so that a
/// flood of them holds up nobody's trade.
pub(crate) const FRAMES_PER_TURN: usize = 8;

/// Messages of all peers that wait to be taken, in each lane.
pub(crate) const MAX_QUEUED_FRAMES: usize = 1_024;

/// Bytes of one peer's messages that wait, in each lane: several of the largest.
pub(crate) const MAX_QUEUED_BYTES_PER_PEER: usize = 512 * 1024;

/// Bytes of all peers' messages that wait, in each lane.
pub(crate) const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// Asks and queries that are answered in all, per second: at 0.1 to 0.15 ms each, a third of a core.
pub(crate) const ASKS_PER_SEC: f64 = 2_000.0;

/// And at once, after a quiet while.
pub(crate) const ASKS_BURST: f64 = 1_000.0;

/// Messages of trades that are taken before an ask gets its turn.
pub(crate) const ASK_TURN: usize = 16;

/// Peers whose clocks are compared with ours: those heard last. A few liars among them change nothing.
pub(crate) const MAX_CLOCKS: usize = 15;

/// How long a seller that took money for nothing isn't asked, unless a task names it, in seconds: a month. A key is cheap, so
/// that it is the one who lost its books by accident, and comes back under the same key, whom longer would hurt.
pub(crate) const DISTRUST_SECS: u64 = 30 * 24 * 60 * 60;

/// Sellers that are remembered for it at once: each has cost money, so that they are few.
pub(crate) const MAX_DISTRUSTED: usize = 1_024;

/// Awards whose input never came that one buyer may have before awards with inputs to be fetched are refused to it for a day:
/// each may have been a line that broke.
pub(crate) const MAX_NO_INPUT: u64 = 3;

/// Paid trades that make up for one more.
pub(crate) const PAID_PER_NO_INPUT: u64 = 10;

/// How long that is held against a buyer, in seconds.
pub(crate) const NO_INPUT_SECS: u64 = 24 * 60 * 60;

/// Trades in escrow that we sell and that aren't released yet, at work or delivered: each holds a task and at most two inline
/// payloads, for an hour and more if its buyer withholds the release. They take no other trade's place.
pub(crate) const MAX_UNRELEASED: usize = 1_024;

/// Of those, what all buyers together have beyond the places that each of them has earned. Whoever has many keys can fill
/// these, and nobody's earned places.
pub(crate) const MAX_SHARED_UNRELEASED: usize = MAX_UNRELEASED / 2;

/// Of those, one buyer's: what a stranger may have done at once before it has shown that it pays.
pub(crate) const MAX_SHARED_UNRELEASED_PER_BUYER: usize = 32;

/// Paid trades by which a buyer earns one more place: whoever wants to fill them has paid four times as much work.
pub(crate) const PAID_PER_UNRELEASED: u64 = 4;

/// Places that one buyer can earn.
pub(crate) const MAX_EARNED_UNRELEASED: usize = 128;

/// Deliveries in escrow that one buyer may leave unreleased before it gets no more of them for a day: it may have been away.
pub(crate) const MAX_NO_RELEASE: u64 = 3;

/// Paid trades that make up for one more.
pub(crate) const PAID_PER_NO_RELEASE: u64 = 10;

/// How long that is held against a buyer, in seconds.
pub(crate) const NO_RELEASE_SECS: u64 = 24 * 60 * 60;

/// Tasks in escrow of one buyer, at one mint in one unit, that count to what we lay out for it: as many as it can have unreleased, and
/// those of a month that were never paid. One that has more gets no more.
pub(crate) const MAX_OUTLAYS: usize = 1_024;

/// How long a seller that has started again waits for the mint's word on a lock before it signs a receipt; and after how long it
/// asks again, in seconds, where the mint or the buyer says nothing.
pub(crate) const LOCK_CHECK_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const UNSURE_RETRY_SECS: u64 = 5;
/// The same once the deadline has passed, until the locktime.
pub(crate) const UNSURE_LATE_RETRY_SECS: u64 = 60;
/// How long before its deadline a seller that was paid in advance, has started again and hears nothing of its buyer makes up its mind by
/// what the mint says, in seconds: later there is nothing to deliver, sooner an honest buyer would ask by itself.
pub(crate) const UNASKED_SECS: u64 = 15;

/// How long a trade's end waits for the check of its output, whatever other outputs are checked before it: one takes some
/// seconds at worst. After it the output counts as unchecked.
pub(crate) const OUTPUT_CHECK_PATIENCE: Duration = Duration::from_secs(30);
