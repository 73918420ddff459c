//! Content: inputs and outputs too large for a frame, named by their hash and moved as verified chunks.
//!
//! A content is cut into chunks of [`CHUNK_SIZE`] bytes, the last one as long as what remains. Its hash covers the size
//! and the list of the chunks' SHA-256 digests, so that whoever holds the list can check every chunk by itself, as it
//! arrives, and can go on where a broken transfer ended:
//!
//! ```text
//! hash = sha256( "guilder/content/1" ‖ size as u64 big-endian ‖ sha256(chunk 0) ‖ sha256(chunk 1) ‖ … )
//! ```
//!
//! Over a `/guilder/content/1` stream, opened by the side that wants the content:
//!
//! ```text
//! fetcher                                   holder
//!    |-- frame Request {id, from} ------------>|    from: the first chunk wanted, 0 for all
//!    |<-- frame Reply Chunks(list) | Refused --|    the whole list, whatever `from` is
//!    |<-- chunk from, chunk from + 1, … -------|    bare bytes; the lengths follow from the size
//!    |                                         |    then both close
//! ```
//!
//! A frame is its length as u32 big-endian and that many bytes of canonical DAG-CBOR.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use crate::{
    bytes::Digest,
    cbor,
    fault::{AtFault, Fault},
    limits::MAX_CONTENT,
    word::{Word, open_choice, open_words},
};

/// The libp2p protocol that moves content.
pub const PROTOCOL: &str = "/guilder/content/1";
/// Bytes in every chunk but the last.
pub const CHUNK_SIZE: usize = 256 * 1024;
/// The most chunks that a content has.
pub const MAX_CHUNKS: usize = (MAX_CONTENT / CHUNK_SIZE as u64) as usize;
/// The longest [`Request`] frame, in bytes, without its length: this version's has about 80, the rest is for later fields.
pub const MAX_REQUEST_FRAME: usize = 512;
/// The longest [`Reply`] frame, in bytes, without its length: the list of [`MAX_CHUNKS`] digests and its wrapping,
/// with room for later forms.
pub const MAX_REPLY_FRAME: usize = MAX_CHUNKS * 32 + 512;

const DOMAIN: &[u8] = b"guilder/content/1";
/// `<64 hex digits>:<size>`, the size in at most 20 digits.
const MAX_TEXT: usize = 64 + 1 + 20;

/// The name of a content: its hash and its size. Written `<64 hex digits>:<size in bytes>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentId {
    /// The hash over size and chunk digests; see the module's documentation.
    pub hash: Digest,
    /// Bytes.
    pub size: u64,
}

impl ContentId {
    /// The ID of `bytes` held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::default();
        hasher.update(bytes);
        hasher.finish().id
    }

    /// How many chunks the content has.
    pub const fn chunks(&self) -> u64 {
        self.size.div_ceil(CHUNK_SIZE as u64)
    }

    /// The length in bytes of chunk `index`; 0 past the end.
    pub fn chunk_len(&self, index: u64) -> usize {
        let left = self.size.saturating_sub(index.saturating_mul(CHUNK_SIZE as u64));
        usize::try_from(left).map_or(CHUNK_SIZE, |left| left.min(CHUNK_SIZE))
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hash, self.size)
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentId {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let parsed = || {
            if text.len() > MAX_TEXT {
                return None;
            }
            let (digits, size_text) = text.split_once(':')?;
            let id = Self { hash: digits.parse().ok()?, size: size_text.parse().ok()? };
            // one content has one name: no upper case, no leading zero, no sign
            (id.to_string() == text).then_some(id)
        };
        parsed().ok_or(ContentError::Text)
    }
}

/// The digests of a content's chunks, in order, known to be those that its [`ContentId`] covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkList {
    /// The content that this list describes.
    pub id: ContentId,
    digests: Vec<u8>,
}

impl ChunkList {
    /// Checks received digests, 32 bytes each and back to back, against the content's ID.
    ///
    /// # Errors
    /// If the content is over [`MAX_CONTENT`], or if this isn't its list.
    pub fn check(id: ContentId, digests: Vec<u8>) -> Result<Self, ContentError> {
        if id.size > MAX_CONTENT {
            return Err(ContentError::TooLarge(id.size));
        }
        if digests.len() as u64 != id.chunks() * 32 || hash_list(id.size, &digests) != id.hash {
            return Err(ContentError::List);
        }
        Ok(Self { id, digests })
    }

    /// The digests back to back.
    pub fn digests(&self) -> &[u8] {
        &self.digests
    }

    /// Checks one chunk as it arrives.
    ///
    /// # Errors
    /// If these aren't exactly the bytes of chunk `index`.
    pub fn verify(&self, index: u64, chunk: &[u8]) -> Result<(), ContentError> {
        let expected = usize::try_from(index).ok().and_then(|index| self.digests.chunks_exact(32).nth(index));
        if expected.is_some_and(|expected| chunk.len() == self.id.chunk_len(index) && cbor::sha256(chunk) == *expected)
        {
            Ok(())
        } else {
            Err(ContentError::Chunk(index))
        }
    }
}

/// Computes a content's ID and chunk list from bytes as they come, in pieces of any length.
#[derive(Clone, Debug, Default)]
pub struct ContentHasher {
    chunk: Sha256,
    in_chunk: usize,
    size: u64,
    digests: Vec<u8>,
}

impl ContentHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_SIZE - self.in_chunk));
            self.chunk.update(now);
            self.in_chunk += now.len();
            self.size += now.len() as u64;
            if self.in_chunk == CHUNK_SIZE {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    /// Bytes taken so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The list, and with it the ID, of all bytes taken.
    pub fn finish(mut self) -> ChunkList {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        let id = ContentId { hash: hash_list(self.size, &self.digests), size: self.size };
        ChunkList { id, digests: self.digests }
    }

    fn end_chunk(&mut self) {
        self.digests.extend_from_slice(&std::mem::take(&mut self.chunk).finalize());
        self.in_chunk = 0;
    }
}

fn hash_list(size: u64, digests: &[u8]) -> Digest {
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(size.to_be_bytes()).chain_update(digests).finalize();
    Digest::from(<[u8; 32]>::from(hash))
}

/// The fetcher's one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is wanted.
    pub id: ContentId,
    /// The first chunk wanted; those before it are already held.
    pub from: u64,
}

/// The holder's one frame, before the chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The digests of all chunks, back to back; the chunks from [`Request::from`] on follow as bare bytes.
    Chunks(ByteBuf),
    /// Nothing follows.
    Refused(Refusal),
    /// An answer of a later version: nothing that follows can be read.
    Other(Word),
}
open_choice!(Reply { "chunks" => Chunks, "refused" => Refused });

open_words! {
    /// Why a holder gives nothing.
    pub enum Refusal {
        /// It doesn't hold it, or the asker has no claim to it: the two look the same from outside.
        "unknown" => Unknown,
        /// Too many transfers under way; ask again later.
        "busy" => Busy,
    }
}

/// What is wrong with a content, a list or a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not `<64 hex digits>:<size>`.
    #[error("not a content ID (<64 lower-case hex digits>:<size in bytes>)")]
    Text,
    /// Over [`MAX_CONTENT`].
    #[error("a content of {0} bytes is over the limit of {MAX_CONTENT}")]
    TooLarge(u64),
    /// The digests aren't those that the ID covers.
    #[error("the list of chunks is not the one that the content's hash covers")]
    List,
    /// The bytes of this chunk aren't those that its digest covers.
    #[error("chunk {0} is not the one that the content's list covers")]
    Chunk(u64),
}

impl AtFault for ContentError {
    fn fault(&self) -> Fault {
        match self {
            Self::Text => Fault::Ours,
            _ => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// `len` bytes, byte i = i·31 + i/251 (mod 256), so that no two chunks are the same.
    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i.wrapping_mul(31) + i / 251) as u8).collect()
    }

    /// Computed by another implementation (a few lines of Python's hashlib).
    #[test]
    fn frozen_vectors() {
        for (len, text) in [
            (0, "c7bca20da24fb61f5f9265f0f2e66ebb86688372f218dc73e535d847b9d9e14c:0"),
            (1, "982630e3f01dd3499fcdb6d5b2949e9b1743dfda3d0aa07f2378323f10042572:1"),
            (CHUNK_SIZE, "e390f1049b3bc1b4bd0a81315cedbe6408689853c72db828379d4ac1f3137a28:262144"),
            (CHUNK_SIZE + 1, "4305ba65223f38d77764066703a81f6ad7e414e47c5c3eca2df586378655c1ce:262145"),
            (3 * CHUNK_SIZE, "2e1643afe05597ecab969caccdf0c5f2a5ce81752ac99e135767aa9e289ab8ed:786432"),
        ] {
            assert_eq!(ContentId::of(&pattern(len)).to_string(), text, "{len} bytes");
        }
    }

    #[test]
    fn frozen_frames() {
        let id = ContentId { hash: Digest::from([7; 32]), size: 300_000 };
        let hash = "07".repeat(32);
        for (bytes, text) in [
            (
                cbor::encode(&Request { id, from: 1 }),
                format!("a2626964a264686173685820{hash}6473697a651a000493e06466726f6d01"),
            ),
            (cbor::encode(&Reply::Chunks(vec![9; 32].into())), format!("a1666368756e6b735820{}", "09".repeat(32))),
            (cbor::encode(&Reply::Refused(Refusal::Unknown)), "a16772656675736564".to_owned() + "67756e6b6e6f776e"),
            (cbor::encode(&Reply::Refused(Refusal::Busy)), "a16772656675736564".to_owned() + "6462757379"),
        ] {
            assert_eq!(hex::encode(bytes), text);
        }
    }

    #[test]
    fn the_longest_frames_fit_their_bounds() {
        let id = ContentId { hash: Digest::from([0xff; 32]), size: u64::MAX };
        assert!(cbor::encode(&Request { id, from: u64::MAX }).len() <= MAX_REQUEST_FRAME);
        assert!(cbor::encode(&Reply::Chunks(vec![0; MAX_CHUNKS * 32].into())).len() <= MAX_REPLY_FRAME);
    }

    #[test]
    fn a_content_has_one_name() {
        let id = ContentId::of(b"x");
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for wrong in [
            "".to_owned(),
            text.to_uppercase(),
            text.replace(":1", ":01"),
            text.replace(":1", ":+1"),
            text.replace(":1", ""),
            format!("{text} "),
            text.replace(":1", ":99999999999999999999"),
            "0".repeat(10_000),
        ] {
            assert_eq!(wrong.parse::<ContentId>(), Err(ContentError::Text), "{wrong:.80}");
        }
    }

    #[test]
    fn a_forged_list_or_size_is_refused() {
        let list = {
            let mut hasher = ContentHasher::default();
            hasher.update(&pattern(CHUNK_SIZE + 5));
            hasher.finish()
        };
        let digests = list.digests().to_vec();
        assert_eq!(ChunkList::check(list.id, digests.clone()).unwrap(), list);
        let mut flipped = digests.clone();
        flipped[40] ^= 1;
        let swapped = [&digests[32..], &digests[..32]].concat();
        for forged in [
            flipped,
            swapped,
            digests[..32].to_vec(),
            digests[..63].to_vec(),
            vec![],
            [&digests[..], &[0; 32]].concat(),
        ] {
            assert_eq!(ChunkList::check(list.id, forged), Err(ContentError::List));
        }
        let resized = ContentId { size: list.id.size + 1, ..list.id };
        assert_eq!(ChunkList::check(resized, digests.clone()), Err(ContentError::List));
        let huge = ContentId { size: MAX_CONTENT + 1, ..list.id };
        assert_eq!(ChunkList::check(huge, digests.clone()), Err(ContentError::TooLarge(MAX_CONTENT + 1)));
        let absurd = ContentId { size: u64::MAX, ..list.id };
        assert_eq!(ChunkList::check(absurd, digests), Err(ContentError::TooLarge(u64::MAX)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn the_hash_does_not_depend_on_the_pieces(
            len in 0..3 * CHUNK_SIZE + 2,
            cuts in prop::collection::vec(1..CHUNK_SIZE * 2, 0..8),
        ) {
            let bytes = pattern(len);
            let mut hasher = ContentHasher::default();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                hasher.update(piece);
                rest = later;
            }
            hasher.update(rest);
            prop_assert_eq!(hasher.size(), len as u64);
            prop_assert_eq!(hasher.finish().id, ContentId::of(&bytes));
        }

        #[test]
        fn every_chunk_verifies_in_its_place_only(len in 1..3 * CHUNK_SIZE, flip in any::<prop::sample::Index>()) {
            let mut bytes = pattern(len);
            let mut hasher = ContentHasher::default();
            hasher.update(&bytes);
            let list = hasher.finish();
            for (index, chunk) in (0u64..).zip(bytes.chunks(CHUNK_SIZE)) {
                prop_assert_eq!(chunk.len(), list.id.chunk_len(index));
                prop_assert_eq!(list.verify(index, chunk), Ok(()));
                prop_assert_eq!(list.verify(index, &chunk[1..]), Err(ContentError::Chunk(index)));
                prop_assert!(list.verify(index + 1, chunk).is_err());
            }
            let at = flip.index(len);
            bytes[at] ^= 1;
            let index = (at / CHUNK_SIZE) as u64;
            let chunk = bytes.chunks(CHUNK_SIZE).nth(index as usize).unwrap();
            prop_assert_eq!(list.verify(index, chunk), Err(ContentError::Chunk(index)));
            prop_assert_ne!(ContentId::of(&bytes), list.id);
        }

        #[test]
        fn a_name_reads_back(hash: [u8; 32], size: u64) {
            let id = ContentId { hash: Digest::from(hash), size };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(cbor::decode::<ContentId>(&cbor::encode(&id)).unwrap(), id);
        }
    }
}
