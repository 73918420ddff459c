//! How trade frames stand on a stream: an unsigned varint length (multiformats "unsigned-varint"; at most 3 bytes for
//! the longest frame), then the bytes; one after the other, nothing between.
//!
//! Both halves are plain state machines over futures' I/O traits, polled by the connection's handler. The reader never
//! allocates by a claimed length: it grows by at most [`READ_AHEAD_BYTES`] ahead of what really arrived.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};
use guilder_protocol::limits::MAX_FRAME;

use super::limits::{READ_AHEAD_BYTES, READ_CHUNK_BYTES, WRITE_BATCH_BYTES};

/// Bytes of the length of the longest frame: 7 bits each.
const MAX_LENGTH_BYTES: usize = 3;
const _: () = assert!(MAX_FRAME < 1 << (7 * MAX_LENGTH_BYTES));

/// Why a stream of frames can't be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The peer claims a frame longer than [`MAX_FRAME`].
    #[error("a frame longer than {MAX_FRAME} bytes")]
    TooLong,
    /// The length isn't the shortest varint of itself.
    #[error("a malformed frame length")]
    Length,
    /// The stream ended inside a frame, or broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct FrameReader<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame; `None` at the proper end of the stream. Not to be polled after an error.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FrameError>> {
        loop {
            let missing = match self.parse()? {
                Parsed::Frame(frame) => return Poll::Ready(Ok(Some(frame))),
                Parsed::Missing(bytes) => bytes,
            };
            let received = self.buffer.len();
            let chunk = missing.clamp(READ_CHUNK_BYTES, READ_AHEAD_BYTES);
            self.buffer.resize(received + chunk, 0);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer[received..]);
            let new = if let Poll::Ready(Ok(new)) = read { new } else { 0 };
            self.buffer.truncate(received + new);
            if ready!(read)? == 0 {
                return Poll::Ready(if received == 0 {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                });
            }
        }
    }

    /// Whether a frame has begun and isn't complete.
    pub(super) fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Cuts the next frame off the buffer.
    fn parse(&mut self) -> Result<Parsed, FrameError> {
        let Some((length, header)) = read_length(&self.buffer)? else {
            return Ok(Parsed::Missing(1));
        };
        let total = header + length;
        if self.buffer.len() < total {
            return Ok(Parsed::Missing(total - self.buffer.len()));
        }
        self.buffer.advance(header);
        let frame = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Lets go of the memory of a long frame, which the frame itself keeps as long as it needs.
            self.buffer = BytesMut::new();
        }
        Ok(Parsed::Frame(frame))
    }
}

enum Parsed {
    Frame(Bytes),
    /// So many bytes at least are missing.
    Missing(usize),
}

/// A frame's length and how many bytes say it; `None` if they aren't all there.
fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let mut length = 0;
    for (position, &byte) in bytes.iter().take(MAX_LENGTH_BYTES).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return match (length, byte, position) {
                (_, 0, 1..) => Err(FrameError::Length),
                (MAX_FRAME_AND_ONE.., ..) => Err(FrameError::TooLong),
                _ => Ok(Some((length, position + 1))),
            };
        }
    }
    if bytes.len() >= MAX_LENGTH_BYTES { Err(FrameError::TooLong) } else { Ok(None) }
}

const MAX_FRAME_AND_ONE: usize = MAX_FRAME + 1;

/// Writes frames, several at once where they are waiting.
#[derive(Debug)]
pub(super) struct FrameWriter<S> {
    stream: S,
    buffer: BytesMut,
    unflushed: bool,
}

impl<S: AsyncWrite + AsyncRead + Unpin> FrameWriter<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new(), unflushed: false }
    }

    /// Whether another frame should be gathered before the next write.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() < WRITE_BATCH_BYTES
    }

    /// Appends a frame, which is at most [`MAX_FRAME`] long.
    pub(super) fn push(&mut self, frame: &[u8]) {
        self.buffer.reserve(frame.len() + MAX_LENGTH_BYTES);
        let mut rest = frame.len();
        while rest >= 0x80 {
            self.buffer.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.buffer.put_u8(rest as u8);
        self.buffer.put_slice(frame);
    }

    /// Writes what is gathered. Ready when all of it is in the stream and flushed.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Watches the other direction, on which nothing may come: ready when the peer refused, reset or broke the rule.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut [0; 1]));
        Poll::Ready(match read {
            Ok(0) => io::ErrorKind::ConnectionReset.into(),
            Ok(_) => io::ErrorKind::InvalidData.into(),
            Err(error) => error,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::task::Waker;

    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    /// Gives `at_most` bytes at a time, then stays pending.
    struct Drip(Vec<u8>, usize);

    impl AsyncRead for Drip {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            let count = self.1.min(buf.len()).min(self.0.len());
            if count == 0 {
                return Poll::Pending;
            }
            buf[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Poll::Ready(Ok(count))
        }
    }

    fn written(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Cursor::new(Vec::new()));
        frames.iter().for_each(|frame| writer.push(frame));
        assert!(writer.poll_write(&mut context()).is_ready());
        writer.stream.into_inner()
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn read_all(bytes: Vec<u8>, at_most: usize) -> Vec<Vec<u8>> {
        let mut reader = FrameReader::new(Drip(bytes, at_most));
        let mut frames = Vec::new();
        while let Poll::Ready(frame) = reader.poll_frame(&mut context()) {
            frames.push(frame.unwrap().unwrap().to_vec());
        }
        assert!(!reader.is_inside_frame());
        frames
    }

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            at_most in 1..700_usize,
        ) {
            prop_assert_eq!(read_all(written(&frames), at_most), frames);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut reader = FrameReader::new(Cursor::new(bytes));
            while let Poll::Ready(Ok(Some(_))) = reader.poll_frame(&mut context()) {}
        }
    }

    #[test]
    fn the_longest_frame_passes_and_one_more_byte_does_not() {
        let frames = vec![vec![7; MAX_FRAME], vec![1]];
        assert_eq!(read_all(written(&frames), 50_000), frames);
        let mut reader = FrameReader::new(Cursor::new(written(&[vec![7; MAX_FRAME + 1]])));
        assert!(matches!(reader.poll_frame(&mut context()), Poll::Ready(Err(FrameError::TooLong))));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        for claim in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 10], &[0x80, 0x80, 0x80]] {
            let mut reader = FrameReader::new(Cursor::new(claim.to_vec()));
            assert!(matches!(reader.poll_frame(&mut context()), Poll::Ready(Err(FrameError::TooLong))));
        }
        let mut reader = FrameReader::new(Drip(written(&[vec![7; MAX_FRAME]])[..10].to_vec(), 10));
        assert!(reader.poll_frame(&mut context()).is_pending());
        assert!(reader.is_inside_frame());
        assert!(reader.buffer.capacity() <= 2 * READ_AHEAD_BYTES, "{}", reader.buffer.capacity());
    }

    #[test]
    fn a_length_has_one_encoding() {
        for bytes in [&[0x80, 0x00][..], &[0x81, 0x00, 0xaa], &[0x81, 0x80, 0x00, 0xaa]] {
            let mut reader = FrameReader::new(Cursor::new(bytes.to_vec()));
            assert!(matches!(reader.poll_frame(&mut context()), Poll::Ready(Err(FrameError::Length))));
        }
    }

    #[test]
    fn an_end_inside_a_frame_is_an_error() {
        let mut reader = FrameReader::new(Cursor::new(vec![3, 1, 2]));
        assert!(matches!(reader.poll_frame(&mut context()), Poll::Ready(Err(FrameError::Io(_)))));
        let mut reader = FrameReader::new(Cursor::new(vec![1, 9]));
        assert!(matches!(reader.poll_frame(&mut context()), Poll::Ready(Ok(Some(_)))));
        assert!(matches!(reader.poll_frame(&mut context()), Poll::Ready(Ok(None))));
    }
}
