//! The mints that the operator trusts, and what we know of their keysets.
//!
//! The list is the config file's plus what `guilder wallet mints add` added; a message never adds to it. What a mint
//! says of its keysets is kept by (mint, full ID), each ID computed again from the keys ([`Keyset::verify`]), and
//! survives a restart: a lock is checked against it with the mint unreachable. It is looked at again every
//! [`keyset_refresh_secs`](super::WalletConfig::keyset_refresh_secs), and when somebody shows a keyset that we don't
//! know, no more often than once in [`UNKNOWN_KEYSET_PAUSE`] per mint.
//!
//! A keyset once verified is kept when its mint no longer lists it: coins of ours may be of it, and the keys of an ID
//! never change. No new coin is made with it and no lock of it accepted. One keyset that isn't what its ID says is
//! passed over, and doesn't keep the others of its mint from being refreshed.
//!
//! A mint is whoever holds its keys: two URLs that share a keyset are one mint, with one identity, so that a proof can't
//! pay once under each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use cdk::nuts::{KeySet, KeySetInfo, MintInfo};
use guilder_protocol::{
    bytes::ByteArray,
    cbor::sha256,
    limits::MAX_LOCK_SECS,
    locks::{Keyset, KeysetId, KeysetView},
    market::{MintUrl, Unit},
    time::Timestamp,
};
use tokio::time::Instant;

use super::{
    WalletError, books,
    connector::{Connectors, DynConnector, MintTrouble},
    records::{KeysetRecord, MINTS, MintRecord, Pocket},
};
use crate::{
    events::{Event, Events},
    limits::{MAX_KEYSETS_PER_MINT, MINT_RETRY_PAUSE, UNKNOWN_KEYSET_PAUSE},
    runtime::Runtime,
    store::{Json, KeyRange, Reader, Store, StoreError},
};

/// What must be announced: spent check, restore, spending conditions, P2PK, DLEQ, HTLC.
const NEEDED: [(&str, fn(&MintInfo) -> bool); 6] = [
    ("NUT-07", |info| info.nuts.nut07.supported),
    ("NUT-09", |info| info.nuts.nut09.supported),
    ("NUT-10", |info| info.nuts.nut10.supported),
    ("NUT-11", |info| info.nuts.nut11.supported),
    ("NUT-12", |info| info.nuts.nut12.supported),
    ("NUT-14", |info| info.nuts.nut14.supported),
];

/// The mints of a wallet.
#[derive(Debug)]
pub(super) struct Mints {
    configured: Vec<MintUrl>,
    connectors: Arc<dyn Connectors>,
    runtime: Runtime,
    store: Store,
    events: Events,
    known: RwLock<BTreeMap<MintUrl, Arc<MintView>>>,
    looked: Mutex<BTreeMap<MintUrl, Instant>>,
}

/// What we know of one mint.
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
}

/// A mint on the operator's list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MintSummary {
    /// Its URL.
    pub url: MintUrl,
    /// What it calls itself, once it has been reached.
    pub name: Option<String>,
    /// The units that it issues; empty until it has been reached.
    pub units: Vec<Unit>,
    /// Whether it was added by command; otherwise it stands in the config file.
    pub added: bool,
}

impl MintView {
    fn new(url: &MintUrl, record: MintRecord) -> Self {
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
        let MintRecord { identity, name, added, .. } = record;
        Self { url: url.clone(), identity, keysets, listed, name, active, added }
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

    /// For expanding the short keyset IDs of tokens.
    pub(super) fn infos(&self) -> Vec<KeySetInfo> {
        let info = |keyset: &Arc<Keyset>| KeySetInfo {
            id: keyset.id().to_cashu(),
            unit: super::pockets::currency(keyset.unit()),
            active: self.is_active(keyset.id()),
            input_fee_ppk: keyset.input_fee_ppk(),
            final_expiry: keyset.final_expiry().map(Timestamp::as_secs),
        };
        self.keysets.values().map(info).collect()
    }
}

impl Mints {
    pub(super) fn open(
        configured: Vec<MintUrl>,
        store: &Store,
        runtime: &Runtime,
        connectors: &Arc<dyn Connectors>,
        events: &Events,
    ) -> Result<Self, StoreError> {
        let records = store.read(|read| read.range(MINTS, KeyRange::all(), usize::MAX))?;
        let views = records.into_iter().filter_map(|(key, record)| {
            let url: MintUrl = String::from_utf8(key).ok()?.parse().ok()?;
            let on_list = record.added || configured.contains(&url);
            let view = Arc::new(MintView::new(&url, record));
            on_list.then_some((url, view))
        });
        Ok(Self {
            known: RwLock::new(views.collect()),
            configured,
            connectors: Arc::clone(connectors),
            runtime: runtime.clone(),
            store: store.clone(),
            events: events.clone(),
            looked: Mutex::default(),
        })
    }

    pub(super) fn connector(&self, url: &MintUrl) -> Result<DynConnector, WalletError> {
        Ok(self.connectors.for_url(url)?)
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

    /// What we know of a mint on the list, without asking it.
    pub(super) fn cached(&self, url: &MintUrl) -> Option<Arc<MintView>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
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
        if ids.into_iter().all(|id| view.keysets.contains_key(&id)) || !self.may_look(url) {
            return Ok(view);
        }
        // A mint that is down now doesn't make what we know of it untrue.
        Ok(self.look(url, view.added).await.unwrap_or(view))
    }

    /// Looks at a mint that doesn't take the keyset that we think it signs with, or seems to have none. Rate-limited.
    pub(super) async fn look_again(&self, url: &MintUrl) {
        let Some(view) = self.cached(url).filter(|_| self.may_look(url)) else { return };
        if let Err(error) = self.look(url, view.added).await {
            tracing::debug!(mint = %url, %error, "mint not refreshed for want of a keyset");
        }
    }

    fn may_look(&self, url: &MintUrl) -> bool {
        let now = self.runtime.instant();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = looked.get(url).is_none_or(|last| now.duration_since(*last) >= UNKNOWN_KEYSET_PAUSE);
        if rested {
            looked.insert(url.clone(), now);
        }
        rested
    }

    /// Puts a mint on the list, if it is fit for locked money.
    pub(super) async fn add(&self, url: &MintUrl) -> Result<Arc<MintView>, WalletError> {
        self.look(url, !self.configured.contains(url)).await
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

    pub(super) fn list(&self) -> Vec<MintSummary> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let reached = known.values().map(|view| MintSummary {
            url: view.url.clone(),
            name: view.name.clone(),
            units: view.units().cloned().collect(),
            added: view.added,
        });
        let waiting = self.configured.iter().filter(|url| !known.contains_key(url)).map(|url| MintSummary {
            url: url.clone(),
            name: None,
            units: Vec::new(),
            added: false,
        });
        reached.chain(waiting).collect()
    }

    /// Every mint on the list, reached or not.
    pub(super) fn urls(&self) -> Vec<MintUrl> {
        self.list().into_iter().map(|mint| mint.url).collect()
    }

    /// What money there can be of the mints that we know.
    pub(super) fn pockets(&self) -> Vec<Pocket> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let units = |view: &Arc<MintView>| view.keysets.values().map(|keyset| keyset.unit().clone()).collect();
        let pockets = |(url, view): (&MintUrl, &Arc<MintView>)| {
            let units: BTreeSet<Unit> = units(view);
            units.into_iter().map(|unit| Pocket::new(url, &unit)).collect::<Vec<_>>()
        };
        known.iter().flat_map(pockets).collect()
    }

    /// Looks at every mint on the list now and again; soon again at those never reached.
    pub(super) async fn keep_fresh(&self, every: std::time::Duration) {
        loop {
            let mut pause = every;
            for url in self.urls() {
                let added = self.cached(&url).is_some_and(|view| view.added);
                if let Err(error) = self.look(&url, added).await {
                    tracing::debug!(mint = %url, %error, "mint not refreshed");
                    if self.cached(&url).is_none() {
                        pause = pause.min(MINT_RETRY_PAUSE);
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks a mint what it is and which keysets it has, and remembers the answer.
    async fn look(&self, url: &MintUrl, added: bool) -> Result<Arc<MintView>, WalletError> {
        let connector = self.connector(url)?;
        let trouble = |error: cdk::Error| WalletError::from(MintTrouble::from_error(url, &error));
        let info = connector.get_mint_info().await.map_err(trouble)?;
        let missing: Vec<_> = NEEDED.iter().filter(|(_, has)| !has(&info)).map(|(nut, _)| *nut).collect();
        if !missing.is_empty() {
            return Err(WalletError::MintUnfit { mint: url.clone(), missing: missing.join(", ") });
        }
        let cached = self.cached(url);
        let keysets = self.keysets(url, &connector, cached.as_deref()).await?;
        let identity = self.identity(url, &keysets);
        let record = MintRecord { identity, keysets, name: info.name, fetched: self.runtime.now(), added };
        self.remember(url, record).await
    }

    /// The keysets that a mint lists, each verified, and those that it has listed before.
    async fn keysets(
        &self,
        url: &MintUrl,
        connector: &DynConnector,
        cached: Option<&MintView>,
    ) -> Result<Vec<KeysetRecord>, WalletError> {
        let trouble = |error: cdk::Error| WalletError::from(MintTrouble::from_error(url, &error));
        let mut listed = connector.get_mint_keysets().await.map_err(trouble)?.keysets;
        // The active ones first, in case there are more than we keep.
        listed.sort_by_key(|info| (!info.active, info.id));
        let (mut records, mut lie) = (Vec::new(), None);
        for info in listed.into_iter().take(MAX_KEYSETS_PER_MINT) {
            if info.unit.to_string().parse::<Unit>().is_err() {
                continue;
            }
            // The keys of an ID never change: the first that we saw are pinned.
            let keys = match cached.and_then(|view| view.keysets.get(&info.id.into())) {
                Some(keyset) => keyset.keys().clone(),
                None => connector.get_mint_keyset(info.id).await.map_err(trouble)?.keys,
            };
            let KeySetInfo { id, unit, active, input_fee_ppk, final_expiry } = info;
            let keyset = KeySet { id, unit, active: Some(active), keys, input_fee_ppk, final_expiry };
            match Keyset::from_mint(&keyset) {
                Ok(_) => records.push(KeysetRecord { keyset: Json(keyset), active, delisted: false }),
                Err(cause) => {
                    let reason = format!("it is not used: {cause}");
                    self.events.emit(Event::MintTrouble { mint: url.to_string(), reason });
                    lie.get_or_insert(cause);
                }
            }
        }
        if let Some(cause) = lie
            && !records.iter().any(|record| record.active)
        {
            return Err(WalletError::Keyset { mint: url.clone(), cause });
        }
        self.keep_delisted(&mut records, cached)?;
        Ok(records)
    }

    /// Adds what the mint listed before: all of it as a rule, and beyond the bound that of which we have coins.
    fn keep_delisted(&self, records: &mut Vec<KeysetRecord>, cached: Option<&MintView>) -> Result<(), StoreError> {
        let listed: BTreeSet<KeysetId> = records.iter().map(|record| record.keyset.0.id.into()).collect();
        let gone = cached.into_iter().flat_map(|view| view.keysets.values());
        let gone: Vec<_> = gone.filter(|keyset| !listed.contains(&keyset.id())).collect();
        let crowded = records.len() + gone.len() > MAX_KEYSETS_PER_MINT;
        let needed = if crowded { self.store.read(books::keysets_in_use)? } else { BTreeSet::new() };
        let kept = gone.into_iter().filter(|keyset| !crowded || needed.contains(&keyset.id()));
        records.extend(kept.map(|keyset| KeysetRecord::delisted(keyset)));
        Ok(())
    }

    /// Whose keys these are: an identity that we know, if we know any of the keysets.
    fn identity(&self, url: &MintUrl, keysets: &[KeysetRecord]) -> ByteArray<8> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let shares =
            |view: &&Arc<MintView>| keysets.iter().any(|record| view.keysets.contains_key(&record.keyset.0.id.into()));
        if let Some(same) = known.get(url).or_else(|| known.values().find(shares)) {
            return same.identity;
        }
        let mut hash = [0; 8];
        let keys: Vec<u8> =
            keysets.iter().flat_map(|record| record.keyset.0.keys.iter().flat_map(|(_, key)| key.to_bytes())).collect();
        hash.copy_from_slice(&sha256(&keys)[..8]);
        ByteArray(hash)
    }

    async fn remember(&self, url: &MintUrl, record: MintRecord) -> Result<Arc<MintView>, WalletError> {
        let view = Arc::new(MintView::new(url, record.clone()));
        let key = url.as_str().as_bytes().to_vec();
        self.store.write(move |write| write.put(MINTS, key, &record)).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(url.clone(), Arc::clone(&view));
        Ok(view)
    }
}
