//! The other end of the control API: what the command line talks to a running node with.

use std::{io, marker::PhantomData, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use guilder_protocol::fault::{AtFault, Fault};
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header,
    http::request,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use super::{
    access::{Access, Hello, Proof},
    types::{ApiError, Hire, HireEvent, Line},
};
use crate::{
    gate::callers,
    keys::{Home, HomeError},
};

/// Most of one JSON answer, or of one line of a stream, that is taken in.
const MAX_JSON: usize = 16 * 1024 * 1024;

/// How long a daemon may take to say that it is there. It does nothing else for that; only a stopped one, or a machine far
/// beyond its means, takes longer.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection is tried that breaks before anything was asked on it.
const GREETING_TRIES: u32 = 3;

/// A body on its way to the node.
pub type Upload = UnsyncBoxBody<Bytes, io::Error>;

/// Talks to one node. Each request has its own connection unless made through [`Client::connect`].
#[derive(Clone, Debug)]
pub struct Client(Access);

impl Client {
    /// The node that runs on `home`.
    ///
    /// # Errors
    /// If none does, or its access file is exposed or damaged.
    pub fn of_home(home: &Home) -> Result<Self, ClientError> {
        let path = home.api();
        if !path.exists() {
            home.check()?;
            return Err(ClientError::NotRunning(home.dir().to_owned()));
        }
        crate::keys::check_private(&path)?;
        let json = std::fs::read(&path).map_err(|cause| HomeError::io("read", &path, cause))?;
        let access = serde_json::from_slice(&json).map_err(|_| ClientError::Damaged(path))?;
        Ok(Self(access))
    }

    /// The node that the environment says, to a program that works on a task which it may subcontract; `None` if it says none.
    ///
    /// # Errors
    /// If what it says is no address.
    pub fn of_task() -> Option<Result<Self, ClientError>> {
        let (url, token) = (std::env::var("GUILDER_API").ok()?, std::env::var("GUILDER_TOKEN").ok()?);
        let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
        let client = address.map(|address| Self(Access { address, token, pid: 0 }));
        Some(
            client.ok_or_else(|| ClientError::Answer(format!("GUILDER_API is {url:?}, which is no address of a node"))),
        )
    }

    /// The same, as one of the callers that its owner added.
    ///
    /// # Errors
    /// If there is none of that name, or others can read its token.
    pub fn speaking_as(self, home: &Home, name: &str) -> Result<Self, ClientError> {
        let path = home.caller(name).filter(|path| path.exists());
        let path = path.ok_or_else(|| ClientError::NoCaller(name.to_owned()))?;
        crate::keys::check_private(&path)?;
        let token = std::fs::read_to_string(&path).map_err(|cause| HomeError::io("read", &path, cause))?;
        Ok(Self(Access { token: token.trim().to_owned(), ..self.0 }))
    }

    /// The node with this access.
    pub fn new(access: Access) -> Self {
        Self(access)
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Reads a value.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.connect().await?.call(Method::GET, path, empty()).await
    }

    /// Sends a value and reads the answer.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.connect().await?.call(Method::POST, path, json(body)?).await
    }

    /// Takes something away and reads the answer.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.connect().await?.call(Method::DELETE, path, empty()).await
    }

    /// Sends a body and reads the answer line by line.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn lines<T>(&self, method: Method, path: &str, body: Upload) -> Result<Lines<T>, ClientError> {
        let mut connection = self.connect().await?;
        let response = connection.request(method, path, body).await?;
        let body = BodyStream::new(response.into_body());
        Ok(Lines { body, buffer: BytesMut::new(), _connection: connection, items: PhantomData })
    }

    /// Hires: sends the input and reads what the hire tells.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn hire(&self, hire: &Hire, input: Upload) -> Result<Lines<HireEvent>, ClientError> {
        self.lines(Method::POST, &query("/v1/tasks", hire)?, input).await
    }

    /// Reads bytes as they come.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn download(&self, path: &str) -> Result<Download, ClientError> {
        let mut connection = self.connect().await?;
        let response = connection.request(Method::GET, path, empty()).await?;
        Ok(Download { body: BodyStream::new(response.into_body()), _connection: connection })
    }

    /// A connection that becomes something else: what is written to it and read from it from then on are that one's bytes.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn upgrade(&self, path: &str, to: &str) -> Result<TokioIo<Upgraded>, ClientError> {
        let mut connection = self.connect().await?;
        let request = connection
            .builder(Method::GET, path)
            .header(header::AUTHORIZATION, format!("Bearer {}", connection.access.token))
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, to)
            .body(empty());
        let response = connection.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(response).await);
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    /// A connection for several requests, one after the other. The other end has proved that it is the daemon.
    ///
    /// # Errors
    /// If nobody answers there, or somebody else.
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        let greeting = async {
            let mut tries = GREETING_TRIES;
            loop {
                tries -= 1;
                match self.greeted().await {
                    // It gave way to others before it was known to be ours. Nothing was asked yet.
                    Err(ClientError::Http(_)) if tries > 0 => {}
                    greeted => return greeted,
                }
            }
        };
        timeout(HELLO_PATIENCE, greeting).await.unwrap_or(Err(ClientError::Silent(self.0.pid)))
    }

    async fn greeted(&self) -> Result<Connection, ClientError> {
        let mut connection = self.open().await?;
        connection.greet().await?;
        Ok(connection)
    }

    async fn open(&self) -> Result<Connection, ClientError> {
        let stream = TcpStream::connect(self.0.address).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::ConnectionRefused => ClientError::Gone(self.0.pid),
            _ => ClientError::Io(cause),
        })?;
        stream.set_nodelay(true).map_err(ClientError::Io)?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The command line is no node: there is no runtime of ours to spawn on.
        let driver = tokio::spawn(async move {
            // What ends the connection also ends the request on it, with the reason.
            let _ = driver.with_upgrades().await;
        });
        Ok(Connection { access: self.0.clone(), sender, driver })
    }
}

/// One connection to a node.
#[derive(Debug)]
pub struct Connection {
    access: Access,
    sender: hyper::client::conn::http1::SendRequest<Upload>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Has the other end prove that it knows the token, which isn't sent before that.
    async fn greet(&mut self) -> Result<(), ClientError> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| ClientError::Io(error.into()))?;
        let of = self.access.token.split_once('.').map(|(name, _)| name.to_owned());
        let hello = Hello { nonce: hex::encode(nonce), of };
        let request = self.builder(Method::GET, &query("/v1/hello", &hello)?).body(empty());
        let response = self.send(request).await?;
        let answer = collect(response.into_body()).await.unwrap_or_default();
        let known = callers::known_of(&self.access.token);
        let known = known.as_deref().unwrap_or(&self.access.token);
        let expected = Proof::of(known, self.access.address.port(), &hello);
        match serde_json::from_slice::<Proof>(&answer) {
            Ok(proof) if Some(&proof) == expected.as_ref() => Ok(()),
            _ => Err(ClientError::Impostor(self.access.address)),
        }
    }

    fn builder(&self, method: Method, path: &str) -> request::Builder {
        Request::builder().method(method).uri(path).header(header::HOST, self.access.address.to_string())
    }

    async fn send(
        &mut self,
        request: Result<Request<Upload>, hyper::http::Error>,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = request.map_err(|error| ClientError::Answer(error.to_string()))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Makes a request and reads its JSON answer.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Upload,
    ) -> Result<T, ClientError> {
        let response = self.request(method, path, body).await?;
        let bytes = collect(response.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// Makes a request and reads its whole answer, one value a line.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn lines<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Upload,
    ) -> Result<Vec<T>, ClientError> {
        let bytes = collect(self.request(method, path, body).await?.into_body()).await?;
        bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(read_line).collect()
    }

    /// Makes a request; an answer other than success is an error.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Upload,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = self
            .builder(method, path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.access.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer of `T`s, one a line.
#[derive(Debug)]
pub struct Lines<T> {
    body: BodyStream<Incoming>,
    buffer: BytesMut,
    _connection: Connection,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks, the node reports an error, or the line is no `T`.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return read_line(&line).map(Some);
            }
            if self.buffer.len() > MAX_JSON {
                return Err(ClientError::Answer("a line without end".into()));
            }
            let Some(frame) = self.body.next().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn read_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, ClientError> {
    match serde_json::from_slice(line) {
        Ok(Line::Item(item)) => Ok(item),
        Ok(Line::Error(error)) => Err(ClientError::Api(error)),
        Err(error) => Err(ClientError::Answer(error.to_string())),
    }
}

/// An answer of bytes.
#[derive(Debug)]
pub struct Download {
    body: BodyStream<Incoming>,
    _connection: Connection,
}

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.next().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// What an answer says that is no success.
async fn refused(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match collect(response.into_body()).await.map(|bytes| serde_json::from_slice::<ApiError>(&bytes)) {
        Ok(Ok(error)) => ClientError::Api(error),
        Ok(Err(_)) => ClientError::Answer(format!("status {status}")),
        Err(error) => error,
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    let limited = http_body_util::Limited::new(body, MAX_JSON);
    let collected = limited.collect().await.map_err(|error| ClientError::Answer(error.to_string()))?;
    Ok(collected.to_bytes())
}

/// A body of nothing.
pub fn empty() -> Upload {
    bytes(Bytes::new())
}

/// A body that is all here.
pub fn bytes(body: Bytes) -> Upload {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes in pieces.
pub fn pieces(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Upload {
    StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// A JSON body.
///
/// # Errors
/// If the value can't be JSON.
pub fn json(value: &impl Serialize) -> Result<Upload, ClientError> {
    let body = serde_json::to_vec(value).map_err(|error| ClientError::Answer(error.to_string()))?;
    Ok(bytes(body.into()))
}

/// `path?name=value&…`, of the fields of `terms`; what is `None` is left out.
///
/// # Errors
/// If a field is neither text nor a number.
pub fn query(path: &str, terms: &impl Serialize) -> Result<String, ClientError> {
    let terms = serde_urlencoded::to_string(terms).map_err(|error| ClientError::Answer(error.to_string()))?;
    Ok(format!("{path}?{terms}"))
}

/// Percent-encoding of all but RFC 3986's unreserved characters.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Why a node didn't answer, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon on this home.
    #[error("no daemon runs on {}", .0.display())]
    NotRunning(PathBuf),
    /// The one that wrote the access file is gone.
    #[error("the daemon (process {0}) doesn't answer")]
    Gone(u32),
    /// It runs, perhaps, and says nothing.
    #[error("the daemon (process {0}) doesn't answer within {HELLO_PATIENCE:?}")]
    Silent(u32),
    /// Somebody answers who doesn't know the token.
    #[error("another program answers on {0}, where the daemon was; nothing was sent to it")]
    Impostor(SocketAddr),
    /// There is no caller of that name.
    #[error("there is no caller {0} on this home")]
    NoCaller(String),
    /// The access file is none.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The home folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The node says no.
    #[error(transparent)]
    Api(ApiError),
    /// The connection.
    #[error("the connection to the daemon failed: {0}")]
    Io(io::Error),
    /// The connection, as HTTP sees it.
    #[error("the connection to the daemon broke: {0}")]
    Http(#[from] hyper::Error),
    /// Not an answer that we understand.
    #[error("the daemon's answer can't be read: {0}")]
    Answer(String),
}

impl ClientError {
    /// The party at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotRunning(_) | Self::Gone(_) | Self::NoCaller(_) => Fault::Ours,
            Self::Home(error) => error.fault(),
            Self::Api(error) => error.fault,
            Self::Silent(_) | Self::Impostor(_) => Fault::Environment,
            Self::Damaged(_) | Self::Io(_) | Self::Http(_) | Self::Answer(_) => Fault::Environment,
        }
    }

    /// What the caller can do about it. (Not [`AtFault`]'s: the node's own hint is passed on.)
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotRunning(_) | Self::Gone(_) => Some("start it in another terminal: `guilder up`"),
            Self::Silent(_) => {
                Some("if it is suspended, wake it with `kill -CONT`; else see its log, and start it again")
            }
            Self::Impostor(_) => Some("the daemon ended without a word; start it again: `guilder up`"),
            Self::NoCaller(_) => {
                Some("`guilder caller list` shows them; `guilder caller add --help` says how one is added")
            }
            Self::Damaged(_) => Some("restart the daemon"),
            Self::Home(error) => error.hint(),
            Self::Http(_) => Some("it may have stopped; see its log"),
            Self::Answer(_) => Some("daemon and command line may be of different versions; restart the daemon"),
            Self::Api(error) => error.hint.as_deref(),
            Self::Io(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let path = query("/v1/mints", &[("url", "http://a:1/b&c")]).unwrap();
        assert_eq!(path, "/v1/mints?url=http%3A%2F%2Fa%3A1%2Fb%26c");
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
    }

    #[test]
    fn a_stream_that_breaks_off_ends_in_its_error() {
        let error = ApiError::misuse("the mint is down", "wait");
        let line = serde_json::to_vec(&Line::<u8>::Error(error.clone())).unwrap();
        assert!(matches!(read_line::<u8>(&line), Err(ClientError::Api(read)) if read == error));
        assert_eq!(read_line::<u8>(br#"{"item":7}"#).unwrap(), 7);
        assert!(matches!(read_line::<u8>(b"7"), Err(ClientError::Answer(_))));
    }
}
