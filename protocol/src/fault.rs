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
}

impl Fault {
    /// All of them.
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
        }
    }

    /// The reverse of [`Self::code`].
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
