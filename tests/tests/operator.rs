//! What an operator does by hand: calls a task off, adds and removes mints, sells an HTTP service of its own.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    thread,
};

use guilder_tests::{
    Daemon, Home, LONG, Swarm, eventually, http, skip,
    swarm::{self, Books, LOOPBACK, Money, UNIT},
};
use rustix::process::{Pid, Signal, kill_process};
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

#[test]
fn a_node_whose_bootstrap_peers_do_not_answer_says_so_in_status_find_and_log() {
    // Nobody listens on these ports: they are for root's services of forty years ago.
    let silent = [
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
        "/ip4/127.0.0.1/tcp/2/p2p/12D3KooWSvUUUCuFmm4Gf5X5dxtiaEurKzREfCvX4t9oZZvKihwY",
    ];
    let home = Home::new(&format!("{LOOPBACK}network.bootstrap = {silent:?}\n"));
    let mut up = home.command();
    let log = std::fs::File::create(home.file("node.log")).unwrap();
    let mut up = up.arg("up").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    // Who it is, where it listens, what to do next; nothing after that.
    let mut said = BufReader::new(up.stdout.take().unwrap());
    let mut greeting = String::new();
    while !greeting.contains("Ctrl-C") {
        assert!(said.read_line(&mut greeting).unwrap() > 0, "{greeting}");
    }
    let peer_id = home.json(["id"])["peer_id"].as_str().unwrap().to_owned();
    let command = format!("guilder --home {} wallet mints add URL", home.path().display());
    for words in [&peer_id, "/ip4/127.0.0.1/tcp/", "others join", &command] {
        assert!(greeting.contains(words), "no {words} in {greeting}");
    }

    let status = eventually("both dials to fail", LONG, || {
        let status = home.json(["status"]);
        let failed = status["bootstrap"].as_array().unwrap().iter().filter(|peer| peer["error"].is_string());
        if failed.count() == 2 { Ok(status) } else { Err(status) }
    });
    assert_eq!(status["peers"], 0);
    let shown = home.run_as_person(["status"], b"").ok().text();
    assert!(shown.contains("0: 2 of 2 bootstrap peers don't answer:"), "{shown}");
    let searched = home.run_as_person(["find", "text.echo"], b"");
    assert_eq!(searched.code(), 1);
    for address in silent {
        assert!(shown.contains(&format!("{address}: Connection refused")), "{shown}");
        assert!(searched.error_text().contains(address), "{searched}");
        let log = std::fs::read_to_string(home.file("node.log")).unwrap();
        let warned = log.lines().filter(|line| line.contains("bootstrap_failed") && line.contains(address));
        assert_eq!(warned.count(), 1, "once, not at each dial: {log}");
    }
    kill_process(Pid::from_child(&up), Signal::TERM).unwrap();
    assert!(up.wait().unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_store_is_opened_by_the_node_that_made_it_alone() {
    let mut daemon = Daemon::start("node", &Home::new(LOOPBACK));
    let own = daemon.peer_id();
    daemon.stop();
    let secret = daemon.path().join("secret.json");
    let kept = std::fs::read(&secret).unwrap();
    std::fs::remove_file(&secret).unwrap();
    daemon.run(["init"]).failed().says("ours", &["no keys", "init --restore"]);
    let other = Home::new("");
    std::fs::copy(other.path().join("secret.json"), &secret).unwrap();
    let refused = daemon.run(["up"]).failed().says("ours", &[&own, "init --restore"]);
    assert_eq!(refused.exit, 2);
    std::fs::write(&secret, kept).unwrap();
    daemon.restart();
}

#[test]
fn health_and_metrics_are_told_to_a_machine_and_to_no_web_page() {
    let settings = "monitor.listen = \"127.0.0.1:0\"\n";
    let swarm = Swarm::start_with(0, settings);
    let seller = swarm.trader("seller", settings);
    swarm::sell_echo(&seller, "text.echo", 3, "");
    let buyer = swarm.buyer(100, settings);
    let address = |node: &Daemon| {
        let log = std::fs::read_to_string(node.log()).unwrap();
        let url = log.split("health and metrics at http://").nth(1).unwrap();
        url.split('/').next().unwrap().parse::<SocketAddr>().unwrap()
    };
    let get = |node: &Daemon, path: &str| http::request(address(node), "GET", path, &[], b"").unwrap();
    let health = get(&buyer, "/healthz");
    assert_eq!((health.status, &health.json()["status"]), (200, &"ok".into()));
    meet(&buyer, "text.echo");
    swarm::hire(&buyer, "text.echo", b"hi", &[]);
    for (node, lines) in [
        (
            &buyer,
            &[
                "guilder_tasks_ended_total{side=\"buyer\",outcome=\"done\",fault=\"\"} 1",
                "guilder_income_total{how=\"funded\",unit=\"play\"} 100",
            ][..],
        ),
        (&seller, &["guilder_services 1", "guilder_income_total{how=\"redeemed\",unit=\"play\"} 3"]),
        (&swarm.mint, &["guilder_hosted_mint_issued_total{unit=\"play\"} "]),
    ] {
        eventually(&format!("{lines:?}"), LONG, || {
            let answer = get(node, "/metrics");
            let page = String::from_utf8(answer.body).unwrap();
            if answer.status == 200 && lines.iter().all(|line| page.contains(line)) { Ok(()) } else { Err(page) }
        });
    }
    let rebound = http::request(address(&buyer), "GET", "/metrics", &[("host", "evil.example")], b"").unwrap();
    assert_eq!(rebound.status, 403);
    for (method, path) in [("POST", "/metrics"), ("GET", "/v1/status"), ("GET", "/")] {
        let answer = http::request(address(&buyer), method, path, &[], b"").unwrap();
        assert!(matches!(answer.status, 404 | 405), "{method} {path}: {answer:?}");
    }
    buyer.settings(&swarm.settings("monitor.listen = \"0.0.0.0:0\"\n"));
    let refused = buyer.run(["up"]).failed();
    assert!(refused.message.contains("monitor.allow_remote"), "{refused:?}");
}

#[test]
fn the_systemd_unit_is_one_that_systemd_takes_and_finds_well_closed() {
    let home = Home::empty();
    let unit = home.run_as_person(["service-unit", "--user", "root"], b"").ok().text();
    let file = home.write("guilder.service", &unit);
    let analyze = |args: &[&str]| {
        let ran =
            std::process::Command::new("systemd-analyze").args(args).arg(&file).env("SYSTEMD_COLORS", "0").output();
        ran.ok()
            .map(|ran| (ran.status.success(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()))
    };
    let Some((verified, said)) = analyze(&["verify"]) else {
        return skip("systemd-analyze");
    };
    assert!(verified && !said.contains("guilder.service:"), "{said}");
    // 0 is closed, 10 open; in tenths.
    let (closed, said) = analyze(&["security", "--offline=true", "--threshold=25"]).unwrap();
    assert!(closed, "{said}");
}

#[test]
fn what_has_an_alias_is_taken_by_it_and_shown_by_it() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    swarm::sell_echo(&seller, "text.echo", 3, "");
    let buyer = swarm.buyer(100, "");
    meet(&buyer, "text.echo");
    let (ann, bank) = (seller.peer_id(), swarm.mint_url.clone());
    buyer.run(["alias", "add", "ann", &ann]).ok();
    let list = buyer.run(["alias", "add", "bank", &bank]).ok().json();
    assert_eq!((&list[0]["name"], &list[1]["target"]), (&"ann".into(), &bank.clone().into()));

    let found = buyer.run_as_person(["find", "text.echo"], b"").ok().text();
    assert!(found.contains("@ann") && found.contains("@bank") && !found.contains(&ann), "{found}");
    let found = buyer.json(["find", "text.echo"]);
    assert_eq!((&found[0]["seller"], &found[0]["seller_alias"]), (&ann.clone().into(), &"ann".into()));
    assert_eq!(found[0]["mints_alias"][0], "bank");
    let hired = ["hire", "text.echo", "--input", "-", "--seller", "@ann", "--mint=@bank"];
    let told = buyer.run_as_person(hired, b"hello").ok();
    assert_eq!(told.text(), "hello");
    assert!(told.error_text().contains("@ann accepts"), "{told}");
    assert!(buyer.run_as_person(["wallet", "balance"], b"").ok().text().starts_with("@bank\n"));
    assert!(
        buyer.run_as_person(["alias"], b"").ok().text().contains(&bank),
        "here alone it is told what it stands for"
    );

    // So it is for programs, where a peer or a mint is asked for; what is free text stays as it is.
    let token = format!("Bearer {}", buyer.access().unwrap()["token"].as_str().unwrap());
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let asked = |method, path: &str, body: &str| {
        let access = buyer.access().unwrap();
        let address = access["address"].as_str().unwrap().parse().unwrap();
        http::request(address, method, path, &headers, body.as_bytes()).unwrap()
    };
    let names = asked("GET", "/v1/aliases", "").json();
    assert_eq!(
        (&names[0]["name"], &names[0]["kind"], &names[1]["target"]),
        (&"ann".into(), &"peer".into(), &bank.clone().into())
    );
    let terms = "service=text.echo&seller=@ann&avoid=%40bob2&label=@ann";
    let bob = asked("POST", &format!("/v1/tasks?{terms}"), "");
    assert_eq!(bob.status, 400);
    assert!(bob.json()["message"].as_str().unwrap().contains("no alias @bob2"), "{}", bob.json());
    let hired = asked("POST", "/v1/tasks?service=text.echo&prefer=@ann&mint=%40bank&label=%40ann", "hi");
    assert_eq!(hired.status, 200, "{hired:?}");
    for (terms, count) in [("peer=@ann&label=@ann", 1), ("peer=@ann", 2), ("label=@bob", 0)] {
        let tasks = asked("GET", &format!("/v1/tasks?{terms}"), "").json();
        assert_eq!(tasks.as_array().unwrap().len(), count, "{terms}: {tasks}");
    }
    let sent = asked("POST", "/v1/wallet/send", "{\"amount\": 2, \"mint\": \"@bank\"}");
    assert_eq!((sent.status, &sent.json()["mint"]), (200, &bank.clone().into()), "{sent:?}");
    // For scripts a hint has whole IDs, too.
    buyer.run(["alias", "add", "far", "https://far.example"]).ok();
    let strange = ["hire", "text.echo", "--mint", "@far"];
    buyer.run(strange).failed().says("ours", &["mints add https://far.example"]);
    let said = buyer.run_as_person(strange, b"").error_text();
    assert!(said.contains("mints add @far"), "{said}");

    // An entry that is none costs no other.
    let file = buyer.path().join("aliases.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}carl = \"mint.example\"\n")).unwrap();
    let found = buyer.run_as_person(["find", "text.echo"], b"").ok();
    assert!(found.text().contains("@ann"), "{found}");
    assert!(found.error_text().contains("carl is skipped: mint.example is neither a peer"), "{found}");
    buyer.run(["alias", "remove", "carl"]).ok();

    buyer
        .run(["hire", "text.echo", "--seller", "@bob"])
        .failed()
        .says("ours", &["no alias @bob", "guilder alias list"]);
    buyer.run(["alias", "add", "bank", &ann]).failed().says("ours", &["is p2p://mint", "alias remove"]);
    buyer.run(["alias", "add", "x", "mint.example"]).failed();
    buyer.run(["alias", "remove", "@bank"]).ok();
    buyer.run(["wallet", "mints", "remove", "@bank"]).failed().says("ours", &["no alias @bank"]);
}

#[test]
fn a_node_is_watched_line_by_line_where_there_is_no_terminal() {
    let mut node = Daemon::start("node", &Home::new(LOOPBACK));
    let mut command = node.command();
    let watch = command.arg("watch").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut watch = watch.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let heard = thread::spawn(move || {
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        tell.send(first).unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        rest
    });
    // Nobody says when it has begun to listen: services come and go until it has heard of one.
    let first = eventually("an event to be heard", LONG, || {
        swarm::sell_echo(&node, "text.echo", 1, "");
        node.run(["service", "remove", "text.echo"]).ok();
        told.try_recv()
    });
    node.stop();
    let rest = heard.join().unwrap();
    assert!(watch.wait().unwrap().success(), "it ends with the node");
    assert!(first.contains("Z  text.echo is on sale") || first.contains("Z  text.echo is off sale"), "{first}");
    assert!(rest.contains("stopping: SIGTERM"), "{rest}");
}
