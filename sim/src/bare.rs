//! The bare cryptography of a run: how often what is unavoidable was done, and what that costs by itself on this machine.
//!
//! How fast a run is depends on the machine; how many times its bare cryptography it takes does much less. Counted are the
//! signatures of statements (told by the nodes' events: each is made once and checked once by who takes it), the points that
//! mints multiply, the DLEQ proofs and lock signatures of wallets (what they give to [`Offload`]), and the handshakes of
//! connections, both sides together.
//!
//! [`Offload`]: guilder::runtime::Offload

use std::{
    hint::black_box,
    ops::Sub,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cashu::{
    Amount, BlindSignature, CurrencyUnit, Id, Keys, Proof, PublicKey, SecretKey,
    dhke::{blind_message, construct_proofs, sign_message},
    secret::Secret,
};
use futures::{StreamExt as _, executor::block_on, future::join};
use guilder::{
    events::{Event, Side},
    network::transport,
    runtime::Job,
};
use guilder_protocol::identity::AgentKey;
use libp2p::{
    Transport as _,
    core::{
        transport::{DialOpts, MemoryTransport, PortUse, TransportEvent},
        upgrade::Version,
    },
    noise,
};
use serde::{Deserialize, Serialize};

use crate::world::WorldError;

/// How often each was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Statements signed (Ed25519).
    pub signed: u64,
    /// Statements checked (Ed25519).
    pub verified: u64,
    /// Points multiplied by mints: outputs signed with a DLEQ proof, and inputs checked.
    pub points: u64,
    /// DLEQ proofs checked by wallets (NUT-12).
    pub dleqs: u64,
    /// Locks signed and messages blinded by wallets (secp256k1).
    pub locks: u64,
    /// Connections made.
    pub handshakes: u64,
}

/// Counts as operations are done. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<Operations>>);

impl Tally {
    /// Counts what a machine is given to do.
    pub(crate) fn job(&self, job: Job) {
        let mut counted = self.lock();
        match job {
            Job::Dleq(count) => counted.dleqs += u64::from(count),
            Job::Signatures(count) => counted.locks += u64::from(count),
            _ => {}
        }
    }

    /// Counts what an event tells of statements: who sends one has made its signature, who takes one has checked it.
    pub(crate) fn event(&self, event: &Event) {
        let (signed, verified) = match event {
            Event::Searching { .. } | Event::Offered { side: Side::Seller, .. } => (1, 0),
            Event::Awarded { side: Side::Buyer, .. } | Event::Delivered { side: Side::Seller, .. } => (1, 0),
            // with the offer that it answers
            Event::Awarded { side: Side::Seller, .. } => (0, 2),
            Event::Asked { side: Side::Seller, .. } | Event::Offered { side: Side::Buyer, .. } => (0, 1),
            Event::Delivered { side: Side::Buyer, .. } | Event::AdvertSeen { .. } => (0, 1),
            _ => return,
        };
        let mut counted = self.lock();
        counted.signed += signed;
        counted.verified += verified;
    }

    /// All so far, with what mints and the fabric have counted.
    pub(crate) fn with(&self, points: u64, handshakes: u64) -> Operations {
        Operations { points, handshakes, ..*self.lock() }
    }

    fn lock(&self) -> MutexGuard<'_, Operations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sub for Operations {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            signed: self.signed - before.signed,
            verified: self.verified - before.verified,
            points: self.points - before.points,
            dleqs: self.dleqs - before.dleqs,
            locks: self.locks - before.locks,
            handshakes: self.handshakes - before.handshakes,
        }
    }
}

/// What each costs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    signed: f64,
    verified: f64,
    points: f64,
    dleqs: f64,
    locks: f64,
    handshakes: f64,
}

impl Costs {
    /// Measures them, in about a second of an optimized build.
    ///
    /// # Errors
    /// If one of them doesn't work.
    pub fn measure() -> Result<Self, WorldError> {
        let key = AgentKey::from_seed(&[7; 32]);
        let message = [0x5a; 1_024];
        let signature = key.sign(&message);
        let mint = SecretKey::generate();
        let (proof, signer) = proof(&mint).ok_or_else(|| WorldError::new("no proof could be made"))?;
        let owner = SecretKey::generate();
        let signing = median(|| drop(black_box(promise(&mint, b"output"))));
        Ok(Self {
            signed: median(|| _ = black_box(key.sign(black_box(&message)))),
            verified: median(|| _ = black_box(key.id().verify(black_box(&message), &signature))),
            // What a swap has of both: an input checked for an output signed. `promise` also blinds, as a wallet does.
            points: signing / 2.0,
            dleqs: median(|| drop(black_box(proof.verify_dleq(signer)))),
            locks: median(|| drop(black_box(owner.sign(black_box(&message))))),
            handshakes: handshake()?,
        })
    }

    /// What so many cost, in seconds.
    pub fn secs(&self, of: &Operations) -> f64 {
        let each = [
            (of.signed, self.signed),
            (of.verified, self.verified),
            (of.points, self.points),
            (of.dleqs, self.dleqs),
            (of.locks, self.locks),
            (of.handshakes, self.handshakes),
        ];
        each.iter().map(|(count, secs)| *count as f64 * secs).sum()
    }
}

impl std::fmt::Display for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = |secs: f64| secs * 1e6;
        write!(
            f,
            "bare: signature {:.0} us made, {:.0} us checked; mint's point {:.0} us; DLEQ proof {:.0} us; lock {:.0} us; \
             handshake {:.0} us",
            us(self.signed),
            us(self.verified),
            us(self.points),
            us(self.dleqs),
            us(self.locks),
            us(self.handshakes)
        )
    }
}

const ROUNDS: usize = 200;

fn median(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2].as_secs_f64()
}

/// An output blinded and signed, with its DLEQ proof.
fn promise(mint: &SecretKey, secret: &[u8]) -> Option<(BlindSignature, SecretKey)> {
    let keys = Keys::new([(Amount::from(1), mint.public_key())].into());
    let id = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 0, None);
    let (blinded, r) = blind_message(secret, None).ok()?;
    let signed = sign_message(mint, &blinded).ok()?;
    Some((BlindSignature::new(Amount::from(1), signed, id, &blinded, mint).ok()?, r))
}

fn proof(mint: &SecretKey) -> Option<(Proof, PublicKey)> {
    let secret = Secret::generate();
    let (promise, r) = promise(mint, secret.as_bytes())?;
    let keys = Keys::new([(Amount::from(1), mint.public_key())].into());
    let proof = construct_proofs(vec![promise], vec![r], vec![secret], &keys).ok()?.pop()?;
    Some((proof, mint.public_key()))
}

/// Noise and yamux over memory, both sides.
fn handshake() -> Result<f64, WorldError> {
    let keys = [1, 2].map(|seed| transport::keypair(&AgentKey::from_seed(&[seed; 32])).map_err(WorldError::new));
    let [near, far] = keys;
    let wires = |pair: &libp2p::identity::Keypair| {
        let noise = noise::Config::new(pair).map_err(WorldError::new)?;
        // Not lazily: then the dialler says the last of it only with its first data, which never comes.
        let wires = MemoryTransport::new().upgrade(Version::V1).authenticate(noise);
        Ok::<_, WorldError>(wires.multiplex(transport::multiplexer()).boxed())
    };
    let (mut near, mut far) = (wires(&near?)?, wires(&far?)?);
    let anywhere = "/memory/0".parse().map_err(WorldError::new)?;
    far.listen_on(libp2p::core::transport::ListenerId::next(), anywhere).map_err(WorldError::new)?;
    let listening = block_on(far.next()).and_then(TransportEvent::into_new_address);
    let address = listening.ok_or_else(|| WorldError::new("memory isn't listened to"))?;
    let options = DialOpts { role: libp2p::core::Endpoint::Dialer, port_use: PortUse::New };
    let mut failed = None;
    let each = median(|| {
        let accept = async {
            loop {
                if let Some((upgrade, _)) = far.next().await.and_then(TransportEvent::into_incoming) {
                    break upgrade.await;
                }
            }
        };
        let made = match near.dial(address.clone(), options) {
            // Both held until both are done.
            Ok(dial) => block_on(join(dial, accept)),
            Err(error) => return failed = Some(error.to_string()),
        };
        if let (Err(error), _) | (_, Err(error)) = made {
            failed = Some(error.to_string());
        }
    });
    failed.map_or(Ok(each), |error| Err(WorldError::new(error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_operation_is_measured_and_counts_as_often_as_it_was_done() {
        let costs = Costs::measure().unwrap();
        let one = Operations { signed: 1, verified: 1, points: 1, dleqs: 1, locks: 1, handshakes: 1 };
        let parts = [costs.signed, costs.verified, costs.points, costs.dleqs, costs.locks, costs.handshakes];
        assert!(parts.iter().all(|secs| *secs > 0.0), "{costs}");
        assert!((costs.secs(&one) - parts.iter().sum::<f64>()).abs() < 1e-9);
        let three = Operations { signed: 3, ..Operations::default() };
        assert!((costs.secs(&(three - Operations { signed: 1, ..three })) - 2.0 * costs.signed).abs() < 1e-9);
    }
}
