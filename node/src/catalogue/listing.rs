//! A verified advert with its schemas, compiled when they are first needed.

use std::sync::Arc;

use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Advert, AskBody},
};
use tokio::sync::OnceCell;

use crate::{
    content::{Content, Data},
    executor::{
        ExecError, check_data,
        schema::{Schema, SchemaError},
    },
    runtime::{Job, Runtime},
};

/// A seller's advert that has been verified. Cheap to clone; clones share the compiled schema.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The advert.
    pub advert: Signed<Advert>,
    input: Arc<OnceCell<Result<Option<Arc<Schema>>, SchemaError>>>,
}

impl Listing {
    pub(super) fn new(advert: Signed<Advert>) -> Self {
        Self { advert, input: Arc::default() }
    }

    /// Who sells.
    pub fn seller(&self) -> AgentId {
        self.advert.issuer()
    }

    /// Whether its seller can be asked this: the unit, the price, a mint and a mode in common, the input's size.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn fits(&self, ask: &AskBody) -> Result<(), Unfit> {
        let advert = &self.advert.body;
        if advert.unit != ask.unit {
            return Err(Unfit::Unit);
        }
        if advert.price > ask.max_price {
            return Err(Unfit::Price);
        }
        if !advert.mints.iter().any(|mint| ask.mints.contains(mint)) {
            return Err(Unfit::Mint);
        }
        if !advert.modes.iter().any(|mode| ask.modes.contains(mode)) {
            return Err(Unfit::Mode);
        }
        if advert.max_input < ask.input_size {
            return Err(Unfit::InputSize);
        }
        Ok(())
    }

    /// Holds an input against the advert: its size and its schema.
    ///
    /// # Errors
    /// Outer: if the input can't be read. Inner: why the seller wouldn't take it.
    pub async fn check_input(
        &self,
        input: &Data,
        content: &Content,
        runtime: &Runtime,
    ) -> Result<Result<(), InputError>, ExecError> {
        let (size, limit) = (input.size(), self.advert.body.max_input);
        if size > limit {
            return Ok(Err(InputError::TooLarge { size, limit }));
        }
        let Some(text) = &self.advert.body.input else { return Ok(Ok(())) };
        let compile = || async {
            let text = text.clone();
            runtime.offload(Job::Schema, move || Schema::compile(&text).map(|schema| Some(Arc::new(schema)))).await
        };
        match self.input.get_or_init(compile).await {
            Ok(None) => Ok(Ok(())),
            Ok(Some(schema)) => Ok(check_data(schema, input, content, runtime).await?.map_err(InputError::Schema)),
            Err(error) => Ok(Err(InputError::BadSchema(error.clone()))),
        }
    }
}

/// Why a seller can't be asked, by its advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another unit of money.
    #[error("it sells in another unit")]
    Unit,
    /// Too dear.
    #[error("its price is over the limit")]
    Price,
    /// No mint in common.
    #[error("it takes money of no mint that we can pay from")]
    Mint,
    /// No settlement mode in common.
    #[error("it wants to be paid in a way that we can't")]
    Mode,
    /// The input is too large for it.
    #[error("the input is larger than it takes")]
    InputSize,
}

/// Why a seller wouldn't take an input, by its advert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Too large.
    #[error("the input has {size} bytes, the seller takes {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The advert's limit in bytes.
        limit: u64,
    },
    /// It doesn't satisfy the schema.
    #[error("the input doesn't satisfy the seller's schema: {0}")]
    Schema(SchemaError),
    /// The seller's schema is none.
    #[error("the seller's schema can't be used: {0}")]
    BadSchema(SchemaError),
}
