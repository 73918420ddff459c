//! What fuzzers call: every decoder of bytes from outside that stands in this crate, one function each, with what must hold
//! of whatever it reads. `node/fuzz` has a target for each; a test runs them over seeds and their mutations.
//!
//! Nothing here is part of the interface. It is there only for tests and under the feature `fuzzing`.

use std::{fmt::Debug, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::types,
    config::Config,
    console::harmless,
    executor::{definition::Definition, schema::Schema},
    store::Table,
};

pub use crate::{
    executor::fuzz::{event_streams, progress},
    network::fuzz::{addresses, trade_stream},
    trade::fuzz::records as trade_records,
    wallet::fuzz::{cashu_tokens, invoices, mint_replies, mint_requests, records as wallet_records},
};

/// Every target by its name.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("addresses", addresses),
    ("cashu_tokens", cashu_tokens),
    ("control_bodies", control_bodies),
    ("control_replies", control_replies),
    ("definitions", definitions),
    ("event_streams", event_streams),
    ("harmless_texts", harmless_texts),
    ("invoices", invoices),
    ("mint_replies", mint_replies),
    ("mint_requests", mint_requests),
    ("progress", progress),
    ("schemas", schemas),
    ("settings", settings),
    ("trade_records", trade_records),
    ("trade_stream", trade_stream),
    ("wallet_records", wallet_records),
];

/// A stored record: what is read is written in one form.
pub(crate) fn stored<V: DeserializeOwned + Serialize>(table: Table<V>, record: &[u8]) {
    let Ok(written) = table.decode(record).and_then(|value| table.encode(&value)) else { return };
    let again = table.decode(&written).and_then(|value| table.encode(&value));
    assert_eq!(again.ok(), Some(written), "{}", table.name());
}

/// The first byte chooses, the rest is what is read.
pub(crate) fn choose(data: &[u8], choices: usize) -> Option<(usize, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((usize::from(*first) % choices, rest))
}

/// A schema and a document, a zero byte between.
pub fn schemas(data: &[u8]) {
    let (schema, document) = split(data);
    let Ok(schema) = std::str::from_utf8(schema) else { return };
    if let Ok(schema) = Schema::compile(schema) {
        let _ = schema.check(document);
    }
}

/// The settings of a home. What is read is written so that it reads as the same.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            // TOML has no numbers beyond its own range.
            if let Ok(again) = toml::to_string(&config) {
                assert_eq!(Config::parse(&again).ok().as_ref(), Some(&config));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A service's definition, as an operator's file and as the control API takes it.
pub fn definitions(data: &[u8]) {
    // Schemas may be files: none that a fuzzer thinks of is there.
    let nowhere = Path::new("/nonexistent");
    let written = std::str::from_utf8(data).ok();
    let from_file =
        written.filter(|text| names_no_file(text)).and_then(|text| Definition::from_toml(text, nowhere).ok());
    let from_api = serde_json::from_slice::<Definition>(data).ok();
    for definition in [from_file, from_api].into_iter().flatten() {
        let _ = definition.limits();
        if definition.check().is_ok() {
            let read = |schema: &Option<String>| schema.as_deref().map(Schema::compile).transpose().is_ok();
            let _ = read(&definition.input) && read(&definition.output);
        }
    }
}

/// Whether no schema of a definition is a path from the root, which could be anything on this machine.
fn names_no_file(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else { return true };
    let is_path = |key| table.get(key).and_then(|schema| schema.as_str()).is_some_and(|schema| schema.starts_with('/'));
    !is_path("input") && !is_path("output")
}

/// A text from outside on its way to a terminal or a log.
pub fn harmless_texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(!harmless::one_line(&text).contains(char::is_control));
    let steers = |char: char| char.is_control() && !matches!(char, '\n' | '\t');
    assert!(!harmless::lines(&text).contains(steers));
    let mut pieces = harmless::ForTerminal::default();
    let middle = data.len() / 2;
    let cut = [pieces.piece(&data[..middle]), pieces.piece(&data[middle..]), pieces.end()].concat();
    let mut whole = harmless::ForTerminal::default();
    assert_eq!(cut, [whole.piece(data), whole.end()].concat(), "wherever it is cut");
    assert!(!cut.contains(steers));
}

/// What callers of the control API send.
pub fn control_bodies(data: &[u8]) {
    let Some((which, body)) = choose(data, 12) else { return };
    match which {
        0 => query::<types::Hire>(body),
        1 => query::<types::TaskListing>(body),
        2 => round::<types::Hire>(body),
        3 => round::<types::Dial>(body),
        4 => round::<types::Fund>(body),
        5 => round::<types::Send>(body),
        6 => round::<types::Receive>(body),
        7 => round::<types::Restore>(body),
        8 => round::<types::Reclaim>(body),
        9 => round::<types::Pay>(body),
        10 => round::<types::AddMint>(body),
        _ => definitions(body),
    }
}

/// What the control API answers, as its client reads it: whoever holds the port may be somebody else.
pub fn control_replies(data: &[u8]) {
    let Some((which, body)) = choose(data, 12) else { return };
    match which {
        0 => round::<types::Status>(body),
        1 => round::<types::ApiError>(body),
        2 => round::<types::Line<types::HireEvent>>(body),
        3 => round::<types::Line<types::NodeEvent>>(body),
        4 => round::<Vec<types::Found>>(body),
        5 => round::<types::TaskView>(body),
        6 => round::<Vec<types::Balance>>(body),
        7 => round::<types::Token>(body),
        8 => round::<Vec<types::PendingView>>(body),
        9 => round::<Vec<types::MintView>>(body),
        10 => round::<Vec<types::ServiceView>>(body),
        _ => round::<types::Funding>(body),
    }
}

/// What reads is written so that it reads as the same.
fn round<T: DeserializeOwned + Serialize + PartialEq>(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(body) else { return };
    let Ok(written) = serde_json::to_vec(&value) else { return };
    assert!(serde_json::from_slice::<T>(&written).is_ok_and(|again| again == value), "{}", std::any::type_name::<T>());
}

fn query<T: DeserializeOwned + Serialize + PartialEq + Debug>(body: &[u8]) {
    let Ok(value) = serde_urlencoded::from_bytes::<T>(body) else { return };
    let Ok(written) = serde_urlencoded::to_string(&value) else { return };
    assert_eq!(serde_urlencoded::from_str::<T>(&written).ok().as_ref(), Some(&value));
}

fn split(data: &[u8]) -> (&[u8], &[u8]) {
    let middle = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..middle], data.get(middle + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeSet, fs};

    use super::*;

    fn entries(folder: &str) -> Vec<std::path::PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let stems = |paths: Vec<std::path::PathBuf>| -> BTreeSet<String> {
            paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(stems(entries("fuzz/fuzz_targets")), names);
        assert_eq!(stems(entries("fuzz/seeds")), names);
    }

    #[test]
    fn no_seed_and_no_mutation_of_one_breaks_its_target() {
        for (name, target) in TARGETS {
            for seed in entries(&format!("fuzz/seeds/{name}")) {
                let seed = fs::read(seed).unwrap();
                target(&seed);
                for place in 0..seed.len().min(400) {
                    target(&seed[..place]);
                    let mut changed = seed.clone();
                    for byte in [0, b'9', b'{', 0x80, 0xff] {
                        changed[place] = byte;
                        target(&changed);
                    }
                    changed.remove(place);
                    target(&changed);
                }
            }
        }
    }
}
