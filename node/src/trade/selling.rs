//! The actor of one trade that we sell: drives [`Seller`], fetches the input if it goes as content, and has the work done.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{
    bytes::{ByteArray, Digest},
    content::ContentId,
    envelope::{EnvelopeError, Signed},
    limits::MAX_ERROR_TEXT,
    receipt::{Commitment, FailureCode, Outcome as ReceiptOutcome, Receipt, Salt, TaskError},
    trade::{
        Deal, Stored,
        seller::{self, Effect, Input, Seller},
    },
    wire::Payload,
};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;

use super::{
    buying::{fetch, stored_size},
    desk::{Desk, SellerMail},
    limits::FETCH_RETRY,
    load::Place,
    records::{self, DEALS, OPEN, SELLERS, StoredSide, key},
};
use crate::{
    content::{self, ContentError, Data, Pin},
    events::{Event, Outcome, Side},
    executor::Service,
    failpoint::Step,
    runtime::Task,
    store::Write,
    wallet::{Wallet, WalletError},
};

/// See the module.
pub(super) struct SellerActor {
    desk: Arc<Desk>,
    deal: Arc<Deal>,
    state: Seller,
    /// Our own mailbox, for fetch and work to post to.
    post: mpsc::Sender<SellerMail>,
    /// What we took the award for; looked up again after a restart.
    service: Option<Service>,
    /// Our place among the service's trades, until the work is over.
    place: Option<Place>,
    /// Fetching the input, or working. Dropping it stops it.
    working: Option<Task>,
    /// Keeps a large output until the record that names it is stored.
    pin: Option<Pin>,
}

/// What came of the work, or of the fetch before it.
#[derive(Debug)]
pub(super) struct Work(Result<Done, TaskError>);

#[derive(Debug)]
struct Done {
    salt: Salt,
    commitment: Digest,
    output: Data,
}

impl SellerActor {
    pub(super) fn new(
        desk: Arc<Desk>,
        deal: Arc<Deal>,
        state: Seller,
        post: mpsc::Sender<SellerMail>,
        service: Option<(Service, Place)>,
    ) -> Self {
        let (service, place) = service.unzip();
        Self { desk, deal, state, post, service, place, working: None, pin: None }
    }

    /// Performs the effects of the step that was stored, then takes what is posted until the trade is over.
    pub(super) async fn run(mut self, effects: Vec<Effect>, mut mail: mpsc::Receiver<SellerMail>) {
        self.perform(effects).await;
        loop {
            if self.state.is_ended() && self.desk.close(self.deal.id(), &mail) {
                return;
            }
            let Some(next) = mail.recv().await else { return };
            match next {
                SellerMail::Input(input) => self.step(input).await,
                SellerMail::Worked(work) => self.conclude(work).await,
            }
        }
    }

    fn trade(&self) -> Cid {
        self.deal.id()
    }

    async fn step(&mut self, input: Input) {
        let was_ended = self.state.is_ended();
        let step = self.state.clone().handle(&self.deal, input, self.desk.runtime.now());
        if !step.writes.is_empty() {
            self.store(&step.state, step.writes).await;
        }
        self.state = step.state;
        if !was_ended {
            self.tell_end();
        }
        self.perform(step.effects).await;
    }

    async fn store(&self, state: &Seller, writes: Vec<seller::Write>) {
        let (deal, state, wallet) = (Arc::clone(&self.deal), state.clone(), self.desk.wallet.clone());
        let step = match &state {
            _ if writes.contains(&seller::Write::Acknowledge) => Step::StoreRedeemed,
            Seller::Ended(_) => Step::StoreSold,
            Seller::Accepted(_) => Step::Other,
        };
        let redeems = writes.contains(&seller::Write::Redeem);
        self.desk.persist(step, move |w| write(w, &wallet, &deal, &state, &writes)).await;
        if redeems {
            self.desk.wallet.nudge();
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.desk.outbox.send(self.deal.buyer(), &message),
                Effect::WakeAt(at) => self.desk.timers.set(self.trade(), at),
                Effect::Fetch(id) => self.fetch_input(id),
                Effect::Run => self.work(),
                Effect::Abort(code, why) => {
                    self.working = None;
                    let error = TaskError { code, text: why.into() };
                    // Its one step leads to the end, which aborts nothing: this recurses once.
                    Box::pin(self.conclude(Work(Err(error)))).await;
                }
                Effect::Finish => {
                    self.desk.timers.clear(self.trade());
                    (self.working, self.place, self.pin) = (None, None, None);
                }
            }
        }
    }

    /// Signs the receipt and ends the work. What comes after the end changes nothing.
    async fn conclude(&mut self, Work(work): Work) {
        let Seller::Accepted(at_work) = &self.state else { return };
        let began = at_work.began;
        let (out, output) = match work {
            Ok(Done { salt, commitment, output }) => (Ok(commitment), Some((salt, self.keep(output)))),
            Err(error) => (Err(error), None),
        };
        match self.sign(out, began) {
            Ok(receipt) => {
                // A receipt that says it came too late carries no output.
                let output = output.filter(|_| matches!(receipt.body.out, ReceiptOutcome::Ok(_)));
                self.step(Input::Concluded { receipt, output }).await;
            }
            // Only a bug can bring this about; the buyer gets its money back at the locktime.
            Err(error) => tracing::error!(trade = %self.trade(), %error, "a receipt could not be signed"),
        }
    }

    fn sign(
        &self,
        out: Result<Digest, TaskError>,
        began: guilder_protocol::time::Timestamp,
    ) -> Result<Signed<Receipt>, EnvelopeError> {
        let now = self.desk.runtime.now();
        let body = seller::receipt_body(&self.deal, out, began, now);
        Signed::claim(body, now, None, ByteArray(self.desk.runtime.random()), &self.desk.key)
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
        let (desk, deal, post) = (Arc::clone(&self.desk), Arc::clone(&self.deal), self.post.clone());
        let fetching = async move {
            let mail = match fetch_input(&desk, &deal, id).await {
                // The reference that the award's transaction made keeps it.
                Ok(_pin) => SellerMail::Input(Input::InputReady),
                Err(error) => SellerMail::Worked(Work(Err(error))),
            };
            // Fails only if the node is going down.
            let _ = post.send(mail).await;
        };
        self.working = Some(self.desk.runtime.spawn("trade/fetch", fetching));
    }

    fn work(&mut self) {
        if self.service.is_none() {
            self.service = self.desk.catalogue.service(&self.deal.award.args().service);
        }
        let (desk, deal, post) = (Arc::clone(&self.desk), Arc::clone(&self.deal), self.post.clone());
        let service = self.service.clone();
        let working = async move {
            let work = Work(work(&desk, &deal, service).await);
            // Fails only if the node is going down.
            let _ = post.send(SellerMail::Worked(work)).await;
        };
        self.working = Some(self.desk.runtime.spawn("trade/work", working));
    }

    fn tell_end(&self) {
        let Seller::Ended(ended) = &self.state else { return };
        let (task, trade, side) = (self.deal.award.args().task, self.trade(), Side::Seller);
        if let Some((_, stored)) = &ended.output {
            let (peer, receipt, output_bytes) = (self.deal.buyer(), ended.receipt.cid(), stored_size(stored));
            self.desk.events.emit(Event::Delivered { task, trade, side, peer, receipt, output_bytes });
        }
        self.desk.events.emit(Event::Ended { task, trade: Some(trade), side, outcome: outcome(ended) });
    }
}

/// How a trade that we sold ended, for events and listings.
pub(super) fn outcome(ended: &seller::Ended) -> Outcome {
    match &ended.receipt.body.out {
        ReceiptOutcome::Ok(_) => Outcome::Done,
        ReceiptOutcome::Error(error) if error.code == FailureCode::Cancelled => Outcome::Cancelled,
        ReceiptOutcome::Error(error) => {
            use guilder_protocol::fault::Fault;
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
) -> Result<(), WalletError> {
    let (trade, key) = (deal.id(), key(deal.id()));
    for write in writes {
        match write {
            seller::Write::Deal => w.put(DEALS, &key, deal)?,
            seller::Write::State => w.put(SELLERS, &key, state)?,
            seller::Write::Open => w.put(OPEN, &key, &StoredSide::Seller)?,
            seller::Write::Close => w.delete(OPEN, &key)?,
            seller::Write::Keep(id) => content::refer(w, *id, trade)?,
            seller::Write::Share(id) => records::share(w, *id, deal.buyer(), trade)?,
            seller::Write::Redeem => wallet.redeemable(w, trade)?,
            seller::Write::Void => wallet.void(w, trade)?,
            seller::Write::Acknowledge => wallet.acknowledge(w, trade)?,
        }
    }
    Ok(())
}

/// Fetches the input until it is here, can't be had, or the actor gives up at the deadline.
async fn fetch_input(desk: &Desk, deal: &Deal, id: ContentId) -> Result<Pin, TaskError> {
    let (mut wait, longest) = FETCH_RETRY;
    loop {
        match fetch(desk, deal.buyer(), id, id.size).await {
            Ok(pin) => return Ok(pin),
            Err(error @ (ContentError::Wrong(_) | ContentError::TooLarge { .. })) => {
                return Err(TaskError { code: FailureCode::InputMissing, text: error.to_string() });
            }
            Err(error) => tracing::debug!(trade = %deal.id(), %error, "input not fetched; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = longest.min(wait * 2);
    }
}

async fn work(desk: &Desk, deal: &Deal, service: Option<Service>) -> Result<Done, TaskError> {
    let Some(service) = service else {
        return Err(TaskError { code: FailureCode::Internal, text: "the service is no longer offered".into() });
    };
    let input = match &deal.input {
        Payload::Inline(bytes) => Data::Inline(bytes.to_vec().into()),
        Payload::Content(id) => Data::Stored(desk.content.pin(*id)),
    };
    let slot = service.reserve().await;
    let output = service.run(slot, service.work(deal.id(), deal.buyer(), input)).await.map_err(|error| {
        tracing::info!(trade = %deal.id(), %error, "the work failed");
        TaskError { code: error.code(), text: clipped(error.public_text()) }
    })?;
    let salt = ByteArray(desk.runtime.random());
    let commitment = commit(desk, &salt, &output).await.map_err(|error| {
        tracing::error!(trade = %deal.id(), %error, "an output could not be read back");
        TaskError { code: FailureCode::Internal, text: "the seller's node could not handle the output".into() }
    })?;
    Ok(Done { salt, commitment, output })
}

async fn commit(desk: &Desk, salt: &Salt, output: &Data) -> Result<Digest, ContentError> {
    let mut commitment = Commitment::new(salt);
    let mut pieces = output.pieces(&desk.content).await?;
    while let Some(piece) = pieces.next().await? {
        commitment.update(&piece);
    }
    Ok(commitment.finish())
}

fn clipped(mut text: String) -> String {
    let mut end = text.len().min(MAX_ERROR_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
