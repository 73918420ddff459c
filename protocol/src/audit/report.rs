//! What a checked bundle says, in types for programs and in words for people.

use std::fmt;

use cid::Cid;

use crate::{
    award::{Award, AwardArgs},
    envelope::Signed,
    identity::AgentId,
    market::SchemaHash,
    receipt::{FailureCode, Outcome, Receipt, ReceiptBody, Salt, commit},
    settlement::AwardPart,
    time::Timestamp,
};

/// A task as its signed statements tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The root ask.
    pub task: Cid,
    /// Every award beneath it, the earliest first.
    pub hires: Vec<Hire>,
    /// What the bundle holds beside that, of later versions.
    pub unread: Vec<Unread>,
}

/// A statement that its issuer signed and that this version doesn't understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its content ID.
    pub statement: Cid,
    /// What isn't understood.
    pub why: String,
}

/// One award and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hire {
    /// The award.
    pub award: Cid,
    /// When it was made, by the buyer's clock.
    pub awarded: Timestamp,
    /// Who hired.
    pub buyer: AgentId,
    /// On whose authority.
    pub principal: AgentId,
    /// The terms.
    pub args: AwardArgs,
    /// How it was to be paid.
    pub part: AwardPart,
    /// What the seller signed, if it did.
    pub receipt: Option<ReceiptBody>,
    /// What the seller's offer promises of the output; `None` if it promises nothing, or isn't understood.
    pub promised: Option<Promised>,
    /// Who answers for it.
    pub answer: Answer,
}

/// A schema that the output is to satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// The hash of its text, from the offer.
    pub schema: SchemaHash,
    /// The text, if the bundle holds it.
    pub text: Option<String>,
}

/// Who answers for a hire, as far as the statements show. A party answers only for what its own signature stands under; what
/// one says of the other is that one's word and no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The seller answers for the output that it signed for.
    Delivered(AgentId),
    /// The seller answers: it signed that it failed, or that it ended after the deadline.
    SellerFailed(AgentId),
    /// The seller signed that it did not deliver through the buyer's doing. Nothing that the buyer signed shows it.
    SellerSays(AgentId, FailureCode),
    /// There is no receipt. Whoever made the file may have left it out.
    Open,
    /// It hangs on something of a later version.
    NotUnderstood,
}

impl Hire {
    pub(super) fn new(
        award: &Award,
        awarded: Timestamp,
        receipt: Option<&Signed<Receipt>>,
        promised: Option<Promised>,
    ) -> Self {
        let receipt = receipt.map(|receipt| receipt.body.clone());
        let answer = answer(award, receipt.as_ref());
        Self { promised, ..Self::with(award, awarded, receipt, answer) }
    }

    pub(super) fn not_understood(award: &Award, awarded: Timestamp) -> Self {
        Self::with(award, awarded, None, Answer::NotUnderstood)
    }

    fn with(award: &Award, awarded: Timestamp, receipt: Option<ReceiptBody>, answer: Answer) -> Self {
        Self {
            award: award.cid(),
            awarded,
            buyer: award.buyer(),
            principal: award.principal(),
            args: award.args().clone(),
            part: award.part().clone(),
            receipt,
            promised: None,
            answer,
        }
    }

    /// Whether this is the output, under its salt, that the seller's receipt commits to.
    pub fn is_output(&self, salt: &Salt, output: &[u8]) -> bool {
        match self.receipt.as_ref().map(|receipt| &receipt.out) {
            Some(Outcome::Ok(commitment)) => *commitment == commit(salt, output),
            _ => false,
        }
    }
}

fn answer(award: &Award, receipt: Option<&ReceiptBody>) -> Answer {
    let seller = award.args().seller;
    let Some(receipt) = receipt else { return Answer::Open };
    match &receipt.out {
        Outcome::Ok(_) if receipt.ended > award.args().deadline => Answer::SellerFailed(seller),
        Outcome::Ok(_) => Answer::Delivered(seller),
        Outcome::Other(_) => Answer::NotUnderstood,
        Outcome::Error(error) => match &error.code {
            FailureCode::InputMissing | FailureCode::InputInvalid | FailureCode::Cancelled => {
                Answer::SellerSays(seller, error.code.clone())
            }
            FailureCode::Crashed
            | FailureCode::TimedOut
            | FailureCode::OutOfMemory
            | FailureCode::OutputTooLarge
            | FailureCode::OutputInvalid
            | FailureCode::Internal => Answer::SellerFailed(seller),
            FailureCode::Other(_) => Answer::NotUnderstood,
        },
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Task {}", self.task)?;
        self.hires.iter().try_for_each(|hire| write!(f, "\n{hire}"))?;
        for Unread { statement, why } in &self.unread {
            write!(f, "\n  {statement} is of a later version, {why}\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Hire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = &self.args;
        writeln!(f, "  asked by    {}", self.buyer.peer_id())?;
        writeln!(f, "  done by     {}", args.seller.peer_id())?;
        if self.principal == self.buyer {
            writeln!(f, "  authority   the buyer's own")?;
        } else {
            writeln!(f, "  authority   of {}, through {} delegation(s)", self.principal.peer_id(), args.depth)?;
        }
        writeln!(f, "  service     {}", args.service)?;
        writeln!(f, "  price       {} {} net, {}", args.price, args.unit, self.part.mode())?;
        writeln!(f, "  money       {}", self.part.words(args))?;
        writeln!(f, "  input       {}", args.input)?;
        writeln!(f, "  awarded     {} by the buyer's clock, due {}", self.awarded, args.deadline)?;
        if let Some(Promised { schema, text }) = &self.promised {
            let held = if text.is_some() { "in this file" } else { "not in this file" };
            writeln!(f, "  promised    an output that satisfies the schema {schema}, {held}")?;
        }
        if let Some(receipt) = &self.receipt {
            writeln!(f, "  worked      {} to {} by the seller's clock", receipt.began, receipt.ended)?;
            match &receipt.out {
                Outcome::Ok(commitment) => writeln!(f, "  output      salted hash {commitment}")?,
                Outcome::Error(error) => {
                    writeln!(f, "  failed      {}, in the seller's words: {:?}", error.code, error.text)?
                }
                Outcome::Other(form) => writeln!(f, "  outcome     {form}, which this version doesn't know")?,
            }
            if let Some(locked) = receipt.money.locked() {
                writeln!(
                    f,
                    "  locked      {locked} {} in all by the seller's count, the mint's fees included",
                    args.unit
                )?;
            }
        }
        writeln!(f, "  award       {}", self.award)?;
        writeln!(f, "  => {}", self.answer)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered(seller) => {
                write!(f, "delivered: {} signed for the output and answers for it", seller.peer_id())
            }
            Self::SellerFailed(seller) => {
                write!(f, "failed: {} signed that it did not deliver in time and answers for it", seller.peer_id())
            }
            Self::SellerSays(seller, code) => {
                let what = match code {
                    FailureCode::InputMissing => "the input never arrived",
                    FailureCode::InputInvalid => "the input was not valid",
                    FailureCode::Cancelled => "the buyer cancelled",
                    _ => "it is not to blame",
                };
                write!(f, "not done: {} says that {what}; nothing that the buyer signed shows it", seller.peer_id())
            }
            Self::NotUnderstood => {
                f.write_str("not understood: it hangs on something of a later version, so nobody is held to answer")
            }
            Self::Open => f.write_str("no receipt: nothing here shows whether the seller took the award"),
        }
    }
}
