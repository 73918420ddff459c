//! Money that is locked: to sellers, as a buyer; to us, as a seller; and what falls back.
//!
//! ```text
//!   Purse        ecash kept pre-locked to sellers, paid with in trades      purse.rs
//!   Redemption   locks accepted from buyers, redeemed in batches            redemption.rs
//!   Refunds      what falls back to us after a locktime                     refunds.rs
//! ```
//!
//! All three move coins through the ledger's operations, which report back through [`Shared`].

mod purse;
mod redemption;
mod refunds;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use guilder_protocol::locks::LockedProof;
use tokio::sync::Notify;

use self::purse::Index;
pub(super) use self::{purse::Purse, redemption::Redemption, refunds::Refunds};
pub use self::{
    purse::{LockOf, LockRequest, PreparedLock},
    redemption::{LockContext, VettedLock},
};
use super::{
    keys::LockKeys,
    ledger::{Ledger, LockObserver},
    mints::Mints,
    notices::Notices,
    records::{BatchRecord, Currency, OperationId, Y},
};
use crate::{runtime::Runtime, store::Store, sync::lock};

/// What the three parts and the ledger share.
#[derive(Default)]
pub(super) struct Shared {
    /// Which proofs in the purses are free.
    index: Mutex<Index>,
    /// There may be something to redeem.
    pub(super) redeem: Notify,
    /// There may be an outcome to tell.
    pub(super) outcomes: Notify,
}

impl LockObserver for Shared {
    fn refilled(&self, id: OperationId, batch: &BatchRecord, proofs: BTreeMap<Y, LockedProof>) {
        lock(&self.index).add(id, batch, proofs);
    }

    fn ended(&self) {
        self.outcomes.notify_one();
        self.redeem.notify_one();
    }

    fn another_copy(&self, currency: &Currency) {
        lock(&self.index).retire_currency(currency);
    }
}

/// What each of the three parts is built with.
#[derive(Clone)]
pub(super) struct LocksParts {
    pub(super) mints: Arc<Mints>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) keys: Arc<LockKeys>,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
    pub(super) notices: Notices,
    pub(super) shared: Arc<Shared>,
    pub(super) patience: Duration,
}
