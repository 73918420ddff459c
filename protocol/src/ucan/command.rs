//! Commands: `/`-separated paths that name what is asked for (ucan-wg/spec, "Command" and "Segment Structure").

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{cbor::is_printable, limits::MAX_COMMAND};

/// A command such as `/task/award`. `/` is all of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command(Box<str>);

impl Command {
    /// Checks and keeps a command.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        if text.len() > MAX_COMMAND {
            return Err(CommandError::Long);
        }
        let Some(path) = text.strip_prefix('/') else { return Err(CommandError::NoSlash) };
        if !path.is_empty() && path.split('/').any(str::is_empty) {
            return Err(CommandError::EmptySegment);
        }
        if !path.chars().all(is_allowed) {
            return Err(CommandError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The command as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether authority over this command is authority over `other`: the same command, or one below it by whole
    /// segments. `/task/run` covers `/task/run/fast` and not `/task/runaway`.
    pub fn covers(&self, other: &Self) -> bool {
        let scope = if &*self.0 == "/" { "" } else { &*self.0 };
        other.0.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Lower case where the letter has cases at all, and nothing that can't be seen: people judge by what they are shown.
fn is_allowed(letter: char) -> bool {
    if letter.is_ascii() {
        return !letter.is_ascii_uppercase() && !letter.is_ascii_control();
    }
    is_printable(letter) && letter.to_lowercase().eq([letter])
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        Self::parse(text)
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command such as /task/award")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Command, E> {
                Command::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Why a text is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Longer than [`MAX_COMMAND`].
    #[error("a command has at most {MAX_COMMAND} bytes")]
    Long,
    /// Doesn't begin with a slash.
    #[error("a command begins with a slash")]
    NoSlash,
    /// Two slashes in a row, or a slash at the end.
    #[error("a command has no empty segment and no slash at its end")]
    EmptySegment,
    /// Upper case, a control character or an invisible one.
    #[error("a command is lower case, without control characters or invisible ones")]
    Character,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn command(text: &str) -> Command {
        text.parse().unwrap()
    }

    #[test]
    fn only_well_formed_commands_parse() {
        for good in ["/", "/crud", "/crud/create", "/ほげ/ふが", "/a-b_c.d/é"] {
            assert_eq!(command(good).as_str(), good);
        }
        let long = format!("/{}", "a".repeat(MAX_COMMAND));
        for bad in [
            "",
            "crud",
            "/crud/",
            "//",
            "//crud",
            "/crud//create",
            "/Crud",
            "/É",
            "/a\n",
            "/a\u{9b}b",
            "/a\u{202e}b",
            &long,
        ] {
            assert!(Command::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commands_match_by_whole_segments() {
        for (wide, narrow) in [("/", "/"), ("/", "/task"), ("/task", "/task"), ("/task/run", "/task/run/fast")] {
            assert!(command(wide).covers(&command(narrow)), "{wide} {narrow}");
        }
        for (wide, other) in [
            ("/task/run", "/task/runaway"),
            ("/task/run", "/task"),
            ("/task", "/"),
            ("/crypto", "/cryptocurrency"),
            ("/task/run", "/other/task/run"),
        ] {
            assert!(!command(wide).covers(&command(other)), "{wide} {other}");
        }
    }
}
