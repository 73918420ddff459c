//! What becomes of a dial: its SYN travels, arrives somewhere or nowhere, and an answer comes back or doesn't.

use std::{
    io,
    sync::{Arc, Mutex},
};

use libp2p::core::{Multiaddr, multiaddr::Protocol};

use super::{
    Fabric, FabricStream, HostId, State,
    driver::What,
    lock,
    nat::{Endpoint, Flow},
    transport::Dialing,
};

/// A SYN leaves, through the box in front of its host if there is one.
pub(super) fn depart(state: &mut State, dial: &Arc<Mutex<Dialing>>) {
    let now = state.now_us();
    let (from, to) = {
        let mut dial = lock(dial);
        let (from, port, to) = (dial.from, dial.source_port, dial.to);
        let nat = state.host(from).nat.as_mut();
        dial.seen_port = nat.map_or(port, |nat| nat.leave(port, to, now));
        (from, to)
    };
    if state.is_behind_nat(from) {
        let port = lock(dial).source_port;
        state.opening.insert((from, port, to), Arc::downgrade(dial));
    }
    let host = state.by_ip.get(&to.0).copied().unwrap_or(from);
    let base = state.base_us(from, host);
    let at = now + state.delay_us(base);
    state.push(at, What::Syn(Arc::clone(dial)));
}

/// A SYN arrives: at a listener, at a host where none is, or nowhere, and then nobody answers.
pub(super) fn syn(fabric: &Fabric, dial: Arc<Mutex<Dialing>>) {
    let (from, source, own, to) = {
        let dial = lock(&dial);
        if dial.is_settled() {
            return;
        }
        (dial.from, (dial.from.ip(), dial.seen_port), dial.source_port, dial.to)
    };
    let Some((host, at)) = arrival(fabric, from, source, to) else { return send_again(fabric, dial) };
    let flows = {
        let state = fabric.lock();
        let flow = |host: HostId, inside, remote| state.is_behind_nat(host).then_some(Flow { host, inside, remote });
        [flow(from, own, to), flow(host, at, source)]
    };
    let (listener, other) = {
        let mut state = fabric.lock();
        let other = state.opening.remove(&(host, at, source)).and_then(|other| other.upgrade());
        let address = (state.inside_ip(host), at);
        (state.listeners.get(&address).cloned(), other.filter(|other| !lock(other).is_settled()))
    };
    let result = match (other, listener) {
        // Both have dialled each other through the same ports: TCP makes one connection of it.
        (Some(other), _) => {
            let (near, far) = FabricStream::pair(fabric, from, host, flows);
            lock(&other).result = Some(Ok(far));
            send_back(fabric, from, host, other);
            Ok(near)
        }
        (None, Some(listener)) => {
            let (near, far) = FabricStream::pair(fabric, from, host, flows);
            let source = Multiaddr::empty().with(Protocol::Ip4(source.0)).with(Protocol::Tcp(source.1));
            lock(&listener).incoming(far, source);
            fabric.lock().traffic.accepted += 1;
            Ok(near)
        }
        (None, None) => {
            fabric.lock().traffic.refused += 1;
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    };
    lock(&dial).result = Some(result);
    send_back(fabric, host, from, dial);
}

/// The host and port that a SYN gets to, if the way is free and a box there lets it in.
fn arrival(fabric: &Fabric, from: HostId, source: Endpoint, to: Endpoint) -> Option<(HostId, u16)> {
    let mut state = fabric.lock();
    let host = state.by_ip.get(&to.0).copied().filter(|host| !state.is_cut(from, *host))?;
    let now = state.now_us();
    let port = match &mut state.host(host).nat {
        None => to.1,
        Some(nat) => nat.enter(to.1, source, now)?,
    };
    Some((host, port))
}

/// A SYN was lost: the next follows, as long as somebody waits for the answer.
fn send_again(fabric: &Fabric, dial: Arc<Mutex<Dialing>>) {
    let awaited = Arc::strong_count(&dial) > 1;
    let wait = lock(&dial).next_try_us().filter(|_| awaited);
    if let Some(wait) = wait {
        let mut state = fabric.lock();
        let at = state.now_us() + wait;
        state.push(at, What::Syn(dial));
    }
}

fn send_back(fabric: &Fabric, host: HostId, from: HostId, dial: Arc<Mutex<Dialing>>) {
    let mut state = fabric.lock();
    if state.is_cut(host, from) {
        return;
    }
    let base = state.base_us(host, from);
    let at = state.now_us() + state.delay_us(base);
    state.push(at, What::Answer(dial));
}
