//! Hiring: find sellers, ask, choose, pay into a lock, award; and the next best if that is refused.
//!
//! ```text
//!  find (or the seller named) ─▶ advert fits? ─▶ Ask ─▶ Offer | Decline … a short window, or until all have answered
//!     ─▶ rank ─▶ debit, on another's authority ─▶ lock ─▶ sign the award
//!     ─▶ one transaction: deal, state, debit of the lock, task ─▶ the trade's actor
//!     ◀────────────── Refused: the next best offer ◀──────────────┘
//! ```
//!
//! A hire itself is not resumed after a restart, an award is: until the award nothing is at stake. What is waited for durably begins
//! again ([`super::placing`]).

mod authority;
mod candidates;
mod error;
mod funds;
mod own;
mod quiet;
mod request;
mod trust;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use cid::Cid;
use guilder_protocol::{
    award::{Award, AwardArgs},
    bytes::{ByteArray, Digest},
    content::ContentId,
    envelope::Signed,
    fault::AtFault,
    identity::{AgentId, AgentKey},
    limits::{MAX_ASK_SECS, MAX_INLINE},
    market::{
        Ask, AskBody, MintUrl, Offer,
        choice::{self, Experience},
    },
    time::Timestamp,
    trade::{
        Deal,
        buyer::{self, Buyer, BuyerOutcome, Ended},
    },
    ucan::{
        Delegation,
        chain::{self, At},
        grant::SubGrant,
    },
    wire::Payload,
};
use serde_bytes::ByteBuf;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    authority::Authority,
    candidates::{Candidates, Search},
    error::NoOffer,
    trust::Trust,
};
pub use self::{authority::Debited, own::OwnHandle};
pub(super) use self::{
    authority::{debit_grant, give_back, is_worked_on, spent_for, spent_under},
    funds::Funds,
    quiet::QuietSellers,
    trust::share_of,
};
pub use self::{
    error::{Bound, HireError},
    request::{Hire, HireMode, Under},
};
use super::{
    Stopping, TradeConfig,
    actors::Actors,
    budgets,
    buying::{self, outcome},
    cheats::Cheats,
    clocks::PeerClocks,
    ends,
    hires::{Answer, Crowded, HireSlot, Hires, Wanted},
    journal::Journal,
    keys,
    limits::{CLEAR_PATIENCE, CLEAR_PAUSE, MAX_HIRES},
    mailbox::{BuyerMail, Cause},
    outbox::Outbox,
    records::{
        self, DEALS, Failure, LOG, LogRow, PASSED_ON, PROMISES, Promise, SELLER_HISTORY, SellerHistory, StoredSide,
        TASKS, TaskRecord, key, log_key,
    },
    views::passed_on,
    violation::Penalties,
};
use crate::{
    catalogue::{Catalogue, PromiseError},
    content::{Content, Data},
    events::{Event, Events, Money, Outcome, Side, Subscription},
    failpoint::Step,
    gate,
    grants::KnownRevocations,
    runtime::Runtime,
    spans::Span,
    store::{Key, Reader, StoreError, Write},
    wallet::{PreparedLock, WalletError},
};

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

/// Places tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Hirer(Arc<Parts>);

/// What a hire works with.
#[derive(Debug)]
pub(super) struct Parts {
    /// Signs asks and awards.
    pub(super) key: AgentKey,
    pub(super) config: TradeConfig,
    pub(super) runtime: Runtime,
    pub(super) stopping: Stopping,
    pub(super) journal: Journal,
    pub(super) funds: Funds,
    pub(super) catalogue: Catalogue,
    pub(super) content: Content,
    pub(super) hires: Hires,
    pub(super) actors: Actors,
    pub(super) penalties: Penalties,
    pub(super) outbox: Outbox,
    pub(super) events: Events,
    pub(super) quiet: QuietSellers,
    pub(super) clocks: PeerClocks,
    pub(super) cheats: Cheats,
    pub(super) revocations: KnownRevocations,
}

/// A hire under way.
struct Hiring {
    with: Arc<Parts>,
    hire: Hire,
    authority: Authority,
    data: Data,
    input: Payload,
    digest: Digest,
    ask: Signed<Ask>,
    record: TaskRecord,
    slot: HireSlot,
    /// How far its sellers are trusted with money in advance.
    terms: Trust,
}

impl Hirer {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Begins a hire.
    pub(super) async fn hire(&self, hire: Hire, data: Data) -> Result<TaskHandle, HireError> {
        let with = &self.0;
        let now = with.runtime.now();
        if with.stopping.is_set() {
            return Err(HireError::Stopping);
        }
        hire.check_subcontract().map_err(HireError::Subcontract)?;
        let authority = self.authority(&hire)?;
        let by_grant = authority.is_by_grant();
        let narrowed = with.journal.read(|r| Ok(authority.narrow(hire, r, now)))?;
        let hire = narrowed.map_err(|error| error.under_grant(by_grant))?;
        let data = with.placed(data).await?;
        let (input, digest) = payload(&data);
        let ask = with.sign_ask(&hire, input.size(), now);
        let ask = ask.map_err(|error| error.accounting(with.funds.wallet()))?;
        let task = ask.cid();
        with.check_budget(&hire, 1)?;
        with.claim(&hire, &data, task, now).await?;
        let made = |award| with.journal.read(|r| passed_on(r, award));
        let under = authority.under.as_ref().map(|under| under.award);
        let wanted = Wanted { ask: ask.clone(), under, label: hire.label.clone(), own: false };
        let (slot, inbox) = with.hires.open(wanted, made).map_err(|crowded| match crowded {
            Crowded::Hires => HireError::TooMany(MAX_HIRES),
            Crowded::Task => Bound::TooMany.into(),
            Crowded::Store(error) => error.into(),
        })?;
        let by = hire.mandate.as_ref().map(|mandate| mandate.caller.clone());
        slot.note_by(by.as_deref());
        let record = TaskRecord { by, ..TaskRecord::begun(&ask, now, under, hire.label.clone()) };
        let events = with.events.subscribe();
        let (tell, done) = oneshot::channel();
        let terms = Trust::new(&hire, &[]);
        let hiring = Hiring { with: Arc::clone(with), hire, authority, data, input, digest, ask, record, slot, terms };
        with.runtime.spawn("trade/hire", hiring.run(inbox, tell)).detach();
        Ok(TaskHandle { task, events, done })
    }
}

impl Hirer {
    fn authority(&self, hire: &Hire) -> Result<Authority, HireError> {
        match (&hire.under, &hire.granted) {
            (None, None) => Ok(Authority::own(self.0.key.id())),
            (None, Some(chain)) => Ok(Authority::of_grant(chain)),
            (Some(under), _) => Ok(self.0.journal.read(|r| Authority::of_task(r, under.clone()))??),
        }
    }
}

impl Parts {
    /// Writes a task under its origin, and that its end is waited for if it is: before anything is sent.
    async fn claim(&self, hire: &Hire, data: &Data, task: Cid, now: Timestamp) -> Result<(), StoreError> {
        let Some(claim) = hire.claim.clone() else { return Ok(()) };
        let waiting = hire.waits.then(|| (hire.clone(), data.clone()));
        let writing = move |w: &mut Write<'_>| {
            if let Some((hire, data)) = &waiting {
                ends::wait(w, claim.origin(), task, (hire, &hire.budgets, data))?;
            }
            claim.take(w, task, now)
        };
        self.journal.commit(Step::StoreClaim, writing).await
    }

    /// Input that is too large for a frame goes as content.
    async fn placed(&self, input: Data) -> Result<Data, HireError> {
        match input {
            Data::Inline(bytes) if bytes.len() > MAX_INLINE => Ok(Data::Stored(self.content.put(bytes).await?)),
            other => Ok(other),
        }
    }

    /// Refuses what would go over the most for a day, or over a budget.
    fn check_budget(&self, hire: &Hire, wanted: u64) -> Result<(), HireError> {
        let Some(unit) = &hire.unit else { return Ok(()) };
        for budget in &hire.budgets {
            self.journal.read(|r| budget.check(r, unit, wanted, self.runtime.now()))??;
        }
        let max @ 1.. = hire.daily_max else { return Ok(()) };
        let spent = self.journal.read(|r| records::spent_today(r, unit, self.runtime.now()))?;
        if spent.saturating_add(wanted) > max {
            return Err(HireError::Budget { unit: unit.clone(), spent, wanted, max });
        }
        Ok(())
    }

    fn sign_ask(&self, hire: &Hire, input_size: u64, now: Timestamp) -> Result<Signed<Ask>, HireError> {
        let (Some(max_price), Some(unit), Some(deadline_secs), Some(mode)) =
            (hire.max_price, &hire.unit, hire.deadline_secs, hire.mode)
        else {
            return Err(HireError::Undecided);
        };
        if deadline_secs == 0 {
            return Err(HireError::DeadlinePassed);
        }
        let deadline = now.saturating_add(deadline_secs);
        let body = AskBody {
            service: hire.service.clone(),
            max_price,
            unit: unit.clone(),
            mints: self.funds.mints(unit, hire.mint.as_ref())?,
            modes: mode.asks(),
            input_size,
            deadline,
        };
        let exp = deadline.min(now.saturating_add(MAX_ASK_SECS));
        Ok(Signed::claim(body, now, Some(exp), ByteArray(self.runtime.random()), &self.key)?)
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
        let sought = self.seek(inbox).await.map_err(|error| error.under_grant(self.authority.is_by_grant()));
        let result =
            sought.map_err(|error| error.doubting(self.with.clocks.doubt()).accounting(self.with.funds.wallet()));
        match &result {
            // What ended by a refusal hasn't been told as ended yet: another seller might have taken it.
            Ok(hired) if matches!(hired.ended.outcome, BuyerOutcome::Refused(_)) => {
                let (trade, outcome) = (Some(hired.deal.id()), outcome(&hired.ended));
                self.store_end(trade, &outcome).await;
                self.tell_end(trade, outcome);
            }
            Ok(_) => {}
            // Cut off by the node's own stop: that is no end. Whoever waits durably finds it taken up after the start.
            Err(_) if self.with.stopping.is_set() => {}
            Err(HireError::Stopping) => {}
            Err(error) => self.fail(error).await,
        }
        drop(self);
        // Whoever hired may not wait for the end.
        let _ = tell.send(result);
    }

    fn task(&self) -> Cid {
        self.ask.cid()
    }

    async fn seek(&mut self, inbox: mpsc::Receiver<Answer>) -> Result<Hired, HireError> {
        let (task, service) = (self.task(), self.hire.service.to_string());
        self.with.events.emit(Event::Searching { task, service });
        let search = Search {
            runtime: &self.with.runtime,
            config: &self.with.config,
            catalogue: &self.with.catalogue,
            cheats: &self.with.cheats,
            penalties: &self.with.penalties,
            outbox: &self.with.outbox,
            events: &self.with.events,
            quiet: &self.with.quiet,
            hire: &self.hire,
            ask: &self.ask,
            slot: &self.slot,
        };
        let offers = {
            let _took = Span::Offers.begin();
            Candidates::new(search, inbox).gather().await?
        };
        self.terms = Trust::new(&self.hire, &offers);
        let mut offers = self.payable(offers)?;
        let histories = self.histories(&offers)?;
        let known = |offer: &Signed<Offer>| {
            let known = histories.iter().find(|(seller, _)| *seller == offer.issuer());
            known.map_or_else(Experience::default, |(_, history)| (*history).into())
        };
        choice::rank(&mut offers, known);
        offers.sort_by_key(|offer| !self.hire.prefer.contains(&offer.issuer()));
        if self.hire.explain {
            offers.iter().for_each(|offer| self.explain(offer, known(offer)));
        }
        let (mut last, mut offers) = (None, VecDeque::from(offers));
        while let Some(offer) = offers.pop_front() {
            if self.slot.is_called_off() {
                return Err(HireError::Cancelled);
            }
            if self.ask.body.deadline <= self.with.runtime.now() {
                // What the others would lock and deliver is of no use any more.
                return last.unwrap_or(Err(HireError::DeadlinePassed));
            }
            if !self.is_clear().await? {
                return last.unwrap_or(Err(HireError::Held));
            }
            let promised = match self.check_schemas(&offer).await {
                Ok(promised) => promised,
                Err(error) => {
                    tracing::info!(%task, seller = %offer.issuer(), %error, "offer not taken");
                    last = Some(Err(error));
                    continue;
                }
            };
            match self.award(&offer, promised).await {
                Ok(hired) if matches!(hired.ended.outcome, BuyerOutcome::Refused(_)) => last = Some(Ok(hired)),
                Ok(hired) => return Ok(hired),
                Err(error @ (HireError::Stopping | HireError::Store(_))) => return Err(error),
                Err(error) => {
                    if matches!(error, HireError::Money(WalletError::AdvanceCap { .. }))
                        && let Some(instead) = self.terms.instead_of(&offer)
                    {
                        // Other hires were faster; in escrow it can still be had.
                        offers.push_front(instead);
                    }
                    tracing::info!(%task, seller = %offer.issuer(), %error, "offer not taken");
                    last = Some(Err(error));
                }
            }
        }
        last.unwrap_or(Err(HireError::NoOffer(Vec::new())))
    }

    /// Waits until an award may be given for the hire's origin; false if that can't be, or can't be told in time.
    async fn is_clear(&self) -> Result<bool, StoreError> {
        let Some(claim) = &self.hire.claim else { return Ok(true) };
        let (origin, task) = (claim.origin(), self.task());
        let until = self.with.runtime.instant() + CLEAR_PATIENCE;
        while !self.with.journal.read(|r| keys::check_award(r, origin, task))? {
            let may_clear = self.with.journal.read(|r| keys::may_clear(r, origin, task))?;
            let is_late = self.ask.body.deadline <= self.now() || self.with.runtime.instant() >= until;
            if !may_clear || is_late || self.slot.is_called_off() {
                return Ok(false);
            }
            tokio::time::sleep(CLEAR_PAUSE).await;
        }
        Ok(true)
    }

    /// The offers that may be taken, by how they are to be paid.
    fn payable(&self, offers: Vec<Signed<Offer>>) -> Result<Vec<Signed<Offer>>, HireError> {
        let may_advance = |offer: &Signed<Offer>| {
            let (seller, unit) = (offer.issuer(), &offer.body.unit);
            let in_flight = self.with.funds.wallet().advanced(seller, unit)?;
            let mut least = None;
            for mint in &offer.body.mints {
                let most = self.with.journal.read(|r| self.terms.most_in_advance(r, seller, mint, unit, self.now()))?;
                least = most.into_iter().chain(least).min();
            }
            Ok::<_, HireError>(least.is_none_or(|most| in_flight.saturating_add(offer.body.price) <= most))
        };
        trust::payable(offers, &self.terms, may_advance)
    }

    fn now(&self) -> Timestamp {
        self.with.runtime.now()
    }

    /// Tells what an offer comes to.
    fn explain(&self, offer: &Signed<Offer>, known: Experience) {
        let (task, peer, terms) = (self.task(), offer.issuer(), &offer.body);
        let price = Money { amount: terms.price, unit: terms.unit.to_string() };
        let weighed_milli = u64::try_from(known.weigh(terms.price)).unwrap_or(u64::MAX);
        let Experience { delivered, failed } = known;
        let chance_permille = known.chance_permille();
        self.with.events.emit(Event::Weighed { task, peer, price, delivered, failed, chance_permille, weighed_milli });
    }

    fn histories(&self, offers: &[Signed<Offer>]) -> Result<Vec<(AgentId, SellerHistory)>, StoreError> {
        if offers.len() < 2 && !self.hire.explain {
            return Ok(Vec::new());
        }
        self.with.journal.read(|r| {
            let of = |offer: &Signed<Offer>| {
                let seller = offer.issuer();
                Ok((seller, r.get(SELLER_HISTORY, Key::of(seller))?.unwrap_or_default()))
            };
            offers.iter().map(of).collect()
        })
    }

    /// Before any money is locked on an offer, holds the input against the schema that it names, and has the text of the one
    /// that it promises of the output.
    async fn check_schemas(&self, offer: &Signed<Offer>) -> Result<Option<Arc<str>>, HireError> {
        let (seller, catalogue) = (offer.issuer(), &self.with.catalogue);
        let (checked, promised) =
            tokio::join!(catalogue.check_input(seller, offer, &self.data), catalogue.promised(seller, offer));
        checked??.map_err(|error| HireError::NoOffer(vec![(seller, NoOffer::Input(error))]))?;
        promised.map_err(|error| match error {
            PromiseError::Seller(error) => error.into(),
            error @ PromiseError::BadSchema(_) => HireError::NoOffer(vec![(seller, NoOffer::Promise(error))]),
        })
    }

    /// Awards the task on an offer and waits for the end of the trade.
    async fn award(&mut self, offer: &Signed<Offer>, promised: Option<Arc<str>>) -> Result<Hired, HireError> {
        // Before anything is debited, and before the mint is asked to lock anything.
        self.with.check_budget(&self.hire, offer.body.price)?;
        let debited = self.debit(offer).await?;
        let (deal, prepared) = match self.agree(offer, &debited).await {
            Ok(agreed) => agreed,
            Err(error) => {
                self.give_back(debited).await;
                return Err(error);
            }
        };
        let step = Buyer::begin(&deal, deal.award.made());
        let trade = deal.id();
        self.record.awards.push(trade);
        let stored = {
            let _took = Span::StoreAward.begin();
            self.store_award(Arc::clone(&deal), step.state.clone(), step.writes, (prepared, promised)).await
        };
        if let Err(error) = stored {
            if !matches!(error, HireError::Store(StoreError::Uncertain { .. })) {
                self.record.awards.pop();
            }
            let is_refused = matches!(
                error,
                HireError::Budget { .. }
                    | HireError::OverBudget(_)
                    | HireError::Gate(_)
                    | HireError::Held
                    | HireError::Money(WalletError::AdvanceCap { .. })
            );
            if is_refused {
                // Another hire was faster: nothing of this one was written.
                self.give_back(debited).await;
            }
            return Err(error);
        }
        let args = deal.award.args();
        let price = Money { amount: args.price, unit: args.unit.to_string() };
        let (task, peer) = (self.task(), deal.seller());
        self.with.events.emit(Event::Awarded { task, trade, side: Side::Buyer, peer, price });
        let (tell, ended) = oneshot::channel();
        self.with.actors.start_buyer(Arc::clone(&deal), (step.state, step.effects), Some(tell));
        self.slot.note_trade(Some(trade));
        // Whoever called it off until now was told so, and didn't know of the trade.
        if self.slot.is_called_off() {
            self.with.actors.post(trade, Cause::Cancel, BuyerMail::Cancel.into());
        }
        let ended = {
            let _took = Span::AwaitEnd.begin();
            ended.await.map_err(|_| HireError::Stopping)?
        };
        if matches!(ended.outcome, BuyerOutcome::Refused(_)) {
            // The next best offer may be awarded: until then there is no trade to call off.
            self.slot.note_trade(None);
            self.count_refused(&deal).await?;
        }
        Ok(Hired { deal, ended })
    }

    /// An award that was refused isn't spent, unless its seller can take the money all the same: it is counted then.
    async fn count_refused(&self, deal: &Deal) -> Result<(), StoreError> {
        if self.hire.daily_max == 0 || deal.escrow().is_none() {
            return Ok(());
        }
        let (unit, price, made) = (deal.award.args().unit.clone(), deal.award.args().price, deal.award.made());
        self.with.journal.commit(Step::Other, move |w| records::unspend(w, &unit, price, made)).await
    }

    /// On another's authority, debits every delegation before any money is locked.
    async fn debit(&self, offer: &Signed<Offer>) -> Result<Debited, HireError> {
        if self.authority.is_own() {
            return Ok(Debited::default());
        }
        let mint = offer.body.mints.first().ok_or(HireError::NoMoney(offer.body.unit.clone()))?;
        let (args, terms) = (self.args(offer, mint.clone(), 0), offer.body.terms.clone());
        let (authority, granted) = (self.authority.clone(), self.granted());
        self.with
            .journal
            .commit(Step::StoreDebit, move |w| {
                authority.check_open(w)?;
                authority.debit(w, &args, &terms, granted)
            })
            .await
    }

    async fn give_back(&self, debited: Debited) {
        if debited.spent.is_some()
            && let Err(error) = self.with.journal.commit(Step::Other, move |w| give_back(w, &debited)).await
        {
            tracing::warn!(task = %self.task(), %error, "what a hire debited and didn't award stays debited");
        }
    }

    /// Locks the money and signs the award.
    async fn agree(&self, offer: &Signed<Offer>, debited: &Debited) -> Result<(Arc<Deal>, PreparedLock), HireError> {
        let holds = offer.exp.map_or(offer.body.deadline, |exp| exp.min(offer.body.deadline));
        let left = Duration::from_secs(holds.since(self.with.runtime.now()));
        // A lock that comes too late is in the purse, for another task.
        let locked = {
            let _took = Span::Lock.begin();
            timeout(left, self.with.funds.lock(offer)).await
        };
        let (mint, prepared) = locked.map_err(|_| HireError::DeadlinePassed)??;
        // Called off while the mint made the lock: it goes back into the purse.
        if self.slot.is_called_off() {
            return Err(HireError::Cancelled);
        }
        let now = self.with.runtime.now();
        // Making the lock may have taken its time. Skew is tolerated of others' clocks; the deadline is of ours.
        if offer.body.deadline <= now {
            return Err(HireError::DeadlinePassed);
        }
        choice::acceptable(&self.ask, offer, now)?;
        Ok((Arc::new(self.deal(offer, mint, (debited, &prepared), now)?), prepared))
    }

    /// What the seller may spend on subcontractors.
    fn granted(&self) -> u64 {
        if self.hire.allow_subcontract.is_empty() { 0 } else { self.hire.sub_budget.unwrap_or_default() }
    }

    fn args(&self, offer: &Signed<Offer>, mint: MintUrl, spent: u64) -> AwardArgs {
        let terms = &offer.body;
        AwardArgs {
            task: self.authority.task.unwrap_or_else(|| self.task()),
            service: terms.service.clone(),
            ask: self.task(),
            offer: offer.cid(),
            input: self.digest,
            mint,
            price: terms.price,
            unit: terms.unit.clone(),
            spent,
            seller: offer.issuer(),
            deadline: terms.deadline,
            depth: self.authority.links.len() as u64,
        }
    }

    fn deal(
        &self,
        offer: &Signed<Offer>,
        mint: MintUrl,
        (debited, prepared): (&Debited, &PreparedLock),
        now: Timestamp,
    ) -> Result<Deal, HireError> {
        let _took = Span::SignAward.begin();
        let Authority { principal, links, .. } = &self.authority;
        let args = self.args(offer, mint, debited.spent.unwrap_or(offer.body.price));
        let nonce = ByteArray(self.with.runtime.random());
        let prf = links.iter().map(Signed::cid).collect();
        let award = Award::sign(&args, &prepared.part(), *principal, prf, now, nonce, &self.with.key)?;
        if !links.is_empty() {
            // As its seller will check it: money isn't sent on what won't be taken.
            chain::verify(award.invocation(), links, At::exact(now), &self.with.revocations)
                .and_then(|chain| chain::check_award(&chain, args.seller))
                .map_err(|error| self.authority.bound(error))?;
        }
        let grant = self.grant(&award)?;
        let ask = ByteBuf::from(self.ask.bytes());
        let (offer, chain, lock, input) = (offer.clone(), links.clone(), prepared.lock(), self.input.clone());
        Ok(Deal { award, offer, ask, chain, grant, lock, input })
    }

    /// The delegation by which the seller of an award may subcontract, if the hire allows it.
    fn grant(&self, award: &Award) -> Result<Option<Signed<Delegation>>, HireError> {
        let (hire, args) = (&self.hire, award.args());
        if hire.allow_subcontract.is_empty() {
            return Ok(None);
        }
        let budget = self.granted();
        let grant = SubGrant {
            buyer: award.buyer(),
            seller: args.seller,
            principal: award.principal(),
            task: args.task,
            services: hire.allow_subcontract.iter().map(ToString::to_string).collect(),
            unit: args.unit.to_string(),
            mint: args.mint.to_string(),
            max_price: budget,
            max_spent: budget,
            deadline: args.deadline,
            max_depth: args.depth.saturating_add(hire.sub_depth.unwrap_or(1)),
            expires: args.deadline,
            nonce: self.with.runtime.random::<16>().to_vec(),
        };
        let delegation = grant.delegation().map_err(HireError::Grant)?;
        let grant = Signed::sign(delegation, &self.with.key)?;
        chain::check_sub_grant(&grant, award, &self.authority.links).map_err(|error| self.authority.bound(error))?;
        Ok(Some(grant))
    }

    /// The transaction after which the money is at risk and the award may go out.
    async fn store_award(
        &self,
        deal: Arc<Deal>,
        state: Buyer,
        writes: Vec<buyer::Write>,
        (prepared, promised): (PreparedLock, Option<Arc<str>>),
    ) -> Result<(), HireError> {
        let (record, now, wallet) = (self.record.clone(), self.with.runtime.now(), self.with.funds.wallet().clone());
        let (task, terms) = (self.task(), self.terms.clone());
        let first = record.awards.len() == 1;
        let (max, wanted, unit) = (self.hire.daily_max, deal.award.args().price, deal.award.args().unit.clone());
        let (origin, budgets) =
            (self.hire.claim.as_ref().map(|claim| claim.origin().clone()), self.hire.budgets.clone());
        let mandate = self.hire.mandate.clone();
        let stored: Result<(), HireError> = self
            .with
            .journal
            .commit(Step::StoreAward, move |w| {
                if let Some(origin) = &origin
                    && !keys::check_award(w, origin, task)?
                {
                    return Err(HireError::Held);
                }
                let budgets = match &mandate {
                    Some(mandate) => {
                        let own = gate::permit(w, mandate, (&deal.award.args().service, wanted), now)?;
                        // As it is now: it may have been changed since the hire began.
                        let others = budgets.into_iter().filter(|budget| budget.account != mandate.caller);
                        others.chain([own.of(&mandate.caller)]).collect()
                    }
                    None => budgets,
                };
                budgets::debit(w, &budgets, (&unit, wanted), deal.id(), now)??;
                if !records::spend_today(w, &unit, wanted, max, now)? {
                    let spent = records::spent_today(w, &unit, now)?;
                    return Err(HireError::Budget { unit, spent, wanted, max });
                }
                let args = deal.award.args();
                let most = terms.most_in_advance(w, deal.seller(), &args.mint, &args.unit, now)?;
                prepared.debit(w, deal.id(), most)?;
                buying::write(w, &wallet, &deal, &state, &writes, now)?;
                if let Some(schema) = promised {
                    w.put(PROMISES, key(deal.id()), &Promise { schema: schema.to_string(), kept: None })?;
                }
                Ok(store_task(w, task, &record, first)?)
            })
            .await;
        stored
    }

    /// Records and tells why it came to no award that was taken.
    async fn fail(&mut self, error: &HireError) {
        let failed = match error {
            HireError::Cancelled => Outcome::Cancelled,
            other => Outcome::Failed { fault: other.fault(), reason: other.to_string() },
        };
        let at = self.with.runtime.now();
        let (fault, hint) = (error.fault().code().into(), error.hint().map(Into::into));
        self.record.failure = Some(Failure { fault, reason: error.to_string(), hint, at });
        let (task, record) = (self.task(), self.record.clone());
        let (trade, ended) = (record.awards.last().copied(), failed.clone());
        let writing = move |w: &mut Write<'_>| {
            let mut record = record.clone();
            // One of which it wasn't certain whether it is on disk: it is there now, or isn't.
            let mut awards = Vec::with_capacity(record.awards.len());
            for award in record.awards {
                if w.contains(DEALS, key(award))? {
                    awards.push(award);
                }
            }
            record.awards = awards;
            ends::end(w, task, record.awards.last().copied(), &ended, at)?;
            let first = !w.contains(TASKS, key(task))?;
            store_task(w, task, &record, first)
        };
        self.with.journal.end(self.hire.waits, task, writing).await;
        self.tell_end(trade, failed);
    }

    /// Writes down how the hire ended where somebody waits for it.
    async fn store_end(&self, trade: Option<Cid>, outcome: &Outcome) {
        if self.hire.waits {
            let (task, outcome, at) = (self.task(), outcome.clone(), self.now());
            self.with.journal.end(true, task, move |w| ends::end(w, task, trade, &outcome, at)).await;
        }
    }

    fn tell_end(&self, trade: Option<Cid>, outcome: Outcome) {
        self.with.events.emit(Event::Ended { task: self.task(), trade, side: Side::Buyer, outcome });
    }
}

fn store_task(w: &mut Write<'_>, task: Cid, record: &TaskRecord, first: bool) -> Result<(), StoreError> {
    w.put(TASKS, key(task), record)?;
    if first {
        if let Some(under) = record.under {
            w.put(PASSED_ON, Key::of(under).and(task), &())?;
        }
        w.put(LOG, log_key(record.created, task), &LogRow::new(StoredSide::Buyer, task))?;
    }
    Ok(())
}
