//! The commands that need no daemon, and what all commands say when something is wrong.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use guilder::keys::{Passphrase, SecretFile};
use guilder_tests::{Home, Ran, binary, skip};
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

    let again = home.run(["init"]).failed().says("ours", &["is there already", "init --restore"]);
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
        Ran::of(command, b"")
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
    assert_eq!(run(None, &["id"]).ok().json(), run(Some("tulip mania"), &["id"]).ok().json(), "it is no secret");
    let wrong = run(Some("tulip"), &["up"]).failed().says("ours", &["passphrase", "init --restore"]);
    assert_eq!(wrong.exit, 2, "a restart mends nothing");
    run(None, &["up"]).failed().says("ours", &["passphrase", "--passphrase-file"]);
}

/// Runs a command with the passphrase in a file, and the next one in another.
fn with_passphrases(home: &Home, now: Option<&str>, args: &[&str], new: Option<&str>) -> Ran {
    let file = |name: &str, text: &str| {
        let path = home.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let mut command = home.command();
    command.arg("--json");
    if let Some(now) = now {
        command.arg("--passphrase-file").arg(file("now.txt", now));
    }
    command.args(args);
    if let Some(new) = new {
        command.arg("--new-passphrase-file").arg(file("new.txt", new));
    }
    Ran::of(command, b"")
}

#[test]
fn a_passphrase_is_set_changed_and_removed_and_the_keys_stay() {
    let home = Home::empty();
    let made = home.json(["init"]);
    let phrase = made["phrase"].as_str().unwrap();
    let in_clear = || fs::read_to_string(home.path().join("secret.json")).unwrap().contains(phrase);
    assert!(in_clear());
    with_passphrases(&home, None, &["passphrase", "change"], Some("rose")).failed().says("ours", &["passphrase set"]);
    with_passphrases(&home, None, &["passphrase", "remove"], None).failed().says("ours", &["passphrase set"]);

    // What a process that was killed while it sealed had written.
    let unfinished = home.path().join("secret.json.1.new");
    fs::write(&unfinished, phrase).unwrap();
    assert_eq!(with_passphrases(&home, None, &["passphrase", "set"], Some("tulip\n")).ok().json()["sealed"], true);
    assert!(!in_clear() && !unfinished.exists());
    with_passphrases(&home, Some("tulip"), &["passphrase", "set"], Some("x"))
        .failed()
        .says("ours", &["passphrase change"]);

    let wrong = with_passphrases(&home, Some("rose"), &["passphrase", "change"], Some("x")).failed();
    wrong.says("ours", &["doesn't open", "init --restore"]);
    with_passphrases(&home, Some("tulip"), &["passphrase", "change"], Some("rose")).ok();
    assert!(!in_clear());
    with_passphrases(&home, Some("tulip"), &["passphrase", "remove"], None).failed().says("ours", &["doesn't open"]);
    assert_eq!(with_passphrases(&home, Some("rose"), &["passphrase", "remove"], None).ok().json()["sealed"], false);
    assert!(in_clear());
    assert_eq!(home.json(["id"])["peer_id"], made["peer_id"]);
    assert_eq!(mode(&home.path().join("secret.json")), 0o600);
}

/// Kills the process before its `KILL_AT`th change of a file: makes one, writes (half of it is written), syncs, renames, removes.
const KILLER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static int strikes(void) {
    static int left = -1;
    if (left < 0) { const char *at = getenv("KILL_AT"); left = at ? atoi(at) : 0; }
    return left > 0 && --left == 0;
}
static void step(void) { if (strikes()) kill(getpid(), SIGKILL); }
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }
static int opened(const char *name, const char *path, int flags, mode_t mode) {
    if (flags & O_CREAT) step();
    return ((int (*)(const char *, int, mode_t))real(name))(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    return opened("open", path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest);
    return opened("open64", path, flags, mode);
}
ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t (*really)(int, const void *, size_t) = real("write");
    if (fd > 2 && strikes()) { really(fd, bytes, length / 2); kill(getpid(), SIGKILL); }
    return really(fd, bytes, length);
}
int fsync(int fd) { step(); return ((int (*)(int))real("fsync"))(fd); }
int rename(const char *from, const char *to) { step(); return ((int (*)(const char *, const char *))real("rename"))(from, to); }
int unlink(const char *path) { step(); return ((int (*)(const char *))real("unlink"))(path); }
"#;

/// A library that is loaded into the binary; none where there is no C compiler for one.
fn killer(home: &Home) -> Option<PathBuf> {
    let (source, library) = (home.write("killer.c", KILLER), home.file("killer.so"));
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    cc.is_ok_and(|status| status.success()).then_some(library)
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn whatever_step_of_a_change_of_the_passphrase_kills_it_the_phrase_is_there_under_one_of_the_two() {
    let home = Home::empty();
    let Some(library) = killer(&home) else { return skip("a C compiler") };
    let made = home.json(["init"]);
    let phrase = made["phrase"].as_str().unwrap();
    let secret = home.path().join("secret.json");
    let opens = |passphrase: Option<&str>| {
        let file = SecretFile::load(&secret).unwrap();
        let passphrase = passphrase.map(|text| Passphrase::new(text.to_owned()));
        file.is_sealed() == passphrase.is_some()
            && file.open(passphrase.as_ref()).is_ok_and(|opened| opened.reveal() == phrase)
    };
    let file = |name: &str, text: &str| {
        let path = home.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (tulip, rose) = (file("tulip", "tulip"), file("rose", "rose"));
    for (verb, old, new) in
        [("set", None, Some("tulip")), ("change", Some("tulip"), Some("rose")), ("remove", Some("rose"), None)]
    {
        let path = |passphrase| if passphrase == "tulip" { &tulip } else { &rose };
        let before = fs::read(&secret).unwrap();
        let (mut killed, mut kept) = (0, 0);
        loop {
            let mut command = home.command();
            command.env("LD_PRELOAD", &library).env("KILL_AT", (killed + 1).to_string());
            old.map(|old| command.arg("--passphrase-file").arg(path(old)));
            command.args(["passphrase", verb]);
            new.map(|new| command.arg("--new-passphrase-file").arg(path(new)));
            let ran = command.stdin(Stdio::null()).output().unwrap();
            if ran.status.success() {
                break;
            }
            assert_eq!(ran.status.signal(), Some(9), "{verb}, killed at step {}: {ran:?}", killed + 1);
            killed += 1;
            assert!(opens(old) || opens(new), "{verb}, killed at step {killed}");
            kept += usize::from(opens(old));
            // What is left beside it goes at the next change.
            fs::write(&secret, &before).unwrap();
        }
        assert!(opens(new), "{verb}");
        assert!(
            killed >= 5 && kept < killed,
            "{verb}: {killed} steps were found, {kept} of them before the new file is in its place"
        );
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{verb}: {left:?}");
    }
}

#[test]
fn a_home_whose_passphrase_is_lost_opens_with_its_phrase_and_no_other() {
    let home = Home::empty();
    let run = |passphrase: &str, args: &[&str], input: &str| {
        let mut command = home.command();
        command.arg("--json").args(args).env("GUILDER_PASSPHRASE", passphrase);
        Ran::of(command, input.as_bytes())
    };
    let made = run("lost", &["init"], "").ok().json();
    let phrase = made["phrase"].as_str().unwrap();
    fs::write(home.path().join("config.toml"), "api.listen = \"127.0.0.1:4000\"\n").unwrap();
    fs::write(home.path().join("mint.used"), "7").unwrap();

    let other = Home::empty().json(["init"])["phrase"].as_str().unwrap().to_owned();
    let own = made["peer_id"].as_str().unwrap();
    let before = fs::read(home.path().join("secret.json")).unwrap();
    run("new", &["init", "--restore"], &other).failed().says("ours", &[own, "home of its own"]);
    assert_eq!(fs::read(home.path().join("secret.json")).unwrap(), before);

    let restored = run("new", &["init", "--restore"], phrase).ok().json();
    assert_eq!((&restored["peer_id"], &restored["sealed"]), (&made["peer_id"], &Value::from(true)));
    assert!(fs::read_to_string(home.path().join("config.toml")).unwrap().contains("4000"), "all else stays");
    assert_eq!(fs::read_to_string(home.path().join("mint.used")).unwrap(), "7");
    run("lost", &["passphrase", "remove"], "").failed().says("ours", &["doesn't open"]);
    run("new", &["passphrase", "remove"], "").ok();
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
    for command in [
        "init",
        "up",
        "status",
        "peers",
        "id",
        "passphrase",
        "service-unit",
        "service",
        "find",
        "hire",
        "task",
        "wallet",
        "audit",
        "ucan",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "no {command} in\n{help}");
    }
}

#[test]
fn init_writes_whom_to_join_and_whose_money_to_take_and_refuses_what_cannot_be() {
    let peer = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    let (near, far) = (format!("/ip4/127.0.0.1/tcp/4848/p2p/{peer}"), format!("/dns4/far.example/tcp/1/p2p/{peer}"));
    let home = Home::empty();
    for (args, words) in [
        (&["--join", "/ip4/127.0.0.1/tcp/4848"][..], &["names no peer", "guilder status"][..]),
        (&["--join", "127.0.0.1:4848"], &["/ip4/192.0.2.7/tcp/4848"]),
        (&["--listen", "/dns4/far.example/tcp/1"], &["ip address"]),
        (&["--mint", "mint.example"], &["mint"]),
    ] {
        let refused = home.run(["init"].iter().chain(args)).failed().says("ours", words);
        assert_eq!(refused.exit, 2);
        assert!(!home.path().exists(), "{args:?}: nothing was made");
    }
    let chosen = ["--join", &near, "--join", &far, "--mint", "https://mint.example", "--unit", "play"];
    home.run(["init", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"].iter().chain(&chosen)).ok();
    let settings = fs::read_to_string(home.path().join("config.toml")).unwrap();
    for line in [
        format!("bootstrap = [\"{near}\", \"{far}\"]"),
        "listen = [\"/ip4/127.0.0.1/tcp/0\"]".into(),
        "mdns = false".into(),
        "mints = [\"https://mint.example\"]".into(),
        "unit = \"play\"".into(),
        "#high_water = 96".into(),
    ] {
        assert!(settings.lines().any(|written| written == line), "no {line} in\n{settings}");
    }
    // A home that has settings and no keys keeps its settings.
    fs::remove_file(home.path().join("secret.json")).unwrap();
    home.run(["init"].iter().chain(&chosen)).failed().says("ours", &["config.toml", "there already"]);
    home.run(["init"]).ok();
    assert_eq!(fs::read_to_string(home.path().join("config.toml")).unwrap(), settings);
}
