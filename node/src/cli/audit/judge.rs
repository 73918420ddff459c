//! Whether an output is what its seller promised, told from what was signed.
//!
//! ```text
//! receipt ── commits to ──▶ salt, output ── satisfies? ──▶ schema ◀── hash in the offer ── signed by the seller
//! ```
//!
//! Both ends are under the seller's signature, so an output that doesn't satisfy the schema is shown to be the seller's fault by
//! the file, the output and its salt, whoever holds them. How much a check may cost is bounded as in a trade
//! ([`crate::executor::schema`]).

use std::fmt;

use guilder_protocol::{
    audit::{Hire, Promised, Report},
    receipt::Salt,
};

use crate::executor::schema::Schema;

/// What is shown of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// No receipt in the file commits to it under this salt: nothing is shown.
    Unknown,
    /// A receipt commits to it.
    Of {
        /// The award.
        award: String,
        /// Whose receipt it is.
        seller: String,
        /// What is shown.
        verdict: Verdict,
    },
}

/// What is shown of an output that a receipt commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It satisfies the schema that was promised.
    Valid,
    /// It doesn't, and its seller answers: what is wrong first, and where.
    Invalid(String),
    /// No schema was promised: any bytes are.
    Unpromised,
    /// It can't be told: why.
    Undecided(String),
}

/// Judges the output that a receipt in the report commits to.
pub(super) fn judge(report: &Report, salt: &Salt, output: &[u8]) -> Judged {
    let Some(hire) = report.hires.iter().find(|hire| hire.is_output(salt, output)) else { return Judged::Unknown };
    Judged::Of { award: hire.award.to_string(), seller: hire.args.seller.peer_id(), verdict: verdict(hire, output) }
}

fn verdict(hire: &Hire, output: &[u8]) -> Verdict {
    let Some(Promised { schema, text }) = &hire.promised else { return Verdict::Unpromised };
    let Some(text) = text else {
        return Verdict::Undecided(format!("the file lacks the text of the schema {schema} that was promised"));
    };
    match Schema::compile(text).and_then(|schema| schema.check(output)) {
        Ok(()) => Verdict::Valid,
        Err(error) if error.is_unsatisfied() => Verdict::Invalid(error.to_string()),
        Err(error) => Verdict::Undecided(error.to_string()),
    }
}

impl Judged {
    /// In one word, for programs.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "not-this-output",
            Self::Of { verdict, .. } => match verdict {
                Verdict::Valid => "valid",
                Verdict::Invalid(_) => "output-invalid",
                Verdict::Unpromised => "nothing-promised",
                Verdict::Undecided(_) => "undecided",
            },
        }
    }

    /// What is wrong, or why it can't be told.
    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Of { verdict: Verdict::Invalid(why) | Verdict::Undecided(why), .. } => Some(why),
            _ => None,
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of { seller, verdict, .. } = self else {
            return f.write_str("no receipt in this file commits to this output under this salt: nothing is shown");
        };
        match verdict {
            Verdict::Valid => {
                write!(f, "output valid: {seller} signed for it, and it satisfies the schema that its offer promised")
            }
            Verdict::Invalid(why) => {
                write!(
                    f,
                    "output invalid: {seller} signed for it and answers for it; its offer promised otherwise: {why}"
                )
            }
            Verdict::Unpromised => {
                write!(f, "{seller} signed for the output; its offer promised no schema, so any bytes are as promised")
            }
            Verdict::Undecided(why) => {
                write!(f, "{seller} signed for the output; whether it is as promised can't be told: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
