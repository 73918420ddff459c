//! Where the work of a host's services is done: a function of the input, after a modelled time.
//!
//! The output of honest work is known to the judge: [`honest_output`]. What an executor does instead, a [`Habit`] says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use guilder::{
    content::Data,
    executor::{ExecError, Executor, Output, Work},
};
use guilder_protocol::market::ServiceName;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::interpose::Rng;

/// How an executor works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Habit {
    /// As promised.
    #[default]
    Honest,
    /// Takes the work and never gives anything back.
    Idle,
    /// Gives something else back.
    Garbage,
    /// Gives its first output back, whatever the input.
    Replays,
    /// Takes the work, and then the node is killed.
    Vanishes,
}

/// How long a service's work takes: at least, and so much more at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The quickest.
    pub least: Duration,
    /// What the slowest takes longer.
    pub spread: Duration,
}

/// A host's executor.
pub struct SimExecutor {
    seed: u64,
    plan: Mutex<Plan>,
    /// Told when the node is to be killed.
    pub vanish: Notify,
}

#[derive(Default)]
struct Plan {
    habit: Habit,
    fails: f64,
    paces: BTreeMap<ServiceName, Pace>,
    /// The awards whose work came to an output.
    done: BTreeSet<Cid>,
    first_output: Option<Vec<u8>>,
}

impl SimExecutor {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, plan: Mutex::default(), vanish: Notify::new() }
    }

    /// How it works from now on.
    pub fn set_habit(&self, habit: Habit) {
        self.lock().habit = habit;
    }

    /// The share of works that fail, through no bad will.
    pub fn set_fails(&self, share: f64) {
        self.lock().fails = share;
    }

    /// How long a service's work takes from now on.
    pub fn set_pace(&self, service: ServiceName, pace: Pace) {
        self.lock().paces.insert(service, pace);
    }

    /// Whether the work of an award came to an output here.
    pub fn has_done(&self, award: &Cid) -> bool {
        self.lock().done.contains(award)
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimExecutor").finish_non_exhaustive()
    }
}

const OUTPUT_BYTES: usize = 256;

/// What honest work makes of an input; of a large one, of its hash as a content.
pub fn honest_output(service: &ServiceName, input: &[u8]) -> Vec<u8> {
    let seed = Sha256::new().chain_update(service.as_str()).chain_update(input).finalize();
    seed.iter().copied().cycle().take(OUTPUT_BYTES).collect()
}

#[async_trait]
impl Executor for SimExecutor {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let (habit, fails, pace) = {
            let plan = self.lock();
            (plan.habit, plan.fails, plan.paces.get(&work.service).copied().unwrap_or_default())
        };
        // By the award, so that a work repeated after a crash takes as long again.
        let digest = work.award.hash().digest();
        let mut rng = Rng::new(digest.iter().fold(self.seed, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte)));
        let spread = pace.spread.as_micros() as u64;
        tokio::time::sleep(pace.least + Duration::from_micros(rng.below(spread + 1))).await;
        if rng.unit() < fails {
            return Err(ExecError::Failed { how: "exit code 1".into(), last_words: String::new() });
        }
        let honest = match &work.input {
            Data::Inline(input) => honest_output(&work.service, input),
            Data::Stored(_) => honest_output(&work.service, &work.input.id().hash.0),
        };
        let output = match habit {
            Habit::Honest => honest,
            Habit::Garbage => vec![0; OUTPUT_BYTES],
            Habit::Replays => self.lock().first_output.get_or_insert(honest).clone(),
            Habit::Idle => std::future::pending().await,
            Habit::Vanishes => {
                self.vanish.notify_one();
                std::future::pending().await
            }
        };
        self.lock().done.insert(work.award);
        Ok(Data::Inline(Bytes::from(output)))
    }
}
