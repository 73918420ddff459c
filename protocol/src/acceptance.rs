//! The acceptance: a seller's signed statement that it took an award, when, and which money it found locked to it.
//!
//! It travels in the message with which a seller answers an award, and is repeated from the record. It shows that the award was
//! taken; whether anything was delivered, only a receipt shows.

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    award::Award,
    bytes::Digest,
    claim::{Body, Claim},
    market::{MintUrl, Unit},
    settlement::Lock,
    trade::Deal,
};

/// See the module. Its `iat` is when the award was taken, by the seller's clock.
pub type Acceptance = Claim<AcceptanceBody>;

/// See [`Acceptance`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptanceBody {
    /// The award that is taken.
    pub award: Cid,
    /// The offer that it was given on.
    pub offer: Cid,
    /// The ecash that the seller checked and found locked to it; null in a mode that locks none.
    pub locked: Option<Locked>,
}

/// Ecash that a seller checked offline: each proof against the agreed terms, and the mint's signature on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// The mint that issued it.
    pub mint: MintUrl,
    /// Its unit.
    pub unit: Unit,
    /// The sum of the proofs, input fees included.
    pub amount: u64,
    /// SHA-256 over the sorted compressed Ys of the proofs, as in the award.
    pub ys: Digest,
}

impl Locked {
    /// What `lock` holds under `award`.
    fn of(award: &Award, lock: &Lock) -> Option<Self> {
        award.part().commitment().map(|ys| Self::under(award, lock.amount(), ys))
    }

    fn under(award: &Award, amount: u64, ys: Digest) -> Self {
        let args = award.args();
        Self { mint: args.mint.clone(), unit: args.unit.clone(), amount, ys }
    }
}

impl AcceptanceBody {
    /// What a seller says that takes `deal`.
    pub fn of(deal: &Deal) -> Self {
        let locked = Locked::of(&deal.award, &deal.lock);
        Self { award: deal.id(), offer: deal.award.args().offer, locked }
    }
}

impl Acceptance {
    /// Whether it is the seller's word on this award, as far as can be told without the lock: about its money, and dated when
    /// the award could be taken.
    pub fn is_of(&self, award: &Award) -> bool {
        let money = match (&self.body.locked, award.part().commitment()) {
            (Some(locked), Some(ys)) => {
                locked.amount >= award.args().price && *locked == Locked::under(award, locked.amount, ys)
            }
            (None, None) => true,
            _ => false,
        };
        money && self.is_about(award)
    }

    /// Whether it says what a seller says that takes `deal`, to the coin.
    pub fn is_of_deal(&self, deal: &Deal) -> bool {
        self.is_about(&deal.award) && self.body.locked == Locked::of(&deal.award, &deal.lock)
    }

    fn is_about(&self, award: &Award) -> bool {
        let (body, args) = (&self.body, award.args());
        let in_time = !award.made().is_future(self.iat) && self.iat <= args.deadline;
        self.iss == args.seller && body.award == award.cid() && body.offer == args.offer && in_time
    }
}

impl Body for AcceptanceBody {
    const MAX_LIFETIME: Option<u64> = None;
    const TAG: &'static str = "guilder/acceptance@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}
