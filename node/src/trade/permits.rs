//! How many trades each of our services has at work or waiting: what an ask is promised and an award takes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::market::ServiceName;

use crate::{executor::Service, sync::lock};

/// Permits for trades of each service: as many as it works on at once, and the queue.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    counts: Arc<Mutex<BTreeMap<ServiceName, usize>>>,
    queue: usize,
}

/// One trade's permit; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    counts: Arc<Mutex<BTreeMap<ServiceName, usize>>>,
    service: ServiceName,
}

impl Permits {
    /// None given yet. `queue` trades of a service may wait beyond those at work.
    pub(super) fn new(queue: usize) -> Self {
        Self { counts: Arc::default(), queue }
    }

    /// Whether the service can take another trade.
    pub(super) fn has_room(&self, service: &Service) -> bool {
        let count = lock(&self.counts).get(&service.definition().name).copied();
        count.unwrap_or(0) < self.most(service)
    }

    /// A permit, unless the service has all its trades.
    pub(super) fn take(&self, service: &Service) -> Option<Permit> {
        self.take_below(&service.definition().name, self.most(service))
    }

    /// A permit for a trade that was taken before a restart, whatever the service's settings say now.
    pub(super) fn take_back(&self, service: &Service) -> Option<Permit> {
        self.take_below(&service.definition().name, usize::MAX)
    }

    fn most(&self, service: &Service) -> usize {
        service.definition().concurrency.saturating_add(self.queue)
    }

    fn take_below(&self, service: &ServiceName, most: usize) -> Option<Permit> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(service.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Permit { counts: Arc::clone(&self.counts), service: service.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        match counts.get_mut(&self.service) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.remove(&self.service),
        }
    }
}
