//! The libp2p transport of one host: TCP addresses, connections over the fabric.

use std::{
    collections::VecDeque,
    future::{Future, Ready, ready},
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use libp2p::core::{
    Multiaddr, Transport,
    multiaddr::Protocol,
    transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
};

use super::{Fabric, FabricStream, HostId, PORT, lock, syn::depart};

/// Reads `/ip4/…/tcp/…`, with or without a peer behind it.
fn parse(address: &Multiaddr) -> Option<(Ipv4Addr, u16)> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?, parts.next()) {
        (Protocol::Ip4(ip), Protocol::Tcp(port), None | Some(Protocol::P2p(_))) => Some((ip, port)),
        _ => None,
    }
}

pub(super) struct Listener {
    pub(super) host: HostId,
    waiting: VecDeque<(FabricStream, Multiaddr)>,
    waker: Option<Waker>,
    closed: bool,
}

impl Listener {
    pub(super) fn incoming(&mut self, stream: FabricStream, source: Multiaddr) {
        self.waiting.push_back((stream, source));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Listening {
    id: ListenerId,
    address: Multiaddr,
    at: (Ipv4Addr, u16),
    listener: Arc<Mutex<Listener>>,
    announced: bool,
}

/// See [`Fabric::transport`].
pub struct FabricTransport {
    fabric: Fabric,
    host: HostId,
    listening: Vec<Listening>,
}

impl FabricTransport {
    pub(super) fn new(fabric: Fabric, host: HostId) -> Self {
        Self { fabric, host, listening: Vec::new() }
    }
}

impl Drop for FabricTransport {
    fn drop(&mut self) {
        let mut state = self.fabric.lock();
        for listening in &self.listening {
            let ours = |listener: &Arc<Mutex<Listener>>| Arc::ptr_eq(listener, &listening.listener);
            if state.listeners.get(&listening.at).is_some_and(ours) {
                state.listeners.remove(&listening.at);
            }
        }
    }
}

impl Transport for FabricTransport {
    type Dial = Dial;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<FabricStream>>;
    type Output = FabricStream;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let mut at = parse(&address).ok_or_else(|| TransportError::MultiaddrNotSupported(address.clone()))?;
        if at.0.is_unspecified() {
            at.0 = self.fabric.lock().inside_ip(self.host);
        }
        let address = Multiaddr::empty().with(Protocol::Ip4(at.0)).with(Protocol::Tcp(at.1));
        let listener = Listener { host: self.host, waiting: VecDeque::new(), waker: None, closed: false };
        let listener = Arc::new(Mutex::new(listener));
        self.fabric.lock().listeners.insert(at, Arc::clone(&listener));
        self.listening.push(Listening { id, address, at, listener, announced: false });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(listening) = self.listening.iter().find(|listening| listening.id == id) else { return false };
        lock(&listening.listener).closed = true;
        self.fabric.lock().listeners.remove(&listening.at);
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Dial, TransportError<io::Error>> {
        let to = parse(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let reuse = options.port_use == PortUse::Reuse && !self.listening.is_empty();
        let source_port = if reuse { PORT } else { self.fabric.lock().next_port(self.host) };
        Ok(Dial::new(&self.fabric, self.host, source_port, to))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        for index in 0..self.listening.len() {
            let listening = &mut self.listening[index];
            let (listener_id, address) = (listening.id, listening.address.clone());
            if !listening.announced {
                listening.announced = true;
                return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr: address });
            }
            let mut listener = lock(&listening.listener);
            if let Some((stream, send_back_addr)) = listener.waiting.pop_front() {
                let upgrade = ready(Ok(stream));
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id,
                    upgrade,
                    local_addr: address,
                    send_back_addr,
                });
            }
            if listener.closed {
                drop(listener);
                self.listening.remove(index);
                return Poll::Ready(TransportEvent::ListenerClosed { listener_id, reason: Ok(()) });
            }
            listener.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// How often a SYN is sent again.
const SYN_RETRIES: u32 = 6;

/// A connection being made.
pub(super) struct Dialing {
    pub(super) from: HostId,
    pub(super) to: (Ipv4Addr, u16),
    pub(super) source_port: u16,
    /// The port that the other side sees.
    pub(super) seen_port: u16,
    pub(super) result: Option<io::Result<FabricStream>>,
    answered: bool,
    waker: Option<Waker>,
    tries: u32,
}

impl Dialing {
    /// How long until the next SYN, if there is one: after 1 s, then twice as long each time, as Linux does it.
    pub(super) fn next_try_us(&mut self) -> Option<u64> {
        self.tries += 1;
        (self.tries <= SYN_RETRIES).then(|| 1_000_000 << (self.tries - 1))
    }

    /// Whether it has come to something already.
    pub(super) fn is_settled(&self) -> bool {
        self.answered || self.result.is_some()
    }

    pub(super) fn answer(&mut self) {
        self.answered = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A dial: resolves when the other host's answer is back; never, if nobody answers.
pub struct Dial {
    fabric: Fabric,
    dialing: Arc<Mutex<Dialing>>,
    sent: bool,
}

impl Dial {
    pub(super) fn new(fabric: &Fabric, from: HostId, source_port: u16, to: (Ipv4Addr, u16)) -> Self {
        let dialing = Dialing {
            from,
            to,
            source_port,
            seen_port: source_port,
            result: None,
            answered: false,
            waker: None,
            tries: 0,
        };
        Self { fabric: fabric.clone(), dialing: Arc::new(Mutex::new(dialing)), sent: false }
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        let key = {
            let dialing = lock(&self.dialing);
            (dialing.from, dialing.source_port, dialing.to)
        };
        let mut state = self.fabric.lock();
        if state.opening.get(&key).is_some_and(|opening| opening.as_ptr() == Arc::as_ptr(&self.dialing)) {
            state.opening.remove(&key);
        }
    }
}

impl Future for Dial {
    type Output = io::Result<FabricStream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.sent {
            self.sent = true;
            let mut state = self.fabric.lock();
            state.traffic.dials += 1;
            depart(&mut state, &self.dialing);
        }
        let mut dialing = lock(&self.dialing);
        if dialing.answered {
            return Poll::Ready(dialing.result.take().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())));
        }
        dialing.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
