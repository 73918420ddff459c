//! A server that is reached over streamable HTTP (MCP 2025-11-25, "Transports"): a POST for each message, answered with JSON or with a
//! stream of events.
//!
//! As a service over HTTP is asked ([`crate::executor::http`]): HTTP/1.1, a connection for each message, redirects not followed, on
//! this machine unless the definition allows another, under TLS where its URL says `https://`. No stream is opened beside the answers, and none that broke off is taken up
//! again. It speaks the revisions that begin with `initialize`.
//!
//! **Bounded**: a message by [`MAX_MCP_MESSAGE`], all that a server says in one call by the session's meter, what waits to be read by
//! [`MAX_MCP_REQUESTS`].

use std::{
    io, mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rmcp::{
    RoleClient,
    model::{ClientRequest, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    executor::{
        http::{beginning, connect, describe, is_event_stream},
        settings::{HttpSettings, Target, WrongField},
    },
    limits::{GUARD_GRACE, MAX_MCP_MESSAGE, MAX_MCP_REQUESTS},
    sync::lock,
};

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// The connection to one server.
pub(super) struct OverHttp {
    wire: Arc<Wire>,
    told: mpsc::Receiver<RxJsonRpcMessage<RoleClient>>,
}

struct Wire {
    target: Target,
    allow_remote: bool,
    /// Bytes that it may still say in this call.
    left: Arc<AtomicU64>,
    tell: mpsc::Sender<RxJsonRpcMessage<RoleClient>>,
    begun: Mutex<Begun>,
}

/// What the server said as the session began, which every later request has with it.
#[derive(Clone, Default)]
struct Begun {
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
}

/// A request that waits for its answer.
struct Asked {
    id: RequestId,
    begins: bool,
}

impl OverHttp {
    /// To a server of these settings. Nothing is sent yet.
    pub(super) fn to(settings: &HttpSettings, left: Arc<AtomicU64>) -> Result<Self, WrongField> {
        let target = Target::parse(settings)?;
        let (tell, told) = mpsc::channel(MAX_MCP_REQUESTS);
        let wire = Wire { target, allow_remote: settings.allow_remote, left, tell, begun: Mutex::default() };
        Ok(Self { wire: Arc::new(wire), told })
    }
}

impl Transport<RoleClient> for OverHttp {
    type Error = io::Error;

    /// Ends once the answer is read, too.
    fn send(&mut self, item: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let wire = Arc::clone(&self.wire);
        async move { wire.post(&item).await }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        self.told.recv().await
    }

    /// Says that the session is over, if the server keeps one. It may not care.
    async fn close(&mut self) -> io::Result<()> {
        if lock(&self.wire.begun).session.is_some() {
            let request = self.wire.request(Method::DELETE, Bytes::new())?;
            let _ = timeout(GUARD_GRACE, self.wire.exchange(request, None)).await;
        }
        Ok(())
    }
}

impl Wire {
    async fn post(&self, message: &TxJsonRpcMessage<RoleClient>) -> io::Result<()> {
        let asked = match message {
            JsonRpcMessage::Request(request) => Some(Asked {
                id: request.id.clone(),
                begins: matches!(request.request, ClientRequest::InitializeRequest(_)),
            }),
            _ => None,
        };
        let request = self.request(Method::POST, serde_json::to_vec(message)?.into())?;
        self.exchange(request, asked).await
    }

    fn request(&self, method: Method, body: Bytes) -> io::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.target.path)
            .header(header::HOST, &self.target.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        let Begun { session, version } = lock(&self.begun).clone();
        for (name, value) in [(SESSION, session), (VERSION, version)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut request = request.body(Full::new(body)).map_err(io::Error::other)?;
        for (name, value) in &self.target.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    /// Sends one request and takes in what comes of it.
    async fn exchange(&self, request: Request<Full<Bytes>>, asked: Option<Asked>) -> io::Result<()> {
        let broken = |error: hyper::Error| io::Error::other(describe(&error));
        let stream = connect(&self.target, self.allow_remote).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.take(response, asked).await
        };
        // The connection dies with this future.
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // What was received before it ended is still there to be read.
            _ = &mut connection => exchange.await,
        }
    }

    async fn take(&self, response: Response<Incoming>, asked: Option<Asked>) -> io::Result<()> {
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            let said = beginning(body).await;
            return Err(io::Error::other(format!("it answers with status {}: {said}", head.status.as_u16())));
        }
        // What answers no request says nothing.
        let Some(asked) = asked else { return Ok(()) };
        if asked.begins {
            lock(&self.begun).session = head.headers.get(SESSION).cloned();
        }
        let mut reader = if is_event_stream(&head.headers) { Reader::events() } else { Reader::Whole(Vec::new()) };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| io::Error::other(describe(&error)))?;
            let Some(bytes) = frame.data_ref() else { continue };
            self.meter(bytes.len())?;
            for message in reader.push(bytes)? {
                if self.hear(&message, &asked).await? {
                    return Ok(());
                }
            }
        }
        if let Reader::Whole(message) = reader
            && self.hear(&message, &asked).await?
        {
            return Ok(());
        }
        Err(io::Error::other("it ended without an answer"))
    }

    fn meter(&self, came: usize) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(came as u64);
        self.left.store(left, Ordering::Relaxed);
        if left == 0 { Err(io::Error::other("it says too much")) } else { Ok(()) }
    }

    /// Passes a message on; whether it is the answer. What can't be read is passed over, as on standard output.
    async fn hear(&self, message: &[u8], asked: &Asked) -> io::Result<bool> {
        let Ok(heard) = serde_json::from_slice::<RxJsonRpcMessage<RoleClient>>(message) else { return Ok(false) };
        let answers = match &heard {
            JsonRpcMessage::Response(response) => response.id == asked.id,
            JsonRpcMessage::Error(error) => error.id.as_ref() == Some(&asked.id),
            _ => false,
        };
        if answers && asked.begins {
            let said: Value = serde_json::from_slice(message)?;
            let version = said["result"]["protocolVersion"].as_str().and_then(|text| text.parse().ok());
            lock(&self.begun).version = version;
        }
        self.tell.send(heard).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(answers)
    }
}

/// Puts messages together that come in pieces.
enum Reader {
    /// The body is one.
    Whole(Vec<u8>),
    /// Each event has one (WHATWG HTML, "Server-sent events").
    Events { line: Vec<u8>, data: Option<Vec<u8>>, after_cr: bool },
}

impl Reader {
    fn events() -> Self {
        Self::Events { line: Vec::new(), data: None, after_cr: false }
    }

    /// The messages that are whole with these bytes; a whole body is the caller's once it ends.
    fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut whole = Vec::new();
        let held = match self {
            Self::Whole(message) => {
                message.extend_from_slice(bytes);
                message.len()
            }
            Self::Events { line, data, after_cr } => {
                for &byte in bytes {
                    match byte {
                        b'\n' if mem::take(after_cr) => {}
                        b'\r' | b'\n' => {
                            *after_cr = byte == b'\r';
                            whole.extend(end_line(&mem::take(line), data));
                        }
                        _ => {
                            *after_cr = false;
                            line.push(byte);
                        }
                    }
                }
                line.len() + data.as_ref().map_or(0, Vec::len)
            }
        };
        if held > MAX_MCP_MESSAGE { Err(io::Error::other("a message is too long")) } else { Ok(whole) }
    }
}

/// Takes in a line; gives the event's data if the line ends it.
fn end_line(line: &[u8], data: &mut Option<Vec<u8>>) -> Option<Vec<u8>> {
    if line.is_empty() {
        return data.take();
    }
    let value = line.strip_prefix(b"data:").or((line == b"data").then_some(&[][..]))?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    match data {
        Some(data) => {
            data.push(b'\n');
            data.extend_from_slice(value);
        }
        None => *data = Some(value.to_vec()),
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_put_together_wherever_they_are_cut() {
        let text = b": hello\r\n\r\nid: 1\ndata:\n\nevent: message\ndata: {\"a\":\ndata: 1}\r\rdata:b\n\ndata: cut off";
        let whole: Vec<&[u8]> = vec![b"", b"{\"a\":\n1}", b"b"];
        for size in 1..text.len() {
            let mut reader = Reader::events();
            let heard: Vec<_> = text.chunks(size).flat_map(|piece| reader.push(piece).unwrap()).collect();
            assert_eq!(heard, whole, "{size}");
        }
    }

    #[test]
    fn a_message_above_the_bound_is_refused_before_it_is_whole() {
        let piece = vec![b'x'; 1024 * 1024];
        let taken = |mut reader: Reader| (0..100).take_while(|_| reader.push(&piece).is_ok()).count();
        let most = MAX_MCP_MESSAGE / piece.len();
        assert_eq!((taken(Reader::events()), taken(Reader::Whole(Vec::new()))), (most, most));
        let mut lines = Reader::events();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert!((0..100).any(|_| lines.push(&line).is_err()), "of many lines, too");
    }
}
