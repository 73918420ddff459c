#![allow(clippy::unwrap_used)]
use super::*;
use crate::fabric::NatKind;

#[test]
fn a_node_behind_a_nat_claims_no_address() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(1, Topology::default(), Trace::new(None).unwrap()).unwrap();
        let [open, behind] = [0, 0].map(|region| world.add_host(region, Config::default()));
        world.fabric().put_behind_nat(behind, NatKind::FullCone, Duration::from_secs(60));
        let [open, behind] = [open, behind].map(|host| world.listening(host, NetworkConfig::default()));
        assert_eq!((open.external.clone(), open.dht), (open.listen, DhtMode::Server));
        assert_eq!((behind.external, behind.dht), (Vec::new(), DhtMode::Auto));
        assert_eq!(behind.listen, ["/ip4/0.0.0.0/tcp/4001".parse().unwrap()]);
    });
}
