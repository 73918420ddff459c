//! How alike two texts are, by their words: without a model, and without a guess.

use std::collections::BTreeSet;

use guilder_protocol::{cbor::sha256, time::Timestamp};
use unicode_segmentation::UnicodeSegmentation as _;

use super::dream::day_of;

/// Words that turn what is said into its contrary.
const NEGATIONS: [&str; 14] = [
    "not", "no", "never", "isn't", "aren't", "wasn't", "doesn't", "don't", "didn't", "can't", "cannot", "won't",
    "nicht", "kein",
];
/// Words that a negation brings along: without both, `it works` and `it doesn't work` have the same rest.
const HELPERS: [&str; 8] = ["do", "does", "did", "is", "are", "was", "can", "will"];
/// Words of a shingle.
const SHINGLE: usize = 3;
const DAY_SECS: u64 = 24 * 60 * 60;

/// A text as its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wording {
    words: Vec<String>,
    shingles: BTreeSet<u64>,
}

impl Wording {
    pub(super) fn of(text: &str) -> Self {
        let words: Vec<String> =
            text.unicode_words().map(|word| word.to_lowercase().replace('\u{2019}', "'")).collect();
        let mut shingles: BTreeSet<u64> = words.windows(SHINGLE).map(hash).collect();
        if words.len() < SHINGLE {
            shingles.insert(hash(&words));
        }
        Self { words, shingles }
    }

    /// Of each three words that follow each other, a hash.
    pub(super) fn shingles(&self) -> &BTreeSet<u64> {
        &self.shingles
    }

    /// Whether it says the same: four of five shingles are the other's, and every value and negation is.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let common = self.shingles.intersection(&other.shingles).count();
        let all = self.shingles.len() + other.shingles.len() - common;
        common * 5 >= all * 4 && self.values() == other.values() && self.negations() == other.negations()
    }

    /// The words with a gap for each value; none where there is no value.
    pub(super) fn frame(&self) -> Option<String> {
        let gap = |word: &String| if is_value(word) { "#".to_owned() } else { word.clone() };
        let has_words = self.words.iter().any(|word| !is_value(word));
        (has_words && self.words.iter().any(|word| is_value(word)))
            .then(|| self.words.iter().map(gap).collect::<Vec<_>>().join(" "))
    }

    pub(super) fn is_negated(&self) -> bool {
        self.negations() % 2 == 1
    }

    /// The words that are left without those that negate, endings of verbs aside.
    pub(super) fn without_negation(&self) -> String {
        let is_said = |word: &&String| !is_negation(word) && !HELPERS.contains(&word.as_str());
        let plain = |word: &String| word.strip_suffix('s').map_or(word.clone(), ToOwned::to_owned);
        self.words.iter().filter(is_said).map(plain).collect::<Vec<_>>().join(" ")
    }

    fn negations(&self) -> usize {
        self.words.iter().filter(|word| is_negation(word)).count()
    }

    fn values(&self) -> Vec<&String> {
        self.words.iter().filter(|word| is_value(word)).collect()
    }
}

fn is_negation(word: &str) -> bool {
    NEGATIONS.contains(&word)
}

fn is_value(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit())
}

fn hash(words: &[String]) -> u64 {
    let digest = sha256(words.join(" ").as_bytes());
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// An English text in which days that hang on when it was said are dates; `None` if there are none.
pub(super) fn absolute(text: &str, said: Timestamp) -> Option<String> {
    let mut made = String::with_capacity(text.len());
    let mut changed = false;
    for word in text.split_word_bounds() {
        let day = match word.to_lowercase().as_str() {
            "today" => Some(said),
            "yesterday" => Some(said.saturating_sub(DAY_SECS)),
            "tomorrow" => Some(said.saturating_add(DAY_SECS)),
            _ => None,
        };
        match day {
            Some(day) => {
                changed = true;
                made.push_str(&day_of(day));
            }
            None => made.push_str(word),
        }
    }
    changed.then_some(made)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn alike(one: &str, other: &str) -> bool {
        Wording::of(one).is_like(&Wording::of(other))
    }

    #[test]
    fn the_same_in_other_letters_is_alike_and_another_value_or_its_contrary_is_not() {
        assert!(alike("The mint is slow on Mondays.", "the mint is slow on mondays"));
        let long = "the seller of summaries that we use for the daily digest of news is slow on all of the days";
        assert!(alike(long, &format!("{long} indeed")));
        assert!(!alike(long, &format!("{long} but 3")));
        assert!(!alike(
            "the mint of the node listens on the port 3338",
            "the mint of the node listens on the port 4848"
        ));
        assert!(!alike("the tests are to be run in one go", "the tests are not to be run in one go"));
        assert!(!alike("yes", "no") && alike("yes", "Yes"));
    }

    #[test]
    fn a_frame_is_what_is_left_without_values() {
        let frame = |text: &str| Wording::of(text).frame();
        assert_eq!(frame("Port 3338 is open"), frame("port 4848 is open"));
        assert_ne!(frame("port 3338 is open"), frame("port 3338 is shut"));
        assert_eq!((frame("it is open"), frame("3338")), (None, None));
    }

    #[test]
    fn contraries_have_the_same_rest() {
        let (yes, no) = (Wording::of("It works on Linux"), Wording::of("it doesn\u{2019}t work on Linux"));
        assert_eq!(yes.without_negation(), no.without_negation());
        assert!(!yes.is_negated() && no.is_negated());
        assert_ne!(yes.without_negation(), Wording::of("it works on Windows").without_negation());
    }

    #[test]
    fn days_that_hang_on_when_it_was_said_become_dates() {
        let said = Timestamp::from_secs(1_700_000_000);
        let made = absolute("Yesterday it failed; today it works, tomorrow's run is off", said).unwrap();
        assert!(made.starts_with("2023-11-13 it failed; 2023-11-14 it works, "), "{made}");
        assert_eq!(absolute("a todayish word", said), None);
    }
}
