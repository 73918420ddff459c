//! Commands in what people read: as they can be pasted into a shell. In a sentence a command stands in backticks, alone at the end of
//! its line without; a test in `cli` reads all that there are and holds them to the command line.

use std::path::PathBuf;

use crate::shell::quoted;

/// The commands that work on a home. A test in `cli` has each command stand here or there.
pub(crate) const ON_A_HOME: [&str; 37] = [
    "duty",
    "run",
    "hook",
    "init",
    "invite",
    "doctor",
    "swarm",
    "backup",
    "restore",
    "up",
    "status",
    "peers",
    "id",
    "passphrase",
    "alias",
    "caller",
    "approvals",
    "grant",
    "grants",
    "revoke",
    "watch",
    "service",
    "service-unit",
    "earnings",
    "find",
    "hire",
    "remember",
    "recall",
    "forget",
    "brief",
    "memory",
    "task",
    "wallet",
    "mint",
    "mcp",
    "audit show",
    "audit export",
];
const GUILDER: &str = "guilder ";

/// The text with `--home` in each command that needs it, where the home was named on this command line.
pub(super) fn with_home(text: &str, home: Option<&PathBuf>) -> String {
    let Some(home) = home else { return text.to_owned() };
    let home = quoted(home);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(GUILDER) {
        let (before, after) = rest.split_at(at + GUILDER.len());
        shown.push_str(before);
        let begins_a_word = !before[..at].ends_with(|c: char| c.is_alphanumeric() || "-_./@".contains(c));
        let command = without_caller(after);
        if begins_a_word && ON_A_HOME.iter().any(|name| begins_with_word(command, name)) {
            shown.push_str(&format!("--home {home} "));
        }
        rest = after;
    }
    shown + rest
}

/// What follows `--as NAME`, if that stands first.
fn without_caller(text: &str) -> &str {
    let named = text.strip_prefix("--as ").and_then(|rest| rest.split_once(' '));
    named.map_or(text, |(_, command)| command)
}

fn begins_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_a_hint_names_the_home_where_it_needs_one() {
        let home = PathBuf::from("/srv/my node");
        let shown = |text: &str| with_home(text, Some(&home));
        assert_eq!(shown("start it: guilder up"), "start it: guilder --home '/srv/my node' up");
        assert_eq!(
            shown("`guilder task list` shows them, guilder find a.b too"),
            "`guilder --home '/srv/my node' task list` shows them, guilder --home '/srv/my node' find a.b too"
        );
        assert_eq!(shown("guilder --as ci status"), "guilder --home '/srv/my node' --as ci status");
        for same in [
            "guilder audit verify x.car",
            "guilder --home other up",
            "guilder is a coin",
            "a-guilder up",
            "guilder upper",
        ] {
            assert_eq!(shown(same), same);
        }
        assert_eq!(with_home("guilder up", None), "guilder up");
    }
}
