//! Selectors: paths into the arguments, after jq (ucan-wg/delegation, "Selectors").
//!
//! ```text
//! selector  = "." [ step { step } ]
//! step      = ( "." name | [ "." ] bracket ) { "?" }
//! bracket   = "[" ( "" | index | [ index ] ":" [ index ] | JSON string ) "]"      [:] is no slice
//! ```
//!
//! A field that a map doesn't have selects null; any other step that finds nothing fails, and with it the statement that
//! asked, unless the step ends in `?`, which makes it null. `[]` is the values of a map and leaves a list (or bytes) as
//! it is. Slices are cut to what is there. Bytes are a list of small integers; text isn't one of anything.
//! Selecting borrows and copies no value, so that its cost is that of its steps and of the maps it spreads out.

use std::{fmt, str::FromStr};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::fuel::{Fuel, OutOfFuel};
use crate::{
    cbor::printable,
    limits::{MAX_SELECTOR, MAX_SELECTOR_STEPS},
};

/// A parsed selector, with the text it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Selector {
    text: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    kind: Kind,
    optional: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Field(Box<str>),
    Values,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    /// If the text isn't one, or is over [`MAX_SELECTOR`] or [`MAX_SELECTOR_STEPS`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_SELECTOR {
            return Err(SelectorError::Long);
        }
        let mut rest = text;
        let mut steps = Vec::with_capacity(1); // most selectors name one argument
        if !rest.starts_with('.') {
            return Err(SelectorError::NoDot);
        }
        if matches!(rest.trim_end_matches('?'), ".") {
            rest = "";
        }
        while !rest.is_empty() {
            if steps.len() == MAX_SELECTOR_STEPS {
                return Err(SelectorError::Long);
            }
            let (kind, after) = parse_step(rest)?;
            let unmarked = after.trim_start_matches('?');
            steps.push(Step { kind, optional: unmarked.len() < after.len() });
            rest = unmarked;
        }
        Ok(Self { text: text.into(), steps: steps.into() })
    }

    /// The selector as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The argument that the selector reads from: its first field, or `None` if it reads from all of them.
    pub fn root_field(&self) -> Option<&str> {
        match self.steps.first().map(|step| &step.kind) {
            Some(Kind::Field(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether the selector is exactly the argument of this name.
    pub fn is_field(&self, name: &str) -> bool {
        self.steps.len() == 1 && self.root_field() == Some(name)
    }

    /// What the selector finds in `root`; `None` if a step fails.
    pub(super) fn select<'a>(&self, root: View<'a>, fuel: &mut Fuel) -> Result<Option<View<'a>>, OutOfFuel> {
        let mut current = root;
        for step in &self.steps {
            fuel.burn(1)?;
            current = match current.step(&step.kind, fuel)? {
                Some(found) => found,
                None if step.optional => View::Null,
                None => return Ok(None),
            };
        }
        Ok(Some(current))
    }
}

/// What a selector has found: part of the arguments, or a list that is made of parts of them.
#[derive(Clone, Debug)]
pub(super) enum View<'a> {
    Node(&'a Ipld),
    /// A slice of a list.
    List(&'a [Ipld]),
    /// The values of a map, or a slice of them.
    Values(Vec<&'a Ipld>),
    /// A slice of bytes.
    Bytes(&'a [u8]),
    Byte(u8),
    Null,
}

impl<'a> View<'a> {
    fn step(&self, kind: &Kind, fuel: &mut Fuel) -> Result<Option<Self>, OutOfFuel> {
        Ok(match kind {
            Kind::Field(name) => match self {
                Self::Node(Ipld::Map(map)) => Some(map.get(&**name).map_or(Self::Null, Self::Node)),
                _ => None,
            },
            Kind::Values => match self {
                Self::Node(Ipld::Map(map)) => {
                    fuel.burn(map.len())?;
                    Some(Self::Values(map.values().collect()))
                }
                Self::Node(Ipld::List(_) | Ipld::Bytes(_)) | Self::List(_) | Self::Values(_) | Self::Bytes(_) => {
                    Some(self.clone())
                }
                _ => None,
            },
            Kind::Index(index) => self.index(*index),
            Kind::Slice(from, to) => self.slice(*from, *to),
        })
    }

    fn index(&self, index: i64) -> Option<Self> {
        let at = |length| usize::try_from(if index < 0 { from_end(index, length)? } else { index }).ok();
        match self {
            Self::Node(Ipld::List(items)) => items.get(at(items.len())?).map(Self::Node),
            Self::List(items) => items.get(at(items.len())?).map(Self::Node),
            Self::Values(items) => items.get(at(items.len())?).map(|item| Self::Node(item)),
            Self::Node(Ipld::Bytes(bytes)) => bytes.get(at(bytes.len())?).map(|byte| Self::Byte(*byte)),
            Self::Bytes(bytes) => bytes.get(at(bytes.len())?).map(|byte| Self::Byte(*byte)),
            _ => None,
        }
    }

    fn slice(&self, from: Option<i64>, to: Option<i64>) -> Option<Self> {
        Some(match self {
            Self::Node(Ipld::List(items)) => Self::List(cut(items, from, to)),
            Self::List(items) => Self::List(cut(items, from, to)),
            Self::Values(items) => Self::Values(cut(items, from, to).to_vec()),
            Self::Node(Ipld::Bytes(bytes)) => Self::Bytes(cut(bytes, from, to)),
            Self::Bytes(bytes) => Self::Bytes(cut(bytes, from, to)),
            _ => return None,
        })
    }
}

/// The place counted from the end; `None` if that is before the start.
fn from_end(index: i64, length: usize) -> Option<i64> {
    let place = i64::try_from(length).ok()?.saturating_add(index);
    (place >= 0).then_some(place)
}

fn cut<T>(items: &[T], from: Option<i64>, to: Option<i64>) -> &[T] {
    let place = |index: i64| match index {
        0.. => usize::try_from(index).unwrap_or(usize::MAX).min(items.len()),
        _ => from_end(index, items.len()).map_or(0, |place| usize::try_from(place).unwrap_or(0)),
    };
    let start = from.map_or(0, place);
    let end = to.map_or(items.len(), place);
    items.get(start..end).unwrap_or(&[])
}

/// One step, and what follows it.
fn parse_step(text: &str) -> Result<(Kind, &str), SelectorError> {
    let undotted = text.strip_prefix('.');
    if let Some(inside) = undotted.unwrap_or(text).strip_prefix('[') {
        return parse_bracket(inside);
    }
    let name_on = undotted.ok_or(SelectorError::Step)?;
    let end = name_on.find(|letter: char| !is_name(letter)).unwrap_or(name_on.len());
    let (name, rest) = name_on.split_at(end);
    if !name.starts_with(|letter: char| letter.is_alphabetic() || letter == '_') {
        return Err(SelectorError::Step);
    }
    Ok((Kind::Field(name.into()), rest))
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '$')
}

/// What stands after `[`, up to its `]`, and what follows that.
fn parse_bracket(text: &str) -> Result<(Kind, &str), SelectorError> {
    if text.starts_with('"') {
        let end = end_of_string(text).ok_or(SelectorError::Step)?;
        let name: String = serde_json::from_str(&text[..end]).map_err(|_| SelectorError::Step)?;
        let rest = text[end..].strip_prefix(']').ok_or(SelectorError::Step)?;
        return Ok((Kind::Field(name.into()), rest));
    }
    let (inside, rest) = text.split_once(']').ok_or(SelectorError::Step)?;
    let kind = match inside.split_once(':') {
        _ if inside.is_empty() => Kind::Values,
        None => Kind::Index(parse_index(inside)?),
        Some(("", "")) => return Err(SelectorError::Step),
        Some((from, to)) => Kind::Slice(parse_bound(from)?, parse_bound(to)?),
    };
    Ok((kind, rest))
}

/// Where the JSON string that `text` begins with ends, its closing quote included.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(place + 1),
            _ => {}
        }
    }
    None
}

fn parse_bound(text: &str) -> Result<Option<i64>, SelectorError> {
    if text.is_empty() { Ok(None) } else { parse_index(text).map(Some) }
}

fn parse_index(text: &str) -> Result<i64, SelectorError> {
    if !text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SelectorError::Step);
    }
    text.parse().map_err(|_| SelectorError::Step)
}

/// For people; [`Selector::as_str`] is the exact text.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.text))
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Selector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a selector such as .price")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Selector, E> {
                Selector::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Why a text is no selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Over [`MAX_SELECTOR`] bytes or [`MAX_SELECTOR_STEPS`] steps.
    #[error("a selector has at most {MAX_SELECTOR} bytes and {MAX_SELECTOR_STEPS} steps")]
    Long,
    /// Doesn't begin with a dot.
    #[error("a selector begins with a dot")]
    NoDot,
    /// A step is none of `.name`, `["name"]`, `[]`, `[1]`, `[1:2]`.
    #[error("a selector's step is .name, [\"name\"], [], [1] or [1:2], each with an optional ?")]
    Step,
}
