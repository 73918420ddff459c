//! See [`crate::fuzz`].

use std::task::{Context, Poll, Waker};

use futures::io::Cursor;
use guilder_protocol::limits::MAX_FRAME;
use libp2p::Multiaddr;

use super::{
    addrs::{Scope, ip_of, is_named, is_wildcard, prefix, scope, split, worth_keeping, worth_telling},
    book::PEERS,
    frames::FrameReader,
    limits::{ADDR_BYTES, ADDRS_PER_PEER},
};
use crate::fuzz::stored;

/// Addresses of peers, as bytes and as text.
pub fn addresses(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    let parsed = [Multiaddr::try_from(data.to_vec()).ok(), text.and_then(|text| text.parse().ok())];
    for address in parsed.into_iter().flatten() {
        let _ = (ip_of(&address), is_wildcard(&address), prefix(&address), address.to_string());
        let (bare, _) = split(&address);
        assert!(bare.len() <= address.len());
        for met in [Scope::Loopback, Scope::Private, Scope::Global] {
            let kept = worth_keeping(vec![address.clone(); 2 * ADDRS_PER_PEER], met);
            assert!(kept.len() <= 1, "an address is kept once");
            assert!(kept.iter().all(|kept| kept.len() <= ADDR_BYTES && scope(kept) >= met && !is_named(kept)));
        }
        let _ = worth_telling(&address, &bare, std::slice::from_ref(&address));
    }
}

/// A stream of trade frames, and a record of the address book.
pub fn trade_stream(data: &[u8]) {
    stored(PEERS, data);
    let mut reader = FrameReader::new(Cursor::new(data));
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = 0;
    // Not to be read on after an error; a cursor never has to be waited for.
    while let Poll::Ready(Ok(Some(frame))) = reader.poll_frame(&mut cx) {
        assert!(frame.len() <= MAX_FRAME);
        read += frame.len() + 1;
    }
    assert!(read <= data.len());
}
