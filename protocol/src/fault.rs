//! Whose fault an error is: the one question every caller asks of it.

/// The party that an error is to be laid at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// We, or the person at our command line, asked for something that can't be.
    Ours,
    /// The peer broke the rules: bad signature, forged amount, oversized frame. Costs it penalty points.
    Peer,
    /// The peer kept the rules, but we can't trade with it: another version, mint or unit.
    Incompatible,
    /// The mint is down, slow, or says something that can't be true.
    Mint,
    /// The machine or the network: a full disk, a lost connection, time that ran out.
    Environment,
    /// This program: something that can't be by its own rules. A bug, to be reported.
    Internal,
    /// Somebody that a later version knows and this one doesn't. No error of this version's is.
    Unknown,
}

impl Fault {
    /// All that errors of this version are laid at.
    pub const ALL: [Self; 6] =
        [Self::Ours, Self::Peer, Self::Incompatible, Self::Mint, Self::Environment, Self::Internal];

    /// The party in one word, for machines.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Incompatible => "incompatible",
            Self::Mint => "mint",
            Self::Environment => "environment",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// The reverse of [`Self::code`]; what a later version says is for the reader to call [`Self::Unknown`].
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.code() == code)
    }

    /// The party in words, as it stands in an error message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "this node or its user",
            Self::Peer => "the peer",
            Self::Incompatible => "nobody: the two sides can't trade",
            Self::Mint => "the mint",
            Self::Environment => "the machine or the network",
            Self::Internal => "this program: a bug",
            Self::Unknown => "somebody that this version doesn't know",
        }
    }
}

/// An error that knows whose fault it is.
pub trait AtFault: std::error::Error {
    /// The party at fault.
    fn fault(&self) -> Fault;

    /// What the reader can do about it, if there is anything.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}
