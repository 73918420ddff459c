//! Backups of homes, put back elsewhere.

#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _};

use guilder_tests::{
    Daemon, Home, LONG, Swarm, eventually,
    swarm::{self, Money},
};

#[track_caller]
fn put_back(file: &std::path::Path, more: &[&str]) -> Home {
    let home = Home::empty();
    home.run(["restore", file.to_str().unwrap()].iter().chain(more)).ok();
    home
}

#[test]
fn a_stopped_home_is_backed_up_and_whatever_is_no_whole_backup_is_refused() {
    let swarm = Swarm::start(0);
    let mut node = swarm.buyer(50, "");
    let id = node.peer_id();
    node.stop();
    let file = node.file("stopped.tar");
    let made = node.json(["backup", file.to_str().unwrap()]);
    assert_eq!((&made["live"], &made["sealed"], &made["hosted_mint"]), (&false.into(), &false.into(), &false.into()));
    // The original goes on, and so does the copy: each with the same money, which can be spent once.
    let copy = put_back(&file, &[]);
    copy.run(["restore", file.to_str().unwrap()]).failed().says("ours", &["isn't empty"]);
    assert_eq!(fs::metadata(copy.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let copy = Daemon::start("copy", &copy);
    assert_eq!((copy.peer_id(), Money::of(&copy).available), (id, 50));

    let whole = fs::read(&file).unwrap();
    let bad = node.file("bad.tar");
    let refused = |bytes: &[u8], words: &[&str]| {
        fs::write(&bad, bytes).unwrap();
        let home = Home::empty();
        home.run(["restore", bad.to_str().unwrap()]).failed().says("ours", words);
        assert!(!home.path().exists(), "something was made");
        let beside = fs::read_dir(home.path().parent().unwrap()).unwrap().flatten();
        assert!(
            beside.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("restoring")),
            "something is left"
        );
    };
    refused(&whole[..whole.len() / 2], &["no whole backup"]);
    refused(b"not an archive at all", &["no whole backup"]);
    let mut changed = whole.clone();
    let at = changed.windows(6).position(|bytes| bytes == b"[walle").unwrap_or(changed.len() / 2);
    changed[at + 1] ^= 1;
    refused(&changed, &["no whole backup"]);
}

#[test]
fn a_hosted_mint_that_is_put_back_signs_nothing_for_spent_coins_until_its_operator_accepts_the_loss() {
    let mut swarm = Swarm::start(0);
    let spender = swarm.buyer(40, "");
    // Knows the mint's keys before it is gone.
    let third = swarm.trader("third", "");
    swarm::fund(&third, 1);
    let file = spender.file("mint.tar");
    assert_eq!(swarm.mint.json(["backup", file.to_str().unwrap()])["hosted_mint"], true);
    // Spent after the backup: books of before it would take these coins again.
    let token = spender.json(["wallet", "send", "40"])["token"].as_str().unwrap().to_owned();
    let other = swarm.trader("other", "");
    other.run(["wallet", "receive", &token]).ok();
    swarm.mint.kill();
    let settings = fs::read_to_string(swarm.mint.path().join("config.toml")).unwrap();
    let restored = put_back(&file, &[]);
    restored.settings(&settings);
    let mut mint = Daemon::start("mint", &restored);
    let refused = eventually("the mint to be reached again", LONG, || {
        let ran = third.run(["wallet", "receive", &token]);
        if ran.succeeded() {
            panic!("spent twice: {ran}");
        }
        if ran.error_text().contains("accept the loss") { Ok(ran) } else { Err(ran) }
    });
    assert!(refused.code() != 0);
    mint.run(["mint", "resume", "--accept-loss"]).ok();
    mint.stop();
    mint.restart();
    eventually("money to move again", LONG, || {
        let ran = other.run(["wallet", "fund", "5"]);
        if ran.succeeded() { Ok(()) } else { Err(ran) }
    });

    // Whoever knows that nothing was done since needn't be asked.
    mint.stop();
    let moved = mint.file("moved.tar");
    mint.json(["backup", moved.to_str().unwrap()]);
    let home = put_back(&moved, &["--nothing-since"]);
    let mint = Daemon::start("mint", &home);
    eventually("money to move at once", LONG, || {
        let ran = other.run(["wallet", "fund", "5"]);
        if ran.succeeded() { Ok(()) } else { Err(ran) }
    });
    assert!(!fs::read_to_string(mint.log()).unwrap().contains("swaps and melts are off"));
}
