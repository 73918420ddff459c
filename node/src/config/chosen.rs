//! Settings that `guilder init` is told, checked and put where the template has them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use guilder_protocol::{
    invitation::MintPin,
    market::{MintUrl, Unit},
};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::TEMPLATE;

/// What a new node's settings say other than the defaults.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// `network.listen`.
    pub listen: Vec<Multiaddr>,
    /// `network.bootstrap`.
    pub bootstrap: Vec<Multiaddr>,
    /// `network.mdns = false`.
    pub no_mdns: bool,
    /// `wallet.mints`.
    pub mints: Vec<MintUrl>,
    /// `wallet.pins`.
    pub pins: BTreeMap<MintUrl, MintPin>,
    /// `wallet.unit`.
    pub unit: Option<Unit>,
    /// `mint.host = true`.
    pub host_mint: bool,
    /// `monitor.listen`.
    pub monitor: Option<SocketAddr>,
}

impl Chosen {
    /// The settings file: the template, in which these are set.
    pub fn settings(&self) -> String {
        let mut set = Vec::new();
        let mut list = |section, name, values: Vec<String>| {
            if !values.is_empty() {
                set.push((section, name, toml::Value::from(values)));
            }
        };
        list("[network]", "listen", self.listen.iter().map(ToString::to_string).collect());
        list("[network]", "bootstrap", self.bootstrap.iter().map(ToString::to_string).collect());
        list("[wallet]", "mints", self.mints.iter().map(ToString::to_string).collect());
        if !self.pins.is_empty() {
            let pins = self.pins.iter().map(|(url, pin)| (url.to_string(), toml::Value::from(pin.to_string())));
            set.push(("[wallet]", "pins", toml::Value::Table(pins.collect())));
        }
        if self.no_mdns {
            set.push(("[network]", "mdns", false.into()));
        }
        if let Some(unit) = &self.unit {
            set.push(("[wallet]", "unit", unit.to_string().into()));
        }
        if self.host_mint {
            set.push(("[mint]", "host", true.into()));
        }
        let mut section = "";
        let lines = TEMPLATE.lines().map(|line| {
            if line.starts_with('[') {
                section = line;
            }
            let name = line.strip_prefix('#').and_then(|line| line.split_once(" = ")).map(|(name, _)| name);
            let chosen = set.iter().find(|(within, chosen, _)| *within == section && Some(*chosen) == name);
            match (chosen, self.monitor) {
                (Some((_, name, value)), _) => format!("{name} = {value}"),
                // It has no default whose place it could take.
                (None, Some(listen)) if line == "[monitor]" => format!("{line}\nlisten = \"{listen}\""),
                _ => line.to_owned(),
            }
        });
        lines.map(|line| line + "\n").collect()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        let Self { listen, bootstrap, no_mdns, mints, pins, unit, host_mint, monitor } = self;
        let lists = listen.is_empty() && bootstrap.is_empty() && mints.is_empty() && pins.is_empty();
        lists && !no_mdns && unit.is_none() && !host_mint && monitor.is_none()
    }
}

/// Why an address can't be used so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No multiaddr.
    #[error("no address; one looks like /ip4/192.0.2.7/tcp/4848: {0}")]
    Syntax(String),
    /// Over something else than TCP or QUIC.
    #[error("neither TCP nor QUIC; an address looks like /ip4/192.0.2.7/tcp/4848 or /ip4/192.0.2.7/udp/4848/quic-v1")]
    Transport,
    /// To join somebody, one has to know whom.
    #[error("it names no peer; add /p2p/ and its peer ID, as its `guilder status` prints it")]
    NoPeer,
    /// Nobody can be reached there.
    #[error("{0} stands for any, so nobody can be reached there; take one that the other's `guilder status` prints")]
    Any(&'static str),
    /// One listens on an address of this machine.
    #[error("one listens on an IP address and a port, without a peer ID")]
    NotOurs,
}

/// An address at which another node can be reached: as `guilder status` prints it there; or a name in whose DNS records (TXT,
/// `dnsaddr=…`) such addresses stand, `/dnsaddr/NAME`.
///
/// # Errors
/// If it can't be dialled, or doesn't say who is there.
pub fn joinable(text: &str) -> Result<Multiaddr, AddressError> {
    if let Some(seed) = dns_seed(text) {
        return Ok(seed);
    }
    let (address, place, peer) = parts(text)?;
    if peer.is_none() {
        return Err(AddressError::NoPeer);
    }
    match place {
        (Some(ip), _) if ip.is_unspecified() => Err(AddressError::Any("its IP address")),
        (_, 0) => Err(AddressError::Any("port 0")),
        _ => Ok(address),
    }
}

/// `/dnsaddr/NAME`, whose records name the peer; or with `/p2p/ID`, which of those that they name.
fn dns_seed(text: &str) -> Option<Multiaddr> {
    let address: Multiaddr = text.parse().ok()?;
    let parts: Vec<_> = address.iter().collect();
    match &parts[..] {
        [Protocol::Dnsaddr(name)] | [Protocol::Dnsaddr(name), Protocol::P2p(_)] if !name.is_empty() => Some(address),
        _ => None,
    }
}

/// An address to listen on.
///
/// # Errors
/// If it isn't an IP address and a port, for TCP or QUIC.
pub fn listenable(text: &str) -> Result<Multiaddr, AddressError> {
    match parts(text)? {
        (address, (Some(_), _), None) => Ok(address),
        _ => Err(AddressError::NotOurs),
    }
}

/// An address for health and metrics that this machine alone reaches.
///
/// # Errors
/// If it is none, or others reach it.
pub fn monitorable(text: &str) -> Result<SocketAddr, &'static str> {
    let address = text.parse::<SocketAddr>().map_err(|_| "an IP address and a port, such as 127.0.0.1:9464")?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err("other machines would reach it; config.toml says how to allow that: monitor.allow_remote"),
    }
}

/// IP address, if it is one and no name, and port.
type Place = (Option<IpAddr>, u16);

fn parts(text: &str) -> Result<(Multiaddr, Place, Option<PeerId>), AddressError> {
    let address: Multiaddr =
        text.parse().map_err(|error: libp2p::multiaddr::Error| AddressError::Syntax(error.to_string()))?;
    let parts: Vec<_> = address.iter().collect();
    let (ip, rest) = match &parts[..] {
        [Protocol::Ip4(ip), rest @ ..] => (Some((*ip).into()), rest),
        [Protocol::Ip6(ip), rest @ ..] => (Some((*ip).into()), rest),
        [Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_), rest @ ..] => (None, rest),
        _ => return Err(AddressError::Transport),
    };
    let (port, rest) = match rest {
        [Protocol::Tcp(port), rest @ ..] | [Protocol::Udp(port), Protocol::QuicV1, rest @ ..] => (*port, rest),
        _ => return Err(AddressError::Transport),
    };
    let peer = match rest {
        [] => None,
        [Protocol::P2p(peer)] => Some(*peer),
        _ => return Err(AddressError::Transport),
    };
    Ok((address, (ip, port), peer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

    #[test]
    fn what_is_chosen_stands_in_the_settings_and_all_else_is_at_its_default() {
        let listen =
            vec![listenable("/ip4/0.0.0.0/tcp/4848").unwrap(), listenable("/ip6/::/udp/4848/quic-v1").unwrap()];
        let bootstrap = vec![joinable(&format!("/dns4/guilder.example/tcp/4848/p2p/{PEER}")).unwrap()];
        let mints: Vec<MintUrl> =
            vec!["https://mint.example".parse().unwrap(), format!("p2p://mint/{PEER}").parse().unwrap()];
        let unit: Unit = "play".parse().unwrap();
        let chosen = Chosen {
            listen,
            bootstrap,
            no_mdns: true,
            mints,
            pins: BTreeMap::from([(
                "https://mint.example".parse().unwrap(),
                "00112233445566778899aabbccddeeff".parse().unwrap(),
            )]),
            unit: Some(unit),
            host_mint: true,
            monitor: Some(monitorable("127.0.0.1:9464").unwrap()),
        };
        let mut expected = Config::default();
        expected.network.listen = chosen.listen.clone();
        expected.network.bootstrap = chosen.bootstrap.clone();
        expected.network.mdns = false;
        expected.wallet.mints = chosen.mints.clone();
        expected.wallet.pins = chosen.pins.clone();
        expected.wallet.unit = "play".parse().unwrap();
        expected.mint.host = true;
        expected.monitor.listen = chosen.monitor;
        let settings = chosen.settings();
        assert_eq!(Config::parse(&settings).unwrap(), expected);
        assert_eq!(
            settings.lines().count(),
            TEMPLATE.lines().count() + 1,
            "each in the place of its default, if it has one"
        );
        assert!(monitorable("0.0.0.0:9464").is_err() && monitorable("9464").is_err());
        assert_eq!(Chosen::default().settings(), TEMPLATE);
    }

    #[test]
    fn an_address_to_join_says_where_and_whom() {
        for good in ["/ip4/192.0.2.7/tcp/4848", "/ip6/2001:db8::7/udp/4848/quic-v1", "/dns/guilder.example/tcp/1"] {
            assert!(joinable(&format!("{good}/p2p/{PEER}")).is_ok(), "{good}");
            assert_eq!(joinable(good), Err(AddressError::NoPeer));
        }
        for seed in ["/dnsaddr/swarm.example".to_owned(), format!("/dnsaddr/swarm.example/p2p/{PEER}")] {
            assert!(joinable(&seed).is_ok(), "{seed}");
        }
        assert!(joinable("/dnsaddr/swarm.example/tcp/1").is_err());
        for (bad, why) in [
            ("/ip4/0.0.0.0/tcp/4848", AddressError::Any("its IP address")),
            ("/ip4/192.0.2.7/tcp/0", AddressError::Any("port 0")),
            ("/ip4/192.0.2.7/udp/4848", AddressError::Transport),
            ("/unix/x", AddressError::Transport),
            ("/ip4/192.0.2.7", AddressError::Transport),
            ("/ip4/192.0.2.7/tcp/4848/ws", AddressError::Transport),
        ] {
            assert_eq!(joinable(&format!("{bad}/p2p/{PEER}")), Err(why), "{bad}");
        }
        for bad in ["", "192.0.2.7:4848", "/ip4/999.0.2.7/tcp/1", PEER] {
            assert!(matches!(joinable(bad), Err(AddressError::Syntax(_) | AddressError::Transport)), "{bad}");
        }
    }

    #[test]
    fn an_address_to_listen_on_is_one_of_this_machine() {
        for good in ["/ip4/0.0.0.0/tcp/0", "/ip4/192.0.2.7/udp/4848/quic-v1", "/ip6/::1/tcp/4848"] {
            assert!(listenable(good).is_ok(), "{good}");
        }
        for bad in [format!("/ip4/192.0.2.7/tcp/1/p2p/{PEER}"), "/dns4/guilder.example/tcp/4848".into()] {
            assert_eq!(listenable(&bad), Err(AddressError::NotOurs), "{bad}");
        }
    }
}
