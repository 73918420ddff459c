//! Why a seller makes no offer or takes no award: one numbered table for the wire, the words and the fault.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::{AtFault, Fault};

macro_rules! reasons {
    ($($number:literal $name:ident $fault:ident $text:literal),* $(,)?) => {
        /// Why a seller declines an ask or refuses an award. Travels as its number; numbers are never used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = concat!($number, ": ", $text, ".")] $name,)*
            /// A reason of a later version.
            Other(u16),
        }

        impl Reason {
            /// Every reason that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* Self::Other(number) => number }
            }

            /// From the number on the wire.
            pub fn from_number(number: u16) -> Self {
                match number { $($number => Self::$name,)* other => Self::Other(other) }
            }

            /// Whose fault it is, as the seller sees it: `Peer` is the buyer.
            pub fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* Self::Other(_) => Fault::Incompatible }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Other(_) => "a reason that this version doesn't know" }
            }
        }
    };
}
reasons! {
    1 UnknownService Incompatible "the seller doesn't offer that service",
    2 Busy Environment "the seller is at its limit of tasks",
    3 PriceTooLow Incompatible "the most that would be paid is below the price",
    4 WrongUnit Incompatible "the seller wants another unit",
    5 NoCommonMint Incompatible "no mint that both accept",
    6 NoCommonMode Incompatible "no way to pay that both accept",
    7 TooSoon Incompatible "the deadline is too soon",
    8 InputTooLarge Peer "the input is larger than the service takes",
    9 RateLimited Peer "too many messages",
    10 ShuttingDown Environment "the seller is shutting down",
    11 Untimely Peer "expired, or dated in the future",
    12 Malformed Peer "malformed, or signed by another than its sender",
    13 OfferMismatch Peer "the award departs from the offer",
    14 OfferUnknown Peer "not an offer of this seller's to this buyer",
    15 OfferTaken Peer "the offer was already awarded",
    16 BadChain Peer "the delegation chain doesn't hold",
    17 Revoked Peer "a delegation in the chain was revoked",
    18 BadLock Peer "the money isn't locked as agreed",
    19 ProofReused Peer "a proof of the lock already pays for another award",
    20 CreditLimit Environment "the seller holds as much unredeemed money of this mint or buyer as it allows",
    21 MintUnavailable Mint "the seller doesn't know the mint's keys and can't reach it",
    22 InputMismatch Peer "the input isn't the one that the award names",
    23 InputInvalid Peer "the input doesn't satisfy the service's schema",
    24 Internal Environment "the seller's node failed",
    25 Cancelled Peer "the buyer cancelled before work began",
    26 NotUnderstood Incompatible "it holds something that the seller's version doesn't understand",
    27 InputsMissed Peer "inputs of this buyer's have lately never come",
    28 NotReleased Peer "this buyer has lately not released what was delivered to it in escrow",
    29 SubcontractsUnpaid Incompatible "the seller subcontracts only for who pays in advance, or has paid it enough in escrow before",
}

impl Reason {
    /// What is said of a statement that doesn't hold.
    pub fn of_statement(error: &impl AtFault) -> Self {
        if error.fault() == Fault::Incompatible { Self::NotUnderstood } else { Self::Malformed }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "{} ({number})", self.text()),
            known => f.write_str(known.text()),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.number())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u16::deserialize(deserializer).map(Self::from_number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_distinct_and_read_back() {
        let numbers: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.number()).collect();
        assert_eq!(numbers.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| Reason::from_number(reason.number()) == *reason));
        assert_eq!(Reason::from_number(999), Reason::Other(999));
    }
}
