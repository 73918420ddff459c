//! How a new node comes into a swarm: by an invitation, an address, a file of them.

#![allow(clippy::unwrap_used)]

use guilder_protocol::invitation::Invitation;
use guilder_tests::{Daemon, Home, LONG, Swarm, eventually, swarm};
use serde_json::Value;

/// The invitation of a node, once it has reached the mint that it accepts.
#[track_caller]
fn invitation_of(node: &Daemon) -> Value {
    eventually("an invitation with the mint's keys", LONG, || {
        let invitation = node.json(["invite", "--local"]);
        if invitation["mints"][0]["pin"].is_string() { Ok(invitation) } else { Err(invitation) }
    })
}

#[track_caller]
fn connected(node: &Daemon) {
    eventually("a peer", LONG, || {
        let status = node.status();
        if status["peers"].as_u64().unwrap() > 0 { Ok(()) } else { Err(status) }
    });
}

#[test]
fn one_line_makes_a_node_that_trades() {
    let swarm = Swarm::start(0);
    let seller = swarm.trader("seller", "");
    swarm::sell_echo(&seller, "text.echo", 3, "");
    connected(&seller);
    seller.run(["invite"]).failed().says("environment", &["over the internet", "--local"]);
    let view = invitation_of(&seller);
    let peers = view["peers"].as_array().unwrap();
    assert_eq!(peers[0]["peer_id"], seller.peer_id().as_str(), "itself first");
    assert_eq!(peers[1]["peer_id"], swarm.mint.peer_id().as_str(), "then whom it began with");
    assert_eq!((&view["mints"][0]["url"], &view["unit"]), (&swarm.mint_url.as_str().into(), &"play".into()));
    let text = view["invitation"].as_str().unwrap();
    let person = seller.run_as_person(["invite", "--local"], b"").ok();
    assert_eq!(person.text(), format!("{text}\n"), "the line alone, where it isn't read at a terminal");
    let drawn = seller.run_as_person(["invite", "--local", "--qr"], b"").ok().text();
    assert!(drawn.contains('█') && drawn.ends_with(&format!("{text}\n")), "{drawn}");

    // As a mail program folds it, in capitals.
    let letters: Vec<char> = text.to_ascii_uppercase().chars().collect();
    let folded = letters.chunks(64).map(|line| line.iter().collect::<String>()).collect::<Vec<_>>().join("\r\n ");
    let home = Home::empty();
    let mut buyer = Daemon::up("buyer", &home, &["--join", &folded, "--local", "--yes"]);
    let mint = &eventually("the mint to be reached", LONG, || {
        let mints = buyer.json(["wallet", "mints"]);
        if mints[0]["pin"].is_string() { Ok(mints) } else { Err(mints) }
    })[0];
    assert_eq!((&mint["url"], &mint["pin"]), (&view["mints"][0]["url"], &view["mints"][0]["pin"]));
    swarm::fund(&buyer, 10);
    swarm::meet(&buyer, "text.echo");
    assert_eq!(swarm::hire(&buyer, "text.echo", b"hi", &[]).output, "hi");
    let phrase = std::fs::metadata(buyer.path().join("secret.json")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&phrase.permissions()) & 0o777, 0o600);

    // A home that is there stays what it is, whoever invites it again.
    let (id, settings) = (buyer.peer_id(), std::fs::read(buyer.path().join("config.toml")).unwrap());
    buyer.stop();
    drop(buyer);
    let buyer = Daemon::up("buyer", &home, &["--join", text, "--local", "--yes"]);
    assert_eq!((buyer.peer_id(), std::fs::read(buyer.path().join("config.toml")).unwrap()), (id, settings));
    connected(&buyer);
    assert_eq!(swarm::Money::of(&buyer).available + swarm::Money::of(&buyer).purse, 7);
}

#[test]
fn what_is_no_invitation_of_ours_changes_nothing() {
    let swarm = Swarm::start(0);
    let inviter = swarm.trader("inviter", "");
    connected(&inviter);
    let text = invitation_of(&inviter)["invitation"].as_str().unwrap().to_owned();
    let home = Home::empty();
    let refused = |args: &[&str], words: &[&str]| {
        for command in ["init", "up"] {
            let ran = home.run([command, "--join"].iter().chain(args)).failed().says("ours", words);
            assert_eq!(ran.exit, 2, "{ran:?}");
            assert!(!home.path().exists(), "{args:?} made something");
        }
    };
    // Whoever sends private addresses may be anybody: the operator has to expect it.
    refused(&[&text, "--yes"], &["local network", "--local"]);
    refused(&[&text, "--local"], &["has to be accepted", "--yes"]);
    refused(&[&text[..text.len() - 3], "--local", "--yes"], &["damaged", "whole line"]);
    refused(&[&text.replace("guilderinvite1", "guilderinvite7"), "--local", "--yes"], &["later version"]);
    refused(&[&format!("{text}{}", "a".repeat(5_000)), "--local", "--yes"], &["longer than"]);
    refused(&[&format!("{text}\u{1b}[2J"), "--local", "--yes"], &["damaged"]);
    refused(&["/ip4/127.0.0.1/tcp/1"], &["names no peer", "guilder status"]);
    refused(&["no-such-file"], &["/ip4/192.0.2.7/tcp/4848", "a file"]);
    home.run(["up", "--yes"]);
    assert!(!home.path().exists(), "up alone makes no node");

    // Another mint under the URL: what was pinned isn't taken for it, and no money goes there.
    let mut forged: Invitation = text.parse().unwrap();
    forged.mints[0].pin = Some([7; 16].into());
    let victim = Daemon::up("victim", &home, &["--join", &forged.to_string(), "--local", "--yes"]);
    let told = victim.run(["wallet", "fund", "10"]).failed().says("mint", &["other keys", "wallet.pins"]);
    assert_eq!(told.exit, 5, "{told:?}");
    assert_eq!(victim.json(["wallet", "mints"])[0]["pin"], Value::Null);
}

#[test]
fn a_file_of_peers_and_an_address_join_too() {
    let swarm = Swarm::start(0);
    let home = Home::empty();
    let file = home.write("peers.txt", format!("# the mint host\n\n{}\n", swarm.mint.address()));
    let by_file = Daemon::up("by file", &home, &["--join", file.to_str().unwrap()]);
    connected(&by_file);
    let other = Home::empty();
    let by_address = Daemon::up("by address", &other, &["--join", &swarm.mint.address()]);
    connected(&by_address);
    assert_eq!(by_address.json(["wallet", "mints"]), Value::Array(Vec::new()), "an address brings no mint");
}
