use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

use futures::future::join_all;
use guilder_protocol::fault::{AtFault, Fault};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng},
};
use serde::{Deserialize, Serialize};

use super::{testing::CrashBackend, *};
use crate::runtime::{Inline, Limits};

mod crashes;

const NOTES: Table<Note> = Table::new("test/notes");
const NUMBERS: Table<u64> = Table::new("test/numbers");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

fn note(text: &str) -> Note {
    Note { text: text.to_owned(), bytes: vec![0, 255] }
}

fn inline() -> Runtime {
    Runtime::with(Inline)
}

async fn open(disk: &CrashBackend) -> Store {
    Store::with_backend(disk.backend(), &inline()).await.unwrap()
}

async fn put(store: &Store, key: &'static [u8], value: u64) -> Result<(), StoreError> {
    store.write(move |w| w.put(NUMBERS, key, &value)).await
}

fn number(store: &Store, key: &[u8]) -> Option<u64> {
    store.read(|r| r.get(NUMBERS, key)).unwrap()
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Taken,
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[tokio::test]
async fn what_is_written_is_read_after_a_clean_close_and_a_crash() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    store.write(|w| w.put(NOTES, b"a", &note("one"))).await.unwrap();
    store.close().await;
    assert_eq!(put(&store, b"late", 1).await, Err(StoreError::Closed));
    assert_eq!(store.read(|r| r.get(NUMBERS, b"late")), Err(StoreError::Closed));
    let store = open(&disk).await;
    put(&store, b"b", 2).await.unwrap();
    disk.crash();
    let store = open(&disk).await;
    assert_eq!(store.read(|r| r.get(NOTES, b"a")).unwrap(), Some(note("one")));
    assert_eq!(number(&store, b"b"), Some(2));
    assert_eq!(number(&store, b"c"), None);
}

#[tokio::test]
async fn a_job_sees_its_own_changes_and_those_before_it() {
    let store = open(&CrashBackend::new()).await;
    put(&store, b"kept", 1).await.unwrap();
    let seen = store
        .write(|w| {
            w.put(NUMBERS, b"new", &2)?;
            w.delete(NUMBERS, b"kept")?;
            w.put(NUMBERS, b"gone", &3)?;
            w.delete(NUMBERS, b"gone")?;
            Ok((w.get(NUMBERS, b"new")?, w.contains(NUMBERS, b"kept")?, w.range(NUMBERS, KeyRange::all(), 9)?))
        })
        .await
        .unwrap();
    assert_eq!(seen, (Some(2), false, vec![(b"new".to_vec(), 2)]));
    assert_eq!((number(&store, b"new"), number(&store, b"kept"), number(&store, b"gone")), (Some(2), None, None));
}

#[tokio::test]
async fn jobs_of_concurrent_callers_share_one_commit_and_one_sync() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    put(&store, b"warm", 0).await.unwrap();
    let (commits, syncs) = (store.commits(), disk.syncs());
    let all = join_all((0..100_u64).map(|n| store.write(move |w| w.put(NUMBERS, Key::of(n), &n)))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((store.commits() - commits, disk.syncs() - syncs), (1, 1));
    for n in 0..50_u64 {
        store.write(move |w| w.put(NUMBERS, Key::of(n), &(n + 1))).await.unwrap();
    }
    assert_eq!((store.commits() - commits, disk.syncs() - syncs), (51, 51));
}

/// What is written behind costs no commit where another is made, has one of its own where none is, and goes with a crash.
#[tokio::test(start_paused = true)]
async fn what_is_written_behind_rides_the_next_commit_or_has_its_own_in_time() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    put(&store, b"warm", 0).await.unwrap();
    let behind = async |key: &'static [u8]| store.behind(move |w| w.put(NUMBERS, key, &1)).await.unwrap();
    let (commits, syncs) = (store.commits(), disk.syncs());
    behind(b"rides").await;
    behind(b"too").await;
    assert_eq!((store.commits(), number(&store, b"rides")), (commits, None), "nobody has waited for anything yet");
    put(&store, b"carrier", 1).await.unwrap();
    assert_eq!((store.commits() - commits, disk.syncs() - syncs), (1, 1));
    assert_eq!((number(&store, b"rides"), number(&store, b"too")), (Some(1), Some(1)));
    // In its order: a later write of the same key wins.
    behind(b"carrier").await;
    put(&store, b"carrier", 2).await.unwrap();
    assert_eq!(number(&store, b"carrier"), Some(2));
    // By itself.
    let commits = store.commits();
    behind(b"alone").await;
    tokio::time::sleep(crate::limits::STORE_BEHIND * 2).await;
    assert_eq!((store.commits() - commits, number(&store, b"alone")), (1, Some(1)));
    // Refusing or panicking, it disturbs nobody; a crash takes it, a clean end doesn't.
    store.behind(|_| Err(StoreError::Closed)).await.unwrap();
    put(&store, b"after", 3).await.unwrap();
    behind(b"kept").await;
    store.close().await;
    let store = open(&disk).await;
    assert_eq!((number(&store, b"after"), number(&store, b"kept")), (Some(3), Some(1)));
    store.behind(|w| w.put(NUMBERS, b"crashed", &1)).await.unwrap();
    disk.crash();
    let store = open(&disk).await;
    assert_eq!(number(&store, b"crashed"), None);
}

#[tokio::test]
async fn a_job_that_refuses_leaves_nothing_and_disturbs_nobody() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    let take = |who: u64| {
        let store = store.clone();
        async move {
            store
                .transact(move |w| {
                    w.put(NUMBERS, Key::of("tried").and(who), &who)?;
                    if w.contains(NUMBERS, b"proof")? {
                        return Err(Refusal::Taken);
                    }
                    w.put(NUMBERS, b"proof", &who)?;
                    Ok(who)
                })
                .await
        }
    };
    let all = join_all([take(1), take(2), take(3)]).await;
    assert_eq!(all, [Ok(1), Err(Refusal::Taken), Err(Refusal::Taken)]);
    assert_eq!(number(&store, b"proof"), Some(1));
    assert_eq!(store.read(|r| r.range(NUMBERS, Key::of("tried").range(), 9)).unwrap().len(), 1);
    let commits = store.commits();
    assert_eq!(take(4).await, Err(Refusal::Taken));
    assert_eq!(store.commits(), commits, "a transaction without a change isn't committed");
}

#[tokio::test]
async fn a_job_that_panics_takes_only_its_caller_down() {
    let runtime = inline();
    let store = Store::with_backend(CrashBackend::new().backend(), &runtime).await.unwrap();
    let inner = store.clone();
    let caller = runtime.spawn("caller", async move {
        let _: Result<(), _> = inner
            .write(|w| {
                w.put(NUMBERS, b"half", &1)?;
                panic!("a bug")
            })
            .await;
    });
    let (other, ()) = tokio::join!(put(&store, b"other", 2), caller.join());
    assert_eq!(other, Ok(()));
    assert_eq!((number(&store, b"half"), number(&store, b"other")), (None, Some(2)));
    assert_eq!(runtime.panicked().await.task, "caller");
}

#[tokio::test]
async fn a_queued_write_outlives_the_future_that_asked_for_it() {
    let store = open(&CrashBackend::new()).await;
    {
        let mut abandoned = Box::pin(put(&store, b"a", 1));
        assert!(futures::poll!(&mut abandoned).is_pending());
    }
    put(&store, b"b", 2).await.unwrap();
    assert_eq!(number(&store, b"a"), Some(1));
}

#[tokio::test]
async fn a_read_sees_one_moment() {
    let store = open(&CrashBackend::new()).await;
    put(&store, b"a", 1).await.unwrap();
    let read = store.disk.read().unwrap();
    put(&store, b"a", 2).await.unwrap();
    assert_eq!(read.get(NUMBERS, b"a").unwrap(), Some(1));
    assert_eq!(number(&store, b"a"), Some(2));
}

#[tokio::test]
async fn ranges_page_in_both_directions() {
    let store = open(&CrashBackend::new()).await;
    store.write(|w| (0..10_u64).try_for_each(|n| w.put(NUMBERS, Key::of("n").and(n), &n))).await.unwrap();
    let page = |range: KeyRange, limit| -> Vec<u64> {
        store.read(|r| r.range(NUMBERS, range, limit)).unwrap().into_iter().map(|(_, n)| n).collect()
    };
    let all = Key::of("n").range();
    assert_eq!(page(all.clone(), 3), [0, 1, 2]);
    assert_eq!(page(all.clone().after(&Key::of("n").and(2_u64)), 3), [3, 4, 5]);
    assert_eq!(page(all.clone().backwards(), 2), [9, 8]);
    assert_eq!(page(all.clone().backwards().after(&Key::of("n").and(8_u64)), 2), [7, 6]);
    assert_eq!(page(all.clone().since(&Key::of("n").and(8_u64)), 9), [8, 9]);
    assert_eq!(page(KeyRange::between(&Key::of("n").and(4_u64), &Key::of("n").and(6_u64)), 9), [4, 5]);
    assert_eq!(page(KeyRange::between(b"z", b"a"), 9), [] as [u64; 0]);
    assert_eq!(page(all, 0), [] as [u64; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A scan inside a transaction shows the table as it will be, in any direction, whatever was changed so far.
    #[test]
    fn a_scan_merges_what_is_held_back(
        stored in prop::collection::btree_map(0_u8..20, any::<u8>(), 0..12),
        held in prop::collection::btree_map(0_u8..20, prop::option::of(any::<u8>()), 0..12),
        (from, to) in (0_u8..20, 0_u8..20),
        backwards: bool,
        limit in 0_usize..20,
    ) {
        let mut expected = stored.clone();
        for (&key, &value) in &held {
            match value {
                Some(value) => expected.insert(key, value),
                None => expected.remove(&key),
            };
        }
        let mut expected: Vec<_> = expected.into_iter().filter(|(key, _)| (from..to).contains(key)).collect();
        if backwards {
            expected.reverse();
        }
        expected.truncate(limit);
        let mut range = KeyRange::between(&[from], &[to]);
        if backwards {
            range = range.backwards();
        }
        let seen = block_on(async move {
            let store = open(&CrashBackend::new()).await;
            store
                .write(move |w| stored.iter().try_for_each(|(&k, &v)| w.put(NUMBERS, [k], &u64::from(v))))
                .await
                .unwrap();
            store
                .write(move |w| {
                    for (key, value) in held {
                        match value {
                            Some(value) => w.put(NUMBERS, [key], &u64::from(value))?,
                            None => w.delete(NUMBERS, [key])?,
                        }
                    }
                    w.range(NUMBERS, range, limit)
                })
                .await
                .unwrap()
        });
        let seen: Vec<_> = seen.into_iter().map(|(key, value)| (key[0], u8::try_from(value).unwrap())).collect();
        prop_assert_eq!(seen, expected);
    }
}

fn block_on<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn a_visit_stops_where_it_is_told() {
    let store = open(&CrashBackend::new()).await;
    store.write(|w| (0..10_u8).try_for_each(|n| w.put(NUMBERS, [n], &u64::from(n)))).await.unwrap();
    let mut sum = 0;
    store
        .read(|r| {
            r.visit(NUMBERS, KeyRange::all(), |key, number| {
                sum += number;
                if key == [4] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })
        .unwrap();
    assert_eq!(sum, 10);
}

#[tokio::test]
async fn a_visitor_may_read_as_it_goes() {
    let store = open(&CrashBackend::new()).await;
    let pairs = store
        .write(|w| {
            (0..3_u8).try_for_each(|n| w.put(NUMBERS, [n], &u64::from(n)))?;
            w.put(NOTES, [1], &note("one"))?;
            let mut pairs = Vec::new();
            w.visit(NUMBERS, KeyRange::all(), |key, number| {
                pairs.push((number, w.contains(NOTES, key), w.get(NUMBERS, key)));
                ControlFlow::Continue(())
            })?;
            Ok(pairs)
        })
        .await
        .unwrap();
    assert_eq!(pairs, [(0, Ok(false), Ok(Some(0))), (1, Ok(true), Ok(Some(1))), (2, Ok(false), Ok(Some(2)))]);
}

#[tokio::test]
async fn an_undecodable_record_is_named_but_not_quoted() {
    const SECRETS: Table<String> = Table::new("test/mixed");
    const WRONG: Table<u64> = Table::new("test/mixed");
    let store = open(&CrashBackend::new()).await;
    store.write(|w| w.put(SECRETS, b"k", &"swordfish".to_owned())).await.unwrap();
    let error = store.read(|r| r.get(WRONG, b"k")).unwrap_err();
    assert_eq!(error, StoreError::Decode { table: "test/mixed" });
    assert!(!format!("{error} {error:?}").contains("swordfish"));
}

#[tokio::test]
async fn json_values_come_back() {
    const MIXED: Table<Json<BTreeMap<String, Option<f64>>>> = Table::new("test/json");
    let store = open(&CrashBackend::new()).await;
    let value = Json(BTreeMap::from([("a".to_owned(), Some(1.5)), ("b".to_owned(), None)]));
    let written = value.clone();
    store.write(move |w| w.put(MIXED, b"k", &written)).await.unwrap();
    assert_eq!(store.read(|r| r.get(MIXED, b"k")).unwrap(), Some(value));
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date_step_by_step() {
    fn first(w: &mut Write<'_>) -> Result<(), StoreError> {
        let old = w.get(NUMBERS, b"n")?.unwrap_or(1);
        w.put(NUMBERS, b"n", &(old * 10))
    }
    fn second(w: &mut Write<'_>) -> Result<(), StoreError> {
        let old = w.get(NUMBERS, b"n")?.unwrap_or(1);
        w.put(NUMBERS, b"n", &(old + 1))
    }
    let disk = CrashBackend::new();
    let open = |steps| {
        let backend = disk.backend();
        async move { Disk::open(backend, steps, &inline()).await }
    };
    let number = |disk: &Disk| disk.read().unwrap().get(NUMBERS, b"n").unwrap();
    assert_eq!(number(&open(&[]).await.unwrap()), None);
    assert_eq!(number(&open(&[first]).await.unwrap()), Some(10));
    assert_eq!(number(&open(&[first, second]).await.unwrap()), Some(11));
    assert_eq!(number(&open(&[first, second]).await.unwrap()), Some(11));
    let error = open(&[first]).await.unwrap_err();
    assert_eq!(error, StoreError::Newer { found: 3, known: 2 });
    assert!(error.hint().is_some());
    assert_eq!(number(&open(&[first, second]).await.unwrap()), Some(11), "refusing changed nothing");
}

/// It would seem empty: nothing of the first layout is found by today's.
#[tokio::test]
async fn a_file_of_the_first_layout_is_refused_if_it_holds_money_or_trades() {
    fn coin(w: &mut Write<'_>) -> Result<(), StoreError> {
        w.put(Table::<u64>::new("wallet/coins"), b"c", &1)
    }
    fn trade(w: &mut Write<'_>) -> Result<(), StoreError> {
        w.put(Table::<u64>::new("trade/log"), b"t", &1)
    }
    fn other(w: &mut Write<'_>) -> Result<(), StoreError> {
        w.put(NUMBERS, b"n", &1)
    }
    const REFUSED: [&[migrations::Migration]; 2] = [&[coin, migrations::ALL[0]], &[trade, migrations::ALL[0]]];
    const TAKEN: &[migrations::Migration] = &[other, migrations::ALL[0]];
    let disk = CrashBackend::new();
    drop(Disk::open(disk.backend(), &[], &inline()).await.unwrap());
    for steps in REFUSED {
        let error = Disk::open(disk.backend(), steps, &inline()).await.unwrap_err();
        assert_eq!((&error, error.fault()), (&StoreError::Older, Fault::Ours));
        assert!(error.hint().is_some_and(|hint| hint.contains("recovery phrase")));
    }
    let opened = Disk::open(disk.backend(), TAKEN, &inline()).await.unwrap();
    assert_eq!(opened.read().unwrap().get(NUMBERS, b"n").unwrap(), Some(1));
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    fn broken(w: &mut Write<'_>) -> Result<(), StoreError> {
        w.put(NUMBERS, b"n", &1)?;
        Err(StoreError::Decode { table: "test/numbers" })
    }
    const STEPS: &[migrations::Migration] = &[migrations::ALL[0], broken];
    let disk = CrashBackend::new();
    drop(open(&disk).await);
    tokio::task::yield_now().await;
    disk.crash();
    assert!(Disk::open(disk.backend(), STEPS, &inline()).await.is_err());
    assert_eq!(number(&open(&disk).await, b"n"), None);
}

#[tokio::test]
async fn one_process_per_file_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.redb");
    let runtime = Runtime::production(Limits::default());
    let store = Store::open(&path, &runtime).await.unwrap();
    let error = Store::open(&path, &runtime).await.unwrap_err();
    assert_eq!(error, StoreError::AlreadyOpen);
    assert_eq!(error.fault(), Fault::Ours);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    put(&store, b"a", 1).await.unwrap();
    store.close().await;
    let store = Store::open(&path, &runtime).await.unwrap();
    assert_eq!(number(&store, b"a"), Some(1));
}

#[tokio::test]
async fn the_file_is_let_go_when_the_last_handle_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.redb");
    let runtime = Runtime::production(Limits::default());
    let store = Store::open(&path, &runtime).await.unwrap();
    drop(store);
    for _ in 0..500 {
        match Store::open(&path, &runtime).await {
            Err(StoreError::AlreadyOpen) => tokio::time::sleep(Duration::from_millis(2)).await,
            opened => return drop(opened.unwrap()),
        }
    }
    panic!("the file is still locked");
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.redb");
    std::fs::write(&path, "these are not the bytes of a database".repeat(500)).unwrap();
    let error = Store::open(&path, &inline()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}
