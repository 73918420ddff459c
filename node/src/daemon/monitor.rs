//! What a machine watches a node by: `/healthz` and `/metrics` on a listener of their own (`[monitor]` in config.toml).
//!
//! ```text
//! GET /healthz   200, or 503 and why: whether the store takes a write
//! GET /metrics   Prometheus text format 0.0.4: how the node does, what it holds, what happened since its start
//! ```
//!
//! Nothing can be changed here, and there is no token: what is said is how many, how much and since when, and no peer, task or key but
//! the node's own. Events are counted as they are heard; those missed under a flood are counted as such. On loopback a request must name a
//! loopback host, so that no web page reads along by rebinding its name.
//!
//! **Bounded**: connections and their heads by [`http_server`]; the disk is probed, and the page of metrics written, once for all who ask
//! within [`LASTS`].

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch, time::Instant};

use crate::{
    api::{
        Api,
        caller::Caller,
        types::{Balance, Status},
    },
    events::{Event, Events, Heard, Outcome, Side, Subscription},
    http_server,
    store::{Store, Table},
    sync::lock,
};

/// How long the store may take to make a write durable: a disk that needs longer holds up every trade.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// For how long the same is said again: a probe costs an fdatasync, and for the metrics every coin is read.
const LASTS: Duration = Duration::from_secs(1);

/// What a probe writes: how many there were.
const PROBES: Table<u64> = Table::new("daemon/probes");

/// Answers on `listener` until dropped.
pub(super) async fn serve(listener: TcpListener, api: Api, store: Store, events: &Events) {
    let Ok(address) = listener.local_addr() else { return };
    let counts = Arc::new(Mutex::new(Counts::default()));
    let monitor = Monitor { api, store, counts: counts.clone(), probed: Arc::default(), page: Arc::default() };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(address, admit))
        .with_state(monitor);
    let (_open, closing) = watch::channel(false);
    tokio::select! {
        biased;
        () = count(events.subscribe(), &counts) => {}
        // A caller's good answer says nothing of it: the oldest gives way.
        () = http_server::serve(listener, router, |_| false, closing) => {}
    }
}

#[derive(Clone)]
struct Monitor {
    api: Api,
    store: Store,
    counts: Arc<Mutex<Counts>>,
    /// What the last probe of the disk found.
    probed: Arc<Kept<Result<(), String>>>,
    /// The metrics, or why there are none.
    page: Arc<Kept<Result<String, String>>>,
}

/// What is made once for all who ask within [`LASTS`]. Held while it is made, so that all who ask meanwhile wait for that.
#[derive(Debug)]
struct Kept<T>(tokio::sync::Mutex<Option<(Instant, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    async fn get(&self, make: impl Future<Output = T>) -> T {
        let mut kept = self.0.lock().await;
        if let Some((at, made)) = &*kept
            && at.elapsed() < LASTS
        {
            return made.clone();
        }
        let made = make.await;
        *kept = Some((Instant::now(), made.clone()));
        made
    }
}

/// Whether the node can do its work.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

async fn healthz(State(monitor): State<Monitor>) -> Response {
    match monitor.probed.get(monitor.probe()).await {
        Ok(()) => Json(Health { status: "ok", why: None }).into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "failing", why: Some(why) })).into_response()
        }
    }
}

async fn metrics(State(monitor): State<Monitor>) -> Response {
    match monitor.page.get(monitor.page()).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

impl Monitor {
    /// Has the store write something, and says why it couldn't.
    async fn probe(&self) -> Result<(), String> {
        let writing = self.store.write(|write| {
            use crate::store::Reader as _;
            let before = write.get(PROBES, b"probes")?.unwrap_or(0_u64);
            write.put(PROBES, b"probes", &before.wrapping_add(1))
        });
        match tokio::time::timeout(PROBE_PATIENCE, writing).await {
            Ok(written) => written.map_err(|error| format!("the store takes no writes: {error}")),
            Err(_) => Err(format!("the store took no write within {} s", PROBE_PATIENCE.as_secs())),
        }
    }

    /// The metrics, or why there are none.
    async fn page(&self) -> Result<String, String> {
        let watcher = Caller::watcher("monitor");
        let status = self.api.status(&watcher).await.map_err(|error| error.message)?;
        Ok(render(&status, &lock(&self.counts)))
    }
}

/// Refuses on loopback whoever doesn't name it.
async fn admit(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !address.ip().is_loopback() || is_loopback(host) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "the Host header names no loopback address\n").into_response()
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What happened since the start.
#[derive(Debug, Default)]
struct Counts {
    /// By the event's name.
    events: BTreeMap<String, u64>,
    /// By side, outcome and whose fault it was.
    ended: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    /// Money that came in, by how and in which unit.
    income: BTreeMap<(&'static str, String), u64>,
    /// Events that went by uncounted.
    missed: u64,
}

/// Counts what is heard, until the node is gone.
async fn count(mut heard: Subscription, counts: &Mutex<Counts>) {
    while let Some(heard) = heard.next().await {
        let mut counts = lock(counts);
        match heard {
            Heard::Event(stamped) => counts.take(&stamped.event),
            Heard::Missed(missed) => counts.missed += missed,
        }
    }
}

impl Counts {
    fn take(&mut self, event: &Event) {
        if let Ok(serde_json::Value::String(name)) = serde_json::to_value(event).map(|mut event| event["event"].take())
        {
            *self.events.entry(name).or_default() += 1;
        }
        match event {
            Event::Ended { side, outcome, .. } => {
                let side = match side {
                    Side::Buyer => "buyer",
                    Side::Seller => "seller",
                    Side::Unknown => "unknown",
                };
                let (outcome, fault) = match outcome {
                    Outcome::Done => ("done", ""),
                    Outcome::Failed { fault, .. } => ("failed", fault.code()),
                    Outcome::Cancelled => ("cancelled", ""),
                    Outcome::Unknown => ("unknown", ""),
                };
                *self.ended.entry((side, outcome, fault)).or_default() += 1;
            }
            Event::Redeemed { sum, .. } => self.income("redeemed", sum),
            Event::Refunded { sum, .. } => self.income("refunded", sum),
            Event::Funded { sum, .. } => self.income("funded", sum),
            _ => {}
        }
    }

    fn income(&mut self, how: &'static str, sum: &crate::events::Money) {
        let total = self.income.entry((how, sum.unit.clone())).or_default();
        *total = total.saturating_add(sum.amount);
    }
}

/// All of it in Prometheus' text format.
fn render(status: &Status, counts: &Counts) -> String {
    let mut page = Page::default();
    page.gauge("guilder_info", "Who the node is.");
    page.value("guilder_info", &[("version", &status.version), ("peer_id", &status.peer_id)], 1);
    for (name, help, value) in [
        ("guilder_uptime_seconds", "Seconds since the node started.", status.uptime_secs),
        ("guilder_peers", "Connected peers.", status.peers),
        ("guilder_services", "Services on sale.", status.services),
        ("guilder_open_tasks", "Tasks not ended yet, bought and sold.", status.open_tasks),
        (
            "guilder_clock_doubted",
            "1 if most peers say that this machine's clock is off.",
            status.clock.is_some().into(),
        ),
    ] {
        page.gauge(name, help);
        page.value(name, &[], value);
    }
    page.gauge("guilder_bootstrap_peer_up", "1 if the bootstrap peer is connected.");
    for peer in &status.bootstrap {
        page.value("guilder_bootstrap_peer_up", &[("address", &peer.address)], peer.connected.into());
    }
    page.gauge("guilder_balance", "What the wallet holds, by where it is.");
    for balance in &status.balances {
        let Balance { mint, unit, available, purse, at_risk, waiting, earned, pending, .. } = balance;
        for (place, amount) in [
            ("available", available),
            ("purse", purse),
            ("at_risk", at_risk),
            ("waiting", waiting),
            ("earned", earned),
            ("pending", pending),
        ] {
            let labels = [("mint", mint.as_str()), ("unit", unit.as_str()), ("place", place)];
            page.value("guilder_balance", &labels, *amount);
        }
    }
    page.counter("guilder_hosted_mint_issued_total", "What the hosted mint has issued.");
    for books in &status.mint_books {
        page.value("guilder_hosted_mint_issued_total", &[("unit", &books.unit.to_string())], books.issued);
    }
    page.counter("guilder_hosted_mint_redeemed_total", "What the hosted mint has taken back.");
    for books in &status.mint_books {
        page.value("guilder_hosted_mint_redeemed_total", &[("unit", &books.unit.to_string())], books.redeemed);
    }
    page.counts(counts);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn counts(&mut self, counts: &Counts) {
        self.counter("guilder_tasks_ended_total", "Tasks that are over, by whose fault if they failed.");
        for ((side, outcome, fault), count) in &counts.ended {
            let labels = [("side", *side), ("outcome", *outcome), ("fault", *fault)];
            self.value("guilder_tasks_ended_total", &labels, *count);
        }
        self.counter("guilder_income_total", "Money that came in: earned and redeemed, back after a locktime, funded.");
        for ((how, unit), sum) in &counts.income {
            self.value("guilder_income_total", &[("how", how), ("unit", unit)], *sum);
        }
        self.counter("guilder_events_total", "Events, by name: those of the log and of GET /v1/events.");
        for (name, count) in &counts.events {
            self.value("guilder_events_total", &[("event", name)], *count);
        }
        self.counter("guilder_events_missed_total", "Events that came too fast to be counted.");
        self.value("guilder_events_missed_total", &[], counts.missed);
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // A String takes everything.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0 += name;
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, Escaped(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicU64, Ordering},
    };

    use guilder_protocol::fault::Fault;

    use super::*;
    use crate::events::Money;

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            peer_id: "12D3KooWa".into(),
            did: "did:key:z6Mk".into(),
            home: "/h".into(),
            uptime_secs: 7,
            listen: Vec::new(),
            peers: 2,
            bootstrap: Vec::new(),
            services: 1,
            open_tasks: 0,
            hosted_mint: Vec::new(),
            mint_books: Vec::new(),
            balances: Vec::new(),
            clock: None,
            reloaded: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_by_many_within_a_second_is_made_once() {
        let (kept, made) = (Kept::default(), AtomicU64::new(0));
        let make = || async {
            // Slowly, so that all who ask come meanwhile.
            tokio::time::sleep(Duration::from_secs(3)).await;
            made.fetch_add(1, Ordering::Relaxed) + 1
        };
        let asked = futures::future::join_all((0..100).map(|_| kept.get(make()))).await;
        assert!(asked.iter().all(|answer| *answer == 1), "{asked:?}");
        tokio::time::sleep(LASTS - Duration::from_millis(1)).await;
        assert_eq!(kept.get(make()).await, 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(kept.get(make()).await, 2);
    }

    #[test]
    fn what_happened_is_counted_by_name_outcome_and_unit() {
        let task = guilder_protocol::cbor::cid_of(b"ask");
        let mut counts = Counts::default();
        let ended = |outcome| Event::Ended { task, trade: None, side: Side::Seller, outcome };
        counts.take(&ended(Outcome::Done));
        counts.take(&ended(Outcome::Done));
        counts.take(&ended(Outcome::Failed { fault: Fault::Ours, reason: "out of memory".into() }));
        let sum = |amount| Money { amount, unit: "sat".into() };
        for amount in [3, 4] {
            counts.take(&Event::Redeemed { mint: "http://m".into(), trades: 1, sum: sum(amount), fee: 0 });
        }
        let page = render(&status(), &counts);
        for line in [
            "guilder_info{version=\"0.1.0\",peer_id=\"12D3KooWa\"} 1",
            "guilder_peers 2",
            "guilder_tasks_ended_total{side=\"seller\",outcome=\"done\",fault=\"\"} 2",
            "guilder_tasks_ended_total{side=\"seller\",outcome=\"failed\",fault=\"ours\"} 1",
            "guilder_income_total{how=\"redeemed\",unit=\"sat\"} 7",
            "guilder_events_total{event=\"ended\"} 3",
            "guilder_events_missed_total 0",
        ] {
            assert!(page.lines().any(|written| written == line), "no {line} in\n{page}");
        }
    }

    /// The dashboard in packaging/grafana asks for metrics that there are, by labels that they have, and shows each of them.
    #[test]
    fn the_dashboard_shows_the_metrics_that_there_are() {
        let board = include_str!("../../../packaging/grafana/guilder.json");
        let parsed: serde_json::Value = serde_json::from_str(board).unwrap();
        let page = render(&status(), &Counts::default());
        let known: BTreeSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let panels = parsed["panels"].as_array().unwrap();
        let exprs = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let exprs: Vec<&str> = exprs.map(|target| target["expr"].as_str().unwrap()).collect();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names =
            exprs.iter().flat_map(|expr| expr.split(|c| !is_name(c)).filter(|word| word.starts_with("guilder_")));
        let shown: BTreeSet<&str> = names.collect();
        assert_eq!(shown, known);
        for event in ["money_trouble", "mint_trouble", "cheated", "bootstrap_failed", "reload_failed", "peer_penalized"]
        {
            assert!(board.contains(event));
            // A name that no event has would be read as one of a later version.
            let source = include_str!("../events/kinds.rs");
            let kind: String = event.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
            assert!(source.contains(&format!("    {kind} {{")), "{kind}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_with_labels_and_a_number() {
        let mut page = Page::default();
        page.gauge("a_b", "What it is.");
        page.value("a_b", &[("mint", "x\"\\\n} 9")], 1);
        assert_eq!(page.0, "# HELP a_b What it is.\n# TYPE a_b gauge\na_b{mint=\"x\\\"\\\\\\n} 9\"} 1\n");
    }

    #[test]
    fn a_name_that_was_rebound_is_no_loopback_host() {
        for good in ["127.0.0.1:9464", "localhost:9464", "[::1]:9464", "localhost"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["", "evil.example:9464", "127.0.0.1.evil.example", "[::1].x:1", "::1"] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
