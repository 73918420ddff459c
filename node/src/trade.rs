//! Trading: drives the protocol's two machines, one per award, over store, wallet, network and executor.
//!
//! ```text
//!  hire ──▶ candidates ──▶ Ask … Offer ──▶ award ─┐                       ┌─▶ asks: Offer | Decline
//!                                                 ▼                       │
//!   frames ──▶ router ─▶ open trades ─▶ one actor per trade      frames ──┴─▶ awards: check, one transaction
//!   timers ──▶            by award        handle(input) ─▶ writes ─▶ effects          │
//!   wallet ──▶                                                                        ▼
//!   network changes ──▶                                          actor ─▶ work ─▶ receipt ─▶ commit ─▶ deliver
//! ```
//!
//! **One writer per trade**: its actor ([`actors`], [`buying`], [`selling`]). What concerns a trade is posted to its
//! [`mailbox`]; the actor feeds its machine, commits what the step writes in one transaction of the [`journal`], and only
//! then acts. After a start every open trade resumes from its record; when a peer connects again, the trades that we buy
//! from it ask where they stand. A step that can never be written ends its trade in
//! [`Fault::Internal`]; only a failing disk is waited for.
//!
//! **Nothing waits for a peer or for a trade**: frames go out through the [`outbox`], which drops what doesn't get through;
//! every message of a trade is repeated by whoever needs its answer. What this node has to say to a trade replaces what it
//! said before, and takes no room.
//!
//! **Bounded**: open trades, hires, intakes, mailboxes, waiting frames, metered peers, pages of listings; each with its
//! reason in `trade/limits.rs`, or a setting in [`TradeConfig`].
//!
//! **Cancel-safe**: every method of [`Trade`].

mod accusation;
mod actors;
mod asks;
mod awards;
mod buckets;
mod budgets;
mod buying;
mod cheats;
mod clocks;
mod config;
mod earnings;
mod ends;
mod fair;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod hire;
mod hires;
mod housekeeping;
mod journal;
mod keys;
mod limits;
mod mailbox;
mod open;
mod outbox;
mod outlays;
mod own_offers;
mod permits;
mod placing;
mod progress;
mod records;
mod selling;
mod task_keys;
mod timers;
mod transfers;
mod unreleased;
mod views;
mod violation;
mod work;

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cid::Cid;
use guilder_protocol::{
    audit::{self, Evidence},
    bytes::Digest,
    envelope::Signed,
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    market::Unit,
    time::Timestamp,
    trade::buyer::{Buyer, Money},
    ucan::grant::GrantChain,
};
use tokio::sync::mpsc;

pub use self::{
    accusation::{Accusation, AccusationFile},
    buckets::Rate,
    budgets::{Budget, OverBudget, Per, close_account},
    clocks::ClockDoubt,
    config::TradeConfig,
    earnings::{Earnings, EarningsBy},
    ends::{End, Ending, take_end},
    hire::{Bound, Debited, Hire, HireError, HireMode, Hired, OwnHandle, TaskHandle, Under},
    keys::{Held, KeyClaim, Origin},
    limits::{MAX_HIRE_NAME, MAX_LISTED, MAX_OPEN_TRADES},
    placing::{PlaceError, Placed},
    progress::Progress,
    records::OutputCheck,
    task_keys::TaskKeys,
    views::{MoneyView, Page, TaskFilter, TaskState, TaskView},
};
use self::{
    actors::Actors,
    asks::Asks,
    awards::Awards,
    buckets::Buckets,
    buying::Buying,
    cheats::Cheats,
    clocks::PeerClocks,
    frames::Router,
    hire::{Funds, Hirer, QuietSellers},
    hires::{CalledOff, Hires},
    housekeeping::Housekeeper,
    journal::Journal,
    keys::HireKeys,
    limits::SUB_EVIDENCE_SIGNATURES,
    mailbox::{BuyerMail, Cause},
    open::OpenTrades,
    outbox::Outbox,
    own_offers::OwnOffers,
    permits::Permits,
    placing::Placer,
    records::{BUYERS, CHEATS, DEALS, TASKS, key},
    selling::Selling,
    transfers::Transfers,
    unreleased::UnreleasedPlaces,
    views::Tasks,
    violation::Penalties,
    work::Workshop,
};
use crate::{
    catalogue::Catalogue,
    config::HireConfig,
    content::{Content, Data},
    events::Events,
    failpoint::{Failpoint, Step},
    grants::Grants,
    network::{Frames, InboundStream, Network},
    runtime::{Job, Runtime},
    store::{KeyRange, Read, Reader, Store, StoreError, Write},
    wallet::{MoneyOutcome, Wallet, WalletError},
};

/// What the trade room is built from.
#[derive(Debug)]
pub struct TradeParts {
    /// Signs whatever this node states.
    pub key: AgentKey,
    /// The operator's settings.
    pub config: TradeConfig,
    /// What a hire goes by where it doesn't say.
    pub hire: HireConfig,
    /// The unit that is spent where nothing says which.
    pub unit: Unit,
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
    /// Authority that others gave us, and what is known to be revoked.
    pub grants: Grants,
    /// Large inputs and outputs.
    pub content: Content,
    /// Told each step.
    pub events: Events,
    /// Says which tasks' outputs others of this node may still read.
    pub in_use: InUse,
    /// For crash tests; the default does nothing.
    pub failpoint: Failpoint,
}

/// Tasks whose outputs somebody in this node may still read: these stay, however old they are.
pub type InUse = fn(&Write<'_>) -> Result<BTreeSet<Cid>, StoreError>;

/// Whether this node takes no more work. Cheap to clone.
#[derive(Clone, Debug, Default)]
struct Stopping(Arc<AtomicBool>);

impl Stopping {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The handle of the trade room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trade {
    stopping: Stopping,
    tasks: Tasks,
    hires: Hires,
    hirer: Hirer,
    open: OpenTrades,
    actors: Actors,
    clocks: PeerClocks,
    journal: Journal,
    task_keys: TaskKeys,
    wallet: Wallet,
    #[cfg(test)]
    unreleased: UnreleasedPlaces,
    runtime: Runtime,
    placer: Placer,
    keys: HireKeys,
}

impl Trade {
    /// Opens the room and takes up every trade that isn't over.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn start(parts: TradeParts) -> Result<Self, StoreError> {
        let TradeParts { key, config, runtime, store, network, wallet, catalogue, content, events, failpoint, .. } =
            parts;
        let (grants, revocations) = (parts.grants.clone(), parts.grants.revocations().clone());
        let (stopping, open, hires) = (Stopping::default(), OpenTrades::default(), Hires::default());
        let (clocks, task_keys) = (PeerClocks::default(), TaskKeys::default());
        let journal = Journal::new(store.clone(), failpoint.clone());
        let cheats = Cheats::read(&journal, runtime.now())?;
        let outbox = Outbox::new(network.clone(), runtime.clone(), failpoint);
        let penalties = Penalties::new(network.clone());
        let permits = Permits::new(config.queue);
        let unreleased = UnreleasedPlaces::new(journal.clone(), runtime.clone());
        let buckets = Buckets::new(config.asks, config.others);
        let transfers = Transfers::new(runtime.clone(), network.clone(), content.clone(), journal.clone());
        let buying = Buying {
            key: key.clone(),
            runtime: runtime.clone(),
            journal: journal.clone(),
            wallet: wallet.clone(),
            open: open.clone(),
            outbox: outbox.clone(),
            transfers: transfers.clone(),
            catalogue: catalogue.clone(),
            events: events.clone(),
            penalties: penalties.clone(),
            cheats: cheats.clone(),
            max_output_bytes: config.max_output_bytes,
        };
        let selling = Selling {
            key: key.clone(),
            runtime: runtime.clone(),
            journal: journal.clone(),
            wallet: wallet.clone(),
            open: open.clone(),
            outbox: outbox.clone(),
            catalogue: catalogue.clone(),
            penalties: penalties.clone(),
            hires: hires.clone(),
            workshop: Workshop {
                runtime: runtime.clone(),
                journal: journal.clone(),
                transfers: transfers.clone(),
                open: open.clone(),
                outbox: outbox.clone(),
                events: events.clone(),
                revocations: revocations.clone(),
                task_keys: task_keys.clone(),
                catalogue: catalogue.clone(),
            },
            events: events.clone(),
        };
        let actors = Actors::new(open.clone(), network.clone(), buying, selling);
        actors.resume(&permits, &unreleased)?;
        let offers = OwnOffers::default();
        let asks = Asks {
            key: key.clone(),
            config: config.clone(),
            runtime: runtime.clone(),
            stopping: stopping.clone(),
            catalogue: catalogue.clone(),
            wallet: wallet.clone(),
            permits: permits.clone(),
            unreleased: unreleased.clone(),
            open: open.clone(),
            buckets: buckets.clone(),
            penalties: penalties.clone(),
            outbox: outbox.clone(),
            events: events.clone(),
            clocks: clocks.clone(),
            offers: offers.clone(),
        };
        let awards = Awards::new(awards::Parts {
            key: key.clone(),
            runtime: runtime.clone(),
            stopping: stopping.clone(),
            journal: journal.clone(),
            catalogue: catalogue.clone(),
            revocations: revocations.clone(),
            wallet: wallet.clone(),
            permits,
            unreleased: unreleased.clone(),
            open: open.clone(),
            actors: actors.clone(),
            buckets: buckets.clone(),
            penalties: penalties.clone(),
            outbox: outbox.clone(),
            events: events.clone(),
            offers,
        });
        let (keep_days, keep_payload_days) = (config.keep_days, config.keep_payload_days);
        let max_payload_bytes = config.max_payload_mib.saturating_mul(1 << 20);
        let hirer = Hirer::new(hire::Parts {
            key,
            config,
            runtime: runtime.clone(),
            stopping: stopping.clone(),
            journal: journal.clone(),
            funds: Funds::new(wallet.clone()),
            catalogue: catalogue.clone(),
            content: content.clone(),
            hires: hires.clone(),
            actors: actors.clone(),
            penalties: penalties.clone(),
            outbox: outbox.clone(),
            events: events.clone(),
            quiet: QuietSellers::default(),
            clocks: clocks.clone(),
            cheats,
            revocations,
        });
        let router = Arc::new(Router {
            runtime: runtime.clone(),
            journal: journal.clone(),
            wallet: wallet.clone(),
            catalogue: catalogue.clone(),
            asks,
            awards,
            hires: hires.clone(),
            open: open.clone(),
            actors: actors.clone(),
            buckets,
            penalties,
            outbox,
            clocks: clocks.clone(),
        });
        let housekeeper = Housekeeper {
            runtime: runtime.clone(),
            journal: journal.clone(),
            store,
            content: content.clone(),
            wallet: wallet.clone(),
            keep_days,
            keep_payload_days,
            max_payload_bytes,
            in_use: parts.in_use,
            shedding: Arc::default(),
        };
        let spawn = |name, task: futures::future::BoxFuture<'static, ()>| runtime.spawn(name, task).detach();
        spawn("trade/frames", Box::pin(Arc::clone(&router).take_frames(parts.frames)));
        spawn("trade/changes", Box::pin(Arc::clone(&router).take_changes(network.changes())));
        spawn("trade/timers", Box::pin(Arc::clone(&router).ring()));
        spawn("trade/money", Box::pin(router.take_outcomes(parts.outcomes)));
        spawn("trade/contents", transfers.serve(parts.streams));
        spawn("trade/housekeeping", Box::pin(housekeeper.run()));
        let tasks = Tasks {
            journal: journal.clone(),
            content: content.clone(),
            catalogue,
            open: open.clone(),
            hires: hires.clone(),
        };
        let keys = HireKeys::new(journal.clone(), tasks.clone(), hires.clone());
        let placer = Placer {
            runtime: runtime.clone(),
            journal: journal.clone(),
            hirer: hirer.clone(),
            hires: hires.clone(),
            keys: keys.clone(),
            wallet: wallet.clone(),
            grants,
            content,
            events,
            defaults: parts.hire,
            unit: parts.unit,
        };
        spawn("trade/again", Box::pin(placer.clone().begin_again()));
        Ok(Self {
            keys,
            placer,
            tasks,
            stopping,
            hires,
            hirer,
            open,
            actors,
            clocks,
            journal,
            task_keys,
            wallet,
            #[cfg(test)]
            unreleased,
            runtime,
        })
    }

    /// Has a task done on `input` by whoever does it best within the terms. Returns as soon as it has a name.
    ///
    /// # Errors
    /// If it can't even begin: the hire must say what it may cost, in which unit, and how long it may take.
    pub async fn hire(&self, hire: Hire, input: Data) -> Result<TaskHandle, HireError> {
        self.hirer.hire(hire, input).await
    }

    /// Places a hire, or finds the task that its origin (with the hash of its request) has already; or has a service of our own do it,
    /// for free. Returns as soon as the task has a name.
    ///
    /// # Errors
    /// If it can't even begin, or the origin asked for something else before.
    pub async fn place(&self, hire: Hire, input: Data, origin: Option<(Origin, Digest)>) -> Result<Placed, PlaceError> {
        self.placer.place(hire, input, origin).await
    }

    /// How those of a caller's hires ended whose end it hasn't taken yet ([`take_end`]), in the order of their keys.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn ends(&self, caller: &str) -> Result<Vec<End>, StoreError> {
        self.journal.read(|r| ends::ends(r, caller))
    }

    /// The task that was placed last for an origin.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn task_of(&self, origin: &Origin) -> Result<Option<Cid>, StoreError> {
        self.journal.read(|r| keys::task_of(r, origin))
    }

    /// What is spent of a budget, without what has come back by now.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn spent_of(&self, budget: &Budget) -> Result<u64, StoreError> {
        self.journal.read(|r| budget.spent(r, self.runtime.now()))
    }

    /// Whether a hire of this name is under way: another seller may be awarded although the last trade is over.
    pub fn is_placing(&self, task: Cid) -> bool {
        self.hires.is_under_way(task)
    }

    /// Writes off the money that is locked for a task of ours, so that another may be awarded under its key. Says whether
    /// there is such a task.
    ///
    /// # Errors
    /// If the store can't be written.
    pub async fn write_off(&self, task: Cid) -> Result<bool, StoreError> {
        self.keys.write_off(task, self.runtime.now()).await
    }

    /// The keys with which programs of running tasks call this node.
    pub fn task_keys(&self) -> &TaskKeys {
        &self.task_keys
    }

    /// What was hired for the sake of a trade that we sell, by its asks.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn passed_on(&self, award: Cid) -> Result<Vec<Cid>, StoreError> {
        self.tasks.passed_on(award)
    }

    /// The caller that a task was hired for; `None` if that is the owner, or there is no such task.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn hired_by(&self, task: Cid) -> Result<Option<String>, StoreError> {
        match self.hires.by(task) {
            Some(by) => Ok(Some(by)),
            None => self.journal.read(|r| Ok(r.get(TASKS, key(task))?.and_then(|record| record.by))),
        }
    }

    /// Calls off a task that we buy, by its name or its award's. Before the award nothing is lost; once the seller works
    /// it keeps the price, and once it has delivered there is nothing to call off.
    ///
    /// # Errors
    /// If there is no such task, or it is over.
    pub async fn cancel(&self, id: Cid) -> Result<(), CancelError> {
        let trade = match self.hires.call_off(id) {
            CalledOff::Before => return Ok(()),
            CalledOff::Awarded(trade) => trade,
            CalledOff::Unknown => self.tasks.trade_of(id)?.ok_or(CancelError::Unknown(id))?,
        };
        if !self.open.is_wanted(trade) {
            return Err(CancelError::Over(id));
        }
        if self.actors.post(trade, Cause::Cancel, BuyerMail::Cancel.into()) {
            Ok(())
        } else {
            Err(CancelError::Unknown(id))
        }
    }

    /// A page of all tasks, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn tasks(&self, page: Page) -> Result<Vec<TaskView>, StoreError> {
        self.tasks.page(page)
    }

    /// A page of the tasks that fit, the newest first: of all, or of those that were hired for the sake of an award.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn tasks_that_fit(
        &self,
        under: Option<Cid>,
        page: Page,
        filter: TaskFilter,
    ) -> Result<Vec<TaskView>, StoreError> {
        let tasks = self.tasks.clone();
        let find = move || match under {
            Some(award) => tasks.page_under(award, page, &filter),
            None => tasks.page_of(page, &filter),
        };
        self.runtime.offload(Job::Disk, find).await
    }

    /// The tasks whose own ID, or whose trade's, ends in some letters, among very many of the newest: none, one, or two if there are
    /// several.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn tasks_ending_in(&self, tail: String) -> Result<BTreeSet<Cid>, StoreError> {
        let tasks = self.tasks.clone();
        self.runtime.offload(Job::Disk, move || tasks.ending_in(&tail)).await
    }

    /// One task by its name or its award's. A seller may have taken several awards of one task: the newest is shown.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn show(&self, id: Cid) -> Result<Option<TaskView>, StoreError> {
        self.tasks.show(id)
    }

    /// The awards that these receipts are of, as far as they are on record, at most `limit`.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn awards_of(&self, receipts: BTreeSet<Cid>, limit: usize) -> Result<Vec<Cid>, StoreError> {
        let journal = self.journal.clone();
        let find = move |r: &Read| views::awards_of(r, &receipts, limit);
        self.runtime.offload(Job::Disk, move || journal.read(find)).await
    }

    /// What was earned by what was taken since a moment, the names in order.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn earnings(&self, by: EarningsBy, since: Timestamp) -> Result<Vec<Earnings>, StoreError> {
        let journal = self.journal.clone();
        self.runtime.offload(Job::Disk, move || journal.read(|r| earnings::read(r, by, since))).await
    }

    /// The receipts that a seller has signed for us, of the tasks that are on record.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn receipts_of(&self, seller: AgentId) -> Result<Vec<Cid>, StoreError> {
        let journal = self.journal.clone();
        let find = move |r: &Read| {
            let mut receipts = Vec::new();
            r.visit(BUYERS, KeyRange::all(), |_, buyer| {
                receipts.extend(buyer.receipt().filter(|receipt| receipt.issuer() == seller).map(Signed::cid));
                ControlFlow::Continue(())
            })?;
            Ok(receipts)
        };
        self.runtime.offload(Job::Disk, move || journal.read(find)).await
    }

    /// The output of a task, if it is here.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn output(&self, id: Cid) -> Result<Option<Data>, StoreError> {
        self.tasks.output(id)
    }

    /// All that was signed about a task; `None` if no award was given. May take a while: what was signed beneath is verified first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn evidence(&self, id: Cid) -> Result<Option<Evidence>, StoreError> {
        self.tasks.evidence(id)
    }

    /// The same as an audit bundle, made off the async threads.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn audit_bundle(&self, id: Cid) -> Result<Option<Vec<u8>>, StoreError> {
        let tasks = self.tasks.clone();
        let job = Job::Signatures(SUB_EVIDENCE_SIGNATURES);
        self.runtime.offload(job, move || Ok(tasks.evidence(id)?.map(|evidence| audit::bundle(&evidence)))).await
    }

    /// The trades in which a seller took our money for nothing, sold a key that doesn't open what it delivered, or contradicted
    /// itself; the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn cheats(&self) -> Result<Vec<Cid>, StoreError> {
        let mut rows = self.journal.read(|r| r.range(CHEATS, KeyRange::all(), usize::MAX))?;
        rows.sort_by_key(|(_, cheat)| std::cmp::Reverse(cheat.at));
        Ok(rows.iter().filter_map(|(key, _)| records::cid_part(key)).collect())
    }

    /// When the seller of a trade was found to have taken our money for nothing, if it was.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn cheated_at(&self, trade: Cid) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.journal.read(|r| r.get(CHEATS, records::key(trade)))?.map(|cheat| cheat.at))
    }

    /// Whether money of a trade that we buy may still come back, or go.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn has_money_out(&self, trade: Cid) -> Result<bool, StoreError> {
        let state = self.journal.read(|r| r.get(BUYERS, records::key(trade)))?;
        Ok(match state {
            Some(Buyer::Ended(ended)) => matches!(ended.money, Money::Waiting | Money::Returned),
            Some(_) => true,
            None => false,
        })
    }

    /// What shows that the seller of a trade took our money for nothing, or sold a wrong key, if it did.
    ///
    /// # Errors
    /// If the store or the wallet can't be read.
    pub fn accusation(&self, trade: Cid) -> Result<Option<Accusation>, WalletError> {
        let redeemed = self.wallet.redeemed_proofs(trade)?;
        Ok(self.journal.read(|r| accusation::read(r, trade, &redeemed))?)
    }

    /// All that we have awarded or passed on under a grant that we hold.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn spent_under(&self, grant: &GrantChain) -> Result<u64, StoreError> {
        self.journal.read(|r| hire::spent_under(r, grant.leaf()))
    }

    /// The delegations by which sellers of our open tasks may subcontract, from the principal on, and when each was made.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn granted_to_sellers(&self) -> Result<Vec<(GrantChain, Timestamp)>, StoreError> {
        let open = self.open.bought_from(None);
        self.journal.read(|r| {
            let mut granted = Vec::new();
            for trade in open {
                let Some(deal) = r.get(DEALS, key(trade))? else { continue };
                let chain = deal.passed_on().and_then(|links| GrantChain::new(links).ok());
                granted.extend(chain.map(|chain| (chain, deal.award.made())));
            }
            Ok(granted)
        })
    }

    /// Debits what is passed on by a grant under this one, in full, from every delegation that it is under: before it is
    /// signed.
    ///
    /// # Errors
    /// If one of them doesn't leave as much, or the store fails.
    pub async fn debit_grant(&self, above: GrantChain, amount: u64) -> Result<Debited, HireError> {
        self.journal.commit(Step::StoreDebit, move |w| hire::debit_grant(w, &above, amount)).await
    }

    /// Gives back what was debited for a grant that was not signed after all.
    ///
    /// # Errors
    /// If the store fails; it stays debited then.
    pub async fn give_back(&self, debited: Debited) -> Result<(), StoreError> {
        self.journal.commit(Step::Other, move |w| hire::give_back(w, &debited)).await
    }

    /// Trades that aren't over, bought and sold, and hires under way.
    pub fn open_count(&self) -> usize {
        self.open.len() + self.hires.searching_len()
    }

    /// Whether most of the peers heard last sign with a clock that ours differs from.
    pub fn clock_doubt(&self) -> Option<ClockDoubt> {
        self.clocks.doubt()
    }

    /// Takes no more asks, awards and hires; open trades go on. For a clean stop.
    pub fn stop_taking(&self) {
        self.stopping.set();
    }
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
