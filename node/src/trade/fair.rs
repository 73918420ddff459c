//! The order in which frames are taken: fair among peers, trades before asks, asks within one budget.
//!
//! All frames of this room pass one task. Each peer has a short queue in each of two lanes, and the peers of a lane take
//! turns, so that whoever sends much waits behind itself. What belongs to a trade or answers our own ask goes first; asks
//! and queries, which anybody may send for nothing, share [`ASKS_PER_SEC`]. What has no room is dropped; a peer of which that
//! goes on being true is cut off ([`DROPPED`](super::limits::DROPPED)).

use std::collections::{BTreeMap, VecDeque};

use guilder_protocol::{identity::AgentId, wire::Message};
use tokio::time::Instant;

use super::limits::{
    ASK_TURN, ASKS_BURST, ASKS_PER_SEC, MAX_QUEUED_BYTES, MAX_QUEUED_BYTES_PER_PEER, MAX_QUEUED_FRAMES,
    MAX_QUEUED_FRAMES_PER_PEER,
};

/// Messages that wait to be taken.
#[derive(Debug)]
pub(super) struct FairQueue {
    trades: Lane,
    asks: Lane,
    /// Asks that may be taken now.
    tokens: f64,
    at: Instant,
    /// Messages of trades taken since the last ask.
    in_a_row: usize,
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Take this.
    Take(AgentId, Box<Message>),
    /// Nothing before that moment, unless more comes in.
    Wait(Instant),
    /// Nothing until more comes in.
    Empty,
}

#[derive(Debug, Default)]
struct Lane {
    by_peer: BTreeMap<AgentId, PeerQueue>,
    /// Peers with messages, in the order of their turns.
    turns: VecDeque<AgentId>,
    len: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct PeerQueue {
    /// Each with the size of its frame.
    messages: VecDeque<(usize, Message)>,
    bytes: usize,
}

impl Lane {
    fn push(&mut self, from: AgentId, message: Message, size: usize) -> bool {
        let (frames, bytes) = self.by_peer.get(&from).map_or((0, 0), |queue| (queue.messages.len(), queue.bytes));
        let peer_has_room = frames < MAX_QUEUED_FRAMES_PER_PEER && bytes + size <= MAX_QUEUED_BYTES_PER_PEER;
        if !peer_has_room {
            return false;
        }
        while self.len >= MAX_QUEUED_FRAMES || self.bytes + size > MAX_QUEUED_BYTES {
            // Keys cost nothing: whoever has many of them waiting doesn't keep out who has few.
            let longest = self.by_peer.iter().max_by_key(|(_, queue)| queue.messages.len());
            match longest.map(|(peer, queue)| (*peer, queue.messages.len())) {
                Some((peer, length)) if length > frames + 1 => self.drop_last_of(peer),
                _ => return false,
            }
        }
        if frames == 0 {
            self.turns.push_back(from);
        }
        let queue = self.by_peer.entry(from).or_default();
        queue.messages.push_back((size, message));
        queue.bytes += size;
        self.len += 1;
        self.bytes += size;
        true
    }

    /// Drops the newest message of a peer that has several.
    fn drop_last_of(&mut self, peer: AgentId) {
        let last = self.by_peer.get_mut(&peer).and_then(|queue| {
            let (size, _) = queue.messages.pop_back()?;
            queue.bytes -= size;
            Some(size)
        });
        if let Some(size) = last {
            self.len -= 1;
            self.bytes -= size;
        }
    }

    fn pop(&mut self) -> Option<(AgentId, Message)> {
        let from = self.turns.pop_front()?;
        let queue = self.by_peer.get_mut(&from)?;
        let (size, message) = queue.messages.pop_front()?;
        queue.bytes -= size;
        self.len -= 1;
        self.bytes -= size;
        if queue.messages.is_empty() {
            self.by_peer.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        Some((from, message))
    }
}

impl FairQueue {
    pub(super) fn new(now: Instant) -> Self {
        Self { trades: Lane::default(), asks: Lane::default(), tokens: ASKS_BURST, at: now, in_a_row: 0 }
    }

    /// Queues a message whose frame had that size; false if its sender, or everybody, has too many waiting. Whatever is dropped is repeated by whoever
    /// needs its answer.
    pub(super) fn push(&mut self, from: AgentId, message: Message, size: usize) -> bool {
        let lane = match message {
            Message::Query(_) | Message::Asked(_) => &mut self.asks,
            _ => &mut self.trades,
        };
        lane.push(from, message, size)
    }

    /// The next message, if it is its time.
    pub(super) fn pop(&mut self, now: Instant) -> Next {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * ASKS_PER_SEC).min(ASKS_BURST);
        self.at = now;
        let asks_may_go = self.asks.len > 0 && self.tokens >= 1.0;
        if !(asks_may_go && self.in_a_row >= ASK_TURN)
            && let Some((from, message)) = self.trades.pop()
        {
            self.in_a_row += 1;
            return Next::Take(from, Box::new(message));
        }
        self.in_a_row = 0;
        if self.asks.len == 0 {
            return Next::Empty;
        }
        if !asks_may_go {
            return Next::Wait(now + std::time::Duration::from_secs_f64((1.0 - self.tokens) / ASKS_PER_SEC));
        }
        match self.asks.pop() {
            Some((from, message)) => {
                self.tokens -= 1.0;
                Next::Take(from, Box::new(message))
            }
            None => Next::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use guilder_protocol::{
        cbor::cid_of,
        wire::{Asked, Status},
    };

    use super::*;
    use crate::trade::buckets::{Buckets, Meter, Rate};

    fn peer(number: u8) -> AgentId {
        AgentId::from_bytes([number; 32])
    }

    fn ask() -> Message {
        Asked { ask: vec![].into() }.into()
    }

    fn status() -> Message {
        Status { award: cid_of(b"award"), receipt: None }.into()
    }

    fn taken(queue: &mut FairQueue, now: Instant) -> Option<AgentId> {
        match queue.pop(now) {
            Next::Take(from, _) => Some(from),
            Next::Wait(_) | Next::Empty => None,
        }
    }

    #[tokio::test]
    async fn a_peer_that_sends_much_waits_behind_itself() {
        let now = Instant::now();
        let mut queue = FairQueue::new(now);
        let queued = (0..1_000).filter(|_| queue.push(peer(1), status(), 100)).count();
        assert_eq!(queued, MAX_QUEUED_FRAMES_PER_PEER);
        assert!(queue.push(peer(2), status(), 100));
        assert_eq!([taken(&mut queue, now), taken(&mut queue, now)], [Some(peer(1)), Some(peer(2))]);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes() {
        let mut queue = FairQueue::new(Instant::now());
        let frame = 64 * 1024;
        let queued = (0..100).filter(|_| queue.push(peer(1), status(), frame)).count();
        assert_eq!(queued, MAX_QUEUED_BYTES_PER_PEER / frame);
        (2..200).for_each(|number| (0..8).for_each(|_| _ = queue.push(peer(number), status(), frame)));
        assert!(queue.trades.bytes <= MAX_QUEUED_BYTES && queue.trades.by_peer.len() > MAX_QUEUED_BYTES / frame / 8);
        while taken(&mut queue, Instant::now()).is_some() {}
        assert_eq!((queue.trades.len, queue.trades.bytes, queue.trades.by_peer.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn many_peers_that_fill_the_queue_keep_out_none_that_sends_little() {
        let now = Instant::now();
        let mut queue = FairQueue::new(now);
        for number in 0..40 {
            (0..MAX_QUEUED_FRAMES_PER_PEER).for_each(|_| _ = queue.push(peer(number), ask(), 100));
        }
        assert_eq!(queue.asks.len, MAX_QUEUED_FRAMES);
        assert!(queue.push(peer(99), ask(), 100));
        assert_eq!(queue.asks.len, MAX_QUEUED_FRAMES);
        let mut order = std::iter::from_fn(|| taken(&mut queue, now));
        assert!(order.position(|from| from == peer(99)).is_some_and(|before| before <= 40));
        while taken(&mut queue, now + Duration::from_secs(9)).is_some() {}
        assert_eq!((queue.asks.len, queue.asks.bytes, queue.asks.by_peer.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn trades_go_before_asks_which_go_on_all_the_same() {
        let now = Instant::now();
        let mut queue = FairQueue::new(now);
        queue.push(peer(1), ask(), 100);
        queue.push(peer(2), status(), 100);
        assert_eq!(taken(&mut queue, now), Some(peer(2)));
        assert_eq!(taken(&mut queue, now), Some(peer(1)));
        for number in 0..20 {
            (0..4).for_each(|_| _ = queue.push(peer(10 + number), status(), 100));
        }
        queue.push(peer(1), ask(), 100);
        let order: Vec<_> = std::iter::from_fn(|| taken(&mut queue, now)).collect();
        assert_eq!(order.iter().position(|from| *from == peer(1)), Some(ASK_TURN));
        assert_eq!(order.len(), 81);
    }

    /// Seconds until a peer that sends so many asks a second, in bursts of a tenth of one, has no credit left for those dropped.
    fn cut_off_after(per_sec: u64, secs: u64) -> Option<u64> {
        let start = Instant::now();
        let mut queue = FairQueue::new(start);
        let buckets = Buckets::new(Rate { per_sec: 1, burst: 1 }, Rate { per_sec: 1, burst: 1 });
        for tick in 0..10 * secs {
            let now = start + Duration::from_millis(100 * tick);
            for _ in 0..per_sec / 10 {
                if !queue.push(peer(1), ask(), 100) && !buckets.take(peer(1), Meter::Dropped, now) {
                    return Some(tick / 10);
                }
                // The task that takes them keeps pace with a few thousand a second.
                if per_sec < 3_000 {
                    taken(&mut queue, now);
                }
            }
            while taken(&mut queue, now).is_some() {}
        }
        None
    }

    #[tokio::test]
    async fn a_peer_that_goes_on_over_its_rate_is_found_out_within_seconds_and_one_within_it_never() {
        assert_eq!(cut_off_after(600, 60), None);
        assert_eq!(cut_off_after(1_900, 60), None);
        assert!(cut_off_after(5_000, 60).is_some_and(|secs| secs < 5));
        assert!(cut_off_after(50_000, 60).is_some_and(|secs| secs < 2));
    }

    #[tokio::test]
    async fn asks_of_all_peers_share_one_budget() {
        let start = Instant::now();
        let mut queue = FairQueue::new(start);
        let (mut honest, mut all) = (0, 0);
        for tick in 0..10_000_u32 {
            let now = start + Duration::from_millis(tick.into());
            (1..=10).for_each(|number| _ = queue.push(peer(number), ask(), 100));
            if tick % 100 == 0 {
                queue.push(peer(99), ask(), 100);
            }
            while let Some(from) = taken(&mut queue, now) {
                all += 1;
                honest += u32::from(from == peer(99));
            }
        }
        assert!(f64::from(all) <= ASKS_BURST + 10.0 * ASKS_PER_SEC, "{all}");
        assert!(honest >= 99, "{honest} of 100 asks of the one that asks seldom");
        assert!(matches!(queue.pop(start + Duration::from_secs(10)), Next::Wait(_) | Next::Take(..)));
    }
}
