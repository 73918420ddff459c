#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guilder::fuzz::settings(data));
