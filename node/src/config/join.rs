//! What `--join` names: addresses, an invitation, or a file of them; and what of an invitation is believed.
//!
//! ```text
//!   /ip4/192.0.2.7/tcp/4848/p2p/12D3Koo…   an address
//!   /dnsaddr/swarm.example                 a name whose DNS records hold addresses
//!   guilderinvite1…                        an invitation
//!   FILE                                   one of these a line; empty lines and those that begin with # are skipped
//! ```
//!
//! An address is what the operator typed. An invitation comes from somebody: it is held to what one made by `guilder invite` holds, it
//! names no private addresses unless the operator expects them, and it is shown before anything is made of it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    invitation::{self, Invitation, InvitationError, InvitedMint, MintPin},
    market::{MintUrl, Unit},
};
use libp2p::{Multiaddr, multiaddr::Protocol};
use url::{Host, Url};

use super::{AddressError, joinable};
use crate::limits::{MAX_JOIN_FILE, MAX_JOINED};

/// Whom to begin with, and what an invitation adds to that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joining {
    /// For `network.bootstrap`.
    pub bootstrap: Vec<Multiaddr>,
    /// What was said by somebody else, and is to be accepted; none if no invitation was given.
    pub invited: Option<Invited>,
}

/// What invitations ask to be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invited {
    /// Whom they name, with their addresses.
    pub peers: BTreeMap<AgentId, Vec<Multiaddr>>,
    /// Mints, each with the fingerprint of its keys if the inviter knew it.
    pub mints: BTreeMap<MintUrl, Option<MintPin>>,
    /// The unit to pay in.
    pub unit: Option<Unit>,
}

/// Where addresses of an invitation may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// On the internet.
    Public,
    /// Also on this machine and its networks.
    Local,
}

impl Joining {
    /// Reads what `--join` was given.
    ///
    /// # Errors
    /// If one of them is none of the four, or an invitation holds what it may not. Nothing was changed.
    pub fn read(given: &[String], within: Where) -> Result<Self, JoinError> {
        let mut joining = Self::default();
        for text in given {
            if invitation::is_meant(text) || text.parse::<Multiaddr>().is_ok() {
                joining.add(text, within)?;
            } else if Path::new(text).exists() {
                joining.add_file(Path::new(text), within)?;
            } else {
                let cause = joinable(text).err().unwrap_or(AddressError::NoPeer);
                return Err(JoinError::Address { text: text.clone(), cause });
            }
        }
        Ok(joining)
    }

    fn add_file(&mut self, path: &Path, within: Where) -> Result<(), JoinError> {
        let fail = |cause| JoinError::File { path: path.to_owned(), cause };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MAX_JOIN_FILE + 1).read_to_string(&mut text)).map_err(fail)?;
        if text.len() as u64 > MAX_JOIN_FILE {
            return Err(JoinError::TooMany);
        }
        let lines = text.lines().map(str::trim).enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let in_file = |cause| JoinError::Line { path: path.to_owned(), line: number + 1, cause: Box::new(cause) };
            self.add(line, within).map_err(in_file)?;
        }
        Ok(())
    }

    fn add(&mut self, text: &str, within: Where) -> Result<(), JoinError> {
        if invitation::is_meant(text) {
            let invitation: Invitation = text.parse()?;
            self.accept(&invitation, within)?;
        } else {
            let address = joinable(text).map_err(|cause| JoinError::Address { text: text.to_owned(), cause })?;
            self.begin_with(address);
        }
        if self.bootstrap.len() > MAX_JOINED { Err(JoinError::TooMany) } else { Ok(()) }
    }

    fn begin_with(&mut self, address: Multiaddr) {
        if !self.bootstrap.contains(&address) {
            self.bootstrap.push(address);
        }
    }

    /// Takes an invitation whose every address and mint is one that `guilder invite` can have put there.
    fn accept(&mut self, invitation: &Invitation, within: Where) -> Result<(), JoinError> {
        let mut invited = self.invited.take().unwrap_or_default();
        for peer in &invitation.peers {
            for text in &peer.addresses {
                let text = format!("{text}/p2p/{}", peer.agent.peer_id());
                let address = joinable(&text).map_err(|cause| JoinError::Address { text: text.clone(), cause })?;
                check_place(&address, within)?;
                let known = invited.peers.entry(peer.agent).or_default();
                if !known.contains(&address) {
                    known.push(address.clone());
                }
                self.begin_with(address);
            }
        }
        for InvitedMint { url, pin } in &invitation.mints {
            if !url.is_known() {
                // Of a scheme that a later version knows: this one can't reach it.
                continue;
            }
            check_mint(url, within)?;
            let known = invited.mints.entry(url.clone()).or_insert(*pin);
            match (&known, pin) {
                (Some(known), Some(pin)) if known != pin => return Err(JoinError::Contradicts(url.clone())),
                (None, Some(pin)) => *known = Some(*pin),
                _ => {}
            }
        }
        invited.unit = invited.unit.or_else(|| invitation.unit.clone());
        self.invited = Some(invited);
        Ok(())
    }
}

/// How far an IP address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody is reached there: it stands for any or many, or for nothing.
    Nobody,
    /// This machine or its networks.
    Local,
    /// Everywhere.
    Everywhere,
}

/// How far an IP address reaches. An IPv4 address in IPv6 is judged as what it is.
pub fn reach(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        IpAddr::V4(ip) => reach4(ip),
        IpAddr::V6(ip) => reach6(ip),
    }
}

fn reach4(ip: Ipv4Addr) -> Reach {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && second & 0xc0 == 64; // RFC 6598, behind a carrier's NAT
    if first == 0 || first >= 224 {
        Reach::Nobody
    } else if ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared {
        Reach::Local
    } else {
        Reach::Everywhere
    }
}

fn reach6(ip: Ipv6Addr) -> Reach {
    if ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() {
        Reach::Local
    } else if ip.is_multicast() || ip.segments()[..6] == [0; 6] || is_translated(ip) {
        Reach::Nobody
    } else {
        Reach::Everywhere
    }
}

/// Stands for an IPv4 address, which may be any: NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn is_translated(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    segments[..2] == [0x64, 0xff9b] || segments[0] == 0x2002
}

/// How far an address of a peer reaches; none if it begins with no IP address.
pub fn reach_of(address: &Multiaddr) -> Option<Reach> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(reach(ip.into())),
        Protocol::Ip6(ip) => Some(reach(ip.into())),
        _ => None,
    }
}

fn check_place(address: &Multiaddr, within: Where) -> Result<(), JoinError> {
    match (reach_of(address), within) {
        (Some(Reach::Everywhere), _) | (Some(Reach::Local), Where::Local) => Ok(()),
        (Some(Reach::Local), Where::Public) => Err(JoinError::Private(address.to_string())),
        (Some(Reach::Nobody), _) => Err(JoinError::Nobody(address.to_string())),
        // What a name stands for can change after it was shown.
        (None, _) => Err(JoinError::Name(address.to_string())),
    }
}

/// Whether a mint that is named by somebody else may be called: never one on this machine or its networks, nor in clear, unless the
/// operator expects that.
pub fn check_mint(url: &MintUrl, within: Where) -> Result<(), JoinError> {
    if url.peer().is_some() {
        return Ok(());
    }
    let private = || JoinError::PrivateMint(url.clone());
    let parsed = Url::parse(url.as_str()).map_err(|_| private())?;
    let reach = match parsed.host().ok_or_else(private)? {
        Host::Ipv4(ip) => reach(ip.into()),
        Host::Ipv6(ip) => reach(ip.into()),
        Host::Domain(name) => {
            let last = name.rsplit('.').next().unwrap_or_default();
            let is_local = !name.contains('.')
                || ["localhost", "local", "localdomain", "internal", "lan", "home"].contains(&last)
                || name.ends_with(".home.arpa");
            if is_local { Reach::Local } else { Reach::Everywhere }
        }
    };
    match (reach, within) {
        (Reach::Nobody, _) | (Reach::Local, Where::Public) => Err(private()),
        (Reach::Everywhere, Where::Public) if parsed.scheme() != "https" => Err(JoinError::ClearMint(url.clone())),
        _ => Ok(()),
    }
}

/// Why `--join` can't be obeyed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Neither an address that can be joined nor a file.
    #[error("{text}: {cause}")]
    Address {
        /// What was given.
        text: String,
        /// Why it is none.
        cause: AddressError,
    },
    /// Not an invitation that can be used.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// An address on this machine or its networks.
    #[error("the invitation names an address of this machine or a local network: {0}")]
    Private(String),
    /// An address of nobody.
    #[error("the invitation names an address at which nobody is reached: {0}")]
    Nobody(String),
    /// An address that begins with a name.
    #[error("the invitation names an address whose host is a name: {0}")]
    Name(String),
    /// A mint on this machine or its networks.
    #[error("the invitation names a mint on this machine or a local network: {0}")]
    PrivateMint(MintUrl),
    /// A mint that is called in clear.
    #[error("the invitation names a mint that is called without encryption: {0}")]
    ClearMint(MintUrl),
    /// Two invitations know one mint by different keys.
    #[error("two invitations name the mint {0} with different keys")]
    Contradicts(MintUrl),
    /// More than a node begins with.
    #[error("more than {MAX_JOINED} addresses to begin with")]
    TooMany,
    /// A line of a file.
    #[error("{}, line {line}: {cause}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        cause: Box<Self>,
    },
    /// The file can't be read.
    #[error("can't read {}: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl AtFault for JoinError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Invitation(error) => error.hint(),
            Self::Line { cause, .. } => cause.hint(),
            Self::Address { .. } => Some(
                "--join takes an address, as `guilder status` prints it, an invitation, /dnsaddr/NAME, or a file of these",
            ),
            Self::Private(_) | Self::PrivateMint(_) | Self::ClearMint(_) => Some(
                "if you know whoever invites you, and are on one network or machine with them, say --local; else don't trust it",
            ),
            Self::Nobody(_) | Self::Name(_) => {
                Some("whoever made it didn't do so with `guilder invite`: don't trust it")
            }
            Self::Contradicts(_) => Some("one of them is out of date or false: ask both for new ones"),
            Self::TooMany => Some("a few that are up for long are enough: the others are found through them"),
            Self::File { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::invitation::InvitedPeer;

    use super::*;

    const PEER: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

    fn invitation(addresses: &[&str], mints: &[&str]) -> String {
        let peer = InvitedPeer {
            agent: AgentId::from_peer_id(PEER).unwrap(),
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        };
        let pin = Some([7; 16].into());
        let mints = mints.iter().map(|url| InvitedMint { url: url.parse().unwrap(), pin }).collect();
        Invitation { peers: vec![peer], mints, unit: Some("play".parse().unwrap()) }.to_string()
    }

    fn read(text: &str, within: Where) -> Result<Joining, JoinError> {
        Joining::read(&[text.to_owned()], within)
    }

    #[test]
    fn an_address_is_the_operators_and_an_invitation_has_to_be_accepted() {
        let address = format!("/ip4/10.0.0.7/tcp/4848/p2p/{PEER}");
        let joining = read(&address, Where::Public).unwrap();
        assert_eq!((joining.bootstrap.len(), joining.invited), (1, None));
        assert!(read("/dnsaddr/swarm.example", Where::Public).unwrap().invited.is_none());

        let text = invitation(&["/ip4/192.0.2.7/tcp/1", "/ip6/2001:db8::7/udp/1/quic-v1"], &["https://mint.example"]);
        let joining = Joining::read(&[text.clone(), address, text], Where::Public).unwrap();
        assert_eq!(joining.bootstrap.len(), 3, "each once");
        let invited = joining.invited.unwrap();
        assert_eq!((invited.peers.len(), invited.unit), (1, Some("play".parse().unwrap())));
        assert_eq!(
            invited.mints.into_iter().collect::<Vec<_>>(),
            [("https://mint.example".parse().unwrap(), Some([7; 16].into()))]
        );
    }

    #[test]
    fn a_file_holds_one_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.txt");
        let text = invitation(&["/ip4/192.0.2.7/tcp/1"], &[]);
        std::fs::write(&path, format!("# seeds\n\n/ip4/192.0.2.9/tcp/4848/p2p/{PEER}\r\n  {text}\n")).unwrap();
        let given = path.display().to_string();
        assert_eq!(read(&given, Where::Public).unwrap().bootstrap.len(), 2);
        std::fs::write(&path, "/ip4/192.0.2.9/tcp/4848\n").unwrap();
        assert!(
            read(&given, Where::Public)
                .unwrap_err()
                .to_string()
                .contains("line 1: /ip4/192.0.2.9/tcp/4848: it names no peer")
        );
        let many: String = (1..=MAX_JOINED + 1).map(|port| format!("/ip4/192.0.2.9/tcp/{port}/p2p/{PEER}\n")).collect();
        std::fs::write(&path, many).unwrap();
        assert!(matches!(read(&given, Where::Public), Err(JoinError::Line { .. })));
        std::fs::write(&path, "#".repeat(MAX_JOIN_FILE as usize + 1)).unwrap();
        assert!(matches!(read(&given, Where::Public), Err(JoinError::TooMany)));
        assert!(matches!(read("/nowhere/at-all", Where::Public), Err(JoinError::Address { .. })));
        assert!(matches!(read("swarm.example", Where::Public), Err(JoinError::Address { .. })));
    }

    #[test]
    fn an_invitation_leads_nobody_into_their_own_network() {
        use JoinError as E;
        let of = |address: &str, within| read(&invitation(&[address], &[]), within).map(drop);
        for private in [
            "/ip4/127.0.0.1/tcp/80",
            "/ip4/10.1.2.3/tcp/80",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/100.64.0.1/tcp/80",
            "/ip6/::1/tcp/80",
            "/ip6/fe80::1/tcp/80",
            "/ip6/fd00::1/udp/80/quic-v1",
            "/ip6/::ffff:127.0.0.1/tcp/80",
        ] {
            assert!(matches!(of(private, Where::Public), Err(E::Private(_))), "{private}");
            assert!(of(private, Where::Local).is_ok(), "{private}");
        }
        for nobody in [
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip4/0.1.2.3/tcp/1",
            "/ip6/ff02::1/tcp/1",
            "/ip6/64:ff9b::7f00:1/tcp/1",
            "/ip6/2002:7f00:1::1/tcp/1",
            "/ip6/::7f00:1/tcp/1",
        ] {
            assert!(matches!(of(nobody, Where::Local), Err(E::Nobody(_))), "{nobody}");
        }
        for name in ["/dns4/mint.example/tcp/1", "/dns/localhost/tcp/1"] {
            assert!(matches!(of(name, Where::Local), Err(E::Name(_))), "{name}");
        }
        for bad in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/192.0.2.7/tcp/0",
            "/ip4/192.0.2.7/udp/1",
            "/unix/run",
            "/ip4/192.0.2.7/tcp/1/ws",
        ] {
            assert!(matches!(of(bad, Where::Local), Err(E::Address { .. } | E::Nobody(_))), "{bad}");
        }
    }

    #[test]
    fn an_invitation_has_nobody_call_their_own_machines_as_mints() {
        let of = |url: &str, within| read(&invitation(&["/ip4/192.0.2.7/tcp/1"], &[url]), within).map(drop);
        for private in [
            "https://127.0.0.1",
            "https://10.0.0.1:8443/x",
            "https://[::1]",
            "https://[::ffff:10.0.0.1]",
            "https://localhost",
            "https://router",
            "https://printer.local",
            "https://nas.home.arpa",
            "https://nas.localdomain",
            "http://169.254.169.254",
        ] {
            assert!(matches!(of(private, Where::Public), Err(JoinError::PrivateMint(_))), "{private}");
            assert!(of(private, Where::Local).is_ok(), "{private}");
        }
        assert!(matches!(of("http://mint.example", Where::Public), Err(JoinError::ClearMint(_))));
        assert!(of("https://mint.example/Bitcoin", Where::Public).is_ok());
        assert!(of(&format!("p2p://mint/{PEER}"), Where::Public).is_ok());
    }

    #[test]
    fn two_invitations_that_disagree_on_a_mints_keys_are_refused() {
        let one = invitation(&["/ip4/192.0.2.7/tcp/1"], &["https://mint.example"]);
        let mut other: Invitation = one.parse().unwrap();
        other.mints[0].pin = Some([8; 16].into());
        let refused = Joining::read(&[one, other.to_string()], Where::Public).unwrap_err();
        assert!(matches!(refused, JoinError::Contradicts(_)));
    }
}
