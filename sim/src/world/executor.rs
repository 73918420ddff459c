//! Where the work of a host's services is done: a function of the input, after a modelled time.
//!
//! The output of honest work is known to the judge: [`honest_output`]. What an executor does instead, a [`Habit`] says. Where
//! work is [passed on](crate::chains), the executor hires through its node's façade, with the key of the task and under keys of
//! its own, as a careful program does: when the node has died, the work begins anew and finds its hires again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt as _, TryStreamExt as _, future::join_all};
use guilder::{
    api::{
        Api,
        caller::Caller,
        types::{ApiError, HireEvent},
    },
    content::Data,
    executor::{ExecError, Executor, Output, TaskAccess, Work},
    trade::TaskKeys,
};
use guilder_protocol::market::ServiceName;
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, time::Instant};

use crate::{
    chains::{Chains, Part},
    interpose::Rng,
};

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
    /// How the last run of each award's work ended, if it did.
    ended: BTreeMap<Cid, WorkEnd>,
    first_output: Option<Vec<u8>>,
    chains: Option<Arc<Chains>>,
    way: Option<Way>,
    /// What was hired here for the sake of each award's work, by its task.
    passed: BTreeMap<Cid, Passed>,
}

/// How a run of some work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkEnd {
    /// When.
    pub at: Instant,
    /// Whether it came to an output.
    pub well: bool,
}

/// A part that was passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The award for whose sake.
    pub under: Cid,
    /// What.
    pub part: Part,
}

/// The way from a program to its own node. It is taken away before the node is killed: one that holds on to itself is never gone.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) api: Api,
    pub(super) keys: TaskKeys,
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

    /// Has it pass work on.
    pub(crate) fn set_chains(&self, chains: Arc<Chains>) {
        self.lock().chains = Some(chains);
    }

    pub(super) fn passes_on(&self) -> bool {
        self.lock().chains.is_some()
    }

    pub(super) fn set_way(&self, way: Option<Way>) {
        self.lock().way = way;
    }

    /// How the last run of an award's work ended; `None` if none did.
    pub fn ended(&self, award: &Cid) -> Option<WorkEnd> {
        self.lock().ended.get(award).copied()
    }

    /// What was hired here for the sake of awards, by task.
    pub fn passed(&self) -> BTreeMap<Cid, Passed> {
        self.lock().passed.clone()
    }

    /// Hires every part of some work, and puts together what comes of them.
    async fn pass_on(&self, chains: &Chains, work: &Work, input: &[u8]) -> Result<Vec<u8>, ExecError> {
        let failed = |last_words| ExecError::Failed { how: "exit code 1".into(), last_words };
        let service = chains.number(&work.service).ok_or_else(|| failed("sells what nobody knows".into()))?;
        let parts = chains.parts(service, input);
        if parts.is_empty() {
            return Ok(chains.assembled(service, input, &[]));
        }
        let way = self.lock().way.clone().ok_or_else(|| failed("the node is gone".into()))?;
        let caller = work.access.as_ref().and_then(|access| way.caller(access));
        let caller = caller.ok_or_else(|| failed("may not pass anything on".into()))?;
        let hires = parts.iter().enumerate().map(|(place, part)| {
            let hire = chains.hire(place, part);
            let noted = Passed { under: work.award, part: part.clone() };
            way.hire(&caller, hire, &part.input, move |task| _ = self.lock().passed.insert(task, noted.clone()))
        });
        let outputs: Result<Vec<_>, String> = join_all(hires).await.into_iter().collect();
        Ok(chains.assembled(service, input, &outputs.map_err(failed)?))
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

impl SimExecutor {
    async fn work(&self, work: &Work) -> Result<Vec<u8>, ExecError> {
        let (habit, fails, pace, chains) = {
            let plan = self.lock();
            let pace = plan.paces.get(&work.service).copied().unwrap_or_default();
            (plan.habit, plan.fails, pace, plan.chains.clone())
        };
        // By the award, so that a work repeated after a crash takes as long again.
        let digest = work.award.hash().digest();
        let mut rng = Rng::new(digest.iter().fold(self.seed, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte)));
        let spread = pace.spread.as_micros() as u64;
        tokio::time::sleep(pace.least + Duration::from_micros(rng.below(spread + 1))).await;
        if rng.unit() < fails {
            return Err(ExecError::Failed { how: "exit code 1".into(), last_words: String::new() });
        }
        let honest = match (&work.input, chains) {
            (Data::Inline(input), Some(chains)) => self.pass_on(&chains, work, input).await?,
            (Data::Inline(input), None) => honest_output(&work.service, input),
            (Data::Stored(_), _) => honest_output(&work.service, &work.input.id().hash.0),
        };
        Ok(match habit {
            Habit::Honest => honest,
            Habit::Garbage => vec![0; OUTPUT_BYTES],
            Habit::Replays => self.lock().first_output.get_or_insert(honest).clone(),
            Habit::Idle => std::future::pending().await,
            Habit::Vanishes => {
                self.vanish.notify_one();
                std::future::pending().await
            }
        })
    }
}

#[async_trait]
impl Executor for SimExecutor {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        self.lock().ended.remove(&work.award);
        let output = self.work(&work).await;
        let mut plan = self.lock();
        plan.ended.insert(work.award, WorkEnd { at: Instant::now(), well: output.is_ok() });
        let output = output?;
        plan.done.insert(work.award);
        Ok(Data::Inline(Bytes::from(output)))
    }
}

impl Way {
    /// On whose behalf the key of a task calls.
    fn caller(&self, access: &TaskAccess) -> Option<Caller> {
        self.keys.holder(&access.token, |one, other| one == other).map(Caller::task)
    }

    /// Hires, tells the name of the task as soon as it has one, and waits for its output.
    async fn hire(
        &self,
        caller: &Caller,
        hire: guilder::trade::Hire,
        input: &[u8],
        named: impl Fn(Cid),
    ) -> Result<Vec<u8>, String> {
        let said = |error: ApiError| error.to_string();
        let input = Data::Inline(Bytes::copy_from_slice(input));
        let mut events = std::pin::pin!(self.api.hire(caller, hire, input).await.map_err(said)?);
        while let Some(event) = events.next().await {
            match event.map_err(said)? {
                HireEvent::Hired(hired) => hired.task.parse().into_iter().for_each(&named),
                HireEvent::Ended(ended) if ended.delivered => {
                    let (_, pieces) = self.api.output(caller, &ended.id).await.map_err(said)?;
                    let pieces: Vec<Bytes> = pieces.try_collect().await.map_err(|error| error.to_string())?;
                    return Ok(pieces.concat());
                }
                HireEvent::Ended(ended) => return Err(format!("a part came to nothing: {:?}", ended.failure)),
                HireEvent::Step(_) | HireEvent::Unknown => {}
            }
        }
        Err("the hire broke off".into())
    }
}
