//! Our own services: kept across restarts, advertised while they are on sale, withdrawn when they no longer are.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Mutex};

use guilder_protocol::{
    bytes::ByteArray,
    envelope::{EnvelopeError, Signed},
    limits::MAX_MINTS,
    market::{Advert, AdvertBody, MintUrl, ServiceName, Withdrawal, WithdrawalBody},
    settlement::Mode,
};
use tokio::time::Instant;

use super::{
    Catalogue, CatalogueError,
    limits::{ADVERT_SECS, MAX_SERVICES, RENEW_EVERY},
};
use crate::{
    events::Event,
    executor::{Definition, Service},
    store::{Key, KeyRange, Reader, Table},
    sync::lock,
    wallet::MintSummary,
};

const DEFINITIONS: Table<Definition> = Table::new("catalogue/services");

/// What we have on sale.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<BTreeMap<ServiceName, Item>>);

#[derive(Debug)]
struct Item {
    service: Service,
    /// None while there is no mint at which we could be paid.
    advert: Option<Signed<Advert>>,
}

impl Shelf {
    pub(super) fn service(&self, name: &ServiceName) -> Option<Service> {
        lock(&self.0).get(name).map(|item| item.service.clone())
    }

    pub(super) fn services(&self) -> Vec<Service> {
        lock(&self.0).values().map(|item| item.service.clone()).collect()
    }

    pub(super) fn advert(&self, name: &ServiceName) -> Option<Signed<Advert>> {
        lock(&self.0).get(name)?.advert.clone()
    }

    fn put(&self, name: ServiceName, service: Service) -> Result<(), CatalogueError> {
        let mut stock = lock(&self.0);
        if stock.len() >= MAX_SERVICES && !stock.contains_key(&name) {
            return Err(CatalogueError::Full(MAX_SERVICES));
        }
        stock.insert(name, Item { service, advert: None });
        Ok(())
    }

    fn set_advert(&self, name: &ServiceName, advert: Signed<Advert>) {
        if let Some(item) = lock(&self.0).get_mut(name) {
            item.advert = Some(advert);
        }
    }
}

impl Catalogue {
    /// Puts a service on sale, in place of one with the same name, and keeps it so across restarts.
    ///
    /// # Errors
    /// If it can't be made ready or advertised, or there are too many.
    pub async fn add(&self, definition: Definition) -> Result<(), CatalogueError> {
        let service = Service::new(definition, &self.0.executors).await?;
        self.add_service(service).await
    }

    /// [`Self::add`] for a service that is ready, with whatever executor.
    ///
    /// # Errors
    /// If it can't be advertised, or there are too many.
    pub async fn add_service(&self, service: Service) -> Result<(), CatalogueError> {
        let definition = service.definition().clone();
        let name = definition.name.clone();
        // The definition must make a valid advert, whatever the mints turn out to be.
        self.sign_advert(&service, vec![MintUrl::of_peer(self.local())])?;
        self.0.shelf.put(name.clone(), service)?;
        let key = Key::of(name.as_str());
        self.0.store.write(move |w| w.put(DEFINITIONS, key, &definition)).await?;
        self.0.events.emit(Event::ServiceAdded { service: name.to_string() });
        self.announce(&name).await
    }

    /// Takes a service off sale and says so. Trades that were awarded run on.
    ///
    /// # Errors
    /// If there is none of that name, or the store fails.
    pub async fn remove(&self, name: &ServiceName) -> Result<(), CatalogueError> {
        let known = lock(&self.0.shelf.0).remove(name);
        let Some(item) = known else { return Err(CatalogueError::Unknown(name.clone())) };
        let key = Key::of(name.as_str());
        self.0.store.write(move |w| w.delete(DEFINITIONS, key)).await?;
        self.0.network.unprovide(name).await;
        if item.advert.is_some() {
            self.gossip_withdrawal(name).await;
        }
        if !self.follows(name) {
            self.0.network.unsubscribe(name).await;
        }
        self.0.events.emit(Event::ServiceRemoved { service: name.to_string() });
        Ok(())
    }

    /// Advertises every service anew: after a change of the mints that we accept, and now and then. A service for which
    /// no mint is accepted isn't advertised.
    ///
    /// # Errors
    /// If an advert can't be announced.
    pub async fn refresh(&self) -> Result<(), CatalogueError> {
        for service in self.services() {
            self.announce(&service.definition().name).await?;
        }
        Ok(())
    }

    /// The mints at which a service can be paid, in order of preference: those that its operator named for it, or all,
    /// as far as the wallet accepts them.
    pub fn mints_for(&self, service: &Service) -> Vec<MintUrl> {
        let definition = service.definition();
        let accepted = self.0.wallet.mints();
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

    pub(super) async fn restore_services(&self) -> Result<(), CatalogueError> {
        let mut definitions = Vec::new();
        self.0.store.read(|r| {
            r.visit(DEFINITIONS, KeyRange::all(), |_, definition| {
                definitions.push(definition);
                ControlFlow::Continue(())
            })
        })?;
        for definition in definitions {
            let name = definition.name.clone();
            let ready = Service::new(definition, &self.0.executors).await.map_err(CatalogueError::from);
            if let Err(error) = ready.and_then(|service| self.0.shelf.put(name.clone(), service)) {
                tracing::warn!(service = %name, %error, "a service could not be put on sale again");
            }
        }
        Ok(())
    }

    /// Advertises what is on sale: at once, because nobody knows of a node that was away, and now and then.
    pub(super) async fn keep_renewing(&self) {
        loop {
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "an advert could not be renewed");
            }
            tokio::time::sleep_until(Instant::now() + RENEW_EVERY).await;
            lock(&self.0.cache).expire(self.0.runtime.now());
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
        self.0.shelf.set_advert(name, advert);
        self.0.network.subscribe(name).await?;
        self.0.network.provide(name).await?;
        if let Err(error) = self.0.network.publish(name, gossip.into()).await {
            tracing::debug!(service = %name, %error, "advert not gossiped");
        }
        Ok(())
    }

    async fn gossip_withdrawal(&self, name: &ServiceName) {
        let now = self.0.runtime.now();
        let body = WithdrawalBody { service: name.clone(), until: now };
        let (exp, nonce) = (now.saturating_add(ADVERT_SECS), ByteArray(self.0.runtime.random()));
        let published = match Signed::<Withdrawal>::claim(body, now, Some(exp), nonce, &self.0.key) {
            Ok(withdrawal) => self.0.network.publish(name, withdrawal.bytes().to_vec().into()).await,
            Err(error) => return tracing::error!(service = %name, %error, "a withdrawal could not be signed"),
        };
        if let Err(error) = published {
            tracing::debug!(service = %name, %error, "withdrawal not gossiped");
        }
    }

    fn sign_advert(&self, service: &Service, mints: Vec<MintUrl>) -> Result<Signed<Advert>, EnvelopeError> {
        let definition = service.definition();
        let now = self.0.runtime.now();
        let body = AdvertBody {
            service: definition.name.clone(),
            description: definition.description.clone(),
            price: definition.price,
            unit: definition.unit.clone(),
            mints,
            modes: Mode::ALL.to_vec(),
            input: definition.input.clone(),
            output: definition.output.clone(),
            max_input: definition.max_input_bytes,
            max_output: definition.max_output_bytes,
            time_limit: definition.time_limit_secs,
        };
        let (exp, nonce) = (now.saturating_add(ADVERT_SECS), ByteArray(self.0.runtime.random()));
        Signed::claim(body, now, Some(exp), nonce, &self.0.key)
    }
}
