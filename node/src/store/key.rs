//! Keys that sort as what they are made of.
//!
//! A [`Key`] is built from parts; the order of two keys made of the same kinds of parts is the order of the first part
//! that differs. Numbers are big-endian; texts and byte strings of any length are escaped and terminated, so that none
//! is a prefix of another; arrays stand as they are.

use std::{
    fmt,
    ops::{Bound, Deref},
};

use guilder_protocol::{identity::AgentId, time::Timestamp};

/// A key, built part by part: `Key::of(agent).and("sat").and(7_u64)`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of one part, so far.
    pub fn of(part: impl KeyPart) -> Self {
        Self::default().and(part)
    }

    /// The key with one more part.
    #[must_use]
    pub fn and(mut self, part: impl KeyPart) -> Self {
        part.append(&mut self.0);
        self
    }

    /// The range of all keys that begin with the parts of this one.
    pub fn range(&self) -> KeyRange {
        KeyRange::prefix(&self.0)
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", hex::encode(&self.0))
    }
}

/// What a [`Key`] can be made of.
pub trait KeyPart {
    /// Appends the part's bytes, in their order-preserving form.
    fn append(&self, key: &mut Vec<u8>);
}

impl<T: KeyPart + ?Sized> KeyPart for &T {
    fn append(&self, key: &mut Vec<u8>) {
        (**self).append(key);
    }
}

macro_rules! number_parts {
    ($($number:ty),*) => {$(
        impl KeyPart for $number {
            fn append(&self, key: &mut Vec<u8>) {
                key.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}

number_parts!(u8, u16, u32, u64);

impl<const N: usize> KeyPart for [u8; N] {
    fn append(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(self);
    }
}

/// A zero byte inside becomes `00 ff`; `00 01` ends the part. Both sort below every other continuation.
impl KeyPart for [u8] {
    fn append(&self, key: &mut Vec<u8>) {
        for &byte in self {
            key.push(byte);
            if byte == 0 {
                key.push(0xff);
            }
        }
        key.extend_from_slice(&[0, 1]);
    }
}

impl KeyPart for str {
    fn append(&self, key: &mut Vec<u8>) {
        self.as_bytes().append(key);
    }
}

impl KeyPart for String {
    fn append(&self, key: &mut Vec<u8>) {
        self.as_bytes().append(key);
    }
}

impl KeyPart for Vec<u8> {
    fn append(&self, key: &mut Vec<u8>) {
        self.as_slice().append(key);
    }
}

impl KeyPart for cid::Cid {
    fn append(&self, key: &mut Vec<u8>) {
        self.to_bytes().append(key);
    }
}

impl KeyPart for AgentId {
    fn append(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(self.as_bytes());
    }
}

impl KeyPart for Timestamp {
    fn append(&self, key: &mut Vec<u8>) {
        self.as_secs().append(key);
    }
}

/// A range of keys, in the direction in which it is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    backwards: bool,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded, backwards: false }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        let to = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(prefix.to_vec()), to, backwards: false }
    }

    /// `from` and what comes after it, up to but without `to`.
    pub fn between(from: &[u8], to: &[u8]) -> Self {
        Self { from: Bound::Included(from.to_vec()), to: Bound::Excluded(to.to_vec()), backwards: false }
    }

    /// The same range without what comes up to `key`, itself included, in the direction of reading: for the next page.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let bound = Bound::Excluded(key.to_vec());
        if self.backwards {
            self.to = bound;
        } else {
            self.from = bound;
        }
        self
    }

    /// The same range without what comes before `key`.
    #[must_use]
    pub fn since(mut self, key: &[u8]) -> Self {
        self.from = Bound::Included(key.to_vec());
        self
    }

    /// The same range, last key first.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.backwards = !self.backwards;
        self
    }

    pub(super) fn is_backwards(&self) -> bool {
        self.backwards
    }

    /// The bounds, unless the range can hold no key at all.
    pub(super) fn bounds(&self) -> Option<(Bound<&[u8]>, Bound<&[u8]>)> {
        let (from, to) = (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice));
        let possible = match (from, to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
            (Bound::Included(from), Bound::Included(to)) => from <= to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to) | Bound::Included(to)) => from < to,
        };
        possible.then_some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_their_parts(
            a: (Vec<u8>, String, u64, [u8; 4]),
            b: (Vec<u8>, String, u64, [u8; 4]),
        ) {
            let key = |p: &(Vec<u8>, String, u64, [u8; 4])| Key::of(&p.0).and(&p.1).and(p.2).and(p.3);
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn short_parts_full_of_zeros_sort_too(
            a in prop::collection::vec(prop::collection::vec(0_u8..3, 0..4), 3),
            b in prop::collection::vec(prop::collection::vec(0_u8..3, 0..4), 3),
        ) {
            let key = |parts: &[Vec<u8>]| parts.iter().fold(Key::default(), |key, part| key.and(part));
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn a_prefix_range_holds_what_begins_so(
            prefix in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 254, 255]), 0..4),
            key in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 254, 255]), 0..6),
        ) {
            let range = KeyRange::prefix(&prefix);
            let within = std::ops::RangeBounds::contains(&(range.from, range.to), &key);
            prop_assert_eq!(within, key.starts_with(&prefix));
        }
    }

    #[test]
    fn an_empty_range_is_known_as_such() {
        assert!(KeyRange::between(b"b", b"a").bounds().is_none());
        assert!(KeyRange::between(b"a", b"a").bounds().is_none());
        assert!(KeyRange::prefix(b"a").after(b"b").bounds().is_none());
        assert!(KeyRange::prefix(b"a").after(b"a").bounds().is_some());
    }
}
