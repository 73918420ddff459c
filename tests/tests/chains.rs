//! Agents that hire agents, with real nodes: a program hires while it works, with what its node gives it for that task alone.

#![allow(clippy::unwrap_used)]

use guilder_tests::{
    Daemon, LONG, Swarm,
    binary::guilder,
    eventually,
    swarm::{self, UNIT},
};
use serde_json::Value;

const SOON: &str = "wallet.redemption.interval_secs = 1\n";

/// Capitals of what comes in, had from whoever sells `service`; and what the key of the task is, where the test can see it.
fn passing_on(service: &str, more: &str, note: &std::path::Path) -> String {
    let guilder = guilder().display();
    let note = note.display();
    format!(
        "printf '%s %s' \"$GUILDER_API\" \"$GUILDER_TOKEN\" > '{note}'; \
         '{guilder}' hire {service} --input - --mode prepaid {more}"
    )
}

fn sells_capitals(swarm: &Swarm, name: &str) -> Daemon {
    let seller = swarm.trader(name, SOON);
    swarm::sell_script(&seller, "text.upper", 5, "tr a-z A-Z", "");
    seller
}

/// A node that buys `text.upper` for the sake of what it sells.
fn subcontractor(swarm: &Swarm, name: &str, service: &str, script: &str) -> Daemon {
    let node = swarm.trader(name, SOON);
    swarm::fund(&node, 500);
    swarm::sell_script(&node, service, 20, script, "time_limit_secs = 100\n[subcontract]\nbudget = 15\n");
    node
}

/// The tasks that a node has bought.
fn bought(daemon: &Daemon) -> Vec<Value> {
    let tasks = daemon.json(["task", "list"]);
    tasks.as_array().unwrap().iter().filter(|task| task["side"] == "buyer").cloned().collect()
}

#[test]
fn a_program_hires_within_what_its_buyer_allows_and_not_beyond() {
    let swarm = Swarm::start(0);
    let worker = sells_capitals(&swarm, "worker");
    let middle = swarm.trader("middle", SOON);
    swarm::fund(&middle, 500);
    let note = middle.file("note");
    let script = passing_on("text.upper", "", &note);
    let own = "time_limit_secs = 100\n[subcontract]\nservices = [\"text.upper\"]\nbudget = 15\n";
    swarm::sell_script(&middle, "text.shout", 20, &script, own);
    let buyer = swarm.buyer(1_000, SOON);
    swarm::meet(&buyer, "text.shout");
    swarm::meet(&middle, "text.upper");

    let allowed = ["--allow-subcontract", "text.upper", "--sub-budget", "10"];
    let prepaid = ["--mode", "prepaid", "--max-price", "30"];
    let delivered = swarm::hire(&buyer, "text.shout", b"down the line", &[&prepaid[..], &allowed].concat());
    assert_eq!(delivered.output, "DOWN THE LINE");
    let subs = bought(&middle);
    assert_eq!((subs.len(), &subs[0]["price"], &subs[0]["unit"]), (1, &Value::from(5), &Value::from(UNIT)));
    // Both ends have what was signed, and it holds.
    for (node, id) in [(&buyer, delivered.id()), (&middle, subs[0]["id"].as_str().unwrap()), (&worker, delivered.id())]
    {
        let bundle = node.file("task.car");
        node.run(["audit", "export", id, "--output", bundle.to_str().unwrap()]).ok();
        let report = node.json(["audit", "verify", bundle.to_str().unwrap()]);
        assert_eq!((&report["valid"], &report["task"]), (&true.into(), &delivered.id().into()), "{report}");
    }
    // The buyer's bundle is the whole tree, which is drawn.
    let page = buyer.file("task.html");
    buyer.run(["audit", "show", delivered.id(), "--html", page.to_str().unwrap()]).ok();
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!((page.matches("<rect").count(), page.matches("<path").count()), (2, 1), "{page}");
    // The task is over, and so is its key.
    let text = std::fs::read_to_string(&note).unwrap();
    let (api, token) = text.split_once(' ').unwrap();
    assert!(api.starts_with("http://127.0.0.1:") && token.contains('.'), "{text}");
    let bearer = format!("Bearer {token}");
    for (method, path) in [("GET", "/v1/tasks"), ("POST", "/v1/tasks?service=text.upper"), ("GET", "/v1/wallet")] {
        let answer = middle.api(method, path, &[("authorization", &bearer)]);
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
    }

    // What isn't allowed isn't done, and says so.
    let refused = |more: &[&str], wanted: &str| {
        let mut args = vec!["hire", "text.shout", "--input", "-"];
        args.extend(prepaid);
        args.extend(more);
        buyer.run_with(args, b"x").failed();
        let tasks = middle.json(["task", "list"]);
        let sold = tasks.as_array().unwrap().iter().filter(|task| task["side"] == "seller");
        let shown = sold.map(|task| middle.json(["task", "show", task["award"].as_str().unwrap()]));
        let said: Vec<_> = shown.map(|task| task["stderr"].to_string()).collect();
        assert!(said.iter().any(|said| said.contains(wanted)), "{said:?} says {wanted:?}");
        assert_eq!(bought(&middle).iter().filter(|task| task["price"].is_u64()).count(), 1, "nothing more was bought");
    };
    refused(&["--allow-subcontract", "text.other", "--sub-budget", "10"], "does not allow this service");
    refused(&["--allow-subcontract", "text.upper", "--sub-budget", "4"], "no seller made an acceptable offer");
}

#[test]
fn a_key_opens_its_own_task_and_nothing_else() {
    let swarm = Swarm::start(0);
    let worker = sells_capitals(&swarm, "worker");
    let note = swarm.mint.file("probe");
    let guilder = guilder().display();
    // What the program may do with its key, one line each: the path and the status.
    let probe = format!(
        "for path in wallet status id peers services mints events tasks tasks?peer=@bank find/text.upper?limit=1; do \
           printf '%s ' \"$path\"; \
           curl -s -m 60 -o /dev/null -w '%{{http_code}}\\n' -H \"authorization: Bearer $GUILDER_TOKEN\" \"$GUILDER_API/v1/$path\"; \
         done > '{note}'; '{guilder}' hire text.upper --input - --mode prepaid --label mine; \
         for label in mine other; do '{guilder}' --json task list --label $label > '{note}.'$label; done",
        note = note.display()
    );
    let middle = subcontractor(&swarm, "middle", "text.probe", &probe);
    let buyer = swarm.buyer(1_000, SOON);
    swarm::meet(&buyer, "text.probe");
    swarm::meet(&middle, "text.upper");
    let more = ["--mode", "prepaid", "--max-price", "30", "--allow-subcontract", "text.upper", "--sub-budget", "10"];
    let delivered = swarm::hire(&buyer, "text.probe", b"x", &more);
    assert_eq!(delivered.output, "X");
    drop(worker);
    let text = std::fs::read_to_string(&note).unwrap();
    let status = |path: &str| text.lines().find_map(|line| line.strip_prefix(path)?.trim().parse::<u16>().ok());
    for path in ["wallet", "status", "id", "peers", "services", "mints", "events", "tasks?peer=@bank"] {
        assert_eq!(status(path), Some(403), "{path}, if there is a curl: {text}");
    }
    for path in ["tasks", "find/text.upper?limit=1"] {
        assert_eq!(status(path), Some(200), "{path}: {text}");
    }
    // It lists its own hires, as far as they fit.
    let listed = |label: &str| {
        let text = std::fs::read_to_string(format!("{}.{label}", note.display())).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!((&listed("mine")[0]["label"], listed("other")), (&"mine".into(), Value::Array(vec![])));
}

#[test]
fn work_goes_down_a_chain_of_four_nodes() {
    let swarm = Swarm::start(0);
    let last = sells_capitals(&swarm, "last");
    let third = swarm.trader("third", SOON);
    swarm::fund(&third, 500);
    let script = passing_on("text.upper", "", &third.file("note"));
    swarm::sell_script(&third, "text.third", 8, &script, "time_limit_secs = 100\n[subcontract]\nbudget = 5\n");
    let on = "--allow-subcontract text.upper --sub-budget 5";
    let script = passing_on("text.third", on, &third.file("note-2"));
    let second = subcontractor(&swarm, "second", "text.second", &script);
    let buyer = swarm.buyer(1_000, SOON);
    swarm::meet(&buyer, "text.second");
    swarm::meet(&second, "text.third");
    swarm::meet(&third, "text.upper");

    let allowed = ["--allow-subcontract", "text.third", "text.upper", "--sub-budget", "13", "--sub-depth", "2"];
    let more = [&["--mode", "prepaid", "--max-price", "30", "--deadline", "2m"][..], &allowed].concat();
    let delivered = swarm::hire(&buyer, "text.second", b"down the line", &more);
    assert_eq!(delivered.output, "DOWN THE LINE");
    // The last one's bundle shows on whose authority it was.
    let bundle = last.file("task.car");
    last.run(["audit", "export", delivered.id(), "--output", bundle.to_str().unwrap()]).ok();
    let report = last.json(["audit", "verify", bundle.to_str().unwrap()]);
    let hire = &report["hires"][0];
    let ids = [&buyer, &third, &last].map(|node| Value::from(node.peer_id()));
    assert_eq!([&hire["principal"], &hire["buyer"], &hire["seller"]], [&ids[0], &ids[1], &ids[2]]);
    assert_eq!((&report["valid"], &hire["price"]), (&true.into(), &5.into()));
}

#[test]
fn what_a_task_lets_its_seller_pass_on_is_shown_and_can_be_taken_back() {
    let swarm = Swarm::start(0);
    let _worker = sells_capitals(&swarm, "worker");
    let middle = swarm.trader("middle", &format!("{SOON}log.filter = \"info,guilder::events=debug\"\n"));
    swarm::fund(&middle, 500);
    let (begun, go_on) = (middle.file("begun"), middle.file("go-on"));
    let script = format!(
        "touch '{}'; until [ -e '{}' ]; do sleep 0.05; done; {}",
        begun.display(),
        go_on.display(),
        passing_on("text.upper", "", &middle.file("note"))
    );
    let own = "time_limit_secs = 100\n[subcontract]\nbudget = 15\n";
    swarm::sell_script(&middle, "text.shout", 20, &script, own);
    let buyer = swarm.buyer(1_000, SOON);
    swarm::meet(&buyer, "text.shout");
    swarm::meet(&middle, "text.upper");

    let home = (*buyer).clone();
    let hire = std::thread::spawn(move || {
        let allowed = ["--allow-subcontract", "text.upper", "--sub-budget", "10", "--deadline", "2m"];
        home.run(["hire", "text.shout", "--mode", "prepaid"].iter().chain(&allowed))
    });
    eventually("the work to begin", LONG, || if begun.exists() { Ok(()) } else { Err("it hasn't") });
    let grants = buyer.json(["grants"]);
    let [grant] = &grants.as_array().unwrap()[..] else { panic!("one grant: {grants}") };
    assert_eq!([&grant["side"], &grant["state"], &grant["grantee"]], ["given", "valid", &middle.peer_id()]);
    assert_eq!((&grant["services"][0], &grant["budget"]), (&"text.upper".into(), &10.into()));
    let id = grant["id"].as_str().unwrap();
    assert_eq!(buyer.json(["revoke", &id[id.len() - 8..]])["delegation"], id);
    assert_eq!(buyer.json(["grants"])[0]["state"], "revoked");
    eventually("the seller to hear of it", LONG, || {
        let log = std::fs::read_to_string(middle.log()).unwrap();
        if log.contains(&format!("delegation={id}")) { Ok(()) } else { Err("it hasn't") }
    });
    std::fs::write(&go_on, "").unwrap();
    let failed = hire.join().unwrap().failed();
    assert_eq!(failed.fault, "peer", "{failed:?}");
    let tasks = middle.json(["task", "list"]);
    let sold = tasks.as_array().unwrap().iter().find(|task| task["side"] == "seller").unwrap();
    let shown = middle.json(["task", "show", sold["award"].as_str().unwrap()]);
    assert!(shown["stderr"].to_string().contains("revoked"), "{shown}");
    assert!(bought(&middle).iter().all(|task| task["award"].is_null()), "nothing was bought");
}
