//! What can go wrong with memories, and whose fault it is.

use guilder_protocol::{
    envelope::EnvelopeError,
    fault::{AtFault, Fault},
    memory::Trust,
};

use crate::{
    limits::{MAX_MEMORIES, MAX_MEMORY_CALLERS, MAX_MEMORY_DOMAINS, MAX_MEMORY_DOMAINS_OF_ONE, MAX_QUESTION},
    store::StoreError,
};

/// Why something can't be remembered, recalled or forgotten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It breaks a memory's own rules.
    #[error(transparent)]
    Statement(#[from] EnvelopeError),
    /// Not a name.
    #[error("{0:?} is no domain's name")]
    DomainName(String),
    /// There is none, as far as the caller may know.
    #[error("there is no domain {0}")]
    NoDomain(String),
    /// The caller may not write there.
    #[error("{caller} may not write to the domain {domain}")]
    MayNotWrite {
        /// Who.
        caller: String,
        /// Where.
        domain: String,
    },
    /// There is none, as far as the caller may know.
    #[error("there is no memory {0}")]
    NoMemory(String),
    /// Several IDs end so.
    #[error("several memories' IDs end in {0}")]
    Ambiguous(String),
    /// Not a source.
    #[error("{0:?} is no source of a memory")]
    Source(String),
    /// What is less trusted would supersede what is more.
    #[error("a memory of trust {new} can't supersede one of trust {old}")]
    LowerTrust {
        /// Of the new one.
        new: Trust,
        /// Of the old one.
        old: Trust,
    },
    /// It is of another domain.
    #[error("a memory supersedes others of its own domain alone")]
    OtherDomain,
    /// What is private would be said where it isn't.
    #[error("the domain {from} is private, and {to} isn't")]
    Private {
        /// Of the source.
        from: String,
        /// Of what would be made of it.
        to: String,
    },
    /// It was forgotten.
    #[error("the memory {0} was forgotten, and stays so")]
    Forgotten(String),
    /// The index is made by it.
    #[error("the language of the domain {0} can't be changed")]
    Language(String),
    /// As many as there may be.
    #[error("there are {MAX_MEMORIES} memories, which is the limit")]
    TooMany,
    /// The same.
    #[error(
        "there are {MAX_MEMORY_DOMAINS} domains, or this caller has made {MAX_MEMORY_DOMAINS_OF_ONE} of them, which is the limit"
    )]
    TooManyDomains,
    /// The same.
    #[error("a domain has at most {MAX_MEMORY_CALLERS} readers and as many writers")]
    TooManyCallers,
    /// Nothing is asked.
    #[error("the question has no words")]
    NoQuestion,
    /// Too much is asked.
    #[error("a question has at most {MAX_QUESTION} bytes")]
    LongQuestion,
    /// It isn't said what is to be forgotten.
    #[error("nothing says what is to be forgotten")]
    ForgetWhat,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AtFault for MemoryError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Statement(_) | Self::OtherDomain => None,
            Self::DomainName(_) => {
                Some("small letters, digits, dots, dashes and underscores, for example repo.guilder")
            }
            Self::NoDomain(_) => Some("`guilder memory domains` shows them; `guilder remember` makes one"),
            Self::MayNotWrite { .. } => Some("its owner lets it: `guilder memory set --help`"),
            Self::NoMemory(_) | Self::Ambiguous(_) => {
                Some("`guilder recall` shows IDs; the last letters of one are enough")
            }
            Self::Source(_) => {
                Some("a source is owner, memory:ID, receipt:ID, peer:ID, or world: with words, for example an address")
            }
            Self::LowerTrust { .. } => {
                Some("remember it beside the other; recall shows both, with whose word each rests on")
            }
            Self::Private { .. } => Some("remember it in a private domain; the owner alone may say it elsewhere"),
            Self::Forgotten(_) => Some("remember it anew if it is true after all"),
            Self::Language(_) => Some("make another domain, and import there what `guilder memory export` wrote"),
            Self::TooMany | Self::TooManyDomains => Some("forget what isn't needed: `guilder forget --help`"),
            Self::TooManyCallers => Some("* stands for every caller"),
            Self::NoQuestion => Some("ask in words"),
            Self::LongQuestion => Some("ask for less"),
            Self::ForgetWhat => Some("name IDs, or --query, --domain, --from or --before"),
        }
    }
}
