//! Proofs of fraud: CAR files from anybody.
#![no_main]

use guilder_protocol::audit::fraud;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(proof) = fraud::verify(data) {
        assert!(fraud::is_proof(data) && !proof.to_string().is_empty());
    }
});
