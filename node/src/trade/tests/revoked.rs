//! Awards under a delegation that is revoked, before the award, before the work and after it has begun.

use guilder_protocol::{
    envelope::Signed,
    receipt::{FailureCode, Outcome as Said, Receipt},
    ucan::{Delegation, Revocation, grant::StandingGrant},
    wire::{Message, Reason},
};

use super::{
    hostile::{delivery, points, refused, shop},
    raw::Raw,
    *,
};
use crate::{
    events::{Event, Heard},
    executor::{ExecError, Output, Work},
};

fn principal() -> AgentKey {
    AgentKey::from_seed(&[77; 32])
}

/// The principal lets the raw buyer award for so much.
fn grant(raw: &Raw) -> Signed<Delegation> {
    let grant = StandingGrant {
        grantor: principal().id(),
        grantee: raw.base.key.id(),
        principal: principal().id(),
        services: vec![echo()],
        unit: play(),
        mint: mint_url(),
        max_price: 10,
        budget: 1_000,
        max_depth: 1,
        expires: raw.now().saturating_add(86_400),
        nonce: vec![1],
    };
    Signed::sign(grant.delegation().unwrap(), &principal()).unwrap()
}

async fn award(raw: &mut Raw, link: &Signed<Delegation>) -> guilder_protocol::trade::Deal {
    let offered = raw.offer().await;
    let money = raw.lock(&offered.1).await;
    raw.award_under(&offered, &money, link)
}

/// The principal takes it back, and the seller hears of it.
async fn revoke(seller: &Node, raw: &Raw, link: &Signed<Delegation>) -> Revocation {
    let revocation = Revocation::sign(vec![link.clone()], raw.now(), &principal()).unwrap();
    let bytes = revocation.encode();
    let published = || async {
        raw.base.network.publish(guilder_protocol::discovery::Topic::Revocations, bytes.clone().into()).await.is_ok()
    };
    raw.base.network.subscribe(guilder_protocol::discovery::Topic::Revocations).await.unwrap();
    until(published).await;
    until(|| async { !seller.grants.revocations().is_empty() }).await;
    revocation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_taken_until_it_is_revoked_and_then_refused() {
    let (_bank, seller, mut raw) = shop().await;
    let link = grant(&raw);
    let good = award(&mut raw, &link).await;
    raw.send(good.message()).await;
    delivery(&mut raw).await;

    let revocation = revoke(&seller, &raw, &link).await;
    let before = points(&seller, raw.base.key.id()).await;
    let deal = award(&mut raw, &link).await;
    assert_eq!(refused(&raw.say(deal.message()).await), Reason::Revoked);
    // A careless mistake, for it may not have heard.
    assert!(points(&seller, raw.base.key.id()).await <= before + 2);
    // What was delivered before is paid, and its bundle has the revocation.
    until(|| async { seller.spendable().await == 7 }).await;
    let evidence = seller.trade.evidence(good.id()).unwrap().unwrap();
    assert_eq!(evidence.revocations, [revocation]);
    let report = guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
    assert_eq!(report.hires[0].revoked[0].revoker, principal().id());
    assert!(report.hires[0].verdict().contains("revoked its authority"), "{}", report.hires[0].verdict());
    // It outlives a crash, as far as it had reached the disk: what is written behind is there with the next transaction.
    const ROW: crate::store::Table<u64> = crate::store::Table::new("test/row");
    seller.store.write(|w| w.put(ROW, b"row", &1)).await.unwrap();
    let seller = seller.crash(Failpoint::default()).await;
    assert!(!seller.grants.revocations().is_empty());
}

/// Says that it has begun, and works while it may.
#[derive(Debug)]
struct Gated {
    begun: tokio::sync::Notify,
    gate: tokio::sync::Semaphore,
}

#[async_trait]
impl Executor for Gated {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        self.begun.notify_one();
        self.gate.acquire().await.unwrap().forget();
        Ok(work.input)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_waits_is_not_begun_once_revoked_and_work_that_has_begun_is_paid_for() {
    let bank = Bank::open().await;
    let seller = Plan::new(&bank, 2).start().await;
    let gate = Arc::new(Gated { begun: tokio::sync::Notify::new(), gate: tokio::sync::Semaphore::new(0) });
    let one_at_a_time = Definition { concurrency: 1, ..definition(7) };
    seller.sell_as(one_at_a_time, Some(gate.clone())).await;
    let mut raw = Raw::start(&bank, 1, &seller).await;
    let link = grant(&raw);
    let (begun, waiting) = (award(&mut raw, &link).await, award(&mut raw, &link).await);
    let mut events = seller.events.subscribe();
    assert!(matches!(raw.say(begun.message()).await, Message::Accepted(_)));
    in_time(gate.begun.notified()).await;
    assert!(matches!(raw.say(waiting.message()).await, Message::Accepted(_)));
    revoke(&seller, &raw, &link).await;
    gate.gate.add_permits(1);

    let mut receipts = std::collections::BTreeMap::new();
    while receipts.len() < 2 {
        let delivered = delivery(&mut raw).await;
        receipts.insert(delivered.award, Signed::<Receipt>::decode(&delivered.receipt).unwrap());
    }
    assert!(matches!(receipts[&begun.id()].body.out, Said::Ok(_)), "what has begun is finished");
    let Said::Error(error) = &receipts[&waiting.id()].body.out else { panic!("it was begun after all") };
    assert_eq!(error.code, FailureCode::Revoked);
    // Paid for the one, and not for the other.
    until(|| async { seller.spendable().await == 7 }).await;
    let mut ended = 0;
    while ended < 2 {
        let Some(Heard::Event(heard)) = in_time(events.next()).await else { panic!() };
        ended += usize::from(matches!(heard.event, Event::Ended { .. }));
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(seller.spendable().await, 7);
    // The revocation is in the seller's bundle: who revoked answers, not the seller.
    let evidence = seller.trade.evidence(waiting.id()).unwrap().unwrap();
    let report = guilder_protocol::audit::verify(&guilder_protocol::audit::bundle(&evidence)).unwrap();
    assert_eq!(report.hires[0].answer.who(), Some(principal().id()), "{}", report.hires[0].verdict());
}
