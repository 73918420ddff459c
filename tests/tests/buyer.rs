//! A buyer's program: a hundred hires, a flaky seller, a crash; and nothing is paid twice.

#![allow(clippy::unwrap_used)]

use std::{process::Stdio, thread};

use guilder_tests::{
    Daemon, LONG, Ran, Swarm, eventually,
    swarm::{self, Money},
};
use serde_json::Value;

#[track_caller]
fn meet(buyer: &Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.code() == 0 { Ok(()) } else { Err(found) }
    });
}

fn hire(buyer: &Daemon, args: &[&str], input: &[u8]) -> Ran {
    buyer.run_with(["hire"].iter().chain(args).chain(&["--input", "-"]), input)
}

/// The final record of a hire, however it ended.
#[track_caller]
fn ended(ran: &Ran) -> Value {
    ran.lines().last().unwrap_or_else(|| panic!("{ran}"))["ended"].clone()
}

#[test]
fn the_same_key_is_the_same_task_and_is_paid_once() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let mut buyer = swarm.buyer(200, "");
    swarm::sell_script(&seller, "text.slow", 5, "sleep 1; cat", "concurrency = 8");
    meet(&buyer, "text.slow");

    // Five at once, and again after a crash: one task.
    let input = buyer.write("input", "hello");
    let children: Vec<_> = (0..5)
        .map(|_| {
            let mut command = buyer.command();
            command.args(["--json", "hire", "text.slow", "--id", "order 7", "--input"]).arg(&input);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let ids: Vec<_> = children
        .into_iter()
        .map(|child| {
            let output = thread::spawn(move || child.wait_with_output().unwrap()).join().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let lines: Vec<Value> = String::from_utf8(output.stdout)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(lines.last().unwrap()["output"], "hello");
            lines.last().unwrap()["ended"]["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    buyer.kill();
    buyer.restart();
    let again = hire(&buyer, &["text.slow", "--id", "order 7"], b"hello").ok();
    assert_eq!(
        (&ended(&again)["id"], &again.lines().last().unwrap()["output"]),
        (&ids[0].as_str().into(), &"hello".into())
    );
    assert_eq!(buyer.json(["task", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(Money::of(&buyer).paid, 5);

    // Another request under it is a conflict, and costs nothing.
    for (args, input) in [
        (&["text.slow", "--id", "order 7"][..], "other"),
        (&["text.slow", "--id", "order 7", "--max-price", "9"], "hello"),
    ] {
        hire(&buyer, args, input.as_bytes()).failed().says("ours", &["order 7", "another request", &ids[0]]);
    }
    assert_eq!(Money::of(&buyer).paid, 5);
}

#[test]
fn a_hire_that_fails_is_tried_again_only_where_nothing_can_be_paid_twice() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let buyer = swarm.buyer(300, "");
    let counting = |name: &str| {
        let file = seller.file(name);
        let script = format!(
            "n=$(cat '{0}' 2>/dev/null || echo 0); echo $((n + 1)) > '{0}'; test $n -ge 1 && cat",
            file.display()
        );
        swarm::sell_script(&seller, name, 5, &script, "");
        meet(&buyer, name);
    };
    // In escrow who signed that it failed can't take the money: the next try comes at once.
    counting("text.sealed");
    let tried = hire(&buyer, &["text.sealed", "--mode", "escrow", "--retry", "3"], b"hello").ok();
    let tasks: Vec<_> =
        tried.lines().into_iter().filter(|line| line["task"].is_string() && line["event"].is_null()).collect();
    assert_eq!((tasks.len(), &tried.lines().last().unwrap()["output"]), (2, &"hello".into()), "{tried}");

    // In advance it may: that is said, until the owner writes it off.
    counting("text.open");
    let args = ["text.open", "--mode", "prepaid", "--id", "a", "--retry", "1", "--label", "nightly"];
    for _ in 0..2 {
        let failed = hire(&buyer, &args, b"hello");
        assert_eq!(ended(&failed)["state"], "failed", "the final record is written on failure, too: {failed}");
        failed.failed().says("peer", &["not tried again", "task write-off"]);
    }
    let id = buyer.json(["task", "list", "--label", "nightly"])[0]["id"].as_str().unwrap().to_owned();
    buyer.run(["task", "write-off", &id]).ok();
    let done = hire(&buyer, &args, b"hello").ok();
    assert_eq!(done.lines().last().unwrap()["output"], "hello");
    assert_ne!(ended(&done)["id"], *id);
    assert_eq!(Money::of(&buyer).paid, 10, "each was paid once");

    // Listings by what there is.
    let count = |more: &[&str]| buyer.json(["task", "list"].iter().chain(more)).as_array().unwrap().len();
    assert_eq!((count(&[]), count(&["--state", "failed"]), count(&["--state", "over"])), (4, 2, 4));
    assert_eq!((count(&["--service", "text.open"]), count(&["--side", "seller"])), (2, 0));
    assert_eq!((count(&["--label", "nightly"]), count(&["--label", "other"])), (2, 0));
    assert_eq!((count(&["--peer", &seller.peer_id()]), count(&["--peer", &buyer.peer_id()])), (4, 0));
    assert_eq!((count(&["--since", "2026-01-01"]), count(&["--until", "2026-01-01"])), (4, 0));
    buyer.run(["task", "list", "--state", "lost"]).failed().says("ours", &["never lost", "delivered"]);
    buyer.run(["task", "list", "--since", "yesterday"]).failed().says("ours", &["no moment", "2026-11-29"]);

    // What is missing to spend is named where it is.
    let poor = buyer.run(["wallet", "send", "295"]).failed();
    poor.says("ours", &["are needed", "of tasks that failed", "can fall back at", "wallet pending"]);
}

#[test]
fn a_days_budget_is_refused_before_money_moves() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let buyer = swarm.buyer(100, "hire.daily_max = 10\n");
    swarm::sell_echo(&seller, "text.echo", 4, "");
    meet(&buyer, "text.echo");
    for _ in 0..2 {
        swarm::hire(&buyer, "text.echo", b"x", &[]);
    }
    let before = Money::of(&buyer);
    let refused = hire(&buyer, &["text.echo"], b"x");
    refused.failed().says("ours", &["8 play were awarded today", "10", "hire.daily_max"]);
    assert_eq!(Money::of(&buyer), before);
    assert_eq!(before.paid, 8);
}
