//! How many connections peers may open to us that we never dealt with, by where they come from.
//!
//! A key costs nothing, so whoever wants all our places can have a key for each. What a newcomer can't choose freely is its
//! address: one prefix (/24, /48) gets half of the newcomers' places, at a bounded rate, and every ban of one of its peers
//! uses up that rate. Where a prefix's places are taken, its oldest newcomer that had time to ask its way gives way to the
//! next. Some places are kept for peers that we dealt with, which none of these bounds touch.

use std::{
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
}

impl Behaviour {
    /// At most `most` connections of newcomers; `named` are none.
    pub(super) fn new(dealings: Arc<Dealings>, named: BTreeSet<AgentId>, most: usize, runtime: Runtime) -> Self {
        let (opened, rates, closing) = (BTreeMap::new(), Buckets::default(), VecDeque::new());
        Self { dealings, runtime, named, opened, rates, most, closing }
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
        let mut newcomers = self.opened.iter().filter(|(_, opened)| self.is_newcomer(opened.agent));
        if newcomers.clone().filter(|(_, opened)| opened.prefix == from).count() >= self.most / 2 {
            let has_asked = |opened: &Opened| opened.agent != agent && opened.since + NEWCOMER_GRACE <= now;
            let oldest = newcomers.find(|(_, opened)| opened.prefix == from && has_asked(opened));
            let (id, opened) = oldest.ok_or_else(crowded)?;
            self.closing.push_back((peer_of(opened.agent), *id));
        } else if newcomers.count() >= self.most {
            return Err(crowded());
        }
        Ok(())
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
                    let opened = Opened { agent, prefix: prefix(send_back_addr), since: self.runtime.instant() };
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

    const MOST: usize = 20;

    fn peer(number: u32) -> PeerId {
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        peer_of(AgentKey::from_seed(&seed).id())
    }

    fn behaviour(dealings: &Arc<Dealings>) -> Behaviour {
        let runtime = Runtime::anchored(Timestamp::from_secs(1_800_000_000));
        Behaviour::new(Arc::clone(dealings), BTreeSet::new(), MOST, runtime)
    }

    /// Lets a peer in, if it may.
    fn open(newcomers: &mut Behaviour, number: u32, address: &str) -> bool {
        let address: Multiaddr = address.parse().unwrap();
        let admitted = newcomers.admit(peer(number), &address).is_ok();
        if admitted {
            let id = ConnectionId::new_unchecked(number as usize);
            let agent = agent_of(&peer(number)).unwrap();
            let opened = Opened { agent, prefix: prefix(&address), since: newcomers.runtime.instant() };
            newcomers.opened.insert(id, opened);
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
        // A newcomer that was there long enough gives way to the next of its prefix.
        tokio::time::advance(NEWCOMER_GRACE + Duration::from_secs(100)).await;
        assert!(open(&mut newcomers, 400, "/ip4/192.0.2.7/tcp/1"));
        assert_eq!(newcomers.closing, [(peer(0), ConnectionId::new_unchecked(0))]);
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
