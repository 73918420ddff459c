//! Kill -9 of either side at each step of a trade, prepaid and in escrow, then a restart: what has been agreed is done and paid,
//! what hasn't costs nothing, and every coin that the mint has issued is somewhere.

#![allow(clippy::unwrap_used)]

use std::{os::unix::process::ExitStatusExt as _, path::Path, thread, thread::JoinHandle};

use guilder_tests::{
    Daemon, LONG, Ran, Swarm, eventually,
    swarm::{self, Books, UNIT},
};
use serde_json::Value;

/// What is hired, and its price.
const COPY: (&str, u64) = ("text.copy", 7);
/// A lock that the purse holds for the other doesn't pay for this one: there is a swap in any case.
const DEAR_COPY: (&str, u64) = ("text.copy.dear", 40);
/// So much that it goes as content, both ways.
const INPUT_BYTES: usize = 100 * 1024;
const SIGKILL: i32 = 9;

/// A lock for each hire, made when it is due and of no use for another; redeemed at once.
const SETTINGS: &str = "wallet.purse.warm_after_hires = 1000000\nwallet.purse.life_secs = 1\n\
    wallet.purse.bucket_secs = 1\nwallet.redemption.batch = 1\nwallet.redemption.interval_secs = 1\n\
    wallet.redemption.margin_secs = 5\ntrade.search_secs = 3\n";

/// Where a task must stand after its victim has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The buyer died before it had awarded anything: there is no task.
    Nothing,
    /// The seller died before it had offered anything: the task has failed, and nothing was at risk.
    NoOffer,
    /// The award had been given: it is done, delivered and paid.
    Delivered,
}

const BUYER: [(&str, Then); 8] = [
    ("send-asked", Then::Nothing),
    ("store-swap", Then::Nothing),
    ("post-swap", Then::Nothing),
    ("settle-swap", Then::Nothing),
    ("store-award", Then::Nothing),
    ("send-awarded", Then::Delivered),
    ("store-fetching", Then::Delivered),
    ("store-bought", Then::Delivered),
];

/// In escrow: each hire makes a swap, and so do its redemption and its end.
const ESCROW_BUYER: [(&str, Then); 6] = [
    ("store-award", Then::Nothing),
    ("send-awarded", Then::Delivered),
    ("store-fetching", Then::Delivered),
    ("store-release", Then::Delivered),
    ("send-release", Then::Delivered),
    ("store-bought", Then::Delivered),
];

const ESCROW_SELLER: [(&str, Then); 8] = [
    ("store-accepted", Then::Delivered),
    ("store-sold", Then::Delivered),
    ("send-delivered", Then::Delivered),
    ("store-released", Then::Delivered),
    ("post-swap", Then::Delivered),
    ("settle-swap", Then::Delivered),
    ("store-redeemed", Then::Delivered),
    ("send-opened", Then::Delivered),
];

const SELLER: [(&str, Then); 9] = [
    ("send-offered", Then::NoOffer),
    ("store-accepted", Then::Delivered),
    ("send-accepted", Then::Delivered),
    ("store-sold", Then::Delivered),
    ("send-delivered", Then::Delivered),
    ("store-swap", Then::Delivered),
    ("post-swap", Then::Delivered),
    ("settle-swap", Then::Delivered),
    ("store-redeemed", Then::Delivered),
];

struct Market {
    swarm: Swarm,
    seller: Daemon,
    buyer: Daemon,
    input: Vec<u8>,
    /// How hires are paid.
    mode: &'static str,
    /// Sold and paid so far.
    paid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Buyer,
    Seller,
}

impl Market {
    fn open(mode: &'static str) -> Self {
        let swarm = Swarm::start(100);
        let seller = swarm.trader("seller", SETTINGS);
        let buyer = swarm.buyer(2_000, SETTINGS);
        for (service, price) in [COPY, DEAR_COPY] {
            swarm::sell_script(&seller, service, price, "exec cat", "concurrency = 4");
        }
        let input = (0..INPUT_BYTES).map(|at| b'a' + (at % 23) as u8).collect();
        Self { swarm, seller, buyer, input, mode, paid: 0 }
    }

    fn victim(&mut self, side: Side) -> &mut Daemon {
        match side {
            Side::Buyer => &mut self.buyer,
            Side::Seller => &mut self.seller,
        }
    }

    /// Waits until the buyer would find the seller.
    #[track_caller]
    fn meet(&self, service: &str) {
        let seller = self.seller.peer_id();
        eventually("the buyer to find the seller", LONG, || {
            let found = self.buyer.run(["find", service]);
            if found.text().contains(&seller) { Ok(()) } else { Err(found.to_string()) }
        });
    }

    /// Hires over the command line, while this goes on.
    fn hire(&self, service: &'static str) -> JoinHandle<Ran> {
        let (home, input, mode) = ((*self.buyer).clone(), self.input.clone(), self.mode);
        let line = ["hire", service, "--input", "-", "--max-price", "50", "--mode", mode];
        thread::spawn(move || home.run_with(line, &input))
    }

    fn tasks(&self) -> Vec<Value> {
        self.buyer.json(["task", "list", "--limit", "100"]).as_array().unwrap().clone()
    }

    /// Waits until the newest of `count` tasks has ended as it must.
    #[track_caller]
    fn ends(&mut self, step: &str, price: u64, known: &[Value], then: Then) {
        let new: Vec<_> = eventually(&format!("the tasks to end after {step}"), LONG, || {
            let tasks = self.tasks();
            if tasks.iter().all(|task| task["ended"] == true) { Ok(tasks) } else { Err(format!("{tasks:?}")) }
        });
        let new: Vec<_> = new.into_iter().filter(|task| known.iter().all(|old| old["id"] != task["id"])).collect();
        match (then, &new[..]) {
            (Then::Nothing, []) => {}
            (Then::NoOffer, [task]) => {
                assert_eq!((&task["state"], &task["award"]), (&"failed".into(), &Value::Null), "{step}: {task}");
            }
            (Then::Delivered, [task]) => {
                assert_eq!([&task["state"], &task["money"]], ["delivered", "paid"], "{step}: {task}");
                assert_eq!(task["price"], price, "{step}: {task}");
                assert_eq!(self.output(task), self.input, "{step}: another output");
                self.paid += price;
                self.is_sold(step, task);
            }
            (then, new) => panic!("{step}: {then:?} was to come, not {new:?}"),
        }
        self.adds_up(step);
    }

    fn output(&self, task: &Value) -> Vec<u8> {
        self.buyer.run_as_person(["task", "output", task["id"].as_str().unwrap()], b"").ok().stdout
    }

    /// The seller says the same of the task, and has its money at the mint.
    #[track_caller]
    fn is_sold(&self, step: &str, task: &Value) {
        let id = task["id"].as_str().unwrap();
        let sold = eventually(&format!("the money of {step} to be redeemed"), LONG, || {
            let sold = self.seller.json(["task", "show", id]);
            if sold["redeemed"] == task["price"] { Ok(sold) } else { Err(sold) }
        });
        assert_eq!((&sold["receipt"], &sold["award"]), (&task["receipt"], &task["award"]), "{step}");
    }

    /// Every coin is in one place, by the wallets' books and by the mint's.
    #[track_caller]
    fn adds_up(&self, step: &str) {
        let nodes = [&self.buyer, &self.seller];
        let books = Books::settled(&nodes, LONG);
        books.add_up();
        let in_circulation = self.swarm.in_circulation();
        assert_eq!(books.sum().total(), in_circulation, "{step}: {in_circulation} {UNIT} are out: {books}");
        assert_eq!(books.money("seller").available, self.paid, "{step}: {books}");
    }

    /// One step: the victim dies at it, comes back, and all ends well.
    fn dies_at(&mut self, side: Side, step: &str, then: Then) {
        let victim = self.victim(side);
        victim.kill();
        victim.restart_with(&[("GUILDER_FAILPOINT", step)]);
        let (service, price) = if step == "settle-swap" { DEAR_COPY } else { COPY };
        self.meet(service);
        let known = self.tasks();
        let hire = self.hire(service);
        let victim = self.victim(side);
        let status = victim.wait_for_end(LONG);
        assert_eq!(status.signal(), Some(SIGKILL), "{step}: {status}");
        victim.restart();
        let ran = hire.join().unwrap();
        match (side, then) {
            (Side::Buyer, _) => {
                assert_eq!(ran.failed().says("environment", &["guilder up", "task show"]).exit, 6, "{step}")
            }
            (Side::Seller, Then::Delivered) => assert_eq!(ran.code(), 0, "{step}: {ran}"),
            (Side::Seller, _) => assert!(ran.failed().message.contains("no answer"), "{step}: {ran}"),
        }
        self.ends(step, price, &known, then);
    }

    /// The victim is killed from outside, in the middle of the seller's work.
    fn dies_at_work(&mut self, side: Side) {
        const SLOW: &str = "text.slowly";
        let (begun, done) = (self.seller.file("begun"), self.seller.file("done"));
        let quoted = |path: &Path| format!("'{}'", path.display());
        let script = format!("touch {}; until [ -e {} ]; do sleep 0.05; done; exec cat", quoted(&begun), quoted(&done));
        swarm::sell_script(&self.seller, SLOW, COPY.1, &script, "");
        self.meet(SLOW);
        let known = self.tasks();
        let hire = self.hire(SLOW);
        let is_begun = || if begun.exists() { Ok(()) } else { Err("it isn't") };
        eventually("the work to begin", LONG, is_begun);
        let victim = self.victim(side);
        victim.kill();
        if side == Side::Seller {
            std::fs::remove_file(&begun).unwrap();
        }
        self.victim(side).restart();
        eventually("the work to have begun", LONG, is_begun);
        std::fs::write(&done, "").unwrap();
        let ran = hire.join().unwrap();
        assert_eq!(ran.code(), if side == Side::Buyer { 6 } else { 0 }, "{ran}");
        self.ends("the work", COPY.1, &known, Then::Delivered);
    }
}

#[test]
fn a_buyer_that_is_killed_at_any_step_loses_nothing() {
    let mut market = Market::open("prepaid");
    for (step, then) in BUYER {
        market.dies_at(Side::Buyer, step, then);
    }
    market.dies_at_work(Side::Buyer);
}

#[test]
fn a_seller_that_is_killed_at_any_step_loses_nothing() {
    let mut market = Market::open("prepaid");
    for (step, then) in SELLER {
        market.dies_at(Side::Seller, step, then);
    }
    market.dies_at_work(Side::Seller);
}

#[test]
fn a_buyer_that_is_killed_at_any_step_in_escrow_loses_nothing() {
    let mut market = Market::open("escrow");
    for (step, then) in ESCROW_BUYER {
        market.dies_at(Side::Buyer, step, then);
    }
}

#[test]
fn a_seller_that_is_killed_at_any_step_in_escrow_loses_nothing() {
    let mut market = Market::open("escrow");
    for (step, then) in ESCROW_SELLER {
        market.dies_at(Side::Seller, step, then);
    }
}

#[test]
fn a_step_that_there_is_not_is_refused() {
    let home = guilder_tests::Home::new(swarm::LOOPBACK);
    let mut command = home.command();
    command.args(["--json", "up"]).env("GUILDER_FAILPOINT", "store-everything");
    let failed = Ran::of(command, b"").failed().says("ours", &["GUILDER_FAILPOINT", "store-award", "unset"]);
    assert_eq!(failed.exit, 2);
}
