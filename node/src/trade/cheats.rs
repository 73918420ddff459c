//! Sellers that took our money for nothing: not asked again for a while, unless a task names them.
//!
//! What they took stands in the store for good, and is read back at each start.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::{identity::AgentId, time::Timestamp};

use super::{
    journal::Journal,
    limits::{DISTRUST_SECS, MAX_DISTRUSTED},
    records::{CHEATS, is_lately},
};
use crate::{
    store::{KeyRange, Reader, StoreError},
    sync::lock,
};

/// Who isn't asked, and when it last took something. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Cheats(Arc<Mutex<BTreeMap<AgentId, Timestamp>>>);

impl Cheats {
    /// Reads who has taken something lately.
    pub(super) fn read(journal: &Journal, now: Timestamp) -> Result<Self, StoreError> {
        let cheats = Self::default();
        journal.read(|r| {
            r.visit(CHEATS, KeyRange::all(), |_, cheat| {
                if is_lately(cheat.at, now, DISTRUST_SECS) {
                    cheats.note(cheat.seller, cheat.at);
                }
                std::ops::ControlFlow::Continue(())
            })
        })?;
        Ok(cheats)
    }

    /// Notes that a seller has taken something.
    pub(super) fn note(&self, seller: AgentId, at: Timestamp) {
        let mut cheats = lock(&self.0);
        let last = cheats.entry(seller).or_insert(at);
        *last = at.max(*last);
        if cheats.len() > MAX_DISTRUSTED {
            let oldest = cheats.iter().min_by_key(|(_, at)| **at).map(|(seller, _)| *seller);
            oldest.and_then(|oldest| cheats.remove(&oldest));
        }
    }

    /// Who isn't to be asked.
    pub(super) fn distrusted(&self, now: Timestamp) -> Vec<AgentId> {
        lock(&self.0).iter().filter(|(_, at)| is_lately(**at, now, DISTRUST_SECS)).map(|(seller, _)| *seller).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seller_that_took_money_for_nothing_is_distrusted_for_a_while() {
        let (cheats, at) = (Cheats::default(), Timestamp::from_secs(1_000_000_000));
        let [first, second] = [1, 2].map(|byte| AgentId::from_bytes([byte; 32]));
        cheats.note(first, at);
        cheats.note(second, at.saturating_add(DISTRUST_SECS));
        cheats.note(second, at);
        assert_eq!(cheats.distrusted(at.saturating_add(DISTRUST_SECS)), [first, second]);
        assert_eq!(cheats.distrusted(at.saturating_add(DISTRUST_SECS + 1)), [second]);
        // Noted while the clock was a year ahead.
        cheats.note(first, at.saturating_add(365 * 86_400));
        assert_eq!(cheats.distrusted(at.saturating_add(DISTRUST_SECS + 1)), [second]);
    }

    #[test]
    fn the_number_of_distrusted_sellers_is_bounded_and_the_oldest_go() {
        let cheats = Cheats::default();
        for number in 0..=u16::try_from(MAX_DISTRUSTED).expect("fits") {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            cheats.note(AgentId::from_bytes(bytes), Timestamp::from_secs(1_000 + u64::from(number)));
        }
        let distrusted = cheats.distrusted(Timestamp::from_secs(1_000 + MAX_DISTRUSTED as u64));
        assert_eq!(distrusted.len(), MAX_DISTRUSTED);
        assert!(!distrusted.contains(&AgentId::from_bytes([0; 32])));
    }
}
