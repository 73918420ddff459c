//! Who gets through a NAT of each kind, and for how long.

use std::pin::Pin;

use super::*;

const MAPPING: Duration = Duration::from_secs(30);

/// A host that listens.
struct Machine {
    host: HostId,
    transport: FabricTransport,
}

impl Machine {
    fn new(fabric: &Fabric, nat: Option<NatKind>) -> Self {
        let host = fabric.add_host();
        if let Some(kind) = nat {
            fabric.put_behind_nat(host, kind, MAPPING);
        }
        let mut transport = fabric.transport(host);
        transport.listen_on(ListenerId::next(), "/ip4/0.0.0.0/tcp/4001".parse().unwrap()).unwrap();
        Self { host, transport }
    }

    /// A connection to an address, if there is an answer within 10 s.
    async fn dial(&mut self, to: &Multiaddr, port_use: PortUse) -> Option<FabricStream> {
        let dial = self.transport.dial(to.clone(), DialOpts { role: Endpoint::Dialer, port_use }).unwrap();
        tokio::time::timeout(Duration::from_secs(10), dial).await.ok().map(Result::unwrap)
    }

    /// Whether a dial from its listening port, and one from a new port, are answered.
    async fn reaches(&mut self, to: &Multiaddr) -> [bool; 2] {
        [self.dial(to, PortUse::Reuse).await.is_some(), self.dial(to, PortUse::New).await.is_some()]
    }

    /// The next connection that came in, and whom it seems to be from.
    async fn accept(&mut self) -> (FabricStream, Multiaddr) {
        loop {
            let event = futures::future::poll_fn(|context| Pin::new(&mut self.transport).poll(context)).await;
            if let TransportEvent::Incoming { upgrade, send_back_addr, .. } = event {
                return (upgrade.await.unwrap(), send_back_addr);
            }
        }
    }
}

/// A host behind a NAT and two that aren't behind any.
fn three(kind: NatKind) -> (Fabric, Machine, Machine, Machine) {
    let fabric = Fabric::new(1, FIXED);
    tokio::spawn(fabric.driver());
    let [inside, one, two] = [Some(kind), None, None].map(|nat| Machine::new(&fabric, nat));
    (fabric, inside, one, two)
}

/// Dials from behind a NAT, from the listening port. Both ends, and the address seen from outside.
async fn out(inside: &mut Machine, to: &mut Machine) -> (FabricStream, FabricStream, Multiaddr) {
    let near = inside.dial(&to.host.address(), PortUse::Reuse).await.unwrap();
    let (far, seen) = to.accept().await;
    (near, far, seen)
}

/// Whom a box lets in after its host has dialled the first of two others from the port that it listens on: the first
/// from the port that was dialled, the first from another port, the second.
fn lets_in(kind: NatKind) -> [bool; 3] {
    simulate(|| async {
        let (_fabric, mut inside, mut one, mut two) = three(kind);
        let (_near, _far, seen) = out(&mut inside, &mut one).await;
        let [same, other] = one.reaches(&seen).await;
        let [stranger, _] = two.reaches(&seen).await;
        [same, other, stranger]
    })
}

#[test]
fn each_kind_lets_in_whom_it_should() {
    assert_eq!(lets_in(NatKind::FullCone), [true, true, true]);
    assert_eq!(lets_in(NatKind::AddressRestricted), [true, true, false]);
    assert_eq!(lets_in(NatKind::PortRestricted), [true, false, false]);
    assert_eq!(lets_in(NatKind::Symmetric), [true, false, false]);
}

#[test]
fn a_symmetric_box_shows_another_port_to_each() {
    for (kind, same) in [(NatKind::PortRestricted, true), (NatKind::Symmetric, false)] {
        simulate(|| async {
            let (_fabric, mut inside, mut one, mut two) = three(kind);
            let (_, _, seen_by_one) = out(&mut inside, &mut one).await;
            let (_, _, seen_by_two) = out(&mut inside, &mut two).await;
            assert_eq!(seen_by_one == seen_by_two, same);
            assert_eq!(seen_by_one == inside.host.address(), same);
        });
    }
}

#[test]
fn nobody_gets_in_unasked() {
    for kind in [NatKind::FullCone, NatKind::AddressRestricted, NatKind::PortRestricted, NatKind::Symmetric] {
        simulate(|| async {
            let (_fabric, inside, mut one, _two) = three(kind);
            assert_eq!(one.reaches(&inside.host.address()).await, [false, false]);
            let private: Multiaddr = "/ip4/10.0.0.0/tcp/4001".parse().unwrap();
            assert_eq!(inside.host.inside_ip().to_string(), "10.0.0.0");
            assert_eq!(one.reaches(&private).await, [false, false]);
        });
    }
}

#[test]
fn a_mapping_lives_as_long_as_something_passes() {
    simulate(|| async {
        let (_fabric, mut inside, mut one, mut two) = three(NatKind::FullCone);
        let (mut near, mut far, seen) = out(&mut inside, &mut one).await;
        for _ in 0..5 {
            tokio::time::sleep(MAPPING - Duration::from_secs(1)).await;
            far.write_all(b"ping").await.unwrap();
            near.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert_eq!(two.reaches(&seen).await, [true, true]);
        tokio::time::sleep(MAPPING).await;
        // Forgotten: silence for whoever has the connection, and for whoever dials.
        near.write_all(b"ping").await.unwrap();
        far.write_all(b"ping").await.unwrap();
        let (mut there, mut back) = ([0; 4], [0; 4]);
        let heard = async { tokio::join!(far.read(&mut there), near.read(&mut back)) };
        assert!(tokio::time::timeout(Duration::from_secs(20), heard).await.is_err());
        assert_eq!(two.reaches(&seen).await, [false, false]);
        // The system gives up in the end, and a new connection makes a new mapping.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(near.write_all(b"ping").await.is_err());
        let (mut near, mut far, _) = out(&mut inside, &mut one).await;
        near.write_all(b"ping").await.unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
    });
}

/// Whether two hosts behind NATs that dial each other at about the same time become connected.
fn punches(one: NatKind, other: NatKind) -> bool {
    simulate(|| async {
        let fabric = Fabric::new(1, FIXED);
        tokio::spawn(fabric.driver());
        let [mut one, mut other] = [Some(one), Some(other)].map(|nat| Machine::new(&fabric, nat));
        let (to_one, to_other) = (one.host.address(), other.host.address());
        let late = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            other.dial(&to_one, PortUse::Reuse).await
        };
        match tokio::join!(one.dial(&to_other, PortUse::Reuse), late) {
            (Some(mut near), Some(mut far)) => {
                near.write_all(b"through").await.unwrap();
                far.read_exact(&mut [0; 7]).await.unwrap();
                true
            }
            (None, None) => false,
            half => panic!("one thinks it is connected: {:?}", (half.0.is_some(), half.1.is_some())),
        }
    })
}

#[test]
fn holes_are_punched_where_ports_can_be_known() {
    use NatKind::{AddressRestricted, PortRestricted, Symmetric};
    assert!(punches(PortRestricted, PortRestricted));
    assert!(punches(AddressRestricted, PortRestricted));
    assert!(!punches(Symmetric, PortRestricted));
    assert!(!punches(Symmetric, Symmetric));
}
