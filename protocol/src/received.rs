//! *Received*: a buyer's signed statement that it has the output, and that the output is the one that a receipt commits to.
//!
//! The buyer's node signs it by itself when it ends the trade. Whoever signed it can't deny afterwards that it was served.

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    award::Award,
    claim::{Body, Claim},
};

/// See the module. Its `iat` is when the output was here, by the buyer's clock.
pub type Received = Claim<ReceivedBody>;

/// See [`Received`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedBody {
    /// The award.
    pub award: Cid,
    /// The receipt whose commitment the output opens.
    pub receipt: Cid,
}

impl Received {
    /// Whether it is the buyer's word on this award, whatever receipt it names.
    pub fn is_of(&self, award: &Award) -> bool {
        self.iss == award.buyer() && self.body.award == award.cid()
    }
}

impl Body for ReceivedBody {
    const MAX_LIFETIME: Option<u64> = None;
    const TAG: &'static str = "guilder/received@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}
