#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicU16, Ordering};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hyper::StatusCode as Status;
use tokio::{net::TcpListener, time::sleep};

use super::*;
use crate::{content::Content, store::testing::CrashBackend};

/// An endpoint that keeps what it was told and answers what it is set to.
#[derive(Clone, Default)]
struct Receiver {
    told: Arc<Mutex<Vec<(String, Value)>>>,
    answers: Arc<AtomicU16>,
}

impl Receiver {
    async fn listen() -> (Self, String) {
        let receiver = Self::default();
        let router = Router::new().route("/x", post(Self::take)).with_state(receiver.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?key=hidden", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    async fn take(State(this): State<Self>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
        let id = headers.get("webhook-id").unwrap().to_str().unwrap().to_owned();
        lock(&this.told).push((id, serde_json::from_slice(&body).unwrap()));
        match this.answers.load(Ordering::SeqCst) {
            0 => (StatusCode::NO_CONTENT, ""),
            status => (StatusCode::from_u16(status).unwrap(), "not\nnow"),
        }
    }

    /// The reasons of what was told, once there are so many.
    async fn told(&self, count: usize) -> Vec<String> {
        for _ in 0..1_000 {
            if lock(&self.told).len() >= count {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let reason = |(_, body): &(String, Value)| match body["type"].as_str().unwrap() {
            "mint_trouble" => body["data"]["reason"].as_str().unwrap().to_owned(),
            other => other.to_owned(),
        };
        lock(&self.told).iter().map(reason).collect()
    }
}

struct Run {
    runtime: Runtime,
    store: Store,
    events: Events,
    journal: Journal,
    notifier: Notifier,
}

async fn run(disk: &CrashBackend) -> Run {
    run_failing(disk, Failpoint::default()).await
}

async fn run_failing(disk: &CrashBackend, failpoint: Failpoint) -> Run {
    let runtime = Runtime::production(crate::runtime::Limits::default());
    let store = Store::with_backend(disk.backend(), &runtime).await.unwrap();
    let events = Events::new();
    let journal = Journal::open(events.clone(), store.clone(), runtime.clone()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let content = Content::open(folder.path().to_path_buf(), runtime.clone()).await.unwrap();
    let executors = Executors::replaced_by(Arc::new(crate::executor::Echo), content, runtime.clone());
    let notifier = Notifier::start(NotifierParts {
        runtime: runtime.clone(),
        store: store.clone(),
        executors,
        journal: journal.clone(),
        events: events.clone(),
        failpoint,
    });
    Run { runtime, store, events, journal, notifier: notifier.unwrap() }
}

impl Run {
    fn happens(&self, reason: &str) {
        self.events.emit(Event::MintTrouble { mint: "http://127.0.0.1:1".into(), reason: reason.into() });
    }

    async fn stopped(self) {
        self.journal.close().await;
        self.runtime.shutdown().await;
        self.store.close().await;
    }

    async fn killed(self, disk: &CrashBackend) {
        disk.crash();
        self.runtime.shutdown().await;
    }
}

#[tokio::test]
async fn an_endpoint_is_told_what_it_wants_in_order_and_goes_on_after_a_stop() {
    let (receiver, url) = Receiver::listen().await;
    let disk = CrashBackend::new();
    let first = run(&disk).await;
    first.happens("before it was added");
    let added = first.notifier.add("books", &url, &["mint_trouble".to_owned()]).await.unwrap();
    assert!(added.secret.as_ref().unwrap().starts_with("whsec_"));
    assert!(!added.url.contains("hidden") && first.notifier.show("books").unwrap().secret.is_none());
    first.events.emit(Event::Listening { address: "/ip4/127.0.0.1".into() });
    first.happens("a");
    first.happens("b");
    assert_eq!(receiver.told(2).await, ["a", "b"]);
    receiver.answers.store(503, Ordering::SeqCst);
    first.happens("c");
    assert_eq!(receiver.told(3).await, ["a", "b", "c"]);
    first.stopped().await;

    receiver.answers.store(0, Ordering::SeqCst);
    let second = run(&disk).await;
    let waiting = second.notifier.show("books").unwrap().waiting;
    assert_eq!(
        waiting.as_ref().map(|waiting| (waiting.attempts, &*waiting.why)),
        Some((1, "it answers 503: not\nnow"))
    );
    second.happens("d");
    second.notifier.resume("books").await.unwrap();
    assert_eq!(receiver.told(5).await, ["a", "b", "c", "c", "d"]);
    let ids: Vec<String> = lock(&receiver.told).iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids[2], ids[3], "the same under the same ID");
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    let body = lock(&receiver.told)[4].1.clone();
    assert_eq!((&body["type"], &body["data"]["event"]), (&json!("mint_trouble"), &json!("mint_trouble")));
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    second.notifier.remove("books").await.unwrap();
    second.happens("nobody is told");
    assert!(matches!(second.notifier.show("books"), Err(NotifyError::Unknown(_))));
    second.stopped().await;
}

#[tokio::test]
async fn what_a_kill_has_lost_is_told_as_lost_and_nothing_is_told_under_two_ids() {
    let (receiver, url) = Receiver::listen().await;
    let disk = CrashBackend::new();
    let first = run(&disk).await;
    first.notifier.add("books", &url, &[]).await.unwrap();
    receiver.answers.store(500, Ordering::SeqCst);
    // Told and not taken; then the node dies.
    first.happens("kept");
    receiver.told(1).await;
    first.killed(&disk).await;
    receiver.answers.store(0, Ordering::SeqCst);
    let second = run(&disk).await;
    second.happens("a");
    second.notifier.resume("books").await.unwrap();
    assert_eq!(receiver.told(4).await, ["kept", "kept", "events_lost", "a"]);
    let told = lock(&receiver.told).clone();
    assert_eq!(told[0].0, told[1].0, "the same under the same ID");
    let gap = told[2].1["data"].clone();
    assert!(gap["before"].as_u64() > gap["after"].as_u64(), "{gap}");
    second.stopped().await;
    // A clean stop loses nothing.
    let third = run(&disk).await;
    third.happens("b");
    assert_eq!(receiver.told(5).await, ["kept", "kept", "events_lost", "a", "b"]);
    third.stopped().await;
}

/// The records before a kill at each step of telling two things, and what is told after it.
#[tokio::test]
async fn killed_at_any_step_everything_is_told_and_what_is_told_again_has_its_id() {
    for steps in 0..6 {
        let (receiver, url) = Receiver::listen().await;
        let disk = CrashBackend::new();
        let first = run(&disk).await;
        first.notifier.add("books", &url, &["mint_trouble".to_owned()]).await.unwrap();
        first.stopped().await;
        let failpoint = Failpoint::after(steps);
        let second = run_failing(&disk, failpoint.clone()).await;
        second.happens("a");
        second.happens("b");
        second.journal.keep(second.journal.latest()).await.unwrap();
        if steps < 4 {
            failpoint.tripped().await;
        } else {
            receiver.told(2).await;
            sleep(Duration::from_millis(100)).await;
        }
        second.killed(&disk).await;
        let third = run(&disk).await;
        third.happens("c");
        let reached = async || lock(&receiver.told).iter().any(|(_, body)| body["data"]["reason"] == "c");
        for _ in 0..1_000 {
            if reached().await {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let told: BTreeMap<String, String> = receiver
            .told(0)
            .await
            .into_iter()
            .zip(lock(&receiver.told).iter().map(|(id, _)| id.clone()))
            .map(|(reason, id)| (id, reason))
            .collect();
        let mut reasons: Vec<&str> = told.values().map(String::as_str).collect();
        reasons.sort_unstable();
        reasons.retain(|reason| *reason != "events_lost");
        assert_eq!(reasons, ["a", "b", "c"], "after {steps} steps, by ID");
        third.stopped().await;
    }
}

fn record() -> EndpointRecord {
    EndpointRecord {
        id: [7; 16].into(),
        url: "https://hooks.example/x".into(),
        events: Default::default(),
        secrets: vec![ByteBuf::from(b"hunter2".to_vec())],
        added: Timestamp::default(),
        place: 0,
        taken: 0,
        last: None,
        waiting: None,
        given_up_in_a_row: 0,
        given_up: Vec::new(),
        paused: None,
    }
}

fn answer(status: u16, retry_after_secs: Option<u64>) -> Result<Answer, String> {
    Ok(Answer { status: Status::from_u16(status).unwrap(), retry_after_secs, said: String::new() })
}

#[test]
fn a_webhook_is_tried_eight_times_then_given_up_and_three_in_a_row_pause_the_endpoint() {
    let mut record = record();
    let mut now = Timestamp::from_secs(1_000);
    for number in 1..=3 {
        for attempt in 1..=8_u32 {
            let told = (number, format!("msg_{number}"), "ended".to_owned());
            let events = record.answered("books", told, &answer(500, None), (now, u64::from(u16::MAX)));
            match attempt {
                8 => {
                    assert!(matches!(&events[0], Event::WebhookFailed { attempts: 8, .. }), "{events:?}");
                    assert_eq!((record.place, &record.waiting), (number, &None));
                    assert_eq!(events.len() == 2, number == 3, "{events:?}");
                    assert_eq!(record.paused.is_some(), number == 3);
                }
                attempt => {
                    assert_eq!(events, []);
                    let waiting = record.waiting.clone().unwrap();
                    let pause = PAUSES_SECS[attempt as usize - 1];
                    assert_eq!((waiting.attempts, waiting.next.since(now)), (attempt, pause + pause / 5));
                    now = waiting.next;
                }
            }
        }
    }
    assert_eq!(record.given_up.len(), 3);
    // What is taken in between begins the count anew.
    let mut record = self::record();
    record.given_up_in_a_row = 2;
    record.answered("books", (4, "msg_4".into(), "ended".into()), &answer(204, None), (now, 0));
    assert_eq!((record.place, record.taken, record.given_up_in_a_row), (4, 1, 0));
}

/// The journal drops what waits, and more with everything that happens: it counts as one that is tried on.
#[test]
fn what_is_lost_while_it_waits_is_tried_on_and_given_up() {
    let mut record = record();
    let now = Timestamp::from_secs(1_000);
    record.answered("books", (10, "m".into(), "ended".into()), &answer(500, None), (now, 0));
    for attempt in 2..=8 {
        let told = (10 + u64::from(attempt), format!("gap_{attempt}"), LOST.to_owned());
        let events = record.answered("books", told, &answer(500, None), (now.saturating_add(60), 0));
        match &record.waiting {
            Some(waiting) => assert_eq!((waiting.attempts, waiting.since, events.len()), (attempt, now, 0)),
            None => assert!(attempt == 8 && matches!(events[..], [Event::WebhookFailed { attempts: 8, .. }])),
        }
    }
    assert_eq!((record.place, record.given_up.len()), (18, 1));
}

#[test]
fn a_receiver_can_put_off_within_bounds_and_end_it_with_gone() {
    let now = Timestamp::from_secs(1_000);
    for (wanted, waits) in [(1, 5), (60, 60), (u64::MAX, MAX_RETRY_AFTER_SECS)] {
        let mut record = record();
        record.answered("books", (1, "m".into(), "ended".into()), &answer(429, Some(wanted)), (now, 0));
        assert_eq!(record.waiting.unwrap().next.since(now), waits);
    }
    let mut record = record();
    let events = record.answered("books", (1, "m".into(), "ended".into()), &answer(410, None), (now, 0));
    assert!(matches!(&events[..], [Event::WebhookFailed { .. }, Event::WebhooksPaused { .. }]), "{events:?}");
    assert!(record.paused.is_some());
}

#[test]
fn an_endpoint_is_told_of_others_trouble_and_not_of_its_own() {
    let record = record();
    let paused = |endpoint: &str| Event::WebhooksPaused { endpoint: endpoint.into(), why: "x".into() };
    assert!(record.wants("books", &paused("other")) && !record.wants("books", &paused("books")));
    let printed = format!("{record:?}");
    assert!(!printed.contains("hunter2") && !printed.contains("hooks.example"), "{printed}");
}
