//! Words of memories and questions, as the index has them: cut by Unicode's rules (UAX 29), in small letters, without their endings
//! (Snowball), by the language of the domain.

use std::{borrow::Cow, collections::BTreeMap};

use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::limits::{MAX_MEMORY_WORD, MAX_QUESTION_WORDS};

/// In which language a domain's memories are, by its ISO 639-1 code.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// None that is known: words are taken as they are.
    None,
    /// Arabic.
    Ar,
    /// Danish.
    Da,
    /// German.
    De,
    /// Greek.
    El,
    /// English.
    #[default]
    En,
    /// Spanish.
    Es,
    /// Finnish.
    Fi,
    /// French.
    Fr,
    /// Hungarian.
    Hu,
    /// Italian.
    It,
    /// Dutch.
    Nl,
    /// Norwegian.
    No,
    /// Portuguese.
    Pt,
    /// Romanian.
    Ro,
    /// Russian.
    Ru,
    /// Swedish.
    Sv,
    /// Tamil.
    Ta,
    /// Turkish.
    Tr,
}

/// Words that make a question of what is asked for, and say nothing of it. Where a question has others, those are looked for.
const FUNCTION_WORDS: [&str; 67] = [
    "a", "an", "and", "are", "at", "be", "been", "being", "by", "can", "could", "did", "do", "does", "for", "from",
    "had", "has", "have", "her", "his", "how", "in", "is", "it", "its", "of", "on", "or", "our", "that", "the",
    "their", "this", "to", "was", "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "will",
    "with", "would", "what's", "when's", "where's", "who's", "how's", "it's", "that's", "as", "if", "into", "should",
    "there", "these", "those", "than", "then", "am", "shall", "may",
];

impl Language {
    fn stemmer(self) -> Option<Stemmer> {
        let algorithm = match self {
            Self::None => return None,
            Self::Ar => Algorithm::Arabic,
            Self::Da => Algorithm::Danish,
            Self::De => Algorithm::German,
            Self::El => Algorithm::Greek,
            Self::En => Algorithm::English,
            Self::Es => Algorithm::Spanish,
            Self::Fi => Algorithm::Finnish,
            Self::Fr => Algorithm::French,
            Self::Hu => Algorithm::Hungarian,
            Self::It => Algorithm::Italian,
            Self::Nl => Algorithm::Dutch,
            Self::No => Algorithm::Norwegian,
            Self::Pt => Algorithm::Portuguese,
            Self::Ro => Algorithm::Romanian,
            Self::Ru => Algorithm::Russian,
            Self::Sv => Algorithm::Swedish,
            Self::Ta => Algorithm::Tamil,
            Self::Tr => Algorithm::Turkish,
        };
        Some(Stemmer::create(algorithm))
    }

    fn says_nothing(self, word: &str) -> bool {
        self == Self::En && FUNCTION_WORDS.contains(&word)
    }
}

/// Which words [`of_text`] makes. Whatever changes them, another version of the stemmer or of Unicode's rules among it, makes this the next
/// one: an index of other words is made anew when it is opened.
pub(super) const INDEX: u32 = 1;

/// The words of a memory: how often each stands in it, and how many there are in all.
pub(super) fn of_text(text: &str, language: Language) -> (BTreeMap<String, u32>, u32) {
    let stemmer = language.stemmer();
    let (mut words, mut length) = (BTreeMap::new(), 0);
    for word in split(text).unicode_words() {
        *words.entry(stem(stemmer.as_ref(), word)).or_default() += 1;
        length += 1;
    }
    (words, length)
}

/// The words that a question looks for, and how often each stands in it: without those that say nothing, unless there are no others.
pub(super) fn of_question(text: &str, language: Language) -> BTreeMap<String, u32> {
    let (stemmer, text) = (language.stemmer(), split(text));
    let counted = |takes: &dyn Fn(&str) -> bool| {
        let mut words = BTreeMap::<String, u32>::new();
        for word in text.unicode_words().filter(|word| takes(word)) {
            let word = stem(stemmer.as_ref(), word);
            if words.len() < MAX_QUESTION_WORDS || words.contains_key(&word) {
                *words.entry(word).or_default() += 1;
            }
        }
        words
    };
    let said = counted(&|word| !language.says_nothing(word));
    if said.is_empty() { counted(&|_| true) } else { said }
}

/// The text in small letters, with one kind of apostrophe.
fn split(text: &str) -> String {
    text.to_lowercase().replace('\u{2019}', "'")
}

fn stem(stemmer: Option<&Stemmer>, word: &str) -> String {
    let word = match word.len() {
        ..=MAX_MEMORY_WORD => word,
        _ => &word[..word.floor_char_boundary(MAX_MEMORY_WORD)],
    };
    stemmer.map_or(Cow::Borrowed(word), |stemmer| stemmer.stem(word)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, language: Language) -> Vec<String> {
        of_text(text, language).0.into_keys().collect()
    }

    #[test]
    fn words_are_found_by_any_of_their_forms() {
        assert_eq!(words("Caroline\u{2019}s painting", Language::En), words("caroline PAINTED", Language::En));
        assert_eq!(words("die Lieferanten", Language::De), words("DIE LIEFERANT", Language::De));
        assert_ne!(words("painting", Language::None), words("painted", Language::None));
        assert_eq!(words("納期 3.5", Language::En), ["3.5", "期", "納"]);
        assert_eq!(of_text("a b a", Language::None), ([("a".to_owned(), 2), ("b".to_owned(), 1)].into(), 3));
    }

    #[test]
    fn a_question_is_what_it_asks_for_unless_there_is_nothing_else() {
        let asked = |text: &str| of_question(text, Language::En).into_keys().collect::<Vec<_>>();
        assert_eq!(asked("When did the mint stop?"), ["mint", "stop"]);
        assert_eq!(asked("what is it"), ["is", "it", "what"]);
        assert_eq!(asked("?!"), Vec::<String>::new());
    }

    #[test]
    fn a_word_of_any_length_is_bounded_where_a_letter_ends() {
        let long = "ä".repeat(1000);
        assert!(words(&long, Language::None).iter().all(|word| word.len() <= MAX_MEMORY_WORD && !word.is_empty()));
        let many: String = (0..10_000).map(|number| format!("w{number} ")).collect();
        assert_eq!(of_question(&many, Language::En).len(), MAX_QUESTION_WORDS);
    }

    /// Whoever makes this fail has made other words of texts: see [`INDEX`].
    #[test]
    fn the_words_of_a_text_are_those_that_stored_indexes_are_made_of() {
        use clap::ValueEnum as _;

        let text = "Running runners ran quickly; the müde Häuser, les chevaux étaient libérés, кошки бежали 12.5 naïve café’s 東京 x_y";
        let all: Vec<_> = Language::value_variants().iter().map(|language| of_text(text, *language)).collect();
        let digest = guilder_protocol::cbor::sha256(format!("{INDEX} {all:?}").as_bytes());
        assert_eq!(hex::encode(&digest[..8]), "2be44b62245b31d9");
    }
}
