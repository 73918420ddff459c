//! Whether our own clock is right, as far as others' signatures tell.
//!
//! Asks and offers are signed a moment before they come, so their dates are what their signers' clocks say; an advert that
//! comes from a date ahead, or is past its time although its seller gives it out, says as much. One peer whose clock differs
//! is its own affair. Where most of those heard last agree that ours is off, we say so, instead of blaming a service's name
//! or a price; and a date costs nobody penalty points.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use guilder_protocol::{
    identity::AgentId,
    time::{SKEW_SECS, Timestamp},
};

use super::limits::MAX_CLOCKS;
use crate::sync::lock;

/// What the clocks of the peers heard last say. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerClocks(Arc<Mutex<VecDeque<(AgentId, i64)>>>);

/// Most peers' clocks differ from ours, and from ours in the same direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDoubt {
    /// By how much ours is ahead of the middle one, in seconds; below 0 if it is behind.
    pub ahead_secs: i64,
    /// How many say so.
    pub peers: usize,
}

impl PeerClocks {
    /// Notes a date that a peer has just signed.
    pub(super) fn note(&self, peer: AgentId, signed: Timestamp, now: Timestamp) {
        let ahead = i64::try_from(now.since(signed)).unwrap_or(i64::MAX);
        let behind = i64::try_from(signed.since(now)).unwrap_or(i64::MAX);
        let mut clocks = lock(&self.0);
        clocks.retain(|(known, _)| *known != peer);
        if clocks.len() == MAX_CLOCKS {
            clocks.pop_front();
        }
        clocks.push_back((peer, ahead - behind));
    }

    /// Whether our clock is to be doubted.
    pub(super) fn doubt(&self) -> Option<ClockDoubt> {
        let mut offsets: Vec<_> = lock(&self.0).iter().map(|(_, offset)| *offset).collect();
        offsets.sort_unstable();
        let ahead_secs = *offsets.get(offsets.len() / 2)?;
        let skew = i64::try_from(SKEW_SECS).unwrap_or(i64::MAX);
        let agree = |offset: &&i64| offset.abs() > skew && offset.signum() == ahead_secs.signum();
        let peers = offsets.iter().filter(agree).count();
        (ahead_secs.abs() > skew && 2 * peers > offsets.len()).then_some(ClockDoubt { ahead_secs, peers })
    }
}

impl std::fmt::Display for ClockDoubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secs = self.ahead_secs.unsigned_abs();
        let direction = if self.ahead_secs < 0 { "behind" } else { "ahead of" };
        let peers = if self.peers == 1 {
            "that of the node heard last".into()
        } else {
            format!("those of {} nodes", self.peers)
        };
        match secs {
            0..=7_200 => write!(f, "this machine's clock is {} minutes {direction} {peers}", secs.div_ceil(60)),
            _ => write!(f, "this machine's clock is {} hours {direction} {peers}", (secs + 1_800) / 3_600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn peer(number: usize) -> AgentId {
        AgentId::from_bytes([number as u8; 32])
    }

    fn doubt(offsets: &[i64]) -> Option<ClockDoubt> {
        let clocks = PeerClocks::default();
        for (number, offset) in offsets.iter().enumerate() {
            let by = offset.unsigned_abs();
            let signed = if *offset > 0 { NOW.saturating_sub(by) } else { NOW.saturating_add(by) };
            clocks.note(peer(number), signed, NOW);
        }
        clocks.doubt()
    }

    #[test]
    fn our_clock_is_doubted_where_most_peers_agree_against_it() {
        assert_eq!(doubt(&[]), None);
        assert_eq!(doubt(&[0, 3, -59]), None);
        assert_eq!(doubt(&[0, 2, 7_200]), None, "one clock that differs is its owner's affair");
        assert_eq!(doubt(&[7_200, -7_200, 7_200, -7_200]), None, "they don't agree");
        assert_eq!(doubt(&[7_200, 7_190, 0]), Some(ClockDoubt { ahead_secs: 7_190, peers: 2 }));
        assert_eq!(doubt(&[-240]), Some(ClockDoubt { ahead_secs: -240, peers: 1 }));
    }

    #[test]
    fn each_peer_is_heard_once_and_the_oldest_go() {
        let clocks = PeerClocks::default();
        for _ in 0..100 {
            clocks.note(peer(1), NOW.saturating_add(9_000), NOW);
        }
        for number in 2..5 {
            clocks.note(peer(number), NOW, NOW);
        }
        assert_eq!(clocks.doubt(), None);
        for number in 0..200 {
            clocks.note(peer(number), NOW, NOW);
        }
        assert_eq!(lock(&clocks.0).len(), MAX_CLOCKS);
    }

    #[test]
    fn a_doubt_is_told_in_words() {
        let say = |ahead_secs, peers| ClockDoubt { ahead_secs, peers }.to_string();
        assert_eq!(say(7_210, 3), "this machine's clock is 2 hours ahead of those of 3 nodes");
        assert_eq!(say(-240, 1), "this machine's clock is 4 minutes behind that of the node heard last");
    }
}
