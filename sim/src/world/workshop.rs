//! Where the work of a host's services is done: a function of the input, after a modelled time.
//!
//! The output of honest work is known to the judge: [`honest_output`]. What a workshop does instead, a [`Habit`] says.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use guilder::{
    content::Data,
    executor::{ExecError, Executor, Output, Work},
};
use guilder_protocol::market::ServiceName;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::interpose::splitmix;

/// How a workshop works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Habit {
    /// As promised.
    #[default]
    Honest,
    /// Takes the work and never gives anything back.
    Idle,
    /// Gives something else back.
    Garbage,
    /// Fails every time.
    Fails,
    /// Takes the work and pulls the node's plug.
    Vanishes,
}

/// How long a service's work takes: at least, and so much more at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The quickest.
    pub least: Duration,
    /// What the slowest takes longer.
    pub spread: Duration,
    /// Bytes that come out.
    pub output_bytes: usize,
}

/// A host's executor.
pub struct Workshop {
    seed: u64,
    plan: Mutex<Plan>,
    begun: AtomicU64,
    done: AtomicU64,
    /// Told when the node's plug is to be pulled.
    pub vanish: Notify,
}

#[derive(Default)]
struct Plan {
    habit: Habit,
    paces: BTreeMap<ServiceName, Pace>,
}

impl Workshop {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, plan: Mutex::default(), begun: 0.into(), done: 0.into(), vanish: Notify::new() }
    }

    /// How it works from now on.
    pub fn set_habit(&self, habit: Habit) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).habit = habit;
    }

    /// How long a service's work takes from now on.
    pub fn set_pace(&self, service: ServiceName, pace: Pace) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).paces.insert(service, pace);
    }

    /// Works begun, and works that came to an output.
    pub fn works(&self) -> (u64, u64) {
        (self.begun.load(Ordering::Relaxed), self.done.load(Ordering::Relaxed))
    }

    fn plan(&self, service: &ServiceName) -> (Habit, Pace) {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        (plan.habit, plan.paces.get(service).copied().unwrap_or_default())
    }
}

impl fmt::Debug for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop").finish_non_exhaustive()
    }
}

/// What honest work makes of an input.
pub fn honest_output(service: &ServiceName, input: &[u8], bytes: usize) -> Vec<u8> {
    let seed = Sha256::new().chain_update(service.as_str()).chain_update(input).finalize();
    seed.iter().copied().cycle().take(bytes.max(32)).collect()
}

#[async_trait]
impl Executor for Workshop {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let (habit, pace) = self.plan(&work.service);
        self.begun.fetch_add(1, Ordering::Relaxed);
        // By the award, so that a work repeated after a crash takes as long again.
        let digest = work.award.hash().digest();
        let mut state = digest.iter().fold(self.seed, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
        let spread = pace.spread.as_micros() as u64;
        tokio::time::sleep(pace.least + Duration::from_micros(splitmix(&mut state) % (spread + 1))).await;
        let output = match (habit, &work.input) {
            (Habit::Idle, _) => std::future::pending().await,
            (Habit::Vanishes, _) => {
                self.vanish.notify_one();
                std::future::pending().await
            }
            (Habit::Fails, _) => {
                return Err(ExecError::Failed { how: "exit code 1".into(), last_words: String::new() });
            }
            (Habit::Garbage, _) => vec![0; pace.output_bytes.max(32)],
            (Habit::Honest, Data::Inline(input)) => honest_output(&work.service, input, pace.output_bytes),
            (Habit::Honest, Data::Stored(_)) => {
                honest_output(&work.service, &work.input.id().hash.0, pace.output_bytes)
            }
        };
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(Data::Inline(Bytes::from(output)))
    }
}
