//! A mint at an IPv6 address of this machine. `bitreq` looks such an address up with its brackets, as if it were a name, so what it
//! can't reach is asked here, one connection a request.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{client::conn::http1::handshake, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    ExchangeError,
    frames::{Method, Reply, Request},
    limits::{MAX_WEB_REPLY, MELT_TIMEOUT},
};

/// Sends `request` to the mint whose paths begin with `base`.
pub(super) async fn exchange(address: SocketAddr, base: &str, request: Request) -> Result<Reply, ExchangeError> {
    let too_late = |_| Err(ExchangeError::Lost("no reply in time".into()));
    timeout(MELT_TIMEOUT, ask(address, base, request)).await.unwrap_or_else(too_late)
}

async fn ask(address: SocketAddr, base: &str, request: Request) -> Result<Reply, ExchangeError> {
    let unreachable = |error: std::io::Error| ExchangeError::Unreachable(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let call =
        hyper::Request::builder().uri(format!("{base}{}", request.path)).header(header::HOST, address.to_string());
    let call = match request.method {
        Method::Get => call.method(hyper::Method::GET),
        Method::Post => call.method(hyper::Method::POST).header(header::CONTENT_TYPE, "application/json"),
        Method::Other(_) => return Err(ExchangeError::Malformed("no method of HTTP".into())),
    };
    let call = call.body(Full::new(Bytes::from(request.body)));
    let call = call.map_err(|error| ExchangeError::Malformed(error.to_string()))?;
    let exchange = async {
        let response = sender.send_request(call).await.map_err(lost)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_WEB_REPLY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return ExchangeError::Malformed(format!("longer than {MAX_WEB_REPLY} bytes"));
            }
            ExchangeError::Lost(error.to_string())
        })?;
        Ok(Reply { status, body: body.to_bytes().into() })
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        // What came before the connection ended is still there to be read.
        _ = &mut connection => exchange.await,
    }
}

fn lost(error: hyper::Error) -> ExchangeError {
    ExchangeError::Lost(error.to_string())
}
