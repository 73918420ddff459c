//! What a dream makes of what was said and of what happened: once, by whoever holds the lease, and never more trusted than its sources.

use super::{
    dream::{Deed, DeedKind, Episode},
    *,
};
use crate::limits::{DREAM_GAP_SECS, DREAM_LEASE_SECS};

fn about(subject: &str, text: &str, secs: u64) -> NewMemory {
    NewMemory {
        subject: Some(subject.into()),
        time: Some(Timestamp::from_secs(START + secs)),
        session: Session::None,
        ..new(text, "a")
    }
}

async fn dream(memory: &Memory, episodes: Vec<Episode>) -> Dream {
    let lease = memory.lease().await.unwrap();
    let plan = memory.plan(episodes).await.unwrap();
    let done = memory.dream(lease, plan.clone()).await.unwrap();
    assert_eq!(done.changes, plan.changes);
    check(memory).await;
    done
}

fn kinds(dream: &Dream) -> Vec<ChangeKind> {
    dream.changes.iter().map(|change| change.kind).collect()
}

async fn holding(memory: &Memory) -> Vec<String> {
    let all = memory.all(&Caller::owner(), &[], true).await.unwrap();
    let mut texts: Vec<_> = all.into_iter().filter(|one| one.ended.is_none()).map(|one| one.body.text).collect();
    texts.sort();
    texts
}

fn deed(seq: u64, seller: u8, kind: DeedKind) -> Episode {
    let seller = AgentKey::from_seed(&[seller; 32]).id();
    let deed = Deed { seller, service: "text.echo".into(), kind, price: Some("3 sat".into()) };
    Episode { seq, at: Timestamp::from_secs(START + seq), deed: Some(deed) }
}

#[tokio::test]
async fn what_is_said_twice_is_kept_once_in_the_words_of_the_most_trusted() {
    let (memory, owner) = (memory(), Caller::owner());
    let peers =
        NewMemory { sources: vec![Source::Peer(key().id())], ..about("mint", "The mint is slow on Mondays", 0) };
    let first = put(&memory, &owner, peers).await;
    let second = put(&memory, &owner, about("mint", "the mint is slow on mondays.", 10)).await;
    let other = put(&memory, &owner, about("other", "the mint is slow on Mondays", 20)).await;
    let before = holding(&memory).await;
    let plan = memory.plan(Vec::new()).await.unwrap();
    assert_eq!((kinds(&plan), holding(&memory).await), (vec![ChangeKind::Merged], before), "a plan changes nothing");
    dream(&memory, Vec::new()).await;
    assert_eq!(holding(&memory).await, ["the mint is slow on Mondays", "the mint is slow on mondays."]);
    let found = memory.recall(&owner, Question { subject: Some("mint".into()), ..ask("slow mint") }).await.unwrap();
    assert_eq!((found.len(), found[0].body.trust, found[0].body.by.as_str()), (1, Trust::Owner, "dream"));
    assert_eq!(found[0].body.sources, [source::of_memory(&second.id)]);
    assert!(memory.show(&owner, &first.id.to_string()).await.unwrap().ended.is_some());
    // Nothing is new now, its own words included.
    assert_eq!(dream(&memory, Vec::new()).await.changes, []);
    // Said once more it is the same still; forgotten, all of it goes.
    put(&memory, &owner, about("mint", "The mint is slow on mondays", 30)).await;
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Merged]);
    let found = memory.recall(&owner, Question { subject: Some("mint".into()), ..ask("slow mint") }).await.unwrap();
    assert_eq!(found.len(), 1);
    memory.forget(&owner, Selection::Ids(vec![found[0].id.to_string()]), false).await.unwrap();
    assert_eq!(holding(&memory).await, ["the mint is slow on Mondays"]);
    assert!(memory.show(&owner, &other.id.to_string()).await.unwrap().ended.is_none());
    check(&memory).await;
}

#[tokio::test]
async fn a_value_that_changed_is_superseded_by_time_and_never_by_lower_trust() {
    let (memory, owner) = (memory(), Caller::owner());
    put(&memory, &owner, about("mint", "The mint listens on port 4848", 10)).await;
    put(&memory, &owner, about("mint", "the mint listens on port 3338", 0)).await;
    let lower = NewMemory { trust: Some(Trust::World), ..about("mint", "the mint listens on port 6666", 20) };
    put(&memory, &owner, lower).await;
    // The latest is less trusted: nothing is superseded by it, nor beside it.
    assert_eq!(dream(&memory, Vec::new()).await.changes, []);
    put(&memory, &owner, about("mint", "the mint listens on port 5959", 30)).await;
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Superseded]);
    assert_eq!(holding(&memory).await, ["the mint listens on port 5959"]);
    let as_of =
        |secs| Question { as_of: Some(Timestamp::from_secs(START + secs)), trust: Some(Trust::Owner), ..ask("port") };
    assert_eq!(texts(&memory, &owner, as_of(5)).await, ["the mint listens on port 3338"]);
    // What held in between isn't told apart from what held before: both did until the latest was true.
    assert_eq!(texts(&memory, &owner, as_of(15)).await.len(), 2);
    // What was made of a source goes with it, and what it took the place of holds again.
    let liar = AgentKey::from_seed(&[8; 32]).id();
    let lie = NewMemory { sources: vec![Source::Peer(liar)], ..about("web", "the price is 3", 0) };
    put(&memory, &owner, NewMemory { sources: vec![Source::Peer(key().id())], ..about("web", "the price is 2", 0) })
        .await;
    put(&memory, &owner, NewMemory { time: Some(Timestamp::from_secs(START + 50)), ..lie }).await;
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Superseded]);
    assert_eq!(texts(&memory, &owner, ask("price")).await, ["the price is 3"]);
    memory.forget(&owner, Selection::From(vec![Source::Peer(liar)]), false).await.unwrap();
    assert_eq!(texts(&memory, &owner, ask("price")).await, ["the price is 2"]);
    check(&memory).await;
}

#[tokio::test]
async fn what_others_say_moves_no_time_of_the_owners_words() {
    let (memory, owner) = (memory(), Caller::owner());
    put(&memory, &owner, about("mint", "The mint listens on port 4848", 10)).await;
    put(&memory, &owner, about("mint", "the mint listens on port 5959", 20)).await;
    let peers = NewMemory { trust: Some(Trust::Peer), ..about("mint", "The mint listens on port 5959", 0) };
    put(&memory, &owner, peers).await;
    dream(&memory, Vec::new()).await;
    let other = NewMemory { trust: Some(Trust::Peer), ..about("mint", "The mint listens on port 9999", 0) };
    put(&memory, &owner, other).await;
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Superseded]);
    assert_eq!(holding(&memory).await, ["the mint listens on port 5959"]);
}

#[tokio::test]
async fn what_has_no_room_for_its_date_stops_no_dream() {
    let (memory, owner) = (memory(), Caller::owner());
    let long = format!("today {}", "x".repeat(guilder_protocol::limits::MAX_MEMORY_TEXT - 6));
    put(&memory, &owner, about("mint", &long, 0)).await;
    put(&memory, &owner, about("echo", "The mint is slow on Mondays", 0)).await;
    put(&memory, &owner, about("echo", "the mint is slow on mondays.", 10)).await;
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Merged]);
}

#[tokio::test]
async fn of_more_values_than_a_memory_may_name_the_newest_is_among_those_that_are_superseded() {
    let (memory, owner) = (memory(), Caller::owner());
    for port in 0..20 {
        put(&memory, &owner, about("mint", &format!("The mint listens on port {}", 4_000 + port), port)).await;
    }
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Superseded]);
    let held = holding(&memory).await;
    assert!(held.contains(&"The mint listens on port 4019".to_owned()) && held.len() == 5, "{held:?}");
}

#[tokio::test]
async fn what_contradicts_stays_and_is_marked_and_days_become_dates() {
    let (memory, owner) = (memory(), Caller::owner());
    put(&memory, &owner, about("echo", "It works on Linux", 0)).await;
    let lower = NewMemory { trust: Some(Trust::Peer), ..about("echo", "It doesn't work on Linux", 10) };
    put(&memory, &owner, lower).await;
    put(&memory, &owner, about("tests", "Yesterday the tests failed", 0)).await;
    let done = dream(&memory, Vec::new()).await;
    assert_eq!(kinds(&done), [ChangeKind::Dated, ChangeKind::Contradiction]);
    assert_eq!(done.changes[0].new, Some((Trust::Owner, "2023-11-13 the tests failed".into())));
    let (trust, text) = done.changes[1].new.clone().unwrap();
    assert!(trust == Trust::Peer && text.contains("It works on Linux") && text.contains("doesn't"), "{text}");
    assert_eq!(holding(&memory).await.len(), 4);
    assert_eq!(dream(&memory, Vec::new()).await.changes, []);
}

#[tokio::test]
async fn what_was_made_of_what_was_recalled_is_not_gathered() {
    let (memory, owner) = (memory(), Caller::owner());
    let said = put(&memory, &owner, about("mint", "The mint is slow", 0)).await;
    let again = NewMemory { sources: vec![Source::Memory(said.id)], ..about("mint", "the mint is slow", 10) };
    put(&memory, &owner, again).await;
    assert_eq!(dream(&memory, Vec::new()).await.changes, []);
}

#[tokio::test]
async fn what_sellers_did_is_counted_once_whoever_plans_it_how_often() {
    let (memory, owner) = (memory(), Caller::owner());
    let happened = vec![deed(3, 8, DeedKind::Delivered), deed(5, 8, DeedKind::Failed), deed(7, 9, DeedKind::Cheated)];
    assert_eq!(memory.heard().await.unwrap(), 0);
    memory.plan(happened.clone()).await.unwrap();
    assert_eq!(dream(&memory, happened).await.episodes, 3);
    assert_eq!(memory.heard().await.unwrap(), 7);
    let seller = AgentKey::from_seed(&[8; 32]).id().peer_id();
    let told = |more: &str| format!("text.echo by {seller}: {more}, cheated 0, last for 3 sat, last on 2023-11-14");
    let of_seller = || Question { subject: Some(seller.clone()), ..ask("delivered") };
    assert_eq!(texts(&memory, &owner, of_seller()).await, [told("delivered 1, failed 1")]);
    dream(&memory, vec![deed(9, 8, DeedKind::Delivered)]).await;
    assert_eq!(texts(&memory, &owner, of_seller()).await, [told("delivered 2, failed 1")]);
    let found = memory.recall(&owner, of_seller()).await.unwrap();
    assert_eq!((found[0].body.trust, found[0].body.sources.len()), (Trust::Node, 0));
    // Forgotten, it is counted on.
    memory.forget(&owner, Selection::Ids(vec![found[0].id.to_string()]), false).await.unwrap();
    assert_eq!(texts(&memory, &owner, of_seller()).await, Vec::<String>::new());
    dream(&memory, vec![deed(11, 8, DeedKind::Delivered)]).await;
    assert_eq!(texts(&memory, &owner, of_seller()).await, [told("delivered 3, failed 1")]);
}

#[tokio::test]
async fn one_dreams_at_a_time_and_who_was_late_writes_nothing() {
    let (memory, owner) = (memory(), Caller::owner());
    put(&memory, &owner, about("mint", "port 1", 0)).await;
    put(&memory, &owner, about("mint", "port 2", 10)).await;
    let first = memory.lease().await.unwrap();
    assert_eq!(memory.lease().await, Err(MemoryError::Dreaming));
    let plan = memory.plan(Vec::new()).await.unwrap();
    // It takes longer than the lease, and another dreams.
    memory.0.runtime.set_off_by(i64::try_from(DREAM_LEASE_SECS).unwrap() + 1);
    let second = memory.lease().await.unwrap();
    assert_eq!(memory.dream(first, plan.clone()).await, Err(MemoryError::Dreaming));
    memory.give_back(first).await.unwrap();
    assert_eq!(memory.lease().await, Err(MemoryError::Dreaming), "the lease is the other's");
    assert_eq!(holding(&memory).await.len(), 2);
    assert_eq!(memory.dream(second, plan).await.unwrap().changes.len(), 1);
    let third = memory.lease().await.unwrap();
    memory.give_back(third).await.unwrap();
    memory.lease().await.unwrap();
}

#[tokio::test]
async fn what_was_forgotten_after_it_was_planned_is_in_no_dream() {
    let (memory, owner) = (memory(), Caller::owner());
    let said = put(&memory, &owner, about("mint", "port 1 xyzzyword", 0)).await;
    put(&memory, &owner, about("mint", "port 2 xyzzyword", 10)).await;
    let lease = memory.lease().await.unwrap();
    let plan = memory.plan(Vec::new()).await.unwrap();
    assert_eq!(plan.changes.len(), 1);
    memory.forget(&owner, Selection::Ids(vec![said.id.to_string()]), false).await.unwrap();
    assert_eq!(memory.dream(lease, plan).await.unwrap().changes, []);
    assert_eq!(holding(&memory).await, ["port 2 xyzzyword"]);
    check(&memory).await;
}

#[tokio::test]
async fn what_is_older_than_its_domain_keeps_is_gone_from_the_file_but_what_the_owner_holds_true() {
    let (place, owner) = (Place::disks(), Caller::owner());
    let memory = memory_at(&place);
    let said = |text: &str, secs, trust| NewMemory { trust: Some(trust), ..about(text, text, secs) };
    put(&memory, &owner, said("old xyzzyword", 0, Trust::World)).await;
    put(&memory, &owner, said("old and the owner's", 0, Trust::Owner)).await;
    memory.set_domain(&owner, "a", DomainSettings { keep_days: Some(2), ..DomainSettings::default() }).await.unwrap();
    assert_eq!(dream(&memory, Vec::new()).await.changes, []);
    memory.0.runtime.set_off_by(3 * 24 * 60 * 60);
    put(&memory, &owner, said("new", 3 * 24 * 60 * 60, Trust::World)).await;
    assert_eq!(kinds(&dream(&memory, Vec::new()).await), [ChangeKind::Pruned]);
    assert_eq!(holding(&memory).await, ["new", "old and the owner's"]);
    assert!(!place.disk().holds(b"xyzzyword"));
}

#[tokio::test]
async fn it_is_time_after_a_day_and_five_sessions() {
    let (memory, owner) = (memory(), Caller::owner());
    let said =
        |nth: usize| NewMemory { session: Session::Named(format!("talk {nth}")), ..new(&format!("word{nth}"), "a") };
    for nth in 0..5 {
        assert!(!memory.is_time_to_dream().await.unwrap(), "{nth}");
        put(&memory, &owner, said(nth)).await;
    }
    assert!(memory.is_time_to_dream().await.unwrap());
    dream(&memory, Vec::new()).await;
    for nth in 5..10 {
        put(&memory, &owner, said(nth)).await;
    }
    assert!(!memory.is_time_to_dream().await.unwrap());
    memory.0.runtime.set_off_by(i64::try_from(DREAM_GAP_SECS).unwrap());
    assert!(memory.is_time_to_dream().await.unwrap());
}

#[tokio::test]
async fn a_dream_that_is_killed_at_any_write_is_whole_or_was_never_dreamt() {
    let (owner, mut halves) = (Caller::owner(), [0, 0]);
    for fuse in 0..200 {
        let place = Place::disks();
        let memory = memory_at(&place);
        for text in ["port 1", "port 2", "port 3"] {
            put(&memory, &owner, about(text, "The mint is slow", 0)).await;
            put(&memory, &owner, about(text, "the mint is slow", 10)).await;
        }
        let before = holding(&memory).await;
        let happened = || vec![deed(3, 8, DeedKind::Delivered)];
        place.disk().power_off_after(fuse);
        let done = async {
            let lease = memory.lease().await?;
            let plan = memory.plan(happened()).await?;
            memory.dream(lease, plan).await
        };
        let done = done.await;
        place.disk().crash();
        drop(memory);
        let memory = memory_at(&place);
        check(&memory).await;
        let heard = memory.heard().await.unwrap();
        let after = holding(&memory).await;
        assert!(if heard == 0 { after == before } else { after.len() == 4 }, "{fuse}: {heard} {after:?}");
        halves[usize::from(heard > 0)] += 1;
        if done.is_ok() {
            assert_eq!(heard, 3, "what was said to be done is durable");
            assert!(halves[0] > 1, "{halves:?}");
            return;
        }
        // Dreamt again once the lease of who was killed is over, it comes to the same, and counts once.
        memory.0.runtime.set_off_by(i64::try_from(DREAM_LEASE_SECS).unwrap() + 1);
        if heard == 0 {
            dream(&memory, happened()).await;
        }
        assert_eq!(holding(&memory).await.len(), 4);
        assert!(holding(&memory).await.iter().any(|text| text.contains("delivered 1,")));
    }
    panic!("it never succeeded");
}
