//! Places where a node can be made to die, or where what it says, stores or reads off the clock goes wrong: for crash tests. Where none
//! is set, each costs a branch.
//!
//! - **By number**, in a test's own process: [`Failpoint::after`] so many steps of the trade room, a step being a commit
//!   or a frame sent. Once it has tripped, nothing of that room reaches the store or the network any more, as if the
//!   process were gone; the test then shuts the runtime down and opens the store again.
//! - **By name**, for a process: `GUILDER_FAILPOINT=kill:store-award` in its environment names one [`Fault`], which happens once, or several with commas between. The
//!   daemon dies at that [`Step`], finds its disk full there or its clock turned, or a message or a mint's reply is dropped, repeated or
//!   delayed. Started again without it, it has to go on from what is on disk. For tests alone; a daemon that is set to fail warns of
//!   it when it starts, and when it does.
//! - **By omission**, in the simulator: [`Failpoint::omitting`] lets a node do all but one [`Step`], which it never does. A frame is
//!   dropped; a commit is never made, and its trade goes no further.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{runtime::Runtime, wallet::connector::Connectors};

mod replies;
mod step;

pub use step::{Fault, Step, UnknownFault, Verb};

/// The environment variable that names a fault.
pub const VARIABLE: &str = "GUILDER_FAILPOINT";
/// By how much what is late is late: longer than a trade waits for an answer before it asks again.
pub const DELAY: Duration = Duration::from_secs(5);
/// For how long a disk is full: longer than the first few attempts to write again.
pub const FULL_FOR: Duration = Duration::from_secs(4);
/// By how much a clock is turned: far over any tolerated skew, any deadline and any locktime of a test.
pub const TURN_SECS: i64 = 3_600;

/// Where this node dies. The default never does.
#[derive(Clone, Debug, Default)]
pub struct Failpoint(Option<Arc<Plan>>);

#[derive(Debug)]
enum Plan {
    Count(Counter),
    Once(Vec<Once>),
    Omit(Step),
}

/// A fault that happens once.
#[derive(Debug)]
struct Once {
    fault: Fault,
    /// Arrivals until it does.
    left: AtomicU64,
    /// Whether a trade or a grant has begun: what is written before isn't counted.
    armed: AtomicBool,
    /// Since when the disk is full.
    full: OnceLock<Instant>,
    runtime: Runtime,
}

/// How something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it should be.
    Once,
    /// Not at all, or without the answer.
    Never,
    /// It doesn't get there.
    Lost,
    /// Two times.
    Twice,
    /// After [`DELAY`].
    Late,
}

impl Once {
    /// Counts an arrival; true if the fault happens at this one.
    fn strikes(&self, step: Step) -> bool {
        if step.begins() {
            self.armed.store(true, Ordering::SeqCst);
        }
        if step != self.fault.step || (step.is_any_commit() && !self.armed.load(Ordering::SeqCst)) {
            return false;
        }
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let strikes = left == Ok(1);
        if strikes {
            tracing::warn!("{VARIABLE}: {} happens", self.fault);
        }
        strikes
    }

    fn befall(&self) {
        match self.fault.verb {
            Verb::Kill if self.fault.step == Step::AmidSwap => {
                let wait = Duration::from_millis(self.fault.number);
                std::thread::spawn(move || {
                    std::thread::sleep(wait);
                    die();
                });
            }
            Verb::Kill => die(),
            Verb::Full => _ = self.full.set(Instant::now()),
            Verb::Fast => self.runtime.set_off_by(TURN_SECS),
            Verb::Slow => self.runtime.set_off_by(-TURN_SECS),
            Verb::Drop | Verb::Repeat | Verb::Delay | Verb::Lose => {}
        }
    }
}

fn die() -> ! {
    // If even that failed, the abort is as sudden.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}

#[derive(Debug)]
struct Counter {
    left: AtomicU64,
    taken: AtomicU64,
    tripped: Notify,
}

impl Failpoint {
    /// Lets `steps` steps pass and none after.
    pub fn after(steps: u64) -> Self {
        let counter = Counter { left: steps.into(), taken: 0.into(), tripped: Notify::new() };
        Self(Some(Arc::new(Plan::Count(counter))))
    }

    /// Never does `step`: a party that departs from the rules in this and in nothing else.
    pub fn omitting(step: Step) -> Self {
        Self(Some(Arc::new(Plan::Omit(step))))
    }

    /// What the environment asks for: nothing, as a rule. `runtime` has the clock that may be turned.
    ///
    /// # Errors
    /// If it names no fault.
    pub fn from_env(runtime: &Runtime) -> Result<Self, UnknownFault> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(Self::default()) };
        let failpoint = Self::once(&text.to_string_lossy(), runtime)?;
        tracing::warn!("{VARIABLE} is set: {} will happen to this node", text.to_string_lossy());
        Ok(failpoint)
    }

    /// Faults that happen once, with commas between.
    fn once(text: &str, runtime: &Runtime) -> Result<Self, UnknownFault> {
        let fault = |text: &str| {
            let fault: Fault = text.parse()?;
            // A number of milliseconds counts no arrivals.
            let left = if fault.step == Step::AmidSwap { 1 } else { fault.number };
            let (armed, full, runtime) = (false.into(), OnceLock::new(), runtime.clone());
            Ok(Once { fault, left: left.into(), armed, full, runtime })
        };
        Ok(Self(Some(Arc::new(Plan::Once(text.split(',').map(fault).collect::<Result<_, _>>()?)))))
    }

    /// The ways to mints, with this failpoint on them if it may strike there.
    pub(crate) fn on_mints(&self, connectors: Arc<dyn Connectors>) -> Arc<dyn Connectors> {
        if self.faults().is_empty() {
            return connectors;
        }
        Arc::new(replies::Unreliable { inner: connectors, failpoint: self.clone() })
    }

    fn faults(&self) -> &[Once] {
        match self.0.as_deref() {
            Some(Plan::Once(faults)) => faults,
            _ => &[],
        }
    }

    fn counter(&self) -> Option<&Counter> {
        match self.0.as_deref() {
            Some(Plan::Count(counter)) => Some(counter),
            _ => None,
        }
    }

    /// How many steps have passed.
    pub fn taken(&self) -> u64 {
        self.counter().map_or(0, |counter| counter.taken.load(Ordering::SeqCst))
    }

    /// Whether no step passes any more.
    pub fn is_tripped(&self) -> bool {
        self.counter().is_some_and(|counter| counter.left.load(Ordering::SeqCst) == 0)
    }

    /// Waits until a step has been refused.
    pub async fn tripped(&self) {
        match self.counter() {
            Some(counter) => counter.tripped.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Has happen to the process what is to happen at this step. Steps that only reach this are not counted.
    pub(crate) fn reach(&self, step: Step) {
        let faults = self.faults().iter().filter(|once| once.fault.verb.is_of_process());
        faults.filter(|once| once.strikes(step)).for_each(Once::befall);
    }

    /// How what is said at this step goes.
    pub(crate) fn way(&self, step: Step) -> Way {
        let faults = self.faults().iter().filter(|once| !once.fault.verb.is_of_process());
        // Each counts its arrivals.
        let way = faults.filter(|once| once.strikes(step)).map(|once| match once.fault.verb {
            Verb::Drop => Way::Never,
            Verb::Lose => Way::Lost,
            Verb::Repeat => Way::Twice,
            Verb::Delay => Way::Late,
            Verb::Kill | Verb::Full | Verb::Fast | Verb::Slow => Way::Once,
        });
        way.last().unwrap_or(Way::Once)
    }

    /// Whether the disk takes a write.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] while it is full.
    pub(crate) fn write(&self) -> io::Result<()> {
        let mut since = self.faults().iter().filter_map(|once| once.full.get());
        if since.any(|since| since.elapsed() < FULL_FOR) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Counts a step; false if the node is dead.
    pub(crate) fn passes(&self, step: Step) -> bool {
        self.reach(step);
        if matches!(self.0.as_deref(), Some(Plan::Omit(omitted)) if *omitted == step) {
            return false;
        }
        let Some(counter) = self.counter() else { return true };
        let left = counter.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            counter.taken.fetch_add(1, Ordering::SeqCst);
        } else {
            counter.tripped.notify_one();
        }
        left.is_ok()
    }

    /// Counts a step; never returns if the node is dead.
    pub(crate) async fn pass(&self, step: Step) {
        if !self.passes(step) {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::time::Timestamp;

    use super::*;

    #[test]
    fn one_step_is_left_undone_and_every_other_done() {
        let failpoint = Failpoint::omitting(Step::SendOpened);
        for (step, _) in Step::NAMED {
            assert_eq!(failpoint.passes(*step), *step != Step::SendOpened);
        }
        assert!(!failpoint.is_tripped());
    }

    fn once(faults: &str) -> (Failpoint, Runtime) {
        let runtime = Runtime::anchored(Timestamp::from_secs(10_000));
        (Failpoint::once(faults, &runtime).unwrap(), runtime)
    }

    #[tokio::test]
    async fn a_fault_happens_once_at_its_step() {
        let (failpoint, _) = once("drop:send-awarded*2,repeat:send-asked");
        let ways = [Step::SendAwarded, Step::SendAsked, Step::SendAwarded, Step::SendAwarded].map(|s| failpoint.way(s));
        assert_eq!(ways, [Way::Once, Way::Twice, Way::Never, Way::Once]);
    }

    #[tokio::test]
    async fn commits_are_counted_once_a_trade_has_begun() {
        let (failpoint, _) = once("full:commit*2");
        for step in [Step::Commit, Step::Commit, Step::SendAsked, Step::Commit, Step::Committed] {
            failpoint.reach(step);
            failpoint.write().unwrap();
        }
        failpoint.reach(Step::Commit);
        assert_eq!(failpoint.write().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_clock_that_is_turned_stays_so() {
        let (failpoint, runtime) = once("slow:store-sold");
        failpoint.reach(Step::StoreSold);
        failpoint.reach(Step::StoreSold);
        assert_eq!(runtime.now().as_secs(), 10_000 - 3_600);
    }
}
