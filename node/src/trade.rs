//! Trading: drives the protocol's two machines, one per award, over store, wallet, network and executor.
//!
//! ```text
//!  hire ──▶ candidates ──▶ Ask … Offer ──▶ award ─┐                       ┌─▶ asks: Offer | Decline
//!                                                 ▼                       │
//!   frames ──▶ desk: open trades ──▶ one actor per trade          frames ─┴─▶ awards: check, one transaction
//!   timers ──▶      by award            handle(input) ─▶ commit ─▶ effects          │
//!   wallet ──▶                                                                      ▼
//!   network changes ──▶                                          actor ─▶ service ─▶ receipt ─▶ commit ─▶ deliver
//! ```
//!
//! **One writer per trade**: its actor. What concerns a trade is posted to its mailbox ([`desk`]); the actor feeds its
//! machine, commits state and money in one transaction if the step is durable, and only then acts. After a start every
//! open trade resumes from its record; when a peer connects again, the trades that we buy from it ask where they stand.
//!
//! **Nothing waits for a peer**: frames go out through the [`outbox`], which drops what doesn't get through; every
//! message of a trade is repeated by whoever needs its answer.
//!
//! **Bounded**: open trades, hires, intakes, mailboxes, waiting frames, metered peers, pages of listings; each with its
//! reason in `trade/limits.rs`, or a setting in [`TradeConfig`].
//!
//! **Cancel-safe**: every method of [`Trade`].

mod asks;
mod awards;
mod buckets;
mod buying;
mod config;
mod desk;
mod frames;
mod hire;
mod housekeeping;
mod limits;
mod load;
mod outbox;
mod penalty;
mod records;
mod selling;
mod timers;
mod views;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use cid::Cid;
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentKey,
    trade::{buyer, seller},
};
use tokio::sync::mpsc;

use self::{
    buckets::Buckets,
    desk::Desk,
    load::Load,
    outbox::Outbox,
    records::{BUYERS, DEALS, OPEN, SELLERS, StoredSide},
    timers::Timers,
};
pub use self::{
    buckets::Rate,
    config::TradeConfig,
    hire::{HireError, HireRequest, Hired, TaskHandle},
    views::{MoneyView, Page, TaskState, TaskView},
};
use crate::{
    catalogue::Catalogue,
    content::Content,
    events::Events,
    failpoint::Failpoint,
    network::{Frames, InboundStream, Network},
    runtime::Runtime,
    store::{KeyRange, Reader, Store, StoreError},
    sync::lock,
    wallet::{MoneyOutcome, Wallet},
};

/// What the trade room is built from.
#[derive(Debug)]
pub struct TradeParts {
    /// Signs asks, offers, awards and receipts.
    pub key: AgentKey,
    /// The operator's settings.
    pub config: TradeConfig,
    /// The node's runtime.
    pub runtime: Runtime,
    /// Keeps the trades.
    pub store: Store,
    /// The network.
    pub network: Network,
    /// Its trade frames.
    pub frames: Frames,
    /// Its content streams.
    pub streams: mpsc::Receiver<InboundStream>,
    /// Pays and is paid.
    pub wallet: Wallet,
    /// What became of trades' money.
    pub outcomes: mpsc::Receiver<(Cid, MoneyOutcome)>,
    /// Finds sellers, and has our services.
    pub catalogue: Catalogue,
    /// Large inputs and outputs.
    pub content: Content,
    /// Told each step.
    pub events: Events,
    /// For crash tests; the default does nothing.
    pub failpoint: Failpoint,
}

/// The handle of the trade room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trade(Arc<Desk>);

impl Trade {
    /// Opens the room and takes up every trade that isn't over.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn start(parts: TradeParts) -> Result<Self, StoreError> {
        let (changes, runtime) = (parts.network.changes(), parts.runtime.clone());
        let desk = Arc::new(Desk {
            outbox: Outbox::new(parts.network.clone(), runtime.clone(), parts.failpoint.clone()),
            timers: Timers::default(),
            buckets: Buckets::new(parts.config.asks, parts.config.others),
            load: Load::default(),
            stopping: AtomicBool::new(false),
            trades: Mutex::default(),
            hires: Mutex::default(),
            solvent: Mutex::default(),
            quiet: Mutex::default(),
            intakes: Mutex::default(),
            key: parts.key,
            config: parts.config,
            runtime: parts.runtime,
            store: parts.store,
            network: parts.network,
            wallet: parts.wallet,
            catalogue: parts.catalogue,
            content: parts.content,
            events: parts.events,
            failpoint: parts.failpoint,
        });
        resume(&desk)?;
        let spawn = |name, task: futures::future::BoxFuture<'static, ()>| runtime.spawn(name, task).detach();
        spawn("trade/frames", Box::pin(Arc::clone(&desk).take_frames(parts.frames)));
        spawn("trade/changes", Box::pin(Arc::clone(&desk).take_changes(changes)));
        spawn("trade/timers", Box::pin(Arc::clone(&desk).ring()));
        spawn("trade/money", Box::pin(Arc::clone(&desk).take_outcomes(parts.outcomes)));
        spawn("trade/contents", Box::pin(Arc::clone(&desk).serve_contents(parts.streams)));
        spawn("trade/housekeeping", Box::pin(Arc::clone(&desk).keep_house()));
        Ok(Self(desk))
    }

    /// Has a task done by whoever does it best within the terms. Returns as soon as it has a name.
    ///
    /// # Errors
    /// If it can't even begin.
    pub async fn hire(&self, request: HireRequest) -> Result<TaskHandle, HireError> {
        self.0.hire(request).await
    }

    /// Calls off a task that we buy, by its name or its award's. Before the award nothing is lost; once the seller works
    /// it keeps the price, and once it has delivered there is nothing to call off.
    ///
    /// # Errors
    /// If there is no such task, or it is over.
    pub async fn cancel(&self, id: Cid) -> Result<(), CancelError> {
        let trade = {
            let hires = lock(&self.0.hires);
            hires.get(&id).map(|slot| {
                slot.cancel.send_replace(true);
                slot.trade
            })
        };
        let trade = match trade {
            Some(None) => return Ok(()),
            Some(Some(trade)) => trade,
            None => self.0.trade_of(id)?.ok_or(CancelError::Unknown(id))?,
        };
        if !lock(&self.0.trades).contains_key(&trade) {
            return Err(CancelError::Over(id));
        }
        if self.0.feed(trade, || buyer::Input::Cancel.into()).await { Ok(()) } else { Err(CancelError::Unknown(id)) }
    }

    /// Trades that aren't over, bought and sold, and hires under way.
    pub fn open_count(&self) -> usize {
        let searching = lock(&self.0.hires).values().filter(|slot| slot.trade.is_none()).count();
        lock(&self.0.trades).len() + searching
    }

    /// Takes no more asks, awards and hires; open trades go on. For a clean stop.
    pub fn stop_taking(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}

/// Gives every trade that isn't over its actor back.
fn resume(desk: &Arc<Desk>) -> Result<(), StoreError> {
    let open = desk.store.read(|r| r.range(OPEN, KeyRange::all(), usize::MAX))?;
    for (key, side) in open {
        let Some(deal) = desk.store.read(|r| r.get(DEALS, &key))? else { continue };
        let (deal, trade) = (Arc::new(deal.clone()), deal.id());
        match side {
            StoredSide::Buyer => {
                let Some(state) = desk.store.read(|r| r.get(BUYERS, &key))? else { continue };
                desk.start_buyer(deal, (state, vec![]), None);
                desk.post_own(trade, buyer::Input::Resume.into());
            }
            StoredSide::Seller => {
                let Some(state) = desk.store.read(|r| r.get(SELLERS, &key))? else { continue };
                let place = desk.catalogue.service(&deal.award.args().service).and_then(|service| {
                    let place = desk.load.take(&service.definition().name, usize::MAX)?;
                    Some((service, place))
                });
                desk.start_seller(deal, (state, vec![]), place);
                desk.post_own(trade, seller::Input::Resume.into());
            }
        }
    }
    Ok(())
}

/// Why a task can't be called off.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is none of that name.
    #[error("no task or trade {0} that this node buys")]
    Unknown(Cid),
    /// It has ended.
    #[error("the task {0} is over")]
    Over(Cid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for CancelError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unknown(_) | Self::Over(_) => Fault::Ours,
            Self::Store(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(_) => Some("`guilder task list` shows the tasks"),
            Self::Over(_) => Some("`guilder task show ID` shows how it ended"),
            Self::Store(error) => error.hint(),
        }
    }
}

#[cfg(test)]
mod tests;
