//! Hiring: find sellers, ask, choose, pay into a lock, award; and the next best if that is refused.
//!
//! ```text
//!  find (or the seller named) ─▶ advert fits? ─▶ Ask ─▶ Offer | Decline … a short window, or until all have answered
//!     ─▶ rank ─▶ lock ─▶ sign the award ─▶ one transaction: deal, state, debit, task ─▶ the trade's actor
//!     ◀────────────── Refused: the next best offer ◀──────────────┘
//! ```
//!
//! A hire itself is not resumed after a restart, an award is: until the award nothing is at stake.

mod candidates;
mod error;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cid::Cid;
use guilder_protocol::{
    award::{Award, AwardArgs},
    bytes::{ByteArray, Digest},
    content::ContentId,
    envelope::Signed,
    fault::AtFault,
    identity::AgentId,
    limits::{MAX_ASK_SECS, MAX_INLINE, MAX_MINTS},
    locks::PrepaidLock,
    market::{
        Ask, AskBody, MintUrl, Offer, ServiceName, Terms, Unit,
        choice::{self, MODES},
    },
    time::Timestamp,
    trade::{
        Deal,
        buyer::{self, Buyer, BuyerOutcome, Ended},
    },
    wire::Payload,
};
use serde_bytes::ByteBuf;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use self::candidates::Candidates;
pub use self::error::HireError;
use super::{
    buying::{self, outcome},
    desk::{Answer, Desk, HireSlot},
    limits::{ANSWERS, MAX_HIRES},
    records::{Failure, LOG, STANDING, Standing, StoredSide, TASKS, TaskRecord, key, log_key},
};
use crate::{
    content::Data,
    events::{Event, Money, Outcome, Side, Subscription},
    failpoint::Step,
    store::{Key, Reader, StoreError, Write},
    sync::lock,
    wallet::{Balance, LockRequest, MintSummary, PreparedLock, WalletError},
};

/// What is to be done, and on what terms.
#[derive(Clone, Debug)]
pub struct HireRequest {
    /// The service wanted.
    pub service: ServiceName,
    /// What it is to be done on.
    pub input: Data,
    /// The most that is paid, net.
    pub max_price: u64,
    /// The unit of `max_price`.
    pub unit: Unit,
    /// When the delivery must have arrived.
    pub deadline: Timestamp,
    /// This seller and no other.
    pub seller: Option<AgentId>,
    /// This mint's ecash and no other's.
    pub mint: Option<MintUrl>,
    /// How many sellers are asked at the most; the settings' default if not said.
    pub candidates: Option<usize>,
}

/// A task that has begun.
#[derive(Debug)]
pub struct TaskHandle {
    /// Its name: the content ID of the ask.
    pub task: Cid,
    /// Everything that happens in the node from here on; [`Event::task`] tells what is this task's.
    pub events: Subscription,
    done: oneshot::Receiver<Result<Hired, HireError>>,
}

impl TaskHandle {
    /// Waits for the end. Dropping the handle doesn't cancel the task.
    ///
    /// # Errors
    /// Why there was no seller that took it.
    pub async fn done(self) -> Result<Hired, HireError> {
        self.done.await.unwrap_or(Err(HireError::Stopping))
    }
}

/// How a task ended that a seller took.
#[derive(Clone, Debug)]
pub struct Hired {
    /// What was agreed.
    pub deal: Arc<Deal>,
    /// How it ended, with receipt and output if there are any.
    pub ended: Ended,
}

/// A hire under way.
struct Hiring {
    desk: Arc<Desk>,
    request: HireRequest,
    input: Payload,
    digest: Digest,
    ask: Signed<Ask>,
    record: TaskRecord,
    cancel: watch::Receiver<bool>,
}

impl Desk {
    pub(super) async fn hire(self: &Arc<Self>, mut request: HireRequest) -> Result<TaskHandle, HireError> {
        let now = self.runtime.now();
        if self.is_stopping() {
            return Err(HireError::Stopping);
        }
        if request.deadline <= now {
            return Err(HireError::DeadlinePassed);
        }
        request.input = self.placed(request.input).await?;
        let (input, digest) = payload(&request.input);
        let ask = self.sign_ask(&request, input.size(), now)?;
        let task = ask.cid();
        let (answers, inbox) = mpsc::channel(ANSWERS);
        let (cancel, cancelled) = watch::channel(false);
        {
            let mut hires = lock(&self.hires);
            if hires.len() >= MAX_HIRES {
                return Err(HireError::TooMany(MAX_HIRES));
            }
            hires.insert(task, HireSlot { ask: ask.clone(), asked: BTreeSet::new(), answers, cancel, trade: None });
        }
        let record = TaskRecord {
            ask: ByteBuf::from(ask.bytes()),
            created: now,
            offers: Vec::new(),
            awards: Vec::new(),
            failure: None,
        };
        let events = self.events.subscribe();
        let (tell, done) = oneshot::channel();
        let hiring = Hiring { desk: Arc::clone(self), request, input, digest, ask, record, cancel: cancelled };
        self.runtime.spawn("trade/hire", hiring.run(inbox, tell)).detach();
        Ok(TaskHandle { task, events, done })
    }

    /// Input that is too large for a frame goes as content.
    async fn placed(&self, input: Data) -> Result<Data, HireError> {
        match input {
            Data::Inline(bytes) if bytes.len() > MAX_INLINE => Ok(Data::Stored(self.content.put(bytes).await?)),
            other => Ok(other),
        }
    }

    fn sign_ask(&self, request: &HireRequest, input_size: u64, now: Timestamp) -> Result<Signed<Ask>, HireError> {
        let mints = self.mints_to_pay(request)?;
        let body = AskBody {
            service: request.service.clone(),
            max_price: request.max_price,
            unit: request.unit.clone(),
            mints,
            modes: MODES.to_vec(),
            input_size,
            deadline: request.deadline,
        };
        let exp = request.deadline.min(now.saturating_add(MAX_ASK_SECS));
        Ok(Signed::claim(body, now, Some(exp), ByteArray(self.runtime.random()), &self.key)?)
    }

    /// The mints at which we can pay.
    fn mints_to_pay(&self, request: &HireRequest) -> Result<Vec<MintUrl>, HireError> {
        if let Some(mint) = &request.mint {
            return if self.wallet.accepts(mint) {
                Ok(vec![mint.clone()])
            } else {
                Err(WalletError::UnknownMint(mint.clone()).into())
            };
        }
        let issues = |mint: &MintSummary| mint.units.is_empty() || mint.units.contains(&request.unit);
        let mints: Vec<_> = self.wallet.mints().into_iter().filter(issues).map(|mint| mint.url).collect();
        // Counting the money takes a look at every coin: not for a buyer that paid from it a moment ago.
        if mints.len() <= MAX_MINTS && lock(&self.solvent).contains(&request.unit) {
            return Ok(mints);
        }
        let mut balances = self.wallet.balances()?;
        // What is in a swap under way will be there when it is needed.
        let money = |balance: &Balance| balance.spendable + balance.locked + balance.pending;
        balances.retain(|balance| balance.unit == request.unit && money(balance) > 0 && mints.contains(&balance.mint));
        balances.sort_by_key(|balance| std::cmp::Reverse(money(balance)));
        let mints: Vec<_> = balances.into_iter().map(|balance| balance.mint).take(MAX_MINTS).collect();
        if mints.is_empty() { Err(HireError::NoMoney(request.unit.clone())) } else { Ok(mints) }
    }

    /// Remembers whether there was money of a unit when it was last needed.
    fn note_solvency(&self, unit: &Unit, solvent: bool) {
        let mut units = lock(&self.solvent);
        if solvent {
            if !units.contains(unit) {
                units.insert(unit.clone());
            }
        } else {
            units.remove(unit);
        }
    }
}

fn payload(input: &Data) -> (Payload, Digest) {
    match input {
        Data::Inline(bytes) => (Payload::Inline(ByteBuf::from(bytes.to_vec())), ContentId::of(bytes).hash),
        Data::Stored(pin) => (Payload::Content(pin.id()), pin.id().hash),
    }
}

impl Hiring {
    async fn run(mut self, inbox: mpsc::Receiver<Answer>, tell: oneshot::Sender<Result<Hired, HireError>>) {
        let result = self.seek(inbox).await;
        lock(&self.desk.hires).remove(&self.ask.cid());
        match &result {
            // What ended by a refusal hasn't been told as ended yet: another seller might have taken it.
            Ok(hired) if matches!(hired.ended.outcome, BuyerOutcome::Refused(_)) => {
                self.tell_end(Some(hired.deal.id()), outcome(&hired.ended));
            }
            Ok(_) => {}
            Err(error) => self.fail(error).await,
        }
        // Whoever hired may not wait for the end.
        let _ = tell.send(result);
    }

    fn task(&self) -> Cid {
        self.ask.cid()
    }

    async fn seek(&mut self, inbox: mpsc::Receiver<Answer>) -> Result<Hired, HireError> {
        let (task, service) = (self.task(), self.request.service.to_string());
        self.desk.events.emit(Event::Searching { task, service });
        let mut offers = Candidates::new(self, inbox).gather().await?;
        self.record.offers = offers.iter().map(|offer| ByteBuf::from(offer.bytes())).collect();
        let standing = self.standings(&offers)?;
        choice::rank(&mut offers, |offer| {
            let known = standing.iter().find(|(seller, _)| *seller == offer.issuer());
            known.map_or_else(Default::default, |(_, standing)| (*standing).into())
        });
        let mut last = None;
        for offer in offers {
            if *self.cancel.borrow() {
                return Err(HireError::Cancelled);
            }
            if self.request.deadline <= self.desk.runtime.now() {
                // What the others would lock and deliver is of no use any more.
                return last.unwrap_or(Err(HireError::DeadlinePassed));
            }
            match self.award(&offer).await {
                Ok(hired) if matches!(hired.ended.outcome, BuyerOutcome::Refused(_)) => last = Some(Ok(hired)),
                Ok(hired) => return Ok(hired),
                Err(error @ (HireError::Stopping | HireError::Store(_))) => return Err(error),
                Err(error) => {
                    tracing::info!(%task, seller = %offer.issuer(), %error, "offer not taken");
                    last = Some(Err(error));
                }
            }
        }
        last.unwrap_or(Err(HireError::NoOffer(Vec::new())))
    }

    fn standings(&self, offers: &[Signed<Offer>]) -> Result<Vec<(AgentId, Standing)>, StoreError> {
        if offers.len() < 2 {
            return Ok(Vec::new());
        }
        self.desk.store.read(|r| {
            let of = |offer: &Signed<Offer>| {
                let seller = offer.issuer();
                Ok((seller, r.get(STANDING, Key::of(seller))?.unwrap_or_default()))
            };
            offers.iter().map(of).collect()
        })
    }

    /// Awards the task on an offer and waits for the end of the trade.
    async fn award(&mut self, offer: &Signed<Offer>) -> Result<Hired, HireError> {
        let left = Duration::from_secs(offer.body.deadline.since(self.desk.runtime.now()));
        // A lock that comes too late is in the purse, for another task.
        let locked = timeout(left, self.lock(offer)).await;
        let (mint, prepared) = locked.map_err(|_| HireError::DeadlinePassed)??;
        // Called off while the mint made the lock: it goes back into the purse.
        if *self.cancel.borrow() {
            return Err(HireError::Cancelled);
        }
        let now = self.desk.runtime.now();
        // Making the lock may have taken its time. Skew is tolerated of others' clocks; the deadline is of ours.
        if offer.body.deadline <= now {
            return Err(HireError::DeadlinePassed);
        }
        choice::acceptable(&self.ask, offer, now)?;
        let deal = Arc::new(self.deal(offer, mint, &prepared, now)?);
        let step = Buyer::begin(&deal, now);
        let trade = deal.id();
        self.record.awards.push(trade);
        self.store_award(Arc::clone(&deal), step.state.clone(), step.writes, prepared).await?;
        let args = deal.award.args();
        let price = Money { amount: args.price, unit: args.unit.to_string() };
        let (task, peer) = (self.task(), deal.seller());
        self.desk.events.emit(Event::Awarded { task, trade, side: Side::Buyer, peer, price });
        let (tell, ended) = oneshot::channel();
        self.desk.start_buyer(Arc::clone(&deal), (step.state, step.effects), Some(tell));
        self.note_trade(Some(trade));
        // Whoever called it off until now was told so, and didn't know of the trade.
        if *self.cancel.borrow() {
            self.desk.feed(trade, || buyer::Input::Cancel.into()).await;
        }
        let ended = ended.await.map_err(|_| HireError::Stopping)?;
        if matches!(ended.outcome, BuyerOutcome::Refused(_)) {
            // The next best offer may be awarded: until then there is no trade to call off.
            self.note_trade(None);
        }
        Ok(Hired { deal, ended })
    }

    /// Tells whoever calls the task off where to.
    fn note_trade(&self, trade: Option<Cid>) {
        if let Some(slot) = lock(&self.desk.hires).get_mut(&self.task()) {
            slot.trade = trade;
        }
    }

    /// Locks the price at the first of the seller's mints where that is possible.
    async fn lock(&self, offer: &Signed<Offer>) -> Result<(MintUrl, PreparedLock), HireError> {
        let Terms::Prepaid { payee, locktime } = offer.body.terms.clone();
        let mut last = HireError::NoMoney(self.request.unit.clone());
        for mint in &offer.body.mints {
            let request = LockRequest {
                seller: offer.issuer(),
                payee,
                mint: mint.clone(),
                unit: offer.body.unit.clone(),
                price: offer.body.price,
                until: locktime,
                max_proofs: usize::try_from(offer.body.max_proofs).unwrap_or(usize::MAX),
            };
            match self.desk.wallet.lock(&request).await {
                Ok(lock) => {
                    self.desk.note_solvency(&offer.body.unit, true);
                    return Ok((mint.clone(), lock));
                }
                Err(error) => last = error.into(),
            }
        }
        self.desk.note_solvency(&offer.body.unit, false);
        Err(last)
    }

    fn deal(
        &self,
        offer: &Signed<Offer>,
        mint: MintUrl,
        prepared: &PreparedLock,
        now: Timestamp,
    ) -> Result<Deal, HireError> {
        let (terms, me) = (&offer.body, self.desk.me());
        let args = AwardArgs {
            task: self.task(),
            service: terms.service.clone(),
            ask: self.task(),
            offer: offer.cid(),
            input: self.digest,
            mode: terms.terms.mode(),
            mint,
            price: terms.price,
            unit: terms.unit.clone(),
            spent: terms.price,
            locktime: prepared.locktime(),
            ys: prepared.ys(),
            seller: offer.issuer(),
            deadline: terms.deadline,
            depth: 0,
        };
        let nonce = ByteArray(self.desk.runtime.random());
        let award = Award::sign(&args, me, vec![], now, nonce, &self.desk.key)?;
        let lock: PrepaidLock = prepared.lock();
        let ask = ByteBuf::from(self.ask.bytes());
        Ok(Deal { award, offer: offer.clone(), ask, chain: vec![], lock, input: self.input.clone() })
    }

    /// The transaction after which the money is at risk and the award may go out.
    async fn store_award(
        &self,
        deal: Arc<Deal>,
        state: Buyer,
        writes: Vec<buyer::Write>,
        prepared: PreparedLock,
    ) -> Result<(), HireError> {
        let (record, wallet) = (self.record.clone(), self.desk.wallet.clone());
        let task = self.task();
        let first = record.awards.len() == 1;
        let stored: Result<(), WalletError> = self
            .desk
            .commit(Step::StoreAward, move |w| {
                prepared.debit(w, deal.id())?;
                buying::write(w, &wallet, &deal, &state, &writes)?;
                Ok(store_task(w, task, &record, first)?)
            })
            .await;
        Ok(stored?)
    }

    /// Records and tells why it came to no award that was taken.
    async fn fail(&mut self, error: &HireError) {
        let failed = match error {
            HireError::Cancelled => Outcome::Cancelled,
            other => Outcome::Failed { fault: other.fault(), reason: other.to_string() },
        };
        let at = self.desk.runtime.now();
        let (fault, hint) = (error.fault().code().into(), error.hint().map(Into::into));
        self.record.failure = Some(Failure { fault, reason: error.to_string(), hint, at });
        let (task, record) = (self.task(), self.record.clone());
        let first = record.awards.is_empty();
        if let Err(error) = self.desk.commit(Step::Other, move |w| store_task(w, task, &record, first)).await {
            tracing::warn!(%task, %error, "a failed task could not be recorded");
        }
        self.tell_end(self.record.awards.last().copied(), failed);
    }

    fn tell_end(&self, trade: Option<Cid>, outcome: Outcome) {
        self.desk.events.emit(Event::Ended { task: self.task(), trade, side: Side::Buyer, outcome });
    }
}

fn store_task(w: &mut Write<'_>, task: Cid, record: &TaskRecord, first: bool) -> Result<(), StoreError> {
    w.put(TASKS, key(task), record)?;
    if first {
        w.put(LOG, log_key(record.created, task), &StoredSide::Buyer)?;
    }
    Ok(())
}

/// How long to go on looking when nothing is found, in the settings' terms.
fn search_time(desk: &Desk, deadline: Timestamp) -> Duration {
    let left = deadline.since(desk.runtime.now());
    Duration::from_secs(left.min(desk.config.search_secs))
}
