//! Nodes on real sockets on loopback, each with its network, its store and this room.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    sync::Mutex as StdMutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt as _;
use guilder_protocol::{
    cbor,
    ucan::{Delegation, Invocation},
};
use ipld_core::ipld::Ipld;
use serde_bytes::ByteBuf;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    network::{Multiaddr, NetworkConfig, Setup, StreamProtocol, transport},
    runtime::Limits,
};

/// Long enough for a busy machine, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn key(seed: u8) -> AgentKey {
    AgentKey::from_seed(&[seed; 32])
}

/// A node of a test. Its tasks die with it.
pub(super) struct Node {
    key: AgentKey,
    pub(super) grants: Grants,
    network: Network,
    pub(super) runtime: Runtime,
    store: Store,
    folder: TempDir,
}

impl Node {
    pub(super) async fn start(seed: u8) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), seed, &[]).await
    }

    async fn joining(seed: u8, others: &[&Self]) -> Self {
        let mut bootstrap = Vec::new();
        for other in others {
            bootstrap.push(other.address().await);
        }
        Self::start_in(tempfile::tempdir().unwrap(), seed, &bootstrap).await
    }

    /// In a folder that a node was in before.
    async fn start_in(folder: TempDir, seed: u8, bootstrap: &[Multiaddr]) -> Self {
        let runtime = Runtime::production(Limits::default());
        let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
        let key = key(seed);
        let config = NetworkConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            bootstrap: bootstrap.to_vec(),
            mdns: false,
            ..NetworkConfig::default()
        };
        let events = Events::new();
        let (network, inbound) = Network::start(Setup {
            key: key.clone(),
            transport: transport::tcp_quic(&key).unwrap(),
            config,
            runtime: runtime.clone(),
            store: store.clone(),
            events: events.clone(),
            tap: None,
        })
        .await
        .unwrap();
        let grants = Grants::start(GrantsParts {
            key: key.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            network: network.clone(),
            gossip: inbound.revocations,
            streams: inbound.grants,
            events,
            failpoint: crate::failpoint::Failpoint::default(),
        })
        .await
        .unwrap();
        Self { key, grants, network, runtime, store, folder }
    }

    fn id(&self) -> AgentId {
        self.key.id()
    }

    async fn address(&self) -> Multiaddr {
        let address = self.network.listen_addrs().await.first().unwrap().clone();
        format!("{address}/p2p/{}", self.id().peer_id()).parse().unwrap()
    }

    async fn stop(self) -> TempDir {
        self.network.shutdown().await;
        self.store.close().await;
        self.runtime.shutdown().await;
        self.folder
    }

    fn terms(&self, grantee: AgentId) -> GrantTerms {
        GrantTerms {
            grantee,
            services: vec!["text.echo".parse().unwrap()],
            unit: "play".parse().unwrap(),
            mint: "https://mint.example".parse().unwrap(),
            max_price: 10,
            budget: 100,
            max_depth: 1,
            expires: self.runtime.now().saturating_add(3_600),
            under: None,
        }
    }

    fn knows(&self, revocation: &Revocation) -> bool {
        self.grants.revocations().is_revoked(&revocation.revoker(), &revocation.delegation())
    }

    async fn points(&self, of: AgentId) -> u32 {
        self.network.peers().await.into_iter().find(|peer| peer.agent == of).map_or(100, |peer| peer.points)
    }

    /// Publishes until someone takes it: subscriptions travel for a moment.
    async fn publish(&self, data: Vec<u8>) {
        until(|| async { self.network.publish(Topic::Revocations, Bytes::from(data.clone())).await.is_ok() }).await;
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    in_time(async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// `from` lets `to` award in its own name.
pub(super) fn link(from: &AgentKey, to: AgentId, nonce: u64, exp: Option<Timestamp>) -> Signed<Delegation> {
    let delegation = Delegation {
        iss: from.id(),
        aud: to,
        sub: Some(from.id()),
        cmd: "/task/award".parse().unwrap(),
        pol: guilder_protocol::ucan::Policy::default(),
        nonce: ByteBuf::from(nonce.to_be_bytes()),
        meta: None,
        nbf: None,
        exp,
    };
    Signed::sign(delegation, from).unwrap()
}

pub(super) fn soon() -> Timestamp {
    Runtime::with(crate::runtime::Inline).now().saturating_add(3_600)
}

/// `revoker` takes back what it let somebody do.
pub(super) fn revocation(revoker: &AgentKey, nonce: u64) -> Revocation {
    let path = vec![link(revoker, key(250).id(), nonce, Some(soon()))];
    Revocation::sign(path, Runtime::with(crate::runtime::Inline).now(), revoker).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_handed_over_and_its_revocation_is_heard_kept_and_survives_a_restart() {
    let grantor = Node::start(1).await;
    let grantee = Node::joining(2, &[&grantor]).await;
    until(|| async { grantor.network.is_connected(grantee.id()) }).await;
    let given = grantor.grants.grant(grantor.terms(grantee.id())).await.unwrap();
    assert!(given.is_handed_over);
    let id = given.chain.cid();
    assert_eq!(grantee.grants.usable(id).unwrap(), given.chain);
    assert!(grantor.grants.usable(id).is_err(), "it isn't its own to use");

    let revocation = grantor.grants.revoke_given(id).await.unwrap();
    assert_eq!(grantor.grants.revoke_given(id).await.unwrap(), revocation, "again is the same as once");
    until(|| async { grantee.knows(&revocation) }).await;
    assert!(matches!(grantee.grants.usable(id), Err(GrantsError::Revoked { .. })));
    let view = grantee.grants.find(id).unwrap().unwrap();
    assert_eq!(view.revoked, Some((id, grantor.id())));

    // What nobody waited for is on the disk by the time the store is closed.
    let folder = grantee.stop().await;
    let grantee = Node::start_in(folder, 2, &[]).await;
    assert!(grantee.knows(&revocation));
    let folder = grantor.stop().await;
    let grantor = Node::start_in(folder, 1, &[]).await;
    assert!(grantor.knows(&revocation));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grantee_that_was_away_gets_its_grant_when_it_connects() {
    let grantor = Node::start(1).await;
    let given = grantor.grants.grant(grantor.terms(key(2).id())).await.unwrap();
    assert!(!given.is_handed_over);
    let id = given.chain.cid();
    // Also by hand, from its text.
    let text = given.chain.to_text();
    let grantee = Node::joining(2, &[&grantor]).await;
    until(|| async { grantee.grants.usable(id).is_ok() }).await;
    until(|| async { grantor.grants.find(id).unwrap().unwrap().is_handed_over }).await;
    assert_eq!(grantee.grants.import(GrantChain::from_text(&text).unwrap()).await.unwrap().chain, given.chain);
    let other = Node::start(3).await;
    let refused = other.grants.import(GrantChain::from_text(&text).unwrap()).await;
    assert!(matches!(refused, Err(GrantsError::NotToUs(_))));
}

/// As an HTTP client does that hangs up.
#[tokio::test]
async fn whoever_stops_waiting_for_a_grant_or_its_revocation_leaves_neither_half_done() {
    let grantor = Node::start(1).await;
    assert!(grantor.grants.grant(grantor.terms(key(2).id())).now_or_never().is_none());
    until(|| async { grantor.grants.list().unwrap().len() == 1 }).await;
    let given = grantor.grants.list().unwrap().remove(0);
    assert!(grantor.grants.revoke(given.chain.clone()).now_or_never().is_none());
    until(|| async { given.chain.revoked(grantor.grants.revocations()).is_some() }).await;
    let grantee = Node::joining(2, &[&grantor]).await;
    until(|| async { grantor.network.is_connected(grantee.id()) }).await;
    assert!(matches!(grantee.grants.usable(given.chain.cid()), Err(GrantsError::Unknown(_))), "it isn't handed over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_fetches_on_connect_what_was_revoked_meanwhile() {
    let knowing = Node::start(1).await;
    let mine = knowing.grants.grant(knowing.terms(key(9).id())).await.unwrap();
    let revocation = knowing.grants.revoke_given(mine.chain.cid()).await.unwrap();
    let newcomer = Node::joining(2, &[&knowing]).await;
    until(|| async { newcomer.knows(&revocation) }).await;
    // And passes it on, though it is only somebody who heard of it.
    let folder = knowing.stop().await;
    let third = Node::joining(3, &[&newcomer]).await;
    until(|| async { third.knows(&revocation) }).await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_a_grant_is_passed_on_within_it_and_whoever_stands_above_can_revoke_it() {
    let (root, middle) = (Node::start(1).await, Node::start(2).await);
    let wide = GrantTerms { max_depth: 2, ..root.terms(middle.id()) };
    let first = root.grants.grant(wide).await.unwrap();
    middle.grants.import(first.chain.clone()).await.unwrap();
    let part = |change: &dyn Fn(&mut GrantTerms)| {
        let mut terms = GrantTerms { max_depth: 2, under: Some(first.chain.cid()), ..middle.terms(key(3).id()) };
        terms.expires = first.chain.expires();
        change(&mut terms);
        middle.grants.grant(terms)
    };
    for (what, outcome) in [
        ("services", part(&|it| it.services = vec!["text.other".parse().unwrap()]).await),
        ("the unit", part(&|it| it.unit = "sat".parse().unwrap()).await),
        ("the mint", part(&|it| it.mint = "https://other.example".parse().unwrap()).await),
        ("the price", part(&|it| it.max_price = 11).await),
        ("the budget", part(&|it| it.budget = 101).await),
        ("the depth", part(&|it| it.max_depth = 3).await),
        ("the expiry", part(&|it| it.expires = it.expires.saturating_add(1)).await),
    ] {
        assert!(matches!(outcome, Err(GrantsError::Widens(widened)) if widened == what), "{what}");
    }
    assert!(matches!(part(&|it| it.max_depth = 1).await, Err(GrantsError::Depth { least: 2 })));
    assert!(matches!(part(&|it| it.grantee = root.id()).await, Err(GrantsError::ToPrincipal)));
    let second = part(&|_| ()).await.unwrap();
    assert_eq!((second.chain.principal(), second.chain.links().len()), (root.id(), 2));
    // The principal takes back what it never signed itself.
    let revocation = root.grants.revoke(second.chain.clone()).await.unwrap();
    assert_eq!(revocation.revoker(), root.id());
    assert!(second.chain.revoked(root.grants.revocations()).is_some());
    assert!(first.chain.revoked(root.grants.revocations()).is_none(), "what stands above goes on");
    let stranger = Node::start(4).await;
    assert!(matches!(stranger.grants.revoke(second.chain).await, Err(GrantsError::Revocation(_))));
    assert!(matches!(stranger.grants.revoke_given(first.chain.cid()).await, Err(GrantsError::NotOurs(_))));
}

/// Whatever doesn't count is neither kept nor passed on, and costs who brought it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_does_not_count_costs_its_forwarder_points_and_goes_no_further() {
    let victim = Node::start(1).await;
    let behind = Node::joining(3, &[&victim]).await;
    let (owner, now) = (key(7), victim.runtime.now());
    let good = revocation(&owner, 1);
    let forged = |by: &AgentKey, change: &dyn Fn(&mut Invocation)| {
        let mut invocation = good.invocation().payload().clone();
        (invocation.iss, invocation.sub) = (by.id(), by.id());
        change(&mut invocation);
        let signed = Signed::sign(invocation, by).unwrap();
        envelope(signed.bytes(), good.path())
    };
    let mut torn = good.encode();
    let at = torn.len() - 20;
    torn[at] ^= 1;
    let junk = [
        ("by a stranger", forged(&key(8), &|_| ())),
        ("by whom it was granted to", forged(&key(250), &|_| ())),
        ("of a link that isn't on its path", {
            forged(&owner, &|it| {
                let other = BTreeMap::from([("revoke".to_owned(), Ipld::Link(cbor::cid_of(b"other")))]);
                it.args = it.args.clone().with(other.into());
            })
        }),
        ("edited after signing", torn),
        ("with a path cut short", envelope(good.invocation().bytes(), &[])),
        ("no revocation", b"junk".to_vec()),
    ];
    for (number, (why, bytes)) in junk.into_iter().enumerate() {
        // Another each time: gossipsub itself hears nobody any more who has brought a few.
        let attacker = Node::joining(10 + number as u8, &[&victim]).await;
        attacker.publish(bytes).await;
        until(|| async { victim.points(attacker.id()).await == 2 }).await;
        assert_eq!(victim.grants.revocations().len(), 0, "{why}");
        attacker.stop().await;
    }
    let attacker = Node::joining(2, &[&victim]).await;
    // What is over, or of another's version of the standard, is ignored and costs nothing.
    let over = vec![link(&owner, key(250).id(), 2, Some(now.saturating_sub(3_600)))];
    let over = Revocation::sign(over, now, &owner).unwrap();
    let without_path = forged(&owner, &|it| {
        it.args = it.args.clone().with(BTreeMap::from([("path".to_owned(), Ipld::List(vec![]))]).into());
    });
    attacker.publish(over.encode()).await;
    attacker.publish(without_path).await;
    // What counts is kept and passed on, the first time; a replay isn't news.
    attacker.publish(good.encode()).await;
    until(|| async { victim.knows(&good) && behind.knows(&good) }).await;
    assert_eq!(victim.grants.revocations().len(), 1);
    assert_eq!(behind.grants.revocations().len(), 1, "nothing else was passed on");
    let replay = Revocation::sign(good.path().to_vec(), now.saturating_add(1), &owner).unwrap();
    assert_ne!(replay.encode(), good.encode());
    attacker.publish(replay.encode()).await;
    let next = revocation(&owner, 3);
    attacker.publish(next.encode()).await;
    until(|| async { behind.knows(&next) }).await;
    assert_eq!(victim.grants.revocations().len(), 2);
    assert_eq!(victim.points(attacker.id()).await, 0, "news and replays cost nothing");
}

fn envelope(invocation: &[u8], path: &[Signed<Delegation>]) -> Vec<u8> {
    let path: Vec<_> = path.iter().map(|link| Ipld::Bytes(link.bytes().to_vec())).collect();
    let parts = BTreeMap::from([("path", Ipld::List(path)), ("revocation", Ipld::Bytes(invocation.to_vec()))]);
    cbor::encode(&parts)
}

/// However many a stranger makes, the node keeps a bounded number of them, and ours count all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_revoker_is_bounded_and_does_not_hold_up_ours() {
    let victim = Node::start(1).await;
    let attacker = Node::joining(2, &[&victim]).await;
    until(|| async { victim.network.is_connected(attacker.id()) }).await;
    let flooder = key(7);
    for number in 0..200 {
        attacker.publish(revocation(&flooder, number).encode()).await;
    }
    let own = victim.grants.grant(victim.terms(attacker.id())).await.unwrap();
    let revoked = victim.grants.revoke_given(own.chain.cid()).await.unwrap();
    until(|| async { attacker.knows(&revoked) }).await;
    until(|| async { victim.grants.revocations().len() == limits::MAX_PER_STRANGER + 1 }).await;
    assert!(victim.knows(&revoked));
    let rows = victim.store.read(|r| r.range(REVOCATIONS, KeyRange::all(), 1_000)).unwrap().len();
    assert!(rows <= limits::MAX_PER_STRANGER + 1, "{rows} on the disk");
}

/// A caller that breaks the rules of an exchange pays for it; one that asks too much is told to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_breaks_the_rules_of_an_exchange_pays_for_it() {
    use futures::{AsyncReadExt, AsyncWriteExt};
    use guilder_protocol::ucan::exchange::{Ids, Reply, Request};
    let victim = Node::start(1).await;
    let attacker = Node::joining(2, &[&victim]).await;
    until(|| async { victim.network.is_connected(attacker.id()) }).await;
    let ask = |bytes: Vec<u8>| {
        let (network, to) = (attacker.network.clone(), victim.id());
        async move {
            let mut stream = network.open(to, StreamProtocol::Grants).await.unwrap();
            stream.write_all(&(bytes.len() as u32).to_be_bytes()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.flush().await.unwrap();
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.ok()?;
            let mut body = vec![0; u32::from_be_bytes(head) as usize];
            stream.read_exact(&mut body).await.unwrap();
            cbor::decode::<Reply>(&body).ok()
        }
    };
    let others = GrantChain::new(vec![chain_link(&key(5), victim.id())]).unwrap();
    let mut points = victim.points(attacker.id()).await;
    for (why, bytes) in [
        ("no request", b"junk".to_vec()),
        ("what are no IDs", cbor::encode(&Request::Give(ByteBuf::from(vec![1; 17])))),
        ("another's grant", cbor::encode(&Request::Grant(others.encode()))),
    ] {
        assert_eq!(in_time(ask(bytes)).await, None, "{why}");
        until(|| async { victim.points(attacker.id()).await > points }).await;
        points = victim.points(attacker.id()).await;
    }
    // A later version's request, IDs that nobody knows, a grant to somebody else: answered, and free.
    let later = cbor::encode(&BTreeMap::from([("later", 1)]));
    assert_eq!(in_time(ask(later)).await, Some(Reply::Refused(Refusal::NotUnderstood)));
    let unknown = Ids(vec![[7; 16].into()]).write();
    assert_eq!(in_time(ask(cbor::encode(&Request::Give(unknown)))).await, Some(Reply::Revocations(vec![])));
    let to_another = GrantChain::new(vec![chain_link(&attacker.key, key(6).id())]).unwrap();
    let refused = in_time(ask(cbor::encode(&Request::Grant(to_another.encode())))).await;
    assert_eq!(refused, Some(Reply::Refused(Refusal::BadGrant)));
    assert_eq!(victim.points(attacker.id()).await, points);
    // It may hand over a few of its own and no more.
    for number in 0..=limits::MAX_HANDED_OVER_BY_ONE as u64 {
        let grant = GrantChain::new(vec![link(&attacker.key, victim.id(), number, Some(soon()))]).unwrap();
        let reply = in_time(ask(cbor::encode(&Request::Grant(grant.encode())))).await.unwrap();
        let is_kept = number < limits::MAX_HANDED_OVER_BY_ONE as u64;
        assert_eq!(matches!(reply, Reply::Granted(_)), is_kept, "{reply:?}");
    }
    assert_eq!(victim.grants.list().unwrap().len(), limits::MAX_HANDED_OVER_BY_ONE);
}

/// What a stranger hands over costs the store's one writer no more than its own row, and is gone once it has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_over_reads_no_other_row_and_is_deleted_once_it_has_ended() {
    let victim = Node::start(1).await;
    let now = victim.runtime.now();
    let of = |nonce, until| GrantChain::new(vec![link(&key(2), victim.id(), nonce, Some(until))]).unwrap();
    let hand_over = |chain| victim.grants.shared.hold(chain, true);
    // A row that can't be read: whoever read all rows would stumble over it.
    let junk = grant_key(cbor::cid_of(b"junk"));
    let key_of_junk = junk.clone();
    victim.store.write(move |w| w.put(crate::store::Table::<u64>::new("grants/held"), key_of_junk, &7)).await.unwrap();
    let soon_over = of(1, now.saturating_add(limits::MIN_HANDED_OVER_SECS - 30));
    assert!(matches!(hand_over(soon_over.clone()).await, Err(GrantsError::Short(_))));
    for nonce in 2..6 {
        hand_over(of(nonce, soon())).await.unwrap();
    }
    // A file that the user trusts may say what it likes.
    victim.grants.import(soon_over.clone()).await.unwrap();
    victim.store.write(move |w| w.delete(HELD, junk)).await.unwrap();
    assert_eq!(victim.grants.list().unwrap().len(), 5);
    // Of two that have ended meanwhile, one was taken in.
    let (ended, taken_in) = (of(7, now.saturating_sub(600)), of(8, now.saturating_sub(600)));
    let rows = [(ended.clone(), true), (taken_in.clone(), false)];
    let rows = rows.map(|(chain, is_handed_over)| Held { chain, came: now, is_handed_over });
    let write = move |w: &mut crate::store::Write<'_>| {
        rows.iter().try_for_each(|row| w.put(HELD, grant_key(row.chain.cid()), row))
    };
    victim.store.write(write).await.unwrap();
    let victim = Node::start_in(victim.stop().await, 1, &[]).await;
    until(|| async { victim.grants.find(ended.cid()).unwrap().is_none() }).await;
    assert!(victim.grants.find(taken_in.cid()).unwrap().unwrap().is_over);
    assert_eq!(victim.grants.list().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_was_handed_over_is_its_users_once_it_is_imported_or_used() {
    let node = Node::start(1).await;
    let of = |nonce| GrantChain::new(vec![link(&key(2), node.id(), nonce, Some(soon()))]).unwrap();
    let (imported, used, neither) = (of(1), of(2), of(3));
    for chain in [&imported, &used, &neither] {
        node.grants.shared.hold(chain.clone(), true).await.unwrap();
    }
    node.grants.import(imported.clone()).await.unwrap();
    node.grants.adopt(used.cid()).await.unwrap();
    // Again over the wire changes nothing, and a start neither.
    node.grants.shared.hold(used.clone(), true).await.unwrap();
    let node = Node::start_in(node.stop().await, 1, &[]).await;
    for (chain, is_handed_over) in [(imported, false), (used, false), (neither, true)] {
        assert_eq!(node.grants.find(chain.cid()).unwrap().unwrap().is_handed_over, is_handed_over);
        let revoked = (key(2).id(), chain.cid());
        assert_eq!(lock(&node.grants.shared.holdings).concerns_us(&revoked), !is_handed_over);
    }
}

fn chain_link(from: &AgentKey, to: AgentId) -> Signed<Delegation> {
    link(from, to, 1, Some(soon()))
}

/// A peer that answers lies when it is asked what it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answerer_that_lies_pays_for_it_and_nothing_of_it_is_kept() {
    use futures::{AsyncReadExt, AsyncWriteExt};
    use guilder_protocol::ucan::exchange::{Ids, Reply, Request, revocation_id};
    let liar_key = key(2);
    let runtime = Runtime::production(Limits::default());
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), &runtime).await.unwrap();
    let config = NetworkConfig {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        mdns: false,
        ..NetworkConfig::default()
    };
    let (liar, inbound) = Network::start(Setup {
        key: liar_key.clone(),
        transport: transport::tcp_quic(&liar_key).unwrap(),
        config,
        runtime: runtime.clone(),
        store,
        events: Events::new(),
        tap: None,
    })
    .await
    .unwrap();
    // It says that it knows one, and gives what its revoker never signed.
    let good = revocation(&key(7), 1);
    let mut forged = good.encode();
    let at = forged.len() - 20;
    forged[at] ^= 1;
    let id = revocation_id(good.revoker(), &good.delegation());
    let mut streams = inbound.grants;
    let lying = async move {
        while let Some(inbound) = streams.recv().await {
            let forged = forged.clone();
            inbound
                .serve(|mut stream| async move {
                    let mut head = [0; 4];
                    while stream.read_exact(&mut head).await.is_ok() {
                        let mut body = vec![0; u32::from_be_bytes(head) as usize];
                        stream.read_exact(&mut body).await.unwrap();
                        let reply = match cbor::decode::<Request>(&body).unwrap() {
                            Request::Known(_) => Reply::Known(Some(Ids(vec![id]).write())),
                            _ => Reply::Revocations(vec![ByteBuf::from(forged.clone())]),
                        };
                        let reply = cbor::encode(&reply);
                        stream.write_all(&(reply.len() as u32).to_be_bytes()).await.unwrap();
                        stream.write_all(&reply).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                })
                .await;
        }
    };
    tokio::spawn(lying);
    let address = liar.listen_addrs().await.first().unwrap().clone();
    let address: Multiaddr = format!("{address}/p2p/{}", liar_key.id().peer_id()).parse().unwrap();
    let victim = Node::start_in(tempfile::tempdir().unwrap(), 1, &[address]).await;
    until(|| async { victim.network.is_connected(liar_key.id()) }).await;
    until(|| async { victim.points(liar_key.id()).await >= 20 }).await;
    assert!(victim.grants.revocations().is_empty());
}

/// Twenty nodes, a revocation, and the time until the check of an award refuses at each. Prints what it measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nodes_refuse_a_revoked_chain() {
    const NODES: u8 = 20;
    const ROUNDS: usize = 5;
    let mut nodes = vec![Node::start(1).await];
    for seed in 2..=NODES {
        // Each knows two that came before: no star, as in a swarm that has grown.
        let (one, other) = (&nodes[usize::from(seed) / 2 - 1], &nodes[usize::from(seed) / 3]);
        let node = Node::joining(seed, &[one, other]).await;
        nodes.push(node);
    }
    until(|| async { nodes.iter().all(|node| node.network.connected() >= 2) }).await;
    // gossipsub's meshes form at its heartbeats.
    sleep(Duration::from_secs(3)).await;
    let times = StdMutex::new(Vec::new());
    for round in 0..ROUNDS {
        let grantor = &nodes[round * 3];
        let given = grantor.grants.grant(grantor.terms(key(99).id())).await.unwrap();
        let began = Instant::now();
        grantor.grants.revoke_given(given.chain.cid()).await.unwrap();
        let refusing = nodes.iter().map(|node| {
            let (chain, times) = (given.chain.clone(), &times);
            async move {
                // The very check of an award's intake, over the very index.
                until_quick(|| chain.revoked(node.grants.revocations()).is_some()).await;
                times.lock().unwrap().push(began.elapsed());
            }
        });
        futures::future::join_all(refusing).await;
    }
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
    eprintln!(
        "revocation to refusal at {NODES} nodes, {ROUNDS} times: p50 {:?}, p95 {:?}, last {:?}",
        at(50),
        at(95),
        at(100)
    );
}

async fn until_quick(mut holds: impl FnMut() -> bool) {
    in_time(async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
