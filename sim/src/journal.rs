//! What the nodes say of themselves, as it happens: into the trace, into the times of each task's steps, and into the memory
//! of each task's last events, which a violation prints.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cid::Cid;
use guilder::events::{Event, Heard, Side, Stamped, Subscription};
use tokio::time::Instant;

use crate::{bare::Tally, fabric::HostId, trace::Trace};

/// Events kept of each task: both sides' steps of an ordinary trade with a few candidates fit.
const KEPT: usize = 48;

/// All nodes' events. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Inner>>);

struct Inner {
    start: Instant,
    tasks: BTreeMap<Cid, Story>,
    counts: BTreeMap<&'static str, u64>,
    missed: u64,
    tally: Tally,
}

/// What happened to one task, on both sides.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// When each step was first reached by its buyer, in microseconds of the run.
    pub steps: BTreeMap<Step, u64>,
    last: VecDeque<(u64, HostId, Arc<Stamped>)>,
}

/// The steps of a task, as its buyer sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It looks for sellers.
    Searching,
    /// The first was found.
    Found,
    /// The first offer came.
    Offered,
    /// The award is signed.
    Awarded,
    /// The seller took it.
    Accepted,
    /// The output is there.
    Delivered,
    /// It is over.
    Ended,
}

impl Journal {
    pub(crate) fn new(tally: Tally) -> Self {
        let (tasks, counts) = Default::default();
        Self(Arc::new(Mutex::new(Inner { start: Instant::now(), tasks, counts, missed: 0, tally })))
    }

    /// Writes down what one node says until it is gone.
    pub(crate) async fn keep(self, host: HostId, trace: Trace, mut events: Subscription) {
        while let Some(heard) = events.next().await {
            match heard {
                Heard::Event(event) => {
                    trace.record(host, &event.event);
                    self.note(host, event);
                }
                Heard::Missed(missed) => self.lock().missed += missed,
            }
        }
    }

    fn note(&self, host: HostId, event: Arc<Stamped>) {
        let mut inner = self.lock();
        inner.tally.event(&event.event);
        let at = inner.start.elapsed().as_micros() as u64;
        if let Some(name) = counted(&event.event) {
            *inner.counts.entry(name).or_default() += 1;
        }
        let Some(task) = event.event.task() else { return };
        let story = inner.tasks.entry(*task).or_default();
        if let Some(step) = step(&event.event) {
            story.steps.entry(step).or_insert(at);
        }
        if story.last.len() == KEPT {
            story.last.pop_front();
        }
        story.last.push_back((at, host, event));
    }

    /// When a task's steps were reached.
    pub fn steps(&self, task: &Cid) -> BTreeMap<Step, u64> {
        self.lock().tasks.get(task).map(|story| story.steps.clone()).unwrap_or_default()
    }

    /// The last events of a task, on every node, a line each.
    pub fn last_events(&self, task: &Cid) -> Vec<String> {
        let inner = self.lock();
        let Some(story) = inner.tasks.get(task) else { return Vec::new() };
        let line = |(at, host, event): &(u64, HostId, Arc<Stamped>)| {
            format!("{:>12.6} s  host {:<5} {}", *at as f64 / 1e6, host.0, event.event.say())
        };
        story.last.iter().map(line).collect()
    }

    /// Forgets the events of a task that ended well; its steps stay.
    pub fn forget(&self, task: &Cid) {
        if let Some(story) = self.lock().tasks.get_mut(task) {
            story.last = VecDeque::new();
        }
    }

    /// How often things happened that are worth counting.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let inner = self.lock();
        let mut counts = inner.counts.clone();
        if inner.missed > 0 {
            counts.insert("missed", inner.missed);
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn step(event: &Event) -> Option<Step> {
    Some(match event {
        Event::Searching { .. } => Step::Searching,
        Event::SellerFound { .. } => Step::Found,
        Event::Offered { side: Side::Buyer, .. } => Step::Offered,
        Event::Awarded { side: Side::Buyer, .. } => Step::Awarded,
        Event::Accepted { side: Side::Buyer, .. } => Step::Accepted,
        Event::Delivered { side: Side::Buyer, .. } => Step::Delivered,
        Event::Ended { side: Side::Buyer, .. } => Step::Ended,
        _ => return None,
    })
}

fn counted(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::PeerConnected { .. } => "connections",
        Event::PeerPenalized { banned: false, .. } => "penalties",
        Event::PeerPenalized { banned: true, .. } => "bans",
        Event::AdvertSeen { .. } => "adverts seen",
        Event::Revoked { .. } => "revocations heard",
        Event::Swapped { .. } => "swaps",
        Event::Redeemed { .. } => "redemptions",
        Event::Refunded { .. } => "refunds",
        Event::MintTrouble { .. } => "mint trouble",
        Event::MoneyTrouble { .. } => "money trouble",
        Event::Asked { side: Side::Seller, .. } => "asks taken",
        Event::Declined { side: Side::Seller, .. } => "asks declined",
        Event::Refused { side: Side::Buyer, .. } => "awards refused",
        _ => return None,
    })
}
