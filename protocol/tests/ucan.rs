//! UCAN against its fixtures, and against what they leave out.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "ucan/award.rs"]
mod award;
#[path = "ucan/case.rs"]
mod case;
#[path = "ucan/chain.rs"]
mod chain;
#[path = "ucan/encoding.rs"]
mod encoding;
#[path = "ucan/fixtures.rs"]
mod fixtures;
#[path = "ucan/policy.rs"]
mod policy;
#[path = "ucan/property.rs"]
mod property;
#[path = "ucan/selector.rs"]
mod selector;
#[path = "ucan/tools.rs"]
mod tools;
