//! Why the wallet couldn't do it.

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    locks::{KeysetError, LockError},
    market::{MintUrl, Unit},
    settlement::Mode,
};

use super::{
    connector::{ConnectorError, MintTrouble},
    records::SentState,
};
use crate::store::StoreError;

/// Why the wallet couldn't do it. Whatever it says, no coin is lost by it: each is in one of the wallet's
/// tables.
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
    /// A mint that is met for the first time, with other keys than the settings have for it.
    #[error(
        "the mint {0} signs with other keys than those that it was pinned to: it has changed them since, or another answers there"
    )]
    Pinned(MintUrl),
    /// The mint stands in the config file.
    #[error("the mint {0} stands in the config file")]
    MintConfigured(MintUrl),
    /// Removing a mint at which there is money.
    #[error("there is money at the mint {0}, or on its way there or from there")]
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
    /// What is to be paid is no invoice that can be.
    #[error("this Lightning invoice can't be paid: {0}")]
    Invoice(&'static str),
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
    /// Too much in a seller's hands in advance.
    #[error("more than {max} {unit} would be in the seller's hands in advance, which it hasn't earned")]
    AdvanceCap {
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
    /// Not a token.
    #[error("not a Cashu token that can be received: {0}")]
    Token(&'static str),
    /// A token that can be read, and that this wallet can't take.
    #[error("this token can't be received: {0}")]
    TokenUnfit(&'static str),
    /// A token that its mint has not signed.
    #[error("this token is forged: its mint has not signed it")]
    Forged,
    /// A token that its mint refuses for good.
    #[error("the mint {mint} refuses this token: {reason}")]
    TokenRefused {
        /// The mint.
        mint: MintUrl,
        /// In the mint's words.
        reason: String,
    },
    /// A token that this wallet took before.
    #[error("this wallet has received this token before")]
    ReceivedBefore,
    /// A token that costs as much to receive as it is worth.
    #[error("a token of {amount} {unit} would cost its receiver {fee} {unit} in the mint's fees")]
    WorthItsFee {
        /// What was to be sent.
        amount: u64,
        /// What the mint keeps when it is received.
        fee: u64,
        /// The unit.
        unit: Unit,
    },
    /// No token that was sent has this ID, or several begin with it.
    #[error("no single token sent has an ID that begins with {0:?}")]
    UnknownToken(String),
    /// A token that can't be reclaimed any more.
    #[error("the token {id} was {}", if *state == SentState::Reclaimed { "reclaimed before" } else { "spent by its receiver" })]
    TokenGone {
        /// Its ID.
        id: String,
        /// What became of it.
        state: SentState,
    },
    /// A quote that this wallet doesn't know.
    #[error("no mint quote {0} in this wallet")]
    UnknownQuote(String),
    /// A quote whose money another copy of this wallet got.
    #[error("the money of the mint quote {0} went to another copy of this wallet")]
    IssuedElsewhere(String),
    /// A mint that says another time than this machine.
    #[error("this machine's clock is {} s {} that of the mint {mint}", ahead_secs.unsigned_abs(), if *ahead_secs > 0 { "ahead of" } else { "behind" })]
    Clock {
        /// The mint.
        mint: MintUrl,
        /// How far our clock is ahead of it, in seconds.
        ahead_secs: i64,
    },
    /// Every number for deriving secrets under a keyset is used: four billion.
    #[error("the derivation numbers of a keyset are used up")]
    NumbersUsedUp,
    /// An operation whose fate isn't known yet.
    #[error("the mint has not answered yet")]
    Unsettled,
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
            Self::AdvanceCap { .. } => Fault::Incompatible,
            Self::Keyset { .. } | Self::Pinned(_) | Self::Unsettled => Fault::Mint,
            Self::Clock { .. } => Fault::Environment,
            Self::PartyMint { .. } | Self::AlreadyReserved | Self::Forged | Self::TokenRefused { .. } => Fault::Peer,
            Self::MintInUse(_) | Self::MintConfigured(_) | Self::Insufficient { .. } | Self::Invoice(_) => Fault::Ours,
            Self::LockGone | Self::AlreadyDebited => Fault::Ours,
            Self::Token(_) | Self::TokenUnfit(_) | Self::ReceivedBefore | Self::WorthItsFee { .. } => Fault::Ours,
            Self::UnknownToken(_) | Self::TokenGone { .. } => Fault::Ours,
            Self::UnknownQuote(_) | Self::IssuedElsewhere(_) | Self::NumbersUsedUp => Fault::Ours,
            Self::Mint(error) => error.fault(),
            Self::Connector(error) => error.fault(),
            Self::Lock(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownMint(_) => Some("if you trust it with your money: `guilder wallet mints add URL`"),
            Self::MintUnfit { .. } => Some("use a mint with spending conditions, DLEQ proofs and restore"),
            Self::MintInUse(_) => {
                Some("see `guilder wallet balance` and `guilder wallet pending`; spend or send it first")
            }
            Self::Pinned(_) => Some(
                "ask for a new invitation; or, if you trust what answers there now, take its line out of wallet.pins in config.toml and restart",
            ),
            Self::MintConfigured(_) => Some("take it out of the config file and restart"),
            Self::Insufficient { needed, available, .. } if available < needed => Some("`guilder wallet fund AMOUNT`"),
            Self::Insufficient { .. } => Some(
                "its coins are too small to be worth the mint's fee for spending them: `guilder wallet fund AMOUNT` brings \
                 larger ones",
            ),
            Self::Invoice(_) => {
                Some("ask whoever is to be paid for a new one, with an amount, and copy all of it (lnbc…)")
            }
            Self::MintCap { .. } | Self::BuyerCap { .. } => Some("try again once it has redeemed"),
            Self::AdvanceCap { .. } => {
                Some("wait until other tasks of this seller's are over, or pay in advance all the same: --mode prepaid")
            }
            Self::Unsettled => {
                Some("nothing is lost: the node repeats the request until it knows (`guilder wallet pending`)")
            }
            Self::Token(_) => Some("copy the whole token: it begins with cashuA or cashuB"),
            Self::TokenUnfit(_) => Some("ask whoever gave it for a plain token of a mint that you accept"),
            Self::Forged | Self::TokenRefused { .. } => Some("whoever gave you this token gave you nothing"),
            Self::ReceivedBefore => Some("its money is in this wallet already: `guilder wallet history`"),
            Self::WorthItsFee { .. } => Some("send more, or use a mint that takes a smaller fee"),
            Self::UnknownToken(_) => Some("`guilder wallet sent list` shows them"),
            Self::IssuedElsewhere(_) => Some("`guilder wallet restore` finds it, if it is unspent"),
            Self::Clock { .. } => Some("set this machine's clock; if it is right, ask the mint's operator"),
            Self::Mint(error) => error.hint(),
            Self::Connector(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}
