//! The market's small vocabularies: names of services, units and mints. Each is checked when it is read.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::{MAX_MINT_URL, MAX_SERVICE_NAME, MAX_UNIT},
};

const P2P_MINT: &str = "p2p://mint/";
/// The schemes that this version knows.
const SCHEMES: [&str; 3] = ["https", "http", "p2p"];

/// The name of a service, e.g. `text.summarize`: lower-case words of letters, digits and `-`, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// A unit of account at a mint, e.g. `sat` or `play` (NUT-01): 1 to 16 lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Unit(String);

/// Where a mint is reached: `https://…`, `http://…`, or `p2p://mint/<peer id>` over libp2p. Text is parsed to one of these; what
/// comes in a statement may have a scheme of a later version, and then nobody here can pay there.
///
/// Always in its one canonical form, in which URLs of one place are equal: scheme and host in lower case, the host without a
/// dot at its end, IP addresses as they are written shortest, no port that is the scheme's own, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MintUrl(String);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Unit {
    /// The unit as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MintUrl {
    /// The URL of the mint that the agent hosts under its own peer ID.
    pub fn of_peer(agent: AgentId) -> Self {
        Self(format!("{P2P_MINT}{}", agent.peer_id()))
    }

    /// The agent that hosts the mint, if it is reached over libp2p.
    pub fn peer(&self) -> Option<AgentId> {
        AgentId::from_peer_id(self.0.strip_prefix(P2P_MINT)?).ok()
    }

    /// Whether this version knows how such a mint is reached.
    pub fn is_known(&self) -> bool {
        self.0.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if text.len() <= MAX_SERVICE_NAME && text.split('.').all(word) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Service)
        }
    }
}

impl FromStr for Unit {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=MAX_UNIT).contains(&text.len());
        if fits && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Unit)
        }
    }
}

impl TryFrom<String> for MintUrl {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let is_later = text.split_once("://").is_some_and(|(scheme, rest)| {
            let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
                && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
            let is_visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
            is_scheme && is_visible && !rest.is_empty() && !SCHEMES.contains(&scheme) && text.len() <= MAX_MINT_URL
        });
        if is_later { Ok(Self(text)) } else { text.parse() }
    }
}

impl FromStr for MintUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim_end_matches('/');
        if text.len() > MAX_MINT_URL || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(NameError::Mint);
        }
        let (scheme, rest) = text.split_once("://").ok_or(NameError::Mint)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let own_port = match scheme.to_ascii_lowercase().as_str() {
            "p2p" if authority.eq_ignore_ascii_case("mint") => {
                let peer = path.strip_prefix('/').and_then(|peer| AgentId::from_peer_id(peer).ok());
                // A peer ID has one spelling only: what is read is what would be written.
                let is_canonical = peer.is_some() && text.starts_with(P2P_MINT);
                return if is_canonical {
                    Ok(Self(text.into()))
                } else {
                    peer.map(Self::of_peer).ok_or(NameError::Mint)
                };
            }
            "https" => 443,
            "http" => 80,
            _ => return Err(NameError::Mint),
        };
        let is_plain =
            !path.contains(['@', '?', '#', '\\']) && !path.split('/').any(|part| [".", ".."].contains(&part));
        let (host, port) = read_authority(authority).filter(|_| is_plain).ok_or(NameError::Mint)?;
        let port = port.filter(|port| *port != own_port).map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self(format!("{}://{host}{port}{path}", scheme.to_ascii_lowercase())))
    }
}

/// The host in its canonical form, and the port.
fn read_authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            (format!("[{}]", ip.parse::<Ipv6Addr>().ok()?), port.strip_prefix(':').unwrap_or(port))
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (read_host(host)?, port)
        }
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if port.is_empty() { Some((host, None)) } else { Some((host, Some(port.parse().ok().filter(|_| is_port)?))) }
}

/// A name, or an IPv4 address in its usual form: others, as `127.1`, are read as an address by some and as a name by others.
fn read_host(text: &str) -> Option<String> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let is_name = host.split('.').all(is_part) && !host.rsplit('.').next().is_some_and(is_number);
    (is_name || host.parse::<Ipv4Addr>().is_ok()).then_some(host)
}

macro_rules! text_name {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}
text_name!(ServiceName, Unit, MintUrl);

macro_rules! parsed_name {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
    )*};
}
parsed_name!(ServiceName, Unit);

/// Why a text isn't the name it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the name of a service.
    #[error("not the name of a service: lower-case words joined by dots, e.g. text.summarize, at most 64 characters")]
    Service,
    /// Not a unit.
    #[error("not a unit: 1 to 16 lower-case letters and digits, e.g. sat")]
    Unit,
    /// Not a settlement mode.
    #[error("not a way to pay: 1 to 64 lower-case letters, digits, '-', '_' and '.', e.g. prepaid")]
    Mode,
    /// Not a mint's URL.
    #[error("not the URL of a mint: https://…, http://… or p2p://mint/<peer id>, at most 256 characters")]
    Mint,
}

impl AtFault for NameError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_dotted_lower_case() {
        for good in ["echo", "text.summarize", "a.b-c.d2"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", ".", "a.", ".a", "a..b", "Text.x", "text.2x", "text x", "text/x", "té.x", &long] {
            assert_eq!(bad.parse::<ServiceName>(), Err(NameError::Service), "{bad}");
        }
    }

    #[test]
    fn mints_are_reached_by_http_or_by_peer() {
        let peer = "p2p://mint/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
        for good in ["https://mint.example/Bitcoin", "http://127.0.0.1:3338", "http://[::1]:1", peer] {
            assert!(good.parse::<MintUrl>().is_ok(), "{good}");
        }
        for bad in
            ["", "mint.example", "https://", "https://a@b", "ftp://x", "p2p://mint/x", "https://a b", "https:///x"]
        {
            assert_eq!(bad.parse::<MintUrl>(), Err(NameError::Mint), "{bad}");
        }
        assert!(peer.parse::<MintUrl>().is_ok_and(|url| url.peer().is_some_and(|id| MintUrl::of_peer(id) == url)));
        assert_eq!("https://a/".parse::<MintUrl>(), "https://a".parse());
    }

    #[test]
    fn urls_of_one_place_are_one_text() {
        let peer = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
        for (one, texts) in [
            (
                "https://mint.example",
                &[
                    "HTTPS://Mint.Example",
                    "https://mint.example.",
                    "https://mint.example:443/",
                    "https://MINT.example.:0443//",
                    "https://mint.example:",
                ][..],
            ),
            ("https://mint.example:80/Bitcoin", &["https://Mint.example:80/Bitcoin/"]),
            ("http://localhost:3338", &["http://LOCALHOST:3338", "Http://localhost.:3338/"]),
            ("http://localhost", &["http://localhost:80"]),
            ("http://[::1]:1", &["http://[0:0:0:0:0:0:0:1]:1", "HTTP://[::0001]:01/"]),
            (&format!("p2p://mint/{peer}"), &[&format!("P2P://Mint/{peer}/")]),
        ] {
            for text in texts {
                assert_eq!(text.parse::<MintUrl>().map(String::from).as_deref(), Ok(one), "{text}");
                assert_eq!(MintUrl::try_from((*text).to_owned()).map(String::from).as_deref(), Ok(one), "{text}");
            }
            assert_eq!(one.parse::<MintUrl>().map(String::from).as_deref(), Ok(one));
        }
        // The path is its mint's own.
        assert_ne!("https://a/Bitcoin".parse::<MintUrl>(), "https://a/bitcoin".parse());
        for bad in [
            "https://127.1",
            "https://0x7f.1",
            "https://mint.example:65536",
            "https://mint.example:+1",
            "https://a..b",
            "https://.",
            "https://[::1",
            "https://[::1]x",
            "https://a%2eb",
            "https://a/./b",
            "https://a/../b",
        ] {
            assert_eq!(bad.parse::<MintUrl>(), Err(NameError::Mint), "{bad}");
        }
    }

    #[test]
    fn a_mint_of_a_later_scheme_is_read_in_a_statement_and_nowhere_else() {
        let read = |text: &str| MintUrl::try_from(text.to_owned());
        for later in ["onion://abc.onion/mint", "https+tor://x"] {
            assert!(read(later).is_ok_and(|url| !url.is_known() && url.peer().is_none()), "{later}");
            assert_eq!(later.parse::<MintUrl>(), Err(NameError::Mint), "{later}");
        }
        let long = format!("x://{}", "a".repeat(MAX_MINT_URL));
        for bad in ["x://", "://x", "X://x", "x://a b", "p2p://mint/x", "http://", "mint.example", &long] {
            assert_eq!(read(bad), Err(NameError::Mint), "{bad}");
        }
        assert!(read("https://mint.example").is_ok_and(|url| url.is_known()));
    }
}
