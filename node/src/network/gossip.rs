//! Gossip: one topic per service and one of revocations, IDs by content, and a verdict before anything is forwarded.
//!
//! ```text
//!   screen ─▶ gossipsub ──message──▶ rate of its forwarder ──▶ Inbound::gossip ───────▶ catalogue
//!                 ▲                                      └───▶ Inbound::revocations ──▶ grants
//!                 └── accept: forward ─ reject: score ─ ignore, or no answer in time ────┘
//! ```
//!
//! What is forwarded is bounded in bytes, over all, by peer and by topic, because each byte of it goes to many. Revocations
//! have queue and bounds of their own: however many adverts there are, they hold up none.

pub(super) mod screen;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use guilder_protocol::{
    discovery::{self, Topic},
    identity::AgentId,
};
use libp2p::{
    PeerId,
    gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, TopicHash, TopicScoreParams},
    identity::Keypair,
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    AnnounceError, Gossip, GossipId, Penalty, StartError, Verdict,
    error::DialCause,
    ids::agent_of,
    limits::{
        FOLLOWED_SERVICES, FORWARDED_BURST, FORWARDED_PEER_BURST, FORWARDED_PER_PEER, FORWARDED_PER_SEC,
        FORWARDED_PER_TOPIC, FORWARDED_TOPIC_BURST, GOSSIP_BACKLOG, GOSSIP_BURST, GOSSIP_BYTES, GOSSIP_DATA_BYTES,
        GOSSIP_PATIENCE, GOSSIP_PEER_QUEUE, GOSSIP_PENDING, GOSSIP_PER_RPC, GOSSIP_PER_SEC, GOSSIP_REVOCATION_BYTES,
        GOSSIP_TOPICS, REVOCATIONS_BURST, REVOCATIONS_PEER_BURST, REVOCATIONS_PER_PEER, REVOCATIONS_PER_SEC,
    },
    rate::Bucket,
};

pub(super) type Gossipsub = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>,
>;

pub(super) fn message_id(topic: &TopicHash, data: &[u8]) -> MessageId {
    MessageId::new(&discovery::message_id(topic.as_str(), data))
}

fn ident(topic: &Topic) -> IdentTopic {
    IdentTopic::new(topic.to_string())
}

fn topic_of(topic: &TopicHash) -> Option<Topic> {
    Topic::of(topic.as_str())
}

/// Where messages wait for the room that judges them.
pub(super) struct Heard {
    pub(super) adverts: mpsc::Receiver<Gossip>,
    pub(super) revocations: mpsc::Receiver<Gossip>,
}

/// Passes messages to the room that judges them at a bounded rate, and its verdicts back to gossipsub.
pub(super) struct GossipValidator {
    topics: Vec<Topic>,
    adverts: mpsc::Sender<Gossip>,
    revocations: mpsc::Sender<Gossip>,
    pending: BTreeMap<GossipId, Pending>,
    /// The pending ones, oldest first, and some that are answered already.
    deadlines: VecDeque<(Instant, GossipId)>,
    rates: BTreeMap<AgentId, Bucket>,
    forwarded: Forwarded,
    forwarded_revocations: Forwarded,
}

/// A message that waits for its verdict.
#[derive(Debug)]
struct Pending {
    source: PeerId,
    topic: Topic,
    bytes: u32,
}

/// What may still be forwarded, in bytes: of all that comes, from each peer, on each topic. What one peer or topic brings
/// too much of leaves room for the others.
#[derive(Debug)]
struct Forwarded {
    /// Sustained and at once: of one peer, of one topic.
    of_peer: (u32, u32),
    of_topic: (u32, u32),
    all: Bucket,
    peers: BTreeMap<AgentId, Bucket>,
    topics: BTreeMap<Topic, Bucket>,
}

impl Forwarded {
    fn adverts(now: Instant) -> Self {
        Self {
            of_peer: (FORWARDED_PER_PEER, FORWARDED_PEER_BURST),
            of_topic: (FORWARDED_PER_TOPIC, FORWARDED_TOPIC_BURST),
            all: Bucket::new(FORWARDED_PER_SEC, FORWARDED_BURST, now),
            peers: BTreeMap::new(),
            topics: BTreeMap::new(),
        }
    }

    /// There is one topic of them.
    fn revocations(now: Instant) -> Self {
        Self {
            of_peer: (REVOCATIONS_PER_PEER, REVOCATIONS_PEER_BURST),
            of_topic: (REVOCATIONS_PER_SEC, REVOCATIONS_BURST),
            all: Bucket::new(REVOCATIONS_PER_SEC, REVOCATIONS_BURST, now),
            peers: BTreeMap::new(),
            topics: BTreeMap::new(),
        }
    }

    fn take(&mut self, from: AgentId, topic: &Topic, bytes: u32, now: Instant) -> bool {
        let bucket = |(per_sec, burst)| Bucket::new(per_sec, burst, now);
        let (of_peer, of_topic) = (|| bucket(self.of_peer), || bucket(self.of_topic));
        self.peers.entry(from).or_insert_with(of_peer).take_many(bytes, now)
            && self.topics.entry(topic.clone()).or_insert_with(of_topic).take_many(bytes, now)
            && self.all.take_many(bytes, now)
    }
}

impl GossipValidator {
    pub(super) fn new(now: Instant) -> (Self, Heard) {
        let (adverts, heard_adverts) = mpsc::channel(GOSSIP_BACKLOG);
        let (revocations, heard_revocations) = mpsc::channel(GOSSIP_BACKLOG);
        let validator = Self {
            topics: Vec::new(),
            adverts,
            revocations,
            pending: BTreeMap::new(),
            deadlines: VecDeque::new(),
            rates: BTreeMap::new(),
            forwarded: Forwarded::adverts(now),
            forwarded_revocations: Forwarded::revocations(now),
        };
        (validator, Heard { adverts: heard_adverts, revocations: heard_revocations })
    }

    pub(super) fn subscribe(&mut self, gossip: &mut Gossipsub, topic: Topic) -> Result<(), AnnounceError> {
        if self.topics.contains(&topic) {
            return Ok(());
        }
        // Every node follows the revocations, and they take no service's place.
        let services = self.topics.iter().filter(|topic| matches!(topic, Topic::Service(_))).count();
        if services >= FOLLOWED_SERVICES && topic != Topic::Revocations {
            return Err(AnnounceError::TooMany(FOLLOWED_SERVICES));
        }
        let ident = ident(&topic);
        if let Err(error) = gossip.set_topic_params(ident.clone(), score_params()) {
            tracing::error!(%error, "gossip score parameters are refused");
        }
        if let Err(error) = gossip.subscribe(&ident) {
            tracing::error!(%error, %topic, "can't subscribe");
        }
        self.topics.push(topic);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, gossip: &mut Gossipsub, topic: &Topic) {
        self.topics.retain(|known| known != topic);
        self.forwarded.topics.remove(topic);
        gossip.unsubscribe(&ident(topic));
    }

    pub(super) fn publish(gossip: &mut Gossipsub, topic: &Topic, data: &[u8]) -> Result<(), AnnounceError> {
        let most = match topic {
            Topic::Service(_) => GOSSIP_DATA_BYTES,
            Topic::Revocations => GOSSIP_REVOCATION_BYTES,
        };
        if data.len() > most {
            return Err(AnnounceError::TooLong { bytes: data.len() });
        }
        match gossip.publish(ident(topic), data) {
            Ok(_) => Ok(()),
            Err(gossipsub::PublishError::Duplicate) => Err(AnnounceError::Duplicate),
            Err(gossipsub::PublishError::MessageTooLarge) => Err(AnnounceError::TooLong { bytes: data.len() }),
            Err(error) => {
                tracing::debug!(%error, %topic, "gossip wasn't taken");
                Err(AnnounceError::NoPeers)
            }
        }
    }

    /// Hands a message to the room that judges it, or says why it isn't worth that.
    pub(super) fn take(
        &mut self,
        gossip: &mut Gossipsub,
        source: PeerId,
        id: &MessageId,
        message: gossipsub::Message,
        now: Instant,
    ) {
        if let Err(why) = self.try_take(source, id, message, now) {
            tracing::debug!(%source, why, "gossip message ignored");
            gossip.report_message_validation_result(id, &source, MessageAcceptance::Ignore);
        }
    }

    fn try_take(
        &mut self,
        source: PeerId,
        id: &MessageId,
        message: gossipsub::Message,
        now: Instant,
    ) -> Result<(), &'static str> {
        let from = agent_of(&source).ok_or("its forwarder is no agent")?;
        let topic = topic_of(&message.topic).ok_or("its topic is none of ours")?;
        let id = GossipId(id.0.as_slice().try_into().map_err(|_| "its id is none of ours")?);
        let rate = self.rates.entry(from).or_insert_with(|| Bucket::new(GOSSIP_PER_SEC, GOSSIP_BURST, now));
        if !rate.take(now) {
            return Err("its forwarder is too fast");
        }
        let is_revocation = topic == Topic::Revocations;
        let waiting = self.pending.values().filter(|pending| (pending.topic == Topic::Revocations) == is_revocation);
        if waiting.count() >= GOSSIP_PENDING {
            return Err("too many wait for their verdict");
        }
        let bytes = u32::try_from(message.data.len()).unwrap_or(u32::MAX);
        let message = Gossip { topic: topic.clone(), from, id, bytes: message.data.into() };
        let room = if is_revocation { &self.revocations } else { &self.adverts };
        room.try_send(message).map_err(|_| "the room that judges it is behind")?;
        self.pending.insert(id, Pending { source, topic, bytes });
        self.deadlines.push_back((now + GOSSIP_PATIENCE, id));
        Ok(())
    }

    /// Passes a verdict on; what is valid is forwarded as far as the rates allow. Returns the forwarder and what it loses, if the message breaks the rules.
    pub(super) fn report(
        &mut self,
        gossip: &mut Gossipsub,
        id: GossipId,
        verdict: Verdict,
        now: Instant,
    ) -> Option<(AgentId, Penalty)> {
        let Pending { source, topic, bytes } = self.pending.remove(&id)?;
        let forwarded = match topic {
            Topic::Service(_) => &mut self.forwarded,
            Topic::Revocations => &mut self.forwarded_revocations,
        };
        let may_forward = |from| forwarded.take(from, &topic, bytes, now);
        let acceptance = match verdict {
            Verdict::Accept if agent_of(&source).is_some_and(may_forward) => MessageAcceptance::Accept,
            Verdict::Accept | Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        gossip.report_message_validation_result(&MessageId::new(&id.0), &source, acceptance);
        // Its score at gossipsub falls by itself; ours falls a little, for a forwarder may run an older version.
        (verdict == Verdict::Reject).then(|| agent_of(&source)).flatten().map(|agent| (agent, Penalty::Minor))
    }

    /// When the next message has waited long enough.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Lets go of messages that nobody answered.
    pub(super) fn expire(&mut self, gossip: &mut Gossipsub, now: Instant) {
        while let Some(&(deadline, id)) = self.deadlines.front()
            && deadline <= now
        {
            self.deadlines.pop_front();
            self.report(gossip, id, Verdict::Ignore, now);
        }
    }

    /// Forgets the rates of peers that are gone.
    pub(super) fn forget_unless(&mut self, is_connected: impl Fn(AgentId) -> bool) {
        self.rates.retain(|agent, _| is_connected(*agent));
        self.forwarded.peers.retain(|agent, _| is_connected(*agent));
        self.forwarded_revocations.peers.retain(|agent, _| is_connected(*agent));
    }
}

/// gossipsub as this node runs it.
pub(super) fn behaviour(key: &Keypair) -> Result<Gossipsub, StartError> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(|message| message_id(&message.topic, &message.data))
        .max_transmit_size(GOSSIP_BYTES)
        .max_publish_messages(GOSSIP_PER_RPC)
        .connection_handler_queue_len(GOSSIP_PEER_QUEUE)
        .heartbeat_initial_delay(Duration::from_millis(500))
        .duplicate_cache_time(Duration::from_secs(120))
        .build()
        .map_err(failed)?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: GOSSIP_TOPICS,
        max_subscriptions_per_request: GOSSIP_TOPICS,
    };
    let author = gossipsub::MessageAuthenticity::Signed(key.clone());
    let mut behaviour = Gossipsub::new_with_subscription_filter(author, config, filter).map_err(failed)?;
    let score = gossipsub::PeerScoreParams {
        topics: HashMap::new(),
        // Our own points, see `scores`: a banned peer is below every threshold.
        app_specific_weight: 1.0,
        // Many agents on one machine or behind one address is what we are for.
        ip_colocation_factor_weight: 0.0,
        retain_score: Duration::from_secs(10 * 60),
        // What decays is none of what we count, and a walk over all peers a second is too dear for it.
        decay_interval: Duration::from_secs(10),
        ..Default::default()
    };
    behaviour.with_peer_score(score, gossipsub::PeerScoreThresholds::default()).map_err(failed)?;
    Ok(behaviour)
}

fn failed(error: impl ToString) -> StartError {
    StartError::Transport(DialCause(error.to_string()))
}

/// How a topic scores its peers: a little for time in the mesh and for news, much against what is invalid, and nothing for
/// silence, because adverts are rare.
fn score_params() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.001,
        time_in_mesh_cap: 3_600.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_decay: 0.99,
        first_message_deliveries_cap: 20.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.99,
        ..TopicScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_forwarded_is_bounded_by_peer_by_topic_and_in_all() {
        let (start, secs) = (Instant::now(), 60);
        let service = |number: u32| Topic::Service(format!("a.s{number}").parse().unwrap());
        // Kibibytes that so many peers get forwarded in a minute, each on so many topics, beyond what passes at once.
        let forwarded = |peers: u8, topics: u32| {
            let mut forwarded = Forwarded::adverts(start);
            let mut send = |now| {
                let all = (0..peers).flat_map(|peer| (0..topics).map(move |topic| (peer, topic)));
                let sent = all.filter(|(peer, topic)| {
                    forwarded.take(AgentId::from_bytes([*peer; 32]), &service(*topic), 1024, now)
                });
                sent.count() as u32
            };
            // What may pass at once has passed.
            while send(start) > 0 {}
            (1..=10 * secs).map(|tick| send(start + Duration::from_millis(u64::from(tick) * 100))).sum::<u32>()
        };
        let per_minute = |per_sec: u32| per_sec / 1024 * secs;
        assert!((1..=per_minute(FORWARDED_PER_PEER)).contains(&forwarded(1, 1)));
        assert!(forwarded(1, 20) <= per_minute(FORWARDED_PER_PEER));
        assert!(forwarded(20, 1) <= per_minute(FORWARDED_PER_TOPIC));
        let all = forwarded(20, 20);
        assert!((per_minute(FORWARDED_PER_TOPIC)..=per_minute(FORWARDED_PER_SEC)).contains(&all), "{all}");
    }

    #[test]
    fn score_parameters_are_sane() {
        assert_eq!(score_params().validate(), Ok(()));
    }
}
