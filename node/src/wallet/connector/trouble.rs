//! What a connector's error means for whoever wanted something from the mint.

use cdk::Error;
use guilder_protocol::{
    fault::{AtFault, Fault},
    market::MintUrl,
};

use super::wire::MALFORMED;

/// A mint's own words are cut to this many characters before they reach a person.
const MAX_WORDS: usize = 200;

/// A call to a mint that didn't do what it should, with the mint's name.
///
/// After [`Down`](Self::Down), [`Slow`](Self::Slow) and [`Lying`](Self::Lying) it is not known whether the mint acted:
/// post the identical request again. After the others it did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintTrouble {
    /// No connection, a lost one, or the mint's own failure (HTTP 5xx).
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
    /// The proofs were spent, and not by the request posted: somebody else holds them too.
    #[error("the mint {mint} says the proofs are spent, and not by us")]
    Spent {
        /// Its URL.
        mint: MintUrl,
    },
}

impl MintTrouble {
    /// What `error`, got from the connector to `mint`, means.
    pub fn from_error(mint: &MintUrl, error: &Error) -> Self {
        let mint = mint.clone();
        match error {
            Error::HttpError(_, what) if what.starts_with(MALFORMED) => Self::Lying { mint, what: words(what) },
            Error::InvalidMintResponse(what) => Self::Lying { mint, what: words(what) },
            Error::CouldNotVerifyDleq | Error::NUT12(_) | Error::DHKE(_) => {
                Self::Lying { mint, what: words(&error.to_string()) }
            }
            Error::Timeout | Error::TokenPending | Error::PendingQuote => Self::Slow { mint },
            Error::TokenAlreadySpent => Self::Spent { mint },
            Error::HttpError(None | Some(500..), cause) => Self::Down { mint, cause: words(cause) },
            // the bounds aren't in the mint's answer, only that the amount is outside of them
            Error::AmountOutofLimitRange(..) => {
                Self::Refused { mint, reason: "the amount is below or above what it takes at once".into() }
            }
            refusal => Self::Refused { mint, reason: words(&refusal.to_string()) },
        }
    }
}

fn words(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(MAX_WORDS).collect()
}

impl AtFault for MintTrouble {
    fn fault(&self) -> Fault {
        match self {
            Self::Down { .. } | Self::Slow { .. } | Self::Lying { .. } => Fault::Mint,
            Self::Refused { .. } => Fault::Ours,
            Self::Spent { .. } => Fault::Peer,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Down { .. } | Self::Slow { .. } => {
                "no money is lost: what was under way is repeated until the mint answers; try new things later"
            }
            Self::Lying { .. } => "stop using this mint until its operator explains",
            Self::Refused { .. } => "see the mint's reason",
            Self::Spent { .. } => "whoever paid with these proofs had spent them, or another copy of this wallet did",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_error_lies_at_somebodys_door() {
        let mint: MintUrl = "https://mint.example".parse().unwrap();
        let fault = |error: Error| MintTrouble::from_error(&mint, &error).fault();
        assert_eq!(fault(Error::HttpError(None, "refused".into())), Fault::Mint);
        assert_eq!(fault(Error::HttpError(Some(503), String::new())), Fault::Mint);
        assert_eq!(fault(Error::Timeout), Fault::Mint);
        assert_eq!(fault(Error::InvalidMintResponse("2 + 2 = 5".into())), Fault::Mint);
        assert_eq!(fault(Error::TokenAlreadySpent), Fault::Peer);
        assert_eq!(fault(Error::UnpaidQuote), Fault::Ours);
    }

    #[test]
    fn a_mint_cant_flood_the_terminal() {
        let mint: MintUrl = "https://mint.example".parse().unwrap();
        let error = Error::UnknownErrorResponse("\u{1b}[2J".repeat(10_000));
        let shown = MintTrouble::from_error(&mint, &error).to_string();
        assert!(shown.len() < 300 && !shown.contains('\u{1b}'), "{shown}");
    }
}
