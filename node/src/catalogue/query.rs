//! What is asked of adverts: a name or a pattern of names, and what the advert must say. Evaluated here, over verified adverts.
//!
//! In a pattern `*` stands for any characters, also none and also dots: `text.*` is every service whose name begins with `text.`,
//! `*.summarize` every one that ends so, `*` all. Matching takes time in proportion to both lengths, whatever the pattern.
//!
//! A node hears the adverts of services that it sells or has looked for. A pattern is matched against these, and then each service
//! among them is searched for, a bounded number of them. A service that nobody here has ever named isn't found by a pattern.

use std::{fmt, str::FromStr};

use guilder_protocol::{
    fault::{AtFault, Fault},
    limits::MAX_SERVICE_NAME,
    market::{AdvertBody, MintUrl, NameError, ServiceName, Unit},
    settlement::Mode,
};

use serde::Deserialize;

use super::limits::{MAX_QUERY_WORDS, MAX_QUERY_WORDS_BYTES};

/// A service's name, or a pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Pattern {
    /// This one.
    Name(ServiceName),
    /// Each that it matches.
    Glob(String),
}

impl Pattern {
    /// What matches every name.
    pub fn any() -> Self {
        Self::Glob("*".to_owned())
    }

    /// Whether a name is one of those that are meant.
    pub fn matches(&self, name: &ServiceName) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Glob(glob) => matches(glob.as_bytes(), name.as_str().as_bytes()),
        }
    }
}

/// Goes back to the last `*` alone where something doesn't fit, for an earlier one can take no more than that one.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of_name) = (0, 0);
    let mut retry = None;
    while of_name < name.len() {
        if glob.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, of_name));
        } else if glob.get(at) == Some(&name[of_name]) {
            at += 1;
            of_name += 1;
        } else if let Some((behind, from)) = retry {
            (at, of_name) = (behind, from + 1);
            retry = Some((behind, from + 1));
        } else {
            return false;
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for Pattern {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        if !text.contains('*') {
            return Ok(Self::Name(text.parse().map_err(QueryError::Name)?));
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-*".contains(&byte);
        if text.len() > MAX_SERVICE_NAME || !text.bytes().all(fits) {
            return Err(QueryError::Pattern);
        }
        Ok(Self::Glob(text.to_owned()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = QueryError;

    fn try_from(text: String) -> Result<Self, QueryError> {
        text.parse()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Glob(glob) => f.write_str(glob),
        }
    }
}

/// What an advert must say. What is empty asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// At most this net price, in whatever unit.
    pub max_price: Option<u64>,
    /// In this unit.
    pub unit: Option<Unit>,
    /// One of these mints.
    pub mints: Vec<MintUrl>,
    /// Paid this way.
    pub mode: Option<Mode>,
    /// Lower-case words that stand in its name or description, each of them.
    pub words: Vec<String>,
    /// Only who can be reached: is connected, or answers when asked.
    pub reachable: bool,
}

impl Query {
    /// The words of a text, as [`Self::words`] has them.
    ///
    /// # Errors
    /// If there are too many, or too long ones.
    pub fn words_of(text: &str) -> Result<Vec<String>, QueryError> {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        if text.len() > MAX_QUERY_WORDS_BYTES || words.len() > MAX_QUERY_WORDS {
            return Err(QueryError::Words);
        }
        Ok(words)
    }

    /// Whether an advert says all that is asked. Whether its seller can be reached isn't its to say.
    pub fn fits(&self, advert: &AdvertBody) -> bool {
        let Self { max_price, unit, mints, mode, words, reachable: _ } = self;
        max_price.is_none_or(|most| advert.price <= most)
            && unit.as_ref().is_none_or(|unit| advert.unit == *unit)
            && (mints.is_empty() || advert.mints.iter().any(|mint| mints.contains(mint)))
            && mode.as_ref().is_none_or(|mode| advert.modes.contains(mode))
            && has_words(advert, words)
    }
}

fn has_words(advert: &AdvertBody, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let text = format!("{} {}", advert.service.as_str(), advert.description.to_lowercase());
    words.iter().all(|word| text.contains(word.as_str()))
}

/// Why something can't be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Not a service's name.
    #[error(transparent)]
    Name(NameError),
    /// Not a pattern of names.
    #[error(
        "not a pattern of service names: lower-case letters, digits, dots, '-' and '*', e.g. text.*, at most {MAX_SERVICE_NAME} characters"
    )]
    Pattern,
    /// Too many words.
    #[error("at most {MAX_QUERY_WORDS} words of {MAX_QUERY_WORDS_BYTES} bytes together can be looked for")]
    Words,
}

impl AtFault for QueryError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters_dots_too() {
        for (glob, name, expected) in [
            ("text.*", "text.summarize", true),
            ("text.*", "text.summarize.long", true),
            ("text.*", "text", false),
            ("text.*", "context.summarize", false),
            ("*.summarize", "text.summarize", true),
            ("*summarize", "summarize", true),
            ("*", "a", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a*a", "a", false),
            ("text.summarize", "text.summarize", true),
            ("text.summarize", "text.summarise", false),
        ] {
            assert_eq!(pattern(glob).matches(&name.parse().unwrap()), expected, "{glob} {name}");
        }
        for bad in ["Text.*", "text *", "text.\u{1b}*", "", "text..x", &"*".repeat(65)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_worst_pattern_takes_no_time() {
        let name: ServiceName = "a".repeat(64).parse().unwrap();
        let began = std::time::Instant::now();
        assert!(!pattern(&("*a".repeat(31) + "*b")).matches(&name));
        assert!(began.elapsed() < std::time::Duration::from_millis(100), "{:?}", began.elapsed());
    }

    fn advert() -> AdvertBody {
        AdvertBody {
            service: "text.summarize".parse().unwrap(),
            description: "Summarizes German letters, ÄRGER too".into(),
            price: 7,
            unit: "sat".parse().unwrap(),
            mints: vec!["https://mint.example".parse().unwrap()],
            modes: vec![Mode::Escrow],
            input: None,
            output: None,
            max_input: 1,
            max_output: 1,
            time_limit: 1,
        }
    }

    #[test]
    fn an_advert_says_all_that_is_asked_or_is_passed_over() {
        let fits = |query: &Query| query.fits(&advert());
        assert!(fits(&Query::default()));
        assert!(fits(&Query { max_price: Some(7), unit: Some("sat".parse().unwrap()), ..Query::default() }));
        assert!(!fits(&Query { max_price: Some(6), ..Query::default() }));
        assert!(!fits(&Query { unit: Some("usd".parse().unwrap()), ..Query::default() }));
        assert!(fits(&Query {
            mints: vec!["https://other.example".parse().unwrap(), "https://mint.example".parse().unwrap()],
            ..Query::default()
        }));
        assert!(!fits(&Query { mints: vec!["https://other.example".parse().unwrap()], ..Query::default() }));
        assert!(fits(&Query { mode: Some(Mode::Escrow), ..Query::default() }));
        assert!(!fits(&Query { mode: Some(Mode::Prepaid), ..Query::default() }));
        let words = |text: &str| fits(&Query { words: Query::words_of(text).unwrap(), ..Query::default() });
        assert!(words("german LETTERS") && words("ärger") && words("summarize") && words(""));
        assert!(!words("german french"));
        assert!(Query::words_of(&"a ".repeat(MAX_QUERY_WORDS + 1)).is_err());
        assert!(Query::words_of(&"a".repeat(MAX_QUERY_WORDS_BYTES + 1)).is_err());
    }

    /// The meaning, in the plainest words.
    fn plainly(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|from| plainly(rest, &name[from..])),
            (Some((one, rest)), Some((other, more))) => one == other && plainly(rest, more),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_a_star_means(glob in "[ab.*]{0,8}", name in "[ab.]{0,10}") {
            prop_assert_eq!(matches(glob.as_bytes(), name.as_bytes()), plainly(glob.as_bytes(), name.as_bytes()));
        }
    }
}
