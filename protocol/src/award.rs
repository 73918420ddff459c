//! The award: the buyer's signed go-ahead, a UCAN invocation of `/task/award`.
//!
//! `iss` is the buyer, `aud` the seller, `sub` the principal on whose authority the work is done: the buyer itself when
//! it acts for itself, and then `prf` is empty. The arguments fix the deal, so that a third party can hold the award
//! against the offer, the receipt and the delegations.

use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::{
    bytes::{Digest, Nonce},
    envelope::{EnvelopeError, Signed},
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    limits::MAX_CHAIN,
    market::{MintUrl, Offer, ServiceName, Unit},
    settlement::AwardPart,
    time::Timestamp,
    ucan::{Args, Command, Invocation, critical_in},
    word::{Word, fields_of},
};

/// The command that awards a task.
pub const COMMAND: &str = "/task/award";

/// The arguments of an award that don't depend on how it is paid. Those that do are its [`AwardPart`]; on the wire they
/// stand in one map. A later version may add others: policies see them, this version skips them, unless `crit` among them
/// lists one that it must understand. None may ever move money beyond `price` and `spent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwardArgs {
    /// The root ask, copied unchanged into every award beneath it: names the whole task.
    pub task: Cid,
    /// What is to be done.
    pub service: ServiceName,
    /// The ask that the offer answers.
    pub ask: Cid,
    /// The offer that is awarded.
    pub offer: Cid,
    /// The hash of the input, see [`crate::content`].
    pub input: Digest,
    /// The mint of the money.
    pub mint: MintUrl,
    /// Net price.
    pub price: u64,
    /// The unit of `price` and `spent`.
    pub unit: Unit,
    /// All that was awarded or granted on under the leaf delegation, this award included; equal to `price` without a chain.
    pub spent: u64,
    /// The seller; the same as the invocation's audience.
    pub seller: AgentId,
    /// When the delivery must have arrived.
    pub deadline: Timestamp,
    /// The number of delegations in `prf`.
    pub depth: u64,
}

/// A signed award whose arguments have been read and are consistent in themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Award {
    signed: Signed<Invocation>,
    args: AwardArgs,
    part: AwardPart,
    made: Timestamp,
}

impl Award {
    /// Signs an award that is paid as `part` says: `key` is the buyer's, `principal` the root of `prf`, or the buyer itself.
    ///
    /// # Errors
    /// If the arguments contradict themselves or the invocation is too large.
    pub fn sign(
        args: &AwardArgs,
        part: &AwardPart,
        principal: AgentId,
        prf: Vec<Cid>,
        now: Timestamp,
        nonce: Nonce,
        key: &AgentKey,
    ) -> Result<Self, AwardError> {
        let common = Args::from_value(args).map_err(|_| AwardError::Arguments)?;
        let invocation = Invocation {
            iss: key.id(),
            aud: Some(args.seller),
            sub: principal,
            cmd: COMMAND.parse::<Command>().map_err(|_| AwardError::Command)?,
            args: part.write(common).ok_or(AwardError::Arguments)?,
            prf,
            meta: None,
            nonce: serde_bytes::ByteBuf::from(nonce.as_bytes()),
            exp: Some(part.until()),
            iat: Some(now),
            cause: None,
        };
        Self::from_signed(Signed::sign(invocation, key)?)
    }

    /// Reads and verifies an award's envelope, and what its arguments say about each other. Whether it fits the offer,
    /// and whether the chain behind it holds, is checked by [`crate::trade`].
    ///
    /// # Errors
    /// If it isn't a verified invocation of `/task/award` with consistent arguments.
    pub fn decode(bytes: &[u8]) -> Result<Self, AwardError> {
        Self::from_signed(Signed::decode(bytes)?)
    }

    fn from_signed(signed: Signed<Invocation>) -> Result<Self, AwardError> {
        if signed.cmd.as_str() != COMMAND {
            return Err(AwardError::Command);
        }
        // First of all, for a later mode may have other arguments throughout.
        let part = AwardPart::read(&signed.args)?;
        let critical = critical_in(signed.args.get("crit")).map_err(|_| AwardError::Arguments)?;
        let is_known =
            |name: &str| name == "mode" || fields_of::<AwardArgs>().contains(&name) || part.fields().contains(&name);
        if let Some(name) = critical.into_iter().find(|name| !is_known(name.as_str())) {
            return Err(AwardError::Critical(name));
        }
        let args: AwardArgs = signed.args.to_value().map_err(|_| AwardError::Arguments)?;
        if signed.aud != Some(args.seller) || args.seller == signed.iss {
            return Err(AwardError::Audience);
        }
        let depth = signed.prf.len();
        if depth > MAX_CHAIN || args.depth != depth as u64 {
            return Err(AwardError::Depth);
        }
        let for_itself = signed.sub == signed.iss;
        if for_itself != (depth == 0) || (depth > 0 && signed.sub == args.seller) {
            return Err(AwardError::Principal);
        }
        if args.price == 0 || args.spent < args.price || (for_itself && args.spent != args.price) {
            return Err(AwardError::Spent);
        }
        part.check(args.deadline)?;
        // Who reads it later has no other clock, and nothing in the award outlives its money.
        let made = signed.iat.ok_or(AwardError::Dates)?;
        if signed.exp != Some(part.until()) {
            return Err(AwardError::Dates);
        }
        Ok(Self { signed, args, part, made })
    }

    /// The arguments.
    pub fn args(&self) -> &AwardArgs {
        &self.args
    }

    /// How it is paid.
    pub fn part(&self) -> &AwardPart {
        &self.part
    }

    /// The invocation.
    pub fn invocation(&self) -> &Signed<Invocation> {
        &self.signed
    }

    /// The award's content ID: the name of the trade.
    pub fn cid(&self) -> Cid {
        self.signed.cid()
    }

    /// When it was made, by the buyer's clock.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// Who awards.
    pub fn buyer(&self) -> AgentId {
        self.signed.iss
    }

    /// On whose authority.
    pub fn principal(&self) -> AgentId {
        self.signed.sub
    }

    /// Whether the award takes exactly what `offer` offers.
    ///
    /// # Errors
    /// [`AwardError::Offer`] if it departs from it in anything.
    pub fn matches(&self, offer: &Signed<Offer>) -> Result<(), AwardError> {
        let (args, terms) = (&self.args, &offer.body);
        let same = args.offer == offer.cid()
            && args.seller == offer.issuer()
            && self.buyer() == terms.aud
            && args.ask == terms.ask
            && (args.depth > 0 || args.task == terms.ask)
            && args.service == terms.service
            && args.price == terms.price
            && args.unit == terms.unit
            && terms.mints.contains(&args.mint)
            && args.deadline == terms.deadline
            && self.part.takes(&terms.terms);
        if same { Ok(()) } else { Err(AwardError::Offer) }
    }
}

/// Stored as its envelope, and read as any [`Signed`] is.
impl Serialize for Award {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.signed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Award {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_signed(Signed::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What is wrong with an award.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwardError {
    /// The envelope doesn't hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Another command.
    #[error("an award invokes {COMMAND}")]
    Command,
    /// To be paid in a way that this version doesn't know.
    #[error("not understood: the award is to be paid by `{0}`")]
    NotUnderstood(Word),
    /// Not understood: an argument that the award calls critical.
    #[error("not understood: {0}, which the award calls critical")]
    Critical(Word),
    /// Arguments missing or of the wrong type.
    #[error("the award's arguments are not those of {COMMAND}")]
    Arguments,
    /// Not addressed to its seller, or to the buyer itself.
    #[error("an award names its seller as audience and as argument, and the seller is not the buyer")]
    Audience,
    /// Depth and proofs disagree.
    #[error("the award's depth is not its number of delegations, or is over {MAX_CHAIN}")]
    Depth,
    /// Subject and proofs disagree.
    #[error(
        "an award without delegations is on the buyer's own authority, one with them on another's, never the seller's"
    )]
    Principal,
    /// Price and running total disagree.
    #[error("the award's running total is less than its price, or differs from it without a chain")]
    Spent,
    /// Locktime not after the deadline.
    #[error("the award's locktime is not after its deadline")]
    Locktime,
    /// Undated, or with another expiry than its money's.
    #[error("an award says when it was made, and expires when its money falls back")]
    Dates,
    /// Departs from the offer.
    #[error("the award departs from the offer")]
    Offer,
}

impl AtFault for AwardError {
    fn fault(&self) -> Fault {
        match self {
            Self::Envelope(error) => error.fault(),
            Self::NotUnderstood(_) | Self::Critical(_) => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}

#[cfg(test)]
mod tests;
