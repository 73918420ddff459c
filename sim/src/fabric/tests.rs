#![allow(clippy::unwrap_used)]
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::{
    Endpoint, Transport,
    transport::{DialOpts, ListenerId, PortUse, TransportEvent},
};

use super::*;

mod nat;

const FIXED: Topology =
    Topology { nearest_us: 10_000, span_us: 0, jitter_us: 0, loss: 0.0, uplink_bps: 0, regions_us: Vec::new() };

fn simulate<F: Future>(work: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { work().await })
}

/// Two hosts, and both ends of a connection between them.
async fn connected(topology: Topology) -> (Fabric, FabricStream, FabricStream) {
    let fabric = Fabric::new(1, topology);
    tokio::spawn(fabric.driver());
    let (one, two) = (fabric.add_host(), fabric.add_host());
    let (mut dialer, mut listener) = (fabric.transport(one), fabric.transport(two));
    listener.listen_on(ListenerId::next(), two.address()).unwrap();
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dial = dialer.dial(two.address(), options).unwrap();
    let accept = async {
        loop {
            let event = futures::future::poll_fn(|context| Pin::new(&mut listener).poll(context)).await;
            if let TransportEvent::Incoming { upgrade, .. } = event {
                break upgrade.await.unwrap();
            }
        }
    };
    use std::pin::Pin;
    let (near, far) = tokio::join!(dial, accept);
    std::mem::forget((dialer, listener));
    (fabric, near.unwrap(), far)
}

#[test]
fn bytes_arrive_in_order_after_their_delay() {
    simulate(|| async {
        let (_fabric, mut near, mut far) = connected(FIXED).await;
        let start = Instant::now();
        near.write_all(b"hello ").await.unwrap();
        near.write_all(b"world").await.unwrap();
        near.close().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello world");
        assert_eq!(start.elapsed(), Duration::from_millis(10));
        far.write_all(b"half-open").await.unwrap();
        let mut buffer = [0; 9];
        near.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"half-open");
    });
}

#[test]
fn a_full_window_makes_the_writer_wait_for_the_reader() {
    simulate(|| async {
        let (_fabric, mut near, mut far) = connected(FIXED).await;
        let data: Vec<u8> = (0..2_000_000_u32).map(|n| n as u8).collect();
        let copy = data.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&copy).await.unwrap();
            near.close().await.unwrap();
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!writer.is_finished());
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, data);
    });
}

#[test]
fn a_partition_delays_and_then_resets() {
    simulate(|| async {
        let (fabric, mut near, mut far) = connected(FIXED).await;
        fabric.partition(|host| host.0);
        near.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        fabric.partition(|_| 0);
        let mut buffer = [0; 1];
        far.read_exact(&mut buffer).await.unwrap();
        fabric.partition(|host| host.0);
        near.write_all(b"y").await.unwrap();
        assert_eq!(far.read_exact(&mut buffer).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_one_way_partition_lets_one_direction_through() {
    simulate(|| async {
        let (fabric, mut near, mut far) = connected(FIXED).await;
        fabric.partition_one_way(|host| host.0);
        far.write_all(b"x").await.unwrap();
        near.read_exact(&mut [0; 1]).await.unwrap();
        near.write_all(b"y").await.unwrap();
        let lost = tokio::time::timeout(Duration::from_secs(5), far.read(&mut [0; 1])).await;
        assert!(lost.is_err());
        assert_eq!((fabric.bytes(HostId(0)), fabric.bytes(HostId(1))), ((1, 1), (1, 1)));
    });
}

#[test]
fn regions_are_as_far_from_each_other_as_their_table_says() {
    simulate(|| async {
        let topology = Topology { regions_us: vec![vec![1_000, 50_000], vec![50_000, 1_000]], ..FIXED };
        let fabric = Fabric::new(1, topology);
        let [one, two, three] = [0, 1, 1].map(|region| fabric.add_host_in(region));
        let state = fabric.lock();
        assert_eq!((state.base_us(one, two), state.base_us(two, three)), (60_000, 11_000));
    });
}

#[test]
fn a_killed_host_resets_its_peers_only_if_its_machine_lives() {
    for reset in [true, false] {
        simulate(|| async {
            let (fabric, near, mut far) = connected(FIXED).await;
            fabric.kill(HostId(0), reset);
            drop(near);
            let read = tokio::time::timeout(Duration::from_secs(1), far.read(&mut [0; 1])).await;
            assert_eq!(read.is_ok(), reset);
        });
    }
}

#[test]
fn a_narrow_uplink_and_loss_slow_things_down() {
    simulate(|| async {
        let narrow = Topology { uplink_bps: 8_000_000, ..FIXED };
        let (_fabric, mut near, mut far) = connected(narrow).await;
        let start = Instant::now();
        near.write_all(&vec![0; 500_000]).await.unwrap();
        far.read_exact(&mut vec![0; 500_000]).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    });
    simulate(|| async {
        let (fabric, mut near, mut far) = connected(Topology { loss: 0.5, ..FIXED }).await;
        for _ in 0..50 {
            near.write_all(b"x").await.unwrap();
            far.read_exact(&mut [0]).await.unwrap();
        }
        assert!(fabric.traffic().lost > 0);
    });
}

#[test]
fn a_large_write_travels_in_segments_that_are_lost_one_by_one() {
    simulate(|| async {
        let (fabric, mut near, mut far) = connected(Topology { loss: 0.05, ..FIXED }).await;
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        near.write_all(&sent).await.unwrap();
        let mut came = vec![0; sent.len()];
        far.read_exact(&mut came).await.unwrap();
        assert!(came == sent);
        // Seventy segments, of which one in twenty is lost.
        assert!((2..15).contains(&fabric.traffic().lost), "{}", fabric.traffic().lost);
    });
}

#[test]
fn a_reader_that_leaves_while_bytes_are_under_way_upsets_nothing() {
    simulate(|| async {
        let (_fabric, mut near, far) = connected(FIXED).await;
        near.write_all(b"one").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        near.write_all(b"two").await.unwrap();
        drop(far);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(near.write(b"three").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    });
}
