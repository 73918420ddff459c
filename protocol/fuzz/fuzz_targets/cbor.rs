//! Canonical DAG-CBOR: a value has one encoding, and what is skipped is held to the same form as what is read.
#![no_main]
use guilder_protocol::cbor;
use ipld_core::ipld::Ipld;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(value) = cbor::decode::<Ipld>(data) {
        assert_eq!(cbor::encode(&value), data);
    }
});
