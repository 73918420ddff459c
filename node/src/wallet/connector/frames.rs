//! The frames of `/guilder/mint/1` on a stream: [`guilder_protocol::mint`] says what they are, this reads and writes them.
//! Both ends use this file.
//!
//! Memory grows with the bytes that arrive, not with the length claimed. Neither reading nor writing is cancel-safe: a
//! stream whose future was dropped must be dropped too.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
pub use guilder_protocol::mint::{Method, PROTOCOL, Reply, Request};
use guilder_protocol::{
    fault::{AtFault, Fault},
    mint::{self, frame_length},
};

/// Why a frame was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke in the middle of a frame.
    #[error("the stream broke: {0}")]
    Io(#[from] std::io::Error),
    /// It is no frame of the protocol.
    #[error(transparent)]
    Frame(#[from] mint::FrameError),
}

impl AtFault for FrameError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io(_) => Fault::Environment,
            Self::Frame(error) => error.fault(),
        }
    }
}

/// Writes a request and flushes it.
///
/// # Errors
/// If the request goes over a bound, or the stream breaks.
pub async fn write_request(stream: &mut (impl AsyncWrite + Unpin), request: &Request) -> Result<(), FrameError> {
    stream.write_all(&request.encode()?).await?;
    Ok(stream.flush().await?)
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
    let claimed = read_length(stream, begun).await?;
    read_claimed(stream, claimed).await
}

/// The length that a request claims, within the bound, before anything of it is read.
#[derive(Clone, Copy, Debug)]
pub struct Claimed(usize);

impl Claimed {
    /// In bytes.
    pub fn bytes(self) -> usize {
        self.0
    }
}

/// Reads how long the request is that has begun.
///
/// # Errors
/// If it is too long, or the stream breaks.
pub async fn read_length(stream: &mut (impl AsyncRead + Unpin), Begun(first): Begun) -> Result<Claimed, FrameError> {
    let mut claimed = [first, 0, 0, 0];
    stream.read_exact(&mut claimed[1..]).await?;
    Ok(Claimed(frame_length(claimed)?))
}

/// Reads the request behind its length.
///
/// # Errors
/// If the frame breaks a rule, or the stream breaks within it.
pub async fn read_claimed(stream: &mut (impl AsyncRead + Unpin), claimed: Claimed) -> Result<Request, FrameError> {
    Ok(Request::decode(read_frame(stream, claimed).await?)?)
}

/// Writes a reply and flushes it.
///
/// # Errors
/// If the reply goes over the bound, or the stream breaks.
pub async fn write_reply(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> Result<(), FrameError> {
    stream.write_all(&reply.encode()?).await?;
    Ok(stream.flush().await?)
}

/// Reads the reply to the request just written; `None` if the stream was closed instead.
///
/// # Errors
/// If the frame breaks a rule, or the stream breaks within it.
pub async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Reply>, FrameError> {
    let Some(begun) = await_request(stream).await? else { return Ok(None) };
    let claimed = read_length(stream, begun).await?;
    Ok(Some(Reply::decode(read_frame(stream, claimed).await?)?))
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin), Claimed(length): Claimed) -> Result<Vec<u8>, FrameError> {
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
    fn requests_on_one_stream_are_read_one_after_the_other() {
        let both = [written(&request()), written(&request())].concat();
        let mut stream = Cursor::new(both);
        assert_eq!(next(&mut stream).unwrap(), Some(request()));
        assert_eq!(next(&mut stream).unwrap(), Some(request()));
        assert!(next(&mut stream).unwrap().is_none());
    }

    #[test]
    fn a_frame_cut_short_or_too_long_is_an_error() {
        let good = written(&request());
        for cut in 1..good.len() {
            assert!(matches!(next(&mut Cursor::new(&good[..cut])), Err(FrameError::Io(_))), "cut at {cut}");
        }
        let too_long = next(&mut Cursor::new([0xff; 64]));
        assert!(matches!(too_long, Err(FrameError::Frame(mint::FrameError::TooLong(_)))), "{too_long:?}");
    }
}
