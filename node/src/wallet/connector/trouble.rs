//! What a call to a mint that failed means for whoever wanted something from it.

use guilder_protocol::{
    fault::{AtFault, Fault},
    market::MintUrl,
};

/// A mint's own words are cut to this many characters before they reach a person.
const MAX_WORDS: usize = 200;

/// The error codes that the NUTs define lie in here (`error_codes.md`). Others say nothing about the request: a mint's
/// internal failures among them.
const JUDGEMENTS: std::ops::Range<u64> = 10_000..40_000;

/// A call to a mint that didn't do what it should, with the mint's name.
///
/// Only a NUT error code is the mint's judgement: [`Refused`](Self::Refused) and [`Spent`](Self::Spent). After
/// [`Down`](Self::Down), [`Slow`](Self::Slow) and [`Lying`](Self::Lying) it is not known whether the mint acted: the
/// identical request can be posted again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintTrouble {
    /// No connection, a lost one, or an answer that isn't the mint's: a proxy's, a 5xx, anything without a NUT code.
    #[error("the mint {mint} is down: {cause}")]
    Down {
        /// Its URL.
        mint: MintUrl,
        /// What happened.
        cause: String,
    },
    /// No answer in time, or it is still busy with the same proofs or quote.
    #[error("the mint {mint} did not answer in time")]
    Slow {
        /// Its URL.
        mint: MintUrl,
    },
    /// The mint says no.
    #[error("the mint {mint} refuses: {reason}")]
    Refused {
        /// Its URL.
        mint: MintUrl,
        /// The NUT error code.
        code: u16,
        /// In the mint's words.
        reason: String,
    },
    /// Its answer can't be true.
    #[error("the mint {mint} gave an answer that can't be true: {what}")]
    Lying {
        /// Its URL.
        mint: MintUrl,
        /// What is wrong with it.
        what: String,
    },
    /// Not posted any more: its last moment has passed, and the mint says that it has not been done.
    #[error("the mint {mint} did not do it before its last moment had passed")]
    TooLate {
        /// Its URL.
        mint: MintUrl,
    },
    /// The proofs were spent, and not by the request posted: somebody else holds them too.
    #[error("the mint {mint} says the proofs are spent, and not by us")]
    Spent {
        /// Its URL.
        mint: MintUrl,
    },
}

/// Proofs are spent already.
const SPENT: u16 = 11_001;
/// The keyset isn't known, isn't active, has expired.
const KEYSETS: std::ops::RangeInclusive<u16> = 12_001..=12_003;
/// The quote isn't known or has run out.
const UNKNOWN_QUOTE: u16 = 20_007;

impl MintTrouble {
    /// What a mint's error reply means: `code` and `detail` of its JSON, if it had them.
    pub(super) fn of_reply(mint: &MintUrl, status: u16, code: Option<u64>, detail: &str) -> Self {
        let mint = mint.clone();
        match code.filter(|code| JUDGEMENTS.contains(code)).and_then(|code| u16::try_from(code).ok()) {
            Some(SPENT) => Self::Spent { mint },
            Some(code) => Self::Refused { mint, code, reason: words(detail) },
            None if detail.is_empty() => Self::Down { mint, cause: format!("HTTP status {status}") },
            None => Self::Down { mint, cause: format!("HTTP status {status}: {}", words(detail)) },
        }
    }

    pub(in super::super) fn down(mint: &MintUrl, cause: &str) -> Self {
        Self::Down { mint: mint.clone(), cause: words(cause) }
    }

    pub(in super::super) fn lying(mint: &MintUrl, what: impl Into<String>) -> Self {
        Self::Lying { mint: mint.clone(), what: words(&what.into()) }
    }

    /// Whether the mint has judged the request, and did nothing.
    pub fn is_judgement(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Spent { .. })
    }

    /// Whether nothing was heard of the mint.
    pub(in super::super) fn is_silence(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::Slow { .. })
    }

    /// Whether the mint has something against the keyset that was used.
    pub(in super::super) fn is_about_keysets(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if KEYSETS.contains(code))
    }

    /// Whether the mint doesn't know the quote, or no longer.
    pub(in super::super) fn is_about_a_lost_quote(&self) -> bool {
        matches!(self, Self::Refused { code: UNKNOWN_QUOTE, .. })
    }
}

fn words(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(MAX_WORDS).collect()
}

impl AtFault for MintTrouble {
    fn fault(&self) -> Fault {
        match self {
            Self::Down { .. } | Self::Slow { .. } | Self::Lying { .. } | Self::TooLate { .. } => Fault::Mint,
            Self::Refused { .. } => Fault::Ours,
            Self::Spent { .. } => Fault::Peer,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Down { .. } | Self::Slow { .. } => {
                "check its address, or try again later; what was begun, if anything, is repeated until it answers (`guilder wallet pending`)"
            }
            Self::Lying { .. } => "stop using this mint until its operator explains",
            Self::Refused { .. } => "see the mint's reason",
            Self::TooLate { .. } => "the buyer takes the money back; the key of its output was not shown again",
            Self::Spent { .. } => "whoever paid with these proofs had spent them, or another copy of this wallet did",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(status: u16, code: Option<u64>) -> MintTrouble {
        MintTrouble::of_reply(&"https://mint.example".parse().unwrap(), status, code, "because")
    }

    #[test]
    fn only_a_nut_code_is_a_judgement() {
        for (status, code) in [
            (400, None),
            (401, None),
            (403, None),
            (404, None),
            (422, None),
            (429, None),
            (500, None),
            (503, None),
            (400, Some(0)),
            (400, Some(50_000)),
            (400, Some(u64::MAX)),
        ] {
            let trouble = of(status, code);
            assert!(trouble.is_silence() && trouble.fault() == Fault::Mint, "{status} {code:?}: {trouble:?}");
        }
        for code in [10_001, 11_002, 11_005, 12_002, 20_001, 30_001] {
            assert!(of(400, Some(code)).is_judgement(), "{code}");
        }
        assert_eq!(of(400, Some(11_001)).fault(), Fault::Peer);
    }

    #[test]
    fn words_of_a_mint_are_bounded_and_have_no_control_characters() {
        let mint: MintUrl = "https://mint.example".parse().unwrap();
        let shown = MintTrouble::of_reply(&mint, 400, Some(10_000), &"\u{1b}[2J".repeat(10_000)).to_string();
        assert!(shown.len() < 300 && !shown.contains('\u{1b}'), "{shown}");
    }
}
