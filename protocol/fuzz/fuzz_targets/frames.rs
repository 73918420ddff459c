//! Trade frames: whatever reads is written again, and then reads as the same message.
#![no_main]
use guilder_protocol::wire::Message;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::decode(data) {
        let again = message.encode().expect("what was read within the bound is written within it");
        assert_eq!(Message::decode(&again), Ok(message));
    }
});
