//! The floor of a trade: what its unavoidable parts cost on this machine, each bare, one after the other.
//!
//! Counted for one prepaid trade with one proof: ask, offer, award and receipt are each signed once and verified once;
//! the proof's DLEQ is checked once (NUT-12), its lock is signed for and verified once when it is redeemed (NUT-11);
//! award and outcome are made durable at the buyer, acceptance and delivery at the seller; and there are two round
//! trips, ask and offer, award and delivery.
//!
//! In escrow acceptance and *received* are signed and the former verified on the way, the output is sealed and opened, the buyer
//! checks the DLEQ of what it locks, both sign for the proof and seller and mint verify that; the lock and the redemption are a
//! swap each at the mint, durable at its customer before it is posted; and delivery and release are durable, too. Release and key
//! are a round trip more, and so is each swap. A swap is that of one proof for one at the file-backed mint, without the way to it.
//!
//! (The proof's crypto is cdk's, and so is the mint; both are called here bare, as the yardstick.)

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
    nuts::{BlindSignature, BlindedMessage, CurrencyUnit, Id, Keys, Proof, PublicKey, SecretKey},
    secret::Secret,
};
use guilder_protocol::{
    identity::AgentKey,
    seal::{self, SealKey},
};
use serde::Serialize;

use super::super::swarm::UNIT;
use crate::{
    console::CliError,
    mint::{HostedMint, MintConfig, MintUnit},
    runtime::{Inline, Runtime},
    trade::HireMode,
    wallet::connector::{
        Exchange as _,
        frames::{Method, Request},
    },
};

const ROUNDS: usize = 200;
/// Swaps at the mint are slower, and there is little between them.
const SWAPS: usize = 50;
/// How often a mint is asked whether its invoice is paid: five seconds in all.
const PAYMENT_TRIES: usize = 100;
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
    pub(super) fn total_ms(&self) -> f64 {
        self.total_ms
    }

    pub(super) fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for part in &self.parts {
            writeln!(out, "  {} x {:.3} ms  {}", part.times, part.each_ms, part.what)?;
        }
        writeln!(out, "  = {:.2} ms", self.total_ms)
    }
}

/// Measures the parts of a trade that is paid in this mode. `dir` is on the disk that the nodes use.
pub(super) async fn measure(dir: &Path, mode: HireMode) -> Result<Floor, CliError> {
    let fail = |cause: io::Error| CliError::io("can't measure the floor", &cause);
    let in_escrow = mode == HireMode::Escrow;
    let mut parts = crypto(in_escrow).map_err(fail)?;
    let each = [syncs(dir).map_err(fail)?, round_trips().map_err(fail)?];
    let times = if in_escrow { [8, 5] } else { [4, 2] };
    parts.push(part("write and fdatasync of 4 KiB", times[0], each[0]));
    parts.push(part("round trip of 2 KiB over loopback TCP", times[1], each[1]));
    if in_escrow {
        let each = swaps(&dir.join("floor-mint")).await.map_err(fail)?;
        parts.push(part("swap of one proof at a mint on this disk, in this process", 2, each));
    }
    let total_ms = parts.iter().map(|part| part.each_ms * f64::from(part.times)).sum();
    Ok(Floor { parts, total_ms })
}

fn part(what: &'static str, times: u32, each: Duration) -> Part {
    Part { what, times, each_ms: each.as_secs_f64() * 1_000.0 }
}

/// Signatures, proofs and seals.
fn crypto(in_escrow: bool) -> io::Result<Vec<Part>> {
    let key = AgentKey::from_seed(&[7; 32]);
    let message = [0x5a; 1_024];
    let signature = key.sign(&message);
    let (proof, signer) = proof().ok_or_else(|| io::Error::other("no proof could be made"))?;
    let owner = SecretKey::generate();
    let lock = owner.sign(&message).map_err(io::Error::other)?;
    let times = if in_escrow { [6, 5, 2, 2, 3] } else { [4, 4, 1, 1, 1] };
    let signed = median(|| {
        black_box(key.sign(black_box(&message)));
    });
    let verified = median(|| {
        let _ = black_box(key.id().verify(black_box(&message), &signature));
    });
    let dleq = median(|| {
        let _ = black_box(proof.verify_dleq(signer));
    });
    let schnorr = median(|| {
        let _ = black_box(owner.sign(black_box(&message)));
    });
    let schnorr_verified = median(|| {
        let _ = black_box(owner.public_key().verify(black_box(&message), &lock));
    });
    let mut parts = vec![
        part("Ed25519 signature made", times[0], signed),
        part("Ed25519 signature verified", times[1], verified),
        part("DLEQ proof verified", times[2], dleq),
        part("Schnorr signature made, for a proof", times[3], schnorr),
        part("Schnorr signature verified, for a proof", times[4], schnorr_verified),
    ];
    if in_escrow {
        let (seal_key, salt) = (SealKey::new([7; 32]), [9; 32].into());
        let (sealed, _) = seal::seal(&seal_key, &salt, &message).map_err(io::Error::other)?;
        let sealing = median(|| {
            let _ = black_box(seal::seal(&seal_key, &salt, black_box(&message)));
        });
        let opening = median(|| {
            let _ = black_box(seal::open(&seal_key, black_box(&sealed)));
        });
        parts.push(part("output of 1 KiB sealed", 1, sealing));
        parts.push(part("output of 1 KiB opened", 1, opening));
    }
    Ok(parts)
}

/// What a mint takes to swap one proof for one, its books on a disk and everything but the call itself made before.
async fn swaps(folder: &Path) -> io::Result<Duration> {
    let unit = MintUnit { unit: UNIT.parse().map_err(io::Error::other)?, ..MintUnit::default() };
    let config = MintConfig { units: vec![unit], ..MintConfig::default() };
    let runtime = Runtime::with(Inline);
    let mint = HostedMint::open(folder, &config, &[7; 64], &runtime).await.map_err(io::Error::other)?;
    let mut customer = Customer::of(mint).await?;
    let mut coin = customer.issued().await?;
    let mut times = Vec::with_capacity(SWAPS);
    for _ in 0..SWAPS {
        let (output, secret, r) = customer.output()?;
        let body = serde_json::json!({ "inputs": [coin], "outputs": [output] });
        let began = Instant::now();
        let reply: serde_json::Value = customer.post("/v1/swap", &body).await?;
        times.push(began.elapsed());
        coin = customer.coin(&reply, secret, r)?;
    }
    times.sort_unstable();
    drop(customer);
    runtime.shutdown().await;
    std::fs::remove_dir_all(folder)?;
    Ok(times[SWAPS / 2])
}

/// What a mint's customer knows.
struct Customer {
    mint: HostedMint,
    id: Id,
    keys: Keys,
}

impl Customer {
    async fn of(mint: HostedMint) -> io::Result<Self> {
        let body = Vec::new();
        let reply = mint.exchange(Request { method: Method::Get, path: "/v1/keys".into(), body }).await;
        let keys: cdk::nuts::KeysResponse = read(&reply.map_err(io::Error::other)?.body)?;
        let keyset = keys.keysets.into_iter().next().ok_or_else(|| io::Error::other("the mint has no keys"))?;
        Ok(Self { mint, id: keyset.id, keys: keyset.keys })
    }

    async fn post(&self, path: &str, body: &serde_json::Value) -> io::Result<serde_json::Value> {
        let request = Request { method: Method::Post, path: path.into(), body: body.to_string().into_bytes() };
        read(&self.mint.exchange(request).await.map_err(io::Error::other)?.body)
    }

    fn output(&self) -> io::Result<(BlindedMessage, Secret, SecretKey)> {
        let secret = Secret::generate();
        let (blinded, r) = blind_message(secret.as_bytes(), None).map_err(io::Error::other)?;
        Ok((BlindedMessage::new(Amount::from(1), self.id, blinded), secret, r))
    }

    fn coin(&self, reply: &serde_json::Value, secret: Secret, r: SecretKey) -> io::Result<Proof> {
        let signatures = serde_json::from_value(reply["signatures"].clone()).map_err(io::Error::other)?;
        let proofs = construct_proofs(signatures, vec![r], vec![secret], &self.keys).map_err(io::Error::other)?;
        let proof = proofs.into_iter().next().ok_or_else(|| io::Error::other(format!("no coin: {reply}")))?;
        Ok(Proof { dleq: None, ..proof })
    }

    /// A coin that the mint issues for an invoice, which pays itself.
    async fn issued(&mut self) -> io::Result<Proof> {
        let wanted = serde_json::json!({ "amount": 1, "unit": UNIT });
        let quote = self.post("/v1/mint/quote/bolt11", &wanted).await?["quote"].clone();
        let (output, secret, r) = self.output()?;
        let request = serde_json::json!({ "quote": quote, "outputs": [output] });
        for _ in 0..PAYMENT_TRIES {
            let reply = self.post("/v1/mint/bolt11", &request).await?;
            if reply.get("signatures").is_some() {
                return self.coin(&reply, secret, r);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(io::Error::other("the mint's invoice was not paid"))
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(io::Error::other)
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

    #[tokio::test]
    async fn the_floor_is_measured_from_things_that_hold() {
        let (proof, signer) = proof().unwrap();
        proof.verify_dleq(signer).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (mode, count) in [(HireMode::Prepaid, 7), (HireMode::Escrow, 10)] {
            let floor = measure(dir.path(), mode).await.unwrap();
            let sum: f64 = floor.parts.iter().map(|part| part.each_ms * f64::from(part.times)).sum();
            assert!((floor.total_ms() - sum).abs() < 1e-9, "{floor:?}");
            // What costs nothing was optimised away, and would make every trade look slow beside it.
            assert!(
                floor.parts.len() == count && floor.parts.iter().all(|part| part.times > 0 && part.each_ms > 0.0),
                "{floor:?}"
            );
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        }
    }
}
