//! How a task is paid: one file a mode. Everything that depends on the mode is told apart here and nowhere else.
//!
//! | a mode brings | where it travels | what stands here |
//! |---|---|---|
//! | its name | advert, ask, award's `args.mode` | [`Mode`] |
//! | its terms | offer, `terms` | [`Terms`] |
//! | its part of the award | award, more of `args` | [`AwardPart`] |
//! | its lock | beside the award, `lock` | [`Lock`] |
//! | its part of the receipt | receipt, `money` | [`ReceiptPart`] |
//!
//! Terms, lock and receipt part are maps of one entry whose key is the mode's name: `{"prepaid": {…}}`. The award's part
//! stands flat among the other arguments, so that policies read it like them.
//!
//! **What a later version brings.** A mode's name that this version doesn't know is [`Mode::Other`]; terms, lock and
//! receipt part under such a name are kept as they came ([`Unknown`]). They break no rule: lists of modes are read past
//! them, an offer with them isn't acceptable, an award with them is refused with
//! [`NotUnderstood`](crate::wire::Reason::NotUnderstood), and cost nobody penalty points.
//!
//! **Who loses what** stands at the top of each mode's file, and in docs/settlement.md.

pub mod escrow;
pub mod prepaid;

use std::{collections::BTreeMap, fmt, str::FromStr};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use crate::{
    award::{Award, AwardArgs, AwardError},
    bytes::{Digest, LockKey},
    locks::{CheckedLock, KeysetView, LockError, LockedProof, Nonce, SpendingConditions as _},
    market::{NameError, Unit, choice::OfferError},
    receipt::Outcome,
    seal::Sealed,
    time::Timestamp,
    ucan::Args,
    word::{Word, fields_of},
};

macro_rules! modes {
    ($($(#[$doc:meta])* $mode:ident $name:literal $module:ident),* $(,)?) => {
        /// How a task is paid for.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Mode {
            $($(#[$doc])* $mode,)*
            /// A mode of a later version.
            Other(Word),
        }

        impl Mode {
            /// The modes that this version trades in, the preferred one first.
            pub const ALL: &'static [Self] = &[$(Self::$mode),*];

            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$mode => $name,)* Self::Other(name) => name.as_str() }
            }

            fn known(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$mode),)* _ => None }
            }
        }

        tagged! {
            /// What an offer says of how it is to be paid.
            Terms: $($mode $name $module),*
        }
        tagged! {
            /// The money of an award: what travels beside it.
            Lock: $($mode $name $module),*
        }
        tagged! {
            /// What a receipt says of the money, and of how the output was delivered for it.
            ReceiptPart: $($mode $name $module),*
        }

        /// What ecash of a mode is locked to: everything in its secrets but the nonce. Stored by whoever makes such ecash.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Conditions {
            $(#[doc = concat!("Of [`Mode::", stringify!($mode), "`].")] #[serde(rename = $name)] $mode($module::Conditions),)*
        }

        impl Conditions {
            /// The secret of a proof under these conditions (NUT-10).
            pub fn secret(&self, nonce: &Nonce) -> String {
                match self { $(Self::$mode(conditions) => conditions.secret(nonce),)* }
            }

            /// From when on the payer can take it back.
            pub fn locktime(&self) -> Timestamp {
                match self { $(Self::$mode(conditions) => conditions.locktime,)* }
            }

            /// The seller's key that it is locked to.
            pub fn payee(&self) -> LockKey {
                match self { $(Self::$mode(conditions) => conditions.payee,)* }
            }

            /// Whether this is a secret under these conditions, byte for byte.
            pub fn is_secret(&self, secret: &str) -> bool {
                match self { $(Self::$mode(conditions) => conditions.nonce_of(secret).is_some(),)* }
            }

            /// What is paid for, if the lock is for one trade alone.
            pub fn once(&self) -> Option<Digest> {
                match self { Self::Prepaid(_) => None, Self::Escrow(conditions) => Some(conditions.key_hash) }
            }

            /// What travels beside an award that pays with these proofs.
            pub fn lock(&self, proofs: Vec<LockedProof>) -> Lock {
                match self { $(Self::$mode(conditions) => Lock::$mode(conditions.lock(proofs)),)* }
            }

            /// What the award says of them; `ys` is their [commitment](crate::locks::ys_commitment).
            pub fn part(&self, ys: Digest) -> AwardPart {
                match self { $(Self::$mode(conditions) => AwardPart::$mode(conditions.part(ys)),)* }
            }
        }

        /// What an award's arguments say of the money, beyond mint, unit and price.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum AwardPart {
            $($(#[$doc])* $mode($module::AwardPart),)*
        }

        impl AwardPart {
            /// The mode that it is of.
            pub fn mode(&self) -> Mode {
                match self { $(Self::$mode(_) => Mode::$mode,)* }
            }

            /// The names of the arguments that it reads, beside `mode`.
            pub(crate) fn fields(&self) -> &'static [&'static str] {
                match self { $(Self::$mode(_) => fields_of::<$module::AwardPart>(),)* }
            }

            /// Reads the part of `args` that its mode looks at.
            ///
            /// # Errors
            /// [`AwardError::NotUnderstood`] if the mode is of a later version; otherwise if an argument is missing or wrong.
            pub(crate) fn read(args: &Args) -> Result<Self, AwardError> {
                let mode = match args.get("mode") {
                    Some(Ipld::String(name)) => name.parse::<Mode>().map_err(|_| AwardError::Arguments)?,
                    _ => return Err(AwardError::Arguments),
                };
                match mode {
                    $(Mode::$mode => args.to_value().map(Self::$mode).map_err(|_| AwardError::Arguments),)*
                    Mode::Other(name) => Err(AwardError::NotUnderstood(name)),
                }
            }

            /// Adds the part to `args`, under its mode.
            pub(crate) fn write(&self, args: Args) -> Option<Args> {
                let part = match self { $(Self::$mode(part) => Args::from_value(part),)* };
                let mode = Ipld::String(self.mode().as_str().into());
                Some(args.with(part.ok()?).with(BTreeMap::from([("mode".to_owned(), mode)]).into()))
            }
        }
    };
}

/// An enum whose variants are maps of one entry under their mode's name, on the wire as in the store.
macro_rules! tagged {
    ($(#[$doc:meta])* $tagged:ident: $($mode:ident $name:literal $module:ident),*) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $tagged {
            $(#[doc = concat!("Of [`Mode::", stringify!($mode), "`].")] $mode($module::$tagged),)*
            /// Of a mode of a later version.
            Other(Box<Unknown>),
        }

        impl $tagged {
            /// The mode that it is of.
            pub fn mode(&self) -> Mode {
                match self { $(Self::$mode(_) => Mode::$mode,)* Self::Other(unknown) => unknown.mode() }
            }
        }

        impl Serialize for $tagged {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $(Self::$mode(part) => map.serialize_entry($name, part)?,)*
                    Self::Other(unknown) => map.serialize_entry(&unknown.name, &unknown.value)?,
                }
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for $tagged {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = $tagged;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a map of one entry under its mode's name")
                    }

                    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<$tagged, A::Error> {
                        let mode = map.next_key::<Mode>()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                        let part = match mode {
                            $(Mode::$mode => $tagged::$mode(map.next_value()?),)*
                            Mode::Other(name) => $tagged::Other(Box::new(Unknown { name, value: map.next_value()? })),
                        };
                        match map.next_key::<de::IgnoredAny>()? {
                            None => Ok(part),
                            Some(_) => Err(de::Error::invalid_length(2, &self)),
                        }
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }
    };
}

modes! {
    /// The price travels with the award, locked to the seller.
    Prepaid "prepaid" prepaid,
    /// The output is delivered sealed; what takes the money opens it.
    Escrow "escrow" escrow,
}

/// Something under the name of a mode that this version doesn't know, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Unknown {
    name: Word,
    value: Ipld,
}

impl Unknown {
    /// The mode.
    pub fn mode(&self) -> Mode {
        Mode::Other(self.name.clone())
    }
}

/// What is in it may be money, so only the name is printed.
impl fmt::Debug for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unknown").field("mode", &self.name.as_str()).finish_non_exhaustive()
    }
}

impl Mode {
    /// Whether this version trades in it.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl FromStr for Mode {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let word: Word = name.parse().map_err(|_| NameError::Mode)?;
        Ok(Self::known(name).unwrap_or(Self::Other(word)))
    }
}

impl TryFrom<String> for Mode {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.as_str().into()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Conditions {
    /// What `lock` is locked to if it is the one of an award that takes `terms`; `None` if it is of another mode than they.
    pub fn of(terms: &Terms, part: &AwardPart, lock: &Lock) -> Option<Self> {
        match (terms, part, lock) {
            (Terms::Prepaid(terms), AwardPart::Prepaid(part), Lock::Prepaid(lock)) => {
                let (locktime, payee, refund) = (part.locktime, terms.payee, lock.refund);
                Some(Self::Prepaid(prepaid::Conditions { locktime, payee, refund }))
            }
            (Terms::Escrow(terms), AwardPart::Escrow(part), Lock::Escrow(lock)) => {
                let escrow::Lock { release, refund, .. } = *lock;
                let (locktime, key_hash, payee) = (part.locktime, part.key_hash, terms.payee);
                Some(Self::Escrow(escrow::Conditions { locktime, key_hash, payee, release, refund }))
            }
            _ => None,
        }
    }
}

impl Lock {
    /// Its keys alone.
    pub fn without_proofs(&self) -> Self {
        match self {
            Self::Prepaid(lock) => Self::Prepaid(prepaid::Lock { proofs: Vec::new(), refund: lock.refund }),
            Self::Escrow(escrow::Lock { release, refund, .. }) => {
                Self::Escrow(escrow::Lock { proofs: Vec::new(), release: *release, refund: *refund })
            }
            Self::Other(unknown) => Self::Other(unknown.clone()),
        }
    }
}

/// To what money is locked under some terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocksTo {
    /// The seller's key.
    pub payee: LockKey,
    /// The earliest locktime; for one trade, the only one.
    pub until: Timestamp,
    /// What is paid for, if the lock is for one trade alone and can't be made ahead.
    pub once: Option<Digest>,
}

impl Terms {
    /// What must hold of the terms of an offer that delivers by `deadline`.
    ///
    /// # Errors
    /// The rule that they break, in words.
    pub(crate) fn check(&self, deadline: Timestamp) -> Result<(), &'static str> {
        match self {
            Self::Prepaid(terms) => terms.check(deadline),
            Self::Escrow(terms) => terms.check(deadline),
            Self::Other(_) => Ok(()),
        }
    }

    /// To what money is to be locked; `None` if that isn't known.
    pub fn locks_to(&self) -> Option<LocksTo> {
        match self {
            Self::Prepaid(terms) => Some(LocksTo { payee: terms.payee, until: terms.locktime, once: None }),
            Self::Escrow(terms) => {
                Some(LocksTo { payee: terms.payee, until: terms.locktime, once: Some(terms.key_hash) })
            }
            Self::Other(_) => None,
        }
    }

    /// Whether a buyer can agree to them at `now`.
    ///
    /// # Errors
    /// Why it can't.
    pub(crate) fn acceptable(&self, now: Timestamp) -> Result<(), OfferError> {
        match self {
            Self::Prepaid(terms) => terms.acceptable(now),
            Self::Escrow(terms) => terms.acceptable(now),
            Self::Other(_) => Err(OfferError::NotUnderstood),
        }
    }
}

impl AwardPart {
    /// What must hold of the part in an award whose delivery is due by `deadline`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(&self, deadline: Timestamp) -> Result<(), AwardError> {
        match self {
            Self::Prepaid(part) => part.check(deadline),
            Self::Escrow(part) => part.check(deadline),
        }
    }

    /// Whether it takes what `terms` offer.
    pub(crate) fn takes(&self, terms: &Terms) -> bool {
        match (self, terms) {
            (Self::Prepaid(part), Terms::Prepaid(terms)) => part.takes(terms),
            (Self::Escrow(part), Terms::Escrow(terms)) => part.takes(terms),
            _ => false,
        }
    }

    /// From when on the money is the buyer's again, if it hasn't been taken: the award's expiry.
    pub fn until(&self) -> Timestamp {
        match self {
            Self::Prepaid(part) => part.locktime,
            Self::Escrow(part) => part.locktime,
        }
    }

    /// Which ecash pays: SHA-256 over the sorted compressed Ys of the locked proofs. `None` in a mode that locks none.
    pub fn commitment(&self) -> Option<Digest> {
        match self {
            Self::Prepaid(part) => Some(part.ys),
            Self::Escrow(part) => Some(part.ys),
        }
    }

    /// The hash of the key that is paid for; `None` in a mode that seals nothing.
    pub fn key_hash(&self) -> Option<Digest> {
        match self {
            Self::Prepaid(_) => None,
            Self::Escrow(part) => Some(part.key_hash),
        }
    }

    /// The money's place and time limits in words, one line, for people who read a bundle.
    pub fn words(&self, args: &AwardArgs) -> String {
        match self {
            Self::Prepaid(part) => part.words(args),
            Self::Escrow(part) => part.words(args),
        }
    }

    /// Whether an honest seller takes the money after it has signed this outcome.
    pub fn is_earned_by(&self, out: &Outcome) -> bool {
        match self {
            Self::Prepaid(_) => prepaid::is_earned_by(out),
            Self::Escrow(_) => escrow::is_earned_by(out),
        }
    }
}

impl Lock {
    /// The locked proofs; none if the mode isn't known.
    pub fn proofs(&self) -> &[LockedProof] {
        match self {
            Self::Prepaid(lock) => &lock.proofs,
            Self::Escrow(lock) => &lock.proofs,
            Self::Other(_) => &[],
        }
    }

    /// The sum of the locked proofs, the mint's fees included. Untrusted until the lock is checked, so it stops at the top.
    pub fn amount(&self) -> u64 {
        self.proofs().iter().fold(0, |sum: u64, proof| sum.saturating_add(proof.amount))
    }
}

impl ReceiptPart {
    /// What an honest seller's receipt says of the money that `lock` holds under `award`, and of what is delivered `sealed`
    /// for it.
    pub fn of(award: &Award, lock: &Lock, sealed: Option<&Sealed>) -> Self {
        let (args, amount) = (award.args(), lock.amount());
        match award.part() {
            AwardPart::Prepaid(part) => Self::Prepaid(prepaid::ReceiptPart::of(args, part, amount)),
            AwardPart::Escrow(part) => Self::Escrow(escrow::ReceiptPart::of(args, part, amount, sealed)),
        }
    }

    /// What it says was delivered sealed.
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Escrow(receipt) => receipt.sealed.as_ref(),
            Self::Prepaid(_) | Self::Other(_) => None,
        }
    }

    /// How much it says was locked, the mint's fees included; `None` if nothing, or in a mode that isn't known.
    pub fn locked(&self) -> Option<u64> {
        match self {
            Self::Prepaid(receipt) => Some(receipt.amount),
            Self::Escrow(receipt) => Some(receipt.amount),
            Self::Other(_) => None,
        }
    }

    /// Whether it is about the money of `award`, as far as can be told without the lock.
    pub fn is_of(&self, award: &Award) -> bool {
        match (self, award.part()) {
            (Self::Prepaid(receipt), AwardPart::Prepaid(part)) => receipt.is_of(award.args(), part),
            (Self::Escrow(receipt), AwardPart::Escrow(part)) => receipt.is_of(award.args(), part),
            _ => false,
        }
    }
}

/// What was agreed of the money: the seller holds the lock against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockDemand {
    /// From the offer.
    pub terms: Terms,
    /// From the award.
    pub part: AwardPart,
    /// The unit.
    pub unit: Unit,
    /// What the seller must be left with after the mint's fee.
    pub price: u64,
    /// How many proofs it takes, from the offer.
    pub max_proofs: usize,
}

impl LockDemand {
    /// Holds `lock` against what was agreed. `keysets` are the checker's own of the agreed mint.
    ///
    /// CPU: one DLEQ verification per proof; the rest is within a tenth of it.
    ///
    /// # Errors
    /// The first fault found; nothing of the lock may be used then.
    pub fn check(&self, lock: &Lock, keysets: &KeysetView) -> Result<CheckedLock, LockError> {
        match (&self.terms, &self.part, lock) {
            (Terms::Prepaid(terms), AwardPart::Prepaid(part), Lock::Prepaid(lock)) => {
                prepaid::check(self, terms, part, lock, keysets)
            }
            (Terms::Escrow(terms), AwardPart::Escrow(part), Lock::Escrow(lock)) => {
                escrow::check(self, terms, part, lock, keysets)
            }
            (_, _, Lock::Other(_)) => Err(LockError::NotUnderstood),
            _ => Err(LockError::OtherMode),
        }
    }
}

#[cfg(test)]
mod tests;
