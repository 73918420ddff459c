//! Bounds of the way to a mint, each with its reason.

use std::time::Duration;

/// Proofs, or outputs, in one request. 512 of each keep a mint's core busy for a fifth of a second.
pub const MAX_ITEMS: usize = 512;

/// One reply of a mint over HTTP, in bytes. Mints elsewhere allow more per request than ours does.
pub const MAX_WEB_REPLY: usize = 4 * 1024 * 1024;

/// Mints with a connector at the same time. Each may hold [`MAX_STREAMS`] streams.
pub const MAX_MINTS: usize = 64;

/// Calls to one mint under way at once; a stream carries one call at a time.
pub const MAX_STREAMS: usize = 8;

/// An idle stream older than this is not used again: the far end closes it at about twice the time.
pub const STREAM_IDLE: Duration = Duration::from_secs(60);

/// To reach the mint's node and open a stream: a dial across the world and a relay's patience.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// One call, its reply included. A real mint answers a swap within a second; a melt may wait for Lightning.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A melt: the mint holds the reply until Lightning settles or gives up.
pub const MELT_TIMEOUT: Duration = Duration::from_secs(90);

/// Before a call that changes nothing is repeated after its reply got lost.
pub const RETRY_DELAY: Duration = Duration::from_millis(100);
