//! Who may have how much done in escrow before it releases any of it.
//!
//! What is delivered sealed waits for its buyer's release for as long as the offer says, and may wait in vain, at no cost to that
//! buyer but its money's rest. So these trades have places of their own, which take none of others' ([`OpenTrades`]):
//! each buyer those that it has earned by paying, and all buyers together a number that they share, each a few. A buyer that has
//! lately released less than others do gets none.
//!
//! [`OpenTrades`]: super::open::OpenTrades

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::{identity::AgentId, wire::Reason};

use super::{
    journal::Journal,
    limits::{
        MAX_EARNED_UNRELEASED, MAX_NO_RELEASE, MAX_SHARED_UNRELEASED, MAX_SHARED_UNRELEASED_PER_BUYER, MAX_UNRELEASED,
        NO_RELEASE_SECS, PAID_PER_NO_RELEASE, PAID_PER_UNRELEASED,
    },
    records::{BUYER_HISTORY, BuyerHistory, is_lately},
};
use crate::{
    runtime::Runtime,
    store::{Key, Reader},
    sync::lock,
};

/// The places for trades in escrow that we sell and that aren't released: at work or delivered. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct UnreleasedPlaces {
    journal: Journal,
    runtime: Runtime,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    buyers: BTreeMap<AgentId, OfBuyer>,
    shared: usize,
    all: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfBuyer {
    earned: usize,
    shared: usize,
}

/// One trade's place; given back when dropped.
#[derive(Debug)]
pub(super) struct UnreleasedPlace {
    taken: Arc<Mutex<Taken>>,
    buyer: AgentId,
    earned: bool,
}

impl UnreleasedPlaces {
    pub(super) fn new(journal: Journal, runtime: Runtime) -> Self {
        Self { journal, runtime, taken: Arc::default() }
    }

    /// Whether a buyer could have another place now.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, buyer: AgentId) -> Result<(), Reason> {
        let earned = self.earned_by(buyer)?;
        lock(&self.taken).place(buyer, earned).map(drop).ok_or(Reason::CreditLimit)
    }

    /// A place.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn take(&self, buyer: AgentId) -> Result<UnreleasedPlace, Reason> {
        let most = self.earned_by(buyer)?;
        let mut taken = lock(&self.taken);
        let earned = taken.place(buyer, most).ok_or(Reason::CreditLimit)?;
        Ok(self.place(&mut taken, buyer, earned))
    }

    /// A place for a trade that was taken before a restart, whatever its buyer may have now.
    pub(super) fn take_back(&self, buyer: AgentId) -> UnreleasedPlace {
        let most = self.earned_by(buyer).unwrap_or_default();
        let mut taken = lock(&self.taken);
        let earned = taken.place(buyer, most).unwrap_or_default();
        self.place(&mut taken, buyer, earned)
    }

    fn place(&self, taken: &mut Taken, buyer: AgentId, earned: bool) -> UnreleasedPlace {
        taken.all += 1;
        let of_buyer = taken.buyers.entry(buyer).or_default();
        if earned {
            of_buyer.earned += 1;
        } else {
            of_buyer.shared += 1;
            taken.shared += 1;
        }
        UnreleasedPlace { taken: Arc::clone(&self.taken), buyer, earned }
    }

    /// How many places a buyer has earned.
    fn earned_by(&self, buyer: AgentId) -> Result<usize, Reason> {
        let history = self.journal.read(|r| r.get(BUYER_HISTORY, Key::of(buyer)));
        let history: BuyerHistory = history.map_err(|_| Reason::Internal)?.unwrap_or_default();
        if history.no_release_at.is_some_and(|at| is_lately(at, self.runtime.now(), NO_RELEASE_SECS))
            && history.no_release > MAX_NO_RELEASE + history.paid / PAID_PER_NO_RELEASE
        {
            return Err(Reason::NotReleased);
        }
        Ok(usize::try_from(history.paid / PAID_PER_UNRELEASED).unwrap_or(usize::MAX).min(MAX_EARNED_UNRELEASED))
    }
}

impl Taken {
    /// Which place a buyer that has earned so many may take: one of those, or a shared one.
    fn place(&self, buyer: AgentId, earned: usize) -> Option<bool> {
        let has = self.buyers.get(&buyer).copied().unwrap_or_default();
        let may_share = has.shared < MAX_SHARED_UNRELEASED_PER_BUYER && self.shared < MAX_SHARED_UNRELEASED;
        match has.earned < earned {
            _ if self.all >= MAX_UNRELEASED => None,
            true => Some(true),
            false => may_share.then_some(false),
        }
    }
}

impl UnreleasedPlace {
    /// Whether its buyer has earned it by paying.
    pub(super) fn is_earned(&self) -> bool {
        self.earned
    }
}

impl Drop for UnreleasedPlace {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        taken.shared -= usize::from(!self.earned);
        let Some(of_buyer) = taken.buyers.get_mut(&self.buyer) else { return };
        if self.earned {
            of_buyer.earned -= 1;
        } else {
            of_buyer.shared -= 1;
        }
        if of_buyer.earned + of_buyer.shared == 0 {
            taken.buyers.remove(&self.buyer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::time::Timestamp;

    use super::*;
    use crate::{
        failpoint::Failpoint,
        store::{Store, testing::CrashBackend},
    };

    const NOW: u64 = 1_000_000_000;

    async fn places() -> (UnreleasedPlaces, Store) {
        let runtime = Runtime::anchored(Timestamp::from_secs(NOW));
        let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
        (UnreleasedPlaces::new(Journal::new(store.clone(), Failpoint::default()), runtime), store)
    }

    fn buyer(number: u16) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    async fn note(store: &Store, buyer: AgentId, history: BuyerHistory) {
        store.write(move |w| w.put(BUYER_HISTORY, Key::of(buyer), &history)).await.unwrap();
    }

    /// As many places as there are for a buyer.
    fn all_of(places: &UnreleasedPlaces, buyer: AgentId) -> Vec<UnreleasedPlace> {
        std::iter::from_fn(|| places.take(buyer).ok()).take(2 * MAX_UNRELEASED).collect()
    }

    #[tokio::test]
    async fn strangers_share_places_and_leave_those_that_others_have_earned() {
        let (places, store) = places().await;
        let known = buyer(60_000);
        note(&store, known, BuyerHistory { paid: 3 * PAID_PER_UNRELEASED, ..Default::default() }).await;
        let mut taken = Vec::new();
        for stranger in 0..1_000 {
            taken.extend(all_of(&places, buyer(stranger)));
        }
        assert_eq!(taken.len(), MAX_SHARED_UNRELEASED);
        assert_eq!(taken.iter().filter(|place| place.buyer == buyer(0)).count(), MAX_SHARED_UNRELEASED_PER_BUYER);
        assert_eq!(places.check(buyer(1_000)), Err(Reason::CreditLimit));
        let earned = all_of(&places, known);
        assert_eq!((earned.len(), earned.iter().all(UnreleasedPlace::is_earned)), (3, true));
        // What is released, or over, makes room.
        drop(taken);
        assert_eq!(all_of(&places, known).len(), MAX_SHARED_UNRELEASED_PER_BUYER);
        drop(earned);
        assert_eq!(all_of(&places, known).len(), 3 + MAX_SHARED_UNRELEASED_PER_BUYER);
        let taken = lock(&places.taken);
        assert_eq!((taken.all, taken.shared, taken.buyers.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn whoever_has_paid_much_still_has_a_bounded_number_and_all_together_too() {
        let (places, store) = places().await;
        let mut taken = Vec::new();
        for number in 0..100 {
            note(&store, buyer(number), BuyerHistory { paid: u64::MAX / 2, ..Default::default() }).await;
            let of_one = all_of(&places, buyer(number));
            assert!(of_one.iter().filter(|place| place.is_earned()).count() <= MAX_EARNED_UNRELEASED);
            taken.extend(of_one);
        }
        assert_eq!(taken.len(), MAX_UNRELEASED);
        // A restart takes back what was taken, whatever there is room for.
        let back = places.take_back(buyer(0));
        assert_eq!((lock(&places.taken).all, back.is_earned()), (MAX_UNRELEASED + 1, false));
    }

    #[tokio::test]
    async fn whoever_has_lately_released_too_little_has_none_for_a_day() {
        let (places, store) = places().await;
        let at = Timestamp::from_secs(NOW);
        let history =
            |no_release, paid, at| BuyerHistory { no_release, paid, no_release_at: Some(at), ..Default::default() };
        for (history, wanted) in [
            (history(MAX_NO_RELEASE, 0, at), Ok(())),
            (history(MAX_NO_RELEASE + 1, 0, at), Err(Reason::NotReleased)),
            (history(MAX_NO_RELEASE + 1, PAID_PER_NO_RELEASE, at), Ok(())),
            (history(MAX_NO_RELEASE + 1, 0, at.saturating_sub(NO_RELEASE_SECS + 1)), Ok(())),
        ] {
            note(&store, buyer(1), history).await;
            assert_eq!(places.check(buyer(1)), wanted, "{history:?}");
        }
    }
}
