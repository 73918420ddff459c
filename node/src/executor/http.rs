//! Work done by a local HTTP service.
//!
//! ```text
//! POST <url>                                  200-299: the body is the output, or text/event-stream: see [`events`]
//! content-length: <size of the input>         anything else: the work failed, the beginning of the body says why
//! accept: text/event-stream, */*
//! idempotency-key, guilder-award: <award's CID>
//! guilder-service: <name>     guilder-buyer: <did:key:…>
//! guilder-api: <url>          guilder-token: <token>      to subcontract; not there if it may not, or is on another machine
//! <the configured headers>
//!
//! <input>
//! ```
//!
//! HTTP/1.1, one connection per work, redirects not followed. The host must be this machine unless the definition allows another:
//! `https://` speaks TLS with it, with `http://` the input and the headers travel in clear. Past its time, or when the run is dropped,
//! the connection is closed; a service that wants to stop early must watch for that.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderMap},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc};

use self::events::{EventReader, Item};
use super::{
    ExecError, Executor, Output, Reporter, TaskAccess, Work, collecting,
    settings::{HttpSettings, Target},
    tls::{self, Stream},
    within,
};
use crate::{
    content::{Collector, Content, Data, Pieces},
    limits::MAX_COMPLAINT,
};

/// Work done by a local HTTP service.
#[derive(Clone, Debug)]
pub struct Http {
    settings: HttpSettings,
    content: Content,
}

impl Http {
    /// For a definition that has been checked.
    pub fn new(settings: HttpSettings, content: Content) -> Self {
        Self { settings, content }
    }

    fn no_answer(&self, why: impl std::fmt::Display) -> ExecError {
        ExecError::NoAnswer { url: self.settings.url.clone(), why: why.to_string() }
    }

    async fn ask(&self, work: Work) -> Result<Output, ExecError> {
        let target = Target::parse(&self.settings).map_err(|error| self.no_answer(error))?;
        let connected = connect(&target, self.settings.allow_remote).await;
        let stream = connected.map_err(|error| self.no_answer(error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.no_answer(error))?;
        let limit_bytes = work.limits.output_bytes;
        let (body, feed) = body_of(&work.input, &self.content).await?;
        let access = work.access.clone().filter(|_| !self.settings.allow_remote);
        let request = request(&target, &work, access, body).map_err(|error| self.no_answer(error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.no_answer(describe(&error)))?;
            self.receive(response, limit_bytes, &work.reporter).await
        };
        // The connection and the feed are driven here and die with this future: nothing outlives a dropped run.
        let drive = async {
            let (closed, fed) = tokio::join!(connection, feed);
            (closed.err(), fed.err())
        };
        tokio::pin!(exchange, drive);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            (closed, fed) = &mut drive => match (fed, closed) {
                (Some(error), _) => Err(error.into()),
                // What was received before the connection ended is still there to be read.
                (None, _) => exchange.await,
            },
        }
    }

    async fn receive(
        &self,
        response: Response<Incoming>,
        limit_bytes: u64,
        reporter: &Reporter,
    ) -> Result<Output, ExecError> {
        let status = response.status();
        let tells_events = is_event_stream(response.headers());
        let mut body = response.into_body();
        if !status.is_success() {
            let body = beginning(body).await;
            return Err(ExecError::BadStatus { url: self.settings.url.clone(), status: status.as_u16(), body });
        }
        if tells_events {
            return self.receive_events(body, limit_bytes, reporter).await;
        }
        if body.size_hint().lower() > limit_bytes {
            return Err(ExecError::OutputTooLarge { limit_bytes });
        }
        let mut output = Collector::new(self.content.clone(), limit_bytes);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.no_answer(describe(&error)))?;
            if let Some(bytes) = frame.data_ref() {
                output.push(bytes).await.map_err(collecting)?;
            }
        }
        output.finish().await.map_err(collecting)
    }

    async fn receive_events(
        &self,
        mut body: Incoming,
        limit_bytes: u64,
        reporter: &Reporter,
    ) -> Result<Output, ExecError> {
        let mut output = Collector::new(self.content.clone(), limit_bytes);
        let mut events = EventReader::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.no_answer(describe(&error)))?;
            let mut bytes = frame.data_ref().map_or(&[][..], |data| &data[..]);
            while let Some(item) = events.next(&mut bytes) {
                match item {
                    Item::Output(bytes) => output.push(bytes).await.map_err(collecting)?,
                    Item::End => return output.finish().await.map_err(collecting),
                    Item::Progress(line) => reporter.line(&line),
                    Item::Partial(words) => reporter.partial(str::from_utf8(&words).unwrap_or_default()),
                    Item::Error(why) => {
                        let why = String::from_utf8_lossy(&why[..why.len().min(MAX_COMPLAINT)]).into_owned();
                        return Err(ExecError::Reported { url: self.settings.url.clone(), why });
                    }
                }
            }
        }
        Err(self.no_answer("the stream of events ended before the output did"))
    }
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

#[async_trait]
impl Executor for Http {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        within(work.limits.time, self.ask(work)).await
    }
}

fn request(
    target: &Target,
    work: &Work,
    access: Option<TaskAccess>,
    body: Input,
) -> Result<Request<Input>, hyper::http::Error> {
    let award = work.award.to_string();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT, "text/event-stream, */*")
        .header("idempotency-key", &award)
        .header("guilder-award", &award)
        .header("guilder-service", work.service.as_str())
        .header("guilder-buyer", work.buyer.to_string());
    if let Some(TaskAccess { url, token }) = access {
        request = request.header("guilder-api", url).header("guilder-token", token);
    }
    if let Some(headers) = request.headers_mut() {
        for (name, value) in &target.headers {
            headers.insert(name, value.clone());
        }
    }
    request.body(body)
}

/// Connects. A name is resolved here: `localhost` may lead nowhere else.
pub(super) async fn connect(target: &Target, allow_remote: bool) -> std::io::Result<Box<dyn Stream>> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await?;
    let addresses: Vec<SocketAddr> = found.filter(|address| allow_remote || address.ip().is_loopback()).collect();
    let stream = TcpStream::connect(&addresses[..]).await?;
    Ok(if target.tls { Box::new(tls::begin(stream, &target.host).await?) } else { Box::new(stream) })
}

/// The input as a request's body, fed chunk by chunk.
struct Input {
    size: u64,
    pieces: mpsc::Receiver<Bytes>,
}

/// The body, and the future that feeds it. The channel holds one chunk: the service's pace is the disk's.
async fn body_of(
    input: &Data,
    content: &Content,
) -> Result<(Input, impl Future<Output = Result<(), crate::content::ContentError>> + use<>), ExecError> {
    let (sender, pieces) = mpsc::channel(1);
    let mut source: Pieces = input.pieces(content).await?;
    let feed = async move {
        while let Some(piece) = source.next().await? {
            if sender.send(piece).await.is_err() {
                // The service has answered without reading it all: that is its choice.
                break;
            }
        }
        Ok(())
    };
    Ok((Input { size: input.size(), pieces }, feed))
}

impl Body for Input {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size)
    }
}

/// The beginning of a failed answer's body.
pub(super) async fn beginning(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        if bytes.len() >= MAX_COMPLAINT {
            break;
        }
    }
    bytes.truncate(MAX_COMPLAINT);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An error with its causes: hyper's own text leaves them out.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
