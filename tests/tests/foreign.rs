//! Software that nobody here wrote, or that was written from docs/protocol.md alone, and a node.
//!
//! Each test is skipped, with a word on it, where `tests/foreign/install` couldn't get what it needs.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use guilder_protocol::{
    envelope::{Signed, Statement},
    identity::AgentKey,
    time::Timestamp,
    ucan::{Args, Command, Delegation, Invocation, Policy, Statement as Policed, grant::SubGrant},
};
use guilder_tests::{
    Daemon, Home, LONG, Slot, Swarm, eventually,
    foreign::{Script, Scripts},
    http,
    nutshell::Nutshell,
    swarm::{self, Books, LOOPBACK, Money, SHORT_LOCKS, UNIT},
};
use ipld_core::ipld::Ipld;
use serde_json::{Map, Value, json};

/// What each foreign wallet does at a hosted mint, in this order, and says that it has done.
const STEPS: [&str; 7] = ["mint", "send and receive", "P2PK", "HTLC", "melt", "restore", "tokens of Guilder"];

/// The URL at which a host serves its mint over HTTP.
#[track_caller]
fn http_mint(host: &Daemon) -> String {
    let status = host.status();
    let mut urls = status["hosted_mint"].as_array().unwrap().iter().filter_map(Value::as_str);
    urls.find(|url| url.starts_with("http://")).unwrap_or_else(|| panic!("{status}")).to_owned()
}

/// A mint host whose mint is served over HTTP, in a unit that every wallet knows, and a wallet of ours at it.
struct HostedMint {
    host: Daemon,
    url: String,
    ours: Daemon,
    _slot: Slot,
}

impl HostedMint {
    #[track_caller]
    fn start() -> Self {
        let slot = Slot::take();
        let mint =
            "mint.host = true\nmint.units = [{ unit = \"sat\", input_fee_ppk = 100 }]\nmint.http = \"127.0.0.1:0\"\n";
        let host = Daemon::start("mint", &Home::new(&format!("{LOOPBACK}{mint}")));
        let url = http_mint(&host);
        let ours = Daemon::start("ours", &Home::new(&format!("{LOOPBACK}wallet.mints = [\"{url}\"]\n")));
        swarm::fund(&ours, 100);
        Self { host, url, ours, _slot: slot }
    }

    /// A token of 25 from our wallet.
    #[track_caller]
    fn token(&self) -> String {
        self.ours.json(["wallet", "send", "25"])["token"].as_str().unwrap().to_owned()
    }

    /// The ID of the token that was sent.
    #[track_caller]
    fn sent_id(&self) -> String {
        self.ours.json(["wallet", "sent", "list"])[0]["id"].as_str().unwrap().to_owned()
    }

    /// The foreign wallet has done all its steps, the last of which was to take our token and to make one for us.
    #[track_caller]
    fn holds_after(&self, said: &[Value]) {
        let steps: Vec<_> = said.iter().filter_map(|line| line["done"].as_str()).collect();
        assert_eq!(steps, STEPS);
        let again = self.ours.run_as_person(["wallet", "sent", "show", &self.sent_id()], b"").ok();
        assert!(!again.error_text().contains("only a Guilder node"), "{again}");
        let last = said.last().unwrap();
        assert_eq!(last["received"], 24, "25 less the mint's fee: {last}");
        let received = self.ours.json(["wallet", "receive", last["token"].as_str().unwrap()]);
        assert_eq!(received["amount"].as_u64().unwrap() + received["fee"].as_u64().unwrap(), 40, "{received}");
        let books = Books::settled(&[&self.ours], LONG);
        assert_eq!((books.sum().sent, books.sum().received, books.sum().lost), (25, 40, 0), "{books}");
        assert_eq!(self.ours.json(["wallet", "sent", "list"])[0]["state"], "spent");
        assert!(self.host.status()["mint_books"][0]["issued"].as_u64() > Some(500));
    }
}

#[test]
fn a_wallet_on_cashu_ts_uses_a_hosted_mint() {
    let Some(scripts) = Scripts::of_javascript() else { return };
    let mint = HostedMint::start();
    let task = json!({ "url": mint.url, "unit": "sat", "token": mint.token() });
    let said = scripts.start("cashu-ts.js", &[&task.to_string()]).finish();
    mint.holds_after(&said);
}

#[test]
fn the_wallet_of_nutshell_uses_a_hosted_mint() {
    let Some(scripts) = Scripts::of_nutshell() else { return };
    let mint = HostedMint::start();
    let task = json!({ "url": mint.url, "unit": "sat", "token": mint.token() });
    let said = scripts.start("nutshell.py", &[&task.to_string()]).finish();
    mint.holds_after(&said);
}

/// After so long a lock can be refunded: deadline, margin, rounding, and the skew that is granted.
const FALL_BACK: Duration = Duration::from_secs(10 + 5 + 2 + 61);

/// Mint, send, receive, pay, restore, a lock redeemed and one refunded.
#[test]
fn our_wallet_uses_a_mint_of_nutshell() {
    let Some(nutshell) = Nutshell::start() else { return };
    let swarm = Swarm::start_with(0, "mint.http = \"127.0.0.1:0\"\n");
    let settings = swarm
        .settings(&format!("{SHORT_LOCKS}wallet.purse.warm_after_hires = 1000\nwallet.redemption.interval_secs = 1\n"));
    let settings = settings.replace(&swarm.mint_url, &nutshell.url()).replace(&format!("\"{UNIT}\""), "\"sat\"");
    let seller = Daemon::start("seller", &Home::new(&settings));
    let lost = Home::empty();
    let phrase = lost.json(["init"])["phrase"].as_str().unwrap().to_owned();
    lost.settings(&settings);
    let mut buyer = Daemon::start("buyer", &lost);

    swarm::fund(&buyer, 300);
    let token = buyer.json(["wallet", "send", "30"])["token"].as_str().unwrap().to_owned();
    let received = seller.json(["wallet", "receive", &token]);
    assert_eq!(received["amount"].as_u64().unwrap() + received["fee"].as_u64().unwrap(), 30, "{received}");

    pays_an_invoice_of(&swarm.mint, &buyer);

    // A lock that its seller redeems, and one that falls back.
    swarm::sell_echo(&seller, "text.echo", 20, "");
    swarm::sell_script(&seller, "text.fail", 15, "exit 3", "");
    for service in ["text.echo", "text.fail"] {
        eventually("the seller to be found", LONG, || {
            let found = buyer.run(["find", service]);
            if found.text().contains(service) { Ok(()) } else { Err(found.to_string()) }
        });
    }
    let done = swarm::hire(&buyer, "text.echo", b"pots", &["--deadline", "20s"]);
    assert_eq!(done.output, "pots");
    let began = Instant::now();
    buyer.run(["hire", "text.fail", "--deadline", "10s"]).failed().says("peer", &["exit code 3", "falls back"]);
    assert!(Money::of(&buyer).waiting >= 15);
    eventually("the lock to fall back", FALL_BACK + LONG, || {
        if began.elapsed() > FALL_BACK { Ok(()) } else { Err("it isn't due yet") }
    });
    // It is looked for at each start, and else every minute.
    buyer.stop();
    buyer.restart();
    let books = Books::settled(&[&buyer, &seller], 2 * LONG);
    let bought = books.money("buyer");
    assert_eq!((bought.forfeited, books.sum().lost), (0, 0), "{books}");
    let accounted = bought.available + bought.sent + bought.paid + bought.fees;
    assert_eq!(accounted + 50, 300, "all but the invoice's 50 is here, or with the seller or the mint: {books}");

    // The words alone bring it back.
    let had = bought.available;
    buyer.kill();
    drop((buyer, lost));
    let home = Home::empty();
    home.run_with(["init", "--restore"], phrase.as_bytes()).ok();
    home.settings(&settings);
    let found = Daemon::start("found", &home);
    let restored = found.json(["wallet", "restore"]);
    assert_eq!((&restored["amount"], Money::of(&found).available), (&had.into(), had), "{restored}");
    // It can be spent.
    let token = found.json(["wallet", "send", "9"])["token"].as_str().unwrap().to_owned();
    seller.run(["wallet", "receive", &token]).ok();
}

/// Nutshell's fake money pays every invoice but those of its own, which are paid already.
#[track_caller]
fn pays_an_invoice_of(host: &Daemon, payer: &Daemon) {
    let address: SocketAddr = http_mint(host).strip_prefix("http://").unwrap().parse().unwrap();
    let wanted = json!({ "amount": 50, "unit": UNIT }).to_string();
    let json = [("Content-Type", "application/json")];
    let quote = http::request(address, "POST", "/v1/mint/quote/bolt11", &json, wanted.as_bytes()).unwrap().json();
    let before = Money::of(payer).available;
    let paid = payer.json(["wallet", "pay", quote["request"].as_str().unwrap()]);
    assert_eq!((&paid["amount"], &paid["unit"]), (&json!(50), &json!("sat")), "{paid}");
    let after = Books::settled(&[payer], LONG).money(payer.name()).available;
    assert_eq!(before - after, 50 + paid["fee"].as_u64().unwrap(), "{paid}");
}

/// It was written from docs/protocol.md: what that says suffices to trade.
#[test]
fn a_peer_on_js_libp2p_finds_hears_buys_and_sells() {
    let Some(scripts) = Scripts::of_javascript() else { return };
    let swarm = Swarm::start(100);
    let settings = "wallet.redemption.interval_secs = 1\n";
    let (seller, buyer) = (swarm.trader("seller", settings), swarm.buyer(200, settings));
    swarm::sell_echo(&seller, "text.echo", 10, "");
    let market = Market { scripts, swarm, seller, buyer };
    market.the_peer_buys();
    market.the_peer_buys_under_a_delegation_of_iso_ucan();
    market.the_peer_hears();
    market.the_peer_sells();
    // cashu-ts and Nutshell refuse the URL of the swarm's mint.
    let sent = market.buyer.run_as_person(["wallet", "send", "5"], b"").ok();
    assert!(sent.error_text().contains("only a Guilder node can take it"), "{sent}");
}

/// Nodes of ours that trade, and where the peer comes from.
struct Market {
    scripts: Scripts,
    swarm: Swarm,
    seller: Daemon,
    buyer: Daemon,
}

impl Market {
    /// Starts the peer on a task.
    #[track_caller]
    fn peer(&self, task: &str, options: Value) -> Script {
        let known = json!({ "bootstrap": [self.swarm.mint.address()], "mint": self.swarm.mint_url, "unit": UNIT });
        let all: Map<_, _> = [known, options].into_iter().flat_map(|map| map.as_object().unwrap().clone()).collect();
        self.scripts.start("peer/main.js", &[task, &Value::from(all).to_string()])
    }

    /// It knows the mint host alone and walks the DHT to the seller; the input goes inline, then as content both ways.
    fn the_peer_buys(&self) {
        let wanted = json!({ "service": "text.echo", "funds": 100, "inputs": ["pots", 100_000] });
        let said = self.peer("find-and-buy", wanted).finish();
        let of = |key: &str| said.iter().filter_map(|line| line.get(key)).cloned().collect::<Vec<_>>();
        assert_eq!(of("found")[0]["peer"], self.seller.peer_id(), "{said:?}");
        let bought = of("bought");
        let outputs: Vec<_> = bought.iter().map(|task| (&task["size"], &task["same"])).collect();
        assert_eq!(outputs, [(&json!(4), &json!(true)), (&json!(100_000), &json!(true))], "{said:?}");
        assert!(bought.iter().all(|task| task["accepted"] == true), "{said:?}");
        bought.iter().for_each(|task| self.seller_is_paid_for(task));
    }

    /// The price, and more where several trades share the mint's fee.
    #[track_caller]
    fn seller_is_paid_for(&self, task: &Value) {
        eventually("the seller to be paid", LONG, || {
            let sold = self.seller.json(["task", "list", "--limit", "50"]);
            let paid = |sold: &Value| sold["award"] == task["award"] && sold["redeemed"].as_u64() >= Some(10);
            if sold.as_array().unwrap().iter().any(paid) { Ok(()) } else { Err(sold) }
        });
    }

    /// Under it 15 may be spent, and each task costs 10.
    fn the_peer_buys_under_a_delegation_of_iso_ucan(&self) {
        let wanted = json!({ "service": "text.echo", "funds": 100, "limit": 15, "inputs": ["pots", "pans"] });
        let mut peer = self.peer("find-and-buy", wanted);
        let bought = peer.says("bought");
        assert_eq!(bought["same"], true);
        self.seller_is_paid_for(&bought);
        assert_eq!(peer.says("failed"), "refused for reason 16");
    }

    /// It is in the service's topic before there is a seller.
    fn the_peer_hears(&self) {
        let mut peer = self.peer("hear", json!({ "near": "text.echo", "service": "text.late" }));
        peer.says("listening");
        swarm::sell_echo(&self.seller, "text.late", 7, "");
        let heard = peer.says("heard");
        assert_eq!((&heard["did"], &heard["price"]), (&self.seller.json(["id"])["did"], &json!(7)));
        peer.finish();
    }

    /// It is found and paid, and what it signed is evidence that holds.
    fn the_peer_sells(&self) {
        let mut peer = self.peer("sell", json!({ "service": "text.upper", "price": 6 }));
        let joined = peer.says("joined");
        peer.says("selling");
        eventually("the peer to be found", LONG, || {
            let found = self.buyer.run(["find", "text.upper"]);
            if found.text().contains(joined["peer"].as_str().unwrap()) { Ok(()) } else { Err(found) }
        });
        let done = swarm::hire(&self.buyer, "text.upper", b"pots", &[]);
        assert_eq!(done.output, "POTS");
        assert_eq!(peer.says("sold")["redeemed"], 6);
        peer.says("received");
        let report = self.buyer.json(["audit", "show", done.id()]);
        assert_eq!(report["hires"][0]["answer"], "delivered", "{report}");
        let large = swarm::hire(&self.buyer, "text.upper", "a".repeat(150_000).as_bytes(), &[]);
        peer.says("received");
        assert!(large.output == "A".repeat(150_000), "{} bytes came back", large.output.len());
        assert_eq!(peer.says("sold")["redeemed"], 6);
        assert_eq!(peer.leave().last(), Some(&json!({ "balance": 12 })));
    }
}

/// What `guilder ucan verify` is to say of each of iso-ucan's chains.
const VERDICTS: [(&str, Option<&str>); 8] = [
    ("a chain of two", None),
    ("a powerline", None),
    ("a subject itself", None),
    ("a subcommand", None),
    ("expired", Some("Expired")),
    ("a proof left out", Some("UnavailableProof")),
    ("a bit changed", Some("InvalidSignature")),
    ("another command", Some("InvalidClaim")),
];

#[test]
fn tokens_of_iso_ucan_are_read() {
    let Some(scripts) = Scripts::of_javascript() else { return };
    let home = Home::empty();
    let said = scripts.start("iso-ucan.js", &["write"]).finish();
    let judged = said.iter().map(|line| {
        let case = home.write("case.json", line["case"].to_string());
        let verdict = home.run(["ucan".as_ref(), "verify".as_ref(), case.as_os_str()]).json();
        assert_eq!(verdict["valid"], verdict["error"].is_null());
        (line["name"].clone(), verdict["error"].clone())
    });
    let judged: Vec<_> = judged.collect();
    assert_eq!(judged, VERDICTS.map(|(name, error)| (json!(name), json!(error))));
}

#[test]
fn iso_ucan_reads_our_tokens() {
    let Some(scripts) = Scripts::of_javascript() else { return };
    let [buyer, seller, worker] = [[1; 32], [2; 32], [3; 32]].map(|seed| AgentKey::from_seed(&seed));
    let ask = Signed::sign(invocation(&buyer, &seller, 1), &buyer).unwrap();
    let grant = SubGrant {
        buyer: buyer.id(),
        seller: seller.id(),
        principal: buyer.id(),
        task: ask.cid(),
        services: vec!["text.rev".to_owned()],
        unit: "sat".to_owned(),
        mint: "https://mint.example".to_owned(),
        max_price: 10,
        max_spent: 20,
        deadline: FAR,
        max_depth: 1,
        expires: FAR,
        nonce: vec![7; 16],
    };
    let grant = grant.delegation().unwrap();
    // Its invocations can't have links in their arguments, as an award has; so beside the whole grant a part of its policy.
    let amounts = grant.pol.statements().iter().filter(|statement| {
        matches!(statement, Policed::Compare(_, field, _) if [".price", ".spent"].contains(&field.to_string().as_str()))
    });
    let part = Policy::new(amounts.cloned().collect()).unwrap();
    assert_eq!(part.statements().len(), 2);
    let part = Signed::sign(Delegation { pol: part, ..grant.clone() }, &buyer).unwrap();
    let grant = Signed::sign(grant, &buyer).unwrap();
    let award = |price: i128| {
        let award = invocation(&seller, &worker, price);
        Signed::sign(Invocation { sub: buyer.id(), prf: vec![part.cid()], ..award }, &seller).unwrap()
    };

    let invocations = [award(10), award(11)].map(|award| hex(&award));
    let task = json!({ "delegations": [hex(&grant), hex(&part)], "invocations": invocations });
    let said = scripts.start("iso-ucan.js", &["read", &task.to_string()]).finish();
    for (said, delegation) in said.iter().zip([&grant, &part]) {
        assert_eq!(*said, json!({ "delegation": delegation.cid().to_string(), "cmd": "/task/award" }));
    }
    assert_eq!(said[2], json!({ "invocation": award(10).cid().to_string(), "links": 1, "holds": true }));
    assert_eq!(said[3]["holds"], false, "11 is over the 10 of the delegation: {said:?}");
}

/// A second that isn't over: iso-ucan looks at the clock.
const FAR: Timestamp = Timestamp::from_secs(4_102_444_800);

/// An award as far as money goes.
fn invocation(iss: &AgentKey, aud: &AgentKey, price: i128) -> Invocation {
    let args = ["price", "spent"].map(|name| (name.to_owned(), Ipld::Integer(price)));
    Invocation {
        iss: iss.id(),
        sub: iss.id(),
        aud: Some(aud.id()),
        cmd: Command::parse("/task/award").unwrap(),
        args: Args::from(BTreeMap::from(args)),
        prf: Vec::new(),
        meta: None,
        nonce: vec![9; 16].into(),
        exp: Some(FAR),
        iat: None,
        cause: None,
    }
}

fn hex<T: Statement>(signed: &Signed<T>) -> String {
    signed.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
