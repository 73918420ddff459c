//! What bounds webhooks out, with the reasons.

use std::time::Duration;

/// Endpoints of a node. Each is a task that sleeps, and one request at a time.
pub const MAX_ENDPOINTS: usize = 16;
/// An endpoint's URL, in bytes.
pub const MAX_URL: usize = 2_048;
/// The pauses between the attempts to have one webhook taken, in seconds; up to a fifth more by chance, so that those that failed together
/// don't come back together. They take five and a half hours in all: a receiver may be down for a working morning.
pub const PAUSES_SECS: [u64; 7] = [5, 30, 2 * 60, 10 * 60, 30 * 60, 60 * 60, 3 * 60 * 60];
/// The longest that a receiver can put an attempt off (`retry-after`), in seconds.
pub const MAX_RETRY_AFTER_SECS: u64 = 3 * 60 * 60;
/// Webhooks given up one after the other after which an endpoint is paused: it was down for most of a day.
pub const GIVEN_UP_TO_PAUSE: u32 = 3;
/// Webhooks that were given up whose record is kept of one endpoint, the latest.
pub const MAX_GIVEN_UP: usize = 20;
/// The longest sleep of an endpoint that waits for an attempt: a clock that is set wakes nobody.
pub const LOOK_PAUSE: Duration = Duration::from_secs(30);
/// The pause before what the store refused is tried again.
pub const STORE_PAUSE: Duration = Duration::from_secs(2);
/// Events that an endpoint goes by before it is written that it has: far fewer than the journal keeps.
pub const UNWRITTEN: u64 = 256;
/// The beginning of what a receiver answers that is kept, in bytes.
pub const MAX_WHY: usize = 300;
