//! Buyers that cheat, one message at a time, and what the seller makes of it.

use guilder_protocol::{
    audit::fraud::{self, Finding},
    cbor::cid_of,
    envelope::Signed,
    market::{Advert, AdvertBody, Ask, Offer, OfferBody, ServiceName, Withdrawal, WithdrawalBody, schema_hash},
    receipt::FailureCode,
    settlement::Mode,
    trade::intake,
    ucan::chain::NoRevocations,
    wire::{Advertised, Asked, Awarded, Message, Offered, Payload, Query, Reason, Refused, Schema, Status},
};
use serde_bytes::ByteBuf;

use super::{raw::Raw, *};
use crate::{
    events::{Event, Heard},
    store::Key,
    trade::{
        limits::{MAX_NO_INPUT, MAX_NO_RELEASE, MAX_SHARED_UNRELEASED_PER_BUYER, SCHEMA_QUERIES},
        records::{BUYER_HISTORY, BuyerHistory},
    },
    wallet::LockContext,
};

pub(super) async fn shop() -> (Bank, Node, Raw) {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    seller.sell(7, None).await;
    let raw = Raw::start(&bank, 1, &seller).await;
    (bank, seller, raw)
}

pub(super) fn refused(message: &Message) -> Reason {
    match message {
        Message::Refused(refused) => refused.reason,
        Message::Declined(declined) => declined.reason,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn points(seller: &Node, of: AgentId) -> u32 {
    let peers = seller.network.peers().await;
    peers.into_iter().find(|peer| peer.agent == of).map_or(100, |peer| peer.points)
}

/// Takes what comes until the delivery.
pub(super) async fn delivery(raw: &mut Raw) -> guilder_protocol::wire::Delivered {
    loop {
        match raw.hear().await {
            Message::Delivered(delivered) => return delivered,
            Message::Accepted(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_is_awarded_once_and_a_proof_pays_once() {
    let (_bank, seller, mut raw) = shop().await;
    let (first, second) = (raw.offer().await, raw.offer().await);
    let (money, other_money) = (raw.lock(&first.1).await, raw.lock(&first.1).await);
    let deal = raw.award(&first, &money, |_| {});
    raw.send(deal.message()).await;
    let receipt = delivery(&mut raw).await.receipt;

    // The same again: the same answer, no second run, no second payment.
    raw.send(deal.message()).await;
    assert_eq!(delivery(&mut raw).await.receipt, receipt);
    raw.send(Status { award: deal.id(), receipt: None }).await;
    assert_eq!(delivery(&mut raw).await.receipt, receipt);
    raw.send(raw.cancel(&deal)).await;
    assert_eq!(delivery(&mut raw).await.receipt, receipt);

    // The same offer with other money; other money with the same offer's proofs.
    let again = raw.award(&first, &other_money, |_| {});
    assert_eq!(refused(&raw.say(again.message()).await), Reason::OfferTaken);
    let reuse = raw.award(&second, &money, |_| {});
    assert_eq!(refused(&raw.say(reuse.message()).await), Reason::ProofReused);
    // Refused once is refused for good, whatever has changed meanwhile.
    assert_eq!(refused(&raw.say(reuse.message()).await), Reason::ProofReused);
    until(|| async { seller.spendable().await == 7 }).await;
    assert_eq!(seller.trade.tasks(Page::default()).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awards_that_depart_from_the_offer_are_refused() {
    let (_bank, seller, mut raw) = shop().await;
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    let cheap = raw.award(&offered, &money, |args| (args.price, args.spent) = (6, 6));
    assert_eq!(refused(&raw.say(cheap.message()).await), Reason::OfferMismatch);
    let late = raw.award(&offered, &money, |args| args.deadline = args.deadline.saturating_add(1));
    assert_eq!(refused(&raw.say(late.message()).await), Reason::OfferMismatch);
    let other_input = raw.award(&offered, &money, |args| args.input = [1; 32].into());
    assert_eq!(refused(&raw.say(other_input.message()).await), Reason::InputMismatch);
    let mut stray = raw.award(&offered, &money, |_| {});
    stray.chain = vec![];
    let Message::Awarded(mut message) = stray.message() else { panic!() };
    message.proofs.push(ByteBuf::from(offered.1.bytes()));
    assert_eq!(refused(&raw.say(Message::from(message)).await), Reason::BadChain);
    assert!(seller.trade.tasks(Page::default()).unwrap().is_empty());
    assert!(points(&seller, raw.base.key.id()).await >= 70, "each costs its sender");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mis_signed_awards_are_refused() {
    let (_bank, seller, mut raw) = shop().await;
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    let Message::Awarded(good) = raw.award(&offered, &money, |_| {}).message() else { panic!() };
    let torn = |change: fn(&mut Awarded)| {
        let mut torn = good.clone();
        change(&mut torn);
        Message::from(torn)
    };
    assert_eq!(refused(&raw.say(torn(|m| m.award[10] ^= 1)).await), Reason::Malformed);
    assert_eq!(refused(&raw.say(torn(|m| m.offer[10] ^= 1)).await), Reason::OfferUnknown);
    assert_eq!(refused(&raw.say(torn(|m| m.ask[10] ^= 1)).await), Reason::OfferMismatch);
    assert_eq!(seller.trade.open_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_is_not_locked_as_agreed_is_refused() {
    let (_bank, seller, mut raw) = shop().await;
    let (offered, other) = (raw.offer().await, raw.offer().await);
    let money = raw.lock(&offered.1).await;
    // An amount that the mint didn't sign; a proof less; a secret that is no lock; another refund key.
    let mut forged = money.clone();
    raw::prepaid(&mut forged.0).proofs[0].amount *= 2;
    let deal = raw.award(&offered, &forged, |_| {});
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::BadLock);
    let mut bare = money.clone();
    raw::prepaid(&mut bare.0).proofs[0].secret = "no lock at all".into();
    let deal = raw.award(&other, &bare, |_| {});
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::BadLock);
    // The same offer can still be awarded with good money: nothing was reserved.
    let deal = raw.award(&offered, &money, |_| {});
    raw.send(deal.message()).await;
    assert!(delivery(&mut raw).await.output.is_some());
    assert_eq!(seller.trade.tasks(Page::default()).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_offer_is_not_taken() {
    let (_bank, seller, mut raw) = {
        let bank = Bank::open().await;
        let mut plan = Plan::new(&bank, 2);
        // Offers of a node whose clock was behind by ten minutes.
        plan.now = yesterday().saturating_sub(600);
        let seller = plan.start().await;
        seller.sell(7, None).await;
        let raw = Raw::start(&bank, 1, &seller).await;
        (bank, seller, raw)
    };
    let ask = raw.ask_dated(raw.now().saturating_sub(600), |_| {});
    let Message::Offered(offered) = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await else { panic!() };
    let offered = (ask, Signed::decode(&offered.offer).unwrap());
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    let mut plan = seller.plan.clone();
    seller.runtime.shutdown().await;
    drop(seller);
    plan.disk.crash();
    plan.now = yesterday();
    let seller = plan.start().await;
    raw.base.network.dial(seller.address.clone()).await.unwrap();
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::Untimely);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asks_are_declined_with_their_reason() {
    let (_bank, seller, mut raw) = shop().await;
    let ask = |ask: Signed<Ask>| Asked { ask: ByteBuf::from(ask.bytes()) };
    for (message, reason) in [
        (raw.ask(|ask| ask.service = "text.other".parse().unwrap()), Reason::UnknownService),
        (raw.ask(|ask| ask.max_price = 6), Reason::PriceTooLow),
        (raw.ask(|ask| ask.unit = "sat".parse().unwrap()), Reason::WrongUnit),
        (raw.ask(|ask| ask.mints = vec!["https://mint.example".parse().unwrap()]), Reason::NoCommonMint),
        (raw.ask(|ask| ask.input_size = 1 << 30), Reason::InputTooLarge),
        (raw.ask(|ask| ask.deadline = yesterday().saturating_sub(5)), Reason::TooSoon),
        (raw.ask_dated(yesterday().saturating_sub(300), |_| {}), Reason::Untimely),
        (raw.ask_dated(yesterday().saturating_add(300), |_| {}), Reason::Untimely),
    ] {
        assert_eq!(refused(&raw.say(ask(message)).await), reason);
    }
    // Another's ask, passed on as one's own.
    let foreign = AgentKey::from_seed(&[77; 32]);
    let body = raw.ask(|_| {}).body.clone();
    let stolen = Signed::claim(body, raw.now(), Some(raw.now().saturating_add(60)), [0; 16].into(), &foreign).unwrap();
    assert_eq!(refused(&raw.say(ask(stolen)).await), Reason::Malformed);
    let mut torn = ask(raw.ask(|_| {}));
    torn.ask[20] ^= 1;
    assert_eq!(refused(&raw.say(torn).await), Reason::Malformed);
    assert!(points(&seller, raw.base.key.id()).await >= 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_that_names_only_the_buyers_own_mint_is_declined() {
    let (_bank, seller, mut raw) = shop().await;
    let own = MintUrl::of_peer(raw.base.key.id());
    seller.wallet.add_mint(&own).await.unwrap();
    let ask = raw.ask(|ask| ask.mints = vec![own.clone()]);
    let answer = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await;
    assert_eq!(refused(&answer), Reason::NoCommonMint);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_floods_end_in_a_ban() {
    let (_bank, seller, raw) = shop().await;
    until(|| async {
        // Those after the ban find no connection.
        let _ = raw.base.network.send(seller.id(), Bytes::from_static(&[0x82, 1, 2])).await;
        !seller.network.is_connected(raw.base.key.id())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_is_told_so() {
    let bank = Bank::open().await;
    let mut plan = Plan::new(&bank, 2);
    plan.config.asks = Rate { per_sec: 0, burst: 2 };
    let seller = plan.start().await;
    seller.sell(7, None).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    raw.offer().await;
    raw.offer().await;
    let ask = raw.ask(|_| {});
    let answer = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await;
    assert_eq!(refused(&answer), Reason::RateLimited);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_part_in_a_trade_gets_no_answer_about_it() {
    let (bank, seller, mut raw) = shop().await;
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    raw.send(deal.message()).await;
    delivery(&mut raw).await;
    let mut stranger = Raw::start(&bank, 3, &seller).await;
    stranger.send(Status { award: deal.id(), receipt: None }).await;
    stranger.hears_nothing().await;
    assert!(points(&seller, stranger.base.key.id()).await >= 20);
    // Another's award, sent again by a stranger.
    stranger.send(deal.message()).await;
    stranger.hears_nothing().await;
    // What nobody knows is unknown.
    let award = cid_of(b"nothing");
    assert!(
        matches!(stranger.say(Status { award, receipt: None }).await, Message::Unknown(unknown) if unknown.award == award)
    );
    assert!(matches!(stranger.say(Query { service: echo(), schema: None }).await, Message::Advertised(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_never_comes_is_the_buyers_failure() {
    let (_bank, seller, mut raw) = shop().await;
    let mut events = seller.events.subscribe();
    let ask = raw.ask(|ask| ask.deadline = raw.now().saturating_add(3));
    let Message::Offered(offered) = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await else { panic!() };
    let offered = (ask, Signed::decode(&offered.offer).unwrap());
    let money = raw.lock(&offered.1).await;
    let mut deal = raw.award(&offered, &money, |_| {});
    // The raw buyer serves no contents.
    deal.input = Payload::Content(guilder_protocol::content::ContentId::of(b"hello"));
    raw.send(deal.message()).await;
    let receipt = delivery(&mut raw).await.receipt;
    let receipt = Signed::<guilder_protocol::receipt::Receipt>::decode(&receipt).unwrap();
    let guilder_protocol::receipt::Outcome::Error(error) = &receipt.body.out else { panic!("{receipt:?}") };
    assert_eq!(error.code, FailureCode::InputMissing);
    // It is told, and costs the buyer.
    loop {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!("nothing is told") };
        if matches!(&heard.event, Event::Cheated { peer, .. } if *peer == raw.base.key.id()) {
            break;
        }
    }
    until(|| async { points(&seller, raw.base.key.id()).await > 0 }).await;
    let view = seller.trade.show(deal.id()).unwrap().unwrap();
    assert_eq!(view.money, Some(MoneyView::Sold(seller::Money::Voided)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_given_by_its_hash_and_only_so_often() {
    let (bank, text) = (Bank::open().await, r#"{"type":"string"}"#);
    let seller = Plan::new(&bank, 2).start().await;
    seller.sell_as(Definition { input: Some(text.into()), ..definition(7) }, None).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    let query = |hash| Query { service: echo(), schema: Some(hash) };
    let given = |message| match message {
        Message::Schema(schema) => schema.text,
        other => panic!("{other:?}"),
    };
    let (_, offer) = raw.offer().await;
    assert_eq!((offer.body.input, offer.body.output), (Some(schema_hash(text)), None));
    assert_eq!(given(raw.say(query(schema_hash(text))).await).as_deref(), Some(text));
    assert_eq!(given(raw.say(query([1; 32].into())).await), None);
    // More than come back while they are sent.
    for _ in 0..4 * SCHEMA_QUERIES.burst {
        raw.send(query(schema_hash(text))).await;
    }
    until(|| async { points(&seller, raw.base.key.id()).await > 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_with_another_hash_costs_its_sender() {
    let (_bank, seller, raw) = shop().await;
    let me = raw.base.key.id();
    raw.send(Schema { service: echo(), hash: schema_hash("{}"), text: Some("{ }".into()) }).await;
    until(|| async { points(&seller, me).await >= 20 }).await;
}

/// Publishes until the seller listens.
pub(super) async fn gossip(raw: &Raw, statement: &[u8]) {
    let published = || async { raw.base.network.publish(&echo(), statement.to_vec().into()).await.is_ok() };
    until(published).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_is_believed_of_its_issuer_alone_and_forgers_pay() {
    let (_bank, seller, raw) = shop().await;
    raw.base.network.subscribe(&echo()).await.unwrap();
    let (me, now) = (raw.base.key.id(), raw.now());
    let advert = |service: &ServiceName, made: Timestamp, life_secs: u64| {
        let body = AdvertBody { service: service.clone(), ..raw::advert(7) };
        let nonce = raw.base.runtime.random().into();
        Signed::<Advert>::claim(body, made, Some(made.saturating_add(life_secs)), nonce, &raw.base.key).unwrap()
    };
    let good = advert(&echo(), now, 600);
    gossip(&raw, good.bytes()).await;
    until(|| async { seller.catalogue.known() == 1 }).await;
    let body = WithdrawalBody { service: echo(), until: now };
    let nonce = raw.base.runtime.random().into();
    let gone = Signed::<Withdrawal>::claim(body, now, Some(now.saturating_add(600)), nonce, &raw.base.key).unwrap();
    gossip(&raw, gone.bytes()).await;
    until(|| async { seller.catalogue.known() == 0 }).await;
    gossip(&raw, advert(&echo(), now.saturating_add(10), 600).bytes()).await;
    until(|| async { seller.catalogue.known() == 1 }).await;

    // What follows is forged, and soon nobody listens to who forwards it.
    // Past its time: our clock may be wrong, so nobody pays for it.
    gossip(&raw, advert(&echo(), now.saturating_sub(1_000), 600).bytes()).await;
    // A torn signature; what is no statement; another service's advert: each costs its forwarder.
    let mut before = points(&seller, me).await;
    let mut torn = advert(&echo(), now.saturating_add(20), 600).bytes().to_vec();
    torn[10] ^= 1;
    let other = advert(&"text.other".parse().unwrap(), now, 600);
    for forged in [&torn[..], b"nonsense", other.bytes()] {
        gossip(&raw, forged).await;
        until(|| async { points(&seller, me).await > before }).await;
        before = points(&seller, me).await;
        assert_eq!(seller.catalogue.known(), 1);
    }
}

/// A flood of awards whose money doesn't hold is refused so often and then dropped: it costs its sender, and no commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awards_that_are_refused_over_and_over_end_in_a_ban_and_cost_no_commits() {
    let (_bank, seller, mut raw) = shop().await;
    let offered = raw.offer().await;
    let mut forged = raw.lock(&offered.1).await;
    raw::prepaid(&mut forged.0).proofs[0].id = "00ffffffffffffff".parse().unwrap();
    let me = raw.base.key.id();
    let before = seller.store.commits();
    let mut sent = 0;
    while sent < 2_000 && raw.base.network.is_connected(seller.id()) {
        // Another nonce each time: another award.
        let deal = raw.award(&offered, &forged, |_| {});
        let frame = deal.message().encode().unwrap();
        if raw.base.network.send(seller.id(), frame.into()).await.is_err() {
            break;
        }
        sent += 1;
    }
    until(|| async { !seller.network.is_connected(me) }).await;
    assert_eq!(seller.trade.open_count(), 0);
    // As many as it was refused, the ban, and what goes on by itself.
    let commits = seller.store.commits() - before;
    assert!(commits < 200, "{commits} commits for {sent} awards");
}

/// A buyer of its own for each award, so that none is banned for another's.
async fn refusal(bank: &Bank, seller: &Node, seed: u8, spoil: fn(&mut Awarded)) -> Reason {
    let mut raw = Raw::start(bank, seed, seller).await;
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    let Message::Awarded(mut award) = raw.award(&offered, &money, |_| {}).message() else { panic!() };
    spoil(&mut award);
    refused(&raw.say(Message::from(award)).await)
}

/// What makes up each refusal of an award. The rest of the reasons are given to asks alone, come of what the wallet finds
/// (`awards::tests`), of a second award (`an_offer_is_awarded_once_and_a_proof_pays_once`), of a date
/// (`an_expired_offer_is_not_taken`), or of what a node of this version can't come to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cause_to_refuse_an_award_has_its_reason() {
    let (bank, seller, raw) = shop().await;
    drop(raw);
    let spoilt: [(Reason, fn(&mut Awarded)); 8] = [
        (Reason::Malformed, |award| award.award[10] ^= 1),
        (Reason::OfferUnknown, |award| award.offer[10] ^= 1),
        (Reason::OfferMismatch, |award| award.ask[10] ^= 1),
        (Reason::InputMismatch, |award| award.input = Payload::Inline(ByteBuf::from(&b"other"[..]))),
        (Reason::InputTooLarge, |award| {
            let id = guilder_protocol::content::ContentId::of(b"hello");
            award.input = Payload::Content(guilder_protocol::content::ContentId { size: u64::MAX, ..id });
        }),
        (Reason::BadChain, |award| award.proofs.push(award.offer.clone())),
        (Reason::BadLock, |award| raw::prepaid(&mut award.lock).proofs[0].amount *= 2),
        (Reason::MintUnavailable, |award| {
            raw::prepaid(&mut award.lock).proofs[0].id = "00ffffffffffffff".parse().unwrap();
        }),
    ];
    let mut given = std::collections::BTreeSet::new();
    for (seed, (reason, spoil)) in (10..).zip(spoilt) {
        assert_eq!(refusal(&bank, &seller, seed, spoil).await, reason);
        given.insert(reason);
    }
    // The award is as it should be; something else has changed since the offer.
    let mut raw = Raw::start(&bank, 30, &seller).await;
    let changes: [(Reason, u8); 4] =
        [(Reason::TooSoon, 0), (Reason::InputInvalid, 1), (Reason::UnknownService, 2), (Reason::ShuttingDown, 3)];
    for (reason, change) in changes {
        let in_a_moment = raw.now().saturating_add(2);
        let ask = raw.ask(|ask| ask.deadline = if change == 0 { in_a_moment } else { ask.deadline });
        let Message::Offered(offer) = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await else { panic!() };
        let offered = (ask, Signed::decode(&offer.offer).unwrap());
        let money = raw.lock(&offered.1).await;
        match change {
            // By the clock of who judges it.
            0 => until(|| async { seller.runtime.now() > in_a_moment }).await,
            1 => {
                let schema = Some(r#"{"type":"object"}"#.into());
                seller.catalogue.remove(&echo()).await.unwrap();
                seller.sell_as(Definition { input: schema, ..definition(7) }, None).await;
            }
            2 => seller.catalogue.remove(&echo()).await.unwrap(),
            _ => seller.trade.stop_taking(),
        }
        let deal = raw.award(&offered, &money, |_| {});
        assert_eq!(refused(&raw.say(deal.message()).await), reason);
        given.insert(reason);
        if change == 2 {
            seller.sell(7, None).await;
        }
    }
    let elsewhere = [
        Reason::Busy,
        Reason::PriceTooLow,
        Reason::WrongUnit,
        Reason::NoCommonMint,
        Reason::NoCommonMode,
        Reason::RateLimited,
        Reason::Untimely,
        Reason::OfferTaken,
        Reason::ProofReused,
        Reason::CreditLimit,
        Reason::Internal,
        Reason::Revoked,
        Reason::Cancelled,
        Reason::NotUnderstood,
        Reason::InputsMissed,
        Reason::NotReleased,
        Reason::SubcontractsUnpaid,
    ];
    for reason in Reason::ALL {
        assert_ne!(given.contains(reason), elsewhere.contains(reason), "{reason}");
    }
}

/// A seller that is at its limit refuses, however the offer came about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_award_beyond_what_a_service_works_on_is_refused_as_busy() {
    let bank = Bank::open().await;
    let mut plan = Plan::new(&bank, 2);
    plan.config.queue = 0;
    let seller = plan.start().await;
    seller.sell_as(Definition { concurrency: 1, ..definition(7) }, None).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    let (first, second) = (raw.offer().await, raw.offer().await);
    let (money, other) = (raw.lock(&first.1).await, raw.lock(&second.1).await);
    // Its input never comes, and holds the one place.
    let mut deal = raw.award(&first, &money, |_| {});
    deal.input = Payload::Content(guilder_protocol::content::ContentId::of(b"hello"));
    assert!(matches!(raw.say(deal.message()).await, Message::Accepted(_)));
    let deal = raw.award(&second, &other, |_| {});
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::Busy);
}

/// What an accusation's file shows to anybody who reads it.
pub(super) async fn accusation(buyer: &Node, trade: Cid) -> fraud::Proof {
    let accusation = buyer.trade.accusation(trade).unwrap().unwrap();
    let (mut file, mut bytes) = (accusation.file(&buyer.content).await.unwrap(), Vec::new());
    while let Some(piece) = file.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert!(fraud::is_proof(&bytes));
    fraud::verify(&bytes).unwrap()
}

/// A seller driven by hand: it refuses what it is awarded, and takes the money all the same.
async fn refuse_and_redeem(mut base: Base) {
    let (me, price) = (base.key.id(), 7);
    while let Some(frame) = base.inbound.frames.recv().await {
        let (now, nonce) = (base.runtime.now(), base.runtime.random().into());
        let answer: Message = match Message::decode(&frame.bytes).unwrap() {
            Message::Query(_) => {
                let advert = raw::advert(price);
                let advert = Signed::<Advert>::claim(advert, now, Some(now.saturating_add(600)), nonce, &base.key);
                Advertised { advert: ByteBuf::from(advert.unwrap().bytes()) }.into()
            }
            Message::Asked(asked) => {
                let ask = Signed::<Ask>::decode(&asked.ask).unwrap();
                let deadline = ask.body.deadline;
                let offer = OfferBody {
                    aud: ask.issuer(),
                    ask: ask.cid(),
                    service: echo(),
                    price,
                    unit: play(),
                    mints: vec![mint_url()],
                    terms: base.wallet.terms(&Mode::Prepaid, ask.issuer(), deadline).unwrap(),
                    max_proofs: 32,
                    deadline,
                    input: None,
                    output: None,
                };
                let offer = Signed::<Offer>::claim(offer, now, Some(now.saturating_add(60)), nonce, &base.key);
                Offered { offer: ByteBuf::from(offer.unwrap().bytes()), also: vec![] }.into()
            }
            Message::Awarded(message) => {
                let deal = intake::read(&message, frame.from, me, now, &NoRevocations).unwrap();
                let context = LockContext { mint: mint_url(), buyer: deal.buyer(), principal: deal.award.principal() };
                let demand = intake::lock_demand(&deal);
                let lock = base.wallet.check_lock(&context, &demand, &deal.lock).await.unwrap();
                let (wallet, trade) = (base.wallet.clone(), deal.id());
                let take = base.store.transact(move |w| {
                    wallet.reserve(w, &lock, trade)?;
                    wallet.redeemable(w, trade)
                });
                take.await.unwrap();
                base.wallet.nudge();
                let spendable = || base.wallet.balances().unwrap().iter().map(|balance| balance.spendable).sum::<u64>();
                until(|| async { spendable() > 0 }).await;
                Refused { award: trade, reason: Reason::Busy }.into()
            }
            _ => continue,
        };
        base.network.send(frame.from, answer.encode().unwrap().into()).await.unwrap();
    }
}

/// Told in words of its own, and once: each input that didn't come was charged when it didn't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_whose_inputs_never_came_is_told_so_and_not_charged_again() {
    let (_bank, seller, mut raw) = shop().await;
    let (buyer, at) = (raw.base.key.id(), seller.runtime.now());
    let history = BuyerHistory { no_input: MAX_NO_INPUT + 1, no_input_at: Some(at), ..Default::default() };
    seller.store.write(move |w| w.put(BUYER_HISTORY, Key::of(buyer), &history)).await.unwrap();
    let before = points(&seller, buyer).await;
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    let mut deal = raw.award(&offered, &money, |_| {});
    deal.input = Payload::Content(guilder_protocol::content::ContentId::of(b"hello"));
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::InputsMissed);
    // Small inputs travel with the award.
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    assert!(matches!(raw.say(deal.message()).await, Message::Accepted(_)));
    assert_eq!(points(&seller, buyer).await, before);
}

/// A buyer that never releases has so much done for nothing, and no more; it takes nobody's place, not even its own where it pays
/// in advance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_released_takes_no_other_trade_s_place() {
    let bank = Bank::open().await;
    let mut plan = Plan::new(&bank, 2);
    // Few places to work in: deliveries that waited there would leave none.
    plan.config.queue = 0;
    let seller = plan.start().await;
    seller.sell(7, None).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    let offered = raw.offer_in(Mode::Escrow).await;
    let money = raw.lock(&offered.1).await;
    for _ in 0..MAX_SHARED_UNRELEASED_PER_BUYER {
        let offered = raw.offer_in(Mode::Escrow).await;
        let money = raw.lock(&offered.1).await;
        let deal = raw.award(&offered, &money, |_| {});
        raw.send(deal.message()).await;
        assert!(delivery(&mut raw).await.sealed.is_some());
    }
    assert_eq!(seller.trade.open_count(), 0, "they wait in places of their own");
    // Neither an offer of before nor a new one gets more.
    let deal = raw.award(&offered, &money, |_| {});
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::CreditLimit);
    let ask = raw.ask(|ask| ask.modes = vec![Mode::Escrow]);
    assert_eq!(refused(&raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await), Reason::CreditLimit);
    // In advance it is served as before, and others in escrow, too.
    let ask = raw.ask(|ask| ask.modes = vec![Mode::Escrow, Mode::Prepaid]);
    let Message::Offered(offer) = raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await else { panic!() };
    let offered = (ask, Signed::<Offer>::decode(&offer.offer).unwrap());
    assert_eq!((offered.1.body.terms.mode(), offer.also.len()), (Mode::Prepaid, 0));
    let money = raw.lock(&offered.1).await;
    raw.send(raw.award(&offered, &money, |_| {}).message()).await;
    assert!(delivery(&mut raw).await.output.is_some());
    let mut other = Raw::start(&bank, 3, &seller).await;
    let offered = other.offer_in(Mode::Escrow).await;
    let money = other.lock(&offered.1).await;
    other.send(other.award(&offered, &money, |_| {}).message()).await;
    assert!(delivery(&mut other).await.sealed.is_some());
    // They are all there after a restart.
    let seller = seller.crash(Failpoint::default()).await;
    assert_eq!(seller.trade.unreleased.check(raw.base.key.id()), Err(Reason::CreditLimit));
    until(|| async { seller.trade.open_count() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_has_lately_released_nothing_is_told_so_and_pays_in_advance() {
    let (_bank, seller, mut raw) = shop().await;
    let (buyer, at) = (raw.base.key.id(), seller.runtime.now());
    let offered = raw.offer_in(Mode::Escrow).await;
    let money = raw.lock(&offered.1).await;
    let history = BuyerHistory { no_release: MAX_NO_RELEASE + 1, no_release_at: Some(at), ..Default::default() };
    seller.store.write(move |w| w.put(BUYER_HISTORY, Key::of(buyer), &history)).await.unwrap();
    let before = points(&seller, buyer).await;
    let deal = raw.award(&offered, &money, |_| {});
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::NotReleased);
    let ask = raw.ask(|ask| ask.modes = vec![Mode::Escrow]);
    assert_eq!(refused(&raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await), Reason::NotReleased);
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    assert!(matches!(raw.say(raw.award(&offered, &money, |_| {}).message()).await, Message::Accepted(_)));
    assert_eq!(points(&seller, buyer).await, before);
}

/// Its refusal isn't the end of it: the money that came back is looked for at the mint, and was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_refuses_and_redeems_is_charged_with_it() {
    let bank = Bank::open().await;
    let buyer = Plan::new(&bank, 1).start().await;
    let thief = Base::start(Plan::joining(&bank, 2, &buyer)).await;
    let seller = thief.key.id();
    thief.network.dial(buyer.address.clone()).await.unwrap();
    tokio::spawn(refuse_and_redeem(thief));
    buyer.fund(1_000).await;
    let mut events = buyer.events.subscribe();
    let hired = buyer.hire(of(seller), b"hello").await.unwrap();
    assert_eq!(hired.ended.outcome, BuyerOutcome::Refused(Reason::Busy));
    let trade = hired.deal.id();
    loop {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!("nothing is told") };
        if let Event::Cheated { peer, sum: Some(sum), .. } = &heard.event {
            assert_eq!((*peer, sum.amount), (seller, hired.deal.locked()));
            break;
        }
    }
    let view = buyer.trade.show(trade).unwrap().unwrap();
    let redeemed = hired.deal.locked();
    assert_eq!(view.money, Some(MoneyView::Bought(buyer::Money::Settled { refunded: 0, redeemed, fee: 0 })));
    until(|| async { buyer.network.is_banned(seller) }).await;

    // What shows it: the lock, and the signature that only its payee can have made.
    assert_eq!(buyer.trade.cheats().unwrap(), [trade]);
    let proof = accusation(&buyer, trade).await;
    let all = hired.deal.lock.proofs().len();
    assert_eq!((proof.seller, proof.taken), (seller, Some((all, all))));
    // Nothing that it signed shows that it took the award: the rest is the buyer's word.
    assert_eq!((&proof.finding, proof.word_of()), (&Finding::Took, Some(buyer.id())));
    // It outlives a restart.
    let plan = buyer.plan.clone();
    buyer.runtime.shutdown().await;
    drop(buyer);
    plan.disk.crash();
    let buyer = plan.start().await;
    assert_eq!(buyer.trade.cheats().unwrap(), [trade]);
    assert!(buyer.network.is_banned(seller));
}
