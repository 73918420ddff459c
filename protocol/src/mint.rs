//! `/guilder/mint/1`: the Cashu HTTP API of a mint that a peer hosts, as frames on a stream.
//!
//! The caller opens a stream and writes requests, one after the other; the mint answers each before it reads the next. A
//! frame is its length as a big-endian `u32`, at most [`MAX_MINT_FRAME`], and that many bytes:
//!
//! ```text
//! request:  u8 method (1 GET, 2 POST) | u8 n | n bytes of path, "/v1/swap" | JSON body, empty for GET
//! reply:    u16 HTTP status, big-endian | JSON body as the NUTs have it; an error is {"code", "detail"}
//! ```
//!
//! What a JSON body may have beside what the NUTs list is skipped by whoever doesn't know it. A method that a mint doesn't
//! know is answered with status 405 and a path with 404: the frame is whole, so the stream goes on.

use std::fmt;

use crate::{
    fault::{AtFault, Fault},
    limits::{MAX_MINT_FRAME, MAX_MINT_PATH},
};

/// The name of the protocol on the network.
pub const PROTOCOL: &str = "/guilder/mint/1";

/// What a request wants done with its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Do.
    Post,
    /// A method of a later version, by its number.
    Other(u8),
}

impl Method {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Get => 1,
            Self::Post => 2,
            Self::Other(code) => code,
        }
    }

    /// From the number on the wire.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Get,
            2 => Self::Post,
            code => Self::Other(code),
        }
    }
}

/// One call of the mint's API.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Absolute path, `/v1/…`: letters, digits, `/`, `-` and `_`, at most [`MAX_MINT_PATH`] bytes.
    pub path: String,
    /// JSON; empty for GET.
    pub body: Vec<u8>,
}

impl Request {
    /// The frame with its length.
    ///
    /// # Errors
    /// If the path or the frame goes over its bound.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let path = self.path.as_bytes();
        let length = u8::try_from(path.len()).map_err(|_| FrameError::Malformed("the path is too long"))?;
        frame(&[&[self.method.code(), length], path, &self.body])
    }

    /// Reads what stood in a frame after its length.
    ///
    /// # Errors
    /// If it is no request.
    pub fn decode(mut frame: Vec<u8>) -> Result<Self, FrameError> {
        let [method, length, ..] = frame[..] else {
            return Err(FrameError::Malformed("too short"));
        };
        let body_at = 2 + usize::from(length);
        let path = frame.get(2..body_at).and_then(|path| std::str::from_utf8(path).ok());
        let path = path.filter(|path| is_path(path)).ok_or(FrameError::Malformed("no path"))?.to_owned();
        frame.drain(..body_at);
        Ok(Self { method: Method::from_code(method), path, body: frame })
    }
}

/// Shows neither the body nor a quote's ID: both are worth money.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.path.split('/').take(5).collect::<Vec<_>>().join("/");
        write!(f, "Request({:?} {shown}, {} bytes)", self.method, self.body.len())
    }
}

/// What the NUTs use in paths; nothing that a router or a log could stumble over.
fn is_path(path: &str) -> bool {
    path.len() <= MAX_MINT_PATH
        && path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_'))
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

    /// The frame with its length.
    ///
    /// # Errors
    /// If the frame goes over its bound.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        frame(&[&self.status.to_be_bytes(), &self.body])
    }

    /// Reads what stood in a frame after its length.
    ///
    /// # Errors
    /// If it is no reply.
    pub fn decode(mut frame: Vec<u8>) -> Result<Self, FrameError> {
        let [high, low, ..] = frame[..] else {
            return Err(FrameError::Malformed("too short"));
        };
        frame.drain(..2);
        Ok(Self { status: u16::from_be_bytes([high, low]), body: frame })
    }
}

/// The body may hold signatures and preimages.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

fn frame(parts: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let length = parts.iter().map(|part| part.len()).sum();
    let claimed = u32::try_from(length).ok().filter(|_| length <= MAX_MINT_FRAME);
    let claimed = claimed.ok_or(FrameError::TooLong(length))?.to_be_bytes();
    Ok([&[&claimed[..]], parts].concat().concat())
}

/// How many bytes follow the length that a frame begins with.
///
/// # Errors
/// If they are more than a frame may have.
pub fn frame_length(claimed: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(claimed) as usize;
    if length > MAX_MINT_FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// Why bytes are no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than the bound.
    #[error("a frame of {0} bytes; the most is {MAX_MINT_FRAME}")]
    TooLong(usize),
    /// The bytes are no request or no reply.
    #[error("not a frame of {PROTOCOL}: {0}")]
    Malformed(&'static str),
}

impl AtFault for FrameError {
    fn fault(&self) -> Fault {
        Fault::Peer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request() -> Request {
        Request { method: Method::Post, path: "/v1/swap".into(), body: br#"{"inputs":[]}"#.to_vec() }
    }

    #[test]
    fn frames_have_these_bytes() {
        let frame = request().encode().unwrap();
        assert_eq!(hex::encode(&frame), "0000001702082f76312f737761707b22696e70757473223a5b5d7d");
        assert_eq!(Request::decode(frame[4..].to_vec()), Ok(request()));
        let reply = Reply { status: 200, body: b"{}".to_vec() };
        assert_eq!(hex::encode(reply.encode().unwrap()), "0000000400c87b7d");
        assert_eq!(Reply::decode(vec![0, 200, b'{', b'}']), Ok(reply));
    }

    #[test]
    fn a_method_of_a_later_version_reads_as_a_whole_frame() {
        let later = Request { method: Method::Other(3), ..request() };
        assert_eq!(Request::decode(later.encode().unwrap()[4..].to_vec()), Ok(later));
    }

    #[test]
    fn what_is_no_request_or_reply_is_refused() {
        for bad in [&[9, 4, b'v', b'1', b'/', b'a'][..], &[1, 200, b'/'], &[1], &[], b"\x01\x08/v1/a\nb", b"\x01\x02v2"]
        {
            assert!(matches!(Request::decode(bad.to_vec()), Err(FrameError::Malformed(_))), "{bad:?}");
        }
        assert!(matches!(Reply::decode(vec![1]), Err(FrameError::Malformed(_))));
        let long = Request { body: vec![0; MAX_MINT_FRAME], ..request() };
        assert!(matches!(long.encode(), Err(FrameError::TooLong(_))));
        assert_eq!(frame_length([0, 0x10, 0, 0]), Ok(MAX_MINT_FRAME));
        assert!(matches!(frame_length([0, 0x10, 0, 1]), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn neither_bodies_nor_quotes_print() {
        let request = Request { path: "/v1/mint/quote/bolt11/8a6f2b1c".into(), ..request() };
        let shown = format!("{request:?} {:?}", Reply { status: 200, body: b"sesame".to_vec() });
        assert_eq!(shown, "Request(Post /v1/mint/quote/bolt11, 13 bytes) Reply(200, 6 bytes)");
    }
}
