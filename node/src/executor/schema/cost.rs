//! What a schema can cost, told before it is compiled.
//!
//! The walk doesn't need to know the keywords: it takes every object and array in the schema for a place where a check
//! may pass, and every text under `$ref` for a reference. That counts too much (an `enum`'s values, say), never too
//! little, because what a reference can lead to lies in the same document.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    MAX_PATTERN_CLASSES, MAX_PATTERNS, MAX_PATTERNS_BYTES, MAX_PATTERNS_TEXT, MAX_SCHEMA_DEPTH, MAX_SCHEMA_PLACES,
    SMALL_PATTERN_BYTES, SchemaError,
};

/// The cost of a schema, all its references written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Values in it.
    pub(super) places: u64,
    /// Patterns among them, each counted as often as it is large.
    pub(super) patterns: u64,
    /// Levels.
    pub(super) height: usize,
}

/// Keywords that change what a reference means, or that check the same value again at every level.
const REFUSED: [&str; 8] = [
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// The drafts that a schema can be written in. Others differ in what `$ref` and `id` mean.
const DRAFTS: [&str; 4] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
];

/// Adds up the cost of a schema; `weigh` tells how large a pattern is.
pub(super) fn of(schema: &Value, weigh: fn(&str) -> u64) -> Result<Cost, SchemaError> {
    if let Some(draft) = schema.get("$schema") {
        let draft = draft.as_str().unwrap_or_default().trim_end_matches('#');
        if !DRAFTS.contains(&draft) {
            return Err(SchemaError::Draft(draft.chars().take(80).collect()));
        }
    }
    let mut walk = Walk { root: schema, weights: BTreeMap::new(), known: BTreeMap::new() };
    // Places, levels and references first: all that costs nothing to tell.
    walk.visit(schema, 0)?;
    walk.weigh_patterns(weigh)?;
    walk.known.clear();
    walk.visit(schema, 0)
}

struct Walk<'a> {
    root: &'a Value,
    /// Every pattern that was met, and how large it is; 0 until they are weighed.
    weights: BTreeMap<&'a str, u64>,
    /// The cost of what each reference leads to; `None` while that is being added up.
    known: BTreeMap<&'a str, Option<Cost>>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: &'a Value, depth: usize) -> Result<Cost, SchemaError> {
        let mut cost = Cost { places: 1, patterns: 0, height: 0 };
        match value {
            Value::Array(items) => {
                for item in items {
                    cost.add(self.visit(item, depth + 1)?)?;
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    cost.add(self.member(key, member, depth)?)?;
                }
            }
            _ => {}
        }
        if depth + cost.height > MAX_SCHEMA_DEPTH { Err(SchemaError::TooDeep) } else { Ok(cost) }
    }

    fn member(&mut self, key: &'a str, member: &'a Value, depth: usize) -> Result<Cost, SchemaError> {
        if let Some(keyword) = REFUSED.iter().find(|refused| **refused == key)
            && is_keyword(key, member, depth)
        {
            return Err(SchemaError::Keyword(keyword));
        }
        let mut cost = match (key, member) {
            ("$ref", Value::String(reference)) => self.follow(reference, depth)?,
            _ => self.visit(member, depth + 1)?,
        };
        match (key, member) {
            ("pattern", Value::String(pattern)) => cost.patterns += self.weight(pattern),
            ("patternProperties", Value::Object(patterns)) => {
                cost.patterns += patterns.keys().map(|pattern| self.weight(pattern)).sum::<u64>();
            }
            _ => {}
        }
        Ok(cost)
    }

    fn weight(&mut self, pattern: &'a str) -> u64 {
        *self.weights.entry(pattern).or_default()
    }

    /// Weighs the patterns, if there are few enough, until there is too much of them.
    fn weigh_patterns(&mut self, weigh: fn(&str) -> u64) -> Result<(), SchemaError> {
        let text: usize = self.weights.keys().map(|pattern| pattern.len()).sum();
        let classes: usize = self.weights.keys().map(|pattern| classes(pattern)).sum();
        if self.weights.len() > MAX_PATTERNS || text > MAX_PATTERNS_TEXT || classes > MAX_PATTERN_CLASSES {
            return Err(SchemaError::Patterns);
        }
        let mut left = (MAX_PATTERNS_BYTES / SMALL_PATTERN_BYTES) as u64;
        for (pattern, weight) in &mut self.weights {
            *weight = weigh(pattern);
            left = left.checked_sub(*weight).ok_or(SchemaError::Patterns)?;
        }
        Ok(())
    }

    fn follow(&mut self, reference: &'a str, depth: usize) -> Result<Cost, SchemaError> {
        match self.known.get(reference) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(SchemaError::Recursive(reference.into())),
            None => {}
        }
        let unknown = || SchemaError::Reference(reference.chars().take(80).collect());
        // percent-encoded pointers are legal but nobody writes them: one spelling is enough
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%')).ok_or_else(unknown)?;
        let target = self.root.pointer(pointer).ok_or_else(unknown)?;
        self.known.insert(reference, None);
        let cost = self.visit(target, depth + 1)?;
        self.known.insert(reference, Some(cost));
        Ok(cost)
    }
}

/// At least as many as a pattern has Unicode classes and flags that make every letter one.
fn classes(pattern: &str) -> usize {
    let named =
        pattern.as_bytes().windows(2).filter(|pair| matches!(pair, [b'\\', letter] if letter.is_ascii_alphabetic()));
    named.count() + pattern.matches("(?").count() + pattern.matches("[^").count() + pattern.matches("[:").count()
}

/// Whether a member that is named like a refused keyword is one, and not a property of that name (whose value is a
/// schema). An `$id` at the top only names the whole.
fn is_keyword(key: &str, member: &Value, depth: usize) -> bool {
    match key {
        "$id" => depth > 0 && member.is_string(),
        "unevaluatedItems" | "unevaluatedProperties" => true,
        _ => member.is_string() || member.is_boolean(),
    }
}

impl Cost {
    fn add(&mut self, other: Self) -> Result<(), SchemaError> {
        self.places += other.places;
        self.patterns += other.patterns;
        self.height = self.height.max(other.height + 1);
        if self.places > MAX_SCHEMA_PLACES { Err(SchemaError::TooManyPlaces) } else { Ok(()) }
    }
}
