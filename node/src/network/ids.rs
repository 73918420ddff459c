//! One identity, two spellings: libp2p's peer ID and our [`AgentId`] carry the same key.

use guilder_protocol::identity::AgentId;
use libp2p::PeerId;

/// The protobuf public key inside an Ed25519 peer ID: `Type = Ed25519 (1)`, `Data` of 32 bytes.
const KEY_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// The identity multihash of those 36 bytes.
const MULTIHASH_PREFIX: [u8; 2] = [0x00, 0x24];

/// The agent behind a peer ID; `None` if its key isn't Ed25519, which no agent's is.
pub(super) fn agent_of(peer: &PeerId) -> Option<AgentId> {
    let key = peer.as_ref().digest().strip_prefix(&KEY_PREFIX)?;
    let identity = peer.as_ref().code() == u64::from(MULTIHASH_PREFIX[0]);
    identity.then_some(AgentId::from_bytes(key.try_into().ok()?))
}

/// The peer ID of an agent.
pub(super) fn peer_of(agent: AgentId) -> PeerId {
    let bytes = [&MULTIHASH_PREFIX[..], &KEY_PREFIX, agent.as_bytes()].concat();
    #[allow(clippy::expect_used)] // any 36 bytes under an identity multihash are a peer ID
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer ID")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use guilder_protocol::identity::AgentKey;

    use super::*;

    #[test]
    fn both_spellings_are_the_same_key() {
        let agent = AgentKey::from_seed(&[3; 32]).id();
        let peer = peer_of(agent);
        assert_eq!(peer.to_base58(), agent.peer_id());
        assert_eq!(agent_of(&peer), Some(agent));
    }

    #[test]
    fn other_keys_are_no_agents() {
        assert_eq!(agent_of(&"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap()), None);
        assert_eq!(agent_of(&PeerId::random()).map(peer_of).map(|p| p.to_bytes().len()), None);
    }
}
