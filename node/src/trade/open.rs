//! The open trades: who may write each, and the way to it.
//!
//! A trade has one writer at any time: the intake that checks its award and records it, or else its actor. Mail is posted
//! and an actor let go under one lock, so that none is lost between the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use cid::Cid;
use guilder_protocol::{identity::AgentId, time::Timestamp, wire};

use super::{
    limits::{MAX_INTAKES, MAX_OPEN_TRADES},
    mailbox::{BuyerMail, Cause, Inbox, Mail, Mailbox, SellerMail},
    progress::Progress,
    timers::Timers,
};
use crate::{events::Side, network::Protection, runtime::Runtime, sync::lock};

/// The registry of open trades. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenTrades(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    registry: Mutex<Registry>,
    timers: Timers,
}

#[derive(Debug, Default)]
struct Registry {
    trades: BTreeMap<Cid, OpenTrade>,
    /// Awards that are being checked.
    intakes: BTreeSet<Cid>,
}

/// An open trade, as others see it.
#[derive(Debug)]
pub(super) struct OpenTrade {
    peer: AgentId,
    mailbox: SideMailbox,
    /// The seller has said that it works. It isn't worth a write: after a restart the seller says it again.
    accepted: bool,
    /// Keeps the connection to the peer, and makes it one that we dealt with.
    _protection: Option<Protection>,
    /// We have given it up, and ask on for what may still come of it; or its work is over, and the buyer's release or its last word
    /// is awaited.
    given_up: bool,
    /// What was said of the work last.
    progress: Progress,
}

/// A mailbox of either side.
#[derive(Debug)]
pub(super) enum SideMailbox {
    Buyer(Mailbox<BuyerMail>),
    Seller(Mailbox<SellerMail>),
}

/// What became of posted mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    Yes,
    /// There is no such trade on that side.
    Unknown,
    /// The trade is another peer's.
    Foreign,
    /// The peer's queue is full, or the record can't be read; what a peer says it will say again.
    Full,
}

/// Where mail comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    Peer(AgentId),
    This(Cause),
}

impl OpenTrade {
    pub(super) fn new(peer: AgentId, mailbox: SideMailbox, protection: Option<Protection>) -> Self {
        let (accepted, given_up, progress) = (false, false, Progress::default());
        Self { peer, mailbox, accepted, given_up, progress, _protection: protection }
    }

    fn side(&self) -> Side {
        match self.mailbox {
            SideMailbox::Buyer(_) => Side::Buyer,
            SideMailbox::Seller(_) => Side::Seller,
        }
    }

    fn post(&self, from: From, mail: Mail) -> Posted {
        if matches!(from, From::Peer(peer) if peer != self.peer) {
            return Posted::Foreign;
        }
        match (&self.mailbox, mail) {
            (SideMailbox::Buyer(mailbox), Mail::Buyer(mail)) => post(mailbox, from, mail),
            (SideMailbox::Seller(mailbox), Mail::Seller(mail)) => post(mailbox, from, mail),
            _ => Posted::Unknown,
        }
    }
}

fn post<M>(mailbox: &Mailbox<M>, from: From, mail: M) -> Posted {
    match from {
        From::This(cause) => mailbox.post_own(cause, mail),
        From::Peer(_) if !mailbox.post_peer(mail) => return Posted::Full,
        From::Peer(_) => {}
    }
    Posted::Yes
}

impl OpenTrades {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.0.registry)
    }

    /// Opens a trade that has just been recorded or read. `start` starts its actor: under the lock, so that it can't let
    /// go of a trade that isn't there yet.
    pub(super) fn open(&self, trade: Cid, start: impl FnOnce() -> OpenTrade) {
        let mut registry = self.registry();
        let other = registry.trades.insert(trade, start());
        debug_assert!(other.is_none(), "a trade has one actor");
    }

    /// Posts mail to a trade. One that isn't open is opened again by `revive`, which reads its record; it is called under
    /// the lock, or two posts at once would make two writers, of which one knows an older state.
    pub(super) fn post(
        &self,
        from: From,
        trade: Cid,
        mail: Mail,
        revive: impl FnOnce(&Mail) -> Result<OpenTrade, Posted>,
    ) -> Posted {
        let mut registry = self.registry();
        if let Some(open) = registry.trades.get(&trade) {
            return open.post(from, mail);
        }
        if registry.intakes.contains(&trade) {
            // Its actor comes with the end of the intake.
            return Posted::Unknown;
        }
        let open = match revive(&mail) {
            Ok(open) => open,
            Err(verdict) => return verdict,
        };
        let posted = open.post(from, mail);
        registry.trades.insert(trade, open);
        posted
    }

    /// Whether the trade is open.
    pub(super) fn is_open(&self, trade: Cid) -> bool {
        self.registry().trades.contains_key(&trade)
    }

    /// Whether the trade is open and not given up.
    pub(super) fn is_wanted(&self, trade: Cid) -> bool {
        self.registry().trades.get(&trade).is_some_and(|open| !open.given_up)
    }

    /// Lets go of a trade if no mail waits for it.
    pub(super) fn close<M>(&self, trade: Cid, inbox: &Inbox<M>) -> bool {
        let mut registry = self.registry();
        let idle = inbox.is_empty();
        if idle {
            registry.trades.remove(&trade);
            self.0.timers.clear(trade);
        }
        idle
    }

    /// Sets a trade's alarm, instead of an earlier one.
    pub(super) fn set_alarm(&self, trade: Cid, at: Timestamp) {
        self.0.timers.set(trade, at);
    }

    /// Forgets a trade's alarm.
    pub(super) fn clear_alarm(&self, trade: Cid) {
        self.0.timers.clear(trade);
    }

    /// Waits for the next alarm and takes it. Cancel-safe.
    pub(super) async fn next_alarm(&self, runtime: &Runtime) -> Cid {
        self.0.timers.next(runtime).await
    }

    /// Begins an intake, unless the same one is under way or too many are.
    pub(super) fn begin_intake(&self, trade: Cid) -> Option<Intake> {
        let mut registry = self.registry();
        if registry.intakes.len() >= MAX_INTAKES || !registry.intakes.insert(trade) {
            return None;
        }
        Some(Intake { open: self.clone(), trade })
    }

    /// Whether the trade's award is being checked.
    pub(super) fn is_taken_in(&self, trade: Cid) -> bool {
        self.registry().intakes.contains(&trade)
    }

    /// Whether another trade may be opened. As many as may be open may have been given up besides.
    pub(super) fn has_room(&self) -> bool {
        let all = self.registry().trades.len();
        all < 2 * MAX_OPEN_TRADES && self.len() < MAX_OPEN_TRADES
    }

    /// How many trades are open and not given up.
    pub(super) fn len(&self) -> usize {
        self.registry().trades.values().filter(|trade| !trade.given_up).count()
    }

    /// Notes whether a trade has been given up, or its work is over and only the buyer's word awaited: it takes none of the room of
    /// others.
    pub(super) fn note_given_up(&self, trade: Cid, given_up: bool) {
        if let Some(open) = self.registry().trades.get_mut(&trade) {
            open.given_up = given_up;
        }
    }

    /// How many are open that we sell, those whose work is over not counted.
    pub(super) fn sold_len(&self) -> usize {
        self.registry().trades.values().filter(|trade| trade.side() == Side::Seller && !trade.given_up).count()
    }

    /// Our side of an open trade.
    pub(super) fn side_of(&self, trade: Cid) -> Option<Side> {
        self.registry().trades.get(&trade).map(OpenTrade::side)
    }

    /// The open trades that we buy from a peer, or from all.
    pub(super) fn bought_from(&self, peer: Option<AgentId>) -> Vec<Cid> {
        let registry = self.registry();
        let bought = registry.trades.iter().filter(|(_, trade)| trade.side() == Side::Buyer);
        bought.filter(|(_, trade)| peer.is_none_or(|peer| peer == trade.peer)).map(|(id, _)| *id).collect()
    }

    /// Notes what was said of a trade's work.
    pub(super) fn note_progress(&self, trade: Cid, said: &wire::Progress) {
        if let Some(open) = self.registry().trades.get_mut(&trade) {
            open.progress.add(said);
        }
    }

    /// What was said last of an open trade's work.
    pub(super) fn progress(&self, trade: Cid) -> Option<Progress> {
        self.registry().trades.get(&trade).map(|open| open.progress.clone())
    }

    /// Notes that the seller of a trade works.
    pub(super) fn note_accepted(&self, trade: Cid) {
        if let Some(open) = self.registry().trades.get_mut(&trade) {
            open.accepted = true;
        }
    }

    /// Whether the seller of an open trade has said that it works.
    pub(super) fn is_accepted(&self, trade: Cid) -> bool {
        self.registry().trades.get(&trade).is_some_and(|open| open.accepted)
    }
}

/// An award that is being checked, until this is dropped: the trade has no actor meanwhile.
#[derive(Debug)]
pub(super) struct Intake {
    open: OpenTrades,
    trade: Cid,
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.open.registry().intakes.remove(&self.trade);
    }
}
