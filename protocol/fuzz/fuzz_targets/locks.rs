//! Locked ecash, as it comes with an award.
#![no_main]
use guilder_protocol::{cbor, locks::LockedProof, wire::Message};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(proofs) = cbor::decode::<Vec<LockedProof>>(data) {
        for proof in &proofs {
            let _ = (proof.y(), proof.to_cashu());
        }
        assert_eq!(cbor::decode::<Vec<LockedProof>>(&cbor::encode(&proofs)), Ok(proofs));
    }
    // The lock of an otherwise sound award: kind 7 and a body whose fields the seeds have.
    let _ = Message::decode(data);
});
