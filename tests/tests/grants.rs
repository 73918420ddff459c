//! Standing grants on the command line: given, handed over, taken in by hand, taken back.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use guilder_tests::{Swarm, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

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

    // Nobody but who stands above can take it back.
    let stranger = swarm.trader("stranger", "");
    stranger.run(["revoke", "--file", text]).failed().says("ours", &["issued neither"]);
    grantee.run(["revoke", &id]).failed().says("ours", &["made no grant"]);
    let revoked = grantor.json(["revoke", &id[id.len() - 8..]]);
    assert_eq!(revoked["delegation"], id.as_str());
    is(&grantee, &id, "revoked");
    is(&grantee, by_hand["id"].as_str().unwrap(), "valid");
    // Again is the same as once.
    assert_eq!(grantor.json(["revoke", &id])["at"], revoked["at"]);
}
