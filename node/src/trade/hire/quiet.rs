//! Sellers that didn't answer an ask, so that the next hire doesn't wait for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::identity::AgentId;
use tokio::time::Instant;

use crate::{sync::lock, trade::limits::MAX_QUIET_SELLERS};

/// Who didn't answer, and when it was asked. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::trade) struct QuietSellers(Arc<Mutex<BTreeMap<AgentId, Instant>>>);

impl QuietSellers {
    /// Notes that a seller was asked and kept quiet.
    pub(super) fn note(&self, seller: AgentId, asked: Instant) {
        let mut quiet = lock(&self.0);
        quiet.insert(seller, asked);
        if quiet.len() > MAX_QUIET_SELLERS {
            // The one asked longest ago goes: it may be back by now.
            let oldest = quiet.iter().min_by_key(|(_, at)| **at).map(|(seller, _)| *seller);
            oldest.and_then(|oldest| quiet.remove(&oldest));
        }
    }

    /// Notes that a seller has answered.
    pub(super) fn forget(&self, seller: AgentId) {
        lock(&self.0).remove(&seller);
    }

    /// Whether the seller kept quiet when it was last asked.
    pub(super) fn contains(&self, seller: AgentId) -> bool {
        lock(&self.0).contains_key(&seller)
    }
}
