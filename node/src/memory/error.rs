//! What can go wrong with memories, and whose fault it is.

use guilder_protocol::{
    envelope::EnvelopeError,
    fault::{AtFault, Fault},
    limits::MAX_MEMORY_SOURCES,
    memory::Trust,
};

use crate::{
    limits::{
        MAX_FORGETTINGS, MAX_MEMORIES, MAX_MEMORIES_OF_ONE, MAX_MEMORY_CALLERS, MAX_MEMORY_DOMAINS,
        MAX_MEMORY_DOMAINS_OF_ONE, MAX_MEMORY_FILES, MAX_QUESTION, MAX_RECALLED,
    },
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
    /// The caller may not write there, or make it.
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
    /// The same, of those that one caller said.
    #[error("a caller has said {MAX_MEMORIES_OF_ONE} memories, which is the limit")]
    TooManyOfOne,
    /// More are named than there can be.
    #[error("a memory has at most {MAX_MEMORY_SOURCES} sources and supersedes at most as many others")]
    TooManySources,
    /// Too many are to be forgotten at once.
    #[error("at most {MAX_RECALLED} memories are named in one request")]
    TooManyIds,
    /// Each time its file is written anew.
    #[error("a caller forgets something at most {MAX_FORGETTINGS} times a day")]
    TooOften,
    /// One request takes no more out.
    #[error("there are more than {MAX_MEMORY_FILES} memories in what is to be exported")]
    TooManyFiles,
    /// It leaves with the owner's word alone.
    #[error("the domain {0} is private")]
    IsPrivate(String),
    /// The owner's word is the owner's alone.
    #[error("only the owner can name the source owner")]
    NotTheOwner,
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
    /// One dream at a time.
    #[error("the memory is being gone through already")]
    Dreaming,
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
            Self::NoDomain(_) => Some("`guilder memory domains` shows them; what is remembered in one makes it"),
            Self::MayNotWrite { .. } => Some(
                "a caller makes domains of its own name, NAME and NAME.*; the owner lets it write to others: `guilder memory set --help`",
            ),
            Self::NoMemory(_) | Self::Ambiguous(_) => {
                Some("what is recalled shows its ID; the last letters of one are enough")
            }
            Self::Source(_) => Some(
                "a source is owner, memory:ID, task:ID, receipt:ID, peer:ID, or world: with words, for example an address",
            ),
            Self::LowerTrust { .. } => {
                Some("remember it beside the other; recall shows both, with whose word each rests on")
            }
            Self::Private { .. } => Some("remember it in a private domain; the owner alone may say it elsewhere"),
            Self::Forgotten(_) => Some("remember it anew if it is true after all"),
            Self::Language(_) => {
                Some("make another domain, and import there what was exported: `guilder memory export --help`")
            }
            Self::TooMany | Self::TooManyOfOne | Self::TooManyDomains => {
                Some("forget what isn't needed: `guilder forget --help`")
            }
            Self::TooManySources => Some("remember what some of them say together, and name that"),
            Self::TooManyIds => Some("forget them in several requests, or by --query, --domain, --from or --before"),
            Self::TooOften => Some("name several IDs in one request, or let the owner forget the rest"),
            Self::TooManyFiles => Some("name domains, some at a time"),
            Self::IsPrivate(_) => Some("the owner lets it leave: `guilder memory set --help`"),
            Self::NotTheOwner => Some("leave it out: without sources it is the caller's own word"),
            Self::TooManyCallers => Some("* stands for every caller"),
            Self::NoQuestion => Some("ask in words"),
            Self::LongQuestion => Some("ask for less"),
            Self::Dreaming => Some("wait until it is done; one that was killed lets go after ten minutes"),
            Self::ForgetWhat => Some("name IDs, or --query, --domain, --from or --before"),
        }
    }
}
