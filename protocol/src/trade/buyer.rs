//! The buyer's side of one award. See [`super`] for the states and the call order.

mod unopened;

use serde::{Deserialize, Serialize};

pub use self::unopened::Unopened;
use super::{Deal, StatementError, Statements, Stored, read_statement};
use crate::{
    acceptance::Acceptance,
    bytes::Digest,
    cancellation::{Cancellation, CancellationBody},
    content::ContentId,
    envelope::Signed,
    fault::{AtFault, Fault},
    limits::MAX_CONTENT,
    receipt::{self, FailureCode, Outcome, Receipt, Salt, TaskError},
    received::{Received, ReceivedBody},
    seal::{Cipher, Opened, Sealed, sealed_size},
    settlement::{
        ReceiptPart,
        escrow::{ReleaseSignature, Shown},
    },
    time::Timestamp,
    wire::{self, Message, Output, Payload, Reason},
};

/// First wait before an unanswered message is sent again, in seconds; doubled each time.
const FIRST_RETRY_SECS: u64 = 2;
/// Longest such wait, in seconds; also how often a seller at work is asked where it stands, should its delivery be lost.
const MAX_RETRY_SECS: u64 = 30;
/// How long a seller that is asked after the deadline has to answer, in seconds, before the trade is given up: whoever
/// slept over the deadline finds what was delivered in time.
pub(super) const LATE_ANSWER_SECS: u64 = 5;
/// How often a seller is asked whether it delivered, in seconds, once the trade is given up and until the money falls back.
const GIVEN_UP_RETRY_SECS: u64 = 120;
/// How long after a moment a buyer that looks again was there when it came, in seconds: it asks that often at the least. One that comes
/// later was away.
const PRESENT_SECS: u64 = MAX_RETRY_SECS;
/// How often an award is sent again at once to a seller that says it never got it, before that is left to the timer.
const MAX_QUICK_TRIES: u32 = 3;

/// Where the buyer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Buyer {
    /// The award is on disk; the seller hasn't answered.
    Awarded(Waiting),
    /// The seller has taken it.
    Working(Waiting),
    /// The seller has delivered; the output is on its way.
    Fetching(Fetching),
    /// The seller has delivered sealed: see [`Unopened`].
    Unopened(Box<Unopened>),
    /// Past the deadline, and told so; the seller is asked until the money falls back.
    GivenUp(GivenUp),
    /// Over.
    Ended(Ended),
}

/// Waiting for the seller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// How often we have asked since the seller was last heard.
    tries: u32,
    /// Until when the seller may answer, once it has been asked since the deadline.
    answer_by: Option<Timestamp>,
    /// Whether we weren't there when the deadline passed.
    was_away: bool,
    /// What was signed so far; a cancellation if the user has cancelled.
    signed: Statements,
}

/// Given up without a word from the seller: what still comes of it is welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUp {
    /// How it ends if nothing comes.
    pub ended: Ended,
    /// Whether we weren't there to be delivered to when the deadline passed: the seller may have kept its part, and isn't judged yet.
    was_away: bool,
}

/// What was said of a trade before its delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    /// What the wallet was told.
    money: Money,
    /// Whether its seller was judged by it: nobody is judged twice for one trade.
    judged: bool,
    /// In escrow: whether the money may still be released. Not once the user was told that nothing was delivered, unless that is
    /// because we were away.
    releases: bool,
}

/// Fetching an output that goes as content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetching {
    receipt: Signed<Receipt>,
    salt: Salt,
    content: ContentId,
    /// What was already said, if the delivery came after the trade was given up.
    before: Option<Before>,
    /// What was signed so far.
    signed: Statements,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// What came of it.
    pub outcome: BuyerOutcome,
    /// What became of the money.
    pub money: Money,
    /// The seller's receipt, if there is one.
    pub receipt: Option<Signed<Receipt>>,
    /// The output and its salt, if there is one.
    pub output: Option<(Salt, Stored)>,
    /// When it ended.
    pub at: Timestamp,
    /// What else was signed, by either side.
    pub signed: Statements,
    /// In escrow: what was delivered, and what was shown as its key, where the two aren't what the receipt commits to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forged: Option<Forged>,
}

/// A sealed output that isn't what its receipt commits to: whoever has both can see it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forged {
    /// What was delivered, as the receipt names it.
    pub ciphertext: Stored,
    /// What was shown for the hash that the money was locked to.
    pub shown: serde_bytes::ByteBuf,
}

/// The key is the parties' business until it is shown on purpose.
impl std::fmt::Debug for Forged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forged").field("ciphertext", &self.ciphertext).finish_non_exhaustive()
    }
}

/// What came of a trade, for its buyer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum BuyerOutcome {
    /// The output is here and matches the receipt.
    Delivered {
        /// After the deadline.
        late: bool,
    },
    /// The seller says under its signature that it failed.
    Failed(TaskError),
    /// The seller never took the award.
    Refused(Reason),
    /// The deadline passed without a delivery.
    Overdue,
    /// In escrow: delivered in time as far as the receipt says, and the moment to release the money for it passed without us.
    Missed,
    /// In escrow: the money was released, and the key never shown.
    Unopened,
    /// In escrow: the money is gone, and what opens the output was never shown.
    Keyless {
        /// Whether the mint shows the seller's signature with which it was taken. Otherwise that it was taken at all is the mint's
        /// word alone, and nobody is accused.
        by_seller: bool,
    },
    /// What was delivered isn't what the receipt commits to, or the receipt says that we called it off and we didn't.
    Mismatch,
    /// The seller delivered what only a later version understands.
    NotUnderstood,
    /// This node couldn't go on with it: in words.
    Broken(String),
}

impl From<LockOutcome> for Money {
    fn from(outcome: LockOutcome) -> Self {
        match outcome {
            LockOutcome::Paid => Self::Paid,
            LockOutcome::Returned => Self::Returned,
            LockOutcome::Refund => Self::Waiting,
        }
    }
}

impl BuyerOutcome {
    /// Whether the seller may take the money of a trade that ended so.
    fn earns(&self, deal: &Deal, receipt: Option<&Signed<Receipt>>) -> bool {
        match self {
            Self::Delivered { .. } => true,
            Self::Failed(_) => receipt.is_some_and(|receipt| deal.award.part().is_earned_by(&receipt.body.out)),
            // The seller may have done all it had to.
            Self::Broken(_) | Self::NotUnderstood => true,
            Self::Refused(_) | Self::Overdue | Self::Missed => false,
            Self::Unopened | Self::Keyless { .. } | Self::Mismatch => false,
        }
    }

    /// What it says of the seller; `None` if the seller isn't to be judged by it.
    fn conduct(&self) -> Option<SellerConduct> {
        match self {
            Self::Delivered { .. } => Some(SellerConduct::Delivered),
            // What it took is its conduct.
            Self::Keyless { .. } => None,
            other => (other.fault() == Some(Fault::Peer)).then_some(SellerConduct::Failed),
        }
    }

    /// Whose fault it is that there is no output; `None` if there is one.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Delivered { .. } => None,
            Self::Failed(error) if error.code.by_buyer() => Some(Fault::Ours),
            Self::Missed => Some(Fault::Ours),
            Self::Keyless { by_seller: false } => Some(Fault::Mint),
            Self::Failed(_) | Self::Overdue | Self::Unopened | Self::Mismatch => Some(Fault::Peer),
            Self::Keyless { by_seller: true } => Some(Fault::Peer),
            Self::NotUnderstood => Some(Fault::Incompatible),
            Self::Broken(_) => Some(Fault::Internal),
            Self::Refused(reason) => Some(match reason.fault() {
                Fault::Peer => Fault::Ours,
                other => other,
            }),
        }
    }
}

/// What becomes of the buyer's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Money {
    /// The seller has it, or will take it before the locktime.
    Paid,
    /// The seller never took it: free for another task of the same seller.
    Returned,
    /// Waiting for the locktime, to be refunded.
    Waiting,
    /// The locktime has passed: so much came back, so much the seller had taken.
    Settled {
        /// Refunded to us, after the mint's fees.
        refunded: u64,
        /// Redeemed by the seller.
        redeemed: u64,
        /// Kept by the mint for the refund.
        fee: u64,
    },
}

impl Money {
    /// Whether the wallet's word that the seller took so much, of all of the lock, is news.
    fn is_settled_by(self, all_redeemed: u64) -> bool {
        match self {
            Self::Waiting | Self::Returned => true,
            Self::Settled { redeemed, .. } => all_redeemed > redeemed,
            Self::Paid => false,
        }
    }
}

/// What becomes of the buyer's lock: the wallet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// The seller has earned it.
    Paid,
    /// The seller never took it: free for another task of the same seller.
    Returned,
    /// To be refunded after the locktime.
    Refund,
}

/// How a seller served its buyer, for choosing among later offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SellerConduct {
    /// It delivered.
    Delivered,
    /// It is at fault that nothing came of the trade.
    Failed,
    /// It took so much of the lock in all, and delivered nothing for it.
    Redeemed(u64),
}

/// What can happen to a buyer's trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The node has started again, or the seller is connected again.
    Resume,
    /// The moment asked for by [`Effect::WakeAt`] has come.
    Tick,
    /// From the seller, checked by [`check_accepted`].
    Accepted(Signed<Acceptance>),
    /// From the seller.
    Refused(Reason),
    /// From the seller: it knows no such award.
    Unknown,
    /// From the seller: has the output arrived?
    Asked,
    /// From the seller, checked by [`check_delivery`].
    Delivered(Delivery),
    /// The output has been stored.
    Fetched {
        /// Its commitment, recomputed from what arrived.
        commitment: Digest,
        /// What [`Buyer::received`] asked for, signed.
        received: Option<Signed<Received>>,
    },
    /// The output can't be had: wrong bytes.
    FetchFailed,
    /// In escrow: the release that [`Effect::Release`] asked for, one signature for each proof.
    Release(Vec<ReleaseSignature>),
    /// In escrow: the key, or what was shown in its place, from the seller or the mint. It has the agreed hash.
    Shown(Shown),
    /// In escrow: what came of [`Effect::Open`].
    Unsealed {
        /// What was shown.
        shown: Shown,
        /// The output and what it is held against; `None` if nothing was opened.
        opened: Option<(Opened, Stored)>,
        /// What [`Buyer::received`] asked for, signed.
        received: Option<Signed<Received>>,
    },
    /// The user cancels: a [`cancellation`], signed.
    Cancel(Signed<Cancellation>),
    /// From the seller: a delivery of which [`check_delivery`] says that it is of a later version.
    NotUnderstood,
    /// The driver can't do what the last step said, and never will: in words.
    Broken(String),
    /// The wallet has refunded what was left of the lock.
    Refunded {
        /// Came back, after fees.
        refunded: u64,
        /// Redeemed by the seller, of all of the lock.
        redeemed: u64,
        /// Kept by the mint.
        fee: u64,
    },
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send to the seller.
    Send(Message),
    /// Feed [`Input::Tick`] at that moment; replaces an earlier one.
    WakeAt(Timestamp),
    /// Fetch the output from the seller, then feed [`Input::Fetched`] or [`Input::FetchFailed`].
    Fetch {
        /// What to fetch.
        content: ContentId,
        /// The salt that its commitment begins with.
        salt: Salt,
    },
    /// In escrow: sign the release, then feed [`Input::Release`].
    Release,
    /// In escrow: ask the mint whether it shows the key, and feed [`Input::Shown`] if it does.
    FindKey,
    /// In escrow: open what was delivered with what was shown, then feed [`Input::Unsealed`].
    Open {
        /// What was delivered.
        ciphertext: Stored,
        /// With what.
        shown: Shown,
    },
    /// Tell whoever waits that the trade is over.
    Finish,
    /// Tell that the seller took so much of the lock in all and delivered nothing for it; keep the proof.
    Accuse(u64),
}

/// What a step writes. All of it goes into one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The deal. It never changes.
    Deal,
    /// The step's state.
    State,
    /// The same, but not now: with whatever is written next, or soon. Nothing hangs on it: what a crash takes of it, the seller
    /// says again.
    Behind,
    /// That the trade is open: it is resumed after a restart.
    Open,
    /// That it no longer is.
    Close,
    /// A content is kept as long as the trade's record.
    Keep(ContentId),
    /// The same, and the seller may fetch it.
    Share(ContentId),
    /// A content is no longer kept for the trade.
    Forget(ContentId),
    /// What becomes of the lock.
    Settle(LockOutcome),
    /// The wallet's word on what became of the lock has been taken note of.
    Acknowledge,
    /// How the seller did.
    Conduct(SellerConduct),
}

/// A step of a buyer's trade.
pub type Step = super::Step<Buyer, Write, Effect>;

/// A delivery that belongs to the deal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    receipt: Signed<Receipt>,
    output: Option<Output>,
    /// In escrow: what was delivered in its place.
    sealed: Option<Payload>,
    /// Whether the output is here and is the one that the receipt commits to.
    opens: bool,
    received: Option<Signed<Received>>,
}

impl Delivery {
    /// The receipt that it came with.
    pub fn receipt(&self) -> &Signed<Receipt> {
        &self.receipt
    }

    /// What the buyer signs of it before it feeds it: that it has the output. `None` if it hasn't, or not yet.
    pub fn received(&self) -> Option<ReceivedBody> {
        self.opens.then(|| received(&self.receipt))
    }

    /// With what [`Self::received`] asked for, signed.
    pub fn with_received(self, received: Signed<Received>) -> Self {
        Self { received: Some(received), ..self }
    }
}

fn received(receipt: &Signed<Receipt>) -> ReceivedBody {
    ReceivedBody { award: receipt.body.award, receipt: receipt.cid() }
}

/// What a buyer signs that calls the deal off.
pub fn cancellation(deal: &Deal) -> CancellationBody {
    CancellationBody { award: deal.id() }
}

impl Buyer {
    /// Begins a trade: to be persisted together with the deal and the debit of the lock.
    pub fn begin(deal: &Deal, now: Timestamp) -> Step {
        let mut writes = vec![Write::Deal, Write::State, Write::Open];
        if let Payload::Content(input) = &deal.input {
            writes.push(Write::Share(*input));
        }
        let effects = vec![Effect::Send(deal.message()), retry(deal, 0, now)];
        Step { state: Self::Awarded(Waiting::default()), writes, effects }
    }

    /// Takes the next input.
    pub fn handle(self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        let is_refunded = matches!(input, Input::Refunded { .. });
        let mut step = match self {
            Self::Awarded(waiting) => waiting.in_awarded(deal, input, now),
            Self::Working(waiting) => waiting.in_working(deal, input, now),
            Self::Fetching(fetching) => fetching.handle(deal, input, now),
            Self::Unopened(unopened) => unopened.handle(deal, input, now),
            Self::GivenUp(given_up) => given_up.handle(deal, input, now),
            Self::Ended(ended) => ended.handle(deal, input, now),
        };
        if is_refunded {
            // Also where it comes again or changes nothing: the wallet repeats it until it is acknowledged.
            step.writes.push(Write::Acknowledge);
        }
        step
    }

    /// Whether anything is still expected of the seller or of this machine.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// How it ended, as far as the user is told: also once it is given up and may still come to something.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Ended(ended) => Some(ended),
            Self::GivenUp(given_up) => Some(&given_up.ended),
            Self::Unopened(unopened) => unopened.given_up(),
            Self::Awarded(_) | Self::Working(_) | Self::Fetching(_) => None,
        }
    }

    /// What was signed so far, beside award and receipt.
    pub fn signed(&self) -> &Statements {
        match self {
            Self::Awarded(waiting) | Self::Working(waiting) => &waiting.signed,
            Self::Fetching(fetching) => &fetching.signed,
            Self::Unopened(unopened) => unopened.signed(),
            Self::GivenUp(GivenUp { ended, .. }) | Self::Ended(ended) => &ended.signed,
        }
    }

    /// The seller's receipt, if there is one.
    pub fn receipt(&self) -> Option<&Signed<Receipt>> {
        match self {
            Self::Awarded(_) | Self::Working(_) => None,
            Self::Fetching(fetching) => Some(&fetching.receipt),
            Self::Unopened(unopened) => Some(unopened.receipt()),
            Self::GivenUp(GivenUp { ended, .. }) | Self::Ended(ended) => ended.receipt.as_ref(),
        }
    }

    /// What the buyer signs once an output with this commitment is here; `None` if it isn't the one that is waited for.
    pub fn received(&self, commitment: Digest) -> Option<ReceivedBody> {
        let (Self::Fetching(_) | Self::Unopened(_)) = self else { return None };
        let receipt = self.receipt()?;
        (receipt.body.out == Outcome::Ok(commitment)).then(|| received(receipt))
    }
}

impl Waiting {
    fn in_awarded(self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            Input::Accepted(acceptance) => {
                let effects = self.next_question(deal, now);
                let signed = Statements { acceptance: Some(acceptance), ..self.signed };
                let state = Buyer::Working(Self { tries: 0, signed, ..self });
                Step { state, writes: vec![Write::Behind], effects }
            }
            Input::Refused(reason) => {
                let said = Said::Now(LockOutcome::Returned);
                End { said, ..End::new(BuyerOutcome::Refused(reason), self.signed) }.step(deal, now)
            }
            Input::Resume | Input::Tick | Input::Unknown => self.again(deal, input, now, Buyer::Awarded),
            other => self.in_either(deal, other, now, Buyer::Awarded),
        }
    }

    fn in_working(self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            // Said again, as the answer to our question: it works, and isn't asked sooner than it would have been.
            Input::Accepted(_) => {
                let effects = self.next_question(deal, now);
                Step::passing(Buyer::Working(Self { tries: 0, ..self }), effects)
            }
            Input::Resume | Input::Tick => self.again(deal, input, now, Buyer::Working),
            // A seller that forgot what it accepted has lost its store; it may still take the award again.
            Input::Unknown => self.again(deal, input, now, Buyer::Awarded),
            other => self.in_either(deal, other, now, Buyer::Working),
        }
    }

    fn in_either(self, deal: &Deal, input: Input, now: Timestamp, stay: fn(Self) -> Buyer) -> Step {
        match input {
            // Nobody called it off: the receipt is kept as what its seller signed, and the money isn't given up for it.
            Input::Delivered(Delivery { receipt, .. }) if !self.is_cancelled() && is_cancelled(&receipt) => {
                End { receipt: Some(receipt), ..End::new(BuyerOutcome::Mismatch, self.signed) }.step(deal, now)
            }
            Input::Delivered(delivery) => delivered(deal, delivery, None, self.signed, now),
            // It will be no other for being asked again. One that is understood is still taken until the money falls back.
            Input::NotUnderstood => give_up(BuyerOutcome::NotUnderstood, false, self.signed, deal, now),
            Input::Broken(why) => End::new(BuyerOutcome::Broken(why), self.signed).step(deal, now),
            // A seller that has started again goes on only once it knows that we have no receipt.
            Input::Asked => {
                let question = Effect::Send(self.question(deal));
                Step::passing(stay(self), vec![question])
            }
            Input::Cancel(cancellation) if !self.is_cancelled() => {
                let signed = Statements { cancellation: Some(cancellation), ..self.signed };
                let waiting = Self { signed, ..self };
                let cancel = Effect::Send(waiting.question(deal));
                Step { state: stay(waiting), writes: vec![Write::State], effects: vec![cancel] }
            }
            _ => Step::passing(stay(self), vec![]),
        }
    }

    /// When a seller that was just heard is asked next. Past the deadline its last answer is waited for: that moment stays.
    fn next_question(&self, deal: &Deal, now: Timestamp) -> Vec<Effect> {
        if self.answer_by.is_some() { vec![] } else { vec![wake_in(MAX_RETRY_SECS, deal, now)] }
    }

    /// Whether the user has cancelled.
    fn is_cancelled(&self) -> bool {
        self.signed.cancellation.is_some()
    }

    /// How the seller is asked where the award stands: once it is called off, by saying so again.
    fn question(&self, deal: &Deal) -> Message {
        let award = deal.id();
        match &self.signed.cancellation {
            Some(cancellation) => {
                wire::Cancel { award, cancellation: serde_bytes::ByteBuf::from(cancellation.bytes()) }.into()
            }
            None => wire::Status { award, receipt: None }.into(),
        }
    }

    /// Asks again; gives up once the deadline has passed and the seller, asked once more, has kept quiet.
    fn again(self, deal: &Deal, input: Input, now: Timestamp, stay: fn(Self) -> Buyer) -> Step {
        if self.is_cancelled() && input == Input::Unknown {
            // It never got the award, as far as it says; whether that stays true, only the locktime shows.
            return give_up(BuyerOutcome::Refused(Reason::Cancelled), false, self.signed, deal, now);
        }
        if now > deal.award.args().deadline {
            return self.late(deal, input, now, stay);
        }
        let tries = if input == Input::Resume { self.tries } else { self.tries.saturating_add(1) };
        let (cancelled, status) = (self.is_cancelled(), self.question(deal));
        let state = stay(Self { tries, ..self });
        let question = match (&state, &input) {
            _ if cancelled => Some(status),
            (Buyer::Working(_), _) => Some(status),
            // Whoever claims not to know the award over and over doesn't set the pace.
            (_, Input::Unknown) if tries > MAX_QUICK_TRIES => None,
            _ => Some(deal.message()),
        };
        let mut effects: Vec<_> = question.map(Effect::Send).into_iter().collect();
        effects.push(retry(deal, tries, now));
        Step::passing(state, effects)
    }
}

impl Waiting {
    fn late(self, deal: &Deal, input: Input, now: Timestamp, stay: fn(Self) -> Buyer) -> Step {
        if self.answer_by.is_some() && input != Input::Resume {
            return give_up(BuyerOutcome::Overdue, self.was_away, self.signed, deal, now);
        }
        let was_away = match self.answer_by {
            Some(_) => self.was_away,
            None => was_away_at(deal.award.args().deadline, now),
        };
        // A seller that comes and goes doesn't put the moment off; a restart that slept through it asks anew.
        let answer_by = self.answer_by.filter(|by| *by > now).unwrap_or(now.saturating_add(LATE_ANSWER_SECS));
        let effects = vec![Effect::Send(self.question(deal)), Effect::WakeAt(answer_by)];
        Step::passing(stay(Self { answer_by: Some(answer_by), was_away, ..self }), effects)
    }
}

impl GivenUp {
    fn handle(mut self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            Input::Accepted(acceptance) => {
                let writes = noted_behind(&mut self.ended.signed, acceptance);
                Step { state: Buyer::GivenUp(self), writes, effects: vec![] }
            }
            Input::Resume | Input::Tick if now > falls_back(deal) => self.close(),
            Input::Resume | Input::Tick => {
                let question = Effect::Send(wire::Status { award: deal.id(), receipt: None }.into());
                let wake = given_up_retry(deal, now);
                Step::passing(Buyer::GivenUp(self), vec![question, wake])
            }
            Input::Asked => {
                let question = Effect::Send(wire::Status { award: deal.id(), receipt: None }.into());
                Step::passing(Buyer::GivenUp(self), vec![question])
            }
            // A late delivery is still taken, for its seller has signed for it. What becomes of the money the refund finds out
            // at the mint: it may have been redeemed.
            Input::Delivered(delivery) => {
                let before = self.before(deal, now);
                delivered(deal, delivery, Some(before), self.ended.signed, now)
            }
            Input::Refunded { .. } => {
                let conduct = self.conduct();
                let mut step = self.ended.handle(deal, input, now);
                step.writes.push(Write::Close);
                step.writes.extend(conduct);
                step.effects.push(Effect::Finish);
                step
            }
            _ => Step::passing(Buyer::GivenUp(self), vec![]),
        }
    }

    fn close(self) -> Step {
        let mut writes = vec![Write::State, Write::Close];
        writes.extend(self.conduct());
        Step { state: Buyer::Ended(self.ended), writes, effects: vec![Effect::Finish] }
    }

    /// What is to be said of the seller at the end, if nothing was said when the trade was given up.
    fn conduct(&self) -> Option<Write> {
        self.ended.outcome.conduct().filter(|_| self.was_away).map(Write::Conduct)
    }

    fn before(&self, deal: &Deal, now: Timestamp) -> Before {
        let (outcome, money) = (&self.ended.outcome, self.ended.money);
        let releases = match outcome {
            BuyerOutcome::Overdue => self.was_away,
            BuyerOutcome::NotUnderstood => now <= deal.award.args().deadline,
            _ => false,
        };
        Before { money, judged: !self.was_away && outcome.conduct().is_some(), releases }
    }
}

impl Fetching {
    fn handle(mut self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            Input::Resume | Input::Tick => {
                if now > falls_back(deal) {
                    return self.failed(BuyerOutcome::Overdue).step(deal, now);
                }
                let effects = self.start(deal);
                Step::passing(Buyer::Fetching(self), effects)
            }
            Input::Fetched { commitment, received } if Outcome::Ok(commitment) == self.receipt.body.out => End {
                output: Some((self.salt, Stored::Content(self.content))),
                receipt: Some(self.receipt),
                ..End::after(
                    self.before,
                    LockOutcome::Paid,
                    BuyerOutcome::Delivered { late: self.before.is_some() },
                    Statements { received, ..self.signed },
                )
            }
            .step(deal, now),
            Input::Fetched { .. } | Input::FetchFailed => self.failed(BuyerOutcome::Mismatch).step(deal, now),
            Input::Broken(why) => self.failed(BuyerOutcome::Broken(why)).step(deal, now),
            Input::Refunded { refunded, redeemed, fee } => match self.before {
                Some(before) if before.money == Money::Waiting => {
                    let money = Money::Settled { refunded, redeemed, fee };
                    noted(Buyer::Fetching(Self { before: Some(Before { money, ..before }), ..self }))
                }
                _ => Step::passing(Buyer::Fetching(self), vec![]),
            },
            Input::Accepted(acceptance) => {
                let writes = noted_behind(&mut self.signed, acceptance);
                Step { state: Buyer::Fetching(self), writes, effects: vec![] }
            }
            Input::Asked => {
                let effects = vec![holds(deal, &self.receipt)];
                Step::passing(Buyer::Fetching(self), effects)
            }
            _ => Step::passing(Buyer::Fetching(self), vec![]),
        }
    }

    /// Without the output.
    fn failed(self, outcome: BuyerOutcome) -> End {
        let receipt = Some(self.receipt);
        End { receipt, ..End::after(self.before, LockOutcome::Refund, outcome, self.signed) }
    }

    /// Fetches, and gives up when the money falls back.
    fn start(&self, deal: &Deal) -> Vec<Effect> {
        let fetch = Effect::Fetch { content: self.content, salt: self.salt };
        vec![fetch, Effect::WakeAt(falls_back(deal).saturating_add(1))]
    }
}

impl Ended {
    /// Given up without a word from the seller: what still comes of it is welcome.
    fn is_given_up(&self) -> bool {
        matches!(self.outcome, BuyerOutcome::Overdue | BuyerOutcome::Refused(Reason::Cancelled))
            && self.receipt.is_none()
            && self.money != Money::Returned
    }

    fn handle(mut self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            // A late delivery is still taken, for its seller has signed for it. What becomes of the money the refund finds out
            // at the mint: it may have been redeemed.
            Input::Delivered(delivery) if self.is_given_up() => {
                let before = Before { money: self.money, judged: self.outcome.conduct().is_some(), releases: false };
                delivered(deal, delivery, Some(before), self.signed, now)
            }
            Input::Asked => {
                let receipt = self.receipt.as_ref().map(|receipt| holds(deal, receipt));
                let effects = receipt.into_iter().chain(self.acknowledgement(deal)).collect();
                Step::passing(Buyer::Ended(self), effects)
            }
            // It hasn't heard that we have it.
            Input::Delivered(_) => {
                let effects = self.acknowledgement(deal).into_iter().collect();
                Step::passing(Buyer::Ended(self), effects)
            }
            Input::Accepted(acceptance) => {
                let writes = noted_behind(&mut self.signed, acceptance);
                Step { state: Buyer::Ended(self), writes, effects: vec![] }
            }
            // What went back into the purse is settled only by what its seller takes of it: at once, or part by part.
            Input::Refunded { refunded, redeemed, fee } if self.money.is_settled_by(redeemed) => {
                self.money = Money::Settled { refunded, redeemed, fee };
                let took = redeemed > 0 && !self.outcome.earns(deal, self.receipt.as_ref());
                let mut step = noted(Buyer::Ended(self));
                if took {
                    step.writes.push(Write::Conduct(SellerConduct::Redeemed(redeemed)));
                    step.effects.push(Effect::Accuse(redeemed));
                }
                step
            }
            _ => Step::passing(Buyer::Ended(self), vec![]),
        }
    }

    /// Tells the seller that the output is here.
    fn acknowledgement(&self, deal: &Deal) -> Option<Effect> {
        let received = serde_bytes::ByteBuf::from(self.signed.received.as_ref()?.bytes());
        Some(Effect::Send(wire::Received { award: deal.id(), received }.into()))
    }
}

/// Asks the seller where the award stands, and says that we have this receipt of it.
fn holds(deal: &Deal, receipt: &Signed<Receipt>) -> Effect {
    let receipt = Some(serde_bytes::ByteBuf::from(receipt.bytes()));
    Effect::Send(wire::Status { award: deal.id(), receipt }.into())
}

/// Keeps an acceptance, if there is none yet.
fn noted_behind(signed: &mut Statements, acceptance: Signed<Acceptance>) -> Vec<Write> {
    if signed.acceptance.is_some() {
        return vec![];
    }
    signed.acceptance = Some(acceptance);
    vec![Write::Behind]
}

/// `before` is what was said if the trade was given up before.
fn delivered(deal: &Deal, delivery: Delivery, before: Option<Before>, signed: Statements, now: Timestamp) -> Step {
    if let (Outcome::Ok(_), Some(sealed)) = (&delivery.receipt.body.out, delivery.sealed) {
        return Unopened::begin(deal, delivery.receipt, sealed, before, signed, now);
    }
    let Delivery { receipt, output, opens, received, .. } = delivery;
    let failed = |outcome| End::after(before, LockOutcome::Refund, outcome, signed.clone());
    let end = match (&receipt.body.out, output) {
        (Outcome::Ok(_), Some(Output { salt, data: Payload::Inline(bytes) })) if opens => End {
            output: Some((salt, Stored::Inline(bytes))),
            ..End::after(
                before,
                LockOutcome::Paid,
                BuyerOutcome::Delivered { late: before.is_some() || now > deal.award.args().deadline },
                Statements { received, ..signed },
            )
        },
        (Outcome::Ok(_), Some(Output { salt, data: Payload::Content(content) })) => {
            let fetching = Fetching { receipt, salt, content, before, signed };
            let effects = fetching.start(deal);
            // A delivery after the end opens the trade again.
            return Step { state: Buyer::Fetching(fetching), writes: vec![Write::State, Write::Open], effects };
        }
        (Outcome::Error(error), _) => {
            let paid = deal.award.part().is_earned_by(&receipt.body.out) && before.is_none();
            let end = failed(BuyerOutcome::Failed(error.clone()));
            if paid { End { said: Said::Now(LockOutcome::Paid), ..end } } else { end }
        }
        // An output that isn't the one committed to; `check_delivery` lets nothing else of this through.
        (Outcome::Ok(_) | Outcome::Other(_), _) => failed(BuyerOutcome::Mismatch),
    };
    End { receipt: Some(receipt), ..end }.step(deal, now)
}

fn is_cancelled(receipt: &Receipt) -> bool {
    matches!(&receipt.body.out, Outcome::Error(TaskError { code: FailureCode::Cancelled, .. }))
}

/// What becomes of the money at an end, and whether the wallet knows it already.
#[derive(Clone, Copy)]
enum Said {
    Now(LockOutcome),
    Before(Money),
}

/// An end and what leads to it.
struct End {
    outcome: BuyerOutcome,
    said: Said,
    receipt: Option<Signed<Receipt>>,
    output: Option<(Salt, Stored)>,
    signed: Statements,
    forged: Option<Forged>,
    /// A content that was kept until now.
    forgotten: Option<ContentId>,
    /// Whether the outcome says something of the seller that hasn't been said.
    judges: bool,
}

impl End {
    /// Without a receipt or an output, and the money to be taken back.
    fn new(outcome: BuyerOutcome, signed: Statements) -> Self {
        Self {
            outcome,
            said: Said::Now(LockOutcome::Refund),
            receipt: None,
            output: None,
            signed,
            forged: None,
            forgotten: None,
            judges: true,
        }
    }

    /// What becomes of the lock, unless the wallet was told something before.
    fn after(before: Option<Before>, lock: LockOutcome, outcome: BuyerOutcome, signed: Statements) -> Self {
        let said = before.map_or(Said::Now(lock), |before| Said::Before(before.money));
        let judges = before.is_none_or(|before| !before.judged);
        Self { said, judges, ..Self::new(outcome, signed) }
    }

    fn step(self, deal: &Deal, at: Timestamp) -> Step {
        let Self { outcome, said, receipt, output, signed, forged, forgotten, judges } = self;
        let mut writes = vec![Write::State];
        writes.extend(forgotten.map(Write::Forget));
        if let Some((_, Stored::Content(id))) = &output {
            writes.push(Write::Keep(*id));
        }
        let money = match said {
            Said::Now(outcome) => {
                writes.push(Write::Settle(outcome));
                outcome.into()
            }
            Said::Before(money) => money,
        };
        writes.push(Write::Close);
        writes.extend(outcome.conduct().filter(|_| judges).map(Write::Conduct));
        let ended = Ended { outcome, money, receipt, output, at, signed, forged };
        let mut effects = vec![Effect::Finish];
        effects.extend(ended.acknowledgement(deal));
        if ended.output.is_some() && ended.signed.acceptance.is_none() {
            // It got lost on the way; asked once, its seller says it again.
            effects.extend(ended.receipt.as_ref().map(|receipt| holds(deal, receipt)));
        }
        Step { state: Buyer::Ended(ended), writes, effects }
    }
}

/// Gives the trade up, without a word from the seller that is understood: the user is told, the money is to be refunded, and the seller is
/// asked on until then. It is judged at once, unless we weren't there to hear it.
fn give_up(outcome: BuyerOutcome, was_away: bool, signed: Statements, deal: &Deal, now: Timestamp) -> Step {
    let mut writes = vec![Write::State, Write::Settle(LockOutcome::Refund)];
    writes.extend(outcome.conduct().filter(|_| !was_away).map(Write::Conduct));
    let ended = Ended { outcome, money: Money::Waiting, receipt: None, output: None, at: now, signed, forged: None };
    let effects = vec![Effect::Finish, given_up_retry(deal, now)];
    Step { state: Buyer::GivenUp(GivenUp { ended, was_away }), writes, effects }
}

/// Whether somebody who looks only now wasn't there when a moment passed.
fn was_away_at(moment: Timestamp, now: Timestamp) -> bool {
    now > moment.saturating_add(PRESENT_SECS)
}

/// When the money falls back to the buyer.
fn falls_back(deal: &Deal) -> Timestamp {
    deal.award.part().until()
}

fn given_up_retry(deal: &Deal, now: Timestamp) -> Effect {
    Effect::WakeAt(now.saturating_add(GIVEN_UP_RETRY_SECS).min(falls_back(deal).saturating_add(1)))
}

/// A step that changes nothing but the state on disk.
fn noted(state: Buyer) -> Step {
    Step { state, writes: vec![Write::State], effects: vec![] }
}

/// The next moment to ask again: backing off, but not past the deadline.
fn retry(deal: &Deal, tries: u32, now: Timestamp) -> Effect {
    wake_in(FIRST_RETRY_SECS.saturating_mul(1 << tries.min(8)).min(MAX_RETRY_SECS), deal, now)
}

/// In so many seconds, or when the deadline has passed.
fn wake_in(secs: u64, deal: &Deal, now: Timestamp) -> Effect {
    Effect::WakeAt(now.saturating_add(secs).min(deal.award.args().deadline.saturating_add(1)))
}

/// Verifies that an acceptance belongs to the deal: the seller's, of this award, against this lock.
///
/// # Errors
/// What it strays from; the seller is at fault and the trade stands as before.
pub fn check_accepted(deal: &Deal, message: &wire::Accepted) -> Result<Signed<Acceptance>, StatementError> {
    let acceptance = read_statement::<Acceptance>(&message.acceptance, StatementError::Acceptance)?;
    if acceptance.is_of_deal(deal) { Ok(acceptance) } else { Err(StatementError::Acceptance) }
}

/// Verifies that a delivery belongs to the deal: the seller's receipt, of this award, against this lock.
///
/// # Errors
/// What it strays from; the seller is at fault and the trade stands as before.
pub fn check_delivery(deal: &Deal, message: &wire::Delivered, max_output: u64) -> Result<Delivery, DeliveryError> {
    let receipt = Signed::<Receipt>::decode(&message.receipt).map_err(|error| match error.fault() {
        Fault::Incompatible => DeliveryError::NotUnderstood,
        _ => DeliveryError::Receipt,
    })?;
    let (body, args) = (&receipt.body, deal.award.args());
    if receipt.issuer() != deal.seller() || body.award != deal.id() || body.offer != args.offer {
        return Err(DeliveryError::Receipt);
    }
    if !body.sub.is_empty() && deal.grant.is_none() {
        return Err(DeliveryError::PassedOn);
    }
    if matches!(body.money, ReceiptPart::Other(_)) {
        return Err(DeliveryError::NotUnderstood);
    }
    let sealed = body.money.sealed();
    if body.money != ReceiptPart::of(&deal.award, &deal.lock, sealed) {
        return Err(DeliveryError::Locked);
    }
    if deal.escrow().is_some() {
        check_sealed(&receipt, message, max_output)?;
        return Ok(Delivery { receipt, output: None, sealed: message.sealed.clone(), opens: false, received: None });
    }
    match (&body.out, &message.output) {
        (Outcome::Other(_), _) | (_, Some(Output { data: Payload::Other(_), .. })) => {
            return Err(DeliveryError::NotUnderstood);
        }
        (Outcome::Ok(_), None) | (Outcome::Error(_), Some(_)) => return Err(DeliveryError::Output),
        (_, Some(output)) if output.data.size() > max_output => return Err(DeliveryError::TooLarge),
        _ => {}
    }
    let opens = match (&body.out, &message.output) {
        (Outcome::Ok(commitment), Some(Output { salt, data: Payload::Inline(bytes) })) => {
            receipt::commit(salt, bytes) == *commitment
        }
        _ => false,
    };
    Ok(Delivery { receipt, output: message.output.clone(), sealed: None, opens, received: None })
}

/// Verifies that what was delivered in escrow is what the receipt names: a ciphertext if the work succeeded, else nothing.
fn check_sealed(receipt: &Signed<Receipt>, message: &wire::Delivered, max_output: u64) -> Result<(), DeliveryError> {
    if message.output.is_some() {
        return Err(DeliveryError::Output);
    }
    match (&receipt.body.out, receipt.body.money.sealed(), &message.sealed) {
        (Outcome::Other(_), ..)
        | (_, Some(Sealed { aead: Cipher::Other(_), .. }), _)
        | (.., Some(Payload::Other(_))) => Err(DeliveryError::NotUnderstood),
        (Outcome::Error(_), None, None) => Ok(()),
        (Outcome::Ok(_), Some(Sealed { ciphertext, .. }), Some(payload)) => {
            let delivered = match payload {
                Payload::Inline(bytes) => ContentId::of(bytes),
                Payload::Content(id) => *id,
                Payload::Other(_) => return Err(DeliveryError::NotUnderstood),
            };
            match delivered == *ciphertext {
                true if delivered.size > sealed_size(max_output).min(MAX_CONTENT) => Err(DeliveryError::TooLarge),
                true => Ok(()),
                false => Err(DeliveryError::Sealed),
            }
        }
        _ => Err(DeliveryError::Output),
    }
}

/// How a delivery strays from the deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// No valid receipt of the seller's for this award.
    #[error("the delivery carries no valid receipt of the seller's for this award")]
    Receipt,
    /// The receipt names other money.
    #[error("the receipt names other money than the award locked")]
    Locked,
    /// The receipt names work that was passed on, and the award lets nothing be passed on.
    #[error("the receipt names work that was passed on, which the award doesn't allow")]
    PassedOn,
    /// Another key than the one agreed.
    #[error("the key is not the one that the award names")]
    Key,
    /// Another ciphertext than the receipt names.
    #[error("what was delivered is not the ciphertext that the receipt names")]
    Sealed,
    /// Success without output, or failure with one.
    #[error("the receipt and the output contradict each other")]
    Output,
    /// A receipt, outcome or form of output of a later version.
    #[error("not understood: what was delivered is of a later version")]
    NotUnderstood,
    /// Larger than agreed.
    #[error("the output is larger than the service's limit")]
    TooLarge,
}

impl AtFault for DeliveryError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotUnderstood => Fault::Incompatible,
            _ => Fault::Peer,
        }
    }
}
