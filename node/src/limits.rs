//! Every bound of the node, with its reason. Those that a peer must know stand in [`guilder_protocol::limits`].

use std::time::Duration;

// runtime

/// Threads that may wait for the disk at once: the store's writer and a few content files. More would only queue in
/// the device.
pub const DISK_THREADS: usize = 4;
/// A batch of signatures this small costs less than handing it to a thread and back.
pub const INLINE_SIGNATURES: u32 = 1;
/// Hashing this many bytes costs less than handing them to a thread and back.
pub const INLINE_HASH_BYTES: u64 = 8 * 1024;

// store

/// Write jobs that wait for the writer. A caller beyond it waits for a place.
pub const STORE_QUEUE: usize = 1024;
/// Jobs in one transaction: bounds how long the first of them waits for the others to run.
pub const STORE_JOBS_PER_COMMIT: usize = 256;
/// redb's cache in bytes, reads and unwritten pages together (its own default is 1 GiB). The tables that a node works
/// on fit; an idle node must stay under 40 MB in all.
pub const STORE_CACHE_BYTES: usize = 8 * 1024 * 1024;

// wallet

/// Inputs of one swap: mints bound a request, and one of 256 is well within cdk's and Nutshell's.
pub const MAX_SWAP_INPUTS: usize = 256;
/// Swaps that are posted at once; the others wait. A mint answers a batch in some 0.1 s.
pub const SWAPS_AT_ONCE: usize = 8;
/// The longest wait for one answer of a mint. Connectors give up sooner.
pub const MINT_CALL_PATIENCE: Duration = Duration::from_secs(120);
/// The pause before a swap is posted again; it doubles each time up to the last.
pub const SWAP_FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause before a swap is posted again: a mint that is back is found within it.
pub const SWAP_LAST_PAUSE: Duration = Duration::from_secs(60);
/// Keysets kept of one mint, the active ones first. A mint that rotates monthly fills it in ten years.
pub const MAX_KEYSETS_PER_MINT: usize = 128;
/// How often a mint is asked anew because somebody shows a keyset that we don't know: anybody can make one up.
pub const UNKNOWN_KEYSET_PAUSE: Duration = Duration::from_secs(10);
/// The pause before a mint of the config file that was never reached is tried again.
pub const MINT_RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How often an unpaid mint quote is looked at.
pub const MINT_QUOTE_POLL: Duration = Duration::from_millis(500);
/// Purses in memory. Beyond it the longest unused of the empty ones go.
pub const MAX_PURSES: usize = 1024;
/// The least time between two looks at locks that were debited or given back.
pub const PURSE_PAUSE: Duration = Duration::from_millis(500);
/// Trades given back to the purse that are looked at together.
pub const PURSE_RECONCILE: usize = 256;
/// Due locks that are looked at together: several batches.
pub const MAX_DUE_READ: usize = 1024;
/// Times that the mint may refuse a lock before its locktime ends the trying.
pub const MAX_REDEEM_TRIES: u32 = 3;
/// A refused lock is tried again after this many seconds, twice as many after the second time, and so on.
pub const REDEEM_RETRY_SECS: u64 = 30;
/// Old reservations forgotten in one transaction.
pub const RESERVED_SWEEP: usize = 1024;
/// How often fallen-back money is looked for. Nobody waits for it.
pub const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Failed trades' locks that are looked at together.
pub const SWEEP_READ: usize = 256;
/// Outcomes of trades' money that wait for the trade room.
pub const MAX_OUTCOMES: usize = 256;
