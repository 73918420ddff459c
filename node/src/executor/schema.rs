//! JSON Schemas of inputs and outputs, checked on both sides of a trade.
//!
//! A schema comes from a stranger: a buyer checks a seller's output against the schema of that seller's advert. So none
//! may cost more than it is worth. What bounds it:
//!
//! - a schema is at most [`MAX_SCHEMA`] bytes and [`MAX_SCHEMA_DEPTH`] levels, and refers to nothing but its own parts
//!   (`#/$defs/…`): nothing is fetched, no file is read;
//! - it doesn't refer back to itself, and written out without references it has at most [`MAX_SCHEMA_PLACES`] places, so
//!   that a check takes at most places × values steps (a schema that refers to itself twice takes 2ⁿ of them on n nested
//!   arrays). Keywords whose cost can't be told that way (`unevaluatedProperties`, `$dynamicRef`, …) are refused;
//! - patterns run on the linear-time engine (`regex`, no look-around, no back-references). Before any is compiled, there
//!   are at most [`MAX_PATTERNS`] of them with [`MAX_PATTERNS_TEXT`] bytes and [`MAX_PATTERN_CLASSES`] classes together;
//!   compiled, one has at most [`MAX_PATTERN_BYTES`] and all of a schema [`MAX_PATTERNS_BYTES`];
//! - a document is at most [`MAX_DOCUMENT`] bytes and [`MAX_DOCUMENT_VALUES`] values, counted before it is parsed, and
//!   places × values and patterns × bytes have their limits ([`MAX_SCHEMA_STEPS`], [`MAX_PATTERN_STEPS`]).
//!
//! `format` only annotates, as in draft 2020-12. A schema without `$schema` is read as draft 2020-12.

use std::fmt::{self, Write as _};

use guilder_protocol::{
    fault::{AtFault, Fault},
    limits::MAX_SCHEMA,
};
use jsonschema::{PatternOptions, ValidationOptions, Validator};
use serde_json::Value;

mod cost;

use crate::limits::{
    MAX_COMPLAINT, MAX_DOCUMENT, MAX_DOCUMENT_VALUES, MAX_PATTERN_BYTES, MAX_PATTERN_CLASSES, MAX_PATTERN_STEPS,
    MAX_PATTERNS, MAX_PATTERNS_BYTES, MAX_PATTERNS_TEXT, MAX_SCHEMA_DEPTH, MAX_SCHEMA_PLACES, MAX_SCHEMA_STEPS,
    SMALL_PATTERN_BYTES,
};

/// A compiled schema. Compiling and checking take time: both belong in [`Runtime::offload`] as [`Job::Schema`].
///
/// [`Runtime::offload`]: crate::runtime::Runtime::offload
/// [`Job::Schema`]: crate::runtime::Job::Schema
pub struct Schema {
    validator: Validator,
    cost: cost::Cost,
}

impl Schema {
    /// Compiles a schema from its JSON text.
    ///
    /// # Errors
    /// If it isn't a JSON Schema, or could cost more than it may.
    pub fn compile(text: &str) -> Result<Self, SchemaError> {
        if text.len() > MAX_SCHEMA {
            return Err(SchemaError::TooLarge(text.len()));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let cost = cost::of(&schema, weigh_pattern)?;
        let validator = options(MAX_PATTERN_BYTES).build(&schema).map_err(|error| SchemaError::Invalid {
            at: error.instance_path().to_string(),
            why: short(&error.masked_with("this")),
        })?;
        Ok(Self { validator, cost })
    }

    /// Checks that a document of so many bytes would be looked at, before it is read.
    ///
    /// # Errors
    /// [`SchemaError::DocumentTooLarge`] or [`SchemaError::TooCostly`].
    pub fn check_size(&self, bytes: u64) -> Result<(), SchemaError> {
        if bytes > MAX_DOCUMENT {
            return Err(SchemaError::DocumentTooLarge(bytes));
        }
        if self.cost.patterns.saturating_mul(bytes) > MAX_PATTERN_STEPS {
            return Err(SchemaError::TooCostly);
        }
        Ok(())
    }

    /// Checks a document.
    ///
    /// # Errors
    /// What is wrong with it first, and where.
    pub fn check(&self, document: &[u8]) -> Result<(), SchemaError> {
        self.check_size(document.len() as u64)?;
        let values = count_values(document);
        if values > MAX_DOCUMENT_VALUES {
            return Err(SchemaError::TooManyValues(values));
        }
        if self.cost.places.saturating_mul(values) > MAX_SCHEMA_STEPS {
            return Err(SchemaError::TooCostly);
        }
        let parsed =
            serde_json::from_slice(document).map_err(|error| SchemaError::DocumentNotJson(error.to_string()))?;
        self.validator.validate(&parsed).map_err(|error| SchemaError::Unsatisfied {
            at: place(&error.instance_path().to_string()),
            why: short(&error),
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// How schemas are read: nothing fetched, formats not checked, patterns on the linear-time engine.
fn options(pattern_bytes: usize) -> ValidationOptions<'static> {
    let patterns = PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(MAX_PATTERN_BYTES);
    jsonschema::options().offline().should_validate_formats(false).with_pattern_options(patterns)
}

/// How large a pattern is, compiled, in units of [`SMALL_PATTERN_BYTES`], in powers of two: a step of it takes as much
/// longer at worst. One that doesn't compile counts as the largest; [`Schema::compile`] will say what is wrong with it.
fn weigh_pattern(pattern: &str) -> u64 {
    let schema = serde_json::json!({ "pattern": pattern });
    let sizes = std::iter::successors(Some(SMALL_PATTERN_BYTES), |size| Some(size * 2));
    let mut sizes = sizes.take_while(|size| *size < MAX_PATTERN_BYTES);
    let fits = sizes.find(|size| options(*size).build(&schema).is_ok());
    (fits.unwrap_or(MAX_PATTERN_BYTES) / SMALL_PATTERN_BYTES) as u64
}

/// At least as many as the document has values: each but the first follows a bracket, a comma or a colon.
fn count_values(document: &[u8]) -> u64 {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for &byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' | b',' | b':' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// A JSON pointer as people read it.
fn place(pointer: &str) -> String {
    if pointer.is_empty() { "the document".into() } else { short(&pointer) }
}

/// The beginning of a text: a complaint can quote megabytes.
fn short(text: &dyn fmt::Display) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = MAX_COMPLAINT.saturating_sub(self.0.len());
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let fitting = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= room).last();
            self.0.push_str(&text[..fitting.unwrap_or(0)]);
            self.0.push('…');
            Err(fmt::Error)
        }
    }
    let mut bounded = Bounded(String::new());
    // the only error is that there is no more room
    let _ = write!(bounded, "{text}");
    bounded.0
}

/// Why a schema isn't taken, or a document doesn't satisfy it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Over [`MAX_SCHEMA`]; the field is the size in bytes.
    #[error("a schema of {0} bytes is over the limit of {MAX_SCHEMA}")]
    TooLarge(usize),
    /// The schema isn't JSON.
    #[error("the schema is not JSON: {0}")]
    NotJson(String),
    /// Not a JSON Schema, or with a pattern that isn't taken.
    #[error("not a valid JSON Schema{}: {why}", at_place(.at))]
    Invalid {
        /// JSON pointer into the schema.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// Nested deeper than [`MAX_SCHEMA_DEPTH`].
    #[error("the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_SCHEMA_PLACES`], references written out.
    #[error("the schema has more than {MAX_SCHEMA_PLACES} places once its references are written out")]
    TooManyPlaces,
    /// More than [`MAX_PATTERNS`], [`MAX_PATTERNS_TEXT`], [`MAX_PATTERN_CLASSES`] or [`MAX_PATTERNS_BYTES`].
    #[error(
        "the schema's patterns are too many or too large: at most {MAX_PATTERNS}, with {MAX_PATTERNS_TEXT} bytes and \
         {MAX_PATTERN_CLASSES} Unicode classes together, and few repeats of those"
    )]
    Patterns,
    /// A reference to somewhere else, or to a part that isn't there.
    #[error("the schema refers to {0:?}: only its own parts can be referred to, as #/$defs/…")]
    Reference(String),
    /// A reference that leads back to itself.
    #[error("the schema refers to itself through {0:?}: such a schema can take for ever, write the levels out")]
    Recursive(String),
    /// Written in a draft that isn't taken.
    #[error("the schema is written in {0:?}: drafts 2020-12, 2019-09, 7 and 6 are supported")]
    Draft(String),
    /// A keyword whose cost can't be bounded.
    #[error("the keyword {0:?} is not supported in a service's schema")]
    Keyword(&'static str),
    /// Over [`MAX_DOCUMENT`]; the field is the size in bytes.
    #[error("{0} bytes of JSON are over the limit of {MAX_DOCUMENT} for data with a schema")]
    DocumentTooLarge(u64),
    /// Over [`MAX_DOCUMENT_VALUES`]; the field is about how many.
    #[error("about {0} values are over the limit of {MAX_DOCUMENT_VALUES} for data with a schema")]
    TooManyValues(u64),
    /// The schema's size times the document's is over the limit.
    #[error("the document is too large to be checked against a schema with so many parts or patterns")]
    TooCostly,
    /// The document isn't JSON.
    #[error("not JSON: {0}")]
    DocumentNotJson(String),
    /// The document doesn't satisfy the schema.
    #[error("at {at}: {why}")]
    Unsatisfied {
        /// JSON pointer into the document.
        at: String,
        /// What is wrong there.
        why: String,
    },
}

impl SchemaError {
    /// Whether it says that a document doesn't satisfy its schema. What else there is says that this can't be told.
    pub fn is_unsatisfied(&self) -> bool {
        match self {
            Self::DocumentNotJson(_) | Self::Unsatisfied { .. } => true,
            Self::TooLarge(_)
            | Self::NotJson(_)
            | Self::Invalid { .. }
            | Self::TooDeep
            | Self::TooManyPlaces
            | Self::Patterns
            | Self::Reference(_)
            | Self::Recursive(_)
            | Self::Draft(_)
            | Self::Keyword(_)
            | Self::DocumentTooLarge(_)
            | Self::TooManyValues(_)
            | Self::TooCostly => false,
        }
    }
}

fn at_place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" (at {pointer})") }
}

impl AtFault for SchemaError {
    fn fault(&self) -> Fault {
        Fault::Peer
    }
}

#[cfg(test)]
mod tests;
