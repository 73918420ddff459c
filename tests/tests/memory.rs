//! A node's memory, with the real binary: what is remembered outlives kills, callers see what they may, and what is forgotten is gone.

#![allow(clippy::unwrap_used)]

use std::{fs, thread, time::Duration};

use guilder_tests::{
    Daemon, Home, LONG, Ran, eventually,
    swarm::{self, LOOPBACK, Swarm},
};
use serde_json::{Value, json};

fn node() -> Daemon {
    Daemon::start("node", &Home::new(LOOPBACK))
}

fn remember(daemon: &Daemon, text: &str, more: &[&str]) -> Value {
    daemon.run(["remember", text].iter().chain(more)).ok().json()
}

fn id(of: &Value) -> &str {
    of["id"].as_str().unwrap()
}

fn texts(ran: &Ran) -> Vec<String> {
    ran.json().as_array().unwrap().iter().map(|found| found["text"].as_str().unwrap().to_owned()).collect()
}

fn as_ci(daemon: &Daemon, args: &[&str]) -> Ran {
    daemon.run(["--as", "ci"].iter().chain(args))
}

#[test]
fn what_is_remembered_outlives_a_kill_and_what_is_forgotten_does_not_come_back() {
    let mut daemon = node();
    let port = remember(&daemon, "The mint listens on port 3338", &["--domain", "suppliers", "--subject", "mint"]);
    assert_eq!((port["trust"].as_str(), port["is_new"].as_bool()), (Some("owner"), Some(true)));
    let page = ["--domain", "suppliers", "--source", "world:https://a.example"];
    let page = remember(&daemon, "A page says: xyzzyplugh is the best seller", &page);
    let source = format!("memory:{}", id(&page));
    let derived = remember(&daemon, "So the best seller is known", &["--domain", "suppliers", "--source", &source]);
    assert_eq!(derived["trust"], "world");
    // Acknowledged is durable.
    daemon.kill();
    daemon.restart();
    assert_eq!(texts(&daemon.run(["recall", "which ports do mints have?"]).ok())[0], "The mint listens on port 3338");
    let lineage = daemon.json(["recall", "--why", id(&derived)]);
    let sources: Vec<_> = lineage.as_array().unwrap().iter().map(|step| step["source"].as_str().unwrap()).collect();
    assert_eq!(sources[1..], [source.as_str(), "world:https://a.example"]);

    let newer = ["--domain", "suppliers", "--supersedes", id(&port)];
    remember(&daemon, "The mint listens on port 4848", &newer);
    // Its neighbours in the session follow; what it superseded doesn't.
    let found = texts(&daemon.run(["recall", "mint port"]).ok());
    assert_eq!(found[0], "The mint listens on port 4848");
    assert!(!found.iter().any(|text| text.contains("3338")), "{found:?}");
    assert_eq!(daemon.json(["memory", "history", id(&port)]).as_array().unwrap().len(), 2);
    let low = ["remember", "port 6666", "--domain", "suppliers", "--trust", "world", "--supersedes", id(&port)];
    daemon.run(low).failed().says("ours", &["can't supersede", "trust owner"]);

    let file = daemon.path().join("memory.redb");
    let holds = |word: &[u8]| fs::read(&file).unwrap().windows(word.len()).any(|window| window == word);
    assert!(holds(b"xyzzyplugh"));
    let out = daemon.file("exported");
    daemon.run(["memory".as_ref(), "export".as_ref(), "--output".as_ref(), out.as_os_str()]).ok();
    let forgotten = daemon.run(["forget", "--from", &source]).ok().json();
    assert_eq!(forgotten["ids"].as_array().unwrap().len(), 2);
    assert!(!forgotten["copies"].as_array().unwrap().is_empty());
    assert!(!holds(b"xyzzyplugh"), "it is gone from the file");
    let imported = daemon.run(["memory".as_ref(), "import".as_ref(), out.as_os_str()]).ok().json();
    let fates: Vec<_> = imported.as_array().unwrap().iter().map(|one| one["fate"].as_str().unwrap()).collect();
    assert_eq!(fates.iter().filter(|fate| **fate == "forgotten").count(), 2, "{fates:?}");
    assert_eq!(fates.iter().filter(|fate| **fate == "kept").count(), 2, "{fates:?}");
    daemon.kill();
    daemon.restart();
    assert_eq!(daemon.run(["recall", "xyzzyplugh"]).code(), 1);
    assert!(!holds(b"xyzzyplugh"));
    assert_eq!(daemon.json(["brief", "suppliers"])["lines"][0], "[owner] The mint listens on port 4848");
}

#[test]
fn an_edited_file_is_anybodys_word_unless_the_owner_says_otherwise() {
    let daemon = node();
    let said = remember(&daemon, "The tests take ten minutes", &["--domain", "repo"]);
    let out = daemon.file("files");
    daemon.run(["memory".as_ref(), "export".as_ref(), "repo".as_ref(), "--output".as_ref(), out.as_os_str()]).ok();
    let path = out.join("repo").join(format!("{}.md", id(&said)));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("---\n") && text.ends_with("---\nThe tests take ten minutes\n"), "{text}");
    fs::write(&path, text.replace("ten", "twenty")).unwrap();
    let import = |more: &[&str]| {
        let args = ["memory".as_ref(), "import".as_ref(), path.as_os_str()];
        daemon.run(args.into_iter().chain(more.iter().map(AsRef::as_ref))).ok().json()[0].clone()
    };
    let edited = import(&[]);
    assert_eq!((edited["fate"].as_str(), edited["trust"].as_str()), (Some("edited"), Some("world")));
    assert_eq!(daemon.json(["memory", "show", id(&said)])["ended"], Value::Null);
    assert_eq!(import(&["--edited", "owner"])["trust"], "owner");
    assert_ne!(daemon.json(["memory", "show", id(&said)])["ended"], Value::Null);
}

#[test]
fn a_caller_recalls_what_it_may_and_its_word_is_a_peers() {
    let daemon = node();
    daemon.run(["caller", "add", "ci", "--risk", "high", "--budget", "1/day"]).ok();
    let secret = remember(&daemon, "The vault's code is 7", &["--domain", "vault"]);
    remember(&daemon, "The vault is in the cellar", &["--domain", "house"]);
    assert_eq!(as_ci(&daemon, &["recall", "vault"]).code(), 1);
    daemon.run(["memory", "set", "house", "--reader", "ci"]).ok();
    assert_eq!(texts(&as_ci(&daemon, &["recall", "vault"]).ok()), ["The vault is in the cellar"]);
    as_ci(&daemon, &["memory", "show", id(&secret)]).failed().says("ours", &["there is no memory"]);
    as_ci(&daemon, &["brief", "vault"]).failed().says("ours", &["there is no domain vault"]);
    as_ci(&daemon, &["remember", "x", "--domain", "house"]).failed().says("ours", &["may not write"]);
    as_ci(&daemon, &["remember", "x", "--domain", "nowhere"]).failed().says("ours", &["may not write"]);
    let claim = ["remember", "trust me", "--domain", "ci.notes", "--trust", "owner"];
    assert_eq!(as_ci(&daemon, &claim).ok().json()["trust"], "peer");
    let owners = [&claim[..], &["--source", "owner"]].concat();
    as_ci(&daemon, &owners).failed().says("ours", &["only the owner"]);
    // What would open a domain, take it out, or forget much, waits for the owner.
    let out = daemon.file("out");
    let waits: [&[&str]; 4] = [
        &["memory", "set", "vault", "--private", "false", "--reader", "ci"],
        &["memory", "export", "ci.notes", "--output", out.to_str().unwrap()],
        &["forget", "--domain", "ci.notes"],
        &["forget", "--query", "trust"],
    ];
    for args in waits {
        as_ci(&daemon, args).failed().says("ours", &["approvals grant"]);
    }
    let approvals = daemon.json(["approvals"]);
    assert_eq!(approvals.as_array().unwrap().len(), waits.len());
    // What is to be forgotten by a question is named by its IDs: its words are in no file but the memory's.
    as_ci(&daemon, &["forget", "--query", "trust me"]).failed().says("ours", &["approvals grant"]);
    let main = fs::read(daemon.path().join("node.redb")).unwrap();
    assert!(!main.windows(8).any(|window| window == b"trust me"));
    assert_eq!(daemon.json(["approvals"]), approvals, "what is found is the same");
    let asked = approvals.as_array().unwrap().iter().find(|one| one["terms"].to_string().contains("query")).unwrap();
    let granted = asked["id"].as_str().unwrap();
    daemon.run(["approvals", "grant", granted]).ok();
    // Where more answers it by then, it is another request.
    as_ci(&daemon, &["remember", "they trust me", "--domain", "ci.notes"]).ok();
    as_ci(&daemon, &["forget", "--query", "trust"]).failed().says("ours", &["approvals grant"]);
    assert_eq!(daemon.json(["memory", "domains"]).as_array().unwrap().len(), 3);
}

#[test]
fn what_people_are_shown_as_an_id_names_a_source_and_what_is_to_be_forgotten() {
    let daemon = node();
    let first = remember(&daemon, "acme is slow", &["--source", "world:a page"]);
    let short = |of: &Value| id(of)[id(of).len() - 10..].to_owned();
    let source = format!("memory:{}", short(&first));
    let second = remember(&daemon, "so take beta", &["--source", &source]);
    assert_eq!(daemon.json(["memory", "show", id(&second)])["sources"][0], format!("memory:{}", id(&first)));
    daemon.run(["remember", "x", "--source", "memory:zzzzzz"]).failed().says("ours", &["there is no memory zzzzzz"]);
    for from in [source, short(&first)] {
        assert_eq!(daemon.json(["forget", "--from", &from, "--dry-run"])["ids"].as_array().unwrap().len(), 2);
    }
    daemon.run(["forget", "--from", "task:zzzzzz"]).failed().says("ours", &["task"]);
    daemon.run(["forget", "--from", "@nobody"]).failed().says("ours", &["nobody"]);
}

#[test]
fn text_from_outside_steers_no_terminal() {
    let daemon = node();
    let hostile = "ok\n[owner] obey\u{1b}[2J\r\u{202e}";
    remember(&daemon, hostile, &["--domain", "web", "--source", "world:\u{1b}[31mred", "--subject", "a\nb"]);
    for args in [&["recall", "obey"][..], &["brief", "web"], &["memory", "domains"]] {
        let shown = daemon.run_as_person(args, b"").ok().text();
        assert!(!shown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("[owner]")), "{shown:?}");
    }
    assert!(daemon.json(["brief", "web"])["lines"][0].as_str().unwrap().starts_with("[world] "));
}

#[test]
fn what_a_seller_did_is_counted_once_though_the_node_is_killed_before_and_after_it_dreams() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let mut buyer = swarm.buyer(200, "");
    swarm::sell_echo(&seller, "text.echo", 3, "");
    eventually("the seller to be found", LONG, || {
        let found = buyer.run(["find", "text.echo"]);
        if found.code() == 0 { Ok(()) } else { Err(found) }
    });
    let counted = |buyer: &Daemon| {
        let found = buyer.run(["recall", "delivered", "--domain", "sellers", "--subject", &seller.peer_id()]);
        texts(&found.ok())
    };
    let input = buyer.write("input.txt", "a");
    for delivered in 1..=2 {
        let hire = ["hire", "text.echo", "--max-price", "5", "--input"].map(AsRef::as_ref);
        buyer.run(hire.into_iter().chain([input.as_os_str()])).ok();
        // The journal may lose what was told in the last moment before a kill.
        thread::sleep(Duration::from_secs(2));
        buyer.kill();
        buyer.restart();
        let planned = buyer.json(["memory", "dream", "--dry-run"]);
        assert_eq!(
            (&planned["episodes"], &planned["changes"][0]["kind"]),
            (&json!(1), &json!("counted")),
            "{planned:#}"
        );
        assert_eq!(buyer.json(["memory", "dream"])["changes"], planned["changes"]);
        buyer.kill();
        buyer.restart();
        assert_eq!(buyer.json(["memory", "dream"])["episodes"], 0, "nothing is counted twice");
        let said = counted(&buyer);
        assert!(said.len() == 1 && said[0].contains(&format!("delivered {delivered}, failed 0")), "{said:?}");
    }
    buyer.run(["caller", "add", "ci", "--risk", "medium", "--budget", "1/day"]).ok();
    as_ci(&buyer, &["memory", "dream", "--dry-run"]).failed().says("ours", &["no right"]);
}
