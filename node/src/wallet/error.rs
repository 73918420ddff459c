//! Why the wallet couldn't do it.

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    locks::{KeysetError, LockError},
    market::{MintUrl, Unit},
    settlement::Mode,
};

use super::connector::{ConnectorError, MintTrouble};
use crate::store::StoreError;

/// Why the wallet couldn't do it. Whatever it says, no coin is lost by it: each is in one of the wallet's tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// The mint isn't on the operator's list.
    #[error("the mint {0} is not one of this wallet's")]
    UnknownMint(MintUrl),
    /// The mint lacks what locked money needs.
    #[error("the mint {mint} does not announce {missing}")]
    MintUnfit {
        /// Its URL.
        mint: MintUrl,
        /// The NUTs that it lacks, e.g. `NUT-12`.
        missing: String,
    },
    /// The mint has no keyset in this unit that it signs with.
    #[error("the mint {mint} does not issue {unit}")]
    NoKeyset {
        /// Its URL.
        mint: MintUrl,
        /// The unit.
        unit: Unit,
    },
    /// A mint's keyset isn't what its ID says.
    #[error("the mint {mint} lies about its keysets: {cause}")]
    Keyset {
        /// Its URL.
        mint: MintUrl,
        /// What is wrong.
        cause: KeysetError,
    },
    /// The mint stands in the config file.
    #[error("the mint {0} stands in the config file")]
    MintConfigured(MintUrl),
    /// Removing a mint at which there is money.
    #[error("there is money at the mint {0}")]
    MintInUse(MintUrl),
    /// Money of a mint that the payer runs is the payer's word.
    #[error("the mint {mint} is hosted by {host}, who is party to the trade")]
    PartyMint {
        /// Its URL.
        mint: MintUrl,
        /// Who hosts it.
        host: AgentId,
    },
    /// Not enough to spend.
    #[error("{needed} {unit} are needed at {mint}, {available} can be spent")]
    Insufficient {
        /// The mint.
        mint: MintUrl,
        /// The unit.
        unit: Unit,
        /// What it takes, fees included.
        needed: u64,
        /// What is there.
        available: u64,
    },
    /// The amount can't be made of the keyset's amounts within the bound.
    #[error("{amount} can't be made of at most {max} of the mint's amounts")]
    Amount {
        /// What was to be made.
        amount: u64,
        /// The bound.
        max: usize,
    },
    /// An offer in a mode that this wallet can't pay by.
    #[error("this version can't pay by `{0}`")]
    OtherMode(Mode),
    /// The offer's locktime is further off than this wallet lets its money be locked.
    #[error("the seller asks for money to be locked for longer than two days")]
    LockTooLong,
    /// The mint is down, slow, lies, or refuses.
    #[error(transparent)]
    Mint(#[from] MintTrouble),
    /// The URL can't be a mint's.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// A lock that doesn't hold.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A proof that another trade holds.
    #[error("a proof of this lock already pays for another trade")]
    AlreadyReserved,
    /// Too much unredeemed value at one mint.
    #[error("{max} {unit} unredeemed at one mint is this seller's limit")]
    MintCap {
        /// The limit.
        max: u64,
        /// Its unit.
        unit: Unit,
    },
    /// Too much unredeemed value from one buyer.
    #[error("{max} {unit} unredeemed from one buyer is this seller's limit")]
    BuyerCap {
        /// The limit.
        max: u64,
        /// Its unit.
        unit: Unit,
    },
    /// A trade is paid with one lock.
    #[error("this trade has a lock already")]
    AlreadyDebited,
    /// A lock from the purse that was used meanwhile.
    #[error("the prepared lock is no longer in the purse")]
    LockGone,
    /// Not a token, or none of money that this wallet takes.
    #[error("not a Cashu token that can be received: {0}")]
    Token(&'static str),
    /// A quote that this wallet doesn't know.
    #[error("no mint quote {0} in this wallet")]
    UnknownQuote(String),
    /// A swap whose fate isn't known yet.
    #[error("the mint has not answered yet")]
    Unsettled,
    /// cdk's tables in the store failed.
    #[error("the wallet's database failed: {0}")]
    Database(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for WalletError {
    fn fault(&self) -> Fault {
        match self {
            Self::UnknownMint(_) | Self::MintUnfit { .. } | Self::NoKeyset { .. } | Self::Amount { .. } => {
                Fault::Incompatible
            }
            Self::OtherMode(_) | Self::LockTooLong | Self::MintCap { .. } | Self::BuyerCap { .. } => {
                Fault::Incompatible
            }
            Self::Keyset { .. } | Self::Unsettled => Fault::Mint,
            Self::Database(_) => Fault::Environment,
            Self::PartyMint { .. } | Self::AlreadyReserved => Fault::Peer,
            Self::MintInUse(_) | Self::MintConfigured(_) | Self::Insufficient { .. } => Fault::Ours,
            Self::LockGone | Self::AlreadyDebited => Fault::Ours,
            Self::Token(_) | Self::UnknownQuote(_) => Fault::Ours,
            Self::Mint(error) => error.fault(),
            Self::Connector(error) => error.fault(),
            Self::Lock(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownMint(_) => Some("if you trust it with your money: guilder wallet mints add URL"),
            Self::MintUnfit { .. } => Some("use a mint with spending conditions, DLEQ proofs and restore"),
            Self::MintInUse(_) => Some("spend or send it first: guilder wallet balance shows where it is"),
            Self::MintConfigured(_) => Some("take it out of the config file and restart"),
            Self::Insufficient { .. } => Some("guilder wallet fund AMOUNT"),
            Self::MintCap { .. } | Self::BuyerCap { .. } => Some("try again once it has redeemed"),
            Self::Unsettled => Some("nothing is lost: the node repeats the request until it knows"),
            Self::Token(_) => Some("copy the whole token: it begins with cashuA or cashuB"),
            Self::Mint(error) => error.hint(),
            Self::Connector(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}
