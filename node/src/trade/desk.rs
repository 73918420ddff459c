//! What all parts of the trade room share: the open trades, and the one way to reach each of them.
//!
//! Each open trade has an actor, the only writer of its state. Whatever concerns a trade is posted to its actor's
//! mailbox; a trade that has ended gets an actor again for as long as it takes to handle what came late.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cid::Cid;
use guilder_protocol::{
    envelope::Signed,
    identity::{AgentId, AgentKey},
    market::{Ask, Offer, Unit},
    trade::{Deal, buyer, seller},
    wire,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    TradeConfig,
    buckets::Buckets,
    buying::BuyerActor,
    limits::{MAILBOX, MAX_OPEN_TRADES, STORE_RETRY},
    load::{Load, Place},
    outbox::Outbox,
    penalty::Misdeed,
    records::{BUYERS, DEALS, SELLERS, key},
    selling::{SellerActor, Work},
    timers::Timers,
};
use crate::{
    catalogue::Catalogue,
    content::Content,
    events::{Events, Side},
    executor::Service,
    failpoint::{Failpoint, Step},
    network::Network,
    runtime::Runtime,
    store::{Reader, Store, StoreError, Write},
    sync::lock,
    wallet::{Wallet, WalletError},
};

/// What the parts of the room share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) key: AgentKey,
    pub(super) config: TradeConfig,
    pub(super) runtime: Runtime,
    pub(super) store: Store,
    pub(super) network: Network,
    pub(super) wallet: Wallet,
    pub(super) catalogue: Catalogue,
    pub(super) content: Content,
    pub(super) events: Events,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    pub(super) buckets: Buckets,
    pub(super) load: Load,
    pub(super) failpoint: Failpoint,
    pub(super) stopping: AtomicBool,
    pub(super) trades: Mutex<Trades>,
    pub(super) hires: Mutex<BTreeMap<Cid, HireSlot>>,
    /// Units in which we could pay when we last had to.
    pub(super) solvent: Mutex<BTreeSet<Unit>>,
    /// Sellers that didn't answer when they were last asked, and when that was.
    pub(super) quiet: Mutex<BTreeMap<AgentId, Instant>>,
    /// Awards that are being checked.
    pub(super) intakes: Mutex<BTreeSet<Cid>>,
}

pub(super) type Trades = BTreeMap<Cid, OpenTrade>;

/// A trade's state, as stored.
enum State {
    Buyer(Box<buyer::Buyer>),
    Seller(Box<seller::Seller>),
}

/// An open trade, as others see it.
#[derive(Debug)]
pub(super) struct OpenTrade {
    pub(super) peer: AgentId,
    /// The seller has said that it works. It isn't worth a write: after a restart the seller says it again.
    pub(super) accepted: bool,
    pub(super) mailbox: Mailbox,
}

/// The way to a trade's actor.
#[derive(Clone, Debug)]
pub(super) enum Mailbox {
    Buyer(mpsc::Sender<BuyerMail>),
    Seller(mpsc::Sender<SellerMail>),
}

/// What is posted to a buyer's trade.
#[derive(Debug)]
pub(super) enum BuyerMail {
    Input(buyer::Input),
    /// From the seller, unchecked.
    Delivered(wire::Delivered),
    Progress(wire::Progress),
}

/// What is posted to a seller's trade.
#[derive(Debug)]
pub(super) enum SellerMail {
    Input(seller::Input),
    /// The worker has come to an end.
    Worked(Work),
}

/// Mail for either side.
#[derive(Debug)]
pub(super) enum Mail {
    Buyer(BuyerMail),
    Seller(SellerMail),
}

impl From<buyer::Input> for Mail {
    fn from(input: buyer::Input) -> Self {
        Self::Buyer(BuyerMail::Input(input))
    }
}

impl From<seller::Input> for Mail {
    fn from(input: seller::Input) -> Self {
        Self::Seller(SellerMail::Input(input))
    }
}

/// What became of posted mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    Yes,
    /// There is no such trade on that side.
    Unknown,
    /// The trade is another peer's.
    Foreign,
    /// The mailbox is full; what a peer says it will say again.
    Full,
}

/// A hire under way, as others see it.
#[derive(Debug)]
pub(super) struct HireSlot {
    pub(super) ask: Signed<Ask>,
    /// Sellers that were asked and haven't answered: nobody else's answer is taken.
    pub(super) asked: BTreeSet<AgentId>,
    pub(super) answers: mpsc::Sender<Answer>,
    pub(super) cancel: watch::Sender<bool>,
    pub(super) trade: Option<Cid>,
}

/// A seller's answer to an ask.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) from: AgentId,
    pub(super) what: Result<Signed<Offer>, wire::Reason>,
}

impl Desk {
    pub(super) fn me(&self) -> AgentId {
        self.network.local()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// One transaction of this room, counted by the failpoint.
    pub(super) async fn commit<R, E>(
        &self,
        step: Step,
        job: impl FnOnce(&mut Write<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.failpoint.pass(step).await;
        self.store.transact(job).await
    }

    /// One transaction that has to succeed before its trade can go on: tried until the disk takes it.
    pub(super) async fn persist(
        &self,
        step: Step,
        job: impl Fn(&mut Write<'_>) -> Result<(), WalletError> + Send + Sync + 'static,
    ) {
        let job = Arc::new(job);
        let (mut wait, longest) = STORE_RETRY;
        loop {
            let attempt = Arc::clone(&job);
            match self.commit(step, move |w| attempt(w)).await {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, "a step of a trade could not be stored; trying again"),
            }
            tokio::time::sleep(wait).await;
            wait = longest.min(wait * 2);
        }
    }

    /// Charges a peer for what it did.
    pub(super) async fn punish(&self, peer: AgentId, misdeed: impl Into<Misdeed>) {
        misdeed.into().punish(&self.network, peer).await;
    }

    /// Whether another trade may be opened.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.trades).len() < MAX_OPEN_TRADES
    }

    /// How many trades are open, of one side.
    pub(super) fn open_count(&self, side: Side) -> usize {
        let is_buyer = side == Side::Buyer;
        lock(&self.trades).values().filter(|trade| matches!(trade.mailbox, Mailbox::Buyer(_)) == is_buyer).count()
    }

    /// Starts the actor of a buyer's trade whose state is stored.
    pub(super) fn start_buyer(
        self: &Arc<Self>,
        deal: Arc<Deal>,
        step: (buyer::Buyer, Vec<buyer::Effect>),
        waiter: Option<oneshot::Sender<buyer::Ended>>,
    ) {
        self.open_buyer(&mut lock(&self.trades), deal, step, waiter);
    }

    /// Starts the actor of a seller's trade whose state is stored.
    pub(super) fn start_seller(
        self: &Arc<Self>,
        deal: Arc<Deal>,
        step: (seller::Seller, Vec<seller::Effect>),
        service: Option<(Service, Place)>,
    ) {
        self.open_seller(&mut lock(&self.trades), deal, step, service);
    }

    fn open_buyer(
        self: &Arc<Self>,
        trades: &mut Trades,
        deal: Arc<Deal>,
        step: (buyer::Buyer, Vec<buyer::Effect>),
        waiter: Option<oneshot::Sender<buyer::Ended>>,
    ) {
        let (trade, peer) = (deal.id(), deal.seller());
        let (post, mail) = mpsc::channel(MAILBOX);
        let open = OpenTrade { peer, accepted: false, mailbox: Mailbox::Buyer(post.clone()) };
        let other = trades.insert(trade, open);
        debug_assert!(other.is_none(), "a trade has one actor");
        let actor = BuyerActor::new(Arc::clone(self), deal, step.0, post, waiter);
        self.runtime.spawn("trade/buyer", actor.run(step.1, mail)).detach();
    }

    fn open_seller(
        self: &Arc<Self>,
        trades: &mut Trades,
        deal: Arc<Deal>,
        step: (seller::Seller, Vec<seller::Effect>),
        service: Option<(Service, Place)>,
    ) {
        let (trade, peer) = (deal.id(), deal.buyer());
        let (post, mail) = mpsc::channel(MAILBOX);
        let open = OpenTrade { peer, accepted: false, mailbox: Mailbox::Seller(post.clone()) };
        let other = trades.insert(trade, open);
        debug_assert!(other.is_none(), "a trade has one actor");
        let actor = SellerActor::new(Arc::clone(self), deal, step.0, post, service);
        self.runtime.spawn("trade/seller", actor.run(step.1, mail)).detach();
    }

    /// Posts what a peer says to the trade that it speaks of, if it is its own.
    pub(super) fn post_from(self: &Arc<Self>, from: AgentId, trade: Cid, mail: Mail) -> Posted {
        self.post(Some(from), trade, mail)
    }

    /// Posts what happened in this node to a trade whose mailbox has room.
    pub(super) fn post_own(self: &Arc<Self>, trade: Cid, mail: Mail) -> Posted {
        self.post(None, trade, mail)
    }

    /// Posts what happened in this node; waits for room in the mailbox.
    pub(super) async fn feed(self: &Arc<Self>, trade: Cid, mail: impl Fn() -> Mail) -> bool {
        loop {
            match self.post(None, trade, mail()) {
                Posted::Yes => return true,
                Posted::Full => tokio::time::sleep(Duration::from_millis(5)).await,
                Posted::Unknown | Posted::Foreign => return false,
            }
        }
    }

    fn post(self: &Arc<Self>, from: Option<AgentId>, trade: Cid, mail: Mail) -> Posted {
        let open = lock(&self.trades).contains_key(&trade);
        if !open && (lock(&self.intakes).contains(&trade) || matches!(self.record(trade, &mail), Ok(None))) {
            // No trade of ours, or one whose award is being recorded: its actor comes with the end of that. What
            // strangers make up ends here, and holds up nobody.
            return Posted::Unknown;
        }
        let mut trades = lock(&self.trades);
        if !trades.contains_key(&trade)
            && let Err(verdict) = self.revive(&mut trades, from, trade, &mail)
        {
            return verdict;
        }
        let Some(open) = trades.get(&trade) else { return Posted::Full };
        if from.is_some_and(|from| from != open.peer) {
            return Posted::Foreign;
        }
        let posted = match (&open.mailbox, mail) {
            (Mailbox::Buyer(mailbox), Mail::Buyer(mail)) => mailbox.try_send(mail).is_ok(),
            (Mailbox::Seller(mailbox), Mail::Seller(mail)) => mailbox.try_send(mail).is_ok(),
            _ => return Posted::Unknown,
        };
        if posted { Posted::Yes } else { Posted::Full }
    }

    /// Gives a trade that has ended its actor back: its record is read and its actor opened under one lock, or two posts at
    /// once would make two writers, of which one knows an older state. The room for open trades doesn't bound this: such
    /// an actor lives for one piece of mail.
    fn revive(
        self: &Arc<Self>,
        trades: &mut Trades,
        from: Option<AgentId>,
        trade: Cid,
        mail: &Mail,
    ) -> Result<(), Posted> {
        let record = self.record(trade, mail).map_err(|error| {
            tracing::error!(%trade, %error, "a trade's record could not be read");
            Posted::Full
        })?;
        let (deal, side) = record.ok_or(Posted::Unknown)?;
        let peer = if matches!(side, State::Buyer(_)) { deal.seller() } else { deal.buyer() };
        if from.is_some_and(|from| from != peer) {
            return Err(Posted::Foreign);
        }
        match side {
            State::Buyer(state) => self.open_buyer(trades, Arc::new(deal), (*state, vec![]), None),
            State::Seller(state) => self.open_seller(trades, Arc::new(deal), (*state, vec![]), None),
        }
        Ok(())
    }

    /// What is stored of a trade, on the side that the mail is for. It is verified again as it is read, as always.
    fn record(&self, trade: Cid, mail: &Mail) -> Result<Option<(Deal, State)>, StoreError> {
        let key = key(trade);
        self.store.read(|r| {
            let state = match mail {
                Mail::Buyer(_) => r.get(BUYERS, &key)?.map(|state| State::Buyer(Box::new(state))),
                Mail::Seller(_) => r.get(SELLERS, &key)?.map(|state| State::Seller(Box::new(state))),
            };
            Ok(r.get(DEALS, &key)?.zip(state))
        })
    }

    /// Takes a trade off the desk if no mail waits for it. Mail is posted under the same lock, so none is lost.
    pub(super) fn close<M>(&self, trade: Cid, mail: &mpsc::Receiver<M>) -> bool {
        let mut trades = lock(&self.trades);
        let idle = mail.is_empty();
        if idle {
            trades.remove(&trade);
            self.timers.clear(trade);
        }
        idle
    }

    /// Our side of an open trade.
    pub(super) fn side_of(&self, trade: Cid) -> Option<Side> {
        lock(&self.trades).get(&trade).map(|open| match open.mailbox {
            Mailbox::Buyer(_) => Side::Buyer,
            Mailbox::Seller(_) => Side::Seller,
        })
    }

    /// Notes that the seller of a trade works.
    pub(super) fn note_accepted(&self, trade: Cid) {
        if let Some(open) = lock(&self.trades).get_mut(&trade) {
            open.accepted = true;
        }
    }

    /// Whether the seller of an open trade has said that it works.
    pub(super) fn is_accepted(&self, trade: Cid) -> bool {
        lock(&self.trades).get(&trade).is_some_and(|open| open.accepted)
    }

    /// The open trades with a peer, or all.
    pub(super) fn open_with(&self, peer: Option<AgentId>) -> Vec<(Cid, Side)> {
        let trades = lock(&self.trades);
        let with = trades.iter().filter(|(_, trade)| peer.is_none_or(|peer| peer == trade.peer));
        with.map(|(id, trade)| match trade.mailbox {
            Mailbox::Buyer(_) => (*id, Side::Buyer),
            Mailbox::Seller(_) => (*id, Side::Seller),
        })
        .collect()
    }
}
