//! An invitation: one line of text that brings a new node into a swarm.
//!
//! ```text
//! guilderinvite1 ‖ base32( DAG-CBOR of the body ‖ first five bytes of its SHA-256 )
//! ```
//!
//! The body names peers to begin with (key and addresses), mints that the inviter accepts (URL and [`MintPin`]), and the unit that
//! is paid in. It holds no secret, grants nothing and isn't signed: whoever can change the message on its way can name others. So
//! whoever accepts one is shown what is in it first.
//!
//! The text survives what chat programs do to text: letters may come in either case, and white space anywhere. The checksum
//! finds what was mistyped or cut off; against intent it is none. Base32 is that of RFC 4648 §6, lower-case and without padding; in
//! upper case a QR code has its short alphanumeric form.
//!
//! **Bounded**: the text by [`MAX_INVITATION`], and each list in it. A later version writes another digit after the prefix where older
//! nodes must not read on, and new fields, which they skip, where they may.

use std::{fmt, str::FromStr};

use data_encoding::{BASE32_NOPAD, DecodeError};
use serde::{Deserialize, Serialize};

use crate::{
    bytes::ByteArray,
    cbor::{self, CborError, sha256},
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{MAX_INVITATION, MAX_INVITED_ADDRESS, MAX_INVITED_ADDRESSES, MAX_INVITED_PEERS, MAX_MINTS},
    locks::Keyset,
    market::{MintUrl, Unit},
};

/// What every invitation begins with; a version's number follows.
const PREFIX: &str = "guilderinvite";
/// This version's number.
const VERSION: &str = "1";
/// Bytes of the checksum: one text in a trillion that was mistyped passes.
const CHECKSUM: usize = 5;

/// By which keys a mint signs: the first half of the SHA-256 over its active keysets, see [`pin`].
pub type MintPin = ByteArray<16>;

/// A verified invitation: within its bounds, with its checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// Peers to begin with.
    pub peers: Vec<InvitedPeer>,
    /// Mints that the inviter accepts.
    pub mints: Vec<InvitedMint>,
    /// What is spent where a command names no unit.
    pub unit: Option<Unit>,
}

/// A peer to begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvitedPeer {
    /// Who.
    pub agent: AgentId,
    /// Multiaddrs as text, without the peer ID. Nothing but their length and characters has been checked.
    pub addresses: Vec<String>,
}

/// A mint that the inviter accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvitedMint {
    /// Where.
    pub url: MintUrl,
    /// By which keys it signed when the invitation was made, if the inviter knew.
    pub pin: Option<MintPin>,
}

/// The body as it travels. What later versions add is skipped.
#[derive(Serialize, Deserialize)]
struct Body {
    /// Mints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    m: Vec<MintBody>,
    /// Peers.
    p: Vec<PeerBody>,
    /// Unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<Unit>,
}

#[derive(Serialize, Deserialize)]
struct MintBody {
    /// Pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<MintPin>,
    /// URL.
    u: MintUrl,
}

#[derive(Serialize, Deserialize)]
struct PeerBody {
    /// Addresses.
    a: Vec<String>,
    /// Key.
    i: ByteArray<32>,
}

impl Invitation {
    /// Holds it to its bounds.
    ///
    /// # Errors
    /// If it names no peer, a peer without an address, or too many or too long ones of something.
    pub fn check(&self) -> Result<(), InvitationError> {
        if self.peers.is_empty() || self.peers.iter().any(|peer| peer.addresses.is_empty()) {
            return Err(InvitationError::NoPeers);
        }
        let too_many = self.peers.len() > MAX_INVITED_PEERS
            || self.peers.iter().any(|peer| peer.addresses.len() > MAX_INVITED_ADDRESSES)
            || self.mints.len() > MAX_MINTS;
        if too_many {
            return Err(InvitationError::TooMany);
        }
        let is_address = |text: &String| {
            text.starts_with('/')
                && text.len() <= MAX_INVITED_ADDRESS
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match self.peers.iter().flat_map(|peer| &peer.addresses).all(is_address) {
            true => Ok(()),
            false => Err(InvitationError::Address),
        }
    }

    /// The text in upper case, whose QR code is the smallest.
    pub fn for_qr(&self) -> String {
        self.to_string().to_ascii_uppercase()
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = |peer: &InvitedPeer| PeerBody { a: peer.addresses.clone(), i: (*peer.agent.as_bytes()).into() };
        let mint = |mint: &InvitedMint| MintBody { k: mint.pin, u: mint.url.clone() };
        let body = Body {
            m: self.mints.iter().map(mint).collect(),
            p: self.peers.iter().map(peer).collect(),
            u: self.unit.clone(),
        };
        let mut bytes = cbor::encode(&body);
        bytes.extend_from_slice(&checksum(&bytes));
        write!(f, "{PREFIX}{VERSION}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        // White space may have come in anywhere; what it makes of a text is bounded too.
        if text.len() > 2 * MAX_INVITATION {
            return Err(InvitationError::TooLong);
        }
        let text: String = text.split_ascii_whitespace().collect::<String>().to_ascii_lowercase();
        let rest = text.strip_prefix(PREFIX).ok_or(InvitationError::None)?;
        if text.len() > MAX_INVITATION {
            return Err(InvitationError::TooLong);
        }
        let rest = match rest.strip_prefix(VERSION) {
            Some(rest) => rest,
            None if rest.starts_with(|c: char| c.is_ascii_digit()) => return Err(InvitationError::Later),
            None => return Err(InvitationError::Damaged),
        };
        let bytes = BASE32_NOPAD.decode(rest.to_ascii_uppercase().as_bytes());
        let bytes = bytes.map_err(|DecodeError { .. }| InvitationError::Damaged)?;
        let (body, sum) =
            bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM)).ok_or(InvitationError::Damaged)?;
        if sum != checksum(body) {
            return Err(InvitationError::Damaged);
        }
        let Body { m, p, u } = cbor::decode(body)?;
        let peer = |PeerBody { a, i }| InvitedPeer { agent: AgentId::from_bytes(*i.as_bytes()), addresses: a };
        let invitation = Self {
            peers: p.into_iter().map(peer).collect(),
            mints: m.into_iter().map(|MintBody { k, u }| InvitedMint { url: u, pin: k }).collect(),
            unit: u,
        };
        invitation.check()?;
        Ok(invitation)
    }
}

/// Whether a text is meant to be an invitation, whole or not.
pub fn is_meant(text: &str) -> bool {
    text.trim_start().get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&sha256(body)[..CHECKSUM]);
    sum
}

/// The pin of a mint that signs with these keysets: one hash over all of them, in whatever order they come. Where one is added,
/// taken away or another, it is another pin: a mint that lists somebody else's keysets beside its own doesn't have theirs.
pub fn pin<'a>(active: impl IntoIterator<Item = &'a Keyset>) -> MintPin {
    let mut parts: Vec<Vec<u8>> = active.into_iter().map(keys_of).collect();
    parts.sort_unstable();
    parts.dedup();
    let mut hashed = b"guilder/mint-pin/1".to_vec();
    for part in parts {
        hashed.extend_from_slice(&sha256(&part));
    }
    let mut pin = [0; 16];
    pin.copy_from_slice(&sha256(&hashed)[..16]);
    pin.into()
}

/// All that makes a keyset what it is, in one text: unit, then each amount and its key.
fn keys_of(keyset: &Keyset) -> Vec<u8> {
    let mut bytes = keyset.unit().as_str().as_bytes().to_vec();
    bytes.push(0);
    for (amount, key) in keyset.keys().iter() {
        bytes.extend_from_slice(&amount.to_u64().to_be_bytes());
        bytes.extend_from_slice(&key.to_bytes());
    }
    bytes
}

/// Why a text is no invitation that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It doesn't begin like one.
    #[error("no invitation: one begins with guilderinvite1")]
    None,
    /// Longer than any.
    #[error("longer than an invitation can be ({MAX_INVITATION} characters)")]
    TooLong,
    /// Mistyped, cut off, or with characters that don't belong there.
    #[error("the invitation is damaged: a part of it is missing or changed")]
    Damaged,
    /// Of a later version.
    #[error("the invitation is of a later version than this one understands")]
    Later,
    /// Its content isn't what one is made of.
    #[error("the invitation can't be read: {0}")]
    Content(#[from] CborError),
    /// Nobody is in it.
    #[error("the invitation names nobody to begin with")]
    NoPeers,
    /// More than its bounds allow.
    #[error(
        "the invitation names more than {MAX_INVITED_PEERS} peers, {MAX_INVITED_ADDRESSES} addresses of one, or {MAX_MINTS} mints"
    )]
    TooMany,
    /// An address that can be none.
    #[error("the invitation holds an address that is none")]
    Address,
}

impl AtFault for InvitationError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::None | Self::Damaged | Self::TooLong => {
                "copy the whole line that `guilder invite` printed, from its first letter to its last"
            }
            Self::Later => "use a newer version of Guilder, or ask for the address of a node: --join MULTIADDR",
            Self::Content(_) | Self::NoPeers | Self::TooMany | Self::Address => {
                "whoever made it didn't do so with `guilder invite`: don't trust it"
            }
        })
    }
}

#[cfg(test)]
mod tests;
