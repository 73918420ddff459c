//! CAR v1, strictly: DAG-CBOR header `{roots, version: 1}`, then sections of CID and bytes, each after its varint length.
//!
//! Our own forty lines, because a reader of evidence has to be bounded and exact: a block whose hash doesn't match, a
//! repeated block, another version or a trailing byte is refused.

use std::collections::BTreeMap;

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::cbor;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    roots: Vec<Cid>,
    version: u64,
}

/// Writes the blocks in the order of their IDs.
pub(super) fn write(roots: &[Cid], blocks: &BTreeMap<Cid, &[u8]>) -> Vec<u8> {
    let mut out = header(roots);
    for (cid, bytes) in blocks {
        section(&mut out, &[&cid.to_bytes(), bytes]);
    }
    out
}

/// Appends one section: its parts after their length in all.
pub(super) fn section(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut buffer = unsigned_varint::encode::usize_buffer();
    out.extend_from_slice(unsigned_varint::encode::usize(length, &mut buffer));
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The roots that the file declares, and its blocks.
type Contents = (Vec<Cid>, BTreeMap<Cid, Vec<u8>>);

/// The bytes of the header that declares these roots.
pub(super) fn header(roots: &[Cid]) -> Vec<u8> {
    let mut out = Vec::new();
    section(&mut out, &[&cbor::encode(&Header { roots: roots.to_vec(), version: 1 })]);
    out
}

/// Reads the roots alone; at most `most`. What follows is given as it is.
pub(super) fn read_roots(bytes: &[u8], most: usize) -> Result<(Vec<Cid>, &[u8]), CarError> {
    let (header, rest) = take(bytes)?;
    let header: Header = cbor::decode(header).map_err(|_| CarError::Header)?;
    if header.version != 1 || header.roots.len() > most {
        return Err(CarError::Header);
    }
    Ok((header.roots, rest))
}

/// Reads roots and blocks; at most `most` blocks.
pub(super) fn read(bytes: &[u8], most: usize) -> Result<Contents, CarError> {
    let (roots, mut rest) = read_roots(bytes, most)?;
    let mut blocks = BTreeMap::new();
    while !rest.is_empty() {
        let (content, after) = take(rest)?;
        rest = after;
        let mut data = content;
        let cid = Cid::read_bytes(&mut data).map_err(|_| CarError::Section)?;
        let of_data = if cid.codec() == cbor::RAW { cbor::raw_cid(&cbor::sha256(data)) } else { cbor::cid_of(data) };
        if of_data != cid {
            return Err(CarError::Hash(cid));
        }
        if blocks.len() == most {
            return Err(CarError::TooMany(most));
        }
        if blocks.insert(cid, data.to_vec()).is_some() {
            return Err(CarError::Repeated(cid));
        }
    }
    Ok((roots, blocks))
}

pub(super) fn take(bytes: &[u8]) -> Result<(&[u8], &[u8]), CarError> {
    let (length, rest) = unsigned_varint::decode::usize(bytes).map_err(|_| CarError::Section)?;
    rest.split_at_checked(length).ok_or(CarError::Section)
}

/// Why bytes are no sound CAR v1 file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// The header isn't that of version 1.
    #[error("not a CAR v1 file: its header does not read as one")]
    Header,
    /// A section is cut short or carries no content ID.
    #[error("the CAR file is cut short or damaged")]
    Section,
    /// A block isn't what its ID says.
    #[error("the block {0} was changed: its hash is another, or it is no DAG-CBOR under SHA-256")]
    Hash(Cid),
    /// A block stands in it twice.
    #[error("the block {0} stands in the file twice")]
    Repeated(Cid),
    /// More blocks than a bundle has.
    #[error("the CAR file holds more than {0} blocks")]
    TooMany(usize),
}
