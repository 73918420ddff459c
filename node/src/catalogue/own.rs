//! Our own services: kept across restarts, advertised while they are on sale, withdrawn when they no longer are.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use super::{
    CatalogueError,
    limits::{ADVERT_SECS, MAX_SERVICES},
    topics::Topics,
};
use crate::{
    events::{Event, Events},
    executor::{Definition, Executors, Service},
    network::Network,
    runtime::Runtime,
    store::{Key, KeyRange, Reader, Store, Table},
    sync::lock,
    wallet::{MintSummary, Wallet},
};
use guilder_protocol::{
    bytes::ByteArray,
    envelope::{EnvelopeError, Signed},
    identity::AgentKey,
    limits::MAX_MINTS,
    market::{Advert, AdvertBody, MintUrl, SchemaHash, ServiceName, Withdrawal, WithdrawalBody, schema_hash},
    settlement::Mode,
    time::Timestamp,
};

const DEFINITIONS: Table<Definition> = Table::new("catalogue/services");

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct OwnServices {
    pub(super) key: AgentKey,
    pub(super) runtime: Runtime,
    pub(super) store: Store,
    pub(super) network: Network,
    pub(super) wallet: Wallet,
    pub(super) executors: Executors,
    pub(super) events: Events,
    pub(super) topics: Arc<Topics>,
    pub(super) offered: Mutex<BTreeMap<ServiceName, Offered>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Offered {
    service: Service,
    /// The texts of its schemas.
    schemas: BTreeMap<SchemaHash, String>,
    /// None while there is no mint at which we could be paid.
    advert: Option<Signed<Advert>>,
}

impl OwnServices {
    pub(super) fn service(&self, name: &ServiceName) -> Option<Service> {
        lock(&self.offered).get(name).map(|offered| offered.service.clone())
    }

    pub(super) fn services(&self) -> Vec<Service> {
        lock(&self.offered).values().map(|offered| offered.service.clone()).collect()
    }

    pub(super) fn advert(&self, name: &ServiceName) -> Option<Signed<Advert>> {
        lock(&self.offered).get(name)?.advert.clone()
    }

    pub(super) fn schema(&self, name: &ServiceName, hash: SchemaHash) -> Option<String> {
        lock(&self.offered).get(name)?.schemas.get(&hash).cloned()
    }

    fn put(&self, name: ServiceName, service: Service) -> Result<(), CatalogueError> {
        let mut offered = lock(&self.offered);
        if offered.len() >= MAX_SERVICES && !offered.contains_key(&name) {
            return Err(CatalogueError::Full(MAX_SERVICES));
        }
        let definition = service.definition();
        let texts = [&definition.input, &definition.output].into_iter().flatten();
        let schemas = texts.map(|text| (schema_hash(text), text.clone())).collect();
        offered.insert(name, Offered { service, schemas, advert: None });
        Ok(())
    }

    /// See [`Catalogue::add`](super::Catalogue::add).
    pub(super) async fn add(&self, definition: Definition) -> Result<(), CatalogueError> {
        let service = Service::new(definition, &self.executors).await?;
        self.add_service(service).await
    }

    /// See [`Catalogue::add_service`](super::Catalogue::add_service).
    pub(super) async fn add_service(&self, service: Service) -> Result<(), CatalogueError> {
        let definition = service.definition().clone();
        let name = definition.name.clone();
        // The definition must make a valid advert, whatever the mints turn out to be.
        self.sign_advert(&service, vec![MintUrl::of_peer(self.network.local())])?;
        self.put(name.clone(), service)?;
        let key = Key::of(name.as_str());
        self.store.write(move |w| w.put(DEFINITIONS, key, &definition)).await?;
        self.events.emit(Event::ServiceAdded { service: name.to_string() });
        self.announce(&name).await
    }

    /// See [`Catalogue::remove`](super::Catalogue::remove).
    pub(super) async fn remove(&self, name: &ServiceName) -> Result<(), CatalogueError> {
        self.remove_if(name, |_| true).await
    }

    /// The same, if it is still the one that is meant.
    async fn remove_if(
        &self,
        name: &ServiceName,
        is_meant: impl FnOnce(&Service) -> bool,
    ) -> Result<(), CatalogueError> {
        let known = {
            let mut offered = lock(&self.offered);
            let is_there = offered.get(name).is_some_and(|offered| is_meant(&offered.service));
            if is_there { offered.remove(name) } else { None }
        };
        let Some(removed) = known else { return Err(CatalogueError::Unknown(name.clone())) };
        let key = Key::of(name.as_str());
        self.store.write(move |w| w.delete(DEFINITIONS, key)).await?;
        self.network.unprovide(name).await;
        if removed.advert.is_some() {
            self.gossip_withdrawal(name, self.runtime.now()).await;
        }
        self.topics.drop_ours(name).await;
        self.events.emit(Event::ServiceRemoved { service: name.to_string() });
        Ok(())
    }

    /// Takes a service off sale of whose tool something else is said now, and says so; not the one that was put on sale in its place.
    pub(super) async fn tool_changed(&self, service: &Service, why: String) {
        let name = &service.definition().name;
        match self.remove_if(name, |on_sale| on_sale.is(service)).await {
            Ok(()) => self.events.emit(Event::ToolChanged { service: name.to_string(), why }),
            // Another work of it found the same, or it was put on sale anew.
            Err(CatalogueError::Unknown(_)) => {}
            Err(error) => {
                self.events.emit(Event::ToolChanged { service: name.to_string(), why });
                tracing::error!(service = %name, %error, "a service whose tool has changed is still on sale");
            }
        }
    }

    /// See [`Catalogue::refresh`](super::Catalogue::refresh).
    pub(super) async fn refresh(&self) -> Result<(), CatalogueError> {
        for service in self.services() {
            self.announce(&service.definition().name).await?;
        }
        Ok(())
    }

    /// See [`Catalogue::mints_for`](super::Catalogue::mints_for).
    pub(super) fn mints_for(&self, service: &Service) -> Vec<MintUrl> {
        let definition = service.definition();
        let accepted = self.wallet.mints();
        let fits = |mint: &MintSummary| mint.units.is_empty() || mint.units.contains(&definition.unit);
        let fitting = accepted.into_iter().filter(fits).map(|mint| mint.url);
        let mut mints: Vec<_> = if definition.mints.is_empty() {
            fitting.collect()
        } else {
            let fitting: Vec<_> = fitting.collect();
            definition.mints.iter().filter(|mint| fitting.contains(mint)).cloned().collect()
        };
        mints.truncate(MAX_MINTS);
        mints
    }

    pub(super) async fn restore(&self) -> Result<(), CatalogueError> {
        let mut definitions = Vec::new();
        self.store.read(|r| {
            r.visit(DEFINITIONS, KeyRange::all(), |_, definition| {
                definitions.push(definition);
                ControlFlow::Continue(())
            })
        })?;
        for definition in definitions {
            let name = definition.name.clone();
            let ready = Service::new(definition, &self.executors).await.map_err(CatalogueError::from);
            if let Err(error) = ready.and_then(|service| self.put(name.clone(), service)) {
                tracing::warn!(service = %name, %error, "a service could not be put on sale again");
            }
        }
        Ok(())
    }

    /// Advertises what is on sale: at start, because nobody knows of a node that was away, and now and then.
    pub(super) async fn renew(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "an advert could not be renewed");
        }
    }

    /// Signs the advert of a service anew and tells the world. Nobody listening yet is no failure: whoever searches
    /// finds us through Kademlia.
    async fn announce(&self, name: &ServiceName) -> Result<(), CatalogueError> {
        let Some(service) = self.service(name) else { return Ok(()) };
        let mints = self.mints_for(&service);
        if mints.is_empty() {
            tracing::info!(service = %name, "not advertised: no accepted mint issues its unit");
            return Ok(());
        }
        let advert = self.sign_advert(&service, mints)?;
        let gossip = advert.bytes().to_vec();
        if let Some(offered) = lock(&self.offered).get_mut(name) {
            offered.advert = Some(advert);
        }
        self.topics.follow_ours(name).await?;
        self.network.provide(name).await?;
        if let Err(error) = self.network.publish(name, gossip.into()).await {
            tracing::debug!(service = %name, %error, "advert not gossiped");
        }
        Ok(())
    }

    /// Says of each service that it can't be had any more, until the node is back. What is advertised from then on counts again, also
    /// within the same second.
    pub(super) async fn retire(&self) -> bool {
        let advertised: Vec<_> = lock(&self.offered)
            .iter_mut()
            .filter_map(|(name, offered)| Some((name.clone(), offered.advert.take()?.iat)))
            .collect();
        for (name, until) in &advertised {
            self.network.unprovide(name).await;
            self.gossip_withdrawal(name, *until).await;
        }
        !advertised.is_empty()
    }

    async fn gossip_withdrawal(&self, name: &ServiceName, until: Timestamp) {
        let now = self.runtime.now();
        let body = WithdrawalBody { service: name.clone(), until };
        let (exp, nonce) = (now.saturating_add(ADVERT_SECS), ByteArray(self.runtime.random()));
        let published = match Signed::<Withdrawal>::claim(body, now, Some(exp), nonce, &self.key) {
            Ok(withdrawal) => self.network.publish(name, withdrawal.bytes().to_vec().into()).await,
            Err(error) => return tracing::error!(service = %name, %error, "a withdrawal could not be signed"),
        };
        if let Err(error) = published {
            tracing::debug!(service = %name, %error, "withdrawal not gossiped");
        }
    }

    fn sign_advert(&self, service: &Service, mints: Vec<MintUrl>) -> Result<Signed<Advert>, EnvelopeError> {
        let now = self.runtime.now();
        let body = self.advert_body(service, mints);
        let (exp, nonce) = (now.saturating_add(ADVERT_SECS), ByteArray(self.runtime.random()));
        Signed::claim(body, now, Some(exp), nonce, &self.key)
    }

    pub(super) fn advert_body(&self, service: &Service, mints: Vec<MintUrl>) -> AdvertBody {
        let definition = service.definition();
        AdvertBody {
            service: definition.name.clone(),
            description: definition.description.clone(),
            price: definition.price,
            unit: definition.unit.clone(),
            mints,
            modes: Mode::ALL.to_vec(),
            input: definition.input.as_deref().map(schema_hash),
            output: definition.output.as_deref().map(schema_hash),
            max_input: definition.max_input_bytes,
            max_output: definition.max_output_bytes,
            time_limit: definition.time_limit_secs,
        }
    }
}
