//! Sellers' schemas, fetched by their hashes when an input or an output is to be held against one.
//!
//! An advert and an offer name their schemas by hash, so that gossip carries none, and so that what an offer promised can
//! be told later from the offer, the schema's text and the output. A schema is fetched from the one seller whose offer is about
//! to be awarded, if it isn't kept from an earlier hire. That of the output is fetched before the award, too: no money is
//! locked on a promise that can't be checked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use guilder_protocol::{
    identity::AgentId,
    market::{Offer, SchemaHash, ServiceName, schema_hash},
    wire::{self, Message, Query},
};
use tokio::sync::oneshot;

use super::{
    intake::BadAnswer,
    limits::{MAX_KEPT_SCHEMAS, QUERY_TIMEOUT},
    listing::{InputError, PromiseError},
    search::SearchError,
};
use crate::{
    content::{Content, Data},
    executor::{
        ExecError, check_data,
        schema::{Schema, SchemaError},
    },
    network::Network,
    runtime::{Job, Runtime},
    sync::lock,
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct SellerSchemas {
    network: Network,
    runtime: Runtime,
    content: Content,
    kept: Kept,
    awaited: Awaited,
}

/// A schema's text, and what came of compiling it.
#[derive(Clone, Debug)]
struct SellerSchema {
    text: Arc<str>,
    compiled: Result<Arc<Schema>, SchemaError>,
}

/// Schemas compiled a short while ago; the one used last stands last.
#[derive(Debug, Default)]
struct Kept(Mutex<VecDeque<(SchemaHash, SellerSchema)>>);

/// Who was asked for what, and who waits for the answer.
#[derive(Debug, Default)]
struct Awaited(Mutex<BTreeMap<(AgentId, SchemaHash), Vec<oneshot::Sender<Option<String>>>>>);

impl SellerSchemas {
    pub(super) fn new(network: Network, runtime: Runtime, content: Content) -> Self {
        Self { network, runtime, content, kept: Kept::default(), awaited: Awaited::default() }
    }

    /// See [`Catalogue::schema_given`](super::Catalogue::schema_given).
    pub(super) fn given(&self, from: AgentId, given: wire::Schema) -> Result<(), BadAnswer> {
        if given.text.as_ref().is_some_and(|text| schema_hash(text) != given.hash) {
            return Err(BadAnswer::OtherSchema);
        }
        if self.awaited.tell(from, given.hash, given.text) { Ok(()) } else { Err(BadAnswer::Unasked) }
    }

    /// See [`Catalogue::check_input`](super::Catalogue::check_input).
    pub(super) async fn check_input(
        &self,
        seller: AgentId,
        offer: &Offer,
        input: &Data,
    ) -> Result<Result<Result<(), InputError>, SearchError>, ExecError> {
        let Some(hash) = offer.body.input else { return Ok(Ok(Ok(()))) };
        let schema = match self.schema(seller, &offer.body.service, hash).await {
            Ok(schema) => schema,
            Err(error) => return Ok(Err(error)),
        };
        let schema = match schema.compiled {
            Ok(schema) => schema,
            Err(error) => return Ok(Ok(Err(InputError::BadSchema(error)))),
        };
        let checked = check_data(&schema, input, &self.content, &self.runtime).await?;
        Ok(Ok(checked.map_err(InputError::Schema)))
    }

    /// See [`Catalogue::promised`](super::Catalogue::promised).
    pub(super) async fn promised(&self, seller: AgentId, offer: &Offer) -> Result<Option<Arc<str>>, PromiseError> {
        let Some(hash) = offer.body.output else { return Ok(None) };
        let schema = self.schema(seller, &offer.body.service, hash).await?;
        schema.compiled.map(|_| Some(schema.text)).map_err(PromiseError::BadSchema)
    }

    /// See [`Catalogue::check_output`](super::Catalogue::check_output).
    pub(super) async fn check_output(
        &self,
        schema: Arc<str>,
        output: &Data,
    ) -> Result<Result<(), SchemaError>, ExecError> {
        let hash = schema_hash(&schema);
        let schema = match self.kept.get(hash) {
            Some(kept) => kept,
            None => self.compile(hash, schema).await,
        };
        match schema.compiled {
            Ok(schema) => check_data(&schema, output, &self.content, &self.runtime).await,
            Err(error) => Ok(Err(error)),
        }
    }

    async fn schema(
        &self,
        seller: AgentId,
        service: &ServiceName,
        hash: SchemaHash,
    ) -> Result<SellerSchema, SearchError> {
        if let Some(kept) = self.kept.get(hash) {
            return Ok(kept);
        }
        let text = self.fetch(seller, service, hash).await?;
        Ok(self.compile(hash, text.into()).await)
    }

    async fn compile(&self, hash: SchemaHash, text: Arc<str>) -> SellerSchema {
        let source = Arc::clone(&text);
        let compiled = self.runtime.offload(Job::Schema, move || Schema::compile(&source).map(Arc::new)).await;
        let schema = SellerSchema { text, compiled };
        self.kept.put(hash, schema.clone());
        schema
    }

    async fn fetch(&self, seller: AgentId, service: &ServiceName, hash: SchemaHash) -> Result<String, SearchError> {
        let (told, is_asked) = self.awaited.wait(seller, hash);
        let asking = async {
            if !is_asked {
                let query = Message::from(Query { service: service.clone(), schema: Some(hash) });
                self.network.send(seller, query.encode().unwrap_or_default().into()).await?;
            }
            let text = told.await.map_err(|_| SearchError::Silent(seller))?;
            text.ok_or_else(|| SearchError::NoSchema { seller, service: service.clone() })
        };
        let answer = tokio::time::timeout(QUERY_TIMEOUT, asking).await.unwrap_or(Err(SearchError::Silent(seller)));
        self.awaited.forget_closed(seller, hash);
        answer
    }
}

impl Kept {
    fn get(&self, hash: SchemaHash) -> Option<SellerSchema> {
        let mut kept = lock(&self.0);
        let at = kept.iter().position(|(known, _)| *known == hash)?;
        let found = kept.remove(at)?;
        kept.push_back(found.clone());
        Some(found.1)
    }

    fn put(&self, hash: SchemaHash, schema: SellerSchema) {
        let mut kept = lock(&self.0);
        kept.retain(|(known, _)| *known != hash);
        if kept.len() >= MAX_KEPT_SCHEMAS {
            kept.pop_front();
        }
        kept.push_back((hash, schema));
    }
}

impl Awaited {
    /// Waits for a schema of the seller's. Also says whether somebody has asked for it already.
    fn wait(&self, seller: AgentId, hash: SchemaHash) -> (oneshot::Receiver<Option<String>>, bool) {
        let (tell, told) = oneshot::channel();
        let mut awaited = lock(&self.0);
        let waiting = awaited.entry((seller, hash)).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(tell);
        (told, waiting.len() > 1)
    }

    /// Whether anybody waited.
    fn tell(&self, seller: AgentId, hash: SchemaHash, text: Option<String>) -> bool {
        let waiting = lock(&self.0).remove(&(seller, hash)).unwrap_or_default();
        let was_asked = !waiting.is_empty();
        for waiter in waiting {
            // One that has given up needs no answer.
            let _ = waiter.send(text.clone());
        }
        was_asked
    }

    fn forget_closed(&self, seller: AgentId, hash: SchemaHash) {
        let mut awaited = lock(&self.0);
        if let Some(waiting) = awaited.get_mut(&(seller, hash)) {
            waiting.retain(|waiter| !waiter.is_closed());
            if waiting.is_empty() {
                awaited.remove(&(seller, hash));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(number: u8) -> SchemaHash {
        SchemaHash::from([number; 32])
    }

    #[test]
    fn the_schema_used_longest_ago_is_forgotten_first() {
        let (kept, text) = (Kept::default(), "{}");
        let schema = SellerSchema { text: text.into(), compiled: Schema::compile(text).map(Arc::new) };
        let most = u8::try_from(MAX_KEPT_SCHEMAS).unwrap();
        for number in 0..most {
            kept.put(hash(number), schema.clone());
        }
        assert!(kept.get(hash(0)).is_some());
        kept.put(hash(most), schema);
        assert!(kept.get(hash(1)).is_none());
        assert!(kept.get(hash(0)).is_some() && kept.get(hash(most)).is_some());
        assert_eq!(lock(&kept.0).len(), MAX_KEPT_SCHEMAS);
    }

    #[test]
    fn two_who_want_one_schema_ask_once() {
        let (awaited, seller) = (Awaited::default(), AgentId::from_bytes([1; 32]));
        let (mut first, is_asked) = awaited.wait(seller, hash(1));
        assert!(!is_asked);
        let (mut second, is_asked) = awaited.wait(seller, hash(1));
        assert!(is_asked && awaited.tell(seller, hash(1), Some("{}".into())));
        assert_eq!([first.try_recv(), second.try_recv()], [Ok(Some("{}".into())), Ok(Some("{}".into()))]);
        assert!(!awaited.tell(seller, hash(1), None), "nobody waits any more");
        drop(awaited.wait(seller, hash(2)));
        awaited.forget_closed(seller, hash(2));
        assert!(lock(&awaited.0).is_empty());
    }
}
