//! A search, as its Kademlia messages show it: whom it asks, who named whom, and so how many steps it took.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use guilder_protocol::identity::AgentId;
use libp2p::PeerId;
use prost::Message as _;

use super::{Meter, lock, wires::opening};
use crate::world::peer_bytes;

/// Longer messages than any node sends are not read to their end.
const LONGEST: usize = 64 * 1024;

/// A search under way.
pub(super) struct Lookup {
    searcher: Vec<u8>,
    key: Vec<u8>,
    /// How far away each peer stands: 1 if it was known from the start, else one more than who first named it.
    depths: BTreeMap<Vec<u8>, u32>,
    /// Requests sent.
    pub(super) asked: u32,
    /// Where the first stood that named a provider.
    pub(super) named_at: Option<u32>,
}

impl Lookup {
    pub(super) fn new(searcher: AgentId, key: &[u8], known: &[AgentId]) -> Self {
        let depths = known.iter().map(|agent| (peer_bytes(*agent), 1)).collect();
        Self { searcher: peer_bytes(searcher), key: key.to_vec(), depths, asked: 0, named_at: None }
    }

    /// A peer answered.
    fn answered(&mut self, peer: PeerId, answer: Message) {
        // One that is asked without having been named is a neighbour since the search began.
        let depth = *self.depths.entry(peer.to_bytes()).or_insert(1);
        for named in answer.closer {
            self.depths.entry(named.id).or_insert(depth + 1);
        }
        if answer.providers.iter().any(|provider| provider.id != self.searcher) {
            self.named_at.get_or_insert(depth);
        }
    }
}

/// Reads along on one substream that a host opened for Kademlia: one request, and its answer.
#[derive(Default)]
pub(super) struct Ear {
    asking: Vec<u8>,
    answering: Vec<u8>,
    /// The searches that the request belongs to, once it is known.
    lookups: Option<Vec<Arc<Mutex<Lookup>>>>,
}

impl Ear {
    /// An ear, if the host has a search to follow.
    pub(super) fn new(meter: &Meter) -> Option<Box<Self>> {
        (!lock(&meter.lookups).is_empty()).then(Box::default)
    }

    /// The host sent this, after the protocol's name.
    pub(super) fn sent(&mut self, meter: &Meter, bytes: &[u8]) {
        if self.lookups.is_some() || self.asking.len() > LONGEST {
            return;
        }
        self.asking.extend_from_slice(bytes);
        let Ok(request) = Message::decode_length_delimited(&*self.asking) else { return };
        let mut lookups = lock(&meter.lookups).clone();
        lookups.retain(|lookup| request.kind == GET_PROVIDERS && lock(lookup).key == request.key);
        for lookup in &lookups {
            lock(lookup).asked += 1;
        }
        self.lookups = Some(lookups);
    }

    /// The host received this, from the substream's beginning.
    pub(super) fn received(&mut self, peer: PeerId, bytes: &[u8]) {
        let Some(lookups) = self.lookups.as_mut().filter(|lookups| !lookups.is_empty()) else { return };
        self.answering.extend_from_slice(bytes);
        let message = opening(&self.answering).map(|(_, rest)| Message::decode_length_delimited(rest));
        if let Some(Ok(answer)) = message {
            for lookup in lookups.drain(..) {
                lock(&lookup).answered(peer, answer.clone());
            }
        } else if self.answering.len() > LONGEST {
            lookups.clear();
        }
    }
}

/// `GET_PROVIDERS`, from the specification of libp2p's Kademlia.
const GET_PROVIDERS: i32 = 3;

/// As much of a Kademlia message as a look-up shows in.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Message {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    pub(super) closer: Vec<Peer>,
    #[prost(message, repeated, tag = "9")]
    pub(super) providers: Vec<Peer>,
}

/// A peer within it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Peer {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
}
