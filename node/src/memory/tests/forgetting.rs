//! What forgetting reaches, whatever was forgotten or edited before, and that it is done to its end: though its client goes away, though
//! the disk is full.

use futures::poll;

use super::*;

const SECRET: &[u8] = b"xyzzyword";
/// More turns than anything here takes.
const MANY: usize = 10_000;

fn ids(of: &Remembered) -> Selection {
    Selection::Ids(vec![of.id.to_string()])
}

async fn forget(memory: &Memory, what: Selection) -> Forgotten {
    memory.forget(&Caller::owner(), what, false).await.unwrap()
}

/// A memory with a secret and something that stays.
async fn with_secret(place: &Place) -> (Memory, Remembered) {
    let (memory, owner) = (memory_at(place), Caller::owner());
    let secret = put(&memory, &owner, new("plugh xyzzyword", "a")).await;
    put(&memory, &owner, new("this stays", "a")).await;
    (memory, secret)
}

async fn file_of(memory: &Memory, of: &Remembered) -> Imported {
    let saved = memory.show(&Caller::owner(), &of.id.to_string()).await.unwrap();
    Imported { id: Some(saved.id), at: Some(saved.at), language: None, body: saved.body }
}

#[tokio::test]
async fn a_fresh_disk_that_fails_anywhere_leaves_the_old_one_in_use_and_is_tried_again() {
    let (owner, mut held) = (Caller::owner(), 0);
    for fuse in 0..MANY as u64 {
        let place = Place::disks();
        let (memory, secret) = with_secret(&place).await;
        place.fail_fresh_after(Some(fuse));
        let done = memory.forget(&owner, ids(&secret), false).await;
        if done.is_ok() {
            assert!(held > 0 && !place.disk().holds(SECRET), "{fuse}");
            return;
        }
        assert!(matches!(done, Err(MemoryError::Store(_))), "{done:?}");
        // The room that was taken is free, and the memory goes on.
        assert_eq!(place.fresh_disk().size(), 0);
        // Later writes may reuse the page that it is in.
        held += u64::from(place.disk().holds(SECRET));
        assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await, ["this stays"]);
        put(&memory, &owner, new("this stays, too", "a")).await;
        check(&memory).await;
        // So it does after a restart, which tries again.
        memory.close().await;
        let memory = memory_at(&place);
        assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await.len(), 2);
        // Who asks for the same again has it done once there is room, though it is no memory any more.
        place.fail_fresh_after(None);
        let again = memory.forget(&owner, ids(&secret), false).await;
        assert_eq!(again, Err(MemoryError::NoMemory(secret.id.to_string())));
        assert!(!place.disk().holds(SECRET), "{fuse}");
        assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await.len(), 2);
        check(&memory).await;
    }
    panic!("it never succeeded");
}

#[tokio::test]
async fn a_start_with_room_again_writes_the_file_anew() {
    let (place, owner) = (Place::disks(), Caller::owner());
    let (memory, secret) = with_secret(&place).await;
    place.fail_fresh_after(Some(1));
    assert!(memory.forget(&owner, ids(&secret), false).await.is_err());
    memory.close().await;
    place.fail_fresh_after(None);
    let memory = memory_at(&place);
    memory.clone().resume().await;
    assert!(!place.disk().holds(SECRET));
    check(&memory).await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_forgetting_half_done() {
    let (place, owner) = (Place::disks(), Caller::owner());
    let (memory, secret) = with_secret(&place).await;
    {
        let mut forgetting = Box::pin(memory.forget(&owner, ids(&secret), false));
        assert!(poll!(&mut forgetting).is_pending());
    }
    let mut turns = 0;
    while place.disk().holds(SECRET) {
        tokio::task::yield_now().await;
        turns += 1;
        assert!(turns < MANY, "it stays");
    }
    assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await, ["this stays"]);
    check(&memory).await;
    // Nor an opening: the next one doesn't find the file in use.
    memory.close().await;
    {
        let mut recalling = Box::pin(memory.recall(&owner, ask("stays")));
        assert!(poll!(&mut recalling).is_pending());
    }
    assert_eq!(texts(&memory, &owner, ask("stays")).await, ["this stays"]);
}

#[tokio::test]
async fn what_is_queued_by_a_client_that_goes_away_is_in_the_fresh_file_whole_or_not_at_all() {
    let owner = Caller::owner();
    for turns in 0..60 {
        let place = Place::disks();
        let (memory, secret) = with_secret(&place).await;
        let mut forgetting = Box::pin(memory.forget(&owner, ids(&secret), false));
        let is_done = poll!(&mut forgetting).is_ready();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        {
            let mut remembering = Box::pin(memory.remember(&owner, vec![new("said amid it", "a")]));
            let _ = poll!(&mut remembering);
        }
        if !is_done {
            forgetting.await.unwrap();
        }
        assert!(!place.disk().holds(SECRET));
        check(&memory).await;
        put(&memory, &owner, new("said afterwards", "a")).await;
        check(&memory).await;
    }
}

fn of(text: &str, sources: Vec<Source>) -> NewMemory {
    NewMemory { sources, ..new(text, "market") }
}

fn peer() -> Source {
    Source::Peer(AgentKey::from_seed(&[8; 32]).id())
}

/// What a peer said, and what was made of that, step by step.
async fn chain(memory: &Memory, steps: usize) -> Vec<Remembered> {
    let owner = Caller::owner();
    let mut all = vec![put(memory, &owner, of("acme is the best", vec![peer()])).await];
    for step in 1..=steps {
        let source = Source::Memory(all.last().unwrap().id);
        all.push(put(memory, &owner, of(&format!("made of it, step {step}"), vec![source])).await);
    }
    all
}

#[tokio::test]
async fn what_came_of_a_source_through_something_forgotten_is_forgotten_with_it() {
    // Of a chain of five the inner ones are forgotten before, in this order.
    for before in [&[0][..], &[0, 1], &[1, 0], &[2, 0, 1], &[1, 3, 2]] {
        let memory = memory();
        let owner = Caller::owner();
        let all = chain(&memory, 4).await;
        put(&memory, &owner, of("beta is honest", vec![Source::Owner])).await;
        for index in before {
            let done = forget(&memory, ids(&all[*index])).await;
            let left = (index + 1..all.len()).filter(|later| is_there(before, *later, *index)).count();
            assert_eq!(done.derived_left, left as u64, "{before:?} {index}");
            check(&memory).await;
        }
        let done = forget(&memory, Selection::From(vec![peer()])).await;
        assert_eq!((done.ids.len(), done.derived_left), (all.len() - before.len(), 0), "{before:?}");
        assert_eq!(texts(&memory, &owner, ask("acme beta step made")).await, ["beta is honest"]);
        // No trace is left where nothing is there that was made of it.
        check(&memory).await;
        memory
            .read(|r| {
                assert!(r.range(records::TRACES, KeyRange::all(), usize::MAX)?.is_empty());
                Ok(())
            })
            .await
            .unwrap();
    }
}

/// Whether a memory of the chain is there still when the one at `now` is forgotten.
fn is_there(before: &[usize], later: usize, now: usize) -> bool {
    let forgotten: Vec<_> = before.iter().take_while(|index| **index != now).collect();
    !forgotten.contains(&&later)
}

#[tokio::test]
async fn what_was_made_of_a_forgotten_memory_can_be_forgotten_by_its_id() {
    let (memory, owner) = (memory(), Caller::owner());
    let words = put(&memory, &owner, of("a page says: acme", vec![Source::World("xyzzyword".into())])).await;
    let derived = put(&memory, &owner, of("so it is acme", vec![Source::Memory(words.id)])).await;
    assert_eq!(forget(&memory, ids(&words)).await.derived_left, 1);
    check(&memory).await;
    // Words of it are no trace: they would say what was forgotten.
    let kept = memory.read(|r| Ok(r.range(records::TRACES, KeyRange::all(), usize::MAX)?)).await.unwrap();
    assert_eq!(kept.iter().map(|(_, trace)| trace.sources.len()).collect::<Vec<_>>(), [0]);
    let from = Selection::From(vec![Source::Memory(words.id)]);
    // Who may forget nothing of it isn't told that there was something.
    let ci = memory.forget(&caller("ci"), from.clone(), false).await;
    assert_eq!(ci, Err(MemoryError::NoMemory(words.id.to_string())));
    assert_eq!(forget(&memory, from.clone()).await.ids, [derived.id]);
    let again = memory.forget(&owner, from, false).await;
    assert_eq!(again, Err(MemoryError::NoMemory(words.id.to_string())));
    check(&memory).await;
}

#[tokio::test]
async fn an_edit_takes_nothing_out_of_reach_of_what_forgets_its_sources() {
    for trust in [Trust::World, Trust::Owner] {
        let (memory, owner) = (memory(), Caller::owner());
        let lie = chain(&memory, 0).await.remove(0);
        let file = file_of(&memory, &lie).await;
        let body = MemoryBody { text: "Acme is the best".into(), ..file.body.clone() };
        let (edited, fate) = memory.import(&owner, vec![Imported { body, ..file }], trust).await.unwrap().remove(0);
        assert_eq!((fate, edited.trust), (Fate::Edited, trust));
        let sources = memory.show(&owner, &edited.id.to_string()).await.unwrap().body.sources;
        let first = if trust == Trust::Owner { "owner" } else { "world:an edited file" };
        assert_eq!(sources, [first.to_owned(), source::of_memory(&lie.id), peer().to_string()]);
        // An edit of the edit names each once.
        let file = file_of(&memory, &edited).await;
        let body = MemoryBody { text: "ACME is the best".into(), ..file.body.clone() };
        memory.import(&owner, vec![Imported { body, ..file }], trust).await.unwrap();
        assert_eq!(forget(&memory, Selection::From(vec![peer()])).await.ids.len(), 3);
        assert_eq!(texts(&memory, &owner, ask("best")).await, Vec::<String>::new());
        check(&memory).await;
    }
}

#[tokio::test]
async fn an_import_in_any_order_brings_nothing_back_to_life() {
    let (first, owner) = (memory(), Caller::owner());
    let at = |secs: u64| Some(Timestamp::from_secs(START + secs));
    let said = |text: &str, secs, old: &[&Remembered]| NewMemory {
        time: at(secs),
        supersedes: old.iter().map(|old| old.id.to_string()).collect(),
        ..new(text, "a")
    };
    let old = put(&first, &owner, said("port is 3338", 0, &[])).await;
    let newer = put(&first, &owner, said("port is 4848", 10, &[&old])).await;
    let newest = put(&first, &owner, said("port is 5959", 20, &[&newer])).await;
    let files = [file_of(&first, &old).await, file_of(&first, &newer).await, file_of(&first, &newest).await];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for at_once in [true, false] {
            let memory = memory();
            let files: Vec<_> = order.iter().map(|index| files[*index].clone()).collect();
            for files in files.chunks(if at_once { 3 } else { 1 }) {
                let done = memory.import(&owner, files.to_vec(), Trust::World).await.unwrap();
                assert!(done.iter().all(|(_, fate)| *fate == Fate::Restored));
                check(&memory).await;
            }
            assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 5959"], "{order:?}");
            let as_of = |secs| Question { as_of: at(secs), ..ask("port") };
            assert_eq!(texts(&memory, &owner, as_of(9)).await, ["port is 3338"]);
            assert_eq!(texts(&memory, &owner, as_of(19)).await, ["port is 4848"]);
            assert_eq!(memory.history(&owner, &old.id.to_string()).await.unwrap().len(), 3);
            // What it took the place of holds again once it is forgotten; and what was forgotten in between ends nothing.
            forget(&memory, ids(&newer)).await;
            check(&memory).await;
            assert_eq!(texts(&memory, &owner, as_of(19)).await, ["port is 3338"]);
            forget(&memory, ids(&newest)).await;
            check(&memory).await;
            assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 3338"]);
        }
    }
}

#[tokio::test]
async fn a_domain_that_an_import_makes_is_in_the_language_that_the_file_says() {
    let (first, owner) = (memory(), Caller::owner());
    let german = NewMemory { language: Some(Language::De), ..new("Die Häuser sind klein", "wohnen") };
    let file = file_of(&first, &put(&first, &owner, german).await).await;
    let memory = memory();
    let file = Imported { language: Some(Language::De), ..file };
    memory.import(&owner, vec![file.clone()], Trust::World).await.unwrap();
    assert_eq!(memory.domain(&owner, "wohnen").await.unwrap().language, Language::De);
    assert_eq!(texts(&memory, &owner, ask("Haus kleine")).await.len(), 1);
    // Into one that is there it comes as it is: so the language of a domain is changed.
    let other = super::memory();
    put(&other, &owner, new("english", "wohnen")).await;
    assert_eq!(other.import(&owner, vec![file], Trust::World).await.unwrap()[0].1, Fate::Restored);
    assert_eq!(other.domain(&owner, "wohnen").await.unwrap().language, Language::En);
}

#[tokio::test]
async fn nobodys_words_are_neighbours_of_anothers_though_it_names_the_same_session() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let said = |text: &str| NewMemory { session: Session::Named("talk".into()), ..new(text, "shared") };
    put(&memory, &owner, said("one")).await;
    let settings = DomainSettings { writers: Some(vec!["ci".into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "shared", settings).await.unwrap();
    let theirs = put(&memory, &ci, said("theirs")).await;
    put(&memory, &owner, said("two")).await;
    let neighbours = memory
        .read(|r| {
            let heads = r.range(records::HEADS, KeyRange::all(), usize::MAX)?;
            Ok(heads.iter().map(|(_, head)| (head.before, head.after)).collect::<Vec<_>>())
        })
        .await
        .unwrap();
    assert_eq!(neighbours, [(0, 3), (0, 0), (1, 0)]);
    forget(&memory, ids(&theirs)).await;
    check(&memory).await;
}
