//! What a checked bundle says, in types for programs and in words for people.

use std::fmt;

use cid::Cid;

use crate::{
    award::{Award, AwardArgs},
    envelope::Signed,
    identity::AgentId,
    receipt::{Outcome, Receipt, ReceiptBody},
    time::Timestamp,
};

/// A task as its signed statements tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The root ask.
    pub task: Cid,
    /// Every award beneath it, the earliest first.
    pub hires: Vec<Hire>,
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
    /// What the seller signed, if it did.
    pub receipt: Option<ReceiptBody>,
    /// Who answers for it.
    pub answer: Answer,
}

/// Who answers for a hire, as far as the statements show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The seller answers for the output that it signed for.
    Delivered(AgentId),
    /// The seller answers for not having delivered in time.
    SellerFailed(AgentId),
    /// The buyer answers: its input was at fault, or it cancelled.
    BuyerFailed(AgentId),
    /// There is no receipt: nothing here shows whether the seller took the award.
    Open,
}

impl Hire {
    pub(super) fn new(award: &Award, awarded: Timestamp, receipt: Option<&Signed<Receipt>>) -> Self {
        let receipt = receipt.map(|receipt| receipt.body.clone());
        let answer = answer(award, receipt.as_ref());
        Self {
            award: award.cid(),
            awarded,
            buyer: award.buyer(),
            principal: award.principal(),
            args: award.args().clone(),
            receipt,
            answer,
        }
    }
}

fn answer(award: &Award, receipt: Option<&ReceiptBody>) -> Answer {
    let seller = award.args().seller;
    match receipt.map(|receipt| (&receipt.out, receipt.ended)) {
        None => Answer::Open,
        Some((Outcome::Error(error), _)) if error.code.by_buyer() => Answer::BuyerFailed(award.buyer()),
        Some((Outcome::Error(_), _)) => Answer::SellerFailed(seller),
        Some((Outcome::Ok(_), ended)) if ended.as_secs() > award.args().deadline.as_secs() => {
            Answer::SellerFailed(seller)
        }
        Some((Outcome::Ok(_), _)) => Answer::Delivered(seller),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Task {}", self.task)?;
        self.hires.iter().try_for_each(|hire| write!(f, "\n{hire}"))
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
        writeln!(f, "  price       {} {} net, prepaid", args.price, args.unit)?;
        writeln!(f, "  money       locked at {} until {}, commitment {}", args.mint, args.locktime, args.ys)?;
        writeln!(f, "  input       {}", args.input)?;
        writeln!(f, "  awarded     {}, due {}", self.awarded, args.deadline)?;
        if let Some(receipt) = &self.receipt {
            writeln!(f, "  worked      {} to {}", receipt.began, receipt.ended)?;
            match &receipt.out {
                Outcome::Ok(commitment) => writeln!(f, "  output      salted hash {commitment}")?,
                Outcome::Error(error) => writeln!(f, "  failed      {:?}: {:?}", error.code, error.text)?,
            }
            writeln!(f, "  locked      {} {} in all, the mint's fees included", receipt.locked.amount, args.unit)?;
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
            Self::SellerFailed(seller) => write!(f, "failed: {} answers for it", seller.peer_id()),
            Self::BuyerFailed(buyer) => {
                write!(f, "not done through the buyer's own doing: {} answers", buyer.peer_id())
            }
            Self::Open => f.write_str("no receipt: nothing here shows whether the seller took the award"),
        }
    }
}
