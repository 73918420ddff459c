//! Where agents meet: the key under which a service's providers are recorded, the topic on which its adverts travel, the
//! one on which revocations do, and the names under which nodes speak to each other.

use std::fmt;

use cid::Cid;
use sha2::{Digest, Sha256};

use crate::{
    cbor::{self, SHA2_256},
    market::ServiceName,
};

/// Kademlia (libp2p's kad-dht) under a name of our own: a table apart from every other network's.
pub const KAD_PROTOCOL: &str = "/guilder/kad/1";
/// What a node says in identify as its protocol version.
pub const IDENTIFY_PROTOCOL: &str = "/guilder/id/1";

/// What a service's topic is called: this and the service's name.
const TOPIC_PREFIX: &str = "/guilder/market/1/";
/// What the topic of revocations is called.
const REVOCATIONS_TOPIC: &str = "/guilder/revocations/1";
/// What stands before the service's name when its key is hashed.
const KEY_PREFIX: &str = "guilder/service/1/";

/// The key of a service in Kademlia, a multihash: `12 20` (sha2-256, 32 bytes) and the digest.
pub type ServiceKey = [u8; 34];

/// The key under which a service's providers are recorded: the multihash of `guilder/service/1/` and its name. A peer that
/// looks for [`service_cid`] with libp2p's `findProviders` sends exactly these bytes.
pub fn service_key(service: &ServiceName) -> ServiceKey {
    let mut key = [0; 34];
    key[..2].copy_from_slice(&[SHA2_256 as u8, 32]);
    key[2..].copy_from_slice(&Sha256::new().chain_update(KEY_PREFIX).chain_update(service.as_str()).finalize());
    key
}

/// [`service_key`] as a content ID (v1, raw), as the content routing of other libp2p implementations takes it.
pub fn service_cid(service: &ServiceName) -> Cid {
    let mut digest = [0; 32];
    digest.copy_from_slice(&service_key(service)[2..]);
    cbor::raw_cid(&digest)
}

/// Whether a key in Kademlia can be a service's.
pub fn is_service_key(key: &[u8]) -> bool {
    key.len() == 34 && key.starts_with(&[SHA2_256 as u8, 32])
}

/// The gossip topic of a service.
pub fn topic(service: &ServiceName) -> String {
    format!("{TOPIC_PREFIX}{service}")
}

/// The service whose topic it is; `None` if it is none's.
pub fn service_of(topic: &str) -> Option<ServiceName> {
    topic.strip_prefix(TOPIC_PREFIX)?.parse().ok()
}

/// What gossip is about. Its text is the topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A service's adverts, and their withdrawals.
    Service(ServiceName),
    /// Revocations of delegations. Every node follows it.
    Revocations,
}

impl Topic {
    /// The topic of that name; `None` if it is none of ours.
    pub fn of(text: &str) -> Option<Self> {
        if text == REVOCATIONS_TOPIC { Some(Self::Revocations) } else { service_of(text).map(Self::Service) }
    }
}

impl From<&ServiceName> for Topic {
    fn from(service: &ServiceName) -> Self {
        Self::Service(service.clone())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => f.write_str(&topic(service)),
            Self::Revocations => f.write_str(REVOCATIONS_TOPIC),
        }
    }
}

/// A gossip message's ID: sha-256 of topic, a zero byte and data. So a message is the same whoever publishes it, and can't
/// be hidden by publishing it on another topic first.
pub fn message_id(topic: &str, data: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(topic).chain_update([0]).chain_update(data).finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn echo() -> ServiceName {
        "text.echo".parse().unwrap()
    }

    #[test]
    fn keys_topics_and_ids_have_these_bytes() {
        let key = service_key(&echo());
        assert_eq!(hex::encode(key), "12208c5134cfc982a270e45750f41fd7e197e234f1ecf493a313898e55fdd4db9803");
        assert_eq!(service_cid(&echo()).to_string(), "bafkreiemke2m7smcujyoiv2q6qp5pymx4i2pd3husorrhcmokx65jw4yam");
        assert_eq!(topic(&echo()), "/guilder/market/1/text.echo");
        assert_eq!(
            hex::encode(message_id(&topic(&echo()), b"data")),
            "e6216eea6a072ec3d0edb3cdf59ef71865f3000bd8c8255d17a3743b7f5b3549"
        );
    }

    #[test]
    fn the_key_is_the_multihash_of_its_content_id() {
        assert_eq!(service_cid(&echo()).hash().to_bytes(), service_key(&echo()));
        assert!(is_service_key(&service_key(&echo())));
        assert!(!is_service_key(&[0x12; 34]) && !is_service_key(&service_key(&echo())[..33]) && !is_service_key(&[]));
    }

    #[test]
    fn a_topic_is_its_services_and_no_other_text_is_one() {
        assert_eq!(service_of(&topic(&echo())), Some(echo()));
        for other in ["/guilder/market/1/NOT A NAME", "/guilder/market/1/", "/guilder/market/2/text.echo", "text.echo"]
        {
            assert_eq!(service_of(other), None, "{other}");
            assert_eq!(Topic::of(other), None, "{other}");
        }
        for topic in [Topic::from(&echo()), Topic::Revocations] {
            assert_eq!(Topic::of(&topic.to_string()), Some(topic));
        }
        assert_eq!(Topic::of("/guilder/revocations/1/x"), None);
    }

    #[test]
    fn the_same_data_on_another_topic_is_another_message() {
        assert_eq!(message_id("a", b"x"), message_id("a", b"x"));
        assert_ne!(message_id("a", b"x"), message_id("b", b"x"));
        assert_ne!(message_id("a", b"x"), message_id("a", b"y"));
    }
}
