//! Who loses what, at most, when one party departs from the rules: a row of the tables in docs/settlement.md each. The others are
//! real nodes, over real connections, at a real mint; who deviates is driven by hand, or a node that works badly.

use std::collections::BTreeMap;

use guilder_protocol::{
    acceptance::AcceptanceBody,
    audit::{self, fraud::Finding},
    claim::{Body, Claim},
    content::ContentId,
    envelope::Signed,
    market::{AdvertBody, Ask, Offer, OfferBody},
    receipt::{self, FailureCode, TaskError},
    seal::{self, Cipher, Sealed},
    settlement::{Mode, escrow},
    trade::{Deal, intake, seller as selling},
    ucan::chain::NoRevocations,
    wire::{
        Accepted, Advertised, Asked, Cancel, Delivered, Message, Offered, Opened, Output as Clear, Payload, Received,
        Release,
    },
};
use serde_bytes::ByteBuf;

use super::{
    super::hire::HireMode,
    hostile::{accusation, delivery, points},
    raw::Raw,
    *,
};
use crate::{
    executor::{ExecError, Output, Work},
    wallet::LockContext,
};

const FUNDS: u64 = 1_000;
const PRICE: u64 = 7;
const SALT: [u8; 32] = [9; 32];
const WEEKS: u64 = 30 * 86_400;

fn paid(mode: &Mode, seller: AgentId) -> Hire {
    let hire_mode = if *mode == Mode::Escrow { HireMode::Escrow } else { HireMode::Prepaid };
    Hire { mode: Some(hire_mode), ..of(seller) }
}

/// How a seller that is driven by hand departs from the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Takes the award and is never heard of again.
    Vanishes,
    /// Prepaid: the same, and takes the money.
    TakesAndVanishes,
    /// Prepaid: signs that it failed, and takes the money.
    FailsAndTakes,
    /// Prepaid: signs that it failed, and then that it did for another reason.
    SignsTwice,
    /// In escrow: delivers, and never redeems what is released to it.
    NeverRedeems,
    /// In escrow: redeems, and keeps the key to itself.
    KeepsKey,
    /// In escrow: seals something else than it signs for.
    SealsAnother,
    /// In escrow: sends a key that was never agreed.
    SendsAnotherKey,
    /// Answers with the acceptance of another award first.
    AcceptsAnother,
    /// Plays by the rules, and knows no other mode.
    KnowsPrepaidOnly,
}

/// A seller driven by hand.
pub(super) struct Crook {
    base: Base,
    mode: Mode,
    how: How,
    deals: BTreeMap<Cid, Deal>,
}

impl Crook {
    /// On sale beside a buyer with money.
    pub(super) async fn with_buyer(mode: Mode, how: How) -> (Bank, Node, AgentId, Wallet) {
        let bank = Bank::open().await;
        let buyer = Plan::new(&bank, 1).start().await;
        buyer.fund(FUNDS).await;
        let base = Base::start(Plan::joining(&bank, 2, &buyer)).await;
        base.network.dial(buyer.address.clone()).await.unwrap();
        let (id, wallet) = (base.key.id(), base.wallet.clone());
        tokio::spawn(Self { base, mode, how, deals: BTreeMap::new() }.run());
        until(|| async { buyer.network.peers().await.iter().any(|peer| peer.agent == id) }).await;
        (bank, buyer, id, wallet)
    }

    async fn run(mut self) {
        while let Some(frame) = self.base.inbound.frames.recv().await {
            let message = Message::decode(&frame.bytes).unwrap();
            for answer in self.answer(frame.from, message).await {
                // The buyer may be asleep.
                _ = self.base.network.send(frame.from, answer.encode().unwrap().into()).await;
            }
        }
    }

    fn sign<B: Body>(&self, body: B, life_secs: Option<u64>) -> ByteBuf {
        let (now, nonce) = (self.base.runtime.now(), self.base.runtime.random().into());
        let until = life_secs.map(|secs| now.saturating_add(secs));
        let signed: Signed<Claim<B>> = Signed::claim(body, now, until, nonce, &self.base.key).unwrap();
        ByteBuf::from(signed.bytes())
    }

    async fn answer(&mut self, from: AgentId, message: Message) -> Vec<Message> {
        match message {
            Message::Query(_) => {
                let body = AdvertBody { modes: vec![self.mode.clone()], ..raw::advert(PRICE) };
                vec![Advertised { advert: self.sign::<AdvertBody>(body, Some(600)) }.into()]
            }
            Message::Asked(asked) => {
                let ask = Signed::<Ask>::decode(&asked.ask).unwrap();
                let deadline = ask.body.deadline;
                let offer = OfferBody {
                    aud: ask.issuer(),
                    ask: ask.cid(),
                    service: echo(),
                    price: PRICE,
                    unit: play(),
                    mints: vec![mint_url()],
                    terms: self.base.wallet.terms(&self.mode, ask.issuer(), deadline).unwrap(),
                    max_proofs: 32,
                    deadline,
                    input: None,
                    output: None,
                };
                vec![Offered { offer: self.sign(offer, Some(60)), also: vec![] }.into()]
            }
            Message::Awarded(awarded) => {
                let (me, now) = (self.base.key.id(), self.base.runtime.now());
                let deal = intake::read(&awarded, from, me, now, &NoRevocations).unwrap();
                if self.deals.contains_key(&deal.id()) {
                    return vec![];
                }
                self.reserve(&deal).await;
                self.deals.insert(deal.id(), deal.clone());
                self.work(&deal).await
            }
            Message::Release(release) => {
                let deal = self.deals.get(&release.award).unwrap().clone();
                self.released(&deal, &release.signatures).await
            }
            _ => vec![],
        }
    }

    async fn reserve(&self, deal: &Deal) {
        let context = LockContext { mint: mint_url(), buyer: deal.buyer(), principal: deal.award.principal() };
        let (demand, wallet, trade) = (intake::lock_demand(deal), self.base.wallet.clone(), deal.id());
        let lock = wallet.check_lock(&context, &demand, &deal.lock).await.unwrap();
        self.base.store.transact(move |w| wallet.reserve(w, &lock, trade)).await.unwrap();
    }

    async fn take(&self, deal: &Deal) {
        let (wallet, trade) = (self.base.wallet.clone(), deal.id());
        self.base.store.transact(move |w| wallet.redeemable(w, trade)).await.unwrap();
        self.is_paid().await;
    }

    async fn is_paid(&self) {
        self.base.wallet.nudge();
        until(|| async { holds(&self.base.wallet) > 0 }).await;
    }

    async fn work(&self, deal: &Deal) -> Vec<Message> {
        let award = deal.id();
        let mut body = AcceptanceBody::of(deal);
        let mut said = Vec::new();
        if self.how == How::AcceptsAnother {
            let other = AcceptanceBody { award: deal.award.args().offer, ..body.clone() };
            said.push(Accepted { award, acceptance: self.sign(other, None) }.into());
            body.award = award;
        }
        said.push(Accepted { award, acceptance: self.sign(body, None) }.into());
        match self.how {
            How::Vanishes => {}
            How::TakesAndVanishes => self.take(deal).await,
            How::FailsAndTakes => {
                self.take(deal).await;
                let error = TaskError { code: FailureCode::Crashed, text: "it broke".into() };
                said.push(self.delivered(deal, Err(error), None, None));
            }
            How::SignsTwice => {
                for code in [FailureCode::Crashed, FailureCode::OutOfMemory] {
                    said.push(self.delivered(deal, Err(TaskError { code, text: "it broke".into() }), None, None));
                }
            }
            How::AcceptsAnother | How::KnowsPrepaidOnly => {
                let data = Payload::Inline(ByteBuf::from(&b"hello"[..]));
                let output = Some(Clear { salt: SALT.into(), data });
                said.push(self.delivered(deal, Ok(receipt::commit(&SALT.into(), b"hello")), None, output));
                self.take(deal).await;
            }
            How::NeverRedeems | How::KeepsKey | How::SealsAnother | How::SendsAnotherKey => {
                let key = self.base.wallet.seal_key(&deal.offer.body.terms).unwrap();
                let sealed: &[u8] = if self.how == How::SealsAnother { b"another" } else { b"hello" };
                let (ciphertext, _) = seal::seal(&key, &SALT.into(), sealed).unwrap();
                said.push(self.delivered(deal, Ok(receipt::commit(&SALT.into(), b"hello")), Some(ciphertext), None));
            }
        }
        said
    }

    fn delivered(
        &self,
        deal: &Deal,
        out: Result<guilder_protocol::bytes::Digest, TaskError>,
        ciphertext: Option<Vec<u8>>,
        output: Option<Clear>,
    ) -> Message {
        let now = self.base.runtime.now();
        let sealed = ciphertext
            .as_ref()
            .map(|ciphertext| Sealed { aead: Cipher::ChaCha20Poly1305Stream, ciphertext: ContentId::of(ciphertext) });
        let receipt = self.sign(selling::receipt_body(deal, out, sealed.as_ref(), now, now), None);
        let sealed = ciphertext.map(|ciphertext| Payload::Inline(ByteBuf::from(ciphertext)));
        Delivered { award: deal.id(), receipt, output, sealed, evidence: None }.into()
    }

    async fn released(&self, deal: &Deal, signatures: &[escrow::ReleaseSignature]) -> Vec<Message> {
        let award = deal.id();
        if self.how == How::NeverRedeems {
            return vec![];
        }
        if self.how == How::SendsAnotherKey {
            return vec![Opened { award, key: seal::SealKey::new([1; 32]) }.into()];
        }
        let (wallet, signatures) = (self.base.wallet.clone(), signatures.to_vec());
        self.base.store.transact(move |w| wallet.released(w, award, &signatures)).await.unwrap();
        self.is_paid().await;
        match self.how {
            How::KeepsKey => vec![],
            _ => {
                let key = self.base.wallet.seal_key(&deal.offer.body.terms).unwrap();
                vec![Opened { award, key }.into()]
            }
        }
    }
}

fn holds(wallet: &Wallet) -> u64 {
    wallet.balances().unwrap().iter().map(|balance| balance.spendable).sum()
}

impl Node {
    /// Pulls the plug; it comes back at that moment, by its clock.
    async fn sleeps_until(self, at: Timestamp) -> Self {
        let Self { mut plan, runtime, network, store, wallet, catalogue, content, trade, events, .. } = self;
        plan.disk.crash();
        runtime.shutdown().await;
        drop((network, store, wallet, catalogue, content, trade, events, runtime));
        plan.now = at;
        plan.start().await
    }

    /// The fee that the buyer paid for its refund, and what the seller took, once the money of a trade has come to rest.
    async fn came_to(self, trade: Cid) -> (Self, u64, u64) {
        let settled = |node: &Self| match node.trade.show(trade).unwrap().unwrap().money {
            Some(MoneyView::Bought(buyer::Money::Settled { redeemed, fee, .. })) if node.trade.open_count() == 0 => {
                Some((fee, redeemed))
            }
            _ => None,
        };
        let (node, (fee, redeemed)) = self.restarts_until(trade, settled).await;
        (node, fee, redeemed)
    }

    /// What is found once what fell back has been looked for: that is done when a node starts, and then once a minute. It starts
    /// again until then.
    async fn restarts_until<T>(mut self, trade: Cid, found: impl Fn(&Self) -> Option<T>) -> (Self, T) {
        for _ in 0..6 {
            let looked = async {
                loop {
                    if let Some(found) = found(&self) {
                        return found;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            };
            if let Ok(found) = timeout(PATIENCE / 4, looked).await {
                return (self, found);
            }
            let later = self.runtime.now().saturating_add(90);
            self = self.sleeps_until(later).await;
        }
        let view = self.trade.show(trade).unwrap().unwrap();
        panic!("{:?} {:?}, {} open, {:?}", view.state, view.money, self.trade.open_count(), self.wallet.pending());
    }

    fn state(&self, trade: Cid) -> TaskState {
        self.trade.show(trade).unwrap().unwrap().state
    }

    fn escrow_terms(&self, trade: Cid) -> escrow::Terms {
        let deal = self.store.read(|r| r.get(records::DEALS, records::key(trade))).unwrap().unwrap();
        deal.escrow().unwrap().0.clone()
    }
}

/// All that the mint has issued and not taken back is the buyer's, or redeemed by the seller.
async fn nothing_is_lost(bank: &Bank, buyer: &Node, seller: &Wallet) {
    until(|| async { buyer.balance().await + holds(seller) == bank.outstanding().await }).await;
}

/// Begins a hire, and waits for its award to be in this state.
async fn begun(buyer: &Node, hire: Hire, state: TaskState) -> (TaskHandle, Cid) {
    let handle = buyer.begin(hire, b"hello").await;
    let task = handle.task;
    let shown = || buyer.trade.show(task).unwrap().filter(|view| view.state == state).and_then(|view| view.trade);
    until(|| async { shown().is_some() }).await;
    (handle, shown().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_signs_two_receipts_is_convicted_by_what_its_buyer_keeps() {
    let (_bank, buyer, seller, _wallet) = Crook::with_buyer(Mode::Prepaid, How::SignsTwice).await;
    let hired = buyer.hire(paid(&Mode::Prepaid, seller), b"hello").await.unwrap();
    let trade = hired.deal.id();
    assert!(matches!(&hired.ended.outcome, BuyerOutcome::Failed(error) if error.code == FailureCode::Crashed));
    until(|| async { buyer.trade.accusation(trade).unwrap().is_some() }).await;
    assert_eq!(accusation(&buyer, trade).await.finding, Finding::Contradicts);
    // Also after a restart; and it is in the bundle.
    let buyer = buyer.crash(Failpoint::default()).await;
    assert_eq!(accusation(&buyer, trade).await.finding, Finding::Contradicts);
    let bundle = audit::bundle(&buyer.trade.evidence(trade).unwrap().unwrap());
    assert_eq!(audit::verify(&bundle).unwrap().hires[0].answer, audit::Answer::SellerContradicts(seller));
}

// Escrow: the seller

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_vanishes_in_escrow_costs_its_buyer_a_fee_and_a_wait_of_weeks_if_it_sleeps_so_long() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::Vanishes).await;
    let hired = buyer.hire(Hire { deadline_secs: Some(12), ..paid(&Mode::Escrow, seller) }, b"hello").await.unwrap();
    assert_eq!((&hired.ended.outcome, hired.ended.money), (&BuyerOutcome::Overdue, buyer::Money::Waiting));
    let buyer = buyer.sleeps_until(yesterday().saturating_add(WEEKS)).await;
    let (buyer, fee, redeemed) = buyer.came_to(hired.deal.id()).await;
    assert!(fee > 0 && redeemed == 0);
    assert_eq!((holds(&wallet), buyer.trade.accusation(hired.deal.id()).unwrap().is_some()), (0, false));
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_never_redeems_loses_the_price_and_its_buyer_a_fee() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::NeverRedeems).await;
    let (_handle, trade) = begun(&buyer, paid(&Mode::Escrow, seller), TaskState::Opening).await;
    let terms = buyer.escrow_terms(trade);
    // Past the last moment to redeem the user is told; from the locktime on the money comes back.
    let buyer = buyer.sleeps_until(terms.redeem_by.saturating_add(120)).await;
    until(|| async { buyer.state(trade) == TaskState::Failed }).await;
    assert!(buyer.trade.show(trade).unwrap().unwrap().failure.unwrap().1.contains("neither the money"));
    let buyer = buyer.sleeps_until(terms.locktime.saturating_add(120)).await;
    let (buyer, fee, redeemed) = buyer.came_to(trade).await;
    assert!(fee > 0 && redeemed == 0);
    assert_eq!(holds(&wallet), 0);
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_keeps_its_key_to_itself_has_shown_it_to_the_mint() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::KeepsKey).await;
    let hired = buyer.hire(paid(&Mode::Escrow, seller), b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!((hired.ended.money, output(&hired)), (buyer::Money::Paid, "hello".into()));
    assert_eq!(holds(&wallet), PRICE);
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mint_that_hides_the_key_that_its_seller_keeps_costs_the_buyer_the_price_and_convicts_nobody() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::KeepsKey).await;
    bank.hides_witnesses.store(true, Ordering::SeqCst);
    let (_handle, trade) = begun(&buyer, paid(&Mode::Escrow, seller), TaskState::Opening).await;
    until(|| async { holds(&wallet) == PRICE }).await;
    let terms = buyer.escrow_terms(trade);
    let buyer = buyer.sleeps_until(terms.locktime.saturating_add(120)).await;
    until(|| async { buyer.state(trade) == TaskState::Failed }).await;
    // The mint says that the money is spent; nothing shows the key.
    let (buyer, ()) =
        buyer.restarts_until(trade, |buyer| buyer.wallet.pending().unwrap().is_empty().then_some(())).await;
    until(|| async { buyer.balance().await + PRICE == bank.outstanding().await }).await;
    if let Some(accusation) = buyer.trade.accusation(trade).unwrap() {
        let file = accusation.file(&buyer.content).await.unwrap();
        let proof = guilder_protocol::audit::fraud::verify(file.head()).unwrap();
        assert_eq!(proof.answers(), None, "{}", proof.verdict());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_opens_something_else_costs_the_price_and_convicts_its_seller() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::SealsAnother).await;
    let hired = buyer.hire(paid(&Mode::Escrow, seller), b"hello").await.unwrap();
    assert_eq!((&hired.ended.outcome, &hired.ended.output), (&BuyerOutcome::Mismatch, &None));
    assert_eq!(holds(&wallet), PRICE, "the price and no more");
    let trade = hired.deal.id();
    assert_eq!(buyer.trade.cheats().unwrap(), [trade]);
    let proof = accusation(&buyer, trade).await;
    assert_eq!((&proof.finding, proof.answers(), proof.taken), (&Finding::WrongKey, Some(seller), None));
    until(|| async { buyer.network.is_banned(seller) }).await;
    // Once the mint is asked for the money, what it shows stands in the file, too; and it outlives its ciphertext's restart.
    let buyer = buyer.sleeps_until(hired.deal.award.part().until().saturating_add(120)).await;
    let (buyer, _, redeemed) = buyer.came_to(trade).await;
    assert_eq!(redeemed, hired.deal.locked());
    let proof = accusation(&buyer, trade).await;
    let all = hired.deal.lock.proofs().len();
    assert_eq!((&proof.finding, proof.taken), (&Finding::WrongKey, Some((all, all))));
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_never_agreed_opens_nothing_and_costs_its_seller_points() {
    let (_bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::SendsAnotherKey).await;
    let (_handle, trade) = begun(&buyer, paid(&Mode::Escrow, seller), TaskState::Opening).await;
    until(|| async { points(&buyer, seller).await >= 20 }).await;
    assert_eq!((buyer.state(trade), holds(&wallet)), (TaskState::Opening, 0));
}

#[derive(Debug)]
enum Bad {
    Junk,
    Slow,
}

#[async_trait]
impl Executor for Bad {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        if matches!(self, Self::Slow) {
            sleep(PATIENCE).await;
        }
        drop(work);
        Ok(Output::Inline(Bytes::from_static(b"junk")))
    }
}

async fn works_badly(how: Bad) -> (Bank, Node, Node) {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    let buyer = Plan::joining(&bank, 1, &seller).start().await;
    buyer.fund(FUNDS).await;
    buyer.connect(&seller).await;
    seller.sell(PRICE, Some(Arc::new(how))).await;
    (bank, buyer, seller)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn junk_that_was_committed_to_costs_the_price_in_either_mode() {
    let (bank, buyer, seller) = works_badly(Bad::Junk).await;
    for (mode, earned) in [(Mode::Escrow, PRICE), (Mode::Prepaid, 2 * PRICE)] {
        let hired = buyer.hire(paid(&mode, seller.id()), b"hello").await.unwrap();
        assert_eq!((hired.ended.money, output(&hired)), (buyer::Money::Paid, "junk".into()));
        until(|| async { seller.spendable().await == earned }).await;
    }
    nothing_is_lost(&bank, &buyer, &seller.wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_ends_too_late_is_not_paid_for_in_escrow() {
    let (bank, buyer, seller) = works_badly(Bad::Slow).await;
    let hire = Hire { deadline_secs: Some(12), ..paid(&Mode::Escrow, seller.id()) };
    let hired = buyer.hire(hire, b"hello").await.unwrap();
    let overdue = matches!(&hired.ended.outcome, BuyerOutcome::Overdue | BuyerOutcome::Failed(_));
    assert!(overdue, "{:?}", hired.ended.outcome);
    let trade = hired.deal.id();
    let sold = || seller.trade.show(trade).unwrap().unwrap().money;
    until(|| async { sold() == Some(MoneyView::Sold(selling::Money::Voided)) }).await;
    let buyer = buyer.sleeps_until(hired.deal.award.part().until().saturating_add(120)).await;
    let (buyer, _, redeemed) = buyer.came_to(trade).await;
    assert_eq!((redeemed, seller.spendable().await), (0, 0));
    nothing_is_lost(&bank, &buyer, &seller.wallet).await;
}

// Escrow: the buyer, and time

pub(super) async fn shop() -> (Bank, Node, Raw) {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    seller.sell(PRICE, None).await;
    let raw = Raw::start(&bank, 1, &seller).await;
    (bank, seller, raw)
}

/// Buys in escrow up to the sealed delivery.
async fn delivered_to(raw: &mut Raw) -> Deal {
    let ask = raw.ask(|ask| ask.modes = vec![Mode::Escrow]);
    let Message::Offered(offered) = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await else { panic!() };
    let offered = (ask, Signed::<Offer>::decode(&offered.offer).unwrap());
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    raw.send(deal.message()).await;
    assert!(delivery(raw).await.sealed.is_some());
    deal
}

async fn release(raw: &Raw, deal: &Deal) -> Release {
    let signatures = raw.base.wallet.release(&deal.offer.body.terms, &deal.lock).await.unwrap();
    Release { award: deal.id(), signatures }
}

fn sold(seller: &Node, trade: Cid) -> Option<MoneyView> {
    seller.trade.show(trade).unwrap().unwrap().money
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_never_releases_costs_the_seller_its_work_and_gets_nothing() {
    let (_bank, seller, mut raw) = shop().await;
    let deal = delivered_to(&mut raw).await;
    let (trade, terms) = (deal.id(), deal.escrow().unwrap().0.clone());
    let seller = seller.sleeps_until(terms.release_by.saturating_add(120)).await;
    until(|| async { sold(&seller, trade) == Some(MoneyView::Sold(selling::Money::Voided)) }).await;
    until(|| async { seller.trade.open_count() == 0 }).await;
    assert_eq!(seller.spendable().await, 0);
    let buyer = raw.base.key.id();
    let history = seller.store.read(|r| r.get(records::BUYER_HISTORY, crate::store::Key::of(buyer))).unwrap();
    assert_eq!(history.map(|history| history.no_release), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_does_not_hold_costs_points_and_the_right_one_still_counts() {
    let (bank, seller, mut raw) = shop().await;
    let deal = delivered_to(&mut raw).await;
    let (me, trade, good) = (raw.base.key.id(), deal.id(), release(&raw, &deal).await);
    let mut swapped = good.clone();
    swapped.signatures.reverse();
    let mut torn = good.clone();
    torn.signatures[0].0[9] ^= 1;
    let fewer = Release { signatures: good.signatures[1..].to_vec(), ..good.clone() };
    let several = if good.signatures.len() > 1 { vec![torn, fewer, swapped] } else { vec![torn, fewer] };
    for bad in several {
        let before = points(&seller, me).await;
        raw.send(bad).await;
        until(|| async { points(&seller, me).await >= before + 10 }).await;
        assert_eq!(sold(&seller, trade), Some(MoneyView::Sold(selling::Money::Unreleased)));
    }
    let Message::Opened(opened) = raw.say(good).await else { panic!() };
    assert_eq!(opened.key.hash(), deal.escrow().unwrap().0.key_hash);
    assert_eq!(seller.spendable().await, PRICE);
    drop(bank);
}

/// It could take the money back and have the key too, if the key were shown after the last moment to redeem.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_whose_mint_is_down_past_its_last_moment_never_shows_its_key() {
    let (bank, seller, mut raw) = shop().await;
    let deal = delivered_to(&mut raw).await;
    let (trade, terms) = (deal.id(), deal.escrow().unwrap().0.clone());
    bank.down.store(true, Ordering::SeqCst);
    raw.send(release(&raw, &deal).await).await;
    until(|| async { sold(&seller, trade) == Some(MoneyView::Sold(selling::Money::Due)) }).await;
    let seller = seller.sleeps_until(terms.redeem_by.saturating_add(1)).await;
    bank.down.store(false, Ordering::SeqCst);
    until(|| async { matches!(sold(&seller, trade), Some(MoneyView::Sold(selling::Money::Lost(_)))) }).await;
    // The buyer's money is all there, and no key with it.
    let shown = crate::wallet::LockOf { mint: &mint_url(), lock: &deal.lock, key_hash: terms.key_hash };
    assert_eq!(raw.base.wallet.shown_key(trade, shown).await.unwrap(), None);
    assert_eq!(seller.spendable().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_whose_mint_is_down_past_every_deadline_has_its_money_once_it_is_back() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Escrow, How::NeverRedeems).await;
    let (_handle, trade) = begun(&buyer, paid(&Mode::Escrow, seller), TaskState::Opening).await;
    let locktime = buyer.escrow_terms(trade).locktime;
    bank.down.store(true, Ordering::SeqCst);
    let buyer = buyer.sleeps_until(locktime.saturating_add(120)).await;
    until(|| async { buyer.state(trade) == TaskState::Failed }).await;
    bank.down.store(false, Ordering::SeqCst);
    let (buyer, _, redeemed) = buyer.came_to(trade).await;
    assert_eq!(redeemed, 0);
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_sleep_for_weeks_over_a_trade_in_escrow_come_to_its_end_and_the_money_is_its_buyers() {
    let (bank, buyer, seller) = works_badly(Bad::Slow).await;
    let (_handle, trade) = begun(&buyer, paid(&Mode::Escrow, seller.id()), TaskState::Working).await;
    let weeks = yesterday().saturating_add(WEEKS);
    let seller = seller.sleeps_until(weeks).await;
    let buyer = buyer.sleeps_until(weeks).await;
    buyer.connect(&seller).await;
    let (buyer, _, redeemed) = buyer.came_to(trade).await;
    until(|| async { seller.trade.open_count() == 0 }).await;
    assert_eq!((redeemed, seller.spendable().await), (0, 0));
    assert_eq!(sold(&seller, trade), Some(MoneyView::Sold(selling::Money::Voided)));
    nothing_is_lost(&bank, &buyer, &seller.wallet).await;
}

// Prepaid

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_fails_and_takes_the_money_costs_the_price_and_is_convicted() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Prepaid, How::FailsAndTakes).await;
    let hired = buyer.hire(paid(&Mode::Prepaid, seller), b"hello").await.unwrap();
    assert!(matches!(hired.ended.outcome, BuyerOutcome::Failed(_)), "{:?}", hired.ended.outcome);
    let trade = hired.deal.id();
    let buyer = buyer.sleeps_until(hired.deal.award.part().until().saturating_add(120)).await;
    let (buyer, fee, redeemed) = buyer.came_to(trade).await;
    assert_eq!((fee, redeemed), (0, hired.deal.locked()));
    let proof = accusation(&buyer, trade).await;
    assert_eq!((&proof.finding, proof.answers()), (&Finding::TookFailed(FailureCode::Crashed), Some(seller)));
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_takes_the_money_and_vanishes_costs_the_price_and_its_own_word_says_so_far() {
    let (bank, buyer, seller, wallet) = Crook::with_buyer(Mode::Prepaid, How::TakesAndVanishes).await;
    let hire = Hire { deadline_secs: Some(12), ..paid(&Mode::Prepaid, seller) };
    let hired = buyer.hire(hire, b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Overdue);
    let trade = hired.deal.id();
    let buyer = buyer.sleeps_until(hired.deal.award.part().until().saturating_add(120)).await;
    let (buyer, fee, redeemed) = buyer.came_to(trade).await;
    assert_eq!((fee, redeemed), (0, hired.deal.locked()));
    let proof = accusation(&buyer, trade).await;
    assert_eq!((&proof.finding, proof.word_of()), (&Finding::TookAccepted, Some(buyer.id())));
    nothing_is_lost(&bank, &buyer, &wallet).await;
}

// Forged words

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptance_of_another_award_counts_for_nothing_and_costs_points() {
    let (_bank, buyer, seller, _wallet) = Crook::with_buyer(Mode::Prepaid, How::AcceptsAnother).await;
    let hired = buyer.hire(paid(&Mode::Prepaid, seller), b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    until(|| async { points(&buyer, seller).await >= 20 }).await;
    let evidence = buyer.trade.evidence(hired.deal.id()).unwrap().unwrap();
    assert!(evidence.acceptances.iter().all(|acceptance| acceptance.body.award == hired.deal.id()));
}

/// Whatever is said of a trade by a peer that has no part in it changes nothing of it and costs points; what is said by the one
/// that has a part and isn't its own signed word costs points, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_words_on_a_trade_change_nothing_and_cost_points() {
    let (bank, seller, mut raw) = shop().await;
    let deal = delivered_to(&mut raw).await;
    let (trade, before) = (deal.id(), seller.store.read(|r| r.get(records::SELLERS, records::key(deal.id()))).unwrap());
    let good = release(&raw, &deal).await;
    let unchanged = || seller.store.read(|r| r.get(records::SELLERS, records::key(trade))).unwrap() == before;
    let offer = deal.award.args().offer;
    let (cancel, acceptance) = (raw.cancel(&deal), ByteBuf::from(raw.state(AcceptanceBody::of(&deal)).bytes()));
    let body = guilder_protocol::received::ReceivedBody { award: trade, receipt: offer };
    let received = |by: &Raw| ByteBuf::from(by.state(body.clone()).bytes());
    // By a stranger: true words of the buyer's, and false ones of every kind.
    let mut last = 3;
    let strangers_words: Vec<Message> = vec![
        good.clone().into(),
        cancel.clone().into(),
        Received { award: trade, received: received(&raw) }.into(),
        Accepted { award: trade, acceptance: acceptance.clone() }.into(),
        Opened { award: trade, key: seal::SealKey::new([7; 32]) }.into(),
    ];
    for word in strangers_words {
        let stranger = Raw::start(&bank, last, &seller).await;
        last += 1;
        stranger.send(word.clone()).await;
        until(|| async { points(&seller, stranger.base.key.id()).await >= 20 }).await;
        assert!(unchanged(), "{word:?}");
    }
    // By the buyer: not signed, signed by another, about another trade, or of no receipt of this trade.
    let stranger = Raw::start(&bank, last, &seller).await;
    let foreign = ByteBuf::from(stranger.state(buyer::cancellation(&deal)).bytes());
    let lies: Vec<Message> = vec![
        Cancel { award: trade, cancellation: ByteBuf::from(&b"garbage"[..]) }.into(),
        Cancel { award: trade, cancellation: foreign }.into(),
        Received { award: trade, received: received(&raw) }.into(),
        Received { award: trade, received: received(&stranger) }.into(),
    ];
    let me = raw.base.key.id();
    for lie in lies {
        let before = points(&seller, me).await;
        raw.send(lie.clone()).await;
        until(|| async { points(&seller, me).await > before || seller.network.is_banned(me) }).await;
        assert!(unchanged(), "{lie:?}");
    }
}
