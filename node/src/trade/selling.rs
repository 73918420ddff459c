//! The actor of one trade that we sell: drives [`Seller`], fetches the input if it goes as content, and has the work done.

use std::{collections::BTreeSet, sync::Arc};

use cid::Cid;
use guilder_protocol::{
    bytes::{ByteArray, Digest},
    content::ContentId,
    envelope::{EnvelopeError, Signed},
    fault::Fault,
    identity::AgentKey,
    receipt::{FailureCode, Outcome as ReceiptOutcome, Receipt, ReceiptBody, TaskError},
    seal::Sealed,
    settlement::{
        Mode,
        escrow::{self, ReleaseError},
    },
    time::Timestamp,
    trade::{
        Deal, StatementError, Stored,
        seller::{self, BuyerConduct, Effect, Input, Seller},
    },
    wire,
};
use serde_bytes::ByteBuf;

use super::{
    buying::stored_size,
    hires::{CalledOff, Hires},
    journal::{self, Journal, Unwritable},
    limits::{
        LAST_WORD, LOCK_CHECK_PATIENCE, SUB_EVIDENCE_SIGNATURES, UNASKED_SECS, UNSURE_LATE_RETRY_SECS,
        UNSURE_RETRY_SECS,
    },
    mailbox::{BuyerMail, Cause, Inbox, Mail, Mailbox, SellerMail},
    open::{self, OpenTrades, Posted},
    outbox::Outbox,
    outlays,
    permits::Permit,
    records::{self, BUYER_HISTORY, BuyerHistory, DEALS, OPEN, SELLERS, SUB_EVIDENCE, StoredSide, TASKS, key},
    unreleased::UnreleasedPlace,
    views,
    violation::{Penalties, Violation},
    work::{Done, Worked, Workshop},
};
use crate::{
    catalogue::Catalogue,
    content::{self, Data, Pin},
    events::{Event, Events, Outcome, Side},
    executor::Service,
    failpoint::Step,
    runtime::{Job, Runtime, Task},
    spans::Span,
    store::{Key, Reader, StoreError, Write},
    wallet::{Wallet, WalletError},
};

/// What a seller's actor works with.
#[derive(Clone, Debug)]
pub(super) struct Selling {
    /// Signs receipts.
    pub(super) key: AgentKey,
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) wallet: Wallet,
    pub(super) open: OpenTrades,
    pub(super) outbox: Outbox,
    pub(super) catalogue: Catalogue,
    pub(super) workshop: Workshop,
    /// Hires under way, for what the work left of them.
    pub(super) hires: Hires,
    pub(super) events: Events,
    pub(super) penalties: Penalties,
}

/// What a trade that we sell takes up, beside its actor.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// What it was taken for, and its place there.
    pub(super) service: Option<(Service, Permit)>,
    /// In escrow: its place among those that aren't released.
    pub(super) unreleased: Option<UnreleasedPlace>,
}

/// See the module.
pub(super) struct SellerActor {
    with: Arc<Selling>,
    deal: Arc<Deal>,
    state: Seller,
    /// Our own mailbox, for fetch and work to post to.
    post: Mailbox<SellerMail>,
    /// What we took the award for; looked up again after a restart.
    service: Option<Service>,
    /// Our place among the service's trades, until the work is over.
    permit: Option<Permit>,
    /// In escrow: our place among those that aren't released, until it is, or won't be.
    unreleased: Option<UnreleasedPlace>,
    /// Fetching the input, or working. Dropping it stops it.
    working: Option<Task>,
    /// Keeps a large output until the record that names it is stored.
    pin: Option<Pin>,
    /// What is handed over about work that was passed on, until it is stored with the end of the work.
    beneath: Option<ByteBuf>,
    /// Whether the trade was taken up again, by a home that may have been put back to before its receipt was signed.
    resumed: bool,
    /// What the work came to, while it isn't sure that no receipt was signed.
    unsigned: Option<Worked>,
    /// The buyer has asked for the delivery since the trade was taken up again: it has no receipt.
    asked: bool,
    /// The buyer has shown a receipt that this version can't read.
    held: bool,
}

/// Whether a receipt may be signed.
enum MaySign {
    Yes,
    /// The buyer, or the mint, hasn't said yet.
    Unsure,
    /// Another copy of this home has: in words.
    Never(&'static str),
}

/// What is known of work that was passed on, at the end of the work: the receipts, and what is handed over of them.
#[derive(Debug, Default)]
struct PassedOn {
    receipts: Vec<Cid>,
    bundle: Option<ByteBuf>,
}

impl SellerActor {
    pub(super) fn new(
        with: Arc<Selling>,
        deal: Arc<Deal>,
        state: Seller,
        post: Mailbox<SellerMail>,
        Places { service, unreleased }: Places,
    ) -> Self {
        let (service, permit) = service.unzip();
        Self {
            with,
            deal,
            state,
            post,
            service,
            permit,
            unreleased,
            working: None,
            pin: None,
            beneath: None,
            resumed: false,
            unsigned: None,
            asked: false,
            held: false,
        }
    }

    /// Performs the effects of the step that was stored, then takes what is posted until the trade is over.
    pub(super) async fn run(mut self, effects: Vec<Effect>, mut inbox: Inbox<SellerMail>) {
        self.note_stage();
        self.perform(effects).await;
        let mut has_waited = false;
        loop {
            let mail = if !self.state.is_ended() {
                inbox.next().await
            } else if self.state.awaits_word() && !std::mem::replace(&mut has_waited, true) {
                // It comes at once or not at all; whoever waits for it needn't read the trade's record again.
                self.with.open.note_given_up(self.trade(), true);
                match tokio::time::timeout(LAST_WORD, inbox.next()).await {
                    Ok(mail) => mail,
                    Err(_) => continue,
                }
            } else if self.with.open.close(self.trade(), &inbox) {
                return;
            } else {
                inbox.next().await
            };
            self.take(mail).await;
        }
    }

    async fn take(&mut self, mail: SellerMail) {
        let checked = match mail {
            SellerMail::Input(input) => return self.take_input(input).await,
            SellerMail::Asked(wire::Status { receipt: None, .. }) => return self.take_input(Input::Asked).await,
            SellerMail::Asked(wire::Status { receipt: Some(receipt), .. }) => {
                let held = seller::check_held(&self.deal, &receipt);
                self.held |= matches!(held, Err(StatementError::NotUnderstood));
                held.map(Input::Held)
            }
            // What was decided of it meanwhile, a cancellation say, stands.
            SellerMail::Worked(_) if self.unsigned.is_some() => return,
            SellerMail::Worked(work) => return self.conclude(work).await,
            SellerMail::Cancel(message) => seller::check_cancel(&self.deal, &message).map(Input::Cancel),
            SellerMail::Release(message) => return self.take_release(message).await,
            SellerMail::Received(message) => {
                seller::check_received(&self.deal, &self.state, &message).map(Input::Received)
            }
        };
        match checked {
            Ok(input) => self.take_input(input).await,
            Err(error) => self.with.penalties.punish(self.deal.buyer(), error).await,
        }
    }

    /// Feeds the machine, and goes on with what waits for a receipt to be signed.
    async fn take_input(&mut self, input: Input) {
        if input == Input::Resume && self.state.began().is_some() {
            self.resumed = true;
            self.ask_buyer();
        }
        self.asked |= matches!(input, Input::Asked | Input::Cancel(_));
        let waiting = self.unsigned.take();
        self.step(input).await;
        // A step that ends the work has something of its own to sign.
        if let (Some(worked), None, Some(_)) = (waiting, &self.unsigned, self.state.began()) {
            self.conclude(worked).await;
        }
    }

    /// Asks the buyer whether it has a receipt.
    fn ask_buyer(&self) {
        let status = wire::Status { award: self.trade(), receipt: None };
        self.with.outbox.send(self.deal.buyer(), &status.into());
    }

    /// Whether no other receipt of this trade can have been signed. A home that was put back knows nothing of one, and would convict
    /// itself by a second that says something else: so a trade that was taken up again is concluded only once its buyer has asked
    /// for the delivery, and the mint says that its money is untouched. A buyer that keeps quiet doesn't get back what it paid in
    /// advance for work that is done: shortly before the deadline it is enough that the mint knows of no later copy of this home.
    async fn may_sign(&self, is_done: bool) -> MaySign {
        if !self.resumed {
            return MaySign::Yes;
        }
        if !(self.asked || is_done && self.is_last_moment()) {
            return MaySign::Unsure;
        }
        let (wallet, trade, asked) = (&self.with.wallet, self.trade(), self.asked);
        let looking = async {
            if wallet.is_taken(trade).await? {
                return Ok(MaySign::Never("another copy of this home has delivered it: its money is taken"));
            }
            let may = asked || !wallet.has_another_copy(trade).await?;
            Ok::<_, WalletError>(if may { MaySign::Yes } else { MaySign::Unsure })
        };
        match tokio::time::timeout(LOCK_CHECK_PATIENCE, looking).await {
            Ok(Ok(may)) => may,
            Ok(Err(_)) | Err(_) => MaySign::Unsure,
        }
    }

    /// Whether a trade that nobody asks for is concluded now or never. Not in escrow, where it would earn nothing, nor where the
    /// buyer has said that it holds a receipt.
    fn is_last_moment(&self) -> bool {
        let (deadline, now) = (self.deal.award.args().deadline, self.with.runtime.now());
        let in_advance = self.deal.offer.body.terms.mode() == Mode::Prepaid;
        in_advance && !self.held && now <= deadline && deadline <= now.saturating_add(UNASKED_SECS)
    }

    /// Checks every signature of a release on a thread for such work. Once it has been taken, the buyer only wants the key.
    async fn take_release(&mut self, message: wire::Release) {
        let checked = match (self.deal.escrow(), &self.state) {
            (None, _) => Err(ReleaseError::Count { given: message.signatures.len(), due: 0 }),
            (Some((_, lock)), Seller::Unreleased(_)) => {
                let (lock, signatures) = (lock.clone(), message.signatures);
                let job = Job::Signatures(lock.proofs.len() as u32);
                let checking = move || escrow::check_release(&lock, &signatures).map(|()| signatures);
                self.with.runtime.offload(job, checking).await
            }
            (Some(_), _) => Ok(Vec::new()),
        };
        match checked {
            Ok(release) => self.step(Input::Released(release)).await,
            Err(error) => self.with.penalties.punish(self.deal.buyer(), error).await,
        }
    }

    fn trade(&self) -> Cid {
        self.deal.id()
    }

    async fn step(&mut self, input: Input) {
        let was_ended = self.state.is_ended() || matches!(self.state, Seller::Unreleased(_));
        let step = self.state.clone().handle(&self.deal, input, self.with.runtime.now());
        let step = self.stored(step).await;
        self.beneath = None;
        self.state = step.state;
        self.note_stage();
        if !was_ended {
            if self.deal.grant.is_some() && !matches!(self.state, Seller::Fetching(_) | Seller::Working(_)) {
                self.call_off_subs();
            }
            self.tell_end();
        }
        self.perform(step.effects).await;
    }

    /// While it waits for its release it takes none of the room of others; once it doesn't any more, its place is free.
    fn note_stage(&mut self) {
        match self.state {
            Seller::Fetching(_) | Seller::Working(_) => {}
            Seller::Unreleased(_) => self.with.open.note_given_up(self.trade(), true),
            Seller::Ended(_) | Seller::Broken(_) => self.unreleased = None,
        }
    }

    /// Stores what a step writes. If that can never be done, the trade ends for it, and the step that ends it is stored
    /// and given instead.
    async fn stored(&self, step: seller::Step) -> seller::Step {
        let Err(error) = self.store(&step.state, &step.writes).await else { return step };
        tracing::error!(trade = %self.trade(), %error, "the trade can't go on");
        self.broken(&error).await
    }

    /// The step that ends a trade which can't go on.
    async fn broken(&self, error: &Unwritable) -> seller::Step {
        let end = self.state.clone().handle(&self.deal, Input::Broken(error.to_string()), self.with.runtime.now());
        if self.store(&end.state, &end.writes).await.is_err() {
            // It is the money that contradicts the books: they keep it where it is, and somebody must look.
            let least = [seller::Write::State, seller::Write::Close];
            let stored = self.store(&end.state, &least).await;
            journal::tell_stuck_money(&self.with.events, &self.deal, error, stored);
        }
        end
    }

    async fn store(&self, state: &Seller, writes: &[seller::Write]) -> Result<(), Unwritable> {
        if writes.is_empty() {
            return Ok(());
        }
        if *writes == [seller::Write::Behind] {
            let (key, state) = (key(self.trade()), state.clone());
            self.with.journal.behind(move |w| w.put(SELLERS, key, &state)).await;
            return Ok(());
        }
        let step = match &state {
            _ if writes.contains(&seller::Write::Acknowledge) => Step::StoreRedeemed,
            Seller::Ended(_) if writes.contains(&seller::Write::Release) => Step::StoreReleased,
            Seller::Unreleased(_) | Seller::Ended(_) | Seller::Broken(_) => Step::StoreSold,
            Seller::Fetching(_) | Seller::Working(_) => Step::Other,
        };
        let (redeems, releases) = (writes.contains(&seller::Write::Redeem), writes.contains(&seller::Write::Release));
        let (deal, wallet) = (Arc::clone(&self.deal), self.with.wallet.clone());
        let (state, writes, now) = (state.clone(), writes.to_vec(), self.with.runtime.now());
        let beneath = self.beneath.clone();
        let writing = move |w: &mut Write<'_>| {
            if let Some(beneath) = &beneath {
                w.put(SUB_EVIDENCE, key(deal.id()), beneath)?;
            }
            write(w, &wallet, &deal, &state, &writes, now)
        };
        let storing = Span::StoreSold.begin();
        self.with.journal.persist(step, writing).await?;
        drop(storing);
        if releases {
            self.with.wallet.nudge();
        } else if redeems {
            self.with.wallet.earned();
        }
        Ok(())
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.with.outbox.send(self.deal.buyer(), &self.with_evidence(message)),
                Effect::WakeAt(at) => self.with.open.set_alarm(self.trade(), at),
                Effect::Fetch(id) => self.fetch_input(id),
                Effect::Run => self.work(),
                Effect::Abort(code, why) => {
                    self.working = None;
                    let error = TaskError { code, text: why.into() };
                    // Its one step leads to the end, which aborts nothing: this recurses once.
                    Box::pin(self.conclude(Worked(Err(error)))).await;
                }
                Effect::Finish => {
                    self.with.open.clear_alarm(self.trade());
                    (self.working, self.permit, self.pin) = (None, None, None);
                }
                Effect::Accuse(conduct) => self.accuse(conduct).await,
                Effect::SendKey => self.send_key(),
            }
        }
    }

    /// Signs the receipt and ends the work. What comes after the end changes nothing.
    async fn conclude(&mut self, Worked(work): Worked) {
        let Some(began) = self.state.began() else { return };
        match self.may_sign(work.is_ok()).await {
            MaySign::Yes => {}
            MaySign::Never(why) => return self.step(Input::Broken(why.into())).await,
            MaySign::Unsure => return self.wait_to_sign(Worked(work)).await,
        }
        let (out, output, sealed) = match work {
            Ok(Done { salt, commitment, output, sealed }) => (Ok(commitment), Some((salt, self.keep(output))), sealed),
            Err(error) => (Err(error), None, None),
        };
        let PassedOn { receipts, bundle } = self.passed_on().await;
        self.beneath = bundle;
        match self.sign(out, sealed.as_ref(), began, receipts) {
            Ok(receipt) => {
                // A receipt that says it came too late carries no output.
                let output = output.filter(|_| matches!(receipt.body.out, ReceiptOutcome::Ok(_)));
                self.step(Input::Concluded { receipt, output }).await;
            }
            // Only a bug can bring this about; the buyer gets its money back at the locktime.
            Err(error) => {
                tracing::error!(trade = %self.trade(), %error, "a receipt could not be signed");
                self.step(Input::Broken(format!("a receipt could not be signed: {error}"))).await;
            }
        }
    }

    /// Keeps what the work came to until it may be signed; as long as its money is locked, for after that nobody needs it.
    async fn wait_to_sign(&mut self, worked: Worked) {
        let (now, until) = (self.with.runtime.now(), self.deal.award.part().until());
        if now > until {
            let why = "after a restart neither buyer nor mint said that no receipt was signed of it before";
            return self.step(Input::Broken(why.into())).await;
        }
        if !self.asked {
            self.ask_buyer();
        }
        // The work is over, and leaves its place to others.
        self.permit = None;
        self.unsigned = Some(worked);
        let in_time = now <= self.deal.award.args().deadline;
        let pause = if in_time { UNSURE_RETRY_SECS } else { UNSURE_LATE_RETRY_SECS };
        let again = now.saturating_add(pause).min(until.saturating_add(1));
        self.with.open.set_alarm(self.trade(), again);
    }

    /// What was signed about work that was passed on, put together once; without, if it can't be read.
    async fn passed_on(&self) -> PassedOn {
        if self.deal.grant.is_none() {
            return PassedOn::default();
        }
        let (journal, trade) = (self.with.journal.clone(), self.trade());
        let reading = move || journal.read(|r| Ok((views::sub_receipts(r, trade)?, views::beneath(r, trade)?)));
        match self.with.runtime.offload(Job::Signatures(SUB_EVIDENCE_SIGNATURES), reading).await {
            Ok((receipts, beneath)) => {
                if !beneath.left_out.is_empty() {
                    let left_out = views::left_out(&beneath.left_out);
                    tracing::info!(%trade, left_out, "not handed over of passed-on work");
                }
                PassedOn { receipts, bundle: beneath.bundle().map(ByteBuf::from) }
            }
            Err(error) => {
                tracing::error!(%trade, %error, "what was signed about passed-on work can't be read");
                PassedOn::default()
            }
        }
    }

    /// A delivery, with what was signed beneath as it was put together at the end of the work.
    fn with_evidence(&self, message: wire::Message) -> wire::Message {
        let wire::Message::Delivered(delivered) = message else { return message };
        if self.deal.grant.is_none() {
            return delivered.into();
        }
        let evidence = self.with.journal.read(|r| r.get(SUB_EVIDENCE, key(self.trade()))).unwrap_or_default();
        wire::Delivered { evidence, ..delivered }.into()
    }

    /// Calls off what the work hired and didn't wait for: nobody takes its output any more. It is stored by now that the work is
    /// over, so nothing more is debited for its sake.
    fn call_off_subs(&self) {
        let trade = self.trade();
        // First those that haven't awarded: what one awards until it hears of it, it says or is on record.
        let hires = self.with.hires.under(trade).into_iter().map(|task| self.with.hires.call_off(task));
        let mut awarded: BTreeSet<Cid> =
            hires.filter_map(|hire| if let CalledOff::Awarded(sub) = hire { Some(sub) } else { None }).collect();
        let recorded = self.with.journal.read(|r| {
            let tasks = views::passed_on(r, trade)?;
            let last = |task| Ok(r.get(TASKS, key(task))?.and_then(|record| record.awards.last().copied()));
            tasks.into_iter().map(last).collect::<Result<Vec<_>, StoreError>>()
        });
        awarded.extend(recorded.unwrap_or_default().into_iter().flatten());
        for sub in awarded.into_iter().filter(|sub| self.with.open.is_wanted(*sub)) {
            let not_open = |_: &Mail| Err(Posted::Unknown);
            self.with.open.post(open::From::This(Cause::Cancel), sub, BuyerMail::Cancel.into(), not_open);
        }
    }

    /// Gives the buyer the key of what it has, which the mint has by now.
    fn send_key(&self) {
        let Some(key) = self.with.wallet.seal_key(&self.deal.offer.body.terms) else { return };
        self.with.outbox.send(self.deal.buyer(), &wire::Opened { award: self.trade(), key }.into());
    }

    fn sign(
        &self,
        out: Result<Digest, TaskError>,
        sealed: Option<&Sealed>,
        began: Timestamp,
        sub: Vec<Cid>,
    ) -> Result<Signed<Receipt>, EnvelopeError> {
        let now = self.with.runtime.now();
        let body = ReceiptBody { sub, ..seller::receipt_body(&self.deal, out, sealed, began, now) };
        Signed::claim(body, now, None, ByteArray(self.with.runtime.random()), &self.with.key)
    }

    fn keep(&mut self, output: Data) -> Stored {
        match output {
            Data::Inline(bytes) => Stored::Inline(ByteBuf::from(bytes)),
            Data::Stored(pin) => {
                let id = pin.id();
                self.pin = Some(pin);
                Stored::Content(id)
            }
        }
    }

    fn fetch_input(&mut self, id: ContentId) {
        let (with, deal, post) = (Arc::clone(&self.with), Arc::clone(&self.deal), self.post.clone());
        let fetching = async move {
            let mail = match with.workshop.fetch_input(&deal, id).await {
                // The reference that the award's transaction made keeps it.
                Ok(_pin) => SellerMail::Input(Input::InputReady),
                Err(error) => SellerMail::Worked(Worked(Err(error))),
            };
            post.post_own(Cause::Work, mail);
        };
        self.working = Some(self.with.runtime.spawn("trade/fetch", fetching));
    }

    fn work(&mut self) {
        if self.service.is_none() {
            self.service = self.with.catalogue.service(&self.deal.award.args().service);
        }
        let (with, deal, post) = (Arc::clone(&self.with), Arc::clone(&self.deal), self.post.clone());
        let service = self.service.clone();
        let working = async move {
            let key = with.wallet.seal_key(&deal.offer.body.terms);
            let worked = Worked(with.workshop.run(&deal, service, key).await);
            post.post_own(Cause::Work, SellerMail::Worked(worked));
        };
        self.working = Some(self.with.runtime.spawn("trade/work", working));
    }

    /// Tells how the buyer failed to keep its part.
    async fn accuse(&self, conduct: BuyerConduct) {
        let what = match conduct {
            // Who was away isn't told from who withholds: it costs no standing, but whoever does it often gets no more.
            BuyerConduct::Paid | BuyerConduct::NoRelease => return,
            BuyerConduct::NoInput => "awarded a task and never served its input",
        };
        let (task, trade, peer) = (self.deal.award.args().task, self.trade(), self.deal.buyer());
        let side = Side::Seller;
        self.with.events.emit(Event::Cheated { task, trade, side, peer, what: what.into(), sum: None });
        self.with.penalties.punish(peer, Violation::NoInput).await;
    }

    fn tell_end(&self) {
        let (task, trade, side) = (self.deal.award.args().task, self.trade(), Side::Seller);
        let ended = match &self.state {
            Seller::Unreleased(seller::Unreleased { ended }) | Seller::Ended(ended) => ended,
            Seller::Broken(broken) => {
                let outcome = Outcome::Failed { fault: Fault::Internal, reason: broken.why.clone() };
                return self.with.events.emit(Event::Ended { task, trade: Some(trade), side, outcome });
            }
            Seller::Fetching(_) | Seller::Working(_) => return,
        };
        if let Some((_, stored)) = &ended.output {
            let (peer, receipt, output_bytes) = (self.deal.buyer(), ended.receipt.cid(), stored_size(stored));
            self.with.events.emit(Event::Delivered { task, trade, side, peer, receipt, output_bytes });
        }
        self.with.events.emit(Event::Ended { task, trade: Some(trade), side, outcome: outcome(ended) });
    }
}

/// How a trade that we sold ended, for events and listings.
pub(super) fn outcome(ended: &seller::Ended) -> Outcome {
    match &ended.receipt.body.out {
        ReceiptOutcome::Ok(_) => Outcome::Done,
        ReceiptOutcome::Error(error) if error.code == FailureCode::Cancelled => Outcome::Cancelled,
        // Only a later version of this node writes one.
        ReceiptOutcome::Other(form) => {
            let reason = format!("not understood: the receipt says {form}");
            Outcome::Failed { fault: Fault::Incompatible, reason }
        }
        ReceiptOutcome::Error(error) => {
            let fault = if error.code.by_buyer() { Fault::Peer } else { Fault::Ours };
            Outcome::Failed { fault, reason: error.text.clone() }
        }
    }
}

/// Writes a step of a seller's trade.
pub(super) fn write(
    w: &mut Write<'_>,
    wallet: &Wallet,
    deal: &Deal,
    state: &Seller,
    writes: &[seller::Write],
    now: Timestamp,
) -> Result<(), WalletError> {
    let (trade, key) = (deal.id(), key(deal.id()));
    for write in writes {
        match write {
            seller::Write::Deal => w.put(DEALS, &key, deal)?,
            seller::Write::Behind => w.put(SELLERS, &key, state)?,
            seller::Write::State => {
                w.put(SELLERS, &key, state)?;
                outlays::work_over(w, deal, state, now)?;
            }
            seller::Write::Open => w.put(OPEN, &key, &StoredSide::Seller)?,
            seller::Write::Close => {
                if w.contains(OPEN, &key)? {
                    let output = state.ended().and_then(|ended| ended.output.as_ref()).map(|(_, stored)| stored);
                    records::count_payloads(w, records::payload_bytes(deal, output), 0)?;
                }
                w.delete(OPEN, &key)?;
            }
            seller::Write::Keep(id) => content::refer(w, *id, trade)?,
            seller::Write::Share(id) => records::share(w, *id, deal.buyer(), trade)?,
            seller::Write::Redeem => wallet.redeemable(w, trade)?,
            seller::Write::Release => {
                let release = state.ended().map(|ended| ended.release.as_slice()).unwrap_or_default();
                wallet.released(w, trade, release)?;
            }
            seller::Write::Void => wallet.void(w, trade)?,
            seller::Write::Acknowledge => wallet.acknowledge(w, trade)?,
            seller::Write::Conduct(conduct) => note_conduct(w, deal, *conduct, now)?,
        }
    }
    Ok(())
}

/// Remembers how the buyer did.
fn note_conduct(w: &mut Write<'_>, deal: &Deal, conduct: BuyerConduct, now: Timestamp) -> Result<(), StoreError> {
    let key = Key::of(deal.buyer());
    let mut history: BuyerHistory = w.get(BUYER_HISTORY, &key)?.unwrap_or_default();
    match conduct {
        BuyerConduct::Paid => {
            history.paid += 1;
            outlays::paid(w, deal, now)?;
        }
        BuyerConduct::NoInput => {
            history.no_input += 1;
            history.no_input_at = Some(now);
        }
        BuyerConduct::NoRelease => {
            history.no_release += 1;
            history.no_release_at = Some(now);
        }
    }
    w.put(BUYER_HISTORY, &key, &history)
}
