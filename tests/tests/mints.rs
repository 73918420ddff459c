//! Mints reached over HTTP: the one that a node hosts, for any Cashu wallet; and one that nobody here wrote.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use guilder_tests::{
    Daemon, LONG, Swarm, eventually, http,
    nutshell::Nutshell,
    swarm::{self, Books, Money},
};
use serde_json::Value;

/// Settings that trade with the ecash of the mint at `url` alone.
fn at_mint(swarm: &Swarm, url: &str, unit: &str) -> String {
    let settings = swarm.settings("wallet.redemption.interval_secs = 1\n");
    let settings = settings.replace(&swarm.mint_url, url);
    settings.replace("wallet.unit = \"play\"", &format!("wallet.unit = \"{unit}\""))
}

fn trader(swarm: &Swarm, name: &str, url: &str, unit: &str) -> Daemon {
    Daemon::start(name, &guilder_tests::Home::new(&at_mint(swarm, url, unit)))
}

/// A whole trade at this mint, and money from hand to hand. The mint keeps a fee.
fn a_whole_trade(swarm: &Swarm, url: &str, unit: &str) {
    let (seller, buyer) = (trader(swarm, "seller", url, unit), trader(swarm, "buyer", url, unit));
    swarm::fund(&buyer, 200);
    swarm::sell_script(&seller, "text.rev", 21, "rev", "");
    eventually("the seller to be found", LONG, || {
        let found = buyer.run(["find", "text.rev"]);
        if found.text().contains("text.rev") { Ok(()) } else { Err(found.to_string()) }
    });
    // The first makes its lock when it is due, the third finds it in the purse.
    for _ in 0..3 {
        let done = swarm::hire(&buyer, "text.rev", b"pots\n", &["--max-price", "21", "--mint", url]);
        assert_eq!(done.output, "stop\n");
        assert_eq!((&done.task["mint"], &done.task["unit"]), (&Value::from(url), &Value::from(unit)));
        eventually("the seller to be paid", LONG, || {
            let sold = seller.json(["task", "show", done.id()]);
            if sold["redeemed"] == 21 { Ok(()) } else { Err(sold) }
        });
    }
    let books = Books::settled(&[&buyer, &seller], LONG);
    books.add_up();
    assert_eq!(books.money("seller").available, 63, "{books}");
    assert!(books.sum().fees > 0, "{books}");

    let token = seller.json(["wallet", "send", "10"])["token"].as_str().unwrap().to_owned();
    let received = buyer.json(["wallet", "receive", &token]);
    assert_eq!(received["amount"].as_u64().unwrap() + received["fee"].as_u64().unwrap(), 10, "{received}");
    let books = Books::settled(&[&buyer, &seller], LONG);
    books.add_up();
    assert_eq!((books.sum().sent, books.sum().received), (10, 10), "{books}");
}

/// The nodes' own mint, as any wallet sees it.
#[test]
fn a_hosted_mint_serves_any_wallet_over_http() {
    let swarm = Swarm::start_with(100, "mint.http = \"127.0.0.1:0\"\nmint.name = \"Amsterdam Exchange\"\n");
    let status = swarm.mint.status();
    let hosted: Vec<_> = status["hosted_mint"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let url = hosted.iter().find(|url| url.starts_with("http://127.0.0.1:")).unwrap_or_else(|| panic!("{status}"));
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let get = |path: &str| {
        let answer = http::request(address, "GET", path, &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{path}");
        answer.json()
    };

    // NUT-06: who it is and what it can do. The last six are what locked money needs.
    let info = get("/v1/info");
    assert_eq!(info["name"], "Amsterdam Exchange");
    assert!(!info["pubkey"].as_str().unwrap().is_empty());
    for nut in ["4", "5", "7", "9", "10", "11", "12", "14"] {
        assert!(!info["nuts"][nut].is_null(), "no NUT-{nut} in {info}");
    }
    assert_eq!(info["nuts"]["4"]["methods"][0]["unit"], "play");
    // NUT-02 and 01.
    let keysets = get("/v1/keysets");
    let keyset = &keysets["keysets"][0];
    assert_eq!(
        (&keyset["unit"], &keyset["active"], &keyset["input_fee_ppk"]),
        (&"play".into(), &true.into(), &100.into())
    );
    let keys = get(&format!("/v1/keys/{}", keyset["id"].as_str().unwrap()));
    assert!(keys["keysets"][0]["keys"]["64"].is_string(), "{keys}");
    // What isn't there, or isn't JSON, is no reason to fall over.
    assert_eq!(http::request(address, "GET", "/v1/nothing", &[], b"").unwrap().status, 404);
    let json = [("Content-Type", "application/json")];
    let junk = http::request(address, "POST", "/v1/swap", &json, b"{\"inputs\":").unwrap();
    assert!((400..500).contains(&junk.status), "{junk:?}");

    a_whole_trade(&swarm, url, "play");
    let status = swarm.mint.status();
    assert_eq!(status["mint_books"][0]["unit"], "play");
    assert!(swarm.in_circulation() > 0 && swarm.in_circulation() < 200, "fees were kept: {status}");
}

/// Skipped, with a word on how to have it, where Nutshell isn't installed.
#[test]
fn a_trade_is_paid_at_a_mint_that_nobody_here_wrote() {
    let swarm = Swarm::start(0);
    let Some(mut nutshell) = Nutshell::start() else { return };
    a_whole_trade(&swarm, &nutshell.url(), "sat");

    let orphan = trader(&swarm, "orphan", &nutshell.url(), "sat");
    swarm::fund(&orphan, 10);
    // It tells of every coin again, with its proof; all are here already.
    let restored = orphan.json(["wallet", "restore"]);
    assert_eq!((&restored["amount"], Money::of(&orphan).funded), (&Value::from(0), 10), "{restored}");
    nutshell.kill();
    let failed = orphan.run(["wallet", "fund", "10"]).failed().says("mint", &["http://127.0.0.1:"]);
    assert_eq!(failed.exit, 5, "{failed:?}");
    assert_eq!(Money::of(&orphan).available, 10);
}
