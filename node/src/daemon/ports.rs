//! Whether the addresses for peers can be had, asked before the network starts.
//!
//! libp2p listens with SO_REUSEPORT, so that a second program on the same TCP port starts without a word and gets half of
//! all dials. A socket without that option is refused while anybody listens there: one is opened and closed again. What
//! else the system has against an address shows there too, in its own words.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
};

use guilder_protocol::fault::{AtFault, Fault};
use libp2p::{Multiaddr, multiaddr::Protocol};

/// Those of the addresses that can be listened on. One that this machine hasn't (IPv6 where it is off, an interface that isn't up) is
/// left out with a warning.
///
/// # Errors
/// If somebody else listens there, the system forbids it, or none is left.
pub(super) fn usable(listen: &[Multiaddr]) -> Result<Vec<Multiaddr>, PortError> {
    let (mut usable, mut foreign) = (Vec::new(), None);
    for address in listen {
        let Some(socket) = Socket::of(address) else {
            usable.push(address.clone());
            continue;
        };
        let Err(cause) = socket.try_bind() else {
            usable.push(address.clone());
            continue;
        };
        match cause.kind() {
            ErrorKind::AddrInUse => return Err(PortError::Taken(address.to_string())),
            ErrorKind::PermissionDenied => return Err(PortError::NotAllowed(address.to_string())),
            ErrorKind::AddrNotAvailable if !socket.is_unspecified() => {
                tracing::warn!(%address, "not listening there, as network.listen says: this machine has no such address");
                foreign.get_or_insert(address);
            }
            _ => tracing::warn!(%address, %cause, "not listening there, as network.listen says: this machine can't"),
        }
    }
    match foreign {
        Some(address) if usable.is_empty() => Err(PortError::Foreign(address.to_string())),
        None if usable.is_empty() && !listen.is_empty() => Err(PortError::Nowhere),
        _ => Ok(usable),
    }
}

/// Whether a node that starts now would listen there.
///
/// # Errors
/// Why not.
pub(crate) fn try_listening(address: &Multiaddr) -> Result<(), PortError> {
    usable(std::slice::from_ref(address)).map(drop)
}

/// The socket that an address stands for.
enum Socket {
    Tcp(SocketAddr),
    Udp(SocketAddr),
}

impl Socket {
    fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let ip: IpAddr = match parts.next()? {
            Protocol::Ip4(ip) => ip.into(),
            Protocol::Ip6(ip) => ip.into(),
            _ => return None,
        };
        match parts.next()? {
            Protocol::Tcp(port) => Some(Self::Tcp((ip, port).into())),
            Protocol::Udp(port) => Some(Self::Udp((ip, port).into())),
            _ => None,
        }
    }

    fn try_bind(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => TcpListener::bind(socket).map(drop),
            Self::Udp(socket) => UdpSocket::bind(socket).map(drop),
        }
    }

    fn is_unspecified(&self) -> bool {
        let (Self::Tcp(socket) | Self::Udp(socket)) = self;
        socket.ip().is_unspecified()
    }
}

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody listens there.
    #[error("can't listen on {0}: another program listens on this port")]
    Taken(String),
    /// No interface has it.
    #[error("can't listen on {0}: this machine has no such address")]
    Foreign(String),
    /// None of the addresses is of a kind that this machine has.
    #[error("none of the addresses of network.listen can be listened on")]
    Nowhere,
    /// A port below 1024, as a rule.
    #[error("can't listen on {0}: the system doesn't allow it")]
    NotAllowed(String),
}

impl AtFault for PortError {
    fn fault(&self) -> Fault {
        match self {
            // The address may yet come, with its interface.
            Self::Foreign(_) => Fault::Environment,
            Self::Taken(_) | Self::Nowhere | Self::NotAllowed(_) => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Taken(_) => "perhaps another node; give this one another port in network.listen of config.toml",
            Self::Foreign(_) => {
                "listen on 0.0.0.0 or an address of this machine; what others dial goes into network.external of config.toml"
            }
            Self::Nowhere => {
                "name one of this machine's in network.listen of config.toml; 0.0.0.0 stands for all of IPv4"
            }
            Self::NotAllowed(_) => "take a port from 1024 on in network.listen of config.toml",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_and_a_free_one_is_not() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let address = |port: u16| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap() };
        assert!(matches!(usable(&[address(0), address(port)]), Err(PortError::Taken(_))));
        let free = [address(0), "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
        assert_eq!(usable(&free).unwrap(), free);
    }

    #[test]
    fn an_address_of_another_machine_is_left_out_where_there_are_others() {
        let [foreign, own]: [Multiaddr; 2] =
            ["/ip4/192.0.2.1/tcp/0", "/ip4/127.0.0.1/tcp/0"].map(|address| address.parse().unwrap());
        assert_eq!(usable(&[foreign, own.clone()]).unwrap(), [own]);
    }

    #[test]
    fn an_address_of_another_machine_alone_is_refused_as_that() {
        for foreign in ["/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/udp/4848/quic-v1"] {
            assert!(
                matches!(usable(&[foreign.parse().unwrap()]), Err(PortError::Foreign(address)) if address == foreign)
            );
        }
    }
}
