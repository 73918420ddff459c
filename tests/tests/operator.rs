//! What an operator does by hand: calls a task off, adds and removes mints, sells an HTTP service of its own.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    thread,
};

use guilder_tests::{
    Daemon, Home, LONG, Swarm, eventually,
    swarm::{self, Books, LOOPBACK, Money, UNIT},
};
use serde_json::Value;

/// Redeems soon, so that the books settle while the test looks on.
const PROMPT: &str = "wallet.redemption.interval_secs = 1\n";

#[track_caller]
fn meet(buyer: &Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.text().contains("seller") { Ok(()) } else { Err(found.to_string()) }
    });
}

/// A hire that goes on while the test does something else.
fn hire_aside(buyer: &Daemon, service: &str) -> Child {
    let mut command = buyer.command();
    command.args(["--json", "hire", service, "--input", "-", "--deadline", "2m"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_task_is_called_off() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", PROMPT);
    let buyer = swarm.buyer(100, "");
    let (began, ended) = (seller.file("began"), seller.file("ended"));
    let script = format!("touch {}; sleep 60; touch {}", began.display(), ended.display());
    swarm::sell_script(&seller, "text.slow", 7, &script, "");
    meet(&buyer, "text.slow");

    let hire = hire_aside(&buyer, "text.slow");
    eventually("the work to begin", LONG, || if began.exists() { Ok(()) } else { Err("not yet") });
    let tasks = buyer.json(["task", "list"]);
    let id = tasks[0]["id"].as_str().unwrap().to_owned();
    buyer.run(["task", "cancel", &id]).ok();
    let output = hire.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("cancelled by the buyer"));
    let task = eventually("the task to be called off", LONG, || {
        let task = buyer.json(["task", "show", &id]);
        if task["state"] == "cancelled" { Ok(task) } else { Err(task) }
    });
    // What the seller had begun has to be paid, and nothing else.
    let books = Books::settled(&[&buyer, &seller], LONG);
    assert_eq!(books.add_up().money("seller").available, 7, "{books}\n{task}");
    assert!(!ended.exists(), "the work was stopped");

    let over = buyer.run(["task", "cancel", &id]).failed().says("ours", &["is over", "task show"]);
    assert_eq!(over.exit, 2, "{over:?}");
    buyer.run(["task", "cancel", "zzzzzz"]).failed().says("ours", &["zzzzzz"]);
    for command in ["show", "output", "cancel"] {
        assert_eq!(buyer.run(["task", command, ""]).code(), 2, "an ID has letters");
    }
}

#[test]
fn a_wallet_has_two_mints() {
    let swarm = Swarm::start(0);
    let other = Daemon::start(
        "other",
        &Home::new(&format!(
            "{LOOPBACK}network.bootstrap = [\"{}\"]\nmint.host = true\nmint.units = [{{ unit = \"{UNIT}\" }}]\n",
            swarm.mint.address()
        )),
    );
    let other_url = format!("p2p://mint/{}", other.peer_id());
    let elsewhere = swarm.settings(PROMPT).replace(&swarm.mint_url, &other_url);
    let there = Daemon::start("there", &Home::new(&elsewhere));
    let here = swarm.trader("here", PROMPT);
    let mut buyer = swarm.buyer(100, "");
    swarm::sell_echo(&here, "echo.here", 5, "");
    swarm::sell_echo(&there, "echo.there", 6, "");

    // What the buyer can't pay for it isn't offered.
    meet(&buyer, "echo.there");
    let hire = ["hire", "echo.there", "--input", "-", "--deadline", "20s"];
    buyer.run_with(hire, b"hi").failed().says("incompatible", &["no mint"]);
    let mints = buyer.json(["wallet", "mints", "add", &other_url]);
    let urls = |mints: &Value| mints.as_array().unwrap().iter().map(|mint| mint["url"].clone()).collect::<Vec<_>>();
    assert_eq!(mints.as_array().unwrap().iter().filter(|mint| mint["added"] == true).count(), 1, "{mints}");
    assert!(urls(&mints).contains(&other_url.clone().into()) && urls(&mints).len() == 2, "{mints}");
    buyer.run(["wallet", "fund", "60"]).failed().says("ours", &["--mint"]);
    buyer.run(["wallet", "fund", "60", "--mint", &other_url]).ok();

    buyer.stop();
    buyer.restart();
    meet(&buyer, "echo.here");
    meet(&buyer, "echo.there");
    for (service, mint) in [("echo.here", &swarm.mint_url), ("echo.there", &other_url)] {
        let done = swarm::hire(&buyer, service, b"hi", &[]);
        assert_eq!((done.output.as_str(), &done.task["mint"]), ("hi", &Value::from(mint.as_str())));
    }
    let books = Books::settled(&[&buyer, &here, &there], LONG);
    books.add_up();
    assert_eq!((books.money("here").available, books.money("there").available), (5, 6), "{books}");
    let balances = buyer.run_as_person(["wallet", "balance"], b"").ok().text();
    assert!(balances.contains(&swarm.mint_url) && balances.contains(&other_url), "{balances}");
    assert!(balances.lines().all(|line| line.chars().count() <= 100), "{balances}");

    // With money at it a mint stays; and so does one that the settings name.
    let remove = ["wallet", "mints", "remove", &other_url];
    buyer.run(remove).failed().says("ours", &["there is money"]);
    let token = buyer.json(["wallet", "send", "54", "--mint", &other_url]);
    there.run(["wallet", "receive", token["token"].as_str().unwrap()]).ok();
    assert_eq!(Money::of(&there).available, 60);
    assert_eq!(urls(&buyer.json(remove)), [Value::from(swarm.mint_url.as_str())]);
    buyer.run(["wallet", "mints", "remove", &swarm.mint_url]).failed().says("ours", &["money"]);
    buyer.stop();
    buyer.restart();
    assert_eq!(urls(&buyer.json(["wallet", "mints"])), [Value::from(swarm.mint_url.as_str())]);
}

/// Answers requests, one after the other: shouts the body back, or says that it can't.
fn shouter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| shout(stream.unwrap())));
    address
}

fn shout(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return;
        }
    }
    let head = head.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let mut body = vec![0; field("content-length:").unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let named = field("guilder-service:").as_deref() == Some("text.shout") && field("guilder-buyer:").is_some();
    let (status, body) = match body.as_str() {
        "quietly" => ("422 Unprocessable", "only aloud".to_owned()),
        _ if !named || field("x-token:").as_deref() != Some("open sesame") => ("403 Forbidden", head),
        _ => ("200 OK", body.to_uppercase()),
    };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).unwrap();
}

#[test]
fn an_http_service_is_sold() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", PROMPT);
    let buyer = swarm.buyer(100, "");
    let address = shouter();
    let run = format!("[run.http]\nurl = \"http://{address}/shout\"\n[run.http.headers]\nx-token = \"open sesame\"");
    swarm::sell(&seller, "text.shout", 9, &run);
    meet(&buyer, "text.shout");
    let done = swarm::hire(&buyer, "text.shout", b"hello", &[]);
    assert_eq!(done.output, "HELLO");
    let books = Books::settled(&[&buyer, &seller], LONG);
    assert_eq!(books.add_up().money("seller").available, 9, "{books}");

    let hire = ["hire", "text.shout", "--input", "-", "--deadline", "20s"];
    let failed = buyer.run_with(hire, b"quietly").failed().says("peer", &["the seller", "422"]);
    assert_eq!(failed.exit, 3, "{failed:?}");
    assert_eq!(Money::of(&seller).available, 9);
}
