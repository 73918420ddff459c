//! What brings a new node into the swarm.

use std::collections::BTreeMap;

use guilder_protocol::{
    fault::Fault,
    identity::AgentId,
    invitation,
    limits::{MAX_INVITED_ADDRESS, MAX_INVITED_ADDRESSES, MAX_INVITED_PEERS, MAX_MINTS},
    market::MintUrl,
};

use super::{
    Api,
    caller::{Action, Caller},
    types::{ApiError, InvitationView, Invite, InvitedMint, InvitedPeer},
};
use crate::{
    config::join::{Reach, Where, check_mint, reach_of},
    network::{Multiaddr, agent_in},
};

impl Api {
    /// An invitation: this node where others reach it, the bootstrap peers that it is connected to, the accepted mints with the keys by
    /// which they sign.
    ///
    /// # Errors
    /// If the caller may not, or there is no address that others reach.
    pub async fn invitation(&self, caller: &Caller, invite: &Invite) -> Result<InvitationView, ApiError> {
        caller.may(Action::Look)?;
        let within = if invite.local { Where::Local } else { Where::Public };
        let mut left_out = Vec::new();
        let peers = self.invited_peers(within, &mut left_out).await;
        let mints = self.invited_mints(within, &mut left_out);
        let unit = self.node().config.wallet.unit.clone();
        let invitation = invitation::Invitation {
            peers: peers
                .iter()
                .map(|(agent, addresses)| invitation::InvitedPeer { agent: *agent, addresses: addresses.clone() })
                .collect(),
            mints: mints.iter().map(|mint| invitation::InvitedMint { url: mint.url.clone(), pin: mint.pin }).collect(),
            unit: Some(unit.clone()),
        };
        if invitation.check().is_err() {
            return Err(ApiError::new(
                Fault::Environment,
                "neither this node nor a bootstrap peer that it is connected to has an address that others reach over the internet",
                Some(
                    "for others on this machine or network: `guilder invite --local`; else open a port, see `guilder doctor`"
                        .to_owned(),
                ),
            ));
        }
        let peer = |(agent, addresses): (AgentId, Vec<String>)| InvitedPeer { peer_id: agent.peer_id(), addresses };
        Ok(InvitationView {
            invitation: invitation.to_string(),
            peers: peers.into_iter().map(peer).collect(),
            mints,
            unit,
            left_out,
        })
    }

    /// This node first; each with its addresses that reach far enough, those that reach farther before the others.
    async fn invited_peers(&self, within: Where, left_out: &mut Vec<String>) -> Vec<(AgentId, Vec<String>)> {
        let node = self.node();
        let own = node.config.network.external.iter().cloned().chain(node.network.listen_addrs().await);
        let mut found: Vec<(AgentId, Vec<Multiaddr>)> = vec![(node.id(), own.collect())];
        let mut others = BTreeMap::<AgentId, Vec<Multiaddr>>::new();
        for peer in node.network.bootstraps().await.into_iter().filter(|peer| peer.connected) {
            let (address, agent) = agent_in(&peer.address);
            if let Some(agent) = agent {
                others.entry(agent).or_default().push(address);
            }
        }
        found.extend(others);
        let mut peers = Vec::new();
        for (agent, addresses) in found {
            let chosen = reaching(addresses, within);
            match (chosen.is_empty(), agent == node.id()) {
                (false, _) if peers.len() < MAX_INVITED_PEERS => peers.push((agent, chosen)),
                (true, true) => {
                    left_out.push("this node: it listens at no address that others reach over the internet".to_owned())
                }
                _ => left_out.push(format!("{}: its address reaches no farther than this network", agent.peer_id())),
            }
        }
        peers
    }

    fn invited_mints(&self, within: Where, left_out: &mut Vec<String>) -> Vec<InvitedMint> {
        let known = self.node().wallet.mints();
        let pin_of = |url: &MintUrl| {
            known.iter().find(|mint| mint.url == *url || mint.also.contains(url)).and_then(|mint| mint.pin)
        };
        let hosted = self.node().mint_url().into_iter();
        let mut mints: Vec<InvitedMint> = Vec::new();
        for url in hosted.chain(known.iter().map(|mint| mint.url.clone())) {
            if mints.iter().any(|mint| mint.url == url) {
                continue;
            }
            match check_mint(&url, within) {
                Err(_) => left_out.push(format!("{url}: others don't reach it, or in clear alone")),
                Ok(()) if mints.len() == MAX_MINTS => {
                    left_out.push(format!("{url}: an invitation names {MAX_MINTS} mints"))
                }
                Ok(()) => {
                    let pin = pin_of(&url);
                    mints.push(InvitedMint { url, pin });
                }
            }
        }
        mints
    }
}

/// Of a peer's addresses those that are worth passing on, as text.
fn reaching(addresses: Vec<Multiaddr>, within: Where) -> Vec<String> {
    let of = |reach: Reach| addresses.iter().filter(move |address| reach_of(address) == Some(reach));
    let everywhere = of(Reach::Everywhere);
    let local = of(Reach::Local).filter(|_| within == Where::Local);
    let mut chosen = Vec::new();
    for text in everywhere.chain(local).map(ToString::to_string) {
        if text.len() <= MAX_INVITED_ADDRESS && !chosen.contains(&text) && chosen.len() < MAX_INVITED_ADDRESSES {
            chosen.push(text);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_reaches_farther_comes_first_and_what_nobody_reaches_not_at_all() {
        let addresses = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/192.0.2.7/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/192.0.2.7/tcp/1",
        ];
        let addresses: Vec<Multiaddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(reaching(addresses.clone(), Where::Public), ["/ip4/192.0.2.7/tcp/1"]);
        let local = ["/ip4/192.0.2.7/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"];
        assert_eq!(reaching(addresses, Where::Local), local);
    }
}
