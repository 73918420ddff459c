//! The frames of a mint that a peer hosts.
#![no_main]
use guilder_protocol::mint::{Reply, Request, frame_length};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((length, frame)) = data.split_first_chunk::<4>() else { return };
    let _ = frame_length(*length);
    if let Ok(request) = Request::decode(frame.to_vec()) {
        assert_eq!(request.encode().expect("it was short enough")[4..], *frame);
    }
    if let Ok(reply) = Reply::decode(frame.to_vec()) {
        assert_eq!(reply.encode().expect("it was short enough")[4..], *frame);
    }
});
