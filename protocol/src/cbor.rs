//! Strict DAG-CBOR (ipld.io/specs/codecs/dag-cbor, "Strictness") and the content IDs of what it encodes.
//!
//! A value has exactly one encoding here: what isn't canonical (key order, repeated keys, longer than minimal heads,
//! indefinite lengths, trailing bytes, tags other than a CID, nesting beyond
//! [`MAX_NESTING`](crate::limits::MAX_NESTING)) doesn't decode. That holds of
//! all bytes, also of those that a type skips because it doesn't know the field.

mod form;

use std::fmt;

use cid::Cid;
use multihash::Multihash;
use serde::{Serialize, de::DeserializeOwned};
use serde_ipld_dagcbor::DecodeError;
use sha2::{Digest, Sha256};

use crate::fault::{AtFault, Fault};

/// Multicodec `dag-cbor`.
pub const DAG_CBOR: u64 = 0x71;
/// The multicodec of bytes that are nothing in particular.
pub const RAW: u64 = 0x55;
/// Multihash code of sha2-256.
pub const SHA2_256: u64 = 0x12;

/// Encodes a value in its one canonical form.
///
/// # Panics
/// Never for this crate's types: none holds a map key that isn't text, an infinite float, or a failing serializer.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    #[allow(clippy::expect_used)] // the types that reach here are ours; a test encodes each
    serde_ipld_dagcbor::to_vec(value).expect("our types always encode")
}

/// Decodes the canonical form and nothing else.
///
/// # Errors
/// If the bytes aren't the canonical DAG-CBOR of a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let read = serde_ipld_dagcbor::from_slice(bytes);
    match (read, form::check(bytes)) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(what)) => Err(CborError { text: what.into(), is_canonical: false }),
        (Err(error), form) => Err(CborError { text: words(&error), is_canonical: form.is_ok() }),
    }
}

/// The content ID of encoded bytes: CIDv1, dag-cbor, sha2-256.
pub fn cid_of(bytes: &[u8]) -> Cid {
    #[allow(clippy::expect_used)] // 32 bytes always fit the 64 a multihash holds
    let hash = Multihash::wrap(SHA2_256, &sha256(bytes)).expect("a sha-256 digest fits a multihash");
    Cid::new_v1(DAG_CBOR, hash)
}

/// The content ID of bytes that are no CBOR, by their SHA-256: CIDv1, raw, sha2-256.
pub fn raw_cid(digest: &[u8; 32]) -> Cid {
    #[allow(clippy::expect_used)] // 32 bytes always fit the 64 a multihash holds
    let hash = Multihash::wrap(SHA2_256, digest).expect("a sha-256 digest fits a multihash");
    Cid::new_v1(RAW, hash)
}

/// The SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A decoder's error in words: its own text is for whoever debugs it.
pub(crate) fn words<E: fmt::Debug>(error: &DecodeError<E>) -> String {
    match error {
        DecodeError::Msg(text) => printable(text),
        DecodeError::Read(_) | DecodeError::Eof { .. } => "it ends too soon".into(),
        DecodeError::Mismatch { name, found } => format!("the byte 0x{found:02x} stands where {name} belongs"),
        DecodeError::Unsupported { name, found } => format!("the byte 0x{found:02x} is no {name} of DAG-CBOR"),
        DecodeError::RequireUtf8 { .. } => "a text is not UTF-8".into(),
        DecodeError::DepthOverflow { .. } => "it is nested too deeply".into(),
        DecodeError::LengthMismatch { expect, value, .. } => format!("{value} items stand where {expect} belong"),
        DecodeError::TrailingData => "more bytes follow".into(),
        DecodeError::IndefiniteSize => "a length is left open".into(),
        DecodeError::NonMinimal { .. } => "a number or a length is not in its shortest form".into(),
        DecodeError::UnorderedKey => "keys are out of order".into(),
        DecodeError::RequireLength { .. } | DecodeError::LengthOverflow { .. } => "a length is not true".into(),
        DecodeError::RequireBorrowed { .. }
        | DecodeError::CastOverflow { .. }
        | DecodeError::ArithmeticOverflow { .. } => "a number is out of range".into(),
    }
}

/// `text` without what a terminal would act on or hide: control characters and invisible ones, such as those that turn
/// the direction of writing, are escaped. Decoders quote what they were sent.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_printable(letter) { shown.push(letter) } else { shown.extend(letter.escape_unicode()) }
    }
    shown
}

/// Whether a letter shows, as itself.
pub(crate) fn is_printable(letter: char) -> bool {
    let is_invisible = matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    !letter.is_control() && !is_invisible
}

/// The bytes aren't canonical DAG-CBOR of what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not canonical DAG-CBOR of the expected form: {text}")]
pub struct CborError {
    text: String,
    is_canonical: bool,
}

impl CborError {
    /// Whether the bytes are canonical DAG-CBOR of something, though not of what was expected.
    pub fn is_canonical(&self) -> bool {
        self.is_canonical
    }
}

impl AtFault for CborError {
    fn fault(&self) -> Fault {
        Fault::Peer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;
    use crate::limits::MAX_NESTING;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair {
        a: u64,
        bb: Option<String>,
    }

    #[test]
    fn only_the_canonical_form_decodes() {
        let canonical = encode(&Pair { a: 1, bb: None });
        assert_eq!(canonical, [0xa2, 0x61, b'a', 1, 0x62, b'b', b'b', 0xf6]);
        assert!(decode::<Pair>(&canonical).is_ok());
        for (why, bytes) in [
            ("key order", &[0xa2, 0x62, b'b', b'b', 0xf6, 0x61, b'a', 1][..]),
            ("repeated key", &[0xa2, 0x61, b'a', 1, 0x61, b'a', 1]),
            ("long integer", &[0xa2, 0x61, b'a', 0x18, 1, 0x62, b'b', b'b', 0xf6]),
            ("long length", &[0xa2, 0x78, 1, b'a', 1, 0x62, b'b', b'b', 0xf6]),
            ("indefinite map", &[0xbf, 0x61, b'a', 1, 0x62, b'b', b'b', 0xf6, 0xff]),
            ("trailing byte", &[0xa2, 0x61, b'a', 1, 0x62, b'b', b'b', 0xf6, 0]),
            ("undefined", &[0xa2, 0x61, b'a', 1, 0x62, b'b', b'b', 0xf7]),
        ] {
            assert!(decode::<Pair>(bytes).is_err_and(|error| !error.is_canonical()), "{why}");
        }
        assert!(decode::<Pair>(&encode(&[1, 2])).is_err_and(|error| error.is_canonical()));
    }

    #[test]
    fn what_a_skipped_field_holds_is_canonical_too() {
        // {"a": 1, "b": …, "bb": null}
        let with = |value: &[u8]| {
            decode::<Pair>(&[&[0xa3, 0x61, b'a', 1, 0x61, b'b'][..], value, &[0x62, b'b', b'b', 0xf6]].concat())
        };
        let link = encode(&cid_of(b"something"));
        for good in
            [&[0xf6][..], &[0x82, 1, 0x81, 0x80], &[0xa2, 0x61, b'x', 1, 0x61, b'y', 0xa0], &[0x41, 0xff], &link]
        {
            assert_eq!(with(good), Ok(Pair { a: 1, bb: None }), "{good:02x?}");
        }
        let nested = |depth| [vec![0x81; depth], vec![0]].concat();
        assert!(with(&nested(MAX_NESTING - 1)).is_ok());
        for (why, bad) in [
            ("repeated key", &[0xa2, 0x61, b'x', 1, 0x61, b'x', 1][..]),
            ("key order", &[0xa2, 0x61, b'y', 1, 0x61, b'x', 1]),
            ("key that is no text", &[0xa1, 1, 1]),
            ("long integer", &[0x18, 1]),
            ("long length", &[0x58, 1, 0]),
            ("open list", &[0x9f, 0xff]),
            ("no text", &[0x61, 0xff]),
            ("undefined", &[0xf7]),
            ("half float", &[0xf9, 0x3c, 0]),
            ("not a number", &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
            ("another tag", &[0xc1, 1]),
            ("padded link", &[&[0xd8, 42, 0x58, 38], &link[4..], &[0]].concat()),
            ("nesting", &nested(MAX_NESTING)),
        ] {
            assert!(with(bad).is_err_and(|error| !error.is_canonical()), "{why}");
        }
    }

    #[test]
    fn a_link_is_its_content_id_and_nothing_more() {
        let cid = cid_of(b"something");
        let list = encode(&vec![cid, cid]);
        assert_eq!(decode::<Vec<Cid>>(&list).unwrap(), [cid, cid]);
        // An ID with an empty digest, and what the decoder would drop behind it.
        let mut padded = encode(&cid);
        let digest_length = padded.len() - 33;
        assert_eq!(padded[digest_length], 32);
        for length in 0..32 {
            padded[digest_length] = length;
            assert!(decode::<Cid>(&padded).is_err(), "{length}");
            assert!(decode::<ipld_core::ipld::Ipld>(&padded).is_err(), "{length}");
        }
        let mut later = list.clone();
        later[digest_length + 1 + padded.len()] = 31;
        assert!(decode::<Vec<Cid>>(&later).is_err());
    }

    #[test]
    fn deep_nesting_is_refused_without_overflow() {
        for head in [&[0x81][..], &[0xa1, 0x61, b'k']] {
            let mut deep = head.repeat(1 << 20);
            deep.push(0xf6);
            assert!(decode::<ipld_core::ipld::Ipld>(&deep).is_err());
            assert!(decode::<serde::de::IgnoredAny>(&deep).is_err());
        }
    }

    #[test]
    fn an_error_quotes_nothing_that_a_terminal_acts_on() {
        #[derive(Debug, Deserialize)]
        enum Colour {
            Red,
        }
        assert!(matches!(decode::<Colour>(&encode("Red")), Ok(Colour::Red)));
        let error = decode::<Colour>(&encode("\u{1b}[2J\u{202e}")).unwrap_err().to_string();
        assert!(error.contains(r"\u{1b}[2J\u{202e}") && error.chars().all(is_printable), "{error}");
    }

    #[test]
    fn an_error_is_said_in_words() {
        for (bytes, words) in [
            (&b""[..], "it ends too soon"),
            (b"hello", "the byte 0x68 stands where"),
            (&[0xa2, 0x62, b'b', b'b', 0xf6, 0x61, b'a', 1], "keys are out of order"),
            (&[0xa1, 0x61, b'a', 1, 0], "more bytes follow"),
            (&[0xa1, 0x61, b'a', 0x18, 1], "a number or a length is not in its shortest form"),
            (&[0xa1, 0x61, b'a'], "it ends too soon"),
        ] {
            let error = decode::<Pair>(bytes).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('{'), "{error}");
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        assert!(decode::<Vec<u64>>(&[0x9b, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(decode::<String>(&[0x7b, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
