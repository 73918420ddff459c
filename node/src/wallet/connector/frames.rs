//! The frames of `/guilder/mint/1`: the Cashu HTTP API on a stream. Both ends use this file.
//!
//! The caller opens a stream and writes requests, one after the other; the mint answers each before it reads the
//! next. A frame is a big-endian `u32` length and that many bytes:
//!
//! ```text
//! request:  u8 method (1 GET, 2 POST) | u8 n | n bytes of path, "/v1/swap" | JSON body, empty for GET
//! reply:    u16 HTTP status, big-endian | JSON body as the NUTs have it; an error is {"code", "detail"}
//! ```
//!
//! A frame is at most [`MAX_FRAME`] bytes; memory grows with the bytes that arrive, not with the length claimed.
//! Neither reading nor writing is cancel-safe: a stream whose future was dropped must be dropped too.

use std::fmt;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use guilder_protocol::fault::{AtFault, Fault};

use super::limits::{MAX_FRAME, MAX_PATH};

/// The name of the protocol on the network.
pub const PROTOCOL: &str = "/guilder/mint/1";

/// What a request wants done with its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Do.
    Post,
}

impl Method {
    const fn code(self) -> u8 {
        match self {
            Self::Get => 1,
            Self::Post => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Get),
            2 => Some(Self::Post),
            _ => None,
        }
    }
}

/// One call of the mint's API.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Absolute path, `/v1/…`.
    pub path: String,
    /// JSON; empty for GET.
    pub body: Vec<u8>,
}

/// Shows neither the body nor a quote's ID: both are worth money.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.path.split('/').take(5).collect::<Vec<_>>().join("/");
        write!(f, "Request({:?} {shown}, {} bytes)", self.method, self.body.len())
    }
}

/// The mint's answer to one [`Request`].
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status code; 200 is success.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

impl Reply {
    /// What the mint's node says when the mint itself can't. It has no NUT error code, so nobody takes it for the
    /// mint's judgement on the request.
    pub fn error(status: u16, detail: &'static str) -> Self {
        Self { status, body: format!("{{\"detail\":\"{detail}\"}}").into_bytes() }
    }

    /// Whether the mint did what was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The body may hold signatures and preimages.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why a frame was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke in the middle of a frame.
    #[error("the stream broke: {0}")]
    Io(#[from] std::io::Error),
    /// The frame is longer than the bound.
    #[error("a frame of {0} bytes; the most is {MAX_FRAME}")]
    TooLong(usize),
    /// The bytes are no request or no reply.
    #[error("not a frame of {PROTOCOL}: {0}")]
    Malformed(&'static str),
}

impl AtFault for FrameError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io(_) => Fault::Environment,
            Self::TooLong(_) | Self::Malformed(_) => Fault::Peer,
        }
    }
}

/// Writes a request and flushes it.
///
/// # Errors
/// If the request goes over a bound, or the stream breaks.
pub async fn write_request(stream: &mut (impl AsyncWrite + Unpin), request: &Request) -> Result<(), FrameError> {
    let path = request.path.as_bytes();
    let length = u8::try_from(path.len()).map_err(|_| FrameError::Malformed("the path is too long"))?;
    write_frame(stream, &[&[request.method.code(), length], path].concat(), &request.body).await
}

/// The first byte of a request: what is idle before it, is late after it.
#[derive(Debug)]
pub struct Begun(u8);

/// Waits for the next request to begin; `None` if the caller closed the stream after the one before.
///
/// # Errors
/// If the stream breaks.
pub async fn await_request(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Begun>, FrameError> {
    let mut first = [0];
    Ok((stream.read(&mut first).await? > 0).then_some(Begun(first[0])))
}

/// Reads the request that has begun.
///
/// # Errors
/// If the frame breaks a rule, or the stream breaks within it.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin), begun: Begun) -> Result<Request, FrameError> {
    let mut frame = read_frame(stream, begun).await?;
    let [method, length, ..] = frame[..] else {
        return Err(FrameError::Malformed("too short"));
    };
    let method = Method::from_code(method).ok_or(FrameError::Malformed("unknown method"))?;
    let body_at = 2 + usize::from(length);
    let path = frame.get(2..body_at).and_then(|path| std::str::from_utf8(path).ok());
    let path = path.filter(|path| is_path(path)).ok_or(FrameError::Malformed("no path"))?.to_owned();
    frame.drain(..body_at);
    Ok(Request { method, path, body: frame })
}

/// Writes a reply and flushes it.
///
/// # Errors
/// If the reply goes over the bound, or the stream breaks.
pub async fn write_reply(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> Result<(), FrameError> {
    write_frame(stream, &reply.status.to_be_bytes(), &reply.body).await
}

/// Reads the reply to the request just written; `None` if the stream was closed instead.
///
/// # Errors
/// If the frame breaks a rule, or the stream breaks within it.
pub async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Reply>, FrameError> {
    let Some(begun) = await_request(stream).await? else { return Ok(None) };
    let mut frame = read_frame(stream, begun).await?;
    let [high, low, ..] = frame[..] else {
        return Err(FrameError::Malformed("too short"));
    };
    frame.drain(..2);
    Ok(Some(Reply { status: u16::from_be_bytes([high, low]), body: frame }))
}

/// What the NUTs use in paths; nothing that a router or a log could stumble over.
fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH
        && path.starts_with("/v1/")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_'))
}

async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), head: &[u8], body: &[u8]) -> Result<(), FrameError> {
    let length = head.len() + body.len();
    let claimed = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(FrameError::TooLong(length))?;
    stream.write_all(&[&claimed.to_be_bytes(), head].concat()).await?;
    stream.write_all(body).await?;
    Ok(stream.flush().await?)
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin), Begun(first): Begun) -> Result<Vec<u8>, FrameError> {
    let mut claimed = [first, 0, 0, 0];
    stream.read_exact(&mut claimed[1..]).await?;
    let length = u32::from_be_bytes(claimed) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    let mut frame = Vec::new();
    stream.take(length as u64).read_to_end(&mut frame).await?;
    if frame.len() < length {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    fn request() -> Request {
        Request { method: Method::Post, path: "/v1/swap".into(), body: br#"{"inputs":[]}"#.to_vec() }
    }

    fn written(request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        block_on(write_request(&mut bytes, request)).unwrap();
        bytes
    }

    fn next(stream: &mut Cursor<impl AsRef<[u8]> + Unpin>) -> Result<Option<Request>, FrameError> {
        block_on(async {
            match await_request(stream).await? {
                Some(begun) => Ok(Some(read_request(stream, begun).await?)),
                None => Ok(None),
            }
        })
    }

    #[test]
    fn frames_have_these_bytes() {
        assert_eq!(hex::encode(written(&request())), "0000001702082f76312f737761707b22696e70757473223a5b5d7d");
        let mut bytes = Vec::new();
        block_on(write_reply(&mut bytes, &Reply { status: 200, body: b"{}".to_vec() })).unwrap();
        assert_eq!(hex::encode(bytes), "0000000400c87b7d");
    }

    #[test]
    fn what_is_written_is_read() {
        let both = [written(&request()), written(&request())].concat();
        let mut stream = Cursor::new(both);
        assert_eq!(next(&mut stream).unwrap(), Some(request()));
        assert_eq!(next(&mut stream).unwrap(), Some(request()));
        assert!(next(&mut stream).unwrap().is_none());
    }

    #[test]
    fn bad_frames_are_refused() {
        let good = written(&request());
        for cut in 1..good.len() {
            assert!(next(&mut Cursor::new(&good[..cut])).is_err(), "cut at {cut}");
        }
        assert!(matches!(next(&mut Cursor::new([0xff; 64])), Err(FrameError::TooLong(_))));
        for bad in
            [&[9, 4, b'/', b'v', b'1', b'/'][..], &[1, 200, b'/'], &[1], &[], b"\x01\x08/v1/a\nb", b"\x01\x03/v2"]
        {
            let frame = [&u32::try_from(bad.len()).unwrap().to_be_bytes(), bad].concat();
            assert!(matches!(next(&mut Cursor::new(&frame)), Err(FrameError::Malformed(_))), "{bad:?}");
        }
        let long = Request { body: vec![0; MAX_FRAME], ..request() };
        assert!(matches!(block_on(write_request(&mut Vec::new(), &long)), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn neither_bodies_nor_quotes_print() {
        let request = Request { path: "/v1/mint/quote/bolt11/8a6f2b1c".into(), ..request() };
        let shown = format!("{request:?} {:?}", Reply { status: 200, body: b"sesame".to_vec() });
        assert_eq!(shown, "Request(Post /v1/mint/quote/bolt11, 13 bytes) Reply(200, 6 bytes)");
    }
}
