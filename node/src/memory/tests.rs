#![allow(clippy::unwrap_used)]
mod dreaming;
mod edges;
mod forgetting;

use std::collections::BTreeMap;

use guilder_protocol::{bytes::ByteArray, fault::AtFault as _, market::Unit};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng},
};

use super::{
    ranking::naive::{self, Scanned},
    records::check_whole,
    *,
};
use crate::{
    gate::{Risk, Scope},
    limits::{BRIEF_BYTES, BRIEF_LINES, MAX_FORGETTINGS},
};

const START: u64 = 1_700_000_000;

fn runtime() -> Runtime {
    Runtime::anchored(Timestamp::from_secs(START))
}

fn key() -> AgentKey {
    AgentKey::from_seed(&[7; 32])
}

fn memory_at(place: &Place) -> Memory {
    Memory::new(place.clone(), key(), runtime())
}

fn memory() -> Memory {
    memory_at(&Place::disks())
}

fn caller(name: &str) -> Caller {
    let unit: Unit = "play".parse().unwrap();
    let scope = Scope { risk: Risk::Medium, ..Scope::hiring(5, unit, Vec::new()) };
    Caller::named(crate::gate::callers::account(name), scope, ByteArray([1; 32]))
}

fn new(text: &str, domain: &str) -> NewMemory {
    NewMemory { text: text.into(), domain: domain.into(), ..NewMemory::default() }
}

async fn put(memory: &Memory, caller: &Caller, new: NewMemory) -> Remembered {
    memory.remember(caller, vec![new]).await.unwrap().remove(0)
}

fn ask(text: &str) -> Question {
    Question { text: text.into(), limit: 10, ..Question::default() }
}

async fn texts(memory: &Memory, caller: &Caller, question: Question) -> Vec<String> {
    memory.recall(caller, question).await.unwrap().into_iter().map(|found| found.body.text).collect()
}

async fn check(memory: &Memory) {
    memory.read(|r| Ok(check_whole(r)?)).await.unwrap();
}

#[tokio::test]
async fn what_is_remembered_is_found_by_its_words_with_where_it_is_from() {
    let (memory, owner) = (memory(), Caller::owner());
    let first = put(&memory, &owner, new("The mint was slow on Monday", "suppliers")).await;
    put(&memory, &owner, new("Bees need flowers", "suppliers")).await;
    let found = memory.recall(&owner, ask("slowest mints?")).await.unwrap();
    assert_eq!(found[0].id, first.id);
    assert_eq!(found[0].body.sources, ["owner"]);
    assert_eq!((found[0].body.trust, found[0].ended), (Trust::Owner, None));
    let claim = memory.claim(&owner, &first.id.to_string()).await.unwrap();
    assert_eq!((claim.cid(), claim.issuer()), (first.id, key().id()));
    assert_eq!(memory.show(&owner, &first.id.to_string()[50..]).await.unwrap().id, first.id);
    assert!(matches!(memory.show(&owner, "q").await, Err(MemoryError::NoMemory(_))));
    assert_eq!(texts(&memory, &owner, ask("honey")).await, Vec::<String>::new());
    assert!(matches!(memory.recall(&owner, ask(" ")).await, Err(MemoryError::NoQuestion)));
    // The same said again in the same second is the same claim.
    let again = put(&memory, &owner, new("The mint was slow on Monday", "suppliers")).await;
    assert_eq!((again.id, again.is_new), (first.id, false));
    check(&memory).await;
}

#[tokio::test]
async fn trust_is_the_least_of_the_sources_and_no_caller_raises_it() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let sourced = |text: &str, sources: Vec<Source>| NewMemory { sources, ..new(text, "a") };
    let said = put(&memory, &owner, new("said by the owner", "a")).await;
    let bought = put(&memory, &owner, sourced("bought", vec![Source::Peer(key().id()), Source::Owner])).await;
    assert_eq!((said.trust, bought.trust), (Trust::Owner, Trust::Peer));
    let read = put(&memory, &owner, sourced("read", vec![Source::World("https://a.example".into())])).await;
    let both = vec![Source::Memory(said.id), Source::Memory(read.id)];
    assert_eq!(put(&memory, &owner, sourced("of both", both)).await.trust, Trust::World);
    let lower = NewMemory { trust: Some(Trust::World), ..new("doubtful", "a") };
    assert_eq!(put(&memory, &owner, lower).await.trust, Trust::World);
    // A caller has no more than a peer's, whatever it names, and none where it may not write.
    let theirs = NewMemory { trust: Some(Trust::Owner), ..new("trust me", "ci") };
    assert_eq!(put(&memory, &ci, theirs).await.trust, Trust::Peer);
    let as_owner = NewMemory { sources: vec![Source::Owner], ..new("the owner says so", "ci") };
    assert_eq!(memory.remember(&ci, vec![as_owner]).await, Err(MemoryError::NotTheOwner));
    let error = memory.remember(&ci, vec![new("x", "a")]).await.unwrap_err();
    assert!(matches!(error, MemoryError::MayNotWrite { .. }) && error.hint().is_some());
    check(&memory).await;
}

#[tokio::test]
async fn what_is_less_trusted_supersedes_nothing_and_what_was_superseded_is_found_as_of_then() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let at = |secs: u64| Some(Timestamp::from_secs(START + secs));
    let old = put(&memory, &owner, NewMemory { time: at(0), ..new("port is 3338", "a") }).await;
    let settings = DomainSettings { writers: Some(vec!["ci".into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "a", settings).await.unwrap();
    let superseding =
        |text: &str, secs: u64| NewMemory { supersedes: vec![old.id.to_string()], time: at(secs), ..new(text, "a") };
    let error = memory.remember(&ci, vec![superseding("port is 6666", 5)]).await.unwrap_err();
    assert_eq!(error, MemoryError::LowerTrust { new: Trust::Peer, old: Trust::Owner });
    let elsewhere = NewMemory { domain: "b".into(), ..superseding("port", 5) };
    assert_eq!(memory.remember(&owner, vec![elsewhere]).await.unwrap_err(), MemoryError::OtherDomain);
    let newer = put(&memory, &owner, superseding("port is 4848", 10)).await;
    assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 4848"]);
    let as_of = |secs| Question { as_of: at(secs), ..ask("port") };
    assert_eq!(texts(&memory, &owner, as_of(9)).await, ["port is 3338"]);
    assert_eq!(texts(&memory, &owner, as_of(10)).await, ["port is 4848"]);
    let history = memory.history(&owner, &old.id.to_string()).await.unwrap();
    assert_eq!(history.iter().map(|one| one.id).collect::<Vec<_>>(), [old.id, newer.id]);
    // What it took the place of holds again once it is forgotten.
    memory.forget(&owner, Selection::Ids(vec![newer.id.to_string()]), false).await.unwrap();
    assert_eq!(texts(&memory, &owner, ask("port")).await, ["port is 3338"]);
    check(&memory).await;
}

#[tokio::test]
async fn a_domain_that_a_caller_may_not_read_is_to_it_as_none() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let secret = put(&memory, &owner, new("the vault's code is 7", "vault")).await;
    put(&memory, &owner, new("the vault is in the cellar", "house")).await;
    let settings = DomainSettings { readers: Some(vec![EVERYBODY.into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "house", settings).await.unwrap();
    assert_eq!(texts(&memory, &ci, ask("vault code")).await, ["the vault is in the cellar"]);
    let named = |name: &str| Question { domains: vec![name.into()], ..ask("vault") };
    assert_eq!(memory.recall(&ci, named("vault")).await, Err(MemoryError::NoDomain("vault".into())));
    assert_eq!(memory.recall(&ci, named("nowhere")).await, Err(MemoryError::NoDomain("nowhere".into())));
    let id = secret.id.to_string();
    let unknown = Err(MemoryError::NoMemory(id.clone()));
    assert_eq!(memory.show(&ci, &id).await, unknown);
    assert_eq!(memory.lineage(&ci, &id).await, Err(MemoryError::NoMemory(id.clone())));
    assert!(memory.brief(&ci, "vault").await.is_err());
    assert_eq!(memory.domains(&ci).await.unwrap().len(), 1);
    // Nor can it be derived from, or forgotten.
    let derived = NewMemory { sources: vec![Source::Memory(secret.id)], ..new("of it", "ci.mine") };
    assert!(memory.remember(&ci, vec![derived]).await.is_err());
    assert!(memory.forget(&ci, Selection::Ids(vec![id.clone()]), false).await.is_err());
    // A part of the node that reads, and has no name in any list, reads no domain.
    assert!(memory.domains(&Caller::watcher("monitor")).await.unwrap().is_empty());
    check(&memory).await;
}

#[tokio::test]
async fn what_is_private_is_not_said_again_where_it_is_not() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let secret = put(&memory, &ci, new("the code is 7", "ci.vault")).await;
    put(&memory, &ci, new("hello", "ci.open")).await;
    let open = DomainSettings { private: Some(false), ..DomainSettings::default() };
    memory.set_domain(&owner, "ci.open", open).await.unwrap();
    let derived = |domain: &str| NewMemory { sources: vec![Source::Memory(secret.id)], ..new("code: 7", domain) };
    let refused = memory.remember(&ci, vec![derived("ci.open")]).await.unwrap_err();
    assert_eq!(refused, MemoryError::Private { from: "ci.vault".into(), to: "ci.open".into() });
    put(&memory, &ci, derived("ci.vault")).await;
    // Nor taken out of the node, and the answer is of the same moment as what is taken out.
    assert_eq!(memory.all(&ci, &["ci.vault".into()], false).await, Err(MemoryError::IsPrivate("ci.vault".into())));
    assert_eq!(memory.all(&ci, &["ci.vault".into()], true).await.unwrap().len(), 2);
    assert_eq!(memory.all(&ci, &["ci.open".into()], false).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_caller_makes_no_domain_but_of_its_own_name_and_is_not_told_which_there_are() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    put(&memory, &owner, new("there", "secret")).await;
    let refused = |name: &str| MemoryError::MayNotWrite { caller: "caller/ci".into(), domain: name.into() };
    for name in ["secret", "vault", "cinema", "ci-notes", "other.ci", "caller"] {
        assert_eq!(memory.remember(&ci, vec![new("x", name)]).await, Err(refused(name)));
    }
    let body = memory.all(&owner, &[], true).await.unwrap().remove(0).body;
    let file = Imported { id: None, at: None, language: None, body: MemoryBody { domain: "vault".into(), ..body } };
    assert_eq!(memory.import(&ci, vec![file], Trust::World).await, Err(refused("vault")));
    for name in ["ci", "ci.notes"] {
        put(&memory, &ci, new("x", name)).await;
    }
    // What the owner puts there later is the owner's alone; so is what a caller made by the owner's word, but for what that says.
    put(&memory, &owner, new("The code is 7", "vault")).await;
    memory.set_domain(&ci, "asked", DomainSettings::default()).await.unwrap();
    put(&memory, &owner, new("The other code is 8", "asked")).await;
    assert_eq!(texts(&memory, &ci, ask("code")).await, Vec::<String>::new());
    check(&memory).await;
}

#[tokio::test]
async fn lists_are_bounded_before_they_are_looked_up_and_last_letters_do_for_ids() {
    let (memory, owner) = (memory(), Caller::owner());
    let said = put(&memory, &owner, new("x", "a")).await;
    let tail = said.id.to_string()[50..].to_owned();
    let many = |count: usize| vec![tail.clone(); count];
    let superseding = |count| NewMemory { supersedes: many(count), ..new("y", "a") };
    let refused = memory.remember(&owner, vec![superseding(MAX_MEMORY_SOURCES + 1)]).await;
    assert_eq!(refused, Err(MemoryError::TooManySources));
    let sources = vec![Source::Memory(said.id); MAX_MEMORY_SOURCES + 1];
    let refused = memory.remember(&owner, vec![NewMemory { sources, ..new("y", "a") }]).await;
    assert_eq!(refused, Err(MemoryError::TooManySources));
    let refused = memory.forget(&owner, Selection::Ids(many(MAX_RECALLED + 1)), true).await;
    assert_eq!(refused, Err(MemoryError::TooManyIds));
    let long = Selection::Query(ask(&"y ".repeat(MAX_QUESTION)));
    assert_eq!(memory.forget(&owner, long, true).await, Err(MemoryError::LongQuestion));
    let blank = Selection::Query(ask(" "));
    assert_eq!(memory.forget(&owner, blank, false).await, Err(MemoryError::NoQuestion));
    // As many as there may be, each with its own.
    let newer = put(&memory, &owner, superseding(MAX_MEMORY_SOURCES)).await;
    assert!(memory.show(&owner, &said.id.to_string()).await.unwrap().ended.is_some());
    let mixed = [vec![newer.id.to_string()], many(MAX_RECALLED - 1)].concat();
    let done = memory.forget(&owner, Selection::Ids(mixed.clone()), true).await.unwrap();
    assert_eq!(done.ids, [said.id, newer.id]);
    let unknown = Selection::Ids(vec![said.id.to_string(), "zzzz".into()]);
    assert_eq!(memory.forget(&owner, unknown, false).await, Err(MemoryError::NoMemory("zzzz".into())));
    assert_eq!(memory.forget(&owner, Selection::Ids(mixed), false).await.unwrap().ids.len(), 2);
    check(&memory).await;
}

#[tokio::test]
async fn one_caller_says_no_more_than_its_share_and_others_say_on() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let said = put(&memory, &ci, new("one", "ci")).await;
    let is = |count: u64| move |w: &mut Write<'_>| w.put(records::SAID_BY, Key::of("caller/ci"), &count);
    memory.store().await.unwrap().write(is(MAX_MEMORIES_OF_ONE - 1)).await.unwrap();
    put(&memory, &ci, new("the last", "ci")).await;
    assert_eq!(memory.remember(&ci, vec![new("more", "ci")]).await, Err(MemoryError::TooManyOfOne));
    put(&memory, &owner, new("the owner", "ci")).await;
    put(&memory, &caller("cd"), new("another", "cd")).await;
    memory.forget(&ci, Selection::Ids(vec![said.id.to_string()]), false).await.unwrap();
    put(&memory, &ci, new("room again", "ci")).await;
    memory.store().await.unwrap().write(is(2)).await.unwrap();
    check(&memory).await;
}

#[tokio::test]
async fn an_export_of_more_than_it_holds_is_refused_and_not_cut() {
    let (memory, owner) = (memory(), Caller::owner());
    put(&memory, &owner, new("one", "a")).await;
    put(&memory, &owner, new("two", "b")).await;
    let full = |w: &mut Write<'_>| {
        let domain = Domain::of_name(w, "a")?.unwrap();
        Domain { memories: MAX_MEMORY_FILES as u64, ..domain }.put(w)
    };
    memory.store().await.unwrap().write(full).await.unwrap();
    assert_eq!(memory.all(&owner, &["a".into()], true).await.unwrap().len(), 1);
    assert_eq!(memory.all(&owner, &[], true).await, Err(MemoryError::TooManyFiles));
}

#[tokio::test]
async fn a_limit_of_none_is_of_one_and_what_a_filter_refuses_is_not_kept() {
    let (memory, owner) = (memory(), Caller::owner());
    let many = (0..200).map(|number| new(&format!("honey {number}"), "a"));
    memory.remember(&owner, many.collect()).await.unwrap();
    let limited = |limit| Question { limit, ..ask("honey") };
    for (limit, found) in [(0, 1), (1, 1), (MAX_RECALLED + 1, MAX_RECALLED)] {
        assert_eq!(texts(&memory, &owner, limited(limit)).await.len(), found);
    }
    let question = Selection::Query(limited(0));
    assert_eq!(memory.forget(&owner, question, true).await.unwrap().ids.len(), 1);
    let kept = |subject| {
        memory.read(move |r| {
            let filter = Filter { subject, ..Filter::default() };
            Ok(ranking::kept(r, &filter, 1..=200)?)
        })
    };
    assert_eq!(kept(None).await.unwrap(), 200);
    assert_eq!(kept(Some(1)).await.unwrap(), 0);
}

#[tokio::test]
async fn by_id_a_caller_forgets_what_it_said_and_nothing_of_others() {
    let (memory, owner, ci, cd) = (memory(), Caller::owner(), caller("ci"), caller("cd"));
    let settings = DomainSettings { writers: Some(vec!["ci".into(), "cd".into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "shared", settings).await.unwrap();
    let page = NewMemory { sources: vec![Source::World("a page".into())], ..new("the owner read this", "shared") };
    let read = put(&memory, &owner, page).await;
    let others = put(&memory, &cd, new("another said this", "shared")).await;
    let own = put(&memory, &ci, new("my own", "shared")).await;
    let all = || Selection::Ids([read.id, others.id, own.id].iter().map(ToString::to_string).collect());
    assert_eq!(memory.forget(&ci, all(), true).await.unwrap().ids, [own.id]);
    assert_eq!(memory.forget(&ci, all(), false).await.unwrap().ids, [own.id]);
    assert_eq!(texts(&memory, &owner, ask("this")).await.len(), 2);
    // With the owner's word, by which alone this is reached, it is what it is trusted with.
    let domain = Selection::Domain("shared".into());
    assert_eq!(memory.forget(&ci, domain, false).await.unwrap().ids, [read.id, others.id]);
    check(&memory).await;
}

#[tokio::test]
async fn forgetting_a_source_takes_all_that_was_made_of_it_and_lineage_shows_why() {
    let (memory, owner) = (memory(), Caller::owner());
    let (liar, honest) = (AgentKey::from_seed(&[8; 32]).id(), AgentKey::from_seed(&[9; 32]).id());
    let of = |text: &str, sources: Vec<Source>| NewMemory { sources, ..new(text, "market") };
    let lie = put(&memory, &owner, of("acme is the best seller", vec![Source::Peer(liar)])).await;
    let truth = put(&memory, &owner, of("beta is a good seller", vec![Source::Peer(honest)])).await;
    let both = vec![Source::Memory(lie.id), Source::Memory(truth.id)];
    let mixed = put(&memory, &owner, of("acme beats beta, sellers say", both)).await;
    let last = put(&memory, &owner, of("seller ranking: acme", vec![Source::Memory(mixed.id)])).await;
    let lineage = memory.lineage(&owner, &last.id.to_string()).await.unwrap();
    let steps: Vec<_> = lineage.iter().map(|link| (link.depth, link.memory.is_some())).collect();
    assert_eq!(steps, [(0, true), (1, true), (2, true), (3, false), (2, true), (3, false)]);
    assert_eq!(lineage[3].source, format!("peer:{}", liar.peer_id()));
    let dry = memory.forget(&owner, Selection::From(vec![Source::Peer(liar)]), true).await.unwrap();
    assert_eq!(dry.ids.len(), 3);
    assert_eq!(texts(&memory, &owner, ask("seller")).await.len(), 4);
    let done = memory.forget(&owner, Selection::From(vec![Source::Peer(liar)]), false).await.unwrap();
    assert_eq!((done.ids.len(), done.derived_left), (3, 0));
    assert_eq!(texts(&memory, &owner, ask("seller")).await, ["beta is a good seller"]);
    assert_eq!(memory.brief(&owner, "market").await.unwrap().lines, ["[peer] beta is a good seller"]);
    check(&memory).await;
}

#[tokio::test]
async fn what_is_forgotten_is_not_in_the_file_and_does_not_come_back_by_an_import() {
    const SECRET: &str = "Xyzzyplugh the launch word is qwertzuiop";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.redb");
    let (memory, owner) = (memory_at(&Place::file(&path)), Caller::owner());
    let keep = put(&memory, &owner, new("this stays here", "notes")).await;
    let secret = NewMemory { subject: Some("launchword".into()), ..new(SECRET, "notes") };
    let secret = put(&memory, &owner, secret).await;
    let saved = memory.show(&owner, &secret.id.to_string()).await.unwrap();
    let holds = |word: &str| {
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
    };
    assert!(holds("xyzzyplugh") && holds("launchword") && holds("qwertzuiop"));
    memory.forget(&owner, Selection::Ids(vec![secret.id.to_string()]), false).await.unwrap();
    for word in ["xyzzyplugh", "launchword", "qwertzuiop"] {
        assert!(!holds(word), "{word} is left in the file");
    }
    assert!(holds("this stays here"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the old file and the fresh one are one");
    let file = Imported { id: Some(saved.id), at: Some(saved.at), language: None, body: saved.body };
    let back = memory.import(&owner, vec![file.clone()], Trust::World).await.unwrap();
    assert_eq!(back[0].1, Fate::Forgotten);
    assert_eq!(texts(&memory, &owner, ask("launch word")).await, Vec::<String>::new());
    assert_eq!(memory.show(&owner, &keep.id.to_string()).await.unwrap().id, keep.id);
    check(&memory).await;
    memory.close().await;
    // The same after a restart.
    let memory = memory_at(&Place::file(&path));
    assert_eq!(memory.import(&owner, vec![file], Trust::World).await.unwrap()[0].1, Fate::Forgotten);
    memory.close().await;
}

#[tokio::test]
async fn an_import_is_what_it_was_unless_it_was_edited_and_then_anybodys_word() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let said = put(&memory, &owner, new("the port is 3338", "notes")).await;
    let saved = memory.show(&owner, &said.id.to_string()).await.unwrap();
    let file = Imported { id: Some(saved.id), at: Some(saved.at), language: None, body: saved.body };
    let import = async |caller: &Caller, file: &Imported, edited| {
        memory.import(caller, vec![file.clone()], edited).await.map(|mut done| done.remove(0))
    };
    assert_eq!(import(&owner, &file, Trust::World).await.unwrap().1, Fate::Kept);
    // The text, the trust, the time it was remembered: nothing can be changed and stay the owner's word.
    let text = MemoryBody { text: "the port is 6666".into(), ..file.body.clone() };
    let by = MemoryBody { by: "caller/ci".into(), ..file.body.clone() };
    for body in [text.clone(), by] {
        let (done, fate) = import(&owner, &Imported { body, ..file.clone() }, Trust::World).await.unwrap();
        assert_eq!((done.trust, fate), (Trust::World, Fate::Edited));
    }
    let later = Imported { at: file.at.map(|at| at.saturating_add(1)), ..file.clone() };
    assert_eq!(import(&owner, &later, Trust::World).await.unwrap().0.trust, Trust::World);
    assert_eq!(memory.show(&owner, &said.id.to_string()).await.unwrap().ended, None, "it superseded nothing");
    // Another node's memory is none of ours.
    let other = Memory::new(Place::disks(), AgentKey::from_seed(&[8; 32]), runtime());
    let (done, fate) = other.import(&owner, vec![file.clone()], Trust::World).await.unwrap().remove(0);
    assert_eq!((done.trust, fate), (Trust::World, Fate::Edited));
    // The owner may say that it is so; then it takes the place of the old one.
    let edited = Imported { body: text, ..file.clone() };
    let (done, _) = import(&owner, &edited, Trust::Owner).await.unwrap();
    assert_eq!(done.trust, Trust::Owner);
    assert!(memory.show(&owner, &said.id.to_string()).await.unwrap().ended.is_some());
    // A caller's edit is never more than its own word.
    let settings = DomainSettings { writers: Some(vec!["ci".into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "notes", settings).await.unwrap();
    let body = MemoryBody { text: "mine".into(), ..file.body.clone() };
    let (done, _) = import(&ci, &Imported { body, ..file }, Trust::Owner).await.unwrap();
    assert_eq!(done.trust, Trust::Peer);
    check(&memory).await;
}

#[tokio::test]
async fn a_caller_forgets_no_more_than_it_is_trusted() {
    let (memory, owner, ci) = (memory(), Caller::owner(), caller("ci"));
    let fact = put(&memory, &owner, new("keep this", "shared")).await;
    let settings = DomainSettings { writers: Some(vec!["ci".into()]), ..DomainSettings::default() };
    memory.set_domain(&owner, "shared", settings).await.unwrap();
    let own = put(&memory, &ci, new("my own this", "shared")).await;
    let all = Selection::Ids(vec![fact.id.to_string(), own.id.to_string()]);
    assert_eq!(memory.forget(&ci, all, false).await.unwrap().ids, [own.id]);
    assert_eq!(memory.forget(&ci, Selection::Domain("shared".into()), false).await.unwrap().ids, []);
    assert_eq!(memory.domains(&owner).await.unwrap()[0].memories, 1);
    assert_eq!(memory.forget(&owner, Selection::Domain("shared".into()), false).await.unwrap().ids, [fact.id]);
    assert!(memory.domains(&owner).await.unwrap().is_empty());
    check(&memory).await;
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_pause_are_a_session_and_after_it_another() {
    let (memory, owner) = (memory(), Caller::owner());
    let mut sessions = Vec::new();
    for pause in [0, MEMORY_SESSION_SECS, MEMORY_SESSION_SECS, MEMORY_SESSION_SECS + 1] {
        tokio::time::advance(std::time::Duration::from_secs(pause)).await;
        sessions.push(put(&memory, &owner, new(&format!("after {pause} {}", sessions.len()), "a")).await.session);
    }
    assert!(sessions[0] == sessions[1] && sessions[1] == sessions[2] && sessions[2] != sessions[3], "{sessions:?}");
}

#[tokio::test]
async fn a_brief_keeps_its_bounds_and_puts_what_is_trusted_first() {
    let (memory, owner) = (memory(), Caller::owner());
    let many = (0..300).map(|number| NewMemory {
        trust: Some(if number % 2 == 0 { Trust::World } else { Trust::Owner }),
        ..new(&format!("fact {number}\nin two lines"), "a")
    });
    memory.remember(&owner, many.collect()).await.unwrap();
    let brief = memory.brief(&owner, "a").await.unwrap();
    assert_eq!((brief.lines.len(), brief.left_out), (BRIEF_LINES, 100));
    assert_eq!(brief.lines[0], "[owner] fact 299 in two lines");
    assert!(brief.lines[150].starts_with("[world]"));
    let long = (0..20).map(|number| new(&format!("{number} {}", "y".repeat(4000)), "b"));
    memory.remember(&owner, long.collect()).await.unwrap();
    let brief = memory.brief(&owner, "b").await.unwrap();
    let bytes: usize = brief.lines.iter().map(|line| line.len() + 1).sum();
    assert!(bytes <= BRIEF_BYTES && brief.lines.len() == 6 && brief.left_out == 14, "{bytes}");
}

/// A step of the property test.
#[derive(Clone, Debug)]
enum Step {
    Remember { words: Vec<u8>, domain: u8, session: Option<u8>, trust: u8, supersedes: Option<u8> },
    Forget(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let remember = (
        prop::collection::vec(0_u8..12, 1..9),
        0_u8..2,
        prop::option::of(0_u8..3),
        0_u8..2,
        prop::option::weighted(0.2, any::<u8>()),
    );
    let remember = remember.prop_map(|(words, domain, session, trust, supersedes)| Step::Remember {
        words,
        domain,
        session,
        trust,
        supersedes,
    });
    prop::collection::vec(prop_oneof![6 => remember, 1 => any::<u8>().prop_map(Step::Forget)], 1..60)
}

const WORDS: [&str; 12] =
    ["mint", "mints", "seller", "slow", "painted", "the", "port", "paint", "honey", "what", "coin", "ü"];

fn text_of(words: &[u8]) -> String {
    words.iter().map(|word| WORDS[usize::from(*word)]).collect::<Vec<_>>().join(" ")
}

/// All that there is, as a scan sees it, in the order in which it was remembered.
async fn scanned(memory: &Memory) -> Vec<Scanned> {
    let rows = memory.read(|r| {
        let mut all = Vec::new();
        for (key, said) in r.range(records::SAID, KeyRange::all(), usize::MAX)? {
            let number = records::last_number(&key).unwrap();
            let head = head_of(r, number)?.unwrap();
            let domain = Domain::of_number(r, head.domain)?.unwrap().name;
            all.push(Scanned { number, domain, session: said.session, text: said.text, head });
        }
        Ok(all)
    });
    rows.await.unwrap()
}

async fn step(memory: &Memory, known: &mut Vec<Cid>, index: usize, step: &Step) {
    let owner = Caller::owner();
    match step {
        Step::Remember { words, domain, session, trust, supersedes } => {
            let old = supersedes.and_then(|pick| known.get(usize::from(pick) % known.len().max(1)));
            let new = NewMemory {
                // The subject makes each another one.
                subject: Some(format!("s{index}")),
                session: session.map_or(Session::None, |session| Session::Named(format!("s{session}"))),
                trust: Some(if *trust == 0 { Trust::World } else { Trust::Owner }),
                supersedes: old.iter().map(ToString::to_string).collect(),
                ..new(&text_of(words), ["a", "b"][usize::from(*domain)])
            };
            match memory.remember(&owner, vec![new]).await {
                Ok(done) => known.push(done[0].id),
                Err(MemoryError::OtherDomain | MemoryError::LowerTrust { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        Step::Forget(pick) if !known.is_empty() => {
            let id = known.remove(usize::from(*pick) % known.len());
            memory.forget(&owner, Selection::Ids(vec![id.to_string()]), false).await.unwrap();
        }
        Step::Forget(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn recall_is_what_a_scan_of_everything_gives(
        steps in steps(),
        questions in prop::collection::vec((prop::collection::vec(0_u8..12, 1..5), 1_usize..12, any::<bool>()), 4),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let (memory, mut known) = (memory(), Vec::new());
            for (index, one) in steps.iter().enumerate() {
                step(&memory, &mut known, index, one).await;
            }
            check(&memory).await;
            let all = scanned(&memory).await;
            for (words, limit, trusted) in questions {
                let (text, filter) = (text_of(&words), Filter {
                    trust: trusted.then_some(Trust::Owner),
                    ..Filter::default()
                });
                let expected = naive::ranked(&all, &text, &filter, limit);
                let found = memory.read(move |r| {
                    Ok(ranked(r, &text, &Domain::all(r)?, &filter, limit)?)
                }).await.unwrap();
                let scores = |hits: &[ranking::Hit]| hits.iter().map(|hit| (hit.number, hit.score)).collect::<Vec<_>>();
                prop_assert_eq!(scores(&found), scores(&expected));
            }
            Ok(())
        })?;
    }

    /// The power fails at any operation: each memory is there with its postings or not at all, what was acknowledged is there, what was
    /// forgotten stays so, and the file is written anew where that was due.
    #[test]
    fn no_memory_without_its_postings_wherever_the_power_fails(
        steps in steps(),
        fuse in 0_u64..600,
        of_fresh in 0_u64..60,
        seed in any::<u64>(),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let (place, owner) = (Place::disks(), Caller::owner());
            let memory = memory_at(&place);
            put(&memory, &owner, new("before all else", "a")).await;
            let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[seed.to_le_bytes(); 2].concat());
            place.disk().power_off_after(fuse);
            let (mut there, mut gone) = (BTreeMap::new(), Vec::new());
            for (index, one) in steps.iter().enumerate() {
                match one {
                    Step::Remember { words, .. } => {
                        let one = NewMemory { subject: Some(format!("s{index}")), ..new(&text_of(words), "a") };
                        match memory.remember(&owner, vec![one]).await {
                            Ok(done) => there.insert(done[0].id, ()),
                            Err(_) => break,
                        };
                    }
                    Step::Forget(_) => {
                        let Some((id, ())) = there.pop_first() else { continue };
                        // The fresh disk fails while it is written, in some of the runs.
                        place.fail_fresh_after((of_fresh < 30).then_some(of_fresh));
                        match memory.forget(&owner, Selection::Ids(vec![id.to_string()]), false).await {
                            Ok(_) => gone.push(id),
                            Err(_) => break,
                        }
                    }
                }
            }
            place.disk().crash_keeping(|| random.next_u32().is_multiple_of(2));
            drop(memory);
            place.fail_fresh_after(None);
            let memory = memory_at(&place);
            check(&memory).await;
            for id in there.keys() {
                prop_assert!(memory.show(&owner, &id.to_string()).await.is_ok(), "{id} was acknowledged");
            }
            for id in gone {
                prop_assert!(memory.show(&owner, &id.to_string()).await.is_err(), "{id} was forgotten");
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_kill_between_the_taking_out_and_the_fresh_file_is_finished_at_the_next_opening() {
    let (place, owner) = (Place::disks(), Caller::owner());
    let memory = memory_at(&place);
    let secret = put(&memory, &owner, new("plugh xyzzyword", "a")).await;
    put(&memory, &owner, new("this stays", "a")).await;
    // Taken out and marked, in one transaction, as a kill right behind it leaves it.
    let now = Timestamp::from_secs(START);
    let job = move |w: &mut Write<'_>| forget::take_out_and_mark(w, secret.id, now);
    memory.store().await.unwrap().transact(job).await.unwrap();
    let holds = |disk: &crate::store::testing::CrashBackend| disk.holds(b"xyzzyword");
    assert!(holds(&place.disk()));
    place.disk().crash();
    drop(memory);
    let memory = memory_at(&place);
    assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await, ["this stays"]);
    assert!(!holds(&place.disk()));
    check(&memory).await;
}

#[tokio::test]
async fn a_disk_that_fills_up_while_the_file_is_written_anew_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.redb");
    let (memory, owner) = (memory_at(&Place::file(&path)), Caller::owner());
    let secret = put(&memory, &owner, new("plugh xyzzyword", "a")).await;
    put(&memory, &owner, new("this stays", "a")).await;
    // Nothing can be made there: a folder is in the way.
    let beside = folder.path().join("memory.redb.new");
    std::fs::create_dir(&beside).unwrap();
    assert!(memory.forget(&owner, Selection::Ids(vec![secret.id.to_string()]), false).await.is_err());
    assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await, ["this stays"]);
    std::fs::remove_dir(&beside).unwrap();
    let again = memory.forget(&owner, Selection::Ids(vec![secret.id.to_string()]), false).await;
    assert_eq!(again, Err(MemoryError::NoMemory(secret.id.to_string())));
    assert_eq!(texts(&memory, &owner, ask("stays xyzzyword")).await, ["this stays"]);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"xyzzyword"));
    memory.close().await;
}
