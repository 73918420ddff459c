//! Sealed outputs: what a seller in escrow delivers before it is paid, to be opened with a key that it shows to be paid.
//!
//! The plaintext is the salt and then the output, so that its SHA-256 is what the receipt commits to. It is cut into chunks
//! of [`CHUNK_SIZE`] bytes, the last one as long as what remains, and each is encrypted with ChaCha20-Poly1305 (RFC 8439)
//! in the STREAM construction: the nonce of chunk `i` is seven zero bytes, `i` as u32 big-endian, and one byte that is 1 for the
//! last chunk and 0 for every other. A chunk that is missing, moved, cut short or added makes its tag fail. Each chunk is 16
//! bytes longer sealed than open.
//!
//! A key seals one output and no other, so nonces may begin at zero for each. ChaCha20-Poly1305 alone does not bind a
//! ciphertext to one key; the key's hash, which stands in offer, award and receipt, does.
//!
//! Both directions take pieces of any length and hold one chunk, so an output of any size takes the same memory.

use std::fmt;

use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, aead::Aead};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    bytes::{ByteArray, Digest},
    cbor,
    content::ContentId,
    limits::MAX_CONTENT,
    receipt::{Commitment, Salt},
    word::open_words,
};

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK_SIZE: usize = 64 * 1024;
/// What sealing adds to a chunk, in bytes: its tag.
pub const TAG_SIZE: usize = 16;
/// What stands before the output in the plaintext, in bytes.
const SALT_SIZE: usize = 32;
/// The largest output that can be sealed, in bytes: sealed, it is a content of [`MAX_CONTENT`].
pub const MAX_SEALED_OUTPUT: u64 = {
    let chunks = MAX_CONTENT / (CHUNK_SIZE + TAG_SIZE) as u64;
    let rest = (MAX_CONTENT % (CHUNK_SIZE + TAG_SIZE) as u64).saturating_sub(TAG_SIZE as u64);
    chunks * CHUNK_SIZE as u64 + rest - SALT_SIZE as u64
};

open_words! {
    /// How an output is sealed.
    pub enum Cipher {
        /// As the module says.
        "chacha20poly1305-stream" => ChaCha20Poly1305Stream,
    }
}

/// What a receipt says of a sealed output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// How it is sealed.
    pub aead: Cipher,
    /// What is delivered.
    pub ciphertext: ContentId,
}

/// The key of one sealed output: 32 bytes, whose SHA-256 the money is locked to. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealKey(ByteArray<32>);

impl SealKey {
    /// From 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(ByteArray(bytes))
    }

    /// The bytes, to show them to the mint or the buyer.
    pub fn reveal(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What it is known by before it is shown.
    pub fn hash(&self) -> Digest {
        ByteArray(cbor::sha256(self.0.as_bytes()))
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(self.0.as_bytes().into())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(hidden)")
    }
}

/// How many bytes an output of `size` bytes has when it is sealed.
pub const fn sealed_size(size: u64) -> u64 {
    let plain = size.saturating_add(SALT_SIZE as u64);
    plain.saturating_add(plain.div_ceil(CHUNK_SIZE as u64).saturating_mul(TAG_SIZE as u64))
}

/// The nonce of a chunk; `None` past the last that there can be.
fn nonce(index: u64, last: bool) -> Option<Nonce> {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&u32::try_from(index).ok()?.to_be_bytes());
    nonce[11] = u8::from(last);
    Some(nonce.into())
}

/// Seals an output piece by piece.
pub struct Sealer {
    cipher: ChaCha20Poly1305,
    index: u64,
    held: Zeroizing<Vec<u8>>,
    commitment: Commitment,
}

impl Sealer {
    /// Begins with the salt.
    pub fn new(key: &SealKey, salt: &Salt) -> Self {
        let mut held = Zeroizing::new(Vec::with_capacity(CHUNK_SIZE));
        held.extend_from_slice(salt.as_bytes());
        Self { cipher: key.cipher(), index: 0, held, commitment: Commitment::new(salt) }
    }

    /// Takes the next bytes of the output, and appends to `sealed` what can be sealed of them.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] if the output is over [`MAX_SEALED_OUTPUT`].
    pub fn update(&mut self, mut piece: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
        self.commitment.update(piece);
        while !piece.is_empty() {
            // A full chunk is sealed once it is known not to be the last.
            if self.held.len() == CHUNK_SIZE {
                self.end_chunk(false, sealed)?;
            }
            let (now, later) = piece.split_at(piece.len().min(CHUNK_SIZE - self.held.len()));
            self.held.extend_from_slice(now);
            piece = later;
        }
        let size = self.index * CHUNK_SIZE as u64 + self.held.len() as u64;
        if size > MAX_SEALED_OUTPUT + SALT_SIZE as u64 { Err(SealError::TooLarge) } else { Ok(()) }
    }

    /// Appends the last chunk; gives the commitment to salt and output.
    ///
    /// # Errors
    /// [`SealError::TooLarge`], see [`Self::update`].
    pub fn finish(mut self, sealed: &mut Vec<u8>) -> Result<Digest, SealError> {
        self.end_chunk(true, sealed)?;
        Ok(self.commitment.finish())
    }

    fn end_chunk(&mut self, last: bool, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        let nonce = nonce(self.index, last).ok_or(SealError::TooLarge)?;
        let chunk = self.cipher.encrypt(&nonce, self.held.as_slice()).map_err(|_| SealError::TooLarge)?;
        sealed.extend_from_slice(&chunk);
        self.held.clear();
        self.index += 1;
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Seals an output that is in memory: the ciphertext, and the commitment to salt and output.
///
/// # Errors
/// [`SealError::TooLarge`] if the output is over [`MAX_SEALED_OUTPUT`].
pub fn seal(key: &SealKey, salt: &Salt, output: &[u8]) -> Result<(Vec<u8>, Digest), SealError> {
    let mut sealed = Vec::with_capacity(usize::try_from(sealed_size(output.len() as u64)).unwrap_or_default());
    let mut sealer = Sealer::new(key, salt);
    sealer.update(output, &mut sealed)?;
    let commitment = sealer.finish(&mut sealed)?;
    Ok((sealed, commitment))
}

/// Opens a sealed output piece by piece. Nothing that it gives is the output before [`Self::finish`] has said so.
pub struct Opener {
    cipher: ChaCha20Poly1305,
    index: u64,
    held: Vec<u8>,
    /// As much of the salt as has come.
    salt: Vec<u8>,
    opened: Commitment,
}

/// What was in a sealed output, beside the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What stood before the output.
    pub salt: Salt,
    /// The commitment to salt and output.
    pub commitment: Digest,
}

impl Opener {
    /// With the key that the money paid for.
    pub fn new(key: &SealKey) -> Self {
        let held = Vec::with_capacity(CHUNK_SIZE + TAG_SIZE);
        Self { cipher: key.cipher(), index: 0, held, salt: Vec::with_capacity(SALT_SIZE), opened: Commitment::empty() }
    }

    /// Takes the next bytes of the ciphertext, and appends to `output` what can be opened of them.
    ///
    /// # Errors
    /// [`SealError::Forged`] if a chunk isn't what the key sealed there.
    pub fn update(&mut self, mut piece: &[u8], output: &mut Vec<u8>) -> Result<(), SealError> {
        const FULL: usize = CHUNK_SIZE + TAG_SIZE;
        while !piece.is_empty() {
            if self.held.len() == FULL {
                self.open_chunk(false, output)?;
            }
            let (now, later) = piece.split_at(piece.len().min(FULL - self.held.len()));
            self.held.extend_from_slice(now);
            piece = later;
        }
        Ok(())
    }

    /// Opens the last chunk; gives what the output is held against.
    ///
    /// # Errors
    /// [`SealError::Forged`] if the last chunk isn't the last that the key sealed, or if there is no salt.
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<Opened, SealError> {
        self.open_chunk(true, output)?;
        let salt = <[u8; SALT_SIZE]>::try_from(self.salt.as_slice()).map_err(|_| SealError::Forged)?;
        Ok(Opened { salt: ByteArray(salt), commitment: self.opened.finish() })
    }

    fn open_chunk(&mut self, last: bool, output: &mut Vec<u8>) -> Result<(), SealError> {
        let nonce = nonce(self.index, last).ok_or(SealError::Forged)?;
        let chunk = self.cipher.decrypt(&nonce, self.held.as_slice()).map_err(|_| SealError::Forged)?;
        self.opened.update(&chunk);
        let (salt, rest) = chunk.split_at(chunk.len().min(SALT_SIZE - self.salt.len()));
        self.salt.extend_from_slice(salt);
        output.extend_from_slice(rest);
        self.held.clear();
        self.index += 1;
        Ok(())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Opens what is in memory: the output, and what it is held against.
///
/// # Errors
/// [`SealError::Forged`] if the key didn't seal this.
pub fn open(key: &SealKey, sealed: &[u8]) -> Result<(Vec<u8>, Opened), SealError> {
    let mut output = Vec::with_capacity(sealed.len());
    let mut opener = Opener::new(key);
    opener.update(sealed, &mut output)?;
    let opened = opener.finish(&mut output)?;
    Ok((output, opened))
}

/// Why an output can't be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over [`MAX_SEALED_OUTPUT`].
    #[error("an output to be sealed is at most {MAX_SEALED_OUTPUT} bytes")]
    TooLarge,
    /// The key didn't seal this, or not whole.
    #[error("the key does not open this")]
    Forged,
}

#[cfg(test)]
mod tests;
