//! What goes wrong: it is said with its culprit and a way out, and no coin is lost over it.

#![allow(clippy::unwrap_used)]

use std::{thread, time::Duration};

use guilder_tests::{
    Daemon, LONG, Ran, Swarm, eventually,
    swarm::{self, Books, Money, SHORT_LOCKS, UNIT},
};

/// How long it may take until all that was locked in vain has fallen back: deadline, margin, skew, and time to spare.
const FALL_BACK: Duration = Duration::from_secs(400);

/// Services that fail, each in its own way.
const SELLER: [(&str, u64, &str); 6] = [
    ("fail.crash", 5, "run.process.command = [\"/bin/sh\", \"-c\", \"cat > /dev/null; echo password >&2; exit 3\"]"),
    ("fail.hang", 5, "time_limit_secs = 1\nrun.process.command = [\"/bin/sh\", \"-c\", \"sleep 1000\"]"),
    ("fail.flood", 5, "max_output_bytes = 1000\nrun.process.command = [\"yes\"]"),
    ("fail.lie", 5, "output = { type = \"integer\" }\nrun.process.command = [\"echo\", \"nonsense\"]"),
    ("strict", 5, "input = { type = \"object\", required = [\"text\"] }\nmax_input_bytes = 100\nrun = \"echo\""),
    ("dear", 99, "run = \"echo\""),
];

/// A hire that can't come off.
struct Vain {
    args: &'static [&'static str],
    input: &'static str,
    fault: &'static str,
    exit: i32,
    /// What the error and its hint say.
    words: &'static [&'static str],
}

const fn vain(args: &'static [&'static str], fault: &'static str, exit: i32, words: &'static [&'static str]) -> Vain {
    Vain { args, input: "hello", fault, exit, words }
}

/// Before anything is at risk.
const EARLY: [Vain; 7] = [
    vain(&["nobody.sells.it"], "incompatible", 4, &["nobody was found", "guilder find"]),
    vain(&["dear", "--max-price", "20"], "incompatible", 4, &["over the limit", "--max-price"]),
    vain(&["strict"], "ours", 2, &["doesn't satisfy the seller's schema", "not JSON"]),
    Vain { input: "{\"test\":1}", ..vain(&["strict"], "ours", 2, &["schema", "\"text\""]) },
    Vain {
        input: "{\"text\":\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"}",
        ..vain(&["strict"], "ours", 2, &["the seller takes 100"])
    },
    vain(&["dear", "--mint", "http://127.0.0.1:1", "--max-price", "99"], "ours", 2, &["is not accepted", "mints add"]),
    vain(
        &["dear", "--seller", "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"],
        "environment",
        6,
        &["no address of"],
    ),
];

/// When the money is locked already.
const LATE: [Vain; 4] = [
    vain(&["fail.crash"], "peer", 3, &["the seller", "exit code 3", "falls back"]),
    vain(&["fail.hang"], "peer", 3, &["the seller", "not done within 1 s", "falls back"]),
    vain(&["fail.flood"], "peer", 3, &["the seller", "its output is over 1000 bytes", "falls back"]),
    vain(&["fail.lie"], "peer", 3, &["the seller", "not what the service promises", "falls back"]),
];

impl Vain {
    #[track_caller]
    fn hire(&self, buyer: &Daemon, deadline: &str) {
        let args = ["hire"].iter().chain(self.args).copied().chain(["--input", "-", "--deadline", deadline]);
        let failed = buyer.run_with(args, self.input.as_bytes()).failed().says(self.fault, self.words);
        assert_eq!(failed.exit, self.exit, "{failed:?}");
        assert!(!failed.message.contains("password"), "what a program says is its seller's business: {failed:?}");
    }
}

#[track_caller]
fn meet(buyer: &Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.text().contains("seller") { Ok(()) } else { Err(found.to_string()) }
    });
}

#[test]
fn what_fails_is_laid_at_its_partys_door_and_costs_no_coin() {
    let swarm = Swarm::start(100);
    let settings = format!("{SHORT_LOCKS}trade.search_secs = 5\nwallet.purse.warm_after_hires = 1000\n");
    let mut seller = swarm.trader("seller", &settings);
    let mut buyer = swarm.buyer(1_000, &settings);
    let poor = swarm.trader("poor", "");
    for (name, price, rest) in SELLER {
        swarm::sell(&seller, name, price, rest);
    }
    meet(&buyer, "dear");

    let before = Money::of(&buyer);
    EARLY.iter().for_each(|vain| vain.hire(&buyer, "10s"));
    assert_eq!(Money::of(&buyer), before, "nothing was at risk");
    vain(&["dear", "--max-price", "99"], "ours", 2, &["there is no play", "guilder wallet fund"]).hire(&poor, "10s");
    // Its money falls back after all that is looked at below.
    LATE.iter().for_each(|vain| vain.hire(&buyer, "60s"));
    a_seller_vanishes(&mut seller, &buyer);

    // Each failure has its receipt: proof against the seller.
    let tasks = buyer.json(["task", "list", "--limit", "50"]);
    for task in tasks.as_array().unwrap().iter().filter(|task| !task["receipt"].is_null()) {
        let report = buyer.json(["audit", "show", task["id"].as_str().unwrap()]);
        assert_eq!(report["hires"][0]["answer"], "seller-failed", "{report}");
    }
    let waiting = Money::of(&buyer);
    assert!(waiting.waiting >= 5 * 5, "the price of five failures falls back: {waiting:?}");
    all_falls_back(&swarm, &mut buyer, &seller);
}

/// Killed in the middle of its work, it comes back too late.
fn a_seller_vanishes(seller: &mut Daemon, buyer: &Daemon) {
    let begun = seller.file("begun");
    swarm::sell_script(seller, "fail.vanish", 5, &format!("touch '{}'; exec sleep 1000", begun.display()), "");
    meet(buyer, "fail.vanish");
    let home = (**buyer).clone();
    let hire = thread::spawn(move || home.run(["hire", "fail.vanish", "--deadline", "20s"]));
    eventually("the work to begin", LONG, || if begun.exists() { Ok(()) } else { Err("it hasn't") });
    seller.kill();
    let failed = hire.join().unwrap().failed().says("peer", &["the deadline passed", "falls back"]);
    assert_eq!(failed.exit, 3, "{failed:?}");
    seller.restart();
    eventually("the seller to give the work up", LONG, || {
        let sold = seller.json(["task", "list", "--limit", "1"]);
        if sold[0]["ended"] == true && sold[0]["redeemed"].is_null() { Ok(()) } else { Err(sold) }
    });
}

/// The buyer can be killed during the refund, too.
fn all_falls_back(swarm: &Swarm, buyer: &mut Daemon, seller: &Daemon) {
    buyer.kill();
    ["post-swap", "settle-swap", "store-refunded"].iter().for_each(|step| buyer.dies_at(step, FALL_BACK));
    buyer.restart();
    let books = Books::settled(&[buyer, seller], FALL_BACK);
    books.add_up();
    let (buyers, sellers) = (books.money("buyer"), books.money("seller"));
    assert_eq!((sellers.total(), buyers.paid), (0, 0), "nobody is paid for failing: {books}");
    assert_eq!(books.sum().total(), swarm.in_circulation(), "{books}");
    let open = |task: &serde_json::Value| task["money"].as_str().is_some_and(|money| money.contains("comes back"));
    let tasks = buyer.json(["task", "list", "--limit", "50"]);
    assert!(!tasks.as_array().unwrap().iter().any(open), "{tasks}");
}

#[test]
fn a_mint_that_is_down_stops_no_trade_that_was_paid_in_advance() {
    let mut swarm = Swarm::start(0);
    let settings = "wallet.mint_patience_secs = 5\nwallet.redemption.interval_secs = 1\n";
    let seller = swarm.trader("seller", settings);
    let buyer = swarm.buyer(1_000, settings);
    swarm::sell_echo(&seller, "text.echo", 5, "");
    swarm::sell_echo(&seller, "text.dear", 90, "");
    for service in ["text.echo", "text.dear"] {
        meet(&buyer, service);
    }
    for _ in 0..2 {
        swarm::hire(&buyer, "text.echo", b"warm", &[]);
    }
    eventually("the purse to be warm", LONG, || {
        let money = Money::of(&buyer);
        if money.purse >= 10 && money.pending == 0 { Ok(()) } else { Err(format!("{money:?}")) }
    });
    let books = Books::settled(&[&buyer, &seller], LONG);
    assert_eq!(books.add_up().money("seller").available, 10, "{books}");

    swarm.mint.kill();
    assert_eq!(swarm::hire(&buyer, "text.echo", b"offline", &[]).output, "offline");
    let earned = Money::of(&seller);
    assert_eq!((earned.available, earned.earned + earned.pending), (10, 5), "accepted, not redeemed: {earned:?}");
    let down = |ran: Ran| {
        let failed = ran.failed().says("mint", &["p2p://mint/"]);
        assert_eq!(failed.exit, 5, "{failed:?}");
    };
    down(buyer.run(["wallet", "fund", "10"]));
    down(buyer.run_with(["hire", "text.dear", "--input", "-"], b"hello"));

    // Back again, it finds that everybody has waited for it.
    swarm.mint.restart();
    eventually("the seller to be paid", LONG, || {
        let money = Money::of(&seller);
        if money.available == 15 { Ok(()) } else { Err(format!("{money:?}")) }
    });
    let books = Books::settled(&[&buyer, &seller], LONG);
    books.add_up();
    assert_eq!(books.sum().total(), swarm.in_circulation(), "{} {UNIT} out: {books}", swarm.in_circulation());
}
