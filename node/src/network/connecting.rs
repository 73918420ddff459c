//! Getting connected: who waits for whom, and the bootstrap peers.
//!
//! ```text
//!   Connect(agent) ─▶ dial (book, routing table, running queries) ──▶ established: answer all who wait
//!                        └─ no address, or none answers ─▶ look-up ─▶ dial again ─▶ answer, good or bad
//! ```

use std::{collections::BTreeMap, time::Duration};

use guilder_protocol::identity::AgentId;
use libp2p::{
    Multiaddr,
    kad::QueryId,
    multiaddr::Protocol,
    swarm::{ConnectionId, dial_opts::DialOpts},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    BootstrapInfo, ConnectError,
    addrs::split,
    ids::peer_of,
    limits::{BACKOFF_FIRST, BACKOFF_MAX, CONNECT_WAITERS, FINDS},
};

type Waiter = oneshot::Sender<Result<(), ConnectError>>;

/// How far the attempt to reach a peer has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// With the addresses at hand.
    Dialling,
    /// After those failed: the look-up, and why they did, in case it ends with nothing.
    LookingUp { query: QueryId, first: ConnectError },
    /// With what the look-up found.
    LookedUp { first: ConnectError },
}

/// The peers that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    peers: BTreeMap<AgentId, (Stage, Vec<Waiter>)>,
    count: usize,
}

impl Waiting {
    /// Adds a waiter. True if it is the peer's first, so that a dial must begin.
    pub(super) fn push(&mut self, agent: AgentId, waiter: Waiter) -> bool {
        if self.count >= CONNECT_WAITERS {
            let _ = waiter.send(Err(ConnectError::Busy));
            return false;
        }
        self.count += 1;
        let (_, waiters) = self.peers.entry(agent).or_insert((Stage::Dialling, Vec::new()));
        waiters.push(waiter);
        waiters.len() == 1
    }

    pub(super) fn stage(&mut self, agent: AgentId) -> Option<&mut Stage> {
        self.peers.get_mut(&agent).map(|(stage, _)| stage)
    }

    /// Whether one more look-up may run.
    pub(super) fn has_room_to_look_up(&self) -> bool {
        self.peers.values().filter(|(stage, _)| matches!(stage, Stage::LookingUp { .. })).count() < FINDS
    }

    /// A query is over. Returns the peer, if it was a look-up of one that somebody still waits for.
    pub(super) fn looked_up(&mut self, query: QueryId) -> Option<AgentId> {
        self.peers.iter_mut().find_map(|(agent, (stage, _))| match stage {
            Stage::LookingUp { query: running, first } if *running == query => {
                *stage = Stage::LookedUp { first: first.clone() };
                Some(*agent)
            }
            _ => None,
        })
    }

    /// Answers all who wait for a peer.
    pub(super) fn answer(&mut self, agent: AgentId, result: &Result<(), ConnectError>) {
        let Some((_, waiters)) = self.peers.remove(&agent) else { return };
        self.count -= waiters.len();
        for waiter in waiters {
            // Whoever gave up waiting needs no answer.
            let _ = waiter.send(result.clone());
        }
    }
}

/// A bootstrap peer.
#[derive(Debug)]
pub(super) struct Bootstrap {
    address: Multiaddr,
    /// As the address names it. Behind a name without one (`/dnsaddr/…`) there may be another tomorrow.
    named: Option<AgentId>,
    /// Known from the address or from the first connection.
    pub(super) agent: Option<AgentId>,
    failures: u32,
    /// Why the last dial failed; none while it is connected, and before the first dial ended.
    error: Option<String>,
    state: State,
}

impl Bootstrap {
    fn new(address: &Multiaddr, now: Instant) -> Self {
        let (address, agent) = split(address);
        Self { address, named: agent, agent, failures: 0, error: None, state: State::Waiting(now) }
    }

    /// Whether the settings' `address` is this one.
    fn is_named_by(&self, address: &Multiaddr) -> bool {
        (&self.address, self.named) == (&split(address).0, split(address).1)
    }

    /// Its address, with its peer ID where that is known.
    fn whole_address(&self) -> Multiaddr {
        match self.agent {
            Some(agent) => self.address.clone().with(Protocol::P2p(peer_of(agent))),
            None => self.address.clone(),
        }
    }
}

#[derive(Debug)]
enum State {
    Waiting(Instant),
    Dialling(ConnectionId),
    Connected,
}

/// The bootstrap peers, which are dialled again and again, ever more seldom, until they answer.
#[derive(Debug)]
pub(super) struct Bootstraps(Vec<Bootstrap>);

impl Bootstraps {
    /// `local` is left out: a list that all nodes share names each of them.
    pub(super) fn new(addresses: &[Multiaddr], local: AgentId, now: Instant) -> Self {
        let bootstraps = addresses
            .iter()
            .map(|address| Bootstrap::new(address, now))
            .filter(|bootstrap| bootstrap.agent != Some(local));
        Self(bootstraps.collect())
    }

    /// Takes away those of `old` that `new` hasn't, and adds those of `new` that aren't there, dialled at once unless they are
    /// connected.
    pub(super) fn replace(
        &mut self,
        old: &[Multiaddr],
        new: &[Multiaddr],
        local: AgentId,
        now: Instant,
        is_connected: impl Fn(AgentId) -> bool,
    ) {
        self.0.retain(|bootstrap| {
            let named = |list: &[Multiaddr]| list.iter().any(|address| bootstrap.is_named_by(address));
            !named(old) || named(new)
        });
        for address in new {
            if self.0.iter().any(|bootstrap| bootstrap.is_named_by(address)) {
                continue;
            }
            let mut bootstrap = Bootstrap::new(address, now);
            if bootstrap.agent.is_some_and(&is_connected) {
                bootstrap.state = State::Connected;
            }
            self.0.extend(Some(bootstrap).filter(|bootstrap| bootstrap.agent != Some(local)));
        }
    }

    /// The peers that the operator named by their IDs.
    pub(super) fn named(&self) -> impl Iterator<Item = AgentId> {
        self.0.iter().filter_map(|bootstrap| bootstrap.named)
    }

    /// The peers known by ID and their addresses.
    pub(super) fn known(&self) -> impl Iterator<Item = (AgentId, &Multiaddr)> {
        self.0.iter().filter_map(|bootstrap| Some((bootstrap.agent?, &bootstrap.address)))
    }

    pub(super) fn contains(&self, agent: AgentId) -> bool {
        self.0.iter().any(|bootstrap| bootstrap.agent == Some(agent))
    }

    pub(super) fn next_dial(&self) -> Option<Instant> {
        let due = |bootstrap: &Bootstrap| match bootstrap.state {
            State::Waiting(at) => Some(at),
            _ => None,
        };
        self.0.iter().filter_map(due).min()
    }

    /// The dials that are due; they count as begun.
    pub(super) fn due(&mut self, now: Instant) -> Vec<DialOpts> {
        let mut dials = Vec::new();
        for bootstrap in &mut self.0 {
            if matches!(bootstrap.state, State::Waiting(at) if at <= now) {
                let dial = match bootstrap.agent {
                    Some(agent) => DialOpts::peer_id(peer_of(agent)).addresses(vec![bootstrap.address.clone()]).build(),
                    None => DialOpts::unknown_peer_id().address(bootstrap.address.clone()).build(),
                };
                bootstrap.state = State::Dialling(dial.connection_id());
                dials.push(dial);
            }
        }
        dials
    }

    pub(super) fn connected(&mut self, connection: ConnectionId, agent: AgentId) {
        for bootstrap in &mut self.0 {
            let dialled = matches!(bootstrap.state, State::Dialling(id) if id == connection);
            if dialled || bootstrap.agent == Some(agent) {
                bootstrap.agent = Some(agent);
                (bootstrap.state, bootstrap.failures, bootstrap.error) = (State::Connected, 0, None);
            }
        }
    }

    /// A dial failed, for this reason; for none if it was under way already. `jitter` is random. Returns the bootstrap peer's
    /// address, and whether the dial before had failed too.
    pub(super) fn failed(
        &mut self,
        connection: ConnectionId,
        reason: Option<&str>,
        now: Instant,
        jitter: u8,
    ) -> Option<(Multiaddr, bool)> {
        let dialled = |bootstrap: &&mut Bootstrap| matches!(bootstrap.state, State::Dialling(id) if id == connection);
        let bootstrap = self.0.iter_mut().find(dialled)?;
        bootstrap.state = State::Waiting(now + backoff(bootstrap.failures, jitter));
        bootstrap.failures = bootstrap.failures.saturating_add(1);
        if reason.is_some() {
            bootstrap.agent = bootstrap.named;
        }
        let again = bootstrap.error.is_some();
        if let Some(reason) = reason {
            bootstrap.error = Some(reason.to_owned());
        }
        Some((bootstrap.whole_address(), again))
    }

    /// How each of them does, for people.
    pub(super) fn describe(&self) -> Vec<BootstrapInfo> {
        let info = |bootstrap: &Bootstrap| BootstrapInfo {
            address: bootstrap.whole_address(),
            connected: matches!(bootstrap.state, State::Connected),
            error: bootstrap.error.clone(),
        };
        self.0.iter().map(info).collect()
    }

    /// A peer's last connection is gone.
    pub(super) fn disconnected(&mut self, agent: AgentId, now: Instant, jitter: u8) {
        for bootstrap in &mut self.0 {
            if bootstrap.agent == Some(agent) && matches!(bootstrap.state, State::Connected) {
                bootstrap.state = State::Waiting(now + backoff(0, jitter));
            }
        }
    }
}

/// Doubles with each failure, up to a bound, then takes off up to half of it, so that the peers of a bootstrap node
/// that restarts don't all come back at the same moment.
fn backoff(failures: u32, jitter: u8) -> Duration {
    let whole = BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
    whole - whole / 2 * u32::from(jitter) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OURS: AgentId = AgentId::from_bytes([1; 32]);
    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

    #[test]
    fn backoff_grows_to_its_bound_and_jitter_shortens_it() {
        assert_eq!(backoff(0, 0), BACKOFF_FIRST);
        assert_eq!(backoff(3, 0), BACKOFF_FIRST * 8);
        assert_eq!(backoff(3, u8::MAX), BACKOFF_FIRST * 4);
        assert_eq!(backoff(u32::MAX, 0), BACKOFF_MAX);
    }

    #[test]
    fn a_bootstrap_peer_is_dialled_until_it_answers_and_again_when_it_is_lost() {
        let now = Instant::now();
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse().unwrap();
        let agent = AgentId::from_peer_id(PEER).unwrap();
        assert!(Bootstraps::new(std::slice::from_ref(&address), agent, now).0.is_empty());
        let mut bootstraps = Bootstraps::new(std::slice::from_ref(&address), OURS, now);
        let dials = bootstraps.due(now);
        assert_eq!(dials.len(), 1);
        assert!(bootstraps.due(now).is_empty() && bootstraps.next_dial().is_none());
        let failed = bootstraps.failed(dials[0].connection_id(), Some("refused"), now, 0);
        assert_eq!(failed, Some((address.clone(), false)));
        assert_eq!(bootstraps.describe()[0].error.as_deref(), Some("refused"));
        assert_eq!(bootstraps.next_dial(), Some(now + BACKOFF_FIRST));
        let dials = bootstraps.due(now + BACKOFF_FIRST);
        bootstraps.connected(dials[0].connection_id(), agent);
        assert!(bootstraps.next_dial().is_none());
        let [info] = &bootstraps.describe()[..] else { panic!("not one") };
        assert!(info.connected && info.error.is_none(), "{info:?}");
        bootstraps.disconnected(agent, now, 0);
        assert_eq!(bootstraps.next_dial(), Some(now + BACKOFF_FIRST));
    }

    #[test]
    fn other_peers_to_begin_with_are_dialled_and_those_that_stay_are_left_alone() {
        let now = Instant::now();
        let agent = AgentId::from_peer_id(PEER).unwrap();
        let at = |port: u16| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}/p2p/{PEER}").parse().unwrap() };
        let seed: Multiaddr = "/dnsaddr/swarm.example".parse().unwrap();
        let mut bootstraps = Bootstraps::new(&[at(1), at(2), at(9)], OURS, now);
        bootstraps.due(now);
        // The ninth was named on the command line: it isn't the file's to take away.
        bootstraps.replace(&[at(1), at(2)], &[at(2), at(3), seed.clone()], OURS, now, |_| false);
        let addresses: Vec<_> = bootstraps.describe().into_iter().map(|info| info.address).collect();
        assert_eq!(addresses, [at(2), at(9), at(3), seed]);
        assert_eq!(bootstraps.due(now).len(), 2, "the new ones alone");
        assert_eq!(bootstraps.named().collect::<Vec<_>>(), [agent; 3], "a name in the DNS names nobody");
        bootstraps.replace(&[], &[at(4)], OURS, now, |known| known == agent);
        assert!(bootstraps.describe()[4].connected);
        bootstraps.replace(&[], &[at(5)], agent, now, |_| false);
        assert_eq!(bootstraps.describe().len(), 5, "not itself");
    }

    #[test]
    fn who_is_behind_a_name_may_be_another_after_it_was_lost() {
        let now = Instant::now();
        let mut bootstraps = Bootstraps::new(&["/dnsaddr/swarm.example".parse().unwrap()], OURS, now);
        let agent = AgentId::from_peer_id(PEER).unwrap();
        let dials = bootstraps.due(now);
        bootstraps.connected(dials[0].connection_id(), agent);
        bootstraps.disconnected(agent, now, 0);
        let dials = bootstraps.due(now + BACKOFF_FIRST);
        bootstraps.failed(dials[0].connection_id(), Some("another peer answered"), now, 0);
        assert!(!bootstraps.contains(agent));
    }

    #[test]
    fn a_bootstrap_peer_without_an_id_gets_it_from_its_connection() {
        let now = Instant::now();
        let mut bootstraps = Bootstraps::new(&["/ip4/127.0.0.1/tcp/1".parse().unwrap()], OURS, now);
        let dials = bootstraps.due(now);
        let agent = AgentId::from_peer_id(PEER).unwrap();
        assert!(!bootstraps.contains(agent));
        bootstraps.connected(dials[0].connection_id(), agent);
        assert!(bootstraps.contains(agent));
    }

    #[test]
    fn all_who_wait_get_the_answer_and_too_many_get_it_at_once() {
        let agent = AgentId::from_peer_id(PEER).unwrap();
        let mut waiting = Waiting::default();
        let mut answers = Vec::new();
        for number in 0..CONNECT_WAITERS {
            let (waiter, answer) = oneshot::channel();
            assert_eq!(waiting.push(agent, waiter), number == 0);
            answers.push(answer);
        }
        let (waiter, mut refused) = oneshot::channel();
        assert!(!waiting.push(agent, waiter));
        assert!(matches!(refused.try_recv(), Ok(Err(ConnectError::Busy))));
        waiting.answer(agent, &Ok(()));
        assert!(answers.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Ok(())))));
        assert_eq!(waiting.count, 0);
    }
}
