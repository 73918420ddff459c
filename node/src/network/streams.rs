//! Our own protocols on libp2p's connections: trade frames and raw streams.
//!
//! ```text
//!                     one per connection, in its task
//!   links ──▶ ┌───────────────── Handler ─────────────────┐
//!             │ trade::Sender    ══ /guilder/trade/1 ══▶  │   one unidirectional substream each way, opened at the
//!             │ trade::Receiver  ◀══ /guilder/trade/1 ══  │   first frame, kept as long as the connection
//!             │ openings         ══ content, mint, … ═══▶ │   raw, bidirectional, handed out
//!             │ backlogs         ◀═══ content, mint, … ══ │
//!             └───────────────────────────────────────────┘
//!   inbound ◀── frames, streams          violations ──▶ Behaviour ──▶ actor
//! ```
//!
//! The [`Behaviour`] only makes handlers, keeps the register of links and passes on what handlers report: no frame
//! goes through it.

mod backlog;
mod handler;
mod trade;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use guilder_protocol::identity::AgentId;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};

use self::handler::{Handler, Report};
pub(super) use self::trade::Violation;
use super::{
    addrs::prefix,
    dealings::Dealings,
    ids::agent_of,
    inbound::Delivery,
    links::{Link, Links},
};
use crate::runtime::Runtime;

/// What the loop hears of our protocols.
#[derive(Debug)]
pub(super) enum Event {
    /// A peer broke a rule.
    Violation { agent: AgentId, violation: Violation },
}

/// A peer whose key isn't Ed25519.
#[derive(Debug, thiserror::Error)]
#[error("the peer's key is not Ed25519, so it is no agent")]
struct NoAgent;

/// See the module's documentation.
pub(super) struct Behaviour {
    links: Arc<Links>,
    delivery: Delivery,
    dealings: Arc<Dealings>,
    runtime: Runtime,
    /// Links of connections that other behaviours may still refuse.
    pending: BTreeMap<ConnectionId, (AgentId, Link)>,
    events: VecDeque<ToSwarm<Event, std::convert::Infallible>>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub(super) fn new(links: Arc<Links>, delivery: Delivery, dealings: Arc<Dealings>, runtime: Runtime) -> Self {
        Self { links, delivery, dealings, runtime, pending: BTreeMap::new(), events: VecDeque::new(), waker: None }
    }

    fn handler(
        &mut self,
        connection: ConnectionId,
        peer: &PeerId,
        remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        let agent = agent_of(peer).ok_or_else(|| ConnectionDenied::new(NoAgent))?;
        let (link, ends) = Link::new(agent, self.links.quota(agent));
        self.pending.insert(connection, (agent, link));
        let (from, dealings) = ((agent, prefix(remote)), Arc::clone(&self.dealings));
        Ok(Handler::new(from, dealings, ends, self.delivery.clone(), self.runtime.clone()))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(connection, &peer, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(connection, &peer, address)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if let Some((agent, link)) = self.pending.remove(&established.connection_id) {
                    self.links.insert(agent, established.connection_id, link);
                }
            }
            FromSwarm::ConnectionClosed(closed) => {
                if let Some(agent) = agent_of(&closed.peer_id) {
                    self.links.remove(agent, closed.connection_id);
                }
            }
            FromSwarm::ListenFailure(failure) => {
                self.pending.remove(&failure.connection_id);
            }
            FromSwarm::DialFailure(failure) => {
                self.pending.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        report: THandlerOutEvent<Self>,
    ) {
        let event = match report {
            Report::Violation(violation) => {
                let Some(agent) = agent_of(&peer_id) else { return };
                ToSwarm::GenerateEvent(Event::Violation { agent, violation })
            }
            Report::TradeLost => ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) },
        };
        self.events.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
