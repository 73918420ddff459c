//! Cases of delegations, in JSON or DAG-CBOR, as `guilder ucan verify` takes them.
#![no_main]
use guilder_protocol::{time::Timestamp, ucan::case};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = case::verify(data, None, Timestamp::from_secs(1_767_225_600));
});
