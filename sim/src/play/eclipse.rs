//! Who is eclipsed, and with what keys.

use guilder_protocol::market::ServiceName;

use crate::{
    cast::Cast,
    fabric::HostId,
    interpose::Rng,
    scenario::Adversary,
    world::{
        World,
        eclipse::{Attack, Spot, ground},
    },
};

/// Adds the hosts of those who have no node. Of those who eclipse, if any do: the first honest buyer is their victim. Every other one lies next to the
/// victim, the rest where the providers of the most wanted service are recorded, nearer than any honest node.
pub(super) fn lay(cast: &Cast, services: &[ServiceName], world: &mut World, rng: &mut Rng) {
    let attackers: Vec<_> = cast.iter().filter(|(_, part)| part.cheat.is_some_and(Adversary::has_no_node)).collect();
    if attackers.is_empty() {
        return;
    }
    let victim = victim(cast);
    let bits = cast.len().ilog2() + NEARER_BITS;
    let spots = [Spot::Node(world.agent(victim)), Spot::Service(&services[0])];
    for ((_, part), spot) in attackers.into_iter().zip(spots.into_iter().cycle()) {
        let (attack, bits) = match part.cheat {
            Some(Adversary::FloodsRecords) => (Attack::FloodsRecords { per_second: part.per_second }, 0),
            Some(Adversary::NamesStrangers) => (Attack::NamesStrangers, 0),
            _ => (Attack::Eclipse, bits),
        };
        world.add_attacker(part.region, ground(spot, bits, rng), attack);
    }
    world.eclipse(victim, services.to_vec());
}

/// The first honest buyer; if nobody buys, whoever comes second.
fn victim(cast: &Cast) -> HostId {
    cast.iter().find(|(host, part)| host.0 > 0 && part.buys()).map_or(HostId(1), |(host, _)| host)
}

/// The nearest of n honest nodes shares about log₂ n first bits; one in eight times it shares three more.
const NEARER_BITS: u32 = 3;
