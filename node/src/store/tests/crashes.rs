//! Disks that lose power, tear writes and fill up.

use super::*;

/// What one job of the property test writes: a record of its own in two tables, so that half a job would show.
#[derive(Clone, Debug)]
struct Plan {
    bytes: usize,
    refuses: bool,
}

fn plans() -> impl Strategy<Value = Vec<Vec<Plan>>> {
    let plan = (0_usize..9_000, prop::bool::weighted(0.2)).prop_map(|(bytes, refuses)| Plan { bytes, refuses });
    prop::collection::vec(prop::collection::vec(plan, 1..6), 1..8)
}

/// Runs groups of concurrent jobs; tells each job's number and how it ended.
async fn perform(store: &Store, first: u64, groups: &[Vec<Plan>]) -> BTreeMap<u64, Result<(), Refusal>> {
    let mut ended = BTreeMap::new();
    let mut next = first;
    for group in groups {
        let jobs = group.iter().cloned().map(|plan| {
            let id = next;
            next += 1;
            async move {
                let outcome = store
                    .transact(move |w| {
                        w.put(NUMBERS, Key::of(id), &id)?;
                        w.put(NOTES, Key::of(id), &Note { text: id.to_string(), bytes: vec![7; plan.bytes] })?;
                        if id > 5 {
                            w.delete(NOTES, Key::of(id - 5))?;
                        }
                        if plan.refuses { Err(Refusal::Taken) } else { Ok(()) }
                    })
                    .await;
                (id, outcome)
            }
        });
        ended.extend(join_all(jobs).await);
    }
    ended
}

/// The jobs whose records are there, each whole or not at all.
fn survivors(store: &Store) -> BTreeSet<u64> {
    store
        .read(|r| {
            let numbers = r.range(NUMBERS, KeyRange::all(), usize::MAX)?;
            let notes = r.range(NOTES, KeyRange::all(), usize::MAX)?;
            let ids: BTreeSet<_> = numbers.into_iter().map(|(_, id)| id).collect();
            let mut expected = ids.clone();
            for id in ids.iter().filter(|&&id| id > 5) {
                expected.remove(&(id - 5));
            }
            let noted: BTreeSet<_> = notes.iter().map(|(_, note)| note.text.parse().unwrap()).collect();
            assert_eq!(noted, expected, "half a job survived");
            Ok(ids)
        })
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Power fails at a random operation, three times over, tearing what was not synced: what was acknowledged is
    /// there, what was refused is not, and what got no answer is there whole or not at all.
    #[test]
    fn exactly_the_acknowledged_commits_survive(
        rounds in prop::collection::vec((plans(), 0_u64..400, any::<u64>()), 3),
    ) {
        block_on(async move {
            let disk = CrashBackend::new();
            let mut known = BTreeSet::new();
            let mut first = 1;
            for (groups, fuse, seed) in rounds {
                let store = open(&disk).await;
                prop_assert_eq!(&survivors(&store), &known, "reopening changed something");
                disk.power_off_after(fuse);
                let ended = perform(&store, first, &groups).await;
                let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[seed.to_le_bytes(); 2].concat());
                disk.crash_keeping(|| random.next_u32().is_multiple_of(2));
                drop(store);
                // The power fails again while the file is opened and repaired.
                disk.power_off_after(fuse / 16);
                drop(Store::with_backend(disk.backend(), &inline()).await);
                disk.crash_keeping(|| random.next_u32().is_multiple_of(2));
                let survived = survivors(&open(&disk).await);
                for (id, outcome) in &ended {
                    match outcome {
                        Ok(()) => prop_assert!(survived.contains(id), "{id} was acknowledged"),
                        Err(Refusal::Taken) => prop_assert!(!survived.contains(id), "{id} was refused"),
                        Err(Refusal::Store(_)) => {}
                    }
                }
                prop_assert!(survived.is_superset(&known));
                known = survived;
                first += ended.len() as u64;
                disk.crash();
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_loses_nothing_and_heals_by_itself() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    put(&store, b"before", 1).await.unwrap();
    disk.set_full(true);
    let all = join_all([put(&store, b"a", 2), put(&store, b"b", 3)]).await;
    for outcome in all {
        let error = outcome.unwrap_err();
        assert_eq!(error.fault(), Fault::Environment);
        assert!(error.hint().is_some());
    }
    assert!(put(&store, b"c", 4).await.is_err());
    disk.set_full(false);
    put(&store, b"d", 5).await.unwrap();
    let seen = ["before", "a", "b", "c", "d"].map(|key| number(&store, key.as_bytes()));
    assert_eq!(seen, [Some(1), None, None, None, Some(5)]);
    disk.crash();
    assert_eq!(number(&open(&disk).await, b"d"), Some(5));
}

#[tokio::test]
async fn reads_go_on_while_the_disk_is_full_and_after_it() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    put(&store, b"before", 1).await.unwrap();
    let snapshot = store.disk.read().unwrap();
    disk.set_full(true);
    for _ in 0..3 {
        assert_eq!(put(&store, b"a", 2).await, Err(StoreError::DiskFull));
        // A snapshot from before the failure may be gone, but it doesn't lie.
        assert!(matches!(snapshot.get(NUMBERS, b"before"), Ok(Some(1)) | Err(_)));
        assert_eq!((number(&store, b"before"), number(&store, b"a")), (Some(1), None));
    }
    disk.set_full(false);
    // Nothing is written before.
    assert_eq!((number(&store, b"before"), number(&store, b"a")), (Some(1), None));
    put(&store, b"b", 3).await.unwrap();
    assert_eq!((number(&store, b"before"), number(&store, b"b")), (Some(1), Some(3)));
    disk.crash();
    let store = open(&disk).await;
    assert_eq!((number(&store, b"before"), number(&store, b"a"), number(&store, b"b")), (Some(1), None, Some(3)));
}

#[tokio::test]
async fn a_disk_that_comes_back_is_read_before_anything_is_written() {
    let disk = CrashBackend::new();
    let store = open(&disk).await;
    put(&store, b"before", 1).await.unwrap();
    disk.power_off_after(0);
    assert!(put(&store, b"a", 2).await.is_err());
    assert!(store.read(|r| r.get(NUMBERS, b"before")).is_err());
    disk.power_off_after(u64::MAX);
    assert_eq!((number(&store, b"before"), number(&store, b"a")), (Some(1), None));
    put(&store, b"a", 3).await.unwrap();
    assert_eq!(number(&store, b"a"), Some(3));
}

#[tokio::test]
async fn after_any_failed_operation_the_store_goes_on_and_errors_tell_the_truth() {
    for fuse in 0..40 {
        let disk = CrashBackend::new();
        let store = open(&disk).await;
        put(&store, b"before", 1).await.unwrap();
        disk.power_off_after(fuse);
        let outcome = store
            .write(|w| {
                w.put(NUMBERS, b"new", &2)?;
                w.put(NOTES, b"new", &Note { text: String::new(), bytes: vec![1; 40_000] })
            })
            .await;
        disk.power_off_after(u64::MAX);
        put(&store, b"after", 3).await.unwrap();
        let new = number(&store, b"new");
        match outcome {
            Ok(()) => assert_eq!(new, Some(2)),
            Err(StoreError::Uncertain { .. }) => {}
            Err(error) => assert_eq!(new, None, "fuse {fuse}: {error}"),
        }
        assert_eq!((number(&store, b"before"), number(&store, b"after")), (Some(1), Some(3)));
        disk.crash();
        let store = open(&disk).await;
        assert_eq!((number(&store, b"new"), number(&store, b"after")), (new, Some(3)));
    }
}

#[tokio::test]
async fn a_node_that_was_killed_no_longer_writes() {
    let disk = CrashBackend::new();
    let old = open(&disk).await;
    put(&old, b"a", 1).await.unwrap();
    disk.crash();
    let new = open(&disk).await;
    put(&new, b"a", 2).await.unwrap();
    assert!(put(&old, b"a", 3).await.is_err());
    drop(old);
    tokio::task::yield_now().await;
    put(&new, b"b", 4).await.unwrap();
    disk.crash();
    let new = open(&disk).await;
    assert_eq!((number(&new, b"a"), number(&new, b"b")), (Some(2), Some(4)));
}
