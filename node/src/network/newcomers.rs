//! How many connections peers may open to us that we never dealt with, by where they come from.
//!
//! A key costs nothing, so whoever wants all our places can have a key for each. What a newcomer can't choose freely is its
//! address: one prefix (/24, /48) gets half of the newcomers' places, at a bounded rate, and every ban of one of its peers
//! uses up that rate. Where a prefix's places are taken, one of its own newcomers gives way to the next; where all are taken,
//! one of the most crowded prefix. That is one that had time to make a request ([`NEWCOMER_GRACE`]) and made none, the oldest of
//! them; where all have made one, the one idle for longest. Some places are kept for peers that we dealt with, which none of
//! these bounds touch.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use guilder_protocol::identity::AgentId;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use tokio::time::Instant;

use super::{
    addrs::{Prefix, prefix},
    dealings::Dealings,
    ids::{agent_of, peer_of},
    limits::{BAN_COST, METERED_PREFIXES, NEWCOMER_BURST, NEWCOMER_GRACE, NEWCOMERS_PER_SEC},
    links::Links,
    rate::Buckets,
};
use crate::runtime::Runtime;

/// Why a newcomer isn't let in.
#[derive(Debug, thiserror::Error)]
#[error("too many newcomers, or too many from this network")]
struct Crowded;

/// See the module's documentation.
pub(super) struct Behaviour {
    dealings: Arc<Dealings>,
    links: Arc<Links>,
    runtime: Runtime,
    /// Peers of the settings: no newcomers either.
    named: BTreeSet<AgentId>,
    /// Connections that others opened, oldest first.
    opened: BTreeMap<ConnectionId, Opened>,
    rates: Buckets<Prefix>,
    most: usize,
    closing: VecDeque<(PeerId, ConnectionId)>,
}

#[derive(Debug)]
struct Opened {
    agent: AgentId,
    prefix: Prefix,
    since: Instant,
    /// How much it was used when that was looked at last, and when that was more than before.
    uses: u64,
    used: Option<Instant>,
}

impl Opened {
    fn new(agent: AgentId, prefix: Prefix, since: Instant) -> Self {
        Self { agent, prefix, since, uses: 0, used: None }
    }
}

impl Behaviour {
    /// At most `most` connections of newcomers; `named` are none.
    pub(super) fn new(
        dealings: Arc<Dealings>,
        links: Arc<Links>,
        named: BTreeSet<AgentId>,
        most: usize,
        runtime: Runtime,
    ) -> Self {
        let (opened, rates, closing) = (BTreeMap::new(), Buckets::default(), VecDeque::new());
        Self { dealings, links, runtime, named, opened, rates, most, closing }
    }

    /// Others are named from now on.
    pub(super) fn set_named(&mut self, named: BTreeSet<AgentId>) {
        self.named = named;
    }

    /// A newcomer was banned: that costs its prefix some of its rate.
    pub(super) fn banned(&mut self, address: &Multiaddr) {
        let now = self.runtime.instant();
        self.bucket(prefix(address), now).charge_many(BAN_COST, now);
    }

    fn bucket(&mut self, prefix: Prefix, now: Instant) -> &mut super::rate::Bucket {
        self.rates.bucket(prefix, NEWCOMERS_PER_SEC, NEWCOMER_BURST, METERED_PREFIXES, now)
    }

    fn is_newcomer(&self, agent: AgentId) -> bool {
        !self.dealings.has(agent) && !self.named.contains(&agent)
    }

    fn admit(&mut self, peer: PeerId, address: &Multiaddr) -> Result<(), ConnectionDenied> {
        // Who is no agent is turned away by our own protocols.
        let Some(agent) = agent_of(&peer).filter(|agent| self.is_newcomer(*agent)) else { return Ok(()) };
        let (now, from) = (self.runtime.instant(), prefix(address));
        let crowded = || {
            tracing::debug!(%address, "a newcomer was turned away");
            ConnectionDenied::new(Crowded)
        };
        if !self.bucket(from, now).take(now) {
            return Err(crowded());
        }
        let mut crowds = BTreeMap::<Prefix, usize>::new();
        for opened in self.opened.values().filter(|opened| self.is_newcomer(opened.agent)) {
            *crowds.entry(opened.prefix).or_default() += 1;
        }
        let victim = if crowds.get(&from).is_some_and(|count| *count >= self.most / 2) {
            self.idlest(agent, now, |prefix| (prefix == from).then_some(0))
        } else if crowds.values().sum::<usize>() >= self.most {
            self.idlest(agent, now, |prefix| crowds.get(&prefix).copied())
        } else {
            return Ok(());
        };
        // It is gone as far as the places are concerned; the swarm closes it next.
        let id = victim.ok_or_else(crowded)?;
        let gone = self.opened.remove(&id).ok_or_else(crowded)?;
        self.closing.push_back((peer_of(gone.agent), id));
        Ok(())
    }

    /// The newcomer that is to give way to `agent`: of those with the largest `crowd`, one that has made no request though it
    /// had the time, else the one idle for longest. None where there is no crowd.
    fn idlest(
        &mut self,
        agent: AgentId,
        now: Instant,
        crowd: impl Fn(Prefix) -> Option<usize>,
    ) -> Option<ConnectionId> {
        for (id, opened) in &mut self.opened {
            let uses = self.links.activity(opened.agent, *id);
            if uses > opened.uses {
                (opened.uses, opened.used) = (uses, Some(now));
            }
        }
        let had_time = |opened: &Opened| opened.agent != agent && opened.since + NEWCOMER_GRACE <= now;
        let candidates = self.opened.iter().filter(|(_, opened)| self.is_newcomer(opened.agent) && had_time(opened));
        let ranked = candidates.filter_map(|(id, opened)| Some((Reverse(crowd(opened.prefix)?), opened.used, *id)));
        ranked.min().map(|(.., id)| id)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(peer, remote).map(|()| dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if let ConnectedPoint::Listener { send_back_addr, .. } = established.endpoint
                    && let Some(agent) = agent_of(&established.peer_id)
                {
                    let opened = Opened::new(agent, prefix(send_back_addr), self.runtime.instant());
                    self.opened.insert(established.connection_id, opened);
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.opened.remove(&closed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, never: THandlerOutEvent<Self>) {
        match never {}
    }

    /// The swarm polls after every event that it tells us of, so nothing waits for a waker.
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.closing.pop_front() {
            Some((peer_id, id)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use guilder_protocol::{identity::AgentKey, time::Timestamp};

    use super::*;
    use crate::network::links::Link;

    const MOST: usize = 20;

    fn peer(number: u32) -> PeerId {
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        peer_of(AgentKey::from_seed(&seed).id())
    }

    fn behaviour(dealings: &Arc<Dealings>) -> Behaviour {
        let runtime = Runtime::anchored(Timestamp::from_secs(1_800_000_000));
        Behaviour::new(Arc::clone(dealings), Arc::default(), BTreeSet::new(), MOST, runtime)
    }

    /// Lets a peer in, if it may.
    fn open(newcomers: &mut Behaviour, number: u32, address: &str) -> bool {
        let address: Multiaddr = address.parse().unwrap();
        let admitted = newcomers.admit(peer(number), &address).is_ok();
        if admitted {
            let id = ConnectionId::new_unchecked(number as usize);
            let agent = agent_of(&peer(number)).unwrap();
            newcomers.opened.insert(id, Opened::new(agent, prefix(&address), newcomers.runtime.instant()));
        }
        admitted
    }

    #[tokio::test(start_paused = true)]
    async fn given_a_crowd_from_one_prefix_others_and_those_dealt_with_are_let_in() {
        let dealings = Arc::default();
        let mut newcomers = behaviour(&dealings);
        let crowd = (0..100).filter(|number| open(&mut newcomers, *number, "/ip4/192.0.2.1/tcp/1")).count();
        assert_eq!(crowd, MOST / 2);
        assert!(open(&mut newcomers, 200, "/ip4/198.51.100.1/tcp/1"));
        drop(dealings.begin(agent_of(&peer(300)).unwrap(), Timestamp::from_secs(1)));
        assert!(open(&mut newcomers, 300, "/ip4/192.0.2.1/tcp/1"));
        // One that was there long enough and asked for nothing gives way to the next of its prefix.
        tokio::time::advance(NEWCOMER_GRACE + Duration::from_secs(100)).await;
        use_connection(&newcomers, 0);
        assert!(open(&mut newcomers, 400, "/ip4/192.0.2.7/tcp/1"));
        assert_eq!(newcomers.closing, [(peer(1), ConnectionId::new_unchecked(1))]);
    }

    /// As if a frame had come on a peer's connection.
    fn use_connection(newcomers: &Behaviour, number: u32) {
        let agent = agent_of(&peer(number)).unwrap();
        let (link, ends) = Link::new(agent, newcomers.links.quota(agent));
        ends.state.touch();
        newcomers.links.insert(agent, ConnectionId::new_unchecked(number as usize), link);
    }

    #[tokio::test(start_paused = true)]
    async fn given_crowds_of_several_prefixes_a_newcomer_from_elsewhere_gets_the_place_of_the_idlest_of_the_largest() {
        let dealings = Arc::default();
        let mut newcomers = behaviour(&dealings);
        let address = |number: u32| format!("/ip4/192.0.{}.1/tcp/1", if number < 8 { 2 } else { 2 + number % 3 });
        let count = (0..50).filter(|number| open(&mut newcomers, *number, &address(*number))).count();
        assert_eq!(count, MOST, "no one of them had its time yet");
        tokio::time::advance(NEWCOMER_GRACE).await;
        (0..8).filter(|number| *number != 5).for_each(|number| use_connection(&newcomers, number));
        assert!(open(&mut newcomers, 100, "/ip4/198.51.100.1/tcp/1"));
        assert_eq!(newcomers.closing.back().unwrap().0, peer(5), "the one of the largest crowd that asked for nothing");
        // Nor does the next one find the same one going.
        assert!(open(&mut newcomers, 101, "/ip4/198.51.100.2/tcp/1"));
        assert_ne!(newcomers.closing[0], newcomers.closing[1]);
        assert_eq!(newcomers.opened.len(), MOST);
        // Small crowds aren't sent away.
        tokio::time::advance(NEWCOMER_GRACE).await;
        (102..110).for_each(|number| _ = open(&mut newcomers, number, "/ip4/192.0.3.9/tcp/1"));
        let gone: Vec<_> = newcomers.closing.iter().map(|(gone, _)| *gone).collect();
        assert!(!gone.contains(&peer(100)) && !gone.contains(&peer(101)));
    }

    #[tokio::test(start_paused = true)]
    async fn given_bans_of_its_newcomers_a_prefix_gets_fewer_new_ones() {
        let dealings = Arc::default();
        let mut newcomers = behaviour(&dealings);
        let (bad, good): (Multiaddr, &str) = ("/ip4/192.0.2.1/tcp/1".parse().unwrap(), "/ip4/198.51.100.1/tcp/1");
        for _ in 0..NEWCOMER_BURST.div_ceil(BAN_COST) {
            newcomers.banned(&bad);
        }
        assert!(!open(&mut newcomers, 1, "/ip4/192.0.2.9/tcp/1"));
        assert!(open(&mut newcomers, 2, good));
    }
}
