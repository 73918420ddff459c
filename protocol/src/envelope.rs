//! The one envelope for every signed thing: UCAN 1.0's (ucan-wg/spec, "Envelope").
//!
//! ```text
//! [ signature, { "h": varsig header, "<name>@<version>": payload } ]        canonical DAG-CBOR
//! ```
//!
//! The signature covers the bytes of the map as received; nothing is encoded again to be verified. A [`Signed`] can be
//! had in two ways only, by signing and by [`Signed::decode`], which verifies: whoever holds one knows that its issuer
//! said it, and that this version understands all of it that must be understood. Whether it is still timely is for the
//! caller, who knows the time.
//!
//! **Later versions.** Of a name every version with a known major is read (of UCAN's tokens those in
//! [`Versions::Exactly`]); fields that aren't known are skipped and stay in the bytes. What must not be skipped the
//! statement calls critical, see [`Statement::critical`]. A statement whose signature holds but which this version can't
//! read, or must not act on, is *not understood*: [`EnvelopeError::fault`] is then [`Fault::Incompatible`], and
//! [`Relayed::decode`] still lets it be passed on.

use std::{cell::Cell, fmt, ops::Deref, sync::Arc};

use cid::Cid;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
    ser::SerializeMap,
};

use crate::{
    cbor::{self, CborError},
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    limits::{MAX_ENVELOPE, MAX_WORD},
    word::Word,
};

/// Varsig v1 header: prefix 0x34, version 1, EdDSA (0xed), Ed25519 curve (0xed), SHA2-512 (0x13), DAG-CBOR (0x71).
/// (ChainAgnostic/varsig, "Signature Algorithm: EdDSA")
const VARSIG_ED25519_DAG_CBOR: [u8; 8] = [0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71];
/// CBOR heads: an array of two, a map of two, an empty byte string, an empty text.
const ARRAY_OF_TWO: u8 = 0x82;
const MAP_OF_TWO: u8 = 0xa2;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const SIGNATURE_LENGTH: usize = 64;

/// The names of all statements that this version reads somewhere.
const NAMES: [&str; 11] = [
    "guilder/acceptance",
    "guilder/advert",
    "guilder/ask",
    "guilder/cancellation",
    "guilder/memory",
    "guilder/offer",
    "guilder/received",
    "guilder/receipt",
    "guilder/withdrawal",
    "ucan/dlg",
    "ucan/inv",
];

/// Which versions of a statement are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// All with the major version of [`Statement::TAG`]: a minor version only adds.
    SameMajor,
    /// These and no other. For what others standardise, where an addition could take authority away.
    Exactly(&'static [&'static str]),
}

/// A payload that can be signed: a delegation, an invocation, or one of Guilder's own statements.
pub trait Statement: Serialize + DeserializeOwned + Clone + fmt::Debug {
    /// The payload's key in the envelope as it is written, `name@version`.
    const TAG: &'static str;
    /// The versions that are read.
    const VERSIONS: Versions = Versions::SameMajor;
    /// The largest envelope, in bytes.
    const MAX_BYTES: usize = MAX_ENVELOPE;

    /// Who says it, and so whose signature must stand on it.
    fn issuer(&self) -> AgentId;

    /// What must hold of the payload by itself, whenever it is read.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// The names in it that whoever acts on it must understand.
    ///
    /// # Errors
    /// The rule that the list breaks, in words.
    fn critical(&self) -> Result<Vec<Word>, &'static str> {
        Ok(Vec::new())
    }

    /// Whether this version understands a critical name.
    fn understands(_name: &str) -> bool {
        false
    }
}

/// A statement whose issuer's signature has been verified over the bytes as they came.
pub struct Signed<T>(Arc<Inner<T>>);

struct Inner<T> {
    payload: T,
    bytes: Box<[u8]>,
    cid: Cid,
}

impl<T: Statement> Signed<T> {
    /// Signs `payload` with `key`.
    ///
    /// # Errors
    /// If the payload breaks its own rules, is over [`Statement::MAX_BYTES`], or names another issuer than `key`.
    pub fn sign(payload: T, key: &AgentKey) -> Result<Self, EnvelopeError> {
        if payload.issuer() != key.id() {
            return Err(EnvelopeError::ForeignKey);
        }
        payload.check().map_err(EnvelopeError::Rule)?;
        let signed_bytes = cbor::encode(&SignedPart { payload: &payload });
        let signature = key.sign(&signed_bytes);
        let mut bytes = Vec::with_capacity(signed_bytes.len() + SIGNATURE_LENGTH + 3);
        bytes.extend_from_slice(&[ARRAY_OF_TWO, 0x58, SIGNATURE_LENGTH as u8]);
        bytes.extend_from_slice(&signature);
        bytes.extend_from_slice(&signed_bytes);
        if bytes.len() > T::MAX_BYTES {
            return Err(EnvelopeError::TooLarge { size: bytes.len(), most: T::MAX_BYTES });
        }
        let cid = cbor::cid_of(&bytes);
        Ok(Self::from_verified(payload, &bytes, cid))
    }

    /// Reads and verifies a signed statement.
    ///
    /// # Errors
    /// If the bytes are over [`Statement::MAX_BYTES`], aren't a canonical envelope of a `T`, break the payload's own rules,
    /// if the signature isn't the issuer's, or if it is not understood.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Unverified::read(bytes)?.verify()
    }

    /// As [`Self::decode`], of bytes that a record of our own store keeps: they were verified before it was written, as [`kept`] says,
    /// and aren't again.
    ///
    /// # Errors
    /// As [`Self::decode`], but for the signature.
    pub fn stored(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        kept(|| Self::read(bytes))
    }

    /// As [`Self::decode`], but the signature isn't verified again in what [`kept`] reads: for what is deserialized.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if !KEPT.get() {
            return Self::decode(bytes);
        }
        Unverified::read(bytes).and_then(Unverified::checked).and_then(Relayed::understood)
    }

    /// What is said.
    pub fn payload(&self) -> &T {
        &self.0.payload
    }

    /// Who said it.
    pub fn issuer(&self) -> AgentId {
        self.0.payload.issuer()
    }

    fn from_verified(payload: T, bytes: &[u8], cid: Cid) -> Self {
        Self(Arc::new(Inner { payload, bytes: bytes.into(), cid }))
    }
}

/// A statement whose issuer's signature has been verified, to be passed on: it may call critical what this version doesn't
/// understand, and then nobody here may act on it.
#[derive(Clone, Debug)]
pub struct Relayed<T>(Signed<T>);

impl<T: Statement> Relayed<T> {
    /// Reads and verifies a signed statement.
    ///
    /// # Errors
    /// As [`Signed::decode`], but critical names need not be understood.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Unverified::read(bytes)?.relay()
    }

    /// What is said, as far as this version reads it.
    pub fn payload(&self) -> &T {
        &self.0
    }

    /// The statement as one that may be acted on.
    ///
    /// # Errors
    /// [`EnvelopeError::Critical`] if this version doesn't understand a name in it that it must.
    pub fn understood(self) -> Result<Signed<T>, EnvelopeError> {
        let critical = self.0.critical().map_err(EnvelopeError::Rule)?;
        match critical.into_iter().find(|name| !T::understands(name.as_str())) {
            Some(name) => Err(EnvelopeError::Critical(name)),
            None => Ok(self.0),
        }
    }
}

/// A statement that decodes, before its signature is looked at. Only for code that must tell the two apart.
pub(crate) struct Unverified<'a, T> {
    payload: T,
    parts: Parts<'a>,
    bytes: &'a [u8],
    cid: Cid,
}

impl<'a, T: Statement> Unverified<'a, T> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > T::MAX_BYTES {
            return Err(EnvelopeError::TooLarge { size: bytes.len(), most: T::MAX_BYTES });
        }
        let parts = Parts::of(bytes).ok_or(EnvelopeError::Shape)?;
        if parts.header != VARSIG_ED25519_DAG_CBOR {
            return Err(EnvelopeError::Algorithm);
        }
        let (name, version) = parts.tag.split_once('@').unwrap_or((parts.tag, ""));
        let (known, written) = T::TAG.split_once('@').unwrap_or((T::TAG, ""));
        if name != known {
            let error = match NAMES.contains(&name) {
                true => EnvelopeError::Misplaced { found: shown(parts.tag), expected: known },
                false => EnvelopeError::Name(shown(parts.tag)),
            };
            return Err(parts.blame(error));
        }
        let is_read = match T::VERSIONS {
            Versions::SameMajor => is_minor_of(version, written),
            Versions::Exactly(versions) => versions.contains(&version),
        };
        if !is_read {
            return Err(parts.blame(EnvelopeError::Version(shown(parts.tag))));
        }
        match cbor::decode(parts.payload) {
            Ok(payload) => Ok(Self { payload, parts, bytes, cid: cbor::cid_of(bytes) }),
            Err(error) if error.is_canonical() && matches!(T::VERSIONS, Versions::Exactly(_)) => {
                Err(parts.blame(EnvelopeError::Foreign(error)))
            }
            Err(error) => Err(EnvelopeError::Encoding(error)),
        }
    }

    pub(crate) fn payload(&self) -> &T {
        &self.payload
    }

    pub(crate) fn cid(&self) -> Cid {
        self.cid
    }

    pub(crate) fn verify(self) -> Result<Signed<T>, EnvelopeError> {
        self.relay()?.understood()
    }

    fn relay(self) -> Result<Relayed<T>, EnvelopeError> {
        self.parts.verify(self.payload.issuer())?;
        self.checked()
    }

    /// All that [`Self::relay`] does but the signature.
    fn checked(self) -> Result<Relayed<T>, EnvelopeError> {
        self.payload.check().map_err(EnvelopeError::Rule)?;
        Ok(Relayed(Signed::from_verified(self.payload, self.bytes, self.cid)))
    }
}

impl<T> Signed<T> {
    /// The envelope as it was signed or received.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The content ID of [`Self::bytes`].
    pub fn cid(&self) -> Cid {
        self.0.cid
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Signed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.payload
    }
}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("cid", &self.0.cid.to_string()).field("payload", &self.0.payload).finish()
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl<T> Eq for Signed<T> {}

/// Serialized as its bytes, so that a stored record keeps exactly what was received.
impl<T> Serialize for Signed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.bytes)
    }
}

/// Verified on the way in, like every other, but in what [`kept`] reads.
impl<'de, T: Statement> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&serde_bytes::ByteBuf::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

thread_local! {
    /// Whether this thread is in [`kept`].
    static KEPT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`, which reads a record of our own store: there is no [`Signed`] in it that wasn't verified before it was written, and
/// whoever can change the store has our keys. What comes from anywhere else is never read so.
pub fn kept<R>(read: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            KEPT.set(self.0);
        }
    }
    let _restore = Restore(KEPT.replace(true));
    read()
}

/// An envelope's parts, as they stand in its bytes. Nothing in them is verified, and the payload is any bytes.
struct Parts<'a> {
    /// Of any length here, so that one of the wrong length is a bad signature and not a bad envelope.
    signature: &'a [u8],
    /// The map, which the signature covers.
    signed: &'a [u8],
    header: &'a [u8],
    tag: &'a str,
    payload: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[ARRAY_OF_TWO])?;
        let (signature, signed) = string(rest, BYTES)?;
        // The map's head and its first key: "h" is shorter than any tag.
        let rest = signed.strip_prefix(&[MAP_OF_TWO, 0x61, b'h'])?;
        let (header, rest) = string(rest, BYTES)?;
        let (tag, payload) = string(rest, TEXT)?;
        Some(Self { signature, signed, header, tag: std::str::from_utf8(tag).ok()?, payload })
    }

    fn verify(&self, issuer: AgentId) -> Result<(), EnvelopeError> {
        let signature = self.signature.try_into().map_err(|_| EnvelopeError::Signature)?;
        issuer.verify(self.signed, signature).map_err(|_| EnvelopeError::Signature)
    }

    /// Whose fault it is that a statement can't be read: what is forged or no DAG-CBOR excuses itself with no version.
    fn blame(&self, otherwise: EnvelopeError) -> EnvelopeError {
        #[derive(Deserialize)]
        struct Anyone {
            iss: AgentId,
        }
        match cbor::decode::<Anyone>(self.payload) {
            Ok(Anyone { iss }) => self.verify(iss).err().unwrap_or(otherwise),
            Err(error) if error.is_canonical() => otherwise,
            Err(error) => error.into(),
        }
    }
}

/// A string of fewer than 256 bytes at the beginning of `bytes`, its head in the shortest form, and what follows.
fn string(bytes: &[u8], major: u8) -> Option<(&[u8], &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let (length, rest) = match head.checked_sub(major)? {
        short @ 0..=23 => (short, rest),
        24 => {
            let (&length, rest) = rest.split_first()?;
            (length >= 24).then_some((length, rest))?
        }
        _ => return None,
    };
    rest.split_at_checked(length.into())
}

/// The tag of an envelope, `name@version`; `None` if the bytes are none. Nothing of it is verified.
pub fn tag_of(bytes: &[u8]) -> Option<&str> {
    Parts::of(bytes).map(|parts| parts.tag)
}

/// Whether `version` is `major.minor.patch` with the major of `written`.
fn is_minor_of(version: &str, written: &str) -> bool {
    let is_number = |part: &str| {
        part.len() < 10 && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let mut parts = version.split('.');
    let major = parts.next().filter(|major| written.split('.').next() == Some(*major));
    let [minor, patch] = [parts.next(), parts.next()];
    let numbers = [major, minor, patch].map(|part| part.is_some_and(|part| !part.is_empty() && is_number(part)));
    numbers == [true; 3] && parts.next().is_none()
}

/// A tag as it may be printed.
fn shown(tag: &str) -> String {
    let end = tag.char_indices().nth(MAX_WORD).map_or(tag.len(), |(at, _)| at);
    cbor::printable(&tag[..end])
}

/// The map that is signed, on the way out.
struct SignedPart<'a, T> {
    payload: &'a T,
}

impl<T: Statement> Serialize for SignedPart<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("h", serde_bytes::Bytes::new(&VARSIG_ED25519_DAG_CBOR))?;
        map.serialize_entry(T::TAG, self.payload)?;
        map.end()
    }
}

/// Why bytes are no valid signed statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than such a statement may be, in bytes.
    #[error("a signed statement of {size} bytes is over the limit of {most}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The most.
        most: usize,
    },
    /// Not `[signature, map]`.
    #[error("not a signed envelope: expected [signature, payload]")]
    Shape,
    /// The payload isn't canonical or isn't of the expected type.
    #[error(transparent)]
    Encoding(#[from] CborError),
    /// Another statement of ours stands where this one belongs.
    #[error("a {found} where a {expected} belongs")]
    Misplaced {
        /// Its tag.
        found: String,
        /// The name that was expected.
        expected: &'static str,
    },
    /// The signature isn't the issuer's over these bytes.
    #[error("the signature is not the issuer's over these bytes")]
    Signature,
    /// The payload breaks a rule of its type.
    #[error("{0}")]
    Rule(&'static str),
    /// Not understood: signed with another algorithm or over another encoding than Ed25519 over DAG-CBOR.
    #[error("not understood: signed with an algorithm other than Ed25519 over DAG-CBOR")]
    Algorithm,
    /// Not understood: a statement that this version doesn't know.
    #[error("not understood: a statement {0}")]
    Name(String),
    /// Not understood: a version of the statement that this one doesn't read.
    #[error("not understood: the version of {0}")]
    Version(String),
    /// Not understood: a token that isn't in the form of the one version of another's standard that is read.
    #[error("not understood: {0}")]
    Foreign(CborError),
    /// Not understood: a name that the statement calls critical.
    #[error("not understood: {0}, which the statement calls critical")]
    Critical(Word),
    /// Asked to sign in another's name.
    #[error("the payload names another issuer than the signing key")]
    ForeignKey,
}

impl AtFault for EnvelopeError {
    fn fault(&self) -> Fault {
        match self {
            Self::ForeignKey => Fault::Ours,
            Self::Algorithm | Self::Name(_) | Self::Version(_) | Self::Foreign(_) | Self::Critical(_) => {
                Fault::Incompatible
            }
            Self::TooLarge { .. }
            | Self::Shape
            | Self::Encoding(_)
            | Self::Misplaced { .. }
            | Self::Signature
            | Self::Rule(_) => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        iss: AgentId,
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        crit: Vec<Word>,
    }

    impl Statement for Note {
        const TAG: &'static str = "guilder/note@1.0.0";

        fn issuer(&self) -> AgentId {
            self.iss
        }

        fn check(&self) -> Result<(), &'static str> {
            if self.text.is_empty() { Err("a note says something") } else { Ok(()) }
        }

        fn critical(&self) -> Result<Vec<Word>, &'static str> {
            Ok(self.crit.clone())
        }

        fn understands(name: &str) -> bool {
            name == "text"
        }
    }

    fn words(text: &str) -> Note {
        Note { iss: key().id(), text: text.into(), crit: Vec::new() }
    }

    /// An envelope as `by` would sign it.
    fn envelope(tag: &str, payload: &ipld_core::ipld::Ipld, by: &AgentKey) -> Vec<u8> {
        let header = ipld_core::ipld::Ipld::Bytes(VARSIG_ED25519_DAG_CBOR.to_vec());
        let map = std::collections::BTreeMap::from([("h", &header), (tag, payload)]);
        let signed = cbor::encode(&map);
        [&[ARRAY_OF_TWO, 0x58, 64][..], &by.sign(&signed), &signed].concat()
    }

    fn key() -> AgentKey {
        AgentKey::from_seed(&[1; 32])
    }

    fn note() -> Signed<Note> {
        Signed::sign(words("hi"), &key()).unwrap()
    }

    #[test]
    fn what_is_signed_reads_back_the_same() {
        let read = Signed::<Note>::decode(note().bytes()).unwrap();
        assert_eq!(read, note());
        assert_eq!(read.cid(), cbor::cid_of(note().bytes()));
        assert_eq!(read.text, "hi");
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let original = note();
        for index in 0..original.bytes().len() {
            for bit in 0..8 {
                let mut bytes = original.bytes().to_vec();
                bytes[index] ^= 1 << bit;
                assert!(Signed::<Note>::decode(&bytes).is_err(), "byte {index}, bit {bit}");
            }
        }
    }

    #[test]
    fn only_what_was_kept_is_read_without_its_signature() {
        let stored = serde_ipld_dagcbor::to_vec(&note()).unwrap();
        let read = |bytes: &[u8]| serde_ipld_dagcbor::from_slice::<Signed<Note>>(bytes);
        assert_eq!((read(&stored).unwrap(), kept(|| read(&stored)).unwrap()), (note(), note()));
        let mut forged = stored;
        // In the signature, which comes first.
        forged[8] ^= 1;
        assert!(kept(|| read(&forged)).is_ok());
        let panicked = std::panic::catch_unwind(|| kept(|| panic!("while it reads")));
        assert!(panicked.is_err() && read(&forged).is_err(), "outside, and after a panic within");
    }

    #[test]
    fn every_truncation_is_refused() {
        let original = note();
        for length in 0..original.bytes().len() {
            assert!(Signed::<Note>::decode(&original.bytes()[..length]).is_err());
        }
        assert!(Signed::<Note>::decode(&[original.bytes(), &[0]].concat()).is_err());
    }

    #[test]
    fn a_payload_is_bound_to_its_tag() {
        #[derive(Clone, Debug, Serialize, Deserialize)]
        struct Other(Note);
        impl Statement for Other {
            const TAG: &'static str = "guilder/other@1.0.0";

            fn issuer(&self) -> AgentId {
                self.0.iss
            }
        }
        let error = Signed::<Other>::decode(note().bytes()).unwrap_err();
        assert_eq!(error, EnvelopeError::Name("guilder/note@1.0.0".into()));
        let ask = envelope("guilder/ask@1.0.0", &ipld_core::ipld!({ "iss": key().id().to_string() }), &key());
        let misplaced = Signed::<Note>::decode(&ask).unwrap_err();
        assert!(matches!(misplaced, EnvelopeError::Misplaced { .. }) && misplaced.fault() == Fault::Peer);
    }

    #[test]
    fn a_minor_version_is_read_and_what_it_adds_is_kept_in_the_bytes() {
        let payload =
            ipld_core::ipld!({ "iss": key().id().to_string(), "text": "hi", "mood": { "is": ["good", 1.5] } });
        for version in ["1.0.0", "1.0.7", "1.12.0"] {
            let bytes = envelope(&format!("guilder/note@{version}"), &payload, &key());
            let read = Signed::<Note>::decode(&bytes).unwrap();
            assert_eq!((read.payload(), read.bytes()), (&words("hi"), &bytes[..]), "{version}");
            let stored: Signed<Note> = cbor::decode(&cbor::encode(&read)).unwrap();
            assert_eq!(stored.bytes(), bytes);
        }
    }

    #[test]
    fn another_version_is_not_understood_unless_it_is_forged() {
        let payload = ipld_core::ipld!({ "iss": key().id().to_string(), "text": 7 });
        for version in
            ["2.0.0", "0.9.0", "1.0", "1.0.0.0", "1.00.0", "1.0.0-rc.1", "01.0.0", "", "1..0", "99999999999.0.0"]
        {
            let tag = format!("guilder/note@{version}");
            let error = Signed::<Note>::decode(&envelope(&tag, &payload, &key())).unwrap_err();
            assert_eq!(
                (&error, error.fault()),
                (&EnvelopeError::Version(tag.clone()), Fault::Incompatible),
                "{version}"
            );
            let forged = envelope(&tag, &payload, &AgentKey::from_seed(&[2; 32]));
            assert_eq!(Signed::<Note>::decode(&forged).unwrap_err(), EnvelopeError::Signature, "{version}");
        }
        let error = Signed::<Note>::decode(&envelope("guilder/note@1.1.0", &payload, &key())).unwrap_err();
        assert!(matches!(error, EnvelopeError::Encoding(_)) && error.fault() == Fault::Peer, "a field of another type");
    }

    #[test]
    fn what_is_critical_must_be_understood_to_act_but_not_to_pass_on() {
        let with = |names: &[&str]| {
            let crit = names.iter().map(|name| name.parse().unwrap()).collect();
            Signed::sign(Note { crit, ..words("hi") }, &key()).unwrap()
        };
        assert!(Signed::<Note>::decode(with(&["text"]).bytes()).is_ok());
        let later = with(&["text", "mood"]);
        let error = Signed::<Note>::decode(later.bytes()).unwrap_err();
        assert_eq!((&error, error.fault()), (&EnvelopeError::Critical("mood".parse().unwrap()), Fault::Incompatible));
        let relayed = Relayed::<Note>::decode(later.bytes()).unwrap();
        assert_eq!(relayed.payload().text, "hi");
        assert_eq!(relayed.understood().unwrap_err(), error);
    }

    #[test]
    fn nobody_signs_in_anothers_name() {
        let other = AgentKey::from_seed(&[2; 32]);
        let foreign = Note { iss: other.id(), ..words("hi") };
        assert_eq!(Signed::sign(foreign, &key()).unwrap_err(), EnvelopeError::ForeignKey);
        assert_eq!(Signed::sign(words(""), &key()).unwrap_err(), EnvelopeError::Rule("a note says something"));
    }

    #[test]
    fn each_statement_that_is_read_somewhere_is_known_by_its_name() {
        use crate::{acceptance, cancellation, market, memory, receipt, received, ucan};
        let tags = [
            <acceptance::Acceptance as Statement>::TAG,
            <market::Advert as Statement>::TAG,
            <market::Ask as Statement>::TAG,
            <cancellation::Cancellation as Statement>::TAG,
            <memory::Memory as Statement>::TAG,
            <market::Offer as Statement>::TAG,
            <received::Received as Statement>::TAG,
            <receipt::Receipt as Statement>::TAG,
            <market::Withdrawal as Statement>::TAG,
            <ucan::Delegation as Statement>::TAG,
            <ucan::Invocation as Statement>::TAG,
        ];
        assert_eq!(tags.map(|tag| tag.split('@').next().unwrap()), NAMES);
    }
}
