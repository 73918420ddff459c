//! The buyer's side of escrow, from a sealed delivery to what is in it.
//!
//! The ciphertext is checked and stored before anything is signed for it; the release is stored before it is sent, for from
//! then on the seller may have the money. After that nobody's goodwill is needed: the key comes from the seller, or from the mint,
//! which can't take the money without being shown it. What the mint says is unspent after the locktime comes back.

use serde::{Deserialize, Serialize};

use super::{
    Before, Buyer, BuyerOutcome, Deal, Effect, End, Ended, FIRST_RETRY_SECS, Forged, GIVEN_UP_RETRY_SECS, Input,
    LockOutcome, MAX_RETRY_SECS, Money, SellerConduct, Step, Write, falls_back, holds, noted, noted_behind,
    was_away_at,
};
use crate::{
    content::ContentId,
    envelope::Signed,
    limits::KEY_WAIT_SECS,
    receipt::{Outcome, Receipt},
    seal::Opened,
    settlement::escrow::{ReleaseSignature, Shown},
    time::{SKEW_SECS, Timestamp},
    trade::{Statements, Stored},
    wire::{self, Payload},
};

/// How often a release is sent before the mint is asked as well: a seller that redeems at once has answered by then.
const TRIES_BEFORE_MINT: u32 = 2;

/// Delivered sealed, and not opened yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unopened {
    receipt: Signed<Receipt>,
    ciphertext: Stored,
    stage: Stage,
    /// What was said already of the money and of the seller; nothing as a rule.
    told: Option<Before>,
    /// Whether we weren't there at one of the moments by which we had to act: the seller isn't judged by what came of that.
    was_away: bool,
    /// Since when it is known that the money was taken, without a key.
    taken_at: Option<Timestamp>,
    /// What was signed so far.
    signed: Statements,
    /// What the user was told, once the last moment to redeem had passed without a key.
    given_up: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Stage {
    /// The ciphertext is on its way.
    Fetching,
    /// It is here; the release is being signed.
    Releasing,
    /// The seller may have the money, for the key.
    Released {
        release: Vec<ReleaseSignature>,
        /// How often it was sent.
        tries: u32,
    },
}

impl Unopened {
    /// Takes a delivery that `check_delivery` let through. One that comes too late to be released ends the trade, for the
    /// seller can't have the money any more.
    pub(super) fn begin(
        deal: &Deal,
        receipt: Signed<Receipt>,
        sealed: Payload,
        told: Option<Before>,
        signed: Statements,
        now: Timestamp,
    ) -> Step {
        let (ciphertext, stage) = match sealed {
            Payload::Inline(bytes) => (Stored::Inline(bytes), Stage::Releasing),
            Payload::Content(id) => (Stored::Content(id), Stage::Fetching),
            // `check_delivery` lets nothing of this through.
            Payload::Other(_) => {
                let end = End::after(told, LockOutcome::Refund, BuyerOutcome::Mismatch, signed);
                return End { receipt: Some(receipt), ..end }.step(deal, now);
            }
        };
        let dated_late = receipt.body.ended > deal.award.args().deadline;
        // What it was told of is over; its date is the seller's word.
        let refuses = told.is_some_and(|told| !told.releases);
        let was_away = told.is_some() && now > deal.award.args().deadline;
        let unopened = Self { receipt, ciphertext, stage, told, was_away, taken_at: None, signed, given_up: None };
        if dated_late || refuses {
            return unopened.without(BuyerOutcome::Overdue).step(deal, now);
        }
        if now > release_by(deal) {
            return unopened.without(BuyerOutcome::Missed).step(deal, now);
        }
        let effects = unopened.due(deal, now);
        // A small one need not be on disk: the seller gives it again. A delivery after the end opens the trade again.
        let fetching = unopened.stage == Stage::Fetching;
        let writes = if fetching || told.is_some() { vec![Write::State, Write::Open] } else { vec![] };
        Step { state: Buyer::Unopened(Box::new(unopened)), writes, effects }
    }

    pub(super) fn handle(mut self: Box<Self>, deal: &Deal, input: Input, now: Timestamp) -> Step {
        match input {
            Input::Resume | Input::Tick => self.again(deal, &input, now),
            Input::Fetched { .. } if self.stage == Stage::Fetching => {
                self.stage = Stage::Releasing;
                let mut writes = vec![Write::State];
                writes.extend(self.kept().map(Write::Keep));
                let effects = self.due(deal, now);
                Step { state: Buyer::Unopened(self), writes, effects }
            }
            Input::FetchFailed if self.stage == Stage::Fetching => self.without(BuyerOutcome::Mismatch).step(deal, now),
            Input::Release(release) if self.stage == Stage::Releasing => self.release(deal, release, now),
            Input::Shown(shown) if self.is_released() => {
                let open = Effect::Open { ciphertext: self.ciphertext.clone(), shown };
                Step::passing(Buyer::Unopened(self), vec![open])
            }
            Input::Unsealed { shown, opened, received } if self.is_released() => {
                self.unsealed(shown, opened, received).step(deal, now)
            }
            Input::Refunded { refunded, redeemed, fee } => self.swept(deal, (refunded, redeemed, fee), now),
            Input::Accepted(acceptance) => {
                let writes = noted_behind(&mut self.signed, acceptance);
                Step { state: Buyer::Unopened(self), writes, effects: vec![] }
            }
            Input::Asked => {
                let effects = vec![holds(deal, &self.receipt)];
                Step::passing(Buyer::Unopened(self), effects)
            }
            Input::Broken(why) => self.without(BuyerOutcome::Broken(why)).step(deal, now),
            _ => Step::passing(Buyer::Unopened(self), vec![]),
        }
    }

    /// What the user was told of it while it may still come to something.
    pub fn given_up(&self) -> Option<&Ended> {
        self.given_up.as_ref()
    }

    pub(super) fn signed(&self) -> &Statements {
        &self.signed
    }

    /// The receipt that it came with.
    pub fn receipt(&self) -> &Signed<Receipt> {
        &self.receipt
    }

    /// What was delivered, as it is kept.
    pub fn ciphertext(&self) -> &Stored {
        &self.ciphertext
    }

    /// What is fetched, as long as it isn't here.
    pub fn fetching(&self) -> Option<ContentId> {
        match (&self.stage, &self.ciphertext) {
            (Stage::Fetching, Stored::Content(id)) => Some(*id),
            _ => None,
        }
    }

    /// What is kept until it is opened.
    fn kept(&self) -> Option<ContentId> {
        match (&self.stage, &self.ciphertext) {
            (Stage::Releasing | Stage::Released { .. }, Stored::Content(id)) => Some(*id),
            _ => None,
        }
    }

    /// Whether the seller may have the money.
    pub fn is_released(&self) -> bool {
        matches!(self.stage, Stage::Released { .. })
    }

    /// What is to be done where it stands.
    fn due(&self, deal: &Deal, now: Timestamp) -> Vec<Effect> {
        match &self.stage {
            Stage::Fetching => {
                let fetch = self.fetching().map(|content| Effect::Fetch { content, salt: [0; 32].into() });
                let wake = Effect::WakeAt(release_by(deal).saturating_add(1));
                fetch.into_iter().chain([wake]).collect()
            }
            Stage::Releasing => vec![Effect::Release, Effect::WakeAt(release_by(deal).saturating_add(1))],
            Stage::Released { release, tries } => {
                // Too late to redeem, a seller that has done so still says the key.
                let message = if now <= redeem_by(deal) {
                    Some(wire::Release { award: deal.id(), signatures: release.clone() }.into())
                } else {
                    None
                };
                let mut effects = vec![message.map_or_else(|| holds(deal, &self.receipt), Effect::Send)];
                if *tries >= TRIES_BEFORE_MINT || now > redeem_by(deal) {
                    effects.push(Effect::FindKey);
                }
                effects.push(Effect::WakeAt(self.wake(deal, *tries, now)));
                effects
            }
        }
    }

    /// When to ask again: soon while the seller may still redeem, then seldom; and at each moment that changes something.
    fn wake(&self, deal: &Deal, tries: u32, now: Timestamp) -> Timestamp {
        let pause = match self.given_up {
            None => FIRST_RETRY_SECS.saturating_mul(1 << tries.min(8)).min(MAX_RETRY_SECS),
            Some(_) => GIVEN_UP_RETRY_SECS,
        };
        let next = now.saturating_add(pause);
        let moments = [given_up_at(deal), swept_at(deal)].into_iter().chain(self.keyless_at());
        moments.filter(|moment| *moment > now).fold(next, Timestamp::min)
    }

    /// When the key is waited for no longer.
    fn keyless_at(&self) -> Option<Timestamp> {
        self.taken_at.map(|at| at.saturating_add(KEY_WAIT_SECS))
    }

    fn again(mut self: Box<Self>, deal: &Deal, input: &Input, now: Timestamp) -> Step {
        if !self.is_released() {
            if now > release_by(deal) {
                return self.unreleased(deal, now).step(deal, now);
            }
            let effects = self.due(deal, now);
            return Step::passing(Buyer::Unopened(self), effects);
        }
        let is_tick = *input == Input::Tick;
        // After a restart it is asked once more first.
        if is_tick && self.keyless_at().is_some_and(|at| now >= at) {
            return self.keyless(deal, now);
        }
        if let Stage::Released { tries, .. } = &mut self.stage {
            // It may never have gone out.
            self.was_away |= *tries == 0 && now > release_by(deal);
            *tries = tries.saturating_add(is_tick.into());
        }
        let (mut writes, mut finish) = (vec![], None);
        if now >= swept_at(deal) && self.told.is_none() {
            // What the mint says is unspent by then comes back.
            self.told = Some(Before { money: Money::Waiting, judged: false, releases: true });
            writes = vec![Write::State, Write::Settle(LockOutcome::Refund)];
        }
        if now >= given_up_at(deal) && self.given_up.is_none() {
            self.given_up = Some(self.so_far(now));
            writes.splice(0..writes.len().min(1), [Write::State]);
            finish = Some(Effect::Finish);
        }
        // Finishing clears the alarm.
        let effects = finish.into_iter().chain(self.due(deal, now)).collect();
        Step { state: Buyer::Unopened(self), writes, effects }
    }

    /// The release is stored before it is sent.
    fn release(mut self: Box<Self>, deal: &Deal, release: Vec<ReleaseSignature>, now: Timestamp) -> Step {
        if now > release_by(deal) {
            return self.without(BuyerOutcome::Missed).step(deal, now);
        }
        self.stage = Stage::Released { release, tries: 0 };
        let effects = self.due(deal, now);
        Step { state: Buyer::Unopened(self), writes: vec![Write::State], effects }
    }

    /// What was shown has opened what was delivered, or not.
    fn unsealed(
        self,
        shown: Shown,
        opened: Option<(Opened, Stored)>,
        received: Option<Signed<crate::received::Received>>,
    ) -> End {
        let late = self.given_up.is_some() || self.told.is_some();
        match opened {
            Some((Opened { salt, commitment }, output)) if Outcome::Ok(commitment) == self.receipt.body.out => End {
                output: Some((salt, output)),
                forgotten: self.kept(),
                receipt: Some(self.receipt),
                ..End::after(
                    self.told,
                    LockOutcome::Paid,
                    BuyerOutcome::Delivered { late },
                    Statements { received, ..self.signed },
                )
            },
            _ => {
                let shown = match &shown {
                    Shown::Key(key) => key.reveal().to_vec(),
                    Shown::NoKey(bytes) => bytes.clone(),
                };
                let forged = Forged { ciphertext: self.ciphertext.clone(), shown: shown.into() };
                // It stays, for whoever wants to see.
                End { forged: Some(forged), forgotten: None, ..self.without(BuyerOutcome::Mismatch) }
            }
        }
    }

    /// The wallet knows what became of the lock: all came back, or some was taken, as the mint says. Then the key was shown to it.
    fn swept(mut self: Box<Self>, deal: &Deal, (refunded, redeemed, fee): (u64, u64, u64), now: Timestamp) -> Step {
        let Some(told) = self.told.filter(|told| told.money == Money::Waiting) else {
            return Step::passing(Buyer::Unopened(self), vec![]);
        };
        self.told = Some(Before { money: Money::Settled { refunded, redeemed, fee }, ..told });
        let back = refunded.saturating_add(fee);
        if redeemed == 0 && back >= deal.locked() {
            if !self.is_released() {
                return self.unreleased(deal, now).step(deal, now);
            }
            return self.without(BuyerOutcome::Unopened).step(deal, now);
        }
        self.taken_at = Some(now);
        let question = holds(deal, &self.receipt);
        let mut step = noted(Buyer::Unopened(self));
        step.effects = vec![question, Effect::FindKey, Effect::WakeAt(now.saturating_add(GIVEN_UP_RETRY_SECS))];
        step
    }

    /// The money is gone, and neither the mint nor the seller shows the key. Where the mint shows the seller's signature, that
    /// convicts the seller; where it doesn't, the mint may as well have kept the money itself.
    fn keyless(self, deal: &Deal, now: Timestamp) -> Step {
        let took = match self.told.map(|told| told.money) {
            Some(Money::Settled { redeemed, .. }) => redeemed,
            _ => 0,
        };
        let mut step = self.without(BuyerOutcome::Keyless { by_seller: took > 0 }).step(deal, now);
        if took > 0 {
            step.writes.push(Write::Conduct(SellerConduct::Redeemed(took)));
            step.effects.push(Effect::Accuse(took));
        }
        step
    }

    /// How it ends when the moment to release has passed: it is the seller's doing if it hasn't served what it delivered, while
    /// we were there to fetch it.
    fn unreleased(self, deal: &Deal, now: Timestamp) -> End {
        let is_ours = self.stage != Stage::Fetching || self.was_away || was_away_at(release_by(deal), now);
        self.without(if is_ours { BuyerOutcome::Missed } else { BuyerOutcome::Overdue })
    }

    /// How it ends without the output.
    fn without(self, outcome: BuyerOutcome) -> End {
        let forgotten = self.kept();
        // A seller may never have had the release that we were not there to send.
        let excused = self.was_away && outcome == BuyerOutcome::Unopened;
        let end = End::after(self.told, LockOutcome::Refund, outcome, self.signed);
        End { forgotten, receipt: Some(self.receipt), judges: end.judges && !excused, ..end }
    }

    /// What the user is told when the last moment to redeem has passed.
    fn so_far(&self, now: Timestamp) -> Ended {
        Ended {
            outcome: BuyerOutcome::Unopened,
            money: Money::Waiting,
            receipt: Some(self.receipt.clone()),
            output: None,
            at: now,
            signed: self.signed.clone(),
            forged: None,
        }
    }
}

/// Until when we let the money go, by our clock; the seller grants the skew.
fn release_by(deal: &Deal) -> Timestamp {
    deal.escrow().map(|(terms, _)| terms.release_by).unwrap_or_default()
}

/// Until when an honest seller redeems.
fn redeem_by(deal: &Deal) -> Timestamp {
    deal.escrow().map(|(terms, _)| terms.redeem_by).unwrap_or_default()
}

/// When the user is told that it has come to nothing: the mint may take its time with the last redemption.
fn given_up_at(deal: &Deal) -> Timestamp {
    redeem_by(deal).saturating_add(SKEW_SECS)
}

/// When the wallet is told to take back what is unspent.
fn swept_at(deal: &Deal) -> Timestamp {
    falls_back(deal).saturating_add(1)
}
