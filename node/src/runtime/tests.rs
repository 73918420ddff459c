use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::*;

/// Counts itself out when dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn forever(_alive: Alive) {
    std::future::pending().await
}

#[tokio::test]
async fn tasks_die_with_their_handle_unless_detached_and_with_the_node_always() {
    let runtime = Runtime::with(Inline);
    let count = Arc::new(AtomicUsize::new(0));
    let held = runtime.spawn("held", forever(Alive::new(&count)));
    runtime.spawn("detached", forever(Alive::new(&count))).detach();
    drop(runtime.spawn("dropped", forever(Alive::new(&count))));
    while count.load(Ordering::SeqCst) > 2 {
        tokio::task::yield_now().await;
    }
    runtime.shutdown().await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert!(held.is_finished());
    runtime.spawn("late", forever(Alive::new(&count))).join().await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_shutdown_ends_a_task_and_the_one_that_it_waits_for() {
    let runtime = Runtime::with(Inline);
    let (inner, count) = (runtime.clone(), Arc::new(AtomicUsize::new(0)));
    let (parent, child) = (Alive::new(&count), Alive::new(&count));
    let waiting = async move {
        let _parent = parent;
        inner.spawn("child", forever(child)).join().await;
    };
    runtime.spawn("parent", waiting).detach();
    tokio::task::yield_now().await;
    assert_eq!(count.load(Ordering::SeqCst), 2);
    runtime.shutdown().await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panic_is_told() {
    let runtime = Runtime::with(Inline);
    runtime.spawn("fine", async {}).join().await;
    runtime.spawn("broken", async { panic!("out of luck") }).join().await;
    runtime.spawn("broken too", async { panic!("again") }).join().await;
    let told = runtime.panicked().await;
    assert_eq!(told, Panicked { task: "broken", message: "out of luck".to_owned() });
}

/// Each job waits for a second one, so that two must run at once; a third would be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_heavy_jobs_run_at_once_as_allowed_and_no_more() {
    let runtime = Runtime::production(Limits { cpu_threads: 2, disk_threads: 1 });
    let (running, most, pair) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let jobs = (0..16).map(|_| {
        let (runtime, running, most, pair) = (runtime.clone(), running.clone(), most.clone(), pair.clone());
        let job = move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pair.wait();
            running.fetch_sub(1, Ordering::SeqCst);
        };
        async move { runtime.offload(Job::Dleq(1), job).await }
    });
    futures::future::join_all(jobs).await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn jobs_of_one_kind_do_not_wait_for_a_flood_of_another() {
    let runtime = Runtime::production(Limits { cpu_threads: 1, disk_threads: 1 });
    for (flooding, waiting) in [
        (Job::Signatures(9), Job::Disk),
        (Job::Schema, Job::Disk),
        (Job::Schema, Job::Dleq(1)),
        (Job::Disk, Job::Schema),
        (Job::Disk, Job::Commit),
    ] {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let busy = runtime.clone();
        let job = move || {
            begin.send(()).unwrap();
            held.recv().unwrap();
        };
        let flood = runtime.spawn("flood", async move { busy.offload(flooding, job).await });
        begun.await.unwrap();
        assert_eq!(runtime.offload(waiting, || 7).await, 7);
        release.send(()).unwrap();
        flood.join().await;
    }
}

#[tokio::test]
async fn a_panic_in_heavy_work_goes_on_in_its_caller() {
    for runtime in [Runtime::production(Limits::default()), Runtime::with(Inline)] {
        let inner = runtime.clone();
        let caller = async move { inner.offload(Job::Disk, || panic!("bad sector")).await };
        runtime.spawn("caller", caller).join().await;
        assert_eq!(runtime.panicked().await.message, "bad sector");
    }
}

#[tokio::test(start_paused = true)]
async fn an_anchored_clock_follows_the_paused_one() {
    let runtime = Runtime::anchored(Timestamp::from_secs(1_000));
    sleep(Duration::from_secs(90)).await;
    assert_eq!(runtime.now(), Timestamp::from_secs(1_090));
}

#[test]
fn random_bytes_differ() {
    let runtime = Runtime::with(Inline);
    assert_ne!(runtime.random::<32>(), runtime.random::<32>());
}

#[tokio::test(start_paused = true)]
async fn a_clock_can_be_wrong_and_goes_on_all_the_same() {
    let right = Runtime::anchored(Timestamp::from_secs(1_000));
    let (fast, slow) = (right.clone().off_by(70), right.clone().off_by(-70));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!([right, fast, slow].map(|runtime| runtime.now().as_secs()), [1_005, 1_075, 935]);
}
