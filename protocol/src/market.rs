//! The market's statements: a seller's [`Advert`] and its [`Withdrawal`], a buyer's [`Ask`], a seller's [`Offer`].
//!
//! ```text
//! seller  Advert ------------> anyone     what I do, for how much            (provider records, gossip)
//! buyer   Ask ---------------> seller     who does this, by then, for that?
//! seller  Offer -------------> buyer      I do, on these terms; binding until it expires
//! ```
//!
//! Prices are net: what the seller keeps after the mint's input fees. An amount is a `u64` in its [`Unit`].

pub mod choice;
mod names;

use cid::Cid;
use serde::{Deserialize, Serialize};

pub use self::names::{MintUrl, NameError, ServiceName, Unit};
use crate::{
    bytes::{ByteArray, Digest},
    cbor,
    claim::{Body, Claim},
    identity::AgentId,
    limits::{
        MAX_ADVERT_SECS, MAX_ANNOUNCEMENT, MAX_ASK_SECS, MAX_DESCRIPTION, MAX_MINTS, MAX_MODES, MAX_OFFER_SECS,
        MAX_PROOFS,
    },
    settlement::{Mode, Terms},
    time::Timestamp,
};

/// The name of a JSON Schema: the SHA-256 of its text, byte for byte as its seller wrote it.
pub type SchemaHash = Digest;

/// The hash of a JSON Schema's text.
pub fn schema_hash(text: &str) -> SchemaHash {
    ByteArray(cbor::sha256(text.as_bytes()))
}

/// A seller's public statement of a service.
pub type Advert = Claim<AdvertBody>;
/// A seller's statement that an advert no longer holds.
pub type Withdrawal = Claim<WithdrawalBody>;
/// What a buyer wants.
pub type Ask = Claim<AskBody>;
/// A seller's binding answer to one ask.
pub type Offer = Claim<OfferBody>;

/// See [`Advert`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertBody {
    /// The service's name.
    pub service: ServiceName,
    /// What it does, for people; at most [`MAX_DESCRIPTION`] bytes.
    pub description: String,
    /// Net price of one task.
    pub price: u64,
    /// The unit of `price`.
    pub unit: Unit,
    /// The mints whose ecash is taken, in order of preference; 1 to [`MAX_MINTS`].
    pub mints: Vec<MintUrl>,
    /// The ways to pay, in order of preference; 1 to [`MAX_MODES`].
    pub modes: Vec<Mode>,
    /// The JSON Schema that the input satisfies; null if any bytes are taken. The seller gives it by its hash.
    pub input: Option<SchemaHash>,
    /// The JSON Schema that the output will satisfy; null if it can be any bytes.
    pub output: Option<SchemaHash>,
    /// Largest input taken, in bytes.
    pub max_input: u64,
    /// Largest output given, in bytes.
    pub max_output: u64,
    /// Longest that one task works, in seconds.
    pub time_limit: u64,
}

impl Body for AdvertBody {
    const MAX_BYTES: usize = MAX_ANNOUNCEMENT;
    const MAX_LIFETIME: Option<u64> = Some(MAX_ADVERT_SECS);
    const TAG: &'static str = "guilder/advert@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        if self.description.len() > MAX_DESCRIPTION {
            return Err("an advert's description is too long");
        }
        if self.price == 0 {
            return Err("a price is at least 1");
        }
        check_modes(&self.modes)?;
        check_mints(&self.mints)
    }
}

/// See [`Withdrawal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalBody {
    /// The service that is withdrawn.
    pub service: ServiceName,
    /// Adverts of it made up to this moment no longer hold.
    pub until: Timestamp,
}

impl Body for WithdrawalBody {
    const MAX_BYTES: usize = MAX_ANNOUNCEMENT;
    const MAX_LIFETIME: Option<u64> = Some(MAX_ADVERT_SECS);
    const TAG: &'static str = "guilder/withdrawal@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// See [`Ask`]. The content ID of the root ask names the whole task, in every award beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskBody {
    /// The service wanted.
    pub service: ServiceName,
    /// The most that is paid, net.
    pub max_price: u64,
    /// The unit of `max_price`.
    pub unit: Unit,
    /// Mints at which the buyer holds or can get ecash; 1 to [`MAX_MINTS`].
    pub mints: Vec<MintUrl>,
    /// Ways the buyer is willing to pay; 1 to [`MAX_MODES`].
    pub modes: Vec<Mode>,
    /// Size of the input, in bytes.
    pub input_size: u64,
    /// When the delivery must have arrived.
    pub deadline: Timestamp,
}

impl Body for AskBody {
    const MAX_LIFETIME: Option<u64> = Some(MAX_ASK_SECS);
    const TAG: &'static str = "guilder/ask@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        check_modes(&self.modes)?;
        check_mints(&self.mints)
    }
}

/// See [`Offer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferBody {
    /// The buyer that it binds the seller to.
    pub aud: AgentId,
    /// The ask that it answers.
    pub ask: Cid,
    /// The service, as asked.
    pub service: ServiceName,
    /// Net price.
    pub price: u64,
    /// The unit of `price`.
    pub unit: Unit,
    /// The mints whose ecash is taken, in order of preference; those of the ask that the seller accepts.
    pub mints: Vec<MintUrl>,
    /// How it is to be paid.
    pub terms: Terms,
    /// Most proofs that the lock may consist of; each costs the seller a swap input.
    pub max_proofs: u64,
    /// When the seller will have delivered, if awarded before the offer expires. Not after the ask's deadline.
    pub deadline: Timestamp,
    /// The JSON Schema that the input must satisfy; null if any bytes are taken.
    pub input: Option<SchemaHash>,
    /// The JSON Schema that the output will satisfy; null if it can be any bytes. An output under the receipt of this trade
    /// that doesn't is shown to be invalid by the offer, the schema and the output alone.
    pub output: Option<SchemaHash>,
}

impl Body for OfferBody {
    const MAX_LIFETIME: Option<u64> = Some(MAX_OFFER_SECS);
    const TAG: &'static str = "guilder/offer@1.0.0";

    fn check(&self) -> Result<(), &'static str> {
        if self.price == 0 {
            return Err("a price is at least 1");
        }
        if !(1..=MAX_PROOFS as u64).contains(&self.max_proofs) {
            return Err("an offer's max_proofs is out of bounds");
        }
        self.terms.check(self.deadline)?;
        check_mints(&self.mints)
    }
}

fn check_modes(modes: &[Mode]) -> Result<(), &'static str> {
    if modes.is_empty() || modes.len() > MAX_MODES {
        Err("between 1 and 16 ways to pay are named")
    } else if !distinct(modes) {
        Err("a way to pay is named twice")
    } else {
        Ok(())
    }
}

fn check_mints(mints: &[MintUrl]) -> Result<(), &'static str> {
    if mints.is_empty() || mints.len() > MAX_MINTS {
        Err("between 1 and 8 mints are named")
    } else if !distinct(mints) {
        Err("a mint is named twice")
    } else {
        Ok(())
    }
}

fn distinct<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))
}
