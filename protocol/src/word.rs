//! Names of open vocabularies: what this version doesn't know is kept as the word that came.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    fault::{AtFault, Fault},
    limits::{MAX_CRITICAL, MAX_WORD},
};

/// A word: 1 to [`MAX_WORD`] lower-case letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word(String);

impl Word {
    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(is_part) {
            Ok(Self(text.into()))
        } else {
            Err(WordError::Letters)
        }
    }
}

impl TryFrom<String> for Word {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names that a reader of a statement must understand to act on it: 1 to [`MAX_CRITICAL`], each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Critical(Vec<Word>);

impl Critical {
    /// From the names.
    ///
    /// # Errors
    /// If there is none, one stands twice, or there are too many.
    pub fn new(names: Vec<Word>) -> Result<Self, WordError> {
        let distinct = names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
        if (1..=MAX_CRITICAL).contains(&names.len()) && distinct { Ok(Self(names)) } else { Err(WordError::Critical) }
    }

    /// The names.
    pub fn names(&self) -> &[Word] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Critical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).and_then(|names| Self::new(names).map_err(de::Error::custom))
    }
}

/// Why texts are no words, or no list of critical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Not a word.
    #[error("not a word: 1 to {MAX_WORD} lower-case letters, digits, '-', '_' and '.'")]
    Letters,
    /// Not a list of critical names.
    #[error("not a list of critical names: 1 to {MAX_CRITICAL}, each once")]
    Critical,
}

impl AtFault for WordError {
    fn fault(&self) -> Fault {
        Fault::Peer
    }
}

/// The fields that a struct reads, as its derived `Deserialize` names them.
pub(crate) fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct Probe<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("there is no value"))
        }

        fn deserialize_struct<V: de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // It fails, as there is no value; the names are noted before that.
    let _ = T::deserialize(Probe(&mut fields));
    fields
}

/// Writes and reads an enum that travels as a map of one key, its form's name. A form that this version doesn't know (or one
/// that carries nothing and is a text) becomes `Other` with its name; what it carries is skipped.
macro_rules! open_choice {
    ($name:ident { $($key:literal => $variant:ident),* $(,)? }) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $(Self::$variant(value) => map.serialize_entry($key, value)?,)*
                    Self::Other(name) => map.serialize_entry(name, &())?,
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::{self, IgnoredAny};
                struct Visitor;
                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a map of one key, or a text")
                    }

                    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let name = map.next_key::<String>()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                        let choice = match name.as_str() {
                            $($key => $name::$variant(map.next_value()?),)*
                            _ => {
                                map.next_value::<IgnoredAny>()?;
                                $name::Other(name.parse().map_err(de::Error::custom)?)
                            }
                        };
                        match map.next_key::<IgnoredAny>()? {
                            Some(_) => Err(de::Error::invalid_length(2, &self)),
                            None => Ok(choice),
                        }
                    }

                    fn visit_str<E: de::Error>(self, name: &str) -> Result<$name, E> {
                        match name {
                            $($key => Err(E::invalid_type(de::Unexpected::Str($key), &self)),)*
                            _ => name.parse().map($name::Other).map_err(E::custom),
                        }
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}
pub(crate) use open_choice;

/// An enum that travels as a word. One that this version doesn't know becomes `Other`.
macro_rules! open_words {
    ($(#[$of_all:meta])* pub enum $name:ident { $($(#[$of_one:meta])* $text:literal => $variant:ident),* $(,)? }) => {
        $(#[$of_all])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(from = "crate::word::Word", into = "crate::word::Word")]
        pub enum $name {
            $($(#[$of_one])* $variant,)*
            /// One of a later version.
            Other(crate::word::Word),
        }

        impl $name {
            /// All that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)* Self::Other(word) => word.as_str() }
            }
        }

        impl From<crate::word::Word> for $name {
            fn from(word: crate::word::Word) -> Self {
                match word.as_str() { $($text => Self::$variant,)* _ => Self::Other(word) }
            }
        }

        impl From<$name> for crate::word::Word {
            fn from(name: $name) -> Self {
                #[allow(clippy::expect_used)] // the texts above are words; a test reads each
                name.as_str().parse().expect("a known word is one")
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use open_words;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cbor;

    #[test]
    fn a_word_is_short_and_lower_case() {
        for good in ["a", "timed-out", "sub_receipts", "2.x", &"w".repeat(MAX_WORD)] {
            assert_eq!(good.parse::<Word>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "a b", "é", "a\n", &"w".repeat(MAX_WORD + 1)] {
            assert_eq!(bad.parse::<Word>(), Err(WordError::Letters), "{bad}");
        }
    }

    #[test]
    fn critical_names_are_few_and_distinct() {
        let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        let read = |names: Vec<String>| cbor::decode::<Critical>(&cbor::encode(&names)).is_ok();
        assert!(read(names(1)) && read(names(MAX_CRITICAL)));
        assert!(!read(names(0)) && !read(names(MAX_CRITICAL + 1)));
        assert!(!read(vec!["a".into(), "b".into(), "a".into()]) && !read(vec!["A".into()]));
    }

    #[test]
    fn the_fields_of_a_struct_are_those_that_it_reads() {
        #[derive(Deserialize)]
        #[allow(dead_code)]
        struct Pair {
            first: u8,
            #[serde(rename = "other")]
            second: Option<u8>,
        }
        assert_eq!(fields_of::<Pair>(), ["first", "other"]);
        assert_eq!(fields_of::<u64>(), [""; 0]);
    }

    #[derive(Debug, PartialEq)]
    enum Shape {
        Line(u64),
        Other(Word),
    }
    open_choice!(Shape { "line" => Line });

    open_words! {
        /// Two colours.
        pub enum Colour {
            /// Like blood.
            "red" => Red,
            /// Like the sky.
            "light-blue" => Blue,
        }
    }

    #[test]
    fn a_form_that_is_not_known_is_kept_by_name() {
        let later = Shape::Other("arc".parse().unwrap());
        let read = |value: ipld_core::ipld::Ipld| cbor::decode::<Shape>(&cbor::encode(&value)).ok();
        assert_eq!(read(ipld_core::ipld!({ "line": 3 })), Some(Shape::Line(3)));
        assert_eq!(read(ipld_core::ipld!({ "arc": { "from": [1, 2] } })), Some(later));
        assert_eq!(read(ipld_core::ipld!("arc")), Some(Shape::Other("arc".parse().unwrap())));
        for bad in [
            ipld_core::ipld!({}),
            ipld_core::ipld!({ "line": 3, "more": 4 }),
            ipld_core::ipld!({ "line": "long" }),
            ipld_core::ipld!("line"),
            ipld_core::ipld!({ "No Word": 1 }),
            ipld_core::ipld!(3),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad:?}");
        }
        assert_eq!(cbor::decode::<Shape>(&cbor::encode(&Shape::Line(3))), Ok(Shape::Line(3)));
        let json = serde_json::to_string(&Shape::Other("arc".parse().unwrap())).unwrap();
        assert_eq!(json, r#"{"arc":null}"#);
    }

    #[test]
    fn a_word_that_is_not_known_is_kept() {
        for known in Colour::KNOWN {
            assert_eq!(cbor::decode::<Colour>(&cbor::encode(known)).as_ref(), Ok(known));
        }
        assert_eq!(cbor::encode(&Colour::Blue), cbor::encode("light-blue"));
        let green = cbor::decode::<Colour>(&cbor::encode("green")).unwrap();
        assert_eq!((green.as_str(), cbor::encode(&green)), ("green", cbor::encode("green")));
        assert!(cbor::decode::<Colour>(&cbor::encode("Not a word")).is_err());
    }
}
