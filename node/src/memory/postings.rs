//! The index: for each word of a domain the memories that have it, by number, in blocks.
//!
//! A block is a row `word, domain, first number`: of each memory its number (as the difference to the one before it), how often it has
//! the word, and how many words it has, as varints. Numbers only grow, so a memory is added to the last block; one that is full is
//! followed by another.

use std::{collections::BTreeMap, ops::ControlFlow};

use serde_bytes::ByteBuf;
use unsigned_varint::{decode, encode};

use crate::{
    limits::POSTINGS_PER_BLOCK,
    store::{Key, KeyRange, Reader, StoreError, Table, Write},
};

/// By word, domain and number of the first memory that was in it.
pub(super) const BLOCKS: Table<ByteBuf> = Table::new("memory/postings");

/// That a memory has a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Posting {
    /// Its number.
    pub(super) memory: u32,
    /// How often.
    pub(super) times: u32,
    /// How many words it has in all.
    pub(super) length: u32,
}

/// Postings that are to be added, in the order of the memories: many memories write each block once.
#[derive(Debug, Default)]
pub(super) struct Added(BTreeMap<(String, u32), Vec<Posting>>);

impl Added {
    /// Has a memory in the index, whose number is the highest so far.
    pub(super) fn add(&mut self, domain: u32, memory: u32, words: BTreeMap<String, u32>, length: u32) {
        for (word, times) in words {
            self.0.entry((word, domain)).or_default().push(Posting { memory, times, length });
        }
    }

    /// Writes them.
    pub(super) fn write(self, w: &mut Write<'_>) -> Result<(), StoreError> {
        for ((word, domain), added) in self.0 {
            let prefix = Key::of(&word).and(domain);
            let last = w.range(BLOCKS, prefix.range().backwards(), 1)?.pop();
            let (mut key, mut block) = match last {
                Some((key, block)) => (key, read(&block)?),
                None => (prefix.clone().and(added[0].memory).into_bytes(), Vec::new()),
            };
            for posting in added {
                if block.len() >= POSTINGS_PER_BLOCK {
                    put(w, &key, &block)?;
                    block.clear();
                    key = prefix.clone().and(posting.memory).into_bytes();
                }
                block.push(posting);
            }
            put(w, &key, &block)?;
        }
        Ok(())
    }
}

/// Takes a memory out of the index.
pub(super) fn remove<'a>(
    w: &mut Write<'_>,
    domain: u32,
    memory: u32,
    words: impl Iterator<Item = &'a String>,
) -> Result<(), StoreError> {
    for word in words {
        let prefix = Key::of(word).and(domain);
        let after = KeyRange::between(&prefix, &prefix.clone().and(memory.saturating_add(1)));
        let Some((key, block)) = w.range(BLOCKS, after.backwards(), 1)?.pop() else { continue };
        let mut block = read(&block)?;
        block.retain(|posting| posting.memory != memory);
        put(w, &key, &block)?;
    }
    Ok(())
}

/// The postings of a word in a domain, by number.
pub(super) fn of(r: &impl Reader, word: &str, domain: u32) -> Result<Vec<Posting>, StoreError> {
    collect(r, Key::of(word).and(domain).range(), |_| true)
}

/// The postings of a word in all domains that `takes`, by number.
pub(super) fn of_all(r: &impl Reader, word: &str, takes: impl Fn(u32) -> bool) -> Result<Vec<Posting>, StoreError> {
    let prefix = Key::of(word);
    let begins = prefix.len();
    let mut found = collect(r, prefix.range(), |key| {
        let domain = key.get(begins..begins + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        domain.is_some_and(&takes)
    })?;
    found.sort_unstable_by_key(|posting| posting.memory);
    Ok(found)
}

fn collect(r: &impl Reader, range: KeyRange, takes: impl Fn(&[u8]) -> bool) -> Result<Vec<Posting>, StoreError> {
    let (mut found, mut failed) = (Vec::new(), None);
    r.visit(BLOCKS, range, |key, block| {
        if takes(key)
            && let Err(error) = decode_into(&block, &mut found)
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(found), Err)
}

fn put(w: &mut Write<'_>, key: &[u8], block: &[Posting]) -> Result<(), StoreError> {
    if block.is_empty() {
        return w.delete(BLOCKS, key);
    }
    let mut bytes = Vec::with_capacity(block.len() * 4);
    let (mut before, mut buffer) = (0, encode::u32_buffer());
    for Posting { memory, times, length } in block {
        for number in [memory - before, *times, *length] {
            bytes.extend_from_slice(encode::u32(number, &mut buffer));
        }
        before = *memory;
    }
    w.put(BLOCKS, key, &ByteBuf::from(bytes))
}

fn read(block: &[u8]) -> Result<Vec<Posting>, StoreError> {
    let mut found = Vec::new();
    decode_into(block, &mut found)?;
    Ok(found)
}

fn decode_into(mut rest: &[u8], found: &mut Vec<Posting>) -> Result<(), StoreError> {
    let unreadable = |_| StoreError::Decode { table: BLOCKS.name() };
    let mut before = 0_u32;
    while !rest.is_empty() {
        let (step, after) = decode::u32(rest).map_err(unreadable)?;
        let (times, after) = decode::u32(after).map_err(unreadable)?;
        let (length, after) = decode::u32(after).map_err(unreadable)?;
        before = before.checked_add(step).ok_or(StoreError::Decode { table: BLOCKS.name() })?;
        found.push(Posting { memory: before, times, length });
        rest = after;
    }
    Ok(())
}
