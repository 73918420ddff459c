//! The seller's side of one award. See [`super`] for the states and the call order.
//!
//! A machine comes into being when [`super::intake`] has found nothing wrong and the lock has been checked; its first
//! step is persisted together with the reservations: this offer for this award, each proof for this trade.

use serde::{Deserialize, Serialize};

use super::{Deal, StatementError, Statements, Stored, read_statement};
use crate::{
    acceptance::Acceptance,
    bytes::Digest,
    cancellation::Cancellation,
    content::ContentId,
    envelope::Signed,
    receipt::{FailureCode, Outcome, Receipt, ReceiptBody, Salt, TaskError},
    received::Received,
    seal::Sealed,
    settlement::{ReceiptPart, escrow::ReleaseSignature},
    time::{SKEW_SECS, Timestamp},
    wire::{self, Message, Output, Payload},
};

/// How long a buyer has to begin to serve an input that goes as content, in seconds.
const INPUT_GRACE_SECS: u64 = 30;
/// The slowest rate at which an input is waited for beyond that, in bytes per second: 64 MiB come within 17 minutes.
const INPUT_BYTES_PER_SEC: u64 = 64 * 1024;

/// Where the seller stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Seller {
    /// Taken: the input is on its way.
    Fetching(Fetching),
    /// Taken, and the input is here. A restart begins the work anew.
    Working(AtWork),
    /// The sealed output is delivered; the buyer hasn't released the money for it.
    Unreleased(Unreleased),
    /// Over: the receipt is signed.
    Ended(Ended),
    /// Over without a receipt: this node couldn't go on with it.
    Broken(Broken),
}

/// Fetching the input. The time that the work may take hasn't begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetching {
    /// What is fetched.
    input: ContentId,
    /// When the award was taken.
    pub began: Timestamp,
    /// When the buyer must have served it: see [`input_by`].
    by: Timestamp,
    /// What was signed so far.
    signed: Promise,
}

/// Working.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtWork {
    /// When the award was taken, or its input was here.
    pub began: Timestamp,
    /// What was signed so far.
    signed: Promise,
}

/// That the seller took the award, and whether the buyer has called it off: signed, each by its side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promise {
    acceptance: Signed<Acceptance>,
    cancellation: Option<Signed<Cancellation>>,
}

/// Delivered sealed, and waiting for the buyer's release until a moment that the offer fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreleased {
    /// How it ends without a release.
    pub ended: Ended,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// What was signed.
    pub receipt: Signed<Receipt>,
    /// The output and its salt, if the work succeeded. In escrow it is sealed.
    pub output: Option<(Salt, Stored)>,
    /// The output was let go of: its hash names it, and it is offered no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_go: bool,
    /// In escrow: the buyer's release, one signature for each proof; empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<ReleaseSignature>,
    /// What becomes of the money.
    pub money: Money,
    /// When it ended.
    pub at: Timestamp,
    signed: Promise,
    /// The buyer's word that it has the output.
    received: Option<Signed<Received>>,
}

/// Over without a receipt; the lock is given up. Only a bug brings this about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broken {
    /// Why, in words.
    pub why: String,
    /// When it ended.
    pub at: Timestamp,
    signed: Promise,
}

/// What becomes of the money locked to the seller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Money {
    /// Due, waiting for the next batch.
    Due,
    /// Redeemed at the mint.
    Redeemed {
        /// What the seller was left with, after the mint's fee.
        amount: u64,
    },
    /// Left to fall back to the buyer.
    Voided,
    /// In escrow: the buyer hasn't released it yet.
    Unreleased,
    /// The mint wouldn't redeem it: in words.
    Lost(String),
}

/// How a buyer kept its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuyerConduct {
    /// Its money was good.
    Paid,
    /// It never served the input that its award names.
    NoInput,
    /// In escrow: it never released the money for what was delivered in time. It may have been away.
    NoRelease,
}

/// What can happen to a seller's trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The node has started again.
    Resume,
    /// The moment asked for by [`Effect::WakeAt`] has come.
    Tick,
    /// From the buyer: the award again, or a question where it stands.
    Asked,
    /// From the buyer, which has this receipt of ours, checked by [`check_held`].
    Held(Signed<Receipt>),
    /// From the buyer, checked by [`check_cancel`].
    Cancel(Signed<Cancellation>),
    /// From the buyer, checked by [`check_received`].
    Received(Signed<Received>),
    /// From the buyer, every signature checked by [`check_release`](crate::settlement::escrow::check_release).
    Released(Vec<ReleaseSignature>),
    /// The input has been stored and is the one that the award names.
    InputReady,
    /// The work is over, one way or the other, and its receipt is signed.
    Concluded {
        /// Built by [`receipt_body`].
        receipt: Signed<Receipt>,
        /// The output and its salt, if the receipt says that it succeeded; in escrow sealed, as the receipt says.
        output: Option<(Salt, Stored)>,
    },
    /// The wallet has redeemed the lock.
    Redeemed {
        /// What the seller was left with.
        amount: u64,
    },
    /// The mint won't redeem it.
    RedeemFailed(String),
    /// The driver can't do what the last step said, and never will: in words.
    Broken(String),
}

/// What the driver is to do.
#[allow(clippy::large_enum_variant)] // a handful live at once
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send to the buyer.
    Send(Message),
    /// Feed [`Input::Tick`] at that moment; replaces an earlier one.
    WakeAt(Timestamp),
    /// Fetch the input from the buyer, then feed [`Input::InputReady`] or conclude with an error.
    Fetch(ContentId),
    /// Run the service, then conclude.
    Run,
    /// Stop fetching and running, and conclude with this error.
    Abort(FailureCode, &'static str),
    /// The work is over: let go of what it held.
    Finish,
    /// Tell how the buyer failed to keep its part.
    Accuse(BuyerConduct),
    /// Send the key that opens what was delivered: the mint has it.
    SendKey,
}

/// What a step writes. All of it goes into one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The deal. It never changes.
    Deal,
    /// The step's state.
    State,
    /// The same, but not now: with whatever is written next, or soon. Nothing hangs on it: what a crash takes of it, the buyer
    /// is asked for again.
    Behind,
    /// That the trade is open: it is resumed after a restart.
    Open,
    /// That it no longer is.
    Close,
    /// A content is kept as long as the trade's record.
    Keep(ContentId),
    /// The same, and the buyer may fetch it.
    Share(ContentId),
    /// The lock is earned: the wallet redeems it.
    Redeem,
    /// The lock is earned and released, with the state's signatures: the wallet redeems it at once.
    Release,
    /// The lock is given up.
    Void,
    /// The wallet's word on what became of the lock has been taken note of.
    Acknowledge,
    /// How the buyer did.
    Conduct(BuyerConduct),
}

/// A step of a seller's trade.
pub type Step = super::Step<Seller, Write, Effect>;

impl Seller {
    /// Takes an award: to be persisted together with the deal and the reservations. `acceptance` says so
    /// ([`AcceptanceBody::of`](crate::acceptance::AcceptanceBody::of)); `input_by` is when an input that goes as content must
    /// have come.
    pub fn begin(deal: &Deal, acceptance: Signed<Acceptance>, input_by: Timestamp, now: Timestamp) -> Step {
        let mut writes = vec![Write::Deal, Write::State, Write::Open];
        let signed = Promise { acceptance, cancellation: None };
        let mut effects = vec![signed.accepted(deal)];
        let state = match &deal.input {
            Payload::Content(input) => {
                writes.push(Write::Keep(*input));
                let fetching = Fetching { input: *input, began: now, by: input_by, signed };
                effects.extend(fetching.start());
                Self::Fetching(fetching)
            }
            _ => {
                let work = AtWork { began: now, signed };
                effects.extend(work.start(deal));
                Self::Working(work)
            }
        };
        Step { state, writes, effects }
    }

    /// Takes the next input.
    pub fn handle(self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        let is_outcome = matches!(input, Input::Redeemed { .. } | Input::RedeemFailed(_));
        let mut step = match self {
            Self::Fetching(fetching) => fetching.handle(deal, input, now),
            Self::Working(work) => work.handle(deal, input, now),
            Self::Unreleased(unreleased) => unreleased.handle(deal, input, now),
            Self::Ended(ended) => ended.handle(deal, input),
            // Nothing is left to say; the buyer's money comes back to it after the locktime.
            Self::Broken(broken) => Step::passing(Self::Broken(broken), vec![]),
        };
        if is_outcome {
            // Also where it comes again or changes nothing: the wallet repeats it until it is acknowledged.
            step.writes.push(Write::Acknowledge);
        }
        step
    }

    /// When the work, or the fetch before it, began; `None` once it is over.
    pub fn began(&self) -> Option<Timestamp> {
        match self {
            Self::Fetching(fetching) => Some(fetching.began),
            Self::Working(work) => Some(work.began),
            Self::Unreleased(_) | Self::Ended(_) | Self::Broken(_) => None,
        }
    }

    /// The receipt, once it is signed.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Unreleased(Unreleased { ended }) | Self::Ended(ended) => Some(ended),
            Self::Fetching(_) | Self::Working(_) | Self::Broken(_) => None,
        }
    }

    /// What was signed so far, beside award and receipt.
    pub fn signed(&self) -> Statements {
        let (promise, received) = match self {
            Self::Fetching(Fetching { signed, .. })
            | Self::Working(AtWork { signed, .. })
            | Self::Broken(Broken { signed, .. }) => (signed, None),
            Self::Unreleased(Unreleased { ended }) | Self::Ended(ended) => (&ended.signed, ended.received.clone()),
        };
        let Promise { acceptance, cancellation } = promise.clone();
        Statements { acceptance: Some(acceptance), cancellation, received }
    }

    /// Whether the work is over and the buyer owes its word that it has the output.
    pub fn awaits_word(&self) -> bool {
        matches!(self, Self::Ended(ended) if ended.output.is_some() && ended.received.is_none())
    }

    /// Whether the work is over.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Broken(_))
    }
}

impl Promise {
    fn accepted(&self, deal: &Deal) -> Effect {
        let acceptance = serde_bytes::ByteBuf::from(self.acceptance.bytes());
        Effect::Send(wire::Accepted { award: deal.id(), acceptance }.into())
    }

    fn is_cancelled(&self) -> bool {
        self.cancellation.is_some()
    }

    fn cancelled(self, cancellation: Signed<Cancellation>) -> Self {
        Self { cancellation: Some(cancellation), ..self }
    }
}

impl Fetching {
    fn handle(mut self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            Input::Resume if self.signed.is_cancelled() => {
                abort(Seller::Fetching(self), FailureCode::Cancelled, BY_BUYER)
            }
            Input::Resume | Input::Tick if now > self.by => {
                abort(Seller::Fetching(self), FailureCode::InputMissing, NOT_SERVED)
            }
            Input::Resume => {
                let effects = self.start();
                Step::passing(Seller::Fetching(self), effects)
            }
            Input::InputReady => {
                let work = AtWork { began: now, signed: self.signed };
                let effects = work.start(deal);
                Step { state: Seller::Working(work), writes: vec![Write::State], effects }
            }
            Input::Cancel(cancellation) if !self.signed.is_cancelled() => {
                self.signed = self.signed.cancelled(cancellation);
                let abort = Effect::Abort(FailureCode::Cancelled, BY_BUYER);
                Step { state: Seller::Fetching(self), writes: vec![Write::State], effects: vec![abort] }
            }
            Input::Asked => {
                let accepted = self.signed.accepted(deal);
                Step::passing(Seller::Fetching(self), vec![accepted])
            }
            Input::Concluded { receipt, output } => conclude(deal, receipt, output, self.signed, now),
            Input::Held(receipt) => adopt(deal, receipt, self.signed, now),
            Input::Broken(why) => broken(why, self.signed, now),
            _ => Step::passing(Seller::Fetching(self), vec![]),
        }
    }

    fn start(&self) -> Vec<Effect> {
        vec![Effect::WakeAt(self.by.saturating_add(1)), Effect::Fetch(self.input)]
    }
}

impl AtWork {
    fn handle(mut self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            Input::Resume | Input::Tick if now > deal.award.args().deadline => {
                abort(Seller::Working(self), FailureCode::TimedOut, TOO_LATE)
            }
            Input::Resume if self.signed.is_cancelled() => {
                abort(Seller::Working(self), FailureCode::Cancelled, BY_BUYER)
            }
            Input::Resume => {
                let effects = self.start(deal);
                Step::passing(Seller::Working(self), effects)
            }
            Input::Cancel(cancellation) if !self.signed.is_cancelled() => {
                self.signed = self.signed.cancelled(cancellation);
                let abort = Effect::Abort(FailureCode::Cancelled, BY_BUYER);
                Step { state: Seller::Working(self), writes: vec![Write::State], effects: vec![abort] }
            }
            Input::Asked => {
                let accepted = self.signed.accepted(deal);
                Step::passing(Seller::Working(self), vec![accepted])
            }
            Input::Concluded { receipt, output } => conclude(deal, receipt, output, self.signed, now),
            Input::Held(receipt) => adopt(deal, receipt, self.signed, now),
            Input::Broken(why) => broken(why, self.signed, now),
            _ => Step::passing(Seller::Working(self), vec![]),
        }
    }

    fn start(&self, deal: &Deal) -> Vec<Effect> {
        vec![Effect::WakeAt(deal.award.args().deadline.saturating_add(1)), Effect::Run]
    }
}

fn broken(why: String, signed: Promise, at: Timestamp) -> Step {
    Step {
        state: Seller::Broken(Broken { why, at, signed }),
        writes: vec![Write::State, Write::Close, Write::Void],
        effects: vec![Effect::Finish],
    }
}

fn abort(state: Seller, code: FailureCode, why: &'static str) -> Step {
    Step::passing(state, vec![Effect::Abort(code, why)])
}

/// When an input that goes as content must have come: its size at the slowest rate that is waited for after a moment to
/// begin, and early enough that the work can still take `work_secs`, all that it may; but no sooner than that moment.
pub fn input_by(deal: &Deal, work_secs: u64, now: Timestamp) -> Timestamp {
    let begins = now.saturating_add(INPUT_GRACE_SECS);
    let comes = begins.saturating_add(deal.input.size() / INPUT_BYTES_PER_SEC);
    let deadline = deal.award.args().deadline;
    comes.min(deadline.saturating_sub(work_secs).max(begins)).min(deadline)
}

const NOT_SERVED: &str = "the buyer did not serve the input in time";
const TOO_LATE: &str = "the deadline passed before the work was done";
const BY_BUYER: &str = "cancelled by the buyer";

impl Ended {
    fn handle(mut self, deal: &Deal, input: Input) -> Step {
        match input {
            // Its acceptance may have got lost too, and is said before the delivery that follows from it.
            Input::Asked => {
                let mut effects = vec![self.signed.accepted(deal)];
                effects.extend(self.delivery(deal));
                effects.extend(self.key());
                Step::passing(Seller::Ended(self), effects)
            }
            // It has the receipt, and what came with it: its acceptance may have got lost, or the key.
            Input::Held(_) => {
                let mut effects = vec![self.signed.accepted(deal)];
                effects.extend(self.key());
                Step::passing(Seller::Ended(self), effects)
            }
            Input::Cancel(cancellation) => {
                let effects = self.delivery(deal).into_iter().collect();
                if self.signed.is_cancelled() {
                    return Step::passing(Seller::Ended(self), effects);
                }
                self.signed = self.signed.cancelled(cancellation);
                Step { state: Seller::Ended(self), writes: vec![Write::Behind], effects }
            }
            Input::Received(received) if self.received.is_none() => {
                self.received = Some(received);
                Step { state: Seller::Ended(self), writes: vec![Write::Behind], effects: vec![] }
            }
            // Released again: the key got lost.
            Input::Released(_) => {
                let effects = self.key();
                Step::passing(Seller::Ended(self), effects)
            }
            Input::Redeemed { amount } if self.money == Money::Due => {
                self.money = Money::Redeemed { amount };
                let key = self.key();
                let mut step = noted(Seller::Ended(self));
                step.writes.push(Write::Conduct(BuyerConduct::Paid));
                step.effects.extend(key);
                if step.state.awaits_word() {
                    // Its word got lost, or it never gave it: it is asked once.
                    step.effects.push(Effect::Send(wire::Status { award: deal.id(), receipt: None }.into()));
                }
                step
            }
            Input::RedeemFailed(why) if self.money == Money::Due => {
                self.money = Money::Lost(why);
                noted(Seller::Ended(self))
            }
            _ => Step::passing(Seller::Ended(self), vec![]),
        }
    }

    /// Whether the buyer may still need the output from us: until it has said that it has it, unless the money fell back to it. One
    /// that comes late, and is paid for, convicts whoever doesn't deliver.
    pub fn owes_output(&self) -> bool {
        self.output.is_some() && self.received.is_none() && self.money != Money::Voided
    }

    /// The delivery; none if what the receipt commits to isn't here: it was signed by a later copy of this home, or let go of.
    fn delivery(&self, deal: &Deal) -> Option<Effect> {
        let is_here = self.output.is_some() && !self.let_go;
        if !is_here && matches!(self.receipt.body.out, Outcome::Ok(_)) {
            return None;
        }
        let (mut output, mut sealed) = (None, None);
        match (self.output.clone(), deal.escrow()) {
            (Some((_, stored)), Some(_)) => sealed = Some(stored.into()),
            (Some((salt, stored)), None) => output = Some(Output { salt, data: stored.into() }),
            (None, _) => {}
        }
        let receipt = serde_bytes::ByteBuf::from(self.receipt.bytes());
        Some(Effect::Send(wire::Delivered { award: deal.id(), receipt, output, sealed, evidence: None }.into()))
    }

    /// What gives the buyer the key, once the mint has it.
    fn key(&self) -> Vec<Effect> {
        let shown = matches!(self.money, Money::Redeemed { .. }) && !self.release.is_empty();
        if shown { vec![Effect::SendKey] } else { vec![] }
    }
}

impl Unreleased {
    fn handle(mut self, deal: &Deal, input: Input, now: Timestamp) -> Step {
        let until = released_until(deal);
        match input {
            Input::Released(release) if now <= until => {
                let ended = Ended { release, money: Money::Due, ..self.ended };
                let writes = vec![Write::State, Write::Close, Write::Release];
                Step { state: Seller::Ended(ended), writes, effects: vec![Effect::Finish] }
            }
            Input::Resume | Input::Tick | Input::Released(_) if now > until => {
                let ended = Ended { money: Money::Voided, ..self.ended };
                let writes = vec![Write::State, Write::Close, Write::Void, Write::Conduct(BuyerConduct::NoRelease)];
                let effects = vec![Effect::Finish, Effect::Accuse(BuyerConduct::NoRelease)];
                Step { state: Seller::Ended(ended), writes, effects }
            }
            Input::Resume | Input::Tick => {
                Step::passing(Seller::Unreleased(self), vec![Effect::WakeAt(until.saturating_add(1))])
            }
            Input::Asked => {
                let mut effects = vec![self.ended.signed.accepted(deal)];
                effects.extend(self.ended.delivery(deal));
                Step::passing(Seller::Unreleased(self), effects)
            }
            Input::Cancel(cancellation) => {
                let effects = self.ended.delivery(deal).into_iter().collect();
                if self.ended.signed.is_cancelled() {
                    return Step::passing(Seller::Unreleased(self), effects);
                }
                self.ended.signed = self.ended.signed.cancelled(cancellation);
                Step { state: Seller::Unreleased(self), writes: vec![Write::Behind], effects }
            }
            Input::Broken(why) => broken(why, self.ended.signed, now),
            _ => Step::passing(Seller::Unreleased(self), vec![]),
        }
    }
}

/// Until when a release is taken: buyers may be behind by their clock.
fn released_until(deal: &Deal) -> Timestamp {
    let release_by = deal.escrow().map(|(terms, _)| terms.release_by).unwrap_or_default();
    release_by.saturating_add(SKEW_SECS)
}

fn conclude(
    deal: &Deal,
    receipt: Signed<Receipt>,
    output: Option<(Salt, Stored)>,
    signed: Promise,
    now: Timestamp,
) -> Step {
    let earned = deal.award.part().is_earned_by(&receipt.body.out);
    if earned && deal.escrow().is_some() {
        return deliver_sealed(deal, receipt, output, signed, now);
    }
    let (money, write) = if earned { (Money::Due, Write::Redeem) } else { (Money::Voided, Write::Void) };
    let mut writes = vec![Write::State, Write::Close];
    if let Some((_, Stored::Content(id))) = &output {
        writes.push(Write::Share(*id));
    }
    writes.push(write);
    let no_input = matches!(&deal.input, Payload::Content(_))
        && matches!(&receipt.body.out, Outcome::Error(error) if error.code == FailureCode::InputMissing);
    let ended = Ended { receipt, output, let_go: false, release: Vec::new(), money, at: now, signed, received: None };
    let mut effects: Vec<_> = ended.delivery(deal).into_iter().chain([Effect::Finish]).collect();
    if no_input {
        writes.push(Write::Conduct(BuyerConduct::NoInput));
        effects.push(Effect::Accuse(BuyerConduct::NoInput));
    }
    Step { state: Seller::Ended(ended), writes, effects }
}

/// The work is over, and the money isn't ours yet.
fn deliver_sealed(
    deal: &Deal,
    receipt: Signed<Receipt>,
    output: Option<(Salt, Stored)>,
    signed: Promise,
    now: Timestamp,
) -> Step {
    let mut writes = vec![Write::State];
    if let Some((_, Stored::Content(id))) = &output {
        writes.push(Write::Share(*id));
    }
    let (release, money) = (Vec::new(), Money::Unreleased);
    let ended = Ended { receipt, output, let_go: false, release, money, at: now, signed, received: None };
    let wake = Effect::WakeAt(released_until(deal).saturating_add(1));
    let effects = ended.delivery(deal).into_iter().chain([Effect::Finish, wake]).collect();
    Step { state: Seller::Unreleased(Unreleased { ended }), writes, effects }
}

/// Takes a receipt for what this home signed of the trade, although it doesn't know of it: it was put back to before. The money is
/// due as the receipt says; what it commits to isn't here any more.
fn adopt(deal: &Deal, receipt: Signed<Receipt>, signed: Promise, now: Timestamp) -> Step {
    let sent = |effect: &Effect| matches!(effect, Effect::Send(_) | Effect::Accuse(_));
    let mut step = conclude(deal, receipt, None, signed, now);
    step.effects.retain(|effect| !sent(effect));
    step.writes.retain(|write| !matches!(write, Write::Conduct(_)));
    step
}

/// A step that changes nothing but the state on disk.
fn noted(state: Seller) -> Step {
    Step { state, writes: vec![Write::State], effects: vec![] }
}

/// Verifies that a cancellation belongs to the deal: the buyer's, of this award.
///
/// # Errors
/// What it strays from; the buyer is at fault and the trade stands as before.
pub fn check_cancel(deal: &Deal, message: &wire::Cancel) -> Result<Signed<Cancellation>, StatementError> {
    let cancellation = read_statement::<Cancellation>(&message.cancellation, StatementError::Cancellation)?;
    if cancellation.is_of(&deal.award) { Ok(cancellation) } else { Err(StatementError::Cancellation) }
}

/// Verifies that a receipt which the buyer says it has is ours, of this award and its money.
///
/// # Errors
/// What it strays from; the buyer is at fault and the trade stands as before.
pub fn check_held(deal: &Deal, receipt: &[u8]) -> Result<Signed<Receipt>, StatementError> {
    let receipt = read_statement::<Receipt>(receipt, StatementError::Receipt)?;
    let (body, args) = (&receipt.body, deal.award.args());
    let money = ReceiptPart::of(&deal.award, &deal.lock, body.money.sealed());
    let is_ours = receipt.issuer() == args.seller && body.award == deal.id() && body.offer == args.offer;
    match &body.money {
        _ if !is_ours => Err(StatementError::Receipt),
        // Signed by a later version of ourselves.
        ReceiptPart::Other(_) => Err(StatementError::NotUnderstood),
        said if *said == money => Ok(receipt),
        _ => Err(StatementError::Receipt),
    }
}

/// Verifies that the buyer's word that it has the output belongs to the deal: of this award, and of the receipt that `state`
/// delivered an output with.
///
/// # Errors
/// What it strays from; the buyer is at fault and the trade stands as before.
pub fn check_received(
    deal: &Deal,
    state: &Seller,
    message: &wire::Received,
) -> Result<Signed<Received>, StatementError> {
    let received = read_statement::<Received>(&message.received, StatementError::Received)?;
    let delivered = match state {
        Seller::Ended(ended) if matches!(ended.receipt.body.out, Outcome::Ok(_)) => Some(ended.receipt.cid()),
        _ => None,
    };
    if received.is_of(&deal.award) && delivered == Some(received.body.receipt) {
        Ok(received)
    } else {
        Err(StatementError::Received)
    }
}

/// What the seller signs at the end: `out` is the commitment to the output, or why there is none. Work that ends after the
/// deadline has failed, whatever it brought: the buyer isn't charged for what it could no longer use.
/// In escrow it names what is delivered `sealed`.
pub fn receipt_body(
    deal: &Deal,
    out: Result<Digest, TaskError>,
    sealed: Option<&Sealed>,
    began: Timestamp,
    ended: Timestamp,
) -> ReceiptBody {
    let args = deal.award.args();
    let out = match out {
        Ok(_) if ended > args.deadline => {
            Outcome::Error(TaskError { code: FailureCode::TimedOut, text: TOO_LATE.into() })
        }
        Ok(commitment) => Outcome::Ok(commitment),
        Err(error) => Outcome::Error(error),
    };
    let sealed = sealed.filter(|_| matches!(out, Outcome::Ok(_)));
    ReceiptBody {
        award: deal.id(),
        offer: args.offer,
        out,
        money: ReceiptPart::of(&deal.award, &deal.lock, sealed),
        began,
        ended: ended.max(began),
        sub: Vec::new(),
    }
}
