//! Which services' topics are followed: those of our own services, and those that we looked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use guilder_protocol::market::ServiceName;
use tokio::time::Instant;

use super::limits::{MAX_FOLLOWED, SEARCH_HOLDS};
use crate::{
    network::{AnnounceError, Network},
    runtime::Runtime,
    sync::lock,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Topics {
    network: Network,
    runtime: Runtime,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    ours: BTreeSet<ServiceName>,
    looked_for: BTreeMap<ServiceName, LookedFor>,
}

#[derive(Clone, Copy, Debug)]
struct LookedFor {
    /// When somebody last looked.
    at: Instant,
    /// When a search in Kademlia was last over.
    searched: Option<Instant>,
}

impl Topics {
    pub(super) fn new(network: Network, runtime: Runtime) -> Self {
        Self { network, runtime, followed: Mutex::default() }
    }

    /// Follows the topic of a service of ours.
    pub(super) async fn follow_ours(&self, service: &ServiceName) -> Result<(), AnnounceError> {
        lock(&self.followed).ours.insert(service.clone());
        self.network.subscribe(service).await
    }

    /// A service is no longer ours: its topic is left, unless we look for the service as well.
    pub(super) async fn drop_ours(&self, service: &ServiceName) {
        let wanted = {
            let mut followed = lock(&self.followed);
            followed.ours.remove(service);
            followed.looked_for.contains_key(service)
        };
        if !wanted {
            self.network.unsubscribe(service).await;
        }
    }

    /// Follows the topic of a service that is looked for, in place of the one that was looked for longest ago.
    pub(super) async fn follow(&self, service: &ServiceName) {
        let given_up = {
            let now = self.runtime.instant();
            let mut followed = lock(&self.followed);
            if let Some(known) = followed.looked_for.get_mut(service) {
                known.at = now;
                return;
            }
            followed.looked_for.insert(service.clone(), LookedFor { at: now, searched: None });
            followed.give_up_oldest(service)
        };
        if let Some(name) = given_up {
            self.network.unsubscribe(&name).await;
        }
        if let Err(error) = self.network.subscribe(service).await {
            tracing::debug!(%service, %error, "topic not followed");
            lock(&self.followed).looked_for.remove(service);
        }
    }

    /// The services that were looked for.
    pub(super) fn looked_for(&self) -> Vec<ServiceName> {
        lock(&self.followed).looked_for.keys().cloned().collect()
    }

    /// Whether Kademlia was searched for the service a short while ago. Sellers that have come since were heard by gossip.
    pub(super) fn searched_lately(&self, service: &ServiceName) -> bool {
        let now = self.runtime.instant();
        let searched = lock(&self.followed).looked_for.get(service).and_then(|looked| looked.searched);
        searched.is_some_and(|at| now.saturating_duration_since(at) < SEARCH_HOLDS)
    }

    /// A search in Kademlia is over.
    pub(super) fn note_search(&self, service: &ServiceName) {
        if let Some(looked) = lock(&self.followed).looked_for.get_mut(service) {
            looked.searched = Some(self.runtime.instant());
        }
    }
}

impl Followed {
    /// If there are too many, stops looking for the oldest. Returns it if its topic is to be left.
    fn give_up_oldest(&mut self, but: &ServiceName) -> Option<ServiceName> {
        if self.looked_for.len() <= MAX_FOLLOWED {
            return None;
        }
        let others = self.looked_for.iter().filter(|(name, _)| *name != but);
        let oldest = others.min_by_key(|(name, looked)| (looked.at, *name)).map(|(name, _)| name.clone())?;
        self.looked_for.remove(&oldest);
        (!self.ours.contains(&oldest)).then_some(oldest)
    }
}
