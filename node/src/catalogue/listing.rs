//! A verified advert, and why its seller can't be asked.

use guilder_protocol::{
    envelope::Signed,
    identity::AgentId,
    market::{Advert, AskBody},
};

use super::search::SearchError;
use crate::executor::schema::SchemaError;

/// A seller's advert that has been verified. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The advert.
    pub advert: Signed<Advert>,
}

impl Listing {
    pub(super) fn new(advert: Signed<Advert>) -> Self {
        Self { advert }
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
            return Err(Unfit::InputSize(advert.max_input));
        }
        Ok(())
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
    #[error("the input is too large: the seller takes {0} bytes")]
    InputSize(u64),
}

/// Why what a seller promises of its output can't be held it to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PromiseError {
    /// It doesn't give the schema.
    #[error(transparent)]
    Seller(#[from] SearchError),
    /// The schema is none, or would cost too much to check.
    #[error("the seller's schema of its output can't be used: {0}")]
    BadSchema(SchemaError),
}

/// Why a seller wouldn't take an input, by the schema that its offer names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It doesn't satisfy the schema.
    #[error("the input doesn't satisfy the seller's schema: {0}")]
    Schema(SchemaError),
    /// The seller's schema is none.
    #[error("the seller's schema can't be used: {0}")]
    BadSchema(SchemaError),
}
