//! Which connections stay.
//!
//! libp2p's own idle rule never closes a connection here, because gossip keeps a stream open on every connection (libp2p issue
//! #5190). So: above the high-water mark the least useful connections are closed, down to the low-water mark. Kept in
//! any case are those of protected peers (a trade runs, or the operator named them) and those that are new or were in use
//! within the grace period. Of the rest, those of peers that we never dealt with go first, then those outside our gossip
//! meshes, then the one unused for longest.
//!
//! A node that many know, a bootstrap node above all, may have nothing but connections in use. If it then turned strangers away,
//! a newcomer that knows nobody else would never get in. So where those that others opened fill all the room there is for them,
//! the grace period counts for them no longer: those that have had time to ask their way make room.

use std::{collections::BTreeMap, time::Duration};

use guilder_protocol::identity::AgentId;
use libp2p::{Multiaddr, swarm::ConnectionId};
use tokio::time::Instant;

use super::limits::NEWCOMER_GRACE;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) agent: AgentId,
    pub(super) address: Multiaddr,
    pub(super) dialled: bool,
    pub(super) since: Instant,
    /// When it was last seen in use.
    used: Instant,
    /// The link's count of uses at that time.
    uses: u64,
    pub(super) round_trip: Option<Duration>,
}

impl Connection {
    pub(super) fn new(agent: AgentId, address: Multiaddr, dialled: bool, now: Instant) -> Self {
        Self { agent, address, dialled, since: now, used: now, uses: 0, round_trip: None }
    }
}

/// All established connections, oldest first.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: BTreeMap<ConnectionId, Connection>,
}

impl Connections {
    pub(super) fn insert(&mut self, id: ConnectionId, connection: Connection) {
        self.all.insert(id, connection);
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.all.remove(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.all.get_mut(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The connections by peer, each peer's oldest first.
    pub(super) fn by_peer(&self) -> BTreeMap<AgentId, Vec<&Connection>> {
        let mut peers = BTreeMap::<_, Vec<_>>::new();
        for connection in self.all.values() {
            peers.entry(connection.agent).or_default().push(connection);
        }
        peers
    }

    /// How the oldest connection to a peer was met.
    pub(super) fn address_of(&self, agent: AgentId) -> Option<&Multiaddr> {
        self.all.values().find(|connection| connection.agent == agent).map(|connection| &connection.address)
    }

    /// Takes note of which connections were used since the last time.
    pub(super) fn observe(&mut self, uses: impl Fn(AgentId, ConnectionId) -> u64, now: Instant) {
        for (id, connection) in &mut self.all {
            let count = uses(connection.agent, *id);
            if count != connection.uses {
                (connection.uses, connection.used) = (count, now);
            }
        }
    }

    /// What to close now: nothing up to the high-water mark, and nothing of peers that are `kept`; those of least `worth` first.
    pub(super) fn surplus<W: Ord>(
        &self,
        marks: Marks,
        kept: impl Fn(AgentId) -> bool,
        worth: impl Fn(AgentId) -> W,
        now: Instant,
    ) -> Vec<ConnectionId> {
        if self.all.len() <= marks.high {
            return Vec::new();
        }
        let is_idle = |connection: &Connection| !kept(connection.agent) && connection.used + marks.grace <= now;
        let idle = self.longest_unused(is_idle, &worth, self.all.len().saturating_sub(marks.low));
        let theirs = self.all.values().filter(|connection| !connection.dialled).count();
        if !idle.is_empty() || theirs < marks.full {
            return idle;
        }
        let has_asked = |connection: &Connection| connection.since + NEWCOMER_GRACE <= now;
        let room = self.all.len().saturating_sub(marks.high);
        let gives_way =
            |connection: &Connection| !connection.dialled && !kept(connection.agent) && has_asked(connection);
        self.longest_unused(gives_way, &worth, room)
    }

    /// At most so many of these: the least worth first, of those the one unused for longest, of those in use alike the oldest.
    fn longest_unused<W: Ord>(
        &self,
        which: impl Fn(&Connection) -> bool,
        worth: impl Fn(AgentId) -> W,
        most: usize,
    ) -> Vec<ConnectionId> {
        let these = self.all.iter().filter(|(_, connection)| which(connection));
        let mut these: Vec<_> = these.map(|(id, c)| (worth(c.agent), c.used, c.since, *id)).collect();
        these.sort_unstable();
        these.truncate(most);
        these.into_iter().map(|(.., id)| id).collect()
    }
}

/// When and how far to trim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub(super) low: usize,
    pub(super) high: usize,
    /// Connections opened by others from which on newcomers would soon be turned away.
    pub(super) full: usize,
    pub(super) grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { low: 3, high: 5, full: 7, grace: Duration::from_secs(10) };

    fn agent(number: u8) -> AgentId {
        AgentId::from_bytes([number; 32])
    }

    /// Connection `n` to agent `n`, made at second `n`.
    fn connections(count: u8, start: Instant) -> Connections {
        let mut connections = Connections::default();
        for number in 0..count {
            let since = start + Duration::from_secs(number.into());
            let connection = Connection::new(agent(number), Multiaddr::empty(), true, since);
            connections.insert(ConnectionId::new_unchecked(number.into()), connection);
        }
        connections
    }

    fn surplus(connections: &Connections, kept: &[u8], now: Instant) -> Vec<usize> {
        let ids = connections.surplus(MARKS, |a| kept.iter().any(|number| agent(*number) == a), |_| (), now);
        (0..100).filter(|n| ids.contains(&ConnectionId::new_unchecked(*n))).collect()
    }

    #[test]
    fn nothing_goes_up_to_the_high_mark() {
        let start = Instant::now();
        assert_eq!(surplus(&connections(5, start), &[], start + Duration::from_secs(100)), [0; 0]);
    }

    #[test]
    fn the_longest_unused_go_down_to_the_low_mark() {
        let start = Instant::now();
        let mut connections = connections(8, start);
        connections.observe(|a, _| u64::from(a == agent(0)), start + Duration::from_secs(50));
        assert_eq!(surplus(&connections, &[], start + Duration::from_secs(100)), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn kept_and_fresh_ones_stay() {
        let start = Instant::now();
        let connections = connections(8, start);
        // At second 14, connections 0 to 4 are past their grace.
        assert_eq!(surplus(&connections, &[0, 1], start + Duration::from_secs(14)), [2, 3, 4]);
        assert_eq!(surplus(&connections, &[1], start + Duration::from_secs(14)), [0, 2, 3, 4]);
    }

    #[test]
    fn given_a_choice_the_least_worth_go_first() {
        let start = Instant::now();
        let connections = connections(8, start);
        let worth = |a| a == agent(0) || a == agent(1);
        let ids = connections.surplus(MARKS, |_| false, worth, start + Duration::from_secs(100));
        let expected: Vec<_> = (2..7).map(ConnectionId::new_unchecked).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn where_all_are_in_use_those_that_have_asked_make_room_for_newcomers() {
        let start = Instant::now();
        let everyone_in_use = |count: u8, dialled: bool| {
            let mut connections = connections(count, start);
            connections.all.values_mut().for_each(|connection| connection.dialled = dialled);
            connections.observe(|_, _| 1, start + Duration::from_secs(9));
            surplus(&connections, &[1, 2], start + Duration::from_secs(9))
        };
        assert_eq!(everyone_in_use(6, false), [0; 0], "there is room");
        assert_eq!(everyone_in_use(8, false), [0, 3, 4], "the oldest, but for those that are kept");
        assert_eq!(everyone_in_use(8, true), [0; 0], "what we dialled keeps nobody out");
    }
}
