//! A node of this version among peers of a later one, whose statements and frames hold more than it knows: they trade, they pass
//! gossip on, and nobody is banned or charged.

use std::collections::BTreeMap;

use guilder_protocol::{
    acceptance::AcceptanceBody,
    cbor,
    content::ContentId,
    envelope::{Signed, Statement},
    fault::Fault,
    market::{Advert, AdvertBody, Offer, OfferBody},
    receipt::{self, Receipt},
    settlement::Mode,
    trade::{Deal, intake},
    ucan::chain::NoRevocations,
    wire::{
        Accepted, Advertised, Asked, Delivered, Message, Offered, Output, Payload, Progress, Query, Reason, Refused,
    },
};
use ipld_core::{ipld, ipld::Ipld};
use serde_bytes::ByteBuf;

use super::{
    hostile::{gossip, points, refused, shop},
    raw::Raw,
    *,
};

const ADDED: &str = "zz-later";

fn extend(map: &mut Ipld) {
    let Ipld::Map(map) = map else { panic!("no map") };
    map.insert(ADDED.into(), ipld!({ "list": [1, { "deep": null }] }));
}

/// The statement as a later version writes it: with more in its payload and in `part` of it.
fn later<T: Statement>(signed: &Signed<T>, part: &str, crit: bool, key: &AgentKey) -> Vec<u8> {
    let mut payload: BTreeMap<String, Ipld> = cbor::decode(&cbor::encode(signed.payload())).unwrap();
    extend(payload.get_mut(part).unwrap());
    let is_claim = part == "body";
    if let Some(Ipld::Map(body)) = payload.get_mut(part)
        && let Some(Ipld::List(modes)) = body.get_mut("modes")
    {
        modes.push("later".to_owned().into());
    }
    if is_claim {
        payload.insert(ADDED.into(), ipld!(1));
    }
    if crit {
        let holder = if is_claim { None } else { payload.get_mut(part) };
        match holder {
            Some(Ipld::Map(args)) => args.insert("crit".into(), ipld!(["zz-later"])),
            _ => payload.insert("crit".into(), ipld!(["zz-later"])),
        };
    }
    let tag = if is_claim { T::TAG.replace("@1.0.0", "@1.1.0") } else { T::TAG.to_owned() };
    let header = Ipld::Bytes(vec![0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71]);
    let signed = cbor::encode(&BTreeMap::from([("h", header), (&tag, Ipld::Map(payload))]));
    [&[0x82, 0x58, 64][..], &key.sign(&signed), &signed].concat()
}

impl Raw {
    /// Sends a message as a later version writes it.
    async fn send_later(&self, to: AgentId, message: impl Into<Message>) {
        let (kind, mut body): (u64, Ipld) = cbor::decode(&message.into().encode().unwrap()).unwrap();
        extend(&mut body);
        self.base.network.send(to, cbor::encode(&(kind, body)).into()).await.unwrap();
    }

    async fn say_later(&mut self, message: impl Into<Message>) -> Message {
        self.send_later(self.seller, message).await;
        self.hear().await
    }

    fn claim<B: guilder_protocol::claim::Body>(&self, body: B) -> Signed<guilder_protocol::claim::Claim<B>> {
        let (now, nonce) = (self.now(), self.base.runtime.random().into());
        Signed::claim(body, now, Some(now.saturating_add(60)), nonce, &self.base.key).unwrap()
    }

    fn advert(&self) -> Signed<Advert> {
        self.claim(AdvertBody {
            service: echo(),
            description: String::new(),
            price: 7,
            unit: play(),
            mints: vec![mint_url()],
            modes: vec![Mode::Prepaid],
            input: None,
            output: None,
            max_input: 1_000,
            max_output: 1_000,
            time_limit: 1,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_buyer_buys_and_what_it_calls_critical_is_refused_without_blame() {
    let (_bank, seller, mut raw) = shop().await;
    let (me, key) = (raw.base.key.id(), raw.base.key.clone());
    assert!(matches!(raw.say_later(Query { service: echo(), schema: None }).await, Message::Advertised(_)));

    let ask = raw.ask(|_| {});
    let critical = Asked { ask: ByteBuf::from(later(&ask, "body", true, &key)) };
    assert_eq!(refused(&raw.say_later(critical).await), Reason::NotUnderstood);
    let asked = later(&ask, "body", false, &key);
    let Message::Offered(offered) = raw.say_later(Asked { ask: ByteBuf::from(asked.clone()) }).await else { panic!() };
    let ask = Signed::<guilder_protocol::market::Ask>::decode(&asked).unwrap();
    let offer = Signed::<Offer>::decode(&offered.offer).unwrap();
    assert_eq!(offer.body.ask, cbor::cid_of(&asked), "it answers the bytes that came");

    let money = raw.lock(&offer).await;
    let Message::Awarded(today) = raw.award(&(ask.clone(), offer.clone()), &money, |_| {}).message() else { panic!() };
    let award = raw.award(&(ask, offer), &money, |_| {}).award;
    let with = |award: Vec<u8>| guilder_protocol::wire::Awarded { award: ByteBuf::from(award), ..today.clone() };
    let critical = with(later(award.invocation(), "args", true, &key));
    assert_eq!(refused(&raw.say_later(critical).await), Reason::NotUnderstood);
    let mut unknown = with(later(award.invocation(), "args", false, &key));
    unknown.input = Payload::Other("later".parse().unwrap());
    assert_eq!(refused(&raw.say_later(unknown).await), Reason::NotUnderstood);

    raw.send_later(seller.id(), with(later(award.invocation(), "args", false, &key))).await;
    let delivered = super::hostile::delivery(&mut raw).await;
    assert!(matches!(delivered.output, Some(Output { data: Payload::Inline(data), .. }) if data[..] == *b"hello"));
    until(|| async { seller.spendable().await == 7 }).await;

    // A kind of frame, and a reason, that nobody knows yet.
    let frame = cbor::encode(&(99_u64, ipld!({ "later": 1 })));
    raw.base.network.send(seller.id(), frame.into()).await.unwrap();
    raw.send_later(seller.id(), Refused { award: award.cid(), reason: Reason::Other(9_999) }).await;
    assert!(matches!(raw.say_later(Query { service: echo(), schema: None }).await, Message::Advertised(_)));
    assert_eq!(points(&seller, me).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_adverts_are_passed_on_byte_for_byte() {
    let (bank, seller, raw) = shop().await;
    let mut listener = Raw::start(&bank, 3, &seller).await;
    for peer in [&raw, &listener] {
        peer.base.network.subscribe(&echo()).await.unwrap();
    }
    let (me, key) = (raw.base.key.id(), raw.base.key.clone());
    let plain = passed_on(&raw, &mut listener, || later(&raw.advert(), "body", false, &key)).await;
    until(|| async { seller.catalogue.known() == 1 }).await;

    // What must be understood is passed on, too, and ends what its seller said before.
    let said = Signed::<Advert>::decode(&plain).unwrap().iat;
    until(|| async { raw.now() > said }).await;
    let critical = passed_on(&raw, &mut listener, || later(&raw.advert(), "body", true, &key)).await;
    assert_ne!(critical, plain);
    until(|| async { seller.catalogue.known() == 0 }).await;
    assert_eq!((points(&seller, me).await, points(&seller, listener.base.key.id()).await), (0, 0));
}

/// What the listener hears by way of another node, which is what was said, to the byte. Said anew until it is: a node that is busy,
/// or doesn't know yet that the listener follows the topic, passes nothing on.
async fn passed_on(raw: &Raw, listener: &mut Raw, advert: impl Fn() -> Vec<u8>) -> Vec<u8> {
    let mut said = Vec::new();
    loop {
        said.push(advert());
        gossip(raw, said.last().unwrap()).await;
        if let Ok(heard) = timeout(Duration::from_secs(5), heard_of(listener, raw.base.key.id())).await {
            assert!(said.contains(&heard));
            return heard;
        }
    }
}

/// The next gossip of that issuer.
async fn heard_of(listener: &mut Raw, issuer: AgentId) -> Vec<u8> {
    loop {
        let message = in_time(listener.base.inbound.gossip.recv()).await.unwrap();
        let issued = guilder_protocol::envelope::Relayed::<Advert>::decode(&message.bytes);
        listener.base.network.validate(message.id, crate::network::Verdict::Accept).await;
        if issued.is_ok_and(|advert| advert.payload().iss == issuer) {
            return message.bytes.to_vec();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_buys_from_a_later_seller() {
    let bank = Bank::open().await;
    let buyer = Plan::new(&bank, 2).start().await;
    buyer.fund(100).await;
    let mut raw = Raw::start(&bank, 1, &buyer).await;
    let (me, key) = (raw.base.key.id(), raw.base.key.clone());
    let handle = buyer.begin(of(me), b"hello").await;
    let hire = tokio::spawn(in_time(handle.done()));
    let deal = sell_later(&mut raw, buyer.id(), &key, None).await;
    let hired = hire.await.unwrap().unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Delivered { late: false });
    assert_eq!((output(&hired), hired.deal.id()), (Bytes::from_static(b"hello"), deal.id()));
    let receipt = hired.ended.receipt.unwrap();
    assert!(receipt.bytes().windows(ADDED.len()).any(|bytes| bytes == ADDED.as_bytes()), "kept as it came");
    assert_eq!(points(&buyer, me).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_only_a_later_version_understands_ends_the_hire_at_once_and_says_so() {
    let bank = Bank::open().await;
    let buyer = Plan::new(&bank, 2).start().await;
    buyer.fund(100).await;
    let mut raw = Raw::start(&bank, 1, &buyer).await;
    let (me, key) = (raw.base.key.id(), raw.base.key.clone());
    let handle = buyer.begin(Hire { deadline_secs: Some(3_000), ..of(me) }, b"hello").await;
    let hire = tokio::spawn(in_time(handle.done()));
    sell_later(&mut raw, buyer.id(), &key, Some("later")).await;
    let hired = hire.await.unwrap().unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::NotUnderstood);
    assert_eq!((hired.ended.outcome.fault(), hired.ended.money), (Some(Fault::Incompatible), buyer::Money::Waiting));
    let view = buyer.trade.show(hired.deal.id()).unwrap().unwrap();
    assert!(view.failure.is_some_and(|(_, reason)| reason.contains("later version")), "{:?}", view.state);
    assert_eq!(points(&buyer, me).await, 0);
}

/// Sells one task as a later version would; with an outcome, if one is given, that only that version knows.
async fn sell_later(raw: &mut Raw, buyer: AgentId, key: &AgentKey, outcome: Option<&str>) -> Deal {
    let salt = receipt::Salt::from([9; 32]);
    let mut advert = raw.advert();
    loop {
        match raw.hear().await {
            Message::Query(_) => {
                advert = raw.advert();
                let advert = ByteBuf::from(later(&advert, "body", false, key));
                raw.send_later(buyer, Advertised { advert }).await;
            }
            Message::Asked(asked) => {
                let ask = Signed::<guilder_protocol::market::Ask>::decode(&asked.ask).unwrap();
                let (body, now) = (&advert.body, raw.now());
                let offer = raw.claim(OfferBody {
                    aud: ask.issuer(),
                    ask: ask.cid(),
                    service: body.service.clone(),
                    price: body.price,
                    unit: body.unit.clone(),
                    mints: body.mints.clone(),
                    terms: raw.base.wallet.terms(&Mode::Prepaid, ask.issuer(), now.saturating_add(3_600)).unwrap(),
                    max_proofs: 32,
                    deadline: ask.body.deadline,
                    input: None,
                    output: None,
                });
                let offer = ByteBuf::from(later(&offer, "body", false, key));
                raw.send_later(buyer, Offered { offer, also: vec![] }).await;
            }
            Message::Awarded(awarded) => {
                let deal = intake::read(&awarded, buyer, key.id(), raw.now(), &NoRevocations).unwrap();
                let award = deal.id();
                assert_eq!(deal.award.args().input, ContentId::of(b"hello").hash);
                let acceptance = raw.claim(AcceptanceBody::of(&deal));
                let acceptance = ByteBuf::from(later(&acceptance, "body", false, key));
                raw.send_later(buyer, Accepted { award, acceptance }).await;
                raw.send_later(buyer, Progress { award, permille: None, note: "later".into(), partial: String::new() })
                    .await;
                raw.base.network.send(buyer, cbor::encode(&(99_u64, award)).into()).await.unwrap();
                let out = Ok(receipt::commit(&salt, b"hello"));
                let mut body = seller::receipt_body(&deal, out, None, raw.now(), raw.now());
                if let Some(outcome) = outcome {
                    body.out = receipt::Outcome::Other(outcome.parse().unwrap());
                }
                let receipt: Signed<Receipt> = raw.claim(body);
                let receipt = ByteBuf::from(later(&receipt, "body", false, key));
                let output = Some(Output { salt, data: Payload::Inline(ByteBuf::from(&b"hello"[..])) });
                raw.send_later(buyer, Delivered { award, receipt, output, sealed: None, evidence: None }).await;
                return deal;
            }
            other => panic!("{other:?}"),
        }
    }
}
