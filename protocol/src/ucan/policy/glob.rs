//! Glob patterns of `like`: `*` stands for any text, `\*` for a star (ucan-wg/delegation, "Glob Matching").
//!
//! A backslash before anything but a star is a backslash. Matching takes the leftmost place for each literal between
//! two stars, which never has to be taken back: time is linear in pattern and text.

/// Whether `text` matches `pattern` as a whole.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut literals = Literals { rest: Some(pattern) };
    let Some(first) = literals.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(&*first) else { return false };
    let Some(mut literal) = literals.next() else { return rest.is_empty() };
    for following in literals {
        match rest.find(&*literal) {
            Some(place) => rest = &rest[place + literal.len()..],
            None => return false,
        }
        literal = following;
    }
    rest.ends_with(&*literal)
}

/// The unescaped texts between the stars of a pattern.
struct Literals<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Literals<'a> {
    type Item = std::borrow::Cow<'a, str>;

    fn next(&mut self) -> Option<Self::Item> {
        let pattern = self.rest?;
        let mut escapes = false;
        let mut end = pattern.len();
        let bytes = pattern.as_bytes();
        let mut place = 0;
        while place < bytes.len() {
            match (bytes[place], bytes.get(place + 1)) {
                (b'\\', Some(b'*')) => {
                    escapes = true;
                    place += 2;
                }
                (b'*', _) => {
                    end = place;
                    break;
                }
                _ => place += 1,
            }
        }
        self.rest = pattern.get(end + 1..);
        let literal = &pattern[..end];
        Some(if escapes { literal.replace("\\*", "*").into() } else { literal.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_text_and_escaped_ones_themselves() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything\nat all", true),
            ("**", "x", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("a*b*c", "a_c_b_c", true),
            ("a*b*c", "a_c_c", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"*\*", "x*", true),
            (r"*\*", "x", false),
            (r"\\*", r"\*", true),
            (r"\\*", r"\x", false),
            (r"\", r"\", true),
            (r"a\b*", r"a\bc", true),
            ("é*à", "éüà", true),
            ("Alice", "alice", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
