//! The trade protocol `/guilder/trade/1`: what two agents say to each other.
//!
//! A frame is its length as an unsigned varint and that many bytes of canonical DAG-CBOR, `[kind, body]`. Frames flow one way
//! per stream, so each side opens one; they carry no sequence numbers, because every message names its trade and may be
//! repeated. Before an award a trade is named by the ask's content ID, after it by the award's.
//!
//! | kind | message | from | answered by |
//! |---|---|---|---|
//! | 1 | [`Query`] | anyone | `Advertised`, `NotAdvertised` or `Schema` |
//! | 2 | [`Advertised`] | seller | |
//! | 3 | [`NotAdvertised`] | seller | |
//! | 4 | [`Asked`] | buyer | `Offered` or `Declined` |
//! | 5 | [`Offered`] | seller | |
//! | 6 | [`Declined`] | seller | |
//! | 7 | [`Awarded`] | buyer | `Accepted`, `Refused`, or the trade's last message |
//! | 8 | [`Accepted`] | seller | |
//! | 9 | [`Refused`] | seller | |
//! | 10 | [`Progress`] | seller | |
//! | 11 | [`Delivered`] | seller | |
//! | 12 | [`Status`] | either | by a seller: `Accepted`, once over `Delivered` too, in escrow `Opened` once it is redeemed; or `Unknown`; by a buyer: `Status`, with the receipt if it has one, and `Received` |
//! | 13 | [`Unknown`] | seller | |
//! | 14 | [`Cancel`] | buyer | `Delivered` (the trade's last message), or `Unknown` |
//! | 15 | [`Schema`] | seller | |
//! | 16 | [`Received`] | buyer | |
//! | 17 | [`Release`] | buyer | `Opened`, once the money is redeemed |
//! | 18 | [`Opened`] | seller | |
//!
//! Numbers are never used again. A kind that isn't known is dropped without a penalty, and a field that isn't known is skipped,
//! so that a later minor addition doesn't break older peers; what a receiver must not skip gets
//! a kind of its own. A frame that doesn't decode costs its sender penalty points.

mod reason;

use std::fmt;

use cid::Cid;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess},
    ser::SerializeTuple,
};
use serde_bytes::ByteBuf;

pub use self::reason::Reason;
use crate::{
    cbor::{self, CborError},
    content::ContentId,
    fault::{AtFault, Fault},
    limits::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_ERROR_TEXT, MAX_FRAME, MAX_INLINE, MAX_MODES, MAX_PROOFS, MAX_SCHEMA},
    market::{SchemaHash, ServiceName},
    receipt::Salt,
    seal::SealKey,
    settlement::{Lock, escrow::ReleaseSignature},
    word::{Word, open_choice},
};

/// The protocol's name and version, as negotiated by multistream-select.
pub const PROTOCOL: &str = "/guilder/trade/1";

/// "Show me your advert of this service", or a schema that an advert or offer of yours names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Which service.
    pub service: ServiceName,
    /// The hash of the schema that is wanted; null if the advert is.
    pub schema: Option<SchemaHash>,
}

/// A signed advert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertised {
    /// The [`crate::market::Advert`]'s envelope.
    pub advert: ByteBuf,
}

/// "I don't offer that service."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAdvertised {
    /// Which service.
    pub service: ServiceName,
}

/// A schema of a service, to whoever asked for it by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Which service.
    pub service: ServiceName,
    /// The hash that was asked for.
    pub hash: SchemaHash,
    /// The JSON Schema as text, of at most [`MAX_SCHEMA`] bytes and with that hash; null if there is none.
    pub text: Option<String>,
}

/// A signed ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The [`crate::market::Ask`]'s envelope.
    pub ask: ByteBuf,
}

/// A signed offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The [`crate::market::Offer`]'s envelope.
    pub offer: ByteBuf,
    /// The envelopes of others for the same ask, paid in other ways; at most [`MAX_MODES`]. Not there if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<ByteBuf>,
}

/// "I make no offer."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// The ask.
    pub ask: Cid,
    /// Why.
    pub reason: Reason,
}

/// An award with everything its seller needs to accept it without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awarded {
    /// The award's envelope, see [`crate::award`].
    pub award: ByteBuf,
    /// The offer's envelope, given back: the seller keeps nothing before an award.
    pub offer: ByteBuf,
    /// The ask's envelope, given back too: the seller's record of the trade is then as whole as the buyer's.
    pub ask: ByteBuf,
    /// Envelopes of the delegations in the award's `prf`, in that order.
    pub proofs: Vec<ByteBuf>,
    /// The money.
    pub lock: Lock,
    /// The input, or where it comes from.
    pub input: Payload,
    /// The envelope of the delegation by which the buyer lets the seller subcontract. Not there if it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<ByteBuf>,
}

/// Input or output: in the frame if small, else as content to be fetched from the peer that names it.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// The bytes themselves; at most [`MAX_INLINE`].
    Inline(ByteBuf),
    /// Fetched over `/guilder/content/1` by this hash.
    Content(ContentId),
    /// In a form of a later version: not to be had by this one.
    Other(Word),
}
open_choice!(Payload { "inline" => Inline, "content" => Content });

impl Payload {
    /// The payload's size in bytes, as far as it is known or claimed.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Content(id) => id.size,
            Self::Other(_) => 0,
        }
    }
}

/// What is worked on is the parties' business, so it isn't printed.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Content(id) => write!(f, "Content({id})"),
            Self::Other(form) => write!(f, "Other({form})"),
        }
    }
}

/// "I have recorded the award and work on it."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The award.
    pub award: Cid,
    /// The [`crate::acceptance::Acceptance`]'s envelope.
    pub acceptance: ByteBuf,
}

/// "I don't take the award; I haven't reserved its money and won't."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The award.
    pub award: Cid,
    /// Why.
    pub reason: Reason,
}

/// How far the work is; for people, not for decisions.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The award.
    pub award: Cid,
    /// Parts per thousand, if the service can tell.
    pub permille: Option<u16>,
    /// In words; at most [`MAX_ERROR_TEXT`] bytes.
    pub note: String,
    /// The next words of the output, to be appended to those before; at most [`MAX_ERROR_TEXT`] bytes.
    pub partial: String,
}

/// Shows the size of partial words, never the words.
impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { award, permille, note, partial } = self;
        let partial = partial.len();
        write!(f, "Progress {{ award: {award}, permille: {permille:?}, note: {note:?}, partial: {partial} bytes }}")
    }
}

/// The end of the work: the receipt and, unless it failed, the output in clear (prepaid).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The award.
    pub award: Cid,
    /// The [`crate::receipt::Receipt`]'s envelope.
    pub receipt: ByteBuf,
    /// The output with its salt; null if the receipt says that the work failed, or if it is delivered sealed.
    pub output: Option<Output>,
    /// In escrow: the sealed output, which the receipt names. Not there otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Payload>,
    /// What was signed about work that was passed on: an audit bundle of at most
    /// [`MAX_SUB_EVIDENCE`](crate::limits::MAX_SUB_EVIDENCE) bytes. Not there if none was, or it would be larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<ByteBuf>,
}

/// An output and the salt that its commitment was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The salt.
    pub salt: Salt,
    /// The output.
    pub data: Payload,
}

/// "Where does this award stand?" A seller asks it of a buyer that hasn't said whether it has the output, and, after a restart,
/// whether it has a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The award.
    pub award: Cid,
    /// By a buyer that has one: the [`crate::receipt::Receipt`]'s envelope. A seller whose home was put back to before it signed
    /// that takes it for its own, and signs no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ByteBuf>,
}

/// "I know no such award": it never arrived, or is long over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The award.
    pub award: Cid,
}

/// "Stop working on this award." What has begun is paid for all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The award.
    pub award: Cid,
    /// The [`crate::cancellation::Cancellation`]'s envelope.
    pub cancellation: ByteBuf,
}

/// "I have the output, and it is the one that your receipt commits to." Sent behind, when the trade is over for the buyer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The award.
    pub award: Cid,
    /// The [`crate::received::Received`]'s envelope.
    pub received: ByteBuf,
}

/// "You may have the money that is locked for this award": escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The award.
    pub award: Cid,
    /// One signature of the release key for each proof of the lock, in its order; at most [`MAX_PROOFS`].
    pub signatures: Vec<ReleaseSignature>,
}

/// "This opens what you have": escrow. Sent once the money is redeemed, for the mint shows the key by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The award.
    pub award: Cid,
    /// The key whose hash the award names.
    pub key: SealKey,
}

macro_rules! messages {
    ($($kind:literal $name:ident),* $(,)?) => {
        /// One message of the trade protocol.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = concat!("Kind ", $kind, ": see [`", stringify!($name), "`].")] $name($name),)*
        }

        impl Message {
            /// The message's number on the wire.
            pub fn kind(&self) -> u64 {
                match self { $(Self::$name(_) => $kind,)* }
            }
        }

        impl Serialize for Message {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut tuple = serializer.serialize_tuple(2)?;
                tuple.serialize_element(&self.kind())?;
                match self { $(Self::$name(body) => tuple.serialize_element(body)?,)* }
                tuple.end()
            }
        }

        fn visit_body<'de, A: SeqAccess<'de>>(kind: u64, mut seq: A) -> Result<Frame, A::Error> {
            let message = match kind {
                $($kind => seq.next_element()?.map(Message::$name),)*
                _ => {
                    seq.next_element::<de::IgnoredAny>()?;
                    return Ok(Frame(Err(kind)));
                }
            };
            message.map(|message| Frame(Ok(message))).ok_or_else(|| de::Error::invalid_length(1, &"[kind, body]"))
        }

        $(impl From<$name> for Message {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
}
messages! {
    1 Query, 2 Advertised, 3 NotAdvertised, 4 Asked, 5 Offered, 6 Declined, 7 Awarded, 8 Accepted, 9 Refused,
    10 Progress, 11 Delivered, 12 Status, 13 Unknown, 14 Cancel, 15 Schema, 16 Received,
    17 Release, 18 Opened,
}

impl Message {
    /// The frame's bytes, without the length before them.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] if they are over [`MAX_FRAME`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let bytes = cbor::encode(self);
        if bytes.len() > MAX_FRAME { Err(WireError::TooLarge(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads a frame. The envelopes inside are bytes still: nothing in them is to be believed yet.
    ///
    /// # Errors
    /// If the frame is too large, isn't canonical, or breaks a bound of its message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_FRAME {
            return Err(WireError::TooLarge(bytes.len()));
        }
        let message = cbor::decode::<Frame>(bytes)?.0.map_err(WireError::UnknownKind)?;
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), WireError> {
        let payload = match self {
            Self::Awarded(body) => {
                if body.proofs.len() > MAX_CHAIN || body.proofs.iter().map(|p| p.len()).sum::<usize>() > MAX_CHAIN_BYTES
                {
                    return Err(WireError::Bound("a chain is at most 8 delegations and 16 KiB"));
                }
                Some(&body.input)
            }
            Self::Delivered(body) if body.output.is_some() && body.sealed.is_some() => {
                return Err(WireError::Bound("an output is delivered open or sealed, not both"));
            }
            Self::Delivered(body) => body.output.as_ref().map(|output| &output.data).or(body.sealed.as_ref()),
            Self::Offered(body) if body.also.len() > MAX_MODES => {
                return Err(WireError::Bound("an ask has at most 16 more offers of one seller"));
            }
            Self::Release(body) if body.signatures.len() > MAX_PROOFS => {
                return Err(WireError::Bound("a release is at most 64 signatures"));
            }
            Self::Schema(body) if body.text.as_ref().is_some_and(|text| text.len() > MAX_SCHEMA) => {
                return Err(WireError::Bound("a schema is at most 16 KiB"));
            }
            Self::Progress(body) if body.note.len().max(body.partial.len()) > MAX_ERROR_TEXT => {
                return Err(WireError::Bound("a progress note, and partial words, are at most 1 KiB each"));
            }
            Self::Progress(body) if body.permille.is_some_and(|permille| permille > 1_000) => {
                return Err(WireError::Bound("progress is at most 1000 per thousand"));
            }
            _ => None,
        };
        match payload {
            Some(Payload::Inline(bytes)) if bytes.len() > MAX_INLINE => {
                Err(WireError::Bound("an inline payload is at most 64 KiB"))
            }
            _ => Ok(()),
        }
    }
}

/// A frame of a known kind, or the number of one that isn't.
struct Frame(Result<Message, u64>);

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Frame;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[kind, body]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Frame, A::Error> {
                let kind = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                visit_body(kind, seq)
            }
        }
        deserializer.deserialize_tuple(2, Visitor)
    }
}

/// Why a frame can't be sent or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Larger than [`MAX_FRAME`]; the field is the size in bytes.
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// Not `[kind, body]` in canonical DAG-CBOR.
    #[error(transparent)]
    Encoding(#[from] CborError),
    /// A message of a later version.
    #[error("a message of kind {0}, which this version doesn't know")]
    UnknownKind(u64),
    /// A bound of the message is broken.
    #[error("{0}")]
    Bound(&'static str),
}

impl AtFault for WireError {
    fn fault(&self) -> Fault {
        match self {
            Self::UnknownKind(_) => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests;
