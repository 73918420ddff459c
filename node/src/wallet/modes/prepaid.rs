//! Prepaid: one key of the seller's for each buyer, so that the buyer can lock ahead, and one of the buyer's for each seller
//! and locktime.

use guilder_protocol::{
    identity::AgentId,
    settlement::{Conditions, prepaid},
    time::Timestamp,
};

use super::{
    super::{
        keys::{KeyPath, LockKeys},
        spend::Spend,
    },
    Asking, Locking,
};

/// Our key for what `buyer` locks to us.
fn payee(buyer: AgentId) -> KeyPath {
    KeyPath::new(format!("prepaid/{buyer}"))
}

/// Our key for taking back, after `locktime`, what we locked to `seller`.
fn refund(seller: AgentId, locktime: Timestamp) -> KeyPath {
    KeyPath::new(format!("refund/{seller}/{}", locktime.as_secs()))
}

pub(super) fn terms(keys: &LockKeys, asking: Asking<'_>) -> prepaid::Terms {
    let locktime = asking.deadline.saturating_add(asking.config.margin_secs);
    prepaid::Terms { payee: keys.public(&payee(asking.buyer)), locktime }
}

pub(super) fn locking(terms: &prepaid::Terms, keys: &LockKeys, seller: AgentId, locktime: Timestamp) -> Locking {
    let path = refund(seller, locktime);
    let conditions = prepaid::Conditions { locktime, payee: terms.payee, refund: keys.public(&path) };
    Locking { conditions: Conditions::Prepaid(conditions), refund: Spend::signed_by(path) }
}

pub(super) fn redemption(buyer: AgentId) -> Spend {
    Spend::signed_by(payee(buyer))
}

#[cfg(test)]
mod tests {
    use guilder_protocol::settlement::Terms;
    use zeroize::Zeroizing;

    use super::*;
    use crate::wallet::config::RedemptionConfig;

    #[test]
    fn the_keys_of_two_peers_or_locktimes_are_distinct_and_the_payee_is_always_the_same() {
        let keys = LockKeys::new(Zeroizing::new([7; 32]));
        let (one, other) = (AgentId::from_bytes([1; 32]), AgentId::from_bytes([2; 32]));
        let (at, later) = (Timestamp::from_secs(3_600), Timestamp::from_secs(7_200));
        let paths = [payee(one), payee(other), refund(one, at), refund(other, at), refund(one, later)];
        let mut public: Vec<_> = paths.iter().map(|path| keys.public(path).0[1..].to_vec()).collect();
        public.sort();
        public.dedup();
        assert_eq!(public.len(), paths.len());
        // Frozen: whoever restores a home folder with a later version must find its money.
        let config = RedemptionConfig::default();
        let asking = |deadline| Asking { buyer: one, deadline, label: [0; 16].into(), config: &config };
        let ours = terms(&keys, asking(at));
        assert_eq!(ours.payee.to_string(), "039bafac291355655eb39d6798836afdfd5da4e7e6112cdca9fdf3f97b57ae6a1e");
        assert_eq!(terms(&keys, asking(later)).payee, ours.payee);
        assert_eq!(redemption(one), Spend::signed_by(payee(one)));
        let Some(locking) = super::super::locking(&Terms::Prepaid(ours.clone()), &keys, other, at) else { panic!() };
        let Conditions::Prepaid(conditions) = locking.conditions else { panic!() };
        assert_eq!((conditions.payee, conditions.refund), (ours.payee, keys.public(&refund(other, at))));
        assert_eq!(locking.refund, Spend::signed_by(refund(other, at)));
    }
}
