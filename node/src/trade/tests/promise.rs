//! Sellers that promise a schema of their output: whether the buyer has it in time, and what it says of the output.

use std::fmt::Write as _;

use guilder_protocol::{
    audit,
    envelope::Signed,
    market::{Advert, AdvertBody, Ask, Offer, OfferBody, schema_hash},
    receipt::{self, Receipt},
    settlement::Mode,
    trade::intake,
    ucan::chain::NoRevocations,
    wire::{Advertised, Delivered, Message, Offered, Output, Payload, Schema},
};
use serde_bytes::ByteBuf;

use super::*;
use crate::{
    events::{Event, Heard},
    store::Key,
    trade::records::{PROMISES, SELLER_HISTORY, SellerHistory},
};

const SCHEMA: &str = r#"{"type":"object","required":["answer"]}"#;

/// A seller driven by hand: it promises one schema, gives what it likes for it, and delivers what it likes.
#[derive(Clone)]
struct Promising {
    /// The text whose hash its offers name.
    promises: String,
    /// What it answers to whoever asks for it.
    gives: Option<String>,
    delivers: Vec<u8>,
}

impl Promising {
    fn of(schema: &str, delivers: &[u8]) -> Self {
        Self { promises: schema.into(), gives: Some(schema.into()), delivers: delivers.into() }
    }

    async fn sell(self, mut base: Base) {
        let me = base.key.id();
        let output = Some(schema_hash(&self.promises));
        while let Some(frame) = base.inbound.frames.recv().await {
            let (now, nonce) = (base.runtime.now(), base.runtime.random().into());
            let until = Some(now.saturating_add(60));
            let answer: Message = match Message::decode(&frame.bytes).unwrap() {
                Message::Query(query) if query.schema.is_some() => {
                    let hash = query.schema.unwrap();
                    Schema { service: query.service, hash, text: self.gives.clone() }.into()
                }
                Message::Query(_) => {
                    let advert = AdvertBody { output, ..raw::advert(7) };
                    let advert = Signed::<Advert>::claim(advert, now, until, nonce, &base.key);
                    Advertised { advert: ByteBuf::from(advert.unwrap().bytes()) }.into()
                }
                Message::Asked(asked) => {
                    let ask = Signed::<Ask>::decode(&asked.ask).unwrap();
                    let deadline = ask.body.deadline;
                    let offer = OfferBody {
                        aud: ask.issuer(),
                        ask: ask.cid(),
                        service: echo(),
                        price: 7,
                        unit: play(),
                        mints: vec![mint_url()],
                        terms: base.wallet.terms(&Mode::Prepaid, ask.issuer(), deadline).unwrap(),
                        max_proofs: 32,
                        deadline,
                        input: None,
                        output,
                    };
                    let offer = Signed::<Offer>::claim(offer, now, until, nonce, &base.key);
                    Offered { offer: ByteBuf::from(offer.unwrap().bytes()), also: vec![] }.into()
                }
                Message::Awarded(message) => {
                    let deal = intake::read(&message, frame.from, me, now, &NoRevocations).unwrap();
                    let salt = receipt::Salt::from([9; 32]);
                    let body = seller::receipt_body(&deal, Ok(receipt::commit(&salt, &self.delivers)), None, now, now);
                    let receipt = Signed::<Receipt>::claim(body, now, None, nonce, &base.key).unwrap();
                    let data = Payload::Inline(ByteBuf::from(self.delivers.clone()));
                    let output = Some(Output { salt, data });
                    Delivered {
                        award: deal.id(),
                        receipt: ByteBuf::from(receipt.bytes()),
                        output,
                        sealed: None,
                        evidence: None,
                    }
                    .into()
                }
                _ => continue,
            };
            base.network.send(frame.from, answer.encode().unwrap().into()).await.unwrap();
        }
    }
}

/// A buyer with 1 000 to spend, and that seller connected to it.
async fn buyer_of(seller: Promising) -> (Node, AgentId) {
    let bank = Bank::open().await;
    let buyer = Plan::new(&bank, 1).start().await;
    let base = Base::start(Plan::joining(&bank, 2, &buyer)).await;
    let id = base.key.id();
    base.network.dial(buyer.address.clone()).await.unwrap();
    tokio::spawn(seller.sell(base));
    buyer.fund(1_000).await;
    (buyer, id)
}

fn history(buyer: &Node, seller: AgentId) -> SellerHistory {
    buyer.store.read(|r| r.get(SELLER_HISTORY, Key::of(seller))).unwrap().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_breaks_its_promise_is_told_counted_and_shown_by_the_bundle() {
    let (buyer, seller) = buyer_of(Promising::of(SCHEMA, b"[]")).await;
    let mut events = buyer.events.subscribe();
    let hired = buyer.hire(of(seller), b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!(hired.ended.money, buyer::Money::Paid);
    let view = buyer.trade.show(hired.deal.id()).unwrap().unwrap();
    let Some(OutputCheck::Invalid(why)) = &view.output_check else { panic!("{:?}", view.output_check) };
    assert!(why.contains("object"), "{why}");
    loop {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!("nothing is told") };
        if let Event::OutputInvalid { peer, trade, .. } = &heard.event {
            assert_eq!((*peer, *trade), (seller, hired.deal.id()));
            break;
        }
    }
    let counted = history(&buyer, seller);
    assert_eq!((counted.delivered, counted.invalid, counted.failed), (0, 1, 0));

    let evidence = buyer.trade.evidence(hired.deal.id()).unwrap().unwrap();
    let report = audit::verify(&audit::bundle(&evidence)).unwrap();
    let promised = report.hires[0].promised.as_ref().unwrap();
    assert_eq!(promised.text.as_deref(), Some(SCHEMA));
    assert!(report.hires[0].is_output(&view.salt.unwrap(), b"[]"));

    // It outlives a restart, and goes with the task.
    let plan = buyer.plan.clone();
    buyer.runtime.shutdown().await;
    drop(buyer);
    plan.disk.crash();
    let buyer = plan.start().await;
    let again = buyer.trade.show(hired.deal.id()).unwrap().unwrap();
    assert_eq!((again.output_check, history(&buyer, seller).invalid), (view.output_check, 1));
    let mut plan = buyer.plan.clone();
    buyer.runtime.shutdown().await;
    drop(buyer);
    plan.disk.crash();
    (plan.now, plan.config.max_payload_mib) = (yesterday().saturating_add(40 * 86_400), 0);
    let buyer = plan.start().await;
    buyer.housekeeper().tidy().await.unwrap();
    let output = buyer.trade.output(hired.deal.id()).unwrap();
    assert!(matches!(output, Some(Data::Inline(bytes)) if bytes == "[]"), "without its bytes nothing is shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_keeps_its_promise_is_delivered_and_one_that_is_no_json_is_not_as_promised() {
    for (output, is_valid) in [(&br#"{"answer":42}"#[..], true), (b"plain words", false)] {
        let (buyer, seller) = buyer_of(Promising::of(SCHEMA, output)).await;
        let hired = buyer.hire(of(seller), b"hello").await.unwrap();
        let view = buyer.trade.show(hired.deal.id()).unwrap().unwrap();
        assert_eq!(view.output_check == Some(OutputCheck::Valid), is_valid, "{:?}", view.output_check);
        let counted = history(&buyer, seller);
        assert_eq!((counted.delivered, counted.invalid), (u64::from(is_valid), u64::from(!is_valid)));
    }
}

/// Nothing is locked for what can't be checked: whoever doesn't give the schema, or gives another, or one that would take
/// for ever, isn't awarded the task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_whose_promise_can_not_be_checked_is_not_awarded_the_task() {
    let endless = r##"{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"items":{"$ref":"#/$defs/a"}},{"items":{"$ref":"#/$defs/a"}}]}}}"##;
    let pattern = r#"{"type":"string","pattern":"(\\pL{900}){900}"}"#;
    let none = Promising { gives: None, ..Promising::of(SCHEMA, b"{}") };
    let other = Promising { gives: Some("{}".into()), ..Promising::of(SCHEMA, b"{}") };
    let cases = [
        (none, "doesn't give the schema"),
        (other, "doesn't answer"),
        (Promising::of(endless, b"[]"), "refers to itself"),
        (Promising::of(pattern, br#""a""#), "can't be used"),
        (Promising::of("{", b"{}"), "not JSON"),
    ];
    for (promising, why) in cases {
        let (buyer, seller) = buyer_of(promising).await;
        let error = buyer.hire(of(seller), b"hello").await.unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
        assert_eq!(buyer.balance().await, 1_000);
        assert_eq!(history(&buyer, seller), SellerHistory::default());
        assert!(buyer.store.read(|r| r.range(PROMISES, KeyRange::all(), 1)).unwrap().is_empty());
        if why == "doesn't answer" {
            assert!(hostile::points(&buyer, seller).await > 0, "a text of another hash is its sender's fault");
        }
    }
}

/// A check that would cost too much isn't made, and the output is neither good nor bad for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_would_take_too_long_to_check_is_said_to_be_unchecked() {
    let parts = |part: &str| vec![part; 40].join(",");
    let mut schema = String::from(r##"{"items":{"$ref":"#/$defs/b"},"$defs":{"##);
    write!(
        schema,
        r##""a":{{"allOf":[{}]}},"b":{{"allOf":[{}]}}}}}}"##,
        parts("{}"),
        parts(r##"{"$ref":"#/$defs/a"}"##)
    )
    .unwrap();
    let values = format!("[{}]", vec!["1"; 31_000].join(","));
    let (buyer, seller) = buyer_of(Promising::of(&schema, values.as_bytes())).await;
    let hired = buyer.hire(of(seller), b"hello").await.unwrap();
    let view = buyer.trade.show(hired.deal.id()).unwrap().unwrap();
    let Some(OutputCheck::Unchecked(why)) = &view.output_check else { panic!("{:?}", view.output_check) };
    assert!(why.contains("too large to be checked"), "{why}");
    let counted = history(&buyer, seller);
    assert_eq!((counted.delivered, counted.invalid), (1, 0));
}
