//! Where forgetting, importing and what holds meet.

use super::*;

async fn file_of(memory: &Memory, id: Cid) -> Imported {
    let saved = memory.show(&Caller::owner(), &id.to_string()).await.unwrap();
    Imported { id: Some(saved.id), at: Some(saved.at), language: None, body: saved.body }
}

async fn import(memory: &Memory, caller: &Caller, file: Imported, edited: Trust) -> (Remembered, Fate) {
    memory.import(caller, vec![file], edited).await.unwrap().remove(0)
}

fn instead_of(text: &str, old: &Remembered) -> NewMemory {
    NewMemory { supersedes: vec![old.id.to_string()], ..new(text, &old.domain) }
}

async fn brief(memory: &Memory, domain: &str) -> (Vec<String>, u64) {
    let brief = memory.brief(&Caller::owner(), domain).await.unwrap();
    (brief.lines, brief.left_out)
}

#[tokio::test]
async fn a_question_forgets_what_answers_it_though_it_holds_no_longer() {
    let (memory, owner) = (memory(), Caller::owner());
    let old = put(&memory, &owner, new("the code is 7", "a")).await;
    let newer = put(&memory, &owner, instead_of("the code is 8", &old)).await;
    let by_id = Selection::Ids(vec![newer.id.to_string()]);
    assert_eq!(memory.forget(&owner, by_id, true).await.unwrap().hold_again, [old.id]);
    let done = memory.forget(&owner, Selection::Query(ask("code")), false).await.unwrap();
    assert_eq!((done.ids, done.hold_again), (vec![old.id, newer.id], vec![]));
    assert_eq!(texts(&memory, &owner, ask("code")).await, Vec::<String>::new());
    check(&memory).await;
}

#[tokio::test]
async fn what_two_superseded_holds_again_once_both_are_forgotten_and_that_is_said() {
    let (memory, owner) = (memory(), Caller::owner());
    let old = put(&memory, &owner, new("the code is 7", "a")).await;
    let [one, two] = [put(&memory, &owner, instead_of("it is 8", &old)).await, {
        put(&memory, &owner, instead_of("it is 9", &old)).await
    }];
    let ids = |of: &[&Remembered]| Selection::Ids(of.iter().map(|one| one.id.to_string()).collect());
    assert_eq!(memory.forget(&owner, ids(&[&one, &two]), true).await.unwrap().hold_again, [old.id]);
    assert_eq!(memory.forget(&owner, ids(&[&one]), false).await.unwrap().hold_again, []);
    assert_eq!(memory.show(&owner, &old.id.to_string()).await.unwrap().ended, Some(Timestamp::from_secs(START)));
    assert_eq!(memory.forget(&owner, ids(&[&two]), false).await.unwrap().hold_again, [old.id]);
    assert_eq!(memory.show(&owner, &old.id.to_string()).await.unwrap().ended, None);
    check(&memory).await;
}

#[tokio::test]
async fn a_file_of_a_forgotten_memory_brings_it_back_by_the_owners_word_alone() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let said = put(&memory, &ci, new("the code is 7 ", "ci")).await;
    let file = file_of(&memory, said.id).await;
    memory.forget(&owner, Selection::Ids(vec![said.id.to_string()]), false).await.unwrap();
    let edits = [
        MemoryBody { text: "the code is 7".into(), ..file.body.clone() },
        MemoryBody { subject: Some("code".into()), ..file.body.clone() },
        MemoryBody { domain: "ci.other".into(), ..file.body.clone() },
    ];
    for body in edits.clone() {
        for caller in [&ci, &owner] {
            let (done, fate) =
                import(&memory, caller, Imported { body: body.clone(), ..file.clone() }, Trust::World).await;
            assert_eq!((done.id, fate), (said.id, Fate::Forgotten));
        }
    }
    assert_eq!(texts(&memory, &owner, ask("code")).await, Vec::<String>::new());
    let [body, ..] = edits;
    let (done, fate) = import(&memory, &owner, Imported { body, ..file }, Trust::Owner).await;
    assert_eq!((done.trust, fate), (Trust::Owner, Fate::Edited));
    assert_eq!(texts(&memory, &owner, ask("code")).await, ["the code is 7"]);
    check(&memory).await;
}

#[tokio::test]
async fn no_file_carries_what_is_private_where_it_is_not_without_the_owners_word() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let secret = put(&memory, &ci, new("the code is 7", "ci.vault")).await;
    put(&memory, &ci, new("hello", "ci.open")).await;
    let open = DomainSettings { private: Some(false), ..DomainSettings::default() };
    memory.set_domain(&owner, "ci.open", open).await.unwrap();
    let file = file_of(&memory, secret.id).await;
    let of = |sources: Vec<String>| MemoryBody { domain: "ci.open".into(), sources, ..file.body.clone() };
    let moved = Imported { body: of(Vec::new()), ..file.clone() };
    let named = Imported { id: None, at: None, body: of(vec![format!("memory:{}", secret.id)]), ..file.clone() };
    for file in [moved.clone(), named] {
        let refused = memory.import(&ci, vec![file], Trust::World).await;
        assert_eq!(refused, Err(MemoryError::Private { from: "ci.vault".into(), to: "ci.open".into() }));
    }
    assert_eq!(import(&memory, &owner, moved, Trust::World).await.1, Fate::Edited);
    // Where the caller may not read, it is as where nothing is.
    let hidden = put(&memory, &owner, new("hidden", "vault")).await;
    let guessed = Imported { id: Some(hidden.id), body: of(vec!["bill: x".into(), " ".into()]), ..file };
    let (done, _) = import(&memory, &ci, guessed, Trust::World).await;
    let shown = memory.show(&owner, &done.id.to_string()).await.unwrap();
    assert_eq!(
        shown.body.sources,
        ["world:an edited file".to_owned(), format!("memory:{}", hidden.id), "world:bill: x".into()]
    );
    check(&memory).await;
}

#[tokio::test]
async fn a_brief_is_of_what_holds_whatever_ended_before_it() {
    let (memory, owner) = (memory(), Caller::owner());
    let first = put(&memory, &owner, new("the house is red", "a")).await;
    let seen = NewMemory { trust: Some(Trust::World), ..new("a page says so", "a") };
    put(&memory, &owner, seen).await;
    let mut last = put(&memory, &owner, new("port is 0", "a")).await;
    for port in 1..=(4 * BRIEF_LINES) {
        last = put(&memory, &owner, instead_of(&format!("port is {port}"), &last)).await;
    }
    let expected = ["[owner] port is 800", "[owner] the house is red", "[world] a page says so"];
    assert_eq!(brief(&memory, "a").await, (expected.map(ToOwned::to_owned).to_vec(), 0));
    // A line that doesn't fit leaves its room to the next, and is counted.
    for number in 0..7 {
        put(&memory, &owner, new(&format!("{number} {}", "y".repeat(4000)), "a")).await;
    }
    let (lines, left_out) = brief(&memory, "a").await;
    assert_eq!((lines.len(), left_out), (9, 1));
    assert_eq!(lines.last().unwrap(), "[world] a page says so");
    memory.forget(&owner, Selection::Ids(vec![first.id.to_string()]), false).await.unwrap();
    check(&memory).await;
}

#[tokio::test]
async fn a_caller_is_told_of_what_was_derived_only_where_it_may_read() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let said = put(&memory, &ci, new("the seller is slow", "ci")).await;
    let of = |domain: &str| NewMemory { sources: vec![Source::Memory(said.id)], ..new("made of it", domain) };
    put(&memory, &ci, of("ci")).await;
    put(&memory, &owner, of("vault")).await;
    for (caller, left) in [(&ci, 1), (&owner, 2)] {
        let dry = memory.forget(caller, Selection::Ids(vec![said.id.to_string()]), true).await.unwrap();
        assert_eq!(dry.derived_left, left);
    }
    assert_eq!(memory.forget(&ci, Selection::Ids(vec![said.id.to_string()]), false).await.unwrap().derived_left, 1);
}

#[tokio::test]
async fn an_edited_file_that_is_taken_in_again_is_kept_and_a_later_edit_takes_its_place() {
    let (memory, owner) = (memory(), Caller::owner());
    let said = put(&memory, &owner, new("port is 3338", "a")).await;
    let file = file_of(&memory, said.id).await;
    let edit = |text: &str| Imported { body: MemoryBody { text: text.into(), ..file.body.clone() }, ..file.clone() };
    for trust in [Trust::World, Trust::Owner] {
        let (first, fate) = import(&memory, &owner, edit("port is 4848"), trust).await;
        assert_eq!((first.trust, fate), (trust, Fate::Edited));
        for less in [trust, Trust::World] {
            assert_eq!(
                import(&memory, &owner, edit("port is 4848"), less).await,
                (Remembered { is_new: false, ..first.clone() }, Fate::Kept)
            );
        }
    }
    assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 4848"]);
    let (last, _) = import(&memory, &owner, edit("port is 5959"), Trust::Owner).await;
    assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 5959"]);
    // What took its place since isn't undone by a folder that nobody touched.
    put(&memory, &owner, instead_of("port is 6060", &last)).await;
    assert_eq!(import(&memory, &owner, edit("port is 5959"), Trust::Owner).await.1, Fate::Kept);
    assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 6060"]);
    // An edit that was forgotten isn't known again; what is made of the file then stands for itself.
    memory.forget(&owner, Selection::Ids(vec![last.id.to_string()]), false).await.unwrap();
    check(&memory).await;
    // Another caller's edit of the same file is another's.
    let ci = caller("ci");
    let settings = DomainSettings { writers: Some(vec!["ci".into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "a", settings).await.unwrap();
    assert_eq!(import(&memory, &ci, edit("port is 4848"), Trust::World).await.1, Fate::Edited);
    check(&memory).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_without_an_id_is_known_again_by_what_it_says() {
    let (memory, owner) = (memory(), Caller::owner());
    let said = put(&memory, &owner, new("x", "b")).await;
    let body =
        MemoryBody { text: "the house is red".into(), domain: "a".into(), ..file_of(&memory, said.id).await.body };
    let file = |secs| {
        let body = MemoryBody { time: Timestamp::from_secs(START + secs), ..body.clone() };
        Imported { id: None, at: None, language: None, body }
    };
    let (first, fate) = import(&memory, &owner, file(0), Trust::World).await;
    assert_eq!(fate, Fate::Edited);
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    // As what has no time is of now.
    let (again, fate) = import(&memory, &owner, file(60), Trust::World).await;
    assert_eq!((again.id, fate), (first.id, Fate::Kept));
    memory.forget(&owner, Selection::Ids(vec![first.id.to_string()]), false).await.unwrap();
    assert_eq!(import(&memory, &owner, file(60), Trust::World).await.1, Fate::Edited);
    assert_eq!(memory.all(&owner, &["a".into()], true).await.unwrap().len(), 1);
    check(&memory).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_asks_and_says_without_a_pause_is_one_session_in_all_domains() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let pause = async |secs| tokio::time::advance(std::time::Duration::from_secs(secs)).await;
    let first = put(&memory, &owner, new("one", "a")).await;
    pause(20 * 60).await;
    memory.recall(&owner, ask("one")).await.unwrap();
    pause(20 * 60).await;
    memory.brief(&owner, "a").await.unwrap();
    pause(20 * 60).await;
    let second = put(&memory, &owner, new("two", "b")).await;
    assert_eq!(first.session, second.session);
    // Another's questions are none of the owner's.
    pause(20 * 60).await;
    memory.recall(&ci, ask("one")).await.unwrap();
    pause(20 * 60).await;
    let third = put(&memory, &owner, new("three", "a")).await;
    assert_ne!(third.session, first.session);
    memory.forget(&owner, Selection::Domain("a".into()), false).await.unwrap();
    assert_eq!(put(&memory, &owner, new("four", "a")).await.session, third.session);
    check(&memory).await;
}

#[tokio::test]
async fn an_index_of_another_versions_words_is_made_anew_and_leaves_none_of_them() {
    let (place, owner) = (Place::disks(), Caller::owner());
    let memory = memory_at(&place);
    let many = (0..300).map(|number| new(&format!("honey number {number}"), ["a", "b"][number % 2]));
    memory.remember(&owner, many.collect()).await.unwrap();
    // As another version would have left it: of other words, and of other lengths.
    let spoil = |w: &mut Write<'_>| {
        for (key, _) in w.range(postings::BLOCKS, KeyRange::all(), usize::MAX)? {
            w.delete(postings::BLOCKS, key)?;
        }
        let mut added = postings::Added::default();
        for number in 1..=300_u32 {
            added.add(2 - number % 2, number, BTreeMap::from([("xyzzyword".to_owned(), 1)]), 1);
        }
        added.write(w)?;
        for domain in Domain::all(w)? {
            Domain { words: 150, ..domain }.put(w)?;
        }
        let books = records::Books { index: words::INDEX + 1, ..records::Books::read(w)? };
        w.put(records::BOOKS, records::BOOKS_KEY, &books)
    };
    memory.store().await.unwrap().write(spoil).await.unwrap();
    memory.close().await;
    assert!(place.disk().holds(b"xyzzyword"));
    let memory = memory_at(&place);
    assert_eq!(texts(&memory, &owner, ask("honey 17")).await[0], "honey number 17");
    assert!(!place.disk().holds(b"xyzzyword"));
    check(&memory).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_the_file_written_anew_so_often_a_day_and_the_owner_as_it_likes() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let ids = |of: &Remembered| Selection::Ids(vec![of.id.to_string()]);
    for number in 0..MAX_FORGETTINGS {
        let said = put(&memory, &ci, new(&format!("said {number}"), "ci")).await;
        assert_eq!(memory.forget(&ci, ids(&said), false).await.unwrap().ids, [said.id]);
    }
    let (said, others) = (put(&memory, &ci, new("last", "ci")).await, put(&memory, &owner, new("more", "ci")).await);
    assert_eq!(memory.forget(&ci, ids(&said), false).await, Err(MemoryError::TooOften));
    assert_eq!(texts(&memory, &owner, ask("last")).await, ["last"], "nothing of it is done");
    // What takes nothing out isn't counted.
    assert_eq!(memory.forget(&ci, ids(&others), false).await.unwrap().ids, []);
    assert_eq!(memory.forget(&owner, ids(&others), false).await.unwrap().ids, [others.id]);
    tokio::time::advance(std::time::Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(memory.forget(&ci, ids(&said), false).await.unwrap().ids, [said.id]);
    check(&memory).await;
}
