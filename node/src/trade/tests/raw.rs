//! A buyer driven by hand: it can sign and send whatever it likes.

use guilder_protocol::{
    award::{Award, AwardArgs},
    bytes::ByteArray,
    claim::{Body, Claim},
    content::ContentId,
    envelope::Signed,
    market::{AdvertBody, Ask, AskBody, Offer},
    settlement::{AwardPart, Lock, Mode, prepaid},
    trade::{Deal, buyer},
    ucan::Delegation,
    wire::{Asked, Cancel, Message, Payload, Query},
};
use serde_bytes::ByteBuf;

use super::*;
use crate::wallet::LockRequest;

pub(super) struct Raw {
    pub(super) base: Base,
    pub(super) seller: AgentId,
}

/// What is in a prepaid lock.
pub(super) fn prepaid(lock: &mut Lock) -> &mut prepaid::Lock {
    match lock {
        Lock::Prepaid(lock) => lock,
        other => panic!("{other:?}"),
    }
}

/// An advert of the echo.
pub(super) fn advert(price: u64) -> AdvertBody {
    AdvertBody {
        service: echo(),
        description: String::new(),
        price,
        unit: play(),
        mints: vec![mint_url()],
        modes: vec![Mode::Prepaid],
        input: None,
        output: None,
        max_input: 1_000,
        max_output: 1_000,
        time_limit: 1,
    }
}

impl Raw {
    /// Connected to the seller, with 1 000 to spend.
    pub(super) async fn start(bank: &Bank, seed: u8, seller: &Node) -> Self {
        let base = Base::start(Plan::joining(bank, seed, seller)).await;
        fund(&base.wallet, 1_000).await;
        base.network.dial(seller.address.clone()).await.unwrap();
        Self { base, seller: seller.id() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.base.runtime.now()
    }

    fn nonce(&self) -> ByteArray<16> {
        ByteArray(self.base.runtime.random())
    }

    pub(super) async fn send(&self, message: impl Into<Message>) {
        let frame = message.into().encode().unwrap();
        self.base.network.send(self.seller, frame.into()).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> Message {
        loop {
            let frame = in_time(self.base.inbound.frames.recv()).await.unwrap();
            match Message::decode(&frame.bytes).unwrap() {
                // It is asked for the word that it never gives: that it has the output.
                Message::Status(_) => {}
                message => return message,
            }
        }
    }

    pub(super) async fn say(&mut self, message: impl Into<Message>) -> Message {
        self.send(message).await;
        self.hear().await
    }

    /// Checks that nothing came of what was sent before: a question that is asked after it is the next to be answered.
    pub(super) async fn hears_nothing(&mut self) {
        let service: ServiceName = "text.nobody".parse().unwrap();
        let answer = self.say(Query { service: service.clone(), schema: None }).await;
        assert!(matches!(&answer, Message::NotAdvertised(answer) if answer.service == service), "{answer:?}");
    }

    /// A statement of this buyer's, of now and without an end.
    pub(super) fn state<B: Body>(&self, body: B) -> Signed<Claim<B>> {
        Signed::claim(body, self.now(), None, self.nonce(), &self.base.key).unwrap()
    }

    /// Calls a trade off.
    pub(super) fn cancel(&self, deal: &Deal) -> Cancel {
        let cancellation = ByteBuf::from(self.state(buyer::cancellation(deal)).bytes());
        Cancel { award: deal.id(), cancellation }
    }

    pub(super) fn ask(&self, change: impl FnOnce(&mut AskBody)) -> Signed<Ask> {
        self.ask_dated(self.now(), change)
    }

    pub(super) fn ask_dated(&self, now: Timestamp, change: impl FnOnce(&mut AskBody)) -> Signed<Ask> {
        let mut body = AskBody {
            service: echo(),
            max_price: 100,
            unit: play(),
            mints: vec![mint_url()],
            modes: vec![Mode::Prepaid],
            input_size: 5,
            deadline: self.now().saturating_add(60),
        };
        change(&mut body);
        Signed::claim(body, now, Some(now.saturating_add(60)), self.nonce(), &self.base.key).unwrap()
    }

    pub(super) async fn offer(&mut self) -> (Signed<Ask>, Signed<Offer>) {
        self.offer_in(Mode::Prepaid).await
    }

    /// An offer to be paid in this mode.
    pub(super) async fn offer_in(&mut self, mode: Mode) -> (Signed<Ask>, Signed<Offer>) {
        let ask = self.ask(|ask| ask.modes = vec![mode]);
        match self.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await {
            Message::Offered(offered) => (ask, Signed::decode(&offered.offer).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Money locked as the offer wants it; it never goes back to the purse.
    pub(super) async fn lock(&self, offer: &Signed<Offer>) -> (Lock, AwardPart) {
        let request = LockRequest {
            seller: self.seller,
            terms: offer.body.terms.clone(),
            mint: mint_url(),
            unit: play(),
            price: offer.body.price,
            max_proofs: 32,
        };
        let prepared = self.base.wallet.lock(&request).await.unwrap();
        let lock = (prepared.lock(), prepared.part());
        let trade = guilder_protocol::cbor::cid_of(&guilder_protocol::cbor::encode(&lock.0));
        self.base.store.transact(move |w| prepared.debit(w, trade, None)).await.unwrap();
        lock
    }

    /// An award in the name of whoever issued the delegation.
    pub(super) fn award_under(
        &self,
        offered: &(Signed<Ask>, Signed<Offer>),
        money: &(Lock, AwardPart),
        link: &Signed<Delegation>,
    ) -> Deal {
        let own = self.award(offered, money, |_| {});
        let args = AwardArgs { depth: 1, ..own.award.args().clone() };
        let (key, prf) = (&self.base.key, vec![link.cid()]);
        let award = Award::sign(&args, &money.1, link.iss, prf, self.now(), self.nonce(), key).unwrap();
        Deal { award, chain: vec![link.clone()], ..own }
    }

    pub(super) fn award(
        &self,
        (ask, offer): &(Signed<Ask>, Signed<Offer>),
        (lock, part): &(Lock, AwardPart),
        change: impl FnOnce(&mut AwardArgs),
    ) -> Deal {
        let terms = &offer.body;
        let input = b"hello";
        let mut args = AwardArgs {
            task: ask.cid(),
            service: terms.service.clone(),
            ask: ask.cid(),
            offer: offer.cid(),
            input: ContentId::of(input).hash,
            mint: mint_url(),
            price: terms.price,
            unit: terms.unit.clone(),
            spent: terms.price,
            seller: self.seller,
            deadline: terms.deadline,
            depth: 0,
        };
        change(&mut args);
        let me = self.base.key.id();
        let award = Award::sign(&args, part, me, vec![], self.now(), self.nonce(), &self.base.key).unwrap();
        Deal {
            award,
            offer: offer.clone(),
            ask: ByteBuf::from(ask.bytes()),
            chain: vec![],
            grant: None,
            lock: lock.clone(),
            input: Payload::Inline(ByteBuf::from(input)),
        }
    }
}
