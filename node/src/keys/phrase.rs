//! The recovery phrase and the seeds that derive from it.

use std::fmt;

use bitcoin_hashes::{Hash, HashEngine, Hmac, HmacEngine, sha512};
use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentKey,
};
use zeroize::Zeroizing;

/// Twelve words that are worth all the money of a node. Wiped when dropped, never printed by accident.
#[derive(Clone)]
pub struct Phrase(Zeroizing<String>);

impl Phrase {
    /// The phrase of 16 random bytes.
    pub fn from_entropy(entropy: &[u8; 16]) -> Self {
        let Ok(words) = bip39::Mnemonic::from_entropy(entropy) else {
            unreachable!("16 bytes are a length that BIP-39 knows")
        };
        Self(Zeroizing::new(words.to_string()))
    }

    /// Reads a phrase of 12 to 24 words, whatever the spacing and case, one a line or numbered as people write them down
    /// (`1. word`, `2) word`, `3 word`).
    ///
    /// # Errors
    /// If a word isn't in the English list, the number of words is wrong, or the checksum doesn't fit.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let lower = Zeroizing::new(text.to_lowercase());
        // The first is what some editors put at the beginning of a file (a byte order mark).
        let words = lower.trim_start_matches('\u{feff}').split_whitespace();
        let words = words.map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit() || ".):#-".contains(c)));
        let words = words.map(|word| word.trim_end_matches([',', ';']));
        let normal = Zeroizing::new(words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
        let words = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &normal);
        words.map_err(|error| match error {
            bip39::Error::BadWordCount(count) => PhraseError::Count(count),
            bip39::Error::UnknownWord(index) => PhraseError::Word(index + 1),
            _ => PhraseError::Checksum,
        })?;
        Ok(Self(normal))
    }

    /// The words, for the one moment that they are shown or stored.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The seeds that the phrase stands for.
    pub fn seeds(&self) -> Seeds {
        let Ok(words) = bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &self.0) else {
            unreachable!("a phrase is checked when it is made")
        };
        let seed = Zeroizing::new(words.to_seed_normalized(""));
        Seeds {
            identity: first_half(&derive(&seed, "guilder/identity")),
            wallet: derive(&seed, "guilder/wallet"),
            locks: first_half(&derive(&seed, "guilder/locks")),
            mint: derive(&seed, "guilder/mint"),
        }
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase(hidden)")
    }
}

/// The seeds that derive from a phrase. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Seeds {
    /// Ed25519 seed of the agent's identity.
    pub identity: Zeroizing<[u8; 32]>,
    /// Seed of the wallet's coins (NUT-13); that of tokens sent derives from it.
    pub wallet: Zeroizing<[u8; 64]>,
    /// Root of the secp256k1 keys that locks are made to.
    pub locks: Zeroizing<[u8; 32]>,
    /// Seed of the hosted mint's keysets.
    pub mint: Zeroizing<[u8; 64]>,
}

impl Seeds {
    /// The agent's signing key.
    pub fn key(&self) -> AgentKey {
        AgentKey::from_seed(&self.identity)
    }
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeds(hidden)")
    }
}

fn derive(seed: &[u8; 64], label: &str) -> Zeroizing<[u8; 64]> {
    let mut engine = HmacEngine::<sha512::Hash>::new(seed);
    engine.input(label.as_bytes());
    Zeroizing::new(Hmac::from_engine(engine).to_byte_array())
}

fn first_half(bytes: &[u8; 64]) -> Zeroizing<[u8; 32]> {
    let mut half = Zeroizing::new([0; 32]);
    half.copy_from_slice(&bytes[..32]);
    half
}

/// Why words are no recovery phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Another number of words than 12, 15, 18, 21 or 24.
    #[error("a recovery phrase has 12 words, this has {0}")]
    Count(usize),
    /// The word at this place, from 1, isn't in the list.
    #[error("word {0} of the recovery phrase is not in the word list")]
    Word(usize),
    /// The words are in the list, but don't belong together.
    #[error("the words of the recovery phrase don't fit together")]
    Checksum,
}

impl AtFault for PhraseError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Count(_) => "give all words that `guilder init` printed, in order, with spaces between them",
            Self::Word(_) => "check its spelling; the words are English and in BIP-39's list of 2048",
            Self::Checksum => "two words may be swapped or one mistaken for another of the list",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ABANDON: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn a_phrase_reads_as_people_and_editors_write_it_down() {
        let words: Vec<_> = ABANDON.split(' ').collect();
        let numbered = |form: fn((usize, &&str)) -> String| words.iter().enumerate().map(form).collect::<String>();
        for text in [
            format!("\u{feff}{ABANDON}\r\n"),
            words.join("\n"),
            words.join("\r\n"),
            words.join(", "),
            numbered(|(index, word)| format!("{}. {word}\n", index + 1)),
            numbered(|(index, word)| format!("{}.{word} ", index + 1)),
            numbered(|(index, word)| format!("{:>2}) {word}\t", index + 1)),
            numbered(|(index, word)| format!("{} {word}\n\n", index + 1)),
            numbered(|(index, word)| format!("#{}: {}\n", index + 1, word.to_uppercase())),
        ] {
            assert_eq!(Phrase::parse(&text).map(|phrase| phrase.reveal().to_owned()), Ok(ABANDON.to_owned()), "{text}");
        }
        assert!(Phrase::parse(&ABANDON.replace("about", "ab0ut")).is_err(), "a digit in a word is no number before it");
    }

    #[test]
    fn the_seeds_of_a_known_phrase_never_change() {
        let seeds = Phrase::parse(ABANDON).unwrap().seeds();
        assert_eq!(Phrase::from_entropy(&[0; 16]).reveal(), ABANDON);
        let public = "55623e824af07356d1657548ba3e7998a7697810af8df2617da0296aa253dc65";
        assert_eq!(hex::encode(seeds.key().id().as_bytes()), public);
        assert_eq!(hex::encode(&seeds.wallet[..8]), "4514f3d87af2227e");
        assert_eq!(hex::encode(&seeds.locks[..8]), "5ab4a993f0bc8210");
        assert_eq!(hex::encode(&seeds.mint[..8]), "01e23b5b656941c8");
    }

    #[test]
    fn a_phrase_reads_whatever_its_spacing_and_case() {
        let loud = format!("  {}\n", ABANDON.to_uppercase().replace(' ', "\n  "));
        assert_eq!(Phrase::parse(&loud).unwrap().reveal(), ABANDON);
    }

    #[test]
    fn what_is_wrong_with_a_phrase_is_said() {
        assert_eq!(Phrase::parse("abandon about").unwrap_err(), PhraseError::Count(2));
        assert_eq!(Phrase::parse(&ABANDON.replacen("abandon", "abandone", 1)).unwrap_err(), PhraseError::Word(1));
        assert_eq!(Phrase::parse(&ABANDON.replace("about", "abandon")).unwrap_err(), PhraseError::Checksum);
    }

    #[test]
    fn secrets_never_print() {
        let phrase = Phrase::parse(ABANDON).unwrap();
        let shown = format!("{phrase:?} {:?}", phrase.seeds());
        assert_eq!(shown, "Phrase(hidden) Seeds(hidden)");
    }
}
