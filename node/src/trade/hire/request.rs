//! What is to be done, and on what terms.

use guilder_protocol::{
    identity::AgentId,
    market::{MintUrl, ServiceName, Unit},
    time::Timestamp,
};

use crate::content::Data;

/// What is to be done, and on what terms.
#[derive(Clone, Debug)]
pub struct HireRequest {
    /// The service wanted.
    pub service: ServiceName,
    /// What it is to be done on.
    pub input: Data,
    /// The most that is paid, net.
    pub max_price: u64,
    /// The unit of `max_price`.
    pub unit: Unit,
    /// When the delivery must have arrived.
    pub deadline: Timestamp,
    /// This seller and no other.
    pub seller: Option<AgentId>,
    /// These sellers never.
    pub avoid: Vec<AgentId>,
    /// These before all others, if they make an acceptable offer.
    pub prefer: Vec<AgentId>,
    /// This mint's ecash and no other's.
    pub mint: Option<MintUrl>,
    /// How many sellers are asked at the most; the settings' default if not said.
    pub candidates: Option<usize>,
}
