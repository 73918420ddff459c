//! The actor of one trade that we buy: drives [`Buyer`], and fetches the output if it goes as content.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{
    audit::Beneath,
    bytes::{ByteArray, Digest},
    claim::{Body, Claim},
    content::ContentId,
    envelope::Signed,
    fault::Fault,
    identity::AgentKey,
    limits::MAX_CONTENT,
    receipt::{Commitment, FailureCode, Receipt, Salt},
    seal::{Opened, Opener, sealed_size},
    settlement::escrow::Shown,
    time::Timestamp,
    trade::{
        Deal, Stored,
        buyer::{self, Buyer, BuyerOutcome, Delivery, DeliveryError, Effect, Ended, Input, SellerConduct},
    },
    wire::{self, Reason},
};
use serde_bytes::ByteBuf;
use tokio::sync::oneshot;

use super::{
    cheats::Cheats,
    ends, housekeeping,
    journal::{self, Journal, Unwritable},
    limits::{FETCH_RETRY, OUTPUT_CHECK_PATIENCE, SUB_EVIDENCE_SIGNATURES},
    mailbox::{BuyerMail, Cause, Inbox, Mailbox},
    open::OpenTrades,
    outbox::Outbox,
    progress::ProgressMeter,
    records::{
        self, BUYERS, CHEATS, Cheat, DEALS, OPEN, OutputCheck, PROMISES, SECOND_RECEIPTS, SELLER_HISTORY, SUB_EVIDENCE,
        SellerHistory, StoredSide, key,
    },
    transfers::Transfers,
    views,
    violation::{Penalties, Violation},
};
use crate::{
    catalogue::Catalogue,
    content::{self, ContentError, Data, Pin},
    events::{Event, Events, Money, Outcome, Side},
    failpoint::Step,
    runtime::{Job, Runtime, Task},
    spans::Span,
    store::{Key, Reader, StoreError, Write},
    wallet::{LockOf, Wallet, WalletError},
};

/// What a buyer's actor works with.
#[derive(Clone, Debug)]
pub(super) struct Buying {
    /// Signs cancellations, and that an output is here.
    pub(super) key: AgentKey,
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) wallet: Wallet,
    pub(super) open: OpenTrades,
    pub(super) outbox: Outbox,
    pub(super) transfers: Transfers,
    pub(super) catalogue: Catalogue,
    pub(super) events: Events,
    pub(super) penalties: Penalties,
    pub(super) cheats: Cheats,
    /// The largest output taken.
    pub(super) max_output_bytes: u64,
}

/// See the module.
pub(super) struct BuyerActor {
    with: Arc<Buying>,
    deal: Arc<Deal>,
    state: Buyer,
    /// Our own mailbox, for the fetch to post to.
    post: Mailbox<BuyerMail>,
    waiter: Option<oneshot::Sender<Ended>>,
    /// Fetching what was delivered, signing its release, or opening it: one after the other.
    fetching: Option<Task>,
    /// Asking the mint for a key.
    looking: Option<Task>,
    /// Keeps a large output until the record that names it is stored.
    pin: Option<Pin>,
    /// What the seller handed over about work that it passed on, checked, until it is stored with a step.
    evidence: Option<ByteBuf>,
    meter: ProgressMeter,
}

impl BuyerActor {
    pub(super) fn new(
        with: Arc<Buying>,
        deal: Arc<Deal>,
        state: Buyer,
        post: Mailbox<BuyerMail>,
        waiter: Option<oneshot::Sender<Ended>>,
    ) -> Self {
        let meter = ProgressMeter::new(with.runtime.instant());
        Self { with, deal, state, post, waiter, fetching: None, looking: None, pin: None, evidence: None, meter }
    }

    /// Performs the effects of the step that was stored, then takes what is posted until the trade is over.
    pub(super) async fn run(mut self, effects: Vec<Effect>, mut inbox: Inbox<BuyerMail>) {
        self.with.open.note_given_up(self.trade(), !self.state.is_ended() && self.state.ended().is_some());
        self.perform(effects);
        while !self.state.is_ended() || !self.with.open.close(self.deal.id(), &inbox) {
            let next = inbox.next().await;
            if let Some(input) = self.read(next).await {
                self.step(input).await;
            }
        }
    }

    fn trade(&self) -> Cid {
        self.deal.id()
    }

    /// Checks what was posted; `None` if there is nothing in it for the machine.
    async fn read(&mut self, mail: BuyerMail) -> Option<Input> {
        let _took = Span::CheckDelivery.begin();
        match mail {
            BuyerMail::Input(input) => Some(input),
            BuyerMail::Cancel => self.sign(buyer::cancellation(&self.deal)).map(Input::Cancel),
            BuyerMail::Accepted(message) => match buyer::check_accepted(&self.deal, &message) {
                Ok(acceptance) => Some(Input::Accepted(acceptance)),
                Err(error) => {
                    self.with.penalties.punish(self.deal.seller(), error).await;
                    None
                }
            },
            BuyerMail::Fetched(commitment) => {
                let received = self.state.received(commitment).and_then(|body| self.sign(body));
                Some(Input::Fetched { commitment, received })
            }
            BuyerMail::Delivered(message) => {
                match buyer::check_delivery(&self.deal, &message, self.with.max_output_bytes) {
                    Ok(delivery) => {
                        self.note_contradiction(delivery.receipt()).await;
                        self.take_evidence(&message).await;
                        Some(Input::Delivered(self.acknowledged(delivery)))
                    }
                    Err(error) => {
                        let later = (error == DeliveryError::NotUnderstood).then_some(Input::NotUnderstood);
                        self.with.penalties.punish(self.deal.seller(), error).await;
                        later
                    }
                }
            }
            BuyerMail::Opened(wire::Opened { key, .. }) => {
                let agreed = self.deal.escrow().is_some_and(|(terms, _)| terms.key_hash == key.hash());
                if !agreed {
                    self.with.penalties.punish(self.deal.seller(), DeliveryError::Key).await;
                }
                agreed.then_some(Input::Shown(Shown::Key(key)))
            }
            BuyerMail::Unsealed { shown, opened } => Some(self.unsealed(shown, opened)),
            BuyerMail::Progress(progress) => {
                self.tell_progress(progress);
                None
            }
        }
    }

    /// What came of opening a sealed output, with our word if it is what was to be delivered.
    fn unsealed(&mut self, shown: Shown, opened: Option<(Opened, Data)>) -> Input {
        let received = opened.as_ref().and_then(|(opened, _)| self.state.received(opened.commitment));
        let received = received.and_then(|body| self.sign(body));
        if let Some((_, Data::Stored(pin))) = &opened {
            self.pin = Some(pin.clone());
        }
        Input::Unsealed { shown, opened: opened.map(|(opened, data)| (opened, data.to_stored())), received }
    }

    /// Keeps a receipt that says something else than the one before: the two convict their seller, whichever is true.
    async fn note_contradiction(&self, second: &Signed<Receipt>) {
        let Some(first) = self.state.receipt().filter(|first| first.body != second.body) else { return };
        let (trade, peer, at) = (self.trade(), self.deal.seller(), self.with.runtime.now());
        // Both: the first may be on no disk yet.
        let both: Vec<ByteBuf> = [first, second].map(|receipt| ByteBuf::from(receipt.bytes())).into();
        let noting = move |w: &mut Write<'_>| {
            if w.contains(SECOND_RECEIPTS, key(trade))? {
                return Ok(false);
            }
            w.put(SECOND_RECEIPTS, key(trade), &both)?;
            if !w.contains(CHEATS, key(trade))? {
                w.put(CHEATS, key(trade), &Cheat { seller: peer, took: 0, at })?;
            }
            Ok::<_, StoreError>(true)
        };
        match self.with.journal.commit(Step::Other, noting).await {
            Ok(false) => {}
            Ok(true) => {
                self.with.cheats.note(peer, at);
                let (task, side) = (self.deal.award.args().ask, Side::Buyer);
                let what = "signed a second receipt that contradicts its first".into();
                self.with.events.emit(Event::Cheated { task, trade, side, peer, what, sum: None });
                self.with.penalties.punish(peer, Violation::Contradicts).await;
            }
            Err(error) => tracing::error!(%trade, %error, "a contradicting receipt could not be kept"),
        }
    }

    /// Checks what the seller hands over about work that it passed on. What doesn't hold is left out: its receipt then names
    /// what it didn't show. Looked at once, with the first receipt, and never after the end: it would be checked for each repetition.
    async fn take_evidence(&mut self, message: &wire::Delivered) {
        let is_first = self.evidence.is_none() && self.state.receipt().is_none();
        let wanted = self.deal.grant.is_some() && !self.state.is_ended() && is_first;
        let Some(bytes) = message.evidence.clone().filter(|_| wanted) else { return };
        let (deal, trade) = (Arc::clone(&self.deal), self.trade());
        let checking = move || {
            let grant = deal.grant.as_ref()?;
            Some(Beneath::read(&bytes, &deal.award, grant).map(|beneath| (beneath.bundle(), beneath.left_out)))
        };
        match self.with.runtime.offload(Job::Signatures(SUB_EVIDENCE_SIGNATURES), checking).await {
            Some(Ok((bundle, left_out))) => {
                if !left_out.is_empty() {
                    let left_out = views::left_out(&left_out);
                    tracing::info!(%trade, left_out, "left out of what was handed over of passed-on work");
                }
                self.evidence = bundle.map(ByteBuf::from);
            }
            Some(Err(error)) => {
                tracing::info!(%trade, %error, "what was handed over of passed-on work can't be read");
            }
            None => {}
        }
    }

    /// A delivery with our word that it is here. An ended trade has given it.
    fn acknowledged(&self, delivery: Delivery) -> Delivery {
        match delivery.received().filter(|_| !self.state.is_ended()).and_then(|body| self.sign(body)) {
            Some(received) => delivery.with_received(received),
            None => delivery,
        }
    }

    /// Signs a statement about this trade. Only a bug keeps it from being signed; the trade goes on without.
    fn sign<B: Body>(&self, body: B) -> Option<Signed<Claim<B>>> {
        let nonce = ByteArray(self.with.runtime.random());
        Signed::claim(body, self.with.runtime.now(), None, nonce, &self.with.key)
            .inspect_err(|error| tracing::error!(trade = %self.trade(), %error, "a statement could not be signed"))
            .ok()
    }

    /// What the seller says of its work is told while it may work, within bounds.
    fn tell_progress(&mut self, said: wire::Progress) {
        let may_work = matches!(self.state, Buyer::Awarded(_) | Buyer::Working(_));
        if !may_work || !self.meter.admits(&said, self.with.runtime.instant()) {
            return;
        }
        self.with.open.note_progress(self.trade(), &said);
        let (task, trade) = (self.deal.award.args().ask, self.trade());
        let wire::Progress { permille, note, partial, .. } = said;
        self.with.events.emit(Event::Progress { task, trade, side: Side::Buyer, permille, note, partial });
    }

    async fn step(&mut self, input: Input) {
        let before = Phase::of(&self.state);
        let step = self.state.clone().handle(&self.deal, input, self.with.runtime.now());
        let check = self.check_output(&step.state).await;
        let step = self.stored(step, check.as_ref()).await;
        // It waits for a step that is stored with it: what comes sealed is fetched before anything is written.
        if step.writes.contains(&buyer::Write::State) {
            self.evidence = None;
        }
        self.state = step.state;
        self.with.open.note_given_up(self.trade(), !self.state.is_ended() && self.state.ended().is_some());
        self.tell(before, check).await;
        self.perform(step.effects);
    }

    /// Stores what a step writes. If that can never be done, the trade ends for it, and the step that ends it is stored
    /// and given instead.
    async fn stored(&self, step: buyer::Step, check: Option<&OutputCheck>) -> buyer::Step {
        let Err(error) = self.store(&step.state, &step.writes, check).await else { return step };
        tracing::error!(trade = %self.trade(), %error, "the trade can't go on");
        let end = self.state.clone().handle(&self.deal, Input::Broken(error.to_string()), self.with.runtime.now());
        if self.store(&end.state, &end.writes, None).await.is_err() {
            // It is the money that contradicts the books: they keep it where it is, and somebody must look.
            let least = [buyer::Write::State, buyer::Write::Close];
            let stored = self.store(&end.state, &least, None).await;
            journal::tell_stuck_money(&self.with.events, &self.deal, &error, stored);
        }
        end
    }

    async fn store(
        &self,
        state: &Buyer,
        writes: &[buyer::Write],
        check: Option<&OutputCheck>,
    ) -> Result<(), Unwritable> {
        if writes.is_empty() {
            return Ok(());
        }
        if *writes == [buyer::Write::Behind] {
            let (key, state) = (key(self.trade()), state.clone());
            self.with.journal.behind(move |w| w.put(BUYERS, key, &state)).await;
            return Ok(());
        }
        let step = match &state {
            _ if writes.contains(&buyer::Write::Acknowledge) => Step::StoreRefunded,
            Buyer::Ended(_) | Buyer::GivenUp(_) => Step::StoreBought,
            Buyer::Fetching(_) => Step::StoreFetching,
            Buyer::Unopened(unopened) if unopened.is_released() => Step::StoreRelease,
            Buyer::Unopened(_) => Step::StoreFetching,
            Buyer::Awarded(_) | Buyer::Working(_) => Step::Other,
        };
        let settles = writes.iter().any(|write| matches!(write, buyer::Write::Settle(_)));
        let (deal, wallet) = (Arc::clone(&self.deal), self.with.wallet.clone());
        let (state, writes, now) = (state.clone(), writes.to_vec(), self.with.runtime.now());
        let (check, evidence) = (check.cloned(), self.evidence.clone());
        let writing = move |w: &mut Write<'_>| {
            write(w, &wallet, &deal, &state, &writes, now)?;
            if let Some(evidence) = &evidence {
                w.put(SUB_EVIDENCE, key(deal.id()), evidence)?;
            }
            check.as_ref().map_or(Ok(()), |check| Ok(note_check(w, &deal, check)?))
        };
        let storing = Span::StoreBought.begin();
        self.with.journal.persist(step, writing).await?;
        drop(storing);
        if settles {
            self.with.wallet.nudge();
        }
        Ok(())
    }

    /// Holds an output that has come with this step against the schema that its seller promised, if it did.
    async fn check_output(&self, after: &Buyer) -> Option<OutputCheck> {
        let had_output = self.state.ended().is_some_and(|ended| ended.output.is_some());
        let (_, stored) = after.ended().filter(|_| !had_output)?.output.clone()?;
        let schema = match self.with.journal.read(|r| r.get(PROMISES, key(self.trade()))) {
            Ok(promise) => promise?.schema,
            Err(error) => return Some(OutputCheck::Unchecked(error.to_string())),
        };
        let output = match stored {
            Stored::Inline(bytes) => Data::Inline(bytes.into_vec().into()),
            Stored::Content(id) => Data::Stored(self.with.transfers.pin(id)),
        };
        let checking = self.with.catalogue.check_output(schema.into(), &output);
        Some(match tokio::time::timeout(OUTPUT_CHECK_PATIENCE, checking).await {
            Ok(Ok(Ok(()))) => OutputCheck::Valid,
            Ok(Ok(Err(error))) if error.is_unsatisfied() => OutputCheck::Invalid(error.to_string()),
            Ok(Ok(Err(error))) => OutputCheck::Unchecked(error.to_string()),
            Ok(Err(error)) => OutputCheck::Unchecked(error.to_string()),
            Err(_) => OutputCheck::Unchecked("there was too much to check at once".into()),
        })
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.with.outbox.send(self.deal.seller(), &message),
                Effect::WakeAt(at) => self.with.open.set_alarm(self.trade(), at),
                Effect::Fetch { content, salt } => self.fetch(content, salt),
                Effect::Release => self.release(),
                Effect::FindKey => self.find_key(),
                Effect::Open { ciphertext, shown } => self.open(ciphertext, shown),
                Effect::Finish => self.finish(),
                Effect::Accuse(took) => self.accuse(took),
            }
        }
    }

    fn finish(&mut self) {
        self.with.open.clear_alarm(self.trade());
        if self.state.is_ended() {
            (self.fetching, self.looking, self.pin) = (None, None, None);
        }
        if let (Some(waiter), Some(ended)) = (self.waiter.take(), self.state.ended()) {
            // Whoever hired may have gone.
            let _ = waiter.send(ended.clone());
        }
    }

    /// Tells that the seller took money for nothing. The record of it stands.
    fn accuse(&self, took: u64) {
        let (args, trade, peer) = (self.deal.award.args(), self.trade(), self.deal.seller());
        let sum = Money { amount: took, unit: args.unit.to_string() };
        let what = match self.state.signed().acceptance {
            Some(_) => "signed that it took the award, took the money and delivered nothing for it",
            None => "took the money and delivered nothing for it",
        };
        self.with.events.emit(Event::Cheated {
            task: args.ask,
            trade,
            side: Side::Buyer,
            peer,
            what: what.into(),
            sum: Some(sum),
        });
        self.with.cheats.note(peer, self.with.runtime.now());
        let penalties = self.with.penalties.clone();
        let punishing = async move { penalties.punish(peer, Violation::Took).await };
        self.with.runtime.spawn("trade/penalty", punishing).detach();
    }

    /// Signs the release of the money.
    fn release(&mut self) {
        let (with, deal, post) = (Arc::clone(&self.with), Arc::clone(&self.deal), self.post.clone());
        let signing = async move {
            let signed = with.wallet.release(&deal.offer.body.terms, &deal.lock).await;
            let input = signed.map_or_else(|error| Input::Broken(error.to_string()), Input::Release);
            post.post_own(Cause::Work, BuyerMail::Input(input));
        };
        self.fetching = Some(self.with.runtime.spawn("trade/release", signing));
    }

    /// Asks the mint whether it shows the key, unless that is under way.
    fn find_key(&mut self) {
        if self.looking.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (with, deal, post) = (Arc::clone(&self.with), Arc::clone(&self.deal), self.post.clone());
        let looking = async move {
            let Some((terms, _)) = deal.escrow() else { return };
            let of = LockOf { mint: &deal.award.args().mint, lock: &deal.lock, key_hash: terms.key_hash };
            match with.wallet.shown_key(deal.id(), of).await {
                Ok(Some(shown)) => post.post_own(Cause::Key, BuyerMail::Input(Input::Shown(shown))),
                Ok(None) => {}
                Err(error) => tracing::debug!(trade = %deal.id(), %error, "the mint can't be asked for the key yet"),
            }
        };
        self.looking = Some(self.with.runtime.spawn("trade/key", looking));
    }

    /// Opens what was delivered, unless that is under way.
    fn open(&mut self, ciphertext: Stored, shown: Shown) {
        if self.fetching.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (with, deal, post) = (Arc::clone(&self.with), Arc::clone(&self.deal), self.post.clone());
        let opening = async move {
            match unseal(&with, ciphertext, &shown).await {
                Ok(opened) => post.post_own(Cause::Work, BuyerMail::Unsealed { shown, opened }),
                // Our disk: the key is asked for again, and this with it.
                Err(error) => {
                    tracing::error!(trade = %deal.id(), %error, "a sealed output could not be read or written")
                }
            }
        };
        self.fetching = Some(self.with.runtime.spawn("trade/open", opening));
    }

    /// Starts fetching the output, unless that is under way.
    fn fetch(&mut self, content: ContentId, salt: Salt) {
        if self.fetching.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.pin = Some(self.with.transfers.pin(content));
        let (with, deal, post) = (Arc::clone(&self.with), Arc::clone(&self.deal), self.post.clone());
        let fetching = async move {
            let mail = match fetch_output(&with, &deal, content, salt).await {
                Some(commitment) => BuyerMail::Fetched(commitment),
                None => BuyerMail::Input(Input::FetchFailed),
            };
            post.post_own(Cause::Work, mail);
        };
        self.fetching = Some(self.with.runtime.spawn("trade/fetch", fetching));
    }

    /// Tells the world what this step changed.
    async fn tell(&self, before: Phase, check: Option<OutputCheck>) {
        let after = Phase::of(&self.state);
        if before == after {
            return;
        }
        let (task, trade, peer, side) = (self.deal.award.args().ask, self.trade(), self.deal.seller(), Side::Buyer);
        match &self.state {
            Buyer::Awarded(_) => {}
            Buyer::Working(_) => {
                self.with.open.note_accepted(trade);
                self.with.events.emit(Event::Accepted { task, trade, side, peer });
            }
            Buyer::Fetching(_) => {}
            Buyer::Unopened(unopened) => {
                if let Some(ended) = unopened.given_up() {
                    self.with.events.emit(Event::Ended { task, trade: Some(trade), side, outcome: outcome(ended) });
                }
            }
            Buyer::GivenUp(buyer::GivenUp { ended, .. }) | Buyer::Ended(ended) => {
                if ended.outcome == BuyerOutcome::Mismatch {
                    self.with.penalties.punish(peer, Violation::Mismatch).await;
                }
                if ended.forged.is_some() {
                    self.with.cheats.note(peer, self.with.runtime.now());
                    let what = "sold a key that does not open what it delivered to what it signed for".into();
                    self.with.events.emit(Event::Cheated { task, trade, side, peer, what, sum: None });
                }
                if let (Some(receipt), Some((_, stored))) = (&ended.receipt, &ended.output) {
                    let (receipt, output_bytes) = (receipt.cid(), stored_size(stored));
                    self.with.events.emit(Event::Delivered { task, trade, side, peer, receipt, output_bytes });
                    if let Some(OutputCheck::Invalid(why)) = check {
                        self.with.events.emit(Event::OutputInvalid { task, trade, peer, why });
                    }
                }
                if let BuyerOutcome::Refused(reason) = &ended.outcome {
                    let reason = reason.to_string();
                    self.with.events.emit(Event::Refused { task, trade, side, peer, reason });
                } else {
                    let outcome = outcome(ended);
                    self.with.events.emit(Event::Ended { task, trade: Some(trade), side, outcome });
                }
            }
        }
    }
}

/// How far a trade is, for telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Awarded,
    Working,
    Fetching,
    /// In escrow; whether it is given up.
    Unopened(bool),
    Ended(bool),
}

impl Phase {
    fn of(state: &Buyer) -> Self {
        match state {
            Buyer::Awarded(_) => Self::Awarded,
            Buyer::Working(_) => Self::Working,
            Buyer::Fetching(_) => Self::Fetching,
            Buyer::Unopened(unopened) => Self::Unopened(unopened.given_up().is_some()),
            Buyer::GivenUp(_) => Self::Ended(false),
            Buyer::Ended(ended) => Self::Ended(ended.output.is_some()),
        }
    }
}

/// How a trade of ours ended, for events and listings.
pub(super) fn outcome(ended: &Ended) -> Outcome {
    match &ended.outcome {
        BuyerOutcome::Delivered { .. } => Outcome::Done,
        BuyerOutcome::Failed(error) if error.code == FailureCode::Cancelled => Outcome::Cancelled,
        other => Outcome::Failed { fault: other.fault().unwrap_or(Fault::Environment), reason: reason_of(other) },
    }
}

/// Why there is no output, in words.
pub(super) fn reason_of(outcome: &BuyerOutcome) -> String {
    match outcome {
        BuyerOutcome::Delivered { .. } => "delivered".into(),
        BuyerOutcome::Failed(error) => format!("the seller could not do it: {}", error.text),
        BuyerOutcome::Refused(reason) => format!("the seller did not take the award: {reason}"),
        BuyerOutcome::Overdue => "the deadline passed without a delivery".into(),
        BuyerOutcome::Missed => {
            "it was delivered in time, and this node was not there in time to release the money for it".into()
        }
        BuyerOutcome::Unopened => "the seller took neither the money that was released to it nor showed the key".into(),
        BuyerOutcome::Keyless { by_seller: true } => {
            "the seller took the money, and neither it nor the mint shows the key".into()
        }
        BuyerOutcome::Keyless { by_seller: false } => {
            "by the mint's word, which shows neither by whom nor with what, the money is spent; nobody gave the key"
                .into()
        }
        BuyerOutcome::Mismatch => "the seller's receipt is not true of what it delivered or of what was asked".into(),
        BuyerOutcome::NotUnderstood => {
            "not understood: the seller delivered what only a later version of Guilder can read".into()
        }
        BuyerOutcome::Broken(why) => why.clone(),
    }
}

/// What the buyer can do when there is no output.
pub(super) fn hint_of(outcome: &BuyerOutcome) -> Option<&'static str> {
    match outcome {
        BuyerOutcome::Delivered { .. } => None,
        BuyerOutcome::Failed(error) if error.code == FailureCode::Cancelled => None,
        BuyerOutcome::Failed(_) => {
            Some("the money falls back after its locktime; hire again, or name another --seller")
        }
        BuyerOutcome::Refused(Reason::SubcontractsUnpaid) => Some(
            "pay it in advance (--mode prepaid), or hire without --allow-subcontract; what is locked falls back after its locktime",
        ),
        BuyerOutcome::Refused(_) => Some("hire again, or name another --seller"),
        BuyerOutcome::Overdue => Some("the money falls back after its locktime; give the next one more --deadline"),
        BuyerOutcome::Missed => {
            Some("the money falls back after its locktime; keep the node running while tasks are open")
        }
        BuyerOutcome::Keyless { by_seller: true } => {
            Some("what shows it stands in `accusations/` of the home folder; name another --seller")
        }
        BuyerOutcome::Keyless { by_seller: false } => Some("use another mint: an honest one shows what it was given"),
        BuyerOutcome::Unopened => {
            Some("the money falls back after its locktime; if the key is shown until then, the output opens")
        }
        BuyerOutcome::Mismatch => {
            Some("the money falls back after its locktime; its receipt is proof against the seller")
        }
        BuyerOutcome::NotUnderstood => Some(
            "update Guilder, or name another --seller; what the seller doesn't redeem falls back after its locktime",
        ),
        BuyerOutcome::Broken(_) => Some("the money falls back after its locktime; please report the bug"),
    }
}

pub(super) fn stored_size(stored: &Stored) -> u64 {
    match stored {
        Stored::Inline(bytes) => bytes.len() as u64,
        Stored::Content(id) => id.size,
    }
}

/// Writes a step of a buyer's trade.
pub(super) fn write(
    w: &mut Write<'_>,
    wallet: &Wallet,
    deal: &Deal,
    state: &Buyer,
    writes: &[buyer::Write],
    now: Timestamp,
) -> Result<(), WalletError> {
    let (trade, key) = (deal.id(), key(deal.id()));
    for write in writes {
        match write {
            buyer::Write::Deal => w.put(DEALS, &key, deal)?,
            buyer::Write::State | buyer::Write::Behind => {
                w.put(BUYERS, &key, state)?;
                note_forged(w, deal, state, now)?;
            }
            buyer::Write::Open => {
                if !writes.contains(&buyer::Write::Deal) && !w.contains(OPEN, &key)? {
                    housekeeping::reopen(w, deal)?;
                }
                w.put(OPEN, &key, &StoredSide::Buyer)?;
            }
            buyer::Write::Close => {
                if w.contains(OPEN, &key)? {
                    let output = state.ended().and_then(|ended| ended.output.as_ref()).map(|(_, stored)| stored);
                    records::count_payloads(w, records::payload_bytes(deal, output), 0)?;
                }
                w.delete(OPEN, &key)?;
            }
            buyer::Write::Keep(id) => content::refer(w, *id, trade)?,
            buyer::Write::Share(id) => records::share(w, *id, deal.seller(), trade)?,
            buyer::Write::Forget(id) => content::release(w, *id, trade)?,
            buyer::Write::Settle(settlement) => wallet.settle(w, trade, *settlement)?,
            buyer::Write::Acknowledge => wallet.acknowledge(w, trade)?,
            buyer::Write::Conduct(conduct) => note_conduct(w, deal, *conduct, now)?,
        }
    }
    match state.ended() {
        // Another seller may yet take it: that is the hire's to end.
        Some(ended) if !matches!(ended.outcome, BuyerOutcome::Refused(_)) => {
            Ok(ends::end(w, deal.award.args().ask, Some(trade), &outcome(ended), now)?)
        }
        _ => Ok(()),
    }
}

/// Keeps in mind that what shows a wrong key is there. What the seller took is known once the mint is asked for the money.
fn note_forged(w: &mut Write<'_>, deal: &Deal, state: &Buyer, now: Timestamp) -> Result<(), StoreError> {
    let key = key(deal.id());
    if state.ended().is_some_and(|ended| ended.forged.is_some()) && !w.contains(CHEATS, &key)? {
        w.put(CHEATS, &key, &Cheat { seller: deal.seller(), took: 0, at: now })?;
    }
    Ok(())
}

/// Remembers how the seller did, for choosing among offers.
fn note_conduct(w: &mut Write<'_>, deal: &Deal, conduct: SellerConduct, now: Timestamp) -> Result<(), StoreError> {
    let key = Key::of(deal.seller());
    let mut history: SellerHistory = w.get(SELLER_HISTORY, &key)?.unwrap_or_default();
    match conduct {
        SellerConduct::Delivered => {
            history.delivered += 1;
            records::note_earned(w, deal, now)?;
        }
        SellerConduct::Failed => history.failed += 1,
        SellerConduct::Redeemed(took) => {
            // What it takes part by part is one cheat.
            let known = w.get(CHEATS, records::key(deal.id()))?;
            history.took += u64::from(known.is_none_or(|known| known.took == 0));
            history.took_at = Some(now);
            let cheat = Cheat { seller: deal.seller(), took, at: now };
            w.put(CHEATS, records::key(deal.id()), &cheat)?;
        }
    }
    w.put(SELLER_HISTORY, &key, &history)
}

/// Records whether the output is what the seller promised. One that isn't was no delivery as agreed.
fn note_check(w: &mut Write<'_>, deal: &Deal, check: &OutputCheck) -> Result<(), StoreError> {
    let key = key(deal.id());
    if let Some(promise) = w.get(PROMISES, &key)? {
        w.put(PROMISES, &key, &records::Promise { kept: Some(check.clone()), ..promise })?;
    }
    if matches!(check, OutputCheck::Invalid(_)) {
        let key = Key::of(deal.seller());
        let mut history: SellerHistory = w.get(SELLER_HISTORY, &key)?.unwrap_or_default();
        history.delivered = history.delivered.saturating_sub(1);
        history.invalid = history.invalid.saturating_add(1);
        w.put(SELLER_HISTORY, &key, &history)?;
        records::take_back_earned(w, deal)?;
    }
    Ok(())
}

/// Opens a sealed output piece by piece; `None` if it isn't what the key sealed.
async fn unseal(with: &Buying, ciphertext: Stored, shown: &Shown) -> Result<Option<(Opened, Data)>, ContentError> {
    let Shown::Key(key) = shown else { return Ok(None) };
    let (mut opener, mut open) = (Opener::new(key), Vec::new());
    let mut output = with.transfers.collector(with.max_output_bytes);
    let mut pieces = with.transfers.pieces(&with.transfers.data(ciphertext)).await?;
    while let Some(piece) = pieces.next().await? {
        if opener.update(&piece, &mut open).is_err() {
            return Ok(None);
        }
        output.push(&open).await?;
        open.clear();
    }
    let Ok(opened) = opener.finish(&mut open) else { return Ok(None) };
    output.push(&open).await?;
    Ok(Some((opened, output.finish().await?)))
}

/// Fetches the output until it is here or can't be had, and computes its commitment: what its receipt should commit to.
async fn fetch_output(with: &Buying, deal: &Deal, id: ContentId, salt: Salt) -> Option<Digest> {
    let (mut wait, longest) = FETCH_RETRY;
    loop {
        match try_fetch(with, deal, id, salt).await {
            Ok(commitment) => return Some(commitment),
            // It holds something else, or won't give what it delivered: that is what the receipt was signed for.
            Err(error @ (ContentError::Wrong(_) | ContentError::TooLarge { .. })) => {
                tracing::warn!(trade = %deal.id(), %error, "the output can't be had");
                return None;
            }
            Err(error) => tracing::debug!(trade = %deal.id(), %error, "output not fetched; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = longest.min(wait * 2);
    }
}

async fn try_fetch(with: &Buying, deal: &Deal, id: ContentId, salt: Salt) -> Result<Digest, ContentError> {
    // Sealed, an output is somewhat longer.
    let limit = if deal.escrow().is_some() { sealed_size(with.max_output_bytes) } else { with.max_output_bytes };
    let pin = with.transfers.fetch(deal.seller(), id, limit.min(MAX_CONTENT)).await?;
    let mut commitment = Commitment::new(&salt);
    let mut pieces = with.transfers.pieces(&Data::Stored(pin)).await?;
    while let Some(piece) = pieces.next().await? {
        commitment.update(&piece);
    }
    Ok(commitment.finish())
}
