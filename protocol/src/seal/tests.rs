#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::receipt::commit;

const SALT: Salt = ByteArray([9; 32]);
const SEALED: &str = "e01e5a1fcf646f4dcb8d704b012c4ca6da76d8cde7f7036ebad7eb789b7f36d5\
                      08b45dedd3bfe49ea740fd43339be2f5ab38fce16a043e4fdaa000";
const SEALED_TWO_CHUNKS: &str = "ba77766a3e0fc9cb9a5d7e01f1150bb1264d3cb516053edb0d9c3cee5cc896b0";

fn key() -> SealKey {
    SealKey::new([7; 32])
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) + i / 251) as u8).collect()
}

#[test]
fn a_sealed_output_opens_with_its_key_to_what_was_committed_to() {
    for len in [0, 1, CHUNK_SIZE - 33, CHUNK_SIZE - 32, CHUNK_SIZE - 31, CHUNK_SIZE, 2 * CHUNK_SIZE - 32, 200_000] {
        let output = pattern(len);
        let (sealed, commitment) = seal(&key(), &SALT, &output).unwrap();
        assert_eq!((sealed.len() as u64, commitment), (sealed_size(len as u64), commit(&SALT, &output)), "{len}");
        let opened = Opened { salt: SALT, commitment };
        assert_eq!(open(&key(), &sealed), Ok((output, opened)), "{len}");
    }
}

/// Computed by another implementation: Python's `cryptography`, chunk by chunk.
#[test]
fn frozen_vectors() {
    let (sealed, _) = seal(&key(), &SALT, b"some output").unwrap();
    assert_eq!(hex::encode(&sealed), SEALED);
    let (sealed, _) = seal(&key(), &SALT, &pattern(CHUNK_SIZE)).unwrap();
    assert_eq!(hex::encode(cbor::sha256(&sealed)), SEALED_TWO_CHUNKS);
}

#[test]
fn what_is_not_whole_and_in_order_does_not_open() {
    let (sealed, _) = seal(&key(), &SALT, &pattern(3 * CHUNK_SIZE)).unwrap();
    let full = CHUNK_SIZE + TAG_SIZE;
    let chunks: Vec<&[u8]> = sealed.chunks(full).collect();
    assert_eq!(chunks.len(), 4);
    let join = |order: &[usize]| order.iter().flat_map(|at| chunks[*at]).copied().collect::<Vec<u8>>();
    let mut flipped = sealed.clone();
    flipped[full + 5] ^= 1;
    let other = SealKey::new([8; 32]);
    for (what, bytes) in [
        ("cut short by a chunk", join(&[0, 1, 2])),
        ("cut short by a byte", sealed[..sealed.len() - 1].to_vec()),
        ("two chunks swapped", join(&[1, 0, 2, 3])),
        ("a chunk twice", join(&[0, 0, 1, 2, 3])),
        ("a chunk missing", join(&[0, 2, 3])),
        ("the last chunk first", join(&[3])),
        ("more after the end", [&sealed[..], &[0; 40]].concat()),
        ("a bit flipped", flipped),
        ("nothing", vec![]),
        ("less than a tag", vec![0; 15]),
    ] {
        assert_eq!(open(&key(), &bytes), Err(SealError::Forged), "{what}");
    }
    assert_eq!(open(&other, &sealed), Err(SealError::Forged));
}

/// A seller that seals less than a salt has nothing that could be held against its receipt.
#[test]
fn a_sealed_text_shorter_than_a_salt_does_not_open() {
    let short = key().cipher().encrypt(&nonce(0, true).unwrap(), &[1; 31][..]).unwrap();
    assert_eq!(open(&key(), &short), Err(SealError::Forged));
}

#[test]
fn the_largest_sealed_output_is_a_content() {
    assert!(sealed_size(MAX_SEALED_OUTPUT) <= MAX_CONTENT);
    assert!(sealed_size(MAX_SEALED_OUTPUT + 1) > MAX_CONTENT);
    let mut sealer = Sealer::new(&key(), &SALT);
    let (piece, mut sealed) = (vec![0; 1 << 20], Vec::new());
    for _ in 0..MAX_SEALED_OUTPUT >> 20 {
        sealed.clear();
        sealer.update(&piece, &mut sealed).unwrap();
    }
    assert!(sealed.len() <= piece.len() + 17 * TAG_SIZE, "one chunk is held at the most");
    assert_eq!(sealer.update(&piece, &mut sealed), Err(SealError::TooLarge));
}

#[test]
fn the_key_is_hidden_and_known_by_its_hash() {
    assert_eq!(format!("{:?}", key()), "SealKey(hidden)");
    assert_eq!(key().hash(), ByteArray(cbor::sha256(&[7; 32])));
    assert_eq!(cbor::decode::<SealKey>(&cbor::encode(&key())).unwrap(), key());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_length_give_the_same(
        len in 0..3 * CHUNK_SIZE,
        cuts in prop::collection::vec(1..CHUNK_SIZE * 2, 0..8),
    ) {
        let output = pattern(len);
        let (whole, commitment) = seal(&key(), &SALT, &output).unwrap();
        let (mut sealer, mut sealed, mut rest) = (Sealer::new(&key(), &SALT), Vec::new(), &output[..]);
        for cut in &cuts {
            let (piece, later) = rest.split_at(rest.len().min(*cut));
            sealer.update(piece, &mut sealed).unwrap();
            rest = later;
        }
        sealer.update(rest, &mut sealed).unwrap();
        prop_assert_eq!(sealer.finish(&mut sealed).unwrap(), commitment);
        prop_assert_eq!(&sealed, &whole);
        let (mut opener, mut opened, mut rest) = (Opener::new(&key()), Vec::new(), &whole[..]);
        for cut in &cuts {
            let (piece, later) = rest.split_at(rest.len().min(*cut));
            opener.update(piece, &mut opened).unwrap();
            rest = later;
        }
        opener.update(rest, &mut opened).unwrap();
        prop_assert_eq!(opener.finish(&mut opened).unwrap().commitment, commitment);
        prop_assert_eq!(opened, output);
    }
}
