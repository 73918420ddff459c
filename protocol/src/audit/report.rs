//! What a checked bundle says, in types for programs and in words for people.

use std::{collections::BTreeMap, fmt};

use cid::Cid;

use crate::{
    acceptance::Acceptance,
    award::{Award, AwardArgs},
    cancellation::Cancellation,
    envelope::Signed,
    identity::AgentId,
    market::SchemaHash,
    receipt::{FailureCode, Outcome, Receipt, ReceiptBody, Salt, commit},
    received::Received,
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
    /// When the seller took it, as it signed.
    pub accepted: Option<Timestamp>,
    /// When the buyer called it off, as it signed.
    pub cancelled: Option<Timestamp>,
    /// What the seller signed of the work, if it did, and only one thing.
    pub receipt: Option<ReceiptBody>,
    /// What it signed of the work where it signed more than one thing, by content ID.
    pub contradicting: BTreeMap<Cid, ReceiptBody>,
    /// The buyer's word that it has the output.
    pub received: Option<Has>,
    /// What the seller's offer promises of the output; `None` if it promises nothing, or isn't understood.
    pub promised: Option<Promised>,
    /// What the bundle shows of the delegations behind the award: those that are revoked. None is only as far as it knows.
    pub revoked: Vec<Revoked>,
    /// The award for whose sake it was made, as far as the file shows it.
    pub under: Option<Cid>,
    /// Receipts of work that was passed on which the receipt names and the file doesn't hold.
    pub elsewhere: Vec<Cid>,
    /// Other awards of the buyer under the same delegation whose running totals overlap this one's: by its own signatures it has
    /// awarded the same part of what it was granted more than once.
    pub overlaps: Vec<Cid>,
    /// Who answers for it.
    pub answer: Answer,
}

/// A delegation behind an award that was revoked, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Which.
    pub delegation: Cid,
    /// Who signed that.
    pub revoker: AgentId,
    /// When, by its clock, if it says so.
    pub at: Option<Timestamp>,
}

/// A schema that the output is to satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// The hash of its text, from the offer.
    pub schema: SchemaHash,
    /// The text, if the bundle holds it.
    pub text: Option<String>,
}

/// A buyer's word that it has the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Has {
    /// When it was here, by the buyer's clock.
    pub at: Timestamp,
    /// The receipt that it says commits to it.
    pub receipt: Cid,
    /// What that is.
    pub named: Named,
}

/// What a buyer's word names as the receipt of what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// A receipt in the file that commits to an output.
    Output,
    /// A receipt in the file that commits to none: the buyer's word can't be true.
    NoOutput,
    /// A receipt that isn't in the file.
    Elsewhere,
}

/// What both sides signed about one award. Each is the word of the party that it is of.
#[derive(Default)]
pub(super) struct Words<'a> {
    pub(super) acceptances: Vec<&'a Signed<Acceptance>>,
    pub(super) cancellations: Vec<&'a Signed<Cancellation>>,
    pub(super) receipts: Vec<&'a Signed<Receipt>>,
    pub(super) received: Vec<&'a Signed<Received>>,
}

impl Words<'_> {
    /// The buyer's word that it has the output: of several, the one that fits best.
    fn has(&self) -> Option<Has> {
        let has = |received: &&Signed<Received>| {
            let receipt = received.body.receipt;
            let named = match self.receipts.iter().find(|known| known.cid() == receipt).map(|known| &known.body.out) {
                Some(Outcome::Ok(_) | Outcome::Other(_)) => Named::Output,
                Some(Outcome::Error(_)) => Named::NoOutput,
                None => Named::Elsewhere,
            };
            Has { at: received.iat, receipt, named }
        };
        self.received.iter().map(has).min_by_key(|has| (has.named, has.at))
    }

    /// The receipts that say something of their own. The same signed twice is no contradiction.
    fn different_receipts(&self) -> BTreeMap<Cid, ReceiptBody> {
        let mut different: BTreeMap<Cid, ReceiptBody> = BTreeMap::new();
        for receipt in &self.receipts {
            if !different.values().any(|known| *known == receipt.body) {
                different.insert(receipt.cid(), receipt.body.clone());
            }
        }
        different
    }
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
    /// The seller answers: it signed receipts that contradict each other.
    SellerContradicts(AgentId),
    /// The seller signed that it took the award. The file shows no delivery; whoever made it may have left one out.
    Accepted(AgentId),
    /// The buyer answers: it signed that it called the award off.
    CalledOff(AgentId),
    /// The buyer signed that it has the output. The receipt isn't in the file.
    Received(AgentId),
    /// Who revoked the authority answers for it: the seller signed that it didn't begin because of that, and the revocation is in
    /// the file.
    Revoked(AgentId),
    /// Nothing was signed but the award. Whoever made the file may have left the rest out.
    Open,
    /// It hangs on something of a later version.
    NotUnderstood,
}

impl Hire {
    pub(super) fn new(
        award: &Award,
        awarded: Timestamp,
        words: &Words<'_>,
        promised: Option<Promised>,
        revoked: Vec<Revoked>,
    ) -> Self {
        let mut receipts = words.different_receipts();
        let receipt = if receipts.len() == 1 { receipts.pop_first().map(|(_, receipt)| receipt) } else { None };
        let mut hire = Self {
            accepted: words.acceptances.iter().map(|acceptance| acceptance.iat).min(),
            cancelled: words.cancellations.iter().map(|cancellation| cancellation.iat).min(),
            receipt,
            contradicting: receipts,
            received: words.has(),
            promised,
            revoked,
            ..Self::not_understood(award, awarded)
        };
        hire.answer = hire.find_answer();
        hire
    }

    pub(super) fn not_understood(award: &Award, awarded: Timestamp) -> Self {
        Self {
            award: award.cid(),
            awarded,
            buyer: award.buyer(),
            principal: award.principal(),
            args: award.args().clone(),
            part: award.part().clone(),
            accepted: None,
            cancelled: None,
            receipt: None,
            contradicting: BTreeMap::new(),
            received: None,
            promised: None,
            revoked: Vec::new(),
            under: None,
            elsewhere: Vec::new(),
            overlaps: Vec::new(),
            answer: Answer::NotUnderstood,
        }
    }

    fn find_answer(&self) -> Answer {
        let (buyer, seller) = (self.buyer, self.args.seller);
        if !self.contradicting.is_empty() {
            return Answer::SellerContradicts(seller);
        }
        let Some(receipt) = &self.receipt else {
            return match self {
                Self { received: Some(_), .. } => Answer::Received(buyer),
                Self { cancelled: Some(_), .. } => Answer::CalledOff(buyer),
                Self { accepted: Some(_), .. } => Answer::Accepted(seller),
                _ => Answer::Open,
            };
        };
        match &receipt.out {
            Outcome::Ok(_) if receipt.ended > self.args.deadline => Answer::SellerFailed(seller),
            Outcome::Ok(_) => Answer::Delivered(seller),
            Outcome::Other(_) => Answer::NotUnderstood,
            Outcome::Error(error) => match &error.code {
                // It says that it was the buyer's doing, and the buyer signed that it wanted no more of it.
                FailureCode::InputMissing | FailureCode::InputInvalid | FailureCode::Cancelled
                    if self.cancelled.is_some() =>
                {
                    Answer::CalledOff(buyer)
                }
                FailureCode::Revoked if !self.revoked.is_empty() => Answer::Revoked(self.revoked[0].revoker),
                FailureCode::InputMissing
                | FailureCode::InputInvalid
                | FailureCode::Revoked
                | FailureCode::Cancelled => Answer::SellerSays(seller, error.code.clone()),
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

    /// The verdict in one sentence: who answers for what, what the buyer signed that it has, and whether it overspent.
    pub fn verdict(&self) -> String {
        let has = match &self.received {
            Some(has) if !matches!(self.answer, Answer::Received(_)) => match has.named {
                Named::Output => "that it has the output",
                Named::NoOutput => "that it has the output of a receipt that commits to none, which can't be",
                Named::Elsewhere => "that it has the output of a receipt that is not in this file",
            },
            _ => return format!("{}{}{}", self.answer, self.authority(), self.overspending()),
        };
        let (answer, buyer) = (&self.answer, self.buyer.peer_id());
        format!("{answer}; {buyer} signed {has}{}{}", self.authority(), self.overspending())
    }

    /// That the buyer's own signatures show that it overspent, if they do.
    fn overspending(&self) -> String {
        if self.overlaps.is_empty() {
            return String::new();
        }
        let buyer = self.buyer.peer_id();
        format!(
            "; {buyer} overspent what it was granted, and answers for it: it signed awards whose running totals overlap"
        )
    }

    /// What is known of the authority of whoever awards in another's name.
    fn authority(&self) -> String {
        if self.principal == self.buyer || matches!(self.answer, Answer::NotUnderstood) {
            return String::new();
        }
        match self.revoked.as_slice() {
            [] => "; its authority is not revoked as far as this bundle knows".to_owned(),
            [Revoked { revoker, at, .. }, ..] => {
                let when = match at {
                    Some(at) if *at <= self.awarded => " before the award was made",
                    Some(_) => " after the award was made",
                    None => "",
                };
                format!("; {} signed that it revoked its authority{when}", revoker.peer_id())
            }
        }
    }

    /// Whether it was delivered, as far as the statements show.
    pub fn is_delivered(&self) -> bool {
        matches!(self.answer, Answer::Delivered(_) | Answer::Received(_))
    }

    /// Whether this is the output, under its salt, that the seller's receipt commits to.
    pub fn is_output(&self, salt: &Salt, output: &[u8]) -> bool {
        match self.receipt.as_ref().map(|receipt| &receipt.out) {
            Some(Outcome::Ok(commitment)) => *commitment == commit(salt, output),
            _ => false,
        }
    }
}

impl Answer {
    /// Whoever answers for how it ended, for its own signature stands under that; `None` where nobody can be held to.
    pub fn who(&self) -> Option<AgentId> {
        match self {
            Self::Delivered(agent)
            | Self::SellerFailed(agent)
            | Self::SellerContradicts(agent)
            | Self::Revoked(agent)
            | Self::CalledOff(agent) => Some(*agent),
            Self::SellerSays(..) | Self::Accepted(_) | Self::Received(_) | Self::Open | Self::NotUnderstood => None,
        }
    }

    /// The answer's word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::SellerFailed(_) => "seller-failed",
            Self::SellerSays(..) => "seller-says",
            Self::SellerContradicts(_) => "seller-contradicts",
            Self::Accepted(_) => "accepted",
            Self::CalledOff(_) => "called-off",
            Self::Received(_) => "received",
            Self::Revoked(_) => "revoked",
            Self::Open => "open",
            Self::NotUnderstood => "not-understood",
        }
    }
}

impl Report {
    /// The hires as they stand under each other, with how deep; the earliest first.
    pub fn tree(&self) -> Vec<(usize, &Hire)> {
        let mut tree = Vec::with_capacity(self.hires.len());
        let is_root = |hire: &&Hire| hire.under.is_none_or(|above| self.hires.iter().all(|hire| hire.award != above));
        let mut waiting: Vec<(usize, &Hire)> = self.hires.iter().filter(is_root).map(|hire| (0, hire)).rev().collect();
        while let Some((depth, hire)) = waiting.pop() {
            tree.push((depth, hire));
            waiting.extend(self.below(hire).rev().map(|sub| (depth + 1, sub)));
        }
        tree
    }

    /// What was hired for the sake of a hire.
    pub fn below<'a>(&'a self, hire: &'a Hire) -> impl DoubleEndedIterator<Item = &'a Hire> {
        self.hires.iter().filter(|sub| sub.under == Some(hire.award))
    }

    /// Who answers to whom for a hire that came to nothing, and why; `None` if it was delivered. Whoever passed work on answers
    /// for the whole to its own buyer, and those beneath to it.
    pub fn responsibility(&self, hire: &Hire) -> Option<String> {
        if hire.is_delivered() {
            return None;
        }
        let to = hire.buyer.peer_id();
        let mut sentence = match hire.answer.who() {
            Some(who) if who == hire.buyer => format!("{} answers for it itself: {}", to, hire.answer),
            Some(who) => format!("{} answers to {to}: {}", who.peer_id(), hire.answer),
            None => format!("nobody can be held to answer to {to}: {}", hire.answer),
        };
        for sub in self.below(hire).filter(|sub| !sub.is_delivered()) {
            let who = sub.answer.who().map_or_else(|| "nobody".to_owned(), |who| who.peer_id());
            sentence += &format!(
                "; beneath it, for {}, {who} answers to {}: {}",
                sub.args.service,
                sub.buyer.peer_id(),
                sub.answer
            );
        }
        Some(sentence)
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |agent: AgentId| {
            let id = agent.peer_id();
            format!("…{}", &id[id.len().saturating_sub(8)..])
        };
        writeln!(f)?;
        for (depth, hire) in self.tree() {
            let args = &hire.args;
            let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
            let took = hire.receipt.as_ref().map(|receipt| format!(", {} s", receipt.ended.since(receipt.began)));
            writeln!(
                f,
                "  {branch}{} hired {} for {}: {} {}{}, {}",
                short(hire.buyer),
                short(args.seller),
                args.service,
                args.price,
                args.unit,
                took.unwrap_or_default(),
                hire.answer.as_str(),
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Task {}", self.task)?;
        if self.hires.len() > 1 {
            self.draw(f)?;
        }
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
        for Revoked { delegation, revoker, at } in &self.revoked {
            let at = at.map(|at| format!(" at {at} by its clock")).unwrap_or_default();
            writeln!(f, "  revoked     {delegation} by {}{at}", revoker.peer_id())?;
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
        if let Some(at) = self.accepted {
            writeln!(f, "  accepted    {at} by the seller's clock")?;
        }
        if let Some(at) = self.cancelled {
            writeln!(f, "  called off  {at} by the buyer's clock")?;
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
        for (cid, receipt) in &self.contradicting {
            let out = match &receipt.out {
                Outcome::Ok(commitment) => format!("output with the salted hash {commitment}"),
                Outcome::Error(error) => format!("failed: {}", error.code),
                Outcome::Other(form) => form.to_string(),
            };
            writeln!(f, "  receipt     {cid}, {out}, ended {}", receipt.ended)?;
        }
        if let Some(has) = &self.received {
            writeln!(f, "  received    {} by the buyer's clock", has.at)?;
        }
        for sub in &self.elsewhere {
            writeln!(f, "  passed on   its receipt {sub} is not in this file")?;
        }
        for other in &self.overlaps {
            writeln!(f, "  overspent   its running total, {}, overlaps that of the award {other}", args.spent)?;
        }
        writeln!(f, "  award       {}", self.award)?;
        writeln!(f, "  => {}", self.verdict())
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
                    FailureCode::Revoked => "the buyer's authority was revoked",
                    FailureCode::Cancelled => "the buyer cancelled",
                    _ => "it is not to blame",
                };
                write!(f, "not done: {} says that {what}; nothing that the buyer signed shows it", seller.peer_id())
            }
            Self::SellerContradicts(seller) => {
                write!(
                    f,
                    "contradicted: {} signed receipts that contradict each other and answers for it",
                    seller.peer_id()
                )
            }
            Self::Accepted(seller) => {
                write!(f, "accepted: {} signed that it took the award; this file shows no delivery", seller.peer_id())
            }
            Self::CalledOff(buyer) => {
                write!(f, "called off: {} signed that it called the award off and answers for it", buyer.peer_id())
            }
            Self::Received(buyer) => {
                write!(
                    f,
                    "delivered: {} signed that it has the output; the receipt is not in this file",
                    buyer.peer_id()
                )
            }
            Self::Revoked(revoker) => {
                write!(f, "not done: {} signed that it revoked the authority to award it", revoker.peer_id())
            }
            Self::NotUnderstood => {
                f.write_str("not understood: it hangs on something of a later version, so nobody is held to answer")
            }
            Self::Open => f.write_str("no receipt: nothing here shows whether the seller took the award"),
        }
    }
}
