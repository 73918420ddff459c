//! Lets the cheats cheat that act by themselves, each in a task of its own.

use super::Play;
use crate::{
    cast::{AwardFlood, DoubleLock, Misbehaviour},
    fabric::HostId,
    interpose::Rng,
    scenario::Adversary,
    workload::sold_by,
};

/// Connections that are opened at once.
const CONNECTIONS_AT_ONCE: u64 = 4;
/// Sellers that attackers of one kind are after.
const VICTIMS: usize = 3;

impl Play<'_> {
    /// A cheat acts; and the next time is put down.
    pub(super) fn misbehave(&mut self, host: HostId) {
        use super::Action;
        let part = self.cast.part(host);
        let Some(cheat) = part.cheat else { return };
        let again = self.now_us() as f64 / 1e6 + 1.0 / part.per_second;
        if again < self.scenario.workload_ends_s() as f64 {
            self.timeline.at_secs(again, Action::Misbehaviour(host));
        }
        match cheat {
            Adversary::BuyerDoubleLocks => return self.lock_twice(host),
            Adversary::FloodsAwards => return self.flood_awards(host),
            _ => {}
        }
        let Some(node) = self.world.node(host).cloned() else { return };
        let (victim, connections) = match cheat {
            Adversary::HoldsConnections | Adversary::Drips => (self.one_seller(host), CONNECTIONS_AT_ONCE),
            // Every other time without a node's manners.
            _ => (HostId(self.rng.below(self.cast.len() as u64) as u32), self.rng.below(2)),
        };
        let service = self.rng.below(self.services.len() as u64) as usize;
        let misbehaviour = Misbehaviour {
            cheat,
            node,
            key: self.world.key(host).clone(),
            victim: self.world.agent(victim),
            raw: (0..connections).map(|_| self.world.fabric().dial(host, victim)).collect(),
            service: self.services[service].clone(),
            mint: self.mints[0].clone(),
            unit: self.unit.clone(),
            rng: Rng::new(self.rng.draw()),
        };
        tokio::spawn(misbehaviour.commit());
    }

    /// The seller that this attacker is after, all the time.
    fn one_seller(&self, host: HostId) -> HostId {
        let sellers = self.cast.iter().filter(|(_, part)| part.sells() && part.cheat.is_none());
        let sellers: Vec<HostId> = sellers.map(|(host, _)| host).collect();
        // Three of them, however many attack.
        sellers.get(host.0 as usize % VICTIMS.min(sellers.len().max(1))).copied().unwrap_or(HostId(0))
    }

    fn flood_awards(&mut self, host: HostId) {
        let seller = self.one_seller(host);
        let sellers = self.cast.iter().filter(|(_, part)| part.sells());
        let number = sellers.take_while(|(known, _)| *known != seller).count() as u32;
        let sold = sold_by(&self.scenario.services, number).next();
        let Some((service, address)) = sold.zip(self.world.address(seller).ok()) else { return };
        let flood = AwardFlood {
            raw_peer: self.world.raw_peer(self.cast.part(host).region, &mut self.rng),
            seller: (self.world.agent(seller), address),
            service: self.services[service as usize].clone(),
            mint: self.mints[0].clone(),
            unit: self.unit.clone(),
        };
        tokio::spawn(flood.commit());
    }

    /// Two honest sellers of a service, or the only one twice, are shown the same money.
    fn lock_twice(&mut self, host: HostId) {
        let service = self.rng.below(self.services.len() as u64) as u32;
        let sellers = self.cast.iter().filter(|(_, part)| part.sells()).zip(0..);
        let sells = |number| sold_by(&self.scenario.services, number).any(|sold| sold == service);
        let sellers = sellers.filter(|((_, part), number)| part.cheat.is_none() && sells(*number));
        let mut sellers: Vec<HostId> = sellers.map(|((host, _), _)| host).collect();
        let Some(node) = self.world.node(host) else { return };
        if sellers.is_empty() {
            return;
        }
        let first = sellers.swap_remove(self.rng.below(sellers.len() as u64) as usize);
        let second = sellers.get(self.rng.below(sellers.len().max(1) as u64) as usize).copied().unwrap_or(first);
        let Ok(addresses) = self.world.address(first).and_then(|one| Ok([one, self.world.address(second)?])) else {
            return;
        };
        let [first_at, second_at] = addresses;
        let double = DoubleLock {
            wallet: node.wallet.clone(),
            raw_peer: self.world.raw_peer(self.cast.part(host).region, &mut self.rng),
            sellers: [(self.world.agent(first), first_at), (self.world.agent(second), second_at)],
            service: self.services[service as usize].clone(),
            mint: self.mint_of(host),
            unit: self.unit.clone(),
            rng: Rng::new(self.rng.draw()),
        };
        tokio::spawn(double.commit());
    }
}
