//! Guilder's pure core: what every implementation must agree on, byte for byte.
//!
//! Nothing here reads a clock, draws a random number, touches a file or opens a socket. The time and any secret
//! or nonce come in as arguments; everything that can vary in order is kept in ordered maps, so that the same inputs
//! give the same bytes and the same effects everywhere.
//!
//! Read in this order: [`identity`] (who), [`envelope`] (the one way anything is signed), [`ucan`] (on whose
//! authority), [`market`] (advert, ask, offer), [`award`] and [`receipt`] (the two ends of a task), [`acceptance`],
//! [`cancellation`] and [`received`] (what each side signs on the way), [`settlement`] and [`locks`] (how it is paid, and what the
//! money is bound to), [`seal`] (what is delivered before it is paid), [`wire`] (how it travels), [`trade`] (the machines
//! that drive it) and [`audit`] (how a stranger checks it afterwards). Beside them, [`discovery`] (how agents find each other), [`invitation`]
//! (how a new one joins) and [`mint`] (how a wallet talks to a mint that a peer hosts).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod acceptance;
pub mod audit;
pub mod award;
pub mod bytes;
pub mod cancellation;
pub mod cbor;
pub mod claim;
pub mod content;
pub mod discovery;
pub mod envelope;
pub mod fault;
pub mod identity;
pub mod invitation;
pub mod limits;
pub mod locks;
pub mod market;
pub mod memory;
pub mod mint;
pub mod receipt;
pub mod received;
pub mod seal;
pub mod settlement;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod trade;
pub mod ucan;
pub mod wire;
pub mod word;
