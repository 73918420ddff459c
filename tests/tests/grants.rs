//! Standing grants on the command line: given, handed over, taken in by hand, taken back.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Duration;

use guilder_tests::{
    Swarm, eventually,
    swarm::{fund, hire, meet, sell_echo},
};

/// A hand-over that failed is tried again after 5, 15 and 35 seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_grant_reaches_its_grantee_and_its_revocation_too() {
    let swarm = Swarm::start(0);
    let grantor = swarm.trader("grantor", "");
    let grantee = swarm.trader("grantee", "");
    let terms = ["--service", "text.echo", "--max-price", "5", "--budget", "50", "--expires", "1h"];
    let grant = |daemon: &guilder_tests::Daemon, peer: &str, more: &[&str]| {
        let args = ["grant", peer].iter().chain(&terms).chain(more).copied().collect::<Vec<_>>();
        daemon.json(args)
    };
    let given = grant(&grantor, &grantee.peer_id(), &[]);
    let id = given["id"].as_str().unwrap().to_owned();
    assert_eq!((&given["side"], &given["state"], &given["unit"]), (&"given".into(), &"valid".into(), &"play".into()));
    assert_eq!((&given["mint"], &given["depth"]), (&swarm.mint_url.as_str().into(), &1.into()));
    let state = |daemon: &guilder_tests::Daemon, id: &str| {
        let all = daemon.json(["grants"]);
        let grant = all.as_array().unwrap().iter().find(|grant| grant["id"] == id).cloned();
        grant.map(|grant| grant["state"].as_str().unwrap().to_owned())
    };
    let is = |daemon: &guilder_tests::Daemon, id: &str, wanted: &str| {
        eventually(&format!("{id} to be {wanted}"), PATIENCE, || match state(daemon, id) {
            Some(state) if state == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    is(&grantee, &id, "valid");

    // By hand, too; and only by whom it was made to.
    let file = grantor.path().join("grant.txt");
    let by_hand = grant(&grantor, &grantee.peer_id(), &["--output", file.to_str().unwrap()]);
    let imported = grantee.json(["grants", "import", file.to_str().unwrap()]);
    assert_eq!(imported["id"], by_hand["id"]);
    let text = file.to_str().unwrap();
    grantor.run(["grants", "import", text]).failed().says("ours", &["not to this node"]);

    // It buys in the grantor's name, from its own money, within the bounds; the bundle says so.
    let seller = swarm.trader("seller", "");
    sell_echo(&seller, "text.echo", 3, "");
    sell_echo(&seller, "text.other", 3, "");
    for service in ["text.echo", "text.other"] {
        meet(&grantee, service);
    }
    fund(&grantee, 100);
    let bought = hire(&grantee, "text.echo", b"hello", &["--grant", &id]);
    assert_eq!(bought.output, "hello");
    let held = |id: &str| {
        let all = grantee.json(["grants"]);
        all.as_array().unwrap().iter().find(|grant| grant["id"] == id).cloned().unwrap()
    };
    assert_eq!(held(&id)["spent"], 3);
    let bundle = grantee.path().join("task.car");
    grantee.run(["audit", "export", bought.id(), "--output", bundle.to_str().unwrap()]).ok();
    let verified = grantee.json(["audit", "verify", bundle.to_str().unwrap()]);
    let told = &verified["hires"][0];
    assert_eq!((&told["principal"], &told["buyer"]), (&grantor.peer_id().into(), &grantee.peer_id().into()));
    assert!(told["verdict"].as_str().unwrap().contains("as far as this bundle knows"), "{told}");
    grantee.run(["hire", "text.other", "--grant", &id]).failed().says("ours", &["this service"]);
    grantee.run(["hire", "text.echo", "--grant", &id, "--max-price", "6"]).failed().says("ours", &["price"]);

    // Nobody but who stands above can take it back.
    let stranger = swarm.trader("stranger", "");
    stranger.run(["revoke", "--file", text]).failed().says("ours", &["issued neither"]);
    grantee.run(["revoke", &id]).failed().says("ours", &["made no grant"]);
    let revoked = grantor.json(["revoke", &id[id.len() - 8..]]);
    assert_eq!(revoked["delegation"], id.as_str());
    is(&grantee, &id, "revoked");
    grantee.run(["hire", "text.echo", "--grant", &id]).failed().says("incompatible", &["revoked"]);
    is(&grantee, by_hand["id"].as_str().unwrap(), "valid");
    // Again is the same as once.
    assert_eq!(grantor.json(["revoke", &id])["at"], revoked["at"]);
}

/// Nodes that hear of a revocation, beside the mint's host, and how often one is made.
const HEARERS: usize = 20;
const ROUNDS: usize = 10;

/// When a log line was written, in milliseconds of its day.
fn moment(line: &str) -> Option<f64> {
    let time = line.split('T').nth(1)?.split('Z').next()?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1_000.0)
}

/// Each line says when its node began to refuse. What is measured is printed, and stands in docs/studies/revocation.md.
#[test]
fn what_is_taken_back_is_refused_by_twenty_real_nodes_soon_after() {
    let swarm = Swarm::start(0);
    let settings = "log.filter = \"info,guilder::events=debug\"\n";
    let nodes: Vec<_> = (0..HEARERS).map(|number| swarm.trader(&format!("node-{number}"), settings)).collect();
    eventually("every node to have peers", PATIENCE, || {
        let few = nodes.iter().filter(|node| node.status()["peers"].as_u64() < Some(4)).count();
        if few == 0 { Ok(()) } else { Err(few) }
    });
    let (grantor, grantee) = (&nodes[0], nodes[1].peer_id());
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let grant = grantor.json([
            "grant",
            &grantee,
            "--service",
            "text.echo",
            "--max-price",
            "5",
            "--budget",
            "50",
            "--expires",
            "1h",
        ]);
        let id = grant["id"].as_str().unwrap();
        grantor.run(["revoke", id]).ok();
        let heard = |node: &guilder_tests::Daemon| {
            let log = std::fs::read_to_string(node.log()).unwrap();
            log.lines().find(|line| line.contains("revoked ") && line.contains(id)).and_then(moment)
        };
        let began = eventually("the grantor to refuse", PATIENCE, || heard(grantor).ok_or("it doesn't say so"));
        for node in &nodes[1..] {
            let at = eventually("a node to refuse", PATIENCE, || heard(node).ok_or("it doesn't say so"));
            // Midnight may lie between.
            took.push((at - began).rem_euclid(86_400_000.0));
        }
    }
    took.sort_by(f64::total_cmp);
    assert_eq!(took.len(), ROUNDS * (HEARERS - 1));
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1];
    println!(
        "revoked {ROUNDS} times, refused by {} others: p50 {:.0} ms, p95 {:.0} ms, all {:.0} ms",
        HEARERS - 1,
        at(50),
        at(95),
        at(100)
    );
}
