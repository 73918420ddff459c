//! Which addresses are worth telling, keeping and dialling, and which of them belong together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use guilder_protocol::identity::AgentId;
use libp2p::{Multiaddr, multiaddr::Protocol};

use super::{
    ids::agent_of,
    limits::{ADDR_BYTES, ADDRS_PER_PEER},
};

/// How far an address reaches. Ordered: what reaches farther is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine.
    Loopback,
    /// The local network.
    Private,
    /// Everywhere, and what we can't judge.
    Global,
}

/// How far an address reaches.
pub(super) fn scope(address: &Multiaddr) -> Scope {
    match ip_of(address) {
        Some(IpAddr::V4(ip)) => scope4(ip),
        Some(IpAddr::V6(ip)) => scope6(ip),
        None => Scope::Global,
    }
}

fn scope4(ip: Ipv4Addr) -> Scope {
    let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64; // RFC 6598, behind a carrier's NAT
    if ip.is_loopback() {
        Scope::Loopback
    } else if ip.is_private() || ip.is_link_local() || shared {
        Scope::Private
    } else {
        Scope::Global
    }
}

fn scope6(ip: Ipv6Addr) -> Scope {
    if ip.is_loopback() {
        Scope::Loopback
    } else if ip.is_unique_local() || ip.is_unicast_link_local() {
        Scope::Private
    } else {
        Scope::Global
    }
}

/// The network that an address belongs to: /24 of IPv4, /48 of IPv6. One party may well have all of its addresses, so it
/// bounds what peers may take that we know nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Prefix {
    V4([u8; 3]),
    V6([u8; 6]),
    /// No IP address at its beginning.
    Other,
}

/// The IP address at the beginning of an address, an IPv4 address written as IPv6 being the former.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

/// The network that an address belongs to.
pub(super) fn prefix(address: &Multiaddr) -> Prefix {
    match ip_of(address) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            Prefix::V4([a, b, c])
        }
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, e, f, ..] = ip.octets();
            Prefix::V6([a, b, c, d, e, f])
        }
        None => Prefix::Other,
    }
}

/// Whether the address begins with a name that has to be looked up.
pub(super) fn is_named(address: &Multiaddr) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Dnsaddr};
    matches!(address.iter().next(), Some(Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_)))
}

/// Whether the address stands for all interfaces (`0.0.0.0`, `::`), which nobody can dial.
pub(super) fn is_wildcard(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

/// The address without its peer ID, and the agent that the ID names.
pub(super) fn split(address: &Multiaddr) -> (Multiaddr, Option<AgentId>) {
    let mut bare = address.clone();
    match bare.pop() {
        Some(Protocol::P2p(peer)) => (bare, agent_of(&peer)),
        _ => (address.clone(), None),
    }
}

/// Of the addresses that a peer names, its own or others', those worth keeping: of sane length, dialable, and reaching at
/// least as far as the way on which we met it (a peer met over the internet has no business with our loopback). Names are
/// not: what they stand for changes after it was judged. Only the operator's are looked up.
pub(super) fn worth_keeping(claimed: impl IntoIterator<Item = Multiaddr>, met: Scope) -> Vec<Multiaddr> {
    let mut kept = Vec::new();
    for address in claimed {
        let (address, _) = split(&address);
        let fine =
            address.len() <= ADDR_BYTES && !is_wildcard(&address) && !is_named(&address) && scope(&address) >= met;
        if fine && !address.is_empty() && !kept.contains(&address) && kept.len() < ADDRS_PER_PEER {
            kept.push(address);
        }
    }
    kept
}

/// Whether to tell others of an address that we listen on.
///
/// `asked` is what the operator wrote: an explicit address is told as it is. Of the interfaces behind a wildcard, those
/// that reach as far as the network we are part of, judged by its bootstrap peers: a network whose bootstrap peers are
/// all on this machine (or in this house) lives there.
pub(super) fn worth_telling(address: &Multiaddr, asked: &Multiaddr, bootstrap: &[Multiaddr]) -> bool {
    if !is_wildcard(asked) {
        return true;
    }
    let network = bootstrap.iter().map(scope).max().unwrap_or(Scope::Private);
    scope(address) >= network
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn scopes() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Scope::Loopback),
            ("/ip6/::1/tcp/1", Scope::Loopback),
            ("/ip4/192.168.1.2/tcp/1", Scope::Private),
            ("/ip4/100.64.0.9/tcp/1", Scope::Private),
            ("/ip6/fe80::1/udp/1/quic-v1", Scope::Private),
            ("/ip4/100.128.0.9/tcp/1", Scope::Global),
            ("/ip4/8.8.8.8/tcp/1", Scope::Global),
            ("/dns4/example.org/tcp/1", Scope::Global),
        ] {
            assert_eq!(scope(&addr(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_stranger_from_the_internet_claims_no_private_address() {
        let claimed = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip4/0.0.0.0/tcp/1"];
        let claimed = || claimed.iter().map(|text| addr(text));
        assert_eq!(worth_keeping(claimed(), Scope::Global), [addr("/ip4/8.8.8.8/tcp/1")]);
        assert_eq!(worth_keeping(claimed(), Scope::Loopback).len(), 3);
        let many = (0..100).map(|port| addr(&format!("/ip4/8.8.8.8/tcp/{port}")));
        assert_eq!(worth_keeping(many, Scope::Global).len(), ADDRS_PER_PEER);
        for name in ["/dns4/example.org/tcp/1", "/dns/localhost/tcp/1", "/dnsaddr/example.org"] {
            assert_eq!(worth_keeping([addr(name)], Scope::Loopback), [], "{name}");
        }
        // IPv4 written as IPv6 is judged as what it is.
        assert_eq!(worth_keeping([addr("/ip6/::ffff:127.0.0.1/tcp/1")], Scope::Global), []);
    }

    #[test]
    fn a_prefix_is_a_24_or_a_48() {
        let of = |text: &str| prefix(&addr(text));
        assert_eq!(of("/ip4/192.0.2.1/tcp/1"), of("/ip4/192.0.2.250/udp/9/quic-v1"));
        assert_ne!(of("/ip4/192.0.2.1/tcp/1"), of("/ip4/192.0.3.1/tcp/1"));
        assert_eq!(of("/ip6/2001:db8:1:2::1/tcp/1"), of("/ip6/2001:db8:1:3::9/tcp/1"));
        assert_ne!(of("/ip6/2001:db8:1::1/tcp/1"), of("/ip6/2001:db8:2::1/tcp/1"));
        assert_eq!(of("/ip6/::ffff:192.0.2.7/tcp/1"), of("/ip4/192.0.2.1/tcp/1"));
    }

    #[test]
    fn what_is_told_reaches_as_far_as_the_network() {
        let any = addr("/ip4/0.0.0.0/tcp/0");
        let (lan, local) = (addr("/ip4/192.168.1.2/tcp/1"), addr("/ip4/127.0.0.1/tcp/1"));
        assert!(worth_telling(&local, &addr("/ip4/127.0.0.1/tcp/0"), &[]));
        assert!(worth_telling(&lan, &any, &[]));
        assert!(!worth_telling(&local, &any, &[]));
        assert!(!worth_telling(&lan, &any, &[addr("/ip4/8.8.8.8/tcp/1")]));
        assert!(worth_telling(&local, &any, &[addr("/ip4/127.0.0.1/tcp/9")]));
    }

    #[test]
    fn an_address_and_its_peer_come_apart() {
        let peer = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
        let (bare, agent) = split(&addr(&format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}")));
        assert_eq!((bare, agent.unwrap().peer_id().as_str()), (addr("/ip4/127.0.0.1/tcp/1"), peer));
        assert_eq!(split(&addr("/ip4/127.0.0.1/tcp/1")).1, None);
    }
}
