//! The cancellation: a buyer's signed statement that it called an award off, and when.
//!
//! Without it, a receipt that says *cancelled* is the seller's word against the buyer's.

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    award::Award,
    claim::{Body, Claim},
};

/// See the module. Its `iat` is when the award was called off, by the buyer's clock.
pub type Cancellation = Claim<CancellationBody>;

/// See [`Cancellation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancellationBody {
    /// The award that is called off.
    pub award: Cid,
}

impl Cancellation {
    /// Whether it is the buyer's word on this award.
    pub fn is_of(&self, award: &Award) -> bool {
        self.iss == award.buyer() && self.body.award == award.cid()
    }
}

impl Body for CancellationBody {
    const MAX_LIFETIME: Option<u64> = None;
    const TAG: &'static str = "guilder/cancellation@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}
