//! What the running node knows of its mints, peers, clock and reach.

use super::Finding;
use crate::{
    api::{
        client::Client,
        types::{MintCheck, Status},
    },
    config::{
        Config,
        join::{Reach, reach_of},
    },
    console::Printer,
    network::Multiaddr,
};

/// How far clocks may differ before money is refused, in seconds: the protocol's tolerance.
const TOLERATED_SECS: u64 = guilder_protocol::time::SKEW_SECS;

pub(super) async fn examine(client: &Client, config: &Config, status: &Status, printer: &Printer) -> Vec<Finding> {
    let mut found = vec![Finding::ok("node", format!("{} runs, version {}", status.peer_id, status.version))];
    found.extend(listening(config, status));
    let mints = printer.waiting("asking the mints", client.get::<Vec<MintCheck>>("/v1/mints/check")).await;
    match mints {
        Ok(checks) => {
            found.push(clock(status, &checks));
            found.extend(of_mints(&checks));
        }
        Err(error) => {
            found.push(Finding::fail("mints", error.to_string(), "speak to the node as its owner: without --as"))
        }
    }
    found.extend(bootstrap(status));
    found.push(reach(config, status));
    found
}

/// Whether the node listens where the settings say, and will again.
fn listening(config: &Config, status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let missing = |address: &&Multiaddr| {
        let text = address.to_string();
        let (transport, port) = port_of(&text);
        port != "0" && !status.listen.iter().any(|listens| listens.contains(&format!("/{transport}/{port}/")))
    };
    for address in config.network.listen.iter().filter(missing) {
        let todo = "look at its log for why; if config.toml was changed, restart it";
        found.push(Finding::fail("ports", format!("it doesn't listen at {address}"), todo));
    }
    if status.listen.is_empty() {
        found.push(Finding::fail("ports", "it listens nowhere", "set network.listen in config.toml"));
    } else if found.is_empty() {
        found.push(Finding::ok("ports", format!("it listens at {} addresses", status.listen.len())));
    }
    let is_found_by_others = status.services > 0 || !status.hosted_mint.is_empty();
    let changes = config.network.listen.iter().any(|address| port_of(&address.to_string()).1 == "0");
    if is_found_by_others && changes {
        found.push(Finding::warn(
            "ports",
            "it sells or hosts a mint at a port that changes with each start",
            "give network.listen a fixed port, such as 4848",
        ));
    }
    found
}

/// Transport and port of an address in its usual form: `/ip4/…/tcp/4848`, `/ip4/…/udp/4848/quic-v1`.
fn port_of(address: &str) -> (&str, &str) {
    let mut parts = address.split('/').skip(3);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Against the clocks of the mints that tell their time, and of the peers.
fn clock(status: &Status, mints: &[MintCheck]) -> Finding {
    const WHAT: &str = "clock";
    let todo = "set this machine's clock, and let the system keep it: timedatectl set-ntp true";
    if let Some(doubt) = &status.clock {
        return Finding::fail(WHAT, doubt, todo);
    }
    let told: Vec<_> = mints.iter().filter_map(|mint| Some((mint, mint.ahead_secs?))).collect();
    match told.iter().max_by_key(|(_, ahead)| ahead.unsigned_abs()) {
        None => Finding::ok(WHAT, "no peer contradicts it, and no mint tells its time"),
        Some((mint, ahead)) if ahead.unsigned_abs() > TOLERATED_SECS => {
            let side = if *ahead > 0 { "ahead of" } else { "behind" };
            Finding::fail(WHAT, format!("{} s {side} that of the mint {}", ahead.unsigned_abs(), mint.url), todo)
        }
        Some(_) => Finding::ok(WHAT, format!("it agrees with {}", count(told.len(), "mint"))),
    }
}

fn of_mints(checks: &[MintCheck]) -> Vec<Finding> {
    const WHAT: &str = "mints";
    if checks.is_empty() {
        let todo = "accept one that you trust: `guilder wallet mints add URL`";
        return vec![Finding::warn(WHAT, "none is accepted, so nothing can be bought or sold", todo)];
    }
    let one = |check: &MintCheck| match (&check.error, check.as_pinned) {
        (Some(error), _) => {
            let todo = check.hint.clone().unwrap_or_else(|| "is it up? ask whoever runs it".to_owned());
            Finding::fail(WHAT, format!("{}: {error}", check.url), todo)
        }
        (None, Some(false)) => Finding::warn(
            WHAT,
            format!("{} answers, and signs by other keys than wallet.pins has", check.url),
            "mints change their keys now and then; ask its operator if you are in doubt",
        ),
        (None, Some(true)) => {
            Finding::ok(WHAT, format!("{} answers in {} ms, its keys as pinned", check.url, check.took_ms))
        }
        (None, None) => Finding::ok(WHAT, format!("{} answers in {} ms", check.url, check.took_ms)),
    };
    checks.iter().map(one).collect()
}

fn bootstrap(status: &Status) -> Vec<Finding> {
    const WHAT: &str = "peers";
    let mut found = Vec::new();
    for peer in status.bootstrap.iter().filter(|peer| !peer.connected) {
        let why = peer.error.as_deref().unwrap_or("not connected yet");
        let todo = "is it up, and its address still right? ask for a new invitation";
        found.push(Finding::warn(WHAT, format!("{}: {why}", peer.address), todo));
    }
    found.push(match status.peers {
        0 => {
            let todo = "name one to begin with: `guilder peers --dial ADDRESS`, and network.bootstrap in config.toml for the next start";
            Finding::fail(WHAT, "none is connected: nobody is found, and nobody finds this node", todo)
        }
        peers => Finding::ok(WHAT, format!("{} connected", count(peers as usize, "peer"))),
    });
    found
}

/// Whether others can come in, as far as addresses tell.
fn reach(config: &Config, status: &Status) -> Finding {
    const WHAT: &str = "reach";
    let listens: Vec<Multiaddr> = status.listen.iter().filter_map(|address| address.parse().ok()).collect();
    let all = config.network.external.iter().chain(&listens);
    let farthest = all.filter_map(reach_of).max_by_key(|reach| *reach == Reach::Everywhere);
    let is_found_by_others = status.services > 0 || !status.hosted_mint.is_empty();
    match farthest {
        Some(Reach::Everywhere) => Finding::ok(WHAT, "it has an address on the internet"),
        _ if is_found_by_others => Finding::warn(
            WHAT,
            "it has no address on the internet, so others there may not reach what it sells",
            "forward its port at the router and name the outer address in network.external",
        ),
        _ => Finding::ok(WHAT, "it has no address on the internet; a node that only buys needs none"),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{api::types::BootstrapPeer, cli::doctor::State};

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            peer_id: "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq".into(),
            did: String::new(),
            home: String::new(),
            uptime_secs: 1,
            listen: vec!["/ip4/10.0.0.7/tcp/4848/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq".into()],
            peers: 1,
            bootstrap: Vec::new(),
            services: 0,
            open_tasks: 0,
            hosted_mint: Vec::new(),
            mint_books: Vec::new(),
            balances: Vec::new(),
            clock: None,
            reloaded: None,
        }
    }

    fn mint() -> MintCheck {
        MintCheck {
            url: "https://mint.example".parse().unwrap(),
            error: None,
            hint: None,
            took_ms: 12,
            as_pinned: None,
            ahead_secs: Some(2),
        }
    }

    #[test]
    fn a_clock_is_judged_by_mints_and_peers() {
        assert_eq!(clock(&status(), &[mint()]).state, State::Ok);
        assert_eq!(clock(&status(), &[]).state, State::Ok);
        for off in [61, -61] {
            assert_eq!(clock(&status(), &[mint(), MintCheck { ahead_secs: Some(off), ..mint() }]).state, State::Fail);
        }
        assert_eq!(clock(&Status { clock: Some("it is off".into()), ..status() }, &[mint()]).state, State::Fail);
    }

    #[test]
    fn a_mint_that_is_silent_or_another_is_named() {
        assert_eq!(of_mints(&[])[0].state, State::Warn);
        assert_eq!(of_mints(&[mint()])[0].state, State::Ok);
        assert_eq!(of_mints(&[MintCheck { as_pinned: Some(true), ..mint() }])[0].state, State::Ok);
        assert_eq!(of_mints(&[MintCheck { as_pinned: Some(false), ..mint() }])[0].state, State::Warn);
        let silent = of_mints(&[MintCheck { error: Some("refused".into()), ..mint() }]);
        assert!(silent[0].state == State::Fail && silent[0].said.contains("https://mint.example: refused"));
    }

    #[test]
    fn ports_that_are_not_listened_on_or_change_are_said() {
        let mut config = Config::default();
        config.network.listen = vec!["/ip4/0.0.0.0/tcp/4848".parse().unwrap()];
        assert_eq!(listening(&config, &status()).iter().map(|found| found.state).max(), Some(State::Ok));
        config.network.listen.push("/ip4/0.0.0.0/udp/4848/quic-v1".parse().unwrap());
        assert_eq!(listening(&config, &status()).iter().map(|found| found.state).max(), Some(State::Fail));
        let sells = Status { services: 1, ..status() };
        assert_eq!(listening(&Config::default(), &sells).iter().map(|found| found.state).max(), Some(State::Warn));
        assert_eq!(reach(&config, &sells).state, State::Warn);
        assert_eq!(reach(&config, &status()).state, State::Ok);
        config.network.external = vec!["/ip4/203.0.113.7/tcp/4848".parse().unwrap()];
        assert_eq!(reach(&config, &sells).state, State::Ok);
    }

    #[test]
    fn a_node_without_peers_fails_and_one_without_a_bootstrap_peer_is_warned() {
        let silent =
            BootstrapPeer { address: "/ip4/192.0.2.7/tcp/1".into(), connected: false, error: Some("refused".into()) };
        let with = |peers| bootstrap(&Status { peers, bootstrap: vec![silent.clone()], ..status() });
        assert_eq!(with(1).iter().map(|found| found.state).max(), Some(State::Warn));
        assert_eq!(with(0).iter().map(|found| found.state).max(), Some(State::Fail));
    }
}
