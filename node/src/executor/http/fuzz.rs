//! See [`crate::fuzz`].

use super::events::{EventReader, Item};
use crate::limits::MAX_PROGRESS_LINE;

/// An answer as server-sent events: cut anywhere, it says the same. The first byte is the size of the pieces.
pub fn event_streams(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else { return };
    assert_eq!(said(stream, usize::from(*size).max(1)), said(stream, usize::MAX));
}

/// What a stream says, read in pieces of a size: outputs joined.
pub(super) fn said(stream: &[u8], size: usize) -> Vec<(char, Vec<u8>)> {
    let mut reader = EventReader::default();
    let mut said: Vec<(char, Vec<u8>)> = Vec::new();
    for mut piece in stream.chunks(size) {
        while let Some(item) = reader.next(&mut piece) {
            let item = match item {
                Item::Output(bytes) => match said.last_mut() {
                    Some(('o', output)) => {
                        output.extend_from_slice(bytes);
                        continue;
                    }
                    _ => ('o', bytes.to_vec()),
                },
                Item::End => ('.', Vec::new()),
                Item::Progress(data) => ('p', data),
                Item::Partial(data) => ('w', data),
                Item::Error(data) => ('e', data),
            };
            assert!(item.0 == 'o' || item.1.len() <= MAX_PROGRESS_LINE);
            said.push(item);
        }
    }
    said
}
