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

use cdk::nuts::State;
use guilder_protocol::{bytes::LockKey, locks::LockedProof, time::Timestamp};
use tokio::sync::Notify;

use self::purse::Index;
pub(super) use self::{purse::Purse, redemption::Redemption, refunds::Refunds};
pub use self::{
    purse::{LockOf, LockRequest, PreparedLock},
    redemption::{LockContext, VettedLock},
};
use super::{
    error::WalletError,
    keys::{self, LockKeys},
    ledger::{Ledger, LockObserver, states},
    mints::Mints,
    notices::Notices,
    records::{BatchRecord, Currency, OperationId, Y},
    spend::Spend,
    tables::{Spent, strike_purse},
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

    fn another_copy(&self, currency: &Currency, batches: &[OperationId]) {
        lock(&self.index).retire_currency(currency, batches);
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

impl LocksParts {
    /// Asks the mint what of some locked coins of ours is spent (NUT-07), and by whom. Before the locktime only the payee
    /// can have spent one; after it we could, too, from another copy of this wallet.
    async fn spent(&self, what: &Locked<'_>) -> Result<Spent, WalletError> {
        let client = self.mints.client(&what.currency.mint)?;
        let coins: Vec<(Y, &LockedProof)> = what.proofs.iter().filter_map(|proof| Some((proof.y()?, proof))).collect();
        let states = states(&client, coins.iter().map(|(y, _)| *y)).await?;
        let ours: Vec<_> = what.refund.keys().iter().map(|path| self.keys.public(path)).collect();
        let fallen = self.runtime.now() > what.locktime;
        let mut spent = Spent::default();
        for ((y, proof), state) in coins.into_iter().zip(states) {
            if state.state != State::Spent {
                continue;
            }
            let has_signed = |key| keys::has_signed(key, &proof.secret, &state.signatures);
            if ours.iter().copied().any(has_signed) {
                spent.by_us(y);
            } else if fallen && !has_signed(what.payee) {
                // The mint's word alone: it may as well have kept it itself.
                spent.untold(y);
            } else {
                spent.by_others(y, state);
            }
        }
        Ok(spent)
    }

    /// The same for coins of a purse batch; what is spent is struck, and whoever took it charged. Nobody is, where another
    /// copy of this wallet may have paid with it.
    async fn strike_spent_of_batch(
        &self,
        id: OperationId,
        batch: &BatchRecord,
        proofs: &[LockedProof],
    ) -> Result<Spent, WalletError> {
        let BatchRecord { currency, conditions, refund, .. } = batch;
        let (locktime, payee) = (conditions.locktime(), conditions.payee());
        let mut spent = self.spent(&Locked { currency, refund, locktime, payee, proofs }).await?;
        if spent.is_empty() {
            return Ok(spent);
        }
        if spent.blames() && self.ledger.has_another_copy(currency).await? {
            spent.blame_nobody();
        }
        let (struck, currency, now) = (spent.clone(), currency.clone(), self.runtime.now());
        self.store.transact(move |write| strike_purse(write, id, &currency, &struck, now)).await?;
        self.shared.outcomes.notify_one();
        Ok(spent)
    }
}

/// Locked coins of ours, and how they are taken back.
struct Locked<'a> {
    currency: &'a Currency,
    refund: &'a Spend,
    locktime: Timestamp,
    /// Who else can take them.
    payee: LockKey,
    proofs: &'a [LockedProof],
}
