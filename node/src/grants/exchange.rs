//! Both ends of `/guilder/grants/1`: what was missed is fetched from peers that connect, and a grant is handed to whom it
//! was made.
//!
//! Peers are asked a few at a time and not often: a few after the start, one in a while after that, in turn one of those that
//! connected of late and one of those that were not asked for long, who we dealt with first. The one who asks bounds what it takes in, the one who answers what it gives away; a stream that stalls is given up.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use guilder_protocol::{
    cbor,
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{MAX_CHAIN, MAX_EXCHANGE_FRAME},
    ucan::{
        Revocation,
        exchange::{Ids, Refusal, Reply, Request, RevocationId, revocation_id},
        grant::GrantChain,
    },
};
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Shared,
    intake::{Intake, Taken},
    limits::{
        ALL_SERVED_KIB_BURST, ALL_SERVED_KIB_PER_SEC, ASK_AGAIN, ASK_PAUSE, ASK_QUEUE, ASKED_AT_ONCE, ASKED_PEERS,
        EXCHANGE_PATIENCE, GIVE_AT_ONCE, GIVEN_PER_EXCHANGE, SEND_OUT_PAUSES, SERVED_KIB_BURST, SERVED_KIB_PER_SEC,
        SERVED_PEERS, STEP_PATIENCE, STRANGERS_PATIENCE,
    },
    records::{GIVEN, Given, grant_key},
};
use crate::{
    network::{
        InboundStream, PeerChange, Penalty, StreamProtocol,
        rate::{Bucket, Buckets},
    },
    runtime::Job,
    store::Reader as _,
    sync::lock,
};

/// Serves peers and asks them.
#[derive(Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    intake: Arc<Intake>,
    served: Mutex<Served>,
}

/// What is given away.
#[derive(Debug)]
struct Served {
    all: Bucket,
    peers: Buckets<AgentId>,
}

/// Why an exchange ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The stream broke, or couldn't be opened.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    /// The peer is too slow.
    #[error("the peer stalls")]
    Stalled,
    /// The peer broke the rules.
    #[error("the peer breaks the rules of grants: {0}")]
    Broken(&'static str),
    /// It says no.
    #[error("the peer refuses: {0}")]
    Refused(Refusal),
    /// It can't be reached.
    #[error("the peer can't be reached: {0}")]
    Unreachable(String),
}

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>, intake: Arc<Intake>) -> Self {
        let all = Bucket::new(ALL_SERVED_KIB_PER_SEC, ALL_SERVED_KIB_BURST, shared.runtime.instant());
        Self { shared, intake, served: Mutex::new(Served { all, peers: Buckets::default() }) }
    }

    /// Answers streams until the network is gone, each in a task of its own; the network bounds how many there are.
    pub(super) async fn serve(self: Arc<Self>, mut streams: mpsc::Receiver<InboundStream>) {
        while let Some(inbound) = streams.recv().await {
            let (from, exchange) = (inbound.from, Arc::clone(&self));
            let serving = async move {
                let served = inbound.serve(|stream| exchange.answer_all(from, stream)).await;
                if let Some(Err(error)) = served {
                    exchange.judge(from, &error).await;
                }
            };
            self.shared.runtime.spawn("grants/stream", serving).detach();
        }
    }

    /// What a peer did costs it points, if it did it and no broken line.
    async fn judge(&self, from: AgentId, error: &ExchangeError) {
        tracing::debug!(peer = %from.peer_id(), %error, "an exchange about grants ended");
        if let ExchangeError::Broken(why) = error {
            self.shared.network.penalize(from, Penalty::Major, why).await;
        }
    }

    async fn answer_all(
        &self,
        from: AgentId,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    ) -> Result<(), ExchangeError> {
        let until = self.shared.runtime.instant() + EXCHANGE_PATIENCE;
        loop {
            let Ok(request) = tokio::time::timeout_at(until, read_or_end(&mut stream)).await else { return Ok(()) };
            let Some(bytes) = request? else { return Ok(()) };
            let request = cbor::decode::<Request>(&bytes);
            let reply = match request.map_err(|_| ExchangeError::Broken("sends what is no request"))? {
                _ if !self.serves(from, bytes.len()) => Reply::Refused(Refusal::Busy),
                Request::Known(digest) if digest == self.shared.known.digest() => Reply::Known(None),
                Request::Known(_) => Reply::Known(Some(Ids(self.shared.known.ids()).write())),
                Request::Give(ids) => {
                    let ids = Ids::read(&ids).ok_or(ExchangeError::Broken("asks for what are no IDs"))?;
                    self.give(&ids)
                }
                Request::Grant(envelopes) => self.take_grant(from, &envelopes).await?,
                Request::Other(_) => Reply::Refused(Refusal::NotUnderstood),
            };
            let frame = framed(&reply);
            self.charge(from, frame.len());
            in_time(async {
                stream.write_all(&frame).await?;
                stream.flush().await
            })
            .await?;
        }
    }

    /// Whether a peer may be answered another request.
    fn serves(&self, from: AgentId, bytes: usize) -> bool {
        let now = self.shared.runtime.instant();
        let mut served = lock(&self.served);
        served.all.take_many(kib(bytes), now)
            && served
                .peers
                .bucket(from, SERVED_KIB_PER_SEC, SERVED_KIB_BURST, SERVED_PEERS, now)
                .take_many(kib(bytes), now)
    }

    fn charge(&self, from: AgentId, bytes: usize) {
        let now = self.shared.runtime.instant();
        let mut served = lock(&self.served);
        served.all.charge_many(kib(bytes), now);
        let of_peer = served.peers.bucket(from, SERVED_KIB_PER_SEC, SERVED_KIB_BURST, SERVED_PEERS, now);
        of_peer.charge_many(kib(bytes), now);
    }

    /// Of the revocations asked for, those that are known and fit a frame.
    fn give(&self, Ids(ids): &Ids) -> Reply {
        // Room for what stands around them, and a head for each.
        let (mut room, mut given) = (MAX_EXCHANGE_FRAME - 64, Vec::new());
        for id in ids {
            let Some((revoked, bytes)) = self.shared.known.find(id) else { continue };
            if bytes + 8 > room {
                break;
            }
            let Some(bytes) = self.shared.encoded(&revoked) else { continue };
            room = room.saturating_sub(bytes.len() + 8);
            given.push(ByteBuf::from(bytes));
        }
        Reply::Revocations(given)
    }

    async fn take_grant(&self, from: AgentId, envelopes: &[ByteBuf]) -> Result<Reply, ExchangeError> {
        let (envelopes, count) = (envelopes.to_vec(), envelopes.len().min(MAX_CHAIN) as u32);
        let decoding = move || GrantChain::decode(&envelopes);
        let chain = match self.shared.runtime.offload(Job::Signatures(count), decoding).await {
            Ok(chain) => chain,
            Err(error) if error.fault() == Fault::Incompatible => return Ok(Reply::Refused(Refusal::NotUnderstood)),
            Err(_) => return Ok(Reply::Refused(Refusal::BadGrant)),
        };
        if chain.grantor() != from {
            return Err(ExchangeError::Broken("hands over another's grant"));
        }
        let id = chain.cid();
        Ok(match self.shared.hold(chain, true).await {
            Ok(()) => Reply::Granted(id),
            Err(error) => {
                tracing::debug!(peer = %from.peer_id(), %error, "a grant was not taken");
                Reply::Refused(error.refusal())
            }
        })
    }

    /// Hands a grant to its grantee.
    pub(super) async fn hand_over(&self, chain: &GrantChain) -> Result<(), ExchangeError> {
        let stream = self.shared.network.open(chain.grantee(), StreamProtocol::Grants).await;
        let mut stream = stream.map_err(|error| ExchangeError::Unreachable(error.to_string()))?;
        match ask(&mut stream, &Request::Grant(chain.encode())).await? {
            Reply::Granted(id) if id == chain.cid() => {}
            Reply::Refused(refusal) => return Err(ExchangeError::Refused(refusal)),
            _ => return Err(ExchangeError::Broken("answers something else than was asked")),
        }
        let _ = in_time(stream.close()).await;
        Ok(())
    }

    /// Hands a grant to its grantee if it can be had now, and notes that it has it. False if it hasn't.
    pub(super) async fn hand_over_now(&self, chain: &GrantChain) -> bool {
        let id = chain.cid();
        match timeout(STEP_PATIENCE, self.hand_over(chain)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(grant = %id, %error, "not handed over");
                return false;
            }
            Err(_) => return false,
        }
        lock(&self.shared.undelivered).remove(&id);
        let noted = self.shared.store.write(move |w| {
            let Some(given) = w.get(GIVEN, grant_key(id))? else { return Ok(()) };
            w.put(GIVEN, grant_key(id), &Given { is_handed_over: true, ..given })
        });
        if let Err(error) = noted.await {
            tracing::warn!(grant = %id, %error, "that a grant was handed over could not be noted");
        }
        true
    }

    /// Gossips revocations that went to nobody yet, and looks for the grantees of what isn't handed over, one after the other, until
    /// all is out: this node may have been stopped between keeping something and sending it, and a grantee need not come by itself.
    pub(super) async fn send_out_what_waits(self: Arc<Self>) {
        let (mut pause, longest) = SEND_OUT_PAUSES;
        loop {
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
            let unsent: Vec<_> = lock(&self.shared.unsent).keys().copied().collect();
            for delegation in unsent {
                self.shared.send_out(delegation).await;
            }
            let waiting: Vec<_> = lock(&self.shared.undelivered).values().cloned().collect();
            for chain in waiting {
                // It may have come by itself meanwhile.
                if lock(&self.shared.undelivered).contains_key(&chain.cid()) {
                    self.hand_over_now(&chain).await;
                }
            }
        }
    }

    /// Hands a peer that connected what was granted to it while it was away.
    fn hand_over_to(self: &Arc<Self>, peer: AgentId) {
        let waiting = lock(&self.shared.undelivered);
        let of_peer: Vec<_> = waiting.values().filter(|chain| chain.grantee() == peer).cloned().collect();
        drop(waiting);
        if of_peer.is_empty() {
            return;
        }
        let exchange = Arc::clone(self);
        let handing = async move {
            for chain in of_peer {
                exchange.hand_over_now(&chain).await;
            }
        };
        self.shared.runtime.spawn("grants/hand-over", handing).detach();
    }

    /// Asks peers that connect what we missed, and hands them what was granted to them while they were away, until the
    /// network is gone.
    pub(super) async fn ask_peers(self: Arc<Self>, mut changes: broadcast::Receiver<PeerChange>) {
        let network = &self.shared.network;
        let mut asking = Asking::new(self.shared.runtime.instant());
        // One that stalls holds up neither those that can be asked beside it nor what is handed over.
        let places = Arc::new(Semaphore::new(ASKED_AT_ONCE as usize));
        // Who connected before anybody listened.
        for peer in network.peers().await {
            asking.connected(peer.agent, self.shared.runtime.instant());
            self.hand_over_to(peer.agent);
        }
        loop {
            let turn_at = asking.next_turn();
            let turn = async {
                sleep_until(turn_at).await;
                Arc::clone(&places).acquire_owned().await
            };
            let change = tokio::select! {
                biased;
                change = changes.recv() => Ok(change),
                place = turn => Err(place),
            };
            match change {
                Ok(Ok(PeerChange::Connected(peer))) => {
                    asking.connected(peer, self.shared.runtime.instant());
                    self.hand_over_to(peer);
                }
                Ok(Ok(PeerChange::Disconnected(peer))) => asking.disconnected(peer),
                // Who was missed is asked in its turn.
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) => return,
                Err(place) => {
                    let connected = network.peers().await.into_iter();
                    let connected = connected.map(|peer| (peer.agent, network.has_dealt_with(peer.agent)));
                    let Some(peer) = asking.take(connected, self.shared.runtime.instant()) else { continue };
                    if network.is_connected(peer) {
                        self.begin_asking(peer, place.ok());
                    }
                }
            }
        }
    }

    /// Asks a peer in a task of its own, which holds its place among those that are asked at once.
    fn begin_asking(self: &Arc<Self>, peer: AgentId, place: Option<OwnedSemaphorePermit>) {
        let exchange = Arc::clone(self);
        let asking = async move {
            let is_known = exchange.shared.network.has_dealt_with(peer);
            let patience = if is_known { EXCHANGE_PATIENCE } else { STRANGERS_PATIENCE };
            if let Ok(Err(error)) = timeout(patience, exchange.fetch(peer)).await {
                exchange.judge(peer, &error).await;
            }
            drop(place);
        };
        self.shared.runtime.spawn("grants/fetch", asking).detach();
    }

    /// Gets from a peer what it knows and we don't.
    pub(super) async fn fetch(&self, peer: AgentId) -> Result<(), ExchangeError> {
        let stream = self.shared.network.open(peer, StreamProtocol::Grants).await;
        let mut stream = stream.map_err(|error| ExchangeError::Unreachable(error.to_string()))?;
        let ids = match ask(&mut stream, &Request::Known(self.shared.known.digest())).await? {
            Reply::Known(None) => Vec::new(),
            Reply::Known(Some(ids)) => {
                let Ids(ids) = Ids::read(&ids).ok_or(ExchangeError::Broken("says that it knows what are no IDs"))?;
                ids
            }
            Reply::Refused(_) | Reply::Other(_) => Vec::new(),
            _ => return Err(ExchangeError::Broken("answers something else than was asked")),
        };
        let mut lacking = self.shared.known.lacking(ids);
        lacking.truncate(GIVEN_PER_EXCHANGE);
        while !lacking.is_empty() {
            let wanted = &lacking[..lacking.len().min(GIVE_AT_ONCE)];
            let given = match ask(&mut stream, &Request::Give(Ids(wanted.to_vec()).write())).await? {
                Reply::Revocations(given) => given,
                Reply::Refused(_) | Reply::Other(_) => break,
                _ => return Err(ExchangeError::Broken("answers something else than was asked")),
            };
            // What stands before the last one given, it has no longer; what stands behind may not have fitted.
            let last = self.take_given(peer, wanted, &given).await?;
            let done = last.map_or(wanted.len(), |last| last + 1);
            lacking.drain(..done);
        }
        let _ = in_time(stream.close()).await;
        Ok(())
    }

    /// Takes in what was given; the place of the last of them among those wanted. What wasn't asked for, or doesn't count, is a
    /// violation.
    async fn take_given(
        &self,
        peer: AgentId,
        wanted: &[RevocationId],
        given: &[ByteBuf],
    ) -> Result<Option<usize>, ExchangeError> {
        let mut last = None;
        for bytes in given {
            let id = Revocation::peek(bytes).map(|it| revocation_id(it.revoker, &it.delegation));
            let place = id.and_then(|id| wanted.iter().position(|wanted| *wanted == id));
            // In the order in which they were asked for, so each at most once.
            if place.is_none() || place <= last {
                return Err(ExchangeError::Broken("gives what was not asked for"));
            }
            last = place;
            match self.intake.take(bytes, peer).await {
                Taken::Refused(error) if error.fault() != Fault::Incompatible => {
                    return Err(ExchangeError::Broken("gives revocations that don't count"));
                }
                _ => {}
            }
        }
        Ok(last)
    }
}

/// Whom to ask, and when.
#[derive(Debug)]
struct Asking {
    /// How many may be asked at once.
    credit: u32,
    /// When that was last reckoned.
    reckoned: Instant,
    waiting: VecDeque<AgentId>,
    /// Whether the next turn is of those that wait.
    is_queues_turn: bool,
    /// Since when those are connected that are: as many as the network has.
    since: BTreeMap<AgentId, Instant>,
    asked: BTreeMap<AgentId, Instant>,
    /// When somebody is asked though nobody has connected.
    idle_at: Instant,
}

impl Asking {
    fn new(now: Instant) -> Self {
        Self {
            credit: ASKED_AT_ONCE,
            reckoned: now,
            waiting: VecDeque::new(),
            is_queues_turn: true,
            since: BTreeMap::new(),
            asked: BTreeMap::new(),
            idle_at: now + ASK_AGAIN,
        }
    }

    /// A peer connected.
    fn connected(&mut self, peer: AgentId, now: Instant) {
        self.since.insert(peer, now);
        if self.waiting.contains(&peer) || self.was_asked_lately(&peer, now) {
            return;
        }
        if self.waiting.len() >= ASK_QUEUE {
            self.waiting.pop_front();
        }
        self.waiting.push_back(peer);
    }

    /// A peer is gone.
    fn disconnected(&mut self, peer: AgentId) {
        self.since.remove(&peer);
        self.waiting.retain(|waiting| *waiting != peer);
    }

    fn was_asked_lately(&self, peer: &AgentId, now: Instant) -> bool {
        self.asked.get(peer).is_some_and(|at| now.saturating_duration_since(*at) < ASK_AGAIN)
    }

    /// When somebody is to be asked.
    fn next_turn(&self) -> Instant {
        match (self.waiting.is_empty(), self.credit) {
            (true, _) => self.idle_at,
            (false, 0) => self.reckoned + ASK_PAUSE,
            (false, _) => self.reckoned,
        }
    }

    /// Whom to ask now: in turn who waits, and of those that are connected (and whether we dealt with them) one that was not
    /// asked lately: who we dealt with first, then who was not asked for longest.
    fn take(&mut self, connected: impl IntoIterator<Item = (AgentId, bool)>, now: Instant) -> Option<AgentId> {
        self.reckon(now);
        if self.credit == 0 || (self.waiting.is_empty() && self.idle_at > now) {
            return None;
        }
        let unasked_since = |peer: &AgentId| self.asked.get(peer).max(self.since.get(peer)).copied();
        let connected: Vec<_> = connected.into_iter().filter(|(peer, _)| !self.was_asked_lately(peer, now)).collect();
        let connected = match self.is_queues_turn {
            true if self.waiting.is_empty() => connected.iter().min_by_key(|(peer, _)| (unasked_since(peer), *peer)),
            true => None,
            false => connected.iter().min_by_key(|(peer, is_dealt)| (!is_dealt, unasked_since(peer), *peer)),
        };
        let peer = match connected {
            Some((peer, _)) => Some(*peer),
            None => self.waiting.pop_front(),
        };
        // Also where nobody is there: then the next turn is as late, unless somebody connects.
        self.idle_at = now + ASK_AGAIN;
        let peer = peer?;
        self.waiting.retain(|waiting| *waiting != peer);
        self.is_queues_turn = !self.is_queues_turn;
        self.credit -= 1;
        if self.asked.len() >= ASKED_PEERS {
            let oldest = self.asked.iter().min_by_key(|(peer, at)| (**at, **peer)).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.asked.remove(&oldest));
        }
        self.asked.insert(peer, now);
        Some(peer)
    }

    fn reckon(&mut self, now: Instant) {
        while self.credit < ASKED_AT_ONCE && self.reckoned + ASK_PAUSE <= now {
            self.credit += 1;
            self.reckoned += ASK_PAUSE;
        }
        if self.credit == ASKED_AT_ONCE {
            self.reckoned = now;
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn framed(value: &impl Serialize) -> Vec<u8> {
    let body = cbor::encode(value);
    let head = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&head[..], &body].concat()
}

/// Asks one thing and waits for the answer.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin + Send),
    request: &Request,
) -> Result<Reply, ExchangeError> {
    let frame = framed(request);
    in_time(async {
        stream.write_all(&frame).await?;
        stream.flush().await
    })
    .await?;
    let answer = timeout(STEP_PATIENCE, read_or_end(stream)).await.map_err(|_| ExchangeError::Stalled)??;
    let bytes = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    cbor::decode(&bytes).map_err(|_| ExchangeError::Broken("answers with what is no reply"))
}

/// The next frame; none if the stream ends before it. Memory grows with the bytes that arrive.
async fn read_or_end(stream: &mut (impl AsyncRead + Unpin + Send)) -> Result<Option<Vec<u8>>, ExchangeError> {
    let mut head = [0; 4];
    if stream.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    in_time(stream.read_exact(&mut head[1..])).await?;
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_EXCHANGE_FRAME {
        return Err(ExchangeError::Broken("sends a frame that is too long"));
    }
    let mut frame = Vec::new();
    in_time(stream.take(length as u64).read_to_end(&mut frame)).await?;
    if frame.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(frame))
}

/// One step, which a peer can't stretch by trickling bytes.
async fn in_time<R>(step: impl Future<Output = io::Result<R>>) -> Result<R, ExchangeError> {
    Ok(timeout(STEP_PATIENCE, step).await.map_err(|_| ExchangeError::Stalled)??)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn peer(number: u8) -> AgentId {
        AgentId::from_bytes([number; 32])
    }

    #[test]
    fn a_few_peers_are_asked_at_once_then_one_in_a_while_and_none_twice_in_a_row() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        (0..40).for_each(|number| asking.connected(peer(number), start));
        let none = || std::iter::empty();
        let at_once = std::iter::from_fn(|| asking.take(none(), start)).count();
        assert_eq!(at_once, ASKED_AT_ONCE as usize);
        assert_eq!(asking.next_turn(), start + ASK_PAUSE);
        assert_eq!(asking.take(none(), start + ASK_PAUSE - Duration::from_millis(1)), None);
        assert!(asking.take(none(), start + ASK_PAUSE).is_some());
        // The newest wait, and those that were asked don't come again soon.
        let mut asked = Vec::new();
        let mut now = start + ASK_PAUSE;
        while let Some(turn) = Some(asking.next_turn()).filter(|turn| *turn < start + ASK_AGAIN) {
            now = now.max(turn);
            asked.extend(asking.take(none(), now));
        }
        assert_eq!(asked.last(), Some(&peer(39)));
        assert_eq!(asked.len(), ASK_QUEUE - ASKED_AT_ONCE as usize - 1);
        asking.connected(peer(39), now);
        assert!(asking.waiting.is_empty());
    }

    #[test]
    fn while_nobody_connects_one_is_asked_now_and_then_who_was_asked_longest_ago() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        let connected = || (1..=3).map(|number| (peer(number), false));
        assert_eq!(asking.take(connected(), start), None);
        let asked: Vec<_> = (1..=4).filter_map(|turn| asking.take(connected(), start + ASK_AGAIN * turn)).collect();
        assert_eq!(asked, [peer(1), peer(2), peer(3), peer(1)]);
    }

    #[test]
    fn where_nobody_is_there_to_be_asked_the_next_turn_is_later_until_somebody_connects() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        let mut now = start;
        for _ in 0..3 {
            assert!(asking.next_turn() > now, "a turn that is due at once again is taken again and again");
            now = asking.next_turn();
            assert_eq!(asking.take(std::iter::empty(), now), None);
        }
        asking.connected(peer(1), now);
        assert!(asking.next_turn() <= now);
        assert_eq!(asking.take(std::iter::empty(), now), Some(peer(1)));
    }

    #[test]
    fn newcomers_keep_nobody_from_being_asked_who_was_connected_before() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        let newcomer = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            AgentId::from_bytes(bytes)
        };
        let mut connected: Vec<_> = (200..=207).map(|number| (peer(number), number >= 206)).collect();
        connected.iter().for_each(|(peer, _)| asking.connected(*peer, start));
        let (mut asked, mut now, mut number) = (Vec::new(), start + Duration::from_secs(1), 0);
        while now < start + ASK_AGAIN {
            // More than wait, before every turn, and all of them stay.
            for _ in 0..=ASK_QUEUE {
                number += 1;
                connected.push((newcomer(number), false));
                asking.connected(newcomer(number), now);
            }
            while let Some(peer) = asking.take(connected.iter().copied(), now) {
                asked.push(peer);
            }
            now += ASK_PAUSE;
        }
        assert!((200..=207).all(|number| asked.contains(&peer(number))), "{asked:?}");
        let dealt = asked.iter().position(|asked| *asked == peer(207)).unwrap();
        assert!(dealt < ASKED_AT_ONCE as usize, "who we dealt with is asked at once");
        assert!(asked.iter().any(|asked| *asked < peer(200)), "and newcomers are asked as well");
    }

    #[test]
    fn who_is_gone_takes_no_turn() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        asking.connected(peer(1), start);
        asking.connected(peer(2), start);
        asking.disconnected(peer(1));
        assert_eq!(asking.take([(peer(2), false)], start), Some(peer(2)));
        assert_eq!(asking.take([(peer(2), false)], start), None);
    }
}
