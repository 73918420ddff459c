//! The floor of a trade: what its unavoidable parts cost on this machine, each bare, one after the other.
//!
//! Counted for one prepaid trade with one proof: ask, offer, award and receipt are each signed once and verified once;
//! the proof's DLEQ is checked once (NUT-12), its lock is signed for and verified once when it is redeemed (NUT-11);
//! award and outcome are made durable at the buyer, acceptance and delivery at the seller; and there are two round
//! trips, ask and offer, award and delivery. (The proof's crypto is cdk's, called here bare, as the yardstick.)

use std::{
    fmt,
    fs::File,
    hint::black_box,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use cdk::{
    Amount,
    dhke::{blind_message, construct_proofs, sign_message},
    nuts::{BlindSignature, CurrencyUnit, Id, Keys, Proof, PublicKey, SecretKey},
    secret::Secret,
};
use guilder_protocol::identity::AgentKey;
use serde::Serialize;

use crate::console::CliError;

const ROUNDS: usize = 200;
/// About what an award message weighs.
const FRAME_BYTES: usize = 2_048;

/// Times in milliseconds, and how often each is needed.
#[derive(Debug, Serialize)]
pub(super) struct Floor {
    parts: Vec<Part>,
    /// All of them, one after the other.
    total_ms: f64,
}

#[derive(Debug, Serialize)]
struct Part {
    what: &'static str,
    times: u32,
    each_ms: f64,
}

impl Floor {
    pub(super) fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for part in &self.parts {
            writeln!(out, "  {} x {:.3} ms  {}", part.times, part.each_ms, part.what)?;
        }
        writeln!(out, "  = {:.2} ms", self.total_ms)
    }
}

/// Measures the parts. `dir` is on the disk that the nodes use.
pub(super) fn measure(dir: &Path) -> Result<Floor, CliError> {
    let fail = |cause: io::Error| CliError::io("can't measure the floor", &cause);
    let key = AgentKey::from_seed(&[7; 32]);
    let message = [0x5a; 1_024];
    let signature = key.sign(&message);
    let (proof, signer) = proof().ok_or_else(|| fail(io::Error::other("no proof could be made")))?;
    let owner = SecretKey::generate();
    let lock = owner.sign(&message).map_err(|error| fail(io::Error::other(error.to_string())))?;
    let part = |what, times, each: Duration| Part { what, times, each_ms: each.as_secs_f64() * 1_000.0 };
    let parts = vec![
        part(
            "Ed25519 signature made",
            4,
            median(|| {
                black_box(key.sign(black_box(&message)));
            }),
        ),
        part(
            "Ed25519 signature verified",
            4,
            median(|| {
                let _ = black_box(key.id().verify(black_box(&message), &signature));
            }),
        ),
        part(
            "DLEQ proof verified",
            1,
            median(|| {
                let _ = black_box(proof.verify_dleq(signer));
            }),
        ),
        part(
            "Schnorr signature made, to redeem",
            1,
            median(|| {
                let _ = black_box(owner.sign(black_box(&message)));
            }),
        ),
        part(
            "Schnorr signature verified, by the mint",
            1,
            median(|| {
                let _ = black_box(owner.public_key().verify(black_box(&message), &lock));
            }),
        ),
        part("write and fdatasync of 4 KiB", 4, syncs(dir).map_err(fail)?),
        part("round trip of 2 KiB over loopback TCP", 2, round_trips().map_err(fail)?),
    ];
    let total_ms = parts.iter().map(|part| part.each_ms * f64::from(part.times)).sum();
    Ok(Floor { parts, total_ms })
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn proof() -> Option<(Proof, PublicKey)> {
    let key = SecretKey::generate();
    let keys = Keys::new([(Amount::from(1), key.public_key())].into());
    let id = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 0, None);
    let secret = Secret::generate();
    let (blinded, r) = blind_message(secret.as_bytes(), None).ok()?;
    let signed = sign_message(&key, &blinded).ok()?;
    let signature = BlindSignature::new(Amount::from(1), signed, id, &blinded, &key).ok()?;
    let proof = construct_proofs(vec![signature], vec![r], vec![secret], &keys).ok()?.pop()?;
    Some((proof, key.public_key()))
}

fn syncs(dir: &Path) -> io::Result<Duration> {
    let path = dir.join("floor");
    let mut file = File::create(&path)?;
    file.write_all(&[0; 64 * 4_096])?;
    file.sync_all()?;
    let mut failed = None;
    let mut round = 0;
    let each = median(|| {
        // In place: the file doesn't grow, as a database's doesn't, so only data has to reach the disk.
        let offset = (round % 64) * 4_096;
        round += 1;
        let written =
            std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4_096], offset).and_then(|()| file.sync_data());
        if let Err(error) = written {
            failed = Some(error);
        }
    });
    std::fs::remove_file(path)?;
    failed.map_or(Ok(each), Err)
}

fn round_trips() -> io::Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let mut frame = [0; FRAME_BYTES];
    let mut failed = None;
    // Both ends in one thread: the sockets and the copies, no scheduling.
    let each = median(|| {
        let mut trip = || {
            near.write_all(&frame)?;
            far.read_exact(&mut frame)?;
            far.write_all(&frame)?;
            near.read_exact(&mut frame)
        };
        if let Err(error) = trip() {
            failed = Some(error);
        }
    });
    failed.map_or(Ok(each), Err)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_floor_is_measured_from_things_that_hold() {
        let (proof, signer) = proof().unwrap();
        proof.verify_dleq(signer).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let floor = measure(dir.path()).unwrap();
        let sum: f64 = floor.parts.iter().map(|part| part.each_ms * f64::from(part.times)).sum();
        assert!((floor.total_ms - sum).abs() < 1e-9, "{floor:?}");
        // What costs nothing was optimised away, and would make every trade look slow beside it.
        assert!(
            floor.parts.len() == 7 && floor.parts.iter().all(|part| part.times > 0 && part.each_ms > 0.0),
            "{floor:?}"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
