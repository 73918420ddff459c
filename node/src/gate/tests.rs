#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use guilder_protocol::{bytes::ByteArray, cbor::cid_of, market::Unit};

use super::{approvals::AnswerError, callers::CallerError, *};
use crate::{
    limits::{APPROVAL_SECS, MAX_APPROVAL_BYTES, MAX_APPROVALS_OF_ONE},
    store::testing::CrashBackend,
    trade::Under,
};

async fn gate() -> Gate {
    let runtime = Runtime::anchored(Timestamp::from_secs(1_000_000));
    let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
    Gate::new(store, runtime, Events::new(), 100)
}

fn play() -> Unit {
    "play".parse().unwrap()
}

fn echo() -> ServiceName {
    "text.echo".parse().unwrap()
}

fn scope(risk: Risk) -> Scope {
    Scope { risk, ..Scope::hiring(500, play(), vec![echo()]) }
}

/// A caller that was added, and its token.
async fn added(gate: &Gate, name: &str, risk: Risk) -> Caller {
    gate.added(name, scope(risk)).await
}

/// A hire that has a key of its caller's.
fn wanted(service: &ServiceName, most: u64) -> Wanted<'_> {
    Wanted { service, most, is_high: false, key: "order 7", is_named: true }
}

fn waits(result: Result<(), Refusal>) -> String {
    match result {
        Err(Refusal::Waits { id }) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_action_has_a_risk_and_a_name_of_its_own() {
    let names: BTreeSet<_> = Action::ALL.iter().map(|action| action.name()).collect();
    assert_eq!(names.len(), Action::ALL.len());
    let adds_a_way_to_spend = [
        Action::AddService,
        Action::AddMint,
        Action::Send,
        Action::Pay,
        Action::ShowToken,
        Action::Reclaim,
        Action::AddCaller,
        Action::Grant,
        Action::ImportGrant,
        Action::Approve,
        Action::HireAbove,
        Action::ChangeEndpoint,
    ];
    assert!(adds_a_way_to_spend.iter().all(|action| action.risk() == Risk::High));
}

#[test]
fn a_caller_does_by_itself_what_its_risk_allows_and_nothing_of_high_risk() {
    let under = Under { award: cid_of(b"award"), services: Vec::new(), budget: 1 };
    let (owner, task, watcher) = (Caller::owner(), Caller::task(under), Caller::watcher("monitor"));
    let [low, medium, high] =
        [Risk::Low, Risk::Medium, Risk::High].map(|risk| Caller::named("caller/x", scope(risk), ByteArray([7; 32])));
    for action in Action::ALL {
        let risk = action.risk();
        assert!(owner.may(action).is_ok());
        assert_eq!(watcher.may(action).is_ok(), risk == Risk::Low);
        assert_eq!(low.may(action).is_ok(), risk == Risk::Low);
        assert_eq!(medium.may(action).is_ok(), risk <= Risk::Medium);
        assert_eq!(high.may(action).is_ok(), risk <= Risk::Medium);
        assert_eq!(task.may(action).is_ok(), [Action::Find, Action::Hire, Action::Cancel].contains(&action));
        let is_the_owners = matches!(action, Action::Approve | Action::Backup);
        assert_eq!(high.may_ask_for(action), !is_the_owners, "{action:?}");
        assert_eq!(medium.may_ask_for(action), risk <= Risk::Medium);
        assert!(!task.may_ask_for(action) && !watcher.may_ask_for(action));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_is_done_once_and_only_as_it_was_asked_for() {
    let gate = gate().await;
    let (caller, other) = (added(&gate, "one", Risk::High).await, added(&gate, "two", Risk::High).await);
    let ask = |caller: &Caller, terms: &str| {
        let (gate, caller, terms) = (gate.clone(), caller.clone(), terms.to_owned());
        async move { gate.pass(&caller, Action::Send, &terms).await }
    };
    let id = waits(ask(&caller, "7 sat").await);
    assert_eq!(waits(ask(&caller, "7 sat").await), id, "asked again it is the same");
    assert_eq!(gate.answer("ffffffff", true).await, Err(AnswerError::Unknown("ffffffff".into())));
    let granted = gate.answer(&id, true).await.unwrap();
    assert_eq!((granted.caller.as_str(), granted.terms.as_str()), ("caller/one", "\"7 sat\""));
    assert_eq!(gate.answer(&id, true).await, Err(AnswerError::Answered(id.clone())), "granted twice");
    assert_eq!(gate.answer(&id, false).await, Err(AnswerError::Answered(id.clone())));
    // Changed after it was asked for, or by another: that is another request.
    assert_ne!(waits(ask(&caller, "70 sat").await), id);
    assert_ne!(waits(ask(&other, "7 sat").await), id);
    assert_ne!(waits(gate.pass(&caller, Action::Pay, &"7 sat").await), id);
    // At once and again: done once.
    let (one, two) = tokio::join!(ask(&caller, "7 sat"), ask(&caller, "7 sat"));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
    let replayed = waits(ask(&caller, "7 sat").await);
    assert_ne!(replayed, id, "what was done needs another word");
    gate.answer(&replayed, false).await.unwrap();
    assert_eq!(ask(&caller, "7 sat").await, Err(Refusal::Refused { id: replayed }));
    assert_eq!(gate.pass(&Caller::owner(), Action::Send, &"7 sat").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn only_the_owner_answers_and_none_of_lower_risk_may_even_ask() {
    let gate = gate().await;
    let (high, medium) = (added(&gate, "high", Risk::High).await, added(&gate, "medium", Risk::Medium).await);
    assert!(matches!(gate.pass(&high, Action::Approve, &()).await, Err(Refusal::NotAllowed { .. })));
    assert!(matches!(gate.pass(&medium, Action::AddService, &()).await, Err(Refusal::NotAllowed { .. })));
    assert_eq!(gate.approvals().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_forgotten_in_time_and_with_its_caller() {
    let gate = gate().await;
    let (caller, other) = (added(&gate, "one", Risk::High).await, added(&gate, "two", Risk::High).await);
    for number in 0..MAX_APPROVALS_OF_ONE {
        waits(gate.pass(&caller, Action::Send, &number).await);
    }
    let more = gate.pass(&caller, Action::Send, &"more").await;
    assert_eq!(more, Err(Refusal::Crowded(MAX_APPROVALS_OF_ONE)));
    let kept = waits(gate.pass(&other, Action::Send, &"other").await);
    let long = "x".repeat(MAX_APPROVAL_BYTES);
    assert!(matches!(gate.pass(&other, Action::Send, &long).await, Err(Refusal::TooLong { .. })));
    gate.revoke_caller("one").await.unwrap();
    let left: Vec<_> = gate.approvals().unwrap().into_iter().map(|approval| approval.id).collect();
    assert_eq!(left, std::slice::from_ref(&kept));
    gate.answer(&kept, true).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(APPROVAL_SECS + 2)).await;
    assert_eq!(gate.approvals().unwrap(), []);
    assert_ne!(waits(gate.pass(&other, Action::Send, &"other").await), kept, "a yes of last week counts no more");
}

#[tokio::test]
async fn callers_have_names_of_their_own_and_budgets_where_they_may_spend() {
    let gate = gate().await;
    for name in ["", "A", "a/b", "..", "a.b", "ä", &"a".repeat(33)] {
        assert_eq!(gate.with_token(name, scope(Risk::Low)).await, Err(CallerError::Name(name.to_owned())));
    }
    let penniless = Scope { budget: None, ..scope(Risk::Medium) };
    assert_eq!(gate.with_token("ci", penniless).await, Err(CallerError::NoBudget(Risk::Medium)));
    let no_disk = async |_: String| Err(CallerError::TooMany);
    assert_eq!(gate.add_caller("ci", scope(Risk::Medium), no_disk).await, Err(CallerError::TooMany));
    assert_eq!(gate.callers().unwrap(), [], "whose token can't be kept is none");
    let token = gate.with_token("ci", scope(Risk::Medium)).await.unwrap();
    assert_eq!(gate.with_token("ci", scope(Risk::High)).await, Err(CallerError::Exists("ci".into())));
    assert_eq!(gate.callers().unwrap()[0].name, "ci");
    let secret = token.split_once('.').unwrap().1;
    assert!(!callers::stored(&gate.store).contains(secret));
    gate.revoke_caller("ci").await.unwrap();
    assert_eq!(gate.revoke_caller("ci").await, Err(CallerError::Unknown("ci".into())));
}

#[tokio::test(start_paused = true)]
async fn an_award_is_decided_by_what_the_caller_is_when_it_is_given() {
    let gate = gate().await;
    let caller = added(&gate, "ci", Risk::Medium).await;
    let nothing = serde_json::json!({});
    let (echo_, other): (_, ServiceName) = (echo(), "text.other".parse().unwrap());
    let mandate = gate.mandate(&caller, wanted(&echo_, 100), &nothing).await.unwrap().unwrap();
    let permit = |mandate: &Mandate, service: ServiceName, price| {
        let (store, mandate) = (gate.store.clone(), mandate.clone());
        async move {
            store
                .transact(move |w| super::permit(w, &mandate, (&service, price), Timestamp::from_secs(1_000_000)))
                .await
        }
    };
    assert_eq!(permit(&mandate, echo(), 100).await, Ok(DailyBudget { most: 500, unit: play() }));
    assert_eq!(permit(&mandate, echo(), 101).await, Err(Refusal::NotApproved));
    assert!(matches!(permit(&mandate, other.clone(), 1).await, Err(Refusal::Service { .. })));
    assert!(matches!(gate.mandate(&caller, wanted(&other, 1), &nothing).await, Err(Refusal::Service { .. })));
    assert!(matches!(gate.mandate(&caller, wanted(&echo_, 101), &nothing).await, Err(Refusal::NotAllowed { .. })));
    let low = added(&gate, "low", Risk::Low).await;
    assert!(matches!(gate.mandate(&low, wanted(&echo_, 1), &nothing).await, Err(Refusal::NotAllowed { .. })));
    gate.revoke_caller("ci").await.unwrap();
    assert_eq!(permit(&mandate, echo(), 1).await, Err(Refusal::Revoked("caller/ci".into())), "revoked mid-hire");
    added(&gate, "ci", Risk::High).await;
    assert_eq!(permit(&mandate, echo(), 1).await, Err(Refusal::Revoked("caller/ci".into())), "another has its name");
    let anything = Wanted { is_high: true, ..wanted(&other, u64::MAX) };
    assert_eq!(gate.mandate(&Caller::owner(), anything, &nothing).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_hire_above_the_price_that_is_asked_for_is_awarded_under_what_was_granted() {
    let gate = gate().await;
    let caller = added(&gate, "ci", Risk::High).await;
    let (terms, now) = (serde_json::json!({ "id": "order 7" }), Timestamp::from_secs(1_000_000));
    let service = echo();
    let ask = || gate.mandate(&caller, wanted(&service, 300), &terms);
    let Err(Refusal::Waits { id }) = ask().await else { panic!("it waits") };
    gate.answer(&id, true).await.unwrap();
    let mandate = ask().await.unwrap().unwrap();
    assert!(mandate.approval.is_some());
    let forged = Mandate { approval: None, ..mandate.clone() };
    let permit = |mandate: &Mandate| {
        let (store, mandate) = (gate.store.clone(), mandate.clone());
        async move { store.transact(move |w| super::permit(w, &mandate, (&echo(), 300), now)).await }
    };
    assert_eq!(permit(&forged).await, Err(Refusal::NotApproved));
    assert!(permit(&mandate).await.is_ok());
    assert_eq!(gate.approvals().unwrap()[0].state, ApprovalState::Used);
    // Its seller refused: another is awarded under the same origin, which sees to it that only one is paid.
    assert!(permit(&mandate).await.is_ok());
    assert!(ask().await.unwrap().is_some(), "asked again it is the hire that there is");
    let high = Wanted { is_high: true, ..wanted(&service, 1) };
    assert!(gate.mandate(&caller, high, &terms).await.is_ok(), "the very same request");
    let other = gate.mandate(&caller, high, &serde_json::json!({ "id": "order 8" })).await;
    assert!(matches!(other, Err(Refusal::Waits { .. })));
    // Another hire doesn't use what was granted for this one.
    let another = Approved { hire: "order 9".into(), ..mandate.approval.clone().unwrap() };
    assert_eq!(permit(&Mandate { approval: Some(another), ..mandate }).await, Err(Refusal::Used));
}

#[tokio::test(start_paused = true)]
async fn a_hire_without_a_key_is_another_each_time_and_waits_anew_once_one_is_awarded() {
    let gate = gate().await;
    let caller = added(&gate, "ci", Risk::High).await;
    let (terms, now) = (serde_json::json!({}), Timestamp::from_secs(1_000_000));
    let service = echo();
    let ask =
        |key: &'static str| gate.mandate(&caller, Wanted { key, is_named: false, ..wanted(&service, 300) }, &terms);
    let Err(Refusal::Waits { id }) = ask("one").await else { panic!("it waits") };
    gate.answer(&id, true).await.unwrap();
    // One that comes to no award leaves what was granted to the next.
    ask("one").await.unwrap();
    let mandate = ask("two").await.unwrap().unwrap();
    gate.store.transact(move |w| super::permit(w, &mandate, (&echo(), 300), now)).await.unwrap();
    let Err(Refusal::Waits { id: anew }) = ask("three").await else { panic!("it waits anew") };
    assert_ne!(anew, id);
}
