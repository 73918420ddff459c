//! The transports of a real node: TCP with noise and yamux, and QUIC, under DNS names too.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::{BoxFuture, Either};
use guilder_protocol::identity::AgentKey;
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
        upgrade::Version,
    },
    dns, identity, noise, quic, tcp, yamux,
};

use super::{
    StartError, Transport,
    error::DialCause,
    limits::{DIAL_TIMEOUT, STREAMS_PER_CONNECTION},
};

/// TCP (no Nagle delay) and QUIC.
///
/// # Errors
/// Never for a key made by [`AgentKey`].
pub fn tcp_quic(key: &AgentKey) -> Result<Transport, StartError> {
    let key = keypair(key)?;
    match dns::tokio::Transport::system(without_names(&key)?) {
        Ok(with_names) => Ok(with_names.boxed()),
        Err(error) => {
            tracing::warn!(%error, "this machine has no resolver, so only numeric addresses can be dialled");
            Ok(without_names(&key)?.boxed())
        }
    }
}

fn without_names(key: &identity::Keypair) -> Result<Transport, StartError> {
    let noise = noise::Config::new(key).map_err(cause)?;
    let tcp = AnyPort(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(multiplexer())
        .timeout(DIAL_TIMEOUT);
    let mut config = quic::Config::new(key);
    config.handshake_timeout = DIAL_TIMEOUT;
    config.max_concurrent_stream_limit = STREAMS_PER_CONNECTION as u32;
    let both = tcp.or_transport(quic::tokio::Transport::new(config)).map(|output, _| match output {
        Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
    });
    Ok(both.boxed())
}

/// Dials from the port that it listens at, so that a NAT keeps one mapping; from any other where the system says that this one is in
/// use. It may still hold the port's last connection to that peer, or be about to take one from it.
#[derive(Debug)]
struct AnyPort<T>(T);

impl<T> libp2p::Transport for AnyPort<T>
where
    T: libp2p::Transport<Error = io::Error> + Unpin,
    T::Dial: Send + 'static,
    T::Output: Send + 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<T::Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let first = self.0.dial(address.clone(), opts)?;
        if opts.port_use == PortUse::New {
            return Ok(Box::pin(first));
        }
        // Does nothing until it is awaited.
        let second = self.0.dial(address, DialOpts { port_use: PortUse::New, ..opts })?;
        Ok(Box::pin(async move {
            match first.await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => second.await,
                ended => ended,
            }
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// yamux with this node's bound on streams; for other transports too.
pub fn multiplexer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_PER_CONNECTION);
    config
}

/// The same key as libp2p holds it, for building transports.
///
/// # Errors
/// Never for a key made by [`AgentKey`].
pub fn keypair(key: &AgentKey) -> Result<identity::Keypair, StartError> {
    identity::Keypair::ed25519_from_bytes(key.seed().to_vec()).map_err(cause)
}

fn cause(error: impl ToString) -> StartError {
    StartError::Transport(DialCause(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::{Pending, Ready, ready};

    use libp2p::core::Endpoint;

    use super::*;

    /// A system that says of the listening port that it fails like this.
    struct Fails(io::ErrorKind);

    impl libp2p::Transport for Fails {
        type Output = PortUse;
        type Error = io::Error;
        type ListenerUpgrade = Pending<io::Result<PortUse>>;
        type Dial = Ready<io::Result<PortUse>>;

        fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(address))
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, _: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            Ok(ready(if opts.port_use == PortUse::New { Ok(opts.port_use) } else { Err(self.0.into()) }))
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_left_for_another_and_no_other_trouble_is_hidden() {
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let dialled = AnyPort(Fails(io::ErrorKind::AddrInUse)).dial(address.clone(), opts).unwrap().await;
        assert_eq!(dialled.unwrap(), PortUse::New);
        let refused = AnyPort(Fails(io::ErrorKind::ConnectionRefused)).dial(address, opts).unwrap().await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
