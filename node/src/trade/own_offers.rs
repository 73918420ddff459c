//! The latest offers that we signed: an award that names one needn't have it verified again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use cid::Cid;
use guilder_protocol::{cbor::cid_of, envelope::Signed, market::Offer};

use super::limits::MAX_OWN_OFFERS;
use crate::sync::lock;

/// Cheap to clone; every clone has the same offers. After a start there are none: then they are verified as any statement is.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnOffers(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    offers: BTreeMap<Cid, Signed<Offer>>,
    /// The oldest first.
    order: VecDeque<Cid>,
}

impl OwnOffers {
    pub(super) fn note(&self, offer: &Signed<Offer>) {
        let mut kept = lock(&self.0);
        if kept.offers.insert(offer.cid(), offer.clone()).is_none() {
            kept.order.push_back(offer.cid());
        }
        while kept.order.len() > MAX_OWN_OFFERS {
            let Some(oldest) = kept.order.pop_front() else { return };
            kept.offers.remove(&oldest);
        }
    }

    /// The offer of these bytes, if it is one of them.
    pub(super) fn of(&self, bytes: &[u8]) -> Option<Signed<Offer>> {
        lock(&self.0).offers.get(&cid_of(bytes)).cloned()
    }
}
