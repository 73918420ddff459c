//! What breaks, when.

use serde::{Deserialize, Serialize};

/// Something that breaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Nodes die once and, if `down_s` is given, come back from their own disks.
    Kill {
        /// When.
        at_s: When,
        /// Who.
        victims: Victims,
        /// Whether their peers see resets, as when a process dies; otherwise silence, as when a machine does.
        #[serde(default)]
        reset: bool,
        /// After so many seconds they return; never, if it isn't given.
        down_s: Option<When>,
    },
    /// Nodes die and come back, all the time.
    Churn {
        /// From when.
        from_s: u64,
        /// Until when.
        to_s: u64,
        /// The share of nodes that die in an hour.
        per_hour: f64,
        /// After so many seconds each returns.
        down_s: When,
    },
    /// Some regions, or a share of all nodes, are cut off from the rest.
    Partition {
        /// When.
        at_s: When,
        /// For how long.
        for_s: u64,
        /// Who is cut off.
        cut: Victims,
        /// If so, what they send still arrives; what is sent to them doesn't.
        #[serde(default)]
        one_way: bool,
    },
    /// A mint can't be used.
    MintFails {
        /// When.
        at_s: When,
        /// For how long.
        for_s: u64,
        /// Which one, from 0.
        #[serde(default)]
        mint: u32,
        /// In what way.
        how: MintFailure,
    },
    /// Nodes die and return with an older copy of their disk, as from a backup.
    RestoreBackup {
        /// When the backup is made.
        at_s: When,
        /// Whose.
        victims: Victims,
        /// How old it is when its node dies, in seconds.
        older_s: When,
        /// After so many seconds more the node returns with it.
        down_s: When,
    },
    /// Beside a node's own home its wallet is open a second time, made from a copy of the disk, and spends too.
    Twin {
        /// When the copy is made and opened.
        at_s: When,
        /// For how long it is open.
        for_s: u64,
        /// Whose.
        victims: Victims,
    },
    /// Wallets give each other tokens; others pass some on a second time, or forge them.
    Tokens {
        /// From when.
        from_s: u64,
        /// Until when.
        to_s: u64,
        /// How many, in all of the network.
        per_minute: f64,
    },
    /// Disks have no room for any further write.
    DiskFull {
        /// When.
        at_s: When,
        /// For how long.
        for_s: u64,
        /// Whose.
        victims: Victims,
    },
    /// Clocks jump, and jump back.
    ClockSteps {
        /// When.
        at_s: When,
        /// For how long.
        for_s: u64,
        /// By how many seconds, forward or, below 0, back: from, to; each victim's is drawn.
        by_s: [i64; 2],
        /// Whose.
        victims: Victims,
    },
    /// The proxy before a mint (`mints.proxied`) doesn't pass things on as they are.
    ProxyFails {
        /// When.
        at_s: When,
        /// For how long.
        for_s: u64,
        /// Whose, from 0.
        #[serde(default)]
        mint: u32,
        /// In what way.
        how: ProxyFailure,
    },
    /// A mint takes new keysets into use and retires the old ones.
    MintRotates {
        /// When.
        at_s: When,
        /// Which one, from 0.
        #[serde(default)]
        mint: u32,
    },
}

impl Fault {
    /// Whether some money is in no home for a while.
    pub fn hides_money(&self) -> bool {
        matches!(self, Self::RestoreBackup { .. } | Self::Twin { .. } | Self::Tokens { .. })
    }
}

/// How a mint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MintFailure {
    /// It doesn't answer.
    Silent,
    /// It answers every request with an error.
    Errors,
    /// It carries requests out and its answers are lost.
    LosesReplies,
    /// It signs, and denies it afterwards: what it issued it calls spent.
    Lies,
}

/// What a proxy does to every other call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyFailure {
    /// It passes the request on and loses the reply.
    Drops,
    /// It passes the request on twice and gives back the second reply.
    Repeats,
    /// It changes a letter of the reply.
    Alters,
}

/// A moment: fixed, or drawn evenly from a range by the seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum When {
    /// Fixed.
    At(u64),
    /// From, to.
    Between([u64; 2]),
}

impl When {
    /// The earliest and the latest.
    pub fn range(self) -> (u64, u64) {
        match self {
            Self::At(at) => (at, at),
            Self::Between([from, to]) => (from, to),
        }
    }

    /// What of it lies after a moment, if anything.
    pub fn after(self, secs: f64) -> Option<Self> {
        let (from, to) = self.range();
        match self {
            _ if secs < from as f64 => Some(self),
            Self::Between(_) if secs < to as f64 => Some(Self::Between([secs.ceil() as u64, to])),
            _ => None,
        }
    }

    /// The moment that the generator draws.
    pub fn draw(self, rng: &mut crate::interpose::Rng) -> u64 {
        let (from, to) = self.range();
        from + rng.below(to - from + 1)
    }
}

/// Whom a fault hits. Never the first node, by which the others find the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Victims {
    /// So many, drawn by the seed.
    Count(u32),
    /// A share of all, drawn by the seed.
    Share(f64),
    /// All in these regions.
    Regions(Vec<String>),
}
