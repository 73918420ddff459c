//! Policies of delegations, read and evaluated against arguments from anybody.
#![no_main]
use guilder_protocol::{cbor, ucan::Policy};
use ipld_core::ipld::Ipld;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // A policy alone, or [policy, arguments].
    if let Ok(policy) = cbor::decode::<Policy>(data) {
        let _ = policy.allows(&Ipld::Map(Default::default()));
    }
    if let Ok((policy, args)) = cbor::decode::<(Policy, Ipld)>(data) {
        let _ = policy.allows(&args);
    }
});
