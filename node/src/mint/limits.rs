//! Bounds of the hosted mint, each with its reason.

use std::time::Duration;

use crate::wallet::connector::limits::MAX_ITEMS;

/// Proofs in one request.
pub const MAX_INPUTS: usize = MAX_ITEMS;

/// Outputs in one request.
pub const MAX_OUTPUTS: usize = MAX_ITEMS;

/// Denominations of a keyset, powers of two from 1: one coin of two billion is the largest.
pub const AMOUNTS: u32 = 32;

/// Requests at work at once that only read the books, however they came. Those that may change them go one by one.
pub const MAX_READING: usize = 32;

/// Requests at work or waiting for their place, in memory whole. Beyond it the mint says 503.
pub const MAX_WAITING: usize = 256;

/// What one peer may send per second for long, in bytes. A proof with its output is about 1 KiB and costs the mint
/// about 0.35 ms, so this is most of one core.
pub const PEER_RATE: f64 = 2.0 * 1024.0 * 1024.0;

/// What one peer may send at once, in bytes, after it was quiet: a few full swaps.
pub const PEER_BURST: f64 = 8.0 * 1024.0 * 1024.0;

/// The cost of a request apart from its bytes, in bytes: its frame, its transactions.
pub const REQUEST_COST: f64 = 1024.0;

/// Peers whose rate is remembered. The one longest unheard is forgotten.
pub const MAX_PEERS: usize = 4096;

/// What a request for a quote costs its peer beyond its bytes: a row of the books that stays for `quote_ttl_secs` and
/// [`QUOTE_KEPT`]. Two a second for long, so that no single peer can use up [`MAX_UNPAID_QUOTES`] in that time.
pub const QUOTE_COST: usize = 1024 * 1024;

/// Bytes of a request for a quote: an invoice, or a description, and room.
pub const MAX_QUOTE_REQUEST: usize = 4096;

/// Quotes that are unpaid and not deleted yet; beyond it there are no new ones. With their invoices and indexes, some 100 MB at
/// the most.
pub const MAX_UNPAID_QUOTES: usize = 10_000;

/// How long an unpaid quote is kept after it has run out: for wallets whose payment or question was on its way.
pub const QUOTE_KEPT: Duration = Duration::from_secs(10 * 60);

/// How often quotes that have run out are deleted.
pub const QUOTE_SWEEP: Duration = Duration::from_secs(60);

/// Quotes deleted in one transaction, some milliseconds' work: requests wait for it.
pub const QUOTE_SWEEP_BATCH: usize = 1_000;

/// Bytes of large requests that are held at once, read or at work: as many of the largest as a core answers in half a minute.
pub const BODIES: usize = 32 * 1024 * 1024;

/// A request up to this size takes nothing of that: as many as there may be hold as much again.
pub const SMALL_BODY: usize = 32 * 1024;

/// How long a large request may be under way while others wait for its room: a mebibyte over a line of 8 Mbit/s.
pub const BODY_TIME: Duration = Duration::from_secs(1);

/// How often it is noted how much the keys have signed: what is signed in between, an older backup could hide.
pub const USED_PAUSE: Duration = Duration::from_secs(10);

/// A stream on which no first request begins for this long is closed: whoever opens one has a request to make.
pub const FIRST_REQUEST: Duration = Duration::from_secs(5);

/// A stream on which no further request begins for this long is closed.
pub const STREAM_IDLE: Duration = Duration::from_secs(150);

/// A request must be here whole this long after its first byte, and a reply be taken.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a copy of the books waits for a writer: each of its transactions takes milliseconds.
pub const COPY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
