//! The two frames of a transfer of content, and names of contents.
#![no_main]
use guilder_protocol::{
    cbor,
    content::{ChunkList, ContentId, Reply, Request},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(request) = cbor::decode::<Request>(data) {
        assert_eq!(cbor::decode(&cbor::encode(&request)), Ok(request));
        let _ = ChunkList::check(request.id, data.to_vec());
    }
    if let Ok(reply) = cbor::decode::<Reply>(data) {
        assert_eq!(cbor::decode(&cbor::encode(&reply)), Ok(reply));
    }
    if let Some(id) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<ContentId>().ok()) {
        assert_eq!(id.to_string().as_bytes(), data);
    }
});
