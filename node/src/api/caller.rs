//! On whose behalf a method of the façade is called, and what that one may do: see [`crate::gate`].

pub use crate::gate::{Action, Caller, Risk};
