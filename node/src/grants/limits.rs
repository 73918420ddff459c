//! The room's bounds, each with its reason. What a peer must know stands in `guilder_protocol`.

use std::time::Duration;

use guilder_protocol::limits::MAX_KNOWN_REVOCATIONS;

// Revocations that are kept.

/// In all: as many as a peer can be told of.
pub(super) const MAX_REVOCATIONS: usize = MAX_KNOWN_REVOCATIONS;
/// Of those, what strangers made: keys cost nothing, so whoever wants can make as many as there is room for. The rest is for
/// what we take back, who we dealt with and what we hold.
pub(super) const MAX_STRANGERS: usize = MAX_REVOCATIONS / 2;
/// Bytes of all of them. Most have one delegation on their path and about 1 KiB.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of strangers'.
pub(super) const MAX_STRANGERS_BYTES: usize = MAX_BYTES / 2;
/// Of one revoker that is no stranger, other than ourselves: who takes back more gives shorter grants.
pub(super) const MAX_PER_REVOKER: usize = 256;
/// Of one stranger.
pub(super) const MAX_PER_STRANGER: usize = 64;
/// KiB of news that are taken in and written down in a second, sustained, from strangers and from others apart. As much as the
/// disk of a small machine doesn't notice.
pub(super) const NEWS_KIB_PER_SEC: u32 = 32;
/// The same at once after a pause: all that a peer knows, at the first meeting.
pub(super) const NEWS_KIB_BURST: u32 = 8 * 1024;
/// How often what is over is forgotten.
pub(super) const EXPIRE_EVERY: Duration = Duration::from_secs(10 * 60);

/// How long what came in is at hand for peers that ask for it, until it is surely written: ten times what the store takes
/// its time for. In this time no more comes in than [`NEWS_KIB_BURST`] and what the rate allows, twice.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);

// Exchanges with peers.

/// Peers that are asked at once after the start, or after a pause in which nobody new was met: what was missed while we were
/// away is known to any of them that was not, and the first may lie.
pub(super) const ASKED_AT_ONCE: u32 = 4;
/// One more is asked in this time, of those that connected meanwhile.
pub(super) const ASK_PAUSE: Duration = Duration::from_secs(30);
/// Peers that connected and wait to be asked; the newest stay. Every other turn is of one that is connected already, so that
/// newcomers can't keep everybody else from being asked.
pub(super) const ASK_QUEUE: usize = 16;
/// A peer is asked again after this long at the earliest.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Peers of whom it is remembered when they were asked.
pub(super) const ASKED_PEERS: usize = 1_024;
/// IDs that are asked for in one request: some two hundred revocations of one delegation fit the answer.
pub(super) const GIVE_AT_ONCE: usize = 128;
/// Revocations that one exchange takes in; the next exchange brings more.
pub(super) const GIVEN_PER_EXCHANGE: usize = 1_024;
/// One step of an exchange: a frame there, an answer back.
pub(super) const STEP_PATIENCE: Duration = Duration::from_secs(10);
/// A whole exchange, and how long a stream may be idle.
pub(super) const EXCHANGE_PATIENCE: Duration = Duration::from_secs(60);
/// The same of one that we ask and haven't dealt with: it takes the place of another meanwhile.
pub(super) const STRANGERS_PATIENCE: Duration = Duration::from_secs(10);
/// KiB that one peer is served in a second, sustained. Each request costs one at least.
pub(super) const SERVED_KIB_PER_SEC: u32 = 4;
/// The same at once after a pause: all that we know.
pub(super) const SERVED_KIB_BURST: u32 = 6 * 1024;
/// KiB that all peers together are served in a second, sustained: a line of 10 Mbit/s is a quarter busy.
pub(super) const ALL_SERVED_KIB_PER_SEC: u32 = 256;
/// The same at once after a pause.
pub(super) const ALL_SERVED_KIB_BURST: u32 = 32 * 1024;
/// Peers whose service is metered; the one that used least is forgotten first.
pub(super) const SERVED_PEERS: usize = 1_024;

// Grants.

/// Grants that we made and that have not ended.
pub(super) const MAX_GIVEN: usize = 4_096;
/// How long an ended grant still stands in a listing, in seconds: a month. Not what was only handed over.
pub(super) const KEEP_ENDED_SECS: u64 = 30 * 24 * 60 * 60;
/// How soon after the start, and how often at last, revocations that nobody has heard are gossiped and the grantees of what isn't
/// handed over are looked for: each look is a search and a dial, one at a time, of at most [`STEP_PATIENCE`].
pub(super) const SEND_OUT_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10 * 60));
/// Grants that we hold and that have not ended, whoever brought them.
pub(super) const MAX_HELD: usize = 1_024;
/// Of those, what came over the wire and was neither imported nor used: a stranger can hand over any number of worthless
/// ones. They count, ended or not, until they are deleted.
pub(super) const MAX_HANDED_OVER: usize = 256;
/// Of those, from one grantor.
pub(super) const MAX_HANDED_OVER_BY_ONE: usize = 16;
/// What is handed over lasts for this many seconds at least: for what ends sooner nobody gets a place, so that no more than
/// [`MAX_HANDED_OVER`] are written down in this time.
pub(super) const MIN_HANDED_OVER_SECS: u64 = 5 * 60;
