//! What can be done on the market: services here, sellers elsewhere.

use std::time::Duration;

use futures::{Stream, stream};
use guilder_protocol::{market::ServiceName, settlement::Mode};

use super::{
    Api, LISTED,
    caller::{Action, Caller},
    types::{ApiError, Earnings, EarningsQuery, FindTerms, Found, ServiceView},
};
use crate::{
    catalogue::{
        Listing,
        query::{Pattern, Query},
    },
    executor::{Definition, Service, definition::Run},
    runtime::Job,
};

/// How long a search for sellers goes on.
const FIND_PATIENCE: Duration = Duration::from_secs(8);

impl Api {
    /// What is on sale here.
    ///
    /// # Errors
    /// If the caller may not.
    pub fn services(&self, caller: &Caller) -> Result<Vec<ServiceView>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().catalogue.services().iter().map(|service| self.service_view(service)).collect())
    }

    /// Puts a service on sale, in place of one with the same name.
    ///
    /// # Errors
    /// If the caller may not, its definition doesn't hold, or it can't be advertised.
    pub async fn add_service(&self, caller: &Caller, definition: Definition) -> Result<ServiceView, ApiError> {
        self.pass(caller, Action::AddService, &definition).await?;
        let name = definition.name.clone();
        let checked = definition.clone();
        self.node().runtime.offload(Job::Disk, move || checked.find_program()).await?;
        self.node().catalogue.add(definition).await?;
        let added = self.node().catalogue.service(&name);
        let added = added.ok_or_else(|| ApiError::missing(format!("{name} was removed meanwhile"), "add it again"))?;
        Ok(self.service_view(&added))
    }

    /// Takes a service off sale.
    ///
    /// # Errors
    /// If the caller may not, or there is none of that name.
    pub async fn remove_service(&self, caller: &Caller, name: &ServiceName) -> Result<(), ApiError> {
        self.pass(caller, Action::RemoveService, name).await?;
        Ok(self.node().catalogue.remove(name).await?)
    }

    /// What was earned by selling, as far back as records are kept.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub async fn earnings(&self, caller: &Caller, query: EarningsQuery) -> Result<Vec<Earnings>, ApiError> {
        caller.may(Action::Look)?;
        Ok(self.node().trade.earnings(query.by, query.since.unwrap_or_default()).await?)
    }

    /// Who sells a service, or one of those that a pattern matches: this node itself first, if it does and the caller speaks for its owner,
    /// then those whose adverts are known, at once, then others as they are found; [`LISTED`] of them if no limit is said.
    ///
    /// # Errors
    /// If the caller may not, or looks for too many words.
    pub fn find(
        &self,
        caller: &Caller,
        pattern: &Pattern,
        terms: FindTerms,
    ) -> Result<impl Stream<Item = Found> + Send + 'static, ApiError> {
        caller.may(Action::Find)?;
        let deadline = self.node().runtime.instant() + FIND_PATIENCE;
        let limit = terms.limit.unwrap_or(LISTED);
        let query = self.query(terms)?;
        let own = self.own_listings(pattern, &query, if caller.under().is_none() { limit } else { 0 });
        let limit = limit.saturating_sub(own.len());
        let found = (limit > 0).then(|| self.node().catalogue.find(pattern, query, limit, deadline));
        let api = self.clone();
        let others = stream::unfold(found, move |found| {
            let api = api.clone();
            async move {
                let mut found = found?;
                found.recv().await.map(|listing| (api.found(&listing), Some(found)))
            }
        });
        Ok(stream::StreamExt::chain(stream::iter(own), others))
    }

    /// What an advert has to say. A mint that this node knows under several URLs counts under each.
    fn query(&self, terms: FindTerms) -> Result<Query, ApiError> {
        let FindTerms { limit: _, max_price, unit, mint, mode, words, reachable } = terms;
        let words = Query::words_of(words.as_deref().unwrap_or_default())
            .map_err(|error| ApiError::misuse(error.to_string(), "look for fewer and shorter words"))?;
        let mut mints: Vec<_> = mint.into_iter().collect();
        for known in self.node().wallet.mints() {
            let urls = || known.also.iter().chain([&known.url]);
            if urls().any(|url| mints.contains(url)) {
                mints.extend(urls().cloned());
            }
        }
        Ok(Query { max_price, unit, mints, mode, words, reachable })
    }

    fn own_listings(&self, pattern: &Pattern, query: &Query, limit: usize) -> Vec<Found> {
        let own = self.node().catalogue.services();
        let fitting = own.iter().filter(|service| pattern.matches(&service.definition().name));
        let fitting = fitting.filter(|service| query.fits(&self.node().catalogue.would_advertise(service)));
        fitting.take(limit).map(|service| self.own_listing(service)).collect()
    }

    /// A seller's advert, as it is told.
    fn found(&self, listing: &Listing) -> Found {
        let (agent, advert) = (listing.seller(), &listing.advert);
        Found {
            seller: agent.peer_id(),
            service: advert.body.service.clone(),
            description: advert.body.description.clone(),
            price: advert.body.price,
            unit: advert.body.unit.clone(),
            mints: advert.body.mints.clone(),
            expires: advert.exp,
            own: false,
            modes: advert.body.modes.clone(),
            age_secs: self.node().runtime.now().since(advert.iat),
            connected: self.node().network.is_connected(agent),
        }
    }

    fn own_listing(&self, service: &Service) -> Found {
        let definition = service.definition();
        Found {
            seller: self.node().id().peer_id(),
            service: definition.name.clone(),
            description: definition.description.clone(),
            price: definition.price,
            unit: definition.unit.clone(),
            mints: self.node().catalogue.mints_for(service),
            expires: None,
            own: true,
            modes: Mode::ALL.to_vec(),
            age_secs: 0,
            connected: true,
        }
    }

    fn service_view(&self, service: &Service) -> ServiceView {
        let definition = service.definition();
        ServiceView {
            name: definition.name.clone(),
            description: definition.description.clone(),
            price: definition.price,
            unit: definition.unit.clone(),
            executor: match &definition.run {
                Run::Echo => "echo",
                Run::Process(_) => "process",
                Run::Http(_) => "http",
                Run::Mcp(_) => "mcp",
            }
            .to_owned(),
            concurrency: definition.concurrency as u64,
            time_limit_secs: definition.time_limit_secs,
            mints: self.node().catalogue.mints_for(service),
        }
    }
}
