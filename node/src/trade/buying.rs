//! The actor of one trade that we buy: drives [`Buyer`], and fetches the output if it goes as content.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{
    content::ContentId,
    fault::Fault,
    receipt::{Commitment, FailureCode, Salt},
    trade::{
        Deal, Stored,
        buyer::{self, Buyer, BuyerOutcome, Conduct, Effect, Ended, Input},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    desk::{BuyerMail, Desk},
    limits::FETCH_RETRY,
    penalty::Misdeed,
    records::{self, BUYERS, DEALS, OPEN, STANDING, Standing, StoredSide, key},
};
use crate::{
    content::{self, ContentError, Data, Pin},
    events::{Event, Outcome, Side},
    failpoint::Step,
    network::StreamProtocol,
    runtime::Task,
    store::{Key, Reader, StoreError, Write},
    wallet::{Settlement, Wallet, WalletError},
};

/// See the module.
pub(super) struct BuyerActor {
    desk: Arc<Desk>,
    deal: Arc<Deal>,
    state: Buyer,
    /// Our own mailbox, for the fetch to post to.
    post: mpsc::Sender<BuyerMail>,
    waiter: Option<oneshot::Sender<Ended>>,
    fetching: Option<Task>,
    /// Keeps a large output until the record that names it is stored.
    pin: Option<Pin>,
}

impl BuyerActor {
    pub(super) fn new(
        desk: Arc<Desk>,
        deal: Arc<Deal>,
        state: Buyer,
        post: mpsc::Sender<BuyerMail>,
        waiter: Option<oneshot::Sender<Ended>>,
    ) -> Self {
        Self { desk, deal, state, post, waiter, fetching: None, pin: None }
    }

    /// Performs the effects of the step that was stored, then takes what is posted until the trade is over.
    pub(super) async fn run(mut self, effects: Vec<Effect>, mut mail: mpsc::Receiver<BuyerMail>) {
        self.perform(effects);
        loop {
            if self.state.is_ended() && self.desk.close(self.deal.id(), &mail) {
                return;
            }
            let Some(next) = mail.recv().await else { return };
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
        match mail {
            BuyerMail::Input(input) => Some(input),
            BuyerMail::Delivered(message) => {
                match buyer::check_delivery(&self.deal, &message, self.desk.config.max_output_bytes) {
                    Ok(delivery) => Some(Input::Delivered(delivery)),
                    Err(error) => {
                        self.desk.punish(self.deal.seller(), error).await;
                        None
                    }
                }
            }
            BuyerMail::Progress(progress) => {
                let (task, trade) = (self.deal.award.args().task, self.trade());
                self.desk.events.emit(Event::Progress { task, trade, side: Side::Buyer, note: progress.note });
                None
            }
        }
    }

    async fn step(&mut self, input: Input) {
        let before = Phase::of(&self.state);
        let step = self.state.clone().handle(&self.deal, input, self.desk.runtime.now());
        if !step.writes.is_empty() {
            self.store(&step.state, step.writes).await;
        }
        self.state = step.state;
        self.tell(before).await;
        self.perform(step.effects);
    }

    async fn store(&self, state: &Buyer, writes: Vec<buyer::Write>) {
        let (deal, state, wallet) = (Arc::clone(&self.deal), state.clone(), self.desk.wallet.clone());
        let step = match &state {
            _ if writes.contains(&buyer::Write::Acknowledge) => Step::StoreSwept,
            Buyer::Ended(_) => Step::StoreBought,
            Buyer::Fetching(_) => Step::StoreFetching,
            Buyer::Awarded(_) | Buyer::Working(_) => Step::Other,
        };
        let settles = writes.iter().any(|write| matches!(write, buyer::Write::Settle(_)));
        self.desk.persist(step, move |w| write(w, &wallet, &deal, &state, &writes)).await;
        if settles {
            self.desk.wallet.nudge();
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.desk.outbox.send(self.deal.seller(), &message),
                Effect::WakeAt(at) => self.desk.timers.set(self.trade(), at),
                Effect::Fetch { content, salt } => self.fetch(content, salt),
                Effect::Finish => self.finish(),
            }
        }
    }

    fn finish(&mut self) {
        self.desk.timers.clear(self.trade());
        (self.fetching, self.pin) = (None, None);
        if let (Some(waiter), Buyer::Ended(ended)) = (self.waiter.take(), &self.state) {
            // Whoever hired may have gone.
            let _ = waiter.send(ended.clone());
        }
    }

    /// Starts fetching the output, unless that is under way.
    fn fetch(&mut self, content: ContentId, salt: Salt) {
        if self.fetching.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.pin = Some(self.desk.content.pin(content));
        let (desk, deal, post) = (Arc::clone(&self.desk), Arc::clone(&self.deal), self.post.clone());
        let fetching = async move {
            let input = fetch_output(&desk, &deal, content, salt).await;
            // Fails only if the node is going down.
            let _ = post.send(BuyerMail::Input(input)).await;
        };
        self.fetching = Some(self.desk.runtime.spawn("trade/fetch", fetching));
    }

    /// Tells the world what this step changed.
    async fn tell(&self, before: Phase) {
        let after = Phase::of(&self.state);
        if before == after {
            return;
        }
        let (task, trade, peer, side) = (self.deal.award.args().task, self.trade(), self.deal.seller(), Side::Buyer);
        match &self.state {
            Buyer::Awarded(_) => {}
            Buyer::Working(_) => {
                self.desk.note_accepted(trade);
                self.desk.events.emit(Event::Accepted { task, trade, side, peer });
            }
            Buyer::Fetching(_) => {}
            Buyer::Ended(ended) => {
                if ended.outcome == BuyerOutcome::Mismatch {
                    self.desk.punish(peer, Misdeed::Mismatch).await;
                }
                if let (Some(receipt), Some((_, stored))) = (&ended.receipt, &ended.output) {
                    let (receipt, output_bytes) = (receipt.cid(), stored_size(stored));
                    self.desk.events.emit(Event::Delivered { task, trade, side, peer, receipt, output_bytes });
                }
                if let BuyerOutcome::Refused(reason) = &ended.outcome {
                    let reason = reason.to_string();
                    self.desk.events.emit(Event::Refused { task, trade, side, peer, reason });
                } else {
                    let outcome = outcome(ended);
                    self.desk.events.emit(Event::Ended { task, trade: Some(trade), side, outcome });
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
    Ended(bool),
}

impl Phase {
    fn of(state: &Buyer) -> Self {
        match state {
            Buyer::Awarded(_) => Self::Awarded,
            Buyer::Working(_) => Self::Working,
            Buyer::Fetching(_) => Self::Fetching,
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
        BuyerOutcome::Mismatch => "the seller's receipt is not true of what it delivered or of what was asked".into(),
    }
}

/// What the buyer can do when there is no output.
pub(super) fn hint_of(outcome: &BuyerOutcome) -> Option<&'static str> {
    match outcome {
        BuyerOutcome::Delivered { .. } => None,
        BuyerOutcome::Failed(error) if error.code.keeps_price() => None,
        BuyerOutcome::Failed(_) => {
            Some("the money falls back after its locktime; hire again, or name another --seller")
        }
        BuyerOutcome::Refused(_) => Some("hire again, or name another --seller"),
        BuyerOutcome::Overdue => Some("the money falls back after its locktime; give the next one more --deadline"),
        BuyerOutcome::Mismatch => {
            Some("the money falls back after its locktime; its receipt is proof against the seller")
        }
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
) -> Result<(), WalletError> {
    let (trade, key) = (deal.id(), key(deal.id()));
    for write in writes {
        match write {
            buyer::Write::Deal => w.put(DEALS, &key, deal)?,
            buyer::Write::State => w.put(BUYERS, &key, state)?,
            buyer::Write::Open => w.put(OPEN, &key, &StoredSide::Buyer)?,
            buyer::Write::Close => w.delete(OPEN, &key)?,
            buyer::Write::Keep(id) => content::refer(w, *id, trade)?,
            buyer::Write::Share(id) => records::share(w, *id, deal.seller(), trade)?,
            buyer::Write::Settle(settlement) => wallet.settle(w, trade, told(*settlement))?,
            buyer::Write::Acknowledge => wallet.acknowledge(w, trade)?,
            buyer::Write::Conduct(conduct) => note_conduct(w, deal, *conduct)?,
        }
    }
    Ok(())
}

fn told(settlement: buyer::Settlement) -> Settlement {
    match settlement {
        buyer::Settlement::Paid => Settlement::Paid,
        buyer::Settlement::Returned => Settlement::Returned,
        buyer::Settlement::Reclaim => Settlement::Reclaim,
    }
}

/// Remembers how the seller did, for choosing among offers.
fn note_conduct(w: &mut Write<'_>, deal: &Deal, conduct: Conduct) -> Result<(), StoreError> {
    let key = Key::of(deal.seller());
    let mut standing: Standing = w.get(STANDING, &key)?.unwrap_or_default();
    match conduct {
        Conduct::Delivered => standing.delivered += 1,
        Conduct::Failed => standing.failed += 1,
    }
    w.put(STANDING, &key, &standing)
}

/// Fetches the output until it is here or can't be had, and recomputes what its receipt commits to.
async fn fetch_output(desk: &Desk, deal: &Deal, id: ContentId, salt: Salt) -> Input {
    let (mut wait, longest) = FETCH_RETRY;
    loop {
        match try_fetch(desk, deal, id, salt).await {
            Ok(input) => return input,
            // It holds something else, or won't give what it delivered: that is what the receipt was signed for.
            Err(error @ (ContentError::Wrong(_) | ContentError::TooLarge { .. })) => {
                tracing::warn!(trade = %deal.id(), %error, "the output can't be had");
                return Input::FetchFailed;
            }
            Err(error) => tracing::debug!(trade = %deal.id(), %error, "output not fetched; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = longest.min(wait * 2);
    }
}

async fn try_fetch(desk: &Desk, deal: &Deal, id: ContentId, salt: Salt) -> Result<Input, ContentError> {
    let pin = fetch(desk, deal.seller(), id, desk.config.max_output_bytes).await?;
    let mut commitment = Commitment::new(&salt);
    let mut pieces = Data::Stored(pin).pieces(&desk.content).await?;
    while let Some(piece) = pieces.next().await? {
        commitment.update(&piece);
    }
    Ok(Input::Fetched(commitment.finish()))
}

/// Fetches a content from a peer; goes on where an earlier attempt ended.
pub(super) async fn fetch(
    desk: &Desk,
    from: guilder_protocol::identity::AgentId,
    id: ContentId,
    max_bytes: u64,
) -> Result<Pin, ContentError> {
    if desk.content.contains(id).await? {
        return Ok(desk.content.pin(id));
    }
    let stream = desk.network.open(from, StreamProtocol::Content).await;
    let stream = stream.map_err(|error| ContentError::Broken(std::io::Error::other(error)))?;
    desk.content.fetch(stream, id, max_bytes).await
}
