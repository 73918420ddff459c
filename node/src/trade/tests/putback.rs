//! Sellers whose home was put back to before they signed: they sign nothing that contradicts what they signed before.

use std::collections::BTreeSet;

use guilder_protocol::{
    envelope::Signed,
    settlement::Mode,
    wire::{Asked, Message, Status},
};
use serde_bytes::ByteBuf;
use tokio::sync::Semaphore;

use super::{super::hire::HireMode, hostile::delivery, raw::Raw, *};
use crate::{
    executor::{ExecError, Output, Work},
    trade::{
        limits::UNASKED_SECS,
        records::{SELLERS, key},
    },
};

/// Work that comes to something else than what it is done with, once it may go on.
#[derive(Clone, Debug)]
struct Gated {
    fails: bool,
    begun: mpsc::Sender<()>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl Executor for Gated {
    async fn run(&self, _: Work) -> Result<Output, ExecError> {
        // Nobody may listen.
        _ = self.begun.try_send(());
        self.gate.acquire().await.unwrap().forget();
        match self.fails {
            true => Err(ExecError::Failed { how: "exit code 1".into(), last_words: String::new() }),
            false => Ok(Data::Inline(Bytes::from_static(b"something else"))),
        }
    }
}

/// Puts work on sale that says that it has begun, and goes on when it is let.
async fn sells_gated(seller: &Node, fails: bool) -> (mpsc::Receiver<()>, Arc<Semaphore>) {
    let ((begun, has_begun), gate) = (mpsc::channel(4), Arc::new(Semaphore::new(0)));
    seller.sell(7, Some(Arc::new(Gated { fails, begun, gate: Arc::clone(&gate) }))).await;
    (has_begun, gate)
}

/// The receipts that either side has of a trade.
fn receipts(nodes: [&Node; 2], trade: Cid) -> BTreeSet<Cid> {
    let evidence = nodes.map(|node| node.trade.evidence(trade).unwrap().unwrap());
    let of_all = evidence.iter().flat_map(|evidence| evidence.receipts.iter());
    of_all.map(|receipt| receipt.cid()).collect()
}

/// Started again from the backup, the service is the echo, which gives back what it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_put_back_to_before_its_delivery_takes_over_what_it_signed() {
    for (mode, fails) in
        [(HireMode::Prepaid, false), (HireMode::Prepaid, true), (HireMode::Escrow, false), (HireMode::Escrow, true)]
    {
        let bank = Bank::open().await;
        let mut seller = Plan::new(&bank, 2).start().await;
        let buyer = Plan::joining(&bank, 1, &seller).start().await;
        buyer.fund(1_000).await;
        buyer.connect(&seller).await;
        let (mut begun, gate) = sells_gated(&seller, fails).await;
        let handle = buyer.begin(Hire { mode: Some(mode), ..of(seller.id()) }, b"hello").await;
        in_time(begun.recv()).await.unwrap();
        let backup = seller.plan.disk.copy();
        gate.add_permits(1);
        let hired = in_time(handle.done()).await.unwrap();
        let trade = hired.deal.id();
        let signed = hired.ended.receipt.unwrap().cid();
        assert_eq!(matches!(hired.ended.outcome, BuyerOutcome::Delivered { .. }), !fails, "{mode:?}");

        seller.plan.disk = backup;
        seller = seller.crash(Failpoint::default()).await;
        let state = seller.store.read(|r| r.get(SELLERS, key(trade))).unwrap().unwrap();
        assert!(state.ended().is_none(), "{mode:?}: {state:?}");
        buyer.connect(&seller).await;
        until(|| async { seller.trade.show(trade).unwrap().unwrap().receipt == Some(signed) }).await;
        assert_eq!(receipts([&seller, &buyer], trade), BTreeSet::from([signed]), "{mode:?} {fails}");
        assert!(!seller.network.peers().await.is_empty(), "nobody was banned for it");
    }
}

/// A buyer that says nothing of the receipt that it has gets no second one for money that the first has redeemed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_can_not_have_a_seller_that_was_put_back_convict_itself() {
    let bank = Bank::open().await;
    let mut seller = Plan::new(&bank, 2).start().await;
    let (mut begun, gate) = sells_gated(&seller, false).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    let offered = raw.offer_in(Mode::Prepaid).await;
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    raw.send(deal.message()).await;
    in_time(begun.recv()).await.unwrap();
    let backup = seller.plan.disk.copy();
    gate.add_permits(1);
    delivery(&mut raw).await;
    until(|| async { seller.spendable().await == 7 }).await;

    seller.plan.disk = backup;
    seller = seller.crash(Failpoint::default()).await;
    raw.base.network.dial(seller.address.clone()).await.unwrap();
    until(|| async {
        raw.send(Status { award: deal.id(), receipt: None }).await;
        let view = seller.trade.show(deal.id()).unwrap().unwrap();
        view.state == TaskState::Failed && view.receipt.is_none()
    })
    .await;
    raw.send(Status { award: deal.id(), receipt: None }).await;
    while let Ok(Some(frame)) = timeout(Duration::from_millis(300), raw.base.inbound.frames.recv()).await {
        let message = Message::decode(&frame.bytes).unwrap();
        assert!(!matches!(message, Message::Delivered(_)), "{message:?}");
    }
}

/// A restart is no gift to a buyer that paid in advance: it may keep quiet, and the work is paid all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_that_starts_again_is_paid_in_advance_by_a_buyer_that_keeps_quiet() {
    let bank = Bank::open().await;
    let mut seller = Plan::new(&bank, 2).start().await;
    let (mut begun, _gate) = sells_gated(&seller, false).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    let until_then = raw.now().saturating_add(UNASKED_SECS + 15);
    let ask = raw.ask(|ask| ask.deadline = until_then);
    let offered = match raw.say(Asked { ask: ByteBuf::from(ask.bytes()) }).await {
        Message::Offered(offered) => (ask, Signed::decode(&offered.offer).unwrap()),
        other => panic!("{other:?}"),
    };
    let money = raw.lock(&offered.1).await;
    let deal = raw.award(&offered, &money, |_| {});
    raw.send(deal.message()).await;
    in_time(begun.recv()).await.unwrap();

    // Started again, the service is the echo, which is done at once; the buyer neither comes nor asks.
    seller = seller.crash(Failpoint::default()).await;
    until(|| async { seller.trade.show(deal.id()).unwrap().unwrap().receipt.is_some() }).await;
    assert!(seller.runtime.now() <= until_then);
    until(|| async { seller.spendable().await == 7 }).await;
}
