//! `--join`: whom a new node begins with, and what it trusts by accepting an invitation.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Context, prompt::confirm};
use crate::{
    api::types::{InvitedMint, InvitedPeer},
    config::{
        Chosen,
        join::{Invited, Joining, Where},
    },
    console::CliError,
};

/// Whom to begin with.
#[derive(Debug, clap::Args)]
pub(super) struct JoinArgs {
    /// Begin with this: an invitation (`guilder invite`), an address of a node as its `guilder status` prints it, /dnsaddr/NAME, or a
    /// file with one of these a line. May be given several times.
    #[arg(long, value_name = "WHOM")]
    join: Vec<String>,
    /// Accept what an invitation names without being asked.
    #[arg(long, requires = "join")]
    yes: bool,
    /// Take an invitation that names addresses of this machine or its networks, too.
    #[arg(long, requires = "join")]
    local: bool,
}

/// What was accepted of invitations.
#[derive(Debug, Serialize)]
pub(super) struct Accepted {
    peers: Vec<InvitedPeer>,
    mints: Vec<InvitedMint>,
    unit: Option<String>,
}

impl JoinArgs {
    /// Whether anybody is named.
    pub(super) fn is_given(&self) -> bool {
        !self.join.is_empty()
    }

    /// Reads what was given.
    ///
    /// # Errors
    /// If something of it can't be used.
    pub(super) fn read(&self) -> Result<Joining, CliError> {
        Ok(Joining::read(&self.join, if self.local { Where::Local } else { Where::Public })?)
    }

    /// Puts it among the settings of a new node. What an invitation names is shown first, and taken only if that is wanted.
    ///
    /// # Errors
    /// If something of it can't be used, or an invitation isn't accepted.
    pub(super) fn choose(&self, chosen: &mut Chosen, context: &Context) -> Result<Option<Accepted>, CliError> {
        let Joining { bootstrap, invited } = self.read()?;
        if let Some(invited) = &invited {
            self.ask(invited, context)?;
        }
        chosen.bootstrap = bootstrap;
        let Some(invited) = invited else { return Ok(None) };
        for (url, pin) in &invited.mints {
            if !chosen.mints.contains(url) {
                chosen.mints.push(url.clone());
            }
            if let Some(pin) = pin {
                chosen.pins.insert(url.clone(), *pin);
            }
        }
        chosen.unit = chosen.unit.take().or_else(|| invited.unit.clone());
        Ok(Some(Accepted::from(invited)))
    }

    /// Shows what an invitation names, and asks.
    ///
    /// # Errors
    /// If it isn't accepted.
    pub(super) fn ask(&self, invited: &Invited, context: &Context) -> Result<(), CliError> {
        in_words(invited).lines().for_each(|line| context.printer.note(line));
        if self.yes {
            return Ok(());
        }
        match confirm(&context.printer, "Accept? [y/N] ")? {
            Some(true) => Ok(()),
            Some(false) => Err(CliError::usage("the invitation was not accepted", "nothing was changed")),
            None => Err(CliError::usage(
                "an invitation has to be accepted, and there is no terminal to ask at",
                "if you trust whoever made it: --yes",
            )),
        }
    }
}

/// What is trusted by accepting.
fn in_words(invited: &Invited) -> String {
    let mut text = String::from("By accepting this invitation your node\n");
    let _ = writeln!(
        text,
        "  begins with these peers: it keeps connected to them and believes them first about where others are. They see its address, and\n  can't touch its money:"
    );
    for (agent, addresses) in &invited.peers {
        let _ = writeln!(text, "    {}", agent.peer_id());
        addresses.iter().for_each(|address| _ = writeln!(text, "      {address}"));
    }
    if invited.mints.is_empty() {
        let _ = writeln!(text, "  accepts no mint by it");
    } else {
        let _ = writeln!(
            text,
            "  takes the ecash of these mints, and a mint can refuse to pay out all that you hold of it:"
        );
    }
    for (url, pin) in &invited.mints {
        let by = match pin {
            Some(pin) => format!("if it signs by the keys with the fingerprint {pin}"),
            None if url.peer().is_some() => "reached under its peer's key".to_owned(),
            None => "whoever answers there: the inviter hasn't reached it".to_owned(),
        };
        let _ = writeln!(text, "    {url}\n      {by}");
    }
    if let Some(unit) = &invited.unit {
        let _ = writeln!(text, "  spends {unit} where a command names no unit");
    }
    text
}

impl From<Invited> for Accepted {
    fn from(invited: Invited) -> Self {
        let Invited { peers, mints, unit } = invited;
        let texts = |addresses: Vec<crate::network::Multiaddr>| addresses.iter().map(ToString::to_string).collect();
        let peer = |(agent, addresses): (guilder_protocol::identity::AgentId, Vec<_>)| InvitedPeer {
            peer_id: agent.peer_id(),
            addresses: texts(addresses),
        };
        Self {
            peers: peers.into_iter().map(peer).collect(),
            mints: mints.into_iter().map(|(url, pin)| InvitedMint { url, pin }).collect(),
            unit: unit.map(|unit| unit.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::identity::AgentId;

    use super::*;

    #[test]
    fn what_is_trusted_by_accepting_is_said() {
        let agent = AgentId::from_peer_id("12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq").unwrap();
        let address = format!("/ip4/192.0.2.7/tcp/4848/p2p/{}", agent.peer_id()).parse().unwrap();
        let invited = Invited {
            peers: [(agent, vec![address])].into(),
            mints: [
                ("https://mint.example".parse().unwrap(), Some([7; 16].into())),
                ("https://other.example".parse().unwrap(), None),
                (guilder_protocol::market::MintUrl::of_peer(agent), None),
            ]
            .into(),
            unit: Some("sat".parse().unwrap()),
        };
        insta::assert_snapshot!(in_words(&invited));
        insta::assert_snapshot!(in_words(&Invited { mints: [].into(), unit: None, ..invited }));
    }
}
