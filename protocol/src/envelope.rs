//! The one envelope for every signed thing: UCAN 1.0's (ucan-wg/spec, "Envelope").
//!
//! ```text
//! [ signature, { "h": varsig header, "<tag>@<version>": payload } ]        canonical DAG-CBOR
//! ```
//!
//! The signature covers the bytes of the map as received; nothing is encoded again to be verified. A [`Signed`] can be
//! had in two ways only, by signing and by [`Signed::decode`], which verifies: whoever holds one knows that its issuer
//! said it. Whether it is still timely is for the caller, who knows the time.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use cid::Cid;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, DeserializeSeed, MapAccess},
    ser::SerializeMap,
};

use crate::{
    cbor::{self, CborError},
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    limits::MAX_ENVELOPE,
};

/// Varsig v1 header: prefix 0x34, version 1, EdDSA (0xed), Ed25519 curve (0xed), SHA2-512 (0x13), DAG-CBOR (0x71).
/// (ChainAgnostic/varsig, "Signature Algorithm: EdDSA")
const VARSIG_ED25519_DAG_CBOR: [u8; 8] = [0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71];
/// CBOR head of an array of two.
const ARRAY_OF_TWO: u8 = 0x82;
const SIGNATURE_LENGTH: usize = 64;

/// A payload that can be signed: a delegation, an invocation, or one of Guilder's own statements.
pub trait Statement: Serialize + DeserializeOwned + Clone + fmt::Debug {
    /// The payload's key in the envelope, `name@version`.
    const TAG: &'static str;

    /// Who says it, and so whose signature must stand on it.
    fn issuer(&self) -> AgentId;

    /// What must hold of the payload by itself, whenever it is read.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
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
    /// If the payload breaks its own rules, is over [`MAX_ENVELOPE`], or names another issuer than `key`.
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
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let cid = cbor::cid_of(&bytes);
        Ok(Self::from_verified(payload, &bytes, cid))
    }

    /// Reads and verifies a signed statement.
    ///
    /// # Errors
    /// If the bytes are over [`MAX_ENVELOPE`], aren't a canonical envelope of a `T`, break the payload's own rules, or
    /// if the signature isn't the issuer's.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Unverified::read(bytes)?.verify()
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

/// A statement that decodes, before its signature is looked at. Only for code that must tell the two apart.
pub(crate) struct Unverified<'a, T> {
    payload: T,
    signature: &'a [u8],
    signed_bytes: &'a [u8],
    bytes: &'a [u8],
    cid: Cid,
}

impl<'a, T: Statement> Unverified<'a, T> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let (signature, signed_bytes) = split(bytes).ok_or(EnvelopeError::Shape)?;
        let Received { header, payload } = cbor::decode::<Received<T>>(signed_bytes)?;
        if !header.is_ours {
            return Err(EnvelopeError::Algorithm);
        }
        Ok(Self { payload, signature, signed_bytes, bytes, cid: cbor::cid_of(bytes) })
    }

    pub(crate) fn payload(&self) -> &T {
        &self.payload
    }

    pub(crate) fn cid(&self) -> Cid {
        self.cid
    }

    pub(crate) fn verify(self) -> Result<Signed<T>, EnvelopeError> {
        let signature = self.signature.try_into().map_err(|_| EnvelopeError::Signature)?;
        self.payload.issuer().verify(self.signed_bytes, signature).map_err(|_| EnvelopeError::Signature)?;
        self.payload.check().map_err(EnvelopeError::Rule)?;
        Ok(Signed::from_verified(self.payload, self.bytes, self.cid))
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

/// Verified on the way in, like every other.
impl<'de, T: Statement> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(de::Error::custom)
    }
}

/// The signature and the bytes that it covers. The signature may have any length here, so that one of the wrong
/// length is reported as a bad signature and not as a bad encoding.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[ARRAY_OF_TWO, head], rest) = bytes.split_first_chunk::<2>()? else { return None };
    let (length, rest) = match head {
        0x40..=0x57 => (usize::from(head - 0x40), rest),
        0x58 => {
            let (&length, rest) = rest.split_first()?;
            if length < 24 {
                return None;
            }
            (usize::from(length), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
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

/// The map that is signed, on the way in: exactly the header and one payload under `T`'s tag.
struct Received<T> {
    header: Header,
    payload: T,
}

impl<'de, T: Statement> Deserialize<'de> for Received<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReceivedVisitor(PhantomData))
    }
}

struct ReceivedVisitor<T>(PhantomData<T>);

impl<'de, T: Statement> de::Visitor<'de> for ReceivedVisitor<T> {
    type Value = Received<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of \"h\" and \"{}\"", T::TAG)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Received<T>, A::Error> {
        map.next_key_seed(Key("h"))?.ok_or_else(|| de::Error::missing_field("h"))?;
        let header = map.next_value()?;
        map.next_key_seed(Key(T::TAG))?.ok_or_else(|| de::Error::missing_field(T::TAG))?;
        let payload = map.next_value()?;
        if map.next_key::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::custom("a signed payload has two keys"));
        }
        Ok(Received { header, payload })
    }
}

/// Expects one key.
struct Key(&'static str);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl de::Visitor<'_> for Key {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, found: &str) -> Result<(), E> {
        if found == self.0 {
            return Ok(());
        }
        Err(E::custom(format_args!("expected the key {}, found {found:.40}", self.0)))
    }
}

/// The varsig header.
struct Header {
    is_ours: bool,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a varsig header")
            }

            fn visit_bytes<E: de::Error>(self, header: &[u8]) -> Result<Header, E> {
                Ok(Header { is_ours: header == VARSIG_ED25519_DAG_CBOR })
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Why bytes are no valid signed statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than [`MAX_ENVELOPE`]; the field is the size in bytes.
    #[error("a signed statement of {0} bytes is over the limit of {MAX_ENVELOPE}")]
    TooLarge(usize),
    /// Not `[signature, map]`.
    #[error("not a signed envelope: expected [signature, payload]")]
    Shape,
    /// The payload isn't canonical or isn't of the expected type.
    #[error(transparent)]
    Encoding(#[from] CborError),
    /// Signed with another algorithm or over another encoding than Ed25519 over DAG-CBOR.
    #[error("signed with an algorithm other than Ed25519 over DAG-CBOR")]
    Algorithm,
    /// The signature isn't the issuer's over these bytes.
    #[error("the signature is not the issuer's over these bytes")]
    Signature,
    /// The payload breaks a rule of its type.
    #[error("{0}")]
    Rule(&'static str),
    /// Asked to sign in another's name.
    #[error("the payload names another issuer than the signing key")]
    ForeignKey,
}

impl AtFault for EnvelopeError {
    fn fault(&self) -> Fault {
        match self {
            Self::ForeignKey => Fault::Ours,
            Self::Algorithm => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        iss: AgentId,
        text: String,
    }

    impl Statement for Note {
        const TAG: &'static str = "guilder/note@1.0.0";

        fn issuer(&self) -> AgentId {
            self.iss
        }

        fn check(&self) -> Result<(), &'static str> {
            if self.text.is_empty() { Err("a note says something") } else { Ok(()) }
        }
    }

    fn key() -> AgentKey {
        AgentKey::from_seed(&[1; 32])
    }

    fn note() -> Signed<Note> {
        Signed::sign(Note { iss: key().id(), text: "hi".into() }, &key()).unwrap()
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
        assert!(matches!(Signed::<Other>::decode(note().bytes()), Err(EnvelopeError::Encoding(_))));
    }

    #[test]
    fn nobody_signs_in_anothers_name() {
        let other = AgentKey::from_seed(&[2; 32]);
        let foreign = Note { iss: other.id(), text: "hi".into() };
        assert_eq!(Signed::sign(foreign, &key()).unwrap_err(), EnvelopeError::ForeignKey);
        assert_eq!(
            Signed::sign(Note { iss: key().id(), text: String::new() }, &key()).unwrap_err(),
            EnvelopeError::Rule("a note says something")
        );
    }
}
