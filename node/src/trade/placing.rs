//! Placing a hire: what it leaves open is decided, and an origin that has a task already gets that one.
//!
//! Every face and every room that hires comes through here. [`Trade::place`] returns as soon as the task has a name. What is under way
//! for an origin that waits durably ([`Hire::waits`]) when the node dies is taken up again by [`Placer::begin_again`]: an award
//! resumes by itself; what has none begins anew, under the same origin and with as much time as at first.

use cid::Cid;
use futures::future::BoxFuture;
use guilder_protocol::{
    bytes::Digest,
    fault::{AtFault, Fault},
    market::{MintUrl, Unit},
    ucan::grant::GrantChain,
};

use super::{
    Hire, HireError, Origin,
    ends::{self, End, Ending, Waiting},
    hire::Hirer,
    hires::Hires,
    journal::Journal,
    keys::{Held, HireKeys, Keyed},
    limits::BEGIN_AGAIN_PAUSE,
};
use crate::{
    config::HireConfig,
    content::{Content, Data},
    events::{Event, Events, Heard, Outcome, Side, Subscription},
    failpoint::Step,
    grants::{Grants, GrantsError},
    runtime::Runtime,
    store::StoreError,
    wallet::Wallet,
};

/// A hire that has a task.
pub struct Placed {
    /// Its name.
    pub task: Cid,
    /// Everything that happens in the node from before it began; [`Event::task`] tells what is this task's.
    pub events: Subscription,
    /// Its end; none if the task was there before.
    pub done: Option<BoxFuture<'static, Result<(), HireError>>>,
    /// Why no further one may follow although it failed and further tries were wanted.
    pub held: Option<Held>,
}

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placed").field("task", &self.task).field("held", &self.held).finish_non_exhaustive()
    }
}

/// Why a hire can't be placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It can't begin.
    #[error(transparent)]
    Hire(#[from] HireError),
    /// The grant that it is under.
    #[error(transparent)]
    Grant(#[from] GrantsError),
    /// What it names as a grant is none's name.
    #[error("{0} is no grant's ID")]
    NoGrant(String),
    /// The mint that it names isn't on the operator's list.
    #[error("the mint {0} is not accepted")]
    NotAccepted(MintUrl),
    /// Its origin asked for something else before.
    #[error("the key {:?} was given with another request, of which the task {task} came", .origin.key)]
    Conflict {
        /// The origin.
        origin: Origin,
        /// What came of the request before.
        task: Cid,
    },
    /// The program of a task names a grant.
    #[error("the program of a task hires under no grant")]
    GrantInTask,
}

impl From<StoreError> for PlaceError {
    fn from(error: StoreError) -> Self {
        Self::Hire(error.into())
    }
}

impl AtFault for PlaceError {
    fn fault(&self) -> Fault {
        match self {
            Self::Hire(error) => error.fault(),
            Self::Grant(error) => error.fault(),
            Self::NoGrant(_) | Self::NotAccepted(_) | Self::Conflict { .. } | Self::GrantInTask => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Hire(error) => error.hint(),
            Self::Grant(error) => error.hint(),
            Self::NoGrant(_) => Some("`guilder grants` shows them"),
            Self::NotAccepted(_) => Some("if you trust it: `guilder wallet mints add URL`"),
            Self::Conflict { .. } => {
                Some("give each request a key of its own; with the same key, service, terms and input must be the same")
            }
            Self::GrantInTask => Some("leave the grant out: it hires in the name of its own buyer"),
        }
    }
}

/// What a hire is placed with. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Placer {
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) hirer: Hirer,
    pub(super) hires: Hires,
    pub(super) keys: HireKeys,
    pub(super) wallet: Wallet,
    pub(super) grants: Grants,
    pub(super) content: Content,
    pub(super) events: Events,
    /// What is decided where a hire doesn't say.
    pub(super) defaults: HireConfig,
    /// In which unit, where nothing else says.
    pub(super) unit: Unit,
}

impl Placer {
    /// Places a hire; `request` is its hash if it comes from an origin.
    pub(super) async fn place(
        &self,
        hire: Hire,
        input: Data,
        origin: Option<(Origin, Digest)>,
    ) -> Result<Placed, PlaceError> {
        let Some((origin, request)) = origin else {
            return self.begin(self.decided(hire).await?, input).await;
        };
        let _only_one = self.keys.enter(&origin).await;
        // Before the look, so that its end can't be missed.
        let events = self.events.subscribe();
        let retries = hire.retry.unwrap_or_default() as usize;
        match self.keys.look(&origin, request, retries, self.runtime.now())? {
            Keyed::Free(claim) => {
                let hire = Hire { claim: Some(claim), ..self.decided(hire).await? };
                let waits = hire.waits;
                let begun = self.begin(hire, input).await;
                if begun.is_err() && waits {
                    // Whoever asked is told here that it didn't begin: it doesn't begin later by itself.
                    self.journal.commit(Step::Other, move |w| ends::forget(w, &origin)).await?;
                }
                begun
            }
            Keyed::Has { task, held } => Ok(Placed { task, events, done: None, held }),
            Keyed::Other(task) => Err(PlaceError::Conflict { origin, task }),
        }
    }

    /// Begins a hire, or a work of this node's own.
    async fn begin(&self, hire: Hire, input: Data) -> Result<Placed, PlaceError> {
        Ok(match self.hirer.own_service(&hire) {
            Some(service) => {
                let mut handle = self.hirer.hire_own(service, hire, input).await?;
                let events = std::mem::replace(&mut handle.events, self.events.subscribe());
                Placed { task: handle.task, events, done: Some(Box::pin(handle.done())), held: None }
            }
            None => {
                let mut handle = self.hirer.hire(hire, input).await?;
                let events = std::mem::replace(&mut handle.events, self.events.subscribe());
                let task = handle.task;
                let done = async move { handle.done().await.map(drop) };
                Placed { task, events, done: Some(Box::pin(done)), held: None }
            }
        })
    }

    /// The hire with all that it left open decided: by the settings, or by what the wallet holds.
    async fn decided(&self, hire: Hire) -> Result<Hire, PlaceError> {
        if hire.under.is_some() {
            if hire.grant.is_some() {
                return Err(PlaceError::GrantInTask);
            }
            // What it leaves open, the delegations of its task decide.
            return Ok(self.paid_as_set(hire));
        }
        let granted = match &hire.grant {
            Some(id) => {
                let id = id.parse().map_err(|_| PlaceError::NoGrant(id.clone()))?;
                Some(self.grants.adopt(id).await?)
            }
            None => None,
        };
        let terms = granted.as_ref().map(GrantChain::terms).unwrap_or_default();
        // What the grant fixes, it decides.
        let hire = Hire {
            unit: hire.unit.or_else(|| terms.unit?.parse().ok()),
            mint: hire.mint.or_else(|| terms.mint?.parse().ok()),
            granted,
            ..hire
        };
        if let Some(url) = hire.mint.as_ref().filter(|url| !self.wallet.mints().iter().any(|known| known.url == **url))
        {
            return Err(PlaceError::NotAccepted(url.clone()));
        }
        let most = self.defaults.max_price.min(terms.max_price.unwrap_or(u64::MAX));
        Ok(Hire {
            max_price: Some(hire.max_price.unwrap_or(most)),
            unit: Some(self.unit_to_pay_in(&hire)?),
            deadline_secs: Some(hire.deadline_secs.unwrap_or(self.defaults.deadline_secs)),
            own: true,
            ..self.paid_as_set(hire)
        })
    }

    /// The hire, paid as the settings say where it doesn't.
    fn paid_as_set(&self, hire: Hire) -> Hire {
        Hire {
            mode: Some(hire.mode.unwrap_or(self.defaults.mode)),
            stranger_max: self.defaults.stranger_max,
            daily_max: self.defaults.daily_max,
            ..hire
        }
    }

    /// The unit that a hire is paid in: as it says, else that of whose budget it is on, else the only unit of the mint that it names,
    /// else the only one held, else the settings'.
    fn unit_to_pay_in(&self, hire: &Hire) -> Result<Unit, HireError> {
        if let Some(unit) = hire.unit.as_ref().or_else(|| hire.budgets.first().map(|budget| &budget.unit)) {
            return Ok(unit.clone());
        }
        if let Some(mint) = &hire.mint {
            let known = self.wallet.mints().into_iter().find(|known| known.url == *mint);
            if let Some([unit]) = known.as_ref().map(|known| known.units.as_slice()) {
                return Ok(unit.clone());
            }
        }
        let held = self.wallet.units_held()?;
        match (held.contains(&self.unit), held.len(), held.into_iter().next()) {
            (false, 1, Some(only)) => Ok(only),
            _ => Ok(self.unit.clone()),
        }
    }

    /// Takes up what was under way for those that wait when the node died, and what a seller refuses after that.
    pub(super) async fn begin_again(self) {
        let mut events = self.events.subscribe_to(is_refusal);
        let (first, longest) = BEGIN_AGAIN_PAUSE;
        let mut pause = first;
        loop {
            let is_more = self.take_up_left_over().await;
            pause = if is_more { longest.min(pause * 2) } else { first };
            tokio::select! {
                biased;
                is_running = refused(&mut events) => if !is_running { return },
                () = tokio::time::sleep(pause), if is_more => {}
            }
        }
    }

    /// Says whether some of it has to wait.
    async fn take_up_left_over(&self) -> bool {
        let left_over = match self.journal.read(ends::left_over) {
            Ok(left_over) => left_over,
            Err(error) => {
                tracing::error!(%error, "what is waited for could not be read");
                return true;
            }
        };
        let mut is_more = false;
        for waiting in left_over {
            is_more |= !self.take_up(&waiting).await;
        }
        is_more
    }

    /// Begins a hire again; false if it can't be yet.
    async fn take_up(&self, waiting: &Waiting) -> bool {
        let _only_one = self.keys.enter(&waiting.origin).await;
        // Since it was read as left over, it may have ended, or whoever waits for it may have placed it anew.
        let is_left = self.journal.read(|r| ends::is_waiting(r, &waiting.origin, waiting.task));
        if matches!(is_left, Ok(false)) || self.hires.is_under_way(waiting.task) {
            return true;
        }
        match self.try_again(waiting).await {
            Ok(placed) => {
                tracing::info!(origin = %waiting.origin, task = %placed.task, "a hire that was under way begins again");
                true
            }
            Err(PlaceError::Hire(HireError::Stopping)) => true,
            Err(PlaceError::Hire(HireError::TooMany(_) | HireError::Store(_))) => false,
            Err(error) => {
                self.give_up(waiting, &error).await;
                true
            }
        }
    }

    async fn try_again(&self, waiting: &Waiting) -> Result<Placed, PlaceError> {
        let claim = self.keys.again(&waiting.origin)?;
        let (mandate, under) = (waiting.mandate.clone(), waiting.under.clone());
        let hire = Hire { budgets: waiting.budgets.clone(), mandate, under, waits: true, ..waiting.hire.clone() };
        let hire = Hire { claim, ..self.decided(hire).await? };
        self.begin(hire, waiting.input(&self.content)).await
    }

    /// What can't begin again has ended.
    async fn give_up(&self, waiting: &Waiting, error: &PlaceError) {
        let outcome = Outcome::Failed { fault: error.fault(), reason: error.to_string() };
        let (origin, task) = (waiting.origin.clone(), waiting.task);
        let end =
            End { origin, task: Some(task), award: None, outcome: Ending::from(&outcome), at: self.runtime.now() };
        let stored = self.journal.persist(Step::Other, move |w| Ok(ends::end_origin(w, &end)?)).await;
        if let Err(error) = stored {
            tracing::error!(%task, %error, "the end of a hire could not be recorded");
        }
        self.events.emit(Event::Ended { task, trade: None, side: Side::Buyer, outcome });
    }
}

fn is_refusal(event: &Event) -> bool {
    matches!(event, Event::Refused { side: Side::Buyer, .. })
}

/// Waits until a seller may have refused an award; false once the node stops.
async fn refused(events: &mut Subscription) -> bool {
    loop {
        match events.next().await {
            Some(Heard::Event(event)) if !is_refusal(&event.event) => {}
            heard => return heard.is_some(),
        }
    }
}
