//! A buyer that takes one offer and awards it again and again, each time with coins of a keyset that no mint has.

use std::time::Duration;

use guilder::network::Multiaddr;
use guilder_protocol::{
    award::{Award, AwardArgs},
    bytes::ByteArray,
    content::ContentId,
    envelope::Signed,
    identity::AgentId,
    locks::{Dleq, LockedProof},
    market::{Ask, AskBody, MintUrl, Offer, ServiceName, Unit},
    settlement::{AwardPart, Lock, Mode, Terms, prepaid},
    wire::{Asked, Awarded, Message, Payload},
};
use serde_bytes::ByteBuf;
use tokio::time::timeout;

use crate::world::raw_peer::{RawPeer, UnstartedPeer};

/// What it takes to do it once, as a new identity.
pub(crate) struct AwardFlood {
    pub(crate) raw_peer: UnstartedPeer,
    pub(crate) seller: (AgentId, Multiaddr),
    pub(crate) service: ServiceName,
    pub(crate) mint: MintUrl,
    pub(crate) unit: Unit,
}

impl AwardFlood {
    /// Does it until the seller hangs up.
    pub(crate) async fn commit(self) {
        let Self { raw_peer, seller: (seller, at), service, mint, unit } = self;
        let Ok(mut peer) = raw_peer.start().await else { return };
        if peer.network.dial(at).await.is_ok()
            && let Some((ask, offer)) = offered(&mut peer, seller, service, mint, unit).await
        {
            for number in 0..MOST {
                let Some(frame) = award(&peer, &ask, &offer, number) else { break };
                // Gone, it would be dialled again.
                if !peer.network.is_connected(seller) || peer.network.send(seller, frame.into()).await.is_err() {
                    break;
                }
            }
        }
        peer.stop().await;
    }
}

async fn offered(
    peer: &mut RawPeer,
    seller: AgentId,
    service: ServiceName,
    mint: MintUrl,
    unit: Unit,
) -> Option<(Signed<Ask>, Signed<Offer>)> {
    let now = peer.runtime.now();
    let body = AskBody {
        service,
        max_price: 1_000,
        unit,
        mints: vec![mint],
        modes: vec![Mode::Prepaid],
        input_size: INPUT.len() as u64,
        deadline: now.saturating_add(60),
    };
    let nonce = ByteArray(peer.runtime.random());
    let ask = Signed::claim(body, now, Some(now.saturating_add(60)), nonce, &peer.key).ok()?;
    let asked = Message::from(Asked { ask: ByteBuf::from(ask.bytes()) }).encode().ok()?;
    peer.network.send(seller, asked.into()).await.ok()?;
    let hearing = async {
        loop {
            let frame = peer.frames.recv().await?;
            match Message::decode(&frame.bytes) {
                Ok(Message::Offered(offered)) => return Signed::<Offer>::decode(&offered.offer).ok(),
                Ok(Message::Declined(_)) => return None,
                _ => {}
            }
        }
    };
    let offer = timeout(PATIENCE, hearing).await.ok()??;
    Some((ask, offer))
}

/// An award that fits its offer, and a lock that fits nothing.
fn award(peer: &RawPeer, ask: &Signed<Ask>, offer: &Signed<Offer>, number: u32) -> Option<Vec<u8>> {
    let Terms::Prepaid(terms) = &offer.body.terms else { return None };
    let args = AwardArgs {
        task: ask.cid(),
        service: offer.body.service.clone(),
        ask: ask.cid(),
        offer: offer.cid(),
        input: ContentId::of(INPUT).hash,
        mint: offer.body.mints.first()?.clone(),
        price: offer.body.price,
        unit: offer.body.unit.clone(),
        spent: offer.body.price,
        seller: offer.issuer(),
        deadline: offer.body.deadline,
        depth: 0,
    };
    let part = AwardPart::Prepaid(prepaid::AwardPart { locktime: terms.locktime, ys: ByteArray([1; 32]) });
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    let now = peer.runtime.now();
    let award = Award::sign(&args, &part, peer.key.id(), Vec::new(), now, ByteArray(nonce), &peer.key).ok()?;
    let proof = LockedProof {
        amount: offer.body.price,
        c: terms.payee,
        dleq: Dleq { e: ByteArray([1; 32]), r: ByteArray([2; 32]), s: ByteArray([3; 32]) },
        id: "00ffffffffffffff".parse().ok()?,
        secret: "[\"P2PK\",{}]".to_owned(),
    };
    let awarded = Awarded {
        award: ByteBuf::from(award.invocation().bytes()),
        offer: ByteBuf::from(offer.bytes()),
        ask: ByteBuf::from(ask.bytes()),
        proofs: Vec::new(),
        lock: Lock::Prepaid(prepaid::Lock { proofs: vec![proof], refund: terms.payee }),
        input: Payload::Inline(ByteBuf::from(INPUT)),
        grant: None,
    };
    Message::from(awarded).encode().ok()
}

const INPUT: &[u8] = b"hello";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who isn't cut off goes on with a new identity.
const MOST: u32 = 2_000;
