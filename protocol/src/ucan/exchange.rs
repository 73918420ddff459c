//! `/guilder/grants/1`: how an agent hears of revocations that it missed, and gets a grant that was made to it.
//!
//! ```text
//! caller                                            answerer
//!    |-- Request known: digest of all it knows ------->|
//!    |<-- Reply known: null, or the IDs of all --------|     null: the same
//!    |-- Request give: IDs that it lacks ------------->|
//!    |<-- Reply revocations: as many as fit -----------|
//!    |-- Request grant: delegations, root first ------>|
//!    |<-- Reply granted: its content ID, or refused ---|
//! ```
//!
//! The caller opens a stream, and the answerer answers each request before it reads the next. A frame is its length as u32
//! big-endian, at most [`MAX_EXCHANGE_FRAME`], and that many bytes of canonical DAG-CBOR. A request in a form that isn't
//! known is refused as *not understood*, and the stream goes on.
//!
//! What is known is compared by [`RevocationId`]s: a peer that knows the same costs a hundred bytes.

use cid::Cid;
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use super::Revocation;
use crate::{
    bytes::{ByteArray, Digest},
    identity::AgentId,
    limits::MAX_KNOWN_REVOCATIONS,
    word::{Word, open_choice, open_words},
};

/// The name of the protocol on the network.
pub const PROTOCOL: &str = "/guilder/grants/1";

/// Which revocation: the first 16 bytes of SHA-256 over the revoker's 32 bytes and the delegation's content ID. However
/// often somebody revokes the same delegation, it is one revocation.
pub type RevocationId = ByteArray<16>;

/// The ID of a revocation.
pub fn revocation_id(revoker: AgentId, delegation: &Cid) -> RevocationId {
    let hash = Sha256::new().chain_update(revoker.as_bytes()).chain_update(delegation.to_bytes()).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    ByteArray(id)
}

impl Revocation {
    /// Its ID in an exchange.
    pub fn id(&self) -> RevocationId {
        revocation_id(self.revoker(), &self.delegation())
    }
}

/// The digest of all that somebody knows: SHA-256 over the IDs in order, back to back.
pub fn digest_of<'a>(ids: impl IntoIterator<Item = &'a RevocationId>) -> Digest {
    let mut hash = Sha256::new();
    ids.into_iter().for_each(|id| hash.update(id.as_bytes()));
    ByteArray(hash.finalize().into())
}

/// What a caller asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// "Which revocations do you know? I know those of this digest."
    Known(Digest),
    /// "Give me these": IDs back to back, see [`Ids`].
    Give(ByteBuf),
    /// "This is granted to you": the envelopes of the delegations, root first.
    Grant(Vec<ByteBuf>),
    /// A request of a later version.
    Other(Word),
}
open_choice!(Request { "known" => Known, "give" => Give, "grant" => Grant });

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The IDs of all that is known, back to back and in order, see [`Ids`]; null if they are the caller's.
    Known(Option<ByteBuf>),
    /// Revocations, each as [`Revocation::encode`] writes it: of those asked for, what is known and fits.
    Revocations(Vec<ByteBuf>),
    /// The grant is kept; its content ID.
    Granted(Cid),
    /// No.
    Refused(Refusal),
    /// A reply of a later version.
    Other(Word),
}
open_choice!(Reply { "known" => Known, "revocations" => Revocations, "granted" => Granted, "refused" => Refused });

open_words! {
    /// Why a request is refused.
    pub enum Refusal {
        /// Too much was asked of late; ask again later.
        "busy" => Busy,
        /// It is in a form that isn't known.
        "not-understood" => NotUnderstood,
        /// The grant is no grant to the receiver, or doesn't hold.
        "bad-grant" => BadGrant,
        /// The receiver keeps as many grants as it will, of this peer or in all.
        "full" => Full,
    }
}

/// IDs as they stand in a frame, back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(pub Vec<RevocationId>);

impl Ids {
    /// From the bytes in a frame; `None` if they are no IDs, or more than [`MAX_KNOWN_REVOCATIONS`].
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (ids, rest) = bytes.as_chunks::<16>();
        let fits = rest.is_empty() && ids.len() <= MAX_KNOWN_REVOCATIONS;
        fits.then(|| Self(ids.iter().map(|id| ByteArray(*id)).collect()))
    }

    /// As they stand in a frame.
    pub fn write(&self) -> ByteBuf {
        ByteBuf::from(self.0.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cbor;

    #[test]
    fn frames_have_these_bytes() {
        let id = revocation_id(AgentId::from_bytes([1; 32]), &cbor::cid_of(b"link"));
        let id_text = hex::encode(id.as_bytes());
        assert_eq!(id_text, "623d886f2ddd599ab4dab89b633d559b");
        let digest = digest_of([&id]);
        for (bytes, text) in [
            (cbor::encode(&Request::Known(digest)), format!("a1656b6e6f776e5820{digest}")),
            (cbor::encode(&Request::Give(Ids(vec![id]).write())), format!("a16467697665{}{id_text}", 50)),
            (cbor::encode(&Request::Grant(vec![ByteBuf::from([7])])), "a1656772616e74814107".to_owned()),
            (cbor::encode(&Reply::Known(None)), "a1656b6e6f776ef6".to_owned()),
            (cbor::encode(&Reply::Known(Some(Ids(vec![id]).write()))), format!("a1656b6e6f776e{}{id_text}", 50)),
            (cbor::encode(&Reply::Revocations(vec![])), "a16b7265766f636174696f6e7380".to_owned()),
            (cbor::encode(&Reply::Refused(Refusal::Busy)), "a1677265667573656464".to_owned() + "62757379"),
        ] {
            assert_eq!(hex::encode(bytes), text);
        }
    }

    #[test]
    fn what_a_later_version_asks_or_answers_is_read_as_such() {
        let later = cbor::encode(&std::collections::BTreeMap::from([("later", 1)]));
        assert_eq!(cbor::decode::<Request>(&later).unwrap(), Request::Other("later".parse().unwrap()));
        assert_eq!(cbor::decode::<Reply>(&later).unwrap(), Reply::Other("later".parse().unwrap()));
    }

    #[test]
    fn ids_are_read_as_they_were_written_and_not_cut_short_nor_too_many() {
        let ids = Ids((0..3).map(|number| ByteArray([number; 16])).collect());
        assert_eq!(Ids::read(&ids.write()), Some(ids.clone()));
        assert_eq!(Ids::read(&ids.write()[1..]), None);
        assert_eq!(Ids::read(&vec![0; 16 * (MAX_KNOWN_REVOCATIONS + 1)]), None);
        assert_eq!(digest_of(&ids.0), digest_of(&Ids::read(&ids.write()).unwrap().0));
    }
}
