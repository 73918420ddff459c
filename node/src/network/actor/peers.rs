//! Who is dialled, who stays connected, who is banned.

use std::collections::BTreeSet;

use guilder_protocol::{identity::AgentId, time::Timestamp};
use libp2p::{
    Multiaddr,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::time::Instant;

use super::{Actor, Reply};
use crate::{
    events::Event,
    network::{
        ConnectError, Penalty,
        addrs::split,
        connecting::Stage,
        connections::Marks,
        error::DialCause,
        ids::{agent_of, peer_of},
        limits::{BAN_TIME, BOOK_DIALS, CONNECTIONS_SLACK, LONELY},
        standing::{self, Sentence},
    },
    runtime::Runtime,
    store::Store,
};

impl Actor {
    /// Somebody needs a connection to a peer.
    pub(super) fn connect(&mut self, to: AgentId, reply: Reply<Result<(), ConnectError>>) {
        let known = if self.links.get(to).is_some() {
            Some(Ok(()))
        } else {
            self.standing.is_banned(to).then_some(Err(ConnectError::Banned(to)))
        };
        if let Some(result) = known {
            let _ = reply.send(result);
        } else if self.waiting.push(to, reply) {
            self.dial_for_waiters(to, Vec::new());
        }
    }

    /// Dials a peer that somebody waits for, at what we know and at `more`.
    fn dial_for_waiters(&mut self, agent: AgentId, more: Vec<Multiaddr>) {
        match self.swarm.dial(self.dial_opts(agent, more)) {
            // Under way, or already under way: its end answers.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(agent, &error),
        }
    }

    /// Dials a peer that nobody waits for yet.
    pub(super) fn dial_in_passing(&mut self, agent: AgentId) {
        if agent == self.local || self.standing.is_banned(agent) {
            return;
        }
        match self.swarm.dial(self.dial_opts(agent, Vec::new())) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => tracing::debug!(?agent, %error, "not dialled"),
        }
    }

    fn dial_opts(&self, agent: AgentId, more: Vec<Multiaddr>) -> DialOpts {
        let mut addresses = self.book.addresses(agent);
        addresses.extend(more);
        DialOpts::peer_id(peer_of(agent))
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build()
    }

    /// A dial of a peer came to nothing: what is still to be tried for those who wait?
    pub(super) fn dial_failed(&mut self, agent: AgentId, error: &DialError) {
        let cause = self.dial_error(Some(agent), error);
        match self.waiting.stage(agent) {
            None => {}
            Some(stage @ Stage::Dialling) if !matches!(error, DialError::Denied { .. }) => {
                *stage = Stage::LookingUp(cause.clone());
                let kad = &mut self.swarm.behaviour_mut().kad;
                if !self.discovery.lookup(kad, agent, peer_of(agent)) {
                    self.waiting.answer(agent, &Err(cause));
                }
            }
            // A dial of the look-up's own; its end decides.
            Some(Stage::LookingUp(_)) if self.discovery.is_looked_up(agent) => {}
            Some(Stage::LookingUp(first)) => {
                let first = first.clone();
                self.waiting.answer(agent, &Err(first));
            }
            Some(Stage::Dialling) => self.waiting.answer(agent, &Err(cause)),
        }
    }

    /// A look-up is over. It found these addresses.
    pub(super) fn looked_up(&mut self, agent: AgentId, addresses: Vec<Multiaddr>) {
        if self.waiting.stage(agent).is_some() {
            self.dial_for_waiters(agent, addresses);
        }
    }

    pub(super) fn dial_error(&self, agent: Option<AgentId>, error: &DialError) -> ConnectError {
        match (error, agent) {
            (DialError::LocalPeerId { .. }, _) => ConnectError::Ourselves,
            (DialError::NoAddresses, Some(agent)) => ConnectError::NoAddress(agent),
            (DialError::Denied { .. }, Some(agent)) if self.standing.is_banned(agent) => ConnectError::Banned(agent),
            (DialError::Denied { .. }, _) => ConnectError::Busy,
            (DialError::WrongPeerId { obtained, .. }, _) => {
                ConnectError::Dial(DialCause(format!("another peer answered: {obtained}")))
            }
            (DialError::Transport(failures), _) => {
                let failures = failures.iter().map(|(address, error)| format!("{address}: {}", innermost(error)));
                ConnectError::Dial(DialCause(failures.collect::<Vec<_>>().join("; ")))
            }
            (error, _) => ConnectError::Dial(DialCause(error.to_string())),
        }
    }

    pub(super) fn bootstrap_not_dialled(&mut self, connection: ConnectionId, error: &DialError) {
        if let DialError::DialPeerConditionFalse(_) = error {
            // Connected, or being dialled for another reason: looked at again in a while.
            tracing::trace!("bootstrap peer not dialled: under way already");
        } else {
            tracing::debug!(%error, "bootstrap peer not dialled");
        }
        let [jitter] = self.runtime.random();
        self.bootstraps.failed(connection, self.runtime.instant(), jitter);
    }

    /// Dials the peers that were connected last time.
    pub(super) fn dial_from_book(&mut self) {
        for agent in self.book.latest(BOOK_DIALS) {
            self.dial_in_passing(agent);
        }
    }

    /// What an outbound dial taught about addresses.
    pub(super) fn learn_from_failure(&mut self, agent: AgentId, error: &DialError) {
        match error {
            DialError::Transport(failures) => {
                failures.iter().for_each(|(address, _)| self.book.missed(agent, &split(address).0));
            }
            DialError::WrongPeerId { address, .. } => self.book.missed(agent, &split(address).0),
            _ => {}
        }
    }

    pub(super) fn penalize(&mut self, agent: AgentId, penalty: Penalty, reason: &str) {
        let now = self.runtime.instant();
        let sentence = self.standing.penalize(agent, penalty, now);
        let banned = matches!(sentence, Sentence::Banned { .. });
        self.events.emit(Event::PeerPenalized { peer: agent, reason: reason.to_owned(), banned });
        let peer = peer_of(agent);
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gossip.set_application_score(&peer, -f64::from(self.standing.points(agent, now)));
        if let Sentence::Banned { pardoned } = sentence {
            let until = self.runtime.now().saturating_add(BAN_TIME.as_secs());
            write_bans(&self.runtime, &self.store, vec![(agent, until)], pardoned.into_iter().collect());
            behaviour.bans.block_peer(peer);
            behaviour.kad.remove_peer(&peer);
            if let Some(pardoned) = pardoned {
                behaviour.bans.unblock_peer(peer_of(pardoned));
            }
            self.waiting.answer(agent, &Err(ConnectError::Banned(agent)));
        }
    }

    /// Looks after bans and connections, and forgets what was known of peers that are gone.
    pub(super) fn upkeep(&mut self, now: Instant) {
        let over = self.standing.expire(now);
        for agent in &over {
            self.swarm.behaviour_mut().bans.unblock_peer(peer_of(*agent));
        }
        if !over.is_empty() {
            write_bans(&self.runtime, &self.store, Vec::new(), over);
        }
        let links = &self.links;
        self.mill.tidy(|agent| links.get(agent).is_some());
        self.software.retain(|agent, _| links.get(*agent).is_some());
        self.connections.observe(|agent, connection| links.activity(agent, connection), now);
        self.trim(now);
        if self.connections.len() < LONELY {
            self.dial_from_book();
        }
    }

    /// Closes what is too many.
    pub(super) fn trim(&mut self, now: Instant) {
        let (low, high) = (self.config.low_water as usize, self.config.high_water as usize);
        if self.connections.len() <= high {
            return;
        }
        let mesh = self.swarm.behaviour().gossip.all_mesh_peers().filter_map(agent_of);
        let kept: BTreeSet<_> = mesh.chain(self.bootstraps.known().map(|(agent, _)| agent)).collect();
        let full = high + CONNECTIONS_SLACK as usize / 4;
        let marks = Marks { low, high, full, grace: self.config.grace() };
        for connection in self.connections.surplus(marks, &kept, now) {
            self.swarm.close_connection(connection);
        }
    }
}

/// In a task of its own: the loop doesn't wait for the disk, and a ban holds without it.
fn write_bans(runtime: &Runtime, store: &Store, begun: Vec<(AgentId, Timestamp)>, over: Vec<AgentId>) {
    let writing = standing::write_bans(store.clone(), begun, over);
    let write = async move {
        if let Err(error) = writing.await {
            tracing::warn!(%error, "a ban was not written down");
        }
    };
    runtime.spawn("bans", write).detach();
}

/// What lies at the bottom of an error: transports wrap the one thing worth knowing in layers that repeat it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
