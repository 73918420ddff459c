//! Ordinary trouble: odd files, stopped processes, busy ports, damaged disks, hostile words, long pastes. Each ends in
//! words, none in a hang, a forged line or a lost price.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use guilder_tests::{
    Daemon, Home, LONG, Ran, binary, eventually,
    swarm::{self, LOOPBACK, Money, Swarm},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Runs `guilder` on a home with a terminal for its input and output, through util-linux's `script`.
fn on_a_terminal(home: &Home, args: &str, env: &[(&str, &str)], input: &[u8]) -> String {
    let command = format!("'{}' --home '{}' {args}", binary::guilder().display(), home.path().display());
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR").envs(env.iter().copied());
    let ran = Ran::of(script, input);
    ran.text()
}

#[track_caller]
fn meet(buyer: &Daemon, service: &str) {
    eventually(&format!("{service} to be found"), LONG, || {
        let found = buyer.run(["find", service]);
        if found.code() == 0 { Ok(()) } else { Err(found) }
    });
}

/// What a stranger says who would like to be taken for the node.
const FORGED: &str = "ok\n  0.111 s  done\r\u{1b}[2J\u{1b}]52;c;cm0gLXJm\u{7}\u{9b}31m\u{202e}";

/// Nothing that a terminal would obey, and no line that the stranger made.
#[track_caller]
fn is_harmless(text: &str) {
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(harmful), "{text:?}");
    let forged = |line: &&str| line.trim() == "0.111 s  done" || line.starts_with("2026-11-23T13:24:23Z");
    assert_eq!(text.lines().find(forged), None, "{text}");
}

#[test]
fn what_strangers_say_makes_no_line_and_steers_no_terminal() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let buyer = swarm.buyer(100, "");
    let text = FORGED.replace('\u{1b}', "\\u001b").replace('\u{7}', "\\u0007").replace('\u{9b}', "\\u009b");
    let text = text.replace('\n', "\\n").replace('\r', "\\r").replace('\u{202e}', "\\u202e");
    let file = seller.write(
        "hostile.toml",
        format!(
            "name = \"text.hostile\"\ndescription = \"{text}\"\nprice = 3\nunit = \"play\"\n[run.process]\n\
             command = [\"/bin/sh\", \"-c\", \"cat >&2; printf '2026-11-23T13:24:23Z  INFO guilder::events: redeemed \
             sum=999999sat' >&2; exit 3\"]\n"
        ),
    );
    seller.run(["service".as_ref(), "add".as_ref(), file.as_os_str()]).ok();
    is_harmless(&seller.run_as_person(["service", "list"], b"").ok().text());
    meet(&buyer, "text.hostile");
    let found = buyer.run_as_person(["find", "text.hostile"], b"").ok().text();
    is_harmless(&found);
    assert_eq!(found.lines().count(), 2, "{found}");

    let mut hire = buyer.command();
    hire.args(["hire", "text.hostile", "--input", "-"]);
    let failed = Ran::of(hire, format!("{FORGED}\n").as_bytes());
    assert_ne!(failed.code(), 0, "{failed}");
    is_harmless(&failed.error_text());
    for daemon in [&seller, &buyer] {
        is_harmless(&fs::read_to_string(daemon.log()).unwrap());
    }
    let id = buyer.json(["task", "list"])[0]["id"].as_str().unwrap().to_owned();
    is_harmless(&buyer.run_as_person(["task", "show", &id], b"").ok().text());
    is_harmless(&buyer.run_as_person(["audit", "show", &id], b"").ok().text());
    // For machines it is what was said, in characters that harm nobody.
    let shown = buyer.run(["find", "text.hostile"]).ok();
    is_harmless(&shown.text());
    assert_eq!(shown.json()[0]["description"], FORGED);
}

#[test]
fn an_output_is_as_it_is_in_a_file_and_harmless_on_a_terminal() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    let buyer = swarm.buyer(100, "");
    swarm::sell_echo(&seller, "text.echo", 3, "");
    meet(&buyer, "text.echo");
    let bytes = [FORGED.as_bytes(), b"\xff\x00\x9b"].concat();
    let hired = Ran::of(
        {
            let mut hire = buyer.command();
            hire.args(["hire", "text.echo", "--input", "-"]);
            hire
        },
        &bytes,
    );
    assert_eq!(hired.ok().stdout, bytes, "a pipe gets the bytes as they are");
    let id = buyer.json(["task", "list"])[0]["id"].as_str().unwrap().to_owned();

    let shown = on_a_terminal(&buyer, &format!("task output {id}"), &[], b"");
    assert!(shown.contains(r"\u{1b}]52;c;") && shown.contains(r"\xff\u{0}\x9b"), "{shown:?}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    let raw = on_a_terminal(&buyer, &format!("task output {id} --raw"), &[], b"");
    assert!(raw.contains("\u{1b}]52;c;cm0gLXJm\u{7}"), "{raw:?}");

    let dir = buyer.file("outputs");
    fs::create_dir(&dir).unwrap();
    let (file, victim) = (dir.join("out"), buyer.write("victim", b"mine"));
    symlink(&victim, dir.join("out.part")).unwrap();
    let output = |path: &Path| buyer.run_as_person(["task", "output", &id, "--output", path.to_str().unwrap()], b"");
    output(&file).ok();
    assert_eq!((fs::read(&file).unwrap(), fs::read(&victim).unwrap()), (bytes, b"mine".to_vec()));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing is left behind");
    output(Path::new("/dev/null")).ok();
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "a device stays a device");
    assert_eq!(output(Path::new("/dev/stdout")).ok().stdout, fs::read(&file).unwrap());

    // What can't take the output is refused before anything is paid.
    let (before, tasks) = (Money::of(&buyer), buyer.json(["task", "list"]));
    for bad in ["/no/such/folder/x", dir.to_str().unwrap(), "/proc/version"] {
        let refused = buyer.run_with(["hire", "text.echo", "--input", "-", "--output", bad], b"x");
        refused.failed().says("ours", &["can't write", bad]);
    }
    assert_eq!((Money::of(&buyer), buyer.json(["task", "list"])), (before, tasks));

    // Money as text comes through folds, leading blank lines and a scheme.
    let token = buyer.json(["wallet", "send", "7"])["token"].as_str().unwrap().to_owned();
    let (one, two) = token.split_at(token.len() / 2);
    seller.run_with(["wallet", "receive"], format!("\n\n  cashu:{one}\r\n  {two}\n").as_bytes()).ok();
    // A paste that is longer than a terminal's own line (4,095 characters) is read to its end.
    let answer = pasted(&buyer, "wallet receive", "Token: ", &format!("cashuB{}\n", "A".repeat(9_000)));
    assert!(answer.contains("error:") && !answer.contains("AAAA"), "{answer}");
}

#[test]
fn sellers_are_avoided_or_preferred_and_tasks_listed_page_by_page() {
    let swarm = Swarm::start(0);
    let (cheap, dear) = (swarm.trader("cheap", ""), swarm.trader("dear", ""));
    swarm::sell_echo(&cheap, "text.echo", 3, "");
    swarm::sell_echo(&dear, "text.echo", 5, "");
    let buyer = swarm.buyer(100, "");
    eventually("both sellers to be found", LONG, || {
        let found = buyer.run(["find", "text.echo"]);
        if found.json().as_array().unwrap().len() == 2 { Ok(()) } else { Err(found) }
    });
    let (cheap, dear) = (cheap.peer_id(), dear.peer_id());
    let seller =
        |more: &[&str]| swarm::hire(&buyer, "text.echo", b"hi", more).task["peer"].as_str().unwrap().to_owned();
    assert_eq!(seller(&[]), cheap);
    assert_eq!(seller(&["--prefer", &dear]), dear);
    assert_eq!(seller(&["--avoid", &cheap]), dear);
    buyer.run(["hire", "text.echo", "--avoid", &cheap, "--avoid", &dear]).failed();

    let ids = |tasks: &Value| tasks.as_array().unwrap().iter().map(|task| task["id"].clone()).collect::<Vec<_>>();
    let all = ids(&buyer.json(["task", "list"]));
    assert_eq!(all.len(), 4);
    let mut paged = ids(&buyer.json(["task", "list", "--limit", "3"]));
    assert_eq!(paged, all[..3]);
    let last = paged[2].as_str().unwrap().to_owned();
    paged.extend(ids(&buyer.json(["task", "list", "--limit", "3", "--after", &last])));
    assert_eq!(paged, all, "each once, in one order");
    let text = buyer.run_as_person(["task", "list", "--limit", "3"], b"").ok().error_text();
    let next = ["task list --", &format!(" --after {last}"), " --limit 3"];
    assert!(next.iter().all(|part| text.contains(part)), "{text}");
}

/// What a command says on a terminal to a paste that comes after its question.
fn pasted(home: &Home, args: &str, question: &str, text: &str) -> String {
    let command = format!("'{}' --home '{}' {args}", binary::guilder().display(), home.path().display());
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut next = [0; 4_096];
    while !String::from_utf8_lossy(&shown).contains(question) {
        let length = screen.read(&mut next).unwrap();
        assert!(length > 0, "no question: {}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&next[..length]);
    }
    keyboard.write_all(text.as_bytes()).unwrap();
    screen.read_to_end(&mut shown).unwrap();
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn a_stopped_daemon_and_one_whose_port_somebody_took_are_told_apart_from_a_living_one() {
    let mut daemon = Daemon::start("node", &Home::new(LOOPBACK));
    let pid = Pid::from_raw(daemon.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let silent = daemon.run(["status"]);
    kill_process(pid, Signal::CONT).unwrap();
    silent.failed().says("environment", &["doesn't answer", "kill -cont"]);
    daemon.run(["status"]).ok();

    // Killed, it leaves its api.json behind; whoever listens there then learns nothing.
    let address = daemon.access().unwrap()["address"].as_str().unwrap().to_owned();
    let token = daemon.access().unwrap()["token"].as_str().unwrap().to_owned();
    daemon.kill();
    let listener = TcpListener::bind(&address).unwrap();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut heard = vec![0; 64 * 1024];
        let length = stream.read(&mut heard).unwrap();
        heard.truncate(length);
        let body = "{\"proof\":\"00\"}";
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    let refused = daemon.run(["wallet", "receive", "cashuBsecret"]).failed();
    assert_eq!(refused.exit, 7, "{refused:?}");
    refused.says("environment", &["another program", "nothing was sent", "guilder", "up"]);
    let heard = String::from_utf8_lossy(&heard.join().unwrap()).into_owned();
    assert!(heard.starts_with("GET /v1/hello?nonce="), "{heard}");
    for secret in [token.as_str(), "cashuBsecret", "Bearer"] {
        assert!(!heard.contains(secret), "{heard}");
    }
}

#[test]
fn a_second_node_on_the_same_port_does_not_start() {
    let first = Daemon::start("first", &Home::new(LOOPBACK));
    let address = first.address();
    let port = address.split("/tcp/").nth(1).unwrap().split('/').next().unwrap();
    let settings = |address: &str| format!("network.listen = [\"{address}\"]\nnetwork.mdns = false\n");
    let second = Home::new(&settings(&format!("/ip4/127.0.0.1/tcp/{port}")));
    let refused = second.run(["up"]).failed().says("ours", &["another program listens", "network.listen"]);
    assert_eq!(refused.exit, 2);
    second.settings(&settings("/ip4/192.0.2.1/tcp/4848"));
    second.run(["up"]).failed().says("environment", &["192.0.2.1", "no such address", "network.external"]);
}

#[test]
fn a_start_without_an_interface_is_ready_with_what_there_is_and_obeys_a_signal() {
    // A network of its own: loopback alone, and no IPv6 on it.
    let home = Home::new("network.listen = [\"/ip4/127.0.0.1/tcp/0\", \"/ip6/::/tcp/0\"]\nnetwork.mdns = false\n");
    let script = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && exec \"$@\"";
    let mut up = Command::new("unshare");
    up.args(["-rn", "sh", "-c", script, "sh"]).arg(binary::guilder()).arg("--home").arg(home.path()).arg("up");
    up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(mut child) = up.spawn() else {
        println!("skipped: there is no `unshare` here");
        return;
    };
    let mut log = child.stderr.take().unwrap();
    let api = home.path().join("api.json");
    let ready = eventually("the node to be ready or refused", LONG, || match child.try_wait().unwrap() {
        Some(status) => Ok(Some(status)),
        None if api.exists() => Ok(None),
        None => Err("neither"),
    });
    if let Some(status) = ready {
        let mut said = String::new();
        log.read_to_string(&mut said).unwrap();
        println!("skipped: no network of its own to be had here ({status}): {said}");
        assert!(!said.contains("guilder::"), "it is the node that ended: {said}");
        return;
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    assert!(said.contains("network.listen") || said.contains("/ip6/"), "it is said what isn't listened on: {said}");
}

#[test]
fn a_damaged_store_ends_in_a_stated_error_and_never_in_a_panic() {
    let mut node = Daemon::start("node", &Home::new(LOOPBACK));
    let file = node.path().join("node.redb");
    node.stop();
    let whole = fs::read(&file).unwrap();
    let mut refused = 0;
    for place in 0..17 {
        let mut damaged = whole.clone();
        let at = (damaged.len() - 64) * place / 17;
        for byte in &mut damaged[at..at + 64] {
            *byte ^= 0xa5;
        }
        fs::write(&file, &damaged).unwrap();
        let mut up = node.command();
        up.args(["--json", "up"]).stdin(Stdio::null()).stdout(Stdio::null());
        let log = node.file("damaged.log");
        up.stderr(fs::File::create(&log).unwrap());
        let mut child = up.spawn().unwrap();
        let api = node.path().join("api.json");
        let ended = eventually("the node to be ready or refused", LONG, || match child.try_wait().unwrap() {
            Some(status) => Ok(Some(status)),
            None if api.exists() => Ok(None),
            None => Err("neither"),
        });
        // A page that nobody reads, or a copy of one: it runs, and its commands come to an end.
        let status = ended.unwrap_or_else(|| {
            for args in [&["status"][..], &["task", "list"], &["wallet", "balance"], &["service", "list"]] {
                let ran = node.run(args);
                assert_ne!(ran.code(), 101, "byte {at}: {ran}");
            }
            // It may have ended by itself by now, at the first page that it could not read.
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            child.wait().unwrap()
        });
        let said = fs::read_to_string(&log).unwrap();
        assert!(!said.contains("panicked"), "byte {at}: {said}");
        if !status.success() {
            refused += 1;
            assert_eq!(status.code(), Some(6), "byte {at}: {status}\n{said}");
            let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert!(last["error"]["message"].as_str().unwrap().contains("store"), "byte {at}: {said}");
            assert!(!last["error"]["hint"].as_str().unwrap().is_empty(), "byte {at}: {said}");
        }
        let _ = fs::remove_file(&api);
    }
    assert!(refused > 0, "no damage was noticed, so nothing was tried");
    fs::write(&file, &whole).unwrap();
    node.restart();
}

#[test]
fn a_home_with_a_space_is_named_in_hints_as_a_shell_takes_it() {
    let home = Home::empty();
    let spaced = home.file("my node");
    let mut command = Command::new(binary::guilder());
    command.env_clear().env("HOME", home.file("user")).arg("--home").arg(&spaced);
    command.args(["init"]);
    let made = Ran::of(command, b"").ok().text();
    let quoted = format!("guilder --home '{}' up", spaced.display());
    assert!(made.contains(&quoted), "{made}");
    let mut command = Command::new(binary::guilder());
    command.env_clear().env("HOME", home.file("user")).arg("--home").arg(&spaced).arg("status");
    let error = Ran::of(command, b"").error_text();
    assert!(error.contains(&quoted), "{error}");
}

#[test]
fn a_folder_that_others_may_look_into_becomes_a_home_only_if_it_is_empty() {
    let home = Home::empty();
    let open = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(&home.path());
    fs::write(home.path().join("notes.txt"), b"mine").unwrap();
    home.run(["init"]).failed().says("ours", &["0755", "open to others", "chmod 700"]);
    fs::remove_file(home.path().join("notes.txt")).unwrap();
    home.run(["init"]).ok();
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_phrase_is_read_as_people_keep_it() {
    let first = Home::empty();
    let made = first.json(["init"]);
    let phrase = made["phrase"].as_str().unwrap().to_owned();
    let lines = phrase.replace(' ', "\r\n");
    let numbered: String = phrase.split(' ').enumerate().map(|(at, word)| format!("{}. {word}\n", at + 1)).collect();
    for text in [format!("\u{feff}{phrase}\n"), lines, numbered, format!("\n\n  {phrase}")] {
        let restored = Home::empty().run_with(["init", "--restore"], text.as_bytes()).ok().json();
        assert_eq!(restored["peer_id"], made["peer_id"], "{text:?}");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = Home::empty();
    let coloured = |env: &[(&str, &str)]| on_a_terminal(&home, "status", env, b"").contains("\u{1b}[");
    assert!(coloured(&[]));
    assert!(!coloured(&[("TERM", "dumb")]));
    assert!(!coloured(&[("NO_COLOR", "1")]));
}

#[test]
fn on_a_terminal_a_node_is_watched_on_one_screen_until_q() {
    let node = Daemon::start("node", &Home::new(LOOPBACK));
    let shown = pasted(&node, "watch", "MONEY", "q");
    for words in ["\u{1b}[?1049h", &node.peer_id(), "MONEY", "EVENTS", "q ends", "\u{1b}[?1049l"] {
        assert!(shown.contains(words), "no {words:?} in {shown:?}");
    }
    assert!(shown.trim_end().ends_with("\u{1b}[?1049l"), "the terminal is as it was: {shown:?}");
}
