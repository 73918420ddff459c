//! Signed statements: envelopes as a whole, and each payload by itself, which no signature keeps a fuzzer from.
#![no_main]
use guilder_protocol::{
    award::Award,
    cbor,
    envelope::{self, Relayed, Signed, Statement},
    market::{Advert, Ask, Offer, Withdrawal},
    receipt::Receipt,
    ucan::{Delegation, Invocation},
};

fn read<T: Statement + PartialEq>(data: &[u8]) {
    if let Ok(signed) = Signed::<T>::decode(data) {
        assert_eq!(signed.bytes(), data);
    }
    let _ = Relayed::<T>::decode(data);
    if let Ok(payload) = cbor::decode::<T>(data) {
        let _ = (payload.check(), payload.critical());
        let again = cbor::encode(&payload);
        assert!(cbor::decode::<T>(&again).is_ok_and(|read| read == payload));
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = envelope::tag_of(data);
    read::<Advert>(data);
    read::<Withdrawal>(data);
    read::<Ask>(data);
    read::<Offer>(data);
    read::<Receipt>(data);
    read::<Delegation>(data);
    read::<Invocation>(data);
    let _ = Award::decode(data);
});
