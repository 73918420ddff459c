//! Duties between real processes: set off by hand, by a schedule and by a webhook, killed at each durable step, and bought for once.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use guilder_tests::{
    Daemon, LONG, eventually,
    foreign::Scripts,
    swarm::{self, Swarm},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A minute comes within it, on a machine that is busy.
const MINUTE: Duration = Duration::from_secs(240);

/// Webhooks come in at a port of the system's choice: [`hooks_of`] says which.
const HOOKS: &str = "hooks.listen = \"127.0.0.1:0\"\n";

/// A duty that has each word echoed, makes one list of it, and posts that. See [`echoes`].
const ECHOES: &str = r#"
name = "echoes"
on = [{ hook = "repo", event = "push" }, { cron = "0 7 1 MONTH *", zone = "Europe/Berlin" }]
budget = { unit = "play", run = 40, day = 400 }
[[step]]
id = "said"
each = "trigger.words"
max_items = 2
hire = "text.echo"
input = '{"word": "{{item}}"}'
deadline = "100s"
[[step]]
id = "all"
reduce = "union"
of = "said"
[[step]]
run = "text.own"
of = "all"
[[step]]
post = "file:said/all.json"
of = "all"
"#;

/// [`ECHOES`], with a schedule that doesn't come while the test runs, whenever that is: half a year from now.
fn echoes() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    // As if all months had the same length, which is some days off.
    let month = (days * 12 / 365 + 6) % 12 + 1;
    ECHOES.replace("MONTH", &month.to_string())
}

struct Market {
    _swarm: Swarm,
    seller: Daemon,
    buyer: Daemon,
}

impl Market {
    fn open(settings: &str) -> Self {
        let swarm = Swarm::start(0);
        let seller = swarm.trader("seller", "");
        let buyer = swarm.buyer(1_000, settings);
        swarm::sell_echo(&seller, "text.echo", 3, "");
        swarm::sell_echo(&buyer, "text.own", 1, "");
        eventually("the seller to be found", LONG, || {
            let found = buyer.run(["find", "text.echo"]);
            if found.code() == 0 { Ok(()) } else { Err(found) }
        });
        add(&buyer, &echoes());
        Self { _swarm: swarm, seller, buyer }
    }

    fn sold(&self) -> usize {
        self.seller.json(["task", "list", "--limit", "1000", "--side", "seller"]).as_array().unwrap().len()
    }
}

#[track_caller]
fn add(daemon: &Daemon, file: &str) {
    let path = daemon.write("duty.toml", file);
    daemon.run(["duty".as_ref(), "add".as_ref(), path.as_os_str()]).ok();
}

/// Where a node takes webhooks since it was started last.
#[track_caller]
fn hooks_of(daemon: &Daemon) -> SocketAddr {
    let log = fs::read_to_string(daemon.log()).unwrap();
    let said = log.rsplit("webhooks at http://").next().and_then(|rest| rest.split('/').next());
    said.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("it doesn't say where: {log}"))
}

#[track_caller]
fn runs(daemon: &Daemon) -> Vec<Value> {
    daemon.json(["run", "list", "--limit", "1000"]).as_array().unwrap().clone()
}

/// Waits until every run is over.
#[track_caller]
fn all_over(daemon: &Daemon) -> Vec<Value> {
    eventually("every run to be over", LONG, || {
        let runs = runs(daemon);
        if runs.iter().all(|run| run["ended"] == true) { Ok(runs) } else { Err(json!(runs)) }
    })
}

#[test]
fn a_duty_buys_reduces_runs_and_posts_and_says_what_it_did() {
    let market = Market::open("");
    let buyer = &market.buyer;
    let input = buyer.write("words.json", r#"{"words": ["one", "two", "three"]}"#);
    let args = ["duty", "run", "echoes", "--wait", "--input"].map(std::ffi::OsStr::new);
    let run = buyer.run(args.into_iter().chain([input.as_os_str()])).ok().json();
    assert_eq!((&run["state"], &run["spent"], &run["by"]), (&json!("done"), &json!(6), &json!("its owner")), "{run:#}");
    let first = &run["steps"][0];
    assert_eq!((&first["left_out"], &first["trust"]), (&json!(1), &json!("owner")), "max_items holds: {run:#}");
    assert_eq!(run["steps"][1]["trust"], "peer", "what strangers put out is theirs");
    let posted: Value = serde_json::from_slice(&fs::read(buyer.path().join("posts/said/all.json")).unwrap()).unwrap();
    assert_eq!(posted, json!([{"word": "one"}, {"word": "two"}]));
    assert_eq!(market.sold(), 2);

    let id = run["id"].as_str().unwrap();
    let audit = buyer.json(["run", "audit", &id[12..]]);
    assert_eq!(audit["hires"].as_array().unwrap().len(), 2, "{audit}");
    assert!(audit["hires"].as_array().unwrap().iter().all(|hire| hire["holds"] == true), "{audit}");
    let list = buyer.json(["duty", "list"]);
    assert_eq!((&list[0]["last_state"], &list[0]["last_run"]), (&json!("done"), &json!(id)), "{list:#}");
    assert!(list[0]["next"].as_u64().is_some());

    buyer.run(["duty", "pause", "echoes"]).ok();
    buyer.run(["duty", "run", "echoes"]).failed().says("ours", &["paused", "guilder duty resume"]);
    let list = buyer.json(["duty", "list"]);
    assert_eq!(list[0]["skipped_because"], "the duty was paused");
    assert_eq!(buyer.json(["duty", "resume", "echoes"])["paused"], Value::Null);
}

#[test]
fn a_run_killed_at_any_durable_step_is_done_once_and_paid_once() {
    let mut market = Market::open("");
    let words = json!({"words": ["one", "two"]});
    let input = market.buyer.write("words.json", words.to_string());
    let mut spent = 0;
    for step in [
        "store-due",
        "store-step",
        "store-claim",
        "store-award",
        "send-awarded",
        "store-bought",
        "store-outcome",
        "store-outcome*2",
        "store-step*2",
        "store-step*4",
        "store-run",
    ] {
        let (before, sold) = (runs(&market.buyer).len(), market.sold());
        market.buyer.stop();
        market.buyer.restart_with(&[("GUILDER_FAILPOINT", &format!("kill:{step}"))]);
        let args = ["duty", "run", "echoes", "--input"].map(std::ffi::OsStr::new);
        // It may be cut off.
        let _ = market.buyer.run(args.into_iter().chain([input.as_os_str()]));
        eventually(&format!("the buyer to die at {step}"), LONG, || match market.buyer.has_ended() {
            true => Ok(()),
            false => Err("it lives"),
        });
        market.buyer.restart();
        let runs = all_over(&market.buyer);
        let fresh = runs.len() - before;
        // What was killed before it was stored never was.
        assert_eq!(fresh, usize::from(step != "store-due"), "{step}: {runs:#?}");
        if fresh == 1 {
            let run = &runs[0];
            assert_eq!(run["state"], "done", "{step}: {run:#}");
            assert_eq!(run["spent"], 6, "{step}: {run:#}");
            spent += 6;
        }
        assert_eq!(market.sold() - sold, 2 * fresh, "{step}: each item is bought once");
    }
    assert_eq!(market.buyer.json(["duty", "list"])[0]["failures"], 0);
    assert_eq!(spent, 60);
}

#[test]
fn a_budget_that_a_run_would_exceed_buys_nothing_and_three_failures_pause() {
    let market = Market::open("");
    let buyer = &market.buyer;
    add(buyer, &echoes().replace("run = 40, day = 400", "run = 5, day = 8"));
    let input = buyer.write("words.json", r#"{"words": ["one", "two"]}"#);
    let args = || ["duty", "run", "echoes", "--wait", "--input"].map(std::ffi::OsStr::new).into_iter();
    for _ in 0..3 {
        let failed = buyer.run(args().chain([input.as_os_str()]));
        assert_eq!(failed.code(), 1, "{failed}");
    }
    assert_eq!(market.sold(), 0, "two words at three don't go into five");
    let list = buyer.json(["duty", "list"]);
    assert!(list[0]["paused"].as_str().unwrap().contains("3 runs failed"), "{list:#}");
    let args = args().filter(|arg| *arg != "--wait");
    buyer.run(args.chain([input.as_os_str()])).failed().says("ours", &["paused"]);
}

/// HMAC-SHA256.
fn hmac(secret: &[u8], body: &[u8]) -> String {
    let mut key = [0; 64];
    key[..secret.len()].copy_from_slice(secret);
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(body).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn deliver(address: SocketAddr, delivery: &str, signature: &str, body: &[u8]) -> u16 {
    deliver_claiming(address, delivery, signature, (body, body.len()))
}

fn deliver_claiming(address: SocketAddr, delivery: &str, signature: &str, (body, length): (&[u8], usize)) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST /hooks/repo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\nx-github-event: push\r\n\
         x-github-delivery: {delivery}\r\nx-hub-signature-256: sha256={signature}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[test]
fn a_webhook_sets_a_duty_off_once_and_what_it_brings_decides_nothing() {
    let market = Market::open(&format!("{HOOKS}hooks.url = \"https://hooks.example\"\n"));
    let (buyer, address) = (&market.buyer, hooks_of(&market.buyer));
    let hook = buyer.json(["hook", "add", "repo", "--github"]);
    assert_eq!(hook["url"], "https://hooks.example/hooks/repo");
    let secret = hook["secret"].as_str().unwrap().to_owned();
    assert_eq!(buyer.json(["hook", "list"])[0]["secret"], Value::Null, "it is said once");

    // What it brings tries each thing that it could decide.
    let hostile = r#"one", "service": "text.own", "seller": "x", "max_price": 1000, "mint": "http://evil.example", "x": "{{trigger}}"#;
    let body = json!({
        "words": [hostile, {"hire": "text.own"}, "three", "four"],
        "max_items": 100, "budget": {"unit": "play", "run": 1000, "day": 1000}, "name": "echoes", "step": [], "post": "file:evil.json",
    });
    let body = body.to_string().into_bytes();
    let signature = hmac(secret.as_bytes(), &body);
    assert_eq!(deliver(address, "d1", &hmac(b"guess", &body), &body), 401);
    assert_eq!(deliver(address, "d1", "", &body), 401);
    assert_eq!(deliver(address, "d1", &signature, &body[1..]), 401);
    assert_eq!(runs(buyer).len(), 0);
    assert_eq!(deliver(address, "d1", &signature, &body), 202);
    // Again, and under a new ID, which isn't signed.
    assert_eq!(deliver(address, "d1", &signature, &body), 202);
    assert_eq!(deliver(address, "d2", &signature, &body), 202);
    let runs = all_over(buyer);
    assert_eq!(runs.len(), 1, "{runs:#?}");
    let run = &runs[0];
    assert_eq!((&run["state"], &run["spent"]), (&json!("done"), &json!(6)), "{run:#}");
    assert_eq!(run["steps"][0]["trust"], "world");
    assert_eq!(run["steps"][0]["left_out"], 2);
    let posts = buyer.path().join("posts");
    assert_eq!(fs::read_dir(&posts).unwrap().count(), 1, "it posts where the file says");
    let posted: Value = serde_json::from_slice(&fs::read(posts.join("said/all.json")).unwrap()).unwrap();
    assert_eq!(posted, json!([{"word": hostile}, {"word": r#"{"hire":"text.own"}"#}]), "all of it is the word");
    let sold = market.seller.json(["task", "list", "--side", "seller"]);
    assert!(sold.as_array().unwrap().iter().all(|task| task["service"] == "text.echo"), "{sold:#}");

    let rotated = buyer.json(["hook", "rotate", "repo"]);
    let new = rotated["secret"].as_str().unwrap();
    let other = br#"{"words": []}"#;
    for (delivery, secret, status) in [("d3", &*secret, 202), ("d4", new, 202)] {
        // One body each, or the second would be the first again.
        let body = [other.as_slice(), &b" ".repeat(delivery.len() + secret.len() % 2)].concat();
        let body = if secret == new { [&body[..], b" "].concat() } else { body };
        assert_eq!(deliver(address, delivery, &hmac(secret.as_bytes(), &body), &body), status, "{delivery}");
        all_over(buyer);
    }
    buyer.run(["hook", "rotate", "repo", "--done"]).ok();
    assert_eq!(deliver(address, "d5", &hmac(secret.as_bytes(), b"{}"), b"{}"), 401, "the one before is over");

    let too_large = (&b"{}"[..], 25 * 1024 * 1024 + 1);
    assert_eq!(deliver_claiming(address, "d6", &hmac(new.as_bytes(), b"{}"), too_large), 413);
    let log = fs::read_to_string(buyer.log()).unwrap();
    assert!(!log.contains(&secret) && !log.contains(new), "secrets stay out of the log");
}

/// What GitHub's and the specification's own libraries sign.
#[test]
fn what_foreign_libraries_sign_is_taken_and_with_another_secret_it_is_not() {
    let swarm = Swarm::start(0);
    let node = swarm.trader("node", HOOKS);
    let address = hooks_of(&node);
    let add_hook = |name: &str, how: &str| -> (String, String) {
        let hook = node.json(["hook", "add", name, how]);
        (format!("http://{address}/hooks/{name}"), hook["secret"].as_str().unwrap().to_owned())
    };
    let ((github, secret), (standard, key)) = (add_hook("repo", "--github"), add_hook("orders", "--standard"));
    let (_, other) = add_hook("other", "--standard");
    let body = json!({ "type": "order.paid", "text": "ü€ \"quoted\"" }).to_string();
    if let Some(scripts) = Scripts::of_javascript() {
        let deliver = |secret: &str, delivery| {
            scripts.start("webhook.js", &[&github, secret, delivery, "push", &body]).says("status")
        };
        assert_eq!((deliver(&secret, "1"), deliver("another", "2")), (json!(202), json!(401)));
    }
    if let Some(scripts) = Scripts::of_webhooks() {
        let deliver = |key: &str, id| scripts.start("webhook.py", &[&standard, key, id, &body]).says("status");
        assert_eq!((deliver(&key, "1"), deliver(&other, "2")), (json!(202), json!(401)));
    }
}

#[test]
fn a_webhook_that_was_answered_survives_a_kill() {
    let mut market = Market::open(HOOKS);
    let secret = market.buyer.json(["hook", "add", "repo", "--github"])["secret"].as_str().unwrap().to_owned();
    let body = br#"{"words": ["one"]}"#;
    let signature = hmac(secret.as_bytes(), body);
    market.buyer.stop();
    market.buyer.restart_with(&[("GUILDER_FAILPOINT", "kill:store-delivery")]);
    let answer = deliver(hooks_of(&market.buyer), "d1", &signature, body);
    assert_eq!(answer, 0, "it isn't stored, and isn't answered");
    eventually("the buyer to die", LONG, || if market.buyer.has_ended() { Ok(()) } else { Err("it lives") });
    market.buyer.restart();
    assert_eq!(runs(&market.buyer).len(), 0);
    // As soon as it takes webhooks it knows what they set off.
    assert_eq!(deliver(hooks_of(&market.buyer), "d1", &signature, body), 202);
    assert_eq!(runs(&market.buyer).len(), 1);
    market.buyer.kill();
    market.buyer.restart();
    let runs = all_over(&market.buyer);
    assert_eq!((runs.len(), &runs[0]["state"]), (1, &json!("done")), "{runs:#?}");
    assert_eq!(market.sold(), 1);
}

/// What happened just before a kill is still there, and has its outcome once, however often the node dies on the way.
#[test]
fn an_event_sets_a_duty_off_once_though_the_node_dies_before_that_is_stored() {
    let mut market = Market::open("");
    add(&market.buyer, "name = \"after\"\non = [{ event = \"task_delivered\" }]\n[[step]]\nwait = \"1s\"\n");
    let input = market.buyer.write("input.json", r#"{"word": "hello"}"#);
    let hire = |buyer: &Daemon| {
        // It may be cut off.
        let args = ["hire", "text.echo", "--deadline", "100s", "--input"].map(std::ffi::OsStr::new);
        let _ = buyer.run(args.into_iter().chain([input.as_os_str()]));
    };
    hire(&market.buyer);
    eventually("the event to set it off", LONG, || match runs(&market.buyer).len() {
        1 => Ok(()),
        count => Err(count),
    });
    // What happens while a run goes on is left out.
    all_over(&market.buyer);
    for fault in ["kill:store-due", "kill:store-step", "kill:store-run"] {
        let before = runs(&market.buyer).len();
        market.buyer.stop();
        market.buyer.restart_with(&[("GUILDER_FAILPOINT", fault)]);
        hire(&market.buyer);
        eventually(&format!("the buyer to die of {fault}"), LONG, || match market.buyer.has_ended() {
            true => Ok(()),
            false => Err("it lives"),
        });
        market.buyer.restart();
        eventually(&format!("the event to have set it off after {fault}"), LONG, || {
            let runs = all_over(&market.buyer);
            if runs.len() == before + 1 { Ok(()) } else { Err(json!(runs)) }
        });
        market.buyer.stop();
        market.buyer.restart();
        assert_eq!(all_over(&market.buyer).len(), before + 1, "{fault}: nothing is heard twice");
    }
    let shown = market.buyer.json(["duty", "show", "after"]);
    let outcomes = shown["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| outcome["run"].is_string()).count(), 4, "{shown:#}");
    let unknown = outcomes.iter().filter(|outcome| outcome["run"].is_null());
    assert!(
        unknown.clone().all(|outcome| outcome.to_string().contains("may not be known")) && unknown.count() <= 3,
        "a kill may have taken one more, which is said: {shown:#}"
    );
}

#[test]
fn runs_that_wait_do_not_begin_once_their_duty_is_paused_or_removed() {
    let swarm = Swarm::start(0);
    let node = swarm.trader("node", HOOKS);
    let secret = node.json(["hook", "add", "repo", "--github"])["secret"].as_str().unwrap().to_owned();
    let set_off = |nth: &str| {
        let body = format!("{{\"nth\": {nth}}}").into_bytes();
        assert_eq!(deliver(hooks_of(&node), nth, &hmac(secret.as_bytes(), &body), &body), 202);
    };
    let waits = "name = \"waits\"\non = [{ hook = \"repo\" }]\noverlap = \"queue\"\n[[step]]\nwait = \"10d\"\n";
    for (verb, why) in [("pause", "the duty was paused"), ("remove", "the duty was removed")] {
        add(&node, waits);
        set_off(if verb == "pause" { "1" } else { "3" });
        let first = eventually("a run to go on", LONG, || {
            let runs = runs(&node);
            runs.iter().find(|run| run["state"] == "going").map(|run| run["id"].clone()).ok_or_else(|| json!(runs))
        });
        set_off(if verb == "pause" { "2" } else { "4" });
        node.run(["duty", verb, "waits"]).ok();
        let listed = runs(&node);
        let state = |state: &str| listed.iter().filter(|run| run["state"] == state).count();
        assert_eq!((state("going"), state("queued")), (1, 1), "what goes on goes on: {listed:#?}");
        // The next one's turn comes.
        node.run(["run", "cancel", first.as_str().unwrap()]).ok();
        let over = all_over(&node);
        assert!(over.iter().all(|run| run["state"] == "cancelled"), "{over:#?}");
        let said = |why: &str| over.iter().filter(|run| run["failure"] == why).count();
        assert_eq!((said(why), said("it was called off")), (1, over.len() / 2), "{over:#?}");
        if verb == "pause" {
            node.run(["duty", "resume", "waits"]).ok();
        }
    }
}

/// As many runs as a node has places, and one more.
const PLACES: usize = 64;

#[test]
fn runs_that_wait_for_a_moment_keep_no_place_from_others() {
    let swarm = Swarm::start(0);
    let mut node = swarm.trader("node", "");
    for number in 0..=PLACES {
        add(&node, &format!("name = \"waits-{number}\"\n[[step]]\nwait = \"10d\"\n"));
        node.run(["duty", "run", &format!("waits-{number}")]).ok();
    }
    add(&node, "name = \"late\"\n[[step]]\npost = \"file:late.txt\"\ntext = \"x\"\n");
    let all_wait = |node: &Daemon| {
        eventually("all of them to wait", LONG, || {
            let runs = runs(node);
            let going = runs.iter().filter(|run| run["state"] == "going").count();
            if going == PLACES + 1 { Ok(()) } else { Err(going) }
        });
    };
    all_wait(&node);
    assert_eq!(node.json(["duty", "run", "late", "--wait"])["state"], "done");
    node.stop();
    node.restart();
    all_wait(&node);
    assert_eq!(node.json(["duty", "run", "late", "--wait"])["state"], "done", "also after a restart");
}

#[test]
fn every_minute_has_one_outcome_also_the_one_in_which_the_node_was_killed() {
    let swarm = Swarm::start(0);
    let mut node = swarm.trader("node", "");
    swarm::sell_echo(&node, "text.own", 1, "");
    add(
        &node,
        "name = \"minutely\"\non = [{ cron = \"* * * * *\", missed = \"each\" }]\noverlap = \"queue\"\n\
         [[step]]\nrun = \"text.own\"\ntext = \"{{run.due}}\"\n",
    );
    node.stop();
    node.restart_with(&[("GUILDER_FAILPOINT", "kill:store-due")]);
    eventually("the node to die when the minute comes", MINUTE, || match node.has_ended() {
        true => Ok(()),
        false => Err("it lives"),
    });
    let died = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    node.restart();
    // What was due before it is found out at the first look; the minute in which it died may be that one, or come later.
    let shown = eventually("that minute to have run", MINUTE, || {
        let shown = node.json(["duty", "show", "minutely"]);
        let outcomes = shown["outcomes"].as_array().cloned().unwrap_or_default();
        let is_decided = outcomes.iter().any(|outcome| outcome["at"].as_u64().unwrap() >= died - died % 60);
        let all_over = runs(&node).iter().all(|run| run["ended"] == true);
        if is_decided && all_over { Ok(shown) } else { Err(shown) }
    });
    let outcomes = shown["outcomes"].as_array().unwrap();
    let moments: Vec<u64> = outcomes.iter().rev().map(|outcome| outcome["at"].as_u64().unwrap()).collect();
    assert!(moments.iter().all(|at| at.is_multiple_of(60)), "{shown:#}");
    assert!(moments.windows(2).all(|two| two[1] == two[0] + 60), "none is missing, and none has two: {shown:#}");
    let made = runs(&node);
    for outcome in outcomes {
        let of_it: Vec<_> = made.iter().filter(|run| run["due"] == outcome["at"]).collect();
        assert_eq!(of_it.len(), 1, "{made:#?}");
        assert_eq!((&of_it[0]["id"], &of_it[0]["state"]), (&outcome["run"], &json!("done")), "{shown:#}");
    }
    let next = shown["next"].as_u64().unwrap();
    assert!(next > *moments.last().unwrap() && next.is_multiple_of(60), "{shown:#}");
}

/// A duty that recalls, hires with what it recalled, and remembers what came of it.
const LEARNS: &str = r#"
name = "learns"
on = [{ hook = "repo" }]
budget = { unit = "play", run = 40, day = 400 }
[[step]]
id = "known"
recall = "suppliers"
text = "what is known of {{trigger.word}}"
private = true
[[step]]
id = "said"
hire = "text.echo"
input = '{"word": "{{trigger.word}}", "known": "{{known.0.text}}"}'
deadline = "100s"
[[step]]
remember = "suppliers"
subject = "echo"
of = "said"
"#;

#[test]
fn a_duty_remembers_once_with_its_sources_whenever_it_is_killed_and_leaves_private_domains_alone() {
    let mut market = Market::open("");
    let file = LEARNS.replace("on = [{ hook = \"repo\" }]\n", "");
    add(&market.buyer, &file);
    market.buyer.run(["remember", "The word plugh is known", "--domain", "suppliers"]).ok();
    let input = market.buyer.write("word.json", r#"{"word": "plugh"}"#);
    let args = ["duty", "run", "learns", "--input"].map(std::ffi::OsStr::new);
    for (nth, step) in ["store-step*3", "store-outcome*2", "store-run"].into_iter().enumerate() {
        market.buyer.stop();
        market.buyer.restart_with(&[("GUILDER_FAILPOINT", &format!("kill:{step}"))]);
        let _ = market.buyer.run(args.into_iter().chain([input.as_os_str()]));
        eventually(&format!("the buyer to die at {step}"), LONG, || match market.buyer.has_ended() {
            true => Ok(()),
            false => Err("it lives"),
        });
        market.buyer.restart();
        let run = all_over(&market.buyer).into_iter().find(|run| run["duty"] == "learns").unwrap();
        assert_eq!(run["state"], "done", "{step}: {run:#}");
        let domains = market.buyer.json(["memory", "domains"]);
        assert_eq!(domains[0]["memories"], nth + 2, "{step}: one memory a run: {domains:#}");
    }
    let buyer = &market.buyer;
    let found = buyer.run(["recall", "plugh", "--subject", "echo"]).ok().json();
    let memory = &found[0];
    assert_eq!((&memory["trust"], &memory["by"]), (&json!("peer"), &json!("duty/learns")), "{memory:#}");
    let sources: Vec<_> = memory["sources"].as_array().unwrap().iter().map(|source| source.as_str().unwrap()).collect();
    assert!(sources[0] == format!("peer:{}", market.seller.peer_id()), "{sources:?}");
    assert!(sources.iter().any(|source| source.starts_with("memory:")), "{sources:?}");
    assert!(sources.iter().any(|source| source.starts_with("receipt:")), "{sources:?}");
    // What is forgotten is in no run: its IDs alone were.
    let said = buyer.json(["recall", "known", "--trust", "owner"]);
    assert_eq!(said.as_array().unwrap().len(), 1, "{said:#}");
    let from = market.seller.peer_id();
    assert_eq!(buyer.run(["forget", "--from", &from]).ok().json()["ids"].as_array().unwrap().len(), 3);

    // Without a word of the file nothing private is recalled.
    add(buyer, &file.replace("private = true\n", ""));
    let whole = || args.into_iter().chain([input.as_os_str(), "--wait".as_ref()]);
    let run = buyer.run(whole());
    assert!(run.code() != 0 && format!("{run}").contains("is private"), "{run}");
    // Nor is what is made of it remembered where others may read.
    buyer.run(["memory", "set", "open", "--private", "false"]).ok();
    add(buyer, &file.replace("remember = \"suppliers\"", "remember = \"open\""));
    let run = buyer.run(whole());
    assert!(run.code() != 0 && format!("{run}").contains("is private, and open isn't"), "{run}");
}
