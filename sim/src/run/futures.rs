//! Many futures of one run: at a moment the process forks, and each child goes on with other random numbers.
//!
//! ```text
//! seed ──── start, convergence, warm-up ────┬── future 0 ── results, told by the child
//!                                           ├── future 1 ── …
//!                                           └── the parent waits, and has no results of its own
//! ```
//!
//! What has begun at the moment goes on as it was drawn; what lies ahead is drawn anew in each future: the moments and victims of
//! faults (a fixed moment stays), wishes, searches, jitter, loss and every node's entropy. The simulation is one thread and the program's other one only waits for it, so a fork is the whole of it.

use std::{cell::Cell, time::Duration};

use tokio::sync::oneshot;

use crate::{
    interpose::{self, Fork},
    results::Results,
    world::WorldError,
};

/// Which futures are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Futures {
    /// When they part, in virtual seconds.
    pub at_s: f64,
    /// The number of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// How many at once.
    pub jobs: u32,
    /// Called in each child with its number and its results, if it came to any; says whether all is well.
    pub tell: fn(u32, Result<&Results, &WorldError>) -> bool,
}

thread_local! {
    /// Which future this process is.
    static FUTURE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// How many futures ended otherwise than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) badly: u32,
}

/// Waits for the moment and forks. In the parent, `ended` hears how it went; in a child nobody does.
pub(super) async fn part(futures: Futures, ended: oneshot::Sender<Result<Ended, WorldError>>) {
    tokio::time::sleep(Duration::from_secs_f64(futures.at_s)).await;
    let (mut running, mut badly) = (0, 0);
    for number in futures.first..futures.first.saturating_add(futures.count) {
        match interpose::fork() {
            Ok(Fork::Child) => {
                interpose::go_another_way(u64::from(number) + 1);
                FUTURE.set(Some(number));
                std::mem::forget(ended); // the parent's to hear
                return;
            }
            Ok(Fork::Parent) => running += 1,
            Err(error) => {
                let _ = ended.send(Err(WorldError::new(error)));
                return;
            }
        }
        if running == futures.jobs.max(1) {
            badly += u32::from(!interpose::wait_for_a_child());
            running -= 1;
        }
    }
    for _ in 0..running {
        badly += u32::from(!interpose::wait_for_a_child());
    }
    // Only a parent that is gone doesn't listen.
    let _ = ended.send(Ok(Ended { badly }));
}

/// Ends the process if it is one of several futures: its results are told, and the rest is the parent's.
pub(super) fn end_if_child(futures: Option<Futures>, results: Result<&Results, &WorldError>) {
    if let (Some(number), Some(futures)) = (FUTURE.get(), futures) {
        let well = (futures.tell)(number, results);
        interpose::exit_at_once(i32::from(!well));
    }
}
