//! Places where a node can be made to die, for crash tests, or to leave something undone. Where none is set, each costs a branch.
//!
//! - **By number**, in a test's own process: [`Failpoint::after`] so many steps of the trade room, a step being a commit
//!   or a frame sent. Once it has tripped, nothing of that room reaches the store or the network any more, as if the
//!   process were gone; the test then shuts the runtime down and opens the store again.
//! - **By name**, for a process: with `GUILDER_FAILPOINT=store-award` in its environment a daemon kills itself (SIGKILL:
//!   nothing is flushed, closed or said) when it first comes to that [`Step`]. Started again without it, it has to go on
//!   from what is on disk. For tests alone; a daemon that is set to die warns of it when it starts.
//! - **By omission**, in the simulator: [`Failpoint::omitting`] lets a node do all but one [`Step`], which it never does. A frame is
//!   dropped; a commit is never made, and its trade goes no further.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use guilder_protocol::wire::Message;
use tokio::sync::Notify;

/// The environment variable that names a step for a daemon to die at.
pub const VARIABLE: &str = "GUILDER_FAILPOINT";

/// A step of a trade or of its money. The node dies *before* it: a `store-…` hasn't been stored, a `send-…` hasn't been
/// sent, though all before it has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Buyer: the ask goes out.
    SendAsked,
    /// Buyer in another's name: what is spent under each delegation becomes durable, before any money is locked.
    StoreDebit,
    /// Buyer: the award and the debit of its lock become durable.
    StoreAward,
    /// Buyer: the award goes out.
    SendAwarded,
    /// Buyer: a delivery whose output goes as content is noted.
    StoreFetching,
    /// Buyer: in escrow, the release becomes durable.
    StoreRelease,
    /// Buyer: in escrow, the release goes out.
    SendRelease,
    /// Buyer: the trade's end becomes durable, and whose the money is.
    StoreBought,
    /// Buyer: what was refunded after the locktime is noted.
    StoreRefunded,
    /// Seller: the offer goes out.
    SendOffered,
    /// Seller: the award becomes durable, with its offer and its proofs reserved.
    StoreAccepted,
    /// Seller: the word that it works goes out.
    SendAccepted,
    /// Seller: the receipt and the output become durable, and the money due.
    StoreSold,
    /// Seller: the delivery goes out.
    SendDelivered,
    /// Seller: in escrow, the release becomes durable, and the money due.
    StoreReleased,
    /// Seller: in escrow, the key goes out.
    SendOpened,
    /// Seller: what the mint gave is noted.
    StoreRedeemed,
    /// Either: a swap (a buyer's lock, a seller's redemption) becomes durable with its blinding factors.
    StoreSwap,
    /// Either: a stored swap is posted to the mint.
    PostSwap,
    /// Either: the mint has acted on a swap; what it made becomes durable.
    SettleSwap,
    /// Any other commit or frame. It has no name.
    Other,
}

impl Step {
    /// The steps that can be named.
    pub const NAMED: [(Self, &'static str); 20] = [
        (Self::SendAsked, "send-asked"),
        (Self::StoreDebit, "store-debit"),
        (Self::StoreAward, "store-award"),
        (Self::SendAwarded, "send-awarded"),
        (Self::StoreFetching, "store-fetching"),
        (Self::StoreRelease, "store-release"),
        (Self::SendRelease, "send-release"),
        (Self::StoreBought, "store-bought"),
        (Self::StoreRefunded, "store-refunded"),
        (Self::SendOffered, "send-offered"),
        (Self::StoreAccepted, "store-accepted"),
        (Self::SendAccepted, "send-accepted"),
        (Self::StoreSold, "store-sold"),
        (Self::SendDelivered, "send-delivered"),
        (Self::StoreReleased, "store-released"),
        (Self::SendOpened, "send-opened"),
        (Self::StoreRedeemed, "store-redeemed"),
        (Self::StoreSwap, "store-swap"),
        (Self::PostSwap, "post-swap"),
        (Self::SettleSwap, "settle-swap"),
    ];

    /// Sending this message.
    pub(crate) fn send(message: &Message) -> Self {
        match message {
            Message::Asked(_) => Self::SendAsked,
            Message::Offered(_) => Self::SendOffered,
            Message::Awarded(_) => Self::SendAwarded,
            Message::Accepted(_) => Self::SendAccepted,
            Message::Delivered(_) => Self::SendDelivered,
            Message::Release(_) => Self::SendRelease,
            Message::Opened(_) => Self::SendOpened,
            _ => Self::Other,
        }
    }
}

/// No step has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no step to die at; there are: {names}", names = StepNames)]
pub struct UnknownStep(String);

struct StepNames;

impl fmt::Display for StepNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Step::NAMED.map(|(_, name)| name).join(", "))
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::NAMED.iter().find(|(_, name)| *name == text);
        found.map(|(step, _)| *step).ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

/// Where this node dies. The default never does.
#[derive(Clone, Debug, Default)]
pub struct Failpoint(Option<Arc<Plan>>);

#[derive(Debug)]
enum Plan {
    Count(Counter),
    Kill(Step),
    Omit(Step),
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

    /// Kills this process at the first arrival at `step`.
    pub fn kill_at(step: Step) -> Self {
        Self(Some(Arc::new(Plan::Kill(step))))
    }

    /// Never does `step`: a party that departs from the rules in this and in nothing else.
    pub fn omitting(step: Step) -> Self {
        Self(Some(Arc::new(Plan::Omit(step))))
    }

    /// What the environment asks for: nothing, as a rule.
    ///
    /// # Errors
    /// If it names no step.
    pub fn from_env() -> Result<Self, UnknownStep> {
        let Some(name) = std::env::var_os(VARIABLE) else { return Ok(Self::default()) };
        let name = name.to_string_lossy();
        let step = name.parse()?;
        tracing::warn!("{VARIABLE} is set: this node kills itself at {name}");
        Ok(Self::kill_at(step))
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

    /// Dies if this is the step named. Steps that only reach this are not counted.
    pub(crate) fn reach(&self, step: Step) {
        if matches!(self.0.as_deref(), Some(Plan::Kill(fatal)) if *fatal == step) {
            // If even that failed, the abort is as sudden.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
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
    use super::*;

    #[test]
    fn one_step_is_left_undone_and_every_other_done() {
        let failpoint = Failpoint::omitting(Step::SendOpened);
        for (step, _) in Step::NAMED {
            assert_eq!(failpoint.passes(step), step != Step::SendOpened);
        }
        assert!(!failpoint.is_tripped());
    }

    #[test]
    fn steps_are_named_once_and_a_wrong_name_is_answered_with_the_right_ones() {
        for (step, name) in Step::NAMED {
            assert_eq!(name.parse::<Step>().unwrap(), step);
        }
        let error = "store-everything".parse::<Step>().unwrap_err().to_string();
        assert!(error.contains("store-everything") && error.contains("store-award, send-awarded"), "{error}");
    }
}
