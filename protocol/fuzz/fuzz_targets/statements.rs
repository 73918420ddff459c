//! Signed statements: envelopes as a whole, and each payload by itself, which no signature keeps a fuzzer from.
#![no_main]
use guilder_protocol::{
    acceptance::Acceptance,
    award::Award,
    cancellation::Cancellation,
    cbor,
    envelope::{self, Relayed, Signed, Statement},
    market::{Advert, Ask, Offer, Withdrawal},
    memory::Memory,
    receipt::Receipt,
    received::Received,
    ucan::{Delegation, Invocation, Revocation},
};

/// A whole envelope under its own name, or a payload.
fn read<T: Statement + PartialEq>(data: &[u8], name: Option<&str>) {
    match name {
        Some(name) if T::TAG.split('@').next() == Some(name) => {
            if let Ok(signed) = Signed::<T>::decode(data) {
                assert_eq!(signed.bytes(), data);
            }
            let _ = Relayed::<T>::decode(data);
        }
        Some(_) => {}
        None => {
            if let Ok(payload) = cbor::decode::<T>(data) {
                let _ = (payload.check(), payload.critical());
                let again = cbor::encode(&payload);
                assert!(cbor::decode::<T>(&again).is_ok_and(|read| read == payload));
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let name = envelope::tag_of(data).and_then(|tag| tag.split('@').next());
    read::<Advert>(data, name);
    read::<Withdrawal>(data, name);
    read::<Ask>(data, name);
    read::<Offer>(data, name);
    read::<Receipt>(data, name);
    read::<Acceptance>(data, name);
    read::<Cancellation>(data, name);
    read::<Memory>(data, name);
    read::<Received>(data, name);
    read::<Delegation>(data, name);
    read::<Invocation>(data, name);
    let _ = Award::decode(data);
    if let Ok(revocation) = Revocation::decode(data) {
        assert_eq!(Revocation::decode(&revocation.encode()).as_ref(), Ok(&revocation));
    }
    let _ = Revocation::peek(data);
});
