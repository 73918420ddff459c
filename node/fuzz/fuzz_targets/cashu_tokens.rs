#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| guilder::fuzz::cashu_tokens(data));
