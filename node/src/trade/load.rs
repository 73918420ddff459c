//! How many trades each of our services has at work or waiting: what an ask is promised and an award takes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::market::ServiceName;

use crate::sync::lock;

/// Counts by service.
#[derive(Clone, Debug, Default)]
pub(super) struct Load(Arc<Mutex<BTreeMap<ServiceName, usize>>>);

/// One trade's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    load: Load,
    service: ServiceName,
}

impl Load {
    /// Whether the service has fewer than `most` trades.
    pub(super) fn has_room(&self, service: &ServiceName, most: usize) -> bool {
        lock(&self.0).get(service).copied().unwrap_or(0) < most
    }

    /// Takes a place unless the service has `most` trades already.
    pub(super) fn take(&self, service: &ServiceName, most: usize) -> Option<Place> {
        let mut counts = lock(&self.0);
        let count = counts.entry(service.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { load: self.clone(), service: service.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.load.0);
        match counts.get_mut(&self.service) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.remove(&self.service),
        }
    }
}
