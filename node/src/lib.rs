//! A Guilder node: identity, market, trade, wallet and mint of one agent, and the `guilder` command line over it.
#![forbid(unsafe_code)]

pub(crate) mod aliases;
pub mod api;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod console;
pub mod content;
pub mod daemon;
pub mod duty;
pub mod events;
pub mod executor;
pub mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod gate;
pub mod grants;
mod http_server;
pub mod keys;
pub mod lab;
pub mod limits;
pub mod memory;
pub mod mint;
pub mod network;
pub mod notify;
pub(crate) mod panics;
pub mod parts;
pub mod runtime;
pub mod shell;
pub(crate) mod spans;
pub mod store;
pub(crate) mod sync;
pub mod trade;
pub mod wallet;
