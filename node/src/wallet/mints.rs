//! The mints that the operator trusts, what we know of their keysets, and how they are reached.
//!
//! The list is the config file's plus what `guilder wallet mints add` added; a message never adds to it. What a mint
//! says of its keysets is kept by (mint, full ID), each ID computed again from the keys ([`Keyset::verify`]), and
//! survives a restart: a lock is checked against it with the mint unreachable. It is looked at again every
//! [`keyset_refresh_secs`](super::WalletConfig::keyset_refresh_secs), each mint by itself, and when somebody shows a
//! keyset that we don't know, no more often than once in [`UNKNOWN_KEYSET_PAUSE`] per mint.
//!
//! A keyset once verified is kept when its mint no longer lists it: coins of ours may be of it, and the keys of an ID
//! never change. No new coin is made with it and no lock of it accepted. One keyset that isn't what its ID says, or whose
//! keys can't be had, is passed over, and doesn't keep the others of its mint from being refreshed.
//!
//! **One mint is its keys.** Two URLs that share a keyset are one mint, with one identity. Its money is kept under the
//! URL that was reached first ([`Mints::primary`]), so that a coin is counted once and a proof can't pay once under each.
//!
//! **Pins.** A mint that an invitation named comes with the fingerprint of its active keysets. When it is first reached they have to be
//! those and no others; from then on what it has shown stands, as for every mint.
//!
//! **Clocks.** Each look also tells the mint's time (NUT-06). Locktimes are the mint's to judge, so nothing is accepted
//! offline while our clock is more than the tolerated skew off it ([`Mints::check_clock`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use cdk::nuts::{KeySet, KeySetInfo};
use guilder_protocol::{
    bytes::ByteArray,
    cbor::sha256,
    invitation::{self, MintPin},
    limits::MAX_LOCK_SECS,
    locks::{Keyset, KeysetId, KeysetView},
    market::{MintUrl, Unit},
    time::{SKEW_SECS, Timestamp},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    coin::currency_unit,
    connector::{Connectors, Info, MintClient},
    error::WalletError,
    records::{Currency, KeysetRecord, MINTS, MintRecord},
    tables,
};
use crate::{
    events::{Event, Events},
    limits::{MAX_KEYSETS_PER_MINT, MINT_RETRY_PAUSE, UNKNOWN_KEYSET_PAUSE},
    runtime::Runtime,
    store::{Json, KeyRange, Reader, Store, StoreError},
    sync::lock,
};

/// What must be announced: spent check, restore, spending conditions, P2PK, DLEQ, HTLC.
const NEEDED: [&str; 6] = ["7", "9", "10", "11", "12", "14"];

/// The mints of a wallet.
#[derive(Debug)]
pub(super) struct Mints {
    configured: Vec<MintUrl>,
    /// What the settings say of their keys.
    pins: BTreeMap<MintUrl, MintPin>,
    connectors: Arc<dyn Connectors>,
    runtime: Runtime,
    store: Store,
    events: Events,
    known: RwLock<BTreeMap<MintUrl, Arc<MintView>>>,
    looked: Mutex<BTreeMap<MintUrl, Instant>>,
    clocks: Mutex<BTreeMap<MintUrl, Option<Clock>>>,
    /// A mint was put on the list.
    added: Notify,
}

/// What we know of one mint under one of its URLs.
#[derive(Debug)]
pub(super) struct MintView {
    pub(super) url: MintUrl,
    pub(super) identity: ByteArray<8>,
    /// Every keyset that it ever listed, for the coins that we have.
    pub(super) keysets: KeysetView,
    /// Those that it lists today, for the coins that we are offered.
    pub(super) listed: KeysetView,
    pub(super) name: Option<String>,
    active: BTreeMap<Unit, Vec<KeysetId>>,
    added: bool,
    /// Otherwise it is only known from before, and its URL names money.
    on_list: bool,
    since: Timestamp,
}

/// How a mint's clock stood to ours when we last looked.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// How far ours is ahead of it, in seconds.
    ahead_secs: i64,
    /// What the look's own time leaves open.
    unsure_secs: i64,
    wall: Timestamp,
    at: Instant,
}

/// A mint on the operator's list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MintSummary {
    /// The URL that its money is kept under.
    pub url: MintUrl,
    /// Further URLs on the list at which the same mint (the same keys) is reached.
    pub also: Vec<MintUrl>,
    /// What it calls itself, once it has been reached.
    pub name: Option<String>,
    /// The units that it issues; empty until it has been reached.
    pub units: Vec<Unit>,
    /// Whether it was added by command; otherwise it stands in the config file.
    pub added: bool,
    /// The fingerprint of the keys that it signs with, once it has been reached.
    pub pin: Option<MintPin>,
}

/// What a mint says when it is asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintState {
    /// The fingerprint of the keys that it signs with.
    pub pin: MintPin,
    /// The one that the settings have for it, if they do.
    pub pinned: Option<MintPin>,
    /// How far our clock is ahead of its, in seconds, if it tells its time.
    pub ahead_secs: Option<i64>,
}

impl MintView {
    fn new(url: &MintUrl, record: MintRecord, on_list: bool) -> Self {
        let (mut keysets, mut listed) = (KeysetView::new(), KeysetView::new());
        let mut active = BTreeMap::<Unit, Vec<KeysetId>>::new();
        for KeysetRecord { keyset: Json(keyset), active: is_active, delisted } in record.keysets {
            // What no longer reads as it was written is left out, as if the mint had never shown it.
            let Ok(keyset) = Keyset::from_mint(&keyset).map(Arc::new) else { continue };
            if is_active {
                active.entry(keyset.unit().clone()).or_default().push(keyset.id());
            }
            if !delisted {
                listed.insert(keyset.id(), Arc::clone(&keyset));
            }
            keysets.insert(keyset.id(), keyset);
        }
        let MintRecord { identity, name, added, since, .. } = record;
        Self { url: url.clone(), identity, keysets, listed, name, active, added, on_list, since }
    }

    /// The keyset to make new coins with: of the active ones, one that outlasts any lock if there is one, and then
    /// the cheapest.
    pub(super) fn active(&self, unit: &Unit, now: Timestamp) -> Result<&Arc<Keyset>, WalletError> {
        let outlasts = now.saturating_add(MAX_LOCK_SECS);
        let ends_by = |keyset: &Arc<Keyset>, at| keyset.final_expiry().is_some_and(|expiry| expiry <= at);
        let ids = self.active.get(unit).into_iter().flatten();
        ids.filter_map(|id| self.keysets.get(id))
            .filter(|keyset| !ends_by(keyset, now))
            .min_by_key(|keyset| (ends_by(keyset, outlasts), keyset.input_fee_ppk(), keyset.id()))
            .ok_or_else(|| WalletError::NoKeyset { mint: self.url.clone(), unit: unit.clone() })
    }

    pub(super) fn is_active(&self, id: KeysetId) -> bool {
        self.active.values().any(|ids| ids.contains(&id))
    }

    pub(super) fn units(&self) -> impl Iterator<Item = &Unit> {
        self.active.keys()
    }

    /// What a mint keeps of inputs of these keysets.
    pub(super) fn fee(&self, ids: impl IntoIterator<Item = KeysetId>) -> Option<u64> {
        let ppks: Option<Vec<u64>> = ids.into_iter().map(|id| Some(self.keysets.get(&id)?.input_fee_ppk())).collect();
        super::amounts::input_fee(ppks?)
    }

    /// Whether the mint itself still tells of a keyset. One that it doesn't may be refused.
    pub(super) fn is_listed(&self, id: KeysetId) -> bool {
        self.listed.contains_key(&id)
    }

    /// The fingerprint of the keys that it signs with.
    pub(super) fn pin(&self) -> MintPin {
        let active = self.active.values().flatten().filter_map(|id| self.keysets.get(id));
        invitation::pin(active.map(|keyset| &**keyset))
    }

    /// For expanding the short keyset IDs of tokens.
    pub(super) fn infos(&self) -> Vec<KeySetInfo> {
        let info = |keyset: &Arc<Keyset>| KeySetInfo {
            id: keyset.id().to_cashu(),
            unit: currency_unit(keyset.unit()),
            active: self.is_active(keyset.id()),
            input_fee_ppk: keyset.input_fee_ppk(),
            final_expiry: keyset.final_expiry().map(Timestamp::as_secs),
        };
        self.keysets.values().map(info).collect()
    }

    /// Its keysets of a unit.
    pub(super) fn of_unit(&self, unit: &Unit) -> Vec<Arc<Keyset>> {
        self.keysets.values().filter(|keyset| keyset.unit() == unit).cloned().collect()
    }
}

impl Mints {
    pub(super) fn open(
        mut configured: Vec<MintUrl>,
        pins: BTreeMap<MintUrl, MintPin>,
        store: &Store,
        runtime: &Runtime,
        connectors: &Arc<dyn Connectors>,
        events: &Events,
    ) -> Result<Self, StoreError> {
        // One URL may have been written in two ways.
        let mut seen = BTreeSet::new();
        configured.retain(|url| seen.insert(url.clone()));
        let records = store.read(|read| read.range(MINTS, KeyRange::all(), usize::MAX))?;
        let views = records.into_iter().filter_map(|(key, record)| {
            let url: MintUrl = String::from_utf8(key).ok()?.parse().ok()?;
            let on_list = record.added || configured.contains(&url);
            let view = Arc::new(MintView::new(&url, record, on_list));
            Some((url, view))
        });
        Ok(Self {
            known: RwLock::new(views.collect()),
            configured,
            pins,
            connectors: Arc::clone(connectors),
            runtime: runtime.clone(),
            store: store.clone(),
            events: events.clone(),
            looked: Mutex::default(),
            clocks: Mutex::default(),
            added: Notify::new(),
        })
    }

    /// The way to the mint that has this URL, among others perhaps.
    pub(super) fn client(&self, url: &MintUrl) -> Result<MintClient, WalletError> {
        let url = self.cached(url).map_or_else(|| url.clone(), |view| view.url.clone());
        Ok(MintClient::new(&url, self.connectors.for_url(&url)?))
    }

    /// The URL that the money of the mint at `url` is kept under; `url` itself for a mint that we don't know.
    pub(super) fn primary(&self, url: &MintUrl) -> MintUrl {
        let known = self.read_known();
        let Some(view) = known.get(url) else { return url.clone() };
        let same = known.values().filter(|other| other.identity == view.identity);
        same.min_by_key(|view| (view.since, &view.url)).map_or_else(|| url.clone(), |first| first.url.clone())
    }

    /// All URLs that we know of the mint at `url`, that one included.
    pub(super) fn same(&self, url: &MintUrl) -> Vec<MintUrl> {
        let known = self.read_known();
        let Some(view) = known.get(url) else { return vec![url.clone()] };
        known.values().filter(|other| other.identity == view.identity).map(|other| other.url.clone()).collect()
    }

    /// The money of a mint, whichever of its URLs is said, in a unit. Asks the mint if it was never reached, for only
    /// then is it known which mint it is.
    pub(super) async fn currency(&self, url: &MintUrl, unit: &Unit) -> Result<Currency, WalletError> {
        self.view(url).await?;
        Ok(Currency::new(&self.primary(url), unit))
    }

    /// What we know of a mint on the list; asks it if it was never reached.
    pub(super) async fn view(&self, url: &MintUrl) -> Result<Arc<MintView>, WalletError> {
        if let Some(view) = self.cached(url) {
            return Ok(view);
        }
        if !self.configured.contains(url) {
            return Err(WalletError::UnknownMint(url.clone()));
        }
        self.look(url, false).await
    }

    /// What we know of a mint on the list, under whichever URL, without asking it.
    pub(super) fn cached(&self, url: &MintUrl) -> Option<Arc<MintView>> {
        let known = self.read_known();
        let view = known.get(url)?;
        if view.on_list {
            return Some(Arc::clone(view));
        }
        known.values().find(|other| other.on_list && other.identity == view.identity).cloned()
    }

    pub(super) fn is_listed(&self, url: &MintUrl) -> bool {
        self.configured.contains(url) || self.cached(url).is_some()
    }

    /// As [`Self::view`], after another look at the mint if it doesn't show one of `ids`. Rate-limited.
    pub(super) async fn view_with(
        &self,
        url: &MintUrl,
        ids: impl IntoIterator<Item = KeysetId>,
    ) -> Result<Arc<MintView>, WalletError> {
        let view = self.view(url).await?;
        if ids.into_iter().all(|id| view.keysets.contains_key(&id)) || !self.may_look(&view.url) {
            return Ok(view);
        }
        // A mint that is down now doesn't make what we know of it untrue.
        Ok(self.look(&view.url, view.added).await.unwrap_or(view))
    }

    /// What a mint on the list shows now, asked anew whenever it was looked at last.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(super) async fn view_of_today(&self, url: &MintUrl) -> Result<Arc<MintView>, WalletError> {
        match self.cached(url) {
            Some(view) => self.look(&view.url, view.added).await,
            None => self.view(url).await,
        }
    }

    /// What a mint on the list says now.
    ///
    /// # Errors
    /// If it doesn't answer, or isn't the one that it should be.
    pub(super) async fn state_of(&self, url: &MintUrl) -> Result<MintState, WalletError> {
        let view = self.view_of_today(url).await?;
        let pinned = self.pins.get(url).or_else(|| self.pins.get(&view.url)).copied();
        let ahead_secs = self.ahead_of(&view.url).map(|(ahead, _)| ahead);
        Ok(MintState { pin: view.pin(), pinned, ahead_secs })
    }

    /// Looks at a mint that doesn't take the keyset that we think it signs with, or seems to have none. Rate-limited.
    pub(super) async fn look_again(&self, url: &MintUrl) {
        let Some(view) = self.cached(url).filter(|view| self.may_look(&view.url)) else { return };
        if let Err(error) = self.look(&view.url, view.added).await {
            tracing::debug!(mint = %url, %error, "mint not refreshed");
        }
    }

    fn may_look(&self, url: &MintUrl) -> bool {
        let now = self.runtime.instant();
        let mut looked = lock(&self.looked);
        let rested = looked.get(url).is_none_or(|last| now.duration_since(*last) >= UNKNOWN_KEYSET_PAUSE);
        if rested {
            looked.insert(url.clone(), now);
        }
        rested
    }

    /// Puts a mint on the list, if it is fit for locked money.
    pub(super) async fn add(&self, url: &MintUrl) -> Result<Arc<MintView>, WalletError> {
        let view = self.look(url, !self.configured.contains(url)).await?;
        self.added.notify_one();
        Ok(view)
    }

    /// Takes a mint that was added by command off the list.
    pub(super) async fn remove(&self, url: &MintUrl) -> Result<(), WalletError> {
        if self.configured.contains(url) {
            return Err(WalletError::MintConfigured(url.clone()));
        }
        let key = url.as_str().as_bytes().to_vec();
        self.store.write(move |write| write.delete(MINTS, key)).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(url);
        Ok(())
    }

    /// The mints on the list, each once.
    pub(super) fn list(&self) -> Vec<MintSummary> {
        let known = self.read_known();
        let mut mints = BTreeMap::<ByteArray<8>, Vec<&Arc<MintView>>>::new();
        for view in known.values().filter(|view| view.on_list) {
            mints.entry(view.identity).or_default().push(view);
        }
        let reached = mints.into_values().map(|mut views| {
            views.sort_by_key(|view| (view.since, &view.url));
            let first = views[0];
            MintSummary {
                url: first.url.clone(),
                also: views[1..].iter().map(|view| view.url.clone()).collect(),
                name: first.name.clone(),
                units: first.units().cloned().collect(),
                added: first.added,
                pin: Some(first.pin()),
            }
        });
        let waiting = self.configured.iter().filter(|url| !known.contains_key(url)).map(|url| MintSummary {
            url: url.clone(),
            also: Vec::new(),
            name: None,
            units: Vec::new(),
            added: false,
            pin: None,
        });
        let mut list: Vec<_> = reached.chain(waiting).collect();
        list.sort_by(|one, other| one.url.cmp(&other.url));
        list
    }

    /// What money there can be of the mints that we know.
    pub(super) fn currencies(&self) -> BTreeSet<Currency> {
        let views: Vec<_> = self.read_known().values().filter(|view| view.on_list).cloned().collect();
        let of = |view: &Arc<MintView>| {
            let units: BTreeSet<Unit> = view.keysets.values().map(|keyset| keyset.unit().clone()).collect();
            units.into_iter().map(|unit| Currency::new(&self.primary(&view.url), &unit)).collect::<Vec<_>>()
        };
        views.iter().flat_map(of).collect()
    }

    /// Looks at every mint on the list now and again, each in a task of its own so that none waits for another; soon again
    /// at those never reached.
    pub(super) async fn keep_fresh(self: Arc<Self>, every: Duration) {
        let mut watched = BTreeSet::new();
        loop {
            let added = self.added.notified();
            let known: Vec<_> = self.read_known().values().filter(|view| view.on_list).map(|v| v.url.clone()).collect();
            for url in known.into_iter().chain(self.configured.iter().cloned()) {
                if watched.insert(url.clone()) {
                    let watching = Arc::clone(&self).watch(url, every);
                    self.runtime.spawn("wallet mint", watching).detach();
                }
            }
            added.await;
        }
    }

    async fn watch(self: Arc<Self>, url: MintUrl, every: Duration) {
        let mut first = !self.configured.contains(&url);
        let mut told = false;
        loop {
            let view = self.read_known().get(&url).cloned();
            let on_list = view.as_ref().is_some_and(|view| view.on_list) || self.configured.contains(&url);
            let mut pause = every;
            // One that was added by command has been looked at just then.
            if on_list && !std::mem::take(&mut first) {
                let added = view.as_ref().is_some_and(|view| view.added);
                if let Err(error) = self.look(&url, added).await {
                    tracing::debug!(mint = %url, %error, "mint not refreshed");
                    if matches!(error, WalletError::Pinned(_)) && !std::mem::replace(&mut told, true) {
                        self.events.emit(Event::MintTrouble { mint: url.to_string(), reason: error.to_string() });
                    }
                    if view.is_none() {
                        pause = pause.min(MINT_RETRY_PAUSE);
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether our clock agrees with the mint's, as far as the mint tells its time.
    ///
    /// # Errors
    /// If it is further off than the tolerated skew, also after another look.
    pub(super) async fn check_clock(&self, url: &MintUrl) -> Result<(), WalletError> {
        let Some(view) = self.cached(url) else { return Ok(()) };
        if self.clock_off(&view.url).is_some() {
            self.look_again(&view.url).await;
        }
        match self.clock_off(&view.url) {
            None => Ok(()),
            Some(ahead_secs) => Err(WalletError::Clock { mint: view.url.clone(), ahead_secs }),
        }
    }

    /// Whether some mint on the list has confirmed our clock, and none contradicts it.
    pub(super) fn clock_is_confirmed(&self) -> bool {
        let clocks = lock(&self.clocks).clone();
        let urls: Vec<MintUrl> = clocks.into_iter().filter_map(|(url, clock)| clock.map(|_| url)).collect();
        !urls.is_empty() && urls.iter().all(|url| self.clock_off(url).is_none())
    }

    /// Whether what is old by our clock may be forgotten: every mint that was asked confirms it, or doesn't tell its time; where there is
    /// no mint, nobody contradicts it.
    pub(super) fn may_forget(&self) -> bool {
        let urls: Vec<MintUrl> = lock(&self.clocks).keys().cloned().collect();
        let is_asked = !urls.is_empty() || self.read_known().is_empty() && self.configured.is_empty();
        is_asked && urls.iter().all(|url| self.clock_off(url).is_none())
    }

    /// How far our clock is ahead of a mint's, if it is further off than the tolerated skew. A step of our clock since the
    /// last look counts.
    fn clock_off(&self, url: &MintUrl) -> Option<i64> {
        let (ahead, unsure_secs) = self.ahead_of(url)?;
        let tolerated = i64::try_from(SKEW_SECS).unwrap_or(i64::MAX).saturating_add(unsure_secs);
        (ahead.saturating_abs() > tolerated).then_some(ahead)
    }

    /// How far our clock is ahead of a mint's that tells its time, and how far off that may be.
    fn ahead_of(&self, url: &MintUrl) -> Option<(i64, i64)> {
        let clock = (*lock(&self.clocks).get(url)?)?;
        let passed = self.runtime.instant().saturating_duration_since(clock.at).as_secs();
        let expected = clock.wall.saturating_add(passed);
        let step = difference(self.runtime.now(), expected);
        Some((clock.ahead_secs.saturating_add(step), clock.unsure_secs))
    }

    /// What the mint's clock says now; ours, where it doesn't tell its time. It is asked once in a run of this node.
    ///
    /// # Errors
    /// If it doesn't answer: then nobody knows.
    pub(super) async fn time_of(&self, url: &MintUrl) -> Result<Timestamp, WalletError> {
        let known = self.cached(url).map_or_else(|| url.clone(), |view| view.url.clone());
        if !lock(&self.clocks).contains_key(&known) {
            let client = MintClient::new(&known, self.connectors.for_url(&known)?);
            let began = self.runtime.instant();
            let info = client.info().await?;
            self.note_clock(&known, &info, began);
        }
        let now = self.runtime.now();
        Ok(match self.ahead_of(&known) {
            Some((ahead, _)) if ahead < 0 => now.saturating_add(ahead.unsigned_abs()),
            Some((ahead, _)) => now.saturating_sub(ahead.unsigned_abs()),
            None => now,
        })
    }

    fn note_clock(&self, url: &MintUrl, info: &Info, began: Instant) {
        let Some(time) = info.time else {
            lock(&self.clocks).insert(url.clone(), None);
            return;
        };
        let (wall, at) = (self.runtime.now(), self.runtime.instant());
        let took = at.saturating_duration_since(began).as_secs();
        // The mint read its clock at some time between.
        let middle = wall.saturating_sub(took / 2);
        let ahead_secs = difference(middle, Timestamp::from_secs(time));
        let unsure_secs = i64::try_from(took.div_ceil(2)).unwrap_or(i64::MAX).saturating_add(1);
        lock(&self.clocks).insert(url.clone(), Some(Clock { ahead_secs, unsure_secs, wall, at }));
    }

    /// Asks a mint what it is and which keysets it has, and remembers the answer.
    async fn look(&self, url: &MintUrl, added: bool) -> Result<Arc<MintView>, WalletError> {
        let client = MintClient::new(url, self.connectors.for_url(url)?);
        let began = self.runtime.instant();
        let info = client.info().await?;
        self.note_clock(url, &info, began);
        let missing: Vec<_> =
            NEEDED.iter().filter(|nut| !info.supports(nut)).map(|nut| format!("NUT-{nut:0>2}")).collect();
        if !missing.is_empty() {
            return Err(WalletError::MintUnfit { mint: url.clone(), missing: missing.join(", ") });
        }
        let cached = self.read_known().get(url).cloned();
        let keysets = self.keysets(url, &client, cached.as_deref()).await?;
        if cached.is_none() {
            self.check_pin(url, &keysets)?;
        }
        let identity = self.identity(url, &keysets);
        let fetched = self.runtime.now();
        let since = cached.as_ref().map_or(fetched, |view| view.since);
        self.remember(url, MintRecord { identity, keysets, name: info.name, fetched, since, added }).await
    }

    /// A mint that is met for the first time signs with the keys that the settings have for it, and with no others.
    fn check_pin(&self, url: &MintUrl, keysets: &[KeysetRecord]) -> Result<(), WalletError> {
        let Some(pinned) = self.pins.get(url) else { return Ok(()) };
        let active = keysets.iter().filter(|record| record.active);
        let active: Vec<_> = active.filter_map(|record| Keyset::from_mint(&record.keyset.0).ok()).collect();
        if invitation::pin(&active) == *pinned { Ok(()) } else { Err(WalletError::Pinned(url.clone())) }
    }

    /// The keysets that a mint lists, each verified, and those that it has listed before.
    async fn keysets(
        &self,
        url: &MintUrl,
        client: &MintClient,
        cached: Option<&MintView>,
    ) -> Result<Vec<KeysetRecord>, WalletError> {
        let mut listed = client.keysets().await?;
        // The active ones first, in case there are more than we keep.
        listed.sort_by_key(|info| (!info.active, info.id));
        let (mut records, mut trouble) = (Vec::new(), None);
        for info in listed.into_iter().take(MAX_KEYSETS_PER_MINT) {
            if info.unit.to_string().parse::<Unit>().is_err() {
                continue;
            }
            match self.keyset(url, client, cached, info).await {
                Ok(record) => records.push(record),
                Err(error) => {
                    let reason = format!("a keyset of it is not used: {error}");
                    self.events.emit(Event::MintTrouble { mint: url.to_string(), reason });
                    trouble.get_or_insert(error);
                }
            }
        }
        if let Some(error) = trouble
            && !records.iter().any(|record| record.active)
        {
            return Err(error);
        }
        self.keep_delisted(&mut records, cached)?;
        Ok(records)
    }

    /// A listed keyset with its keys. The keys of an ID never change: the first that we saw are pinned.
    async fn keyset(
        &self,
        url: &MintUrl,
        client: &MintClient,
        cached: Option<&MintView>,
        info: KeySetInfo,
    ) -> Result<KeysetRecord, WalletError> {
        let keys = match cached.and_then(|view| view.keysets.get(&info.id.into())) {
            Some(keyset) => keyset.keys().clone(),
            None => client.keyset(info.id).await?.keys,
        };
        let KeySetInfo { id, unit, active, input_fee_ppk, final_expiry } = info;
        let keyset = KeySet { id, unit, active: Some(active), keys, input_fee_ppk, final_expiry };
        Keyset::from_mint(&keyset).map_err(|cause| WalletError::Keyset { mint: url.clone(), cause })?;
        Ok(KeysetRecord { keyset: Json(keyset), active, delisted: false })
    }

    /// Adds what the mint listed before: all of it as a rule, and beyond the bound that of which we have coins.
    fn keep_delisted(&self, records: &mut Vec<KeysetRecord>, cached: Option<&MintView>) -> Result<(), StoreError> {
        let listed: BTreeSet<KeysetId> = records.iter().map(|record| record.keyset.0.id.into()).collect();
        let gone = cached.into_iter().flat_map(|view| view.keysets.values());
        let gone: Vec<_> = gone.filter(|keyset| !listed.contains(&keyset.id())).collect();
        let crowded = records.len() + gone.len() > MAX_KEYSETS_PER_MINT;
        let needed = if crowded { self.store.read(tables::keysets_in_use)? } else { BTreeSet::new() };
        let kept = gone.into_iter().filter(|keyset| !crowded || needed.contains(&keyset.id()));
        records.extend(kept.map(|keyset| KeysetRecord::delisted(keyset)));
        Ok(())
    }

    /// Whose keys these are: an identity that we know, if its URL lists every keyset that a known mint ever showed. Keysets
    /// are public, so one in common proves nothing: a mint could list another's beside its own, and be sent that one's coins.
    fn identity(&self, url: &MintUrl, keysets: &[KeysetRecord]) -> ByteArray<8> {
        let known = self.read_known();
        let listed: BTreeSet<KeysetId> = keysets.iter().map(|record| record.keyset.0.id.into()).collect();
        let is_same =
            |view: &&Arc<MintView>| !view.keysets.is_empty() && view.keysets.keys().all(|id| listed.contains(id));
        if let Some(same) = known.get(url).or_else(|| known.values().find(is_same)) {
            return same.identity;
        }
        let mut hash = [0; 8];
        let keys: Vec<u8> =
            keysets.iter().flat_map(|record| record.keyset.0.keys.iter().flat_map(|(_, key)| key.to_bytes())).collect();
        hash.copy_from_slice(&sha256(&keys)[..8]);
        ByteArray(hash)
    }

    async fn remember(&self, url: &MintUrl, record: MintRecord) -> Result<Arc<MintView>, WalletError> {
        let view = Arc::new(MintView::new(url, record.clone(), true));
        let key = url.as_str().as_bytes().to_vec();
        self.store.write(move |write| write.put(MINTS, key, &record)).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(url.clone(), Arc::clone(&view));
        Ok(view)
    }

    fn read_known(&self) -> RwLockReadGuard<'_, BTreeMap<MintUrl, Arc<MintView>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `one` minus `other`, in seconds.
fn difference(one: Timestamp, other: Timestamp) -> i64 {
    let secs = |from: Timestamp, to: Timestamp| i64::try_from(to.as_secs().saturating_sub(from.as_secs()));
    if one >= other { secs(other, one).unwrap_or(i64::MAX) } else { -secs(one, other).unwrap_or(i64::MAX) }
}
