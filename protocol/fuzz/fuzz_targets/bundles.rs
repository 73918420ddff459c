//! Audit bundles: CAR files from anybody.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(report) = guilder_protocol::audit::verify(data) {
        assert!(!report.to_string().is_empty());
    }
});
