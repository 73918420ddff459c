//! The demo, as a newcomer runs it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use guilder_tests::{Home, Slot};
use serde_json::Value;

/// What a run of the demo steps, step by step.
struct Steps(Vec<Value>);

impl Steps {
    fn all<'a, 's>(&'a self, step: &'s str) -> impl Iterator<Item = &'a Value> + use<'a, 's> {
        self.0.iter().filter(move |line| line["step"] == step)
    }

    fn one(&self, step: &str) -> &Value {
        let found: Vec<_> = self.all(step).collect();
        assert_eq!(found.len(), 1, "{step}: {found:?}");
        found[0]
    }

    fn names(&self, step: &str) -> Vec<&str> {
        self.all(step).filter_map(|line| line["node"].as_str()).collect()
    }
}

fn number(line: &Value, name: &str) -> u64 {
    line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn a_newcomer_sees_five_nodes_trade_and_can_prove_it() {
    let _slot = Slot::take();
    let home = Home::empty();
    let text = "A guilder was a coin. A guild is craftsmen who answer for each other. Both held for centuries.\n";
    let input = home.write("text.txt", text.repeat(20));
    let kept = home.file("kept");
    let words = ["demo".as_ref(), input.as_os_str(), "--keep".as_ref(), kept.as_os_str()];
    let steps = Steps(home.run(words).ok().lines());

    // Five processes, each with keys of its own, none of which outlives the demo.
    assert_eq!(steps.names("node"), ["mint", "buyer", "cheap", "fair", "dear"]);
    let mut peers: Vec<_> = steps.all("node").map(|line| line["peer_id"].as_str().unwrap()).collect();
    peers.sort_unstable();
    peers.dedup();
    assert_eq!(peers.len(), 5);
    for node in steps.all("node") {
        assert!(!Path::new(&format!("/proc/{}", number(node, "pid"))).exists(), "{node} is still there");
        let name = node["node"].as_str().unwrap();
        assert!(kept.join(name).join("config.toml").exists(), "the folder of {name} was not kept");
    }

    // All are found and asked, the cheapest does it, and each step comes after what it needs.
    assert_eq!(steps.all("seller_found").count(), 3);
    let asked = steps.all("offered").filter(|line| line["node"] == "buyer");
    assert_eq!(asked.map(|line| number(&line["event"]["price"], "amount")).max(), Some(14));
    let story =
        ["funded", "service", "hire", "searching", "asked", "awarded", "delivered", "balance", "receipt", "end"];
    // Sellers tell of some of them, too, in streams of their own.
    let of_the_buyer = |step: &str| {
        let mut of_it = steps.all(step);
        let at = of_it
            .find(|line| line["event"].is_null() || line["node"] == "buyer")
            .and_then(|line| line["at_ms"].as_u64());
        at.unwrap_or_else(|| panic!("no {step}"))
    };
    let times: Vec<_> = story.iter().map(|step| of_the_buyer(step)).collect();
    assert!(times.is_sorted(), "{story:?} at {times:?}");
    assert!(steps.all("check").all(|check| check["holds"] == true));
    assert!(!steps.one("output")["text"].as_str().unwrap().is_empty());
    assert_eq!(steps.one("end")["ok"], true);

    the_balances_add_up(&steps);
    the_bundle_holds_until_a_byte_is_changed(&home, &steps, &kept.join("task.audit.car"));
}

#[test]
fn a_newcomer_sees_agents_hire_agents_and_who_answers_for_the_one_that_failed() {
    let _slot = Slot::take();
    let home = Home::empty();
    let kept = home.file("kept");
    let steps = Steps(home.run(["demo".as_ref(), "chain".as_ref(), "--keep".as_ref(), kept.as_os_str()]).ok().lines());
    assert!(steps.all("check").all(|check| check["holds"] == true));
    assert_eq!(steps.one("end")["ok"], true);
    assert!(steps.one("output")["text"].as_str().unwrap().contains("nobody delivered it"));

    // The client's bundle is the tree, in which each answers to whom it worked for.
    let id = |name: &str| steps.all("node").find(|line| line["node"] == name).unwrap()["peer_id"].clone();
    let report = home.run(["audit".as_ref(), "verify".as_ref(), kept.join("task.audit.car").as_os_str()]).ok().json();
    let hires = report["hires"].as_array().unwrap();
    let hire = |service: &str| hires.iter().find(|hire| hire["service"] == service).unwrap_or(&Value::Null);
    let (root, summary, index) = (hire("text.digest"), hire("text.summarize"), hire("text.index"));
    assert_eq!((hires.len(), &report["valid"]), (3, &true.into()), "{report}");
    assert_eq!((&root["buyer"], &root["seller"], &root["answer"]), (&id("client"), &id("editor"), &"delivered".into()));
    for (sub, seller, answer) in [(summary, "writer", "delivered"), (index, "indexer", "seller-failed")] {
        assert_eq!((&sub["buyer"], &sub["seller"]), (&id("editor"), &id(seller)), "{sub}");
        assert_eq!((&sub["answer"], &sub["answers"], &sub["under"]), (&answer.into(), &id(seller), &root["award"]));
        assert_eq!(sub["principal"], id("client"), "{sub}");
    }
    let page = std::fs::read_to_string(kept.join("task.html")).unwrap();
    assert_eq!((page.matches("<rect").count(), page.matches("<path").count()), (3, 2), "{page}");

    // Who delivered was paid, who failed was not, and nothing is gone.
    let after = |name: &str| number(steps.all("balance").find(|line| line["node"] == name).unwrap(), "after");
    assert_eq!((after("writer"), after("indexer")), (7, 0));
    let accounts = steps.one("accounts");
    assert_eq!(number(accounts, "before"), number(accounts, "after") + number(accounts, "fees"));
}

#[test]
fn a_newcomer_sees_what_was_bought_remembered_and_a_liars_words_forgotten() {
    let _slot = Slot::take();
    let home = Home::empty();
    let steps = Steps(home.run(["demo", "memory"]).ok().lines());
    assert!(steps.all("check").count() >= 7 && steps.all("check").all(|check| check["holds"] == true));
    assert_eq!(steps.one("end")["ok"], true);
    assert!(number(steps.one("end"), "at_ms") < 30_000, "{:?}", steps.one("end"));
    assert_eq!(steps.one("forgotten")["ids"].as_array().unwrap().len(), 2);
}

fn the_balances_add_up(steps: &Steps) {
    assert_eq!(steps.names("balance"), ["buyer", "cheap", "dear", "fair"]);
    let sum = |name: &str| steps.all("balance").map(|line| number(line, name)).sum::<u64>();
    assert_eq!((sum("before"), sum("before")), (1_000, sum("after") + sum("fees")));
    assert!(sum("fees") > 0, "the mint's fees show");
    let accounts = steps.one("accounts");
    assert_eq!([number(accounts, "before"), number(accounts, "after")], [sum("before"), sum("after")]);
    let cheap = steps.all("balance").find(|line| line["node"] == "cheap").unwrap();
    assert_eq!(number(cheap, "after"), 7, "redeemed, not only accepted");
}

fn the_bundle_holds_until_a_byte_is_changed(home: &Home, steps: &Steps, path: &Path) {
    let verify = |file: &Path| home.run(["audit".as_ref(), "verify".as_ref(), file.as_os_str()]);
    assert_eq!(steps.one("bundle")["path"].as_str().unwrap(), path.to_str().unwrap());
    let report = verify(path).ok().json();
    assert_eq!((&report["valid"], &report["task"]), (&Value::from(true), &steps.one("receipt")["task"]));
    let hire = &report["hires"][0];
    let id = |name: &str| steps.all("node").find(|line| line["node"] == name).unwrap()["peer_id"].clone();
    assert_eq!((&hire["buyer"], &hire["seller"]), (&id("buyer"), &id("cheap")));
    assert_eq!((&hire["answer"], &hire["price"], &hire["unit"]), (&"delivered".into(), &7.into(), &"play".into()));
    let words = home.run_as_person(["audit".as_ref(), "verify".as_ref(), path.as_os_str()], b"").ok().text();
    for id in [id("buyer"), id("cheap")] {
        assert!(words.contains(id.as_str().unwrap()), "{words}");
    }

    let bytes = std::fs::read(path).unwrap();
    for at in [1, bytes.len() / 4, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let judged = verify(&home.write("changed.car", changed));
        assert_eq!((judged.code(), &judged.json()["valid"]), (1, &Value::from(false)), "byte {at}: {judged}");
        let why = judged.json()["why"].as_str().unwrap().to_owned();
        assert!(why.contains("was changed") || why.contains("CAR") || why.contains("root"), "byte {at}: {why}");
    }
    let judged = verify(&home.write("cut.car", &bytes[..bytes.len() / 2]));
    assert_eq!(judged.code(), 1, "{judged}");
    assert!(!judged.json()["why"].as_str().unwrap().is_empty());
}
