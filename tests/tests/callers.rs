//! Programs with a token of their own: what they may, what they ask for, and what is left of them once they are revoked.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

use guilder_tests::{
    Daemon, Home, Ran, Swarm,
    swarm::{self, LOOPBACK},
};

fn as_ci(daemon: &Daemon, args: &[&str]) -> Ran {
    daemon.run_with(["--as", "ci"].iter().chain(args), b"hello")
}

/// The approval that waits.
#[track_caller]
fn waiting(daemon: &Daemon) -> String {
    let all = daemon.json(["approvals"]);
    let mut waiting = all.as_array().unwrap().iter().filter(|approval| approval["state"] == "asked");
    let id = waiting.next().unwrap_or_else(|| panic!("{all}"))["id"].as_str().unwrap().to_owned();
    assert!(waiting.next().is_none(), "{all}");
    id
}

#[test]
fn a_caller_spends_its_budget_asks_for_the_rest_and_is_nobody_once_it_is_revoked() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let mut buyer = swarm.buyer(200, "");
    swarm::sell_script(&seller, "text.cat", 7, "cat", "");
    swarm::sell_script(&seller, "text.dear", 150, "cat", "");
    for service in ["text.cat", "text.dear"] {
        swarm::meet(&buyer, service);
    }
    let add = ["caller", "add", "ci", "--risk", "high", "--budget", "10/day", "--services", "text.cat,text.dear"];
    let token_file = buyer.run(add).ok().json()["token_file"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&token_file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&token_file).unwrap().trim().to_owned();
    let bearer = format!("Bearer {token}");
    let direct = |daemon: &Daemon| {
        let host = daemon.access().unwrap()["address"].as_str().unwrap().to_owned();
        daemon.api("GET", "/v1/tasks", &[("Host", &host), ("Authorization", &bearer)]).status
    };
    assert_eq!(direct(&buyer), 200);

    let hire = ["hire", "text.cat", "--input", "-"];
    as_ci(&buyer, &hire).ok();
    as_ci(&buyer, &hire).failed().says("ours", &["budget of caller/ci", "leaves 3"]);
    as_ci(&buyer, &["hire", "text.other", "--input", "-"])
        .failed()
        .says("ours", &["caller/ci may not hire text.other"]);
    assert_eq!(buyer.json(["caller", "list"])[0]["spent_today"], 7);

    // What moves money out waits, and is done once.
    let send = ["wallet", "send", "5"];
    as_ci(&buyer, &send).failed().says("ours", &["approvals grant"]);
    let id = waiting(&buyer);
    as_ci(&buyer, &["approvals", "grant", &id]).failed().says("ours", &["no right"]);
    buyer.run(["approvals", "grant", &id]).ok();
    buyer.run(["approvals", "grant", &id]).failed().says("ours", &["answered before"]);
    as_ci(&buyer, &["wallet", "send", "6"]).failed().says("ours", &["approvals grant"]);
    buyer.run(["approvals", "refuse", &waiting(&buyer)]).ok();
    as_ci(&buyer, &send).ok();
    as_ci(&buyer, &send).failed().says("ours", &["approvals grant"]);
    buyer.run(["approvals", "refuse", &waiting(&buyer)]).ok();

    // A dear hire waits as well; and what was granted is on the budget all the same.
    let dear = ["hire", "text.dear", "--input", "-", "--max-price", "150"];
    as_ci(&buyer, &dear).failed().says("ours", &["approvals grant"]);
    buyer.run(["approvals", "grant", &waiting(&buyer)]).ok();
    as_ci(&buyer, &dear).failed().says("ours", &["budget of caller/ci"]);

    // A token outlives the daemon; a revoked one opens nothing.
    buyer.kill();
    buyer.restart();
    as_ci(&buyer, &["status"]).ok();
    as_ci(&buyer, &hire).failed().says("ours", &["leaves 3"]);
    let found = buyer.json(["approvals"]);
    assert_eq!(found.as_array().unwrap().len(), 4, "{found}");
    // What it has open ends, too, and says why.
    let mut watch = buyer.command();
    watch.args(["--json", "--as", "ci", "watch", "--after", "0"]);
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(watch.stdout.take().unwrap());
    events.read_line(&mut String::new()).unwrap();
    buyer.run(["caller", "revoke", "ci"]).ok();
    events.read_to_end(&mut Vec::new()).unwrap();
    let ended = watch.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("this caller was revoked"), "{said}");
    assert!(!std::path::Path::new(&token_file).exists());
    assert_eq!(direct(&buyer), 401);
    as_ci(&buyer, &["status"]).failed().says("ours", &["no caller ci"]);
    assert_eq!(buyer.json(["approvals"]).as_array().unwrap().len(), 0, "and what it asked for is forgotten");
}

#[test]
fn where_the_home_has_a_passphrase_granting_asks_for_it() {
    let home = Home::new(LOOPBACK);
    let file = home.write("pass.txt", "rose\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    home.run(["passphrase".as_ref(), "set".as_ref(), "--new-passphrase-file".as_ref(), file.as_os_str()]).ok();
    let daemon = Daemon::start_with("sealed", &home, &[("GUILDER_PASSPHRASE", "rose")]);
    daemon.run(["caller", "add", "ci", "--risk", "high", "--budget", "10/day"]).ok();
    as_ci(&daemon, &["wallet", "mints", "add", "https://mint.example"]).failed().says("ours", &["approvals grant"]);
    let id = waiting(&daemon);
    daemon.run(["approvals", "grant", &id]).failed().says("ours", &["passphrase"]);
    let grant = |passphrase: &str| {
        let mut command = daemon.command();
        command.args(["--json", "approvals", "grant", &id]).env("GUILDER_PASSPHRASE", passphrase);
        Ran::of(command, b"")
    };
    grant("tulip").failed().says("ours", &["passphrase"]);
    assert_eq!(daemon.json(["approvals"])[0]["state"], "asked");
    // One that somebody put there doesn't count: of another node, without a seal or with one of its own.
    let sealed = std::fs::read(home.path().join("secret.json")).unwrap();
    let other = Home::new(LOOPBACK);
    let word = other.write("pass.txt", "tulip\n");
    std::fs::set_permissions(&word, std::fs::Permissions::from_mode(0o600)).unwrap();
    for seals in [false, true] {
        if seals {
            other.run(["passphrase".as_ref(), "set".as_ref(), "--new-passphrase-file".as_ref(), word.as_os_str()]).ok();
        }
        std::fs::copy(other.path().join("secret.json"), home.path().join("secret.json")).unwrap();
        grant("tulip").failed().says("ours", &["passphrase"]);
        assert_eq!(daemon.json(["approvals"])[0]["state"], "asked");
    }
    std::fs::write(home.path().join("secret.json"), sealed).unwrap();
    std::fs::set_permissions(home.path().join("secret.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    grant("rose").ok();
    assert_eq!(daemon.json(["approvals"])[0]["state"], "granted");
}
