//! What reaches gossipsub of what peers send it.
//!
//! gossipsub keeps topics' names and message IDs of whatever length, logs some oddities as errors, and spends a signature and
//! more on every message, also on one that it has seen. So each packet is looked at before it gets there: topics that are none
//! of ours, IDs that aren't hashes and oversized control messages are taken out; and each peer has a rate of items and of
//! bytes, far above what an honest one needs. What is over the rate is dropped, and reported as a violation when it
//! goes on, so that its sender is cut off.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
    task::{Context, Poll},
};

use guilder_protocol::identity::AgentId;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    gossipsub::{self, TopicHash},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};
use tokio::time::Instant;

use super::{Gossipsub, topic_of};
use crate::{
    network::{
        ids::agent_of,
        limits::{
            GOSSIP_CONTROL_BYTES, GOSSIP_ITEM_BURST, GOSSIP_ITEMS_PER_SEC, GOSSIP_KIB_BURST, GOSSIP_KIB_PER_SEC,
            GOSSIP_TOPICS, GOSSIP_VIOLATION_ITEMS,
        },
        rate::Bucket,
    },
    runtime::Runtime,
};

type Received = THandlerOutEvent<Gossipsub>;

/// What the loop hears of gossip.
#[allow(clippy::large_enum_variant)] // nearly all are the large one, and each is moved once
#[derive(Debug)]
pub(in crate::network) enum Event {
    Gossipsub(gossipsub::Event),
    /// A peer goes on sending more than anyone needs to.
    Flooded(AgentId),
}

/// See the module's documentation.
pub(in crate::network) struct Screened {
    inner: Gossipsub,
    runtime: Runtime,
    peers: BTreeMap<PeerId, Rates>,
    floods: VecDeque<AgentId>,
}

/// What one peer may send.
#[derive(Debug)]
struct Rates {
    /// Messages, subscriptions and control messages.
    items: Bucket,
    kib: Bucket,
    /// Items that were over the rate and haven't been reported.
    over: u32,
}

impl Rates {
    fn new(now: Instant) -> Self {
        let items = Bucket::new(GOSSIP_ITEMS_PER_SEC, GOSSIP_ITEM_BURST, now);
        Self { items, kib: Bucket::new(GOSSIP_KIB_PER_SEC, GOSSIP_KIB_BURST, now), over: 0 }
    }
}

impl Deref for Screened {
    type Target = Gossipsub;

    fn deref(&self) -> &Gossipsub {
        &self.inner
    }
}

impl DerefMut for Screened {
    fn deref_mut(&mut self) -> &mut Gossipsub {
        &mut self.inner
    }
}

impl Screened {
    pub(in crate::network) fn new(inner: Gossipsub, runtime: Runtime) -> Self {
        Self { inner, runtime, peers: BTreeMap::new(), floods: VecDeque::new() }
    }

    /// Whether a packet may pass. What is in it and useless has been taken out then.
    fn passes(&mut self, from: PeerId, received: &mut Received) -> bool {
        let Received::Message { rpc, invalid_messages } = received else { return true };
        let messages = || rpc.messages.iter().chain(invalid_messages.iter().map(|(message, _)| message));
        let ids: usize = rpc.control_msgs.iter().map(|control| Measure::of(control).ids).sum();
        let items = messages().count() + rpc.subscriptions.len() + rpc.control_msgs.len() + ids / IDS_PER_ITEM;
        let bytes: usize = messages().map(|message| message.data.len()).sum();
        let now = self.runtime.instant();
        let rates = self.peers.entry(from).or_insert_with(|| Rates::new(now));
        let (items, kib) = (count(items.max(1)), count(bytes.div_ceil(1024)));
        if !(rates.items.take_many(items, now) && rates.kib.take_many(kib, now)) {
            rates.over = rates.over.saturating_add(items.max(kib));
            if rates.over >= GOSSIP_VIOLATION_ITEMS
                && let Some(agent) = agent_of(&from)
            {
                rates.over = 0;
                self.floods.push_back(agent);
            }
            return false;
        }
        rpc.subscriptions.retain(|subscription| topic_of(&subscription.topic_hash).is_some());
        rpc.subscriptions.truncate(GOSSIP_TOPICS);
        rpc.messages.retain(|message| topic_of(&message.topic).is_some());
        invalid_messages.retain(|(message, _)| topic_of(&message.topic).is_some());
        rpc.control_msgs.retain(|control| Measure::of(control).is_sane());
        true
    }
}

/// IDs that count as one item: each costs an entry in a map, no signature.
const IDS_PER_ITEM: usize = 8;

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What a control message is made of, told from what it feeds a hasher: its fields are private to gossipsub.
#[derive(Default)]
struct Measure {
    bytes: usize,
    ids: usize,
    /// A part is neither a number, nor an ID, nor a peer, nor a topic of ours.
    is_odd: bool,
}

impl Measure {
    fn of(control: &impl Hash) -> Self {
        let mut measure = Self::default();
        control.hash(&mut measure);
        measure
    }

    fn is_sane(&self) -> bool {
        !self.is_odd && self.bytes <= GOSSIP_CONTROL_BYTES
    }
}

impl Hasher for Measure {
    fn write(&mut self, part: &[u8]) {
        self.bytes += part.len();
        match part.len() {
            // Numbers, and the hash inside a peer ID.
            0..=8 | 64 => {}
            ID_BYTES => self.ids += 1,
            _ => {
                self.is_odd |=
                    !std::str::from_utf8(part).is_ok_and(|topic| topic_of(&TopicHash::from_raw(topic)).is_some())
            }
        }
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// The length of a message's ID: a sha-256.
const ID_BYTES: usize = 32;

impl NetworkBehaviour for Screened {
    type ConnectionHandler = <Gossipsub as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = &event
            && closed.remaining_established == 0
        {
            self.peers.remove(&closed.peer_id);
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, mut received: Received) {
        if self.passes(peer, &mut received) {
            self.inner.on_connection_handler_event(peer, connection, received);
        }
    }

    /// The swarm polls after every event of a handler, so a flood that one reported waits for no waker.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        match self.floods.pop_front() {
            Some(agent) => Poll::Ready(ToSwarm::GenerateEvent(Event::Flooded(agent))),
            None => self.inner.poll(cx).map(|action| action.map_out(Event::Gossipsub)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Hash)]
    struct Control {
        topic: String,
        ids: Vec<Vec<u8>>,
    }

    fn is_sane(topic: &str, ids: &[usize]) -> bool {
        let ids = ids.iter().map(|length| vec![7; *length]).collect();
        Measure::of(&Control { topic: topic.to_owned(), ids }).is_sane()
    }

    #[test]
    fn control_messages_hold_topics_of_services_and_ids_of_our_length_and_not_too_many() {
        let topic = "/guilder/market/1/text.echo";
        assert!(is_sane(topic, &[]) && is_sane(topic, &[32; 100]));
        assert!(!is_sane(topic, &[33]) && !is_sane(topic, &[15_000]));
        assert!(!is_sane(&"t".repeat(15_000), &[]));
        assert!(!is_sane(topic, &[32; 1_000]));
    }
}
