//! What can go wrong in the network, and whose fault it is.

use std::fmt;

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
};

/// Why there is no connection to a peer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address or agent is this node itself.
    #[error("this is our own identity")]
    Ourselves,
    /// Neither the address book, nor the routing table, nor a look-up knows an address.
    #[error("no address of {} is known", .0.peer_id())]
    NoAddress(AgentId),
    /// No known address answered as this peer.
    #[error("the dial failed: {0}")]
    Dial(DialCause),
    /// The address can't be dialled by this node's transports.
    #[error("{0} is no address that this node can dial")]
    Address(libp2p::Multiaddr),
    /// The peer has too many penalty points with us.
    #[error("{} is banned for breaking the rules", .0.peer_id())]
    Banned(AgentId),
    /// Nobody answered in time.
    #[error("no connection in time")]
    TimedOut,
    /// Too many callers wait for connections already.
    #[error("too many connections are being set up")]
    Busy,
    /// The network is shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl AtFault for ConnectError {
    fn fault(&self) -> Fault {
        match self {
            Self::Ourselves | Self::Address(_) => Fault::Ours,
            Self::Banned(_) => Fault::Peer,
            Self::NoAddress(_) | Self::Dial(_) | Self::TimedOut | Self::Busy | Self::Stopped(_) => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Address(_) => Some("an address reads like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW..."),
            Self::NoAddress(_) => Some("check that a bootstrap peer is configured and connected (`guilder peers`)"),
            _ => None,
        }
    }
}

/// What the transport said about a failed dial.
#[derive(Clone, Debug)]
pub struct DialCause(pub(super) String);

impl fmt::Display for DialCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a frame wasn't sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The frame is longer than the protocol allows.
    #[error("a frame of {bytes} bytes is too long")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection was lost while the frame waited for its turn.
    #[error("the connection to {} was lost", .0.peer_id())]
    Lost(AgentId),
    /// The peer speaks no version of the trade protocol that we do.
    #[error("{} does not speak /guilder/trade/1", .0.peer_id())]
    Unsupported(AgentId),
}

impl AtFault for SendError {
    fn fault(&self) -> Fault {
        match self {
            Self::TooLong { .. } => Fault::Ours,
            Self::Connect(error) => error.fault(),
            Self::Lost(_) => Fault::Environment,
            Self::Unsupported(_) => Fault::Incompatible,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => error.hint(),
            _ => None,
        }
    }
}

/// Why no stream was opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection was lost meanwhile.
    #[error("the connection to {} was lost", .0.peer_id())]
    Lost(AgentId),
    /// The peer doesn't offer this protocol.
    #[error("{} does not offer {protocol}", .agent.peer_id())]
    Unsupported {
        /// The peer.
        agent: AgentId,
        /// What it was asked for.
        protocol: super::StreamProtocol,
    },
    /// The peer didn't answer in time.
    #[error("{} did not open the stream in time", .0.peer_id())]
    TimedOut(AgentId),
}

impl AtFault for OpenError {
    fn fault(&self) -> Fault {
        match self {
            Self::Connect(error) => error.fault(),
            Self::Lost(_) | Self::TimedOut(_) => Fault::Environment,
            Self::Unsupported { .. } => Fault::Incompatible,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => error.hint(),
            _ => None,
        }
    }
}

/// Why a service can't be announced, or gossip not be published or subscribed to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnnounceError {
    /// More services than one node may announce or follow.
    #[error("more than {0} services at once")]
    TooMany(usize),
    /// The message is longer than gossip may be.
    #[error("a message of {bytes} bytes is too long for gossip")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The very same message went out a moment ago.
    #[error("the same message was gossiped a moment ago")]
    Duplicate,
    /// Nobody took the message: no peer follows the topic, or all their queues are full.
    #[error("no peer took the message")]
    NoPeers,
    /// The network is shut down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl AtFault for AnnounceError {
    fn fault(&self) -> Fault {
        match self {
            Self::TooMany(_) | Self::TooLong { .. } | Self::Duplicate => Fault::Ours,
            Self::NoPeers | Self::Stopped(_) => Fault::Environment,
        }
    }
}

/// Why the network didn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {cause}")]
    Listen {
        /// Which.
        address: libp2p::Multiaddr,
        /// What the transport said.
        cause: DialCause,
    },
    /// The transport can't be set up.
    #[error("can't set up the transport: {0}")]
    Transport(DialCause),
    /// A setting contradicts another or a bound.
    #[error("bad network setting: {0}")]
    Config(&'static str),
    /// The task ended before it began: the node is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl AtFault for StartError {
    fn fault(&self) -> Fault {
        match self {
            Self::Config(_) => Fault::Ours,
            Self::Listen { .. } | Self::Transport(_) | Self::Stopped(_) => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Listen { .. } => Some("another program may hold this port; port 0 takes any free one"),
            _ => None,
        }
    }
}

/// The network is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network is shut down")]
pub struct Stopped;

impl AtFault for Stopped {
    fn fault(&self) -> Fault {
        Fault::Environment
    }
}
