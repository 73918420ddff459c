//! What the operator calls peers and mints: `bank = "p2p://mint/12D3Koo…"` in `aliases.toml` of the home.
//!
//! An alias is written `@bank`. As an argument of its own, or as the value of an option, it stands for what it names, before anything
//! else reads the command line; in what people read it takes the place of that. In the command line's JSON it stands beside it, in a
//! field of its own: `"mint": "p2p://…", "mint_alias": "bank"`. The control API takes aliases wherever a peer or a mint is asked for
//! (`api::names`), and answers with whole IDs. What travels to other nodes never has any.

use std::{collections::BTreeMap, ffi::OsString, fmt, io, path::Path};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    market::MintUrl,
};
use serde_json::Value;

use crate::{
    events::last_letters,
    keys::{Existing, HomeError, write_private},
    limits::{MAX_ALIAS_CHARS, MAX_ALIASES},
};

/// Options whose value is whatever their user likes.
const FREE_TEXT: [&str; 2] = ["--id", "--label"];

/// A peer or a mint that has an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A peer, by its ID or DID.
    Peer(AgentId),
    /// A mint.
    Mint(MintUrl),
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(agent) => f.write_str(&agent.peer_id()),
            Self::Mint(url) => f.write_str(url.as_str()),
        }
    }
}

impl Named {
    /// What it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Mint(_) => "mint",
        }
    }
}

impl std::str::FromStr for Named {
    type Err = AliasError;

    fn from_str(text: &str) -> Result<Self, AliasError> {
        let agent = AgentId::from_peer_id(text).ok().or_else(|| text.parse().ok());
        match (agent, text.parse()) {
            (Some(agent), _) => Ok(Self::Peer(agent)),
            (None, Ok(url)) => Ok(Self::Mint(url)),
            (None, Err(_)) => Err(AliasError::Target(text.to_owned())),
        }
    }
}

/// All aliases of a home.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aliases {
    named: BTreeMap<String, Named>,
    /// What else stands in the file: kept as it is, and used for nothing.
    skipped: BTreeMap<String, Skipped>,
}

/// An entry of the file that is no alias.
#[derive(Clone, Debug, PartialEq)]
struct Skipped {
    value: toml::Value,
    why: String,
}

impl Aliases {
    /// Reads the aliases of a home; there are none if the file isn't there. An entry that is no alias is [skipped](Self::skipped).
    ///
    /// # Errors
    /// If it can't be read, or isn't TOML.
    pub fn load(path: &Path) -> Result<Self, AliasError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(cause) => return Err(HomeError::io("read", path, cause).into()),
        };
        let found: BTreeMap<String, toml::Value> = toml::from_str(&text).map_err(|_| AliasError::Damaged)?;
        let mut aliases = Self::default();
        for (name, value) in found {
            let read = value.as_str().map_or_else(|| Err(AliasError::Target(value.to_string())), str::parse);
            if let Err(error) = read.and_then(|target| aliases.add(&name, target)) {
                aliases.skipped.insert(name, Skipped { value, why: error.to_string() });
            }
        }
        Ok(aliases)
    }

    /// Writes them down.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn store(&self, path: &Path) -> Result<(), AliasError> {
        let named = self.named.iter().map(|(name, target)| (name.clone(), target.to_string().into()));
        let skipped = self.skipped.iter().map(|(name, entry)| (name.clone(), entry.value.clone()));
        let all: toml::Table = named.chain(skipped).collect();
        Ok(write_private(path, all.to_string().as_bytes(), Existing::Replace)?)
    }

    /// Names a peer or a mint.
    ///
    /// # Errors
    /// If that is no name, another has it, or there are too many.
    pub fn add(&mut self, name: &str, target: Named) -> Result<(), AliasError> {
        let name = name.strip_prefix('@').unwrap_or(name);
        if !is_name(name) {
            return Err(AliasError::Name(name.to_owned()));
        }
        match self.named.get(name) {
            Some(other) if *other != target => {
                return Err(AliasError::Taken { name: name.to_owned(), target: other.to_string() });
            }
            None if self.named.len() >= MAX_ALIASES => return Err(AliasError::TooMany),
            _ => {}
        }
        self.named.insert(name.to_owned(), target);
        self.skipped.remove(name);
        Ok(())
    }

    /// Forgets an alias, or an entry that was to be one.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<(), AliasError> {
        let name = name.strip_prefix('@').unwrap_or(name);
        match (self.named.remove(name), self.skipped.remove(name)) {
            (None, None) => Err(AliasError::Unknown(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// The entries of the file that are no aliases, and why.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.skipped.iter().map(|(name, entry)| (name.as_str(), entry.why.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Names and what they stand for, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Named)> {
        self.named.iter().map(|(name, target)| (name.as_str(), target))
    }

    /// The arguments of a command line with what the aliases in them stand for.
    ///
    /// # Errors
    /// If one has the form of an alias, and there is none of that name.
    pub fn expand(&self, args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, AliasError> {
        let mut is_text = false;
        let expanded =
            |arg: OsString| match std::mem::replace(&mut is_text, FREE_TEXT.iter().any(|option| arg == **option)) {
                true => Ok(arg),
                false => self.expanded(arg),
            };
        args.into_iter().map(expanded).collect()
    }

    fn expanded(&self, arg: OsString) -> Result<OsString, AliasError> {
        let Some(text) = arg.to_str() else { return Ok(arg) };
        let (option, value) = match text.split_once('=') {
            Some((option, _)) if FREE_TEXT.contains(&option) => return Ok(arg),
            Some((option, value)) if option.starts_with("--") => (Some(option), value),
            _ => (None, text),
        };
        let Some(target) = self.stands_for(value)? else { return Ok(arg) };
        Ok(option.map_or_else(|| target.to_string(), |option| format!("{option}={target}")).into())
    }

    /// What a text stands for that has the form of an alias; none if it hasn't.
    ///
    /// # Errors
    /// If there is no alias of that name.
    pub fn stands_for(&self, text: &str) -> Result<Option<&Named>, AliasError> {
        let Some(name) = text.strip_prefix('@').filter(|name| is_name(name)) else { return Ok(None) };
        self.named.get(name).map(Some).ok_or_else(|| AliasError::Unknown(name.to_owned()))
    }

    /// What a peer is called in a sentence: by its alias, else by the last letters of its ID.
    pub fn name(&self, peer: &AgentId) -> String {
        let named = |target: &Named| matches!(target, Named::Peer(agent) if agent == peer);
        let alias = self.named.iter().find(|(_, target)| named(target));
        alias.map_or_else(|| last_letters(peer), |(name, _)| format!("@{name}"))
    }

    /// Text for people, with aliases in the place of what they name in full. Last letters stay what they are: many IDs end alike, and
    /// who wants to be taken for another makes one that does.
    pub fn put_into(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for (name, target) in &self.named {
            let (alias, target) = (format!("@{name}"), target.to_string());
            if shown.contains(&target) {
                let lines = shown.split_inclusive('\n').map(|line| {
                    // Where both stand already, both shall.
                    if line.contains(&alias) { line.to_owned() } else { replace_word(line, &target, &alias) }
                });
                shown = lines.collect();
            }
        }
        shown
    }

    /// The cells of a row, in the same way; one that has the alias itself in it keeps what that stands for.
    pub fn put_into_row(&self, row: &[String]) -> Vec<String> {
        let is_its_own = |name: &str| row.iter().any(|cell| cell.strip_prefix('@') == Some(name));
        let others = self.named.iter().filter(|(name, _)| !is_its_own(name));
        let others = Self { named: others.map(|(n, t)| (n.clone(), t.clone())).collect(), ..Self::default() };
        row.iter().map(|cell| others.put_into(cell)).collect()
    }

    /// The alias of exactly this peer or mint.
    pub fn of(&self, text: &str) -> Option<&str> {
        self.named.iter().find(|(_, target)| target.to_string() == text).map(|(name, _)| name.as_str())
    }

    /// Puts the aliases beside what they name: `mint_alias` beside `mint`, `mints_alias` beside a list.
    pub fn beside(&self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.beside(value)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|value| self.beside(value));
                let found: Vec<_> =
                    fields.iter().filter_map(|(name, value)| Some((name, self.alias_in(value)?))).collect();
                let found: Vec<_> = found.into_iter().map(|(name, alias)| (format!("{name}_alias"), alias)).collect();
                fields.extend(found);
            }
            _ => {}
        }
    }

    fn alias_in(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => self.of(text).map(Value::from),
            Value::Array(values) => {
                let aliases: Vec<_> =
                    values.iter().map(|value| value.as_str().and_then(|text| self.of(text))).collect();
                aliases.iter().any(Option::is_some).then(|| aliases.into())
            }
            _ => None,
        }
    }
}

/// Whether it can be told from everything else on a command line.
fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_word) && name.len() <= MAX_ALIAS_CHARS
}

/// Replaces a word where it isn't part of another: of an address, say.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let joined = |c: char| c.is_alphanumeric() || "/_-".contains(c);
        let is_whole = !before.ends_with(|c| joined(c) || c == ':') && !after.starts_with(joined);
        shown.push_str(before);
        shown.push_str(if is_whole { by } else { word });
        rest = after;
    }
    shown + rest
}

/// Why an alias can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The file.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Not what a file of aliases holds.
    #[error("aliases.toml is not TOML: a line each, NAME = \"PEER or MINT\"")]
    Damaged,
    /// Not a name.
    #[error("{0} is no name for an alias: lower-case letters, digits and -, a letter first, {MAX_ALIAS_CHARS} at most")]
    Name(String),
    /// Neither a peer nor a mint.
    #[error("{0} is neither a peer (its ID or DID) nor the URL of a mint")]
    Target(String),
    /// It names another.
    #[error("@{name} is {target} already")]
    Taken {
        /// The name.
        name: String,
        /// What it stands for.
        target: String,
    },
    /// There is none.
    #[error("there is no alias @{0}")]
    Unknown(String),
    /// No place for more.
    #[error("there are {MAX_ALIASES} aliases already")]
    TooMany,
}

impl AtFault for AliasError {
    fn fault(&self) -> Fault {
        match self {
            Self::Home(error) => error.fault(),
            _ => Fault::Ours,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Home(error) => error.hint(),
            Self::Damaged => Some("mend it, or remove it: it lies in the home folder"),
            Self::Name(_) => Some("such as bank, or seller-2"),
            Self::Target(_) => Some("`guilder peers` and `guilder wallet mints` print them"),
            Self::Taken { .. } => Some("choose another name, or first: `guilder alias remove NAME`"),
            Self::Unknown(_) => Some("`guilder alias list` prints those that there are"),
            Self::TooMany => Some("remove some: `guilder alias remove NAME`"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsStr;

    use guilder_protocol::cbor::cid_of;

    use super::*;
    use crate::events::{Event, Side};

    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

    fn aliases() -> Aliases {
        let mut aliases = Aliases::default();
        aliases.add("bank", format!("p2p://mint/{PEER}").parse().unwrap()).unwrap();
        aliases.add("@ann", PEER.parse().unwrap()).unwrap();
        aliases
    }

    #[test]
    fn an_alias_stands_for_what_it_names_as_an_argument_and_nowhere_within_one() {
        let args =
            ["guilder", "hire", "a.b", "--seller", "@ann", "--mint=@bank", "me@ann", "--label=x@ann", "@", "@Ann"];
        let expanded = aliases().expand(args.map(OsString::from)).unwrap();
        let mint = format!("--mint=p2p://mint/{PEER}");
        let expected = ["guilder", "hire", "a.b", "--seller", PEER, &mint, "me@ann", "--label=x@ann", "@", "@Ann"];
        assert_eq!(expanded, expected.map(OsStr::new));
        let free = ["hire", "--label", "@bob", "--id=@bob"].map(OsString::from);
        assert_eq!(aliases().expand(free.clone()).unwrap(), free);
        let unknown = aliases().expand([OsString::from("@bob")]).unwrap_err();
        assert!(matches!(&unknown, AliasError::Unknown(name) if name == "bob"), "{unknown}");
    }

    #[test]
    fn what_people_read_names_it_and_addresses_stay_whole() {
        let shown = |text: &str| aliases().put_into(text);
        assert_eq!(shown(&format!("12 sat at p2p://mint/{PEER}.\n")), "12 sat at @bank.\n");
        assert_eq!(shown(&format!("guilder hire a.b --seller {PEER}, say")), "guilder hire a.b --seller @ann, say");
        for same in [format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}"), format!("{PEER}x"), format!("peer  {PEER} (@ann)")] {
            assert_eq!(shown(&same), same);
        }
    }

    #[test]
    fn who_has_an_id_that_ends_like_a_named_peer_s_is_never_called_by_that_name() {
        let (ann, aliases) = (PEER.parse::<Named>().unwrap(), aliases());
        let Named::Peer(ann) = ann else { panic!("{ann}") };
        let stranger = AgentId::from_bytes([7; 32]);
        assert_eq!(aliases.name(&ann), "@ann");
        assert_eq!(aliases.name(&stranger), last_letters(&stranger));
        // As its events, and texts that have last letters alone, would read.
        let impostor = format!("{} offers it, like p2p://mint/…o7R3pq", last_letters(&ann));
        assert_eq!(aliases.put_into(&impostor), impostor);
        assert_eq!(aliases.put_into_row(std::slice::from_ref(&impostor)), [impostor]);
        // Where the events tell the whole ID, the name is put in.
        let event = |peer| Event::Declined { task: cid_of(b"ask"), side: Side::Buyer, peer, reason: "busy".into() };
        assert_eq!(event(ann).say_with(&|peer| aliases.name(peer)), "@ann declines: busy");
        assert_eq!(event(stranger).say_with(&|peer| aliases.name(peer)), event(stranger).say());
    }

    #[test]
    fn json_has_both() {
        let mut value =
            serde_json::json!([{ "seller": PEER, "mints": [format!("p2p://mint/{PEER}"), "https://m"], "n": 1 }]);
        aliases().beside(&mut value);
        assert_eq!(value[0]["seller"], PEER);
        assert_eq!(value[0]["seller_alias"], "ann");
        assert_eq!(value[0]["mints_alias"], serde_json::json!(["bank", null]));
        assert!(value[0].get("n_alias").is_none());
    }

    #[test]
    fn aliases_are_written_down_and_read_again_and_what_is_no_alias_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aliases.toml");
        assert_eq!(Aliases::load(&path).unwrap(), Aliases::default());
        aliases().store(&path).unwrap();
        let mut read = Aliases::load(&path).unwrap();
        assert_eq!(read, aliases());
        for name in ["", "Bank", "1bank", "a b", "a\nb", &"a".repeat(MAX_ALIAS_CHARS + 1)] {
            assert!(matches!(read.add(name, PEER.parse().unwrap()), Err(AliasError::Name(_))), "{name:?}");
        }
        assert!(matches!(read.add("bank", PEER.parse().unwrap()), Err(AliasError::Taken { .. })));
        assert!(matches!("mint.example".parse::<Named>(), Err(AliasError::Target(_))));
        read.remove("@bank").unwrap();
        assert!(matches!(read.remove("bank"), Err(AliasError::Unknown(_))));
        std::fs::write(&path, "bank = \n").unwrap();
        assert!(matches!(Aliases::load(&path), Err(AliasError::Damaged)));
    }

    #[test]
    fn an_entry_that_is_no_alias_costs_no_other_and_stays_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aliases.toml");
        std::fs::write(&path, format!("Bad = \"{PEER}\"\nann = \"{PEER}\"\nbank = \"mint.example\"\nmint = 3\n"))
            .unwrap();
        let mut read = Aliases::load(&path).unwrap();
        assert_eq!(read.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["ann"]);
        let skipped: Vec<_> = read.skipped().collect();
        assert_eq!(skipped.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["Bad", "bank", "mint"]);
        assert!(skipped[1].1.contains("mint.example is neither a peer"), "{skipped:?}");
        assert!(matches!(read.stands_for("@bank"), Err(AliasError::Unknown(_))));
        read.add("ben", PEER.parse().unwrap()).unwrap();
        read.store(&path).unwrap();
        assert_eq!(Aliases::load(&path).unwrap(), read, "what was skipped is there to be mended");
        read.add("bank", "https://mint.example".parse().unwrap()).unwrap();
        read.remove("mint").unwrap();
        assert_eq!(read.skipped().map(|(name, _)| name).collect::<Vec<_>>(), ["Bad"]);
    }
}
