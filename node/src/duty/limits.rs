//! What bounds duties, with the reasons.

use std::time::Duration;

/// Duties of a node. Each is looked at when it is due, and takes some 2 KiB of the store.
pub const MAX_DUTIES: usize = 1_000;
/// Runs that are worked on or have hires under way at once; the others wait in the store, and so do those that wait for a moment. With [`HIRES_AT_ONCE`] it keeps within what a node hires at once.
pub const MAX_LIVE_RUNS: usize = 64;
/// Hires of one run, whatever its file says and whatever comes from outside: what one line of a payload can set off.
pub const MAX_RUN_HIRES: u64 = 200;
/// Hires of one run that are placed at once.
pub const HIRES_AT_ONCE: usize = 16;
/// A duty's file, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024;
/// What sets a duty off: a few schedules and hooks.
pub const MAX_TRIGGERS: usize = 16;
/// Steps of a duty.
pub const MAX_STEPS: usize = 32;
/// Memories that a step recalls where its file says no number: they are to be read, not searched.
pub const RECALLED: usize = 10;
/// Sellers that do the same item: beyond five a majority isn't any surer.
pub const MAX_SELLERS: u64 = 5;
/// Missed moments that are made up for, by `missed = "each"`: a day of an hourly duty.
pub const MAX_MADE_UP: usize = 24;
/// An event that a duty waits for sets it off this many seconds after it happened at the latest, if the node was down: a day.
pub const EVENT_GRACE_SECS: u64 = 24 * 60 * 60;
/// Events that go by duties before it is written that they have: far fewer than the journal keeps.
pub const UNWRITTEN_EVENTS: u64 = 256;
/// Missed moments that are counted one by one; beyond it "at least" is said. A look at a schedule takes microseconds.
pub const MAX_COUNTED: u64 = 2_000;
/// A moment is on time so many seconds after it: cron's own grain, and longer than [`LOOK_PAUSE`].
pub const ON_TIME_SECS: u64 = 60;
/// A clock that is set back by no more than this many seconds is only waited for.
pub const CLOCK_WAVERS_SECS: u64 = 60;
/// The longest that the engine sleeps while there are duties: a wall clock that is set, or a machine that was suspended, wakes nobody.
pub const LOOK_PAUSE: Duration = Duration::from_secs(30);
/// How soon a hire that has just ended is looked at again if its record isn't whole yet.
pub const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// The pause before what the store refused is tried again.
pub const STORE_PAUSE: Duration = Duration::from_secs(2);
/// A caller is never kept waiting longer: what takes longer is a record that it can ask for.
pub const BLOCKING_SECS: u64 = 15;
/// Runs of one duty that failed one after the other before it is paused.
pub const FAILURES_TO_PAUSE: u32 = 3;
/// Runs of one duty that wait for the one before, by `overlap = "queue"`.
pub const MAX_QUEUED_RUNS: usize = 100;
/// Outcomes of due moments that are kept of one duty, the latest.
pub const MAX_OUTCOMES: usize = 1_000;
/// Runs that are kept, the latest; those under way are always.
pub const MAX_RUNS_KEPT: usize = 10_000;
/// One value that a step takes in: a trigger's payload, an output, in bytes of JSON.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// All values that a run has in memory together, in bytes of JSON.
pub const MAX_RUN_VALUES: usize = 8 * 1024 * 1024;
/// The longest wait of a step, in seconds: a month.
pub const MAX_WAIT_SECS: u64 = 31 * 24 * 60 * 60;
/// A hire that a crash cut off before its award is placed again so many seconds after its step began, at the most: the trade room may
/// have forgotten a task after a day, and what it has forgotten may have been bought.
pub const MAX_LOST_SECS: u64 = 24 * 60 * 60;
/// The longest that a step's hires may take, in seconds: a day.
pub const MAX_DEADLINE_SECS: u64 = 24 * 60 * 60;

/// Hooks of a node.
pub const MAX_HOOKS: usize = 256;
/// The body of a webhook, in bytes: what GitHub sends at the most.
pub const MAX_HOOK_BODY: usize = 25 * 1024 * 1024;
/// What bodies of webhooks may take up in memory together, in bytes, while they come in: two of the largest, a thousand usual ones.
pub const MAX_HOOK_BODIES: usize = 64 * 1024 * 1024;
/// The longest that a webhook's body may take to come.
pub const HOOK_PATIENCE: Duration = Duration::from_secs(30);
/// A delivery's ID, and the name of its event, in bytes.
pub const MAX_HOOK_HEADER: usize = 256;
/// How far the timestamp of a Standard Webhook may be from our clock, in seconds (the specification's five minutes).
pub const HOOK_TOLERANCE_SECS: u64 = 5 * 60;
/// Deliveries whose IDs are remembered of one hook, the latest. An older one that has no timestamp could be played again.
pub const MAX_DELIVERIES: usize = 10_000;
/// Deliveries of one hook whose bodies are kept, the latest.
pub const MAX_BODIES: usize = 100;
