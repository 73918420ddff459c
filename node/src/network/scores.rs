//! Penalty points and bans, by peer.
//!
//! Points halve every ten minutes; a peer with a hundred is banned for an hour. A ban is stored with its end, so it outlives a
//! restart; points are kept in memory only.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use guilder_protocol::{identity::AgentId, time::Timestamp};
use tokio::time::Instant;

use super::{
    Penalty,
    limits::{BAN_POINTS, BAN_TIME, POINTS_HALF_LIFE, SCORED_PEERS},
};
use crate::{
    store::{KeyRange, Reader, Store, StoreError, Table},
    sync::lock,
};

/// When each ban ends.
const BANS: Table<Timestamp> = Table::new("network/bans");

/// Writes down bans that have begun, and strikes those that are over.
pub(super) async fn write_bans(
    store: Store,
    begun: Vec<(AgentId, Timestamp)>,
    over: Vec<AgentId>,
) -> Result<(), StoreError> {
    let job = move |write: &mut crate::store::Write<'_>| {
        over.iter().try_for_each(|agent| write.delete(BANS, agent.as_bytes()))?;
        begun.iter().try_for_each(|(agent, until)| write.put(BANS, agent.as_bytes(), until))
    };
    store.write(job).await
}

/// Who is banned, as the whole node sees it.
#[derive(Debug, Default)]
pub(super) struct Banned(Mutex<BTreeSet<AgentId>>);

impl Banned {
    pub(super) fn contains(&self, agent: AgentId) -> bool {
        lock(&self.0).contains(&agent)
    }

    pub(super) fn insert(&self, agent: AgentId) {
        lock(&self.0).insert(agent);
    }

    pub(super) fn remove(&self, agent: AgentId) {
        lock(&self.0).remove(&agent);
    }
}

/// What became of a penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It counts.
    Noted,
    /// The peer is banned from now on.
    Banned {
        /// Whose ban was lifted to make room in the list: the oldest.
        lifted: Option<AgentId>,
    },
}

/// The penalty points of peers that have any, and who is banned.
#[derive(Debug, Default)]
pub(super) struct PeerScores {
    points: BTreeMap<AgentId, Points>,
    bans: BTreeMap<AgentId, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Points {
    /// A thousand to the point, so that halving small numbers isn't coarse.
    milli: u64,
    at: Instant,
}

impl Points {
    /// What is left of them: half per half-life, in a straight line between.
    fn left(self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        let half_life = POINTS_HALF_LIFE.as_millis();
        let halvings = u32::try_from(elapsed / half_life).unwrap_or(u32::MAX);
        let whole = self.milli.checked_shr(halvings).unwrap_or(0);
        let part = u128::from(whole) * (elapsed % half_life) / (2 * half_life);
        whole - u64::try_from(part).unwrap_or(whole)
    }
}

impl PeerScores {
    /// Takes up the bans that haven't ended yet. What can't be read doesn't prevent the start.
    pub(super) fn read(store: &Store, wall: Timestamp, now: Instant) -> Self {
        let rows = store.read(|read| read.range(BANS, KeyRange::all(), SCORED_PEERS)).unwrap_or_else(|error| {
            tracing::warn!(%error, "the bans can't be read; all are lifted");
            Vec::new()
        });
        let bans = rows.into_iter().filter_map(|(key, until)| {
            let agent = AgentId::from_bytes(key.try_into().ok()?);
            // A clock that was set makes none longer. One that is over goes with the next upkeep.
            Some((agent, now + BAN_TIME.min(std::time::Duration::from_secs(until.since(wall)))))
        });
        Self { bans: bans.collect(), points: BTreeMap::new() }
    }

    /// When each ban ends.
    pub(super) fn bans(&self, wall: Timestamp, now: Instant) -> Vec<(AgentId, Timestamp)> {
        let ends = |until: &Instant| wall.saturating_add(until.saturating_duration_since(now).as_secs());
        self.bans.iter().map(|(agent, until)| (*agent, ends(until))).collect()
    }

    /// Everybody who is banned.
    pub(super) fn banned(&self) -> impl Iterator<Item = AgentId> {
        self.bans.keys().copied()
    }

    /// Adds a penalty to a peer's points.
    pub(super) fn penalize(&mut self, agent: AgentId, penalty: Penalty, now: Instant) -> Counted {
        let before = self.points.get(&agent).map_or(0, |points| points.left(now));
        let milli = before.saturating_add(u64::from(penalty.points()) * 1_000);
        if milli >= u64::from(BAN_POINTS) * 1_000 {
            self.points.remove(&agent);
            let lifted = make_room(&mut self.bans, agent, |until| *until);
            let before = self.bans.insert(agent, now + BAN_TIME);
            return if before.is_none() { Counted::Banned { lifted } } else { Counted::Noted };
        }
        make_room(&mut self.points, agent, |points| points.left(now));
        self.points.insert(agent, Points { milli, at: now });
        Counted::Noted
    }

    pub(super) fn is_banned(&self, agent: AgentId) -> bool {
        self.bans.contains_key(&agent)
    }

    /// Points at this moment, rounded.
    pub(super) fn points(&self, agent: AgentId, now: Instant) -> u32 {
        let milli = self.points.get(&agent).map_or(0, |points| points.left(now));
        u32::try_from((milli + 500) / 1_000).unwrap_or(u32::MAX)
    }

    /// Whose ban is over, and who has no points left.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<AgentId> {
        self.points.retain(|_, points| points.left(now) >= 500);
        let over: Vec<_> = self.bans.iter().filter(|(_, until)| **until <= now).map(|(agent, _)| *agent).collect();
        self.bans.retain(|_, until| *until > now);
        over
    }
}

/// Makes room in a full map by forgetting the least.
fn make_room<V, K: Ord>(map: &mut BTreeMap<AgentId, V>, agent: AgentId, worth: impl Fn(&V) -> K) -> Option<AgentId> {
    if map.len() < SCORED_PEERS || map.contains_key(&agent) {
        return None;
    }
    let least = map.iter().min_by_key(|(_, value)| worth(value)).map(|(agent, _)| *agent)?;
    map.remove(&least);
    Some(least)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn agent(number: u32) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        AgentId::from_bytes(bytes)
    }

    #[test]
    fn points_add_up_to_a_ban_and_the_ban_ends() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        for _ in 0..4 {
            assert_eq!(scores.penalize(agent(1), Penalty::Major, now), Counted::Noted);
        }
        assert_eq!(scores.points(agent(1), now), 80);
        assert_eq!(scores.penalize(agent(1), Penalty::Major, now), Counted::Banned { lifted: None });
        assert!(scores.is_banned(agent(1)) && !scores.is_banned(agent(2)));
        assert!(scores.expire(now + BAN_TIME - Duration::from_secs(1)).is_empty());
        assert_eq!(scores.expire(now + BAN_TIME), [agent(1)]);
        assert!(!scores.is_banned(agent(1)));
    }

    #[test]
    fn fraud_is_banned_at_once_and_told_once() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        assert_eq!(scores.penalize(agent(1), Penalty::Fatal, now), Counted::Banned { lifted: None });
        assert_eq!(scores.penalize(agent(1), Penalty::Fatal, now), Counted::Noted);
    }

    #[test]
    fn points_halve_with_time() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        scores.penalize(agent(1), Penalty::Major, now);
        assert_eq!(scores.points(agent(1), now + POINTS_HALF_LIFE / 2), 15);
        assert_eq!(scores.points(agent(1), now + POINTS_HALF_LIFE), 10);
        assert_eq!(scores.points(agent(1), now + POINTS_HALF_LIFE * 100), 0);
        scores.expire(now + POINTS_HALF_LIFE * 10);
        assert!(scores.points.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_worst() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        scores.penalize(agent(0), Penalty::Major, now);
        for number in 1..2 * SCORED_PEERS as u32 {
            scores.penalize(agent(number), Penalty::Minor, now);
        }
        assert_eq!(scores.points.len(), SCORED_PEERS);
        assert_eq!(scores.points(agent(0), now), 20);
    }

    #[test]
    fn bans_are_bounded_and_say_whose_was_lifted() {
        let (mut scores, now) = (PeerScores::default(), Instant::now());
        for number in 0..SCORED_PEERS as u32 {
            scores.penalize(agent(number), Penalty::Fatal, now + Duration::from_secs(number.into()));
        }
        let last = scores.penalize(agent(u32::MAX), Penalty::Fatal, now + BAN_TIME);
        assert_eq!(last, Counted::Banned { lifted: Some(agent(0)) });
        assert!(!scores.is_banned(agent(0)));
    }
}
