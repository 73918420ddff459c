//! What floods and forges send.

use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::join_all};
use guilder::parts::Node;
use guilder_protocol::{
    bytes::ByteArray,
    envelope::Signed,
    identity::{AgentId, AgentKey},
    market::{Advert, AdvertBody, Ask, AskBody, MintUrl, ServiceName, Unit},
    settlement::Mode,
    wire::{Asked, Message},
};
use serde_bytes::ByteBuf;
use tokio::time::{sleep, timeout};

use crate::{fabric::Dial, interpose::Rng, scenario::Adversary};

/// What it takes to misbehave once.
pub(crate) struct Misbehaviour {
    pub(crate) cheat: Adversary,
    pub(crate) node: Node,
    pub(crate) key: AgentKey,
    pub(crate) victim: AgentId,
    /// Connections to the victim with nothing of libp2p on them, if it wants any.
    pub(crate) raw: Vec<Dial>,
    pub(crate) service: ServiceName,
    pub(crate) mint: MintUrl,
    pub(crate) unit: Unit,
    pub(crate) rng: Rng,
}

impl Misbehaviour {
    /// Misbehaves once. What comes of it is the victims' business.
    pub(crate) async fn commit(mut self) {
        match self.cheat {
            Adversary::BuyerFloodsAsks => {
                for _ in 0..ASKS_AT_ONCE {
                    let Some(ask) = self.ask() else { return };
                    if self.node.network.send(self.victim, ask).await.is_err() {
                        return;
                    }
                }
            }
            Adversary::ForgesGossip => {
                let Some(mut advert) = self.advert(20) else { return };
                let at = self.rng.below(advert.len() as u64) as usize;
                advert[at] ^= 1 << self.rng.below(8);
                // Refused by our own node's rules, or passed on and refused by the next.
                let _ = self.node.network.publish(&self.service, Bytes::from(advert)).await;
            }
            Adversary::SendsGarbage => {
                let noise: Vec<u8> = (0..1 + self.rng.below(600)).map(|_| self.rng.draw() as u8).collect();
                // A victim that hangs up is one that does right.
                match self.raw.pop() {
                    Some(dial) => shout(dial, &noise).await,
                    None => drop(self.node.network.send(self.victim, Bytes::from(noise)).await),
                }
            }
            Adversary::HoldsConnections => {
                join_all(std::mem::take(&mut self.raw).into_iter().map(|dial| hold(dial, &[]))).await;
            }
            Adversary::Drips => {
                join_all(std::mem::take(&mut self.raw).into_iter().map(|dial| hold(dial, MULTISTREAM))).await;
            }
            Adversary::FloodsGossip => {
                for _ in 0..ADVERTS_AT_ONCE {
                    let seed: ByteArray<32> = self.nonce();
                    self.key = AgentKey::from_seed(&seed.0);
                    let Some(advert) = self.advert(DESCRIPTION_BYTES) else { return };
                    let _ = self.node.network.publish(&self.service, Bytes::from(advert)).await;
                }
            }
            _ => {}
        }
    }

    fn nonce<const N: usize>(&mut self) -> ByteArray<N> {
        let mut bytes = [0; N];
        bytes.iter_mut().for_each(|byte| *byte = self.rng.draw() as u8);
        ByteArray(bytes)
    }

    /// A valid ask that leads nowhere.
    fn ask(&mut self) -> Option<Bytes> {
        let now = self.node.runtime.now();
        let body = AskBody {
            service: self.service.clone(),
            max_price: 1_000,
            unit: self.unit.clone(),
            mints: vec![self.mint.clone()],
            modes: vec![Mode::Prepaid],
            input_size: 100,
            deadline: now.saturating_add(60),
        };
        let nonce = self.nonce();
        let ask: Signed<Ask> = Signed::claim(body, now, Some(now.saturating_add(30)), nonce, &self.key).ok()?;
        let message = Message::from(Asked { ask: ByteBuf::from(ask.bytes()) });
        message.encode().ok().map(Bytes::from)
    }

    fn advert(&mut self, description_bytes: usize) -> Option<Vec<u8>> {
        let now = self.node.runtime.now();
        let body = AdvertBody {
            service: self.service.clone(),
            description: "the best there is ".chars().cycle().take(description_bytes).collect(),
            price: 1,
            unit: self.unit.clone(),
            mints: vec![self.mint.clone()],
            modes: vec![Mode::Prepaid],
            input: None,
            output: None,
            max_input: 10_000,
            max_output: 10_000,
            time_limit: 10,
        };
        let nonce = self.nonce();
        let advert: Signed<Advert> = Signed::claim(body, now, Some(now.saturating_add(600)), nonce, &self.key).ok()?;
        Some(advert.bytes().to_vec())
    }
}

/// Writes bytes to whoever listens and waits a while for it to hang up.
async fn shout(dial: Dial, noise: &[u8]) {
    let shouting = async {
        let mut stream = dial.await?;
        stream.write_all(noise).await?;
        stream.read(&mut [0; 64]).await
    };
    // However it ends.
    let _ = timeout(Duration::from_secs(10), shouting).await;
}

/// Sends a text byte by byte, and then nothing more, until the other side hangs up.
async fn hold(dial: Dial, text: &[u8]) {
    let holding = async {
        let mut stream = dial.await?;
        for letter in text {
            stream.write_all(&[*letter]).await?;
            sleep(DRIP).await;
        }
        stream.read(&mut [0; 64]).await
    };
    // However it ends.
    let _ = timeout(HELD, holding).await;
}

/// How a libp2p connection begins.
const MULTISTREAM: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";
/// Between two bytes of who is slow.
const DRIP: Duration = Duration::from_secs(1);
/// The longest that a connection is held.
const HELD: Duration = Duration::from_secs(60);
/// A flood comes in bursts.
const ASKS_AT_ONCE: u32 = 10;
const ADVERTS_AT_ONCE: u32 = 10;
/// An advert of about a kilobyte.
const DESCRIPTION_BYTES: usize = 800;
