//! A market of three nodes, run by its people over the command line alone.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use guilder_tests::{
    Daemon, Home, LONG, Swarm, eventually,
    swarm::{self, Books, Money, UNIT},
};
use serde_json::Value;

/// Takes a JSON string, gives it back in capitals.
const UPPER: &str = r#"
input = { type = "string", minLength = 1, maxLength = 100 }
output = { type = "string" }
concurrency = 2
time_limit_secs = 20

[run.process]
command = ["tr", "[:lower:]", "[:upper:]"]
"#;

const SOON: &str = "wallet.redemption.interval_secs = 1\n";

/// The one task of a listing.
#[track_caller]
fn only(daemon: &Daemon) -> Value {
    let tasks = daemon.json(["task", "list"]);
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks[0].clone()
}

#[test]
fn a_program_is_sold_found_hired_paid_and_proven() {
    let swarm = Swarm::start(100);
    let seller = swarm.trader("seller", SOON);
    let buyer = swarm.buyer(1_000, SOON);
    let others = [&swarm.mint, &seller, &buyer];
    let ids: Vec<_> = others.iter().map(|node| node.peer_id()).collect();

    // On sale.
    swarm::sell(&seller, "text.upper", 9, UPPER);
    let services = seller.json(["service", "list"]);
    assert_eq!(services[0]["name"], "text.upper");
    assert_eq!((&services[0]["price"], &services[0]["unit"]), (&Value::from(9), &Value::from(UNIT)));
    assert_eq!((&services[0]["executor"], &services[0]["concurrency"]), (&"process".into(), &2.into()));

    // Found, by a node that knows the mint host's address and nothing else.
    let found = eventually("the service to be found", LONG, || {
        let found = buyer.run(["find", "text.upper"]).lines();
        let sellers: Vec<_> =
            found.iter().flat_map(|line| line.as_array().cloned().unwrap_or(vec![line.clone()])).collect();
        sellers.into_iter().find(|found| found["seller"] == *ids[1]).ok_or(format!("{found:?}"))
    });
    assert_eq!((&found["price"], &found["mints"][0]), (&9.into(), &Value::from(swarm.mint_url.as_str())));

    // Hired, with progress and output.
    let input = buyer.write("input.json", "\"tulips, and other follies\"");
    let output = buyer.file("output.json");
    let args = ["hire", "text.upper", "--max-price", "12", "--deadline", "30s", "--input"].map(std::ffi::OsStr::new);
    let args = args.into_iter().chain([input.as_os_str(), "--output".as_ref(), output.as_os_str()]);
    let lines = buyer.run(args).ok().lines();
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "\"TULIPS, AND OTHER FOLLIES\"");
    let said: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    for step in ["searching", "asked", "offered", "awarded", "accepted", "delivered"] {
        assert!(said.contains(&step), "no {step} in {said:?}");
    }

    // Both say the same of it.
    let task = only(&buyer);
    let id = task["id"].as_str().unwrap();
    let shown = buyer.json(["task", "show", &id[id.len() - 8..]]);
    assert_eq!(shown, task, "an ID may be cut to its last letters");
    assert_eq!(task["peer"], *ids[1]);
    assert_eq!([&task["state"], &task["side"]], ["delivered", "buyer"]);
    assert_eq!((&task["price"], &task["ended"]), (&9.into(), &true.into()));
    let sold = eventually("the seller to be paid", LONG, || {
        let sold = only(&seller);
        if sold["redeemed"].is_null() { Err(sold) } else { Ok(sold) }
    });
    assert_eq!((&sold["redeemed"], &sold["peer"]), (&9.into(), &Value::from(ids[2].as_str())));
    for same in ["id", "award", "receipt", "price", "unit", "mint", "state"] {
        assert_eq!(sold[same], task[same], "{same}");
    }

    it_is_proven(&buyer, id, &ids);
    let books = Books::settled(&others, LONG);
    books.add_up();
    assert_eq!(books.money("seller").available, 9, "net: {books}");
    assert_eq!(swarm.in_circulation(), books.sum().total(), "the mint's books say so too");

    // Off sale again.
    seller.run(["service", "remove", "text.upper"]).ok();
    assert_eq!(seller.json(["service", "list"]), Value::Array(vec![]));
    let gone = buyer.run(["hire", "text.upper", "--input", input.to_str().unwrap()]).failed();
    assert!(gone.exit != 0 && !gone.hint.is_empty(), "{gone:?}");
    assert_eq!(Books::settled(&others, LONG).sum(), books.sum(), "a hire that finds nobody costs nothing");
}

/// Both sides can export the same proof, and it needs neither of them.
fn it_is_proven(buyer: &Daemon, id: &str, ids: &[String]) {
    let path = buyer.file("task.audit.car");
    buyer.run(["audit", "export", id, "--output", path.to_str().unwrap()]).ok();
    let stranger = Home::empty();
    let report = stranger.json(["audit", "verify", path.to_str().unwrap()]);
    assert_eq!(report, buyer.json(["audit", "show", id]));
    assert_eq!((&report["valid"], &report["task"]), (&true.into(), &Value::from(id)));
    let hire = &report["hires"][0];
    for (role, id) in [("seller", &ids[1]), ("buyer", &ids[2]), ("principal", &ids[2])] {
        assert_eq!(hire[role], **id, "{role}");
    }
    assert_eq!((&hire["answer"], &hire["service"]), (&"delivered".into(), &"text.upper".into()));
    assert!(hire["locked"].as_u64().unwrap() >= 9, "{hire}");
}

#[test]
fn money_goes_from_hand_to_hand_as_text() {
    let swarm = Swarm::start(100);
    let (alice, bob) = (swarm.trader("alice", ""), swarm.trader("bob", ""));
    swarm::fund(&alice, 300);
    let sent = alice.json(["wallet", "send", "21"]);
    let token = sent["token"].as_str().unwrap();
    assert_eq!((&sent["amount"], &sent["unit"]), (&21.into(), &UNIT.into()));
    assert!(token.starts_with("cashuB"), "{token}");

    // Read from standard input, it stays out of the shell's history.
    let received = bob.run_with(["wallet", "receive"], format!("{token}\n").as_bytes()).ok().json();
    let [amount, fee] = ["amount", "fee"].map(|name| received[name].as_u64().unwrap());
    assert_eq!(amount + fee, 21, "{received}");
    let again = bob.run(["wallet", "receive", token]).failed();
    assert!(again.message.contains("received this token before"), "{again:?}");
    assert!(again.exit != 0 && !again.hint.is_empty(), "{again:?}");
    let junk = bob.run(["wallet", "receive", "cashuBjunk"]).failed();
    assert_eq!((junk.fault.as_str(), junk.exit), ("ours", 2), "{junk:?}");

    let books = Books::settled(&[&alice, &bob], LONG);
    assert_eq!(books.money("bob").total(), amount, "{books}");
    let sum = books.sum();
    assert_eq!((sum.sent, sum.received), (21, 21), "{books}");
    assert_eq!(swarm.in_circulation(), sum.total(), "{books}");

    // More than there is.
    let too_much = bob.run(["wallet", "send", "500"]).failed().says("ours", &["are needed", "20 can be spent"]);
    assert_eq!(too_much.exit, 2);
    assert_eq!(Money::of(&bob), books.money("bob"), "nothing has moved");
}

#[test]
fn a_node_that_stops_in_order_or_not_comes_back_as_it_was() {
    let swarm = Swarm::start(0);
    let mut seller = swarm.trader("seller", SOON);
    let mut buyer = swarm.buyer(100, SOON);
    swarm::sell_echo(&seller, "text.echo", 5, "");
    swarm::meet(&buyer, "text.echo");
    let first = swarm::hire(&buyer, "text.echo", b"once", &["--max-price", "5"]);
    assert_eq!(first.output, "once");
    let before = Books::settled(&[&seller, &buyer], LONG);
    let ids = [seller.peer_id(), buyer.peer_id()];

    buyer.stop();
    seller.kill();
    let refused = buyer.run(["task", "list"]).failed();
    assert_eq!(refused.exit, 7);
    seller.restart();
    buyer.restart();
    assert_eq!([seller.peer_id(), buyer.peer_id()], ids);
    assert_eq!(seller.json(["service", "list"])[0]["name"], "text.echo", "on sale again by itself");
    assert_eq!(Books::settled(&[&seller, &buyer], LONG).sum(), before.sum());
    assert_eq!(only(&buyer)["id"], first.id());

    // A second daemon on the same home is told that there is one.
    let second = buyer.run(["up"]).failed();
    assert!(second.message.contains("runs") || second.message.contains("another"), "{second:?}");
    assert_eq!(second.exit, 2);

    let second = eventually("the seller to be found again", LONG, || {
        let ran = buyer.run_with(["hire", "text.echo", "--input", "-", "--max-price", "5"], b"twice");
        if ran.code() == 0 { Ok(ran.lines().last().unwrap()["output"].clone()) } else { Err(ran.to_string()) }
    });
    assert_eq!(second, "twice");
    let books = Books::settled(&[&seller, &buyer], Duration::from_secs(60));
    books.add_up();
    assert_eq!(books.money("seller").available, 10, "{books}");
}

#[test]
fn a_phrase_brings_back_who_one_was_and_what_one_had() {
    let swarm = Swarm::start(100);
    let lost = Home::empty();
    let phrase = lost.json(["init"])["phrase"].as_str().unwrap().to_owned();
    lost.settings(&swarm.settings(""));
    let mut node = Daemon::start("lost", &lost);
    let id = node.peer_id();
    swarm::fund(&node, 300);
    // What was given away is gone for good once somebody has taken it.
    let bob = swarm.trader("bob", "");
    let sent = node.json(["wallet", "send", "100"])["token"].as_str().unwrap().to_owned();
    bob.run(["wallet", "receive", &sent]).ok();
    let had = Money::of(&node).available;
    assert!((195..=200).contains(&had), "{had}");
    node.kill();
    drop(lost);

    let home = Home::empty();
    home.run_with(["init", "--restore"], phrase.as_bytes()).ok();
    home.settings(&swarm.settings(""));
    let node = Daemon::start("found", &home);
    assert_eq!(node.peer_id(), id);
    assert_eq!(Money::of(&node).total(), 0, "nothing until it is looked for");
    let restored = node.json(["wallet", "restore"]);
    assert_eq!((&restored["amount"], &restored["unit"]), (&had.into(), &UNIT.into()), "{restored}");
    assert_eq!(node.json(["wallet", "restore"])["amount"], 0, "found once");

    // It is money: new coins don't collide with those of the first life.
    for amount in ["7", "13", "29"] {
        let token = node.json(["wallet", "send", amount])["token"].as_str().unwrap().to_owned();
        bob.run(["wallet", "receive", &token]).ok();
    }
    let books = Books::settled(&[&node, &bob], LONG);
    assert_eq!(swarm.in_circulation(), books.sum().total(), "{books}");
}
