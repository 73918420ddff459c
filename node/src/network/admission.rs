//! Connections that others open to us, until they are authenticated: a wrapper of the whole transport.
//!
//! ```text
//!   accepted ─▶ rate of its prefix ─▶ place among the pending ─▶ handshakes ─▶ swarm
//!                    │ too fast: dropped      │ full: the oldest      │ not over in 3 s: dropped
//!                                             ▼ of the most crowded goes
//! ```
//!
//! Whoever connects and falls silent holds a place for seconds at no cost. So a newcomer is never turned away because places
//! are taken; the one that had longest to finish gives way. Places are counted per address, per prefix and in all, QUIC
//! apart from TCP: the source of a QUIC packet can be forged, that of a TCP handshake can't, so TCP stays reachable under a
//! flood of QUIC.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
    multiaddr::Protocol,
};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

use super::{
    Transport,
    addrs::{Prefix, ip_of, prefix},
    limits::{
        ACCEPT_BURST, ACCEPTS_PER_SEC, HANDSHAKE_PATIENCE, METERED_PREFIXES, PENDING_PER_ADDRESS, PENDING_PER_KIND,
        PENDING_PER_PREFIX,
    },
    rate::Buckets,
};
use crate::{runtime::Runtime, sync::lock};

type Established = (PeerId, StreamMuxerBox);
type Inbound = <Transport as libp2p::Transport>::ListenerUpgrade;

/// See the module's documentation.
pub(super) struct Admission {
    inner: Transport,
    runtime: Runtime,
    pending: Arc<Mutex<Pending>>,
}

impl Admission {
    /// Bounds what comes in through a transport.
    pub(super) fn of(inner: Transport, runtime: Runtime) -> Transport {
        Self { inner, runtime, pending: Arc::default() }.boxed()
    }

    /// Gives a connection its place; none if its prefix opens too many.
    fn admit(&self, upgrade: Inbound, from: &Multiaddr) -> Option<Upgrading> {
        let origin = Origin::of(from);
        let (id, evicted) = lock(&self.pending).admit(origin, self.runtime.instant())?;
        let place = Place { id, pending: Arc::clone(&self.pending) };
        Some(Upgrading { upgrade, evicted, patience: Box::pin(sleep(HANDSHAKE_PATIENCE)), _place: place })
    }
}

impl libp2p::Transport for Admission {
    type Dial = <Transport as libp2p::Transport>::Dial;
    type Error = io::Error;
    type ListenerUpgrade = Upgrading;
    type Output = Established;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, opts)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Upgrading, io::Error>> {
        loop {
            let event = match std::task::ready!(Pin::new(&mut self.inner).poll(cx)) {
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => {
                    let Some(upgrade) = self.admit(upgrade, &send_back_addr) else { continue };
                    TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
                }
                TransportEvent::NewAddress { listener_id, listen_addr } => {
                    TransportEvent::NewAddress { listener_id, listen_addr }
                }
                TransportEvent::AddressExpired { listener_id, listen_addr } => {
                    TransportEvent::AddressExpired { listener_id, listen_addr }
                }
                TransportEvent::ListenerClosed { listener_id, reason } => {
                    TransportEvent::ListenerClosed { listener_id, reason }
                }
                TransportEvent::ListenerError { listener_id, error } => {
                    TransportEvent::ListenerError { listener_id, error }
                }
            };
            return Poll::Ready(event);
        }
    }
}

/// A connection on which the handshakes run.
pub(super) struct Upgrading {
    upgrade: Inbound,
    evicted: oneshot::Receiver<()>,
    patience: Pin<Box<Sleep>>,
    _place: Place,
}

impl Future for Upgrading {
    type Output = io::Result<Established>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = self.upgrade.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        if Pin::new(&mut self.evicted).poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::other("gave way to newer connections")));
        }
        self.patience.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A place among the pending connections, free again when it is dropped.
struct Place {
    id: u64,
    pending: Arc<Mutex<Pending>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.pending).all.remove(&self.id);
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    quic: bool,
    prefix: Prefix,
    ip: Option<IpAddr>,
}

impl Origin {
    fn of(address: &Multiaddr) -> Self {
        let quic = address.iter().any(|part| matches!(part, Protocol::Udp(_)));
        Self { quic, prefix: prefix(address), ip: ip_of(address) }
    }
}

/// The pending connections, oldest first.
#[derive(Debug, Default)]
struct Pending {
    all: BTreeMap<u64, (Origin, oneshot::Sender<()>)>,
    last: u64,
    /// How fast each prefix connects.
    rates: Buckets<(bool, Prefix)>,
}

impl Pending {
    fn admit(&mut self, origin: Origin, now: Instant) -> Option<(u64, oneshot::Receiver<()>)> {
        let key = (origin.quic, origin.prefix);
        if !self.rates.take(key, ACCEPTS_PER_SEC, ACCEPT_BURST, METERED_PREFIXES, now) {
            return None;
        }
        let same_prefix = |other: &Origin| (other.quic, other.prefix) == key;
        if self.count(|other| *other == origin) >= PENDING_PER_ADDRESS {
            self.evict(|other| *other == origin);
        }
        if self.count(same_prefix) >= PENDING_PER_PREFIX {
            self.evict(same_prefix);
        }
        if self.count(|other| other.quic == origin.quic) >= PENDING_PER_KIND {
            let crowd = self.most_crowded(origin.quic);
            self.evict(|other| (other.quic, Some(other.prefix)) == (origin.quic, crowd));
        }
        self.last += 1;
        let (evict, evicted) = oneshot::channel();
        self.all.insert(self.last, (origin, evict));
        Some((self.last, evicted))
    }

    fn count(&self, which: impl Fn(&Origin) -> bool) -> usize {
        self.all.values().filter(|(origin, _)| which(origin)).count()
    }

    /// The prefix that most of a kind come from.
    fn most_crowded(&self, quic: bool) -> Option<Prefix> {
        let mut counts = BTreeMap::<Prefix, usize>::new();
        for (origin, _) in self.all.values().filter(|(origin, _)| origin.quic == quic) {
            *counts.entry(origin.prefix).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(prefix, _)| prefix)
    }

    /// Lets go of the oldest of these.
    fn evict(&mut self, which: impl Fn(&Origin) -> bool) {
        let oldest = self.all.iter().find(|(_, (origin, _))| which(origin)).map(|(id, _)| *id);
        // Dropping the sender wakes the connection's future, which then ends.
        oldest.and_then(|oldest| self.all.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(&text.parse().unwrap())
    }

    /// One that stays pending, and whether it was evicted.
    fn admit(pending: &mut Pending, from: &str, now: Instant) -> oneshot::Receiver<()> {
        pending.admit(origin(from), now).unwrap().1
    }

    fn is_evicted(connection: &mut oneshot::Receiver<()>) -> bool {
        connection.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn given_a_full_address_its_oldest_gives_way_and_no_other() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let mut other = admit(&mut pending, "/ip4/192.0.2.2/tcp/1", now);
        let mut crowd: Vec<_> =
            (0..PENDING_PER_ADDRESS).map(|_| admit(&mut pending, "/ip4/192.0.2.1/tcp/1", now)).collect();
        assert!(!is_evicted(&mut crowd[0]));
        let mut newest = admit(&mut pending, "/ip4/192.0.2.1/tcp/2", now);
        assert!(is_evicted(&mut crowd[0]) && !is_evicted(&mut crowd[1]));
        assert!(!is_evicted(&mut newest) && !is_evicted(&mut other));
    }

    #[test]
    fn given_a_flood_from_one_prefix_another_is_not_evicted() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let mut honest = admit(&mut pending, "/ip4/198.51.100.1/tcp/1", now);
        for host in 0..ACCEPT_BURST.min(250) {
            pending.admit(origin(&format!("/ip4/192.0.2.{host}/tcp/1")), now);
        }
        assert!(!is_evicted(&mut honest));
        assert_eq!(pending.all.len(), PENDING_PER_PREFIX + 1);
        for prefix in 0..=255 {
            pending.admit(origin(&format!("/ip4/203.0.{prefix}.1/tcp/1")), now);
        }
        assert_eq!(pending.all.len(), PENDING_PER_KIND);
    }

    #[test]
    fn given_a_flood_of_quic_a_tcp_connection_is_not_evicted() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let mut tcp = admit(&mut pending, "/ip4/192.0.2.1/tcp/1", now);
        for host in 0..=255_u8 {
            pending.admit(origin(&format!("/ip4/192.0.{host}.1/udp/1/quic-v1")), now);
        }
        assert!(!is_evicted(&mut tcp));
        assert_eq!(pending.count(|origin| origin.quic), PENDING_PER_KIND);
    }

    #[test]
    fn given_connections_faster_than_the_rate_of_a_prefix_the_surplus_is_dropped() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        let admitted = (0..2 * ACCEPT_BURST).filter(|_| pending.admit(origin("/ip4/192.0.2.1/tcp/1"), now).is_some());
        assert_eq!(admitted.count(), ACCEPT_BURST as usize);
        assert!(pending.admit(origin("/ip4/192.0.3.1/tcp/1"), now).is_some());
    }
}
