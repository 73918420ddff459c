//! What a shell reads: text of any kind as one word of a command.

use std::path::Path;

/// A path as a shell takes it for one word.
pub fn quoted(path: &Path) -> String {
    word(&path.display().to_string())
}

/// A text as a shell takes it for one word, whatever is in it.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_word_to_a_shell() {
        for (text, expected) in [
            ("alice", "alice"),
            ("/a b", "'/a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("a;b", "'a;b'"),
            ("", "''"),
        ] {
            assert_eq!((word(text), quoted(Path::new(text))), (expected.to_owned(), expected.to_owned()));
        }
    }
}
