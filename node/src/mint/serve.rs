//! `/guilder/mint/1`: the mint's end of a peer's stream.

use futures::{AsyncRead, AsyncWrite};
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    HostedMint,
    idempotent::asks_for_quote,
    limits::{FIRST_REQUEST, FRAME_TIMEOUT, MAX_QUOTE_REQUEST, QUOTE_COST, STREAM_IDLE},
};
use crate::wallet::connector::{
    ExchangeError,
    frames::{FrameError, Method, Reply, await_request, read_claimed, read_length, write_reply},
};

impl HostedMint {
    /// Answers the requests of `peer` on one stream, in order, until it closes the stream or is idle for too long.
    ///
    /// May be dropped at any time: what a request has begun at the mint goes on.
    ///
    /// # Errors
    /// If the peer breaks the framing, is too slow, or the stream breaks.
    pub async fn serve(
        &self,
        peer: AgentId,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), ServeError> {
        let mut closing = self.closing.subscribe();
        let mut patience = FIRST_REQUEST;
        loop {
            let first = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return Ok(()),
                first = timeout(patience, await_request(&mut stream)) => first,
            };
            let Ok(first) = first else { return Ok(()) };
            let Some(first) = first? else { return Ok(()) };
            patience = STREAM_IDLE;
            let claimed = timeout(FRAME_TIMEOUT, read_length(&mut stream, first)).await;
            let claimed = claimed.map_err(|_| ServeError::Stalled)??;
            // Before a byte of it is held: a peer that sends much waits with its bytes at its own end.
            let wait = self.peers.charge(peer, claimed.bytes(), Instant::now());
            sleep(wait).await;
            let reading = async {
                let mut room = self.bodies.admit(claimed.bytes()).await;
                let request = room.fill(read_claimed(&mut stream, claimed)).await;
                request.map(|request| (request, room))
            };
            let read = timeout(FRAME_TIMEOUT, reading).await.ok().flatten();
            // The room is kept until the request is answered.
            let (request, _room) = read.ok_or(ServeError::Stalled)?;
            let request = request?;
            // One that is too long is refused, and holds its room no longer for it.
            let is_short = request.body.len() <= MAX_QUOTE_REQUEST;
            if is_short && asks_for_quote(request.method == Method::Post, &request.path) {
                sleep(self.peers.charge(peer, QUOTE_COST, Instant::now())).await;
            }
            let reply = match self.answer(request).await {
                Ok(reply) => reply,
                Err(ExchangeError::Malformed(_)) => Reply::error(400, "not a request of the Cashu API"),
                Err(_) => Reply::error(500, "no reply of a size that can be sent"),
            };
            timeout(FRAME_TIMEOUT, write_reply(&mut stream, &reply)).await.map_err(|_| ServeError::Stalled)??;
        }
    }
}

/// Why a peer's stream ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A frame broke the rules, or the stream broke.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer began a request and didn't end it, or doesn't take the reply.
    #[error("the peer stalls")]
    Stalled,
}

impl AtFault for ServeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Frame(error) => error.fault(),
            Self::Stalled => Fault::Peer,
        }
    }
}
