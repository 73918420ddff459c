//! What a hire is paid from: the mints named in the ask, and the lock.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use guilder_protocol::{
    envelope::Signed,
    limits::MAX_MINTS,
    market::{MintUrl, Offer, Unit},
};

use super::HireError;
use crate::{
    sync::lock,
    wallet::{Balance, LockRequest, MintSummary, PreparedLock, Wallet, WalletError},
};

/// The wallet, as a hire sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::trade) struct Funds {
    wallet: Wallet,
    /// Units in which we could pay when we last had to.
    solvent: Arc<Mutex<BTreeSet<Unit>>>,
}

impl Funds {
    pub(in crate::trade) fn new(wallet: Wallet) -> Self {
        Self { wallet, solvent: Arc::default() }
    }

    pub(super) fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// The mints at which we can pay: `only` this one, or all that issue the unit.
    pub(super) fn mints(&self, unit: &Unit, only: Option<&MintUrl>) -> Result<Vec<MintUrl>, HireError> {
        if let Some(mint) = only {
            return if self.wallet.accepts(mint) {
                Ok(vec![mint.clone()])
            } else {
                Err(WalletError::UnknownMint(mint.clone()).into())
            };
        }
        let issues = |mint: &MintSummary| mint.units.is_empty() || mint.units.contains(unit);
        let mints: Vec<_> = self.wallet.mints().into_iter().filter(issues).map(|mint| mint.url).collect();
        // Counting the money takes a look at every lock: not for a buyer that paid from it a moment ago.
        if mints.len() <= MAX_MINTS && lock(&self.solvent).contains(unit) {
            return Ok(mints);
        }
        let mut balances = self.wallet.balances()?;
        // What is in a swap under way will be there when it is needed.
        let money = |balance: &Balance| balance.spendable + balance.locked + balance.pending;
        balances.retain(|balance| balance.unit == *unit && money(balance) > 0 && mints.contains(&balance.mint));
        balances.sort_by_key(|balance| std::cmp::Reverse(money(balance)));
        let mints: Vec<_> = balances.into_iter().map(|balance| balance.mint).take(MAX_MINTS).collect();
        if mints.is_empty() { Err(HireError::NoMoney(unit.clone())) } else { Ok(mints) }
    }

    /// Locks the price at the first of the seller's mints where that is possible.
    pub(super) async fn lock(&self, offer: &Signed<Offer>) -> Result<(MintUrl, PreparedLock), HireError> {
        let mut last = HireError::NoMoney(offer.body.unit.clone());
        for mint in &offer.body.mints {
            let request = LockRequest {
                seller: offer.issuer(),
                terms: offer.body.terms.clone(),
                mint: mint.clone(),
                unit: offer.body.unit.clone(),
                price: offer.body.price,
                max_proofs: usize::try_from(offer.body.max_proofs).unwrap_or(usize::MAX),
            };
            match self.wallet.lock(&request).await {
                Ok(lock) => {
                    self.note_solvency(&offer.body.unit, true);
                    return Ok((mint.clone(), lock));
                }
                Err(error) => last = error.into(),
            }
        }
        self.note_solvency(&offer.body.unit, false);
        Err(last)
    }

    /// Remembers whether there was money of a unit when it was last needed.
    fn note_solvency(&self, unit: &Unit, solvent: bool) {
        let mut units = lock(&self.solvent);
        if solvent {
            if !units.contains(unit) {
                units.insert(unit.clone());
            }
        } else {
            units.remove(unit);
        }
    }
}
