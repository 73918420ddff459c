//! The commands that need no daemon, and what all commands say when something is wrong.

#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use guilder_tests::{Home, binary};
use serde_json::Value;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_node_is_made_once_and_its_keys_come_back_from_its_phrase() {
    let home = Home::empty();
    let made = home.json(["init"]);
    let phrase = made["phrase"].as_str().unwrap().to_owned();
    assert_eq!(phrase.split(' ').count(), 12);
    assert_eq!(mode(&home.path()), 0o700);
    for entry in fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let id = home.json(["id"]);
    assert_eq!((&id["peer_id"], &id["did"]), (&made["peer_id"], &made["did"]));
    assert!(id["did"].as_str().unwrap().starts_with("did:key:z6Mk"));

    let again = home.run(["init"]).failed().says("ours", &["is there already", "never overwritten"]);
    assert_eq!(again.exit, 2);
    assert_eq!(home.json(["id"]), id, "the keys are the same as before");

    let other = Home::empty();
    let restored = other.run_with(["init", "--restore"], phrase.as_bytes()).ok().json();
    assert_eq!(restored["peer_id"], id["peer_id"]);
    assert_eq!(restored["phrase"], Value::Null, "a phrase that was given is not shown again");
}

#[test]
fn a_sealed_node_opens_with_its_passphrase_alone() {
    let home = Home::empty();
    let run = |passphrase: Option<&str>, args: &[&str]| {
        let mut command = home.command();
        command.arg("--json").args(args).envs(passphrase.map(|passphrase| ("GUILDER_PASSPHRASE", passphrase)));
        guilder_tests::Ran::of(command, b"")
    };
    let made = run(Some("tulip mania"), &["init"]).ok().json();
    assert_eq!(made["sealed"], true);
    let secret: Vec<_> =
        fs::read_dir(home.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    let phrase = made["phrase"].as_str().unwrap();
    // One word alone may well stand in the settings' comments.
    let (start, _) = phrase.match_indices(' ').nth(1).unwrap();
    let two_words = &phrase[..start];
    assert!(secret.iter().all(|file| !String::from_utf8_lossy(file).contains(two_words)), "the phrase is on disk");
    assert_eq!(run(Some("tulip mania"), &["id"]).ok().json()["peer_id"], made["peer_id"]);
    run(Some("tulip"), &["id"]).failed().says("ours", &["passphrase"]);
    run(None, &["id"]).failed().says("ours", &["passphrase"]);
}

#[test]
fn ucans_are_judged_as_the_fixtures_say() {
    let fixtures = fs::read(binary::file("protocol/tests/vectors/ucan/invocation.json")).unwrap();
    let fixtures: Value = serde_json::from_slice(&fixtures).unwrap();
    let home = Home::empty();
    for case in fixtures["valid"].as_array().unwrap() {
        let judged = home.run_with(["ucan", "verify", "-"], case.to_string().as_bytes()).ok().json();
        assert_eq!(judged["valid"], true, "{}: {judged}", case["name"]);
        assert!(!judged["chain"].as_array().unwrap().is_empty(), "{judged}");
    }
    for case in fixtures["invalid"].as_array().unwrap() {
        let judged = home.run_with(["ucan", "verify", "-"], case.to_string().as_bytes());
        assert_eq!(judged.code(), 1, "{judged}");
        assert_eq!(judged.json()["error"], case["error"]["name"], "{}: {judged}", case["name"]);
        let said = home.run_as_person(["ucan", "verify", "-"], case.to_string().as_bytes());
        let name = case["error"]["name"].as_str().unwrap();
        assert!(said.text().starts_with(&format!("invalid: {name}: ")), "{said}");
    }
    // Its delegation counts from a moment on, and the moment can be named.
    let active = &fixtures["valid"][2];
    let early = home.run_with(["ucan", "verify", "-", "--at", "1"], active.to_string().as_bytes());
    assert_eq!((early.code(), &early.json()["error"]), (1, &Value::from("TooEarly")), "{early}");
    for junk in [&b""[..], b"{}", b"\x00\x01\x02", b"{\"invocation\":{\"/\":{\"bytes\":\"AAAA\"}}}"] {
        let judged = home.run_with(["ucan", "verify", "-"], junk);
        assert_eq!((judged.code(), &judged.json()["error"]), (1, &Value::from("InvalidEncoding")), "{judged}");
    }
}

#[test]
fn wrong_use_is_answered_with_its_cause_and_a_way_out() {
    let home = Home::empty();
    let nowhere = home.run(["status"]).failed().says("ours", &["there is no node", "guilder init"]);
    assert_eq!(nowhere.exit, 2);
    home.run(["init"]).ok();
    for args in [&["status"][..], &["wallet", "balance"], &["hire", "text.echo"], &["service", "list"]] {
        let failed = home.run(args).failed().says("ours", &["no daemon runs", "guilder up"]);
        assert_eq!(failed.exit, 7);
    }
    for args in [
        &["hire"][..],
        &["hire", "Not A Name"],
        &["hire", "text.echo", "--max-price", "-1"],
        &["hire", "text.echo", "--deadline", "soon"],
        &["hire", "text.echo", "--mint", "ftp://mint"],
        &["wallet", "fund", "1.5"],
        &["nonsense"],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code(), 2, "{ran}");
        assert!(ran.stdout.is_empty(), "{ran}");
        ran.failed().says("ours", &["--help"]);
        let said = home.run_as_person(args, b"").error_text();
        assert!(said.starts_with("error: ") && said.contains("--help"), "{said}");
    }
    for args in [["audit", "verify", "no-such-file"], ["ucan", "verify", "."]] {
        let failed = home.run(args).failed().says("ours", &["can't read", args[2]]);
        assert_eq!(failed.exit, 2);
    }
    let junk = home.write("junk.car", b"not a bundle");
    let judged = home.run([Path::new("audit"), Path::new("verify"), &junk]);
    assert_eq!((judged.code(), &judged.json()["valid"]), (1, &Value::from(false)), "{judged}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = Home::new("");
    for entry in fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("config.toml") {
            continue;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let failed = home.run(["up"]).failed().says("ours", &["0644", "others", "chmod 600"]);
        assert_eq!(failed.exit, 2);
        home.run(["id"]).failed().says("ours", &["0644"]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    home.run(["id"]).ok();
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_line() {
    let home = Home::new("");
    for (settings, words) in [
        ("[api]\nlissten = \"127.0.0.1:0\"\n", &["line 2", "lissten", "config.toml"][..]),
        ("[network\n", &["line 1", "config.toml"]),
        ("[wallet]\n\nunit = 3\n", &["line 3", "config.toml"]),
    ] {
        home.settings(settings);
        let failed = home.run(["up"]).failed().says("ours", words);
        assert_eq!(failed.exit, 2);
    }
    home.settings("[api]\nlisten = \"0.0.0.0:0\"\n");
    let failed = home.run(["up"]).failed();
    assert!(failed.message.contains("api.listen") && failed.message.contains("loopback"), "{failed:?}");
    assert_eq!((failed.fault.as_str(), failed.exit), ("ours", 2));
}

#[test]
fn completions_are_written_for_every_shell() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run_as_person(["completions", shell], b"").ok().text();
        assert!(script.contains("guilder") && script.contains("hire"), "{shell}");
    }
    let help = home.run_as_person(["--help"], b"").ok().text();
    for command in ["init", "up", "status", "peers", "id", "service", "find", "hire", "task", "wallet", "audit", "ucan"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "no {command} in\n{help}");
    }
}
