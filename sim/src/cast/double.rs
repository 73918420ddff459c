//! A buyer that pays twice with the same money.
//!
//! ```text
//! its wallet (its node's) ── one lock, to seller A
//! its peer (a new identity each time) ── ask ─▶ A, A, B      three offers
//!                                     ── award 1 ─▶ A        honest: the lock pays for it
//!                                     ── award 2 ─▶ A        another offer, the same proofs
//!                                     ── award 3 ─▶ A        the first offer again, signed anew
//!                                     ── award 4 ─▶ B        locked to A, and shown to B
//! ```
//!
//! The three false awards come at once with the true one, or when that has been delivered, or when A has redeemed and the
//! proofs are spent. Only its trade room is replaced, by this; wallet, mint and connections are a node's. It can't spend
//! the lock at the mint first: until the locktime the mint wants the seller's signature.

use std::time::Duration;

use guilder::{
    network::Multiaddr,
    wallet::{LockRequest, PreparedLock, Wallet},
};
use guilder_protocol::{
    award::{Award, AwardArgs},
    bytes::ByteArray,
    content::ContentId,
    envelope::Signed,
    identity::AgentId,
    market::{Ask, AskBody, MintUrl, Offer, ServiceName, Unit},
    settlement::Mode,
    trade::Deal,
    wire::{Asked, Message, Payload},
};
use serde_bytes::ByteBuf;
use tokio::time::{sleep, timeout};

use crate::{
    interpose::Rng,
    world::raw_peer::{RawPeer, UnstartedPeer},
};

/// What it takes to lock twice once.
pub(crate) struct DoubleLock {
    pub(crate) wallet: Wallet,
    pub(crate) raw_peer: UnstartedPeer,
    /// Who is paid, and who is shown the same money; both honest, both selling the service. They may be the same.
    pub(crate) sellers: [(AgentId, Multiaddr); 2],
    pub(crate) service: ServiceName,
    pub(crate) mint: MintUrl,
    pub(crate) unit: Unit,
    pub(crate) rng: Rng,
}

/// When the false awards come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    AtOnce,
    Delivered,
    Redeemed,
}

/// An ask and its offer.
type Offered = (Signed<Ask>, Signed<Offer>);

impl DoubleLock {
    /// Does it once. What comes of it is the sellers' business, and the judge's.
    pub(crate) async fn commit(self) {
        let Self { wallet, raw_peer, sellers, service, mint, unit, mut rng } = self;
        let Ok(peer) = raw_peer.start().await else { return };
        let mut cheat = Cheat { peer, service, mint, unit };
        let when = [When::AtOnce, When::Delivered, When::Redeemed][rng.below(3) as usize];
        let _ = cheat.cheat(&wallet, &sellers, when).await;
        cheat.peer.stop().await;
    }
}

struct Cheat {
    peer: RawPeer,
    service: ServiceName,
    mint: MintUrl,
    unit: Unit,
}

impl Cheat {
    /// `None` as soon as something doesn't work out.
    async fn cheat(&mut self, wallet: &Wallet, sellers: &[(AgentId, Multiaddr); 2], when: When) -> Option<()> {
        let [(first, first_at), (second, second_at)] = sellers;
        self.peer.network.dial(first_at.clone()).await.ok()?;
        let true_one = self.offer(*first).await?;
        let other = self.offer(*first).await?;
        let elsewhere =
            if self.peer.network.dial(second_at.clone()).await.is_ok() { self.offer(*second).await } else { None };
        let lock = self.lock(wallet, &true_one.1).await?;
        self.award(&true_one, &lock).await?;
        match when {
            When::AtOnce => {}
            When::Delivered => self.hear(|message| matches!(message, Message::Delivered(_)).then_some(())).await?,
            When::Redeemed => {
                self.hear(|message| matches!(message, Message::Delivered(_)).then_some(())).await?;
                sleep(REDEEMED).await;
            }
        }
        for offered in [Some(&other), Some(&true_one), elsewhere.as_ref()].into_iter().flatten() {
            self.award(offered, &lock).await?;
        }
        // Time for the sellers to answer, and for their answers to be in the trace.
        sleep(PATIENCE).await;
        Some(())
    }

    async fn send(&self, to: AgentId, message: impl Into<Message>) -> Option<()> {
        let frame = message.into().encode().ok()?;
        self.peer.network.send(to, frame.into()).await.ok()
    }

    async fn hear<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> Option<T> {
        let hearing = async {
            loop {
                let frame = self.peer.frames.recv().await?;
                if let Some(found) = Message::decode(&frame.bytes).ok().and_then(&wanted) {
                    return Some(found);
                }
            }
        };
        timeout(PATIENCE, hearing).await.ok().flatten()
    }

    async fn offer(&mut self, seller: AgentId) -> Option<Offered> {
        let now = self.peer.runtime.now();
        let body = AskBody {
            service: self.service.clone(),
            max_price: 1_000,
            unit: self.unit.clone(),
            mints: vec![self.mint.clone()],
            modes: vec![Mode::Prepaid],
            input_size: INPUT.len() as u64,
            deadline: now.saturating_add(60),
        };
        let nonce = ByteArray(self.peer.runtime.random());
        let ask = Signed::claim(body, now, Some(now.saturating_add(60)), nonce, &self.peer.key).ok()?;
        self.send(seller, Asked { ask: ByteBuf::from(ask.bytes()) }).await?;
        let answer = |message| match message {
            Message::Offered(offered) => Some(Signed::<Offer>::decode(&offered.offer).ok()),
            Message::Declined(_) => Some(None),
            _ => None,
        };
        Some((ask, self.hear(answer).await??))
    }

    async fn lock(&self, wallet: &Wallet, offer: &Offer) -> Option<PreparedLock> {
        let request = LockRequest {
            seller: offer.iss,
            terms: offer.body.terms.clone(),
            mint: self.mint.clone(),
            unit: self.unit.clone(),
            price: offer.body.price,
            max_proofs: usize::try_from(offer.body.max_proofs).ok()?,
        };
        wallet.lock(&request).await.ok()
    }

    /// Awards an offer with a lock, whatever that was made for.
    async fn award(&self, (ask, offer): &Offered, lock: &PreparedLock) -> Option<()> {
        let terms = &offer.body;
        let args = AwardArgs {
            task: ask.cid(),
            service: terms.service.clone(),
            ask: ask.cid(),
            offer: offer.cid(),
            input: ContentId::of(INPUT).hash,
            mint: self.mint.clone(),
            price: terms.price,
            unit: terms.unit.clone(),
            spent: terms.price,
            seller: offer.issuer(),
            deadline: terms.deadline,
            depth: 0,
        };
        let (key, runtime) = (&self.peer.key, &self.peer.runtime);
        let nonce = ByteArray(runtime.random());
        let award = Award::sign(&args, &lock.part(), key.id(), Vec::new(), runtime.now(), nonce, key).ok()?;
        let deal = Deal {
            award,
            offer: offer.clone(),
            ask: ByteBuf::from(ask.bytes()),
            chain: Vec::new(),
            grant: None,
            lock: lock.lock(),
            input: Payload::Inline(ByteBuf::from(INPUT)),
        };
        self.send(offer.issuer(), deal.message()).await
    }
}

const INPUT: &[u8] = b"paid for twice";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a delivery: by then the seller has redeemed (`wallet.redemption.interval_secs`).
const REDEEMED: Duration = Duration::from_secs(12);
