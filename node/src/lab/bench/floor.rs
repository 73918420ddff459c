//! The floor of a trade: what its unavoidable parts cost on this machine, each bare, one after the other; in all three nodes.
//!
//! Counted for one prepaid trade with one proof: ask, offer, award, acceptance, receipt and *received* are each signed once and verified
//! once. Of the proof: the buyer blinds it, the mint signs it and proves that (NUT-12), the buyer checks the proof and unblinds; the
//! seller checks it again, and signs for it when it is redeemed (NUT-11); the mint verifies that, and its own signature. Each of buyer,
//! seller and mint hashes its secret to the curve where it needs the point. A redemption's few outputs are blinded, signed, checked and
//! unblinded once for a whole batch of trades.
//!
//! Award and outcome are made durable at the buyer, acceptance and delivery at the seller; a swap twice at the wallet, before it is posted
//! and when its coins are there, and twice at the mint: of which a trade bears its share, as there is a refill for very many locks and
//! a redemption for a batch. There are two round trips, ask and offer, award and delivery, each of which wakes a process at both ends;
//! and its share of those to the mint.
//!
//! In escrow the output is sealed and opened, both sides sign for the proof, and seller and mint verify that; the lock and the redemption
//! are a swap each at the mint; and delivery and release are durable, too. Release and key are a round trip more, and so is each swap. A
//! swap is that of one proof for one at the file-backed mint, without the way to it.
//!
//! (The proof's crypto is cdk's, and so is the mint; both are called here bare, as the yardstick.)

use std::{
    fmt,
    fs::File,
    hint::black_box,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use cdk::{
    Amount,
    dhke::{blind_message, construct_proofs, hash_to_curve, sign_message, unblind_message, verify_message},
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
    wallet::{
        PurseConfig, RedemptionConfig,
        connector::{
            Exchange as _,
            frames::{Method, Request},
        },
    },
};

const ROUNDS: usize = 200;
/// Swaps at the mint are slower, and there is little between them.
const SWAPS: usize = 50;
/// How often a mint is asked whether its invoice is paid: five seconds in all.
const PAYMENT_TRIES: usize = 100;
/// Outputs of a redemption: a batch's worth in powers of two.
const REDEEMED_OUTPUTS: f64 = 7.0;
/// Commits of a swap at the wallet and at the mint.
const SWAP_COMMITS: f64 = 2.0;
/// About what an award message weighs.
const FRAME_BYTES: usize = 2_048;

/// Times in milliseconds, and how often each is needed.
#[derive(Debug, Serialize)]
pub(super) struct Floor {
    parts: Vec<Part>,
    /// What of it is cryptography: CPU, whichever node's.
    crypto_ms: f64,
    /// All of them, one after the other.
    total_ms: f64,
}

#[derive(Debug, Serialize)]
struct Part {
    what: &'static str,
    /// A share, of what is done once for many trades.
    times: f64,
    each_ms: f64,
}

impl Floor {
    pub(super) fn total_ms(&self) -> f64 {
        self.total_ms
    }

    pub(super) fn crypto_ms(&self) -> f64 {
        self.crypto_ms
    }

    pub(super) fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for part in &self.parts {
            writeln!(out, "  {:5.2} x {:.3} ms  {}", part.times, part.each_ms, part.what)?;
        }
        writeln!(out, "  = {:.2} ms, of which {:.2} ms are cryptography", self.total_ms, self.crypto_ms)
    }
}

/// Measures the parts of a trade that is paid in this mode. `dir` is on the disk that the nodes use.
pub(super) async fn measure(dir: &Path, mode: HireMode) -> Result<Floor, CliError> {
    let fail = |cause: io::Error| CliError::io("can't measure the floor", &cause);
    let in_escrow = mode == HireMode::Escrow;
    let mut parts = crypto(in_escrow).map_err(fail)?;
    let crypto_ms = sum(&parts);
    // Swaps that a trade bears: its own two in escrow; else its shares of a refill, in the mean half of the largest, and of a redemption.
    let (locks, batch) = (PurseConfig::default().batch as f64 / 2.0, RedemptionConfig::default().batch as f64);
    let swaps_borne = if in_escrow { 2.0 } else { 1.0 / locks + 1.0 / batch };
    let (commits, trips) = if in_escrow {
        // The mint's own commits are in the swap.
        (6.0 + SWAP_COMMITS * swaps_borne, 3.0 + swaps_borne)
    } else {
        (4.0 + 2.0 * SWAP_COMMITS * swaps_borne, 2.0 + swaps_borne)
    };
    parts.push(part("write and fdatasync of 4 KiB", commits, syncs(dir).map_err(fail)?));
    parts.push(part("round trip of 2 KiB over loopback TCP", trips, round_trips().map_err(fail)?));
    parts.push(part("wake-up by a byte from elsewhere", 2.0 * trips, wake_ups().map_err(fail)?));
    if in_escrow {
        let each = swaps(&dir.join("floor-mint")).await.map_err(fail)?;
        parts.push(part("swap of one proof at a mint on this disk, in this process", swaps_borne, each));
    }
    Ok(Floor { total_ms: sum(&parts), parts, crypto_ms })
}

fn part(what: &'static str, times: f64, each: Duration) -> Part {
    Part { what, times, each_ms: each.as_secs_f64() * 1_000.0 }
}

fn sum(parts: &[Part]) -> f64 {
    parts.iter().map(|part| part.each_ms * part.times).sum()
}

/// Signatures, proofs and seals.
fn crypto(in_escrow: bool) -> io::Result<Vec<Part>> {
    let key = AgentKey::from_seed(&[7; 32]);
    let message = [0x5a; 1_024];
    let signature = key.sign(&message);
    let signed = median(|| {
        black_box(key.sign(black_box(&message)));
    });
    let verified = median(|| {
        let _ = black_box(key.id().verify(black_box(&message), &signature));
    });
    let mut parts =
        vec![part("Ed25519 signature made", 6.0, signed), part("Ed25519 signature verified", 6.0, verified)];
    parts.extend(of_proofs(in_escrow)?);
    if in_escrow {
        let (seal_key, salt) = (SealKey::new([7; 32]), [9; 32].into());
        let (sealed, _) = seal::seal(&seal_key, &salt, &message).map_err(io::Error::other)?;
        let sealing = median(|| {
            let _ = black_box(seal::seal(&seal_key, &salt, black_box(&message)));
        });
        let opening = median(|| {
            let _ = black_box(seal::open(&seal_key, black_box(&sealed)));
        });
        parts.push(part("output of 1 KiB sealed", 1.0, sealing));
        parts.push(part("output of 1 KiB opened", 1.0, opening));
    }
    Ok(parts)
}

/// What the wallets do with a trade's proof, and the mint where it isn't measured whole.
fn of_proofs(in_escrow: bool) -> io::Result<Vec<Part>> {
    let Bare { proof, secret_key, blinded, signed, r } =
        Bare::new().ok_or_else(|| io::Error::other("no proof could be made"))?;
    let (signer, secret, owner) = (secret_key.public_key(), proof.secret.clone(), SecretKey::generate());
    let lock = owner.sign(secret.as_bytes()).map_err(io::Error::other)?;
    // A lock's proof and, of the coins that it is redeemed for, all or a share.
    let redeemed = if in_escrow { 1.0 } else { REDEEMED_OUTPUTS / RedemptionConfig::default().batch as f64 };
    let made = 1.0 + redeemed;
    let hashed = median(|| {
        let _ = black_box(hash_to_curve(black_box(secret.as_bytes())));
    });
    let blinding = median(|| {
        let _ = black_box(blind_message(black_box(secret.as_bytes()), None));
    });
    let dleq = median(|| {
        let _ = black_box(proof.verify_dleq(signer));
    });
    let unblinding = median(|| {
        let _ = black_box(unblind_message(black_box(&signed), &r, &signer));
    });
    let schnorr = median(|| {
        let _ = black_box(owner.sign(black_box(secret.as_bytes())));
    });
    let schnorr_verified = median(|| {
        let _ = black_box(owner.public_key().verify(black_box(secret.as_bytes()), &lock));
    });
    let (points, signatures, checks) = if in_escrow { (3.0, 2.0, 3.0) } else { (3.0, 1.0, 1.0) };
    let mut parts = vec![
        part("secret hashed to the curve", points, hashed),
        part("secret hashed and blinded", made, blinding),
        part("DLEQ proof verified", 1.0 + made, dleq),
        part("signature of the mint unblinded", made, unblinding),
        part("Schnorr signature made, for a proof", signatures, schnorr),
        part("Schnorr signature verified, for a proof", checks, schnorr_verified),
    ];
    if !in_escrow {
        let signing = median(|| {
            let signed = sign_message(&secret_key, black_box(&blinded)).ok();
            let amount = Amount::from(1);
            let _ = black_box(signed.map(|c| BlindSignature::new(amount, c, proof.keyset_id, &blinded, &secret_key)));
        });
        let checking = median(|| {
            let _ = black_box(verify_message(&secret_key, black_box(proof.c), secret.as_bytes()));
        });
        parts.push(part("blinded message signed by the mint, with its DLEQ proof", made, signing));
        parts.push(part("proof hashed and verified by the mint", 1.0, checking));
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

/// A proof, and what it was made of.
struct Bare {
    proof: Proof,
    /// The mint's, for its amount.
    secret_key: SecretKey,
    blinded: PublicKey,
    signed: PublicKey,
    /// The blinding factor.
    r: SecretKey,
}

impl Bare {
    fn new() -> Option<Self> {
        let secret_key = SecretKey::generate();
        let keys = Keys::new([(Amount::from(1), secret_key.public_key())].into());
        let id = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 0, None);
        let secret = Secret::generate();
        let (blinded, r) = blind_message(secret.as_bytes(), None).ok()?;
        let signed = sign_message(&secret_key, &blinded).ok()?;
        let signature = BlindSignature::new(Amount::from(1), signed, id, &blinded, &secret_key).ok()?;
        let proof = construct_proofs(vec![signature], vec![r.clone()], vec![secret], &keys).ok()?.pop()?;
        Some(Self { proof, secret_key, blinded, signed, r })
    }
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

/// A thread that waits for a byte is woken by one, and wakes in return.
fn wake_ups() -> io::Result<Duration> {
    let (mut near, mut far) = UnixStream::pair()?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let mut failed = None;
    let both = median(|| {
        let mut byte = [1];
        if let Err(error) = near.write_all(&byte).and_then(|()| near.read_exact(&mut byte)) {
            failed = Some(error);
        }
    });
    drop(near);
    let _ = echo.join();
    failed.map_or(Ok(both / 2), Err)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_floor_is_measured_from_things_that_hold() {
        let Bare { proof, secret_key, signed, r, .. } = Bare::new().unwrap();
        proof.verify_dleq(secret_key.public_key()).unwrap();
        verify_message(&secret_key, proof.c, proof.secret.as_bytes()).unwrap();
        assert_eq!(unblind_message(&signed, &r, &secret_key.public_key()).unwrap(), proof.c);
        let dir = tempfile::tempdir().unwrap();
        for (mode, count) in [(HireMode::Prepaid, 13), (HireMode::Escrow, 14)] {
            let floor = measure(dir.path(), mode).await.unwrap();
            let sum: f64 = floor.parts.iter().map(|part| part.each_ms * part.times).sum();
            assert!((floor.total_ms() - sum).abs() < 1e-9 && floor.crypto_ms() < sum, "{floor:?}");
            // What costs nothing was optimised away, and would make every trade look slow beside it.
            assert!(
                floor.parts.len() == count && floor.parts.iter().all(|part| part.times > 0.0 && part.each_ms > 0.0),
                "{floor:?}"
            );
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        }
    }
}
