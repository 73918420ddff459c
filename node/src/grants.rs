//! Authority that is passed on and taken back: standing grants that this node made and holds, and what is known to be
//! revoked.
//!
//! ```text
//!  grant ──▶ a delegation, kept ──▶ over /guilder/grants/1 to the grantee, or as a text in a file
//!  revoke ─▶ a revocation, kept ──▶ one gossip topic ──▶ intake: counts? news? room? ──▶ known, kept, passed on
//!                                    peers that connect ◀── /guilder/grants/1 ──▶ what they know and we don't
//!  trade ──▶ is any delegation of this chain revoked?  when an award is taken, and when its work begins
//! ```
//!
//! A grant lets its holder award tasks in the principal's name from the holder's own money. Whether an award keeps to its
//! bounds is checked by whoever takes it; how much of its budget is used, is counted where money leaves.
//!
//! **Persist, then act.** A revocation of our own is on the disk before anyone hears of it. Another's counts from the moment
//! it was checked, and is written with the next transaction: after a crash it is fetched again.
//!
//! **Bounded**: what is kept of revocations, of whom and for how long; grants; what is taken in and given away in a second; whom
//! we ask and how often. Each with its reason in `grants/limits.rs`. **Cancel-safe**: every method.

mod exchange;
mod holdings;
mod intake;
mod known;
mod limits;
mod records;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use cid::Cid;
use guilder_protocol::{
    discovery::Topic,
    envelope::{EnvelopeError, Signed},
    fault::{AtFault, Fault},
    identity::{AgentId, AgentKey},
    limits::MAX_CHAIN,
    market::{MintUrl, ServiceName, Unit},
    time::Timestamp,
    ucan::{
        Revocation, RevocationError,
        chain::Revocations as _,
        exchange::Refusal,
        grant::{GrantChain, GrantChainError, GrantError, StandingGrant},
        revocation::Claimed,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

pub use self::known::KnownRevocations;
use self::{
    exchange::Exchange,
    holdings::Holdings,
    intake::Intake,
    known::{Admission, Kept, Whose},
    limits::{EXPIRE_EVERY, FRESH_FOR, KEEP_ENDED_SECS, MIN_HANDED_OVER_SECS},
    records::{GIVEN, Given, HELD, Held, REVOCATIONS, StoredRevocation, grant_key, revocation_key},
};
use crate::{
    events::{Event, Events},
    failpoint::{Failpoint, Step},
    network::{Gossip, InboundStream, Network},
    runtime::Runtime,
    store::{KeyRange, Reader, Store, StoreError},
    sync::lock,
};

/// What the room is built from.
#[derive(Debug)]
pub struct GrantsParts {
    /// Signs grants and revocations.
    pub key: AgentKey,
    /// The node's runtime.
    pub runtime: Runtime,
    /// Keeps them.
    pub store: Store,
    /// The network.
    pub network: Network,
    /// Its gossip of revocations, which this room judges.
    pub gossip: mpsc::Receiver<Gossip>,
    /// Its streams of `/guilder/grants/1`.
    pub streams: mpsc::Receiver<InboundStream>,
    /// Told of what is revoked.
    pub events: Events,
    /// For crash tests; the default does nothing.
    pub failpoint: Failpoint,
}

/// The handle of the room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Grants {
    shared: Arc<Shared>,
    exchange: Arc<Exchange>,
}

/// What the room's parts share.
#[derive(Debug)]
struct Shared {
    key: AgentKey,
    runtime: Runtime,
    store: Store,
    network: Network,
    events: Events,
    known: KnownRevocations,
    /// The grants that are kept, as far as they must be at hand.
    holdings: Arc<Mutex<Holdings>>,
    /// Revocations that came in just now and may not be written yet.
    fresh: Mutex<VecDeque<(Instant, known::Revoked, Vec<u8>)>>,
    /// Grants that their grantees don't hold yet, as far as we know.
    undelivered: Mutex<BTreeMap<Cid, GrantChain>>,
    /// Revocations of ours that went to nobody yet, by what they revoke: until when each counts, and its bytes.
    unsent: Mutex<BTreeMap<Cid, (Timestamp, Vec<u8>)>>,
    failpoint: Failpoint,
}

/// What a grant is to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    /// Who may buy.
    pub grantee: AgentId,
    /// What.
    pub services: Vec<ServiceName>,
    /// The unit of all amounts.
    pub unit: Unit,
    /// The mint whose money it is.
    pub mint: MintUrl,
    /// The most that one award may cost.
    pub max_price: u64,
    /// The most that all awards together may cost.
    pub budget: u64,
    /// The most delegations that a chain may have, from its principal to whoever buys.
    pub max_depth: u64,
    /// The last second.
    pub expires: Timestamp,
    /// A grant that we hold, of which this is to be a part; none to grant in our own name.
    pub under: Option<Cid>,
}

/// A grant, on one of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantView {
    /// The delegations, root first.
    pub chain: GrantChain,
    /// Whether we made it; else we hold it.
    pub is_ours: bool,
    /// When we made it, or it came.
    pub at: Timestamp,
    /// Of one that we made: whether its grantee has said that it holds it. Of one that we hold: whether it only came over the
    /// wire, from anybody, and was neither imported nor used here.
    pub is_handed_over: bool,
    /// The delegation of it that is revoked, and by whom.
    pub revoked: Option<(Cid, AgentId)>,
    /// Whether something of it has ended.
    pub is_over: bool,
}

impl Grants {
    /// Opens the room: what was kept is known again, the topic is followed, peers are served and asked.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn start(parts: GrantsParts) -> Result<Self, StoreError> {
        let GrantsParts { key, runtime, store, network, gossip, streams, events, failpoint } = parts;
        let shared = Arc::new(Shared {
            key,
            runtime: runtime.clone(),
            store,
            network: network.clone(),
            events,
            known: KnownRevocations::default(),
            holdings: Arc::default(),
            fresh: Mutex::default(),
            undelivered: Mutex::default(),
            unsent: Mutex::default(),
            failpoint,
        });
        shared.read()?;
        if let Err(error) = network.subscribe(Topic::Revocations).await {
            tracing::warn!(%error, "revocations are not followed");
        }
        let intake = Arc::new(Intake::new(Arc::clone(&shared)));
        let exchange = Arc::new(Exchange::new(Arc::clone(&shared), Arc::clone(&intake)));
        runtime.spawn("grants/gossip", async move { intake.judge(gossip).await }).detach();
        runtime.spawn("grants/streams", Arc::clone(&exchange).serve(streams)).detach();
        runtime.spawn("grants/ask", Arc::clone(&exchange).ask_peers(network.changes())).detach();
        runtime.spawn("grants/send-out", Arc::clone(&exchange).send_out_what_waits()).detach();
        let expiring = Arc::clone(&shared);
        let expire = async move {
            loop {
                expiring.expire().await;
                tokio::time::sleep(EXPIRE_EVERY).await;
            }
        };
        runtime.spawn("grants/expire", expire).detach();
        Ok(Self { shared, exchange })
    }

    /// What is known to be revoked: what every check of a chain asks.
    pub fn revocations(&self) -> &KnownRevocations {
        &self.shared.known
    }

    /// Lets another agent award in our name, or in that of a grant's principal that we hold. It is kept first, then handed to
    /// the grantee if it can be reached; else when it connects. Whether it has it, says the view.
    ///
    /// # Errors
    /// If the terms make no grant, or widen the one that it is to be under, or there are too many.
    pub async fn grant(&self, terms: GrantTerms) -> Result<GrantView, GrantsError> {
        let room = self.clone();
        self.to_the_end("grants/grant", async move { room.make(terms).await }).await
    }

    async fn make(&self, terms: GrantTerms) -> Result<GrantView, GrantsError> {
        let shared = &self.shared;
        let above = match terms.under {
            Some(id) => Some(shared.adopt(id).await?),
            None => None,
        };
        let chain = shared.sign(&terms, above.as_ref())?;
        let (id, now) = (chain.cid(), shared.runtime.now());
        let given = Given { chain: chain.clone(), made: now, is_handed_over: false };
        let holdings = Arc::clone(&shared.holdings);
        shared.failpoint.reach(Step::StoreGrant);
        let stored = shared.store.transact(move |w| {
            lock(&holdings).has_room_to_give(now)?;
            w.put(GIVEN, grant_key(id), &given)?;
            lock(&holdings).note_given(&given.chain);
            Ok(())
        });
        stored.await.inspect_err(|error: &GrantsError| shared.unnote(id, error))?;
        lock(&shared.undelivered).insert(id, chain.clone());
        let handed = self.exchange.hand_over_now(&chain).await;
        Ok(GrantView { chain, is_ours: true, at: now, is_handed_over: handed, revoked: None, is_over: false })
    }

    /// Keeps a grant that was made to us, from a file.
    ///
    /// # Errors
    /// If it isn't to us, is over or revoked, or there are too many.
    pub async fn import(&self, chain: GrantChain) -> Result<GrantView, GrantsError> {
        let id = chain.cid();
        self.shared.hold(chain, false).await?;
        self.find(id)?.ok_or(GrantsError::Unknown(id))
    }

    /// All grants, those that we made and those that we hold, the newest first.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn list(&self) -> Result<Vec<GrantView>, StoreError> {
        let mut views = Vec::new();
        self.shared.store.read(|r| {
            r.visit(GIVEN, KeyRange::all(), |_, given| {
                views.push(self.shared.view_given(given));
                ControlFlow::Continue(())
            })?;
            r.visit(HELD, KeyRange::all(), |_, held| {
                views.push(self.shared.view_held(held));
                ControlFlow::Continue(())
            })
        })?;
        views.sort_by_key(|view| (std::cmp::Reverse(view.at), view.chain.cid()));
        Ok(views)
    }

    /// How a grant that a task of ours carries stands: it was made with the award, which is kept instead of it.
    pub fn of_task(&self, chain: GrantChain, made: Timestamp) -> GrantView {
        self.shared.view(chain, true, made, true)
    }

    /// One grant by its name; `None` if there is none.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn find(&self, id: Cid) -> Result<Option<GrantView>, StoreError> {
        self.shared.store.read(|r| {
            let given = r.get(GIVEN, grant_key(id))?.map(|given| self.shared.view_given(given));
            let held = r.get(HELD, grant_key(id))?.map(|held| self.shared.view_held(held));
            Ok(given.or(held))
        })
    }

    /// A grant that we hold, if awards can be made under it now.
    ///
    /// # Errors
    /// If we don't hold it, or it is over or revoked.
    pub fn usable(&self, id: Cid) -> Result<GrantChain, GrantsError> {
        self.shared.usable(id)
    }

    /// A grant that we hold, to award under it: from now on it is one that this node's user has taken in.
    ///
    /// # Errors
    /// As [`Self::usable`], or if the disk fails.
    pub async fn adopt(&self, id: Cid) -> Result<GrantChain, GrantsError> {
        self.shared.adopt(id).await
    }

    /// Takes back a delegation that we made, by its name.
    ///
    /// # Errors
    /// As [`Self::revoke`], or if we made none of that name.
    pub async fn revoke_given(&self, id: Cid) -> Result<Revocation, GrantsError> {
        let given = self.shared.store.read(|r| r.get(GIVEN, grant_key(id)))?;
        self.revoke(given.ok_or(GrantsError::NotOurs(id))?.chain).await
    }

    /// Takes back the last delegation of a chain in which we issued one: it counts for us once this returns, and travels.
    /// Again is the same as once.
    ///
    /// # Errors
    /// If we issued none of them, or the disk fails.
    pub async fn revoke(&self, chain: GrantChain) -> Result<Revocation, GrantsError> {
        let room = self.clone();
        self.to_the_end("grants/revoke", async move { room.take_back(chain).await }).await
    }

    async fn take_back(&self, chain: GrantChain) -> Result<Revocation, GrantsError> {
        let shared = &self.shared;
        let (id, now) = (chain.cid(), shared.runtime.now());
        let me = shared.key.id();
        let known = shared.store.read(|r| r.get(REVOCATIONS, revocation_key(&(me, id))))?;
        let (revocation, is_out) = match known {
            Some(known) => (known.revocation, known.is_out),
            None => (Revocation::sign(chain.links().to_vec(), now, &shared.key)?, false),
        };
        let encoded = revocation.encode();
        let revoked = (me, id);
        let stored = StoredRevocation { revocation: revocation.clone(), source: me, whose: Whose::Ours, is_out };
        shared.failpoint.reach(Step::StoreRevocation);
        shared.store.write(move |w| w.put(REVOCATIONS, revocation_key(&revoked), &stored)).await?;
        let kept = Kept { until: revocation.until(), bytes: encoded.len(), source: me, whose: Whose::Ours };
        if let Admission::News(gone) = shared.known.admit(revoked, kept) {
            shared.events.emit(Event::Revoked { delegation: id, revoker: me });
            shared.delete(gone).await;
        }
        lock(&shared.undelivered).remove(&id);
        lock(&shared.unsent).insert(id, (revocation.until(), encoded));
        shared.send_out(id).await;
        Ok(revocation)
    }

    /// Does in a task of the node what is written and then acted on, so that whoever stops waiting leaves nothing half done.
    async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, GrantsError>> + Send + 'static,
    ) -> Result<T, GrantsError> {
        let (tell, told) = oneshot::channel();
        let work = async move {
            // Nobody listens if the caller was dropped.
            let _ = tell.send(work.await);
        };
        self.shared.runtime.spawn(name, work).detach();
        told.await.unwrap_or(Err(GrantsError::Store(StoreError::Closed)))
    }

    /// The revocations that are known of any of these delegations by issuers of a chain: for an audit bundle.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn revocations_of(
        &self,
        links: &[Signed<guilder_protocol::ucan::Delegation>],
    ) -> Result<Vec<Revocation>, StoreError> {
        self.shared.store.read(|r| revocations_of(r, links))
    }
}

/// The stored revocations that count against a chain.
pub(crate) fn revocations_of(
    r: &impl Reader,
    links: &[Signed<guilder_protocol::ucan::Delegation>],
) -> Result<Vec<Revocation>, StoreError> {
    let mut found = Vec::new();
    for (place, link) in links.iter().enumerate() {
        let mut issuers: Vec<AgentId> = links[..=place].iter().map(|above| above.iss).collect();
        issuers.dedup();
        for issuer in issuers {
            found.extend(r.get(REVOCATIONS, revocation_key(&(issuer, link.cid())))?.map(|stored| stored.revocation));
        }
    }
    Ok(found)
}

impl Shared {
    /// What was kept is known again.
    fn read(&self) -> Result<(), StoreError> {
        let now = self.runtime.now();
        let mut stored = Vec::new();
        self.store.read(|r| {
            r.visit(REVOCATIONS, KeyRange::all(), |_, row| {
                stored.push(row);
                ControlFlow::Continue(())
            })?;
            let (mut holdings, mut undelivered) = (lock(&self.holdings), lock(&self.undelivered));
            r.visit(GIVEN, KeyRange::all(), |_, given| {
                holdings.note_given(&given.chain);
                if !given.is_handed_over && !given.chain.is_over(now) {
                    undelivered.insert(given.chain.cid(), given.chain);
                }
                ControlFlow::Continue(())
            })?;
            r.visit(HELD, KeyRange::all(), |_, held| {
                holdings.note_held(&held.chain, held.is_handed_over);
                ControlFlow::Continue(())
            })
        })?;
        for StoredRevocation { revocation, source, whose, is_out } in stored {
            if !is_out && revocation.until() > now {
                lock(&self.unsent).insert(revocation.delegation(), (revocation.until(), revocation.encode()));
            }
            let kept = Kept { until: revocation.until(), bytes: revocation.encode().len(), source, whose };
            self.known.admit((revocation.revoker(), revocation.delegation()), kept);
        }
        lock(&self.undelivered).retain(|_, chain| chain.revoked(&self.known).is_none());
        Ok(())
    }

    /// Gossips a revocation of ours, and notes that it went out. Whoever connects asks for it, too.
    async fn send_out(&self, delegation: Cid) {
        let Some((until, bytes)) = lock(&self.unsent).get(&delegation).cloned() else { return };
        if until > self.runtime.now()
            && let Err(error) = self.network.publish(Topic::Revocations, bytes.into()).await
        {
            tracing::debug!(%error, "a revocation was not gossiped");
            return;
        }
        lock(&self.unsent).remove(&delegation);
        let revoked = (self.key.id(), delegation);
        let noted = self.store.write(move |w| {
            let Some(stored) = w.get(REVOCATIONS, revocation_key(&revoked))? else { return Ok(()) };
            w.put(REVOCATIONS, revocation_key(&revoked), &StoredRevocation { is_out: true, ..stored })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%delegation, %error, "that a revocation went out could not be noted");
        }
    }

    /// A revocation as it travels, if it is kept.
    fn encoded(&self, revoked: &known::Revoked) -> Option<Vec<u8>> {
        let stored = self.store.read(|r| r.get(REVOCATIONS, revocation_key(revoked)));
        if let Ok(Some(stored)) = stored {
            return Some(stored.revocation.encode());
        }
        let fresh = lock(&self.fresh);
        fresh.iter().find(|(_, known, _)| known == revoked).map(|(_, _, bytes)| bytes.clone())
    }

    fn note_fresh(&self, revoked: known::Revoked, bytes: &[u8]) {
        let now = self.runtime.instant();
        let mut fresh = lock(&self.fresh);
        while fresh.front().is_some_and(|(at, ..)| now.saturating_duration_since(*at) > FRESH_FOR) {
            fresh.pop_front();
        }
        fresh.push_back((now, revoked, bytes.to_vec()));
    }

    fn is_known(&self, Claimed { revoker, delegation }: Claimed) -> bool {
        self.known.is_revoked(&revoker, &delegation)
    }

    /// Whose a revocation is, if its revoker signed it: what others say of it makes it no nearer.
    fn whose(&self, revoked: &known::Revoked) -> Whose {
        if revoked.0 == self.key.id() {
            return Whose::Ours;
        }
        let is_near = self.network.has_dealt_with(revoked.0) || lock(&self.holdings).concerns_us(revoked);
        if is_near { Whose::Near } else { Whose::Stranger }
    }

    fn sign(&self, terms: &GrantTerms, above: Option<&GrantChain>) -> Result<GrantChain, GrantsError> {
        let me = self.key.id();
        if terms.grantee == me {
            return Err(GrantsError::ToOurselves);
        }
        if terms.expires <= self.runtime.now() {
            return Err(GrantsError::Past);
        }
        if terms.budget < terms.max_price || terms.max_price == 0 {
            return Err(GrantsError::Amounts);
        }
        let depth = above.map_or(0, |above| above.links().len()) as u64 + 1;
        if !(depth..=MAX_CHAIN as u64).contains(&terms.max_depth) {
            return Err(GrantsError::Depth { least: depth });
        }
        let principal = above.map_or(me, GrantChain::principal);
        if terms.grantee == principal {
            return Err(GrantsError::ToPrincipal);
        }
        if let Some(above) = above {
            keeps_within(terms, above)?;
        }
        let delegation = StandingGrant {
            grantor: me,
            grantee: terms.grantee,
            principal,
            services: terms.services.clone(),
            unit: terms.unit.clone(),
            mint: terms.mint.clone(),
            max_price: terms.max_price,
            budget: terms.budget,
            max_depth: terms.max_depth,
            expires: terms.expires,
            nonce: self.runtime.random::<16>().to_vec(),
        }
        .delegation()?;
        let mut links = above.map(|above| above.links().to_vec()).unwrap_or_default();
        links.push(Signed::sign(delegation, &self.key)?);
        Ok(GrantChain::new(links)?)
    }

    /// Keeps a grant that was made to us.
    async fn hold(&self, chain: GrantChain, is_handed_over: bool) -> Result<(), GrantsError> {
        let now = self.runtime.now();
        if chain.grantee() != self.key.id() {
            return Err(GrantsError::NotToUs(chain.grantee()));
        }
        if chain.is_over(now) {
            return Err(GrantsError::Over(chain.cid()));
        }
        if is_handed_over && chain.expires() < now.saturating_add(MIN_HANDED_OVER_SECS) {
            return Err(GrantsError::Short(chain.cid()));
        }
        if let Some((link, revoker)) = chain.revoked(&self.known) {
            return Err(GrantsError::Revoked { link: link.into(), revoker });
        }
        let (id, holdings) = (chain.cid(), Arc::clone(&self.holdings));
        if is_handed_over {
            // What comes to nothing costs the writer nothing.
            if self.store.read(|r| r.get(HELD, grant_key(id)))?.is_some() {
                return Ok(());
            }
            lock(&holdings).has_room_to_hold(chain.grantor(), is_handed_over, now)?;
        }
        let held = Held { chain, came: now, is_handed_over };
        let stored = self.store.transact(move |w| {
            // No other row is read here: everything else that this node writes would wait for it.
            let held = match w.get(HELD, grant_key(id))? {
                Some(known) if known.is_handed_over && !is_handed_over => Held { is_handed_over, ..known },
                Some(_) => return Ok(()),
                None => {
                    lock(&holdings).has_room_to_hold(held.chain.grantor(), is_handed_over, now)?;
                    held
                }
            };
            w.put(HELD, grant_key(id), &held)?;
            lock(&holdings).note_held(&held.chain, held.is_handed_over);
            Ok(())
        });
        stored.await.inspect_err(|error: &GrantsError| self.unnote(id, error))
    }

    /// A grant is known by what the store has of it, after it failed.
    fn unnote(&self, id: Cid, error: &GrantsError) {
        if !matches!(error, GrantsError::Store(_)) {
            return;
        }
        let rows = self.store.read(|r| Ok((r.get(GIVEN, grant_key(id))?, r.get(HELD, grant_key(id))?)));
        let Ok((given, held)) = rows else { return };
        let mut holdings = lock(&self.holdings);
        match given {
            Some(given) => holdings.note_given(&given.chain),
            None => holdings.forget_given(id),
        }
        match held {
            Some(held) => holdings.note_held(&held.chain, held.is_handed_over),
            None => holdings.forget_held(id),
        }
    }

    async fn adopt(&self, id: Cid) -> Result<GrantChain, GrantsError> {
        let chain = self.usable(id)?;
        self.hold(chain.clone(), false).await?;
        Ok(chain)
    }

    fn usable(&self, id: Cid) -> Result<GrantChain, GrantsError> {
        let held = self.store.read(|r| r.get(HELD, grant_key(id)))?;
        let chain = held.ok_or(GrantsError::Unknown(id))?.chain;
        if chain.is_over(self.runtime.now()) {
            return Err(GrantsError::Over(id));
        }
        match chain.revoked(&self.known) {
            Some((link, revoker)) => Err(GrantsError::Revoked { link: link.into(), revoker }),
            None => Ok(chain),
        }
    }

    fn view_given(&self, given: Given) -> GrantView {
        self.view(given.chain, true, given.made, given.is_handed_over)
    }

    fn view_held(&self, held: Held) -> GrantView {
        self.view(held.chain, false, held.came, held.is_handed_over)
    }

    fn view(&self, chain: GrantChain, is_ours: bool, at: Timestamp, is_handed_over: bool) -> GrantView {
        let (revoked, is_over) = (chain.revoked(&self.known), chain.is_over(self.runtime.now()));
        GrantView { chain, is_ours, at, is_handed_over, revoked, is_over }
    }

    /// Forgets what is over: revocations and what was only handed over at once, other grants a while after, so that a listing
    /// still has them.
    async fn expire(&self) {
        let now = self.runtime.now();
        let over = self.known.expire(now);
        self.delete(over).await;
        let (given, held) = lock(&self.holdings).to_forget(now, now.saturating_sub(KEEP_ENDED_SECS));
        if !given.is_empty() || !held.is_empty() {
            let gone = (given.clone(), held.clone());
            let forgotten = self.store.write(move |w| {
                given.iter().try_for_each(|id| w.delete(GIVEN, grant_key(*id)))?;
                held.iter().try_for_each(|id| w.delete(HELD, grant_key(*id)))
            });
            match forgotten.await {
                Ok(()) => {
                    let mut holdings = lock(&self.holdings);
                    gone.0.into_iter().for_each(|id| holdings.forget_given(id));
                    gone.1.into_iter().for_each(|id| holdings.forget_held(id));
                }
                Err(error) => tracing::warn!(%error, "grants that have ended could not be forgotten"),
            }
        }
        lock(&self.undelivered).retain(|_, chain| !chain.is_over(now));
    }

    async fn delete(&self, gone: Vec<known::Revoked>) {
        if gone.is_empty() {
            return;
        }
        let deleted =
            self.store.behind(move |w| gone.iter().try_for_each(|gone| w.delete(REVOCATIONS, revocation_key(gone))));
        if let Err(error) = deleted.await {
            tracing::warn!(%error, "revocations that are over could not be forgotten");
        }
    }
}

/// Whether a grant keeps within the one that it is to be under. Whoever checks an award would refuse it otherwise; better
/// here.
fn keeps_within(terms: &GrantTerms, above: &GrantChain) -> Result<(), GrantsError> {
    let most = above.terms();
    let names = |service: &ServiceName| {
        most.services.as_ref().is_none_or(|named| named.iter().any(|name| name == service.as_str()))
    };
    let widens = if !terms.services.iter().all(names) {
        "services"
    } else if most.unit.as_ref().is_some_and(|unit| unit != terms.unit.as_str()) {
        "the unit"
    } else if most.mint.as_ref().is_some_and(|mint| mint != terms.mint.as_str()) {
        "the mint"
    } else if most.max_price.is_some_and(|price| terms.max_price > price) {
        "the price"
    } else if most.budget.is_some_and(|budget| terms.budget > budget) {
        "the budget"
    } else if most.max_depth.is_some_and(|depth| terms.max_depth > depth) {
        "the depth"
    } else if most.expires.is_some_and(|end| terms.expires > end) {
        "the expiry"
    } else {
        return Ok(());
    };
    Err(GrantsError::Widens(widens))
}

/// Why a grant can't be made, kept, used or taken back.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// To this node itself.
    #[error("a grant to this node itself says nothing")]
    ToOurselves,
    /// To the principal.
    #[error("a grant to its own principal says nothing")]
    ToPrincipal,
    /// Already over.
    #[error("the grant would have ended already")]
    Past,
    /// A price of nothing, or above the budget.
    #[error("the price of one task is at least 1 and at most the budget")]
    Amounts,
    /// A depth that can't be.
    #[error("the depth is from {least} to {MAX_CHAIN}")]
    Depth {
        /// What the chain has already.
        least: u64,
    },
    /// More than the grant allows that it is to be under.
    #[error("the grant would widen {0} of the one that it is under")]
    Widens(&'static str),
    /// It can't be written.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// It can't be signed.
    #[error("the grant is none: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Its delegations lead nowhere.
    #[error("the grant does not hold: {0}")]
    Chain(#[source] Box<GrantChainError>),
    /// To somebody else.
    #[error("the grant is to {}, not to this node", .0.peer_id())]
    NotToUs(AgentId),
    /// We hold none of that name.
    #[error("this node holds no grant {0}")]
    Unknown(Cid),
    /// We made none of that name.
    #[error("this node made no grant {0}")]
    NotOurs(Cid),
    /// It has ended.
    #[error("the grant {0} has ended")]
    Over(Cid),
    /// It was handed over and ends too soon for that.
    #[error("the grant {0} ends in less than {MIN_HANDED_OVER_SECS} seconds")]
    Short(Cid),
    /// It is revoked.
    #[error("the delegation {link} was revoked by {}", .revoker.peer_id())]
    Revoked {
        /// Which delegation of it.
        link: Box<Cid>,
        /// By whom.
        revoker: AgentId,
    },
    /// It can't be revoked.
    #[error("it can't be revoked: {0}")]
    Revocation(#[source] Box<RevocationError>),
    /// Too many.
    #[error("there are {0} grants already, which is the limit")]
    TooMany(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RevocationError> for GrantsError {
    fn from(error: RevocationError) -> Self {
        Self::Revocation(error.into())
    }
}

impl From<GrantChainError> for GrantsError {
    fn from(error: GrantChainError) -> Self {
        Self::Chain(error.into())
    }
}

impl GrantsError {
    /// What a peer is told whose grant we don't take.
    fn refusal(&self) -> Refusal {
        match self {
            Self::TooMany(_) | Self::Store(_) => Refusal::Full,
            _ => Refusal::BadGrant,
        }
    }
}

impl AtFault for GrantsError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Chain(error) => error.fault(),
            Self::Revoked { .. } => Fault::Incompatible,
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown(_) | Self::NotOurs(_) => Some("`guilder grants` shows them"),
            Self::Over(_) | Self::Revoked { .. } => Some("ask the grantor for another one"),
            Self::Widens(_) => Some("`guilder grants` shows what it allows"),
            Self::TooMany(_) => Some("grants that have ended make room"),
            Self::Revocation(_) => Some("only who issued the delegation, or one above it, can take it back"),
            Self::NotToUs(_) => Some("the grantor must name this node's peer ID: `guilder id`"),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
