//! Webhooks out between real processes: told once and signed as the specification has it, through kills at each step.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use guilder_tests::{
    Daemon, LONG, eventually,
    foreign::Scripts,
    swarm::{self, Swarm},
};
use serde_json::{Value, json};

/// Takes webhooks, or answers 503, and keeps what came: IDs and bodies.
#[derive(Clone, Default)]
struct Receiver {
    came: Arc<Mutex<Vec<(String, Value)>>>,
    is_down: Arc<AtomicBool>,
}

impl Receiver {
    fn listen() -> (Self, String) {
        let (receiver, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let taking = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let mut head = BTreeMap::new();
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some((name, value)) = line.trim().split_once(": ") {
                        head.insert(name.to_ascii_lowercase(), value.to_owned());
                    }
                    line.clear();
                }
                let length = head.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                assert!(head["webhook-signature"].starts_with("v1,") && head["webhook-timestamp"].len() >= 10);
                let status = if taking.is_down.load(Ordering::SeqCst) { "503 Not Now" } else { "200 OK" };
                taking.came.lock().unwrap().push((head["webhook-id"].clone(), serde_json::from_slice(&body).unwrap()));
                let _ = write!(reader.into_inner(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            }
        });
        (receiver, url)
    }

    /// The services of the events that came, by delivery ID.
    fn services(&self) -> BTreeMap<String, String> {
        let came = self.came.lock().unwrap();
        let of_services = came.iter().filter(|(_, body)| body["type"] == "service_added");
        of_services.map(|(id, body)| (id.clone(), body["data"]["service"].as_str().unwrap().to_owned())).collect()
    }

    #[track_caller]
    fn has(&self, services: &[&str]) {
        eventually("every event to have come, each under one ID", LONG, || {
            let mut came: Vec<String> = self.services().into_values().collect();
            came.sort_unstable();
            if came == services { Ok(()) } else { Err(json!(came)) }
        });
    }
}

fn endpoint(node: &Daemon) -> Value {
    node.json(["hook", "out", "show", "books"])
}

#[test]
fn what_happens_is_told_once_though_the_node_is_killed_at_every_step_of_telling() {
    let swarm = Swarm::start(0);
    let mut node = swarm.trader("node", "");
    let (receiver, url) = Receiver::listen();
    let add = |node: &Daemon, url: &str, events: &str| {
        node.run(["hook", "out", "add", "books", "--url", url, "--events", events])
    };
    for wrong in ["http://books.example/hooks", "https://user:word@books.example/", "file:///x"] {
        add(&node, wrong, "ended").failed().says("ours", &["https://HOST/PATH"]);
    }
    add(&node, &url, "peer_connected").failed().says("ours", &["peer_connected"]);
    let added = add(&node, &url, "service_added,ended").ok().json();
    assert!(added["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(endpoint(&node)["secret"], Value::Null, "it is said once");
    let tried = node.json(["hook", "out", "test", "books"]);
    assert_eq!((&tried["taken"], &tried["id"]), (&json!(true), &json!(receiver.came.lock().unwrap()[0].0)));

    swarm::sell_echo(&node, "text.a", 1, "");
    receiver.has(&["text.a"]);
    let mut sold = vec!["text.a"];
    for (step, service) in [("post-webhook", "text.b"), ("store-told", "text.c")] {
        node.stop();
        node.restart_with(&[("GUILDER_FAILPOINT", &format!("kill:{step}"))]);
        let text = format!("name = \"{service}\"\ndescription = \"x\"\nprice = 1\nunit = \"play\"\nrun = \"echo\"\n");
        let file = node.write("service.toml", text);
        // It may be cut off.
        let _ = node.run(["service".as_ref(), "add".as_ref(), file.as_os_str()]);
        eventually(&format!("the node to die at {step}"), LONG, || match node.has_ended() {
            true => Ok(()),
            false => Err("it lives"),
        });
        node.restart();
        sold.push(service);
        receiver.has(&sold);
    }
    let came = receiver.came.lock().unwrap().len();
    assert!(came > receiver.services().len(), "what was taken and not noted came again, under its ID");

    // While it is down what happens waits, over a restart too.
    receiver.is_down.store(true, Ordering::SeqCst);
    swarm::sell_echo(&node, "text.d", 1, "");
    swarm::sell_echo(&node, "text.e", 1, "");
    let waiting = eventually("the first to be tried", LONG, || match endpoint(&node) {
        shown if shown["waiting"]["attempts"] == 1 => Ok(shown),
        shown => Err(shown),
    });
    assert_eq!(waiting["waiting"]["why"], "it answers 503", "{waiting:#}");
    node.kill();
    node.restart();
    receiver.is_down.store(false, Ordering::SeqCst);
    node.run(["hook", "out", "resume", "books"]).ok();
    receiver.has(&["text.a", "text.b", "text.c", "text.d", "text.e"]);
    let log = std::fs::read_to_string(node.log()).unwrap();
    assert!(!log.contains(added["secret"].as_str().unwrap()), "the secret stays out of the log");
    node.run(["hook", "out", "remove", "books"]).ok();
    assert_eq!(node.json(["hook", "out", "list"]), json!([]));
}

/// Whoever isn't the owner asks for it first: it publishes what happens here.
#[test]
fn an_assistant_that_adds_an_endpoint_waits_for_the_owners_word() {
    let swarm = Swarm::start(0);
    let node = swarm.trader("node", "");
    node.run(["caller", "add", "helper", "--risk", "high", "--budget", "10/day", "--services", "text.echo"]).ok();
    let add = ["--as", "helper", "hook", "out", "add", "x", "--url", "https://x.example/", "--events", "all"];
    node.run(add).failed().says("ours", &["approv"]);
    assert_eq!(node.json(["hook", "out", "list"]), json!([]));
    assert_eq!(node.json(["approvals", "list"])[0]["action"], "change-endpoint");
}

/// What the specification's own library takes.
#[test]
fn the_foreign_library_takes_what_is_signed_and_not_after_another_secret() {
    let swarm = Swarm::start(0);
    let node = swarm.trader("node", "");
    let Some(scripts) = Scripts::of_webhooks() else { return };
    let secret = node.write("secret", "");
    let mut receiver = scripts.start("receiver.py", &[secret.to_str().unwrap()]);
    let url = format!("http://127.0.0.1:{}/hooks", receiver.says("port"));
    let added = node.json(["hook", "out", "add", "books", "--url", &url, "--events", "all"]);
    node.write("secret", added["secret"].as_str().unwrap());
    swarm::sell_echo(&node, "text.a", 1, "");
    let taken = receiver.says("taken");
    assert_eq!((&taken["type"], &taken["data"]["service"]), (&json!("service_added"), &json!("text.a")), "{taken}");
    // While the secret is replaced both sign.
    let rotated = node.json(["hook", "out", "rotate", "books"]);
    for secret in [&added["secret"], &rotated["secret"]] {
        node.write("secret", secret.as_str().unwrap());
        assert_eq!(node.json(["hook", "out", "test", "books"])["taken"], true);
        assert_eq!(receiver.says("taken")["type"], "test");
    }
    node.run(["hook", "out", "rotate", "books", "--done"]).ok();
    node.write("secret", added["secret"].as_str().unwrap());
    let tried = node.run(["hook", "out", "test", "books"]);
    assert_eq!(tried.code(), 1, "the secret before signs no more: {tried}");
    receiver.says("refused");
}
