//! The transports of a real node: TCP with noise and yamux, and QUIC, under DNS names too.

use futures::future::Either;
use guilder_protocol::identity::AgentKey;
use libp2p::{
    Transport as _,
    core::{muxing::StreamMuxerBox, upgrade::Version},
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
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
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
