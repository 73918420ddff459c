//! A seller's first hour: a service written, tried, sold; a failure found out; the earnings read.

#![allow(clippy::unwrap_used)]

use std::fs;

use guilder_tests::{
    Home, LONG, Swarm, eventually,
    swarm::{self, LOOPBACK, UNIT},
};
use serde_json::Value;

#[test]
fn a_service_is_written_and_tried_without_daemon_network_and_money() {
    let home = Home::new(&format!("{LOOPBACK}wallet.unit = \"{UNIT}\"\n"));
    let dir = home.file("my services");
    let made = home.json(["service", "init", "text.count", "--dir", dir.to_str().unwrap()]);
    let file = made["service"].as_str().unwrap().to_owned();
    assert!(fs::read_to_string(&file).unwrap().contains(&format!("unit = \"{UNIT}\"")));
    home.run(["service", "init", "text.count", "--dir", dir.to_str().unwrap()]).failed().says("ours", &["already"]);

    let tried = home.run_with(["service", "test", &file, "--input", "-"], b"Agents trade.\nThey pay.\n").ok().json();
    let output: Value = serde_json::from_str(tried["output"].as_str().unwrap()).unwrap();
    assert_eq!(output, serde_json::json!({"lines": 2, "words": 4, "bytes": 24}));
    assert!(tried["stderr"].as_str().unwrap().contains("counting 24 bytes for did:key:"), "{tried}");
    assert_eq!((&tried["service"], &tried["input_bytes"]), (&"text.count".into(), &24.into()));
    assert!(tried["took_ms"].as_u64().unwrap() < 60_000);

    // A person gets the output alone on standard output; the hint to go on can be pasted.
    let shown = home.run_as_person(["service", "test", &file, "--input", "-"], b"a b\n").ok();
    assert_eq!(shown.text(), "{\"lines\": 1, \"words\": 2, \"bytes\": 4}\n");
    assert!(shown.error_text().contains("stderr | counting 4 bytes"), "{shown}");
    let other = home.run_as_person(["service", "init", "a.b", "--dir", dir.to_str().unwrap()], b"").ok().text();
    assert!(other.contains(&format!("service add '{}", dir.display())), "{other}");

    // Whatever would make a hire fail fails here, with the reason that the seller alone is told.
    let failing = |more: &str, script: &str, words: &[&str]| {
        let command = serde_json::json!(["/bin/sh", "-c", script]);
        let text = format!("name = \"a.b\"\nprice = 1\nunit = \"sat\"\n{more}\n[run.process]\ncommand = {command}\n");
        let file = home.write("failing.toml", text);
        let ran = home.run_with(["service", "test", file.to_str().unwrap(), "--input", "-"], b"{}");
        assert_eq!(ran.code(), 1, "{ran}");
        ran.failed().says("ours", words);
    };
    failing("", "echo because >&2; exit 3", &["a hire would fail after", "exit code 3"]);
    failing("time_limit_secs = 1", "sleep 30", &["not done within 1 s", "time_limit_secs"]);
    failing("max_output_bytes = 3", "echo 12345", &["over 3 bytes", "max_output_bytes"]);
    failing("output = { required = [\"x\"] }", "echo '{}'", &["not what the service promises", "\"x\"", "pay nothing"]);
    let text = "name = \"a.b\"\nprice = 1\nunit = \"sat\"\ninput = { type = \"array\" }\nrun = \"echo\"\n";
    let file = home.write("picky.toml", text);
    let refused = home.run_with(["service", "test", file.to_str().unwrap(), "--input", "-"], b"{}");
    assert_eq!(refused.code(), 1);
    refused.failed().says("peer", &["the input is not what the service takes"]);
}

#[test]
fn what_would_fail_at_each_hire_is_told_when_the_service_is_added() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    seller.write("prompt.txt", "hello");
    seller.write("work.sh", "#!/bin/sh\n");
    seller.write("bad.json", "{\"type\": 7}");
    let add = |rest: &str| {
        let file = seller.write("s.toml", format!("name = \"a.b\"\nprice = 1\nunit = \"{UNIT}\"\n{rest}\n"));
        seller.run(["service", "add", file.to_str().unwrap()])
    };
    for (rest, words) in [
        ("run.process.command = [\"./gone\"]", &["no program", "gone"][..]),
        ("run.process.command = [\"./work.sh\"]", &["can't be executed", "chmod +x"]),
        ("run.process.command = [\"sh\", \"-e\", \"gone.sh\"]", &["gone.sh", "can't be read"]),
        ("output = \"bad.json\"\nrun = \"echo\"", &["the schema of the output", "#/$defs"]),
        ("input = \"gone.json\"\nrun = \"echo\"", &["the schema of the input", "gone.json"]),
    ] {
        add(rest).failed().says("ours", words);
    }
    assert_eq!(seller.json(["service", "list"]), Value::Array(vec![]), "nothing of it is on sale");

    // A file beside the definition is found from the empty folder in which the program works.
    add("run.process.command = [\"cat\", \"prompt.txt\"]").ok();
    let buyer = swarm.buyer(100, "");
    meet(&buyer, "a.b");
    assert_eq!(swarm::hire(&buyer, "a.b", b"", &[]).output, "hello");
}

#[track_caller]
fn meet(buyer: &guilder_tests::Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.code() == 0 { Ok(()) } else { Err(found) }
    });
}

#[test]
fn a_service_of_ones_own_is_found_first_and_done_for_free_and_marked() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let other = swarm.buyer(100, "");
    swarm::sell_script(&seller, "text.upper", 5, "tr a-z A-Z; echo at work >&2", "");
    swarm::sell_script(&other, "text.upper", 2, "tr a-z A-Z; echo other >&2", "");
    let both = || {
        let found = seller.run(["find", "text.upper"]).ok().json();
        if found.as_array().unwrap().len() == 2 { Ok(found) } else { Err(found) }
    };
    let found = eventually("both to be found", LONG, both);
    let who: Vec<_> = found.as_array().unwrap().iter().map(|found| (&found["seller"], &found["own"])).collect();
    assert_eq!(who, [(&seller.peer_id().into(), &true.into()), (&other.peer_id().into(), &false.into())]);
    let shown = seller.run_as_person(["find", "text.upper"], b"").ok().text();
    assert!(shown.contains("free") && shown.contains("your own, 5 play to others"), "{shown}");

    // It has no money, and needs none.
    let said = seller.run_as_person(["hire", "text.upper", "--input", "-", "--id", "a"], b"mine").ok();
    assert_eq!(said.text(), "MINE");
    assert!(said.error_text().contains("this node sells text.upper itself and does it, for free"), "{said}");
    let again = swarm::hire(&seller, "text.upper", b"mine", &["--id", "a"]);
    let task = &again.task;
    assert_eq!(
        (&task["own"], &task["price"], &task["state"]),
        (&true.into(), &0.into(), &"delivered".into()),
        "{task}"
    );
    assert_eq!((&task["peer"], &task["award"]), (&seller.peer_id().into(), &Value::Null), "{task}");
    let shown = seller.run_as_person(["task", "show", again.id()], b"").ok().text();
    assert!(shown.contains("own service") && shown.contains("for free") && shown.contains("at work"), "{shown}");
    assert_eq!(seller.run_as_person(["task", "output", again.id()], b"").ok().text(), "MINE");
    assert_eq!(seller.json(["task", "list"]).as_array().unwrap().len(), 1, "one key, one task");
    assert_eq!(seller.json(["earnings"]), Value::Array(vec![]), "nobody earned anything");
    assert_eq!(swarm::Money::of(&other).total(), 100);

    let token = format!("Bearer {}", seller.access().unwrap()["token"].as_str().unwrap());
    let none = seller.api("GET", "/v1/find/text.upper?limit=0", &[("authorization", &token)]);
    assert_eq!((none.status, none.body.as_slice()), (200, &b""[..]), "no more than was asked for");

    // While it goes on it is at work, looks for nobody, and is found by its label.
    let go_on = seller.file("go-on");
    let script = format!("until [ -e '{}' ]; do sleep 0.05; done; cat", go_on.display());
    swarm::sell_script(&seller, "text.slow", 5, &script, "");
    let slow = ["hire", "text.slow", "--input", "-", "--label", "slow"];
    std::thread::scope(|scope| {
        let hire = scope.spawn(|| seller.run_with(slow, b"at last"));
        let task = eventually("the work to begin", LONG, || {
            let tasks = seller.json(["task", "list", "--state", "open", "--label", "slow"]);
            tasks.get(0).cloned().ok_or(tasks)
        });
        fs::write(&go_on, "").unwrap();
        assert_eq!((&task["state"], &task["own"]), (&"working".into(), &true.into()), "{task}");
        assert_eq!(hire.join().unwrap().ok().lines().pop().unwrap()["output"], "at last");
    });
    for (more, nothing) in [("failed", "No task fits."), ("open", "No task fits.")] {
        let shown = seller.run_as_person(["task", "list", "--state", more], b"").ok().text();
        assert_eq!(shown.trim_end(), nothing);
    }

    // Whoever says so hires another.
    let (own, others) = (seller.peer_id(), other.peer_id());
    for more in [["--avoid", own.as_str()], ["--seller", others.as_str()]] {
        let refused = seller.run_with(["hire", "text.upper", "--input", "-"].iter().chain(&more), b"x").failed();
        refused.says("ours", &["wallet fund"]);
    }
    // What fails here fails as it would for others, and tells more.
    swarm::sell_script(&seller, "text.fail", 5, "echo because >&2; exit 3", "");
    let failed = seller.run(["hire", "text.fail", "--input", "-"]);
    let ended = &failed.lines().pop().unwrap()["ended"];
    assert_eq!(
        (&ended["state"], &ended["own"], &ended["stderr"]),
        (&"failed".into(), &true.into(), &"because\n".into())
    );
    failed.failed().says("ours", &["exit code 3"]);
    // A large output is kept as long as its task.
    swarm::sell_script(&seller, "text.zeros", 5, "head -c 200000 /dev/zero", "");
    let large = seller.run_with(["hire", "text.zeros", "--input", "-", "--output", "zeros"], b"").ok();
    assert_eq!(fs::read(seller.file("zeros")).unwrap().len(), 200_000, "{large}");
}

#[test]
fn a_seller_sees_why_its_work_failed_and_what_it_has_earned() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "wallet.redemption.interval_secs = 1\n");
    let buyer = swarm.buyer(200, "");
    swarm::sell_script(&seller, "text.lie", 3, "echo '{}'; echo thinking >&2", "output = { required = [\"x\"] }");
    swarm::sell_echo(&seller, "text.echo", 5, "");
    meet(&buyer, "text.lie");
    meet(&buyer, "text.echo");
    for input in [b"one", b"two"] {
        swarm::hire(&buyer, "text.echo", input, &[]);
    }
    buyer.run(["hire", "text.lie", "--input", "-"]).failed();

    let tasks = seller.json(["task", "list"]);
    let failed = tasks.as_array().unwrap().iter().find(|task| task["service"] == "text.lie").unwrap();
    let shown = seller.json(["task", "show", failed["id"].as_str().unwrap()]);
    let failure = &shown["failure"];
    assert!(failure["message"].as_str().unwrap().contains("\"x\""), "the whole reason: {shown}");
    assert!(failure["hint"].as_str().unwrap().contains("output schema"), "{shown}");
    assert_eq!(shown["stderr"], "thinking\n");
    let text = seller.run_as_person(["task", "show", failed["id"].as_str().unwrap()], b"").ok().text();
    assert!(text.contains("what to do") && text.contains("thinking"), "{text}");
    // The buyer isn't told how the seller's program fares.
    let bought = buyer.run(["task", "show", failed["id"].as_str().unwrap()]).ok().text();
    assert!(!bought.contains("thinking") && !bought.contains("\\\"x\\\""), "{bought}");

    let redeemed = eventually("the money to be redeemed", LONG, || {
        let rows = seller.json(["earnings"]);
        let echo = rows.as_array().unwrap().iter().find(|row| row["of"] == "text.echo").cloned();
        let Some(echo) = echo.filter(|row| row["unredeemed"] == 0) else { return Err(rows) };
        Ok((rows, echo))
    });
    let (rows, echo) = redeemed;
    assert_eq!([&echo["tasks"], &echo["delivered"], &echo["redeemed"], &echo["failed"]], [2, 2, 10, 0], "{rows}");
    let lie = rows.as_array().unwrap().iter().find(|row| row["of"] == "text.lie").unwrap();
    assert_eq!([&lie["tasks"], &lie["failed"], &lie["redeemed"], &lie["lost"]], [1, 1, 0, 0], "{rows}");
    let by_buyer = seller.json(["earnings", "--by", "buyer"]);
    assert_eq!((&by_buyer[0]["of"], &by_buyer[0]["redeemed"]), (&buyer.peer_id().into(), &10.into()));
    let by_day = seller.run(["earnings", "--by", "day", "--days", "2", "--csv"]).ok().text();
    let lines: Vec<_> = by_day.lines().collect();
    assert_eq!(lines[0], "day,unit,tasks,delivered,failed,redeemed,unredeemed,unreleased,lost");
    assert!(lines.len() == 2 && lines[1].ends_with(&format!(",{UNIT},3,2,1,10,0,0,0")), "{by_day}");
    assert_eq!(buyer.json(["earnings"]), Value::Array(vec![]), "who buys earns nothing");
}
