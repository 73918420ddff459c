//! What an operator asks of a node: doctor, swarm, find by terms; settings read again; a seller that stops.

#![allow(clippy::unwrap_used)]

use std::fs;

use guilder_tests::{
    Daemon, Home, LONG, Swarm, eventually,
    swarm::{self, LOOPBACK},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What `guilder doctor` found of one thing, and its exit code.
#[track_caller]
fn doctor(home: &Home) -> (Vec<Value>, i32) {
    let ran = home.run(["doctor"]);
    (ran.json().as_array().unwrap().clone(), ran.code())
}

fn states<'a>(found: &'a [Value], what: &str) -> Vec<&'a str> {
    found.iter().filter(|finding| finding["what"] == what).map(|finding| finding["state"].as_str().unwrap()).collect()
}

#[test]
fn doctor_says_what_is_wrong_with_and_without_a_running_node() {
    let swarm = Swarm::start(0);
    let mut node = swarm.trader("node", "");
    let healthy = eventually("all to be well", LONG, || {
        let (found, exit) = doctor(&node);
        if exit == 0 { Ok(found) } else { Err(Value::Array(found)) }
    });
    for what in ["home", "keys", "disk", "descriptors", "settings", "node", "ports", "clock", "mints", "peers", "reach"]
    {
        assert_eq!(states(&healthy, what), ["ok"], "{what} in {healthy:?}");
    }
    let shown = node.run_as_person(["doctor"], b"").ok().text();
    assert!(shown.lines().all(|line| line.starts_with("ok  ")), "{shown}");

    // A mint that is gone, and the one peer with it.
    let Swarm { mut mint, mint_url, .. } = swarm;
    mint.kill();
    let sick = eventually("the mint to be missed", LONG, || {
        let (found, exit) = doctor(&node);
        if exit == 6 && states(&found, "peers").contains(&"fail") { Ok(found) } else { Err(Value::Array(found)) }
    });
    let missed = sick.iter().find(|finding| finding["what"] == "mints").unwrap();
    assert!(missed["state"] == "fail" && missed["said"].as_str().unwrap().contains(&mint_url), "{missed}");
    assert!(sick.iter().all(|finding| finding["state"] == "ok" || finding["todo"].is_string()), "{sick:?}");

    // Without the node: the machine, and whether its ports can be had.
    let port = node.address().split("/tcp/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    node.stop();
    node.settings(&LOOPBACK.replace("/tcp/0", &format!("/tcp/{port}")));
    let (found, exit) = doctor(&node);
    assert_eq!((exit, states(&found, "node"), states(&found, "ports")), (1, vec!["warn"], vec!["ok"]), "{found:?}");
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let (found, exit) = doctor(&node);
    assert_eq!((exit, states(&found, "ports")), (6, vec!["fail"]), "{found:?}");
    drop(taken);
    node.settings("[netwrok]\n");
    let (found, exit) = doctor(&node);
    assert_eq!((exit, states(&found, "settings")), (6, vec!["fail"]), "{found:?}");
    let (found, exit) = doctor(&Home::empty());
    assert_eq!((exit, states(&found, "home")), (6, vec!["fail"]), "{found:?}");
}

#[test]
fn a_search_asks_adverts_for_more_than_a_name_and_the_swarm_is_shown() {
    let swarm = Swarm::start(0);
    let mut seller = swarm.trader("seller", "");
    swarm::sell(&seller, "text.count", 3, "run = \"echo\"");
    swarm::sell(&seller, "text.sum", 9, "run = \"echo\"");
    let buyer = swarm.trader("buyer", "");
    for service in ["text.count", "text.sum"] {
        swarm::meet(&buyer, service);
    }
    let names = |args: &[&str]| -> Vec<String> {
        let ran = buyer.run(["find"].iter().chain(args));
        let found = ran.json();
        assert_eq!(ran.code(), i32::from(found.as_array().unwrap().is_empty()), "{ran}");
        found.as_array().unwrap().iter().map(|found| found["service"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["text.*"]), ["text.count", "text.sum"]);
    assert_eq!(names(&["*.count"]), ["text.count"]);
    assert_eq!(names(&["text.*", "--max-price", "5"]), ["text.count"]);
    assert_eq!(names(&["text.*", "--mode", "escrow", "--mint", &swarm.mint_url, "--unit", "play"]).len(), 2);
    assert_eq!(names(&["text.*", "--mint", "https://mint.example"]), [""; 0]);
    assert_eq!(names(&["text.*", "--words", "SUM"]), ["text.sum"]);
    assert_eq!(names(&["text.*", "--reachable"]).len(), 2);
    assert_eq!(names(&["image.*"]), [""; 0]);
    let found = buyer.json(["find", "text.count"]);
    assert!(found[0]["age_secs"].as_u64().unwrap() < 600 && found[0]["connected"] == true, "{found}");
    buyer.run(["find", "Text.*"]).failed();

    let view = eventually("all three nodes to be known", LONG, || {
        let view = buyer.json(["swarm"]);
        if view["size"]["estimate"] == 3 && view["size"]["at_most"] == 3 { Ok(view) } else { Err(view) }
    });
    assert_eq!(view["services"].as_array().unwrap().len(), 2, "{view}");
    assert_eq!((&view["services"][0]["lowest"], &view["services"][0]["sellers"]), (&3.into(), &1.into()), "{view}");
    assert!(view["software"][0]["name"].as_str().unwrap().starts_with("guilder/"), "{view}");
    let shown = buyer.run_as_person(["swarm"], b"").ok().text();
    assert!(shown.contains("3, all known") && shown.contains("text.sum"), "{shown}");

    // A seller that stops says so: nobody waits for its adverts to run out. Started again, it is found again.
    seller.stop();
    eventually("the adverts to be withdrawn", LONG, || {
        let view = buyer.json(["swarm"]);
        if view["services"].as_array().unwrap().is_empty() { Ok(()) } else { Err(view) }
    });
    seller.restart();
    swarm::meet(&buyer, "text.count");
}

#[test]
fn settings_are_read_again_on_sighup_and_what_needs_a_restart_is_named() {
    let swarm = Swarm::start(0);
    let node = Daemon::start("node", &Home::new(LOOPBACK));
    assert_eq!(node.status()["peers"], 0);
    let hang_up = || kill_process(Pid::from_raw(node.pid().cast_signed()).unwrap(), Signal::HUP).unwrap();
    let reloaded = |what: &str, is_it: &dyn Fn(&Value) -> bool| {
        eventually(what, LONG, || {
            let status = node.status();
            if is_it(&status["reloaded"]) { Ok(status) } else { Err(status) }
        })
    };
    let more = format!(
        "network.bootstrap = [\"{}\"]\nhire.max_price = 7\n[log]\nfilter = \"info,libp2p=warn\"\n",
        swarm.mint.address()
    );
    node.settings(&format!("{LOOPBACK}{more}"));
    hang_up();
    let status = reloaded("the settings to be read again", &|reloaded| reloaded["applied"].is_array());
    let names = |at: &str| {
        status["reloaded"][at]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names("applied"), names("restart")),
        (vec!["log.filter".to_owned(), "network.bootstrap".into()], vec!["hire.max_price".to_owned()])
    );
    eventually("the new peer to be connected", LONG, || {
        let status = node.status();
        if status["peers"] == 1 && status["bootstrap"][0]["connected"] == true { Ok(()) } else { Err(status) }
    });
    assert!(fs::read_to_string(node.log()).unwrap().contains("reloaded "), "{}", node.log_tail());
    let shown = node.run_as_person(["status"], b"").ok().text();
    assert!(shown.contains("in force after a restart: hire.max_price"), "{shown}");

    // What can't be read changes nothing, and is said.
    node.settings("[network\n");
    hang_up();
    let status = reloaded("the error to be told", &|reloaded| reloaded["error"].is_string());
    assert!(status["reloaded"]["error"].as_str().unwrap().contains("line 1"), "{status}");
    assert_eq!(status["peers"], 1);
    assert!(fs::read_to_string(node.log()).unwrap().contains("reload_failed "), "{}", node.log_tail());
}
